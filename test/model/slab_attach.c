/* Goal:   who attaches sees a whole pool, or none: its shape, its core, and no life that was left
 *         in the memory from before.
 * Method: one thread creates a pool in memory full of noise while another attaches to it. */
#include "slab_model.h"

enum { PAGES = 2, NOISE_GEN = 1 };

static alignas(4096) uint64_t memory[2 * 4096 / sizeof(uint64_t)];

static void *attacher(void *unused)
{
    slab_pool *view;
    int        error = slab_pool_attach(&view, memory, sizeof memory);

    must(error == 0 || error == -EINVAL);
    if (error == 0) {
        struct slab_pool_info info;
        slab_pool_stats(view, &info);
        must(info.page_count == PAGES);
        /* -ESTALE: the core is the pool's, the page is one of its pages, and the life is none. */
        slab_id id = {MODEL_CORE, PAGES - 1, NOISE_GEN};
        must(slab_pool_return(view, id) == -ESTALE);
        slab_pool_detach(view);
    }
    return unused;
}

static void play(void)
{
    /* relaxed: no thread knows the memory yet. */
    slab__shared *noise = (slab__shared *)(void *)memory;
    atomic_store_explicit(&noise->magic, 0, memory_order_relaxed);
    atomic_store_explicit(&noise->page_size, 4096, memory_order_relaxed);
    atomic_store_explicit(&noise->page_count, 1, memory_order_relaxed);
    atomic_store_explicit(&noise->core, 9, memory_order_relaxed);
    for (uint32_t i = 0; i < PAGES; i++)
        atomic_store_explicit(&noise->lives[i].gen, NOISE_GEN, memory_order_relaxed);

    model_thread     thread = model_start(attacher);
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
