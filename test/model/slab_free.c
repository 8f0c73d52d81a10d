/* Goal:   when the owner frees the very id that another thread returns, the page comes back once:
 *         not lost, not handed out twice, and its next life is out of the late return's reach.
 * Method: the race, on one of two pages, with the owner going on at once to begin new lives. Each
 *         side may be told 0, both too; but not neither. */
#include "slab_model.h"

static slab_id id;
static int     returned;

static void *returner(void *unused)
{
    returned = slab_pool_return(pool, id);
    return unused;
}

static void play(void)
{
    model_create(2);
    id = model_fill(1);

    model_thread thread = model_start(returner);
    int          freed  = slab_pool_free(pool, id);
    slab_id      next[2];
    uint64_t    *payload[2];
    size_t       len;
    unsigned     out = 0;
    for (unsigned i = 0; i < 2; i++) {
        payload[i] = slab_pool_alloc(pool, sizeof **payload, &next[i]);
        out += payload[i] != NULL;
    }
    model_join(thread);

    must(freed == 0 || freed == -ESTALE);
    must(returned == 0 || returned == -ESTALE);
    must(freed == 0 || returned == 0);
    must(out == 2); /* the free was over, or it had seen the return */
    must(payload[0] != payload[1]);
    must(model_available() == 0);
    must(!slab_pool_read(pool, id, &len));
    for (unsigned i = 0; i < 2; i++) {
        must(slab_pool_read(pool, next[i], &len) == payload[i]);
        must(slab_pool_return(pool, next[i]) == 0);
        must(slab_pool_return(pool, next[i]) == -ESTALE);
    }
    must(slab_pool_drain(pool) == 2);
    slab_pool_destroy(pool);
}
