/* Goal:   a pool that is destroyed while a cache is open goes once, after the cache and the last
 *         buffer that was held; nobody touches it afterwards.
 * Method: a thread releases a buffer; main destroys the pool meanwhile, and then closes a cache
 *         that was open, with its own buffer in it. What is unmapped is wrecked. */
#define MODEL_WRECKS
#include "bufpool_model.h"

static bufpool_buf *buf;

static void *release(void *unused)
{
    bufpool__home = 0;
    model_use(bufpool__head_of(buf));
    must(bufpool_release(buf) == 0);
    return unused;
}

static void play(void)
{
    model_create(1);
    bufpool_cache *cache = model_open(0, true);
    buf                  = model_buffer(0, BUFPOOL_SMALL);
    must(bufpool_cache_release(cache, model_buffer(1, BUFPOOL_SMALL)) == 0);
    model_thread thread = model_start(release);
    must(bufpool_destroy(pool) <= 1);
    bufpool_cache_close(cache);
    model_join(thread);
    must(model_wrecked == 1);
    must(model_data[0] == 11 && model_data[1] == 10);
}
