/* Goal:   a drain alone finds every page also when the page's next life begins and ends before the
 *         return of its last one has got as far as its hint.
 * Method: the only page is out and a thread returns it. The owner begins a new life as soon as it
 *         may, hint or no hint, and hands it to a second thread, who returns it at once, if it has
 *         come by then. The owner drains in the midst of this, and once more when all is still. */
#include "slab_model.h"

static slab_id    id;
static model_cell cell;
static bool       second_returned;

static void *return_first(void *unused)
{
    must(slab_pool_return(pool, id) == 0);
    return unused;
}

static void *return_second(void *unused)
{
    uint64_t word = atomic_load_explicit(&cell, memory_order_acquire);
    if (word != 0) {
        must(slab_pool_return(pool, model_id(word)) == 0);
        second_returned = true;
    }
    return unused;
}

static void play(void)
{
    cell            = 0;
    second_returned = false;
    model_create(1);
    id = model_fill(1);

    model_thread first  = model_start(return_first);
    model_thread second = model_start(return_second);
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
