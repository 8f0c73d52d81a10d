/* Goal:   who goes through all tenants finds complete what it finds, also of one that is made
 *         meanwhile: its name, its place, its account.
 * Method: a pool with one tenant. A thread makes
 *         another and bills it; main has the rows for metrics written, or rather counted. */
#define MODEL_NAMES 8
#include "bufpool_model.h"

static void *make(void *unused)
{
    bufpool_tenant *tenant = bufpool_tenant_get(pool, "b", 1);
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
    must(bufpool_tenant_get(pool, "a", 1));
    size_t       one    = rows();
    model_thread thread = model_start(make);
    size_t       some   = rows();
    model_join(thread);
    must(some == one || some == 2 * one);
    must(rows() == 2 * one);
}
