# tap.sh - what the test scripts share: one line of TAP for each test, its details above it.
#
#     #!/bin/sh
#     root=$(cd "$(dirname "$0")/../.." && pwd)
#     . "$root/test/tap.sh"
#     tap_begin "$1"                           # makes the work directory, empty, and enters it
#     try 'it compiles' $CC $CFLAGS -I"$root" x.c -o x
#     run ./x --bad-option                     # sets $status; output in ./out and ./err
#     check 'a bad option is refused' [ $status -eq 2 ]
#     need xz-utils xz && try 'it unpacks' xz -d x.xz
#     tap_end                                  # the plan, and the exit status
#
# A script takes its work directory as $1 and needs no other argument. CC, CFLAGS and STRICT come
# from the environment. With STRICT=1 a missing package is a failure.
# shellcheck shell=sh disable=SC2034  # status is for the scripts

: "${CC:=cc}" "${CFLAGS:=-O2 -g}" "${STRICT:=}"
tap_count=0 tap_failed=0

tap_begin() {
    rm -rf "${1:?the work directory}"
    mkdir -p "$1" && cd "$1" || exit 2
    : >out
    : >err
}
ok() { tap_count=$((tap_count + 1)); echo "ok $tap_count - $1"; }
not_ok() { # what, files with details...
    tap_count=$((tap_count + 1)) tap_failed=1
    tap_what=$1
    shift
    for tap_file; do [ ! -f "$tap_file" ] || head -n 40 "$tap_file" | sed 's/^/# /'; done
    echo "not ok $tap_count - $tap_what"
}
# Passes if the command does; prints what the command printed if it does not.
try() {
    tap_what=$1
    shift
    if "$@" >out 2>err </dev/null; then ok "$tap_what"; else not_ok "$tap_what" out err; fi
}
# Passes if the condition holds; leaves the output of the last run alone, and prints it if not.
check() {
    tap_what=$1
    shift
    if "$@"; then ok "$tap_what"; else not_ok "$tap_what" out err; fi
}
run() { timeout 60 "$@" >out 2>err </dev/null; status=$?; }
skip() { # what, package
    if [ -n "$STRICT" ]; then not_ok "$1: package $2 is not installed"
    else tap_count=$((tap_count + 1)); echo "ok $tap_count - $1 # SKIP package $2 is not installed"; fi
}
need() { # package, commands...
    tap_package=$1
    shift
    for tap_tool; do
        command -v "$tap_tool" >/dev/null 2>&1 || { skip "$tap_tool" "$tap_package"; return 1; }
    done
}
tap_end() { echo "1..$tap_count"; exit $tap_failed; }
