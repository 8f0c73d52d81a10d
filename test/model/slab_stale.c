/* Goal:   returns of a life that is over harm nothing, however they fall against the page's next
 *         life, and each is counted.
 * Method: a page has had a life. While the owner begins the next one, writes, and ends it by a
 *         return, two threads return the old id. */
#include "slab_model.h"

static slab_id old;

static void *return_old(void *unused)
{
    must(slab_pool_return(pool, old) == -ESTALE);
    return unused;
}

static void *return_old_many(void *unused)
{
    bool wake;
    must(slab_pool_return_many(pool, &old, 1, &wake) == 0 && !wake);
    return unused;
}

static void play(void)
{
    model_create(1);
    old = model_fill(1);
    must(slab_pool_return(pool, old) == 0);

    model_thread first  = model_start(return_old);
    model_thread second = model_start(return_old_many);
    slab_id      id     = model_fill(2);
    size_t       len;
    must(model_available() == 0);
    const uint64_t *payload = slab_pool_read(pool, id, &len);
    must(payload && *payload == 2);
    must(slab_pool_return(pool, id) == 0);
    must(slab_pool_drain(pool) == 1);
    model_join(first);
    model_join(second);

    struct slab_pool_info info;
    slab_pool_stats(pool, &info);
    must(info.refused == 2 && info.allocs == 2 && info.available == 1);
    slab_pool_destroy(pool);
}
