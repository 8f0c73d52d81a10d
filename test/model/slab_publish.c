/* Goal:   a thread that sees a pool, or a life in it, sees it complete.
 * Method: a thread reads without any order of its own while the owner creates or allocates. */
#include "slab_model.h"

/* length: a thread that sees a life sees its length, even with an id that reached it without any
 * order. The old id is over for a thread that knows of its end.
 *
 *    owner                       reader
 *    (page had a life of 8 bytes)
 *    alloc 40: len := 40
 *    alloc 40: gen := 3
 *    cell := id, relaxed         cell: id
 *                                read id: gen is 3, so len must be 40
 *                                read old: gen is not 1
 *
 * Broken if the store of gen in slab_pool_alloc does not release, or if the load in slab_pool_read
 * does not acquire: the reader gets 8 for a value of 40 bytes. */
static slab_id    old;
static model_cell cell;

static void *read_both(void *unused)
{
    size_t   len;
    uint64_t word = atomic_load_explicit(&cell, memory_order_relaxed);

    if (word != 0 && slab_pool_read(pool, model_id(word), &len)) must(len == 40);
    must(!slab_pool_read(pool, old, &len));
    return unused;
}

play(length)
{
    cell = 0;
    model_create(1);
    old = model_fill(1);
    must(slab_pool_return(pool, old) == 0);

    model_thread thread = model_start(read_both);
    slab_id      id;
    must(slab_pool_alloc(pool, 40, &id));
    /* relaxed: nothing hands this id over, as if it were guessed. */
    atomic_store_explicit(&cell, model_word(id), memory_order_relaxed);
    model_join(thread);

    must(model_available() == 0);
    must(slab_pool_return(pool, id) == 0);
    slab_pool_destroy(pool);
}

/* attach: a process that attaches sees a whole pool or none: its shape, its core, and no life left
 * in the memory from before.
 *
 *    owner                                  attacher
 *    (memory is full of noise)
 *    format: magic := 0, shape, lives := 0
 *    format: magic := MAGIC                 magic is MAGIC
 *                                           shape is the new one, no page has a life
 *
 * Broken if the store of the magic in slab__pool_format does not release, or if the load in
 * slab_pool_attach does not acquire: the attacher reads the noise. */
enum { PAGES = 2, NOISE_GEN = 1 };

static alignas(4096) uint64_t memory[2 * 4096 / sizeof(uint64_t)];

static void *attach(void *unused)
{
    slab_pool *view;
    int        error = slab_pool_attach(&view, memory, sizeof memory);

    must(error == 0 || error == -EINVAL);
    if (error == 0) {
        struct slab_pool_info info;
        slab_pool_stats(view, &info);
        must(info.page_count == PAGES);
        /* -ESTALE: the core is the pool's, the page is one of its pages, and it has no life. */
        slab_id id = {MODEL_CORE, PAGES - 1, NOISE_GEN};
        must(slab_pool_return(view, id) == -ESTALE);
        slab_pool_detach(view);
    }
    return unused;
}

play(attach)
{
    /* relaxed: no other thread knows the memory yet. */
    slab__pool_shared *noise = (slab__pool_shared *)(void *)memory;
    atomic_store_explicit(&noise->magic, 0, memory_order_relaxed);
    atomic_store_explicit(&noise->page_size, 4096, memory_order_relaxed);
    atomic_store_explicit(&noise->page_count, 1, memory_order_relaxed);
    atomic_store_explicit(&noise->core, 9, memory_order_relaxed);
    for (uint32_t i = 0; i < PAGES; i++)
        atomic_store_explicit(&noise->lives[i].gen, NOISE_GEN, memory_order_relaxed);

    model_thread     thread = model_start(attach);
    slab_pool_config config = {0};
    config.core             = MODEL_CORE;
    config.page_size        = 64;
    config.page_count       = PAGES;
    config.memory           = memory;
    config.memory_size      = sizeof memory;
    int error               = slab_pool_create(&pool, &config);
    must(error == 0);
    model_join(thread);
    slab_pool_destroy(pool);
}
