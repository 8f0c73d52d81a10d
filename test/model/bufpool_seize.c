/* Goal:   a cache is held by one thread at a time: its own, or one that seized it. Each idle buffer
 *         in it is acquired, or given back to the system, once.
 * Method: the cache's thread works in it, or closes it, while others seize it. Each thread writes
 *         plainly to the buffers that it gets: two holders are a data race. */
#include "bufpool_model.h"

static bufpool_cache *cache;

/* Seizes the cache and takes a buffer out of its stack. NULL: it was held, or had none. */
static bufpool__head *seize_and_pop(void)
{
    if (!bufpool__seize(cache)) return NULL;
    bufpool__head *head = bufpool__pop(&cache->stacks[BUFPOOL_MEDIUM]);
    bufpool__let_go(cache);
    return head;
}

/* seize: three threads seize a cache whose own thread does nothing; one at a time succeeds, and
 * comes after all that had seized it before.
 *
 *    main                        first                       second
 *    seized: 0 -> 1
 *    pop a buffer                seized is 1: give up
 *    seized := 0
 *                                                            seized: 0 -> 1
 *                                                            pop the next buffer
 *
 * Broken if the compare-exchange in bufpool__seize is a load and a store, or if the store in
 * bufpool__let_go does not release: a data race on the stack. */
static _Atomic(uint32_t) taken;

static void *take_one(void *unused)
{
    if (!bufpool__seize(cache)) return unused;
    bufpool__head *head = bufpool__pop(&cache->stacks[BUFPOOL_MEDIUM]);
    bufpool__let_go(cache);
    must(head);
    model_use(head);
    atomic_fetch_add_explicit(&taken, 1, memory_order_relaxed); /* read after the joins */
    return unused;
}

play(seize)
{
    taken = 0;
    model_create(1);
    cache = model_open(0, false);
    for (uint32_t i = 0; i < MODEL_HEADS; i++) (void)model_idle(cache, i, BUFPOOL_MEDIUM);
    model_thread one = model_start(take_one);
    model_thread two = model_start(take_one);
    (void)take_one(NULL);
    model_join(one);
    model_join(two);
    must(model_count(BUFPOOL_MEDIUM) + bufpool__get(&taken) == MODEL_HEADS);
}

/* trim: the cache's thread acquires and releases while main seizes the cache and shrinks its
 * stacks. The cache's own small buffer is beyond main's reach; the medium one goes to one of them.
 *
 *    cache's thread                          main
 *    busy := 1                               seized := 1
 *    light fence                             heavy fence
 *    seized is 0?                            busy is 0?
 *    pop the medium buffer                   pop the medium buffer
 *    busy := 0                               seized := 0
 *
 * Store and load cross: at least one of them sees the other. Broken if either fence is missing:
 * both pop. Broken if busy := 0 or seized := 0 does not release, or their loads do not acquire: a
 * data race on the stack. */
static void *use_small_and_medium(void *unused)
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

play(trim)
{
    bufpool__head *list = NULL;

    model_create(1);
    cache                 = model_open(0, true);
    bufpool__head *medium = model_idle(cache, 0, BUFPOOL_MEDIUM);
    bufpool_buf   *small  = model_buffer(1, BUFPOOL_SMALL);
    bufpool__home         = 0;
    must(bufpool_cache_release(cache, small) == 0);
    model_thread thread = model_start(use_small_and_medium);
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

/* wait: a thread whose cache is seized waits until it is let go, and finds it as it was left. While
 * it waits the cache may be seized again, but not once it is inside its call.
 *
 *    cache's thread                          main
 *                                            seized := 1
 *    busy := 1, light fence
 *    seized is 1: busy := 0, yield           pop, seized := 0
 *    busy := 1, light fence                  seized := 1, heavy fence
 *    seized is 0?                            busy is 0?
 *
 * Broken if the fence in bufpool__wait is missing, or if its load does not acquire. The thread
 * looks at the seizure a second time at most; executions in which it would look again are given
 * up. */
static void *pop_in_call(void *unused)
{
    bufpool__enter(cache);
    bufpool__head *head = bufpool__pop(&cache->stacks[BUFPOOL_MEDIUM]);
    if (head) model_use(head);
    bufpool__give_back(cache);
    return unused;
}

play(wait)
{
    bufpool__head *list = NULL;

#ifdef MODEL
    model_yields = 1;
#endif
    model_create(1);
    cache = model_open(0, false);
    (void)model_idle(cache, 0, BUFPOOL_MEDIUM);
    (void)model_idle(cache, 1, BUFPOOL_MEDIUM);
    model_thread thread = model_start(pop_in_call);
    for (int i = 0; i < 2; i++) {
        bufpool__head *head = seize_and_pop();
        if (head) bufpool__link(&list, head);
    }
    for (; list; list = list->next) model_use(list);
    model_join(thread);
    must(model_data[0] <= 1 && model_data[1] <= 1);
}

/* refused: the kernel refuses main its fence. Main lets go of the cache, untouched, and nobody
 * seizes it any more. A thread whose fence was not refused may have seized it before; what it did
 * to the cache happens before what the cache's thread does.
 *
 *    cache's thread               other                        main
 *                                 seized: 0 -> 1
 *                                 pop, seized := 0
 *                                                              seized: 0 -> 1
 *    busy := 1, light fence                                    no fence: busy says nothing
 *                                                              has_fences := 0, seized := 0
 *    seized is 0?
 *    pop, busy := 0               has_fences is 0: give up
 *
 * Broken if main looks at busy all the same: it may see an old 0, and pop what the cache's thread
 * pops. Broken if main's seized := 0 does not release, or its compare-exchange does not acquire:
 * the cache's thread does not see that the other has popped. */
static void *take_if_there(void *unused)
{
    bufpool__head *head = seize_and_pop();
    if (!head) return unused;
    model_use(head);
    atomic_fetch_add_explicit(&taken, 1, memory_order_relaxed); /* read after the joins */
    return unused;
}

static void *pop_with_an_owners_right(void *unused)
{
    bufpool__enter(cache);
    bufpool__head *head = bufpool__pop(&cache->stacks[BUFPOOL_MEDIUM]);
    bufpool__give_back(cache);
    if (!head) return unused;
    model_use(head);
    atomic_fetch_add_explicit(&taken, 1, memory_order_relaxed); /* read after the joins */
    return unused;
}

play(refused)
{
    taken = 0;
    model_create(1);
    cache = model_open(0, false);
    for (uint32_t i = 0; i < MODEL_HEADS; i++) (void)model_idle(cache, i, BUFPOOL_MEDIUM);
    model_thread owner = model_start(pop_with_an_owners_right);
    model_thread other = model_start(take_if_there);
#ifdef MODEL
    model_refused = true;
    must(!bufpool__seize(cache));
#endif
    (void)take_if_there(NULL);
    model_join(owner);
    model_join(other);
    must(bufpool__get(&taken) >= 1);
    must(model_count(BUFPOOL_MEDIUM) + bufpool__get(&taken) == MODEL_HEADS);
}

/* close: a thread closes a cache with a small buffer of its own and a medium one in its stack; they
 * go to the shard or the system, once. A thread that opens a cache on the seat that becomes free
 * comes after it.
 *
 *    closer                                  main
 *    give up its own buffer
 *    empty the stacks, their room
 *    lock, in_use := false, unlock           lock: a seat is free, or none
 *    the buffers go to the shard             open, acquire a small buffer, release it
 *
 * Broken if lock and unlock do not acquire and release, or if the seat were free before the stacks
 * are empty: a data race on the cache, or a buffer that is idle twice. */
static void *close_cache(void *unused)
{
    bufpool__home = 0;
    bufpool_cache_close(cache);
    return unused;
}

play(close)
{
    bufpool_buf *small = NULL;

    model_create(1);
    bufpool__home = 0;
    cache         = model_open(0, true);
    (void)model_idle(cache, 0, BUFPOOL_MEDIUM);
    must(bufpool_cache_release(cache, model_buffer(1, BUFPOOL_SMALL)) == 0);
    model_thread   thread = model_start(close_cache);
    bufpool_cache *next   = bufpool_cache_open(pool);
    must(!next || next == cache);
    if (next) small = bufpool_cache_acquire(next, 100, NULL);
    if (small) {
        model_use(bufpool__head_of(small));
        must(bufpool_cache_release(next, small) == 0);
    }
    model_join(thread);
    uint32_t idle = model_count(BUFPOOL_SMALL) + model_count(BUFPOOL_MEDIUM);
    idle += next && bufpool__own(next);
    must(idle + bufpool__get(&model_unmapped) == 2);
    must(bufpool__get(&pool->caches) == (next != NULL));
}

/* emptied: a thread closes a cache with a medium buffer in its stack while main looks for one
 * everywhere, because the system has no memory, and then trims. The buffer is acquired or given
 * back once.
 *
 *    closer                                  main
 *    busy := 1, light fence                  acquire: shard is empty, no memory
 *    seized is 0: empty the stack            seize the cache: busy, or its stack is empty
 *    busy := 0
 *    the buffer goes to the shard            trim: from the shard, or from the cache
 *
 * Broken by what breaks `trim`: the closing thread must enter its cache like any other call. */
play(emptied)
{
    model_create(1);
    bufpool__home = 0;
    cache         = model_open(0, false);
    (void)model_idle(cache, 0, BUFPOOL_MEDIUM);
    model_thread thread = model_start(close_cache);
    bufpool_buf *buf    = bufpool_acquire(pool, 5000, NULL);
    if (buf) model_use(bufpool__head_of(buf));
    size_t given = bufpool_trim(pool, 0);
    model_join(thread);
    must(!buf || given == 0);
    must(model_count(BUFPOOL_MEDIUM) + (buf != NULL) + bufpool__get(&model_unmapped) == 1);
    must(bufpool__get(&pool->caches) == 0);
}
