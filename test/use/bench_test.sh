#!/bin/sh
# Goal: every workload of the benchmarks gives a figure with every subject; a wrong word is refused;
# tables, plots and published results are what their figures say.
# Method: each workload with few operations; medians, quartiles, tables and plots of small figures
# with known answers, in a copy of the tree, so that nothing is written into the tree itself.
#
#   test/use/bench_test.sh WORKDIR
# shellcheck disable=SC2086  # CFLAGS is a list of words
root=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=/dev/null
. "$root/test/tap.sh"
tap_begin "$1"
unset BUILD OUT ROUNDS BENCH_DIR
programs='slab store overflow fixedpool bufpool'

# ---- Programs ----

# A figure; or what this kernel, its file system or its limits do not let us do.
row() { # program, workload, subject, options
    cannot='io_uring_setup|CLONE_BUFFERS|O_DIRECT|register:Cannot-allocate-memory'
    run "./$1_bench" "$2" "$3" $4
    if grep -q "^$2 $3 [0-9]" out; then ok "$2 $3"
    elif [ -z "$STRICT" ] && grep -qE "^$2 $3 FAILED ($cannot)" out; then
        tap_count=$((tap_count + 1))
        echo "ok $tap_count - $2 $3 # SKIP $(sed -n 's/.* FAILED //p' out)"
    else not_ok "$2 $3" out err; fi
}
memory_is_scarce() { awk '/^MemAvailable/ && $2 > 3e6 { ok = 1 } END { exit ok }' /proc/meminfo; }

for name in $programs; do
    try "$name: it compiles" $CC -std=c11 $CFLAGS -pthread "$root/bench/${name}_bench.c" \
        -o "${name}_bench" || continue
    few='--ops 2000'
    case $name in store | overflow) few="$few --values 2000" ;; esac
    "./${name}_bench" --list >"$name.list"
    while read -r workload subject; do
        case $workload in *1G)
            if [ -z "$STRICT" ] && memory_is_scarce; then
                tap_count=$((tap_count + 1))
                echo "ok $tap_count - $workload $subject # SKIP less than 3 GB of memory are free"
                continue
            fi ;;
        esac
        row $name "$workload" "$subject" "$few"
    done <"$name.list"
done

# The options of the sweeps: at most one line for each program's table.
while read -r name words options; do
    run "./${name}_bench" ${words%%:*} ${words#*:} --ops 2000 $options
    check "$name: ${words%%:*} ${words#*:} $options" grep -qx "${words%%:*} ${words#*:} [0-9.]* ns/op" out
done <<'END2'
slab across:ashlar --threads 8
slab cycle:ashlar --pages 1
slab cycle:classic --pages 65536
store store-find:ashlar --values 100
overflow shm-read:ashlar --size 64 --values 100
fixedpool pair1:cached --threads 8
fixedpool half1:ashlar --frames 16
fixedpool half1:cached --frames 65536
bufpool same2:cached --threads 8
bufpool lookup100:classic --tenants 10
END2

# ---- What they refuse ----

refused() { # what, words of the one line on stderr, command...
    what=$1 words=$2
    shift 2
    run "$@"
    check "$what" test "$status" -eq 2 -a ! -s out -a "$(wc -l <err)" -eq 1 -a \
        "$(grep -cF -e "$words" err)" -eq 1
}
for name in $programs; do
    read -r workload subject <"$name.list"
    refused "$name: an unknown workload" "there is no workload nonsense" \
        "./${name}_bench" nonsense ashlar
    refused "$name: an unknown subject" "workload $workload has no subject nobody" \
        "./${name}_bench" "$workload" nobody
    refused "$name: an unknown option" "has no option --fast" \
        "./${name}_bench" "$workload" "$subject" --fast 1
    refused "$name: an option without a value" '--ops: a value is missing' \
        "./${name}_bench" "$workload" "$subject" --ops
    for number in 0 -1 1x '' 99999999999999999999; do
        refused "$name: --ops '$number'" 'expected a number from 1' \
            "./${name}_bench" "$workload" "$subject" --ops "$number"
    done
    refused "$name: no words" 'expected WORKLOAD SUBJECT' "./${name}_bench"
    run "./${name}_bench" --help
    check "$name: help" test "$status" -eq 0 -a ! -s err -a "$(grep -c '^usage: ' out)" -eq 1
done
refused 'an option of another workload' 'pair has no option --pages' ./slab_bench pair ashlar --pages 3
refused 'too many threads' 'from 1 to 8' ./fixedpool_bench pair1 ashlar --threads 9

# A copy of what the scripts need, in a path with a blank.
mkdir -p 'a tree/bench/results' 'a tree/docs'
cp -r "$root"/bench/*.* "$root/bench/classic" "$root/bench/plots" 'a tree/bench'
cp "$root"/*.h 'a tree'
bench="$PWD/a tree/bench"
refused 'run.sh: an unknown program' "there is no program 'nonsense'" "$bench/run.sh" nonsense
refused 'run.sh: an unknown program of a sweep' "there is no program 'x'" "$bench/run.sh" sweep x
refused 'run.sh: an unknown option' "there is no program '--fast'" "$bench/run.sh" --fast
refused 'run.sh: a single workload of a sweep' 'of whole programs' "$bench/run.sh" sweep slab:pair
refused 'run.sh: rounds that are no number' 'ROUNDS=x' env ROUNDS=x "$bench/run.sh" slab
refused 'tables.sh: an unknown command' "there is no command 'x'" "$bench/tables.sh" x
refused 'plot.sh: no directory' 'expected one directory' "$bench/plot.sh"
refused 'publish.sh: an empty directory' 'has no tables' "$bench/publish.sh" docs to

# ---- Medians, tables ----

mkdir from
{
    echo '# Machine, 2 cores; cc -O2; ROUNDS=5 bench/run.sh slab; 2026-01-02'
    for figure in 30 10 20 50 40; do echo "pair ashlar - - $figure ns/op"; done
    echo 'pair classic - - 5.5 ns/op'
    echo 'pair classic - - 4.5 ns/op'
    echo 'pair malloc - - FAILED no-figure'
    echo 'across ashlar - - 1234.4 ns/op'
    for threads in 2 4 8; do
        echo "across ashlar $threads - ${threads}0 ns/op"
        echo "across classic $threads - ${threads}00 ns/op"
    done
} >figures
awk -f "$bench/figures.awk" figures >from/slab.tsv
cat >want <<'END2'
pair ashlar - - ns/op 30 20 40 10 50 5 ns
pair classic - - ns/op 5 4.5 5.5 4.5 5.5 2 ns
pair malloc - - no-figure nan nan nan nan nan 1 failed
across ashlar - - ns/op 1234.4 1234.4 1234.4 1234.4 1234.4 1 ns
END2
sed '1,2d' from/slab.tsv | head -n 4 | tr '\t' ' ' >out
check 'medians and quartiles of figures' cmp -s out want
{ head -n 1 figures; grep -- '^across' figures | grep -v -- '- -'; } >swept
awk -f "$bench/figures.awk" swept >from/slab-sweep.tsv
cp from/slab.tsv to_be_broken.tsv
run "$bench/tables.sh" text from/slab.tsv
check 'a table as text' grep -qE '^pair +classic +- +- +ns/op +5 +4.5 to 5.5 +0.17$' out
check 'and what failed' grep -qE '^pair +malloc +- +- +no-figure +FAILED$' out

cat >'a tree/docs/x.md' <<'END2'
before
<!-- table: bench/results/m/pool.md -->
<!-- end -->
after
END2
cp -r 'a tree' before
run "$bench/publish.sh" from 'a tree/bench/results/m' 'a tree/docs/x.md'
check 'publish' test "$status" -eq 0 -a ! -s err
cat >want <<'END2'
before
<!-- table: bench/results/m/pool.md -->
| ns per page | one thread | two cores, one by one | two cores, 16 at a time | one owner, four returners |
|---|---|---|---|---|
| **slab_pool** | **30** (20 to 40) | **1,234** (1,234 to 1,234) | | |
| common design: page stack, return ring | 5.0 (4.5 to 5.5) | | | |
<!-- end -->
after
END2
cp 'a tree/docs/x.md' out
check 'puts the table into the document' cmp -s out want
diff -rq before 'a tree' | sort >out
printf '%s\n' 'Files before/docs/x.md and a tree/docs/x.md differ' 'Only in a tree/bench/results: m' >want
check 'and writes nowhere else' cmp -s out want
check 'from the tables alone' cmp -s from/slab.tsv to_be_broken.tsv
run "$bench/tables.sh" check 'a tree/docs/x.md'
check 'the check of documents passes' test "$status" -eq 0
sed 's/1,234/1,235/' 'a tree/docs/x.md' >'a tree/docs/y.md'
run "$bench/tables.sh" check 'a tree/docs/y.md'
check 'and fails for a wrong figure' test "$status" -eq 1
echo '<!-- table: bench/results/m/none.md -->' >'a tree/docs/z.md'
run "$bench/tables.sh" insert 'a tree/docs/z.md'
check 'a table that is not there is refused' test "$status" -eq 1 -a "$(wc -l <'a tree/docs/z.md')" -eq 1
sed 's/^pair\tashlar\(.*\)\t30\t/pair\tashlar\1\t31\t/' from/slab.tsv >'a tree/bench/results/m/slab.tsv'
run "$bench/tables.sh" check 'a tree/docs/x.md'
check 'so is a table that is not of its figures' grep -q 'pool.md is not what its .tsv gives' out
run "$root/bench/tables.sh" check "$root"/docs/*.md "$root/README.md"
check "the documents' tables are those of the results" test "$status" -eq 0

# ---- Plots ----

if need gnuplot-nox gnuplot; then
    run "$bench/plot.sh" from
    check 'a plot' test "$status" -eq 0 -a -s from/slab-threads.svg -a ! -s err
    check 'only where there are figures' test "$(echo from/*.svg)" = from/slab-threads.svg
    cp from/slab-threads.svg out # for a failure's details
    for word in 'ns per page' 'threads, of which one is the owner' '>slab_pool<' \
        '>page stack, return ring<'; do
        check "it says $word" grep -q -- "$word" out
    done
    check 'no line for a subject without figures' test "$(grep -c 'mimalloc' out)" -eq 0
    check 'no background' test "$(grep -ci 'fill *= *.white\|#ffffff' out)" -eq 0
    run "$bench/plot.sh" from
    check 'the same figures give the same file' cmp -s from/slab-threads.svg \
        'a tree/bench/results/m/slab-threads.svg'
fi

# ---- All of it ----

if need hyperfine hyperfine; then
    cd 'a tree' || exit 2
    ROUNDS=1 timeout 120 bench/run.sh store:store-pair >../out 2>../err
    status=$?
    cd .. || exit 2
    check 'run.sh measures a workload' grep -qE '^store-pair +ashlar +ns/op +[0-9.]+ ' out
    set -- 'a tree'/build/bench/*/partial/store-store-pair.tsv
    check 'and keeps it apart from whole programs' test $status -eq 0 -a -s "$1" -a \
        "$(echo 'a tree'/build/bench/*/*.tsv)" = "a tree/build/bench/*/*.tsv"
fi
tap_end
