#!/bin/sh
# Goal: treecache verifies what it should, says what it skips, notices a wrong byte, stays in its
# budget, finds in a region what it spilled there, and nothing else, reads by an io_uring where
# there is one, gets each buffer back, and shows what each tenant pays for.
# Method: small trees with everything in them that a file system can hold; the last line, the status
# and rows of the table are compared. The wrong bytes come from a pread that is not the system's, and
# from treecaches that do not notice when a value moves, or take them from the wrong frame. One is
# killed at its hundredth spilled piece; a small program owns regions, and writes to them what
# treecache never would. Another takes io_uring away. Where there is none, all is done with --no-ring.
# What each tenant must pay is known from the sizes of its files, when there is room for all of them.
#
#   test/use/treecache_test.sh WORKDIR
# shellcheck disable=SC2086  # CFLAGS is a list of words
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$1/treecache
: "${CC:=cc}" "${CFLAGS:=-O2 -g}"
chmod -R u+rwx "$work" 2>/dev/null
rm -rf "$work"
mkdir -p "$work/tmp" && cd "$work" || exit 2
chmod 1777 tmp
TMPDIR=$PWD/tmp
export TMPDIR
count=0 failed=0 ring=

check() { # what, whether
    count=$((count + 1))
    if [ "$2" -eq 0 ]; then echo "ok $count - $1"; else
        failed=1
        sed 's/^/# /' out err
        echo "not ok $count - $1"
    fi
}
skip() { # what, why
    count=$((count + 1))
    echo "ok $count - $1 # SKIP $2"
}
run() { timeout 60 ./treecache $ring "$@" >out 2>err </dev/null; status=$?; }
as_other() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; } # than root
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
grep -q '^treecache: .*; reading with pread$' err && ring=--no-ring && run tree
check 'every byte is verified' $((status != 0))
ends_with "7 files, $((1 + 8183 + 8184 + 8185 + 20000001 + 1)) bytes, 7 verified, 0 wrong"
check 'and counted' $?
check 'a pipe sees no progress bar' "$([ -s err ]; echo $((! $?)))"
[ "$(row requests)" -eq 21 ] && [ "$(row 'pages handed over')" -ge 2451 ]
check 'pages are counted' $?
[ "$(row hits)" -gt 0 ] &&
    [ $(($(row hits) + $(row 'pages served') + $(row misses))) -eq "$(row 'pages handed over')" ]
check 'each page is a hit, or served from the region, or a miss' $?
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
    as_other timeout 60 ./treecache $ring tree >out 2>err </dev/null
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
skip) skip 'an unreadable file is named' 'package util-linux (setpriv) is not installed' ;;
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
head -c 2000000 /dev/urandom | split -b 400000 - changing/constant.
( while [ -d changing ]; do
    head -c 100 /dev/urandom >changing/file
    head -c 400000 /dev/urandom >changing/spilled
    head -c 3000000 /dev/urandom >changing/file
    rm -f changing/file changing/spilled
done ) 2>/dev/null &
changer=$!
bad=0
for _ in 1 2 3 4 5 6 7 8 9 10; do
    run --budget 1M --spill changing.region --keep changing
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
    LD_PRELOAD=$PWD/wrong.so timeout 60 ./treecache --no-ring tree >out 2>err </dev/null
    status=$?
    ends_with '7 files, 20024555 bytes, 4 verified, 3 wrong' && [ $status -eq 1 ]
    check 'a wrong byte is found' $?
fi

mutate() { # what sed does to treecache
    sed -e "$1" -e "s|\"../\([a-z]*\).h\"|\"$root/\1.h\"|" "$root/examples/treecache.c" >mutant.c
    sed -e "$1" "$root/examples/treecache.c" | cmp -s - "$root/examples/treecache.c" && return 1
    $CC -std=c11 $CFLAGS -O0 -w -pthread mutant.c -o mutant 2>err
}
run_mutant() { timeout 60 ./mutant $ring "$@" >out 2>err </dev/null; status=$?; }
mutant() { mutate "$1" && run_mutant --budget 1M store; }
mutant '/piece->ref = to;/d' && [ $status -ne 0 ]
check 'so is a value that moves and leaves its ref behind' $?
# The median of three: hits depend on whose turn it is, and that on what else the machine does.
hits_of() { # program
    for _ in 1 2 3; do
        timeout 60 "./$1" $ring --budget 1M store >out 2>err </dev/null || exit
        row hits
    done | sort -n | sed -n 2p
}
hits=$(hits_of treecache)
mutate 's/coldest = cache->ends.warmer/coldest = cache->ends.colder/' && [ "$(hits_of mutant)" -lt "$hits" ]
check 'to evict the coldest makes more hits than to evict the warmest' $?
mutate '/cache->hits++/,/memcpy/{/link/d;}' && [ "$(hits_of mutant)" -lt "$hits" ]
check 'and more than to evict the oldest' $?

# ---- The ring ----

reads() { row 'reads with fixed buffers'; }
many_in_flight() { [ "$(row 'in flight at most')" -ge 2 ] && [ "$(row 'in flight at most')" -le 32 ]; }
by_pread() { # the reason
    ends_with "$all" && [ $status -eq 0 ] && [ "$(row misses)" -eq 1350 ] && [ "$(reads)" -eq 0 ] &&
        [ "$(row 'in flight at most')" -eq 0 ] && [ "$(row 'bytes read so')" -eq 0 ] &&
        [ "$(cat err)" = "${1:+treecache: $1; reading with pread}" ]
}
by_ring() {
    run --budget 1G store
    ends_with "$all" && [ $status -eq 0 ] && ! [ -s err ] && [ "$(reads)" -eq 1350 ] && many_in_flight &&
        [ "$(row 'bytes read so')" -eq 4617750 ] && [ "$(row 'left to pread')" -eq 0 ]
    check 'each piece is read by the ring, many at a time' $?
    run --budget 200K --no-spill store
    ends_with "$all" && [ $status -eq 0 ] && [ "$(reads)" -eq "$(row misses)" ] && many_in_flight
    check 'also when it is read again and again' $?
    run --budget 1M tree
    [ $status -eq 0 ] && many_in_flight && [ $(($(row misses) - $(reads))) -ge 1 ] &&
        [ $(($(row misses) - $(reads))) -le 3 ] # the empty file, as often as it is asked for and not kept
    check 'and pieces of a file larger than the budget' $?

    mutant 's/\(frames, (int)(read - ring->reads)\)), len/\1 ^ 1), len/' && [ $status -eq 1 ] &&
        ! grep -q ' 0 wrong$' out
    check 'bytes of the wrong frame are found' $?
    mutant 's/int error = fixedpool_free.*/int error = 0;/' && [ $status -eq 1 ] && ends_with "$all" &&
        grep -q '^treecache: frames of the ring: ' err
    check 'so are frames that are never given back' $?
    mutant 's/if (ring->on) unregistered = .*/(void)fixedpool_unregister;/' && [ $status -eq 1 ] &&
        ends_with "$all" && grep -q '^treecache: frames of the ring: ' err
    check 'and a ring that is closed before it is unregistered' $?
    mutant 's/= (uint32_t)len,/= (uint32_t)(tail % 3 ? len : len \/ 2),/
        s/= fd,/= tail % 5 ? fd : -1,/' && [ $status -eq 0 ] && ends_with "$all" && many_in_flight &&
        [ "$(row 'left to pread')" -gt 500 ] && [ $(($(row 'left to pread') + $(reads))) -eq "$(row misses)" ]
    check 'a read that fails, or comes short, is left to pread' $?
    mutant 's/long result = /static int n; &++n % 3 ? errno = n % 3 == 1 ? EINTR : EAGAIN, -1 : /' &&
        [ $status -eq 0 ] && ends_with "$all" && [ "$(reads)" -eq "$(row misses)" ]
    check 'what is not submitted is submitted later' $?

    # shellcheck disable=SC3045  # dash and bash have it
    (ulimit -n 40 && run --budget 1G store && [ $status -eq 0 ])
    status=$?
    by_pread 'ulimit -n: Too many open files'
    check 'too few files may be open: it says so, and uses pread' $?
    if [ "$(id -u)" -ne 0 ]; then user=''
    elif as_other sh -c 'cd store && test -x ../treecache' 2>/dev/null; then user=as_other
    else
        skip 'memory that may not be locked' 'there is no other user than root'
        return
    fi
    # shellcheck disable=SC3045
    (ulimit -l 64 && $user timeout 60 ./treecache --budget 1G store >out 2>err </dev/null)
    status=$?
    by_pread 'fixedpool_register: Cannot allocate memory'
    check 'too little memory may be locked: it says so, and uses pread' $?
}

if [ -z "$ring" ]; then by_ring; else skip 'the ring' 'there is no io_uring for this user'; fi
run --no-ring --budget 1G store
by_pread ''
check '--no-ring: pread' $?
$CC -std=c11 $CFLAGS "$root/test/use/no_uring.c" -o no_uring >out 2>err
check 'no_uring: it compiles' $?
if ./no_uring true 2>err; then
    timeout 60 ./no_uring ./treecache --budget 1G store >out 2>err </dev/null
    status=$?
    by_pread 'io_uring_setup: Function not implemented'
    check 'no io_uring: it says so, and uses pread' $?
else skip 'no io_uring' 'there is no seccomp'; fi

# ---- The region. 'kept' has 1350 pieces; a budget of 200K holds a few of them. ----

cp -R store kept
found() {
    n='\([0-9]*\)'
    rest="of a former run; $n damaged, $n outdated, $n of other programs"
    sed -n "s/^treecache: found $n pieces, \\(.*\\) MB $rest\$/\\1 \\2 \\3 \\4 \\5/p" out
}

run --budget 200K kept
ends_with "$all" && [ $status -eq 0 ] && ! [ -s err ] && [ "$(row misses)" -eq 1350 ] &&
    [ "$(row 'pages served')" -gt 0 ] && [ "$(row 'pieces spilled')" -gt 1000 ] &&
    [ "$(row 'pieces dropped')" -eq 0 ] && grep -q '^region .* temporary$' out
check 'what is evicted is served from a temporary region: each piece is read once' $?
[ -z "$(ls -A tmp)" ]
check 'the temporary file is gone' $?
run --no-spill --budget 200K kept
ends_with "$all" && [ $status -eq 0 ] && ! grep -q -e '^region' -e spilled out &&
    [ $(($(row hits) + $(row misses))) -eq "$(row 'pages handed over')" ] && [ "$(row misses)" -gt 1350 ]
check '--no-spill: it is read again' $?
TMPDIR=$PWD/nowhere
run --budget 200K kept
TMPDIR=$PWD/tmp
ends_with "$all" && [ $status -eq 0 ] && [ "$(wc -l <err)" -eq 1 ] && grep -q 'no temporary file' err &&
    ! grep -q '^region' out && [ ! -e nowhere ]
check 'no directory for temporary files: it says so, and goes on' $?

run --budget 200K --spill region kept
ends_with "$all" && [ $status -eq 0 ] && [ "$(row misses)" -eq 1350 ] &&
    [ "$(row 'pages served')" -gt 0 ] && [ "$(row region)" -eq "$(wc -c <region)" ] && [ -z "$(found)" ]
check '--spill: what is evicted is served from that file' $?
spilled=$(row 'pieces spilled')
run --budget 200K --spill region --keep kept
kept=$(found)
ends_with "$all" && [ $status -eq 0 ] && [ "${kept%% *}" -eq "$spilled" ] &&
    [ "$(row 'pieces found')" -eq "$spilled" ] && [ "$(row misses)" -eq $((1350 - spilled)) ]
check '--keep: it is found again, and served' $?
[ "$(row 'pieces kept')" -eq 1350 ] && [ $((spilled + $(row 'pieces spilled'))) -eq 1350 ] &&
    [ "$(row 'pieces dropped')" -eq 0 ]
check 'and what was in the store joins it at the end' $?
run --budget 200K --spill region --keep kept
ends_with "$all" && [ $status -eq 0 ] && [ "$(found)" = '1350 4.6 0 0 0' ] && [ "$(row misses)" -eq 0 ] &&
    [ "$(row 'pieces spilled')" -eq 0 ]
check 'then no file needs to be read' $?
rm region
run --budget 1G --spill region --keep kept
[ $status -eq 0 ] && [ "$(row evictions)" -eq 0 ] && [ "$(row 'pieces spilled')" -eq 1350 ] &&
    grep -q 'pieces kept  *1350  for the next run; 1350 were only in the store' out
check 'if all of it was, all of it does' $?
run --budget 4096 --spill region --keep kept
ends_with "$all" && [ $status -eq 0 ] && [ "$(found)" = '750 0.8 0 600 0' ] && [ "$(row hits)" -eq 0 ] &&
    [ "$(row 'pages served')" -ge 750 ] && [ "$(row 'pieces kept')" -eq 750 ]
check 'without a store, files that the budget allows are served' $?
run --spill region kept
ends_with "$all" && [ $status -eq 0 ] && [ "$(row misses)" -eq 1350 ] && [ -z "$(found)" ]
check 'without --keep nothing is taken from a former run' $?
spilled=$(row 'pieces spilled')
run --spill region --keep kept
# shellcheck disable=SC2046  # five words
set -- $(found)
[ "$1" -eq "$spilled" ] && [ "$3 $4 $5" = '0 0 0' ]
check 'and nothing of it is left' $?

touch -r kept/5000.aaa time
head -c 5000 /dev/zero >kept/5000.aaa
touch -r time kept/5000.aaa # what it was, but for the content and the time of this
cat kept/12000.aaa >copy
mv copy kept/12000.aaa # as it was, but another file; two pieces
rm kept/900.aaa
run --spill region --keep kept
ends_with '1199 files, 4616850 bytes, 1199 verified, 0 wrong' && [ $status -eq 0 ] &&
    [ "$(row misses)" -eq 3 ] && [ "$(found)" = '1346 4.6 0 4 0' ]
check 'of a file that changed nothing is served' $?
run --spill region --keep kept
[ "$(found)" = '1349 4.6 0 0 0' ] && [ "$(row misses)" -eq 0 ]
check 'but what it is now' $?
run --spill region --keep store
[ $status -eq 0 ] && [ "$(found)" = '0 0.0 0 1349 0' ] && [ "$(row misses)" -eq 1350 ]
check 'of another tree, neither' $?
all='1199 files, 4616850 bytes, 1199 verified, 0 wrong'

rm -f region
mutate 's/^    spill->spilled++;$/&if (spill->spilled == 100) raise(SIGKILL);/'
run_mutant --budget 200K --spill region kept
killed=$status
run --budget 200K --spill region --keep kept
kept=$(found)
[ "$killed" -eq 137 ] && ends_with "$all" && [ $status -eq 0 ] && [ "${kept%% *}" -eq 100 ] &&
    [ "$(row misses)" -eq 1249 ]
check 'killed after 100 pieces, started again: 100 are found' $?
run_mutant --budget 200K kept
[ $status -eq 137 ] && [ -z "$(ls -A tmp)" ]
check 'killed, it leaves no temporary file' $?

for most in 16K 64K 300K; do
    rm -f region
    run --budget 200K --spill region --spill-max $most kept
    ends_with "$all" && [ $status -eq 0 ] && [ "$(row 'pieces dropped')" -gt 0 ] &&
        [ "$(row region)" -le $((${most%K} * 1024)) ] && [ "$(wc -c <region)" -eq "$(row region)" ] &&
        if [ $most = 16K ]; then grep -q 'refused .* larger than the region' out
        else [ "$(row 'pages served')" -gt 0 ] && [ "$(row 'pieces refused')" -eq 0 ]; fi
    check "--spill-max $most: the oldest are dropped" $?
done

# ---- What others do to a region ----

cat >tool.c <<'END'
/* tool own FILE COMMAND: runs the command as the owner of FILE
 * tool foreign FILE: adds a value of another program; tool count FILE: how many of those there are
 * tool forge FILE: makes pieces into what is almost one; how many it spoiled */
#define OVERFLOW_IMPLEMENTATION
#include "overflow.h"
enum { KEY = 72, KINDS = 20, EACH = 40 };
static void put(overflow_region *region, const void *value, size_t size, uint32_t tag)
{
    overflow_ref ref;
    if (overflow_write(region, value, size, tag, &ref) != 0) exit(9);
}
static void forge_one(overflow_region *region, int kind, overflow_ref ref)
{
    struct {
        uint32_t version, path_len;
        uint64_t offset, size, device, inode, times[4];
        char     rest[20000];
    } copy;
    overflow_slot slot;
    overflow_describe(region, ref, &slot);
    memcpy(&copy, overflow_read(region, ref, &slot.size), slot.size);
    switch (kind) {
    case 0: slot.size = 0; break;
    case 1: slot.size = 1; break;
    case 2: slot.size = KEY - 1; break;
    case 3: slot.size = KEY; break;
    case 4: slot.size = KEY + 1; break;
    case 5: slot.size--; break;
    case 6: slot.size++; break;
    case 7: copy.path_len = 0; break;
    case 8: copy.path_len++; break;
    case 9: copy.path_len = UINT32_MAX; break;
    case 10: copy.version++; break;
    case 11: copy.offset++; break;
    case 12: copy.offset += 2 * 8184; break;
    case 13: copy.offset = UINT64_MAX / 8184 * 8184; break;
    case 14: copy.size = UINT64_MAX; break;
    case 15: copy.inode++; break;
    case 16: copy.times[3] ^= 1; break;
    case 17: copy.rest[copy.path_len] = 0, copy.path_len += 20; break;
    case 18: memset(&copy, 0xa5, sizeof copy); break;
    default: put(region, &copy, slot.size, slot.tag); /* and once more: only one can be served */
    }
    overflow_free(region, ref);
    put(region, &copy, slot.size, slot.tag);
}
static void forge(overflow_region *region)
{
    overflow_ref  refs[KINDS * EACH];
    overflow_slot slot;
    uint64_t      cursor = 0;
    for (int i = 0; i < KINDS * EACH; i++) refs[i] = overflow_next(region, &cursor, &slot) ? slot.ref : 0;
    for (int i = 0; i < KINDS * EACH; i++) forge_one(region, i % KINDS, refs[i]);
    printf("%d\n", (KINDS - 1) * EACH);
}
int main(int argc, char **argv)
{
    overflow_region *region;
    overflow_slot    slot;
    uint64_t         cursor = 0;
    int              status = 0, count = 0;
    if (argc < 3 || overflow_open(&region, argv[2], NULL) != 0) return 8;
    if (strcmp(argv[1], "own") == 0) status = system(argv[3]) != 0;
    if (strcmp(argv[1], "forge") == 0) forge(region);
    if (strcmp(argv[1], "foreign") == 0) put(region, "no piece", 8, 7);
    while (overflow_next(region, &cursor, &slot)) count += slot.tag == 7;
    if (strcmp(argv[1], "count") == 0) printf("%d\n", count);
    return overflow_close(region) != 0 ? 7 : status;
}
END
$CC -std=c11 $CFLAGS -O0 -I"$root" tool.c -o tool >out 2>&1
check 'tool: it compiles' $?

rm -f region
run --spill region --keep kept
./tool own region "./treecache $ring --spill region --keep kept >out 2>err"
[ $? -eq 1 ] && ! [ -s out ] && [ "$(cat err)" = 'treecache: --spill region: another process is using it' ]
check 'a region that is in use' $?
run --spill region --keep kept
[ $status -eq 0 ] && [ "$(found)" = '1349 4.6 0 0 0' ]
check 'is none the worse' $?

./tool foreign region
forged=$(./tool forge region)
cp region forged
run --spill region --keep kept
# shellcheck disable=SC2046  # five words
set -- $(found)
ends_with "$all" && [ $status -eq 0 ] && [ "$1" -eq $((1349 - forged)) ] && [ "$3" -gt 0 ] &&
    [ "$4" -gt 40 ] && [ $(($3 + $4)) -eq $((forged + 40)) ] && [ "$5" -eq 1 ] &&
        [ "$(row misses)" -eq "$forged" ]
check 'what is almost a piece is not served' $?
if $CC -std=c11 $CFLAGS -O0 -w -fsanitize=address,undefined -fno-sanitize-recover=all -pthread \
    "$root/examples/treecache.c" -o checked >out 2>err; then
    timeout 60 ./checked $ring --spill forged --keep kept >out 2>err </dev/null
    status=$?
    ends_with "$all" && [ $status -eq 0 ] && [ "$(row 'pieces found')" -eq $((1349 - forged)) ]
    check 'nor is anything read beyond its end' $?
else
    skip 'nor is anything read beyond its end' 'package libasan is not installed'
fi
run --spill region kept
[ $status -eq 0 ] && [ "$(./tool count region)" -eq 1 ]
check "another program's value stays" $?
rm region
run --spill region --keep kept
head -c 10000 /dev/urandom | dd of=region bs=1 seek=1000000 conv=notrunc 2>/dev/null
run --spill region --keep kept
# shellcheck disable=SC2046
set -- $(found)
ends_with "$all" && [ $status -eq 0 ] && [ "$1" -lt 1349 ] && [ "$1" -gt 1300 ] && [ "$3" -gt 0 ] &&
    [ $(($1 + $(row misses))) -eq 1349 ]
check 'what is damaged is read again' $?
truncate -s 2000000 region
run --spill region --keep kept
# shellcheck disable=SC2046
set -- $(found)
ends_with "$all" && [ $status -eq 0 ] && [ "$1" -lt 1000 ] && [ $(($1 + $(row misses))) -eq 1349 ]
check 'what was cut off, too' $?

bad=0
printf 'a novel\n' >novel
head -c 100000 /dev/urandom >picture
ln -s region symlink
mkdir directory
for file in novel picture symlink directory /dev/null nowhere/region; do
    case $file in novel | picture) cp $file copy; esac
    for keep in '' --keep; do
        run --spill $file $keep kept
        [ $status -eq 1 ] && ! [ -s out ] && [ "$(wc -l <err)" -eq 1 ] &&
            grep -q "^treecache: --spill $file: " err || bad=1
    done
    case $file in novel | picture) cmp -s $file copy && grep -q 'left alone' err || bad=1; esac
done
check 'what is no region is refused, and left alone' $bad
: >empty
run --spill empty --keep kept
[ $status -eq 0 ] && [ "$(found)" = '0 0.0 0 0 0' ] && [ "$(row 'pieces kept')" -eq 1349 ]
check 'an empty file becomes one' $?
run --spill kept/region --keep kept
ends_with "$all" && [ $status -eq 0 ] && grep -q 'kept/region\|region: the region itself' err &&
    run --spill kept/region --keep kept && ends_with "$all" && [ "$(row misses)" -eq 0 ]
check 'a region in the tree is not served' $?
rm kept/region

rm region
# 2 or 4 MiB, by the shell.
(ulimit -f 4096 && run --budget 200K --spill region --keep kept && [ $status -eq 0 ])
ends_with "$all" && [ "$(row 'pieces dropped')" -gt 0 ] && [ "$(row region)" -le 4194304 ] &&
    [ "$(row 'pages served')" -gt 0 ]
check 'no more room on the disk: the oldest are dropped' $?
bad=0
for args in '--keep' '--keep --no-spill' '--spill region --no-spill' '--spill-max 16383' \
    '--spill-max 2048G' '--spill-max x'; do
    run $args kept
    { [ $status -eq 2 ] && ! [ -s out ] && [ -s err ]; } || bad=1
done
check 'arguments that make no sense are refused' $bad

# ---- Buffers and their tenants. There is room for everything, so it is known what is charged. ----

mkdir -p gate/acme/deep 'gate/say "hi"' gate/empty
: >gate/nothing
for file in acme/page:8184 acme/two:8185 acme/deep/medium:65536 acme/large:65537 'say "hi"/large:1048576' \
    'say "hi"/huge:1048577' huge:10485760 pages:10485761; do
    head -c "${file#*:}" /dev/urandom >"gate/${file%:*}"
done
all="9 files, $((8184 + 8185 + 65536 + 65537 + 1048576 + 1048577 + 10485760 + 10485761)) bytes"
all="$all, 9 verified, 0 wrong"
cost() { # sizes of files: their bytes, and 8 for each piece
    cost=0
    for size; do cost=$((cost + size + 8 * ((size + 8183) / 8184))); done
    echo $cost
}
acme=$(cost 8184 8185 65536 65537) hi=$(cost 1048576 1048577) top=$(($(cost 10485760 10485761) + 8))
live='buffer_pool_tenant_live_bytes{tenant_id='
sum() { awk -v name="$1" 'index($0, name) == 1 { sum += $NF } END { printf "%.0f\n", sum }' text; }
well_formed() { # each line is a comment, or a number under a name that no other line has; then the end
    [ "$(tail -n 1 text)" = '# EOF' ] && [ -z "$(grep -v '^#' text | sed 's/ [^ ]*$//' | sort | uniq -d)" ] &&
        ! grep -qvE '^# (TYPE|UNIT|HELP) .|^# EOF$|^[a-z_]+(\{[a-z_]+=".*"\})? [0-9]+$' text
}
bill() { # whether everybody has paid for what there is, and for no more
    well_formed && grep -qxF "$live\".\"} $top" text && grep -qxF "$live\"acme\"} $acme" text &&
        grep -qxF "$live\"say \\\"hi\\\"\"} $hi" text && [ "$(sum "$live")" -eq $((top + acme + hi)) ] &&
        [ "$(sum 'buffer_pool_live_bytes ')" -eq $((top + acme + hi)) ] &&
        [ "$(sum 'buffer_pool_live_buffers ')" -eq 0 ]
}

echo before >text
ln text former
run --budget 40M --metrics text gate
ends_with "$all" && [ $status -eq 0 ] && [ "$(row misses)" -eq 2844 ] && [ "$(row 'refused ids')" -eq 0 ]
check 'ranges of buffers are right' $?
bill && [ "$(row 'bytes charged')" -eq $((top + acme + hi)) ] && [ "$(row tenants)" -eq 3 ] &&
    [ "$(row 'to the largest')" -eq $top ] && grep -q 'to the largest .* \.$' out
check '--metrics: each tenant pays for its files, to the byte' $?
[ "$(row buffers)" -ge 6 ] && [ "$(row 'held at most')" -ge 1 ] &&
    [ "$(sum buffer_pool_hits_total)" -eq "$(row recycled)" ] && [ "$(row recycled)" -ge 1 ] &&
    [ "$(sum buffer_pool_misses_total)" -eq "$(row 'from the system')" ] &&
    [ $(($(row recycled) + $(row 'from the system'))) -eq "$(row buffers)" ] &&
    [ "$(sum buffer_pool_oversize)" -eq 0 ] &&
    [ "$(sum buffer_pool_idle_bytes)" -eq "$(row 'bytes idle')" ] &&
    [ "$(sum buffer_pool_soft_limit_exceeded_total)" -eq "$(row 'beyond the limit')" ]
check 'the table says the same' $?
[ "$(cat former)" = before ] && [ "$(ls -d text*)" = text ]
check 'the text is renamed into its place' $?
bad=0
mkdir alone
for size in 8184:0 8185:3 10485760:3 10485761:0; do
    head -c ${size%:*} /dev/zero >alone/file
    run alone
    [ $status -eq 0 ] && [ "$(row requests)" -eq 3 ] && [ "$(row buffers)" -eq ${size#*:} ] || bad=1
done
check 'what fits a page goes in one, what no buffer can hold in many' $bad
run --budget 2M --metrics text gate
ends_with "$all" && [ $status -eq 0 ] && [ "$(row 'beyond the limit')" -gt 0 ] && well_formed &&
    [ "$(sum buffer_pool_soft_limit_exceeded_total)" -eq "$(row 'beyond the limit')" ] &&
    [ "$(sum "$live")" -eq "$(row 'bytes charged')" ] && [ "$(row 'bytes charged')" -le 2097152 ] &&
    [ "$(row 'bytes charged')" -gt 1048576 ]
check 'more than half of the budget is beyond the limit; what is evicted is not paid for' $?

mutant 's/answer->offset, len, view)/0, len, view)/' && [ $status -eq 1 ] && ! grep -q ' 0 wrong$' out
check 'a view of another range is found' $?
mutant '/bufpool_view_drop(/d' && [ $status -eq 1 ] && grep -q '^treecache: accounts: ' err
check 'so is one that is never dropped' $?
mutant '/bufpool_discharge(/d' && [ $status -eq 1 ] && grep -q '^treecache: accounts: ' err
check 'and a charge that stays' $?

# ---- Metrics over HTTP ----

bad=0
for port in '' -1 65536 x 1x ' 1' 0x10 1.5 99999999999; do
    run --serve "$port" store
    { [ $status -eq 2 ] && grep -q -e "--serve $port: no port" err && ! [ -s out ]; } || bad=1
done
check 'what is no port is refused' $bad
bad=0
mkfifo pipe
for file in nowhere/text directory pipe symlink ''; do
    run --metrics "$file" store
    { [ $status -eq 1 ] && ! [ -s out ] && [ "$(wc -l <err)" -eq 1 ] &&
        grep -q "^treecache: --metrics $file: " err; } || bad=1
done
[ -p pipe ] && [ -L symlink ] && [ ! -e nowhere ] || bad=1
check 'what cannot be a file of metrics is refused, and left alone' $bad

cr=$(printf '\r')
send() { # port, a request as printf takes it, seconds: prints the response
    if [ $client = bash ]; then
        # shellcheck disable=SC2016  # for that shell
        timeout "$3" bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$0" && printf "$1" >&3 && cat <&3' "$1" "$2"
    else
        timeout "$3" python3 -c 'import socket, sys
connection = socket.create_connection(("127.0.0.1", sys.argv[1]))
connection.sendall(sys.argv[2].encode().decode("unicode_escape").encode())
while part := connection.recv(65536): sys.stdout.buffer.write(part)' "$1" "$2"
    fi 2>err.client
}
ask() { # the same: the response is in answer, what follows its head in text
    send "$port" "$1" 20 >answer
    sed "1,/^$cr\$/d" answer >text
}
answered() { # status
    [ "$(head -n 1 answer)" = "HTTP/1.1 $1$cr" ] && grep -qx "Content-Length: $(wc -c <text)$cr" answer &&
        grep -qx "Connection: close$cr" answer
}
get='GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n'
soon() { # command...: within 10 seconds
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            "$@" && return
            sleep 0.1
        done
    done
    return 1
}
# shellcheck disable=SC2317  # called through soon
served() { tail -n 1 out | grep -q ' wrong$'; }
start() { # arguments: once it has done its work, port has the port
    : >out
    ./treecache $ring --serve 0 "$@" >out 2>err </dev/null &
    server=$!
    trap 'kill -KILL $server 2>/dev/null' EXIT
    soon served
    port=$(sed -n 's|^treecache: metrics at http://127.0.0.1:\([0-9]*\)/metrics until interrupted$|\1|p' out)
}
finish() {
    kill "$server"
    wait "$server"
    status=$?
    trap - EXIT
}

over_http() {
    start --budget 40M --metrics file gate
    ends_with "$all" && ask "$get" && answered '200 OK' && bill && grep -qx \
        "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8$cr" answer
    check '--serve: GET has the metrics' $?
    bad=0
    for request in 'POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx' 'HEAD / HTTP/1.0\r\n\r\n'; do
        ask "$request" && answered '405 Method Not Allowed' || bad=1
    done
    for request in 'noise\n\n' 'GET /\r\n\r\n' '\r\n\r\n' "GET / HTTP/1.0\r\nX: $(printf '%05000d' 0)"; do
        ask "$request" && answered '400 Bad Request' || bad=1
    done
    check 'other requests are refused' $bad
    loopback=$(printf '(0100007F|7F000001):%04X' "$port") any=$(printf ':%04X 00000000:0000 0A' "$port")
    [ "$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -c "$any")" -eq 1 ] &&
        grep -qE "$loopback 00000000:0000 0A" /proc/net/tcp
    check 'on the loopback only' $?

    rm file
    for _ in 1 2 3 4 5 6 7 8 9 10; do # more than it lets ask at a time, until a second is over
        send "$port" '' 60 &
        send "$port" 'GET / HTTP' 60 &
    done
    sleep 0.2
    ask "$get" && answered '200 OK'
    check 'who sends nothing keeps nobody from asking' $?
    soon [ -e file ] && cmp -s text file
    check 'and the file is written anew each second' $?

    cp out out.first
    run --serve "$port" store
    [ $status -eq 1 ] && ! [ -s out ] && [ "$(cat err)" = "treecache: --serve $port: Address already in use" ]
    check 'a port that is in use' $?
    cp out.first out
    kill -STOP "$server"
    send "$port" "$get" 0.2
    kill -CONT "$server"
    ask "$get" && answered '200 OK'
    check 'a client that went away before it was answered does no harm' $?
    finish
    ends_with "$all" && [ $status -eq 0 ] && bill
    check 'it ends when it is told to' $?

    mkdir going
    start --metrics going/text store
    rm -r going
    finish
    [ $status -eq 1 ] && [ "$(cat err)" = 'treecache: --metrics going/text: No such file or directory' ]
    check 'metrics that cannot be written in the end are told' $?
}
client=
for tool in python3 bash; do command -v $tool >/dev/null 2>&1 && client=$tool; done
if [ -n "$client" ]; then over_http; else skip 'metrics over HTTP' 'neither bash nor python3 is installed'; fi
echo "1..$count"
exit $failed
