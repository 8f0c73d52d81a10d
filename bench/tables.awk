# tables.awk - the Markdown tables that bench/tables.txt describes, from the .tsv files.
#
#     awk -v to=DIRECTORY -f bench/tables.awk bench/tables.txt DIRECTORY/*.tsv
#
# Writes DIRECTORY/NAME.md for each table of which there is a figure, and machine.md. The first file
# is the description; it tells its own syntax.
BEGIN { FS = "\t" }

# ---- Reading ----

FNR == 1 { file_count++ }
file_count == 1 {
    if ($0 !~ /^(#|$)/) spec[++spec_count] = $0
    next
}
FNR == 1 {
    program = FILENAME
    sub(/.*\//, "", program)
    sub(/\.tsv$/, "", program)
    programs[++program_count] = program
    comment[program] = substr($0, 3)
}
/^#/ || $1 == "workload" || $6 == "nan" { next }
$3 == "-" && $4 == "-" {
    at = program "." $1 "/" $5 ":" $2
    median[at] = $6
    if (!(program "." $1 in subjects)) subjects[program "." $1] = ""
    if (index(subjects[program "." $1] " ", " " $2 " ") == 0)
        subjects[program "." $1] = subjects[program "." $1] " " $2
    low[at] = $7
    high[at] = $8
}

# ---- Numbers ----

function grouped(digits) {
    while (match(digits, /[0-9][0-9][0-9][0-9](,|$)/))
        digits = substr(digits, 1, RSTART) "," substr(digits, RSTART + 1)
    return digits
}
# Two digits, or all before the point.
function number(x) {
    if (x >= 9.95) return grouped(sprintf("%.0f", x))
    if (x == 0) return "0"
    return x >= 0.995 ? sprintf("%.1f", x) : sprintf("%.2f", x)
}
function ratio(x) { return x >= 9.95 ? grouped(sprintf("%.0f", x)) : sprintf("%.2f", x) }

# ---- Cells: [PROGRAM.]WORKLOAD[/MEASURE][:SUBJECT][*FACTOR], or - ----

function trim(text) { gsub(/^[ \t]+|[ \t]+$/, "", text); return text }
function key_of(cell, subject,  at) {
    factor = 1
    if (match(cell, /\*[0-9.e-]+$/)) {
        factor = substr(cell, RSTART + 1) + 0
        cell = substr(cell, 1, RSTART - 1)
    }
    if (match(cell, /:[^:]*$/)) {
        subject = substr(cell, RSTART + 1)
        cell = substr(cell, 1, RSTART - 1)
    }
    at = index(cell, "/")
    if (!at) cell = cell "/ns/op"
    if (cell !~ /^[a-z]+\./) cell = table_program "." cell
    return cell ":" subject
}
function show(cell, subject, bold,  key, text) {
    if (cell == "-") return ""
    key = key_of(cell, subject)
    if (!(key in median)) return ""
    any = 1
    text = number(median[key] * factor)
    if (bold) text = "**" text "**"
    if (spread) text = text " (" number(low[key] * factor) " to " number(high[key] * factor) ")"
    return text
}

# ---- Rows ----

function flush_table(  i) {
    if (table && any) {
        for (i = 1; i <= out_count; i++) print out[i] >(to "/" table ".md")
        close(to "/" table ".md")
    }
    table = ""
    out_count = any = 0
}
function put(text) { out[++out_count] = text }
function row(label, cells, subject,  n, i, part, text, found) {
    n = split(cells, part, "|")
    text = "| " label " |"
    for (i = 1; i <= n; i++) {
        cell_text = show(trim(part[i]), subject, label ~ /^\*\*/)
        if (cell_text != "") found = 1
        text = text (cell_text == "" ? "" : " " cell_text) " |"
    }
    if (found) put(text) # a subject that was not measured has no row
}
# The best of the others beside Ashlar.
function best(line, most,  n, i, part, key, pair, mine, other, name, floor_text) {
    n = split(line, part, "|")
    key = key_of(trim(part[2]), "ashlar")
    if (!(key in median)) return
    mine = median[key]
    for (i = 4; i <= n; i++) {
        split(part[i], pair, "=")
        key = key_of(trim(pair[1]), "")
        if (!(key in median)) continue
        if (name == "" || (most ? median[key] > other : median[key] < other)) {
            other = median[key]
            name = trim(pair[2])
        }
    }
    if (name == "") return
    floor_text = show(trim(part[3]), "")
    any = 1
    put("| " trim(part[1]) " | " number(mine) " | " number(other) " (" name ") | " \
        ratio(mine / other) (floor_text == "" ? " |" : " | " floor_text) " |")
}
# Density and speed of a subject, beside the densest of others that is at least as fast, and the
# densest of all. Others are the families named: glibc is that of glibc and of glibc-8.
function rival(line,  part, at, all, n, i, family, mine, speed, of, name) {
    split(line, part, "|")
    for (i in part) part[i] = trim(part[i])
    at = table_program "." part[2] "/"
    mine = part[4] ":" part[3]
    if (!((at mine) in median)) return
    speed = median[at part[5] ":" part[3]]
    n = split(subjects[table_program "." part[2]], all, " ")
    split("", of)
    split("", name)
    for (i = 1; i <= n; i++) {
        family = all[i]
        sub(/-[0-9]+$/, "", family)
        if (index(" " part[6] " ", " " family " ") == 0) continue
        denser(of, name, "all", median[at part[4] ":" all[i]], all[i])
        if (median[at part[5] ":" all[i]] >= speed)
            denser(of, name, "fast", median[at part[4] ":" all[i]], all[i])
    }
    any = 1
    put("| " part[1] " | " ratio(median[at mine]) " | " number(speed * 1e-6) " | " \
        (name["fast"] == "" ? "none" : ratio(of["fast"]) " (" name["fast"] ")") " | " \
        (name["all"] == "" ? "" : ratio(of["all"]) " (" name["all"] ", " \
            number(median[at part[5] ":" name["all"]] * 1e-6) ")") " |")
}
function denser(of, name, which, density, subject) {
    if (name[which] != "" && of[which] >= density) return
    of[which] = density
    name[which] = subject
}
# Where, how and when: a table for each machine and compiler.
function machines(  i, j, part, name, where, seen) {
    name = to "/machine.md"
    for (i = 1; i <= program_count; i++) {
        split(comment[programs[i]], part, "; ")
        where[i] = part[1] "; `" part[2] "`"
        how[i] = "`" part[3] "` | " part[4]
    }
    for (i = 1; i <= program_count; i++) {
        if (where[i] in seen) continue
        print (i > 1 ? "\n" : "") where[i] ":\n\n| results | command | date |\n|---|---|---|" >name
        for (j = i; j <= program_count; j++)
            if (where[j] == where[i]) print "| " programs[j] " | " how[j] " |" >name
        seen[where[i]] = 1
    }
    close(name)
}

END {
    for (s = 1; s <= spec_count; s++) {
        line = spec[s]
        word = line
        sub(/ .*/, "", word)
        rest = trim(substr(line, length(word) + 1))
        if (word == "table") {
            flush_table()
            split(rest, part, " ")
            table = part[1]
            table_program = part[2]
            spread = part[3] == "spread"
        } else if (word == "head") {
            put(rest)
            columns = split(rest, part, "|") - 2
            gsub(/[^|]+/, "---", rest)
            put(rest)
        } else if (word == "cells") cells = rest
        else if (word == "row") {
            split(rest, part, " ")
            row(trim(substr(rest, length(part[1]) + 1)), cells, part[1])
        } else if (word == "own") {
            at = index(rest, "|")
            row(trim(substr(rest, 1, at - 1)), substr(rest, at + 1), "")
        } else if (word == "text") {
            line = "| *" rest "* |"
            for (i = 2; i <= columns; i++) line = line " |"
            put(line)
        } else if (word == "rival") rival(rest)
        else if (word == "best" || word == "most") best(rest, word == "most")
        else { print "tables.awk: " word ": not a line of a table" >"/dev/stderr"; exit 1 }
    }
    flush_table()
    machines()
}
