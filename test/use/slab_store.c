/* The least that a program does with slab_store: a value in, read and freed. Compiles as C and as
 * C++; define SLAB_IMPLEMENTATION to get the functions too (C only). */
#include "slab.h"

static int use(void)
{
    slab_store *store;
    slab_ref    ref;
    const char *data;

    if (slab_store_create(&store, NULL) != 0) return 1;
    if (slab_store_put(store, "x", 1, &ref) != 0 || ref == SLAB_NO_REF) return 2;
    data = (const char *)slab_store_get(store, ref, 1);
    if (!data || *data != 'x') return 3;
    if (slab_store_free(store, ref, 1) != 0 || slab_store_get(store, ref, 1)) return 4;
    slab_store_destroy(store);
    return 0;
}

int main(void) { return use(); }
