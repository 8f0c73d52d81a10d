/* Goal:   of charges at once each counts; and so does each discharge that is refused.
 * Method: two threads charge a tenant, and discharge from another one that has no charges. */
#include "bufpool_model.h"

static bufpool_tenant *tenant, *other;

static void *charge(void *unused)
{
    bufpool__home = 0;
    bufpool_charge(tenant, 3);
    bufpool_discharge(other, 1);
    return unused;
}

static void *charge_more(void *unused)
{
    bufpool__home = 1;
    bufpool_charge(tenant, 20);
    bufpool_discharge(other, 1);
    return unused;
}

static void play(void)
{
    model_create(2);
    tenant           = model_tenant(0, 0, 4096);
    other            = model_tenant(1, 1, 4096);
    model_thread one = model_start(charge);
    model_thread two = model_start(charge_more);
    model_join(one);
    model_join(two);
    must(bufpool__live(tenant) == 23 && bufpool__live(other) == 0);
    must(atomic_load_explicit(&tenant->granted, memory_order_relaxed) == 23);
    must(atomic_load_explicit(&pool->underflows, memory_order_relaxed) == 2);
}
