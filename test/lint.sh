#!/bin/sh
# Goal: what tools can find without running the code.
# Method: clang-tidy's bug and security checks and cppcheck over the headers, shellcheck over the
# scripts, and the few rules of the house that grep can check.
# shellcheck disable=SC2086  # lists of files
cd "$(dirname "$0")/.." || exit 2
count=0 failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

check() { # what, command...: passes if the command does
    what=$1
    shift
    count=$((count + 1))
    if "$@" >"$log" 2>&1 </dev/null; then echo "ok $count - $what"; else
        failed=1
        head -n 40 "$log" | sed 's/^/# /'
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

headers='slab.h overflow.h fixedpool.h bufpool.h'
sources=$(ls test/*/*.c examples/*.c tools/*.c bench/*.c)

if tool clang-tidy clang-tidy; then
    # Not memcpy_s, which Linux lacks; not the analyzer's padding, which the cache lines ask for.
    checks='-*,bugprone-*,clang-analyzer-*,cert-*'
    for not in bugprone-easily-swappable-parameters bugprone-reserved-identifier cert-dcl37-c \
        cert-dcl51-cpp bugprone-macro-parentheses bugprone-assignment-in-if-condition \
        clang-analyzer-optin.performance.Padding \
        clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling; do
        checks="$checks,-$not"
    done
    for header in $headers; do
        check "clang-tidy $header" clang-tidy -quiet -checks="$checks" -warnings-as-errors='*' "$header" -- \
            -x c -std=c11 -DSLAB_IMPLEMENTATION -DOVERFLOW_IMPLEMENTATION \
            -DFIXEDPOOL_IMPLEMENTATION -DBUFPOOL_IMPLEMENTATION
    done
fi
if tool cppcheck cppcheck; then
    for header in $headers; do
        check "cppcheck $header" cppcheck --quiet --std=c11 --language=c --error-exitcode=1 \
            --enable=warning,portability,performance -DSLAB_IMPLEMENTATION -DOVERFLOW_IMPLEMENTATION \
            -DFIXEDPOOL_IMPLEMENTATION -DBUFPOOL_IMPLEMENTATION -D__BYTE_ORDER__=1 \
            -D__ORDER_LITTLE_ENDIAN__=1 "$header"
    done
fi
if tool shellcheck shellcheck; then
    for script in test/*.sh test/*/*.sh bench/*.sh tools/*.sh .ci/run; do
        check "shellcheck $script" shellcheck "$script"
    done
fi
for source in $headers $sources test/*.h test/model/*.h; do
    check "$source: no line over 100 columns" none '^.{101}' "$source"
done
for header in $headers; do
    check "$header: every atomic access names its order" none \
        'atomic_(load|store|exchange|fetch_[a-z]+|compare_exchange_[a-z]+)\(' "$header"
done
check 'nothing is left for later' none -w -e 'TODO|FIXME|XXX|HACK' $headers $sources
echo "1..$count"
exit $failed
