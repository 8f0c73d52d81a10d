/* Goal:   what a group's last owner stored in lent comes before what the next one stores there,
 *         though a third thread made the group everybody's: no frame seems lent for ever.
 * Method: one cache lends a frame of its group, another thread leases the other one by force, and
 *         a third becomes the owner as soon as there is none. Then all is freed by the shared
 *         path. */
#include "fixedpool_model.h"

static fixedpool_cache *caches[2];
static uint32_t         stolen;

static void *steal(void *unused)
{
    stolen = fixedpool__steal(pool, 0, 1);
    return unused;
}

static void *adopt(void *unused)
{
    (void)fixedpool__adopt(caches[1], 0, 0);
    return unused;
}

static void play(void)
{
    model_create(1, 1);
    caches[0]            = model_open();
    caches[1]            = fixedpool_cache_open(pool);
    model_thread thief   = model_start(steal);
    model_thread adopter = model_start(adopt);
    int          mine    = fixedpool__lend(caches[0]);
    model_join(thief);
    model_join(adopter);
    if (mine >= 0) must(fixedpool_free(pool, (uint32_t)mine) == 0);
    must(fixedpool__free_bits(pool, 0, stolen) == stolen);
    model_drain(0);
    model_destroy();
}
