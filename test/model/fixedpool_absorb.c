/* Goal:   who looks at everything finds a frame that is idle all the time, whatever the owner of
 *         its group does with the group.
 * Method: of a group the one frame was lent, and then freed elsewhere. The owner takes note of
 *         that, and leaves the group, while another thread looks. */
#include "fixedpool_model.h"

static fixedpool_cache *cache;

static void *search(void *unused)
{
    model_home(0);
    model_search();
    return unused;
}

static void play(void)
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
