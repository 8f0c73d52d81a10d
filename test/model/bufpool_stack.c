/* Goal:   each idle buffer is acquired once, by a thread that comes after all others that had it,
 *         and the budget is kept: the sum of all room is what the pool may keep.
 * Method: buffers go from shard to shard, from cache to shard, and from shard to cache, while two
 *         threads acquire, write plainly and release. The system has no memory: a thread that finds
 *         no buffer gives back what is idle by then. */
#include "bufpool_model.h"

static bufpool_cache *cache;
static bufpool_buf   *buf;

/* Acquires a buffer of that size from the shards, writes to it and releases it, if there is one. */
static void use_one(size_t size)
{
    bufpool__home    = 0;
    bufpool_buf *mine = bufpool_acquire(pool, size, NULL);

    if (!mine) return;
    model_use(bufpool__head_of(mine));
    must(bufpool_release(mine) == 0);
}

static void *use_small(void *unused)
{
    use_one(100);
    return unused;
}

static void *use_medium(void *unused)
{
    use_one(5000);
    return unused;
}

/* shards: two shards have a small buffer each. Two threads are both at home in the first one.
 *
 *    first                                   second
 *    lock shard 0: busy 0 -> 1               shard 0 is locked: lock shard 1
 *    pop, unlock, write                      pop, unlock, write
 *    lock shard 0, push, unlock              lock shard 0 or 1, push, unlock
 *
 * Broken if the exchange in bufpool__try does not acquire, or is a load and a store, or if the
 * store in bufpool__give_back does not release: a data race on a stack or on a buffer. */
play(shards)
{
    model_create(2);
    (void)model_idle(&pool->shards[0], 0, BUFPOOL_SMALL);
    (void)model_idle(&pool->shards[1], 1, BUFPOOL_SMALL);
    model_thread one = model_start(use_small);
    model_thread two = model_start(use_small);
    model_join(one);
    model_join(two);
    must(model_count(BUFPOOL_SMALL) + bufpool__get(&model_unmapped) == 2);
    must(model_data[0] % 10 + model_data[1] % 10 <= 2);
}

/* take: a cache takes over both medium buffers of the shard while main acquires
 * one from the shard and releases it there.
 *
 *    cache's thread                          main
 *    seize the shard                         shard is locked: yield
 *    pop one for itself
 *    move one
 *    let the shard go                        lock the shard: it is empty, or not yet
 *
 * Broken if locking the shard does not order: a buffer, or the room for it, is lost or there
 * twice. */
static void *use_medium_from_cache(void *unused)
{
    bufpool_buf *mine = bufpool_cache_acquire(cache, 5000, NULL);

    if (!mine) return unused;
    model_use(bufpool__head_of(mine));
    must(bufpool_cache_release(cache, mine) == 0);
    return unused;
}

play(take)
{
    model_create(1);
    bufpool__home = 0;
    cache         = model_open(0, false);
    (void)model_idle(&pool->shards[0], 0, BUFPOOL_MEDIUM);
    (void)model_idle(&pool->shards[0], 1, BUFPOOL_MEDIUM);
    model_thread thread = model_start(use_medium_from_cache);
    use_one(5000);
    model_join(thread);
    must(model_count(BUFPOOL_MEDIUM) + bufpool__get(&model_unmapped) == 2);
}

/* spill: a cache that may have two medium buffers, and has them, gets a third: this one and half of
 * the others go to the shard, from which main acquires.
 *
 *    cache's thread                          main
 *    write, release: the stack is full
 *    lock the shard                          shard is locked: yield
 *    push two there, unlock                  lock the shard, pop, unlock
 *                                            write
 *
 * Broken as `take` is. A buffer that is moved from stack to stack must be there once in the end. */
static void *release_a_third(void *unused)
{
    model_use(bufpool__head_of(buf));
    must(bufpool_cache_release(cache, buf) == 0);
    return unused;
}

play(spill)
{
    model_create(1);
    bufpool__home            = 0;
    pool->config.cache_bytes = 128 << 10;
    cache                    = model_open(0, false);
    (void)model_idle(cache, 0, BUFPOOL_MEDIUM);
    (void)model_idle(cache, 1, BUFPOOL_MEDIUM);
    bufpool__budget(&pool->shards[0], BUFPOOL_MEDIUM, 2);
    buf                 = model_buffer(2, BUFPOOL_MEDIUM);
    model_thread thread = model_start(release_a_third);
    use_one(5000);
    model_join(thread);
    must(model_count(BUFPOOL_MEDIUM) + bufpool__get(&model_unmapped) == 3);
}

/* budget: the pool may keep two medium buffers' bytes, and does, in shard 0. Main releases a small
 * one into shard 1: a medium one gives way, which nobody holds by then, and is unmapped once.
 *
 *    main                                    other
 *    lock the pool                           acquire a medium buffer from shard 0
 *    seize shard 0, or leave it              write
 *    pop a victim, its room                  release it: room, or widen
 *    let shard 0 go, unlock
 *    push the small one
 *    unmap the victim
 *
 * Broken if the pool's lock or the shard's does not order: room exceeds the budget, or the victim
 * is still in use. */
play(budget)
{
    model_create(2);
    bufpool__home           = 1;
    pool->config.idle_bytes = 128 << 10;
    (void)model_idle(&pool->shards[0], 0, BUFPOOL_MEDIUM);
    (void)model_idle(&pool->shards[0], 1, BUFPOOL_MEDIUM);
    bufpool_buf *small  = model_buffer(2, BUFPOOL_SMALL);
    model_thread thread = model_start(use_medium);
    model_use(bufpool__head_of(small));
    must(bufpool_release(small) == 0);
    model_join(thread);

    uint32_t idle = model_count(BUFPOOL_SMALL) + model_count(BUFPOOL_MEDIUM);
    must(pool->kept_bytes <= pool->config.idle_bytes);
    must(idle + bufpool__get(&model_unmapped) == 3);
    must(bufpool__get(&model_unmapped) > 0);
}
