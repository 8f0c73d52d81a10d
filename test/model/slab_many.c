/* Goal:   return_many keeps every promise of return: of doubled ids one succeeds, a drain alone
 *         finds the pages, an armed owner gets one wake-up, its reads come before the owner's next
 *         write.
 * Method: one thread reads two pages and returns both at once, another returns one of them again,
 *         while the owner drains, writes into what it finds, or asks whether it may sleep. The
 *         header reads the page of an id in the array apart from the whole id; the checker, which
 *         keeps one size for each variable, takes that for 0: so both pages are of group 0, where
 *         it makes no odds. */
#include "slab_model.h"

static slab_id ids[2];
static size_t  live[2];
static bool    wake[2];

static void *return_both(void *unused)
{
    size_t          len;
    const uint64_t *payload = slab_pool_read(pool, ids[0], &len);

    must(payload && *payload == 1);
    live[0] = slab_pool_return_many(pool, ids, 2, &wake[0]);
    return unused;
}

static void *return_second(void *unused)
{
    live[1] = slab_pool_return_many(pool, ids + 1, 1, &wake[1]);
    return unused;
}

static void play(void)
{
    model_create(2);
    ids[0] = model_fill(1);
    ids[1] = model_fill(2);

    model_thread first  = model_start(return_both);
    model_thread second = model_start(return_second);
    size_t       found  = slab_pool_drain(pool);
    unsigned     taken  = 0;
    bool         armed  = false;
    slab_id      id;
    if (found == 0) {
        armed = slab_pool_want(pool);
    } else {
        model_fill(3);
        taken++;
    }
    model_join(first);
    model_join(second);

    must(live[0] >= 1 && live[0] + live[1] == 2);
    if (armed) must(wake[0] + wake[1] == 1);
    must(model_available() == 2 - taken);
    if (armed || found > 0) must(found + slab_pool_drain(pool) == 2);
    while (taken < 2) {
        must(slab_pool_alloc(pool, 8, &id));
        taken++;
    }
    must(!slab_pool_alloc(pool, 8, &id));
    slab_pool_destroy(pool);
}
