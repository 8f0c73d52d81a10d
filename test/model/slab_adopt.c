/* Goal:   a new owner takes over what the former left, wherever that one ended and whatever other
 *         threads return meanwhile: no page is lost to a drain, and none is written while it is
 *         read.
 * Method: the former owner is a function that just ends, in the middle of a drain too, as a killed
 *         one does; its private part is forgotten. The new owner adopts while one or two threads
 *         return. */
#include "slab_model.h"

enum { PAGES = 2 };

static alignas(4096) uint64_t memory[2 * 4096 / sizeof(uint64_t)];
static slab_id ids[PAGES];

MODEL_INLINE slab_pool_config the_same(void)
{
    slab_pool_config config = {0};
    config.core             = MODEL_CORE;
    config.page_size        = 64;
    config.page_count       = PAGES;
    config.memory           = memory;
    config.memory_size      = sizeof memory;
    return config;
}

MODEL_INLINE void create_and_fill(void)
{
    slab_pool_config config = the_same();
    int              error  = slab_pool_create(&pool, &config);
    must(error == 0);
    for (uint32_t i = 0; i < PAGES; i++) ids[i] = model_fill(i + 1);
}

/* The former owner is gone: it never touches its pool again. */
MODEL_INLINE void adopt(void)
{
    slab_pool_config config = the_same();
    int              error  = slab_pool_adopt(&pool, &config);
    must(error == 0);
}

/* in_flight: a return during adopt. The page is free for the new owner, or out until a drain; its
 * next write comes after the reader's last read.
 *
 *    new owner                              reader
 *                                           read 1
 *                                           end life: gen 1 -> 2
 *    adopt: gen is 2, free; or 1, out
 *    alloc, write 3                         hint
 *
 * Broken if the load in slab__pool_take_over does not acquire: write 3 races with read 1. Broken if
 * it took an odd generation for a free page, or began generations anew. */
static slab_pool *view;

static void *read_and_return_by_view(void *unused)
{
    size_t          len;
    const uint64_t *payload = slab_pool_read(view, ids[0], &len);
    must(payload && *payload == 1);
    must(slab_pool_return(view, ids[0]) == 0);
    return unused;
}

play(in_flight)
{
    create_and_fill();
    view                = pool; /* what the former owner's other threads go on with */
    model_thread reader = model_start(read_and_return_by_view);
    adopt();
    slab_id   id;
    uint64_t *payload = slab_pool_alloc(pool, sizeof *payload, &id);
    if (payload) {
        must(model_word(id) == slab__pool_next_life(model_word(ids[0])));
        *payload = 3;
    }
    model_join(reader);
    must(slab_pool_return(pool, ids[1]) == 0);
    must(model_available() == (payload ? 1 : 2));
    if (payload) must(slab_pool_return(pool, id) == 0);
    must(slab_pool_return(pool, ids[0]) == -ESTALE);
}

/* half_drain: the former owner has taken the hints and ends before it looks.
 *
 *    former owner             first               second                new owner
 *                             end life 0
 *                             hint := 1
 *                                                 end life 1
 *                                                 hint is 1: leave it
 *    exchange hint, 0
 *    killed
 *                                                                       adopt: must see 1 ended
 *
 * Broken if the load in slab__pool_take_over is less than seq_cst: the second's end of life, its
 * load of the hint, the exchange and that load are a chain of store and load on two words. */
static void *return_first_by_view(void *unused)
{
    must(slab_pool_return(view, ids[0]) == 0);
    return unused;
}

static void *return_second_by_view(void *unused)
{
    must(slab_pool_return(view, ids[1]) == 0);
    return unused;
}

play(half_drain)
{
    create_and_fill();
    view                = pool;
    model_thread first  = model_start(return_first_by_view);
    model_thread second = model_start(return_second_by_view);
    /* seq_cst: the exchange in slab__pool_look_hinted, of an owner that ends here. */
    atomic_exchange_explicit(&view->shared->hints[0], 0, memory_order_seq_cst);
    adopt();
    model_join(first);
    model_join(second);
    must(model_available() == 2);
}
