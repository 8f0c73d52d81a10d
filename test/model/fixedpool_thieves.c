/* Goal:   two threads that lease a cache's frames by force at the same moment get one each, or
 *         none that the owner is busy with; nothing is leased twice, and nothing lost.
 * Method: of two frames one is lent and one idle. The owner takes the first back, and lends it
 *         again, while two others take what they find. */
#include "fixedpool_model.h"

static fixedpool_cache *cache;
static uint32_t         stolen[2];

static void *steal_first(void *unused)
{
    stolen[0] = model_steal();
    return unused;
}

static void *steal_second(void *unused)
{
    stolen[1] = model_steal();
    return unused;
}

static void play(void)
{
    model_create(1, 1);
    cache               = model_open();
    uint32_t     frame  = model_cache_lease(cache);
    model_thread first  = model_start(steal_first);
    model_thread second = model_start(steal_second);
    must(fixedpool_cache_free(cache, frame) == 0);
    int mine = fixedpool__lend(cache);
    if (mine >= 0) model_use(mine);
    model_join(first);
    model_join(second);
    must(!(stolen[0] & stolen[1]));
    model_drain(stolen[0] | stolen[1] | (mine >= 0 ? UINT32_C(1) << mine : 0));
    model_destroy();
}
