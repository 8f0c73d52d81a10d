/* Goal: slab_store does what slab.h says, in any order of calls and in any shape.
 * Method: random calls, in phases that fill, drain, move, prefer small or large values or have the
 * system refuse memory, against an oracle that knows the bytes, len, ref and place of each live
 * value, whose pages they are, and which slots of a chunk were ever used. After every call the
 * stats, the memory held and what the call has touched are compared; now and then everything is.
 *
 *     slab_store_oracle [OPS [SEED]]     200000 1; from a million on, the slow tests as well
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/mman.h>

static void *test_map(size_t size);
static void  test_unmap(void *memory, size_t size);
static int   test_discard(void *memory, size_t size);
#define SLAB_MAP(size)             test_map(size)
#define SLAB_UNMAP(memory, size)   test_unmap(memory, size)
#define SLAB_DISCARD(memory, size) test_discard(memory, size)
#define SLAB_IMPLEMENTATION
#include "../../slab.h"

#include "../check.h"

enum {
    TIERS     = 63,
    PAGE      = 4096,
    UNIT      = 512,       /* what runs consist of; different owners may share a page */
    SLOT_MAX  = 65536,
    LARGE_MAX = 1 << 20,   /* a large object is at most that much above the largest tier */
    VALUES    = 40000,     /* that live */
    BYTES     = 8 << 20,   /* about as many, in values that live */
    HASH_BITS = 17,        /* names: twice the values and more */
    MAPS      = 8192,      /* mappings */
    OFFSETS   = 65536,     /* a value's bytes begin anywhere below in the noise */
    STALES    = 64,        /* refs freed last */
    SLOW_FROM = 1000000,   /* as many ops, and the slow tests run */
    LARGE     = TIERS + 1, /* the tier of a large object */
};

static uint64_t ops = 200000, random_state;

static uint32_t draw(uint32_t below) { return (uint32_t)(check_random(&random_state) % below); }
static bool     failed(void) { return atomic_load(&check_failures) != 0; }

/* -- Mappings, in the order of their addresses -- */

/* A chunk in which a value lives, or did. */
struct span {
    uint32_t  tier, number;
    uint32_t  live; /* values */
    uint32_t  used; /* slots that were ever used */
    uint32_t  room; /* for bits */
    uint64_t *bits; /* one for each such slot; NULL: the chunk was empty once, all count as used */
};

struct unit {
    uintptr_t    owner; /* the address of the chunk or large object, + its tier */
    uint32_t     users; /* values that lie in the unit, or 0: nobody owns it */
    struct span *span;  /* of a chunk that begins here */
};

struct mapping {
    unsigned char *at;
    size_t         size;
    struct unit   *units;
};

static struct mapping maps[MAPS];
static uint32_t       map_count;
static size_t         map_bytes, discarded_bytes;
static uint32_t       fail_one_in; /* 0: the system gives what it has */
static bool           map_failed;  /* since this was set to false */
static bool           ending;      /* destroy takes live values, too */

/* How many mappings begin at or below that address. */
static uint32_t maps_up_to(const void *at)
{
    uint32_t low = 0, high = map_count;

    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if ((uintptr_t)maps[middle].at <= (uintptr_t)at) low = middle + 1;
        else high = middle;
    }
    return low;
}

static struct mapping *mapping_of(const void *at)
{
    uint32_t        count = maps_up_to(at);
    struct mapping *map   = maps + count;

    if (count == 0 || (uintptr_t)at - (uintptr_t)map[-1].at >= map[-1].size) return NULL;
    return map - 1;
}

static void *test_map(size_t size)
{
    map_failed |= fail_one_in != 0;
    if (fail_one_in != 0 && draw(fail_one_in) == 0) return NULL;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED || map_count == MAPS) abort();
    uint32_t at = maps_up_to(memory);
    memmove(&maps[at + 1], &maps[at], (map_count++ - at) * sizeof *maps);
    maps[at] = (struct mapping){memory, size, calloc(size / UNIT, sizeof(struct unit))};
    if (!maps[at].units) abort();
    map_bytes += size;
    CHECK_EQ(size % PAGE, 0); /* or held_bytes would be less than what is held */
    return memory;
}

static void test_unmap(void *memory, size_t size)
{
    struct mapping *map = mapping_of(memory);

    CHECK(map && map->at == memory && map->size == size);
    if (!map || map->size != size) return;
    for (size_t i = 0; i < size / UNIT; i++) {
        CHECK(ending || map->units[i].users == 0);
        if (map->units[i].span) free(map->units[i].span->bits);
        free(map->units[i].span);
    }
    free(map->units);
    memmove(map, map + 1, (size_t)(&maps[--map_count] - map) * sizeof *maps);
    map_bytes -= size;
    munmap(memory, size);
}

static struct unit *unit_of(const void *at)
{
    struct mapping *map = mapping_of(at);
    return map ? &map->units[(size_t)((const unsigned char *)at - map->at) / UNIT] : NULL;
}

/* The pages are fresh again, or stay as they are. Not all qemus know MADV_DONTNEED. */
static int test_discard(void *memory, size_t size)
{
    struct mapping *map  = mapping_of(memory);
    struct unit    *unit = unit_of(memory);

    CHECK_EQ((uintptr_t)memory % PAGE, 0);
    CHECK(map && size % PAGE == 0 && size > 0);
    CHECK(map && (uintptr_t)memory - (uintptr_t)map->at + size <= map->size);
    for (size_t i = 0; i < size / UNIT && !atomic_load(&check_failures); i++)
        CHECK_EQ(unit[i].users, 0);
    if (draw(16) == 0) return -1;
    if (mmap(memory, size, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != memory)
        abort();
    discarded_bytes += size;
    return 0;
}

/* -- The oracle -- */

struct value {
    unsigned char *at;
    slab_ref       ref;
    uint32_t       len;
    uint32_t       bytes; /* where in the noise they begin */
    uint32_t       tier;  /* or LARGE */
};

static slab_store   *store;
static uint32_t      sizes[TIERS], tiers, slot_max; /* the shape */
static size_t        max_bytes;
static bool          few_numbers;/* there are few lines */
static uint32_t      tier_for[SLOT_MAX + 1];
static struct value  values[VALUES];
static uint32_t      count;
static size_t        footprint;             /* of the values, about */
static uint32_t      names[1 << HASH_BITS]; /* 1 + the index of the value of that ref */
static unsigned char noise[OFFSETS + SLOT_MAX + LARGE_MAX + PAGE]; /* no byte of it is 0 */
static unsigned char zeros[SLOT_MAX];

/* What the stats must be, by tier; the last is that of the large objects. */
static struct {
    size_t   payload;
    uint32_t occupied;
    uint32_t spare; /* slots that were used and are not, in chunks where a value lives */
} sums[LARGE + 1];
static size_t large_capacity;

static struct {
    slab_ref ref;
    uint32_t len;
} stales[STALES];

static uint32_t home_of(slab_ref ref)
{
    return (uint32_t)(ref * UINT64_C(0x9e3779b97f4a7c15) >> (64 - HASH_BITS));
}

/* The place of the ref in names, or the empty one where it belongs. */
static uint32_t *name_of(slab_ref ref)
{
    uint32_t at = home_of(ref);

    while (names[at] != 0 && values[names[at] - 1].ref != ref) at = (at + 1) % (1 << HASH_BITS);
    return &names[at];
}

static void forget_name(slab_ref ref)
{
    uint32_t hole = (uint32_t)(name_of(ref) - names), mask = (1 << HASH_BITS) - 1;

    for (uint32_t at = (hole + 1) & mask; names[at] != 0; at = (at + 1) & mask) {
        uint32_t home = home_of(values[names[at] - 1].ref);
        if (((at - home) & mask) < ((at - hole) & mask)) continue;
        names[hole] = names[at];
        hole        = at;
    }
    names[hole] = 0;
}

static size_t room_of(const struct value *value)
{
    uint64_t *line;

    if (value->tier != LARGE) return sizes[value->tier];
    const slab__large *record = slab__store_large_find(store, value->ref, value->len, &line);
    return record ? (size_t)record->units * UNIT : 0;
}

/* -- Slots: no two share a byte, a chunk is of one tier, and fresh memory comes last -- */

static slab__tier *tier_at(uint32_t tier) { return &store->tiers[tier + 1]; }

/* The used slots that compact holds back, which are in its victim. */
static uint32_t spare_in_victim(uint32_t tier)
{
    const slab__tier *it = tier_at(tier);

    if (!it->victim) return 0;
    const struct span *span = unit_of(slab__store_memory(it->victim, it->slot_size))->span;
    return span && span->live > 0 ? span->used - span->live : 0;
}

static void own_units(const struct value *value, const unsigned char *owner)
{
    const struct mapping *map   = mapping_of(value->at);
    size_t                first = (size_t)(value->at - map->at), room = room_of(value);

    CHECK(first + room <= map->size);
    for (size_t at = first / UNIT; at * UNIT < first + room && at * UNIT < map->size; at++) {
        struct unit *unit = &map->units[at];
        if (unit->users++ == 0) unit->owner = (uintptr_t)owner + value->tier;
        CHECK_EQ(unit->owner, (uintptr_t)owner + value->tier);
    }
}

/* From now on all slots of the chunk count as used. */
static void use_up(struct span *span, uint32_t slots)
{
    free(span->bits);
    span->bits = NULL;
    if (span->live > 0) sums[span->tier].spare += slots - span->used;
    span->used = slots;
}

/* The first value in a chunk, as far as one can see from here. */
static struct span *open_span(struct unit *unit, const struct value *value, uint32_t slots)
{
    struct span *span = unit->span;

    if (!span) span = unit->span = calloc(1, sizeof *span);
    if (!span) abort();
    if (span->used > 0 && span->tier == value->tier) { /* the same chunk, or one in its place */
        use_up(span, slots);
    } else {
        free(span->bits);
        span->bits = calloc(slots / 64 + 1, sizeof *span->bits);
        span->used = 0;
        if (!span->bits) abort();
    }
    span->tier = value->tier;
    CHECK_EQ(span->bits ? sums[span->tier].spare : 0, 0); /* else it was not needed */
    sums[span->tier].spare += span->used;
    return span;
}

static const slab__chunk *chunk_of(const struct value *value)
{
    return slab__store_chunk_of(slab__store_line(store, value->ref));
}

static void occupy(const struct value *value)
{
    const slab__chunk   *chunk  = chunk_of(value);
    const unsigned char *memory = slab__store_memory(chunk, sizes[value->tier]);
    uint32_t             number = chunk->number;
    size_t               index  = (size_t)(value->at - memory) / sizes[value->tier];
    struct unit         *unit   = unit_of(memory);

    CHECK(unit && index < chunk->slots && chunk->tier == value->tier + 1);
    if (failed()) return;
    CHECK(value->at == memory + index * sizes[value->tier]);
    own_units(value, memory);
    struct span *span = unit->span;
    if (!span || span->live == 0) {
        span         = open_span(unit, value, chunk->slots);
        span->number = number;
    }
    CHECK(span->tier == value->tier && span->number == number);
    uint64_t bit = UINT64_C(1) << index % 64;
    if (!span->bits || (span->bits[index / 64] & bit) != 0) sums[span->tier].spare--;
    else {
        CHECK_EQ(sums[span->tier].spare, spare_in_victim(span->tier)); /* else it comes too early */
        span->bits[index / 64] |= bit;
        span->used++;
    }
    span->live++;
}

static struct span *span_of(const struct unit *unit)
{
    return unit_of((const void *)(unit->owner / UNIT * UNIT))->span;
}

static void vacate(const struct value *value)
{
    struct unit *unit = unit_of(value->at), *end = unit_of(value->at + room_of(value) - 1);

    CHECK(unit && end && unit->users > 0);
    if (failed()) return;
    struct span *span = span_of(unit);
    for (; unit <= end; unit++) unit->users--;
    if (value->tier == LARGE) return;
    sums[value->tier].spare++;
    if (--span->live == 0) sums[value->tier].spare -= span->used;
}

/* -- Checks -- */

static void check_value(const struct value *value)
{
    size_t room = room_of(value);

    CHECK(slab_store_get(store, value->ref, value->len) == value->at);
    CHECK(memcmp(value->at, noise + value->bytes, value->len) == 0);
    for (size_t at = value->len; at < room; at += SLOT_MAX)
        CHECK(memcmp(value->at + at, zeros, room - at < SLOT_MAX ? room - at : SLOT_MAX) == 0);
    CHECK_EQ((uintptr_t)value->at % (value->tier == LARGE ? UNIT : room % 64 == 0 ? 64 : 8), 0);
}

static void check_refused(slab_ref ref, size_t len)
{
    CHECK(slab_store_get(store, ref, len) == NULL);
    CHECK_EQ(slab_store_free(store, ref, len), -ESTALE);
}

/* A ref with a len that belongs to another tier, or is not that of the large object. */
static void check_wrong_len(const struct value *value)
{
    uint32_t other = draw(tiers);

    check_refused(value->ref, (size_t)slot_max + 1 + (value->len == slot_max + 1));
    if (other != value->tier) {
        uint32_t len = sizes[other] - draw(8);
        if (len != value->len) check_refused(value->ref, len);
    }
    if (value->tier != LARGE) return;
    check_refused(value->ref, (size_t)value->len + 1);
    if (value->len > 0) check_refused(value->ref, value->len - 1);
}

/* Refs that were good once, or never. */
static void check_forged(void)
{
    uint32_t i      = draw(STALES);
    slab_ref near   = count ? values[draw(count)].ref : draw(1000);
    slab_ref refs[] = {
        stales[i].ref,
        near + 1,
        near - 1,
        near + (1u << draw(32)),
        near ^ 1u << draw(32),
        (near & 511) | draw(64) << 9,
        near / 512 * 512 + near % 64,
        (slab_ref)check_random(&random_state),
        SLAB_NO_REF,
        SLAB_NO_REF - draw(1u << 20),
    };
    slab_ref ref = refs[draw(sizeof refs / sizeof *refs)];
    if (ref == stales[i].ref && *name_of(ref) == 0) check_refused(ref, stales[i].len);
    if (*name_of(ref) != 0) return;

    check_refused(ref, sizes[draw(tiers)] - draw(8));
    check_refused(ref, count ? values[draw(count)].len : 0);
    check_refused(ref, (size_t)slot_max + 1 + draw(PAGE));
}

/* capacity / used; doubles differ a little between machines. */
static void check_ratio(double ratio, size_t capacity, size_t used)
{
    double wanted = used ? (double)capacity / (double)used : 0.0;

    CHECK(ratio >= wanted * 0.999999 && ratio <= wanted * 1.000001);
}

/* Adds what the tier has to the sums of all. */
static void check_tier(uint32_t tier, struct slab_store_info *all)
{
    struct slab_tier_info info;

    CHECK_EQ(slab_store_tier_stats(store, tier, &info), 0);
    CHECK_EQ(info.slot_size, sizes[tier]);
    CHECK_EQ(info.occupied_slots, sums[tier].occupied);
    CHECK_EQ(info.payload_bytes, sums[tier].payload);
    CHECK_EQ(info.occupied_bytes, (size_t)info.occupied_slots * sizes[tier]);
    CHECK_EQ(info.capacity_bytes, (size_t)info.total_slots * sizes[tier]);
    CHECK(info.total_slots >= info.occupied_slots);
    check_ratio(info.fragmentation_ratio, info.capacity_bytes, info.occupied_bytes);
    all->capacity_bytes += info.capacity_bytes;
    all->used_bytes += info.occupied_bytes;
    all->payload_bytes += info.payload_bytes;
    all->metadata_bytes += info.metadata_bytes;
}

/* What the lines say of all chunks of a tier; the last is that of large objects' records. */
static struct {
    uint32_t idle, slots;
    size_t   units;
} chunks[TIERS + 1];

static void check_words(slab__chunk *chunk)
{
    const slab__tier *it   = &store->tiers[chunk->tier];
    uint32_t          used = 0;

    for (uint32_t word = 0; word < slab__words(chunk->slots); word++) {
        uint64_t live  = *slab__store_live(chunk, word);
        bool     fresh = chunk == it->tail && word >= it->tail_from / 64;
        bool     full  = live == slab__range(0, chunk->slots - word * 64);
        used += (uint32_t)__builtin_popcountll(live);
        if (slab__store_live(chunk, word) == it->word) CHECK(!(chunk->open >> word & 1));
        else if (!fresh) CHECK_EQ(chunk->open >> word & 1, !full);
    }
    CHECK_EQ(used, chunk->used);
}

static void check_chunk(slab__chunk *chunk)
{
    uint32_t           tier = chunk->tier ? chunk->tier - 1u : tiers;
    const slab__tier  *it   = &store->tiers[chunk->tier];
    const struct span *span = unit_of(slab__store_memory(chunk, it->slot_size))->span;
    uint64_t           open = *slab__store_open(store, chunk->tier, chunk->number / SLAB__SEGMENT);

    CHECK(chunk->tier <= tiers);
    check_words(chunk);
    CHECK_EQ(open >> chunk->number % SLAB__SEGMENT & 1, chunk->open != 0 && chunk != it->victim);
    if (chunk->tier > 0) {
        CHECK(chunk->used == 0 || span);
        CHECK(!span || (span->tier == tier ? span->live : 0) == chunk->used);
    }
    chunks[tier].idle += chunk->used == 0;
    chunks[tier].slots += chunk->slots;
    chunks[tier].units += chunk->units;
    CHECK_EQ(chunk->units, slab__units((size_t)chunk->slots * it->slot_size));
}

/* Looks at all lines. At most one chunk of a tier is empty. */
static void check_chunks(bool no_idle)
{
    memset(chunks, 0, sizeof chunks);
    for (uint32_t number = 0; number < store->segment_capacity * SLAB__SEGMENT; number++) {
        const uint64_t *segment = store->segments[number / SLAB__SEGMENT];
        if (!segment) number |= SLAB__SEGMENT - 1;
        if (!segment || failed()) continue;
        slab__chunk *chunk = slab__store_chunk(store, number);
        if (chunk->base % 512 <= SLAB__MARK_FIRST) continue;
        CHECK_EQ(chunk->number, number);
        check_chunk(chunk);
    }
    for (uint32_t tier = 0; tier <= tiers; tier++) {
        CHECK(chunks[tier].idle <= !no_idle);
        CHECK_EQ(chunks[tier].slots, store->tiers[(tier + 1) % (tiers + 1)].slots);
    }
}

/* The longest run of free units in one extent. */
static uint32_t longest_in(const slab__extent *extent)
{
    uint32_t longest = 0, run = 0;

    for (uint32_t unit = 0; unit < extent->units; unit++) {
        run = extent->bits[unit / 64] >> unit % 64 & 1 ? 0 : run + 1;
        if (run > longest) longest = run;
    }
    return longest;
}

/* In the first so many extents. */
static uint32_t longest_run(uint32_t extents)
{
    uint32_t longest = 0;

    for (uint32_t i = 0; i < extents; i++) {
        uint32_t one = longest_in(store->extents[i]);
        if (one > longest) longest = one;
    }
    return longest;
}

/* Units that the tier's next chunk needs at least. */
static uint32_t least_units(uint32_t tier)
{
    return slab__store_least(tier_at(tier), slab__store_want(store, tier_at(tier)));
}

/* An extent was mapped for a value: there was no run for it elsewhere. least: of its tier. */
static void check_need(const struct value *value, uint32_t least)
{
    if (value->tier == LARGE) least = slab__units(value->len);
    if (value->tier == LARGE && least < SLAB__QUARTER / SLAB__UNIT) return; /* its record's chunk */
    CHECK(longest_run(store->extent_count - 1) < least);
    if (value->tier != LARGE) check_chunks(false);
}

static void check_extent(const slab__extent *extent, uint32_t number)
{
    const struct mapping *map  = mapping_of(extent->memory);
    uint32_t              free = 0;

    CHECK(map && map->at == extent->memory && map->size == extent->size);
    CHECK_EQ(extent->number, number);
    for (uint32_t unit = 0; unit < extent->units && !failed(); unit++) {
        bool taken = extent->bits[unit / 64] >> unit % 64 & 1;
        CHECK(taken || map->units[unit].users == 0);
        free += !taken;
    }
    CHECK_EQ(free, extent->free);
    CHECK(store->longest[store->extent_capacity + number] >= longest_in(extent));
}

static void check_extents(size_t empty_bytes)
{
    size_t   free_units = 0, spare = store->kept_bytes;
    uint32_t capacity = store->extent_capacity;

    if (failed()) return;
    for (uint32_t i = 0; i < store->extent_count && !failed(); i++) {
        const slab__extent *extent = store->extents[i];
        check_extent(extent, i);
        free_units += extent->free;
        if (extent->free == extent->units) spare += extent->size;
    }
    for (uint32_t i = store->extent_count; i < capacity; i++)
        CHECK_EQ(store->longest[capacity + i], 0);
    for (uint32_t node = 1; node < capacity; node++) {
        uint16_t low = store->longest[2 * node], high = store->longest[2 * node + 1];
        CHECK_EQ(store->longest[node], low > high ? low : high);
    }
    CHECK_EQ(free_units * UNIT + store->kept_bytes, empty_bytes);
    CHECK_EQ(spare, store->spare);
}

static void check_stats(bool no_idle)
{
    struct slab_store_info info, all = {.capacity_bytes = large_capacity,
                                        .used_bytes     = sums[LARGE].payload,
                                        .payload_bytes  = sums[LARGE].payload};

    slab_store_stats(store, &info);
    check_chunks(no_idle);
    for (uint32_t tier = 0; tier < tiers; tier++) {
        check_tier(tier, &all);
        all.held_bytes += chunks[tier].units * UNIT;
    }
    check_extents(info.empty_bytes);
    CHECK_EQ(info.tier_count, tiers);
    CHECK_EQ(info.large_count, sums[LARGE].occupied);
    CHECK_EQ(info.payload_bytes, all.payload_bytes);
    CHECK_EQ(info.used_bytes, all.used_bytes);
    CHECK_EQ(info.capacity_bytes, all.capacity_bytes);
    CHECK(info.capacity_bytes >= info.used_bytes && info.used_bytes >= info.payload_bytes);
    check_ratio(info.fragmentation_ratio, info.capacity_bytes, info.used_bytes);
    CHECK_EQ(info.held_bytes, map_bytes);
    CHECK(info.metadata_bytes >= all.metadata_bytes);
    CHECK_EQ(info.held_bytes,
             all.held_bytes + large_capacity + info.metadata_bytes + info.empty_bytes);
    CHECK_EQ(info.lost_bytes, all.held_bytes + large_capacity - all.capacity_bytes);
}

/* After every call: what it costs little to know. */
static void check_cheaply(void)
{
    struct slab_store_info info;
    uint32_t               tier = draw(tiers);

    slab_store_stats(store, &info);
    CHECK_EQ(info.held_bytes, map_bytes);
    CHECK_EQ(info.held_bytes,
             info.capacity_bytes + info.metadata_bytes + info.empty_bytes + info.lost_bytes);
    CHECK(max_bytes == 0 || map_bytes <= max_bytes);
    CHECK_EQ(info.large_count, sums[LARGE].occupied);
    CHECK(info.capacity_bytes >= info.used_bytes && info.used_bytes >= info.payload_bytes);
    check_tier(tier, &info);
}

static void check_all(void)
{
    struct slab_tier_info info;

    for (uint32_t i = 0; i < count && !failed(); i++) {
        check_value(&values[i]);
        CHECK_EQ(*name_of(values[i].ref), i + 1);
    }
    check_stats(false);
    CHECK_EQ(slab_store_tier_stats(store, tiers, &info), -EINVAL);
}

/* -- Calls, each with its checks -- */

/* A put has failed: the store holds no more than before. */
static void check_holds_no_more(const struct slab_store_info *before)
{
    struct slab_store_info info;

    slab_store_stats(store, &info);
    CHECK(info.held_bytes <= before->held_bytes);
    CHECK(info.metadata_bytes <= before->metadata_bytes);
    CHECK_EQ(info.used_bytes, before->used_bytes);
}

/* A put has failed; error 0 stands for any. Then every way out was tried: no run of free units was
 * long enough, and no more could be mapped. */
static void check_no_room(uint32_t len, int error)
{
    bool     large = len > slot_max;
    uint32_t units = large ? slab__units(len) : least_units(tier_for[len]);
    size_t   left  = slab__store_left(store) + store->spare, rest = 14 * PAGE;

    CHECK(error == 0 || error == -ENOSPC || error == -ENOMEM);
    CHECK(map_failed || few_numbers || (error != -ENOMEM && max_bytes != 0));
    CHECK(error != -ENOSPC || max_bytes != 0 || few_numbers);
    CHECK(large || tier_at(tier_for[len])->occupied == tier_at(tier_for[len])->slots);
    if (map_failed || few_numbers || draw(8) != 0) return;
    check_stats(true);
    /* Or there was none for its record, or for a segment of lines. */
    CHECK(longest_run(store->extent_count) < units + 32 || units > store->extent_most / UNIT);
    CHECK(left < (size_t)units * UNIT + rest);
}

static void account(const struct value *value, size_t room, int sign)
{
    size_t len = value->len;

    sums[value->tier].payload += sign > 0 ? len : -len;
    sums[value->tier].occupied += sign > 0 ? 1 : UINT32_MAX;
    footprint += sign > 0 ? room : -room;
    if (value->tier == LARGE) large_capacity += sign > 0 ? room : -room;
}

static void check_new_ref(const struct value *value)
{
    CHECK_EQ(*name_of(value->ref), 0);
    CHECK_EQ(slab_ref_is_large(value->ref), value->tier == LARGE);
    CHECK_EQ(slab_ref_is_large(value->ref), value->ref >> 31);
    CHECK(value->ref % 512 >= 64);
}

/* Enters a new value in the table. */
static void enter(struct value *value)
{
    uint32_t len = value->len <= slot_max ? value->len : 0;

    value->tier = slab_ref_is_large(value->ref) ? LARGE : tier_for[len];
    check_new_ref(value);
    check_value(value);
    if (value->tier != LARGE) occupy(value);
    values[count]        = *value;
    *name_of(value->ref) = ++count;
    account(value, room_of(value), +1);
}

/* A value of that length, if there is room. */
static bool put(uint32_t len)
{
    struct value           value = {.len = len, .bytes = draw(OFFSETS), .ref = 7};
    const void            *bytes = noise + value.bytes;
    struct slab_store_info before;
    int                    error = 0;

    if (count == VALUES) return false;
    slab_store_stats(store, &before);
    map_failed       = false;
    uint32_t extents = store->extent_count;
    uint32_t least   = len > slot_max ? 0 : least_units(tier_for[len]);
    if (draw(2)) {
        error    = slab_store_put(store, bytes, len, &value.ref);
        value.at = (unsigned char *)(uintptr_t)slab_store_get(store, value.ref, len);
        CHECK_EQ(error == 0, value.at != NULL);
    } else if ((value.at = slab_store_alloc(store, len, &value.ref))) memcpy(value.at, bytes, len);
    if (!value.at) {
        CHECK_EQ(value.ref, SLAB_NO_REF);
        check_holds_no_more(&before);
        check_no_room(len, error);
        return false;
    }
    enter(&value);
    if (store->extent_count == extents + 1 && !map_failed) check_need(&value, least);
    return true;
}

static void remember_stale(const struct value *value)
{
    uint32_t i = draw(STALES);

    stales[i].ref = value->ref;
    stales[i].len = value->len;
}

/* Takes the value out of the table; the last one moves to its place. */
static void drop(uint32_t index, size_t room)
{
    struct value value = values[index];

    account(&value, room, -1);
    if (value.tier != LARGE) vacate(&value);
    forget_name(value.ref);
    if (index != count - 1) {
        *name_of(values[count - 1].ref) = index + 1;
        values[index]                   = values[count - 1];
    }
    count--;
    remember_stale(&value);
}

static void free_value(uint32_t index)
{
    struct value value = values[index];

    check_value(&value);
    check_wrong_len(&value);
    drop(index, room_of(&value));
    CHECK_EQ(slab_store_free(store, value.ref, value.len), 0);
    check_refused(value.ref, value.len);
}

/* Another value in the place of one, or if there is no room, the same one. */
static void replace_value(uint32_t index, uint32_t len)
{
    struct value old   = values[index];
    struct value value = {.len = len, .bytes = draw(OFFSETS), .ref = old.ref};
    size_t       room  = room_of(&old);
    bool         stays = len <= slot_max && old.tier == tier_for[len];
    struct slab_store_info before;

    if (count == VALUES) return;
    slab_store_stats(store, &before);
    map_failed = false;
    int error  = slab_store_replace(store, &value.ref, old.len, noise + value.bytes, len);
    if (error) {
        CHECK(!stays);
        CHECK_EQ(value.ref, old.ref);
        check_holds_no_more(&before);
        check_no_room(len, error);
        check_value(&old);
        return;
    }
    value.at = (unsigned char *)(uintptr_t)slab_store_get(store, value.ref, len);
    if (value.ref != old.ref) {
        CHECK(!stays);
        enter(&value);
        drop(index, room);
        check_refused(old.ref, old.len);
        return;
    }
    CHECK(value.at == old.at);
    CHECK(stays || old.tier == LARGE);
    value.tier = old.tier;
    sums[old.tier].payload += (size_t)len - old.len;
    values[index] = value;
    check_value(&value);
    CHECK_EQ(room_of(&value), room);
}

/* A walk returns all values, in the order of their places. */
static void walk(void)
{
    uint64_t    cursor = 0;
    const void *at;
    size_t      room, seen = 0;
    int64_t     last = -1;

    for (slab_ref ref; !failed() && (ref = slab_store_next(store, &cursor, &at, &room)) !=
                                        SLAB_NO_REF; seen++) {
        uint32_t index = *name_of(ref) - 1;
        CHECK(index < count && values[index].at == at);
        CHECK_EQ(room, slab_ref_is_large(ref) ? values[index].len : sizes[values[index].tier]);
        CHECK((ref & INT32_MAX) > last);
        last = ref & INT32_MAX;
        CHECK(slab_store_peek(store, ref, NULL) == at);
    }
    CHECK_EQ(seen, count);
}

static size_t on_evicted(void *context, slab_ref ref, const void *at, size_t room)
{
    uint32_t index = *name_of(ref) - 1;

    CHECK(context == &sums && index < count);
    if (index >= count) return 0;
    struct value value = values[index];
    CHECK(value.at == at);
    CHECK_EQ(room, value.tier == LARGE ? value.len : sizes[value.tier]);
    check_value(&value);
    drop(index, room_of(&value));
    return value.len;
}

static void evict(size_t bytes)
{
    struct slab_store_info before, after;
    uint32_t               lived = count;

    slab_store_stats(store, &before);
    size_t made = slab_store_evict(store, bytes, on_evicted, &sums);
    slab_store_stats(store, &after);
    CHECK_EQ(made, before.held_bytes - before.empty_bytes - (after.held_bytes - after.empty_bytes));
    CHECK(made >= bytes || count == 0);
    CHECK(lived == count || made > 0);
    if (draw(4) == 0) check_all();
}

/* Another limit, not below what is held: everything that was true of the first one is of this. */
static void limit(void)
{
    size_t max = map_bytes + draw(BYTES);

    if (max_bytes == 0 || slab_store_limit(store, max) != 0) return;
    max_bytes = max;
}

static void trim(void)
{
    struct slab_store_info info;
    size_t                 before = map_bytes;

    discarded_bytes = 0;
    size_t given    = slab_store_trim(store);
    CHECK_EQ(map_bytes, before - given + discarded_bytes);
    slab_store_stats(store, &info);
    check_stats(true);
}

/* -- Compact -- */

static struct {
    size_t   moves;
    uint32_t meddle; /* one in so many moves calls the store; 0: none */
} compaction;

static uint32_t draw_len(void);

/* As many free slots as a chunk has, and a sixty-fourth of all. */
static bool is_sparse(uint32_t tier)
{
    const slab__tier *it    = tier_at(tier);
    uint32_t          free  = it->slots - sums[tier].occupied;
    uint32_t          whole = slab__store_whole(store, it->slot_size) / it->slot_size;

    return sums[tier].occupied > 0 && free > it->slots / 64 && free - it->slots / 64 >= whole;
}

static void on_moved(void *context, slab_ref from, slab_ref to, void *memory, size_t room)
{
    uint32_t index = *name_of(from) - 1;
    bool     known = index < count && values[index].tier != LARGE;

    CHECK(context == &compaction);
    CHECK(known);
    if (!known) return;
    struct value value = values[index];
    check_refused(from, value.len);
    CHECK_EQ(room, sizes[value.tier]);
    uintptr_t          owner = unit_of(value.at)->owner / UNIT * UNIT;
    struct span       *span  = span_of(unit_of(value.at));
    const slab__chunk *chunk = tier_at(value.tier)->victim; /* NULL: that was its last value */
    CHECK(!chunk || (uintptr_t)slab__store_memory(chunk, sizes[value.tier]) == owner);
    drop(index, room);
    if (span->live > 0 && chunk) use_up(span, chunk->slots); /* what was fresh is open now */
    value.at  = memory;
    value.ref = to;
    CHECK((uintptr_t)slab__store_memory(chunk_of(&value), sizes[value.tier]) != owner);
    check_new_ref(&value);
    check_value(&value);
    occupy(&value);
    values[count]       = value;
    *name_of(value.ref) = ++count;
    account(&value, room_of(&value), +1);
    compaction.moves++;
    if (compaction.meddle == 0 || draw(compaction.meddle) != 0) return;
    if (draw(16) == 0) trim();
    else if (draw(2)) put(draw_len());
    else free_value(draw(count));
}

static void compact(void)
{
    size_t max = draw(3) ? draw(3) ? draw(4) : draw(100) : SIZE_MAX;

    CHECK_EQ(slab_store_compact(store, max, NULL, NULL), 0);
    compaction.moves  = 0;
    compaction.meddle = draw(3) ? 0 : 1 + draw(16);
    map_failed        = false;
    size_t moves      = slab_store_compact(store, max, on_moved, &compaction);
    CHECK_EQ(moves, compaction.moves);
    CHECK(moves <= max);
    if (moves == max || compaction.meddle != 0) return;
    for (uint32_t tier = 0; tier < tiers; tier++) CHECK(!is_sparse(tier));
    if (draw(8) == 0) check_all(); /* and nothing else has moved */
}

/* -- Phases -- */

static struct {
    uint32_t steps;
    uint32_t puts; /* percent */
    enum { ANY, SMALL, BIG, ONE } lens;
    enum { RANDOM, NEWEST, OLDEST } frees;
    uint32_t tier;         /* of ONE */
    uint32_t large_one_in; /* of the puts */
    uint32_t compact_one_in, evict_one_in;
} phase;

static void draw_phase(void)
{
    static const uint32_t puts[] = {100, 90, 55, 50, 45, 10, 0};

    phase.steps          = 1 + draw(draw(4) ? 500 : 10000);
    phase.puts           = puts[draw(7)];
    phase.lens           = draw(4);
    phase.frees          = draw(3);
    phase.tier           = draw(tiers);
    phase.large_one_in   = draw(8) ? 100 : 4;
    fail_one_in          = draw(6) ? 0 : 4;
    phase.compact_one_in = draw(3) ? 64 : draw(2) ? 8 : 1000;
    phase.evict_one_in   = draw(3) ? 10000 : 300;
    if (draw(16) == 0) phase.steps = VALUES, phase.puts = 0; /* all of them go */
}

static uint32_t draw_len(void)
{
    uint32_t few = 1 + tiers / 4, tier = draw(tiers);

    if (draw(phase.large_one_in) == 0)
        return slot_max + 1 + (draw(16) ? draw(3 * PAGE) : draw(LARGE_MAX));
    if (phase.lens == SMALL) tier = draw(few);
    if (phase.lens == BIG) tier = tiers - 1 - draw(few);
    if (phase.lens == ONE) tier = phase.tier;
    uint32_t low = tier ? sizes[tier - 1] + 1 : 0, high = sizes[tier], kind = draw(4);
    return kind == 0 ? low : kind == 1 ? high : low + draw(high - low + 1);
}

static uint32_t draw_victim(void)
{
    uint32_t end = 1 + draw(8);

    if (phase.frees == RANDOM || end > count) return draw(count);
    return phase.frees == NEWEST ? count - end : end - 1;
}

/* Calls on the store as it is; the oracle's cost stays in proportion to them. */
static void work(uint64_t steps)
{
    uint64_t next_check = 100;

    for (uint64_t step = 0; step < steps && !failed(); step++) {
        if (phase.steps-- == 0) draw_phase();
        bool full = count == VALUES || footprint > BYTES;
        if (count == 0 || (!full && draw(100) < phase.puts)) put(draw_len());
        else if (count > 0) free_value(draw_victim());
        check_forged();
        if (count > 0 && draw(16) == 0) replace_value(draw_victim(), draw_len());
        if (draw(phase.evict_one_in) == 0) evict(draw(4) ? draw(100000) : draw(2));
        if (draw(4096) == 0) walk();
        if (draw(4096) == 0) limit();
        if (draw(phase.compact_one_in) == 0) compact();
        if (draw(256) == 0) trim();
        check_cheaply();
        if (count == 0 && phase.puts == 0) phase.steps = 0;
        if (step < next_check) continue;
        check_all();
        next_check = step + 1000 + 2 * count;
    }
    check_all();
}

/* -- Shapes -- */

static int create(size_t max)
{
    slab_store_config config = {.tier_sizes = sizes, .tier_count = tiers, .max_bytes = max};

    max_bytes   = max;
    few_numbers = false;
    fail_one_in = 0;
    phase.steps = 0;
    memset(sums, 0, sizeof sums);
    large_capacity = 0;
    for (uint32_t i = 0; i < STALES; i++) stales[i].ref = SLAB_NO_REF;
    memset(&compaction, 0, sizeof compaction);
    return slab_store_create(&store, &config);
}

static void destroy(void)
{
    ending = true;
    slab_store_destroy(store);
    ending = false;
    CHECK_EQ(map_count, 0);
    CHECK_EQ(map_bytes, 0);
    if (count > 0) memset(names, 0, sizeof names);
    count     = 0;
    footprint = 0;
}

static void drain(void)
{
    struct slab_store_info info;

    while (count > 0 && !failed()) free_value(draw(count));
    CHECK_EQ(slab_store_compact(store, SIZE_MAX, on_moved, &compaction), 0);
    trim();
    slab_store_stats(store, &info);
    CHECK_EQ(info.capacity_bytes, 0);
    CHECK_EQ(info.held_bytes, info.metadata_bytes + info.empty_bytes);
}

static void set_shape(uint32_t tier_count, uint32_t step)
{
    tiers = tier_count;
    for (uint32_t i = 0; i < tiers; i++) sizes[i] = step * (i + 1);
    slot_max = sizes[tiers - 1];
    for (uint32_t len = 0, tier = 0; len <= slot_max; len++) {
        if (len > sizes[tier]) tier++;
        tier_for[len] = tier;
    }
}

static void set_sizes(uint32_t tier_count, const uint32_t *tier_sizes)
{
    set_shape(tier_count, 8);
    memcpy(sizes, tier_sizes, tier_count * sizeof *sizes);
    slot_max = sizes[tiers - 1];
    for (uint32_t len = 0, tier = 0; len <= slot_max; len++) {
        if (len > sizes[tier]) tier++;
        tier_for[len] = tier;
    }
}

/* The least max_bytes that create takes; it says so itself. */
static size_t smallest_budget(void)
{
    size_t max = PAGE;

    for (size_t step = PAGE; step > 0; step /= 16)
        for (;; max += step) {
            int error = create(max);
            if (error == 0) destroy();
            CHECK(error == 0 || (error == -EINVAL && store == NULL));
            if (error == 0 && step > 1) max -= step;
            if (error == 0) break;
        }
    return max;
}

/* Some budgets, one a round. */
static void run_rounds(uint64_t steps, uint64_t first)
{
    size_t   least     = smallest_budget();
    size_t   budgets[] = {0,       least,   least + PAGE,    least + 48 * PAGE,
                          1 << 20, 4 << 20, (8 << 20) + 4242};
    uint64_t done      = 0, length;

    for (uint64_t round = first; done < steps && !failed(); round++, done += length) {
        uint64_t seed = random_state;
        length        = 2000 + draw(20000);
        if (length > steps - done) length = steps - done;
        CHECK_EQ(create(budgets[round % 7]), 0);
        if (!store) return;
        if (round % 5 == 4) {
            few_numbers = true;
            store->segment_most = 1 + draw(3);
            for (uint32_t i = store->segment_most; i < SLAB__SEGMENTS; i++)
                slab__store_top_clear(store, slab__store_gone(store), i);
        }
        work(length);
        if (draw(2) && !failed()) drain();
        if (failed())
            printf("# %u tiers up to %u, budget %zu, round %llu, random state %llx\n", tiers,
                   slot_max, max_bytes, (unsigned long long)round, (unsigned long long)seed);
        destroy();
    }
}

static const struct shape {
    const char *name;
    uint32_t    tiers, step; /* multiples of it; 0: the sizes */
    uint32_t    sizes[7];
    uint32_t    share; /* of the ops */
} shapes[] = {
    {"the default tiers", 7, 0, {64, 128, 256, 512, 1024, 2048, 4096}, 2},
    {"one tier of 8", 1, 8, {0}, 8},
    {"one tier of 65536", 1, 65536, {0}, 1},
    {"one tier of 1000", 1, 1000, {0}, 1},
    {"8 and 65536", 2, 0, {8, 65536}, 1},
    {"odd multiples of 8", 4, 0, {24, 72, 4104, 40000}, 2},
    {"halves of a chunk", 2, 0, {21840, 32768}, 1},
    {"7 tiers", 7, 120, {0}, 1},
    {"8 tiers", 8, 24, {0}, 2},
    {"15 tiers", 15, 512, {0}, 1},
    {"16 tiers", 16, 72, {0}, 1},
    {"31 tiers", 31, 2112, {0}, 1},
    {"32 tiers", 32, 2048, {0}, 1},
    {"63 tiers", 63, 8, {0}, 1},
    {"63 tiers up to 65520", 63, 1040, {0}, 1},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static uint32_t shape_at;

static void set_shape_at(uint32_t at)
{
    if (shapes[at].step) set_shape(shapes[at].tiers, shapes[at].step);
    else set_sizes(shapes[at].tiers, shapes[at].sizes);
}

static void one_shape(void)
{
    uint64_t shares = 0;

    for (uint32_t i = 0; i < SHAPES; i++) shares += shapes[i].share;
    set_shape_at(shape_at);
    run_rounds(ops * shapes[shape_at].share / shares, shape_at);
}

/* -- What is not left to chance -- */

/* Each length, in a slot that was full of noise just before. Of long ones all if there is time. */
static void every_length(void)
{
    for (uint32_t at = 0; at < SHAPES && !failed(); at++) {
        set_shape_at(at);
        CHECK_EQ(create(0), 0);
        for (uint32_t len = 0; len <= slot_max + 9 && !failed(); len++) {
            uint32_t room = len > slot_max ? len : sizes[tier_for[len]];
            bool     edge =
                len < 600 || room - len < 9 || len > slot_max || room != sizes[tier_for[len - 1]];
            if (ops < SLOW_FROM && !edge && len % 509 != 0) continue;
            CHECK(put(room));
            while (count > 0 && !failed()) free_value(0);
            CHECK(put(len));
            while (count > 0 && !failed()) free_value(0);
        }
        check_all();
        destroy();
    }
}

/* A store that create has made takes a value of any tier, and, empty again, of any other. */
static void the_smallest_budget_will_do(void)
{
    for (uint32_t at = 0; at < SHAPES && !failed(); at++) {
        set_shape_at(at);
        CHECK_EQ(create(smallest_budget()), 0);
        for (uint32_t i = 0; i < 3 * tiers && !failed(); i++) {
            uint32_t tier = i < tiers ? i : i < 2 * tiers ? 2 * tiers - 1 - i : draw(tiers);
            CHECK(put(sizes[tier]));
            if (count > 0) free_value(0);
        }
        if (failed()) printf("# %s, budget %zu\n", shapes[at].name, max_bytes);
        destroy();
    }
}

int main(int argc, char **argv)
{
    if (argc > 1) ops = strtoull(argv[1], NULL, 10);
    random_state = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
    for (size_t i = 0; i < sizeof noise; i++) noise[i] = (unsigned char)(1 + draw(255));
    for (shape_at = 0; shape_at < SHAPES; shape_at++) check_run(shapes[shape_at].name, one_shape);
    RUN(every_length);
    RUN(the_smallest_budget_will_do);
    return REPORT();
}
