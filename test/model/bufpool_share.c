/* Goal:   a cache that has more than its share when another is opened gives up the rest: what was
 *         idle in it is there once, and its thread, which has one of them or takes one, is not
 *         disturbed.
 * Method: a cache with two medium buffers, all that one may have. Its thread acquires one, writes
 *         to it, and releases it; main opens a second cache. */
#define MODEL_MEMORY
#include "bufpool_model.h"

static bufpool_cache    *cache;
static _Atomic(uint32_t) unmapped;

static void *model_map(size_t size)
{
    return size == sizeof(bufpool_cache) ? &model_caches[1] : NULL;
}

static void model_unmap(void *memory, size_t size)
{
    must(size == 64 << 10);
    *(uint64_t *)memory += 10;
    atomic_fetch_add_explicit(&unmapped, 1, memory_order_relaxed); /* looked at after the join */
}

static void *serve(void *unused)
{
    bufpool_buf *buf = bufpool_cache_acquire(cache, 5000, NULL);

    if (!buf) return unused;
    model_use(bufpool__head_of(buf));
    must(bufpool_cache_release(cache, buf) == 0);
    return unused;
}

static void play(void)
{
    unmapped = 0;
    model_create(1);
    bufpool__home             = 0;
    pool->config.idle_buffers = 4;
    cache                     = model_open(0, false);
    (void)model_idle(cache, 0, BUFPOOL_MEDIUM);
    (void)model_idle(cache, 1, BUFPOOL_MEDIUM);
    model_thread thread = model_start(serve);
    must(bufpool_cache_open(pool) == &model_caches[1]);
    model_join(thread);
    must(model_count(BUFPOOL_MEDIUM) + bufpool__get(&unmapped) == 2);
}
