#!/usr/bin/env bash
# tools/replay.sh [DIRECTORY]: recorded traces over a slab_store and over each malloc, as a table.
#
# DIRECTORY, or TRACES from the environment, holds the traces: NAME.txt or NAME.txt.gz, text in the
# format that the top of replay.c describes. They are recordings of production services and of real
# programs by others and no part of the project; without them there is nothing to do: SKIP.
#
# ROUNDS rounds (default 5), each running every trace with every subject once, so that a machine
# whose speed drifts does so for all alike; each of these is two runs, one for the throughput and
# one with --latency. The table shows medians. It and the line of each run are kept in
# bench/results/MACHINE/, replay-table.txt and replay.txt.
set -euo pipefail
traces=${1:-${TRACES:-}}
[ -z "$traces" ] || traces=$(realpath "$traces")
cd "$(dirname "$0")/.."
rounds=${ROUNDS:-5}
: "${CC:=cc}" "${CFLAGS:=-O2 -g}"

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
mkdir -p build/traces
found=()
while read -r trace budget repeat; do
    [ -n "$trace" ] || continue
    file=$traces/$trace.txt
    if [ -f "$file" ]; then cp -f "$file" build/traces/
    elif [ -f "$file.gz" ]; then gzip -dc "$file.gz" >"build/traces/$trace.txt"
    else
        echo "replay: SKIP $trace: it is not in $traces"
        continue
    fi
    found+=("$trace $budget $repeat")
done <<<"$table"
[ ${#found[@]} -gt 0 ] || skip "none of the traces is in $traces"

libraries=$(ldconfig -p 2>/dev/null || /sbin/ldconfig -p)
library_of() { sed -n "/lib$1\.so/{s/.* => //p;q}" <<<"$libraries"; }
declare -A preload=([jemalloc]=$(library_of jemalloc) [mimalloc]=$(library_of mimalloc)
    [tcmalloc]=$(library_of tcmalloc_minimal))
for subject in "${!preload[@]}"; do
    [ -n "${preload[$subject]}" ] && continue
    echo "replay: SKIP $subject: its package is not installed"
    subjects=$(grep -v "^$subject " <<<"$subjects")
done

# Processor, cores, kernel, compiler.
machine=$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1)
case $($CC -dM -E - </dev/null) in *__clang__*) compiler=clang ;; *) compiler=gcc ;; esac
machine="${machine:-$(uname -m)}, $(nproc) cores, Linux $(uname -r | sed 's/-.*//')"
machine="$machine, $compiler $($CC -dumpfullversion -dumpversion)"
results=bench/results/$(echo "$machine" | sed 's/([^)]*)//g; s/[^A-Za-z0-9.]\+/-/g')
mkdir -p "$results"
# shellcheck disable=SC2086
$CC -std=c11 $CFLAGS tools/replay.c -o build/replay

figures=$results/replay.txt
columns='ops_per_s hit_ratio payload_per_resident put_p9999_ns put_max_ns'
echo "# $machine; $CC $CFLAGS; trace, subject, $columns; one line a round" >"$figures"
measure() { # subject, arguments of replay: one line of figures
    local library=${preload[$1]:-}
    shift
    {
        env ${library:+LD_PRELOAD="$library"} build/replay "$@"
        env ${library:+LD_PRELOAD="$library"} build/replay "$@" --latency
    } | awk -v columns="$columns" '
        !($1 in value) { value[$1] = $2 } # what both print is taken from the first
        END {
            n = split(columns, name, " ")
            for (i = 1; i <= n; i++) printf " %s", value[name[i]]
        }'
}
for round in $(seq "$rounds"); do
    for line in "${found[@]}"; do
        read -r trace budget repeat <<<"$line"
        options=(--repeat "$repeat")
        [ "$budget" = - ] || options+=(--budget "$budget")
        while read -r subject kind more; do
            [ -n "$subject" ] || continue
            [ -t 2 ] && printf '\r\033[Kround %d: %s %s' "$round" "$trace" "$subject" >&2
            # shellcheck disable=SC2086
            figure=$(measure "$subject" "$kind" "build/traces/$trace.txt" "${options[@]}" $more)
            echo "$trace $subject$figure" >>"$figures"
        done <<<"$subjects"
    done
done
[ -t 2 ] && printf '\r\033[K' >&2

{
    echo "$machine; $CC $CFLAGS; $rounds rounds"
    awk '
        function median(key, column,  n, i, j, v) {
            n = rounds[key]
            for (i = 1; i <= n; i++) {
                for (j = i; j > 1 && v[j - 1] > value[key, i, column]; j--) v[j] = v[j - 1]
                v[j] = value[key, i, column]
            }
            return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
        }
        /^#/ { next }
        {
            key = $1 " " $2
            if (!rounds[key]++) order[++keys] = key
            for (i = 3; i <= NF; i++) value[key, rounds[key], i] = $i + 0
        }
        END {
            printf "%-23s %-10s %8s %10s %17s %12s %12s\n", "trace", "subject", "Mops/s", \
                "hit ratio", "payload/resident", "put p99.99", "put max, us"
            for (i = 1; i <= keys; i++) {
                split(order[i], name, " ")
                hits = median(order[i], 4)
                printf "%-23s %-10s %8.2f %10s %17.3f %12.1f %12.1f\n", name[1], name[2], \
                    median(order[i], 3) / 1e6, hits ? sprintf("%.3f", hits) : "-", \
                    median(order[i], 5), median(order[i], 6) / 1e3, median(order[i], 7) / 1e3
            }
        }' "$figures"
} | tee "$results/replay-table.txt"
