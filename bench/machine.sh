# machine.sh - what bench/run.sh and tools/replay.sh share: the machine's name, the directory named
# after it, the installed mallocs, and the first line of a table.
# shellcheck shell=bash disable=SC2034  # the variables are for the scripts

: "${CC:=cc}" "${CXX:=c++}" "${CFLAGS:=-O2 -g}"

# Processor, cores, kernel, compiler.
machine_name() {
    local processor compiler
    processor=$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1)
    case $($CC -dM -E - </dev/null) in *__clang__*) compiler=clang ;; *) compiler=gcc ;; esac
    echo "${processor:-$(uname -m)}, $(nproc) cores, Linux $(uname -r | sed 's/-.*//')," \
        "$compiler $($CC -dumpfullversion -dumpversion)"
}
machine=$(machine_name)
machine_directory=$(echo "$machine" | sed 's/([^)]*)//g; s/[^A-Za-z0-9.]\+/-/g')

libraries=$(ldconfig -p 2>/dev/null || /sbin/ldconfig -p)
library_of() { # the file of a shared library, or nothing
    sed -n "/lib$1\.so/{s/.* => //p;q}" <<<"$libraries"
}

# The comment at the top of a table: where, how and when its figures were measured.
headline() { # the command
    echo "# $machine; $CC $CFLAGS; $1; $(date -u +%F)"
}
