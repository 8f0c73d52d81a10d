/* A walk through 1,000 values. */
#define SLAB_IMPLEMENTATION
#include "slab.h"
#include <string.h>

static uint32_t visits;
static uint64_t sum;

static void visit(slab_ref ref, const void *value, size_t room)
{
    uint32_t number;
    memcpy(&number, value, sizeof number);
    visits += room >= 100 && ref != SLAB_NO_REF;
    sum += number;
}

static void walk(slab_store *store)
{
BLOCK
}

int main(void)
{
    slab_store *store;
    slab_ref    ref;
    char        data[100] = {0};
    if (slab_store_create(&store, NULL) != 0) return 1;
    for (uint32_t i = 0; i < 1000; i++) {
        memcpy(data, &i, sizeof i);
        if (slab_store_put(store, data, sizeof data, &ref) != 0) return 2;
    }
    walk(store);
    slab_store_destroy(store);
    return visits == 1000 && sum == 999 * 500 ? 0 : 3;
}
