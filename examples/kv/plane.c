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
 * The sizes of the records in memory are counted. Once in FIT_EVERY writes slab_fit_tiers finds the
 * best tiers for them; if these save more than a fiftieth, slab_store_retier replaces the tiers.
 * Each write compacts up to two records, which is how the others get into the new tiers.
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
    FIT_EVERY     = 32768, /* writes */
    FIT_GAIN      = 50,    /* of the bytes, one in so many must be saved */
    FIT_LEAST = 8, FIT_MOST = 56, /* tiers; others are for sizes that may come later */
    FIT_BYTES     = 16 << 10,
    FIT_MAX       = 16384, /* larger records are large objects */
    MOVES         = 2,     /* of compact, in each write: keeps up with any load */
    EVICT_BYTES   = 64 << 10,
    LIMIT_STEP    = 32 << 10,
    KEPT_BYTES = 32 << 10, KEPT_MAX = 512, /* half of what an eviction frees */
    NAMES_AHEAD   = 16 << 10,              /* more than an eviction can need */
    EXPIRY_LOOKS  = 2000, /* in each tick */
    TRIM_TICKS    = 10,
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

/* -- Memory -- */

/* The size of the slots for records of this size; 0: it is a large object. */
static uint32_t slot_of(const struct plane *plane, size_t size)
{
    uint32_t low = 0, high = plane->tier_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (plane->tiers[middle] < size) low = middle + 1;
        else high = middle;
    }
    return low < plane->tier_count ? plane->tiers[low] : 0;
}

/* Records are counted in bins: of 8 bytes each up to 512, above that 64 for each doubling. */
static uint32_t bin_of(size_t size)
{
    if (size <= 512) return (uint32_t)(size + 7) / 8 - 1;
    unsigned top = 63 - (unsigned)__builtin_clzll(size - 1);
    return (top - 9) * 64 + (uint32_t)((size - 1) >> (top - 6));
}
static uint32_t bin_end(uint32_t bin)
{
    return bin < 64 ? (bin + 1) * 8 : (bin % 64 + 65) << (bin / 64 + 2);
}

static void count(struct plane *plane, size_t size, int more)
{
    if (size <= FIT_MAX) plane->bins[bin_of(size)] += (uint32_t)more;
}

/* Puts a record into the store as it is. Returns its place, or NO_PLACE. */
static uint64_t store_put(struct plane *plane, const struct record *record)
{
    size_t   size = record_size(record);
    slab_ref ref;
    void    *at = slab_store_alloc(plane->store, size, &ref);

    if (!at) return NO_PLACE;
    record_write(at, record);
    count(plane, size, 1);
    return PLACE(IN_STORE, ref);
}

static void store_free(struct plane *plane, slab_ref ref, size_t size)
{
    (void)slab_store_free(plane->store, ref, size);
    count(plane, size, -1);
}

/* compact has moved a record: its entry names the new place. From a former tier it came to a slot
 * of at least the old size: it moves on to one that fits, if there is memory. */
static void moved(void *context, slab_ref from, slab_ref to, void *value, size_t room)
{
    struct plane *plane = context;
    struct record record;

    record_read(value, &record);
    uint64_t *entry = find_ref(plane, &record, from);
    if (!entry) return;
    if (slot_of(plane, record.size) < room)
        (void)slab_store_replace(plane->store, &to, record.size, value, record.size);
    *entry = (*entry & ~(uint64_t)UINT32_MAX) | to;
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
    store_free(plane, (slab_ref)entry, record->size);
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
    count(plane, record.size, -1);
    plane->looked++;
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

/* The store's share of the budget is what the index leaves. Where the index has grown, the limit
 * goes down by a step at each eviction: or one write would have to evict all of the difference. */
static void limit(struct plane *plane)
{
    struct slab_store_info info;
    size_t others = plane->index.bytes + plane->spill.room * sizeof(overflow_ref) +
                    sizeof *plane->kept;
    size_t share = plane->config.memory / 4; /* at least */

    if (plane->config.memory == 0) return;
    if (plane->config.memory > others + share) share = plane->config.memory - others;
    slab_store_stats(plane->store, &info);
    size_t in_use = info.held_bytes - info.empty_bytes;
    plane->share  = share;
    (void)slab_store_limit(plane->store,
                           share + LIMIT_STEP > in_use ? share : in_use - LIMIT_STEP);
}

/* Makes at least so many bytes of chunks free. Returns false if nothing is left to evict. */
static bool evict_chunks(struct plane *plane, size_t bytes)
{
    return spill_reserve(&plane->spill, plane->spill.region ? NAMES_AHEAD : 0) &&
           slab_store_evict(plane->store, bytes, evicted, plane) > 0;
}

/* Makes room, and puts the records again that get a second chance. As they are a half of what an
 * eviction frees at most, another one makes room for them if it must. */
static bool make_room(struct plane *plane, size_t bytes)
{
    struct kept *kept = plane->kept;

    limit(plane);
    kept->count = kept->len = 0;
    if (!evict_chunks(plane, bytes < EVICT_BYTES ? EVICT_BYTES : bytes)) return false;
    for (uint64_t i = 0; i < kept->count; i++) {
        struct record record;
        uint64_t      at, old = PLACE(KEPT, i);
        record_read(kept->data + kept->at[i], &record);
        while ((at = store_put(plane, &record)) == NO_PLACE && evict_chunks(plane, EVICT_BYTES)) {}
        uint64_t *entry = index_find(&plane->index, index_hash(record.keyspace, record.key),
                                     is_place, &old);
        if (entry && at != NO_PLACE) place(entry, at);
        else if (entry) evict(plane, entry, &record);
    }
    return true;
}

/* Stores a record; evicts others if it must. Every pointer to a record and every entry may be stale
 * afterwards. Returns its place, or NO_PLACE. */
static uint64_t store_record(struct plane *plane, const struct record *record)
{
    size_t   size = record_size(record);
    uint64_t at, before = plane->looked;

    if (plane->config.memory != 0 && size > plane->config.memory / 2) return NO_PLACE;
    while ((at = store_put(plane, record)) == NO_PLACE)
        if (!make_room(plane, size)) return NO_PLACE;
    if (plane->looked - before > plane->looked_most) plane->looked_most = plane->looked - before;
    if (record->expires) plane->expiring++;
    return at;
}

/* -- Tiers -- */

static int make_store(struct plane *plane)
{
    static const uint32_t tiers[] = {32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536,
                                     2048, 3072, 4096, 8192, FIT_MAX};
    slab_store_config config = {.tier_sizes = tiers, .tier_count = sizeof tiers / sizeof *tiers,
                                .max_bytes = plane->config.memory};

    memcpy(plane->tiers, tiers, sizeof tiers);
    plane->tier_count = config.tier_count;
    return slab_store_create(&plane->store, &config);
}

static uint64_t bytes_in(const struct plane *plane)
{
    uint64_t sum = 0;
    for (uint32_t bin = 0; bin < BINS; bin++) sum += (uint64_t)plane->bins[bin] * bin_end(bin);
    return sum;
}

/* Chooses tiers for the records in memory. Each tier wastes half a chunk, and n tiers a part of the
 * bytes that falls as 1 / n: the sum is least where n grows as the root of the bytes. Sizes may
 * drift, so each record also counts a little for sizes from a third to three times its own. Returns
 * how many. */
static uint32_t fit(const struct plane *plane, uint32_t tiers[TIERS])
{
    uint32_t sizes[BINS], some = 0, most = FIT_LEAST;
    uint64_t counts[BINS] = {0}, bytes = bytes_in(plane);

    for (uint32_t bin = 0; bin < BINS; bin++) {
        size_t   size = bin_end(bin);
        uint32_t end  = size * 3 < FIT_MAX ? bin_of(size * 3) : BINS - 1;
        counts[bin] += plane->bins[bin] * UINT64_C(100);
        for (uint32_t at = bin_of(size / 3 + 1); at <= end && plane->bins[bin] > 0; at += 8)
            counts[at] += plane->bins[bin] * UINT64_C(1);
    }
    for (uint32_t bin = 0; bin < BINS; bin++)
        if (counts[bin] > 0) sizes[some] = bin_end(bin), counts[some++] = counts[bin];
    while (most < FIT_MOST && (uint64_t)most * most * FIT_BYTES < bytes) most++;
    uint32_t fitted = slab_fit_tiers(sizes, counts, some, tiers, most);
    while (fitted > 0 && fitted < TIERS && tiers[fitted - 1] < FIT_MAX) {
        uint32_t next   = tiers[fitted - 1] / 4 * 5 / 8 * 8 + 8;
        tiers[fitted++] = next < FIT_MAX ? next : FIT_MAX;
    }
    return fitted;
}

/* Bytes that the records in memory would leave unused in slots of these sizes. */
static uint64_t waste(const struct plane *plane, const uint32_t *tiers)
{
    uint64_t sum = 0;
    for (uint32_t bin = 0; bin < BINS; bin++) {
        while (*tiers < bin_end(bin)) tiers++; /* the last is FIT_MAX */
        sum += (uint64_t)plane->bins[bin] * (*tiers - bin_end(bin));
    }
    return sum;
}

/* Replaces the tiers if others are better. Without memory all stays as it is until the next look;
 * so it does while too many former tiers have records. */
static void refit(struct plane *plane)
{
    uint32_t tiers[TIERS], fitted = fit(plane, tiers);

    if (fitted == 0 || tiers[fitted - 1] < FIT_MAX) return;
    if (waste(plane, tiers) + bytes_in(plane) / FIT_GAIN >= waste(plane, plane->tiers)) return;
    int error = slab_store_retier(plane->store, tiers, fitted);
    if (error == -ENOSPC && make_room(plane, EVICT_BYTES))
        error = slab_store_retier(plane->store, tiers, fitted);
    if (error) return;
    memcpy(plane->tiers, tiers, sizeof tiers);
    plane->tier_count = fitted;
    ADD(plane->counts.refitted, 1);
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
    *plane = (struct plane){.config = *config, .spill.spare = UINT32_MAX};
    plane->now  = clock_ms();
    plane->kept = malloc(sizeof *plane->kept);
    int error   = plane->kept ? make_store(plane) : -ENOMEM;
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
    size_t size = record_size(record);
    if (kind_of(entry) != IN_STORE || slot_of(plane, old->size) != slot_of(plane, size) ||
        slab_store_set_len(plane->store, (slab_ref)entry, old->size, size) != 0)
        return false;
    count(plane, old->size, -1), count(plane, size, 1);
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
    if (++plane->writes % FIT_EVERY == 0) refit(plane);
    uint64_t *entry = find(plane, hash, keyspace, key, &old);
    if (entry && overwrite(plane, *entry, &old, &record)) return 0;
    uint64_t at = store_record(plane, &record);
    if (at != NO_PLACE) {
        entry = find(plane, hash, keyspace, key, &old);
        if (entry) {
            uint64_t was = *entry;
            place(entry, at);
            release(plane, was, &old, REPLACED);
        } else if ((entry = index_insert(&plane->index, hash, at))) {
            plane->keys[keyspace]++;
            (void)slab_store_compact(plane->store, MOVES, moved, plane);
        } else store_free(plane, (slab_ref)at, record_size(&record));
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
    /* Beyond its share the store may not use what is empty; without a limit a quarter may stay. */
    bool idle = plane->share > 0 ? info.held_bytes > plane->share
                                 : info.empty_bytes > info.held_bytes / 4;
    if (++plane->ticks % TRIM_TICKS == 0 && idle) (void)slab_store_trim(plane->store);
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
    PUT(evicted_most, plane->looked_most);
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
}
