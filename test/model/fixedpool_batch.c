/* Goal:   a cache that lends or takes back several frames at once shares none of them with a thread
 *         that revokes the group meanwhile, and no frame is lost.
 * Method: the owner of a group of two frames makes one call for both, while another thread steals.
 * A frame with two lessees is a data race. At the end each frame that is not leased can be leased
 * once. */
#include "fixedpool_model.h"

static fixedpool_cache *cache;
static uint32_t         stolen;

static void *steal(void *unused)
{
    stolen = model_steal();
    return unused;
}

/* Lends both frames in one call, or none; which. */
MODEL_INLINE uint32_t lend_both(void)
{
    int      frames[2] = {0, 0};
    uint32_t count     = fixedpool__batch_lend(cache, frames, 2);
    return count == 2 ? 3 : count == 1 ? UINT32_C(1) << frames[0] : 0;
}

/* lend: the owner lends both frames.
 *
 *    owner                                  thief
 *    busy := both                           turn: owned -> revoked
 *    fence                                  fence
 *    turn? revoked: backs off               busy? both: takes none
 *      or owned: lent := 1, both            or 0: sees which are lent
 *
 * Broken if busy names fewer frames than are lent, or is set after the look at the turn: a frame
 * has two lessees. */
play(lend)
{
    stolen = 0;
    model_create(1, 1);
    cache               = model_open();
    model_thread thread = model_start(steal);
    uint32_t     bits   = lend_both();
    if (bits & 1) model_use(0);
    if (bits & 2) model_use(1);
    model_join(thread);
    must(!(bits & stolen));
    model_drain(bits | stolen);
    model_destroy();
}

/* take_back: the owner takes both frames back.
 *
 *    owner                                  thief
 *    writes to both                         turn: owned -> revoked
 *    busy := both; turn? owned              busy? both: takes none
 *    lent := 0, both; busy := 0             or 0: leases what is no longer lent
 *
 * Broken if busy is cleared before lent, or lent is cleared without a release: the owner's last
 * write races with the thief's first. */
play(take_back)
{
    stolen = 0;
    model_create(1, 1);
    cache = model_open();
    must(lend_both() == 3);
    model_thread thread = model_start(steal);
    model_use(0);
    model_use(1);
    must(fixedpool__batch_free(cache, 0, 3) == 2);
    model_join(thread);
    model_drain(stolen);
    model_destroy();
}
