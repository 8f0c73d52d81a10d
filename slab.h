/* slab.h - memory by name: pages that one thread fills and any thread or process gives back.
 *
 *     #define SLAB_IMPLEMENTATION               // in one C file
 *     #include "slab.h"
 *     #include <stdio.h>
 *
 *     int main(void)
 *     {
 *         slab_pool *pool;
 *         slab_id    id;                        // 8 bytes: what travels through your queue
 *         size_t     len;
 *
 *         if (slab_pool_create(&pool, NULL) != 0) return 1;        // 256 pages of 64 KiB
 *         if (slab_pool_put(pool, "hello", 6, &id) != 0) return 1; // the owner fills a page
 *         puts(slab_pool_read(pool, id, &len));                    // any thread reads it
 *         slab_pool_return(pool, id);                              // and gives it back, once
 *         return (int)slab_pool_destroy(pool);                     // 0: no page was lost
 *     }
 *
 * Include it anywhere for the declarations. Before including it you may define
 *   SLAB_API         what stands before each function; static inline, with the implementation in
 *                    each file that includes it, is the fastest
 *   SLAB_MAP(size)   zeroed memory, aligned to 4096, or NULL    \  in the file that has
 *   SLAB_UNMAP(memory, size)   gives it back                     > SLAB_IMPLEMENTATION
 *   SLAB_ASSERT(x)   assert; for our own invariants only        /
 * Linux, C11 with gcc or clang; the declarations are C++11 too. Links with nothing.
 * Licence: at the end of the file.
 */
#ifndef SLAB_H
#define SLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef SLAB_API
#define SLAB_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- slab_pool ------------------------------------------------------------------------------
 *
 * One thread at a time is the owner: it alone calls create, alloc, put, set_len, free, drain, want,
 * stats and destroy. Ownership moves to another thread as any other data does, through a lock or a
 * queue. Any thread calls read, return and return_many, with any id: stale, doubled, forged.
 *
 *   - Of all returns of one life of a page, at most one succeeds; the rest get -ESTALE or -EINVAL
 *     and change nothing. No sequence of calls, in any threads, corrupts the pool.
 *   - Return is wait-free: five atomic operations at most, and nothing that can run full. A thread
 *     stopped or killed in the middle of one delays nobody; alloc finds its page before it says
 *     NULL. (Only an owner that sleeps can miss its wake-up: see want.)
 *   - The reader's last access to a page comes before the owner's next write to it, on any machine
 *     there is.
 *   - A process that scribbles in the shared memory can spoil payloads, lose pages and wake-ups,
 *     falsify counts and end lives. It cannot make the owner touch memory outside the pool, loop
 *     for ever or crash. Once it stops, no page is handed out twice from then on.
 *   - Besides the pages: 24 bytes a page, 8 of them shared, and at most 16 KiB.
 *
 * Limits. A generation counts 2^31 lives of one page and then begins again; an id kept all that
 * time and used in just the right life would pass. With nothing else done, one page can live every
 * 3 ns: 6 seconds. Handed to another core, every 30 ns: a minute. Once a millisecond: 24 days.
 * Everyone who maps the memory takes SIGBUS if the file below it is cut short: seal a memfd with
 * F_SEAL_SHRINK before you hand it out. create begins all generations anew: when a second pool is
 * made in the same memory, views and ids of the first must be gone. */

typedef struct slab_pool slab_pool;

/* One life of one page. Eight bytes: fits any 64-bit queue slot. All zero is never live. */
typedef struct slab_id {
    uint16_t core; /* the pool's config.core */
    uint16_t page;
    uint32_t gen;  /* odd */
} slab_id;

typedef struct slab_pool_config {
    uint16_t core;        /* stamped on every id; ids with another are foreign */
    uint32_t page_size;   /* bytes, a multiple of 64; 0 = 64 KiB */
    uint32_t page_count;  /* 1..65536; 0 = 256 */
    void    *memory;      /* aligned to 4096, of any content; NULL = mapped by the pool */
    size_t   memory_size; /* bytes at memory, at least slab_pool_footprint() */
} slab_pool_config;

struct slab_pool_info {
    uint32_t page_count;
    uint32_t available;   /* free now, or given back and waiting for a drain */
    uint64_t allocs;      /* lives begun since create */
    uint64_t refused;     /* ids turned away by return, return_many, free; wraps as size_t does */
    double   utilization; /* 0 = every page available, 1 = none */
};

/* Any thread. Bytes of memory a pool of this shape takes, a multiple of 4096; config NULL = the
 * default's. 0: page_size or page_count out of range, or more than size_t can say. */
SLAB_API size_t slab_pool_footprint(const slab_pool_config *config);

/* The caller becomes the owner. config NULL = all defaults. 0, -EINVAL (pool NULL, footprint 0,
 * memory too small or misaligned), -ENOMEM. On failure *pool is NULL, the memory as it was. */
SLAB_API int slab_pool_create(slab_pool **pool, const slab_pool_config *config);

/* Owner, when no other thread is inside a call. How many pages were never given back. The caller's
 * memory stays theirs, and no longer attaches; views of it are still to be detached. NULL or a
 * view: 0, and nothing happens. */
SLAB_API size_t slab_pool_destroy(slab_pool *pool);

/* Owner. A page to write len bytes into, aligned to 64, and its id. NULL when len exceeds the page
 * size, every page is out, or a pointer is NULL; then *id is zero. Never blocks. A nanosecond or
 * two while pages are free. Out of them it drains, and where few have come back gives those who
 * are returning 0.1 us before it takes more; before it says NULL it looks at every page. */
SLAB_API void *slab_pool_alloc(slab_pool *pool, size_t len, slab_id *id);

/* Owner. The same with len bytes copied in; data may be NULL if len is 0. On failure *id is zero.
 * 0, -EMSGSIZE (len over the page size), -ENOBUFS (every page is out), -EINVAL (a NULL pointer). */
SLAB_API int slab_pool_put(slab_pool *pool, const void *data, size_t len, slab_id *id);

/* Owner. Corrects the length of a live page, before the id is handed over: later readers may get
 * either. 0, -EMSGSIZE, -ESTALE (not live), -EINVAL (no page of this pool, or pool NULL). */
SLAB_API int slab_pool_set_len(slab_pool *pool, slab_id id, size_t len);

/* Owner. Ends a life at once, without a locked instruction. 0, -ESTALE, -EINVAL. Exact about every
 * return that happened before it and every one that comes after. If another thread returns the same
 * id at this very moment, both may be told 0; the page is recycled once all the same. To take a
 * page back from threads that may be returning it, call slab_pool_return: that is exact against
 * them. (A free that is exact against a racing return cannot do without a locked instruction or a
 * fence: Attiya et al., Laws of Order, POPL 2011.) */
SLAB_API int slab_pool_free(slab_pool *pool, slab_id id);

/* Owner. Recycles every page whose return completed before this call; how many. With none, reads
 * one cache line. alloc does it by itself. */
SLAB_API size_t slab_pool_drain(slab_pool *pool);

/* Owner, about to sleep with every page out. true = armed: the next return, or return_many, that
 * ends a life answers 1, and whoever gets that answer wakes the owner. false = pages are there
 * already. No return falls between. Stays armed until answered: an owner that woke for another
 * reason may get one wake-up it did not need. A thread stopped or killed between ending a life and
 * waking the owner delays or loses that wake-up: sleep with a timeout where this can happen. Looks
 * at every page. */
SLAB_API bool slab_pool_want(slab_pool *pool);

/* Any thread. The payload and its length, good until the id is returned or freed. NULL when the id
 * is not live, or pool or len is NULL; then *len is 0. One atomic load, and one for the length. */
SLAB_API const void *slab_pool_read(const slab_pool *pool, slab_id id, size_t *len);

/* Any thread. Ends a life. 0; 1 = the owner sleeps, wake it; -ESTALE (over already, or never was);
 * -EINVAL (another core's, no such page, pool NULL). One compare-exchange and two loads, mostly. */
SLAB_API int slab_pool_return(slab_pool *pool, slab_id id);

/* Any thread. The same for count ids; how many of them were live. *wake = wake the owner, always
 * written. pool or wake NULL, or ids NULL and count not 0: 0, and nothing is returned. */
SLAB_API size_t slab_pool_return_many(slab_pool *pool, const slab_id *ids, size_t count,
                                      bool *wake);

/* Any process that maps the pool's memory, read and write, at any address aligned to 4096; not
 * while another pool is made there. A view reads and returns. It owns no page: alloc gives NULL,
 * put -ENOBUFS, free and set_len -EINVAL, drain 0, want false, stats the counts it can know.
 * Nothing in the memory is trusted for memory safety.
 * 0, -EINVAL (no pool, or not all of it in memory_size), -ENOMEM; on failure *view is NULL. */
SLAB_API int slab_pool_attach(slab_pool **view, void *memory, size_t memory_size);

/* When no other thread is inside a call on this view. NULL or an owner's pool: nothing happens. */
SLAB_API void slab_pool_detach(slab_pool *view);

/* Owner. Exact when no return is under way; looks at every page. A view: page_count and refused,
 * the rest as of a pool with no page available. stats NULL: nothing happens. pool NULL: all 0. */
SLAB_API void slab_pool_stats(const slab_pool *pool, struct slab_pool_info *stats);

#ifdef __cplusplus
}
#endif
#endif /* SLAB_H */

/* ======== SLAB_IMPLEMENTATION =============================================================== */

#if defined SLAB_IMPLEMENTATION && !defined SLAB__IMPLEMENTED
#define SLAB__IMPLEMENTED

#ifdef __cplusplus
#error "slab.h: define SLAB_IMPLEMENTATION in a C file; C++ gets the declarations"
#endif

#include <errno.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <string.h>

/* -- Configuration -- */

#ifndef SLAB_ASSERT
#include <assert.h>
#define SLAB_ASSERT(condition) assert(condition)
#endif

#if defined SLAB_MAP != defined SLAB_UNMAP
#error "slab.h: define SLAB_MAP and SLAB_UNMAP, or neither"
#endif
#ifndef SLAB_MAP
#include <sys/mman.h>
#ifndef MAP_ANONYMOUS /* glibc hides it under -std=c11; the kernel's header does not */
#include <asm/mman.h>
#endif
static void *slab__map(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}
#define SLAB_MAP(size)           slab__map(size)
#define SLAB_UNMAP(memory, size) ((void)munmap(memory, size))
#endif

/* Free pages are poisoned under AddressSanitizer, and under Valgrind where <valgrind/memcheck.h>
 * was included first: a write to a page after its return, through the pool or view it was returned
 * by, is reported at the write. Such builds take a lock for it: no calls in a signal handler, nor
 * in the child of a fork that caught another thread in a call. */
#if defined __SANITIZE_ADDRESS__
#define SLAB__ASAN
#elif defined __has_feature
#if __has_feature(address_sanitizer)
#define SLAB__ASAN
#endif
#endif
#if defined SLAB__ASAN
#include <sanitizer/asan_interface.h>
#define SLAB__POISONS             1
#define SLAB__HIDE(memory, size)  __asan_poison_memory_region(memory, size)
#define SLAB__SHOW(memory, size)  __asan_unpoison_memory_region(memory, size)
#define SLAB__FRESH(memory, size) __asan_unpoison_memory_region(memory, size)
#elif defined VALGRIND_MAKE_MEM_NOACCESS && !defined NVALGRIND
#define SLAB__POISONS             RUNNING_ON_VALGRIND
#define SLAB__HIDE(memory, size)  ((void)VALGRIND_MAKE_MEM_NOACCESS(memory, size))
#define SLAB__SHOW(memory, size)  ((void)VALGRIND_MAKE_MEM_DEFINED(memory, size))
#define SLAB__FRESH(memory, size) ((void)VALGRIND_MAKE_MEM_UNDEFINED(memory, size))
#endif

#define SLAB__COLD __attribute__((cold, noinline))

/* -- How it works --
 *
 * The shared part has a generation for each page: odd while the page is out, even while it is not.
 * The owner keeps the names of all pages, those that are out and those that are free, where nobody
 * else can write, and believes only these.
 *
 *    owner                          shared part               any thread
 *
 *    alloc: takes a free name  -->  gen 6 -> 7, len --- id --> read: gen is 7? the payload is yours
 *      ^                                                         |
 *    free names                     gen 7 -> 8  <--------------- return: compare-exchange, then
 *      ^                            hint of its group = 1  <---- the hint
 *      |                              |
 *    drain: hint -> 0, looks at the group: 8 is not the 7 I handed out, so the page is back
 *
 * Whoever wins the compare-exchange ended the life; all others find a generation that is not
 * theirs. The hint only says where to look. If a returner dies before it gives the hint, its page
 * is found by the look at all pages that comes before alloc gives up.
 *
 * Hints and generations cross: the returner writes a generation, then reads the hint; the owner
 * writes the hint, then reads the generations. One of the two must see the other's write, or a page
 * is lost until the next full look; hence seq_cst on those four. `wanted` crosses with the
 * generations in the same way. */

enum {
    SLAB__LINE       = 64,
    SLAB__PAGE_ALIGN = 4096,
    SLAB__MAGIC      = 0x31626c73, /* "slb1": changes with the layout of the shared part */
    SLAB__HINT_WORDS = 16,         /* one line: 512 groups */
    SLAB__GROUP_MIN  = 3,          /* log2: eight pages, whose lives share one line */
    SLAB__MOMENT     = 100,        /* steps of an empty loop, 0.1 us or so */
};

/* One page's shared state. */
typedef struct slab__life {
    _Atomic(uint32_t) gen; /* the owner writes it at alloc and free, a returner compare-exchanges */
    _Atomic(uint32_t) len; /* the owner writes */
} slab__life;

/* At the start of the memory; position-independent. The lives follow, then the pages. */
typedef struct slab__shared {
    /* Written by create and destroy, read by attach. */
    alignas(SLAB__LINE) _Atomic(uint32_t) magic;
    _Atomic(uint32_t) page_size;
    _Atomic(uint32_t) page_count;
    _Atomic(uint32_t) core;

    /* The owner sets it before it sleeps; the returner that clears it wakes the owner. */
    alignas(SLAB__LINE) _Atomic(uint32_t) wanted;

    /* Any thread adds. */
    alignas(SLAB__LINE) _Atomic(size_t) refused;

    /* Bit g: some page of group g was returned. Any thread sets a bit; the owner clears them. */
    alignas(SLAB__LINE) _Atomic(uint32_t) hints[SLAB__HINT_WORDS];

    alignas(SLAB__LINE) slab__life lives[];
} slab__shared;

_Static_assert(sizeof(slab_id) == 8, "an id fits a 64-bit queue slot");
_Static_assert(sizeof(slab__life) == 8 && SLAB__LINE >> SLAB__GROUP_MIN == sizeof(slab__life),
               "the smallest group's lives fill one line");
_Static_assert(offsetof(slab__shared, lives) == (size_t)4 * SLAB__LINE,
               "each writer has its own line");
_Static_assert(ATOMIC_INT_LOCK_FREE == 2 && ATOMIC_POINTER_LOCK_FREE == 2,
               "atomics work between processes");

struct slab_pool {
    /* For create, attach and their ends. First, because payloads begin where pages of 4096 do: a
     * load from the same place in its page as a store just before waits for that store. */
    size_t private_size;
    size_t shared_size;
    bool   owns_memory;

    /* Constant after create or attach; any thread reads. The shared part's are not believed. */
    alignas(SLAB__LINE) slab__shared *shared;
    slab__life    *lives; /* [page_count] in shared */
    unsigned char *pages;
    uint32_t       page_size;
    uint32_t       page_count;
    uint16_t       core;
    uint8_t        group_shift; /* log2 of the pages in a group */

    /* Owner only. A free page waits under the name of its next life. A view owns no page, and has
     * none free.
     * free_top + (free_last != 0) + pages that slab__is_out == owned, outside the owner's calls. */
    alignas(SLAB__LINE) uint64_t free_last; /* freed last, handed out first; 0 = none. Beside the
                                             * stack, it saves a pair 1 ns: less to wait for */
    uint64_t  allocs;
    uint32_t  free_top;
    uint32_t  owned;      /* page_count */
    uint64_t *free_stack; /* [owned] */
    uint64_t *out;        /* [owned] the name of a page that is out. While it is not, the last one
                           * inverted: that names another page, so no id equals it */
    uint32_t  hint_words; /* of shared->hints in use */
};

/* -- Helpers -- */

static size_t slab__round_up(size_t size, size_t multiple) /* multiple: a power of two */
{
    return (size + multiple - 1) & ~(multiple - 1);
}

/* Fills in the defaults. Whether the shape is one a pool can have. */
static bool slab__shape(const slab_pool_config *config, uint32_t *page_size, uint32_t *page_count)
{
    *page_size  = config && config->page_size ? config->page_size : 64 * 1024;
    *page_count = config && config->page_count ? config->page_count : 256;
    return *page_size % SLAB__LINE == 0 && *page_count <= 65536;
}

static size_t slab__pages_offset(uint32_t page_count)
{
    return slab__round_up(sizeof(slab__shared) + page_count * sizeof(slab__life), SLAB__PAGE_ALIGN);
}

/* 0 when size_t cannot say it. */
static size_t slab__footprint(uint32_t page_size, uint32_t page_count)
{
    size_t offset = slab__pages_offset(page_count);
    if ((SIZE_MAX - offset - SLAB__PAGE_ALIGN) / page_size < page_count) return 0;
    return slab__round_up(offset + (size_t)page_size * page_count, SLAB__PAGE_ALIGN);
}

static inline unsigned char *slab__page(const slab_pool *pool, uint32_t page)
{
    return pool->pages + (size_t)page * pool->page_size;
}

/* A name: an id as one word. Inside, ids travel like this. Some compilers copy a struct field by
 * field, and a wide load of what narrow stores have just written stalls. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
enum { SLAB__CORE_AT = 0, SLAB__PAGE_AT = 16, SLAB__GEN_AT = 32 };
#else
enum { SLAB__CORE_AT = 48, SLAB__PAGE_AT = 32, SLAB__GEN_AT = 0 };
#endif

static inline uint64_t slab__name_of(slab_id id)
{
    uint64_t name;
    memcpy(&name, &id, sizeof name);
    return name;
}

static inline uint64_t slab__name(uint16_t core, uint32_t page, uint32_t gen)
{
    return (uint64_t)core << SLAB__CORE_AT | (uint64_t)page << SLAB__PAGE_AT |
           (uint64_t)gen << SLAB__GEN_AT;
}

static inline uint16_t slab__core_of(uint64_t name) { return (uint16_t)(name >> SLAB__CORE_AT); }
static inline uint16_t slab__page_of(uint64_t name) { return (uint16_t)(name >> SLAB__PAGE_AT); }
static inline uint32_t slab__gen_of(uint64_t name) { return (uint32_t)(name >> SLAB__GEN_AT); }

/* The same page, one life later. */
static inline uint64_t slab__next_life(uint64_t name)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return name + (UINT64_C(2) << SLAB__GEN_AT); /* wraps out of the top */
#else
    return slab__name(slab__core_of(name), slab__page_of(name), slab__gen_of(name) + 2);
#endif
}

/* Whether it names a page of this pool; the life may be over, or never have been. */
static inline bool slab__is_ours(const slab_pool *pool, uint64_t name)
{
    return slab__core_of(name) == pool->core && slab__page_of(name) < pool->page_count;
}

/* Counts a refusal, and says which. */
static SLAB__COLD int slab__refuse(slab_pool *pool, int error)
{
    /* relaxed: a count; nobody concludes anything from it. */
    atomic_fetch_add_explicit(&pool->shared->refused, 1, memory_order_relaxed);
    return error;
}

/* -- Poison --
 *
 * A returner must win before it may poison, and the owner may hand the page out again the moment it
 * won. So in builds with poison, and only there, both hold a lock: the returner around winning and
 * poisoning, the owner around the unpoisoning. One lock a process: a view and its pool may lie at
 * one address. */

#ifdef SLAB__POISONS
#include <sched.h>
__attribute__((weak)) _Atomic(uint32_t) slab__poison_lock; /* one, in however many files */

static void slab__poison_enter(void)
{
    if (!SLAB__POISONS) return;
    /* acquire, pairs with the release in slab__poison_leave: the other's poisoning is done. */
    while (atomic_exchange_explicit(&slab__poison_lock, 1, memory_order_acquire)) sched_yield();
}
static void slab__poison_leave(void)
{
    if (SLAB__POISONS) atomic_store_explicit(&slab__poison_lock, 0, memory_order_release);
}
static void slab__hide(const slab_pool *pool, uint32_t page)
{
    SLAB__HIDE(slab__page(pool, page), pool->page_size);
}
/* A new life: len bytes to write. */
static void slab__show_fresh(const slab_pool *pool, uint32_t page, size_t len)
{
    slab__poison_enter();
    SLAB__FRESH(slab__page(pool, page), len);
    slab__poison_leave();
}
/* Another length; AddressSanitizer goes by eights, so up to seven bytes stay shown. */
static void slab__show_len(const slab_pool *pool, uint32_t page, size_t len)
{
    size_t rest = slab__round_up(len, 8);
    SLAB__HIDE(slab__page(pool, page) + rest, pool->page_size - rest);
    SLAB__SHOW(slab__page(pool, page), len);
}
/* A live page: a view may have hidden it when it returned an earlier life. The owner's is shown. */
static void slab__show_live(const slab_pool *pool, uint32_t page, size_t len)
{
    if (pool->owned == 0) SLAB__SHOW(slab__page(pool, page), len);
}
static void slab__show_all(const slab_pool *pool)
{
    SLAB__SHOW(pool->pages, (size_t)pool->page_size * pool->page_count);
}
#else
#define slab__poison_enter()              ((void)0)
#define slab__poison_leave()              ((void)0)
#define slab__hide(pool, page)            ((void)(pool))
#define slab__show_fresh(pool, page, len) ((void)(pool))
#define slab__show_len(pool, page, len)   ((void)(pool))
#define slab__show_live(pool, page, len)  ((void)(pool))
#define slab__show_all(pool)              ((void)(pool))
#endif

/* -- Free pages: the owner's -- */

static inline bool slab__is_out(const slab_pool *pool, uint32_t page)
{
    return slab__page_of(pool->out[page]) == page;
}

/* The life of that name is over, the page nobody's. */
static inline void slab__recycle(slab_pool *pool, uint64_t name)
{
    SLAB_ASSERT(pool->free_top < pool->owned);
    pool->out[slab__page_of(name)] = ~name;
    slab__hide(pool, slab__page_of(name));
    if (pool->free_last != 0) pool->free_stack[pool->free_top++] = pool->free_last;
    pool->free_last = slab__next_life(name);
}

/* The name of a life to begin; 0 = no page is free. */
static inline uint64_t slab__take_free(slab_pool *pool)
{
    uint64_t name = pool->free_last;

    if (name != 0) pool->free_last = 0;
    else if (pool->free_top != 0) name = pool->free_stack[--pool->free_top];
    return name;
}

/* Recycles those pages of [first, end) that are out and whose id no longer reads; how many. */
static size_t slab__look(slab_pool *pool, uint32_t first, uint32_t end)
{
    size_t recycled = 0;

    if (end > pool->owned) end = pool->owned;
    for (uint32_t page = first; page < end; page++) {
        uint64_t name = pool->out[page];
        if (slab__page_of(name) != page) continue;
        /* seq_cst, pairs with the compare-exchange in slab__end_life. As acquire: the returner's
           last reads of the page come before our next write to it. And it crosses: our write to the
           hint (in slab_pool_drain) or to wanted (in slab_pool_want) comes before it, the
           returner's look at them after its compare-exchange. */
        uint32_t gen = atomic_load_explicit(&pool->lives[page].gen, memory_order_seq_cst);
        if (gen == slab__gen_of(name)) continue;
        slab__recycle(pool, name);
        recycled++;
    }
    return recycled;
}

/* -- Create -- */

SLAB_API size_t slab_pool_footprint(const slab_pool_config *config)
{
    uint32_t page_size, page_count;

    if (!slab__shape(config, &page_size, &page_count)) return 0;
    return slab__footprint(page_size, page_count);
}

/* A pool or view without its owner's part, over a shared part that is known to hold that shape. */
static void slab__bind(slab_pool *pool, slab__shared *shared, uint32_t page_size,
                       uint32_t page_count, uint16_t core)
{
    pool->shared      = shared;
    pool->lives       = shared->lives;
    pool->pages       = (unsigned char *)shared + slab__pages_offset(page_count);
    pool->page_size   = page_size;
    pool->page_count  = page_count;
    pool->core        = core;
    pool->group_shift = SLAB__GROUP_MIN;
    while ((page_count - 1) >> pool->group_shift >= 32 * SLAB__HINT_WORDS) pool->group_shift++;
}

/* Writes the whole shared part; the pages keep their content. */
static void slab__format(slab_pool *pool)
{
    slab__shared *shared = pool->shared;

    /* relaxed, all of these: who attaches reads them after the magic. */
    atomic_store_explicit(&shared->magic, 0, memory_order_relaxed);
    atomic_store_explicit(&shared->page_size, pool->page_size, memory_order_relaxed);
    atomic_store_explicit(&shared->page_count, pool->page_count, memory_order_relaxed);
    atomic_store_explicit(&shared->core, pool->core, memory_order_relaxed);
    atomic_store_explicit(&shared->wanted, 0, memory_order_relaxed);
    atomic_store_explicit(&shared->refused, 0, memory_order_relaxed);
    for (uint32_t i = 0; i < SLAB__HINT_WORDS; i++)
        atomic_store_explicit(&shared->hints[i], 0, memory_order_relaxed);
    for (uint32_t i = 0; i < pool->page_count; i++) {
        atomic_store_explicit(&shared->lives[i].gen, 0, memory_order_relaxed);
        atomic_store_explicit(&shared->lives[i].len, 0, memory_order_relaxed);
    }
    /* release, pairs with the acquire in slab_pool_attach: who sees the magic sees all of that. */
    atomic_store_explicit(&shared->magic, SLAB__MAGIC, memory_order_release);
}

SLAB_API int slab_pool_create(slab_pool **pool, const slab_pool_config *config)
{
    uint32_t page_size, page_count;

    if (!pool) return -EINVAL;
    *pool = NULL;
    size_t shared_size = slab_pool_footprint(config);
    if (shared_size == 0) return -EINVAL;
    slab__shape(config, &page_size, &page_count);

    void *memory = config ? config->memory : NULL;
    bool  ours   = memory == NULL;
    if (!ours && (uintptr_t)memory % SLAB__PAGE_ALIGN != 0) return -EINVAL;
    if (!ours && config->memory_size < shared_size) return -EINVAL;

    size_t     out_at       = slab__round_up(sizeof(slab_pool), SLAB__LINE);
    size_t     stack_at     = out_at + page_count * sizeof(uint64_t);
    size_t     private_size = stack_at + page_count * sizeof(uint64_t);
    slab_pool *made         = (slab_pool *)SLAB_MAP(private_size);
    if (!made) return -ENOMEM;
    if (ours && !(memory = SLAB_MAP(shared_size))) {
        SLAB_UNMAP(made, private_size);
        return -ENOMEM;
    }

    slab__bind(made, (slab__shared *)memory, page_size, page_count, config ? config->core : 0);
    made->owns_memory  = ours;
    made->private_size = private_size;
    made->shared_size  = shared_size;
    made->owned        = page_count;
    made->hint_words   = (((page_count - 1) >> made->group_shift) >> 5) + 1;
    made->out          = (uint64_t *)(void *)((unsigned char *)made + out_at);
    made->free_stack   = (uint64_t *)(void *)((unsigned char *)made + stack_at);
    for (uint32_t page = page_count; page-- > 0;) /* its last life was -1, so its next is 1 */
        slab__recycle(made, slab__name(made->core, page, UINT32_MAX));
    slab__format(made);
    *pool = made;
    return 0;
}

/* -- Alloc -- */

static SLAB__COLD void *slab__no_page(slab_id *id)
{
    if (id) *id = (slab_id){0, 0, 0};
    return NULL;
}

/* Owner, out of free pages: looks at the hinted ones, then at all. When few have come back, others
 * are returning pages right now, and each look takes away the line they write. So it lets them go
 * on for a moment, and then takes what there is: 40 ns a page between two cores instead of 60. */
static SLAB__COLD void *slab__refill_and_alloc(slab_pool *pool, size_t len, slab_id *id)
{
    size_t recycled = slab_pool_drain(pool);

    if (recycled == 0) recycled = slab__look(pool, 0, pool->owned);
    if (recycled == 0) return slab__no_page(id);
    if (recycled < pool->owned / 8) {
        for (volatile int spin = 0; spin < SLAB__MOMENT; spin++) {}
        slab_pool_drain(pool);
    }
    return slab_pool_alloc(pool, len, id);
}

SLAB_API void *slab_pool_alloc(slab_pool *pool, size_t len, slab_id *id)
{
    if (!pool || !id || len > pool->page_size) return slab__no_page(id);
    uint64_t name = slab__take_free(pool);
    if (name == 0) return slab__refill_and_alloc(pool, len, id);
    uint32_t    page = slab__page_of(name);
    slab__life *life = &pool->lives[page];

    pool->out[page] = name;
    pool->allocs++;
    slab__show_fresh(pool, page, len);
    /* relaxed: the release below hands it over. */
    atomic_store_explicit(&life->len, (uint32_t)len, memory_order_relaxed);
    /* release, pairs with the acquire in slab_pool_read: who sees the life sees its len. */
    atomic_store_explicit(&life->gen, slab__gen_of(name), memory_order_release);
    memcpy(id, &name, sizeof name);
    return slab__page(pool, page);
}

SLAB_API int slab_pool_put(slab_pool *pool, const void *data, size_t len, slab_id *id)
{
    if (id) *id = (slab_id){0, 0, 0};
    if (!pool || !id || (!data && len > 0)) return -EINVAL;
    if (len > pool->page_size) return -EMSGSIZE;
    void *payload = slab_pool_alloc(pool, len, id);
    if (!payload) return -ENOBUFS;
    if (len > 0) memcpy(payload, data, len);
    return 0;
}

/* Owner: whether the name is of a life that is not over. */
static inline bool slab__is_live(const slab_pool *pool, uint64_t name)
{
    uint32_t page = slab__page_of(name);
    /* relaxed: only whether the life is over; a return that this does not see yet is racing us. */
    return page < pool->owned && pool->out[page] == name &&
           atomic_load_explicit(&pool->lives[page].gen, memory_order_relaxed) == slab__gen_of(name);
}

/* Owner: what is wrong with a name that is not live. */
static SLAB__COLD int slab__why_not(const slab_pool *pool, uint64_t name)
{
    return slab__core_of(name) == pool->core && slab__page_of(name) < pool->owned ? -ESTALE
                                                                                  : -EINVAL;
}

SLAB_API int slab_pool_set_len(slab_pool *pool, slab_id id, size_t len)
{
    if (!pool) return -EINVAL;
    uint64_t name = slab__name_of(id);
    if (!slab__is_live(pool, name)) return slab__why_not(pool, name);
    if (len > pool->page_size) return -EMSGSIZE;
    slab__show_len(pool, slab__page_of(name), len);
    /* relaxed: handed over with the id, by the caller's queue. */
    atomic_store_explicit(&pool->lives[slab__page_of(name)].len, (uint32_t)len,
                          memory_order_relaxed);
    return 0;
}

SLAB_API int slab_pool_free(slab_pool *pool, slab_id id)
{
    if (!pool) return -EINVAL;
    uint64_t name = slab__name_of(id);
    if (!slab__is_live(pool, name)) return slab__refuse(pool, slab__why_not(pool, name));
    /* relaxed: says only that the life is over; the next write to the page is our own. */
    atomic_store_explicit(&pool->lives[slab__page_of(name)].gen, slab__gen_of(name) + 1,
                          memory_order_relaxed);
    slab__recycle(pool, name);
    return 0;
}

/* -- Hand over -- */

SLAB_API const void *slab_pool_read(const slab_pool *pool, slab_id id, size_t *len)
{
    uint64_t             name    = slab__name_of(id);
    const unsigned char *payload = NULL;

    if (!len) return NULL;
    *len = 0;
    if (!pool || !slab__is_ours(pool, name) || (slab__gen_of(name) & 1) == 0) return NULL;
    const slab__life *life = &pool->lives[slab__page_of(name)];

    slab__poison_enter();
    /* acquire, pairs with the release in slab_pool_alloc: len is of this life, or a later one's. */
    if (atomic_load_explicit(&life->gen, memory_order_acquire) == slab__gen_of(name)) {
        /* relaxed: ordered by the acquire above. Over the page size: scribbled. */
        uint32_t bytes = atomic_load_explicit(&life->len, memory_order_relaxed);
        if (bytes <= pool->page_size) {
            *len    = bytes;
            payload = slab__page(pool, slab__page_of(name));
            slab__show_live(pool, slab__page_of(name), bytes);
        }
    }
    slab__poison_leave();
    return payload;
}

/* -- Return -- */

/* Any thread: the one step that ends a life. 0, -ESTALE, -EINVAL. */
static inline int slab__end_life(slab_pool *pool, uint64_t name)
{
    if (!slab__is_ours(pool, name)) return slab__refuse(pool, -EINVAL);
    slab__life *life = &pool->lives[slab__page_of(name)];
    uint32_t    gen  = slab__gen_of(name);

    slab__poison_enter();
    /* seq_cst, pairs with the load in slab__look. As release: our last reads of the page come
       before the owner's next write to it. And it crosses: it comes before our look at the hint and
       at wanted. relaxed on failure: the id is stale, and nothing follows from what is there
       instead. ABA: only a life 2^31 lives later has the same generation. */
    bool won = (gen & 1) != 0 && atomic_compare_exchange_strong_explicit(
                                     &life->gen, &gen, slab__gen_of(name) + 1,
                                     memory_order_seq_cst, memory_order_relaxed);
    if (won) slab__hide(pool, slab__page_of(name));
    slab__poison_leave();
    return won ? 0 : slab__refuse(pool, -ESTALE);
}

/* Any thread, after slab__end_life: tells the owner in which groups to look. */
static inline void slab__hint(slab_pool *pool, uint32_t word, uint32_t bits)
{
    _Atomic(uint32_t) *hint = &pool->shared->hints[word];

    /* seq_cst, crosses with the exchange in slab_pool_drain: if all bits are set still, the owner's
       look at our group is yet to come, and will see the life ended. */
    if ((atomic_load_explicit(hint, memory_order_seq_cst) & bits) == bits) return;
    /* relaxed: whoever takes the bits comes after the load above, which did not see them all, and
       so after our compare-exchange; the look that follows sees the life ended. */
    atomic_fetch_or_explicit(hint, bits, memory_order_relaxed);
}

/* Any thread, after slab__end_life: whether the owner sleeps and it is on us to wake it. */
static inline bool slab__take_wake(slab_pool *pool)
{
    _Atomic(uint32_t) *wanted = &pool->shared->wanted;

    /* seq_cst, crosses with the store in slab_pool_want: either we see it, or the owner's look that
       follows it sees our life ended. The exchange, relaxed, only picks one of us. */
    return atomic_load_explicit(wanted, memory_order_seq_cst) != 0 &&
           atomic_exchange_explicit(wanted, 0, memory_order_relaxed) != 0;
}

SLAB_API int slab_pool_return(slab_pool *pool, slab_id id)
{
    if (!pool) return -EINVAL;
    uint64_t name  = slab__name_of(id);
    int      error = slab__end_life(pool, name);
    if (error) return error;
    uint32_t group = (uint32_t)slab__page_of(name) >> pool->group_shift;
    slab__hint(pool, group >> 5, UINT32_C(1) << (group & 31));
    return slab__take_wake(pool);
}

SLAB_API size_t slab_pool_return_many(slab_pool *pool, const slab_id *ids, size_t count,
                                      bool *wake)
{
    size_t   live = 0;
    uint32_t word = 0, bits = 0; /* the hints to give, all of one word: 256 pages or more */

    if (wake) *wake = false;
    if (!pool || !wake || (!ids && count > 0)) return 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t name = slab__name_of(ids[i]);
        if (slab__end_life(pool, name) != 0) continue;
        uint32_t group = (uint32_t)slab__page_of(name) >> pool->group_shift;
        if (bits != 0 && group >> 5 != word) {
            slab__hint(pool, word, bits);
            bits = 0;
        }
        word = group >> 5;
        bits |= UINT32_C(1) << (group & 31);
        live++;
    }
    if (live == 0) return 0;
    slab__hint(pool, word, bits);
    *wake = slab__take_wake(pool);
    return live;
}

/* -- Drain -- */

SLAB_API size_t slab_pool_drain(slab_pool *pool)
{
    size_t   recycled = 0;
    uint32_t words    = pool ? pool->hint_words : 0;

    for (uint32_t word = 0; word < words; word++) {
        _Atomic(uint32_t) *hint = &pool->shared->hints[word];

        /* relaxed: a bit of a return that happened before us is never missed; one that is just
           being set waits for the next drain. */
        if (atomic_load_explicit(hint, memory_order_relaxed) == 0) continue;
        /* seq_cst, crosses with the load in slab__hint: a returner that finds its bit set has ended
           its life before the look that follows here. */
        uint32_t bits = atomic_exchange_explicit(hint, 0, memory_order_seq_cst);
        for (; bits != 0; bits &= bits - 1) {
            uint32_t group = word * 32 + (uint32_t)__builtin_ctz(bits);
            uint32_t first = group << pool->group_shift;
            recycled += slab__look(pool, first, first + (UINT32_C(1) << pool->group_shift));
        }
    }
    return recycled;
}

SLAB_API bool slab_pool_want(slab_pool *pool)
{
    if (!pool || pool->owned == 0) return false;
    if (pool->free_last != 0 || pool->free_top != 0) return false;
    /* seq_cst, crosses with the load in slab__take_wake: a returner that does not see this has
       ended its life before the look that follows. */
    atomic_store_explicit(&pool->shared->wanted, 1, memory_order_seq_cst);
    if (slab__look(pool, 0, pool->owned) == 0) return true;
    /* relaxed: a returner that takes it first wakes an owner that is awake. */
    atomic_store_explicit(&pool->shared->wanted, 0, memory_order_relaxed);
    return false;
}

/* -- Other processes -- */

SLAB_API int slab_pool_attach(slab_pool **view, void *memory, size_t memory_size)
{
    slab__shared    *shared = (slab__shared *)memory;
    slab_pool_config shape  = {0};

    if (!view) return -EINVAL;
    *view = NULL;
    if (!memory || (uintptr_t)memory % SLAB__PAGE_ALIGN != 0) return -EINVAL;
    if (memory_size < SLAB__PAGE_ALIGN) return -EINVAL;
    /* acquire, pairs with the release in slab__format: the shape is written. */
    if (atomic_load_explicit(&shared->magic, memory_order_acquire) != SLAB__MAGIC) return -EINVAL;
    /* relaxed: after the magic. Each is read once, then checked: it may change under us. */
    shape.page_size  = atomic_load_explicit(&shared->page_size, memory_order_relaxed);
    shape.page_count = atomic_load_explicit(&shared->page_count, memory_order_relaxed);
    shape.core       = (uint16_t)atomic_load_explicit(&shared->core, memory_order_relaxed);
    if (shape.page_size == 0 || shape.page_count == 0) return -EINVAL;
    size_t shared_size = slab_pool_footprint(&shape);
    if (shared_size == 0 || shared_size > memory_size) return -EINVAL;

    slab_pool *made = (slab_pool *)SLAB_MAP(sizeof *made);
    if (!made) return -ENOMEM;
    slab__bind(made, shared, shape.page_size, shape.page_count, shape.core);
    made->private_size = sizeof *made;
    *view = made;
    return 0;
}

SLAB_API void slab_pool_detach(slab_pool *view)
{
    if (!view || view->owned != 0) return;
    slab__show_all(view);
    SLAB_UNMAP(view, view->private_size);
}

/* -- Stats and the end -- */

/* Owner: pages that are out and whose id still reads. */
static uint32_t slab__count_live(const slab_pool *pool)
{
    uint32_t live = 0;

    for (uint32_t page = 0; page < pool->owned; page++)
        live += slab__is_out(pool, page) && slab__is_live(pool, pool->out[page]);
    return live;
}

SLAB_API void slab_pool_stats(const slab_pool *pool, struct slab_pool_info *stats)
{
    if (!stats) return;
    *stats = (struct slab_pool_info){0, 0, 0, 0, 0.0};
    if (!pool) return;
    stats->page_count = pool->page_count;
    stats->available  = pool->owned - slab__count_live(pool);
    stats->allocs     = pool->allocs;
    /* relaxed: a count. */
    stats->refused     = atomic_load_explicit(&pool->shared->refused, memory_order_relaxed);
    stats->utilization = 1.0 - (double)stats->available / pool->page_count;
}

SLAB_API size_t slab_pool_destroy(slab_pool *pool)
{
    if (!pool || pool->owned == 0) return 0;
    size_t lost = slab__count_live(pool);

    slab__show_all(pool);
    /* relaxed: an attach that still sees the magic comes too early or too late in any order. */
    atomic_store_explicit(&pool->shared->magic, 0, memory_order_relaxed);
    if (pool->owns_memory) SLAB_UNMAP(pool->shared, pool->shared_size);
    SLAB_UNMAP(pool, pool->private_size);
    return lost;
}

#endif /* SLAB_IMPLEMENTATION */

/* The MIT License, or the Unlicense, as you prefer; both in full in the project's LICENSE.
 *
 * Copyright (c) 2026 The Ashlar authors
 *
 * Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
 * associated documentation files (the "Software"), to deal in the Software without restriction,
 * including without limitation the rights to use, copy, modify, merge, publish, distribute,
 * sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
 * furnished to do so, subject to the following conditions:
 *
 * The above copyright notice and this permission notice shall be included in all copies or
 * substantial portions of the Software.
 *
 * THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
 * NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
 * NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM,
 * DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
 * OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE. */
