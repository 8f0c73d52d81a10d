#!/bin/sh
# Goal: make check says what failed at once, skips what need not be tried any more, ends when it is
#       told to, and gives one clear line where it cannot work.
# Method: a copy of the tree in a path with spaces, in which test programs are replaced by small
#       ones that fail, hang, or leave children behind.
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/test/tap.sh"
tap_begin "$1"
unset BUILD out TMPDIR JOBS MAKEFLAGS patience

mkdir 'a tree' && cp -R "$root"/*.h "$root/Makefile" "$root/test" 'a tree' && cd 'a tree' || exit 2
one() { # the programs of the copy's make check: units, storms
    printf "units='%s'\nstorms='%s'\nquick=''\nprograms=\"\$units \$storms\"\n" "$1" "$2" \
        >test/rungs/check.sh
}
fake() { # name, body of main: a test program
    printf '#define _GNU_SOURCE\n#include "../check.h"\n%s\nint main(void) { RUN(it); return REPORT(); }\n' \
        "$2" >"test/${1%%_*}/$1.c"
}
run() { timeout 60 "$@" >../out 2>../err </dev/null; status=$?; cp ../out ../err .; }
says() { grep -q -e "$1" out err; }

# ---- What is refused ----

run test/run.sh nonsense
check 'an unknown rung is refused' [ $status -eq 2 ]
check 'in one line that names it' [ "$(cat out err)" = \
    'run.sh: there is no rung nonsense; --list names them' ]
run make nonsense
check 'an unknown target is refused' [ $status -eq 2 ]
run test/run.sh ../../x
check 'a path is no rung' [ $status -eq 2 ]

# ---- A failure is said when it happens ----

one 'slab_test' 'slab_stress overflow_crash'
fake slab_test 'static void it(void) { CHECK_EQ(1 + 1, 3); sleep(3); }'
fake slab_stress 'static void it(void) { CHECK(0); }'
fake overflow_crash 'static void it(void) { CHECK(1); }'
cat >'one at a time' <<'END'
make check 2>&1 | while IFS= read -r line; do echo "$(date +%s) $line"; done
END
run sh 'one at a time'
check 'file, line and values' says 'slab_test: slab_test.c:3: 1 + 1 is 2, not 3'
# shellcheck disable=SC2016  # awk's own
check 'before the program ends' awk '/is 2, not 3/ { at = $1 } /not ok/ { exit $1 - at < 2 }' out
check 'storms of that header are skipped' says 'slab_stress .* skipped: a unit test of slab.h failed'
check 'and those of other headers are not' says 'ok  *overflow_crash *1 passed'
check 'the last line counts' says ' 1 passed, 1 failed$'

fake slab_test 'static void it(void) { nonsense; }'
run test/run.sh slab_test
check 'what does not compile is said with its line' says 'slab_test.c:3:.*nonsense'
fake slab_test 'static void it(void) { CHECK(1); abort(); }'
run test/run.sh slab_test
check 'a program that dies has failed' says 'slab_test: not ok - ended with status 134'
fake slab_test 'static void it(void) { for (int i = 0; i < 1000; i++) CHECK_EQ(i, -1); }'
run test/run.sh slab_test
check 'a loop of failures is not a flood' [ "$(grep -c 'not -1' out)" -eq 10 ]
fake slab_stress 'static void it(void) { for (;;) usleep(100); }'
run env patience=2 test/run.sh slab_stress
check 'a storm without progress is given up' \
    says 'slab_stress: not ok - it: no progress for 2 seconds'

# ---- It ends when it is told to ----

one 'slab_process' ''
fake slab_process '
static void it(void)
{
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    if (check_fork() == 0) for (raise(SIGSTOP);;) pause();
    if (fork() == 0) for (;;) pause();
    puts("ok 1 - runs");
    fflush(stdout);
    for (;;) usleep(1000), check_progress();
}'
cat >stopped <<'END'
"$@" >told.out 2>told.err </dev/null &
i=0
while ! grep -q runs build/check/slab_process/log 2>/dev/null && [ $i -lt 200 ]; do
    sleep 0.1
    i=$((i + 1))
done
[ $i -lt 200 ] || exit 2
kill -s TERM $!
i=0
while pgrep -f 'a tree/build/check|build/check/slab_process/slab_process' >/dev/null && [ $i -lt 10 ]; do
    sleep 0.1
    i=$((i + 1))
done
! pgrep -f build/check/slab_process/slab_process
END
need procps pgrep && {
    run sh stopped test/run.sh check
    check 'told to stop, it ends all that it started within a second' [ $status -eq 0 ]
    check 'and says so' grep -q 'run.sh: stopped' told.err
    # shellcheck disable=SC2144  # one name or none
    check 'no scratch files are left' sh -c '! ls -d /dev/shm/ashlar.*/slab_process 2>/dev/null'
}

# ---- Where it cannot work ----

one 'overflow_crash' ''
fake overflow_crash 'static void it(void) { CHECK(1); }'
as_user=
[ "$(id -u)" -ne 0 ] || as_user='setpriv --reuid=65534 --regid=65534 --clear-groups'
if [ -z "$as_user" ] || need util-linux setpriv; then
    there=$(mktemp -d) # where that user may look
    cp -R . "$there" && rm -rf "$there/build" && mkdir "$there/build" && chmod 555 "$there/build" "$there"
    # shellcheck disable=SC2086  # a list of words
    run $as_user "$there/test/run.sh" check
    chmod -R u+w "$there" && rm -rf "$there"
    check 'a tree that is read-only: one line' [ "$(cat out err)" = \
        'run.sh: cannot write to build/check; BUILD=DIRECTORY names another place' ]
    check 'and a failure' [ $status -eq 2 ]
fi
rm -rf build
run make check BUILD=../elsewhere
check 'BUILD names another place' says '1 passed, 0 failed'
check 'where everything goes' [ ! -e build/check ]
run env TMPDIR="$PWD" unshare -m sh -c 'mount -t tmpfs -o size=1m none /dev/shm && test/run.sh overflow_crash'
if says 'unshare'; then line='# only root may mount'; echo "$line"; else
    check 'a /dev/shm that is full does not matter' says '1 passed, 0 failed'
fi
run make -j 3 -n check
check 'make -j N runs N at once' says 'JOBS=3'
cd .. && rm -rf 'a tree' elsewhere
tap_end
