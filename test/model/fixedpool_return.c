/* Goal:   a frame that a cache lent and another thread frees comes back to the cache, which lends
 *         it again, or to who takes it by force: to one of them, and once. What the other thread
 *         wrote comes before.
 * Method: the one frame of a group is lent; another thread writes to it and frees it, a third
 *         looks for a frame there, and so does the owner, which then closes its cache. */
#include "fixedpool_model.h"

static fixedpool_cache *cache;
static uint32_t         frame;
static uint32_t         stolen;

static void *give_back(void *unused)
{
    model_use((int)frame);
    must(fixedpool_free(pool, frame) == 0);
    return unused;
}

static void *steal(void *unused)
{
    stolen = model_steal();
    return unused;
}

static void play(void)
{
    int mine = -1;

    model_create(1, 0);
    cache              = model_open();
    frame              = model_cache_lease(cache);
    model_thread giver = model_start(give_back);
    model_thread thief = model_start(steal);
    if (fixedpool__refill(cache, false)) mine = fixedpool__lend(cache);
    if (mine >= 0) model_use(mine);
    fixedpool_cache_close(cache);
    model_join(giver);
    model_join(thief);
    must(!stolen || mine < 0);
    model_drain(stolen | (mine >= 0));
    model_destroy();
}
