/* Goal:   who looks at accounts while a cache is opened, and a tenant's first tab in it, either
 *         does not see them yet, or finds them complete.
 * Method: a thread opens a cache, and releases a buffer there that is billed in a shard; main reads
 *         all outs, then all ins, as stats does, and what the tenant has live. */
#define MODEL_MEMORY
#include "bufpool_model.h"

static bufpool_tenant *tenant;
static bufpool_buf    *buf;

/* There is memory for the cache only. */
static void *model_map(size_t size) { return size == sizeof(bufpool_cache) ? model_caches : NULL; }

static void model_unmap(void *memory, size_t size)
{
    (void)memory;
    (void)size;
}

static void *serve(void *unused)
{
    bufpool_cache *cache = bufpool_cache_open(pool);
    must(cache == model_caches);
    must(bufpool_cache_release(cache, buf) == 0);
    return unused;
}

static void play(void)
{
    struct bufpool_info info = {0};

    model_create(1);
    tenant = model_tenant(0, 0, 4096);
    buf    = model_buffer(0, BUFPOOL_SMALL);
    bufpool__bill(&pool->shards[0], tenant, 100);
    bufpool__head_of(buf)->tenant = tenant;
    model_thread thread           = model_start(serve);
    bufpool__subtract_outs(pool, &info);
    bufpool__add_ins(pool, &info);
    must(info.live_buffers <= 1 && info.live_bytes <= 100 && info.capacity_bytes <= 4096);
    must(bufpool__live(tenant) <= 100);
    model_join(thread);
    must(bufpool__live(tenant) == 0);
}
