/* Goal: every public function of slab_pool does what slab.h says, in one thread.
 * Method: call each, in every state a page can be in; count what must be conserved. A returner that
 * dies between its two steps is played by calling the first step alone. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/mman.h>

static void *test_map(size_t size);
static void  test_unmap(void *memory, size_t size);
#define SLAB_MAP(size)           test_map(size)
#define SLAB_UNMAP(memory, size) test_unmap(memory, size)
#define SLAB_IMPLEMENTATION
#include "../../slab.h"

#include "../check.h"

/* Mappings still there, and how many more succeed before one fails (-1: all do). */
static int maps, maps_left = -1;

static void *test_map(size_t size)
{
    if (maps_left == 0) return NULL;
    if (maps_left > 0) maps_left--;
    maps++;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static void test_unmap(void *memory, size_t size)
{
    maps--;
    munmap(memory, size);
}

static slab_pool *make(uint16_t core, uint32_t page_size, uint32_t page_count)
{
    slab_pool_config config = {.core = core, .page_size = page_size, .page_count = page_count};
    slab_pool       *pool   = NULL;
    CHECK_EQ(slab_pool_create(&pool, &config), 0);
    if (!pool) exit(1);
    return pool;
}

static uint32_t available(const slab_pool *pool)
{
    struct slab_pool_info info;
    slab_pool_stats(pool, &info);
    return info.available;
}

static uint64_t refused(const slab_pool *pool)
{
    struct slab_pool_info info;
    slab_pool_stats(pool, &info);
    return info.refused;
}

static void defaults(void)
{
    slab_pool            *pool;
    struct slab_pool_info info;
    slab_id               id;

    CHECK_EQ(slab_pool_create(&pool, NULL), 0);
    slab_pool_stats(pool, &info);
    CHECK_EQ(info.page_count, 256);
    CHECK_EQ(info.available, 256);
    CHECK_EQ(info.allocs, 0);
    CHECK(info.utilization == 0.0);
    CHECK(slab_pool_alloc(pool, 65536, &id) != NULL);
    CHECK_EQ(id.core, 0);
    CHECK(slab_pool_alloc(pool, 65537, &id) == NULL);
    slab_pool_stats(pool, &info);
    CHECK(info.utilization == 1.0 / 256);
    CHECK_EQ(slab_pool_destroy(pool), 1);
    CHECK_EQ(maps, 0);
}

static void footprint_holds_the_pool_and_no_less(void)
{
    static const uint32_t sizes[]  = {64, 128, 4032, 4096, 65536, 1 << 20};
    static const uint32_t counts[] = {1, 7, 256, 4096};

    CHECK_EQ(slab_pool_footprint(NULL), slab_pool_footprint(&(slab_pool_config){0}));
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t j = 0; j < sizeof counts / sizeof *counts; j++) {
            slab_pool_config config = {.page_size = sizes[i], .page_count = counts[j]};
            size_t           pages  = (size_t)sizes[i] * counts[j];
            size_t           size   = slab_pool_footprint(&config);
            if ((uint64_t)sizes[i] * counts[j] > SIZE_MAX / 4) continue; /* 4 GiB, in 32 bits */
            CHECK_EQ(size % 4096, 0);
            CHECK(size > pages && size < pages + 12 * counts[j] + 2 * 4096);

            slab_pool *pool;
            config.memory =
                mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            config.memory_size = size - 1;
            CHECK_EQ(slab_pool_create(&pool, &config), -EINVAL);
            config.memory_size = size;
            CHECK_EQ(slab_pool_create(&pool, &config), 0);
            slab_id        id;
            unsigned char *first = config.memory;
            for (uint32_t page = 0; page < counts[j]; page++) {
                unsigned char *payload = slab_pool_alloc(pool, sizes[i], &id);
                CHECK(payload > first && payload + sizes[i] <= first + size);
                if (payload) payload[0] = payload[sizes[i] - 1] = 1;
            }
            CHECK_EQ(slab_pool_destroy(pool), counts[j]);
            munmap(config.memory, size);
        }
}

static void put_read_return(void)
{
    slab_pool *pool = make(7, 128, 4);
    slab_id    id;
    size_t     len = 99;

    CHECK_EQ(slab_pool_put(pool, "hello", 6, &id), 0);
    CHECK_EQ(id.core, 7);
    const char *payload = slab_pool_read(pool, id, &len);
    CHECK(payload && strcmp(payload, "hello") == 0);
    CHECK_EQ(len, 6);
    CHECK_EQ(slab_pool_return(pool, id), 0);
    CHECK(slab_pool_read(pool, id, &len) == NULL);
    CHECK_EQ(slab_pool_return(pool, id), -ESTALE);
    CHECK_EQ(slab_pool_put(pool, NULL, 0, &id), 0);
    CHECK(slab_pool_read(pool, id, &len) != NULL);
    CHECK_EQ(len, 0);
    CHECK_EQ(slab_pool_destroy(pool), 1);
}

static void alloc_copies_nothing(void)
{
    slab_pool *pool = make(0, 192, 5);
    slab_id    id;
    size_t     len;

    for (int i = 0; i < 5; i++) {
        unsigned char *payload = slab_pool_alloc(pool, 192, &id);
        CHECK_EQ((uintptr_t)payload % 64, 0);
        memset(payload, i, 192);
        CHECK(slab_pool_read(pool, id, &len) == payload);
        CHECK_EQ(len, 192);
    }
    slab_pool_destroy(pool);
}

static void set_len_corrects_a_live_page(void)
{
    slab_pool *pool = make(0, 128, 2);
    slab_id    id;
    size_t     len;

    char *payload = slab_pool_alloc(pool, 128, &id);
    memset(payload, 'x', 128);
    for (size_t want = 0; want <= 128; want++) {
        CHECK_EQ(slab_pool_set_len(pool, id, want), 0);
        CHECK(slab_pool_read(pool, id, &len) == payload);
        CHECK_EQ(len, want);
    }
    CHECK_EQ(slab_pool_set_len(pool, id, 129), -EMSGSIZE);
    slab_pool_read(pool, id, &len);
    CHECK_EQ(len, 128);
    slab_pool_return(pool, id);
    CHECK_EQ(slab_pool_set_len(pool, id, 1), -ESTALE);
    slab_pool_drain(pool);
    CHECK_EQ(slab_pool_set_len(pool, id, 1), -ESTALE);
    CHECK_EQ(slab_pool_destroy(pool), 0);
}

static void free_ends_a_life_at_once(void)
{
    slab_pool *pool = make(0, 64, 1);
    slab_id    id, next;
    size_t     len;

    slab_pool_put(pool, "a", 1, &id);
    CHECK_EQ(slab_pool_free(pool, id), 0);
    CHECK(slab_pool_read(pool, id, &len) == NULL);
    CHECK_EQ(slab_pool_free(pool, id), -ESTALE);
    CHECK_EQ(slab_pool_return(pool, id), -ESTALE);
    CHECK_EQ(slab_pool_put(pool, "b", 1, &next), 0);
    CHECK(next.gen != id.gen);
    CHECK_EQ(slab_pool_free(pool, id), -ESTALE);
    CHECK_EQ(slab_pool_return(pool, id), -ESTALE);
    CHECK_EQ(slab_pool_return(pool, next), 0);
    CHECK_EQ(slab_pool_free(pool, next), -ESTALE); /* returned, not drained yet */
    CHECK_EQ(refused(pool), 5);
    CHECK_EQ(slab_pool_drain(pool), 1);
    CHECK_EQ(slab_pool_free(pool, next), -ESTALE);
    CHECK_EQ(slab_pool_destroy(pool), 0);
}

static void an_even_generation_is_no_id(void)
{
    slab_pool *pool = make(0, 64, 2);
    slab_id    id, even;
    size_t     len = 7;

    slab_pool_put(pool, "x", 1, &id);
    even =
        (slab_id){id.core, id.page, id.gen + 1}; /* what the shared generation is after a return */
    CHECK_EQ(slab_pool_return(pool, even), -ESTALE);
    CHECK_EQ(slab_pool_return(pool, id), 0);
    CHECK_EQ(slab_pool_return(pool, even), -ESTALE);
    CHECK_EQ(slab_pool_free(pool, even), -ESTALE);
    CHECK(slab_pool_read(pool, even, &len) == NULL);
    CHECK_EQ(len, 0);
    CHECK_EQ(slab_pool_drain(pool), 1);
    CHECK_EQ(slab_pool_return(pool, even), -ESTALE);
    CHECK_EQ(slab_pool_destroy(pool), 0);
}

/* 480 lives of 8 bytes end where the first page begins: what is written there is not a life. */
static void a_page_is_not_a_life(void)
{
    slab_pool *pool = make(0, 64, 480);
    slab_id    id;
    size_t     len;

    for (int i = 0; i < 480; i++) {
        uint32_t *payload = slab_pool_alloc(pool, 64, &id);
        payload[0]        = 1;
        payload[1]        = 1;
    }
    CHECK((unsigned char *)&pool->lives[480] == slab__pool_page(pool, 0));
    CHECK(slab_pool_read(pool, (slab_id){0, 480, 1}, &len) == NULL);
    CHECK_EQ(slab_pool_return(pool, (slab_id){0, 480, 1}), -EINVAL);
    CHECK_EQ(slab_pool_destroy(pool), 480);
}

static void every_page_once_then_none(void)
{
    static const uint32_t counts[] = {1,  2,   3,   7,   8,    9,    31,   63,    64,
                                      65, 255, 256, 257, 4095, 4096, 4097, 65535, 65536};

    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        uint32_t       count = counts[c];
        slab_pool     *pool  = make(3, 64, count);
        slab_id       *ids   = calloc(count, sizeof *ids);
        unsigned char *seen  = calloc(count, 1);
        slab_id        none;

        for (int round = 0; round < 3; round++) {
            memset(seen, 0, count);
            for (uint32_t i = 0; i < count; i++) {
                uint32_t *payload = slab_pool_alloc(pool, 4, &ids[i]);
                CHECK(payload != NULL && ids[i].page < count && !seen[ids[i].page]);
                if (!payload) continue;
                seen[ids[i].page] = 1;
                *payload          = i;
            }
            CHECK(slab_pool_alloc(pool, 4, &none) == NULL);
            CHECK(none.core == 0 && none.page == 0 && none.gen == 0);
            CHECK_EQ(slab_pool_put(pool, "x", 1, &none), -ENOBUFS);
            CHECK_EQ(available(pool), 0);
            for (uint32_t i = 0; i < count; i++) {
                size_t          len;
                const uint32_t *payload = slab_pool_read(pool, ids[i], &len);
                CHECK(payload && *payload == i && len == 4);
                CHECK_EQ(slab_pool_return(pool, ids[i]), 0);
            }
            CHECK_EQ(available(pool), count);
            if (round == 1) CHECK_EQ(slab_pool_drain(pool), count); /* else alloc does */
            if (round == 1) CHECK_EQ(slab_pool_drain(pool), 0);
        }
        free(ids);
        free(seen);
        CHECK_EQ(slab_pool_destroy(pool), 0);
    }
}

static void drain_finds_each_return(void)
{
    enum { COUNT = 5000 };
    slab_pool     *pool = make(0, 64, COUNT);
    static slab_id ids[COUNT];

    for (int i = 0; i < COUNT; i++) slab_pool_put(pool, "x", 1, &ids[i]);
    for (int i = 0; i < COUNT; i++) {
        slab_id id = ids[(i * 1237) % COUNT]; /* 1237 and 5000 share no factor: every page once */
        CHECK_EQ(slab_pool_drain(pool), 0);
        CHECK_EQ(slab_pool_return(pool, id), 0);
        CHECK_EQ(slab_pool_drain(pool), 1);
        CHECK_EQ(available(pool), i + 1);
    }
    for (int i = 0; i < SLAB__HINT_WORDS; i++) CHECK_EQ(atomic_load(&pool->shared->hints[i]), 0);
    CHECK_EQ(slab_pool_destroy(pool), 0);
}

/* The first of a return's two steps alone: what a returner leaves that was killed between them. */
static void a_dead_returners_page_is_found(void)
{
    slab_pool *pool = make(0, 64, 100);
    slab_id    ids[100], id;
    size_t     len;

    for (int i = 0; i < 100; i++) slab_pool_put(pool, "x", 1, &ids[i]);
    CHECK_EQ(slab__pool_end_life(pool, slab__pool_name_of(ids[41])), 0);
    CHECK(slab_pool_read(pool, ids[41], &len) == NULL);
    CHECK_EQ(available(pool), 0);
    CHECK_EQ(slab_pool_drain(pool), 0);
    CHECK(slab_pool_alloc(pool, 1, &id) != NULL);
    CHECK_EQ(id.page, ids[41].page);

    CHECK_EQ(slab__pool_end_life(pool, slab__pool_name_of(ids[99])), 0);
    CHECK_EQ(slab_pool_want(pool), false);
    CHECK(slab_pool_alloc(pool, 1, &id) != NULL);
    CHECK_EQ(id.page, ids[99].page);

    CHECK_EQ(slab__pool_end_life(pool, slab__pool_name_of(id)), 0);
    CHECK_EQ(slab_pool_return(pool, ids[0]), 0); /* a neighbour's drain does not take it twice */
    CHECK(slab_pool_alloc(pool, 1, &id) != NULL);
    CHECK(slab_pool_alloc(pool, 1, &id) != NULL);
    CHECK(slab_pool_alloc(pool, 1, &id) == NULL);
    CHECK_EQ(slab_pool_destroy(pool), 100);
}

static void return_many_tells_how_many_were_live(void)
{
    enum { COUNT = 3000 };
    slab_pool     *pool = make(1, 64, COUNT);
    static slab_id ids[COUNT + 4];
    bool           wake = true;

    CHECK_EQ(slab_pool_return_many(pool, NULL, 0, &wake), 0);
    CHECK_EQ(wake, false);
    for (int i = 0; i < COUNT; i++) slab_pool_put(pool, "x", 1, &ids[i]);
    slab_pool_return(pool, ids[5]);
    ids[COUNT]     = ids[17];                     /* twice in one call */
    ids[COUNT + 1] = (slab_id){0, 1, ids[1].gen}; /* foreign */
    ids[COUNT + 2] = (slab_id){1, COUNT, 3};      /* no such page */
    ids[COUNT + 3] = (slab_id){0};
    CHECK_EQ(slab_pool_return_many(pool, ids, 16, &wake), 15);
    CHECK_EQ(slab_pool_return_many(pool, ids, COUNT + 4, &wake), COUNT - 16);
    CHECK_EQ(wake, false);
    CHECK_EQ(refused(pool), 1 + 16 + 4);
    CHECK_EQ(slab_pool_drain(pool), COUNT);
    CHECK_EQ(slab_pool_destroy(pool), 0);
}

static void want_is_answered_once(void)
{
    slab_pool *pool = make(0, 64, 4);
    slab_id    ids[4];
    bool       wake;

    for (int i = 0; i < 4; i++) {
        CHECK_EQ(slab_pool_want(pool), false); /* a page is free */
        slab_pool_put(pool, "x", 1, &ids[i]);
    }
    CHECK_EQ(slab_pool_want(pool), true);
    CHECK_EQ(slab_pool_return(pool, (slab_id){9, 0, 1}), -EINVAL); /* takes no wake-up with it */
    CHECK_EQ(slab_pool_return(pool, ids[0]), SLAB_WAKE_OWNER);
    CHECK_EQ(slab_pool_return(pool, ids[0]), -ESTALE);
    CHECK_EQ(slab_pool_return(pool, ids[1]), 0);
    CHECK_EQ(slab_pool_want(pool), false); /* given back already, and now recycled */
    CHECK_EQ(slab_pool_return(pool, ids[2]), 0);
    slab_pool_put(pool, "x", 1, &ids[0]);
    slab_pool_put(pool, "x", 1, &ids[1]);
    slab_pool_put(pool, "x", 1, &ids[2]);
    CHECK_EQ(slab_pool_want(pool), true);
    CHECK_EQ(slab_pool_want(pool), true); /* asking again is allowed */
    CHECK_EQ(slab_pool_return_many(pool, ids, 0, &wake), 0);
    CHECK_EQ(wake, false);
    CHECK_EQ(slab_pool_return_many(pool, ids, 3, &wake), 3);
    CHECK_EQ(wake, true);
    CHECK_EQ(slab_pool_return_many(pool, &ids[3], 1, &wake), 1);
    CHECK_EQ(wake, false);
    CHECK_EQ(slab_pool_destroy(pool), 0);
}

static void the_callers_memory_may_hold_anything(void)
{
    slab_pool_config config = {.core = 5, .page_size = 256, .page_count = 77};
    uint64_t         random = 1;
    slab_pool       *pool, *view;
    slab_id          ids[77];

    config.memory_size    = slab_pool_footprint(&config);
    config.memory         = aligned_alloc(4096, config.memory_size);
    unsigned char *memory = config.memory;
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < config.memory_size; i++)
            memory[i] = (unsigned char)check_random(&random);
        CHECK_EQ(slab_pool_create(&pool, &config), 0);
        for (int i = 0; i < SLAB__HINT_WORDS; i++)
            CHECK_EQ(atomic_load(&pool->shared->hints[i]), 0);
        CHECK_EQ(atomic_load(&pool->shared->wanted), 0);
        CHECK_EQ(available(pool), 77);
        CHECK_EQ(refused(pool), 0);
        CHECK_EQ(slab_pool_drain(pool), 0);
        for (int i = 0; i < 77; i++) CHECK_EQ(atomic_load(&pool->lives[i].gen), 0);
        for (int i = 0; i < 77; i++) CHECK_EQ(slab_pool_put(pool, "abc", 4, &ids[i]), 0);
        CHECK_EQ(slab_pool_return(pool, ids[round]), 0);
        CHECK_EQ(slab_pool_destroy(pool), 76);
        CHECK_EQ(slab_pool_attach(&view, memory, config.memory_size), -EINVAL);
        memset(memory, round, config.memory_size); /* left usable: all of it can be written */
    }
    free(config.memory);
}

static void a_view_reads_and_returns_and_owns_nothing(void)
{
    slab_pool_config config = {.core = 2, .page_size = 128, .page_count = 9};
    slab_pool       *pool, *view;
    slab_id          id, other;
    size_t           len;
    bool             wake;

    config.memory_size = slab_pool_footprint(&config);
    config.memory      = aligned_alloc(4096, config.memory_size);
    CHECK_EQ(slab_pool_create(&pool, &config), 0);
    CHECK_EQ(slab_pool_attach(&view, config.memory, config.memory_size), 0);

    slab_pool_put(pool, "shared", 7, &id);
    const char *payload = slab_pool_read(view, id, &len);
    CHECK(payload && strcmp(payload, "shared") == 0 && len == 7);
    CHECK(slab_pool_alloc(view, 1, &other) == NULL);
    CHECK_EQ(slab_pool_put(view, "x", 1, &other), -ENOBUFS);
    CHECK_EQ(slab_pool_free(view, id), -EINVAL);
    CHECK_EQ(slab_pool_set_len(view, id, 1), -EINVAL);
    CHECK_EQ(slab_pool_want(view), false);
    CHECK_EQ(available(view), 0);
    CHECK_EQ(refused(view), 1);
    CHECK_EQ(slab_pool_return(view, id), 0);
    CHECK_EQ(slab_pool_drain(view), 0);
    CHECK_EQ(slab_pool_destroy(view), 0); /* not its business: nothing happens */
    slab_pool_detach(pool);               /* likewise */
    CHECK_EQ(slab_pool_return(view, id), -ESTALE);
    CHECK_EQ(slab_pool_drain(pool), 1);
    slab_pool_put(pool, "again", 6, &id);
    CHECK_EQ(slab_pool_return_many(view, &id, 1, &wake), 1);
    slab_pool_detach(view);
    CHECK_EQ(slab_pool_destroy(pool), 0);
    free(config.memory);
    CHECK_EQ(maps, 0);
}

static void stats_count_what_happened(void)
{
    slab_pool            *pool = make(0, 64, 10);
    struct slab_pool_info info;
    slab_id               ids[10];

    for (int i = 0; i < 5; i++) slab_pool_put(pool, "x", 1, &ids[i]);
    slab_pool_return(pool, ids[0]); /* waits for a drain */
    slab_pool_free(pool, ids[1]);
    slab_pool_return(pool, ids[1]);
    slab_pool_stats(pool, &info);
    CHECK_EQ(info.page_count, 10);
    CHECK_EQ(info.available, 7);
    CHECK_EQ(info.allocs, 5);
    CHECK_EQ(info.refused, 1);
    CHECK(info.utilization > 0.299 && info.utilization < 0.301);
    slab_pool_drain(pool);
    CHECK_EQ(available(pool), 7);
    CHECK_EQ(slab_pool_destroy(pool), 3);
}

static uint32_t peak(const slab_pool *pool)
{
    struct slab_pool_info info;
    slab_pool_stats(pool, &info);
    return info.peak;
}

static void the_peak_is_the_most_pages_out(void)
{
    for (int stats_between = 0; stats_between < 2; stats_between++) {
        slab_pool *pool = make(0, 64, 10);
        slab_id    ids[10];

        CHECK_EQ(peak(pool), 0);
        for (uint32_t i = 0; i < 4; i++) {
            slab_pool_put(pool, "x", 1, &ids[i]);
            if (stats_between) CHECK_EQ(peak(pool), i + 1);
        }
        for (int i = 0; i < 3; i++) slab_pool_free(pool, ids[i]);
        for (int i = 0; i < 100; i++) { /* 2 out at a time */
            slab_pool_put(pool, "x", 1, &ids[0]);
            slab_pool_free(pool, ids[0]);
        }
        CHECK_EQ(peak(pool), 4);
        for (int i = 0; i < 3; i++) slab_pool_put(pool, "x", 1, &ids[i]);
        CHECK_EQ(peak(pool), 4);
        slab_pool_put(pool, "x", 1, &ids[4]);
        CHECK_EQ(peak(pool), 5);
        slab_pool_return(pool, ids[4]); /* is out until it is recycled */
        if (stats_between) CHECK_EQ(available(pool), 6);
        slab_pool_put(pool, "x", 1, &ids[4]);
        CHECK_EQ(peak(pool), stats_between ? 5 : 6);
        slab_pool_destroy(pool);
    }
}

/* A gauge is read often: it may look at no page that has not come back. The words that are not in
 * use are noise to a look, which would recycle their pages. */
static void stats_look_only_where_a_page_came_back(void)
{
    slab_pool *pool = make(0, 64, 512); /* 64 groups */
    slab_id    ids[512];

    for (int i = 0; i < 512; i++) slab_pool_put(pool, "x", 1, &ids[i]);
    for (int i = 8; i < 512; i++) atomic_fetch_add(&pool->lives[i].gen, 1);
    CHECK_EQ(available(pool), 0);
    CHECK_EQ(slab_pool_return(pool, ids[3]), 0);
    CHECK_EQ(available(pool), 1);
    CHECK_EQ(available(pool), 1);
    CHECK_EQ(slab_pool_return(pool, ids[4]), 0);
    CHECK_EQ(slab_pool_drain(pool), 2); /* the one that stats recycled, and one more */
    CHECK_EQ(slab_pool_drain(pool), 0);
    for (int i = 8; i < 512; i++) atomic_fetch_sub(&pool->lives[i].gen, 1);
    CHECK_EQ(slab_pool_destroy(pool), 510);
}

static void base_is_where_the_pages_are(void)
{
    slab_pool_config config = {.core = 1, .page_size = 192, .page_count = 5};
    slab_pool       *pool, *view;
    uint32_t         size = 1, count = 1;
    slab_id          id;

    config.memory_size = slab_pool_footprint(&config);
    config.memory      = aligned_alloc(4096, config.memory_size);
    CHECK_EQ(slab_pool_create(&pool, &config), 0);
    CHECK_EQ(slab_pool_attach(&view, config.memory, config.memory_size), 0);
    for (int i = 0; i < 5; i++) {
        unsigned char *payload = slab_pool_alloc(pool, 1, &id);
        CHECK((unsigned char *)slab_pool_base(pool, &size, &count) + id.page * 192 == payload);
    }
    CHECK_EQ(size, 192);
    CHECK_EQ(count, 5);
    size = count = 1;
    CHECK(slab_pool_base(view, &size, &count) == slab_pool_base(pool, NULL, NULL));
    CHECK(size == 192 && count == 5);
    CHECK(slab_pool_base(NULL, &size, &count) == NULL);
    CHECK(size == 0 && count == 0);
    slab_pool_detach(view);
    CHECK_EQ(slab_pool_destroy(pool), 5);
    free(config.memory);
}

static void an_id_is_one_word(void)
{
    slab_id  id = {0x1234, 0x5678, 0x9abcdef1}, back = slab_id_unpack(slab_id_pack(id));
    uint64_t word;

    memcpy(&word, &id, sizeof word);
    CHECK_EQ(slab_id_pack(id), word);
    CHECK(back.core == id.core && back.page == id.page && back.gen == id.gen);
    CHECK_EQ(slab_id_pack((slab_id){0, 0, 0}), 0);
    back = slab_id_unpack(0);
    CHECK(back.core == 0 && back.page == 0 && back.gen == 0);
}

/* A record for each page: which id is out. Each end of a life must be told once, by any call. */
enum { RECORDS = 20 };
static slab_id  record[RECORDS];
static uint64_t told;

static void ended(void *context, slab_id id)
{
    CHECK(context == &record);
    CHECK(id.page < RECORDS && record[id.page].gen == id.gen && record[id.page].core == id.core);
    record[id.page].gen = 0;
    told++;
}

static void each_recycled_id_is_told_once(void)
{
    slab_pool_config config = {
        .core = 3, .page_size = 64, .page_count = RECORDS, .lends = true};
    uint64_t         random = 1, ended_by_return = 0;
    slab_pool       *pool;
    slab_id          id;

    config.recycled = ended;
    config.context  = &record;
    memset(record, 0, sizeof record);
    told = 0;
    CHECK_EQ(slab_pool_create(&pool, &config), 0);
    CHECK_EQ(told, 0); /* no page has had a life yet */
    for (int step = 0; step < 100000; step++) {
        uint64_t r    = check_random(&random);
        slab_id *pick = &record[(r >> 32) % RECORDS];
        switch (r % 8) {
        case 0:
        case 1:
        case 2:
            if (!slab_pool_alloc(pool, 1, &id)) break;
            CHECK_EQ(record[id.page].gen, 0); /* told before the page is handed out again */
            record[id.page] = id;
            break;
        case 3:
            if (pick->gen == 0) break;
            if (slab_pool_free(pool, *pick) == 0) pick->gen = 0;
            break;
        case 4:
            slab_pool_drain(pool);
            if (pick->gen != 0) slab_pool_lend(pool, *pick, 1);
            if (r % 5 == 0) ended_by_return += slab_pool_reap(pool, 1);
            break;
        case 5:
            slab_pool_want(pool);
            CHECK(available(pool) <= RECORDS);
            break;
        default:
            ended_by_return += pick->gen != 0 && slab_pool_return(pool, *pick) >= 0;
        }
    }
    slab_pool_drain(pool);
    CHECK_EQ(told, ended_by_return);
    CHECK(told > 1000);
    slab_pool_destroy(pool);
}

/* An owner that ends without destroy: only its private part is gone. */
static void leave(slab_pool *pool)
{
    test_unmap(pool, pool->private_size);
}

static void reap_takes_what_is_lent_to_the_peer(void)
{
    enum { COUNT = 30, PEERS = 3 };
    slab_pool_config config = {.core = 3, .page_size = 64, .page_count = COUNT, .lends = true};
    slab_pool       *pool, *view;
    slab_id          ids[COUNT], next;

    CHECK(slab_pool_footprint(&config) >
          slab__pool_pages_offset(COUNT, sizeof(slab__pool_life)) + COUNT * 64);
    config.memory_size = slab_pool_footprint(&config);
    config.memory      = aligned_alloc(4096, config.memory_size);
    for (size_t i = 0; i < config.memory_size / 8; i++) /* what may pass for loans of first lives */
        ((uint64_t *)config.memory)[i] = UINT64_C(1) << 32;
    CHECK_EQ(slab_pool_create(&pool, &config), 0);
    CHECK_EQ(slab_pool_attach(&view, config.memory, config.memory_size), 0);
    CHECK(slab_pool_base(view, NULL, NULL) == slab_pool_base(pool, NULL, NULL));
    for (uint32_t i = 0; i < COUNT; i++) {
        CHECK_EQ(slab_pool_put(pool, "lent", 5, &ids[i]), 0);
        CHECK_EQ(slab_pool_peer(pool, ids[i]), SLAB_NO_PEER);
        CHECK_EQ(slab_pool_lend(i & 1 ? pool : view, ids[i], i % PEERS), 0);
        CHECK_EQ(slab_pool_peer(view, ids[i]), i % PEERS);
    }
    CHECK_EQ(slab_pool_reap(pool, PEERS), 0);
    CHECK_EQ(slab_pool_reap(pool, SLAB_NO_PEER), 0);
    CHECK_EQ(slab_pool_reap(view, 0), 0);
    CHECK_EQ(slab_pool_return(view, ids[0]), 0); /* two of the pages of peer 0 */
    CHECK_EQ(slab_pool_free(pool, ids[3]), 0);
    CHECK_EQ(slab_pool_lend(view, ids[6], 1), 0); /* one goes on to another */
    CHECK_EQ(slab_pool_lend(view, ids[9], SLAB_NO_PEER), 0);
    CHECK_EQ(slab_pool_lend(pool, ids[0], 2), -ESTALE);
    CHECK_EQ(slab_pool_lend(pool, ids[3], 2), -ESTALE);
    CHECK_EQ(slab_pool_peer(pool, ids[0]), SLAB_NO_PEER);
    CHECK_EQ(slab_pool_reap(pool, 0), COUNT / PEERS - 4);
    CHECK_EQ(slab_pool_reap(pool, 0), 0);
    CHECK_EQ(available(pool), COUNT / PEERS - 2); /* all but 6 and 9 */
    CHECK_EQ(slab_pool_drain(pool), 1);           /* the one returned */
    for (uint32_t i = 0; i < COUNT; i += PEERS)
        CHECK_EQ(slab_pool_return(view, ids[i]), i == 6 ? 0 : i == 9 ? 0 : -ESTALE);
    CHECK_EQ(slab_pool_reap(pool, 1), COUNT / PEERS);

    /* The next lives are not lent, though their pages were. */
    while (slab_pool_alloc(pool, 1, &next)) CHECK_EQ(slab_pool_peer(pool, next), SLAB_NO_PEER);
    CHECK_EQ(slab_pool_reap(pool, 0), 0);
    CHECK_EQ(slab_pool_reap(pool, 1), 0);
    CHECK_EQ(available(pool), 0);
    CHECK_EQ(slab_pool_reap(pool, 2), COUNT / PEERS);
    CHECK_EQ(slab_pool_reap(pool, SLAB_NO_PEER), COUNT - COUNT / PEERS);
    CHECK_EQ(slab_pool_lend(pool, (slab_id){3, 1, 0}, 1), -ESTALE);
    CHECK_EQ(slab_pool_lend(pool, (slab_id){3, COUNT, 1}, 1), -EINVAL);
    CHECK_EQ(slab_pool_lend(pool, (slab_id){4, 1, 1}, 1), -EINVAL);
    CHECK_EQ(slab_pool_peer(pool, (slab_id){3, COUNT, 1}), SLAB_NO_PEER);

    /* Loans outlive the owner. */
    CHECK_EQ(slab_pool_put(pool, "lent", 5, &next), 0);
    CHECK_EQ(slab_pool_lend(pool, next, 2), 0);
    CHECK_EQ(slab_pool_put(pool, "mine", 5, &ids[0]), 0);
    leave(pool);
    config.lends = false;
    CHECK_EQ(slab_pool_adopt(&pool, &config), -EINVAL);
    config.lends = true;
    CHECK_EQ(slab_pool_adopt(&pool, &config), 0);
    CHECK_EQ(slab_pool_reap(pool, SLAB_NO_PEER), 1);
    CHECK_EQ(slab_pool_return(view, ids[0]), -ESTALE);
    CHECK_EQ(slab_pool_peer(pool, next), 2);
    CHECK_EQ(slab_pool_reap(pool, 2), 1);
    CHECK_EQ(slab_pool_destroy(pool), 0);
    slab_pool_detach(view);
    free(config.memory);
}

static void a_pool_that_does_not_lend(void)
{
    slab_pool *pool = make(3, 64, 4);
    slab_id    id;

    CHECK_EQ(slab_pool_put(pool, "x", 1, &id), 0);
    CHECK_EQ(slab_pool_lend(pool, id, 1), -ENOTSUP);
    CHECK_EQ(slab_pool_peer(pool, id), SLAB_NO_PEER);
    CHECK_EQ(slab_pool_reap(pool, 1), 0);
    CHECK_EQ(slab_pool_reap(pool, SLAB_NO_PEER), 0);
    CHECK_EQ(slab_pool_return(pool, id), 0);
    CHECK_EQ(slab_pool_destroy(pool), 0);
}

static void adopt_goes_on_where_the_owner_left(void)
{
    enum { COUNT = 100 };
    slab_pool_config     config = {.core = 4, .page_size = 64, .page_count = COUNT};
    slab_pool            *pool, *view;
    struct slab_pool_info info;
    slab_id               ids[COUNT], id;
    uint32_t              cursor = 0, out = 0;
    size_t                len;

    config.memory_size = slab_pool_footprint(&config);
    config.memory      = aligned_alloc(4096, config.memory_size);
    CHECK_EQ(slab_pool_create(&pool, &config), 0);
    CHECK_EQ(slab_pool_attach(&view, config.memory, config.memory_size), 0);
    for (int i = 0; i < COUNT; i++) slab_pool_put(pool, "kept", 5, &ids[i]);
    for (int i = 0; i < 50; i++) slab_pool_return(view, ids[i]);
    for (int i = 50; i < 70; i++) slab_pool_free(pool, ids[i]);
    leave(pool);
    CHECK_EQ(slab_pool_return(view, ids[70]), 0); /* while there is no owner */

    CHECK_EQ(slab_pool_adopt(&pool, &config), 0);
    slab_pool_stats(pool, &info);
    CHECK_EQ(info.available, 71);
    CHECK_EQ(info.peak, COUNT - 71);
    CHECK_EQ(info.allocs, 0);
    CHECK_EQ(slab_pool_drain(pool), 0);
    for (; (id = slab_pool_next(pool, &cursor)).gen != 0; out++)
        CHECK_EQ(slab_id_pack(id), slab_id_pack(ids[id.page]));
    CHECK_EQ(out, COUNT - 71);
    CHECK_EQ(slab_pool_next(pool, &cursor).gen, 0);
    for (int i = 0; i < 71; i++) {
        const char *payload = slab_pool_read(view, ids[i], &len);
        CHECK(payload == NULL);
        CHECK_EQ(slab_pool_return(view, ids[i]), -ESTALE);
        CHECK(slab_pool_alloc(pool, 1, &id) != NULL);
        CHECK_EQ(id.gen, 3);
        CHECK(slab_id_pack(id) != slab_id_pack(ids[id.page]));
    }
    CHECK(slab_pool_alloc(pool, 1, &id) == NULL);
    for (int i = 71; i < COUNT; i++) { /* all that an owner may do with an id of the former */
        const char *payload = slab_pool_read(view, ids[i], &len);
        CHECK(payload && strcmp(payload, "kept") == 0 && len == 5);
        CHECK_EQ(slab_pool_set_len(pool, ids[i], 4), 0);
        CHECK_EQ(i & 1 ? slab_pool_free(pool, ids[i]) : slab_pool_return(view, ids[i]), 0);
    }
    CHECK_EQ(available(pool), COUNT - 71);
    CHECK_EQ(peak(pool), COUNT);
    CHECK_EQ(slab_pool_next(view, &(uint32_t){0}).gen, 0);
    CHECK_EQ(slab_pool_destroy(pool), 71);
    CHECK_EQ(slab_pool_adopt(&pool, &config), -EINVAL);
    CHECK(pool == NULL);
    slab_pool_detach(view);
    free(config.memory);
    CHECK_EQ(maps, 0);
}

static void a_generation_wraps_into_the_next(void)
{
    slab_pool *pool = make(0xffff, 64, 1);
    slab_id    id, last = {0, 0, 0};

    pool->free_stack[0] = slab__pool_name(0xffff, 0, UINT32_MAX - 4);
    for (int life = 0; life < 6; life++) {
        CHECK_EQ(slab_pool_put(pool, "x", 1, &id), 0);
        CHECK_EQ(id.gen, (uint32_t)(UINT32_MAX - 4 + 2 * (uint32_t)life));
        CHECK_EQ(id.core, 0xffff);
        CHECK_EQ(slab_pool_return(pool, last), life == 0 ? -EINVAL : -ESTALE);
        CHECK_EQ(life & 1 ? slab_pool_free(pool, id) : slab_pool_return(pool, id), 0);
        last = id;
    }
    CHECK_EQ(slab_pool_destroy(pool), 0);
}

static void no_memory_is_no_pool(void)
{
    slab_pool_config config = {.page_size = 64, .page_count = 3};
    slab_pool       *pool, *view;

    for (int left = 0; left < 2; left++) {
        pool      = (slab_pool *)1;
        maps_left = left;
        CHECK_EQ(slab_pool_create(&pool, &config), -ENOMEM);
        CHECK(pool == NULL);
        CHECK_EQ(maps, 0);
    }
    maps_left          = -1;
    config.memory_size = slab_pool_footprint(&config);
    config.memory      = aligned_alloc(4096, config.memory_size);
    CHECK_EQ(slab_pool_create(&pool, &config), 0);
    maps_left = 0;
    CHECK_EQ(slab_pool_attach(&view, config.memory, config.memory_size), -ENOMEM);
    CHECK(view == NULL);
    CHECK_EQ(slab_pool_adopt(&view, &config), -ENOMEM);
    CHECK(view == NULL);
    maps_left = -1;
    CHECK_EQ(slab_pool_destroy(pool), 0);
    CHECK_EQ(maps, 0);
    free(config.memory);
}

/* A million random calls against the plainest model there is: which ids are live. */
static void as_an_oracle_says(void)
{
    enum { COUNT = 37, SIZE = 128 };
    slab_pool *pool = make(4, SIZE, COUNT);
    slab_id    live[COUNT], old = {0, 0, 0};
    uint64_t   random = 7, lives = 0;
    uint32_t   out = 0;

    for (int step = 0; step < 1000000; step++) {
        uint64_t r    = check_random(&random);
        uint32_t pick = out ? (uint32_t)(r >> 32) % out : 0;
        size_t   len;
        slab_id  id;
        switch (r % 8) {
        case 0:
        case 1:
        case 2: {
            unsigned char *payload = slab_pool_alloc(pool, SIZE, &id);
            CHECK_EQ(payload != NULL, out < COUNT);
            if (!payload) break;
            memcpy(payload, &id, sizeof id);
            memcpy(payload + SIZE - sizeof id, &id, sizeof id);
            live[out++] = id;
            lives++;
            break;
        }
        case 3:
        case 4:
        case 5:
            if (out == 0) break;
            id                           = live[pick];
            const unsigned char *payload = slab_pool_read(pool, id, &len);
            CHECK(payload && len == SIZE && memcmp(payload, &id, sizeof id) == 0 &&
                  memcmp(payload + SIZE - sizeof id, &id, sizeof id) == 0);
            CHECK_EQ(r % 8 == 3 ? slab_pool_free(pool, id) : slab_pool_return(pool, id), 0);
            live[pick] = live[--out];
            old        = id;
            break;
        case 6:
            slab_pool_drain(pool);
            break;
        default:
            CHECK(slab_pool_read(pool, old, &len) == NULL);
            CHECK(slab_pool_return(pool, old) < 0 && slab_pool_free(pool, old) < 0);
        }
        if (step % 64 == 0) CHECK_EQ(available(pool), COUNT - out);
    }
    struct slab_pool_info info;
    slab_pool_stats(pool, &info);
    CHECK_EQ(info.allocs, lives);
    CHECK_EQ(slab_pool_destroy(pool), out);
}

int main(void)
{
    RUN(defaults);
    RUN(footprint_holds_the_pool_and_no_less);
    RUN(put_read_return);
    RUN(alloc_copies_nothing);
    RUN(set_len_corrects_a_live_page);
    RUN(free_ends_a_life_at_once);
    RUN(an_even_generation_is_no_id);
    RUN(a_page_is_not_a_life);
    RUN(every_page_once_then_none);
    RUN(drain_finds_each_return);
    RUN(a_dead_returners_page_is_found);
    RUN(return_many_tells_how_many_were_live);
    RUN(want_is_answered_once);
    RUN(the_callers_memory_may_hold_anything);
    RUN(a_view_reads_and_returns_and_owns_nothing);
    RUN(stats_count_what_happened);
    RUN(the_peak_is_the_most_pages_out);
    RUN(stats_look_only_where_a_page_came_back);
    RUN(base_is_where_the_pages_are);
    RUN(an_id_is_one_word);
    RUN(each_recycled_id_is_told_once);
    RUN(adopt_goes_on_where_the_owner_left);
    RUN(reap_takes_what_is_lent_to_the_peer);
    RUN(a_pool_that_does_not_lend);
    RUN(a_generation_wraps_into_the_next);
    RUN(no_memory_is_no_pool);
    RUN(as_an_oracle_says);
    return REPORT();
}
