/* Goal:   when all is still, tabs may have surplus exactly if what is granted is within the limit,
 *         and granted is what is live plus all surplus: also if the limit changes while a thread
 *         settles its tab.
 * Method: a tenant whose limit allows surplus, and that has some in a tab. A thread bills more than
 *         that; main lowers the limit meanwhile to less than is live, or not quite. */
#include "bufpool_model.h"

enum { LIMIT = 1 << 20, AHEAD = LIMIT / 1024 };

static bufpool_tenant *tenant;

static void *bill(void *unused)
{
    bufpool__bill(&pool->shards[0], tenant, 2 * AHEAD);
    return unused;
}

static void play(void)
{
    model_create(1);
    tenant = model_tenant(0, 0, LIMIT);
    bufpool__bill(&pool->shards[0], tenant, 8);
    must(pool->shards[0].tabs[0].surplus == AHEAD);
    model_thread thread = model_start(bill);
    bufpool_tenant_limit(tenant, 2 * AHEAD + 20);
    model_join(thread);

    uint64_t surplus = pool->shards[0].tabs[0].surplus;
    uint64_t granted = atomic_load_explicit(&tenant->granted, memory_order_relaxed);
    uint64_t limit   = atomic_load_explicit(&tenant->limit, memory_order_relaxed);
    uint64_t room    = atomic_load_explicit(&tenant->room, memory_order_relaxed);
    must(bufpool__live(tenant) == 2 * AHEAD + 8 && granted == 2 * AHEAD + 8 + surplus);
    must((granted > limit) == (room == 0));
}
