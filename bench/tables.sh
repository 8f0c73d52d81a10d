#!/usr/bin/env bash
# Tables of the benchmarks' figures, for readers.
#
#   bench/tables.sh text FILE.tsv      prints it as text
#   bench/tables.sh make DIRECTORY     writes NAME.txt for each NAME.tsv in it, and the Markdown
#                                      tables that bench/tables.txt describes, NAME.md
#   bench/tables.sh insert DOC...      puts these between the lines <!-- table: PATH/NAME.md --> and
#                                      <!-- end --> of a document; PATH is from the repository's root
#   bench/tables.sh check DOC...       fails where that would change something, or where a .txt or
#                                      .md file is not what its .tsv gives
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

refuse() { echo "tables: $1; try bench/tables.sh --help" >&2; exit 2; }

make_tables() { # from, to
    local name
    for name in "$1"/*.tsv; do
        [ -f "$name" ] || refuse "$1 has no .tsv files"
        awk -f "$root/bench/text.awk" "$name" >"$2/$(basename "$name" .tsv).txt"
    done
    awk -v to="$2" -f "$root/bench/tables.awk" "$root/bench/tables.txt" "$1"/*.tsv
}

# The document with each table in its place.
inserted() { # document
    awk -v root="$root" '
        /^<!-- table: .* -->$/ {
            name = $3
            print
            for (found = 0; (status = (getline line <(root "/" name))) > 0; found = 1) print line
            close(root "/" name)
            if (!found) { print "tables: there is no table " name >"/dev/stderr"; exit 1 }
            skipping = 1
        }
        /^<!-- end -->$/ { if (!skipping) bad = 1; skipping = 0 }
        !skipping { print }
        END {
            if (skipping || bad) {
                print "tables: " FILENAME ": a table and its end do not match" >"/dev/stderr"
                exit 1
            }
        }' "$1"
}

insert() { # documents
    local document text
    for document; do
        text=$(inserted "$document")
        printf '%s\n' "$text" >"$document"
    done
}

check() { # documents
    local document directory name failed=0
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    for document; do
        inserted "$document" >"$work/document" || failed=1
        cmp -s "$work/document" "$document" || {
            diff "$document" "$work/document" | head -n 20
            echo "tables: $document differs from its tables: run bench/tables.sh insert"
            failed=1
        }
    done
    for directory in "$root"/bench/results/*/; do
        rm -rf "$work/made"
        mkdir "$work/made"
        make_tables "$directory" "$work/made"
        for name in "$work/made"/*; do
            cmp -s "$name" "$directory/$(basename "$name")" || {
                echo "tables: $directory$(basename "$name") is not what its .tsv gives"
                failed=1
            }
        done
    done
    return $failed
}

case ${1:-} in
-h | --help) sed -n '/^# Tables/,/^set/s/^# \{0,1\}//p' "$0" ;;
text) [ $# -eq 2 ] || refuse 'text takes one file'; awk -f "$root/bench/text.awk" "$2" ;;
make) [ $# -eq 2 ] || refuse 'make takes one directory'; make_tables "$2" "$2" ;;
insert | check) [ $# -ge 2 ] || refuse "$1 takes documents"; "$@" ;;
*) refuse "there is no command '${1:-}'" ;;
esac
