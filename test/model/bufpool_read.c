/* Goal:   who looks at the pool's accounts sees none below zero, though a buffer that comes out of
 *         one cache goes back into another meanwhile.
 * Method: a thread acquires a buffer from the shard, for a tenant, and hands it to another, which
 *         releases it in a cache. Main reads all outs, then all ins, as stats does; and what the
 *         tenant has live. */
#include "bufpool_model.h"

static bufpool_cache         *cache;
static bufpool_tenant        *tenant;
static _Atomic(bufpool_buf *) handed;

static void *acquire(void *unused)
{
    bufpool__home    = 0;
    bufpool_buf *buf = bufpool_acquire(pool, 200, tenant);
    must(buf);
    model_use(bufpool__head_of(buf));
    atomic_store_explicit(&handed, buf, memory_order_release);
    return unused;
}

static void *release(void *unused)
{
    bufpool_buf *buf = atomic_load_explicit(&handed, memory_order_acquire);
    if (!buf) return unused;
    model_use(bufpool__head_of(buf));
    must(bufpool_cache_release(cache, buf) == 0);
    return unused;
}

static void play(void)
{
    struct bufpool_info info = {0};

    model_create(1);
    handed = NULL;
    cache  = model_open(0, true);
    tenant = model_tenant(0, 0, 4096);
    (void)model_idle(&pool->shards[0], 0, BUFPOOL_SMALL);
    model_thread one = model_start(acquire);
    model_thread two = model_start(release);
    bufpool__subtract_outs(pool, &info);
    bufpool__add_ins(pool, &info);
    must(info.live_buffers <= 1 && info.live_bytes <= 200 && info.capacity_bytes <= 4096);
    model_join(one);
    model_join(two);
}
