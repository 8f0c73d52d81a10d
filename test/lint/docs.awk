# docs.awk - checks the shape of a document, and its figures against the measured ones.
#
#     awk -v results=bench/results -f docs.awk README.md docs/*.md
#
# FILE below is a path in bench/results, with or without that in front.
#
# 1. No line but a comment has more than 120 columns, README.md no more than 220 lines.
# 2. No table has more than six columns, no cell more than 120 characters.
# 3. Between <!-- table: FILE --> and <!-- end --> stands the text of FILE, and nothing else but
#    fences and empty lines around it.
# 4. In the table that follows <!-- figures: FILE ... -->, each number in the rows below its head,
#    the first column aside, stands in one of the files.
# 5. docs/benchmarks.md has a table of the third kind, README.md one of the third or fourth.

function wrong(what) { print FILENAME ":" FNR ": " what }

function width(text) { # characters, where an awk counts bytes
    gsub(/[\200-\277]/, "", text)
    return length(text)
}

function load(file,   line, got) { # appends a file's lines to expected[], its numbers to measured[]
    while ((got = (getline line < (results "/" file))) > 0) {
        expected[++expected_count] = line
        while (match(line, /[0-9]+([.,][0-9]+)*/)) {
            measured[substr(line, RSTART, RLENGTH)] = 1
            line = substr(line, RSTART + RLENGTH)
        }
    }
    close(results "/" file)
    if (got < 0) wrong("there is no " results "/" file)
    return got == 0
}

function finish_table(   last, i) { # compares shown[1..] with expected[1..]
    last = shown_count
    while (last > 0 && shown[last] == "") last--
    while (expected_count > 0 && expected[expected_count] == "") expected_count--
    for (i = 1; i <= last || i <= expected_count; i++)
        if (shown[i] != expected[i]) {
            wrong("line " i " of the table is not that of " results "/" table ": " expected[i])
            return
        }
}

function finish_file() {
    if (name == "") return
    if (table != "") print name ": no <!-- end --> after <!-- table: " table " -->"
    if (name ~ /(^|\/)README\.md$/ && lines > 220) print name ": has " lines " lines, more than 220"
    if (name ~ /(^|\/)README\.md$/ && !has_figures && !has_tables)
        print name ": has neither <!-- table: FILE --> nor <!-- figures: FILE -->"
    if (name ~ /benchmarks\.md$/ && !has_tables) print name ": has no <!-- table: FILE -->"
}

function check_row(row,   n, i, cell) {
    gsub(/\\\|/, "!", row)
    gsub(/^ *\||\| *$/, "", row)
    n = split(row, cells, "|")
    if (n > 6) wrong("a table of " n " columns")
    for (i = 1; i <= n; i++) {
        cell = cells[i]
        gsub(/^ +| +$/, "", cell)
        if (width(cell) > 120) wrong("a cell of " width(cell) " characters")
        if (!figures || rows < 3 || i == 1) continue
        while (match(cell, /[0-9]+([.,][0-9]+)*/)) {
            if (!(substr(cell, RSTART, RLENGTH) in measured))
                wrong(substr(cell, RSTART, RLENGTH) " does not stand in " figure_files)
            cell = substr(cell, RSTART + RLENGTH)
        }
    }
}

FNR == 1 {
    finish_file()
    name = FILENAME
    table = ""
    figures = fenced = has_figures = has_tables = 0
}
{
    lines = FNR
    if (width($0) > 120 && !/^<!--/) wrong("has " width($0) " columns, more than 120")
}
/^ *```/ { fenced = !fenced }
/^<!-- end -->/ { if (table != "" && known) finish_table(); table = ""; next }
table != "" && !/^ *```/ { if (shown_count > 0 || $0 != "") shown[++shown_count] = $0 }
/^<!-- (table|figures): / {
    split("", shown)
    split("", expected)
    split("", measured)
    shown_count = expected_count = 0
    files = $0
    sub(/^<!-- [a-z]+: */, "", files)
    sub(/ *-->.*/, "", files)
    gsub("(^| )" results "/", " ", files)
    sub(/^ /, "", files)
    if ($2 == "table:") { table = files; has_tables = 1; known = load(files) }
    else {
        has_figures = figures = 1
        figure_files = files
        rows = 0
        n_files = split(files, file, " ")
        for (k = 1; k <= n_files; k++) load(file[k])
    }
    next
}
!fenced && /^ *\|/ { rows++; check_row($0); next }
rows > 0 { rows = figures = 0 }
END { finish_file() }
