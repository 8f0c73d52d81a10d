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
 * chunks. Values above the largest tier are large objects, in units of 512 bytes.
 *
 * Threads
 *
 *   One thread at a time calls the functions of a store. The exceptions are slab_store_get, peek,
 *   get_many and prefetch: threads may call these at the same time while none calls anything else.
 *
 * Promises
 *
 *   - A value is contiguous and aligned to 8, or to 64 if the slot size is a multiple of 64. The
 *     rest of its slot is zero.
 *   - Growth copies no value and moves none: it maps an extent, of 128 KiB at first, and of up to 2
 *     MiB in a store that holds more; with max_bytes, of a thirty-second of it at most, but of 256
 *     KiB. A pointer from get is valid until the value is freed, evicted or replaced, or moved by
 *     compact.
 *   - A tier uses its freed slots before fresh memory, except those of a chunk that compact is
 *     emptying. A chunk that becomes empty serves any tier, and any large object that fits, before
 *     the store asks the system for memory; neighbours merge.
 *   - A store does not age: what it stores within max_bytes does not decrease with the number of
 *     puts, however their sizes change, if two values are compacted after each free. When all
 *     values are freed, trim leaves no more than create has mapped, and 28 KiB after a retier.
 *   - If a ref is stale, forged or does not belong to len, get returns NULL and free -ESTALE, as
 *     long as it does not name a live value (see Limitations).
 *
 * Memory
 *
 *   64 bytes for each chunk of up to 192 slots, 64 for each 448 slots more, 24 bytes for each large
 *   object, and 8 to 32 KiB for the store. All of it is counted, and none of it is in the slots. A
 *   tier's first chunk has 8 KiB, and later ones up to 64 KiB. A large object above the size of an
 *   extent is a mapping of its own; when it is freed, the store keeps the mapping for the next one:
 *   at most 8 of them, with 64 MiB or a quarter of what is held.
 *   Choose the tiers by what you store: seven doublings waste a quarter of their bytes, sixteen
 *   fitted tiers 6 % if sizes are spread evenly. See slab_fit_tiers.
 *
 * Limitations
 *
 *   - A ref has no generation: a ref that is kept after free may name the slot's next value of that
 *     tier. */

typedef struct slab_store slab_store;

/* Names a value. Bit 31 is 1 if it is a large object; the other bits are for the store alone. There
 * are names for 1.4 thousand million slots, or if slots are large, for 1.7 million chunks, which
 * have up to 512 KiB in stores above 32 GiB. */
typedef uint32_t slab_ref;
#define SLAB_NO_REF 0xffffffffu /* never names a value */

typedef struct slab_store_config {
    const uint32_t *tier_sizes; /* slot sizes: ascending multiples of 8, at most 65536;
                                 * NULL = 64, 128, 256 .. 4096, and tier_count is ignored */
    uint32_t        tier_count; /* 1..63 */
    size_t          max_bytes;  /* of memory held, metadata included; 0 = no limit */

    /* Where this store's memory comes from. NULL: SLAB_MAP, SLAB_UNMAP, SLAB_DISCARD. map returns
     * zeroed memory aligned to 4096, or NULL; unmap gets the same back, as a whole. discard gives
     * the content of pages back, and returns 0 if they read as zero from now on; it may be NULL if
     * the others are not. They are called within calls of the store, and must not call it. */
    void *(*map)(void *context, size_t size);
    void (*unmap)(void *context, void *memory, size_t size);
    int (*discard)(void *context, void *memory, size_t size);
    void *context;
} slab_store_config;

struct slab_tier_info {
    uint32_t slot_size;
    uint32_t total_slots;
    uint32_t occupied_slots;
    size_t   capacity_bytes;      /* of all slots */
    size_t   occupied_bytes;      /* of occupied slots, in full */
    double   fragmentation_ratio; /* capacity / occupied; 0 when empty */
    size_t   payload_bytes;       /* stored by callers, by the len they gave to put and free */
    size_t   metadata_bytes;      /* of its chunks; part of the store's metadata */
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
    size_t   retired_bytes;       /* of capacity, in tiers that slab_store_retier replaced */
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
 *   -EINVAL  if store is NULL, tier_count or tier_sizes is not as above, only some of the hooks are
 *            set, or max_bytes is too small for the metadata and one chunk (below 96 KiB);
 *   -ENOMEM  if the system has no memory.
 * On failure *store is NULL. */
SLAB_API int slab_store_create(slab_store **store, const slab_store_config *config);

/* Stores a copy of len bytes, which may be 0, and its ref in *ref. data may be NULL if len is 0.
 * Returns
 *   0          on success;
 *   -EMSGSIZE  if len exceeds UINT32_MAX;
 *   -ENOSPC    if max_bytes is reached, or all names are in use;
 *   -ENOMEM    if the system has no memory;
 *   -EINVAL    if a pointer is NULL.
 * On failure *ref is SLAB_NO_REF, no value has changed, and the store holds no more memory than
 * before. Costs little if it returns -ENOSPC. The work does not grow with the store, except that a
 * directory doubles at times: 8 bytes for some MiB are copied. */
SLAB_API int slab_store_put(slab_store *store, const void *data, size_t len, slab_ref *ref);

/* Makes a value of len bytes, of any content, for the caller to fill. Returns it, and stores its
 * ref in *ref. Returns NULL in the cases in which slab_store_put fails; then *ref is
 * SLAB_NO_REF. */
SLAB_API void *slab_store_alloc(slab_store *store, size_t len, slab_ref *ref);

/* Returns a value, or NULL unless ref names a live one and len belongs to its tier (for a large
 * object: is its length). To write to the value, up to len bytes, cast the const away. Costs a few
 * loads and writes nothing. */
SLAB_API const void *slab_store_get(const slab_store *store, slab_ref ref, size_t len);

/* Returns a value by its ref alone, for values that tell their own length, or NULL unless ref names
 * a live one. Sets *room, unless it is NULL, to how many bytes may be read: the slot's size, or a
 * large object's length. Threads and cost as get. */
SLAB_API const void *slab_store_peek(const slab_store *store, slab_ref ref, size_t *room);

/* Gets count values at once: values[i] becomes the result of slab_store_get(store, refs[i],
 * lens[i]), and begins to load the first cache line of each. Returns how many are not NULL. Where
 * values are in memory and not in the cache, a call for 16 to 64 of them, before the first is read,
 * lets their loads overlap. Does nothing and returns 0 if a pointer is NULL. Threads as get. */
SLAB_API size_t slab_store_get_many(const slab_store *store, const slab_ref *refs,
                                    const size_t *lens, const void **values, size_t count);

/* Begins to load the first cache lines of a value, so that a read some 100 ns later need not wait.
 * Does nothing if slab_store_get would return NULL. Threads as get. */
SLAB_API void slab_store_prefetch(const slab_store *store, slab_ref ref, size_t len);

/* Puts another value in the place of a live one: *ref, of old_len bytes, becomes len bytes. If len
 * belongs to the same tier (for large objects: to the same number of units of memory), the value is
 * overwritten where it is, and *ref stays. Otherwise the new value is put first, then the old one
 * is freed, and *ref is the new one's. data may lie in the old value. Returns
 *   0          on success;
 *   -ESTALE    if slab_store_get(store, *ref, old_len) would return NULL;
 *   -EMSGSIZE, -ENOSPC, -ENOMEM, -EINVAL  as slab_store_put.
 * On failure *ref and the old value are as before. */
SLAB_API int slab_store_replace(slab_store *store, slab_ref *ref, size_t old_len, const void *data,
                                size_t len);

/* Changes the length of a value to another one that slab_store_replace could do in place. The bytes
 * up to the shorter length stay; those behind are zero. Returns
 *   0          on success: the value now has len bytes, for get and free as well;
 *   -EMSGSIZE  if len belongs to another tier: nothing has changed;
 *   -ESTALE    if slab_store_get(store, ref, old_len) would return NULL;
 *   -EINVAL    if store is NULL. */
SLAB_API int slab_store_set_len(slab_store *store, slab_ref ref, size_t old_len, size_t len);

/* Walks through the live values. Begin with *cursor 0 and pass the same cursor each time. Returns
 * the next value's ref, its address in *value, and how many bytes may be read there in *room: its
 * slot's size, or a large object's length; value and room may be NULL. Returns SLAB_NO_REF at the
 * end, or if store or cursor is NULL.
 *
 * Between two calls the store may be changed in any way. A value that lives all the time and is not
 * moved (by compact, or by replace) is returned exactly once; another one at most once under each
 * ref. A walk through all values costs some nanoseconds for each, and reads no value. */
SLAB_API slab_ref slab_store_next(const slab_store *store, uint64_t *cursor, const void **value,
                                  size_t *room);

/* Frees a value. len must be the length it was stored with: stats depend on it. Returns
 *   0        on success;
 *   -ESTALE  if slab_store_get would return NULL;
 *   -EINVAL  if store is NULL.
 * A second free of the same ref returns -ESTALE and changes nothing, unless the slot holds a value
 * again (see Limitations). */
SLAB_API int slab_store_free(slab_store *store, slab_ref ref, size_t len);

/* Returns whether ref is of a large object; SLAB_NO_REF is not. Any thread. */
SLAB_API bool slab_ref_is_large(slab_ref ref);

/* Called by slab_store_compact after each move: the value is now under `to`, at `value`, in a slot
 * of `room` bytes, and `from` is free. May call functions of the store other than
 * slab_store_destroy. */
typedef void slab_moved_fn(void *context, slab_ref from, slab_ref to, void *value,
                           size_t room);

/* Empties sparse chunks, while a tier has at least as many free slots as a chunk of 64 KiB has
 * slots, plus a sixty-fourth of all its slots. Moves at most max_moves values and calls moved after
 * each. Returns how many it moved; 0 means that there is nothing to gain. Does nothing and returns
 * 0 if store or moved is NULL. Large objects are never moved.
 *
 * The next call continues what this one leaves half done, so many small calls do as much as one
 * large one: two moves after each free keep up with any load. Takes some nanoseconds if there is
 * nothing to do. */
SLAB_API size_t slab_store_compact(slab_store *store, size_t max_moves, slab_moved_fn *moved,
                                   void *context);

/* Replaces the tiers, for values whose sizes have changed: tier_sizes and tier_count are as in
 * slab_store_config. Puts use the new tiers at once. Values stay where they are, under their refs,
 * until slab_store_compact moves them over and tells the new refs; stats.retired_bytes is 0 when
 * that is done. Returns
 *   0                 on success;
 *   -EINVAL           if store or tier_sizes is NULL, or the tiers are out of range or order;
 *   -EBUSY            if the new tiers, and those that earlier calls replaced and that still hold
 *                     values, are more than 124;
 *   -ENOSPC, -ENOMEM  if there is no memory for metadata: at the first call 28 KiB, and for each
 *                     tier that still holds values or is new, 8 bytes a MiB, but 512 at least.
 * On failure nothing has changed. Takes some nanoseconds for each chunk.
 *
 * A tier whose size is among the new ones goes on, if all of its lengths belong to it as before.
 * The others are former tiers. compact does not know the lengths of the values there: it moves each
 * to the smallest tier that holds its whole slot; above the largest tier, it makes a large object
 * of the slot's size. To fit a value to its length, moved calls slab_store_replace with this length
 * for old_len and len, and with the value as data. For a value that was moved and is not fitted,
 * get and free accept other lengths, too, and payload_bytes of a single tier is an estimate; their
 * sum is exact.
 *
 * A cache at max_bytes evicts 64 KiB if the result is -ENOSPC, and calls again. From then on it
 * evicts, puts and compacts as always: compact first makes room within the former tiers. */
SLAB_API int slab_store_retier(slab_store *store, const uint32_t *tier_sizes, uint32_t tier_count);

/* Called by slab_store_evict for each value before it is freed. value has `room` bytes: its slot's
 * size, or a large object's length. Returns the length that the value was stored with, which stats
 * need. May call slab_store_get and slab_store_next, and slab_store_free for other values. */
typedef size_t slab_evicted_fn(void *context, slab_ref ref, const void *value, size_t room);

/* Frees values until their memory, at least so many bytes of it, serves any tier: whole chunks are
 * emptied, and large objects freed. Tells each value before. Returns how many bytes it made free;
 * less than `bytes` only if no value is left. Does nothing and returns 0 if store or evicted is
 * NULL.
 *
 * A hand goes round through the chunks, in the order of their refs, and takes of the next few the
 * one with the fewest live bytes for its size, if equal the first: so few values go for the bytes,
 * and in a store that is full each chunk gets its turn before any gets its second. For a put that
 * returned -ENOSPC, evict 64 KiB and try again, until it succeeds. */
SLAB_API size_t slab_store_evict(slab_store *store, size_t bytes, slab_evicted_fn *evicted,
                                 void *context);

/* Changes max_bytes; 0 = no limit. Returns
 *   0        on success;
 *   -EINVAL  if store is NULL, or max_bytes is too small for the store and one chunk.
 * If more is held, memory that is empty goes back to the system as far as it can, and growth ends:
 * puts that need another chunk return -ENOSPC as long as held_bytes - empty_bytes exceeds
 * max_bytes. To bring a store below its new limit, evict as much as that, then trim. held_bytes may
 * stay above the limit if empty memory lies between values: after trim it is not resident. */
SLAB_API int slab_store_limit(slab_store *store, size_t max_bytes);

/* Gives memory that is in no chunk and no large object back to the system: whole extents, kept
 * mappings, and the content of free pages in other extents (with a SLAB_MAP or map of yours, only
 * if you provide SLAB_DISCARD or discard, too). Returns how many bytes, or 0 if store is NULL.
 * Locked pages (mlockall), and pages for which the system refuses madvise, stay with the store and
 * are not counted. A chunk that holds one value stays: see slab_store_compact. Looks at all
 * extents. */
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
 * which are the same on every processor but two. */

#if defined __alpha__ || defined __hppa__
#error "slab.h: alpha and parisc number the advice of madvise differently"
#endif

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
 * fails: then the pages go back to the system, unless they are locked; the addresses are lost. */
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
 *   put 100 bytes: the tier of 128                      get(ref, 100)
 *        |                                                   |
 *   tier: the current word's holes 0..01000             ref = line number * 512 + place in the line
 *        |    the lowest one: slot 3                         |
 *        v                                                   v
 *   a line of live bits    1111 0111 ..   <--- is it 1? ---  the line: address and tier, live bits
 *        |                                                   |
 *        v                                                   v
 *   chunk      | slot 0 | 1 | 2 | 3: the value, then zeros | 4 | ...
 *        |
 *        |  free(ref, 100): the bit is 0 again, and the word is open: it has a hole
 *        |
 *   the last value of a chunk gone: its memory and lines -> any tier, a large object, or trim
 *
 * Modules, each on top of those before it:
 *
 *   memory   what the store holds of the system; max_bytes
 *   runs     extents, cut into units of 512 bytes; a run of units serves whatever needs memory
 *   lines    64 bytes each: what is known about chunks, apart from their slots
 *   tiers    chunks, their words of 64 slots, and which of these have holes
 *   large    objects above the largest tier: a run, or a mapping
 *   retier   tiers that replace others
 *
 * Conservation: held == capacity + metadata + empty + lost, each counted where it changes. Whatever
 * dies gives its memory back to the runs, where neighbours merge. Nothing else keeps memory, so the
 * store does not age. */

enum {
    SLAB__UNIT         = 512,       /* bytes: runs consist of units */
    SLAB__PAGE         = 4096,      /* what is mapped is a multiple of it */
    SLAB__EXTENT_BARE  = 72 << 10,  /* has room for a slot of any tier, and for the first lines */
    SLAB__EXTENT_FIRST = 128 << 10,
    SLAB__EXTENT_LEAST = 256 << 10, /* though max_bytes is small */
    SLAB__EXTENT_MOST  = 2 << 20,   /* a large page on most machines */
    SLAB__EXTENTS      = 128,       /* room at first, for as many as max_bytes usually allows */
    SLAB__HUGE_FROM    = 32 << 20,  /* with so much held, extents ask for large pages: what the last
                                     * one leaves unused is then a small part of all */
    SLAB__KEPT         = 8,         /* mappings of freed large objects */
    SLAB__KEPT_LEAST   = 64 << 20,  /* and at most so many bytes in them, or a quarter of all */
    SLAB__LINE_WORDS   = 8,
    SLAB__LINE_BYTES   = 64,
    SLAB__LINE_SLOTS   = 448,       /* live bits in 7 words of a line */
    SLAB__FIRST_SLOTS  = 192,       /* and in 3 words of a chunk's first line */
    SLAB__SEGMENT      = 64,        /* lines: 4 KiB */
    SLAB__SEGMENTS     = 16,        /* room at first */
    SLAB__SEGMENTS_MAX = 1 << 16,   /* refs have 31 bits */
    SLAB__FIRST        = 8 << 10,   /* bytes of a tier's first chunk */
    SLAB__WHOLE        = 64 << 10,  /* and of the later ones */
    SLAB__WHOLE_MOST   = 512 << 10, /* from 32 GiB on, where lines would become scarce */
    SLAB__QUARTER      = 16 << 10,  /* no chunk is shorter if the tier wishes for more */
    SLAB__SLOTS_MOST   = 3776,      /* of a chunk: 9 lines; its open words fit a word */
    SLAB__SPARE        = 64,        /* compact leaves a tier one part in so many of free slots */
    SLAB__LOOK         = 64,        /* chunks that compact chooses from */
    SLAB__SLOT_MAX     = 64 * 1024,
    SLAB__TIERS_MAX    = 63,
    SLAB__MARKS        = 128,
    SLAB__MARK_FIRST   = 256,       /* of a chunk's first line: see lines */
    SLAB__TIERS_ROOM   = 127,       /* tiers with former ones: each has a mark */
};

#define SLAB__NONE UINT32_MAX /* no number */

/* A mapping, and behind it what is known of it. Chunks and large objects are cut from its front. */
typedef struct slab__extent {
    unsigned char       *memory;
    size_t               size;   /* of the mapping, this included */
    uint32_t             number; /* its place among the extents; changes when another one goes */
    uint32_t             units;  /* before this */
    uint32_t             free;   /* of them */
    struct slab__extent *previous, *next; /* while it is empty: in a list of those */
    alignas(8) uint64_t  bits[]; /* one for each unit that is taken; then for each that is dirty */
} slab__extent;

typedef struct slab__run {
    slab__extent *extent;
    uint32_t      first; /* unit */
    uint32_t      units;
    bool          clean; /* zero */
} slab__run;

/* Metadata that has a mapping of its own, or if max_bytes does not allow that, a run. */
typedef struct slab__block {
    void     *memory; /* NULL: there is none */
    size_t    size;
    slab__run run;
} slab__block;

/* The first line of a chunk. */
typedef struct slab__chunk {
    uint64_t      base;    /* as of any line */
    uint64_t      live[3];
    uint64_t      open;    /* words that have a hole, but for the current one and the fresh ones */
    slab__extent *extent;
    uint32_t      number;  /* of this line */
    uint16_t      first, units; /* the run */
    uint16_t      slots, used;
    uint8_t       lines;   /* this one included */
    uint8_t       tier;    /* index */
} slab__chunk;

/* What get needs to know of a line. */
typedef struct slab__kind {
    uint32_t slot_size;
    uint32_t room;  /* len belongs to the tier if slot_size - len < room; 0: none does */
    uint32_t tier;  /* index */
} slab__kind;

typedef struct slab__tier {
    /* The current word. holes: those of its slots that put may take. */
    alignas(SLAB__LINE) uint64_t holes;
    uint64_t      *word;   /* NULL: there is none, and no hole */
    unsigned char *memory; /* of its first slot */
    slab__chunk   *chunk;
    size_t         payload;
    uint32_t       slot_size;
    uint32_t       occupied;
    slab_ref       ref;    /* of its first slot */
    bool           fresh;  /* the holes are fresh slots */
    bool           zeroed; /* and zero */
    uint8_t        index;
    uint64_t       bit;    /* UINT64_C(1) << index % 64 */
    bool           former; /* put does not use it any more */

    uint32_t     slots;    /* of all chunks */
    slab__chunk *tail;     /* the chunk that has fresh slots, or NULL */
    uint32_t     tail_from; /* its slots from here on are fresh */
    bool         clean;    /* and zero */
    slab__chunk *victim;   /* the chunk that compact empties, or NULL */
    uint32_t     victim_word; /* its live slots are in this word or behind */
    size_t       metadata;
    uint32_t     below; /* lengths above this belong to it; UINT32_MAX: 0 does, too */
} slab__tier;

/* A large object: what lies in a slot of the records' tier. */
typedef struct slab__large {
    slab__extent  *extent; /* NULL: it has a mapping of its own */
    unsigned char *memory;
    alignas(8) uint32_t len;
    uint32_t units : 31;
    uint32_t loose : 1; /* the object has at most len bytes: see retier */
} slab__large;

/* What a store needs from its first retier on, in a mapping of its own. */
typedef struct slab__retiered {
    slab__tier tiers[SLAB__TIERS_ROOM];
    size_t     payload; /* by how much the estimates of tiers that are no more were wrong */
    uint8_t    tier_of[SLAB__SLOT_MAX / 8 + 1];
} slab__retiered;

struct slab_store {
    /* What get needs. */
    uint64_t  **segments; /* [capacity] NULL: there is none of that number */
    uint32_t    segment_capacity, segment_most;
    uint32_t    slot_max; /* the largest tier's */
    slab__kind kinds[SLAB__MARKS];
    const uint8_t *tier_of; /* [slot_max / 8 + 1] the index by length, rounded up to eights */
    slab__tier    *tiers;   /* [rows] tiers[0] has the records of large objects */

    /* Memory. */
    void *(*map)(void *context, size_t size);
    void (*unmap)(void *context, void *memory, size_t size);
    int (*discard)(void *context, void *memory, size_t size);
    void  *context;
    size_t max_bytes;
    size_t held;     /* all mappings: this one, directories, extents, large objects */
    size_t own_size; /* of the mapping that begins with this */
    void  *own_extents, *own_segments; /* its first directories, in that mapping */
    size_t metadata, empty, lost;
    size_t spare;    /* what a shrink would give back: of `empty`, what is whole mappings */

    /* Runs. */
    slab__extent **extents; /* [extent_count] */
    uint16_t      *longest; /* [2 * capacity] a tree: no free run of an extent is longer */
    slab__extent  *empty_extents;
    uint32_t       extent_count, extent_capacity;
    size_t         extent_most;
    uint32_t       whole; /* bytes of a chunk; in the largest stores more than SLAB__WHOLE */

    uint64_t *open;    /* [rows][capacity] a bit for each line of a segment: see lines */
    uint64_t *tops;    /* which segments have open chunks, room, no memory */
    uint32_t  top_groups, top_words; /* of each top: the words of the first level, and all */
    uint64_t  idle;    /* tiers, as their bits, whose current chunk may be empty */
    uint64_t  stirred; /* tiers, as their bits, that may have become sparse */
    uint32_t  compacting; /* the bit that compact turns to next */
    uint32_t  hand;       /* the line that evict turns to next */
    uint64_t  large_hand; /* and the place among records, if that is in its chunk */
    uint32_t  tier_count; /* the caller's */
    uint8_t   order[SLAB__TIERS_MAX]; /* their indices, by size */
    uint32_t  head_rows; /* at create: tiers that the first directory of segments has room for */
    uint32_t  rows;      /* tiers that the directory has room for; more than these: see retier */
    slab__retiered *retiered; /* or NULL */
    slab__block     retiered_block, segments_block;

    size_t large_capacity, large_used, large_payload;
    struct {
        unsigned char *memory;
        size_t         size;
    } kept[SLAB__KEPT]; /* of freed large objects, the oldest first */
    uint32_t kept_count;
    size_t   kept_bytes;

    alignas(SLAB__LINE) slab__tier own_tiers[]; /* [head_rows] until the first retier */
};

_Static_assert(sizeof(slab__large) % 8 == 0, "a record is a slot");
_Static_assert(sizeof(slab__chunk) <= SLAB__LINE_BYTES, "a line");
_Static_assert(offsetof(slab__chunk, open) == 4 * sizeof(uint64_t), "behind its live bits");
_Static_assert(SLAB__TIERS_MAX < 64, "stirred and idle have a bit for each tier");
_Static_assert(SLAB__EXTENT_MOST / SLAB__UNIT <= UINT16_MAX, "longest");
_Static_assert(SLAB__SLOTS_MOST <= 64 * 64, "open has a bit for each word");

/* ---- store: bits ---- */

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

/* One more than the last bit of [0, end) that is set, or 0. */
static uint32_t slab__find_bit_below(const uint64_t *words, uint32_t end)
{
    while (end > 0) {
        uint32_t at   = (end - 1) / 64;
        uint64_t word = words[at] & slab__range(0, end - at * 64);
        if (word != 0) return at * 64 + 64 - (uint32_t)__builtin_clzll(word);
        end = at * 64;
    }
    return 0;
}

static void slab__set_bits(uint64_t *words, uint32_t from, uint32_t end, bool value)
{
    for (uint32_t at = from / 64; at * 64 < end; at++) {
        uint64_t bits = slab__range(at == from / 64 ? from % 64 : 0, end - at * 64);
        if (value) words[at] |= bits;
        else words[at] &= ~bits;
    }
}

/* ---- store: memory ----
 *
 * All that a store holds, it maps and unmaps here, within max_bytes. Where a new mapping would
 * exceed it, mappings that are empty as a whole make room: of freed large objects, then extents.
 * `spare` is the size of all of these, so a mapping that cannot fit is refused in constant time,
 * and nothing has changed. */

static void *slab__store_default_map(void *context, size_t size)
{
    (void)context;
    return SLAB_MAP(size);
}
static void slab__store_default_unmap(void *context, void *memory, size_t size)
{
    (void)context;
    SLAB_UNMAP(memory, size);
}
static int slab__store_default_discard(void *context, void *memory, size_t size)
{
    (void)context, (void)memory, (void)size;
    return SLAB_DISCARD(memory, size);
}
static int slab__store_no_discard(void *context, void *memory, size_t size)
{
    (void)context, (void)memory, (void)size;
    return -1;
}

/* Bytes that may still be mapped. With no limit it is half of all addresses, so that sums with it
 * do not overflow. */
static size_t slab__store_left(const slab_store *store)
{
    size_t limit = store->max_bytes ? store->max_bytes : SIZE_MAX / 2 + store->held;
    return limit > store->held ? limit - store->held : 0;
}

/* Whether more is held than max_bytes, since it was lowered, and so many bytes more in use would
 * still be too many. */
static bool slab__store_is_over(const slab_store *store, size_t size)
{
    return store->max_bytes != 0 && store->held > store->max_bytes &&
           store->held - store->empty + size > store->max_bytes;
}

static void slab__store_unhold(slab_store *store, void *memory, size_t size)
{
    SLAB__SHOW(memory, size);
    store->unmap(store->context, memory, size);
    store->held -= size;
}

static void slab__store_extent_remove(slab_store *store, slab__extent *extent);

/* Gives back the oldest mapping kept. */
static void slab__store_drop_kept(slab_store *store)
{
    size_t size = store->kept[0].size;

    slab__store_unhold(store, store->kept[0].memory, size);
    store->kept_count--;
    memmove(&store->kept[0], &store->kept[1], store->kept_count * sizeof store->kept[0]);
    store->kept_bytes -= size;
    store->empty -= size;
    store->spare -= size;
}

/* Gives one empty mapping back to the system. False: there is none. */
static bool slab__store_shrink(slab_store *store)
{
    if (store->kept_count > 0) slab__store_drop_kept(store);
    else if (store->empty_extents) slab__store_extent_remove(store, store->empty_extents);
    else return false;
    return true;
}

/* Maps zeroed memory, first giving empty mappings back if max_bytes or the system requires it.
 * Returns NULL on failure and sets *error. */
static void *slab__store_hold(slab_store *store, size_t size, int *error)
{
    void *memory;

    *error = -ENOSPC;
    if (size > slab__store_left(store) + store->spare) return NULL;
    while (size > slab__store_left(store))
        if (!slab__store_shrink(store)) return NULL;
    *error = -ENOMEM;
    do memory = store->map(store->context, size);
    while (!memory && slab__store_shrink(store));
    if (!memory) return NULL;
    store->held += size;
    *error = 0;
    return memory;
}

/* ---- store: runs ----
 *
 * Extents are mappings of up to 2 MiB; with max_bytes, of at most a thirty-second of it, but of 256
 * KiB. Each is cut into units. A run is some units in a row, for a chunk, a large object or a
 * segment of lines. Freed runs merge: all that is known of them is one bit a unit.
 *
 *   extent   | chunk | chunk |..| chunk |......|large| segment | large || bits
 *            chunks from the front, lowest extent first    the rest from the back, highest first
 *
 * Invariant: each leaf of the tree `longest` is at least the longest free run of its extent, each
 * inner node the larger of its two children. A search that fails makes its leaf exact, so the root
 * says at once that there is no run. A search costs log2 of the number of extents, and one look at
 * the bits of an extent. */

enum slab__end { SLAB__FRONT, SLAB__BACK };

static uint32_t slab__units(size_t size)
{
    return (uint32_t)((size + SLAB__UNIT - 1) / SLAB__UNIT);
}
static uint64_t *slab__store_dirty(slab__extent *extent)
{
    return extent->bits + slab__words(extent->units);
}
static unsigned char *slab__store_run_memory(const slab__run *run)
{
    return run->extent->memory + (size_t)run->first * SLAB__UNIT;
}

/* Sets a leaf of the tree. */
static void slab__store_set_longest(slab_store *store, uint32_t number, uint32_t units)
{
    uint16_t *tree = store->longest;
    uint32_t  node = store->extent_capacity + number;

    tree[node] = (uint16_t)units;
    for (node /= 2; node > 0; node /= 2) {
        const uint16_t *two = tree + (size_t)2 * node;
        uint16_t        low = two[0], high = two[1];
        uint16_t most = low > high ? low : high;
        if (tree[node] == most) break;
        tree[node] = most;
    }
}

/* The lowest or highest extent that may have so long a run; there is one. */
static slab__extent *slab__store_extent_with(const slab_store *store, uint32_t units,
                                             enum slab__end end)
{
    const uint16_t *tree = store->longest;
    uint32_t        node = 1;

    while (node < store->extent_capacity) {
        node *= 2;
        if (end == SLAB__FRONT) node += tree[node] < units;
        else node += tree[node + 1] >= units;
    }
    return store->extents[node - store->extent_capacity];
}

/* Looks for a run of at least so many units in one extent. run->units is what there is; from the
 * back, just as many. False: none is so long, and the tree knows it. */
static bool slab__store_find_in(slab_store *store, slab__extent *extent, uint32_t units,
                                enum slab__end side, slab__run *run)
{
    uint32_t longest = 0, from;

    run->extent = NULL;
    for (uint32_t end = 0; end < extent->units;) {
        from = slab__find_bit(extent->bits, end, extent->units, false);
        end  = slab__find_bit(extent->bits, from, extent->units, true);
        if (end - from > longest) longest = end - from;
        if (end - from < units) continue;
        bool front = side == SLAB__FRONT;
        *run       = (slab__run){extent, front ? from : end - units, front ? end - from : units, 0};
        if (front) return true;
    }
    if (!run->extent) slab__store_set_longest(store, extent->number, longest);
    return run->extent != NULL;
}

/* Finds a run. False: there is none so long. */
static bool slab__store_run_find(slab_store *store, uint32_t units, enum slab__end end,
                                 slab__run *run)
{
    while (store->longest[1] >= units)
        if (slab__store_find_in(store, slab__store_extent_with(store, units, end), units, end, run))
            return true;
    return false;
}

/* Puts an extent that is empty into the list of those, or takes it out. */
static void slab__store_list_empty(slab_store *store, slab__extent *extent)
{
    extent->previous = NULL;
    extent->next     = store->empty_extents;
    if (extent->next) extent->next->previous = extent;
    store->empty_extents = extent;
    store->spare += extent->size;
}
static void slab__store_unlist_empty(slab_store *store, const slab__extent *extent)
{
    if (extent->next) extent->next->previous = extent->previous;
    if (extent->previous) extent->previous->next = extent->next;
    else store->empty_extents = extent->next;
    store->spare -= extent->size;
}

/* Takes a run that was found. */
static void slab__store_run_take(slab_store *store, slab__run *run)
{
    slab__extent *extent = run->extent;
    uint64_t     *dirty  = slab__store_dirty(extent);
    uint32_t      end    = run->first + run->units;

    if (extent->free == extent->units) slab__store_unlist_empty(store, extent);
    run->clean = slab__find_bit(dirty, run->first, end, true) == end;
    slab__set_bits(extent->bits, run->first, end, true);
    slab__set_bits(dirty, run->first, end, true);
    extent->free -= run->units;
    store->empty -= (size_t)run->units * SLAB__UNIT;
    if (extent->free < store->longest[store->extent_capacity + extent->number])
        slab__store_set_longest(store, extent->number, extent->free);
}

static void slab__store_run_give(slab_store *store, const slab__run *run)
{
    slab__extent *extent = run->extent;
    uint32_t      end    = run->first + run->units;

    SLAB__HIDE(slab__store_run_memory(run), (size_t)run->units * SLAB__UNIT);
    slab__set_bits(extent->bits, run->first, end, false);
    extent->free += run->units;
    store->empty += (size_t)run->units * SLAB__UNIT;
    if (extent->free == extent->units) slab__store_list_empty(store, extent);
    uint32_t merged = slab__find_bit(extent->bits, end, extent->units, true) -
                      slab__find_bit_below(extent->bits, run->first);
    if (merged > store->longest[store->extent_capacity + extent->number])
        slab__store_set_longest(store, extent->number, merged);
}

/* -- Extents -- */

static size_t slab__store_extents_size(uint32_t capacity)
{
    return capacity * (sizeof(slab__extent *) + 2 * sizeof(uint16_t));
}

/* Makes the directory of extents the one at `memory`, which has room for so many. */
static void slab__store_extents_move(slab_store *store, void *memory, uint32_t capacity)
{
    slab__extent  **extents = (slab__extent **)memory;
    const uint16_t *before  = store->longest;
    uint32_t        leaves  = store->extent_capacity;

    if (store->extent_count > 0)
        memcpy(extents, store->extents, store->extent_count * sizeof(slab__extent *));
    store->extents         = extents;
    store->longest         = (uint16_t *)(void *)(extents + capacity);
    store->extent_capacity = capacity;
    memset(store->longest, 0, (size_t)2 * capacity * sizeof(uint16_t));
    for (uint32_t number = 0; number < store->extent_count; number++)
        slab__store_set_longest(store, number, before[leaves + number]);
}

/* A directory beyond the first has a mapping of its own. */
static size_t slab__store_mapping(size_t size) { return slab__round_up(size, SLAB__PAGE); }

static void slab__store_extents_unhold(slab_store *store, void *memory, uint32_t capacity)
{
    size_t size = slab__store_mapping(slab__store_extents_size(capacity));

    if (memory == store->own_extents) return;
    slab__store_unhold(store, memory, size);
    store->metadata -= size;
}

/* Gives the directory room for so many, a power of two. 0, -ENOSPC, -ENOMEM. */
static int slab__store_extents_resize(slab_store *store, uint32_t capacity)
{
    void    *before = store->extents, *memory = store->own_extents;
    uint32_t room   = store->extent_capacity;
    size_t   size   = slab__store_mapping(slab__store_extents_size(capacity));
    int      error;

    if (capacity > SLAB__EXTENTS) {
        if (!(memory = slab__store_hold(store, size, &error))) return error;
        store->metadata += size;
    }
    slab__store_extents_move(store, memory, capacity);
    slab__store_extents_unhold(store, before, room);
    return 0;
}

/* Gives back what the directory of extents does not need. */
static void slab__store_extents_fit(slab_store *store)
{
    uint32_t capacity = store->extent_capacity;

    while (capacity > SLAB__EXTENTS && store->extent_count <= capacity / 2) capacity /= 2;
    if (capacity < store->extent_capacity) (void)slab__store_extents_resize(store, capacity);
}

/* Units that the extent itself takes, of so many. */
static uint32_t slab__store_own_units(uint32_t units)
{
    return slab__units(sizeof(slab__extent) + (size_t)2 * slab__words(units) * sizeof(uint64_t));
}

/* Bytes of the next extent: a power of two, half of what is held, within its limits. */
static size_t slab__store_extent_size(const slab_store *store)
{
    size_t size = SLAB__EXTENT_FIRST;

    while (size < store->extent_most && size * 4 <= store->held) size *= 2;
    return size;
}

/* Maps one more extent, with a run of so many units; near max_bytes, of all that is left. 0,
 * -ENOSPC, -ENOMEM. */
static int slab__store_extent_add(slab_store *store, uint32_t units)
{
    size_t need = slab__store_mapping(((size_t)units + 1) * SLAB__UNIT), size;
    int    error;

    while (need / SLAB__UNIT - slab__store_own_units((uint32_t)(need / SLAB__UNIT)) < units)
        need += SLAB__PAGE;
    if (need > slab__store_left(store) + store->spare) return -ENOSPC;
    if (store->extent_count == store->extent_capacity &&
        (error = slab__store_extents_resize(store, 2 * store->extent_capacity)))
        return error;
    while (need > slab__store_left(store))
        if (!slab__store_shrink(store)) return -ENOSPC;
    size = slab__store_extent_size(store);
    if (size < need) size = need;
    if (size > slab__store_left(store)) size = slab__store_left(store) / SLAB__PAGE * SLAB__PAGE;
    unsigned char *memory = (unsigned char *)slab__store_hold(store, size, &error);
    if (!memory) return error;
    if (size == SLAB__EXTENT_MOST && store->held > SLAB__HUGE_FROM &&
        store->map == slab__store_default_map)
        SLAB_HUGE(memory, size);
    uint32_t      all = (uint32_t)(size / SLAB__UNIT), own = slab__store_own_units(all);
    slab__extent *extent =
        (slab__extent *)(void *)(memory + (size_t)(all - own) * SLAB__UNIT);
    extent->memory = memory;
    extent->size   = size;
    extent->number = store->extent_count;
    extent->units = extent->free = all - own;
    SLAB__HIDE(memory, (size_t)extent->units * SLAB__UNIT);
    if (store->held >> 19 > store->whole && store->whole < SLAB__WHOLE_MOST) store->whole *= 2;
    store->extents[store->extent_count++] = extent;
    store->metadata += (size_t)own * SLAB__UNIT;
    store->empty += (size_t)extent->units * SLAB__UNIT;
    slab__store_list_empty(store, extent);
    slab__store_set_longest(store, extent->number, extent->units);
    return 0;
}

/* Gives an empty extent back to the system; the last one gets its number. */
static void slab__store_extent_remove(slab_store *store, slab__extent *extent)
{
    uint32_t      number = extent->number, last = --store->extent_count;
    slab__extent *other  = store->extents[last];

    slab__store_unlist_empty(store, extent);
    slab__store_set_longest(store, number, store->longest[store->extent_capacity + last]);
    slab__store_set_longest(store, last, 0);
    other->number          = number;
    store->extents[number] = other;
    store->empty -= (size_t)extent->units * SLAB__UNIT;
    store->metadata -= extent->size - (size_t)extent->units * SLAB__UNIT;
    slab__store_unhold(store, extent->memory, extent->size);
}

static void slab__store_release_idle(slab_store *store);

/* Whether no run of so many units can be had. A quick answer for a cache that evicts each time. */
static bool slab__store_lacks(slab_store *store, uint32_t units)
{
    size_t size = (size_t)units * SLAB__UNIT;

    if (slab__store_is_over(store, size)) return true;
    if (store->longest[1] >= units || size <= slab__store_left(store) + store->spare) return false;
    if (store->idle) slab__store_release_idle(store);
    return store->longest[1] < units && size > slab__store_left(store) + store->spare;
}

/* Finds a run by all means: of `want` units, else the longest that has at least `least`, else in a
 * new extent. Chunks that tiers keep without need are asked for before the system is. 0, -ENOSPC,
 * -ENOMEM. */
static int slab__store_run_need(slab_store *store, uint32_t want, uint32_t least,
                                enum slab__end end, slab__run *run)
{
    if (slab__store_run_find(store, want, end, run)) return 0;
    if (store->idle) slab__store_release_idle(store);
    for (;;) {
        uint32_t units = store->longest[1] < want ? store->longest[1] : want;
        while (units >= least && !slab__store_run_find(store, units, end, run))
            units = store->longest[1];
        if (units >= least) return 0;
        int error = slab__store_extent_add(store, least);
        if (error) return error;
    }
}

/* Takes zeroed memory for metadata. 0, -ENOSPC, -ENOMEM. */
static int slab__store_block_take(slab_store *store, size_t size, slab__block *block)
{
    uint32_t units = slab__units(size), most = (uint32_t)(store->extent_most / SLAB__UNIT);
    int      error;

    block->size   = slab__store_mapping(size);
    block->memory = slab__store_hold(store, block->size, &error);
    if (!block->memory) {
        if (units > most - slab__store_own_units(most)) return error;
        error = slab__store_run_need(store, units, units, SLAB__BACK, &block->run);
        if (error) return error;
        slab__store_run_take(store, &block->run);
        block->size   = (size_t)units * SLAB__UNIT;
        block->memory = slab__store_run_memory(&block->run);
        SLAB__SHOW(block->memory, block->size);
        if (!block->run.clean) memset(block->memory, 0, block->size);
    }
    store->metadata += block->size;
    return 0;
}

static void slab__store_block_give(slab_store *store, const slab__block *block)
{
    if (!block->memory) return;
    store->metadata -= block->size;
    if (block->run.extent) slab__store_run_give(store, &block->run);
    else slab__store_unhold(store, block->memory, block->size);
}

/* ---- store: lines ----
 *
 * What is known about slots, apart from them. A chunk has some lines in a row:
 *
 *   word 0     address of the slot that a place 0 in this line would have, a multiple of 512; added
 *              to it the mark of the tier: its index + 1, and in a chunk's first line 256
 *   word 1..7  live bits; in a first line only word 1..3, and the rest of it is about the chunk
 *
 * A ref is the line's number * 512 + the place of the live bit in the line: so get reads one line,
 * and places in words without live bits name nothing. The large objects' refs have bit 31 as well.
 *
 * 64 lines are a segment, a run of 4 KiB; line n is in segment n / 64. Line 0 of it has mark 256
 * with no live bits, and words about the segment. A free line is zero. A segment whose lines are
 * all free is gone, and its place in the directory is NULL: stale refs find nothing.
 *
 * For each tier and segment, a word in the directory says which lines in it are of open chunks. The
 * tops have a bit for each segment: for each tier, that this word is not 0; that the segment may
 * have room for the lines of a chunk; that it does not exist. So the lowest one is found in three
 * steps. */

enum { SLAB__FREE_LINES = 4, SLAB__ITS_EXTENT, SLAB__ITS_RUN }; /* words of line 0 */

enum { SLAB__IS_LARGE = 31 }; /* a bit of refs */

#define SLAB__ALL_LINES (~UINT64_C(1)) /* of a segment that chunks may have */

/* A line of a segment, by its number in the segment or in the store. */
static inline uint64_t *slab__store_line_at(uint64_t *segment, uint32_t number)
{
    return segment + (size_t)(number % SLAB__SEGMENT) * SLAB__LINE_WORDS;
}

static slab__chunk *slab__store_chunk(const slab_store *store, uint32_t number)
{
    uint64_t *segment = store->segments[number / SLAB__SEGMENT];
    return (slab__chunk *)(void *)slab__store_line_at(segment, number);
}

/* The lines of the tier's open chunks in a segment, as bits. */
static uint64_t *slab__store_open(const slab_store *store, uint32_t tier, uint32_t segment)
{
    return &store->open[(size_t)tier * store->segment_capacity + segment];
}

/* Where so many free lines in a row begin, as bits. */
static uint64_t slab__store_rows(uint64_t free, uint32_t lines)
{
    uint64_t rows = free;

    for (uint32_t i = 1; i < lines; i++) rows &= free >> i;
    return rows;
}

/* -- Tops -- */

static uint32_t slab__store_top_words(uint32_t capacity)
{
    return slab__words(capacity) + slab__words(slab__words(capacity));
}
static uint64_t *slab__store_top(const slab_store *store, uint32_t which)
{
    return store->tops + (size_t)which * store->top_words;
}
static uint32_t slab__store_roomy(const slab_store *store) { return store->rows; }
static uint32_t slab__store_gone(const slab_store *store) { return store->rows + 1; }

static void slab__store_top_set(slab_store *store, uint32_t which, uint32_t segment)
{
    uint64_t *words = slab__store_top(store, which), *above = words + store->top_groups;

    words[segment / 64] |= UINT64_C(1) << segment % 64;
    above[segment / 4096] |= UINT64_C(1) << segment / 64 % 64;
}
static void slab__store_top_clear(slab_store *store, uint32_t which, uint32_t segment)
{
    uint64_t *words = slab__store_top(store, which), *above = words + store->top_groups;

    words[segment / 64] &= ~(UINT64_C(1) << segment % 64);
    if (words[segment / 64] == 0) above[segment / 4096] &= ~(UINT64_C(1) << segment / 64 % 64);
}

/* The lowest segment with that top, or SLAB__NONE. */
static uint32_t slab__store_top_lowest(const slab_store *store, uint32_t which)
{
    const uint64_t *words = slab__store_top(store, which), *end = words + store->top_words;

    for (const uint64_t *above = words + store->top_groups; above < end; above++) {
        if (*above == 0) continue;
        uint32_t group = (uint32_t)(above - words) - store->top_groups;
        group          = group * 64 + (uint32_t)__builtin_ctzll(*above);
        return group * 64 + (uint32_t)__builtin_ctzll(words[group]);
    }
    return SLAB__NONE;
}

/* -- Segments -- */

static size_t slab__store_segments_size(uint32_t rows, uint32_t capacity)
{
    return capacity * sizeof(uint64_t *) + (size_t)rows * capacity * sizeof(uint64_t) +
           (size_t)(rows + 2) * slab__store_top_words(capacity) * sizeof(uint64_t);
}

/* Makes the directory of segments the one at `memory`, which is zero and has room for so many of
 * them and so many tiers. */
static void slab__store_segments_move(slab_store *store, void *memory, uint32_t capacity,
                                      uint32_t rows)
{
    uint64_t     **segments = (uint64_t **)memory, **before = store->segments;
    const uint64_t *open    = store->open;
    uint32_t        room    = store->segment_capacity, count = room < capacity ? room : capacity;
    uint32_t        rows_before = store->rows;

    store->segments         = segments;
    store->open             = (uint64_t *)(void *)(segments + capacity);
    store->tops             = store->open + (size_t)rows * capacity;
    store->segment_capacity = capacity;
    store->rows             = rows;
    store->top_groups       = slab__words(capacity);
    store->top_words        = slab__store_top_words(capacity);
    for (uint32_t number = 0; number < capacity; number++) {
        segments[number] = number < count ? before[number] : NULL;
        uint32_t top = segments[number] ? slab__store_roomy(store) : slab__store_gone(store);
        slab__store_top_set(store, top, number);
    }
    for (uint32_t tier = 0; tier < rows_before; tier++)
        for (uint32_t number = 0; number < count; number++) {
            uint64_t bits = open[(size_t)tier * room + number];
            *slab__store_open(store, tier, number) = bits;
            if (bits != 0) slab__store_top_set(store, tier, number);
        }
}

/* Gives the directory room for so many segments, all there are having lower numbers, and so many
 * tiers, no fewer than now. 0, -ENOSPC, -ENOMEM. */
static int slab__store_segments_resize(slab_store *store, uint32_t capacity, uint32_t rows)
{
    slab__block before, block = {NULL, 0, {NULL, 0, 0, false}};
    size_t      size   = slab__store_segments_size(rows, capacity);
    void       *memory = store->own_segments;

    if (capacity > SLAB__SEGMENTS || rows > store->head_rows) {
        int error = slab__store_block_take(store, size, &block);
        if (error) return error;
        memory = block.memory;
    } else memset(memory, 0, size);
    slab__store_segments_move(store, memory, capacity, rows);
    before                = store->segments_block;
    store->segments_block = block;
    slab__store_block_give(store, &before);
    return 0;
}

/* Gives back what the directory of segments does not need. */
static void slab__store_segments_fit(slab_store *store)
{
    uint32_t capacity = store->segment_capacity, end = capacity;

    while (end > 0 && !store->segments[end - 1]) end--;
    while (capacity > SLAB__SEGMENTS && end <= capacity / 2) capacity /= 2;
    if (capacity < store->segment_capacity)
        (void)slab__store_segments_resize(store, capacity, store->rows);
}

/* One more segment, all of whose lines are free. 0, -ENOSPC, -ENOMEM. */
static int slab__store_segment_add(slab_store *store)
{
    const uint32_t units = slab__units((size_t)SLAB__SEGMENT * SLAB__LINE_BYTES);
    slab__run      run;
    int            error;
    uint32_t       number = slab__store_top_lowest(store, slab__store_gone(store));

    if (number == SLAB__NONE) {
        number = store->segment_capacity;
        if (number >= store->segment_most) return -ENOSPC; /* all refs are in use */
        if ((error = slab__store_segments_resize(store, 2 * number, store->rows))) return error;
    }
    if ((error = slab__store_run_need(store, units, units, SLAB__BACK, &run))) return error;
    slab__store_run_take(store, &run);
    uint64_t *segment = (uint64_t *)(void *)slab__store_run_memory(&run);
    SLAB__SHOW(segment, (size_t)units * SLAB__UNIT);
    if (!run.clean) memset(segment, 0, (size_t)units * SLAB__UNIT);
    store->metadata += (size_t)units * SLAB__UNIT;
    segment[0]                = SLAB__MARK_FIRST;
    segment[SLAB__FREE_LINES] = SLAB__ALL_LINES;
    segment[SLAB__ITS_EXTENT] = (uintptr_t)run.extent;
    segment[SLAB__ITS_RUN]    = run.first;
    store->segments[number]   = segment;
    slab__store_top_clear(store, slab__store_gone(store), number);
    slab__store_top_set(store, slab__store_roomy(store), number);
    return 0;
}

static void slab__store_segment_remove(slab_store *store, uint32_t number)
{
    uint64_t *segment = store->segments[number];
    slab__run run     = {(slab__extent *)(uintptr_t)segment[SLAB__ITS_EXTENT],
                         (uint32_t)segment[SLAB__ITS_RUN],
                         slab__units((size_t)SLAB__SEGMENT * SLAB__LINE_BYTES), false};

    slab__store_top_clear(store, slab__store_roomy(store), number);
    slab__store_top_set(store, slab__store_gone(store), number);
    store->segments[number] = NULL;
    store->metadata -= (size_t)run.units * SLAB__UNIT;
    slab__store_run_give(store, &run);
}

/* The lowest segment that has so many free lines in a row, or SLAB__NONE. Those below it that have
 * not are looked at again when a line of them is free. */
static uint32_t slab__store_segment_with(slab_store *store, uint32_t lines)
{
    uint32_t top = slab__store_roomy(store), number;

    while ((number = slab__store_top_lowest(store, top)) != SLAB__NONE) {
        uint64_t free = store->segments[number][SLAB__FREE_LINES];
        if (slab__store_rows(free, lines) != 0) break;
        slab__store_top_clear(store, top, number);
    }
    return number;
}

/* Takes so many lines in a row. NULL: *error. */
static slab__chunk *slab__store_lines_take(slab_store *store, uint32_t lines, int *error)
{
    uint32_t number = slab__store_segment_with(store, lines);

    if (number == SLAB__NONE) {
        if ((*error = slab__store_segment_add(store))) return NULL;
        number = slab__store_segment_with(store, lines);
    }
    uint64_t *free = &store->segments[number][SLAB__FREE_LINES];
    uint32_t  line = (uint32_t)__builtin_ctzll(slab__store_rows(*free, lines));
    *free &= ~slab__range(line, line + lines);
    slab__chunk *chunk = slab__store_chunk(store, number * SLAB__SEGMENT + line);
    chunk->number      = number * SLAB__SEGMENT + line;
    return chunk;
}

/* Gives so many lines back, which become zero. */
static void slab__store_lines_give(slab_store *store, uint32_t first, uint32_t lines)
{
    uint32_t  number = first / SLAB__SEGMENT, line = first % SLAB__SEGMENT;
    uint64_t *segment = store->segments[number];
    uint64_t *free    = &segment[SLAB__FREE_LINES];

    memset(slab__store_line_at(segment, line), 0, (size_t)lines * SLAB__LINE_BYTES);
    *free |= slab__range(line, line + lines);
    slab__store_top_set(store, slab__store_roomy(store), number);
    if (*free == SLAB__ALL_LINES) slab__store_segment_remove(store, number);
}

/* The first chunk whose line is number or a higher one, or NULL. */
static slab__chunk *slab__store_chunk_from(const slab_store *store, uint32_t number)
{
    uint32_t line = number % SLAB__SEGMENT;

    for (uint32_t at = number / SLAB__SEGMENT; at < store->segment_capacity; at++, line = 0) {
        uint64_t *segment = store->segments[at];
        if (!segment) continue;
        uint64_t lines = SLAB__ALL_LINES & slab__range(line, SLAB__SEGMENT) &
                         ~segment[SLAB__FREE_LINES];
        for (; lines != 0; lines &= lines - 1) {
            uint32_t own = (uint32_t)__builtin_ctzll(lines);
            if (*slab__store_line_at(segment, own) % 512 >= SLAB__MARK_FIRST)
                return slab__store_chunk(store, at * SLAB__SEGMENT + own);
        }
    }
    return NULL;
}

/* -- Refs -- */

/* The line in which the ref's bit is 1, or NULL. */
static inline uint64_t *slab__store_line(const slab_store *store, slab_ref ref)
{
    uint32_t number = ref / (SLAB__SEGMENT * 512), word = ref / 64 % SLAB__LINE_WORDS;

    if (number >= store->segment_capacity) return NULL;
    uint64_t *segment = store->segments[number];
    if (!segment) return NULL;
    uint64_t *line = slab__store_line_at(segment, ref / 512);
    if (word == 0 || (ref & line[0] & SLAB__MARK_FIRST) != 0) return NULL; /* word 4 and above */
    return line[word] >> ref % 64 & 1 ? line : NULL;
}

static inline slab__kind slab__store_kind(const slab_store *store, const uint64_t *line)
{
    return store->kinds[line[0] % SLAB__MARKS];
}
static inline uint32_t slab__store_tier_of(const uint64_t *line)
{
    return (uint32_t)(line[0] % SLAB__MARKS) - 1;
}

static inline unsigned char *slab__store_slot(const uint64_t *line, slab_ref ref,
                                              uint32_t slot_size)
{
    uintptr_t base = (uintptr_t)line[0] / 512 * 512;
    return (unsigned char *)(base + (uintptr_t)(ref % 512) * slot_size);
}

static inline slab__chunk *slab__store_chunk_of(uint64_t *line)
{
    while (!(line[0] & SLAB__MARK_FIRST)) line -= SLAB__LINE_WORDS;
    return (slab__chunk *)(void *)line;
}

/* A chunk's word of live bits lies so many words behind its beginning; and the reverse. */
static inline uint32_t slab__store_position(uint32_t word)
{
    return word < 3 ? 1 + word : 9 + (word - 3) + (word - 3) / 7;
}
static inline uint32_t slab__store_word_at(uint32_t position)
{
    return position < 8 ? position - 1 : position - 6 - (position - 8) / 8;
}
static inline uint64_t *slab__store_live(slab__chunk *chunk, uint32_t word)
{
    return (uint64_t *)(void *)chunk + slab__store_position(word);
}
static unsigned char *slab__store_memory(const slab__chunk *chunk, uint32_t slot_size)
{
    return slab__store_slot((const uint64_t *)(const void *)chunk, 64, slot_size);
}

/* ---- store: tiers ----
 *
 * A tier's chunks have slots of one size. Puts take the lowest hole: the current word's, else one
 * of the lowest open word in the chunk with the lowest line. So low chunks fill up, and high ones
 * run empty.
 *
 * Each word of live bits is in one state:
 *
 *   full      all of its slots live
 *   open      some do not; its bit in chunk->open is 1
 *   current   one in each tier: its holes are in tier->holes
 *   fresh     in the tail, the one chunk of a tier with slots that were never used, from tail_from
 *             on. The current word may be the first of them. Puts use fresh slots if no word is
 *             open, so a free while such a word is current leaves it
 *
 * The bit of a chunk's line is 1 in its segment, and that of the segment in the tops, if the chunk
 * has an open word, unless compact is emptying it: then it is the tier's victim.
 *
 * A chunk begins with 8 KiB, and the next ones are as long as all of the tier's before them, up to
 * 64 KiB. Where no such run is free, a chunk takes the longest there is, if it is at least as long
 * as wished or as a quarter of 64 KiB; and what it leaves of a longer one is a quarter at least.
 * So a run that a chunk leaves serves another chunk. */

static void slab__store_open_chunk(slab_store *store, const slab__tier *tier, uint32_t number)
{
    uint64_t *open = slab__store_open(store, tier->index, number / SLAB__SEGMENT);

    if (*open == 0) slab__store_top_set(store, tier->index, number / SLAB__SEGMENT);
    *open |= UINT64_C(1) << number % SLAB__SEGMENT;
}
static void slab__store_close_chunk(slab_store *store, const slab__tier *tier, uint32_t number)
{
    uint64_t *open = slab__store_open(store, tier->index, number / SLAB__SEGMENT);

    *open &= ~(UINT64_C(1) << number % SLAB__SEGMENT);
    if (*open == 0) slab__store_top_clear(store, tier->index, number / SLAB__SEGMENT);
}

static void slab__store_open_word(slab_store *store, const slab__tier *tier, slab__chunk *chunk,
                                  uint32_t word)
{
    bool was_open = chunk->open != 0;

    chunk->open |= UINT64_C(1) << word;
    if (!was_open && chunk != tier->victim) slab__store_open_chunk(store, tier, chunk->number);
}

/* The open chunk with the lowest line, or NULL. */
static slab__chunk *slab__store_lowest_open(const slab_store *store, const slab__tier *tier)
{
    uint32_t segment = slab__store_top_lowest(store, tier->index);

    if (segment == SLAB__NONE) return NULL;
    uint64_t open = *slab__store_open(store, tier->index, segment);
    return slab__store_chunk(store, segment * SLAB__SEGMENT + (uint32_t)__builtin_ctzll(open));
}

/* -- The current word -- */

static void slab__store_enter(slab__tier *tier, slab__chunk *chunk, uint32_t word, uint64_t holes,
                              bool fresh)
{
    tier->chunk  = chunk;
    tier->word   = slab__store_live(chunk, word);
    tier->memory = slab__store_memory(chunk, tier->slot_size) + (size_t)word * 64 * tier->slot_size;
    tier->ref    = chunk->number * 512 + slab__store_position(word) * 64;
    tier->holes  = holes;
    tier->fresh  = fresh;
    tier->zeroed = fresh && tier->clean;
}

/* The lowest open word of an open chunk becomes the current one. */
static void slab__store_enter_open(slab_store *store, slab__tier *tier, slab__chunk *chunk)
{
    uint32_t word = (uint32_t)__builtin_ctzll(chunk->open);
    uint32_t end  = chunk == tier->tail ? tier->tail_from : chunk->slots;

    chunk->open &= chunk->open - 1;
    if (chunk->open == 0) slab__store_close_chunk(store, tier, chunk->number);
    slab__store_enter(tier, chunk, word,
                      ~*slab__store_live(chunk, word) & slab__range(0, end - word * 64), false);
}

/* The next fresh slots, up to the end of their word, become the current holes. */
static void slab__store_enter_fresh(slab__tier *tier)
{
    uint32_t word = tier->tail_from / 64, end = tier->tail->slots;

    slab__store_enter(tier, tier->tail, word,
                      slab__range(tier->tail_from % 64, end - word * 64), true);
}

/* No word is current any more. */
static void slab__store_leave(slab_store *store, slab__tier *tier)
{
    slab__chunk *chunk = tier->chunk;

    if (!chunk) return;
    uint32_t word  = slab__store_word_at((uint32_t)(tier->word - (uint64_t *)(void *)chunk));
    uint64_t holes = tier->holes;
    if (tier->fresh) {
        tier->tail_from = word * 64 + (holes ? (uint32_t)__builtin_ctzll(holes) : 64);
        if (tier->tail_from >= chunk->slots) tier->tail = NULL;
    } else if (holes) slab__store_open_word(store, tier, chunk, word);
    tier->chunk = NULL;
    tier->word  = NULL;
    tier->holes = 0;
    tier->fresh = false;
}

/* -- Chunks -- */

/* Bytes of a chunk of full length. The largest stores have longer ones. */
static uint32_t slab__store_whole(const slab_store *store, uint32_t slot_size)
{
    uint32_t size = store->whole;

    if (size > SLAB__SLOTS_MOST * slot_size) size = SLAB__SLOTS_MOST * slot_size;
    return size > slot_size ? size : slot_size;
}
static uint32_t slab__store_whole_slots(const slab_store *store, const slab__tier *tier)
{
    return slab__store_whole(store, tier->slot_size) / tier->slot_size;
}

static uint32_t slab__store_lines_of(uint32_t slots)
{
    if (slots <= SLAB__FIRST_SLOTS) return 1;
    return 1 + (slots - SLAB__FIRST_SLOTS + SLAB__LINE_SLOTS - 1) / SLAB__LINE_SLOTS;
}

/* Counts a chunk, or takes it out of the counts. Chunks of large objects' records are metadata. */
static void slab__store_count(slab_store *store, slab__tier *tier, const slab__chunk *chunk,
                              int sign)
{
    size_t size  = (size_t)chunk->units * SLAB__UNIT;
    size_t rest  = size - (size_t)chunk->slots * tier->slot_size;
    size_t lines = (size_t)chunk->lines * SLAB__LINE_BYTES;

    if (tier->index == 0) store->metadata += sign > 0 ? size : -size;
    else store->lost += sign > 0 ? rest : -rest;
    tier->slots += sign > 0 ? chunk->slots : -(uint32_t)chunk->slots;
    tier->metadata += sign > 0 ? lines : -lines;
}

/* Stands for all former tiers: their chunks are in its row. */
static slab__tier *slab__store_formers(const slab_store *store)
{
    return &store->tiers[store->head_rows];
}

/* The chunk holds no value: its memory and lines are anybody's. */
static void slab__store_release(slab_store *store, slab__tier *tier, slab__chunk *chunk)
{
    slab__run run = {chunk->extent, chunk->first, chunk->units, false};

    SLAB_ASSERT(chunk->used == 0 && chunk != tier->chunk);
    if (chunk->open != 0 && chunk != tier->victim)
        slab__store_close_chunk(store, tier, chunk->number);
    if (tier->former) slab__store_close_chunk(store, slab__store_formers(store), chunk->number);
    if (chunk == tier->tail) tier->tail = NULL;
    if (chunk == tier->victim) tier->victim = NULL;
    slab__store_count(store, tier, chunk, -1);
    slab__store_lines_give(store, chunk->number, chunk->lines);
    slab__store_run_give(store, &run);
}

/* A tier's current chunk stays with it when it empties, until memory is short. */
static void slab__store_release_idle(slab_store *store)
{
    for (; store->idle != 0; store->idle &= store->idle - 1) {
        uint32_t index = (uint32_t)__builtin_ctzll(store->idle);
        for (; index < store->rows; index += 64) {
            slab__tier  *tier  = &store->tiers[index];
            slab__chunk *chunk = tier->chunk;
            if (!chunk || chunk->used != 0) continue;
            slab__store_leave(store, tier);
            slab__store_release(store, tier, chunk);
        }
    }
}

/* Cuts the run to what a chunk takes of it, and returns the chunk's slots. A rest is at least a
 * quarter, if the run is longer than the longest chunk. */
static uint32_t slab__store_cut(const slab_store *store, const slab__tier *tier, slab__run *run,
                                uint32_t want, uint32_t least)
{
    const uint32_t quarter = SLAB__QUARTER / SLAB__UNIT;
    uint32_t       whole   = slab__units(slab__store_whole(store, tier->slot_size));

    if (run->units >= want + quarter) run->units = want;
    else if (run->units > whole + quarter) run->units = whole;
    else if (run->units > whole) run->units -= quarter;
    if (run->units < least) run->units = least;
    uint32_t slots = run->units * SLAB__UNIT / tier->slot_size;
    run->units     = slab__units((size_t)slots * tier->slot_size);
    return slots;
}

/* Writes the lines of a new chunk in the run; those that it does not need go back. */
static void slab__store_write_lines(slab_store *store, const slab__tier *tier, slab__chunk *chunk,
                                    const slab__run *run, uint32_t lines)
{
    uint64_t *line = (uint64_t *)(void *)chunk;
    uintptr_t size = tier->slot_size;
    uintptr_t base = (uintptr_t)slab__store_run_memory(run) - 64 * size;

    chunk->extent = run->extent;
    chunk->first  = (uint16_t)run->first;
    chunk->units  = (uint16_t)run->units;
    chunk->tier   = tier->index;
    chunk->lines  = (uint8_t)slab__store_lines_of(chunk->slots);
    chunk->base   = base + SLAB__MARK_FIRST + tier->index + 1;
    base += SLAB__FIRST_SLOTS * size;
    for (uint32_t i = 1; i < chunk->lines; i++, base += SLAB__LINE_SLOTS * size)
        line[(size_t)i * SLAB__LINE_WORDS] = base + tier->index + 1;
    if (lines > chunk->lines)
        slab__store_lines_give(store, chunk->number + chunk->lines, lines - chunk->lines);
}

/* Units that the tier's next chunk shall have. */
static uint32_t slab__store_want(const slab_store *store, const slab__tier *tier)
{
    size_t whole = slab__store_whole(store, tier->slot_size);
    size_t size  = (size_t)tier->slots * tier->slot_size;

    if (size < SLAB__FIRST) size = SLAB__FIRST;
    if (size > whole) size = whole;
    if (size < tier->slot_size) size = tier->slot_size;
    return slab__units(size / tier->slot_size * tier->slot_size);
}

/* Units that it must have. */
static uint32_t slab__store_least(const slab__tier *tier, uint32_t want)
{
    uint32_t least = want < SLAB__QUARTER / SLAB__UNIT ? want : SLAB__QUARTER / SLAB__UNIT;
    uint32_t slot  = slab__units(tier->slot_size);
    return least > slot ? least : slot;
}

/* Gives the tier, which has no current word and no tail, one more chunk, all fresh. 0, -ENOSPC,
 * -ENOMEM. */
static SLAB__COLD int slab__store_grow(slab_store *store, slab__tier *tier)
{
    uint32_t  want = slab__store_want(store, tier), least = slab__store_least(tier, want);
    slab__run run;
    int       error;

    if (slab__store_lacks(store, least)) return -ENOSPC;

    size_t   held  = store->held;
    uint32_t lines = slab__store_lines_of(slab__store_whole_slots(store, tier));
    slab__chunk *chunk = slab__store_lines_take(store, lines, &error);
    if (chunk && (error = slab__store_run_need(store, want, least, SLAB__FRONT, &run)))
        slab__store_lines_give(store, chunk->number, lines);
    while (error && store->held > held && slab__store_shrink(store)) continue;
    if (!chunk || error) return error;

    chunk->slots = (uint16_t)slab__store_cut(store, tier, &run, want, least);
    slab__store_run_take(store, &run);
    slab__store_write_lines(store, tier, chunk, &run, lines);
    slab__store_count(store, tier, chunk, +1);
    tier->tail      = chunk;
    tier->tail_from = 0;
    tier->clean     = run.clean;
    return 0;
}

/* -- Slots -- */

/* Compact has no victim any more; what is free in it may be used. */
static void slab__store_spare(slab_store *store, slab__tier *tier)
{
    const slab__chunk *chunk = tier->victim;

    tier->victim = NULL;
    if (tier->fresh) slab__store_leave(store, tier);
    if (chunk->open != 0) slab__store_open_chunk(store, tier, chunk->number);
}

/* The current word has no hole: finds another. 0, or as slab__store_grow. */
static SLAB__COLD int slab__store_refill(slab_store *store, slab__tier *tier)
{
    slab__store_leave(store, tier);
    slab__chunk *chunk = slab__store_lowest_open(store, tier);
    if (!chunk && !tier->tail && tier->victim) {
        slab__store_spare(store, tier);
        chunk = slab__store_lowest_open(store, tier);
    }
    if (!chunk && !tier->tail) {
        int error = slab__store_grow(store, tier);
        if (error) return error;
    }
    if (chunk) slab__store_enter_open(store, tier, chunk);
    else slab__store_enter_fresh(tier);
    return 0;
}

/* Takes the lowest hole; there is one. */
static inline unsigned char *slab__store_take_slot(slab__tier *tier, slab_ref *ref)
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

/* A slot was freed that is no hole of the current word. */
static SLAB__APART void slab__store_reopen(slab_store *store, slab__tier *tier,
                                           slab__chunk *chunk, const uint64_t *live)
{
    uint32_t word  = slab__store_word_at((uint32_t)(live - (uint64_t *)(void *)chunk));
    bool     fresh = tier->fresh && chunk == tier->chunk;

    if (tier->fresh) slab__store_leave(store, tier);
    if (chunk->used == 0 && chunk != tier->chunk && !fresh) {
        slab__store_release(store, tier, chunk);
        return;
    }
    slab__store_open_word(store, tier, chunk, word);
    if (fresh) slab__store_enter_open(store, tier, chunk); /* it stays current, even if empty */
}

/* The live slot is free. */
static inline void slab__store_give_slot(slab_store *store, slab__tier *tier, uint64_t *line,
                                         slab_ref ref)
{
    slab__chunk *chunk = slab__store_chunk_of(line);
    uint64_t    *word = &line[ref / 64 % SLAB__LINE_WORDS], bit = UINT64_C(1) << ref % 64;

    SLAB__HIDE(slab__store_slot(line, ref, tier->slot_size), tier->slot_size);
    *word &= ~bit;
    tier->occupied--;
    store->stirred |= tier->bit;
    if (--chunk->used == 0) store->idle |= tier->bit;
    if (word == tier->word && !tier->fresh) tier->holes |= bit;
    else slab__store_reopen(store, tier, chunk, word);
}

/* ---- store: large objects ----
 *
 * An object above the largest tier takes a run, or a mapping if it is above an extent. Its record
 * is a slot of tier 0, whose lines have a mark that no length belongs to.
 *
 * Freed mappings are kept for the next large objects, the last 8 of them, and at most 64 MiB or a
 * quarter of what is held: the page faults of a mapping cost more than copying its content. An
 * object takes the smallest of them that is long enough and wastes at most a quarter. */

static SLAB__COLD void *slab__store_no_value(slab_ref *ref)
{
    *ref = SLAB_NO_REF;
    return NULL;
}

/* Takes a kept mapping for so many bytes. NULL: there is none; else its size is in *size. */
static unsigned char *slab__store_take_kept(slab_store *store, size_t *size)
{
    uint32_t best = store->kept_count;

    for (uint32_t i = 0; i < store->kept_count; i++) {
        size_t one = store->kept[i].size;
        if (one < *size || one - *size > one / 4) continue;
        if (best == store->kept_count || one < store->kept[best].size) best = i;
    }
    if (best == store->kept_count) return NULL;
    unsigned char *memory = store->kept[best].memory;
    *size                 = store->kept[best].size;
    store->kept_count--;
    memmove(&store->kept[best], &store->kept[best + 1],
            (store->kept_count - best) * sizeof store->kept[0]);
    store->kept_bytes -= *size;
    store->empty -= *size;
    store->spare -= *size;
    return memory;
}

/* Keeps a mapping, or gives it back to the system. */
static void slab__store_keep(slab_store *store, unsigned char *memory, size_t size)
{
    size_t most = store->held / 4 > SLAB__KEPT_LEAST ? store->held / 4 : SLAB__KEPT_LEAST;

    while (store->kept_count > 0 &&
           (store->kept_count == SLAB__KEPT || size > most - store->kept_bytes))
        slab__store_drop_kept(store);
    if (size > most) {
        slab__store_unhold(store, memory, size);
        return;
    }
    SLAB__HIDE(memory, size);
    store->kept[store->kept_count].memory = memory;
    store->kept[store->kept_count++].size = size;
    store->kept_bytes += size;
    store->empty += size;
    store->spare += size;
}

/* A mapping for a large object, zero beyond len. 0, -ENOSPC, -ENOMEM. */
static int slab__store_large_mapping(slab_store *store, slab__large *record)
{
    size_t size  = slab__store_mapping(record->len);
    int    error = 0;

    if ((record->memory = slab__store_take_kept(store, &size))) {
        SLAB__SHOW(record->memory + record->len, size - record->len);
        memset(record->memory + record->len, 0, size - record->len);
    } else {
        if (size > slab__store_left(store) && store->idle) slab__store_release_idle(store);
        record->memory = (unsigned char *)slab__store_hold(store, size, &error);
        if (record->memory && store->extent_most == SLAB__EXTENT_MOST &&
            store->map == slab__store_default_map)
            SLAB_HUGE(record->memory, size);
    }
    record->units = size / SLAB__UNIT & INT32_MAX;
    return error;
}

/* Memory for a large object, zero beyond len. 0, -ENOSPC, -ENOMEM. */
static int slab__store_large_take(slab_store *store, slab__large *record)
{
    uint32_t  units = slab__units(record->len ? record->len : 1);
    uint32_t  most  = (uint32_t)(store->extent_most / SLAB__UNIT);
    size_t    rest  = (size_t)units * SLAB__UNIT - record->len;
    slab__run run;

    if (units > most - slab__store_own_units(most)) return slab__store_large_mapping(store, record);
    if (slab__store_lacks(store, units)) return -ENOSPC;
    int error = slab__store_run_need(store, units, units, SLAB__BACK, &run);
    if (error) return error;
    slab__store_run_take(store, &run);
    record->extent = run.extent;
    record->memory = slab__store_run_memory(&run);
    record->units  = units & INT32_MAX;
    SLAB__SHOW(record->memory + record->len, rest);
    if (!run.clean) memset(record->memory + record->len, 0, rest);
    return 0;
}

/* Gives back the memory of a large object. */
static void slab__store_large_give(slab_store *store, const slab__large *record)
{
    if (!record->extent) {
        slab__store_keep(store, record->memory, (size_t)record->units * SLAB__UNIT);
        return;
    }
    uint32_t  first = (uint32_t)((size_t)(record->memory - record->extent->memory) / SLAB__UNIT);
    slab__run run   = {record->extent, first, record->units, false};
    slab__store_run_give(store, &run);
}

static SLAB__COLD void *slab__store_large_alloc(slab_store *store, size_t len, slab_ref *ref,
                                                int *error)
{
    slab__tier *records = &store->tiers[0];
    slab__large made    = {.len = (uint32_t)len};
    size_t      held    = store->held;

    *error = len > UINT32_MAX ? -EMSGSIZE : len > SIZE_MAX - SLAB__PAGE ? -ENOMEM : 0;
    if (!*error) *error = slab__store_large_take(store, &made);
    if (*error) return slab__store_no_value(ref);
    if (records->holes == 0 && (*error = slab__store_refill(store, records)) != 0) {
        slab__store_large_give(store, &made);
        while (store->held > held && slab__store_shrink(store)) continue;
        return slab__store_no_value(ref);
    }
    slab__large *record = (slab__large *)(void *)slab__store_take_slot(records, ref);
    *ref |= UINT32_C(1) << SLAB__IS_LARGE;
    SLAB__SHOW(record, sizeof *record);
    *record = made;
    SLAB__FRESH(record->memory, len);
    store->large_capacity += (size_t)made.units * SLAB__UNIT;
    store->large_used += len;
    store->large_payload += len;
    return record->memory;
}

/* The record of a live large object of that length, or NULL. *line: where its live bit is. */
static slab__large *slab__store_large_find(const slab_store *store, slab_ref ref, size_t len,
                                           uint64_t **line)
{
    if (!slab_ref_is_large(ref)) return NULL;
    *line = slab__store_line(store, ref - (UINT32_C(1) << SLAB__IS_LARGE));
    if (!*line || slab__store_tier_of(*line) != 0) return NULL;
    slab__large *record =
        (slab__large *)(void *)slab__store_slot(*line, ref, store->tiers[0].slot_size);
    return record->len == len || (record->loose && record->len > len) ? record : NULL;
}

static SLAB__COLD const void *slab__store_large_get(const slab_store *store, slab_ref ref,
                                                    size_t len)
{
    uint64_t    *line;
    slab__large *record = slab__store_large_find(store, ref, len, &line);
    return record ? record->memory : NULL;
}

static SLAB__COLD int slab__store_large_free(slab_store *store, slab_ref ref, size_t len)
{
    uint64_t    *line;
    slab__large *record = slab__store_large_find(store, ref, len, &line);

    if (!record) return -ESTALE;
    store->large_capacity -= (size_t)record->units * SLAB__UNIT;
    store->large_used -= record->len;
    store->large_payload -= len;
    slab__store_large_give(store, record);
    slab__store_give_slot(store, &store->tiers[0], line, ref);
    return 0;
}

SLAB_API bool slab_ref_is_large(slab_ref ref)
{
    return ref >> SLAB__IS_LARGE != 0 && ref != SLAB_NO_REF;
}

/* ---- store: create and destroy ---- */

/* Whether the tiers are ascending multiples of 8, from 8 to SLAB__SLOT_MAX. */
static bool slab__are_tiers(const uint32_t *sizes, uint32_t count)
{
    if (count < 1 || count > SLAB__TIERS_MAX) return false;
    for (uint32_t i = 0; i < count; i++)
        if (sizes[i] % 8 != 0 || sizes[i] <= (i ? sizes[i - 1] : 0)) return false;
    return sizes[count - 1] <= SLAB__SLOT_MAX;
}

/* As large as a large page, though with max_bytes at most a thirty-second of it. */
static size_t slab__store_extent_most(size_t max_bytes)
{
    size_t size = SLAB__EXTENT_MOST;

    while (max_bytes != 0 && size > SLAB__EXTENT_LEAST && size > max_bytes / 32) size /= 2;
    return size;
}

/* Makes a tier of that index. Lengths above `below` belong to it. */
static void slab__store_shape_tier(slab_store *store, uint32_t index, uint32_t size,
                                   uint32_t below)
{
    slab__tier *tier = &store->tiers[index];

    memset(tier, 0, sizeof *tier);
    tier->slot_size          = size;
    tier->index              = (uint8_t)index;
    tier->bit                = UINT64_C(1) << index % 64;
    tier->below              = below;
    store->kinds[index + 1u] = (slab__kind){size, size - below, index};
}

/* Lengths above those of the tiers before belong to the tier at that place; 0 to the first. */
static uint32_t slab__store_below(const uint32_t *sizes, uint32_t place)
{
    return place > 0 ? sizes[place - 1] : UINT32_MAX;
}

/* Lets puts use the tiers with these indices. */
static void slab__store_order(slab_store *store, const uint8_t *order, uint32_t count,
                              uint8_t *tier_of)
{
    uint32_t eights = 0;

    memcpy(store->order, order, count);
    store->tier_count = count;
    store->tier_of    = tier_of;
    for (uint32_t place = 0; place < count; place++) {
        store->slot_max = store->tiers[order[place]].slot_size;
        while (eights <= store->slot_max / 8) tier_of[eights++] = order[place];
    }
}

/* Takes over the hooks of config. False: they are incomplete. */
static bool slab__store_hook(slab_store *store, const slab_store_config *config)
{
    store->map     = slab__store_default_map;
    store->unmap   = slab__store_default_unmap;
    store->discard = slab__store_default_discard;
    if (!config) return true;
    if (!config->map != !config->unmap || (config->discard && !config->map)) return false;
    if (!config->map) return true;
    store->map     = config->map;
    store->unmap   = config->unmap;
    store->discard = config->discard ? config->discard : slab__store_no_discard;
    store->context = config->context;
    return true;
}

SLAB_API int slab_store_create(slab_store **store, const slab_store_config *config)
{
    static const uint32_t doublings[] = {64, 128, 256, 512, 1024, 2048, 4096};
    const uint32_t *sizes     = config && config->tier_sizes ? config->tier_sizes : doublings;
    uint32_t        count     = sizes == doublings ? 7 : config->tier_count;
    size_t          max_bytes = config ? config->max_bytes : 0;
    slab_store      hooks;

    if (!store) return -EINVAL;
    *store = NULL;
    memset(&hooks, 0, sizeof hooks);
    if (!slab__are_tiers(sizes, count) || !slab__store_hook(&hooks, config)) return -EINVAL;
    uint8_t order[SLAB__TIERS_MAX];
    size_t  tier_of_at = sizeof(slab_store) + (count + 1) * sizeof(slab__tier);
    size_t extents_at  = slab__round_up(tier_of_at + sizes[count - 1] / 8 + 1, 8);
    size_t segments_at = extents_at + slab__store_extents_size(SLAB__EXTENTS);
    size_t size        = segments_at + slab__store_segments_size(count + 1, SLAB__SEGMENTS);
    size               = slab__store_mapping(size);
    if (max_bytes != 0 && max_bytes < size + SLAB__EXTENT_BARE) return -EINVAL;

    slab_store *made = (slab_store *)hooks.map(hooks.context, size);
    if (!made) return -ENOMEM;
    memcpy(made, &hooks, sizeof hooks);
    made->max_bytes = max_bytes;
    made->held = made->own_size = made->metadata = size;
    made->whole        = SLAB__WHOLE;
    made->segment_most = SLAB__SEGMENTS_MAX;
    made->extent_most  = slab__store_extent_most(max_bytes);
    made->own_extents  = (unsigned char *)made + extents_at;
    made->own_segments = (unsigned char *)made + segments_at;
    made->tiers        = made->own_tiers;
    made->head_rows    = count + 1;
    /* The records of large objects: no length belongs to their tier. */
    slab__store_shape_tier(made, 0, sizeof(slab__large), sizeof(slab__large));
    for (uint32_t i = 0; i < count; i++) {
        order[i] = (uint8_t)(i + 1);
        slab__store_shape_tier(made, i + 1, sizes[i], slab__store_below(sizes, i));
    }
    slab__store_order(made, order, count, (uint8_t *)made + tier_of_at);
    slab__store_extents_move(made, made->own_extents, SLAB__EXTENTS);
    slab__store_segments_move(made, made->own_segments, SLAB__SEGMENTS, made->head_rows);
    *store = made;
    return 0;
}

/* Frees the large objects whose records are in one line. */
static void slab__store_free_records(slab_store *store, uint64_t *line)
{
    for (uint32_t place = 64; place < 512; place++) {
        if ((place & line[0] & SLAB__MARK_FIRST) != 0) break;
        if (!(line[place / 64] >> place % 64 & 1)) continue;
        const slab__large *record =
            (slab__large *)(void *)slab__store_slot(line, place, store->tiers[0].slot_size);
        slab__store_large_give(store, record);
    }
}

SLAB_API void slab_store_destroy(slab_store *store)
{
    if (!store) return;
    for (uint32_t number = 0; number < store->segment_capacity; number++) {
        uint64_t *segment = store->segments[number];
        for (uint32_t line = 0; segment && line < SLAB__SEGMENT; line++)
            if (slab__store_tier_of(slab__store_line_at(segment, line)) == 0)
                slab__store_free_records(store, slab__store_line_at(segment, line));
    }
    while (store->kept_count > 0) slab__store_drop_kept(store);
    slab__store_block_give(store, &store->segments_block);
    slab__store_block_give(store, &store->retiered_block);
    for (uint32_t number = 0; number < store->extent_count; number++)
        slab__store_unhold(store, store->extents[number]->memory, store->extents[number]->size);
    store->extent_count = 0;
    slab__store_extents_fit(store);
    store->unmap(store->context, store, store->own_size);
}

/* ---- store: put, get, free ---- */

/* A slot for len bytes, zero beyond them. NULL: *error, and *ref is SLAB_NO_REF. */
static SLAB__HOT void *slab__store_alloc(slab_store *store, size_t len, slab_ref *ref, int *error)
{
    if (len > store->slot_max) return slab__store_large_alloc(store, len, ref, error);
    slab__tier *tier = &store->tiers[store->tier_of[(len + 7) / 8]];
    if (tier->holes == 0 && (*error = slab__store_refill(store, tier)) != 0)
        return slab__store_no_value(ref);
    unsigned char *value = slab__store_take_slot(tier, ref);

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
    void *value = slab__store_alloc(store, len, ref, &error);
    if (!value) return error;
    if (len > 0) memcpy(value, data, len);
    return 0;
}

SLAB_API void *slab_store_alloc(slab_store *store, size_t len, slab_ref *ref)
{
    int error = 0;

    if (!store || !ref) return ref ? slab__store_no_value(ref) : NULL;
    return slab__store_alloc(store, len, ref, &error);
}

SLAB_API const void *slab_store_get(const slab_store *store, slab_ref ref, size_t len)
{
    if (!store) return NULL;
    const uint64_t *line = slab__store_line(store, ref);
    if (!line) return slab__store_large_get(store, ref, len);
    slab__kind kind = slab__store_kind(store, line);
    return kind.slot_size - len < kind.room ? slab__store_slot(line, ref, kind.slot_size) : NULL;
}

SLAB_API int slab_store_free(slab_store *store, slab_ref ref, size_t len)
{
    if (!store) return -EINVAL;
    uint64_t *line = slab__store_line(store, ref);
    if (!line) return slab__store_large_free(store, ref, len);
    slab__kind kind = slab__store_kind(store, line);
    if (kind.slot_size - len >= kind.room) return -ESTALE;
    slab__tier *tier = &store->tiers[kind.tier];
    tier->payload -= len;
    slab__store_give_slot(store, tier, line, ref);
    return 0;
}

/* ---- store: batches ----
 *
 * A get of a value that no cache holds waits for one load: the first one of the value itself, which
 * the caller makes. Lines are dense, seven bits in eight are live bits, so they are cached. A batch
 * starts these loads before the first is needed. */

enum { SLAB__AHEAD = 8 }; /* lines are prefetched so many refs ahead */

static inline void slab__store_prefetch_line(const slab_store *store, slab_ref ref)
{
    uint32_t number = ref / (SLAB__SEGMENT * 512);

    if (number >= store->segment_capacity || !store->segments[number]) return;
    __builtin_prefetch(slab__store_line_at(store->segments[number], ref / 512));
}

SLAB_API size_t slab_store_get_many(const slab_store *store, const slab_ref *refs,
                                    const size_t *lens, const void **values, size_t count)
{
    size_t found = 0;

    if (!store || !refs || !lens || !values) return 0;
    for (size_t i = 0; i < count && i < SLAB__AHEAD; i++) slab__store_prefetch_line(store, refs[i]);
    for (size_t i = 0; i < count; i++) {
        if (i + SLAB__AHEAD < count) slab__store_prefetch_line(store, refs[i + SLAB__AHEAD]);
        values[i] = slab_store_get(store, refs[i], lens[i]);
        __builtin_prefetch(values[i]);
        found += values[i] != NULL;
    }
    return found;
}

SLAB_API void slab_store_prefetch(const slab_store *store, slab_ref ref, size_t len)
{
    const char *value = (const char *)slab_store_get(store, ref, len);

    if (!value) return;
    __builtin_prefetch(value);
    if (len > SLAB__LINE) __builtin_prefetch(value + SLAB__LINE);
}

/* ---- store: replace ---- */

/* Whether a large object of len bytes would take as much memory as this one has. */
static bool slab__store_large_fits(const slab_store *store, const slab__large *record, size_t len)
{
    size_t most = store->extent_most / SLAB__UNIT, room = (size_t)record->units * SLAB__UNIT;

    if (len <= store->slot_max) return false;
    if (record->extent) return slab__units(len) == record->units;
    if (room - len > room / 4) return false; /* or len > room */
    return slab__units(len) > most - slab__store_own_units((uint32_t)most);
}

/* Makes a value's length another one, if it can stay where it is. Returns it; what is behind len is
 * the caller's to clear. Returns NULL on failure and sets *error: -ESTALE, -EMSGSIZE. */
static unsigned char *slab__store_resize(slab_store *store, slab_ref ref, size_t old_len,
                                         size_t len, int *error)
{
    uint64_t *line = slab__store_line(store, ref);

    *error = -ESTALE;
    if (line) {
        slab__kind kind = slab__store_kind(store, line);
        if (kind.slot_size - old_len >= kind.room) return NULL;
        *error = -EMSGSIZE;
        if (kind.slot_size - len >= kind.room) return NULL;
        store->tiers[line[0] % SLAB__MARKS - 1].payload += len - old_len;
        return slab__store_slot(line, ref, kind.slot_size);
    }
    slab__large *record = slab__store_large_find(store, ref, old_len, &line);
    if (!record) return NULL;
    *error = -EMSGSIZE;
    if (!slab__store_large_fits(store, record, len)) return NULL;
    store->large_used += len - record->len;
    store->large_payload += len - old_len;
    record->len   = (uint32_t)len;
    record->loose = 0;
    return record->memory;
}

SLAB_API int slab_store_set_len(slab_store *store, slab_ref ref, size_t old_len, size_t len)
{
    int error;

    if (!store) return -EINVAL;
    unsigned char *value = slab__store_resize(store, ref, old_len, len, &error);
    if (!value) return error;
    if (old_len > len) memset(value + len, 0, old_len - len);
    return 0;
}

/* Whether a put of len bytes would use the tier that the ref's slot is in, or the ref is of a large
 * object. */
static bool slab__store_is_home(const slab_store *store, slab_ref ref, size_t len)
{
    const uint64_t *line = slab__store_line(store, ref);

    if (!line) return true;
    return len <= store->slot_max && store->tier_of[(len + 7) / 8] + 1u == line[0] % SLAB__MARKS;
}

SLAB_API int slab_store_replace(slab_store *store, slab_ref *ref, size_t old_len, const void *data,
                                size_t len)
{
    unsigned char *value = NULL;
    slab_ref       made;
    int            error;

    if (!store || !ref || (!data && len > 0)) return -EINVAL;
    if (slab__store_is_home(store, *ref, len))
        value = slab__store_resize(store, *ref, old_len, len, &error);
    else error = slab_store_get(store, *ref, old_len) ? -EMSGSIZE : -ESTALE;
    if (value) {
        if (len > 0) memmove(value, data, len);
        if (old_len > len) memset(value + len, 0, old_len - len);
        return 0;
    }
    if (error == -ESTALE || (error = slab_store_put(store, data, len, &made))) return error;
    slab_store_free(store, *ref, old_len);
    *ref = made;
    return 0;
}

/* ---- store: trim and compact ---- */

/* Gives the content of an extent's free units back to the system. Returns how many bytes. Only
 * whole pages of the system go: it would round up, and take the neighbours as well. It may refuse,
 * as it does if the pages are locked: then they stay dirty, and are cleared where they must be
 * zero. */
static size_t slab__store_discard(slab_store *store, slab__extent *extent)
{
    uint64_t *taken = extent->bits, *dirty = slab__store_dirty(extent);
    uint32_t  page  = (uint32_t)sysconf(_SC_PAGESIZE) / SLAB__UNIT;
    uint32_t  first = (uint32_t)((uintptr_t)extent->memory / SLAB__UNIT % page);
    size_t    given = 0;

    for (uint32_t end = 0, from; end < extent->units;) {
        from = slab__find_bit(dirty, end, extent->units, true);
        from = slab__find_bit(taken, from, extent->units, false);
        end  = slab__find_bit(taken, from, extent->units, true);
        /* The whole pages around what is dirty in the run. */
        uint32_t low = (first + from + page - 1) / page * page, top = (first + end) / page * page;
        if (low >= top) continue;
        low -= first;
        top -= first;
        if (slab__find_bit(dirty, low, top, true) == top) continue;
        unsigned char *memory = extent->memory + (size_t)low * SLAB__UNIT;
        size_t         size   = (size_t)(top - low) * SLAB__UNIT;
        SLAB__SHOW(memory, size);
        bool gone = store->discard(store->context, memory, size) == 0;
        SLAB__HIDE(memory, size);
        if (!gone) continue;
        slab__set_bits(dirty, low, top, false);
        given += size;
    }
    return given;
}

SLAB_API size_t slab_store_trim(slab_store *store)
{
    size_t given = 0, held;

    if (!store) return 0;
    held = store->held;
    slab__store_release_idle(store);
    slab__store_segments_fit(store); /* at max_bytes the directory may lie in an extent */
    while (slab__store_shrink(store)) continue;
    for (uint32_t number = 0; number < store->extent_count; number++)
        given += slab__store_discard(store, store->extents[number]);
    slab__store_extents_fit(store);
    return given + held - store->held;
}

/* Whether the tier has so many free slots that it can do with a chunk less. */
static bool slab__store_is_sparse(const slab_store *store, const slab__tier *tier)
{
    uint32_t free = tier->slots - tier->occupied;
    return tier->occupied != 0 && free > tier->slots / SLAB__SPARE &&
           free - tier->slots / SLAB__SPARE >= slab__store_whole_slots(store, tier);
}

/* The open chunk with the highest line below that number, or NULL. */
static slab__chunk *slab__store_open_below(const slab_store *store, const slab__tier *tier,
                                           uint32_t number)
{
    uint32_t        segment = number / SLAB__SEGMENT;
    const uint64_t *top     = slab__store_top(store, tier->index);
    uint64_t        below   = slab__range(0, number % SLAB__SEGMENT), open = 0;

    if (segment < store->segment_capacity)
        open = *slab__store_open(store, tier->index, segment) & below;
    if (open == 0) {
        segment = slab__find_bit_below(top, segment);
        if (segment-- == 0) return NULL;
        open = *slab__store_open(store, tier->index, segment);
    }
    return slab__store_chunk(store,
                             segment * SLAB__SEGMENT + 63 - (uint32_t)__builtin_clzll(open));
}

static uint32_t slab__store_fill(const slab__chunk *chunk)
{
    return chunk->used * 1024u / chunk->slots;
}

/* The highest chunk that is no fuller than they are on average, so that extents run empty from the
 * end; or if none of the first few is, the sparsest of these. */
static slab__chunk *slab__store_sparsest(const slab_store *store, const slab__tier *tier)
{
    uint32_t     average = (uint32_t)((uint64_t)tier->occupied * 1024 / tier->slots);
    slab__chunk *best    = tier->tail, *chunk = NULL;
    uint32_t     least   = best ? slab__store_fill(best) : UINT32_MAX;
    uint32_t     number  = store->segment_capacity * SLAB__SEGMENT;

    for (uint32_t look = SLAB__LOOK; look > 0 && least > average; look--) {
        if (!(chunk = slab__store_open_below(store, tier, number))) break;
        number        = chunk->number;
        uint32_t fill = slab__store_fill(chunk);
        if (fill >= least) continue;
        least = fill;
        best  = chunk;
    }
    SLAB_ASSERT(best); /* the tier is sparse, and no word current */
    return best;
}

/* Closes the chunk that compact shall empty. What is fresh in it may be used, if it is spared. */
static void slab__store_begin_victim(slab_store *store, slab__tier *tier, slab__chunk *chunk)
{
    if (chunk->open != 0) slab__store_close_chunk(store, tier, chunk->number);
    tier->victim      = chunk;
    tier->victim_word = 0;
    if (chunk != tier->tail) return;
    tier->tail = NULL;
    for (uint32_t word = tier->tail_from / 64; word < slab__words(chunk->slots); word++)
        slab__store_open_word(store, tier, chunk, word);
}

/* Sees to it that the tier has a victim that can be emptied. False: it does not need to. */
static bool slab__store_choose_victim(slab_store *store, uint32_t index)
{
    slab__tier *tier = &store->tiers[index];

    while (slab__store_is_sparse(store, tier)) {
        if (tier->victim) return true;
        slab__chunk *chunk = tier->chunk;
        slab__store_leave(store, tier); /* what it leaves is open, or empty */
        if (!chunk || chunk->used != 0) chunk = slab__store_sparsest(store, tier);
        if (chunk->used == 0) slab__store_release(store, tier, chunk);
        else slab__store_begin_victim(store, tier, chunk);
    }
    if (tier->victim) slab__store_spare(store, tier);
    return false;
}

/* The first live value of the tier's victim. */
static slab_ref slab__store_first_live(slab__tier *tier)
{
    slab__chunk *chunk = tier->victim;

    while (*slab__store_live(chunk, tier->victim_word) == 0) tier->victim_word++;
    return chunk->number * 512 + slab__store_position(tier->victim_word) * 64 +
           (uint32_t)__builtin_ctzll(*slab__store_live(chunk, tier->victim_word));
}

/* Moves the victim's first value to the lowest hole elsewhere. */
static void slab__store_move(slab_store *store, slab__tier *tier, slab_moved_fn *moved,
                             void *context)
{
    slab_ref from = slab__store_first_live(tier), to;
    int      error = tier->holes ? 0 : slab__store_refill(store, tier);
    SLAB_ASSERT(error == 0); /* the tier is sparse: more holes elsewhere than values here */
    (void)error;
    uint64_t *line  = slab__store_line(store, from);
    void     *value = slab__store_take_slot(tier, &to);
    SLAB__SHOW(value, tier->slot_size);
    memcpy(value, slab__store_slot(line, from, tier->slot_size), tier->slot_size);
    slab__store_give_slot(store, tier, line, from);
    moved(context, from, to, value, tier->slot_size);
}

/* What the values of a tier have in bytes. After a retier it is an estimate, of which only the sum
 * over all tiers is right. */
static size_t slab__store_payload(const slab__tier *tier)
{
    size_t used = (size_t)tier->occupied * tier->slot_size;

    if (tier->payload > SIZE_MAX / 2) return 0;
    return tier->payload < used ? tier->payload : used;
}

/* A slot for a value of a former tier that has `size` bytes at most. NULL: no memory. */
static unsigned char *slab__store_adopt(slab_store *store, uint32_t size, size_t len, slab_ref *to,
                                        size_t *room)
{
    uint64_t *line;
    int       error;

    *room = size;
    if (size > store->slot_max) {
        unsigned char *value = (unsigned char *)slab__store_large_alloc(store, size, to, &error);
        if (!value) return NULL;
        slab__store_large_find(store, *to, size, &line)->loose = 1;
        store->large_payload -= size - len;
        return value;
    }
    slab__tier *tier = &store->tiers[store->tier_of[size / 8]];
    if (tier->holes == 0 && slab__store_refill(store, tier) != 0) return NULL;
    unsigned char *value = slab__store_take_slot(tier, to);
    *room                = tier->slot_size;
    SLAB__SHOW(value, *room);
    memset(value + size, 0, *room - size);
    tier->payload += len;
    return value;
}

/* Moves a value of a former tier to the tier for its slot's size. False: there is no such value, or
 * no memory for it. */
static bool slab__store_take_over(slab_store *store, slab_moved_fn *moved, void *context)
{
    slab__chunk *chunk;
    slab__tier  *tier;
    slab_ref     to;
    size_t       room;

    for (;;) {
        if (!(chunk = slab__store_lowest_open(store, slab__store_formers(store)))) return false;
        tier = &store->tiers[chunk->tier];
        if (chunk == tier->victim) break;
        if (tier->victim) slab__store_spare(store, tier);
        slab__store_leave(store, tier);
        if (chunk->used > 0) slab__store_begin_victim(store, tier, chunk);
        else slab__store_release(store, tier, chunk);
    }
    size_t         len   = slab__store_payload(tier) / tier->occupied;
    unsigned char *value = slab__store_adopt(store, tier->slot_size, len, &to, &room);
    if (!value) return false;
    slab_ref  from = slab__store_first_live(tier);
    uint64_t *line = slab__store_line(store, from);
    memcpy(value, slab__store_slot(line, from, tier->slot_size), tier->slot_size);
    tier->payload -= len;
    slab__store_give_slot(store, tier, line, from);
    moved(context, from, to, value, room);
    return true;
}

SLAB_API size_t slab_store_compact(slab_store *store, size_t max_moves, slab_moved_fn *moved,
                                   void *context)
{
    size_t moves = 0;

    if (!store || !moved) return 0;
    store->stirred &= ~UINT64_C(1); /* records of large objects stay where they are */
    while (moves < max_moves && store->stirred != 0) {
        /* In turn, so that a tier that always has work leaves some to the others. */
        uint64_t above = store->stirred >> store->compacting << store->compacting;
        uint32_t bit   = (uint32_t)__builtin_ctzll(above ? above : store->stirred);
        for (uint32_t index = bit; index < store->rows; index += 64)
            for (; moves < max_moves && slab__store_choose_victim(store, index); moves++)
                slab__store_move(store, &store->tiers[index], moved, context);
        if (moves < max_moves) store->stirred &= ~(UINT64_C(1) << bit);
        store->compacting = (bit + 1) % 64;
        store->stirred &= ~UINT64_C(1);
    }
    for (; moves < max_moves && store->retiered; moves++)
        if (!slab__store_take_over(store, moved, context)) break;
    return moves;
}

/* ---- store: walk and evict ----
 *
 * Both go through the refs in ascending order; large objects have the places of their records.
 *
 * The hand of evict is a line: chunks before it had their turn in this round. It takes the chunk it
 * chose as compact takes its victim, so that no put goes there, and goes on behind it. A chunk that
 * is emptied gives its lines back, and new chunks take the lowest ones: so in a full store the hand
 * meets the chunks in the order in which they were filled. A chunk of records is always taken, but
 * of the large objects in it only as many as make room for the call. */

enum { SLAB__EVICT_LOOK = 16 }; /* chunks that evict chooses from */

/* The first live place at or after one, or SLAB_NO_REF. */
static slab_ref slab__store_live_from(const slab_store *store, uint64_t place)
{
    const uint64_t segment_places = UINT64_C(512) * SLAB__SEGMENT;

    while (place / segment_places < store->segment_capacity) {
        const uint64_t *segment = store->segments[place / segment_places];
        if (!segment) {
            place = (place / segment_places + 1) * segment_places;
            continue;
        }
        const uint64_t *line = &segment[place / 512 % SLAB__SEGMENT * SLAB__LINE_WORDS];
        if (place % 512 < 64) place = place / 512 * 512 + 64;
        uint32_t mark = line[0] % 512, end = mark < SLAB__MARK_FIRST ? 512 : 256;
        uint32_t from = (uint32_t)(place % 512), at = mark ? from : end;
        if (at < end) at = slab__find_bit(line, at, end, true);
        if (at < end) return (slab_ref)(place - from + at);
        place = (place / 512 + 1) * 512;
    }
    return SLAB_NO_REF;
}

/* Returns the ref that callers have for a live place, and sets its value and room. */
static slab_ref slab__store_show(const slab_store *store, slab_ref place, const void **value,
                                 size_t *room)
{
    const uint64_t   *line = slab__store_line(store, place);
    const slab__tier *tier = &store->tiers[slab__store_tier_of(line)];
    unsigned char    *slot = slab__store_slot(line, place, tier->slot_size);

    *value = slot;
    *room  = tier->slot_size;
    if (tier->index != 0) return place;
    const slab__large *record = (slab__large *)(void *)slot;
    *value                    = record->memory;
    *room                     = record->len;
    return place | UINT32_C(1) << SLAB__IS_LARGE;
}

SLAB_API const void *slab_store_peek(const slab_store *store, slab_ref ref, size_t *room)
{
    slab_ref    place = slab_ref_is_large(ref) ? ref - (UINT32_C(1) << SLAB__IS_LARGE) : ref;
    const void *value;
    size_t      its_room;

    if (!store || !slab__store_line(store, place)) return NULL;
    if (slab__store_show(store, place, &value, &its_room) != ref) return NULL;
    if (room) *room = its_room;
    return value;
}

SLAB_API slab_ref slab_store_next(const slab_store *store, uint64_t *cursor, const void **value,
                                  size_t *room)
{
    const void *its_value;
    size_t      its_room;

    if (!store || !cursor) return SLAB_NO_REF;
    slab_ref place = slab__store_live_from(store, *cursor);
    if (place == SLAB_NO_REF) return SLAB_NO_REF;
    *cursor      = (uint64_t)place + 1;
    slab_ref ref = slab__store_show(store, place, &its_value, &its_room);
    if (value) *value = its_value;
    if (room) *room = its_room;
    return ref;
}

/* Chooses the chunk that evict empties next, or NULL if there is none, and moves the hand to it. */
static slab__chunk *slab__store_choose_evicted(slab_store *store)
{
    slab__chunk *best = NULL, *first = slab__store_chunk_from(store, store->hand), *chunk;
    uint64_t     least = UINT64_MAX;

    if (!first) first = slab__store_chunk_from(store, 0);
    chunk = first;
    for (uint32_t look = SLAB__EVICT_LOOK; look > 0 && chunk; look--) {
        uint64_t live = (uint64_t)chunk->used * store->tiers[chunk->tier].slot_size * 1024;
        if (chunk->tier == 0 && chunk != first) break;
        if (live / chunk->units < least) {
            least = live / chunk->units;
            best  = chunk;
        }
        if (chunk->tier == 0) break;
        chunk = slab__store_chunk_from(store, chunk->number + chunk->lines);
    }
    if (best) store->hand = best->number;
    return best;
}

/* Frees the values of a chunk. */
static void slab__store_evict_chunk(slab_store *store, slab__chunk *chunk,
                                    slab_evicted_fn *evicted, void *context)
{
    slab__tier *tier = &store->tiers[chunk->tier];

    store->hand = chunk->number + chunk->lines;
    if (tier->victim && tier->victim != chunk) slab__store_spare(store, tier);
    slab__store_leave(store, tier);
    if (chunk->used == 0) {
        slab__store_release(store, tier, chunk);
        return;
    }
    if (!tier->victim) slab__store_begin_victim(store, tier, chunk);
    for (uint64_t place = UINT64_C(512) * chunk->number; tier->victim == chunk; place++) {
        const void *value;
        size_t      room;
        place        = slab__store_live_from(store, place);
        slab_ref ref = slab__store_show(store, (slab_ref)place, &value, &room);
        tier->payload -= evicted(context, ref, value, room);
        slab__store_give_slot(store, tier, slab__store_line(store, ref), ref);
    }
}

/* Frees large objects that have their records in the chunk: the next one in the round. */
static void slab__store_evict_large(slab_store *store, const slab__chunk *chunk,
                                    slab_evicted_fn *evicted, void *context)
{
    uint64_t    from = (uint64_t)chunk->number * 512, end = from + (uint64_t)chunk->lines * 512;
    const void *value;
    size_t      room;

    if (store->large_hand > from && store->large_hand < end) from = store->large_hand;
    slab_ref place = slab__store_live_from(store, from);
    if (place >= end) {
        store->hand       = (uint32_t)(end / 512);
        store->large_hand = 0;
        return;
    }
    store->large_hand = (uint64_t)place + 1;
    slab_ref ref      = slab__store_show(store, place, &value, &room);
    size_t len = evicted(context, ref, value, room);
    if (slab__store_large_free(store, ref, len) != 0) slab__store_large_free(store, ref, room);
}

static bool slab__store_has_values(const slab_store *store)
{
    uint32_t index = 0;

    while (index < store->rows && store->tiers[index].occupied == 0) index++;
    return index < store->rows;
}

SLAB_API size_t slab_store_evict(slab_store *store, size_t bytes, slab_evicted_fn *evicted,
                                 void *context)
{
    slab__chunk *chunk;

    if (!store || !evicted) return 0;
    size_t in_use = store->held - store->empty, goal = bytes < in_use ? in_use - bytes : 0;
    if (bytes > 0) slab__store_release_idle(store);
    while (store->held - store->empty > goal && slab__store_has_values(store)) {
        chunk = slab__store_choose_evicted(store);
        if (chunk->tier == 0) slab__store_evict_large(store, chunk, evicted, context);
        else slab__store_evict_chunk(store, chunk, evicted, context);
    }
    if (store->held - store->empty > goal) slab__store_release_idle(store);
    return in_use - (store->held - store->empty);
}

SLAB_API int slab_store_limit(slab_store *store, size_t max_bytes)
{
    if (!store) return -EINVAL;
    if (max_bytes != 0 && max_bytes < store->own_size + SLAB__EXTENT_BARE) return -EINVAL;
    store->max_bytes   = max_bytes;
    store->extent_most = slab__store_extent_most(max_bytes);
    if (max_bytes == 0 || store->held <= max_bytes) return 0;
    slab__store_release_idle(store);
    while (store->held > max_bytes && slab__store_shrink(store)) continue;
    return 0;
}

/* ---- store: retier ----
 *
 * A tier that the new sizes do not need is a former one: tier_of does not lead to it any more, so
 * no put goes there; get, free, compact and evict treat it as any other. What it holds goes to its
 * heir, the smallest tier with slots at least as large, or to a large object; therefore the heir
 * also accepts all lengths that belong to the former tier.
 *
 *   former tier 128      lengths 65..128         kinds[]: slot 128, room 64
 *   its heir 144         own lengths 113..144    slot 144, room 32 -> 80, so 65..144
 *
 * The row of formers (see lines) has all chunks of former tiers, so that compact finds the next. It
 * is written anew at each retier. A chunk's end takes it out, and a tier without a chunk is none:
 * its index, and with it the mark, may then serve another tier. */

/* The index of a tier that may serve as one of the new ones, or 0: all of its lengths above `below`
 * belong to it as before. */
static uint32_t slab__store_tier_like(const slab_store *store, uint32_t size, uint32_t below)
{
    for (uint32_t index = 1; index < store->rows; index++) {
        const slab__tier *tier = &store->tiers[index];
        /* UINT32_MAX is one less than 0. */
        if (tier->slots > 0 && tier->slot_size == size && below + 1 <= tier->below + 1)
            return index;
    }
    return 0;
}

/* Writes to order[] the indices that tiers of these sizes will have. Returns one more than the
 * highest index in use, or 0 if there are not enough. */
static uint32_t slab__store_plan(const slab_store *store, const uint32_t *sizes, uint32_t count,
                                 uint8_t *order)
{
    uint32_t free = 0, rows = store->head_rows + 1;

    for (uint32_t i = 0; i < count; i++) {
        uint32_t index = slab__store_tier_like(store, sizes[i], slab__store_below(sizes, i));
        /* Bit 0 of stirred is that of the records, which are not moved. */
        while (index == 0 && ++free < SLAB__TIERS_ROOM)
            if (free % 64 != 0 && free != store->head_rows && store->tiers[free].slots == 0)
                index = free;
        if (index == 0) return 0;
        order[i] = (uint8_t)index;
        if (rows <= index) rows = index + 1;
    }
    return rows;
}

/* Lets the tier's heir accept its lengths. */
static void slab__store_bequeath(slab_store *store, const slab__tier *tier)
{
    slab__kind its = store->kinds[tier->index + 1];

    if (tier->slot_size > store->slot_max) return;
    slab__kind *kind = &store->kinds[store->tier_of[tier->slot_size / 8] + 1];
    uint32_t    room = kind->slot_size - (its.slot_size - its.room);
    if (kind->room < room) kind->room = room;
}

/* Makes the tiers in order[] those that puts use, and all others former ones. */
static void slab__store_install(slab_store *store, const uint32_t *sizes, uint32_t count,
                                const uint8_t *order)
{
    slab__chunk *chunk;

    for (uint32_t index = 1; index < store->rows; index++) store->tiers[index].former = true;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t    below = slab__store_below(sizes, i);
        slab__tier *tier  = &store->tiers[order[i]];
        slab__kind *kind  = &store->kinds[order[i] + 1];
        if (tier->slots == 0) {
            store->retiered->payload += tier->payload;
            slab__store_shape_tier(store, order[i], sizes[i], below);
        }
        if (kind->room < sizes[i] - below) kind->room = sizes[i] - below;
        tier->below  = below;
        tier->former = false;
    }
    slab__store_order(store, order, count, store->retiered->tier_of);
    for (uint32_t index = 1; index < store->rows; index++) {
        if (!store->tiers[index].former || store->tiers[index].slots == 0) continue;
        slab__store_leave(store, &store->tiers[index]);
        slab__store_bequeath(store, &store->tiers[index]);
    }
    for (uint32_t line = 0; (chunk = slab__store_chunk_from(store, line));
         line          = chunk->number + chunk->lines)
        if (store->tiers[chunk->tier].former)
            slab__store_open_chunk(store, slab__store_formers(store), chunk->number);
        else slab__store_close_chunk(store, slab__store_formers(store), chunk->number);
}

/* Undoes the first retier. */
static void slab__store_retier_undo(slab_store *store)
{
    store->tiers    = store->own_tiers;
    store->retiered = NULL;
    slab__store_block_give(store, &store->retiered_block);
    memset(&store->retiered_block, 0, sizeof store->retiered_block);
}

/* Gives the store what it needs for former tiers and later ones. 0, -ENOSPC, -ENOMEM. */
static int slab__store_retier_begin(slab_store *store)
{
    int error = slab__store_block_take(store, sizeof *store->retiered, &store->retiered_block);

    if (error) return error;
    store->retiered = (slab__retiered *)store->retiered_block.memory;
    memcpy(store->retiered->tiers, store->own_tiers, store->head_rows * sizeof *store->tiers);
    store->tiers                       = store->retiered->tiers;
    slab__store_formers(store)->index = (uint8_t)store->head_rows;
    return 0;
}

SLAB_API int slab_store_retier(slab_store *store, const uint32_t *tier_sizes, uint32_t tier_count)
{
    uint8_t  order[SLAB__TIERS_MAX];
    uint32_t rows = 0;
    int      error = 0;

    if (!store || !tier_sizes || !slab__are_tiers(tier_sizes, tier_count)) return -EINVAL;
    slab__store_release_idle(store);
    bool first = !store->retiered;
    if (first) error = slab__store_retier_begin(store);
    if (!error && !(rows = slab__store_plan(store, tier_sizes, tier_count, order))) error = -EBUSY;
    if (!error && rows > store->rows)
        error = slab__store_segments_resize(store, store->segment_capacity, rows);
    if (!error) slab__store_install(store, tier_sizes, tier_count, order);
    else if (first && store->retiered) slab__store_retier_undo(store);
    return error;
}

/* ---- store: stats ---- */

static double slab__ratio(size_t capacity, size_t used)
{
    return used ? (double)capacity / (double)used : 0.0;
}

SLAB_API int slab_store_tier_stats(const slab_store *store, uint32_t tier,
                                   struct slab_tier_info *stats)
{
    if (stats) memset(stats, 0, sizeof *stats);
    if (!store || !stats || tier >= store->tier_count) return -EINVAL;
    const slab__tier *it = &store->tiers[store->order[tier]];

    stats->slot_size           = it->slot_size;
    stats->total_slots         = it->slots;
    stats->occupied_slots      = it->occupied;
    stats->capacity_bytes      = (size_t)stats->total_slots * it->slot_size;
    stats->occupied_bytes      = (size_t)it->occupied * it->slot_size;
    stats->fragmentation_ratio = slab__ratio(stats->capacity_bytes, stats->occupied_bytes);
    stats->payload_bytes       = slab__store_payload(it);
    stats->metadata_bytes      = it->metadata;
    return 0;
}

SLAB_API void slab_store_stats(const slab_store *store, struct slab_store_info *stats)
{
    if (!stats) return;
    memset(stats, 0, sizeof *stats);
    if (!store) return;
    stats->tier_count     = store->tier_count;
    stats->large_count    = store->tiers[0].occupied;
    stats->capacity_bytes = store->large_capacity;
    stats->used_bytes     = store->large_used;
    stats->payload_bytes  = store->large_payload;
    stats->metadata_bytes                    = store->metadata;
    stats->empty_bytes                       = store->empty;
    stats->held_bytes                        = store->held;
    stats->lost_bytes                        = store->lost;
    if (store->retiered) stats->payload_bytes += store->retiered->payload;
    for (uint32_t index = 1; index < store->rows; index++) {
        const slab__tier *tier     = &store->tiers[index];
        size_t            capacity = (size_t)tier->slots * tier->slot_size;
        stats->capacity_bytes += capacity;
        stats->retired_bytes += tier->former ? capacity : 0;
        stats->used_bytes += (size_t)tier->occupied * tier->slot_size;
        stats->payload_bytes += tier->payload;
    }
    stats->fragmentation_ratio = slab__ratio(stats->capacity_bytes, stats->used_bytes);
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
