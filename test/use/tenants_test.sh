#!/bin/sh
# Goal: examples/tenants.c stores, gives and removes what it is asked to, byte by byte, bills each
# tenant for that, refuses what is wrong, and ends within a second with every account at zero.
# Method: the server takes a port that the system chooses; http_client.c sends it whole requests,
# also such as no other client would. Several clients replace, read and remove one value at the same
# time, also with AddressSanitizer and with ThreadSanitizer where the compiler has them.
#
#   test/use/tenants_test.sh WORKDIR
# shellcheck disable=SC2086,SC2317  # CFLAGS is a list of words; check calls functions
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/test/tap.sh"
tap_begin "$1"
server=''
trap '[ -z "$server" ] || kill $server 2>/dev/null' EXIT
trap 'exit 1' HUP INT TERM

build() { $CC -std=c11 $CFLAGS -I"$root" -pthread "$@"; }
start() { # program: the server, in the background; $port
    : >log
    "./$1" 0 >log 2>errors </dev/null &
    server=$!
    tries=200
    until port=$(sed -n 's|^http://127.0.0.1:||p' log) && [ -n "$port" ]; do
        [ $((tries -= 1)) -gt 0 ] || return 1
        sleep 0.02
    done
}
stop() { # signal: ends the server; $status, and the milliseconds it took
    before=$(date +%s%N)
    kill -"$1" $server
    wait $server
    status=$?
    took=$((($(date +%s%N) - before) / 1000000))
    server=''
    cat log errors >out
}
ask() { # method, path, file to send: the head in ./err, the body in ./out
    { printf '%s %s HTTP/1.1\r\nHost: x\r\n' "$1" "$2"
      [ -z "${3:-}" ] || printf 'content-length: %d\r\n' "$(wc -c <"$3")"
      printf '\r\n'
      [ -z "${3:-}" ] || cat "$3"; } | timeout 20 ./http_client "$port" >out 2>err
}
says() { head -n 1 err | grep -q "^HTTP/1.0 $1"; } # status
answers() { # what, status, method, path, file
    answers_what=$1 answers_status=$2
    shift 2
    ask "$@"
    check "$answers_what" says "$answers_status"
}
raw() { # what, status, the request
    printf %b "$3" | timeout 20 ./http_client "$port" >out 2>err
    check "$1" says "$2"
}
bill() { ask GET /bill; sort out >bill; printf %b "$1" | cmp - bill; }

try 'it compiles' build "$root/examples/tenants.c" -o tenants
try 'a client compiles' build "$root/test/use/http_client.c" -o http_client
[ $tap_failed -eq 0 ] || tap_end
start tenants
check 'it says where it listens' [ -n "$port" ]
[ $tap_failed -eq 0 ] || tap_end

# ---- Values ----

head -c 100000 /dev/urandom >value
head -c 8388608 /dev/zero >largest
head -c 8388609 /dev/zero >larger
: >empty
answers 'a value is stored' 201 PUT /acme/value value
answers 'and given' 200 GET /acme/value
check 'byte by byte' cmp value out
check 'its tenant pays for it' bill 'acme 100000\n'
answers 'POST stores, too' 201 POST /acme/a/longer-key value
answers 'another tenant' 201 PUT /beta/value largest
answers 'gives the largest value' 200 GET /beta/value
check 'byte by byte' cmp largest out
answers 'an empty value' 201 PUT /gamma/empty empty
answers 'is a value' 200 GET /gamma/empty
check 'the bill has three tenants' bill 'acme 200000\nbeta 8388608\ngamma 0\n'
answers 'a value is replaced' 201 PUT /beta/value value
answers 'by the new one' 200 GET /beta/value
check 'byte by byte' cmp value out
answers 'a value is removed' 200 DELETE /acme/value
check 'and comes with the answer' cmp value out
answers 'it is gone' 404 GET /acme/value
answers 'to remove it again' 404 DELETE /acme/value
check 'the bill follows' bill 'acme 100000\nbeta 100000\ngamma 0\n'
answers 'the metrics' 200 GET /metrics
check 'have their type' grep -q '^Content-Type: application/openmetrics-text; version=1.0.0' err
check 'have every tenant' [ "$(grep -c '^buffer_pool_tenant_live_bytes{' out)" -eq 3 ]
check 'have an end' [ "$(tail -n 1 out)" = '# EOF' ]

# ---- What is refused ----

answers 'a value above 8 MiB' 413 PUT /acme/large larger
raw 'a length that is huge' 413 'PUT /a/b HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n'
raw 'a length beyond all numbers' 400 'PUT /a/b HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n'
raw 'a length below zero' 400 'PUT /a/b HTTP/1.1\r\nContent-Length: -1\r\n\r\n'
raw 'a length that is none' 400 'PUT /a/b HTTP/1.1\r\nContent-Length: x\r\n\r\n'
raw 'no length' 400 'PUT /a/b HTTP/1.1\r\n\r\nvalue'
raw 'less than was announced' 400 'PUT /a/b HTTP/1.1\r\nContent-Length: 6\r\n\r\nvalue'
raw 'no request' 400 'hello\r\n\r\n'
raw 'half a request' 400 'GET /a/b HTTP/1.1\r\nHost: x'
raw 'bytes that are no text' 400 '\0000\0377\0000\r\n\r\n'
raw 'an unknown method' 400 'BREW /a/b HTTP/1.1\r\n\r\n'
raw 'a name with other characters' 400 'GET /a%/b HTTP/1.1\r\n\r\n'
raw 'a path that is too long' 400 "GET /a/$(head -c 300 largest | tr '\000' b) HTTP/1.1\\r\\n\\r\\n"
raw 'no key' 404 'GET /a HTTP/1.1\r\n\r\n'
raw 'an empty key' 404 'GET /a/ HTTP/1.1\r\n\r\n'
raw 'no tenant' 404 'GET //b HTTP/1.1\r\n\r\n'
answers 'the bill cannot be stored' 404 PUT /bill value
answers 'nor the metrics removed' 404 DELETE /metrics
check 'none of these is billed' bill 'a 0\nacme 100000\nbeta 100000\ngamma 0\n'

# ---- Ends ----

run ./tenants "$port"
check 'a port in use: one line' [ "$(cat err)" = "tenants: 127.0.0.1:$port: Address already in use" ]
check 'status 1' [ $status -eq 1 ]
for wrong in '' x 65536 -1 1x; do
    run ./tenants $wrong
    check "PORT '$wrong': one line, status 2" \
        [ "$status $(cat err)" = '2 tenants: usage: tenants PORT (0 to 65535)' ]
done
mkfifo silent
./http_client "$port" <silent >/dev/null 2>&1 &
exec 9>silent
sleep 0.2
stop INT
exec 9>&-
check 'SIGINT ends it' [ $status -eq 0 ]
check 'within a second, though a client is silent' [ $took -lt 1000 ]
check 'every account is at zero' [ "$(sed -n 2p log)" = '4 tenants owe 0 bytes' ]

# ---- Many clients ----

client() { # one of them: prints what is wrong
    for _ in 1 2 3 4 5; do
        for what in 'PUT /acme/one' 'GET /acme/one' 'DELETE /acme/one'; do
            case $what in
                PUT*) printf '%s HTTP/1.1\r\nContent-Length: 30000\r\n\r\n' "$what"; cat mine ;;
                *) printf '%s HTTP/1.1\r\n\r\n' "$what" ;;
            esac | timeout 20 ./http_client "$port" >"got$1" 2>"head$1"
            grep -Eq '^HTTP/1.0 (200|201|404)' "head$1" || echo "$what: $(head -n 1 "head$1")"
            ! grep -q '^HTTP/1.0 200' "head$1" || cmp "got$1" mine
        done
    done
}
many() { # program: four clients at a time
    start "$1" || return
    clients=''
    for number in 1 2 3 4; do
        client $number >"said$number" 2>&1 &
        clients="$clients $!"
    done
    wait $clients
    cat said? >wrong
    stop TERM
    cat wrong >>out
    check "$1: four clients at a time see whole values" [ ! -s wrong ]
    check "$1: SIGTERM ends it, every account at zero" \
        [ "$status $(sed -n 2p log)" = '0 1 tenants owe 0 bytes' ]
    check "$1: it reports nothing" [ ! -s errors ]
}

head -c 30000 /dev/urandom >mine
many tenants
[ -z "${ONLY_COMPILER:-}" ] || tap_end
for sanitizer in address thread; do # where the compiler has them, and they run here
    build -fsanitize=$sanitizer "$root/examples/tenants.c" -o $sanitizer >out 2>err || continue
    run ./$sanitizer
    [ $status -ne 2 ] || many $sanitizer
done
tap_end
