/* Goal:   a name of a life that is over is refused by a cache's release also while its header gets
 *         new memory: of that buffer nothing is looked at but whose life it is.
 * Method: main releases a buffer that there is no room for, and acquires a larger one, which gets
 *         the same header; another thread, that has a cache, releases the first once more. */
#define MODEL_MEMORY
#include "bufpool_model.h"

static bufpool_cache *cache;
static bufpool_buf   *buf;

/* There is memory for the second buffer only: no new headers. */
static void *model_map(size_t size) { return size == 64 << 10 ? &model_data[1] : NULL; }

static void model_unmap(void *memory, size_t size)
{
    must(memory == &model_data[0] && size == 4096);
}

static void *release_again(void *unused)
{
    must(bufpool_cache_release(cache, buf) == -ESTALE);
    return unused;
}

static void play(void)
{
    model_create(1);
    bufpool__home             = 0;
    pool->config.idle_buffers = 0;
    cache                     = model_open(0, false);
    buf                       = model_buffer(0, BUFPOOL_SMALL);
    must(bufpool_release(buf) == 0);
    model_thread thread = model_start(release_again);
    bufpool_buf *next   = bufpool_acquire(pool, 5000, NULL);
    model_join(thread);
    must(next && bufpool__head_of(next) == bufpool__head_of(buf) && next != buf);
    must(bufpool_class_of(next) == BUFPOOL_MEDIUM);
    must(atomic_load_explicit(&pool->underflows, memory_order_relaxed) == 1);
}
