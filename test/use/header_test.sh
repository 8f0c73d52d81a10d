#!/bin/sh
# Goal: each header works in each way in which a C program may include it: declarations alone, the
# implementation in a file of its own, twice in one file, static inline in several files, after
# _GNU_SOURCE, with 64-bit files, with the memory macros of the user, beside the other headers. It
# defines no name that does not begin with its own.
# Method: the small programs beside this script, compiled in each way without a warning, and run.
#
#   test/use/header_test.sh WORKDIR
# shellcheck disable=SC2317,SC1091,SC2086  # tap.sh; flags are lists of words
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/test/tap.sh"
tap_begin "$1"
flags='-std=c11 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror'
use=$root/test/use

compile() { $CC $flags -I"$root" "$@"; }
passes() { "$@" >out 2>err </dev/null; }
no_names_but() { # what a name must match, then nm and its arguments
    allowed=$1
    shift
    "$@" >names || return 1
    ! grep -vE "$allowed" names
}

# Files of the ways to include a header.
write_files() { # header, prefix of its macros
    printf '#include "%s.h"\n' "$1" >alone.c
    printf '#define %s_IMPLEMENTATION\n#include "%s.h"\n' "$2" "$1" >body.c
    printf '#include "%s.h"\n#include "%s.h"\n#define %s_IMPLEMENTATION\n' "$1" "$1" "$2" >twice.c
    printf '#include "%s.h"\n#include "%s.h"\n' "$1" "$1" >>twice.c
}

# What needs no program.
header_alone() { # header
    try "$1.h: declarations alone" compile -c alone.c -o alone.o
    try "$1.h: declarations define no name" no_names_but '^$' nm alone.o
    try "$1.h: implementation alone" compile -O2 -c body.c -o body.o
    try "$1.h: twice in one file" compile -c twice.c -o twice.o
    try "$1.h: no names of others" no_names_but " $1_" nm -g --defined-only body.o
}

builds_and_runs() { # what, name, arguments of the compiler...
    what=$1 name=$2
    shift 2
    if passes compile "$@" -o "$name"; then try "$what" "./$name"; else not_ok "$what" out err; fi
}

program_of() { # program, header, prefix of its macros
    main=$use/$1.c body=-D$3_IMPLEMENTATION
    builds_and_runs "$1: two files" two "$main" body.o
    compile -O2 "-D$3_API=static inline" -Wno-unused-function $body -Dmain=other -c "$main" \
        -o inline.o >out 2>err || not_ok "$1: static inline" out err
    builds_and_runs "$1: static inline in two files" inlined -O2 "-D$3_API=static inline" \
        -Wno-unused-function $body "$main" inline.o
    try "$1: static inline leaves no function outside" sh -c "! nm inlined | grep ' T $2_'"
    builds_and_runs "$1: after _GNU_SOURCE" gnu -D_GNU_SOURCE $body "$main"
    builds_and_runs "$1: 64-bit files" large -D_FILE_OFFSET_BITS=64 $body "$main"
    [ "$2" = overflow ] || # it maps files only
        builds_and_runs "$1: memory macros of the user" macros -include "$use/own_memory.h" $body \
            "$main"
}

for header in slab overflow fixedpool bufpool; do
    prefix=$(echo $header | tr '[:lower:]' '[:upper:]')
    write_files $header "$prefix"
    header_alone $header
    case $header in slab) programs='slab_pool slab_store' ;; *) programs=$header ;; esac
    for program in $programs; do program_of "$program" $header "$prefix"; done
done
try 'all in one file' compile -O2 -c "$use/all.c" -o all.o
tap_end
