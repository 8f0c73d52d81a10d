/* store_bench - one workload, one subject, a fixed amount of work; measures what a slab_store
 * costs in time and memory beside a malloc and the common design.
 *
 *     store_bench WORKLOAD SUBJECT [--ops N] [--values N]
 *     store_bench --list            every workload with each of its subjects
 *
 * Fills and shrink do as many operations as there are values; pair has one value.
 *
 * Each run prints one figure a line: workload, subject, number, what it is; first the ns/op, if
 * there is one. bench/run.sh runs them all and makes the tables. malloc stands for the malloc that
 * is loaded: set LD_PRELOAD for another.
 *
 *   store-pair          100 bytes put and freed, over and over; op: both
 *   store-fill          4 Mi puts of 100 bytes into a fresh store; op: a put
 *   store-fill-latency  the same, and the clock is read after each put: percentiles
 *   store-get           the first 8 bytes of values of 100, 4 Mi of them, in random order; the
 *                       index is walked from end to end; op: a get
 *   store-find          the same at random places of the index, as a hash would have it; of both,
 *                       ashlar-many gets 32 at a time by slab_store_get_many
 *   store-churn         4 Mi values of lognormal sizes, one of them freed and a new one put; op:
 *                       both; and the payload in a resident byte at the end. ashlar-fit has tiers
 *                       fitted to the sizes, compacts by two moves a free, and trims now and then
 *   store-cache         a cache of 64 MiB: keys of a skewed distribution are looked up, and put if
 *                       they are not there, with lognormal sizes whose median drifts from 150 to
 *                       1,200 and back; op: a look-up, and the put if there is one. evict makes
 *                       room by slab_store_evict, fifo frees the oldest and compacts by two moves
 *   store-shrink        512 MiB of values of 100 to 4000 bytes, nine of ten freed, compacted, and
 *                       given back; op: a free, with what follows; and what stays resident
 *
 * The index is what an engine keeps of a value: a ref and a length are 8 bytes, a pointer and a
 * length 16. No subject knows a length when it is compiled: lengths come from requests. Each writes
 * the value, from the same warm bytes. What the bench needs for itself is mapped, not taken from
 * malloc, and touched before the clock starts.
 *
 * A virtual machine may have lent free memory to its host: the first to touch it again waits for
 * milliseconds, for 2 MiB, whatever the allocator. So, right before the clock starts, every subject
 * alike maps, touches and unmaps as much as its run is about to take, twice.
 *
 * Floors: one memcpy (floor); bare pointers to the store's values (pointer); 100 of each 128 bytes
 * written in mappings of 2 MiB, on small pages (touch) and on large ones (touch-huge), for which
 * slab_store asks where the system lets it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#if defined __x86_64__
#include <x86intrin.h>
#endif

#define SLAB_API static inline /* inlined, for the best time */
#define SLAB_IMPLEMENTATION
#include "../slab.h"

#include "classic/classic_store.h"
#include "options.h"

enum {
    LEN          = 100,
    SIZE_LEAST   = 8,    /* of a drawn size: a value begins with its place in the index */
    SIZE_MOST    = 4096, /* the common design has no more */
    MAPPING      = 2 * 1024 * 1024,
    COMPACT_EACH = 64,  /* frees, and then up to */
    COMPACT_MOST = 128, /* moves */
    TRIM_EACH    = 1024 * 1024,
    FIT          = 49 /* tiers */
};

static uint64_t       ops;
static uint32_t       values;
static unsigned char *places; /* the index: an entry for each value */
static uint16_t      *sizes;  /* drawn: [values + ops] */
static unsigned char  sample[SIZE_MOST] __attribute__((aligned(64)));

/* ---- Time and memory ---- */

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* A clock of any unit that costs little. */
static inline uint64_t ticks(void)
{
#if defined __x86_64__
    return __rdtsc();
#else
    return now_ns();
#endif
}

static void *map(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) exit(1);
    return memory;
}

/* For ourselves: on large pages where there are any, and touched. */
static void *map_own(size_t size)
{
    void *memory = map(size);
    madvise(memory, size, MADV_HUGEPAGE);
    memset(memory, 1, size);
    return memory;
}

/* On large pages: they are what the system cuts small ones from, too. */
static void warm(size_t size)
{
    for (int pass = 0; pass < 2; pass++) munmap(map_own(size), size);
}

/* Without stdio: it would ask malloc. */
static size_t resident(void)
{
    char        text[4096];
    size_t      kib  = 0;
    int         file = open("/proc/self/smaps_rollup", O_RDONLY);
    ssize_t     size = read(file, text, sizeof text - 1);
    const char *line;
    if (size < 0) exit(1);
    close(file);
    text[size] = 0;
    if (!(line = strstr(text, "Anonymous:")) || sscanf(line, "%*s %zu", &kib) != 1) exit(1);
    return kib * 1024;
}

static void pin(size_t core)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    sched_setaffinity(0, sizeof set, &set); /* refused: a noisier figure */
}

static void report(const char *workload, const char *subject, double figure, const char *what)
{
    int digits = figure == (double)(uint64_t)figure ? 0 : figure < 1 ? 4 : 2;
    printf("%s %s %.*f %s\n", workload, subject, digits, figure, what);
}

static void report_ns(const char *workload, const char *subject, uint64_t ns, uint64_t count)
{
    report(workload, subject, count ? (double)ns / (double)count : 0, "ns/op");
}

/* ---- Chance: the same in each run ---- */

static uint64_t chance = 1;

static inline uint64_t draw(void)
{
    chance = chance * 6364136223846793005u + 1442695040888963407u;
    return chance;
}

static inline uint32_t draw_below(uint32_t limit)
{
    return (uint32_t)((draw() >> 32) * limit >> 32);
}

/* Lognormal, median 300, sigma 1; what is below 8 or above 4096 becomes that. Twelve uniform
 * numbers add up to a normal one, nearly; (1 + x / 4096) ^ 4096 is e ^ x, nearly. */
static uint16_t draw_size(void)
{
    double sum = -6;
    for (int i = 0; i < 12; i++) sum += (double)(draw() >> 32) / 4294967296.0;
    double size = 1 + sum / 4096;
    for (int i = 0; i < 12; i++) size *= size;
    size *= 300;
    return (uint16_t)(size < SIZE_LEAST ? SIZE_LEAST : size > SIZE_MOST ? SIZE_MOST : size);
}

/* ---- Subjects ---- */

struct subject {
    const char *name;
    size_t      entry_size; /* of the index */
    void (*open)(void);
    void (*put)(void *entry, const void *data, uint32_t len);
    const void *(*get)(const void *entry);
    void (*free)(void *entry);
    size_t (*compact)(size_t max_moves);
    void (*trim)(void);
};

/* Entries; len is first in both, for len_of. */
struct by_ref {
    uint32_t len, ref;
};
struct by_pointer {
    uint32_t len;
    void    *pointer;
};

static void nothing(void) {}

static slab_store *ashlar;

static void ashlar_open(void)
{
    if (slab_store_create(&ashlar, NULL) != 0) exit(1);
}
static inline void ashlar_put(void *entry, const void *data, uint32_t len)
{
    struct by_ref *it = entry;
    it->len           = len;
    if (slab_store_put(ashlar, data, len, &it->ref) != 0) exit(1);
}
static inline const void *ashlar_get(const void *entry)
{
    const struct by_ref *it = entry;
    return slab_store_get(ashlar, it->ref, it->len);
}
static inline void ashlar_free(void *entry)
{
    const struct by_ref *it = entry;
    if (slab_store_free(ashlar, it->ref, it->len) != 0) exit(1);
}
static void ashlar_moved(void *context, slab_ref from, slab_ref to, void *value, size_t room)
{
    struct by_ref *index = context;
    uint32_t       place;
    (void)from, (void)room;
    memcpy(&place, value, sizeof place);
    index[place].ref = to;
}
static size_t ashlar_compact(size_t max_moves)
{
    return slab_store_compact(ashlar, max_moves, ashlar_moved, places);
}
static void ashlar_trim(void) { slab_store_trim(ashlar); }

static const struct subject subject_ashlar = {
    "ashlar",   sizeof(struct by_ref), ashlar_open,    ashlar_put,
    ashlar_get, ashlar_free,           ashlar_compact, ashlar_trim,
};

/* The same with tiers fitted to the sizes that were drawn. */
static void fit_open(void)
{
    static uint32_t of_size[SIZE_MOST], tiers[FIT];
    static uint64_t counts[SIZE_MOST];
    for (uint32_t i = 0; i < SIZE_MOST; i++) of_size[i] = i + 1;
    for (uint32_t i = 0; i < values; i++) counts[sizes[i] - 1]++;
    slab_store_config config = {.tier_sizes = tiers};
    config.tier_count        = slab_fit_tiers(of_size, counts, SIZE_MOST, tiers, FIT);
    if (slab_store_create(&ashlar, &config) != 0) exit(1);
}

static const struct subject subject_fit = {
    "ashlar-fit", sizeof(struct by_ref), fit_open,       ashlar_put,
    ashlar_get,   ashlar_free,           ashlar_compact, ashlar_trim,
};

/* Names for runs of their own. */
static const struct subject subject_many  = {.name = "ashlar-many"};
static const struct subject subject_evict = {.name = "evict"};
static const struct subject subject_fifo  = {.name = "fifo"};

static struct classic_store *classic;

static void classic_open(void) { classic = classic_create(); }

static inline void classic_put_entry(void *entry, const void *data, uint32_t len)
{
    struct by_ref *it = entry;
    it->len           = len;
    it->ref           = classic_put(classic, data, len);
}
static inline const void *classic_get_entry(const void *entry)
{
    const struct by_ref *it = entry;
    return classic_get(classic, it->ref);
}
static inline void classic_free_entry(void *entry)
{
    const struct by_ref *it = entry;
    classic_free(classic, it->ref);
}

static const struct subject subject_classic = {
    "classic",         sizeof(struct by_ref), classic_open, classic_put_entry,
    classic_get_entry, classic_free_entry,    NULL,         NULL,
};

static inline void malloc_put(void *entry, const void *data, uint32_t len)
{
    struct by_pointer *it = entry;
    it->len               = len;
    it->pointer           = malloc(len);
    if (!it->pointer) exit(1);
    memcpy(it->pointer, data, len);
}
static inline const void *malloc_get(const void *entry)
{
    const struct by_pointer *it = entry;
    return it->pointer;
}
static inline void malloc_free(void *entry)
{
    const struct by_pointer *it = entry;
    free(it->pointer);
}

/* Whichever malloc is loaded, by its own name for it. */
static void malloc_trim_any(void)
{
    static const char purge[] = "arena.4096.purge"; /* MALLCTL_ARENAS_ALL */
    union {
        void *found;
        int (*mallctl)(const char *, void *, size_t *, void *, size_t);
        void (*mi_collect)(bool);
        void (*release)(void);
        int (*trim)(size_t);
    } call;
    if ((call.found = dlsym(RTLD_DEFAULT, "mallctl"))) call.mallctl(purge, NULL, NULL, NULL, 0);
    else if ((call.found = dlsym(RTLD_DEFAULT, "mi_collect"))) call.mi_collect(true);
    else if ((call.found = dlsym(RTLD_DEFAULT, "MallocExtension_ReleaseFreeMemory")))
        call.release();
    else if ((call.found = dlsym(RTLD_DEFAULT, "malloc_trim"))) call.trim(0);
}

static const struct subject subject_malloc = {
    "malloc", sizeof(struct by_pointer), nothing, malloc_put, malloc_get, malloc_free,
    NULL,     malloc_trim_any,
};

/* Floors. */

static inline void floor_put(void *entry, const void *data, uint32_t len)
{
    static unsigned char slot[SIZE_MOST] __attribute__((aligned(64)));
    (void)entry;
    memcpy(slot, data, len);
}
static inline void floor_free(void *entry) { (void)entry; }

static const struct subject subject_floor = {
    "floor", sizeof(struct by_ref), nothing, floor_put, NULL, floor_free, NULL, NULL,
};

static inline void pointer_put(void *entry, const void *data, uint32_t len)
{
    struct by_pointer *it = entry;
    slab_ref           ref;
    it->len = len;
    if (slab_store_put(ashlar, data, len, &ref) != 0) exit(1);
    it->pointer = (void *)(uintptr_t)slab_store_get(ashlar, ref, len);
}

static const struct subject subject_pointer = {
    "pointer", sizeof(struct by_pointer), ashlar_open, pointer_put, malloc_get, NULL, NULL, NULL,
};

static unsigned char *touch_at, *touch_end;

static inline void touch(const void *data, uint32_t len, bool huge)
{
    if (touch_at == touch_end) {
        touch_at  = map(MAPPING);
        touch_end = touch_at + MAPPING;
        if (huge) madvise(touch_at, MAPPING, MADV_HUGEPAGE);
    }
    memcpy(touch_at, data, len);
    touch_at += 128;
}
static inline void touch_put(void *entry, const void *data, uint32_t len)
{
    (void)entry;
    touch(data, len, false);
}
static inline void touch_huge_put(void *entry, const void *data, uint32_t len)
{
    (void)entry;
    touch(data, len, true);
}

static const struct subject subject_touch = {
    "touch", sizeof(struct by_ref), nothing, touch_put, NULL, NULL, NULL, NULL,
};
static const struct subject subject_touch_huge = {
    "touch-huge", sizeof(struct by_ref), nothing, touch_huge_put, NULL, NULL, NULL, NULL,
};

/* ---- Workloads: inlined for each subject, so that no call goes through a pointer ---- */

#define WORKLOAD static inline __attribute__((always_inline)) void

/* The compiler must write what was stored. */
static inline void barrier(void) { __asm__ volatile("" ::: "memory"); }

/* The same number, of which the compiler knows nothing. */
static inline uint32_t unknown(uint32_t number)
{
    __asm__("" : "+r"(number));
    return number;
}

static inline void *entry_of(const struct subject *s, uint32_t place)
{
    return places + place * s->entry_size;
}

static inline uint32_t len_of(const void *entry)
{
    uint32_t len;
    memcpy(&len, entry, sizeof len);
    return len;
}

/* The next value put belongs to this place: compaction reads it there. */
static inline void stamp(uint32_t place) { memcpy(sample, &place, sizeof place); }

WORKLOAD pair(const struct subject *s)
{
    uint32_t len = unknown(LEN);
    s->open();
    uint64_t start = now_ns();
    for (uint64_t i = 0; i < ops; i++) {
        s->put(places, sample, len);
        barrier();
        s->free(places);
    }
    report_ns("store-pair", s->name, now_ns() - start, ops);
}

WORKLOAD fill(const struct subject *s)
{
    uint32_t len = unknown(LEN);
    for (uint32_t i = 0; i < values; i++) {
        s->put(entry_of(s, i), sample, len);
        barrier();
    }
}

/* Of all subjects the common design takes most: the vector and, where it is copied, its half. */
static size_t fill_size(void) { return (size_t)values * 128 * 2; }

WORKLOAD timed_fill(const struct subject *s)
{
    s->open();
    warm(fill_size());
    uint64_t start = now_ns();
    fill(s);
    report_ns("store-fill", s->name, now_ns() - start, values);
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void report_latency(const char *subject, uint32_t *samples, double ns_per_tick)
{
    const char *workload = "store-fill-latency";
    uint32_t    slow = 0, stalls = 0;
    for (uint32_t i = 0; i < values; i++) {
        slow += samples[i] * ns_per_tick > 1e5;
        stalls += samples[i] * ns_per_tick > 5e6;
    }
    qsort(samples, values, sizeof *samples, by_size);
    report(workload, subject, samples[values / 2] * ns_per_tick / 1e3, "p50-us");
    report(workload, subject, samples[values - 1 - values / 100] * ns_per_tick / 1e3, "p99-us");
    report(workload, subject, samples[values - 1 - values / 10000] * ns_per_tick / 1e3,
           "p99.99-us");
    report(workload, subject, samples[values - 1] * ns_per_tick / 1e3, "max-us");
    report(workload, subject, slow * 1e6 / values, "over-0.1ms-ppm");
    report(workload, subject, stalls, "over-5ms");
}

/* The clock is read once for each put: what a put took is the time since the one before. */
WORKLOAD fill_latency(const struct subject *s)
{
    uint32_t  len     = unknown(LEN);
    uint32_t *samples = map_own(values * sizeof *samples);
    s->open();
    warm(fill_size());
    uint64_t start_ns = now_ns(), start = ticks(), before = start;
    for (uint32_t i = 0; i < values; i++) {
        s->put(entry_of(s, i), sample, len);
        barrier();
        uint64_t now  = ticks();
        uint64_t took = now - before;
        samples[i]    = took < UINT32_MAX ? (uint32_t)took : UINT32_MAX;
        before        = now;
    }
    report_latency(s->name, samples, (double)(now_ns() - start_ns) / (double)(ticks() - start));
}

static inline uint64_t first_of(const void *value)
{
    uint64_t first;
    memcpy(&first, value, sizeof first);
    return first;
}

static void shuffle(size_t entry_size)
{
    unsigned char spare[sizeof(struct by_pointer)];
    for (uint32_t i = values - 1; i > 0; i--) {
        unsigned char *a = places + i * entry_size, *b = places + draw_below(i + 1) * entry_size;
        memcpy(spare, a, entry_size);
        memcpy(a, b, entry_size);
        memcpy(b, spare, entry_size);
    }
}

WORKLOAD get(const char *workload, const struct subject *s, bool random_places)
{
    uint64_t sum = 0;
    s->open();
    fill(s);
    shuffle(s->entry_size);
    uint64_t start = now_ns();
    uint32_t place = 0;
    for (uint64_t i = 0; i < ops; i++) {
        if (random_places) place = draw_below(values);
        else if (++place == values) place = 0;
        sum += first_of(s->get(entry_of(s, place)));
    }
    uint64_t ns = now_ns() - start;
    if (sum != ops * first_of(sample)) exit(1);
    report_ns(workload, s->name, ns, ops);
}

/* As get, 32 at a time. */
static void get_many(const char *workload, bool random_places)
{
    enum { BATCH = 32 };
    uint64_t    sum = 0;
    slab_ref    refs[BATCH];
    size_t      lens[BATCH];
    const void *found[BATCH];
    ashlar_open();
    fill(&subject_ashlar);
    shuffle(sizeof(struct by_ref));
    const struct by_ref *index = (const struct by_ref *)places;
    uint64_t             start = now_ns();
    uint32_t             place = 0;
    for (uint64_t i = 0; i < ops; i += BATCH) {
        for (int k = 0; k < BATCH; k++) {
            if (random_places) place = draw_below(values);
            else if (++place == values) place = 0;
            refs[k] = index[place].ref;
            lens[k] = index[place].len;
        }
        slab_store_get_many(ashlar, refs, lens, found, BATCH);
        for (int k = 0; k < BATCH; k++) sum += first_of(found[k]);
    }
    uint64_t ns = now_ns() - start;
    if (sum != (ops + BATCH - 1) / BATCH * BATCH * first_of(sample)) exit(1);
    report_ns(workload, "ashlar-many", ns, ops);
}

WORKLOAD churn(const struct subject *s, bool compacts)
{
    uint64_t payload = 0;
    sizes            = map_own((values + ops) * sizeof *sizes);
    for (uint64_t i = 0; i < values + ops; i++) sizes[i] = draw_size();
    size_t before = resident();
    s->open();
    for (uint32_t i = 0; i < values; i++) {
        stamp(i);
        s->put(entry_of(s, i), sample, sizes[i]);
    }
    warm((size_t)values * 128); /* what is there is touched; the rest is growth */
    uint64_t start = now_ns();
    for (uint64_t i = 0; i < ops; i++) {
        uint32_t place = draw_below(values);
        stamp(place);
        s->free(entry_of(s, place));
        if (compacts && i % COMPACT_EACH == 0) s->compact(COMPACT_MOST);
        if (compacts && i % TRIM_EACH == TRIM_EACH / 2) s->trim(); /* the end is between two */
        s->put(entry_of(s, place), sample, sizes[values + i]);
    }
    report_ns("store-churn", s->name, now_ns() - start, ops);
    for (uint32_t i = 0; i < values; i++) payload += len_of(entry_of(s, i));
    report("store-churn", s->name, (double)payload / (double)(resident() - before),
           "payload/resident");
}

/* A key's place in the index: a quarter of them get three quarters of the look-ups, and so on in
 * that quarter. */
static uint32_t draw_key(void)
{
    uint32_t limit = values;
    while (limit > 4 && draw_below(4) != 0) limit /= 4;
    return draw_below(limit);
}

static uint32_t *oldest; /* places, in the order in which they were put: [values] */
static uint32_t  oldest_at, oldest_count;
static uint64_t  live_payload;

static void fifo_evict(void)
{
    struct by_ref *index = (struct by_ref *)places;
    uint32_t       place = oldest[oldest_at];
    if (oldest_count-- == 0) exit(1);
    oldest_at = oldest_at + 1 == values ? 0 : oldest_at + 1;
    live_payload -= index[place].len;
    ashlar_free(&index[place]);
    index[place].len = 0;
    ashlar_compact(2);
}

static size_t cache_evicted(void *context, slab_ref ref, const void *value, size_t room)
{
    struct by_ref *index = context;
    uint32_t       place;
    (void)ref, (void)room;
    memcpy(&place, value, sizeof place);
    size_t len       = index[place].len;
    index[place].len = 0;
    live_payload -= len;
    return len;
}

static void cache(bool fifo)
{
    enum { BUDGET = 64 * 1024 * 1024, PERIOD = 1 << 20 };
    struct by_ref          *index  = (struct by_ref *)places;
    const slab_store_config config = {.max_bytes = BUDGET};
    uint64_t                hits = 0, density = 0, looks = 0, hit;
    memset(places, 0, values * sizeof *index);
    oldest = map_own(values * sizeof *oldest);
    if (slab_store_create(&ashlar, &config) != 0) exit(1);
    uint64_t start = now_ns();
    for (uint64_t i = 0; i < ops; i++) {
        uint32_t place = draw_key();
        hits += hit = index[place].len != 0;
        if (i % 4096 == 0 && i >= ops / 2 && ++looks) density += live_payload;
        if (hit) continue;
        uint64_t phase = i % PERIOD * 2 < PERIOD ? i % PERIOD * 2 : 2 * PERIOD - i % PERIOD * 2;
        uint32_t len   = (uint32_t)(draw_size() * (150 + 1050 * phase / PERIOD) / 300);
        if (len > SIZE_MOST) len = SIZE_MOST;
        if (len < SIZE_LEAST) len = SIZE_LEAST;
        stamp(place);
        while (slab_store_put(ashlar, sample, len, &index[place].ref) != 0) {
            if (fifo) fifo_evict();
            else if (slab_store_evict(ashlar, 64 * 1024, cache_evicted, index) == 0) exit(1);
            stamp(place);
        }
        index[place].len = len;
        live_payload += len;
        uint32_t end = oldest_at + oldest_count;
        if (fifo) oldest[end < values ? end : end - values] = place;
        oldest_count += fifo;
    }
    const char *subject = fifo ? "fifo" : "evict";
    report_ns("store-cache", subject, now_ns() - start, ops);
    report("store-cache", subject, (double)hits * 100 / (double)ops, "hit-%");
    report("store-cache", subject, (double)density / (double)looks / BUDGET, "payload/budget");
}

WORKLOAD shrink(const struct subject *s)
{
    uint64_t freed = 0, moves = 0;
    size_t   before = resident();
    s->open();
    for (uint32_t i = 0; i < values; i++) {
        stamp(i);
        s->put(entry_of(s, i), sample, 100 + draw_below(3901));
    }
    size_t   peak  = resident() - before;
    uint64_t start = now_ns();
    for (uint32_t i = 0; i < values; i++) {
        if (draw_below(10) == 0) continue;
        s->free(entry_of(s, i));
        freed++;
    }
    uint64_t compact = now_ns();
    if (s->compact) moves = s->compact(SIZE_MAX);
    uint64_t trim = now_ns();
    s->trim();
    uint64_t end = now_ns();
    report_ns("store-shrink", s->name, end - start, freed);
    report("store-shrink", s->name, (double)(resident() - before) * 100 / (double)peak,
           "resident-%");
    report("store-shrink", s->name, (double)(end - trim) / 1e6, "trim-ms");
    if (moves == 0) return;
    report("store-shrink", s->name, (double)moves, "moves");
    report("store-shrink", s->name, (double)(trim - compact) / (double)moves, "ns/move");
}

/* ---- The table of what can be run ---- */

#define FOR_STORE(s)                                                      \
    static void s##_pair(void) { pair(&subject_##s); }                    \
    static void s##_gets(void) { get("store-get", &subject_##s, false); } \
    static void s##_finds(void) { get("store-find", &subject_##s, true); }
#define FOR_FILL(s)                                          \
    static void s##_fill(void) { timed_fill(&subject_##s); } \
    static void s##_latency(void) { fill_latency(&subject_##s); }

FOR_STORE(ashlar)
FOR_STORE(malloc)
FOR_STORE(classic)
FOR_FILL(ashlar)
FOR_FILL(malloc)
FOR_FILL(classic)
FOR_FILL(touch)
FOR_FILL(touch_huge)
static void floor_pair(void) { pair(&subject_floor); }
static void pointer_gets(void) { get("store-get", &subject_pointer, false); }
static void pointer_finds(void) { get("store-find", &subject_pointer, true); }
static void many_gets(void) { get_many("store-get", false); }
static void many_finds(void) { get_many("store-find", true); }
static void evict_cache(void) { cache(false); }
static void fifo_cache(void) { cache(true); }
static void ashlar_churn(void) { churn(&subject_ashlar, false); }
static void fit_churn(void) { churn(&subject_fit, true); }
static void malloc_churn(void) { churn(&subject_malloc, false); }
static void classic_churn(void) { churn(&subject_classic, false); }
static void ashlar_shrink_all(void) { shrink(&subject_ashlar); }
static void malloc_shrink_all(void) { shrink(&subject_malloc); }

enum { MI = 1024 * 1024, SHRINK = 512 * (MI / 2050) }; /* 2050: their size, on average */

static const struct run {
    const char           *workload;
    const struct subject *subject;
    void (*run)(void);
    uint64_t ops;
    uint32_t values;
} runs[] = {
#define FILL(workload, s, run)                            \
    {                                                     \
        workload, &subject_##s, s##_##run, 4 * MI, 4 * MI \
    }
#define FILLS(workload, run)                                                                \
    FILL(workload, ashlar, run), FILL(workload, malloc, run), FILL(workload, classic, run), \
        FILL(workload, touch, run), FILL(workload, touch_huge, run)
#define GETS(workload, run)                                          \
    {workload, &subject_ashlar, ashlar_##run, 8 * MI, 4 * MI},       \
        {workload, &subject_malloc, malloc_##run, 8 * MI, 4 * MI},   \
        {workload, &subject_classic, classic_##run, 8 * MI, 4 * MI}, \
    {                                                                \
        workload, &subject_pointer, pointer_##run, 8 * MI, 4 * MI    \
    }
    {"store-pair", &subject_ashlar, ashlar_pair, 32 * MI, 1},
    {"store-pair", &subject_malloc, malloc_pair, 32 * MI, 1},
    {"store-pair", &subject_classic, classic_pair, 32 * MI, 1},
    {"store-pair", &subject_floor, floor_pair, 32 * MI, 1},
    FILLS("store-fill", fill),
    FILLS("store-fill-latency", latency),
    GETS("store-get", gets),
    {"store-get", &subject_many, many_gets, 8 * MI, 4 * MI},
    GETS("store-find", finds),
    {"store-find", &subject_many, many_finds, 8 * MI, 4 * MI},
    {"store-cache", &subject_evict, evict_cache, 8 * MI, MI},
    {"store-cache", &subject_fifo, fifo_cache, 8 * MI, MI},
    {"store-churn", &subject_ashlar, ashlar_churn, 4 * MI, 4 * MI},
    {"store-churn", &subject_fit, fit_churn, 4 * MI, 4 * MI},
    {"store-churn", &subject_malloc, malloc_churn, 4 * MI, 4 * MI},
    {"store-churn", &subject_classic, classic_churn, 4 * MI, 4 * MI},
    {"store-shrink", &subject_ashlar, ashlar_shrink_all, 1, SHRINK},
    {"store-shrink", &subject_malloc, malloc_shrink_all, 1, SHRINK},
};
enum { RUN_COUNT = sizeof runs / sizeof *runs };

static const char usage[] = "usage: store_bench WORKLOAD SUBJECT [--ops N] [--values N]\n"
                            "       store_bench --list    prints every workload and subject\n"
                            "Fills and shrink do as many operations as there are values.\n";

static const struct run *find(char **argv)
{
    bool known = false;
    for (int i = 0; i < RUN_COUNT; i++) {
        if (strcmp(runs[i].workload, argv[1]) != 0) continue;
        known = true;
        if (strcmp(runs[i].subject->name, argv[2]) == 0) return &runs[i];
    }
    bench_not_found(argv, known);
}

int main(int argc, char **argv)
{
    bench_begin(argc, argv, "store_bench", usage);
    if (argc == 2) {
        for (int i = 0; i < RUN_COUNT; i++)
            printf("%s %s\n", runs[i].workload, runs[i].subject->name);
        return 0;
    }
    const struct run         *run       = find(argv);
    uint64_t                  count     = run->values;
    const struct bench_option options[] = {
        {"--ops", &ops, 1, UINT32_MAX, NULL},
        {"--values", &count, 1, 1 << 28, NULL},
        {NULL, NULL, 0, 0, NULL},
    };
    ops = run->ops;
    bench_options(argc, argv, options);
    values = (uint32_t)count;
    pin((size_t)sysconf(_SC_NPROCESSORS_ONLN) - 1);
    places = map_own(values * sizeof(struct by_pointer));
    memset(sample, 1, sizeof sample);
    run->run();
    return 0;
}
