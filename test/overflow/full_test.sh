#!/bin/sh
# Goal: a full disk is -ENOSPC and never a signal, on file systems with fallocate (tmpfs, ext4) and
# without (ext2, which punches holes all the same where ext4's driver serves it).
# Method: overflow_full on small ones: a tmpfs of 8 MiB, and images mounted by loop, where the user
# may mount; each is unmounted whatever happens.
#
#   test/overflow/full_test.sh WORKDIR
# shellcheck disable=SC2086  # CFLAGS is a list of words
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$1/overflow_full
: "${CC:=cc}" "${CFLAGS:=-O2 -g}"
umount "$work/disk" "$work/beneath" 2>/dev/null
rm -rf "$work"
mkdir -p "$work/disk" "$work/beneath" && cd "$work" || exit 2
work=$PWD
count=0 failed=0
trap 'cd /; umount "$work/disk" 2>/dev/null; umount "$work/beneath" 2>/dev/null' EXIT
trap 'exit 1' HUP INT TERM

result() { # ok or not ok, what
    count=$((count + 1))
    [ "$1" = ok ] || failed=1
    echo "$1 $count - $2"
}
skip() { result ok "$1 # SKIP $2"; } # what, why

# Takes over the tests that the program printed.
fill() { # name, directories
    name=$1
    shift
    timeout 250 ./overflow_full "$@" >out 2>&1 </dev/null
    status=$?
    grep '^#' out
    while read -r line; do
        case $line in
        'ok '*) result ok "$name: ${line#ok * - }" ;;
        'not ok '*) result 'not ok' "$name: ${line#not ok * - }" ;;
        esac
    done <out
    if ! grep -q '^1\.\.' out; then
        sed 's/^/# /' out | tail -n 20
        result 'not ok' "$name: ended with status $status"
    fi
    umount disk || result 'not ok' "$name: cannot be unmounted"
}

if ! $CC -std=c11 $CFLAGS "$root/test/overflow/overflow_full.c" -o overflow_full >out 2>&1; then
    sed 's/^/# /' out
    result 'not ok' 'it compiles'
    echo "1..$count"
    exit 1
fi

if [ "$(id -u)" -ne 0 ]; then
    skip 'full disks' 'only root may mount'
elif ! mount -t tmpfs -o size=8m overflow_full disk 2>out; then
    skip 'full disks' "this root may not mount: $(tail -n 1 out)"
else
    fill tmpfs disk
    for kind in ext4 ext2; do
        command -v mkfs.$kind >/dev/null 2>&1 || {
            skip $kind 'package e2fsprogs is not installed'
            continue
        }
        rm -f image
        truncate -s 8M image
        if ! mkfs.$kind -q -F -m 0 image >out 2>&1; then
            sed 's/^/# /' out
            result 'not ok' "$kind: mkfs"
        elif mount -t $kind -o loop image disk 2>out; then
            fill $kind disk
        else
            skip $kind "it cannot be mounted: $(tail -n 1 out)"
        fi
    done
    # A disk whose writes fail: its image has holes, on a tmpfs that is filled meanwhile.
    mount -t tmpfs -o size=8m overflow_full beneath && truncate -s 8M beneath/image
    if ! command -v mkfs.ext2 >/dev/null 2>&1; then skip 'failed writes' 'package e2fsprogs is not installed'
    elif mkfs.ext2 -q -F -m 0 beneath/image >out 2>&1 && mount -t ext2 -o loop beneath/image disk 2>out; then
        fill 'failed writes' disk beneath
    else skip 'failed writes' "it cannot be mounted: $(tail -n 1 out)"
    fi
    umount beneath
fi
echo "1..$count"
exit $failed
