#!/bin/sh
# Goal:   each header, alone and with nothing but its IMPLEMENTATION macro, compiles in strict C11
#         and C17 under glibc and musl without a warning, and does there what it does elsewhere: no
#         feature goes away because the C library hides a name.
# Method: a program for each header in test/use/strict includes it first and looks at the calls that
#         reach the C library (by the linker's --wrap). Each header is compiled with the feature
#         macros that programs define, too: then the C library shows the names, and a declaration of
#         the header's own must not stand beside it.
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/test/tap.sh"
tap_begin "$1"

wraps=
for call in madvise mmap syscall fallocate open fcntl lseek fsync; do
    wraps="$wraps -Wl,--wrap=$call"
done
warnings='-Wall -Wextra -Wpedantic -Wredundant-decls -Werror'

# shellcheck disable=SC2086  # flags are lists of words
strict() { # name of the C library, compiler and its flags
    libc=$1
    shift
    for header in slab overflow fixedpool bufpool; do
        for std in c11 c17; do
            what="$libc -std=$std: $header"
            try "$what compiles" "$@" -std=$std $warnings -O2 -I"$root" -c \
                "$root/test/use/strict/$header.c" -o "$header.o"
            try "$what links" "$@" -O2 -I"$root" -std=$std "$root/test/use/strict/kernel.c" \
                "$header.o" $wraps -o "$header"
            try "$what asks the kernel for all it should" "./$header"
            rm -f "$header" "$header.o"
        done
        for feature in _GNU_SOURCE _DEFAULT_SOURCE _POSIX_C_SOURCE=200809L \
            _FILE_OFFSET_BITS=64 '_GNU_SOURCE -D_FILE_OFFSET_BITS=64'; do
            try "$libc -std=c11 -D$feature: $header compiles" "$@" -std=c11 $warnings -D$feature \
                -I"$root" -fsyntax-only "$root/test/use/strict/$header.c"
        done
    done
}

# shellcheck disable=SC2086
strict "$CC" $CC $CFLAGS
need musl-tools musl-gcc && strict musl musl-gcc -static
tap_end
