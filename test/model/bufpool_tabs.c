/* Goal:   who finds a tenant's tab in a cache that has no bit of its own does not take for the
 *         tenant's what the tab had for another one.
 * Method: a pool whose caches have seats that share a bit. A tenant is billed in one; in the other
 *         its place is another tenant's. A thread releases there; main looks at what both have
 *         live. */
#include "bufpool_model.h"

static bufpool_tenant *tenant, *other;
static bufpool_cache  *cache;

static void *credit(void *unused)
{
    bufpool__credit(cache, tenant, 60);
    return unused;
}

static void play(void)
{
    model_create(1);
    bufpool__set(&pool->seat_count, BUFPOOL__LAST_SEAT); /* as if: nobody looks at the others */
    tenant = model_tenant(0, 0, 4096);
    other  = model_tenant(1, BUFPOOL__TABS, 4096);
    bufpool__bill(model_open(0, false), tenant, 60);
    cache = model_open(1, false);
    bufpool__bill(cache, other, 7);
    model_thread thread = model_start(credit);
    must(bufpool__live(tenant) <= 60 && bufpool__live(other) == 7);
    model_join(thread);
    must(bufpool__live(tenant) == 0 && bufpool__live(other) == 7);
}
