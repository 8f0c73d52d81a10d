/* A store with the default tiers gets others. */
#define SLAB_IMPLEMENTATION
#include "slab.h"
#include <string.h>

struct entry {
    slab_ref ref;
    uint32_t len;
};
static struct entry entries[20000];

static struct entry *entry_of(const void *value)
{
    uint32_t key;
    memcpy(&key, value, sizeof key);
    return &entries[key];
}

BLOCK

int main(void)
{
    static const uint32_t  sizes[]  = {100, 140, 600, 4096};
    static const uint64_t  counts[] = {9999, 9999, 1, 1};
    struct slab_store_info before, after;
    slab_store            *store;
    char                   data[140] = {0};
    if (slab_store_create(&store, NULL) != 0) return 1;
    for (uint32_t key = 0; key < 20000; key++) {
        entries[key].len = key % 2 ? 100 : 140;
        memcpy(data, &key, sizeof key);
        if (slab_store_put(store, data, entries[key].len, &entries[key].ref) != 0) return 2;
    }
    slab_store_stats(store, &before);
    if (refit(store, sizes, counts, 4) != 0) return 3;
    while (slab_store_compact(store, 100, moved, store) > 0) continue;
    slab_store_stats(store, &after);
    for (uint32_t key = 0; key < 20000; key++)
        if (entry_of(slab_store_get(store, entries[key].ref, entries[key].len)) != &entries[key])
            return 4;
    if (after.retired_bytes != 0 || after.used_bytes * 10 > before.used_bytes * 7) return 5;
    slab_store_destroy(store);
    return 0;
}
