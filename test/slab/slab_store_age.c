/* Goal: a slab_store that lives at its max_bytes does not age. After hundreds of budgets of writes
 * it stores as much as after five, while the sizes of the values drift.
 * Method: values are put until -ENOSPC; then the oldest is freed, and two values are compacted
 * after each free. The test prints payload / max_bytes and the metadata's share as a curve over the
 * budgets written, and compares the end with the beginning.
 *
 *     slab_store_age [MIB [BUDGETS]]     4 52; the figures in docs/slab_store.md: 40 240
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#define SLAB_IMPLEMENTATION
#include "../../slab.h"

#include "../check.h"

#if SIZE_MAX > UINT32_MAX
#include <sys/mman.h>
#include <time.h>
#endif

enum {
    TIERS  = 31,
    LEAST  = 32,
    MOST   = 8192,
    PERIOD = 47,      /* budgets until the median is where it was: 5 + 47 n is as 5 */
    RING   = 1 << 21, /* values that live */
    NOTES  = 512,     /* budgets in a curve */
};

static size_t   mib = 4, budgets = 52, max_bytes;
static uint64_t random_state;

/* -- The values, oldest first; each begins with its number -- */

struct value {
    slab_ref ref;
    uint32_t len;
};

static slab_store  *store;
static struct value ring[RING];
static uint64_t     oldest, newest; /* numbers; a value is at its number modulo RING */

static void moved(void *context, slab_ref from, slab_ref to, void *value, size_t room)
{
    uint32_t number;

    (void)context, (void)room;
    memcpy(&number, value, sizeof number);
    if (ring[number % RING].ref != from) CHECK_EQ(ring[number % RING].ref, from);
    ring[number % RING].ref = to;
}

static bool put(uint32_t len)
{
    struct value *value  = &ring[newest % RING];
    uint32_t      number = (uint32_t)newest;
    void         *memory = slab_store_alloc(store, len, &value->ref);

    if (!memory) return false;
    memcpy(memory, &number, sizeof number);
    value->len = len;
    newest++;
    if (newest - oldest == RING) CHECK(false);
    return true;
}

static void evict(void)
{
    const struct value *value = &ring[oldest++ % RING];
    uint32_t            number;
    const void         *memory = slab_store_get(store, value->ref, value->len);

    if (memory) memcpy(&number, memory, sizeof number);
    if (!memory || number != (uint32_t)(oldest - 1)) CHECK(false);
    if (slab_store_free(store, value->ref, value->len) != 0) CHECK(false);
    slab_store_compact(store, 2, moved, NULL);
}

/* -- Sizes -- */

static double exponential(double x) /* the test links with no libm */
{
    double y = 1 + x / 4096;

    for (int i = 0; i < 12; i++) y *= y;
    return y;
}

/* Lognormal, with sigma 0.7. */
static uint32_t draw_len(double median)
{
    double normal = -6;

    for (int i = 0; i < 12; i++) normal += (double)(check_random(&random_state) >> 11) * 0x1p-53;
    double len = median * exponential(0.7 * normal);
    return len < 4 ? 4 : len > 100000 ? 100000 : (uint32_t)len;
}

static double constant_median(double budget) { return (void)budget, 424; }

/* From 150 up to 1,200 and back, by the same factor in each step. */
static double drifting_median(double budget)
{
    double phase = budget / PERIOD - (double)(int)(budget / PERIOD);
    double way   = phase < 0.5 ? 2 * phase : 2 - 2 * phase;
    return 150 * exponential(way * 2.0794415);
}

/* -- Shapes and curves -- */

static void create(uint32_t tiers, uint32_t least, uint32_t most)
{
    uint32_t sizes[63], size = least;

    for (uint32_t i = 0; i < tiers; i++) { /* geometric; small ones at least 8 apart */
        double step = 1, low = 1, high = 2;
        while (high - low > 1e-9) { /* the factor for which the last is `most` */
            double product = 1;
            step           = (low + high) / 2;
            for (uint32_t k = 1; k < tiers; k++) product *= step;
            if (product * least < most) low = step;
            else high = step;
        }
        double exact = least;
        for (uint32_t k = 0; k < i; k++) exact *= step;
        size     = (uint32_t)(exact + 7) / 8 * 8;
        sizes[i] = i > 0 && size <= sizes[i - 1] ? sizes[i - 1] + 8 : size;
    }
    if (sizes[tiers - 1] != most) sizes[tiers - 1] = most;
    slab_store_config config = {.tier_sizes = sizes, .tier_count = tiers, .max_bytes = max_bytes};
    CHECK_EQ(slab_store_create(&store, &config), 0);
    oldest = newest = 0;
    random_state    = 1;
}

static struct note {
    double payload, metadata; /* shares of max_bytes: the mean of a budget, the most ever */
} notes[NOTES + 1];

static void check_sum(const struct slab_store_info *info)
{
    CHECK_EQ(info->held_bytes, info->capacity_bytes + info->metadata_bytes + info->empty_bytes +
                                   info->lost_bytes);
    CHECK(info->held_bytes <= max_bytes);
}

/* Writes one budget of values. Notes the means over its second half. */
static void write_budget(uint32_t number, uint32_t (*len_of)(double))
{
    struct slab_store_info info;
    size_t                 written = 0, samples = 0;
    double                 payload = 0, most = number ? notes[number - 1].metadata : 0;

    for (uint32_t puts = 0; written < max_bytes; puts++) {
        uint32_t len = len_of((double)number + (double)written / (double)max_bytes);
        while (!put(len)) {
            CHECK(oldest < newest);
            if (oldest == newest) return;
            evict();
        }
        written += len;
        if (puts % 64 != 0) continue;
        slab_store_stats(store, &info);
        check_sum(&info);
        if ((double)info.metadata_bytes > most * (double)max_bytes)
            most = (double)info.metadata_bytes / (double)max_bytes;
        if (written < max_bytes / 2) continue;
        payload += (double)info.payload_bytes / (double)max_bytes;
        samples++;
    }
    notes[number].payload  = samples ? payload / (double)samples : 0;
    notes[number].metadata = most;
}

static void print_curve(const char *name, uint32_t count)
{
    printf("# %s, %zu MiB: payload / max_bytes (metadata) after so many budgets\n#", name, mib);
    for (uint32_t i = 1; i <= count; i = i < 5 ? 5 : i == 5 ? 10 : i < 20 ? 20 : i + 20)
        printf(" %u: %.3f (%.2f %%) ", i, notes[i - 1].payload, 100 * notes[i - 1].metadata);
    printf(" %u: %.3f (%.2f %%)\n", count, notes[count - 1].payload,
           100 * notes[count - 1].metadata);
    fflush(stdout);
}

/* All values freed and the store trimmed. */
static void check_nothing_is_left(void)
{
    struct slab_store_info info;

    while (oldest < newest) evict();
    slab_store_trim(store);
    slab_store_stats(store, &info);
    printf("# emptied and trimmed: %zu bytes held\n", info.held_bytes);
    CHECK_EQ(info.capacity_bytes, 0);
    CHECK(info.held_bytes <= 64 * 1024 && info.held_bytes <= max_bytes / 100);
    slab_store_destroy(store);
}

/* -- The tests -- */

static uint32_t constant_len(double budget) { return draw_len(constant_median(budget)); }
static uint32_t drifting_len(double budget) { return draw_len(drifting_median(budget)); }

static void age(const char *name, uint32_t (*len_of)(double))
{
    max_bytes = mib << 20;
    create(TIERS, LEAST, MOST);
    for (uint32_t i = 0; i < budgets && i < NOTES; i++) write_budget(i, len_of);
    print_curve(name, (uint32_t)budgets);
    CHECK(notes[budgets - 1].payload >= 0.97 * notes[4].payload);
    CHECK(notes[budgets - 1].metadata <= 0.015);
    check_nothing_is_left();
}

static void constant_sizes(void) { age("constant sizes", constant_len); }
static void drifting_sizes(void) { age("drifting sizes", drifting_len); }

/* One tier's size after the other, two budgets of each. */
static uint32_t sweeping_len(double budget)
{
    struct slab_tier_info tier;

    slab_store_tier_stats(store, (uint32_t)(budget / 2) % TIERS, &tier);
    return tier.slot_size;
}
static void sweeping_sizes(void)
{
    double least = 1;

    max_bytes = mib << 20;
    create(TIERS, LEAST, MOST);
    for (uint32_t i = 0; i < 2 * TIERS; i++) write_budget(i, sweeping_len);
    print_curve("a sweep", 2 * TIERS);
    for (uint32_t i = 1; i < 2 * TIERS; i += 2)
        if (notes[i].payload < least) least = notes[i].payload;
    printf("# the least of all sizes: %.3f\n", least);
    CHECK(least >= 0.75);
    CHECK(notes[2 * TIERS - 1].metadata <= 0.015);
    check_nothing_is_left();
}

/* Each of 63 tiers fills the store, which is emptied each time. */
static void fill_and_empty(size_t budget)
{
    struct slab_store_info info;
    struct slab_tier_info  tier;
    double                 most = 0;

    max_bytes = budget;
    create(63, 32, MOST);
    for (uint32_t i = 0; slab_store_tier_stats(store, i, &tier) == 0; i++) {
        while (put(tier.slot_size)) continue;
        slab_store_stats(store, &info);
        check_sum(&info);
        CHECK(info.payload_bytes >= max_bytes / 100 * 85);
        if ((double)info.metadata_bytes > most) most = (double)info.metadata_bytes;
        while (oldest < newest) evict();
    }
    printf("# 63 tiers, %zu MiB: at most %.2f %% metadata\n", budget >> 20,
           100 * most / (double)budget);
    CHECK(most <= 0.015 * (double)budget);
    check_nothing_is_left();
}
static void fill_and_empty_4_mib(void) { fill_and_empty((size_t)4 << 20); }
static void fill_and_empty_32_mib(void) { fill_and_empty((size_t)32 << 20); }

/* A store of 64 GiB, none of which is touched: the last extents cost as much time as the first. */
#if SIZE_MAX > UINT32_MAX
static void *lazy_map(void *context, size_t size)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void     *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);
    return (void)context, memory == MAP_FAILED ? NULL : memory;
}
static void lazy_unmap(void *context, void *memory, size_t size)
{
    (void)context;
    munmap(memory, size);
}
static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
static void sixty_four_gigabytes(void)
{
    enum { PARTS = 8, VALUES = 1 << 17 }; /* values of 64 KiB in each part */
    static const uint32_t  size[] = {65536};
    slab_store_config      config = {.tier_sizes = size, .tier_count = 1, .map = lazy_map,
                                     .unmap = lazy_unmap};
    struct slab_store_info info;
    double                 part[PARTS];
    slab_ref               ref;

    CHECK_EQ(slab_store_create(&store, &config), 0);
    for (int i = 0; i < PARTS; i++) {
        double begin = seconds();
        for (int k = 0; k < VALUES; k++)
            if (!slab_store_alloc(store, size[0], &ref)) CHECK(false);
        part[i] = seconds() - begin;
        printf("# %d GiB: %.0f ns for each value of 64 KiB\n", 8 * (i + 1), part[i] / VALUES * 1e9);
        check_progress();
    }
    CHECK(part[PARTS - 1] < 3 * part[1]);
    slab_store_stats(store, &info);
    CHECK(info.metadata_bytes < info.held_bytes / 200);
    CHECK(info.payload_bytes > info.held_bytes / 100 * 96);
    slab_store_destroy(store);
}
#else
static void sixty_four_gigabytes(void) {}
#endif

int main(int argc, char **argv)
{
    if (argc > 1) mib = strtoul(argv[1], NULL, 10);
    if (argc > 2) budgets = strtoul(argv[2], NULL, 10);
    if (budgets < 5 || budgets > NOTES) budgets = 5;
    RUN(constant_sizes);
    RUN(drifting_sizes);
    RUN(sweeping_sizes);
    RUN(fill_and_empty_4_mib);
    if (mib >= 32) RUN(fill_and_empty_32_mib);
    if (mib >= 32) RUN(sixty_four_gigabytes);
    return REPORT();
}
