/* Values of drifting sizes in a store of 2 MiB; the store evicts. */
#define SLAB_IMPLEMENTATION
#include "slab.h"
#include <stdio.h>
#include <string.h>

struct entry {
    slab_ref ref;
    uint32_t len;
};
static struct entry entries[50000];

BLOCK

int main(void)
{
    slab_store_config config = {.max_bytes = 2 << 20};
    slab_store       *store;
    char              data[2048] = {0};
    uint32_t          live       = 0;
    if (slab_store_create(&store, &config) != 0) return 1;
    for (uint32_t key = 0; key < 50000; key++) {
        memcpy(data, &key, sizeof key);
        if (put(store, key, data, 20 + key * 37 % (40 + key / 30)) != 0) return 2;
    }
    for (uint32_t key = 0; key < 50000; key++) {
        const void *value = slab_store_get(store, entries[key].ref, entries[key].len);
        if (entries[key].ref == SLAB_NO_REF) continue;
        if (!value || memcmp(value, &key, sizeof key) != 0) return 3;
        live++;
    }
    slab_store_destroy(store);
    return live > 500 && live < 20000 ? 0 : 4;
}
