/* Half a store's budget is taken away. */
#define SLAB_IMPLEMENTATION
#include "slab.h"
#include <string.h>

static uint32_t entries[50000]; /* 1: the value lives */

static size_t evicted(void *context, slab_ref ref, const void *value, size_t room)
{
    uint32_t *all = context, key;
    memcpy(&key, value, sizeof key);
    all[key] = 0;
    (void)ref, (void)room;
    return 100;
}

static int halve(slab_store *store, size_t max_bytes)
{
BLOCK
    slab_store_stats(store, &info);
    return info.held_bytes - info.empty_bytes <= max_bytes;
}

int main(void)
{
    slab_store *store;
    char        data[100] = {0};
    slab_ref    ref;
    uint32_t    live = 0;
    if (slab_store_create(&store, NULL) != 0) return 1;
    for (uint32_t key = 0; key < 50000; key++, entries[key - 1] = 1) {
        memcpy(data, &key, sizeof key);
        if (slab_store_put(store, data, sizeof data, &ref) != 0) return 2;
    }
    if (!halve(store, 3 << 20)) return 3;
    for (uint32_t key = 0; key < 50000; key++) live += entries[key];
    slab_store_destroy(store);
    return live > 10000 && live < 25000 ? 0 : 4;
}
