#!/bin/sh
# Goal:   find what can be found without running the code.
# Method: lint.sh text   rules of the house that sh, awk and grep check within seconds: widths,
#                        memory orders and their comments, what the headers have alike, wording,
#                        versions, and the tables of documents against bench/results
#         lint.sh tools  clang-tidy and cppcheck over the headers; shellcheck over the scripts
#         lint.sh        both
# LINT_LINES (40): how many lines of a check that fails are shown.
# shellcheck disable=SC2046,SC2086  # lists of files, none of which has a space in its name
cd "$(dirname "$0")/.." || exit 2
count=0 failed=0
log=$(mktemp) || exit 2
trap 'rm -f "$log"' EXIT

check() { # what, command...: passes if the command does
    what=$1
    shift
    count=$((count + 1))
    if "$@" >"$log" 2>&1 </dev/null; then echo "ok $count - $what"; else
        failed=1
        head -n "${LINT_LINES:-40}" "$log" | sed 's/^/# /'
        echo "not ok $count - $what"
    fi
}
tool() { # command, package
    command -v "$1" >/dev/null 2>&1 && return
    count=$((count + 1))
    if [ -n "${STRICT:-}" ]; then failed=1; echo "not ok $count - package $2 is not installed"
    else echo "ok $count - $1 # SKIP package $2 is not installed"; fi
    return 1
}
# shellcheck disable=SC2317  # called through check
none() { ! grep -nE "$@"; }
# shellcheck disable=SC2317
silent() { # passes if awk runs and prints nothing
    LC_ALL=C awk "$@" >"$log.awk" || { cat "$log.awk"; rm -f "$log.awk"; return 1; }
    cat "$log.awk"
    [ ! -s "$log.awk" ]
    status=$?
    rm -f "$log.awk"
    return $status
}
# shellcheck disable=SC2317
narrow() { # columns, files...: passes if no line has more
    limit=$1
    shift
    ! LC_ALL=C awk -v limit="$limit" '{ line = $0; gsub(/[\200-\277]/, "", line) }
        length(line) > limit { print FILENAME ":" FNR ": has " length(line) " columns" }' "$@" |
        grep .
}
# shellcheck disable=SC2317
same_version() { # passes if all of the files are there and name one version
    there=
    for file; do
        if [ -f "$file" ]; then there="$there $file"; else echo "there is no $file"; fi
    done
    silent -f test/lint/version.awk $there && [ "$there" = " $*" ]
}
files() { # names of files in the tree that match one of the patterns
    find . \( -name .git -o -path './build*' -o -path ./bench/results \) -prune -o -type f -print |
        sed 's|^\./||' | grep -E "$1" | LC_ALL=C sort
}

headers='slab.h overflow.h fixedpool.h bufpool.h'
code=$(files '\.([ch]|cc|awk)$')
scripts=$(files '\.sh$|^\.ci/run$')
documents=$(files '(^|/)[^/]*\.md$')

. test/lint/tools.sh

text() {
    check 'code: no line over 100 columns' narrow 100 $code
    check 'scripts: no line over 110 columns' narrow 110 $scripts
    for header in $headers; do
        check "$header: every atomic access names its order" none \
            'atomic_(load|store|exchange|fetch_[a-z]+|compare_exchange_[a-z]+)\(' "$header"
        check "$header: every order names its partner" silent -f test/lint/orders.awk \
            "$header"
    done
    check 'the prelude is the same in all headers' silent -f test/lint/prelude.awk $headers
    check 'nothing is left for later' none -w -e 'TODO|FIXME|XXX|HACK' $code
    check 'wording' silent -f test/lint/phrases.awk test/lint/phrases.txt \
        $(files '\.([ch]|cc|md|sh|txt)$|(^|/)(Makefile|CMakeLists\.txt|meson\.build)$|^\.ci/run$' |
            grep -v '^test/lint/\|^test/use/rules_test')
    check 'documents: widths, tables and figures' silent -v results=bench/results \
        -f test/lint/docs.awk $documents
    check 'the version is the same everywhere' same_version $headers Makefile CMakeLists.txt \
        meson.build CHANGELOG.md README.md
}

case ${1:-} in
text | tools) "$1" ;;
'') text; tools ;;
*)
    echo "usage: lint.sh [text | tools]" >&2
    exit 2
    ;;
esac
echo "1..$count"
exit $failed
