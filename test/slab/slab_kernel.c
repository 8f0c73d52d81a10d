/* Goal: slab_store keeps its promises when the kernel refuses what trim asks for.
 * Method: no macro of the header is replaced. Each test runs in a child, which first locks its
 * memory or has a seccomp filter refuse madvise. What trim reports is compared with the pages that
 * mincore finds resident; every value, every byte behind it and every ref is looked at. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SLAB_IMPLEMENTATION
#include "../../slab.h"

#include "../check.h"

enum {
    BUDGET = 16 << 20, /* extents of 256 KiB: four chunks */
    ROOM   = BUDGET / 64,
    REFS   = 1 << 20,  /* more than there can be */
};

struct value {
    slab_ref ref;
    uint32_t len; /* 0: it does not live */
};

static slab_store  *store;
static struct value values[ROOM];

static size_t held(void)
{
    struct slab_store_info info;
    slab_store_stats(store, &info);
    return info.held_bytes;
}

/* Bytes of the store's extents that are in memory. */
static size_t resident(void)
{
    static unsigned char is_resident[SLAB__EXTENT_MOST / SLAB__PAGE];
    size_t               page = (size_t)sysconf(_SC_PAGESIZE), bytes = 0;

    for (uint32_t i = 0; i < store->extent_count; i++) {
        const slab__extent *extent = store->extents[i];
        CHECK_EQ(mincore(extent->memory, extent->size, is_resident), 0);
        for (size_t at = 0; at * page < extent->size; at++)
            bytes += is_resident[at] & 1 ? page : 0;
    }
    return bytes;
}

/* Puts a value all of whose bytes are 0xff. */
static bool put(struct value *value, uint32_t len)
{
    static unsigned char bytes[SLAB__SLOT_MAX];

    memset(bytes, 0xff, len);
    int error = slab_store_put(store, bytes, len, &value->ref);
    CHECK(error == 0 || error == -ENOSPC || error == -ENOMEM); /* the latter: RLIMIT_MEMLOCK */
    value->len = error ? 0 : len;
    return error == 0;
}

static void check_value(const struct value *value)
{
    uint32_t             room  = value->len <= 64 ? 64 : 4096;
    const unsigned char *bytes = slab_store_get(store, value->ref, value->len);

    CHECK(bytes != NULL);
    for (uint32_t i = 0; bytes && i < room; i++)
        if (bytes[i] != (i < value->len ? 0xff : 0))
            check_fail(__FILE__, __LINE__, "byte %u of %u is %u", i, value->len, bytes[i]);
}

/* Each value is whole, and no other ref names one: its live bits began as zero. */
static void check_all(uint32_t end)
{
    uint32_t live = 0, named = 0;

    for (uint32_t i = 0; i < end; i++) {
        if (!values[i].len) continue;
        live++;
        check_value(&values[i]);
    }
    for (slab_ref ref = 0; ref < REFS; ref++)
        named += slab_store_get(store, ref, 64) || slab_store_get(store, ref, 4096);
    CHECK_EQ(named, live);
}

/* A full store keeps one value in each extent; trim takes the rest. Then short values come where
 * long ones were, until the limit: their chunks' bits are in such pages, too. */
static void trim_at_the_limit(void)
{
    slab_store_config config = {.max_bytes = BUDGET};
    uint32_t          long_ones = 0, end;

    if (slab_store_create(&store, &config) != 0) exit(77); /* too little may be locked */
    while (put(&values[long_ones], 4096)) long_ones++;
    CHECK(long_ones > 200);
    for (uint32_t i = 0; i < long_ones; i++) {
        if (i % 64 == 7) continue;
        CHECK_EQ(slab_store_free(store, values[i].ref, 4096), 0);
        values[i].len = 0;
    }
    size_t before = resident(), held_before = held();
    size_t given = slab_store_trim(store);
    CHECK_EQ(given, before - resident());
    CHECK(given >= held_before - held());
    CHECK_EQ(slab_store_trim(store), 0); /* nothing is given twice */

    for (end = long_ones; end < long_ones + 100 && put(&values[end], 3000);) end++;
    CHECK_EQ(end, long_ones + 100);
    while (end < ROOM && put(&values[end], 1 + end % 64)) end++;
    CHECK(end - long_ones > 20 * long_ones);
    check_all(end);
    slab_store_destroy(store);
}

/* -- What the child takes away from itself; false: the system does not allow that -- */

static bool nothing(void) { return true; }

static bool unlocking(void) { return mlockall(MCL_CURRENT | MCL_FUTURE) == 0; }

static bool madvising(void)
{
    static const struct {
        uint16_t code;
        uint8_t  if_true, if_false;
        uint32_t k;
    } filter[] = {{0x20, 0, 0, 0}, /* the number of the call */
                  {0x15, 0, 1, SYS_madvise},
                  {0x06, 0, 0, 0x00050000u | EPERM},
                  {0x06, 0, 0, 0x7fff0000u}};
    const struct {
        unsigned short count;
        const void    *filter;
    } program = {4, filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, 2, &program) == 0;
}

static void run_without(bool (*take_away)(void))
{
    int   status = 0;
    pid_t child  = check_fork();

    if (child == 0) {
        (void)prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); /* or the kernel makes pages resident */
        if (!take_away()) _exit(77);
        trim_at_the_limit();
        _exit(atomic_load(&check_failures) != 0);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) check_skip("the system refuses that");
    else CHECK_EQ(status, 0);
}

static void trim_gives_what_it_reports(void) { run_without(nothing); }
static void trim_of_locked_pages(void) { run_without(unlocking); }
static void trim_without_madvise(void) { run_without(madvising); }

/* Values of 4,096 bytes, every second one freed: a system page may be larger than that. */
static void trim_spares_the_neighbours(void)
{
    static const uint32_t tiers[] = {64};
    slab_store_config     config  = {.tier_sizes = tiers, .tier_count = 1};
    enum { COUNT = 1000, LEN = 4096 };

    CHECK_EQ(slab_store_create(&store, &config), 0);
    for (uint32_t i = 0; i < COUNT; i++) CHECK(put(&values[i], LEN));
    for (uint32_t i = 0; i < COUNT; i += 2)
        CHECK_EQ(slab_store_free(store, values[i].ref, LEN), 0);
    size_t before = resident(), given = slab_store_trim(store);
    CHECK(resident() + given <= before);
    for (uint32_t i = 1; i < COUNT; i += 2) check_value(&values[i]);
    for (uint32_t i = 0; i < COUNT; i += 2) CHECK(put(&values[i], LEN - 5));
    for (uint32_t i = 0; i < COUNT; i++) check_value(&values[i]);
    slab_store_destroy(store);
}

int main(void)
{
    RUN(trim_spares_the_neighbours);
    RUN(trim_gives_what_it_reports);
    RUN(trim_of_locked_pages);
    RUN(trim_without_madvise);
    return REPORT();
}
