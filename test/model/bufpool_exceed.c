/* Goal:   each acquisition and charge that ends above the limit is counted, though others are, too.
 * Method: a tenant above its limit, that two threads bill, in a shard each. */
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
    tenant = model_tenant(0, 0, 512);
    bufpool__bill(&pool->shards[0], tenant, 510);
    bufpool__bill(&pool->shards[1], tenant, 10);
    must(atomic_load_explicit(&tenant->exceeded, memory_order_relaxed) == 1);
    model_thread one = model_start(bill_one);
    model_thread two = model_start(bill_other);
    model_join(one);
    model_join(two);
    must(atomic_load_explicit(&tenant->exceeded, memory_order_relaxed) == 3);
    must(bufpool__live(tenant) == 543);
}
