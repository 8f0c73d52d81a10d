/* Goal:   a frame that a cache has idle can be had by others, and has one holder at a time all the
 *         same; the last access of one comes before the first of the next.
 * Method: the one frame of a group is lent. The owner takes it back, and lends it again, while
 *         another thread leases it by force. */
#include "fixedpool_model.h"

static fixedpool_cache *cache;
static uint32_t         stolen;

static void *steal(void *unused)
{
    stolen = model_steal();
    return unused;
}

static void play(void)
{
    model_create(1, 0);
    cache              = model_open();
    uint32_t     frame = model_cache_lease(cache);
    model_thread thief = model_start(steal);
    model_use((int)frame);
    must(fixedpool_cache_free(cache, frame) == 0);
    int mine = fixedpool__lend(cache);
    if (mine >= 0) model_use(mine);
    model_join(thief);
    must(!stolen || mine < 0);
    model_drain(stolen | (mine >= 0));
    model_destroy();
}
