/* One request, which is answered when the page of its answer is returned. */
#define SLAB_IMPLEMENTATION
#include "slab.h"
#include <stdio.h>

BLOCK

int main(void)
{
    int              open_requests = 1;
    slab_pool_config config        = {.recycled = finished, .context = &open_requests};
    slab_pool       *pool;
    slab_id          id;

    if (slab_pool_create(&pool, &config) != 0 || answer(pool, 7, "yes", &id) != 0) return 1;
    if (slab_pool_drain(pool) != 0 || slab_pool_return(pool, id) != 0) return 2;
    if (slab_pool_drain(pool) != 1) return 3;
    printf("%d requests are open\n", open_requests);
    return slab_pool_destroy(pool) != 0;
}
