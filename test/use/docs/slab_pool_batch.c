/* A pool in one thread. */
#define SLAB_IMPLEMENTATION
#include "slab.h"
#include <stdio.h>

int main(void)
{
    slab_pool *pool;
    if (slab_pool_create(&pool, NULL) != 0) return 1;
    BLOCK
    return (int)slab_pool_destroy(pool);
}
