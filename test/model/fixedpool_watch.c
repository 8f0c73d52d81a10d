/* Goal:   a waiter that was not given a frame is told of one, whichever way it is freed; what a
 *         waiter was told and has no use for, another one hears; after wake_all nobody waits.
 * Method: waiters have a futex word, which the pool counts up. At the end a waiter that got
 * -ENOBUFS must have been told, if a frame is idle. */
#include "fixedpool_model.h"

static uint32_t         words[2];
static fixedpool_waiter waiters[2];
static fixedpool_cache *cache;
static int              frame;

MODEL_INLINE void model_waiter(int number)
{
    words[number]   = 0;
    waiters[number] = (fixedpool_waiter){-1, &words[number], NULL};
    must(fixedpool__bell_hang(pool, &waiters[number])); /* so that the play is about the rest */
}

MODEL_INLINE bool was_told(int number)
{
    return __atomic_load_n(&words[number], __ATOMIC_SEQ_CST) > 0;
}

/* shared: a frame is freed by fixedpool_free while a waiter comes.
 *
 *    waiter                                 other
 *    arms its bell                          free: taken := 0
 *    watchers: 0 -> 1                       watchers?
 *    looks: taken is 1                        1: rings the bell
 *
 * Broken if the watcher is counted before the bell is armed, or after the look: nobody tells it. */
static void *free_it(void *unused)
{
    must(fixedpool_free(pool, frame) == 0);
    return unused;
}

play(shared)
{
    model_create(1, 0);
    model_waiter(0);
    frame               = (int)fixedpool__index(fixedpool__lease(pool, 0, 1));
    model_thread thread = model_start(free_it);
    int          got    = fixedpool_watch(pool, &waiters[0]);
    model_join(thread);
    must(got == 0 || (got == -ENOBUFS && was_told(0)));
    model_destroy();
}

/* cached: the frame is freed through its cache, by a plain store. */
static void *cache_free_it(void *unused)
{
    must(fixedpool_cache_free(cache, frame) == 0);
    return unused;
}

play(cached)
{
    model_create(1, 0);
    model_waiter(0);
    cache               = model_open();
    frame               = model_cache_lease(cache);
    model_thread thread = model_start(cache_free_it);
    int          got    = fixedpool_watch(pool, &waiters[0]);
    model_join(thread);
    must(got == 0 || (got == -ENOBUFS && was_told(0)));
    model_destroy();
}

/* leaving: one of two waiters is told, and leaves at that moment: the other one hears of the frame.
 *
 *    first                   other                  second
 *    armed, turn 0           free                   armed, turn 1
 *    unwatch: disarms        rings the first
 *      it was told: passes on, rings the second
 *
 * Broken if unwatch does not pass on, or does not see that it was told. */
static void *leave(void *unused)
{
    fixedpool_unwatch(pool, &waiters[0]);
    return unused;
}

play(leaving)
{
    model_create(1, 0);
    model_waiter(0);
    model_waiter(1);
    frame = (int)fixedpool__index(fixedpool__lease(pool, 0, 1));
    must(fixedpool_watch(pool, &waiters[0]) == -ENOBUFS);
    must(fixedpool_watch(pool, &waiters[1]) == -ENOBUFS);
    model_thread first  = model_start(leave);
    model_thread second = model_start(free_it);
    model_join(first);
    model_join(second);
    must(was_told(1));
    model_destroy();
}

/* passing: a waiter leases a frame and is told of another one at the same moment. A second waiter,
 * which found none, hears of that.
 *
 *    first                     second
 *    armed, turn 0
 *    look: leases frame 1
 *                              armed, turn 1; look: none
 *                              frees 0: rings the first
 *    disarm: it was told,
 *      so rings the second
 *
 * Broken if the first keeps to itself what it was told. */
static int first_got;

static void *watch_first(void *unused)
{
    first_got = fixedpool_watch(pool, &waiters[0]);
    return unused;
}

play(passing)
{
    model_create(1, 1);
    model_waiter(0);
    model_waiter(1);
    must(fixedpool__lease(pool, 0, 1) == 1);
    model_home(0);
    fixedpool__bell_arm(pool, waiters[0].place);
    model_thread thread = model_start(watch_first);
    int          got    = fixedpool_watch(pool, &waiters[1]);
    must(fixedpool_free(pool, 0) == 0);
    model_join(thread);
    must(first_got >= 0 || was_told(0));
    must(got >= 0 || was_told(1));
    model_destroy();
}

/* canceled: wake_all while a waiter comes, and while a thread comes to alloc_wait.
 *
 *    waiter                                 other
 *    arms its bell                          canceled := 1
 *    watchers: 0 -> 1                       watchers?
 *    canceled?                                1: rings the bell
 *
 * Broken if either look comes before the store: the waiter is not told, or sleeps for ever. */
static void *wake(void *unused)
{
    must(fixedpool_wake_all(pool) == 0);
    return unused;
}

play(canceled)
{
    model_create(1, 0);
    model_waiter(0);
    must(fixedpool__lease(pool, 0, 1) == 1);
    model_thread thread = model_start(wake);
    int          got    = fixedpool_watch(pool, &waiters[0]);
    model_join(thread);
    must(got == -ECANCELED || (got == -ENOBUFS && was_told(0)));
    must(fixedpool_watch(pool, &waiters[0]) == -ECANCELED);
    model_destroy();
}

play(canceled_sleep)
{
    model_create(1, 0);
    must(fixedpool__lease(pool, 0, 1) == 1);
    model_thread thread = model_start(wake);
    must(fixedpool_alloc_wait(pool, -1) == -ECANCELED);
    model_join(thread);
    model_destroy();
}
