/* Goal: whatever a file holds, overflow_open says so or drops what is damaged and counts it; and
 * nothing is ever read that was not written.
 * Method: a good file of known values is cut, zeroed, flipped and shuffled; others are forged. The
 * forger below follows the format as the comment in overflow.h tells it, and calls nothing of the
 * header: if a forged file opens, the comment suffices to write such files. Every file is opened,
 * told, read, written to, freed, trimmed and opened again; what is read must be of the known
 * values. Then: what is no file, failures that must leave nothing behind, and a scribbler beside
 * the owner.
 *
 *     overflow_hostile [ROUNDS [SEED]]     300 1; with more rounds, files of 1 TiB too
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int test_fallocate(int fd, int mode, off_t at, off_t size);

static bool disk_fails;
static int  test_msync(void *memory, size_t size, int flags)
{
    if (disk_fails) errno = EIO;
    return disk_fails ? -1 : msync(memory, size, flags);
}
static int   no_mmap; /* with this error */
static void *test_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    if (no_mmap && fd >= 0) errno = no_mmap;
    return no_mmap && fd >= 0 ? MAP_FAILED : mmap(at, size, protection, flags, fd, offset);
}
#define mmap                                   test_mmap
#define msync                                  test_msync
#define OVERFLOW_FALLOCATE(fd, mode, at, size) test_fallocate(fd, mode, at, size)
#define OVERFLOW_IMPLEMENTATION
#include "../../overflow.h"
#undef mmap
#undef msync

#include "../check.h"

enum { PAGE = 4096, IMAGE = 512 << 10, VALUES = 60, MAX_BYTES = 1 << 20, WORDS = IMAGE / 8 };

static uint64_t        rounds = 300, random_state = 1;
static char            folder[4000], path[4096];
static overflow_config config = {.initial_bytes = 64 << 10, .max_bytes = MAX_BYTES};

static uint32_t draw(uint32_t below) { return (uint32_t)(check_random(&random_state) % below); }
static bool     failed(void) { return atomic_load(&check_failures) != 0; }

static int failing; /* so many calls from now, fallocate fails once; 0: it does not */

static int test_fallocate(int fd, int mode, off_t at, off_t size)
{
    if (failing > 0 && --failing == 0) {
        errno = ENOSPC;
        return -1;
    }
    return fallocate(fd, mode, at, size);
}

/* -- The forger: only what the comment says, nothing of the header -- */

struct image {
    union {
        uint64_t      word[WORDS];
        unsigned char byte[IMAGE];
    };
    uint64_t seed, key;
};

static uint32_t forge_crc(uint32_t crc, uint64_t word)
{
    for (int bit = 0; bit < 64; bit++) {
        uint32_t low = (crc ^ (uint32_t)(word >> bit)) & 1;
        crc          = crc >> 1 ^ (low ? 0x82f63b78 : 0);
    }
    return crc;
}

static const uint32_t copy_at[3] = {0, 4096, 6144};

static void forge_copy(struct image *image, uint32_t copy, uint64_t turn, uint64_t serial_limit)
{
    uint64_t *word  = image->word + copy_at[copy] / 8;
    uint32_t  check = 0xffffffff;

    memcpy(word, "ashlar-overflow\n", 16);
    word[2] = UINT64_C(0x01020304) << 32 | 2;
    word[3] = (turn & 3) << 32 | 32;
    word[4] = image->key;
    word[5] = turn;
    word[6] = serial_limit;
    word[7] = 1;
    for (int i = 0; i < 8; i++) check = forge_crc(check, word[i]);
    word[8] = check;
}

static void forge_file(struct image *image, uint64_t turn, uint64_t serial_limit)
{
    memset(image, 0, sizeof *image);
    image->key  = check_random(&random_state);
    image->seed = forge_crc(0xffffffff, image->key);
    forge_copy(image, (uint32_t)(turn % 3), turn, serial_limit);
}

/* Only the words of a slot's header. */
static void forge_head(struct image *image, uint64_t place, uint64_t serial, uint64_t size,
                       uint32_t tag, uint32_t sum)
{
    uint64_t *word  = image->word + place * 4;
    uint32_t  check = (uint32_t)image->seed;

    word[0] = UINT64_C(1) << 63 | (serial & 0x1fffffff) << 34 | size;
    word[1] = serial;
    word[2] = (uint64_t)sum << 32 | tag;
    check   = forge_crc(check, place);
    for (int i = 0; i < 3; i++) check = forge_crc(check, word[i]);
    word[3] = check;
}

static uint32_t forge_sum(const uint64_t *word, uint64_t words)
{
    uint32_t lane[4] = {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff};

    for (uint64_t i = 0; i < words; i++) lane[i % 4] = forge_crc(lane[i % 4], word[i]);
    uint64_t mix = ((uint64_t)lane[1] << 32 | lane[0]) * UINT64_C(0x9e3779b97f4a7c15);
    mix          = (mix ^ mix >> 32) + ((uint64_t)lane[3] << 32 | lane[2]);
    mix *= UINT64_C(0xbf58476d1ce4e5b9);
    return (uint32_t)(mix ^ mix >> 32);
}

/* A whole slot; where the next one may begin. */
static uint64_t forge_slot(struct image *image, uint64_t place, uint64_t serial, const void *data,
                           uint64_t size, uint32_t tag)
{
    uint64_t granules = (size + 31) / 32;

    memset(image->word + (place + 1) * 4, 0, (size_t)granules * 32);
    memcpy(image->word + (place + 1) * 4, data, (size_t)size);
    forge_head(image, place, serial, size, tag,
               forge_sum(image->word + (place + 1) * 4, granules * 4));
    return place + 1 + granules;
}

static uint64_t forge_hole(struct image *image, uint64_t place, uint64_t length, uint64_t note)
{
    uint32_t crc = forge_crc(forge_crc((uint32_t)image->seed, place), length);

    image->word[place * 4]     = (uint64_t)(crc >> 4) << 35 | length;
    image->word[place * 4 + 1] = note;
    if ((place + length) * 4 <= WORDS) image->word[(place + length) * 4 - 1] = note;
    return place + length;
}

static overflow_ref forge_ref(uint64_t place, uint64_t serial) { return serial << 35 | place; }

/* -- Files -- */

static void put_file(const void *bytes, size_t size)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
    close(fd);
}

static void put_sparse(const struct image *image, off_t size)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0);
    for (size_t page = 0; page < IMAGE / PAGE; page++) {
        static const unsigned char zeros[PAGE];
        const unsigned char       *from = image->byte + page * PAGE;
        if (memcmp(from, zeros, PAGE) == 0) continue;
        CHECK(pwrite(fd, from, PAGE, (off_t)(page * PAGE)) == PAGE);
    }
    CHECK_EQ(ftruncate(fd, size), 0);
    close(fd);
}

/* -- What may be read: values that were written under that ref -- */

struct value {
    overflow_ref  ref;
    uint32_t      size, tag;
    unsigned char bytes[6000];
};

static struct value     values[VALUES], good_values[VALUES];
static uint32_t         count;
static struct image     good; /* a file with these values, some of them freed since */
static uint64_t         good_live, good_last; /* slots; where the last begins */
static overflow_region *region;

static const struct value *value_of(overflow_ref ref)
{
    for (uint32_t i = 0; i < count; i++)
        if (values[i].ref == ref) return &values[i];
    return NULL;
}

static void check_told(const overflow_slot *slot)
{
    size_t              size;
    const void         *bytes = overflow_read(region, slot->ref, &size);
    const struct value *value = value_of(slot->ref);

    CHECK(bytes && size == slot->size);
    if (!bytes || !value) {
        CHECK(value != NULL);
        return;
    }
    CHECK(value->size == size && value->tag == slot->tag && memcmp(value->bytes, bytes, size) == 0);
}

/* A value through a ref that is not live: nothing may come. */
static void check_refs(overflow_reader *reader, uint64_t live)
{
    static unsigned char buffer[8192];
    uint64_t             found = 0;

    for (uint32_t i = 0; i < count; i++) {
        size_t      size, copied;
        const void *bytes = overflow_read(region, values[i].ref, &size);
        int         error = overflow_reader_read(reader, values[i].ref, buffer, 8192, &copied);
        CHECK_EQ(error == 0, bytes != NULL);
        if (!bytes) continue;
        found++;
        CHECK(size == values[i].size && memcmp(bytes, values[i].bytes, size) == 0);
        CHECK(copied == size && memcmp(buffer, values[i].bytes, size) == 0);
    }
    CHECK_EQ(found, live);
}

/* Frees every other slot, writes into what is there, frees all; the counts must come out even. */
static void use(void)
{
    static const unsigned char bytes[5000] = {1, 2, 3};
    struct overflow_info       info;
    overflow_ref               refs[40], ref;
    overflow_slot              slot;
    int                        written = 0;
    uint64_t                   cursor  = 0;

    for (bool odd = true; overflow_next(region, &cursor, &slot); odd = !odd)
        if (odd) CHECK_EQ(overflow_free(region, slot.ref), 0);
    for (; written < 40; written++) {
        if (overflow_write(region, bytes, draw(5000), 7, &refs[written]) != 0) break;
        if (written % 10 == 5) overflow_trim(region);
    }
    for (int i = 0; i < written; i++) {
        size_t      size;
        const void *at = overflow_read(region, refs[i], &size);
        CHECK(at && memcmp(at, bytes, size) == 0);
    }
    for (int i = 0; i < written; i++) CHECK_EQ(overflow_free(region, refs[i]), 0);
    for (cursor = 0; overflow_next(region, &cursor, &slot);)
        CHECK_EQ(overflow_free(region, slot.ref), 0);
    overflow_stats(region, &info);
    CHECK(info.live_slots == 0 && info.live_bytes == 0 && info.holes == 0);
    CHECK_EQ(info.used_bytes, 8192);
    CHECK_EQ(overflow_write(region, "x", 1, 0, &ref), 0);
}

/* A reader where no owner has cleared up: what was written, or an error. */
static void check_unopened(void)
{
    static unsigned char buffer[8192];
    overflow_reader     *reader;
    int                  error = overflow_reader_open(&reader, path);

    CHECK(error == 0 || error == -EUCLEAN || error == -ENOTSUP);
    for (uint32_t i = 0; i < count && error == 0; i++) {
        size_t size;
        int    result = overflow_reader_read(reader, values[i].ref, buffer, sizeof buffer, &size);
        CHECK(result == 0 || result == -ESTALE || result == -EUCLEAN);
        if (result != 0) continue;
        CHECK(size == values[i].size && memcmp(buffer, values[i].bytes, size) == 0);
    }
    overflow_reader_close(reader);
}

/* Opens what is there, and does everything with it; -errno or the number of live slots. */
static int64_t attack(uint64_t *damaged)
{
    struct overflow_info info, again;
    overflow_reader     *reader = NULL;
    overflow_slot        slot;
    uint64_t             told = 0, cursor = 0;

    check_unopened();
    int error = overflow_open(&region, path, &config);
    if (damaged) *damaged = 0;
    if (error != 0) {
        CHECK(region == NULL && (error == -EUCLEAN || error == -ENOTSUP));
        return error;
    }
    overflow_stats(region, &info);
    if (damaged) *damaged = info.damaged_slots;
    for (; overflow_next(region, &cursor, &slot); told++) check_told(&slot);
    CHECK_EQ(told, info.live_slots);
    CHECK_EQ(told, info.recovered_slots);
    CHECK_EQ(overflow_reader_open(&reader, path), 0);
    if (reader) check_refs(reader, told);
    overflow_reader_close(reader);
    CHECK_EQ(overflow_close(region), 0);
    CHECK_EQ(overflow_open(&region, path, &config), 0); /* once more: nothing is damaged now */
    if (!region) return -EIO;
    overflow_stats(region, &again);
    CHECK_EQ(again.live_slots, told);
    CHECK_EQ(again.damaged_slots, 0);
    CHECK_EQ(again.holes, info.holes);
    CHECK_EQ(again.used_bytes, info.used_bytes);
    use();
    CHECK_EQ(overflow_close(region), 0);
    return (int64_t)told;
}

/* -- The good file -- */

static void write_some(int from, int to)
{
    for (int i = from; i < to; i++) {
        struct value *value = &values[i];
        value->size         = draw(i % 9 == 0 ? 6000 : 700);
        value->tag          = (uint32_t)check_random(&random_state);
        for (uint32_t k = 0; k < value->size; k++)
            value->bytes[k] = (unsigned char)((uint32_t)i + k * 7);
        CHECK_EQ(overflow_write(region, value->bytes, value->size, value->tag, &value->ref), 0);
    }
}

/* Values, holes, a second life of some slots, and both copies of the header in use. */
static void make_good(void)
{
    struct overflow_info info;
    overflow_slot        slot;

    unlink(path);
    count = VALUES;
    CHECK_EQ(overflow_open(&region, path, &config), 0);
    write_some(0, VALUES / 2);
    for (int i = 2; i < VALUES / 2; i += 3) CHECK_EQ(overflow_free(region, values[i].ref), 0);
    overflow_stats(region, &info);
    write_some(VALUES / 2, VALUES);
    for (int i = VALUES / 2; i < VALUES - 1; i += 4)
        CHECK_EQ(overflow_free(region, values[i].ref), 0);
    overflow_stats(region, &info);
    good_live = info.live_slots;
    for (uint64_t cursor = 0; overflow_next(region, &cursor, &slot);) good_last = slot.offset - 32;
    CHECK(info.live_slots > 30 && info.holes > 4 && info.used_bytes < IMAGE);
    CHECK_EQ(overflow_close(region), 0);
    int fd = open(path, O_RDONLY);
    memset(&good, 0, sizeof good);
    CHECK(read(fd, good.byte, IMAGE) >= 64 << 10);
    close(fd);
    memcpy(good_values, values, sizeof values);
    CHECK_EQ(attack(NULL), good_live);
}

static struct image bad;

static void good_again(void)
{
    bad   = good;
    count = VALUES;
    memcpy(values, good_values, sizeof values);
}

/* -- Damage -- */

static void truncated(void)
{
    static const int around[] = {-33, -32, -31, -8, -1, 0, 1, 8, 31, 32, 33};

    for (int size = 1; size < 80; size++) { /* the header is cut, and not of another version */
        put_file(good.byte, (size_t)size);
        int64_t live = attack(NULL);
        CHECK(live == -EUCLEAN || (live == 0 && size >= 68)); /* the check has 32 bits */
    }
    for (int64_t page = 0; page <= 12; page++)
        for (size_t i = 0; i < sizeof around / sizeof *around; i++) {
            int64_t size = page * PAGE + around[i];
            if (size < 0) continue;
            put_file(good.byte, (size_t)size);
            int64_t live = attack(NULL);
            CHECK(live >= 0 || size < 2 * PAGE);
            CHECK(size != 0 || live == 0);
        }
    for (uint64_t i = 0; i < rounds / 8 && !failed(); i++) {
        put_file(good.byte, draw(IMAGE));
        attack(NULL);
    }
}

static void zeroed(void)
{
    for (int kind = 0; kind < 4 && !failed(); kind++) { /* the headers */
        good_again();
        if (kind & 1) memset(bad.byte, 0, PAGE);
        if (kind & 2) memset(bad.byte + PAGE, 0, PAGE);
        put_file(bad.byte, IMAGE);
        int64_t live = attack(NULL);
        CHECK(kind == 3 ? live == -EUCLEAN : live >= 0 || live == -EUCLEAN);
        CHECK(kind != 0 || live == (int64_t)good_live);
    }
    memset(&bad, 0, sizeof bad);
    put_file(bad.byte, IMAGE);
    CHECK_EQ(attack(NULL), -EUCLEAN);
    for (uint64_t i = 0; i < rounds / 4 && !failed(); i++) {
        uint32_t from = 2 * PAGE + draw(100000), size = draw(i % 2 ? 8192 : 64);
        uint64_t damaged;
        good_again();
        memset(bad.byte + from, 0, size);
        put_file(bad.byte, IMAGE);
        int64_t live = attack(&damaged);
        CHECK(live >= 0 && (uint64_t)live <= good_live);
        CHECK(damaged > 0 || (uint64_t)live == good_live || from + size > good_last);
    }
}

static void headers_flipped(void)
{
    for (uint32_t bit = 0; bit < 3 * 9 * 64 && !failed(); bit++) {
        uint32_t at = copy_at[bit / (9 * 64)] * 8 + bit % (9 * 64);
        good_again();
        bad.byte[at / 8] ^= (unsigned char)(1 << at % 8);
        put_file(bad.byte, IMAGE);
        CHECK_EQ(attack(NULL), good_live); /* the other copy counts */
        if (failed()) printf("# bit %u\n", (unsigned)bit);
        if (rounds < 300) bit += draw(30);
    }
}

static void bits_flipped(void)
{
    for (uint64_t i = 0; i < rounds && !failed(); i++) {
        good_again();
        for (uint32_t flips = 1 + draw(i % 2 ? 3 : 300); flips > 0; flips--) {
            uint32_t at = 2 * PAGE + draw(60000);
            bad.byte[at] ^= (unsigned char)(1 << draw(8));
        }
        put_file(bad.byte, IMAGE);
        CHECK(attack(NULL) >= 0);
    }
}

static void blocks_shuffled(void)
{
    for (uint64_t i = 0; i < rounds && !failed(); i++) {
        uint32_t      size = 8u << draw(10), from = draw(80000) / size * size;
        uint32_t      to = draw(80000) / size * size;
        unsigned char block[8 << 10];
        good_again();
        memcpy(block, bad.byte + from, size);
        if (i % 2) memcpy(bad.byte + from, bad.byte + to, size);
        memcpy(bad.byte + to, block, size);
        put_file(bad.byte, IMAGE);
        attack(NULL);
    }
}

/* One bit of one slot's header: that slot is gone and counted, all others are there. */
static void one_slot_flipped(void)
{
    uint64_t damaged;

    for (uint64_t i = 0; i < rounds / 4 && !failed(); i++) {
        good_again();
        uint64_t place;
        do place = overflow__place(values[draw(VALUES)].ref);
        while (good.word[place * 4] >> 63 == 0 || good.word[place * 4 + 1] >> 29 != 0);
        bad.byte[place * 32 + i % 32] ^= (unsigned char)(1 << draw(8));
        put_file(bad.byte, IMAGE);
        CHECK_EQ(attack(&damaged), good_live - 1);
        CHECK_EQ(damaged, 1);
        if (failed()) printf("# place %u byte %u\n", (unsigned)place, (unsigned)i % 32);
    }
}

/* The same change at two places, as in a torn array of records: no distance hides it. */
static void twin_changes(void)
{
    static unsigned char value[4096], buffer[4096];
    overflow_reader     *reader;
    overflow_ref         ref;
    size_t               size;
    uint32_t             missed = 0;

    unlink(path);
    CHECK_EQ(overflow_open(&region, path, &config), 0);
    CHECK_EQ(overflow_write(region, value, sizeof value, 0, &ref), 0);
    CHECK_EQ(overflow_reader_open(&reader, path), 0);
    unsigned char *bytes = region->view.base + overflow__place(ref) * 32 + 32;
    for (uint32_t distance = 1; distance < 200; distance++)
        for (uint32_t i = 0; i < 40; i++) {
            uint32_t      at     = draw(4096 - distance);
            unsigned char change = (unsigned char)(1 << i % 8);
            bytes[at] ^= change;
            bytes[at + distance] ^= change;
            int error = overflow_reader_read(reader, ref, buffer, sizeof buffer, &size);
            missed += error != -EUCLEAN;
            bytes[at] ^= change;
            bytes[at + distance] ^= change;
        }
    CHECK_EQ(missed, 0);
    CHECK_EQ(overflow_reader_read(reader, ref, buffer, sizeof buffer, &size), 0);
    overflow_reader_close(reader);
    CHECK_EQ(overflow_close(region), 0);
}

/* A file of the same values under another key, mixed in by sectors: what a wrong disk gives. */
static void files_mixed(void)
{
    static struct image other;

    good_again();
    other = good;
    forge_file(&bad, 4, 100);
    for (uint64_t place = 256, serial = 1; place < 4000;)
        place = forge_slot(&bad, place, serial++, "other", 5, 1);
    for (uint64_t i = 0; i < rounds / 2 && !failed(); i++) {
        struct image mixed = other;
        for (int sectors = 20; sectors > 0; sectors--) {
            uint32_t at = 2 * PAGE + draw(120) * 512;
            memcpy(mixed.byte + at, bad.byte + at, 512);
        }
        put_file(mixed.byte, IMAGE);
        CHECK(attack(NULL) >= 0);
    }
}

/* -- Forged files -- */

static uint64_t add_value(uint64_t place, uint64_t serial, uint32_t size)
{
    struct value *value = &values[count++];

    value->ref  = forge_ref(place, serial);
    value->size = size;
    value->tag  = (uint32_t)check_random(&random_state);
    for (uint32_t i = 0; i < size; i++) value->bytes[i] = (unsigned char)(i * 3 + 1);
    return forge_slot(&bad, place, serial, value->bytes, size, value->tag);
}

static void forge_start(void)
{
    count = 0;
    forge_file(&bad, 1, 1000);
}

/* The format as it is told makes a file that opens, with all that it holds. */
static void forged_as_told(void)
{
    static const uint32_t sizes[] = {0, 1, 7, 8, 9, 31, 32, 33, 63, 64, 65, 127, 128, 129, 5000};
    struct overflow_info  info;
    uint64_t              place = 256, damaged, holes = 0;

    forge_start();
    for (uint32_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        place = add_value(place, i * 7, sizes[i]);
        if (i % 4 == 1) place = forge_hole(&bad, place, 1 + i * 20, ++holes);
    }
    place = add_value(place, 999, 40);
    put_file(bad.byte, IMAGE);
    CHECK_EQ(overflow_open(&region, path, &config), 0);
    overflow_stats(region, &info);
    CHECK(info.live_slots == count && info.holes == holes && info.damaged_slots == 0);
    CHECK(info.used_bytes == place * 32 && info.capacity_bytes == IMAGE);
    for (uint32_t i = 0; i < count; i++) {
        overflow_slot slot;
        CHECK_EQ(overflow_describe(region, values[i].ref, &slot), 0);
        check_told(&slot);
    }
    CHECK_EQ(overflow_close(region), 0);
    struct image *before = malloc(sizeof *before);
    int           fd     = open(path, O_RDONLY);
    CHECK(before && read(fd, before->byte, IMAGE) == IMAGE);
    close(fd);
    for (size_t i = 2 * PAGE; i < IMAGE && !failed(); i++) CHECK_EQ(before->byte[i], bad.byte[i]);
    free(before);
    CHECK_EQ(attack(&damaged), count);
    CHECK_EQ(damaged, 0);
}

/* A slot whose sum is wrong, and a hole, over good slots: these count. */
static void forged_nested(void)
{
    uint64_t damaged;
    size_t   size;

    for (int hole = 0; hole < 2; hole++) {
        forge_start();
        uint64_t first = add_value(256, 1, 100);
        for (uint64_t at = first + 1; at < first + 90;) at = add_value(at, 5, draw(90));
        add_value(first + 100, 20, 30);
        if (hole) forge_hole(&bad, first, 100, 1);
        else forge_head(&bad, first, 3, 99 * 32, 0, 12345);
        put_file(bad.byte, IMAGE);
        CHECK_EQ(overflow_open(&region, path, &config), 0);
        CHECK(overflow_read(region, forge_ref(first, 3), &size) == NULL);
        overflow_close(region);
        put_file(bad.byte, IMAGE);
        CHECK_EQ(attack(&damaged), count);
        CHECK(damaged == 1 || hole);
    }
}

/* Good slots inside the value of a good slot, by somebody who knows the key: they are not told; to
 * free them is not right, but stays inside of the file and the records. */
static void forged_inside(void)
{
    static struct image inner;
    overflow_slot       slot;
    uint64_t            cursor = 0, told = 0;

    forge_start();
    for (uint64_t at = 257; at < 16000; at++) forge_slot(&bad, at, 7, "", 0, 0);
    inner = bad;
    forge_slot(&bad, 256, 1, inner.word + 257 * 4, (16000 - 257) * 32, 0);
    put_file(bad.byte, IMAGE);
    CHECK_EQ(overflow_open(&region, path, &config), 0);
    while (overflow_next(region, &cursor, &slot)) told++;
    CHECK_EQ(told, 1);
    for (uint64_t at = 257; at < 16000; at += 2) overflow_free(region, forge_ref(at, 7));
    for (uint64_t at = 257; at < 16000; at++) overflow_free(region, forge_ref(at, 7));
    for (int i = 0; i < 100; i++) overflow_write(region, bad.byte, draw(4000), 0, &slot.ref);
    overflow_trim(region);
    overflow_free(region, forge_ref(256, 1));
    for (int i = 0; i < 100; i++) overflow_write(region, bad.byte, draw(4000), 0, &slot.ref);
    CHECK_EQ(overflow_close(region), 0);
    CHECK_EQ(overflow_open(&region, path, &config), 0);
    overflow_close(region);
}

/* No reader goes beyond the end of the file, and no slot lies in the header's pages. */
static void forged_outside(void)
{
    static unsigned char buffer[IMAGE];
    overflow_reader     *reader;
    size_t               size;

    forge_start();
    forge_slot(&bad, 100, 5, "in the header", 13, 0);
    uint64_t last = IMAGE / 32 - 4;
    add_value(256, 1, 50);
    forge_slot(&bad, last, 2, "good, and the last", 18, 0);
    forge_head(&bad, last + 2, 3, IMAGE - PAGE, 0, 0);
    put_file(bad.byte, IMAGE);
    CHECK_EQ(overflow_reader_open(&reader, path), 0);
    CHECK_EQ(overflow_reader_read(reader, forge_ref(100, 5), buffer, IMAGE, &size), -ESTALE);
    CHECK_EQ(overflow_reader_read(reader, forge_ref(last, 2), buffer, IMAGE, &size), 0);
    CHECK(overflow_reader_read(reader, forge_ref(last + 2, 3), buffer, IMAGE, &size) != 0);
    overflow_reader_close(reader);
    CHECK_EQ(overflow_open(&region, path, &config), 0);
    CHECK(overflow_read(region, forge_ref(100, 5), &size) == NULL);
    CHECK(overflow_read(region, forge_ref(last, 2), &size) != NULL);
    /* Its header is scribbled when the file is open: it must not lead beyond what is used. */
    uint64_t *at = (uint64_t *)(void *)(region->view.base + last * 32);
    forge_head(&bad, last, 2, IMAGE - PAGE, 0, 0);
    memcpy(at, bad.word + last * 4, 32);
    CHECK(overflow_read(region, forge_ref(last, 2), &size) == NULL);
    CHECK_EQ(overflow_free(region, forge_ref(last, 2)), -ESTALE);
    CHECK_EQ(overflow_close(region), 0);
}

static void forged_sizes(void)
{
    static const uint64_t sizes[] = {
        UINT64_C(0x3ffffffff), 1 << 30, IMAGE - 8192 - 100 * 32, IMAGE, 2 * IMAGE, 1 << 20,
    };

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (uint64_t edge = 0; edge < 3; edge++) {
            forge_start();
            uint64_t at = add_value(256, 1, 50);
            forge_head(&bad, at, 2, sizes[i] - edge, 0, 0);
            add_value(at + 10, 3, 50);
            put_file(bad.byte, IMAGE);
            int64_t live = attack(NULL);
            CHECK(live == 1 || live == 2);
            forge_start();
            at = add_value(256, 1, 50);
            forge_hole(&bad, at, UINT64_C(0x7ffffffff) >> (i * 5) >> edge, 1);
            add_value(at + 10, 3, 50);
            put_file(bad.byte, IMAGE);
            live = attack(NULL);
            CHECK(live == 1 || live == 2);
        }
    forge_start(); /* to the end of the file, and one granule less, and one more */
    for (uint64_t end = IMAGE / 32 - 1; end <= IMAGE / 32 + 1; end++) {
        forge_start();
        uint64_t at = add_value(256, 1, 50), granules = end - at - 1;
        uint32_t whole = (uint32_t)granules * 32;
        uint32_t sum   = forge_sum(bad.word + (at + 1) * 4, granules * 4 > WORDS ? 0 : 0);
        if (end <= IMAGE / 32) sum = forge_sum(bad.word + (at + 1) * 4, granules * 4);
        forge_head(&bad, at, 2, whole, 9, sum);
        put_file(bad.byte, IMAGE);
        CHECK_EQ(overflow_open(&region, path, &config), 0);
        CHECK_EQ(region ? region->live_slots : 0, end <= IMAGE / 32 ? 2 : 1);
        overflow_close(region);
    }
}

/* Notes lead nowhere, to each other, to the same record. */
static void forged_notes(void)
{
    for (int kind = 0; kind < 10; kind++) {
        static const uint64_t notes[] = {0,    1,          2,          4095, 4096,
                                         8192, UINT32_MAX, UINT64_MAX, 77,   5000};
        uint64_t              damaged, place = 256;
        forge_start();
        for (uint32_t i = 0; i < 50; i++) {
            place         = add_value(place, i, draw(300));
            uint64_t note = kind == 8 ? i / 2 + 1 : kind == 9 ? draw(60) : notes[kind];
            uint64_t size = 1 + draw(10), last = (place + size) * 4 - 1;
            place = forge_hole(&bad, place, size, note);
            if (kind == 9 && i % 3 == 0) bad.word[last]++;
        }
        put_file(bad.byte, IMAGE);
        CHECK_EQ(attack(&damaged), 50);
        CHECK_EQ(damaged, 1 * (bad.word[place * 4] != 0));
    }
}

/* Many small holes and one with a number as high as it goes: memory by what there is. */
static void forged_sparse(void)
{
    struct overflow_info info;
    off_t                size = (off_t)1 << (sizeof(size_t) == 4 ? 29 : rounds > 300 ? 40 : 34);

#if defined OVERFLOW__ASAN || defined __SANITIZE_THREAD__
    size = (off_t)1 << 28;
#endif
    for (int kind = 0; kind < 3; kind++) {
        forge_start();
        uint64_t at   = add_value(256, 1, 50);
        uint64_t note = kind == 0 ? 1 : kind == 1 ? (uint64_t)size / 64 - 1 : UINT32_MAX - 1;
        at            = add_value(forge_hole(&bad, at, 5, note), 2, 50);
        put_sparse(&bad, size);
        int error = overflow_open(&region, path, &config);
        CHECK(error == 0 || error == -ENOMEM || error == -EFBIG || error == -EOVERFLOW);
        if (error != 0) continue;
        overflow_stats(region, &info);
        CHECK(info.live_slots == 2 && info.holes == 1 && info.used_bytes == at * 32);
        CHECK(region->hole_ready < 1 << 16);
        CHECK_EQ(overflow_close(region), 0);
        struct stat status;
        CHECK(stat(path, &status) == 0 && status.st_blocks < 4096);
    }
    unlink(path);
}

/* Torn slots that claim what the file system does not have: they cost nothing. */
static void forged_claims(void)
{
    struct stat before, after;
    uint64_t    size = 64 << 20;

    forge_start();
    uint64_t place = add_value(256, 1, 50);
    for (uint64_t i = 0; i < 100; i++)
        forge_head(&bad, place + i, i + 2, size - 16 * PAGE - i % 7 * 1000, 0, 0);
    put_sparse(&bad, (off_t)size);
    CHECK_EQ(stat(path, &before), 0);
    CHECK_EQ(overflow_open(&region, path, &config), 0);
    CHECK(region && region->live_slots == 1 && region->damaged_slots > 0);
    CHECK_EQ(overflow_close(region), 0);
    CHECK_EQ(stat(path, &after), 0);
    CHECK(after.st_blocks <= before.st_blocks + 64);
    unlink(path);
}

/* Torn slots over each other, more than are summed up one by one; in the last of them lies a good
 * one, and another behind: they count. The heads claim 4 GiB, and cost what the file has. */
static void forged_crowd(void)
{
    static unsigned char large[60000];
    uint64_t             place = 256, damaged;

    forge_start();
    for (; place < IMAGE / 32 - 400; place++)
        forge_head(&bad, place, 1 + place % 900, (IMAGE / 32 - 10 - place) * 32 - place % 32, 0, 1);
    add_value(place - 200, 7, 5000);
    place = add_value(place, 5, 100);
    add_value(place + 250, 6, 3000);
    put_file(bad.byte, IMAGE);
    CHECK_EQ(attack(&damaged), 3);
    CHECK_EQ(damaged, 1);
    for (size_t i = 0; i < sizeof large; i++)
        large[i] = i / 20000 == 1 ? 0 : (unsigned char)check_random(&random_state);
    forge_slot(&bad, 10000, 8, large, sizeof large, 0);
    put_sparse(&bad, (off_t)(sizeof(size_t) == 4 ? 1 << 28 : UINT64_C(1) << 34));
    CHECK_EQ(overflow_open(&region, path, &config), 0);
    CHECK_EQ(region ? region->live_slots : 0, 4);
    overflow_close(region);
    unlink(path);
}

/* -- Copies that leave out what is zero -- */

static void copy_sparse(const char *from, const char *to)
{
    char command[9000];
    snprintf(command, sizeof command, "cp --sparse=always '%s' '%s' 2>/dev/null", from, to);
    if (system(command) == 0) return;
    check_skip("this cp does not copy sparsely");
    snprintf(command, sizeof command, "cp '%s' '%s'", from, to);
    CHECK_EQ(system(command), 0);
}

enum { ZEROS = 100, ZERO_BYTES = 1 << 20 };

static overflow_config many_mib = {.initial_bytes = 1 << 20, .max_bytes = (size_t)256 << 20};
static unsigned char   zeros[ZERO_BYTES];

/* Zeros, and in every fourth value one byte that is none. */
static void write_zeros(overflow_ref *refs)
{
    CHECK_EQ(overflow_open(&region, path, &many_mib), 0);
    for (size_t i = 0; i < ZEROS; i++) {
        zeros[i * 10000] = i % 4 == 3;
        CHECK_EQ(overflow_write(region, zeros, ZERO_BYTES - i, 0, &refs[i]), 0);
        zeros[i * 10000] = 0;
    }
    CHECK_EQ(overflow_close(region), 0);
}

static void check_zeros(const overflow_ref *refs)
{
    struct overflow_info info;
    size_t               size;

    overflow_stats(region, &info);
    CHECK_EQ(info.live_slots, ZEROS);
    CHECK_EQ(info.damaged_slots, 0);
    for (size_t i = 0; i < ZEROS; i++) {
        const unsigned char *at = overflow_read(region, refs[i], &size);
        CHECK(at && size == ZERO_BYTES - i && at[i * 10000] == (i % 4 == 3));
        if (at) CHECK(memcmp(at, zeros, i * 10000) == 0);
    }
    CHECK(overflow__blocks(region) >= (uint64_t)ZEROS << 20); /* a full disk is no SIGBUS later */
}

/* All values are there in a sparse copy, and others can be written in their places. */
static void copy_sparse_in(const char *where)
{
    static overflow_ref refs[ZEROS];
    char                copy[4200];

    snprintf(path, sizeof path, "%s/file", where);
    snprintf(copy, sizeof copy, "%s/copy", where);
    write_zeros(refs);
    copy_sparse(path, copy);
    unlink(path);
    CHECK_EQ(overflow_open(&region, copy, &many_mib), 0);
    check_zeros(refs);
    for (size_t i = 0; i < ZEROS; i += 2) CHECK_EQ(overflow_free(region, refs[i]), 0);
    for (size_t i = 0; i < ZEROS; i += 2)
        CHECK_EQ(overflow_write(region, zeros, ZERO_BYTES - i, 0, &refs[i]), 0);
    check_zeros(refs);
    CHECK_EQ(overflow_close(region), 0);
    unlink(copy);
}

static void a_sparse_copy_keeps_all(void)
{
    char        disk[] = "/var/tmp/overflow_hostile.XXXXXX", ours[sizeof path];
    struct stat memory, other;

    memcpy(ours, path, sizeof ours);
    copy_sparse_in(folder);
    if (mkdtemp(disk)) { /* another file system, if there is one */
        CHECK(stat(folder, &memory) == 0 && stat(disk, &other) == 0);
        if (memory.st_dev != other.st_dev) copy_sparse_in(disk);
        rmdir(disk);
    }
    memcpy(path, ours, sizeof path);
}

/* A serial above the header's limit, as power loss leaves it: the next is above that. */
static void forged_serial(void)
{
    overflow_ref ref;

    forge_start();
    add_value(add_value(256, 1, 10), 5000, 20);
    put_file(bad.byte, IMAGE);
    CHECK_EQ(attack(NULL), 2);
    put_file(bad.byte, IMAGE);
    CHECK_EQ(overflow_open(&region, path, &config), 0);
    CHECK_EQ(overflow_write(region, "x", 1, 0, &ref), 0);
    CHECK(ref >> 35 > 5000);
    CHECK_EQ(overflow_close(region), 0);
}

/* Counts at their limits: refused, or the file works; and OVERFLOW_FRESH makes it a good one. */
static void forged_counts(void)
{
    static const uint64_t limits[] = {
        0, 1, 2, UINT64_C(1) << 29, UINT64_C(1) << 61, UINT64_C(1) << 62, UINT64_C(1) << 63, 3};
    overflow_config fresh = config;
    overflow_ref    ref;

    fresh.flags = OVERFLOW_FRESH;
    for (int i = 0; i < 64 && !failed(); i++) {
        uint64_t edge = limits[i / 8] - (uint64_t)(i & 3);
        count         = 0;
        forge_file(&bad, i & 4 ? 1 : edge, i & 4 ? edge : 1000);
        put_file(bad.byte, IMAGE);
        int64_t live = attack(NULL);
        CHECK(live == 0 || live == -EUCLEAN);
        put_file(bad.byte, IMAGE);
        CHECK_EQ(overflow_open(&region, path, &fresh), 0);
        if (region) CHECK_EQ(overflow_write(region, "v", 1, 0, &ref), 0);
        overflow_close(region);
        CHECK_EQ(overflow_open(&region, path, &config), 0);
        CHECK(region && region->live_slots == 1);
        overflow_close(region);
        if (failed()) printf("# limit %llx kind %d\n", (unsigned long long)edge, i % 8);
    }
    for (int i = 0; i < 64 && !failed(); i++) { /* of one slot */
        forge_start();
        add_value(add_value(256, 1, 10), (UINT64_C(1) << i) + draw(3) - 1, 20);
        put_file(bad.byte, IMAGE);
        int64_t live = attack(NULL);
        CHECK(live == 1 || live == 2);
        if (failed()) printf("# serial 2^%d\n", i);
    }
}

/* Of the copies of the header whose check holds, the one with the highest turn counts. */
static void forged_turns(void)
{
    for (uint32_t first = 0; first < 3 && !failed(); first++)
        for (uint32_t broken = 0; broken < 4; broken++) {
            uint32_t last = (first + 2) % 3;
            forge_start();
            add_value(256, 1, 50);
            for (uint32_t i = 0; i < 3; i++)
                forge_copy(&bad, (first + i) % 3, 10 + i, 1000 + i * 1000);
            if (broken < 3) bad.word[copy_at[(first + broken) % 3] / 8 + 6] ^= 1;
            put_file(bad.byte, IMAGE);
            CHECK_EQ(overflow_open(&region, path, &config), 0);
            CHECK_EQ(region->serial, broken == 2 ? 2000 : 3000);
            CHECK_EQ(region->header.copy, broken == 2 ? (last + 2) % 3 : last);
            overflow_close(region);
        }
    for (uint32_t only = 0; only < 3 && !failed(); only++) { /* and owner and readers find it */
        forge_start();
        add_value(256, 1, 50);
        memset(bad.byte, 0, 2 * PAGE);
        forge_copy(&bad, only, 5, 1000);
        put_file(bad.byte, IMAGE);
        CHECK_EQ(attack(NULL), 1);
    }
}

static void forged_others(void)
{
    static const char *const expected[] = {"version", "order", "granule", "magic"};

    for (int kind = 0; kind < 4; kind++) {
        overflow_reader *reader;
        good_again();
        for (int copy = 0; copy < 3; copy++) {
            uint64_t *word  = bad.word + copy_at[copy] / 8;
            uint32_t  check = 0xffffffff;
            if (kind == 0) word[2] ^= 3; /* version 1 */
            if (kind == 1) word[2] = word[2] >> 32 << 56 | UINT64_C(0x04030201);
            if (kind == 2) word[3] = 64;
            if (kind == 3) word[1] ^= 0x20;
            for (int i = 0; i < 8; i++) check = forge_crc(check, word[i]);
            word[8] = check;
        }
        put_file(bad.byte, IMAGE);
        int want = kind == 3 ? -EUCLEAN : -ENOTSUP;
        CHECK_EQ(overflow_open(&region, path, &config), want);
        CHECK_EQ(overflow_reader_open(&reader, path), want);
        if (failed()) printf("# %s\n", expected[kind]);
    }
}

/* -- What is no file, and failures that leave nothing behind -- */

static uint32_t open_files(void)
{
    uint32_t       files = 0;
    DIR           *list  = opendir("/proc/self/fd");
    struct dirent *entry;

    while (list && (entry = readdir(list))) files++;
    if (list) closedir(list);
    return files;
}

static uint32_t maps_of_file(void)
{
    char     line[8192];
    uint32_t lines = 0;
    FILE    *maps  = fopen("/proc/self/maps", "r");

    while (maps && fgets(line, sizeof line, maps)) lines += strstr(line, folder) != NULL;
    if (maps) fclose(maps);
    return lines;
}

static uint64_t address_space(void)
{
    char     line[256];
    uint64_t kib  = 0;
    FILE    *file = fopen("/proc/self/status", "r");

    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "VmSize:", 7) == 0) kib = strtoull(line + 7, NULL, 10);
    if (file) fclose(file);
    return kib;
}

/* Owner and reader refuse it in these ways, many times, and nothing piles up. */
static void refuse(const char *what, int owner, int reader)
{
    overflow_reader *opened;
    uint32_t         files = open_files();
    uint64_t         space = address_space();

    for (int i = 0; i < 30; i++) {
        region = (overflow_region *)1;
        opened = (overflow_reader *)1;
        CHECK_EQ(overflow_open(&region, what, &config), owner);
        CHECK_EQ(overflow_reader_open(&opened, what), reader);
        CHECK(region == NULL && (opened == NULL) == (reader != 0));
        overflow_reader_close(opened);
    }
    CHECK_EQ(open_files(), files);
    CHECK_EQ(maps_of_file(), 0);
    CHECK(address_space() < space + (20 << 10));
    if (failed()) printf("# %s\n", what);
}

static void no_files(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char               name[4100];

    unlink(path);
    CHECK_EQ(mkfifo(path, 0600), 0);
    refuse(path, -EUCLEAN, -EUCLEAN);
    unlink(path);
    CHECK_EQ(mkdir(path, 0700), 0);
    refuse(path, -EISDIR, -EUCLEAN);
    snprintf(name, sizeof name, "%s/", path);
    refuse(name, -EISDIR, -EUCLEAN);
    rmdir(path);
    refuse("/dev/null", -EUCLEAN, -EUCLEAN);
    refuse("/dev/zero", -EUCLEAN, -EUCLEAN);
    refuse("", -ENOENT, -ENOENT);
    snprintf(name, sizeof name, "%s/none/file", folder);
    refuse(name, -ENOENT, -ENOENT);
    put_file(good.byte, IMAGE);
    snprintf(name, sizeof name, "%s/link", folder);
    CHECK_EQ(symlink(path, name), 0);
    refuse(name, -ELOOP, -ELOOP);
    unlink(path);
    refuse(name, -ELOOP, -ELOOP); /* leads nowhere; and is not followed to create a file */
    CHECK(access(path, F_OK) != 0);
    unlink(name);
    if (strlen(path) < sizeof address.sun_path) {
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        memcpy(address.sun_path, path, strlen(path) + 1);
        if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0)
            refuse(path, -ENXIO, -ENXIO);
        close(fd);
        unlink(path);
    }
}

static void no_regions(void)
{
    static const char text[] = "ashlar-overflow\nis what this file is not, though it begins so.\n";

    put_file(text + 1, sizeof text - 1);
    refuse(path, -EUCLEAN, -EUCLEAN);
    put_file("x", 1);
    refuse(path, -EUCLEAN, -EUCLEAN);
    memset(&bad, 0, sizeof bad);
    for (size_t at = 0; at < IMAGE; at++) bad.byte[at] = (unsigned char)text[at % sizeof text];
    put_file(bad.byte, IMAGE);
    refuse(path, -ENOTSUP, -ENOTSUP);
    put_file(bad.byte + 3, IMAGE - 3);
    refuse(path, -EUCLEAN, -EUCLEAN);
    put_file("", 0);
    count = 0;
    CHECK_EQ(attack(NULL), 0);
    put_file(good.byte, IMAGE);
    chmod(path, 0);
    chmod(folder, 0755);
    if (geteuid() != 0 || seteuid(65534) == 0) {
        refuse(path, -EACCES, -EACCES);
        if (getuid() == 0) CHECK_EQ(seteuid(0), 0);
    }
    chmod(path, 0400);
    if (geteuid() != 0) refuse(path, -EACCES, 0);
    unlink(path);
}

/* The disk is full at the first, second .. call: a new file is gone again, an old one is whole. */
static void full_disk(void)
{
    overflow_ref ref;

    for (int call = 1; call < 12; call++) {
        unlink(path);
        uint32_t files = open_files();
        failing        = call;
        int error      = overflow_open(&region, path, &config);
        failing        = 0;
        CHECK(error == 0 || error == -ENOSPC);
        CHECK_EQ(access(path, F_OK) == 0, error == 0);
        CHECK(error == 0 || call > 0);
        overflow_close(region);
        CHECK_EQ(open_files(), files);
        put_sparse(&good, IMAGE); /* with pages to be backed */
        failing = call;
        error   = overflow_open(&region, path, &config);
        failing = 0;
        CHECK(error == 0 || error == -ENOSPC);
        if (region) CHECK_EQ(overflow_write(region, "x", 1, 0, &ref), 0);
        overflow_close(region);
        CHECK(maps_of_file() == 0 && open_files() == files);
        good_again();
        put_sparse(&good, IMAGE);
        CHECK_EQ(attack(NULL), good_live);
    }
}

/* The largest value, one byte more, and a disk that has room for less than was asked for. */
static void edges(void)
{
    overflow_config      least = {.initial_bytes = 1, .max_bytes = 16 << 10};
    struct overflow_info info;
    overflow_ref         ref;

    unlink(path);
    CHECK_EQ(overflow_open(&region, path, &least), 0);
    CHECK_EQ(overflow_write(region, good.byte, 8192 - 63, 0, &ref), -EMSGSIZE);
    CHECK_EQ(overflow_write(region, good.byte, 8192 - 64, 0, &ref), 0);
    CHECK_EQ(overflow_write(region, good.byte, 0, 0, &ref), -ENOSPC);
    overflow_stats(region, &info);
    CHECK(info.used_bytes == (16 << 10) - 32 && info.capacity_bytes == 16 << 10);
    CHECK_EQ(overflow_close(region), 0);
    unlink(path);
    least = (overflow_config){.initial_bytes = 65537};
    CHECK_EQ(overflow_open(&region, path, &least), 0);
    overflow_stats(region, &info);
    CHECK_EQ(info.capacity_bytes, 65536 + 4096);
    CHECK_EQ(overflow_close(region), 0);
    overflow_reader *reader;
    no_mmap = ENODEV; /* a file system whose files cannot be mapped */
    CHECK_EQ(overflow_open(&region, path, &least), -ENODEV);
    CHECK_EQ(overflow_reader_open(&reader, path), -ENODEV);
    no_mmap = 0;
    unlink(path);
    CHECK_EQ(overflow_open(&region, path, &config), 0);
    failing = 1;
    CHECK_EQ(overflow_write(region, good.byte, 60 << 10, 0, &ref), 0);
    CHECK_EQ(failing, 0);
    CHECK_EQ(overflow_close(region), 0);
    unlink(path);
}

static void small_limits(void)
{
    overflow_config large = {.initial_bytes = 1 << 20, .max_bytes = (size_t)1 << 30};

    unlink(path);
    for (rlim_t limit = 0; limit <= 24 << 10; limit += 1 << 10) {
        pid_t child = fork();
        if (child == 0) {
            struct rlimit size = {limit, limit};
            overflow_ref  ref;
            setrlimit(RLIMIT_FSIZE, &size);
            config.initial_bytes = 1;
            int error            = overflow_open(&region, path, &config);
            if (error == 0)
                while ((error = overflow_write(region, "x", 1, 0, &ref)) == 0) continue;
            _exit(error == -ENOSPC ? 0 : 1);
        }
        int status = -1;
        CHECK(child > 0 && waitpid(child, &status, 0) == child);
        CHECK_EQ(status, 0);
        unlink(path);
    }
#if !defined OVERFLOW__ASAN && !defined __SANITIZE_THREAD__
    pid_t child = fork();
    if (child == 0) {
        struct rlimit space = {(rlim_t)address_space() * 1024 + (64 << 20), RLIM_INFINITY};
        setrlimit(RLIMIT_AS, &space);
        for (int i = 0; i < 20; i++) {
            int error = overflow_open(&region, path, &large);
            if (error == 0) _exit(0); /* no such limit here: qemu */
            if (error != -ENOMEM || region || access(path, F_OK) == 0) _exit(1);
        }
        _exit(maps_of_file() == 0 ? 0 : 2);
    }
    int status = -1;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK_EQ(status, 0);
#endif
    (void)large;
    unlink(path);
}

/* -- Names -- */

static void names(void)
{
    overflow_config  temporary = config;
    overflow_region *second    = NULL;
    overflow_ref     ref;

    temporary.flags = OVERFLOW_TEMPORARY;
    unlink(path);
    CHECK_EQ(chdir(folder), 0);
    CHECK_EQ(overflow_open(&region, "file", &temporary), 0); /* no slash */
    CHECK_EQ(overflow_open(&second, "./file", &temporary), -EBUSY);
    CHECK(second == NULL && access(path, F_OK) == 0);
    CHECK_EQ(overflow_write(region, "x", 1, 0, &ref), 0);
    CHECK_EQ(chdir("/"), 0);
    CHECK(overflow_close(region) != 0); /* the path leads nowhere now */
    CHECK_EQ(access(path, F_OK), 0);
    CHECK_EQ(overflow_open(&region, path, &temporary), 0);
    CHECK_EQ(unlink(path), 0);
    put_file("another's", 9);
    overflow_close(region);
    CHECK_EQ(access(path, F_OK), 0); /* not ours to unlink */
    unlink(path);
    CHECK_EQ(overflow_open(&region, path, &temporary), 0);
    CHECK_EQ(overflow_close(region), 0);
    CHECK(access(path, F_OK) != 0);
}

/* What the kernel could not write once is lost, whatever it says the next time. */
static void sync_fails(void)
{
    CHECK_EQ(overflow_open(&region, path, &config), 0);
    CHECK_EQ(overflow_sync(region), 0);
    disk_fails = true;
    CHECK_EQ(overflow_sync(region), -EIO);
    disk_fails = false;
    CHECK_EQ(overflow_sync(region), -EIO);
    CHECK_EQ(overflow_close(region), 0);
    unlink(path);
}

/* A child has the file until it ends, and must not use it; the parent goes on. */
static void forked(void)
{
    int              channel[2];
    char             byte;
    overflow_ref     ref;
    overflow_region *second;

    CHECK_EQ(pipe(channel), 0);
    CHECK_EQ(overflow_open(&region, path, &config), 0);
    pid_t child = fork();
    if (child == 0) {
        close(channel[1]);
        _exit(read(channel[0], &byte, 1) == 0 ? 0 : 1);
    }
    close(channel[0]);
    CHECK_EQ(overflow_write(region, "x", 1, 0, &ref), 0);
    CHECK_EQ(overflow_close(region), 0);
    CHECK_EQ(overflow_open(&second, path, &config), -EBUSY);
    close(channel[1]);
    CHECK_EQ(waitpid(child, NULL, 0), child);
    CHECK_EQ(overflow_open(&second, path, &config), 0);
    CHECK(second && second->live_slots == 1);
    overflow_close(second);
    unlink(path);
}

/* -- Refs that nobody gave out -- */

static void forged_refs(void)
{
    overflow_reader *reader;
    unsigned char    buffer[8192];
    size_t           size;

    good_again();
    put_file(good.byte, IMAGE);
    CHECK_EQ(overflow_open(&region, path, &config), 0);
    CHECK_EQ(overflow_reader_open(&reader, path), 0);
    for (uint64_t i = 0; i < rounds * 1000 && !failed(); i++) {
        overflow_ref near = values[draw(VALUES)].ref, ref = near;
        uint64_t     kind = i % 4;
        if (kind == 0) ref = check_random(&random_state);
        if (kind == 1) ref = near >> 35 << 35 | draw(IMAGE / 32);
        uint64_t serial = (values[0].ref >> 35) + draw(200);
        if (kind == 2) ref = (near & 0x7ffffffff) | serial << 35;
        if (kind == 3) ref = serial << 35 | draw(5000);
        const void *bytes = overflow_read(region, ref, &size);
        if (!value_of(ref)) CHECK(bytes == NULL && size == 0);
        if (!value_of(ref)) CHECK_EQ(overflow_free(region, ref), -ESTALE);
        if (i % 8 < 4) continue;
        int error = overflow_reader_read(reader, ref, buffer, sizeof buffer, &size);
        CHECK_EQ(error, bytes ? 0 : -ESTALE);
    }
    CHECK_EQ(region->live_slots, good_live);
    overflow_reader_close(reader);
    CHECK_EQ(overflow_close(region), 0);
}

/* -- A scribbler beside the owner: values may be lost, but nothing outside of the file is touched,
 * no call hangs, and the file opens again. Deterministic: it scribbles between two calls. -- */

static uint64_t *scribbled; /* the file, mapped once more */
static uint64_t  scribbled_words;

/* A slot's header that holds its check, over whatever lies there. */
static void scribble_head(uint64_t place)
{
    uint64_t *word = scribbled + place * 4;
    uint64_t  left = region->used > place ? region->used - place : 1;
    uint64_t  size = draw(2) ? (left - 1) * 32 : draw(5000);

    word[1]       = region->header.first_serial + draw(500);
    word[2]       = 0;
    uint64_t head = UINT64_C(1) << 63 | word[1] << 34 | size;
    uint32_t crc  = forge_crc(forge_crc(region->view.seed, place), head);
    word[3]       = forge_crc(forge_crc(crc, word[1]), 0);
    word[0]       = head;
}

static void scribble(bool knows_the_key)
{
    uint64_t place = 256 + draw((uint32_t)(scribbled_words / 4) - 256 - 1);
    uint64_t at    = place * 4 + draw(4);

    if (draw(2) && region->hole_top > 1) { /* the ends of a hole */
        const overflow__hole *hole = &region->holes[1 + draw(region->hole_top - 1)];
        if (hole->place) {
            place = hole->place;
            at    = draw(2) ? place * 4 + draw(2) : (place + overflow__length(hole)) * 4 - 1;
        }
    }
    switch (draw(knows_the_key ? 7 : 5)) {
    case 0:
        scribbled[at] = check_random(&random_state);
        break;
    case 1:
        scribbled[at] = draw(100);
        break;
    case 2:
        scribbled[at] = scribbled[draw((uint32_t)scribbled_words)];
        break;
    case 3:
        scribbled[at] = 0;
        break;
    case 4:
        scribbled[at] ^= UINT64_C(1) << draw(64);
        break;
    default:
        scribble_head(place);
        break;
    }
}

static void scribble_round(bool knows_the_key)
{
    static overflow_ref  refs[4000];
    static uint32_t      refs_count;
    overflow_slot        slot;
    struct overflow_info info;
    uint64_t             cursor = 0;

    unlink(path);
    CHECK_EQ(overflow_open(&region, path, &config), 0);
    scribbled_words = MAX_BYTES / 8;
    CHECK_EQ(ftruncate(region->fd, MAX_BYTES), 0);
    scribbled  = mmap(NULL, MAX_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, region->fd, 0);
    refs_count = 0;
    for (int i = 0; i < 3000; i++) {
        uint32_t kind = draw(100);
        if (kind < 50 && refs_count < 4000) {
            if (overflow_write(region, good.byte, draw(draw(900) + 1), 0, &refs[refs_count]) == 0)
                refs_count++;
        } else if (kind < 90 && refs_count > 0) {
            uint32_t at = draw(refs_count);
            overflow_free(region, refs[at]);
            if (draw(3)) refs[at] = refs[--refs_count]; /* some are freed twice */
        } else if (kind < 92) {
            overflow_trim(region);
        } else if (kind < 94) {
            overflow_stats(region, &info);
        } else if (overflow_next(region, &cursor, &slot) && draw(2)) {
            overflow_free(region, slot.ref);
        }
        for (uint32_t times = draw(4); times > 0; times--) scribble(knows_the_key);
    }
    munmap(scribbled, MAX_BYTES);
    CHECK_EQ(overflow_close(region), 0);
    CHECK_EQ(overflow_open(&region, path, &config), 0);
    if (region) use();
    overflow_close(region);
}

static void scribbler(void)
{
    for (uint64_t i = 0; i < rounds / 10 && !failed(); i++) scribble_round(false);
}

static void scribbler_with_key(void)
{
    for (uint64_t i = 0; i < rounds / 10 && !failed(); i++) scribble_round(true);
}

int main(int argc, char **argv)
{
    const char *where  = getenv("TMPDIR");
    const char *memory = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"; /* disks are slow */

    if (argc > 1) rounds = strtoull(argv[1], NULL, 10);
    if (argc > 2) random_state = strtoull(argv[2], NULL, 10);
    snprintf(folder, sizeof folder, "%s/overflow_hostile.XXXXXX", where ? where : memory);
    if (!mkdtemp(folder)) return 1;
    snprintf(path, sizeof path, "%s/file", folder);
    RUN(make_good);
    RUN(truncated);
    RUN(zeroed);
    RUN(headers_flipped);
    RUN(bits_flipped);
    RUN(blocks_shuffled);
    RUN(one_slot_flipped);
    RUN(twin_changes);
    RUN(files_mixed);
    RUN(forged_as_told);
    RUN(forged_nested);
    RUN(forged_inside);
    RUN(forged_outside);
    RUN(forged_sizes);
    RUN(forged_notes);
    RUN(forged_sparse);
    RUN(forged_claims);
    RUN(forged_crowd);
    RUN(a_sparse_copy_keeps_all);
    RUN(forged_serial);
    RUN(forged_counts);
    RUN(forged_turns);
    RUN(forged_others);
    RUN(no_files);
    RUN(no_regions);
    RUN(full_disk);
    RUN(edges);
    RUN(small_limits);
    RUN(names);
    RUN(sync_fails);
    RUN(forked);
    RUN(forged_refs);
    RUN(scribbler);
    RUN(scribbler_with_key);
    unlink(path);
    rmdir(folder);
    return REPORT();
}
