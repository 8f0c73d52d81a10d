/* classic_store.h - the design that slab_store replaces, for measuring against: seven tiers of
 * doubling slot sizes, 64 to 4096 bytes, each one vector of slots that doubles when it is full.
 * Free slots are a list, each with the number of the next; ref = tier << 28 | slot.
 *
 * What it lacks: a put that doubles the vector waits until all of it is copied and the new half is
 * linked up, pointers change with it, and half of it may never be used; no tier gives anything
 * back; a ref that was freed reads what is there now, and freed twice it is handed out twice. No
 * value is larger than 4096 bytes.
 *
 * glibc's realloc remaps a large vector instead of copying it, so what its puts wait for is the
 * first touch of the new half; other allocators copy, too. */
#ifndef CLASSIC_STORE_H
#define CLASSIC_STORE_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { CLASSIC_TIERS = 7, CLASSIC_SLOT_MIN = 64, CLASSIC_SLOTS_MIN = 64 };

struct classic_tier {
    unsigned char *slots;
    size_t         slot_size;
    uint32_t       capacity;
    uint32_t       free; /* slot + 1; 0 = none */
};

struct classic_store {
    struct classic_tier tiers[CLASSIC_TIERS];
};

static struct classic_store *classic_create(void)
{
    struct classic_store *store = calloc(1, sizeof *store);
    if (!store) abort();
    for (int i = 0; i < CLASSIC_TIERS; i++)
        store->tiers[i].slot_size = (size_t)CLASSIC_SLOT_MIN << i;
    return store;
}

static void classic_double(struct classic_tier *tier)
{
    uint32_t capacity = tier->capacity ? tier->capacity * 2 : CLASSIC_SLOTS_MIN;
    tier->slots       = realloc(tier->slots, capacity * tier->slot_size);
    if (!tier->slots) abort();
    for (uint32_t slot = capacity; slot-- > tier->capacity; tier->free = slot + 1)
        memcpy(tier->slots + slot * tier->slot_size, &tier->free, sizeof tier->free);
    tier->capacity = capacity;
}

static inline unsigned char *classic_get(const struct classic_store *store, uint32_t ref)
{
    const struct classic_tier *tier = &store->tiers[ref >> 28];
    return tier->slots + (ref & 0xfffffff) * tier->slot_size;
}

static inline uint32_t classic_put(struct classic_store *store, const void *data, uint32_t len)
{
    uint32_t index            = len <= CLASSIC_SLOT_MIN ? 0 : 26 - (uint32_t)__builtin_clz(len - 1);
    struct classic_tier *tier = &store->tiers[index];
    if (tier->free == 0) classic_double(tier);
    uint32_t       slot  = tier->free - 1;
    unsigned char *value = tier->slots + slot * tier->slot_size;
    memcpy(&tier->free, value, sizeof tier->free);
    memcpy(value, data, len);
    return index << 28 | slot;
}

static inline void classic_free(struct classic_store *store, uint32_t ref)
{
    struct classic_tier *tier = &store->tiers[ref >> 28];
    memcpy(classic_get(store, ref), &tier->free, sizeof tier->free);
    tier->free = (ref & 0xfffffff) + 1;
}

#endif /* CLASSIC_STORE_H */
