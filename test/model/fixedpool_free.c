/* Goal:   a frame has one lessee at a time, each lessee's accesses happen before the next one's, no
 *         frame is lost, and of two frees of one lease at least one is told 0 and at most one makes
 *         the frame idle.
 * Method: threads lease, write plainly and free, by the shared path and through the cache that owns
 *         the frame's group. A frame with two lessees is a data race. At the end each frame that is
 *         not leased can be leased exactly once. */
#include "fixedpool_model.h"

static fixedpool_cache  *cache;
static int               frame;
static _Atomic(unsigned) freed;

static void *free_once(void *unused)
{
    int error = fixedpool_free(pool, frame);
    must(error == 0 || error == -EALREADY);
    /* relaxed: read after the joins. */
    if (error == 0) atomic_fetch_add_explicit(&freed, 1, memory_order_relaxed);
    return unused;
}

/* Leases the cache's only frame as often as the cache believes that it is idle: at most once. */
MODEL_INLINE void lend_what_is_idle(void)
{
    uint32_t leased = 0;

    while (fixedpool__refill(cache, false)) {
        must(fixedpool__lend(cache) == 0 && !leased);
        leased = 1;
    }
    model_drain(leased);
}

/* unowned: three threads share two frames of a group that has no owner.
 *
 *    main                        first                       second
 *    taken: 00 -> 11             lease: none idle
 *    write both
 *    free both: taken := 00      lease: taken 00 -> 01
 *                                write frame 0               lease: taken 01 -> 11
 *                                free: taken & ~01           write frame 1
 *
 * Broken if the free does not release, or the lease does not acquire: two writes race. Broken if
 * either is a load and a store: a frame has two lessees, or is lost. */
static void *use_one(void *unused)
{
    uint32_t bit = fixedpool__lease(pool, 0, 1);
    if (!bit) return unused;
    int mine = (int)fixedpool__index(bit);
    model_use(mine);
    must(fixedpool_free(pool, mine) == 0);
    return unused;
}

play(unowned)
{
    model_create(1, 1);
    model_thread first  = model_start(use_one);
    model_thread second = model_start(use_one);
    uint32_t     bits   = fixedpool__lease(pool, 0, 2);
    if (bits) model_use((int)fixedpool__index(bits));
    must(fixedpool__free_bits(pool, 0, bits) == bits);
    model_join(first);
    model_join(second);
    model_drain(0);
    model_destroy();
}

/* taken: two threads free one taken frame, and a frame that does not exist. Exactly one free of the
 * taken frame is told 0; each refused free is counted.
 *
 *    first                                   second
 *    free 1: -EINVAL                         free 1: -EINVAL
 *    free 0: taken was 1, told 0
 *                                            free 0: taken was 0, -EALREADY
 *
 * Broken if clearing the bit, or counting a refusal, is a load and a store. */
static void *free_both(void *unused)
{
    must(fixedpool_free(pool, 1) == -EINVAL);
    return free_once(unused);
}

play(taken)
{
    freed = 0;
    model_create(1, 0);
    frame               = (int)fixedpool__index(fixedpool__lease(pool, 0, 1));
    model_thread first  = model_start(free_both);
    model_thread second = model_start(free_both);
    model_join(first);
    model_join(second);
    must(freed == 1);
    must(atomic_load_explicit(&pool->refused, memory_order_relaxed) == 3);
    model_drain(0);
    model_destroy();
}

/* twice: a lent frame is freed through its cache and by another thread at the same moment. Each may
 * be told 0, but not both -EALREADY; the frame is idle once.
 *
 *    owner                                   other
 *    take back: lent is 1, not returned
 *                                            lent is 1: returned := 1, told 0
 *    lent := 0, told 0
 *    absorb: returned := 0; idle is a bit,
 *      which is set already
 *
 * Broken if the owner kept idle frames in a list, or counted them: the frame would be idle
 * twice. */
static int answer;

static void *free_elsewhere(void *unused)
{
    answer = fixedpool_free(pool, frame);
    must(answer == 0 || answer == -EALREADY);
    return unused;
}

play(twice)
{
    model_create(1, 0);
    cache               = model_open();
    frame               = model_cache_lease(cache);
    model_thread thread = model_start(free_elsewhere);
    int          mine   = fixedpool_cache_free(cache, frame);
    must(mine == 0 || mine == -EALREADY);
    model_join(thread);
    must(answer == 0 || mine == 0);
    lend_what_is_idle();
    model_destroy();
}

/* elsewhere: two threads free one lent frame by the shared path while its cache absorbs returns.
 * Both may be told 0, if the cache absorbs the first return in between; the frame is idle once.
 *
 *    owner                       first                       second
 *                                lent is 1: returned := 1    lent is 1
 *    absorb: lent := 0
 *    absorb: returned := 0
 *                                                            returned := 1, told 0
 *    refill: absorb again, idle already
 *
 * Broken if the owner counted the second return as another idle frame. */
play(elsewhere)
{
    freed = 0;
    model_create(1, 0);
    cache               = model_open();
    frame               = model_cache_lease(cache);
    model_thread first  = model_start(free_once);
    model_thread second = model_start(free_once);
    (void)fixedpool__refill(cache, false);
    model_join(first);
    model_join(second);
    must(freed == 1 || freed == 2);
    lend_what_is_idle();
    model_destroy();
}
