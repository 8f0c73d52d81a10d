#!/bin/sh
# Goal: several kv-servers behind twemproxy, with examples/kv/nutcracker.yml.
# Method: kv_proxy.py, with nutcracker and redis-py.
#
#   test/use/kv_proxy_test.sh WORKDIR
#
# SERVER: a kv-server to test; without it, one is compiled.
root=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=/dev/null
. "$root/test/use/kv.sh"
kv_begin "$1" && need nutcracker nutcracker && kv_python &&
    kv_run kv_proxy.py "$root/examples/kv/nutcracker.yml"
tap_end
