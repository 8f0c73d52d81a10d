/* overflow_inspect - shows what a region file of overflow.h holds.
 *
 *     overflow_inspect [-s] [-b BYTES] [-n ROWS] FILE
 *
 *     make build/overflow_inspect
 *     build/overflow_inspect -n 20 spill.region
 *
 * Goal: the header's copies, slots, holes and damage of a file, as a table and as a map, from which
 * an operator sees why a file is full, how it is fragmented, and what was lost where.
 *
 * Method: overflow_open with OVERFLOW_RDONLY (-s: OVERFLOW_SALVAGE), so the file is not changed and
 * no owner changes it meanwhile. overflow_next gives the live slots. What lies between two of them
 * is read from the file itself, by the format in docs/overflow.md, since the region's map no longer
 * has the heads of damaged slots.
 *
 * Exit status: 0 no damage, 1 damage, 2 bad arguments, 3 the file cannot be opened or read, 4 it is
 * no region file, or its header is damaged or cut, 5 another version or byte order. From 2 on there
 * is nothing on stdout.
 */
#define _GNU_SOURCE       1
#define _FILE_OFFSET_BITS 64

#define OVERFLOW_IMPLEMENTATION
#include "../overflow.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DAMAGED = 1, USAGE, NO_FILE, NO_REGION, FOREIGN };
enum { GRANULE = 32, PAGE = 4096, PER_PAGE = PAGE / GRANULE, START = 8192, COPIES = 3, WORDS = 10 };
enum { LINE = 64, LINES = 16 }; /* of the map */

static const uint64_t header_at[COPIES] = {0, 4096, 6144};

struct header {
    uint64_t words[WORDS];
    bool     holds; /* its check */
};

struct file {
    const char      *path;
    int              fd;
    overflow_region *region;
    uint64_t         end; /* place */
    struct header    copies[COPIES];
    int              in_force; /* -1: no copy holds its check */
    uint32_t         seed;
    bool             unwritten; /* nothing was written under this key: all is free */
    uint64_t         page;      /* the number of the one in words, and whether it could be read */
    bool             readable;
    uint64_t         words[PAGE / 8];
};

/* A piece of the file. All pieces together are the file. */
enum kind { HEADER, SLOT, HOLE, DAMAGE, FREE, KINDS };
struct extent {
    enum kind   kind;
    uint64_t    from, to; /* bytes */
    const char *what;
    bool        has_slot; /* the next three are known */
    uint64_t    serial, size;
    uint32_t    tag;
};

struct report {
    uint64_t       count[KINDS], bytes[KINDS], value_bytes, largest_hole;
    unsigned char *cells; /* one bit for each kind */
    uint64_t       cell_bytes;
    uint64_t       rows, rows_max;
};
typedef void visit_fn(struct report *report, const struct extent *extent);

/* -- The format -- */

static uint32_t crc(uint32_t sum, uint64_t word)
{
    static uint32_t table[256];
    for (uint32_t byte = 1; table[255] == 0 && byte < 256; byte++) {
        table[byte] = byte;
        for (int bit = 0; bit < 8; bit++)
            table[byte] = table[byte] >> 1 ^ (table[byte] & 1 ? 0x82f63b78 : 0);
    }
    for (int i = 0; i < 64; i += 8) sum = sum >> 8 ^ table[(sum ^ word >> i) & 255];
    return sum;
}

/* Reads size bytes at an offset; what lies behind the end of the file is zeros. */
static bool read_at(const struct file *file, uint64_t at, void *to, size_t size)
{
    size_t got = 0;
    memset(to, 0, size);
    while (got < size) {
        ssize_t more = pread(file->fd, (char *)to + got, size - got, (off_t)(at + got));
        if (more < 0 && errno == EINTR) continue;
        if (more < 0) return false;
        if (more == 0) break;
        got += (size_t)more;
    }
    return true;
}

static bool has_magic(const struct header *copy)
{
    static const char magic[] = "ashlar-overflow\n";
    return memcmp(copy->words, magic, sizeof magic - 1) == 0;
}

static void read_headers(struct file *file)
{
    file->in_force = -1;
    for (int i = 0; i < COPIES; i++) {
        struct header *copy  = &file->copies[i];
        uint32_t       check = UINT32_MAX;
        bool           read  = read_at(file, header_at[i], copy->words, sizeof copy->words);
        for (int word = 0; word < 8; word++) check = crc(check, copy->words[word]);
        copy->holds = read && has_magic(copy) && copy->words[8] == check;
        if (copy->holds && (file->in_force < 0 ||
                            copy->words[5] > file->copies[file->in_force].words[5]))
            file->in_force = i;
    }
}

/* The four words at a place, or NULL if the disk cannot read them. */
static const uint64_t *words_at(struct file *file, uint64_t place)
{
    uint64_t page = place * GRANULE / PAGE;
    if (page != file->page) {
        file->page     = page;
        file->readable = read_at(file, page * PAGE, file->words, PAGE);
    }
    return file->readable ? file->words + place * GRANULE % PAGE / 8 : NULL;
}

static bool is_slot(const struct file *file, uint64_t place, const uint64_t *words)
{
    uint32_t check = crc(crc(crc(crc(file->seed, place), words[0]), words[1]), words[2]);
    return words[0] >> 63 == 1 && words[3] == check;
}

static uint64_t slot_granules(uint64_t size) { return 1 + (size + GRANULE - 1) / GRANULE; }

/* Granules; 0: there is no hole. */
static uint64_t hole_length(const struct file *file, uint64_t place, uint64_t end, uint64_t head)
{
    uint64_t length = head & ((UINT64_C(1) << 35) - 1);
    uint64_t check  = crc(crc(file->seed, place), length) >> 4;
    return length <= end - place && head == (check << 35 | length) ? length : 0;
}

static void set_slot(struct extent *extent, const uint64_t *words)
{
    extent->has_slot = true;
    extent->size     = words[0] & ((UINT64_C(1) << 34) - 1);
    extent->serial   = words[1];
    extent->tag      = (uint32_t)words[2];
}

/* -- Pieces of the file -- */

/* Where bytes end that are neither slot nor hole. Before the end of the file: behind the last one
 * that is not 0. */
static uint64_t end_of_unknown(struct file *file, uint64_t place, uint64_t end)
{
    uint64_t last = place + 1;
    for (place++; place < end; place++) {
        const uint64_t *words = words_at(file, place);
        if (!words || is_slot(file, place, words) || hole_length(file, place, end, words[0]) > 0)
            return place;
        if ((words[0] | words[1] | words[2] | words[3]) != 0) last = place + 1;
    }
    return end < file->end ? end : last;
}

/* The piece that begins at place, between two live slots or behind the last one. */
static struct extent piece_at(struct file *file, uint64_t place, uint64_t end)
{
    const uint64_t *words = words_at(file, place);
    struct extent   piece = {.kind = DAMAGE, .from = place * GRANULE};
    uint64_t        to    = end, length;

    if (file->unwritten || (words && words[0] == 0 && end == file->end)) {
        piece.kind = FREE, piece.what = "free";
    } else if (!words) {
        for (to = place; to < end && !words_at(file, to);) to = (to / PER_PAGE + 1) * PER_PAGE;
        piece.what = "damage: disk";
    } else if (is_slot(file, place, words)) {
        set_slot(&piece, words);
        to         = place + slot_granules(piece.size);
        piece.what = "damage: value";
    } else if ((length = hole_length(file, place, end, words[0])) > 0) {
        to         = place + length;
        piece.kind = HOLE, piece.what = "hole";
    } else if (words[0] == 0) {
        piece.what = "damage: zeros";
    } else {
        to         = end_of_unknown(file, place, end);
        piece.what = "damage: header";
    }
    piece.to = (to < end ? to : end) * GRANULE;
    return piece;
}

static void walk_gap(struct file *file, uint64_t place, uint64_t end, visit_fn *visit,
                     struct report *report)
{
    while (place < end) {
        struct extent piece = piece_at(file, place, end);
        visit(report, &piece);
        place = piece.to / GRANULE;
    }
}

static void walk(struct file *file, visit_fn *visit, struct report *report)
{
    struct extent header = {.kind = HEADER, .to = START, .what = "header"};
    uint64_t      cursor = 0, place = START / GRANULE;
    overflow_slot slot;

    if (file->end < START / GRANULE) header.to = file->end * GRANULE;
    visit(report, &header);
    while (overflow_next(file->region, &cursor, &slot)) {
        uint64_t      begin = slot.offset / GRANULE - 1, end = begin + slot_granules(slot.size);
        struct extent live  = {SLOT, begin * GRANULE, end * GRANULE, "slot", false, 0, 0, 0};
        walk_gap(file, place, begin, visit, report);
        const uint64_t *words = words_at(file, begin);
        if (words) set_slot(&live, words);
        visit(report, &live);
        place = end;
    }
    walk_gap(file, place, file->end, visit, report);
}

/* -- Output -- */

static void add_up(struct report *report, const struct extent *extent)
{
    report->count[extent->kind]++;
    report->bytes[extent->kind] += extent->to - extent->from;
    if (extent->kind == SLOT) report->value_bytes += extent->size;
    if (extent->kind == HOLE && extent->to - extent->from > report->largest_hole)
        report->largest_hole = extent->to - extent->from;
    uint64_t last = (extent->to - 1) / report->cell_bytes;
    for (uint64_t cell = extent->from / report->cell_bytes; cell <= last; cell++)
        report->cells[cell] |= (unsigned char)(1u << extent->kind);
}

static void print_row(struct report *report, const struct extent *extent)
{
    if (report->rows++ >= report->rows_max) return;
    printf("%14" PRIu64 " %12" PRIu64 "  %s", extent->from, extent->to - extent->from,
           extent->what);
    if (extent->has_slot)
        printf("%*" PRIu64 " %10" PRIu32 " %14" PRIu64, 27 - (int)strlen(extent->what),
               extent->size, extent->tag, extent->serial);
    putchar('\n');
}

static void print_headers(const struct file *file)
{
    printf("%-8s %8s %10s %20s %8s  %s\n", "header", "offset", "turn", "serials below", "on disk",
           "state");
    for (int i = 0; i < COPIES; i++) {
        const struct header *copy = &file->copies[i];
        printf("copy %d   %8" PRIu64, i, header_at[i]);
        if (copy->holds)
            printf(" %10" PRIu64 " %20" PRIu64 " %8" PRIu64 "  %s%s\n", copy->words[5],
                   copy->words[6], copy->words[3] >> 32, i == file->in_force ? "in force" : "older",
                   i == 0 && copy->words[9] != 0 ? "; a sync failed" : "");
        else printf(" %10s %20s %8s  %s\n", "-", "-", "-", copy->words[0] ? "damaged" : "empty");
    }
}

static void print_totals(const struct report *report)
{
    static const char *const names[KINDS] = {"header", "slots", "holes", "damage", "free"};
    printf("\n%-8s %10s %14s\n", "what", "count", "bytes");
    for (int kind = 0; kind < KINDS; kind++)
        printf("%-8s %10" PRIu64 " %14" PRIu64 "\n", names[kind], report->count[kind],
               report->bytes[kind]);
    printf("values hold %" PRIu64 " bytes, the largest hole has %" PRIu64 "\n",
           report->value_bytes, report->largest_hole);
}

static char cell_character(unsigned char kinds)
{
    if (kinds & 1u << DAMAGE) return '!';
    if (kinds & 1u << HEADER) return 'H';
    if (kinds & 1u << SLOT) return kinds & 1u << HOLE ? '+' : '#';
    return kinds & 1u << HOLE ? '.' : '-';
}

static void print_map(const struct report *report, uint64_t cells)
{
    printf("\nH header  # values  + values and holes  . holes  ! damage  - free\n"
           "%" PRIu64 " bytes a character\n", report->cell_bytes);
    for (uint64_t cell = 0; cell < cells; cell++) {
        if (cell % LINE == 0) printf("%14" PRIu64 "  ", cell * report->cell_bytes);
        putchar(cell_character(report->cells[cell]));
        if (cell % LINE == LINE - 1 || cell + 1 == cells) putchar('\n');
    }
}

/* -- main -- */

/* Says why the file cannot be opened. Returns the exit status. */
static int explain(const struct file *file, int error)
{
    int version = -1;
    for (int i = 0; i < COPIES; i++)
        if (has_magic(&file->copies[i])) version = i;
    if (error == -ENOTSUP && version >= 0) {
        uint64_t word = file->copies[version].words[2];
        if (word >> 32 == 0x01020304)
            fprintf(stderr, "overflow_inspect: %s: has format version %" PRIu32 ", not 2\n",
                    file->path, (uint32_t)word);
        else fprintf(stderr, "overflow_inspect: %s: has another byte order\n", file->path);
        return FOREIGN;
    }
    const char *why = error == -EBUSY    ? "an owner has the file open"
                      : error == -ELOOP  ? "is a symbolic link"
                      : error == -EIO    ? "the disk cannot read all of it; try -s"
                      : error != -EUCLEAN ? strerror(-error)
                      : version < 0      ? "is not a region file"
                      : lseek(file->fd, 0, SEEK_END) < 8192
                          ? "is cut: a region has at least 8,192 bytes"
                          : "its header is damaged: no copy holds its check";
    fprintf(stderr, "overflow_inspect: %s: %s\n", file->path, why);
    return error == -EUCLEAN ? NO_REGION : NO_FILE;
}

static int inspect(struct file *file, uint64_t cell_bytes, uint64_t rows)
{
    struct overflow_info info;
    struct report        report = {.cell_bytes = cell_bytes, .rows_max = rows};

    overflow_stats(file->region, &info);
    const uint64_t *header = file->copies[file->in_force].words;
    file->seed             = crc(UINT32_MAX, header[4]);
    file->end              = info.capacity_bytes / GRANULE;
    file->page             = UINT64_MAX;
    file->unwritten        = header[6] == header[7] && info.live_slots == 0;
    uint64_t bytes         = file->end * GRANULE;
    if (cell_bytes == 0)
        for (report.cell_bytes = GRANULE; report.cell_bytes * LINE * LINES < bytes;)
            report.cell_bytes *= 2;
    uint64_t cells = (bytes + report.cell_bytes - 1) / report.cell_bytes;
    if (cells <= SIZE_MAX) report.cells = calloc((size_t)cells, 1);
    if (!report.cells) return explain(file, -ENOMEM);

    walk(file, add_up, &report);
    printf("%s: format version 2, %zu bytes\n\n", file->path, info.capacity_bytes);
    print_headers(file);
    print_totals(&report);
    print_map(&report, cells);
    if (rows > 0) {
        printf("\n%14s %12s  %-14s %12s %10s %14s\n", "offset", "bytes", "what", "size", "tag",
               "serial");
        walk(file, print_row, &report);
        if (report.rows > rows) printf("and %" PRIu64 " more\n", report.rows - rows);
    }
    free(report.cells);
    return report.count[DAMAGE] + info.damaged_slots > 0 ? DAMAGED : EXIT_SUCCESS;
}

/* Whether an argument is a number from least on. */
static bool number_from(const char *argument, uint64_t least, uint64_t *number)
{
    char *end;
    errno   = 0;
    *number = strtoull(argument, &end, 10);
    return *argument >= '0' && *argument <= '9' && *end == '\0' && errno == 0 && *number >= least;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    static const char          usage[] =
        "usage: overflow_inspect [-s] [-b BYTES] [-n ROWS] FILE\n"
        "Prints the header, slots, holes and damage of a region file, which is not changed.\n"
        "  -b BYTES    so many bytes of the file for a character of the map, at least 32;\n"
        "              default: as many as make a map of at most 16 lines\n"
        "  -n ROWS     at most so many rows of the table; default: all\n"
        "  -s          takes pages that the disk cannot read for damage\n"
        "  -h, --help  prints this\n"
        "Exit status: 0 no damage, 1 damage, 2 bad arguments, 3 the file cannot be opened,\n"
        "4 it is no region file or its header is damaged, 5 another version or byte order.\n";
    static struct file file;
    overflow_config    config     = {.flags = OVERFLOW_RDONLY};
    uint64_t           cell_bytes = 0, rows = UINT64_MAX;
    int                option;

    while ((option = getopt_long(argc, argv, "hb:n:s", options, NULL)) != -1) {
        if (option == 'b' && number_from(optarg, GRANULE, &cell_bytes)) continue;
        if (option == 'n' && number_from(optarg, 0, &rows)) continue;
        if (option == 's' && (config.flags = OVERFLOW_SALVAGE) != 0) continue;
        fputs(usage, option == 'h' ? stdout : stderr);
        return option == 'h' ? EXIT_SUCCESS : USAGE;
    }
    if (optind != argc - 1) return fputs(usage, stderr), USAGE;
    file.path = argv[optind];
    file.fd   = open(file.path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    if (file.fd < 0) return explain(&file, -errno);
    int error = overflow_open(&file.region, file.path, &config);
    read_headers(&file);
    if (error == 0 && file.in_force < 0) error = -EUCLEAN;
    int status = error == 0 ? inspect(&file, cell_bytes, rows) : explain(&file, error);
    overflow_close(file.region);
    close(file.fd);
    if (fflush(stdout) == 0 && !ferror(stdout)) return status;
    perror("overflow_inspect: stdout");
    return NO_FILE;
}
