#!/usr/bin/env bash
# Measures: every workload with all its subjects, and makes a table of each program.
#
#   bench/run.sh                        all programs: slab, store, overflow, fixedpool, bufpool
#   bench/run.sh PROGRAM...             these
#   bench/run.sh PROGRAM:WORKLOAD...    single workloads of a program
#   bench/run.sh sweep [PROGRAM...]     time against threads, and against the amount of work
#
# ROUNDS rounds (default 7; of a sweep, 3), each of which runs every command once, so that a machine
# whose speed drifts does so for all alike. hyperfine runs the commands. Files of disk-... workloads
# are in BENCH_DIR (default: BUILD, which is build). CC, CFLAGS and CXX choose the compilers.
#
# All results go to OUT (default: BUILD/bench/MACHINE/): NAME.figures has the figures of each round,
# NAME.tsv medians and quartiles (bench/figures.awk tells the columns), NAME.txt the same to be read,
# with ratios to Ashlar. Single workloads go to OUT/partial/. A subject that could not do its work
# has a row that says why. bench/publish.sh copies results to bench/results/.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=/dev/null
. bench/machine.sh
: "${BUILD:=build}" "${BENCH_DIR:=$BUILD}" "${OUT:=$BUILD/bench/$machine_directory}"
programs='slab store overflow fixedpool bufpool'

refuse() { echo "bench: $1; try bench/run.sh --help" >&2; exit 2; }
is_program() { [[ " $programs " == *" $1 "* ]]; }

sweep='' chosen=()
case ${1:-} in
-h | --help) sed -n '/^# Measures/,/^set/s/^# \{0,1\}//p' "$0"; exit ;;
sweep) sweep=1; shift ;;
esac
for argument; do
    is_program "${argument%%:*}" || refuse "there is no program '${argument%%:*}'"
    [[ -z $sweep || $argument != *:* ]] || refuse 'a sweep is of whole programs'
    chosen+=("$argument")
done
# shellcheck disable=SC2206  # a list of words
[ ${#chosen[@]} -gt 0 ] || chosen=($programs)
rounds=${ROUNDS:-$([ "$sweep" ] && echo 3 || echo 7)}
[[ $rounds =~ ^[1-9][0-9]?$ ]] || refuse "ROUNDS=$rounds is not a number from 1 to 99"

if ! command -v hyperfine >/dev/null; then
    echo 'bench: SKIP package hyperfine is not installed'
    [ -z "${STRICT:-}" ]
    exit
fi
[[ "$BUILD$BENCH_DIR" != *[[:space:]]* ]] || refuse 'BUILD and BENCH_DIR cannot have blanks'
if ! mkdir -p "$OUT" "$BUILD" 2>/dev/null; then
    echo "bench: cannot write to $OUT; BUILD=DIRECTORY names another place" >&2
    exit 2
fi
work=$(mktemp -d "$BUILD/bench.XXXXXX")
trap 'rm -rf "$work"' EXIT

# ---- Programs, with those of their peers that are installed ----

for name in mimalloc jemalloc tcmalloc_minimal; do
    [ -n "$(library_of "$name")" ] || echo "bench: SKIP ${name%_minimal}: its package is not installed"
done

# A peer in C or C++: whether a program with that header, in that language, links with it.
peer() { # name, package, language, header, library
    local compiler=$CC
    [ "$3" = c ] || compiler=$CXX
    if printf '#include <%s>\nint main(void) { return 0; }\n' "$4" |
        $compiler -x "$3" - -o "$work/probe" "-l$5" 2>/dev/null; then
        peers+=("-DWITH_${1^^}")
        peer_libraries+=("-l$5")
    else
        echo "bench: SKIP $1: package $2 is not installed"
        return 1
    fi
}
peer_object() { # program: its peers in C++
    # shellcheck disable=SC2086
    $CXX $CFLAGS -c "bench/$1_peers.cc" -o "$work/$1_peers.o"
    peers+=("$work/$1_peers.o")
}

# DPDK's subjects need its library: a program of its own, so that the others do not load it.
compile_dpdk() {
    rm -f "$BUILD/$1_bench_dpdk"
    if pkg-config --exists libdpdk 2>/dev/null; then
        # shellcheck disable=SC2046,SC2086
        $CC -std=gnu11 $CFLAGS -w -DWITH_DPDK $(pkg-config --cflags libdpdk) -pthread \
            "bench/$1_bench.c" -o "$BUILD/$1_bench_dpdk" $(pkg-config --libs libdpdk)
    else echo "bench: SKIP DPDK's subjects: package libdpdk-dev is not installed"; fi
}

compile() {
    local peers=() peer_libraries=()
    case $1 in
    overflow)
        peer lmdb liblmdb-dev c lmdb.h lmdb || :
        peer memkind libmemkind-dev c memkind.h memkind || :
        ! peer boost 'libboost-dev or g++' c++ boost/interprocess/managed_mapped_file.hpp stdc++ ||
            peer_object overflow ;;
    slab) peer ck libck-dev c ck_ring.h c || : ;;
    fixedpool) # of Concurrency Kit only headers are needed
        peer ck libck-dev c ck_stack.h c || :
        ! peer boost 'libboost-dev or g++' c++ boost/lockfree/stack.hpp stdc++ ||
            peer_object fixedpool ;;
    bufpool) peer ffmpeg libavutil-dev c libavutil/buffer.h avutil || : ;;
    esac
    # shellcheck disable=SC2086
    $CC -std=c11 $CFLAGS -pthread "bench/$1_bench.c" "${peers[@]}" -o "$BUILD/$1_bench" \
        "${peer_libraries[@]}"
    case $1 in slab | fixedpool) compile_dpdk "$1" ;; esac
}

# ---- Commands: workload, subject, threads and amount as the table shall have them; the command ----

# A program's own list, with each malloc.
commands() { # program, workload or nothing for all
    local workload subject library name run=$BUILD/$1_bench options=''
    case $1 in overflow | fixedpool) options=" --dir $BENCH_DIR" ;; esac
    "$run" --list | while read -r workload subject; do
        [[ -z $2 || $workload = "$2" ]] || continue
        echo "$workload $subject - - $run $workload $subject$options"
        [ "$subject" = malloc ] || continue
        for name in mimalloc jemalloc tcmalloc_minimal; do
            library=$(library_of "$name")
            [ -z "$library" ] ||
                echo "$workload ${name%_minimal} - - env LD_PRELOAD=$library $run $workload malloc"
        done
    done
    [ ! -x "${run}_dpdk" ] || "${run}_dpdk" --list | while read -r workload subject; do
        [[ -z $2 || $workload = "$2" ]] || continue
        case "$workload $subject" in
        crowd\ rte_mempool) ;; # all pages may come to lie in its caches
        *\ rte_*) echo "$workload $subject - - ${run}_dpdk $workload $subject" ;;
        esac
    done
}

# How a subject of the sweep is run, or nothing where it is not installed.
sweep_run() { # program, workload, subject
    local run=$BUILD/$1_bench library
    case $3 in
    mimalloc | jemalloc | tcmalloc)
        library=$(library_of "${3/%tcmalloc/tcmalloc_minimal}")
        [ -z "$library" ] || echo "env LD_PRELOAD=$library $run $2 malloc"
        return ;;
    rte_*) run=${run}_dpdk ;;
    esac
    # Without grep -q: the program would die of the closed pipe.
    [ ! -x "$run" ] || ! "$run" --list | grep -x "$2 $3" >/dev/null || echo "$run $2 $3"
}

# The lines of bench/sweep.txt, at each point with each subject that is installed.
sweep_commands() { # program
    local program table workload option points subjects subject run point threads amount
    # shellcheck disable=SC2162  # a line that ends in \ goes on in the next
    while read program table workload option points subjects; do
        [ "$program" = "$1" ] || continue
        option="--${option//,/ --}"
        for subject in $subjects; do
            run=$(sweep_run "$1" "$workload" "${subject%:*}")
            [ -n "$run" ] || continue
            for point in ${points//,/ }; do
                threads=- amount=$point
                [ "$option" != --threads ] || { threads=$point amount=-; }
                echo "$table ${subject%:*} $threads $amount" \
                    "$run ${option//=/ } $point --ops ${subject#*:}"
            done
        done
    done <bench/sweep.txt
}

# ---- Rounds ----

# Runs the commands in $work/commands and prints a line for each figure. hyperfine prints a
# command's name before its output. A figure's line has four words; the first two are replaced by
# the name, since to the program every malloc is malloc. A command without a figure has failed. One
# that lasts two minutes is ended: the threads of a ring that lets its producers finish in turn can
# take hours where there are more of them than cores.
measure() { # what is measured
    local line round names arguments
    for round in $(seq "$rounds"); do
        arguments=()
        while read -r line; do
            names=$(cut -d ' ' -f 1-4 <<<"$line")
            arguments+=(--command-name "$names" "timeout 120 $(cut -d ' ' -f 5- <<<"$line")")
        done <"$work/commands"
        [ -t 2 ] && printf '\r%s, round %d of %d' "$1" "$round" "$rounds" >&2
        hyperfine --shell=none --runs 1 --ignore-failure --show-output \
            --export-json "$OUT/$1-$round.json" "${arguments[@]}" 2>"$work/err" | awk '
            function end() { if (name && !told) print name, "FAILED", "no-figure" }
            $1 == "Benchmark" && $2 ~ /^[0-9]+:$/ {
                end(); name = $3 " " $4 " " $5 " " $6; told = 0; next
            }
            name && NF == 4 && ($3 == "FAILED" || $3 ~ /^[0-9.]+$/) { print name, $3, $4; told = 1 }
            END { end() }' || {
            cat "$work/err" >&2
            return 1
        }
    done
    [ -t 2 ] && printf '\r\033[K' >&2
    return 0
}

# The words on the command line that give these results.
command_of() { echo "ROUNDS=$rounds bench/run.sh${sweep:+ sweep} $1"; }

for argument in "${chosen[@]}"; do
    program=${argument%%:*} workload=''
    [[ $argument != *:* ]] || workload=${argument#*:}
    compile "$program"
    name=$program${sweep:+-sweep}
    if [ "$sweep" ]; then sweep_commands "$program"
    else commands "$program" "$workload"; fi >"$work/commands"
    [ -s "$work/commands" ] || refuse "$program has no workload '$workload'"
    [ -z "$workload" ] || { mkdir -p "$OUT/partial"; name=partial/$program-$workload; }
    { headline "$(command_of "$argument")"; measure "$name"; } >"$OUT/$name.figures"
    awk -f bench/figures.awk "$OUT/$name.figures" >"$OUT/$name.tsv"
    bench/tables.sh text "$OUT/$name.tsv" | tee "$OUT/$name.txt"
done
