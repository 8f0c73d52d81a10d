# kv.sh - what the tests of kv-server share, on top of tap.sh: the server, a Python that has redis-py,
# and a Python test whose lines of TAP become this script's.
# shellcheck shell=sh disable=SC2034,SC2086,SC2154  # CFLAGS is a list of words; root is the script's

# shellcheck source=/dev/null
. "$root/test/tap.sh"
export PYTHONDONTWRITEBYTECODE=1

kv_begin() { # the work directory; false if there is no server
    tap_begin "$1"
    if [ -n "${SERVER:-}" ]; then return; fi
    SERVER=$PWD/kv-server
    export SERVER
    try 'the server compiles' $CC -std=c11 $CFLAGS -D_GNU_SOURCE -I"$root" -pthread \
        "$root"/examples/kv/*.c -o kv-server
    [ $tap_failed -eq 0 ]
}
kv_python() { # $python
    for python in python3 /usr/bin/python3; do
        "$python" -c 'import redis' 2>/dev/null && return
    done
    skip 'redis-py' python3-redis
    return 1
}
kv_run() { # a script in test/use/, its arguments
    kv_script=$1
    shift
    : "${python:=python3}"
    # It is ended as a group: none of its servers outlives it.
    timeout -k 5 600 setsid -w "$python" "$root/test/use/$kv_script" "$@" >lines 2>err
    while IFS= read -r kv_line; do
        case $kv_line in
        'ok '*) tap_count=$((tap_count + 1)); echo "ok $tap_count - ${kv_line#* - }" ;;
        'not ok '*)
            tap_count=$((tap_count + 1)) tap_failed=1
            echo "not ok $tap_count - ${kv_line#* - }"
            ;;
        '1..'*) ;;
        *) echo "$kv_line" ;;
        esac
    done <lines
    : >out
    check "$kv_script comes to its end" grep -q '^1\.\.[1-9]' lines
}
