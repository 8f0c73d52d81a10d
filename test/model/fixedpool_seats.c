/* Goal:   two caches that are opened at the same moment have a seat each, and are counted right.
 * Method: two threads open one each. */
#include "fixedpool_model.h"

static fixedpool_cache *cache;

static void *open_one(void *unused)
{
    model_home(0);
    cache = fixedpool_cache_open(pool);
    return unused;
}

static void play(void)
{
    model_create(1, 0);
    model_home(0);
    model_thread     thread = model_start(open_one);
    fixedpool_cache *mine   = fixedpool_cache_open(pool);
    model_join(thread);
    must(mine->seat != cache->seat && mine->number != cache->number);
    must(pool->caches == 2);
    fixedpool_cache_close(mine);
    fixedpool_cache_close(cache);
    must(pool->caches == 0);
    model_destroy();
}
