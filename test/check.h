/* check.h - the few macros of a test program. Prints TAP: a line a test, failed checks above it.
 *
 *     static void adds_up(void) { CHECK(1 + 1 == 2); CHECK_EQ(1 + 1, 2); }
 *     int main(void) { RUN(adds_up); return REPORT(); }
 *
 * A failed check is printed when it fails, the first ten of each test. A test in which no check
 * passes for ten seconds, or CHECK_PATIENCE from the environment, ends the program with a message:
 * a storm that makes progress without a check calls check_progress. A test that the machine cannot
 * run calls check_skip.
 */
#ifndef CHECK_H
#define CHECK_H

#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <unistd.h>

enum { CHECK_PRINTED = 10 };

static atomic_int  check_failures; /* in the test that runs; any thread counts up */
static int         check_tests, check_failed_tests;
static unsigned    check_patience;
static const char *check_name;
static const char *check_skipped; /* why the test that runs is skipped, or NULL */
static char        check_stuck[200]; /* what to say if the test makes no progress */

#define CHECK(x)                                                                            \
    do {                                                                                    \
        if (x) check_progress();                                                            \
        else check_fail(__FILE__, __LINE__, "%s", #x);                                      \
    } while (0)

#define CHECK_EQ(got, want)                                                                 \
    do {                                                                                    \
        long long check_got = (long long)(got), check_want = (long long)(want);             \
        if (check_got == check_want) check_progress();                                      \
        else                                                                                \
            check_fail(__FILE__, __LINE__, "%s is %lld, not %lld", #got, check_got, check_want); \
    } while (0)

#define RUN(test) check_run(#test, test)

/* Any thread: the test goes on. A system call every 64 times. */
static inline void check_progress(void)
{
    static _Thread_local unsigned calls;
    if (calls++ % 64 == 0) alarm(check_patience);
}

/* Any thread. Counts a failed check and prints it, unless the test has failed ten already. */
static inline void check_fail(const char *file, int line, const char *format, ...)
{
    int         before = atomic_fetch_add(&check_failures, 1);
    const char *slash  = strrchr(file, '/');
    char        what[400];
    va_list     values;

    va_start(values, format);
    vsnprintf(what, sizeof what, format, values);
    va_end(values);
    if (before < CHECK_PRINTED) printf("# %s:%d: %s\n", slash ? slash + 1 : file, line, what);
    if (before == CHECK_PRINTED) printf("# more checks of %s failed\n", check_name);
    fflush(stdout);
}

/* SIGALRM. Only write and _exit: the signal may have come in the middle of anything. */
static inline void check_give_up(int signal_number)
{
    (void)signal_number;
    _exit(write(1, check_stuck, strlen(check_stuck)) < 0 ? 2 : 1);
}

/* The machine lacks what the test needs: it counts as skipped, not as passed. */
static inline void check_skip(const char *why) { check_skipped = why; }

static inline void check_run(const char *name, void (*test)(void))
{
    const char *patience = getenv("CHECK_PATIENCE");
    check_patience       = patience ? (unsigned)atoi(patience) : 10;
    check_name           = name;
    snprintf(check_stuck, sizeof check_stuck, "not ok - %s: no progress for %u seconds\n", name,
             check_patience);
    signal(SIGALRM, check_give_up);
    alarm(check_patience);
    atomic_store(&check_failures, 0);
    check_skipped = NULL;
    test();
    int failed = atomic_load(&check_failures) != 0;
    check_failed_tests += failed;
    alarm(0);
    printf("%s %d - %s%s%s\n", failed ? "not ok" : "ok", ++check_tests, name,
           check_skipped ? " # SKIP " : "", check_skipped ? check_skipped : "");
    fflush(stdout);
}

/* fork, with a child that dies when its parent does, even if it is stopped at that moment. */
static inline pid_t check_fork(void)
{
    pid_t parent = getpid(), child = fork();
    if (child == 0 && (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)) _exit(3);
    return child;
}

#define REPORT() (printf("1..%d\n", check_tests), check_failed_tests != 0)

/* Random numbers that repeat: splitmix64 (Steele, Lea, Flood, OOPSLA 2014). */
static inline uint64_t check_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z          = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z          = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

#endif /* CHECK_H */
