/* Goal:   of two caches that are opened at once each has a seat of its own, and who looks through
 *         all seats to share out what may be kept finds no empty one.
 * Method: a thread opens a cache, and main another. */
#define MODEL_MEMORY
#include "bufpool_model.h"

static bufpool_cache *opened[2];
static uint32_t       mapped;

/* Under the pool's lock. */
static void *model_map(size_t size)
{
    must(size == sizeof(bufpool_cache) && mapped < MODEL_CACHES);
    return &model_caches[mapped++];
}

static void model_unmap(void *memory, size_t size)
{
    (void)memory;
    (void)size;
}

static void *serve(void *unused)
{
    opened[1] = bufpool_cache_open(pool);
    return unused;
}

static void play(void)
{
    mapped = 0;
    model_create(1);
    model_thread thread = model_start(serve);
    opened[0]           = bufpool_cache_open(pool);
    model_join(thread);
    must(opened[0] && opened[1] && opened[0]->number + opened[1]->number == 3);
    must(bufpool__get(&pool->seat_count) == 3 && bufpool__get(&pool->caches) == 2);
    must(opened[0]->has_own && opened[1]->has_own && pool->kept[BUFPOOL_SMALL] == 2);
}
