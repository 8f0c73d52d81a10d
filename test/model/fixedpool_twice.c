/* Goal:   a frame that is freed twice, through the cache that lent it and by another thread at the
 *         same moment, is idle once: nobody leases it twice, and it is not lost.
 * Method: just that, and then the owner lends what it thinks it has. Each free may be told 0, but
 *         not both that the frame was free already. */
#include "fixedpool_model.h"

static fixedpool_cache *cache;
static uint32_t         frame;
static int              answer;

static void *free_it(void *unused)
{
    answer = fixedpool_free(pool, frame);
    must(answer == 0 || answer == -EALREADY);
    return unused;
}

static void play(void)
{
    uint32_t leased = 0;

    model_create(1, 0);
    cache               = model_open();
    frame               = model_cache_lease(cache);
    model_thread thread = model_start(free_it);
    int          mine   = fixedpool_cache_free(cache, frame);
    must(mine == 0 || mine == -EALREADY);
    model_join(thread);
    must(answer == 0 || mine == 0);
    while (fixedpool__refill(cache, false)) {
        must(fixedpool__lend(cache) == 0 && !leased);
        leased = 1;
    }
    model_drain(leased);
    model_destroy();
}
