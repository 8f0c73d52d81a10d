#!/usr/bin/env bash
# make bench: every workload over all its subjects, ROUNDS rounds (default 7), each round running
# each of them once, so that a machine whose speed drifts does so for all alike. hyperfine runs the
# commands; its JSON and every figure the programs printed are kept in bench/results/MACHINE/; then
# a table for each program: the median ns/op, the middle half of the rounds, and the ratio to
# Ashlar; below it the medians of what else they measured.
#
#   bench/run.sh             all programs
#   bench/run.sh slab        one: pages, slab_bench
#   bench/run.sh store       values, store_bench
#   bench/run.sh overflow    values in a file, overflow_bench: in build (BENCH_DIR=... for
#                            another directory on a disk) and in /dev/shm
#   bench/run.sh fixedpool   frames, fixedpool_bench; its file in build, too (BENCH_DIR=...)
#   bench/run.sh bufpool     buffers, bufpool_bench
#
# A subject that could not do its work says FAILED in the table, and why.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${ROUNDS:-7}
: "${CC:=cc}" "${CXX:=c++}" "${CFLAGS:=-O2 -g}" "${BENCH_DIR:=build}"
[ $# -gt 0 ] || set -- slab store overflow fixedpool bufpool
for program; do
    [ -f "bench/${program}_bench.c" ] || { echo "bench: there is no $program" >&2; exit 2; }
done

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
mkdir -p "$results" build

libraries=$(ldconfig -p 2>/dev/null || /sbin/ldconfig -p)
library_of() { sed -n "/lib$1\.so/{s/.* => //p;q}" <<<"$libraries"; }
for name in mimalloc jemalloc tcmalloc_minimal; do
    [[ " $* " =~ " "(slab|store|fixedpool|bufpool)" " ]] || break
    [ -n "$(library_of "$name")" ] && continue
    echo "bench: SKIP ${name%_minimal}: its package is not installed"
done

# A peer in C or C++: whether a program with that header, in that language, links with it.
peer() { # name, package, language, header, library
    local compiler=$CC
    [ "$3" = c ] || compiler=$CXX
    if printf '#include <%s>\nint main(void) { return 0; }\n' "$4" |
        $compiler -x "$3" - -o build/probe "-l$5" 2>/dev/null; then
        peers+=("-DWITH_${1^^}")
        libraries_of_peers+=("-l$5")
    else
        echo "bench: SKIP $1: package $2 is not installed"
        return 1
    fi
}

# overflow_bench with those of its peers that are installed.
compile_overflow() {
    local peers=() libraries_of_peers=()
    peer lmdb liblmdb-dev c lmdb.h lmdb || :
    peer memkind libmemkind-dev c memkind.h memkind || :
    if peer boost 'libboost-dev or g++' c++ boost/interprocess/managed_mapped_file.hpp stdc++; then
        # shellcheck disable=SC2086
        $CXX $CFLAGS -c bench/overflow_peers.cc -o build/overflow_peers.o
        peers+=(build/overflow_peers.o)
    fi
    # shellcheck disable=SC2086
    $CC -std=c11 $CFLAGS -pthread bench/overflow_bench.c "${peers[@]}" -o build/overflow_bench \
        "${libraries_of_peers[@]}"
}

# fixedpool_bench likewise; of Concurrency Kit only headers are needed.
compile_fixedpool() {
    local peers=() libraries_of_peers=()
    peer ck libck-dev c ck_stack.h c || :
    if peer boost 'libboost-dev or g++' c++ boost/lockfree/stack.hpp stdc++; then
        # shellcheck disable=SC2086
        $CXX $CFLAGS -c bench/fixedpool_peers.cc -o build/fixedpool_peers.o
        peers+=(build/fixedpool_peers.o)
    fi
    # shellcheck disable=SC2086
    $CC -std=c11 $CFLAGS -pthread bench/fixedpool_bench.c "${peers[@]}" -o build/fixedpool_bench \
        "${libraries_of_peers[@]}"
}

compile_bufpool() {
    local peers=() libraries_of_peers=()
    peer ffmpeg libavutil-dev c libavutil/buffer.h avutil || :
    # shellcheck disable=SC2086
    $CC -std=c11 $CFLAGS -pthread bench/bufpool_bench.c "${peers[@]}" -o build/bufpool_bench \
        "${libraries_of_peers[@]}"
}

# DPDK's subjects need its library: a program of its own, so that the others do not load it.
compile_dpdk() {
    rm -f "build/$1_bench_dpdk"
    if pkg-config --exists libdpdk 2>/dev/null; then
        # shellcheck disable=SC2046,SC2086
        $CC -std=gnu11 $CFLAGS -w -DWITH_DPDK $(pkg-config --cflags libdpdk) -pthread \
            "bench/$1_bench.c" -o "build/$1_bench_dpdk" $(pkg-config --libs libdpdk)
    else echo "bench: SKIP DPDK's: package libdpdk-dev is not installed"; fi
}

compile() {
    # shellcheck disable=SC2086
    case $1 in
    overflow) compile_overflow ;;
    fixedpool) compile_fixedpool ;;
    bufpool) compile_bufpool ;;
    *) $CC -std=c11 $CFLAGS -pthread "bench/$1_bench.c" -o "build/$1_bench" ;;
    esac
    case $1 in slab | fixedpool) compile_dpdk "$1" ;; esac
}

# What to run of a program: the workload, the subject's name in the table, the command.
commands() {
    local workload subject library name run=build/$1_bench options=''
    case $1 in overflow | fixedpool) options=" --dir $BENCH_DIR" ;; esac
    "$run" --list | while read -r workload subject; do
        echo "$workload $subject $run $workload $subject$options"
        [ "$subject" = malloc ] || continue
        for name in mimalloc jemalloc tcmalloc_minimal; do
            library=$(library_of "$name")
            [ -n "$library" ] || continue
            echo "$workload ${name%_minimal} env LD_PRELOAD=$library $run $workload malloc"
        done
    done
    case $1 in slab | fixedpool) ;; *) return ;; esac
    [ ! -x "${run}_dpdk" ] || "${run}_dpdk" --list | while read -r workload subject; do
        case "$workload $subject" in
        crowd\ rte_mempool) ;; # all pages may come to lie in its caches
        *\ rte_*) echo "$workload $subject ${run}_dpdk $workload $subject" ;;
        esac
    done
}

# Runs a program's commands: a line for each figure.
measure() {
    local list line round workload subject command arguments
    mapfile -t list < <(commands "$1")
    for round in $(seq "$rounds"); do
        arguments=()
        for line in "${list[@]}"; do
            read -r workload subject command <<<"$line"
            arguments+=(--command-name "$workload $subject" "$command")
        done
        [ -t 2 ] && printf '\r%s, round %d of %d' "$1" "$round" "$rounds" >&2
        # Before each command's output comes its name. A figure begins with its workload; the
        # subject is taken from the name: to the program every malloc is malloc. Who breaks down has
        # none.
        hyperfine --shell=none --runs 1 --ignore-failure --show-output \
            --export-json "$results/$1-$round.json" "${arguments[@]}" 2>build/bench.err | awk '
            function end() { if (workload && !told) print workload, subject, "FAILED no-figure" }
            $1 == "Benchmark" && $2 ~ /^[0-9]+:$/ {
                end(); workload = $3; subject = $4; told = 0; next
            }
            $1 == workload && NF == 4 { print workload, subject, $3, $4; told = 1 }
            END { end() }' || {
            cat build/bench.err >&2
            exit 1
        }
    done
    [ -t 2 ] && printf '\r\033[K' >&2
    return 0
}

# Figures to tables; of a workload, the subjects in the order in which they were run.
summarise() {
    grep -v '^#' | sort -s -k 1,1 | awk '
    function median(key,  n) {
        n = rounds[key]
        return n % 2 ? v[key, (n + 1) / 2] : (v[key, n / 2] + v[key, n / 2 + 1]) / 2
    }
    {
        row = $1 " " $2; key = row " " $4
        if (!known[row]++) rows[++count] = row
        if (length($1) > width) width = length($1)
        if ($3 == "FAILED") { failed[row] = $4; next }
        if ($4 != "ns/op" && !known[$1, $4]++) columns[$1] = columns[$1] " " $4
        for (i = ++rounds[key]; i > 1 && v[key, i - 1] > $3 + 0; i--) v[key, i] = v[key, i - 1]
        v[key, i] = $3 + 0
    }
    END {
        begin = "%-" (width > 12 ? width : 12) "s %-12s "
        printf begin "%12s %19s %10s\n", "workload", "subject", "ns/op", "middle half", "ratio"
        for (i = 1; i <= count; i++) {
            key = rows[i] " ns/op"
            split(rows[i], name, " ")
            if (failed[rows[i]])
                printf begin "%12s %s\n", name[1], name[2], "FAILED", failed[rows[i]]
            if (failed[rows[i]] || !rounds[key]) continue
            low = int((rounds[key] + 3) / 4); base = name[1] " ashlar ns/op"
            printf begin "%12.2f %9.2f %9.2f %10s\n", name[1], name[2], median(key), \
                v[key, low], v[key, rounds[key] + 1 - low], \
                rounds[base] ? sprintf("%.2f", median(key) / median(base)) : ""
        }
        for (i = 1; i <= count; i++) {
            split(rows[i], name, " ")
            n = split(columns[name[1]], column, " ")
            if (n == 0 || failed[rows[i]]) continue
            if (name[1] != last) {
                printf "\n%-18s %-12s", last = name[1], "subject"
                for (j = 1; j <= n; j++) printf " %16s", column[j]
                print ""
            }
            printf "%-18s %-12s", "", name[2]
            for (j = 1; j <= n; j++) {
                key = rows[i] " " column[j]
                printf " %16s", rounds[key] ? sprintf("%.6g", median(key)) : ""
            }
            print ""
        }
    }'
}

for program; do
    compile "$program"
    figures=$results/$program.txt
    echo "# $machine; $CC $CFLAGS; workload, subject, figure, what it is, one line each" >"$figures"
    measure "$program" >>"$figures"
    {
        echo "$machine; $CC $CFLAGS; $rounds rounds"
        summarise <"$figures"
    } | tee "$results/$program-table.txt"
done
