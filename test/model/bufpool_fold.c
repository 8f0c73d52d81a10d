/* Goal:   two tabs of one tenant that are folded at once are both counted, once, also by who looks
 *         meanwhile; and what they had as surplus is given back.
 * Method: a tenant has a tab in each of two shards; two threads fold one each. Main looks at what
 * the first one has live. */
#include "bufpool_model.h"

static bufpool_tenant *first;

static void turn(uint32_t which)
{
    bufpool_cache *shard = &pool->shards[which];
    must(bufpool__try(shard));
    bufpool__fold(&shard->tabs[0], first, which);
    bufpool__give_back(shard);
}

static void *turn_one(void *unused)
{
    turn(0);
    return unused;
}

static void *turn_other(void *unused)
{
    turn(1);
    return unused;
}

static void play(void)
{
    model_create(2);
    first = model_tenant(0, 0, 4096);
    bufpool__bill(&pool->shards[0], first, 30);
    bufpool__credit(&pool->shards[0], first, 10);
    bufpool__bill(&pool->shards[1], first, 3);
    model_thread one = model_start(turn_one);
    model_thread two = model_start(turn_other);
    must(bufpool__live(first) == 23);
    model_join(one);
    model_join(two);
    must(bufpool__live(first) == 23);
    must(atomic_load_explicit(&first->granted, memory_order_relaxed) == 23);
    must(atomic_load_explicit(&first->seats, memory_order_relaxed) == 0);
    must(atomic_load_explicit(&first->folds, memory_order_relaxed) == 4);
}
