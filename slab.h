/* slab.h - pages that one thread fills and any thread or process returns, and values of any size
 * behind 32-bit refs.
 *
 *     #define SLAB_IMPLEMENTATION               // in one C file
 *     #include "slab.h"
 *     #include <stdio.h>
 *
 *     int main(void)
 *     {
 *         slab_pool *pool;
 *         slab_id    id;                        // 8 bytes: what you send through your queue
 *         size_t     len;
 *
 *         if (slab_pool_create(&pool, NULL) != 0) return 1;        // 256 pages of 64 KiB
 *         if (slab_pool_put(pool, "hello", 6, &id) != 0) return 1; // the owner fills a page
 *         puts(slab_pool_read(pool, id, &len));                    // any thread reads it
 *         slab_pool_return(pool, id);                              // and returns it, once
 *         return slab_pool_destroy(pool) != 0;                     // 0: no page was lost
 *     }
 *
 * This shows slab_pool. The synopsis of slab_store is at the head of its declarations, below.
 *
 * Include it in any file for the declarations. Macros to define before that:
 *
 *   SLAB_IMPLEMENTATION           in one C file: adds the implementation to the declarations
 *   SLAB_API                      is placed before each function. "static inline", together with
 *                                 SLAB_IMPLEMENTATION in each file, gives the fastest calls
 *   SLAB_ASSERT(x)                checks the header's own invariants; default: assert
 *   SLAB_MAP(size)                returns zeroed memory aligned to 4096, or NULL; default: mmap
 *   SLAB_UNMAP(memory, size)      gives such memory back to the system; default: munmap
 *   SLAB_HUGE(memory, size)       asks for large pages for a slab_store; default: madvise
 *   SLAB_DISCARD(memory, size)    gives the content of pages of a slab_store back to the system.
 *                                 Its value is 0 if they read as zero from now on, else it is not;
 *                                 default: madvise
 *
 * Those below SLAB_API take effect in the file with SLAB_IMPLEMENTATION. Define SLAB_MAP together
 * with SLAB_UNMAP; then SLAB_HUGE and SLAB_DISCARD do nothing unless you define them, too.
 *
 * Requires Linux, and gcc or clang with C11 or later. The declarations are also C++11. Links with
 * no library. Licence: MIT or Unlicense, at the end of the file.
 */
#ifndef SLAB_H
#define SLAB_H

#define SLAB_VERSION 200 /* 0.2.0: major * 10000 + minor * 100 + patch */

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
 * Pages of one size. The owner allocates a page, fills it and sends its id to another thread or
 * process, which reads the page and returns it. A life of a page begins with alloc or put, and ends
 * with return or free. An id names one life.
 *
 * Threads
 *
 *   One thread at a time is the owner. It alone calls create, adopt, alloc, put, set_len, free,
 *   drain, want, next, stats and destroy. Ownership may move to another thread as any other data
 *   does: through a lock or a queue; and to another process: see slab_pool_adopt. Any thread calls
 *   read, return and return_many, with any id, even one that is stale, forged or was returned
 *   before.
 *
 * Promises
 *
 *   - Of all returns of one life, at most one succeeds. The others return -ESTALE or -EINVAL and
 *     change nothing. No sequence of calls, in any threads, corrupts the pool.
 *   - Return is wait-free: it takes at most five atomic operations, and has no queue that can be
 *     full. A thread that is stopped or killed in the middle of a return delays no other: alloc
 *     finds every page whose life is over before it returns NULL. (Only an owner that sleeps can
 *     miss its wake-up: see slab_pool_want.)
 *   - A reader's last access to a page happens before the owner's next write to it, on every
 *     processor architecture.
 *   - A process that writes at random into the shared memory can spoil payloads, lose pages and
 *     wake-ups, falsify counts and end lives. It cannot make the owner access memory outside the
 *     pool, loop for ever or crash. Once it stops, no page is handed out twice from then on.
 *
 * Memory
 *
 *   Besides the pages, 24 bytes for each page, 8 of them shared, and at most 16 KiB. If the pool
 *   lends, 8 bytes more for each page, shared.
 *
 * Limitations
 *
 *   - A generation counts 2^31 lives of one page, and then starts again. An id that was kept
 *     through all of them passes for valid in the one life that has its generation. The shortest
 *     life takes 3 ns, if nothing else is done: 6 seconds for all of them. Handed to another core,
 *     a life takes 30 ns: a minute. Once a millisecond: 24 days.
 *   - If the file below the memory is cut short, every process that maps it gets SIGBUS. Seal a
 *     memfd with F_SEAL_SHRINK before you hand it out.
 *   - slab_pool_create starts all generations again. Before you create a second pool in the same
 *     memory, make sure that no view and no id of the first is left, or adopt the first. */

typedef struct slab_pool slab_pool;

/* One life of one page. Its 8 bytes fit any 64-bit queue slot. All zero is never live. */
typedef struct slab_id {
    uint16_t core; /* the pool's config.core */
    uint16_t page;
    uint32_t gen;  /* odd */
} slab_id;

/* Tells the owner that a returned page has been recycled, and which life of it has ended. Must not
 * call a function of that pool. */
typedef void slab_recycled_fn(void *context, slab_id id);

/* 0 or NULL in a field means its default. A config that is NULL means all defaults. */
typedef struct slab_pool_config {
    uint16_t core;        /* copied into every id; the pool refuses ids with another core */
    uint32_t page_size;   /* bytes, a multiple of 64; 0 = 64 KiB */
    uint32_t page_count;  /* 1..65536; 0 = 256 */
    void    *memory;      /* aligned to 4096, with any content; NULL = mapped by the pool */
    size_t   memory_size; /* bytes at memory, at least slab_pool_footprint() */
    int      fd;          /* of the file that is mapped at memory. The pool locks its first byte, so
                           * as to have one owner at a time (see slab_pool_adopt); 0 = no lock */
    bool     lends;       /* notes the holder of each page that slab_pool_lend names, in 8 bytes
                           * more for each page */

    slab_recycled_fn *recycled; /* called for each page that drain, alloc, put, want, stats or reap
                                 * recycles, once for each life; NULL = no call */
    void             *context;  /* its first argument */
} slab_pool_config;

struct slab_pool_info {
    uint32_t page_count;
    uint32_t available;   /* free now, or returned and waiting for a drain */
    uint64_t allocs;      /* lives begun since create */
    uint64_t refused;     /* ids refused by return, return_many and free; wraps as a size_t does */
    double   utilization; /* 0 = every page is available, 1 = none is */
    uint32_t peak;        /* most pages out at once since create. A page that was returned is out
                           * until it is recycled: drain often, and the peak is of live pages */
};

/* Returns how many bytes of memory a pool of this shape takes, a multiple of 4096. Any thread. If
 * config is NULL, all defaults apply. Returns 0 if page_size or page_count is out of range, or if
 * the result exceeds a size_t. */
SLAB_API size_t slab_pool_footprint(const slab_pool_config *config);

/* Creates a pool and makes the caller its owner. If config is NULL, all defaults apply. Begins
 * anew, whatever the memory holds. (slab_pool_adopt goes on with the pool that is there.) Returns
 *   0        on success;
 *   -EINVAL  if pool is NULL, the footprint is 0, or memory is too small or misaligned; if fd is
 *            below 0, or above 0 and memory is NULL;
 *   -EBUSY   if another pool, whose owner lives, has locked the file of fd;
 *   -ENOTSUP if it is to lend, and the target has no lock-free atomics of 64 bits;
 *   -ENOMEM  if the system has no memory;
 *   another  error of open(2) or fcntl(2) if the file of fd cannot be locked.
 * On failure *pool is NULL, and config->memory is unchanged.
 *
 * If config->memory is NULL, a child after fork has a pool of its own with all pages available, and
 * refuses the ids that were out with -ESTALE: nothing that the child does concerns its parent. This
 * needs Linux 4.14, and no SLAB_MAP of yours; otherwise the child has a copy of the pool, in which
 * its return of such an id succeeds, and the parent does not learn of it. To share pages with a
 * child, pass shared memory; the parent stays the owner, and the child may read and return. */
SLAB_API int slab_pool_create(slab_pool **pool, const slab_pool_config *config);

/* Makes the caller the owner of the pool that config->memory holds, after the process of its owner
 * has ended, be it by kill -9 in the middle of a call. config is as for slab_pool_create, with the
 * shape and core of that pool. Returns
 *   0        on success;
 *   -EINVAL  if memory is NULL or holds no such pool: it was never created, its creation was broken
 *            off, it was destroyed, or its shape, core or lends is another; and as create;
 *   -EBUSY   if the owner lives (with fd);
 *   -ENOMEM and other errors as slab_pool_create.
 * On failure *pool is NULL, and config->memory is unchanged.
 *
 * Generations go on: an id of the former owner names its page as long as that is out, and never a
 * later life. A page that was out stays out until its id is returned or freed; slab_pool_next lists
 * these ids. All other pages are available. Views stay attached, and may read and return meanwhile.
 * The new owner may free, set_len and return the ids of the former. allocs counts from 0, and peak
 * from the number of pages that are out. Looks at every page.
 *
 * A pool must have one owner. With fd, the kernel sees to that: each pool opens the file once more
 * (through /proc/self/fd) and holds an OFD lock on its first byte until its destroy or its end. A
 * child after fork shares the lock, even when the parent has ended, until it calls exec, exits or
 * detaches the pool. Without fd, the caller sees to it: before adopt, make sure by waitpid(2), or
 * by poll(2) of its pidfd, that the process of the former owner has ended. */
SLAB_API int slab_pool_adopt(slab_pool **pool, const slab_pool_config *config);

/* Returns the ids of all pages that are out, one with each call, and all zeros after the last.
 * Owner only. *cursor = 0 begins. A page that is returned or allocated meanwhile may be among them.
 * Returns all zeros if pool or cursor is NULL, or pool is a view. */
SLAB_API slab_id slab_pool_next(const slab_pool *pool, uint32_t *cursor);

/* Returns where the first page is, and stores the size of a page and the number of pages. Page n of
 * an id lies at n * *page_size from there. Any thread, of a pool or a view: say, to register
 * the pages as buffers of io_uring. page_size and page_count may be NULL. Returns NULL and stores 0
 * if pool is NULL. */
SLAB_API void *slab_pool_base(const slab_pool *pool, uint32_t *page_size, uint32_t *page_count);

/* Returns an id as one word, for a queue of 64-bit slots or the user_data of an io_uring. Any
 * thread. The word has the bytes of the id, so it means the same in every process of a machine. 0
 * is not the word of a live id. */
SLAB_API uint64_t slab_id_pack(slab_id id);

/* Returns the id that slab_id_pack made this word of. Any thread. Every word is some id. */
SLAB_API slab_id slab_id_unpack(uint64_t word);

/* Allocates a page for len bytes and stores its id in *id. Owner only. Returns the page, aligned to
 * 64. Returns NULL if len exceeds the page size, every page is out, or a pointer is NULL; then *id
 * is zero.
 *
 * Never blocks. Takes one or two nanoseconds while pages are free. Without a free page it drains;
 * if few pages have come back, it gives the threads that are returning some 0.1 us before it takes
 * more. Before it returns NULL it looks at every page. */
SLAB_API void *slab_pool_alloc(slab_pool *pool, size_t len, slab_id *id);

/* Allocates a page as slab_pool_alloc does, and copies len bytes into it. Owner only. data may be
 * NULL if len is 0. Returns
 *   0          on success;
 *   -EMSGSIZE  if len exceeds the page size;
 *   -ENOBUFS   if every page is out;
 *   -EINVAL    if a pointer is NULL.
 * On failure *id is zero. */
SLAB_API int slab_pool_put(slab_pool *pool, const void *data, size_t len, slab_id *id);

/* Changes the length of a live page. Owner only. Call it before you hand over the id: a reader that
 * knows the id already may get either length. Returns
 *   0          on success;
 *   -EMSGSIZE  if len exceeds the page size;
 *   -ESTALE    if the page is not live;
 *   -EINVAL    if id names no page of this pool, or pool is NULL. */
SLAB_API int slab_pool_set_len(slab_pool *pool, slab_id id, size_t len);

/* Returns the payload of a live page and stores its length in *len. Any thread. The payload is
 * valid until the id is returned or freed. Returns NULL if the id is not live, or pool or len is
 * NULL; then *len is 0. Costs one atomic load, and one for the length. */
SLAB_API const void *slab_pool_read(const slab_pool *pool, slab_id id, size_t *len);

/* Success of slab_pool_return, and more: the owner sleeps, and the caller must wake it. */
enum { SLAB_WAKE_OWNER = 1 };

/* Gives a page back to its owner: ends the life that the id names. Any thread. Returns
 *   0                on success;
 *   SLAB_WAKE_OWNER  on success, if the caller must wake the owner (see slab_pool_want);
 *   -ESTALE          if the life is over or has never begun;
 *   -EINVAL          if id has another core or names no page of this pool, or pool is NULL.
 * A result below 0 is a failure; the others are not. A second return of the same id returns -ESTALE
 * and changes nothing. Usually costs one compare-exchange and two loads. */
SLAB_API int slab_pool_return(slab_pool *pool, slab_id id);

/* Gives count pages back as slab_pool_return does. Any thread. Returns how many ids were live. Sets
 * *wake in every case: true means that the caller must wake the owner. Returns 0 and gives no page
 * back if pool or wake is NULL, or ids is NULL and count is not 0. */
SLAB_API size_t slab_pool_return_many(slab_pool *pool, const slab_id *ids, size_t count,
                                      bool *wake);

/* Ends a life at once, without a locked instruction. Owner only. Returns
 *   0        on success;
 *   -ESTALE  if the page is not live;
 *   -EINVAL  if id names no page of this pool, or pool is NULL.
 * A second free of the same id returns -ESTALE and changes nothing.
 *
 * The result is exact about every return that happened before this call and every one that comes
 * after it. If another thread returns the same id at this very moment, both may get 0; the page is
 * recycled once all the same. To take a page back from threads that may be returning it, call
 * slab_pool_return: it is exact against them. (A free that is exact against a simultaneous return
 * needs a locked instruction or a fence: Attiya et al., Laws of Order, POPL 2011.) */
SLAB_API int slab_pool_free(slab_pool *pool, slab_id id);

/* Recycles every page whose return was complete before this call, and calls config.recycled for
 * each. Owner only. Returns how many, together with those that stats recycled before; 0 if pool is
 * NULL. Reads one cache line if there is none. slab_pool_alloc recycles by itself. */
SLAB_API size_t slab_pool_drain(slab_pool *pool);

/* Asks for a wake-up before the owner sleeps because every page is out. Owner only. Returns
 *   true   if the request stands: the next slab_pool_return that ends a life returns
 *          SLAB_WAKE_OWNER, or the next slab_pool_return_many that ends one sets *wake, and its
 *          caller must wake the owner;
 *   false  if there are pages already, or pool is NULL.
 * No return falls between the two. Looks at every page.
 *
 * The request stands until it is answered: an owner that woke for another reason, or got false
 * while a page was being returned, may get one wake-up that it did not need. A thread that is
 * stopped or killed between ending a life and waking the owner delays or loses that wake-up: where
 * this can happen, sleep with a timeout. */
SLAB_API bool slab_pool_want(slab_pool *pool);

/* A pool whose config.lends is true notes for each page to which peer it is lent, so that the pages
 * of a peer that has died can be taken back. A peer is a number of the caller's choice, such as the
 * index of a process in a table. SLAB_NO_PEER is none. */
#define SLAB_NO_PEER 0xffffffffu

/* Notes that a page is lent to a peer, in place of the peer it was lent to before. Ends with the
 * life of the page. Any thread that may hand over the page: the owner before it sends the id to the
 * peer, or a reader before it passes the id on. Returns
 *   0         on success;
 *   -ESTALE   if the life is over or has never begun;
 *   -EINVAL   if id has another core or names no page of this pool, or pool is NULL;
 *   -ENOTSUP  if the pool does not lend.
 * Usually costs one compare-exchange and two loads.
 *
 * Lend, then make sure that the peer lives, then send. If it has died, return the page: reap may
 * have come before lend. If it dies later, reap finds the page. */
SLAB_API int slab_pool_lend(slab_pool *pool, slab_id id, uint32_t peer);

/* Returns to which peer a page is lent; SLAB_NO_PEER if to none, if the id is not live, if the pool
 * does not lend, or if pool is NULL. Any thread. */
SLAB_API uint32_t slab_pool_peer(const slab_pool *pool, slab_id id);

/* Takes back every page that is lent to a peer: ends its life, and recycles it. Owner only, after
 * the peer's last access to a page: when it has died. Returns how many. A page that was or is being
 * returned is not among them; it comes back once all the same. With SLAB_NO_PEER, takes back the
 * pages that are out and lent to none: after adopt, these are what the former owner had in hand.
 * Returns 0 if the pool does not lend or is a view, or pool is NULL. Looks at every page. */
SLAB_API size_t slab_pool_reap(slab_pool *pool, uint32_t peer);

/* Creates a view of a pool that lies in shared memory. Any process may do so that maps the memory
 * for reading and writing, at any address aligned to 4096, but not while another pool is created
 * there. Nothing in the memory is trusted for memory safety.
 *
 * A view can read, return and lend. It owns no page: alloc returns NULL, put -ENOBUFS, free and
 * set_len -EINVAL, drain 0, want false, and stats only what a view can know. Returns
 *   0        on success;
 *   -EINVAL  if memory holds no pool, or not all of it within memory_size; if memory is misaligned,
 *            or a pointer is NULL;
 *   -ENOMEM  if the system has no memory.
 * On failure *view is NULL. */
SLAB_API int slab_pool_attach(slab_pool **view, void *memory, size_t memory_size);

/* Ends a view, while no other thread is inside a call on it. In a child after fork, also ends the
 * child's copy of its parent's pool, and with it the child's share in the lock of config.fd. Does
 * nothing if view is NULL or an owner's pool. */
SLAB_API void slab_pool_detach(slab_pool *view);

/* Fills in *stats. Owner only. Exact if no return is under way, and none was broken off as its
 * thread was killed. Of a view, page_count and refused are set, and the rest is as of a pool with
 * no page available. If pool is NULL, all fields are 0. Does nothing if stats is NULL.
 *
 * Takes constant time, however many pages the pool has, beside what drain would take: it recycles
 * what has come back, which the next drain then need not. */
SLAB_API void slab_pool_stats(const slab_pool *pool, struct slab_pool_info *stats);

/* Destroys a pool. Owner only, while no other thread is inside a call. Returns how many pages were
 * never returned. Memory that the caller provided remains, but can no longer be attached; views of
 * it must still be detached. Does nothing and returns 0 if pool is NULL or a view. */
SLAB_API size_t slab_pool_destroy(slab_pool *pool);

/* ---- slab_store -----------------------------------------------------------------------------
 *
 * Values of any size behind 32-bit refs.
 *
 *     slab_store *store;
 *     slab_ref    ref;                              // 4 bytes: keep it in your index, with len
 *
 *     if (slab_store_create(&store, NULL) != 0) return 1; // tiers of 64 .. 4,096 bytes, no limit
 *     if (slab_store_put(store, "a value", 8, &ref) != 0) return 1;
 *     puts(slab_store_get(store, ref, 8));
 *     slab_store_free(store, ref, 8);
 *     slab_store_destroy(store);
 *
 * A value lies in a slot of the smallest tier that holds it. A tier has slots of one size, in
 * chunks. Values above the largest tier are large objects, in whole pages of 4,096 bytes.
 *
 * Threads
 *
 *   One thread at a time calls the functions of a store. The exception is slab_store_get: threads
 *   may call it at the same time while none calls anything else.
 *
 * Promises
 *
 *   - A value is contiguous and aligned to 8, or to 64 if the slot size is a multiple of 64. The
 *     rest of its slot is zero.
 *   - Growth copies no value and moves none: it maps an extent of 2 MiB; if max_bytes is below 128
 *     MiB, of the largest power of two up to a sixty-fourth of it, but of 64 KiB at least. A
 *     pointer from get is valid until the value is freed, or moved by compact.
 *   - A tier uses its freed slots before fresh memory, except those of a chunk that compact is
 *     emptying. A chunk that becomes empty serves any tier, and any large object that fits, before
 *     the store asks the system for memory.
 *   - If a ref is stale, forged or does not belong to len, get returns NULL and free -ESTALE, as
 *     long as it does not name a live value (see Limitations).
 *
 * Memory
 *
 *   1 bit for each slot, some 50 bytes for each chunk, 64 KiB for every 4,096 large objects, and 8
 *   to 48 KiB for the store. All of it is counted, and none of it is in the slots. A chunk has 64
 *   KiB or somewhat more. A large object above the size of an extent is a mapping of its own.
 *   Choose the tiers by what you store: seven doublings waste a quarter of their bytes, sixteen
 *   fitted tiers 6 % if sizes are spread evenly. See slab_fit_tiers.
 *
 * Limitations
 *
 *   - A ref has no generation: a ref that is kept after free may name the slot's next value of that
 *     tier. */

typedef struct slab_store slab_store;

/* Names a value. If bit 31 is 1, it is a large object, and the other bits are its number. Otherwise
 * the tier stands above the slot: 3 + 28 bits for up to 7 tiers, 4 + 27 for up to 15, 5 + 26 for up
 * to 31, 6 + 25 for up to 63. When all slots of a tier have names, further values of it become
 * large objects. */
typedef uint32_t slab_ref;
#define SLAB_NO_REF 0xffffffffu /* never names a value */

typedef struct slab_store_config {
    const uint32_t *tier_sizes; /* slot sizes: ascending multiples of 8, at most 65536;
                                 * NULL = 64, 128, 256 .. 4096, and tier_count is ignored */
    uint32_t        tier_count; /* 1..63 */
    size_t          max_bytes;  /* of memory held, metadata included; 0 = no limit */
} slab_store_config;

struct slab_tier_info {
    uint32_t slot_size;
    uint32_t total_slots;
    uint32_t occupied_slots;
    size_t   capacity_bytes;      /* of all slots */
    size_t   occupied_bytes;      /* of occupied slots, in full */
    double   fragmentation_ratio; /* capacity / occupied; 0 when empty */
    size_t   payload_bytes;       /* stored by callers, by the len they gave to put and free */
    size_t   metadata_bytes;      /* live bits and records; part of the store's metadata */
};

struct slab_store_info {
    uint32_t tier_count;
    uint32_t large_count;
    size_t   capacity_bytes; /* of slots and large objects, used or not */
    size_t   used_bytes;     /* of occupied slots, in full, and of large objects, by their length */
    size_t   payload_bytes;  /* stored by callers */
    size_t   metadata_bytes;
    double   fragmentation_ratio; /* capacity / used; 0 when empty */
    size_t   empty_bytes;         /* held, but in no tier and no large object */
    size_t   held_bytes;          /* all that is mapped, resident or not: max_bytes limits it */
    size_t   lost_bytes;          /* behind the last slots of chunks. So held_bytes is the sum of
                                   * capacity, metadata, empty and lost */
};

/* Computes the tier sizes, at most tier_count of them and at most 63, that waste least for a
 * histogram of n value sizes. sizes is strictly ascending within 1..65536; counts[i] belongs to
 * sizes[i]; the sum of counts times 65536 must fit 64 bits. Writes the tier sizes to tier_sizes,
 * ascending. Returns how many there are, or 0 for bad input or if there is no memory for the
 * computation. Any thread.
 *
 * The last tier holds the largest size, so leave out sizes that you would rather have as large
 * objects: a few large ones can claim many tiers.
 * Exact: dynamic programming by divide and conquer (Galil and Park, 1992), O(tier_count n log n).
 * 8,192 sizes and 63 tiers take 16 ms. */
SLAB_API uint32_t slab_fit_tiers(const uint32_t *sizes, const uint64_t *counts, size_t n,
                                 uint32_t *tier_sizes, uint32_t tier_count);

/* Creates a store. If config is NULL, all defaults apply. Returns
 *   0        on success;
 *   -EINVAL  if store is NULL, tier_count or tier_sizes is not as above, or max_bytes is too small
 *            for the metadata and one chunk;
 *   -ENOMEM  if the system has no memory.
 * On failure *store is NULL. */
SLAB_API int slab_store_create(slab_store **store, const slab_store_config *config);

/* Stores a copy of len bytes, which may be 0, and its ref in *ref. data may be NULL if len is 0.
 * Returns
 *   0          on success;
 *   -EMSGSIZE  if len exceeds UINT32_MAX;
 *   -ENOSPC    if max_bytes is reached;
 *   -ENOMEM    if the system has no memory;
 *   -EINVAL    if a pointer is NULL.
 * On failure *ref is SLAB_NO_REF, no value has changed, and the store holds no more memory than
 * before (if it was a large object, in rare cases up to 36 KiB more of metadata). Costs little if
 * it returns -ENOSPC. */
SLAB_API int slab_store_put(slab_store *store, const void *data, size_t len, slab_ref *ref);

/* Makes a value of len bytes, of any content, for the caller to fill. Returns it, and stores its
 * ref in *ref. Returns NULL in the cases in which slab_store_put fails; then *ref is
 * SLAB_NO_REF. */
SLAB_API void *slab_store_alloc(slab_store *store, size_t len, slab_ref *ref);

/* Returns a value, or NULL unless ref names a live one and len belongs to its tier (for a large
 * object: is its length). To write to the value, up to len bytes, cast the const away. Costs a few
 * loads and writes nothing. */
SLAB_API const void *slab_store_get(const slab_store *store, slab_ref ref, size_t len);

/* Frees a value. len must be the length it was stored with: stats depend on it. Returns
 *   0        on success;
 *   -ESTALE  if slab_store_get would return NULL;
 *   -EINVAL  if store is NULL.
 * A second free of the same ref returns -ESTALE and changes nothing, unless the slot holds a value
 * again (see Limitations). */
SLAB_API int slab_store_free(slab_store *store, slab_ref ref, size_t len);

/* Returns whether ref is of a large object; SLAB_NO_REF is not. Any thread. */
SLAB_API bool slab_ref_is_large(slab_ref ref);

/* Called by slab_store_compact after each move: the value is now under `to`, at `value`, and `from`
 * is free. May call functions of the store other than slab_store_destroy. */
typedef void slab_moved_fn(void *context, slab_ref from, slab_ref to, void *value);

/* Empties sparse chunks, while a tier has at least as many free slots as a chunk has slots, plus a
 * sixty-fourth of all its slots. Moves at most max_moves values and calls moved after each. Returns
 * how many it moved; 0 means that there is nothing to gain. Does nothing and returns 0 if store or
 * moved is NULL. Large objects are never moved.
 *
 * The next call continues what this one leaves half done, so many small calls do as much as one
 * large one: two moves after each free keep up with any load. Takes some nanoseconds if there is
 * nothing to do. */
SLAB_API size_t slab_store_compact(slab_store *store, size_t max_moves, slab_moved_fn *moved,
                                   void *context);

/* Gives memory that is in no chunk and no large object back to the system: whole extents, and the
 * content of the free pages of others (with a SLAB_MAP of yours, only if you define SLAB_DISCARD,
 * too). Returns how many bytes, or 0 if store is NULL. Locked pages (mlockall), and pages for which
 * the system refuses madvise, stay with the store and are not counted. A chunk that holds one value
 * stays: see slab_store_compact. */
SLAB_API size_t slab_store_trim(slab_store *store);

/* Fills in *stats. Exact at any time, in constant time. If store is NULL, all fields are 0. Does
 * nothing if stats is NULL. */
SLAB_API void slab_store_stats(const slab_store *store, struct slab_store_info *stats);

/* Fills in *stats for one tier. Returns 0, or -EINVAL if there is no such tier or a pointer is
 * NULL; then all fields are 0. */
SLAB_API int slab_store_tier_stats(const slab_store *store, uint32_t tier,
                                   struct slab_tier_info *stats);

/* Destroys a store, live values included. Does nothing if store is NULL. */
SLAB_API void slab_store_destroy(slab_store *store);

#ifdef __cplusplus
}
#endif
#endif /* SLAB_H */

/* ======== SLAB_IMPLEMENTATION =============================================================== */

#if defined SLAB_IMPLEMENTATION && !defined SLAB__IMPLEMENTED
#define SLAB__IMPLEMENTED

/* ---- prelude: language ---- */

#ifdef __cplusplus
#error "slab.h: define SLAB_IMPLEMENTATION in a C file; C++ gets the declarations"
#endif

/* ---- includes ---- */

#include <errno.h>
#include <fcntl.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

/* ---- prelude: assert ---- */

#ifndef SLAB_ASSERT
#include <assert.h>
#define SLAB_ASSERT(condition) assert(condition)
#endif

/* ---- prelude: kernel ----
 *
 * In a strict build (-std=c11) a C library hides names, and each hides others. An #ifdef on a
 * hidden name would turn a feature off silently. So this header declares hidden calls under its
 * own names, which cannot repeat a declaration of the C library, and gives the kernel's numbers,
 * which are the same on every supported processor. */

#include <sys/mman.h>
#ifndef MAP_ANONYMOUS /* hidden by glibc, but not by the kernel's header */
#include <asm/mman.h>
#endif

int slab__madvise(void *memory, size_t size, int advice) __asm__("madvise");

enum {
    SLAB__MADV_DONTNEED       = 4,
    SLAB__MADV_DONTFORK       = 10,
    SLAB__MADV_DOFORK         = 11,
    SLAB__MADV_HUGEPAGE       = 14,
    SLAB__MADV_NOHUGEPAGE     = 15,
    SLAB__MADV_POPULATE_READ  = 22, /* this and the next: since Linux 5.14 */
    SLAB__MADV_POPULATE_WRITE = 23,
};

/* ---- prelude: memory ---- */

#if defined SLAB_MAP != defined SLAB_UNMAP
#error "slab.h: define SLAB_MAP and SLAB_UNMAP, or neither"
#endif
#ifdef SLAB_MAP
#define SLAB__MAPS_ITSELF 0
#else
#define SLAB__MAPS_ITSELF        1
#define SLAB_MAP(size)           slab__map(size, 0)
#define SLAB_UNMAP(memory, size) slab__unmap(memory, size)
#endif

/* Maps zeroed memory. Returns NULL on failure. */
static inline void *slab__map(size_t size, int flags)
{
    const int access = PROT_READ | PROT_WRITE;
    void     *memory = mmap(NULL, size, access, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

/* Unmaps memory. Where that would split a mapping and vm.max_map_count allows no more mappings, it
 * fails: then the pages go back to the system, and only the addresses are lost. */
static inline void slab__unmap(void *memory, size_t size)
{
    if (munmap(memory, size) != 0) (void)slab__madvise(memory, size, SLAB__MADV_DONTNEED);
}

/* ---- prelude: sanitizers ----
 *
 * Memory that is not in use is poisoned under AddressSanitizer, and under Valgrind if the program
 * included <valgrind/memcheck.h> first: an access to it is reported where it happens.
 *   HIDE    no access is allowed
 *   SHOW    every access is allowed, and the content is defined
 *   FRESH   every access is allowed, and the content is undefined
 * POISONS is defined only in builds that can poison; its value says whether this run does. */

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
#else
#define SLAB__HIDE(memory, size)  ((void)0)
#define SLAB__SHOW(memory, size)  ((void)0)
#define SLAB__FRESH(memory, size) ((void)0)
#endif

/* ---- prelude: poison lock ----
 *
 * In builds with poison, and only there, this lock keeps one thread's poisoning of a block that it
 * gives back apart from the unpoisoning by the block's next owner. There is one lock in a process,
 * even if several files compile this header's implementation. */

#ifdef SLAB__POISONS
#include <sched.h>
__attribute__((weak)) _Atomic(uint32_t) slab__poison_lock;

static void slab__poison_enter(void)
{
    if (!SLAB__POISONS) return;
    /* acquire, pairs with the release in slab__poison_leave. */
    while (atomic_exchange_explicit(&slab__poison_lock, 1, memory_order_acquire)) sched_yield();
}

static void slab__poison_leave(void)
{
    /* release, pairs with the acquire in slab__poison_enter. */
    if (SLAB__POISONS) atomic_store_explicit(&slab__poison_lock, 0, memory_order_release);
}
#else
#define slab__poison_enter() ((void)0)
#define slab__poison_leave() ((void)0)
#endif

/* ---- prelude: compiler ---- */

#define SLAB__COLD      __attribute__((cold, noinline))
#define SLAB__HOT       __attribute__((always_inline)) inline
#define SLAB__APART     __attribute__((noinline))
#define SLAB__LIKELY(x) __builtin_expect(!!(x), 1)

/* ---- pages of slab_store ---- */

#if SLAB__MAPS_ITSELF && !defined SLAB_HUGE
#define SLAB_HUGE(memory, size) ((void)slab__madvise(memory, size, SLAB__MADV_HUGEPAGE))
#endif
#if SLAB__MAPS_ITSELF && !defined SLAB_DISCARD
#define SLAB_DISCARD(memory, size) slab__madvise(memory, size, SLAB__MADV_DONTNEED)
#endif
#ifndef SLAB_HUGE
#define SLAB_HUGE(memory, size) ((void)0)
#endif
#ifndef SLAB_DISCARD
#define SLAB_DISCARD(memory, size) (-1)
#endif

/* ======== slab_pool: how it works ===========================================================
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
 * The thread that wins the compare-exchange ended the life; all others find a generation that is
 * not theirs. The hint only says where to look. If a returner dies before it gives the hint, its
 * page is found by the look at all pages that comes before alloc gives up.
 *
 * Hints and generations cross: the returner writes a generation, then reads the hint; the owner
 * writes the hint, then reads the generations. One of the two must see the other's write, or a page
 * is lost until the next full look; hence seq_cst on those four. `wanted` crosses with the
 * generations in the same way.
 *
 * The conservation law: each page is out or free. The owner knows which, by its private part; for
 * all others, and for the next owner, the generation says it.
 *
 *    module   what it is for
 *    shape    what a config stands for, and where the parts lie
 *    name     an id as one word
 *    poison   sanitizers report the use of a page that was given back
 *    free     the owner's pages: out or free
 *    look     the owner finds the pages that came back
 *    lock     one owner at a time
 *    create   a pool begins
 *    adopt    a pool goes on without its former owner
 *    life     begins by alloc, and is ended by the owner
 *    return   any thread reads, and ends a life
 *    loan     which peer has a page
 *    wake     an owner that drains or sleeps
 *    view     other processes; stats; the end */

enum {
    SLAB__LINE       = 64,
    SLAB__PAGE_ALIGN = 4096,
    SLAB__MAGIC      = 0x32626c73, /* "slb2": changes with the layout of the shared part */
    SLAB__HINT_WORDS = 16,         /* one line: 512 groups */
    SLAB__GROUP_MIN  = 3,          /* log2: eight pages, whose lives share one line */
    SLAB__MOMENT     = 100,        /* steps of an empty loop, 0.1 us or so */
};

/* One page's shared state. */
typedef struct slab__pool_life {
    _Atomic(uint32_t) gen; /* the owner writes it at alloc and free, a returner compare-exchanges */
    _Atomic(uint32_t) len; /* the owner writes */
} slab__pool_life;

/* One page's holder: the generation it was lent in, above the peer. Any thread compare-exchanges
 * it. Where a target has no lock-free one, no pool lends. */
typedef _Atomic(uint64_t) slab__pool_loan;
#define SLAB__LENDS (ATOMIC_LLONG_LOCK_FREE == 2)

/* At the start of the memory; position-independent. The lives follow, then, if the pool lends, the
 * loans, then the pages. */
typedef struct slab__pool_shared {
    /* Written by create and destroy, read by attach. */
    alignas(SLAB__LINE) _Atomic(uint32_t) magic;
    _Atomic(uint32_t) page_size;
    _Atomic(uint32_t) page_count;
    _Atomic(uint32_t) core;
    _Atomic(uint32_t) state_size; /* of a page: its life, and its loan if the pool lends */

    /* The owner sets it before it sleeps; the returner that clears it wakes the owner. */
    alignas(SLAB__LINE) _Atomic(uint32_t) wanted;

    /* Any thread adds. */
    alignas(SLAB__LINE) _Atomic(size_t) refused;

    /* Bit g: some page of group g was returned. Any thread sets a bit; the owner clears them. */
    alignas(SLAB__LINE) _Atomic(uint32_t) hints[SLAB__HINT_WORDS];

    alignas(SLAB__LINE) slab__pool_life lives[];
} slab__pool_shared;

_Static_assert(sizeof(slab_id) == 8, "an id fits a 64-bit queue slot");
_Static_assert(sizeof(slab__pool_life) == 8 && SLAB__LINE >> SLAB__GROUP_MIN == 8,
               "the smallest group's lives fill one line");
_Static_assert(offsetof(slab__pool_shared, lives) == (size_t)4 * SLAB__LINE,
               "each writer has its own line");
_Static_assert(ATOMIC_INT_LOCK_FREE == 2 && ATOMIC_POINTER_LOCK_FREE == 2,
               "atomics work between processes");

struct slab_pool {
    /* For create, attach and their ends. First, because payloads begin where pages of 4096 do: a
     * load from the same place in its page as a store just before waits for that store. */
    size_t private_size;
    size_t shared_size;
    bool   owns_memory;
    int    lock_fd; /* -1: none */
    pid_t  process; /* the owner's; not a view's */

    /* Constant after create or attach; any thread reads. The shared part's are not believed. */
    alignas(SLAB__LINE) slab__pool_shared *shared;
    slab__pool_life    *lives; /* [page_count] in shared */
    slab__pool_loan    *loans; /* [page_count] in shared, or NULL */
    unsigned char *pages;
    uint32_t       page_size;
    uint32_t       page_count;
    uint16_t       core;
    uint8_t        group_shift; /* log2 of the pages in a group */

    /* Owner only. A free page waits under the name of its next life. A view owns no page, and has
     * none free.
     * free_top + (free_last != 0) + pages that are slab__pool_is_out == owned, outside the owner's
     * calls. */
    alignas(SLAB__LINE) uint64_t free_last; /* freed last, handed out first; 0 = none. Beside the
                                             * stack, it saves a pair 1 ns: less to wait for */
    uint64_t  allocs;
    uint32_t  free_top;
    uint32_t  free_low;   /* the least free_top so far. After an alloc free_last is 0, and so the
                           * most pages out at once are owned - free_low */
    uint32_t  owned;      /* page_count */
    uint64_t *free_stack; /* [owned] */
    uint64_t *out;        /* [owned] the name of a page that is out. While it is not, the last one
                           * inverted: that names another page, so no id equals it */
    uint32_t  hint_words; /* of shared->hints in use */
    uint32_t  untold;     /* pages that stats has recycled and no drain has counted yet */
    slab_recycled_fn *recycled;
    void             *context;
};

/* ---- pool shape: what a config stands for ----
 *
 *    | shared | lives: 8 bytes for each page | loans: 8 more if it lends |  | pages ...        |
 *    0        256                                                        4096 * n
 *
 * Sizes are checked here, once: page_count is at most 65536, so the states take less than 2 MiB,
 * and the footprint is divided by the page size before it is multiplied. What passes cannot
 * overflow. */

static size_t slab__round_up(size_t size, size_t multiple) /* multiple: a power of two */
{
    return (size + multiple - 1) & ~(multiple - 1);
}

/* Fills in the defaults. Whether the shape is one a pool can have. */
static bool slab__pool_shape(const slab_pool_config *config, uint32_t *page_size,
                             uint32_t *page_count)
{
    *page_size  = config && config->page_size ? config->page_size : 64 * 1024;
    *page_count = config && config->page_count ? config->page_count : 256;
    return *page_size % SLAB__LINE == 0 && *page_count <= 65536;
}

/* Bytes of shared state for each page. */
static uint32_t slab__pool_state_size(const slab_pool_config *config)
{
    return sizeof(slab__pool_life) + (config && config->lends ? sizeof(slab__pool_loan) : 0);
}

static size_t slab__pool_pages_offset(uint32_t page_count, uint32_t state_size)
{
    size_t states = (size_t)page_count * state_size;
    return slab__round_up(sizeof(slab__pool_shared) + states, SLAB__PAGE_ALIGN);
}

SLAB_API size_t slab_pool_footprint(const slab_pool_config *config)
{
    uint32_t page_size, page_count;

    if (!slab__pool_shape(config, &page_size, &page_count)) return 0;
    size_t offset = slab__pool_pages_offset(page_count, slab__pool_state_size(config));
    if ((SIZE_MAX - offset - SLAB__PAGE_ALIGN) / page_size < page_count) return 0;
    return slab__round_up(offset + (size_t)page_size * page_count, SLAB__PAGE_ALIGN);
}

static inline unsigned char *slab__pool_page(const slab_pool *pool, uint32_t page)
{
    return pool->pages + (size_t)page * pool->page_size;
}

/* ---- pool name: an id as one word ----
 *
 *    core: 16 bits | page: 16 bits | generation: 32 bits      in the order of the id's bytes
 *
 * Inside, ids travel like this. Some compilers copy a struct field by field, and a wide load of
 * what narrow stores have just written stalls. The generation of an id is odd; the even one after
 * it, which ends the life, is no id's. So a compare of the whole generation answers every question
 * about a stale, doubled or forged id. It wraps after 2^31 lives. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
enum { SLAB__CORE_AT = 0, SLAB__PAGE_AT = 16, SLAB__GEN_AT = 32 };
#else
enum { SLAB__CORE_AT = 48, SLAB__PAGE_AT = 32, SLAB__GEN_AT = 0 };
#endif

static inline uint64_t slab__pool_name_of(slab_id id)
{
    uint64_t name;
    memcpy(&name, &id, sizeof name);
    return name;
}

SLAB_API uint64_t slab_id_pack(slab_id id) { return slab__pool_name_of(id); }

SLAB_API slab_id slab_id_unpack(uint64_t word)
{
    slab_id id;
    memcpy(&id, &word, sizeof id);
    return id;
}

static inline uint64_t slab__pool_name(uint16_t core, uint32_t page, uint32_t gen)
{
    return (uint64_t)core << SLAB__CORE_AT | (uint64_t)page << SLAB__PAGE_AT |
           (uint64_t)gen << SLAB__GEN_AT;
}

static inline uint16_t slab__pool_core_of(uint64_t name)
{
    return (uint16_t)(name >> SLAB__CORE_AT);
}

static inline uint16_t slab__pool_page_of(uint64_t name)
{
    return (uint16_t)(name >> SLAB__PAGE_AT);
}

static inline uint32_t slab__pool_gen_of(uint64_t name)
{
    return (uint32_t)(name >> SLAB__GEN_AT);
}

/* The same page, one life later. */
static inline uint64_t slab__pool_next_life(uint64_t name)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return name + (UINT64_C(2) << SLAB__GEN_AT); /* wraps out of the top */
#else
    uint32_t gen = slab__pool_gen_of(name) + 2;
    return slab__pool_name(slab__pool_core_of(name), slab__pool_page_of(name), gen);
#endif
}

/* Whether it names a page of this pool; the life may be over, or never have been. */
static inline bool slab__pool_is_ours(const slab_pool *pool, uint64_t name)
{
    return slab__pool_core_of(name) == pool->core && slab__pool_page_of(name) < pool->page_count;
}

/* Counts a refusal, and says which. */
static SLAB__COLD int slab__pool_refuse(slab_pool *pool, int error)
{
    /* relaxed: a count; nobody concludes anything from it. */
    atomic_fetch_add_explicit(&pool->shared->refused, 1, memory_order_relaxed);
    return error;
}

/* ---- pool poison: use after return is reported ----
 *
 * A returner must win before it may poison, and the owner may hand the page out again the moment it
 * won. So in builds with poison, and only there, both hold a lock: the returner around winning and
 * poisoning, the owner around the unpoisoning. It is one lock for the process, because a view and
 * its pool may lie at one address. A write to a page after its return, through the pool or view it
 * was returned by, is reported. Because of the lock, no call may be made in a signal handler, nor
 * in the child of a fork that happened while another thread was inside a call. */

#ifdef SLAB__POISONS
static void slab__pool_hide(const slab_pool *pool, uint32_t page)
{
    SLAB__HIDE(slab__pool_page(pool, page), pool->page_size);
}
/* A new life: len bytes to write. */
static void slab__pool_show_fresh(const slab_pool *pool, uint32_t page, size_t len)
{
    slab__poison_enter();
    SLAB__FRESH(slab__pool_page(pool, page), len);
    slab__poison_leave();
}
/* Another length; AddressSanitizer goes by eights, so up to seven bytes stay shown. */
static void slab__pool_show_len(const slab_pool *pool, uint32_t page, size_t len)
{
    size_t rest = slab__round_up(len, 8);
    SLAB__HIDE(slab__pool_page(pool, page) + rest, pool->page_size - rest);
    SLAB__SHOW(slab__pool_page(pool, page), len);
}
/* A live page: a view may have hidden it when it returned an earlier life. The owner's is shown. */
static void slab__pool_show_live(const slab_pool *pool, uint32_t page, size_t len)
{
    if (pool->owned == 0) SLAB__SHOW(slab__pool_page(pool, page), len);
}
static void slab__pool_show_all(const slab_pool *pool)
{
    SLAB__SHOW(pool->pages, (size_t)pool->page_size * pool->page_count);
}
#else
#define slab__pool_hide(pool, page)            ((void)(pool))
#define slab__pool_show_fresh(pool, page, len) ((void)(pool))
#define slab__pool_show_len(pool, page, len)   ((void)(pool))
#define slab__pool_show_live(pool, page, len)  ((void)(pool))
#define slab__pool_show_all(pool)              ((void)(pool))
#endif

/* ---- pool free: the owner's pages ----
 *
 *    page     out[page]                    free names
 *    out      its name                     -
 *    free     the last name, inverted      the next name, in free_last or on free_stack
 *
 * So out[page] names `page` exactly while the page is out, and each page is in one of the two. Only
 * the owner can write here: what others write into the shared part makes a page come back too
 * early, or not at all, but never twice, and never another page. free_last is handed out first, as
 * its payload is in the owner's cache. */

static inline bool slab__pool_is_out(const slab_pool *pool, uint32_t page)
{
    return slab__pool_page_of(pool->out[page]) == page;
}

/* The life of that name is over, the page nobody's. */
static inline void slab__pool_recycle(slab_pool *pool, uint64_t name)
{
    SLAB_ASSERT(pool->free_top < pool->owned);
    pool->out[slab__pool_page_of(name)] = ~name;
    slab__pool_hide(pool, slab__pool_page_of(name));
    if (pool->free_last != 0) pool->free_stack[pool->free_top++] = pool->free_last;
    pool->free_last = slab__pool_next_life(name);
}

/* The name of a life to begin; 0 = no page is free. */
static inline uint64_t slab__pool_take_free(slab_pool *pool)
{
    uint64_t name = pool->free_last;

    if (name != 0) {
        pool->free_last = 0;
    } else if (pool->free_top != 0) {
        name = pool->free_stack[--pool->free_top];
        if (pool->free_top < pool->free_low) pool->free_low = pool->free_top;
    }
    return name;
}

/* Owner: whether the name is of a life that is not over. */
static inline bool slab__pool_is_live(const slab_pool *pool, uint64_t name)
{
    uint32_t page = slab__pool_page_of(name), gen = slab__pool_gen_of(name);
    /* relaxed: only whether the life is over; a return that this does not see yet is racing us. */
    return page < pool->owned && pool->out[page] == name &&
           atomic_load_explicit(&pool->lives[page].gen, memory_order_relaxed) == gen;
}

/* ---- pool look: which pages have come back ----
 *
 * A page has come back if its generation is not the one that is out. A look compares the two, for
 * the pages of a group: eight or more, whose lives share a line. The hints say which groups are
 * worth it; there are at most 512, in one line.
 *
 *    owner                                    returner
 *    hint := 0                                gen: 7 -> 8
 *    gen is 7: not back yet                   hint is 1 still: leave it     -- never both
 *
 * The four accesses are seq_cst, so that one of the two comes first in their order: either the look
 * sees 8, or the returner sees 0 and sets the hint, for the next look. */

/* Recycles those pages of [first, end) that are out and whose id no longer reads; how many. */
static size_t slab__pool_look(slab_pool *pool, uint32_t first, uint32_t end)
{
    size_t recycled = 0;

    if (end > pool->owned) end = pool->owned;
    for (uint32_t page = first; page < end; page++) {
        uint64_t name = pool->out[page];
        if (slab__pool_page_of(name) != page) continue;
        /* seq_cst, pairs with the seq_cst in slab__pool_end_life. As acquire: the returner's last
           reads of the page happen before our next write to it. And it crosses: our write to the
           hint (in slab__pool_look_hinted) or to wanted (in slab_pool_want) precedes it, and the
           returner's look at them follows its compare-exchange. */
        uint32_t gen = atomic_load_explicit(&pool->lives[page].gen, memory_order_seq_cst);
        if (gen == slab__pool_gen_of(name)) continue;
        slab__pool_recycle(pool, name);
        if (pool->recycled) pool->recycled(pool->context, slab_id_unpack(name));
        recycled++;
    }
    return recycled;
}

/* Looks at the groups that are hinted. Returns how many pages it recycled. */
static size_t slab__pool_look_hinted(slab_pool *pool)
{
    size_t recycled = 0;

    for (uint32_t word = 0; word < pool->hint_words; word++) {
        _Atomic(uint32_t) *hint = &pool->shared->hints[word];

        /* relaxed: a bit of a return that happened before us is never missed; one that is just
           being set waits for the next drain. */
        if (atomic_load_explicit(hint, memory_order_relaxed) == 0) continue;
        /* seq_cst, pairs with the seq_cst in slab__pool_hint: a returner that finds its bit set has
           ended its life before the look that follows here. */
        uint32_t bits = atomic_exchange_explicit(hint, 0, memory_order_seq_cst);
        for (; bits != 0; bits &= bits - 1) {
            uint32_t group = word * 32 + (uint32_t)__builtin_ctz(bits);
            uint32_t first = group << pool->group_shift;
            recycled += slab__pool_look(pool, first, first + (UINT32_C(1) << pool->group_shift));
        }
    }
    return recycled;
}

/* ---- pool lock: one owner at a time ----
 *
 * An OFD lock belongs to an open file description, and the kernel drops it when the last descriptor
 * of that is closed, so at the latest with the process. The descriptor of the caller will not do:
 * it often came from a parent or over a socket, and then owner, views and the next owner have one
 * description and one lock in common. So the pool opens the file once more. It locks the first
 * byte; the others are left to the caller, for the locks of peers. */

#ifdef O_CLOEXEC
#define SLAB__POOL_CLOEXEC O_CLOEXEC
#else /* glibc's name in a strict build */
#define SLAB__POOL_CLOEXEC __O_CLOEXEC
#endif

/* Returns a descriptor that holds the lock, or an error. */
static int slab__pool_lock_file(int fd)
{
    enum { SLAB__OFD_SETLK = 37, DIGITS = 12 };
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
    char         path[sizeof "/proc/self/fd/" + DIGITS] = "/proc/self/fd/";
    char        *digit = path + sizeof path - 1;

    do *--digit = (char)('0' + fd % 10);
    while ((fd /= 10) > 0);
    memmove(path + sizeof "/proc/self/fd/" - 1, digit, (size_t)(path + sizeof path - digit));
    fd = open(path, O_RDWR | SLAB__POOL_CLOEXEC);
    if (fd >= 0 && fcntl(fd, SLAB__OFD_SETLK, &lock) == 0) return fd;
    int error = fd >= 0 && (errno == EAGAIN || errno == EACCES) ? -EBUSY : -errno;
    if (fd >= 0) close(fd);
    return error;
}

/* Stores a descriptor that holds the lock of a pool with that config, -1 if there is none to hold.
 * Returns 0 or an error. */
static int slab__pool_lock(const slab_pool_config *config, int *lock_fd)
{
    *lock_fd = -1;
    if (!config || config->fd == 0) return 0;
    int fd = slab__pool_lock_file(config->fd);
    if (fd >= 0) *lock_fd = fd;
    return fd >= 0 ? 0 : fd;
}

static void slab__pool_unlock(int lock_fd)
{
    if (lock_fd >= 0) close(lock_fd);
}

/* ---- pool create: a pool begins ----
 *
 * The private part is mapped first, then the shared part is written, the magic last. Of a failure
 * nothing is left, not the lock either, and the caller's memory is untouched. A new pool is one all
 * of whose pages have had a life of the last generation, so that the next is 1. */

/* A pool or view without its owner's part, over a shared part that is known to hold that shape. */
static void slab__pool_bind(slab_pool *pool, slab__pool_shared *shared,
                            const slab_pool_config *config)
{
    uint32_t page_size, page_count;

    slab__pool_shape(config, &page_size, &page_count);
    pool->shared      = shared;
    pool->lives       = shared->lives;
    if (config && config->lends) pool->loans = (slab__pool_loan *)(shared->lives + page_count);
    pool->pages       = (unsigned char *)shared +
                        slab__pool_pages_offset(page_count, slab__pool_state_size(config));
    pool->page_size   = page_size;
    pool->page_count  = page_count;
    pool->core        = config ? config->core : 0;
    pool->group_shift = SLAB__GROUP_MIN;
    while ((page_count - 1) >> pool->group_shift >= 32 * SLAB__HINT_WORDS) pool->group_shift++;
}

/* Writes the whole shared part; the pages keep their content. */
static void slab__pool_format(slab_pool *pool)
{
    slab__pool_shared *shared = pool->shared;

    /* relaxed, all of these: attach reads them after the magic. The magic goes first, so that a
       process killed in here leaves no pool. */
    atomic_store_explicit(&shared->magic, 0, memory_order_relaxed);
    atomic_store_explicit(&shared->page_size, pool->page_size, memory_order_relaxed);
    atomic_store_explicit(&shared->page_count, pool->page_count, memory_order_relaxed);
    atomic_store_explicit(&shared->core, pool->core, memory_order_relaxed);
    atomic_store_explicit(&shared->state_size,
                          sizeof(slab__pool_life) + (pool->loans ? sizeof(slab__pool_loan) : 0),
                          memory_order_relaxed);
    atomic_store_explicit(&shared->wanted, 0, memory_order_relaxed);
    atomic_store_explicit(&shared->refused, 0, memory_order_relaxed);
    for (uint32_t i = 0; i < SLAB__HINT_WORDS; i++)
        atomic_store_explicit(&shared->hints[i], 0, memory_order_relaxed);
    for (uint32_t i = 0; i < pool->page_count; i++) {
        atomic_store_explicit(&shared->lives[i].gen, 0, memory_order_relaxed);
        atomic_store_explicit(&shared->lives[i].len, 0, memory_order_relaxed);
        if (SLAB__LENDS && pool->loans)
            atomic_store_explicit(&pool->loans[i], 0, memory_order_relaxed);
    }
    /* release, pairs with the acquire in slab_pool_attach: a process that sees the magic sees all
       of that. */
    atomic_store_explicit(&shared->magic, SLAB__MAGIC, memory_order_release);
}

/* A child after fork reads zeros here: each life is over, so it refuses ids of the parent, and its
 * look finds that every page has come back. Wiping measured best: of 1 GiB, fork takes 0.15 ms
 * instead of 12, as nothing is copied, and the pages may be huge, which shared memory's are not
 * by default: then a random load takes 15 ns instead of 21. Kernels before 4.14 do not know it. */
static void slab__pool_wipe_in_children(void *memory, size_t size)
{
    enum { SLAB__MADV_WIPEONFORK = 18 };
    (void)slab__madvise(memory, size, SLAB__MADV_WIPEONFORK);
}

/* Checks what create and adopt ask of a config. */
static int slab__pool_check(const slab_pool_config *config)
{
    size_t size = slab_pool_footprint(config);

    if (size == 0) return -EINVAL;
    if (!config) return 0;
    if (config->lends && !SLAB__LENDS) return -ENOTSUP;
    if (config->fd < 0 || (config->fd > 0 && !config->memory)) return -EINVAL;
    if (!config->memory) return 0;
    bool aligned = (uintptr_t)config->memory % SLAB__PAGE_ALIGN == 0;
    return aligned && config->memory_size >= size ? 0 : -EINVAL;
}

/* Maps the owner's part of a pool in that memory, with no page free and none out. */
static slab_pool *slab__pool_map(void *memory, const slab_pool_config *config)
{
    uint32_t page_size, page_count;
    slab__pool_shape(config, &page_size, &page_count);
    size_t     out_at       = slab__round_up(sizeof(slab_pool), SLAB__LINE);
    size_t     stack_at     = out_at + page_count * sizeof(uint64_t);
    size_t     private_size = stack_at + page_count * sizeof(uint64_t);
    slab_pool *made         = (slab_pool *)SLAB_MAP(private_size);

    if (!made) return NULL;
    slab__pool_bind(made, (slab__pool_shared *)memory, config);
    made->private_size = private_size;
    made->shared_size  = slab_pool_footprint(config);
    made->lock_fd      = -1;
    made->process      = getpid();
    made->owned        = page_count;
    made->hint_words   = (((page_count - 1) >> made->group_shift) >> 5) + 1;
    made->out          = (uint64_t *)(void *)((unsigned char *)made + out_at);
    made->free_stack   = (uint64_t *)(void *)((unsigned char *)made + stack_at);
    made->recycled     = config ? config->recycled : NULL;
    made->context      = config ? config->context : NULL;
    return made;
}

/* All pages are out or free by now: the peak counts from here. */
static void slab__pool_start(slab_pool *pool)
{
    if (pool->free_last != 0) pool->free_stack[pool->free_top++] = pool->free_last;
    pool->free_last = 0; /* an alloc that takes it does not look at free_low */
    pool->free_low  = pool->free_top;
}

SLAB_API int slab_pool_create(slab_pool **pool, const slab_pool_config *config)
{
    if (!pool) return -EINVAL;
    *pool = NULL;
    int lock_fd, error = slab__pool_check(config);
    if (!error) error = slab__pool_lock(config, &lock_fd);
    if (error) return error;

    void      *memory = config ? config->memory : NULL;
    bool       ours   = memory == NULL;
    size_t     size   = slab_pool_footprint(config);
    slab_pool *made   = NULL;
    if (ours) memory = SLAB_MAP(size);
    if (memory) made = slab__pool_map(memory, config);
    if (!made) {
        if (ours && memory) SLAB_UNMAP(memory, size);
        slab__pool_unlock(lock_fd);
        return -ENOMEM;
    }
    made->owns_memory = ours;
    made->lock_fd     = lock_fd;
    for (uint32_t page = made->owned; page-- > 0;) /* its last life was -1, so its next is 1 */
        slab__pool_recycle(made, slab__pool_name(made->core, page, UINT32_MAX));
    slab__pool_start(made);
    slab__pool_format(made);
    if (ours && SLAB__MAPS_ITSELF) slab__pool_wipe_in_children(memory, size);
    *pool = made;
    return 0;
}

/* ---- pool adopt: a pool goes on without its former owner ----
 *
 * All that a new owner must know of a page is its generation, the one word that alloc, free and
 * return change: odd, and a life of that generation is out, or even, and the page is free. Each
 * owner's call stores it once for a page, as its last access to the shared part of that page, so a
 * call that was broken off at any instruction has happened or not. (Of the other words, a length
 * without a life is nobody's, and create takes the magic away first and gives it back last.) The
 * private part is made anew from the generations.
 *
 * The hints stay as they are. A former owner may have died between taking hints and looking:
 *
 *    former owner                 returner                       new owner
 *    drain: exchange hint, 0
 *    killed                       end life: gen 1 -> 2
 *                                 hint is 0: := 1
 *                                                                adopt: gen is 2, free
 *
 * Either the returner sets the hint again, for the next drain; or it found the hint set, before the
 * exchange, and so adopt sees the life ended, as a look would. */

/* Owner to be: takes over each page as its generation says. */
static void slab__pool_take_over(slab_pool *pool)
{
    for (uint32_t page = pool->owned; page-- > 0;) {
        /* seq_cst, pairs with the seq_cst in slab__pool_end_life, as the load in slab__pool_look
           does: the returner's last reads of the page happen before our next write to it; and a
           returner that left the hint to the former owner has ended its life before this load. */
        uint32_t gen  = atomic_load_explicit(&pool->lives[page].gen, memory_order_seq_cst);
        uint64_t name = slab__pool_name(pool->core, page, gen);
        if (gen & 1) pool->out[page] = name;
        else slab__pool_recycle(pool, slab__pool_name(pool->core, page, gen - 1));
    }
    slab__pool_start(pool);
}

/* Whether the memory holds a pool of that shape and core. */
static bool slab__pool_is_there(const slab_pool_config *config)
{
    const slab__pool_shared *shared = (const slab__pool_shared *)config->memory;
    uint32_t            page_size, page_count;

    slab__pool_shape(config, &page_size, &page_count);
    /* relaxed, all of these: the former owner has ended, and its end happens before this call. */
    if (atomic_load_explicit(&shared->magic, memory_order_relaxed) != SLAB__MAGIC) return false;
    return atomic_load_explicit(&shared->page_size, memory_order_relaxed) == page_size &&
           atomic_load_explicit(&shared->page_count, memory_order_relaxed) == page_count &&
           atomic_load_explicit(&shared->core, memory_order_relaxed) == config->core &&
           atomic_load_explicit(&shared->state_size, memory_order_relaxed) ==
               slab__pool_state_size(config);
}

SLAB_API int slab_pool_adopt(slab_pool **pool, const slab_pool_config *config)
{
    if (!pool) return -EINVAL;
    *pool = NULL;
    if (!config || !config->memory) return -EINVAL;
    int lock_fd, error = slab__pool_check(config);
    if (!error) error = slab__pool_lock(config, &lock_fd);
    if (error) return error;

    bool       there = slab__pool_is_there(config);
    slab_pool *made  = there ? slab__pool_map(config->memory, config) : NULL;
    if (!made) {
        slab__pool_unlock(lock_fd);
        return there ? -ENOMEM : -EINVAL;
    }
    made->lock_fd = lock_fd;
    slab__pool_take_over(made);
    *pool = made;
    return 0;
}

SLAB_API slab_id slab_pool_next(const slab_pool *pool, uint32_t *cursor)
{
    while (pool && cursor && *cursor < pool->owned) {
        uint32_t page = (*cursor)++;
        uint64_t name = pool->out[page];
        if (slab__pool_page_of(name) != page) continue;
        if (slab__pool_is_live(pool, name)) return slab_id_unpack(name);
    }
    return (slab_id){0, 0, 0};
}

/* ---- pool life: begun and ended by the owner ----
 *
 * A life begins with a store of its generation, after the length: a reader that sees the one sees
 * the other. Only the owner begins lives, so a store will do. It may also end one by a store, by
 * free, as it recycles the page itself:
 *
 *    owner                                  returner of the same id
 *    free: gen is 7, live                   gen: 7 -> 8
 *    gen := 8, recycle                      0
 *    0
 *
 * Both have ended the life, and the page was recycled once, because a look compares with out[page],
 * which the owner has changed. */

static SLAB__COLD void *slab__pool_no_page(slab_id *id)
{
    if (id) *id = (slab_id){0, 0, 0};
    return NULL;
}

/* Owner, out of free pages: looks at the hinted ones, then at all. When few have come back, others
 * are returning pages right now, and each look takes away the line they write. So it lets them go
 * on for a moment, and then takes what there is: 40 ns a page between two cores instead of 60. */
static SLAB__COLD void *slab__pool_refill(slab_pool *pool, size_t len, slab_id *id)
{
    size_t recycled = slab__pool_look_hinted(pool);

    pool->untold = 0; /* they are out again */
    if (recycled == 0) recycled = slab__pool_look(pool, 0, pool->owned);
    if (recycled == 0) return slab__pool_no_page(id);
    if (recycled < pool->owned / 8) {
        for (volatile int spin = 0; spin < SLAB__MOMENT; spin++) {}
        slab__pool_look_hinted(pool);
    }
    return slab_pool_alloc(pool, len, id);
}

SLAB_API void *slab_pool_alloc(slab_pool *pool, size_t len, slab_id *id)
{
    if (!pool || !id || len > pool->page_size) return slab__pool_no_page(id);
    uint64_t name = slab__pool_take_free(pool);
    if (name == 0) return slab__pool_refill(pool, len, id);
    uint32_t    page = slab__pool_page_of(name);
    slab__pool_life *life = &pool->lives[page];

    pool->out[page] = name;
    pool->allocs++;
    slab__pool_show_fresh(pool, page, len);
    /* relaxed: the release below hands it over. */
    atomic_store_explicit(&life->len, (uint32_t)len, memory_order_relaxed);
    /* release, pairs with the acquire in slab_pool_read: a thread that sees the life sees len. */
    atomic_store_explicit(&life->gen, slab__pool_gen_of(name), memory_order_release);
    memcpy(id, &name, sizeof name);
    return slab__pool_page(pool, page);
}

SLAB_API void *slab_pool_base(const slab_pool *pool, uint32_t *page_size, uint32_t *page_count)
{
    if (page_size) *page_size = pool ? pool->page_size : 0;
    if (page_count) *page_count = pool ? pool->page_count : 0;
    return pool ? pool->pages : NULL;
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

/* Owner: what is wrong with a name that is not live. */
static SLAB__COLD int slab__pool_why_not(const slab_pool *pool, uint64_t name)
{
    bool ours = slab__pool_core_of(name) == pool->core && slab__pool_page_of(name) < pool->owned;
    return ours ? -ESTALE : -EINVAL;
}

SLAB_API int slab_pool_set_len(slab_pool *pool, slab_id id, size_t len)
{
    if (!pool) return -EINVAL;
    uint64_t name = slab__pool_name_of(id);
    if (!slab__pool_is_live(pool, name)) return slab__pool_why_not(pool, name);
    if (len > pool->page_size) return -EMSGSIZE;
    slab__pool_show_len(pool, slab__pool_page_of(name), len);
    /* relaxed: handed over with the id, by the caller's queue. */
    atomic_store_explicit(&pool->lives[slab__pool_page_of(name)].len, (uint32_t)len,
                          memory_order_relaxed);
    return 0;
}

SLAB_API int slab_pool_free(slab_pool *pool, slab_id id)
{
    if (!pool) return -EINVAL;
    uint64_t name = slab__pool_name_of(id);
    if (!slab__pool_is_live(pool, name))
        return slab__pool_refuse(pool, slab__pool_why_not(pool, name));
    /* relaxed: says only that the life is over; the next write to the page is our own. */
    atomic_store_explicit(&pool->lives[slab__pool_page_of(name)].gen, slab__pool_gen_of(name) + 1,
                          memory_order_relaxed);
    slab__pool_recycle(pool, name);
    return 0;
}

/* ---- pool return: any thread reads, and ends a life ----
 *
 *    step                       a returner that is killed after it leaves
 *    1 gen: 7 -> 8              the page to the full look, before alloc gives up and in want
 *    2 hint of the group        nothing to do, unless the owner sleeps
 *    3 wanted: 1 -> 0           an owner that must be woken, and is not
 *
 * Of all returns of one life, the one that changes the generation succeeds. There is no loop and no
 * queue: five atomic operations at most. */

SLAB_API const void *slab_pool_read(const slab_pool *pool, slab_id id, size_t *len)
{
    uint64_t             name    = slab__pool_name_of(id);
    const unsigned char *payload = NULL;

    if (!len) return NULL;
    *len = 0;
    if (!pool || !slab__pool_is_ours(pool, name) || (slab__pool_gen_of(name) & 1) == 0) return NULL;
    const slab__pool_life *life = &pool->lives[slab__pool_page_of(name)];

    slab__poison_enter();
    /* acquire, pairs with the release in slab_pool_alloc: len is of this life, or a later one's. */
    if (atomic_load_explicit(&life->gen, memory_order_acquire) == slab__pool_gen_of(name)) {
        /* relaxed: ordered by the acquire above. Over the page size: scribbled. */
        uint32_t bytes = atomic_load_explicit(&life->len, memory_order_relaxed);
        if (bytes <= pool->page_size) {
            *len    = bytes;
            payload = slab__pool_page(pool, slab__pool_page_of(name));
            slab__pool_show_live(pool, slab__pool_page_of(name), bytes);
        }
    }
    slab__poison_leave();
    return payload;
}

/* Any thread: the one step that ends a life. 0, -ESTALE, -EINVAL. */
static inline int slab__pool_end_life(slab_pool *pool, uint64_t name)
{
    if (!slab__pool_is_ours(pool, name)) return slab__pool_refuse(pool, -EINVAL);
    slab__pool_life *life = &pool->lives[slab__pool_page_of(name)];
    uint32_t    gen  = slab__pool_gen_of(name);

    slab__poison_enter();
    /* seq_cst, pairs with the seq_cst in slab__pool_look. As release: our last reads of the page
       happen before the owner's next write to it. And it crosses: it precedes our look at the hint
       and at wanted. relaxed on failure: the id is stale, and nothing follows from what is there
       instead. ABA: only a life 2^31 lives later has the same generation. */
    bool won = (gen & 1) != 0 && atomic_compare_exchange_strong_explicit(
                                     &life->gen, &gen, slab__pool_gen_of(name) + 1,
                                     memory_order_seq_cst, memory_order_relaxed);
    if (won) slab__pool_hide(pool, slab__pool_page_of(name));
    slab__poison_leave();
    return won ? 0 : slab__pool_refuse(pool, -ESTALE);
}

/* Any thread, after slab__pool_end_life: tells the owner in which groups to look. */
static inline void slab__pool_hint(slab_pool *pool, uint32_t word, uint32_t bits)
{
    _Atomic(uint32_t) *hint = &pool->shared->hints[word];

    /* seq_cst, pairs with the seq_cst in slab__pool_look_hinted: if all bits are set still, the
       owner's look at our group is yet to come, and will see the life ended. */
    if ((atomic_load_explicit(hint, memory_order_seq_cst) & bits) == bits) return;
    /* relaxed: the owner takes the bits after the load above, which did not see them all, and
       so after our compare-exchange; the look that follows sees the life ended. */
    atomic_fetch_or_explicit(hint, bits, memory_order_relaxed);
}

/* Any thread, after slab__pool_end_life: whether the owner sleeps and it is on us to wake it. */
static inline bool slab__pool_take_wake(slab_pool *pool)
{
    _Atomic(uint32_t) *wanted = &pool->shared->wanted;

    /* seq_cst, pairs with the seq_cst in slab_pool_want: either we see that store, or the owner's
       look that follows it sees our life ended. The exchange, relaxed, only picks one of us. */
    return atomic_load_explicit(wanted, memory_order_seq_cst) != 0 &&
           atomic_exchange_explicit(wanted, 0, memory_order_relaxed) != 0;
}

SLAB_API int slab_pool_return(slab_pool *pool, slab_id id)
{
    if (!pool) return -EINVAL;
    uint64_t name  = slab__pool_name_of(id);
    int      error = slab__pool_end_life(pool, name);
    if (error) return error;
    uint32_t group = (uint32_t)slab__pool_page_of(name) >> pool->group_shift;
    slab__pool_hint(pool, group >> 5, UINT32_C(1) << (group & 31));
    return slab__pool_take_wake(pool) ? SLAB_WAKE_OWNER : 0;
}

SLAB_API size_t slab_pool_return_many(slab_pool *pool, const slab_id *ids, size_t count,
                                      bool *wake)
{
    size_t   live = 0;
    uint32_t word = 0, bits = 0; /* the hints to give, all of one word: 256 pages or more */

    if (wake) *wake = false;
    if (!pool || !wake || (!ids && count > 0)) return 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t name = slab__pool_name_of(ids[i]);
        if (slab__pool_end_life(pool, name) != 0) continue;
        uint32_t group = (uint32_t)slab__pool_page_of(name) >> pool->group_shift;
        if (bits != 0 && group >> 5 != word) {
            slab__pool_hint(pool, word, bits);
            bits = 0;
        }
        word = group >> 5;
        bits |= UINT32_C(1) << (group & 31);
        live++;
    }
    if (live == 0) return 0;
    slab__pool_hint(pool, word, bits);
    *wake = slab__pool_take_wake(pool);
    return live;
}

/* ---- pool loan: which peer has a page ----
 *
 * A loan is one word, the generation of a life above the peer that holds the page. It counts as
 * long as that life lasts: nothing need be cleared when a life ends or the next begins, so return
 * and alloc do not know of loans. A late lend, for a life that is over, must not replace the loan
 * of the next life:
 *
 *    late lend                    owner
 *    load the loan: 1, A
 *    life 1 is not over
 *                                 life 1 ends, life 3 begins
 *                                 lend 3 to B: loan := 3, B
 *    compare-exchange 1, A: fails
 *    load the loan: 3, B
 *    life 1 is over: -ESTALE
 *
 * The late lend reads the loan before the generation; if it reads one of life 3, it sees life 3.
 *
 * lend and the death of the peer cross: the lender writes the loan, then looks whether the peer
 * lives; the owner learns of the death, then reads the loans. One of the two must see the other's
 * write, or the page is lost; hence seq_cst, here as in the caller's own look, if that is at a word
 * of memory and no system call. reap ends a life as a return does, by a compare-exchange of the
 * generation: of a reap and a return at the same moment, one succeeds. */

#define SLAB__LOAN(gen, peer) ((uint64_t)(gen) << 32 | (peer))

/* Which peer has that life. */
static inline uint32_t slab__pool_loan_of(uint64_t loan, uint32_t gen)
{
    return (uint32_t)(loan >> 32) == gen ? (uint32_t)loan : SLAB_NO_PEER;
}

SLAB_API int slab_pool_lend(slab_pool *pool, slab_id id, uint32_t peer)
{
    uint64_t name = slab__pool_name_of(id);

    if (!pool || !slab__pool_is_ours(pool, name)) return -EINVAL;
    if (!SLAB__LENDS || !pool->loans) return -ENOTSUP;
    uint32_t           gen  = slab__pool_gen_of(name);
    slab__pool_loan        *loan = &pool->loans[slab__pool_page_of(name)];
    _Atomic(uint32_t) *live = &pool->lives[slab__pool_page_of(name)].gen;
    for (;;) {
        /* acquire, pairs with the seq_cst in slab_pool_lend: after the loan of a later life we see
           that this one is over. */
        uint64_t before = atomic_load_explicit(loan, memory_order_acquire);
        /* relaxed: ordered by the acquire above. The loan of a life that ends from here on is no
           one's. */
        if ((gen & 1) == 0 || atomic_load_explicit(live, memory_order_relaxed) != gen)
            return -ESTALE;
        /* seq_cst, pairs with the seq_cst in slab_pool_reap: either the owner's look at the loans
           sees this, or our caller sees that the peer has died. */
        if (atomic_compare_exchange_strong_explicit(loan, &before, SLAB__LOAN(gen, peer),
                                                    memory_order_seq_cst, memory_order_relaxed))
            return 0;
    }
}

SLAB_API uint32_t slab_pool_peer(const slab_pool *pool, slab_id id)
{
    uint64_t name = slab__pool_name_of(id);
    uint32_t gen  = slab__pool_gen_of(name);

    if (!SLAB__LENDS || !pool || !pool->loans) return SLAB_NO_PEER;
    if (!slab__pool_is_ours(pool, name) || (gen & 1) == 0) return SLAB_NO_PEER;
    /* relaxed, both: says what was so at some moment. */
    uint32_t page = slab__pool_page_of(name);
    if (atomic_load_explicit(&pool->lives[page].gen, memory_order_relaxed) != gen)
        return SLAB_NO_PEER;
    return slab__pool_loan_of(atomic_load_explicit(&pool->loans[page], memory_order_relaxed), gen);
}

SLAB_API size_t slab_pool_reap(slab_pool *pool, uint32_t peer)
{
    size_t reaped = 0;

    if (!SLAB__LENDS || !pool || !pool->loans) return 0;
    for (uint32_t page = 0; page < pool->owned; page++) {
        uint64_t name = pool->out[page];
        uint32_t gen  = slab__pool_gen_of(name);
        if (slab__pool_page_of(name) != page) continue;
        /* seq_cst, pairs with the seq_cst in slab_pool_lend: a lender that saw the peer alive has
           written its loan before this look. */
        uint64_t loan = atomic_load_explicit(&pool->loans[page], memory_order_seq_cst);
        if (slab__pool_loan_of(loan, gen) != peer) continue;
        /* relaxed: decides between us and a return. The peer's death happens before this call, and
           its accesses with it. If a return is first, a drain finds that. */
        if (!atomic_compare_exchange_strong_explicit(&pool->lives[page].gen, &gen, gen + 1,
                                                     memory_order_relaxed, memory_order_relaxed))
            continue;
        slab__pool_recycle(pool, name);
        if (pool->recycled) pool->recycled(pool->context, slab_id_unpack(name));
        reaped++;
    }
    return reaped;
}

/* ---- pool wake: an owner that drains or sleeps ----
 *
 *    owner                                    returner
 *    wanted := 1                              gen: 7 -> 8
 *    look at all pages: none is back          wanted is 0: no wake-up      -- never both
 *
 * As with the hints, seq_cst on the four lets one come first. The exchange of wanted picks one
 * returner, so that a request is answered once. */

SLAB_API size_t slab_pool_drain(slab_pool *pool)
{
    if (!pool) return 0;
    size_t recycled = slab__pool_look_hinted(pool) + pool->untold;

    pool->untold = 0;
    return recycled;
}

SLAB_API bool slab_pool_want(slab_pool *pool)
{
    if (!pool || pool->owned == 0) return false;
    if (pool->free_last != 0 || pool->free_top != 0) return false;
    /* seq_cst, pairs with the seq_cst in slab__pool_take_wake: a returner that does not see this
       store has ended its life before the look that follows. */
    atomic_store_explicit(&pool->shared->wanted, 1, memory_order_seq_cst);
    if (slab__pool_look(pool, 0, pool->owned) == 0) return true;
    /* relaxed: a returner that takes it first wakes an owner that is awake. */
    atomic_store_explicit(&pool->shared->wanted, 0, memory_order_relaxed);
    return false;
}

/* ---- pool view: other processes; stats; the end ----
 *
 * A view is a pool that owns no page: owned is 0, so each of the owner's functions finds nothing to
 * do, or to hand out. The shape is read once, checked, and kept where others cannot write. */

SLAB_API int slab_pool_attach(slab_pool **view, void *memory, size_t memory_size)
{
    slab__pool_shared    *shared = (slab__pool_shared *)memory;
    slab_pool_config shape  = {0};

    if (!view) return -EINVAL;
    *view = NULL;
    if (!memory || (uintptr_t)memory % SLAB__PAGE_ALIGN != 0) return -EINVAL;
    if (memory_size < SLAB__PAGE_ALIGN) return -EINVAL;
    /* acquire, pairs with the release in slab__pool_format: the shape is written. */
    if (atomic_load_explicit(&shared->magic, memory_order_acquire) != SLAB__MAGIC) return -EINVAL;
    /* relaxed: after the magic. Each is read once, then checked: it may change under us. */
    shape.page_size  = atomic_load_explicit(&shared->page_size, memory_order_relaxed);
    shape.page_count = atomic_load_explicit(&shared->page_count, memory_order_relaxed);
    shape.core       = (uint16_t)atomic_load_explicit(&shared->core, memory_order_relaxed);
    uint32_t state_size = atomic_load_explicit(&shared->state_size, memory_order_relaxed);
    shape.lends         = state_size != sizeof(slab__pool_life);
    if (shape.page_size == 0 || shape.page_count == 0) return -EINVAL;
    if (state_size != slab__pool_state_size(&shape)) return -EINVAL;
    size_t shared_size = slab_pool_footprint(&shape);
    if (shared_size == 0 || shared_size > memory_size) return -EINVAL;

    slab_pool *made = (slab_pool *)SLAB_MAP(sizeof *made);
    if (!made) return -ENOMEM;
    slab__pool_bind(made, shared, &shape);
    made->private_size = sizeof *made;
    *view = made;
    return 0;
}

SLAB_API void slab_pool_detach(slab_pool *view)
{
    if (!view || (view->owned != 0 && view->process == getpid())) return;
    slab__pool_show_all(view);
    if (view->owned != 0) slab__pool_unlock(view->lock_fd);
    if (view->owns_memory) SLAB_UNMAP(view->shared, view->shared_size);
    SLAB_UNMAP(view, view->private_size);
}

/* Owner: pages that are out and whose id still reads. */
static uint32_t slab__pool_count_live(const slab_pool *pool)
{
    uint32_t live = 0;

    for (uint32_t page = 0; page < pool->owned; page++)
        live += slab__pool_is_out(pool, page) && slab__pool_is_live(pool, pool->out[page]);
    return live;
}

/* Owner: recycles what has come back. const promises the caller that the pool does the same after
 * this as before, not that its lists stay as they were; no pool is a const object. */
static void slab__pool_count_returned(const slab_pool *pool)
{
    slab_pool *writable = (slab_pool *)(uintptr_t)pool;
    if (pool->owned != 0) writable->untold += (uint32_t)slab__pool_look_hinted(writable);
}

SLAB_API void slab_pool_stats(const slab_pool *pool, struct slab_pool_info *stats)
{
    if (!stats) return;
    *stats = (struct slab_pool_info){0, 0, 0, 0, 0.0, 0};
    if (!pool) return;
    slab__pool_count_returned(pool);
    stats->page_count = pool->page_count;
    stats->available  = pool->free_top + (pool->free_last != 0);
    stats->allocs     = pool->allocs;
    stats->peak       = pool->owned - pool->free_low;
    /* relaxed: a count. */
    stats->refused     = atomic_load_explicit(&pool->shared->refused, memory_order_relaxed);
    stats->utilization = 1.0 - (double)stats->available / pool->page_count;
}

SLAB_API size_t slab_pool_destroy(slab_pool *pool)
{
    if (!pool || pool->owned == 0) return 0;
    size_t lost = slab__pool_count_live(pool);

    slab__pool_show_all(pool);
    /* relaxed: an attach that still sees the magic comes too early or too late in any order. */
    atomic_store_explicit(&pool->shared->magic, 0, memory_order_relaxed);
    if (pool->owns_memory) SLAB_UNMAP(pool->shared, pool->shared_size);
    slab__pool_unlock(pool->lock_fd);
    SLAB_UNMAP(pool, pool->private_size);
    return lost;
}

/* ======== slab_store: how it works ==========================================================
 *
 *   put 100 bytes: the tier of 128                      get(ref, 100): the tier of 128
 *        |                                                   |
 *   tier: the current word's holes 0..01000             ref = tier | chunk number | index
 *        |    the lowest one: slot 3                         |
 *        v                                                   v
 *   live bits of chunk 0   1111 0111 ..   <--- is it 1? ---  number -> record: memory, live bits
 *        |                                                   |
 *        v                                                   v
 *   chunk 0    | slot 0 | 1 | 2 | 3: the value, then zeros | 4 | ...
 *        |
 *        |  free(ref, 100): the bit is 0 again, and the word is open: it has a hole
 *        |
 *   the last value of a chunk gone: its pages -> any tier, a large object, or trim
 *
 * The system gives extents of up to 2 MiB. Chunks and large objects are runs of pages cut from
 * them; what is freed of one serves the other. A chunk holds slots of one tier, and nothing else:
 * what is known about them lies apart, in records and bits that a cache holds for millions of
 * slots, and a free slot's memory is not touched. A chunk has a power of two of slots, 64 KiB
 * or as many more as leave little of its last page, or a part of them where no such run is free.
 *
 * A slot is free when its live bit is 0. Puts take the lowest hole of the tier: the current word's,
 * else the lowest open word's of the lowest open chunk. So low chunks fill up, high ones run empty.
 * Only without any hole does a tier carve fresh slots, and then take a new chunk. The word that is
 * being carved is left at the first free, so that a freed slot always comes before a fresh one.
 *
 * A chunk number that is given up keeps its live bits, all 0: stale refs to it find nothing. The
 * next chunk takes such a number first.
 *
 * The records of large objects are slots as well, of one more tier behind the caller's: that gives
 * them ids that are reused, live bits, and growth without copying. */

enum {
    SLAB__PAGE        = 4096,
    SLAB__PAGES_MAX   = 512,         /* of an extent; 2 MiB, a large page on most machines */
    SLAB__PAGES_MIN   = 16,          /* so that a slot of any tier fits */
    SLAB__CHUNK_LEAST = 16,          /* pages of a chunk: the largest slot, so that one that empties
                                      * serves any tier. With 8, churn is 14 % slower, as records
                                      * leave the cache; with 32, 4 % faster, and less is packed */
    SLAB__CHUNK_MOST  = 64,          /* pages, to leave little behind the slots */
    SLAB__SPARE       = 64,          /* compact leaves a tier one part in so many of free slots */
    SLAB__LOOK        = 64,          /* chunks that compact chooses from */
    SLAB__HUGE_FROM   = 16,          /* extents from this number on ask for large pages: what the
                                      * last one leaves unused is then a small part of all */
    SLAB__SLOT_MAX    = 64 * 1024,
    SLAB__TIERS_MAX   = 63,
    SLAB__NUMBERS_MIN = 8,           /* chunk numbers, and extents, there is room for at first */
};

#define SLAB__NONE UINT32_MAX /* no chunk number */

/* One chunk number of a tier. */
typedef struct slab__chunk {
    unsigned char *memory; /* NULL: the number is free */
    uint64_t      *live;   /* a bit for each slot; then one for each of those words: it is open */
    uint32_t       extent; /* or, of a free number, the next one */
    uint16_t       slots;
    uint16_t       used;   /* of them */
} slab__chunk;

typedef struct slab__tier {
    /* What get needs. ref = ref_bits + (chunk number << shift) + index */
    slab_ref     ref_bits;
    uint32_t     shift;
    uint32_t     index_mask;
    uint32_t     numbers;   /* chunk numbers that have had a chunk */
    slab__chunk *chunks;    /* [capacity] */
    uint32_t     slot_size;

    /* The current word. holes: those of its slots that put may take; it is not open. */
    alignas(SLAB__LINE) uint64_t holes;
    uint64_t      *word;   /* NULL: there is none, and no hole */
    unsigned char *memory; /* of its first slot */
    slab__chunk   *chunk;
    size_t         payload;
    uint32_t       occupied;
    slab_ref       ref;    /* of its first slot */
    bool           fresh;  /* the tier has not used the holes yet */
    bool           zeroed; /* nobody has */
    uint64_t       bit;    /* of store->stirred; 0: what it holds is not moved */

    /* Which chunks are open: those with an open word, but for the victim. */
    alignas(SLAB__LINE) uint64_t *open; /* [capacity / 64] */
    uint32_t open_from;                 /* the words of open below have no bit */
    uint32_t carving;                   /* the chunk that has fresh slots, or SLAB__NONE */
    uint32_t carved;                    /* its slots from here on are fresh */
    bool     clean;                     /* and zero */
    uint32_t victim;                    /* the chunk that compact empties, or SLAB__NONE */
    uint32_t victim_word;               /* its live slots are in this word or behind */
    uint32_t slots;                     /* of all chunks */
    uint32_t free_number;               /* a list of them; SLAB__NONE: none below numbers */
    uint32_t capacity;                  /* numbers there is room for; a multiple of 8 */
    uint32_t number_limit;
    size_t   metadata;
} slab__tier;

/* A mapping that chunks and large objects are cut from. */
typedef struct slab__extent {
    unsigned char *memory; /* NULL: it was given back; its number is free */
    uint32_t       pages;
    uint32_t       free;   /* pages in no chunk and no large object */
    alignas(8) uint64_t taken[SLAB__PAGES_MAX / 64]; /* a bit for each page that is not free */
    uint64_t dirty[SLAB__PAGES_MAX / 64];            /* and for each that is not zero */
} slab__extent;

/* A mapping for metadata; taken from its front, never given back before the end. Of the extents
 * themselves nothing lies inside of them, so that they can be given back in any order. */
typedef struct slab__block {
    struct slab__block *next;
    size_t              size;
} slab__block;

/* Where metadata is taken from: the newest block, or pages of an extent. */
typedef struct slab__source {
    slab__block   *blocks;
    unsigned char *rest;
    size_t         left;
    uint32_t       extent; /* what is left is of it; SLAB__NONE: of the newest block */
    size_t         metadata; /* all of it: the store's mapping, blocks, the last tier's chunks */
} slab__source;

/* A large object: what lies in a slot of the last tier. */
typedef struct slab__large {
    unsigned char *memory;
    alignas(8) uint32_t len;
    uint32_t extent; /* unless it is larger than an extent: then it has its own mapping */
} slab__large;

struct slab_store {
    uint32_t       tier_count; /* the caller's; the next one holds the records of large objects */
    uint32_t       slot_bits;
    uint32_t       slot_max; /* the largest tier's */
    const uint8_t *tier_of;  /* [slot_max / 8 + 1] by length, rounded up to eights */

    size_t max_bytes;
    size_t held;     /* all mappings: this one, blocks, extents, the largest objects */
    size_t own_size; /* of the mapping that begins with this */

    slab__extent **extents;         /* [extent_capacity] */
    uint16_t      *longest;         /* [extent_capacity] no run of free pages is longer */
    uint32_t       extent_count;    /* numbers in use, or free again */
    uint32_t       extent_capacity; /* a multiple of 8 */
    uint32_t       extent_from;     /* no extent below has a free page */
    uint32_t       extent_pages;    /* of a new one */
    uint32_t       extents_empty, extents_gone;
    size_t         free_pages;

    slab__source source;

    size_t   large_capacity, large_payload;
    uint64_t stirred;    /* tiers, as bits, that may have become sparse */
    uint32_t compacting; /* the tier that compact turns to next */

    alignas(SLAB__LINE) slab__tier tiers[];
};

_Static_assert(sizeof(slab__large) % 8 == 0, "a record is a slot");
_Static_assert(SLAB__PAGES_MIN * SLAB__PAGE >= SLAB__SLOT_MAX, "a chunk holds a slot of any tier");
_Static_assert(SLAB__TIERS_MAX < 64, "stirred has a bit for each");

/* -- Bits -- */

static uint32_t slab__words(uint32_t bits) { return (bits + 63) / 64; }

/* The bits [from, end) of a word. */
static uint64_t slab__range(uint32_t from, uint32_t end)
{
    uint64_t below_end = end < 64 ? (UINT64_C(1) << end) - 1 : UINT64_MAX;
    return below_end & ~((UINT64_C(1) << from) - 1);
}

/* The first bit of [from, end) that has the value, or end. */
static uint32_t slab__find_bit(const uint64_t *words, uint32_t from, uint32_t end, bool value)
{
    while (from < end) {
        uint64_t word = (value ? words[from / 64] : ~words[from / 64]) >> from % 64;
        if (word == 0) {
            from = (from / 64 + 1) * 64;
            continue;
        }
        from += (uint32_t)__builtin_ctzll(word);
        break;
    }
    return from < end ? from : end;
}

static void slab__set_bits(uint64_t *words, uint32_t from, uint32_t end, bool value)
{
    for (uint32_t at = from / 64; at * 64 < end; at++) {
        uint64_t bits = slab__range(at == from / 64 ? from % 64 : 0, end - at * 64);
        if (value) words[at] |= bits;
        else words[at] &= ~bits;
    }
}

/* -- Memory: what a store holds, it holds through these -- */

static void slab__release_idle(slab_store *store);

/* Gives an extent that is all free back to the system. */
static void slab__give_extent(slab_store *store, uint32_t number)
{
    slab__extent *extent = store->extents[number];
    size_t        size   = (size_t)extent->pages * SLAB__PAGE;

    SLAB__SHOW(extent->memory, size);
    SLAB_UNMAP(extent->memory, size);
    store->held -= size;
    store->free_pages -= extent->pages;
    store->extents_empty--;
    store->extents_gone++;
    store->longest[number] = 0;
    memset(extent, 0, sizeof *extent);
}

/* Gives one such extent back. False: there is none. */
static bool slab__shrink(slab_store *store)
{
    if (store->extents_empty == 0) slab__release_idle(store);
    for (uint32_t number = store->extent_count; store->extents_empty != 0 && number-- > 0;) {
        const slab__extent *extent = store->extents[number];
        if (!extent->memory || extent->free != extent->pages) continue;
        slab__give_extent(store, number);
        return true;
    }
    return false;
}

/* Zeroed memory from the system; if need be, free extents make room for it. NULL: *error. */
static void *slab__hold(slab_store *store, size_t size, int *error)
{
    void  *memory = NULL;
    size_t limit  = store->max_bytes ? store->max_bytes : SIZE_MAX;

    *error = -ENOSPC;
    if (size > limit - store->held) slab__release_idle(store);
    if (size > limit - store->held + store->free_pages * SLAB__PAGE) return NULL;
    do {
        *error = -ENOSPC;
        if (size > limit - store->held) continue;
        *error = -ENOMEM;
        memory = SLAB_MAP(size);
    } while (!memory && slab__shrink(store));
    if (!memory) return NULL;
    store->held += size;
    *error = 0;
    return memory;
}

/* Zeroed, aligned to 8. */
static void *slab__take_metadata(slab_store *store, size_t size)
{
    void *memory = store->source.rest;

    SLAB_ASSERT(size <= store->source.left && size % 8 == 0);
    store->source.rest += size;
    store->source.left -= size;
    return memory;
}

/* Pages that may still be mapped. */
static size_t slab__pages_left(const slab_store *store)
{
    return (store->max_bytes ? store->max_bytes - store->held : SIZE_MAX) / SLAB__PAGE;
}

/* Whether max_bytes leaves less than so many pages, free ones included, however they lie. It is a
 * quick answer for a cache that evicts each time. */
static bool slab__lacks(slab_store *store, size_t pages)
{
    if (slab__pages_left(store) + store->free_pages >= pages) return false;
    slab__release_idle(store);
    return slab__pages_left(store) + store->free_pages < pages;
}

/* -- Runs of pages -- */

typedef struct slab__run {
    unsigned char *memory;
    uint32_t       extent;
    uint32_t       pages;
    bool           clean; /* zero */
} slab__run;

/* Finds a run of free pages, of run->pages, in the lowest extent that has one. */
static bool slab__find_run(slab_store *store, slab__run *run, uint32_t *first)
{
    while (store->extent_from < store->extent_count && store->longest[store->extent_from] == 0)
        store->extent_from++;
    for (uint32_t number = store->extent_from; number < store->extent_count; number++) {
        if (store->longest[number] < run->pages) continue;
        const slab__extent *extent  = store->extents[number];
        uint32_t            longest = 0;
        for (uint32_t end = 0, from; end < extent->pages;) {
            from = slab__find_bit(extent->taken, end, extent->pages, false);
            end  = slab__find_bit(extent->taken, from, extent->pages, true);
            if (end - from > longest) longest = end - from;
            if (longest < run->pages) continue;
            run->extent = number;
            *first      = from;
            return true;
        }
        store->longest[number] = (uint16_t)longest;
    }
    return false;
}

/* Takes a run from the extents there are. False: none is long enough. */
static bool slab__take_run(slab_store *store, uint32_t pages, slab__run *run)
{
    uint32_t first;

    run->pages = pages;
    if (!slab__find_run(store, run, &first)) return false;
    slab__extent *extent = store->extents[run->extent];
    uint32_t      end    = first + run->pages;
    run->memory          = extent->memory + (size_t)first * SLAB__PAGE;
    run->clean           = slab__find_bit(extent->dirty, first, end, true) == end;
    slab__set_bits(extent->taken, first, end, true);
    slab__set_bits(extent->dirty, first, end, true);
    if (extent->free == extent->pages) store->extents_empty--;
    extent->free -= run->pages;
    store->free_pages -= run->pages;
    if (extent->free < store->longest[run->extent])
        store->longest[run->extent] = (uint16_t)extent->free;
    return true;
}

static void slab__give_run(slab_store *store, uint32_t number, const unsigned char *memory,
                           uint32_t pages)
{
    slab__extent *extent = store->extents[number];
    uint32_t      first  = (uint32_t)((size_t)(memory - extent->memory) / SLAB__PAGE);

    SLAB__HIDE(memory, (size_t)pages * SLAB__PAGE);
    slab__set_bits(extent->taken, first, first + pages, false);
    extent->free += pages;
    store->free_pages += pages;
    if (extent->free == extent->pages) store->extents_empty++;
    store->longest[number] = (uint16_t)extent->free;
    if (number < store->extent_from) store->extent_from = number;
}

/* Whether slab__take_metadata(size) would give something that lies outside the extents. */
static bool slab__is_outside(const slab_store *store, size_t size)
{
    return size <= store->source.left && store->source.extent == SLAB__NONE;
}

/* Of a new block that has room for size bytes. */
static size_t slab__block_size(const slab_store *store, size_t size)
{
    size_t usual = (size_t)store->extent_pages * SLAB__PAGE / 64;
    return slab__round_up((size > usual ? size : usual) + sizeof(slab__block), SLAB__PAGE);
}

/* Sees to it that slab__take_metadata(size) gives something that lies outside the extents. 0,
 * -ENOSPC, -ENOMEM. */
static int slab__provide_outside(slab_store *store, size_t size)
{
    slab__source *source = &store->source;
    size_t        whole  = slab__block_size(store, size);
    int           error;

    if (slab__is_outside(store, size)) return 0;
    slab__block *block = (slab__block *)slab__hold(store, whole, &error);
    if (!block) return error;
    block->size    = whole;
    block->next    = source->blocks;
    source->blocks = block;
    source->rest   = (unsigned char *)(block + 1);
    source->left   = whole - sizeof *block;
    source->extent = SLAB__NONE;
    source->metadata += whole;
    return 0;
}

/* Sees to it that slab__take_metadata(size) will not fail; at the limit it is free pages that
 * become metadata, for good. 0, -ENOSPC, -ENOMEM. */
static int slab__provide(slab_store *store, size_t size)
{
    size_t    whole = slab__round_up(size, SLAB__PAGE);
    slab__run run;

    if (size <= store->source.left) return 0;
    int error = slab__provide_outside(store, size);
    if (!error) return 0;
    if (!slab__take_run(store, (uint32_t)(whole / SLAB__PAGE), &run)) return error;
    SLAB__SHOW(run.memory, whole);
    if (!run.clean) memset(run.memory, 0, whole);
    store->source.rest   = run.memory;
    store->source.left   = whole;
    store->source.extent = run.extent;
    store->source.metadata += whole;
    return 0;
}

/* Gives back what slab__provide, which was called once, provided since then; none of it was taken.
 */
static void slab__unprovide(slab_store *store, const slab__source *before)
{
    slab__source *source = &store->source;

    if (source->rest == before->rest) return;
    if (source->extent != SLAB__NONE) {
        slab__give_run(store, source->extent, source->rest, (uint32_t)(source->left / SLAB__PAGE));
    } else {
        store->held -= source->blocks->size;
        SLAB_UNMAP(source->blocks, source->blocks->size);
    }
    *source = *before;
}

/* Metadata for one more extent. */
static size_t slab__extent_directory(uint32_t capacity)
{
    return capacity * (sizeof(slab__extent *) + sizeof(uint16_t));
}
static size_t slab__extent_size(const slab_store *store)
{
    if (store->extents_gone != 0) return 0;
    if (store->extent_count < store->extent_capacity) return sizeof(slab__extent);
    return sizeof(slab__extent) + slab__extent_directory(store->extent_capacity * 2);
}

/* The number of an extent that has no memory, after slab__provide. */
static uint32_t slab__extent_number(slab_store *store)
{
    uint32_t number = 0;

    while (store->extents_gone != 0 && store->extents[number]->memory) number++;
    if (store->extents_gone != 0) return number;
    if (store->extent_count == store->extent_capacity) {
        uint32_t       capacity  = store->extent_capacity * 2;
        size_t         size      = slab__extent_directory(capacity);
        slab__extent **extents   = (slab__extent **)slab__take_metadata(store, size);
        uint16_t      *longest   = (uint16_t *)(void *)(extents + capacity);
        for (uint32_t i = 0; i < store->extent_count; i++) {
            extents[i] = store->extents[i];
            longest[i] = store->longest[i];
        }
        store->extents         = extents;
        store->longest         = longest;
        store->extent_capacity = capacity;
    }
    number                 = store->extent_count++;
    store->extents[number] = (slab__extent *)slab__take_metadata(store, sizeof(slab__extent));
    store->extents_gone++;
    return number;
}

/* One more extent; near max_bytes what is left, but least pages. After that, slab__take_metadata
 * of `also` bytes will not fail. 0, -ENOSPC, -ENOMEM. */
static int slab__add_extent(slab_store *store, uint32_t least, size_t also)
{
    slab__source   before = store->source;
    size_t         size = slab__extent_size(store) + also, need = least, pages;
    int            error;

    if (!slab__is_outside(store, size)) need += slab__block_size(store, size) / SLAB__PAGE;
    while (slab__pages_left(store) < need)
        if (!slab__shrink(store)) return -ENOSPC;
    if ((error = slab__provide_outside(store, size))) return error;
    pages = slab__pages_left(store);
    if (pages > store->extent_pages) pages = store->extent_pages;
    unsigned char *memory = (unsigned char *)slab__hold(store, pages * SLAB__PAGE, &error);
    if (!memory) {
        slab__unprovide(store, &before);
        return error;
    }
    uint32_t number = slab__extent_number(store);
    if (number >= SLAB__HUGE_FROM && pages == SLAB__PAGES_MAX)
        SLAB_HUGE(memory, pages * SLAB__PAGE);
    SLAB__HIDE(memory, pages * SLAB__PAGE);
    slab__extent *extent   = store->extents[number];
    extent->memory         = memory;
    extent->pages          = (uint32_t)pages;
    extent->free           = (uint32_t)pages;
    store->longest[number] = (uint16_t)pages;
    store->free_pages += pages;
    store->extents_empty++;
    store->extents_gone--;
    if (number < store->extent_from) store->extent_from = number;
    return 0;
}

/* Takes a run by all means: chunks that tiers keep without need are asked for before the system is.
 * `also` bytes of metadata stay provided. 0, -ENOSPC, -ENOMEM. */
static int slab__need_run(slab_store *store, uint32_t pages, size_t also, slab__run *run)
{
    if (slab__take_run(store, pages, run)) return 0;
    slab__release_idle(store);
    if (slab__take_run(store, pages, run)) return 0;
    int error = slab__add_extent(store, pages, also);
    if (!error) slab__take_run(store, pages, run);
    return error;
}

/* -- Words, open and current -- */

static uint64_t *slab__open_words(const slab__tier *tier, const slab__chunk *chunk)
{
    return chunk->live + slab__words(tier->index_mask + 1);
}

static void slab__open_chunk(slab__tier *tier, uint32_t number)
{
    tier->open[number / 64] |= UINT64_C(1) << number % 64;
    if (number / 64 < tier->open_from) tier->open_from = number / 64;
}

static void slab__close_chunk(slab__tier *tier, uint32_t number)
{
    tier->open[number / 64] &= ~(UINT64_C(1) << number % 64);
}

static void slab__open_word(slab__tier *tier, uint32_t number, uint32_t word)
{
    slab__open_words(tier, &tier->chunks[number])[word / 64] |= UINT64_C(1) << word % 64;
    if (number != tier->victim) slab__open_chunk(tier, number);
}

/* The chunk's first open word, or how many words there are. */
static uint32_t slab__first_open(const slab__tier *tier, const slab__chunk *chunk)
{
    return slab__find_bit(slab__open_words(tier, chunk), 0, slab__words(chunk->slots), true);
}

/* The lowest open chunk, or SLAB__NONE. */
static uint32_t slab__lowest_open(slab__tier *tier)
{
    uint32_t end = slab__words(tier->numbers);

    while (tier->open_from < end && tier->open[tier->open_from] == 0) tier->open_from++;
    if (tier->open_from == end) return SLAB__NONE;
    return tier->open_from * 64 + (uint32_t)__builtin_ctzll(tier->open[tier->open_from]);
}

static void slab__enter(slab__tier *tier, uint32_t number, uint32_t word, uint64_t holes,
                        bool fresh)
{
    slab__chunk *chunk = &tier->chunks[number];

    tier->chunk  = chunk;
    tier->word   = &chunk->live[word];
    tier->memory = chunk->memory + (size_t)word * 64 * tier->slot_size;
    tier->ref    = tier->ref_bits | (number << tier->shift) | word * 64;
    tier->holes  = holes;
    tier->fresh  = fresh;
    tier->zeroed = fresh && tier->clean;
}

/* The lowest open word of an open chunk becomes the current one. */
static void slab__enter_open(slab__tier *tier, uint32_t number)
{
    slab__chunk *chunk = &tier->chunks[number];
    uint32_t     word  = slab__first_open(tier, chunk);
    uint32_t     end   = number == tier->carving ? tier->carved : chunk->slots;

    slab__open_words(tier, chunk)[word / 64] &= ~(UINT64_C(1) << word % 64);
    if (slab__first_open(tier, chunk) == slab__words(chunk->slots)) slab__close_chunk(tier, number);
    slab__enter(tier, number, word, ~chunk->live[word] & slab__range(0, end - word * 64), false);
}

/* The next fresh slots, up to the end of their word, become the current holes. */
static void slab__enter_fresh(slab__tier *tier)
{
    uint32_t word = tier->carved / 64, end = tier->chunks[tier->carving].slots;

    slab__enter(tier, tier->carving, word, slab__range(tier->carved % 64, end - word * 64), true);
}

/* No word is current any more. */
static void slab__leave(slab__tier *tier)
{
    if (!tier->word) return;
    uint32_t number = (uint32_t)(tier->chunk - tier->chunks);
    uint32_t word   = (uint32_t)(tier->word - tier->chunk->live);
    uint64_t holes  = tier->holes;

    if (tier->fresh) {
        tier->carved = word * 64 + (holes ? (uint32_t)__builtin_ctzll(holes) : 64);
        if (tier->carved >= tier->chunk->slots) tier->carving = SLAB__NONE;
    } else if (holes) slab__open_word(tier, number, word);
    tier->chunk = NULL;
    tier->word  = NULL;
    tier->holes = 0;
    tier->fresh = false;
}

/* -- Chunks: from the system or another tier, and back -- */

static uint32_t slab__pages_of(uint32_t slot_size, uint32_t slots)
{
    return (slots * slot_size + SLAB__PAGE - 1) / SLAB__PAGE;
}

/* What the tier's next chunk needs of metadata: if no number is free, bits and maybe a record. */
static size_t slab__records_size(uint32_t capacity)
{
    return capacity * sizeof(slab__chunk) + slab__words(capacity) * sizeof(uint64_t);
}
static size_t slab__bits_size(uint32_t slots)
{
    uint32_t words = slab__words(slots);
    return (words + slab__words(words)) * sizeof(uint64_t);
}
static size_t slab__number_size(const slab__tier *tier)
{
    if (tier->free_number != SLAB__NONE) return 0;
    bool more = tier->numbers == tier->capacity;
    return slab__bits_size(tier->index_mask + 1) +
           (more ? slab__records_size(tier->capacity * 2 + SLAB__NUMBERS_MIN) : 0);
}

/* Room for more chunk numbers, after slab__provide. The records move: leave first. */
static void slab__add_numbers(slab_store *store, slab__tier *tier)
{
    uint32_t     capacity = tier->capacity * 2 + SLAB__NUMBERS_MIN;
    size_t       size     = slab__records_size(capacity);
    slab__chunk *chunks   = (slab__chunk *)slab__take_metadata(store, size);
    uint64_t    *open     = (uint64_t *)(void *)(chunks + capacity);

    /* No chunk is open: that is why the tier grows. */
    if (tier->numbers != 0) memcpy(chunks, tier->chunks, tier->numbers * sizeof *chunks);
    tier->chunks   = chunks;
    tier->open     = open;
    tier->capacity = capacity;
    tier->metadata += size;
}

/* Whether it is the tier of large objects' records: its chunks count as metadata. */
static bool slab__is_records(const slab_store *store, const slab__tier *tier)
{
    return tier == &store->tiers[store->tier_count];
}

/* A chunk number that is free, after slab__provide. */
static uint32_t slab__take_number(slab_store *store, slab__tier *tier)
{
    uint32_t number = tier->free_number;

    if (number != SLAB__NONE) {
        tier->free_number = tier->chunks[number].extent;
        return number;
    }
    if (tier->numbers == tier->capacity) slab__add_numbers(store, tier);
    number                    = tier->numbers++;
    size_t size               = slab__bits_size(tier->index_mask + 1);
    tier->chunks[number].live = (uint64_t *)slab__take_metadata(store, size);
    tier->metadata += size;
    return number;
}

/* The chunk holds no value: its pages are anybody's. */
static void slab__release(slab_store *store, slab__tier *tier, uint32_t number)
{
    slab__chunk *chunk = &tier->chunks[number];
    uint32_t     pages = slab__pages_of(tier->slot_size, chunk->slots);

    SLAB_ASSERT(chunk->used == 0 && chunk != tier->chunk);
    slab__close_chunk(tier, number);
    if (number == tier->carving) tier->carving = SLAB__NONE;
    if (number == tier->victim) tier->victim = SLAB__NONE;
    if (slab__is_records(store, tier)) store->source.metadata -= (size_t)pages * SLAB__PAGE;
    tier->slots -= chunk->slots;
    slab__give_run(store, chunk->extent, chunk->memory, pages);
    chunk->memory     = NULL;
    chunk->extent     = tier->free_number;
    tier->free_number = number;
}

/* A tier's current chunk stays with it when it empties, until memory is short. */
static void slab__release_idle(slab_store *store)
{
    for (uint32_t i = 0; i <= store->tier_count; i++) {
        slab__tier *tier = &store->tiers[i];
        if (!tier->chunk || tier->chunk->used != 0) continue;
        uint32_t number = (uint32_t)(tier->chunk - tier->chunks);
        slab__leave(tier);
        slab__release(store, tier, number);
    }
}

/* Memory for a chunk, after slab__provide: run, and how many slots it has. 0, -ENOSPC, -ENOMEM. */
static int slab__need_slots(slab_store *store, const slab__tier *tier, slab__run *run,
                            uint32_t *slots)
{
    size_t also = slab__number_size(tier);
    *slots      = tier->index_mask + 1;
    int error   = slab__need_run(store, slab__pages_of(tier->slot_size, *slots), also, run);
    /* There may be a shorter run, or room for one. */
    while (error && (*slots /= 2) > 0) {
        uint32_t pages = slab__pages_of(tier->slot_size, *slots);
        if (error == -ENOSPC) error = slab__need_run(store, pages, also, run);
        else if (slab__take_run(store, pages, run)) error = 0;
    }
    return error;
}

/* Gives the tier one more chunk, all fresh. It has no current word. 0, -ENOSPC, -ENOMEM;
 * -EOVERFLOW: all its chunk numbers are in use. */
static SLAB__COLD int slab__grow(slab_store *store, slab__tier *tier)
{
    slab__run run;
    uint32_t  slots;

    if (tier->free_number == SLAB__NONE && tier->numbers == tier->number_limit) return -EOVERFLOW;
    slab__source before = store->source;
    if (slab__lacks(store, slab__pages_of(tier->slot_size, 1))) return -ENOSPC;
    int error = slab__provide(store, slab__number_size(tier));
    if (error) return error;
    if ((error = slab__need_slots(store, tier, &run, &slots))) {
        slab__unprovide(store, &before);
        return error;
    }
    uint32_t     number = slab__take_number(store, tier);
    slab__chunk *chunk  = &tier->chunks[number];
    chunk->memory       = run.memory;
    chunk->extent       = run.extent;
    chunk->slots        = (uint16_t)slots;
    memset(slab__open_words(tier, chunk), 0, slab__words(slab__words(slots)) * sizeof(uint64_t));
    tier->slots += slots;
    tier->carving = number;
    tier->carved  = 0;
    tier->clean   = run.clean;
    if (slab__is_records(store, tier)) store->source.metadata += (size_t)run.pages * SLAB__PAGE;
    return 0;
}

/* -- Slots -- */

/* Compact has no victim any more; what is free in it may be used. */
static void slab__spare(slab__tier *tier)
{
    uint32_t           number = tier->victim;
    const slab__chunk *chunk  = &tier->chunks[number];

    tier->victim = SLAB__NONE;
    if (tier->fresh) slab__leave(tier);
    if (slab__first_open(tier, chunk) < slab__words(chunk->slots)) slab__open_chunk(tier, number);
}

/* The current word has no hole: finds another. 0, or as slab__grow. */
static SLAB__COLD int slab__refill(slab_store *store, slab__tier *tier)
{
    slab__leave(tier);
    uint32_t number = slab__lowest_open(tier);
    if (number == SLAB__NONE && tier->carving == SLAB__NONE && tier->victim != SLAB__NONE) {
        slab__spare(tier);
        number = slab__lowest_open(tier);
    }
    if (number == SLAB__NONE && tier->carving == SLAB__NONE) {
        int error = slab__grow(store, tier);
        if (error) return error;
    } else if (number == SLAB__NONE && slab__pages_left(store) >= store->extent_pages) {
        /* Growth is near: what it needs of metadata is mapped now, so that it maps one thing. */
        slab__provide_outside(store, slab__number_size(tier) + slab__extent_size(store));
    }
    if (number != SLAB__NONE) slab__enter_open(tier, number);
    else slab__enter_fresh(tier);
    return 0;
}

/* Takes the lowest hole; there is one. */
static inline unsigned char *slab__take_slot(slab__tier *tier, slab_ref *ref)
{
    uint64_t holes = tier->holes;
    uint32_t index = (uint32_t)__builtin_ctzll(holes);

    tier->holes = holes & (holes - 1);
    *tier->word |= holes & -holes;
    tier->chunk->used++;
    tier->occupied++;
    *ref = tier->ref + index;
    return tier->memory + (size_t)index * tier->slot_size;
}

/* The record of the chunk that holds a live slot, or NULL. */
static inline slab__chunk *slab__find(const slab__tier *tier, slab_ref ref)
{
    uint32_t number = (ref - tier->ref_bits) >> tier->shift, index = ref & tier->index_mask;

    if (number >= tier->numbers) return NULL; /* out of range, or of another tier */
    slab__chunk *chunk = &tier->chunks[number];
    return chunk->live[index / 64] >> index % 64 & 1 ? chunk : NULL;
}

static inline unsigned char *slab__slot(const slab__tier *tier, const slab__chunk *chunk,
                                        slab_ref ref)
{
    return chunk->memory + (size_t)(ref & tier->index_mask) * tier->slot_size;
}

/* A slot was freed that is no hole of the current word. */
static void slab__reopen(slab_store *store, slab__tier *tier, slab__chunk *chunk, uint32_t word)
{
    uint32_t number = (uint32_t)(chunk - tier->chunks);
    bool     carved = tier->fresh && chunk == tier->chunk;

    if (tier->fresh) slab__leave(tier);
    if (chunk->used == 0 && chunk != tier->chunk && !carved) {
        slab__release(store, tier, number);
        return;
    }
    slab__open_word(tier, number, word);
    if (carved) slab__enter_open(tier, number); /* it stays current, even if it is empty */
}

/* The live slot is free. */
static inline void slab__give_slot(slab_store *store, slab__tier *tier, slab__chunk *chunk,
                                   slab_ref ref)
{
    uint32_t  index = ref & tier->index_mask;
    uint64_t *word = &chunk->live[index / 64], bit = UINT64_C(1) << index % 64;

    SLAB__HIDE(slab__slot(tier, chunk, ref), tier->slot_size);
    *word &= ~bit;
    chunk->used--;
    tier->occupied--;
    store->stirred |= tier->bit;
    if (word == tier->word && !tier->fresh) tier->holes |= bit;
    else slab__reopen(store, tier, chunk, index / 64);
}

/* -- Large objects -- */

enum { SLAB__LARGE_AT = 31 }; /* the bit of a ref */

static slab__tier *slab__records(const slab_store *store)
{
    return (slab__tier *)(uintptr_t)&store->tiers[store->tier_count];
}

static SLAB__COLD void *slab__no_value(slab_ref *ref)
{
    *ref = SLAB_NO_REF;
    return NULL;
}

static size_t slab__large_size(size_t len) { return slab__round_up(len ? len : 1, SLAB__PAGE); }

/* Memory for a large object, zero beyond record->len: a run of pages, or if it is larger than an
 * extent, a mapping. 0, -ENOSPC, -ENOMEM. */
static int slab__large_memory(slab_store *store, slab__large *record, size_t size)
{
    slab__run run;
    int       error;

    if (size > (size_t)store->extent_pages * SLAB__PAGE) {
        record->memory = (unsigned char *)slab__hold(store, size, &error);
        if (record->memory && store->extent_pages == SLAB__PAGES_MAX)
            SLAB_HUGE(record->memory, size);
        return error;
    }
    uint32_t pages = (uint32_t)(size / SLAB__PAGE);
    if ((error = slab__need_run(store, pages, 0, &run))) return error;
    record->memory = run.memory;
    record->extent = run.extent;
    SLAB__SHOW(run.memory + record->len, size - record->len);
    if (!run.clean) memset(run.memory + record->len, 0, size - record->len);
    return 0;
}

/* Gives back the memory of a large object. */
static void slab__give_large(slab_store *store, const slab__large *record, size_t size)
{
    if (size <= (size_t)store->extent_pages * SLAB__PAGE) {
        slab__give_run(store, record->extent, record->memory, (uint32_t)(size / SLAB__PAGE));
    } else {
        SLAB_UNMAP(record->memory, size);
        store->held -= size;
    }
}

static SLAB__COLD void *slab__alloc_large(slab_store *store, size_t len, slab_ref *ref, int *error)
{
    slab__tier *records = slab__records(store);
    slab__large made    = {.len = (uint32_t)len};
    size_t      held = store->held, size = slab__large_size(len);

    *error = len > UINT32_MAX ? -EMSGSIZE : len > SIZE_MAX - SLAB__PAGE ? -ENOMEM : 0;
    if (!*error) *error = slab__large_memory(store, &made, size);
    if (*error) return slab__no_value(ref);
    if (records->holes == 0 && (*error = slab__refill(store, records)) != 0) {
        if (*error == -EOVERFLOW) *error = -ENOSPC; /* 2^31 of them */
        slab__give_large(store, &made, size);
        while (store->held > held && slab__shrink(store)) continue;
        return slab__no_value(ref);
    }
    slab__large *record = (slab__large *)(void *)slab__take_slot(records, ref);
    SLAB__SHOW(record, sizeof *record);
    *record = made;
    SLAB__FRESH(record->memory, len);
    store->large_capacity += size;
    store->large_payload += len;
    return record->memory;
}

/* The record of a live large object of that length, or NULL. */
static slab__large *slab__find_large(const slab_store *store, slab_ref ref, size_t len)
{
    const slab__tier  *records = slab__records(store);
    const slab__chunk *chunk   = slab__find(records, ref);

    if (!chunk) return NULL;
    slab__large *record = (slab__large *)(void *)slab__slot(records, chunk, ref);
    return record->len == len ? record : NULL;
}

static SLAB__COLD const void *slab__get_large(const slab_store *store, slab_ref ref, size_t len)
{
    const slab__large *record = slab__find_large(store, ref, len);
    return record ? record->memory : NULL;
}

static SLAB__COLD int slab__free_large(slab_store *store, slab_ref ref, size_t len)
{
    slab__tier  *records = slab__records(store);
    slab__large *record  = slab__find_large(store, ref, len);

    if (!record) return -ESTALE;
    size_t size = slab__large_size(len);
    slab__give_large(store, record, size);
    store->large_capacity -= size;
    store->large_payload -= len;
    slab__give_slot(store, records, slab__find(records, ref), ref);
    return 0;
}

/* -- Create -- */

/* Whether the tiers are ascending multiples of 8, from 8 to SLAB__SLOT_MAX. */
static bool slab__are_tiers(const uint32_t *sizes, uint32_t count)
{
    if (count < 1 || count > SLAB__TIERS_MAX) return false;
    for (uint32_t i = 0; i < count; i++)
        if (sizes[i] % 8 != 0 || sizes[i] <= (i ? sizes[i - 1] : 0)) return false;
    return sizes[count - 1] <= SLAB__SLOT_MAX;
}

/* As large as a large page, though with max_bytes at most a sixty-fourth of it. */
static uint32_t slab__fit_extent(size_t max_bytes)
{
    uint32_t pages = SLAB__PAGES_MAX;

    if (max_bytes == 0) return pages;
    while (pages > SLAB__PAGES_MIN && pages > max_bytes / 64 / SLAB__PAGE) pages /= 2;
    return pages;
}

/* log2 of the slots in a chunk: the first that is long enough and leaves less than a thirty-second
 * of it behind the slots, or what comes nearest. */
static uint32_t slab__fit_chunk(uint32_t slot_size, uint32_t extent_pages)
{
    for (uint32_t shift = 0;; shift++) {
        uint32_t pages = slab__pages_of(slot_size, UINT32_C(1) << shift);
        uint32_t next  = slab__pages_of(slot_size, UINT32_C(2) << shift);
        uint32_t rest  = pages * SLAB__PAGE - (slot_size << shift);
        bool     ok    = pages >= SLAB__CHUNK_LEAST;
        if (next > extent_pages || (ok && next > SLAB__CHUNK_MOST)) return shift;
        if (ok && rest * 32 < pages * SLAB__PAGE) return shift;
    }
}

static void slab__shape_tier(slab_store *store, slab__tier *tier, uint32_t size, uint32_t ref_bits,
                             uint32_t slot_bits)
{
    tier->slot_size    = size;
    tier->ref_bits     = ref_bits;
    tier->shift        = slab__fit_chunk(size, store->extent_pages);
    tier->index_mask   = (UINT32_C(1) << tier->shift) - 1;
    tier->number_limit = UINT32_C(1) << (slot_bits - tier->shift);
    tier->carving = tier->victim = tier->free_number = SLAB__NONE;
}

static void slab__shape_tiers(slab_store *store, const uint32_t *sizes, uint32_t count,
                              uint8_t *tier_of)
{
    slab__tier *records = &store->tiers[count];
    uint32_t    eights  = 0;

    store->tier_count = count;
    store->slot_max   = sizes[count - 1];
    store->tier_of    = tier_of;
    store->slot_bits  = count <= 7 ? 28 : count <= 15 ? 27 : count <= 31 ? 26 : 25;
    for (uint32_t i = 0; i < count; i++) {
        slab__shape_tier(store, &store->tiers[i], sizes[i], i << store->slot_bits,
                         store->slot_bits);
        store->tiers[i].bit = UINT64_C(1) << i;
        while (eights <= sizes[i] / 8) tier_of[eights++] = (uint8_t)i;
    }
    slab__shape_tier(store, records, sizeof(slab__large), UINT32_C(1) << SLAB__LARGE_AT,
                     SLAB__LARGE_AT);
    records->number_limit--; /* SLAB_NO_REF would be in the last */
}

/* The metadata for a first chunk in each tier, and two extents: so that the smallest budget, too,
 * can always have a chunk. */
static size_t slab__first_size(const uint32_t *sizes, uint32_t count, uint32_t extent_pages)
{
    size_t size = slab__extent_directory(SLAB__NUMBERS_MIN) + 2 * sizeof(slab__extent);

    for (uint32_t i = 0; i <= count; i++) {
        uint32_t slot_size = i < count ? sizes[i] : (uint32_t)sizeof(slab__large);
        size += slab__records_size(SLAB__NUMBERS_MIN) +
                slab__bits_size(UINT32_C(1) << slab__fit_chunk(slot_size, extent_pages));
    }
    return size;
}

SLAB_API int slab_store_create(slab_store **store, const slab_store_config *config)
{
    static const uint32_t doublings[] = {64, 128, 256, 512, 1024, 2048, 4096};
    const uint32_t *sizes     = config && config->tier_sizes ? config->tier_sizes : doublings;
    uint32_t        count     = sizes == doublings ? 7 : config->tier_count;
    size_t          max_bytes = config ? config->max_bytes : 0;

    if (!store) return -EINVAL;
    *store = NULL;
    if (!slab__are_tiers(sizes, count)) return -EINVAL;
    uint32_t extent_pages = slab__fit_extent(max_bytes);
    size_t   tier_of_at   = sizeof(slab_store) + (count + 1) * sizeof(slab__tier);
    size_t   rest_at      = slab__round_up(tier_of_at + sizes[count - 1] / 8 + 1, 8);
    size_t   size = rest_at + slab__first_size(sizes, count, extent_pages);
    size          = slab__round_up(size, SLAB__PAGE);
    size_t need   = size + (size_t)SLAB__CHUNK_LEAST * SLAB__PAGE;
    if (max_bytes != 0 && max_bytes < need) return -EINVAL;

    slab_store *made = (slab_store *)SLAB_MAP(size);
    if (!made) return -ENOMEM;
    made->max_bytes = max_bytes;
    made->held = made->own_size = size;
    made->source          = (slab__source){.rest     = (unsigned char *)made + rest_at,
                                           .left     = size - rest_at,
                                           .extent   = SLAB__NONE,
                                           .metadata = size};
    made->extent_pages    = extent_pages;
    made->extent_capacity = SLAB__NUMBERS_MIN;
    made->extents         = (slab__extent **)slab__take_metadata(
        made, slab__extent_directory(SLAB__NUMBERS_MIN));
    made->longest = (uint16_t *)(void *)(made->extents + SLAB__NUMBERS_MIN);
    slab__shape_tiers(made, sizes, count, (uint8_t *)made + tier_of_at);
    *store = made;
    return 0;
}

SLAB_API void slab_store_destroy(slab_store *store)
{
    if (!store) return;
    slab__tier *records = slab__records(store);
    for (slab_ref ref = records->ref_bits; records->occupied > 0; ref++) {
        slab__chunk *chunk = slab__find(records, ref);
        if (!chunk) continue;
        const slab__large *record = (slab__large *)(void *)slab__slot(records, chunk, ref);
        slab__free_large(store, ref, record->len);
    }
    for (uint32_t number = 0; number < store->extent_count; number++)
        if (store->extents[number]->memory) slab__give_extent(store, number);
    for (slab__block *block = store->source.blocks, *next; block; block = next) {
        next = block->next;
        SLAB_UNMAP(block, block->size);
    }
    SLAB_UNMAP(store, store->own_size);
}

/* -- Put, get, free -- */

/* A slot for len bytes, zero beyond them. NULL: *error, and *ref is SLAB_NO_REF. */
static SLAB__HOT void *slab__alloc(slab_store *store, size_t len, slab_ref *ref, int *error)
{
    if (len > store->slot_max) return slab__alloc_large(store, len, ref, error);
    slab__tier *tier = &store->tiers[store->tier_of[(len + 7) / 8]];
    if (tier->holes == 0 && (*error = slab__refill(store, tier)) != 0)
        return *error == -EOVERFLOW ? slab__alloc_large(store, len, ref, error)
                                    : slab__no_value(ref);
    unsigned char *value = (unsigned char *)slab__take_slot(tier, ref);

    tier->payload += len;
    SLAB__FRESH(value, len);
    SLAB__SHOW(value + len, tier->slot_size - len);
    if (!tier->zeroed) memset(value + len, 0, tier->slot_size - len);
    return value;
}

SLAB_API int slab_store_put(slab_store *store, const void *data, size_t len, slab_ref *ref)
{
    int error = 0;

    if (!store || !ref || (!data && len > 0)) {
        if (ref) *ref = SLAB_NO_REF;
        return -EINVAL;
    }
    void *value = slab__alloc(store, len, ref, &error);
    if (!value) return error;
    if (len > 0) memcpy(value, data, len);
    return 0;
}

SLAB_API void *slab_store_alloc(slab_store *store, size_t len, slab_ref *ref)
{
    int error = 0;

    if (!store || !ref) return ref ? slab__no_value(ref) : NULL;
    return slab__alloc(store, len, ref, &error);
}

SLAB_API const void *slab_store_get(const slab_store *store, slab_ref ref, size_t len)
{
    if (!store) return NULL;
    if (len > store->slot_max) return slab__get_large(store, ref, len);
    const slab__tier  *tier  = &store->tiers[store->tier_of[(len + 7) / 8]];
    const slab__chunk *chunk = slab__find(tier, ref);
    return chunk ? slab__slot(tier, chunk, ref) : slab__get_large(store, ref, len);
}

SLAB_API int slab_store_free(slab_store *store, slab_ref ref, size_t len)
{
    if (!store) return -EINVAL;
    if (len > store->slot_max) return slab__free_large(store, ref, len);
    slab__tier  *tier  = &store->tiers[store->tier_of[(len + 7) / 8]];
    slab__chunk *chunk = slab__find(tier, ref);
    if (!chunk) return slab__free_large(store, ref, len);
    tier->payload -= len;
    slab__give_slot(store, tier, chunk, ref);
    return 0;
}

SLAB_API bool slab_ref_is_large(slab_ref ref)
{
    return ref >> SLAB__LARGE_AT != 0 && ref != SLAB_NO_REF;
}

/* -- Trim and compact -- */

/* Gives the content of an extent's free pages back to the system. Returns how many bytes. Only
 * whole pages of the system go: where these are larger than ours, it would round up and take the
 * neighbours as well. It may refuse, as it does if the pages are locked: then they stay dirty, and
 * are cleared where they must be zero. */
static size_t slab__discard(slab__extent *extent)
{
    long     page  = sysconf(_SC_PAGESIZE);
    uint32_t unit  = page > SLAB__PAGE ? (uint32_t)page / SLAB__PAGE : 1;
    uint32_t first = (uint32_t)((uintptr_t)extent->memory / SLAB__PAGE % unit);
    size_t   given = 0;

    for (uint32_t end = 0, from; end < extent->pages;) {
        from = slab__find_bit(extent->dirty, end, extent->pages, true);
        from = slab__find_bit(extent->taken, from, extent->pages, false);
        end  = slab__find_bit(extent->taken, from, extent->pages, true);
        uint32_t low = (first + from + unit - 1) / unit * unit, top = (first + end) / unit * unit;
        if (low >= top) continue;
        low -= first;
        top -= first;
        if (slab__find_bit(extent->dirty, low, top, true) == top) continue;
        size_t size = (size_t)(top - low) * SLAB__PAGE;
        if (SLAB_DISCARD(extent->memory + (size_t)low * SLAB__PAGE, size) != 0) continue;
        slab__set_bits(extent->dirty, low, top, false);
        given += size;
    }
    return given;
}

SLAB_API size_t slab_store_trim(slab_store *store)
{
    size_t given = 0;

    if (!store) return 0;
    slab__release_idle(store);
    for (uint32_t number = 0; number < store->extent_count; number++) {
        slab__extent *extent = store->extents[number];
        if (!extent->memory || extent->free == 0) continue;
        if (extent->free < extent->pages) {
            given += slab__discard(extent);
            continue;
        }
        given += (size_t)extent->pages * SLAB__PAGE;
        slab__give_extent(store, number);
    }
    return given;
}

/* Whether the tier has so many free slots that it can do with a chunk less. */
static bool slab__is_sparse(const slab__tier *tier)
{
    uint32_t free = tier->slots - tier->occupied;
    return free > tier->index_mask + tier->slots / SLAB__SPARE && tier->occupied != 0;
}

/* The highest open chunk below that number, or SLAB__NONE. */
static uint32_t slab__open_below(const slab__tier *tier, uint32_t number)
{
    while (number > 0) {
        uint32_t word = (number - 1) / 64;
        uint64_t bits = tier->open[word] & slab__range(0, number - word * 64);
        if (bits != 0) return word * 64 + 63 - (uint32_t)__builtin_clzll(bits);
        number = word * 64;
    }
    return SLAB__NONE;
}

static uint32_t slab__fill(const slab__chunk *chunk) { return chunk->used * 1024u / chunk->slots; }

/* The highest chunk that is no fuller than they are on average, so that extents run empty from the
 * end; or if none of the first few is, the sparsest of these. */
static uint32_t slab__sparsest(slab__tier *tier)
{
    uint32_t average = (uint32_t)((uint64_t)tier->occupied * 1024 / tier->slots);
    uint32_t best    = tier->carving;
    uint32_t least   = best == SLAB__NONE ? UINT32_MAX : slab__fill(&tier->chunks[best]);

    for (uint32_t look = SLAB__LOOK, number = tier->numbers; look > 0 && least > average; look--) {
        number = slab__open_below(tier, number);
        if (number == SLAB__NONE) break;
        uint32_t fill = slab__fill(&tier->chunks[number]);
        if (fill >= least) continue;
        least = fill;
        best  = number;
    }
    SLAB_ASSERT(best != SLAB__NONE); /* the tier is sparse, and no word current */
    return best;
}

/* Sees to it that the tier has a victim that can be emptied. False: it does not need to. */
static bool slab__choose_victim(slab_store *store, slab__tier *tier)
{
    while (slab__is_sparse(tier)) {
        if (tier->victim != SLAB__NONE) return true;
        slab__chunk *chunk = tier->chunk;
        slab__leave(tier); /* what it leaves is open, or empty */
        if (!chunk || chunk->used != 0) chunk = &tier->chunks[slab__sparsest(tier)];
        uint32_t number = (uint32_t)(chunk - tier->chunks);
        if (chunk->used == 0) {
            slab__release(store, tier, number);
            continue;
        }
        if (number == tier->carving) { /* what is fresh in it may be used, if it is spared */
            tier->carving = SLAB__NONE;
            for (uint32_t word = tier->carved / 64; word < slab__words(chunk->slots); word++)
                slab__open_word(tier, number, word);
        }
        slab__close_chunk(tier, number);
        tier->victim      = number;
        tier->victim_word = 0;
    }
    if (tier->victim != SLAB__NONE) slab__spare(tier);
    return false;
}

/* Moves the victim's first value to the lowest hole elsewhere. */
static void slab__move(slab_store *store, slab__tier *tier, slab_moved_fn *moved, void *context)
{
    slab__chunk *chunk = &tier->chunks[tier->victim];
    slab_ref     from, to;

    while (chunk->live[tier->victim_word] == 0) tier->victim_word++;
    from = tier->ref_bits + (tier->victim << tier->shift) + tier->victim_word * 64 +
           (uint32_t)__builtin_ctzll(chunk->live[tier->victim_word]);
    int error = tier->holes ? 0 : slab__refill(store, tier);
    SLAB_ASSERT(error == 0); /* the tier is sparse: more holes elsewhere than values here */
    (void)error;
    void *value = slab__take_slot(tier, &to);
    SLAB__SHOW(value, tier->slot_size);
    memcpy(value, slab__slot(tier, chunk, from), tier->slot_size);
    slab__give_slot(store, tier, chunk, from);
    moved(context, from, to, value);
}

SLAB_API size_t slab_store_compact(slab_store *store, size_t max_moves, slab_moved_fn *moved,
                                   void *context)
{
    size_t moves = 0;

    if (!store || !moved) return 0;
    while (moves < max_moves && store->stirred != 0) {
        /* In turn, so that a tier that always has work leaves some to the others. */
        uint64_t    above = store->stirred >> store->compacting << store->compacting;
        uint32_t    index = (uint32_t)__builtin_ctzll(above ? above : store->stirred);
        slab__tier *tier  = &store->tiers[index];
        for (; moves < max_moves && slab__choose_victim(store, tier); moves++)
            slab__move(store, tier, moved, context);
        if (moves < max_moves) store->stirred &= ~tier->bit;
        store->compacting = (index + 1) % store->tier_count;
    }
    return moves;
}

/* -- Stats -- */

static double slab__ratio(size_t capacity, size_t used)
{
    return used ? (double)capacity / (double)used : 0.0;
}

SLAB_API int slab_store_tier_stats(const slab_store *store, uint32_t tier,
                                   struct slab_tier_info *stats)
{
    if (stats) memset(stats, 0, sizeof *stats);
    if (!store || !stats || tier >= store->tier_count) return -EINVAL;
    const slab__tier *it = &store->tiers[tier];

    stats->slot_size           = it->slot_size;
    stats->total_slots         = it->slots;
    stats->occupied_slots      = it->occupied;
    stats->capacity_bytes      = (size_t)stats->total_slots * it->slot_size;
    stats->occupied_bytes      = (size_t)it->occupied * it->slot_size;
    stats->fragmentation_ratio = slab__ratio(stats->capacity_bytes, stats->occupied_bytes);
    stats->payload_bytes       = it->payload;
    stats->metadata_bytes      = it->metadata;
    return 0;
}

SLAB_API void slab_store_stats(const slab_store *store, struct slab_store_info *stats)
{
    struct slab_tier_info tier;

    if (!stats) return;
    memset(stats, 0, sizeof *stats);
    if (!store) return;
    stats->tier_count     = store->tier_count;
    stats->large_count    = slab__records(store)->occupied;
    stats->capacity_bytes = store->large_capacity;
    stats->used_bytes = stats->payload_bytes = store->large_payload;
    stats->metadata_bytes                    = store->source.metadata;
    stats->empty_bytes                       = store->free_pages * SLAB__PAGE;
    stats->held_bytes                        = store->held;
    for (uint32_t i = 0; slab_store_tier_stats(store, i, &tier) == 0; i++) {
        stats->capacity_bytes += tier.capacity_bytes;
        stats->used_bytes += tier.occupied_bytes;
        stats->payload_bytes += tier.payload_bytes;
    }
    stats->fragmentation_ratio = slab__ratio(stats->capacity_bytes, stats->used_bytes);
    stats->lost_bytes =
        stats->held_bytes - stats->capacity_bytes - stats->metadata_bytes - stats->empty_bytes;
}

/* -- Fitting tiers to a histogram -- */

enum { SLAB__SIZES_MAX = SLAB__SLOT_MAX / 8 };

/* Sizes are rounded up to eights and numbered from 1; 0 stands before all of them. */
struct slab__fit {
    uint32_t  size[SLAB__SIZES_MAX + 1];
    uint64_t  count[SLAB__SIZES_MAX + 1];    /* values up to that size */
    uint64_t  bytes[2][SLAB__SIZES_MAX + 1]; /* the least that slots for the values up to that size
                                              * take, with an even and an odd number of tiers */
    uint16_t  cut[SLAB__TIERS_MAX + 1][SLAB__SIZES_MAX + 1]; /* [tiers][size] where the last tier
                                                              * but one ends then */
};

/* The best with `tiers` tiers for the sizes low..high, given that the cut lies in from..to: of two
 * sizes, the larger one has its cut no lower. */
static void slab__fit_sizes(struct slab__fit *fit, uint32_t tiers, uint32_t low, uint32_t high,
                            uint32_t from, uint32_t to)
{
    if (low > high) return;
    uint32_t        size   = low + (high - low) / 2;
    const uint64_t *before = fit->bytes[(tiers - 1) % 2];
    uint64_t        least  = UINT64_MAX;

    for (uint32_t cut = from; cut <= to && cut < size; cut++) {
        uint64_t bytes = before[cut] + fit->size[size] * (fit->count[size] - fit->count[cut]);
        if (bytes >= least) continue;
        least                 = bytes;
        fit->cut[tiers][size] = (uint16_t)cut;
    }
    fit->bytes[tiers % 2][size] = least;
    slab__fit_sizes(fit, tiers, low, size - 1, from, fit->cut[tiers][size]);
    slab__fit_sizes(fit, tiers, size + 1, high, fit->cut[tiers][size], to);
}

/* Whether the sizes are strictly ascending, 1..SLAB__SLOT_MAX, and their bytes fit 64 bits. */
static bool slab__is_histogram(const uint32_t *sizes, const uint64_t *counts, size_t n)
{
    uint64_t room = UINT64_MAX / SLAB__SLOT_MAX;

    for (size_t i = 0; i < n; room -= counts[i++])
        if (sizes[i] <= (i ? sizes[i - 1] : 0) || sizes[i] > SLAB__SLOT_MAX || counts[i] > room)
            return false;
    return n > 0;
}

SLAB_API uint32_t slab_fit_tiers(const uint32_t *sizes, const uint64_t *counts, size_t n,
                                 uint32_t *tier_sizes, uint32_t tier_count)
{
    uint32_t last = 0;

    if (!sizes || !counts || !tier_sizes || tier_count == 0) return 0;
    if (!slab__is_histogram(sizes, counts, n)) return 0;
    struct slab__fit *fit = (struct slab__fit *)SLAB_MAP(sizeof *fit);
    if (!fit) return 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t size = (sizes[i] + 7) / 8 * 8;
        if (i < n - 1 && counts[i] == 0) continue;
        if (size != fit->size[last]) {
            fit->size[++last] = size;
            fit->count[last]  = fit->count[last - 1];
        }
        fit->count[last] += counts[i];
    }
    if (tier_count > SLAB__TIERS_MAX) tier_count = SLAB__TIERS_MAX;
    if (tier_count > last) tier_count = last;
    for (uint32_t tiers = 1; tiers <= tier_count; tiers++)
        slab__fit_sizes(fit, tiers, tiers, last, tiers - 1, tiers == 1 ? 0 : last - 1);
    for (uint32_t tiers = tier_count; tiers > 0; last = fit->cut[tiers--][last])
        tier_sizes[tiers - 1] = fit->size[last];
    SLAB_UNMAP(fit, sizeof *fit);
    return tier_count;
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
