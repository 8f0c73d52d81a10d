/* Goal:   as fixedpool_exact: who looks at everything knows of a frame that became idle behind it
 *         when it finds one ahead that the same thread has lent since.
 * Method: a thread frees the first frame, which is taken, and lends the second from its cache. */
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
    model_create(2, 0);
    must(fixedpool__lease(pool, 0, 1) == 1);
    cache = fixedpool_cache_open(pool);
    must(fixedpool__adopt(cache, 0, 1) && fixedpool__lend_from(cache, 0));
    model_thread thread = model_start(search);
    must(fixedpool_free(pool, 0) == 0);
    (void)fixedpool__lend(cache);
    model_join(thread);
    model_destroy();
}
