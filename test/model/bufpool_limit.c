/* Goal:   a tenant that crosses its limit is counted, a tenant that does not is not; and when all
 *         is still, tabs may have surplus exactly if what is granted is within the limit.
 * Method: threads bill, credit and grant in several tabs while others do the same, change the
 *         limit, or look at it. Granted is what is live plus all surplus; room is 0 if it is above
 *         the limit. */
#include "bufpool_model.h"

static bufpool_tenant *tenant;

static uint64_t granted(void)
{
    return atomic_load_explicit(&tenant->granted, memory_order_relaxed);
}

static uint64_t room(void) { return atomic_load_explicit(&tenant->room, memory_order_relaxed); }

static uint64_t exceeded(void)
{
    return atomic_load_explicit(&tenant->exceeded, memory_order_relaxed);
}

static void *grant_40(void *unused)
{
    (void)bufpool__grant(tenant, 40);
    return unused;
}

/* grant: one thread brings granted above the limit of 60, another one back below it. The room that
 * is left belongs to the sum.
 *
 *    first                                   second
 *    granted 40 -> 80, above the limit
 *    lock, granted is 80: room := 0          granted 80 -> 40
 *    granted is 40: again, room := some      room is 0, or some: set it if it is wrong
 *    unlock
 *
 * Store and load cross: either set_room sees the change of granted, or the thread that changed it
 * sees the room. Broken if one of the four is not seq_cst: a room that is older than granted
 * remains. */
static void *take_40(void *unused)
{
    (void)bufpool__grant(tenant, UINT64_C(0) - 40);
    return unused;
}

play(grant)
{
    model_create(1);
    tenant = model_tenant(0, 0, 60);
    (void)bufpool__grant(tenant, 40);
    must(room() != 0);
    model_thread one = model_start(grant_40);
    model_thread two = model_start(take_40);
    model_join(one);
    model_join(two);
    must(granted() == 40);
    must(room() != 0);
}

/* limits: two limits are set while a third thread grants. One limit lasts, and room is as that one
 * says.
 *
 *    main                        first                       second
 *    limit := 90                 granted 25 -> 65            limit := 30
 *    set room: 65 is within 90   limit is 90: within it      set room: 65 is above 30
 *
 * Broken if the stores of the limit, or the loads of it after granted changed, are not seq_cst, or
 * if set_room did not look at granted again. */
static void *lower_limit(void *unused)
{
    bufpool_tenant_limit(tenant, 30);
    return unused;
}

play(limits)
{
    model_create(1);
    tenant = model_tenant(0, 0, 60);
    (void)bufpool__grant(tenant, 25);
    model_thread one = model_start(grant_40);
    model_thread two = model_start(lower_limit);
    bufpool_tenant_limit(tenant, 90);
    model_join(one);
    model_join(two);

    uint64_t limit = atomic_load_explicit(&tenant->limit, memory_order_relaxed);
    must(limit == 30 || limit == 90);
    must(granted() == 65);
    must((room() == 0) == (65 > limit));
}

/* lowered: main lowers the limit to less than is live, or not quite, while a thread bills more than
 * its tab has as surplus.
 *
 *    other                                   main
 *    in += 2048                              limit := 2068
 *    settle: room is some, want 1024         set room: granted is within, or above
 *    granted := live + 1024, above
 *    granted -= 1024, surplus := 0
 *
 * Broken if the change of granted, or the second look at it in bufpool__set_room, is not seq_cst,
 * or if settle left surplus in the tab although granted is above the limit. */
enum { HIGH = 1 << 20, HIGH_AHEAD = HIGH / 1024 };

static void *bill_twice_ahead(void *unused)
{
    bufpool__bill(&pool->shards[0], tenant, 2 * HIGH_AHEAD);
    return unused;
}

play(lowered)
{
    model_create(1);
    tenant = model_tenant(0, 0, HIGH);
    bufpool__bill(&pool->shards[0], tenant, 8);
    must(pool->shards[0].tabs[0].surplus == HIGH_AHEAD);
    model_thread thread = model_start(bill_twice_ahead);
    bufpool_tenant_limit(tenant, 2 * HIGH_AHEAD + 20);
    model_join(thread);

    uint64_t surplus = pool->shards[0].tabs[0].surplus;
    uint64_t limit   = atomic_load_explicit(&tenant->limit, memory_order_relaxed);
    must(bufpool__live(tenant) == 2 * HIGH_AHEAD + 8);
    must(granted() == 2 * HIGH_AHEAD + 8 + surplus);
    must((granted() > limit) == (room() == 0));
}

/* settle: two tabs with surplus are settled at the same moment. One thread bills, so that granted
 * goes above the limit; the other one credits, so that it does not stay there. The tenant was never
 * above its limit, and is not counted as above it.
 *
 *    first                                   second
 *    in += 2048                              out += 1024
 *    granted is above the limit              surplus is 1028: settle
 *    give surplus back                       granted -= 1024
 *    still above: read the account           set room
 *    in - out is within the limit
 *
 * Broken if the change of granted is a load and a store, or if an acquisition were counted by
 * granted alone. */
enum { LIMIT = 4096, AHEAD = LIMIT / 1024 };

static void *bill_2048(void *unused)
{
    bufpool__bill(&pool->shards[0], tenant, 2048);
    return unused;
}

static void *credit_1024(void *unused)
{
    bufpool__credit(&pool->shards[1], tenant, 1024);
    return unused;
}

play(settle)
{
    model_create(2);
    tenant = model_tenant(0, 0, LIMIT);
    bufpool__bill(&pool->shards[0], tenant, 1020);
    bufpool__bill(&pool->shards[1], tenant, 1024);
    must(pool->shards[0].tabs[0].surplus == AHEAD && pool->shards[1].tabs[0].surplus == AHEAD);
    model_thread one = model_start(bill_2048);
    model_thread two = model_start(credit_1024);
    model_join(one);
    model_join(two);

    uint64_t surplus = pool->shards[0].tabs[0].surplus + pool->shards[1].tabs[0].surplus;
    must(bufpool__live(tenant) == 1020 + 2048);
    must(granted() == 1020 + 2048 + surplus);
    must(room() != 0);
    must(exceeded() == 0);
}

/* above: two threads bill a tenant that is above its limit. Each of the two is counted.
 *
 *    first                                   second
 *    in += 3, room is 0: settle              in += 20, room is 0: settle
 *    account is above the limit              account is above the limit
 *    exceeded + 1                            exceeded + 1
 *
 * Broken if that count is a load and a store. */
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

play(above)
{
    model_create(2);
    tenant = model_tenant(0, 0, 512);
    bufpool__bill(&pool->shards[0], tenant, 510);
    bufpool__bill(&pool->shards[1], tenant, 10);
    must(exceeded() == 1);
    model_thread one = model_start(bill_3);
    model_thread two = model_start(bill_20);
    model_join(one);
    model_join(two);
    must(exceeded() == 3);
    must(bufpool__live(tenant) == 543);
}

/* swap: a tenant at its limit by a charge is never above it, though a thread discharges that, takes
 * and releases a buffer of the same size, and charges again, while main looks at the limit.
 *
 *    other                                   main
 *                                            outs: charged_out 0
 *    charged_out := 64                       outs: the tab's, 0
 *    tab's in := 64                          ins: charged_in 64, the tab's 64
 *    tab's out := 64                         outs again: later is above out
 *    charged_in := 128                       128 - 0 > 64, but 128 - later <= 64: again
 *
 * Broken if the outs were not read a second time, or if a tab's in or out, or a charge, is not
 * published with release and read with acquire: main counts what was live at no moment. */
enum { BYTES = 64 };

static void *swap_charge_and_buffer(void *unused)
{
    bufpool__tab *tab = &pool->shards[1].tabs[0];

    bufpool_discharge(tenant, BYTES);
    bufpool__publish(&tab->in, BYTES);
    bufpool__publish(&tab->out, BYTES);
    bufpool_charge(tenant, BYTES);
    return unused;
}

play(swap)
{
    model_create(2);
    bufpool__home = 0;
    tenant        = model_tenant(0, 0, BYTES);
    (void)bufpool__tab_of(&pool->shards[1], tenant);
    bufpool_charge(tenant, BYTES);
    model_thread thread = model_start(swap_charge_and_buffer);
    bufpool__look_at_limit(tenant);
    model_join(thread);
    must(exceeded() == 0);
}

/* churn: as `swap`, with buffers alone: a tenant at its limit by two buffers, one of which goes out
 * and comes in again while main looks.
 *
 *    other                                   main
 *                                            outs: 0
 *    tab's out := 1
 *    tab's in := 2                           ins: 4097
 *                                            outs again: 1
 *                                            4097 - 0 > 4096, but 4097 - 1 is not: again
 *
 * Broken as `swap` is. */
static void *churn_one_byte(void *unused)
{
    bufpool__tab *tab = &pool->shards[1].tabs[0];

    bufpool__publish(&tab->out, 1);
    bufpool__publish(&tab->in, 1);
    return unused;
}

play(churn)
{
    model_create(2);
    tenant = model_tenant(0, 0, 4096);
    bufpool__bill(&pool->shards[1], tenant, 1);
    bufpool__bill(&pool->shards[0], tenant, 4095);
    must(exceeded() == 0);
    model_thread thread = model_start(churn_one_byte);
    bufpool__look_at_limit(tenant);
    model_join(thread);
    must(exceeded() == 0);
}
