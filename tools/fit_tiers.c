/* fit_tiers - prints the tier sizes of a slab_store that suit your values.
 *
 *     fit_tiers [-n TIERS] [-l BYTES] [FILE...]
 *
 *     make build/fit_tiers
 *     awk '{ print $3 }' trace.txt | build/fit_tiers >tiers.h
 *     find /var/cache -type f -printf '%s\n' | build/fit_tiers -n 15
 *
 * Goal: a table to paste or include, and what it saves, from nothing but the sizes of the values.
 *
 * Reads FILEs or standard input (also "-"). Each line has the size in bytes of one value, as you
 * would give it to slab_store_put, or a size and how many values have it. Their order does not
 * count. Blank lines and lines that begin with # are ignored.
 *
 * Method: slab_fit_tiers finds the tiers that waste least. More tiers waste less in slots. But a
 * 32-bit ref can then name fewer slots of a tier: 2^28 with 7 tiers, 2^27 with up to 15, 2^26 with
 * 31, 2^25 with 63; and each tier holds a chunk that is not full. Without -n the program takes the
 * first of these four counts with which payload is 0.95 of the bytes held, or else 63. A few large
 * values can claim many tiers: -l leaves values larger than that to large objects, which take whole
 * pages and, most of them, a system call.
 *
 * The output is C: the table, the config, and a comment that compares tables and draws the values
 * by tier. For bad input the exit status is 1 and nothing is printed on stdout.
 */
#define _GNU_SOURCE       1
#define _FILE_OFFSET_BITS 64

#define SLAB_IMPLEMENTATION
#include "../slab.h"

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
    MAX_TIERS     = 63,
    MAX_SLOT      = 64 * 1024, /* larger values are large objects, whatever the tiers */
    PAGE          = 4096,      /* large objects take whole ones */
    PASTE_COLUMNS = 100,
    BAR_MIN       = 8,
};

#define MAX_VALUES   (UINT64_MAX / MAX_SLOT) /* so that no sum of slots overflows */
#define GOOD_PAYLOAD 0.95

static const uint32_t choices[]       = {7, 15, 31, MAX_TIERS}; /* each costs a ref one bit */
static const uint32_t default_tiers[] = {64, 128, 256, 512, 1024, 2048, 4096};

enum { CHOICES = sizeof choices / sizeof *choices };

/* sum of counts + large_values == values <= MAX_VALUES */
struct histogram {
    uint64_t values;
    uint64_t payload;              /* bytes of those that fit a slot */
    uint64_t counts[MAX_SLOT + 1]; /* [size] */
    uint32_t largest;              /* of these */
    uint64_t large_values, large_payload, large_held;
};

struct table {
    uint32_t at_most; /* asked for; 0 = the default table */
    uint32_t count;
    uint32_t tiers[MAX_TIERS];
    uint64_t held;   /* bytes of slots, and of pages for values beyond the last tier */
    uint64_t beyond; /* values that fit a slot, but none of these */
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
    if (size == 0) size = 1; /* takes the smallest slot, as one byte does */
    histogram->values += count;
    if (size <= MAX_SLOT) {
        histogram->counts[size] += count;
        histogram->payload += size * count;
        if (size > histogram->largest) histogram->largest = (uint32_t)size;
        return NULL;
    }
    uint64_t pages = (size + PAGE - 1) / PAGE * PAGE;
    if (count > (UINT64_MAX - histogram->large_held) / pages) return "more than 2^64 bytes in all";
    histogram->large_values += count;
    histogram->large_payload += size * count;
    histogram->large_held += pages * count;
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
static uint32_t bytes_for(const struct table *table, uint32_t tier, uint32_t size)
{
    return tier < table->count ? table->tiers[tier] : (size + PAGE - 1) / PAGE * PAGE;
}

static void measure(const struct histogram *histogram, struct table *table)
{
    uint32_t tier = 0;

    table->held = table->beyond = 0;
    for (uint32_t size = 1; size <= histogram->largest; size++) {
        uint64_t count = histogram->counts[size];
        while (tier < table->count && table->tiers[tier] < size) tier++;
        table->held += count * bytes_for(table, tier, size);
        if (tier == table->count) table->beyond += count;
    }
}

/* The best of at most that many tiers for values up to the limit. False: no memory. */
static bool fit(const struct histogram *histogram, uint32_t limit, uint32_t at_most,
                struct table *table)
{
    static uint32_t sizes[MAX_SLOT]; /* every one: those without values cost little */

    for (uint32_t i = 0; i < limit; i++) sizes[i] = i + 1;
    table->at_most = at_most;
    table->count   = slab_fit_tiers(sizes, histogram->counts + 1, limit, table->tiers, at_most);
    measure(histogram, table);
    return table->count > 0;
}

static double payload_share(const struct histogram *histogram, const struct table *table)
{
    return (double)histogram->payload / (double)table->held;
}

/* -- Report: all of it C -- */

static void print_paste(const struct table *table)
{
    int column = printf("static const uint32_t tiers[] = {");

    for (uint32_t i = 0; i < table->count; i++) {
        char item[16];
        int  length = snprintf(item, sizeof item, "%" PRIu32 "%s", table->tiers[i],
                              i + 1 < table->count ? "," : "};");
        if (i > 0 && column + 1 + length > PASTE_COLUMNS) column = printf("\n   ") - 1;
        column += printf("%s%s", i > 0 ? " " : "", item);
    }
    printf("\nstatic const slab_store_config config = {.tier_sizes = tiers, .tier_count = %" PRIu32
           "};\n",
           table->count);
}

static void print_row(const struct histogram *histogram, const struct table *table,
                      const char *remark)
{
    double share = payload_share(histogram, table);
    int    bits  = table->count <= 7 ? 28 : table->count <= 15 ? 27 : table->count <= 31 ? 26 : 25;
    char   name[16];

    snprintf(name, sizeof name, "%" PRIu32, table->at_most);
    printf(" * %8s %6" PRIu32 "         2^%d %20" PRIu64 " %6.2f %% %12.4f%s\n",
           table->at_most ? name : "default", table->count, bits, table->held, 100 * (1 - share),
           share, remark);
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
    uint64_t values[MAX_TIERS + 1] = {0}, payload[MAX_TIERS + 1] = {0}, held[MAX_TIERS + 1] = {0};
    uint64_t most = 0, all = histogram->values - histogram->large_values;
    uint32_t tier = 0, lines = table->count + (table->beyond > 0);

    for (uint32_t size = 1; size <= histogram->largest; size++) {
        while (tier < table->count && table->tiers[tier] < size) tier++;
        values[tier] += histogram->counts[size];
        payload[tier] += histogram->counts[size] * size;
        held[tier] += histogram->counts[size] * bytes_for(table, tier, size);
        if (values[tier] > most) most = values[tier];
    }
    printf(" *\n *   slot          values   share    waste\n");
    for (tier = 0; tier < lines; tier++) {
        char name[16] = "large";
        if (tier < table->count) snprintf(name, sizeof name, "%" PRIu32, table->tiers[tier]);
        int used = printf(" * %6s %15" PRIu64 " %5.1f %%  %5.1f %%  ", name, values[tier],
                          100 * (double)values[tier] / (double)all,
                          100 * (1 - (double)payload[tier] / (double)held[tier]));
        print_bar(used, (double)values[tier] / (double)most);
    }
}

static void print_comment(const struct histogram *histogram, const struct table *tables,
                          size_t table_count, size_t chosen)
{
    const uint32_t last = default_tiers[sizeof default_tiers / sizeof *default_tiers - 1];
    struct table   now  = {.count = sizeof default_tiers / sizeof *default_tiers};

    memcpy(now.tiers, default_tiers, sizeof default_tiers);
    measure(histogram, &now);
    printf("\n/* By fit_tiers; to be included after slab.h. %" PRIu64 " values, %" PRIu64
           " bytes of payload.\n",
           histogram->values - histogram->large_values, histogram->payload);
    if (histogram->large_values > 0)
        printf(" * Not among them: %" PRIu64 " over 64 KiB, %" PRIu64 " bytes. They are large"
               " objects\n * with any tiers, and waste %.2f %% in whole pages.\n",
               histogram->large_values, histogram->large_payload,
               100 * (1 - (double)histogram->large_payload / (double)histogram->large_held));
    printf(" *\n *  at most  tiers  slots of each           bytes held    waste  "
           "payload per byte\n");
    for (size_t i = 0; i < table_count; i++)
        print_row(histogram, &tables[i], i == chosen ? "  <- above" : "");
    print_row(histogram, &now, "");
    if (now.beyond > tables[chosen].beyond && now.held < tables[chosen].held)
        printf(" *\n * The default wastes less: it leaves %" PRIu64 " values over %" PRIu32
               " bytes to large objects,\n * which cost system calls. -l %" PRIu32
               " does so too.\n",
               now.beyond, last, last);
    print_chart(histogram, &tables[chosen]);
    printf(" */\n");
}

/* -- Program -- */

static int run(const struct histogram *histogram, uint32_t tier_count, uint32_t limit)
{
    struct table tables[CHOICES];
    size_t       table_count = 0, chosen = 0;

    if (histogram->values == 0) return complain("no values in the input");
    while (limit > 0 && histogram->counts[limit] == 0) limit--;
    if (limit == 0) return complain("no value is small enough for a tier");
    do {
        struct table *table = &tables[table_count];
        if (!fit(histogram, limit, tier_count ? tier_count : choices[table_count], table))
            return complain("%s", strerror(ENOMEM));
        table_count++;
        if (table->count < table->at_most) break; /* more are of no use */
    } while (!tier_count && table_count < CHOICES);
    while (chosen + 1 < table_count && payload_share(histogram, &tables[chosen]) < GOOD_PAYLOAD)
        chosen++;
    print_paste(&tables[chosen]);
    print_comment(histogram, tables, table_count, chosen);
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

int main(int argc, char **argv)
{
    static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    static const char          usage[] =
        "usage: fit_tiers [-n TIERS] [-l BYTES] [FILE...]\n"
        "Reads the sizes of values, one per line, or a size and a count per line. Prints the\n"
        "tier sizes of a slab_store that waste least, as C to include after slab.h, and how\n"
        "they compare.\n"
        "  -n TIERS    at most so many tiers, 1 to 63; default: the first of 7, 15, 31 and 63\n"
        "              with which 95 % of the bytes held are payload\n"
        "  -l BYTES    leaves larger values to large objects; 1 to 65536, default: 65536\n"
        "  -h, --help  prints this\n"
        "FILE: - is standard input, which is also read when no FILE is given.\n";
    static struct histogram histogram; /* too large for some stacks */
    uint32_t                tier_count = 0, limit = MAX_SLOT;
    int                     option;

    while ((option = getopt_long(argc, argv, "hl:n:", options, NULL)) != -1) {
        if (option == 'n' && (tier_count = number_from('n', optarg, MAX_TIERS)) != 0) continue;
        if (option == 'l' && (limit = number_from('l', optarg, MAX_SLOT)) != 0) continue;
        fputs(usage, option == 'h' ? stdout : stderr);
        return option == 'h' ? EXIT_SUCCESS : 2;
    }
    if (optind == argc && !read_file("-", &histogram)) return EXIT_FAILURE;
    for (int i = optind; i < argc; i++)
        if (!read_file(argv[i], &histogram)) return EXIT_FAILURE;
    return run(&histogram, tier_count, limit);
}
