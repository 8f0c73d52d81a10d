/* Goal:   accounts are exact, and no reader ever sees less than zero live bytes, although nobody
 *         stops for it.
 * Method: threads bill, credit, charge, discharge and fold in several caches while main reads the
 *         accounts. Counters of what came in and what went out only grow; a reader takes all outs
 *         first, then all ins, so that it has the in of each out that it has. */
#include "bufpool_model.h"

static bufpool_cache  *cache;
static bufpool_tenant *tenant, *other;

/* Reads what the whole pool has live, as stats does. */
static struct bufpool_info read_pool(void)
{
    struct bufpool_info info = {0};

    bufpool__add_up(pool, &info);
    return info;
}

/* passed: a buffer comes out of one cache and goes back into another while main reads the pool.
 *
 *    acquirer                    releaser                    main
 *                                                            outs of the shard
 *    shard's in := 200
 *    hand over, release -------> acquire
 *                                cache's out := 200
 *                                                            outs of the cache: 200
 *                                                            ins: must have the 200
 *
 * Broken if an out is not published with release, or not read with acquire: more went out than came
 * in. */
static _Atomic(bufpool_buf *) handed;

static void *acquire_and_hand_over(void *unused)
{
    bufpool__home    = 0;
    bufpool_buf *buf = bufpool_acquire(pool, 200, tenant);
    must(buf);
    model_use(bufpool__head_of(buf));
    atomic_store_explicit(&handed, buf, memory_order_release);
    return unused;
}

static void *release_handed(void *unused)
{
    bufpool_buf *buf = atomic_load_explicit(&handed, memory_order_acquire);
    if (!buf) return unused;
    model_use(bufpool__head_of(buf));
    must(bufpool_cache_release(cache, buf) == 0);
    return unused;
}

play(passed)
{
    model_create(1);
    handed = NULL;
    cache  = model_open(0, true);
    tenant = model_tenant(0, 0, 4096);
    (void)model_idle(&pool->shards[0], 0, BUFPOOL_SMALL);
    model_thread        one  = model_start(acquire_and_hand_over);
    model_thread        two  = model_start(release_handed);
    struct bufpool_info info = read_pool();
    must(info.live_buffers <= 1 && info.live_bytes <= 200 && info.capacity_bytes <= 4096);
    model_join(one);
    model_join(two);
}

/* sums: the same for charges: one thread charges a tenant, another discharges it, in another shard.
 *
 *    charger                     discharger                  main
 *                                                            outs of shard 0
 *    shard 0's in := 5
 *    charged_in := 5, release    charged_in, acquire: 5
 *                                charged_out := 5
 *                                shard 1's out := 5          outs of shard 1: 5
 *                                                            ins: must have the 5
 *
 * Broken if charge counted the pool's sum after the tenant's, or discharge before it; or if one of
 * these stores does not release, or its load does not acquire. */
static void *charge_5(void *unused)
{
    bufpool__home = 0;
    bufpool_charge(tenant, 5);
    return unused;
}

static void *discharge_5(void *unused)
{
    bufpool__home = 1;
    bufpool_discharge(tenant, 5);
    return unused;
}

play(sums)
{
    model_create(2);
    tenant                   = model_tenant(0, 0, 4096);
    model_thread        one  = model_start(charge_5);
    model_thread        two  = model_start(discharge_5);
    struct bufpool_info info = read_pool();
    must(info.live_bytes <= 5);
    model_join(one);
    model_join(two);

    info = read_pool();
    must(info.live_bytes == bufpool__live(tenant));
}

/* charge: two threads discharge more than main charged; one of them charges some more before.
 * Nobody sees less than zero, nothing is discharged twice, and a call of which something is left
 * out is counted.
 *
 *    main (charged 2)            first                       second
 *                                discharge 3: in 2, out 0    charge 2: in 4
 *                                out 0 -> 2                  discharge 3: in 4, out 0
 *    live: outs 2, ins 4                                     out 0 -> 3 fails: out is 2
 *                                                            out 2 -> 4
 *
 * Broken if the compare-exchange in bufpool_discharge is a load and a store, or does not acquire
 * and release, or if the load before it does not acquire. */
static void *discharge_3(void *unused)
{
    bufpool__home = 0;
    bufpool_discharge(tenant, 3);
    return unused;
}

static void *charge_and_discharge(void *unused)
{
    bufpool__home = 0;
    bufpool_charge(tenant, 2);
    bufpool_discharge(tenant, 3);
    return unused;
}

play(charge)
{
    model_create(2);
    bufpool__home = 1;
    tenant        = model_tenant(0, 0, 4096);
    bufpool_charge(tenant, 2);
    model_thread one = model_start(discharge_3);
    model_thread two = model_start(charge_and_discharge);
    must(bufpool__live(tenant) <= 4);
    model_join(one);
    model_join(two);
    must(bufpool__live(tenant) == 0);
    uint64_t refused = atomic_load_explicit(&pool->underflows, memory_order_relaxed);
    must(refused == 1 || refused == 2);
}

/* refused: charges at the same moment all count, and so do refused discharges.
 *
 *    first                                   second
 *    charged_in 0 -> 3                       charged_in 0 -> 20 fails: 3 -> 23
 *    discharge from other: nothing there     discharge from other: nothing there
 *    underflows + 1                          underflows + 1
 *
 * Broken if one of these is a load and a store. */
static void *charge_3(void *unused)
{
    bufpool__home = 0;
    bufpool_charge(tenant, 3);
    bufpool_discharge(other, 1);
    return unused;
}

static void *charge_20(void *unused)
{
    bufpool__home = 1;
    bufpool_charge(tenant, 20);
    bufpool_discharge(other, 1);
    return unused;
}

play(refused)
{
    model_create(2);
    tenant           = model_tenant(0, 0, 4096);
    other            = model_tenant(1, 1, 4096);
    model_thread one = model_start(charge_3);
    model_thread two = model_start(charge_20);
    model_join(one);
    model_join(two);
    must(bufpool__live(tenant) == 23 && bufpool__live(other) == 0);
    must(model_granted(tenant) == 23);
    must(atomic_load_explicit(&pool->underflows, memory_order_relaxed) == 2);
}
