/* slab_bench - one workload, one subject, a fixed amount of work; prints ns per operation.
 *
 *     slab_bench WORKLOAD SUBJECT [--ops N] [--threads N] [--pages N]
 *     slab_bench --list             every workload with each of its subjects
 *
 *   pair      one thread allocates a page of 64 KiB, writes 64 bytes and frees it; op: all of that
 *   across, across16    one thread allocates and fills pages, the others read them and give them
 *             back, one by one or 16 at a time; --threads: with the owner, 2 to 16; op: a page
 *   crowd     across with 5 threads, and each wait for a page is timed
 *   cycle     one thread allocates all pages, of 64 bytes, and then gives all of them back by the
 *             call for other threads; --pages: how many; op: a page
 *   drain256, drain4096, drain65536    a drain that finds nothing, with so many pages
 *   exchange, line    floors: an atomic exchange; a cache line to the other core and back
 *
 * bench/run.sh runs them all and makes the table. malloc stands for the malloc that is loaded: set
 * LD_PRELOAD for another. rte_mempool and rte_ring need WITH_DPDK, ck needs WITH_CK. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SLAB_API static inline /* inlined, for the best time */
#define SLAB_IMPLEMENTATION
#include "../slab.h"

#include "classic/classic_pool.h"
#include "options.h"

#ifdef WITH_DPDK
#include <rte_eal.h>
#include <rte_lcore.h>
#include <rte_mempool.h>
#include <rte_ring.h>
#endif
#ifdef WITH_CK
#include <ck_ring.h>
#endif

enum { PAGE = 64 * 1024, FILL = 64, CELLS = 512, BATCH = 16, THREADS_MAX = 16 };

static uint64_t ops;
static int      threads;
static uint32_t pages;
static size_t   page_size;

/* ---- Subjects: each hands out pages by a 64-bit name ---- */

struct subject {
    const char *name;
    void (*open)(void);
    void (*join)(void); /* each thread, before it begins */
    void *(*alloc)(uint64_t *name);
    const void *(*read)(uint64_t name);
    void (*free)(uint64_t name); /* by the thread that allocated */
    void (*give_back)(uint64_t name);
    void (*give_back_many)(const uint64_t *names, uint32_t count);
    size_t (*drain)(void);
};

static void nothing(void) {}

static slab_pool *ashlar;

static void ashlar_open(void)
{
    slab_pool_config config = {.page_size = page_size, .page_count = pages};
    if (slab_pool_create(&ashlar, &config) != 0) exit(1);
}
static inline slab_id ashlar_id(uint64_t name)
{
    slab_id id;
    memcpy(&id, &name, sizeof id);
    return id;
}
static inline void *ashlar_alloc(uint64_t *name)
{
    slab_id id;
    void   *payload = slab_pool_alloc(ashlar, FILL, &id);
    memcpy(name, &id, sizeof id);
    return payload;
}
static inline const void *ashlar_read(uint64_t name)
{
    size_t len;
    return slab_pool_read(ashlar, ashlar_id(name), &len);
}
static inline void ashlar_free(uint64_t name) { slab_pool_free(ashlar, ashlar_id(name)); }
static inline void ashlar_give_back(uint64_t name) { slab_pool_return(ashlar, ashlar_id(name)); }
static inline void ashlar_give_back_many(const uint64_t *names, uint32_t count)
{
    slab_id ids[BATCH];
    bool    wake;
    memcpy(ids, names, count * sizeof *ids);
    slab_pool_return_many(ashlar, ids, count, &wake);
}
static inline size_t ashlar_drain(void) { return slab_pool_drain(ashlar); }

static const struct subject subject_ashlar = {
    "ashlar",         ashlar_open,           nothing,      ashlar_alloc, ashlar_read, ashlar_free,
    ashlar_give_back, ashlar_give_back_many, ashlar_drain,
};

static struct classic_pool *classic;

static void         classic_open(void) { classic = classic_create(page_size, pages); }
static inline void *classic_alloc_named(uint64_t *name)
{
    uint32_t page    = 0;
    void    *payload = classic_alloc(classic, &page);
    *name            = page + UINT64_C(1); /* 0 is an empty cell */
    return payload;
}
static inline const void *classic_read(uint64_t name)
{
    return classic->pages + (name - 1) * classic->page_size;
}
static inline void classic_free_named(uint64_t name) { classic_free(classic, (uint32_t)name - 1); }
static inline void classic_give_back(uint64_t name) { classic_return(classic, (uint32_t)name - 1); }
static inline void classic_give_back_many(const uint64_t *names, uint32_t count)
{
    uint32_t list[BATCH];
    for (uint32_t i = 0; i < count; i++) list[i] = (uint32_t)names[i] - 1;
    classic_return_many(classic, list, count);
}
static inline size_t classic_drain_it(void) { return classic_drain(classic); }

static const struct subject subject_classic = {
    "classic",           classic_open,           nothing,
    classic_alloc_named, classic_read,           classic_free_named,
    classic_give_back,   classic_give_back_many, classic_drain_it,
};

static inline void *malloc_alloc(uint64_t *name)
{
    void *payload = malloc(page_size);
    *name         = (uint64_t)(uintptr_t)payload;
    return payload;
}
static inline const void *malloc_read(uint64_t name) { return (const void *)(uintptr_t)name; }
static inline void        malloc_free(uint64_t name) { free((void *)(uintptr_t)name); }
static inline void        malloc_free_many(const uint64_t *names, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) malloc_free(names[i]);
}

static const struct subject subject_malloc = {
    "malloc",    nothing,     nothing,          malloc_alloc, malloc_read,
    malloc_free, malloc_free, malloc_free_many, NULL,
};

#if defined WITH_CK || defined WITH_DPDK
/* A stack of pages for the owner; the others return them through a ring of a library. */
static void   **stack;
static uint32_t stack_top;

static inline void stack_open(void)
{
    unsigned char *memory = aligned_alloc(4096, page_size * pages);
    stack                 = calloc(pages, sizeof *stack);
    if (!memory || !stack) exit(1);
    while (stack_top < pages) {
        stack[stack_top] = memory + (pages - 1 - stack_top) * page_size;
        stack_top++;
    }
}
static inline void *stack_alloc(uint64_t *name)
{
    void *payload = stack[--stack_top];
    *name         = (uint64_t)(uintptr_t)payload;
    return payload;
}
static inline void stack_free(uint64_t name) { stack[stack_top++] = (void *)(uintptr_t)name; }
#endif

#ifdef WITH_CK
static ck_ring_t         ck_ring;
static ck_ring_buffer_t *ck_places;

static void ck_open(void)
{
    unsigned size = 2;
    while (size <= pages) size *= 2; /* one place stays empty */
    stack_open();
    ck_ring_init(&ck_ring, size);
    ck_places = calloc(size, sizeof *ck_places);
    if (!ck_places) exit(1);
}
static inline void *ck_alloc(uint64_t *name)
{
    void *page;
    if (stack_top == 0)
        while (ck_ring_dequeue_mpsc(&ck_ring, ck_places, &page)) stack[stack_top++] = page;
    return stack_top == 0 ? NULL : stack_alloc(name);
}
static inline void ck_give_back(uint64_t name)
{
    if (!ck_ring_enqueue_mpsc(&ck_ring, ck_places, (void *)(uintptr_t)name)) exit(1);
}
static inline void ck_give_back_many(const uint64_t *names, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) ck_give_back(names[i]);
}

static const struct subject subject_ck = {
    "ck",       ck_open,      nothing,           ck_alloc, malloc_read,
    stack_free, ck_give_back, ck_give_back_many, NULL,
};
#endif

#ifdef WITH_DPDK
static struct rte_mempool *mempool;

static void dpdk_start(void)
{
    char *argv[] = {"slab_bench",  "--no-huge",         "-m", "64", "--no-pci", "--no-telemetry",
                    "--no-shconf", "--log-level=error", "-l", "0",  NULL};
    if (rte_eal_init(10, argv) < 0) exit(1);
}
static void dpdk_open(void)
{
    dpdk_start();
    mempool = rte_mempool_create("pages", pages - 1, PAGE, 64, 0, NULL, NULL, NULL, NULL,
                                 SOCKET_ID_ANY, 0);
    if (!mempool) exit(1);
}
static void dpdk_join(void)
{
    if (rte_lcore_id() == LCORE_ID_ANY) rte_thread_register(); /* else it would have no cache */
}
static inline void *dpdk_alloc(uint64_t *name)
{
    void *payload = NULL;
    if (rte_mempool_get(mempool, &payload) != 0) return NULL;
    *name = (uint64_t)(uintptr_t)payload;
    return payload;
}
static inline void dpdk_free(uint64_t name) { rte_mempool_put(mempool, (void *)(uintptr_t)name); }
static inline void dpdk_free_many(const uint64_t *names, uint32_t count)
{
    void *list[BATCH];
    memcpy(list, names, count * sizeof *list);
    rte_mempool_put_bulk(mempool, list, count);
}

static const struct subject subject_dpdk = {
    "rte_mempool", dpdk_open, dpdk_join,      dpdk_alloc, malloc_read,
    dpdk_free,     dpdk_free, dpdk_free_many, NULL,
};

static struct rte_ring *dpdk_ring;

static void rte_ring_open(void)
{
    dpdk_start();
    stack_open();
    dpdk_ring =
        rte_ring_create("returns", rte_align32pow2(pages + 1), SOCKET_ID_ANY, RING_F_SC_DEQ);
    if (!dpdk_ring) exit(1);
}
static inline void *rte_ring_alloc(uint64_t *name)
{
    if (stack_top == 0) stack_top = rte_ring_sc_dequeue_burst(dpdk_ring, stack, pages, NULL);
    return stack_top == 0 ? NULL : stack_alloc(name);
}
static inline void rte_ring_give_back(uint64_t name)
{
    if (rte_ring_mp_enqueue(dpdk_ring, (void *)(uintptr_t)name) != 0) exit(1);
}
static inline void rte_ring_give_back_many(const uint64_t *names, uint32_t count)
{
    void *list[BATCH];
    memcpy(list, names, count * sizeof *list);
    if (rte_ring_mp_enqueue_bulk(dpdk_ring, list, count, NULL) != count) exit(1);
}

static const struct subject subject_rte_ring = {
    "rte_ring", rte_ring_open,      nothing,                 rte_ring_alloc, malloc_read,
    stack_free, rte_ring_give_back, rte_ring_give_back_many, NULL,
};
#endif

/* ---- Time ---- */

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void pin(int core)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core % (int)sysconf(_SC_NPROCESSORS_ONLN), &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set); /* refused: a noisier figure */
}

static void report(const char *workload, const char *subject, uint64_t ns)
{
    printf("%s %s %.2f ns/op\n", workload, subject, (double)ns / (double)ops);
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void report_percentiles(uint32_t *samples, size_t count)
{
    if (count == 0) return;
    qsort(samples, count, sizeof *samples, by_size);
    printf("  %zu samples, ns: 50 %% %u, 99 %% %u, 99.99 %% %u, max %u\n", count,
           samples[count / 2], samples[count - 1 - count / 100], samples[count - 1 - count / 10000],
           samples[count - 1]);
}

/* ---- Workloads: inlined for each subject, so that no call goes through a pointer ---- */

#define WORKLOAD static inline __attribute__((always_inline)) void

static inline void fill(uint64_t *payload, uint64_t value)
{
    for (int i = 0; i < FILL / 8; i++) payload[i] = value;
    __asm__ volatile("" ::: "memory"); /* the compiler must write it */
}

/* Alone: a page, 64 bytes into it, freed. */
WORKLOAD pair(const struct subject *s)
{
    uint64_t name, start = now_ns();
    for (uint64_t i = 0; i < ops; i++) {
        fill(s->alloc(&name), i);
        s->free(name);
    }
    report("pair", s->name, now_ns() - start);
}

/* One writer, one reader, no counter that both touch: a cell is 0 when empty. Writer and reader
 * meet in a line only when the queue is nearly empty or full. */
struct queue {
    _Alignas(64) _Atomic(uint64_t) cells[CELLS];
    _Alignas(64) uint64_t written; /* the writer's own */
    _Alignas(64) uint64_t taken;   /* the reader's own */
};

static struct across {
    _Alignas(64) struct queue queue;
    pthread_t thread;
    uint64_t  count; /* pages to come */
    uint64_t  sum;
    int       core;
} consumers[THREADS_MAX];

static inline void push(struct queue *queue, uint64_t name)
{
    _Atomic(uint64_t) *cell = &queue->cells[queue->written++ % CELLS];
    for (uint32_t spins = 0; atomic_load_explicit(cell, memory_order_acquire) != 0;)
        if (++spins % 1024 == 0) sched_yield();
    atomic_store_explicit(cell, name, memory_order_release);
}

static inline uint64_t take(struct queue *queue)
{
    _Atomic(uint64_t) *cell = &queue->cells[queue->taken++ % CELLS];
    uint64_t           name;
    for (uint32_t spins = 0; (name = atomic_load_explicit(cell, memory_order_acquire)) == 0;)
        if (++spins % 1024 == 0) sched_yield();
    atomic_store_explicit(cell, 0, memory_order_release);
    return name;
}

static inline uint64_t sum_of(const uint64_t *payload)
{
    uint64_t sum = 0;
    for (int i = 0; i < FILL / 8; i++) sum += payload[i];
    return sum;
}

WORKLOAD consume(const struct subject *s, struct across *self, uint32_t batch)
{
    uint64_t names[BATCH] = {0}, sum = 0;
    pin(self->core);
    s->join();
    for (uint64_t n = 0; n < self->count;) {
        uint32_t held = 0;
        for (; held < batch && n < self->count; n++, held++) {
            names[held] = take(&self->queue);
            sum += sum_of(s->read(names[held]));
        }
        if (batch == 1) s->give_back(names[0]);
        else s->give_back_many(names, held);
    }
    self->sum = sum;
}

/* The owner hands pages to its consumers alternately; out of pages it tries again. With more than
 * one consumer the waits are timed: how long a page is in coming when threads outnumber cores. */
WORKLOAD produce(const struct subject *s, uint32_t *waits, size_t *wait_count)
{
    uint64_t name;
    int      to = 0;
    for (uint64_t i = 0; i < ops; i++) {
        uint64_t *payload = s->alloc(&name);
        if (!payload) {
            uint64_t start = waits ? now_ns() : 0;
            for (uint32_t spins = 0; !(payload = s->alloc(&name));)
                if (++spins % 64 == 0) sched_yield();
            if (waits && *wait_count < ops) waits[(*wait_count)++] = (uint32_t)(now_ns() - start);
        }
        fill(payload, i);
        push(&consumers[to].queue, name);
        if (++to == threads - 1) to = 0;
    }
}

typedef void *thread_body(void *);

WORKLOAD across(const char *workload, const struct subject *s, thread_body *body, bool timed)
{
    uint32_t *waits      = timed ? malloc(ops * sizeof *waits) : NULL;
    size_t    wait_count = 0;
    uint64_t  others     = (uint64_t)threads - 1;
    if (timed) memset(waits, 0, ops * sizeof *waits); /* the page faults come now */
    for (int i = 0; i < threads - 1; i++) {
        consumers[i].core  = i + 1;
        consumers[i].count = ops / others + ((uint64_t)i < ops % others);
        pthread_create(&consumers[i].thread, NULL, body, &consumers[i]);
    }
    uint64_t start = now_ns();
    produce(s, waits, &wait_count);
    for (int i = 0; i < threads - 1; i++) pthread_join(consumers[i].thread, NULL);
    report(workload, s->name, now_ns() - start);
    if (timed) report_percentiles(waits, wait_count);
    free(waits);
}

/* All pages are out at once, and then all are returned. */
WORKLOAD cycle(const struct subject *s)
{
    uint64_t *names = malloc(pages * sizeof *names), done = 0;
    if (!names) exit(1);
    memset(names, 1, pages * sizeof *names); /* the page faults come now */
    uint64_t start = now_ns();
    while (done < ops) {
        uint64_t count = ops - done < pages ? ops - done : pages;
        for (uint64_t i = 0; i < count; i++) {
            uint64_t *payload = s->alloc(&names[i]);
            if (!payload) exit(1);
            fill(payload, i);
        }
        for (uint64_t i = 0; i < count; i++) s->give_back(names[i]);
        done += count;
    }
    report("cycle", s->name, now_ns() - start);
    free(names);
}

/* Nothing was returned: what a drain costs. */
WORKLOAD drain(const char *workload, const struct subject *s)
{
    uint64_t start = now_ns();
    for (uint64_t i = 0; i < ops; i++) {
        if (s->drain() != 0) exit(1);
        __asm__ volatile("" ::: "memory");
    }
    report(workload, s->name, now_ns() - start);
}

/* ---- Floors ---- */

static void exchange(void)
{
    static _Alignas(64) _Atomic(uint32_t) word;
    uint64_t                              start = now_ns();
    for (uint64_t i = 0; i < ops; i++)
        atomic_exchange_explicit(&word, (uint32_t)i, memory_order_seq_cst);
    report("exchange", "floor", now_ns() - start);
}

static _Alignas(64) _Atomic(uint64_t) ball;

static void *bounce(void *arg)
{
    pin(1);
    for (uint64_t i = 1; i <= ops; i++) {
        while (atomic_load_explicit(&ball, memory_order_acquire) != 2 * i - 1) {
        }
        atomic_store_explicit(&ball, 2 * i, memory_order_release);
    }
    return arg;
}

static void line(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, bounce, NULL);
    uint64_t start = now_ns();
    for (uint64_t i = 1; i <= ops; i++) {
        atomic_store_explicit(&ball, 2 * i - 1, memory_order_release);
        while (atomic_load_explicit(&ball, memory_order_acquire) != 2 * i) {
        }
    }
    pthread_join(thread, NULL);
    report("line", "floor", now_ns() - start);
}

/* ---- The table of what can be run ---- */

#define FOR_SUBJECT(s)                                                                     \
    static void *s##_one(void *self)                                                       \
    {                                                                                      \
        consume(&subject_##s, self, 1);                                                    \
        return NULL;                                                                       \
    }                                                                                      \
    static void *s##_batch(void *self)                                                     \
    {                                                                                      \
        consume(&subject_##s, self, BATCH);                                                \
        return NULL;                                                                       \
    }                                                                                      \
    static void s##_pair(void) { pair(&subject_##s); }                                     \
    static void s##_cycle(void) { cycle(&subject_##s); }                                   \
    static void s##_across(void) { across("across", &subject_##s, s##_one, false); }       \
    static void s##_across16(void) { across("across16", &subject_##s, s##_batch, false); } \
    static void s##_crowd(void) { across("crowd", &subject_##s, s##_one, true); }

FOR_SUBJECT(ashlar)
FOR_SUBJECT(classic)
FOR_SUBJECT(malloc)
#ifdef WITH_DPDK
FOR_SUBJECT(dpdk)
FOR_SUBJECT(rte_ring)
#endif
#ifdef WITH_CK
FOR_SUBJECT(ck)
#endif
static void ashlar_drain256(void) { drain("drain256", &subject_ashlar); }
static void ashlar_drain4096(void) { drain("drain4096", &subject_ashlar); }
static void ashlar_drain65536(void) { drain("drain65536", &subject_ashlar); }
static void classic_drain256(void) { drain("drain256", &subject_classic); }
static void classic_drain4096(void) { drain("drain4096", &subject_classic); }
static void classic_drain65536(void) { drain("drain65536", &subject_classic); }

static const struct subject subject_floor = {.name = "floor", .open = nothing, .join = nothing};

static const struct run {
    const char           *workload;
    const struct subject *subject;
    void (*run)(void);
    uint64_t ops;
    int      threads; /* 1: no other number */
    uint32_t pages;
    size_t   page_size;
} runs[] = {
    {"exchange", &subject_floor, exchange, 100000000, 1, 256, PAGE},
    {"line", &subject_floor, line, 4000000, 2, 256, PAGE},
#define ACROSS(s, pair_ops, across_ops)                                     \
    {"pair", &subject_##s, s##_pair, pair_ops, 1, 256, PAGE},               \
        {"across", &subject_##s, s##_across, across_ops, 2, 256, PAGE},     \
        {"across16", &subject_##s, s##_across16, across_ops, 2, 256, PAGE}, \
    {                                                                       \
        "crowd", &subject_##s, s##_crowd, across_ops / 4, 5, 256, PAGE      \
    }
#define CYCLE(s, ops)                                     \
    {                                                     \
        "cycle", &subject_##s, s##_cycle, ops, 1, 256, 64 \
    }
    ACROSS(ashlar, 200000000, 20000000),
    CYCLE(ashlar, 50000000),
    ACROSS(classic, 200000000, 20000000),
    CYCLE(classic, 50000000),
    ACROSS(malloc, 50000000, 1000000),
    CYCLE(malloc, 20000000),
#ifdef WITH_DPDK
    ACROSS(dpdk, 200000000, 20000000),
    ACROSS(rte_ring, 200000000, 20000000),
#endif
#ifdef WITH_CK
    ACROSS(ck, 200000000, 20000000),
    CYCLE(ck, 50000000),
#endif
    {"drain256", &subject_ashlar, ashlar_drain256, 200000000, 1, 256, PAGE},
    {"drain256", &subject_classic, classic_drain256, 200000000, 1, 256, PAGE},
    {"drain4096", &subject_ashlar, ashlar_drain4096, 100000000, 1, 4096, PAGE},
    {"drain4096", &subject_classic, classic_drain4096, 100000000, 1, 4096, PAGE},
    {"drain65536", &subject_ashlar, ashlar_drain65536, 50000000, 1, 65536, 64},
    {"drain65536", &subject_classic, classic_drain65536, 50000000, 1, 65536, 64},
};
enum { RUN_COUNT = sizeof runs / sizeof *runs };

static const char usage[] =
    "usage: slab_bench WORKLOAD SUBJECT [--ops N] [--threads N] [--pages N]\n"
    "       slab_bench --list    prints every workload and subject\n"
    "--threads is for across, across16 and crowd; --pages is for cycle.\n";

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

/* Only across has threads to choose, only cycle its pages. */
static void read_options(int argc, char **argv, const struct run *run)
{
    uint64_t                  given_ops = run->ops, given_threads = 0, given_pages = 0;
    const struct bench_option options[] = {
        {"--ops", &given_ops, 1, UINT32_MAX, NULL},
        {"--threads", &given_threads, 2, THREADS_MAX, NULL},
        {"--pages", &given_pages, 1, 65536, NULL},
        {NULL, NULL, 0, 0, NULL},
    };
    bench_options(argc, argv, options);
    if (given_threads && (run->threads == 1 || strcmp(run->workload, "line") == 0))
        bench_refuse("%s has no option --threads", run->workload);
    if (given_pages && strcmp(run->workload, "cycle") != 0)
        bench_refuse("%s has no option --pages", run->workload);
    ops       = given_ops;
    threads   = given_threads ? (int)given_threads : run->threads;
    pages     = given_pages ? (uint32_t)given_pages : run->pages;
    page_size = run->page_size;
}

int main(int argc, char **argv)
{
    bench_begin(argc, argv, "slab_bench", usage);
    if (argc == 2) {
        for (int i = 0; i < RUN_COUNT; i++)
            printf("%s %s\n", runs[i].workload, runs[i].subject->name);
        return 0;
    }
    const struct run *run = find(argv);
    read_options(argc, argv, run);
    pin(0);
    run->subject->open();
    run->subject->join();
    run->run();
    return 0;
}
