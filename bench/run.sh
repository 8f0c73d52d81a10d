#!/usr/bin/env bash
# make bench: every workload over all its subjects, ROUNDS rounds (default 7), each round running each
# of them once, so that a machine whose speed drifts does so for all alike. hyperfine runs the
# commands; its JSON and every figure the programs printed are kept in bench/results/MACHINE/; then
# one table: the median, the middle half of the rounds, and the ratio to Ashlar.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${ROUNDS:-7}
: "${CC:=cc}" "${CFLAGS:=-O2 -g}"

if ! command -v hyperfine >/dev/null; then
    echo 'bench: SKIP package hyperfine is not installed'
    [ -z "${STRICT:-}" ]
    exit
fi

# Processor, cores, kernel, compiler.
machine=$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1)
case $($CC -dM -E - </dev/null) in *__clang__*) compiler=clang ;; *) compiler=gcc ;; esac
machine="${machine:-$(uname -m)}, $(nproc) cores, Linux $(uname -r | sed 's/-.*//')"
machine="$machine, $compiler $($CC -dumpfullversion -dumpversion)"
results=bench/results/$(echo "$machine" | sed 's/([^)]*)//g; s/[^A-Za-z0-9.]\+/-/g')
mkdir -p "$results"

# The subject rte_mempool needs its library: a program of its own, so that the others do not load it.
mkdir -p build
programs=build/slab_bench
if pkg-config --exists libdpdk 2>/dev/null; then
    # shellcheck disable=SC2046,SC2086
    $CC -std=gnu11 $CFLAGS -w -DWITH_DPDK $(pkg-config --cflags libdpdk) -pthread \
        bench/slab_bench.c -o build/slab_bench_dpdk $(pkg-config --libs libdpdk)
    programs="$programs build/slab_bench_dpdk"
else echo 'bench: SKIP rte_mempool: package libdpdk-dev is not installed'; fi

libraries=$(ldconfig -p 2>/dev/null || /sbin/ldconfig -p)
library_of() { sed -n "/lib$1\.so/{s/.* => //p;q}" <<<"$libraries"; }

# What to run: the workload, the subject's name in the table, the command.
commands() {
    local workload subject library name
    build/slab_bench --list | while read -r workload subject; do
        echo "$workload $subject build/slab_bench $workload $subject"
        [ "$subject" = malloc ] || continue
        for name in mimalloc jemalloc tcmalloc_minimal; do
            library=$(library_of "$name")
            [ -n "$library" ] || continue
            echo "$workload ${name%_minimal} env LD_PRELOAD=$library build/slab_bench $workload malloc"
        done
    done
    [ "$programs" = build/slab_bench ] || for workload in pair across across16; do
        echo "$workload rte_mempool build/slab_bench_dpdk $workload rte_mempool"
    done
}
for name in mimalloc jemalloc tcmalloc_minimal; do
    [ -n "$(library_of "$name")" ] || echo "bench: SKIP ${name%_minimal}: its package is not installed"
done

figures=$results/slab.txt
echo "# $machine; $CC $CFLAGS; workload, subject, ns per operation, one line a run" >"$figures"
mapfile -t list < <(commands)
for round in $(seq "$rounds"); do
    arguments=()
    for line in "${list[@]}"; do
        read -r workload subject command <<<"$line"
        arguments+=(--command-name "$workload $subject" "$command")
    done
    hyperfine --shell=none --runs 1 --show-output --export-json "$results/slab-$round.json" \
        "${arguments[@]}" 2>/dev/null >build/bench.out
    # The programs print in the order in which they were run; malloc's name is the library's.
    grep ' ns/op$' build/bench.out | cut -d ' ' -f 3 >build/bench.ns
    for i in "${!list[@]}"; do
        read -r workload subject _ <<<"${list[$i]}"
        echo "$workload $subject $(sed -n "$((i + 1))p" build/bench.ns)"
    done >>"$figures"
    [ -t 1 ] && printf '\rround %d of %d' "$round" "$rounds" >&2
done
[ -t 1 ] && printf '\r\033[K' >&2

echo "$machine; $CC $CFLAGS; $rounds rounds"
grep -v '^#' "$figures" | sort -k 1,1 -k 2,2 -k 3,3n | awk '
    function flush() {
        if (!n) return
        key = w " " s
        median[key] = n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
        low[key] = v[int((n + 3) / 4)]; high[key] = v[n + 1 - int((n + 3) / 4)]
        order[++count] = key; n = 0
    }
    $1 != w || $2 != s { flush(); w = $1; s = $2 }
    { v[++n] = $3 }
    END {
        flush()
        printf "%-12s %-12s %12s %19s %10s\n", "workload", "subject", "ns/op", "middle half", "ratio"
        for (i = 1; i <= count; i++) {
            split(order[i], k, " ")
            base = median[k[1] " ashlar"]
            printf "%-12s %-12s %12.2f %9.2f %9.2f %10s\n", k[1], k[2], median[order[i]], \
                low[order[i]], high[order[i]], \
                base ? sprintf("%.2f", median[order[i]] / base) : ""
        }
    }' | tee "$results/slab-table.txt"
