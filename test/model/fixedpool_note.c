/* Goal:   of two frees of one lease by the shared path, of a frame that a cache lent, one or both
 *         are told 0 if the cache takes note of the first in between; the frame is idle once.
 * Method: just that, and then the owner lends what it thinks it has. */
#include "fixedpool_model.h"

static fixedpool_cache  *cache;
static uint32_t          frame;
static _Atomic(unsigned) freed;

static void *free_it(void *unused)
{
    int error = fixedpool_free(pool, frame);
    must(error == 0 || error == -EALREADY);
    /* relaxed: looked at after the joins. */
    if (error == 0) atomic_fetch_add_explicit(&freed, 1, memory_order_relaxed);
    return unused;
}

static void play(void)
{
    uint32_t leased = 0;

    freed = 0;
    model_create(1, 0);
    cache               = model_open();
    frame               = model_cache_lease(cache);
    model_thread first  = model_start(free_it);
    model_thread second = model_start(free_it);
    (void)fixedpool__refill(cache, false);
    model_join(first);
    model_join(second);
    must(freed == 1 || freed == 2);
    while (fixedpool__refill(cache, false)) {
        must(fixedpool__lend(cache) == 0 && !leased);
        leased = 1;
    }
    model_drain(leased);
    model_destroy();
}
