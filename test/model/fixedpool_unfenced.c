/* Goal:   what needs no fence works without one: the light fence alone orders nothing in the
 *         processor, so here it is nothing.
 * Method: executions that reach a heavy fence, or the pause in its place, are not explored. In the
 *         others nobody steals, and only the acquires and releases order anything. */
#define MODEL_LIGHTER
#include "fixedpool_model.h"

static fixedpool_cache *cache;

/* returned: a frame that was taken before its group got an owner, or that the owner lent, is the
 * owner's to lend after somebody freed it elsewhere; the other thread's write happens before.
 *
 *    owner                                   other
 *                                            write
 *                                            free: taken := 0, or returned := 1
 *    refill: frame 0 is idle
 *    lend, write
 *
 * Broken if neither the load in fixedpool__lend_from nor the one in fixedpool__lend acquires: the
 * two writes race. */
static void *give_back(void *unused)
{
    model_use(0);
    must(fixedpool_free(pool, 0) == 0);
    return unused;
}

play(returned)
{
    model_create(1, 0);
    unsigned way = model_choose(2);
    cache        = fixedpool_cache_open(pool);
    if (way == 0) must(fixedpool__lease(pool, 0, 1) == 1);
    must(fixedpool__adopt(cache, 0, 0));
    if (way == 1) must(fixedpool__lend_from(cache, 0) && fixedpool__lend(cache) == 0);
    model_thread giver = model_start(give_back);
    if (fixedpool__refill(cache, false)) {
        must(fixedpool__lend(cache) == 0);
        model_use(0);
    }
    model_join(giver);
    model_destroy();
}

/* opened: a thread that looks at everything without the heavy fence, because it sees no cache, does
 * not miss a frame that the first cache frees lightly meanwhile. At no time are both frames leased.
 *
 *    searcher                                opener
 *    watchers := 1                           seats := the cache's
 *    seats is NULL: no heavy fence           seq_cst fence in fixedpool_cache_open
 *    look at group 0: lent                   adopt group 0, lend frame 0
 *                                            free it: lent := 0, watchers is 1: events++
 *    look at group 1: taken                  lease frame 1
 *    events has changed: look again
 *
 * Store and load cross. Broken if the count or the load in fixedpool__watch, or the fence in
 * fixedpool_cache_open, is not seq_cst: neither sees the other, and the search ends with
 * nothing. */
static void *search(void *unused)
{
    uint32_t          events;
    fixedpool__frames found;

    model_home(0);
    fixedpool__watch(pool);
    do {
        found = fixedpool__look(pool, 1, &events);
    } while (!found.bits && fixedpool__has_changed(pool, events));
    must(found.bits);
    return unused;
}

play(opened)
{
    model_create(2, 0);
    model_home(0);
    model_thread thread = model_start(search);
    cache               = fixedpool_cache_open(pool);
    if (model_own(cache, 0) && fixedpool__lend(cache) == 0) {
        must(fixedpool_cache_free(cache, 0) == 0);
        (void)fixedpool__lease(pool, 1, 1);
    }
    model_join(thread);
    model_destroy();
}

/* late: a search that saw no owner and then was refused the heavy fence, does not miss a frame
 * that a late owner frees lightly: there is none. At no time are both frames leased.
 *
 *    searcher                                late owner
 *    watchers := 1
 *    unfenced := 1                           adopt: turn: unowned -> owned
 *    no group has an owner: no pause         unfenced? then leave the group again
 *    look at group 0: lent                   (otherwise: lend frame 0)
 *                                            (free it: lent := 0, watchers is 0)
 *    look at group 1: taken                  (lease frame 1)
 *
 * Store and load cross. Broken if one of these four accesses is not seq_cst, or if adopt does not
 * look: the owner lends, and its light free and the look of the search miss each other. */
static void *search_thrice(void *unused)
{
    model_home(0);
    model_search();
    return unused;
}

play(late)
{
    model_create(2, 0);
    model_home(0);
    cache               = fixedpool_cache_open(pool);
    model_refuses       = true;
    model_thread thread = model_start(search_thrice);
    if (model_own(cache, 0) && fixedpool__lend(cache) == 0) {
        must(fixedpool_cache_free(cache, 0) == 0);
        (void)fixedpool__lease(pool, 1, 1);
    }
    model_join(thread);
    model_destroy();
    model_refuses = false;
}

/* told: a search does not miss a frame that one thread frees and counts before it tells another,
 * which then lends the frame ahead from its cache. The heavy fence of the search came before all
 * that.
 *
 *    searcher                    other                       owner
 *    look at group 0: leased
 *                                free frame 0: events++
 *                                told := 1, release          told is 1, acquire
 *                                                            lend frame 1: lent := 1, release
 *    look at group 1: lent is 1
 *    events has changed: look again
 *
 * Broken if lent := 1 in fixedpool__lend does not release, or if the loads of lent in
 * fixedpool__lent do not acquire: the searcher sees frame 1 lent, but not the count that its lessee
 * knows of. */
static _Atomic(int) told;

static void *look_twice(void *unused)
{
    uint32_t events;

    model_home(0);
    fixedpool__frames found = fixedpool__look(pool, 1, &events);
    if (!found.bits && fixedpool__has_changed(pool, events))
        found = fixedpool__look(pool, 1, &events);
    must(found.bits);
    return unused;
}

static void *lend_when_told(void *unused)
{
    if (atomic_load_explicit(&told, memory_order_acquire)) (void)fixedpool__lend(cache);
    return unused;
}

play(told)
{
    model_create(2, 0);
    cache = fixedpool_cache_open(pool);
    must(fixedpool__lease(pool, 0, 1) == 1 && model_own(cache, 1));
    atomic_store_explicit(&told, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->watchers, 1, memory_order_relaxed);
    model_thread thread = model_start(look_twice);
    model_thread owner  = model_start(lend_when_told);
    must(fixedpool_free(pool, 0) == 0);
    atomic_store_explicit(&told, 1, memory_order_release);
    model_join(thread);
    model_join(owner);
    model_destroy();
}

/* reopened: a cache that gets the seat of one that is closed at that moment is busy with nothing
 * but its own: the last stores to busy come before.
 *
 *    first                                   second
 *    busy := frame, busy := 0
 *    close: occupied 1 -> 0, release         open: occupied 0 -> 1, fence
 *                                            busy := frame + 1, WHOLE
 *
 * Broken if giving a seat back does not release, or if there is no fence in fixedpool_cache_open:
 * busy := 0 may come after the next cache's store. */
static fixedpool_cache *next_cache;
static bool             same_seat;

static void *open_and_be_busy(void *unused)
{
    model_home(0);
    next_cache = fixedpool_cache_open(pool);
    same_seat  = next_cache->number == 1;
    atomic_store_explicit(&next_cache->seat->busy, 7, memory_order_relaxed);
    return unused;
}

play(reopened)
{
    model_create(1, 0);
    model_home(0);
    cache                = model_open();
    fixedpool__seat *old = cache->seat;
    model_thread thread  = model_start(open_and_be_busy);
    must(fixedpool_cache_free(cache, fixedpool__lend(cache)) == 0);
    fixedpool_cache_close(cache);
    model_join(thread);
    must(!same_seat || atomic_load_explicit(&old->busy, memory_order_relaxed) == 7);
    atomic_store_explicit(&next_cache->seat->busy, 0, memory_order_relaxed);
    fixedpool_cache_close(next_cache);
    model_destroy();
}
