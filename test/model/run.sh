#!/bin/sh
# Goal:   show that the real headers keep their promises in every execution that the C11 memory
#         model allows.
# Method: each play of the files beside this one under the model checker GenMC, exhaustively; or as
#         an ordinary program, 1,000 times over, which needs the compiler alone. See model.h.
#
#   run.sh [model] [FILE[:PLAY]]     every execution; prints how many there were. All plays, those
#                                    of one file, or one: run.sh fixedpool_steal:thief
#   run.sh smoke [FILE[:PLAY]]       ordinary programs, by CC and CFLAGS; ROUNDS says how often
#   run.sh mutants [HEADER]          breaks a header (slab.h) in many ways, each of which must make
#                                    a play fail; all headers without an argument
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
# shellcheck source=/dev/null
. "$root/test/tap.sh"
# shellcheck source=/dev/null
. "$here/genmc.sh"

refuse() {
    echo "run.sh: $1 (usage: run.sh [model | smoke] [FILE[:PLAY]] | mutants [HEADER])" >&2
    exit 2
}

case ${1-} in
mutants)
    shift
    exec "$here/mutants.sh" "$@"
    ;;
model | smoke)
    mode=$1
    shift
    ;;
*) mode=model ;;
esac
[ $# -le 1 ] || refuse "one file or play at a time"

# The argument selects the plays of a file, or one, or all.
file=${1-} file=${file##*/} file=${file%%:*} file=${file%.c}
plays=$(plays_of "${file:-*_*}")
case ${1-} in
*:*) plays=$(printf '%s\n' "$plays" | grep -Fx "$file:${1#*:}") ;;
esac
if [ -z "$plays" ]; then
    there=$(plays_of "${file:-*_*}" | sed 's/.*://' | tr '\n' ' ')
    refuse "no mode, file or play $1${there:+; the plays of $file: $there}"
fi

work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

run_model() {
    find_checker
    if [ -n "$missing" ]; then
        ok "model # SKIP $missing is not installed"
        return
    fi
    for each in $plays; do
        if compile "$each" "$root" "$work/play" && explore "$work/play"; then
            count=$(sed -n 's/^Number of complete executions.*: //p' "$work/play.log")
            ok "$each: $count executions"
        else
            explain "$work/play"
            not_ok "$each" "$work/play.log"
        fi
    done
}

# Builds one program for all plays of a file, in the background.
build() { # file
    # shellcheck disable=SC2086  # CFLAGS is a list of words
    $CC -std=c11 $CFLAGS -pthread "-I$root" "$here/$1.c" -o "$work/$1" 2>"$work/$1.log" &
}

run_smoke() {
    rounds=${ROUNDS:-1000}
    limit=$((30 + rounds / 50))
    # shellcheck disable=SC2046  # a list of words
    set -- $(printf '%s\n' "$plays" | sed 's/:.*//' | uniq)
    build "$1"
    while [ $# -gt 0 ]; do
        file=$1
        shift
        wait
        [ $# -eq 0 ] || build "$1" # the next one, while these run
        for each in $(printf '%s\n' "$plays" | grep "^$file:"); do smoke_play "$each"; done
    done
}

smoke_play() { # FILE:PLAY
    log=$work/$file.log
    if [ -x "$work/$file" ] &&
        timeout --foreground "$limit" "$work/$file" "${1#*:}" "$rounds" 2>"$log"; then
        ok "$1: $rounds rounds"
    else
        [ $? -ne 124 ] || echo "no end in $limit seconds: a thread waits for ever" >>"$log"
        not_ok "$1" "$log"
    fi
}

"run_$mode"
tap_end
