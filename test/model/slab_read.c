/* Goal:   who sees a life sees its len, even with an id that came to it without any order.
 * Method: a page has had a life of 8 bytes. While the owner begins one of 40, a thread reads both
 *         ids, the new one known to it through a relaxed cell. The old one is over for all who know
 *         of its end; the new one reads as 40 bytes, or not yet. */
#include "slab_model.h"

static slab_id    old;
static model_cell cell;

static void *reader(void *unused)
{
    size_t   len;
    uint64_t word = atomic_load_explicit(&cell, memory_order_relaxed);

    if (word != 0 && slab_pool_read(pool, model_id(word), &len)) must(len == 40);
    must(!slab_pool_read(pool, old, &len));
    return unused;
}

static void play(void)
{
    cell = 0;
    model_create(1);
    old = model_fill(1);
    must(slab_pool_return(pool, old) == 0);

    model_thread thread = model_start(reader);
    slab_id      id;
    uint64_t     word;
    must(slab_pool_alloc(pool, 40, &id));
    memcpy(&word, &id, sizeof word);
    /* relaxed: an id that nothing hands over, as a guessed one. */
    atomic_store_explicit(&cell, word, memory_order_relaxed);
    model_join(thread);

    must(model_available() == 0);
    must(slab_pool_return(pool, id) == 0);
    slab_pool_destroy(pool);
}
