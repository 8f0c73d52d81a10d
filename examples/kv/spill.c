/* spill.c - values in a file: those that were evicted and, in a durable server, all of them.
 *
 * An overflow_region has them: the owner is the data plane, kill -9 loses nothing that was written,
 * and a read is a pointer into the map. A value lies there as
 *
 *     serial 8 | expires 8 | keyspace 4 | length of the key 4 | key | value
 *
 * Of two values of one key the later serial counts: a crash between writing a value and freeing its
 * predecessor leaves both. The tag says whose the value is and how many planes share the keys.
 *
 * The index names a value by 32 bits, and a ref has 64. So refs of values that are in the file
 * alone stand in an array, and the index has their numbers. That, and the index, is all the memory
 * that a spilled value takes. */
#define OVERFLOW_API static inline
#define OVERFLOW_IMPLEMENTATION
#include "kv.h"

#include <stdio.h>

enum { TAG = 0x6b760000 };

struct header {
    uint64_t serial, expires;
    uint32_t keyspace, key_len;
};

int spill_open(struct spill *spill, const char *path, size_t max_bytes, uint32_t planes)
{
    overflow_config config = {.initial_bytes = 1 << 20, .max_bytes = max_bytes};
    overflow_slot   slot;
    uint64_t        cursor = 0;

    *spill    = (struct spill){.spare = UINT32_MAX, .tag = TAG | planes};
    int error = overflow_open(&spill->region, path, &config);
    if (error) return error;
    while (overflow_next(spill->region, &cursor, &slot))
        if (slot.tag != spill->tag) {
            spill_close(spill);
            return -EPROTO;
        }
    return 0;
}

int spill_write(struct spill *spill, const struct spilled *value, overflow_ref *ref)
{
    struct header  head = {.serial   = ++spill->serial,
                           .expires  = value->expires,
                           .keyspace = value->keyspace,
                           .key_len  = (uint32_t)value->key.len};
    size_t         size = sizeof head + value->key.len + value->value.len;
    unsigned char  small[4096], *data = size <= sizeof small ? small : malloc(size);
    if (!data) return -ENOMEM;
    memcpy(data, &head, sizeof head);
    memcpy(data + sizeof head, value->key.data, value->key.len);
    if (value->value.len > 0)
        memcpy(data + sizeof head + value->key.len, value->value.data, value->value.len);
    int error = overflow_write(spill->region, data, size, spill->tag, ref);
    if (data != small) free(data);
    if (!error) spill->dirty = true;
    if ((error == -ENOSPC) != spill->full) {
        spill->full = error == -ENOSPC;
        fprintf(stderr, spill->full ? "kv-server: %s: no space left: nothing more is spilled\n"
                                    : "kv-server: %s: spilling again\n",
                overflow_path(spill->region));
    }
    return error;
}

bool spill_read(const struct spill *spill, overflow_ref ref, struct spilled *value)
{
    struct header        head;
    size_t               size;
    const unsigned char *data = overflow_read(spill->region, ref, &size);
    if (!data || size < sizeof head) return false;
    memcpy(&head, data, sizeof head);
    if (head.key_len > size - sizeof head) return false;
    *value = (struct spilled){ref, head.keyspace, head.serial, head.expires,
                              {data + sizeof head, head.key_len},
                              {data + sizeof head + head.key_len,
                               size - sizeof head - head.key_len}};
    return true;
}

bool spill_next(const struct spill *spill, uint64_t *cursor, struct spilled *value)
{
    overflow_slot slot;
    while (overflow_next(spill->region, cursor, &slot))
        if (spill_read(spill, slot.ref, value)) return true;
    return false;
}

void spill_free(struct spill *spill, overflow_ref ref)
{
    if (overflow_free(spill->region, ref) == 0) spill->dirty = true;
}

/* Makes all that was written survive power loss. */
int spill_sync(struct spill *spill)
{
    if (!spill->region || !spill->dirty) return 0;
    int error = overflow_sync(spill->region);
    if (error) return error;
    spill->dirty = false;
    spill_settle(spill);
    return 0;
}

void spill_stats(const struct spill *spill, struct overflow_info *info)
{
    overflow_stats(spill->region, info);
}

void spill_close(struct spill *spill)
{
    (void)overflow_close(spill->region);
    free(spill->refs);
    free(spill->later);
    *spill = (struct spill){.spare = UINT32_MAX};
}

bool spill_reserve(struct spill *spill, uint32_t count)
{
    if (spill->room - spill->count >= count) return true;
    uint32_t      room = spill->count + spill->count / 8 + count;
    overflow_ref *refs = realloc(spill->refs, room * sizeof *refs);
    if (!refs) return false;
    spill->refs = refs, spill->room = room;
    return true;
}

uint32_t spill_name(struct spill *spill, overflow_ref ref)
{
    uint32_t number = spill->spare;
    if (number != UINT32_MAX) spill->spare = (uint32_t)spill->refs[number];
    else if (!spill_reserve(spill, 1)) return UINT32_MAX;
    else number = spill->count++;
    spill->refs[number] = ref;
    return number;
}

overflow_ref spill_unname(struct spill *spill, uint32_t number)
{
    overflow_ref ref    = spill->refs[number];
    spill->refs[number] = spill->spare;
    spill->spare        = number;
    return ref;
}

/* Has a value freed after the next sync. Returns false without memory. */
bool spill_later(struct spill *spill, overflow_ref ref)
{
    if (spill->later_count == spill->later_room) {
        size_t        room = spill->later_room * 2 + 64;
        overflow_ref *refs = realloc(spill->later, room * sizeof *refs);
        if (!refs) return false;
        spill->later = refs, spill->later_room = room;
    }
    spill->later[spill->later_count++] = ref;
    return true;
}

/* Frees what waits, the oldest first: no tombstone ends before the values that it covers. */
void spill_settle(struct spill *spill)
{
    for (size_t i = 0; i < spill->later_count; i++) spill_free(spill, spill->later[i]);
    spill->later_count = 0;
}
