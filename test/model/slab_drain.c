/* Goal:   a drain alone finds every page whose return is over: no page is left to the look at all
 *         pages that comes before alloc gives up.
 * Method: two threads each return a page of one group while the owner drains. Either returner may
 *         find the group's hint set already and leave it so, in the very moment the owner takes the
 *         hint. When all is still, what the owner had not found yet must be found by one more
 *         drain. */
#include "slab_model.h"

static slab_id ids[2];

static void *return_first(void *unused)
{
    must(slab_pool_return(pool, ids[0]) == 0);
    return unused;
}

static void *return_second(void *unused)
{
    must(slab_pool_return(pool, ids[1]) == 0);
    return unused;
}

static void play(void)
{
    model_create(2);
    ids[0] = model_fill(1);
    ids[1] = model_fill(2);

    model_thread first  = model_start(return_first);
    model_thread second = model_start(return_second);
    size_t       found  = slab_pool_drain(pool);
    model_join(first);
    model_join(second);

    must(model_available() == 2);
    found += slab_pool_drain(pool);
    must(found == 2);
    slab_pool_destroy(pool);
}
