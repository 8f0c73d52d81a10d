/* fixedpool_bench - one workload, one subject, a fixed amount of work; measures what a
 * fixedpool costs beside the least it could cost, and beside others that hand out frames.
 *
 *     fixedpool_bench WORKLOAD SUBJECT [--ops N] [--threads N] [--frames N] [--dir DIR]
 *     fixedpool_bench --list        every workload with each of its subjects
 *
 * Each run prints one figure a line: workload, subject, number, what it is; first the ns/op, which
 * is wall time over the operations of all threads together unless it is called a median. A
 * subject that could not do it prints FAILED and why, no figure, and the program returns 1.
 * bench/run.sh runs them all and makes the tables. malloc stands for the malloc that is loaded: set
 * LD_PRELOAD for another.
 *
 * There are 256 frames of 64 KiB, which are touched only where it says so. Each thread stays on one
 * core; cores are dealt alternately. At the end every frame must be idle again, with memory of its
 * own.
 *
 *   exchange  an atomic exchange on a line of its own: less is not possible with a shared write
 *   pair1, pair2, pair4    1, 2, 4 threads; op: a frame leased and freed
 *   hold64x1, hold64x2     1, 2 threads lease 64 and then free them; op: a frame leased and freed
 *   bulk32x1, bulk32x2     the same with 32, by calls for many where there are such
 *   half1     1 thread leases half of the frames and then frees them; op: a frame leased and freed
 *   handover  one thread leases a frame, writes 64 bytes and hands it over through a small queue;
 *             another reads and frees it; op: a frame
 *   crowd8    pair with 8 threads, each pair timed, and the clock is part of the figures. In the
 *             longest-ns a thread may have lost its core. stall-ns: the longest time in which no
 *             thread at all finished a pair: caused by the machine if floor shows it, too
 *   dry       4 threads and 2 frames; a thread that gets none tries again; op: a frame leased and
 * freed wake      a thread sleeps for the only frame, another frees it when /proc says that it
 * sleeps; median from before the free to when the sleeper has the frame register64M, register1G the
 * first ring; a pool of that size, populated; a median clone64M, clone1G         the second ring,
 * while the first is registered odirect   4 KiB at random from a file of 256 MiB in DIR (default:
 * build, or .), O_DIRECT, 32 at a time through one ring; op: a read. cpu-ns: of all our threads and
 * the kernel for them. Each block is checked
 *
 * --threads: of pair, hold, bulk, crowd and dry, 1 to 8; --frames: of half1, 2 to 65536. The
 * workload does then not do what its name says.
 * --ops: how many of those. register and clone end after a second at the latest.
 *
 * Subjects:
 *   ashlar    fixedpool.h, the calls for any thread; with registration: plain pages
 *   cached    fixedpool.h, a cache for each thread
 *   huge      fixedpool.h with FIXEDPOOL_HUGEPAGES
 *   floor     of a pair: two exchanges, on a line that only this thread uses. wake: a bare futex.
 *             register: one buffer, plain pages, by hand; clone: IORING_REGISTER_CLONE_BUFFERS
 *   classic   classic/classic_frames.h: one head for all
 *   malloc    of 64 KiB
 *   boost     boost::lockfree::stack of fixed capacity, which has no calls for many; not inlined
 *   ck        Concurrency Kit's ck_stack, the variant for many of both sides; no calls for many
 *   rte_mempool    DPDK's, with a cache of 64 for each thread. A thread that finds none may be told
 *             so while others have some in their caches
 *   rte_stack DPDK's, lock-free
 *   condvar, semaphore    wake: a stack under pthread_mutex with pthread_cond; sem_t, and classic
 *   each      register: each frame a buffer of its own. again: clone: registered anew
 *   read      odirect: IORING_OP_READ into other buffers; ashlar: IORING_OP_READ_FIXED into frames
 *   pread     odirect: one at a time
 *
 * DPDK's are there when compiled with WITH_DPDK, the others WITH_BOOST and WITH_CK. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define FIXEDPOOL_API static inline /* inlined, for the best time */
#define FIXEDPOOL_IMPLEMENTATION
#include "../fixedpool.h"

#include "classic/classic_frames.h"
#include "options.h"

#ifdef WITH_CK
#include <ck_stack.h>
#ifndef CK_F_STACK_POP_MPMC /* a processor that cannot exchange two words */
#undef WITH_CK
#endif
#endif
#ifdef WITH_DPDK
#include <rte_eal.h>
#include <rte_lcore.h>
#include <rte_mempool.h>
#include <rte_stack.h>
#endif

enum {
    FRAME        = 64 * 1024,
    FRAMES       = 256,
    FRAMES_MOST  = 65536,
    FILL         = 64,
    HOLD         = 64,
    BULK         = 32,
    QUEUE        = 64,
    THREADS_MAX  = 8,
    BLOCK        = 4096,
    FILE_BLOCKS  = 65536,
    DEPTH        = 32,
    SECOND_IN_NS = 1000000000
};

static size_t      ops;
static int         cores;
static uint32_t    frames;
static const char *workload;
static const char *subject;
static const char *dir;

/* ---- Time, threads, what is printed ---- */

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * SECOND_IN_NS + (uint64_t)t.tv_nsec;
}
static inline uint64_t now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

static void pin(int core)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)(core % cores), &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set); /* refused: a noisier figure */
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

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static inline uint32_t sample_of(uint64_t ns)
{
    return ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
}

static void *map(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(memory != MAP_FAILED, "mmap");
    return memory;
}

static uint32_t *make_samples(size_t count)
{
    uint32_t *samples = map(count * sizeof *samples);
    memset(samples, 1, count * sizeof *samples); /* the page faults come now */
    return samples;
}

/* ---- Subjects: each hands out frames by a name, its index or a pointer ---- */

union many {
    int      frames[HOLD]; /* Ashlar's */
    uint32_t names[HOLD];  /* numbers of other subjects */
    void    *pointers[HOLD];
};

struct subject {
    const char *name;
    void (*open)(void);
    void *(*join)(void);       /* each thread, before it begins: what it has for itself */
    void (*leave)(void *self); /* it was its last call */
    bool (*alloc)(void *self, uint64_t *name);
    void (*free)(void *self, uint64_t name);
    bool (*alloc_many)(void *self, union many *many, uint32_t count); /* all, or FAILED */
    void (*free_many)(void *self, union many *many, uint32_t count);
    void *(*memory)(uint64_t name);
    void (*close)(void);
    bool endless; /* there is no number of frames */
};

static void  nothing(void) {}
static void *join_nothing(void) { return NULL; }
static void  leave_nothing(void *self) { (void)self; }

/* For subjects without calls for many frames. */
#define ONE_BY_ONE(s)                                                               \
    static inline bool s##_alloc_many(void *self, union many *many, uint32_t count) \
    {                                                                               \
        uint64_t name;                                                              \
        for (uint32_t i = 0; i < count; i++) {                                      \
            if (!s##_alloc_name(self, &name)) return false;                         \
            many->names[i] = (uint32_t)name;                                        \
        }                                                                           \
        return true;                                                                \
    }                                                                               \
    static inline void s##_free_many(void *self, union many *many, uint32_t count)  \
    {                                                                               \
        for (uint32_t i = 0; i < count; i++) s##_free_name(self, many->names[i]);   \
    }

/* Ashlar */

static fixedpool *pool;

static void open_pool(uint32_t flags)
{
    fixedpool_config config = {.frame_size = FRAME, .frame_count = frames, .flags = flags};
    int              error  = fixedpool_create(&pool, &config);
    if (error) fail("create", error);
}
static void        ashlar_open(void) { open_pool(0); }
static inline bool ashlar_alloc(void *self, uint64_t *name)
{
    (void)self;
    int frame = fixedpool_alloc(pool);
    *name     = (uint32_t)frame;
    return frame >= 0;
}
static inline void ashlar_free(void *self, uint64_t name)
{
    (void)self;
    fixedpool_free(pool, (int)name);
}
static inline bool ashlar_alloc_many(void *self, union many *many, uint32_t count)
{
    (void)self;
    return fixedpool_alloc_many(pool, many->frames, count) == count;
}
static inline void ashlar_free_many(void *self, union many *many, uint32_t count)
{
    (void)self;
    fixedpool_free_many(pool, many->frames, count);
}
static inline void *ashlar_memory(uint64_t name) { return fixedpool_ptr(pool, (int)name); }
static void         ashlar_close(void)
{
    struct fixedpool_info info;
    fixedpool_stats(pool, &info);
    if (info.refused != 0) fail_text("close", "frees were refused");
    int error = fixedpool_destroy(pool);
    if (error) fail("destroy", error);
}

static const struct subject subject_ashlar = {
    .name       = "ashlar",
    .open       = ashlar_open,
    .join       = join_nothing,
    .leave      = leave_nothing,
    .alloc      = ashlar_alloc,
    .free       = ashlar_free,
    .alloc_many = ashlar_alloc_many,
    .free_many  = ashlar_free_many,
    .memory     = ashlar_memory,
    .close      = ashlar_close,
};

static void *cached_join(void)
{
    fixedpool_cache *cache = fixedpool_cache_open(pool);
    if (!cache) fail("cache_open", ENOMEM);
    return cache;
}
static void        cached_leave(void *self) { fixedpool_cache_close(self); }
static inline bool cached_alloc_name(void *self, uint64_t *name)
{
    int frame = fixedpool_cache_alloc(self);
    *name     = (uint32_t)frame;
    return frame >= 0;
}
static inline void cached_free_name(void *self, uint64_t name)
{
    fixedpool_cache_free(self, (int)name);
}
static inline bool cached_alloc_many(void *self, union many *many, uint32_t count)
{
    return fixedpool_cache_alloc_many(self, many->frames, count) == count;
}
static inline void cached_free_many(void *self, union many *many, uint32_t count)
{
    fixedpool_cache_free_many(self, many->frames, count);
}

static const struct subject subject_cached = {
    .name       = "cached",
    .open       = ashlar_open,
    .join       = cached_join,
    .leave      = cached_leave,
    .alloc      = cached_alloc_name,
    .free       = cached_free_name,
    .alloc_many = cached_alloc_many,
    .free_many  = cached_free_many,
    .memory     = ashlar_memory,
    .close      = ashlar_close,
};

/* The floor */

static void       *floor_join(void) { return aligned_alloc(64, 64); }
static inline bool floor_alloc(void *self, uint64_t *name)
{
    _Atomic(uint32_t) *word = self;
    *name                   = atomic_exchange_explicit(word, 1, memory_order_seq_cst);
    return true;
}
static inline void floor_free(void *self, uint64_t name)
{
    _Atomic(uint32_t) *word = self;
    atomic_exchange_explicit(word, (uint32_t)name, memory_order_seq_cst);
}

static const struct subject subject_floor = {
    .name    = "floor",
    .open    = nothing,
    .join    = floor_join,
    .leave   = free,
    .alloc   = floor_alloc,
    .free    = floor_free,
    .close   = nothing,
    .endless = true,
};

/* Subjects that hand out numbers: the bench has the memory. */

static unsigned char *memory;

static inline void *memory_of(uint64_t name) { return memory + name * FRAME; }

static struct classic_frames *classic;

static void classic_open(void)
{
    memory  = map((size_t)frames * FRAME);
    classic = classic_create(frames);
}
static inline bool classic_alloc_name(void *self, uint64_t *name)
{
    (void)self;
    uint32_t frame = 0;
    bool     done  = classic_alloc(classic, &frame);
    *name          = frame;
    return done;
}
static inline void classic_free_name(void *self, uint64_t name)
{
    (void)self;
    classic_free(classic, (uint32_t)name);
}
static inline bool classic_alloc_all(void *self, union many *many, uint32_t count)
{
    (void)self;
    bool done = true;
    for (uint32_t i = 0; i < count && done; i++) done = classic_alloc(classic, &many->names[i]);
    return done;
}
static inline void classic_free_all(void *self, union many *many, uint32_t count)
{
    (void)self;
    classic_free_many(classic, many->names, count);
}

static const struct subject subject_classic = {
    .name       = "classic",
    .open       = classic_open,
    .join       = join_nothing,
    .leave      = leave_nothing,
    .alloc      = classic_alloc_name,
    .free       = classic_free_name,
    .alloc_many = classic_alloc_all,
    .free_many  = classic_free_all,
    .memory     = memory_of,
    .close      = nothing,
};

#ifdef WITH_BOOST
void boost_create(uint32_t count);
bool boost_alloc(uint32_t *frame);
void boost_free(uint32_t frame);

static void boost_open(void)
{
    if (frames > FRAMES) fail_text("open", "it has 256 frames");
    memory = map((size_t)frames * FRAME);
    boost_create(frames);
}
static inline bool boost_alloc_name(void *self, uint64_t *name)
{
    (void)self;
    uint32_t frame = 0;
    bool     done  = boost_alloc(&frame);
    *name          = frame;
    return done;
}
static inline void boost_free_name(void *self, uint64_t name)
{
    (void)self;
    boost_free((uint32_t)name);
}
ONE_BY_ONE(boost)

static const struct subject subject_boost = {
    .name       = "boost",
    .open       = boost_open,
    .join       = join_nothing,
    .leave      = leave_nothing,
    .alloc      = boost_alloc_name,
    .free       = boost_free_name,
    .alloc_many = boost_alloc_many,
    .free_many  = boost_free_many,
    .memory     = memory_of,
    .close      = nothing,
};
#endif

#ifdef WITH_CK
static _Alignas(64) ck_stack_t ck_head;
static ck_stack_entry_t *ck_entries;

static inline void ck_free_name(void *self, uint64_t name)
{
    (void)self;
    ck_stack_push_mpmc(&ck_head, &ck_entries[name]);
}
static inline bool ck_alloc_name(void *self, uint64_t *name)
{
    (void)self;
    ck_stack_entry_t *entry = ck_stack_pop_mpmc(&ck_head);
    if (!entry) return false;
    *name = (uint64_t)(entry - ck_entries);
    return true;
}
ONE_BY_ONE(ck)
static void ck_open(void)
{
    memory     = map((size_t)frames * FRAME);
    ck_entries = map(frames * sizeof *ck_entries);
    ck_stack_init(&ck_head);
    for (uint32_t i = frames; i-- > 0;) ck_free_name(NULL, i);
}

static const struct subject subject_ck = {
    .name       = "ck",
    .open       = ck_open,
    .join       = join_nothing,
    .leave      = leave_nothing,
    .alloc      = ck_alloc_name,
    .free       = ck_free_name,
    .alloc_many = ck_alloc_many,
    .free_many  = ck_free_many,
    .memory     = memory_of,
    .close      = nothing,
};
#endif

/* Subjects that hand out pointers */

static inline void *pointer_memory(uint64_t name) { return (void *)(uintptr_t)name; }

static inline bool malloc_alloc(void *self, uint64_t *name)
{
    (void)self;
    *name = (uint64_t)(uintptr_t)malloc(FRAME);
    return *name != 0;
}
static inline void malloc_free(void *self, uint64_t name)
{
    (void)self;
    free(pointer_memory(name));
}
static inline bool malloc_alloc_many(void *self, union many *many, uint32_t count)
{
    (void)self;
    bool done = true;
    for (uint32_t i = 0; i < count && done; i++) done = (many->pointers[i] = malloc(FRAME)) != NULL;
    return done;
}
static inline void malloc_free_many(void *self, union many *many, uint32_t count)
{
    (void)self;
    for (uint32_t i = 0; i < count; i++) free(many->pointers[i]);
}

static const struct subject subject_malloc = {
    .name       = "malloc",
    .open       = nothing,
    .join       = join_nothing,
    .leave      = leave_nothing,
    .alloc      = malloc_alloc,
    .free       = malloc_free,
    .alloc_many = malloc_alloc_many,
    .free_many  = malloc_free_many,
    .memory     = pointer_memory,
    .close      = nothing,
    .endless    = true,
};

#ifdef WITH_DPDK
static void dpdk_start(void)
{
    char *argv[] = {
        "fixedpool_bench", "--no-huge",         "-m", "64", "--no-pci", "--no-telemetry",
        "--no-shconf",     "--log-level=error", "-l", "0",  NULL};
    if (rte_eal_init(10, argv) < 0) fail("eal_init", rte_errno);
}

static struct rte_mempool *mempool;

static void mempool_open(void)
{
    dpdk_start();
    mempool =
        rte_mempool_create("frames", frames, FRAME, 0, 0, NULL, NULL, NULL, NULL, SOCKET_ID_ANY, 0);
    if (!mempool) fail("mempool_create", rte_errno);
}
static void *mempool_join(void)
{
    void *cache = rte_mempool_cache_create(64, SOCKET_ID_ANY);
    if (!cache) fail("cache_create", rte_errno);
    return cache;
}
static void mempool_leave(void *self)
{
    rte_mempool_cache_flush(self, mempool);
    rte_mempool_cache_free(self);
}
static inline bool mempool_alloc(void *self, uint64_t *name)
{
    void *pointer = NULL;
    bool  done    = rte_mempool_generic_get(mempool, &pointer, 1, self) == 0;
    *name         = (uint64_t)(uintptr_t)pointer;
    return done;
}
static inline void mempool_free(void *self, uint64_t name)
{
    void *pointer = pointer_memory(name);
    rte_mempool_generic_put(mempool, &pointer, 1, self);
}
static inline bool mempool_alloc_many(void *self, union many *many, uint32_t count)
{
    return rte_mempool_generic_get(mempool, many->pointers, count, self) == 0;
}
static inline void mempool_free_many(void *self, union many *many, uint32_t count)
{
    rte_mempool_generic_put(mempool, many->pointers, count, self);
}

static const struct subject subject_mempool = {
    .name       = "rte_mempool",
    .open       = mempool_open,
    .join       = mempool_join,
    .leave      = mempool_leave,
    .alloc      = mempool_alloc,
    .free       = mempool_free,
    .alloc_many = mempool_alloc_many,
    .free_many  = mempool_free_many,
    .memory     = pointer_memory,
    .close      = nothing,
};

static struct rte_stack *stack;

static void stack_open(void)
{
    dpdk_start();
    memory = map((size_t)frames * FRAME);
    stack  = rte_stack_create("frames", frames, SOCKET_ID_ANY, RTE_STACK_F_LF);
    if (!stack) fail("stack_create", rte_errno);
    for (uint32_t i = 0; i < frames; i++) {
        void *pointer = memory_of(i);
        rte_stack_push(stack, &pointer, 1);
    }
}
static inline bool stack_alloc(void *self, uint64_t *name)
{
    (void)self;
    void *pointer = NULL;
    bool  done    = rte_stack_pop(stack, &pointer, 1) == 1;
    *name         = (uint64_t)(uintptr_t)pointer;
    return done;
}
static inline void stack_free(void *self, uint64_t name)
{
    (void)self;
    void *pointer = pointer_memory(name);
    rte_stack_push(stack, &pointer, 1);
}
static inline bool stack_alloc_many(void *self, union many *many, uint32_t count)
{
    (void)self;
    return rte_stack_pop(stack, many->pointers, count) == count;
}
static inline void stack_free_many(void *self, union many *many, uint32_t count)
{
    (void)self;
    rte_stack_push(stack, many->pointers, count);
}

static const struct subject subject_stack = {
    .name       = "rte_stack",
    .open       = stack_open,
    .join       = join_nothing,
    .leave      = leave_nothing,
    .alloc      = stack_alloc,
    .free       = stack_free,
    .alloc_many = stack_alloc_many,
    .free_many  = stack_free_many,
    .memory     = pointer_memory,
    .close      = nothing,
};
#endif

/* ---- Workloads of threads: inlined for each subject, so that no call goes through a pointer ----
 */

#define WORKLOAD static inline __attribute__((always_inline)) void

static struct worker {
    _Alignas(64) void *self; /* what the subject has for this thread */
    void (*body)(struct worker *);
    uint64_t  count; /* operations to do */
    uint64_t  done;  /* that succeeded */
    uint64_t *ends;  /* crowd: when each was done */
    pthread_t thread;
} workers[THREADS_MAX];

/* The compiler knows nothing about the name, nor whether somebody saw the frame. */
static inline uint64_t seen(uint64_t name)
{
    __asm__ volatile("" : "+r"(name) : : "memory");
    return name;
}

static _Noreturn void refused(void) { fail_text("alloc", "no frame though some are idle"); }

WORKLOAD pair(const struct subject *s, struct worker *worker)
{
    uint64_t name, done = 0;
    void    *self = worker->self;
    for (uint64_t i = 0; i < worker->count; i++) {
        if (!s->alloc(self, &name)) refused();
        s->free(self, seen(name));
        done++;
    }
    worker->done = done;
}

WORKLOAD hold(const struct subject *s, struct worker *worker)
{
    uint64_t names[HOLD], done = 0;
    void    *self = worker->self;
    while (done < worker->count) {
        for (int i = 0; i < HOLD; i++) {
            if (!s->alloc(self, &names[i])) refused();
            names[i] = seen(names[i]);
        }
        for (int i = 0; i < HOLD; i++, done++) s->free(self, names[i]);
    }
    worker->done = done;
}

WORKLOAD half(const struct subject *s, struct worker *worker)
{
    static uint64_t names[FRAMES_MOST / 2]; /* there is one thread */
    uint64_t        done = 0;
    void           *self = worker->self;
    while (done < worker->count) {
        uint64_t left = worker->count - done, count = left < frames / 2 ? left : frames / 2;
        for (uint64_t i = 0; i < count; i++) {
            if (!s->alloc(self, &names[i])) refused();
            names[i] = seen(names[i]);
        }
        for (uint64_t i = 0; i < count; i++) s->free(self, names[i]);
        done += count;
    }
    worker->done = done;
}

WORKLOAD bulk(const struct subject *s, struct worker *worker)
{
    union many many;
    void      *self = worker->self;
    uint64_t   done = 0;
    for (; done < worker->count; done += BULK) {
        if (!s->alloc_many(self, &many, BULK)) refused();
        seen((uint64_t)(uintptr_t)&many);
        s->free_many(self, &many, BULK);
    }
    worker->done = done;
}

WORKLOAD crowd(const struct subject *s, struct worker *worker)
{
    uint64_t name, done = 0;
    for (; done < worker->count; done++) {
        if (!s->alloc(worker->self, &name)) refused();
        s->free(worker->self, seen(name));
        worker->ends[done] = now_ns();
    }
    worker->done = done;
}

WORKLOAD dry(const struct subject *s, struct worker *worker)
{
    uint64_t name, done = 0;
    void    *self = worker->self;
    for (; done < worker->count; done++) {
        for (uint32_t spins = 0; !s->alloc(self, &name);)
            if (++spins % 64 == 0) sched_yield();
        s->free(self, seen(name));
    }
    worker->done = done;
}

/* One writer, one reader, no counter that both touch: a cell is 0 when empty. It is shorter than
 * there are frames, so that no thread waits for one. */
static struct {
    _Alignas(64) _Atomic(uint64_t) cells[QUEUE];
    _Alignas(64) uint64_t written; /* the writer's own */
    _Alignas(64) uint64_t taken;   /* the reader's own */
} queue;

static inline void push(uint64_t name)
{
    _Atomic(uint64_t) *cell = &queue.cells[queue.written++ % QUEUE];
    for (uint32_t spins = 0; atomic_load_explicit(cell, memory_order_acquire) != 0;)
        if (++spins % 1024 == 0) sched_yield();
    atomic_store_explicit(cell, name + 1, memory_order_release);
}

static inline uint64_t take(void)
{
    _Atomic(uint64_t) *cell = &queue.cells[queue.taken++ % QUEUE];
    uint64_t           name;
    for (uint32_t spins = 0; (name = atomic_load_explicit(cell, memory_order_acquire)) == 0;)
        if (++spins % 1024 == 0) sched_yield();
    atomic_store_explicit(cell, 0, memory_order_release);
    return name - 1;
}

WORKLOAD produce(const struct subject *s, struct worker *worker)
{
    uint64_t name;
    for (uint64_t i = 0; i < worker->count; i++) {
        if (!s->alloc(worker->self, &name)) refused();
        uint64_t *payload = s->memory(name);
        for (int k = 0; k < FILL / 8; k++) payload[k] = i;
        push(name);
    }
    worker->done = worker->count;
}

WORKLOAD consume(const struct subject *s, struct worker *worker)
{
    for (uint64_t i = 0; i < worker->count; i++) {
        uint64_t        name = take(), wrong = 0;
        const uint64_t *payload = s->memory(name);
        for (int k = 0; k < FILL / 8; k++) wrong |= payload[k] ^ i;
        if (wrong) fail_text("handover", "another's bytes");
        s->free(worker->self, name);
    }
    worker->done = worker->count;
}

/* ---- Threads: all begin together ---- */

struct run {
    const char           *workload;
    const struct subject *subject;
    void (*body)(struct worker *);  /* of each thread; NULL: alone is all there is */
    void (*other)(struct worker *); /* of all but the first, if not the same */
    void (*alone)(void);
    size_t   ops;
    uint32_t threads;
    uint32_t frames;
    uint32_t step; /* of which a thread's operations are a multiple */
};

static const struct run *run;
static _Atomic(uint32_t) arrived;
static _Atomic(bool)     opened;

static void begin(struct worker *worker)
{
    pin((int)(worker - workers));
    worker->self = run->subject->join();
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

/* Leases all there are: their number is right, and each has memory of its own. */
static void count_frames(const struct subject *s)
{
    static uint64_t names[FRAMES_MOST + 1];
    uint32_t        count = 0;
    void           *self  = s->join();
    while (count <= frames && s->alloc(self, &names[count])) {
        *(uint32_t *)s->memory(names[count]) = count;
        count++;
    }
    if (count != frames) fail_text("end", count < frames ? "frames are lost" : "too many frames");
    while (count-- > 0) {
        if (*(uint32_t *)s->memory(names[count]) != count) fail_text("end", "leased twice");
        s->free(self, names[count]);
    }
    s->leave(self);
}

/* How long each pair took, but for a thread's first, before which it may not have run; then, of all
 * together, the longest silence. */
static void report_crowd(uint64_t *ends)
{
    uint32_t *samples = make_samples(ops);
    size_t    share = ops / run->threads, count = 0;
    uint64_t  stall = 0;
    for (size_t i = 0; i < ops; i++)
        if (i % share > 0) samples[count++] = sample_of(ends[i] - ends[i - 1]);
    if (count == 0) return;
    qsort(samples, count, sizeof *samples, by_size);
    report(samples[count / 2], "50-%-ns");
    report(samples[count - 1 - count / 10000], "99.99-%-ns");
    report(samples[count - 1], "longest-ns");
    qsort(ends, ops, sizeof *ends, by_time);
    for (size_t i = 1; i < ops; i++)
        if (ends[i] - ends[i - 1] > stall) stall = ends[i] - ends[i - 1];
    report((double)stall, "stall-ns");
}

static void run_threads(bool crowded)
{
    const struct subject *s     = run->subject;
    size_t                share = ops / run->threads / run->step * run->step;
    uint64_t              done  = 0;
    if (run->other) share = ops; /* what one does is for the other */
    if (share < run->step) share = run->step;
    uint64_t *ends = crowded ? map(share * run->threads * sizeof *ends) : NULL;
    if (crowded)
        memset(ends, 1, share * run->threads * sizeof *ends); /* the page faults come now */
    s->open();
    for (uint32_t i = run->threads; i-- > 0;) {
        workers[i].count = share;
        workers[i].body  = i > 0 && run->other ? run->other : run->body;
        workers[i].ends  = crowded ? ends + i * share : NULL;
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
    for (uint32_t i = 0; i < run->threads; i++) done += workers[i].done;
    ops = share * run->threads;
    if (done != ops) fail_text("end", "not all was done");
    if (!s->endless) count_frames(s);
    s->close();
    if (run->other) ops = share;
    report_ns(end - start);
    if (crowded) report_crowd(ends);
}

static void exchange(void)
{
    _Atomic(uint32_t) *word  = aligned_alloc(64, 64);
    uint64_t           start = now_ns();
    for (uint64_t i = 0; i < ops; i++)
        atomic_exchange_explicit(word, (uint32_t)i, memory_order_seq_cst);
    report_ns(now_ns() - start);
    free(word);
}

/* ---- wake: one sleeps for the only frame ---- */

struct bed {
    void (*take)(void); /* it is not there any more */
    void (*wait)(void); /* until it is, and take it */
    void (*give)(void);
};

static _Alignas(64) _Atomic(uint64_t) going; /* the sleeper's, to the end of this group */
static _Atomic(uint64_t) woken;
static uint64_t          woken_at;
static _Atomic(uint64_t) sleeper_id;
static _Alignas(64) _Atomic(uint64_t) turn; /* the waker's */

static uint32_t held; /* the frame; belongs to the thread that holds it */

static void ashlar_take(void)
{
    int frame = fixedpool_alloc(pool);
    if (frame < 0) fail("alloc", frame);
    held = (uint32_t)frame;
}
static void ashlar_wait(void)
{
    int frame = fixedpool_alloc_wait(pool, -1);
    if (frame < 0) fail("alloc_wait", frame);
    held = (uint32_t)frame;
}
static void ashlar_give(void) { fixedpool_free(pool, (int)held); }

static pthread_mutex_t mutex  = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t  change = PTHREAD_COND_INITIALIZER;
static uint32_t        idle[1], idle_count = 1;

static void condvar_wait(void)
{
    pthread_mutex_lock(&mutex);
    while (idle_count == 0) pthread_cond_wait(&change, &mutex);
    held = idle[--idle_count];
    pthread_mutex_unlock(&mutex);
}
static void condvar_give(void)
{
    pthread_mutex_lock(&mutex);
    idle[idle_count++] = held;
    pthread_mutex_unlock(&mutex);
    pthread_cond_signal(&change);
}

static sem_t semaphore;

static void semaphore_wait(void)
{
    while (sem_wait(&semaphore) != 0) {
    }
    if (!classic_alloc(classic, &held)) refused();
}
static void semaphore_give(void)
{
    classic_free(classic, held);
    sem_post(&semaphore);
}

static _Atomic(uint32_t) futex_word = 1; /* there is a frame */

static void futex_wait(void)
{
    while (atomic_exchange_explicit(&futex_word, 0, memory_order_acquire) == 0)
        syscall(SYS_futex, &futex_word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
}
static void futex_give(void)
{
    atomic_store_explicit(&futex_word, 1, memory_order_release);
    syscall(SYS_futex, &futex_word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void wait_for(const _Atomic(uint64_t) *counter, uint64_t value)
{
    while (atomic_load_explicit(counter, memory_order_acquire) != value) sched_yield();
}

static void *sleeper(void *arg)
{
    const struct bed *bed = arg;
    pin(1);
    atomic_store_explicit(&sleeper_id, (uint64_t)syscall(SYS_gettid), memory_order_release);
    for (uint64_t i = 1; i <= ops; i++) {
        wait_for(&turn, i);
        atomic_store_explicit(&going, i, memory_order_release);
        bed->wait();
        woken_at = now_ns();
        bed->give();
        atomic_store_explicit(&woken, i, memory_order_release);
    }
    return NULL;
}

/* What the kernel says of the sleeper. */
static int open_state(void)
{
    char     path[64];
    uint64_t id;
    while ((id = atomic_load_explicit(&sleeper_id, memory_order_acquire)) == 0) sched_yield();
    snprintf(path, sizeof path, "/proc/self/task/%llu/stat", (unsigned long long)id);
    int state = open(path, O_RDONLY | O_CLOEXEC);
    need(state >= 0, "/proc");
    return state;
}

static bool is_asleep(int state)
{
    char    text[64];
    ssize_t len = pread(state, text, sizeof text - 1, 0);
    if (len <= 0) fail("/proc", len < 0 ? errno : EIO);
    text[len]         = 0;
    const char *after = strrchr(text, ')'); /* the program's name */
    return after && after[1] == ' ' && after[2] == 'S';
}

/* How long each time took. */
static uint32_t *wake(struct bed bed)
{
    uint32_t *samples = make_samples(ops);
    pthread_t thread;
    pthread_create(&thread, NULL, sleeper, &bed);
    int state = open_state();
    for (uint64_t i = 1; i <= ops; i++) {
        bed.take();
        atomic_store_explicit(&turn, i, memory_order_release);
        wait_for(&going, i);
        while (!is_asleep(state)) sched_yield();
        uint64_t start = now_ns();
        bed.give();
        wait_for(&woken, i);
        samples[i - 1] = sample_of(woken_at - start);
    }
    pthread_join(thread, NULL);
    return samples;
}

static void report_wake(uint32_t *samples)
{
    qsort(samples, ops, sizeof *samples, by_size);
    report(samples[ops / 2], "ns/op");
    report(samples[ops - 1 - ops / 100], "99-%-ns");
}

/* The others always sleep when there is nothing; of ours we ask. */
static void wake_ashlar(void)
{
    struct fixedpool_info info;
    open_pool(0);
    uint32_t *samples = wake((struct bed){ashlar_take, ashlar_wait, ashlar_give});
    fixedpool_stats(pool, &info);
    if (info.waits < ops / 2) fail_text("alloc_wait", "it did not sleep");
    ashlar_close();
    report_wake(samples);
}
static void wake_condvar(void)
{
    report_wake(wake((struct bed){condvar_wait, condvar_wait, condvar_give}));
}
static void wake_semaphore(void)
{
    classic = classic_create(1);
    sem_init(&semaphore, 0, 1);
    report_wake(wake((struct bed){semaphore_wait, semaphore_wait, semaphore_give}));
}
static void wake_floor(void)
{
    report_wake(wake((struct bed){futex_wait, futex_wait, futex_give}));
}

/* ---- io_uring, by system calls ---- */

enum { CLONE = 30 }; /* IORING_REGISTER_CLONE_BUFFERS of Linux 6.12 */

struct clone_buffers { /* struct io_uring_clone_buffers */
    uint32_t ring, flags, from, to, count, zero[3];
};

static int ring_open(unsigned entries, struct io_uring_params *params)
{
    memset(params, 0, sizeof *params);
    int ring = (int)syscall(425, entries, params);
    need(ring >= 0, "io_uring_setup");
    return ring;
}
static int bare_ring(void)
{
    struct io_uring_params params;
    return ring_open(4, &params);
}
static int ring_register(int ring, unsigned what, const void *arg, unsigned count)
{
    return syscall(427, ring, what, arg, count) < 0 ? -errno : 0;
}

/* ---- register, clone: the median of many ---- */

static struct iovec *iovecs; /* of the subjects that register by hand */
static unsigned      iovec_count;

static int by_pool(int ring) { return fixedpool_register(pool, ring); }
static int by_hand(int ring) { return ring_register(ring, 0, iovecs, iovec_count); }
static int first_ring;
static int by_clone(int ring)
{
    struct clone_buffers buffers = {.ring = (uint32_t)first_ring};
    int                  error   = ring_register(ring, CLONE, &buffers, 1);
    if (error) fail("CLONE_BUFFERS", error);
    return 0;
}
static int undo_pool(int ring) { return fixedpool_unregister(pool, ring); }
static int undo_hand(int ring) { return ring_register(ring, 1, NULL, 0); }

static void make_iovecs(unsigned count)
{
    size_t size = (size_t)frames * FRAME;
    memory      = map(size);
    madvise(memory, size, MADV_NOHUGEPAGE);
    memset(memory, 1, size);
    iovec_count = count;
    iovecs      = calloc(count, sizeof *iovecs);
    for (unsigned i = 0; i < count; i++)
        iovecs[i] = (struct iovec){memory + i * (size / count), size / count};
}

/* The median. */
static uint32_t register_often(int (*how)(int), int (*undo)(int))
{
    int       ring    = bare_ring();
    uint32_t *samples = make_samples(ops);
    size_t    count   = 0;
    for (uint64_t end = now_ns() + SECOND_IN_NS; count < ops && now_ns() < end;) {
        uint64_t start   = now_ns();
        int      error   = how(ring);
        samples[count++] = sample_of(now_ns() - start);
        if (error) fail("register", error);
        error = undo(ring);
        if (error) fail("unregister", error);
    }
    qsort(samples, count, sizeof *samples, by_size);
    close(ring);
    return samples[count / 2];
}

static void register_first(int (*how)(int))
{
    first_ring = bare_ring();
    int error  = how(first_ring);
    if (error) fail("register", error);
}

static void register_pool(uint32_t flags, bool second)
{
    struct fixedpool_info info;
    open_pool(flags | FIXEDPOOL_POPULATE);
    if (second) register_first(by_pool);
    uint32_t ns = register_often(by_pool, undo_pool);
    if (second) undo_pool(first_ring);
    fixedpool_stats(pool, &info);
    ashlar_close();
    report(ns, "ns/op");
    report(info.pages != FIXEDPOOL_PAGES_PLAIN, "huge");
}
static void register_ashlar(void) { register_pool(0, false); }
static void register_huge(void) { register_pool(FIXEDPOOL_HUGEPAGES, false); }
static void clone_ashlar(void) { register_pool(0, true); }
static void clone_huge(void) { register_pool(FIXEDPOOL_HUGEPAGES, true); }

static void register_hand(unsigned count)
{
    make_iovecs(count);
    report(register_often(by_hand, undo_hand), "ns/op");
}
static void register_floor(void) { register_hand(1); }
static void register_each(void) { register_hand(frames); }
static void clone_hand(int (*how)(int))
{
    make_iovecs(1);
    register_first(by_hand);
    report(register_often(how, undo_hand), "ns/op");
}
static void clone_floor(void) { clone_hand(by_clone); }
static void clone_again(void) { clone_hand(by_hand); }

/* ---- odirect ---- */

static int      file;
static uint64_t chance = 1;

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}
static uint64_t word_of(uint64_t block, uint64_t word) { return mix(block * BLOCK + word + 1); }

static uint32_t draw_block(void)
{
    chance = chance * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((chance >> 32) % FILE_BLOCKS);
}

static void check_block(const void *data, uint32_t block)
{
    const uint64_t *words = data;
    enum { LAST = BLOCK / 8 - 1 };
    if (words[0] != word_of(block, 0) || words[LAST] != word_of(block, LAST))
        fail_text("read", "another block's bytes");
}

static void write_file(int writer)
{
    enum { PIECE = 256 };
    uint64_t *words = map(PIECE * BLOCK);
    for (uint64_t block = 0; block < FILE_BLOCKS; block += PIECE) {
        for (uint64_t i = 0; i < PIECE * BLOCK / 8; i++)
            words[i] = word_of(block + i / (BLOCK / 8), i % (BLOCK / 8));
        ssize_t done = write(writer, words, PIECE * BLOCK);
        if (done != PIECE * BLOCK) fail("write", done < 0 ? errno : ENOSPC);
    }
    need(fsync(writer) == 0, "fsync");
    posix_fadvise(writer, 0, 0, POSIX_FADV_DONTNEED); /* nothing shall come from memory */
    munmap(words, PIECE * BLOCK);
}

/* It has a name no longer than it must. */
static void make_file(void)
{
    char path[4096];
    int  len = snprintf(path, sizeof path, "%s/fixedpool_bench.%d", dir, (int)getpid());
    if (len < 0 || (size_t)len >= sizeof path) fail("dir", ENAMETOOLONG);
    int writer = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    need(writer >= 0, "open");
    file      = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
    int error = errno;
    unlink(path);
    if (file < 0) fail("O_DIRECT", error);
    write_file(writer);
    close(writer);
}

static struct ring {
    int                  fd;
    _Atomic(uint32_t)   *sq_tail, *cq_head, *cq_tail;
    uint32_t             sq_mask, cq_mask, *sq_array;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
} ring;

static void *ring_map(size_t size, off_t what)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring.fd, what);
    need(at != MAP_FAILED, "mmap of the ring");
    return at;
}

static void ring_start(void)
{
    struct io_uring_params p;
    ring.fd           = ring_open(DEPTH, &p);
    unsigned char *sq = ring_map(p.sq_off.array + p.sq_entries * 4, IORING_OFF_SQ_RING);
    unsigned char *cq =
        ring_map(p.cq_off.cqes + p.cq_entries * sizeof *ring.cqes, IORING_OFF_CQ_RING);
    ring.sqes     = ring_map(p.sq_entries * sizeof *ring.sqes, IORING_OFF_SQES);
    ring.sq_tail  = (void *)(sq + p.sq_off.tail);
    ring.sq_array = (void *)(sq + p.sq_off.array);
    ring.cq_head  = (void *)(cq + p.cq_off.head);
    ring.cq_tail  = (void *)(cq + p.cq_off.tail);
    ring.cqes     = (void *)(cq + p.cq_off.cqes);
    ring.sq_mask  = p.sq_entries - 1;
    ring.cq_mask  = p.cq_entries - 1;
}

/* What is under way, by user_data. */
static struct slot {
    void    *data;
    uint32_t block;
    int      frame;
} slots[DEPTH];

static void queue_read(struct slot *slot, bool fixed)
{
    uint32_t tail = atomic_load_explicit(ring.sq_tail, memory_order_relaxed); /* we write it */
    uint32_t at   = tail & ring.sq_mask;
    slot->block   = draw_block();
    if (fixed) {
        int frame = fixedpool_alloc(pool);
        if (frame < 0) fail("alloc", frame);
        slot->frame = frame;
        slot->data  = fixedpool_ptr(pool, slot->frame);
    }
    ring.sqes[at] = (struct io_uring_sqe){
        .opcode    = fixed ? IORING_OP_READ_FIXED : IORING_OP_READ,
        .fd        = file,
        .off       = (uint64_t)slot->block * BLOCK,
        .addr      = (uint64_t)(uintptr_t)slot->data,
        .len       = BLOCK,
        .user_data = (uint64_t)(slot - slots),
        .buf_index = fixed ? fixedpool_buf_index(pool, slot->frame) : 0,
    };
    ring.sq_array[at] = at;
    /* release: the kernel's acquire sees the entry before the tail. */
    atomic_store_explicit(ring.sq_tail, tail + 1, memory_order_release);
}

/* How many had come; their slots are free. */
static uint32_t reap(bool fixed, uint32_t *done)
{
    uint32_t head  = atomic_load_explicit(ring.cq_head, memory_order_relaxed); /* we write it */
    uint32_t tail  = atomic_load_explicit(ring.cq_tail, memory_order_acquire);
    uint32_t count = 0;
    for (; head != tail; head++) {
        const struct io_uring_cqe *cqe  = &ring.cqes[head & ring.cq_mask];
        struct slot               *slot = &slots[cqe->user_data];
        if (cqe->res != BLOCK) fail("read", cqe->res < 0 ? cqe->res : EIO);
        check_block(slot->data, slot->block);
        if (fixed) fixedpool_free(pool, slot->frame);
        done[count++] = (uint32_t)cqe->user_data;
    }
    atomic_store_explicit(ring.cq_head, head, memory_order_release); /* the kernel may reuse them */
    return count;
}

/* Waits for a quarter of what is under way, and sends as many again. */
static void read_through_ring(bool fixed)
{
    uint32_t idle_slots[DEPTH], count = DEPTH;
    uint64_t sent = 0, done = 0;
    for (uint32_t i = 0; i < DEPTH; i++) idle_slots[i] = i;
    while (done < ops) {
        uint32_t fresh = 0;
        for (; count > 0 && sent < ops; sent++, fresh++)
            queue_read(&slots[idle_slots[--count]], fixed);
        uint32_t wanted = sent - done < DEPTH / 4 ? (uint32_t)(sent - done) : DEPTH / 4;
        long     taken  = syscall(426, ring.fd, fresh, wanted, IORING_ENTER_GETEVENTS, NULL, 0);
        if (taken != (long)fresh) fail("io_uring_enter", taken < 0 ? errno : EIO);
        uint32_t came = reap(fixed, idle_slots + count);
        count += came;
        done += came;
    }
}

static void read_one_by_one(void)
{
    for (uint64_t i = 0; i < ops; i++) {
        uint32_t block = draw_block();
        ssize_t  done  = pread(file, slots[0].data, BLOCK, (off_t)block * BLOCK);
        if (done != BLOCK) fail("pread", done < 0 ? errno : EIO);
        check_block(slots[0].data, block);
    }
}

static void odirect(bool through_ring, bool fixed)
{
    make_file();
    unsigned char *buffers = map(DEPTH * (size_t)FRAME);
    memset(buffers, 1, DEPTH * (size_t)FRAME);
    for (uint32_t i = 0; i < DEPTH; i++) slots[i].data = buffers + i * (size_t)FRAME;
    if (through_ring) ring_start();
    if (fixed) {
        open_pool(FIXEDPOOL_POPULATE);
        int error = fixedpool_register(pool, ring.fd);
        if (error) fail("register", error);
    }
    uint64_t cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID), start = now_ns();
    if (through_ring) read_through_ring(fixed);
    else read_one_by_one();
    uint64_t end = now_ns();
    cpu          = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    if (fixed) {
        fixedpool_unregister(pool, ring.fd);
        ashlar_close();
    }
    report_ns(end - start);
    report((double)cpu / (double)ops, "cpu-ns");
}
static void odirect_ashlar(void) { odirect(true, true); }
static void odirect_read(void) { odirect(true, false); }
static void odirect_pread(void) { odirect(false, false); }

/* ---- The table of what can be run ---- */

#define BODY(s, what) \
    static void s##_##what##_body(struct worker *worker) { what(&subject_##s, worker); }
#define BODIES(s)    \
    BODY(s, pair)    \
    BODY(s, hold)    \
    BODY(s, half)    \
    BODY(s, bulk)    \
    BODY(s, crowd)   \
    BODY(s, produce) \
    BODY(s, consume)

BODY(floor, pair)
BODY(floor, crowd)
BODIES(ashlar)
BODY(ashlar, dry)
BODIES(cached)
BODY(cached, dry)
BODIES(classic)
BODY(classic, dry)
BODIES(malloc)
#ifdef WITH_BOOST
BODIES(boost)
BODY(boost, dry)
#endif
#ifdef WITH_CK
BODIES(ck)
BODY(ck, dry)
#endif
#ifdef WITH_DPDK
BODIES(mempool)
BODIES(stack)
BODY(stack, dry)
#endif

static const struct subject subject_huge = {.name = "huge"}, subject_each = {.name = "each"},
                            subject_again = {.name = "again"}, subject_read = {.name = "read"},
                            subject_pread     = {.name = "pread"},
                            subject_condvar   = {.name = "condvar"},
                            subject_semaphore = {.name = "semaphore"};

#define THREADS(workload, s, what, ops, threads, frames, step)                            \
    {                                                                                     \
        workload, &subject_##s, s##_##what##_body, NULL, NULL, ops, threads, frames, step \
    }
#define ALONE(workload, s, what, ops, frames)                             \
    {                                                                     \
        workload, &subject_##s, NULL, NULL, what##_##s, ops, 1, frames, 1 \
    }
#define PAIRS(s, one, more)                                                                      \
    THREADS("pair1", s, pair, one, 1, FRAMES, 1), THREADS("pair2", s, pair, more, 2, FRAMES, 1), \
        THREADS("pair4", s, pair, more, 4, FRAMES, 1),                                           \
        THREADS("crowd8", s, crowd, CROWD, 8, FRAMES, 1)
#define HOLDS(s, one, more, handed)                                                              \
    THREADS("hold64x1", s, hold, one, 1, FRAMES, HOLD),                                          \
        THREADS("hold64x2", s, hold, more, 2, FRAMES, HOLD),                                     \
        THREADS("half1", s, half, one, 1, FRAMES, 1),                                            \
        THREADS("bulk32x1", s, bulk, one, 1, FRAMES, BULK),                                      \
        THREADS("bulk32x2", s, bulk, more, 2, FRAMES, BULK),                                     \
    {                                                                                            \
        "handover", &subject_##s, s##_produce_body, s##_consume_body, NULL, handed, 2, FRAMES, 1 \
    }
#define RUNS(s, one, more) PAIRS(s, one, more), HOLDS(s, one, more, FEW)
#define DRY(s)             THREADS("dry", s, dry, DRY_OPS, 4, 2, 1)
#define REGISTER(frames, text)                                       \
    ALONE("register" text, ashlar, register, REGISTERED, frames),    \
        ALONE("register" text, huge, register, REGISTERED, frames),  \
        ALONE("register" text, floor, register, REGISTERED, frames), \
        ALONE("register" text, each, register, REGISTERED, frames),  \
        ALONE("clone" text, ashlar, clone, REGISTERED, frames),      \
        ALONE("clone" text, huge, clone, REGISTERED, frames),        \
        ALONE("clone" text, floor, clone, REGISTERED, frames),       \
        ALONE("clone" text, again, clone, REGISTERED, frames)

enum {
    MANY       = 100000000,
    SOME       = 20000000,
    FEW        = 4000000,
    CROWD      = 4000000,
    LITTLE     = 1000000,
    DRY_OPS    = 1000000,
    WOKEN      = 5000,
    REGISTERED = 200,
    READS      = 100000
};

static const struct run runs[] = {
    {"exchange", &subject_floor, NULL, NULL, exchange, MANY, 1, FRAMES, 1},
    RUNS(ashlar, SOME, SOME),
    RUNS(cached, MANY, MANY),
    PAIRS(floor, SOME, SOME),
    RUNS(classic, SOME, FEW),
    PAIRS(malloc, SOME, FEW),
    HOLDS(malloc, LITTLE, LITTLE, LITTLE / 4),
#ifdef WITH_BOOST
    RUNS(boost, FEW, FEW),
#endif
#ifdef WITH_CK
    RUNS(ck, SOME, FEW),
#endif
#ifdef WITH_DPDK
    RUNS(mempool, MANY, MANY),
    RUNS(stack, FEW, FEW),
    DRY(stack),
#endif
    DRY(ashlar),
    DRY(cached),
    DRY(classic),
#ifdef WITH_BOOST
    DRY(boost),
#endif
#ifdef WITH_CK
    DRY(ck),
#endif
    ALONE("wake", ashlar, wake, WOKEN, 1),
    ALONE("wake", floor, wake, WOKEN, 1),
    ALONE("wake", condvar, wake, WOKEN, 1),
    ALONE("wake", semaphore, wake, WOKEN, 1),
    REGISTER(1024, "64M"),
    REGISTER(16384, "1G"),
    ALONE("odirect", ashlar, odirect, READS, 64),
    ALONE("odirect", read, odirect, READS, 64),
    ALONE("odirect", pread, odirect, READS / 10, 64),
};
enum { RUN_COUNT = sizeof runs / sizeof *runs };

static const char usage[] =
    "usage: fixedpool_bench WORKLOAD SUBJECT [--ops N] [--threads N] [--frames N] [--dir DIR]\n"
    "       fixedpool_bench --list    prints every workload and subject\n"
    "--threads is for pair, hold, bulk, crowd and dry; --frames is for half1; --dir is for "
    "odirect.\n";

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

/* Only threads that all do the same may be more or fewer, and only half1 has frames to choose. */
static void read_options(int argc, char **argv, struct run *chosen)
{
    uint64_t                  given_ops = chosen->ops, threads = 0, count = 0;
    bool                      half      = strcmp(chosen->workload, "half1") == 0;
    const struct bench_option options[] = {
        {"--ops", &given_ops, 1, 1 << 30, NULL},
        {"--threads", &threads, 1, THREADS_MAX, NULL},
        {"--frames", &count, 2, FRAMES_MOST, NULL},
        {"--dir", NULL, 0, 0, &dir},
        {NULL, NULL, 0, 0, NULL},
    };
    bench_options(argc, argv, options);
    if (threads && (!chosen->body || chosen->other || half))
        bench_refuse("%s has no option --threads", chosen->workload);
    if (count && !half) bench_refuse("%s has no option --frames", chosen->workload);
    if (threads) chosen->threads = (uint32_t)threads;
    if (count) chosen->frames = (uint32_t)count;
    ops    = (size_t)given_ops;
    frames = chosen->frames;
}

int main(int argc, char **argv)
{
    static struct run chosen;
    bench_begin(argc, argv, "fixedpool_bench", usage);
    if (argc == 2) {
        for (int i = 0; i < RUN_COUNT; i++)
            printf("%s %s\n", runs[i].workload, runs[i].subject->name);
        return 0;
    }
    chosen   = *find(argv);
    run      = &chosen;
    workload = run->workload;
    subject  = run->subject->name;
    dir      = access("build", W_OK) == 0 ? "build" : ".";
    read_options(argc, argv, &chosen);
    cores = (int)sysconf(_SC_NPROCESSORS_ONLN); /* before pin: musl counts those we may use */
    pin(0);
    alarm(300); /* a frame or a wake-up that was lost shall not hold up the rows that follow */
    if (run->alone) run->alone();
    else run_threads(strncmp(workload, "crowd", 5) == 0);
    return 0;
}
