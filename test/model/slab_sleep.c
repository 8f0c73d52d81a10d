/* Goal:   an owner that sleeps whenever it is told it may gets every page that is given back,
 *         whatever is left over from earlier sleeps.
 * Method: both pages of a pool are out. The owner takes until it has two more, and sleeps when want
 *         says true, until a return that answered 1 has rung once more. A ring too few shows as a
 *         sleep that never ends: the checker looks for those; an ordinary run hangs. A 1 may come
 *         late, for an earlier want: then it wakes an owner that finds nothing and asks again. */
#include "slab_model.h"

static slab_id           ids[2];
static _Atomic(unsigned) bell;

static void give_back(int which)
{
    int answer = slab_pool_return(pool, ids[which]);
    must(answer >= 0);
    /* release, pairs with the acquire in play. */
    if (answer == 1) atomic_fetch_add_explicit(&bell, 1, memory_order_release);
}

static void *return_first(void *unused)
{
    give_back(0);
    return unused;
}

static void *return_second(void *unused)
{
    give_back(1);
    return unused;
}

static void play(void)
{
    bell = 0;
    model_create(2);
    ids[0] = model_fill(1);
    ids[1] = model_fill(2);

    model_thread first  = model_start(return_first);
    model_thread second = model_start(return_second);
    unsigned     heard  = 0;
    for (unsigned taken = 0; taken < 2;) {
        slab_id id;
        if (slab_pool_alloc(pool, 8, &id)) {
            taken++;
        } else if (slab_pool_want(pool)) {
            unsigned rung;
            while ((rung = atomic_load_explicit(&bell, memory_order_acquire)) == heard)
                model_yield();
            heard = rung;
        }
    }
    model_join(first);
    model_join(second);
    must(heard <= 2);
    must(model_available() == 0);
    slab_pool_destroy(pool);
}
