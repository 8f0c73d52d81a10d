/* Goal:   with as many frames as threads, each of which holds at most one, no lease ever fails,
 *         however a frame becomes idle.
 * Method: one thread looks at everything, and must find a frame. The other one lets go of the
 *         first frame, or finds that it cannot have it, in one of four ways, and then leases the
 *         second: at no time are both leased. */
#include "fixedpool_model.h"

static fixedpool_cache *cache;
static unsigned         way;

static void *search(void *unused)
{
    model_home(0);
    model_search();
    return unused;
}

static void begin(void)
{
    if (way == 0) {
        must(fixedpool__lease(pool, 0, 1) == 1);
        return;
    }
    must(fixedpool__adopt(cache, 0, 0) && fixedpool__lend_from(cache, 0));
    if (way < 3) must(fixedpool__lend(cache) == 0);
}

static void play(void)
{
    bool gone = true;

    model_create(2, 0);
    way   = model_choose(4);
    cache = fixedpool_cache_open(pool);
    begin();
    model_thread thread = model_start(search);
    if (way < 2) must(fixedpool_free(pool, 0) == 0);              /* taken; lent by another one */
    else if (way == 2) must(fixedpool_cache_free(cache, 0) == 0); /* lent */
    else gone = fixedpool__lend(cache) < 0;                       /* idle, and then revoked */
    if (gone) (void)fixedpool__lease(pool, 1, 1);
    model_join(thread);
    model_destroy();
}
