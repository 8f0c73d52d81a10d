/* Goal:   who goes through all tenants while they are made finds complete what it finds: a name, a
 *         place, an account.
 * Method: a pool without tenants. A thread makes two and bills one; main has the rows for metrics
 *         written, or rather counted. */
#define MODEL_NAMES 8
#include "bufpool_model.h"

static void *make(void *unused)
{
    bufpool_tenant *tenant = bufpool_tenant_get(pool, "a", 1);
    must(tenant && tenant->number == 0);
    tenant = bufpool_tenant_get(pool, "b", 1);
    must(tenant && tenant->number == 1);
    bufpool__bill(&pool->shards[0], tenant, 3);
    return unused;
}

static size_t rows(void)
{
    bufpool__text text = {NULL, 0, 0};

    bufpool__append_tenants(&text, pool, "x", bufpool__live);
    return text.len;
}

static void play(void)
{
    model_create(1);
    pool->config.tenant_max = 2;
    must(bufpool__make_table(pool, MODEL_NAMES));
    model_thread thread = model_start(make);
    size_t       some   = rows();
    model_join(thread);
    size_t both = rows();
    must(both > 0 && (some == 0 || some == both / 2 || some == both));
}
