#!/bin/sh
# Goal: treecache verifies what it should, says what it skips, and notices a wrong byte.
# Method: small trees with everything in them that a file system can hold; the last line and the
# status are compared. The wrong byte comes from a pread that is not the system's.
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

if ! $CC -std=c11 $CFLAGS -pthread "$root/examples/treecache.c" -o treecache >out 2>err; then
    check 'it compiles' 1
    echo '1..1'
    exit 1
fi
: >out

mkdir -p tree/sub/deep tree/empty
: >tree/nothing
printf x >tree/one
head -c 65535 /dev/urandom >tree/sub/page-1
head -c 65536 /dev/urandom >tree/sub/page
head -c 65537 /dev/urandom >tree/sub/page+1
head -c 20000001 /dev/urandom >tree/sub/deep/many-pages # more than the pool holds
printf y >'tree/a name with
a newline'
run tree
check 'every byte is verified' $((status != 0))
ends_with "7 files, $((1 + 65535 + 65536 + 65537 + 20000001 + 1)) bytes, 7 verified, 0 wrong"
check 'and counted' $?
check 'a pipe sees no progress bar' "$([ -s err ]; echo $((! $?)))"
grep -qE '^pages handed over +31[0-9]' out
check 'pages are counted' $?
grep -qE '^refused ids +0' out
check 'no id was refused' $?

mkfifo tree/fifo
ln -s one tree/link
ln -s . tree/loop
if command -v python3 >/dev/null 2>&1; then
    python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("tree/socket")'
else mkfifo tree/socket; fi
run tree
ends_with "7 files, 20196611 bytes, 7 verified, 0 wrong" && [ $status -eq 0 ]
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
0) grep -q 'unreadable: Permission denied' err; check 'an unreadable file is named' $? ;;
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
    if (got == 65537 - 65536) *(char *)to ^= 1; /* the second page of page+1, and the two small ones */
    return got;
}
ssize_t pread(int fd, void *to, size_t count, off_t offset) { return pread64(fd, to, count, offset); }
END
if $CC -D_GNU_SOURCE -shared -fPIC wrong.c -o wrong.so 2>err; then
    LD_PRELOAD=$PWD/wrong.so timeout 60 ./treecache tree >out 2>err </dev/null
    status=$?
    ends_with '7 files, 20196611 bytes, 4 verified, 3 wrong' && [ $status -eq 1 ]
    check 'a wrong byte is found' $?
fi
echo "1..$count"
exit $failed
