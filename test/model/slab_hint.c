/* Goal:   a drain alone finds every page whose return is over. No page is left to the look at all
 *         pages that alloc makes before it gives up.
 * Method: two threads return a page each while the owner drains once. After the joins one more
 *         drain must find whatever the first one did not. A lost hint shows as a page that it
 *         misses. */
#include "slab_model.h"

enum { PAGES = 9 }; /* a group has at least eight pages, so the last of nine is in the second */

static slab_id ids[PAGES];

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

static void *return_last(void *unused)
{
    must(slab_pool_return(pool, ids[PAGES - 1]) == 0);
    return unused;
}

/* Lets two threads return a page each of `pages` and drains meanwhile. */
MODEL_INLINE void drain_both(uint32_t pages, void *(*second)(void *))
{
    model_create(pages);
    for (uint32_t i = 0; i < pages; i++) ids[i] = model_fill(i + 1);

    model_thread one   = model_start(return_first);
    model_thread other = model_start(second);
    size_t       found = slab_pool_drain(pool);
    model_join(one);
    model_join(other);

    must(model_available() == 2);
    found += slab_pool_drain(pool);
    must(found == 2);
    slab_pool_destroy(pool);
}

/* shared: both pages are of one group, so both returners want the same bit.
 *
 *    owner                       first                       second
 *                                end life 0
 *                                hint := 1                   end life 1
 *    drain: hint is 1                                        hint is 1: leave it so
 *    drain: exchange hint, 0
 *    drain: look at the group, must see both lives ended
 *
 * Store and load cross on both sides. Broken if the second's end of life, its load of the hint, the
 * owner's exchange, or the owner's load of gen is not seq_cst: the second leaves the hint to a look
 * that misses its page. */
play(shared) { drain_both(2, return_second); }

/* groups: the pages are of two groups, whose bits share a word.
 *
 *    owner                       first                       second
 *                                hint: 0 -> 01               hint: 01 -> 11
 *    drain: exchange hint, 0
 *    drain: look at both groups
 *
 * Broken if setting a bit, or taking them all, is a load and a store: one bit overwrites the other,
 * or the owner's zero overwrites a bit it has not seen. */
play(groups) { drain_both(PAGES, return_last); }

/* overtaken: the page's next life begins and ends before the return of its last one gets as far as
 * the hint.
 *
 *    owner                       first                       second
 *                                end life 1
 *    alloc: look sees it
 *    give id ----------------------------------------------> return 3: end life 3
 *    drain
 *                                hint, for a life long over  hint
 *
 * Broken by what breaks `shared`: here it is the first's late hint that the second relies on. */
static slab_id    id;
static model_cell cell;
static bool       second_returned;

static void *return_it(void *unused)
{
    must(slab_pool_return(pool, id) == 0);
    return unused;
}

static void *return_next(void *unused)
{
    uint64_t word = atomic_load_explicit(&cell, memory_order_acquire);
    if (word != 0) {
        must(slab_pool_return(pool, model_id(word)) == 0);
        second_returned = true;
    }
    return unused;
}

play(overtaken)
{
    cell            = 0;
    second_returned = false;
    model_create(1);
    id = model_fill(1);

    model_thread first  = model_start(return_it);
    model_thread second = model_start(return_next);
    slab_id      next;
    bool         turned = slab_pool_alloc(pool, 8, &next) != NULL;
    if (turned) model_give(&cell, next);
    size_t found = slab_pool_drain(pool);
    model_join(first);
    model_join(second);

    found += slab_pool_drain(pool);
    must(found == (!turned || second_returned));
    must(model_available() == found);
    slab_pool_destroy(pool);
}
