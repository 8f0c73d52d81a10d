/* Goal:   a drain alone finds every page also where hints of several groups share a word.
 * Method: two pages of different groups are out, and a thread returns each while the owner drains.
 *         Each returner may find the word empty, or with the other's hint in it. */
#include "slab_model.h"

enum { PAGES = 9 }; /* a group is eight pages or more; a pool so small has groups of eight */

static slab_id ids[PAGES];

static void *return_first(void *unused)
{
    must(slab_pool_return(pool, ids[0]) == 0);
    return unused;
}

static void *return_last(void *unused)
{
    must(slab_pool_return(pool, ids[PAGES - 1]) == 0);
    return unused;
}

static void play(void)
{
    model_create(PAGES);
    for (unsigned i = 0; i < PAGES; i++) ids[i] = model_fill(i);

    model_thread first = model_start(return_first);
    model_thread last  = model_start(return_last);
    size_t       found = slab_pool_drain(pool);
    model_join(first);
    model_join(last);

    must(model_available() == 2);
    found += slab_pool_drain(pool);
    must(found == 2);
    slab_pool_destroy(pool);
}
