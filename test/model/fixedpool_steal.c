/* Goal:   a frame that is idle in a cache can be leased by other threads, and still has one lessee
 *         at a time; nothing is lost, and no thread waits for another.
 * Method: threads steal - lease by force, from a group that a cache owns - while the owner lends,
 *         takes back, absorbs or closes. Each lessee writes plainly. At the end each frame that is
 *         not leased can be leased exactly once. */
#include "fixedpool_model.h"

static fixedpool_cache *cache;
static int              frame;
static uint32_t         stolen[2];

static void *steal(void *unused)
{
    stolen[0] = model_steal();
    return unused;
}

static void *steal_too(void *unused)
{
    stolen[1] = model_steal();
    return unused;
}

static void *give_back(void *unused)
{
    model_use(frame);
    must(fixedpool_free(pool, frame) == 0);
    return unused;
}

/* thief: the owner takes back the only frame and lends it again while another thread steals it. One
 * of them gets it.
 *
 *    owner                                   thief
 *    take back: lent := 0
 *    busy := frame 0                         turn: owned -> revoked
 *    light fence                             heavy fence
 *    turn is its own?                        busy is frame 0? then leave it alone
 *    lent := 1                               else taken := 1
 *    busy := 0
 *
 * Store and load cross: either the owner sees that the group was revoked, or the thief sees what
 * the owner is busy with. Broken if either fence is missing: both lease the frame. Broken if busy
 * := 0 does not release, or if the thief's load of it does not acquire: two writes race. */
play(thief)
{
    stolen[0] = 0;
    model_create(1, 0);
    cache              = model_open();
    frame              = model_cache_lease(cache);
    model_thread thief = model_start(steal);
    model_use(frame);
    must(fixedpool_cache_free(cache, frame) == 0);
    int mine = fixedpool__lend(cache);
    if (mine >= 0) model_use(mine);
    model_join(thief);
    must(!stolen[0] || mine < 0);
    model_drain(stolen[0] | (mine >= 0));
    model_destroy();
}

/* thieves: two threads steal from one group at the same moment. Each gets a frame of its own, or
 * none that the owner is not busy with.
 *
 *    owner (lent 1, idle 1)      first                       second
 *                                turn: owned -> revoked
 *                                heavy fence                 turn is revoked
 *    take back frame 0           owner is not busy:          heavy fence of its own
 *                                  leave the group,          owner is not busy:
 *                                  taken := frame 1            word has changed, look again
 *    lend: turn is over
 *
 * Broken if the compare-exchange that revokes the group, or the one in fixedpool__lease_revoked, is
 * a load and a store: both take one frame. */
play(thieves)
{
    stolen[0] = stolen[1] = 0;
    model_create(1, 1);
    cache               = model_open();
    frame               = model_cache_lease(cache);
    model_thread first  = model_start(steal);
    model_thread second = model_start(steal_too);
    must(fixedpool_cache_free(cache, frame) == 0);
    int mine = fixedpool__lend(cache);
    if (mine >= 0) model_use(mine);
    model_join(first);
    model_join(second);
    must(!(stolen[0] & stolen[1]));
    model_drain(stolen[0] | stolen[1] | (mine >= 0 ? UINT32_C(1) << mine : 0));
    model_destroy();
}

/* returned: a lent frame that another thread frees goes back to its cache, which lends it again, or
 * to a thief: to one of them, once, and the freeing thread's write happens before.
 *
 *    owner                       giver                       thief
 *                                write
 *                                free: returned := 1
 *    absorb: busy := whole group                             turn: owned -> revoked
 *    light fence                                             heavy fence
 *    turn is its own?                                        owner is busy? leave it alone
 *    lent := 0, returned := 0                                else taken := 1
 *    lend, write                                             write
 *
 * Broken if the thief's fence is missing: the owner absorbs, and the thief takes, the same return.
 * Broken if the compare-exchange in fixedpool__lease_revoked does not acquire: the thief's write
 * races with the giver's. Broken if returned := 1 is a load and a store. */
play(returned)
{
    int mine = -1;

    stolen[0] = 0;
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
    must(!stolen[0] || mine < 0);
    model_drain(stolen[0] | (mine >= 0));
    model_destroy();
}

/* close: a cache is closed while one thread frees what it lent and another steals. Nothing is lost
 * or given twice, the free is not refused, and the thief gets a frame, because one is idle all the
 * time.
 *
 *    owner (lent 1, idle 1)      giver                       thief
 *                                write frame 0               turn: owned -> revoked
 *    leave: lent and not         free: lent is 1,
 *      returned -> taken           returned := 1
 *      (compare-exchange fails,    or, after leave,
 *      look again)                 taken := 0                lease frame 1
 *
 * Broken if leave, or the free of a lent frame, is a load and a store: a return that falls in
 * between is lost. */
static void *steal_one(void *unused)
{
    stolen[0] = model_steal();
    must(stolen[0]);
    return unused;
}

play(close)
{
    model_create(1, 1);
    cache     = model_open();
    frame     = model_cache_lease(cache);
    int other = model_cache_lease(cache);
    must(fixedpool_cache_free(cache, other) == 0);
    model_thread giver = model_start(give_back);
    model_thread thief = model_start(steal_one);
    fixedpool_cache_close(cache);
    model_join(giver);
    model_join(thief);
    model_drain(stolen[0]);
    model_destroy();
}

/* live: two threads never keep each other from finishing: one that revokes a group, and its owner,
 * which leaves it, owns it anew and finds it revoked again.
 *
 *    owner                                   thief
 *    lend: busy := frame 0                   turn: owned -> revoked
 *    turn is over: back off                  owner is busy with frame 0: look again
 *    leave, adopt: turn + 1                  turn: owned -> revoked
 *    lend: turn is over ...                  owner is busy ...
 *
 * Broken if the owner may adopt a group more than once in a call (fixedpool__refill_and_lend): the
 * checker follows each loop to its end, and would not come to one. */
static int got;

static void *alloc_by_force(void *unused)
{
    model_home(0);
    got = fixedpool_alloc(pool);
    return unused;
}

play(live)
{
    model_create(1, 0);
    model_home(0);
    cache = fixedpool_cache_open(pool);
    must(fixedpool_cache_free(cache, model_cache_lease(cache)) == 0);
    model_thread thief = model_start(alloc_by_force);
    int          mine  = fixedpool_cache_alloc(cache);
    model_join(thief);
    must((mine == 0) + (got == 0) == 1);
    model_destroy();
}

/* next: an owner lends twice, and the thief sees it busy with the second frame: then it also sees
 * that the first is lent.
 *
 *    owner                                   thief
 *    lend: busy := frame 0                   turn: owned -> revoked
 *          lent 0 := 1                       heavy fence
 *          busy := 0, release                busy is frame 1
 *    lend: busy := frame 1, release          lent 0 is 1: leave it alone
 *          light fence
 *          turn is over
 *
 * Broken if busy := frame 1 does not release, or, where a take back or an absorb comes second, its
 * store to busy: a thief that reads it has not acquired busy := 0, and leases frame 0, too. In C11
 * that store belongs to the release sequence of the one before; in C++20 it does not. */
static void lend_or_more(unsigned way, uint32_t *mine)
{
    int lent = fixedpool__lend(cache);
    if (lent >= 0) *mine |= UINT32_C(1) << lent;
    if (way == 0) {
        lent = fixedpool__lend(cache);
        if (lent >= 0) *mine |= UINT32_C(1) << lent;
    } else if (way == 1) {
        if (fixedpool__take_back(cache, &pool->groups[0], cache->slots[0].turn, (uint32_t)frame,
                                 (uint32_t)frame))
            *mine &= ~(UINT32_C(1) << frame);
    } else (void)fixedpool__absorb(cache, &cache->slots[0]);
}

play(next)
{
    uint32_t mine = 0;

    stolen[0] = 0;
    model_create(1, 1);
    unsigned way = model_choose(3);
    cache        = model_open();
    if (way > 0) frame = fixedpool__lend(cache);
    if (way == 1) mine = UINT32_C(1) << frame;
    if (way == 2) { /* frame 1 was freed elsewhere, and frame 0 is the next to be lent */
        must(fixedpool__lend(cache) == 1 && fixedpool_free(pool, 1) == 0);
        must(fixedpool_cache_free(cache, frame) == 0);
    }
    model_thread thief = model_start(steal);
    lend_or_more(way, &mine);
    model_join(thief);
    must(!(stolen[0] & mine));
    model_destroy();
}
