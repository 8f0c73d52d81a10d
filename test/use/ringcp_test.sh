#!/bin/sh
# Goal: examples/ringcp.c copies every byte of files of every shape, in each of its ways, and ends
# with one clear line and no partial copy when it cannot.
# Method: files of sizes around a block and a frame are copied and compared: with O_DIRECT and
# without, with registered frames and without, as an ordinary user with 8 MiB of locked memory, by
# calls that do one block each, under AddressSanitizer. Then each failure: bad arguments, missing
# files, no io_uring, a full disk, a signal half-way.
#
#   test/use/ringcp_test.sh WORKDIR
# shellcheck disable=SC2086,SC2317  # CFLAGS is a list of words; check calls functions
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/test/tap.sh"
tap_begin "$1"

build() { $CC -std=c11 $CFLAGS -I"$root" "$@"; }
copies() { # what, command...: all files with it; nothing is said, and every copy is the same
    copies_what=$1 copies_bad=''
    shift
    for file in src/*; do
        rm -f copy
        tries=20 # the limit is the user's: others may have frames, and the kernel frees them late
        while run "$@" "$file" copy; grep -q 'frames not registered' err; do
            [ $((tries -= 1)) -gt 0 ] || break
            sleep 0.1
        done
        { [ $status -eq 0 ] && [ ! -s out ] && [ ! -s err ] && cmp -s "$file" copy; } ||
            copies_bad="$copies_bad $file"
    done
    check "$copies_what$copies_bad" [ -z "$copies_bad" ]
}
refuses() { # what, line, command...: status 1, that one line, and no copy
    refuses_what=$1 refuses_line=$2
    shift 2
    rm -f copy
    run "$@"
    check "$refuses_what" refused "$refuses_line"
}
refused() {
    said=$(grep -v '^ringcp: frames not registered' err) # see copies
    [ $status -eq 1 ] && [ ! -s out ] && [ "$said" = "ringcp: $1" ] && [ ! -e copy ]
}

try 'it compiles' build "$root/examples/ringcp.c" -o ringcp
[ $tap_failed -eq 0 ] || tap_end
try 'no_uring compiles' build "$root/test/use/no_uring.c" -o no_uring
try 'no_direct compiles' build "$root/test/use/no_direct.c" -o no_direct

mkdir src
for size in 0 1 4095 4096 4097 262143 262144 262145 1048576 2500001; do
    head -c $size /dev/urandom >"src/$size"
done
printf x >'src/a name with spaces'
chmod 644 src/*

run ./no_uring true
filters=$((status == 0)) # possible here
[ $filters = 0 ] ||
    refuses 'no io_uring: one line' 'no io_uring: Function not implemented' ./no_uring ./ringcp src/1 copy
run ./ringcp src/1 copy
if grep -q '^ringcp: no io_uring' err; then
    ok 'copies # SKIP no io_uring here'
    tap_end
fi

# ---- Copies ----

copies 'every size' ./ringcp
chmod 640 src/4097
run ./ringcp src/4097 copy2
check 'the mode is that of the source' [ "$(stat -c %a copy2)" = "$(stat -c %a src/4097)" ]
head -c 3000000 /dev/urandom >copy
run ./ringcp src/4097 copy
check 'a longer file is overwritten' cmp src/4097 copy
chmod 644 src/4097
[ $filters = 0 ] || copies 'every size without O_DIRECT' ./no_direct ./ringcp
sed 's|\.len  *= .*|.len = BLOCK,|' "$root/examples/ringcp.c" >partly.c
check 'a source whose calls do one block each' grep -q 'len = BLOCK,' partly.c
try 'it compiles' build partly.c -o partly
copies 'every size, by calls that do one block each' ./partly
head -c 115000 /dev/urandom >src/short # in one frame, so that no other write fails first
rm -f copy
(ulimit -f 50 && run ./ringcp src/short copy; echo $status >status)
check 'a write that a limit cuts short ends it' [ "$(cat status)" -eq 1 ]
check 'in one line' grep -q 'copy: a short write' err
check 'and the copy is gone' [ ! -e copy ]
rm -f src/short
sanitize='-fsanitize=address,undefined -fno-sanitize-recover=all'
if [ -z "${ONLY_COMPILER:-}" ] && build $sanitize "$root/examples/ringcp.c" -o asan >out 2>err &&
    ./asan src/1 copy 2>/dev/null; then
    copies 'every size under AddressSanitizer' ./asan
fi

# ---- An ordinary user ----

cat >limited <<'END'
#!/bin/sh
ulimit -l "$1" || exit 99
shift
[ "$(id -u)" != 0 ] || set -- setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
exec "$@"
END
# The files have relative names: perhaps only root may look into the directories above.
chmod 1777 .
chmod 755 limited src
if [ "$(id -u)" != 0 ] || need util-linux setpriv; then
    copies 'every size, by an ordinary user with 8 MiB of locked memory' sh ./limited 8192 ./ringcp
    rm -f copy
    run sh ./limited 64 ./ringcp src/2500001 copy
    check 'too little locked memory: one line' [ "$(cat err)" = \
        'ringcp: frames not registered (ulimit -l): Cannot allocate memory' ]
    check 'and the copy is the same' cmp src/2500001 copy
    mkdir -m 555 closed
    refuses 'a directory that may not be written' 'closed/copy: Permission denied' \
        sh ./limited 8192 ./ringcp src/1 closed/copy
fi

# ---- Failures ----

refuses 'no arguments' 'usage: ringcp SRC DST' ./ringcp
refuses 'three arguments' 'usage: ringcp SRC DST' ./ringcp src/1 copy copy
refuses 'no such file' 'nothing: No such file or directory' ./ringcp nothing copy
refuses 'no such directory' 'no/copy: No such file or directory' ./ringcp src/1 no/copy
refuses 'a directory as source' 'src: not a file' ./ringcp src copy
refuses 'a directory as target' 'src: not a file' ./ringcp src/1 src
refuses 'a device as target' '/dev/full: not a file' ./ringcp src/1 /dev/full
refuses 'the file itself' 'src/4097: SRC itself' ./ringcp src/4097 src/4097
ln src/4097 link
refuses 'another name of the file' 'link: SRC itself' ./ringcp src/4097 link
rm link
check 'which is as it was' [ "$(wc -c <src/4097)" -eq 4097 ]
refuses 'a file whose size is not known' '/proc/version: not the size that stat says' \
    ./ringcp /proc/version copy
printf 'ulimit -f 50 && exec "$@"\n' >small
refuses 'the largest size of a file' 'copy: File too large' sh ./small ./ringcp src/2500001 copy
mkdir disk
trap 'umount disk 2>/dev/null' EXIT
trap 'exit 1' HUP INT TERM
if [ "$(id -u)" = 0 ] && mount -t tmpfs -o size=1m none disk 2>err; then
    refuses 'a full disk' 'disk/copy: No space left on device' ./ringcp src/2500001 disk/copy
    check 'the partial copy is gone' [ -z "$(ls disk)" ]
fi

# ---- A signal ----

truncate -s 4G large
for signal in INT TERM; do
    rm -f copy
    ./ringcp large copy >out 2>err </dev/null &
    pid=$!
    tries=100
    until [ -e copy ] || [ $((tries -= 1)) -eq 0 ]; do sleep 0.02; done
    before=$(date +%s%N)
    kill -$signal $pid
    wait $pid
    status=$?
    check "SIG$signal ends it, and the copy is gone" refused 'copy: interrupted'
    check 'within two seconds' [ $(($(date +%s%N) - before)) -lt 2000000000 ]
done

# ---- A terminal ----

if need bsdutils script; then
    rm -f copy
    run script -qec './ringcp src/2500001 copy' /dev/null
    check 'a terminal shows how far it is' grep -q '100 % ####################' out
fi
tap_end
