/* Goal:   who looks at everything without the heavy fence, for there is no cache, does not miss
 *         what the first cache frees lightly meanwhile.
 * Method: as in fixedpool_exact, but the cache is opened meanwhile. Executions with a heavy fence
 *         are not looked at, and the light ones do nothing. */
#define MODEL_LIGHTER
#include "fixedpool_model.h"

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

static void play(void)
{
    model_create(2, 0);
    model_home(0);
    model_thread     thread = model_start(search);
    fixedpool_cache *cache  = fixedpool_cache_open(pool);
    bool             mine   = fixedpool__adopt(cache, 0, 0) && fixedpool__lend_from(cache, 0);
    if (mine && fixedpool__lend(cache) == 0) {
        must(fixedpool_cache_free(cache, 0) == 0);
        (void)fixedpool__lease(pool, 1, 1);
    }
    model_join(thread);
    model_destroy();
}
