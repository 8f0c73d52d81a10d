/* Goal: where a mapping fails there is no pool, buffer, cache or tenant, and nothing else is lost:
 * all accounts stand as they stood, idle memory goes back to the system before anybody is told, and
 * with the memory the calls come back. A pool takes the memory that bufpool.h says, and gives all
 * of it back, whichever holder is last. Method: mappings go through functions of this file, which
 * keep a list of them and let each fail in turn. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static void *test_map(size_t size);
static void  test_unmap(void *memory, size_t size);
#define BUFPOOL_MAP(size)           test_map(size)
#define BUFPOOL_UNMAP(memory, size) test_unmap(memory, size)
#define BUFPOOL_IMPLEMENTATION
#include "../../bufpool.h"

#include "../check.h"

enum { KIB = 1024, MIB = 1024 * 1024, MAPS = 4096 };

/* Mappings still there, their bytes, how many more succeed before one fails (-1: all do), and how
 * many bytes there may be (0: any). */
static struct {
    void  *memory;
    size_t size;
} list[MAPS];
static int    maps, maps_left = -1;
static size_t mapped, most;

static bool nobody_waits_for_us(void);

static void *test_map(size_t size)
{
    CHECK(size > 0 && size <= PTRDIFF_MAX);
    CHECK(nobody_waits_for_us());
    if (maps_left == 0 || maps == MAPS || (most && (mapped > most || size > most - mapped)))
        return NULL;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return NULL;
    if (maps_left > 0) maps_left--;
    list[maps].memory = memory;
    list[maps++].size = size;
    mapped += size;
    return memory;
}

/* Each as it was mapped, and once. */
static void test_unmap(void *memory, size_t size)
{
    int i = maps - 1;
    while (i >= 0 && list[i].memory != memory) i--;
    CHECK(i >= 0 && list[i].size == size);
    if (i < 0) return;
    mapped -= list[i].size;
    CHECK_EQ(munmap(memory, list[i].size), 0);
    list[i] = list[--maps];
}

/* What trim needs to get at the buffers in open caches; qemu, for one, may not have it. */
static bool this_machine_has_membarrier(void)
{
    long commands = syscall(SYS_membarrier, 0, 0, 0); /* which there are */
    return commands > 0 && (commands & 1 << 3) && (commands & 1 << 4);
}

static bufpool        *pool;
static bufpool_cache  *cache, *other;
static bufpool_tenant *tenant;

/* Whether no lock is held: memory is mapped. */
static bool nobody_waits_for_us(void)
{
    if (!pool) return true;
    uint32_t held = pool->lock | pool->names_lock;
    for (uint32_t i = 0; i < pool->shard_count; i++) held |= pool->shards[i].busy;
    return held == 0;
}

static const size_t capacities[] = {4 * KIB, 64 * KIB, MIB, 10 * MIB, 11 * MIB};

static struct bufpool_info info(void)
{
    struct bufpool_info now;
    bufpool_stats(pool, &now);
    return now;
}

static struct bufpool_tenant_info bill(void)
{
    struct bufpool_tenant_info now;
    bufpool_tenant_stats(tenant, &now);
    return now;
}

static void make(bufpool_config config)
{
    CHECK_EQ(bufpool_create(&pool, &config), 0);
    if (!pool) exit(1);
    tenant = bufpool_tenant_get(pool, "acme", 4);
    cache  = bufpool_cache_open(pool);
    other  = bufpool_cache_open(pool);
    CHECK(tenant && cache && other);
    if (!tenant || !cache || !other) exit(1);
}

static void all_is_given_back(void)
{
    CHECK_EQ(maps, 0);
    CHECK_EQ(mapped, 0);
}

static void end(void)
{
    bufpool_cache_close(cache);
    bufpool_cache_close(other);
    CHECK_EQ(info().live_bytes, 0);
    CHECK_EQ(info().capacity_bytes, 0);
    CHECK_EQ(info().caches, 0);
    CHECK_EQ(bufpool_destroy(pool), 0);
    pool = NULL;
    all_is_given_back();
}

enum { SHARED, CACHE, OTHER, WAYS };

static bufpool_buf *acquire(int way, size_t size, bufpool_tenant *whose)
{
    if (way == SHARED) return bufpool_acquire(pool, size, whose);
    return bufpool_cache_acquire(way == CACHE ? cache : other, size, whose);
}

static int release(int way, bufpool_buf *buf)
{
    if (way == SHARED) return bufpool_release(buf);
    return bufpool_cache_release(way == CACHE ? cache : other, buf);
}

/* Idle memory that nobody but a cache's own thread gets at: a small buffer in each, or all of it.
 */
static uint64_t out_of_reach(void)
{
    return this_machine_has_membarrier() ? info().caches * 4 * KIB : UINT64_MAX;
}

static void leave_idle(int way, size_t size, int count)
{
    bufpool_buf *bufs[200];
    for (int i = 0; i < count; i++) CHECK((bufs[i] = acquire(way, size, NULL)) != NULL);
    for (int i = 0; i < count; i++) CHECK_EQ(release(way, bufs[i]), 0);
}

/* ---- What there is no memory for ---- */

static void refused_configs_map_nothing(void)
{
    CHECK_EQ(bufpool_create(&pool, &(bufpool_config){.flags = 2}), -EINVAL);
    CHECK_EQ(bufpool_create(NULL, NULL), -EINVAL);
    all_is_given_back();
}

static void no_memory_is_no_pool(void)
{
    for (int left = 0;; left++) {
        pool       = (bufpool *)1;
        maps_left  = left;
        int result = bufpool_create(&pool, NULL);
        maps_left  = -1;
        if (result == 0) {
            CHECK(left > 0); /* it did ask here */
            break;
        }
        CHECK_EQ(result, -ENOMEM);
        CHECK(pool == NULL);
        all_is_given_back();
        CHECK(left < 20);
        if (left == 20) exit(1);
    }
    CHECK_EQ(bufpool_destroy(pool), 0);
    pool = NULL;
    all_is_given_back();
}

/* Fails at each of its mappings in turn, and each time all stands as it stood; then it succeeds. */
static bufpool_buf *acquire_at_last(int way, size_t size, bufpool_tenant *whose)
{
    struct bufpool_info        before  = info(), now;
    struct bufpool_tenant_info account = bill(), then;

    for (int left = 0; left < 20; left++) {
        maps_left        = left;
        bufpool_buf *buf = acquire(way, size, whose);
        maps_left        = -1;
        if (buf) return buf;
        now  = info();
        then = bill();
        CHECK(memcmp(&now, &before, sizeof now) == 0);
        then.peak_bytes = account.peak_bytes; /* what was granted for a moment counts there */
        CHECK(memcmp(&then, &account, sizeof then) == 0);
    }
    CHECK_EQ(maps_left, 20); /* never acquired */
    exit(1);
}

/* As many as need more headers than were there at first. */
static void no_memory_is_no_buffer(void)
{
    enum { COUNT = 300 };
    static bufpool_buf *bufs[COUNT];

    for (int way = 0; way < WAYS; way++) {
        make((bufpool_config){.tenant_soft_limit = 1}); /* what fails is not counted there */
        for (int i = 0; i < COUNT; i++) {
            size_t size = capacities[i % 8 < 5 ? i % 8 : 0];
            bufs[i]     = acquire_at_last(way, size, i % 3 ? tenant : NULL);
            memset(bufpool_data(bufs[i]), i, 100);
        }
        CHECK_EQ(info().live_buffers, COUNT);
        CHECK_EQ(bill().soft_limit_exceeded, COUNT - COUNT / 3);
        for (int i = 0; i < COUNT; i++) {
            CHECK_EQ(((unsigned char *)bufpool_data(bufs[i]))[99], i & 255);
            CHECK_EQ(release(way, bufs[i]), 0);
        }
        CHECK_EQ(bill().live_bytes, 0);
        end();
    }
}

/* Nor are they rounded up to something small. */
static void sizes_beyond_an_address_space(void)
{
    static const size_t sizes[] = {SIZE_MAX,        SIZE_MAX - 4094, SIZE_MAX - 4095,
                                   SIZE_MAX - 8191, PTRDIFF_MAX,     (size_t)PTRDIFF_MAX + 1};

    make((bufpool_config){0});
    size_t before = mapped;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int way = 0; way < WAYS; way++) CHECK(acquire(way, sizes[i], tenant) == NULL);
    CHECK_EQ(mapped, before);
    end();
}

/* Who fails often takes no more than who fails once. */
static void failing_takes_nothing(void)
{
    make((bufpool_config){0});
    leave_idle(SHARED, 1, 1);
    size_t before = mapped;
    most          = mapped + 64 * KIB;
    for (int i = 0; i < 300; i++) CHECK(acquire(i % WAYS, 10 * MIB, tenant) == NULL);
    CHECK(mapped <= before);
    most = 0;
    end();
}

static void no_memory_is_no_cache(void)
{
    bufpool_cache *caches[100];

    make((bufpool_config){0});
    leave_idle(CACHE, 100, 3);
    for (int i = 0; i < 100; i++) {
        struct bufpool_info before = info();
        for (int left = 0; left < 20; left++) {
            maps_left = left;
            caches[i] = bufpool_cache_open(pool);
            maps_left = -1;
            if (caches[i]) break;
            struct bufpool_info now = info();
            CHECK(memcmp(&now, &before, sizeof now) == 0);
        }
        CHECK(caches[i] != NULL);
        if (!caches[i]) exit(1);
        bufpool_buf *buf = bufpool_cache_acquire(caches[i], 100, tenant);
        CHECK_EQ(bufpool_cache_release(caches[i], buf), 0);
    }
    CHECK_EQ(info().caches, 102);
    for (int i = 0; i < 100; i++) bufpool_cache_close(caches[i]);
    size_t before = mapped;
    for (int round = 0; round < 3; round++) { /* closed ones make room for others */
        maps_left = 0;
        for (int i = 0; i < 100; i++) CHECK((caches[i] = bufpool_cache_open(pool)) != NULL);
        for (int i = 0; i < 100; i++) bufpool_cache_close(caches[i]);
        maps_left = -1;
    }
    CHECK_EQ(mapped, before);
    end();
}

static bufpool_tenant *tenant_number(int i)
{
    char name[200];
    int  len = snprintf(name, sizeof name, "%0*d", 1 + i % 150, i);
    return bufpool_tenant_get(pool, name, (size_t)len);
}

/* Room for more is found, or is not; who is there already is found in any case. */
static void no_memory_is_no_tenant(void)
{
    enum { COUNT = 3000 };
    static bufpool_tenant *tenants[COUNT];
    int                    refused = 0;

    make((bufpool_config){0});
    for (int i = 0; i < COUNT; i++) {
        struct bufpool_info before = info();
        for (int left = 0; left < 20; left++) {
            maps_left  = left;
            tenants[i] = tenant_number(i);
            CHECK(i == 0 || tenant_number(i / 2) == tenants[i / 2]);
            maps_left = -1;
            if (tenants[i]) break;
            refused++;
            struct bufpool_info now = info();
            CHECK(memcmp(&now, &before, sizeof now) == 0);
        }
        CHECK(tenants[i] != NULL);
        if (!tenants[i]) exit(1);
        bufpool_charge(tenants[i], (uint64_t)i);
        CHECK_EQ(info().tenants, i + 2);
    }
    CHECK(refused > 0 && refused < COUNT);
    maps_left = 0;
    for (int i = 0; i < COUNT; i++) {
        CHECK(tenant_number(i) == tenants[i]);
        struct bufpool_tenant_info now;
        bufpool_tenant_stats(tenants[i], &now);
        CHECK_EQ(now.live_bytes, i);
        bufpool_discharge(tenants[i], (uint64_t)i);
    }
    maps_left = -1;
    end();
}

/* All that neither makes nor takes anything new does without. */
static void the_rest_needs_none(void)
{
    static char  text[8192];
    bufpool_view view, cut;

    make((bufpool_config){.flags = BUFPOOL_WIPE});
    for (int way = WAYS - 1; way >= 0; way--) leave_idle(way, 100, 2); /* each has some */
    bufpool_buf *buf = acquire(SHARED, 5000, tenant), *huge = acquire(CACHE, 10 * MIB, NULL);
    int          before = maps;
    maps_left           = 0;
    for (int way = 0; way < WAYS; way++) { /* a buffer that is idle */
        bufpool_buf *again = acquire(way, 100, tenant);
        CHECK(again != NULL);
        CHECK_EQ(release(way, again), 0);
    }
    CHECK(bufpool_retain(buf) == buf);
    CHECK_EQ(bufpool_view_of(buf, 1, 20, &view), 0);
    CHECK_EQ(bufpool_view_cut(&view, 2, 3, &cut), 0);
    CHECK_EQ(bufpool_view_drop(&cut), 3);
    CHECK_EQ(bufpool_view_drop(&view), 2);
    bufpool_charge(tenant, 100);
    bufpool_tenant_limit(tenant, 50);
    bufpool_discharge(tenant, 101);
    CHECK_EQ(info().underflows, 1);
    CHECK_EQ(bill().live_bytes, 5000);
    CHECK(bufpool_tenant_get(pool, "acme", 4) == tenant);
    CHECK_EQ(bufpool_metrics(pool, text, sizeof text), strlen(text));
    CHECK_EQ(release(OTHER, buf), 1);
    CHECK_EQ(release(OTHER, buf), 0);
    CHECK_EQ(maps, before);
    CHECK_EQ(release(OTHER, huge), 0);
    bufpool_trim(pool, 0);
    CHECK(info().idle_bytes <= out_of_reach());
    CHECK(maps < before);
    end();
    maps_left = -1;
}

/* ---- Idle memory goes first ---- */

/* There is room for one more, if what is idle goes back to the system. */
static void idle_memory_makes_room(int idle_way, int way, size_t idle_size, size_t size)
{
    make((bufpool_config){.idle_buffers = 1000, .idle_bytes = 1000 * MIB});
    leave_idle(way, size, 1); /* headers are there */
    bufpool_trim(pool, 0);
    leave_idle(idle_way, idle_size, (int)(size / idle_size) + 1);
    CHECK(info().idle_bytes >= size);
    most             = mapped + 2048;
    bufpool_buf *buf = acquire(way, size, tenant);
    most             = 0;
    CHECK(buf != NULL);
    if (buf) {
        CHECK_EQ(bill().live_bytes, size);
        memset(bufpool_data(buf), 1, 5000 < size ? 5000 : size);
        CHECK_EQ(release(way, buf), 0);
    }
    CHECK_EQ(bill().live_bytes, 0);
    end();
}

static void idle_memory_goes_first(void)
{
    for (int c = 0; c < 5; c++)
        for (int idle = c < 2 ? 0 : 1; idle < 4; idle++)
            for (int way = 0; way < WAYS; way++) {
                if (idle == c) continue; /* it would be acquired */
                idle_memory_makes_room(SHARED, way, capacities[idle], capacities[c]);
                if (!this_machine_has_membarrier()) continue;
                idle_memory_makes_room(CACHE, way, capacities[idle], capacities[c]);
            }
}

/* A buffer that is idle is found where it is, rather than given back. */
static void idle_buffers_are_found(void)
{
    bufpool_buf *bufs[4];

    for (int way = 0; way < WAYS && this_machine_has_membarrier(); way++)
        for (int c = 0; c < BUFPOOL_CLASSES; c++) {
            int from = way == OTHER ? CACHE : OTHER, found = 0;
            make((bufpool_config){.idle_bytes = 320 * MIB});
            leave_idle(from, capacities[c], 4);
            CHECK_EQ(info().idle_buffers[c], 4);
            maps_left = 0;
            while (found < 4 && (bufs[found] = acquire(way, capacities[c], NULL)) != NULL) found++;
            CHECK(acquire(way, capacities[c], NULL) == NULL);
            maps_left = -1;
            CHECK(found >= (c == BUFPOOL_SMALL ? 3 : 4)); /* one may be out of reach */
            CHECK_EQ(info().hits[c], found);
            while (found > 0) CHECK_EQ(release(way, bufs[--found]), 0);
            end();
        }
}

/* Who is told that there is none finds that nothing was kept back. */
static void nothing_is_idle_when_there_is_no_memory(void)
{
    for (int way = 0; way < WAYS; way++) {
        make((bufpool_config){0});
        for (int idle_way = 0; idle_way < WAYS; idle_way++)
            for (int c = 0; c < BUFPOOL_CLASSES; c++) leave_idle(idle_way, capacities[c], 2);
        uint64_t idle = info().idle_bytes, size = mapped;
        CHECK(idle > 20 * MIB);
        maps_left = 0;
        CHECK(acquire(way, 11 * MIB, tenant) == NULL);
        CHECK_EQ(mapped, size - (idle - info().idle_bytes)); /* it is the system's */
        CHECK(info().idle_bytes < idle && info().idle_bytes <= out_of_reach());
        maps_left = -1;
        CHECK_EQ(bill().live_bytes, 0);
        CHECK_EQ(bill().soft_limit_exceeded, 0);
        CHECK_EQ(info().live_bytes, 0);
        for (int c = 0; c < BUFPOOL_CLASSES; c++) leave_idle(way, capacities[c], 3);
        end();
    }
}

/* ---- What it takes, and that it gives all of it back ---- */

/* Apart from a pool's own memory, what is mapped is what the accounts say. */
static void is_as_accounted(bufpool_config config)
{
    enum { COUNT = 60, HEADERS = COUNT + 5 * 64 }; /* when all classes have what they may keep */
    static bufpool_buf *bufs[HEADERS];

    make(config);
    for (int i = 0; i < HEADERS; i++) CHECK((bufs[i] = acquire(i % WAYS, 1, NULL)) != NULL);
    for (int i = 0; i < HEADERS; i++) CHECK_EQ(release(i % WAYS, bufs[i]), 0);
    size_t own = mapped - (size_t)info().idle_bytes;
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < COUNT; i++) {
            int c   = round % 4 == 3 ? round / 4 % 5 : (i + round) % 5; /* one of them, or all */
            bufs[i] = acquire((i + round) % WAYS, capacities[c] - 9, tenant);
            CHECK_EQ(mapped, own + info().idle_bytes + info().capacity_bytes);
        }
        for (int i = 0; i < COUNT; i++) {
            CHECK_EQ(release((i + 2 * round) % WAYS, bufs[i]), 0);
            CHECK_EQ(mapped, own + info().idle_bytes + info().capacity_bytes);
        }
        if (round % 5 < 3) continue;
        size_t before = mapped, given = bufpool_trim(pool, (size_t)(20 - round) * 100 * KIB);
        CHECK_EQ(mapped, before - given);
        CHECK_EQ(mapped, own + info().idle_bytes);
    }
    end();
}

static void memory_is_as_accounted(void)
{
    is_as_accounted((bufpool_config){0});
    is_as_accounted((bufpool_config){.idle_bytes = 5 * MIB});
    is_as_accounted((bufpool_config){.idle_bytes = 31 * MIB, .idle_buffers = 20});
    is_as_accounted((bufpool_config){.idle_bytes = 1});
}

/* As bufpool.h says: 64 bytes a buffer, 10 KiB for a cache, and for two shards a processor, some
 * 250 bytes for a tenant; to the next page, and the next 256 KiB of tenants. */
static void memory_beside_the_buffers(void)
{
    enum { COUNT = 2000 };
    static bufpool_buf   *bufs[COUNT];
    static bufpool_cache *caches[COUNT];
    char                  name[32];

    CHECK_EQ(bufpool_create(&pool, NULL), 0);
    size_t shards = 2 * (size_t)sysconf(_SC_NPROCESSORS_ONLN), pools = mapped;
    CHECK(pools <= shards * 17 * KIB + 64 * KIB);
    for (int i = 0; i < COUNT; i++) bufs[i] = bufpool_acquire(pool, 1, NULL);
    size_t headers = mapped - pools - (size_t)info().capacity_bytes;
    CHECK(headers <= COUNT * 65 + 4 * KIB);
    for (int i = 0; i < COUNT; i++) CHECK_EQ(bufpool_release(bufs[i]), 0);
    bufpool_trim(pool, 0);
    CHECK_EQ(mapped, pools + headers);
    for (int i = 0; i < COUNT / 10; i++) caches[i] = bufpool_cache_open(pool);
    size_t opened = mapped - pools - headers;
    CHECK(opened <= COUNT / 10 * 17 * KIB);
    for (int i = 0; i < COUNT / 10; i++) bufpool_cache_close(caches[i]);
    size_t before = mapped;
    for (int i = 0; i < 4 * COUNT; i++)
        bufpool_tenant_get(pool, name, (size_t)snprintf(name, sizeof name, "tenant-%d", i));
    size_t tenants = mapped - before;
    CHECK(tenants <= 4 * COUNT * 340 + 256 * KIB);
    printf("# %zu KiB a pool, %zu bytes a buffer, %zu a cache, %zu a tenant\n", pools / KIB,
           headers / COUNT, opened / (COUNT / 10), tenants / (4 * COUNT));
    CHECK_EQ(bufpool_destroy(pool), 0);
    pool = NULL;
    all_is_given_back();
}

/* The last one out closes the door: a buffer, a view or a cache, in each order. */
static void the_last_one_gives_all_back(void)
{
    static const char *const orders[] = {"bvco", "vbco", "cobv", "cbov", "bcvo",
                                         "ocvb", "cvob", "vcbo", "obcv"};
    for (size_t i = 0; i < 2 * sizeof orders / sizeof *orders; i++) {
        bufpool_view view;
        make((bufpool_config){0});
        for (int way = 0; way < WAYS; way++) leave_idle(way, 100, 5);
        bufpool_buf *buf  = acquire(CACHE, 5000, tenant);
        bufpool_buf *from = acquire(OTHER, i % 2 ? 100 : 12 * MIB, tenant);
        CHECK_EQ(bufpool_view_of(from, 3, 4, &view), 0);
        CHECK_EQ(bufpool_release(from), 1);
        maps_left = i % 2 ? 0 : -1;
        CHECK_EQ(bufpool_destroy(pool), 2);
        pool = NULL;
        for (const char *next = orders[i / 2]; *next; next++) {
            CHECK(maps > 0 && mapped > 0);
            if (*next == 'b') CHECK_EQ(bufpool_release(buf), 0);
            else if (*next == 'v') CHECK_EQ(bufpool_view_drop(&view), 0);
            else bufpool_cache_close(*next == 'c' ? cache : other);
        }
        all_is_given_back();
        maps_left = -1;
    }
}

/* ---- Memory that comes and goes, at random ---- */

enum { SLOTS = 200 };
static struct {
    bufpool_buf *buf;
    size_t       size;
    bool         billed;
} slots[SLOTS];

static void now_and_then_there_is_memory(void)
{
    uint64_t random = 11, live = 0, billed = 0, buffers = 0, failed = 0;

    make((bufpool_config){.idle_buffers = 8, .idle_bytes = 12 * MIB});
    for (int step = 0; step < 4000; step++) {
        uint64_t r = check_random(&random);
        int      i = (int)((r >> 8) % SLOTS), way = (int)((r >> 24) % WAYS);
        bool     has_a = slots[i].buf != NULL;
        maps_left      = (r >> 40) % 4 ? (int)((r >> 32) % 2) : -1;
        if (r % 64 == 0) {
            bufpool_cache *fresh = bufpool_cache_open(pool);
            if (fresh) bufpool_cache_close(cache);
            if (fresh) cache = fresh;
        } else if (has_a) {
            CHECK_EQ(release(way, slots[i].buf), 0);
            slots[i].buf = NULL;
        } else {
            slots[i].size   = capacities[(r >> 16) % 5] - 7;
            slots[i].billed = r & 64;
            slots[i].buf    = acquire(way, slots[i].size, slots[i].billed ? tenant : NULL);
            failed += slots[i].buf == NULL;
        }
        if (has_a != (slots[i].buf != NULL)) {
            live += has_a ? 0 - (uint64_t)slots[i].size : slots[i].size;
            buffers += has_a ? (uint64_t)-1 : 1;
            if (slots[i].billed) billed += has_a ? 0 - (uint64_t)slots[i].size : slots[i].size;
        }
        CHECK_EQ(info().live_bytes, live);
        CHECK_EQ(info().live_buffers, buffers);
        CHECK_EQ(bill().live_bytes, billed);
        CHECK_EQ(info().caches, 2);
    }
    CHECK(failed > 100 && failed < 1500);
    maps_left = -1;
    for (int i = 0; i < SLOTS; i++)
        if (slots[i].buf) CHECK_EQ(bufpool_release(slots[i].buf), 0);
    memset(slots, 0, sizeof slots);
    CHECK_EQ(info().underflows, 0);
    end();
}

int main(void)
{
    RUN(refused_configs_map_nothing);
    RUN(no_memory_is_no_pool);
    RUN(no_memory_is_no_buffer);
    RUN(sizes_beyond_an_address_space);
    RUN(failing_takes_nothing);
    RUN(no_memory_is_no_cache);
    RUN(no_memory_is_no_tenant);
    RUN(the_rest_needs_none);
    RUN(idle_memory_goes_first);
    RUN(idle_buffers_are_found);
    RUN(nothing_is_idle_when_there_is_no_memory);
    RUN(memory_is_as_accounted);
    RUN(memory_beside_the_buffers);
    RUN(the_last_one_gives_all_back);
    RUN(now_and_then_there_is_memory);
    return REPORT();
}
