/* 64 MiB of values, of which one in ten stays. */
#define SLAB_IMPLEMENTATION
#include "slab.h"
#include <stdio.h>
#include <stdlib.h>

enum { VALUES = 64 << 10, LEN = 1000 };

static slab_ref entries[VALUES];

static void moved(void *context, slab_ref from, slab_ref to, void *value, size_t room)
{
    slab_ref *all = context;
    uint32_t  key;
    memcpy(&key, value, sizeof key);
    if (all[key] != from) abort();
    all[key] = to;
    (void)room;
}

int main(void)
{
    struct slab_store_info before, after;
    slab_store            *store;
    char                   data[LEN] = {0};
    if (slab_store_create(&store, NULL) != 0) return 1;
    for (uint32_t key = 0; key < VALUES; key++) {
        memcpy(data, &key, sizeof key);
        if (slab_store_put(store, data, LEN, &entries[key]) != 0) return 1;
    }
    for (uint32_t key = 0; key < VALUES; key++)
        if (key % 10 && slab_store_free(store, entries[key], LEN) != 0) return 2;
    slab_store_stats(store, &before);
    BLOCK
    slab_store_stats(store, &after);
    slab_store_destroy(store);
    return bytes < (size_t)VALUES * LEN * 8 / 10 || after.held_bytes > before.held_bytes;
}
