/* Goal:   what is discharged was charged before: nobody who looks sees less than zero, nothing is
 *         taken twice, and a call of which something is left out is counted.
 * Method: two threads discharge more than main charged, and one of them charges some more before;
 *         main looks at the tenant's account meanwhile. */
#include "bufpool_model.h"

static bufpool_tenant *tenant;

static void *discharge(void *unused)
{
    bufpool__home = 0;
    bufpool_discharge(tenant, 3);
    return unused;
}

static void *charge(void *unused)
{
    bufpool__home = 0;
    bufpool_charge(tenant, 2);
    bufpool_discharge(tenant, 3);
    return unused;
}

static void play(void)
{
    model_create(2);
    bufpool__home = 1;
    tenant        = model_tenant(0, 0, 4096);
    bufpool_charge(tenant, 2);
    model_thread one = model_start(discharge);
    model_thread two = model_start(charge);
    must(bufpool__live(tenant) <= 4);
    model_join(one);
    model_join(two);
    must(bufpool__live(tenant) == 0);
    uint64_t refused = atomic_load_explicit(&pool->underflows, memory_order_relaxed);
    must(refused == 1 || refused == 2);
}
