/* slab_model.h - a slab_pool for plays. For the checker its memory comes from a static arena. */
#include "model.h"

#ifdef MODEL
/* An array of words, because the checker names each element, which takes time. */
static alignas(4096) uint64_t model_arena[3][1024];
static _Atomic(unsigned)      model_arenas_used;

MODEL_INLINE void *model_map(size_t size)
{
    must(size <= sizeof model_arena[0]);
    /* relaxed: each caller only needs a number of its own. */
    return model_arena[atomic_fetch_add_explicit(&model_arenas_used, 1, memory_order_relaxed)];
}

#define SLAB_MAP(size)           model_map(size)
#define SLAB_UNMAP(memory, size) ((void)(memory), (void)(size))
#define model_yield()            ((void)0)
#include <unistd.h>
#define getpid() 1 /* there is one process */
#else
#include <sched.h>
#define model_yield() ((void)sched_yield())
#endif

#define SLAB_API       MODEL_API
#define SLAB_ASSERT(x) must(x)
#define SLAB_IMPLEMENTATION
MODEL_HEADER_BEGIN
#include "slab.h"
MODEL_HEADER_END

/* -- Handing over --
 *
 * A cell carries one id as one word; 0 is empty, and never an id. */

typedef _Atomic(uint64_t) model_cell;

MODEL_INLINE slab_id model_id(uint64_t word)
{
    slab_id id;
    memcpy(&id, &word, sizeof id);
    return id;
}

MODEL_INLINE uint64_t model_word(slab_id id)
{
    uint64_t word;
    memcpy(&word, &id, sizeof word);
    return word;
}

MODEL_INLINE void model_give(model_cell *cell, slab_id id)
{
    /* release, pairs with the acquire in model_take: the cell stands for the user's own queue. */
    atomic_store_explicit(cell, model_word(id), memory_order_release);
}

MODEL_INLINE slab_id model_take(model_cell *cell)
{
    uint64_t word;
    while ((word = atomic_load_explicit(cell, memory_order_acquire)) == 0) model_yield();
    return model_id(word);
}

/* -- The pool -- */

enum { MODEL_CORE = 7 };

static slab_pool *pool;

MODEL_INLINE void model_create(uint32_t page_count)
{
    slab_pool_config config = {0};
    config.core             = MODEL_CORE;
    config.page_size        = 64;
    config.page_count       = page_count;
    int error               = slab_pool_create(&pool, &config);
    must(error == 0);
}

/* Allocates a page, which must be available, and writes value into it. */
MODEL_INLINE slab_id model_fill(uint64_t value)
{
    slab_id   id;
    uint64_t *payload = slab_pool_alloc(pool, sizeof *payload, &id);
    must(payload);
    *payload = value;
    return id;
}

MODEL_INLINE uint32_t model_available(void)
{
    struct slab_pool_info info;
    slab_pool_stats(pool, &info);
    return info.available;
}
