/* format_values - makes region files for test/use/overflow_inspect_test.sh, and lists them as
 * overflow.h sees them.
 *
 *     format_values write FILE STEPS   writes and frees values, then is killed by kill -9
 *     format_values close FILE STEPS   the same, but closes the file
 *     format_values list FILE          prints "slot OFFSET SIZE TAG SERIAL_29_BITS REF" for each
 *                                      slot of overflow_next, then "damaged COUNT"
 *     format_values flip FILE OFFSET   changes a bit of the file */
#define _GNU_SOURCE
#define OVERFLOW_IMPLEMENTATION
#include "../../overflow.h"

#include <err.h>
#include <inttypes.h>
#include <signal.h>

enum { KEPT = 200, SIZE_MOST = 40000 };

static uint32_t random_next(void)
{
    static uint32_t state = 1;
    state = state * 1664525 + 1013904223;
    return state >> 8;
}

/* Sizes around the edges of a granule and of a page, small ones, and some large ones. */
static size_t random_size(void)
{
    static const size_t edges[] = {0, 1, 7, 8, 31, 32, 33, 63, 64, 65, 4063, 4064, 4065, 4096};
    uint32_t            kind = random_next() % 16;
    if (kind < 8) return edges[random_next() % (sizeof edges / sizeof *edges)];
    return random_next() % (kind < 15 ? 500 : SIZE_MOST);
}

static overflow_region *opened(const char *path, uint32_t flags)
{
    overflow_config  config = {.initial_bytes = 64 << 10, .max_bytes = 64 << 20, .flags = flags};
    overflow_region *region;
    int              error = overflow_open(&region, path, &config);
    if (error != 0) errx(2, "%s: %s", path, strerror(-error));
    return region;
}

static void write_and_free(overflow_region *region, long steps)
{
    static unsigned char bytes[SIZE_MOST];
    overflow_ref         kept[KEPT] = {0};

    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)(random_next() | 1);
    for (long step = 0; step < steps; step++) {
        overflow_ref *one = &kept[random_next() % KEPT];
        if (*one != 0 && overflow_free(region, *one) != 0) errx(2, "free");
        *one = 0;
        if (random_next() % 4 == 0) continue;
        bytes[0]++;
        if (overflow_write(region, bytes, random_size(), random_next(), one) != 0) errx(2, "write");
    }
}

static int list(overflow_region *region)
{
    struct overflow_info info;
    uint64_t             cursor = 0;
    overflow_slot        slot;

    while (overflow_next(region, &cursor, &slot))
        printf("slot %" PRIu64 " %zu %" PRIu32 " %" PRIu64 " %" PRIu64 "\n", slot.offset, slot.size,
               slot.tag, slot.ref >> 35, slot.ref);
    overflow_stats(region, &info);
    printf("damaged %" PRIu64 "\n", info.damaged_slots);
    return overflow_close(region);
}

static int flip(const char *path, long offset)
{
    FILE *file = fopen(path, "r+b");
    int   byte = file && fseek(file, offset, SEEK_SET) == 0 ? fgetc(file) : EOF;
    if (byte == EOF || fseek(file, offset, SEEK_SET) != 0) err(2, "%s", path);
    fputc(byte ^ 16, file);
    return fclose(file);
}

int main(int argc, char **argv)
{
    const char *what = argc > 2 ? argv[1] : "";
    if (strcmp(what, "list") == 0) return list(opened(argv[2], OVERFLOW_RDONLY));
    if (argc != 4) errx(2, "see the comment");
    long number = strtol(argv[3], NULL, 10);
    if (strcmp(what, "flip") == 0) return flip(argv[2], number);
    overflow_region *region = opened(argv[2], 0);
    write_and_free(region, number);
    if (strcmp(what, "close") == 0) return overflow_close(region);
    return raise(SIGKILL);
}
