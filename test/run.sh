#!/bin/sh
# Runs the tests. A rung is one step of the ladder: a test program, a test script, or a function in
# test/rungs/ that runs many of them in one way (a compiler, a sanitizer, a machine).
#
#   test/run.sh check        what make check runs: a compiler and make alone, about a minute
#   test/run.sh all          what make check-all runs: everything; a missing package says SKIP, and
#                            with STRICT=1 it is a failure
#   test/run.sh RUNG ...     these; test/run.sh --list names them
#
# A failure is printed when it happens. Each rung leaves TAP in build/check/RUNG.tap. The last line
# is "N passed, N failed". JOBS rungs run at once (default: the number of processors). BUILD names
# another directory for all that is written.
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.." || exit 2
: "${CC:=cc}" "${CFLAGS:=-O2 -g}" "${STRICT:=}" "${BUILD:=build}"
: "${JOBS:=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)}"
out=$BUILD/check
export CC CFLAGS STRICT BUILD out here

. test/rungs/lib.sh
. test/rungs/check.sh
. test/rungs/compilers.sh
. test/rungs/machines.sh

if [ "${1:-}" = --rung ]; then
    run_rung "$2"
    exit
fi

# ---- The list of rungs ----

case "${1:-}" in
'') set -- check ;;
--list)
    echo "check: $units $storms $quick"
    echo "all adds: $more"
    exit ;;
-*) echo "usage: test/run.sh [check | all | RUNG ...]; --list names the rungs" >&2; exit 2 ;;
esac
first='' then=''
for name; do
    case $name in
    check) first="$first $units" then="$then $quick $storms" ;;
    all) first="$first $units" then="$then $more $storms $quick" ;;
    *)
        rung_exists "$name" || { echo "run.sh: there is no rung $name; --list names them" >&2; exit 2; }
        then="$then $name" ;;
    esac
done

# ---- Running them ----

if ! mkdir -p "$out" 2>/dev/null || [ ! -w "$out" ]; then
    echo "run.sh: cannot write to $out; BUILD=DIRECTORY names another place" >&2
    exit 2
fi
rm -rf "${out:?}"/*
# Scratch files lie in memory where there is room, since disks are slow.
scratch=/dev/shm
free=$(df -Pk $scratch 2>/dev/null | awk 'NR == 2 { print $4 }')
[ "${free:-0}" -gt 600000 ] && [ -w $scratch ] || scratch=${TMPDIR:-/tmp}
TMPDIR=$(mktemp -d "$scratch/ashlar.XXXXXX") || exit 2
export TMPDIR

# A session of its own, so that all of it can be ended at once: children that are stopped, too.
end_all() { trap '' INT TERM HUP; kill -s KILL -- "-$jobs" 2>/dev/null; rm -rf "$TMPDIR"; }
trap 'end_all; echo "run.sh: stopped" >&2; exit 130' INT TERM HUP
began=$(date +%s)
for phase in "$first" "$then"; do
    # shellcheck disable=SC2086  # a list of words
    for name in $phase; do echo "$name"; done >"$out/list"
    [ -s "$out/list" ] || continue
    setsid xargs -n 1 -P "$JOBS" test/run.sh --rung <"$out/list" &
    jobs=$!
    wait $jobs
done
end_all

cat "$out"/*.tap | awk -v seconds=$(($(date +%s) - began)) '
    /^not ok/ && !/# TODO/ { failed++; next } /# (SKIP|TODO)/ { skipped++; next } /^ok/ { passed++ }
    END {
        printf "%d s%s\n", seconds, skipped ? ", " skipped " skipped" : ""
        printf "%d passed, %d failed\n", passed, failed
        exit failed > 0 || passed == 0
    }'
