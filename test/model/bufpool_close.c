/* Goal:   what is idle in a cache that is closed is in the shard then, or the system's, once; and
 *         who opens a cache on the seat that it leaves comes after it.
 * Method: a thread closes a cache with a small buffer of its own and a medium one in its stack.
 *         Main opens one, for which there is that seat or none, and acquires and releases a small
 *         buffer there. */
#include "bufpool_model.h"

static bufpool_cache *cache;

static void *leave(void *unused)
{
    bufpool__home = 0;
    bufpool_cache_close(cache);
    return unused;
}

static void play(void)
{
    bufpool_buf *small = NULL;

    model_create(1);
    bufpool__home = 0;
    cache         = model_open(0, true);
    (void)model_idle(cache, 0, BUFPOOL_MEDIUM);
    must(bufpool_cache_release(cache, model_buffer(1, BUFPOOL_SMALL)) == 0);
    model_thread   thread = model_start(leave);
    bufpool_cache *next   = bufpool_cache_open(pool);
    must(!next || next == cache);
    if (next) small = bufpool_cache_acquire(next, 100, NULL);
    if (small) {
        model_use(bufpool__head_of(small));
        must(bufpool_cache_release(next, small) == 0);
    }
    model_join(thread);
    uint32_t idle = model_count(BUFPOOL_SMALL) + model_count(BUFPOOL_MEDIUM);
    idle += next && bufpool__own(next);
    must(idle + bufpool__get(&model_unmapped) == 2);
    must(bufpool__get(&pool->caches) == (next != NULL));
}
