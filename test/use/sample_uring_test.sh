#!/bin/sh
# Goal: the io_uring sample of the documentation works for an ordinary user who may lock 8 MiB, and
# ends at an error instead of going on.
# Method: sample_uring.c, whose lines the sample has, runs under `ulimit -l 8192`, and must write
# what a file begins with; under `ulimit -l 64`, and with a file that cannot be opened, it must
# fail and write nothing.
#
#   test/use/sample_uring_test.sh WORKDIR
# shellcheck disable=SC2086,SC2317  # CFLAGS is a list of words; check calls functions
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/test/tap.sh"
tap_begin "$1"

compiles() { # whether liburing is here
    printf '#include <liburing.h>\nint main(void) { return 0; }\n' >probe.c
    $CC probe.c -luring -o probe >out 2>err
}
compiles || { skip 'the sample' liburing-dev; tap_end; }
[ "$(id -u)" != 0 ] || need util-linux setpriv || tap_end

warnings='-Wall -Wextra -Wconversion -Wshadow -Werror'
try 'it compiles without a warning' \
    $CC -std=c11 $CFLAGS $warnings \
    -isystem /usr/include -I"$root" "$root/test/use/sample_uring.c" -luring -o sample
[ $tap_failed -eq 0 ] || tap_end

cat >limited <<'END'
#!/bin/sh
ulimit -l "$1" || exit 99
shift
[ "$(id -u)" != 0 ] || set -- setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
exec "$@"
END
chmod 755 . limited
head -c 65536 /dev/urandom >file
chmod 644 file

run sh ./limited 8192 ./sample file
if [ $status -ne 0 ] && ! ./sample file >/dev/null; then
    ok 'it runs # SKIP no io_uring here'
    tap_end
fi
check 'an ordinary user with 8 MiB of locked memory: it ends well' [ $status -eq 0 ]
check 'with the bytes of the file' cmp out file
run sh ./limited 64 ./sample file
check 'with too little locked memory it stops' [ $status -eq 1 ]
check 'and writes nothing' [ ! -s out ]
run sh ./limited 8192 ./sample nothing
check 'with a file that cannot be read it stops' [ $status -eq 1 ]
check 'and writes nothing' [ ! -s out ]
tap_end
