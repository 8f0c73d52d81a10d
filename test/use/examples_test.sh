#!/bin/sh
# Goal: the example programs handover, pagecount, store and spill do what their first lines say, and each
# failure is one line and an exit status.
# Method: compiles each with every warning an error; compares what it prints with what must be
# true; bad arguments, missing and foreign files, a full disk, Ctrl-C and kill -9, the last two with
# builds that run long enough to be hit.
#
#   test/use/examples_test.sh WORKDIR
# shellcheck disable=SC2046,SC2086,SC2317  # lists of words; functions that check calls
# shellcheck disable=SC1091,SC2154  # tap.sh
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/test/tap.sh"
tap_begin "$1"
here=$PWD
strict='-std=c11 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror -pthread'

full() { timeout 60 "$@" >/dev/full 2>err </dev/null; status=$?; : >out; }
limited() { run sh -c 'ulimit -f 16; exec "$@"' sh "$@"; } # files of at most 16 KiB
one_line() { [ "$(wc -l <err)" -eq 1 ] && grep -qF -e "$1" err; }
fails() { [ $status -eq "$1" ] && one_line "$2" && ! [ -s out ]; } # status, text
same() { [ $status -eq 0 ] && cmp -s "$1" "$2"; }
empty() { [ -z "$(ls -A "$1")" ]; }
says() { [ $status -eq 0 ] && ! [ -s err ] && grep -qxE -e "$1" out; }
number() { sed -n "s/.*$1 \([0-9]*\).*/\1/p" out; } # the number after these words
processes() { # that run this program
    find /proc/[0-9]*/exe -maxdepth 0 -lname "$here/$1" 2>/dev/null | sed 's/[^0-9]//g'
}
gone() { # within two seconds; else it is ended here
    for _ in 1 2 3 4 5 6 7 8 9 10; do [ -n "$(processes "$1")" ] || return 0; sleep 0.2; done
    kill -9 $(processes "$1")
    return 1
}
documented() { # first a comment with the command that compiles it; at most 150 lines
    [ "$(wc -l <"$1")" -le 150 ] && head -n 1 "$1" | grep -q "^/\* ${1##*/} - " &&
        head -n 12 "$1" | grep -q "^ \* .*cc -std=c11 .* examples/${1##*/} -o "
}
build() { # program, output, a sed command that changes it
    sed "$3" "$root/examples/$1.c" >"$2.c" && ! cmp -s "$2.c" "$root/examples/$1.c" &&
        $CC -std=c11 -O0 -pthread -I"$root" "$2.c" -o "$2"
}

built() { for program; do [ -x "$program" ] || return 1; done; }

cat >other.c <<'END'
#define OVERFLOW_IMPLEMENTATION
#include "overflow.h"
int main(int argc, char **argv) /* FILE [hold]: writes a value of its own; holds FILE till EOF */
{
    overflow_region *region;
    overflow_ref     ref;
    overflow_config  config = {.initial_bytes = 1 << 16};
    if (overflow_open(&region, argv[1], &config) != 0) return 1;
    if (overflow_write(region, "theirs", 7, 7, &ref) != 0) return 1;
    if (argc > 2) {
        puts("held");
        fflush(stdout);
        (void)getchar();
    }
    return overflow_close(region);
}
END
{
    build handover endless 's/\(MESSAGES = \)50000/\12000000000/'
    build pagecount shortly 's/left < SIZE - filled ?/1009 < left \&\& 1009 < SIZE - filled ? 1009 : &/'
    build pagecount slowly 's/bytes += len;/& usleep(300);/'
    build spill greedy 's/\(KILL_AT = \)20000/\12000000/'
    build spill slow 's/for (uint64_t n = 0;; n++) {/& usleep(1000);/'
    $CC -std=c11 -O0 -I"$root" other.c -o other
} >built 2>&1 &
for name in handover pagecount store spill; do
    check "$name.c says what it shows and how to run it" documented "$root/examples/$name.c"
    try "$name.c compiles" $CC $CFLAGS $strict -I"$root" "$root/examples/$name.c" -o "$name"
done
wait
cp built err
check 'so do the programs that this test is made with' \
    built endless shortly slowly greedy slow other
built handover pagecount store spill endless shortly slowly greedy slow other || tap_end

# ---- handover ----

for mode in '' --processes; do
    run timeout 20 ./handover $mode
    check "handover $mode: every message arrives" says 'control plane: verified 50000 messages'
    check "handover $mode: the data plane sleeps, and no page is lost" \
        says 'data plane: slept [1-9][0-9]* times without a page, lost 0 pages'
    full ./handover $mode
    check "handover $mode: a full disk" fails 1 'standard output: No space left'
done
run ./handover --processes
address() { sed -n "s/^memory: .*at \(0x[0-9a-f]*\) in the $1.*/\1/p" out; }
check 'the control process has the memory at an address of its own' \
    [ "$(address owner)" != "$(address 'control process')" ]
for arguments in --threads '--processes 1'; do
    run ./handover $arguments
    check "handover $arguments is refused" fails 2 'usage: handover'
done
limited ./handover --processes
check 'handover: no room for the shared memory' fails 1 'shared memory: File too large'

run timeout -s INT 0.3 ./endless --processes
check 'Ctrl-C ends both processes' gone endless
./endless --processes >out 2>err &
pid=$!
sleep 0.3
child=$(tr -d ' ' <"/proc/$pid/task/$pid/children")
kill -STOP "$child" # no page comes back: the data plane sleeps
sleep 0.3
kill -9 "$child"
gone endless
wait $pid
status=$?
check 'the data plane notices that the control process died' fails 1 'the control process is gone'

# ---- pagecount ----

counts() { # program, file: agrees with wc, and loses no page
    run timeout 20 "./$1" "$2"
    [ $status -eq 0 ] && [ "$(number ', lost')" -eq 0 ] &&
        [ "$(sed 's/ bytes;.*//; s/ lines,//' out)" = "$(wc -lc <"$2" | awk '{ print $1, $2 }')" ]
}
for lines in 0 1 50 10000 300000; do
    awk -v lines=$lines 'BEGIN { for (i = 0; i < lines; i++) print i * i }' >"counted $lines"
done
head -c 1048576 "$root/slab.h" | tr '\n' x >'counted x'
run ./pagecount 'counted 1'
if grep -q 'no io_uring' err; then
    ok 'pagecount # SKIP no io_uring here'
else
    for file in counted*; do check "pagecount of a file, $file" counts pagecount "$file"; done
    check 'pagecount: short reads are completed' counts shortly 'counted 10000'
    check 'pagecount: the thread is slow' counts slowly 'counted 300000'
    check 'the owner waits in the ring' [ "$(number 'waited')" -gt 0 ]
    full ./pagecount 'counted 50'
    check 'pagecount: a full disk' fails 1 'standard output: No space left'
fi
run ./pagecount missing
check 'pagecount: a missing file' fails 1 'missing: No such file'
run ./pagecount .
check 'pagecount: a directory' fails 1 'not a file'
run ./pagecount
check 'pagecount: no file' fails 2 'usage: pagecount'

# ---- store ----

run timeout 20 ./store --demo
cp out demo
payload() { sed -n "s/^$1: .* \([0-9]*\) %\$/\1/p" demo; }
held() { sed -n "s/^$1: .* of \([0-9]*\) bytes held.*/\1/p" demo; }
check 'store --demo ends well' [ $status -eq 0 ]
check 'the demo stays within its budget' [ "$(held full)" -le 16777216 ]
check 'it evicts' grep -qE '^full: .* [1-9][0-9]* evicted' demo
check 'deletion leaves the memory sparse' [ "$(payload deleted)" -lt $(($(payload full) - 20)) ]
check 'compaction makes it dense' [ "$(payload compacted)" -gt $(($(payload deleted) + 20)) ]
check 'and gives memory back' [ "$(held compacted)" -lt $(($(held deleted) * 3 / 4)) ]

mkdir 'a directory'
printf 'set a 1\nset b  two  words \n\nget a\nset a 3\nget a\nget b\ndel a\ndel a\nget a\n' \
    >'a directory/input'
printf '1\n3\n two  words \n(none)\n' >want
run ./store 'a directory/input'
check 'store FILE' same out want
timeout 60 ./store <'a directory/input' >out 2>err
status=$?
check 'store without arguments reads its input' same out want
printf 'set a 1\nput a 2\nget\nget a\n' >input
run ./store input
check 'a line that is no command: status 1' [ $status -eq 1 ]
check 'it is named' grep -qxF 'store: line 2: no command, or no room' err
check 'and the rest is carried out' grep -qx 1 out
{
    echo 'set a 1'
    head -c 3000000 /dev/zero | tr '\0' x | sed 's/^/set big /'
    printf '\nget a\n'
} >input
run ./store input
check 'a value that is too large' one_line 'store: line 2: no command, or no room'
check 'evicts nothing' grep -qx 1 out

awk 'BEGIN {
    x = sprintf("%800s", ""); gsub(/ /, "x", x)
    for (i = 0; i < 90000; i++) print "set", i, substr(x, 1, 100)
    for (i = 0; i < 90000; i++) if (i % 8) print "del", i
    for (i = 0; i < 10000; i++) print "set", "other" i, x
    print "stats"
}' >input
run timeout 20 ./store input
check 'what compaction gathers serves values of other sizes' grep -q '^21250 keys, 0 evicted' out

# Random commands, and what awk finds for them.
awk 'function get(key) { print "get", key; print key in map ? map[key] : "(none)" >"want" }
    function del(key) { print "del", key; delete map[key] }
    function set(key, value) { print "set", key, value; map[key] = value }
    BEGIN {
        srand(7)
        x = sprintf("%600s", ""); gsub(/ /, "x", x)
        for (i = 0; i < 15000; i++) set("k" int(rand() * 9000), i substr(x, 1, int(rand() * 600)))
        for (i = 0; i < 9000; i++) if (i % 8) del("k" i)
        for (i = 0; i < 15000; i++) {
            key = "k" int(rand() * 500); what = rand()
            if (what < 0.2) set(key, i substr(x, 1, int(rand() * 600)))
            else if (what < 0.9) del(key)
            else get(key)
        }
        for (i = 0; i < 9000; i++) get("k" i)
    }' >input
run timeout 20 ./store input
check 'store agrees with a map of awk over 40,000 commands' same out want
full ./store input
check 'store: a full disk, soon' fails 1 'standard output: No space left'
full ./store --demo
check 'store: a full disk, at the end' fails 1 'standard output: No space left'
run ./store missing
check 'store: a missing file' fails 1 'missing: No such file'
run ./store .
check 'store: a directory' fails 1 'directory'
for arguments in --help 'a b'; do
    run ./store $arguments
    check "store $arguments is refused" fails 2 'usage: store'
done

# ---- spill ----

mkdir tmp
TMPDIR=$here/tmp
export TMPDIR
found_all() { # what was written, or one more: killed between write and its report
    written=$(number 'killed after') found=$(number 'reopen: found')
    [ $status -eq 0 ] && ! [ -s err ] && [ "${written:-0}" -gt 20000 ] &&
        [ "$found" -ge "$written" ] && [ "$found" -le $((written + 1)) ]
}
run timeout 20 ./spill
check 'spill finds every value after the kill' found_all
check 'its temporary file is gone' empty tmp
run timeout 20 ./spill 'a directory/region'
check 'spill FILE finds every value after the kill' found_all
before=$(number 'reopen: found')
run timeout 20 ./spill 'a directory/region'
check 'the next run finds the values of the last' [ "$(number 'start:  found')" = "$before" ]
check 'and its own' found_all

cp "$root/overflow.h" foreign
./other theirs
cp theirs kept
for file in foreign theirs; do
    run ./spill $file
    check "spill: $file is refused" fails 1 'left as it is'
done
check 'a foreign file is as it was' cmp foreign "$root/overflow.h"
run cmp -i 8192 theirs kept
check 'the values of another program are as they were' [ $status -eq 0 ]
mkfifo fifo
./other held hold <fifo >ready &
exec 3>fifo
while ! [ -s ready ] && [ -n "$(processes other)" ]; do sleep 0.1; done
run ./spill held
check 'spill: a file that is in use' fails 1 'busy'
exec 3>&-
wait
run ./spill missing/region
check 'spill: a missing directory' fails 1 'missing/region: No such file'
run ./spill .
check 'spill: a directory' fails 1 'directory'
for arguments in --help 'a b'; do
    run ./spill $arguments
    check "spill $arguments is refused" fails 2 'usage: spill'
done
limited ./spill
check 'spill: no room for a temporary file' fails 1 'No space left'
limited ./spill new
check 'spill: no room for FILE' fails 1 'No space left'
check 'FILE is not left behind' [ ! -e new ]
full ./spill
check 'spill: a full disk' fails 1 'standard output: No space left'
run env TMPDIR=missing ./spill
check 'spill: no directory for temporary files' fails 1 'missing/spill'
check 'no temporary file is left behind' empty tmp

run timeout 20 ./greedy
check 'spill: the region is full' fails 1 'overflow_write: No space left'
run timeout --preserve-status -s INT -k 3 0.3 ./slow
check 'Ctrl-C ends spill' fails 130 interrupted
check 'and its writer' gone slow
check 'nothing is left behind' empty tmp
./slow >out 2>err &
sleep 0.3
kill -9 $!
wait $! 2>>err
check 'the writer does not outlive the parent' gone slow
tap_end
