/* Goal:   slab.h alone maps memory, asks for large pages and gives pages back in a strict build. */
#define SLAB_IMPLEMENTATION
#include "slab.h"

#include "kernel.h"

#define VALUES 200000 /* of 4096 bytes: several extents of the largest size, the last ones large */

static slab_ref refs[VALUES];

static int uses_pages(void)
{
    slab_pool *pool;
    slab_id    id;

    NEED(slab_pool_create(&pool, NULL) == 0);
    NEED(kernel_anonymous > 0);
    NEED(slab_pool_put(pool, "hello", 6, &id) == 0);
    NEED(slab_pool_return(pool, id) == 0);
    NEED(slab_pool_destroy(pool) == 0);
    return 0;
}

static int uses_values(void)
{
    slab_store *store;

    NEED(slab_store_create(&store, NULL) == 0);
    for (uint32_t i = 0; i < VALUES; i++) NEED(slab_store_alloc(store, 4000, &refs[i]) != NULL);
    NEED(ASKED(HUGEPAGE));
    NEED(!ASKED(DONTNEED));
    for (uint32_t i = 1; i < VALUES; i++) NEED(slab_store_free(store, refs[i], 4000) == 0);
    NEED(slab_store_trim(store) > 0);
    NEED(ASKED(DONTNEED));
    slab_store_destroy(store);
    return 0;
}

int main(void) { return uses_pages() || uses_values(); }
