/* fixedpool_model.h - a fixedpool for plays.
 *
 * The pool is put together here as create would do it, in static memory, with groups of one frame
 * or two. Caches are opened by the real function.
 *
 * The checker does not know membarrier(2): the light and the heavy fence are a seq_cst fence each,
 * which is what the kernel promises of the pair. A light fence alone orders nothing in the
 * processor; a file that defines MODEL_LIGHTER checks that: the light fence is nothing, and
 * executions that reach a heavy one are not explored. model_refuses has membarrier fail. Time, too,
 * is unknown to the checker: the pause that then stands in for the fence is one.
 *
 * The checker does not know futex(2) either: model_syscall has the kernel's lock, queue and look at
 * the word. A thread that is never woken stays in a loop, which the checker reports. */
#include "model.h"
#include <sys/syscall.h>
#include <unistd.h>

#ifdef MODEL
/* An array of words, because the checker names each element, which takes time. */
static alignas(4096) uint64_t model_arena[4][512];
static _Atomic(unsigned)      model_arenas_used;

MODEL_INLINE void *model_map(size_t size)
{
    /* relaxed: each caller only needs a number of its own. */
    unsigned mine = atomic_fetch_add_explicit(&model_arenas_used, 1, memory_order_relaxed);
    must(size <= sizeof model_arena[0] && mine < 4);
    return model_arena[mine];
}

/* The futex: each waiter has a number in a queue; those with numbers below model_woken may go. */
static model_mutex       model_futex;
static uint32_t          model_waiters;
static _Atomic(uint32_t) model_woken;

/* Where the kernel is refused membarrier. Set before the threads start. */
static bool model_refuses;

/* The heavy half of a fence. */
MODEL_INLINE int model_fence(void)
{
#ifdef MODEL_LIGHTER
    __VERIFIER_assume(false);
#else
    atomic_thread_fence(memory_order_seq_cst);
#endif
    return 0;
}

/* A word that nobody sleeps on: executions in which a thread would are not explored. */
static _Atomic(uint32_t) *model_sleepless;

MODEL_INLINE long model_syscall(long number, _Atomic(uint32_t) *word, int operation, uint32_t value)
{
    if (word == model_sleepless && model_sleepless) {
        __VERIFIER_assume(operation == (1 | 128));
        return 0;
    }
    if (number == SYS_membarrier) return model_refuses ? -1 : model_fence();
    __VERIFIER_mutex_lock(&model_futex);
    uint32_t woken = atomic_load_explicit(&model_woken, memory_order_relaxed);
    if (operation == (1 | 128)) { /* FUTEX_WAKE, private */
        if (value > model_waiters - woken) value = model_waiters - woken;
        if (value > 0) atomic_store_explicit(&model_woken, woken + value, memory_order_relaxed);
        __VERIFIER_mutex_unlock(&model_futex);
        return 0;
    }
    /* seq_cst: the kernel has a fence before its look. */
    bool     same = atomic_load_explicit(word, memory_order_seq_cst) == value;
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
#ifdef MODEL_LIGHTER
#define FIXEDPOOL_LIGHT_FENCE() ((void)0)
#else
#define FIXEDPOOL_LIGHT_FENCE() atomic_thread_fence(memory_order_seq_cst)
#endif
#define FIXEDPOOL_SYSCALL(number, a, b, c, d, e, f)                                                \
    ((void)(d), model_syscall((number), (_Atomic(uint32_t) *)(uintptr_t)(a), (int)(uintptr_t)(b),  \
                              (uint32_t)(uintptr_t)(c)))
#define calloc(count, size) model_map(size)
#define free(memory)        ((void)(memory))
#else
static _Atomic(uint32_t) *model_sleepless;

/* The kernel, but for a membarrier that it is to refuse. */
static bool model_refuses;
static long model_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    if (number != SYS_membarrier || !model_refuses || a == 1 << 4) /* registers for it, at create */
        return syscall(number, a, b, c, d, e, f);
    errno = EPERM;
    return -1;
}
#define FIXEDPOOL_SYSCALL(number, a, b, c, d, e, f)                                                \
    model_syscall(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#endif

#define FIXEDPOOL_API       MODEL_API
#define FIXEDPOOL_ASSERT(x) must(x)
#define FIXEDPOOL_IMPLEMENTATION
MODEL_HEADER_BEGIN
#include "fixedpool.h"
MODEL_HEADER_END

#ifdef MODEL
/* The C library's, for the header. */
int fixedpool__nanosleep(const fixedpool__time *time, fixedpool__time *rest)
{
    (void)time, (void)rest;
    return model_fence();
}

int fixedpool__clock_gettime(int clock, fixedpool__time *now)
{
    (void)clock, (void)now;
    return -1; /* no play has a deadline */
}

/* The compiler copies a slot by memcpy, as it is large. The checker wants each field copied in one
 * piece. */
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

/* Creates a pool of groups groups, each of 1 << shift frames of one word. */
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
    atomic_store_explicit(&pool->unfenced, !pool->has_fences, memory_order_seq_cst);
#endif
}

/* Frees what a play's caches left mapped, after the joins. */
MODEL_INLINE void model_destroy(void)
{
#ifndef MODEL
    for (fixedpool__seats *seats = pool->seats, *next; seats; seats = next) {
        next = seats->next;
        FIXEDPOOL_UNMAP(seats, sizeof *seats);
    }
#endif
}

/* Sets the group at which the calling thread begins to look. Without this call it would depend on
 * which thread came first. */
MODEL_INLINE void model_home(uint32_t group) { fixedpool__settle(group); }

/* Reads what the last lessee wrote, and writes: races with any other lessee's access. */
MODEL_INLINE void model_use(int frame)
{
    uint64_t *payload = fixedpool_ptr(pool, frame);
    *payload          = *payload + 1;
}

/* Allocates a frame, which must be there, from a cache, and writes to it. */
MODEL_INLINE int model_cache_lease(fixedpool_cache *cache)
{
    int frame = fixedpool_cache_alloc(cache);
    must(frame >= 0);
    model_use(frame);
    return frame;
}

/* Makes a cache the owner of a group that has no owner, and lets it lend from there. False: the
 * group has an owner, or was revoked. */
MODEL_INLINE bool model_own(fixedpool_cache *cache, uint32_t group)
{
    return fixedpool__adopt(cache, 0, group) && fixedpool__lend_from(cache, 0);
}

/* Opens a cache that owns the first group of a new pool and lends from it. */
MODEL_INLINE fixedpool_cache *model_open(void)
{
    fixedpool_cache *cache = fixedpool_cache_open(pool);
    bool             ready = model_own(cache, 0);
    must(ready);
    return cache;
}

/* Steals a frame of the first group, even from a cache, and writes to it. Returns its bit, or 0. */
MODEL_INLINE uint32_t model_steal(void)
{
    uint32_t bit = fixedpool__steal(pool, 0, 1);
    if (bit) model_use((int)fixedpool__index(bit));
    return bit;
}

/* Looks at all groups as fixedpool__search does, but at most three times, because in these plays a
 * frame becomes idle behind it at most so often. Must find a frame. */
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

/* After the joins: checks that none of the frames in the mask leased is idle, and that each other
 * frame can be leased once. */
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
