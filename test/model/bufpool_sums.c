/* Goal:   the pool's sum of charges is never below zero either, though what one thread charges
 *         another discharges, in another shard.
 * Method: a thread charges a tenant; another discharges it; main reads all outs, then all ins, as
 *         stats does. */
#include "bufpool_model.h"

static bufpool_tenant *tenant;

static void *charge(void *unused)
{
    bufpool__home = 0;
    bufpool_charge(tenant, 5);
    return unused;
}

static void *discharge(void *unused)
{
    bufpool__home = 1;
    bufpool_discharge(tenant, 5);
    return unused;
}

static void play(void)
{
    struct bufpool_info info = {0};

    model_create(2);
    tenant           = model_tenant(0, 0, 4096);
    model_thread one = model_start(charge);
    model_thread two = model_start(discharge);
    bufpool__subtract_outs(pool, &info);
    bufpool__add_ins(pool, &info);
    must(info.live_bytes <= 5);
    model_join(one);
    model_join(two);

    info = (struct bufpool_info){0};
    bufpool__subtract_outs(pool, &info);
    bufpool__add_ins(pool, &info);
    must(info.live_bytes == bufpool__live(tenant));
}
