/* Goal:   what a cache has no room for, and half of what it has, is the shard's, once; and whoever
 *         acquires it there comes after all others that had it.
 * Method: a cache that may have two medium buffers, and has them; its thread releases another,
 *         while main acquires one from the shard, which has room, and releases it there. Each
 *         writes to what it has. Who finds no buffer finds no memory either, and takes one out of
 *         the cache, or gives back what is idle by then. */
#include "bufpool_model.h"

static bufpool_cache *cache;
static bufpool_buf   *buf;

static void *serve(void *unused)
{
    model_use(bufpool__head_of(buf));
    must(bufpool_cache_release(cache, buf) == 0);
    return unused;
}

static void play(void)
{
    model_create(1);
    bufpool__home             = 0;
    pool->config.idle_buffers = 4;
    cache                     = model_open(0, false);
    (void)model_idle(cache, 0, BUFPOOL_MEDIUM);
    (void)model_idle(cache, 1, BUFPOOL_MEDIUM);
    bufpool__budget(&pool->shards[0], BUFPOOL_MEDIUM, 2);
    buf                 = model_buffer(2, BUFPOOL_MEDIUM);
    model_thread thread = model_start(serve);
    bufpool_buf *other  = bufpool_acquire(pool, 5000, NULL);
    if (other) {
        model_use(bufpool__head_of(other));
        must(bufpool_release(other) == 0);
    }
    model_join(thread);
    must(model_count(BUFPOOL_MEDIUM) + bufpool__get(&model_unmapped) == 3);
}
