#!/bin/sh
# Goal: kill -9 loses nothing that a durable kv-server acknowledged, and brings no old value back.
# Method: kv_storm.py, synced now and then and with each batch, with io_uring and without it, durable
# and as a cache whose file outlives it.
#
#   test/use/kv_storm_test.sh WORKDIR
#
# SERVER: a kv-server to test; without it, one is compiled. KILLS (50) and TIME_LIMIT (60 seconds):
# of each of the loads, at most.
root=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=/dev/null
. "$root/test/use/kv.sh"
: "${KILLS:=50}" "${TIME_LIMIT:=60}"
export KILLS TIME_LIMIT
kv_begin "$1" && need python3 python3 && {
    kv_run kv_storm.py --memory 4m --spill one --durable
    kv_run kv_storm.py --memory 4m --spill two --durable --sync 0 --no-ring
    KILLS=$((KILLS / 2)) kv_run kv_storm.py --memory 4m --spill three
}
tap_end
