/* Goal:   two threads never keep each other from coming to an end: who revokes a group, and the
 *         owner that leaves it, becomes its owner again and finds it revoked again.
 * Method: a cache has the one frame there is idle and leases it, while another thread does so by
 *         the shared path. The checker follows each loop to its end: it comes to none if they have
 *         none. */
#include "fixedpool_model.h"

static fixedpool_cache *cache;
static int              got;

static void *steal(void *unused)
{
    model_home(0);
    got = fixedpool_alloc(pool);
    return unused;
}

static void play(void)
{
    model_create(1, 0);
    model_home(0);
    cache = fixedpool_cache_open(pool);
    must(fixedpool_cache_free(cache, model_cache_lease(cache)) == 0);
    model_thread thief = model_start(steal);
    int          mine  = fixedpool_cache_alloc(cache);
    model_join(thief);
    must((mine == 0) + (got == 0) == 1);
    model_destroy();
}
