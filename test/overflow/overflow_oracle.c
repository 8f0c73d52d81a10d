/* Goal: overflow_region does what overflow.h says, in any order of calls, and file,
 * records, lists and counts always agree. Method: random calls in phases that fill and drain, in
 * shapes from a file that is too small to values above 128 KiB, with fallocate failing at random or
 * missing, and with ends of all kinds: a close, a kill between two calls, a sparse copy of the
 * file, OVERFLOW_FRESH. An oracle knows ref, bytes and place of each live value, the refs of all
 * that were freed, and which pages the file system has promised. Now and then the file is walked
 * and everything in it compared.
 *
 *     overflow_oracle [OPS [SEED]]     40000 0
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/types.h>

static int test_fallocate(int fd, int mode, off_t at, off_t size);
#define OVERFLOW_FALLOCATE(fd, mode, at, size) test_fallocate(fd, mode, at, size)
#define OVERFLOW_IMPLEMENTATION
#include "../../overflow.h"

#include "../check.h"

enum {
    PAGE      = 4096,
    MAX_BYTES = 24 << 20, /* of a file */
    VALUES    = 6000,     /* that live */
    STALES    = 1 << 20,  /* refs freed last */
    OFFSETS   = 65536,    /* a value's bytes begin anywhere below in the noise */
    SIZE_MAX_ = 3 << 19,  /* of a value */
    COMPARE   = 4 << 20,  /* files up to this are compared byte by byte */
};

struct shape {
    const char *name;
    size_t      max_bytes, initial_bytes;
    uint32_t    live;                        /* so many values at most */
    uint32_t    smallest, largest;           /* sizes */
    uint32_t    trim_in, reopen_in, fail_in; /* one call in so many; 0: never */
    bool        equal, halving, without_fallocate;
};

static const struct shape shapes[] = {
    {"mixed", MAX_BYTES, 1 << 20, 400, 0, 200 << 10, 400, 1500, 0, false, true, false},
    {"failing", 8 << 20, 0, 1000, 0, 100 << 10, 60, 1500, 9, false, true, false},
    {"without_fallocate", 4 << 20, 0, 1000, 0, 40 << 10, 100, 1500, 0, false, true, true},
    {"equal", 4 << 20, 64 << 10, 3000, 0, 6000, 100, 3000, 0, true, false, false},
    {"small", 1 << 20, 16 << 10, 5000, 0, 70, 300, 5000, 20, false, false, false},
    {"large", MAX_BYTES, 0, 60, 120 << 10, SIZE_MAX_, 60, 1000, 20, false, false, false},
    {"tiny_file", 16 << 10, 0, 200, 0, 900, 50, 300, 0, false, false, false},
    {"small_file", 72 << 10, 1, 300, 0, 80 << 10, 50, 500, 20, false, true, false},
    {"pages", 6 << 20, 0, 600, 3900, 8400, 30, 1000, 20, false, false, false},
    {"holes", 12 << 20, 0, VALUES, 0, 3000, 2000, 20000, 0, false, true, false},
};

struct value {
    overflow_ref ref;
    uint32_t     size, tag;
    uint32_t     bytes;      /* where in the noise they begin */
    uint32_t     born, told; /* in which round of overflow_next */
};

static uint64_t            ops = 40000, random_state;
static const struct shape *shape;
static overflow_region    *region;
static overflow_reader    *reader;
static char                path[4096];
static int                 raw = -1; /* the file, read by other means */
static struct value        values[VALUES];
static uint32_t            count, equal_size;
static uint64_t            payload;
static uint32_t            at_place[MAX_BYTES / OVERFLOW__GRANULE]; /* 1 + index of the value */
static overflow_ref        stales[STALES];
static uint64_t            stale_count;
static uint64_t            round_cursor;
static uint32_t            round_number = 1;
static unsigned char       noise[2 * OFFSETS + 2 * SIZE_MAX_]; /* ends in zeros */
static unsigned char       copy[SIZE_MAX_];

static uint32_t draw(uint32_t below) { return (uint32_t)(check_random(&random_state) % below); }
static bool     one_in(uint32_t n) { return n != 0 && draw(n) == 0; }
static bool     failed(void) { return atomic_load(&check_failures) != 0; }

/* -- The file system -- */

static bool     promised[MAX_BYTES / PAGE]; /* pages that fallocate gave and nobody punched */
static uint32_t fail_one_in;
static bool     refused; /* since this was set to false */

static int test_fallocate(int fd, int mode, off_t at, off_t size)
{
    CHECK(at % PAGE == 0 && size > 0);
    CHECK(size % PAGE == 0 || mode != 0);
    errno = EOPNOTSUPP;
    if (shape->without_fallocate) return -1;
    errno = EINTR;
    if (one_in(fail_one_in * 2)) return -1;
    refused |= fail_one_in != 0;
    errno = ENOSPC;
    if (one_in(fail_one_in)) return -1;
    if (fallocate(fd, mode, at, size) != 0) return -1;
    CHECK(mode != 0 || (size_t)(at + size) <= MAX_BYTES);
    for (off_t page = at / PAGE; page < (at + size) / PAGE && page < MAX_BYTES / PAGE; page++)
        promised[page] = mode == 0;
    return 0;
}

/* What is written to must have been promised. */
static void check_promised(uint64_t from, uint64_t to)
{
    if (shape->without_fallocate) return;
    for (uint64_t page = from / PAGE; page < (to + PAGE - 1) / PAGE; page++) CHECK(promised[page]);
}

static bool is_zero(off_t page)
{
    static const unsigned char zeros[PAGE];
    return pread(raw, copy, PAGE, page * PAGE) == PAGE && memcmp(copy, zeros, PAGE) == 0;
}

/* Nothing lies in pages that were not. (On tmpfs a look at a page makes it one of zeros.) */
static void check_unpromised(void)
{
    off_t end = (off_t)region->file_bytes, at = 0;

    while ((at = lseek(raw, at, OVERFLOW__SEEK_DATA)) >= 0 && at < end) {
        off_t hole = lseek(raw, at, OVERFLOW__SEEK_HOLE);
        for (; at < hole && at < end; at += PAGE) CHECK(promised[at / PAGE] || is_zero(at / PAGE));
    }
}

/* At open, what is in the file counts as promised. */
static void promise_data(void)
{
    off_t at = 0;

    while ((at = lseek(raw, at, OVERFLOW__SEEK_DATA)) >= 0) {
        off_t hole = lseek(raw, at, OVERFLOW__SEEK_HOLE);
        for (; at < hole && at < MAX_BYTES; at += PAGE) promised[at / PAGE] = true;
    }
}

/* Pages of zeros are left out, as by cp --sparse. */
static void make_sparse(void)
{
    int   fd  = open(path, O_RDWR);
    off_t end = lseek(raw, 0, SEEK_END) / PAGE;

    for (off_t page = 0; page < end; page++) {
        if (!is_zero(page)) continue;
        if (fallocate(fd, OVERFLOW__PUNCH_HOLE | OVERFLOW__KEEP_SIZE, page * PAGE, PAGE) != 0)
            break;
        promised[page] = false;
    }
    close(fd);
}

static unsigned char *whole_file(size_t *size)
{
    off_t          end   = lseek(raw, 0, SEEK_END);
    unsigned char *bytes = malloc((size_t)end);

    if (!bytes || pread(raw, bytes, (size_t)end, 0) != end) abort();
    *size = (size_t)end;
    return bytes;
}

/* -- Values -- */

static uint64_t place_of(const struct value *value) { return overflow__place(value->ref); }
static uint64_t granules_of(const struct value *value) { return overflow__granules(value->size); }

static void check_value(const struct value *value)
{
    size_t               size  = 1;
    const unsigned char *bytes = overflow_read(region, value->ref, &size);
    overflow_slot        slot;

    CHECK(bytes && size == value->size && (uintptr_t)bytes % OVERFLOW__GRANULE == 0);
    if (!bytes || size != value->size) return;
    CHECK(memcmp(bytes, noise + value->bytes, size) == 0);
    CHECK_EQ(overflow_describe(region, value->ref, &slot), 0);
    CHECK(slot.ref == value->ref && slot.size == size && slot.tag == value->tag);
    CHECK_EQ(slot.offset, bytes - region->view.base);
}

static void check_reader(const struct value *value)
{
    size_t size = 1;

    if (value->size > 0) {
        CHECK_EQ(overflow_reader_read(reader, value->ref, copy, value->size - 1, &size), -ENOBUFS);
        CHECK_EQ(size, value->size);
    }
    CHECK_EQ(overflow_reader_read(reader, value->ref, copy, value->size, &size), 0);
    CHECK(size == value->size && memcmp(copy, noise + value->bytes, size) == 0);
}

static void check_stale(overflow_ref ref)
{
    size_t        size = 1;
    overflow_slot slot = {.tag = 1};

    CHECK(overflow_read(region, ref, &size) == NULL && size == 0);
    CHECK_EQ(overflow_free(region, ref), -ESTALE);
    CHECK_EQ(overflow_describe(region, ref, &slot), -ESTALE);
    CHECK(slot.ref == 0 && slot.offset == 0 && slot.size == 0 && slot.tag == 0);
    size      = 1;
    int error = overflow_reader_read(reader, ref, copy, sizeof copy, &size);
    /* Where OVERFLOW_FRESH could not punch, a slot of before has a header of the other key. */
    bool remains = shape->without_fallocate || shape->fail_in != 0;
    CHECK(size == 0 && (error == -ESTALE || (remains && error == -EUCLEAN)));
}

/* Refs that were good once, or never. */
static void check_forged(void)
{
    overflow_ref near   = count ? values[draw(count)].ref : check_random(&random_state);
    overflow_ref refs[] = {
        near + 1 + draw(4),
        near - 1 - draw(4),
        near + (UINT64_C(1) << OVERFLOW__PLACE_BITS) * (1 + draw(3)),
        near ^ UINT64_C(1) << draw(64),
        overflow__ref(draw((uint32_t)region->max), near >> OVERFLOW__PLACE_BITS),
        check_random(&random_state),
        0,
    };
    overflow_ref ref = refs[draw(sizeof refs / sizeof *refs)];
    uint64_t     at  = overflow__place(ref);
    if (at < MAX_BYTES / OVERFLOW__GRANULE && at_place[at] && values[at_place[at] - 1].ref == ref)
        return;
    check_stale(ref);
}

/* -- Everything -- */

/* What a walk through the file finds. */
struct found {
    uint64_t holes, hole_granules, largest;
    uint64_t kind;            /* of the hole before; 2 = no hole */
    uint64_t without, within; /* most holes there can be, if the slots so far are freed or not */
};

static bool is_unbacked(const overflow__hole *hole)
{
    return overflow__kind_of(hole) != OVERFLOW__BACKED;
}

static void find_slot(struct found *found, uint64_t place)
{
    const struct value   *value = &values[at_place[place] - 1];
    const overflow__word *words = overflow__words(&region->view, place);
    uint64_t              end = granules_of(value) * 4, last[4] = {0};

    CHECK_EQ(place_of(value), place);
    CHECK(overflow__peek(words) >> 34 == (UINT64_C(1) << 29 | value->ref >> 35));
    CHECK_EQ(overflow__peek(words) & OVERFLOW__SIZE_MAX, value->size);
    CHECK_EQ((uint32_t)overflow__peek(words + 2), value->tag);
    for (uint64_t i = 0; i < 4 && value->size > 0; i++)
        last[i] = overflow__peek(words + end - 4 + i);
    for (size_t i = (value->size + 31) % 32 + 1; i < 32; i++) CHECK_EQ(((char *)last)[i], 0);
    check_promised(place * 32, (place + granules_of(value)) * 32);
    uint64_t kept = found->within > found->without ? found->within : found->without;
    if (found->without + 1 > found->within) found->within = found->without + 1;
    found->without = kept;
    found->kind    = 2;
}

static uint64_t find_hole(struct found *found, uint64_t place)
{
    const overflow__word *words = overflow__words(&region->view, place);
    uint64_t              head = overflow__peek(words), number = overflow__peek(words + 1);
    uint64_t              length = head & (OVERFLOW__PLACE_MAX - 1), from, to;

    CHECK_EQ(head, overflow__hole_head(&region->view, place, length));
    CHECK(length > 0 && place + length < region->used);
    CHECK(number > 0 && number < region->hole_top);
    if (failed()) return 1;
    const overflow__hole *hole     = &region->holes[number];
    bool                  unbacked = is_unbacked(hole);
    CHECK_EQ(hole->place, place);
    CHECK_EQ(overflow__length(hole), length);
    CHECK_EQ(overflow__peek(words + length * 4 - 1), number);
    CHECK(unbacked != found->kind); /* else they were one */
    found->kind = unbacked;
    found->holes++;
    found->hole_granules += length;
    if (length > found->largest) found->largest = length;

    bool inner = overflow__inner_pages(place, length, &from, &to);
    CHECK(inner || !unbacked);
    uint64_t most = found->within > found->without ? found->within : found->without;
    if (unbacked) {
        check_promised(place * 32, from);
        check_promised(to, (place + length) * 32);
        found->without = most + 1;
        found->within  = 0;
    } else {
        check_promised(place * 32, (place + length) * 32);
        if (found->without + 1 > found->within) found->within = found->without + 1;
        found->without = 0;
    }
    return length;
}

/* Every hole is found where it is looked for; how many there are. */
static uint64_t check_tree(uint32_t root, bool unbacked)
{
    uint64_t length = 0, place = 0, holes = 0;
    uint32_t number;

    for (; (number = overflow__tree_from(region, root, length, place)) != 0; holes++) {
        const overflow__hole *hole = &region->holes[number];
        CHECK(is_unbacked(hole) == unbacked && overflow__length(hole) >= OVERFLOW__EXACT);
        CHECK(overflow__length(hole) >= length);
        length = overflow__length(hole);
        place  = hole->place + 1;
        for (int side = 0; side < 2; side++) {
            uint32_t below = side ? hole->next : hole->prev;
            if (below == 0) continue;
            CHECK(overflow__tree_rank(region, below) <= overflow__tree_rank(region, number));
            CHECK_EQ(overflow__tree_before(&region->holes[below], length, hole->place), side == 0);
        }
    }
    return holes;
}

static void check_lists(uint64_t holes)
{
    uint64_t listed = 0, spare = 0;

    for (int kind = 0; kind < 2; kind++) {
        const overflow__bins *bins = &region->bins[kind];
        listed += check_tree(bins->first[OVERFLOW__EXACT], kind == 1);
        for (uint32_t bin = 0; bin < OVERFLOW__BINS; bin++) {
            uint32_t before = 0;
            uint32_t number = bin == OVERFLOW__EXACT ? 0 : bins->first[bin];
            for (; number != 0 && listed <= holes; listed++) {
                const overflow__hole *hole = &region->holes[number];
                CHECK(hole->prev == before && is_unbacked(hole) == (kind == 1));
                CHECK_EQ(overflow__bin(overflow__length(hole)), bin);
                before = number;
                number = hole->next;
            }
            CHECK_EQ(bins->full[bin / 64] >> bin % 64 & 1, bins->first[bin] != 0);
        }
        for (uint32_t word = 0; word < OVERFLOW__BIN_WORDS; word++)
            CHECK_EQ(bins->full_words[word / 64] >> word % 64 & 1, bins->full[word] != 0);
    }
    CHECK_EQ(listed, holes);
    for (uint32_t number = region->hole_spare; number != 0 && spare <= region->hole_top; spare++) {
        CHECK(region->holes[number].place == 0);
        number = region->holes[number].next;
    }
    CHECK_EQ(spare + holes, region->hole_top - 1);
    CHECK(region->hole_top <= region->hole_ready && region->hole_ready <= region->hole_limit);
}

static void check_stats(const struct found *found)
{
    struct overflow_info info;

    overflow_stats(region, &info);
    CHECK_EQ(info.live_slots, count);
    CHECK_EQ(info.live_bytes, payload);
    CHECK_EQ(info.holes, found->holes);
    CHECK_EQ(info.free_bytes, found->hole_granules * 32);
    CHECK_EQ(info.largest_hole, found->largest * 32);
    CHECK_EQ(info.used_bytes, region->used * 32);
    CHECK_EQ(info.max_bytes, shape->max_bytes);
    CHECK_EQ(info.capacity_bytes, lseek(raw, 0, SEEK_END));
    CHECK(info.capacity_bytes <= info.max_bytes);
    CHECK_EQ(info.damaged_slots, 0);
}

static void check_header(void)
{
    overflow__header header = {0};

    CHECK_EQ(overflow__parse_header(&region->view, overflow__words(&region->view, 0), &header), 0);
    header.durable = region->header.durable; /* the file learns of a sync with the next turn */
    CHECK(memcmp(&header, &region->header, sizeof header) == 0);
    CHECK(region->serial <= header.serial_limit);
    CHECK(OVERFLOW__FIRST <= region->used && region->used <= region->backed);
    CHECK(region->touched <= region->backed && region->backed <= region->max);
    if (region->used < region->file_bytes / 32)
        CHECK_EQ(overflow__peek(overflow__words(&region->view, region->used)), 0);
}

static void check_all(void)
{
    struct overflow_info info;
    struct found         found = {.kind = 2};
    uint64_t             place = OVERFLOW__FIRST, slots = 0;
    overflow_slot        slot = {0};

    overflow_stats(region, &info); /* all frees are settled now */
    for (uint64_t cursor = 0; place < region->used && !failed();) {
        if (!at_place[place]) {
            place += find_hole(&found, place);
            continue;
        }
        find_slot(&found, place);
        CHECK(overflow_next(region, &cursor, &slot));
        CHECK(slot.ref == values[at_place[place] - 1].ref);
        place += granules_of(&values[at_place[place] - 1]);
        slots++;
    }
    CHECK_EQ(place, region->used);
    CHECK_EQ(slots, count);
    CHECK(found.kind == 2 || found.holes == 0); /* no hole is the last */
    CHECK(found.within < region->hole_ready && found.without < region->hole_ready);
    check_promised(region->used * 32, region->backed * 32);
    if (!shape->without_fallocate && one_in(4)) check_unpromised();
    check_lists(found.holes);
    check_stats(&found);
    check_header();
    for (uint32_t i = draw(8); i < count && !failed(); i += 1 + draw(16)) check_value(&values[i]);
    for (uint32_t i = draw(32); i < count && !failed(); i += 1 + draw(64)) check_reader(&values[i]);
    for (uint64_t i = 0; i < stale_count && i < 64 && !failed(); i++) {
        check_stale(stales[(stale_count - 1 - i) % STALES]);
        check_stale(
            stales[check_random(&random_state) % (stale_count < STALES ? stale_count : STALES)]);
    }
}

/* -- overflow_next, a few steps at a time, while all around it changes -- */

static void end_round(void)
{
    for (uint32_t i = 0; i < count; i++)
        CHECK(values[i].born == round_number || values[i].told == round_number);
    round_cursor = 0;
    round_number++;
}

static void step_round(void)
{
    overflow_slot slot;
    uint64_t      before = round_cursor;

    if (!overflow_next(region, &round_cursor, &slot)) {
        end_round();
        return;
    }
    uint64_t place = slot.offset / 32 - 1;
    CHECK(place >= before && round_cursor > place);
    CHECK(at_place[place] != 0);
    if (failed()) return;
    struct value *value = &values[at_place[place] - 1];
    CHECK(value->ref == slot.ref && value->size == slot.size && value->tag == slot.tag);
    CHECK(value->told != round_number);
    value->told = round_number;
}

/* -- Calls -- */

static uint32_t draw_size(void)
{
    uint32_t range = shape->largest - shape->smallest + 1;

    if (shape->equal) return equal_size;
    if (shape->halving) range = range >> draw(18) | 1;
    return shape->smallest + draw(range);
}

/* The size of the smallest hole that is large enough; 0: none is. */
static uint64_t smallest_hole(bool unbacked, uint64_t granules)
{
    uint64_t best = 0;

    for (uint32_t number = 1; number < region->hole_top; number++) {
        const overflow__hole *hole   = &region->holes[number];
        uint64_t              length = overflow__length(hole);
        if (hole->place == 0 || length < granules || is_unbacked(hole) != unbacked) continue;
        if (best == 0 || length < best) best = length;
    }
    return best;
}

/* Where the next value must go, when all frees are settled; 0: nowhere. */
static uint64_t forecast(uint64_t granules)
{
    uint32_t number[2];

    for (int kind = 0; kind < 2; kind++) {
        number[kind]  = overflow__fit(region, &region->bins[kind], granules);
        uint64_t best = smallest_hole(kind, granules);
        uint64_t got  = number[kind] ? overflow__length(&region->holes[number[kind]]) : 0;
        CHECK_EQ(got, best);
    }
    if (number[0] != 0) return region->holes[number[0]].place;
    if (region->used + granules + 1 <= region->backed) return region->used;
    if (number[1] != 0) return region->holes[number[1]].place;
    return region->used + granules + 1 <= region->max ? region->used : 0;
}

/* Granules of holes of any kind one after the other, at most. */
static uint64_t longest_run(void)
{
    uint64_t most = 0;
    uint32_t other;

    for (uint32_t number = 1; number < region->hole_top; number++) {
        uint64_t end = region->holes[number].place, run = 0;
        for (; end != 0 && (other = overflow__hole_from(region, end)) != 0; end += run) {
            run = overflow__length(&region->holes[other]);
            if (end + run - region->holes[number].place > most)
                most = end + run - region->holes[number].place;
        }
    }
    return most;
}

static void check_refusal(uint64_t granules, int error)
{
    struct overflow_info info;

    overflow_stats(region, &info);
    CHECK_EQ(error, granules + 1 > region->max - OVERFLOW__FIRST ? -EMSGSIZE : -ENOSPC);
    CHECK(error == -EMSGSIZE || refused || forecast(granules) == 0);
    if (region->hole_top < 100 && !refused && error == -ENOSPC) CHECK(longest_run() < granules);
    CHECK(error == -EMSGSIZE || smallest_hole(false, granules) == 0);
}

/* By overflow_write, from parts, or into a reservation that is larger; *extra = 0: it was not. */
static int write_any(struct value *value, size_t *extra)
{
    const unsigned char *from = noise + value->bytes;
    uint32_t             cut = draw((uint32_t)value->size + 1), way = draw(4);
    struct iovec         parts[3] = {{(void *)(uintptr_t)from, cut},
                                     {NULL, 0},
                                     {(void *)(uintptr_t)(from + cut), value->size - cut}};
    void                *to;

    if (way != 0) *extra = 0;
    if (way == 1) return overflow_writev(region, parts, 3, value->tag, &value->ref);
    if (way != 0) return overflow_write(region, from, value->size, value->tag, &value->ref);
    int error  = overflow_reserve(region, value->size + *extra, value->tag, &to);
    value->ref = 0;
    if (error != 0) return error;
    memcpy(to, from, value->size);
    if (one_in(4)) overflow_trim(region);
    if (one_in(16)) {
        CHECK_EQ(overflow_cancel(region), 0);
        *extra = 0;
        return overflow_write(region, from, value->size, value->tag, &value->ref);
    }
    return overflow_commit(region, value->size, &value->ref);
}

static void write_value(void)
{
    struct overflow_info info;
    struct value value    = {.size = draw_size(), .tag = (uint32_t)check_random(&random_state)};
    uint64_t     granules = overflow__granules(value.size), place = UINT64_MAX;

    value.bytes = one_in(5) ? 2 * OFFSETS + SIZE_MAX_ : draw(OFFSETS);
    value.born  = round_number;
    if (one_in(2)) {
        overflow_stats(region, &info);
        if (region->hole_top < 100 || one_in(32)) place = forecast(granules);
    }
    refused        = false;
    value.ref      = 1;
    uint64_t apart = region->apart;
    size_t   extra = place == UINT64_MAX && one_in(2) ? draw(300) : 0;
    uint64_t taken = overflow__granules(value.size + extra);
    int      error = write_any(&value, &extra);
    CHECK_EQ(error == 0, value.ref != 0);
    if (error != 0) {
        check_refusal(extra > 0 ? taken : granules, error);
        return;
    }
    if (place == 0) CHECK(apart >= granules); /* neighbours of two kinds were joined */
    else if (place != UINT64_MAX && !refused) CHECK_EQ(place_of(&value), place);
    for (uint64_t i = 0; i < granules; i++) CHECK_EQ(at_place[place_of(&value) + i], 0);
    values[count++]            = value;
    at_place[place_of(&value)] = count;
    payload += value.size;
    check_value(&value);
}

static void forget(uint32_t index)
{
    struct value *value = &values[index];

    at_place[place_of(value)]      = 0;
    stales[stale_count++ % STALES] = value->ref;
    payload -= value->size;
    if (index != --count) {
        *value                    = values[count];
        at_place[place_of(value)] = index + 1;
    }
}

static void free_value(uint32_t index)
{
    overflow_ref ref = values[index].ref;

    check_value(&values[index]);
    forget(index);
    CHECK_EQ(overflow_free(region, ref), 0);
    check_stale(ref);
}

/* Some that lie side by side, or every other of them. */
static void free_run(void)
{
    uint64_t place = place_of(&values[draw(count)]);
    bool     all   = one_in(2);

    for (uint32_t left = draw(40); left > 0 && place < region->used; left--) {
        uint32_t index = at_place[place];
        if (index == 0) break;
        place += granules_of(&values[index - 1]);
        if (all || left % 2) free_value(index - 1);
    }
}

static void trim(void)
{
    uint64_t blocks = overflow__blocks(region);

    CHECK(overflow_trim(region) <= blocks);
    if (shape->without_fallocate || fail_one_in) return;
    for (uint32_t number = 1; number < region->hole_top; number++) {
        const overflow__hole *hole = &region->holes[number];
        uint64_t              from, to, length = overflow__length(hole);
        if (hole->place == 0 || !overflow__inner_pages(hole->place, length, &from, &to)) continue;
        for (from /= PAGE; from < to / PAGE; from++) CHECK(!promised[from]);
    }
    uint64_t from = overflow__page_up(region->used * 32 + 8) / PAGE;
    for (; from < region->file_bytes / PAGE; from++) CHECK(!promised[from]);
}

/* -- Ends and beginnings -- */

static int open_region(uint32_t flags)
{
    overflow_config config = {shape->initial_bytes, shape->max_bytes, flags};

    int error = overflow_open(&region, path, &config);
    CHECK_EQ(error == 0, region != NULL);
    return error;
}

/* An owner that opens and closes leaves the file as it was. */
static void check_idle(void)
{
    size_t         before_size, after_size;
    unsigned char *before = whole_file(&before_size);

    CHECK_EQ(open_region(0), 0);
    if (failed()) return;
    CHECK_EQ(overflow_close(region), 0);
    unsigned char *after = whole_file(&after_size);
    CHECK(before_size == after_size && memcmp(before, after, before_size) == 0);
    free(before);
    free(after);
}

static void forget_all(void)
{
    while (count > 0) forget(count - 1);
    round_cursor = 0;
    round_number++;
}

/* Whether two holes of different kinds meet: they will be one. */
static bool holes_meet(void)
{
    for (uint32_t number = 1; number < region->hole_top; number++) {
        const overflow__hole *hole = &region->holes[number];
        if (hole->place == 0) continue;
        if (overflow__hole_from(region, hole->place + overflow__length(hole)) != 0) return true;
    }
    return false;
}

static void reopen(void)
{
    struct overflow_info info;
    uint32_t             flags  = one_in(20) ? OVERFLOW_FRESH : 0;
    bool                 killed = one_in(3), sparse = one_in(4) && !shape->without_fallocate;

    check_all();
    bool same = !killed && !sparse && !holes_meet();
    if (killed) overflow__release(region);
    else CHECK_EQ(overflow_close(region), 0);
    fail_one_in = 0;
    if (sparse) make_sparse();
    promise_data();
    if (same && flags == 0 && lseek(raw, 0, SEEK_END) <= COMPARE) check_idle();
    if (flags & OVERFLOW_FRESH) forget_all();
    fail_one_in = one_in(2) ? shape->fail_in : 0;
    int error   = open_region(flags);
    if (error != 0) {
        CHECK(fail_one_in != 0 && error == -ENOSPC);
        fail_one_in = 0;
        promise_data();
        CHECK_EQ(open_region(flags), 0);
    }
    fail_one_in = shape->fail_in;
    if (failed()) return;
    overflow_stats(region, &info);
    CHECK_EQ(info.recovered_slots, count);
    for (uint32_t i = 0; i < count && i < 2000; i++) check_value(&values[i]);
    check_all();
}

static void call(uint32_t fullness)
{
    uint32_t kind = draw(100);

    if (kind < 80) {
        if (draw(100) < fullness ? count < shape->live : count == 0) write_value();
        else if (count > 0) free_value(draw(count));
    } else if (kind < 83) {
        if (count > 0) free_run();
    } else if (kind < 90) {
        check_forged();
    } else if (kind < 95) {
        if (count > 0) check_reader(&values[draw(count)]);
    } else {
        for (uint32_t steps = draw(20) * draw(20); steps > 0 && !failed(); steps--) step_round();
    }
    if (one_in(shape->trim_in)) trim();
    if (one_in(20000)) CHECK_EQ(overflow_sync(region), 0);
}

static uint64_t settled_used(void)
{
    struct overflow_info info;

    overflow_stats(region, &info);
    CHECK(info.holes == 0 && info.free_bytes == 0 && info.largest_hole == 0);
    return region->used;
}

static void run_shape(void)
{
    uint32_t fullness = 90, until_check = 10;

    memset(promised, 0, sizeof promised);
    equal_size  = shape->smallest + draw(shape->largest);
    stale_count = 0;
    fail_one_in = 0;
    int error   = open_region(OVERFLOW_FRESH);
    if (error == -EOPNOTSUPP && shape->without_fallocate) return; /* an old kernel */
    CHECK_EQ(error, 0);
    CHECK_EQ(overflow_reader_open(&reader, path), 0);
    raw = open(path, O_RDONLY);
    CHECK(raw >= 0);
    fail_one_in = shape->fail_in;
    for (uint64_t i = 0; i < ops / (sizeof shapes / sizeof *shapes) && !failed(); i++) {
        if (one_in(500)) fullness = 30 + draw(70);
        if (one_in(2000)) fullness = 10;
        call(fullness);
        if (one_in(shape->reopen_in)) reopen();
        if (until_check-- > 0) continue;
        check_all();
        until_check = 20 + draw(count + 2 * (uint32_t)region->hole_count + 100);
    }
    if (failed()) printf("# shape %s\n", shape->name);
    else check_all();
    while (count > 0 && !failed()) free_value(draw(count));
    if (!failed()) CHECK_EQ(settled_used(), OVERFLOW__FIRST);
    forget_all();
    overflow_reader_close(reader);
    close(raw);
    CHECK_EQ(overflow_close(region), 0);
    CHECK_EQ(unlink(path), 0);
}

/* More holes than there are records at first: in the life that wrote the slots, and in the next,
 * which writes nothing. */
static void many_holes(void)
{
    static overflow_ref  refs[20000];
    struct overflow_info info;
    enum { COUNT = sizeof refs / sizeof *refs };

    shape       = &shapes[0];
    fail_one_in = 0;
    for (int life = 0; life < 2; life++) {
        CHECK_EQ(open_region(OVERFLOW_FRESH), 0);
        for (int i = 0; i < COUNT; i++) CHECK_EQ(overflow_write(region, "x", 1, 0, &refs[i]), 0);
        if (life == 1) CHECK_EQ(overflow_close(region), 0);
        if (life == 1) CHECK_EQ(open_region(0), 0);
        for (int i = 0; i < COUNT; i += 2) CHECK_EQ(overflow_free(region, refs[i]), 0);
        overflow_stats(region, &info);
        CHECK_EQ(info.holes, COUNT / 2);
        for (int i = 1; i < COUNT; i += 2) CHECK_EQ(overflow_free(region, refs[i]), 0);
        overflow_stats(region, &info);
        CHECK(info.holes == 0 && info.live_slots == 0 && info.used_bytes == 8192);
        CHECK_EQ(overflow_close(region), 0);
    }
    CHECK_EQ(unlink(path), 0);
}

static void random_calls(void)
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        shape = &shapes[i];
        check_run(shape->name, run_shape);
    }
}

int main(int argc, char **argv)
{
    const char *folder = getenv("TMPDIR");
    const char *memory = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"; /* disks are slow */

    if (argc > 1) ops = strtoull(argv[1], NULL, 10);
    if (argc > 2) random_state = strtoull(argv[2], NULL, 10);
    snprintf(path, sizeof path, "%s/overflow_oracle.%ld", folder ? folder : memory, (long)getpid());
    for (size_t i = 0; i < 2 * OFFSETS + SIZE_MAX_; i++)
        noise[i] = (unsigned char)(1 + i * (i / 251 + 7) % 255);
    random_calls();
    RUN(many_holes);
    return REPORT();
}
