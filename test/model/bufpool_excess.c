/* Goal:   a tenant whose live bytes never are above its limit is never counted as above it, though
 *         a buffer comes and goes where there was a charge, while another thread looks.
 * Method: a tenant at its limit by a charge; a thread discharges it, takes a buffer of that size
 *         and releases it, and charges again. Main looks at the limit as an acquisition of another
 *         tab would. */
#include "bufpool_model.h"

enum { BYTES = 64 };

static bufpool_tenant *tenant;

static void *swap(void *unused)
{
    bufpool__tab *tab = &pool->shards[1].tabs[0];

    bufpool_discharge(tenant, BYTES);
    bufpool__publish(&tab->in, BYTES);
    bufpool__publish(&tab->out, BYTES);
    bufpool_charge(tenant, BYTES);
    return unused;
}

static void play(void)
{
    model_create(2);
    bufpool__home = 0;
    tenant        = model_tenant(0, 0, BYTES);
    (void)bufpool__tab_of(&pool->shards[1], tenant);
    bufpool_charge(tenant, BYTES);
    model_thread other = model_start(swap);
    bufpool__look_at_limit(tenant);
    model_join(other);
    must(atomic_load_explicit(&tenant->exceeded, memory_order_relaxed) == 0);
}
