/* Goal:   an owner that takes note of a frame freed elsewhere, and whose group is revoked
 *         meanwhile, does not clear what the next owner has lent.
 * Method: the one frame of a group was lent, and freed elsewhere. The owner looks for a frame,
 *         while another thread leases it by force, frees it, becomes the owner of the group and
 *         lends it. */
#include "fixedpool_model.h"

static fixedpool_cache *caches[2];
static bool             leased;

static void *steal_and_adopt(void *unused)
{
    uint32_t bit = model_steal();
    if (!bit) return unused;
    must(fixedpool_free(pool, 0) == 0);
    if (!fixedpool__adopt(caches[1], 0, 0) || !fixedpool__lend_from(caches[1], 0)) return unused;
    leased = fixedpool__lend(caches[1]) == 0;
    return unused;
}

static void play(void)
{
    leased = false;
    model_create(1, 0);
    caches[0] = model_open();
    caches[1] = fixedpool_cache_open(pool);
    must(fixedpool__lend(caches[0]) == 0);
    must(fixedpool_free(pool, 0) == 0);
    model_thread thread = model_start(steal_and_adopt);
    (void)fixedpool__refill(caches[0], false);
    model_join(thread);
    model_drain(leased);
    model_destroy();
}
