/* Goal:   a thread that waits for a frame is woken, however a frame becomes idle.
 * Method: the one frame is leased. A thread waits for it, while another one frees it in one of
 *         three ways. A wake-up that is lost is a sleep that never ends: the checker looks for
 *         those; an ordinary run hangs. */
#include "fixedpool_model.h"

static fixedpool_cache *cache;

static void *wait(void *unused)
{
    model_home(0);
    fixedpool__frames found = fixedpool__wait(pool, -1);
    must(found.bits == 1);
    model_use(0);
    return unused;
}

static void play(void)
{
    model_create(1, 0);
    unsigned way = model_choose(3);
    cache        = fixedpool_cache_open(pool);
    if (way == 0) {
        must(fixedpool__lease(pool, 0, 1) == 1);
    } else {
        must(fixedpool__adopt(cache, 0, 0) && fixedpool__lend_from(cache, 0));
        must(fixedpool__lend(cache) == 0);
    }
    model_thread thread = model_start(wait);
    model_use(0);
    if (way == 2) must(fixedpool_cache_free(cache, 0) == 0);
    else must(fixedpool_free(pool, 0) == 0);
    model_join(thread);
    model_drain(1);
    model_destroy();
}
