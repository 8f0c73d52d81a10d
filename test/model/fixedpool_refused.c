/* Goal:   a pool whose owners have light fences, and whose membarrier is then refused, goes on
 *         without owners: no frame is lost, and none is leased twice.
 * Method: one thread steals or searches and is refused the heavy fence, while another one is on an
 *         owner's path. */
#include "fixedpool_model.h"

static fixedpool_cache *cache;
static int              frame;
static uint32_t         stolen;

static void *steal(void *unused)
{
    stolen = model_steal();
    return unused;
}

/* pause: what an owner has lent, lends, takes back or frees while the thief does without a fence is
 * leased to one thread at a time, and afterwards the group has no owner. The pause of the thief
 * stands for the machine's promise that stores are visible in the end.
 *
 *    owner (lent 1, idle 1)                  thief
 *    take back: lent := 0                    unfenced := 1
 *    busy := frame 0                         turn: owned -> revoked
 *    light fence                             pause
 *    turn is its own?                        owner is not busy:
 *    lent := 1                                 turn: revoked -> unowned, lent becomes taken
 *    busy := 0                               lease what is idle
 *
 * Broken if fixedpool__revoke_all leaves an owner out, if the pause is missing, or if
 * fixedpool__disown_all does not spare what the owner is busy with. */
play(pause)
{
    stolen = 0;
    model_create(1, 1);
    cache              = model_open();
    frame              = model_cache_lease(cache);
    model_refuses      = true;
    model_thread thief = model_start(steal);
    model_use(frame);
    must(fixedpool_cache_free(cache, frame) == 0);
    int mine = fixedpool__lend(cache);
    if (mine >= 0) model_use(mine);
    model_join(thief);
    uint32_t leased = mine >= 0 ? UINT32_C(1) << mine : 0;
    must(!(stolen & leased));
    must(!fixedpool__adopt(cache, 1, 0));
    model_drain(stolen | leased);
    must(fixedpool__state(atomic_load(&pool->groups[0].shared)) == FIXEDPOOL__UNOWNED);
    model_destroy();
    model_refuses = false;
}

/* returned: a lent frame that a third thread frees meanwhile is idle afterwards.
 *
 *    owner                       giver                       thief
 *                                write
 *                                free: returned := 1,        turn: owned -> revoked, pause,
 *    absorb, or leave              or taken := 0               turn -> unowned, lent -> taken
 *    lend, write                                             lease, write
 *
 * Broken if fixedpool__left does not make lent frames taken, but for those that were returned. */
static void *give_back(void *unused)
{
    model_use(frame);
    must(fixedpool_free(pool, frame) == 0);
    return unused;
}

play(returned)
{
    int mine = -1;

    stolen = 0;
    model_create(1, 0);
    cache              = model_open();
    frame              = model_cache_lease(cache);
    model_refuses      = true;
    model_thread giver = model_start(give_back);
    model_thread thief = model_start(steal);
    if (fixedpool__refill(cache, false)) mine = fixedpool__lend(cache);
    if (mine >= 0) model_use(mine);
    model_join(giver);
    model_join(thief);
    must(!stolen || mine < 0);
    model_drain(stolen | (mine >= 0));
    model_destroy();
    model_refuses = false;
}
