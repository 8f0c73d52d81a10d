#!/bin/sh
# Goal: kv-server serves the clients that people have, and survives those that nobody should have.
# Method: kv_clients.py, with redis-cli, redis-benchmark and redis-py.
#
#   test/use/kv_clients_test.sh WORKDIR
#
# SERVER: a kv-server to test; without it, one is compiled.
root=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=/dev/null
. "$root/test/use/kv.sh"
kv_begin "$1" && need redis-tools redis-cli redis-benchmark && kv_python && kv_run kv_clients.py
# The benchmark, for a moment: kv_load compares every byte, and every table has its rows.
if [ "${tap_failed:-1}" -eq 0 ] && need redis-server redis-server && need memcached memcached; then
    try 'bench/kv.sh' env "BUILD=$PWD/build" "OUT=$PWD/figures" KEYS=2000 ROUNDS=1 \
        LOAD_SECONDS=0.5 "$root/bench/kv.sh" density restart
    for table in memory restart; do
        check "the table of $table" grep -q 'kv-server' "figures/kv-$table.md"
        check 'has redis-server' grep -q 'redis-server' "figures/kv-$table.md"
    done
    check 'and memcached' grep -q 'memcached' figures/kv-memory.md
    check 'no value of kv-server was lost or wrong' [ \
        "$(awk -F '\t' '$5 == "wrong" && $2 == "kv" { print $6 }' figures/kv.tsv | tr '\n' ' ')" = '0 0 ' ]
fi
tap_end
