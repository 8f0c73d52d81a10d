#!/bin/sh
# Goal: replay counts right, alike for every subject, and says what is wrong with what it was given.
# Method: replay_small.txt under several budgets against a cache of a few lines of awk, which looks
# for the coldest key by a scan; traces and arguments that are wrong; a malloc that hands out one
# block twice.
#
#   test/use/replay_test.sh WORKDIR
# shellcheck disable=SC2086  # CFLAGS and the options are lists of words
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$1/replay
: "${CC:=cc}" "${CFLAGS:=-O2 -g}"
rm -rf "$work"
mkdir -p "$work" && cd "$work" || exit 2
count=0 failed=0

check() { # what, whether
    count=$((count + 1))
    if [ "$2" -eq 0 ]; then echo "ok $count - $1"; else
        failed=1
        sed 's/^/# /' out err
        echo "not ok $count - $1"
    fi
}
skip() { # what, package
    count=$((count + 1))
    echo "ok $count - $1 # SKIP package $2 is not installed"
}
run() { timeout 60 ./replay "$@" >out 2>err </dev/null; status=$?; }
value() { sed -n "s/^$1 //p" out; }
fails() { # status, words of the message
    [ $status -eq "$1" ] && grep -qF -e "$2" err && [ ! -s out ]
}

if ! $CC -std=c11 $CFLAGS "$root/tools/replay.c" -ldl -o replay >out 2>err; then
    check 'it compiles' 1
    echo '1..1'
    exit 1
fi
cp "$root/test/use/replay_small.txt" small.txt

# ---- What it counts ----

counted='ops|reads|hits|puts|evictions|hit_ratio|payload_bytes'
expect() { # budget (0: none), repeat: what replay should count for small.txt
    awk -v budget="$1" -v repeat="$2" '
        function drop(k) { payload -= len[k]; delete len[k]; delete used[k] }
        function write(k, size,  coldest, c) {
            if (k in len) drop(k)
            if (size == 0 || (budget && size > budget)) return
            for (; budget && payload + size > budget; evictions++) {
                coldest = -1
                for (c in used) if (coldest == -1 || used[c] < used[coldest]) coldest = c
                drop(coldest)
            }
            len[k] = size; payload += size; used[k] = ++clock; puts++
        }
        /^[^#poi]/ {
            op[++n] = $1; key[n] = $2; size[n] = $3 > 0 && $3 < 8 ? 8 : $3 + 0
        }
        END {
            reads = hits = puts = evictions = payload = 0
            for (; repeat > 0; repeat--) for (i = 1; i <= n; i++) {
                k = key[i]
                if (op[i] == "d") { if (k in len) drop(k) }
                else if (op[i] ~ /[sz]/) write(k, size[i])
                else if (++reads && (k in len)) { hits++; used[k] = ++clock }
                else if (size[i]) write(k, size[i])
                ops++
            }
            print "ops " ops "\nreads " reads "\nhits " hits "\nputs " puts "\nevictions " evictions
            printf "hit_ratio %.6f\npayload_bytes %d\n", hits / reads, payload
        }' small.txt
}
counts() { # what, budget, repeat, options: malloc and store count as awk does
    expect "$2" "$3" >expected
    [ "$2" -eq 0 ] || set -- "$1" "$2" "$3" "--budget $2 $4"
    for subject in malloc store; do
        run $subject small.txt --repeat "$3" $4
        grep -E "^($counted) " out >got
        [ $status -eq 0 ] && cmp -s got expected &&
            [ "$(value resident_bytes)" -ge "$(value payload_bytes)" ]
        check "$1, $subject" $?
    done
}
counts 'no budget' 0 1
counts 'budget for all of it' 1000000 1
counts 'the coldest go' 200000 1
counts 'the coldest go, thrice' 200000 3
counts 'some values are too large' 65536 2
counts 'hardly any fits' 1000 5

as_expected() { # options: store, three times in 200000 bytes
    run store small.txt --budget 200000 --repeat 3 "$@"
    grep -E "^($counted) " out >got
    [ $status -eq 0 ] && cmp -s got expected
}
expect 200000 3 >expected
as_expected && [ "$(value tiers)" = 64,128,256,512,1024,2048,4096 ]
check 'the default tiers' $?
as_expected --tiers 128,1000 && [ "$(value tiers)" = 128,1000 ]
check 'tiers of our own' $?
for fit in fit:63:65536 fit:7:65536 fit:1:65536 fit:7:8192 fit:7 fit; do
    most=${fit#fit} limit=${fit##*:}
    as_expected --tiers $fit && value tiers | awk -F, -v most="${most#:}" -v limit="$limit" '
        { for (i = 1; i <= NF; i++) if ($i % 8 || $i <= $(i - 1) * (i > 1)) exit 1 }
        END { exit !(NF <= (most ? most : 63) && (limit + 0 < 4096 || ($NF <= limit && $NF > limit * 0.9))) }'
    check "--tiers $fit" $?
done
# 500 KB in a budget of 200,000 bytes: few tiers; 100 times as many of the same sizes: more.
run store small.txt --tiers fit --budget 200000
few=$(value tiers | tr ',' '\n' | wc -l)
awk '/^s/ { for (i = 0; i < 100; i++) print "s", n++, $3, 0, 0, 0 }' small.txt >many.txt
run store many.txt --tiers fit
[ $status -eq 0 ] && [ "$(value tiers | tr ',' '\n' | wc -l)" -gt "$few" ]
check 'a larger store gets more tiers' $?
# Nearly all that lives has 100 or 200 bytes; most records write values of 500 that soon go.
awk 'BEGIN {
    for (i = 0; i < 4000; i++) print "s", i, 100 + i % 2 * 100, 0, 0, 0
    for (i = 0; i < 20000; i++) { print "s 4000 500 0 0 0"; print "d 4000 0 0 0 0" }
    print "s 4000 1000 0 0 0"
}' >lives.txt
run store lives.txt --tiers fit:2
[ "$(value tiers)" = 200,1000 ]
check 'sizes weigh by the time that values live' $?
for moves in 0 1 100; do
    as_expected --compact $moves --tiers fit && [ "$(value moves)" -ge 0 ]
    check "--compact $moves" $?
done
# 4,000 values of one tier, of which one in four stays: chunks empty only if values are moved.
awk 'BEGIN {
    for (i = 0; i < 4000; i++) print "s", i, 4000 - i % 100, 0, 0, 0
    for (i = 0; i < 4000; i++) print i % 4 ? "d" : "g", i, 0, 0, 0, 0
    for (i = 0; i < 4000; i += 4) print "g", i, 0, 0, 0, 0
}' >sparse.txt
run store sparse.txt --compact 1
[ $status -eq 0 ] && [ "$(value moves)" -gt 0 ] && [ "$(value trimmed_bytes)" = 0 ] &&
    [ "$(value hits)" = 2000 ] && ! grep -q '^trims' out
check 'compaction alone does not trim' $?
run store sparse.txt --compact 1 --trim 1M
[ $status -eq 0 ] && [ "$(value moves)" -gt 0 ] && [ "$(value trimmed_bytes)" -gt 4000000 ] &&
    [ "$(value hits)" = 2000 ]
check 'moved values are found again' $?
run store sparse.txt --compact 0
[ $status -eq 0 ] && [ "$(value moves)" = 0 ]
check 'none are moved when none may be' $?
as_expected --latency --compact 2 --trim 100000 && ! grep -q ops_per_s out &&
    [ "$(value put_p9999_ns)" -gt 0 ] && [ "$(value put_max_ns)" -ge "$(value put_p9999_ns)" ]
check '--latency' $?

# ---- Memory that is given back ----

# Half of 16 MB is freed, in order: 11,848,500 bytes in all, with the end.
awk 'BEGIN {
    for (i = 0; i < 4000; i++) print "s", i, 3950 + i % 50, 0, 0, 0
    for (i = 0; i < 3000; i++) print "d", i, 0, 0, 0, 0
}' >halves.txt
freed=$(awk '$1 == "s" && $2 < 3000 { sum += $3 } END { print sum }' halves.txt)
for subject in malloc store; do
    run $subject halves.txt --trim 1M
    # A trim comes with the value that fills the megabyte, so there is at most one fewer.
    [ $status -eq 0 ] && [ "$(value trims)" -ge $((freed / 1052672 + 1)) ] &&
        [ "$(value trims)" -le $((freed / 1048576 + 1)) ]
    check "so often as bytes are freed, $subject" $?
    run $subject halves.txt --trim 1G
    [ "$(value trims)" = 1 ]
    check "and at the end, $subject" $?
    given=$(value resident_bytes)
    run $subject halves.txt
    ! grep -q '^trims\|^gives_back' out && [ "$(value resident_bytes)" -gt $((given + 4000000)) ]
    check "resident memory falls, $subject" $?
done
run malloc halves.txt --trim 1G
case $(value gives_back) in
malloc_trim | '') [ "$(value gives_back)" = malloc_trim ] ;;
*) : ;;
esac
check 'the function is named' $?
gives_back() { # package, library, function, at least so many bytes
    library=$({ ldconfig -p || /sbin/ldconfig -p; } 2>/dev/null |
        sed -n "/lib$2\\.so/{s/.* => //p;q}")
    if [ -z "$library" ]; then skip "$2 gives back" "$1"; return; fi
    LD_PRELOAD=$library timeout 60 ./replay malloc halves.txt >out 2>err
    kept=$(value resident_bytes)
    LD_PRELOAD=$library timeout 60 ./replay malloc halves.txt --trim 1M >out 2>err &&
        [ "$(value gives_back)" = "$3" ] && [ "$(value resident_bytes)" -lt $((kept - $4)) ]
    check "$2 gives back" $?
}
case $CFLAGS in
*-fsanitize*) ;;
*)
    gives_back libjemalloc2 jemalloc mallctl 2000000
    # Within a segment that holds a block, mimalloc keeps what it has.
    gives_back libmimalloc2.0 mimalloc mi_collect -1000000
    gives_back libtcmalloc-minimal4 tcmalloc_minimal MallocExtension_ReleaseFreeMemory 2000000
    ;;
esac
run store small.txt --repeat 300
awk -v wall="$(value ops_per_s)" -v cpu="$(value cpu_ops_per_s)" '
    BEGIN { exit !(wall > 0 && cpu > wall * 0.8) }'
check 'processor time is not above time by the clock' $?

# ---- The other kind of trace ----

cat >calls.txt <<'END'
# op id size align tid t_ms
m 2 100 64 0 0
a 0 1000 0 0 0
c 1 3 0 0 0
a 3 0 0 0 0
r 0 70000 0 0 1
f 2 0 0 1 1
f 3 0 0 0 1
x 0 0 0 1 1
a 2 50 0 0 2
END
for subject in malloc store; do
    run $subject calls.txt
    [ $status -eq 0 ] && [ "$(value ops)" = 8 ] && [ "$(value puts)" = 5 ] &&
        [ "$(value payload_bytes)" = $((70000 + 8 + 50)) ]
    check "calls to malloc, $subject" $?
done
run malloc calls.txt --repeat 10 --budget 1K
[ $status -eq 0 ] && [ "$(value puts)" = 40 ] && [ "$(value payload_bytes)" = 58 ]
check 'calls to malloc, a budget' $?

# ---- Where it comes from ----

expect 0 1 >expected
timeout 60 ./replay malloc - <small.txt >out 2>err
grep -E "^($counted) " out | cmp -s - expected
check 'a trace from stdin' $?
awk '{ printf "%s\r\n", $0 }' small.txt >dos.txt
run malloc dos.txt
grep -E "^($counted) " out | cmp -s - expected
check 'lines that end in CR LF' $?
printf 'g 0 8 0 0 0\ng 0 8 0 0 0' >unended.txt
run malloc unended.txt
[ "$(value hits)" = 1 ]
check 'a last line without an end' $?
if command -v gzip >/dev/null 2>&1; then
    mkdir "it's \$(here) & there"
    gzip -c small.txt >"it's \$(here) & there/small.txt.gz"
    run malloc "it's \$(here) & there/small.txt.gz"
    grep -E "^($counted) " out | cmp -s - expected
    check 'a trace that gzip packed' $?
    printf 'g 0 8 0 0 0\n' >no.gz
    run malloc no.gz
    fails 1 'no.gz: gzip cannot unpack it'
    check 'one that it did not' $?
    gzip -c small.txt | head -c 500 >cut.gz
    run malloc cut.gz
    fails 1 'cut.gz: gzip cannot unpack it'
    check 'one that ends early' $?
else skip 'a trace that gzip packed' gzip; fi

# ---- What it refuses ----

wrong() { # message, lines: the last of them is wrong
    printf '%b' "$2" >wrong.txt
    run malloc wrong.txt
    fails 1 "wrong.txt:$(awk 'END { print NR }' wrong.txt): $1"
    check "refused: $1" $?
}
wrong 'unknown operation' 'g 0 8 0 0 0\n# q\nq 0 8 0 0 0\n'
wrong 'the key, column 2, is not a number' 'g x 8 0 0 0\n'
wrong 'the key, column 2, is not a number' 'get 0 8 0 0 0\n'
wrong 'the size, column 3, is not a number' 'g 0 -8 0 0 0\n'
wrong 'the size, column 3, is not a number' 'g 0 8.5 0 0 0\n'
wrong 'the size, column 3, is too large' 'g 0 99999999999999999999 0 0 0\n'
wrong 'the size is beyond 4 GiB' 'g 0 4294967296 0 0 0\n'
wrong 'column 6 is not a number' 'g 0 8 0 0 0\ng 1 8 0 0\n'
wrong 'column 4 is not a number' 'g 0 8'
wrong 'key 3: keys must be numbered from 0' 'g 0 8 0 0 0\ng 3 8 0 0 0'
wrong 'a among the operations of the other kind' 'm 0 8 0 0 0\ng 0 8 0 0 0\na 0 8 0 0 0\n'
wrong 'g among the operations of the other kind' 'm 0 8 0 0 0\nf 0 0 0 0 0\ng 0 8 0 0 0\n'
printf '# nothing\n' >empty.txt
run malloc empty.txt
fails 1 'empty.txt: no record that can be played'
check 'refused: a trace without records' $?
run malloc missing.txt
fails 1 'missing.txt: No such file'
check 'refused: a file that is not there' $?
run malloc .
fails 1 '.: Is a directory'
check 'refused: a directory' $?
run store small.txt --tiers 64,100
fails 1 '--tiers 64,100: the store does not take these'
check 'refused: tiers that are no multiples of 8' $?

misused() { # words of the message, arguments
    said=$1
    shift
    run "$@"
    fails 2 "$said" && grep -q '^usage: ' err
    check "usage: $*" $?
}
misused usage
misused usage malloc
run --help
[ $status -eq 0 ] && grep -q '^usage: ' out && [ ! -s err ]
check 'usage: --help' $?
misused 'slab: not store or malloc' slab small.txt
misused '0: not a number of bytes' malloc small.txt --budget 0
misused '5Q: not a number of bytes' malloc small.txt --budget 5Q
misused '5KK: not a number of bytes' malloc small.txt --budget 5KK
misused '99999999999G: not a number of bytes' malloc small.txt --budget 99999999999G
misused '--budget: nothing follows it' malloc small.txt --budget
misused '5Q: not a number of bytes' malloc small.txt --trim 5Q
misused '0: not 1..' malloc small.txt --repeat 0
misused '-1: not 0..' store small.txt --compact -1
misused 'x: not tiers' store small.txt --tiers x
misused 'fit:64: not tiers' store small.txt --tiers fit:64
for tiers in fit:0 fit: fit:7: fit:7:0 fit:7:65537 fit7 fit:7:8x; do
    misused "$tiers: not tiers" store small.txt --tiers $tiers
done
misused '64,: not tiers' store small.txt --tiers 64,
misused '--tiers: not an option of malloc' malloc small.txt --tiers fit
misused '--fast: not an option' store small.txt --fast 1

# ---- What it notices ----

# Values of 4,002 bytes begin in the middle of the one of 4,001.
cat >overlap.c <<'END'
#include <stddef.h>
void *__libc_malloc(size_t);
void  __libc_free(void *);
static char block[8192];
void *malloc(size_t size)
{
    if (size == 4001) return block;
    return size == 4002 ? block + 2000 : __libc_malloc(size);
}
void free(void *memory)
{
    if (memory != block && memory != block + 2000) __libc_free(memory);
}
END
overlapping() { # lines of a trace
    printf '%b' "$1" >overlap.txt
    LD_PRELOAD=$PWD/overlap.so timeout 60 ./replay malloc overlap.txt >out 2>err </dev/null
    status=$?
}
if $CC -shared -fPIC overlap.c -o overlap.so 2>err &&
    overlapping 's 0 4001 0 0 0\n' && [ $status -eq 0 ]; then
    overlapping 's 0 4001 0 0 0\ns 1 4002 0 0 0\n'
    fails 1 'the value of key 0, 4001 bytes, is wrong'
    check 'a wrong end of a value is noticed' $?
    overlapping 's 1 4002 0 0 0\ns 0 4001 0 0 0\ng 1 4002 0 0 0\n'
    fails 1 'the value of key 1, 4002 bytes, is wrong'
    check 'so is a wrong beginning' $?
else
    count=$((count + 1))
    echo "ok $count - a wrong value is noticed # SKIP no malloc of our own by LD_PRELOAD"
fi

# ---- The table of many traces ----

if command -v bash >/dev/null 2>&1; then
    mkdir -p "traces here"
    cp small.txt "traces here/http_web1998.txt"
    cp calls.txt "traces here/alloc_qt_gui_1.txt"
    cp halves.txt "traces here/doc_tldr.txt"
    BUILD=$PWD/build OUT=$PWD/figures ROUNDS=1 STRICT='' timeout 60 bash "$root/tools/replay.sh" \
        "traces here" >out 2>err && grep -q 'SKIP doc_repos_a: it is not in' out
    check 'replay.sh plays the traces that are there' $?
    for subject in fitted default plain glibc; do
        for name in $subject $subject-1 $subject-8 $subject-64; do
            for measure in payload_per_resident ops_per_s cpu_ops_per_s; do
                for trace in http_web1998 alloc_qt_gui_1; do
                    grep -q "^$trace	$name	-	-	$measure	" figures/replay.tsv ||
                        echo "$trace $name $measure" >>missing_figures
                done
            done
        done
    done
    [ ! -e missing_figures ]
    check 'with every subject, as it is and trimmed' $?
    awk -F '\t' '$1 == "doc_tldr" && $5 == "payload_per_resident" { density[$2] = $6 }
        END { exit !(density["glibc-64"] > density["glibc"] * 1.1) }' figures/replay.tsv
    check 'those with a number give memory back' $?
    grep -q '| \*\*fitted tiers, compacted; trim\*\* |' figures/replay-cache.md &&
        grep -q '^| web cache | [0-9.]* | [0-9.]* | ' figures/replay-verdict.md
    check 'and makes the tables' $?
    if command -v gnuplot >/dev/null 2>&1; then
        grep -q 'desktop' figures/replay-frontier.svg && grep -q 'desktop' figures/replay-density.svg
        check 'and the plots' $?
    else skip 'and the plots' gnuplot-nox; fi
else skip 'replay.sh' bash; fi
echo "1..$count"
exit $failed
