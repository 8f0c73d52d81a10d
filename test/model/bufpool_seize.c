/* Goal:   a cache is seized by one thread at a time, who comes after all others that had seized it:
 *         each buffer that is idle there is taken once.
 * Method: a cache, whose thread does nothing, with three medium buffers. Two threads and main seize
 *         it, each takes one, if there is one, lets go, and writes to what it has. */
#include "bufpool_model.h"

static bufpool_cache    *cache;
static _Atomic(uint32_t) taken;

static void *take(void *unused)
{
    if (!bufpool__seize(cache)) return unused;
    bufpool__head *head = bufpool__pop(&cache->stacks[BUFPOOL_MEDIUM]);
    bufpool__let_go(cache);
    must(head);
    model_use(head);
    atomic_fetch_add_explicit(&taken, 1, memory_order_relaxed); /* looked at after the joins */
    return unused;
}

static void play(void)
{
    taken = 0;
    model_create(1);
    cache = model_open(0, false);
    for (uint32_t i = 0; i < MODEL_HEADS; i++) (void)model_idle(cache, i, BUFPOOL_MEDIUM);
    model_thread one = model_start(take);
    model_thread two = model_start(take);
    (void)take(NULL);
    model_join(one);
    model_join(two);
    must(model_count(BUFPOOL_MEDIUM) + bufpool__get(&taken) == MODEL_HEADS);
}
