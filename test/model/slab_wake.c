/* Goal:   no return falls between an owner's last look and its sleep.
 * Method: both pages of a pool are out. Two threads return one each while the owner asks whether it
 *         may sleep. A return that answers 1 must wake the owner; here it stores to a variable. */
#include "slab_model.h"

static slab_id          ids[2];
static int              answers[2];
static _Atomic(unsigned) bell;

static void give_back(int which)
{
    answers[which] = slab_pool_return(pool, ids[which]);
    must(answers[which] >= 0);
    /* release, pairs with the acquire in the plays: the wake-up call. */
    if (answers[which] == 1) atomic_fetch_add_explicit(&bell, 1, memory_order_release);
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

MODEL_INLINE void take_both_out(void)
{
    bell = 0;
    model_create(2);
    ids[0] = model_fill(1);
    ids[1] = model_fill(2);
}

/* want: if want says true, exactly one return answers 1, and a woken owner finds a page at once; if
 * it says false, a page is there.
 *
 *    owner                       first                       second
 *    want: wanted := 1           end life 0
 *    want: look at all pages     wanted is 1: take it
 *          finds nothing         answers 1                   end life 1
 *                                                            wanted is 0: answers 0
 *
 * Store and load cross: either the returner sees wanted, or the owner's look sees the life ended.
 * Broken if the store of wanted, the compare-exchange in slab__pool_end_life, the load in
 * slab__pool_take_wake or the load in slab__pool_look is not seq_cst: the owner sleeps and nobody
 * wakes it. Broken if taking wanted is a load and a store: two returns answer 1. */
play(want)
{
    take_both_out();
    model_thread first  = model_start(return_first);
    model_thread second = model_start(return_second);
    bool         armed  = slab_pool_want(pool);
    unsigned     taken  = 0;
    slab_id      id;
    if (!armed || atomic_load_explicit(&bell, memory_order_acquire) > 0) {
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

/* sleep: an owner that sleeps each time want says true gets every page, also after earlier sleeps.
 *
 *    owner                       first                       second
 *    want: wanted := 1
 *    want: look finds nothing
 *    sleep                       end life 0
 *                                take wanted, ring           end life 1
 *    wake: alloc finds both, or finds one, wants, sleeps     take wanted, ring
 *
 * Broken by what breaks `want`: a ring is missing, and the owner sleeps for ever, which the checker
 * reports (an ordinary program hangs). A ring may also come late, for an earlier want: then the
 * owner wakes, finds nothing, and asks again. */
play(sleep)
{
    take_both_out();
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
