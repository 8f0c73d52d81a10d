/* Goal:   a tenant's account is the sum of its tabs, one in each cache that serves it, however tabs
 *         are opened, folded into the tenant's own counters, and given to other tenants.
 * Method: threads open, bill and fold tabs in several caches while main reads what the tenants have
 *         live. A tab that is counted twice, or not at all, or for the wrong tenant shows as a
 *         wrong sum. */
#include "bufpool_model.h"

static bufpool_cache  *cache;
static bufpool_tenant *tenant, *other;

static void *bill_3(void *unused)
{
    bufpool__bill(&pool->shards[0], tenant, 3);
    return unused;
}

static void *bill_20(void *unused)
{
    bufpool__bill(&pool->shards[1], tenant, 20);
    return unused;
}

/* fold: two tabs of one tenant are folded at the same moment. Each is counted once, also by a
 * reader meanwhile, and its surplus is given back.
 *
 *    main                        first                       second
 *                                folds 0 -> 1, fence         folds is odd: wait
 *    folds is odd: again         in := 30, out := 10
 *                                tab's tenant := NULL
 *    folds is 2                  folds := 2
 *    read counters and tabs                                  folds 2 -> 3, fence
 *    fence, folds is 3: again
 *
 * Broken if either fence is missing, or if folds is not changed by one compare-exchange, or its end
 * not stored with release and loaded with acquire: main counts a tab twice, or not at all. */
static void fold_in(uint32_t which)
{
    bufpool_cache *shard = &pool->shards[which];
    must(bufpool__try(shard));
    bufpool__fold(&shard->tabs[0], tenant, which);
    bufpool__give_back(shard);
}

static void *fold_first(void *unused)
{
    fold_in(0);
    return unused;
}

static void *fold_second(void *unused)
{
    fold_in(1);
    return unused;
}

play(fold)
{
    model_create(2);
    tenant = model_tenant(0, 0, 4096);
    bufpool__bill(&pool->shards[0], tenant, 30);
    bufpool__credit(&pool->shards[0], tenant, 10);
    bufpool__bill(&pool->shards[1], tenant, 3);
    model_thread one = model_start(fold_first);
    model_thread two = model_start(fold_second);
    must(bufpool__live(tenant) == 23);
    model_join(one);
    model_join(two);
    must(bufpool__live(tenant) == 23);
    must(atomic_load_explicit(&tenant->granted, memory_order_relaxed) == 23);
    must(atomic_load_explicit(&tenant->seats, memory_order_relaxed) == 0);
    must(atomic_load_explicit(&tenant->folds, memory_order_relaxed) == 4);
}

/* reopen: a tab that is folded, and that another thread then bills for another tenant, is not
 * counted for the first tenant.
 *
 *    main                        first                       second
 *                                lock the shard
 *    the tab is the tenant's     fold the tab
 *                                in := 0, tenant := other
 *                                unlock                      lock, in := 64, unlock
 *    read in: 64
 *    folds has changed: again
 *
 * Broken if main's acquire fence, or the release fence in bufpool__fold, is missing: main sees the
 * 64, but not that the tab was folded before. */
static void *open_for_other(void *unused)
{
    bufpool_cache *shard = &pool->shards[0];
    if (!bufpool__try(shard)) return unused;
    (void)bufpool__tab_of(shard, other);
    bufpool__give_back(shard);
    return unused;
}

static void *bill_other(void *unused)
{
    bufpool_cache *shard = &pool->shards[0];
    if (!bufpool__try(shard)) return unused;
    if (atomic_load_explicit(&shard->tabs[0].tenant, memory_order_relaxed) == other)
        bufpool__bill(shard, other, 64);
    bufpool__give_back(shard);
    return unused;
}

play(reopen)
{
    model_create(1);
    tenant = model_tenant(0, 0, 4096);
    other  = model_tenant(1, BUFPOOL__TABS, 4096);
    bufpool__bill(&pool->shards[0], tenant, 3);
    model_thread one = model_start(open_for_other);
    model_thread two = model_start(bill_other);
    must(bufpool__live(tenant) == 3);
    model_join(one);
    model_join(two);
}

/* bits: tabs of one tenant are opened and folded at the same moment in different caches. The
 * tenant's seats, one bit for each cache, forget none and keep none that is gone.
 *
 *    main                        first                       second
 *                                seats | 001                 seats | 010
 *    fold: seats & ~100
 *
 * Broken if any of these is a load and a store: a bit is lost, and with it an account. */
play(bits)
{
    model_create(2);
    tenant = model_tenant(0, 0, 512); /* too low for surplus */
    cache  = model_open(0, false);
    bufpool__bill(cache, tenant, 100);
    model_thread one = model_start(bill_3);
    model_thread two = model_start(bill_20);
    bufpool__fold(&cache->tabs[0], tenant, cache->number);
    model_join(one);
    model_join(two);
    must(atomic_load_explicit(&tenant->seats, memory_order_relaxed) == 3);
    must(bufpool__live(tenant) == 123);
    must(atomic_load_explicit(&tenant->granted, memory_order_relaxed) == 123);
}

/* beyond: caches beyond those that have a bit of their own share the last bit. A thread that sees
 * that bit finds their seats, and the tenant's account there, which is never below zero.
 *
 *    other                                   main
 *    seat_count := last + 2, release         the tenant's seats: the last bit
 *    open the tab                            seat_count: up to last + 1, or + 2
 *    out := 100                              outs of both caches, then ins
 *
 * Broken if seat_count is not stored with release and loaded with acquire: main finds an empty
 * seat. */
static bufpool_buf *buf;

static void *open_last_and_credit(void *unused)
{
    bufpool__lock(&pool->lock);
    bufpool_cache *opened = model_open(1, false);
    bufpool__unlock(&pool->lock);
    must(opened->number == BUFPOOL__LAST_SEAT + 1);
    bufpool__credit(opened, tenant, bufpool__head_of(buf)->size);
    return unused;
}

play(beyond)
{
    model_create(1);
    bufpool__set(&pool->seat_count, BUFPOOL__LAST_SEAT); /* as if all of these were open */
    tenant = model_tenant(0, 0, 4096);
    buf    = model_buffer(0, BUFPOOL_SMALL);
    bufpool__bill(model_open(0, false), tenant, 100);
    model_thread thread = model_start(open_last_and_credit);
    must(bufpool__live(tenant) <= 100);
    model_join(thread);
    must(bufpool__live(tenant) == 0);
}

/* strange: in a cache without a bit of its own, the tab at the tenant's place may be another
 * tenant's. A reader that sees it become the tenant's does not count what it had for the other.
 *
 *    main                                    other
 *    the tenant's seats: the last bit        fold the other's tab: in 7
 *                                            in := 0, out := 0
 *    the tab is the tenant's, acquire        tenant := the tenant, release
 *    read out, in                            out := 60
 *
 * Broken if the store of the tab's tenant in bufpool__open_tab does not release, or if its load in
 * bufpool__tab_in does not acquire: main counts the other tenant's 7. */
static void *credit_60(void *unused)
{
    bufpool__credit(cache, tenant, 60);
    return unused;
}

play(strange)
{
    model_create(1);
    bufpool__set(&pool->seat_count, BUFPOOL__LAST_SEAT); /* as if all of these were open */
    tenant = model_tenant(0, 0, 4096);
    other  = model_tenant(1, BUFPOOL__TABS, 4096);
    bufpool__bill(model_open(0, false), tenant, 60);
    cache = model_open(1, false);
    bufpool__bill(cache, other, 7);
    model_thread thread = model_start(credit_60);
    must(bufpool__live(tenant) <= 60 && bufpool__live(other) == 7);
    model_join(thread);
    must(bufpool__live(tenant) == 0 && bufpool__live(other) == 7);
}
