/* Goal:   of tabs that are opened and folded at once, in different caches, none is forgotten, and
 *         none that is gone is looked for.
 * Method: two threads bill a tenant, in a shard each, where it had no tab; main folds the one that
 *         it had in a cache. */
#include "bufpool_model.h"

static bufpool_tenant *tenant;

static void *bill_one(void *unused)
{
    bufpool__bill(&pool->shards[0], tenant, 3);
    return unused;
}

static void *bill_other(void *unused)
{
    bufpool__bill(&pool->shards[1], tenant, 20);
    return unused;
}

static void play(void)
{
    model_create(2);
    tenant               = model_tenant(0, 0, 512); /* none ahead */
    bufpool_cache *cache = model_open(0, false);
    bufpool__bill(cache, tenant, 100);
    model_thread one = model_start(bill_one);
    model_thread two = model_start(bill_other);
    bufpool__fold(&cache->tabs[0], tenant, cache->number);
    model_join(one);
    model_join(two);
    must(atomic_load_explicit(&tenant->seats, memory_order_relaxed) == 3);
    must(bufpool__live(tenant) == 123);
    must(atomic_load_explicit(&tenant->granted, memory_order_relaxed) == 123);
}
