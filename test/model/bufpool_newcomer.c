/* Goal:   who looks for idle buffers while a cache is opened, that then gets one, either does not
 *         see it, or finds it complete, and takes the buffer after its thread has let go of it.
 * Method: a thread opens a cache and releases a medium buffer there. Main acquires one, and as the
 *         system has no memory looks everywhere, and gives up a small one; and then trims. */
#define MODEL_MEMORY
#include "bufpool_model.h"

static bufpool_buf *buf;

/* There is memory for the cache only. */
static void *model_map(size_t size) { return size == sizeof(bufpool_cache) ? model_caches : NULL; }

static void model_unmap(void *memory, size_t size)
{
    must(size == 4096 || size == 64 << 10);
    *(uint64_t *)memory += 10;
}

static void *serve(void *unused)
{
    bufpool_cache *cache = bufpool_cache_open(pool);
    must(cache == model_caches);
    model_use(bufpool__head_of(buf));
    must(bufpool_cache_release(cache, buf) == 0);
    return unused;
}

static void play(void)
{
    model_create(1);
    bufpool__home = 0;
    buf           = model_buffer(0, BUFPOOL_MEDIUM);
    (void)model_idle(&pool->shards[0], 1, BUFPOOL_SMALL);
    model_thread thread = model_start(serve);
    bufpool_buf *other  = bufpool_acquire(pool, 5000, NULL);
    if (other) model_use(bufpool__head_of(other));
    size_t given = bufpool_trim(pool, 0);
    model_join(thread);
    must(!other || given <= 4096);
    must(model_count(BUFPOOL_MEDIUM) + (other != NULL) + model_data[0] / 10 == 1);
}
