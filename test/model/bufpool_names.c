/* Goal:   a name belongs to one tenant, and a thread that finds a tenant, by its name or by going
 *         through all of them, finds it complete.
 * Method: threads look up and make tenants in a small table. */
#define MODEL_NAMES 8
#include "bufpool_model.h"

/* grow: two threads ask for the same new name, for which the table is too small, and main before
 * that for the name that is there.
 *
 *    other                                   main
 *    find "b": not there                     find "a": in the old table, or in the new one
 *    lock, find again, unlock
 *    map a table; lock, new table, release
 *    lock, make "b", enlist, release         find "b": there, or lock, find again
 *
 * Broken if the new table, or a slot in it, is not stored with release or not loaded with acquire:
 * the tenant found is incomplete, or "a" is missing. Broken if the lock does not order: there are
 * two tenants "b". */
static bufpool_tenant *found[2];

static void get(uint32_t which)
{
    found[which] = bufpool_tenant_get(pool, "b", 1);
    must(found[which] && found[which]->number == 1 && found[which]->pool == pool);
}

static void *get_one(void *unused)
{
    get(0);
    return unused;
}

play(grow)
{
    model_create(1);
    model_table(MODEL_NAMES / 2);
    bufpool_tenant *first = bufpool_tenant_get(pool, "a", 1);
    must(first && first->number == 0);
    model_thread one = model_start(get_one);
    must(bufpool_tenant_get(pool, "a", 1) == first);
    get(1);
    model_join(one);
    must(found[0] == found[1] && found[0] != first);
    must(model_table_count <= 3 && bufpool__get(&pool->tenant_count) == 2);
}

/* rows: main goes through all tenants, as the metrics do, while another thread makes two and bills
 * one. It sees none, the first, or both, each complete: name, number, account.
 *
 *    main                                    maker
 *                                            make "a"; first_tenant := it, release
 *    first_tenant, acquire: "a"
 *    write its row                           make "b"; "a"->next := it, release
 *    next, acquire: "b", write its row       bill "b"
 *
 * Broken if either store does not release, or the loads do not acquire: a data race on the name. */
static void *make(void *unused)
{
    bufpool_tenant *tenant = bufpool_tenant_get(pool, "a", 1);
    must(tenant && tenant->number == 0);
    tenant = bufpool_tenant_get(pool, "b", 1);
    must(tenant && tenant->number == 1);
    model_bill(&pool->shards[0], tenant, 3);
    return unused;
}

static size_t count_rows(void)
{
    bufpool__text text = {NULL, 0, 0};

    bufpool__append_tenants(&text, pool, "x", bufpool__live);
    return text.len;
}

play(rows)
{
    model_create(1);
    pool->config.tenant_max = 2;
    model_table(MODEL_NAMES);
    model_thread thread = model_start(make);
    size_t       some   = count_rows();
    model_join(thread);
    size_t both = count_rows();
    must(both > 0 && (some == 0 || some == both / 2 || some == both));
}
