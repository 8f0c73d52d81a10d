# prelude.awk - compares what the headers have alike: prints each difference.
#
#     awk -f prelude.awk slab.h overflow.h ...
#
# A section begins with "/* ---- prelude: NAME" and ends where the next comment with two dashes
# begins. A header may lack a section; one that has it must have the same words in the same order as
# the first header that has it, with its own prefix. Line breaks and alignment are left to the
# formatter. Required sections are in every header.

BEGIN {
    n_required = split("language,assert,kernel,sanitizers,compiler", required, ",")
}
FNR == 1 {
    header = FILENAME
    sub(/.*\//, "", header)
    sub(/\.h$/, "", header)
    upper = toupper(header)
    section = ""
    headers[++count] = header
}
/^\/\* (--|==)/ { section = "" }
/^\/\* ---- prelude: / {
    section = $0
    sub(/^\/\* ---- prelude: /, "", section)
    sub(/ ----.*/, "", section)
    if ((header, section) in length_of) print header ".h:" FNR ": section " section " stands twice"
    length_of[header, section] = 0
    if (!(section in first)) { first[section] = header; sections[++section_count] = section }
}
section != "" {
    text = $0
    sub(/^ +\* ?/, " ", text)
    gsub(/\\$|\*\/|\/\*/, " ", text)
    gsub("(^|[^a-z])" header "(_|\\.h)", "&\001", text) # marks the prefix, whatever stands before
    gsub(header "_\001", "prefix_", text)
    gsub(header "\\.h\001", "prefix.h", text)
    gsub(upper "_", "PREFIX_", text)
    words = split(text, word, /[ \t]+/)
    for (i = 1; i <= words; i++) {
        if (word[i] == "") continue
        k = ++length_of[header, section]
        content[header, section, k] = word[i]
        place[header, section, k] = FILENAME ":" FNR
    }
}
END {
    for (i = 1; i <= count; i++) {
        for (s = 1; s <= n_required; s++)
            if (!((headers[i], required[s]) in length_of))
                print headers[i] ".h: has no section \"prelude: " required[s] "\""
        for (s = 1; s <= section_count; s++) {
            section = sections[s]
            one = first[section]
            if (one == headers[i] || !((headers[i], section) in length_of)) continue
            n = length_of[one, section]
            if (length_of[headers[i], section] > n) n = length_of[headers[i], section]
            for (k = 1; k <= n; k++) {
                if (content[headers[i], section, k] == content[one, section, k]) continue
                print place[headers[i], section, k] ": prelude " section ": \"" \
                    content[headers[i], section, k] "\" is \"" content[one, section, k] \
                    "\" at " place[one, section, k]
                break
            }
        }
    }
}
