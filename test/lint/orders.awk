# orders.awk - checks the comments of memory orders in a header: prints what is wrong, one a line.
#
#     awk -f orders.awk slab.h
#
# 1. Each atomic access or fence stronger than relaxed has a comment that names its order and its
#    partner: "release, pairs with the acquire in slab_pool_read: ...". It is the last comment
#    before the access in its function, or one at the end of its line, or the function's head
#    comment.
# 2. Each partner is a function of the header that contains an access of the order claimed. In
#    "pairs with the acquire in f and g, and with the light fence in h" all of f, g and h are looked
#    at. An acquire or a release may be a stronger access; seq_cst, acq_rel, a light and a heavy
#    fence are just that.
#
# The code below the implementation line is formatted so that each function begins in column 1 and
# ends with a brace there or on its first line.

function strip(text) { # a comment line without its marks
    gsub(/^[ \t]*(\/\*|\*)?[ \t]*|[ \t]*\*\/[ \t]*$/, "", text)
    return text
}

function note(order) { # an access of that order on this line
    has[name, order] = 1
    if (order == "acq_rel" || order == "seq_cst") has[name, "acquire"] = has[name, "release"] = 1
    if (order == "relaxed" || said(comment, order) || said(head, order)) return
    wrong = wrong FILENAME ":" FNR ": " order " in " name ": no comment says what it pairs with\n"
}

function said(text, order) { # partners' orders do not count
    if (text !~ /pairs with/) return 0
    gsub("the " order_word "( fence)? in", "", text)
    return text ~ ("(^|[^a-z_])" order "([^a-z_]|$)")
}

function scan(code,   word) { # the accesses in a line of code
    while (match(code, /memory_order_[a-z_]+|[A-Z]+_(LIGHT|HEAVY)_FENCE\(\)/)) {
        word = substr(code, RSTART, RLENGTH)
        code = substr(code, RSTART + RLENGTH)
        sub(/^memory_order_/, "", word)
        if (word ~ /LIGHT/) word = "light"
        if (word ~ /HEAVY/) word = "heavy"
        note(word)
    }
}

function remember(text) { # a whole comment, for the second check
    if (text !~ /pairs with/) return
    pairs++
    pair_text[pairs] = text
    pair_line[pairs] = FNR
}

BEGIN {
    order_word = "(acquire|release|acq_rel|seq_cst|light|heavy)"
    f          = "[a-z][a-z0-9]*_[a-z0-9_]+"
    phrase     = "the " order_word "( fence)? in " f "(, " f ")*( and " f ")?"
}

/======== [A-Z]+_IMPLEMENTATION/ { below = 1; next }
!below || /^#/ || continued { continued = /\\$/; next }
/^$/ && !inside { head = "" }

{ # comments first: what is left of the line is code
    line = $0
    if (open_comment) {
        text = text " " strip(line)
        if (line !~ /\*\//) next
        open_comment = 0
        line = ""
    } else if (match(line, /\/\*.*\*\//)) {
        text = strip(substr(line, RSTART, RLENGTH))
        line = substr(line, 1, RSTART - 1) substr(line, RSTART + RLENGTH)
    } else if (match(line, /\/\*/)) {
        text = strip(substr(line, RSTART))
        line = substr(line, 1, RSTART - 1)
        open_comment = 1
    } else text = ""
}
!inside && /^[A-Za-z_].*\(/ && !/;[ ]*$/ && !/^(typedef|_Static_assert|struct|enum)/ {
    name = $0
    sub(/^__attribute__\(\([a-z_]+\)\)/, "", name)
    while (match(name, /^[^(]*(__attribute__|_Atomic)\([^)]*\)+/)) name = substr(name, RLENGTH + 1)
    sub(/\(.*/, "", name)
    sub(/.*[ *]/, "", name)
    inside = 1
    comment = ""
    is_function[name] = 1
}
text != "" && !open_comment {
    if (inside) { comment = text; remember(text) }
    else { head = head " " text; pending = pending "\n" text } # of the function that follows
}
inside {
    n = split(pending, list, "\n")
    for (i = 1; i <= n; i++) remember(list[i])
    pending = ""
    scan(line)
}
/^}/ || (inside && /\{.*\}[ ]*$/ && /^[A-Za-z_]/) { inside = 0; head = "" }

END {
    printf "%s", wrong
    for (i = 1; i <= pairs; i++) {
        rest = pair_text[i]
        match(rest, /pairs with/)
        rest = substr(rest, RSTART)
        found = 0
        while (match(rest, phrase)) {
            claim = substr(rest, RSTART, RLENGTH)
            rest = substr(rest, RSTART + RLENGTH)
            found = 1
            split(claim, word, " ")
            order = word[2]
            sub(/.* in /, "", claim)
            gsub(/ and |, /, " ", claim)
            n = split(claim, names, " ")
            for (k = 1; k <= n; k++) {
                if (!(names[k] in is_function)) why = "is no function of this header"
                else if (!((names[k], order) in has)) why = "has no " order
                else continue
                print FILENAME ":" pair_line[i] ": \"pairs with\" names " names[k] ", which " why
            }
        }
        if (!found) print FILENAME ":" pair_line[i] ": not of the form \"pairs with the ORDER in " \
            "FUNCTION\": " substr(pair_text[i], 1, 60)
    }
}
