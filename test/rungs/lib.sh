# lib.sh - what a rung is made of. A rung's lines of TAP are collected in $raw and numbered at its
# end; failures go to the terminal at once, too.
# shellcheck shell=sh disable=SC2034,SC2086,SC2154  # flags are lists of words; run.sh sets out and here

warnings='-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror'
headers='slab overflow fixedpool bufpool'

# ---- TAP ----

line() { # one line of TAP; "#!" begins a detail of a failure. Failures are shown at once.
    known=''
    case $1 in 'not ok '*) known_to_fail "$1" && known=" # TODO $why_known" ;; esac
    case ${known:-$1} in
    ' # TODO '*) echo "$1$known" >>"$raw" ;;
    'not ok '* | '#! '*)
        echo "$1" >>"$raw"
        echo "$rung: ${1#\#! }" ;;
    *) echo "$1" >>"$raw" ;;
    esac
}
known_to_fail() { return 1; } # a rung may know better, and set why_known
pass() { line "ok - $1"; }
fail() { # what, file with details
    [ ! -f "${2:-}" ] || head -n 30 "$2" | while IFS= read -r detail; do line "#! $detail"; done
    line "not ok - $1"
}
skip() { # what, package
    if [ -n "$STRICT" ]; then fail "$1: package $2 is not installed"
    else line "ok - $1 # SKIP package $2 is not installed"; fi
}
try() { # what, command...: passes if the command does
    what=$1
    shift
    if "$@" >"$log" 2>&1 </dev/null; then pass "$what"; else fail "$what" "$log"; fi
}
need() { # package, commands...
    package=$1
    shift
    for tool; do command -v "$tool" >/dev/null 2>&1 || { skip "$rung" "$package"; return 1; }; done
}
compiles() { # package, compiler and flags...: whether that compiler makes programs at all
    package=$1
    shift
    printf '#include <stdio.h>\nint main(void) { puts(""); return 0; }\n' >"$dir/probe.c"
    "$@" "$dir/probe.c" -o "$dir/probe" >/dev/null 2>&1 || { skip "$rung" "$package"; return 1; }
}

# ---- Programs and scripts that print TAP ----

# Takes over the tests of a program, line by line as they come. $patience: how many seconds a test
# may go on without a check that passes; a program that lasts longer than $limit is ended.
run_tap() { # prefix, command...
    prefix=$1
    shift
    : >"$log"
    : >"$log.notes"
    {
        timeout "${limit:-300}" env "CHECK_PATIENCE=${patience:-10}" "$@" 2>&1 </dev/null
        echo $? >"$log.status"
    } | while IFS= read -r said; do
        echo "$said" >>"$log"
        case $said in
        'not ok '*)
            explain_failure
            line "not ok - $prefix${said#* - }" ;;
        'ok '*)
            cat "$log.notes" >>"$raw"
            : >"$log.notes"
            line "ok - $prefix${said#* - }" ;;
        '# '*.c:[0-9]*:*) line "#! $prefix${said#\# }" ;;
        '#'*) echo "$said" >>"$log.notes" ;;
        esac
    done
    status=$(cat "$log.status")
    if grep -q '^not ok' "$log"; then return 1; fi
    if [ "$status" = 0 ] && grep -q '^1\.\.[0-9]' "$log"; then return 0; fi
    grep -v '^ok' "$log" | tail -n 20 >"$log.end"
    sed -n 's/^ok [0-9]* - /after the test /p' "$log" | tail -n 1 >>"$log.end"
    fail "${prefix}ended with status $status" "$log.end"
    return 1
}

# The comments before a failed test explain it.
explain_failure() {
    head -n 12 "$log.notes" | while IFS= read -r note; do line "#! $prefix${note#\# }"; done
    : >"$log.notes"
}

# Builds a test program and runs it. After a failed unit test of a header its storms are skipped.
program() { # prefix, runner ('' = none), program, compiler and flags...
    prefix=$1 runner=$2 name=$3
    shift 3
    label=$name
    [ "$name" != "$rung" ] || label=
    is_unit "$name" || [ ! -f "$dir/failed.${name%%_*}" ] || {
        line "ok - $prefix$name # SKIP a unit test of ${name%%_*}.h failed"
        return
    }
    if ! "$@" -pthread "test/${name%%_*}/$name.c" -o "$dir/$name" >"$log" 2>&1; then
        fail "$prefix$name: does not compile" "$log"
        : >"$dir/failed.${name%%_*}"
    elif ! run_tap "$prefix${label:+$label: }" $runner "$dir/$name" && is_unit "$name"; then
        : >"$dir/failed.${name%%_*}"
    fi
}
suite() { # prefix, runner, compiler and flags...: all programs of $programs
    suite_prefix=$1 suite_runner=$2
    shift 2
    for one in $programs; do program "$suite_prefix" "$suite_runner" "$one" "$@"; done
}
is_unit() { case " $units " in *" $1 "*) return 0 ;; esac; return 1; }

# ---- One rung ----

script_of() { for script in test/*/"$1"_test.sh; do [ ! -f "$script" ] || echo "$script"; done; }
function_of() { echo "rung_$1" | tr - _; }
rung_exists() {
    [ -f "test/${1%%_*}/$1.c" ] || [ -n "$(script_of "$1")" ] ||
        command -v "$(function_of "$1")" >/dev/null 2>&1
}

run_rung() {
    rung=$1
    case $rung in *[!A-Za-z0-9_-]*) exit 2 ;; esac
    dir=$out/$rung raw=$out/$rung/raw log=$out/$rung/log
    mkdir -p "$dir"
    : >"$raw"
    began=$(date +%s)
    TMPDIR=$TMPDIR/$rung
    export TMPDIR
    mkdir -p "$TMPDIR"
    if command -v "$(function_of "$rung")" >/dev/null 2>&1; then "$(function_of "$rung")"
    elif [ -f "test/${rung%%_*}/$rung.c" ]; then rung_program
    else run_tap '' "$(script_of "$rung")" "$PWD/$dir/work" || :; fi
    rm -rf "$TMPDIR"
    awk '/^(not )?ok - / { sub(/ok - /, "ok " ++n " - ") } { sub(/^#! /, "# "); print }
         END { print "1.." n + 0 }' "$raw" >"$out/$rung.tap"
    awk -v rung="$rung" -v seconds=$(($(date +%s) - began)) '
        /# SKIP/ { skipped++; why = $0; sub(/.*# SKIP /, "", why); next }
        /# TODO/ { todo++; next } /^not ok/ { bad++ } /^ok/ { good++ }
        END {
            printf bad ? "FAIL  " : good || todo || !skipped ? "ok    " : "SKIP  "
            printf "%-16s %d passed, %d s", rung, good, seconds
            if (bad) printf ", %d FAILED", bad
            if (todo) printf ", %d known to fail", todo
            if (skipped) printf ", %d skipped: %s", skipped, why
            print ""
        }' "$out/$rung.tap"
}

# A program by itself, as make check runs it.
rung_program() {
    is_unit "$rung" || [ ! -f "$out/failed.${rung%%_*}" ] || : >"$dir/failed.${rung%%_*}"
    case " $long " in *" $rung "*) CFLAGS=${LONG_CFLAGS:-$CFLAGS} ;; esac
    program '' '' "$rung" $CC -std=c11 $CFLAGS
    [ ! -f "$dir/failed.${rung%%_*}" ] || ! is_unit "$rung" || : >"$out/failed.${rung%%_*}"
}
