#!/usr/bin/env bash
# Measures kv-server beside redis-server and memcached, with redis-benchmark and kv_load.
#
#   bench/kv.sh [ROW...]    rows: speed, density, drift, restart; default: all of them
#
# speed     SET and GET of 100 bytes and 1 KiB, one and sixteen requests under way on each of 32
#           connections; by kv_load, and by redis-benchmark where the server speaks its protocol
# density   KEYS keys of 16 bytes with lognormal sizes of values around 300 and around 60 bytes:
#           keys and values by resident bytes, fresh and without a limit
# drift     the same around 300 bytes in a quarter of that memory, so that the server evicts all the
#           time: fresh, and after ten budgets of overwrites with drifting sizes
# restart   writes until kill -9, with every write in a file: once synced every second, once before
#           each answer; the time until the server answers again, and what is lost
#
# KEYS (default 1000000), REQUESTS for each speed row (default 500000), ROUNDS (default 3), SERVER
# (default BUILD/kv-server) and KV_OPTIONS for it. Results go to OUT (default BUILD/bench/MACHINE/):
# kv.figures has each round, kv.tsv medians and quartiles; bench/publish.sh copies them.
#
# redis-server runs without snapshots and with one thread for I/O, as its documentation advises for
# two cores; memcached with two threads. Servers that are not installed are named and left out.
set -euo pipefail
case ${1:-} in
-h | --help) sed -n '/^# Measures/,/^set/s/^# \{0,1\}//p' "$0"; exit ;;
-*) echo "kv: there is no option '$1'; try bench/kv.sh --help" >&2; exit 2 ;;
esac
[ -z "${OUT:-}" ] || OUT=$(realpath -m "$OUT")
[ -z "${SERVER:-}" ] || SERVER=$(realpath "$SERVER")
cd "$(dirname "$0")/.."
# shellcheck source=/dev/null
. bench/machine.sh
: "${BUILD:=build}" "${OUT:=$BUILD/bench/$machine_directory}" "${KEYS:=1000000}"
: "${REQUESTS:=500000}" "${ROUNDS:=3}" "${KV_OPTIONS:=}"
mkdir -p "$BUILD" "$OUT"
if [ -z "${SERVER:-}" ]; then
    make -s "BUILD=$BUILD" "$BUILD/kv-server"
    SERVER=$(realpath "$BUILD/kv-server")
fi
# shellcheck disable=SC2086
$CC -std=c11 $CFLAGS bench/kv_load.c -lm -o "$BUILD/kv_load"
load=$(realpath "$BUILD/kv_load")
work=$(mktemp -d)
pid=''
stop() { # signal
    [ -n "$pid" ] || return 0
    kill "-$1" "$pid" 2>/dev/null || :
    { wait "$pid"; } 2>/dev/null || :
    pid=''
}
trap 'stop KILL; rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

subjects=kv
for name in redis-server memcached; do
    if command -v $name >/dev/null; then subjects="$subjects ${name%-server}"
    else
        echo "kv: SKIP $name: its package is not installed" >&2
        [ -z "${STRICT:-}" ]
    fi
done

answers() { # does the server answer yet? to redis-server's LOADING no client gets a value
    local line=''
    exec 3<>"/dev/tcp/127.0.0.1/$port" || return 1
    if [ "$subject" = memcached ]; then printf 'mn\r\n' >&3; else printf 'PING\r\n' >&3; fi
    IFS= read -r -t 5 -u 3 line || :
    exec 3>&- 3<&-
    case $line in +PONG* | MN*) return 0 ;; *) return 1 ;; esac
}
# Starts a server and waits until it answers. $pid, $port; $took in milliseconds.
start() { # subject, memory in bytes or 0, none | second | always: how often its file is synced
    local memory=$2 file=() before
    subject=$1 port=$((20000 + RANDOM % 10000))
    case $subject-$3 in
    kv-second) file=(--durable --spill "$work/kv.region" --sync 1) ;;
    kv-always) file=(--durable --spill "$work/kv.region" --sync 0) ;;
    redis-second) file=(--appendonly yes --appendfsync everysec --dir "$work") ;;
    redis-always) file=(--appendonly yes --appendfsync always --dir "$work") ;;
    esac
    [ "$memory" -gt 0 ] || memory=$((8 << 30))
    before=$(date +%s%N)
    case $subject in
    kv)
        # shellcheck disable=SC2086
        "$SERVER" --port $port --memory "$memory" $KV_OPTIONS "${file[@]}" >"$work/log" 2>&1 &
        ;;
    redis)
        redis-server --port $port --bind 127.0.0.1 --save '' --maxmemory "$memory" \
            --maxmemory-policy allkeys-lru "${file[@]}" >"$work/log" 2>&1 &
        ;;
    memcached)
        memcached -u nobody -l 127.0.0.1 -p $port -U 0 -t 2 -c 4096 \
            -m $((memory >> 22 ? memory >> 20 : 4)) \
            >"$work/log" 2>&1 &
        ;;
    esac
    pid=$!
    until answers 2>/dev/null; do
        kill -0 $pid 2>/dev/null || { cat "$work/log" >&2; echo "kv: $1 does not start" >&2; exit 1; }
        sleep 0.01
    done
    took=$((($(date +%s%N) - before) / 1000000))
}
protocol() { [ "$subject" != memcached ] || echo --memcached; }
figure() { echo "$1 $subject - - $2 $3"; } # workload, number, measure

# Prints the lines of a phase as figures of a workload.
phase() { # the phase's name in the output, workload, measures, the how maniest of this name
    awk -v phase="$1" -v row="$2 $subject - -" -v measures=" $3 " -v number="${4:-1}" '
        $1 == phase && $2 == "ops" { n++ }
        $1 == phase && n == number && index(measures, " " $2 " ") { print row, $3, $2 }' "$work/phases"
}
kv_load() { # options and phases
    # shellcheck disable=SC2046
    timeout 900 "$load" "$port" $(protocol) --pid "$pid" "$@" >"$work/phases"
}

row_speed() {
    local size pipeline verb
    for size in 100 1024; do
        for pipeline in 1 16; do
            start "$1" 0 none
            kv_load --keys 100000 --median $size --sigma 0 --clients 32 --pipeline $pipeline \
                fill "set:$REQUESTS" "get:$REQUESTS"
            for verb in set get; do
                phase $verb "$verb-$size-p$pipeline" 'ops_per_s server-us/op p50-us p99.9-us'
            done
            stop TERM
            [ "$subject" != memcached ] || continue
            command -v redis-benchmark >/dev/null || continue
            start "$1" 0 none
            redis-benchmark -p "$port" -t set,get -d $size -n "$REQUESTS" -c 32 -P $pipeline \
                -r 100000 --csv 2>/dev/null | tr -d '"' | awk -F, -v size=$size -v p=$pipeline \
                -v subject="$subject" '$1 == "SET" || $1 == "GET" {
                    print "bench-" tolower($1) "-" size "-p" p, subject, "- -", $2, "ops_per_s" }'
            stop TERM
        done
    done
}
row_density() {
    local median
    for median in 300 60; do
        start "$1" 0 none
        kv_load --keys "$KEYS" --median $median --pipeline 16 fill read
        phase read "density-$median" 'payload_per_resident misses'
        stop TERM
    done
}
row_drift() {
    local budget=$((KEYS * 400 / 4))
    [ $budget -ge $((4 << 20)) ] || budget=$((4 << 20))
    start "$1" $budget none
    kv_load --keys "$KEYS" --pipeline 16 fill read "drift:$((budget * 10))" read
    phase read drift-fresh 'payload_per_resident payload_bytes resident_bytes'
    phase drift drift 'ops_per_s server-us/op p50-us p99.9-us max-us'
    phase read drift-aged 'payload_per_resident payload_bytes resident_bytes' 2
    stop TERM
}
row_restart() {
    local sync
    [ "$1" != memcached ] || return 0
    for sync in second always; do
        rm -rf "$work/state" "$work/kv.region"* "$work/appendonlydir"
        start "$1" 0 $sync
        { sleep "${LOAD_SECONDS:-10}"; kill -KILL "$pid"; } &
        kv_load --keys "$KEYS" --pipeline 16 --state "$work/state" "set:1000000000" || :
        { wait "$pid"; } 2>/dev/null || :
        phase set "restart-$sync" ops_per_s
        start "$1" 0 $sync
        figure "restart-$sync" "$took" restart-ms
        kv_load --keys "$KEYS" --pipeline 16 --state "$work/state" check || :
        phase check "restart-$sync" 'hits wrong'
        stop TERM
    done
}

[ $# -gt 0 ] || set -- speed density drift restart
{
    headline "KEYS=$KEYS ROUNDS=$ROUNDS bench/kv.sh"
    for round in $(seq "$ROUNDS"); do
        for row; do
            for name in $subjects; do
                [ -t 2 ] && printf '\r\033[Kround %d: %s %s' "$round" "$row" "$name" >&2
                "row_$row" "$name"
            done
        done
    done
    [ -t 2 ] && printf '\r\033[K' >&2
} >"$OUT/kv.figures"
awk -f bench/figures.awk "$OUT/kv.figures" >"$OUT/kv.tsv"
bench/tables.sh make "$OUT"
bench/plot.sh "$OUT"
cat "$OUT/kv.txt"
