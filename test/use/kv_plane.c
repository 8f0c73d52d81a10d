/* Goal: a data plane of kv-server keeps every value while records move, tiers change and others are
 * evicted; what was read of late stays; and a single write does bounded work.
 * Method: the plane alone, without sockets, from the folder that -I names. The values follow from
 * key and version, and all are compared. Work is counted in records, not in time.
 */
#include "plane.c"

#include "../check.h"

enum { KEYS = 40000, LONGEST = 8000, MIB = 1 << 20 };

static struct plane  plane;
static uint32_t      versions[KEYS]; /* 0: was deleted, or never set */
static size_t        lens[KEYS];
static uint64_t      state;
static unsigned char data[LONGEST];

uint64_t clock_ms(void) { return 1; }

static uint32_t draw(uint32_t below) { return (uint32_t)(check_random(&state) % below); }

static void open_plane(size_t memory)
{
    struct plane_config config = {.memory = memory, .planes = 1};
    memset(versions, 0, sizeof versions);
    state = 5;
    CHECK_EQ(plane_open(&plane, &config), 0);
}

static struct slice key_of(uint32_t number)
{
    static char text[16];
    return (struct slice){(unsigned char *)text,
                          (size_t)snprintf(text, sizeof text, "key:%07u", number)};
}

static const unsigned char *value_of(uint32_t number, size_t len)
{
    memset(data, (int)((number + versions[number]) % 251), len);
    memcpy(data, &versions[number], sizeof versions[number]);
    return data;
}

static void set(uint32_t number, size_t len)
{
    versions[number]++, lens[number] = len;
    struct value value = {{value_of(number, len), len}, 0};
    CHECK_EQ(plane_set(&plane, 0, key_of(number), &value), 0);
}

static void erase(uint32_t number)
{
    CHECK(plane_delete(&plane, 0, key_of(number)));
    versions[number] = 0;
}

/* Whether the key is there. Its value must be the last one. */
static bool is_there(uint32_t number, int use)
{
    struct value value;
    if (!plane_get(&plane, 0, key_of(number), use, &value)) return false;
    CHECK(versions[number] > 0 && value.data.len == lens[number] &&
          memcmp(value.data.data, value_of(number, lens[number]), lens[number]) == 0);
    return true;
}

static uint32_t count_there(uint32_t from, uint32_t end)
{
    uint32_t there = 0;
    for (uint32_t i = from; i < end; i++) there += is_there(i, LOOK);
    return there;
}

static void a_record_that_moves_is_found(void)
{
    struct slab_store_info info;
    uint32_t               left = 0;

    open_plane(0);
    for (uint32_t i = 0; i < KEYS; i++) set(i, 20 + draw(400));
    for (uint32_t i = 0; i < KEYS; i++)
        if (draw(4) > 0) erase(i);
        else left++;
    slab_store_stats(plane.store, &info);
    CHECK(info.capacity_bytes - info.used_bytes < info.used_bytes); /* three quarters are free */
    CHECK_EQ(count_there(0, KEYS), left);
    plane_close(&plane);
}

/* Hot keys come one by one among cold ones, which are six times the memory. Each is read many times
 * in a round of the hand of slab_store_evict. */
static void a_key_that_is_read_survives(void)
{
    enum { HOT = 100, EVERY = 200 };
    uint32_t hot = 0;

    open_plane(2 * MIB);
    for (uint32_t i = 0; i < 2 * KEYS; i++) {
        set(HOT + i % (KEYS - HOT), 100);
        if (i % EVERY == 0 && hot < HOT) set(hot++, 100);
        for (uint32_t at = 0; i % EVERY == 0 && at < hot; at++) (void)is_there(at, USE);
    }
    CHECK_EQ(count_there(0, HOT), HOT);
    CHECK(count_there(HOT, KEYS) < KEYS / 2);
    plane_close(&plane);
}

/* Sizes whose middle goes up and down by a factor of nine, in a plane that is full all the time. */
static void drift(uint32_t writes)
{
    static const uint32_t middles[] = {100, 300, 900, 300};
    for (uint32_t i = 0; i < writes; i++) {
        uint32_t middle = middles[i / (writes / 4) % 4];
        set(draw(KEYS), middle / 2 + draw(middle));
    }
}

/* Store and index are within the budget, but for the chunk that may be in the making. */
static void check_budget(size_t memory)
{
    struct slab_store_info info;
    slab_store_stats(plane.store, &info);
    CHECK(info.held_bytes - info.empty_bytes + plane.index.bytes <= memory + 65536);
}

static void a_write_does_bounded_work(void)
{
    enum { MEMORY = 3 * MIB, MOST = 2 * 65536 / 56 }; /* the least record of drift has 56 bytes */

    open_plane(MEMORY);
    drift(100000);
    CHECK(plane.counts.evicted > KEYS);
    CHECK(plane.looked_most <= MOST);
    check_budget(MEMORY);
    plane.index.bytes += MIB; /* as if a large table had doubled */
    drift(20000);
    CHECK(plane.looked_most <= MOST);
    check_budget(MEMORY);
    plane.index.bytes -= MIB;
    (void)count_there(0, KEYS);
    plane_close(&plane);
}

static void the_tiers_follow_the_sizes(void)
{
    struct slab_store_info info;

    open_plane(4 * MIB);
    drift(160000);
    slab_store_stats(plane.store, &info);
    CHECK(plane.counts.refitted >= 3);
    CHECK((double)info.payload_bytes > 0.92 * (double)info.used_bytes); /* 0.84 as they were */
    uint64_t all = 0;
    for (uint32_t bin = 0; bin < BINS; bin++) all += plane.bins[bin];
    CHECK_EQ(all, count_there(0, KEYS)); /* each record in memory is counted once */
    plane_close(&plane);
}

int main(void)
{
    RUN(a_record_that_moves_is_found);
    RUN(a_key_that_is_read_survives);
    RUN(a_write_does_bounded_work);
    RUN(the_tiers_follow_the_sizes);
    return REPORT();
}
