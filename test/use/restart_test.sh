#!/bin/sh
# Goal: examples/restart.c loses no page and hands none out twice, however its processes are killed,
# and notices if it does.
# Method: runs it with many quick kills, and, where more than the compiler is wanted, for half a
# minute with one kill each second, and under AddressSanitizer. Then with one of its steps left out:
# each such program must fail.
#
#   test/use/restart_test.sh WORKDIR
# shellcheck disable=SC2086,SC2317  # CFLAGS is a list of words; check calls functions
root=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=/dev/null
. "$root/test/tap.sh"
tap_begin "$1"
source=$root/examples/restart.c

strict='-std=c11 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror'
build() { $CC $CFLAGS $strict -I"$root" "$@"; }
keeps_all() { # program, kills, milliseconds
    run timeout 100 "./$1" "$2" "$3"
    [ $status -eq 0 ] && ! [ -s err ] &&
        grep -qxE "killed $2 times: [1-9][0-9]* messages read, .* 64 of 64 pages found" out
}
fails() { # what, line, a sed command that leaves out a step
    sed -e 's/i < 1000 \&\&/i < 30 \&\&/' -e "$3" "$source" >broken.c # 0.3 seconds of patience
    if cmp -s broken.c "$source" || ! build broken.c -o broken >out 2>err; then
        not_ok "$1" err
        return
    fi
    run timeout 60 ./broken 100 5
    check "$1" failed "$2"
}
failed() { [ $status -ne 0 ] && grep -qE "$1" err; }
one_line() { [ $status -eq "$1" ] && [ "$(wc -l <err)" -eq 1 ] && grep -qF "$2" err; }

try 'it compiles' build "$source" -o restart
[ -x restart ] || tap_end
check 'killed 100 times, soon after each start' keeps_all restart 100 1
check 'killed 20 times under load' keeps_all restart 20 40
run timeout 20 ./restart 0
check 'no kills: the usage' one_line 2 'usage: restart'
timeout 20 ./restart 2 2 >/dev/full 2>err
status=$?
check 'a full disk' one_line 1 'standard output: No space left'

fails 'without reap, the pages of dead readers are missed' 'no message' \
    's/if (reader != shared->reader) take_back.*/if (reader != shared->reader) reader = shared->reader;/'
fails 'without the peer, a page may be read that is taken back' 'twice|taken|no message' \
    's/if (slab_pool_peer(view, id) == number) {/if (number != id.gen) {/'

if [ -z "${ONLY_COMPILER:-}" ]; then
    check 'half a minute, a kill each second' keeps_all restart 30 1000
    if build -fsanitize=address,undefined "$source" -o asan >out 2>err; then
        check 'under AddressSanitizer' keeps_all asan 40 50
    else skip 'under AddressSanitizer' libasan; fi
fi
tap_end
