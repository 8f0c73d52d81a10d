#!/usr/bin/env bash
# Plays recorded traces with a slab_store and with each malloc, and makes a table.
#
#   tools/replay.sh DIRECTORY      the traces are in DIRECTORY: NAME.txt or NAME.txt.gz
#   TRACES=DIRECTORY tools/replay.sh
#
# tools/replay.c describes the format. The traces are recordings of production services and of real
# programs by others and no part of this project; without them there is nothing to do: SKIP.
#
# ROUNDS rounds (default 5), each of which plays every trace with every subject once, so that a
# machine whose speed drifts does so for all alike; each of these is two runs, one for the throughput
# and one with --latency. Results go to OUT (default: BUILD/bench/MACHINE/): replay.figures has each
# round, replay.tsv medians and quartiles, replay.txt the same to be read. bench/publish.sh copies
# them to bench/results/.
#
# The comparison is not one of equals: the store with fitted tiers compacts after each free and trims
# after every 4,096 frees and at the end of the replay. The store with default tiers does neither,
# and nor do the mallocs: malloc_trim and its like are not called.
set -euo pipefail
case ${1:-} in
-h | --help) sed -n '/^# Plays/,/^set/s/^# \{0,1\}//p' "$0"; exit ;;
-*) echo "replay: there is no option '$1'; try tools/replay.sh --help" >&2; exit 2 ;;
esac
traces=${1:-${TRACES:-}}
[ -z "$traces" ] || traces=$(realpath "$traces")
[ -z "${OUT:-}" ] || OUT=$(realpath -m "$OUT")
cd "$(dirname "$0")/.."
# shellcheck source=/dev/null
. bench/machine.sh
: "${BUILD:=build}" "${OUT:=$BUILD/bench/$machine_directory}"
rounds=${ROUNDS:-5}

# The trace; the budget, - for none; how often it is played, for a second or so in all. Budgets are
# half of what the trace's reads ask for; what only writes, or calls malloc, has to keep everything.
table='
doc_tldr               -     20
doc_scoop_main         -     50
doc_repos_a            -      4
http_web1998           128M   6
cdn_meta_a             40M   40
alloc_qt_gui_1         -      6
alloc_android_systemui -      6'

# The subject's name in the table; how to run it. More moves than 2 after each free gained nothing.
subjects='
store     store
fitted-31 store --tiers fit:31 --compact 2
fitted-63 store --tiers fit:63 --compact 2
glibc     malloc
jemalloc  malloc
mimalloc  malloc
tcmalloc  malloc'

skip() {
    echo "replay: SKIP $1"
    [ -z "${STRICT:-}" ]
    exit
}
[ -n "$traces" ] || skip 'no traces: name their directory, or set TRACES'
[ -d "$traces" ] || skip "no traces: $traces is not a directory"

# Unpacked once, so that no run waits for gzip.
mkdir -p "$BUILD/traces" "$OUT"
found=()
while read -r trace budget repeat; do
    [ -n "$trace" ] || continue
    file=$traces/$trace.txt
    if [ -f "$file" ]; then cp -f "$file" "$BUILD/traces/"
    elif [ -f "$file.gz" ]; then gzip -dc "$file.gz" >"$BUILD/traces/$trace.txt"
    else
        echo "replay: SKIP $trace: it is not in $traces"
        continue
    fi
    found+=("$trace $budget $repeat")
done <<<"$table"
[ ${#found[@]} -gt 0 ] || skip "none of the traces is in $traces"

declare -A preload=([jemalloc]=$(library_of jemalloc) [mimalloc]=$(library_of mimalloc)
    [tcmalloc]=$(library_of tcmalloc_minimal))
for subject in "${!preload[@]}"; do
    [ -n "${preload[$subject]}" ] && continue
    echo "replay: SKIP $subject: its package is not installed"
    subjects=$(grep -v "^$subject " <<<"$subjects")
done
# shellcheck disable=SC2086
$CC -std=c11 $CFLAGS tools/replay.c -o "$BUILD/replay"

# Prints a line for each figure: what both runs print is taken from the first.
measure() { # trace, subject, arguments of replay
    local trace=$1 subject=$2 library=${preload[$2]:-}
    shift 2
    {
        env ${library:+LD_PRELOAD="$library"} "$BUILD/replay" "$@"
        env ${library:+LD_PRELOAD="$library"} "$BUILD/replay" "$@" --latency
    } | awk -v row="$trace $subject - -" '
        /^(ops_per_s|hit_ratio|payload_per_resident|put_p9999_ns|put_max_ns) / && !known[$1]++ {
            print row, $2, $1
        }'
}

play_all() {
    local round line trace budget repeat subject kind more options
    for round in $(seq "$rounds"); do
        for line in "${found[@]}"; do
            read -r trace budget repeat <<<"$line"
            options=(--repeat "$repeat")
            [ "$budget" = - ] || options+=(--budget "$budget")
            while read -r subject kind more; do
                [ -n "$subject" ] || continue
                [ -t 2 ] && printf '\r\033[Kround %d: %s %s' "$round" "$trace" "$subject" >&2
                # shellcheck disable=SC2086
                measure "$trace" "$subject" "$kind" "$BUILD/traces/$trace.txt" "${options[@]}" $more
            done <<<"$subjects"
        done
    done
    [ -t 2 ] && printf '\r\033[K' >&2
    return 0
}

{ headline "ROUNDS=$rounds tools/replay.sh"; play_all; } >"$OUT/replay.figures"
awk -f bench/figures.awk "$OUT/replay.figures" >"$OUT/replay.tsv"
bench/tables.sh text "$OUT/replay.tsv" | tee "$OUT/replay.txt"
