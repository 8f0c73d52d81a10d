#!/usr/bin/env bash
# Plays recorded traces with a slab_store and with each malloc, and makes a table.
#
#   tools/replay.sh DIRECTORY      the traces are in DIRECTORY: NAME.txt or NAME.txt.gz
#   TRACES=DIRECTORY tools/replay.sh
#
# tools/replay.c describes the format. The traces are recordings of production services and of real
# programs by others and no part of this project; without them there is nothing to do: SKIP.
#
# Every subject plays every trace as it is and, under the names SUBJECT-1, SUBJECT-8 and SUBJECT-64,
# giving memory back whenever it has freed the trace's peak of payload, or that part of it, and at
# the end (--trim of replay). All do so at the same moments, so that what it costs in processor time
# and gains in density can be compared. SUBJECT-0 is a malloc whose own setting gives memory back at
# once. INTERVALS (default: '1 8 64') names the parts.
#
# ROUNDS rounds (default 3), each of which plays every trace with every subject once, so that a
# machine whose speed drifts does so for all alike. The subjects as they are and those of the middle
# interval have a second run with --latency. A round takes some four minutes. Results go to OUT
# (default: BUILD/bench/MACHINE/): replay.figures has each round, replay.tsv medians and quartiles,
# replay.txt the same to be read, replay-*.md and replay-*.svg the tables and plots that
# bench/tables.txt and bench/plots.txt describe. bench/publish.sh copies them to bench/results/.
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
rounds=${ROUNDS:-3}
read -ra intervals <<<"${INTERVALS:-1 8 64}"
middle=${intervals[${#intervals[@]} / 2]}

# The trace; the budget, - for none; how often it is played, for half a second or so in all. Budgets
# are half of what the trace's reads ask for; what only writes, or calls malloc, has to keep
# everything. Recordings of values whose payload peaks below 1 MB are left out.
table='
doc_tldr               -     10
doc_scoop_main         -     25
doc_repos_a            -      2
http_web1998           128M   3
cdn_meta_a             40M   20
http_site2015          128M   2
alloc_qt_gui_1         -      4
alloc_android_systemui -      5
alloc_dogfood          -     40
alloc_source_map       -     20'

# The subject's name in the table; how to run it. More moves than 2 after each free gained nothing.
subjects='
fitted    store --tiers fit --compact 2
default   store --compact 2
plain     store
glibc     malloc
jemalloc  malloc
mimalloc  malloc
tcmalloc  malloc'

# Settings of a malloc that give memory back at once; glibc has none.
declare -A at_once=([jemalloc]='MALLOC_CONF=dirty_decay_ms:0,muzzy_decay_ms:0'
    [mimalloc]=MIMALLOC_DECOMMIT_DELAY=0 [tcmalloc]=TCMALLOC_AGGRESSIVE_DECOMMIT=t)

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
$CC -std=c11 $CFLAGS tools/replay.c -ldl -o "$BUILD/replay"

# Prints a line for each figure: what both runs print is taken from the first.
measure() { # trace, subject, its name in the table, once or twice, setting or -, arguments of replay
    local row="$1 $3 - -" library=${preload[$2]:-} runs=$4 environment=()
    [ -z "$library" ] || environment=("LD_PRELOAD=$library")
    [ "$5" = - ] || environment+=("$5")
    [ -t 2 ] && printf '\r\033[Kround %d: %s %s' "$round" "$1" "$3" >&2
    shift 5
    {
        env "${environment[@]}" "$BUILD/replay" "$@"
        [ "$runs" = once ] || env "${environment[@]}" "$BUILD/replay" "$@" --latency
    } | awk -v row="$row" '
        /^((cpu_)?ops_per_s|hit_ratio|payload_per_resident|put_p9999_ns|put_max_ns) / &&
            !known[$1]++ { print row, $2, $1 }'
}

play() { # trace, its peak of payload, subject, arguments of replay
    local trace=$1 peak=$2 subject=$3 part runs
    shift 3
    measure "$trace" "$subject" "$subject" twice - "$@"
    for part in "${intervals[@]}"; do
        [ "$part" = "$middle" ] && runs=twice || runs=once
        measure "$trace" "$subject" "$subject-$part" $runs - "$@" --trim $((peak / part))
    done
    [ -z "${at_once[$subject]:-}" ] ||
        measure "$trace" "$subject" "$subject-0" once "${at_once[$subject]}" "$@"
}

play_all() {
    local round line trace budget repeat options peak subject kind own
    for round in $(seq "$rounds"); do
        for line in "${found[@]}"; do
            read -r trace budget repeat <<<"$line"
            options=("$BUILD/traces/$trace.txt")
            [ "$budget" = - ] || options+=(--budget "$budget")
            peak=$("$BUILD/replay" store "${options[@]}" | sed -n 's/^payload_peak_bytes //p')
            options+=(--repeat "$repeat")
            while read -r subject kind own; do
                # shellcheck disable=SC2086
                [ -z "$subject" ] || play "$trace" "$peak" "$subject" "$kind" "${options[@]}" $own
            done <<<"$subjects"
        done
    done
    [ -t 2 ] && printf '\r\033[K' >&2
    return 0
}

{ headline "ROUNDS=$rounds tools/replay.sh"; play_all; } >"$OUT/replay.figures"
awk -f bench/figures.awk "$OUT/replay.figures" >"$OUT/replay.tsv"
bench/tables.sh make "$OUT"
bench/plot.sh "$OUT"
cat "$OUT/replay.txt"
