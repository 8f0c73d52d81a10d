# machines.sh - other machines, another libc, other page sizes, and an ordinary user.
# shellcheck shell=sh disable=SC2034,SC2086,SC2154  # flags are lists of words; lib.sh sets warnings

rung_m32() { # the kernel's headers lie where only the native compiler looks
    need gcc gcc || return
    kernel="/usr/include/$(gcc -print-multiarch)"
    compiles gcc-multilib gcc -m32 -idirafter "$kernel" &&
        suite '' '' gcc -m32 -idirafter "$kernel" -std=c11 -O2 $warnings
}
rung_musl() { need musl-tools musl-gcc && suite '' '' musl-gcc -static -std=c11 -O2 $warnings; }

# qemu lets a load pass a sequentially consistent store before it, which neither C11 nor aarch64 and
# riscv64 do; so these stay on one processor. make model checks the memory orders.
cross() { # triplet, name of qemu's machine, processor to stay on
    patience=120
    need "gcc-$1" "$1-gcc" && need qemu-user "qemu-$2" && need util-linux taskset &&
        suite '' "${3:+taskset -c $3} qemu-$2" "$1-gcc" -static -std=c11 -O2 $warnings
}
rung_aarch64() { # storms need more than one processor; s390x has the oracles
    programs=${units#text }
    programs=$(without '.*_oracle|overflow_hostile')
    cross aarch64-linux-gnu aarch64 0
}
rung_riscv64() { # under this qemu it says little that aarch64 does not
    programs=$short
    cross riscv64-linux-gnu riscv64 $(($(nproc) - 1))
}
rung_s390x() { # the other byte order, which matters to no storm
    programs="${units#text } overflow_crash overflow_power"
    cross s390x-linux-gnu s390x
}
# Pages of 8 KiB. Where these are larger than the host's, qemu maps nothing beyond a file's end, so
# that a region cannot grow, and its mincore counts the host's pages.
rung_sparc64() {
    programs="$short slab_kernel bufpool_kernel"
    why_known="qemu's mmap and mincore"
    # shellcheck disable=SC2317  # line calls it
    known_to_fail() {
        case $1 in *overflow_test:*status* | *slab_kernel:*reports*) return 0 ;; esac
        return 1
    }
    cross sparc64-linux-gnu sparc64 0
    [ "$(grep -c '# TODO' "$raw")" -eq 2 ] || grep -q '# SKIP' "$raw" ||
        fail 'not the two tests that are known to fail: correct the list in machines.sh'
}

# What make check runs, as a user without privileges who may lock 8 MiB of memory; but for programs
# that ask the kernel for nothing that only some users get.
rung_user() {
    [ "$(id -u)" -ne 0 ] || need util-linux setpriv || return
    chmod 711 "$TMPDIR" "$TMPDIR/.." && chmod 1777 "$TMPDIR"
    dir=$TMPDIR # where that user can run what we build
    programs=$(without 'slab_(store|fit).*|.*_(oracle|stress|chaos)|overflow_(crash|power)')
    suite '' test/rungs/as_user.sh $CC -std=c11 $CFLAGS
    # In a copy of the tree, since the tree itself may lie where only we may look.
    mkdir "$TMPDIR/tree" && cp -R ./*.h ./*.md LICENSE Makefile CMakeLists.txt meson.build bench docs \
        examples tools test "$TMPDIR/tree" && chmod -R a+rX "$TMPDIR/tree"
    scripts='examples ringcp restart tenants docs sample_uring'
    for name in $scripts; do
        run_tap "$name: " test/rungs/as_user.sh "$TMPDIR/tree/$(script_of "$name")" \
            "$TMPDIR/$name" || :
    done
}
