/* Goal:   a thread that looks at all groups finds a frame if at each moment one is idle, and a
 *         thread that waits is woken, however a frame becomes idle.
 * Method: a thread searches, or waits, while another one makes a frame idle and then takes one that
 *         the searcher has not looked at yet: at no time are all frames leased. */
#include "fixedpool_model.h"

static fixedpool_cache *cache;

static void *search(void *unused)
{
    model_home(0);
    model_search();
    return unused;
}

/* exact: with as many frames as threads, each of which holds at most one, no lease ever fails. The
 * frame becomes idle in one of four ways: it was taken and is freed; it was lent and is freed
 * elsewhere; it was lent and is freed through its cache; it was idle in a cache that is revoked.
 *
 *    searcher                                other (holds frame 0)
 *    watchers := 1
 *    look at group 0: leased
 *                                            free frame 0
 *                                            watchers is 1: events++
 *                                            lease frame 1
 *    look at group 1: leased
 *    events has changed: look again, find frame 0
 *
 * Store and load cross: either the look sees the frame idle, or the free sees the watcher. Broken
 * if the free's load of watchers is not seq_cst, or the heavy fence in fixedpool__watch is missing,
 * or, for a free through a cache, the light one. Broken if the lease of frame 1 does not release:
 * the searcher sees it, but not the count before it. */
static unsigned way;

static void hold_frame_0(void)
{
    if (way == 0) {
        must(fixedpool__lease(pool, 0, 1) == 1);
        return;
    }
    must(model_own(cache, 0));
    if (way < 3) must(fixedpool__lend(cache) == 0);
}

play(exact)
{
    bool gone = true;

    model_create(2, 0);
    way   = model_choose(4);
    cache = fixedpool_cache_open(pool);
    hold_frame_0();
    model_thread thread = model_start(search);
    if (way < 2) must(fixedpool_free(pool, 0) == 0);              /* taken; lent, freed elsewhere */
    else if (way == 2) must(fixedpool_cache_free(cache, 0) == 0); /* lent */
    else gone = fixedpool__lend(cache) < 0;                       /* idle, and then revoked */
    if (gone) (void)fixedpool__lease(pool, 1, 1);
    model_join(thread);
    model_destroy();
}

/* behind: as `exact`, but the frame ahead is lent from a cache of the thread that freed the frame
 * behind.
 *
 *    searcher                                other
 *    look at group 0: leased
 *                                            free frame 0: events++
 *                                            lend frame 1: lent := 1, release
 *    look at group 1: lent is 1
 *    events has changed: look again
 *
 * Broken if the loads of lent in fixedpool__lent do not acquire: the searcher sees frame 1 lent,
 * but not the count before it. */
play(behind)
{
    model_create(2, 0);
    must(fixedpool__lease(pool, 0, 1) == 1);
    cache = fixedpool_cache_open(pool);
    must(model_own(cache, 1));
    model_thread thread = model_start(search);
    must(fixedpool_free(pool, 0) == 0);
    (void)fixedpool__lend(cache);
    model_join(thread);
    model_destroy();
}

/* told: as `exact`, but a third thread leases the frame ahead, because the one that freed the frame
 * behind told it to.
 *
 *    searcher                    other                       third
 *    look at group 0: leased
 *                                free frame 0: events++
 *                                told := 1, release          told is 1, acquire
 *                                                            lease frame 1, release
 *    look at group 1: leased
 *    events has changed: look again
 *
 * Broken if the compare-exchange in fixedpool__lease_unowned does not release: the searcher sees
 * the lease of frame 1, but not the count that its lessee knows of. */
static _Atomic(int) told;

static void *lease_when_told(void *unused)
{
    if (atomic_load_explicit(&told, memory_order_acquire)) (void)fixedpool__lease(pool, 1, 1);
    return unused;
}

play(told)
{
    model_create(2, 0);
    atomic_store_explicit(&told, 0, memory_order_relaxed);
    must(fixedpool__lease(pool, 0, 1) == 1);
    model_thread thread = model_start(search);
    model_thread third  = model_start(lease_when_told);
    must(fixedpool_free(pool, 0) == 0);
    atomic_store_explicit(&told, 1, memory_order_release);
    model_join(thread);
    model_join(third);
    model_destroy();
}

/* absorb: a frame that is idle all the time is found, whatever the owner of its group does with the
 * group. The frame was lent and freed elsewhere: lent 1, returned 1.
 *
 *    owner                                   searcher
 *    absorb: lent := 0
 *    absorb: returned := 0, release          load shared, acquire: not returned
 *    leave: no owner                         load lent: must be 0
 *
 * Broken if the compare-exchange in fixedpool__absorb does not release, or if the load in
 * fixedpool__look does not acquire: the searcher sees returned 0 and lent 1, and takes the idle
 * frame for leased. */
play(absorb)
{
    model_create(1, 0);
    cache = model_open();
    must(fixedpool__lend(cache) == 0);
    must(fixedpool_free(pool, 0) == 0);
    model_thread thread = model_start(search);
    (void)fixedpool__absorb(cache, &cache->slots[0]);
    fixedpool__leave(pool, &cache->slots[0]);
    model_join(thread);
    model_destroy();
}

/* wait: a waiting thread is woken, however the frame becomes idle: it was taken and is freed; it
 * was lent and is freed elsewhere; it was lent and is freed through its cache.
 *
 *    waiter                                  other (holds frame 0)
 *    watchers := 1
 *    look: leased
 *    sleepers := 1                           free frame 0, watchers is 1: events++
 *    futex wait: is events what it was?      sleepers is 1: futex wake
 *
 * Broken if the free's load of watchers, the count of sleepers, the count of events or the load of
 * sleepers in fixedpool__tell is not seq_cst: the wake-up is lost, and the waiter sleeps for ever,
 * which the checker reports (an ordinary program hangs). */
static void *wait_for_frame_0(void *unused)
{
    model_home(0);
    int               error;
    fixedpool__frames found = fixedpool__wait(pool, -1, &error);
    must(found.bits == 1);
    return unused;
}

static void *wait_and_use(void *unused)
{
    (void)wait_for_frame_0(unused);
    model_use(0);
    return unused;
}

play(wait)
{
    model_create(1, 0);
    unsigned how = model_choose(3);
    cache        = fixedpool_cache_open(pool);
    if (how == 0) {
        must(fixedpool__lease(pool, 0, 1) == 1);
    } else {
        must(model_own(cache, 0));
        must(fixedpool__lend(cache) == 0);
    }
    model_thread thread = model_start(wait_and_use);
    model_use(0);
    if (how == 2) must(fixedpool_cache_free(cache, 0) == 0);
    else must(fixedpool_free(pool, 0) == 0);
    model_join(thread);
    model_drain(1);
    model_destroy();
}

/* crowd: a waiter is woken though another one comes and goes: watchers and sleepers are counted
 * right.
 *
 *    waiter                      passer                      main (holds frame 0)
 *    watchers + 1                watchers + 1
 *    look: leased                sleepers + 1
 *    sleepers + 1                sleepers - 1
 *                                watchers - 1                free, sees watchers and sleepers
 *                                                            wake
 *
 * Broken if any of these counts is a load and a store: the waiter's count is lost, and the free
 * takes it that nobody waits. */
static void *pass(void *unused)
{
    fixedpool__watch(pool);
    (void)fixedpool__sleep(pool, UINT32_MAX, 1); /* events has another value: it comes back */
    fixedpool__unwatch(pool);
    return unused;
}

play(crowd)
{
    int frame = 0;

    model_create(1, 0);
    must(fixedpool__lease(pool, 0, 1) == 1);
    model_thread waiter = model_start(wait_for_frame_0);
    model_thread passer = model_start(pass);
    must(fixedpool_free_many(pool, &frame, 1) == 1);
    model_join(waiter);
    model_join(passer);
    must(atomic_load_explicit(&pool->watchers, memory_order_relaxed) == 0);
    must(atomic_load_explicit(&pool->sleepers, memory_order_relaxed) == 0);
    model_destroy();
}
