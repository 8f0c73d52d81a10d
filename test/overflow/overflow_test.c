/* Goal: every function of overflow.h keeps what its declaration says. Method: line by line, on a
 * small file in $TMPDIR; with a look inside only for checksums and for what fits best. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define OVERFLOW_IMPLEMENTATION
#include "../../overflow.h"

#include "../check.h"

enum { KIB = 1024, MIB = 1024 * 1024 };

/* In place of the C library's: a page cannot be read, as on a disk that fails. Open begins to read
 * at 8192, so the first call tells where the map is. */
static const unsigned char *bad_page;
static size_t               bad_offset;
int madvise(void *memory, size_t size, int advice)
{
    const unsigned char *from = memory;
    if (advice == OVERFLOW__MADV_POPULATE_READ && bad_offset > 0) {
        bad_page   = from - 8192 + bad_offset;
        bad_offset = 0;
    }
    if (advice == OVERFLOW__MADV_POPULATE_READ && bad_page && from <= bad_page &&
        bad_page < from + size) {
        errno = EFAULT;
        return -1;
    }
    return (int)syscall(SYS_madvise, memory, size, advice);
}

static char path[256];

static const char *file_named(const char *name)
{
    const char *dir = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/overflow_test_%s_%d", dir ? dir : "/tmp", name, (int)getpid());
    unlink(path);
    return path;
}

static overflow_region *open_sized(const char *name, size_t initial, size_t max, uint32_t flags)
{
    overflow_config  config = {initial, max, flags};
    overflow_region *region = NULL;
    CHECK_EQ(overflow_open(&region, file_named(name), &config), 0);
    if (!region) exit(1);
    return region;
}

/* A small region whose file goes with it. */
static overflow_region *open_small(const char *name)
{
    return open_sized(name, 64 * KIB, 8 * MIB, OVERFLOW_TEMPORARY);
}

static struct overflow_info stats_of(const overflow_region *region)
{
    struct overflow_info stats;
    overflow_stats(region, &stats);
    return stats;
}

static unsigned char byte_of(uint64_t seed, size_t i) { return (unsigned char)(seed * 31 + i * 7); }

static void fill(unsigned char *data, uint64_t seed, size_t size)
{
    for (size_t i = 0; i < size; i++) data[i] = byte_of(seed, i);
}

static bool is_filled(const unsigned char *data, uint64_t seed, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (data[i] != byte_of(seed, i)) return false;
    return true;
}

static overflow_ref write_filled(overflow_region *region, uint64_t seed, uint64_t length)
{
    static unsigned char data[2 * MIB];
    overflow_ref         ref;
    size_t               size = (size_t)length;
    fill(data, seed, size);
    CHECK_EQ(overflow_write(region, data, size, (uint32_t)seed, &ref), 0);
    return ref;
}

static bool holds(const overflow_region *region, overflow_ref ref, uint64_t seed, uint64_t length)
{
    size_t      got;
    const void *value = overflow_read(region, ref, &got);
    return value && got == length && is_filled(value, seed, got);
}

/* -- The life of a value -- */

static void reads_what_was_written(void)
{
    static const size_t sizes[] = {0,  1,  7,   8,   9,    31,   32,     33,      63,
                                   64, 65, 255, 256, 1000, 4096, 100000, 1000000, 1048576};
    overflow_region    *region  = open_small("reads");
    overflow_ref        refs[sizeof sizes / sizeof *sizes];
    size_t              count = sizeof sizes / sizeof *sizes, bytes = 0;

    for (size_t i = 0; i < count; i++) refs[i] = write_filled(region, i, sizes[i]);
    for (size_t i = 0; i < count; i++) {
        overflow_slot slot;
        size_t        size;
        CHECK(refs[i] != 0);
        CHECK(holds(region, refs[i], i, sizes[i]));
        CHECK_EQ((uintptr_t)overflow_read(region, refs[i], &size) % 32, 0);
        CHECK_EQ(overflow_describe(region, refs[i], &slot), 0);
        CHECK(slot.ref == refs[i] && slot.size == sizes[i] && slot.tag == i);
        CHECK_EQ(slot.offset % 32, 0);
        bytes += sizes[i];
    }
    CHECK_EQ(stats_of(region).live_bytes, bytes);
    CHECK_EQ(stats_of(region).live_slots, count);
    for (size_t i = 0; i < count; i++) CHECK_EQ(overflow_free(region, refs[i]), 0);
    CHECK_EQ(stats_of(region).used_bytes, 8192);
    CHECK_EQ(stats_of(region).holes, 0);
    CHECK_EQ(overflow_close(region), 0);
}

static void a_ref_is_good_for_one_life(void)
{
    overflow_region *region = open_small("life");
    overflow_ref     first = write_filled(region, 1, 100), wall = write_filled(region, 2, 100);
    overflow_slot    slot;
    size_t           size = 1;

    CHECK_EQ(overflow_free(region, first), 0);
    CHECK_EQ(overflow_free(region, first), -ESTALE);
    CHECK(overflow_read(region, first, &size) == NULL && size == 0);
    CHECK_EQ(overflow_describe(region, first, &slot), -ESTALE);
    CHECK_EQ(slot.size, 0);

    overflow_ref second = write_filled(region, 3, 100); /* the same place */
    CHECK(first != second && overflow__place(first) == overflow__place(second));
    CHECK_EQ(overflow_free(region, first), -ESTALE);
    CHECK(overflow_read(region, first, &size) == NULL);
    CHECK(holds(region, second, 3, 100) && holds(region, wall, 2, 100));
    overflow_close(region);
}

static void refs_of_no_slot_are_refused(void)
{
    overflow_region *region = open_small("forged");
    overflow_ref     ref    = write_filled(region, 1, 100000);
    uint64_t         state  = 1;
    size_t           size;

    CHECK(overflow_read(region, 0, &size) == NULL);
    CHECK(overflow_read(region, UINT64_MAX, &size) == NULL);
    for (int i = 0; i < 64; i++) CHECK_EQ(overflow_free(region, ref ^ UINT64_C(1) << i), -ESTALE);
    for (int i = 0; i < 100000; i++) {
        overflow_ref forged = check_random(&state);
        if (i % 2) forged = overflow__ref(256 + forged % 3200, forged >> 40);
        if (forged != ref) CHECK(overflow_read(region, forged, &size) == NULL);
    }
    CHECK(holds(region, ref, 1, 100000));
    overflow_close(region);
}

/* A value made of what a slot looks like is still only a value. */
static void a_value_that_looks_like_slots_is_none(void)
{
    overflow_region *region = open_small("mimic");
    overflow_ref     inner = write_filled(region, 1, 64), big = 0;
    uint64_t         words[64];
    size_t           size;

    memcpy(words, region->view.base + overflow__place(inner) * 32, 96);
    CHECK_EQ(overflow_free(region, inner), 0);
    for (int i = 12; i < 64; i++) words[i] = words[i % 12];
    for (uint64_t i = 0; i < 30; i++)
        CHECK_EQ(overflow_write(region, words, sizeof words, 0, &big), 0);
    for (uint64_t place = 256; place < region->used; place++) {
        overflow_ref ref = overflow__ref(place, inner >> OVERFLOW__PLACE_BITS);
        CHECK(overflow_read(region, ref, &size) == NULL);
    }
    overflow_close(region);
}

static void reopened_it_is_all_there(void)
{
    overflow_region *region = open_sized("reopen", 0, 64 * MIB, 0);
    overflow_ref     refs[2000];
    uint64_t         cursor = 0, told = 0;
    overflow_slot    slot;

    for (uint64_t i = 0; i < 2000; i++) refs[i] = write_filled(region, i, i * 3);
    for (uint64_t i = 0; i < 2000; i += 3) CHECK_EQ(overflow_free(region, refs[i]), 0);
    struct overflow_info before = stats_of(region);
    CHECK_EQ(overflow_close(region), 0);

    overflow_config config = {0, 64 * MIB, OVERFLOW_TEMPORARY};
    CHECK_EQ(overflow_open(&region, path, &config), 0);
    struct overflow_info after = stats_of(region);
    CHECK_EQ(after.recovered_slots, before.live_slots);
    CHECK_EQ(after.damaged_slots, 0);
    before.recovered_slots = after.recovered_slots;
    CHECK(memcmp(&before, &after, sizeof before) == 0);
    for (uint64_t i = 0; i < 2000; i++) CHECK(holds(region, refs[i], i, i * 3) == (i % 3 != 0));
    for (; overflow_next(region, &cursor, &slot); told++) CHECK(slot.tag % 3 != 0);
    CHECK_EQ(told, before.live_slots);
    for (uint64_t i = 0; i < 2000; i += 3) {
        CHECK(write_filled(region, i, i * 3) != refs[i]); /* a new life */
        CHECK_EQ(overflow_free(region, refs[i]), -ESTALE);
    }
    overflow_close(region);
}

/* Many at a time are what they are one by one: live, freed, foreign and 0. */
static void many_are_as_one_by_one(void)
{
    overflow_region     *region = open_small("many");
    static overflow_ref  refs[1000];
    static overflow_slot slots[1000];
    struct overflow_info before;
    size_t               live = 0;

    for (uint64_t i = 0; i < 1000; i++) refs[i] = write_filled(region, i, i % 300);
    for (uint64_t i = 0; i < 1000; i += 7) CHECK_EQ(overflow_free(region, refs[i]), 0);
    refs[1] = 0, refs[2] = UINT64_MAX, refs[3] = refs[4] ^ 1;
    for (size_t count = 0; count <= 1000; count = count * 2 + 1) {
        memset(slots, 0xee, sizeof slots);
        size_t found = overflow_read_many(region, refs, slots, count);
        live         = 0;
        for (size_t i = 0; i < count; i++) {
            overflow_slot one;
            size_t        size;
            int           error = overflow_describe(region, refs[i], &one);
            live += error == 0;
            CHECK(slots[i].ref == one.ref && slots[i].tag == one.tag &&
                  slots[i].offset == one.offset && slots[i].size == one.size);
            CHECK(slots[i].value == overflow_read(region, refs[i], &size) && slots[i].size == size);
            if (error == 0) CHECK(is_filled(slots[i].value, slots[i].tag, size));
            overflow_prefetch(region, refs[i]);
        }
        CHECK_EQ(found, live);
        CHECK(count == 1000 || slots[count].ref == UINT64_C(0xeeeeeeeeeeeeeeee));
    }
    before = stats_of(region);
    CHECK_EQ(overflow_free_many(region, refs, 500), 500 - 72 - 3);
    CHECK_EQ(before.live_slots - stats_of(region).live_slots, 500 - 72 - 3);
    CHECK_EQ(overflow_free_many(region, refs, 500), 0);
    CHECK_EQ(overflow_free_many(region, refs, 1000), before.live_slots - (500 - 72 - 3) - 3);

    CHECK_EQ(overflow_read_many(NULL, refs, slots, 1), 0);
    CHECK_EQ(overflow_read_many(region, NULL, slots, 1), 0);
    CHECK_EQ(overflow_read_many(region, refs, NULL, 1), 0);
    CHECK_EQ(overflow_free_many(NULL, refs, 1), 0);
    CHECK_EQ(overflow_free_many(region, NULL, 1), 0);
    overflow_prefetch(NULL, refs[5]);
    overflow_prefetch(region, UINT64_MAX);
    overflow_close(region);
}

static void parts_are_one_value(void)
{
    overflow_region *region = open_small("parts");
    unsigned char    data[300];
    overflow_ref     ref;

    fill(data, 9, sizeof data);
    for (size_t one = 0; one <= 70; one += one % 3 + 1)
        for (size_t two = 0; two <= 100; two += 7) {
            struct iovec parts[4] = {
                {data, one}, {data + one, two}, {NULL, 0}, {data + one + two, 40}};
            CHECK_EQ(overflow_writev(region, parts, 4, 3, &ref), 0);
            CHECK(holds(region, ref, 9, one + two + 40));
        }
    CHECK_EQ(overflow_close(region), 0);

    region = open_sized("parts", 0, MIB, OVERFLOW_TEMPORARY);
    struct iovec bad[2] = {{data, SIZE_MAX}, {data, 2}}, none = {NULL, 1};
    CHECK_EQ(overflow_writev(region, bad, 2, 0, &ref), -EMSGSIZE);
    CHECK_EQ(overflow_writev(region, bad, 1, 0, &ref), -EMSGSIZE);
    CHECK_EQ(overflow_writev(region, &none, 1, 0, &ref), -EINVAL);
    CHECK_EQ(overflow_writev(region, NULL, 1, 0, &ref), -EINVAL);
    CHECK_EQ(overflow_writev(region, bad, -1, 0, &ref), -EINVAL);
    CHECK_EQ(overflow_writev(NULL, bad, 2, 0, &ref), -EINVAL);
    CHECK_EQ(overflow_writev(region, bad, 2, 0, NULL), -EINVAL);
    CHECK_EQ(overflow_writev(region, NULL, 0, 5, &ref), 0);
    CHECK(holds(region, ref, 0, 0));
    CHECK_EQ(stats_of(region).live_slots, 1);
    overflow_close(region);
}

/* In a hole or at the end: room that nobody else gets, then a value and a hole. */
static void a_reservation_becomes_a_value(void)
{
    for (int at_end = 0; at_end < 2; at_end++) {
        overflow_region *region = open_sized("reserve", 64 * KIB, 8 * MIB, 0);
        overflow_ref     first = write_filled(region, 1, 5000), wall = 0, ref, other;
        overflow_slot    slot;
        uint64_t         cursor = 0, told = 0;
        void            *to, *again = &ref;
        if (!at_end) wall = write_filled(region, 2, 50);
        if (!at_end) CHECK_EQ(overflow_free(region, first), 0);
        struct overflow_info before = stats_of(region);

        CHECK_EQ(overflow_reserve(region, 4000, 77, &to), 0);
        CHECK(to && (uintptr_t)to % 32 == 0);
        CHECK_EQ(overflow_reserve(region, 1, 0, &again), -EBUSY);
        CHECK(again == NULL);
        fill(to, 5, 1000);
        other = write_filled(region, 6, 500); /* behind it */
        for (; overflow_next(region, &cursor, &slot); told++)
            CHECK(slot.ref == (told ? other : at_end ? first : wall) || slot.ref == wall ||
                  slot.ref == other);
        CHECK_EQ(told, 2);
        CHECK_EQ(overflow_free(region, other), 0);
        CHECK_EQ(stats_of(region).live_slots, before.live_slots);
        CHECK_EQ(overflow_commit(region, 4001, &ref), -EINVAL);
        CHECK_EQ(ref, 0);
        CHECK_EQ(overflow_commit(region, 1000, &ref), 0);
        CHECK(holds(region, ref, 5, 1000));
        CHECK_EQ(overflow_describe(region, ref, &slot), 0);
        CHECK_EQ(slot.tag, 77);
        CHECK_EQ(overflow_commit(region, 0, &other), -EINVAL);
        CHECK_EQ(overflow_cancel(region), -EINVAL);
        struct overflow_info after = stats_of(region);
        CHECK_EQ(after.free_bytes + 1056, before.free_bytes + after.used_bytes - before.used_bytes);

        CHECK_EQ(overflow_reserve(region, 100000, 0, &to), 0);
        memset(to, 1, 100000);
        CHECK_EQ(overflow_cancel(region), 0);
        after.recovered_slots = 2; /* cancelled, it leaves nothing */
        CHECK_EQ(overflow_reserve(region, 100, 0, &to), 0);
        CHECK_EQ(overflow_close(region), 0); /* and so does close */
        overflow_config config = {64 * KIB, 8 * MIB, OVERFLOW_TEMPORARY};
        CHECK_EQ(overflow_open(&region, path, &config), 0);
        struct overflow_info now = stats_of(region);
        after.capacity_bytes     = now.capacity_bytes;
        CHECK(memcmp(&now, &after, sizeof now) == 0);
        CHECK(holds(region, ref, 5, 1000));

        CHECK_EQ(overflow_reserve(region, 8 * MIB, 0, &to), -EMSGSIZE);
        CHECK(to == NULL);
        CHECK_EQ(overflow_reserve(NULL, 1, 0, &to), -EINVAL);
        CHECK_EQ(overflow_reserve(region, 1, 0, NULL), -EINVAL);
        CHECK_EQ(overflow_commit(NULL, 1, &other), -EINVAL);
        CHECK_EQ(overflow_cancel(NULL), -EINVAL);
        overflow_close(region);
    }
}

/* The owner dies, or a reader looks, while there is one: it is nothing. */
static void an_open_reservation_is_nothing(void)
{
    overflow_region *region = open_sized("nothing", 64 * KIB, 8 * MIB, 0);
    overflow_ref     first = write_filled(region, 1, 3000), wall = write_filled(region, 2, 50), ref;
    overflow_reader *reader;
    unsigned char    buffer[4096];
    size_t           size;
    int              status;
    void            *to;

    CHECK_EQ(overflow_free(region, first), 0);
    CHECK_EQ(overflow_close(region), 0);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        overflow_config own = {0, 8 * MIB, 0}; /* Valgrind looks at all of the mapping at the end */
        if (overflow_open(&region, path, &own) != 0) _exit(1);
        if (overflow_reserve(region, 1000, 0, &to) != 0) _exit(2);
        memset(to, 0xff, 1000);
        overflow_write(region, "x", 1, 8, &ref);
        _exit(0); /* without close */
    }
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    overflow_config config = {0, 8 * MIB, OVERFLOW_TEMPORARY};
    CHECK_EQ(overflow_open(&region, path, &config), 0);
    CHECK_EQ(stats_of(region).live_slots, 2);
    CHECK_EQ(stats_of(region).damaged_slots, 0);
    CHECK(holds(region, wall, 2, 50));

    CHECK_EQ(overflow_reader_open(&reader, path), 0);
    CHECK_EQ(overflow_reserve(region, 1000, 0, &to), 0);
    fill(to, 3, 1000);
    ref = overflow__ref(((uintptr_t)to - (uintptr_t)region->view.base) / 32 - 1, region->serial);
    CHECK_EQ(overflow_reader_read(reader, ref, buffer, sizeof buffer, &size), -ESTALE);
    CHECK(overflow_read(region, ref, &size) == NULL);
    CHECK_EQ(overflow_free(region, ref), -ESTALE);
    overflow_ref committed;
    CHECK_EQ(overflow_commit(region, 1000, &committed), 0);
    CHECK_EQ(committed, ref);
    CHECK_EQ(overflow_reader_read(reader, ref, buffer, sizeof buffer, &size), 0);
    CHECK(size == 1000 && is_filled(buffer, 3, 1000));
    overflow_reader_close(reader);
    overflow_close(region);
}

/* -- For operators -- */

static struct overflow_tag_info account_of(overflow_region *region, uint32_t tag)
{
    struct overflow_tag_info info = {.live_slots = 77};
    CHECK_EQ(overflow_tag_stats(region, tag, &info), 0);
    return info;
}

/* Accounts that are kept are what a count of all slots tells, whenever they begin. */
static void accounts_add_up(void)
{
    enum { TAGS = 500, VALUES = 3000 };
    for (int late = 0; late < 2; late++) {
        overflow_region    *region = open_small("accounts");
        static overflow_ref refs[VALUES];
        static uint64_t     slots[TAGS], bytes[TAGS], held[TAGS];
        overflow_slot       slot;
        uint64_t            state = 3, cursor = 0;

        memset(refs, 0, sizeof refs);
        memset(slots, 0, sizeof slots);
        memset(bytes, 0, sizeof bytes);
        memset(held, 0, sizeof held);
        if (!late) CHECK_EQ(overflow_tag_limit(region, 1, 0), 0);
        for (int i = 0; i < 4 * VALUES; i++) {
            uint64_t r   = check_random(&state);
            int      key = (int)(r % VALUES);
            if (refs[key]) CHECK_EQ(overflow_free(region, refs[key]), 0);
            refs[key] = 0;
            if (i % 3 == 0) continue;
            /* each tag has its time, so that accounts come and go */
            uint32_t tag = (uint32_t)(i * TAGS / (4 * VALUES)) * 65537;
            CHECK_EQ(overflow_write(region, path, (size_t)(r >> 20) % 200, tag, &refs[key]), 0);
        }
        while (overflow_next(region, &cursor, &slot)) {
            slots[slot.tag / 65537]++;
            bytes[slot.tag / 65537] += slot.size;
            held[slot.tag / 65537] += 32 + (slot.size + 31) / 32 * 32;
        }
        for (uint32_t i = 0; i < TAGS; i++) {
            struct overflow_tag_info info = account_of(region, i * 65537);
            CHECK_EQ(info.live_slots, slots[i]);
            CHECK_EQ(info.live_bytes, bytes[i]);
            CHECK_EQ(info.held_bytes, held[i]);
            CHECK_EQ(info.max_bytes, 0);
        }
        CHECK_EQ(account_of(region, 5).live_slots, 0);
        CHECK(region->tag_room < 4096);
        overflow_close(region);
    }
}

static void a_tag_has_its_limit(void)
{
    overflow_region *region = open_small("limit");
    unsigned char    data[100];
    overflow_ref     refs[10], ref = 1;
    struct iovec     part = {data, 100};
    void            *to;

    fill(data, 1, 100);
    for (int i = 0; i < 10; i++) CHECK_EQ(overflow_write(region, data, 100, 7, &refs[i]), 0);
    CHECK_EQ(account_of(region, 7).held_bytes, 1600);
    CHECK_EQ(overflow_tag_limit(region, 7, 1759), 0);
    CHECK_EQ(overflow_write(region, data, 100, 7, &ref), -EDQUOT);
    CHECK_EQ(ref, 0);
    CHECK_EQ(overflow_writev(region, &part, 1, 7, &ref), -EDQUOT);
    CHECK_EQ(overflow_reserve(region, 100, 7, &to), -EDQUOT);
    CHECK(to == NULL);
    CHECK_EQ(overflow_write(region, data, 96, 7, &ref), 0);
    CHECK_EQ(overflow_write(region, data, 100, 8, &ref), 0); /* another tag */
    CHECK_EQ(overflow_tag_limit(region, 7, 1760), 0);
    CHECK_EQ(overflow_write(region, data, 0, 7, &ref), 0);
    CHECK_EQ(overflow_write(region, data, 0, 7, &ref), -EDQUOT);
    CHECK_EQ(overflow_free_many(region, refs, 10), 10);
    CHECK_EQ(account_of(region, 7).live_slots, 2);

    CHECK_EQ(overflow_reserve(region, 1500, 7, &to), 0); /* it counts at once */
    CHECK_EQ(account_of(region, 7).held_bytes, 128 + 32 + 1536);
    CHECK_EQ(overflow_write(region, data, 100, 7, &ref), -EDQUOT);
    CHECK_EQ(overflow_commit(region, 10, &ref), 0);
    CHECK_EQ(account_of(region, 7).held_bytes, 128 + 32 + 64);
    CHECK_EQ(account_of(region, 7).live_bytes, 96 + 0 + 10);
    CHECK_EQ(overflow_reserve(region, 500, 7, &to), 0);
    CHECK_EQ(overflow_cancel(region), 0);
    CHECK_EQ(account_of(region, 7).held_bytes, 128 + 32 + 64);
    CHECK_EQ(account_of(region, 7).max_bytes, 1760);
    CHECK_EQ(overflow_tag_limit(region, 7, 1), 0); /* below what it holds */
    CHECK_EQ(overflow_write(region, data, 0, 7, &ref), -EDQUOT);
    CHECK_EQ(overflow_tag_limit(region, 7, 0), 0);
    CHECK_EQ(overflow_write(region, data, 100, 7, &ref), 0);

    struct overflow_tag_info info = {.live_slots = 1};
    CHECK_EQ(overflow_tag_limit(NULL, 7, 1), -EINVAL);
    CHECK_EQ(overflow_tag_stats(NULL, 7, &info), -EINVAL);
    CHECK_EQ(info.live_slots, 0);
    CHECK_EQ(overflow_tag_stats(region, 7, NULL), -EINVAL);
    overflow_close(region);

    region = open_small("limit"); /* a reservation that is older than the accounts */
    CHECK_EQ(overflow_reserve(region, 500, 7, &to), 0);
    CHECK_EQ(account_of(region, 7).held_bytes, 544);
    CHECK_EQ(overflow_commit(region, 500, &ref), 0);
    CHECK_EQ(account_of(region, 7).held_bytes, 544);
    CHECK_EQ(account_of(region, 7).live_slots, 1);
    overflow_close(region);
}

static void a_changed_value_is_found(void)
{
    overflow_region *region = open_small("verify");
    overflow_ref     one = write_filled(region, 1, 10000), other = write_filled(region, 2, 0);
    size_t           size;

    CHECK_EQ(overflow_verify(region, one), 0);
    CHECK_EQ(overflow_verify(region, other), 0);
    unsigned char *value = (unsigned char *)(uintptr_t)overflow_read(region, one, &size);
    value[9999] ^= 1;
    CHECK_EQ(overflow_verify(region, one), -EUCLEAN);
    value[9999] ^= 1;
    CHECK_EQ(overflow_verify(region, one), 0);
    bad_page = value + 5000;
    CHECK_EQ(overflow_verify(region, one), -EIO);
    bad_page = NULL;
    CHECK_EQ(overflow_free(region, one), 0);
    CHECK_EQ(overflow_verify(region, one), -ESTALE);
    CHECK_EQ(overflow_verify(region, 0), -ESTALE);
    CHECK_EQ(overflow_verify(NULL, other), -EINVAL);
    overflow_close(region);
}

static void excl_takes_only_a_new_file(void)
{
    overflow_config  config = {64 * KIB, MIB, OVERFLOW_EXCL};
    overflow_region *region;
    CHECK_EQ(overflow_open(&region, file_named("excl"), &config), 0);
    write_filled(region, 1, 10);
    overflow_close(region);
    CHECK_EQ(overflow_open(&region, path, &config), -EEXIST);
    CHECK(region == NULL);
    config.flags = OVERFLOW_TEMPORARY;
    CHECK_EQ(overflow_open(&region, path, &config), 0);
    CHECK_EQ(stats_of(region).live_slots, 1);
    overflow_close(region);
}

static uint64_t sum_of_file(void)
{
    FILE    *file = fopen(path, "rb");
    uint64_t sum  = 0;
    for (int c; file && (c = getc(file)) != EOF;) sum = sum * 31 + (uint64_t)c;
    if (file) fclose(file);
    return sum;
}

/* Recovery, notes of holes, damage: all of that stays in memory. */
static void read_only_changes_nothing(void)
{
    overflow_region *region = open_sized("rdonly", 64 * KIB, MIB, 0), *second, *owner;
    overflow_ref     refs[20], ref;
    overflow_config  config = {.flags = OVERFLOW_RDONLY};
    size_t           size;
    int              fd, status;
    void            *to;

    for (uint64_t i = 0; i < 20; i++) refs[i] = write_filled(region, i, 1000 + i);
    CHECK_EQ(overflow_open(&second, path, &config), -EBUSY);
    CHECK_EQ(overflow_close(region), 0);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) { /* an owner that dies with frees that are not settled */
        overflow_config own = {0, 8 * MIB, 0}; /* small: Valgrind looks at all of it */
        if (overflow_open(&region, path, &own) != 0) _exit(1);
        for (int i = 0; i < 8; i += 2) overflow_free(region, refs[i]);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK_EQ(pwrite(fd, "damage", 6, 8192 + 10 * 1056 + 200), 6);
    close(fd);
    CHECK_EQ(chmod(path, 0400), 0);

    uint64_t before = sum_of_file();
    CHECK_EQ(overflow_open(&region, path, &config), 0);
    CHECK_EQ(overflow_open(&second, path, &config), 0);
    CHECK_EQ(stats_of(region).damaged_slots, 1);
    CHECK_EQ(stats_of(region).live_slots, 15);
    CHECK(holds(region, refs[1], 1, 1001) && !overflow_read(region, refs[2], &size));
    CHECK_EQ(overflow_write(region, "x", 1, 0, &ref), -EROFS);
    CHECK_EQ(overflow_reserve(region, 1, 0, &to), -EROFS);
    CHECK_EQ(overflow_free(region, refs[1]), -EROFS);
    CHECK_EQ(overflow_verify(region, refs[1]), 0);
    CHECK_EQ(overflow_trim(region), 0);
    CHECK_EQ(overflow_sync(region), 0);
    CHECK_EQ(overflow_open(&owner, path, NULL), geteuid() == 0 ? -EBUSY : -EACCES);
    CHECK_EQ(overflow_close(region), 0);
    CHECK_EQ(overflow_close(second), 0);
    CHECK(sum_of_file() == before);

    static const uint32_t refused[] = {OVERFLOW_FRESH, OVERFLOW_TEMPORARY, OVERFLOW_EXCL};
    for (int i = 0; i < 3; i++) {
        config.flags = OVERFLOW_RDONLY | refused[i];
        CHECK_EQ(overflow_open(&region, path, &config), -EINVAL);
        config.flags = OVERFLOW_SALVAGE | refused[i];
        CHECK_EQ(overflow_open(&region, path, &config), -EINVAL);
    }
    config.flags = OVERFLOW_RDONLY;
    unlink(path);
    CHECK_EQ(overflow_open(&region, path, &config), -ENOENT);
    CHECK(access(path, F_OK) != 0);
}

/* Where the walk meets a page that cannot be read. */
static void salvage_reads_the_rest(void)
{
    overflow_region *region = open_sized("salvage", 64 * KIB, MIB, 0);
    overflow_ref     refs[40];
    overflow_config  config = {.flags = OVERFLOW_RDONLY};
    uint64_t         lost   = 0;

    for (uint64_t i = 0; i < 40; i++) refs[i] = write_filled(region, i, 1000);
    CHECK_EQ(overflow_close(region), 0);
    for (int salvage = 0; salvage < 2; salvage++) {
        config.flags = salvage ? OVERFLOW_SALVAGE : OVERFLOW_RDONLY;
        bad_offset   = 5 * 4096;
        int error    = overflow_open(&region, path, &config);
        CHECK_EQ(error, salvage ? 0 : -EIO);
    }
    bad_page = NULL;
    for (uint64_t i = 0; i < 40; i++) {
        uint64_t from = overflow__place(refs[i]) * 32, to = from + 32 + 1024;
        bool     hit  = from < 6 * 4096 && to > 5 * 4096;
        lost += hit;
        CHECK_EQ(holds(region, refs[i], i, 1000), !hit);
    }
    CHECK(lost >= 4 && stats_of(region).damaged_slots >= 1);
    CHECK_EQ(stats_of(region).live_slots, 40 - lost);
    CHECK_EQ(overflow_close(region), 0);
    unlink(path);
}

/* -- Readers -- */

static void a_reader_finds_all(void)
{
    overflow_region *region = open_sized("finds", 64 * KIB, 8 * MIB, OVERFLOW_TEMPORARY);
    overflow_ref     refs[300];
    overflow_reader *reader;
    overflow_slot    mine, theirs;
    uint64_t         cursor = 0, other = 0, slots = 0;
    const void      *value;
    size_t           size;

    CHECK_EQ(overflow_reader_open(&reader, path), 0);
    CHECK(!overflow_reader_next(reader, &cursor, &theirs));
    cursor = 0;
    for (uint64_t i = 0; i < 300; i++) refs[i] = write_filled(region, i, i * 11);
    for (uint64_t i = 0; i < 300; i += 3) CHECK_EQ(overflow_free(region, refs[i]), 0);
    overflow_trim(region);
    for (; overflow_next(region, &cursor, &mine); slots++) {
        CHECK(overflow_reader_next(reader, &other, &theirs));
        CHECK(theirs.ref == mine.ref && theirs.size == mine.size && theirs.tag == mine.tag);
        CHECK(theirs.offset == mine.offset && theirs.value == NULL);
        CHECK_EQ(overflow_reader_describe(reader, mine.ref, &theirs), 0);
        CHECK(theirs.ref == mine.ref && theirs.tag == mine.tag);
        CHECK_EQ(overflow_reader_peek(reader, mine.ref, &value, &size), 0);
        CHECK(size == mine.size && is_filled(value, mine.tag, size));
        CHECK_EQ(overflow_reader_check(reader, mine.ref), 0);
    }
    CHECK_EQ(slots, 200);
    CHECK(!overflow_reader_next(reader, &other, &theirs));
    CHECK_EQ(theirs.ref, 0);

    CHECK_EQ(overflow_reader_peek(reader, refs[1], &value, &size), 0);
    CHECK_EQ(overflow_free(region, refs[1]), 0);
    CHECK_EQ(overflow_reader_check(reader, refs[1]), -ESTALE);
    CHECK_EQ(overflow_reader_peek(reader, refs[1], &value, &size), -ESTALE);
    CHECK(value == NULL && size == 0);
    CHECK_EQ(overflow_reader_describe(reader, refs[1], &theirs), -ESTALE);
    CHECK_EQ(theirs.ref, 0);
    for (int i = 0; i < 64; i++) {
        overflow_ref forged = refs[2] ^ UINT64_C(1) << i;
        CHECK_EQ(overflow_reader_check(reader, forged), -ESTALE);
        CHECK_EQ(overflow_reader_describe(reader, forged, &theirs), -ESTALE);
    }
    CHECK_EQ(overflow_reader_describe(NULL, refs[2], &theirs), -EINVAL);
    CHECK_EQ(overflow_reader_describe(reader, refs[2], NULL), -EINVAL);
    CHECK_EQ(overflow_reader_peek(NULL, refs[2], &value, &size), -EINVAL);
    CHECK_EQ(overflow_reader_peek(reader, refs[2], NULL, &size), -EINVAL);
    CHECK_EQ(overflow_reader_peek(reader, refs[2], &value, NULL), -EINVAL);
    CHECK_EQ(overflow_reader_check(NULL, refs[2]), -EINVAL);
    CHECK(!overflow_reader_next(NULL, &other, &theirs));
    CHECK(!overflow_reader_next(reader, NULL, &theirs));
    CHECK(!overflow_reader_next(reader, &other, NULL));
    overflow_reader_close(reader);
    overflow_close(region);
}

/* -- Space -- */

static void growth_moves_nothing(void)
{
    overflow_region *region = open_sized("growth", 16 * KIB, 32 * MIB, OVERFLOW_TEMPORARY);
    overflow_ref     first  = write_filled(region, 7, 5000);
    size_t           size;
    const void      *value = overflow_read(region, first, &size);
    for (int i = 0; i < 200; i++) write_filled(region, 1, 100000);
    CHECK(overflow_read(region, first, &size) == value);
    CHECK(is_filled(value, 7, 5000));
    CHECK(stats_of(region).capacity_bytes >= 20000000);
    overflow_close(region);
}

static void the_maximum_is_an_error_and_no_more(void)
{
    overflow_region *region = open_sized("max", 0, MIB, OVERFLOW_TEMPORARY);
    overflow_ref     refs[1100], ref = 1;
    int              count = 0, error;
    unsigned char    data[1001];

    for (fill(data, 5, 1001); (error = overflow_write(region, data, 1000, 5, &ref)) == 0; count++)
        refs[count] = ref;
    CHECK_EQ(error, -ENOSPC);
    CHECK_EQ(ref, 0);
    CHECK(count >= 980); /* 1,032 bytes each take 33 granules: 1,056 */
    CHECK_EQ(overflow_write(region, data, 1000, 5, &ref), -ENOSPC);
    for (int i = 0; i < count; i++) CHECK(holds(region, refs[i], 5, 1000));
    CHECK_EQ(overflow_free(region, refs[500]), 0);
    CHECK_EQ(overflow_write(region, data, 1001, 6, &ref), 0); /* as many granules */
    CHECK_EQ(overflow_write(region, data, 1, 6, &ref), 0);    /* what is left at the end */
    CHECK_EQ(stats_of(region).max_bytes, MIB);
    CHECK(stats_of(region).used_bytes <= MIB);
    overflow_close(region);
}

static void too_large_is_told_apart(void)
{
    overflow_region *region = open_small("large");
    overflow_ref     ref;
    unsigned char   *data = calloc(1, 8 * MIB);
    CHECK_EQ(overflow_write(region, data, 8 * MIB, 0, &ref), -EMSGSIZE);
    CHECK_EQ(overflow_write(region, data, 8 * MIB - 8192 - 32, 0, &ref), -EMSGSIZE);
    CHECK_EQ(overflow_write(region, data, 8 * MIB - 8192 - 64, 0, &ref), 0); /* all there is */
    CHECK_EQ(overflow_write(region, data, 0, 0, &ref), -ENOSPC);
    free(data);
    overflow_close(region);
}

/* Four values with walls between them, freed; then the smallest hole that holds is taken. */
static void the_hole_that_fits_best_is_taken(void)
{
    static const size_t sizes[] = {4096, 1000, 300, 2000};
    overflow_region    *region  = open_small("best");
    overflow_ref        refs[4];
    for (int i = 0; i < 4; i++) {
        refs[i] = write_filled(region, 1, sizes[i]);
        write_filled(region, 2, 1);
    }
    for (int i = 0; i < 4; i++) CHECK_EQ(overflow_free(region, refs[i]), 0);
    CHECK_EQ(stats_of(region).holes, 4);
    CHECK_EQ(stats_of(region).largest_hole, 4096 + 32);
    CHECK_EQ(overflow__place(write_filled(region, 3, 900)), overflow__place(refs[1]));
    CHECK_EQ(overflow__place(write_filled(region, 3, 1500)), overflow__place(refs[3]));
    CHECK_EQ(overflow__place(write_filled(region, 3, 2000)), overflow__place(refs[0]));
    CHECK_EQ(overflow__place(write_filled(region, 3, 310)), overflow__place(refs[2]));
    overflow_close(region);
}

/* Above 128 KiB, too, and however many of nearly the same size there are. */
static void large_holes_fit_best_too(void)
{
    enum { HOLES = 64 };
    overflow_region *region = open_sized("large", 0, 64 * MIB, OVERFLOW_TEMPORARY);
    overflow_ref     refs[HOLES];

    for (uint64_t i = 0; i < HOLES; i++) { /* each size is there once, in no order */
        refs[i] = write_filled(region, i, 270000 + i * 37 % HOLES * 96);
        write_filled(region, i, 1);
    }
    for (int i = 0; i < HOLES; i++) CHECK_EQ(overflow_free(region, refs[i]), 0);
    CHECK_EQ(stats_of(region).largest_hole, 270016 + (HOLES - 1) * 96 + 32);
    for (uint64_t i = 0; i < HOLES; i++) {
        uint64_t place = overflow__place(refs[i]);
        refs[i]        = write_filled(region, i, 269950 + i * 37 % HOLES * 96);
        CHECK_EQ(overflow__place(refs[i]), place);
    }
    CHECK_EQ(stats_of(region).largest_hole, 64);
    CHECK_EQ(overflow_close(region), 0);
}

/* There is no room but in one hole among many of its size class. */
static void the_largest_hole_can_be_used(void)
{
    overflow_region *region = open_sized("room", 0, 16 * MIB, OVERFLOW_TEMPORARY);
    overflow_ref     refs[50], last;

    for (uint64_t i = 0; i < 50; i++) {
        refs[i] = write_filled(region, i, i == 0 ? 270016 : 262200);
        write_filled(region, i, 1);
    }
    while (overflow_write(region, "rest", 4, 0, &last) == 0) continue;
    for (int i = 0; i < 50; i++) CHECK_EQ(overflow_free(region, refs[i]), 0);
    CHECK_EQ(stats_of(region).largest_hole, 270048);
    CHECK(holds(region, write_filled(region, 1, 270016), 1, 270016));
    CHECK_EQ(overflow_close(region), 0);
}

/* A hole that has no pages, beside one that has: together they are room enough. */
static void a_trimmed_hole_and_its_neighbours_are_room(void)
{
    for (int order = 0; order < 3; order++) {
        overflow_region *region = open_sized("beside", 0, 12 * MIB, OVERFLOW_TEMPORARY);
        overflow_ref     refs[3], last;
        for (uint64_t i = 0; i < 3; i++) refs[i] = write_filled(region, i, 2 * MIB - 1000);
        while (overflow_write(region, "rest", 4, 0, &last) == 0) continue;
        CHECK_EQ(overflow_free(region, refs[order]), 0);
        if (overflow_trim(region) == 0) printf("# this file system takes nothing back\n");
        for (int i = 0; i < 3; i++)
            if (i != order) CHECK_EQ(overflow_free(region, refs[i]), 0);
        static unsigned char data[5 * MIB];
        fill(data, 7, sizeof data);
        CHECK_EQ(overflow_write(region, data, sizeof data, 0, &last), 0);
        CHECK(holds(region, last, 7, sizeof data));
        CHECK_EQ(overflow_write(region, data, MIB - 5000, 0, &refs[0]), 0);
        CHECK_EQ(overflow_free(region, last), 0);
        CHECK_EQ(overflow_free(region, refs[0]), 0);
        CHECK_EQ(overflow_write(region, data, sizeof data, 0, &last), 0);
        CHECK_EQ(overflow_close(region), 0);
    }
}

static void neighbours_become_one_hole(void)
{
    static const int orders[][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                    {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    overflow_region *region      = open_small("join");
    for (size_t order = 0; order < 6; order++) {
        overflow_ref refs[3], wall;
        for (int i = 0; i < 3; i++) refs[i] = write_filled(region, 1, 1000);
        wall = write_filled(region, 2, 1000);
        for (int i = 0; i < 3; i++) CHECK_EQ(overflow_free(region, refs[orders[order][i]]), 0);
        CHECK_EQ(stats_of(region).holes, 1);
        CHECK_EQ(stats_of(region).largest_hole, 3 * 1056);
        CHECK_EQ(stats_of(region).free_bytes, 3 * 1056);
        CHECK_EQ(overflow_free(region, wall), 0);
        CHECK_EQ(stats_of(region).holes, 0);
        CHECK_EQ(stats_of(region).used_bytes, 8192);
    }
    overflow_close(region);
}

/* What was given back is there again when it is needed. */
static void trim_gives_back(void)
{
    overflow_region *region = open_sized("trim", 0, 16 * MIB, OVERFLOW_TEMPORARY);
    overflow_ref     refs[20], walls[20];
    for (uint64_t i = 0; i < 20; i++) {
        refs[i]  = write_filled(region, i, 400000);
        walls[i] = write_filled(region, i, 10);
    }
    struct overflow_info before = stats_of(region);
    for (uint64_t i = 0; i < 20; i += 2) CHECK_EQ(overflow_free(region, refs[i]), 0);
    uint64_t held = overflow__blocks(region);
    size_t   got  = overflow_trim(region);
    if (got == 0) printf("# this file system takes nothing back\n");
    else {
        CHECK(got >= 10 * 390000);
        CHECK_EQ(held - overflow__blocks(region), got);
        CHECK_EQ(overflow_trim(region), 0);
    }
    CHECK_EQ(stats_of(region).holes, 10);
    CHECK_EQ(stats_of(region).used_bytes, before.used_bytes);
    for (uint64_t i = 0; i < 20; i++) {
        CHECK(holds(region, walls[i], i, 10));
        if (i % 2 != 0) CHECK(holds(region, refs[i], i, 400000));
        else refs[i] = write_filled(region, i, 400000);
    }
    CHECK_EQ(stats_of(region).used_bytes, before.used_bytes);
    for (uint64_t i = 0; i < 20; i++) CHECK(holds(region, refs[i], i, 400000));
    overflow_close(region);
}

static void a_trimmed_file_opens_as_it_was(void)
{
    overflow_region *region = open_sized("sparse", 0, 16 * MIB, 0);
    overflow_ref     big = write_filled(region, 1, 900000), wall = write_filled(region, 2, 10);
    overflow_config  config = {0, 16 * MIB, OVERFLOW_TEMPORARY};
    CHECK_EQ(overflow_free(region, big), 0);
    size_t got = overflow_trim(region);
    overflow_close(region);
    CHECK_EQ(overflow_open(&region, path, &config), 0);
    CHECK_EQ(stats_of(region).damaged_slots, 0);
    CHECK_EQ(stats_of(region).holes, 1);
    CHECK(holds(region, wall, 2, 10));
    if (got > 0) CHECK_EQ(region->bins[1].first[overflow__bin(28126)] != 0, 1);
    big = write_filled(region, 3, 900000);
    CHECK(holds(region, big, 3, 900000));
    CHECK_EQ(stats_of(region).holes, 0);
    overflow_close(region);
}

/* -- Looking around -- */

static void next_tells_what_lives_once(void)
{
    overflow_region *region = open_small("next");
    overflow_ref     refs[300];
    uint64_t         cursor = 0, seen[300] = {0};
    overflow_slot    slot;
    uint64_t         state = 3, last = 0;

    CHECK(!overflow_next(region, &cursor, &slot));
    for (uint64_t i = 0; i < 300; i++) refs[i] = write_filled(region, i, 10 + i % 50 * 30);
    for (cursor = 0; overflow_next(region, &cursor, &slot);) {
        CHECK(slot.offset > last);
        last = slot.offset;
        if (slot.tag < 300) seen[slot.tag]++;
        /* Free what was told, and now and then what comes next; write something elsewhere. */
        if (slot.tag < 300 && slot.tag % 3 == 0) CHECK_EQ(overflow_free(region, slot.ref), 0);
        if (slot.tag < 290 && slot.tag % 10 == 1) overflow_free(region, refs[slot.tag + 2]);
        if (check_random(&state) % 2) write_filled(region, 1000, check_random(&state) % 2000);
    }
    CHECK(!overflow_next(region, &cursor, &slot));
    for (uint64_t i = 0; i < 300; i++) CHECK(seen[i] <= 1 && (seen[i] == 1 || i % 10 == 3));
    overflow_close(region);
}

static void a_reader_follows(void)
{
    static unsigned char buffer[2 * MIB];
    overflow_region     *region = open_sized("reader", 16 * KIB, 64 * MIB, OVERFLOW_TEMPORARY);
    overflow_reader     *reader;
    overflow_ref         small = write_filled(region, 1, 100), big;
    size_t               size;

    CHECK_EQ(overflow_reader_open(&reader, path), 0);
    CHECK_EQ(overflow_reader_read(reader, small, buffer, 100, &size), 0);
    CHECK(size == 100 && is_filled(buffer, 1, 100));
    CHECK_EQ(overflow_reader_read(reader, small, buffer, 99, &size), -ENOBUFS);
    CHECK_EQ(size, 100);
    CHECK_EQ(overflow_reader_read(reader, small, NULL, 0, &size), -ENOBUFS);
    for (uint64_t i = 0; i < 20; i++) {
        big = write_filled(region, i, 1000000);
        CHECK_EQ(overflow_reader_read(reader, big, buffer, sizeof buffer, &size), 0);
        CHECK(size == 1000000 && is_filled(buffer, i, size));
    }
    CHECK_EQ(overflow_free(region, small), 0);
    CHECK_EQ(overflow_reader_read(reader, small, buffer, 100, &size), -ESTALE);
    CHECK_EQ(size, 0);
    CHECK_EQ(overflow_reader_read(reader, 0, buffer, 100, &size), -ESTALE);
    CHECK_EQ(overflow_reader_read(reader, UINT64_MAX, buffer, 100, &size), -ESTALE);
    overflow_close(region);
    CHECK_EQ(overflow_reader_read(reader, big, buffer, sizeof buffer, &size), 0); /* still mapped */
    overflow_reader_close(reader);
    CHECK_EQ(overflow_reader_open(&reader, path), -ENOENT);
}

/* -- The file -- */

static void the_file_is_private(void)
{
    struct stat      status;
    overflow_region *region = open_small("private"), *second;
    CHECK_EQ(stat(path, &status), 0);
    CHECK_EQ(status.st_mode & 0177, 0);
    CHECK(fcntl(region->fd, F_GETFD) & FD_CLOEXEC);
    CHECK(strcmp(overflow_path(region), path) == 0);
    CHECK_EQ(overflow_open(&second, path, NULL), -EBUSY);
    CHECK(second == NULL);
    CHECK_EQ(overflow_close(region), 0);
    CHECK_EQ(stat(path, &status), -1);
}

static void fresh_forgets(void)
{
    unsigned char    buffer[100];
    overflow_region *region = open_sized("fresh", 0, 8 * MIB, 0);
    overflow_ref     old    = write_filled(region, 1, 100), now;
    overflow_config  config = {0, 8 * MIB, OVERFLOW_FRESH | OVERFLOW_TEMPORARY};
    overflow_reader *reader;
    size_t           size;

    CHECK_EQ(overflow_reader_open(&reader, path), 0);
    overflow_close(region);
    CHECK_EQ(overflow_open(&region, path, &config), 0);
    CHECK_EQ(stats_of(region).live_slots + stats_of(region).damaged_slots, 0);
    CHECK(overflow_read(region, old, &size) == NULL);
    CHECK_EQ(overflow_reader_read(reader, old, buffer, 100, &size), -ESTALE);
    now = write_filled(region, 2, 100);
    CHECK(now != old);
    CHECK_EQ(overflow_reader_read(reader, old, buffer, 100, &size), -ESTALE);
    CHECK_EQ(overflow_reader_read(reader, now, buffer, 100, &size), 0);
    CHECK(is_filled(buffer, 2, 100));
    overflow_reader_close(reader);
    overflow_close(region);
}

/* Files that are written in the same way, one after the other and at once. */
static void refs_of_another_file_are_stale(void)
{
    overflow_region *region, *other = open_small("first");
    overflow_reader *reader, *left;
    overflow_ref     refs[200], others[200];
    unsigned char    buffer[100];
    size_t           size;

    for (uint64_t i = 0; i < 200; i++) others[i] = write_filled(other, i, i % 90);
    CHECK_EQ(overflow_reader_open(&left, path), 0);
    region = open_small("second");
    for (uint64_t i = 0; i < 200; i++) refs[i] = write_filled(region, i, i % 90);
    CHECK_EQ(overflow_reader_open(&reader, path), 0);
    for (uint64_t i = 0; i < 200; i++) {
        overflow_slot slot;
        CHECK(overflow_read(region, others[i], &size) == NULL);
        CHECK_EQ(overflow_describe(region, others[i], &slot), -ESTALE);
        CHECK_EQ(overflow_free(region, others[i]), -ESTALE);
        CHECK_EQ(overflow_reader_read(reader, others[i], buffer, 100, &size), -ESTALE);
        CHECK_EQ(overflow_reader_read(reader, refs[i], buffer, 100, &size), 0);
    }
    CHECK_EQ(overflow_close(other), 0); /* unlinks it; the reader stays with that file */
    other = open_small("first");
    for (uint64_t i = 0; i < 200; i++) refs[i] = write_filled(other, i, i % 90);
    for (uint64_t i = 0; i < 200; i++) {
        CHECK_EQ(overflow_reader_read(left, refs[i], buffer, 100, &size), -ESTALE);
        CHECK_EQ(overflow_reader_read(left, others[i], buffer, 100, &size), 0);
        CHECK_EQ(overflow_free(other, others[i]), -ESTALE);
    }
    overflow_reader_close(left);
    overflow_reader_close(reader);
    CHECK_EQ(overflow_close(other), 0);
    CHECK_EQ(overflow_close(region), 0);
}

/* The header that says where the serials ended is lost. */
static void refs_of_before_damage_are_stale(void)
{
    static const char zeros[8192];
    overflow_config   fresh  = {0, 8 * MIB, OVERFLOW_FRESH | OVERFLOW_TEMPORARY};
    overflow_region  *region = open_sized("damaged", 0, 8 * MIB, 0);
    overflow_ref      old    = write_filled(region, 1, 100), new;
    size_t            size;

    overflow_close(region);
    int fd = open(path, O_WRONLY);
    CHECK(fd >= 0 && write(fd, zeros, sizeof zeros) == (ssize_t)sizeof zeros);
    close(fd);
    CHECK_EQ(overflow_open(&region, path, NULL), -EUCLEAN);
    CHECK_EQ(overflow_open(&region, path, &fresh), 0);
    new = write_filled(region, 1, 100);
    CHECK(old != new && overflow_read(region, old, &size) == NULL);
    CHECK_EQ(overflow_free(region, old), -ESTALE);
    CHECK_EQ(overflow_close(region), 0);
}

/* Below 8,192 bytes, as a killed creator leaves a file, only an owner that may write makes a region
 * of it. */
static void a_file_that_is_cut_short(void)
{
    static const uint32_t reads[] = {OVERFLOW_RDONLY, OVERFLOW_SALVAGE};
    overflow_region      *region  = open_sized("cut", 0, 8 * MIB, 0);
    overflow_reader      *reader;
    overflow_ref          ref = write_filled(region, 1, 100);
    size_t                size;

    CHECK_EQ(overflow_close(region), 0);
    for (off_t length = 5000; length <= 8192; length += 3192) {
        int wanted = length < 8192 ? -EUCLEAN : 0;
        CHECK_EQ(truncate(path, length), 0);
        for (int i = 0; i < 2; i++) {
            CHECK_EQ(overflow_open(&region, path, &(overflow_config){.flags = reads[i]}), wanted);
            overflow_close(region);
        }
        CHECK_EQ(overflow_reader_open(&reader, path), wanted);
        overflow_reader_close(reader);
    }
    CHECK_EQ(truncate(path, 5000), 0);
    CHECK_EQ(overflow_open(&region, path, NULL), 0);
    CHECK(overflow_read(region, ref, &size) == NULL);
    CHECK_EQ(overflow_reader_open(&reader, path), 0);
    overflow_reader_close(reader);
    CHECK_EQ(overflow_close(region), 0);
    unlink(path);
}

static void what_is_no_region_is_left_alone(void)
{
    static const char text[] = "This is no region file, whatever it is.\n";
    overflow_region  *region;
    overflow_reader  *reader;
    char              link[300], got[sizeof text];
    FILE             *file = fopen(file_named("text"), "w+");

    CHECK(file && fputs(text, file) >= 0 && fflush(file) == 0);
    CHECK_EQ(overflow_open(&region, path, NULL), -EUCLEAN);
    CHECK_EQ(overflow_reader_open(&reader, path), -EUCLEAN);
    if (file) {
        rewind(file);
        CHECK(fgets(got, sizeof got, file) && strcmp(got, text) == 0);
        fclose(file);
    }
    snprintf(link, sizeof link, "%s.link", path);
    unlink(link);
    CHECK_EQ(symlink(path, link), 0);
    CHECK_EQ(overflow_open(&region, link, NULL), -ELOOP);
    unlink(link);
    overflow_config config = {0, MIB, OVERFLOW_FRESH | OVERFLOW_TEMPORARY};
    CHECK_EQ(overflow_open(&region, path, &config), 0);
    overflow_close(region);
    CHECK_EQ(overflow_open(&region, "/tmp", NULL), -EISDIR);
    CHECK_EQ(overflow_open(&region, "/nowhere/at/all", NULL), -ENOENT);
}

static void bad_arguments_are_refused(void)
{
    overflow_region *region;
    overflow_config  config = {0};
    overflow_ref     ref    = 7;
    overflow_slot    slot;
    size_t           size;
    uint64_t         cursor = 0;

    file_named("bad");
    CHECK_EQ(overflow_open(NULL, path, NULL), -EINVAL);
    CHECK_EQ(overflow_open(&region, NULL, NULL), -EINVAL);
    config.max_bytes = 16383;
    CHECK_EQ(overflow_open(&region, path, &config), -EINVAL);
    config = (overflow_config){MIB, MIB - 1, 0};
    CHECK_EQ(overflow_open(&region, path, &config), -EINVAL);
    config = (overflow_config){0, MIB, 32};
    CHECK_EQ(overflow_open(&region, path, &config), -EINVAL);
    CHECK_EQ(access(path, F_OK), -1);
    CHECK_EQ(overflow_close(NULL), 0);
    CHECK_EQ(overflow_write(NULL, "", 1, 0, &ref), -EINVAL);
    CHECK_EQ(ref, 0);
    CHECK(overflow_read(NULL, 1, &size) == NULL);
    CHECK_EQ(overflow_free(NULL, 1), -EINVAL);
    CHECK_EQ(overflow_describe(NULL, 1, &slot), -EINVAL);
    CHECK(!overflow_next(NULL, &cursor, &slot));
    CHECK_EQ(overflow_sync(NULL), -EINVAL);
    CHECK_EQ(overflow_trim(NULL), 0);
    CHECK(overflow_path(NULL) == NULL);
    CHECK_EQ(stats_of(NULL).max_bytes, 0);
    overflow_reader_close(NULL);
    CHECK_EQ(overflow_reader_open(NULL, path), -EINVAL);

    region = open_small("bad");
    overflow_stats(region, NULL);
    CHECK_EQ(overflow_write(region, NULL, 1, 0, &ref), -EINVAL);
    CHECK_EQ(overflow_write(region, "", 1, 0, NULL), -EINVAL);
    CHECK_EQ(overflow_write(region, NULL, 0, 0, &ref), 0);
    CHECK(overflow_read(region, ref, NULL) == NULL);
    CHECK_EQ(overflow_describe(region, ref, NULL), -EINVAL);
    CHECK(!overflow_next(region, NULL, &slot) && !overflow_next(region, &cursor, NULL));
    overflow_close(region);
}

static void sync_is_quiet(void)
{
    overflow_region *region = open_small("sync");
    write_filled(region, 1, 100000);
    CHECK_EQ(overflow_sync(region), 0);
    CHECK_EQ(overflow_sync(region), 0);
    overflow_close(region);
}

/* -- Checksums -- */

/* CRC-32C by its definition, bit by bit. */
static uint32_t slow_crc(uint32_t crc, uint64_t word)
{
    for (int bit = 0; bit < 64; bit++) {
        uint32_t low = (crc ^ (uint32_t)(word >> bit)) & 1;
        crc          = crc >> 1 ^ (low ? 0x82f63b78 : 0);
    }
    return crc;
}

static void the_checksum_is_crc32c_either_way(void)
{
    static overflow__view view;
    uint64_t              state = 1;
    overflow__make_tables(&view);
    printf("# by %s\n", view.instruction ? "instruction" : "table");
    /* RFC 3720, B.4: 32 bytes of zeros have 0x8a9136aa, inverted before and after. */
    uint64_t zeros = UINT32_MAX;
    for (int i = 0; i < 4; i++) zeros = overflow__crc(&view, view.instruction, zeros, 0);
    CHECK_EQ((uint32_t)~zeros, 0x8a9136aa);
    for (int i = 0; i < 10000; i++) {
        uint64_t word = check_random(&state);
        uint32_t crc  = (uint32_t)check_random(&state);
        CHECK_EQ(overflow__crc(&view, view.instruction, crc, word), slow_crc(crc, word));
        CHECK_EQ(overflow__crc(&view, false, crc, word), slow_crc(crc, word));
    }
}

/* A file of a processor with the instruction is read on one without. */
static void either_way_reads_the_other(void)
{
    static unsigned char  from[5000], to[5008];
    static overflow__view view, slow;
    overflow__make_tables(&view);
    overflow__make_tables(&slow);
    slow.instruction = false;
    static overflow__word file[5024 / 8 + 4];
    for (size_t size = 0; size < sizeof from; size = size * 9 / 8 + 1) {
        fill(from, size, size);
        uint32_t sum = overflow__copy_in(&view, file, from, size);
        CHECK_EQ(overflow__copy_in(&slow, file, from, size), sum);
        memset(to, 0xee, sizeof to);
        CHECK_EQ(overflow__copy_out(&slow, to, file, size), sum);
        CHECK(is_filled(to, size, size) && to[size] == 0xee);
        CHECK_EQ(overflow__copy_out(&view, NULL, file, size), sum);
    }
}

int main(void)
{
    RUN(reads_what_was_written);
    RUN(a_ref_is_good_for_one_life);
    RUN(refs_of_no_slot_are_refused);
    RUN(a_value_that_looks_like_slots_is_none);
    RUN(reopened_it_is_all_there);
    RUN(many_are_as_one_by_one);
    RUN(parts_are_one_value);
    RUN(a_reservation_becomes_a_value);
    RUN(an_open_reservation_is_nothing);
    RUN(accounts_add_up);
    RUN(a_tag_has_its_limit);
    RUN(a_changed_value_is_found);
    RUN(excl_takes_only_a_new_file);
    RUN(read_only_changes_nothing);
    RUN(salvage_reads_the_rest);
    RUN(a_reader_finds_all);
    RUN(growth_moves_nothing);
    RUN(the_maximum_is_an_error_and_no_more);
    RUN(too_large_is_told_apart);
    RUN(the_hole_that_fits_best_is_taken);
    RUN(large_holes_fit_best_too);
    RUN(the_largest_hole_can_be_used);
    RUN(a_trimmed_hole_and_its_neighbours_are_room);
    RUN(neighbours_become_one_hole);
    RUN(trim_gives_back);
    RUN(a_trimmed_file_opens_as_it_was);
    RUN(next_tells_what_lives_once);
    RUN(a_reader_follows);
    RUN(the_file_is_private);
    RUN(fresh_forgets);
    RUN(refs_of_another_file_are_stale);
    RUN(refs_of_before_damage_are_stale);
    RUN(a_file_that_is_cut_short);
    RUN(what_is_no_region_is_left_alone);
    RUN(bad_arguments_are_refused);
    RUN(sync_is_quiet);
    RUN(the_checksum_is_crc32c_either_way);
    RUN(either_way_reads_the_other);
    return REPORT();
}
