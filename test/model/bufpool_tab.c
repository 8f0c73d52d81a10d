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
    model_bill(&pool->shards[0], tenant, 3);
    return unused;
}

static void *bill_20(void *unused)
{
    model_bill(&pool->shards[1], tenant, 20);
    return unused;
}

/* fold: two tabs of one tenant are folded at the same moment. Each is counted once, also by a
 * reader meanwhile, and its surplus is given back.
 *
 *    main                        first                       second
 *                                lock, folds := 1, fence     wait for the lock
 *    folds is odd: again         in := 30, out := 10
 *                                take the tab off the list
 *    folds is 2                  folds := 2, unlock
 *    read counters and tabs                                  lock, folds := 3, fence
 *    fence, folds is 3: again
 *
 * Broken if either fence is missing, or if the end of folds is not stored with release and loaded
 * with acquire: main counts a tab twice, or not at all. */
static void fold_in(uint32_t which)
{
    bufpool_cache *shard = &pool->shards[which];
    must(bufpool__try(shard));
    bufpool__tab_fold(&shard->tabs[0], tenant);
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
    model_bill(&pool->shards[0], tenant, 30);
    model_credit(&pool->shards[0], tenant, 10);
    model_bill(&pool->shards[1], tenant, 3);
    model_thread one = model_start(fold_first);
    model_thread two = model_start(fold_second);
    must(bufpool__live(tenant) == 23);
    model_join(one);
    model_join(two);
    must(bufpool__live(tenant) == 23);
    must(model_granted(tenant) == 23);
    must(!atomic_load_explicit(&tenant->tabs, memory_order_relaxed));
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
 * Broken if main's acquire fence, or the release fence in bufpool__folds_begin, is missing: main
 * sees the 64, but not that the tab was folded before. */
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
        model_bill(shard, other, 64);
    bufpool__give_back(shard);
    return unused;
}

play(reopen)
{
    model_create(1);
    tenant = model_tenant(0, 0, 4096);
    other  = model_tenant(1, BUFPOOL__TABS, 4096);
    model_bill(&pool->shards[0], tenant, 3);
    model_thread one = model_start(open_for_other);
    model_thread two = model_start(bill_other);
    must(bufpool__live(tenant) == 3);
    model_join(one);
    model_join(two);
}

/* list: tabs of one tenant are opened and folded at the same moment in different caches. The list
 * of the tenant's tabs loses none and keeps none that is gone.
 *
 *    main                        first                       second
 *    lock                        open: wait for the lock     open: wait for the lock
 *    take the third off, unlock  lock, put the first on
 *                                unlock                      lock, put the second on
 *
 * Broken if the lock does not order. */
play(list)
{
    uint32_t count = 0;

    model_create(2);
    tenant = model_tenant(0, 0, 4096);
    cache  = model_open(0, false);
    model_bill(cache, tenant, 100);
    model_thread one = model_start(bill_3);
    model_thread two = model_start(bill_20);
    bufpool__tab_fold(&cache->tabs[0], tenant);
    model_join(one);
    model_join(two);
    for (bufpool__tab *tab = atomic_load_explicit(&tenant->tabs, memory_order_relaxed); tab;
         tab               = atomic_load_explicit(&tab->next, memory_order_relaxed))
        count++;
    must(count == 2 && bufpool__live(tenant) == 123);
}

/* opened: a reader that finds a tab which is opened meanwhile does not count what the tab had for
 * another tenant.
 *
 *    main                                    other
 *                                            fold the other's tab: in 7
 *                                            in := 0, out := 0
 *    the tenant's tabs, acquire              tabs := the tab, release
 *    read out, in
 *
 * Broken if the store of the list in bufpool__tab_open does not release, or if its load in
 * bufpool__sum does not acquire, and folds does not tell. */
static void *bill_60(void *unused)
{
    model_bill(cache, tenant, 60);
    return unused;
}

play(opened)
{
    model_create(1);
    tenant = model_tenant(0, 0, 4096);
    other  = model_tenant(1, BUFPOOL__TABS, 4096);
    cache  = model_open(0, false);
    model_bill(cache, other, 7);
    model_thread thread = model_start(bill_60);
    uint64_t     live   = bufpool__live(tenant);
    must((live == 0 || live == 60) && bufpool__live(other) == 7);
    model_join(thread);
    must(bufpool__live(tenant) == 60 && bufpool__live(other) == 7);
}
