/* What a cache does with a slab_store beyond put, get and free: it replaces values, walks through
 * them, evicts, changes the limit, and reads in batches.
 *
 * Method: small stores whose content is known value by value; every value carries its number, so
 * that each callback and each read can tell what it must be. */
#define SLAB_IMPLEMENTATION
#include "../../slab.h"

#include "../check.h"

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { VALUES = 20000, LONGEST = 6000 };

static struct item {
    slab_ref ref;
    uint32_t len; /* 0: does not live */
    uint8_t  seen;
} items[VALUES];
static slab_store   *store;
static uint64_t      state;
static unsigned char data[1 << 20];

static uint32_t draw(uint32_t below) { return (uint32_t)(check_random(&state) % below); }

static struct slab_store_info stats(void)
{
    struct slab_store_info info;
    slab_store_stats(store, &info);
    CHECK_EQ(info.held_bytes,
             info.capacity_bytes + info.metadata_bytes + info.empty_bytes + info.lost_bytes);
    return info;
}

/* The value of an item: its number, then bytes that depend on it. */
static const void *fill(uint32_t number, uint32_t len)
{
    memset(data, (int)(number % 251), len);
    memcpy(data, &number, sizeof number);
    return data;
}

static bool is_whole(const void *value, uint32_t number, uint32_t len)
{
    const unsigned char *bytes = (const unsigned char *)value;
    return value && memcmp(value, fill(number, len), len) == 0 &&
           (len % 8 == 0 || bytes[len] == 0);
}

static void put(uint32_t number, uint32_t len)
{
    CHECK_EQ(slab_store_put(store, fill(number, len), len, &items[number].ref), 0);
    items[number].len = len;
}

static void open_store(size_t max_bytes)
{
    slab_store_config config = {.max_bytes = max_bytes};
    memset(items, 0, sizeof items);
    state = 7;
    CHECK_EQ(slab_store_create(&store, &config), 0);
}

static void check_items(uint32_t count)
{
    size_t payload = 0;

    for (uint32_t i = 0; i < count; i++) {
        if (items[i].len == 0) continue;
        CHECK(is_whole(slab_store_get(store, items[i].ref, items[i].len), i, items[i].len));
        payload += items[i].len;
    }
    CHECK_EQ(stats().payload_bytes, payload);
}

static void close_store(void)
{
    for (uint32_t i = 0; i < VALUES; i++)
        if (items[i].len != 0) CHECK_EQ(slab_store_free(store, items[i].ref, items[i].len), 0);
    CHECK_EQ(stats().payload_bytes, 0);
    slab_store_destroy(store);
}

/* -- Replace -- */

static void replaces_in_place_within_a_tier(void)
{
    open_store(0);
    put(1, 100);
    slab_ref ref = items[1].ref;
    for (uint32_t len = 65; len <= 128; len++) {
        uint32_t before = items[1].len;
        CHECK_EQ(slab_store_replace(store, &items[1].ref, before, fill(1, len), len), 0);
        CHECK_EQ(items[1].ref, ref);
        items[1].len = len;
        check_items(2);
    }
    CHECK_EQ(slab_store_replace(store, &items[1].ref, 128, fill(1, 66), 66), 0);
    items[1].len = 66;
    const unsigned char *value = (const unsigned char *)slab_store_get(store, ref, 66);
    for (uint32_t i = 66; i < 128; i++) CHECK_EQ(value[i], 0);
    close_store();
}

static void replaces_across_tiers(void)
{
    open_store(0);
    put(1, 100);
    for (uint32_t len = 1; len < sizeof data / 2; len = len * 3 + 1) {
        uint32_t real = len < 4 ? 4 : len, before = items[1].len;
        slab_ref ref = items[1].ref;
        CHECK_EQ(slab_store_replace(store, &items[1].ref, before, fill(1, real), real), 0);
        items[1].len = real;
        if (items[1].ref != ref) CHECK(!slab_store_get(store, ref, before));
        check_items(2);
    }
    close_store();
}

/* Large objects stay where they are as long as they need as much memory. */
static void replaces_large_objects(void)
{
    open_store(0);
    put(1, 70000);
    slab_ref ref = items[1].ref;
    CHECK_EQ(slab_store_replace(store, &items[1].ref, 70000, fill(1, 70010), 70010), 0);
    CHECK_EQ(items[1].ref, ref);
    items[1].len = 70010;
    check_items(2);
    CHECK(!slab_store_get(store, ref, 70000));
    CHECK_EQ(slab_store_replace(store, &items[1].ref, 70010, fill(1, 200), 200), 0);
    CHECK(!slab_ref_is_large(items[1].ref));
    items[1].len = 200;
    check_items(2);
    close_store();
}

static void replaces_with_bytes_of_the_value_itself(void)
{
    open_store(0);
    put(1, 4000);
    unsigned char *value = (unsigned char *)(uintptr_t)slab_store_get(store, items[1].ref, 4000);
    for (uint32_t i = 0; i < 4000; i++) value[i] = (unsigned char)(i / 16);
    CHECK_EQ(slab_store_replace(store, &items[1].ref, 4000, value + 800, 3000), 0);
    CHECK(slab_store_get(store, items[1].ref, 3000) == value);
    for (uint32_t i = 0; i < 3000; i++) CHECK_EQ(value[i], (unsigned char)((i + 800) / 16));
    for (uint32_t i = 3000; i < 4096; i++) CHECK_EQ(value[i], 0);
    CHECK_EQ(slab_store_replace(store, &items[1].ref, 3000, value + 16, 100), 0);
    const unsigned char *moved = (const unsigned char *)slab_store_get(store, items[1].ref, 100);
    for (uint32_t i = 0; moved && i < 100; i++) CHECK_EQ(moved[i], (unsigned char)((i + 816) / 16));
    items[1].len = 100;
    close_store();
}

static void a_replace_that_fails_changes_nothing(void)
{
    slab_ref ref, none = SLAB_NO_REF;
    uint32_t count = 0;

    open_store(1 << 20);
    while (count < VALUES && slab_store_put(store, fill(count, 60), 60, &items[count].ref) == 0)
        items[count++].len = 60;
    CHECK(count > 1000);
    ref = items[5].ref;
    CHECK_EQ(slab_store_replace(store, &items[5].ref, 60, fill(5, 3000), 3000), -ENOSPC);
    CHECK_EQ(items[5].ref, ref);
    CHECK_EQ(slab_store_replace(store, &items[5].ref, 70, fill(5, 60), 60), -ESTALE);
    CHECK_EQ(slab_store_replace(store, &items[5].ref, 60, NULL, 60), -EINVAL);
    CHECK_EQ(slab_store_replace(store, NULL, 60, data, 60), -EINVAL);
    CHECK_EQ(slab_store_replace(NULL, &items[5].ref, 60, data, 60), -EINVAL);
    CHECK_EQ(slab_store_replace(store, &none, 60, data, 60), -ESTALE);
    CHECK_EQ(none, SLAB_NO_REF);
    check_items(count);
    close_store();
}

static void sets_the_length_within_a_tier(void)
{
    open_store(0);
    put(1, 100);
    put(2, 9000);
    const unsigned char *value = (const unsigned char *)slab_store_get(store, items[1].ref, 100);
    CHECK_EQ(slab_store_set_len(store, items[1].ref, 100, 70), 0);
    for (uint32_t i = 70; i < 128; i++) CHECK_EQ(value[i], 0);
    CHECK_EQ(slab_store_set_len(store, items[1].ref, 70, 128), 0);
    for (uint32_t i = 70; i < 128; i++) CHECK_EQ(value[i], 0);
    CHECK(slab_store_get(store, items[1].ref, 128) == value);
    CHECK_EQ(stats().payload_bytes, 9128);
    CHECK_EQ(slab_store_set_len(store, items[1].ref, 128, 129), -EMSGSIZE);
    CHECK_EQ(slab_store_set_len(store, items[1].ref, 128, 64), -EMSGSIZE);
    CHECK_EQ(slab_store_set_len(store, items[1].ref, 128, SIZE_MAX), -EMSGSIZE);
    CHECK_EQ(slab_store_set_len(store, items[1].ref, 64, 100), -ESTALE);
    CHECK_EQ(slab_store_set_len(store, SLAB_NO_REF, 100, 100), -ESTALE);
    CHECK_EQ(slab_store_set_len(NULL, items[1].ref, 100, 100), -EINVAL);
    items[1].len = 128;
    CHECK_EQ(slab_store_set_len(store, items[2].ref, 9000, 9001), 0);
    CHECK_EQ(slab_store_set_len(store, items[2].ref, 9000, 9001), -ESTALE);
    CHECK_EQ(slab_store_set_len(store, items[2].ref, 9001, 200), -EMSGSIZE);
    items[2].len = 9001;
    close_store();
}

/* -- Batches -- */

static void gets_many_at_once(void)
{
    static slab_ref    refs[VALUES];
    static size_t      lens[VALUES];
    static const void *values[VALUES];

    open_store(0);
    for (uint32_t i = 0; i < VALUES; i++) {
        put(i, 4 + draw(i % 97 == 0 ? LONGEST : 300));
        refs[i] = items[i].ref;
        lens[i] = items[i].len;
    }
    CHECK_EQ(slab_store_get_many(store, refs, lens, values, VALUES), VALUES);
    for (uint32_t i = 0; i < VALUES; i++) CHECK(is_whole(values[i], i, items[i].len));
    for (uint32_t i = 0; i < VALUES; i += 3) refs[i] = i % 2 ? SLAB_NO_REF : draw(UINT32_MAX);
    for (uint32_t i = 0; i < VALUES; i++) {
        size_t found = slab_store_get_many(store, refs + i, lens + i, values + i, 1);
        CHECK(values[i] == slab_store_get(store, refs[i], lens[i]));
        CHECK_EQ(found, values[i] != NULL);
        slab_store_prefetch(store, refs[i], lens[i]);
    }
    CHECK_EQ(slab_store_get_many(store, refs, lens, values, 0), 0);
    CHECK_EQ(slab_store_get_many(NULL, refs, lens, values, 1), 0);
    CHECK_EQ(slab_store_get_many(store, NULL, lens, values, 1), 0);
    CHECK_EQ(slab_store_get_many(store, refs, NULL, values, 1), 0);
    CHECK_EQ(slab_store_get_many(store, refs, lens, NULL, 1), 0);
    slab_store_prefetch(NULL, 0, 0);
    close_store();
}

static void peeks_without_a_length(void)
{
    size_t room = 0;

    open_store(0);
    for (uint32_t i = 0; i < VALUES; i++) put(i, 4 + draw(i % 97 == 0 ? LONGEST : 300));
    for (uint32_t i = 0; i < VALUES; i++) {
        const void *value = slab_store_get(store, items[i].ref, items[i].len);
        CHECK(slab_store_peek(store, items[i].ref, &room) == value);
        CHECK(slab_ref_is_large(items[i].ref) ? room == items[i].len : room >= items[i].len);
        CHECK(slab_store_peek(store, items[i].ref, NULL) == value);
        CHECK(!slab_store_peek(store, items[i].ref ^ 0x80000000u, &room)); /* the other kind */
    }
    for (uint32_t i = 0; i < VALUES; i += 2) {
        CHECK_EQ(slab_store_free(store, items[i].ref, items[i].len), 0);
        items[i].len = 0;
        CHECK(!slab_store_peek(store, items[i].ref, &room));
    }
    CHECK(!slab_store_peek(store, SLAB_NO_REF, &room));
    CHECK(!slab_store_peek(NULL, items[1].ref, &room));
    for (int i = 0; i < 100000; i++) (void)slab_store_peek(store, draw(UINT32_MAX), &room);
    close_store();
}

static void *read_all(void *wrong)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < VALUES; i++) {
        const void *value, *again;
        size_t      len = items[i].len;
        uint32_t    number;
        slab_store_prefetch(store, items[i].ref, len);
        CHECK_EQ(slab_store_get_many(store, &items[i].ref, &len, &again, 1), 1);
        value = slab_store_get(store, items[i].ref, len);
        memcpy(&number, value, sizeof number);
        count += number != i || again != value;
    }
    *(uint32_t *)wrong = count;
    return NULL;
}

/* ThreadSanitizer would report a get that writes. */
static void several_threads_get_at_once(void)
{
    pthread_t threads[4];
    uint32_t  wrong[4];

    open_store(0);
    for (uint32_t i = 0; i < VALUES; i++) put(i, 4 + draw(i % 97 == 0 ? LONGEST : 300));
    for (int t = 0; t < 4; t++) CHECK_EQ(pthread_create(&threads[t], NULL, read_all, &wrong[t]), 0);
    for (int t = 0; t < 4; t++) {
        CHECK_EQ(pthread_join(threads[t], NULL), 0);
        CHECK_EQ(wrong[t], 0);
    }
    close_store();
}

/* -- Walk -- */

static uint32_t walk_on(uint64_t *cursor, uint32_t most)
{
    const void *value;
    size_t      room;
    uint32_t    count = 0, number;

    for (slab_ref ref; count < most && (ref = slab_store_next(store, cursor, &value, &room)) !=
                                           SLAB_NO_REF; count++) {
        memcpy(&number, value, sizeof number);
        CHECK(number < VALUES && items[number].ref == ref);
        if (number >= VALUES) continue;
        CHECK(room >= items[number].len);
        CHECK(slab_ref_is_large(ref) ? room == items[number].len : room <= 4096);
        CHECK(slab_store_get(store, ref, items[number].len) == value);
        items[number].seen++;
    }
    return count;
}

static void walks_through_all_values(void)
{
    uint64_t cursor = 0;
    uint32_t live   = 0;

    open_store(0);
    CHECK_EQ(slab_store_next(store, &cursor, NULL, NULL), SLAB_NO_REF);
    for (uint32_t i = 0; i < VALUES; i++) put(i, 4 + draw(i % 97 == 0 ? LONGEST : 300));
    for (uint32_t i = 0; i < VALUES; i++) {
        if (draw(3) == 0) {
            live++;
            continue;
        }
        CHECK_EQ(slab_store_free(store, items[i].ref, items[i].len), 0);
        items[i].len = 0;
    }
    cursor = 0;
    CHECK_EQ(walk_on(&cursor, UINT32_MAX), live);
    for (uint32_t i = 0; i < VALUES; i++) CHECK_EQ(items[i].seen, items[i].len != 0);
    CHECK_EQ(slab_store_next(store, &cursor, NULL, NULL), SLAB_NO_REF);
    cursor = UINT64_MAX;
    CHECK_EQ(slab_store_next(store, &cursor, NULL, NULL), SLAB_NO_REF);
    CHECK_EQ(slab_store_next(NULL, &cursor, NULL, NULL), SLAB_NO_REF);
    CHECK_EQ(slab_store_next(store, NULL, NULL, NULL), SLAB_NO_REF);
    close_store();
}

/* Those that live all the time are seen once, whatever happens to others meanwhile. */
static void walks_while_the_store_changes(void)
{
    uint64_t cursor = 0;

    open_store(0);
    for (uint32_t i = 0; i < VALUES; i++) put(i, 4 + draw(i % 97 == 0 ? LONGEST : 300));
    while (walk_on(&cursor, 100) == 100) {
        for (uint32_t k = 0; k < 200; k++) {
            uint32_t i = 1 + draw(VALUES / 2 - 1) * 2; /* an odd one */
            if (items[i].len != 0) {
                CHECK_EQ(slab_store_free(store, items[i].ref, items[i].len), 0);
                items[i].len = 0;
            } else put(i, 4 + draw(300));
        }
        if (draw(10) == 0) slab_store_trim(store);
    }
    for (uint32_t i = 0; i < VALUES; i += 2) CHECK_EQ(items[i].seen, 1);
    close_store();
}

/* -- Evict -- */

static uint32_t last_moved;

static void follow(void *context, slab_ref from, slab_ref to, void *value, size_t room)
{
    uint32_t number;

    (void)context;
    memcpy(&number, value, sizeof number);
    CHECK(number < VALUES && items[number].ref == from);
    CHECK(slab_store_get(store, to, items[number].len) == value);
    CHECK(room >= items[number].len);
    items[number].ref = to;
    last_moved        = number;
}

static struct {
    uint32_t told, last;
    size_t   bytes;
    bool     frees_others;
} eviction;

static size_t evicted(void *context, slab_ref ref, const void *value, size_t room)
{
    uint32_t number;

    CHECK(context == &eviction);
    memcpy(&number, value, sizeof number);
    CHECK(number < VALUES && items[number].ref == ref && items[number].len != 0);
    if (number >= VALUES) return 0;
    size_t len = items[number].len;
    CHECK(is_whole(value, number, (uint32_t)len));
    CHECK(len <= room);
    CHECK(slab_store_get(store, ref, len) == value);
    items[number].len = 0;
    eviction.told++;
    eviction.bytes += len;
    eviction.last = number;
    uint32_t other = (number * 7 + 1) % VALUES;
    if (eviction.frees_others && number % 5 == 0 && items[other].len != 0) {
        CHECK_EQ(slab_store_free(store, items[other].ref, items[other].len), 0);
        items[other].len = 0;
    }
    return len;
}

static size_t evict(size_t bytes)
{
    struct slab_store_info before = stats();
    memset(&eviction, 0, offsetof(__typeof__(eviction), frees_others));
    size_t made = slab_store_evict(store, bytes, evicted, &eviction);
    struct slab_store_info after = stats();
    CHECK_EQ(made, (before.held_bytes - before.empty_bytes) -
                       (after.held_bytes - after.empty_bytes));
    return made;
}

static void evicts_until_so_much_is_free(void)
{
    open_store(0);
    for (uint32_t i = 0; i < VALUES; i++) put(i, 4 + draw(i % 97 == 0 ? LONGEST : 300));
    for (size_t bytes = 1; bytes < 1000000; bytes = bytes * 3 + 1) {
        CHECK(evict(bytes) >= bytes);
        CHECK(bytes < 100000 || eviction.told > 0); /* there may have been an empty chunk */
        check_items(VALUES);
    }
    CHECK_EQ(evict(0), 0);
    CHECK_EQ(eviction.told, 0);
    CHECK_EQ(slab_store_evict(store, 1, NULL, NULL), 0);
    CHECK_EQ(slab_store_evict(NULL, 1, evicted, &eviction), 0);
    check_items(VALUES);
    CHECK(evict(SIZE_MAX) > 0); /* all of them */
    for (uint32_t i = 0; i < VALUES; i++) CHECK_EQ(items[i].len, 0);
    CHECK_EQ(stats().capacity_bytes, 0);
    CHECK_EQ(evict(1), 0);
    close_store();
}

static void a_callback_may_free_other_values(void)
{
    open_store(0);
    eviction.frees_others = true;
    for (int round = 0; round < 5; round++) {
        for (uint32_t i = 0; i < VALUES; i++)
            if (items[i].len == 0) put(i, 4 + draw(i % 97 == 0 ? LONGEST : 300));
        for (int k = 0; k < 10; k++) CHECK(evict(100000) >= 100000);
        check_items(VALUES);
    }
    eviction.frees_others = false;
    CHECK(evict(SIZE_MAX) > 0);
    close_store();
}

/* Three quarters of the values of each second chunk are gone: the sparse chunks go first. */
static void evicts_where_the_fewest_bytes_live(void)
{
    uint32_t live = 0;

    open_store(0);
    for (uint32_t i = 0; i < VALUES; i++) put(i, 60);
    for (uint32_t i = 0; i < VALUES; i++)
        if (i / 2000 % 2 == 0 && i % 4 != 0) {
            CHECK_EQ(slab_store_free(store, items[i].ref, 60), 0);
            items[i].len = 0;
        } else live++;
    size_t made = evict(300000);
    CHECK(eviction.told * 60 * 2 < made);
    CHECK(eviction.told < live);
    check_items(VALUES);
    close_store();
}

/* A full store: no value goes before all that were put earlier, large objects included. */
static void evicts_in_the_order_of_puts(void)
{
    uint32_t next = 0, count = 0;

    open_store(4 << 20);
    for (int round = 0; round < 6; round++) {
        uint32_t oldest = next, len;
        while (len = next % 1000 == 0 ? 100000 : 500,
               slab_store_put(store, fill(next, len), len, &items[next].ref) == 0)
            items[next++].len = len;
        if (round == 0) count = next;
        CHECK(evict(1 << 20) >= 1 << 20);
        for (uint32_t i = oldest; i < next && round > 0; i++) CHECK(items[i].len != 0);
    }
    CHECK(next > count + count / 2);
    check_items(next);
    close_store();
}

/* The call ends when no value is left, and leaves no chunk. */
static void evicts_everything(void)
{
    open_store(0);
    put(1, 100000);
    CHECK(evict(SIZE_MAX) >= 100000);
    CHECK_EQ(stats().large_count, 0);
    for (uint32_t i = 0; i < 1000; i++) put(i, i % 10 == 0 ? 50000 : 300);
    CHECK(evict(SIZE_MAX) > 5000000);
    CHECK_EQ(eviction.told, 1000);
    CHECK_EQ(stats().capacity_bytes + stats().lost_bytes, 0);
    CHECK_EQ(evict(1), 0);
    close_store();
}

static void large_objects_have_their_turn(void)
{
    open_store(0);
    for (uint32_t i = 0; i < 50; i++) put(i, 100000);
    for (uint32_t i = 0; i < 150; i++) {
        CHECK(evict(1) > 0);
        CHECK_EQ(eviction.told, 1);
        put(50 + i, 100000);
    }
    check_items(VALUES);
    close_store();
}

/* A chunk that compact has begun to empty takes its turn like others: the first chunk that evict
 * chooses among equally sparse ones is another, whose values were put long before. */
static void evicts_while_compact_is_at_work(void)
{
    open_store(0);
    for (uint32_t i = 0; i < VALUES; i++) put(i, 60);
    for (uint32_t i = 0; i < VALUES; i++)
        if (i % 4 != 0 && i > VALUES / 2) {
            CHECK_EQ(slab_store_free(store, items[i].ref, 60), 0);
            items[i].len = 0;
        }
    for (int k = 0; k < 20; k++) {
        size_t moves = slab_store_compact(store, 3, follow, NULL);
        CHECK(moves == 3 || k > 0);
        CHECK(evict(1) > 0);
        CHECK(k > 0 || eviction.last + 5000 < last_moved);
        check_items(VALUES);
    }
    close_store();
}

/* At the limit each put succeeds after some calls, whatever its size, and what was put last is not
 * what goes first. */
static void makes_room_at_the_limit(void)
{
    uint64_t age = 0, puts = 0;
    uint32_t when[VALUES] = {0};

    open_store(4 << 20);
    for (uint32_t step = 1; step < 60000; step++) {
        uint32_t number = draw(VALUES), tries = 0;
        uint32_t len    = 4 + draw(draw(50) == 0 ? 20000 : 40 + step / 60);
        if (items[number].len != 0)
            CHECK_EQ(slab_store_free(store, items[number].ref, items[number].len), 0);
        items[number].len = 0;
        while (slab_store_put(store, fill(number, len), len, &items[number].ref) != 0) {
            CHECK(slab_store_evict(store, 64 << 10, evicted, &eviction) > 0);
            age += step - when[eviction.last];
            puts++;
            if (++tries > 100) break;
        }
        CHECK(tries <= 100);
        items[number].len = len;
        when[number]      = step;
        CHECK(step % 1000 != 0 || stats().held_bytes <= 4 << 20);
    }
    CHECK(puts > 100);
    CHECK(age / puts > 1000);
    check_items(VALUES);
    close_store();
}

/* -- Limit -- */

static size_t longest_map;

static void *note_map(void *context, size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    (void)context;
    if (size > longest_map) longest_map = size;
    return memory == MAP_FAILED ? NULL : memory;
}
static void note_unmap(void *context, void *memory, size_t size)
{
    (void)context;
    CHECK_EQ(munmap(memory, size), 0);
}

/* A small budget has small extents; without it they are those of any store. */
static void extents_grow_with_the_limit(void)
{
    slab_store_config config = {.max_bytes = 1 << 20, .map = note_map, .unmap = note_unmap};

    longest_map = 0;
    memset(items, 0, sizeof items);
    CHECK_EQ(slab_store_create(&store, &config), 0);
    for (uint32_t i = 0; i < 1000; i++) put(i, 500);
    CHECK(longest_map < 1 << 20);
    CHECK_EQ(slab_store_limit(store, 0), 0);
    for (uint32_t i = 1000; i < VALUES; i++) put(i, 500);
    CHECK_EQ(longest_map, 2 << 20);
    check_items(VALUES);
    close_store();
}

static void the_limit_falls_and_rises(void)
{
    open_store(8 << 20);
    for (uint32_t i = 0; i < VALUES; i++)
        if (slab_store_put(store, fill(i, 300), 300, &items[i].ref) == 0) items[i].len = 300;
    CHECK(stats().held_bytes > 6 << 20);
    CHECK_EQ(slab_store_limit(store, 3 << 20), 0);
    check_items(VALUES);
    slab_ref ref;
    for (uint32_t i = 0; i < 100; i++) CHECK_EQ(slab_store_put(store, data, 3000, &ref), -ENOSPC);
    struct slab_store_info info = stats();
    CHECK(evict(info.held_bytes - info.empty_bytes - (3 << 20)) > 0);
    slab_store_trim(store);
    info = stats();
    CHECK(info.held_bytes - info.empty_bytes <= 3 << 20);
    check_items(VALUES);
    for (uint32_t i = 0; i < VALUES; i++) { /* what it has is used again, within the limit */
        if (items[i].len != 0) continue;
        if (slab_store_put(store, fill(i, 300), 300, &items[i].ref) != 0) break;
        items[i].len = 300;
    }
    info = stats();
    CHECK(info.held_bytes - info.empty_bytes <= (3 << 20) + (128 << 10)); /* a chunk more */
    check_items(VALUES);
    CHECK_EQ(slab_store_limit(store, 0), 0);
    for (uint32_t i = 0; i < VALUES; i++)
        if (items[i].len == 0) put(i, 300);
    CHECK(stats().held_bytes > VALUES * 300);
    CHECK_EQ(slab_store_limit(store, 1), -EINVAL);
    CHECK_EQ(slab_store_limit(NULL, 0), -EINVAL);
    check_items(VALUES);
    close_store();
}

static void a_limit_below_what_is_empty_gives_it_back(void)
{
    open_store(0);
    for (uint32_t i = 0; i < VALUES; i++) put(i, 300);
    for (uint32_t i = 0; i < VALUES; i++) {
        CHECK_EQ(slab_store_free(store, items[i].ref, 300), 0);
        items[i].len = 0;
    }
    CHECK_EQ(slab_store_limit(store, 1 << 20), 0);
    CHECK(stats().held_bytes <= 1 << 20);
    close_store();
}

/* -- Giving back -- */

/* Whatever the store held: when all is freed, trim leaves what create had mapped. */
static void trim_leaves_what_create_mapped(void)
{
    /* The last one has more chunks than the first directory has room for. */
    static const size_t limits[] = {0, 1 << 20, 4 << 20, 16 << 20, 100 << 20};

    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        open_store(limits[i]);
        size_t   held  = stats().held_bytes;
        uint32_t count = 0, len;
        for (; count < VALUES; count++) {
            len = i == 4 ? 4000 : 4 + draw(draw(40) == 0 ? 100000 : 900);
            if (slab_store_put(store, fill(count, len), len, &items[count].ref) != 0) break;
            items[count].len = len;
        }
        CHECK(stats().held_bytes > held);
        while (count-- > 0) {
            CHECK_EQ(slab_store_free(store, items[count].ref, items[count].len), 0);
            items[count].len = 0;
        }
        slab_store_trim(store);
        CHECK_EQ(stats().held_bytes, held);
        close_store();
    }
}

int main(void)
{
    RUN(replaces_in_place_within_a_tier);
    RUN(replaces_across_tiers);
    RUN(replaces_large_objects);
    RUN(replaces_with_bytes_of_the_value_itself);
    RUN(a_replace_that_fails_changes_nothing);
    RUN(sets_the_length_within_a_tier);
    RUN(gets_many_at_once);
    RUN(peeks_without_a_length);
    RUN(several_threads_get_at_once);
    RUN(walks_through_all_values);
    RUN(walks_while_the_store_changes);
    RUN(evicts_until_so_much_is_free);
    RUN(a_callback_may_free_other_values);
    RUN(evicts_where_the_fewest_bytes_live);
    RUN(evicts_in_the_order_of_puts);
    RUN(evicts_everything);
    RUN(large_objects_have_their_turn);
    RUN(evicts_while_compact_is_at_work);
    RUN(makes_room_at_the_limit);
    RUN(extents_grow_with_the_limit);
    RUN(trim_leaves_what_create_mapped);
    RUN(the_limit_falls_and_rises);
    RUN(a_limit_below_what_is_empty_gives_it_back);
    return REPORT();
}
