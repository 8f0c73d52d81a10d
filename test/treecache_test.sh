#!/bin/sh
# Goal: treecache verifies what it should, says what it skips, notices a wrong byte, and stays in its
# budget.
# Method: small trees with everything in them that a file system can hold; the last line, the status
# and rows of the table are compared. The wrong bytes come from a pread that is not the system's, and
# from a treecache that does not notice when a value moves.
#
#   test/treecache_test.sh WORKDIR
# shellcheck disable=SC2086  # CFLAGS is a list of words
root=$(cd "$(dirname "$0")/.." && pwd)
work=$1/treecache
: "${CC:=cc}" "${CFLAGS:=-O2 -g}"
chmod -R u+rwx "$work" 2>/dev/null
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
run() { timeout 60 ./treecache "$@" >out 2>err </dev/null; status=$?; }
ends_with() { [ "$(tail -n 1 out)" = "treecache: $1" ]; }
row() { sed -n "s/^ *$1  *\([0-9.][0-9.]*\).*/\1/p" out | head -n 1; } # the figure in it

if ! $CC -std=c11 $CFLAGS -pthread "$root/examples/treecache.c" -o treecache >out 2>err; then
    check 'it compiles' 1
    echo '1..1'
    exit 1
fi
: >out

mkdir -p tree/sub/deep tree/empty
: >tree/nothing
printf x >tree/one
head -c 8183 /dev/urandom >tree/sub/piece-1 # a page less the 8 bytes that name it in the store
head -c 8184 /dev/urandom >tree/sub/piece
head -c 8185 /dev/urandom >tree/sub/piece+1
head -c 20000001 /dev/urandom >tree/sub/deep/many-pages # more than pool or cache holds
printf y >'tree/a name with
a newline'
run tree
check 'every byte is verified' $((status != 0))
ends_with "7 files, $((1 + 8183 + 8184 + 8185 + 20000001 + 1)) bytes, 7 verified, 0 wrong"
check 'and counted' $?
check 'a pipe sees no progress bar' "$([ -s err ]; echo $((! $?)))"
[ "$(row requests)" -eq 21 ] && [ "$(row 'pages handed over')" -ge 2451 ]
check 'pages are counted' $?
[ "$(row hits)" -gt 0 ] && [ $(($(row hits) + $(row misses))) -eq "$(row 'pages handed over')" ]
check 'each page is a hit or a miss' $?
grep -qE '^refused ids +0' out
check 'no id was refused' $?

mkfifo tree/fifo
ln -s one tree/link
ln -s . tree/loop
if command -v python3 >/dev/null 2>&1; then
    python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("tree/socket")'
else mkfifo tree/socket; fi
run tree
ends_with "7 files, 20024555 bytes, 7 verified, 0 wrong" && [ $status -eq 0 ]
check 'sockets, fifos and links are no files' $?
grep -q 'fifo' err && grep -q 'socket' err && grep -q 'symbolic links' err
check 'and it says so' $?

printf secret >tree/unreadable
chmod 0 tree/unreadable
if [ "$(id -u)" -ne 0 ]; then
    run tree
elif command -v setpriv >/dev/null 2>&1; then # root reads everything: be somebody else
    chmod 755 . treecache
    timeout 60 setpriv --reuid 65534 --regid 65534 --clear-groups ./treecache tree >out 2>err </dev/null
    status=$?
else
    status=skip
fi
case $status in
0)
    grep -q 'unreadable: Permission denied' err &&
        ends_with '8 files, 20024561 bytes, 7 verified, 0 wrong' && [ "$(row 'skipped names')" -ge 1 ]
    check 'an unreadable file is named, and not verified' $?
    ;;
skip)
    count=$((count + 1))
    echo "ok $count - an unreadable file is named # SKIP package util-linux (setpriv) is not installed"
    ;;
*) grep -q 'Permission denied' err; check 'an unreadable file, or the way to it, is named' $? ;;
esac
rm -f tree/unreadable

run tree/empty
ends_with '0 files, 0 bytes, 0 verified, 0 wrong' && [ $status -eq 0 ] && grep -q 'no files' err
check 'an empty directory is no mistake' $?
run tree/missing
ends_with '0 files, 0 bytes, 0 verified, 0 wrong' && [ $status -eq 1 ] && grep -q 'No such file' err
check 'a missing directory is' $?
run tree/one
[ $status -eq 1 ] && grep -q 'Not a directory' err
check 'so is a file' $?
run --nonsense
check 'usage' $((status != 2))

mkdir hollow
: >hollow/1
: >hollow/2
run hollow
ends_with '2 files, 0 bytes, 2 verified, 0 wrong' && [ $status -eq 0 ] && [ "$(row hits)" -eq 4 ]
check 'empty files are verified, and cached' $?

# 1,200 files in 1,350 pieces, of a few sizes each of which would like its own tier.
mkdir store
for size in 1 200 900 1500 3000 5000 8184 12000; do
    head -c $((150 * size)) /dev/urandom | split -a 3 -b $size - store/$size.
done
all='1200 files, 4617750 bytes, 1200 verified, 0 wrong'
run store
ends_with "$all" && [ $status -eq 0 ] && [ "$(row budget)" -eq $((4617750 / 4)) ]
check 'the budget is a quarter, if not given' $?
for budget in 100000 200K 600K 1M; do
    case $budget in
    *K) bytes=$((${budget%K} * 1024)) ;;
    *M) bytes=$((${budget%M} * 1048576)) ;;
    *) bytes=$budget ;;
    esac
    run --budget $budget store
    ends_with "$all" && [ $status -eq 0 ] && [ "$(row budget)" -eq $bytes ]
    check "$budget: every byte is verified" $?
    [ "$(row evictions)" -gt 0 ] && [ "$(row hits)" -gt 0 ] && [ "$(row 'not kept')" -eq 0 ]
    check "$budget: the coldest are evicted" $?
    held=$(row 'bytes held at most')
    [ "$held" -le $bytes ] && [ "$held" -gt $((bytes / 2)) ]
    check "$budget: it stays in the budget, and uses it" $?
done
[ "$(row 'moves by compact')" -gt 0 ] && [ "$(row tiers)" -gt 1 ]
check 'compact moves values' $?
run --budget 1G store
ends_with "$all" && [ $status -eq 0 ] && [ "$(row evictions)" -eq 0 ] &&
    [ "$(row misses)" -eq 1350 ] && [ "$(row 'not kept')" -eq 0 ]
check 'a budget for everything: each piece is read once' $?
for budget in 1 4096 8191; do
    run --budget $budget store
    ends_with "$all" && [ $status -eq 0 ] && grep -q 'too small' err && [ "$(row hits)" -eq 0 ] &&
        [ "$(row 'bytes held at most')" -eq 0 ]
    check "$budget is too small for a store: it says so, and caches nothing" $?
done
run --budget 1M tree
ends_with '7 files, 20024555 bytes, 7 verified, 0 wrong' && [ $status -eq 0 ] &&
    [ "$(row 'bytes held at most')" -lt 1048576 ] && [ "$(row 'not kept')" -gt 0 ] &&
    [ $(($(row 'not kept') % 2444)) -eq 0 ]
check 'a file larger than the budget is served, and not kept' $?
run --budget 20000001 tree
ends_with '7 files, 20024555 bytes, 7 verified, 0 wrong' && [ $status -eq 0 ] &&
    [ "$(row 'bytes held at most')" -le 20000001 ] && [ "$(row 'not kept')" -eq 0 ] &&
    [ "$(row evictions)" -gt 0 ]
check 'a file as large as the budget is served, and kept in part' $?
bad=0
for budget in 0 0K -1 '' K ' 1' +1 1X 1KK 1.5M 1e6 0x10 18446744073709551616 99999999999G; do
    run --budget "$budget" store
    { [ $status -eq 2 ] && grep -q -e "--budget $budget: " err && ! [ -s out ]; } || bad=1
done
run --budget
[ $status -eq 2 ] || bad=1
check 'what is no budget is refused' $bad
run --budget 2M tree/empty
ends_with '0 files, 0 bytes, 0 verified, 0 wrong' && [ $status -eq 0 ] && [ "$(row budget)" -eq 2097152 ]
check 'an empty directory has a budget, too' $?

mkdir changing
head -c 3000000 /dev/urandom >changing/file
( while [ -d changing ]; do
    head -c 100 /dev/urandom >changing/file
    head -c 3000000 /dev/urandom >changing/file
    rm -f changing/file
done ) 2>/dev/null &
changer=$!
bad=0
for _ in 1 2 3 4 5 6 7 8 9 10; do
    run changing
    [ $status -eq 0 ] || bad=1
    grep -q '0 wrong$' out || bad=1
done
kill $changer 2>/dev/null
wait $changer 2>/dev/null
check 'a file that shrinks, grows and goes is changed, not wrong' $bad

cat >wrong.c <<'END'
#include <sys/syscall.h>
#include <unistd.h>
ssize_t pread64(int fd, void *to, size_t count, off_t offset)
{
    ssize_t got = syscall(SYS_pread64, fd, to, count, offset);
    /* The data plane is the first thread: its reads of the two small files and the end of piece+1. */
    if (got == 1 && syscall(SYS_gettid) == getpid()) *(char *)to ^= 1;
    return got;
}
ssize_t pread(int fd, void *to, size_t count, off_t offset) { return pread64(fd, to, count, offset); }
END
if $CC -D_GNU_SOURCE -shared -fPIC wrong.c -o wrong.so 2>err; then
    LD_PRELOAD=$PWD/wrong.so timeout 60 ./treecache tree >out 2>err </dev/null
    status=$?
    ends_with '7 files, 20024555 bytes, 4 verified, 3 wrong' && [ $status -eq 1 ]
    check 'a wrong byte is found' $?
fi

mutant() { # what sed does to treecache
    sed -e "$1" -e "s|\"../slab.h\"|\"$root/slab.h\"|" "$root/examples/treecache.c" >mutant.c
    cmp -s mutant.c "$root/examples/treecache.c" && return 1
    $CC -std=c11 $CFLAGS -O0 -w -pthread mutant.c -o mutant 2>err || return 1
    timeout 60 ./mutant --budget 1M store >out 2>err </dev/null
    status=$?
}
mutant '/piece->ref = to;/d' && [ $status -ne 0 ]
check 'so is a value that moves and leaves its ref behind' $?
run --budget 1M store
hits=$(row hits)
mutant 's/drop(cache, cache->ends.warmer)/drop(cache, cache->ends.colder)/' &&
    [ $status -eq 0 ] && [ "$(row hits)" -lt "$hits" ]
check 'to evict the coldest makes more hits than to evict the warmest' $?
mutant '/cache->hits++/,/memcpy/{/link/d;}' && [ $status -eq 0 ] && [ "$(row hits)" -lt "$hits" ]
check 'and more than to evict the oldest' $?
echo "1..$count"
exit $failed
