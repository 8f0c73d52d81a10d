#!/bin/sh
# Goal: programs in C++20, Rust and Python use all four headers, and see the version of this tree.
# Method: use.cc and use.rs beside this script are linked with an object that is compiled from the
# headers, use.py loads a shared object; each is run.
#
#   test/use/language_test.sh WORKDIR
# shellcheck disable=SC1091,SC2086  # tap.sh; CFLAGS is a list of words
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/test/tap.sh"
tap_begin "$1"
use=$root/test/use
EXPECTED=$(sed -n 's/^version *= *//p' "$root/Makefile" | # 1.2.3 -> 10203
    awk -F. '{ print $1 * 10000 + $2 * 100 + $3 }')
export EXPECTED

value_of() { # macro, header
    printf '#include "%s.h"\n%s\n' "$2" "$1" | $CC -std=c11 -I"$root" -x c -E -P - | tail -n 1
}
for header in slab overflow fixedpool bufpool; do
    macro=$(echo $header | tr '[:lower:]' '[:upper:]')_VERSION
    value=$(value_of $macro $header)
    check "$macro is $EXPECTED" [ "$value" = "$EXPECTED" ]
    export "$macro=$value"
done
try 'C: the object compiles' $CC -std=c11 $CFLAGS -I"$root" -c "$use/all.c" -o all.o

if need g++ g++; then
    try 'C++20: compiles' g++ -std=c++20 -O1 -Wall -Wextra -Wpedantic -Wconversion -Wshadow \
        -Werror "-DVERSION=$EXPECTED" -pthread -I"$root" "$use/use.cc" all.o -o use_cc
    try 'C++20: runs' ./use_cc
fi
if need rustc rustc; then
    try 'Rust: compiles' rustc --edition 2021 -D warnings -C link-arg=all.o "$use/use.rs" -o use_rs
    try 'Rust: runs' ./use_rs
fi
if need python3 python3; then
    try 'Python: the shared object compiles' $CC -std=c11 $CFLAGS -fPIC -shared -I"$root" \
        "$use/all.c" -o ashlar.so
    try 'Python: runs' python3 -B "$use/use.py" ./ashlar.so "$root" "$EXPECTED"
fi
tap_end
