/* fixedpool.h - page-aligned frames at addresses that never change, registered with io_uring once,
 * leased and freed by any thread.
 *
 *     #define FIXEDPOOL_IMPLEMENTATION          // in one C file
 *     #include "fixedpool.h"
 *     #include <stdio.h>
 *     #include <string.h>
 *
 *     int main(void)
 *     {
 *         fixedpool       *pool;
 *         fixedpool_config config = {.frame_count = 256};          // of 64 KiB each
 *
 *         if (fixedpool_create(&pool, &config) != 0) return 1;
 *         int frame = fixedpool_alloc(pool);                       // any thread leases a frame
 *         if (frame < 0) return 1;                                 // -ENOBUFS: none is idle
 *         strcpy(fixedpool_ptr(pool, frame), "hello");
 *         puts(fixedpool_ptr(pool, frame));
 *         fixedpool_free(pool, frame);                             // any thread frees it, once
 *         return fixedpool_destroy(pool);                          // 0: no frame is leased
 *     }
 *
 * With io_uring, after fixedpool_register(pool, ring_fd), this reads a file into a frame:
 *
 *     sqe->opcode    = IORING_OP_READ_FIXED;
 *     sqe->addr      = (uintptr_t)fixedpool_ptr(pool, frame);
 *     sqe->len       = (uint32_t)fixedpool_frame_size(pool);       // or less
 *     sqe->buf_index = fixedpool_buf_index(pool, frame);
 *
 * Include it in any file for the declarations. Macros to define before that:
 *
 *   FIXEDPOOL_IMPLEMENTATION      in one C file: adds the implementation to the declarations
 *   FIXEDPOOL_API                 is placed before each function. "static inline", together with
 *                                 FIXEDPOOL_IMPLEMENTATION in each file, gives the fastest calls
 *   FIXEDPOOL_ASSERT(x)           checks the header's own invariants; default: assert
 *   FIXEDPOOL_MAP(size)           returns zeroed memory aligned to 4096, or NULL; default: mmap
 *   FIXEDPOOL_UNMAP(memory, size) gives such memory back to the system; default: munmap
 *   FIXEDPOOL_SYSCALL(number, a, b, c, d, e, f)
 *                                 makes a system call: -1 and errno on failure; default: syscall
 *
 * Those below FIXEDPOOL_API take effect in the file with FIXEDPOOL_IMPLEMENTATION. Define
 * FIXEDPOOL_MAP together with FIXEDPOOL_UNMAP; then FIXEDPOOL_HUGEPAGES does nothing.
 *
 * Requires Linux, and gcc or clang with C11 or later. The declarations are also C++11. Links with
 * no library. Licence: MIT or Unlicense, at the end of the file.
 */
#ifndef FIXEDPOOL_H
#define FIXEDPOOL_H

#define FIXEDPOOL_VERSION 200 /* 0.2.0: major * 10000 + minor * 100 + patch */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#ifndef FIXEDPOOL_API
#define FIXEDPOOL_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- fixedpool ------------------------------------------------------------------------------
 *
 * Frames of one size. A frame is named by its number, from 0 to frame_count - 1: an int, like a
 * file descriptor, so that one result holds a frame or an error. A lease of a frame begins with any
 * form of alloc, and ends with any form of free.
 *
 * Threads
 *
 *   Any thread calls any function of a pool. A cache belongs to one thread at a time. A frame may
 *   be leased in one way, and freed in another by another thread.
 *
 * Promises
 *
 *   - A frame is leased to one caller at a time. A lease fails only if no frame is idle: frames
 *     that are idle in another thread's cache are found, even if that thread sleeps or was stopped
 *     in the middle of a call. (The frame that it was about to lease or free there counts as
 *     leased; of a batch through a cache, up to 16.)
 *   - alloc and free are lock-free, with and without a cache: no thread waits for another. At no
 *     moment does a thread that is stopped hold up the others, however many there are.
 *   - A second free of a frame returns -EALREADY and changes nothing. Of several frees of one lease
 *     at the same moment, one returns 0, with one exception: if the frame was leased through a
 *     cache, and the cache's thread frees it or notices another thread's free at that very moment,
 *     two may return 0. The frame is idle once all the same. (To tell those two apart takes a
 *     locked instruction in each free: Attiya et al., Laws of Order, POPL 2011.)
 *   - Everything the freeing thread did to a frame happens before the next lessee's first access.
 *   - A thread that sleeps until a frame is free is woken by each way of freeing, in any thread.
 *   - A frame is zero until it is first written. A lease does not clear it: it has the content that
 *     was left in it.
 *
 * Memory
 *
 *   Besides the frames, 4 bytes for each frame, at most 19 KiB, and 0.5 KiB for each cache. On huge
 *   pages the frames take a multiple of 2 MiB.
 *
 * Limitations
 *
 *   - A frame number has no generation: a free that comes too late may end the next caller's lease
 *     of the frame.
 *   - A cache that is not used while other threads take over and leave one of its groups of frames
 *     exactly 2^30 times (43 s of nothing else), and is used then, leases frames that are not its
 *     own.
 *   - A filter of system calls (seccomp) that is installed after create may refuse membarrier(2):
 *     the thread that finds out, in alloc, pauses once for 20 ms, and from then on caches cost as
 *     much as fixedpool_alloc. If it refuses futex(2), sleepers look each millisecond; if only the
 *     freeing thread's filter does, each 100 ms.
 *   - A child after fork has no frames, since a copy must not separate them from the pages that the
 *     device has pinned. It must not use the pool. If the kernel refuses that (MADV_DONTFORK; stats
 *     say inherited), do not fork while frames are registered: before Linux 5.12 I/O could go to a
 *     page that is the child's. */

typedef struct fixedpool       fixedpool;
typedef struct fixedpool_cache fixedpool_cache;
typedef struct fixedpool_ring  fixedpool_ring;

enum {
    FIXEDPOOL_HUGEPAGES = 1u << 0, /* explicit huge pages, else transparent ones, else plain ones */
    FIXEDPOOL_POPULATE  = 1u << 1, /* create faults in every page */
};

typedef struct fixedpool_config {
    uint32_t frame_size;  /* bytes, a multiple of 4096, at most 1 GiB; 0 = 64 KiB */
    uint32_t frame_count; /* 1..65536; 0 is -EINVAL */
    uint32_t flags;       /* FIXEDPOOL_HUGEPAGES, FIXEDPOOL_POPULATE */
} fixedpool_config;

/* The pages that hold the frames. */
enum {
    FIXEDPOOL_PAGES_PLAIN,
    FIXEDPOOL_PAGES_TRANSPARENT, /* huge, as far as the kernel finds some */
    FIXEDPOOL_PAGES_EXPLICIT,    /* huge, from the system's reserve (vm.nr_hugepages) */
};

struct fixedpool_info {
    uint32_t frame_count;
    uint32_t leased;
    uint32_t cached;       /* idle in a thread's cache */
    uint32_t rings;        /* that the pool is registered with */
    uint64_t waits;        /* calls of alloc_wait that had to sleep */
    uint64_t refused;      /* frees that were refused */
    uint32_t caches;       /* open */
    uint32_t pages;        /* FIXEDPOOL_PAGES_... */
    uint32_t buffer_rings; /* open: see fixedpool_ring_open */
    uint32_t waiters;      /* that have a place: see fixedpool_watch */
    uint32_t inherited;    /* 1: a child after fork gets copies of the frames, see Limitations */
};

/* Creates a pool. Returns
 *   0        on success;
 *   -EINVAL  if a pointer is NULL, or a size, count or flag is out of range;
 *   -ENOMEM  if the system has no memory, or the frames exceed the address space.
 * On failure *pool is NULL. */
FIXEDPOOL_API int fixedpool_create(fixedpool **pool, const fixedpool_config *config);

/* Returns the bytes of a frame, or 0 if pool is NULL. Any thread. */
FIXEDPOOL_API size_t fixedpool_frame_size(const fixedpool *pool);

/* -- io_uring -- */

/* Registers the frames with an io_uring, as buffers of at most 1 GiB that consist of whole frames:
 * 65,536 frames of 4 KiB are one buffer. Any thread; but for a ring with
 * IORING_SETUP_SINGLE_ISSUER, the thread that submits to it. Waits while another one registers or
 * unregisters. From Linux 6.12 on all rings share pages that are pinned once, by a small ring of
 * the pool's own, which is one descriptor, and is closed when the last ring is unregistered. Before
 * that, and where the pool can have no ring, each ring pins all frames. Returns
 *   0            on success;
 *   -EEXIST      if the pool is registered with this ring already;
 *   -EPERM       if the ring has SINGLE_ISSUER and another thread submits to it, or a filter of
 *                system calls forbids io_uring;
 *   -EBUSY       if the ring has buffers of another origin;
 *   -ENOMEM      if RLIMIT_MEMLOCK does not cover the frames: raise it (`ulimit -l`, LimitMEMLOCK=
 *                in a systemd unit), or create the ring with CAP_IPC_LOCK, which is not counted;
 *   -ENOSYS      if the kernel has no io_uring: the pool works all the same;
 *   -EOPNOTSUPP  if the descriptor is not an io_uring;
 *   -EBADF       if it is not an open descriptor;
 *   -EINVAL      if there would be more than 16,384 buffers: very many frames above 512 MiB; or if
 *                pool is NULL;
 *   -ENOSPC      if the pool is registered with 1,024 rings that are open, which is the most;
 *   or what io_uring_register(2) reports. On failure nothing has changed. A copy of the descriptor
 * (dup) is the same ring, before and after the first one is closed (Linux 5.16 or later). */
FIXEDPOOL_API int fixedpool_register(fixedpool *pool, int ring_fd);

/* Returns the number of the buffer that a frame lies in, for sqe->buf_index, or 0 if pool is NULL.
 * Any thread. frame must be within 0..frame_count - 1. */
FIXEDPOOL_API uint16_t fixedpool_buf_index(const fixedpool *pool, int frame);

/* Returns how many buffers the frames make up, and fills in at most count iovecs, for a program
 * that registers them by other means. Any thread. iovecs may be NULL. Returns 0 if pool is NULL. */
FIXEDPOOL_API uint32_t fixedpool_iovecs(const fixedpool *pool, struct iovec *iovecs,
                                        uint32_t count);

/* Ends a registration. Any thread, before the ring is closed; but for a ring with
 * IORING_SETUP_SINGLE_ISSUER, the thread that submits to it. Waits as fixedpool_register does.
 * Does not wait for I/O (from Linux 5.13 on): what is in flight goes on, and keeps its pages
 * pinned. Returns
 *   0        on success;
 *   -ENXIO   if the pool is not registered with the ring, or the ring was closed or its buffers
 *            were unregistered before; in the latter cases the pool forgets it;
 *   -EEXIST  if the ring has SINGLE_ISSUER and belongs to another thread. If that thread has ended,
 *            close the ring and call again;
 *   -EINVAL  if pool is NULL;
 *   or what io_uring_register(2) reports. On -EEXIST and other errors it is still registered. */
FIXEDPOOL_API int fixedpool_unregister(fixedpool *pool, int ring_fd);

/* -- Provided buffers --
 *
 * A buffer ring offers frames to io_uring as a group of provided buffers: a request with
 * IOSQE_BUFFER_SELECT and sqe->buf_group takes one when its data is there, so that thousands of
 * connections share a few frames. A buffer's id is the frame's number. The pool need not be
 * registered with the ring, and the frames are not pinned.
 *
 *     fixedpool_ring_open(pool, ring_fd, 7, 64, 0, &r);
 *     fixedpool_ring_refill(r);                     // then submit IORING_OP_RECV, multishot
 *     frame = fixedpool_ring_frame(r, cqe->res, cqe->flags, &data);  // for each completion
 *     fixedpool_ring_recycle(r, frame);             // or any form of free, and later a refill
 *
 * A frame in a buffer ring is leased. fixedpool_ring_frame makes it the caller's lease. */

enum {
    FIXEDPOOL_RING_INCREMENTAL = 1u << 0, /* a frame is filled by several completions, one after the
                                           * other (Linux 6.12) */
};

/* Opens a buffer ring, with no frame in it. entries is how many frames it holds at most: a power of
 * 2, at most 32768. Any thread; but for a ring with IORING_SETUP_SINGLE_ISSUER, the thread that
 * submits to it. Takes 16 bytes for each entry and 4 for each frame of the pool. Returns
 *   0            on success;
 *   -EINVAL      if a pointer is NULL, or entries or a flag is out of range;
 *   -ENOSYS      if the kernel has no buffer rings (before Linux 5.19), or none that are consumed
 *                incrementally (before 6.12), or no io_uring. The pool works all the same;
 *   -EEXIST      if the ring has a group of this number already;
 *   -EPERM       if the ring has SINGLE_ISSUER and another thread submits to it, or a filter of
 *                system calls forbids io_uring;
 *   -ENOMEM      if the system has no memory;
 *   -EOPNOTSUPP  if the descriptor is not an io_uring;
 *   -EBADF       if it is not an open descriptor;
 *   or what io_uring_register(2) reports. On failure *r is NULL. */
FIXEDPOOL_API int fixedpool_ring_open(fixedpool *pool, int ring_fd, uint16_t group,
                                      uint32_t entries, uint32_t flags, fixedpool_ring **r);

/* Leases idle frames into the buffer ring until it is full or no frame is idle. Any thread; lock-
 * free: no thread waits. Makes no system call, except as fixedpool_alloc does. Returns
 *   the number of frames in it, those included whose completions fixedpool_ring_frame has not seen;
 *   0         if another thread is adding frames; that thread looks for idle frames once more
 *             before it returns;
 *   -ENOBUFS  if no frame is in it, and every frame is leased: call again after a free;
 *   -EINVAL   if r is NULL. */
FIXEDPOOL_API int fixedpool_ring_refill(fixedpool_ring *r);

/* Returns the frame that a completion has filled, and sets *data to the first of its cqe->res
 * bytes. From now on the frame is the caller's lease, unless flags has IORING_CQE_F_BUF_MORE: then
 * the kernel goes on to fill it, and the caller may read the bytes, but must not free the frame.
 * For each completion once, in their order; one thread at a time. res and flags are those of the
 * CQE; data may be NULL. Returns
 *   the frame;
 *   -ENODATA  if the completion has no buffer: an error or the end of a stream, for example. After
 *             res -ENOBUFS, refill and submit the request again;
 *   -EINVAL   if the frame is not in this buffer ring, or r is NULL.
 * A completion of a bundle (IORING_RECVSEND_BUNDLE), which has several buffers, is not for it. */
FIXEDPOOL_API int fixedpool_ring_frame(fixedpool_ring *r, int32_t res, uint32_t flags, void **data);

/* Puts a leased frame back into the buffer ring, or frees it if that is full. Any thread; lock-
 * free. While another thread is adding frames, frees it and has that thread look for idle frames
 * once more. Ends the caller's lease. Returns
 *   0          on success;
 *   -EALREADY  if the frame is not leased, or is in this buffer ring;
 *   -EINVAL    if there is no such frame, or r is NULL. */
FIXEDPOOL_API int fixedpool_ring_recycle(fixedpool_ring *r, int frame);

/* Closes a buffer ring and frees the frames in it. Call it after the requests that use the group
 * have ended and their completions were given to fixedpool_ring_frame, before the io_uring is
 * closed, and while no other thread uses r. The thread as in fixedpool_ring_open. Returns
 *   0        on success, also if the io_uring was closed or the group was unregistered before, or r
 *            is NULL;
 *   -EBUSY   if the kernel has filled frames that fixedpool_ring_frame has not seen (noticed from
 *            Linux 6.8 on);
 *   -EPERM   if the ring has SINGLE_ISSUER and another thread submits to it;
 *   or what io_uring_register(2) reports. After an error it is still open. */
FIXEDPOOL_API int fixedpool_ring_close(fixedpool_ring *r);

/* -- Frames -- */

/* Leases a frame. Any thread; lock-free. Returns its number, or -ENOBUFS, but only if every frame
 * is leased; -EINVAL if pool is NULL. Usually costs one compare-exchange; if every frame is leased,
 * looks at all of them. */
FIXEDPOOL_API int fixedpool_alloc(fixedpool *pool);

/* Leases count frames and writes their numbers to frames. Any thread; lock-free. Returns how many
 * it leased: fewer than count only if every frame is leased, or 0 if pool or frames is NULL. Takes
 * up to 16 frames with one compare-exchange, if they lie in one group of 16. */
FIXEDPOOL_API uint32_t fixedpool_alloc_many(fixedpool *pool, int *frames, uint32_t count);

/* Leases a frame, and sleeps until one is free if there is none. Any thread. If timeout_ns is
 * negative, waits for ever. Returns the frame's number, or
 *   -ETIMEDOUT  after timeout_ns nanoseconds;
 *   -ECANCELED  after fixedpool_wake_all;
 *   -EINVAL     if pool is NULL;
 *   -errno      if a filter of system calls refuses both futex(2) and nanosleep(2), or does not let
 *               the C library read the clock: -EPERM, for example.
 *
 * No wake-up is lost, but a thread that is stopped after it freed a frame, and before it woke a
 * sleeper, delays that sleeper by up to 100 ms. One sleeper is woken for each frame that is freed:
 * of those with one priority, about in order of arrival. Another thread may lease the frame before
 * the woken one does, which then sleeps again. */
FIXEDPOOL_API int fixedpool_alloc_wait(fixedpool *pool, int64_t timeout_ns);

/* A waiter is an event loop that cannot sleep in alloc_wait: it has an eventfd, or a futex word for
 * IORING_OP_FUTEX_WAIT (Linux 6.7). Set futex, or eventfd and leave futex NULL; the rest is 0. */
typedef struct fixedpool_waiter {
    int       eventfd; /* 1 is added to it, */
    uint32_t *futex;   /* or if this is not NULL to this, and one private futex waiter is woken */
    void     *place;   /* the pool's */
} fixedpool_waiter;

/* Leases a frame, or, if every frame is leased, has the waiter told when one is free. Any thread,
 * one at a time with each waiter; lock-free. Returns
 *   the frame's number: then the waiter is not told;
 *   -ENOBUFS    if every frame is leased: the waiter will be told, once;
 *   -ECANCELED  if every frame is leased and fixedpool_wake_all was called;
 *   -EINVAL     if a pointer is NULL, the descriptor is negative or the word is not aligned;
 *   -ENOMEM     if the system has no memory for the waiter's place, on the first call.
 * Costs as much as an alloc that finds no frame. If the waiter is to be told already, it keeps its
 * turn.
 *
 * No event is lost: for each frame that is freed, the waiter that has waited longest is told, and
 * one sleeper in alloc_wait is woken, so that neither kind starves the other. Either may find that
 * the frame is leased again. A waiter that was told must call fixedpool_watch again, lease a frame,
 * or call fixedpool_unwatch. It may be told once more than it asked. */
FIXEDPOOL_API int fixedpool_watch(fixedpool *pool, fixedpool_waiter *waiter);

/* Ends a waiter's use of the pool: afterwards the pool does not touch its descriptor or its word.
 * One thread at a time with each waiter. If the waiter was told meanwhile, tells the next one.
 * Waits for a thread that is in the middle of telling it. Does nothing if a pointer is NULL or the
 * waiter has no place. Every waiter must be ended before the pool is destroyed. */
FIXEDPOOL_API void fixedpool_unwatch(fixedpool *pool, fixedpool_waiter *waiter);

/* Ends all waiting, for a shutdown: wakes every sleeper in alloc_wait and tells every waiter. From
 * now on alloc_wait and watch return -ECANCELED where they would wait, so that a thread that comes
 * late does not sleep for ever; idle frames are still leased. Any thread. Returns 0, or -EINVAL if
 * pool is NULL. */
FIXEDPOOL_API int fixedpool_wake_all(fixedpool *pool);

/* Returns the address of a frame, leased or not, or NULL if there is no such frame or pool is NULL.
 * Any thread. */
FIXEDPOOL_API void *fixedpool_ptr(const fixedpool *pool, int frame);

/* Returns the frame that ptr points into, at any byte of it, or -EINVAL if there is none or pool is
 * NULL. Any thread. */
FIXEDPOOL_API int fixedpool_frame_of(const fixedpool *pool, const void *ptr);

/* Frees a frame. Any thread; lock-free. Returns
 *   0          on success;
 *   -EINVAL    if there is no such frame, or pool is NULL;
 *   -EALREADY  if it is not leased.
 * A second free of the same frame returns -EALREADY and changes nothing, unless the frame was
 * leased again (see Limitations). */
FIXEDPOOL_API int fixedpool_free(fixedpool *pool, int frame);

/* Frees count frames. Any thread; lock-free. Returns how many of them were leased; the others are
 * refused, each by itself. Returns 0 if pool or frames is NULL. Frees up to 16 frames with one
 * atomic operation, if they follow each other in the array and lie in one group of 16. */
FIXEDPOOL_API uint32_t fixedpool_free_many(fixedpool *pool, const int *frames, uint32_t count);

/* -- Caches -- */

/* Opens a cache: some frames for one thread, of which at most 128 are idle, that it leases and
 * frees without any locked instruction. Any thread. Returns NULL
 * if the system has no memory, or pool is NULL. A cache may move to another thread as any other
 * data does: through a lock or a queue.
 *
 * A thread that finds no idle frame elsewhere takes one from any cache. Where the kernel has no
 * membarrier(2) (before Linux 4.14), a cache works all the same, at the cost of fixedpool_alloc. */
FIXEDPOOL_API fixedpool_cache *fixedpool_cache_open(fixedpool *pool);

/* Leases and frees a frame, with the results of fixedpool_alloc and fixedpool_free. The cache's
 * thread; lock-free. fixedpool_cache_free accepts any leased frame of the pool. cache must not be
 * NULL. */
FIXEDPOOL_API int fixedpool_cache_alloc(fixedpool_cache *cache);
FIXEDPOOL_API int fixedpool_cache_free(fixedpool_cache *cache, int frame);

/* Leases count frames and writes their numbers to frames; frees count frames. The cache's thread;
 * lock-free. The results are those of fixedpool_alloc_many and fixedpool_free_many. Costs a few
 * plain stores for each frame and one fence of the compiler for up to 16. Frames that another cache
 * or fixedpool_alloc leased are freed up to 16 with one atomic operation, if they follow each other
 * in the array and lie in one group of 16, as frames of one cache_alloc_many do. A thread that is
 * stopped in the middle keeps at most 16 frames from the others. cache must not be NULL. */
FIXEDPOOL_API uint32_t fixedpool_cache_alloc_many(fixedpool_cache *cache, int *frames,
                                                  uint32_t count);
FIXEDPOOL_API uint32_t fixedpool_cache_free_many(fixedpool_cache *cache, const int *frames,
                                                 uint32_t count);

/* Leases a frame as fixedpool_cache_alloc does, and as fixedpool_alloc_wait if there is none, with
 * its results. The cache's thread. cache must not be NULL. */
FIXEDPOOL_API int fixedpool_cache_alloc_wait(fixedpool_cache *cache, int64_t timeout_ns);

/* Closes a cache. The cache's thread. Idle frames of the cache
 * become idle frames of the pool. Frames that were leased through it stay leased. Does nothing if
 * cache is NULL. */
FIXEDPOOL_API void fixedpool_cache_close(fixedpool_cache *cache);

/* -- The pool -- */

/* Fills in *stats. Any thread; waits for nothing. Exact if no other thread is
 * inside a call. If pool is NULL, all fields are 0. Does nothing if stats is NULL. Looks at each
 * group of frames. */
FIXEDPOOL_API void fixedpool_stats(const fixedpool *pool, struct fixedpool_info *stats);

/* Destroys a pool. Any thread, while no other thread is inside a call, and after all I/O on frames
 * is done: a ring that was unregistered or closed may still read into them. Returns
 *   0       on success;
 *   -EBUSY  if a frame is leased, a cache or a buffer ring is open, a ring is registered or a
 *           waiter has a place: then the pool is unchanged.
 * Does nothing and returns 0 if pool is NULL. */
FIXEDPOOL_API int fixedpool_destroy(fixedpool *pool);

#ifdef __cplusplus
}
#endif
#endif /* FIXEDPOOL_H */

/* ======== FIXEDPOOL_IMPLEMENTATION ========================================================== */

#if defined FIXEDPOOL_IMPLEMENTATION && !defined FIXEDPOOL__IMPLEMENTED
#define FIXEDPOOL__IMPLEMENTED

/* ---- prelude: language ---- */

#ifdef __cplusplus
#error "fixedpool.h: define FIXEDPOOL_IMPLEMENTATION in a C file; C++ gets the declarations"
#endif

/* ---- includes ---- */

#include <errno.h>
#include <limits.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- prelude: assert ---- */

#ifndef FIXEDPOOL_ASSERT
#include <assert.h>
#define FIXEDPOOL_ASSERT(condition) assert(condition)
#endif

/* ---- prelude: kernel ----
 *
 * In a strict build (-std=c11) a C library hides names, and each hides others. An #ifdef on a
 * hidden name would turn a feature off silently. So this header declares hidden calls under its
 * own names, which cannot repeat a declaration of the C library, and gives the kernel's numbers,
 * which are the same on every processor but two. */

#if defined __alpha__ || defined __hppa__
#error "fixedpool.h: alpha and parisc number the advice of madvise differently"
#endif

#include <sys/mman.h>
#ifndef MAP_ANONYMOUS /* hidden by glibc, but not by the kernel's header */
#include <asm/mman.h>
#endif

int fixedpool__madvise(void *memory, size_t size, int advice) __asm__("madvise");

enum {
    FIXEDPOOL__MADV_DONTNEED       = 4,
    FIXEDPOOL__MADV_DONTFORK       = 10,
    FIXEDPOOL__MADV_DOFORK         = 11,
    FIXEDPOOL__MADV_HUGEPAGE       = 14,
    FIXEDPOOL__MADV_NOHUGEPAGE     = 15,
    FIXEDPOOL__MADV_POPULATE_READ  = 22, /* this and the next: since Linux 5.14 */
    FIXEDPOOL__MADV_POPULATE_WRITE = 23,
};

/* ---- prelude: memory ---- */

#if defined FIXEDPOOL_MAP != defined FIXEDPOOL_UNMAP
#error "fixedpool.h: define FIXEDPOOL_MAP and FIXEDPOOL_UNMAP, or neither"
#endif
#ifdef FIXEDPOOL_MAP
#define FIXEDPOOL__MAPS_ITSELF 0
#else
#define FIXEDPOOL__MAPS_ITSELF        1
#define FIXEDPOOL_MAP(size)           fixedpool__map(size, 0)
#define FIXEDPOOL_UNMAP(memory, size) fixedpool__unmap(memory, size)
#endif

/* Maps zeroed memory. Returns NULL on failure. */
static inline void *fixedpool__map(size_t size, int flags)
{
    const int access = PROT_READ | PROT_WRITE;
    void     *memory = mmap(NULL, size, access, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

/* Unmaps memory. Where that would split a mapping and vm.max_map_count allows no more mappings, it
 * fails: then the pages go back to the system, unless they are locked; the addresses are lost. */
static inline void fixedpool__unmap(void *memory, size_t size)
{
    if (munmap(memory, size) != 0) (void)fixedpool__madvise(memory, size, FIXEDPOOL__MADV_DONTNEED);
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
#define FIXEDPOOL__ASAN
#elif defined __has_feature
#if __has_feature(address_sanitizer)
#define FIXEDPOOL__ASAN
#endif
#endif
#if defined FIXEDPOOL__ASAN
#include <sanitizer/asan_interface.h>
#define FIXEDPOOL__POISONS             1
#define FIXEDPOOL__HIDE(memory, size)  __asan_poison_memory_region(memory, size)
#define FIXEDPOOL__SHOW(memory, size)  __asan_unpoison_memory_region(memory, size)
#define FIXEDPOOL__FRESH(memory, size) __asan_unpoison_memory_region(memory, size)
#elif defined VALGRIND_MAKE_MEM_NOACCESS && !defined NVALGRIND
#define FIXEDPOOL__POISONS             RUNNING_ON_VALGRIND
#define FIXEDPOOL__HIDE(memory, size)  ((void)VALGRIND_MAKE_MEM_NOACCESS(memory, size))
#define FIXEDPOOL__SHOW(memory, size)  ((void)VALGRIND_MAKE_MEM_DEFINED(memory, size))
#define FIXEDPOOL__FRESH(memory, size) ((void)VALGRIND_MAKE_MEM_UNDEFINED(memory, size))
#else
#define FIXEDPOOL__HIDE(memory, size)  ((void)0)
#define FIXEDPOOL__SHOW(memory, size)  ((void)0)
#define FIXEDPOOL__FRESH(memory, size) ((void)0)
#endif

/* ---- prelude: poison lock ----
 *
 * In builds with poison, and only there, this lock keeps one thread's poisoning of a block that it
 * gives back apart from the unpoisoning by the block's next owner. There is one lock in a process,
 * even if several files compile this header's implementation. */

#ifdef FIXEDPOOL__POISONS
#include <sched.h>
__attribute__((weak)) _Atomic(uint32_t) fixedpool__poison_lock;

static void fixedpool__poison_enter(void)
{
    if (!FIXEDPOOL__POISONS) return;
    /* acquire, pairs with the release in fixedpool__poison_leave. */
    while (atomic_exchange_explicit(&fixedpool__poison_lock, 1, memory_order_acquire))
        sched_yield();
}

static void fixedpool__poison_leave(void)
{
    /* release, pairs with the acquire in fixedpool__poison_enter. */
    if (FIXEDPOOL__POISONS) atomic_store_explicit(&fixedpool__poison_lock, 0, memory_order_release);
}
#else
#define fixedpool__poison_enter() ((void)0)
#define fixedpool__poison_leave() ((void)0)
#endif

/* ---- prelude: compiler ---- */

#define FIXEDPOOL__COLD      __attribute__((cold, noinline))
#define FIXEDPOOL__HOT       __attribute__((always_inline)) inline
#define FIXEDPOOL__APART     __attribute__((noinline))
#define FIXEDPOOL__LIKELY(x) __builtin_expect(!!(x), 1)

/* ---- prelude: system call ---- */

#include <sys/syscall.h>

long fixedpool__syscall(long number, ...) __asm__("syscall");

#ifndef FIXEDPOOL_SYSCALL /* tests define it, to let a call fail */
#define FIXEDPOOL_SYSCALL(number, a, b, c, d, e, f) \
    fixedpool__syscall(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#endif

/* ---- prelude: fence ----
 *
 * A fence in two unequal halves. The light half, on the fast paths of a cache's thread, only keeps
 * the compiler from reordering. The heavy half has the kernel run a full fence on each processor
 * that runs a thread of this process. A light half and a heavy half order accesses as two seq_cst
 * fences do. (The model checker does not know membarrier(2), so it is given two such fences.) */

enum {
    FIXEDPOOL__MEMBARRIER       = 1 << 3, /* private expedited */
    FIXEDPOOL__MEMBARRIER_READY = 1 << 4, /* registers for it */
};

#ifndef FIXEDPOOL_LIGHT_FENCE
#define FIXEDPOOL_LIGHT_FENCE() atomic_signal_fence(memory_order_seq_cst)
#endif
#ifndef FIXEDPOOL_HEAVY_FENCE /* false: the kernel refuses it, as a sandbox may at any time */
#define FIXEDPOOL_HEAVY_FENCE() \
    (FIXEDPOOL_SYSCALL(SYS_membarrier, FIXEDPOOL__MEMBARRIER, 0, 0, 0, 0, 0) == 0)
#endif

/* ---- io_uring, futexes and clocks ---- */

/* A time as the C library and the kernel have it under names without 64. A strict build hides these
 * functions. They are the library's, not system calls: it reads the clock without the kernel. */
typedef struct fixedpool__time {
    long seconds, nanoseconds;
} fixedpool__time;

int fixedpool__clock_gettime(int clock, fixedpool__time *now) __asm__("clock_gettime");
int fixedpool__nanosleep(const fixedpool__time *time, fixedpool__time *rest) __asm__("nanosleep");

enum { /* Linux's numbers, on every processor; old headers lack some of them */
    FIXEDPOOL__IO_URING_SETUP     = 425,
    FIXEDPOOL__IO_URING_REGISTER  = 427,
    FIXEDPOOL__REGISTER_BUFFERS   = 0,
    FIXEDPOOL__UNREGISTER_BUFFERS = 1,
    FIXEDPOOL__REGISTER_GROUP     = 22, /* IORING_REGISTER_PBUF_RING, and so on */
    FIXEDPOOL__UNREGISTER_GROUP   = 23,
    FIXEDPOOL__GROUP_STATUS       = 26,
    FIXEDPOOL__GROUP_INCREMENTAL  = 2, /* IOU_PBUF_RING_INC */
    FIXEDPOOL__CQE_BUFFER         = 1 << 0,
    FIXEDPOOL__CQE_BUF_MORE       = 1 << 4,
    FIXEDPOOL__CLONE_BUFFERS      = 30,
    FIXEDPOOL__MAP_HUGE_2MB       = 21 << 26,
    FIXEDPOOL__FUTEX_WAIT         = 0 | 128, /* private */
    FIXEDPOOL__FUTEX_WAKE         = 1 | 128,
    FIXEDPOOL__MONOTONIC          = 1,
};

/* ---- How it works ----
 *
 * Frames come in groups of sixteen (fewer in a small pool, so that there are groups to go round).
 * All that is known of a group is in one cache line:
 *
 *    shared   | turn: 32 bits | returned: 16 | taken: 16 |   changed by atomic operations
 *    lent     a byte for each frame                          changed by the group's owner alone
 *
 * A group without an owner is everybody's: alloc sets a bit in taken, free clears it. Either is one
 * atomic operation, and one that finds the bit cleared already is the second free. Nothing can be
 * taken for something else here: the bit is the state and the free list in one.
 *
 * A cache becomes the owner of whole groups and has them for itself: it lends a frame by setting
 * its byte in lent, a plain store, and takes it back by clearing that. A lent frame that is freed
 * elsewhere gets a bit in returned; the owner clears both when it comes by. So in such a group
 *
 *    a frame is idle  <=>  it is not taken, and it is not lent or was returned
 *
 *    no owner   turn 4n      alloc: taken = 1     free: taken = 0
 *      | ^
 *      | | leave        <--- the cache has enough other groups, or is closed: a frame that is lent
 *      | |                   and not returned becomes taken, in the same atomic operation
 *      v | adopt
 *    owned      turn 4n + 1  lend: lent = 1       free: lent = 0; elsewhere: returned = 1
 *      |
 *      | revoke         <--- somebody finds no idle frame but here
 *      v
 *    revoked    turn 4n + 2  the owner lends no more; the thread that revoked it leaves it instead,
 *                            unless the owner may be in the middle of a call on it
 *
 * Nothing is ever moved from one place to another, so there is no moment in which an idle frame is
 * in neither.
 *
 * The owner says which frame it is about to lend or take back (busy), then looks whether the group
 * is still its own, and then does it. A thread that revokes the group changes the turn, and then
 * looks what the owner is busy with. Store and load cross, so one sees the other: a fence on both
 * sides, which is light for the owner and heavy for the other thread. The frame that the owner is
 * busy with is left alone; all others can be taken at once. So nobody waits, not even for a thread
 * that is stopped.
 *
 * Alloc says that no frame is idle only after it looked at every group while no frame became idle:
 * it counts itself among the watchers; a thread that makes a frame idle then looks for watchers,
 * and if there are some counts up events. Those two cross as well. Waiters are watchers that sleep
 * on events. */

enum {
    FIXEDPOOL__LINE        = 64,
    FIXEDPOOL__FRAME_ALIGN = 4096,
    FIXEDPOOL__GROUP_SHIFT = 4,  /* log2: sixteen frames */
    FIXEDPOOL__GROUPS      = 16, /* at least, if there are as many frames */
    FIXEDPOOL__SLOTS       = 8,  /* groups that a cache owns at most */
    FIXEDPOOL__SEATS       = 32, /* in a block */
    FIXEDPOOL__MISSES      = 4,  /* hints followed in vain before they are cleared */
    FIXEDPOOL__RINGS       = 1024,
    FIXEDPOOL__ENTRIES     = 32768, /* of a buffer ring */
    FIXEDPOOL__HUGE        = 2 << 20,
    FIXEDPOOL__BUFFER_MAX  = 1 << 30, /* bytes, the kernel's */
    FIXEDPOOL__NONE        = -1,

    FIXEDPOOL__PAUSE_NS = 20 * 1000 * 1000,  /* in a heavy fence's place */
    FIXEDPOOL__SPINS    = 100 * 1000 * 1000, /* in that pause's place: 20 ms or more */
    FIXEDPOOL__SLEEP_NS = 100 * 1000 * 1000, /* a sleeper looks at events at least so often, */
    FIXEDPOOL__POLL_NS  = 1000 * 1000,       /* and so often if the kernel refuses futexes */

    FIXEDPOOL__UNOWNED = 0, /* turn % 4 */
    FIXEDPOOL__OWNED   = 1,
    FIXEDPOOL__REVOKED = 2,
    FIXEDPOOL__NEVER   = 3, /* no group's */
};

/* In busy, beside a frame + 1: no frame, but something with the whole group of this one. Or several
 * frames of one group: BATCH | group << 16 | bits. */
#define FIXEDPOOL__WHOLE (UINT32_C(1) << 31)
#define FIXEDPOOL__BATCH (UINT32_C(1) << 30)

/* Sixteen frames, or fewer: then the others are taken for ever. */
typedef struct fixedpool__group {
    alignas(FIXEDPOOL__LINE) _Atomic(uint64_t) shared;
    _Atomic(uint64_t) owner; /* the turn in which it became that << 32 | seat * SLOTS + slot. If
                              * it is another turn than shared's, nothing is lent yet */
    _Atomic(uint8_t) lent[1 << FIXEDPOOL__GROUP_SHIFT];
} fixedpool__group;

/* Of a cache or a waiter: what others look at. A seat is never given back before the pool is, so
 * that it may be looked at after its cache was closed. */
typedef struct fixedpool__seat {
    alignas(FIXEDPOOL__LINE) _Atomic(uint32_t) busy; /* frame + 1 that it is about to lend or take
                                                      * back, or WHOLE; 0 = nothing */
    uint32_t            number;                      /* 1 .. */
    _Atomic(uint64_t)   bell;                        /* a waiter's: see there */
    _Atomic(int)        eventfd;
    _Atomic(uint32_t *) futex;
} fixedpool__seat;

typedef struct fixedpool__seats {
    fixedpool__seat seats[FIXEDPOOL__SEATS];
    _Atomic(struct fixedpool__seats *) next;
    _Atomic(uint32_t) occupied; /* seats that a cache has: bits */
} fixedpool__seats;

typedef struct fixedpool__ring {
    int      fd;
    uint32_t device; /* this and the next tell it from another ring that has its number later */
    uint64_t inode;
} fixedpool__ring;

struct fixedpool {
    /* Constant after create, but for unfenced, which becomes 1 at most once. */
    alignas(FIXEDPOOL__LINE) unsigned char *frames;
    uint32_t          frame_size;
    uint32_t          frame_count;
    uint32_t          group_shift; /* log2 of the frames in a group */
    uint32_t          group_mask;  /* bits of a frame's index that say which in its group */
    uint32_t          group_count;
    uint32_t          span;       /* frames in a registered buffer */
    uint32_t          pages;      /* FIXEDPOOL_PAGES_... */
    bool              has_fences; /* the kernel had membarrier then */
    bool              inherited;  /* the kernel refused MADV_DONTFORK */
    _Atomic(uint32_t) unfenced;   /* it has none now: caches adopt no groups */
    size_t            size;       /* of the pool itself */
    size_t            frames_size;

    /* Any thread. */
    alignas(FIXEDPOOL__LINE) _Atomic(uint32_t) watchers; /* threads that look at everything */
    _Atomic(uint32_t) sleepers;                          /* of them, on the futex */
    _Atomic(uint32_t) events;                            /* the futex */
    _Atomic(uint32_t) turns;                             /* that waiters have had */
    _Atomic(uint32_t) canceled;                          /* nobody waits any more */

    alignas(FIXEDPOOL__LINE) _Atomic(uint64_t) waits;
    _Atomic(uint64_t) refused;

    _Atomic(uint32_t)           buffer_rings;
    _Atomic(uint32_t)           waiters;
    _Atomic(uint32_t)           caches;
    _Atomic(fixedpool__seats *) seats; /* blocks, each published when it is complete */

    /* Under the lock, but for reading registered. */
    alignas(FIXEDPOOL__LINE) _Atomic(uint32_t) lock;
    _Atomic(uint32_t)           registered; /* ring_count, for stats */
    uint32_t                    ring_count;
    fixedpool__ring             donor; /* the pool's own ring, or fd -1 */
    fixedpool__ring             rings[FIXEDPOOL__RINGS];

    /* Bit g: group g may have an idle frame and no owner. Set by who makes it so; cleared by who
     * looked and found that it is not. Says where to look first, and no more. */
    alignas(FIXEDPOOL__LINE) _Atomic(uint32_t) hints[65536 / 16 / 32];

    alignas(FIXEDPOOL__LINE) fixedpool__group groups[];
};

/* A group that a cache owns, or owned until somebody revoked it. */
typedef struct fixedpool__slot {
    fixedpool__group *group; /* NULL: the slot is free */
    uint32_t          turn;  /* in which the cache became the owner */
    uint32_t          first; /* the group's first frame */
    uint32_t          idle;  /* frames to lend, as far as the cache knows: bits */
    uint32_t          taken; /* frames that are taken, as far as it knows */
} fixedpool__slot;

struct fixedpool_cache {
    fixedpool__slot  now;    /* what it lends from: a copy of one of the slots */
    uint32_t         last;   /* idle, too, and lent first: the frame freed last, + 1; 0 = none. A
                              * free and an alloc have little to wait for so: 2.9 ns for 4.2 */
    uint32_t         at;     /* the slot's index */
    uint32_t         number; /* the seat's */
    uint32_t         group_mask;
    fixedpool__seat *seat;
    fixedpool       *pool;
    fixedpool__slot  slots[FIXEDPOOL__SLOTS];
};

_Static_assert(sizeof(fixedpool__group) == FIXEDPOOL__LINE, "a group's state is one line");
_Static_assert(ATOMIC_INT_LOCK_FREE == 2 && ATOMIC_LLONG_LOCK_FREE == 2, "lock-free is meant");
_Static_assert((unsigned)FIXEDPOOL__UNOWNED == 0, "a pool of zeros is everybody's");

/* -- Helpers -- */

static inline uint32_t fixedpool__turn(uint64_t shared) { return (uint32_t)(shared >> 32); }
static inline uint32_t fixedpool__state(uint64_t shared) { return (uint32_t)(shared >> 32) & 3; }
static inline uint32_t fixedpool__taken(uint64_t shared) { return (uint16_t)shared; }
static inline uint32_t fixedpool__returned(uint64_t shared) { return (uint16_t)(shared >> 16); }
/* The same masks, or the same number, in another turn. */
static inline uint64_t fixedpool__with_turn(uint64_t shared, uint32_t turn)
{
    return (uint64_t)turn << 32 | (uint32_t)shared;
}

/* The turn in which the group has no owner, after the one that the word has. */
static inline uint32_t fixedpool__next_turn(uint64_t shared)
{
    return (fixedpool__turn(shared) & ~UINT32_C(3)) + 4;
}

/* The turn of the owner that the group has, or had before it was revoked. */
static inline uint32_t fixedpool__owners_turn(uint64_t shared)
{
    return (fixedpool__turn(shared) & ~UINT32_C(3)) + FIXEDPOOL__OWNED;
}

/* The word of a group when its owner is gone: what it lent is taken. */
static inline uint64_t fixedpool__left(uint64_t shared, uint32_t lent)
{
    uint32_t taken = fixedpool__taken(shared) | (lent & ~fixedpool__returned(shared));
    return (uint64_t)fixedpool__next_turn(shared) << 32 | taken;
}

static inline uint32_t fixedpool__idle(uint64_t shared, uint32_t lent)
{
    return ~fixedpool__taken(shared) & (~lent | fixedpool__returned(shared)) & 0xffff;
}

/* Whether a group with this word has an idle frame and no owner. */
static inline bool fixedpool__is_free(uint64_t shared)
{
    return fixedpool__state(shared) == FIXEDPOOL__UNOWNED && fixedpool__idle(shared, 0) != 0;
}

static inline uint32_t fixedpool__first_bit(uint32_t bits) { return bits & (0 - bits); }
static inline uint32_t fixedpool__index(uint32_t bit) { return (uint32_t)__builtin_ctz(bit); }
static inline uint32_t fixedpool__count(uint32_t bits)
{
    bits -= bits >> 1 & 0x55555555;
    bits = (bits & 0x33333333) + (bits >> 2 & 0x33333333);
    return ((bits + (bits >> 4)) & 0x0f0f0f0f) * UINT32_C(0x01010101) >> 24;
}

static inline uint32_t fixedpool__group_of(const fixedpool *pool, uint32_t frame)
{
    return frame >> pool->group_shift;
}

static inline uint32_t fixedpool__offset_of(const fixedpool *pool, uint32_t frame)
{
    return frame & pool->group_mask;
}

/* Where a frame of the pool lies. */
static inline unsigned char *fixedpool__at(const fixedpool *pool, uint32_t frame)
{
    return pool->frames + (size_t)frame * pool->frame_size;
}

/* The frame of the lowest bit. */
static inline uint32_t fixedpool__frame(const fixedpool *pool, uint32_t group, uint32_t bits)
{
    return (group << pool->group_shift) + fixedpool__index(bits);
}

static FIXEDPOOL__COLD int fixedpool__refuse(fixedpool *pool, uint32_t count, int error)
{
    /* relaxed: a count; nobody concludes anything from it. */
    atomic_fetch_add_explicit(&pool->refused, count, memory_order_relaxed);
    return error;
}

/* -- Poison --
 *
 * A frame must be known to be leased before it is hidden, and be hidden before somebody leases it
 * again. So in builds with poison, and only there, a lock is held around a free and its hiding, and
 * around the showing of a lease: the showing comes last, since the lease came after the free. What
 * the kernel writes for io_uring is not checked. */

#ifdef FIXEDPOOL__POISONS
static void fixedpool__hide(const fixedpool *pool, uint32_t group, uint32_t bits)
{
    for (; bits; bits &= bits - 1)
        FIXEDPOOL__HIDE(fixedpool__at(pool, fixedpool__frame(pool, group, bits)), pool->frame_size);
}
static void fixedpool__show(const fixedpool *pool, uint32_t group, uint32_t bits)
{
    fixedpool__poison_enter();
    for (; bits; bits &= bits - 1)
        FIXEDPOOL__SHOW(fixedpool__at(pool, fixedpool__frame(pool, group, bits)), pool->frame_size);
    fixedpool__poison_leave();
}
static void fixedpool__hide_all(const fixedpool *pool)
{
    FIXEDPOOL__HIDE(pool->frames, (size_t)pool->frame_size * pool->frame_count);
}
static void fixedpool__show_all(const fixedpool *pool)
{
    FIXEDPOOL__SHOW(pool->frames, (size_t)pool->frame_size * pool->frame_count);
}
#else
#define fixedpool__hide(pool, group, bits) ((void)(pool))
#define fixedpool__show(pool, group, bits) ((void)(pool))
#define fixedpool__hide_all(pool)          ((void)(pool))
#define fixedpool__show_all(pool)          ((void)(pool))
#endif

/* -- Create -- */

/* Whether the config is one; fills in the default. */
static bool fixedpool__shape(const fixedpool_config *config, uint32_t *frame_size)
{
    if (!config || config->frame_count == 0 || config->frame_count > 65536) return false;
    if (config->flags & ~(uint32_t)(FIXEDPOOL_HUGEPAGES | FIXEDPOOL_POPULATE)) return false;
    *frame_size = config->frame_size ? config->frame_size : 64 * 1024;
    return *frame_size % FIXEDPOOL__FRAME_ALIGN == 0 && *frame_size <= FIXEDPOOL__BUFFER_MAX;
}

/* size bytes aligned to a huge page, transparent ones asked for. NULL: it cannot. */
static unsigned char *fixedpool__map_transparent(size_t size)
{
    unsigned char *memory = (unsigned char *)fixedpool__map(size + FIXEDPOOL__HUGE, 0);
    if (!memory) return NULL;

    size_t before = (FIXEDPOOL__HUGE - (uintptr_t)memory % FIXEDPOOL__HUGE) % FIXEDPOOL__HUGE;
    if (before > 0) munmap(memory, before);
    munmap(memory + before + size, FIXEDPOOL__HUGE - before);
    memory += before;
    if (fixedpool__madvise(memory, size, FIXEDPOOL__MADV_HUGEPAGE) == 0) return memory;
    munmap(memory, size);
    return NULL;
}

/* The memory below the frames, on the best pages there are. False: there is none. */
static bool fixedpool__map_frames(fixedpool *pool, uint32_t flags)
{
    size_t size   = (size_t)pool->frame_size * pool->frame_count;
    size_t huge   = (size + FIXEDPOOL__HUGE - 1) & ~(size_t)(FIXEDPOOL__HUGE - 1);
    void  *memory = NULL;

    if (FIXEDPOOL__MAPS_ITSELF && flags & FIXEDPOOL_HUGEPAGES) {
        pool->frames_size = huge;
        pool->pages       = FIXEDPOOL_PAGES_EXPLICIT;
        memory            = fixedpool__map(huge, MAP_HUGETLB | FIXEDPOOL__MAP_HUGE_2MB);
        if (!memory) {
            pool->pages = FIXEDPOOL_PAGES_TRANSPARENT;
            memory      = fixedpool__map_transparent(huge);
        }
    }
    if (!memory) {
        pool->frames_size = size;
        pool->pages       = FIXEDPOOL_PAGES_PLAIN;
        memory            = FIXEDPOOL_MAP(size);
    }
    pool->frames = (unsigned char *)memory;
    return memory != NULL;
}

/* Faults every page in. False: there is no memory for that. */
static bool fixedpool__populate(const fixedpool *pool)
{
    if (fixedpool__madvise(pool->frames, pool->frames_size, FIXEDPOOL__MADV_POPULATE_WRITE) == 0)
        return true;
    if (errno != EINVAL) return false;
    /* Before Linux 5.14. */
    for (size_t at = 0; at < pool->frames_size; at += FIXEDPOOL__FRAME_ALIGN)
        *(volatile unsigned char *)(pool->frames + at) = 0;
    return true;
}

static void fixedpool__make_groups(fixedpool *pool)
{
    uint32_t rest = pool->frame_count;

    /* relaxed: nobody else has the pool yet. */
    for (uint32_t index = 0; index < pool->group_count; index++) {
        uint32_t size   = UINT32_C(1) << pool->group_shift;
        uint32_t frames = rest < size ? rest : size, none = 0xffff & ~((UINT32_C(1) << frames) - 1);
        atomic_store_explicit(&pool->groups[index].shared, none, memory_order_relaxed);
        atomic_fetch_or_explicit(&pool->hints[index / 32], UINT32_C(1) << index % 32,
                                 memory_order_relaxed);
        rest -= frames;
    }
}

FIXEDPOOL_API int fixedpool_create(fixedpool **pool, const fixedpool_config *config)
{
    uint32_t frame_size, shift = FIXEDPOOL__GROUP_SHIFT;

    if (!pool) return -EINVAL;
    *pool = NULL;
    if (!fixedpool__shape(config, &frame_size)) return -EINVAL;
    if (SIZE_MAX / 2 / frame_size < config->frame_count) return -ENOMEM;

    while (shift > 0 && config->frame_count >> shift < FIXEDPOOL__GROUPS) shift--;
    uint32_t   group_count = ((config->frame_count - 1) >> shift) + 1;
    size_t     size        = sizeof(fixedpool) + group_count * sizeof(fixedpool__group);
    fixedpool *made        = (fixedpool *)FIXEDPOOL_MAP(size);
    if (!made) return -ENOMEM;
    made->size        = size;
    made->frame_size  = frame_size;
    made->frame_count = config->frame_count;
    made->group_shift = shift;
    made->group_mask  = (UINT32_C(1) << shift) - 1;
    made->group_count = group_count;
    made->span        = FIXEDPOOL__BUFFER_MAX / frame_size;
    made->donor.fd    = FIXEDPOOL__NONE;
    fixedpool__make_groups(made);
    if (!fixedpool__map_frames(made, config->flags)) {
        FIXEDPOOL_UNMAP(made, size);
        return -ENOMEM;
    }
    made->inherited =
        fixedpool__madvise(made->frames, made->frames_size, FIXEDPOOL__MADV_DONTFORK) != 0;
    if (config->flags & FIXEDPOOL_POPULATE && !fixedpool__populate(made)) {
        FIXEDPOOL_UNMAP(made->frames, made->frames_size);
        FIXEDPOOL_UNMAP(made, size);
        return -ENOMEM;
    }
    made->has_fences =
        FIXEDPOOL_SYSCALL(SYS_membarrier, FIXEDPOOL__MEMBARRIER_READY, 0, 0, 0, 0, 0) == 0;
    /* relaxed: nobody else has the pool yet. */
    atomic_store_explicit(&made->unfenced, !made->has_fences, memory_order_relaxed);
    fixedpool__hide_all(made);
    *pool = made;
    return 0;
}

/* Whether there is such a frame. In the API a frame is an int, like a file descriptor; here it is
 * unsigned, so that a negative one is out of range. */
static inline bool fixedpool__is_frame(const fixedpool *pool, int frame)
{
    return pool && (uint32_t)frame < pool->frame_count;
}

FIXEDPOOL_API void *fixedpool_ptr(const fixedpool *pool, int frame)
{
    return fixedpool__is_frame(pool, frame) ? fixedpool__at(pool, (uint32_t)frame) : NULL;
}

FIXEDPOOL_API int fixedpool_frame_of(const fixedpool *pool, const void *ptr)
{
    if (!pool) return -EINVAL;
    uintptr_t offset = (uintptr_t)ptr - (uintptr_t)pool->frames; /* huge if ptr lies below */
    uintptr_t frame  = offset / pool->frame_size;
    return frame < pool->frame_count ? (int)frame : -EINVAL;
}

FIXEDPOOL_API size_t fixedpool_frame_size(const fixedpool *pool)
{
    return pool ? pool->frame_size : 0;
}

/* ---- bell: waiters of event loops, and how they are told ----
 *
 * A waiter has a seat, as a cache has. What others know of it is one word there:
 *
 *    bell   | turn: 32 bits | armed: 1 | ringers: 31 |
 *
 * watch arms the bell, counts a watcher, and then looks at every group. A thread that frees a frame
 * sees a watcher, or the look sees the frame: these cross as in "Look at everything". Of the armed
 * bells the thread takes the one with the lowest turn, and in one compare-exchange disarms it and
 * counts itself among its ringers; it writes to the eventfd, and counts itself out. So
 *
 *    a bell is rung once for each time that it was armed
 *    the descriptor and the word are in use  <=>  there are ringers
 *
 * and unwatch, which disarms the bell, only waits while there are ringers. A bell may be armed
 * again before its ringer has counted itself out. Each frame that is freed rings one bell and wakes
 * one sleeper: this needs no common queue, and a waiter that has no use for the frame deprives no
 * sleeper of it. A waiter that leaves passes what it was told to the next bell. */

#define FIXEDPOOL__ARMED (UINT64_C(1) << 31)

static void fixedpool__unwatch(fixedpool *pool)
{
    /* relaxed: who still sees us watch tells in vain. */
    atomic_fetch_sub_explicit(&pool->watchers, 1, memory_order_relaxed);
}

/* The armed bell with the lowest turn, and its word; NULL: none is armed. */
static fixedpool__seat *fixedpool__bell_next(const fixedpool *pool, uint64_t *word)
{
    fixedpool__seat *found = NULL;
    /* acquire, pairs with the acq_rel in fixedpool__new_seats: the block is complete. */
    fixedpool__seats *seats = atomic_load_explicit(&pool->seats, memory_order_acquire);

    while (seats) {
        for (uint32_t i = 0; i < FIXEDPOOL__SEATS; i++) {
            /* relaxed: the compare-exchange looks again. Armed before the watcher was counted that
               we saw, it is seen. */
            uint64_t bell = atomic_load_explicit(&seats->seats[i].bell, memory_order_relaxed);
            if (!(bell & FIXEDPOOL__ARMED)) continue;
            if (found && (int32_t)((uint32_t)(bell >> 32) - (uint32_t)(*word >> 32)) > 0) continue;
            found = &seats->seats[i];
            *word = bell;
        }
        /* acquire, pairs with the acq_rel in fixedpool__new_seats, as above. */
        seats = atomic_load_explicit(&seats->next, memory_order_acquire);
    }
    return found;
}

/* Tells a waiter. */
static void fixedpool__bell_strike(fixedpool__seat *seat)
{
    const uint64_t one = 1;
    /* relaxed, both: armed after they were set. */
    uint32_t *futex = atomic_load_explicit(&seat->futex, memory_order_relaxed);
    int       fd    = atomic_load_explicit(&seat->eventfd, memory_order_relaxed);

    if (futex) {
        /* release, pairs with the acquire in fixedpool__bell_disarm, whose caller has read the word
           then: the frame is idle before. */
        atomic_fetch_add_explicit((_Atomic(uint32_t) *)(void *)futex, 1, memory_order_release);
        (void)FIXEDPOOL_SYSCALL(SYS_futex, futex, FIXEDPOOL__FUTEX_WAKE, 1, 0, 0, 0);
    } else {
        (void)FIXEDPOOL_SYSCALL(SYS_write, fd, &one, sizeof one, 0, 0, 0); /* EAGAIN: it is full */
    }
    /* release, pairs with the acquire in fixedpool_unwatch: we have no more to do with it. */
    atomic_fetch_sub_explicit(&seat->bell, 1, memory_order_release);
}

/* Tells at most count waiters. */
static void fixedpool__bell_ring(fixedpool *pool, uint32_t count)
{
    fixedpool__seat *seat;
    uint64_t         bell = 0;

    while (count > 0 && (seat = fixedpool__bell_next(pool, &bell)) != NULL) {
        /* acq_rel. As acquire, pairs with the release in fixedpool__bell_arm: its descriptor is
           set. As release, pairs with the acquire in fixedpool__bell_disarm: the frame is idle.
           relaxed, on failure: look again. */
        if (!atomic_compare_exchange_strong_explicit(&seat->bell, &bell,
                                                     (bell & ~FIXEDPOOL__ARMED) + 1,
                                                     memory_order_acq_rel, memory_order_relaxed))
            continue;
        fixedpool__unwatch(pool);
        fixedpool__bell_strike(seat);
        count--;
    }
}

/* -- Waking watchers -- */

/* Some frames became idle while there were watchers. */
static FIXEDPOOL__COLD void fixedpool__tell(fixedpool *pool, uint32_t count)
{
    /* seq_cst, pairs with the seq_cst in fixedpool__sleep, which counts a sleeper before the kernel
       looks at events: the kernel sees the new count, or we see the sleeper. Each lease is a
       release, so a searcher that sees one made by a thread that knows of this sees it, too. */
    atomic_fetch_add_explicit(&pool->events, 1, memory_order_seq_cst);
    /* seq_cst, pairs with the seq_cst in fixedpool__sleep, as the count above. If the call is
       refused, the sleepers see the count by themselves: see fixedpool__await. */
    if (atomic_load_explicit(&pool->sleepers, memory_order_seq_cst) != 0)
        (void)FIXEDPOOL_SYSCALL(SYS_futex, &pool->events, FIXEDPOOL__FUTEX_WAKE, count, 0, 0, 0);
    /* relaxed: a waiter that we saw among the watchers was counted before. */
    if (atomic_load_explicit(&pool->waiters, memory_order_relaxed) != 0)
        fixedpool__bell_ring(pool, count);
}

/* After count frames became idle by a seq_cst operation. */
static inline void fixedpool__tell_watchers(fixedpool *pool, uint32_t count)
{
    /* seq_cst, pairs with the seq_cst in fixedpool__watch: the watcher's look at the frames sees
       ours idle, or we see the watcher. */
    if (atomic_load_explicit(&pool->watchers, memory_order_seq_cst) != 0)
        fixedpool__tell(pool, count);
}

/* After a plain store made a frame idle. */
static inline void fixedpool__tell_watchers_lightly(fixedpool *pool)
{
    /* light, pairs with the heavy fence in fixedpool__fence: as in fixedpool__tell_watchers, the
       watcher's look at the frames sees ours idle, or we see the watcher. */
    FIXEDPOOL_LIGHT_FENCE();
    if (atomic_load_explicit(&pool->watchers, memory_order_relaxed) != 0) fixedpool__tell(pool, 1);
}

/* The group may have an idle frame and no owner. */
static inline void fixedpool__hint(fixedpool *pool, uint32_t group)
{
    uint32_t bit = UINT32_C(1) << group % 32;

    /* relaxed: a hint that is missed costs a look at everything, once. */
    if (!(atomic_load_explicit(&pool->hints[group / 32], memory_order_relaxed) & bit))
        atomic_fetch_or_explicit(&pool->hints[group / 32], bit, memory_order_relaxed);
}

/* -- What a group's owner has lent -- */

/* The frames that are lent, of a group that has this word. */
static uint32_t fixedpool__lent(const fixedpool *pool, const fixedpool__group *group,
                                uint64_t shared)
{
    uint32_t lent = 0;

    if (fixedpool__state(shared) == FIXEDPOOL__UNOWNED) return 0;
    /* acquire, pairs with the release in fixedpool__adopt: lent is cleared before. */
    uint64_t owner = atomic_load_explicit(&group->owner, memory_order_acquire);
    if ((uint32_t)(owner >> 32) != fixedpool__owners_turn(shared)) return 0;
    /* acquire, pairs with the release in fixedpool__take_back: everything that the owner did to a
       frame before its free happens before the next lessee's first access. Also pairs with the
       release in fixedpool__lend: if we see a lease, we see the events that its thread knew of. */
    for (uint32_t i = 0; i <= pool->group_mask; i++)
        lent |= (uint32_t)atomic_load_explicit(&group->lent[i], memory_order_acquire) << i;
    return lent;
}

/* Where a thread last found something, in any pool: it begins to look there. It expects the
 * word to be as it left it; that spares it a load, which would have to wait for the last locked
 * instruction, and tells it if somebody else is at work there. */
static _Thread_local uint32_t fixedpool__home      = UINT32_MAX;
static _Thread_local uint64_t fixedpool__home_word = UINT16_MAX; /* nothing idle: it will look */

static inline void fixedpool__settle(uint32_t group)
{
    fixedpool__home      = group;
    fixedpool__home_word = UINT16_MAX;
}

/* A thread's first home; or one in this pool, which has fewer groups. */
static FIXEDPOOL__COLD uint32_t fixedpool__new_home(const fixedpool *pool)
{
    static _Atomic(uint32_t) threads;

    /* relaxed: any number will do. By threes, so that neighbours are not in neighbouring lines. */
    if (fixedpool__home == UINT32_MAX)
        fixedpool__home = atomic_fetch_add_explicit(&threads, 3, memory_order_relaxed);
    fixedpool__settle(fixedpool__home % pool->group_count);
    return fixedpool__home;
}

static inline uint32_t fixedpool__home_in(const fixedpool *pool)
{
    uint32_t home = fixedpool__home;
    return FIXEDPOOL__LIKELY(home < pool->group_count) ? home : fixedpool__new_home(pool);
}

/* -- Free -- */

/* Frees those of the bits that are lent by the owner that this word of the group has; which.
 * *again: another owner came meanwhile, or none; none was freed. */
static FIXEDPOOL__COLD uint32_t fixedpool__free_lent(const fixedpool *pool, fixedpool__group *group,
                                                     uint64_t shared, uint32_t bits, bool *again)
{
    uint32_t turn = fixedpool__owners_turn(shared), freed;

    *again = false;
    do {
        freed = fixedpool__lent(pool, group, shared) & ~fixedpool__returned(shared) & bits;
        /* relaxed: if lent was that of another owner, then we saw that there is one. */
        if (!freed) shared = atomic_load_explicit(&group->shared, memory_order_relaxed);
        /* seq_cst, pairs with the seq_cst in fixedpool__watch and fixedpool__look, and as release
           with the acquire in fixedpool__absorb and fixedpool__lease_revoked, as in
           fixedpool__free_bits. */
        else if (atomic_compare_exchange_weak_explicit(
                     &group->shared, &shared, shared | (uint64_t)freed << 16, memory_order_seq_cst,
                     memory_order_relaxed))
            return freed;
        *again = fixedpool__owners_turn(shared) != turn;
    } while (freed && !*again);
    return 0;
}

/* Frees those of the group's frames that are leased; which. */
static FIXEDPOOL__HOT uint32_t fixedpool__free_bits(fixedpool *pool, uint32_t index, uint64_t bits)
{
    fixedpool__group *group = &pool->groups[index];
    uint32_t          freed = 0;
    bool              again;

    fixedpool__poison_enter();
    do { /* again if another owner came meanwhile, or none */
        /* relaxed: whether it is a taken or a lent frame is known to who may free it. */
        uint64_t shared = atomic_load_explicit(&group->shared, memory_order_relaxed);
        if (shared & bits || fixedpool__state(shared) == FIXEDPOOL__UNOWNED) {
            /* seq_cst, pairs with the seq_cst in fixedpool__watch and fixedpool__look: see
               fixedpool__tell_watchers. As release, pairs with the acquire in
               fixedpool__lease_unowned and fixedpool__lend: our last access happens before the next
               lessee's first. */
            shared = atomic_fetch_and_explicit(&group->shared, ~bits, memory_order_seq_cst);
            freed |= (uint32_t)(shared & bits);
            bits &= ~shared;
            if (!bits || fixedpool__state(shared) == FIXEDPOOL__UNOWNED) break;
        }
        freed |= fixedpool__free_lent(pool, group, shared, (uint32_t)bits, &again);
    } while (again);
    fixedpool__hide(pool, index, freed);
    fixedpool__poison_leave();
    fixedpool__hint(pool, index);
    return freed;
}

/* The same for one frame that is most likely taken, in a form that gcc makes one instruction of. */
static FIXEDPOOL__HOT bool fixedpool__free_taken(fixedpool *pool, uint32_t index, uint32_t offset)
{
    fixedpool__group *group = &pool->groups[index];
    uint64_t          bit   = UINT64_C(1) << offset;

    fixedpool__poison_enter();
    /* seq_cst, pairs with the seq_cst in fixedpool__watch and fixedpool__look, and as release with
       the acquire in fixedpool__lease_unowned and fixedpool__lend, as in fixedpool__free_bits. */
    uint64_t was   = atomic_fetch_and_explicit(&group->shared, ~bit, memory_order_seq_cst) & bit;
    bool     taken = was != 0;
    if (taken) fixedpool__hide(pool, index, (uint32_t)bit);
    fixedpool__poison_leave();
    if (taken) fixedpool__hint(pool, index);
    if (index == fixedpool__home) fixedpool__home_word &= ~bit;
    return taken;
}

/* A frame that is most likely lent, by whatever cache. */
static FIXEDPOOL__COLD int fixedpool__free_any(fixedpool *pool, uint32_t index, uint32_t offset)
{
    if (!fixedpool__free_bits(pool, index, UINT32_C(1) << offset))
        return fixedpool__refuse(pool, 1, -EALREADY);
    fixedpool__tell_watchers(pool, 1);
    return 0;
}

FIXEDPOOL_API int fixedpool_free(fixedpool *pool, int frame)
{
    if (!FIXEDPOOL__LIKELY(fixedpool__is_frame(pool, frame)))
        return pool ? fixedpool__refuse(pool, 1, -EINVAL) : -EINVAL;
    uint32_t index  = fixedpool__group_of(pool, (uint32_t)frame);
    uint32_t offset = fixedpool__offset_of(pool, (uint32_t)frame);
    if (!FIXEDPOOL__LIKELY(fixedpool__free_taken(pool, index, offset)))
        return fixedpool__free_any(pool, index, offset);
    fixedpool__tell_watchers(pool, 1);
    return 0;
}

/* The frames from *at on that follow each other in one group, each once: their group and bits.
 * Moves *at behind them; 0: behind a number that is no frame. */
static uint32_t fixedpool__run(const fixedpool *pool, const int *frames, uint32_t count,
                               uint32_t *at, uint32_t *group)
{
    uint32_t i = *at, bits = 0;

    *group = fixedpool__group_of(pool, (uint32_t)frames[i]);
    for (; i < count && fixedpool__is_frame(pool, frames[i]); i++) {
        uint32_t frame = (uint32_t)frames[i];
        uint32_t bit   = UINT32_C(1) << fixedpool__offset_of(pool, frame);
        if (fixedpool__group_of(pool, frame) != *group || bits & bit) break;
        bits |= bit;
    }
    *at = bits ? i : i + 1;
    return bits;
}

FIXEDPOOL_API uint32_t fixedpool_free_many(fixedpool *pool, const int *frames, uint32_t count)
{
    uint32_t freed = 0, i = 0, group, bits;

    if (!pool || !frames) return 0;
    while (i < count) {
        bits = fixedpool__run(pool, frames, count, &i, &group);
        if (bits) freed += fixedpool__count(fixedpool__free_bits(pool, group, bits));
    }
    if (freed > 0) fixedpool__tell_watchers(pool, freed);
    if (freed < count) (void)fixedpool__refuse(pool, count - freed, 0);
    return freed;
}

/* -- Lease -- */

/* Of the idle frames, count or fewer. */
static inline uint32_t fixedpool__pick(uint32_t idle, uint32_t count)
{
    uint32_t picked = 0;

    if (count == 1) return fixedpool__first_bit(idle);
    if (count >= 1 << FIXEDPOOL__GROUP_SHIFT) return idle;
    for (; idle && count > 0; count--, idle &= idle - 1) picked |= fixedpool__first_bit(idle);
    return picked;
}

/* Leases at most count idle frames of a group, as long as it has no owner; which. shared: the
 * group's word, and then what it was last. */
static FIXEDPOOL__HOT uint32_t fixedpool__lease_unowned(fixedpool__group *group, uint64_t *shared,
                                                        uint32_t count)
{
    while (fixedpool__state(*shared) == FIXEDPOOL__UNOWNED) {
        uint32_t bits = fixedpool__pick(fixedpool__idle(*shared, 0), count);
        /* acq_rel. As acquire, and on failure, pairs with the release in fixedpool__free_bits,
           fixedpool__free_taken, fixedpool__leave and fixedpool__lease_revoked: what was done to an
           idle frame before its free happens before what its lessee does. As release, pairs with
           the acquire in fixedpool__look and fixedpool__steal: a searcher that sees this lease sees
           the events that we know of, see fixedpool__tell. A word that was changed and changed back
           (ABA) does no harm: it says all there is to know. */
        if (!bits || atomic_compare_exchange_weak_explicit(&group->shared, shared, *shared | bits,
                                                           memory_order_acq_rel,
                                                           memory_order_acquire))
            return bits;
    }
    return 0;
}

static FIXEDPOOL__HOT uint32_t fixedpool__lease(fixedpool *pool, uint32_t index, uint32_t count)
{
    fixedpool__group *group = &pool->groups[index];
    /* relaxed: the compare-exchange looks again. */
    uint64_t shared = atomic_load_explicit(&group->shared, memory_order_relaxed);

    return fixedpool__lease_unowned(group, &shared, count);
}

static bool fixedpool__has_idle(const fixedpool *pool, uint32_t index)
{
    /* relaxed: where to look. */
    uint64_t shared = atomic_load_explicit(&pool->groups[index].shared, memory_order_relaxed);
    return fixedpool__is_free(shared);
}

/* Clears a hint that led to nothing. False: there was something after all. */
static bool fixedpool__clear_hint(fixedpool *pool, uint32_t group)
{
    /* relaxed: a thread that frees a frame meanwhile may see the hint and not set it. So look
       again; if a hint is lost all the same, it costs a look at everything. */
    atomic_fetch_and_explicit(&pool->hints[group / 32], ~(UINT32_C(1) << group % 32),
                              memory_order_relaxed);
    if (!fixedpool__has_idle(pool, group)) return true;
    fixedpool__hint(pool, group);
    return false;
}

/* A group with an idle frame and no owner, the first from `from` on that has a hint; or NONE. */
static int fixedpool__find(fixedpool *pool, uint32_t from)
{
    uint32_t words = (pool->group_count + 31) / 32, beginning = (UINT32_C(1) << from % 32) - 1;
    uint32_t misses = 0;

    for (uint32_t i = 0; i <= words; i++) { /* the first word twice: its end, then its beginning */
        uint32_t word = (from / 32 + i) % words;
        uint32_t bits = atomic_load_explicit(&pool->hints[word], memory_order_relaxed);
        if (i == 0) bits &= ~beginning;
        if (i == words) bits &= beginning;
        for (; bits; bits &= bits - 1) {
            uint32_t group = word * 32 + fixedpool__index(bits);
            if (fixedpool__has_idle(pool, group)) return (int)group;
            /* To clear a hint, and to set it again, takes longer than to follow a few in vain. */
            if (misses++ < FIXEDPOOL__MISSES) continue;
            if (!fixedpool__clear_hint(pool, group)) return (int)group;
        }
    }
    return FIXEDPOOL__NONE;
}

/* Some frames of one group, leased. */
typedef struct fixedpool__frames {
    uint32_t group;
    uint32_t bits; /* 0: none */
} fixedpool__frames;

/* Follows the hints. */
static fixedpool__frames fixedpool__lease_elsewhere(fixedpool *pool, uint32_t count)
{
    int group;

    while ((group = fixedpool__find(pool, fixedpool__home_in(pool))) != FIXEDPOOL__NONE) {
        uint32_t bits = fixedpool__lease(pool, (uint32_t)group, count);
        if (!bits) continue;
        fixedpool__settle((uint32_t)group);
        return (fixedpool__frames){(uint32_t)group, bits};
    }
    return (fixedpool__frames){0, 0};
}

/* -- Lease what a cache has idle -- */

static fixedpool__seat *fixedpool__seat_of(const fixedpool *pool, uint32_t number)
{
    /* relaxed, both: a thread that has seen the number sees the seat, see fixedpool__is_busy. */
    fixedpool__seats *seats = atomic_load_explicit(&pool->seats, memory_order_relaxed);
    for (; number > FIXEDPOOL__SEATS; number -= FIXEDPOOL__SEATS)
        seats = atomic_load_explicit(&seats->next, memory_order_relaxed);
    return &seats->seats[number - 1];
}

/* For who saw the group revoked before a heavy fence. Whether the owner that it had in that turn
 * may be in the middle of a call on it, and which frame it is about to lend or take back. If not,
 * it will begin none. */
static bool fixedpool__is_busy(const fixedpool *pool, uint32_t index, uint32_t turn, uint32_t *bits)
{
    /* acquire, pairs with the release in fixedpool__adopt. An owner that has not said that it is
       has lent nothing yet, and will see that its turn is over; but it is about to clear lent. */
    uint64_t owner = atomic_load_explicit(&pool->groups[index].owner, memory_order_acquire);
    *bits          = 0;
    if ((uint32_t)(owner >> 32) != turn) return true;
    /* acquire, pairs with the release in fixedpool__lend, fixedpool__take_back, fixedpool__absorb
       and fixedpool__back_off: if we do not see the owner busy, we see what it did. */
    fixedpool__seat *seat  = fixedpool__seat_of(pool, (uint32_t)owner / FIXEDPOOL__SLOTS);
    uint32_t         busy  = atomic_load_explicit(&seat->busy, memory_order_acquire);
    uint32_t         frame = (busy & ~FIXEDPOOL__WHOLE) - 1;
    if (busy & FIXEDPOOL__BATCH) {
        *bits = (busy & ~FIXEDPOOL__BATCH) >> 16 == index ? busy & 0xffff : 0;
        return *bits != 0;
    }
    if (busy == 0 || fixedpool__group_of(pool, frame) != index) return false;
    if (!(busy & FIXEDPOOL__WHOLE)) *bits = UINT32_C(1) << fixedpool__offset_of(pool, frame);
    return true;
}

/* Leases at most count frames of a group that was revoked before a heavy fence, from whatever its
 * owner is not busy with; makes it everybody's if the owner is gone. shared: what it was, and then
 * is. False: it has changed meanwhile. */
static bool fixedpool__lease_revoked(fixedpool *pool, uint32_t index, uint64_t *shared,
                                     uint32_t count, uint32_t *bits)
{
    fixedpool__group *group = &pool->groups[index];
    uint32_t          busy;

    bool     stays = fixedpool__is_busy(pool, index, fixedpool__owners_turn(*shared), &busy);
    uint32_t lent  = fixedpool__lent(pool, group, *shared);
    *bits          = fixedpool__pick(fixedpool__idle(*shared, lent) & ~busy, count);
    if (stays && !*bits) return true;
    /* acq_rel. As acquire, pairs with the release in fixedpool__free_lent and fixedpool__free_bits:
       what was done to a frame before its free happens before what its lessee does. As release,
       pairs with the acquire in fixedpool__adopt: the next owner's stores to lent come after those
       of the last. On failure acquire, pairs with the release in fixedpool__free_lent: the caller
       goes on with the new word. */
    uint64_t to = (stays ? *shared : fixedpool__left(*shared, lent)) | *bits;
    if (!atomic_compare_exchange_strong_explicit(&group->shared, shared, to, memory_order_acq_rel,
                                                 memory_order_acquire))
        return false;
    if (!stays) fixedpool__hint(pool, index);
    return true;
}

/* -- The heavy half of a fence, and what stands in for it --
 *
 * A program may install a filter of system calls (seccomp) after it created the pool, and the
 * filter may refuse membarrier(2). It may be in force for some threads only. Then a thread that
 * needs a heavy fence cannot have it, while owners are on paths with a light fence, which is none.
 * From that moment on the pool does without owners:
 *
 *    a thief or a watcher                           an owner
 *    1. unfenced := 1                               adopt: turn: unowned -> owned
 *    2. turn of each group:                         unfenced? then leave the group, lend nothing
 *         owned -> revoked
 *    3. pause for 20 ms                             busy := frame; is the turn its own?
 *    4. each group whose owner is not busy:           no: leave the group, go on without a cache
 *         turn: revoked -> unowned,
 *         lent frames become taken
 *
 * 1 and 2 cross with adopt, by seq_cst accesses: either the new owner sees unfenced, or we see that
 * the group has an owner. So after 2 nobody lends from a group that we did not revoke.
 *
 * 3 takes the place of the heavy fence. An owner that did not see its group revoked had looked at
 * the turn before step 2 was visible, and its store to busy, or what it did afterwards, was on the
 * way to memory: in the store buffer of its processor. A store stays there for the time of a few
 * cache misses, well under 10 us, whether or not its thread goes on running: an interrupt, a switch
 * to another thread or a stopped virtual machine cannot take it back. 20 ms are a thousand times
 * that, and at least one tick of the kernel's timer. After the pause we see what each owner is busy
 * with, as after a fence. This rests on the machine and not on the memory model of C. It is known
 * as bounded TSO (Morrison and Afek, Temporally Bounding TSO for Fence-Free Asymmetric
 * Synchronization, ASPLOS 2015).
 *
 * 4 loses nothing: an idle frame of a cache becomes an idle frame of the pool, and a lent one
 * becomes a taken one, in one compare-exchange with the change of the turn, as in
 * fixedpool__leave; its free, through whatever cache, clears that bit. From here on each lease and
 * each free is an atomic operation on the group's word, and nothing needs a heavy fence.
 *
 * An owner that was stopped in the middle of a call keeps its group revoked, and what it is busy
 * with stays out of reach, until it goes on. As long as there is such a group, each new watcher
 * goes through 2 to 4 again, since that owner's call may end with a light fence.
 *
 * Any number of threads do this at the same moment; none waits for another. */

static FIXEDPOOL__COLD void fixedpool__pause(void)
{
    fixedpool__time rest = {0, FIXEDPOOL__PAUSE_NS};

    while (fixedpool__nanosleep(&rest, &rest) != 0) {
        if (errno == EINTR) continue;
        for (volatile uint32_t spins = 0; spins < FIXEDPOOL__SPINS;) spins = spins + 1;
        return; /* the kernel refuses that, too */
    }
}

/* Whether there is a group that has an owner, or had one that did not leave it yet. */
static bool fixedpool__revoke_all(fixedpool *pool)
{
    bool found = false;

    for (uint32_t index = 0; index < pool->group_count; index++) {
        fixedpool__group *group = &pool->groups[index];
        /* seq_cst, pairs with the seq_cst in fixedpool__adopt: we see that there is an owner, or it
           sees unfenced. */
        uint64_t shared = atomic_load_explicit(&group->shared, memory_order_seq_cst);
        while (fixedpool__state(shared) == FIXEDPOOL__OWNED) {
            uint64_t revoked = fixedpool__with_turn(shared, fixedpool__turn(shared) + 1);
            /* relaxed, both: the pause orders the new turn, and an owner that came after our look
               sees unfenced. */
            if (atomic_compare_exchange_weak_explicit(&group->shared, &shared, revoked,
                                                      memory_order_relaxed, memory_order_relaxed))
                shared = revoked;
        }
        if (fixedpool__state(shared) != FIXEDPOOL__UNOWNED) found = true;
    }
    return found;
}

/* Makes everybody's what is revoked and whose owner is not busy. */
static void fixedpool__disown_all(fixedpool *pool)
{
    uint32_t none;

    for (uint32_t index = 0; index < pool->group_count; index++) {
        /* relaxed: an owner that is not busy is one whose changes fixedpool__is_busy acquired. */
        uint64_t shared = atomic_load_explicit(&pool->groups[index].shared, memory_order_relaxed);
        while (fixedpool__state(shared) == FIXEDPOOL__REVOKED)
            if (fixedpool__lease_revoked(pool, index, &shared, 0, &none)) break;
    }
}

static FIXEDPOOL__COLD void fixedpool__do_without_owners(fixedpool *pool)
{
    /* seq_cst, pairs with the seq_cst in fixedpool__adopt: see fixedpool__revoke_all. */
    atomic_store_explicit(&pool->unfenced, 1, memory_order_seq_cst);
    if (!fixedpool__revoke_all(pool)) return;
    fixedpool__pause();
    fixedpool__disown_all(pool);
}

/* For a pool that had membarrier at create. Afterwards we see what each owner did before it last
 * looked at its group's turn and did not find it revoked. */
static void fixedpool__fence(fixedpool *pool)
{
    /* relaxed: if we do not see that others were refused, we ask the kernel ourselves. */
    uint32_t unfenced = atomic_load_explicit(&pool->unfenced, memory_order_relaxed);
    /* heavy, pairs with the light fence in fixedpool__lend, fixedpool__take_back, fixedpool__absorb
       and fixedpool__tell_watchers_lightly. */
    if (unfenced || !FIXEDPOOL_HEAVY_FENCE()) fixedpool__do_without_owners(pool);
}

/* Leases at most count idle frames of a group, with or without an owner. Returns their bits; 0: it
 * had none, or one that its owner was busy with. */
static uint32_t fixedpool__steal(fixedpool *pool, uint32_t index, uint32_t count)
{
    fixedpool__group *group  = &pool->groups[index];
    uint32_t          fenced = 0, bits; /* fenced: the revoked turn that a fence came after */

    /* acquire, pairs with the release in fixedpool__lease_unowned: if we see a lease here, we see
       the events that its thread knew of. */
    uint64_t shared = atomic_load_explicit(&group->shared, memory_order_acquire);
    for (;;) {
        bits = fixedpool__lease_unowned(group, &shared, count);
        if (bits || fixedpool__state(shared) == FIXEDPOOL__UNOWNED) return bits;
        if (fixedpool__state(shared) == FIXEDPOOL__OWNED) {
            uint64_t revoked = fixedpool__with_turn(shared, fixedpool__turn(shared) + 1);
            /* acquire, both, pairs with the release in fixedpool__lease_unowned as the load above
               does; the fence below orders the new turn. */
            if (!atomic_compare_exchange_strong_explicit(&group->shared, &shared, revoked,
                                                         memory_order_acquire,
                                                         memory_order_acquire))
                continue;
            shared = revoked;
        }
        /* The owner says that it is busy, and then looks at the turn; we go the other way round. */
        if (fenced != fixedpool__turn(shared)) fixedpool__fence(pool);
        fenced = fixedpool__turn(shared);
        if (fixedpool__lease_revoked(pool, index, &shared, count, &bits)) return bits;
    }
}

/* -- Look at everything --
 *
 * The only way to know that no frame is idle. */

static void fixedpool__watch(fixedpool *pool)
{
    /* seq_cst, pairs with the seq_cst in fixedpool__tell_watchers: either we see the frame idle, or
       the thread that freed it sees us watch. */
    atomic_fetch_add_explicit(&pool->watchers, 1, memory_order_seq_cst);
    /* seq_cst, pairs with the seq_cst in fixedpool_cache_open: either we see the cache's seat, or
       the cache sees us watch: if it frees lightly, only after the fence. */
    if (atomic_load_explicit(&pool->seats, memory_order_seq_cst) && pool->has_fences)
        fixedpool__fence(pool);
}

/* For a watcher: leases at most count frames of one group, wherever. None: all were leased, if
 * events is still what it is now. */
static fixedpool__frames fixedpool__look(fixedpool *pool, uint32_t count, uint32_t *events)
{
    uint32_t home = fixedpool__home_in(pool);

    /* acquire, pairs with the seq_cst in fixedpool__tell: the looks below come after this, and see
       what was idle before the count. */
    *events = atomic_load_explicit(&pool->events, memory_order_acquire);
    for (uint32_t i = 0; i < pool->group_count; i++) {
        uint32_t                index = (home + i) % pool->group_count;
        const fixedpool__group *group = &pool->groups[index];
        /* seq_cst, pairs with the seq_cst in fixedpool__free_lent, fixedpool__free_bits and
           fixedpool__free_taken: see fixedpool__tell_watchers. As acquire, pairs with the acq_rel
           in fixedpool__absorb: an owner that takes note of a return changes lent first, then
           returned. */
        uint64_t shared = atomic_load_explicit(&group->shared, memory_order_seq_cst);
        if (!fixedpool__idle(shared, fixedpool__lent(pool, group, shared))) continue;
        uint32_t bits = fixedpool__steal(pool, index, count);
        if (!bits) continue;
        fixedpool__settle(index);
        return (fixedpool__frames){index, bits};
    }
    return (fixedpool__frames){0, 0};
}

static bool fixedpool__has_changed(const fixedpool *pool, uint32_t events)
{
    /* relaxed: after the looks, by what those saw, see fixedpool__tell. A frame that became idle
       behind us was counted. */
    return atomic_load_explicit(&pool->events, memory_order_relaxed) != events;
}

/* First where hints say, then everywhere. */
static FIXEDPOOL__COLD fixedpool__frames fixedpool__search(fixedpool *pool, uint32_t count)
{
    uint32_t          events;
    fixedpool__frames found = fixedpool__lease_elsewhere(pool, count);
    if (found.bits) return found;

    fixedpool__watch(pool);
    do {
        found = fixedpool__look(pool, count, &events);
    } while (!found.bits && fixedpool__has_changed(pool, events));
    fixedpool__unwatch(pool);
    return found;
}

static FIXEDPOOL__HOT fixedpool__frames fixedpool__alloc(fixedpool *pool, uint32_t count)
{
    fixedpool__frames found = {fixedpool__home_in(pool), 0};
    fixedpool__group *group = &pool->groups[found.group];
    uint64_t          was   = fixedpool__home_word;

    if (!fixedpool__is_free(was)) /* relaxed: as in fixedpool__lease */
        was = atomic_load_explicit(&group->shared, memory_order_relaxed);
    uint64_t shared      = was;
    found.bits           = fixedpool__lease_unowned(group, &shared, count);
    fixedpool__home_word = shared | found.bits;
    /* Somebody else is at work in this group: next time elsewhere. */
    if (!FIXEDPOOL__LIKELY(shared == was)) fixedpool__settle((found.group + 5) % pool->group_count);
    if (!FIXEDPOOL__LIKELY(found.bits)) found = fixedpool__search(pool, count);
    fixedpool__show(pool, found.group, found.bits);
    return found;
}

FIXEDPOOL_API int fixedpool_alloc(fixedpool *pool)
{
    if (!FIXEDPOOL__LIKELY(pool != NULL)) return -EINVAL;
    fixedpool__frames found = fixedpool__alloc(pool, 1);
    return found.bits ? (int)fixedpool__frame(pool, found.group, found.bits) : -ENOBUFS;
}

FIXEDPOOL_API uint32_t fixedpool_alloc_many(fixedpool *pool, int *frames, uint32_t count)
{
    uint32_t got = 0;

    if (!pool || !frames) return 0;
    while (got < count) {
        fixedpool__frames found = fixedpool__alloc(pool, count - got);
        if (!found.bits) break;
        for (; found.bits; found.bits &= found.bits - 1)
            frames[got++] = (int)fixedpool__frame(pool, found.group, found.bits);
    }
    return got;
}

/* -- Wait -- */

/* Returns nanoseconds, or -errno. */
static int64_t fixedpool__now(void)
{
    fixedpool__time now;
    if (fixedpool__clock_gettime(FIXEDPOOL__MONOTONIC, &now) != 0) return -errno;
    return (int64_t)now.seconds * 1000000000 + now.nanoseconds;
}

/* Sleeps until the word is no longer that, for at most so long, or for no reason. Returns 0, or
 * -errno if the kernel lets nobody sleep. */
static int fixedpool__doze(_Atomic(uint32_t) *word, uint32_t value, long nanoseconds)
{
    fixedpool__time time = {0, nanoseconds};

    long woken = FIXEDPOOL_SYSCALL(SYS_futex, word, FIXEDPOOL__FUTEX_WAIT, value, &time, 0, 0);
    if (woken == 0) return 0;
    if (errno == EAGAIN || errno == EINTR || errno == ETIMEDOUT) return 0;
    /* Futexes are refused. */
    if (time.nanoseconds > FIXEDPOOL__POLL_NS) time.nanoseconds = FIXEDPOOL__POLL_NS;
    return fixedpool__nanosleep(&time, NULL) == 0 || errno == EINTR ? 0 : -errno;
}

/* Sleeps until events is no longer that: as doze. */
static int fixedpool__sleep(fixedpool *pool, uint32_t events, long nanoseconds)
{
    /* seq_cst, pairs with the seq_cst in fixedpool__tell: the kernel sees the new count of events,
       or the thread that counts sees us sleep. */
    atomic_fetch_add_explicit(&pool->sleepers, 1, memory_order_seq_cst);
    int error = fixedpool__doze(&pool->events, events, nanoseconds);
    /* relaxed: who still sees us sleep wakes nobody. */
    atomic_fetch_sub_explicit(&pool->sleepers, 1, memory_order_relaxed);
    return error;
}

/* Returns 0 when events is no longer that, -ETIMEDOUT at the deadline (-1: none), or -errno if the
 * system gives no time or no sleep. Does not rely on being woken: the thread that frees a frame may
 * be one whose futexes are refused. */
static int fixedpool__await(fixedpool *pool, uint32_t events, int64_t deadline)
{
    int error;

    do {
        long time = FIXEDPOOL__SLEEP_NS;
        if (deadline >= 0) {
            int64_t now = fixedpool__now();
            if (now < 0) return (int)now;
            if (now >= deadline) return -ETIMEDOUT;
            if (deadline - now < time) time = (long)(deadline - now);
        }
        error = fixedpool__sleep(pool, events, time);
    } while (error == 0 && !fixedpool__has_changed(pool, events));
    return error;
}

/* Looks at everything and sleeps, alternately. None: *error says why. */
static fixedpool__frames fixedpool__wait(fixedpool *pool, int64_t timeout_ns, int *error)
{
    int64_t           now   = timeout_ns > 0 ? fixedpool__now() : 0, deadline = -1;
    bool              slept = false;
    fixedpool__frames found;
    uint32_t          events;

    *error = now < 0 ? (int)now : timeout_ns == 0 ? -ETIMEDOUT : 0;
    if (timeout_ns > 0) deadline = timeout_ns < INT64_MAX - now ? now + timeout_ns : INT64_MAX;
    fixedpool__watch(pool);
    for (;;) { /* after the deadline, too, a last look: we may have been woken */
        found = fixedpool__look(pool, 1, &events);
        if (found.bits || (*error && !fixedpool__has_changed(pool, events))) break;
        if (*error) continue;
        /* seq_cst, pairs with the seq_cst in fixedpool_wake_all: we see this, or that thread sees
           us watch, and counts up events. */
        if (atomic_load_explicit(&pool->canceled, memory_order_seq_cst)) {
            *error = -ECANCELED;
            break;
        }
        /* relaxed: a count. */
        if (!slept) atomic_fetch_add_explicit(&pool->waits, 1, memory_order_relaxed);
        slept  = true;
        *error = fixedpool__await(pool, events, deadline);
    }
    fixedpool__unwatch(pool);
    return found;
}

FIXEDPOOL_API int fixedpool_alloc_wait(fixedpool *pool, int64_t timeout_ns)
{
    if (!pool) return -EINVAL;
    fixedpool__frames found = {fixedpool__home_in(pool), 0};
    int               error;

    found.bits = fixedpool__lease(pool, found.group, 1);
    if (!FIXEDPOOL__LIKELY(found.bits)) found = fixedpool__lease_elsewhere(pool, 1);
    if (!FIXEDPOOL__LIKELY(found.bits)) found = fixedpool__wait(pool, timeout_ns, &error);
    if (!found.bits) return error;
    fixedpool__show(pool, found.group, found.bits);
    return (int)fixedpool__frame(pool, found.group, found.bits);
}

/* -- Caches -- */

/* Adds a block of seats at *end, unless another thread did. Returns it, or NULL: out of memory. */
static fixedpool__seats *fixedpool__new_seats(_Atomic(fixedpool__seats *) *end, uint32_t number)
{
    fixedpool__seats *made = (fixedpool__seats *)FIXEDPOOL_MAP(sizeof *made), *there = NULL;

    if (!made) return NULL;
    for (uint32_t i = 0; i < FIXEDPOOL__SEATS; i++) made->seats[i].number = number + i;
    /* acq_rel. As release, pairs with the acquire in fixedpool__take_seat: the block is complete.
       acquire on failure, for the same. */
    if (atomic_compare_exchange_strong_explicit(end, &there, made, memory_order_acq_rel,
                                                memory_order_acquire))
        return made;
    FIXEDPOOL_UNMAP(made, sizeof *made);
    return there;
}

/* Takes a free seat of a block. NULL: there is none. */
static fixedpool__seat *fixedpool__occupy(fixedpool__seats *seats)
{
    /* relaxed: the compare-exchange looks again. */
    uint32_t bits = atomic_load_explicit(&seats->occupied, memory_order_relaxed);

    while (bits != UINT32_MAX) {
        uint32_t bit = fixedpool__first_bit(~bits);
        /* acquire, pairs with the release in fixedpool__give_seat: our stores to the seat come
           after those of its last holder. */
        if (atomic_compare_exchange_weak_explicit(&seats->occupied, &bits, bits | bit,
                                                  memory_order_acquire, memory_order_relaxed))
            return &seats->seats[fixedpool__index(bit)];
    }
    return NULL;
}

/* Looks at 32 seats at a time. NULL: out of memory. */
static fixedpool__seat *fixedpool__take_seat(fixedpool *pool)
{
    _Atomic(fixedpool__seats *) *end = &pool->seats;

    for (uint32_t number = 1;; number += FIXEDPOOL__SEATS) {
        /* acquire, pairs with the acq_rel in fixedpool__new_seats: the block is complete. */
        fixedpool__seats *seats = atomic_load_explicit(end, memory_order_acquire);
        if (!seats) seats = fixedpool__new_seats(end, number);
        if (!seats) return NULL;
        fixedpool__seat *seat = fixedpool__occupy(seats);
        if (seat) return seat;
        end = &seats->next;
    }
}

FIXEDPOOL_API fixedpool_cache *fixedpool_cache_open(fixedpool *pool)
{
    fixedpool_cache *cache = pool ? (fixedpool_cache *)calloc(1, sizeof *cache) : NULL;

    if (!cache) return NULL;
    cache->seat = fixedpool__take_seat(pool);
    if (!cache->seat) {
        free(cache);
        return NULL;
    }
    cache->number = cache->seat->number;
    /* relaxed: a count. */
    atomic_fetch_add_explicit(&pool->caches, 1, memory_order_relaxed);
    /* seq_cst, pairs with the seq_cst in fixedpool__watch: either a watcher sees our seat, or our
       looks for watchers see it. */
    atomic_thread_fence(memory_order_seq_cst);
    cache->pool       = pool;
    cache->group_mask = pool->group_mask;
    cache->now.first  = fixedpool__home_in(pool) << pool->group_shift;
    cache->now.group  = &pool->groups[fixedpool__group_of(pool, cache->now.first)];
    cache->now.turn   = FIXEDPOOL__NEVER;
    return cache;
}

/* -- Watch --
 *
 * What event loops call. See "bell" above. */

/* Gives a waiter a seat. False: out of memory. */
static bool fixedpool__bell_hang(fixedpool *pool, fixedpool_waiter *waiter)
{
    fixedpool__seat *seat = fixedpool__take_seat(pool);

    if (!seat) return false;
    /* relaxed: armed later. */
    atomic_store_explicit(&seat->eventfd, waiter->eventfd, memory_order_relaxed);
    atomic_store_explicit(&seat->futex, waiter->futex, memory_order_relaxed);
    atomic_fetch_add_explicit(&pool->waiters, 1, memory_order_relaxed);
    waiter->place = seat;
    return true;
}

/* Arms a bell that is not armed, with the next turn. */
static void fixedpool__bell_arm(fixedpool *pool, fixedpool__seat *seat)
{
    /* relaxed, all: the watcher that is counted next is the release. */
    uint64_t bell = atomic_load_explicit(&seat->bell, memory_order_relaxed);
    uint64_t turn = atomic_fetch_add_explicit(&pool->turns, 1, memory_order_relaxed);
    uint64_t to;

    do { /* ringers of before may count themselves out meanwhile */
        to = turn << 32 | FIXEDPOOL__ARMED | (uint32_t)bell;
        /* release, pairs with the acquire in fixedpool__bell_ring: the descriptor is set. */
    } while (!atomic_compare_exchange_weak_explicit(&seat->bell, &bell, to, memory_order_release,
                                                    memory_order_relaxed));
    fixedpool__watch(pool);
}

/* False: it was not armed, or somebody has rung it. */
static bool fixedpool__bell_disarm(fixedpool *pool, fixedpool__seat *seat)
{
    /* acquire, pairs with the acq_rel in fixedpool__bell_ring: if we pass on what we were told, the
       frame is idle before. */
    uint64_t bell = atomic_fetch_and_explicit(&seat->bell, ~FIXEDPOOL__ARMED, memory_order_acquire);

    if (!(bell & FIXEDPOOL__ARMED)) return false;
    fixedpool__unwatch(pool);
    return true;
}

FIXEDPOOL_API int fixedpool_watch(fixedpool *pool, fixedpool_waiter *waiter)
{
    fixedpool__frames found;
    uint32_t          events;

    if (!pool || !waiter || (!waiter->futex && waiter->eventfd < 0) ||
        (uintptr_t)waiter->futex % sizeof(uint32_t) != 0)
        return -EINVAL;
    if (!waiter->place && !fixedpool__bell_hang(pool, waiter)) return -ENOMEM;
    fixedpool__seat *seat = (fixedpool__seat *)waiter->place;
    /* relaxed: only we arm it. */
    if (!(atomic_load_explicit(&seat->bell, memory_order_relaxed) & FIXEDPOOL__ARMED))
        fixedpool__bell_arm(pool, seat);
    do {
        found = fixedpool__look(pool, 1, &events);
    } while (!found.bits && fixedpool__has_changed(pool, events));
    /* seq_cst, pairs with the seq_cst in fixedpool_wake_all: we see this, or that thread sees us
       watch. */
    if (!found.bits && !atomic_load_explicit(&pool->canceled, memory_order_seq_cst))
        return -ENOBUFS;
    /* Told of a frame meanwhile, and perhaps not of this one: that one is another waiter's. */
    if (!fixedpool__bell_disarm(pool, seat)) fixedpool__tell_watchers(pool, 1);
    if (!found.bits) return -ECANCELED;
    fixedpool__show(pool, found.group, found.bits);
    return (int)fixedpool__frame(pool, found.group, found.bits);
}

static void fixedpool__give_seat(fixedpool__seat *seat)
{
    uint32_t          at    = (seat->number - 1) % FIXEDPOOL__SEATS;
    fixedpool__seats *seats = (fixedpool__seats *)(void *)(seat - at);
    /* release, pairs with the acquire in fixedpool__occupy: our stores to the seat are first. */
    atomic_fetch_and_explicit(&seats->occupied, ~(UINT32_C(1) << at), memory_order_release);
}

FIXEDPOOL_API void fixedpool_unwatch(fixedpool *pool, fixedpool_waiter *waiter)
{
    if (!pool || !waiter || !waiter->place) return;
    fixedpool__seat *seat = (fixedpool__seat *)waiter->place;
    bool             told = !fixedpool__bell_disarm(pool, seat);
    /* acquire, pairs with the release in fixedpool__bell_strike: it is done with the descriptor. */
    while ((uint32_t)atomic_load_explicit(&seat->bell, memory_order_acquire) != 0) {
        fixedpool__time rest = {0, 10000};
        (void)fixedpool__nanosleep(&rest, NULL);
    }
    waiter->place = NULL;
    fixedpool__give_seat(seat);
    if (told) fixedpool__tell_watchers(pool, 1);
    /* relaxed: a count. */
    atomic_fetch_sub_explicit(&pool->waiters, 1, memory_order_relaxed);
}

FIXEDPOOL_API int fixedpool_wake_all(fixedpool *pool)
{
    if (!pool) return -EINVAL;
    /* seq_cst, pairs with the seq_cst in fixedpool__wait and fixedpool_watch: see there. */
    atomic_store_explicit(&pool->canceled, 1, memory_order_seq_cst);
    fixedpool__tell_watchers(pool, INT_MAX);
    return 0;
}

/* The end of a call on a frame, which has come to nothing. Somebody may have left the frame alone
 * because we were busy with it. */
static FIXEDPOOL__COLD void fixedpool__back_off(fixedpool_cache *cache)
{
    /* release, pairs with the acquire in fixedpool__is_busy: what we did comes first. */
    atomic_store_explicit(&cache->seat->busy, 0, memory_order_release);
    fixedpool__tell_watchers_lightly(cache->pool);
}

/* Gives up a group, or what has become of it. */
static void fixedpool__leave(fixedpool *pool, fixedpool__slot *slot)
{
    fixedpool__group *group = slot->group;
    /* relaxed: the compare-exchange looks again; and a turn that is over stays so. */
    uint64_t shared = atomic_load_explicit(&group->shared, memory_order_relaxed);

    slot->group = NULL;
    while (fixedpool__owners_turn(shared) == slot->turn &&
           fixedpool__state(shared) != FIXEDPOOL__UNOWNED) {
        uint64_t to = fixedpool__left(shared, fixedpool__lent(pool, group, shared));
        /* release, pairs with the acquire in fixedpool__lease_unowned and fixedpool__adopt: what
           is idle is so by frees to us; the next owner's stores to lent come after ours. */
        if (!atomic_compare_exchange_weak_explicit(&group->shared, &shared, to,
                                                   memory_order_release, memory_order_relaxed))
            continue;
        fixedpool__hint(pool, fixedpool__group_of(pool, slot->first));
        return;
    }
}

/* Takes note of frames that were lent and then freed elsewhere: they are no longer lent, and no
 * longer returned. What the group's word is then; with another turn, if it was revoked. */
static uint64_t fixedpool__absorb(fixedpool_cache *cache, fixedpool__slot *slot)
{
    fixedpool__group *group = slot->group;

    /* release, pairs with the acquire in fixedpool__is_busy, as in fixedpool__lend. */
    atomic_store_explicit(&cache->seat->busy, FIXEDPOOL__WHOLE | (slot->first + 1),
                          memory_order_release);
    FIXEDPOOL_LIGHT_FENCE(); /* light, pairs with the heavy fence in fixedpool__fence */
    /* acquire, pairs with the release in fixedpool__free_lent: what was done to a frame before its
       free happens before what its next lessee does. */
    uint64_t shared = atomic_load_explicit(&group->shared, memory_order_acquire);
    while (fixedpool__turn(shared) == slot->turn && fixedpool__returned(shared)) {
        uint64_t to = shared & ~((uint64_t)fixedpool__returned(shared) << 16);
        /* relaxed: the compare-exchange is the release. */
        for (uint32_t bits = fixedpool__returned(shared); bits; bits &= bits - 1)
            atomic_store_explicit(&group->lent[fixedpool__index(bits)], 0, memory_order_relaxed);
        slot->idle |= fixedpool__returned(shared);
        /* acq_rel. As release, pairs with the acquire in fixedpool__look: lent first. As acquire,
           and on failure, pairs with the release in fixedpool__free_lent, as above. */
        if (atomic_compare_exchange_weak_explicit(&group->shared, &shared, to, memory_order_acq_rel,
                                                  memory_order_acquire))
            shared = to;
    }
    /* release, pairs with the acquire in fixedpool__is_busy: lent comes first. */
    atomic_store_explicit(&cache->seat->busy, 0, memory_order_release);
    return shared;
}

/* Lends from this slot from now on. False: nothing is idle there, or it was revoked. */
static bool fixedpool__lend_from(fixedpool_cache *cache, uint32_t at)
{
    fixedpool__slot *slot = &cache->slots[at];

    if (!slot->group) return false;
    /* acquire, pairs with the release in fixedpool__free_bits and fixedpool__free_taken: what was
       done to a taken frame before its free happens before what its next lessee does. */
    uint64_t shared = atomic_load_explicit(&slot->group->shared, memory_order_acquire);
    if (fixedpool__returned(shared)) shared = fixedpool__absorb(cache, slot);
    if (fixedpool__turn(shared) != slot->turn) {
        fixedpool__leave(cache->pool, slot);
        return false;
    }
    slot->idle |= slot->taken & ~fixedpool__taken(shared);
    slot->taken &= fixedpool__taken(shared);
    if (!slot->idle) return false;
    cache->now  = *slot;
    cache->last = 0;
    cache->at   = at;
    return true;
}

/* Becomes the owner of a group that has none, in this slot. False: it has got another owner. */
static bool fixedpool__adopt(fixedpool_cache *cache, uint32_t at, uint32_t index)
{
    fixedpool        *pool  = cache->pool;
    fixedpool__group *group = &pool->groups[index];
    /* relaxed: the compare-exchange looks again. */
    uint64_t shared = atomic_load_explicit(&group->shared, memory_order_relaxed);
    uint32_t turn   = fixedpool__turn(shared) + 1;

    /* seq_cst, pairs with the seq_cst in fixedpool__revoke_all, see below. As acquire, pairs with
       the release in fixedpool__leave and fixedpool__lease_revoked: our stores to lent come after
       those of the last owner. */
    if (fixedpool__state(shared) != FIXEDPOOL__UNOWNED ||
        !atomic_compare_exchange_strong_explicit(&group->shared, &shared,
                                                 fixedpool__with_turn(shared, turn),
                                                 memory_order_seq_cst, memory_order_relaxed))
        return false;
    /* release, pairs with the acquire in fixedpool__lent: a thread that takes these for those of
       the last owner sees that there is a new one when it looks again. */
    for (uint32_t i = 0; i <= pool->group_mask; i++)
        atomic_store_explicit(&group->lent[i], 0, memory_order_release);
    /* release, pairs with the acquire in fixedpool__lent and fixedpool__is_busy: lent is cleared,
       there is such a seat. */
    atomic_store_explicit(&group->owner,
                          (uint64_t)turn << 32 | (cache->number * FIXEDPOOL__SLOTS + at),
                          memory_order_release);
    uint32_t taken   = fixedpool__taken(shared);
    cache->slots[at] = (fixedpool__slot){group, turn, index << pool->group_shift,
                                         fixedpool__idle(shared, 0), taken};
    /* seq_cst, pairs with the seq_cst in fixedpool__do_without_owners: either we see that there are
       to be no owners, or that thread sees us. */
    if (!atomic_load_explicit(&pool->unfenced, memory_order_seq_cst)) return true;
    fixedpool__leave(pool, &cache->slots[at]);
    return false;
}

/* What is idle in the current group, for when it is not the current one. */
static inline void fixedpool__keep_idle(fixedpool_cache *cache)
{
    uint32_t last = cache->last;

    if (last) cache->now.idle |= UINT32_C(1) << (last - 1 - cache->now.first);
    cache->slots[cache->at].idle = cache->now.idle;
}

/* Finds a group to lend from: one of its own, or, if it may adopt one, one that nobody owns. False:
 * there is none, or it was revoked at once. */
static FIXEDPOOL__COLD bool fixedpool__refill(fixedpool_cache *cache, bool may_adopt)
{
    fixedpool *pool = cache->pool;
    uint32_t   at   = (cache->at + 1) % FIXEDPOOL__SLOTS;
    int        found;

    fixedpool__keep_idle(cache); /* nothing, if all went well */
    for (uint32_t i = 0; i < FIXEDPOOL__SLOTS; i++)
        if (fixedpool__lend_from(cache, (at + i) % FIXEDPOOL__SLOTS)) return true;
    if (!may_adopt) return false;
    /* relaxed: adopt looks again. */
    while (!atomic_load_explicit(&pool->unfenced, memory_order_relaxed) &&
           (found = fixedpool__find(pool, fixedpool__group_of(pool, cache->now.first))) !=
               FIXEDPOOL__NONE) {
        /* The slot's frames are all out: it makes room for one that has some. */
        if (cache->slots[at].group) fixedpool__leave(pool, &cache->slots[at]);
        if (fixedpool__adopt(cache, at, (uint32_t)found)) return fixedpool__lend_from(cache, at);
    }
    return false;
}

/* Takes a frame of the current group out of the cache, to lend it. Returns it + 1; 0 = none. */
static inline uint32_t fixedpool__take_idle(fixedpool_cache *cache)
{
    uint32_t last = cache->last, idle = cache->now.idle;

    if (FIXEDPOOL__LIKELY(last)) {
        cache->last = 0;
        return last;
    }
    if (!FIXEDPOOL__LIKELY(idle)) return 0;
    cache->now.idle = idle & (idle - 1);
    return cache->now.first + fixedpool__index(idle) + 1;
}

/* Lends a frame of the current group. -1: there is none, or the group is no longer the cache's. */
static FIXEDPOOL__HOT int fixedpool__lend(fixedpool_cache *cache)
{
    uint32_t busy = fixedpool__take_idle(cache);
    if (!FIXEDPOOL__LIKELY(busy)) return -1;

    uint32_t          frame = busy - 1, offset = frame - cache->now.first;
    fixedpool__group *group = cache->now.group;
    /* release, pairs with the acquire in fixedpool__is_busy: a thread that reads this and not the 0
       before it sees all the same what we did until then. */
    atomic_store_explicit(&cache->seat->busy, busy, memory_order_release);
    /* light, pairs with the heavy fence in fixedpool__fence: either we see that the group was
       revoked, or the thread that revoked it sees what we are busy with. */
    FIXEDPOOL_LIGHT_FENCE();
    /* acquire, pairs with the release in fixedpool__free_bits and fixedpool__free_taken, if the
       frame was taken: what was done to it before its free happens before what its lessee does. */
    uint64_t shared = atomic_load_explicit(&group->shared, memory_order_acquire);
    if (!FIXEDPOOL__LIKELY(fixedpool__turn(shared) == cache->now.turn &&
                           !((shared | shared >> 16) & UINT64_C(1) << offset))) {
        fixedpool__back_off(cache);
        return -1;
    }
    /* release, pairs with the acquire in fixedpool__lent: a searcher that sees this lease sees the
       events that we know of, see fixedpool__tell. */
    atomic_store_explicit(&group->lent[offset], 1, memory_order_release);
    /* release, pairs with the acquire in fixedpool__is_busy: lent comes first. */
    atomic_store_explicit(&cache->seat->busy, 0, memory_order_release);
    fixedpool__show(cache->pool, fixedpool__group_of(cache->pool, frame), UINT32_C(1) << offset);
    return (int)frame;
}

static FIXEDPOOL__COLD int fixedpool__refill_and_lend(fixedpool_cache *cache)
{
    int frame = -1;

    /* It may adopt a group once in a call. If it always might, this thread and one that revokes
       could keep each other from ever getting anything done. */
    for (bool may_adopt = true; frame < 0; may_adopt = false) {
        if (!fixedpool__refill(cache, may_adopt)) return fixedpool_alloc(cache->pool);
        frame = fixedpool__lend(cache);
    }
    return frame;
}

FIXEDPOOL_API int fixedpool_cache_alloc(fixedpool_cache *cache)
{
    int frame = fixedpool__lend(cache);
    return FIXEDPOOL__LIKELY(frame >= 0) ? frame : fixedpool__refill_and_lend(cache);
}

FIXEDPOOL_API int fixedpool_cache_alloc_wait(fixedpool_cache *cache, int64_t timeout_ns)
{
    int frame = fixedpool_cache_alloc(cache);
    return FIXEDPOOL__LIKELY(frame >= 0) ? frame : fixedpool_alloc_wait(cache->pool, timeout_ns);
}

/* A lent frame of a group that is the cache's since that turn is no longer lent. False: it was not,
 * or the group is no longer the cache's. */
static FIXEDPOOL__HOT bool fixedpool__take_back(fixedpool_cache *cache, fixedpool__group *group,
                                                uint32_t turn, uint32_t frame, uint32_t offset)
{
    fixedpool__poison_enter();
    /* release, pairs with the acquire in fixedpool__is_busy, as in fixedpool__lend. */
    atomic_store_explicit(&cache->seat->busy, frame + 1, memory_order_release);
    FIXEDPOOL_LIGHT_FENCE(); /* light, pairs with the heavy fence in fixedpool__fence */
    /* relaxed, both: what we look for we did ourselves; or others before this frame's free, if it
       is its second. */
    uint64_t shared = atomic_load_explicit(&group->shared, memory_order_relaxed);
    if (!FIXEDPOOL__LIKELY(
            fixedpool__turn(shared) == turn &&
            !((shared | shared >> 16) & UINT64_C(1) << offset) &&
            atomic_load_explicit(&group->lent[offset], memory_order_relaxed) != 0)) {
        fixedpool__poison_leave();
        fixedpool__back_off(cache);
        return false;
    }
    fixedpool__hide(cache->pool, fixedpool__group_of(cache->pool, frame), UINT32_C(1) << offset);
    /* release, pairs with the acquire in fixedpool__lent. */
    atomic_store_explicit(&group->lent[offset], 0, memory_order_release);
    /* release, pairs with the acquire in fixedpool__is_busy: lent comes first. */
    atomic_store_explicit(&cache->seat->busy, 0, memory_order_release);
    fixedpool__poison_leave();
    return true;
}

/* Taken, or not leased, or of a group that was revoked. */
static FIXEDPOOL__COLD int fixedpool__free_elsewhere(fixedpool_cache *cache, uint32_t frame)
{
    return fixedpool_free(cache->pool, (int)frame);
}

/* cache_free of what is not of the current group. If the group is the cache's, it is from now on
 * the current one: what was freed last is lent first, and more of it may follow. */
static FIXEDPOOL__COLD int fixedpool__free_other(fixedpool_cache *cache, uint32_t frame)
{
    fixedpool *pool = cache->pool;

    if (frame >= pool->frame_count) return fixedpool__refuse(pool, 1, -EINVAL);
    uint32_t          index  = fixedpool__group_of(pool, frame);
    uint32_t          offset = fixedpool__offset_of(pool, frame);
    fixedpool__group *group  = &pool->groups[index];
    /* relaxed: if it is ours, we wrote it; if it no longer is, shared has another turn. */
    uint64_t owner = atomic_load_explicit(&group->owner, memory_order_relaxed);
    if ((uint32_t)owner / FIXEDPOOL__SLOTS != cache->number ||
        !fixedpool__take_back(cache, group, (uint32_t)(owner >> 32), frame, offset))
        return fixedpool__free_any(pool, index, offset);
    fixedpool__keep_idle(cache);
    cache->at   = (uint32_t)owner % FIXEDPOOL__SLOTS;
    cache->now  = cache->slots[cache->at];
    cache->last = frame + 1;
    fixedpool__tell_watchers_lightly(pool);
    return 0;
}

FIXEDPOOL_API int fixedpool_cache_free(fixedpool_cache *cache, int frame)
{
    uint32_t index = (uint32_t)frame, offset = index - cache->now.first;

    if (!FIXEDPOOL__LIKELY(offset <= cache->group_mask)) return fixedpool__free_other(cache, index);
    if (!FIXEDPOOL__LIKELY(
            fixedpool__take_back(cache, cache->now.group, cache->now.turn, index, offset)))
        return fixedpool__free_elsewhere(cache, index);
    if (cache->last) cache->now.idle |= UINT32_C(1) << (cache->last - 1 - cache->now.first);
    cache->last = index + 1;
    fixedpool__tell_watchers_lightly(cache->pool);
    return 0;
}

/* ---- batch: a cache lends and takes back several frames of a group ----
 *
 * As lend and take_back, but busy names a set of frames. A thread that revokes the group meanwhile
 * leaves those alone, and may take the others. */

/* Begins a call on some frames of a group. Returns those of them that are neither taken nor
 * returned, or 0 if the group is no longer the cache's since that turn: then the call is over. */
static FIXEDPOOL__HOT uint32_t fixedpool__batch_begin(fixedpool_cache *cache,
                                                      const fixedpool__group *group, uint32_t index,
                                                      uint32_t turn, uint32_t bits)
{
    /* release, pairs with the acquire in fixedpool__is_busy, as in fixedpool__lend. */
    atomic_store_explicit(&cache->seat->busy, FIXEDPOOL__BATCH | index << 16 | bits,
                          memory_order_release);
    FIXEDPOOL_LIGHT_FENCE(); /* light, pairs with the heavy fence in fixedpool__fence */
    /* acquire, pairs with the release in fixedpool__free_bits and fixedpool__free_taken, as in
       fixedpool__lend. */
    uint64_t shared = atomic_load_explicit(&group->shared, memory_order_acquire);
    bits &= ~(fixedpool__taken(shared) | fixedpool__returned(shared));
    if (FIXEDPOOL__LIKELY(fixedpool__turn(shared) == turn && bits)) return bits;
    fixedpool__back_off(cache);
    return 0;
}

static FIXEDPOOL__HOT void fixedpool__batch_end(fixedpool_cache *cache)
{
    /* release, pairs with the acquire in fixedpool__is_busy: lent comes first. */
    atomic_store_explicit(&cache->seat->busy, 0, memory_order_release);
}

/* Lends at most count frames of the current group and writes their numbers to frames. Returns how
 * many; 0: there is none, or the group is no longer the cache's. */
static uint32_t fixedpool__batch_lend(fixedpool_cache *cache, int *frames, uint32_t count)
{
    fixedpool__group *group = cache->now.group;
    uint32_t          index = fixedpool__group_of(cache->pool, cache->now.first), lent = 0;

    if (cache->last) cache->now.idle |= UINT32_C(1) << (cache->last - 1 - cache->now.first);
    cache->last   = 0;
    uint32_t bits = fixedpool__pick(cache->now.idle, count);
    cache->now.idle &= ~bits;
    if (bits) bits = fixedpool__batch_begin(cache, group, index, cache->now.turn, bits);
    if (!bits) return 0;
    for (uint32_t rest = bits; rest; rest &= rest - 1) {
        uint32_t offset = fixedpool__index(rest);
        frames[lent++]  = (int)(cache->now.first + offset);
        /* release, pairs with the acquire in fixedpool__lent, as in fixedpool__lend. */
        atomic_store_explicit(&group->lent[offset], 1, memory_order_release);
    }
    fixedpool__batch_end(cache);
    fixedpool__show(cache->pool, index, bits);
    return lent;
}

FIXEDPOOL_API uint32_t fixedpool_cache_alloc_many(fixedpool_cache *cache, int *frames,
                                                  uint32_t count)
{
    bool     may_adopt = true; /* as in fixedpool__refill_and_lend, but again after each success */
    uint32_t got       = 0;

    if (!frames) return 0;
    while (got < count) {
        uint32_t lent = fixedpool__batch_lend(cache, frames + got, count - got);
        if (lent) may_adopt = true;
        got += lent;
        if (got == count) break;
        if (!fixedpool__refill(cache, may_adopt))
            return got + fixedpool_alloc_many(cache->pool, frames + got, count - got);
        if (!lent) may_adopt = false;
    }
    return got;
}

/* Takes back those of the bits that the cache has lent since that turn; returns them. */
static uint32_t fixedpool__batch_take_back(fixedpool_cache *cache, uint32_t index, uint32_t turn,
                                           uint32_t bits)
{
    fixedpool__group *group = &cache->pool->groups[index];
    uint32_t          lent  = 0;

    fixedpool__poison_enter();
    bits = fixedpool__batch_begin(cache, group, index, turn, bits);
    for (uint32_t rest = bits; rest; rest &= rest - 1) {
        uint32_t offset = fixedpool__index(rest), bit = fixedpool__first_bit(rest);
        /* relaxed: we wrote it ourselves. */
        if (!atomic_load_explicit(&group->lent[offset], memory_order_relaxed)) continue;
        fixedpool__hide(cache->pool, index, bit);
        /* release, pairs with the acquire in fixedpool__lent. */
        atomic_store_explicit(&group->lent[offset], 0, memory_order_release);
        lent |= bit;
    }
    if (bits) fixedpool__batch_end(cache);
    fixedpool__poison_leave();
    return lent;
}

/* Frees those of a group's frames that are leased, through the cache as far as it has lent them.
 * Returns how many. */
static uint32_t fixedpool__batch_free(fixedpool_cache *cache, uint32_t index, uint32_t bits)
{
    fixedpool        *pool  = cache->pool;
    fixedpool__group *group = &pool->groups[index];
    uint32_t          back  = 0;
    /* relaxed: as in fixedpool__free_other. */
    uint64_t owner = atomic_load_explicit(&group->owner, memory_order_relaxed);

    if ((uint32_t)owner / FIXEDPOOL__SLOTS == cache->number)
        back = fixedpool__batch_take_back(cache, index, (uint32_t)(owner >> 32), bits);
    if (back) {
        if (cache->now.group != group) {
            fixedpool__keep_idle(cache);
            cache->at   = (uint32_t)owner % FIXEDPOOL__SLOTS;
            cache->now  = cache->slots[cache->at];
            cache->last = 0;
        }
        cache->now.idle |= back;
    }
    if (bits & ~back) back |= fixedpool__free_bits(pool, index, bits & ~back);
    return fixedpool__count(back);
}

FIXEDPOOL_API uint32_t fixedpool_cache_free_many(fixedpool_cache *cache, const int *frames,
                                                 uint32_t count)
{
    fixedpool *pool  = cache->pool;
    uint32_t   freed = 0, i = 0, group, bits;

    if (!frames) return 0;
    while (i < count) {
        bits = fixedpool__run(pool, frames, count, &i, &group);
        if (bits) freed += fixedpool__batch_free(cache, group, bits);
    }
    /* light, pairs with the heavy fence in fixedpool__fence; seq_cst, pairs with the seq_cst in
       fixedpool__watch: for frames of the cache, and for the others; see
       fixedpool__tell_watchers. */
    FIXEDPOOL_LIGHT_FENCE();
    if (freed > 0 && atomic_load_explicit(&pool->watchers, memory_order_seq_cst) != 0)
        fixedpool__tell(pool, freed);
    if (freed < count) (void)fixedpool__refuse(pool, count - freed, 0);
    return freed;
}

FIXEDPOOL_API void fixedpool_cache_close(fixedpool_cache *cache)
{
    if (!cache) return;
    fixedpool *pool = cache->pool;
    for (uint32_t at = 0; at < FIXEDPOOL__SLOTS; at++)
        if (cache->slots[at].group) fixedpool__leave(pool, &cache->slots[at]);
    fixedpool__give_seat(cache->seat);
    /* relaxed: a count. */
    atomic_fetch_sub_explicit(&pool->caches, 1, memory_order_relaxed);
    free(cache);
}

/* -- The lock of the rings --
 *
 * Held while the kernel pins, which may take seconds: so a thread that waits sleeps. Nothing but
 * register and unregister takes it. 0 free, 1 taken, 2 taken and others may sleep. */

static void fixedpool__lock(fixedpool *pool)
{
    uint32_t free_word = 0;

    /* acquire, both, pairs with the release in fixedpool__unlock: the last holder's changes are
       seen. relaxed, on failure: the exchange looks again. */
    if (atomic_compare_exchange_strong_explicit(&pool->lock, &free_word, 1, memory_order_acquire,
                                                memory_order_relaxed))
        return;
    while (atomic_exchange_explicit(&pool->lock, 2, memory_order_acquire) != 0)
        (void)fixedpool__doze(&pool->lock, 2, FIXEDPOOL__SLEEP_NS);
}

static void fixedpool__unlock(fixedpool *pool)
{
    /* relaxed: a count, for stats. */
    atomic_store_explicit(&pool->registered, pool->ring_count, memory_order_relaxed);
    /* release, pairs with the acquire in fixedpool__lock. If waking is refused, a sleeper looks by
       itself. */
    if (atomic_exchange_explicit(&pool->lock, 0, memory_order_release) == 2)
        (void)FIXEDPOOL_SYSCALL(SYS_futex, &pool->lock, FIXEDPOOL__FUTEX_WAKE, 1, 0, 0, 0);
}

/* -- io_uring -- */

static long fixedpool__io_uring_register(int ring_fd, int opcode, const void *argument,
                                         uint32_t count)
{
    return FIXEDPOOL_SYSCALL(FIXEDPOOL__IO_URING_REGISTER, ring_fd, opcode, argument, count, 0, 0);
}

/* What a descriptor is at present. 0, 0: nothing, or the kernel does not say. */
static fixedpool__ring fixedpool__ring_of(int fd)
{
    struct stat about;
    if (fstat(fd, &about) != 0) return (fixedpool__ring){fd, 0, 0};
    return (fixedpool__ring){fd, (uint32_t)about.st_dev, (uint64_t)about.st_ino};
}

static bool fixedpool__ring_equals(const fixedpool__ring *a, const fixedpool__ring *b)
{
    return a->device == b->device && a->inode == b->inode;
}

/* Whether the descriptor by which it was registered is still that ring. */
static bool fixedpool__ring_is_open(const fixedpool__ring *ring)
{
    fixedpool__ring now = fixedpool__ring_of(ring->fd);
    return fixedpool__ring_equals(ring, &now);
}

/* Whether its inode says which ring it is. Before Linux 5.16 rings shared one inode with all
 * eventfds. */
static bool fixedpool__ring_is_distinct(const fixedpool__ring *ring)
{
    int event = (int)FIXEDPOOL_SYSCALL(SYS_eventfd2, 0, 0, 0, 0, 0, 0);
    if (event < 0) return false;
    fixedpool__ring other = fixedpool__ring_of(event);
    (void)close(event);
    return ring->inode && !fixedpool__ring_equals(ring, &other);
}

/* Under the lock. The index of the ring that has this number, whether it still is that ring or not;
 * ring_count: none. */
static uint32_t fixedpool__ring_at(const fixedpool *pool, int fd)
{
    uint32_t at = 0;
    while (at < pool->ring_count && pool->rings[at].fd != fd) at++;
    return at;
}

/* Under the lock. The index of the ring that this is, by that number or by another one, as after
 * dup; ring_count: none. */
static uint32_t fixedpool__ring_find(const fixedpool *pool, const fixedpool__ring *ring)
{
    uint32_t at = fixedpool__ring_at(pool, ring->fd);

    if (at < pool->ring_count && fixedpool__ring_equals(&pool->rings[at], ring)) return at;
    for (at = 0; at < pool->ring_count; at++)
        if (fixedpool__ring_equals(&pool->rings[at], ring)) break;
    if (at < pool->ring_count && !fixedpool__ring_is_distinct(ring)) at = pool->ring_count;
    return at;
}

FIXEDPOOL_API uint32_t fixedpool_iovecs(const fixedpool *pool, struct iovec *iovecs, uint32_t count)
{
    uint32_t spans = 0;

    if (!pool) return 0;
    for (uint32_t frame = 0; frame < pool->frame_count; frame += pool->span, spans++) {
        uint32_t rest = pool->frame_count - frame, frames = rest < pool->span ? rest : pool->span;
        if (!iovecs || spans >= count) continue;
        iovecs[spans].iov_base = pool->frames + (size_t)frame * pool->frame_size;
        iovecs[spans].iov_len  = (size_t)frames * pool->frame_size;
    }
    return spans;
}

FIXEDPOOL_API uint16_t fixedpool_buf_index(const fixedpool *pool, int frame)
{
    return pool ? (uint16_t)((uint32_t)frame / pool->span) : 0;
}

/* Pins the pages for a ring. 0 or -errno. */
static int fixedpool__pin(const fixedpool *pool, int ring_fd)
{
    uint32_t      spans  = fixedpool_iovecs(pool, NULL, 0);
    size_t        size   = spans * sizeof(struct iovec);
    struct iovec *iovecs = (struct iovec *)FIXEDPOOL_MAP(size);

    if (!iovecs) return -ENOMEM;
    fixedpool_iovecs(pool, iovecs, spans);
    long error = fixedpool__io_uring_register(ring_fd, FIXEDPOOL__REGISTER_BUFFERS, iovecs, spans);
    int  why   = error == 0 ? 0 : -errno;
    FIXEDPOOL_UNMAP(iovecs, size);
    return why;
}

/* Returns 0, -ENXIO if there is no such registration any more, or why the kernel keeps it. */
static int fixedpool__unpin(int ring_fd)
{
    long done;

    do { /* before Linux 5.13 it waits, and can be interrupted */
        done = fixedpool__io_uring_register(ring_fd, FIXEDPOOL__UNREGISTER_BUFFERS, NULL, 0);
    } while (done != 0 && errno == EINTR);
    if (done == 0) return 0;
    return errno == EBADF || errno == EOPNOTSUPP ? -ENXIO : -errno; /* both: it is no ring */
}

/* -- The donor --
 *
 * The kernel clones the buffers of one ring into another one (Linux 6.12), which then shares the
 * pinned pages. It refuses to clone from another thread's ring with SINGLE_ISSUER. So the pool has
 * a plain ring of its own, which nobody submits to: the frames are pinned for that, and cloned into
 * each other ring. It lives while rings are registered.
 *
 * There is a donor <=> ring_count > 0, and the kernel gave a ring, cloned and let it pin. Otherwise
 * each ring pins for itself, and the error of that is the caller's. */

static bool fixedpool__clone(int from, int to)
{
    uint32_t clone[8] = {(uint32_t)from}; /* flags, offsets, number: 0, all */
    return fixedpool__io_uring_register(to, FIXEDPOOL__CLONE_BUFFERS, clone, 1) == 0;
}

/* Ends the donor, unless its descriptor is the user's by now, who closed it. */
static void fixedpool__donor_close(fixedpool *pool)
{
    fixedpool__ring *donor = &pool->donor;

    if (donor->fd < 0) return;
    if (fixedpool__ring_is_open(donor)) {
        (void)fixedpool__unpin(donor->fd); /* at once; close would do it some time later */
        (void)close(donor->fd);
    }
    donor->fd = FIXEDPOOL__NONE;
}

/* Makes a donor for this ring. False: there is none to be had. */
static bool fixedpool__donor_open(fixedpool *pool, int ring_fd)
{
    uint32_t         params[30] = {0};
    fixedpool__ring *donor      = &pool->donor;

    if (donor->fd >= 0 && fixedpool__ring_is_open(donor)) return true;
    donor->fd = (int)FIXEDPOOL_SYSCALL(FIXEDPOOL__IO_URING_SETUP, 1, params, 0, 0, 0, 0);
    if (donor->fd < 0) return false;
    *donor = fixedpool__ring_of(donor->fd);
    /* A kernel that clones says ENXIO as long as the donor has nothing. */
    if ((fixedpool__clone(donor->fd, ring_fd) || errno == ENXIO) &&
        fixedpool__pin(pool, donor->fd) == 0)
        return true;
    fixedpool__donor_close(pool);
    return false;
}

/* Under the lock. Registers the frames with a ring. 0 or -errno. */
static int fixedpool__donate(fixedpool *pool, int ring_fd)
{
    if (fixedpool__donor_open(pool, ring_fd) && fixedpool__clone(pool->donor.fd, ring_fd)) return 0;
    if (pool->ring_count == 0) fixedpool__donor_close(pool);
    return fixedpool__pin(pool, ring_fd);
}

static void fixedpool__forget_ring(fixedpool *pool, uint32_t at)
{
    pool->rings[at] = pool->rings[--pool->ring_count];
    if (pool->ring_count == 0) fixedpool__donor_close(pool);
}

/* Under the lock. Rings that were closed and not unregistered, as far as their numbers tell. */
static void fixedpool__forget_closed(fixedpool *pool)
{
    for (uint32_t at = pool->ring_count; at-- > 0;)
        if (!fixedpool__ring_is_open(&pool->rings[at])) fixedpool__forget_ring(pool, at);
}

/* Under the lock. */
static int fixedpool__register(fixedpool *pool, int ring_fd)
{
    fixedpool__ring ring = fixedpool__ring_of(ring_fd);
    uint32_t        at   = fixedpool__ring_find(pool, &ring);

    if (ring_fd < 0) return -EBADF; /* to the kernel -1 is something else */
    if (at < pool->ring_count) {
        if (!fixedpool__ring_is_open(&pool->rings[at])) pool->rings[at] = ring;
        return -EEXIST;
    }
    at = fixedpool__ring_at(pool, ring_fd);
    if (at < pool->ring_count) fixedpool__forget_ring(pool, at); /* that one was closed */
    if (pool->ring_count == FIXEDPOOL__RINGS) fixedpool__forget_closed(pool);
    if (pool->ring_count == FIXEDPOOL__RINGS) return -ENOSPC;
    int error = fixedpool__donate(pool, ring_fd);
    if (error == 0) pool->rings[pool->ring_count++] = ring;
    return error == -EEXIST ? -EPERM : error; /* the kernel's word for a ring of another thread */
}

FIXEDPOOL_API int fixedpool_register(fixedpool *pool, int ring_fd)
{
    if (!pool) return -EINVAL;
    fixedpool__lock(pool);
    int error = fixedpool__register(pool, ring_fd);
    fixedpool__unlock(pool);
    return error;
}

/* Under the lock. */
static int fixedpool__unregister(fixedpool *pool, int ring_fd)
{
    fixedpool__ring ring  = fixedpool__ring_of(ring_fd);
    uint32_t        at    = fixedpool__ring_find(pool, &ring);
    int             error = -ENXIO;

    if (at < pool->ring_count) error = fixedpool__unpin(ring_fd);
    else at = fixedpool__ring_at(pool, ring_fd); /* if it is there, that one was closed */
    if (at < pool->ring_count && (error == 0 || error == -ENXIO)) fixedpool__forget_ring(pool, at);
    return error;
}

FIXEDPOOL_API int fixedpool_unregister(fixedpool *pool, int ring_fd)
{
    if (!pool) return -EINVAL;
    fixedpool__lock(pool);
    int error = fixedpool__unregister(pool, ring_fd);
    fixedpool__unlock(pool);
    return error;
}

/* ---- supply: frames offered to the kernel as provided buffers ----
 *
 * The array of buffers is shared with the kernel: we write an entry and then the tail, the kernel
 * reads from its own head on. place says of each frame whether it is in the array or filled, with
 * its completion not yet seen: 0 no, else the bytes that completions have reported, + 1.
 *
 *    given - taken  =  frames with a place  <=  entries
 *
 * given counts the entries written, taken the frames that fixedpool_ring_frame handed out. The
 * kernel's head is at taken or beyond, so the next `entries - (given - taken)` entries are free to
 * write.
 *
 * Entries are written by the one thread inside the door. No thread waits for it: one that finds it
 * inside leaves a request, by the same operation with which it would have entered, and the thread
 * inside cannot leave before it looked for idle frames after the last request:
 *
 *    first                                  second
 *    door: 0 -> 1, is inside                frees a frame
 *    leases what is idle: none              door: 1 -> 2, returns
 *    door: 1 -> 0? it is 2, so stays
 *    leases what is idle: the frame
 *    door: 2 -> 0, is outside
 *
 * Cost of a recycle: two locked instructions and a plain store of 16 bits. */

typedef struct fixedpool__buffer { /* the kernel's struct io_uring_buf */
    uint64_t          address;
    uint32_t          length;
    uint16_t          id;
    _Atomic(uint16_t) tail; /* in the first entry alone */
} fixedpool__buffer;

_Static_assert(sizeof(fixedpool__buffer) == 16, "the kernel's");

struct fixedpool_ring {
    /* Constant after open. */
    fixedpool         *pool;
    fixedpool__buffer *buffers;
    uint32_t           entries;
    uint16_t           group;
    fixedpool__ring    ring;
    void              *memory; /* that all of this lies in */
    size_t             size;

    _Atomic(uint32_t) door;  /* 0: no thread is inside; else 1 + requests since that one entered */
    _Atomic(uint32_t) given; /* written inside */
    _Atomic(uint32_t) taken; /* written by the thread that takes completions */
    _Atomic(uint32_t) place[];
};

/* True: the caller is inside. Else it left a request. */
static bool fixedpool__supply_enter(fixedpool_ring *r, uint32_t *requests)
{
    /* acq_rel, pairs with the acq_rel in fixedpool__supply_leave. As acquire: the last thread's
       entries come before ours. As release: the thread inside sees the frames that we freed. */
    *requests = atomic_fetch_add_explicit(&r->door, 1, memory_order_acq_rel) + 1;
    return *requests == 1;
}

/* False: the caller is still inside, and must look for idle frames again. */
static bool fixedpool__supply_leave(fixedpool_ring *r, uint32_t *requests)
{
    /* acq_rel, pairs with the acq_rel in fixedpool__supply_enter: as release, see there. As
       acquire, on failure: we see the frames that were freed before the requests. */
    return atomic_compare_exchange_strong_explicit(&r->door, requests, 0, memory_order_acq_rel,
                                                   memory_order_acquire);
}

/* Inside the door. The frames with a place, or more, while completions are being taken. */
static uint32_t fixedpool__supply_level(const fixedpool_ring *r)
{
    /* acquire, pairs with the release in fixedpool_ring_frame: the kernel has read the entries that
       are written over next. relaxed for given: it is written inside the door alone. */
    uint32_t taken = atomic_load_explicit(&r->taken, memory_order_acquire);
    return atomic_load_explicit(&r->given, memory_order_relaxed) - taken;
}

/* Inside the door, where there is room. Writes entries for leased frames and publishes them. */
static void fixedpool__supply_put(fixedpool_ring *r, const int *frames, uint32_t count)
{
    /* relaxed: written inside the door alone. */
    uint32_t given = atomic_load_explicit(&r->given, memory_order_relaxed);

    for (uint32_t i = 0; i < count; i++, given++) {
        uint32_t           frame = (uint32_t)frames[i];
        fixedpool__buffer *entry = &r->buffers[given & (r->entries - 1)];
        entry->address           = (uintptr_t)fixedpool__at(r->pool, frame);
        entry->length            = r->pool->frame_size;
        entry->id                = (uint16_t)frame;
        /* relaxed: the tail is the release. */
        atomic_store_explicit(&r->place[frame], 1, memory_order_relaxed);
    }
    atomic_store_explicit(&r->given, given, memory_order_relaxed);
    /* release, pairs with the kernel's acquire of the tail, and by that with the release in
       fixedpool_ring_frame: the entries and places are written. */
    atomic_store_explicit(&r->buffers[0].tail, (uint16_t)given, memory_order_release);
}

/* Inside the door. Leases idle frames for the free entries. */
static void fixedpool__supply_fill(fixedpool_ring *r)
{
    int      frames[64];
    uint32_t room, want, got;

    do {
        room = r->entries - fixedpool__supply_level(r);
        want = room < 64 ? room : 64;
        got  = want ? fixedpool_alloc_many(r->pool, frames, want) : 0;
        if (got > 0) fixedpool__supply_put(r, frames, got);
    } while (got > 0 && got == want);
}

FIXEDPOOL_API int fixedpool_ring_refill(fixedpool_ring *r)
{
    uint32_t requests, level;

    if (!r) return -EINVAL;
    if (!fixedpool__supply_enter(r, &requests)) return 0;
    do {
        fixedpool__supply_fill(r);
        level = fixedpool__supply_level(r);
    } while (!fixedpool__supply_leave(r, &requests));
    return level > 0 ? (int)level : -ENOBUFS;
}

FIXEDPOOL_API int fixedpool_ring_frame(fixedpool_ring *r, int32_t res, uint32_t flags, void **data)
{
    uint32_t frame = flags >> 16;

    if (!r) return -EINVAL;
    if (!(flags & FIXEDPOOL__CQE_BUFFER)) return -ENODATA;
    if (frame >= r->pool->frame_count) return -EINVAL;
    /* relaxed: the place was set before the tail, and the completion came after that. */
    uint32_t place = atomic_load_explicit(&r->place[frame], memory_order_relaxed);
    if (place == 0) return -EINVAL;
    if (data) *data = fixedpool__at(r->pool, frame) + (place - 1);
    uint32_t more = flags & FIXEDPOOL__CQE_BUF_MORE ? place + (res > 0 ? (uint32_t)res : 0) : 0;
    /* relaxed: the count below is the release. */
    atomic_store_explicit(&r->place[frame], more, memory_order_relaxed);
    /* release, pairs with the acquire in fixedpool__supply_level: the kernel read the entry. */
    if (!more) atomic_fetch_add_explicit(&r->taken, 1, memory_order_release);
    return (int)frame;
}

/* Whether a frame is leased, for a caller that says it holds the lease. */
static bool fixedpool__is_leased(const fixedpool *pool, uint32_t frame)
{
    const fixedpool__group *group = &pool->groups[fixedpool__group_of(pool, frame)];
    /* acquire, pairs with the acq_rel in fixedpool__absorb, as in fixedpool__look. */
    uint64_t shared = atomic_load_explicit(&group->shared, memory_order_acquire);
    uint32_t idle   = fixedpool__idle(shared, fixedpool__lent(pool, group, shared));
    return !(idle & UINT32_C(1) << fixedpool__offset_of(pool, frame));
}

FIXEDPOOL_API int fixedpool_ring_recycle(fixedpool_ring *r, int frame)
{
    uint32_t requests;

    if (!r || !fixedpool__is_frame(r->pool, frame)) return -EINVAL;
    /* relaxed: for the holder of the lease it is 0. */
    if (!fixedpool__is_leased(r->pool, (uint32_t)frame) ||
        atomic_load_explicit(&r->place[frame], memory_order_relaxed) != 0)
        return -EALREADY;
    if (!fixedpool__supply_enter(r, &requests)) {
        (void)fixedpool_free(r->pool, frame);
        (void)fixedpool_ring_refill(r); /* a request that comes after the free */
        return 0;
    }
    if (fixedpool__supply_level(r) < r->entries) fixedpool__supply_put(r, &frame, 1);
    else (void)fixedpool_free(r->pool, frame);
    while (!fixedpool__supply_leave(r, &requests)) fixedpool__supply_fill(r);
    return 0;
}

static long fixedpool__supply_call(const fixedpool_ring *r, int opcode, uint32_t flags)
{
    /* struct io_uring_buf_reg: address, entries, group and flags, reserved. */
    struct {
        uint64_t address;
        uint32_t entries;
        uint16_t group, flags;
        uint64_t reserved[3];
    } buffers = {(uintptr_t)r->buffers, r->entries, r->group, (uint16_t)flags, {0, 0, 0}};

    return fixedpool__io_uring_register(r->ring.fd, opcode, &buffers, 1);
}

/* Why the kernel refused to register the group, by its errno. */
static int fixedpool__supply_refusal(const fixedpool_ring *r, int error)
{
    if (error == EINVAL) return -ENOSYS; /* an operation or a flag that it does not know */
    if (error != EEXIST) return -error;
    /* The group exists, or the ring is another thread's. To the right thread the kernel says that
       it knows no flags where a group is unregistered. */
    if (fixedpool__supply_call(r, FIXEDPOOL__UNREGISTER_GROUP, 1) != 0 && errno == EEXIST)
        return -EPERM;
    return -EEXIST;
}

/* Maps a buffer ring: the entries on pages of their own, as the kernel wants them, then r. */
static fixedpool_ring *fixedpool__supply_map(const fixedpool *pool, uint32_t entries)
{
    size_t page   = (size_t)sysconf(_SC_PAGESIZE);
    size_t first  = (entries * sizeof(fixedpool__buffer) + page - 1) & ~(page - 1);
    size_t size   = first + sizeof(fixedpool_ring) + pool->frame_count * sizeof(uint32_t);
    size_t spare  = page - FIXEDPOOL__FRAME_ALIGN; /* FIXEDPOOL_MAP aligns to 4096 */
    char  *memory = (char *)FIXEDPOOL_MAP(size + spare);

    if (!memory) return NULL;
    char           *buffers = memory + (page - (uintptr_t)memory % page) % page;
    fixedpool_ring *r       = (fixedpool_ring *)(void *)(buffers + first);
    r->memory               = memory;
    r->size                 = size + spare;
    r->buffers              = (fixedpool__buffer *)(void *)buffers;
    return r;
}

static void fixedpool__supply_unmap(fixedpool_ring *r)
{
    void  *memory = r->memory; /* r lies in it */
    size_t size   = r->size;
    FIXEDPOOL_UNMAP(memory, size);
}

FIXEDPOOL_API int fixedpool_ring_open(fixedpool *pool, int ring_fd, uint16_t group,
                                      uint32_t entries, uint32_t flags, fixedpool_ring **r)
{
    if (!r) return -EINVAL;
    *r = NULL;
    if (!pool || entries == 0 || entries > FIXEDPOOL__ENTRIES || entries & (entries - 1) ||
        flags & ~(uint32_t)FIXEDPOOL_RING_INCREMENTAL)
        return -EINVAL;
    if (ring_fd < 0) return -EBADF; /* to the kernel -1 is something else */
    fixedpool_ring *made = fixedpool__supply_map(pool, entries);
    if (!made) return -ENOMEM;
    made->pool    = pool;
    made->entries = entries;
    made->group   = group;
    made->ring    = fixedpool__ring_of(ring_fd);
    uint32_t how  = flags & FIXEDPOOL_RING_INCREMENTAL ? FIXEDPOOL__GROUP_INCREMENTAL : 0;
    if (fixedpool__supply_call(made, FIXEDPOOL__REGISTER_GROUP, how) != 0) {
        int error = fixedpool__supply_refusal(made, errno);
        fixedpool__supply_unmap(made);
        return error;
    }
    /* relaxed: a count. */
    atomic_fetch_add_explicit(&pool->buffer_rings, 1, memory_order_relaxed);
    *r = made;
    return 0;
}

/* Whether the kernel has taken entries whose completions were not given to fixedpool_ring_frame. It
 * does not say before Linux 6.8. */
static bool fixedpool__supply_has_unseen(const fixedpool_ring *r)
{
    uint32_t status[10] = {r->group, 0}; /* group, head, reserved */
    /* relaxed: nobody else uses r. */
    uint32_t taken = atomic_load_explicit(&r->taken, memory_order_relaxed);

    return fixedpool__io_uring_register(r->ring.fd, FIXEDPOOL__GROUP_STATUS, status, 1) == 0 &&
           (uint16_t)status[1] != (uint16_t)taken;
}

FIXEDPOOL_API int fixedpool_ring_close(fixedpool_ring *r)
{
    if (!r) return 0;
    if (fixedpool__ring_is_open(&r->ring)) {
        if (fixedpool__supply_has_unseen(r)) return -EBUSY;
        long done = fixedpool__supply_call(r, FIXEDPOOL__UNREGISTER_GROUP, 0);
        if (done != 0 && errno == EEXIST) return -EPERM; /* another thread's */
        if (done != 0 && errno != ENOENT && errno != EINVAL) return -errno; /* those: it is gone */
    }
    fixedpool *pool = r->pool;
    for (uint32_t frame = 0; frame < pool->frame_count; frame++) /* relaxed: nobody else uses r */
        if (atomic_load_explicit(&r->place[frame], memory_order_relaxed) != 0)
            (void)fixedpool_free(pool, (int)frame);
    fixedpool__supply_unmap(r);
    /* relaxed: a count. */
    atomic_fetch_sub_explicit(&pool->buffer_rings, 1, memory_order_relaxed);
    return 0;
}

/* -- Stats and the end -- */

FIXEDPOOL_API void fixedpool_stats(const fixedpool *pool, struct fixedpool_info *stats)
{
    if (!stats) return;
    *stats = (struct fixedpool_info){.frame_count = 0};
    if (!pool) return;
    stats->frame_count = pool->frame_count;
    stats->leased      = pool->frame_count;
    for (uint32_t index = 0; index < pool->group_count; index++) {
        const fixedpool__group *group = &pool->groups[index];
        /* acquire, pairs with the acq_rel in fixedpool__absorb, as in fixedpool__look. */
        uint64_t shared = atomic_load_explicit(&group->shared, memory_order_acquire);
        uint32_t idle   = fixedpool__idle(shared, fixedpool__lent(pool, group, shared));
        stats->leased -= fixedpool__count(idle);
        if (fixedpool__state(shared) != FIXEDPOOL__UNOWNED) stats->cached += fixedpool__count(idle);
    }
    /* relaxed: counts. */
    stats->waits   = atomic_load_explicit(&pool->waits, memory_order_relaxed);
    stats->refused = atomic_load_explicit(&pool->refused, memory_order_relaxed);
    stats->caches  = atomic_load_explicit(&pool->caches, memory_order_relaxed);
    stats->rings   = atomic_load_explicit(&pool->registered, memory_order_relaxed);
    stats->pages   = pool->pages;
    stats->inherited = pool->inherited;
    stats->waiters = atomic_load_explicit(&pool->waiters, memory_order_relaxed);
    stats->buffer_rings = atomic_load_explicit(&pool->buffer_rings, memory_order_relaxed);
}

FIXEDPOOL_API int fixedpool_destroy(fixedpool *pool)
{
    struct fixedpool_info info;

    if (!pool) return 0;
    fixedpool_stats(pool, &info);
    if (info.leased > 0 || info.caches > 0 || info.rings > 0 || info.buffer_rings > 0 ||
        info.waiters > 0)
        return -EBUSY;
    fixedpool__show_all(pool);
    /* They may be the user's. */
    (void)fixedpool__madvise(pool->frames, pool->frames_size, FIXEDPOOL__MADV_DOFORK);
    FIXEDPOOL_UNMAP(pool->frames, pool->frames_size);
    /* relaxed: nobody else has the pool any more. */
    fixedpool__seats *next, *seats = atomic_load_explicit(&pool->seats, memory_order_relaxed);
    for (; seats; seats = next) {
        next = atomic_load_explicit(&seats->next, memory_order_relaxed);
        FIXEDPOOL_UNMAP(seats, sizeof *seats);
    }
    FIXEDPOOL_UNMAP(pool, pool->size);
    return 0;
}

#endif /* FIXEDPOOL_IMPLEMENTATION */

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
