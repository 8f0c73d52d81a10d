#!/usr/bin/env bash
# Goal:   show that the real headers keep their promises in every execution that the C11 memory
#         model allows, and that these clients would notice if they did not.
# Method: run.sh          each client under GenMC, exhaustively. Where genmc is not on the PATH,
#                         each as an ordinary program, 2,000 times over: a smoke test, and the real
#                         one says SKIP.
#         run.sh mutants  weakens each memory order of a header in turn, in a copy, or tears one
#                         atomic read-modify-write into a load and a store, and asks the clients. A
#                         mutant that none of them reports is not ok: an order that is stronger than
#                         it need be, or a client that is missing.
#
# CLANG and OPT name another clang and opt than those of genmc's own LLVM; CC the smoke test's
# compiler. Code that is not compiled here (the poison for sanitizers) makes no mutants.
set -u
shopt -s nullglob
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

passed=0
failed=0
count=0

ok()     { count=$((count + 1)); passed=$((passed + 1)); echo "ok $count - $1"; }
not_ok() { count=$((count + 1)); failed=$((failed + 1)); echo "not ok $count - $1"; }
skip()   { count=$((count + 1)); echo "ok $count - $1 # SKIP $2"; }

finish() {
    echo "1..$count"
    echo "$passed passed, $failed failed"
    exit $((failed > 0))
}

# The clients of one header, slab for slab.h; of all, without an argument.
clients_of() {
    local client
    for client in "$here/${1-}"*_*.c; do basename "$client" .c; done
}

# Sets clang, opt, and missing: which of the three is not there, or nothing.
find_checker() {
    local llvm tool
    missing="genmc is not installed"
    command -v genmc >/dev/null || return
    llvm=$(genmc --version | sed -n 's/.*LLVM \([0-9]*\).*/\1/p')
    clang=${CLANG:-clang-$llvm}
    opt=${OPT:-opt-$llvm}
    missing=
    for tool in "$clang" "$opt"; do
        command -v "$tool" >/dev/null || missing="$tool is not installed"
    done
}

# model CLIENT HEADERS BASE: runs a client against the headers in a folder; writes BASE.log.
# 0 proved, 1 refuted, 2 neither.
#
# The code is compiled without optimization, so that every access stays what the source says; then
# inlined, and structs split into their fields: the checker wants each variable accessed in one
# size. None of these passes touches an atomic access.
model() {
    local split=sroa,instsimplify,simplifycfg
    "$clang" -std=c11 -O0 -Xclang -disable-O0-optnone -g -DMODEL -I"$2" -emit-llvm \
        -c "$here/$1.c" -o "$3.raw.bc" >"$3.log" 2>&1 &&
        "$opt" -passes="always-inline,function($split,$split,$split)" "$3.raw.bc" -o "$3.bc" \
            >>"$3.log" 2>&1 || return 2
    timeout 600 genmc --v1 --disable-estimation --check-liveness \
        --disable-loop-jump-threading --disable-sr --disable-load-annotation \
        --input-from-bitcode-file "$3.bc" \
        >>"$3.log" 2>&1
    grep -q '^Error: ' "$3.log" && return 1
    grep -q '^No errors were detected' "$3.log" && return 0
    return 2
}

check() {
    local client executions
    find_checker
    if [ -n "$missing" ]; then
        skip "model" "$missing"
        finish
    fi
    for client in $(clients_of); do
        if model "$client" "$root" "$work/$client"; then
            executions=$(sed -n 's/^Number of complete executions.*: //p' "$work/$client.log")
            ok "$client: $executions executions"
        else
            not_ok "$client"
            sed 's/^/# /' "$work/$client.log"
        fi
    done
    finish
}

smoke() {
    local client
    for client in $(clients_of); do
        if "${CC:-cc}" -std=c11 -O2 -pthread -DROUNDS=2000 -I"$root" "$here/$client.c" \
            -o "$work/$client" 2>"$work/$client.log" &&
            timeout 60 "$work/$client" 2>>"$work/$client.log"; then
            ok "$client: 2000 rounds"
        else
            not_ok "$client"
            sed 's/^/# /' "$work/$client.log"
        fi
    done
    finish
}

# The mutants of a header, one a line: its line there, what sed is to replace, by what, which
# occurrence on that line, and in words where and what it is. Not the order of a compare-exchange
# that fails: the checker gives it the order of one that does not.
mutants_of() {
    awk '
        function weaken(to) {
            print FNR, "memory_order_[a-z_]*", "memory_order_" to, nth, \
                name ": " access, word, "to", to
        }
        function tear() {
            print FNR, "atomic_" access, "torn_" access, 1, name ": " access, "in two steps"
        }
        /^#ifdef .*POISONS/           { hidden = 1 }
        /^#(else|endif)/           { hidden = 0 }
        /^#define .*_FENCE\(\)/    { next }
        hidden                     { next }
        /^[A-Za-z].*\(/            { name = $0; sub(/\(.*/, "", name); sub(/.*[ *]/, "", name) }
        {
            if (match($0, /[A-Z_]+_FENCE\(\)/))
                print FNR, substr($0, RSTART, RLENGTH), "((void)0)", 1, name ": fence, left out"
            nth  = 0
            line = $0
            while (match(line, /atomic_[a-z_]+|memory_order_[a-z_]+/)) {
                word = substr(line, RSTART, RLENGTH)
                line = substr(line, RSTART + RLENGTH)
                if (word ~ /^atomic_.*_explicit$/) {
                    access = word
                    orders = 0
                    gsub(/^atomic_|_explicit$/, "", access)
                    if (access !~ /^(load|store|thread_fence)$/) tear()
                }
                if (word == "atomic_thread_fence") access = "fence"
                if (word !~ /^memory_order_/) continue
                nth++
                if (++orders == 2 && access ~ /^compare/) continue # see above
                sub(/^memory_order_/, "", word)
                if (word == "seq_cst")
                    weaken(access == "load" ? "acquire" : access == "store" ? "release" : "acq_rel")
                if (word == "acq_rel") { weaken("acquire"); weaken("release") }
                if (word != "relaxed") weaken("relaxed")
            }
        }' "$1"
}

mutants() {
    local header line from to nth what client killers idle
    find_checker
    if [ -n "$missing" ]; then
        skip "mutants" "$missing"
        finish
    fi
    mkdir "$work/mutant"
    for header in slab overflow fixedpool bufpool; do
        [ -n "$(clients_of $header)" ] || continue
        idle=" $(clients_of $header | tr '\n' ' ')"
        cp "$root/$header.h" "$work/$header.h" # one and the same to the end, whoever edits it
        while read -r line from to nth what; do
            sed "${line}s/$from/$to/$nth" "$work/$header.h" >"$work/mutant/$header.h"
            killers=
            for client in $(clients_of $header); do
                model "$client" "$work/mutant" "$work/$client"
                case $? in
                1) killers="$killers $client" idle=${idle/ $client / } ;;
                2) killers="$killers $client?" ;;
                esac
            done
            what="$header.h:$line $what"
            case $killers in
            '') not_ok "$what; reported by none" ;;
            *'?'*) not_ok "$what; could not be run:$killers" ;;
            *) ok "$what; reported by$killers" ;;
            esac
        done < <(mutants_of "$work/$header.h")
        rm -f "$work/mutant/$header.h"
        for client in $idle; do echo "# $client reports no mutant"; done
    done
    finish
}

case ${1-} in
'' | model) check ;;
smoke) smoke ;;
mutants) mutants ;;
*)
    echo "usage: run.sh [smoke | mutants]" >&2
    exit 2
    ;;
esac
