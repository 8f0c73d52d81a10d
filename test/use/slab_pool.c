/* The least that a program does with slab_pool: a page out, read and returned. Compiles as C and as
 * C++; define SLAB_IMPLEMENTATION to get the functions too (C only). */
#include "slab.h"

static int use(void)
{
    slab_pool  *pool;
    slab_id     id;
    size_t      len;
    const char *data;

    if (slab_pool_create(&pool, NULL) != 0) return 1;
    if (slab_pool_put(pool, "x", 1, &id) != 0) return 2;
    data = (const char *)slab_pool_read(pool, id, &len);
    if (!data || len != 1 || *data != 'x') return 3;
    if (slab_pool_return(pool, id) != 0) return 4;
    return slab_pool_destroy(pool) == 0 ? 0 : 5;
}

int main(void) { return use(); }
