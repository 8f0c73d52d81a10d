/* A store with values of two tiers. */
#define SLAB_IMPLEMENTATION
#include "slab.h"
#include <stdio.h>

int main(void)
{
    slab_store *store;
    slab_ref    ref;
    if (slab_store_create(&store, NULL) != 0) return 1;
    if (slab_store_put(store, "x", 1, &ref) != 0) return 1;
    BLOCK
    slab_store_destroy(store);
    return 0;
}
