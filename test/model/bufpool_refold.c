/* Goal:   a tab that is folded, and that another thread then bills another tenant on, is not taken
 *         for the first tenant's.
 * Method: one thread opens the tab for a second tenant; another one bills the second tenant, in the
 *         same shard; main looks at what the first one has live. */
#include "bufpool_model.h"

static bufpool_tenant *first, *second;

static void *turn(void *unused)
{
    bufpool_cache *shard = &pool->shards[0];
    if (!bufpool__try(shard)) return unused;
    (void)bufpool__tab_of(shard, second);
    bufpool__give_back(shard);
    return unused;
}

static void *bill(void *unused)
{
    bufpool_cache *shard = &pool->shards[0];
    if (!bufpool__try(shard)) return unused;
    if (atomic_load_explicit(&shard->tabs[0].tenant, memory_order_relaxed) == second)
        bufpool__bill(shard, second, 64);
    bufpool__give_back(shard);
    return unused;
}

static void play(void)
{
    model_create(1);
    first  = model_tenant(0, 0, 4096);
    second = model_tenant(1, BUFPOOL__TABS, 4096);
    bufpool__bill(&pool->shards[0], first, 3);
    model_thread one = model_start(turn);
    model_thread two = model_start(bill);
    must(bufpool__live(first) == 3);
    model_join(one);
    model_join(two);
}
