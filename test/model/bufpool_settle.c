/* Goal:   when all is still, tabs have no surplus if what is granted is above the limit, and
 *         granted is what is live plus all surplus, also if two tabs are settled at once; and a
 *         tenant that is within its limit is not counted as above it.
 * Method: a tenant with surplus in two tabs. One thread bills more than its own, so that granted is
 *         above the limit; another one credits what it has, so that it is not. */
#include "bufpool_model.h"

enum { LIMIT = 4096, AHEAD = LIMIT / 1024 };

static bufpool_tenant *tenant;

static void *bill(void *unused)
{
    bufpool__bill(&pool->shards[0], tenant, 2048);
    return unused;
}

static void *credit(void *unused)
{
    bufpool__credit(&pool->shards[1], tenant, 1024);
    return unused;
}

static void play(void)
{
    model_create(2);
    tenant = model_tenant(0, 0, LIMIT);
    bufpool__bill(&pool->shards[0], tenant, 1020);
    bufpool__bill(&pool->shards[1], tenant, 1024);
    must(pool->shards[0].tabs[0].surplus == AHEAD && pool->shards[1].tabs[0].surplus == AHEAD);
    model_thread one = model_start(bill);
    model_thread two = model_start(credit);
    model_join(one);
    model_join(two);

    uint64_t surplus = pool->shards[0].tabs[0].surplus + pool->shards[1].tabs[0].surplus;
    must(bufpool__live(tenant) == 1020 + 2048);
    must(atomic_load_explicit(&tenant->granted, memory_order_relaxed) == 1020 + 2048 + surplus);
    must(atomic_load_explicit(&tenant->room, memory_order_relaxed) != 0);
    must(atomic_load_explicit(&tenant->exceeded, memory_order_relaxed) == 0);
}
