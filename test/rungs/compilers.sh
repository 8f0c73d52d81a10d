# compilers.sh - the same programs by every compiler, at every level, and under every sanitizer.
# shellcheck shell=sh disable=SC2034,SC2086,SC2154  # flags are lists of words; lib.sh sets warnings

# The longest first, so that none is left alone in the end.
more='valgrind tsan-gcc asan-gcc s390x aarch64 gcc clang tsan-clang asan-clang riscv64
    bench m32 musl sparc64 header cxx model disk user fuzz tools strict language vendor runner rules
    more_examples sample_uring full prometheus kv_storm kv_clients
    kv_proxy overflow_inspect'
short='slab_store_test slab_test slab_misuse overflow_test fixedpool_test fixedpool_lack bufpool_test'
poison='slab_poison overflow_poison fixedpool_poison bufpool_poison'

matrix() { # compiler: each level and each standard with the short programs, then all of them
    all=$programs
    programs=$short
    for way in '-O0 c11' '-O2 c11' '-O3 c11' '-O2 c17' '-O2 c2x'; do # -O1 is the sanitizers'
        suite "$way " '' "$1" "-std=${way#* }" "${way% *}" $warnings
    done
    suite 'NDEBUG ' '' "$1" -std=c11 -O2 -DNDEBUG -Wno-unused $warnings
    programs=$all
    suite '-O3 inline ' '' "$1" -std=c11 -O3 '-DSLAB_API=static inline' \
        '-DOVERFLOW_API=static inline' '-DFIXEDPOOL_API=static inline' '-DBUFPOOL_API=static inline' \
        $warnings
}
rung_gcc() {
    need gcc gcc || return
    matrix gcc
    run_tap 'ten million operations: ' "$dir/bufpool_stress" 0.25 4 10000000
    run_tap 'a million tenants: ' "$dir/bufpool_test" 1000000
    run_tap 'owners killed at each ninth instruction: ' "$dir/slab_pool_adopt" 9
    run_tap 'a thousand caches: ' "$dir/bufpool_crowd" 1000
    run_tap '240 budgets: ' "$dir/slab_store_age" 40 240
}
rung_clang() { need clang clang && matrix clang; }

# Files on a disk, which is slower than memory, and different.
rung_disk() {
    programs=$(echo $programs | tr ' ' '\n' | grep overflow)
    TMPDIR=$PWD/$dir suite '' '' $CC -std=c11 $CFLAGS
}

without() { echo $programs | tr ' ' '\n' | grep -vxE "$1"; } # the programs but these
sanitized() { # compiler, flags...
    patience=120 suite '' '' "$@" -std=c11 -g -O1 -fno-omit-frame-pointer -fno-sanitize-recover=all
}
rung_asan_gcc() {
    need gcc gcc && compiles gcc gcc -fsanitize=address,undefined || return
    programs="$programs $poison"
    sanitized gcc -fsanitize=address,undefined
    run_tap 'three million: ' "$dir/slab_store_oracle" 3000000
    run_tap 'half a million: ' "$dir/overflow_oracle" 500000
}
rung_asan_clang() {
    need clang clang && compiles 'clang (with libclang-rt)' clang -fsanitize=address,undefined || return
    programs="${units#text } $poison" # the storms are asan-gcc's
    sanitized clang -fsanitize=address,undefined
}
# What has threads; not bufpool_kernel, which counts mappings, of which this sanitizer makes some.
threaded() {
    for one in $(without bufpool_kernel); do
        grep -lE 'pthread_create|_stress\.c"' "test/${one%%_*}/$one.c" >/dev/null && echo "$one"
    done
}
rung_tsan_gcc() {
    need gcc gcc && compiles gcc gcc -fsanitize=thread || return
    programs=$(threaded)
    sanitized gcc -fsanitize=thread
}
rung_tsan_clang() {
    need clang clang && compiles 'clang (with libclang-rt)' clang -fsanitize=thread || return
    programs=$(threaded)
    sanitized clang -fsanitize=thread
}
rung_valgrind() {
    need valgrind valgrind || return
    patience=120
    # No storms: of a program's threads only one runs at a time here. No oracles and no forged files:
    # AddressSanitizer has those, in a tenth of the time. The others count mappings, of which Valgrind
    # makes some, filter system calls that it needs, or wait for threads.
    programs=${units#text }
    programs=$(without '.*_oracle|overflow_hostile|bufpool_(kernel|crowd)|fixedpool_(sandbox|buffers)')
    suite '' 'valgrind -q --error-exitcode=9 --leak-check=full --fair-sched=yes' $CC -std=c11 -g -O1
    programs=$poison
    suite '' 'valgrind -q' $CC -std=c11 -g -O1 -DWITH_VALGRIND
}

# The fuzz targets for some seconds; make fuzz runs them for as long as you like.
rung_fuzz() {
    need clang clang && compiles 'clang (with libclang-rt)' clang -fsanitize=fuzzer-no-link,address ||
        return
    for name in slab_store overflow kv_protocol; do
        try "$name: it compiles" clang -std=c11 -g -O1 -I. -fsanitize=fuzzer,address,undefined \
            -fno-sanitize-recover=all "test/fuzz/${name}_fuzz.c" -o "$dir/${name}_fuzz"
        try "$name: it runs" timeout 300 "$dir/${name}_fuzz" -seed=1 -max_total_time=15 -max_len=3000
    done
}

# Every execution where the checker is installed; it is not among Debian's packages, so its absence
# is no SKIP here: make model is the place to ask for it.
rung_model() {
    limit=900
    if command -v genmc >/dev/null 2>&1; then run_tap '' test/model/run.sh
    else run_tap '' test/model/run.sh smoke; fi
}

rung_tools() { limit=900 run_tap '' test/lint.sh tools; }

# Every code block of the documentation, those too that need a package; the examples, sanitized.
rung_more_examples() {
    for name in docs ringcp restart tenants kv; do
        run_tap "$name: " "test/use/${name}_test.sh" "$PWD/$dir/$name" || :
    done
}
