/* fit_tiers - prints the tier sizes of a slab_store that suit your values.
 *
 *     fit_tiers [-n TIERS] [-l BYTES] [-s BYTES[K|M|G]] [FILE...]
 *
 *     make build/fit_tiers
 *     awk '{ print $3 }' trace.txt | build/fit_tiers -s 64M >tiers.h
 *     find /var/cache -type f -printf '%s\n' | build/fit_tiers
 *
 * Goal: a table to paste or include, and what it saves, from nothing but the sizes of the values.
 *
 * Reads FILEs or standard input (also "-"). Each line has the size in bytes of one value, as you
 * would give it to slab_store_put, or a size and how many values have it. Their order does not
 * count. Blank lines and lines that begin with # are ignored.
 *
 * Method: slab_fit_tiers finds the N tiers that waste least in slots. How many tiers, and the size
 * above which values are large objects, is chosen by the bytes that the whole store would hold
 * (fit.h): each tier holds a chunk that is not full, so tiers must pay for themselves, and a small
 * store pays for few. -s is the payload that the store will hold; without it the input is taken as
 * the content of the store.
 *
 * The output is C: the table, the config, and a comment that compares tables and draws the values
 * by tier. For bad input the exit status is 1 and nothing is printed on stdout.
 */
#define _GNU_SOURCE       1
#define _FILE_OFFSET_BITS 64

#define SLAB_IMPLEMENTATION
#include "../slab.h"
#include "fit.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
    PASTE_COLUMNS = 100,
    BAR_MIN       = 8,
    ROWS          = 5,
};

#define MAX_VALUES (UINT64_MAX / FIT_MAX) /* so that no sum of slots overflows */

static const uint32_t shown[]         = {7, 15, 31, FIT_TIERS};
static const uint32_t default_tiers[] = {64, 128, 256, 512, 1024, 2048, 4096};

enum { SHOWN = sizeof shown / sizeof *shown };

/* sum of counts + large_values == values <= MAX_VALUES */
struct histogram {
    struct fit_sizes sizes;
    uint64_t         values;
    uint64_t         payload; /* bytes of those that fit a slot */
    uint32_t         largest; /* of these */
    uint64_t         large_values;
};

struct table {
    uint32_t   at_most; /* asked for; 0 = the default table */
    struct fit fit;
    uint64_t   held;   /* bytes of slots, and of units for values beyond the last tier */
    uint64_t   beyond; /* values that fit a slot, but none of these */
};

__attribute__((format(printf, 1, 2))) static int complain(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fputs("fit_tiers: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return EXIT_FAILURE;
}

/* -- Input -- */

/* What is wrong with the values, or NULL. */
static const char *add(struct histogram *histogram, uint64_t size, uint64_t count)
{
    if (size > UINT32_MAX) return "no value is larger than 4294967295 bytes";
    if (count > MAX_VALUES - histogram->values) return "more than 2^48 - 1 values in all";
    if (size > FIT_MAX && count > (UINT64_MAX - histogram->sizes.large_held) / fit_units(size))
        return "more than 2^64 bytes in all";
    fit_add(&histogram->sizes, size, count);
    histogram->values += count;
    if (size == 0) size = 1; /* as fit_add */
    if (size > FIT_MAX) histogram->large_values += count;
    else {
        histogram->payload += size * count;
        if (size > histogram->largest) histogram->largest = (uint32_t)size;
    }
    return NULL;
}

static bool is_digit(int c) { return c >= '0' && c <= '9'; }
static bool is_blank(int c) { return c == ' ' || c == '\t'; }

/* *c is the first digit, and then what follows the last. False: over 64 bits. */
static bool read_number(FILE *file, int *c, uint64_t *number)
{
    for (*number = 0; is_digit(*c); *c = getc_unlocked(file)) {
        uint64_t digit = (uint64_t)(*c - '0');
        if (*number > (UINT64_MAX - digit) / 10) return false;
        *number = *number * 10 + digit;
    }
    return true;
}

/* Reads a line. What is wrong with it, or NULL. *more = it was not the last. */
static const char *read_line(FILE *file, struct histogram *histogram, bool *more)
{
    uint64_t size = 0, count = 1;
    int      c;

    while (is_blank(c = getc_unlocked(file))) {
    }
    if (c == '#')
        while (c != '\n' && c != EOF) c = getc_unlocked(file);
    bool sized = is_digit(c);
    if (sized && !read_number(file, &c, &size)) return "a size over 64 bits";
    while (is_blank(c)) c = getc_unlocked(file);
    if (is_digit(c) && !read_number(file, &c, &count)) return "a count over 64 bits";
    while (is_blank(c)) c = getc_unlocked(file);
    if (c == '\r') c = getc_unlocked(file);
    *more = c != EOF;
    if (c != '\n' && c != EOF) return "expected SIZE or SIZE COUNT, in decimal digits";
    return sized ? add(histogram, size, count) : NULL;
}

/* False: it has been said why. */
static bool read_file(const char *path, struct histogram *histogram)
{
    bool        from_stdin = strcmp(path, "-") == 0;
    const char *name       = from_stdin ? "stdin" : path;
    FILE       *file       = from_stdin ? stdin : fopen(path, "re");
    const char *error      = NULL;
    bool        more       = true;
    uint64_t    line;

    if (!file) {
        complain("%s: %s", name, strerror(errno));
        return false;
    }
    if (isatty(fileno(file))) complain("reads sizes from the terminal, to the end of file (^D)");
    for (line = 0; more && !error; line++) error = read_line(file, histogram, &more);
    if (ferror(file)) complain("%s: %s", name, strerror(errno));
    else if (error) complain("%s:%" PRIu64 ": %s", name, line, error);
    bool good = !ferror(file) && !error;
    if (!from_stdin) fclose(file);
    return good;
}

/* -- Tables -- */

/* What a value takes: tier is the first that holds it, or the count. */
static uint64_t bytes_for(const struct table *table, uint32_t tier, uint32_t size)
{
    return tier < table->fit.count ? table->fit.tiers[tier] : fit_units(size);
}

static void measure(const struct histogram *histogram, struct table *table)
{
    uint32_t tier = 0;

    table->held = table->beyond = 0;
    for (uint32_t size = 1; size <= histogram->largest; size++) {
        uint64_t count = histogram->sizes.counts[size];
        while (tier < table->fit.count && table->fit.tiers[tier] < size) tier++;
        table->held += count * bytes_for(table, tier, size);
        if (tier == table->fit.count) table->beyond += count;
    }
}

static double payload_share(const struct histogram *histogram, const struct table *table)
{
    return (double)histogram->payload / (double)table->held;
}

/* -- Report: all of it C -- */

static void print_paste(const struct table *table)
{
    int column = printf("static const uint32_t tiers[] = {");

    for (uint32_t i = 0; i < table->fit.count; i++) {
        char item[16];
        int  length = snprintf(item, sizeof item, "%" PRIu32 "%s", table->fit.tiers[i],
                              i + 1 < table->fit.count ? "," : "};");
        if (i > 0 && column + 1 + length > PASTE_COLUMNS) column = printf("\n   ") - 1;
        column += printf("%s%s", i > 0 ? " " : "", item);
    }
    printf("\nstatic const slab_store_config config = {.tier_sizes = tiers, .tier_count = %" PRIu32
           "};\n",
           table->fit.count);
}

static void print_row(const struct histogram *histogram, const struct table *table,
                      const char *remark)
{
    double   share = payload_share(histogram, table);
    char     name[16];

    snprintf(name, sizeof name, "%" PRIu32, table->at_most);
    printf(" * %8s %6" PRIu32 " %20" PRIu64 " %6.2f %% %12.4f %14.4f%s\n",
           table->at_most ? name : "default", table->fit.count, table->held, 100 * (1 - share),
           share, 1 / table->fit.bytes, remark);
}

static int terminal_columns(void)
{
    struct winsize size = {0};

    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

static void print_bar(int used, double part)
{
    int width = terminal_columns() - used;
    int bar   = (int)(part * (width < BAR_MIN ? BAR_MIN : width) + 0.5);

    for (int i = 0; i < bar || i == 0; i++) putchar('#');
    putchar('\n');
}

/* A line for each tier, and one for the values beyond. */
static void print_chart(const struct histogram *histogram, const struct table *table)
{
    uint64_t values[FIT_TIERS + 1] = {0}, payload[FIT_TIERS + 1] = {0}, held[FIT_TIERS + 1] = {0};
    uint64_t most = 0, all = histogram->values - histogram->large_values;
    uint32_t tier = 0, lines = table->fit.count + (table->beyond > 0);

    for (uint32_t size = 1; size <= histogram->largest; size++) {
        while (tier < table->fit.count && table->fit.tiers[tier] < size) tier++;
        values[tier] += histogram->sizes.counts[size];
        payload[tier] += histogram->sizes.counts[size] * size;
        held[tier] += histogram->sizes.counts[size] * bytes_for(table, tier, size);
        if (values[tier] > most) most = values[tier];
    }
    printf(" *\n *   slot          values   share    waste\n");
    for (tier = 0; tier < lines; tier++) {
        char name[16] = "large";
        if (tier < table->fit.count)
            snprintf(name, sizeof name, "%" PRIu32, table->fit.tiers[tier]);
        int used = printf(" * %6s %15" PRIu64 " %5.1f %%  %5.1f %%  ", name, values[tier],
                          100 * (double)values[tier] / (double)all,
                          100 * (1 - (double)payload[tier] / (double)held[tier]));
        print_bar(used, (double)values[tier] / (double)most);
    }
}

static void print_comment(const struct histogram *histogram, const struct table *tables,
                          size_t table_count, const struct table *chosen, uint64_t store_bytes)
{
    const uint32_t last = default_tiers[sizeof default_tiers / sizeof *default_tiers - 1];
    struct table   now  = {.fit.count = sizeof default_tiers / sizeof *default_tiers};

    memcpy(now.fit.tiers, default_tiers, sizeof default_tiers);
    measure(histogram, &now);
    now.fit.bytes = fit_measure(&histogram->sizes, store_bytes, &now.fit);
    printf("\n/* By fit_tiers; to be included after slab.h. %" PRIu64 " values, %" PRIu64
           " bytes of payload.\n",
           histogram->values - histogram->large_values, histogram->payload);
    if (histogram->large_values > 0)
        printf(" * Not among them: %" PRIu64 " over 64 KiB, %" PRIu64 " bytes. They are large"
               " objects\n * with any tiers, and waste %.2f %% in whole units.\n",
               histogram->large_values, histogram->sizes.large_payload,
               100 * (1 - (double)histogram->sizes.large_payload /
                              (double)histogram->sizes.large_held));
    printf(" * The last column is for a store of %" PRIu64 " bytes of payload: large objects\n"
           " * included, and %d KiB for each tier.\n",
           store_bytes, FIT_TIER_COST / 1024);
    printf(" *\n *  at most  tiers           bytes held    waste  "
           "payload per byte  in the store\n");
    for (size_t i = 0; i < table_count; i++)
        print_row(histogram, &tables[i], &tables[i] == chosen ? "  <- above" : "");
    print_row(histogram, &now, "");
    if (now.beyond > chosen->beyond && now.held < chosen->held)
        printf(" *\n * The default wastes less: it leaves %" PRIu64 " values over %" PRIu32
               " bytes to large objects. -l %" PRIu32 "\n * does so too.\n",
               now.beyond, last, last);
    print_chart(histogram, chosen);
    printf(" */\n");
}

/* -- Program -- */

/* Fills in the chosen table and those to compare it with. Returns their number, 0 for no memory. */
static size_t fill_tables(const struct histogram *histogram, uint64_t store_bytes,
                          const struct fit *best, bool alone, struct table *tables,
                          const struct table **chosen)
{
    uint32_t at_most[ROWS];
    size_t   wanted = 0, count = 0;

    for (size_t i = 0; i < SHOWN && !alone && shown[i] < best->count; i++)
        at_most[wanted++] = shown[i];
    at_most[wanted++] = best->count;
    for (size_t i = 0; i < SHOWN && !alone; i++)
        if (shown[i] > best->count) at_most[wanted++] = shown[i];
    for (size_t i = 0; i < wanted; i++) {
        struct table *table = &tables[count];
        if (!fit_tiers(&histogram->sizes, store_bytes, at_most[i], best->limit, &table->fit))
            return 0;
        if (count > 0 && table->fit.count == tables[count - 1].fit.count) break; /* no use */
        table->at_most = at_most[i];
        measure(histogram, table);
        if (table->fit.count == best->count) *chosen = table;
        count++;
    }
    return count;
}

static int run(const struct histogram *histogram, uint32_t tier_count, uint32_t limit,
               uint64_t store_bytes)
{
    struct table        tables[ROWS];
    const struct table *chosen = tables;
    struct fit          best;

    if (histogram->values == 0) return complain("no values in the input");
    if (store_bytes == 0) store_bytes = histogram->payload + histogram->sizes.large_payload;
    if (!fit_choose(&histogram->sizes, store_bytes, tier_count, limit, &best))
        return complain("no value is small enough for a tier, or no memory");
    size_t count = fill_tables(histogram, store_bytes, &best, tier_count > 0, tables, &chosen);
    if (count == 0) return complain("%s", strerror(ENOMEM));
    print_paste(chosen);
    print_comment(histogram, tables, count, chosen, store_bytes);
    if (fflush(stdout) != 0 || ferror(stdout)) return complain("stdout: %s", strerror(errno));
    return EXIT_SUCCESS;
}

/* The option's argument, 1 to most; 0: it is not, and that has been said. */
static uint32_t number_from(int option, const char *argument, uint32_t most)
{
    char         *end;
    unsigned long number = is_digit(*argument) ? strtoul(argument, &end, 10) : 0;

    if (number >= 1 && number <= most && *end == '\0') return (uint32_t)number;
    complain("-%c %s: not a number from 1 to %" PRIu32, option, argument, most);
    return 0;
}

/* Digits and at most one of K, M, G; 0: it is not that, and that has been said. */
static uint64_t bytes_from(const char *argument)
{
    char    *end   = NULL;
    uint64_t bytes = is_digit(*argument) ? strtoull(argument, &end, 10) : 0;
    int      shift = 0;

    for (int i = 0; bytes > 0 && i < 3; i++)
        if (*end == "KMG"[i]) shift = 10 * (i + 1);
    if (bytes > 0 && end[shift > 0] == '\0' && bytes <= UINT64_MAX >> 8 >> shift)
        return bytes << shift;
    complain("-s %s: not a number of bytes, with K, M or G if you like", argument);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    static const char          usage[] =
        "usage: fit_tiers [-n TIERS] [-l BYTES] [-s BYTES] [FILE...]\n"
        "Reads the sizes of values, one per line, or a size and a count per line. Prints the\n"
        "tier sizes of a slab_store that waste least, as C to include after slab.h, and how\n"
        "they compare.\n"
        "  -n TIERS    at most so many tiers, 1 to 63; default: as many as pay for themselves\n"
        "  -l BYTES    leaves larger values to large objects; 1 to 65536; default: one of\n"
        "              4096, 8192 ... 65536, by what the store would hold\n"
        "  -s BYTES    the payload that the store will hold, with K, M or G if you like;\n"
        "              default: that of the values in the input\n"
        "  -h, --help  prints this\n"
        "FILE: - is standard input, which is also read when no FILE is given.\n";
    static struct histogram histogram; /* too large for some stacks */
    uint32_t                tier_count = 0, limit = 0;
    uint64_t                store_bytes = 0;
    int                     option;

    while ((option = getopt_long(argc, argv, "hl:n:s:", options, NULL)) != -1) {
        if (option == 'n' && (tier_count = number_from('n', optarg, FIT_TIERS)) != 0) continue;
        if (option == 'l' && (limit = number_from('l', optarg, FIT_MAX)) != 0) continue;
        if (option == 's' && (store_bytes = bytes_from(optarg)) != 0) continue;
        fputs(usage, option == 'h' ? stdout : stderr);
        return option == 'h' ? EXIT_SUCCESS : 2;
    }
    if (optind == argc && !read_file("-", &histogram)) return EXIT_FAILURE;
    for (int i = optind; i < argc; i++)
        if (!read_file(argv[i], &histogram)) return EXIT_FAILURE;
    return run(&histogram, tier_count, limit, store_bytes);
}
