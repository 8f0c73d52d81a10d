# phrases.awk - finds phrases that the project's texts avoid, each with what to write instead.
#
#     awk -f phrases.awk phrases.txt FILE...
#
# A line of phrases.txt has a kind, a pattern and an advice, with tabs between them. A pattern is an
# extended regular expression in lower case.
#   text      some words in a row, in a line or across the end of one
#   comment   a whole comment
#   heading   a whole heading: of Markdown, or between dashes in a comment

function report(what, i) {
    print FILENAME ":" FNR ": \"" what "\": write " advice[i]
}

# "someone who reads" is a noun and its clause; "who reads" alone stands for the noun.
function of_person(before, what) {
    return what ~ /^who / &&
        before ~ /(one|somebody|anybody|those|people|users?|readers?|maintainers?)[^a-z,]*$/
}

FNR == NR {
    if (/^#/ || NF == 0) next
    split($0, field, "\t")
    n++
    kind[n] = field[1]
    pattern[n] = field[1] == "text" ? "(^|[^a-z])(" field[2] ")($|[^a-z])" : "^(" field[2] ")$"
    advice[n] = field[3]
    next
}
FNR == 1 { tail = "" }
{
    line = tolower($0)
    comment = heading = ""
    if (match(line, /\/\*.*\*\//)) {
        comment = substr(line, RSTART + 2, RLENGTH - 4)
        gsub(/^ +| +$/, "", comment)
    }
    if (match(line, /^ ?(\/?\*|#+) *--+ .* --+/)) {
        heading = substr(line, RSTART, RLENGTH)
        gsub(/^[^a-z]*| *--+$/, "", heading)
    } else if (FILENAME ~ /\.md$/ && line ~ /^#+ /) {
        heading = line
        gsub(/^#+ *| *$/, "", heading)
    }
    sub(/^[ \t]*(\/\*|\*\/|\*|#+|\/\/)?[ \t]*/, "", line)
    for (i = 1; i <= n; i++) {
        if (kind[i] == "comment" && comment ~ pattern[i]) report(comment, i)
        if (kind[i] == "heading" && heading ~ pattern[i]) report(heading, i)
        if (kind[i] != "text") continue
        text = tail line
        skip = length(tail)
        while (match(text, pattern[i])) {
            what = substr(text, RSTART, RLENGTH)
            end = RSTART + RLENGTH - 1
            gsub(/^[^a-z\/]+|[^a-z]+$/, "", what)
            if (end > skip && !of_person(substr(text, 1, RSTART), what)) report(what, i)
            text = substr(text, end + 1)
            skip -= end
        }
    }
    words = split(line, word, /[ \t]+/)
    tail = ""
    for (i = words > 3 ? words - 2 : 1; i <= words; i++) tail = tail word[i] " "
}
