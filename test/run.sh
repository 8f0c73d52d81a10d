#!/bin/sh
# make check: every rung of the ladder, two at a time. Each rung compiles the test programs in its
# own way, runs them and leaves TAP in build/check/RUNG.tap. A rung whose tool is missing says SKIP
# and names the package; with STRICT=1 it fails instead. The last line is "N passed, N failed".
#
#   test/run.sh             all rungs
#   test/run.sh RUNG ...    these
# shellcheck disable=SC2086  # flags are lists of words
cd "$(dirname "$0")/.." || exit 2
out=build/check
: "${CC:=cc}" "${CFLAGS:=-O2 -g}" "${STRICT:=}"
export CC CFLAGS STRICT

base='cc header synopsis demo fit-tiers replay full-disk prometheus model install bench'
# The longest first, so that none is left alone in the end.
more='valgrind tsan-gcc asan-gcc s390x aarch64 gcc clang tsan-clang riscv64 asan-clang m32 musl cxx fuzz lint'

warnings='-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror'
headers='slab overflow fixedpool bufpool'
programs='slab_test slab_misuse slab_process slab_stress slab_store_test slab_store_oracle slab_fit_test
    overflow_test overflow_oracle overflow_hostile overflow_crash overflow_power overflow_process
    overflow_full fixedpool_test fixedpool_lack fixedpool_ring fixedpool_stress fixedpool_chaos
    bufpool_test bufpool_lack bufpool_metrics bufpool_stress bufpool_chaos'
all=$programs
short='slab_test slab_misuse slab_store_test overflow_test fixedpool_test fixedpool_lack
    bufpool_test'
poison='slab_poison overflow_poison fixedpool_poison bufpool_poison'

# ---- TAP: a rung collects lines without numbers; finish numbers them ----

pass() { echo "ok - $1" >>"$raw"; }
fail() { # what, file with details
    [ -f "${2:-}" ] && sed 's/^/# /' "$2" | head -n 40 >>"$raw"
    echo "not ok - $1" >>"$raw"
}
skip() {
    if [ -n "$STRICT" ]; then fail "$1: package $2 is not installed"
    else echo "ok - $1 # SKIP package $2 is not installed" >>"$raw"; fi
}
try() { # what, command...: passes if the command does
    what=$1
    shift
    if "$@" >"$log" 2>&1 </dev/null; then pass "$what"; else fail "$what" "$log"; fi
}
need() { # package, command...
    package=$1
    shift
    for tool; do command -v "$tool" >/dev/null 2>&1 || { skip "$rung" "$package"; return 1; }; done
}
compiles() { # package, flags...: whether that compiler makes programs at all
    package=$1
    shift
    echo '#include <stdio.h>
int main(void) { puts(""); return 0; }' >"$dir/probe.c"
    "$@" "$dir/probe.c" -o "$dir/probe" >/dev/null 2>&1 || { skip "$rung" "$package"; return 1; }
}
run_tap() { # name, command...: takes over the tests of a program that prints TAP
    name=$1
    shift
    timeout 300 "$@" >"$log" 2>&1 </dev/null
    status=$?
    sed -n -e "s/^\(not \)\{0,1\}ok [0-9]* - /\1ok - $name: /p" -e '/^#/p' "$log" >>"$raw"
    if ! grep -q '^1\.\.[0-9]' "$log" || { [ $status -ne 0 ] && ! grep -q '^not ok' "$log"; }; then
        fail "$name: ended with status $status" "$log"
    fi
}
suite() { # prefix, runner ('' = none), compiler and flags...: builds and runs all programs
    prefix=$1 runner=$2 scratch=${TMPDIR:-/tmp}
    shift 2
    # Files on a disk once; in memory, which is faster, each time after that.
    [ "$rung" = cc ] || [ ! -w /dev/shm ] || scratch=/dev/shm
    for program in $programs; do
        if "$@" -pthread "test/${program%%_*}/$program.c" -o "$dir/$program" >"$log" 2>&1; then
            run_tap "$prefix$program" env "TMPDIR=$scratch" $runner "$dir/$program"
        else
            fail "$prefix$program: does not compile" "$log"
        fi
    done
}

# ---- The rungs ----

rung_cc() { suite '' '' $CC -std=c11 $CFLAGS; }

matrix() { # every level and standard with the short programs, then all of them
    for level in 0 1 2 3; do
        for std in c11 c17 c2x; do
            programs=$short
            suite "-O$level $std " '' "$1" -std=$std -O$level $warnings
        done
    done
    programs=$short
    suite 'NDEBUG ' '' "$1" -std=c11 -O2 -DNDEBUG -Wno-unused $warnings
    programs=$all
    suite '-O3 inline ' '' "$1" -std=c11 -O3 '-DSLAB_API=static inline' \
        '-DOVERFLOW_API=static inline' '-DFIXEDPOOL_API=static inline' '-DBUFPOOL_API=static inline' \
        $warnings
}
rung_gcc() {
    need gcc gcc || return
    matrix gcc
    run_tap 'ten million operations' "$dir/bufpool_stress" 0.25 4 10000000
    run_tap 'a million tenants' "$dir/bufpool_test" 1000000
}
rung_clang() { need clang clang && matrix clang; }

sanitized() { # compiler, flags...
    suite '' '' "$@" -std=c11 -g -O1 -fno-omit-frame-pointer -fno-sanitize-recover=all
}
rung_asan_gcc() {
    need gcc gcc && compiles gcc gcc -fsanitize=address,undefined || return
    programs="$programs $poison"
    sanitized gcc -fsanitize=address,undefined
    run_tap 'ten million' "$dir/slab_store_oracle" 10000000
    run_tap 'a million' "$dir/overflow_oracle" 1000000
}
rung_asan_clang() {
    need clang clang && compiles 'clang (with libclang-rt)' clang -fsanitize=address,undefined || return
    programs="$programs $poison"
    sanitized clang -fsanitize=address,undefined
}
rung_tsan_gcc() { need gcc gcc && compiles gcc gcc -fsanitize=thread && sanitized gcc -fsanitize=thread; }
rung_tsan_clang() {
    need clang clang && compiles 'clang (with libclang-rt)' clang -fsanitize=thread &&
        sanitized clang -fsanitize=thread
}
rung_valgrind() {
    need valgrind valgrind || return
    suite '' 'valgrind -q --error-exitcode=9 --leak-check=full --fair-sched=yes' $CC -std=c11 -g -O1
    programs=$poison
    suite '' 'valgrind -q' $CC -std=c11 -g -O1 -DWITH_VALGRIND
}

rung_m32() { # the kernel's headers lie where only the native compiler looks
    need gcc gcc || return
    kernel="/usr/include/$(gcc -print-multiarch)"
    compiles gcc-multilib gcc -m32 -idirafter "$kernel" &&
        suite '' '' gcc -m32 -idirafter "$kernel" -std=c11 -O2 $warnings
}
rung_musl() { need musl-tools musl-gcc && suite '' '' musl-gcc -static -std=c11 -O2 $warnings; }

# qemu lets a load pass a sequentially consistent store before it, which neither C11 nor aarch64 and
# riscv64 do; so these stay on one processor. Of memory orders, make model knows all there is to know.
cross() { # triplet, name of qemu's machine, processor to stay on
    need "gcc-$1" "$1-gcc" && need qemu-user "qemu-$2" && need util-linux taskset &&
        suite '' "${3:+taskset -c $3} qemu-$2" "$1-gcc" -static -std=c11 -O2 $warnings
}
rung_aarch64() { cross aarch64-linux-gnu aarch64 0; }
rung_riscv64() { # under this qemu it says little that aarch64 does not
    programs=$short
    cross riscv64-linux-gnu riscv64 $(($(nproc) - 1))
}
rung_s390x() { cross s390x-linux-gnu s390x; }

# Each header in each way it may be included, and all of them in one file.
rung_header() {
    for header in $headers; do header_rung "$header"; done
    for header in $headers; do
        echo "#define $(upper "$header")_IMPLEMENTATION"
        echo "#include \"$header.h\""
    done >"$dir/all.c"
    try 'all in one file' $CC -std=c11 $warnings -I. -O2 -c "$dir/all.c" -o "$dir/all.o"
}
upper() { echo "$1" | tr '[:lower:]' '[:upper:]'; }

# What a program must do at least: a value in, a value out.
use_of() {
    case $1 in
    slab) cat <<'END' ;;
#include "slab.h"
static int use(void)
{
    slab_pool *pool;
    slab_id    id;
    if (slab_pool_create(&pool, 0) != 0 || slab_pool_put(pool, "x", 1, &id) != 0) return 1;
    return (int)slab_pool_destroy(pool) - 1;
}
END
    overflow) cat <<'END' ;;
#include "overflow.h"
static int use(void)
{
    overflow_config  config = {0, 1 << 20, OVERFLOW_FRESH | OVERFLOW_TEMPORARY};
    overflow_region *region;
    overflow_ref     ref;
    size_t           size;
    if (overflow_open(&region, "USED", &config) != 0) return 1;
    if (overflow_write(region, "x", 1, 0, &ref) != 0) return 2;
    if (!overflow_read(region, ref, &size) || size != 1) return 3;
    return overflow_close(region);
}
END
    fixedpool) cat <<'END' ;;
#include "fixedpool.h"
static int use(void)
{
    fixedpool_config config = {4096, 2, 0};
    fixedpool       *pool;
    if (fixedpool_create(&pool, &config) != 0) return 1;
    int frame = fixedpool_alloc(pool);
    if (frame < 0 || !fixedpool_ptr(pool, (uint32_t)frame)) return 2;
    if (fixedpool_free(pool, (uint32_t)frame) != 0) return 3;
    return fixedpool_destroy(pool);
}
END
    bufpool) cat <<'END' ;;
#include "bufpool.h"
static int use(void)
{
    bufpool     *pool;
    bufpool_view view;
    if (bufpool_create(&pool, 0) != 0) return 1;
    bufpool_buf *buf = bufpool_acquire(pool, 5000, bufpool_tenant_get(pool, "x", 1));
    if (bufpool_view_of(buf, 1, 2, &view) != 0 || bufpool_release(buf) != 1) return 2;
    if (bufpool_view_drop(&view) != 0) return 3;
    return (int)bufpool_destroy(pool);
}
END
    esac | sed "s|USED|$dir/$1.region|"
}

header_rung() {
    name=$1
    body="#define $(upper "$name")_IMPLEMENTATION"
    include="#include \"$name.h\""
    inline="#define $(upper "$name")_API static inline"
    flags="-std=c11 $warnings -I."
    base=$dir/$name
    { use_of "$name"; echo 'int main(void) { return use(); }'; } >"$base.main.c"
    echo "$include" >"$base.alone.c"
    printf '%s\n' "$body" "$include" >"$base.body.c"
    printf '%s\n' "$include" "$include" "$body" "$include" "$include" >"$base.twice.c"
    printf '%s\n' "$body" "#include \"$name.main.c\"" >"$base.whole.c"
    { printf '%s\n' "$inline" "$body"; use_of "$name"
      printf 'int other(void);\nint other(void) { return use(); }\n'; } >"$base.inline1.c"
    printf '%s\n' "$inline" "$body" "#include \"$name.main.c\"" >"$base.inline2.c"
    try "$name: declarations alone" $CC $flags -c "$base.alone.c" -o "$base.alone.o"
    try "$name: implementation alone" $CC $flags -O2 -c "$base.body.c" -o "$base.body.o"
    try "$name: twice in one file" $CC $flags -O2 -c "$base.twice.c" -o "$base.twice.o"
    try "$name: two files, linked" $CC $flags "$base.main.c" "$base.body.o" -o "$base.two"
    try "$name: two files, run" "$base.two"
    try "$name: static inline in two files" $CC $flags -Wno-unused-function -O2 "$base.inline1.c" \
        "$base.inline2.c" -o "$base.inlined"
    try "$name: static inline, run" "$base.inlined"
    try "$name: static inline, nothing left outside" sh -c "! nm '$base.inlined' | grep ' T ${name}_'"
    try "$name: after _GNU_SOURCE" $CC $flags -D_GNU_SOURCE "$base.whole.c" -o "$base.whole"
    try "$name: files of 64 bits" $CC $flags -D_FILE_OFFSET_BITS=64 "$base.whole.c" -o "$base.whole64"
    [ "$name" != slab ] ||
        try "$name: memory macros of the user" $CC $flags \
            '-DSLAB_MAP(size)=memset(aligned_alloc(4096,size),0,size)' \
            '-DSLAB_UNMAP(memory,size)=free(memory)' -include stdlib.h -include string.h \
            -c "$base.whole.c" -o "$base.macros.o"
    case $name in fixedpool | bufpool)
        try "$name: memory macros of the user" $CC $flags \
            "-D$(upper "$name")_MAP(size)=memset(aligned_alloc(4096,((size)+4095)/4096*4096),0,size)" \
            "-D$(upper "$name")_UNMAP(memory,size)=free(memory)" -include stdlib.h -include string.h \
            "$base.whole.c" -o "$base.macros"
        try "$name: memory macros of the user, run" "$base.macros" ;;
    esac
    # Private names carry two underscores; the rest begin with the header's.
    try "$name: no other names outside" sh -c \
        "! nm -g --defined-only '$base.body.o' | grep -v ' ${name}_'"
}

# The declarations as C++11, linked with the implementation as C.
rung_cxx() {
    for cxx in g++ clang++; do
        if [ $cxx = g++ ]; then need g++ g++ || continue; else need clang clang++ || continue; fi
        for name in $headers; do
            { echo '#include <cstddef>'; use_of "$name"; echo 'int main() { return use(); }'; } \
                >"$dir/$name.cc"
            printf '#define %s_IMPLEMENTATION\n#include "%s.h"\n' "$(upper "$name")" "$name" \
                >"$dir/$name.body.c"
            cp "$dir/$name.body.c" "$dir/$name.body.cc"
            try "$name: implementation as C" $CC -std=c11 -O2 -I. -c "$dir/$name.body.c" \
                -o "$dir/$name.o"
            try "$cxx, $name: declarations as C++11" $cxx -std=c++11 $warnings -I. "$dir/$name.cc" \
                "$dir/$name.o" -o "$dir/$name"
            try "$cxx, $name: run" "$dir/$name"
            try "$cxx, $name: the implementation says that it is C" sh -c \
                "! $cxx -std=c++11 -I. -c '$dir/$name.body.cc' -o '$dir/body.cc.o' 2>'$dir/said' &&
                grep -q 'C file' '$dir/said'"
        done
    done
}

# The lines at the top of the headers, and those that stand for slab_store and in the README for a
# fixed read, as they are.
rung_synopsis() {
    sed -n '/^ \*     #define SLAB_IMPLEMENTATION/,/^ \*     }/s/^ \*     //p' slab.h >"$dir/pool.c"
    {
        printf '#define SLAB_IMPLEMENTATION\n#include "slab.h"\n#include <stdio.h>\n'
        printf 'int main(void)\n{\n'
        sed -n '/^ \*     slab_store \*store;/,/slab_store_destroy/s/^ \*     //p' slab.h
        printf '    return 0;\n}\n'
    } >"$dir/store.c"
    sed -n '/^ \*     #define OVERFLOW_IMPLEMENTATION/,/^ \*     }/s/^ \*     //p' overflow.h \
        >"$dir/region.c"
    sed -n '/^ \*     #define FIXEDPOOL_IMPLEMENTATION/,/^ \*     }/s/^ \*     //p' fixedpool.h \
        >"$dir/frames.c"
    sed -n '/^ \*     #define BUFPOOL_IMPLEMENTATION/,/^ \*     }/s/^ \*     //p' bufpool.h \
        >"$dir/buffers.c"
    try 'buffers: it is there' grep -q bufpool_destroy "$dir/buffers.c"
    try 'frames: it is there' grep -q fixedpool_destroy "$dir/frames.c"
    try 'region: it is there' grep -q overflow_close "$dir/region.c"
    try 'pool: it is there' grep -q slab_pool_destroy "$dir/pool.c"
    try 'store: it is there' grep -q slab_store_destroy "$dir/store.c"
    for name in pool store region frames buffers; do
        try "$name: it compiles" $CC -std=c11 $warnings -I. "$dir/$name.c" -o "$dir/$name"
    done
    try 'pool: it runs' sh -c "[ \"\$('$dir/pool')\" = hello ]"
    try 'frames: it runs' sh -c "[ \"\$('$dir/frames')\" = hello ]"
    try 'buffers: it runs' sh -c "[ \"\$('$dir/buffers')\" = hello ]"
    try 'store: it runs' sh -c "[ \"\$('$dir/store')\" = 'a value' ]"
    if printf '#include <liburing.h>\n' | $CC -E - >/dev/null 2>&1; then
        {
            printf '#define FIXEDPOOL_IMPLEMENTATION\n#include "fixedpool.h"\n'
            printf '#include <fcntl.h>\n#include <liburing.h>\n#include <stdio.h>\n'
            printf 'int main(void)\n{\n    struct io_uring ring;\n    struct io_uring_cqe *cqe;\n'
            printf '    int fd = open("README.md", O_RDONLY);\n'
            printf '    if (fd < 0 || io_uring_queue_init(4, &ring, 0) != 0) return 2;\n'
            awk '/^fixedpool /{ on = 1 } length == 3 { on = 0 } on' README.md
            printf '    printf("%%.8s\\n", (char *)fixedpool_ptr(pool, frame));\n'
            printf '    return fixedpool_unregister(pool, ring.ring_fd) || fixedpool_destroy(pool);\n}\n'
        } >"$dir/read.c"
        try 'a fixed read: it compiles' $CC -std=gnu11 -I. "$dir/read.c" -o "$dir/read" -luring
        try 'a fixed read: it runs' sh -c "[ \"\$('$dir/read')\" = '# Ashlar' ]"
    else skip 'a fixed read' liburing-dev; fi
    try 'region: it runs' sh -c "cd '$dir' && [ \"\$(./region)\" = hello ]"
}

rung_demo() { run_tap treecache test/use/treecache_test.sh "$dir"; }
rung_fit_tiers() { run_tap fit_tiers test/use/fit_tiers_test.sh "$dir"; }
rung_replay() { run_tap replay test/use/replay_test.sh "$dir"; }
rung_prometheus() {
    need prometheus prometheus && need python3 python3 &&
        run_tap prometheus test/bufpool/prometheus_test.sh "$dir"
}
rung_full_disk() { run_tap full test/overflow/overflow_full.sh "$dir"; }
# Every execution where the checker is installed; it is not among Debian's packages, so its absence
# is no SKIP here: `make model` is the place to ask for it.
rung_model() {
    if command -v genmc >/dev/null 2>&1; then run_tap model test/model/run.sh
    else run_tap model test/model/run.sh smoke; fi
}

rung_install() {
    try 'make install' make -s install PREFIX=/opt/ashlar "DESTDIR=$PWD/$dir/root"
    root=$dir/root/opt/ashlar
    cp test/check.h "$dir"
    for name in $headers; do
        sed "s|\"../../$name.h\"|<$name.h>|; s|../check.h|check.h|" "test/$name/${name}_test.c" >"$dir/${name}_test.c"
        try "a program finds $name.h" $CC -std=c11 -I"$root/include" "$dir/${name}_test.c" \
            -o "$dir/${name}_test"
    done
    try 'pkg-config file names the prefix' \
        grep -qx 'prefix=/opt/ashlar' "$root/lib/pkgconfig/ashlar.pc"
}

# A figure; or what this kernel, its file system or its limits do not let us do.
bench_row() { # workload and subject
    cannot='io_uring_setup|CLONE_BUFFERS|O_DIRECT|register:Cannot-allocate-memory'
    if grep -q "^$1 [0-9]" "$log"; then pass "$1"
    elif [ -z "$STRICT" ] && grep -qE "^$1 FAILED ($cannot)" "$log"; then
        echo "ok - $1 # SKIP $(sed -n 's/.* FAILED //p' "$log")" >>"$raw"
    else fail "$1" "$log"; fi
}

# Each workload of the benchmarks with each subject, a few operations long: it runs, and gives a figure.
rung_bench() {
    for name in slab store overflow fixedpool bufpool; do
        few='--ops 2000'
        case $name in store | overflow) few="$few --values 2000" ;; esac
        try "$name: it compiles" $CC -std=c11 $CFLAGS -pthread bench/${name}_bench.c \
            -o "$dir/${name}_bench"
        "$dir/${name}_bench" --list | while read -r workload subject; do
            case $workload in *1G)
                if [ -z "$STRICT" ] && ! awk '/^MemAvailable/ && $2 > 3e6 { ok = 1 } END { exit !ok }' \
                    /proc/meminfo; then
                    echo "ok - $workload $subject # SKIP less than 3 GB of memory are free" >>"$raw"
                    continue
                fi ;;
            esac
            timeout 60 "$dir/${name}_bench" $workload $subject $few >"$log" 2>&1 </dev/null
            bench_row "$workload $subject"
        done
        try "$name: an unknown workload is refused" sh -c "! '$dir/${name}_bench' nonsense ashlar"
    done
}

# The fuzz targets for some seconds; `make fuzz` runs it for as long as you like.
rung_fuzz() {
    need clang clang && compiles 'clang (with libclang-rt)' clang -fsanitize=fuzzer-no-link,address ||
        return
    for name in slab_store overflow; do
        try "$name: it compiles" clang -std=c11 -g -O1 -fsanitize=fuzzer,address,undefined \
            -fno-sanitize-recover=all "test/fuzz/${name}_fuzz.c" -o "$dir/${name}_fuzz"
        try "$name: it runs" timeout 300 "$dir/${name}_fuzz" -seed=1 -max_total_time=15 -max_len=3000
    done
}

rung_lint() { run_tap lint test/lint.sh; }

# ---- One rung ----

run_rung() {
    rung=$1
    dir=$out/$rung
    raw=$dir/raw
    log=$dir/log
    rm -rf "$dir"
    mkdir -p "$dir"
    : >"$raw"
    began=$(date +%s)
    rung_"$(echo "$rung" | tr - _)"
    awk '/^(not )?ok - / { sub(/ok - /, "ok " ++n " - ") } { print } END { print "1.." n + 0 }' \
        "$raw" >"$out/$rung.tap"
    awk -v rung="$rung" -v seconds=$(($(date +%s) - began)) '
        /^not ok/ { bad++ } /^ok.*# SKIP/ { skipped++; why = $0; sub(/.*# SKIP /, "", why) } /^ok/ { good++ }
        END {
            if (bad) printf "FAIL  %-11s %d of %d, %d s\n", rung, bad, bad + good, seconds
            else if (skipped && skipped == good) printf "SKIP  %-11s %s\n", rung, why
            else printf "ok    %-11s %d, %d s%s\n", rung, good - skipped, seconds, \
                skipped ? ", " skipped " skipped: " why : ""
        }' "$out/$rung.tap"
    grep -B 40 '^not ok' "$out/$rung.tap" | grep -v '^ok' || :
}

# ---- All of them ----

if [ "${1:-}" = --rung ]; then
    run_rung "$2"
    exit
fi
mkdir -p "$out"
rm -f "$out"/*.tap
[ $# -eq 0 ] && set -- $base $more
for rung; do echo "$rung"; done | xargs -n 1 -P 2 "$0" --rung
if command -v prove >/dev/null 2>&1; then prove -Q "$out"/*.tap; fi
cat "$out"/*.tap | awk '
    /^not ok/ { failed++; next } /^ok.*# SKIP/ { skipped++; next } /^ok/ { passed++ }
    END {
        if (skipped) print skipped " skipped"
        printf "%d passed, %d failed\n", passed, failed
        exit failed > 0 || passed == 0
    }'
