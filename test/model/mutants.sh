#!/bin/sh
# Goal:   show that the plays notice when a header is broken.
# Method: weakens each memory order of a header, in a copy; leaves out each fence; tears each atomic
#         read-modify-write into a load and a store; and runs the header's plays. A mutant that no
#         play reports is not ok: the order is stronger than it need be, or a play is missing.
#
#   mutants.sh [HEADER]     slab, overflow, fixedpool or bufpool; all without an argument
#
# A mutant needs one play that reports it. With ALL=1 every play is asked, and those that report no
# mutant are listed in the end; that takes several times as long.
#
# Code that is not compiled here (the poison for sanitizers) makes no mutants.
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
# shellcheck source=/dev/null
. "$root/test/tap.sh"
# shellcheck source=/dev/null
. "$here/genmc.sh"

: "${ALL:=}"
header=${1-} header=${header%.h}
if [ $# -gt 1 ] || [ -z "$(plays_of "${header:-*}_*")" ]; then
    echo "mutants.sh: no header ${1-} with plays (usage: mutants [HEADER])" >&2
    exit 2
fi

work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Prints the mutants of a header, one a line: its line there, what sed is to replace, by what, which
# occurrence in that line, and a description. Leaves out the order of a compare-exchange that fails:
# the checker gives it the order of one that succeeds.
mutants_of() {
    awk '
        function weaken(to) {
            print FNR, "memory_order_[a-z_]*", "memory_order_" to, nth, \
                name ": " access, word, "to", to
        }
        function tear() {
            print FNR, "atomic_" access, "torn_" access, 1, name ": " access, "in two steps"
        }
        /^#ifdef .*POISONS/        { hidden = 1 }
        /^#(else|endif)/           { hidden = 0 }
        /^#define .*_FENCE\(\)/    { next }
        hidden                     { next }
        /^[A-Za-z].*\(/            { name = $0; sub(/\(.*/, "", name); sub(/.*[ *]/, "", name) }
        {
            if (match($0, /[A-Z_]+_FENCE\(\)|[a-z]+__pause\(\)/))
                print FNR, substr($0, RSTART, RLENGTH), "true", 1, name ": fence, left out"
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

# Runs the plays against the header in $work/mutant. Sets killers: those that report it. A play that
# reports one is asked first about the next, which is most likely of the same function.
ask() {
    killers=
    for play in $plays; do
        base=$work/$play
        if compile "$play" "$work/mutant" "$base"; then
            cmp -s "$base.raw.bc" "$base.sound" && continue # this play does not use that line
            explore "$base"
        else
            false
        fi
        case $? in
        0) continue ;;
        1) killers="$killers $play" ;;
        *) killers="$killers $play?" ;;
        esac
        [ -z "$ALL" ] || continue
        plays="$play $(printf '%s\n' "$plays" | tr ' ' '\n' | grep -Fxv "$play" | tr '\n' ' ')"
        return
    done
}

break_header() { # name
    plays=$(plays_of "$1_*")
    mkdir "$work/mutant"
    cp "$root/$1.h" "$work/$1.h" # the same to the end, even if somebody edits it meanwhile
    cp "$root/$1.h" "$work/mutant/$1.h"
    for play in $plays; do
        compile "$play" "$work/mutant" "$work/$play" && mv "$work/$play.raw.bc" "$work/$play.sound"
    done
    mutants_of "$work/$1.h" >"$work/mutants"
    : >"$work/killers"
    while read -r line from to nth what; do
        sed "${line}s/$from/$to/$nth" "$work/$1.h" >"$work/mutant/$1.h"
        ask
        what="$1.h:$line $what"
        case $killers in
        '') not_ok "$what; reported by none" ;;
        *'?'*) not_ok "$what; could not be run:$killers" ;;
        *) ok "$what; reported by$killers" ;;
        esac
        echo "$killers" >>"$work/killers"
    done <"$work/mutants"
    for play in $plays; do
        [ -z "$ALL" ] || grep -qw "$play" "$work/killers" || echo "# $play reports no mutant"
    done
    rm -rf "$work/mutant"
}

find_checker
if [ -n "$missing" ]; then
    ok "mutants # SKIP $missing is not installed"
else
    for each in ${header:-slab overflow fixedpool bufpool}; do break_header "$each"; done
fi
tap_end
