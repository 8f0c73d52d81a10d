/* The recipe for memory of your choice. */
#define SLAB_IMPLEMENTATION
#include "slab.h"
#include <sys/mman.h>

static int bound[2]; /* calls for each node */

static void bind_to_node(void *memory, size_t size, int node)
{
    (void)memory, (void)size;
    bound[node]++;
}

BLOCK

int main(void)
{
    int         node = 1;
    slab_store *store;
    slab_ref    ref;

    if (create_on_node(&store, &node) != 0) return 1;
    if (slab_store_put(store, "a value", 8, &ref) != 0) return 2;
    slab_store_destroy(store);
    return bound[0] == 0 && bound[1] == 2 ? 0 : 3;
}
