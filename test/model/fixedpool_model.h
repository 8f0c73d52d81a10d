/* fixedpool_model.h - what the model-checking clients of fixedpool.h share.
 *
 * Goal:   one client, two programs. With MODEL defined it is for a model checker, which runs play()
 *         once for each outcome that the C11 memory model allows. Without, it is an ordinary
 *         program that runs play() ROUNDS times and hopes.
 * Method: the real header is compiled in. The pool is put together here as create would do it, in
 *         static memory and with groups of one frame or two; caches are opened by the real thing.
 *
 * The checker knows no membarrier(2): the light and the heavy fence are a seq_cst fence each. That
 * is what the kernel promises of the pair; a light one by itself is nothing, and with MODEL_LIGHTER
 * it is: then only executions without a heavy one are looked at. It knows no futex(2) either: here
 * is one, with the kernel's lock, queue and look at the word; a thread that nobody wakes stays in a
 * loop, and the checker reports that. The ordinary program has the real ones of both.
 *
 * Payloads are plain variables, written and read without any order of their own: where the pool
 * does not order two accesses, the checker reports a race. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#define MODEL_INLINE  static inline __attribute__((always_inline, unused))
#define FIXEDPOOL_API static inline __attribute__((unused))

#ifdef MODEL
#define ROUNDS 1

/* The checker's own names for a thread's start and end, for a lock, for a way not to be gone, and
 * for a failed check. */
typedef int model_thread;
typedef struct {
    int word;
} model_mutex;
extern int   __VERIFIER_thread_create(const void *attributes, void *(*run)(void *), void *argument);
extern void *__VERIFIER_thread_join(model_thread thread);
extern int   __VERIFIER_mutex_lock(model_mutex *mutex);
extern int   __VERIFIER_mutex_unlock(model_mutex *mutex);
extern void  __VERIFIER_assume(bool condition);
extern void  __VERIFIER_assert_fail(const char *condition, const char *file, int line);

#define must(x) ((x) ? (void)0 : __VERIFIER_assert_fail(#x, __FILE__, __LINE__))

/* Who finds the pool's lock taken is not followed: that it comes later is another execution. */
#define sched_yield() __VERIFIER_assume(false)

/* Of words, for the checker gives each element a name, and takes its time about it. */
static alignas(4096) uint64_t model_arena[4][512];
static _Atomic(unsigned) model_arenas_used;

MODEL_INLINE void *model_map(size_t size)
{
    /* relaxed: a number of its own for each caller is all that is asked. */
    unsigned mine = atomic_fetch_add_explicit(&model_arenas_used, 1, memory_order_relaxed);
    must(size <= sizeof model_arena[0] && mine < 4);
    return model_arena[mine];
}

/* The futex: who waits has a number in a queue; those below model_woken may go. */
static model_mutex       model_futex;
static uint32_t          model_waiters;
static _Atomic(uint32_t) model_woken;

MODEL_INLINE long model_syscall(long number, _Atomic(uint32_t) *word, int operation, uint32_t value)
{
    if (number != SYS_futex) return 0; /* the time */
    __VERIFIER_mutex_lock(&model_futex);
    uint32_t woken = atomic_load_explicit(&model_woken, memory_order_relaxed);
    if (operation == (1 | 128)) {
        if (value > model_waiters - woken) value = model_waiters - woken;
        if (value > 0) atomic_store_explicit(&model_woken, woken + value, memory_order_relaxed);
        __VERIFIER_mutex_unlock(&model_futex);
        return 0;
    }
    bool     same = atomic_load_explicit(word, memory_order_seq_cst) == value; /* it has a fence */
    uint32_t mine = model_waiters;
    if (same) model_waiters++;
    __VERIFIER_mutex_unlock(&model_futex);
    if (same)
        while (atomic_load_explicit(&model_woken, memory_order_relaxed) <= mine) {
        }
    return 0;
}

#define FIXEDPOOL_MAP(size)           model_map(size)
#define FIXEDPOOL_UNMAP(memory, size) ((void)(memory), (void)(size))
#ifdef MODEL_LIGHTER /* no execution has a heavy one, and so the light ones are nothing */
#define FIXEDPOOL_LIGHT_FENCE() ((void)0)
#define FIXEDPOOL_HEAVY_FENCE() __VERIFIER_assume(false)
#else
#define FIXEDPOOL_LIGHT_FENCE() atomic_thread_fence(memory_order_seq_cst)
#define FIXEDPOOL_HEAVY_FENCE() atomic_thread_fence(memory_order_seq_cst)
#endif
#define FIXEDPOOL_SYSCALL(number, a, b, c, d, e, f)                                                \
    ((void)(d), model_syscall((number), (_Atomic(uint32_t) *)(uintptr_t)(a), (int)(uintptr_t)(b),  \
                              (uint32_t)(uintptr_t)(c)))
#define calloc(count, size) model_map(size)
#define free(memory)        ((void)(memory))
#else
#include <pthread.h>
#include <stdio.h>

typedef pthread_t model_thread;
#define must(x)                                                                                    \
    ((x) ? (void)0 : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x), abort()))
#ifndef ROUNDS
#define ROUNDS 1
#endif
#endif

/* Read-modify-writes torn into a load and a store: run.sh mutants turns a header's atomic_fetch_or
 * into torn_fetch_or, and asks who reports it. */
#define torn_step(object, desired)                                                                 \
    __extension__({                                                                                \
        __auto_type torn_from = atomic_load_explicit(object, memory_order_seq_cst);                \
        __auto_type torn_to   = (desired);                                                         \
        atomic_store_explicit(object, torn_to, memory_order_seq_cst);                              \
        torn_from;                                                                                 \
    })
#define torn_exchange_explicit(object, desired, order)  torn_step(object, desired)
#define torn_fetch_or_explicit(object, operand, order)  torn_step(object, torn_from | (operand))
#define torn_fetch_and_explicit(object, operand, order) torn_step(object, torn_from & (operand))
#define torn_fetch_add_explicit(object, operand, order) torn_step(object, torn_from + (operand))
#define torn_fetch_sub_explicit(object, operand, order) torn_step(object, torn_from - (operand))
#define torn_compare_exchange_strong_explicit(object, expected, desired, order, failure)           \
    __extension__({                                                                                \
        __auto_type torn_from = atomic_load_explicit(object, memory_order_seq_cst);                \
        bool        torn_done = torn_from == *(expected);                                          \
        if (torn_done) atomic_store_explicit(object, desired, memory_order_seq_cst);               \
        else *(expected) = torn_from;                                                              \
        torn_done;                                                                                 \
    })
#define torn_compare_exchange_weak_explicit torn_compare_exchange_strong_explicit

#ifdef MODEL /* the header's helpers too */
#pragma clang attribute push(__attribute__((always_inline)), apply_to = function)

#endif
#define FIXEDPOOL_ASSERT(x) must(x)
#define FIXEDPOOL_IMPLEMENTATION
#include "fixedpool.h"
#ifdef MODEL

#pragma clang attribute pop
#endif

#ifdef MODEL
/* What the compiler copies a struct with. That is a slot, if it is too large for it to do without:
 * the checker wants each field copied in one piece. */
__attribute__((noinline, used)) void *memcpy(void *to, const void *from, size_t size)
{
    fixedpool__slot       *copy = to;
    const fixedpool__slot *slot = from;
    must(size == sizeof *copy);
    copy->group = slot->group;
    copy->turn  = slot->turn;
    copy->first = slot->first;
    copy->idle  = slot->idle;
    copy->taken = slot->taken;
    return to;
}
#endif

/* -- The pool -- */

enum { MODEL_GROUPS = 2, MODEL_FRAMES = 4 };

static alignas(64) uint64_t
    model_memory[(sizeof(fixedpool) + MODEL_GROUPS * sizeof(fixedpool__group)) / 8];
static uint64_t   model_frames[MODEL_FRAMES];
static fixedpool *pool;

/* A pool of so many groups, each of 1 << shift frames of one word. */
MODEL_INLINE void model_create(uint32_t groups, uint32_t shift)
{
    pool = (fixedpool *)model_memory;
#ifndef MODEL /* for the checker it is all 0 */
    memset(model_memory, 0, sizeof model_memory);
    memset(model_frames, 0, sizeof model_frames);
#endif
    pool->frames      = (unsigned char *)model_frames;
    pool->frame_size  = sizeof model_frames[0];
    pool->frame_count = groups << shift;
    pool->group_shift = shift;
    pool->group_mask  = (UINT32_C(1) << shift) - 1;
    pool->group_count = groups;
    pool->span        = pool->frame_count;
    fixedpool__make_groups(pool);
#ifdef MODEL
    pool->has_fences = true;
#else
    pool->has_fences = syscall(SYS_membarrier, FIXEDPOOL__MEMBARRIER_READY, 0, 0) == 0;
#endif
}

/* After all is still. */
MODEL_INLINE void model_destroy(void)
{
#ifndef MODEL
    for (fixedpool__seats *seats = pool->seats, *next; seats; seats = next) {
        next = seats->next;
        FIXEDPOOL_UNMAP(seats, sizeof *seats);
    }
#endif
}

/* Where a thread begins to look. Each says it first, or it would depend on which came first. */
MODEL_INLINE void model_home(uint32_t group) { fixedpool__settle(group); }

/* Reads what the last holder wrote, and writes: a race with any other holder's. */
MODEL_INLINE void model_use(int frame)
{
    uint64_t *payload = fixedpool_ptr(pool, (uint32_t)frame);
    *payload          = *payload + 1;
}

/* A frame that must be there, and is written to. */
MODEL_INLINE uint32_t model_cache_lease(fixedpool_cache *cache)
{
    int frame = fixedpool_cache_alloc(cache);
    must(frame >= 0);
    model_use(frame);
    return (uint32_t)frame;
}

/* A cache that owns the first group of a new pool, and lends from it. */
MODEL_INLINE fixedpool_cache *model_open(void)
{
    fixedpool_cache *cache = fixedpool_cache_open(pool);
    bool             ready = fixedpool__adopt(cache, 0, 0) && fixedpool__lend_from(cache, 0);
    must(ready);
    return cache;
}

/* Leases a frame of the first group by force, and writes to it; its bit, or 0. */
MODEL_INLINE uint32_t model_steal(void)
{
    uint32_t bit = fixedpool__steal(pool, 0, 1);
    if (bit) model_use((int)fixedpool__index(bit));
    return bit;
}

/* Looks at everything as fixedpool__search does, at most three times: so often a frame may become
 * idle behind it here. There must be one. */
MODEL_INLINE void model_search(void)
{
    uint32_t events;

    fixedpool__watch(pool);
    fixedpool__frames found = fixedpool__look(pool, 1, &events);
    if (!found.bits && fixedpool__has_changed(pool, events))
        found = fixedpool__look(pool, 1, &events);
    if (!found.bits && fixedpool__has_changed(pool, events))
        found = fixedpool__look(pool, 1, &events);
    fixedpool__unwatch(pool);
    must(found.bits);
}

/* When all is still: no frame of these is idle, and each other one can be leased once. */
MODEL_INLINE void model_drain(uint32_t leased)
{
    for (;;) {
        int frame = fixedpool_alloc(pool);
        if (frame < 0) break;
        must(!(leased & UINT32_C(1) << frame));
        model_use(frame);
        leased |= UINT32_C(1) << frame;
    }
    must(leased == (UINT32_C(1) << pool->frame_count) - 1);
}

/* -- Threads -- */

MODEL_INLINE model_thread model_start(void *(*run)(void *))
{
#ifdef MODEL
    return __VERIFIER_thread_create(NULL, run, NULL);
#else
    model_thread thread;
    int          error = pthread_create(&thread, NULL, run, NULL);
    must(error == 0);
    return thread;
#endif
}

MODEL_INLINE void model_join(model_thread thread)
{
#ifdef MODEL
    __VERIFIER_thread_join(thread);
#else
    int error = pthread_join(thread, NULL);
    must(error == 0);
#endif
}

/* One of 0 .. count - 1: for the checker each in its turn. */
static unsigned          model_choices;
static _Atomic(unsigned) model_choice;

#ifdef MODEL
static void *model_offer(void *unused)
{
    for (unsigned i = 1; i < model_choices; i++)
        atomic_store_explicit(&model_choice, i, memory_order_relaxed);
    return unused;
}
#endif

MODEL_INLINE unsigned model_choose(unsigned count)
{
    model_choices = count;
#ifdef MODEL
    model_thread thread = model_start(model_offer);
    unsigned     choice = atomic_load_explicit(&model_choice, memory_order_relaxed);
    model_join(thread);
    return choice;
#else
    return atomic_fetch_add_explicit(&model_choice, 1, memory_order_relaxed) % count;
#endif
}

/* Each client's: builds a pool, lets the threads loose, and asserts. */
static void play(void);

int main(void)
{
    for (int round = 0; round < ROUNDS; round++) play();
    return 0;
}
