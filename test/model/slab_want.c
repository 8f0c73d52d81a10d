/* Goal:   no return falls between an owner's last look and its sleep. If want says true, exactly
 *         one return answers 1, and whoever it wakes the owner for is found; if it says false, a
 *         page is there.
 * Method: both pages of a pool are out. Two threads return one each while the owner asks. A 1 is
 *         passed on to the owner, who, if it has it, must find a page at once. */
#include "slab_model.h"

static slab_id     ids[2];
static int         answers[2];
static atomic_bool awake;

static void give_back(int which)
{
    answers[which] = slab_pool_return(pool, ids[which]);
    must(answers[which] >= 0);
    /* release, pairs with the acquire in play: the wake-up call. */
    if (answers[which] == 1) atomic_store_explicit(&awake, true, memory_order_release);
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
    awake = false;
    model_create(2);
    ids[0] = model_fill(1);
    ids[1] = model_fill(2);

    model_thread first  = model_start(return_first);
    model_thread second = model_start(return_second);
    bool         armed  = slab_pool_want(pool);
    unsigned     taken  = 0;
    slab_id      id;
    if (!armed || atomic_load_explicit(&awake, memory_order_acquire)) {
        must(slab_pool_alloc(pool, 8, &id));
        taken++;
    }
    model_join(first);
    model_join(second);

    if (armed) must(answers[0] + answers[1] == 1);
    must(model_available() == 2 - taken);
    while (taken < 2) {
        must(slab_pool_alloc(pool, 8, &id));
        taken++;
    }
    must(!slab_pool_alloc(pool, 8, &id));
    slab_pool_destroy(pool);
}
