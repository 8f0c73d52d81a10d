/* Goal:   of two frees of one lease at the same moment one is told 0, and the frame is idle once;
 *         each one that is refused is counted.
 * Method: two threads free the same taken frame, and one that there is not. */
#include "fixedpool_model.h"

static uint32_t          frame;
static _Atomic(unsigned) freed;

static void *free_it(void *unused)
{
    must(fixedpool_free(pool, 1) == -EINVAL);
    int error = fixedpool_free(pool, frame);
    must(error == 0 || error == -EALREADY);
    /* relaxed: looked at after the joins. */
    if (error == 0) atomic_fetch_add_explicit(&freed, 1, memory_order_relaxed);
    return unused;
}

static void play(void)
{
    freed = 0;
    model_create(1, 0);
    frame               = fixedpool__index(fixedpool__lease(pool, 0, 1));
    model_thread first  = model_start(free_it);
    model_thread second = model_start(free_it);
    model_join(first);
    model_join(second);
    must(freed == 1);
    must(atomic_load_explicit(&pool->refused, memory_order_relaxed) == 3);
    model_drain(0);
    model_destroy();
}
