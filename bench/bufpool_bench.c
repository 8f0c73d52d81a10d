/* bufpool_bench - one workload, one subject, a fixed amount of work; measures what a bufpool
 * costs beside the least it could cost, and beside others that hand out buffers.
 *
 *     bufpool_bench WORKLOAD SUBJECT [--ops N] [--threads N] [--tenants N]
 *     bufpool_bench --list          every workload with each of its subjects
 *
 * Each run prints one figure a line: workload, subject, number, what it is; first the ns/op, which
 * is wall time over the operations of all threads together unless it is called a median. A
 * subject that could not do it prints FAILED and why, no figure, and the program returns 1.
 * bench/run.sh runs them all and makes the tables. malloc stands for the malloc that is loaded: set
 * LD_PRELOAD for another.
 *
 * Buffers are of 4 KiB unless it says otherwise, and each operation writes the first 8 bytes, for
 * every subject alike; no subject knows a size or a tenant when it is compiled. A sixteenth of the
 * work is done before the clock starts, so that the buffers' pages are there. Each thread stays on
 * one core; cores are dealt alternately. One more thread sleeps, since a mutex or a malloc may do
 * without locked instructions in a process with one thread. At the end nothing may be live.
 *
 *   exchange  an atomic exchange on a line of its own: less is not possible with a shared write
 *   pair1, pair2, pair4    1, 2, 4 threads; op: a buffer acquired and released
 *   tenant1   pair1, and the buffers are on a tenant's bill
 *   tenant2   2 threads, each with a tenant
 *   same2     2 threads with one tenant
 *   limit1    tenant1, and the tenant is always above its soft limit
 *   mix1, mix2   1, 2 threads with 32 buffers each: one at random is released and another acquired;
 *             90 of 100 small, 9 medium, 1 large, of any size within the class; op: both
 *   cut1, cut2   1, 2 threads cut a view of one buffer, read its first 8 bytes and drop it; op: all
 *   handover  one thread acquires a buffer, writes 8 bytes and hands it over through a small queue;
 *             another reads and releases it; op: a buffer
 *   stats10k, metrics10k   a snapshot, and the text, while 10,000 tenants have a buffer each and a
 *             thread acquires and releases another all the time; op: one, a median. stall-ns: the
 *             longest that this thread's pair took, with a look at the clock, in the millisecond
 *             that begins with one, or until it ends; a median, too. longest-ns: the longest of
 *             all, in which it may have lost its core. The floor's are this machine's
 *   lookup100, lookup10k, lookup1M   a tenant found by name among so many, at random; op: one, with
 *             the making of its name. make-ns: to make one of them. Of a million: bytes, resident,
 *             for each
 *
 * --threads: of pair, tenant, same, mix and cut, 1 to 8; --tenants: of lookup, 1 to 1048576. The
 * workload does then not do what its name says.
 * --ops: how many of those. Of snapshots it counts the tenants: 10,000 of them are one. There are
 * no more tenants than operations.
 *
 * Subjects:
 *   ashlar    bufpool.h, the calls for any thread
 *   cached    bufpool.h, a cache for each thread
 *   floor     of a pair: two compare-exchanges on a line that only this thread uses; with a tenant:
 *             two atomic additions to its word; of a cut: two compare-exchanges on the buffer's
 *             line. metrics10k: a memcpy of such a text. lookup: a line read among so many
 *   classic   classic/classic_buffers.h: a mutex, and tenants by name under another
 *   malloc    with a tenant: an atomic addition to its word before and after
 *   avbufferpool    FFmpeg's AVBufferPool; a cut: av_buffer_ref. It knows no tenants
 *
 * FFmpeg's is there when compiled with WITH_FFMPEG. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define BUFPOOL_API static inline /* inlined, for the best time */
#define BUFPOOL_IMPLEMENTATION
#include "../bufpool.h"

#include "classic/classic_buffers.h"
#include "options.h"

#ifdef WITH_FFMPEG
#include <libavutil/buffer.h>
#endif

enum {
    SIZE         = 4096,
    OUT          = 32, /* of mix */
    QUEUE        = 32,
    THREADS_MAX  = 8,
    NAME_LEN     = 15,
    LINE         = 64,
    LOOK_NS      = 1000000,
    SECOND_IN_NS = 1000000000
};

static size_t      ops;
static int         cores;
static const char *workload;
static const char *subject;

/* ---- Time, threads, what is printed ---- */

static inline uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND_IN_NS + (uint64_t)t.tv_nsec;
}

static void pin(int core)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)(core % cores), &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set); /* refused: a noisier figure */
}

static void *sleep_on(void *arg)
{
    pause();
    return arg;
}

static void report(double figure, const char *what)
{
    int digits = figure == (double)(uint64_t)figure ? 0 : 2;
    printf("%s %s %.*f %s\n", workload, subject, digits, figure, what);
}

static void report_ns(uint64_t ns) { report((double)ns / (double)ops, "ns/op"); }

static _Noreturn void fail_text(const char *what, const char *why)
{
    printf("%s %s FAILED %s:", workload, subject, what);
    for (; *why; why++) putchar(*why == ' ' ? '-' : *why);
    putchar('\n');
    exit(1);
}
static _Noreturn void fail(const char *what, int error)
{
    fail_text(what, strerror(error < 0 ? -error : error));
}
static inline void need(bool done, const char *what)
{
    if (!done) fail(what, errno);
}

static int by_time(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t median(uint64_t *samples, size_t count)
{
    qsort(samples, count, sizeof *samples, by_time);
    return samples[count / 2];
}

/* Its pages are there. */
static void *map(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(memory != MAP_FAILED, "mmap");
    memset(memory, 1, size);
    return memory;
}

static uint64_t resident(void)
{
    unsigned long long size, pages;
    FILE              *statm = fopen("/proc/self/statm", "r");
    need(statm != NULL, "/proc/self/statm");
    if (fscanf(statm, "%llu %llu", &size, &pages) != 2) fail("/proc/self/statm", EIO);
    fclose(statm);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* The compiler knows nothing about the value, nor whether somebody saw what it points to. */
static inline uintptr_t seen(uintptr_t value)
{
    __asm__ volatile("" : "+r"(value) : : "memory");
    return value;
}

static inline uint64_t draw(uint64_t *chance)
{
    *chance ^= *chance << 13;
    *chance ^= *chance >> 7;
    *chance ^= *chance << 17;
    return *chance;
}

/* One of so many. */
static inline uint32_t below(uint64_t drawn, uint32_t count)
{
    return (uint32_t)((drawn >> 32) * count >> 32);
}

/* A letter for each four bits, and a zero behind them. */
static inline void name_of(uint32_t number, char *name)
{
    uint64_t letters = number;
    letters          = (letters << 16 | letters) & 0x0000ffff0000ffff;
    letters          = (letters << 8 | letters) & 0x00ff00ff00ff00ff;
    letters          = (letters << 4 | letters) & 0x0f0f0f0f0f0f0f0f;
    letters += 0x6161616161616161; /* from a on */
    memcpy(name, "tenant-", 7);
    memcpy(name + 7, &letters, sizeof letters);
    name[NAME_LEN] = 0;
}
static inline uint32_t number_of(const char *name)
{
    uint64_t letters;
    memcpy(&letters, name + 7, sizeof letters);
    letters -= 0x6161616161616161;
    letters = (letters >> 4 | letters) & 0x00ff00ff00ff00ff;
    letters = (letters >> 8 | letters) & 0x0000ffff0000ffff;
    return (uint32_t)(letters >> 16 | letters);
}

/* ---- Subjects ---- */

struct subject {
    const char *name;
    void (*open)(void);
    void *(*tenant)(const char *name); /* the same name twice: the same tenant */
    void (*limit)(void *tenant);       /* always above it; NULL: it knows no limits */
    void *(*join)(void);               /* each thread, before it begins: what it has for itself */
    void (*leave)(void *self);         /* it was its last call */
    void *(*acquire)(void *self, size_t size, void *tenant);
    void *(*data)(void *buffer);
    void (*release)(void *self, void *buffer, size_t size, void *tenant);
    bool (*cut)(void *buffer, const bufpool_view *from, bufpool_view *view);
    bool (*drop)(bufpool_view *view);
    void (*stats)(void);
    size_t (*metrics)(char *text, size_t capacity);
    void (*close)(void);
};

static void  nothing(void) {}
static void *join_nothing(void) { return NULL; }
static void  leave_nothing(void *self) { (void)self; }

/* Ashlar */

static bufpool *pool;

static void ashlar_open(void)
{
    int error = bufpool_create(&pool, NULL);
    if (error) fail("create", error);
}
static inline void *ashlar_tenant(const char *name)
{
    return bufpool_tenant_get(pool, name, NAME_LEN);
}
static bufpool_tenant *limited;
static void            ashlar_limit(void *tenant)
{
    limited = tenant;
    bufpool_tenant_limit(limited, 1);
}
static inline void *ashlar_acquire(void *self, size_t size, void *tenant)
{
    (void)self;
    return bufpool_acquire(pool, size, tenant);
}
static inline void *ashlar_data(void *buffer) { return bufpool_data(buffer); }
static inline void  ashlar_release(void *self, void *buffer, size_t size, void *tenant)
{
    (void)self;
    (void)size;
    (void)tenant;
    bufpool_release(buffer);
}
static inline bool ashlar_cut(void *buffer, const bufpool_view *from, bufpool_view *view)
{
    (void)buffer;
    return bufpool_view_cut(from, 0, SIZE / 2, view) == 0;
}
static inline bool ashlar_drop(bufpool_view *view) { return bufpool_view_drop(view) >= 0; }
static void        ashlar_stats(void)
{
    struct bufpool_info info;
    bufpool_stats(pool, &info);
    if (info.live_bytes < info.tenants * SIZE) fail_text("stats", "too few bytes are live");
}
static size_t ashlar_metrics(char *text, size_t capacity)
{
    return bufpool_metrics(pool, text, capacity);
}
static void ashlar_close(void)
{
    struct bufpool_info info;
    bufpool_stats(pool, &info);
    if (info.underflows != 0) fail_text("close", "underflows");
    if (info.live_bytes != 0 || info.live_buffers != 0) fail_text("close", "something is live");
    if (limited) {
        struct bufpool_tenant_info tenant;
        bufpool_tenant_stats(limited, &tenant);
        if (tenant.soft_limit_exceeded < ops)
            fail_text("close", "not all above the limit are told");
    }
    if (bufpool_destroy(pool) != 0) fail_text("destroy", "a buffer is held");
}

static const struct subject subject_ashlar = {
    .name    = "ashlar",
    .open    = ashlar_open,
    .tenant  = ashlar_tenant,
    .limit   = ashlar_limit,
    .join    = join_nothing,
    .leave   = leave_nothing,
    .acquire = ashlar_acquire,
    .data    = ashlar_data,
    .release = ashlar_release,
    .cut     = ashlar_cut,
    .drop    = ashlar_drop,
    .stats   = ashlar_stats,
    .metrics = ashlar_metrics,
    .close   = ashlar_close,
};

static void *cached_join(void)
{
    bufpool_cache *cache = bufpool_cache_open(pool);
    if (!cache) fail("cache_open", ENOMEM);
    return cache;
}
static void         cached_leave(void *self) { bufpool_cache_close(self); }
static inline void *cached_acquire(void *self, size_t size, void *tenant)
{
    return bufpool_cache_acquire(self, size, tenant);
}
static inline void cached_release(void *self, void *buffer, size_t size, void *tenant)
{
    (void)size;
    (void)tenant;
    bufpool_cache_release(self, buffer);
}

static const struct subject subject_cached = {
    .name    = "cached",
    .open    = ashlar_open,
    .tenant  = ashlar_tenant,
    .limit   = ashlar_limit,
    .join    = cached_join,
    .leave   = cached_leave,
    .acquire = cached_acquire,
    .data    = ashlar_data,
    .release = cached_release,
    .stats   = ashlar_stats,
    .metrics = ashlar_metrics,
    .close   = ashlar_close,
};

/* The floor. A buffer and a tenant are a line: a word to exchange, and a word to write to. */

struct floor_line {
    _Alignas(LINE) _Atomic(uint64_t) word;
    uint64_t data;
};

/* The word is guessed: to load what a locked instruction has just written takes as long again. */
static inline void floor_exchange(struct floor_line *line, uint64_t word, uint64_t add)
{
    while (!atomic_compare_exchange_weak_explicit(&line->word, &word, word + add,
                                                  memory_order_acq_rel, memory_order_relaxed)) {
    }
}
static void *floor_join(void)
{
    struct floor_line *line = aligned_alloc(LINE, sizeof *line);
    need(line != NULL, "malloc");
    memset(line, 0, sizeof *line);
    return line;
}
static void *floor_tenant(const char *name)
{
    static struct floor_line lines[THREADS_MAX];
    return &lines[number_of(name) % THREADS_MAX];
}
static inline void *floor_acquire(void *self, size_t size, void *tenant)
{
    struct floor_line *line = tenant;
    if (line) atomic_fetch_add_explicit(&line->word, size, memory_order_relaxed);
    else floor_exchange(self, 0, 1);
    return self;
}
static inline void *floor_data(void *buffer) { return &((struct floor_line *)buffer)->data; }
static inline void  floor_release(void *self, void *buffer, size_t size, void *tenant)
{
    struct floor_line *line = tenant;
    (void)buffer;
    if (line) atomic_fetch_sub_explicit(&line->word, size, memory_order_relaxed);
    else floor_exchange(self, 1, UINT64_MAX);
}
static inline bool floor_cut(void *buffer, const bufpool_view *from, bufpool_view *view)
{
    (void)from;
    floor_exchange(buffer, 1, 1);
    *view = (bufpool_view){floor_data(buffer), SIZE / 2, buffer};
    return true;
}
static inline bool floor_drop(bufpool_view *view)
{
    floor_exchange((struct floor_line *)(void *)view->buf, 2, UINT64_MAX);
    return true;
}
/* About as long as ours. */
static size_t floor_metrics(char *text, size_t capacity)
{
    enum { TEXT = 20000 * 60 };
    static char *written;
    if (!written) written = map(TEXT);
    if (TEXT <= capacity) memcpy(text, written, TEXT);
    return TEXT;
}

static const struct subject subject_floor = {
    .name    = "floor",
    .open    = nothing,
    .tenant  = floor_tenant,
    .join    = floor_join,
    .leave   = free,
    .acquire = floor_acquire,
    .data    = floor_data,
    .release = floor_release,
    .cut     = floor_cut,
    .drop    = floor_drop,
    .metrics = floor_metrics,
    .close   = nothing,
};

/* The common design: a tenant is its name. */

static struct classic_buffers *classic;

static void  classic_open(void) { classic = classic_create(); }
static void *classic_tenant(const char *name) { return classic_look_up(classic, name)->name; }
static inline void *classic_acquire_one(void *self, size_t size, void *tenant)
{
    (void)self;
    return classic_acquire(classic, size, tenant);
}
static inline void *classic_data(void *buffer) { return ((struct classic_buffer *)buffer)->data; }
static inline void  classic_release_one(void *self, void *buffer, size_t size, void *tenant)
{
    (void)self;
    (void)size;
    (void)tenant;
    classic_release(classic, buffer);
}
static inline bool classic_cut(void *buffer, const bufpool_view *from, bufpool_view *view)
{
    (void)from;
    classic_retain(buffer);
    *view = (bufpool_view){classic_data(buffer), SIZE / 2, buffer};
    return true;
}
static inline bool classic_drop(bufpool_view *view)
{
    classic_release(classic, (struct classic_buffer *)(void *)view->buf);
    return true;
}
static void classic_look(void)
{
    struct classic_sums sums = classic_stats(classic);
    if (sums.live_bytes < SIZE) fail_text("stats", "too few bytes are live");
}
static size_t classic_text(char *text, size_t capacity)
{
    return classic_metrics(classic, text, capacity);
}
static void classic_close(void)
{
    if (classic_stats(classic).live_bytes != 0) fail_text("close", "something is live");
}

static const struct subject subject_classic = {
    .name    = "classic",
    .open    = classic_open,
    .tenant  = classic_tenant,
    .join    = join_nothing,
    .leave   = leave_nothing,
    .acquire = classic_acquire_one,
    .data    = classic_data,
    .release = classic_release_one,
    .cut     = classic_cut,
    .drop    = classic_drop,
    .stats   = classic_look,
    .metrics = classic_text,
    .close   = classic_close,
};

/* malloc: a tenant is its entry in a table by hand. */

static inline void *malloc_acquire(void *self, size_t size, void *tenant)
{
    (void)self;
    struct floor_line *line = tenant;
    if (line) atomic_fetch_add_explicit(&line->word, size, memory_order_relaxed);
    return malloc(size);
}
static inline void *malloc_data(void *buffer) { return buffer; }
static inline void  malloc_release(void *self, void *buffer, size_t size, void *tenant)
{
    (void)self;
    struct floor_line *line = tenant;
    free(buffer);
    if (line) atomic_fetch_sub_explicit(&line->word, size, memory_order_relaxed);
}

static const struct subject subject_malloc = {
    .name    = "malloc",
    .open    = nothing,
    .tenant  = floor_tenant,
    .join    = join_nothing,
    .leave   = leave_nothing,
    .acquire = malloc_acquire,
    .data    = malloc_data,
    .release = malloc_release,
    .close   = nothing,
};

#ifdef WITH_FFMPEG
static AVBufferPool *avpools[BUFPOOL_CLASSES];

static void avbuffer_open(void)
{
    for (int c = 0; c < BUFPOOL_CLASSES; c++) {
        avpools[c] = av_buffer_pool_init(bufpool_class_capacity((bufpool_class)c), NULL);
        need(avpools[c] != NULL, "av_buffer_pool_init");
    }
}
static inline void *avbuffer_acquire(void *self, size_t size, void *tenant)
{
    (void)self;
    (void)tenant;
    return av_buffer_pool_get(avpools[bufpool_class_for(size)]);
}
static inline void *avbuffer_data(void *buffer) { return ((AVBufferRef *)buffer)->data; }
static inline void  avbuffer_release(void *self, void *buffer, size_t size, void *tenant)
{
    (void)self;
    (void)size;
    (void)tenant;
    AVBufferRef *ref = buffer;
    av_buffer_unref(&ref);
}
static inline bool avbuffer_cut(void *buffer, const bufpool_view *from, bufpool_view *view)
{
    (void)from;
    AVBufferRef *ref = av_buffer_ref(buffer);
    if (!ref) return false;
    *view = (bufpool_view){ref->data, SIZE / 2, (void *)ref};
    return true;
}
static inline bool avbuffer_drop(bufpool_view *view)
{
    AVBufferRef *ref = (void *)view->buf;
    av_buffer_unref(&ref);
    return true;
}

static const struct subject subject_avbuffer = {
    .name    = "avbufferpool",
    .open    = avbuffer_open,
    .join    = join_nothing,
    .leave   = leave_nothing,
    .acquire = avbuffer_acquire,
    .data    = avbuffer_data,
    .release = avbuffer_release,
    .cut     = avbuffer_cut,
    .drop    = avbuffer_drop,
    .close   = nothing,
};
#endif

/* ---- Workloads of threads: inlined for each subject, so that no call goes through a pointer ----
 */

#define WORKLOAD static inline __attribute__((always_inline)) void

static struct worker {
    _Alignas(LINE) void *self; /* what the subject has for this thread */
    void    *tenant;           /* NULL: none */
    void    *buffer;           /* cut: which all have */
    size_t   size;
    uint64_t count; /* operations to do */
    void (*body)(struct worker *);
    pthread_t thread;
} workers[THREADS_MAX];

static inline void touch(const struct subject *s, void *buffer, uint64_t value)
{
    if (!buffer) fail("acquire", ENOMEM);
    *(uint64_t *)s->data(buffer) = value;
}

WORKLOAD pair(const struct subject *s, struct worker *worker)
{
    void  *self = worker->self, *tenant = worker->tenant;
    size_t size = worker->size;
    for (uint64_t i = 0; i < worker->count; i++) {
        void *buffer = s->acquire(self, size, tenant);
        touch(s, buffer, i);
        s->release(self, (void *)seen((uintptr_t)buffer), size, tenant);
    }
}

/* 90 of 100 small, 9 medium, 1 large. */
static inline size_t draw_size(uint64_t *chance)
{
    uint32_t percent = below(draw(chance), 100);
    if (percent < 90) return 1 + below(draw(chance), 4096);
    if (percent < 99) return 4097 + below(draw(chance), 65536 - 4096);
    return 65537 + below(draw(chance), (1 << 20) - 65536);
}

WORKLOAD mix(const struct subject *s, struct worker *worker)
{
    void    *buffers[OUT], *self = worker->self, *tenant = worker->tenant;
    size_t   sizes[OUT];
    uint64_t chance = (uint64_t)(worker - workers) + 1;
    for (int i = 0; i < OUT; i++) {
        sizes[i]   = draw_size(&chance);
        buffers[i] = s->acquire(self, sizes[i], tenant);
        touch(s, buffers[i], 0);
    }
    for (uint64_t i = 0; i < worker->count; i++) {
        uint32_t at = below(draw(&chance), OUT);
        s->release(self, buffers[at], sizes[at], tenant);
        sizes[at]   = draw_size(&chance);
        buffers[at] = s->acquire(self, sizes[at], tenant);
        touch(s, buffers[at], i);
    }
    for (int i = 0; i < OUT; i++) s->release(self, buffers[i], sizes[i], tenant);
}

WORKLOAD cut(const struct subject *s, struct worker *worker)
{
    bufpool_view whole = {s->data(worker->buffer), worker->size, worker->buffer}, view;
    uint64_t     wrong = 0, word;
    for (uint64_t i = 0; i < worker->count; i++) {
        if (!s->cut(worker->buffer, &whole, &view)) fail("cut", EINVAL);
        seen((uintptr_t)&view);
        memcpy(&word, view.data, sizeof word);
        wrong |= word ^ SIZE;
        if (!s->drop(&view)) fail("drop", ESTALE);
    }
    if (wrong) fail_text("cut", "another's bytes");
}

/* One writer, one reader, no counter that both touch: a cell is 0 when empty. */
static struct {
    _Alignas(LINE) _Atomic(uintptr_t) cells[QUEUE];
    _Alignas(LINE) uint64_t written; /* the writer's own */
    _Alignas(LINE) uint64_t taken;   /* the reader's own */
} queue;

static inline void push(void *buffer)
{
    _Atomic(uintptr_t) *cell = &queue.cells[queue.written++ % QUEUE];
    for (uint32_t spins = 0; atomic_load_explicit(cell, memory_order_acquire) != 0;)
        if (++spins % 1024 == 0) sched_yield();
    atomic_store_explicit(cell, (uintptr_t)buffer, memory_order_release);
}

static inline void *take(void)
{
    _Atomic(uintptr_t) *cell = &queue.cells[queue.taken++ % QUEUE];
    uintptr_t           buffer;
    for (uint32_t spins = 0; (buffer = atomic_load_explicit(cell, memory_order_acquire)) == 0;)
        if (++spins % 1024 == 0) sched_yield();
    atomic_store_explicit(cell, 0, memory_order_release);
    return (void *)buffer;
}

WORKLOAD produce(const struct subject *s, struct worker *worker)
{
    for (uint64_t i = 0; i < worker->count; i++) {
        void *buffer = s->acquire(worker->self, worker->size, worker->tenant);
        touch(s, buffer, i);
        push(buffer);
    }
}

WORKLOAD consume(const struct subject *s, struct worker *worker)
{
    for (uint64_t i = 0; i < worker->count; i++) {
        void *buffer = take();
        if (*(uint64_t *)s->data(buffer) != i) fail_text("handover", "another's bytes");
        s->release(worker->self, buffer, worker->size, worker->tenant);
    }
}

/* ---- Threads: all begin together ---- */

struct run {
    const char           *workload;
    const struct subject *subject;
    void (*body)(struct worker *);  /* of each thread; NULL: alone is all there is */
    void (*other)(struct worker *); /* of all but the first, if not the same */
    void (*alone)(const struct subject *s, uint32_t tenants);
    size_t   ops;
    uint32_t threads;
    uint32_t tenants; /* dealt to the threads alternately */
};

static const struct run *run;
static _Atomic(uint32_t) arrived;
static _Atomic(bool)     opened;

/* Warm, and at the line. */
static void begin(struct worker *worker)
{
    uint64_t count = worker->count;
    pin((int)(worker - workers));
    worker->self  = run->subject->join();
    worker->count = count / 16 + 1;
    worker->body(worker);
    worker->count = count;
    atomic_fetch_add_explicit(&arrived, 1, memory_order_release);
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    begin(worker);
    while (!atomic_load_explicit(&opened, memory_order_acquire)) sched_yield();
    worker->body(worker);
    run->subject->leave(worker->self);
    return NULL;
}

static void *make_tenant(const struct subject *s, uint32_t number)
{
    char name[NAME_LEN + 1];
    name_of(number, name);
    void *tenant = s->tenant(name);
    need(tenant != NULL, "tenant");
    return tenant;
}

static void run_threads(void)
{
    const struct subject *s     = run->subject;
    size_t                share = run->other ? ops : ops / run->threads;
    s->open();
    void *self = NULL, *buffer = NULL;
    if (s->cut) {
        self   = s->join();
        buffer = s->acquire(self, SIZE, NULL);
        touch(s, buffer, SIZE);
    }
    for (uint32_t i = run->threads; i-- > 0;) {
        void *tenant = run->tenants ? make_tenant(s, i % run->tenants) : NULL;
        if (tenant && strcmp(workload, "limit1") == 0) s->limit(tenant);
        workers[i] = (struct worker){.tenant = tenant,
                                     .buffer = buffer,
                                     .size   = seen(SIZE),
                                     .count  = share,
                                     .body   = i > 0 && run->other ? run->other : run->body};
        if (i > 0) pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    }
    begin(&workers[0]);
    while (atomic_load_explicit(&arrived, memory_order_acquire) < run->threads) sched_yield();
    uint64_t start = now_ns();
    atomic_store_explicit(&opened, true, memory_order_release);
    workers[0].body(&workers[0]);
    for (uint32_t i = 1; i < run->threads; i++) pthread_join(workers[i].thread, NULL);
    uint64_t end = now_ns();
    s->leave(workers[0].self);
    if (s->cut) {
        s->release(self, buffer, SIZE, NULL);
        s->leave(self);
    }
    s->close();
    ops = run->other ? share : share * run->threads;
    report_ns(end - start);
}

static void exchange(const struct subject *s, uint32_t tenants)
{
    (void)tenants;
    struct floor_line *line  = s->join();
    uint64_t           start = now_ns();
    for (uint64_t i = 0; i < ops; i++)
        atomic_exchange_explicit(&line->word, i, memory_order_seq_cst);
    report_ns(now_ns() - start);
    s->leave(line);
}

/* ---- stats, metrics: one looks, another goes on ---- */

/* Odd while a look is under way, and 2 more for each; END: no more. */
static _Alignas(LINE) _Atomic(uint32_t) look;
enum { END = INT32_MAX };
static _Alignas(LINE) _Atomic(uint64_t) pairs; /* the bystander's */

struct bystander {
    const struct subject *subject;
    void                 *tenant;
    uint64_t             *longest; /* of each look from 1 on; 0: in between */
};

static void *stand_by(void *arg)
{
    const struct bystander *by = arg;
    const struct subject   *s  = by->subject;
    pin(1);
    void    *self  = s->join();
    uint32_t after = 0;
    for (uint64_t i = 0, now = now_ns(), last; after != END; i++) {
        uint32_t before = atomic_load_explicit(&look, memory_order_acquire);
        last            = now;
        void *buffer    = s->acquire(self, SIZE, by->tenant);
        touch(s, buffer, i);
        s->release(self, buffer, SIZE, by->tenant);
        now   = now_ns();
        after = atomic_load_explicit(&look, memory_order_acquire);
        atomic_store_explicit(&pairs, i + 1, memory_order_release);
        if (i == 0 || after == END) continue;
        uint64_t *longest = &by->longest[before == after && before % 2 == 0 ? 0 : (after + 1) / 2];
        if (now - last > *longest) *longest = now - last;
    }
    s->leave(self);
    return NULL;
}

static void let_pass(uint64_t count)
{
    uint64_t before = atomic_load_explicit(&pairs, memory_order_relaxed);
    while (atomic_load_explicit(&pairs, memory_order_acquire) - before < count) sched_yield();
}

/* How long each look took; the text may grow while it is made. */
static void take_looks(const struct subject *s, bool text, uint64_t *samples, size_t count)
{
    size_t len      = text ? s->metrics(NULL, 0) : 0;
    size_t capacity = len + len / 16 + 4096;
    char  *memory   = map(capacity);
    for (size_t i = 0; i < count; i++) {
        let_pass(100);
        atomic_fetch_add_explicit(&look, 1, memory_order_seq_cst);
        uint64_t start = now_ns();
        if (!text) s->stats();
        else if (s->metrics(memory, capacity) >= capacity) fail("metrics", ENOSPC);
        samples[i] = now_ns() - start;
        while (now_ns() - start < LOOK_NS) continue; /* the same machine's noise for all */
        atomic_fetch_add_explicit(&look, 1, memory_order_seq_cst);
    }
    atomic_store_explicit(&look, END, memory_order_release);
}

static void snapshots(const struct subject *s, uint32_t tenants, bool text)
{
    size_t count = ops / tenants;
    if (count == 0) count = 1;
    void    **bills = map(tenants * sizeof *bills), **buffers = map(tenants * sizeof *buffers);
    uint64_t *samples = map((count + 2) * sizeof *samples);
    uint64_t *longest =
        memset(map((count + 2) * sizeof *longest), 0, (count + 2) * sizeof *longest);
    s->open();
    void *self = s->join();
    for (uint32_t i = 0; i < tenants; i++) {
        bills[i]   = make_tenant(s, i);
        buffers[i] = s->acquire(self, SIZE, bills[i]);
        touch(s, buffers[i], i);
    }
    struct bystander by = {s, bills[tenants / 2], longest};
    pthread_t        thread;
    pthread_create(&thread, NULL, stand_by, &by);
    take_looks(s, text, samples, count);
    pthread_join(thread, NULL);
    for (uint32_t i = 0; i < tenants; i++) s->release(self, buffers[i], SIZE, bills[i]);
    s->leave(self);
    s->close();
    report((double)median(samples, count), "ns/op");
    report((double)median(longest + 1, count), "stall-ns"); /* sorted, but for the one in between */
    report((double)longest[count], "longest-ns");
}
static void stats(const struct subject *s, uint32_t tenants) { snapshots(s, tenants, false); }
static void metrics(const struct subject *s, uint32_t tenants) { snapshots(s, tenants, true); }

/* ---- lookup ---- */

static inline void *find_line(const char *name)
{
    static struct floor_line *lines;
    uint32_t                  number = number_of(name);
    if (!lines) lines = map(run->tenants * sizeof *lines);
    return atomic_load_explicit(&lines[number].word, memory_order_relaxed) ? &lines[number] : NULL;
}

static const struct subject subject_line = {
    .name = "floor", .open = nothing, .tenant = find_line, .close = nothing};

WORKLOAD lookup(const struct subject *s, uint32_t tenants)
{
    char     name[NAME_LEN + 1];
    void   **made   = map(tenants * sizeof *made);
    uint64_t chance = 1, found = 0;
    s->open();
    uint64_t memory = resident(), start = now_ns();
    for (uint32_t i = 0; i < tenants; i++) made[i] = make_tenant(s, i);
    uint64_t end = now_ns();
    memory       = resident() - memory;
    double each  = (double)(end - start) / tenants;
    start        = now_ns();
    for (uint64_t i = 0; i < ops; i++) {
        name_of(below(draw(&chance), tenants), name);
        found += s->tenant(name) != NULL;
    }
    end = now_ns();
    if (found != ops) fail_text("tenant", "it is not there any more");
    for (uint32_t i = 0; i < tenants; i++)
        if (make_tenant(s, i) != made[i]) fail_text("tenant", "another one");
    s->close();
    report_ns(end - start);
    if (s == &subject_line) return;
    report(each, "make-ns");
    if (tenants >= 1000000) report((double)memory / tenants, "bytes");
}
static void lookup_ashlar(const struct subject *s, uint32_t tenants)
{
    (void)s;
    lookup(&subject_ashlar, tenants);
}
static void lookup_classic(const struct subject *s, uint32_t tenants)
{
    (void)s;
    lookup(&subject_classic, tenants);
}
static void lookup_line(const struct subject *s, uint32_t tenants)
{
    (void)s;
    lookup(&subject_line, tenants);
}

/* ---- The table of what can be run ---- */

#define BODY(s, what) \
    static void s##_##what##_body(struct worker *worker) { what(&subject_##s, worker); }
#define BODIES(s)    \
    BODY(s, pair)    \
    BODY(s, mix)     \
    BODY(s, produce) \
    BODY(s, consume)

BODIES(ashlar)
BODY(ashlar, cut)
BODIES(cached)
BODY(floor, pair)
BODY(floor, cut)
BODIES(classic)
BODY(classic, cut)
BODIES(malloc)
#ifdef WITH_FFMPEG
BODIES(avbuffer)
BODY(avbuffer, cut)
#endif

#define THREADS(workload, s, what, ops, threads, tenants)                            \
    {                                                                                \
        workload, &subject_##s, s##_##what##_body, NULL, NULL, ops, threads, tenants \
    }
#define ALONE(workload, s, what, ops, tenants)                    \
    {                                                             \
        workload, &subject_##s, NULL, NULL, what, ops, 1, tenants \
    }
#define PAIRS(s, one, more)                                                      \
    THREADS("pair1", s, pair, one, 1, 0), THREADS("pair2", s, pair, more, 2, 0), \
        THREADS("pair4", s, pair, more, 4, 0)
#define TENANTS(s, one, more)                                                        \
    THREADS("tenant1", s, pair, one, 1, 1), THREADS("tenant2", s, pair, more, 2, 2), \
        THREADS("same2", s, pair, more, 2, 1)
#define MIXES(s, one, more, handed)                                                      \
    THREADS("mix1", s, mix, one, 1, 0), THREADS("mix2", s, mix, more, 2, 0),             \
    {                                                                                    \
        "handover", &subject_##s, s##_produce_body, s##_consume_body, NULL, handed, 2, 0 \
    }
#define CUTS(s, one, more) THREADS("cut1", s, cut, one, 1, 0), THREADS("cut2", s, cut, more, 2, 0)
#define SNAPSHOTS(s) \
    ALONE("stats10k", s, stats, LOOKS, 10000), ALONE("metrics10k", s, metrics, LOOKS, 10000)
#define LOOKUPS(s, what)                                                            \
    ALONE("lookup100", s, what, FEW, 100), ALONE("lookup10k", s, what, FEW, 10000), \
        ALONE("lookup1M", s, what, FEW, 1000000)

enum { MANY = 100000000, SOME = 20000000, FEW = 4000000, LITTLE = 1000000, LOOKS = 2000000 };

static const struct run runs[] = {
    ALONE("exchange", floor, exchange, MANY, 0),
    PAIRS(ashlar, SOME, SOME),
    TENANTS(ashlar, SOME, SOME),
    THREADS("limit1", ashlar, pair, SOME, 1, 1),
    MIXES(ashlar, SOME, SOME, FEW),
    CUTS(ashlar, SOME, SOME),
    SNAPSHOTS(ashlar),
    LOOKUPS(ashlar, lookup_ashlar),
    PAIRS(cached, MANY, MANY),
    TENANTS(cached, MANY, SOME),
    THREADS("limit1", cached, pair, SOME, 1, 1),
    MIXES(cached, SOME, SOME, FEW),
    SNAPSHOTS(cached),
    PAIRS(floor, SOME, SOME),
    TENANTS(floor, SOME, SOME),
    CUTS(floor, SOME, SOME),
    ALONE("metrics10k", floor, metrics, LOOKS, 10000),
    LOOKUPS(floor, lookup_line),
    PAIRS(classic, SOME, FEW),
    TENANTS(classic, FEW, FEW),
    MIXES(classic, FEW, FEW, LITTLE),
    CUTS(classic, SOME, SOME),
    SNAPSHOTS(classic),
    LOOKUPS(classic, lookup_classic),
    PAIRS(malloc, SOME, SOME),
    TENANTS(malloc, SOME, SOME),
    MIXES(malloc, LITTLE, LITTLE, LITTLE / 4),
#ifdef WITH_FFMPEG
    PAIRS(avbuffer, FEW, FEW),
    MIXES(avbuffer, FEW, FEW, LITTLE / 4),
    CUTS(avbuffer, FEW, FEW),
#endif
};
enum { RUN_COUNT = sizeof runs / sizeof *runs };

static const char usage[] =
    "usage: bufpool_bench WORKLOAD SUBJECT [--ops N] [--threads N] [--tenants N]\n"
    "       bufpool_bench --list    prints every workload and subject\n"
    "--threads is for pair, tenant, same, mix and cut; --tenants is for lookup.\n";

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

/* Only threads that all do the same may be more or fewer, and only lookup has tenants to choose. */
static void read_options(int argc, char **argv, struct run *chosen)
{
    uint64_t                  given_ops = chosen->ops, threads = 0, tenants = 0;
    const struct bench_option options[] = {
        {"--ops", &given_ops, 1, 1 << 30, NULL},
        {"--threads", &threads, 1, THREADS_MAX, NULL},
        {"--tenants", &tenants, 1, 1 << 20, NULL},
        {NULL, NULL, 0, 0, NULL},
    };
    bench_options(argc, argv, options);
    if (threads && (!chosen->body || chosen->other))
        bench_refuse("%s has no option --threads", chosen->workload);
    if (tenants && strncmp(chosen->workload, "lookup", 6) != 0)
        bench_refuse("%s has no option --tenants", chosen->workload);
    if (threads && strncmp(chosen->workload, "tenant", 6) == 0) chosen->tenants = (uint32_t)threads;
    if (threads) chosen->threads = (uint32_t)threads;
    if (tenants) chosen->tenants = (uint32_t)tenants;
    ops = (size_t)given_ops;
}

int main(int argc, char **argv)
{
    static struct run chosen;
    bench_begin(argc, argv, "bufpool_bench", usage);
    if (argc == 2) {
        for (int i = 0; i < RUN_COUNT; i++)
            printf("%s %s\n", runs[i].workload, runs[i].subject->name);
        return 0;
    }
    chosen   = *find(argv);
    run      = &chosen;
    workload = run->workload;
    subject  = run->subject->name;
    read_options(argc, argv, &chosen);
    pthread_t sleeper;
    need((errno = pthread_create(&sleeper, NULL, sleep_on, NULL)) == 0, "thread");
    cores = (int)sysconf(_SC_NPROCESSORS_ONLN); /* before pin: musl counts those we may use */
    pin(0);
    alarm(300); /* a buffer that was lost shall not hold up the rows that follow */
    if (run->alone) run->alone(run->subject, ops < run->tenants ? (uint32_t)ops : run->tenants);
    else run_threads();
    return 0;
}
