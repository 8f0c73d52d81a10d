/* A queue of values in a store of 4 MiB, whose sizes drift. */
#define SLAB_IMPLEMENTATION
#include "slab.h"
#include <stdio.h>
#include <stdlib.h>

enum { BUDGET = 4 << 20, PUTS = 50000, QUEUE = 1 << 16 };

static struct {
    slab_ref ref;
    uint32_t len;
} values[QUEUE];
static uint32_t first, last; /* the live ones, modulo QUEUE */

static void moved(void *context, slab_ref from, slab_ref to, void *value, size_t room)
{
    uint32_t at;
    memcpy(&at, value, sizeof at);
    if (values[at].ref == from) values[at].ref = to;
    (void)context, (void)room;
}

static bool evict(slab_store *store)
{
    if (first == last) return false;
    if (slab_store_free(store, values[first % QUEUE].ref, values[first % QUEUE].len) != 0) abort();
    first++;
    slab_store_compact(store, 2, moved, NULL);
    return true;
}

BLOCK

int main(void)
{
    slab_store_config      config = {.max_bytes = BUDGET};
    struct slab_store_info info;
    slab_store            *store;
    char                   data[2048] = {0};
    if (slab_store_create(&store, &config) != 0) return 1;
    for (uint32_t i = 0; i < PUTS; i++, last++) {
        uint32_t at  = last % QUEUE;
        uint32_t len = 20 + i * 37 % (40 + i * 2000 / PUTS);
        memcpy(data, &at, sizeof at);
        if (put_or_evict(store, data, len, &values[at].ref) != 0) return 2;
        values[at].len = len;
    }
    slab_store_stats(store, &info);
    if (info.held_bytes > BUDGET || info.payload_bytes < BUDGET / 2) return 3;
    slab_ref ref;
    if (put_or_evict(store, NULL, 0, &ref) != 0) return 4;
    slab_store_destroy(store);
    return 0;
}
