# genmc.sh - what run.sh and mutants.sh share: which plays there are, and one play under GenMC.
#
# CLANG and OPT name another clang and opt than those of genmc's own LLVM.
# shellcheck shell=sh disable=SC2034,SC2154  # here, work: set by the script that includes this

# Prints FILE:PLAY for each play of the files whose names match a pattern. The definition of a play
# is the list: a line that begins with play(name).
plays_of() {
    for source in "$here"/$1.c; do
        [ -f "$source" ] || continue
        name=$(basename "$source" .c)
        sed -n "s/^[[:space:]]*play[[:space:]]*(\([a-z0-9_]*\)).*/$name:\1/p" "$source"
    done
}

# Sets clang and opt, and missing: the tool that is not installed, or nothing.
find_checker() {
    missing=genmc
    command -v genmc >/dev/null 2>&1 || return
    llvm=$(genmc --version | sed -n 's/.*LLVM \([0-9]*\).*/\1/p')
    clang=${CLANG:-clang-$llvm}
    opt=${OPT:-opt-$llvm}
    missing=
    for tool in "$clang" "$opt"; do
        command -v "$tool" >/dev/null 2>&1 || missing=$tool
    done
}

# Compiles a play against the headers in a folder, to base.raw.bc, without optimization, so that
# every access stays as in the source. Messages go to base.log.
compile() { # FILE:PLAY, folder, base
    "$clang" -std=c11 -O0 -Xclang -disable-O0-optnone -g -DMODEL "-DPLAY=${1#*:}" "-I$2" \
        -emit-llvm -c "$here/${1%:*}.c" -o "$3.raw.bc" >"$3.log" 2>&1
}

# Explores all executions of base.raw.bc. Returns 0 proved, 1 refuted, 2 neither.
#
# First inlines functions and splits structs into their fields: the checker wants each variable
# accessed in one size. None of these passes touches an atomic access.
explore() { # base
    split=sroa,instsimplify,simplifycfg
    "$opt" -passes="always-inline,function($split,$split,$split)" "$1.raw.bc" -o "$1.bc" \
        >>"$1.log" 2>&1 || return 2
    timeout --foreground 600 genmc --v1 --disable-estimation --check-liveness \
        --disable-loop-jump-threading --disable-sr --disable-load-annotation \
        --input-from-bitcode-file "$1.bc" >>"$1.log" 2>&1
    [ $? -ne 124 ] || echo "no end within 600 seconds" >>"$1.log"
    ! grep -q '^Error: ' "$1.log" || return 1
    grep -q '^No errors were detected' "$1.log" || return 2
}

# Shortens base.log after a failure to the verdict and the execution that led there: each thread's
# accesses, main's from the first thread on.
explain() { # base
    ! grep -q '^Error: ' "$1.log" || {
        grep '^Assertion violation' "$1.log"
        awk '/^Error: / { shown = 1 }
            /^Coherence/ && shown { exit }
            shown && /THREAD_CREATE/ { started = 1 }
            shown && (started || !/^\t\(0, /)' "$1.log"
    } >"$1.short"
    [ ! -s "$1.short" ] || mv "$1.short" "$1.log"
}
