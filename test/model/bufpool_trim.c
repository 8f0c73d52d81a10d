/* Goal:   a buffer that is idle in a cache is acquired by the cache's thread, or trimmed, and not
 *         both; the cache's own one is never trimmed; whoever has one comes after all others that
 *         had it, and the budget is kept.
 * Method: a cache with its own small buffer and a medium one in its stack. Its thread acquires and
 *         releases both; main takes from the cache what it has. Each writes to what it has. */
#include "bufpool_model.h"

static bufpool_cache *cache;

static void *serve(void *unused)
{
    bufpool_buf *small  = bufpool_cache_acquire(cache, 100, NULL);
    bufpool_buf *medium = bufpool_cache_acquire(cache, 5000, NULL);

    must(small);
    model_use(bufpool__head_of(small));
    must(bufpool_cache_release(cache, small) == 0);
    if (!medium) return unused;
    model_use(bufpool__head_of(medium));
    must(bufpool_cache_release(cache, medium) == 0);
    return unused;
}

static void play(void)
{
    bufpool__head *list = NULL;

    model_create(1);
    cache                 = model_open(0, true);
    bufpool__head *medium = model_idle(cache, 0, BUFPOOL_MEDIUM);
    bufpool_buf   *small  = model_buffer(1, BUFPOOL_SMALL);
    bufpool__home         = 0;
    must(bufpool_cache_release(cache, small) == 0);
    model_thread thread = model_start(serve);
    if (bufpool__seize(cache)) {
        bufpool__shrink(cache, BUFPOOL_MEDIUM, 0, &list);
        bufpool__shrink(cache, BUFPOOL_SMALL, 0, &list);
        bufpool__let_go(cache);
    }
    if (list) model_use(list);
    model_join(thread);
    must(!list || (list == medium && !list->next));
    must(model_count(BUFPOOL_MEDIUM) == (list ? 0 : 1));
    must(model_count(BUFPOOL_SMALL) == 0 && bufpool__own(cache));
}
