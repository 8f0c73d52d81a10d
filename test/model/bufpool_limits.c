/* Goal:   of limits that are set at once one lasts, and what tabs may have as surplus is as that
 *         one says.
 * Method: a thread adds to what a tenant is granted, another lowers its limit to less, main raises
 *         it to more. */
#include "bufpool_model.h"

static bufpool_tenant *tenant;

static void *grant(void *unused)
{
    (void)bufpool__grant(tenant, 40);
    return unused;
}

static void *lower(void *unused)
{
    bufpool_tenant_limit(tenant, 30);
    return unused;
}

static void play(void)
{
    model_create(1);
    tenant = model_tenant(0, 0, 60);
    (void)bufpool__grant(tenant, 25);
    model_thread one = model_start(grant);
    model_thread two = model_start(lower);
    bufpool_tenant_limit(tenant, 90);
    model_join(one);
    model_join(two);

    uint64_t limit = atomic_load_explicit(&tenant->limit, memory_order_relaxed);
    uint64_t room  = atomic_load_explicit(&tenant->room, memory_order_relaxed);
    must(limit == 30 || limit == 90);
    must(atomic_load_explicit(&tenant->granted, memory_order_relaxed) == 65);
    must((room == 0) == (65 > limit));
}
