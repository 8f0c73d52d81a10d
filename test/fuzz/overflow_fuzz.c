/* Goal: whatever a region file holds, and whatever is called then, nothing outside of the file is
 * touched, the counts come out even, and what was written under a ref is what is read.
 * Method: libFuzzer's bytes are a file as it is, or drive a forger that gives slots, holes and
 * headers good checks, so that it gets deep: sizes, notes and serials of any value, slots in slots,
 * values that are torn, and pages left out. The rest of the bytes are calls: next, read, write,
 * free, trim, close, open, a reader, fallocate that fails. In the end it is opened once more: all
 * that is live is there, and nothing is damaged.
 *
 *     overflow_fuzz -max_len=4096 FOLDER
 *     cc -DSTANDALONE ...; overflow_fuzz FILE ...     without libFuzzer: each file in turn
 *     overflow_fuzz -SEED RUNS                        so many inputs at random
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int test_fallocate(int fd, int mode, off_t at, off_t size);
#define OVERFLOW_FALLOCATE(fd, mode, at, size) test_fallocate(fd, mode, at, size)
#define OVERFLOW_IMPLEMENTATION
#include "../../overflow.h"

#define REQUIRE(x)                                                  \
    do {                                                            \
        if (!(x)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
            abort();                                                \
        }                                                           \
    } while (0)

enum {
    IMAGE     = 48 << 10, /* of a file that is forged */
    MAX_BYTES = 96 << 10,
    VALUES    = 4096, /* that live */
    STALES    = 64,   /* refs freed last */
    WORDS     = IMAGE / 8,
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

/* -- The forger -- */

static uint64_t image[WORDS];
static uint64_t image_size;
static uint64_t key;
static uint32_t seed;

static uint32_t forge_crc(uint32_t crc, uint64_t value)
{
    static uint32_t table[256];

    for (uint32_t i = 0; i < 256 && table[255] == 0; i++) {
        uint32_t entry = i;
        for (int bit = 0; bit < 8; bit++) entry = entry >> 1 ^ (entry & 1 ? 0x82f63b78 : 0);
        table[i] = entry;
    }
    for (int i = 0; i < 8; i++) crc = crc >> 8 ^ table[(crc ^ value >> (8 * i)) & 255];
    return crc;
}

static uint64_t any_count(void)
{
    uint32_t kind = byte();

    if (kind < 128) return kind;
    if (kind < 200) return word();
    return (UINT64_C(1) << kind % 64) + byte() % 4 - 2;
}

/* Not just below 2^60, from where a file opens once more, but not twice. */
static uint64_t header_count(void)
{
    uint64_t value = any_count(), bound = UINT64_C(1) << 60;
    return value < bound && value + (bound >> 8) >= bound ? value - (bound >> 8) : value;
}

static void forge_header(uint64_t turn, uint64_t serial_limit)
{
    uint64_t *at    = image + (turn % 3 == 0 ? 0 : 256 + turn % 3 * 256);
    uint32_t  check = UINT32_MAX;

    memcpy(at, "ashlar-overflow\n", 16);
    at[2] = UINT64_C(0x01020304) << 32 | 2;
    at[3] = turn % 4 << 32 | 32;
    at[4] = key;
    at[5] = turn;
    at[6] = serial_limit;
    at[7] = byte();
    for (int i = 0; i < 8; i++) check = forge_crc(check, at[i]);
    at[8] = check;
}

/* Where the next may begin. What lies there already shows through only in one that is torn: a
 * program that knows the key can put slots in a value, and they are there once that is freed. */
static uint64_t forge_slot(uint64_t place, uint64_t serial, uint64_t size, uint32_t kind)
{
    uint64_t *at     = image + place * 4;
    uint64_t  filled = (size + 31) / 32, room = WORDS / 4 - place - 1;
    uint32_t  lane[4] = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX}, check = seed;

    if (filled > room) filled = room;
    for (uint64_t i = 4; i < filled * 4 + 4 && kind != 227; i++) at[i] = kind % 4 ? i * kind : 0;
    for (uint64_t i = 0; i < filled * 4; i++) lane[i % 4] = forge_crc(lane[i % 4], at[i + 4]);
    uint64_t mix = ((uint64_t)lane[1] << 32 | lane[0]) * UINT64_C(0x9e3779b97f4a7c15);
    mix          = (mix ^ mix >> 32) + ((uint64_t)lane[3] << 32 | lane[2]);
    mix *= UINT64_C(0xbf58476d1ce4e5b9);
    uint32_t sum = (uint32_t)(mix ^ mix >> 32);
    at[0]        = UINT64_C(1) << 63 | serial << 34 | size;
    at[1]        = serial;
    at[2]        = (uint64_t)(sum ^ (kind >= 224)) << 32 | kind;
    check        = forge_crc(check, place);
    for (int i = 0; i < 3; i++) check = forge_crc(check, at[i]);
    at[3] = check;
    return place + 1 + filled;
}

static uint64_t forge_hole(uint64_t place, uint64_t length, uint64_t note)
{
    uint32_t check = forge_crc(forge_crc(seed, place), length);

    image[place * 4]     = (uint64_t)(check >> 4) << 35 | length;
    image[place * 4 + 1] = note;
    if (length < WORDS / 4 - place) image[(place + length) * 4 - 1] = note;
    return length < WORDS / 4 - place ? place + length : place + 1;
}

static void forge(void)
{
    uint64_t place = 256;

    memset(image, 0, sizeof image);
    image_size = sizeof image;
    key        = byte();
    seed       = forge_crc(UINT32_MAX, key);
    forge_header(1 + byte() % 3, header_count());
    if (byte() % 4 == 0) forge_header(header_count(), header_count());
    for (uint32_t parts = byte(); parts > 0 && input_left > 0 && place < WORDS / 4 - 1; parts--) {
        uint32_t kind = byte(), more = byte();
        if (kind < 100) place = forge_slot(place, more, kind * 3, more % 224);
        else if (kind < 130)
            place = forge_slot(place, any_count(), word() * 4, more % 8 ? more : 227);
        else if (kind < 140)
            place = forge_slot(place, more, any_count() & OVERFLOW__SIZE_MAX, kind);
        else if (kind < 170) place = forge_hole(place, 1 + more, kind - 139);
        else if (kind < 180) place = forge_hole(place, any_count() & 0x7ffffffff, any_count());
        else if (kind < 190) image[place * 4 + more % 4] ^= UINT64_C(1) << more / 4;
        else if (kind < 210) place += more;
        else if (kind < 230) place = place - 256 > more ? place - more : 256;
        else image[place * 4 + kind % 8] = any_count();
    }
    if (byte() % 8 == 0) image_size = word() * 2 % sizeof image;
}

/* -- The file -- */

static char     path[64];
static int      file = -1;
static uint32_t failures; /* one fallocate in so many fails; 0: none */
static uint32_t calls;

static int test_fallocate(int fd, int mode, off_t at, off_t size)
{
    REQUIRE(at >= 0 && size > 0 && at + size <= MAX_BYTES);
    if (failures == 0 || ++calls % failures != 0) return fallocate(fd, mode, at, size);
    errno = mode == 0 ? ENOSPC : EOPNOTSUPP;
    return -1;
}

static void remove_file(void) { unlink(path); }

/* The image, pages of zeros left out if it shall be so. */
static void put_image(const void *bytes, size_t size, bool sparse)
{
    static const unsigned char zeros[4096];

    if (file < 0) {
        snprintf(path, sizeof path, "/dev/shm/overflow_fuzz.%ld", (long)getpid());
        file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        atexit(remove_file);
    }
    REQUIRE(file >= 0 && ftruncate(file, 0) == 0 && ftruncate(file, (off_t)size) == 0);
    for (size_t at = 0; at < size; at += 4096) {
        size_t part = size - at < 4096 ? size - at : 4096;
        if (sparse && memcmp((const char *)bytes + at, zeros, part) == 0) continue;
        REQUIRE(pwrite(file, (const char *)bytes + at, part, (off_t)at) == (ssize_t)part);
    }
}

/* -- The oracle -- */

struct value {
    overflow_ref ref;
    uint32_t     size, tag;
    uint64_t     sum;
};

static overflow_region *region;
static overflow_reader *reader;
static struct value     values[VALUES];
static uint32_t         count;
static overflow_ref     stales[STALES];
static uint32_t         stale_count;
static unsigned char    noise[70000 + 4096], copy[MAX_BYTES];

static uint64_t hash(const unsigned char *bytes, size_t size)
{
    uint64_t sum = size;

    for (size_t i = 0; i < size; i++) sum = (sum ^ bytes[i]) * UINT64_C(0x100000001b3);
    return sum;
}

static void check_value(const struct value *value)
{
    size_t               size;
    const unsigned char *bytes = overflow_read(region, value->ref, &size);
    overflow_slot        slot;

    REQUIRE(bytes && size == value->size);
    REQUIRE(size <= MAX_BYTES && hash(bytes, size) == value->sum);
    REQUIRE(overflow_describe(region, value->ref, &slot) == 0);
    REQUIRE(slot.tag == value->tag && slot.size == size);
    REQUIRE(slot.offset + size <= region->used * 32);
}

/* A header that is forged can make serials jump to those whose low bits were there before. */
static bool is_live(overflow_ref ref)
{
    uint32_t index = 0;

    while (index < count && values[index].ref != ref) index++;
    return index < count;
}

static void check_stale(overflow_ref ref)
{
    size_t size;

    REQUIRE(overflow_read(region, ref, &size) == NULL && size == 0);
    REQUIRE(overflow_free(region, ref) == -ESTALE);
}

/* Slots and holes fill the file from its first place to its high-water mark. */
static void check_all(void)
{
    struct overflow_info info;
    overflow_slot        slot;
    uint64_t             cursor = 0, granules = 0, bytes = 0, slots = 0, holes = 0, end = 256;

    overflow_stats(region, &info);
    for (; overflow_next(region, &cursor, &slot); slots++) {
        REQUIRE(slot.offset / 32 - 1 >= end);
        end = cursor;
        bytes += slot.size;
        granules += overflow__granules(slot.size);
    }
    REQUIRE(slots == count && info.live_slots == count && info.live_bytes == bytes);
    for (uint32_t i = 1; i < region->hole_top; i++) {
        const overflow__hole *hole = &region->holes[i];
        if (hole->place == 0) continue;
        REQUIRE(hole->place >= 256 && hole->place + overflow__length(hole) < region->used);
        REQUIRE(overflow__hole_from(region, hole->place) == i);
        REQUIRE(overflow__hole_until(region, hole->place + overflow__length(hole)) == i);
        granules += overflow__length(hole);
        holes++;
    }
    REQUIRE(holes == info.holes && 256 + granules == region->used);
    REQUIRE(info.free_bytes % 32 == 0 && info.used_bytes <= info.capacity_bytes);
    REQUIRE(region->hole_top <= region->hole_ready && region->hole_ready < 1 << 15);
    for (uint32_t i = 0; i < count; i++) check_value(&values[i]);
}

/* What open found is what counts from here on. */
static void adopt(void)
{
    overflow_slot slot;
    uint64_t      cursor = 0;

    for (count = 0; count < VALUES && overflow_next(region, &cursor, &slot); count++) {
        size_t               size;
        const unsigned char *bytes = overflow_read(region, slot.ref, &size);
        REQUIRE(bytes && size == slot.size && slot.offset + size <= MAX_BYTES);
        values[count] = (struct value){slot.ref, (uint32_t)size, slot.tag, hash(bytes, size)};
    }
}

/* -- Calls -- */

static void write_value(void)
{
    uint32_t     kind = byte(), at = byte() * 16;
    struct value value = {.size = kind < 200 ? kind * 5 : word(), .tag = kind};

    if (count == VALUES) return;
    int error = overflow_write(region, noise + at, value.size, value.tag, &value.ref);
    REQUIRE(error == 0 || error == -ENOSPC || error == -EMSGSIZE);
    REQUIRE((error == 0) == (value.ref != 0));
    if (error != 0) return;
    value.sum       = hash(noise + at, value.size);
    values[count++] = value;
    check_value(&value);
}

static void free_value(uint32_t index)
{
    overflow_ref ref = values[index].ref;

    check_value(&values[index]);
    values[index] = values[--count];
    REQUIRE(overflow_free(region, ref) == 0);
    check_stale(ref);
    stales[stale_count++ % STALES] = ref;
}

/* A value that is live, or any ref at all, by reader and owner. */
static void read_any(void)
{
    uint32_t     kind = byte(), index = count ? word() % count : 0;
    size_t       size, owned;
    overflow_ref ref = (uint64_t)word() << 35 | word();

    if (count > 0 && kind < 200)
        ref = values[index].ref ^ (kind < 100 ? 0 : UINT64_C(1) << kind % 64);
    const unsigned char *bytes = overflow_read(region, ref, &owned);
    if (!reader && overflow_reader_open(&reader, path) != 0) return;
    int error = overflow_reader_read(reader, ref, copy, kind % 2 ? sizeof copy : 100, &size);
    REQUIRE(bytes || error != 0 || kind >= 100);
    if (error == 0) REQUIRE(bytes && size == owned && memcmp(copy, bytes, size) == 0);
    if (error == -ENOBUFS) REQUIRE(bytes && size == owned && size > 100 && kind % 2 == 0);
    if (bytes && kind < 100) REQUIRE(error == 0 || error == -ENOBUFS);
}

/* Closed, or left as by a kill; and opened again. False: it could not be, as fallocate failed. */
static bool reopen(bool killed)
{
    overflow_config config = {.initial_bytes = 1, .max_bytes = MAX_BYTES};
    int             error;

    if (killed) overflow__release(region);
    else REQUIRE(overflow_close(region) == 0);
    while ((error = overflow_open(&region, path, &config)) != 0) {
        REQUIRE(error == -ENOSPC && failures != 0);
        failures = 0;
    }
    struct overflow_info info;
    overflow_stats(region, &info);
    REQUIRE(info.damaged_slots == 0 && info.recovered_slots == count);
    for (uint32_t i = 0; i < stale_count && i < STALES; i++)
        if (!is_live(stales[i])) check_stale(stales[i]);
    return true;
}

static void call(void)
{
    uint32_t op = byte(), times = 1 + op / 16;

    switch (op % 16) {
    case 0:
    case 1:
    case 2:
    case 3:
        for (; times > 0; times--) write_value();
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
    case 9:
        read_any();
        break;
    case 10:
        overflow_trim(region);
        break;
    case 11:
        failures = times / 2;
        break;
    case 12:
        reopen(times % 2);
        break;
    case 13:
        while (count > times * 4) free_value((count - 1) / 2);
        break;
    default:
        check_all();
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    overflow_config config = {.initial_bytes = 1, .max_bytes = MAX_BYTES};

    for (size_t i = 0; noise[0] == 0; i++)
        noise[sizeof noise - 1 - i] = (unsigned char)(1 + i % 251);
    input         = data;
    input_left    = size;
    count         = 0;
    stale_count   = 0;
    failures      = 0;
    uint32_t mode = byte();
    if (mode % 8 == 7) {
        size_t raw = input_left < MAX_BYTES ? input_left : MAX_BYTES;
        put_image(input, raw, mode & 8);
        input_left = 0;
    } else {
        forge();
        put_image(image, image_size, mode & 8);
    }
    failures  = mode >> 4;
    int error = overflow_open(&region, path, &config);
    REQUIRE((error == 0) == (region != NULL));
    REQUIRE(error == 0 || error == -EUCLEAN || error == -ENOTSUP || (error == -ENOSPC && failures));
    if (error != 0) return 0;
    adopt();
    check_all();
    while (input_left > 0) call();
    check_all();
    failures = 0;
    reopen(mode & 1);
    check_all();
    while (count > 0) free_value(count / 2);
    check_all();
    REQUIRE(region->used == 256);
    REQUIRE(overflow_close(region) == 0);
    overflow_reader_close(reader);
    reader = NULL;
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
            size_t size = next_random(&state) % 2048;
            for (size_t i = 0; i < size; i++) bytes[i] = (uint8_t)(next_random(&state) >> 32);
            LLVMFuzzerTestOneInput(bytes, size);
        }
        return 0;
    }
    for (int i = 1; i < argc; i++) {
        FILE *from = fopen(argv[i], "rb");
        if (!from) return 1;
        LLVMFuzzerTestOneInput(bytes, fread(bytes, 1, sizeof bytes, from));
        fclose(from);
    }
    return 0;
}
#endif
