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
 * When the store is full, slab_store_evict empties sparse chunks, whose memory then serves any
 * tier. Records in them that were read of late get a second chance, up to half of the bytes: they
 * are put again. The others go to the file if there is one. A value that is read
 * twice there comes back to memory; its copy in the file stays, so evicting it again costs nothing.
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
    TIERS = 63, FIT_MAX = 16384, FIT_STEP = 8, /* larger records are large objects */
    FIT_TIERS     = 48,                   /* others are for sizes that may come later */
    MOVES         = 2, /* of compact, after each free: keeps up with any load */
    EVICT_BYTES   = 64 << 10,
    KEPT_BYTES = 32 << 10, KEPT_MAX = 512, /* half of what an eviction frees */
    NAMES_AHEAD   = 16 << 10,              /* more than an eviction can need */
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

/* What the name of an index entry is: a slab_ref, or a number. */
enum { KIND_AT = 33, IN_STORE = 0, KEPT, IN_FILE };
#define PLACE(kind, name) ((uint64_t)(kind) << KIND_AT | (name))
#define NO_PLACE          UINT64_MAX

struct kept {
    size_t        count, len;
    size_t        at[KEPT_MAX];
    unsigned char data[KEPT_BYTES];
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

static unsigned kind_of(uint64_t entry) { return (unsigned)(entry >> KIND_AT) & 0x7f; }
static void     place(uint64_t *entry, uint64_t at) { *entry = (*entry & ~INDEX_PLACE) | at; }

/* Reads what an entry names: a record tells its own length. Returns false, and an empty record, if
 * the file is damaged there. */
static bool entry_read(const struct plane *plane, uint64_t entry, struct record *record)
{
    uint32_t       name = (uint32_t)entry;
    unsigned       kind = kind_of(entry);
    struct spilled value;

    *record = (struct record){0};
    if (kind == IN_FILE) {
        if (!spill_read(&plane->spill, plane->spill.refs[name], &value)) return false;
        *record = (struct record){.keyspace = value.keyspace, .expires = value.expires,
                                  .file = value.ref, .serial = value.serial,
                                  .key = value.key, .value = value.value};
    } else if (kind == KEPT) record_read(plane->kept->data + plane->kept->at[name], record);
    else record_read(slab_store_peek(plane->store, name, NULL), record);
    return true;
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

static bool is_at(void *context, uint64_t entry)
{
    return kind_of(entry) == IN_STORE && (slab_ref)entry == *(slab_ref *)context;
}

static uint64_t *find_ref(struct plane *plane, const struct record *record, slab_ref ref)
{
    return index_find(&plane->index, index_hash(record->keyspace, record->key), is_at, &ref);
}

/* compact has moved a record: its entry names the new place. */
static void moved(void *context, slab_ref from, slab_ref to, void *value, size_t room)
{
    struct record record;
    (void)room;
    record_read(value, &record);
    uint64_t *entry = find_ref(context, &record, from);
    if (entry) *entry = (*entry & ~(uint64_t)UINT32_MAX) | to;
}

/* -- Memory -- */

/* Puts a record into the store as it is. Returns its place, or NO_PLACE. */
static uint64_t store_put(struct plane *plane, const struct record *record)
{
    size_t   size = record_size(record);
    slab_ref ref;
    void    *at = slab_store_alloc(plane->store, size, &ref);

    if (!at) return NO_PLACE;
    record_write(at, record);
    return PLACE(IN_STORE, ref);
}

/* -- The file -- */

enum end { ENDED, REPLACED }; /* how a value ends */

/* Frees a value in the file: at once, or, if it is what a power failure would bring back, after the
 * next sync. */
static void file_free(struct plane *plane, overflow_ref ref, enum end end)
{
    if (end == REPLACED && plane->config.durable && spill_later(&plane->spill, ref)) return;
    spill_free(&plane->spill, ref);
}

/* Ends what an entry names, in memory and in the file. */
static void release(struct plane *plane, uint64_t entry, const struct record *record, enum end end)
{
    if (record->file) file_free(plane, record->file, end);
    if (kind_of(entry) == IN_FILE) {
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
 * free. Names were reserved. */
static void evict(struct plane *plane, uint64_t *entry, const struct record *record)
{
    overflow_ref file = record->file;

    if (plane->spill.region && !file && file_write(plane, record, &file) == 0)
        ADD(plane->counts.spilled, 1);
    if (file) {
        place(entry, PLACE(IN_FILE, spill_name(&plane->spill, file)));
        *entry &= ~INDEX_RECENT;
    } else {
        plane->keys[record->keyspace]--;
        index_remove(&plane->index, index_hash(record->keyspace, record->key), entry);
    }
    if (record->expires) plane->expiring--;
    ADD(plane->counts.evicted, 1);
}

/* slab_store_evict frees this record next. */
static size_t evicted(void *context, slab_ref ref, const void *value, size_t room)
{
    struct plane *plane = context;
    struct kept  *kept  = plane->kept;
    struct record record;

    (void)room;
    record_read(value, &record);
    uint64_t *entry = find_ref(plane, &record, ref);
    if (!entry) return record.size;
    if (!(*entry & INDEX_RECENT) || kept->count == KEPT_MAX ||
        record.size > KEPT_BYTES - kept->len) {
        evict(plane, entry, &record);
        return record.size;
    }
    memcpy(kept->data + kept->len, record.base, record.size);
    kept->at[kept->count] = kept->len;
    kept->len += record.size;
    *entry &= ~INDEX_RECENT;
    place(entry, PLACE(KEPT, kept->count++));
    return record.size;
}

static bool is_place(void *context, uint64_t entry)
{
    return (entry & INDEX_PLACE) == *(uint64_t *)context;
}

/* The store's share of the budget is what the index leaves. */
static void limit(struct plane *plane)
{
    size_t others = plane->index.bytes + plane->spill.room * sizeof(overflow_ref) +
                    sizeof *plane->kept;
    if (plane->config.memory == 0) return;
    size_t least = plane->config.memory / 4;
    size_t most  = plane->config.memory > others + least ? plane->config.memory - others : least;
    (void)slab_store_limit(plane->store, most);
}

/* Makes at least so many bytes of chunks free. Returns false if nothing is left to evict. */
static bool make_room(struct plane *plane, size_t bytes)
{
    struct kept *kept = plane->kept;

    if (!spill_reserve(&plane->spill, plane->spill.region ? NAMES_AHEAD : 0)) return false;
    limit(plane);
    kept->count = kept->len = 0;
    size_t freed = slab_store_evict(plane->store, bytes < EVICT_BYTES ? EVICT_BYTES : bytes,
                                    evicted, plane);
    for (uint64_t i = 0; i < kept->count; i++) {
        struct record record;
        uint64_t      at = PLACE(KEPT, i);
        record_read(kept->data + kept->at[i], &record);
        uint64_t *entry = index_find(&plane->index, index_hash(record.keyspace, record.key),
                                     is_place, &at);
        at = store_put(plane, &record);
        if (entry && at != NO_PLACE) place(entry, at);
        else if (entry) evict(plane, entry, &record);
    }
    return freed > 0;
}

/* Stores a record; evicts others if it must. Every pointer to a record and every entry may be stale
 * afterwards. Returns its place, or NO_PLACE. */
static uint64_t store_record(struct plane *plane, const struct record *record)
{
    size_t   size = record_size(record);
    uint64_t at;

    if (plane->config.memory != 0 && size > plane->config.memory / 2) return NO_PLACE;
    while ((at = store_put(plane, record)) == NO_PLACE)
        if (!make_room(plane, size)) return NO_PLACE;
    if (record->expires) plane->expiring++;
    return at;
}

/* -- Tiers -- */

static int make_store(struct plane *plane, const uint32_t *tiers, uint32_t count)
{
    slab_store_config config = {.tier_sizes = tiers, .tier_count = count,
                                .max_bytes = plane->config.memory};
    slab_store       *store;
    int               error = slab_store_create(&store, &config);

    if (error) return error;
    plane->store = store;
    return 0;
}

/* Chooses tier sizes from the histogram of the first records. Sizes may drift, so each record also
 * counts a little for sizes from a third to three times its own. Returns how many. */
static uint32_t fit(const struct plane *plane, uint32_t *tiers)
{
    static uint32_t sizes[FIT_MAX / FIT_STEP + 1];
    static uint64_t counts[FIT_MAX / FIT_STEP + 1];
    size_t          n = FIT_MAX / FIT_STEP, most = plane->config.memory / (512 << 10);

    for (uint32_t i = 0; i < n; i++) sizes[i] = (i + 1) * FIT_STEP, counts[i] = 0;
    for (uint32_t i = 1; i <= n; i++) {
        if (plane->histogram[i] == 0) continue;
        counts[i - 1] += plane->histogram[i] * UINT64_C(100);
        for (uint32_t at = i / 3 + 1, step = i / 8 + 1; at <= i * 3 && at <= n; at += step)
            counts[at - 1] += plane->histogram[i] * UINT64_C(5);
    }
    size_t some = 0;
    for (size_t i = 0; i < n; i++)
        if (counts[i] > 0) sizes[some] = sizes[i], counts[some++] = counts[i];
    if (plane->config.memory == 0 || most > FIT_TIERS) most = FIT_TIERS;
    uint32_t count = slab_fit_tiers(sizes, counts, some, tiers, most < 12 ? 12 : (uint32_t)most);
    while (count > 0 && count < TIERS && tiers[count - 1] < FIT_MAX) {
        uint32_t next  = tiers[count - 1] / 4 * 5 / FIT_STEP * FIT_STEP + FIT_STEP;
        tiers[count++] = next < FIT_MAX ? next : FIT_MAX;
    }
    return count;
}

/* Moves every record to a store with fitted tiers. Without memory all stays as it is. */
static void refit(struct plane *plane)
{
    struct plane old = *plane;
    uint64_t     cursor = 0, *entry;
    uint32_t     tiers[TIERS], count = fit(plane, tiers);

    if (count == 0 || !spill_reserve(&plane->spill, plane->spill.region ? FIT_AFTER * 2 : 0) ||
        make_store(plane, tiers, count) != 0)
        return;
    limit(plane);
    while ((entry = index_next(&plane->index, &cursor))) {
        struct record record;
        if (kind_of(*entry) == IN_FILE) continue;
        entry_read(&old, *entry, &record);
        uint64_t at = store_put(plane, &record);
        if (at != NO_PLACE) place(entry, at);
        else evict(plane, entry, &record), cursor--; /* no room */
    }
    slab_store_destroy(old.store);
}

static void sample(struct plane *plane, size_t size)
{
    if (!plane->histogram) return;
    if (size <= FIT_MAX) plane->histogram[(size + FIT_STEP - 1) / FIT_STEP]++;
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
                !index_insert(&plane->index, hash, PLACE(IN_FILE, number)))
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
        release(plane, old, &record, ENDED);
        cursor--;
    }
    return 0;
}

int plane_open(struct plane *plane, const struct plane_config *config)
{
    static const uint32_t tiers[] = {32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536,
                                     2048, 3072, 4096, 8192, FIT_MAX};
    *plane = (struct plane){.config = *config, .spill.spare = UINT32_MAX};
    plane->now       = clock_ms();
    plane->histogram = calloc(FIT_MAX / FIT_STEP + 1, sizeof *plane->histogram);
    plane->kept      = malloc(sizeof *plane->kept);
    int error = -ENOMEM;
    if (plane->kept) error = make_store(plane, tiers, sizeof tiers / sizeof *tiers);
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
    uint64_t      at    = store_record(plane, &again);
    if (at == NO_PLACE) return;
    uint64_t *entry = find(plane, hash, again.keyspace, again.key, record);
    (void)spill_unname(&plane->spill, (uint32_t)*entry);
    place(entry, at);
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
    release(plane, old, record, ENDED);
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
    if (use == USE && kind_of(*entry) == IN_FILE && *entry & INDEX_RECENT)
        restore(plane, hash, &record);
    else if (use == USE && !(*entry & INDEX_RECENT)) *entry |= INDEX_RECENT;
    *value = (struct value){record.value, record.expires};
    return true;
}

/* Overwrites a record where it is, if its tier is right for the new one. */
static bool overwrite(struct plane *plane, uint64_t entry, const struct record *old,
                      const struct record *record)
{
    size_t   size = record_size(record);
    if (kind_of(entry) != IN_STORE ||
        slab_store_set_len(plane->store, (slab_ref)entry, old->size, size) != 0)
        return false;
    if (old->file) file_free(plane, old->file, REPLACED);
    plane->expiring += (record->expires != 0) - (size_t)(old->expires != 0);
    record_write((unsigned char *)(uintptr_t)old->base, record);
    return true;
}

int plane_set(struct plane *plane, uint32_t keyspace, struct slice key, const struct value *value)
{
    struct record record = {.keyspace = keyspace, .expires = value->expires, .key = key,
                            .value = value->data}, old;
    uint64_t      hash   = index_hash(keyspace, key);
    int           error  = plane->config.durable ? file_write(plane, &record, &record.file) : 0;

    if (error) return error;
    sample(plane, record_size(&record));
    uint64_t *entry = find(plane, hash, keyspace, key, &old);
    if (entry && overwrite(plane, *entry, &old, &record)) return 0;
    uint64_t at = store_record(plane, &record);
    if (at != NO_PLACE) {
        entry = find(plane, hash, keyspace, key, &old);
        if (entry) {
            uint64_t was = *entry;
            place(entry, at);
            release(plane, was, &old, REPLACED);
        } else if ((entry = index_insert(&plane->index, hash, at))) plane->keys[keyspace]++;
        else (void)slab_store_free(plane->store, (slab_ref)at, record_size(&record));
    }
    if (at != NO_PLACE && entry) return 0;
    if (record.file) spill_free(&plane->spill, record.file);
    ADD(plane->counts.refused, 1);
    return -ENOMEM;
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
        release(plane, old, &record, ENDED);
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
        if (kind_of(*entry) == IN_FILE) continue;
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
    limit(plane);
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
        if (kind_of(*entry) == IN_FILE) continue;
        entry_read(plane, *entry, &record);
        if (!record.file) (void)file_write(plane, &record, &record.file);
    }
    if (spill_sync(&plane->spill) != 0) fprintf(stderr, "kv-server: --spill: sync failed\n");
    spill_settle(&plane->spill);
    spill_close(&plane->spill);
    slab_store_destroy(plane->store);
    index_clear(&plane->index);
    free(plane->kept);
    free(plane->histogram);
}
