/* Goal:   a group that is revoked while its owner is still about to clear what the last one lent
 *         has no other owner before it is done: nothing that the next one lends is forgotten.
 * Method: one cache becomes the owner of a group, and lends a frame. Another thread leases one by
 *         force, becomes the owner of the group if that left it without one, and lends. */
#include "fixedpool_model.h"

static fixedpool_cache *caches[2];
static uint32_t         leased[2];

static void adopt_and_lend(int which)
{
    fixedpool_cache *cache = caches[which];
    if (!fixedpool__adopt(cache, 0, 0) || !fixedpool__lend_from(cache, 0)) return;
    int frame = fixedpool__lend(cache);
    if (frame < 0) return;
    model_use(frame);
    leased[which] |= UINT32_C(1) << frame;
}

static void *steal_and_adopt(void *unused)
{
    leased[1] = model_steal();
    adopt_and_lend(1);
    return unused;
}

static void play(void)
{
    leased[0] = 0;
    model_create(1, 1);
    caches[0]           = fixedpool_cache_open(pool);
    caches[1]           = fixedpool_cache_open(pool);
    model_thread thread = model_start(steal_and_adopt);
    adopt_and_lend(0);
    model_join(thread);
    must(!(leased[0] & leased[1]));
    model_drain(leased[0] | leased[1]);
    model_destroy();
}
