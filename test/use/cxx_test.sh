#!/bin/sh
# Goal: the declarations are C++11 and C++20, for g++ and clang++; the implementation says that it
# is C.
# Method: the small programs beside this script, compiled as C++ without a warning, linked with the
# implementation as C, and run.
#
#   test/use/cxx_test.sh WORKDIR
# shellcheck disable=SC2317,SC1091,SC2086  # tap.sh; flags are lists of words
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/test/tap.sh"
tap_begin "$1"
warnings='-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror'

header_of() { case $1 in slab_*) echo slab ;; *) echo "$1" ;; esac; }
is_refused() { # program, compiler, what it must say
    ! "$2" -std=c++11 -I"$root" -x c++ -c "$1" -o refused.o 2>said && grep -q "$3" said
}

for header in slab overflow fixedpool bufpool; do
    prefix=$(echo $header | tr '[:lower:]' '[:upper:]')
    printf '#define %s_IMPLEMENTATION\n#include "%s.h"\n' "$prefix" $header >$header.c
    try "$header.h: the implementation as C" $CC -std=c11 -O2 -I"$root" -c $header.c -o $header.o
done
for cxx in g++ clang++; do
    case $cxx in g++) need g++ g++ || continue ;; *) need clang clang++ || continue ;; esac
    for program in slab_pool slab_store overflow fixedpool bufpool; do
        header=$(header_of $program)
        for std in c++11 c++20; do
            rm -f main.o main
            try "$cxx, $program: $std" $cxx -std=$std $warnings -I"$root" -x c++ \
                -c "$root/test/use/$program.c" -o main.o
            $cxx main.o $header.o -o main >out 2>err
            try "$cxx, $program: $std, run" ./main
        done
    done
    for header in slab overflow fixedpool bufpool; do
        check "$cxx, $header.h: the implementation says that it is C" \
            is_refused $header.c $cxx 'in a C file'
    done
done
tap_end
