/* replay - plays a recorded trace with an allocator, as a cache of limited size or as a program
 * that allocates and frees, and prints what it cost in time and memory.
 *
 *     replay SUBJECT TRACE [--budget BYTES[K|M|G]] [--repeat N] [--latency] [--trim BYTES[K|M|G]]
 *                          [--tiers SIZE,SIZE,... | fit[:N[:LIMIT]]] [--compact N]
 *
 *     make build/replay && build/replay store trace.txt --budget 64M --tiers fit --compact 2
 *     LD_PRELOAD=libjemalloc.so.2 build/replay malloc trace.txt --budget 64M --trim 8M
 *
 * SUBJECT is store, a slab_store, or malloc: the one that is loaded; set LD_PRELOAD for another.
 *
 * TRACE is a text file, or - for stdin; gzip unpacks a name that ends in .gz. Lines that begin with
 * # are comments. Each other line is a record of six columns or more, separated by blanks. The
 * first is an operation, the others are decimal numbers; only key and size are used. Keys are
 * numbered from 0, without gaps. There are two kinds of trace, told apart by their operations:
 *
 *     op key size ttl tenant t_ms      requests to a cache
 *         g m l n h   read: a key in the cache is read; a key that is missing is filled in with a
 *                     value of the record's size, or left out when that is 0 (not recorded)
 *         s z         write: the old value is freed, the new one put
 *         d           delete
 *         p o i       ignored
 *     op id size align tid t_ms        calls of a program to its malloc
 *         a c m       put (the alignment is ignored)
 *         r           the old value is freed, one of the new size put
 *         f           free
 *         x           ignored
 *
 * A write of size 0 puts nothing. Whether a record was a hit when it was recorded does not count:
 * this cache decides, and a hit reads the value that it has, whatever size the record gives.
 *
 * --budget B   The cache holds at most B bytes of payload; before a put the least recently used
 *              values are evicted, in exact order. A value larger than B is not kept. Without a
 *              budget nothing is evicted. The budget counts payload, so that every subject has the
 *              same hits and only memory differs.
 * --repeat N   Plays the trace N times; the cache is kept in between.
 * --latency    Times each put instead of the whole, with the evictions, frees, compaction and trim
 *              that it causes. The clock is read twice, at some 25 ns; one of them is included.
 * --trim BYTES Asks the subject to give memory back after every BYTES bytes of freed payload, and
 *              at the end: slab_store_trim; malloc_trim(0) of glibc; for jemalloc the mallctls
 *              thread.tcache.flush and arena.4096.purge (all arenas); mi_collect(true);
 *              ReleaseFreeMemory of tcmalloc. The output names the function. Without --trim a
 *              subject gives back what it does by itself.
 * --tiers      The tiers of the store. fit: as many tiers as pay for themselves, up to the limit
 *              that pays (tools/fit.h), in a store of the budget, or of the mean of live bytes.
 *              fit:N: N tiers at most. fit:N:LIMIT: for sizes up to LIMIT. Each value weighs as
 *              long as it lives, or all the same with a budget.
 * --compact N  Calls slab_store_compact with at most N moves after every free.
 *
 * Values shorter than 8 bytes are made 8 for all subjects: the first 8 hold a stamp, key and
 * length, by which the moves of a compaction find the index. Values of 16 and more have one at the
 * end too. Each read checks the stamps, and at the end all values are read; a wrong one ends the
 * program.
 *
 * Resident bytes are the growth of anonymous memory since just before the cache began. By then
 * trace, index and sample value are mapped and touched, and nothing was taken from malloc. They are
 * read 64 times in the run, while the clocks stand still; payload_per_resident is the mean of the
 * second half. ops_per_s is by the wall clock, cpu_ops_per_s by the processor time of the process,
 * user and system, as getrusage counts it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define SLAB_API static inline /* inlined, for the best time */
#define SLAB_IMPLEMENTATION
#include "../slab.h"
#include "fit.h"

enum { STAMP = 8, SAMPLES = 64 };

static struct options {
    const char *trace, *tiers;
    uint64_t    budget, repeat;
    uint64_t    trim; /* UINT64_MAX: never */
    uint64_t    compact;
    bool        store, latency;
} options = {.budget = UINT64_MAX, .repeat = 1, .trim = UINT64_MAX};

#define FAIL(...) (fprintf(stderr, "replay: " __VA_ARGS__), fputc('\n', stderr), exit(1))

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t cpu_ns(void)
{
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (uint64_t)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1000000000u +
           (uint64_t)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) * 1000u;
}

/* ---- Memory of our own: malloc is a subject, it must not see us ---- */

static void *map(size_t size)
{
    void *memory = mmap(NULL, size ? size : 1, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) FAIL("out of memory: %zu bytes", size);
    return memory;
}

static uint64_t anonymous_bytes(void)
{
    char    text[4096]; /* statm would do, but for counters that each core keeps back */
    int     fd  = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (got > 0) text[got] = 0;
    const char *line = got > 0 ? strstr(text, "\nAnonymous:") : NULL;
    if (!line) FAIL("/proc/self/smaps_rollup does not say what is resident");
    close(fd);
    return strtoull(line + strlen("\nAnonymous:"), NULL, 10) * 1024;
}

/* ---- The trace ---- */

struct text {
    char  *bytes;
    size_t len, room;
};

static void read_all(int fd, struct text *text)
{
    ssize_t got;
    text->room  = 1 << 20;
    text->bytes = map(text->room);
    while ((got = read(fd, text->bytes + text->len, text->room - text->len)) != 0) {
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) FAIL("%s: %s", options.trace, strerror(errno));
        text->len += (size_t)got;
        if (text->len < text->room) continue;
        text->bytes = mremap(text->bytes, text->room, text->room * 2, MREMAP_MAYMOVE);
        if (text->bytes == MAP_FAILED) FAIL("out of memory: %zu bytes", text->room * 2);
        text->room *= 2;
    }
}

static void read_trace(struct text *text)
{
    size_t len = strlen(options.trace);
    int    fd  = 0;
    if (strcmp(options.trace, "-") == 0) options.trace = "stdin";
    else fd = open(options.trace, O_RDONLY); /* gzip inherits it: the shell sees no name */
    if (fd < 0) FAIL("%s: %s", options.trace, strerror(errno));
    if (len > 3 && strcmp(options.trace + len - 3, ".gz") == 0) {
        char command[32];
        snprintf(command, sizeof command, "gzip -dc <&%d", fd);
        FILE *pipe = popen(command, "r");
        if (!pipe) FAIL("%s: gzip: %s", options.trace, strerror(errno));
        read_all(fileno(pipe), text);
        if (pclose(pipe) != 0) FAIL("%s: gzip cannot unpack it, or is not there", options.trace);
    } else read_all(fd, text);
    if (fd > 0) close(fd);
}

enum action { IGNORED, READ, WRITE, DELETE };

struct record {
    uint32_t key, size;
    uint32_t action;
};

static struct record *records;
static size_t         record_count;
static uint32_t       key_count, largest;

struct line {
    const char *at, *end;
    uint64_t    number; /* from 1 */
};

#define FAIL_AT(line, ...)                                                                    \
    (fprintf(stderr, "replay: %s:%llu: ", options.trace, (unsigned long long)(line)->number), \
     fprintf(stderr, __VA_ARGS__), fputc('\n', stderr), exit(1))

/* The first columns are numbers from 0. In those that we do not use, recorders have put -1. */
static uint64_t column(struct line *line, const char *name, bool used)
{
    uint64_t value = 0;
    bool     blank = false, digit = false;
    for (; line->at < line->end && (*line->at == ' ' || *line->at == '\t'); line->at++)
        blank = true;
    if (!used && line->at < line->end && *line->at == '-') line->at++;
    for (; line->at < line->end && *line->at >= '0' && *line->at <= '9'; line->at++) {
        if (value > (UINT64_MAX - 9) / 10) FAIL_AT(line, "%s is too large", name);
        value = value * 10 + (uint64_t)(*line->at - '0');
        digit = true;
    }
    if (!blank || !digit || (line->at < line->end && !strchr(" \t\r", *line->at)))
        FAIL_AT(line, "%s is not a number", name);
    return value;
}

/* m is a missed read to a cache and an aligned allocation of a program: until another operation has
 * told which kind of trace this is, it stays what it is. */
static uint32_t action_of(char op, char *kind, const struct line *line)
{
    bool request = op && strchr("gmlnhszdpoi", op), call = op && strchr("acmrfx", op);
    if (!request && !call) FAIL_AT(line, "unknown operation");
    if (request && call) return (uint32_t)op;
    if (*kind && *kind != (request ? 'r' : 'c'))
        FAIL_AT(line, "%c among the operations of the other kind of trace", op);
    *kind = request ? 'r' : 'c';
    if (strchr("glnh", op)) return READ;
    if (strchr("szacr", op)) return WRITE;
    return strchr("df", op) ? DELETE : IGNORED;
}

static void parse_line(struct line *line, size_t lines, char *kind)
{
    static const char *const names[] = {"column 4", "column 5", "column 6"};
    uint32_t                 action  = action_of(*line->at++, kind, line);
    uint64_t                 key     = column(line, "the key, column 2,", true);
    uint64_t                 size    = column(line, "the size, column 3,", true);
    for (int i = 0; i < 3; i++) column(line, names[i], false);
    if (key >= lines || key >= UINT32_MAX)
        FAIL_AT(line, "key %llu: keys must be numbered from 0", (unsigned long long)key);
    if (size > UINT32_MAX) FAIL_AT(line, "the size is beyond 4 GiB");
    if (action == IGNORED) return;
    if (size > 0 && size < STAMP) size = STAMP;
    if (key >= key_count) key_count = (uint32_t)key + 1;
    if (size > largest) largest = (uint32_t)size;
    records[record_count++] = (struct record){(uint32_t)key, (uint32_t)size, action};
}

static void load(void)
{
    struct text text  = {0};
    size_t      lines = 1;
    char        kind  = 0;
    read_trace(&text);
    const char *end = text.bytes + text.len;
    for (const char *at = text.bytes; (at = memchr(at, '\n', (size_t)(end - at))); at++) lines++;
    records          = map(lines * sizeof *records);
    struct line line = {.end = text.bytes - 1};
    while (line.end + 1 < end) {
        line.at  = line.end + 1;
        line.end = memchr(line.at, '\n', (size_t)(end - line.at));
        if (!line.end) line.end = end;
        line.number++;
        if (line.at < line.end && *line.at != '#' && *line.at != '\r')
            parse_line(&line, lines, &kind);
    }
    for (size_t i = 0; i < record_count; i++)
        if (records[i].action == 'm') records[i].action = kind == 'c' ? WRITE : READ;
    munmap(text.bytes, text.room);
    if (record_count == 0) FAIL("%s: no record that can be played", options.trace);
}

/* ---- The cache ---- */

struct entry {
    union {
        void    *pointer;
        slab_ref ref;
    } at;
    uint32_t len; /* 0: not in the cache */
    uint32_t colder, warmer;
};

/* payload == the sum of len over all entries, <= options.budget */
static slab_store    *store;   /* NULL: malloc */
static struct entry  *entries; /* by key; one more is the head of the ring of LRU order */
static unsigned char *sample;  /* what values are copied from */
static uint64_t       payload, untrimmed; /* bytes freed since the last trim */
static uint64_t       trims, read_count, hit_count, put_count, evictions, moves, trimmed;

static void unlink_entry(const struct entry *e)
{
    if (options.budget == UINT64_MAX) return; /* then there is no order to keep */
    entries[e->colder].warmer = e->warmer;
    entries[e->warmer].colder = e->colder;
}

static void link_warmest(uint32_t key)
{
    if (options.budget == UINT64_MAX) return;
    uint32_t warmest        = entries[key_count].colder;
    entries[key].colder     = warmest;
    entries[key].warmer     = key_count;
    entries[warmest].warmer = entries[key_count].colder = key;
}

static void stamp(unsigned char *value, uint32_t key, uint32_t len)
{
    uint64_t word = (uint64_t)len << 32 | key;
    if (len >= 2 * STAMP) memcpy(value + len - STAMP, &word, STAMP);
    memcpy(value, &word, STAMP);
}

static void check(uint32_t key)
{
    const struct entry  *e = &entries[key];
    const unsigned char *value =
        store ? slab_store_get(store, e->at.ref, e->len) : (const unsigned char *)e->at.pointer;
    uint64_t word = (uint64_t)e->len << 32 | key, first, last;
    if (!value) FAIL("the value of key %u, %u bytes, is gone", key, e->len);
    memcpy(&first, value, STAMP);
    memcpy(&last, e->len >= 2 * STAMP ? value + e->len - STAMP : value, STAMP);
    if (first != word || last != word) FAIL("the value of key %u, %u bytes, is wrong", key, e->len);
}

static void put(uint32_t key, uint32_t len)
{
    struct entry  *e = &entries[key];
    unsigned char *value;
    if (store) value = slab_store_alloc(store, len, &e->at.ref);
    else value = e->at.pointer = malloc(len);
    if (!value)
        FAIL("out of memory: a value of %u bytes on top of %llu", len, (unsigned long long)payload);
    memcpy(value, sample, len);
    stamp(value, key, len);
    e->len = len;
    payload += len;
    put_count++;
    link_warmest(key);
}

static void moved(void *context, slab_ref from, slab_ref to, void *value, size_t room)
{
    uint64_t word;
    (void)context, (void)room;
    memcpy(&word, value, STAMP);
    uint32_t key = (uint32_t)word;
    if (key >= key_count || entries[key].len != word >> 32 || entries[key].at.ref != from)
        FAIL("compact moved ref %u, but key %u has another", from, key);
    entries[key].at.ref = to;
    moves++;
}

/* ---- Memory that is given back ---- */

static void trim_store(void) { trimmed += slab_store_trim(store); }

static int (*mallctl_)(const char *, void *, size_t *, void *, size_t);
static void (*mi_collect_)(bool);
static void (*release_free_memory)(void);
static int (*malloc_trim_)(size_t);

static void trim_jemalloc(void)
{
    mallctl_("thread.tcache.flush", NULL, NULL, NULL, 0);
    if (mallctl_("arena.4096.purge", NULL, NULL, NULL, 0) != 0) FAIL("jemalloc refuses to purge");
}
static void trim_mimalloc(void) { mi_collect_(true); }
static void trim_tcmalloc(void) { release_free_memory(); }
static void trim_glibc(void) { malloc_trim_(0); }

/* glibc's malloc_trim is there whichever malloc is loaded, so it is the last. */
static const struct giver {
    const char *function;
    void (*trim)(void);
    void *symbol; /* where its address goes */
} givers[] = {{"mallctl", trim_jemalloc, &mallctl_},
              {"mi_collect", trim_mimalloc, &mi_collect_},
              {"MallocExtension_ReleaseFreeMemory", trim_tcmalloc, &release_free_memory},
              {"malloc_trim", trim_glibc, &malloc_trim_}};

static struct giver giver = {.function = "slab_store_trim", .trim = trim_store};

static void find_giver(void)
{
    for (size_t i = 0; i < sizeof givers / sizeof *givers; i++) {
        void *address = dlsym(RTLD_DEFAULT, givers[i].function);
        if (!address) continue;
        memcpy(givers[i].symbol, &address, sizeof address);
        giver = givers[i];
        return;
    }
    FAIL("--trim: this malloc has no function to give memory back");
}

static void give_back(void)
{
    giver.trim();
    trims++;
    untrimmed = 0;
}

static void drop(uint32_t key)
{
    struct entry *e = &entries[key];
    unlink_entry(e);
    if (!store) free(e->at.pointer);
    else if (slab_store_free(store, e->at.ref, e->len) != 0)
        FAIL("the store did not free key %u, %u bytes", key, e->len);
    payload -= e->len;
    untrimmed += e->len;
    e->len = 0;
    if (options.compact) slab_store_compact(store, options.compact, moved, NULL);
    if (untrimmed >= options.trim) give_back();
}

static void write_key(uint32_t key, uint32_t len)
{
    if (entries[key].len) drop(key);
    if (len == 0 || len > options.budget) return;
    for (; payload + len > options.budget; evictions++) drop(entries[key_count].warmer);
    put(key, len);
}

/* ---- How long a put takes ---- */

/* 32 steps to each doubling: what is read off is too high by 3 % at most. */

static uint64_t put_times[60 * 32], put_longest;

static void timed_write(uint32_t key, uint32_t len)
{
    uint64_t before = put_count, start = now_ns();
    write_key(key, len);
    uint64_t ns = now_ns() - start;
    if (put_count == before) return;
    int step = ns < 32 ? 0 : 58 - __builtin_clzll(ns);
    put_times[(uint64_t)step * 32 + (ns >> step)]++;
    if (ns > put_longest) put_longest = ns;
}

static uint64_t put_time(uint64_t slower) /* that so many puts exceed */
{
    uint32_t i    = sizeof put_times / sizeof *put_times;
    uint64_t seen = 0;
    while (i > 0 && seen <= slower) seen += put_times[--i];
    uint64_t step = i < 64 ? 0 : i / 32 - 1;
    uint64_t ns   = ((i - step * 32 + 1) << step) - 1;
    return ns < put_longest ? ns : put_longest;
}

/* ---- The run ---- */

static void play(size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        const struct record *r = &records[i];
        const struct entry  *e = &entries[r->key];
        if (r->action == DELETE) {
            if (e->len) drop(r->key);
            continue;
        }
        if (r->action == READ) {
            read_count++;
            if (e->len) {
                hit_count++;
                check(r->key);
                unlink_entry(e);
                link_warmest(r->key);
            }
            if (e->len || r->size == 0) continue;
        }
        if (options.latency) timed_write(r->key, r->size);
        else write_key(r->key, r->size);
    }
}

static struct result {
    uint64_t ops, ns, cpu_ns, resident, payload_peak, resident_peak;
    double   payload_per_resident; /* mean over the second half of the samples */
} result;

static double per(uint64_t part, uint64_t whole)
{
    return whole ? (double)part / (double)whole : 0;
}

static void measure(uint64_t base, bool late)
{
    uint64_t bytes  = anonymous_bytes();
    result.resident = bytes > base ? bytes - base : 0;
    if (payload > result.payload_peak) result.payload_peak = payload;
    if (result.resident > result.resident_peak) result.resident_peak = result.resident;
    if (late) result.payload_per_resident += per(payload, result.resident) / (SAMPLES / 2);
}

static void open_store(const uint32_t *tiers, uint32_t count)
{
    slab_store_config config = {.tier_sizes = count ? tiers : NULL, .tier_count = count};
    int               error  = slab_store_create(&store, &config);
    if (error == -EINVAL) FAIL("--tiers %s: the store does not take these", options.tiers);
    if (error != 0) FAIL("slab_store_create: %s", strerror(-error));
}

static void run(const uint32_t *tiers, uint32_t tier_count)
{
    uint64_t done = 0, total = record_count * options.repeat;
    uint64_t base = anonymous_bytes();
    if (options.store) open_store(tiers, tier_count);
    else if (options.trim != UINT64_MAX) find_giver();
    for (uint64_t sample_no = 1; sample_no <= SAMPLES; sample_no++) {
        uint64_t until = total / SAMPLES * sample_no + total % SAMPLES * sample_no / SAMPLES;
        uint64_t start = now_ns(), cpu = cpu_ns();
        while (done < until) {
            size_t from = done % record_count, count = record_count - from;
            if (count > until - done) count = until - done;
            play(from, from + count);
            done += count;
        }
        if (sample_no == SAMPLES && options.trim != UINT64_MAX) give_back();
        result.cpu_ns += cpu_ns() - cpu;
        result.ns += now_ns() - start;
        measure(base, sample_no > SAMPLES / 2);
    }
    result.ops = done;
    for (uint32_t key = 0; key < key_count; key++)
        if (entries[key].len) check(key);
}

static void report_store(void)
{
    struct slab_store_info info;
    slab_store_stats(store, &info);
    if (info.payload_bytes != payload)
        FAIL("the store counts %zu bytes of payload, the cache %llu", info.payload_bytes,
             (unsigned long long)payload);
    for (uint32_t i = 0; i < info.tier_count; i++) {
        struct slab_tier_info tier;
        if (slab_store_tier_stats(store, i, &tier) != 0) FAIL("no tier %u", i);
        printf("%s%u", i ? "," : "tiers ", tier.slot_size);
    }
    printf("\nmetadata_share %.4f\n",
           per(info.metadata_bytes, info.capacity_bytes + info.metadata_bytes));
    printf("fragmentation %.4f\n", info.fragmentation_ratio);
    printf("used_per_capacity %.4f\n", per(info.used_bytes, info.capacity_bytes));
    printf("moves %llu\n", (unsigned long long)moves);
    printf("trimmed_bytes %llu\n", (unsigned long long)trimmed);
}

static void report(void)
{
#define SHOW(name, value) printf(name " %llu\n", (unsigned long long)(value))
    SHOW("ops", result.ops);
    SHOW("reads", read_count);
    SHOW("hits", hit_count);
    SHOW("puts", put_count);
    SHOW("evictions", evictions);
    printf("hit_ratio %.6f\n", per(hit_count, read_count));
    SHOW("payload_bytes", payload);
    SHOW("payload_peak_bytes", result.payload_peak);
    SHOW("resident_bytes", result.resident);
    SHOW("resident_peak_bytes", result.resident_peak);
    printf("payload_per_resident %.4f\n", result.payload_per_resident);
    printf("payload_per_resident_end %.4f\n", per(payload, result.resident));
    if (options.latency) {
        SHOW("put_p9999_ns", put_time(put_count / 10000));
        SHOW("put_max_ns", put_longest);
    } else {
        printf("ns_per_op %.2f\n", per(result.ns, result.ops));
        printf("ops_per_s %.0f\n", per(result.ops, result.ns) * 1e9);
        printf("cpu_ops_per_s %.0f\n", per(result.ops, result.cpu_ns) * 1e9);
    }
    if (trims) printf("gives_back %s\ntrims %llu\n", giver.function, (unsigned long long)trims);
    if (store) report_store();
}

/* What is left is freed; then nothing may be left. */
static void close_cache(void)
{
    struct slab_store_info info = {0};
    options.compact             = 0;
    options.trim                = UINT64_MAX;
    for (uint32_t key = 0; key < key_count; key++)
        if (entries[key].len) drop(key);
    slab_store_stats(store, &info);
    if (payload != 0 || info.payload_bytes != 0 || info.used_bytes != 0)
        FAIL("all is freed, but the store counts %zu bytes", info.used_bytes);
    slab_store_destroy(store);
}

/* ---- Options ---- */

static const char usage_text[] =
    "usage: replay store|malloc TRACE [--budget BYTES[K|M|G]] [--repeat N] [--latency]\n"
    "                                 [--trim BYTES[K|M|G]]\n"
    "                                 [--tiers SIZE,SIZE,... | fit[:N[:LIMIT]]] [--compact N]\n"
    "Plays a recorded trace with a slab_store, or with the malloc that is loaded, and prints\n"
    "time, hits and memory. TRACE: a file, a file.gz, or - for stdin; the top of tools/replay.c\n"
    "describes its format.\n"
    "  --budget B   at most B bytes of payload, the least recently used values are evicted\n"
    "  --repeat N   plays the trace N times\n"
    "  --latency    times each put instead of the whole\n"
    "  --trim B     gives memory back after every B bytes freed, and at the end\n"
    "  --tiers T    the store's tiers; fit: those that pay for themselves with this trace;\n"
    "               fit:N:LIMIT: the best N for sizes up to LIMIT\n"
    "  --compact N  the store: at most N moves after each free\n";

static int usage(const char *value, const char *what)
{
    if (what) fprintf(stderr, "replay: %s: %s\n", value, what);
    fputs(usage_text, stderr);
    return 2;
}

/* Decimal digits and nothing else, up to end. */
static bool number(const char **at, uint64_t *value)
{
    char *end;
    if (**at < '0' || **at > '9') return false;
    errno  = 0;
    *value = strtoull(*at, &end, 10);
    *at    = end;
    return errno == 0;
}

static bool whole_number(const char *text, uint64_t least, uint64_t most, uint64_t *value)
{
    return number(&text, value) && *text == 0 && *value >= least && *value <= most;
}

static bool bytes_of(const char *text, uint64_t *bytes)
{
    uint64_t value;
    if (!number(&text, &value) || value == 0) return false;
    const char *unit  = *text ? strchr("KMG", *text) : NULL;
    int         shift = unit ? (int)(unit - "KMG" + 1) * 10 : 0;
    if (text[unit != NULL] != 0 || value > UINT64_MAX >> 1 >> shift) return false;
    *bytes = value << shift;
    return true;
}

enum { MOMENTS = 4096 };

/* Fills in the sizes of the values that live, each weighted by the moments of the trace at which it
 * does: a glance at the store sees mostly these. With a budget it is not known when a value is
 * evicted; then all weigh the same. Returns the payload of the store: the budget, or the mean of
 * live bytes. */
static uint64_t live_sizes(struct fit_sizes *sizes)
{
    struct life {
        uint32_t size, since;
    } *lives     = map(key_count * sizeof *lives);
    bool   all   = options.budget != UINT64_MAX;
    double bytes = 0;
    for (size_t i = 0; i < record_count + key_count; i++) {
        bool                 end  = i >= record_count; /* now all that is left dies */
        const struct record  last = {.key = (uint32_t)(i - record_count), .action = DELETE};
        const struct record *r    = end ? &last : &records[i];
        struct life         *life = &lives[r->key];
        uint32_t             at   = (uint32_t)((end ? record_count : i) * MOMENTS / record_count);
        if (r->action == READ && life->size) continue;
        if (life->size) fit_add(sizes, life->size, all ? 1 : at - life->since);
        bytes += (double)life->size * (at - life->since) / MOMENTS;
        life->size  = r->action == DELETE ? 0 : r->size;
        life->since = at;
    }
    munmap(lives, key_count * sizeof *lives);
    return bytes < (double)options.budget ? (uint64_t)bytes + 1 : options.budget;
}

static struct {
    uint32_t count, limit; /* 0: as many, and up to as much, as pays */
} fitted;

/* The default tiers remain if no size is small enough. */
static uint32_t fit(uint32_t *tiers)
{
    struct fit_sizes *sizes       = map(sizeof *sizes);
    uint64_t          store_bytes = live_sizes(sizes);
    struct fit        best;
    if (fit_choose(sizes, store_bytes, fitted.count, fitted.limit, &best))
        memcpy(tiers, best.tiers, sizeof best.tiers);
    munmap(sizes, sizeof *sizes);
    return best.count;
}

/* fit[:N[:LIMIT]] */
static bool parse_fit(const char *text)
{
    uint64_t count = 0, limit = 0;
    if (*text == ':') {
        text++;
        if (!number(&text, &count) || count < 1 || count > FIT_TIERS) return false;
    }
    if (*text == ':' && !whole_number(text + 1, 1, FIT_MAX, &limit)) return false;
    if (limit == 0 && *text != 0) return false;
    fitted.count = (uint32_t)count;
    fitted.limit = (uint32_t)limit;
    return true;
}

/* false: they are neither sizes nor fit. How many goes to *count; 0 = the default tiers. */
static bool parse_tiers(const char *text, uint32_t *tiers, uint32_t *count)
{
    uint64_t value;
    *count = 0;
    if (strncmp(text, "fit", 3) == 0) return parse_fit(text + 3);
    for (; *count < FIT_TIERS; text++) {
        if (!number(&text, &value) || value > UINT32_MAX) return false;
        tiers[(*count)++] = (uint32_t)value;
        if (*text != ',') return *text == 0;
    }
    return false;
}

int main(int argc, char **argv)
{
    uint32_t tiers[FIT_TIERS], tier_count = 0;
    uint64_t value = 0;
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        fputs(usage_text, stdout);
        return 0;
    }
    if (argc < 3) return usage(NULL, NULL);
    options.store = strcmp(argv[1], "store") == 0;
    options.trace = argv[2];
    if (!options.store && strcmp(argv[1], "malloc") != 0)
        return usage(argv[1], "not store or malloc");
    for (int i = 3; i < argc; i++) {
        const char *name = argv[i], *text = argv[i + 1];
        if (strcmp(name, "--latency") == 0) {
            options.latency = true;
            continue;
        }
        if (!text) return usage(name, "nothing follows it, or not an option");
        i++;
        if (strcmp(name, "--budget") == 0) {
            if (!bytes_of(text, &options.budget)) return usage(text, "not a number of bytes");
        } else if (strcmp(name, "--trim") == 0) {
            if (!bytes_of(text, &options.trim)) return usage(text, "not a number of bytes");
        } else if (strcmp(name, "--repeat") == 0) {
            if (!whole_number(text, 1, 1000000, &options.repeat))
                return usage(text, "not 1..1000000");
        } else if (!options.store) return usage(name, "not an option of malloc");
        else if (strcmp(name, "--compact") == 0) {
            if (!whole_number(text, 0, UINT32_MAX, &value)) return usage(text, "not 0..4294967295");
            options.compact = value;
        } else if (strcmp(name, "--tiers") == 0) {
            if (!parse_tiers(text, tiers, &tier_count)) return usage(text, "not tiers");
            options.tiers = text;
        } else return usage(name, "not an option");
    }
    load();
    if (options.tiers && options.tiers[0] == 'f') tier_count = fit(tiers);
    entries = map((key_count + 1u) * sizeof *entries);
    sample  = map((size_t)largest + STAMP);
    for (size_t i = 0; i < largest; i++) sample[i] = (unsigned char)i;
    entries[key_count].colder = entries[key_count].warmer = key_count;
    run(tiers, tier_count);
    report();
    close_cache();
    return 0;
}
