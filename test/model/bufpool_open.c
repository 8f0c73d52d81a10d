/* Goal:   a thread that goes through all caches while one is opened does not see it yet, or finds
 *         it complete.
 * Method: a thread opens a cache, in memory that the play lets the system have, while main looks
 *         for buffers, reads the accounts, or opens or uses another cache. */
#include "bufpool_model.h"

static bufpool_cache  *cache;
static bufpool_buf    *buf;
static bufpool_tenant *tenant;

static void *open_and_release(void *unused)
{
    bufpool_cache *opened = bufpool_cache_open(pool);
    must(opened == model_caches);
    model_use(bufpool__head_of(buf));
    must(bufpool_cache_release(opened, buf) == 0);
    return unused;
}

/* search: main acquires a medium buffer, and as the system has no memory looks everywhere, and
 * gives up a small one; then it trims. Meanwhile a thread opens a cache and releases a medium
 * buffer there.
 *
 *    opener                                  main
 *    seats[1] := cache, prepared
 *    seat_count := 2, release                seat_count, acquire: 1 or 2
 *    write, release into the cache           seize the cache, pop the buffer, write
 *
 * Broken if the store of seat_count in bufpool__take_seat does not release, or if its loads do not
 * acquire: main finds a seat that is empty, or a cache that is not prepared. */
play(search)
{
    model_create(1);
    model_let_map(model_caches, sizeof(bufpool_cache), 1);
    bufpool__home = 0;
    buf           = model_buffer(0, BUFPOOL_MEDIUM);
    (void)model_idle(&pool->shards[0], 1, BUFPOOL_SMALL);
    model_thread thread = model_start(open_and_release);
    bufpool_buf *other  = bufpool_acquire(pool, 5000, NULL);
    if (other) model_use(bufpool__head_of(other));
    size_t given = bufpool_trim(pool, 0);
    model_join(thread);
    must(!other || given <= 4096);
    must(model_count(BUFPOOL_MEDIUM) + (other != NULL) + model_data[0] / 10 == 1);
}

/* accounts: main reads all outs, then all ins, as stats does, and a tenant's live bytes, while a
 * thread opens a cache and releases a buffer there that was billed in a shard: the tenant's first
 * tab in that cache.
 *
 *    opener                                  main
 *    seat_count := 2, release                seat_count: outs of one cache or two
 *    open the tab, release: in 0, out 0      the tenant's seats: bits of one cache or two
 *    out := 100                              in - out is 100 or 0, never below
 *
 * Broken if seat_count, or the tenant's seats, is not stored with release and loaded with acquire:
 * main reads a cache or a tab that is not prepared. */
static void *open_and_settle(void *unused)
{
    bufpool_cache *opened = bufpool_cache_open(pool);
    must(opened == model_caches);
    must(bufpool_cache_release(opened, buf) == 0);
    return unused;
}

play(accounts)
{
    struct bufpool_info info = {0};

    model_create(1);
    model_let_map(model_caches, sizeof(bufpool_cache), 1);
    tenant = model_tenant(0, 0, 4096);
    buf    = model_buffer(0, BUFPOOL_SMALL);
    model_bill(&pool->shards[0], tenant, 100);
    bufpool__head_of(buf)->tenant = tenant;
    model_thread thread           = model_start(open_and_settle);
    bufpool__add_up(pool, &info);
    must(info.live_buffers <= 1 && info.live_bytes <= 100 && info.capacity_bytes <= 4096);
    must(bufpool__live(tenant) <= 100);
    model_join(thread);
    must(bufpool__live(tenant) == 0);
}

/* both: two caches are opened at the same moment. Each gets a seat of its
 * own.
 *
 *    main                                    other
 *    lock: seat 1, unlock                    lock: seat 2, unlock
 *
 * Broken if lock and unlock do not acquire and release, or if taking the lock is a load and a
 * store: both get one seat. */
static bufpool_cache *opened[2];

static void *open_other(void *unused)
{
    opened[1] = bufpool_cache_open(pool);
    return unused;
}

play(both)
{
    model_create(1);
    model_let_map(model_caches, sizeof(bufpool_cache), MODEL_CACHES);
    model_thread thread = model_start(open_other);
    opened[0]           = bufpool_cache_open(pool);
    model_join(thread);
    must(opened[0] && opened[1] && opened[0]->number + opened[1]->number == 3);
    must(bufpool__get(&pool->seat_count) == 3 && bufpool__get(&pool->caches) == 2);
    must(opened[0]->has_own && opened[1]->has_own);
}
