/* Goal: whatever a caller must not do gets the result that slab.h names, and harms nothing.
 * Method: tables of bad arguments; a million forged ids against a pool whose every byte is compared
 * before and after; a shared part full of noise, attached to and worked with. */
#define _GNU_SOURCE
#include <stdlib.h>

#define SLAB_IMPLEMENTATION
#include "../../slab.h"

#include "../check.h"

enum { CORE = 6, SIZE = 128, COUNT = 19 };

static slab_pool_config config_of(uint32_t page_size, uint32_t page_count)
{
    return (slab_pool_config){.core = CORE, .page_size = page_size, .page_count = page_count};
}

static void bad_shapes(void)
{
    static const uint32_t shapes[][2] = {
        {1, 1},          {32, 1},     {96, 1},          {2, 1},
        {63, 1},         {65, 1},     {100, 4},         {4097, 2},
        {UINT32_MAX, 1}, {64, 65537}, {64, UINT32_MAX}, {UINT32_MAX - 63, UINT32_MAX}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        slab_pool_config config = config_of(shapes[i][0], shapes[i][1]);
        slab_pool       *pool   = (slab_pool *)1;
        CHECK_EQ(slab_pool_footprint(&config), 0);
        CHECK_EQ(slab_pool_create(&pool, &config), -EINVAL);
        CHECK(pool == NULL);
    }
    CHECK_EQ(slab_pool_create(NULL, NULL), -EINVAL);
}

/* 65,536 pages of 4 GiB: more than a 32-bit size_t can say, more than any machine here can map. */
static void shapes_beyond_memory(void)
{
    slab_pool_config config = config_of(UINT32_MAX - 63, 65536);
    slab_pool       *pool   = (slab_pool *)1;
    int              error  = slab_pool_create(&pool, &config);

    if (sizeof(size_t) == 4) {
        CHECK_EQ(slab_pool_footprint(&config), 0);
        CHECK_EQ(error, -EINVAL);
    } else {
        CHECK(slab_pool_footprint(&config) > (uint64_t)config.page_size * config.page_count);
        CHECK_EQ(error, -ENOMEM);
    }
    CHECK(pool == NULL);
}

static void bad_memory(void)
{
    slab_pool_config config = config_of(SIZE, COUNT);
    size_t           size   = slab_pool_footprint(&config);
    unsigned char   *memory = aligned_alloc(4096, size + 4096);
    slab_pool       *pool;

    memset(memory, 0xa5, size + 4096);
    for (size_t off = 1; off < 4096; off *= 2) {
        config.memory      = memory + off;
        config.memory_size = size;
        CHECK_EQ(slab_pool_create(&pool, &config), -EINVAL);
        CHECK_EQ(slab_pool_attach(&pool, memory + off, size), -EINVAL);
    }
    config.memory = memory;
    for (size_t small = 0; small < size; small += 509) {
        config.memory_size = small;
        CHECK_EQ(slab_pool_create(&pool, &config), -EINVAL);
        CHECK_EQ(slab_pool_attach(&pool, memory, small), -EINVAL);
    }
    for (size_t i = 0; i < size + 4096; i++) CHECK(memory[i] == 0xa5); /* nothing was written */
    free(memory);
}

/* What adopt must find: a pool of that shape and core, and memory to its end. */
static void adopt_wants_the_same_pool(void)
{
    slab_pool_config config = config_of(SIZE, COUNT), other;
    slab_pool       *pool, *adopted;

    config.memory_size = slab_pool_footprint(&config);
    config.memory      = aligned_alloc(4096, config.memory_size);
    memset(config.memory, 0, config.memory_size);
    CHECK_EQ(slab_pool_adopt(&adopted, &config), -EINVAL); /* there is none yet */
    CHECK_EQ(slab_pool_create(&pool, &config), 0);
    for (int i = 0; i < 8; i++) {
        other = config;
        if (i == 0) other.core++;
        if (i == 1) other.page_size /= 2;
        if (i == 2) other.page_count--;
        if (i == 3) other.memory_size--;
        if (i == 4) other.memory = NULL;
        if (i == 5) other.memory = (char *)other.memory + 64;
        if (i == 6) other.fd = -1;
        if (i == 7) other.lends = true;
        adopted = pool;
        CHECK_EQ(slab_pool_adopt(&adopted, &other), -EINVAL);
        CHECK(adopted == NULL);
    }
    CHECK_EQ(slab_pool_adopt(&adopted, NULL), -EINVAL);
    CHECK_EQ(slab_pool_adopt(NULL, &config), -EINVAL);
    config.fd = -1;
    CHECK_EQ(slab_pool_create(&adopted, &config), -EINVAL);
    config = (slab_pool_config){.fd = 1}; /* a lock on memory of its own */
    CHECK_EQ(slab_pool_create(&adopted, &config), -EINVAL);
    config = (slab_pool_config){.fd = 1000000};
    config.memory_size = slab_pool_footprint(&config);
    config.memory      = aligned_alloc(4096, config.memory_size);
    CHECK_EQ(slab_pool_create(&adopted, &config), -ENOENT); /* no such descriptor */
    free(config.memory);
    void *memory = pool->shared;
    CHECK_EQ(slab_pool_destroy(pool), 0);
    free(memory);
}

/* Noise in the shared part: the pool that adopts it hands each page out once, or not at all. */
static void noise_is_adopted(void)
{
    slab_pool_config config = config_of(SIZE, COUNT);
    uint64_t         random = 8;
    slab_pool       *pool;
    slab_id          id;

    config.memory_size = slab_pool_footprint(&config);
    config.memory      = aligned_alloc(4096, config.memory_size);
    for (int round = 0; round < 1000; round++) {
        CHECK_EQ(slab_pool_create(&pool, &config), 0);
        unsigned char *noise = (unsigned char *)pool->shared->hints;
        unsigned char *end   = slab__pool_page(pool, 0);
        munmap(pool, pool->private_size);
        for (; noise < end; noise++) *noise = (unsigned char)check_random(&random);
        CHECK_EQ(slab_pool_adopt(&pool, &config), 0);
        bool     taken[COUNT] = {false};
        uint32_t cursor = 0, pages = 0;
        for (; slab_pool_alloc(pool, SIZE, &id); pages++) {
            CHECK(!taken[id.page]);
            taken[id.page] = true;
        }
        for (; (id = slab_pool_next(pool, &cursor)).gen != 0; pages += !taken[id.page]) {}
        CHECK_EQ(pages, COUNT);
        slab_pool_destroy(pool);
    }
    free(config.memory);
}

static void null_pointers(void)
{
    slab_pool_config      config = config_of(SIZE, COUNT);
    struct slab_pool_info info   = {1, 1, 1, 1, 1.0, 1};
    slab_pool            *pool;
    slab_id               id = {1, 2, 3};
    size_t                len;
    bool                  wake = true;

    CHECK_EQ(slab_pool_create(&pool, &config), 0);
    CHECK(slab_pool_alloc(NULL, 1, &id) == NULL);
    CHECK_EQ(id.gen, 0);
    CHECK(slab_pool_alloc(pool, 1, NULL) == NULL);
    CHECK_EQ(slab_pool_put(NULL, "x", 1, &id), -EINVAL);
    id.gen = 1;
    CHECK_EQ(slab_pool_put(pool, NULL, 1, &id), -EINVAL);
    CHECK_EQ(id.gen, 0);
    CHECK_EQ(slab_pool_put(pool, "x", 1, NULL), -EINVAL);
    CHECK_EQ(slab_pool_put(pool, "x", 1, &id), 0);
    CHECK_EQ(slab_pool_set_len(NULL, id, 1), -EINVAL);
    CHECK_EQ(slab_pool_free(NULL, id), -EINVAL);
    CHECK_EQ(slab_pool_drain(NULL), 0);
    CHECK_EQ(slab_pool_lend(NULL, id, 1), -EINVAL);
    CHECK_EQ(slab_pool_peer(NULL, id), SLAB_NO_PEER);
    CHECK_EQ(slab_pool_reap(NULL, 1), 0);
    CHECK_EQ(slab_pool_next(NULL, &(uint32_t){0}).gen, 0);
    CHECK_EQ(slab_pool_next(pool, NULL).gen, 0);
    CHECK_EQ(slab_pool_next(pool, &(uint32_t){UINT32_MAX}).gen, 0);
    CHECK_EQ(slab_pool_want(NULL), false);
    CHECK(slab_pool_read(NULL, id, &len) == NULL);
    CHECK(slab_pool_read(pool, id, NULL) == NULL);
    CHECK_EQ(slab_pool_return(NULL, id), -EINVAL);
    CHECK_EQ(slab_pool_return_many(NULL, &id, 1, &wake), 0);
    CHECK_EQ(wake, false);
    wake = true;
    CHECK_EQ(slab_pool_return_many(pool, NULL, 1, &wake), 0);
    CHECK_EQ(wake, false);
    CHECK_EQ(slab_pool_return_many(pool, &id, 1, NULL), 0);
    CHECK_EQ(slab_pool_attach(NULL, &config, 4096), -EINVAL);
    CHECK_EQ(slab_pool_attach(&pool, NULL, 4096) == -EINVAL && pool == NULL, true);
    slab_pool_detach(NULL);
    uint32_t page_size = 1, page_count = 1;
    CHECK(slab_pool_base(NULL, &page_size, &page_count) == NULL && page_size + page_count == 0);
    slab_pool_stats(NULL, &info);
    CHECK(info.page_count == 0 && info.utilization == 0.0);
    CHECK_EQ(slab_pool_destroy(NULL), 0);
}

static void lengths_above_a_page(void)
{
    slab_pool_config config = config_of(SIZE, 1);
    static char      data[SIZE + 1];
    volatile size_t  huge = SIZE_MAX; /* unknown to the compiler, which would warn, and be right */
    slab_pool       *pool;
    slab_id          id;

    CHECK_EQ(slab_pool_create(&pool, &config), 0);
    CHECK_EQ(slab_pool_put(pool, data, SIZE + 1, &id), -EMSGSIZE);
    CHECK_EQ(id.gen, 0);
    CHECK_EQ(slab_pool_put(pool, data, huge, &id), -EMSGSIZE);
    CHECK(slab_pool_alloc(pool, SIZE + 1, &id) == NULL);
    CHECK(slab_pool_alloc(pool, huge, &id) == NULL);
    CHECK_EQ(slab_pool_put(pool, data, SIZE, &id), 0); /* the page is still there */
    CHECK_EQ(slab_pool_set_len(pool, id, SIZE_MAX), -EMSGSIZE);
    CHECK_EQ(slab_pool_set_len(pool, id, (size_t)UINT32_MAX), -EMSGSIZE);
    CHECK_EQ(slab_pool_destroy(pool), 1);
}

/* A forged id: near a real one, or anything. */
static slab_id forge(uint64_t *random, slab_id real)
{
    uint64_t r = check_random(random);
    slab_id  id;

    switch (r % 6) {
    case 0:
        return (slab_id){CORE, real.page, real.gen + (uint32_t)(r >> 40) + 1};
    case 1:
        return (slab_id){CORE, real.page, real.gen - 1 - (uint32_t)(r >> 40)};
    case 2:
        return (slab_id){CORE, (uint16_t)(COUNT + (r >> 52)), real.gen};
    case 3:
        return (slab_id){(uint16_t)(CORE + 1 + (r >> 50)), real.page, real.gen};
    case 4:
        return (slab_id){CORE, (uint16_t)(r >> 48), 0};
    default:
        r = check_random(random);
        memcpy(&id, &r, sizeof id);
        return id;
    }
}

static bool same(slab_id a, slab_id b)
{
    return a.core == b.core && a.page == b.page && a.gen == b.gen;
}

static void a_million_forged_ids(void)
{
    slab_pool_config config = config_of(SIZE, COUNT);
    slab_id          ids[COUNT], before[COUNT];
    uint64_t         random = 3, refused = 0;
    slab_pool       *pool;

    config.memory_size  = slab_pool_footprint(&config);
    config.memory       = aligned_alloc(4096, config.memory_size);
    unsigned char *copy = malloc(config.memory_size);
    memset(config.memory, 0, config.memory_size);
    CHECK_EQ(slab_pool_create(&pool, &config), 0);
    for (int i = 0; i < COUNT; i++) CHECK(slab_pool_alloc(pool, SIZE, &before[i]) != NULL);
    for (int i = 0; i < COUNT; i++) {
        if (i % 3 == 0) slab_pool_return(pool, before[i]);
        if (i % 3 == 1) slab_pool_free(pool, before[i]);
        ids[i] = before[i];
    }
    /* Under AddressSanitizer the free pages cannot be read: the control part alone, then. */
    size_t control = (size_t)(slab__pool_page(pool, 0) - (unsigned char *)config.memory);
    memcpy(copy, config.memory, control);
    for (int i = 0; i < 1000000; i++) {
        /* Stale, or forged. */
        slab_id id = i % 2 ? ids[3 * (i % 6)] : forge(&random, ids[i % COUNT]);
        size_t  len;
        bool    wake, real = false;
        for (int k = 2; k < COUNT; k += 3) real |= same(id, ids[k]);
        if (real) continue;
        int error = id.core == CORE && id.page < COUNT ? -ESTALE : -EINVAL;
        CHECK(slab_pool_read(pool, id, &len) == NULL);
        CHECK_EQ(slab_pool_return(pool, id), error);
        CHECK_EQ(slab_pool_free(pool, id), error);
        CHECK_EQ(slab_pool_set_len(pool, id, 1), error);
        CHECK_EQ(slab_pool_return_many(pool, &id, 1, &wake), 0);
        refused += 3;
    }
    struct slab_pool_info info;
    CHECK_EQ(atomic_exchange(&pool->shared->refused, 0), refused);
    CHECK(memcmp(copy, config.memory, control) == 0);
    slab_pool_stats(pool, &info);
    CHECK_EQ(info.available, COUNT - COUNT / 3);
    CHECK_EQ(slab_pool_destroy(pool), COUNT / 3);
    free(copy);
    free(config.memory);
}

/* A pool's own header, with one thing wrong in it. */
static void a_header_that_lies_does_not_attach(void)
{
    slab_pool_config config = config_of(SIZE, COUNT);
    size_t           room   = (size_t)20 << 20; /* enough for the shapes that 0 stands for */
    size_t           size   = slab_pool_footprint(&config);
    slab_pool       *pool, *view;

    config.memory      = aligned_alloc(4096, room);
    config.memory_size = size;
    CHECK_EQ(slab_pool_create(&pool, &config), 0);
    struct {
        _Atomic(uint32_t) *field;
        uint32_t           lie;
    } lies[] = {
        {&pool->shared->magic, 0},           {&pool->shared->magic, SLAB__MAGIC + 1},
        {&pool->shared->page_size, 0},       {&pool->shared->page_size, 96},
        {&pool->shared->page_size, 1 << 30}, {&pool->shared->page_count, 0},
        {&pool->shared->page_count, 65537},  {&pool->shared->page_count, UINT32_MAX},
        {&pool->shared->state_size, 0},      {&pool->shared->state_size, 12},
        {&pool->shared->state_size, 24},     {&pool->shared->state_size, UINT32_MAX},
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        uint32_t truth = atomic_exchange(lies[i].field, lies[i].lie);
        CHECK_EQ(slab_pool_attach(&view, config.memory, room), -EINVAL);
        atomic_store(lies[i].field, truth);
    }
    CHECK_EQ(slab_pool_attach(&view, config.memory, size - 1), -EINVAL);
    CHECK_EQ(slab_pool_attach(&view, config.memory, size), 0);
    slab_pool_detach(view);

    unsigned char *elsewhere = aligned_alloc(4096, room);
    memcpy(elsewhere + 64, config.memory, sizeof *pool->shared);
    CHECK_EQ(slab_pool_attach(&view, elsewhere + 64, room - 64), -EINVAL);
    free(elsewhere);
    CHECK_EQ(slab_pool_destroy(pool), 0);
    free(config.memory);
}

static void noise_does_not_attach(void)
{
    slab_pool_config config = config_of(SIZE, COUNT);
    size_t           size   = slab_pool_footprint(&config);
    uint32_t        *memory = aligned_alloc(4096, size);
    uint64_t         random = 11;
    slab_pool       *view;

    for (int round = 0; round < 20000; round++) {
        for (size_t i = 0; i < 32; i++) memory[i] = (uint32_t)check_random(&random);
        CHECK_EQ(slab_pool_attach(&view, memory, size), -EINVAL);
        memory[0] = SLAB__MAGIC; /* and now with a header that lies */
        if (round % 2) memory[1] = (uint32_t)(check_random(&random) % 64) * 64;
        if (round % 3) memory[2] = (uint32_t)(check_random(&random) % 40);
        if (slab_pool_attach(&view, memory, size) != 0) continue;
        slab_pool_config found = config_of(view->page_size, view->page_count);
        found.lends            = view->loans != NULL;
        CHECK(slab_pool_footprint(&found) <= size);
        slab_pool_detach(view);
    }
    free(memory);
}

/* Noise over the whole shared part of a live pool, again and again: the owner stays within its
 * memory, which AddressSanitizer watches, ends every call, and hands no page out twice. */
static void noise_in_a_live_pool(void)
{
    slab_pool_config config = config_of(SIZE, COUNT);
    uint64_t         random = 5;
    slab_pool       *pool, *view;
    slab_id          ids[COUNT], id;
    bool             wake;
    size_t           len;

    config.memory_size = slab_pool_footprint(&config);
    config.memory      = aligned_alloc(4096, config.memory_size);
    CHECK_EQ(slab_pool_create(&pool, &config), 0);
    CHECK_EQ(slab_pool_attach(&view, config.memory, config.memory_size), 0);
    _Atomic(uint32_t) *words = (_Atomic(uint32_t) *)config.memory;
    size_t control = (size_t)(slab__pool_page(pool, 0) - (unsigned char *)config.memory);
    control /= sizeof *words;
    for (int round = 0; round < 20000; round++) {
        for (int i = 0; i < 8; i++) {
            size_t at = (size_t)(check_random(&random) % control);
            atomic_store(&words[at],
                         i % 2 ? (uint32_t)check_random(&random) : (uint32_t)(random >> 60));
        }
        unsigned char *payload = slab_pool_alloc(pool, SIZE, &id);
        if (payload) {
            CHECK(payload >= slab__pool_page(pool, 0));
            CHECK(payload <= slab__pool_page(pool, COUNT - 1));
            memset(payload, round, SIZE);
            ids[id.page] = id;
        }
        slab_pool_drain(pool);
        slab_id any = {CORE, (uint16_t)(random % COUNT), (uint32_t)(random >> 32) % 64};
        slab_pool_set_len(pool, any, 5);
        if (slab_pool_read(pool, any, &len)) CHECK(len <= SIZE);
        if (slab_pool_read(view, any, &len)) CHECK(len <= SIZE);
        slab_pool_return(view, any);
        slab_pool_return_many(pool, &any, 1, &wake);
        slab_pool_free(pool, any);
        slab_pool_want(pool);
    }
    /* The noise stops. Whatever the pool hands out from here, it hands out once. */
    bool taken[COUNT] = {false};
    while (slab_pool_alloc(pool, SIZE, &id)) {
        CHECK(!taken[id.page]);
        taken[id.page] = true;
        ids[id.page]   = id;
    }
    struct slab_pool_info info;
    slab_pool_stats(pool, &info);
    CHECK_EQ(info.available, 0);
    for (int i = 0; i < COUNT; i++)
        if (taken[i]) CHECK_EQ(slab_pool_return(view, ids[i]), 0);
    slab_pool_detach(view);
    slab_pool_destroy(pool);
    free(config.memory);
}

int main(void)
{
    RUN(bad_shapes);
    RUN(shapes_beyond_memory);
    RUN(bad_memory);
    RUN(null_pointers);
    RUN(lengths_above_a_page);
    RUN(a_million_forged_ids);
    RUN(a_header_that_lies_does_not_attach);
    RUN(noise_does_not_attach);
    RUN(noise_in_a_live_pool);
    RUN(adopt_wants_the_same_pool);
    RUN(noise_is_adopted);
    return REPORT();
}
