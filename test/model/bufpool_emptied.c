/* Goal:   what is idle in a cache that is closed is acquired by one, or given back to the system,
 *         once, also by who looks for it meanwhile.
 * Method: a thread closes a cache with a medium buffer in its stack. Main acquires one, and as the
 *         system has no memory looks everywhere; then it trims. */
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
    model_create(1);
    bufpool__home = 0;
    cache         = model_open(0, false);
    (void)model_idle(cache, 0, BUFPOOL_MEDIUM);
    model_thread thread = model_start(leave);
    bufpool_buf *buf    = bufpool_acquire(pool, 5000, NULL);
    if (buf) model_use(bufpool__head_of(buf));
    size_t given = bufpool_trim(pool, 0);
    model_join(thread);
    must(!buf || given == 0);
    must(model_count(BUFPOOL_MEDIUM) + (buf != NULL) + bufpool__get(&model_unmapped) == 1);
    must(bufpool__get(&pool->caches) == 0);
}
