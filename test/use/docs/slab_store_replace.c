/* One value gets other lengths. */
#define SLAB_IMPLEMENTATION
#include "slab.h"
#include <string.h>

struct entry {
    slab_ref ref;
    uint32_t len;
};

static int overwrite(slab_store *store, struct entry *entry, const void *data, size_t len)
{
BLOCK
    return 0;
}

int main(void)
{
    static char  data[9000];
    slab_store  *store;
    struct entry entry = {.len = 1};
    if (slab_store_create(&store, NULL) != 0) return 1;
    if (slab_store_put(store, data, 1, &entry.ref) != 0) return 2;
    for (size_t len = 1; len < sizeof data; len = len * 5 / 4 + 1) {
        memset(data, (int)len % 100, len);
        if (overwrite(store, &entry, data, len) != 0) return 3;
        const void *value = slab_store_get(store, entry.ref, len);
        if (!value || memcmp(value, data, len) != 0) return 4;
    }
    slab_store_destroy(store);
    return 0;
}
