/* Goal: each function of slab_store does what its declaration says, and holds up when memory ends.
 * Method: SLAB_MAP and SLAB_UNMAP are counted and can be made to fail; the implementation is in
 * this file, so that two limits which take gigabytes to reach can be set low. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static void *test_map(size_t size);
static void  test_unmap(void *memory, size_t size);
static size_t asked_huge; /* bytes for which large pages were asked */
#define SLAB_MAP(size)           test_map(size)
#define SLAB_UNMAP(memory, size) test_unmap(memory, size)
#define SLAB_HUGE(memory, size)  ((void)(memory), asked_huge += (size))
#define SLAB_IMPLEMENTATION
#include "../../slab.h"

#include "../check.h"

static size_t   mapped, mapped_most; /* bytes */
static uint64_t maps, fail_at;       /* calls of SLAB_MAP; the one that fails; 0 = none */

static void *test_map(size_t size)
{
    if (++maps == fail_at) return NULL;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return NULL;
    mapped += size;
    if (mapped > mapped_most) mapped_most = mapped;
    return memory;
}
static void test_unmap(void *memory, size_t size)
{
    CHECK(mapped >= size);
    mapped -= size;
    munmap(memory, size);
}

enum { KIB = 1024, MIB = 1024 * 1024 };

static slab_store *open_store(const uint32_t *tiers, uint32_t count, size_t max_bytes)
{
    slab_store_config config = {.tier_sizes = tiers, .tier_count = count, .max_bytes = max_bytes};
    slab_store       *store;

    mapped_most = mapped;
    CHECK_EQ(slab_store_create(&store, &config), 0);
    return store;
}
static void close_store(slab_store *store)
{
    slab_store_destroy(store);
    CHECK_EQ(mapped, 0);
}
static struct slab_store_info stats_of(const slab_store *store)
{
    struct slab_store_info stats;

    slab_store_stats(store, &stats);
    CHECK_EQ(stats.held_bytes, mapped);
    return stats;
}

/* A value that tells its ref and length in every byte, and a table of those that live. */
struct value {
    slab_ref ref;
    uint32_t len;
    uint32_t seed;
};

static void fill(unsigned char *bytes, const struct value *value)
{
    for (uint32_t i = 0; i < value->len; i++) bytes[i] = (unsigned char)(value->seed + i * 7 + 1);
}
static bool is_intact(const slab_store *store, const struct value *value)
{
    const unsigned char *bytes =
        (const unsigned char *)slab_store_get(store, value->ref, value->len);

    if (!bytes) return false;
    for (uint32_t i = 0; i < value->len; i++)
        if (bytes[i] != (unsigned char)(value->seed + i * 7 + 1)) return false;
    return true;
}
static int put_value(slab_store *store, struct value *value, uint32_t len, uint32_t seed)
{
    static unsigned char bytes[256 * KIB];

    value->len  = len;
    value->seed = seed;
    fill(bytes, value);
    return slab_store_put(store, bytes, len, &value->ref);
}

/* ---- Create ---- */

static void create_refuses(void)
{
    static const uint32_t unsorted[] = {64, 128, 96}, equal[] = {64, 64}, odd[] = {64, 100},
                          nothing[] = {0, 64}, huge[] = {64, 65544}, one[] = {64};
    static const struct {
        const uint32_t *tiers;
        uint32_t        count;
        size_t          max_bytes;
    } bad[] = {{unsorted, 3, 0},    {equal, 2, 0}, {odd, 2, 0}, {nothing, 2, 0},
               {huge, 2, 0},        {one, 0, 0},   {one, 1, 1}, {one, 1, 64 * KIB},
               {NULL, 0, 64 * KIB}, {one, 64, 0}};
    slab_store *store;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        slab_store_config config = {.tier_sizes = bad[i].tiers,
                                    .tier_count = bad[i].count,
                                    .max_bytes  = bad[i].max_bytes};
        if (config.tier_count == 64) config.tier_sizes = unsorted; /* not looked at */
        store = (slab_store *)(void *)&config;
        CHECK_EQ(slab_store_create(&store, &config), -EINVAL);
        CHECK(store == NULL);
    }
    CHECK_EQ(slab_store_create(NULL, NULL), -EINVAL);
    fail_at = maps + 1;
    CHECK_EQ(slab_store_create(&store, NULL), -ENOMEM);
    CHECK(store == NULL);
    fail_at = 0;
    CHECK_EQ(mapped, 0);
    slab_store_destroy(NULL);
}

/* From the least max_bytes on, a store that was made takes a value. */
static void create_least(void)
{
    slab_store       *store;
    struct value      value;
    slab_store_config config = {.max_bytes = 64 * KIB};

    while (slab_store_create(&store, &config) != 0) config.max_bytes += 4096;
    CHECK(config.max_bytes < 128 * KIB);
    CHECK_EQ(put_value(store, &value, 100, 1), 0);
    CHECK(is_intact(store, &value));
    CHECK_EQ(slab_store_free(store, value.ref, 100), 0);
    CHECK_EQ(put_value(store, &value, 4096, 1), 0);
    while (put_value(store, &value, 4096, 1) == 0) continue; /* in all the memory there is */
    CHECK_EQ(put_value(store, &value, 4096, 1), -ENOSPC);
    CHECK(stats_of(store).payload_bytes > 40 * KIB);
    CHECK(mapped <= config.max_bytes);
    close_store(store);
}

/* ---- Put, get, free ---- */

static bool is_zero(const unsigned char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != 0) return false;
    return true;
}

/* Each length, in the tier it belongs to, in a slot that was dirty before. */
static void check_lengths(const uint32_t *tiers, uint32_t count)
{
    slab_store  *store = open_store(tiers, count, 0);
    struct value value, dirty;
    uint32_t     tier = 0, last = tiers ? tiers[count - 1] : 4096;

    for (uint32_t len = 0; len <= last; len += len < 600 || last - len < 600 ? 1 : 61) {
        uint32_t size = tiers ? tiers[tier] : UINT32_C(64) << tier;
        while (len > size) size = tiers ? tiers[++tier] : UINT32_C(64) << ++tier;
        CHECK_EQ(put_value(store, &dirty, size, 255), 0);
        CHECK_EQ(slab_store_free(store, dirty.ref, size), 0);
        CHECK_EQ(put_value(store, &value, len, len), 0);
        CHECK_EQ(value.ref, dirty.ref); /* the freed slot, again */
        CHECK(!slab_ref_is_large(value.ref));
        CHECK(is_intact(store, &value));
        const unsigned char *slot = (const unsigned char *)slab_store_get(store, value.ref, len);
        CHECK_EQ((uintptr_t)slot % (size % 64 ? 8 : 64), 0);
        CHECK(is_zero(slot + len, size - len));
        CHECK(slab_store_get(store, value.ref, size + 1) == NULL);
        CHECK_EQ(slab_store_free(store, value.ref, size + 1), -ESTALE);
        CHECK_EQ(slab_store_free(store, value.ref, len), 0);
        CHECK(slab_store_get(store, value.ref, len) == NULL);
        CHECK_EQ(slab_store_free(store, value.ref, len), -ESTALE);
    }
    CHECK_EQ(stats_of(store).payload_bytes, 0);
    close_store(store);
}
static void lengths(void)
{
    uint32_t tiers[63];
    static const struct {
        uint32_t count, step;
    } shapes[] = {{1, 65536}, {7, 72},   {8, 8},   {15, 4096},
                  {16, 24},   {31, 104}, {32, 40}, {63, 1040}};

    check_lengths(NULL, 0);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        for (uint32_t tier = 0; tier < shapes[i].count; tier++)
            tiers[tier] = (tier + 1) * shapes[i].step;
        check_lengths(tiers, shapes[i].count);
    }
}

static void null_pointers(void)
{
    slab_store *store = open_store(NULL, 0, 0);
    slab_ref    ref   = 0;

    CHECK_EQ(slab_store_put(NULL, "x", 1, &ref), -EINVAL);
    CHECK_EQ(ref, SLAB_NO_REF);
    ref = 0;
    CHECK_EQ(slab_store_put(store, NULL, 1, &ref), -EINVAL);
    CHECK_EQ(ref, SLAB_NO_REF);
    CHECK_EQ(slab_store_put(store, "x", 1, NULL), -EINVAL);
    CHECK(slab_store_alloc(store, 1, NULL) == NULL);
    ref = 0;
    CHECK(slab_store_alloc(NULL, 1, &ref) == NULL);
    CHECK_EQ(ref, SLAB_NO_REF);
    CHECK(slab_store_get(NULL, 0, 1) == NULL);
    CHECK_EQ(slab_store_free(NULL, 0, 1), -EINVAL);
    CHECK_EQ(slab_store_trim(NULL), 0);
    CHECK_EQ(slab_store_compact(store, 1, NULL, NULL), 0);
    CHECK_EQ(slab_store_tier_stats(store, 7, &(struct slab_tier_info){0}), -EINVAL);
    CHECK_EQ(slab_store_tier_stats(store, 0, NULL), -EINVAL);
    slab_store_stats(store, NULL);
    CHECK_EQ(slab_store_put(store, NULL, 0, &ref), 0);
    CHECK(slab_store_get(store, ref, 0) != NULL);
    close_store(store);
}

static void protect(slab_store *store, int access)
{
    for (uint32_t i = 0; i < store->extent_count; i++) {
        unsigned char *memory = store->extents[i]->memory;
        CHECK_EQ(mprotect(memory, store->extents[i]->size, access), 0);
    }
    CHECK_EQ(mprotect(store, store->own_size, access), 0);
}

/* In memory that nobody can write to, get works: so any number of threads may call it at once. */
static void get_writes_nothing(void)
{
    enum { VALUES = 20000 };
    static struct value values[VALUES];
    slab_store         *store = open_store(NULL, 0, 0);

    for (uint32_t i = 0; i < VALUES; i++) CHECK_EQ(put_value(store, &values[i], i % 5000, i), 0);
    protect(store, PROT_READ);
    for (uint32_t i = 0; i < VALUES; i++) {
        CHECK(is_intact(store, &values[i]));
        CHECK(slab_store_get(store, values[i].ref, 200000) == NULL);
    }
    CHECK_EQ(mprotect(store, store->own_size, PROT_READ | PROT_WRITE), 0);
    protect(store, PROT_READ | PROT_WRITE);
    close_store(store);
}

static void too_long(void)
{
#if SIZE_MAX > UINT32_MAX
    slab_store *store         = open_store(NULL, 0, 0);
    slab_ref    ref           = 0;
    const char *volatile byte = ""; /* a compiler that looks through it warns */

    CHECK_EQ(slab_store_put(store, byte, (size_t)UINT32_MAX + 1, &ref), -EMSGSIZE);
    CHECK_EQ(ref, SLAB_NO_REF);
    CHECK(slab_store_alloc(store, SIZE_MAX, &ref) == NULL);
    CHECK(slab_store_get(store, 0, (size_t)UINT32_MAX + 1) == NULL);
    CHECK_EQ(slab_store_free(store, 0, SIZE_MAX), -ESTALE);
    close_store(store);
#endif
}

/* ---- Refs that name nothing ---- */

/* Random refs and lengths against the table of what lives; what free may end is put again. */
static void forged_refs(void)
{
    enum { VALUES = 512, TRIES = 1000000 };
    static struct value values[VALUES];
    slab_store         *store  = open_store(NULL, 0, 0);
    uint64_t            random = 7, hits = 0;

    for (uint32_t i = 0; i < VALUES; i++)
        CHECK_EQ(put_value(store, &values[i], (uint32_t)check_random(&random) % 6000, i), 0);
    for (int try = 0; try < TRIES; try++) {
        uint64_t      word = check_random(&random);
        struct value *near = &values[word >> 32 & (VALUES - 1)];
        /* All bits random, or a bit or a few slots beside a ref that lives. */
        slab_ref             ref  = word >> 60 < 8    ? (slab_ref)word
                                    : word >> 60 < 12 ? near->ref ^ UINT32_C(1) << (word & 31)
                                                      : near->ref + (slab_ref)(word & 15) - 8;
        size_t               len  = word >> 50 & 1 ? near->len : (size_t)(word >> 40 & 8191);
        const unsigned char *got  = (const unsigned char *)slab_store_get(store, ref, len);
        struct value        *live = NULL;
        for (uint32_t i = 0; got && i < VALUES; i++)
            if (values[i].ref == ref) live = &values[i];
        CHECK((got != NULL) == (live != NULL));
        if (live && live->len != len) continue;
        CHECK_EQ(slab_store_free(store, ref, len), live ? 0 : -ESTALE);
        if (!live) continue;
        hits++;
        CHECK_EQ(put_value(store, live, (uint32_t)(word >> 20) % 6000, (uint32_t)word), 0);
    }
    CHECK(hits > 1000);
    for (uint32_t i = 0; i < VALUES; i++) CHECK(is_intact(store, &values[i]));
    CHECK(slab_store_get(store, SLAB_NO_REF, 0) == NULL);
    CHECK(!slab_ref_is_large(SLAB_NO_REF));
    CHECK_EQ(slab_store_free(store, SLAB_NO_REF, 5000), -ESTALE);
    close_store(store);
}

/* ---- Reuse ---- */

/* Whichever slots are freed, in the current word, another or another chunk, later puts get those
 * and no other, until they are used up. */
static void freed_before_fresh(void)
{
    enum { SLOT = 64, VALUES = 100000, FREED = 777 };
    static struct value values[VALUES];
    static uint8_t      is_free[VALUES];
    slab_store         *store  = open_store(NULL, 0, 0);
    uint64_t            random = 3;

    for (uint32_t count = 1; count <= VALUES; count = count * 7 + 1) {
        for (uint32_t i = 0; i < count; i++)
            if (!values[i].len) CHECK_EQ(put_value(store, &values[i], SLOT, i), 0);
        uint32_t freed = 0;
        for (int i = 0; i < FREED; i++) {
            uint32_t at = (uint32_t)(check_random(&random) % count);
            if (is_free[at]) continue;
            is_free[at] = 1;
            freed++;
            CHECK_EQ(slab_store_free(store, values[at].ref, SLOT), 0);
        }
        for (; freed > 0; freed--) {
            struct value value;
            uint32_t     at = 0;
            CHECK_EQ(put_value(store, &value, SLOT, 0), 0);
            while (at < count && !(is_free[at] && values[at].ref == value.ref)) at++;
            CHECK(at < count);
            if (at == count) break;
            is_free[at] = 0;
            values[at]  = value;
        }
    }
    close_store(store);
}

/* ---- Growth ---- */

static void growth(void)
{
    enum { VALUES = 4200000 };
    static const uint32_t  tiers[] = {8, 16};
    static slab_ref        refs[VALUES];
    static const uint64_t *places[VALUES];
    slab_store            *store      = open_store(tiers, 2, 0);
    uint64_t               chunk_maps = 0;

    asked_huge = 0;
    for (uint64_t i = 0; i < VALUES; i++) {
        uint64_t before = maps;
        if (slab_store_put(store, &i, sizeof i, &refs[i]) != 0) CHECK(false);
        places[i] = (const uint64_t *)slab_store_get(store, refs[i], sizeof i);
        if (maps - before > 1) CHECK_EQ(maps - before, 1); /* one mapping at most */
        chunk_maps += maps - before;
    }
    CHECK(asked_huge > 0 && asked_huge % (2 * MIB) == 0); /* above 32 MiB */
    CHECK(asked_huge + 30 * MIB <= mapped);
    CHECK(chunk_maps < 40); /* 10 extents up to 4 MiB, then one for 2 MiB; and a directory */
    uint64_t wrong = 0;
    for (uint64_t i = 0; i < VALUES; i++)
        wrong += slab_store_get(store, refs[i], 8) != (const void *)places[i] || *places[i] != i;
    CHECK_EQ(wrong, 0);
    CHECK_EQ(stats_of(store).payload_bytes, (size_t)VALUES * 8);
    close_store(store);
}

/* All names are in use: no put works; a free gives one back. */
static void all_slots_named(void)
{
    enum { ROOM = 100000 };
    static struct value   values[ROOM];
    static const uint32_t tiers[] = {8, 4096};
    slab_store           *store   = open_store(tiers, 2, 0);
    uint32_t              count   = 0;
    struct value          more;

    store->segment_most = 2;
    for (uint32_t i = 2; i < SLAB__SEGMENTS; i++)
        slab__store_top_clear(store, slab__store_gone(store), i);
    while (count < ROOM && put_value(store, &values[count], count % 9, count) == 0) count++;
    CHECK(count > 30000 && count < ROOM);
    CHECK_EQ(put_value(store, &more, 8, 1), -ENOSPC);
    CHECK_EQ(more.ref, SLAB_NO_REF);
    CHECK_EQ(slab_store_free(store, values[7].ref, values[7].len), 0);
    CHECK_EQ(put_value(store, &values[7], 8, 7), 0);
    for (uint32_t i = 0; i < count; i++) {
        CHECK(is_intact(store, &values[i]));
        CHECK_EQ(slab_store_free(store, values[i].ref, values[i].len), 0);
    }
    close_store(store);
}

/* ---- Chunks go where they are needed ---- */

static size_t fill_up(slab_store *store, uint32_t len, struct value *values, size_t room)
{
    size_t count = 0;

    while (count < room && put_value(store, &values[count], len, (uint32_t)count) == 0) count++;
    return count;
}

static slab__chunk *chunk_of(const slab_store *store, const struct value *value)
{
    return slab__store_chunk_of(slab__store_line(store, value->ref));
}

/* Fill with one size, free all, fill with another, under one max_bytes: nothing is kept back. */
static void no_calcification(void)
{
    enum { ROOM = 200000, BUDGET = 8 * MIB };
    static struct value   values[ROOM];
    static const uint32_t lens[] = {64, 4096, 100, 20000, 1, 2048, 300000, 64};
    slab_store           *store  = open_store(NULL, 0, BUDGET);

    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        uint32_t len = lens[i] > 256 * KIB ? 256 * KIB : lens[i], slot = 64;
        size_t   count = fill_up(store, len, values, ROOM);
        while (slot < len && slot < 4096) slot *= 2;
        if (len > 4096) slot = (len + 4095) / 4096 * 4096;
        CHECK(count < ROOM);
        CHECK(count * slot > (size_t)BUDGET / 100 * (len > 4096 ? 90 : 96));
        CHECK(stats_of(store).metadata_bytes < BUDGET / 100 * 3);
        for (size_t at = 0; at < count; at++) {
            CHECK(is_intact(store, &values[at]));
            CHECK_EQ(slab_store_free(store, values[at].ref, len), 0);
        }
    }
    CHECK(mapped_most <= BUDGET);
    close_store(store);
}

/* Every other chunk of a full store runs empty: each of them will do for any tier. */
static void an_empty_chunk_serves_any_tier(void)
{
    enum { ROOM = 200000 };
    static struct value       values[ROOM];
    static const slab__chunk *chunks[ROOM];

    for (size_t budget = MIB; budget <= 8 * MIB; budget *= 2) {
        slab_store *store = open_store(NULL, 0, budget);
        size_t      count = fill_up(store, 64, values, ROOM);
        CHECK_EQ(put_value(store, &values[count], 4096, 1), -ENOSPC);
        size_t empty = 0, stored = 0, parity = 0;
        for (size_t i = 0; i < count; i++) chunks[i] = chunk_of(store, &values[i]);
        for (size_t i = 0; i < count; i++) {
            parity ^= i > 0 && chunks[i] != chunks[i - 1];
            if (!parity) continue;
            CHECK_EQ(slab_store_free(store, values[i].ref, 64), 0);
            values[i].len = 0;
            empty += 64;
        }
        for (uint32_t len = 128; len <= 4096; len *= 2) /* each tier may have a chunk */
            CHECK_EQ(put_value(store, &values[count], len, 1), 0);
        for (uint32_t len = 4096; len >= 128; len /= 2)
            while (put_value(store, &values[count], len, 1) == 0) stored += len;
        CHECK(stored > empty / 2 && (stored > empty / 100 * 96 || budget < 4 * MIB));
        for (size_t i = 0; i < count; i++)
            if (values[i].len > 0) CHECK(is_intact(store, &values[i]));
        CHECK(mapped_most <= budget);
        close_store(store);
    }
}

/* ---- Trim and compact ---- */

static void trim(void)
{
    enum { VALUES = 50000 };
    static struct value values[VALUES];
    slab_store         *store = open_store(NULL, 0, 0);

    CHECK_EQ(slab_store_trim(store), 0);
    for (uint32_t i = 0; i < VALUES; i++) CHECK_EQ(put_value(store, &values[i], i % 4096, i), 0);
    size_t before = mapped;
    CHECK_EQ(slab_store_trim(store), 0); /* nothing is empty */
    for (uint32_t i = 0; i < VALUES; i++)
        CHECK_EQ(slab_store_free(store, values[i].ref, values[i].len), 0);
    CHECK_EQ(mapped, before); /* kept for the next */
    size_t given = slab_store_trim(store);
    CHECK(given > 0);
    CHECK_EQ(given, before - mapped);
    CHECK_EQ(stats_of(store).held_bytes, stats_of(store).metadata_bytes);
    CHECK_EQ(slab_store_trim(store), 0);
    before = mapped;
    CHECK_EQ(put_value(store, &values[0], 10000, 5), 0);
    CHECK_EQ(slab_store_free(store, values[0].ref, 10000), 0);
    slab_store_trim(store);
    CHECK_EQ(mapped, before); /* the chunk of its record is gone, too */
    CHECK_EQ(put_value(store, &values[0], 77, 5), 0);
    CHECK(is_intact(store, &values[0]));
    close_store(store);
}

enum { MOVE_VALUES = 1 << 17 };

/* Values whose first four bytes say which of them they are. */
struct index {
    slab_store *store;
    uint32_t    count;
    uint64_t    moves, wrong;
    slab_ref    refs[MOVE_VALUES];
    uint32_t    lens[MOVE_VALUES]; /* 0: it does not live */
};

static void index_put(struct index *index, uint32_t at, uint32_t len)
{
    unsigned char *value = (unsigned char *)slab_store_alloc(index->store, len, &index->refs[at]);

    CHECK(value != NULL);
    if (!value) return;
    memset(value, (int)(at & 255), len);
    memcpy(value, &at, sizeof at);
    index->lens[at] = len;
}
static void index_free(struct index *index, uint32_t at)
{
    CHECK_EQ(slab_store_free(index->store, index->refs[at], index->lens[at]), 0);
    index->lens[at] = 0;
}
static void index_check(struct index *index)
{
    size_t payload = 0;

    for (uint32_t at = 0; at < index->count; at++) {
        uint32_t len = index->lens[at], name;
        if (len == 0) continue;
        payload += len;
        const unsigned char *value =
            (const unsigned char *)slab_store_get(index->store, index->refs[at], len);
        if (value) memcpy(&name, value, sizeof name);
        if (!value || name != at || (len > 4 && value[len - 1] != (unsigned char)at))
            index->wrong++;
    }
    CHECK_EQ(index->wrong, 0);
    CHECK_EQ(stats_of(index->store).payload_bytes, payload);
}
static void index_moved(void *context, slab_ref from, slab_ref to, void *value, size_t room)
{
    struct index *index = (struct index *)context;
    uint32_t      at;

    memcpy(&at, value, sizeof at);
    index->moves++;
    if (at >= index->count || index->refs[at] != from || index->lens[at] == 0) {
        index->wrong++;
        return;
    }
    if (slab_store_get(index->store, to, index->lens[at]) != value) index->wrong++;
    if (slab_store_get(index->store, from, index->lens[at]) != NULL) index->wrong++;
    if (slab_store_get(index->store, to, room) != value) index->wrong++;
    index->refs[at] = to;
}

static uint32_t any_len(uint64_t *random)
{
    uint32_t bits = 2 + (uint32_t)(check_random(random) % 10);
    return 4 + (uint32_t)(check_random(random) & ((1u << bits) - 1));
}

/* Nine tenths freed at random: compact and trim leave little more than what lives. */
static void compact(size_t step)
{
    static struct index index;
    uint64_t            random = 5;

    memset(&index, 0, sizeof index);
    index.store = open_store(NULL, 0, 64 * MIB); /* extents of 1 MiB */
    index.count = MOVE_VALUES;
    for (uint32_t at = 0; at < MOVE_VALUES; at++) index_put(&index, at, any_len(&random));
    size_t peak = mapped;
    for (uint32_t at = 0; at < MOVE_VALUES; at++)
        if (check_random(&random) % 10 != 0) index_free(&index, at);
    size_t sparse = mapped, moves, total = 0;
    CHECK(sparse > peak / 2);
    do {
        moves = slab_store_compact(index.store, step, index_moved, &index);
        CHECK(moves <= step);
        total += moves;
        index_check(&index);
    } while (moves > 0);
    CHECK_EQ(total, index.moves);
    CHECK(total < MOVE_VALUES / 8); /* the sparsest first: hardly more than what lives */
    slab_store_trim(index.store);
    CHECK(mapped < peak / 5);
    index_check(&index);
    CHECK_EQ(slab_store_compact(index.store, SIZE_MAX, index_moved, &index), 0);
    close_store(index.store);
}
static void compact_at_once(void) { compact(SIZE_MAX); }
static void compact_by_little(void) { compact(500); }

/* Compaction goes on between puts and frees, while the store shrinks and grows again. */
static void compact_under_load(void)
{
    static struct index index;
    uint64_t            random = 11;
    uint32_t            target;

    memset(&index, 0, sizeof index);
    index.store = open_store(NULL, 0, 64 * MIB);
    index.count = MOVE_VALUES / 8;
    for (int step = 0; step < 400000; step++) {
        uint32_t at = (uint32_t)(check_random(&random) % index.count);
        target      = step / 50000 % 2 ? 10 : 90; /* percent that shall live */
        if (index.lens[at]) index_free(&index, at);
        if (check_random(&random) % 100 < target) index_put(&index, at, any_len(&random));
        if (step % 16 == 0) slab_store_compact(index.store, (size_t)step % 64, index_moved, &index);
        if (step % 4096 == 0) slab_store_trim(index.store);
        if (step % 20000 == 0) index_check(&index);
    }
    CHECK(index.moves > 1000);
    index_check(&index);
    close_store(index.store);
}

/* A callback that frees what was moved, and puts something else. */
static void meddle(void *context, slab_ref from, slab_ref to, void *value, size_t room)
{
    struct index *index = (struct index *)context;
    uint32_t      at;

    index_moved(context, from, to, value, room);
    memcpy(&at, value, sizeof at);
    if (at % 3 == 0) index_free(index, at);
    if (at % 2 == 0 && index->lens[at ^ 1] == 0) index_put(index, at ^ 1, 4 + at % 4000);
    if (at % 64 == 0) slab_store_trim(index->store);
    if (at % 128 == 0) slab_store_compact(index->store, 3, index_moved, index);
}
static void compact_with_meddling(void)
{
    static struct index index;
    uint64_t            random = 17;

    memset(&index, 0, sizeof index);
    index.store = open_store(NULL, 0, 32 * MIB); /* extents of 512 KiB */
    index.count = MOVE_VALUES / 4;
    for (int round = 0; round < 20; round++) {
        for (uint32_t at = 0; at < index.count; at++) {
            bool keep = check_random(&random) % (round % 2 ? 16 : 2) == 0;
            if (index.lens[at] && !keep) index_free(&index, at);
            if (!index.lens[at] && keep) index_put(&index, at, any_len(&random));
        }
        slab_store_compact(index.store, 2000, meddle, &index);
        index_check(&index);
    }
    CHECK(index.moves > 1000);
    close_store(index.store);
}

enum { CHUNK_OF_64 = 1024 }; /* slots */

static slab_store *noted_store;

static void note_tier(void *context, slab_ref from, slab_ref to, void *value, size_t room)
{
    (void)from, (void)value, (void)room;
    *(slab_ref *)context = slab__store_tier_of(slab__store_line(noted_store, to)) - 1;
}

/* Two tiers have work all the time: each call turns to the other. */
static void compact_takes_turns(void)
{
    static struct value values[4 * CHUNK_OF_64];
    slab_store         *store = open_store(NULL, 0, 0);
    slab_ref            tier  = 7;

    noted_store = store;
    for (uint32_t i = 0; i < 4 * CHUNK_OF_64; i++)
        CHECK_EQ(put_value(store, &values[i], 64 + i % 2 * 64, i), 0);
    for (uint32_t i = 0; i < 4 * CHUNK_OF_64; i++)
        if (i % 16 > 1) CHECK_EQ(slab_store_free(store, values[i].ref, values[i].len), 0);
    for (uint32_t call = 0; call < 6; call++) {
        CHECK_EQ(slab_store_compact(store, 1, note_tier, &tier), 1);
        CHECK_EQ(tier, call % 2);
    }
    close_store(store);
}

/* A store of 64-byte slots with two long chunks at the end: so many values are in the first of
 * them, and in the last, which has fresh slots behind. Compact has moved one. *first, *last: the
 * chunks. */
static slab_store *open_half_full(uint32_t in_first, uint32_t in_last, slab__chunk **first,
                                  slab__chunk **last)
{
    static struct value values[4 * CHUNK_OF_64];
    slab_store         *store = open_store(NULL, 0, 0);
    uint32_t            begin = 0, end = 0;
    slab_ref            tier;

    noted_store = store;
    *first      = NULL;
    for (*last = NULL; !*last; end++) {
        CHECK_EQ(put_value(store, &values[end], 64, end), 0);
        slab__chunk *chunk = chunk_of(store, &values[end]);
        if (!*first && chunk->slots > 900) *first = chunk, begin = end;
        if (*first && chunk != *first) *last = chunk;
    }
    for (uint32_t i = 1; i < in_last; i++) CHECK_EQ(put_value(store, &values[end + i], 64, i), 0);
    CHECK((*last)->slots > 900 && (*first)->slots >= in_first);
    for (uint32_t i = begin + in_first; i < end - 1; i++)
        CHECK_EQ(slab_store_free(store, values[i].ref, 64), 0);
    CHECK_EQ(slab_store_compact(store, 1, note_tier, &tier), 1);
    CHECK_EQ(tier, 0);
    return store;
}

static uint32_t free_slots(const slab_store *store)
{
    return store->tiers[1].slots - store->tiers[1].occupied;
}

/* The victim is the chunk with fresh slots. Later puts use all of it up. */
static void a_victim_with_fresh_slots_is_used_up(void)
{
    slab__chunk *first, *last;
    slab_store  *store = open_half_full(700, 100, &first, &last);
    struct value value;
    uint32_t     slots = store->tiers[1].slots;

    CHECK(store->tiers[1].victim == last);
    for (uint32_t i = free_slots(store); i > 0; i--) CHECK_EQ(put_value(store, &value, 64, i), 0);
    CHECK_EQ(store->tiers[1].slots, slots);
    CHECK_EQ(put_value(store, &value, 64, 1), 0);
    CHECK(store->tiers[1].slots > slots);
    close_store(store);
}

/* The victim is another chunk, and not needed any more: its holes come before fresh slots. */
static void a_spared_victim_before_fresh_slots(void)
{
    slab__chunk *first, *last;
    slab_store  *store = open_half_full(100, 700, &first, &last);
    struct value value;
    slab_ref     tier;

    CHECK(store->tiers[1].victim == first);
    for (uint32_t i = 0; i < 200; i++) CHECK_EQ(put_value(store, &value, 64, i), 0);
    CHECK(chunk_of(store, &value) == last);
    CHECK_EQ(slab_store_compact(store, 1, note_tier, &tier), 0);
    CHECK_EQ(put_value(store, &value, 64, 1), 0);
    CHECK(chunk_of(store, &value) == first);
    close_store(store);
}

/* ---- Memory that ends ---- */

/* A sequence of calls in which each SLAB_MAP fails in turn: that call says so, nothing else has
 * changed, and the next works. How many calls of SLAB_MAP it made. */
static uint64_t run_with_failure(uint64_t failing)
{
    enum { VALUES = 150 };
    static struct value   values[VALUES];
    static const uint32_t tiers[] = {64, 1024, 16384, 65536};
    slab_store           *store   = open_store(tiers, 4, 16 * MIB);
    uint64_t              random = 23, first = maps, failures = 0;

    fail_at = failing ? maps + failing : 0;
    for (uint32_t i = 0; i < VALUES; i++) {
        uint32_t len   = (uint32_t)(check_random(&random) % (i % 5 ? 40000 : 100000));
        size_t   held  = mapped;
        int      error = put_value(store, &values[i], len, i);
        if (error == 0) continue;
        CHECK(mapped <= held);
        CHECK_EQ(error, -ENOMEM);
        CHECK_EQ(values[i].ref, SLAB_NO_REF);
        failures++;
        i--;
    }
    uint64_t calls = maps - first;
    fail_at        = 0;
    /* Unless an empty chunk made up for it, or it was for later. */
    CHECK(failures <= 1);
    for (uint32_t i = 0; i < VALUES; i++) {
        CHECK(is_intact(store, &values[i]));
        CHECK_EQ(slab_store_free(store, values[i].ref, values[i].len), 0);
    }
    CHECK_EQ(stats_of(store).used_bytes, 0);
    CHECK(mapped_most <= 16 * MIB);
    close_store(store);
    return calls;
}
static void failing_maps(void)
{
    uint64_t calls = run_with_failure(0);

    CHECK(calls > 15);
    for (uint64_t failing = 1; failing <= calls; failing++) run_with_failure(failing);
}

/* At max_bytes: -ENOSPC, and what was there stays; room again after a free. */
static void full(void)
{
    enum { ROOM = 20000 };
    static struct value values[ROOM];
    slab_store         *store = open_store(NULL, 0, 2 * MIB);
    struct value        more;
    size_t              count = fill_up(store, 1000, values, ROOM);

    CHECK_EQ(put_value(store, &more, 1000, 1), -ENOSPC);
    CHECK_EQ(more.ref, SLAB_NO_REF);
    CHECK_EQ(put_value(store, &more, 100, 1), -ENOSPC);
    CHECK_EQ(put_value(store, &more, 100000, 1), -ENOSPC);
    CHECK(slab_store_alloc(store, 1000, &more.ref) == NULL);
    CHECK_EQ(slab_store_free(store, values[7].ref, 1000), 0);
    CHECK_EQ(put_value(store, &values[7], 1000, 7), 0);
    for (size_t i = 0; i < count; i++) CHECK(is_intact(store, &values[i]));
    for (size_t i = 0; i < count; i++)
        CHECK_EQ(slab_store_free(store, values[i].ref, values[i].len), 0);
    CHECK_EQ(put_value(store, &more, 100000, 1), 0); /* in the place of empty chunks */
    CHECK(is_intact(store, &more));
    CHECK(mapped_most <= 2 * MIB);
    close_store(store);
}

/* A tier wishes for a chunk of 64 KiB, and there is a run of 20: it is taken before the system is
 * asked. A run of 15 is too short. */
static void a_shorter_chunk_will_do(void)
{
    for (uint32_t kib = 15; kib <= 20; kib += 5) {
        slab_store  *store = open_store(NULL, 0, 0);
        slab_ref     large;
        struct value value;
        while (store->tiers[1].slots < 2 * CHUNK_OF_64 || free_slots(store) > 0)
            CHECK_EQ(put_value(store, &value, 64, 1), 0);
        CHECK(slab_store_alloc(store, 5000, &large) != NULL); /* the chunk of its record, too */
        uint32_t units = 0;
        slab__run run;
        for (units = store->longest[1]; !slab__store_run_find(store, units, SLAB__FRONT, &run);)
            units = store->longest[1];
        CHECK_EQ(store->extent_count, 2); /* and nothing in the first is as long */
        CHECK(slab_store_alloc(store, (units - kib * 2) * 512, &large) != NULL);
        while (slab__store_run_find(store, kib * 2 + 1, SLAB__FRONT, &run))
            CHECK(slab_store_alloc(store, (kib * 2 + 1) * 512, &large) != NULL);
        uint64_t calls = maps;
        fail_at = maps + 1;
        CHECK_EQ(put_value(store, &value, 64, 1), kib < 16 ? -ENOMEM : 0);
        CHECK_EQ(maps - calls, kib < 16);
        fail_at = 0;
        close_store(store);
    }
}

/* A large object above max_bytes does not cost the store its empty extents; one that fits in their
 * place does, and has large pages. */
static void what_cannot_fit_takes_nothing(void)
{
    enum { BUDGET = 128 * MIB };
    static struct value values[2000];
    slab_store         *store = open_store(NULL, 0, BUDGET);
    slab_ref            ref;

    for (uint32_t i = 0; i < 2000; i++) CHECK_EQ(put_value(store, &values[i], 4000, i), 0);
    for (uint32_t i = 0; i < 2000; i++) CHECK_EQ(slab_store_free(store, values[i].ref, 4000), 0);
    size_t held = mapped;
    CHECK(slab_store_alloc(store, BUDGET, &ref) == NULL);
    CHECK_EQ(mapped, held);
    asked_huge = 0;
    CHECK(slab_store_alloc(store, BUDGET - 4 * MIB, &ref) != NULL);
    CHECK_EQ(asked_huge, (size_t)BUDGET - 4 * MIB);
    close_store(store);
}

/* A put that fails at max_bytes: the store has as much of everything as before, and the system was
 * not asked for memory. There is a free chunk, and a large object that needs two. */
static void a_failed_put_changes_nothing(void)
{
    enum { ROOM = 10000, CHUNK = 64 };
    static struct value values[ROOM];
    slab_store         *store = open_store(NULL, 0, 8 * MIB);
    size_t              count = fill_up(store, 1000, values, ROOM);
    struct value        more;

    CHECK(count < ROOM);
    for (int free_chunks = 0; free_chunks < 2; free_chunks++) {
        struct slab_store_info before = stats_of(store);
        uint64_t               calls  = maps;
        for (uint32_t len = 65537; len < 200000; len += 10000)
            CHECK_EQ(put_value(store, &more, len, 1), -ENOSPC);
        for (uint32_t len = 0; len <= 4096 && free_chunks == 0; len += 100)
            CHECK_EQ(put_value(store, &more, len, 1), -ENOSPC);
        CHECK_EQ(maps, calls);
        struct slab_store_info after = stats_of(store);
        CHECK(memcmp(&before, &after, sizeof after) == 0);
        for (size_t i = 0; i < CHUNK && free_chunks == 0; i++)
            CHECK_EQ(slab_store_free(store, values[i].ref, 1000), 0);
    }
    close_store(store);
}

/* The same with every number of pages left behind the last chunk that fits, which shorter values
 * then use up: all but less than the shortest chunk, and a segment of lines. */
static void a_budget_is_used_up(void)
{
    enum { ROOM = 20000, SWEEP = 300 };
    static struct value   values[ROOM];
    static const uint32_t tiers[] = {64, 65536}, lens[] = {65536, 64};

    for (size_t pages = 0; pages < SWEEP; pages++) {
        size_t      budget = 512 * KIB + pages * 4096;
        slab_store *store  = open_store(tiers, 2, budget);
        for (int i = 0; i < 2; i++) {
            CHECK(fill_up(store, lens[i], values, ROOM) < ROOM);
            uint64_t calls = maps;
            for (uint32_t len = 65536; len < 100000; len += 4096)
                CHECK_EQ(put_value(store, values, len, 1), -ENOSPC);
            CHECK_EQ(maps, calls);
        }
        CHECK(budget - mapped + stats_of(store).empty_bytes < (size_t)24 * KIB);
        close_store(store);
    }
}

/* ---- Large objects ---- */

static void large_objects(void)
{
    enum { VALUES = 200 };
    static struct value values[VALUES];
    slab_store         *store  = open_store(NULL, 0, 0);
    uint64_t            random = 29;
    size_t              used   = 0;

    for (uint32_t i = 0; i < VALUES; i++) {
        uint32_t len = 4097 + (uint32_t)(check_random(&random) % 200000);
        CHECK_EQ(put_value(store, &values[i], len, i), 0);
        CHECK(slab_ref_is_large(values[i].ref));
                const unsigned char *bytes =
            (const unsigned char *)slab_store_get(store, values[i].ref, len);
        CHECK(is_zero(bytes + len, (512 - len % 512) % 512));
        CHECK_EQ((uintptr_t)bytes % 64, 0);
        CHECK(slab_store_get(store, values[i].ref, len - 1) == NULL);
        CHECK(slab_store_get(store, values[i].ref, 100) == NULL);
        CHECK_EQ(slab_store_free(store, values[i].ref, len + 1), -ESTALE);
        used += len;
    }
    struct slab_store_info stats = stats_of(store);
    CHECK_EQ(stats.large_count, VALUES);
    CHECK_EQ(stats.used_bytes, used);
    CHECK_EQ(stats.payload_bytes, used);
    CHECK(stats.capacity_bytes >= used && stats.capacity_bytes < used + VALUES * 4096);
    uint32_t highest = values[VALUES - 1].ref & INT32_MAX;
    for (uint32_t i = 0; i < VALUES; i += 2) {
        CHECK_EQ(slab_store_free(store, values[i].ref, values[i].len), 0);
        CHECK_EQ(slab_store_free(store, values[i].ref, values[i].len), -ESTALE);
        CHECK(slab_store_get(store, values[i].ref, values[i].len) == NULL);
    }
    for (uint32_t i = 0; i < VALUES; i += 2) {
        CHECK_EQ(put_value(store, &values[i], 5000 + i, i), 0);
        CHECK((values[i].ref & INT32_MAX) <= highest); /* the ids are used again */
    }
    for (uint32_t i = 0; i < VALUES; i++) CHECK(is_intact(store, &values[i]));
    close_store(store); /* with all of them alive */
}

/* Values above an extent: a few of their mappings are kept for the next ones, and counted as empty;
 * trim and max_bytes take them back. */
static void large_mappings_are_kept(void)
{
    enum { LEN = 3 * MIB, ROOM = 100000 };
    static struct value values[ROOM];
    slab_store         *store = open_store(NULL, 0, 0);
    slab_ref            refs[20];

    CHECK(slab_store_alloc(store, LEN, &refs[0]) != NULL);
    uint64_t calls = maps;
    for (uint32_t i = 0; i < 100; i++) {
        CHECK_EQ(slab_store_free(store, refs[0], LEN), 0);
        CHECK(stats_of(store).empty_bytes >= LEN);
        unsigned char *value = (unsigned char *)slab_store_alloc(store, LEN, &refs[0]);
        CHECK(value && is_zero(value + LEN, (4096 - LEN % 4096) % 4096));
        if (value) memset(value, 1, LEN);
    }
    CHECK_EQ(maps, calls);
    CHECK_EQ(slab_store_free(store, refs[0], LEN), 0);
    unsigned char *shorter = (unsigned char *)slab_store_alloc(store, LEN - 100001, &refs[0]);
    CHECK(shorter && is_zero(shorter + LEN - 100001, 100001));
    CHECK(slab_store_alloc(store, LEN, &refs[1]) != NULL);
    CHECK_EQ(maps, calls + 1); /* the only one was in use */
    for (uint32_t i = 2; i < 20; i++) CHECK(slab_store_alloc(store, LEN, &refs[i]) != NULL);
    size_t before = mapped;
    for (uint32_t i = 1; i < 20; i++) CHECK_EQ(slab_store_free(store, refs[i], LEN), 0);
    CHECK(before - mapped >= (size_t)11 * LEN); /* eight are kept */
    CHECK(stats_of(store).empty_bytes >= (size_t)8 * LEN);
    CHECK(slab_store_trim(store) >= (size_t)8 * LEN);
    CHECK(stats_of(store).empty_bytes < MIB);
    close_store(store);

    store = open_store(NULL, 0, 8 * MIB);
    CHECK(slab_store_alloc(store, LEN, &refs[0]) != NULL);
    CHECK_EQ(slab_store_free(store, refs[0], LEN), 0);
    size_t count = fill_up(store, 100, values, ROOM);
    CHECK(count * 128 > (size_t)8 * MIB / 100 * 97);
    CHECK(mapped_most <= 8 * MIB);
    close_store(store);
}

/* ---- Memory of the caller's choice ---- */

struct arena {
    size_t held;
    size_t given; /* by discard */
    int    answer; /* of discard */
};

static void *arena_map(void *context, size_t size)
{
    struct arena *arena = (struct arena *)context;
    arena->held += size;
    return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}
static void arena_unmap(void *context, void *memory, size_t size)
{
    struct arena *arena = (struct arena *)context;
    arena->held -= size;
    munmap(memory, size);
}
static int arena_discard(void *context, void *memory, size_t size)
{
    struct arena *arena = (struct arena *)context;
    if (arena->answer != 0) return arena->answer;
    memset(memory, 0, size);
    arena->given += size;
    return 0;
}
static void *no_map(void *context, size_t size) { return (void)context, (void)size, NULL; }

/* Each store has its own memory, and its own context. Incomplete hooks are refused. */
static void hooks(void)
{
    struct arena           arenas[3] = {{0, 0, 0}, {0, 0, -1}, {0, 0, 0}};
    slab_store_config      config = {.map = arena_map, .unmap = arena_unmap};
    slab_store            *stores[3];
    static struct value    values[3][1000];
    struct slab_store_info info;
    uint64_t               calls = maps;

    for (uint32_t i = 0; i < 3; i++) {
        config.context = &arenas[i];
        config.discard = i < 2 ? arena_discard : NULL;
        CHECK_EQ(slab_store_create(&stores[i], &config), 0);
        for (uint32_t k = 0; k < 1000; k++)
            CHECK_EQ(put_value(stores[i], &values[i][k], 3000 + k * 3, k), 0);
        for (uint32_t k = 0; k < 1000; k++)
            if (k % 100 != 0)
                CHECK_EQ(slab_store_free(stores[i], values[i][k].ref, 3000 + k * 3), 0);
        size_t held = arenas[i].held, trimmed = slab_store_trim(stores[i]);
        slab_store_stats(stores[i], &info);
        CHECK_EQ(info.held_bytes, arenas[i].held);
        CHECK_EQ(trimmed, held - arenas[i].held + arenas[i].given);
        CHECK_EQ(arenas[i].given > 0, i == 0);
    }
    for (uint32_t i = 0; i < 3; i++) {
        for (uint32_t k = 0; k < 1000; k += 100) CHECK(is_intact(stores[i], &values[i][k]));
        slab_store_destroy(stores[i]);
        CHECK_EQ(arenas[i].held, 0);
    }
    CHECK_EQ(maps, calls); /* the macros served none of them */
    static const slab_store_config bad[] = {{.map = arena_map},
                                            {.unmap = arena_unmap},
                                            {.discard = arena_discard}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_EQ(slab_store_create(&stores[0], &bad[i]), -EINVAL);
        CHECK(stores[0] == NULL);
    }
    config.map = no_map;
    CHECK_EQ(slab_store_create(&stores[0], &config), -ENOMEM);
    CHECK(stores[0] == NULL);
}

/* ---- Small stores ---- */

/* One value in each of 24 tiers, and one large object: a first chunk has 8 KiB. */
static void a_small_store_is_small(void)
{
    uint32_t               tiers[24];
    struct slab_store_info info;
    struct value           value;

    for (uint32_t i = 0; i < 24; i++) tiers[i] = 40 * (i + 1);
    slab_store *store = open_store(tiers, 24, 0);
    for (uint32_t i = 0; i < 24; i++) CHECK_EQ(put_value(store, &value, tiers[i], i), 0);
    info = stats_of(store);
    CHECK(info.capacity_bytes + info.lost_bytes <= 256 * KIB);
    CHECK(info.metadata_bytes <= 24 * KIB);
    CHECK(info.held_bytes <= 384 * KIB);
    CHECK_EQ(put_value(store, &value, 2000, 1), 0);
    CHECK(stats_of(store).metadata_bytes - info.metadata_bytes <= 12 * KIB);
    close_store(store);
}

/* ---- Stats ---- */

static bool is_ratio(double ratio, size_t capacity, size_t used)
{
    double error = ratio * (double)used - (double)capacity;
    return error < 1e-6 * (double)capacity && -error < 1e-6 * (double)capacity;
}

/* A line for each chunk, and one for each 448 slots behind the first 192. */
static size_t metadata_of(const slab_store *store, uint32_t tier)
{
    size_t bytes = 0;

    for (uint32_t number = 0; number < store->segment_capacity * SLAB__SEGMENT; number++) {
        if (!store->segments[number / SLAB__SEGMENT]) continue;
        const slab__chunk *chunk = slab__store_chunk(store, number);
        if (chunk->base % 512 != SLAB__MARK_FIRST + tier + 2) continue;
        bytes += 64 + (chunk->slots > 192 ? 64 * ((size_t)(chunk->slots - 192 + 447) / 448) : 0);
    }
    return bytes;
}

static void stats(void)
{
    enum { VALUES = 20000 };
    static struct value    values[VALUES];
    slab_store            *store      = open_store(NULL, 0, 0);
    uint64_t               random     = 31;
    size_t                 payload[8] = {0}, count[8] = {0};
    struct slab_tier_info  tier;
    struct slab_store_info all = stats_of(store);

    CHECK_EQ(all.tier_count, 7);
    CHECK(all.fragmentation_ratio == 0.0);
    CHECK_EQ(all.capacity_bytes, 0);
    CHECK_EQ(all.metadata_bytes, all.held_bytes);
    for (uint32_t i = 0; i < VALUES; i++) {
        CHECK_EQ(put_value(store, &values[i], (uint32_t)(check_random(&random) % 5000), i), 0);
        if (i % 3 == 0) {
            CHECK_EQ(slab_store_free(store, values[i].ref, values[i].len), 0);
            continue;
        }
        uint32_t at = 0;
        while (at < 7 && values[i].len > UINT32_C(64) << at) at++;
        payload[at] += values[i].len;
        count[at]++;
    }
    size_t capacity = 0, used = 0, sum = payload[7], metadata = 0;
    for (uint32_t at = 0; at < 7; at++) {
        CHECK_EQ(slab_store_tier_stats(store, at, &tier), 0);
        CHECK_EQ(tier.slot_size, UINT32_C(64) << at);
        CHECK_EQ(tier.occupied_slots, count[at]);
        CHECK_EQ(tier.payload_bytes, payload[at]);
        CHECK_EQ(tier.occupied_bytes, count[at] * tier.slot_size);
        CHECK_EQ(tier.capacity_bytes, (size_t)tier.total_slots * tier.slot_size);
        CHECK(tier.total_slots >= tier.occupied_slots);
        CHECK_EQ(tier.metadata_bytes, metadata_of(store, at));
        CHECK(is_ratio(tier.fragmentation_ratio, tier.capacity_bytes, tier.occupied_bytes));
        capacity += tier.capacity_bytes;
        used += tier.occupied_bytes;
        sum += tier.payload_bytes;
        metadata += tier.metadata_bytes;
    }
    all = stats_of(store);
    CHECK_EQ(all.large_count, count[7]);
    CHECK_EQ(all.payload_bytes, sum);
    CHECK_EQ(all.used_bytes, used + payload[7]);
    CHECK(all.capacity_bytes >= capacity + payload[7]);
    CHECK(all.metadata_bytes > metadata);
    CHECK(is_ratio(all.fragmentation_ratio, all.capacity_bytes, all.used_bytes));
    close_store(store);
}

/* At full load, in the smallest slots of the default tiers and in others. */
static void metadata_share(void)
{
    enum { ROOM = 1 << 20, BUDGET = 64 * MIB };
    static struct value values[ROOM];
    static const struct {
        uint32_t slot, permille;
    } rows[] = {{64, 10}, {4096, 10}, {16, 13}, {24, 14}, {32, 10}};

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t                 budget = rows[i].slot < 64 ? BUDGET / 4 : BUDGET;
        slab_store            *store  = open_store(i < 2 ? NULL : &rows[i].slot, 1, budget);
        size_t                 count  = fill_up(store, rows[i].slot, values, ROOM);
        struct slab_store_info info   = stats_of(store);
        if (count == ROOM) CHECK(false);
        CHECK(info.metadata_bytes * 1000 < info.capacity_bytes * rows[i].permille);
        CHECK(info.held_bytes > budget / 100 * 99);
        close_store(store);
    }
}

int main(void)
{
    RUN(create_refuses);
    RUN(create_least);
    RUN(lengths);
    RUN(null_pointers);
    RUN(get_writes_nothing);
    RUN(too_long);
    RUN(forged_refs);
    RUN(freed_before_fresh);
    RUN(growth);
    RUN(all_slots_named);
    RUN(no_calcification);
    RUN(an_empty_chunk_serves_any_tier);
    RUN(trim);
    RUN(compact_at_once);
    RUN(compact_by_little);
    RUN(compact_under_load);
    RUN(compact_with_meddling);
    RUN(compact_takes_turns);
    RUN(a_victim_with_fresh_slots_is_used_up);
    RUN(a_spared_victim_before_fresh_slots);
    RUN(failing_maps);
    RUN(a_shorter_chunk_will_do);
    RUN(what_cannot_fit_takes_nothing);
    RUN(full);
    RUN(a_failed_put_changes_nothing);
    RUN(a_budget_is_used_up);
    RUN(large_objects);
    RUN(large_mappings_are_kept);
    RUN(hooks);
    RUN(a_small_store_is_small);
    RUN(stats);
    RUN(metadata_share);
    return REPORT();
}
