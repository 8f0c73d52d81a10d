/* Many values, most of which are erased; the index must find the others. */
#define SLAB_IMPLEMENTATION
#include "slab.h"
#include <stdio.h>

BLOCK

int main(void)
{
    const uint32_t         count = sizeof entries / sizeof *entries;
    struct slab_store_info info;
    slab_store            *store;
    if (slab_store_create(&store, NULL) != 0) return 1;
    for (uint32_t key = 0; key < count; key++) {
        entries[key].len = sizeof key;
        if (slab_store_put(store, &key, sizeof key, &entries[key].ref) != 0) return 1;
    }
    for (uint32_t key = 0; key < count; key++)
        if (key % 10) erase(store, key);
    for (uint32_t key = 0; key < count; key += 10) {
        const uint32_t *value = slab_store_get(store, entries[key].ref, sizeof key);
        if (!value || *value != key) return 2;
    }
    slab_store_stats(store, &info);
    if (info.fragmentation_ratio > 1.2) return 3; /* without compaction it would be 10 */
    slab_store_destroy(store);
    return 0;
}
