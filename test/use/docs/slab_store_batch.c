/* 32 values at once. */
#define SLAB_IMPLEMENTATION
#include "slab.h"
#include <string.h>

static uint32_t good;

static void reply(size_t i, const void *value, size_t len)
{
    uint32_t number;
    if (!value || len != 100) return;
    memcpy(&number, value, sizeof number);
    good += number == i;
}

static void answer(slab_store *store, const slab_ref *refs, const size_t *lens, size_t count)
{
BLOCK
}

int main(void)
{
    slab_store *store;
    slab_ref    refs[32];
    size_t      lens[32];
    char        data[100] = {0};
    if (slab_store_create(&store, NULL) != 0) return 1;
    for (uint32_t i = 0; i < 32; i++) {
        memcpy(data, &i, sizeof i);
        lens[i] = sizeof data;
        if (slab_store_put(store, data, lens[i], &refs[i]) != 0) return 2;
    }
    answer(store, refs, lens, 32);
    slab_store_destroy(store);
    return good == 32 ? 0 : 3;
}
