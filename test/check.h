/* check.h - the few macros of a test program. Prints TAP: a line a test, failed checks above it.
 *
 *     static void adds_up(void) { CHECK(1 + 1 == 2); CHECK_EQ(1 + 1, 2); }
 *     int main(void) { RUN(adds_up); return REPORT(); }
 */
#ifndef CHECK_H
#define CHECK_H

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static atomic_int check_failures; /* in the test that runs; any thread counts up */
static int        check_tests, check_failed_tests;

#define CHECK(x)                                                                            \
    do {                                                                                    \
        if (!(x)) {                                                                         \
            atomic_fetch_add(&check_failures, 1);                                           \
            printf("# %s:%d: %s\n", strrchr("/" __FILE__, '/') + 1, __LINE__, #x);          \
        }                                                                                   \
    } while (0)

#define CHECK_EQ(got, want)                                                                 \
    do {                                                                                    \
        long long check_got = (long long)(got), check_want = (long long)(want);             \
        if (check_got != check_want) {                                                      \
            atomic_fetch_add(&check_failures, 1);                                           \
            printf("# %s:%d: %s is %lld, not %lld\n", strrchr("/" __FILE__, '/') + 1,       \
                   __LINE__, #got, check_got, check_want);                                  \
        }                                                                                   \
    } while (0)

#define RUN(test) check_run(#test, test)

static inline void check_run(const char *name, void (*test)(void))
{
    atomic_store(&check_failures, 0);
    test();
    int failed = atomic_load(&check_failures) != 0;
    check_failed_tests += failed;
    printf("%s %d - %s\n", failed ? "not ok" : "ok", ++check_tests, name);
    fflush(stdout);
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
