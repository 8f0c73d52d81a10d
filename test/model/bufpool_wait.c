/* Goal:   a thread whose cache is seized waits until it is let go, and then finds it as it was
 *         left; while it waits the cache may be seized again, but not once it is in its call.
 * Method: a cache with two medium buffers. Main seizes it twice, and takes one each time; the
 *         cache's thread acquires one, looks at the seizure a second time if it has to, and is not
 *         followed further. Each writes to what it has. */
static _Thread_local unsigned yields;
#define MODEL_YIELD() __VERIFIER_assume(yields++ == 0)
#include "bufpool_model.h"

static bufpool_cache *cache;

static void *serve(void *unused)
{
    bufpool__enter(cache);
    bufpool__head *head = bufpool__pop(&cache->stacks[BUFPOOL_MEDIUM]);
    if (head) model_use(head);
    bufpool__give_back(cache);
    return unused;
}

static void take(bufpool__head **list)
{
    if (!bufpool__seize(cache)) return;
    bufpool__head *head = bufpool__pop(&cache->stacks[BUFPOOL_MEDIUM]);
    bufpool__let_go(cache);
    if (head) bufpool__link(list, head);
}

static void play(void)
{
    bufpool__head *list = NULL;

    yields = 0;
    model_create(1);
    cache = model_open(0, false);
    (void)model_idle(cache, 0, BUFPOOL_MEDIUM);
    (void)model_idle(cache, 1, BUFPOOL_MEDIUM);
    model_thread thread = model_start(serve);
    take(&list);
    take(&list);
    for (; list; list = list->next) model_use(list);
    model_join(thread);
    must(model_data[0] <= 1 && model_data[1] <= 1);
}
