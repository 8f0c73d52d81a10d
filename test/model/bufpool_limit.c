/* Goal:   what is granted never exceeds a cap; what fits is never refused; nothing is lost between
 * a tab's holder and a thread that recalls surplus; and a tenant that ends above its soft limit is
 * counted, once for each acquisition. Method: a shard's holder draws on its tab, or pays back into
 * it, while main asks for bytes that are there only if it gets the tab's surplus, or only if it
 * does not. */
#include "bufpool_model.h"

enum { CAP = 1024, AHEAD = 64 };

static bufpool_tenant *tenant;
static bool            got[2];

static uint64_t surplus(void) { return bufpool__tab_surplus(&pool->shards[0].tabs[0]); }

static uint64_t exceeded(void)
{
    return atomic_load_explicit(&tenant->exceeded, memory_order_relaxed);
}

static void begin(uint64_t drawn)
{
    model_create(2);
    tenant = model_tenant(0, 0, 1 << 20);
    must(bufpool_tenant_cap(tenant, CAP, 0) == 0);
    model_bill(&pool->shards[0], tenant, drawn);
}

/* draw: the holder of a tab draws on its surplus, while main asks for all that is left. One of them
 * gets what it wants, and one is refused: both do not fit.
 *
 *    holder                                  main
 *    drawn := 160                            lock, room := 0, unlock
 *    light fence                             heavy fence
 *    room is 129, quota 164: good            lock, quota - drawn is 4: take these
 *    or: room is 0, drawn := 100, lock       or 64, unlock
 *
 * Broken if either fence is missing: both get what they want. Broken if the lock does not order. */
static void *draw_60(void *unused)
{
    got[0] = model_try_bill(&pool->shards[0], tenant, 60);
    return unused;
}

play(draw)
{
    begin(100);
    must(surplus() == AHEAD);
    model_thread thread = model_start(draw_60);
    got[1]              = bufpool__tenant_ask(tenant, CAP - 100 - 30) != BUFPOOL__UNKNOWN;
    model_join(thread);
    must(got[0] != got[1]);
    must(model_granted(tenant) == 100 + (got[0] ? 60 : CAP - 100 - 30) + surplus());
    must(model_granted(tenant) <= CAP);
}

/* credit: the holder pays back into its tab while main asks for as much as there is then. Whether
 * main gets it or not, nothing is lost: asked again, it gets it.
 *
 *    holder                                  main
 *    drawn := 840                            lock, room := 0, unlock
 *    light fence                             heavy fence
 *    room is 129: keep 60 as surplus         lock, quota - drawn is 60: take it
 *    or: room is 0: lock, return 60
 *
 * Broken if either fence is missing: the surplus stays with the holder although main was refused,
 * and nobody returns it; or if a tab were cut by what its holder has drawn since. */
static void *credit_60(void *unused)
{
    model_credit(&pool->shards[0], tenant, 60);
    return unused;
}

play(credit)
{
    begin(900);
    must(surplus() == 0);
    model_thread thread = model_start(credit_60);
    got[1]              = bufpool__tenant_ask(tenant, 150) != BUFPOOL__UNKNOWN;
    model_join(thread);
    must(model_granted(tenant) == 840 + (got[1] ? 150 : 0) + surplus());
    must(got[1] || bufpool__tenant_ask(tenant, 150) != BUFPOOL__UNKNOWN);
    must(model_granted(tenant) == 990 && surplus() == 0);
}

/* both: two threads ask for the last bytes, without a tab. One gets them.
 *
 *    first                                   main
 *    lock, 900 + 100 fit: grant, unlock
 *                                            lock, 1000 + 100 do not; recall, again
 *
 * Broken if the lock does not order. */
static void *ask_for_100(void *unused)
{
    got[0] = bufpool__tenant_ask(tenant, 100) != BUFPOOL__UNKNOWN;
    return unused;
}

play(both)
{
    begin(900);
    model_thread thread = model_start(ask_for_100);
    got[1]              = bufpool__tenant_ask(tenant, 100) != BUFPOOL__UNKNOWN;
    model_join(thread);
    must(got[0] != got[1] && model_granted(tenant) == 1000);
}

/* above: two threads acquire for a tenant that only both together bring above its soft limit. The
 * one that ends above it is counted.
 *
 *    first                                   second
 *    granted 900 -> 980                      granted 980 -> 1060, above 1000: exceeded + 1
 *
 * Broken if surplus counted as live, or if the count is a load and a store. */
static void *bill_80(void *unused)
{
    model_bill(&pool->shards[0], tenant, 80);
    return unused;
}

play(above)
{
    model_create(2);
    tenant = model_tenant(0, 0, 1000);
    model_bill(&pool->shards[0], tenant, 900);
    must(exceeded() == 0);
    model_thread thread = model_start(bill_80);
    model_bill(&pool->shards[1], tenant, 80);
    model_join(thread);
    must(exceeded() == 1);
    must(bufpool__live(tenant) == 1060);
}

/* lowered: the soft limit is lowered to less than is live while a thread acquires. What it acquires
 * after that counts.
 *
 *    other                                   main
 *    draw on the surplus: within             limit := 100, room := 0
 *    draw: room is 0, lock, recall
 *    granted is above: exceeded + 1
 *
 * Broken if room stayed what it was. */
static void *bill_8(void *unused)
{
    model_bill(&pool->shards[0], tenant, 8);
    return unused;
}

play(lowered)
{
    model_create(1);
    tenant = model_tenant(0, 0, 1024);
    model_bill(&pool->shards[0], tenant, 200);
    model_thread thread = model_start(bill_8);
    bufpool_tenant_limit(tenant, 100);
    model_join(thread);
    must(exceeded() <= 1);
    model_bill(&pool->shards[0], tenant, 8);
    must(exceeded() == 1 || exceeded() == 2);
}

/* wake: a thread is refused, and another gives back bytes. Either the first finds them, or it is
 * woken.
 *
 *    main                                    other
 *    events is 0                             lock, granted := 0, unlock
 *    lock, it does not fit: refused := 1     refused is 1: events := 1
 *    unlock; sleep while events is 0         or refused is 0: main comes later, and finds them
 *
 * Broken if refused were set without the lock. */
static void *credit_all(void *unused)
{
    bufpool__tab *tab = &pool->shards[0].tabs[0];
    bufpool__publish(&tab->out, CAP);
    if (bufpool__tab_undraw(tab, tenant, CAP)) bufpool__wake(pool);
    return unused;
}

play(wake)
{
    begin(CAP);
    must(bufpool__tenant_ask(tenant, 1) == BUFPOOL__UNKNOWN); /* nothing is surplus any more */
    bufpool__set(&pool->refused, 0);
    model_thread thread = model_start(credit_all);
    got[0]              = bufpool__tenant_ask(tenant, 10) != BUFPOOL__UNKNOWN;
    model_join(thread);
    must(got[0] || bufpool__get(&pool->events) == 1);
}
