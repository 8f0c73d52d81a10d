#!/bin/sh
# Goal: a real Prometheus understands what bufpool_metrics writes: every series arrives, under the
# name and labels that are meant, with the number that the stats say, before and after a change.
# Method: bufpool_serve has a pool with something of everything in it; a Prometheus of our own, its
# port picked by the kernel, its data in WORKDIR, scrapes it each second; what its HTTP API returns is
# compared. Both end with this script, and by themselves after a minute.
#
#   test/bufpool/prometheus_test.sh WORKDIR
# shellcheck disable=SC2086  # CFLAGS is a list of words
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$1/prometheus
: "${CC:=cc}" "${CFLAGS:=-O2 -g}"
rm -rf "$work"
mkdir -p "$work" && cd "$work" || exit 2
count=0 failed=0 server='' prometheus=''

check() { # what, whether
    count=$((count + 1))
    if [ "$2" -eq 0 ]; then echo "ok $count - $1"; else
        failed=1
        head -n 30 out | sed 's/^/# /'
        echo "not ok $count - $1"
    fi
}
tool() { # command, package
    command -v "$1" >/dev/null 2>&1 && return
    count=$((count + 1))
    if [ -n "${STRICT:-}" ]; then failed=1; echo "not ok $count - package $2 is not installed"
    else echo "ok $count - $1 # SKIP package $2 is not installed"; fi
    return 1
}
# shellcheck disable=SC2317  # called by the trap, too
stop() { # both, and wait until they are gone
    [ -z "$server$prometheus" ] || kill $server $prometheus 2>/dev/null
    wait
    server='' prometheus=''
}
finish() {
    stop
    echo "1..$count"
    exit $failed
}
trap stop EXIT
trap 'exit 1' HUP INT TERM

wait_for() { # seconds, command...: until it succeeds
    tries=$(($1 * 20))
    shift
    while ! "$@"; do
        [ $((tries -= 1)) -gt 0 ] || return 1
        sleep 0.05
    done
}

tool prometheus prometheus || finish
tool python3 python3 || finish

cat >ask.py <<'EOF'
"""Asks the server and Prometheus; prints what is wrong, and fails then."""
import json
import re
import sys
import time
import urllib.parse
import urllib.request
from decimal import Decimal

SERVER, PROMETHEUS, WHAT = sys.argv[1:4]
NAMED = 150  # tenants, by bufpool_serve.c
OTHER = ('tenant_id', '__other__')
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def get(port, path):
    with direct.open('http://127.0.0.1:%s/%s' % (port, path), timeout=5) as answer:
        return answer.read().decode('utf-8')


def api(path, **arguments):
    return json.loads(get(PROMETHEUS, 'api/v1/%s?%s' % (path, urllib.parse.urlencode(arguments))))['data']


def query(what):
    """The number of each name and label, of which there is one at most besides job and instance."""
    found = {}
    for row in api('query', query=what)['result']:
        labels = row['metric']
        assert labels.pop('job') == 'pool' and labels.pop('instance') == '127.0.0.1:' + SERVER
        name = labels.pop('__name__', '')
        assert len(labels) <= 1, labels
        found[name, next(iter(labels.items()), None)] = Decimal(row['value'][1])
    return found


def stats(found):
    """The values that the stats say; a tenant without a row of its own counts to the others."""
    told = {}
    for line in get(SERVER, 'stats').splitlines():
        name, label, value, number = line.split(' ')
        label = None if label == '-' else (label, bytes.fromhex(value).decode('utf-8'))
        if label and label[0] == 'tenant_id' and (name, label) not in found:
            label = OTHER
        told[name, label] = told.get((name, label), 0) + int(number)
    return told


def samples():
    return [line for line in get(SERVER, 'metrics').split('\n') if line and line[0] != '#']


def right_values():
    found = query('{__name__=~"buffer_pool_.+"}')
    told = stats(found)
    for line in samples():  # of families that the server does not tell
        parts = re.fullmatch(r'(\w+)(?:{(\w+)="(\w+)"})? (\d+)', line)
        if parts and parts[2] != 'tenant_id':
            told.setdefault((parts[1], (parts[2], parts[3]) if parts[2] else None), int(parts[4]))
    for key in sorted(told.keys() | found.keys(), key=repr):
        if told.get(key) != found.get(key):
            yield '%r is %s, not %s' % (key, found.get(key), told.get(key))
    for name in ('buffer_pool_tenant_live_bytes', 'buffer_pool_tenant_soft_limit_bytes',
                 'buffer_pool_tenant_cap_bytes', 'buffer_pool_tenant_peak_bytes',
                 'buffer_pool_soft_limit_exceeded_total'):
        rows = sum(key[0] == name for key in found)
        if rows != NAMED + 1:
            yield '%s has %d rows' % (name, rows)


def up():
    if query('up') != {('up', None): 1}:
        yield 'not up'


def healthy():
    for target in api('targets')['activeTargets']:
        if target['health'] != 'up' or target['lastError']:
            yield '%(health)s: %(lastError)s' % target
    if query('min_over_time(up[1m])') != {('', None): 1}:
        yield 'a scrape failed'


def right_count():
    count = len(samples())
    for what in ('scrape_samples_scraped', 'scrape_samples_post_metric_relabeling',
                 'count by (job, instance) ({__name__=~"buffer_pool_.+"})'):
        for number in query(what).values() or [None]:
            if number != count:
                yield '%s is %s, not %d' % (what, number, count)


def right_metadata():
    told = {}
    for line in get(SERVER, 'metrics').split('\n'):
        if line.startswith('# ') and line != '# EOF':
            _, kind, name, text = line.split(' ', 3)
            told.setdefault(name, {'type': '', 'unit': '', 'help': ''})[kind.lower()] = text
    found = {name: rows for name, rows in api('metadata').items() if name.startswith('buffer_pool_')}
    for name in sorted(told.keys() | found.keys()):
        if found.get(name) != [told.get(name)]:
            yield '%s is %s, not %s' % (name, found.get(name), told.get(name))
    counters = {re.match(r'\w+', line)[0][:-6] for line in samples() if re.match(r'\w+_total\W', line)}
    for name, row in told.items():
        if row['type'] != ('counter' if name in counters else 'gauge'):
            yield '%s is a %s' % (name, row['type'])
        if row['unit'] != ('bytes' if name.endswith('_bytes') else '') or not row['help']:
            yield '%s: %s' % (name, row)


if WHAT == 'change':
    get(SERVER, 'change')
    WHAT = 'right_values'
deadline = time.monotonic() + 8  # a scrape comes each second
while True:
    try:
        wrong = list(globals()[WHAT]())
    except OSError as error:  # it has not started yet
        wrong = [repr(error)]
    if not wrong or time.monotonic() > deadline:
        break
    time.sleep(0.1)
for line in wrong:
    print(line)
sys.exit(len(wrong) > 0)
EOF
ask() { python3 ask.py "$server_port" "$port" "$1" >out 2>&1; }

# ---- They start ----

$CC -std=c11 $CFLAGS -pthread "$root/test/bufpool/bufpool_serve.c" -o bufpool_serve >out 2>&1
check 'the server compiles' $?
[ $failed -eq 0 ] || finish
./bufpool_serve >served 2>out </dev/null &
server=$!
wait_for 10 grep -q '^port [0-9]*$' served
check 'it serves' $?
[ $failed -eq 0 ] || finish
server_port=$(sed -n 's/^port //p' served)

cat >prometheus.yml <<END
global:
  scrape_interval: 1s
scrape_configs:
  - job_name: pool
    static_configs:
      - targets: ['127.0.0.1:$server_port']
END
timeout -k 5 60 prometheus --config.file=prometheus.yml --storage.tsdb.path=data \
    --web.listen-address=127.0.0.1:0 >prometheus.log 2>&1 </dev/null &
prometheus=$!
wait_for 10 grep -q 'msg="Listening on" address=127.0.0.1:' prometheus.log
started=$?
cp prometheus.log out
check 'Prometheus starts' $started
[ $failed -eq 0 ] || finish
port=$(sed -n 's/.*msg="Listening on" address=127.0.0.1:\([0-9]*\).*/\1/p' prometheus.log)

# ---- What arrives ----

ask up
check 'it finds the pool' $?
ask right_values
check 'every series has the number that the stats say' $?
ask right_count
check 'each line of the text is a series' $?
ask right_metadata
check 'types, units and help are those of the text' $?
ask change
check 'after a change, too' $?
ask right_count
check 'and each line is a series' $?
ask healthy
check 'no scrape failed' $?
promtool check rules "$root/test/bufpool/alerts.yml" >out 2>&1
check 'promtool accepts the alert rules' $?
# Debian's package is for Debian's Python, which may not be the first one on the PATH.
python=python3
$python -c 'import prometheus_client' 2>out || python=/usr/bin/python3
if $python -c 'import prometheus_client' 2>out; then
    $python - "$server_port" >out 2>&1 <<'EOF'
import sys
import urllib.request
from prometheus_client.openmetrics.parser import text_string_to_metric_families
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
text = direct.open('http://127.0.0.1:%s/metrics' % sys.argv[1]).read().decode('utf-8')
families = list(text_string_to_metric_families(text))
lines = sum(line[:1] != '#' for line in text.split('\n') if line)
assert sum(len(family.samples) for family in families) == lines > 100
EOF
    check "prometheus_client's OpenMetrics parser takes the text" $?
else
    tool prometheus_client python3-prometheus-client
fi
grep -E 'level=(warn|error)' prometheus.log >out
check 'Prometheus complains of nothing' $((! $?))
finish
