/* Goal: no sequence of calls makes slab_store break its word: good calls, stale and forged refs,
 * wrong lens, memory that the system refuses, limits and tiers that change, moves whose callback
 * calls the store.
 * Method: the first bytes of the input choose the config, good or bad; the others are calls of one
 * to six bytes, against an oracle of the live values. What is wrong aborts.
 *
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined slab_store_fuzz.c -o fuzz && ./fuzz
 *     cc -g -O1 -DSTANDALONE slab_store_fuzz.c -o fuzz && ./fuzz FILE ...
 *                                                      && ./fuzz -SEED RUNS    (random inputs)
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

static void *test_map(size_t size);
static void  test_unmap(void *memory, size_t size);
#ifndef WITHOUT_DISCARD
static int test_discard(void *memory, size_t size);
#endif
#define SLAB_MAP(size)           test_map(size)
#define SLAB_UNMAP(memory, size) test_unmap(memory, size)
#ifndef WITHOUT_DISCARD
#define SLAB_DISCARD(memory, size) test_discard(memory, size)
#endif
#define SLAB_IMPLEMENTATION
#include "../../slab.h"

#define REQUIRE(x) ((x) ? (void)0 : fail(#x, __LINE__))

static void fail(const char *what, int line)
{
    fprintf(stderr, "slab_store_fuzz.c:%d: %s\n", line, what);
    abort();
}

enum {
    VALUES    = 2048,
    NOISE     = 1 << 20,
    LARGE_MAX = NOISE - 65536 - 4096,
    DEPTH     = 3,        /* compact in a callback of compact */
    BYTES     = 64 << 20, /* to map at once; then the system has no more */
    SIZES     = 48,       /* of a histogram */
};

/* -- The input -- */

static const uint8_t *input;
static size_t         input_left;

static uint32_t byte(void)
{
    if (input_left == 0) return 0;
    input_left--;
    return *input++;
}

static uint32_t word(void)
{
    uint32_t high = byte();
    return high << 8 | byte();
}

/* -- The system's memory -- */

static size_t   mapped, mappings, discarded;
static uint32_t maps_till_failure, failures; /* after so many maps, so many fail */
static bool     map_failed;

static void *test_map(size_t size)
{
    bool fails = mapped + size > BYTES;

    if (maps_till_failure > 0) maps_till_failure--;
    else if (failures > 0) {
        failures--;
        fails = true;
    }
    map_failed |= fails;
    if (fails) return NULL;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    mapped += size;
    mappings++;
    return memory;
}

static void test_unmap(void *memory, size_t size)
{
    REQUIRE(munmap(memory, size) == 0);
    mapped -= size;
    mappings--;
}

#ifndef WITHOUT_DISCARD
/* Fails while maps do. Not all qemus know MADV_DONTNEED. */
static int test_discard(void *memory, size_t size)
{
    if (maps_till_failure == 0 && failures > 0) return -1;
    REQUIRE(mmap(memory, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                 0) == memory);
    discarded += size;
    return 0;
}
#endif

/* -- The oracle -- */

struct value {
    unsigned char *at;
    slab_ref       ref;
    uint32_t       len;
    uint32_t       bytes; /* where in the noise they begin */
};

static slab_store   *store;
static uint32_t      sizes[256], tiers;
static size_t        max_bytes, most_held; /* which is more, since limit lowered max_bytes */
static struct value  values[VALUES];
static uint32_t      count, made, depth;
static size_t        payload;
static bool          meddled;
static bool          retiered; /* since then, other lengths may be good, too */
static unsigned char noise[NOISE]; /* no byte of it is 0 */

static uint32_t find(slab_ref ref)
{
    uint32_t index = 0;

    while (index < count && values[index].ref != ref) index++;
    return index;
}

static uint32_t tier_of(size_t len)
{
    uint32_t tier = 0;

    while (tier < tiers && sizes[tier] < len) tier++;
    return tier;
}

static void check_value(const struct value *value)
{
    bool   large = slab_ref_is_large(value->ref);
    size_t room  = large ? (value->len + 511) / 512 * 512 : sizes[tier_of(value->len)];

    if (retiered) room = (value->len + 7) / 8 * 8;
    REQUIRE(slab_store_get(store, value->ref, value->len) == value->at);
    REQUIRE(memcmp(value->at, noise + value->bytes, value->len) == 0);
    for (size_t i = value->len; i < room; i++) REQUIRE(value->at[i] == 0);
    REQUIRE((uintptr_t)value->at % (large ? 512 : room % 64 == 0 && !retiered ? 64 : 8) == 0);
}

static void check_stats(void)
{
    struct slab_store_info info;
    struct slab_tier_info  tier;
    uint32_t               occupied = 0;

    slab_store_stats(store, &info);
    for (uint32_t i = 0; i < tiers; i++) {
        REQUIRE(slab_store_tier_stats(store, i, &tier) == 0);
        REQUIRE(tier.occupied_slots <= tier.total_slots);
        occupied += tier.occupied_slots;
    }
    REQUIRE(slab_store_tier_stats(store, tiers, &tier) == -EINVAL);
    REQUIRE(occupied + info.large_count == count || (info.retired_bytes > 0 && occupied < count));
    REQUIRE(info.payload_bytes == payload);
    REQUIRE(info.used_bytes >= payload && info.capacity_bytes >= info.used_bytes);
    REQUIRE(info.held_bytes == mapped);
    if (most_held > mapped) most_held = mapped > max_bytes ? mapped : max_bytes;
    REQUIRE(max_bytes == 0 || mapped <= most_held);
    REQUIRE(mapped ==
            info.capacity_bytes + info.metadata_bytes + info.empty_bytes + info.lost_bytes);
}

static void check_all(void)
{
    for (uint32_t i = 0; i < count; i++) check_value(&values[i]);
    check_stats();
}

/* -- Calls -- */

static uint32_t draw_len(void)
{
    uint32_t kind = byte(), tier = byte() % tiers, size = sizes[tier];

    if (kind < 64) return size;
    if (kind < 128) return size - 7 + kind % 16; /* around the edge; of the largest, above it */
    if (kind < 250) return size - (kind * 131 % size);
    if (kind < 254) return sizes[tiers - 1] + kind * 64;
    return word() * 16 % LARGE_MAX;
}

static void put(uint32_t len)
{
    struct value value = {.len = len, .bytes = made++ * 37 % 65536};
    int          error = 0;

    if (count == VALUES) return;
    map_failed = false;
    if (made % 2) {
        error    = slab_store_put(store, noise + value.bytes, len, &value.ref);
        value.at = (unsigned char *)(uintptr_t)slab_store_get(store, value.ref, len);
        REQUIRE((error == 0) == (value.at != NULL));
    } else if ((value.at = (unsigned char *)slab_store_alloc(store, len, &value.ref)))
        memcpy(value.at, noise + value.bytes, len);
    if (!value.at) {
        REQUIRE(value.ref == SLAB_NO_REF);
        REQUIRE(error == 0 || error == -ENOSPC || error == -ENOMEM);
        REQUIRE(error != -ENOSPC || max_bytes != 0);
        REQUIRE(map_failed || max_bytes != 0);
        check_stats();
        return;
    }
    REQUIRE(find(value.ref) == count);
    REQUIRE(slab_ref_is_large(value.ref) == (len > sizes[tiers - 1]));
    check_value(&value);
    values[count++] = value;
    payload += len;
}

static void drop(uint32_t index)
{
    payload -= values[index].len;
    values[index] = values[--count];
}

static void free_value(uint32_t index)
{
    struct value value = values[index];

    check_value(&value);
    drop(index);
    REQUIRE(slab_store_free(store, value.ref, value.len) == 0);
    REQUIRE(slab_store_get(store, value.ref, value.len) == NULL);
    REQUIRE(slab_store_free(store, value.ref, value.len) == -ESTALE);
}

/* Any ref with any len: what is live says so, all else is refused. */
static void forge(void)
{
    slab_ref ref  = word() << 16 | word();
    uint32_t kind = byte(), at = byte();

    if (count > 0 && kind < 200)
        ref = values[at % count].ref ^ (kind < 100 ? kind : 1u << kind % 32);
    size_t   len   = kind % 2 ? sizes[at % tiers] - at % 8 : word();
    uint32_t index = find(ref);
    bool     good  = false;
    if (index < count) {
        bool large = slab_ref_is_large(ref);
        good       = large ? len == values[index].len : tier_of(len) == tier_of(values[index].len);
    }
    bool found = slab_store_get(store, ref, len) != NULL;
    REQUIRE(found == good || (retiered && index < count));
    if (!found) REQUIRE(slab_store_free(store, ref, len) == -ESTALE);
}

static void call(void);

static void on_moved(void *context, slab_ref from, slab_ref to, void *memory, size_t room)
{
    uint32_t      index = find(from);
    struct value *value = &values[index];

    REQUIRE(context == &depth);
    REQUIRE(index < count && !slab_ref_is_large(from) && find(to) == count);
    REQUIRE(slab_store_get(store, from, value->len) == NULL);
    REQUIRE(room >= value->len && slab_store_get(store, to, room) == memory);
    value->ref = to;
    value->at  = (unsigned char *)memory;
    check_value(value);
    if (byte() % 4 != 0) return;
    meddled = true;
    call();
}

/* Nothing is left to be gained: not as many free slots as a chunk has, and a 64th of all. */
static void check_dense(const slab__tier *tier)
{
    uint32_t whole = slab__store_whole(store, tier->slot_size) / tier->slot_size;
    REQUIRE(tier->occupied == 0 || tier->slots - tier->occupied < whole + tier->slots / 64);
}

static void compact(void)
{
    uint32_t kind   = byte();
    size_t   max    = kind < 128 ? kind : SIZE_MAX;
    bool     before = meddled;

    struct slab_store_info info;
    if (depth == DEPTH) return;
    if (depth == 0) map_failed = false;
    depth++;
    meddled      = false;
    size_t moves = slab_store_compact(store, max, kind % 64 == 63 ? NULL : on_moved, &depth);
    depth--;
    REQUIRE(moves <= max);
    for (uint32_t i = 0; i < tiers && moves < max && !meddled && kind % 64 != 63; i++)
        check_dense(&store->tiers[store->order[i]]);
    slab_store_stats(store, &info);
    if (moves < max && !meddled && kind % 64 != 63 && max_bytes == 0 && !map_failed)
        REQUIRE(info.retired_bytes == 0);
    meddled |= before;
}

static void trim(void)
{
    size_t before = mapped, bytes = discarded;
    size_t given = slab_store_trim(store);

    REQUIRE(given == before - mapped + discarded - bytes);
}

static void replace(uint32_t index)
{
    struct value *value = &values[index], old = *value;
    uint32_t      kind = byte(), bytes = old.bytes;
    uint32_t      len = kind % 2 ? draw_len() : old.len - kind % 16;

    if (len > LARGE_MAX) return;
    map_failed = false;
    if (kind % 4 == 0) { /* only the length */
        uint32_t shorter = len < old.len ? len : old.len;
        int      error   = slab_store_set_len(store, old.ref, old.len, shorter);
        REQUIRE(error == 0 || error == -EMSGSIZE);
        if (error == 0) value->len = shorter;
    } else {
        bytes     = kind % 8 == 1 ? old.bytes : made++ * 37 % 65536;
        int error = slab_store_replace(store, &value->ref, old.len, noise + bytes, len);
        REQUIRE(error == 0 || error == -ENOSPC || error == -ENOMEM);
        REQUIRE(error != -ENOSPC || max_bytes != 0);
        if (error == 0) *value = (struct value){NULL, value->ref, len, bytes};
        else REQUIRE(value->ref == old.ref);
    }
    value->at = (unsigned char *)(uintptr_t)slab_store_get(store, value->ref, value->len);
    payload = payload - old.len + value->len;
    check_value(value);
    if (value->ref != old.ref) REQUIRE(slab_store_free(store, old.ref, old.len) == -ESTALE);
}

/* Every live value is walked to once. */
static void walk(void)
{
    uint64_t    cursor = 0;
    const void *value;
    size_t      room;
    uint32_t    walked = 0;

    for (slab_ref ref; (ref = slab_store_next(store, &cursor, &value, &room)) != SLAB_NO_REF;
         walked++) {
        uint32_t index = find(ref);
        REQUIRE(index < count && value == values[index].at && room >= values[index].len);
    }
    REQUIRE(walked == count);
}

static void get_many(void)
{
    slab_ref    refs[64];
    size_t      lens[64];
    const void *found[64];
    uint32_t    wanted = byte() % 65;

    for (uint32_t i = 0; i < wanted; i++) {
        uint32_t kind = byte();
        refs[i]       = kind % 4 == 0 || count == 0 ? word() : values[kind % count].ref;
        lens[i]       = kind % 4 == 0 || count == 0 ? kind : values[kind % count].len;
    }
    slab_store_get_many(store, refs, lens, found, wanted);
    for (uint32_t i = 0; i < wanted; i++) {
        slab_store_prefetch(store, refs[i], lens[i]);
        REQUIRE(found[i] == slab_store_get(store, refs[i], lens[i]));
    }
}

static size_t on_evicted(void *context, slab_ref ref, const void *memory, size_t room)
{
    uint32_t index = find(ref);
    size_t   len   = index < count ? values[index].len : 0;

    REQUIRE(context == &depth && index < count && memory == values[index].at && room >= len);
    check_value(&values[index]);
    drop(index);
    if (byte() % 4 == 1 && count > 0) free_value(word() % count);
    return len;
}

static void evict(void)
{
    size_t bytes = (size_t)word() * (byte() + 1u) / 16;
    size_t freed = slab_store_evict(store, bytes, on_evicted, &depth);

    REQUIRE(freed >= bytes || count == 0);
}

static void limit(void)
{
    uint32_t kind  = byte();
    size_t   bytes = kind % 4 == 0 ? 0 : mapped / 128 * kind;
    int      error = slab_store_limit(store, bytes);

    REQUIRE(error == 0 || (error == -EINVAL && bytes != 0));
    if (error) return;
    max_bytes = bytes;
    most_held = mapped > bytes ? mapped : bytes;
}

static void retier(void)
{
    uint32_t wanted[64], kind = byte(), number = byte() % 65, size = 0;

    if (kind % 4 != 0) number %= 8;
    for (uint32_t i = 0; i < number; i++) {
        size += kind % 3 == 0 ? 64 : 8 * (1 + byte());
        wanted[i] = kind % 8 == 1 ? word() : size;
        if (kind % 8 == 2 && i < tiers) wanted[i] = sizes[i];
    }
    int  error = slab_store_retier(store, wanted, number);
    bool good  = slab__are_tiers(wanted, number);
    REQUIRE(good == (error != -EINVAL));
    REQUIRE(error == 0 || error == -EINVAL || error == -ENOMEM || error == -EBUSY ||
            (error == -ENOSPC && max_bytes != 0));
    if (error) return;
    memcpy(sizes, wanted, sizeof wanted);
    tiers    = number;
    retiered = true;
}

/* -- slab_fit_tiers, against the plain dynamic programming -- */

static uint64_t waste_of(uint32_t from, uint32_t to, const uint32_t *at, const uint64_t *counts)
{
    uint64_t sum = 0;

    for (uint32_t i = from; i < to; i++) sum += counts[i];
    return sum * ((at[to - 1] + 7) / 8 * 8);
}

static uint64_t least_bytes(const uint32_t *at, const uint64_t *counts, uint32_t n, uint32_t wanted)
{
    uint64_t bytes[SIZES + 1], next[SIZES + 1];

    for (uint32_t i = 0; i <= n; i++) bytes[i] = i ? UINT64_MAX : 0;
    for (uint32_t tier = 0; tier < wanted; tier++) {
        memcpy(next, bytes, sizeof next);
        for (uint32_t to = 1; to <= n; to++)
            for (uint32_t from = 0; from < to; from++) {
                if (bytes[from] == UINT64_MAX) continue;
                uint64_t all = bytes[from] + waste_of(from, to, at, counts);
                if (all < next[to]) next[to] = all;
            }
        memcpy(bytes, next, sizeof bytes);
    }
    return bytes[n];
}

static void fit(void)
{
    uint32_t at[SIZES] = {0}, fitted[256], n = byte() % SIZES, wanted = byte(), last = 0;
    uint64_t counts[SIZES] = {0}, bytes = 0;
    bool     good = n > 0 && wanted > 0;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t step = byte();
        at[i]         = last + (step < 250 ? step : word() * 2);
        counts[i]     = step % 3 ? byte() : (uint64_t)word() << 24;
        good &= at[i] > last && at[i] <= 65536;
        last = at[i];
    }
    map_failed      = false;
    uint32_t result = slab_fit_tiers(at, counts, n, fitted, wanted);
    REQUIRE(result == 0 || good);
    REQUIRE(result != 0 || !good || map_failed);
    if (result == 0) return;
    REQUIRE(result <= wanted && result <= 63 && slab__are_tiers(fitted, result));
    REQUIRE(fitted[result - 1] >= at[n - 1]);
    for (uint32_t i = 0, tier = 0; i < n; i++) {
        while (fitted[tier] < at[i]) tier++;
        bytes += counts[i] * fitted[tier];
    }
    REQUIRE(bytes == least_bytes(at, counts, n, wanted < 63 ? wanted : 63));
}

/* -- All together -- */

static void more(uint32_t kind)
{
    if (kind < 3) retier();
    else if (kind < 5) evict();
    else if (kind < 7) limit();
    else if (kind < 8) walk();
    else if (kind < 10) get_many();
    else if (kind < 13) fit();
    else check_all();
}

static void call(void)
{
    uint32_t op = byte(), times = 1 + op / 16;

    switch (op % 16) {
    case 0:
    case 1:
        put(draw_len());
        break;
    case 2:
        if (count > 0) replace(word() % count);
        break;
    case 3:
        times *= times;
        for (uint32_t len = draw_len(); times > 0 && len < 70000; times--) put(len);
        break;
    case 4:
    case 5:
    case 6:
        if (count > 0) free_value(word() % count);
        break;
    case 7: /* a run of them, or one in so many */
        for (uint32_t i = word(), step = byte() % 8; times > 0 && count > 0; times--, i += step)
            free_value(i % count);
        break;
    case 8:
        while (count > times * 4) free_value((count - 1) / 2);
        break;
    case 9:
    case 10:
        forge();
        break;
    case 11:
    case 12:
        compact();
        break;
    case 13:
        trim();
        break;
    case 14:
        maps_till_failure = byte() % 8;
        failures          = times;
        break;
    default:
        more(times);
        break;
    }
    check_stats();
}

/* False: the config is bad, and create has said so. */
static bool create(void)
{
    uint32_t          kind = byte(), size = 0;
    slab_store_config config = {.tier_sizes = sizes, .tier_count = byte() % 66};

    if (kind % 4 == 0) config.tier_count = 7;
    tiers         = config.tier_count;
    uint32_t step = kind % 4 == 2 ? word() : 0;
    for (uint32_t i = 0; i < tiers; i++) {
        size += kind % 4 == 1 ? 8 * (1 + byte()) : kind % 4 == 2 ? step : word();
        sizes[i] = kind % 4 == 0 ? 64u << i : size;
    }
    if (kind % 4 == 0) config.tier_sizes = NULL;
    config.max_bytes = kind & 16 ? 0 : 65536 + 256 * word();
    if (kind & 32) config.max_bytes /= 8;
    max_bytes = most_held = config.max_bytes;
    retiered          = false;
    maps_till_failure = 0;
    failures          = kind >> 6 == 3;
    int  error        = slab_store_create(&store, &config);
    bool good         = slab__are_tiers(sizes, tiers);
    REQUIRE((error == 0) == (store != NULL));
    REQUIRE(error == 0 || error == -EINVAL || (error == -ENOMEM && kind >> 6 == 3));
    REQUIRE(good || error == -EINVAL);
    REQUIRE(!good || error != -EINVAL || (max_bytes != 0 && max_bytes < (1 << 18)));
    failures = 0;
    return error == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < NOISE && noise[0] == 0; i++)
        noise[NOISE - 1 - i] = (unsigned char)(1 + i * i / 7 % 255);
    input      = data;
    input_left = size;
    count      = 0;
    payload    = 0;
    made       = 0;
    if (!create()) {
        REQUIRE(mappings == 0);
        return 0;
    }
    while (input_left > 0) call();
    check_all();
    if (made % 4 == 0) {
        while (count > 0) free_value(count / 2);
        trim();
        struct slab_store_info info;
        slab_store_stats(store, &info);
        REQUIRE(info.retired_bytes == 0);
        REQUIRE(info.held_bytes == info.metadata_bytes + info.empty_bytes &&
                info.capacity_bytes == 0);
    }
    slab_store_destroy(store);
    REQUIRE(mapped == 0 && mappings == 0);
    return 0;
}

#ifdef STANDALONE
static uint8_t bytes[1 << 16];

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

int main(int argc, char **argv)
{
    if (argc > 2 && argv[1][0] == '-') {
        uint64_t state = strtoull(argv[1] + 1, NULL, 10) * 2 + 1;
        for (long run = atol(argv[2]); run > 0; run--) {
            size_t size = next_random(&state) % 4096;
            for (size_t i = 0; i < size; i++) bytes[i] = (uint8_t)(next_random(&state) >> 32);
            LLVMFuzzerTestOneInput(bytes, size);
        }
        return 0;
    }
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        if (!file) return 1;
        LLVMFuzzerTestOneInput(bytes, fread(bytes, 1, sizeof bytes, file));
        fclose(file);
    }
    return 0;
}
#endif
