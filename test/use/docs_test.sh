#!/bin/sh
# Goal: every code block and every link in README.md, docs/ and CONTRIBUTING.md is true.
# Method: a block belongs to one class, by its language and by an HTML comment on the line above it,
# which readers do not see. A block of no class is a failure.
#
#   ```c with `int main`              is compiled and run; it must exit with 0
#   ```c    <!-- in: NAME -->         takes the place of the line BLOCK in test/use/docs/NAME.c
#   ```text <!-- prints -->           is what the block before it printed
#   ```text <!-- printed, too -->     is lines that the block before it printed among others
#   ```text <!-- picture -->          is not checked
#   ```sh   <!-- run -->              is run by sh -eu in a copy of the tree, one for each page
#   ```sh                             is parsed; its make targets and files must exist
#   ```yaml <!-- promtool -->         is a configuration that promtool accepts
#   any     <!-- lines in: FILE -->   consists of lines that FILE has, indentation aside
#   any     <!-- not checked: WHY --> is listed
#
# A frame whose name begins with uring_ is linked with liburing. With ONLY_COMPILER=1, blocks that
# need more than a compiler and make are left out without a word. PAGES names other pages.
#   test/use/docs_test.sh WORKDIR
# shellcheck disable=SC2086  # CFLAGS and the lists are lists of words
# shellcheck disable=SC2016  # Markdown is full of backticks
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/test/tap.sh"
tap_begin "$1"
work=$PWD
unset BUILD MAKEFLAGS MAKEOVERRIDES MFLAGS # a page's commands are those of a user
: "${ONLY_COMPILER:=}"
if [ -z "${PAGES:-}" ]; then
    PAGES=$(cd "$root" && ls README.md CONTRIBUTING.md CHANGELOG.md docs/*.md)
fi
warnings='-Wall -Wextra -Wpedantic -Werror'
# The tests of the headers optimize; here the compiler's time would be most of the test's.
flags="-std=c11 $CFLAGS -O0 $warnings -pthread -D_GNU_SOURCE"

# ---- The blocks of all pages ----

# Writes each block to a file blocks/PAGE-LINE, and PAGE-LINE|LANGUAGE|COMMENT to blocks/list.
extract() {
    mkdir blocks
    (cd "$root" && awk -v dir="$work/blocks" '
        FNR == 1 { page = FILENAME; sub(/.*\//, "", page); marker = "" }
        inside && /^```$/ { close(file); inside = 0; marker = ""; next }
        inside { print >file; next }
        /^<!-- .* -->$/ { marker = substr($0, 6, length($0) - 9); next }
        /^ *```/ {
            inside = 1
            file = dir "/" page "-" FNR
            printf "" >file
            language = $0
            sub(/^ *```/, "", language)
            if (/^ /) marker = "indented"
            print page "-" FNR "|" language "|" marker >(dir "/list")
            next
        }
        { marker = "" }
        END { if (inside) print page "-end|unclosed|" >(dir "/list") }' $PAGES)
}

wants() { # package, command...: as need, but silent where only the compiler is wanted
    [ -z "$ONLY_COMPILER" ] && need "$@"
}

# ---- C ----

# make check has one minute: there each header is compiled once, and a block without settings of its
# own is linked with that. What does not compile so is compiled as it stands, as check-all does.
implement() {
    [ -n "$ONLY_COMPILER" ] || return
    for header in slab overflow fixedpool bufpool; do
        upper=$(echo $header | tr '[:lower:]' '[:upper:]')
        printf '#define %s_IMPLEMENTATION\n#include "%s.h"\n' $upper $header >$header.c
        $CC $flags -I"$root" -c $header.c -o $header.o &
        implemented="$implemented -D${upper}__IMPLEMENTED" objects="$objects $header.o"
    done 2>/dev/null
    wait
}
# The headers that an implementation includes as well.
implemented='-include errno.h -include string.h -include unistd.h -include sys/mman.h' objects=''
# shellcheck disable=SC2317  # called through try
compile() { # block, options
    block=$1
    shift
    if [ -n "$objects" ] && ! grep 'define [A-Z]*_[A-Z]' "$block.c" | grep -qv _IMPLEMENTATION &&
        $CC $flags $implemented "$block.c" $objects -o "$block.bin" "$@" 2>/dev/null; then return; fi
    $CC $flags "$block.c" -o "$block.bin" "$@"
}

program() { # block, source, options of the linker
    cp "$2" "$1.c"
    mkdir -p "$1.dir"
    # Headers that a page's commands made are in the page's copy of the tree.
    try "$1: it compiles" compile "$1" -I"$root" -I"$work/${1%-*}.tree" ${3:-}
    [ -x "$1.bin" ] || return
    (cd "$1.dir" && timeout 20 "$work/$1.bin") >out 2>err </dev/null
    status=$?
    cp out printed
    if [ $status -eq 77 ]; then
        tap_count=$((tap_count + 1))
        echo "ok $tap_count - $1: it runs # SKIP this kernel gives us no io_uring"
    else check "$1: it runs" [ $status -eq 0 ]
    fi
}
# shellcheck disable=SC2317  # called through try
in_dir() { (cd "$1" && shift && "$@"); }
fragment() { # block, frame
    frame=$root/test/use/docs/$2.c
    libraries=
    if [ ! -f "$frame" ]; then not_ok "$1: there is no frame $2"; return; fi
    case $2 in uring_*)
        [ -z "$ONLY_COMPILER" ] || return
        if ! printf '#include <liburing.h>\n' | $CC -E - >/dev/null 2>&1; then
            skip "$1" liburing-dev
            return
        fi
        libraries=-luring ;;
    esac
    awk -v block="blocks/$1" '
        $1 == "BLOCK" {
            sub(/BLOCK.*/, "")
            while ((getline line <block) > 0) print line == "" ? "" : $0 line
            next
        }
        { print }' "$frame" >framed
    program "$1" framed "$libraries"
}

# ---- Commands ----

tree_of() { # block: makes the copy of the tree that the page's commands run in
    tree=$work/${1%-*}.tree
    [ -d "$tree" ] && return
    mkdir "$tree"
    for entry in "$root"/*; do
        case ${entry##*/}:$work/ in build:* | *:"$entry"/*) continue ;; esac
        cp -R "$entry" "$tree"
    done
}
commands() { # block
    tree_of "$1"
    try "$1: it runs" in_dir "$tree" timeout 100 sh -eu "$work/blocks/$1"
    cp out printed
}
# Prints `make TARGET` and `file PATH` for each that a block of commands names. A word with capital
# letters stands for another one.
named() {
    awk '{
        sub(/(^| )#.*/, "")
        count = split($0, commands, /[;&|()]+/)
        for (c = 1; c <= count; c++) {
            words = split(commands[c], word, " ")
            for (w = 1; w <= words; w++) {
                sub(/^\.\//, "", word[w])
                if (word[w] ~ /[A-Z=*$<>]|^-/) continue
                if (word[1] == "make" && w > 1) print "make", word[w]
                else if (word[w] ~ /^build\/[^.]*$/) print "make", word[w]
                else if (word[w] ~ /^(test|tools|examples|bench|docs)\//) print "file", word[w]
            }
        }
    }' "$1"
}
syntax() { # block
    try "$1: it parses" sh -n "blocks/$1"
    named "blocks/$1" | sort -u >mentioned
    while read -r kind what; do
        case $kind in
        make) try "$1: make has $what" make -n -C "$root" "$what" ;;
        file) check "$1: $what exists" [ -e "$root/$what" ] ;;
        esac
    done <mentioned
}

# ---- The rest ----

empty() { # file, what: passes if the file is empty, and prints it if not
    if [ -s "$1" ]; then not_ok "$2" "$1"; else ok "$2"; fi
}

lines_in() { # block, file
    sed 's/^ *//' "$root/$2" >lines
    sed 's/^ *//; /^$/d' "blocks/$1" | while IFS= read -r line; do
        grep -qxF -e "$line" lines || echo "not in $2: $line"
    done >missing
    empty missing "$1: its lines are in $2"
}
prints() { # block
    diff -u "blocks/$1" printed >differs
    empty differs "$1: this is printed"
}
printed_too() { # block
    diff printed "blocks/$1" | grep '^>' >differs
    empty differs "$1: this is printed"
}

block() { # block, language, comment
    class=$2:$3
    [ "$class" != c: ] || ! grep -q 'int main' "blocks/$1" || class=program
    case $class in
    program) program "$1" "blocks/$1" ;;
    *:"not checked: "?*) echo "# $1: ${3}" ;;
    *:"lines in: "?*) lines_in "$1" "${3#lines in: }" ;;
    c:"in: "?*) fragment "$1" "${3#in: }" ;;
    text:prints) prints "$1" ;;
    'text:printed, too') printed_too "$1" ;;
    text:picture) ;;
    sh:run) commands "$1" ;;
    sh:) syntax "$1" ;;
    yaml:promtool)
        wants prometheus promtool &&
            try "$1: promtool accepts it" promtool check config "blocks/$1" ;;
    *) not_ok "$1: a block '$2' with the comment '$3' is in no class (see test/use/docs_test.sh)" ;;
    esac
}

# Relative links lead to files; what follows a # is a heading there, as GitHub names it.
links() {
    (cd "$root" && awk '
        /^```/ { inside = !inside }
        inside { next }
        {
            line = $0
            while (match(line, /\]\([^)]*\)/)) {
                print FILENAME, substr(line, RSTART + 2, RLENGTH - 3)
                line = substr(line, RSTART + RLENGTH)
            }
        }' $PAGES) | grep -v ' [a-z]*:' >links
    while read -r page target; do
        file=${target%%#*} anchor=
        case $target in *'#'*) anchor=${target#*#} ;; esac
        if [ -z "$file" ]; then file=$page; else file=$(dirname "$page")/$file; fi
        if [ ! -e "$root/$file" ]; then echo "$page: no file $target"
        elif [ -n "$anchor" ] && ! slugs "$root/$file" | grep -qx -e "$anchor"; then
            echo "$page: no heading $target"
        fi
    done <links >dead
    empty dead 'all links lead somewhere'
}
slugs() {
    awk '/^```/ { inside = !inside }
        !inside && sub(/^#+ /, "") {
            $0 = tolower($0)
            gsub(/[^a-z0-9 _-]/, "")
            gsub(/ /, "-")
            print
        }' "$1"
}

# `program: test` in verification.md is a test of that name.
tests_named() {
    [ -f "$root/docs/verification.md" ] || return
    grep -o '`[a-z_]*: [a-z_]*`' "$root/docs/verification.md" | tr -d '`:' | sort -u >named
    while read -r program name; do
        case $program in *_chaos) program=${program%_chaos}_stress ;; esac # includes it
        grep -qw "$name" "$root"/test/*/"$program".c 2>/dev/null || echo "$program: $name"
    done <named >unknown
    empty unknown 'all tests that verification.md names exist'
}

shape() {
    (cd "$root" && awk '
        /^```/ { inside = !inside }
        length > 120 && !/^<!--/ { print FILENAME ":" FNR ": more than 120 columns" }
        !inside && /^\|/ {
            cells = split($0, cell, "|") - 2
            if (cells > 6) print FILENAME ":" FNR ": more than six columns"
        }' $PAGES) >shapes
    empty shapes 'no line has more than 120 columns, no table more than six'
}

extract
implement
check 'there are blocks' [ -s blocks/list ]
while IFS='|' read -r name language comment; do
    block "$name" "$language" "$comment"
done <blocks/list
links
tests_named
shape
tap_end
