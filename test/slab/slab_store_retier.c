/* Goal: tiers follow the data: slab_store_retier does what slab.h says.
 *
 * Method: stores whose content is known value by value; every value carries its number, so that
 * each callback and each read can tell what it must be. The sums of the stats are compared
 * throughout. */
#define SLAB_IMPLEMENTATION
#include "../../slab.h"

#include "../check.h"

#include <stddef.h>
#include <stdlib.h>

enum { VALUES = 20000, LONGEST = 6000, KIB = 1024, MIB = 1024 * KIB };

static struct item {
    slab_ref ref;
    uint32_t len; /* 0: does not live */
    uint8_t  seen;
} items[VALUES];
static slab_store   *store;
static uint64_t      state;
static unsigned char data[1 << 17];

static uint32_t draw(uint32_t below) { return (uint32_t)(check_random(&state) % below); }

static struct slab_store_info stats(void)
{
    struct slab_store_info info;
    struct slab_tier_info  tier;
    uint32_t               last = 0, count = 0;

    slab_store_stats(store, &info);
    CHECK_EQ(info.held_bytes,
             info.capacity_bytes + info.metadata_bytes + info.empty_bytes + info.lost_bytes);
    CHECK(info.used_bytes <= info.capacity_bytes && info.retired_bytes <= info.capacity_bytes);
    for (; slab_store_tier_stats(store, count, &tier) == 0; count++) {
        CHECK(tier.slot_size > last && tier.occupied_slots <= tier.total_slots);
        CHECK(tier.payload_bytes <= tier.occupied_bytes);
        last = tier.slot_size;
    }
    CHECK_EQ(count, info.tier_count);
    return info;
}

static const void *fill(uint32_t number, uint32_t len)
{
    memset(data, (int)(number % 251), len);
    memcpy(data, &number, sizeof number);
    return data;
}

static bool is_whole(const void *value, uint32_t number, uint32_t len)
{
    const unsigned char *bytes = (const unsigned char *)value;
    return value && memcmp(value, fill(number, len), len) == 0 && (len % 8 == 0 || bytes[len] == 0);
}

static void put(uint32_t number, uint32_t len)
{
    CHECK_EQ(slab_store_put(store, fill(number, len), len, &items[number].ref), 0);
    items[number].len = len;
}

static void erase(uint32_t number)
{
    CHECK_EQ(slab_store_free(store, items[number].ref, items[number].len), 0);
    items[number].len = 0;
}

static void open_store(const uint32_t *tiers, uint32_t count, size_t max_bytes)
{
    slab_store_config config = {.tier_sizes = tiers, .tier_count = count, .max_bytes = max_bytes};
    memset(items, 0, sizeof items);
    state = 7;
    CHECK_EQ(slab_store_create(&store, &config), 0);
}

/* Every value is where its ref says, and the walk returns each once. */
static void check_items(void)
{
    size_t      payload = 0, room;
    uint64_t    cursor  = 0;
    uint32_t    live = 0, walked = 0, number;
    const void *value;

    for (uint32_t i = 0; i < VALUES; i++) {
        items[i].seen = 0;
        if (items[i].len == 0) continue;
        CHECK(is_whole(slab_store_get(store, items[i].ref, items[i].len), i, items[i].len));
        payload += items[i].len;
        live++;
    }
    for (slab_ref ref; (ref = slab_store_next(store, &cursor, &value, &room)) != SLAB_NO_REF;
         walked++) {
        memcpy(&number, value, sizeof number);
        CHECK(number < VALUES && items[number].ref == ref);
        if (number >= VALUES) return;
        CHECK(room >= items[number].len && items[number].seen++ == 0);
        CHECK(slab_store_peek(store, ref, &room) == value && room >= items[number].len);
    }
    CHECK_EQ(walked, live);
    CHECK_EQ(stats().payload_bytes, payload);
}

/* Compact has left no tier with many free slots. */
static void check_dense(void)
{
    struct slab_tier_info tier;

    for (uint32_t i = 0; slab_store_tier_stats(store, i, &tier) == 0; i++) {
        size_t free_bytes = tier.capacity_bytes - tier.occupied_bytes;
        CHECK(tier.occupied_slots == 0 || free_bytes < 64 * KIB + tier.capacity_bytes / 64);
    }
}

static void close_store(void)
{
    for (uint32_t i = 0; i < VALUES; i++)
        if (items[i].len != 0) erase(i);
    CHECK_EQ(stats().payload_bytes, 0);
    CHECK_EQ(stats().used_bytes, 0);
    slab_store_trim(store);
    CHECK_EQ(stats().retired_bytes, 0);
    CHECK_EQ(stats().capacity_bytes, 0);
    slab_store_destroy(store);
}

static uint32_t moves;
enum fit { LEAVE, FIT };

/* Follows a move; with FIT, fits the value to its length. */
static void follow(void *context, slab_ref from, slab_ref to, void *value, size_t room)
{
    enum fit    *fit = (enum fit *)context;
    struct item *item;
    uint32_t     number;

    memcpy(&number, value, sizeof number);
    CHECK(number < VALUES && items[number].ref == from);
    if (number >= VALUES) return;
    item = &items[number];
    CHECK(slab_store_get(store, to, item->len) == value && room >= item->len);
    for (size_t i = item->len; i < room; i++)
        if (((const unsigned char *)value)[i] != 0) CHECK_EQ(i, room);
    item->ref = to;
    moves++;
    if (!fit || *fit == LEAVE) return;
    int error = slab_store_replace(store, &item->ref, item->len, value, item->len);
    CHECK(error == 0 || error == -ENOSPC);
}

static uint32_t compact_all(enum fit fit)
{
    moves = 0;
    while (slab_store_compact(store, 100, follow, &fit) > 0) continue;
    return moves;
}

static size_t evicted(void *context, slab_ref ref, const void *value, size_t room)
{
    uint32_t number;
    size_t   len;

    (void)context;
    memcpy(&number, value, sizeof number);
    CHECK(items[number].ref == ref && items[number].len <= room);
    len               = items[number].len;
    items[number].len = 0;
    return len;
}

/* -- Tests -- */

static const uint32_t before[] = {64, 256, 1024, 4096}, after[] = {80, 256, 304, 4096};

/* Old values are found, freed, replaced; compact empties the old tiers, and the stats say when. */
static void old_values_stay_until_compact_moves_them(void)
{
    open_store(before, 4, 0);
    for (uint32_t i = 0; i < VALUES; i++) put(i, 4 + draw(i % 97 == 0 ? LONGEST : 300));
    CHECK_EQ(slab_store_retier(store, after, 4), 0);
    CHECK(stats().retired_bytes > 1000000);
    check_items();
    for (uint32_t i = 0; i < VALUES; i += 2) {
        uint32_t len = 4 + draw(300), was = items[i].len;
        CHECK_EQ(slab_store_replace(store, &items[i].ref, was, fill(i, len), len), 0);
        items[i].len = len;
        slab_ref ref = items[++i].ref;
        was          = items[i].len;
        erase(i);
        CHECK_EQ(slab_store_free(store, ref, was), -ESTALE);
    }
    check_items();
    for (moves = 0; slab_store_compact(store, 7, follow, NULL) > 0;) {
        if (moves % 500 < 7) check_items();
        uint32_t i = draw(VALUES);
        if (items[i].len == 0) put(i, 4 + draw(300));
    }
    CHECK(moves > VALUES / 4);
    CHECK_EQ(stats().retired_bytes, 0);
    check_items();
    CHECK_EQ(slab_store_compact(store, 1, follow, NULL), 0);
    close_store();
}

static void puts_use_the_new_tiers_at_once(void)
{
    struct slab_tier_info tier;

    open_store(before, 4, 0);
    for (uint32_t i = 0; i < 100; i++) put(i, 200);
    CHECK_EQ(slab_store_retier(store, (const uint32_t[]){72, 208, 512}, 3), 0);
    for (uint32_t i = 100; i < 200; i++) put(i, 200);
    put(200, 512);
    put(201, 513); /* a large object now */
    CHECK(!slab_ref_is_large(items[200].ref) && slab_ref_is_large(items[201].ref));
    CHECK_EQ(stats().tier_count, 3);
    CHECK_EQ(stats().large_count, 1);
    CHECK_EQ(slab_store_tier_stats(store, 1, &tier), 0);
    CHECK_EQ(tier.slot_size, 208);
    CHECK_EQ(tier.occupied_slots, 100);
    CHECK_EQ(tier.payload_bytes, 100 * 200);
    CHECK_EQ(slab_store_tier_stats(store, 3, &tier), -EINVAL);
    CHECK_EQ(compact_all(LEAVE), 100); /* slots of 256 go to those of 512 */
    CHECK_EQ(stats().retired_bytes, 0);
    slab_store_tier_stats(store, 2, &tier);
    CHECK_EQ(tier.occupied_slots, 101);
    check_items();
    close_store();
}

/* The same sizes: nothing is moved. One that begins lower: its values may stay. One that begins
 * higher: some may belong elsewhere, so all are moved. */
static void a_tier_that_is_still_right_stays(void)
{
    open_store(before, 4, 0);
    for (uint32_t i = 0; i < 1000; i++) put(i, 4 + draw(4000));
    CHECK_EQ(slab_store_retier(store, before, 4), 0);
    CHECK_EQ(stats().retired_bytes, 0);
    CHECK_EQ(compact_all(LEAVE), 0);
    CHECK_EQ(slab_store_retier(store, (const uint32_t[]){64, 1024, 4096}, 3), 0);
    uint32_t number = 0;
    for (uint32_t i = 0; i < 1000; i++) number += items[i].len > 64 && items[i].len <= 256;
    CHECK_EQ(compact_all(LEAVE), number); /* of 256 to 1,024 */
    check_items();
    CHECK_EQ(slab_store_retier(store, (const uint32_t[]){64, 512, 1024, 4096}, 4), 0);
    number = 0;
    for (uint32_t i = 0; i < 1000; i++) number += items[i].len > 64 && items[i].len <= 1024;
    CHECK_EQ(compact_all(FIT), number);
    CHECK_EQ(stats().retired_bytes, 0);
    check_items();
    close_store();
}

/* A tier without values is none at once, whether its last one was freed before or after. */
static void tiers_without_values_are_no_former_ones(void)
{
    open_store(before, 4, 0);
    put(1, 200);
    erase(1);
    CHECK_EQ(slab_store_retier(store, (const uint32_t[]){64, 1024, 4096}, 3), 0);
    CHECK_EQ(stats().retired_bytes, 0);
    for (uint32_t i = 1; i < 100; i++) put(i, 65 + i); /* in the tier that began at 257 */
    check_items();
    CHECK_EQ(slab_store_retier(store, before, 4), 0);
    CHECK(stats().retired_bytes > 0);
    check_items();
    for (uint32_t i = 1; i < 100; i++) erase(i);
    CHECK_EQ(stats().retired_bytes, 0);
    CHECK_EQ(compact_all(LEAVE), 0);
    close_store();
}

/* A tier whose slots got shorter values in the meantime is not what it was. */
static void a_tier_that_began_lower_is_emptied(void)
{
    open_store(before, 4, 0);
    put(1, 1000);
    CHECK_EQ(slab_store_retier(store, (const uint32_t[]){64, 1024, 4096}, 3), 0);
    put(2, 100);
    CHECK_EQ(slab_store_retier(store, before, 4), 0);
    CHECK_EQ(compact_all(FIT), 2);
    CHECK_EQ(stats().used_bytes, 1024 + 256);
    CHECK_EQ(slab_store_retier(store, (const uint32_t[]){64, 256}, 2), 0);
    CHECK_EQ(slab_store_replace(store, &items[1].ref, 1000, fill(1, 1000), 1000), 0);
    CHECK(slab_ref_is_large(items[1].ref)); /* no place for it is in the tiers */
    CHECK_EQ(stats().retired_bytes, 0);
    check_items();
    close_store();
}

/* Three tables, in any order, while compact is in the middle of something. */
static void tables_come_and_go(void)
{
    static const uint32_t tables[3][5] = {
        {64, 256, 1024, 4096, 8192}, {80, 256, 400, 1024, 6000}, {96, 200, 256, 1024, 4096}};

    open_store(tables[0], 5, 0);
    for (uint32_t round = 0; round < 400; round++) {
        CHECK_EQ(slab_store_retier(store, tables[draw(3)], 5), 0);
        for (uint32_t k = 0; k < 200; k++) {
            uint32_t i = draw(VALUES / 4);
            if (items[i].len == 0) put(i, 4 + draw(draw(20) == 0 ? LONGEST : 900));
            else erase(i);
            if (draw(4) == 0) slab_store_compact(store, draw(4), follow, NULL);
        }
        if (round % 32 == 0) check_items();
    }
    for (uint32_t i = 0; i < VALUES / 4; i++)
        if (items[i].len != 0 && draw(3) != 0) erase(i);
    compact_all(LEAVE);
    CHECK_EQ(stats().retired_bytes, 0);
    check_dense();
    check_items();
    close_store();
}

/* A tier that was replaced comes back before compact has emptied it. */
static void a_former_tier_comes_back(void)
{
    open_store(before, 4, 0);
    for (uint32_t i = 0; i < 3000; i++) put(i, 4 + draw(4000));
    CHECK_EQ(slab_store_retier(store, (const uint32_t[]){80, 304, 2048, 8192}, 4), 0);
    slab_store_compact(store, 50, follow, NULL);
    CHECK(stats().retired_bytes > 0);
    CHECK_EQ(slab_store_retier(store, before, 4), 0);
    for (uint32_t i = 3000; i < 4000; i++) put(i, 4 + draw(4000));
    CHECK_EQ(compact_all(LEAVE), 50); /* what went to the tiers that are former ones now */
    CHECK_EQ(stats().retired_bytes, 0);
    check_items();
    close_store();
}

static void a_callback_fits_what_moved(void)
{
    open_store(before, 4, 0);
    for (uint32_t i = 0; i < VALUES; i++) put(i, 257 + draw(40)); /* in slots of 1,024 */
    CHECK_EQ(slab_store_retier(store, after, 4), 0);
    CHECK_EQ(compact_all(FIT), VALUES);
    slab_store_trim(store);
    check_items();
    CHECK_EQ(stats().retired_bytes, 0);
    struct slab_store_info info = stats();
    CHECK(info.held_bytes - info.empty_bytes < VALUES * 310); /* it was more than a kilobyte each */
    close_store();
}

/* Above the largest tier, values become large objects; get and free take their own lengths. */
static void large_slots_become_large_objects(void)
{
    open_store(before, 4, 0);
    for (uint32_t i = 0; i < 3000; i++) put(i, 4 + draw(4092));
    CHECK_EQ(slab_store_retier(store, (const uint32_t[]){256, 512}, 2), 0);
    compact_all(LEAVE);
    CHECK_EQ(stats().retired_bytes, 0);
    CHECK(stats().large_count > 2000);
    check_items();
    for (uint32_t i = 0; i < 3000; i++) {
        if (!slab_ref_is_large(items[i].ref)) continue;
        CHECK(!slab_store_get(store, items[i].ref, 4097));
        CHECK_EQ(slab_store_free(store, items[i].ref, 4097), -ESTALE);
    }
    for (uint32_t i = 0; i < 3000; i += 3) erase(i);
    for (uint32_t i = 1; i < 3000; i += 3) { /* from now on the length is known */
        CHECK_EQ(slab_store_replace(store, &items[i].ref, items[i].len, fill(i, items[i].len),
                                    items[i].len),
                 0);
        CHECK_EQ(slab_ref_is_large(items[i].ref), items[i].len > 512);
        if (items[i].len <= 512) continue;
        CHECK(!slab_store_get(store, items[i].ref, items[i].len + 1));
        CHECK(!slab_store_get(store, items[i].ref, items[i].len - 1));
    }
    check_items();
    CHECK(slab_store_evict(store, 1 << 20, evicted, NULL) >= 1 << 20);
    check_items();
    close_store();
}

/* From 7 tiers to 63 and back to 1, with the values of each. */
static void the_count_of_tiers_is_free(void)
{
    uint32_t tiers[63];

    open_store(NULL, 0, 0);
    for (uint32_t i = 0; i < VALUES / 2; i++) put(i, 4 + draw(4000));
    for (uint32_t i = 0; i < 63; i++) tiers[i] = 40 + 72 * i;
    CHECK_EQ(slab_store_retier(store, tiers, 63), 0);
    CHECK_EQ(stats().tier_count, 63);
    for (uint32_t i = VALUES / 2; i < VALUES; i++) put(i, 4 + draw(4000));
    check_items();
    compact_all(FIT);
    CHECK_EQ(stats().retired_bytes, 0);
    struct slab_store_info info = stats();
    CHECK(info.used_bytes < info.payload_bytes + VALUES * 37); /* half a step each */
    check_items();
    for (uint32_t i = 0; i < VALUES; i++) /* so that compact of each tier has work */
        if (i % 4 != 0) erase(i);
    compact_all(LEAVE);
    check_dense();
    check_items();
    size_t held = stats().capacity_bytes; /* a tier's last chunk stays until memory is short */
    for (uint32_t i = 0; i < VALUES; i += 8) erase(i);
    for (uint32_t i = 4; i < VALUES; i += 8) erase(i);
    slab_store_trim(store);
    CHECK_EQ(stats().capacity_bytes, 0);
    CHECK(held > 0);
    for (uint32_t i = 0; i < VALUES; i++) put(i, 4 + draw(4000));
    CHECK_EQ(slab_store_retier(store, (const uint32_t[]){65536}, 1), 0);
    for (uint32_t i = 0; i < VALUES; i++)
        if (items[i].len != 0 && i % 8 != 7) erase(i);
    compact_all(LEAVE);
    CHECK_EQ(stats().retired_bytes, 0);
    CHECK_EQ(stats().used_bytes, VALUES / 8 * 65536u);
    check_items();
    close_store();
}

/* Again and again, while values of every age live. */
static void retiers_many_times(void)
{
    uint32_t tiers[63], done = 0;

    open_store(before, 4, 0);
    for (uint32_t round = 0; round < 200; round++) {
        uint32_t count = 1 + draw(draw(8) == 0 ? 63 : 5);
        tiers[0]       = 16 + 8 * draw(10);
        for (uint32_t k = 1; k < count; k++) tiers[k] = tiers[k - 1] + 8 + 8 * draw(900 / count);
        int error = slab_store_retier(store, tiers, count);
        CHECK(error == 0 || error == -EBUSY);
        done += error == 0;
        for (uint32_t k = 0; k < 400; k++) {
            uint32_t i = draw(VALUES / 4);
            if (items[i].len == 0) put(i, 4 + draw(draw(20) == 0 ? LONGEST : 900));
            else erase(i);
        }
        enum fit fit = draw(2) == 0 ? LEAVE : FIT;
        slab_store_compact(store, draw(400), follow, &fit);
        if (round % 8 == 0) slab_store_evict(store, draw(100000), evicted, NULL);
        if (round % 16 == 0) slab_store_trim(store);
        check_items();
    }
    CHECK(done > 100);
    compact_all(LEAVE);
    CHECK_EQ(stats().retired_bytes, 0);
    check_items();
    close_store();
}

static void too_many_former_tiers_are_refused(void)
{
    uint32_t tier = 64, done = 0;

    open_store(before, 4, 0);
    for (uint32_t i = 0; i < 200; i++, tier += 8) {
        struct slab_store_info info  = stats();
        int                    error = slab_store_retier(store, &tier, 1);
        if (error == 0) put(done++, tier);
        else {
            CHECK_EQ(error, -EBUSY);
            CHECK_EQ(stats().retired_bytes, info.retired_bytes);
            CHECK_EQ(stats().held_bytes, info.held_bytes);
        }
    }
    CHECK(done >= 123 && done < 127);
    check_items();
    for (uint32_t i = 0; i < done; i += 2) erase(i);
    CHECK_EQ(slab_store_retier(store, &tier, 1), 0); /* some have no value any more */
    compact_all(LEAVE);
    CHECK_EQ(stats().retired_bytes, 0);
    check_items();
    close_store();
}

static void bad_tiers_are_refused(void)
{
    static const uint32_t bad[][2] = {{0, 64}, {12, 64}, {64, 64}, {128, 64}, {64, 65544}};
    uint32_t              many[64];

    open_store(before, 4, 0);
    put(1, 100);
    for (uint32_t i = 0; i < 64; i++) many[i] = 8 + 8 * i;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_EQ(slab_store_retier(store, bad[i], 2), -EINVAL);
    CHECK_EQ(slab_store_retier(store, many, 64), -EINVAL);
    CHECK_EQ(slab_store_retier(store, after, 0), -EINVAL);
    CHECK_EQ(slab_store_retier(store, NULL, 1), -EINVAL);
    CHECK_EQ(slab_store_retier(NULL, after, 4), -EINVAL);
    CHECK_EQ(stats().tier_count, 4);
    CHECK_EQ(stats().retired_bytes, 0);
    check_items();
    close_store();
}

/* A store at max_bytes loses one large object after the other: retier fails at each step of what it
 * needs, and nothing has changed. */
static void a_retier_that_fails_changes_nothing(void)
{
    uint32_t count = 0, freed = 0, refused = 0;

    open_store((const uint32_t[]){64}, 1, 2 * MIB);
    for (uint32_t i = 0; i < 400; i++) put(count++, 200); /* a unit each, in a row */
    do {
        while (slab_store_put(store, fill(count, 1000), 1000, &items[count].ref) == 0)
            items[count++].len = 1000;
        /* No run of two units is free, or no record: there is one, if a unit more is. */
        erase(2 * freed);
        if (slab_store_put(store, fill(count, 1000), 1000, &items[count].ref) != 0) break;
        items[count++].len = 1000;
    } while (++freed < 200);
    CHECK(freed < 200);
    for (uint32_t i = 500;; i++) {
        struct slab_store_info info  = stats();
        int                    error = slab_store_retier(store, after, 4);
        if (error == 0) break;
        CHECK_EQ(error, -ENOSPC);
        CHECK_EQ(stats().metadata_bytes, info.metadata_bytes);
        CHECK_EQ(stats().held_bytes, info.held_bytes);
        CHECK_EQ(stats().tier_count, 1);
        if (refused++ % 8 == 0) check_items();
        erase(i);
    }
    CHECK(refused > 20);
    check_items();
    compact_all(FIT);
    check_items();
    close_store();
}

/* A cache at max_bytes: evict makes room for retier, and from then on one value at a time goes. It
 * never holds much less than before, and more in the end. */
static void a_full_cache_changes_its_tiers(void)
{
    enum { BUDGET = 3 * MIB, FROM = 30000, END = 60000 };
    uint32_t tiers[24], oldest = 0, retiers = 0;
    size_t   live = 0, before_it = 0, least = SIZE_MAX;

    open_store(NULL, 0, BUDGET);
    for (uint32_t i = 0; i < 24; i++) tiers[i] = 64 + 24 * i;
    for (uint32_t k = 0; k < END; k++) {
        uint32_t i = k % VALUES, len = 130 + draw(480);
        while (slab_store_put(store, fill(i, len), len, &items[i].ref) != 0) {
            while (items[oldest % VALUES].len == 0) oldest++;
            erase(oldest++ % VALUES);
            slab_store_compact(store, 2, follow, NULL);
        }
        items[i].len = len;
        if (k == FROM) {
            before_it = stats().payload_bytes;
            while (slab_store_retier(store, tiers, 24) == -ENOSPC && ++retiers < 10)
                CHECK(slab_store_evict(store, 64 * KIB, evicted, NULL) > 0);
        }
        if (k >= FROM) live = stats().payload_bytes;
        if (k >= FROM && live < least) least = live;
    }
    CHECK(retiers < 3);
    CHECK(least > before_it / 100 * 88);
    CHECK(live > before_it / 100 * 112);
    CHECK_EQ(stats().retired_bytes, 0);
    CHECK(stats().held_bytes <= BUDGET);
    check_items();
    close_store();
}

int main(void)
{
    RUN(old_values_stay_until_compact_moves_them);
    RUN(puts_use_the_new_tiers_at_once);
    RUN(a_tier_that_is_still_right_stays);
    RUN(a_former_tier_comes_back);
    RUN(tiers_without_values_are_no_former_ones);
    RUN(a_tier_that_began_lower_is_emptied);
    RUN(tables_come_and_go);
    RUN(a_callback_fits_what_moved);
    RUN(large_slots_become_large_objects);
    RUN(the_count_of_tiers_is_free);
    RUN(retiers_many_times);
    RUN(too_many_former_tiers_are_refused);
    RUN(bad_tiers_are_refused);
    RUN(a_retier_that_fails_changes_nothing);
    RUN(a_full_cache_changes_its_tiers);
    return REPORT();
}
