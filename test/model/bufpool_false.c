/* Goal:   as bufpool_excess: a tenant at its limit is not counted as above it, though another
 *         buffer is released and acquired while a thread looks.
 * Method: a tenant at its limit by two buffers; a thread's tab has one of them go out and come in
 *         again; main looks at the limit as an acquisition would. */
#include "bufpool_model.h"

static bufpool_tenant *tenant;

static void *churn(void *unused)
{
    bufpool__tab *tab = &pool->shards[1].tabs[0];

    bufpool__publish(&tab->out, 1);
    bufpool__publish(&tab->in, 1);
    return unused;
}

static void play(void)
{
    model_create(2);
    tenant = model_tenant(0, 0, 4096);
    bufpool__bill(&pool->shards[1], tenant, 1);
    bufpool__bill(&pool->shards[0], tenant, 4095);
    must(atomic_load_explicit(&tenant->exceeded, memory_order_relaxed) == 0);
    model_thread other = model_start(churn);
    bufpool__look_at_limit(tenant);
    model_join(other);
    must(atomic_load_explicit(&tenant->exceeded, memory_order_relaxed) == 0);
}
