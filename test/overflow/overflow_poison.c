/* Goal: under AddressSanitizer and under Valgrind, the use of a value that was freed, or of what
 * lies behind one, is reported where it happens, and a rightful use never is. Method: do it and
 * see. AddressSanitizer ends the process, so each access is tried in a child; Valgrind, for which
 * this is compiled with WITH_VALGRIND, counts. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef WITH_VALGRIND
#include <valgrind/memcheck.h>
#endif

#define OVERFLOW_IMPLEMENTATION
#include "../../overflow.h"

#include "../check.h"

enum { SIZE = 1000 };

static char                   path[256];
static volatile unsigned char used;

#ifdef WITH_VALGRIND
static bool watched(void) { return RUNNING_ON_VALGRIND != 0; }
static bool reported(const volatile unsigned char *at)
{
    unsigned before = (unsigned)VALGRIND_COUNT_ERRORS;
    used            = *at; /* Valgrind drops a load that nobody uses */
    return (unsigned)VALGRIND_COUNT_ERRORS != before;
}
#else
static bool watched(void)
{
#ifdef OVERFLOW__ASAN
    return true;
#else
    return false;
#endif
}
static bool reported(const volatile unsigned char *at)
{
    int status = 0;

    fflush(stdout);
    if (fork() == 0) {
        if (!freopen("/dev/null", "w", stderr)) _exit(0);
        used = *at;
        _exit(0);
    }
    wait(&status);
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}
#endif

static overflow_region *open_it(uint32_t flags)
{
    overflow_config  config = {0, 1 << 20, flags};
    overflow_region *region = NULL;
    CHECK_EQ(overflow_open(&region, path, &config), 0);
    if (!region) exit(1);
    return region;
}

static overflow_ref write_one(overflow_region *region)
{
    static const unsigned char data[SIZE] = {1, 2, 3};
    overflow_ref               ref;
    CHECK_EQ(overflow_write(region, data, SIZE, 0, &ref), 0);
    return ref;
}

static const unsigned char *value_of(const overflow_region *region, overflow_ref ref)
{
    size_t      size;
    const void *value = overflow_read(region, ref, &size);
    CHECK(value && size == SIZE);
    return value;
}

static void expect_live(const unsigned char *value)
{
    CHECK(!reported(value) && !reported(value + SIZE / 2) && !reported(value + SIZE - 1));
    CHECK(reported(value + SIZE));
}

static void expect_freed(const unsigned char *value)
{
    CHECK(reported(value) && reported(value + SIZE / 2) && reported(value + SIZE - 1));
}

static void freed_values_are_watched(void)
{
    overflow_region     *region = open_it(OVERFLOW_FRESH);
    overflow_ref         first = write_one(region), second = write_one(region);
    const unsigned char *one = value_of(region, first), *two = value_of(region, second);
    size_t               size;

    expect_live(one);
    expect_live(two);
    CHECK_EQ(overflow_free(region, first), 0);
    expect_freed(one);
    expect_live(two);
    CHECK(overflow_read(region, first, &size) == NULL); /* a stale ref is no misuse */
    CHECK_EQ(overflow_free(region, first), -ESTALE);
    CHECK(value_of(region, write_one(region)) == one);
    expect_live(one);
    overflow_close(region);
}

/* The same after a reopen, and among holes that are joined. */
static void recovered_values_are_watched(void)
{
    overflow_region     *region = open_it(0);
    overflow_slot        slot;
    uint64_t             cursor = 0;
    overflow_ref         refs[2], wall;
    const unsigned char *values[2];

    for (int i = 0; i < 2; i++) {
        CHECK(overflow_next(region, &cursor, &slot));
        refs[i]   = slot.ref;
        values[i] = value_of(region, slot.ref);
        expect_live(values[i]);
    }
    wall = write_one(region);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(overflow_free(region, refs[i]), 0);
        expect_freed(values[i]);
    }
    struct overflow_info stats;
    overflow_stats(region, &stats);
    CHECK_EQ(stats.holes, 1);
    expect_freed(values[0]);
    expect_freed(values[1]);
    expect_live(value_of(region, wall));
    cursor = 0;
    CHECK(overflow_next(region, &cursor, &slot) && slot.ref == wall);
    overflow_close(region);

    region = open_it(OVERFLOW_TEMPORARY);
    expect_live(value_of(region, wall));
    expect_freed((const unsigned char *)value_of(region, wall) - 1088);
    overflow_close(region);
}

int main(void)
{
    const char *dir = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/overflow_poison_%d", dir ? dir : "/tmp", (int)getpid());
    if (!watched()) {
        printf("ok 1 - poison # SKIP nobody watches\n1..1\n");
        return 0;
    }
    RUN(freed_values_are_watched);
    RUN(recovered_values_are_watched);
    return REPORT();
}
