#!/bin/sh
# Goal: the io_uring sample of README works as it is printed, for an ordinary user who may lock
# 8 MiB, and ends at an error instead of going on.
# Method: the C block of README that calls fixedpool_register becomes the body of a main that opens
# the file `fd`; it runs under `ulimit -l 8192`, and must write what the file begins with; under
# `ulimit -l 64`, and with a descriptor that cannot be read, it must fail and write nothing.
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

awk '/^```c$/ { block = ""; inside = 1; next }
     /^```/ { if (inside && block ~ /fixedpool_register\(/) printf "%s", block; inside = 0 }
     inside { block = block $0 "\n" }' "$root/README.md" >sample
{
    printf '%s\n' '#define _GNU_SOURCE' '#define FIXEDPOOL_IMPLEMENTATION' '#include "fixedpool.h"' \
        '#include <fcntl.h>' '#include <liburing.h>' '#include <stdio.h>' \
        'int main(int argc, char **argv)' '{' \
        'int fd = argc == 2 ? open(argv[1], O_RDONLY) : -1;'
    cat sample
    printf '%s\n' 'return 0;' '}'
} >sample.c
check 'README has the sample' [ -s sample ]
check 'of at most 20 lines' [ "$(wc -l <sample)" -le 20 ]
warnings='-Wall -Wextra -Wconversion -Wshadow -Werror'
try 'it compiles without a warning' \
    $CC -std=c11 $CFLAGS $warnings -isystem /usr/include -I"$root" sample.c -luring -o sample.out
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

run sh ./limited 8192 ./sample.out file
if [ $status -ne 0 ] && ! ./sample.out file >/dev/null; then
    ok 'it runs # SKIP no io_uring here'
    tap_end
fi
check 'an ordinary user with 8 MiB of locked memory: it ends well' [ $status -eq 0 ]
check 'with the bytes of the file' cmp out file
run sh ./limited 64 ./sample.out file
check 'with too little locked memory it stops' [ $status -eq 1 ]
check 'and writes nothing' [ ! -s out ]
run sh ./limited 8192 ./sample.out nothing
check 'with a file that cannot be read it stops' [ $status -eq 1 ]
check 'and writes nothing' [ ! -s out ]
tap_end
