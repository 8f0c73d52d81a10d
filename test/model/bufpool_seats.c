/* Goal:   the caches beyond those that have a bit of their own are found, too: whoever sees that
 *         there is one finds its seat, and the tenant's account there; which is never below zero.
 * Method: a pool whose caches have the last two seats in question. A thread opens the second one,
 *         and releases a buffer there that is billed in the first one; main looks at what the
 *         tenant has live. */
#include "bufpool_model.h"

static bufpool_tenant *tenant;
static bufpool_buf    *buf;

static void *serve(void *unused)
{
    bufpool__lock(&pool->lock);
    bufpool_cache *cache = model_open(1, false);
    bufpool__unlock(&pool->lock);
    must(cache->number == BUFPOOL__LAST_SEAT + 1);
    bufpool__credit(cache, tenant, bufpool__head_of(buf)->size);
    return unused;
}

static void play(void)
{
    model_create(1);
    bufpool__set(&pool->seat_count, BUFPOOL__LAST_SEAT); /* as if: nobody looks at the others */
    tenant = model_tenant(0, 0, 4096);
    buf    = model_buffer(0, BUFPOOL_SMALL);
    bufpool__bill(model_open(0, false), tenant, 100);
    model_thread thread = model_start(serve);
    must(bufpool__live(tenant) <= 100);
    model_join(thread);
    must(bufpool__live(tenant) == 0);
}
