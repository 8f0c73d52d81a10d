/* plane.c - a data plane: the keys and values of one shard, within a budget of memory.
 *
 * A slab_store has one record for each value in memory:
 *
 *     flags 1 | length of the key 1.. | of the value 1.. | [expires 8] | [file 8] | [keyspace 1]
 *     | key | value
 *
 *     index entry --(slab_ref)--> record in the slab_store --[file]--> copy in the region
 *     index entry --(number)----> ref of a value that is in the region alone
 *
 * The store has default tiers at first. The sizes of the first records choose better ones, by
 * slab_fit_tiers, and the records move to a store with these.
 *
 * When the store is full, a hand goes round the index (CLOCK): it evicts records that were not read
 * since its last visit, and slab_store_compact makes whole chunks free, which any tier may use. An
 * evicted record goes to the file if there is one. A value that is read twice there comes back to
 * memory; its copy in the file stays, so evicting it again costs nothing.
 *
 * A durable plane writes each value to the file before it answers. The value that it replaces is
 * freed after the next sync only: until then a power failure may lose the new value, and then the
 * old one must be there. A delete writes a tombstone, if older values of its key may wait so. */
#define SLAB_API static inline
#define SLAB_IMPLEMENTATION
#include "kv.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    EXPIRES = 1, FILED = 2, KEYSPACE = 4, /* flags of a record: which fields it has */
    FIT_AFTER     = 32768,                /* records */
    FIT_TIERS     = TIERS - 6,            /* the rest is for sizes that may come later */
    FIT_MAX       = 16384,                /* larger records are large objects */
    STEP          = 8,
    MOVES         = 2, /* of compact, after each free: keeps up with any load */
    EVICT_LEAST   = 32 << 10,
    EXPIRY_LOOKS  = 2000, /* in each tick */
};
#define TOMBSTONE 0x80000000u /* in the keyspace of a value in the file */

struct record {
    const unsigned char *base; /* NULL: the value is in the file alone */
    size_t               size;
    uint32_t             keyspace;
    uint64_t             expires;
    overflow_ref         file; /* 0: not in the file */
    uint64_t             serial;
    struct slice         key, value;
};

#define ADD(count, n) \
    atomic_store_explicit(&(count), atomic_load_explicit(&(count), memory_order_relaxed) + (n), \
                          memory_order_relaxed)

/* -- Records -- */

static size_t varint_size(size_t n)
{
    return n < 1 << 7 ? 1 : n < 1 << 14 ? 2 : n < 1 << 21 ? 3 : 5;
}

static unsigned char *varint_write(unsigned char *at, size_t n)
{
    for (size_t size = varint_size(n); --size > 0; n >>= 7) *at++ = (unsigned char)(n | 0x80);
    *at++ = (unsigned char)n;
    return at;
}

static const unsigned char *varint_read(const unsigned char *at, size_t *n)
{
    unsigned shift = 0;
    for (*n = 0; *at & 0x80 && shift < 28; shift += 7) *n |= (size_t)(*at++ & 0x7f) << shift;
    *n |= (size_t)*at++ << shift;
    return at;
}

static size_t record_size(const struct record *record)
{
    return 1 + varint_size(record->key.len) + varint_size(record->value.len) +
           (record->expires ? 8 : 0) + (record->file ? 8 : 0) + (record->keyspace ? 1 : 0) +
           record->key.len + record->value.len;
}

static void record_write(unsigned char *at, const struct record *record)
{
    *at++ = (unsigned char)((record->expires ? EXPIRES : 0) | (record->file ? FILED : 0) |
                            (record->keyspace ? KEYSPACE : 0));
    at    = varint_write(varint_write(at, record->key.len), record->value.len);
    if (record->expires) at = (unsigned char *)memcpy(at, &record->expires, 8) + 8;
    if (record->file) at = (unsigned char *)memcpy(at, &record->file, 8) + 8;
    if (record->keyspace) *at++ = (unsigned char)record->keyspace;
    memcpy(at, record->key.data, record->key.len);
    if (record->value.len > 0) memcpy(at + record->key.len, record->value.data, record->value.len);
}

static void record_read(const unsigned char *at, struct record *record)
{
    unsigned flags = *at;
    *record        = (struct record){.base = at++};
    at             = varint_read(varint_read(at, &record->key.len), &record->value.len);
    if (flags & EXPIRES) memcpy(&record->expires, at, 8), at += 8;
    if (flags & FILED) memcpy(&record->file, at, 8), at += 8;
    if (flags & KEYSPACE) record->keyspace = *at++;
    record->key.data   = at;
    record->value.data = at + record->key.len;
    record->size = (size_t)(record->value.data + record->value.len - record->base);
}

/* slab_store_get wants a length that belongs to the value's tier, which the ref names. */
static size_t ref_len(const struct plane *plane, slab_ref ref)
{
    if (slab_ref_is_large(ref)) return plane->large[ref & 0x7fffffff];
    unsigned bits = plane->tier_count <= 7 ? 28 : plane->tier_count <= 15 ? 27 : 26;
    return plane->tiers[ref >> bits];
}

static bool entry_read(const struct plane *plane, uint64_t entry, struct record *record)
{
    slab_ref       ref = (slab_ref)entry;
    struct spilled value;

    if (!(entry & INDEX_FILED)) {
        record_read(slab_store_get(plane->store, ref, ref_len(plane, ref)), record);
        return true;
    }
    *record    = (struct record){0};
    bool there = spill_read(&plane->spill, plane->spill.refs[ref], &value);
    if (there)
        *record = (struct record){.keyspace = value.keyspace, .expires = value.expires,
                                  .file = value.ref, .serial = value.serial,
                                  .key = value.key, .value = value.value};
    return there;
}

struct wanted {
    const struct plane *plane;
    uint32_t            keyspace;
    struct slice        key;
    struct record       record;
};

static bool is_wanted(void *context, uint64_t entry)
{
    struct wanted *wanted = context;
    return entry_read(wanted->plane, entry, &wanted->record) &&
           wanted->record.key.len == wanted->key.len &&
           (wanted->record.keyspace & ~TOMBSTONE) == wanted->keyspace &&
           memcmp(wanted->record.key.data, wanted->key.data, wanted->key.len) == 0;
}

static uint64_t *find(struct plane *plane, uint64_t hash, uint32_t keyspace, struct slice key,
                      struct record *record)
{
    struct wanted wanted = {.plane = plane, .keyspace = keyspace, .key = key};
    uint64_t     *entry  = index_find(&plane->index, hash, is_wanted, &wanted);
    *record              = wanted.record;
    return entry;
}

static bool is_ref(void *context, uint64_t entry)
{
    return !(entry & INDEX_FILED) && (slab_ref)entry == *(slab_ref *)context;
}

/* compact has moved a record: its entry names the new place. */
static void moved(void *context, slab_ref from, slab_ref to, void *value, size_t room)
{
    struct plane *plane = context;
    struct record record;
    (void)room;
    record_read(value, &record);
    uint64_t *entry =
        index_find(&plane->index, index_hash(record.keyspace, record.key), is_ref, &from);
    if (entry) *entry = (*entry & ~(uint64_t)UINT32_MAX) | to;
}

/* -- The file -- */

/* Frees a value in the file: at once, or, if it is what a power failure would bring back, after the
 * next sync. */
static void file_free(struct plane *plane, overflow_ref ref, bool replaced)
{
    if (replaced && plane->config.durable && spill_later(&plane->spill, ref)) return;
    spill_free(&plane->spill, ref);
}

/* Ends what an entry names, in memory and in the file. */
static void release(struct plane *plane, uint64_t entry, const struct record *record, bool replaced)
{
    if (record->file) file_free(plane, record->file, replaced);
    if (entry & INDEX_FILED) {
        (void)spill_unname(&plane->spill, (uint32_t)entry);
        return;
    }
    if (record->expires) plane->expiring--;
    (void)slab_store_free(plane->store, (slab_ref)entry, record->size);
    (void)slab_store_compact(plane->store, MOVES, moved, plane);
}

static int file_write(struct plane *plane, const struct record *record, overflow_ref *ref)
{
    struct spilled value = {.keyspace = record->keyspace, .expires = record->expires,
                            .key = record->key, .value = record->value};
    return spill_write(&plane->spill, &value, ref);
}

/* -- Eviction -- */

/* Moves a record from memory to the file, or, without one, drops it; its memory is the caller's to
 * free. Returns false if it stays: the system has no memory for its name. */
static bool evict(struct plane *plane, uint64_t *entry, const struct record *record)
{
    overflow_ref file = record->file;

    if (plane->spill.region && !file && file_write(plane, record, &file) == 0)
        ADD(plane->counts.spilled, 1);
    if (file) {
        uint32_t number = spill_name(&plane->spill, file);
        if (number == UINT32_MAX && !record->file) spill_free(&plane->spill, file);
        if (number == UINT32_MAX) return false;
        *entry = (*entry & ~(INDEX_RECENT | UINT32_MAX)) | INDEX_FILED | number;
    } else {
        plane->keys[record->keyspace]--;
        index_remove(&plane->index, index_hash(record->keyspace, record->key), entry);
    }
    if (record->expires) plane->expiring--;
    ADD(plane->counts.evicted, 1);
    return true;
}

/* Evicts records that were not used of late, of at least so many bytes. Returns false if there are
 * none. */
static bool make_room(struct plane *plane, size_t bytes)
{
    struct record record;
    size_t        freed = 0;
    uint64_t     *entry;

    if (bytes < EVICT_LEAST) bytes = EVICT_LEAST;
    for (int rounds = 0; freed < bytes && rounds < 3;) {
        if (!(entry = index_next(&plane->index, &plane->hand))) rounds++;
        else if (*entry & INDEX_FILED) continue;
        else if (*entry & INDEX_RECENT) *entry &= ~INDEX_RECENT;
        else {
            slab_ref ref = (slab_ref)*entry;
            entry_read(plane, *entry, &record);
            if (!evict(plane, entry, &record)) continue;
            freed += record.size;
            (void)slab_store_free(plane->store, ref, record.size);
        }
    }
    while (slab_store_compact(plane->store, 64, moved, plane) > 0) {}
    return freed > 0;
}

/* Notes the length of a large object, which its ref does not tell. */
static bool note_large(struct plane *plane, slab_ref ref, size_t size)
{
    uint32_t number = ref & 0x7fffffff;
    if (number >= plane->large_room) {
        uint32_t  room  = number + number / 2 + 64;
        uint32_t *large = realloc(plane->large, room * sizeof *large);
        if (!large) return false;
        plane->large = large, plane->large_room = room;
    }
    plane->large[number] = (uint32_t)size;
    return true;
}

/* Stores a record; evicts others if it must. Every pointer to a record and every entry may be stale
 * afterwards. */
static slab_ref store_record(struct plane *plane, const struct record *record)
{
    size_t   size = record_size(record);
    slab_ref ref;
    void    *at;

    if (plane->config.memory != 0 && size > plane->config.memory / 2) return SLAB_NO_REF;
    while (!(at = slab_store_alloc(plane->store, size, &ref)))
        if (!make_room(plane, size)) return SLAB_NO_REF;
    if (slab_ref_is_large(ref) && !note_large(plane, ref, size)) {
        (void)slab_store_free(plane->store, ref, size);
        return SLAB_NO_REF;
    }
    record_write(at, record);
    if (record->expires) plane->expiring++;
    return ref;
}

/* -- Tiers -- */

static int make_store(struct plane *plane, slab_store **store, const uint32_t *tiers,
                      uint32_t count)
{
    slab_store_config config = {tiers, count, plane->config.memory / 16 * 15};
    return slab_store_create(store, &config);
}

/* Chooses tier sizes from the histogram of the first records. Returns how many. */
static uint32_t fit(const struct plane *plane, uint32_t *tiers)
{
    static uint32_t sizes[FIT_MAX / STEP + 1];
    static uint64_t counts[FIT_MAX / STEP + 1];
    size_t          n = 0;
    size_t          most = plane->config.memory / (1 << 20); /* small budgets have few chunks */

    for (uint32_t i = 1; i <= FIT_MAX / STEP; i++)
        if (plane->histogram[i] > 0) sizes[n] = i * STEP, counts[n++] = plane->histogram[i];
    if (plane->config.memory == 0 || most > FIT_TIERS) most = FIT_TIERS;
    uint32_t count = slab_fit_tiers(sizes, counts, n, tiers, most < 8 ? 8 : (uint32_t)most);
    while (count > 0 && count < TIERS && tiers[count - 1] < FIT_MAX) {
        uint32_t next  = tiers[count - 1] / 2 * 3 / STEP * STEP + STEP;
        tiers[count++] = next < FIT_MAX ? next : FIT_MAX;
    }
    return count;
}

/* Moves every record to a store with fitted tiers. Without memory all stays as it is. */
static void refit(struct plane *plane)
{
    struct plane old = *plane;
    uint64_t     cursor = 0, *entry;
    slab_ref     ref;

    uint32_t count = fit(plane, plane->tiers);
    if (count == 0 || make_store(plane, &plane->store, plane->tiers, count) != 0) {
        memcpy(plane->tiers, old.tiers, sizeof old.tiers);
        plane->store = old.store;
        return;
    }
    plane->tier_count = count;
    old.large         = plane->large;
    plane->large      = NULL, plane->large_room = 0;
    while ((entry = index_next(&plane->index, &cursor))) {
        struct record record;
        if (*entry & INDEX_FILED) continue;
        entry_read(&old, *entry, &record);
        if (slab_store_put(plane->store, record.base, record.size, &ref) == 0 &&
            (!slab_ref_is_large(ref) || note_large(plane, ref, record.size))) {
            *entry = (*entry & ~(uint64_t)UINT32_MAX) | ref;
            continue;
        }
        if (!evict(plane, entry, &record)) { /* no room, and no memory for a name in the file */
            plane->keys[record.keyspace]--;
            index_remove(&plane->index, index_hash(record.keyspace, record.key), entry);
        }
        cursor--;
    }
    slab_store_destroy(old.store);
    free(old.large);
}

static void sample(struct plane *plane, size_t size)
{
    if (!plane->histogram) return;
    if (size <= FIT_MAX) plane->histogram[(size + STEP - 1) / STEP]++;
    if (++plane->sampled < FIT_AFTER) return;
    refit(plane);
    free(plane->histogram);
    plane->histogram = NULL;
}

/* -- The plane -- */

/* Finds every value in the file. Of several of one key the latest counts, be it a tombstone. */
static int recover(struct plane *plane)
{
    struct spilled value;
    struct record  record;
    uint64_t       cursor = 0, *entry;

    while (spill_next(&plane->spill, &cursor, &value)) {
        uint32_t keyspace = value.keyspace & ~TOMBSTONE;
        uint64_t hash     = index_hash(keyspace, value.key);
        if (keyspace >= KEYSPACES) continue;
        if (value.serial > plane->spill.serial) plane->spill.serial = value.serial;
        entry = find(plane, hash, keyspace, value.key, &record);
        if (entry && record.serial > value.serial) {
            spill_free(&plane->spill, value.ref);
        } else if (entry) {
            spill_free(&plane->spill, record.file);
            plane->spill.refs[(uint32_t)*entry] = value.ref;
        } else {
            uint32_t number = spill_name(&plane->spill, value.ref);
            if (number == UINT32_MAX ||
                !index_insert(&plane->index, hash, INDEX_FILED | number))
                return -ENOMEM;
        }
    }
    for (cursor = 0; (entry = index_next(&plane->index, &cursor));) {
        uint64_t old = *entry;
        entry_read(plane, old, &record);
        if (!(record.keyspace & TOMBSTONE)) {
            plane->keys[record.keyspace]++;
            plane->spill.recovered++;
            continue;
        }
        index_remove(&plane->index, index_hash(record.keyspace & 0xff, record.key), entry);
        release(plane, old, &record, false);
        cursor--;
    }
    return 0;
}

int plane_open(struct plane *plane, const struct plane_config *config)
{
    static const uint32_t tiers[] = {32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048,
                                     4096, 8192, 16384};
    *plane            = (struct plane){.config = *config, .spill.spare = UINT32_MAX};
    plane->tier_count = sizeof tiers / sizeof *tiers;
    memcpy(plane->tiers, tiers, sizeof tiers);
    plane->now       = clock_ms();
    plane->histogram = calloc(FIT_MAX / STEP + 1, sizeof *plane->histogram);
    int error        = make_store(plane, &plane->store, tiers, plane->tier_count);
    if (error) {
        fprintf(stderr, "kv-server: --memory: %s\n", strerror(-error));
        return error;
    }
    if (!config->spill) return 0;
    error = spill_open(&plane->spill, config->spill, config->spill_max, config->planes);
    if (!error) error = recover(plane);
    if (error)
        fprintf(stderr, "kv-server: --spill %s: %s\n", config->spill,
                error == -EUCLEAN ? "not a region file"
                : error == -EPROTO ? "written by another program, or with another --planes"
                                   : strerror(-error));
    return error;
}

/* A value that is read twice in the file comes back to memory. */
static void restore(struct plane *plane, uint64_t hash, struct record *record)
{
    struct record again = *record;
    slab_ref      ref   = store_record(plane, &again);
    if (ref == SLAB_NO_REF) return;
    uint64_t *entry = find(plane, hash, record->keyspace, record->key, record);
    (void)spill_unname(&plane->spill, (uint32_t)*entry);
    *entry = (*entry & ~(INDEX_FILED | UINT32_MAX)) | ref;
    entry_read(plane, *entry, record);
    ADD(plane->counts.restored, 1);
}

static void drop(struct plane *plane, uint64_t hash, uint64_t *entry, const struct record *record)
{
    uint64_t      old  = *entry;
    struct record tomb = {.keyspace = record->keyspace | TOMBSTONE, .key = record->key};
    if (plane->spill.later_count > 0 && file_write(plane, &tomb, &tomb.file) == 0) {
        if (!spill_later(&plane->spill, tomb.file)) spill_settle(&plane->spill);
    } else spill_settle(&plane->spill); /* no room for a tombstone: older values end first */
    plane->keys[record->keyspace]--;
    index_remove(&plane->index, hash, entry);
    release(plane, old, record, false);
}

bool plane_get(struct plane *plane, uint32_t keyspace, struct slice key, int use,
               struct value *value)
{
    struct record record;
    uint64_t      hash  = index_hash(keyspace, key);
    uint64_t     *entry = find(plane, hash, keyspace, key, &record);

    if (entry && record.expires && record.expires <= plane->now) {
        drop(plane, hash, entry, &record);
        ADD(plane->counts.expired, 1);
        entry = NULL;
    }
    if (use == USE && entry) ADD(plane->counts.hits, 1);
    if (use == USE && !entry) ADD(plane->counts.misses, 1);
    if (!entry) return false;
    if (use == USE && *entry & INDEX_FILED && *entry & INDEX_RECENT) restore(plane, hash, &record);
    else if (use == USE && !(*entry & INDEX_RECENT)) *entry |= INDEX_RECENT;
    *value = (struct value){record.value, record.expires};
    return true;
}

int plane_set(struct plane *plane, uint32_t keyspace, struct slice key, const struct value *value)
{
    struct record record = {.keyspace = keyspace, .expires = value->expires, .key = key,
                            .value = value->data}, old;
    uint64_t      hash   = index_hash(keyspace, key);
    int           error  = plane->config.durable ? file_write(plane, &record, &record.file) : 0;

    if (error) return error;
    slab_ref ref = store_record(plane, &record);
    size_t   size = record_size(&record);
    uint64_t *entry = NULL;
    if (ref != SLAB_NO_REF) {
        entry = find(plane, hash, keyspace, key, &old);
        if (entry) {
            uint64_t was = *entry;
            *entry       = (was & ~(INDEX_FILED | UINT32_MAX)) | ref;
            release(plane, was, &old, true);
        } else if ((entry = index_insert(&plane->index, hash, ref))) plane->keys[keyspace]++;
        else (void)slab_store_free(plane->store, ref, size);
    }
    if (!entry && record.file) spill_free(&plane->spill, record.file);
    if (!entry) {
        ADD(plane->counts.refused, 1);
        return -ENOMEM;
    }
    sample(plane, size);
    return 0;
}

bool plane_delete(struct plane *plane, uint32_t keyspace, struct slice key)
{
    struct record record;
    uint64_t      hash  = index_hash(keyspace, key);
    uint64_t     *entry = find(plane, hash, keyspace, key, &record);
    if (!entry) return false;
    bool live = !record.expires || record.expires > plane->now;
    drop(plane, hash, entry, &record);
    return live;
}

bool plane_next(struct plane *plane, uint64_t *cursor, uint32_t *keyspace, struct slice *key)
{
    uint64_t     *entry;
    struct record record;
    while ((entry = index_next(&plane->index, cursor))) {
        if (!entry_read(plane, *entry, &record)) continue;
        if (record.expires && record.expires <= plane->now) continue;
        *keyspace = record.keyspace, *key = record.key;
        return true;
    }
    return false;
}

void plane_flush(struct plane *plane, int keyspace)
{
    uint64_t     *entry, cursor = 0;
    struct record record;

    spill_settle(&plane->spill);
    while ((entry = index_next(&plane->index, &cursor))) {
        uint64_t old = *entry;
        entry_read(plane, old, &record);
        if (keyspace >= 0 && record.keyspace != (uint32_t)keyspace) continue;
        plane->keys[record.keyspace]--;
        index_remove(&plane->index, index_hash(record.keyspace, record.key), entry);
        release(plane, old, &record, false);
        cursor--; /* the next entry with this tag took the place */
    }
    (void)slab_store_trim(plane->store);
}

static void expire_some(struct plane *plane)
{
    struct record record;
    for (int i = 0; i < EXPIRY_LOOKS && plane->expiring > 0; i++) {
        uint64_t *entry = index_next(&plane->index, &plane->expiry_hand);
        if (!entry) return;
        if (*entry & INDEX_FILED) continue;
        entry_read(plane, *entry, &record);
        if (!record.expires || record.expires > plane->now) continue;
        drop(plane, index_hash(record.keyspace, record.key), entry, &record);
        ADD(plane->counts.expired, 1);
    }
}

void plane_tick(struct plane *plane)
{
    struct slab_store_info info;
    struct overflow_info   file;

    expire_some(plane);
    slab_store_stats(plane->store, &info);
    spill_stats(&plane->spill, &file);
#define PUT(name, value) atomic_store_explicit(&plane->counts.name, value, memory_order_relaxed)
    PUT(keys, plane->index.count);
    PUT(payload, info.payload_bytes);
    PUT(held, info.held_bytes);
    PUT(index, plane->index.bytes + plane->spill.room * sizeof(overflow_ref));
    PUT(filed, file.live_slots);
    PUT(file_bytes, file.capacity_bytes);
    PUT(recovered, plane->spill.recovered);
    PUT(file_full, plane->spill.full);
#undef PUT
}

/* Before a clean end, what is in memory alone goes to the file, too. */
void plane_close(struct plane *plane)
{
    uint64_t *entry, cursor = 0;

    while (plane->spill.region && !plane->spill.full &&
           (entry = index_next(&plane->index, &cursor))) {
        struct record record;
        if (!(*entry & INDEX_FILED)) entry_read(plane, *entry, &record);
        if (!(*entry & INDEX_FILED) && !record.file) (void)file_write(plane, &record, &record.file);
    }
    if (spill_sync(&plane->spill) != 0) fprintf(stderr, "kv-server: --spill: sync failed\n");
    spill_settle(&plane->spill);
    spill_close(&plane->spill);
    slab_store_destroy(plane->store);
    index_clear(&plane->index);
    free(plane->large);
    free(plane->histogram);
}
