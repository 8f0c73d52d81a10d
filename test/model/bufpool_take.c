/* Goal:   what a cache takes over from a shard is the cache's alone, and so is the room that goes
 *         with it: of both nothing is lost, nothing is there twice.
 * Method: a shard with two medium buffers; a cache's thread acquires one, for which the cache takes
 *         over both, and releases it. Main acquires one from the shard meanwhile, and releases it
 *         there. Each writes to what it has. Who finds no buffer finds no memory either, and gives
 *         back what is idle by then. */
#include "bufpool_model.h"

static bufpool_cache *cache;

static void *serve(void *unused)
{
    bufpool_buf *buf = bufpool_cache_acquire(cache, 5000, NULL);

    if (!buf) return unused;
    model_use(bufpool__head_of(buf));
    must(bufpool_cache_release(cache, buf) == 0);
    return unused;
}

static void play(void)
{
    model_create(1);
    bufpool__home = 0;
    cache         = model_open(0, false);
    (void)model_idle(&pool->shards[0], 0, BUFPOOL_MEDIUM);
    (void)model_idle(&pool->shards[0], 1, BUFPOOL_MEDIUM);
    model_thread thread = model_start(serve);
    bufpool_buf *buf    = bufpool_acquire(pool, 5000, NULL);
    if (buf) {
        model_use(bufpool__head_of(buf));
        must(bufpool_release(buf) == 0);
    }
    model_join(thread);
    must(model_count(BUFPOOL_MEDIUM) + bufpool__get(&model_unmapped) == 2);
}
