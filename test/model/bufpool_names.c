/* Goal:   a name is one tenant's, whoever asks for it first, and whatever the table does meanwhile;
 *         and who gets a tenant finds it complete.
 * Method: a table that the second name is too much for. Two threads ask for the same new name, and
 *         main for the one that is there. */
#define MODEL_NAMES 8
#include "bufpool_model.h"

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

static void *get_other(void *unused)
{
    get(1);
    return unused;
}

static void play(void)
{
    model_create(1);
    must(bufpool__make_table(pool, MODEL_NAMES / 2));
    bufpool_tenant *first = bufpool_tenant_get(pool, "a", 1);
    must(first && first->number == 0);
    model_thread one = model_start(get_one);
    model_thread two = model_start(get_other);
    must(bufpool_tenant_get(pool, "a", 1) == first);
    model_join(one);
    model_join(two);
    must(found[0] == found[1] && found[0] != first);
    must(model_table_count == 2 && bufpool__get(&pool->tenant_count) == 2);
}
