/* Goal:   a cache that is closed while another thread leases by force, and a third one frees what
 *         it lent, loses nothing and gives nothing twice; that free is not refused.
 * Method: of a group of two one frame is lent, and the other idle. */
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
    must(stolen);
    return unused;
}

static void play(void)
{
    model_create(1, 1);
    cache          = model_open();
    frame          = model_cache_lease(cache);
    uint32_t other = model_cache_lease(cache);
    must(fixedpool_cache_free(cache, other) == 0);
    model_thread giver = model_start(give_back);
    model_thread thief = model_start(steal);
    fixedpool_cache_close(cache);
    model_join(giver);
    model_join(thief);
    model_drain(stolen);
    model_destroy();
}
