/* bufpool.h - reference-counted buffers in size classes, an account for every tenant, and metrics
 * for Prometheus.
 *
 *     #define BUFPOOL_IMPLEMENTATION            // in one C file
 *     #include "bufpool.h"
 *     #include <stdio.h>
 *     #include <string.h>
 *
 *     int main(void)
 *     {
 *         bufpool     *pool;
 *         bufpool_view word;
 *
 *         if (bufpool_create(&pool, NULL) != 0) return 1;
 *         bufpool_tenant *tenant = bufpool_tenant_get(pool, "acme", 4);
 *         bufpool_buf    *buf    = bufpool_acquire(pool, 6000, tenant); // charged to acme
 *         if (!buf) return 1;
 *         strcpy(bufpool_data(buf), "say hello");
 *         if (bufpool_view_of(buf, 4, 5, &word) != 0) return 1; // a second reference: the view's
 *         bufpool_release(buf);                                 // any thread; one is left
 *         fwrite(word.data, 1, word.len, stdout);               // hello
 *         bufpool_view_drop(&word);                             // the last: the charge ends
 *         return bufpool_destroy(pool) != 0;                    // 0: no buffer is held
 *     }
 *
 * Include it in any file for the declarations. Macros to define before that:
 *
 *   BUFPOOL_IMPLEMENTATION        in one C file: adds the implementation to the declarations
 *   BUFPOOL_API                   is placed before each function. "static inline", together with
 *                                 BUFPOOL_IMPLEMENTATION in each file, gives the fastest calls
 *   BUFPOOL_ASSERT(x)             checks the header's own invariants; default: assert
 *   BUFPOOL_MAP(size)             returns zeroed memory aligned to 4096, or NULL; default: mmap
 *   BUFPOOL_UNMAP(memory, size)   gives such memory back to the system; default: munmap
 *
 * Those below BUFPOOL_API take effect in the file with BUFPOOL_IMPLEMENTATION. Define BUFPOOL_MAP
 * together with BUFPOOL_UNMAP.
 *
 * Requires Linux, and gcc or clang with C11 or later. The declarations are also C++11. Links with
 * no library. Licence: MIT or Unlicense, at the end of the file.
 */
#ifndef BUFPOOL_H
#define BUFPOOL_H

#define BUFPOOL_VERSION 200 /* 0.2.0: major * 10000 + minor * 100 + patch */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef BUFPOOL_API
#define BUFPOOL_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- bufpool --------------------------------------------------------------------------------
 *
 * Buffers of four sizes, and larger ones. A life of a buffer begins with acquire and one reference,
 * and ends when the last reference is released. A bufpool_buf * names one life. A tenant is charged
 * the bytes it asked for from acquire until the last release.
 *
 * Threads
 *
 *   Any thread calls any function of a pool. A cache belongs to one thread at a time. A pool, a
 *   cache, a tenant, a view and an array must not be NULL unless the function says so.
 *
 * Promises
 *
 *   - A buffer is recycled once, by the thread that releases its last reference. Everything its
 *     holders did to the buffer happens before the first access of the next holder.
 *   - A release beyond the last returns -ESTALE, is counted in underflows, and changes nothing
 *     else, even if the buffer was acquired again and others hold it. retain, view_of, view_cut and
 *     data fail in the same way, except that data is not counted.
 *   - Accounts are exact. When no thread is inside a call, live bytes are the bytes that were asked
 *     for and not yet released, plus those that were charged and not yet discharged, to the byte.
 *     During calls, stats see each of them in full or in part, but never an account below zero.
 *     Nothing is clamped without being counted.
 *   - Crossing a soft limit only increments a counter: no call is ever refused for it. An acquire
 *     or a charge counts if the tenant's live bytes, including its own, are above the limit.
 *   - No acquisition brings the live bytes of a tenant, of those above it, or of the pool above a
 *     cap; and none that fits is refused, whatever other threads do at the same moment.
 *   - At most idle_buffers of each class and idle_bytes in all are idle in the pool, and in each
 *     open cache cache_bytes of each class, or 32 buffers, and one small one.
 *   - A reader sees live bytes, live buffers and capacity that are too high by at most what goes
 * out while it looks. It looks up to 20 times, and keeps the best look: exact if nothing goes out
 *     during one of them, which takes some 50 ns for each cache and shard.
 *   - Memory comes from the system as it is touched: a buffer of 10 MiB of which 1.1 MiB are in use
 *     takes 1.1 MiB.
 *   - A new buffer has the content that its last user left in it, unless the pool has BUFPOOL_WIPE.
 *
 * Memory
 *
 *   Besides the buffers, 64 bytes for each buffer, or 273 for a medium one (for the most of its
 *   class that ever existed at a time), 17 KiB for each cache and for each of two shards per
 *   processor, some 330 bytes for each tenant. None of it is given back before the pool is
 *   destroyed.
 *
 * Waiting
 *
 *   A call may wait for another thread in five places; nowhere while that one is in a system call.
 *     - bufpool_acquire, bufpool_release, charge and discharge, if all shards, two per processor,
 *       are in use: until one is free.
 *     - A cache's call, while another thread takes idle buffers from the cache: for trim, or
 *       because the system has no memory.
 *     - A call for a tenant that is near a limit or a cap, or has no tab in the cache, for its
 * lock, which is held for some instructions; for those of its tabs, when surplus is recalled.
 *     - A call that needs a header, a seat or a name that is new, or room for one more idle buffer,
 *       for a lock that is held for some instructions; or, for a name, while the table of names is
 *       doubled.
 *     - acquire, when the system has no memory and idle buffers are in use by others: 5 ms at most.
 *   Waiting threads yield or sleep: a real-time thread never keeps the thread that it waits for off
 *   its processor.
 *
 * Limitations
 *
 *   - If a reference is released twice while others hold the buffer in the same life, the second
 *     release takes one of theirs. The last of them gets -ESTALE.
 *   - A bufpool_buf * that is kept for 64 lives of its buffer is valid again. At full speed, 64
 *     lives take 0.3 us.
 *   - If two threads release one last reference at the same moment, one gets 0 and one -ESTALE,
 *     unless one calls bufpool_cache_release: then both may get 0, and the buffer may be in the
 *     pool twice. (To tell them apart takes a locked instruction: Attiya et al., Laws of Order,
 *     POPL 2011.)
 *   - Small and medium buffers come from mappings of 256 KiB and 1 MiB. Their memory goes back to
 *     the system, but their addresses are the pool's until it is destroyed.
 *   - Larger buffers are mappings. Linux joins neighbouring mappings, and allows a process
 *     vm.max_map_count (65,530) pieces. Beyond that, with as many live buffers in between,
 *     addresses are lost, but no memory.
 *   - Where the system's pages are larger than 4 KiB, small buffers that go back to it are filled
 *     with zeros, and their memory stays in use.
 *   - A child after fork has a copy of its own. It may use the copy if no other thread was inside a
 *     call at the fork. */

typedef struct bufpool        bufpool;
typedef struct bufpool_buf    bufpool_buf;
typedef struct bufpool_tenant bufpool_tenant;
typedef struct bufpool_cache  bufpool_cache;

typedef enum bufpool_class {
    BUFPOOL_SMALL,    /* up to 4 KiB */
    BUFPOOL_MEDIUM,   /* up to 64 KiB */
    BUFPOOL_LARGE,    /* up to 1 MiB */
    BUFPOOL_HUGE,     /* up to 10 MiB */
    BUFPOOL_OVERSIZE, /* mapped and unmapped directly */
} bufpool_class;
enum { BUFPOOL_CLASSES = 4 }; /* those that are pooled */

enum {
    BUFPOOL_WIPE = 1u << 0, /* a buffer is zero for a new tenant; no tenant counts as one */
};

typedef struct bufpool_config {
    uint64_t tenant_soft_limit; /* bytes; 0 = 256 MiB */
    uint32_t idle_buffers;      /* kept in each class by the pool; 0 = 64 */
    size_t   idle_bytes;        /* kept over all classes by the pool; 0 = 64 MiB */
    uint32_t tenant_max;        /* named in metrics, the others summed as one; 0 = 10,000 */
    uint32_t flags;             /* BUFPOOL_WIPE */
    uint64_t max_bytes;         /* live at most, over all tenants; 0 = no cap */
    size_t   cache_bytes;       /* kept in each class by each cache, besides; 0 = 1 MiB */
} bufpool_config;

/* Returns the bytes of a buffer of this class, or SIZE_MAX for BUFPOOL_OVERSIZE. Any thread. */
BUFPOOL_API size_t bufpool_class_capacity(bufpool_class c);

/* Returns "small", "medium", "large", "huge" or "oversize". Any thread. */
BUFPOOL_API const char *bufpool_class_slug(bufpool_class c);

/* Returns the class of the buffer that bufpool_acquire gives for size bytes. Any thread. */
BUFPOOL_API bufpool_class bufpool_class_for(size_t size);

/* Creates a pool. If config is NULL, all defaults apply. Returns
 *   0        on success;
 *   -EINVAL  if pool is NULL, or a flag is unknown;
 *   -ENOMEM  if the system has no memory.
 * On failure *pool is NULL. */
BUFPOOL_API int bufpool_create(bufpool **pool, const bufpool_config *config);

/* -- Tenants -- */

/* Returns the tenant with this name, which is any 1 to 255 bytes. Any thread. Makes one, with the
 * soft limit of the pool, if there is none. A tenant stays until the pool is destroyed. Returns
 * NULL if the system has no memory, pool or name is NULL, or name_len is out of range.
 *
 * Names may come from strangers: nobody can choose them so that look-ups become slow. A known name
 * never waits. A new one may wait until the table of names is doubled (0.1 s at a million). */
BUFPOOL_API bufpool_tenant *bufpool_tenant_get(bufpool *pool, const char *name, size_t name_len);

/* Returns the tenant with this name below another, as bufpool_tenant_get does; NULL as well if
 * parent is NULL. Any thread. Its bytes are also its parent's, to any depth: caps hold on each
 * level, soft limits count what is charged to the tenant itself. The same name below another
 * parent, or none, is another tenant. */
BUFPOOL_API bufpool_tenant *bufpool_tenant_child(bufpool_tenant *parent, const char *name,
                                                 size_t name_len);

/* Sets the soft limit of a tenant from now on; 0 = the limit of the pool. Any thread. Does nothing
 * if tenant is NULL. */
BUFPOOL_API void bufpool_tenant_limit(bufpool_tenant *tenant, uint64_t soft_limit_bytes);

/* Caps what a tenant may hold. Any thread. Its live bytes never exceed max_bytes (0 = no cap) by an
 * acquisition, whatever other threads do at the same moment: bufpool_acquire then returns NULL, and
 * bufpool_try_acquire -EDQUOT. Charges are not refused, but count. reserved_bytes count on the cap
 * above, the parent's or the pool's, from now on, so that nobody else takes them. Returns
 *   0        on success;
 *   -EINVAL  if tenant is NULL, or more is reserved than max_bytes or 2^62;
 *   -EDQUOT  if the cap above has no place for the reservation: nothing has changed.
 * A cap below what is live refuses until enough is released.
 *
 * Far below its caps a tenant costs what it costs without. Near one, each acquisition and release
 * takes a lock, of the tenant with its children, or of the pool if that has a cap. */
BUFPOOL_API int bufpool_tenant_cap(bufpool_tenant *tenant, uint64_t max_bytes,
                                   uint64_t reserved_bytes);

/* Returns the tenant that was made after this one; the first if tenant is NULL; NULL after the
 * last, or if pool is NULL. Any thread. */
BUFPOOL_API bufpool_tenant *bufpool_tenant_next(const bufpool *pool, const bufpool_tenant *tenant);

/* Returns the name of a tenant, which ends with no zero, and its length in *len; NULL and 0 if
 * tenant is NULL. Any thread. */
BUFPOOL_API const char *bufpool_tenant_name(const bufpool_tenant *tenant, size_t *len);

/* Fills in the k tenants with the most live bytes, the largest first. Any thread. Looks at each
 * tenant once, and again at those that are among the k. Returns how many there are, up to k; 0 if
 * pool or tenants is NULL. If bytes come and go meanwhile, each counts as at some moment. */
BUFPOOL_API size_t bufpool_top(const bufpool *pool, bufpool_tenant **tenants, size_t k);

/* Begin a new peak_bytes, of a tenant or of a pool with a cap, with what is live. Any thread. Do
 * nothing if the argument is NULL. */
BUFPOOL_API void bufpool_peak_reset(bufpool_tenant *tenant);
BUFPOOL_API void bufpool_pool_peak_reset(bufpool *pool);

/* Charges a tenant for memory that is held elsewhere on its behalf, and ends such a charge. Any
 * thread. The part that would bring a tenant's charges below zero, or above 2^62 bytes, is left
 * out, and the call is counted in underflows. Does nothing if tenant is NULL. */
BUFPOOL_API void bufpool_charge(bufpool_tenant *tenant, uint64_t bytes);
BUFPOOL_API void bufpool_discharge(bufpool_tenant *tenant, uint64_t bytes);

struct bufpool_tenant_info {
    uint64_t soft_limit_bytes;
    uint64_t live_bytes; /* of a tenant with children: theirs as well, and what their caches have
                          * drawn ahead: up to a 64th of the least limit or cap for each */
    uint64_t soft_limit_exceeded; /* calls of acquire and charge that ended above the limit */
    uint64_t cap_bytes;           /* 0 = none */
    uint64_t reserved_bytes;
    uint64_t peak_bytes; /* the most that was live, and drawn ahead */
};

/* Fills in *stats. Any thread. If tenant is NULL, all fields are 0. Does nothing if stats is NULL.
 * */
BUFPOOL_API void bufpool_tenant_stats(const bufpool_tenant       *tenant,
                                      struct bufpool_tenant_info *stats);

/* -- Buffers -- */

/* Acquires a buffer of at least size bytes, with one reference. Any thread. Charges size bytes to
 * the tenant (NULL = none) until the last reference is released. The data is aligned to 4096.
 * Returns NULL if the system has no memory and nothing that is idle helps, wherever it is (but see
 * bufpool_trim: one small buffer in each cache is its thread's alone), if the tenant belongs to
 * another pool, or if pool is NULL. */
BUFPOOL_API bufpool_buf *bufpool_acquire(bufpool *pool, size_t size, bufpool_tenant *tenant);

/* Acquires as bufpool_acquire does, and says why it cannot. Any thread. Returns
 *   0        on success;
 *   -EDQUOT  if the tenant's live bytes with these, or those of a tenant or pool above it, would
 *            exceed a cap. Nothing that is released, or whose release has returned, is counted;
 *   -ENOMEM  if the system has no memory: see bufpool_acquire;
 *   -EINVAL  if pool or buf is NULL, or the tenant belongs to another pool.
 * On failure *buf is NULL, unless buf is NULL. */
BUFPOOL_API int bufpool_try_acquire(bufpool *pool, size_t size, bufpool_tenant *tenant,
                                    bufpool_buf **buf);

/* Acquires as bufpool_try_acquire does, and sleeps while the answer is -EDQUOT, for up to
 * timeout_ns nanoseconds; less than 0 = for ever. Any thread. Returns as that does, or -ETIMEDOUT
 * after timeout_ns nanoseconds, to the millisecond; -EDQUOT if that is 0. A size that is more than
 * a cap is waited for as well. Those that sleep are not served in order. */
BUFPOOL_API int bufpool_acquire_wait(bufpool *pool, size_t size, bufpool_tenant *tenant,
                                     int64_t timeout_ns, bufpool_buf **buf);

/* Writes 1 to an eventfd when bytes come back after an acquisition was refused for a cap: a loop
 * polls the descriptor, and tries again. One for each pool; -1 = none. Any thread; the caller
 * closes it, after another call. Returns 0, or -EINVAL if pool is NULL or fd is below -1. */
BUFPOOL_API int bufpool_event(bufpool *pool, int fd);

/* Charges a buffer to another tenant (NULL = none) from now on: a server knows the tenant only
 * after it has parsed the request. Any holder of a reference, one at a time. For a moment the bytes
 * count for both. With BUFPOOL_WIPE the content counts as the new tenant's. Returns 0        on
 * success; -EDQUOT  if the bytes would exceed a cap of the new tenant; -ESTALE  if the buffer has
 * no references, or buf is NULL; -EINVAL  if the tenant belongs to another pool. On failure the
 * buffer stays charged as it was. */
BUFPOOL_API int bufpool_rebill(bufpool_buf *buf, bufpool_tenant *tenant);

/* Returns the data of a buffer, or NULL if it has no references or buf is NULL. Any holder of a
 * reference. */
BUFPOOL_API void *bufpool_data(bufpool_buf *buf);

/* Returns how many bytes of a buffer may be used: size or more; 0 if buf is NULL. Any holder of a
 * reference. */
BUFPOOL_API size_t bufpool_capacity(const bufpool_buf *buf);

/* Returns the class of a buffer, or BUFPOOL_OVERSIZE if buf is NULL. Any holder of a reference. */
BUFPOOL_API bufpool_class bufpool_class_of(const bufpool_buf *buf);

/* Returns whether the caller's reference is the only one; false if buf is NULL. Any holder of a
 * reference. If it is, everything the other holders did to the buffer happens before the caller's
 * next access. */
BUFPOOL_API bool bufpool_writable(const bufpool_buf *buf);

/* Adds a reference. Any holder of a reference. Returns buf, or NULL if the buffer has no references
 * (counted in underflows) or has 33 million, or buf is NULL. */
BUFPOOL_API bufpool_buf *bufpool_retain(bufpool_buf *buf);

/* Releases a reference. Any thread. Returns
 *   n > 0    references that are left;
 *   0        if it was the last: the buffer is the pool's again;
 *   -ESTALE  if the buffer has no references, or buf is NULL.
 * A release beyond the last returns -ESTALE and changes nothing (see Promises and Limitations). */
BUFPOOL_API int bufpool_release(bufpool_buf *buf);

/* -- Views -- */

/* A part of a buffer. It holds one reference of its own, and can be cut again. */
typedef struct bufpool_view {
    const unsigned char *data;
    size_t               len;
    bufpool_buf         *buf;
} bufpool_view;

/* Makes a view of a buffer, or of a part of another view. Any holder of a reference, or of `from`.
 * A view may be cut into itself: this narrows it. Returns
 *   0        on success;
 *   -ERANGE  if the part exceeds the capacity of the buffer, or the len of `from`;
 *   -ESTALE  if the buffer has no references.
 * On failure *view is empty; a view that is cut into itself is unchanged. */
BUFPOOL_API int bufpool_view_of(bufpool_buf *buf, size_t offset, size_t len, bufpool_view *view);
BUFPOOL_API int bufpool_view_cut(const bufpool_view *from, size_t offset, size_t len,
                                 bufpool_view *view);

/* Copies what a view shows to a buffer of a smaller class, if there is one that holds it, and shows
 * it there: 20 bytes of a request that is done do not keep 10 MiB. The new buffer is charged for
 * view->len bytes to the tenant of the old one, whose reference is released. The view's holder, and
 * nobody who charges the buffer to another tenant meanwhile; before bufpool_destroy. Returns
 *   0        on success, or if there is no smaller class for it;
 *   -EDQUOT  if the bytes, which for a moment count twice, would exceed a cap;
 *   -ENOMEM  if the system has no memory: see bufpool_acquire;
 *   -ESTALE  if the buffer has no references, or the view is empty.
 * On failure the view is unchanged. */
BUFPOOL_API int bufpool_view_shrink(bufpool_view *view);

/* Empties a view and releases its reference, with the results of bufpool_release. Any thread. A
 * second drop returns -ESTALE. */
BUFPOOL_API int bufpool_view_drop(bufpool_view *view);

/* -- Caches -- */

/* Opens a cache: some buffers of each class for one thread, that it acquires and releases without
 * any locked instruction. Any thread. Returns NULL if the system has no memory, 4,096 caches are
 * open, or pool is NULL. A cache may move to another thread as any other data does: through a lock
 * or a queue.
 *
 * A cache keeps up to 32 buffers of a class, but not more than cache_bytes, and one small one, for
 * as long as it is open and nobody trims it. The number of caches does not matter. What a cache
 * releases beyond that passes through the pool. */
BUFPOOL_API bufpool_cache *bufpool_cache_open(bufpool *pool);

/* Acquires and releases a buffer, with the results of bufpool_acquire and bufpool_release. The
 * cache's thread. bufpool_cache_release accepts any buffer. */
BUFPOOL_API bufpool_buf *bufpool_cache_acquire(bufpool_cache *cache, size_t size,
                                               bufpool_tenant *tenant);
BUFPOOL_API int          bufpool_cache_release(bufpool_cache *cache, bufpool_buf *buf);

/* Closes a cache. The cache's thread. Idle buffers of the cache become idle buffers of the pool.
 * Does nothing if cache is NULL. */
BUFPOOL_API void bufpool_cache_close(bufpool_cache *cache);

/* -- The pool -- */

struct bufpool_info {
    uint64_t hits[BUFPOOL_CLASSES];   /* acquisitions that got an idle buffer */
    uint64_t misses[BUFPOOL_CLASSES]; /* acquisitions that got memory from the system */
    uint64_t oversize;                /* acquisitions above 10 MiB */
    uint64_t live_bytes;              /* asked for and not yet released, and charged; UINT64_MAX
                                       * if it is more */
    uint64_t live_buffers;
    uint64_t capacity_bytes; /* of live buffers */
    uint64_t idle_bytes;     /* pooled, ready for reuse */
    uint64_t tenants;
    uint64_t underflows;                    /* releases and discharges beyond what was held */
    uint64_t idle_buffers[BUFPOOL_CLASSES]; /* those in caches included */
    uint64_t caches;                        /* open */
    uint64_t cap_bytes;                     /* config.max_bytes; 0 = none */
    uint64_t peak_bytes; /* with a cap: the most that was live, and drawn ahead; else 0 */
};

/* Fills in *stats. Any thread; delays no other. If pool is NULL, all fields are 0. Does nothing if
 * stats is NULL. */
BUFPOOL_API void bufpool_stats(const bufpool *pool, struct bufpool_info *stats);

/* Writes the metrics as OpenMetrics 1.0 text. Any thread; delays no other. Returns the length of
 * the whole text without the final zero, and writes at most capacity bytes with it, as snprintf
 * does. If pool is NULL the text is empty. In a tenant's name, bytes that are not UTF-8, the byte
 * 0, and those of U+FFFD itself are each written as U+FFFD and two hexadecimal digits. */
#define BUFPOOL_METRICS_TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"
BUFPOOL_API size_t bufpool_metrics(const bufpool *pool, char *text, size_t capacity);

/* Gives idle buffers back to the system until at most keep_idle_bytes are idle, the largest buffers
 * first. Any thread. Returns how many bytes, or 0 if pool is NULL. One small buffer stays in each
 * cache; all of a cache's buffers stay if its thread is inside a call at this moment, or the kernel
 * has no membarrier(2) (before Linux 4.14), or has refused it to this pool once. */
BUFPOOL_API size_t bufpool_trim(bufpool *pool, size_t keep_idle_bytes);

/* Destroys a pool with its tenants. Any thread, while no other thread is inside a call, except for
 * bufpool_release and bufpool_view_drop. Returns how many buffers were held. They stay valid: the
 * pool's memory goes with the last of them and the last open cache. Does nothing and returns 0 if
 * pool is NULL. */
BUFPOOL_API size_t bufpool_destroy(bufpool *pool);

#ifdef __cplusplus
}
#endif
#endif /* BUFPOOL_H */

/* ======== BUFPOOL_IMPLEMENTATION ============================================================ */

#if defined BUFPOOL_IMPLEMENTATION && !defined BUFPOOL__IMPLEMENTED
#define BUFPOOL__IMPLEMENTED

/* ---- prelude: language ---- */

#ifdef __cplusplus
#error "bufpool.h: define BUFPOOL_IMPLEMENTATION in a C file; C++ gets the declarations"
#endif

/* ---- includes ---- */

#include <errno.h>
#include <limits.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/auxv.h>
#include <time.h>
#include <unistd.h>

/* ---- prelude: assert ---- */

#ifndef BUFPOOL_ASSERT
#include <assert.h>
#define BUFPOOL_ASSERT(condition) assert(condition)
#endif

/* ---- prelude: kernel ----
 *
 * In a strict build (-std=c11) a C library hides names, and each hides others. An #ifdef on a
 * hidden name would turn a feature off silently. So this header declares hidden calls under its
 * own names, which cannot repeat a declaration of the C library, and gives the kernel's numbers,
 * which are the same on every processor but two. */

#if defined __alpha__ || defined __hppa__
#error "bufpool.h: alpha and parisc number the advice of madvise differently"
#endif

#include <sys/mman.h>
#ifndef MAP_ANONYMOUS /* hidden by glibc, but not by the kernel's header */
#include <asm/mman.h>
#endif

int bufpool__madvise(void *memory, size_t size, int advice) __asm__("madvise");

enum {
    BUFPOOL__MADV_DONTNEED       = 4,
    BUFPOOL__MADV_DONTFORK       = 10,
    BUFPOOL__MADV_DOFORK         = 11,
    BUFPOOL__MADV_HUGEPAGE       = 14,
    BUFPOOL__MADV_NOHUGEPAGE     = 15,
    BUFPOOL__MADV_POPULATE_READ  = 22, /* this and the next: since Linux 5.14 */
    BUFPOOL__MADV_POPULATE_WRITE = 23,
};

/* ---- prelude: memory ---- */

#if defined BUFPOOL_MAP != defined BUFPOOL_UNMAP
#error "bufpool.h: define BUFPOOL_MAP and BUFPOOL_UNMAP, or neither"
#endif
#ifdef BUFPOOL_MAP
#define BUFPOOL__MAPS_ITSELF 0
#else
#define BUFPOOL__MAPS_ITSELF        1
#define BUFPOOL_MAP(size)           bufpool__map(size, 0)
#define BUFPOOL_UNMAP(memory, size) bufpool__unmap(memory, size)
#endif

/* Maps zeroed memory. Returns NULL on failure. */
static inline void *bufpool__map(size_t size, int flags)
{
    const int access = PROT_READ | PROT_WRITE;
    void     *memory = mmap(NULL, size, access, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

/* Unmaps memory. Where that would split a mapping and vm.max_map_count allows no more mappings, it
 * fails: then the pages go back to the system, unless they are locked; the addresses are lost. */
static inline void bufpool__unmap(void *memory, size_t size)
{
    if (munmap(memory, size) != 0) (void)bufpool__madvise(memory, size, BUFPOOL__MADV_DONTNEED);
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
#define BUFPOOL__ASAN
#elif defined __has_feature
#if __has_feature(address_sanitizer)
#define BUFPOOL__ASAN
#endif
#endif
#if defined BUFPOOL__ASAN
#include <sanitizer/asan_interface.h>
#define BUFPOOL__POISONS             1
#define BUFPOOL__HIDE(memory, size)  __asan_poison_memory_region(memory, size)
#define BUFPOOL__SHOW(memory, size)  __asan_unpoison_memory_region(memory, size)
#define BUFPOOL__FRESH(memory, size) __asan_unpoison_memory_region(memory, size)
#elif defined VALGRIND_MAKE_MEM_NOACCESS && !defined NVALGRIND
#define BUFPOOL__POISONS             RUNNING_ON_VALGRIND
#define BUFPOOL__HIDE(memory, size)  ((void)VALGRIND_MAKE_MEM_NOACCESS(memory, size))
#define BUFPOOL__SHOW(memory, size)  ((void)VALGRIND_MAKE_MEM_DEFINED(memory, size))
#define BUFPOOL__FRESH(memory, size) ((void)VALGRIND_MAKE_MEM_UNDEFINED(memory, size))
#else
#define BUFPOOL__HIDE(memory, size)  ((void)0)
#define BUFPOOL__SHOW(memory, size)  ((void)0)
#define BUFPOOL__FRESH(memory, size) ((void)0)
#endif

/* ---- prelude: compiler ---- */

#define BUFPOOL__COLD      __attribute__((cold, noinline))
#define BUFPOOL__HOT       __attribute__((always_inline)) inline
#define BUFPOOL__APART     __attribute__((noinline))
#define BUFPOOL__LIKELY(x) __builtin_expect(!!(x), 1)

/* ---- prelude: system call ---- */

#include <sys/syscall.h>

long bufpool__syscall(long number, ...) __asm__("syscall");

#ifndef BUFPOOL_SYSCALL /* tests define it, to let a call fail */
#define BUFPOOL_SYSCALL(number, a, b, c, d, e, f) \
    bufpool__syscall(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#endif

/* ---- prelude: fence ----
 *
 * A fence in two unequal halves. The light half, on the fast paths of a cache's thread, only keeps
 * the compiler from reordering. The heavy half has the kernel run a full fence on each processor
 * that runs a thread of this process. A light half and a heavy half order accesses as two seq_cst
 * fences do. (The model checker does not know membarrier(2), so it is given two such fences.) */

enum {
    BUFPOOL__MEMBARRIER       = 1 << 3, /* private expedited */
    BUFPOOL__MEMBARRIER_READY = 1 << 4, /* registers for it */
};

#ifndef BUFPOOL_LIGHT_FENCE
#define BUFPOOL_LIGHT_FENCE() atomic_signal_fence(memory_order_seq_cst)
#endif
#ifndef BUFPOOL_HEAVY_FENCE /* false: the kernel refuses it, as a sandbox may at any time */
#define BUFPOOL_HEAVY_FENCE() \
    (BUFPOOL_SYSCALL(SYS_membarrier, BUFPOOL__MEMBARRIER, 0, 0, 0, 0, 0) == 0)
#endif

/* ---- lock ----
 *
 * A word: 0 free, 1 held, 2 held and somebody may sleep for it. It is held for some instructions,
 * and never over a system call. A thread that finds it held sleeps, so that a holder that was
 * preempted can run on, also below a real-time thread that waits. If the kernel refuses futex(2),
 * it looks again each millisecond. */

#include <poll.h>
#include <sched.h>

#ifndef BUFPOOL_YIELDS /* the model checker is given less */
#define BUFPOOL_YIELDS 16
#endif

enum { BUFPOOL__FUTEX_WAIT = 0 | 128, BUFPOOL__FUTEX_WAKE = 1 | 128 }; /* 128: of this process */

/* Lets others run: at first those that may at once, then, for a millisecond, any. */
static void bufpool__pause(unsigned round)
{
    if (round < BUFPOOL_YIELDS) sched_yield();
    else (void)poll(NULL, 0, 1);
}

static void bufpool__lock_wait(_Atomic(uint32_t) *lock)
{
    /* acquire, pairs with the release in bufpool__unlock: the last holder's changes are seen. */
    while (atomic_exchange_explicit(lock, 2, memory_order_acquire) != 0)
        if (BUFPOOL_SYSCALL(SYS_futex, lock, BUFPOOL__FUTEX_WAIT, 2, 0, 0, 0) != 0 &&
            errno != EAGAIN && errno != EINTR)
            bufpool__pause(BUFPOOL_YIELDS);
}

static void bufpool__lock(_Atomic(uint32_t) *lock)
{
    uint32_t was = 0;

    /* acquire, pairs with the release in bufpool__unlock: the last holder's changes are seen. */
    if (!atomic_compare_exchange_strong_explicit(lock, &was, 1, memory_order_acquire,
                                                 memory_order_relaxed))
        bufpool__lock_wait(lock);
}

static void bufpool__unlock(_Atomic(uint32_t) *lock)
{
    /* release, pairs with the acquire in bufpool__lock and bufpool__lock_wait. */
    if (atomic_exchange_explicit(lock, 0, memory_order_release) == 2)
        (void)BUFPOOL_SYSCALL(SYS_futex, lock, BUFPOOL__FUTEX_WAKE, 1, 0, 0, 0);
}

/* ---- locked pages, and hints ---- */

enum { BUFPOOL__MADV_DONTNEED_LOCKED = 24 }; /* since Linux 5.18 */

/* An estimate of a buffer's references less one. relaxed, both: any number will do, and a wrong one
 * costs a second compare-exchange. The model checker is given a constant, so that it does not try
 * all numbers. */
#ifndef BUFPOOL_LOOKS /* at an account, for a moment in which nothing goes out; so is this */
#define BUFPOOL_LOOKS 20
#endif
#ifndef BUFPOOL_HINT
#define BUFPOOL_HINT(head)        atomic_load_explicit(&(head)->hint, memory_order_relaxed)
#define BUFPOOL_SET_HINT(head, n) atomic_store_explicit(&(head)->hint, n, memory_order_relaxed)
#endif

/* ---- How it works ----
 *
 *   acquire                                            the last release
 *      |                                                      |
 *   cache or shard <-- a stack for each class <-- as long as there is room
 *      | empty                                                | no room
 *   another shard's                                     BUFPOOL_UNMAP; the header is spare
 *      | none
 *   a spare header, BUFPOOL_MAP
 *
 * Each buffer has a header, apart from its memory, which stays until the pool goes: so it can be
 * asked at any time whether a bufpool_buf * is still good. That is the header's address, plus the
 * life's number modulo 64: one word of the header tells both the life and its references.
 *
 * A cache has a stack of idle buffers for each class, counters, and tabs for tenants. Only its
 * holder touches it: its thread; or, for the pool's own caches, the shards, the thread that locked
 * it. A thread takes the first shard that is not locked, beginning at its home; so nobody waits,
 * unless there are more threads inside calls than shards.
 *
 * A thread holds its cache without a locked instruction: it says that it is busy, and then looks
 * whether another thread has seized the cache. That thread, which seizes it to trim it, does the
 * same the other way round, and lets go if the owner is busy. Only a small buffer of the cache's
 * own, beside the stacks, is beyond anybody else's reach: to acquire and release that one takes no
 * such care.
 *
 * The order of the two looks takes a fence on the owner's side, which membarrier(2) runs there. If
 * the kernel refuses it, at create or later, nobody knows what the owner has seen: the thread that
 * seized the cache lets go of it, untouched, and the pool gives up fences for the rest of its life.
 * No cache is seized then. Its idle buffers are its thread's, until it closes it.
 *
 * A cache has a magazine: room in each stack for a fixed number of buffers. A budget limits how
 * many the shards may hold: a stack has room for so many, and over all shards
 *
 *       sum of room <= idle_buffers of a class,    sum of room * capacity <= idle_bytes
 *
 * A stack that is full asks for more room. That may come from what other shards do not use, or, of
 * another class that keeps more bytes, from what they do.
 *
 * Counters only grow, what comes in and what goes out apart. A reader reads all outs, then all ins.
 * An in happens before its out; so a thread that sees the out sees the in: no difference is ever
 * below zero, and nobody has to stop for it.
 *
 * A tenant's account lies in tabs, one in each cache that serves it: the cache's holder writes it
 * without looking at others. When two tenants want one tab, what it has is added to the first one's
 * own counters (folded), under a sequence lock, so that a reader counts it once. Limits and caps
 * are about what is granted: see "account". */

enum {
    BUFPOOL__LINE     = 64,
    BUFPOOL__PAGE     = 4096, /* of ours: a small buffer, or a chunk. The system's may be larger */
    BUFPOOL__LIVES    = 64,   /* that the names of a buffer tell apart: its header's alignment */
    BUFPOOL__HEADS    = 63,   /* in a chunk, at most */
    BUFPOOL__MEDIUMS  = 15,   /* in a chunk with medium buffers */
    BUFPOOL__TABS     = 256,
    BUFPOOL__SHARDS   = 1024,      /* at most */
    BUFPOOL__CACHES   = 4096,      /* open at most */
    BUFPOOL__MAGAZINE = 32,        /* buffers of a class that a cache keeps, at most */
    BUFPOOL__BATCH    = 8,         /* buffers that come from a shard at once */
    BUFPOOL__PATIENCE = 100,       /* rounds that trim waits for a cache */
    BUFPOOL__SCRAPES  = 20,        /* rounds in which acquire looks for idle memory */
    BUFPOOL__NAMES    = 256 << 10, /* bytes of an arena for tenants */
    BUFPOOL__NAME_MAX = 255,
    BUFPOOL__TENANT_MOST = 512,      /* bytes, with the longest name */
    BUFPOOL__TABLE       = 1024,     /* slots of the first table */
    BUFPOOL__ROOM        = 64 << 10, /* bytes that a tab may have as surplus, if limits allow it */
    BUFPOOL__CALM        = 64,       /* calls after which it may have surplus again */
    BUFPOOL__RECALLS     = 1000,     /* rounds in which surplus is recalled before a call fails */
};

#define BUFPOOL__CHARGE_MAX (UINT64_C(1) << 62)
#define BUFPOOL__UNDECIDED  (INT64_C(1) << 40) /* holders, until destroy knows how many */

/* A header's word: the life's number modulo 64 above, references, or one of the marks, below. */
#define BUFPOOL__LIFE_SHIFT 26
#define BUFPOOL__SPARE      UINT32_C(0) /* has no memory */
#define BUFPOOL__IDLE                                                       \
    (UINT32_C(1) << 25) /* in a stack, or between its last release and one, \
                         * or the system. Below: references */

/* In chunks. Fields other than the word are accessed only by the thread that has the only
 * reference, or holds the stack that the buffer is in. */
typedef struct bufpool__head {
    alignas(BUFPOOL__LIVES) _Atomic(uint32_t) word;
    unsigned char         kind;   /* a bufpool_class */
    bool                  is_new; /* from the system, and not yet counted */
    _Atomic(uint16_t)     hint;   /* references that there were last, less 1, modulo 2^16 */
    unsigned char        *data;
    size_t                size;   /* asked for, and charged */
    bufpool_tenant       *tenant; /* that it is charged to, or was last */
    struct bufpool__head *next;   /* in a stack, or of the spare ones */
    bufpool              *pool;
    size_t                capacity;
    bufpool              *small_of; /* the pool, if it is small; else NULL */
} bufpool__head;

typedef struct bufpool__chunk {
    alignas(BUFPOOL__LINE) struct bufpool__chunk *next;
    size_t        size; /* of the mapping, buffers included */
    bufpool__head heads[BUFPOOL__HEADS];
} bufpool__chunk;

/* What a name points to, so that any address is fine. */
struct bufpool_buf {
    unsigned char byte;
};

/* Of one class. The cache's holder writes; anyone reads what is atomic. */
typedef struct bufpool__stack {
    alignas(BUFPOOL__LINE) bufpool__head *top;
    _Atomic(uint32_t) count;
    _Atomic(uint32_t) room; /* count <= room */
    _Atomic(uint64_t) hits;
    _Atomic(uint64_t) misses;
    _Atomic(uint64_t) released;
} bufpool__stack;

/* A tenant's account in one cache: see "account". */
typedef struct bufpool__tab {
    alignas(BUFPOOL__LINE) _Atomic(bufpool_tenant *) tenant; /* its holder writes this, and these */
    _Atomic(uint64_t)               in;                      /* bytes */
    _Atomic(uint64_t)               out;
    _Atomic(uint64_t)               drawn;
    _Atomic(uint64_t)               quota;  /* under the tenant's lock */
    _Atomic(struct bufpool__tab *)  next;   /* of the tenant; under its lock */
    _Atomic(struct bufpool__tab *) *before; /* what points to it; under the lock */
} bufpool__tab;

/* What is granted to a tenant, or to all, and how much may be. Under the lock of the tree. */
typedef struct bufpool__level {
    _Atomic(uint64_t)      granted;
    _Atomic(uint64_t)      peak; /* the most that was granted */
    uint64_t               cap;
    uint64_t               reserved;
    struct bufpool__level *above;
    bool                   loose; /* tabs below it may have surplus */
} bufpool__level;

/* A thread's, or a shard. Its memory stays until the pool goes, and with it its counters. */
struct bufpool_cache {
    alignas(2 * BUFPOOL__LINE) _Atomic(uint32_t) busy; /* its holder is in a call. A shard's lock */
    _Atomic(uint32_t)      seized;                     /* not a shard's: its thread waits */
    uint32_t               number;                     /* its seat */
    bool                   is_shard;
    bool                   has_own; /* until destroy */
    bufpool               *pool;
    bufpool_cache         *left; /* closed before it; under the pool's lock */
    _Atomic(bufpool_buf *) own;  /* a small buffer, by its name in its next life, or
                                  * NULL: lent, or not there */
    _Atomic(uint64_t) in;        /* bytes, over all tenants */
    _Atomic(uint64_t) out;
    bufpool_tenant   *nobody; /* as the pool's */

    alignas(BUFPOOL__LINE) _Atomic(uint64_t) oversize;
    _Atomic(uint64_t) oversize_released;
    _Atomic(uint64_t) oversize_in; /* bytes of capacity */
    _Atomic(uint64_t) oversize_out;
    _Atomic(uint64_t) charged_in; /* bytes, over all tenants */
    _Atomic(uint64_t) charged_in_high;
    _Atomic(uint64_t) charged_out;
    _Atomic(uint64_t) charged_out_high;

    bufpool__stack stacks[BUFPOOL_CLASSES];
    bufpool__tab   tabs[BUFPOOL__TABS];
};

struct bufpool_tenant {
    /* Under the lock; what is atomic is read without it. */
    alignas(BUFPOOL__LINE) bufpool__level level;
    _Atomic(uint64_t)       charged_in; /* part of live bytes; both only grow */
    _Atomic(uint64_t)       charged_out;
    _Atomic(uint64_t)       exceeded;
    _Atomic(uint64_t)       folds; /* odd: tabs are changed */
    _Atomic(uint64_t)       in;    /* of tabs that were folded */
    _Atomic(uint64_t)       out;
    _Atomic(bufpool__tab *) tabs;
    uint32_t                calm; /* calls since room became 0 that were far below all limits */
    bool                    has_children;

    /* Hardly ever written; all that a look-up reads, if the name is short. */
    alignas(BUFPOOL__LINE) bufpool *pool;
    _Atomic(uint64_t)         room; /* a tab's surplus is below it; 0: no tab may have any */
    _Atomic(uint64_t)         limit;
    _Atomic(uint32_t)        *lock;
    bufpool_tenant           *parent;
    _Atomic(bufpool_tenant *) next;   /* that was made after it */
    uint32_t                  number; /* 0 .. */
    uint32_t                  hash;
    _Atomic(uint32_t)         own_lock;
    unsigned char             name_len;
    char                      name[];
};

/* Open addressing, at most half full; never shrinks, nothing is ever taken out. */
typedef struct bufpool__table {
    struct bufpool__table *older; /* somebody may still look into it */
    uint32_t               mask;
    struct bufpool__slot {
        _Atomic(uint32_t)         hash; /* of its tenant */
        _Atomic(bufpool_tenant *) tenant;
    } slots[];
} bufpool__table;

typedef struct bufpool__arena {
    struct bufpool__arena *next;
    size_t                 used;
} bufpool__arena;

struct bufpool {
    /* Constant after create. */
    alignas(BUFPOOL__LINE) bufpool_config config; /* with the defaults filled in */
    uint64_t          key[2];                     /* of the hash of names */
    size_t            system_page;                /* bytes */
    uint32_t          shard_count;
    _Atomic(uint32_t) has_fences; /* 0, and so it stays: the kernel has no membarrier, or refused
                                   * one. An old 1 costs one that is refused as well */
    bufpool_cache *shards;

    /* Any thread. */
    alignas(BUFPOOL__LINE) _Atomic(uint64_t) underflows;
    _Atomic(int64_t)  holders;  /* of the pool, after destroy */
    _Atomic(int32_t)  carriers; /* threads that have idle buffers in their hands */
    _Atomic(uint32_t) recalls;  /* under way */
    _Atomic(uint32_t) refused;  /* a call was, since the last event */
    _Atomic(uint32_t) events;   /* a futex: bytes have come back */
    _Atomic(int)      event_fd; /* an eventfd and 1, or 0 */
    _Atomic(uint32_t) all_lock;
    bufpool__level    all;    /* if there is a cap of the pool; under all_lock */
    bufpool_tenant   *nobody; /* then: that buffers without a tenant are charged to */

    /* Under the lock; what is atomic is read without it. A thread that holds a cache may take the
     * lock; a thread that has the lock only tries for a cache. */
    alignas(BUFPOOL__LINE) _Atomic(uint32_t) lock;
    _Atomic(uint32_t) closed; /* destroyed */
    _Atomic(uint32_t) seat_count;
    _Atomic(uint32_t) caches;                /* open */
    bufpool_cache    *left;                  /* closed */
    uint32_t          kept[BUFPOOL_CLASSES]; /* sum of room in shards */
    size_t            kept_bytes;
    bufpool__head    *spare[BUFPOOL_LARGE + 1]; /* by bufpool__sort */
    bufpool__chunk   *chunks;

    /* Under this one; the same. */
    alignas(BUFPOOL__LINE) _Atomic(uint32_t) names_lock;
    _Atomic(uint32_t)         tenant_count;
    _Atomic(bufpool__table *) table;
    _Atomic(bufpool_tenant *) first_tenant;
    bufpool_tenant           *last_tenant;
    bufpool__arena           *arenas;

    _Atomic(bufpool_cache *) seats[BUFPOOL__SHARDS + BUFPOOL__CACHES]; /* shards come first */
};

_Static_assert(sizeof(bufpool__head) == BUFPOOL__LIVES, "a name stays within its header");
_Static_assert(sizeof(bufpool__chunk) == BUFPOOL__PAGE, "a chunk is a page");
_Static_assert(sizeof(bufpool_tenant) + BUFPOOL__NAME_MAX <= BUFPOOL__TENANT_MOST, "with its name");
_Static_assert(sizeof(bufpool__stack) == BUFPOOL__LINE, "a class is a line");
_Static_assert(ATOMIC_INT_LOCK_FREE == 2 && ATOMIC_LLONG_LOCK_FREE == 2, "lock-free is meant");

/* -- Helpers -- */

static const size_t bufpool__capacities[] = {4096, 64 << 10, 1 << 20, 10 << 20, SIZE_MAX};

BUFPOOL_API size_t bufpool_class_capacity(bufpool_class c)
{
    return bufpool__capacities[c < BUFPOOL_OVERSIZE ? c : BUFPOOL_OVERSIZE];
}

BUFPOOL_API const char *bufpool_class_slug(bufpool_class c)
{
    static const char *const slugs[] = {"small", "medium", "large", "huge", "oversize"};
    return slugs[c < BUFPOOL_OVERSIZE ? c : BUFPOOL_OVERSIZE];
}

BUFPOOL_API bufpool_class bufpool_class_for(size_t size)
{
    bufpool_class c = BUFPOOL_SMALL;

    while (!BUFPOOL__LIKELY(size <= bufpool__capacities[c])) c = (bufpool_class)(c + 1);
    return c;
}

static inline bufpool__head *bufpool__head_of(const bufpool_buf *buf)
{
    return (bufpool__head *)((uintptr_t)buf & ~(uintptr_t)(BUFPOOL__LIVES - 1));
}

/* The word of a buffer without references, in the life that the name is of. */
static inline uint32_t bufpool__life_of(const bufpool_buf *buf)
{
    return (uint32_t)((uintptr_t)buf % BUFPOOL__LIVES) << BUFPOOL__LIFE_SHIFT;
}

/* The name of the same buffer in the next life. */
static inline bufpool_buf *bufpool__next_life(const bufpool_buf *buf)
{
    return (bufpool_buf *)bufpool__head_of(buf) + ((uintptr_t)buf + 1) % BUFPOOL__LIVES;
}

/* The same, of a buffer that nobody holds. relaxed: so nobody changes the word. */
static inline bufpool_buf *bufpool__next_name(bufpool__head *head)
{
    uint32_t word = atomic_load_explicit(&head->word, memory_order_relaxed);
    return bufpool__next_life((bufpool_buf *)head + (word >> BUFPOOL__LIFE_SHIFT));
}

/* The references that the word tells of; something else if it is of another life. */
static inline uint32_t bufpool__refs(const bufpool_buf *buf, uint32_t word)
{
    return word - bufpool__life_of(buf);
}

/* Whether the buffer has references in the life that the name is of. */
static inline bool bufpool__is_good(const bufpool_buf *buf, uint32_t word)
{
    return bufpool__refs(buf, word) - 1 < BUFPOOL__IDLE - 1;
}

/* Adds to a counter with one writer at a time. relaxed, both: only that thread writes; a reader may
   get an older value. */
static inline void bufpool__add(_Atomic(uint64_t) *counter, uint64_t value)
{
    value += atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value, memory_order_relaxed);
}

/* Adds to a counter that others read in some order. release, pairs with the acquire in bufpool__sum
   and bufpool__read: a thread that sees an out sees its in, and all else that we did before. */
static inline void bufpool__publish(_Atomic(uint64_t) *counter, uint64_t value)
{
    value += atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value, memory_order_release);
}

/* relaxed: what only the holder writes, or a look from elsewhere that is confirmed by locking. */
static inline uint32_t bufpool__get(const _Atomic(uint32_t) *number)
{
    return atomic_load_explicit(number, memory_order_relaxed);
}
static inline void bufpool__set(_Atomic(uint32_t) *number, uint32_t value)
{
    atomic_store_explicit(number, value, memory_order_relaxed);
}

/* relaxed: a thread that read seat_count, or a bit in a tenant's seats, with acquire sees the
   seat. */
static inline bufpool_cache *bufpool__seat(const bufpool *pool, uint32_t number)
{
    return atomic_load_explicit(&pool->seats[number], memory_order_relaxed);
}

static BUFPOOL__COLD int bufpool__refuse(const bufpool_buf *buf)
{
    /* relaxed: a count; nobody concludes anything from it. */
    if (buf)
        atomic_fetch_add_explicit(&bufpool__head_of(buf)->pool->underflows, 1,
                                  memory_order_relaxed);
    return -ESTALE;
}

/* -- Headers and their memory --
 *
 * A chunk is a page of headers, and the memory of their buffers, if they are small or medium, in
 * one mapping. It is cut into places of the buffers' size; the headers take the first:
 *
 *      small:   headers | 1 | 2 | ... | 63        256 KiB
 *      medium:  headers | 1 | 2 | ... | 15        1 MiB
 *      others:  headers                           4 KiB; each buffer is a mapping of its own
 *
 * All chunks have the same advice, so Linux joins those that are neighbours: mappings, of which a
 * process has few, do not grow with the number of buffers. The memory of a buffer in a chunk goes
 * back to the system by madvise, which splits no mapping; its addresses stay the header's. Where
 * the program maps, all headers are of the third sort, so that it gets back what it mapped. */

/* Which sort of chunk has the headers of a class: small, medium, or large for all others. */
static inline uint32_t bufpool__sort(bufpool_class kind)
{
    return BUFPOOL__MAPS_ITSELF && kind < BUFPOOL_LARGE ? kind : BUFPOOL_LARGE;
}

/* Returns a new chunk, whose headers are a list; NULL: there is no memory. */
static BUFPOOL__COLD bufpool__chunk *bufpool__chunk_map(bufpool *pool, uint32_t sort)
{
    size_t          place = sort < BUFPOOL_LARGE ? bufpool__capacities[sort] : 0;
    size_t          count = sort == BUFPOOL_MEDIUM ? BUFPOOL__MEDIUMS : BUFPOOL__HEADS;
    size_t          size  = place > 0 ? (count + 1) * place : BUFPOOL__PAGE;
    bufpool__chunk *chunk = (bufpool__chunk *)BUFPOOL_MAP(size);

    if (!chunk) return NULL;
    if (BUFPOOL__MAPS_ITSELF) (void)bufpool__madvise(chunk, size, BUFPOOL__MADV_NOHUGEPAGE);
    if (place > 0) BUFPOOL__HIDE((unsigned char *)chunk + place, size - place);
    chunk->size = size;
    for (size_t i = 0; i < count; i++) {
        chunk->heads[i].pool = pool;
        chunk->heads[i].data = place > 0 ? (unsigned char *)chunk + (i + 1) * place : NULL;
        chunk->heads[i].next = i + 1 < count ? &chunk->heads[i + 1] : NULL;
    }
    return chunk;
}

/* Takes a spare header, after a new chunk, if there is one, has become the pool's. NULL: none. */
static bufpool__head *bufpool__spare_take(bufpool *pool, uint32_t sort, bufpool__chunk *chunk)
{
    bufpool__head *last = chunk ? &chunk->heads[0] : NULL;

    while (last && last->next) last = last->next;
    bufpool__lock(&pool->lock);
    if (chunk) {
        chunk->next       = pool->chunks;
        pool->chunks      = chunk;
        last->next        = pool->spare[sort];
        pool->spare[sort] = chunk->heads;
    }
    bufpool__head *head = pool->spare[sort];
    if (head) pool->spare[sort] = head->next;
    bufpool__unlock(&pool->lock);
    return head;
}

/* A header without memory; NULL: out of memory. */
static bufpool__head *bufpool__new_head(bufpool *pool, uint32_t sort)
{
    bufpool__head *head = bufpool__spare_take(pool, sort, NULL);
    return head ? head : bufpool__spare_take(pool, sort, bufpool__chunk_map(pool, sort));
}

static void bufpool__free_all(bufpool *pool);

/* A cache that was open, or a buffer that was held, when the pool was destroyed. */
static BUFPOOL__COLD void bufpool__leave(bufpool *pool)
{
    /* acq_rel, pairs with the acq_rel in bufpool__leave and bufpool_destroy: the accesses of all
       others happen before the last one's unmapping. */
    if (atomic_fetch_sub_explicit(&pool->holders, 1, memory_order_acq_rel) == 1)
        bufpool__free_all(pool);
}

/* Memory that is zero, for a header without. False: there is none. */
static bool bufpool__get_memory(bufpool__head *head, bufpool_class kind, size_t capacity)
{
    head->kind     = (unsigned char)kind;
    head->small_of = kind == BUFPOOL_SMALL ? head->pool : NULL;
    head->capacity = capacity;
    if (bufpool__sort(kind) < BUFPOOL_LARGE) return true;
    head->data = (unsigned char *)BUFPOOL_MAP(capacity);
    /* A buffer of 10 MiB takes memory as it is touched, not by 2 MiB. */
    if (BUFPOOL__MAPS_ITSELF && head->data && kind == BUFPOOL_HUGE)
        (void)bufpool__madvise(head->data, capacity, BUFPOOL__MADV_NOHUGEPAGE);
    return head->data != NULL;
}

/* Gives a buffer's memory back to the system, and keeps the addresses, which then read as zero.
 * Returns false if the memory is not ours; is locked, before Linux 5.18; or
 * is no whole pages of the system: madvise rounds up, and would take the neighbours' bytes. */
static bool bufpool__drop(const bufpool__head *head)
{
    if (!BUFPOOL__MAPS_ITSELF ||
        ((uintptr_t)head->data | head->capacity) % head->pool->system_page != 0)
        return false;
    if (bufpool__madvise(head->data, head->capacity, BUFPOOL__MADV_DONTNEED) == 0) return true;
    head->data[0] = 1; /* qemu says yes to advice that it does not know, and does nothing */
    return bufpool__madvise(head->data, head->capacity, BUFPOOL__MADV_DONTNEED_LOCKED) == 0 &&
           head->data[0] == 0;
}

static void bufpool__return_memory(bufpool__head *head)
{
    if (!head->data) return;
    BUFPOOL__SHOW(head->data, head->capacity);
    if (bufpool__sort(head->kind) == BUFPOOL_LARGE) {
        BUFPOOL_UNMAP(head->data, head->capacity);
        head->data = NULL;
        return;
    }
    if (!bufpool__drop(head)) memset(head->data, 0, head->capacity);
    BUFPOOL__HIDE(head->data, head->capacity);
}

/* A buffer that nobody else knows of has no memory from now on; the header is spare. */
static BUFPOOL__COLD void bufpool__discard(bufpool__head *head)
{
    bufpool *pool = head->pool;

    bufpool__return_memory(head);
    bufpool__lock(&pool->lock);
    bool closed = bufpool__get(&pool->closed) != 0;
    if (!closed) { /* if it is, then destroy counts the buffer among those that are held */
        uint32_t life = bufpool__get(&head->word) >> BUFPOOL__LIFE_SHIFT << BUFPOOL__LIFE_SHIFT;
        bufpool__set(&head->word, life + BUFPOOL__SPARE);
        uint32_t sort     = bufpool__sort(head->kind);
        head->next        = pool->spare[sort];
        pool->spare[sort] = head;
    }
    bufpool__unlock(&pool->lock);
    if (closed) bufpool__leave(pool);
}

static void bufpool__discard_all(bufpool__head *list)
{
    while (list) {
        bufpool__head *next = list->next;
        bufpool__discard(list);
        list = next;
    }
}

/* -- Holding a cache -- */

/* The shard that a thread begins to look at, in any pool. relaxed: any number will do. */
static _Thread_local uint32_t bufpool__home = UINT32_MAX;

static BUFPOOL__COLD uint32_t bufpool__new_home(const bufpool *pool)
{
    static _Atomic(uint32_t) threads;

    bufpool__home =
        atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed) % pool->shard_count;
    return bufpool__home;
}

/* Whether the shard was free, and is locked now. */
static inline bool bufpool__try(bufpool_cache *shard)
{
    /* acquire, pairs with the release in bufpool__give_back: it is as the last one left it. */
    return atomic_exchange_explicit(&shard->busy, 1, memory_order_acquire) == 0;
}

/* The first shard from the thread's home on that is free; locks it. */
static BUFPOOL__COLD bufpool_cache *bufpool__borrow_other(bufpool *pool)
{
    uint32_t home = bufpool__home;

    for (uint32_t tries = 1;; tries++) {
        bufpool_cache *shard = &pool->shards[(home + tries) % pool->shard_count];
        if (bufpool__get(&shard->busy) == 0 && bufpool__try(shard)) return shard;
        if (tries % pool->shard_count == 0) bufpool__pause(tries / pool->shard_count - 1);
    }
}

static BUFPOOL__HOT bufpool_cache *bufpool__borrow(bufpool *pool)
{
    uint32_t home = bufpool__home;

    if (!BUFPOOL__LIKELY(home < pool->shard_count)) home = bufpool__new_home(pool);
    bufpool_cache *shard = &pool->shards[home];
    return BUFPOOL__LIKELY(bufpool__try(shard)) ? shard : bufpool__borrow_other(pool);
}

/* The end of each call. */
static inline void bufpool__give_back(bufpool_cache *cache)
{
    /* release, pairs with the acquire in bufpool__try and bufpool__seize. */
    atomic_store_explicit(&cache->busy, 0, memory_order_release);
}

static BUFPOOL__COLD void bufpool__wait(bufpool_cache *cache)
{
    /* acquire, pairs with the release in bufpool__let_go and bufpool__seize. */
    for (unsigned round = 0; atomic_load_explicit(&cache->seized, memory_order_acquire); round++) {
        bufpool__give_back(cache);
        bufpool__pause(round);
        bufpool__set(&cache->busy, 1);
        BUFPOOL_LIGHT_FENCE(); /* light, pairs with the heavy fence in bufpool__seize */
    }
}

/* The cache's thread begins a call. */
static BUFPOOL__HOT void bufpool__enter(bufpool_cache *cache)
{
    bufpool__set(&cache->busy, 1);
    /* light, pairs with the heavy fence in bufpool__seize: either we see that the cache is seized,
       or the thread that seized it sees that we are busy. */
    BUFPOOL_LIGHT_FENCE();
    /* acquire, pairs with the release in bufpool__let_go: what they did to it is done. */
    if (!BUFPOOL__LIKELY(!atomic_load_explicit(&cache->seized, memory_order_acquire)))
        bufpool__wait(cache);
}

/* Whether any thread but its own can take hold of a cache. */
static bool bufpool__may_seize(const bufpool_cache *cache)
{
    return cache->is_shard || bufpool__get(&cache->pool->has_fences);
}

/* Takes hold of any cache. False: somebody is inside a call on it, or there are no fences. */
static bool bufpool__seize(bufpool_cache *cache)
{
    uint32_t was = 0;

    if (cache->is_shard) return bufpool__get(&cache->busy) == 0 && bufpool__try(cache);
    if (!bufpool__may_seize(cache)) return false;
    /* acquire, pairs with the release in bufpool__let_go and bufpool__seize, by another thread that
       seized it. */
    if (!atomic_compare_exchange_strong_explicit(&cache->seized, &was, 1, memory_order_acquire,
                                                 memory_order_relaxed))
        return false;
    /* heavy, pairs with the light fence in bufpool__enter and bufpool__wait. Without it, not busy
       means nothing. */
    bool fenced = BUFPOOL_HEAVY_FENCE();
    if (!fenced) bufpool__set(&cache->pool->has_fences, 0);
    /* acquire, pairs with the release in bufpool__give_back. */
    if (fenced && atomic_load_explicit(&cache->busy, memory_order_acquire) == 0) return true;
    /* release, pairs with the acquire in bufpool__seize and bufpool__wait. */
    atomic_store_explicit(&cache->seized, 0, memory_order_release);
    return false;
}

static void bufpool__let_go(bufpool_cache *cache)
{
    if (cache->is_shard) bufpool__give_back(cache);
    /* release, pairs with the acquire in bufpool__enter, bufpool__wait and bufpool__seize. */
    else atomic_store_explicit(&cache->seized, 0, memory_order_release);
}

/* -- Stacks, of a cache that we hold -- */

static inline void bufpool__link(bufpool__head **list, bufpool__head *head)
{
    head->next = *list;
    *list      = head;
}

static inline bool bufpool__has_room(const bufpool__stack *stack)
{
    return bufpool__get(&stack->count) < bufpool__get(&stack->room);
}

/* A buffer that nobody has is idle from now on; there is room for it. */
static inline void bufpool__push(bufpool__stack *stack, bufpool__head *head)
{
    bufpool__link(&stack->top, head);
    bufpool__set(&stack->count, bufpool__get(&stack->count) + 1);
}

static inline bufpool__head *bufpool__pop(bufpool__stack *stack)
{
    bufpool__head *head = stack->top;

    if (!BUFPOOL__LIKELY(head)) return NULL;
    stack->top = head->next;
    bufpool__set(&stack->count, bufpool__get(&stack->count) - 1);
    return head;
}

/* -- The budget of the shards, under the pool's lock -- */

static bool bufpool__has_budget(const bufpool *pool, uint32_t c)
{
    return pool->kept[c] < pool->config.idle_buffers &&
           bufpool__capacities[c] <= pool->config.idle_bytes - pool->kept_bytes;
}

/* The stack of a shard that we hold has room for count more, or, if negative, fewer. */
static void bufpool__budget(bufpool_cache *shard, uint32_t c, int32_t count)
{
    bufpool__stack *stack = &shard->stacks[c];

    bufpool__set(&stack->room, bufpool__get(&stack->room) + (uint32_t)count);
    shard->pool->kept[c] += (uint32_t)count;
    shard->pool->kept_bytes += (size_t)count * bufpool__capacities[c];
}

/* What the stack does not use is nobody's. */
static void bufpool__return_room(bufpool_cache *shard, uint32_t c)
{
    const bufpool__stack *stack = &shard->stacks[c];
    bufpool__budget(shard, c, (int32_t)(bufpool__get(&stack->count) - bufpool__get(&stack->room)));
}

/* The class, other than c, that keeps the most bytes, if it is so many that it should give way: in
 * the end all classes keep the same. OVERSIZE: there is none; or not even all that should give way
 * would be enough. */
static uint32_t bufpool__victim(const bufpool *pool, uint32_t c)
{
    uint32_t victim = BUFPOOL_OVERSIZE;
    size_t   fair = (pool->kept[c] + (size_t)1) * bufpool__capacities[c], most = fair;
    size_t   spare = pool->config.idle_bytes - pool->kept_bytes;

    for (uint32_t other = 0; other < BUFPOOL_CLASSES; other++) {
        size_t bytes = pool->kept[other] * bufpool__capacities[other];
        if (other == c || bytes <= fair) continue;
        spare += bytes - fair;
        if (bytes > most) victim = other;
        if (bytes > most) most = bytes;
    }
    return spare < bufpool__capacities[c] ? (uint32_t)BUFPOOL_OVERSIZE : victim;
}

/* Finds budget for one of class c, for the holder of a shard: what other shards do not use; and
 * then, if it is bytes that are missing, what they do: buffers that have to go are added to gone.
 */
static BUFPOOL__COLD void bufpool__find_budget(bufpool_cache *mine, uint32_t c,
                                               bufpool__head **gone)
{
    bufpool *pool = mine->pool;
    uint32_t victim;

    for (uint32_t i = 0; i < pool->shard_count && !bufpool__has_budget(pool, c); i++) {
        bufpool_cache *shard = &pool->shards[i];
        for (uint32_t other = 0; other < BUFPOOL_CLASSES; other++) {
            if (!bufpool__has_room(&shard->stacks[other])) continue;
            if (shard != mine && !bufpool__seize(shard)) continue;
            bufpool__return_room(shard, other);
            if (shard != mine) bufpool__let_go(shard);
        }
    }
    if (pool->kept[c] >= pool->config.idle_buffers) return;
    for (uint32_t i = 0; i < pool->shard_count; i++) {
        bufpool_cache *shard = &pool->shards[i];
        if (shard != mine && !bufpool__seize(shard)) continue;
        while (!bufpool__has_budget(pool, c) &&
               (victim = bufpool__victim(pool, c)) != BUFPOOL_OVERSIZE) {
            bufpool__head *head = bufpool__pop(&shard->stacks[victim]);
            if (!head) break;
            bufpool__budget(shard, victim, -1);
            bufpool__link(gone, head);
        }
        if (shard != mine) bufpool__let_go(shard);
    }
}

/* Whether the stack of a shard that we hold has room for one more, after all. Adds to gone what has
 * to be discarded when we no longer hold it. */
static BUFPOOL__COLD bool bufpool__widen(bufpool_cache *shard, uint32_t c, bufpool__head **gone)
{
    bufpool *pool = shard->pool;

    bufpool__lock(&pool->lock);
    bool open = !bufpool__get(&pool->closed);
    if (open && !bufpool__has_budget(pool, c)) bufpool__find_budget(shard, c, gone);
    bool has = open && bufpool__has_budget(pool, c);
    if (has) bufpool__budget(shard, c, 1);
    bufpool__unlock(&pool->lock);
    return has;
}

/* ---- account: what a tenant holds, and may hold ----
 *
 * A tenant's account lies in tabs, one in each cache and shard that serves it. Only the holder of
 * the cache writes to a tab, without looking at others:
 *
 *      in, out    bytes acquired and released; they only grow. live bytes = sum of in - out
 *      drawn      in - out, as it will be when the call is over
 *      quota      changes under the lock only; the tab has a surplus of quota - drawn
 *
 * What limits and caps are about is granted, a number of the tenant, and of each level above it:
 *
 *      granted == live bytes + sum of surplus,      and no grant lets it exceed a cap
 *
 * so that live bytes exceed no cap, whatever happens. To acquire, a holder draws on the surplus of
 * its tab; if that is too small it takes the lock, and more is granted.
 *
 * Before a call is refused, or counted as above the soft limit, all surplus is recalled:
 *
 *      holder of a tab                              thread that recalls
 *      drawn += size                                lock; room := 0; unlock
 *      light fence                                  heavy fence
 *      room is not 0, quota - drawn >= 0?           lock; granted -= quota - drawn; quota := drawn
 *
 * Store and load cross, so either the holder sees that room is 0, and takes the lock; or the other
 * thread sees what it has drawn. A tab that seems to have drawn more than its quota belongs to a
 * holder that is about to take the lock: the recall is repeated. While room is 0 no tab may have
 * surplus, and each call takes the lock: granted is live bytes. After BUFPOOL__CALM calls far below
 * all limits, room is what it was.
 *
 * Without membarrier there is no heavy fence, and no surplus is given out.
 *
 * One lock is for a tenant and all below and above it; if the pool has a cap, it is the pool's. */

static inline uint64_t bufpool__granted(const bufpool__level *level)
{
    return atomic_load_explicit(&level->granted, memory_order_relaxed); /* the lock orders it */
}

/* What counts on the level above: bytes that are reserved do so from the beginning. */
static inline uint64_t bufpool__level_weight(const bufpool__level *level, uint64_t granted)
{
    return granted > level->reserved ? granted : level->reserved;
}

/* Under the lock. Returns the first level that has no place for so many bytes more, or NULL. */
static bufpool__level *bufpool__level_lacks(bufpool__level *level, uint64_t more)
{
    for (; level && more > 0; level = level->above) {
        uint64_t granted = bufpool__granted(level);
        if (granted > level->cap || more > level->cap - granted) return level;
        more = bufpool__level_weight(level, granted + more) - bufpool__level_weight(level, granted);
    }
    return NULL;
}

/* Under the lock. Adds to what is granted on all levels; modulo 2^64, so that it may be less. */
static void bufpool__level_add(bufpool__level *level, uint64_t more)
{
    for (; level && more != 0; level = level->above) {
        uint64_t was = bufpool__granted(level), granted = was + more;
        /* relaxed, both: the lock orders them; a reader of peaks gets an older value. */
        atomic_store_explicit(&level->granted, granted, memory_order_relaxed);
        if (granted > atomic_load_explicit(&level->peak, memory_order_relaxed))
            atomic_store_explicit(&level->peak, granted, memory_order_relaxed);
        more = bufpool__level_weight(level, granted) - bufpool__level_weight(level, was);
    }
}

static inline uint64_t bufpool__limit(const bufpool_tenant *tenant)
{
    return atomic_load_explicit(&tenant->limit, memory_order_relaxed); /* a setting */
}

/* relaxed, both: as "account" says, the fences order what has to be. */
static inline uint64_t bufpool__room(const bufpool_tenant *tenant)
{
    return atomic_load_explicit(&tenant->room, memory_order_relaxed);
}
static inline void bufpool__room_set(bufpool_tenant *tenant, uint64_t room)
{
    atomic_store_explicit(&tenant->room, room, memory_order_relaxed);
}

/* relaxed: the holder writes drawn, and the lock orders quota; the fences order the rest. */
static inline uint64_t bufpool__tab_surplus(const bufpool__tab *tab)
{
    return atomic_load_explicit(&tab->quota, memory_order_relaxed) -
           atomic_load_explicit(&tab->drawn, memory_order_relaxed);
}

/* Under the lock. Whether so many bytes more leave an eighth below the limit and all caps. */
static bool bufpool__tenant_is_far(const bufpool_tenant *tenant, uint64_t more)
{
    uint64_t most = bufpool__limit(tenant);

    for (const bufpool__level *level = &tenant->level; level; level = level->above) {
        if (level->cap < most) most = level->cap;
        most -= most / 8;
        if (bufpool__granted(level) > most || more > most - bufpool__granted(level)) return false;
        most = UINT64_MAX;
    }
    return true;
}

/* Under the lock. A tab's surplus stays below this: a 64th of the least limit or cap, or 64 KiB, if
 * that is less than an eighth of it. */
static uint64_t bufpool__tenant_room(const bufpool_tenant *tenant)
{
    uint64_t most = bufpool__limit(tenant);

    for (const bufpool__level *level = &tenant->level; level; level = level->above)
        if (level->cap < most) most = level->cap;
    uint64_t part = most / 8 < BUFPOOL__ROOM ? most / 8 : BUFPOOL__ROOM;
    return (most / 64 > part ? most / 64 : part) + 1;
}

/* Under the lock. There may be surplus below. */
static void bufpool__level_loosen(bufpool__level *level)
{
    for (; level; level = level->above) level->loose = true;
}

/* Under the lock. Tabs may have surplus from now on, or need not return it any more. */
static void bufpool__tenant_loosen(bufpool_tenant *tenant)
{
    /* relaxed: under the lock, unless it is another tree's recall: then surplus is given out later.
     */
    if (!bufpool__get(&tenant->pool->has_fences) || bufpool__get(&tenant->pool->recalls) != 0)
        return;
    tenant->calm = 0;
    bufpool__level_loosen(&tenant->level);
    bufpool__room_set(tenant, bufpool__tenant_room(tenant));
}

/* Under the lock. A limit or a cap has changed. */
static void bufpool__tenant_adapt(bufpool_tenant *tenant)
{
    bufpool__room_set(tenant, 0);
    if (bufpool__tenant_is_far(tenant, 0)) bufpool__tenant_loosen(tenant);
    bufpool__level_loosen(&tenant->level); /* if it had surplus, it still has */
}

/* Under the lock, in a call that found room to be 0. */
static void bufpool__tenant_calm(bufpool_tenant *tenant)
{
    tenant->calm = bufpool__tenant_is_far(tenant, 0) ? tenant->calm + 1 : 0;
    if (tenant->calm >= BUFPOOL__CALM) bufpool__tenant_loosen(tenant);
}

/* Under the lock. So much of a tab's surplus is granted no longer. */
static void bufpool__tab_cut(bufpool__tab *tab, bufpool_tenant *tenant, uint64_t bytes)
{
    /* relaxed, both: the lock. */
    uint64_t quota = atomic_load_explicit(&tab->quota, memory_order_relaxed) - bytes;
    atomic_store_explicit(&tab->quota, quota, memory_order_relaxed);
    bufpool__level_add(&tenant->level, 0 - bytes);
}

/* Under the lock, by the tab's holder. Gives back surplus beyond `keep`. */
static void bufpool__tab_keep(bufpool__tab *tab, bufpool_tenant *tenant, uint64_t keep)
{
    uint64_t surplus = bufpool__tab_surplus(tab);
    if (surplus > keep) bufpool__tab_cut(tab, tenant, surplus - keep);
}

/* Under the lock, by the tab's holder. It has drawn bytes that are granted already. */
static void bufpool__tab_pay_in(bufpool__tab *tab, uint64_t drawn, uint64_t ahead)
{
    /* relaxed, all: the lock. */
    uint64_t quota = atomic_load_explicit(&tab->quota, memory_order_relaxed) + drawn + ahead;
    drawn += atomic_load_explicit(&tab->drawn, memory_order_relaxed);
    atomic_store_explicit(&tab->quota, quota, memory_order_relaxed);
    atomic_store_explicit(&tab->drawn, drawn, memory_order_relaxed);
}

enum bufpool__answer { BUFPOOL__UNKNOWN, BUFPOOL__WITHIN, BUFPOOL__ABOVE };

/* Under the lock. Grants bytes that fit. Returns whether they end above the soft limit. */
static enum bufpool__answer bufpool__tenant_grant(bufpool_tenant *tenant, uint64_t bytes)
{
    bufpool__level_add(&tenant->level, bytes);
    return bufpool__granted(&tenant->level) > bufpool__limit(tenant) ? BUFPOOL__ABOVE
                                                                     : BUFPOOL__WITHIN;
}

/* An acquisition or a charge is done. */
static void bufpool__tenant_note(bufpool_tenant *tenant, enum bufpool__answer answer)
{
    /* relaxed: a count. */
    if (answer == BUFPOOL__ABOVE)
        atomic_fetch_add_explicit(&tenant->exceeded, 1, memory_order_relaxed);
}

/* Under the lock. Whether it is known what to do with so many bytes more: they fit, and if they are
 * above the soft limit, nothing of that is surplus. */
static bool bufpool__tenant_fits(bufpool_tenant *tenant, uint64_t bytes)
{
    uint64_t granted = bufpool__granted(&tenant->level), limit = bufpool__limit(tenant);
    bool     within = granted <= limit && bytes <= limit - granted;

    return !bufpool__level_lacks(&tenant->level, bytes) && (within || !tenant->level.loose);
}

/* Draws on a tab that we hold, by the lock. UNKNOWN: surplus has to be recalled. */
static BUFPOOL__COLD enum bufpool__answer
bufpool__tab_draw_more(bufpool__tab *tab, bufpool_tenant *tenant, uint64_t size)
{
    enum bufpool__answer answer = BUFPOOL__UNKNOWN;

    bufpool__lock(tenant->lock);
    uint64_t room = bufpool__room(tenant), ahead = room / 2;
    if (room == 0) bufpool__tab_keep(tab, tenant, 0);
    if (bufpool__tenant_fits(tenant, size)) {
        answer = bufpool__tenant_grant(tenant, size);
        if (bufpool__tab_surplus(tab) >= ahead || !bufpool__tenant_is_far(tenant, ahead)) ahead = 0;
        bufpool__level_add(&tenant->level, ahead);
        bufpool__tab_pay_in(tab, size, ahead);
    }
    if (room == 0) bufpool__tenant_calm(tenant);
    bufpool__unlock(tenant->lock);
    return answer;
}

/* Draws on a tab that we hold. False: the lock has to be taken. */
static BUFPOOL__HOT bool bufpool__tab_draw(bufpool__tab *tab, bufpool_tenant *tenant, uint64_t size)
{
    /* relaxed, all: only the holder writes drawn; the fences order quota and room. */
    uint64_t was = atomic_load_explicit(&tab->drawn, memory_order_relaxed);

    atomic_store_explicit(&tab->drawn, was + size, memory_order_relaxed);
    /* light, pairs with the heavy fence in bufpool__recall: see "account". */
    BUFPOOL_LIGHT_FENCE();
    uint64_t surplus = atomic_load_explicit(&tab->quota, memory_order_relaxed) - was - size;
    if (BUFPOOL__LIKELY((int64_t)surplus >= 0 && bufpool__room(tenant) != 0)) return true;
    atomic_store_explicit(&tab->drawn, was, memory_order_relaxed);
    return false;
}

/* A tab that we hold has surplus that it must not keep. Returns whether somebody waits for bytes.
 */
static BUFPOOL__COLD bool bufpool__tab_return(bufpool__tab *tab, bufpool_tenant *tenant)
{
    bufpool__lock(tenant->lock);
    uint64_t room = bufpool__room(tenant);
    bufpool__tab_keep(tab, tenant, room / 2);
    if (room == 0) bufpool__tenant_calm(tenant);
    bufpool__unlock(tenant->lock);
    /* relaxed: a thread that was refused set it under the lock. */
    return bufpool__get(&tenant->pool->refused) != 0;
}

/* Pays back into a tab that we hold. Returns whether somebody waits for bytes. */
static BUFPOOL__HOT bool bufpool__tab_undraw(bufpool__tab *tab, bufpool_tenant *tenant,
                                             uint64_t size)
{
    /* relaxed, both: only the holder writes drawn. */
    uint64_t drawn = atomic_load_explicit(&tab->drawn, memory_order_relaxed) - size;
    atomic_store_explicit(&tab->drawn, drawn, memory_order_relaxed);
    /* light, pairs with the heavy fence in bufpool__recall: see "account". */
    BUFPOOL_LIGHT_FENCE();
    uint64_t surplus = atomic_load_explicit(&tab->quota, memory_order_relaxed) - drawn;
    if (BUFPOOL__LIKELY(surplus < bufpool__room(tenant))) return false;
    return bufpool__tab_return(tab, tenant);
}

/* -- Recalls -- */

static bool bufpool__level_is_below(const bufpool__level *level, const bufpool__level *above)
{
    while (level && level != above) level = level->above;
    return level != NULL;
}

static bool bufpool__tab_stop(bufpool__tab *tab, bufpool_tenant *tenant)
{
    bufpool__room_set(tenant, 0);
    return tab != NULL;
}

/* After the fence. False: its holder is about to take the lock. */
static bool bufpool__tab_collect(bufpool__tab *tab, bufpool_tenant *tenant)
{
    uint64_t surplus = bufpool__tab_surplus(tab); /* once: the holder may change it */

    if ((int64_t)surplus < 0) return false;
    bufpool__tab_cut(tab, tenant, surplus);
    return true;
}

/* Under the lock. Visits all tabs below a level, which is the tenant's or above it. Returns whether
 * all visits returned true. */
static bool bufpool__tabs_visit(bufpool_tenant *tenant, const bufpool__level *level,
                                bool (*visit)(bufpool__tab *, bufpool_tenant *))
{
    const bufpool *pool = tenant->pool;
    /* acquire, pairs with the release in bufpool__take_seat: each of these seats is there. */
    uint32_t seats = atomic_load_explicit(&pool->seat_count, memory_order_acquire);
    bool     all   = true;

    if (level == &tenant->level && !tenant->has_children) {
        /* relaxed, both: the lock. */
        bufpool__tab *tab = atomic_load_explicit(&tenant->tabs, memory_order_relaxed);
        for (; tab; tab = atomic_load_explicit(&tab->next, memory_order_relaxed))
            all &= visit(tab, tenant);
        return all;
    }
    for (uint32_t i = 0; i < seats * BUFPOOL__TABS; i++) {
        bufpool__tab *tab = &bufpool__seat(pool, i / BUFPOOL__TABS)->tabs[i % BUFPOOL__TABS];
        /* acquire, pairs with the release in bufpool__tab_open. Those below are as the lock says.
         */
        bufpool_tenant *other = atomic_load_explicit(&tab->tenant, memory_order_acquire);
        if (other && bufpool__level_is_below(&other->level, level)) all &= visit(tab, other);
    }
    return all;
}

/* Takes back all surplus below a level. Returns whether it got all, for this time. */
static bool bufpool__recall(bufpool_tenant *tenant, bufpool__level *level)
{
    bufpool *pool = tenant->pool;

    bufpool__lock(tenant->lock);
    /* relaxed: those that ask have the lock. */
    atomic_fetch_add_explicit(&pool->recalls, 1, memory_order_relaxed);
    bufpool__room_set(tenant, 0);
    (void)bufpool__tabs_visit(tenant, level, bufpool__tab_stop);
    bufpool__unlock(tenant->lock);
    /* heavy, pairs with the light fence in bufpool__tab_draw and bufpool__tab_undraw. */
    bool fenced = BUFPOOL_HEAVY_FENCE();
    if (!fenced) bufpool__set(&pool->has_fences, 0);
    bufpool__lock(tenant->lock);
    bool all = !fenced || bufpool__tabs_visit(tenant, level, bufpool__tab_collect);
    if (all) level->loose = false;
    atomic_fetch_sub_explicit(&pool->recalls, 1, memory_order_relaxed);
    bufpool__unlock(tenant->lock);
    return all;
}

/* For a thread that holds no cache. Grants bytes, after a recall if need be, that the caller pays
 * into a tab. UNKNOWN: they would exceed a cap. */
static BUFPOOL__COLD enum bufpool__answer bufpool__tenant_ask(bufpool_tenant *tenant,
                                                              uint64_t        bytes)
{
    for (unsigned round = 0;; round++) {
        enum bufpool__answer answer = BUFPOOL__UNKNOWN;
        bufpool__lock(tenant->lock);
        bufpool__level *lacks   = bufpool__level_lacks(&tenant->level, bytes);
        bool            fits    = bufpool__tenant_fits(tenant, bytes);
        bool            refused = (lacks && !lacks->loose) || round >= BUFPOOL__RECALLS;
        if (fits) answer = bufpool__tenant_grant(tenant, bytes);
        /* relaxed: read under the lock, or as a hint. */
        else if (refused) bufpool__set(&tenant->pool->refused, 1);
        bufpool__unlock(tenant->lock);
        if (fits || refused) return answer;
        if (!bufpool__recall(tenant, lacks ? lacks : &tenant->level)) bufpool__pause(round);
    }
}

/* -- Tabs -- */

/* Under the lock: readers start again. release, pairs with the acquire fence in
 * bufpool__read_account: folds is odd before anything changes. */
static void bufpool__folds_begin(bufpool_tenant *tenant)
{
    uint64_t folds = atomic_load_explicit(&tenant->folds, memory_order_relaxed); /* ours */
    atomic_store_explicit(&tenant->folds, folds + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
}

static void bufpool__folds_end(bufpool_tenant *tenant)
{
    uint64_t folds = atomic_load_explicit(&tenant->folds, memory_order_relaxed); /* ours */
    /* release, pairs with the acquire in bufpool__read_account: all has changed. */
    atomic_store_explicit(&tenant->folds, folds + 1, memory_order_release);
}

/* Adds a tab that we hold to its tenant's own counters; the tab is nobody's then. */
static void bufpool__tab_fold(bufpool__tab *tab, bufpool_tenant *tenant)
{
    bufpool__lock(tenant->lock);
    bufpool__tab_keep(tab, tenant, 0);
    bufpool__folds_begin(tenant);
    /* relaxed, all: the tab is ours, and folds is odd. */
    bufpool__add(&tenant->in, atomic_load_explicit(&tab->in, memory_order_relaxed));
    bufpool__add(&tenant->out, atomic_load_explicit(&tab->out, memory_order_relaxed));
    bufpool__tab *next = atomic_load_explicit(&tab->next, memory_order_relaxed);
    if (next) next->before = tab->before;
    atomic_store_explicit(tab->before, next, memory_order_relaxed);
    atomic_store_explicit(&tab->tenant, NULL, memory_order_relaxed);
    bufpool__folds_end(tenant);
    bufpool__unlock(tenant->lock);
}

static BUFPOOL__COLD void bufpool__tab_open(bufpool__tab *tab, bufpool_tenant *tenant)
{
    bufpool_tenant *other = atomic_load_explicit(&tab->tenant, memory_order_relaxed); /* ours */

    if (other) bufpool__tab_fold(tab, other);
    bufpool__lock(tenant->lock);
    if (!bufpool__tenant_is_far(tenant, 0)) bufpool__room_set(tenant, 0);
    if (bufpool__room(tenant) != 0) bufpool__level_loosen(&tenant->level);
    bufpool__folds_begin(tenant);
    /* relaxed, all: the releases below, or folds is odd. */
    atomic_store_explicit(&tab->in, 0, memory_order_relaxed);
    atomic_store_explicit(&tab->out, 0, memory_order_relaxed);
    atomic_store_explicit(&tab->drawn, 0, memory_order_relaxed);
    atomic_store_explicit(&tab->quota, 0, memory_order_relaxed);
    bufpool__tab *next = atomic_load_explicit(&tenant->tabs, memory_order_relaxed);
    tab->before        = &tenant->tabs;
    if (next) next->before = &tab->next;
    atomic_store_explicit(&tab->next, next, memory_order_relaxed);
    /* release, both. The first pairs with the acquire in bufpool__tabs_visit, the second pairs with
       the acquire in bufpool__sum: it is empty. */
    atomic_store_explicit(&tab->tenant, tenant, memory_order_release);
    atomic_store_explicit(&tenant->tabs, tab, memory_order_release);
    bufpool__folds_end(tenant);
    bufpool__unlock(tenant->lock);
}

/* The tenant's tab in a cache that we hold. */
static BUFPOOL__HOT bufpool__tab *bufpool__tab_of(bufpool_cache *cache, bufpool_tenant *tenant)
{
    bufpool__tab *tab = &cache->tabs[tenant->number % BUFPOOL__TABS];

    /* relaxed: only the holder writes it. */
    if (!BUFPOOL__LIKELY(atomic_load_explicit(&tab->tenant, memory_order_relaxed) == tenant))
        bufpool__tab_open(tab, tenant);
    return tab;
}

/* -- What is live -- */

/* The sum of what came in, or went out: charges, and over all tabs of the tenant. Ends early if
 * folds has changed: then it says nothing. */
static uint64_t bufpool__sum(const bufpool_tenant *tenant, bool ins, uint64_t folds)
{
    /* acquire, all: outs are read before ins. The first pairs with the release in bufpool__publish,
       the second pairs with the release in bufpool__tab_open. */
    uint64_t sum = atomic_load_explicit(ins ? &tenant->charged_in : &tenant->charged_out,
                                        memory_order_acquire);
    const bufpool__tab *tab = atomic_load_explicit(&tenant->tabs, memory_order_acquire);

    /* relaxed: a change is noticed at the end in any case. */
    while (tab && atomic_load_explicit(&tenant->folds, memory_order_relaxed) == folds) {
        /* acquire, pairs with the release in bufpool__publish: outs are read before ins. */
        sum += atomic_load_explicit(ins ? &tab->in : &tab->out, memory_order_acquire);
        tab = atomic_load_explicit(&tab->next, memory_order_relaxed);
    }
    return sum;
}

/* What came in and went out; later: what had gone out when the others were read. */
typedef struct bufpool__account {
    uint64_t out, in, later;
} bufpool__account;

static bufpool__account bufpool__read_account(const bufpool_tenant *tenant)
{
    bufpool__account account;

    for (unsigned round = 0;; bufpool__pause(round++)) {
        /* acquire, pairs with the release in bufpool__folds_end. */
        uint64_t folds = atomic_load_explicit(&tenant->folds, memory_order_acquire);
        if (folds % 2 != 0) continue;
        /* relaxed: as they were when folds was even, or folds changes. */
        uint64_t out = atomic_load_explicit(&tenant->out, memory_order_relaxed);
        account.out  = out + bufpool__sum(tenant, false, folds);
        account.in   = atomic_load_explicit(&tenant->in, memory_order_relaxed) +
                     bufpool__sum(tenant, true, folds);
        account.later = out + bufpool__sum(tenant, false, folds);
        /* acquire, pairs with the release fence in bufpool__folds_begin: if we saw anything of a
           change, we see that folds has changed. */
        atomic_thread_fence(memory_order_acquire);
        if (atomic_load_explicit(&tenant->folds, memory_order_relaxed) == folds) return account;
    }
}

/* Returns the bytes that the tenant's buffers were asked for, and its charges. Of some looks the
 * best counts: what it shows is too high by at most what goes out during it. */
static uint64_t bufpool__live(const bufpool_tenant *tenant)
{
    uint64_t live = 0, least = UINT64_MAX;

    for (int looks = 0; looks < BUFPOOL_LOOKS && least > 0; looks++) {
        bufpool__account account = bufpool__read_account(tenant);
        if (looks > 0 && account.later - account.out >= least) continue;
        least = account.later - account.out;
        live  = account.in - account.out;
    }
    return live;
}

/* -- Idle memory -- */

/* Takes idle buffers of a class from a cache that we hold until `most` are left; and from a shard
 * the room that they had. */
static void bufpool__shrink(bufpool_cache *cache, uint32_t c, uint32_t most, bufpool__head **list)
{
    while (bufpool__get(&cache->stacks[c].count) > most)
        bufpool__link(list, bufpool__pop(&cache->stacks[c]));
    if (!cache->is_shard) return;
    bufpool__lock(&cache->pool->lock);
    bufpool__return_room(cache, c);
    bufpool__unlock(&cache->pool->lock);
}

/* Its own buffer, or NULL. relaxed: only the cache's thread writes it; elsewhere an old one is as
 * good. */
static inline bufpool_buf *bufpool__own(const bufpool_cache *cache)
{
    return atomic_load_explicit(&cache->own, memory_order_relaxed);
}

static inline size_t bufpool__idle_of(const bufpool_cache *cache, uint32_t c)
{
    return bufpool__get(&cache->stacks[c].count) + (c == BUFPOOL_SMALL && bufpool__own(cache));
}

/* Between 1 and -1 the thread has idle buffers in its hands. release, pairs with the acquire in
 * bufpool__traffic: a thread that finds a stack empty sees that they are under way. */
static void bufpool__carry(bufpool *pool, int32_t more)
{
    atomic_fetch_add_explicit(&pool->carriers, more, memory_order_release);
}

static size_t bufpool__idle(const bufpool *pool)
{
    /* acquire, pairs with the release in bufpool__take_seat: each of these seats is there. */
    uint32_t seats = atomic_load_explicit(&pool->seat_count, memory_order_acquire);
    size_t   idle  = 0;

    for (uint32_t seat = 0; seat < seats; seat++) {
        const bufpool_cache *cache = bufpool__seat(pool, seat);
        for (uint32_t c = 0; c < BUFPOOL_CLASSES; c++)
            idle += bufpool__idle_of(cache, c) * bufpool__capacities[c];
    }
    return idle;
}

/* For a thread that holds no cache: it may wait for others. */
static bool bufpool__seize_patiently(bufpool_cache *cache, unsigned rounds)
{
    for (unsigned round = 0; !bufpool__seize(cache); round++) {
        if (round >= rounds || !bufpool__may_seize(cache)) return false;
        bufpool__pause(round);
    }
    return true;
}

/* Gives idle buffers, but not of class `except`, back to the system until keep bytes are left.
 * Holds no cache; waits so many rounds for each that is busy. Returns the bytes given back. */
static size_t bufpool__give_idle(bufpool *pool, size_t keep, uint32_t except, unsigned rounds)
{
    size_t idle = bufpool__idle(pool), given = 0;
    /* acquire, pairs with the release in bufpool__take_seat: each of these seats is there. */
    uint32_t seats = atomic_load_explicit(&pool->seat_count, memory_order_acquire);

    for (uint32_t c = BUFPOOL_CLASSES; c-- > 0;) {
        size_t capacity = bufpool__capacities[c];
        for (uint32_t seat = 0; seat < seats && idle > keep && c != except; seat++) {
            bufpool_cache *cache = bufpool__seat(pool, seat);
            bufpool__head *list  = NULL;
            if (bufpool__get(&cache->stacks[c].count) == 0) continue;
            if (!bufpool__seize_patiently(cache, rounds)) continue;
            uint32_t count  = bufpool__get(&cache->stacks[c].count);
            size_t   enough = (idle - keep - 1) / capacity + 1;
            uint32_t least  = enough < count ? count - (uint32_t)enough : 0;
            size_t   bytes  = (count - least) * capacity;
            bufpool__carry(pool, 1);
            bufpool__shrink(cache, c, least, &list);
            bufpool__let_go(cache);
            bufpool__discard_all(list);
            bufpool__carry(pool, -1);
            given += bytes;
            idle -= bytes < idle ? bytes : idle;
        }
    }
    return given;
}

BUFPOOL_API size_t bufpool_trim(bufpool *pool, size_t keep_idle_bytes)
{
    return pool ? bufpool__give_idle(pool, keep_idle_bytes, BUFPOOL_OVERSIZE, BUFPOOL__PATIENCE)
                : 0;
}

/* -- Acquire -- */

/* A buffer with new memory; NULL: out of memory. */
static bufpool__head *bufpool__new_buffer(bufpool *pool, bufpool_class c, size_t size)
{
    size_t capacity = bufpool__capacities[c];

    if (c == BUFPOOL_OVERSIZE) capacity = (size + BUFPOOL__PAGE - 1) & ~(size_t)(BUFPOOL__PAGE - 1);
    bufpool__head *head = bufpool__new_head(pool, bufpool__sort(c));
    if (!head) return NULL;
    if (!bufpool__get_memory(head, c, capacity)) {
        bufpool__discard(head);
        return NULL;
    }
    return head;
}

/* A buffer that is idle in another shard; and some more of them, to a shard with their room, for
 * the stack of the cache that we hold. */
static bufpool__head *bufpool__take_over(bufpool_cache *mine, bufpool_class c)
{
    bufpool        *pool  = mine->pool;
    bufpool__stack *stack = &mine->stacks[c];
    uint32_t        home  = bufpool__home == UINT32_MAX ? 0 : bufpool__home;

    for (uint32_t i = 0; i < pool->shard_count; i++) {
        bufpool_cache *other = &pool->shards[(home + i) % pool->shard_count];
        if (other == mine || bufpool__get(&other->stacks[c].count) == 0) continue;
        if (!bufpool__seize(other)) continue;
        bufpool__head *head = bufpool__pop(&other->stacks[c]), *more;
        for (uint32_t moved = 1; head && moved < BUFPOOL__BATCH; moved++) {
            if (!bufpool__has_room(stack)) {
                if (!mine->is_shard) break;
                bufpool__set(&stack->room, bufpool__get(&stack->room) + 1);
                bufpool__set(&other->stacks[c].room, bufpool__get(&other->stacks[c].room) - 1);
            }
            if (!(more = bufpool__pop(&other->stacks[c]))) break;
            bufpool__push(stack, more);
        }
        bufpool__let_go(other);
        if (head) return head;
    }
    return NULL;
}

/* Returns a number that changes with each acquisition from a stack of class c, and each release
 * to one; or 0 if another thread has idle buffers in its hands, or holds a stack with some. */
static uint64_t bufpool__traffic(const bufpool *pool, bufpool_class c)
{
    /* acquire, both. The first pairs with the release in bufpool__carry, the second pairs with the
       release in bufpool__take_seat: each of these seats is there. */
    bool     moves = atomic_load_explicit(&pool->carriers, memory_order_acquire) != 0;
    uint32_t seats = atomic_load_explicit(&pool->seat_count, memory_order_acquire);
    uint64_t sum   = 1;

    if (c == BUFPOOL_OVERSIZE) return !moves;
    for (uint32_t seat = 0; seat < seats && !moves; seat++) {
        const bufpool_cache  *cache = bufpool__seat(pool, seat);
        const bufpool__stack *stack = &cache->stacks[c];
        /* relaxed, all: what happens at the same moment is seen in the next round. */
        sum += atomic_load_explicit(&stack->hits, memory_order_relaxed) +
               atomic_load_explicit(&stack->released, memory_order_relaxed);
        moves = bufpool__get(&stack->count) > 0 &&
                (bufpool__get(&cache->busy) | bufpool__get(&cache->seized)) != 0;
    }
    return moves ? 0 : sum;
}

/* A buffer that is idle in any stack, for a thread that holds no cache. Counts in *missed the
 * stacks that others held. */
static bufpool__head *bufpool__find_idle(bufpool *pool, bufpool_class c, unsigned *missed)
{
    /* acquire, pairs with the release in bufpool__take_seat: each of these seats is there. */
    uint32_t seats = atomic_load_explicit(&pool->seat_count, memory_order_acquire);

    for (uint32_t seat = 0; seat < seats; seat++) {
        bufpool_cache *cache = bufpool__seat(pool, seat);
        if (bufpool__get(&cache->stacks[c].count) == 0) continue;
        if (!bufpool__seize(cache)) {
            *missed += bufpool__may_seize(cache);
            continue;
        }
        bufpool__head *head = bufpool__pop(&cache->stacks[c]);
        bufpool__let_go(cache);
        if (head) return head;
    }
    return NULL;
}

/* When the system has no memory: a buffer from any stack, or one that idle memory makes room for.
 * NULL if there was neither while nobody else used that class, or in all rounds. */
static BUFPOOL__COLD bufpool__head *bufpool__scrape(bufpool *pool, bufpool_class c, size_t size)
{
    for (unsigned round = 0; round < BUFPOOL__SCRAPES; round++) {
        uint64_t       traffic = bufpool__traffic(pool, c);
        unsigned       missed  = 0;
        bufpool__head *head    = c < BUFPOOL_OVERSIZE ? bufpool__find_idle(pool, c, &missed) : NULL;
        if (head) return head;
        size_t given = bufpool__give_idle(pool, 0, c, 0);
        if ((head = bufpool__new_buffer(pool, c, size)) != NULL) {
            head->is_new = true;
            return head;
        }
        if (traffic != 0 && given + missed == 0 && bufpool__traffic(pool, c) == traffic)
            return NULL;
        bufpool__pause(round);
    }
    return NULL;
}

/* A buffer for a thread that holds no cache, from the system, or from anywhere. */
static BUFPOOL__COLD bufpool__head *bufpool__fetch(bufpool *pool, bufpool_class c, size_t size)
{
    if (bufpool__get(&pool->closed)) return NULL;
    bufpool__head *head = bufpool__new_buffer(pool, c, size);
    if (!head) return bufpool__scrape(pool, c, size);
    head->is_new = true;
    return head;
}

/* The buffer was another tenant's. */
static BUFPOOL__COLD void bufpool__change_tenant(bufpool__head *head, bufpool_tenant *tenant)
{
    head->tenant = tenant;
    if (!(head->pool->config.flags & BUFPOOL_WIPE)) return;
    /* What is large may be touched in part only: no memory at all is zero, too. */
    if (head->kind <= BUFPOOL_MEDIUM || !bufpool__drop(head)) memset(head->data, 0, head->capacity);
}

/* An idle buffer begins its next life. The caller holds no shard: a large one may be wiped. */
static BUFPOOL__HOT bufpool_buf *bufpool__begin(bufpool__head *head, size_t size,
                                                bufpool_tenant *tenant)
{
    bufpool_buf *name = bufpool__next_name(head);

    BUFPOOL__SHOW(head->data, head->capacity);
    if (!BUFPOOL__LIKELY(head->tenant == tenant)) bufpool__change_tenant(head, tenant);
    head->size = size;
    /* relaxed: it is ours alone; a thread that gets the name from us sees it. */
    bufpool__set(&head->word, bufpool__life_of(name) + 1);
    return name;
}

/* On the bills of a cache that we hold; drawn it is already. */
static BUFPOOL__HOT void bufpool__lend(bufpool_cache *cache, size_t size, bufpool_tenant *tenant)
{
    bufpool__add(&cache->in, size);
    if (tenant) bufpool__publish(&bufpool__tab_of(cache, tenant)->in, size);
}

/* An idle buffer for the holder of a cache, on its bills; NULL: none is at hand. */
static BUFPOOL__HOT bufpool__head *bufpool__take(bufpool_cache *cache, bufpool_class c, size_t size,
                                                 bufpool_tenant *tenant)
{
    if (!BUFPOOL__LIKELY(c < BUFPOOL_OVERSIZE)) return NULL;
    bufpool__head *head = bufpool__pop(&cache->stacks[c]);
    if (!BUFPOOL__LIKELY(head) && !(head = bufpool__take_over(cache, c))) return NULL;
    bufpool__add(&cache->stacks[c].hits, 1);
    bufpool__lend(cache, size, tenant);
    return head;
}

/* Counts a buffer that was fetched, in a cache that we hold. */
static void bufpool__count(bufpool_cache *cache, bufpool__head *head, size_t size,
                           bufpool_tenant *tenant)
{
    bufpool__stack *stack = &cache->stacks[head->kind];

    if (head->kind < BUFPOOL_OVERSIZE) {
        bufpool__add(head->is_new ? &stack->misses : &stack->hits, 1);
    } else {
        bufpool__add(&cache->oversize, 1);
        bufpool__add(&cache->oversize_in, head->capacity);
    }
    if (head->is_new) head->tenant = tenant; /* it is zero: nothing to wipe */
    head->is_new = false;
    bufpool__lend(cache, size, tenant);
}

/* Holds the thread's own cache, or a shard if that is NULL. */
static BUFPOOL__HOT bufpool_cache *bufpool__hold(bufpool *pool, bufpool_cache *own)
{
    if (!own) return bufpool__borrow(pool);
    bufpool__enter(own);
    return own;
}

static void bufpool__wake(bufpool *pool);

/* Bytes were drawn for a buffer that there is not. */
static void bufpool__never_mind(bufpool *pool, bufpool_cache *own, size_t size,
                                bufpool_tenant *tenant)
{
    bufpool_cache *cache = bufpool__hold(pool, own);
    bool           waits = bufpool__tab_undraw(bufpool__tab_of(cache, tenant), tenant, size);
    bufpool__give_back(cache);
    if (waits) bufpool__wake(pool);
}

/* Pays bytes that were granted into a tab. */
static void bufpool__tenant_pay(bufpool_cache *cache, bufpool_tenant *tenant, size_t size)
{
    bufpool__tab *tab = bufpool__tab_of(cache, tenant);
    bufpool__lock(tenant->lock);
    bufpool__tab_pay_in(tab, size, 0);
    bufpool__unlock(tenant->lock);
}

/* When a buffer is not at hand: one that is fetched, or NULL. Its bytes are drawn. */
static BUFPOOL__COLD bufpool__head *bufpool__get_slowly(bufpool *pool, bufpool_cache *own,
                                                        size_t size, bufpool_tenant *tenant)
{
    bufpool__head *head = bufpool__fetch(pool, bufpool_class_for(size), size);

    if (!head && tenant) bufpool__never_mind(pool, own, size, tenant);
    if (!head) return NULL;
    bufpool_cache *cache = bufpool__hold(pool, own);
    bufpool__count(cache, head, size, tenant);
    bufpool__give_back(cache);
    return head;
}

/* Bytes have to be recalled first. *answer: UNKNOWN if they would exceed a cap. */
static BUFPOOL__COLD bufpool__head *bufpool__get_after_recall(bufpool *pool, bufpool_cache *own,
                                                              size_t size, bufpool_tenant *tenant,
                                                              enum bufpool__answer *answer)
{
    *answer = bufpool__tenant_ask(tenant, size);
    if (*answer == BUFPOOL__UNKNOWN) return NULL;
    bufpool_cache *cache = bufpool__hold(pool, own);
    bufpool__tenant_pay(cache, tenant, size);
    bufpool__head *head = bufpool__take(cache, bufpool_class_for(size), size, tenant);
    bufpool__give_back(cache);
    return head ? head : bufpool__get_slowly(pool, own, size, tenant);
}

/* Whether a tenant that is not NULL has these bytes, in a cache that we hold. */
static BUFPOOL__HOT enum bufpool__answer bufpool__draw(bufpool_cache *cache, bufpool_tenant *tenant,
                                                       size_t size)
{
    bufpool__tab *tab = bufpool__tab_of(cache, tenant);
    return BUFPOOL__LIKELY(bufpool__tab_draw(tab, tenant, size))
               ? BUFPOOL__WITHIN
               : bufpool__tab_draw_more(tab, tenant, size);
}

/* Acquires through the thread's own cache, or a shard. */
static BUFPOOL__HOT int bufpool__get_buffer(bufpool *pool, bufpool_cache *own, size_t size,
                                            bufpool_tenant *tenant, bufpool_buf **buf)
{
    if (size > PTRDIFF_MAX - BUFPOOL__PAGE) return -ENOMEM;
    bufpool_class        c      = bufpool_class_for(size);
    bufpool_cache       *cache  = bufpool__hold(pool, own);
    bufpool__head       *head   = NULL;
    enum bufpool__answer answer = BUFPOOL__WITHIN;

    if (tenant) answer = bufpool__draw(cache, tenant, size);
    if (BUFPOOL__LIKELY(answer != BUFPOOL__UNKNOWN)) head = bufpool__take(cache, c, size, tenant);
    bufpool__give_back(cache);
    if (!BUFPOOL__LIKELY(head)) {
        head = answer != BUFPOOL__UNKNOWN
                   ? bufpool__get_slowly(pool, own, size, tenant)
                   : bufpool__get_after_recall(pool, own, size, tenant, &answer);
        if (!head) return answer == BUFPOOL__UNKNOWN ? -EDQUOT : -ENOMEM;
    }
    if (!BUFPOOL__LIKELY(answer == BUFPOOL__WITHIN)) bufpool__tenant_note(tenant, answer);
    *buf = bufpool__begin(head, size, tenant);
    return 0;
}

BUFPOOL_API int bufpool_try_acquire(bufpool *pool, size_t size, bufpool_tenant *tenant,
                                    bufpool_buf **buf)
{
    if (!buf) return -EINVAL;
    *buf = NULL;
    if (!pool || (tenant && tenant->pool != pool)) return -EINVAL;
    return bufpool__get_buffer(pool, NULL, size, tenant ? tenant : pool->nobody, buf);
}

BUFPOOL_API bufpool_buf *bufpool_acquire(bufpool *pool, size_t size, bufpool_tenant *tenant)
{
    bufpool_buf *buf;
    return bufpool_try_acquire(pool, size, tenant, &buf) == 0 ? buf : NULL;
}

/* Not with the cache's own buffer. */
static BUFPOOL__APART bufpool_buf *bufpool__cache_acquire(bufpool_cache *cache, size_t size,
                                                          bufpool_tenant *tenant)
{
    bufpool_buf *buf;
    return bufpool__get_buffer(cache->pool, cache, size, tenant, &buf) == 0 ? buf : NULL;
}

/* The tab of a tenant in a cache that we hold; NULL: it is another tenant's. */
static BUFPOOL__HOT bufpool__tab *bufpool__ready_tab(bufpool_cache        *cache,
                                                     const bufpool_tenant *tenant)
{
    bufpool__tab *tab = &cache->tabs[tenant->number % BUFPOOL__TABS];

    /* relaxed: only the holder writes it. */
    bool is_its = atomic_load_explicit(&tab->tenant, memory_order_relaxed) == tenant;
    return BUFPOOL__LIKELY(is_its) ? tab : NULL;
}

/* Acquires a buffer of any class, for a tenant without a tab as well. */
static BUFPOOL__APART bufpool_buf *bufpool__acquire_slowly(bufpool_cache *cache, size_t size,
                                                           bufpool_tenant *tenant)
{
    bufpool_buf         *own    = bufpool__own(cache);
    enum bufpool__answer answer = BUFPOOL__WITHIN;

    if (!tenant) tenant = cache->nobody;
    if (tenant && tenant->pool != cache->pool) return NULL;
    if (!own || size > bufpool__capacities[BUFPOOL_SMALL])
        return bufpool__cache_acquire(cache, size, tenant);
    if (tenant && (answer = bufpool__draw(cache, tenant, size)) == BUFPOOL__UNKNOWN)
        return bufpool__cache_acquire(cache, size, tenant);
    bufpool__tenant_note(tenant, answer);
    atomic_store_explicit(&cache->own, NULL, memory_order_relaxed);
    bufpool__add(&cache->stacks[BUFPOOL_SMALL].hits, 1);
    bufpool__lend(cache, size, tenant);
    return bufpool__begin(bufpool__head_of(own), size, tenant);
}

/* The same for what is most frequent: the cache's own buffer, for the tenant that had it before. It
 * calls nothing that returns here, and so needs no registers saved: 4.7 ns a pair for 6.5. */
BUFPOOL_API bufpool_buf *bufpool_cache_acquire(bufpool_cache *cache, size_t size,
                                               bufpool_tenant *tenant)
{
    bufpool_buf   *own  = bufpool__own(cache);
    bufpool__head *head = bufpool__head_of(own);
    bufpool__tab  *tab  = NULL;

    if (!BUFPOOL__LIKELY(own && size <= bufpool__capacities[BUFPOOL_SMALL] &&
                         head->tenant == tenant))
        return bufpool__acquire_slowly(cache, size, tenant);
    if (tenant && !BUFPOOL__LIKELY((tab = bufpool__ready_tab(cache, tenant)) != NULL &&
                                   bufpool__tab_draw(tab, tenant, size)))
        return bufpool__acquire_slowly(cache, size, tenant);
    bufpool__add(&cache->in, size);
    if (tab) bufpool__publish(&tab->in, size);
    atomic_store_explicit(&cache->own, NULL, memory_order_relaxed); /* as in bufpool__own */
    bufpool__add(&cache->stacks[BUFPOOL_SMALL].hits, 1);
    BUFPOOL__SHOW(head->data, head->capacity);
    head->size = size;
    bufpool__set(&head->word, bufpool__life_of(own) + 1); /* as in bufpool__begin */
    return own;
}

/* -- Hold -- */

/* What the word may be. It would tell itself, but to load what a locked instruction has just
 * written costs nearly as much as another one: 25 ns a cut and its drop, for 19. If the guess is
 * wrong, a compare-exchange fails, and says what is right. */
static inline uint32_t bufpool__guess(const bufpool_buf *buf, const bufpool__head *head)
{
    return bufpool__life_of(buf) + 1 + BUFPOOL_HINT(head);
}

BUFPOOL_API bufpool_buf *bufpool_retain(bufpool_buf *buf)
{
    if (!buf) return NULL;
    bufpool__head *head = bufpool__head_of(buf);
    /* relaxed, all: the caller has a reference and may give one away; nothing has to come before or
       after. */
    uint32_t word = bufpool__guess(buf, head);
    do {
        if (!bufpool__is_good(buf, word)) {
            (void)bufpool__refuse(buf);
            return NULL;
        }
        if (bufpool__refs(buf, word) == BUFPOOL__IDLE - 1) return NULL;
    } while (!atomic_compare_exchange_weak_explicit(&head->word, &word, word + 1,
                                                    memory_order_relaxed, memory_order_relaxed));
    BUFPOOL_SET_HINT(head, (uint16_t)bufpool__refs(buf, word));
    return buf;
}

BUFPOOL_API void *bufpool_data(bufpool_buf *buf)
{
    if (!buf) return NULL;
    const bufpool__head *head = bufpool__head_of(buf);
    /* relaxed: the caller holds a reference, so the buffer is good. */
    uint32_t word = bufpool__get(&head->word);
    return BUFPOOL__LIKELY(bufpool__is_good(buf, word)) ? head->data : NULL;
}

BUFPOOL_API size_t bufpool_capacity(const bufpool_buf *buf)
{
    return buf ? bufpool__head_of(buf)->capacity : 0;
}

BUFPOOL_API bufpool_class bufpool_class_of(const bufpool_buf *buf)
{
    return buf ? (bufpool_class)bufpool__head_of(buf)->kind : BUFPOOL_OVERSIZE;
}

BUFPOOL_API bool bufpool_writable(const bufpool_buf *buf)
{
    if (!buf) return false;
    /* acquire, pairs with the release in bufpool_release: the accesses of those that dropped the
       other references happen before our writes. */
    uint32_t word = atomic_load_explicit(&bufpool__head_of(buf)->word, memory_order_acquire);
    return bufpool__refs(buf, word) == 1;
}

/* -- Release -- */

/* Off the bills, in a cache that we hold. Returns whether somebody waits for bytes. */
static BUFPOOL__HOT bool bufpool__settle_up(bufpool_cache *cache, const bufpool__head *head)
{
    size_t          size   = head->size;
    bufpool_tenant *tenant = head->tenant;

    bufpool__publish(&cache->out, size);
    if (!tenant) return false;
    bufpool__tab *tab = bufpool__tab_of(cache, tenant);
    bufpool__publish(&tab->out, size);
    return bufpool__tab_undraw(tab, tenant, size);
}

/* A buffer that nobody has, into a stack of a shard that we hold, if there is room. If not it is
 * added to what has to be discarded when we no longer hold it. */
static BUFPOOL__HOT void bufpool__put(bufpool_cache *shard, bufpool__stack *stack,
                                      bufpool__head *head, bufpool__head **gone)
{
    BUFPOOL__HIDE(head->data, head->capacity);
    if (BUFPOOL__LIKELY(bufpool__has_room(stack)) || bufpool__widen(shard, head->kind, gone))
        bufpool__push(stack, head);
    else bufpool__link(gone, head);
}

/* The last reference is gone. */
static void bufpool__recycle(bufpool__head *head)
{
    bufpool_class  kind  = head->kind;
    bufpool__head *gone  = NULL;
    bufpool       *pool  = head->pool;
    bufpool_cache *shard = bufpool__borrow(pool);

    bool waits = bufpool__settle_up(shard, head);
    if (BUFPOOL__LIKELY(kind < BUFPOOL_OVERSIZE)) {
        bufpool__publish(&shard->stacks[kind].released, 1);
        bufpool__put(shard, &shard->stacks[kind], head, &gone);
    } else {
        bufpool__publish(&shard->oversize_released, 1);
        bufpool__publish(&shard->oversize_out, head->capacity);
        bufpool__link(&gone, head);
    }
    bufpool__give_back(shard);
    if (!BUFPOOL__LIKELY(!waits)) bufpool__wake(pool);
    if (!BUFPOOL__LIKELY(!gone)) bufpool__discard_all(gone);
}

BUFPOOL_API int bufpool_release(bufpool_buf *buf)
{
    if (!buf) return -ESTALE;
    bufpool__head *head = bufpool__head_of(buf);
    uint32_t       word = bufpool__guess(buf, head), left;
    do {
        if (!BUFPOOL__LIKELY(bufpool__is_good(buf, word))) return bufpool__refuse(buf);
        left = bufpool__refs(buf, word) - 1;
        /* Before: when we have given up our reference, the header may be gone. */
        if (left > 0) BUFPOOL_SET_HINT(head, (uint16_t)(left - 1));
        /* acq_rel. As release, pairs with the acquire in bufpool_release, bufpool_writable,
           bufpool_cache_release and bufpool__release_slowly: our last access happens before what
           the thread does that drops the last reference. As acquire, for that thread. */
    } while (!atomic_compare_exchange_weak_explicit(&head->word, &word,
                                                    left > 0 ? word - 1 : word - 1 + BUFPOOL__IDLE,
                                                    memory_order_acq_rel, memory_order_relaxed));
    if (left > 0) return (int)left;
    bufpool__recycle(head);
    return 0;
}

/* A cache's stack is full: this one and half of the others go to a shard. */
static BUFPOOL__COLD void bufpool__spill(bufpool_cache *cache, bufpool__head *head,
                                         bufpool__head **gone)
{
    bufpool_class   c     = head->kind;
    uint32_t        count = bufpool__get(&cache->stacks[c].count) / 2;
    bufpool_cache  *shard = bufpool__borrow(cache->pool);
    bufpool__stack *stack = &shard->stacks[c];

    bufpool__put(shard, stack, head, gone);
    for (; count > 0 && (bufpool__has_room(stack) || bufpool__widen(shard, c, gone)); count--)
        bufpool__push(stack, bufpool__pop(&cache->stacks[c]));
    bufpool__give_back(shard);
}

/* Puts a buffer into a stack of the thread's own cache, or spills some. */
static BUFPOOL__APART void bufpool__cache_put(bufpool_cache *cache, bufpool__stack *stack,
                                              bufpool__head *head)
{
    bufpool__head *gone = NULL;

    bufpool__enter(cache);
    if (BUFPOOL__LIKELY(bufpool__has_room(stack))) bufpool__push(stack, head);
    else bufpool__spill(cache, head, &gone);
    bufpool__give_back(cache);
    if (!BUFPOOL__LIKELY(!gone)) bufpool__discard_all(gone);
}

/* Releases a buffer of any pool and class. */
static BUFPOOL__APART int bufpool__release_slowly(bufpool_cache *cache, bufpool_buf *buf)
{
    if (!buf) return -ESTALE;
    bufpool__head *head = bufpool__head_of(buf);
    /* acquire, pairs with the release in bufpool_release, as in bufpool_cache_release. */
    uint32_t word = atomic_load_explicit(&head->word, memory_order_acquire);
    if (bufpool__refs(buf, word) != 1 || head->kind >= BUFPOOL_OVERSIZE ||
        head->pool != cache->pool)
        return bufpool_release(buf);

    bufpool__stack *stack = &cache->stacks[head->kind];
    bufpool__set(&head->word, bufpool__life_of(buf) + BUFPOOL__IDLE);
    bool waits = bufpool__settle_up(cache, head);
    bufpool__publish(&stack->released, 1);
    BUFPOOL__HIDE(head->data, head->capacity);
    if (head->kind == BUFPOOL_SMALL && cache->has_own && !bufpool__own(cache))
        atomic_store_explicit(&cache->own, bufpool__next_life(buf), memory_order_relaxed);
    else bufpool__cache_put(cache, stack, head);
    if (waits) bufpool__wake(cache->pool);
    return 0;
}

/* Returns 0, after surplus that a tab must not keep was returned. */
static BUFPOOL__APART int bufpool__return_surplus(bufpool__tab *tab, bufpool_tenant *tenant)
{
    if (bufpool__tab_return(tab, tenant)) bufpool__wake(tenant->pool);
    return 0;
}

/* The same for what is most frequent: the buffer becomes the cache's own. */
BUFPOOL_API int bufpool_cache_release(bufpool_cache *cache, bufpool_buf *buf)
{
    if (!BUFPOOL__LIKELY(buf)) return -ESTALE;
    bufpool__head *head = bufpool__head_of(buf);
    bufpool__tab  *tab  = NULL;
    /* acquire, pairs with the release in bufpool_release: the accesses of those that released the
       other references happen before the buffer's next use. */
    uint32_t word = atomic_load_explicit(&head->word, memory_order_acquire);
    if (!BUFPOOL__LIKELY(bufpool__refs(buf, word) == 1 && head->small_of == cache->pool &&
                         cache->has_own && !bufpool__own(cache)))
        return bufpool__release_slowly(cache, buf);
    uint64_t        size   = head->size;
    bufpool_tenant *tenant = head->tenant;
    if (tenant && !BUFPOOL__LIKELY(tab = bufpool__ready_tab(cache, tenant)))
        return bufpool__release_slowly(cache, buf);
    bufpool__publish(&cache->out, size);
    if (tab) bufpool__publish(&tab->out, size);
    bufpool__publish(&cache->stacks[BUFPOOL_SMALL].released, 1);
    BUFPOOL__HIDE(head->data, head->capacity);
    /* relaxed, both: ours is the only reference, and the word is made from the name, so that it
       need not wait for the old one; only the cache's thread writes its own. */
    bufpool__set(&head->word, bufpool__life_of(buf) + BUFPOOL__IDLE);
    atomic_store_explicit(&cache->own, bufpool__next_life(buf), memory_order_relaxed);
    if (!tab) return 0;
    uint64_t drawn = atomic_load_explicit(&tab->drawn, memory_order_relaxed) - size;
    atomic_store_explicit(&tab->drawn, drawn, memory_order_relaxed);
    /* light, pairs with the heavy fence in bufpool__recall: as in bufpool__tab_undraw. */
    BUFPOOL_LIGHT_FENCE();
    uint64_t surplus = atomic_load_explicit(&tab->quota, memory_order_relaxed) - drawn;
    if (BUFPOOL__LIKELY(surplus < bufpool__room(tenant))) return 0;
    return bufpool__return_surplus(tab, tenant);
}

/* Charges bytes of a buffer that is live to a tenant. False: they would exceed a cap. */
static bool bufpool__charge_live(bufpool *pool, bufpool_tenant *tenant, size_t size)
{
    bufpool_cache       *shard  = bufpool__borrow(pool);
    enum bufpool__answer answer = bufpool__draw(shard, tenant, size);

    if (answer == BUFPOOL__UNKNOWN) {
        bufpool__give_back(shard);
        answer = bufpool__tenant_ask(tenant, size);
        if (answer == BUFPOOL__UNKNOWN) return false;
        shard = bufpool__borrow(pool);
        bufpool__tenant_pay(shard, tenant, size);
    }
    bufpool__publish(&bufpool__tab_of(shard, tenant)->in, size);
    bufpool__give_back(shard);
    bufpool__tenant_note(tenant, answer);
    return true;
}

BUFPOOL_API int bufpool_rebill(bufpool_buf *buf, bufpool_tenant *tenant)
{
    if (!buf || !bufpool_data(buf)) return bufpool__refuse(buf);
    bufpool__head  *head = bufpool__head_of(buf);
    bufpool        *pool = head->pool;
    bufpool_tenant *old  = head->tenant;
    if (tenant && tenant->pool != pool) return -EINVAL;
    if (!tenant) tenant = pool->nobody;
    if (tenant == old) return 0;
    if (tenant && !bufpool__charge_live(pool, tenant, head->size)) return -EDQUOT;
    head->tenant = tenant;
    if (!old) return 0;
    bufpool_cache *shard = bufpool__borrow(pool);
    bufpool__tab  *tab   = bufpool__tab_of(shard, old);
    bufpool__publish(&tab->out, head->size);
    bool waits = bufpool__tab_undraw(tab, old, head->size);
    bufpool__give_back(shard);
    if (waits) bufpool__wake(pool);
    return 0;
}

/* -- Views -- */

BUFPOOL_API int bufpool_view_of(bufpool_buf *buf, size_t offset, size_t len, bufpool_view *view)
{
    *view = (bufpool_view){NULL, 0, NULL};
    if (!bufpool_retain(buf)) return -ESTALE;
    const bufpool__head *head = bufpool__head_of(buf);
    if (!BUFPOOL__LIKELY(offset <= head->capacity && len <= head->capacity - offset)) {
        (void)bufpool_release(buf);
        return -ERANGE;
    }
    *view = (bufpool_view){head->data + offset, len, buf};
    return 0;
}

BUFPOOL_API int bufpool_view_cut(const bufpool_view *from, size_t offset, size_t len,
                                 bufpool_view *view)
{
    bufpool_view whole  = *from;
    bool         itself = view == from;
    bool         fits   = offset <= whole.len && len <= whole.len - offset;

    if (!itself) *view = (bufpool_view){NULL, 0, NULL};
    if (!BUFPOOL__LIKELY(fits && !itself)) { /* no reference more */
        if (!bufpool_data(whole.buf)) return bufpool__refuse(whole.buf);
        if (!fits) return -ERANGE;
    } else if (!bufpool_retain(whole.buf)) return -ESTALE;
    *view = (bufpool_view){whole.data + offset, len, whole.buf};
    return 0;
}

BUFPOOL_API int bufpool_view_shrink(bufpool_view *view)
{
    bufpool_buf *old = view->buf, *copy;

    if (!bufpool_data(old)) return bufpool__refuse(old);
    const bufpool__head *head = bufpool__head_of(old);
    if (bufpool_class_for(view->len) >= bufpool_class_of(old)) return 0;
    int error = bufpool_try_acquire(head->pool, view->len, head->tenant, &copy);
    if (error) return error;
    unsigned char *data = bufpool__head_of(copy)->data;
    if (view->len > 0) memcpy(data, view->data, view->len);
    *view = (bufpool_view){data, view->len, copy};
    (void)bufpool_release(old);
    return 0;
}

BUFPOOL_API int bufpool_view_drop(bufpool_view *view)
{
    bufpool_buf *buf = view->buf;

    *view = (bufpool_view){NULL, 0, NULL};
    return bufpool_release(buf);
}

/* -- Create -- */

/* The buffers of class c that a cache keeps for its thread. */
static uint32_t bufpool__magazine(const bufpool *pool, uint32_t c)
{
    size_t count = pool->config.cache_bytes / bufpool__capacities[c];
    return count < BUFPOOL__MAGAZINE ? (uint32_t)count : BUFPOOL__MAGAZINE;
}

static bufpool_cache *bufpool__take_seat(bufpool *pool, bufpool_cache *cache, bool is_shard)
{
    uint32_t number = bufpool__get(&pool->seat_count);

    cache->pool     = pool;
    cache->number   = number;
    cache->is_shard = is_shard;
    cache->nobody   = pool->nobody;
    cache->has_own  = !is_shard;
    for (uint32_t c = 0; c < BUFPOOL_CLASSES && !is_shard; c++)
        bufpool__set(&cache->stacks[c].room, bufpool__magazine(pool, c));
    atomic_store_explicit(&pool->seats[number], cache, memory_order_relaxed); /* the next says it */
    /* release, pairs with the acquire in bufpool__sum, bufpool__idle, bufpool__give_idle,
       bufpool__traffic, bufpool__find_idle, bufpool__subtract_outs and bufpool__add_ins: the seat
       is there. */
    atomic_store_explicit(&pool->seat_count, number + 1, memory_order_release);
    return cache;
}

static void   bufpool__make_key(bufpool *pool);
static void   bufpool__tenant_set_up(bufpool_tenant *tenant, bufpool *pool, bufpool_tenant *parent);
static size_t bufpool__table_size(uint32_t slots);
static void   bufpool__table_use(bufpool *pool, bufpool__table *table, uint32_t slots);

static uint32_t bufpool__default_shards(void)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);

    if (processors < 1) processors = 1;
    return 2 * processors < BUFPOOL__SHARDS ? 2 * (uint32_t)processors : BUFPOOL__SHARDS;
}

static void bufpool__configure(bufpool *pool, const bufpool_config *config)
{
    if (config) pool->config = *config;
    if (pool->config.tenant_soft_limit == 0) pool->config.tenant_soft_limit = 256u << 20;
    if (pool->config.idle_buffers == 0) pool->config.idle_buffers = 64;
    if (pool->config.idle_bytes == 0) pool->config.idle_bytes = 64u << 20;
    if (pool->config.tenant_max == 0) pool->config.tenant_max = 10000;
    if (pool->config.cache_bytes == 0) pool->config.cache_bytes = 1u << 20;
    bufpool__make_key(pool);
}

BUFPOOL_API int bufpool_create(bufpool **pool, const bufpool_config *config)
{
    if (!pool) return -EINVAL;
    *pool = NULL;
    if (config && config->flags & ~(uint32_t)BUFPOOL_WIPE) return -EINVAL;

    bufpool *made = (bufpool *)BUFPOOL_MAP(sizeof *made + BUFPOOL__TENANT_MOST); /* nobody */
    if (!made) return -ENOMEM;
    bufpool__configure(made, config);
    made->system_page     = (size_t)sysconf(_SC_PAGESIZE);
    made->shard_count     = bufpool__default_shards();
    made->shards          = (bufpool_cache *)BUFPOOL_MAP(made->shard_count * sizeof *made->shards);
    bufpool__table *table = (bufpool__table *)BUFPOOL_MAP(bufpool__table_size(BUFPOOL__TABLE));
    if (!made->shards || !table) {
        if (table) BUFPOOL_UNMAP(table, bufpool__table_size(BUFPOOL__TABLE));
        if (made->shards) BUFPOOL_UNMAP(made->shards, made->shard_count * sizeof *made->shards);
        BUFPOOL_UNMAP(made, sizeof *made + BUFPOOL__TENANT_MOST);
        return -ENOMEM;
    }
    bufpool__table_use(made, table, BUFPOOL__TABLE);
    bufpool__set(&made->has_fences,
                 BUFPOOL_SYSCALL(SYS_membarrier, BUFPOOL__MEMBARRIER_READY, 0, 0, 0, 0, 0) == 0);
    made->all.cap = made->config.max_bytes;
    if (made->config.max_bytes > 0) made->nobody = (bufpool_tenant *)(made + 1);
    if (made->config.max_bytes > 0) bufpool__tenant_set_up(made->nobody, made, NULL);
    for (uint32_t i = 0; i < made->shard_count; i++)
        bufpool__take_seat(made, &made->shards[i], true);
    /* relaxed: nobody else has the pool yet. */
    atomic_store_explicit(&made->holders, BUFPOOL__UNDECIDED, memory_order_relaxed);
    *pool = made;
    return 0;
}

/* -- Open and close -- */

/* Under the lock. A seat that somebody left, or one for a new cache, if there is one; or NULL. */
static bufpool_cache *bufpool__sit_down(bufpool *pool, bufpool_cache *made)
{
    uint32_t       seats = bufpool__get(&pool->seat_count);
    bufpool_cache *cache = pool->left;

    if (cache) pool->left = cache->left;
    else if (made && seats - pool->shard_count < BUFPOOL__CACHES)
        cache = bufpool__take_seat(pool, made, false);
    if (cache) bufpool__set(&pool->caches, bufpool__get(&pool->caches) + 1);
    return cache;
}

BUFPOOL_API bufpool_cache *bufpool_cache_open(bufpool *pool)
{
    bufpool_cache *made = NULL, *cache = NULL;

    if (!pool) return NULL;
    for (int tries = 0; tries < 2 && !cache; tries++) {
        if (tries > 0 && !(made = (bufpool_cache *)BUFPOOL_MAP(sizeof *made))) return NULL;
        bufpool__lock(&pool->lock);
        cache = bufpool__sit_down(pool, made);
        bufpool__unlock(&pool->lock);
    }
    if (made && made != cache) BUFPOOL_UNMAP(made, sizeof *made);
    return cache;
}

/* Takes all idle buffers of a cache that we hold. Those that are released later go to the pool. */
static void bufpool__empty(bufpool_cache *cache, bufpool__head **list)
{
    bufpool_buf *own = bufpool__own(cache);

    atomic_store_explicit(&cache->own, NULL, memory_order_relaxed); /* as in bufpool__own */
    if (own) bufpool__link(list, bufpool__head_of(own));
    for (uint32_t c = 0; c < BUFPOOL_CLASSES; c++) bufpool__shrink(cache, c, 0, list);
}

BUFPOOL_API void bufpool_cache_close(bufpool_cache *cache)
{
    if (!cache) return;
    bufpool       *pool = cache->pool;
    bufpool__head *list = NULL, *gone = NULL;

    bufpool__enter(cache);
    bufpool__carry(pool, 1);
    bufpool__empty(cache, &list);
    bufpool__give_back(cache);
    while (list) {
        bufpool__head *next  = list->next;
        bufpool_cache *shard = bufpool__borrow(pool);
        bufpool__put(shard, &shard->stacks[list->kind], list, &gone);
        bufpool__give_back(shard);
        list = next;
    }
    bufpool__discard_all(gone);
    bufpool__carry(pool, -1);
    bufpool__lock(&pool->lock);
    cache->left = pool->left;
    pool->left  = cache;
    bufpool__set(&pool->caches, bufpool__get(&pool->caches) - 1);
    bool closed = bufpool__get(&pool->closed) != 0;
    bufpool__unlock(&pool->lock);
    if (closed) bufpool__leave(pool);
}

/* -- Tenants -- */

/* SipHash (Aumasson and Bernstein, SipHash: a fast short-input PRF, INDOCRYPT 2012) with one round
 * for each word and three at the end. Nobody who does not know the key can choose names that
 * collide. */
static BUFPOOL__HOT void bufpool__sip_round(uint64_t *v)
{
    v[0] += v[1], v[1] = (v[1] << 13 | v[1] >> 51) ^ v[0], v[0] = v[0] << 32 | v[0] >> 32;
    v[2] += v[3], v[3] = (v[3] << 16 | v[3] >> 48) ^ v[2];
    v[0] += v[3], v[3] = (v[3] << 21 | v[3] >> 43) ^ v[0];
    v[2] += v[1], v[1] = (v[1] << 17 | v[1] >> 47) ^ v[2], v[2] = v[2] << 32 | v[2] >> 32;
}

/* Eight bytes, the first of which counts least. */
static BUFPOOL__HOT uint64_t bufpool__sip_word(const char *at)
{
    uint64_t word = 0;

    memcpy(&word, at, sizeof word);
    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? word : __builtin_bswap64(word);
}

static uint64_t bufpool__sip(const uint64_t key[2], const char *bytes, size_t len)
{
    uint64_t v[4] = {key[0] ^ UINT64_C(0x736f6d6570736575), key[1] ^ UINT64_C(0x646f72616e646f6d),
                     key[0] ^ UINT64_C(0x6c7967656e657261), key[1] ^ UINT64_C(0x7465646279746573)};
    uint64_t last = (uint64_t)len << 56;
    size_t   rest = len % sizeof last, whole = len - rest;

    for (size_t at = 0; at < whole; at += sizeof last) {
        uint64_t word = bufpool__sip_word(bytes + at);
        v[3] ^= word;
        bufpool__sip_round(v);
        v[0] ^= word;
    }
    if (rest > 0 && whole > 0) /* the last eight bytes, without those that were in a word */
        last |= bufpool__sip_word(bytes + len - sizeof last) >> 8 * (sizeof last - rest);
    else
        for (size_t i = 0; i < rest; i++) last |= (uint64_t)(unsigned char)bytes[i] << 8 * i;
    v[3] ^= last;
    bufpool__sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    for (int round = 0; round < 3; round++) bufpool__sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static uint32_t bufpool__hash(const bufpool *pool, const char *name, size_t len)
{
    return (uint32_t)bufpool__sip(pool->key, name, len);
}

/* Where getrandom is refused, the key is a hash of the process's random bytes: no key tells
 * them, since the C library has its own secrets from there. */
static void bufpool__make_key(bufpool *pool)
{
    uint64_t secret[2], about[2] = {(uintptr_t)pool, 0};
    long     got;

    do got = BUFPOOL_SYSCALL(SYS_getrandom, pool->key, sizeof pool->key, 0, 0, 0, 0);
    while (got < 0 && errno == EINTR);
    if (got == (long)sizeof pool->key) return;
    memcpy(secret, (const void *)getauxval(AT_RANDOM), sizeof secret);
    for (; about[1] < 2; about[1]++)
        pool->key[about[1]] = bufpool__sip(secret, (const char *)about, sizeof about);
}

static bool bufpool__is_named(const bufpool_tenant *tenant, const bufpool_tenant *parent,
                              const char *name, size_t len)
{
    return tenant->name_len == len && tenant->parent == parent &&
           memcmp(tenant->name, name, len) == 0;
}

/* Any thread. */
static bufpool_tenant *bufpool__find(const bufpool *pool, const bufpool_tenant *parent,
                                     uint32_t hash, const char *name, size_t len)
{
    /* acquire, pairs with the release in bufpool__table_use: its slots are filled. A table that is
       no longer the newest lacks some: then it is looked for again, under the names' lock. */
    const bufpool__table *table = atomic_load_explicit(&pool->table, memory_order_acquire);

    for (uint32_t at = hash & table->mask;; at = (at + 1) & table->mask) {
        const struct bufpool__slot *slot = &table->slots[at];
        /* acquire, pairs with the release in bufpool__enlist. */
        bufpool_tenant *tenant = atomic_load_explicit(&slot->tenant, memory_order_acquire);
        if (!tenant) return NULL;
        if (bufpool__get(&slot->hash) == hash && bufpool__is_named(tenant, parent, name, len))
            return tenant;
    }
}

/* Under the names' lock. */
static void bufpool__enlist(bufpool__table *table, bufpool_tenant *tenant)
{
    uint32_t at = tenant->hash & table->mask;

    while (atomic_load_explicit(&table->slots[at].tenant, memory_order_relaxed))
        at = (at + 1) & table->mask;
    bufpool__set(&table->slots[at].hash, tenant->hash);
    /* release, pairs with the acquire in bufpool__find. */
    atomic_store_explicit(&table->slots[at].tenant, tenant, memory_order_release);
}

static size_t bufpool__table_size(uint32_t slots)
{
    return sizeof(bufpool__table) + slots * sizeof(struct bufpool__slot);
}

/* Under the names' lock, or in create. All tenants are in a new table, of that many slots, a power
 * of two. */
static void bufpool__table_use(bufpool *pool, bufpool__table *table, uint32_t slots)
{
    table->mask  = slots - 1;
    table->older = atomic_load_explicit(&pool->table, memory_order_relaxed);
    for (bufpool_tenant *tenant = atomic_load_explicit(&pool->first_tenant, memory_order_relaxed);
         tenant; tenant         = atomic_load_explicit(&tenant->next, memory_order_relaxed))
        bufpool__enlist(table, tenant);
    /* release, pairs with the acquire in bufpool__find. */
    atomic_store_explicit(&pool->table, table, memory_order_release);
}

/* Under the names' lock. The slots of the table that the next tenant takes; 0: there are enough. */
static uint32_t bufpool__slots_due(const bufpool *pool)
{
    const bufpool__table *table = atomic_load_explicit(&pool->table, memory_order_relaxed);
    return bufpool__get(&pool->tenant_count) >= table->mask / 2 ? 2 * (table->mask + 1) : 0;
}

static bool bufpool__arena_is_due(const bufpool *pool)
{
    return !pool->arenas || BUFPOOL__NAMES - pool->arenas->used < BUFPOOL__TENANT_MOST;
}

/* Maps what the next tenant needs, without the lock. False: there is no memory. */
static BUFPOOL__COLD bool bufpool__names_supply(bufpool *pool)
{
    bufpool__lock(&pool->names_lock);
    uint32_t slots = bufpool__slots_due(pool);
    bool     needs = bufpool__arena_is_due(pool), full = slots > UINT32_MAX / 2;
    bufpool__unlock(&pool->names_lock);
    if (full) return false;
    bufpool__table *table =
        slots > 0 ? (bufpool__table *)BUFPOOL_MAP(bufpool__table_size(slots)) : NULL;
    bufpool__arena *arena = needs ? (bufpool__arena *)BUFPOOL_MAP(BUFPOOL__NAMES) : NULL;
    bool            has   = (table || slots == 0) && (arena || !needs);

    bufpool__lock(&pool->names_lock);
    if (table && bufpool__slots_due(pool) == slots) {
        bufpool__table_use(pool, table, slots);
        table = NULL;
    }
    if (arena && bufpool__arena_is_due(pool)) {
        arena->next  = pool->arenas;
        arena->used  = BUFPOOL__LINE;
        pool->arenas = arena;
        arena        = NULL;
    }
    bufpool__unlock(&pool->names_lock);
    if (table) BUFPOOL_UNMAP(table, bufpool__table_size(slots)); /* another thread was faster */
    if (arena) BUFPOOL_UNMAP(arena, BUFPOOL__NAMES);
    return has;
}

/* An account without anything in it. */
static void bufpool__tenant_set_up(bufpool_tenant *tenant, bufpool *pool, bufpool_tenant *parent)
{
    bool capped         = pool->config.max_bytes > 0;
    tenant->pool        = pool;
    tenant->parent      = parent;
    tenant->level.above = parent ? &parent->level : capped ? &pool->all : NULL;
    tenant->level.cap   = UINT64_MAX;
    tenant->lock        = parent ? parent->lock : capped ? &pool->all_lock : &tenant->own_lock;
    /* relaxed: nobody else has the tenant yet. */
    atomic_store_explicit(&tenant->limit, pool->config.tenant_soft_limit, memory_order_relaxed);
    bufpool__lock(tenant->lock);
    if (parent) parent->has_children = true;
    bufpool__tenant_adapt(tenant);
    bufpool__unlock(tenant->lock);
}

/* Under the names' lock. NULL: memory has to be mapped first. */
static bufpool_tenant *bufpool__make_tenant(bufpool *pool, bufpool_tenant *parent, uint32_t hash,
                                            const char *name, size_t len)
{
    uint32_t count = bufpool__get(&pool->tenant_count);
    size_t   size =
        (offsetof(bufpool_tenant, name) + len + BUFPOOL__LINE - 1) & ~(size_t)(BUFPOOL__LINE - 1);

    if (bufpool__slots_due(pool) > 0 || bufpool__arena_is_due(pool)) return NULL;
    bufpool_tenant *tenant = (bufpool_tenant *)((unsigned char *)pool->arenas + pool->arenas->used);
    pool->arenas->used += size;
    bufpool__tenant_set_up(tenant, pool, parent);
    tenant->number   = count;
    tenant->hash     = hash;
    tenant->name_len = (unsigned char)len;
    memcpy(tenant->name, name, len);
    /* release, pairs with the acquire in bufpool__append_tenants: the tenant is whole. */
    atomic_store_explicit(pool->last_tenant ? &pool->last_tenant->next : &pool->first_tenant,
                          tenant, memory_order_release);
    bufpool__set(&pool->tenant_count, count + 1);
    pool->last_tenant = tenant;
    bufpool__enlist(atomic_load_explicit(&pool->table, memory_order_relaxed), tenant);
    return tenant;
}

/* parent: NULL, or one of this pool. */
static bufpool_tenant *bufpool__tenant_named(bufpool *pool, bufpool_tenant *parent,
                                             const char *name, size_t len)
{
    if (!name || len == 0 || len > BUFPOOL__NAME_MAX) return NULL;
    uint32_t hash = bufpool__hash(pool, name, len);
    if (parent) hash = (hash + parent->number) * 0x9e3779b1u ^ parent->hash;
    bufpool_tenant *tenant = bufpool__find(pool, parent, hash, name, len);
    if (BUFPOOL__LIKELY(tenant)) return tenant;
    do {
        bufpool__lock(&pool->names_lock);
        tenant = bufpool__find(pool, parent, hash, name, len);
        if (!tenant) tenant = bufpool__make_tenant(pool, parent, hash, name, len);
        bufpool__unlock(&pool->names_lock);
    } while (!tenant && bufpool__names_supply(pool));
    return tenant;
}

BUFPOOL_API bufpool_tenant *bufpool_tenant_get(bufpool *pool, const char *name, size_t name_len)
{
    return pool ? bufpool__tenant_named(pool, NULL, name, name_len) : NULL;
}

BUFPOOL_API bufpool_tenant *bufpool_tenant_child(bufpool_tenant *parent, const char *name,
                                                 size_t name_len)
{
    return parent ? bufpool__tenant_named(parent->pool, parent, name, name_len) : NULL;
}

BUFPOOL_API void bufpool_tenant_limit(bufpool_tenant *tenant, uint64_t soft_limit_bytes)
{
    if (!tenant) return;
    if (soft_limit_bytes == 0) soft_limit_bytes = tenant->pool->config.tenant_soft_limit;
    bufpool__lock(tenant->lock);
    /* relaxed: the lock. */
    atomic_store_explicit(&tenant->limit, soft_limit_bytes, memory_order_relaxed);
    bufpool__tenant_adapt(tenant);
    bufpool__unlock(tenant->lock);
}

BUFPOOL_API int bufpool_tenant_cap(bufpool_tenant *tenant, uint64_t max_bytes,
                                   uint64_t reserved_bytes)
{
    if (!tenant) return -EINVAL;
    uint64_t cap = max_bytes > 0 ? max_bytes : UINT64_MAX;
    if (reserved_bytes > cap || reserved_bytes > BUFPOOL__CHARGE_MAX) return -EINVAL;
    bufpool__level *level = &tenant->level, *lacks;
    bool            loose = true;

    for (unsigned round = 0; loose; round++) {
        bufpool__lock(tenant->lock);
        uint64_t granted = bufpool__granted(level), was = bufpool__level_weight(level, granted);
        uint64_t will = granted > reserved_bytes ? granted : reserved_bytes;
        if (will <= was || !(lacks = bufpool__level_lacks(level->above, will - was))) {
            lacks           = NULL;
            level->cap      = cap;
            level->reserved = reserved_bytes;
            bufpool__level_add(level->above, will - was);
            bufpool__tenant_adapt(tenant);
        }
        loose = lacks ? lacks->loose : granted > cap; /* no surplus may be left to draw on */
        bufpool__unlock(tenant->lock);
        if (loose && bufpool__recall(tenant, lacks ? lacks : level) && !lacks) break;
        if (loose) bufpool__pause(round);
    }
    bufpool__wake(tenant->pool);
    return lacks ? -EDQUOT : 0;
}

/* -- Waiting for bytes -- */

/* Bytes have come back: those that were refused may try again. */
static BUFPOOL__COLD void bufpool__wake(bufpool *pool)
{
    uint64_t one = 1;

    /* acq_rel, pairs with the acq_rel in bufpool__wake: one of those that find it wakes. */
    if (atomic_exchange_explicit(&pool->refused, 0, memory_order_acq_rel) == 0) return;
    /* release, pairs with the acquire in bufpool_acquire_wait: what came back is granted. */
    atomic_fetch_add_explicit(&pool->events, 1, memory_order_release);
    (void)BUFPOOL_SYSCALL(SYS_futex, &pool->events, BUFPOOL__FUTEX_WAKE, INT_MAX, 0, 0, 0);
    /* relaxed: a setting. A full eventfd is readable in any case. */
    int fd = atomic_load_explicit(&pool->event_fd, memory_order_relaxed) - 1;
    if (fd >= 0) (void)!write(fd, &one, sizeof one);
}

BUFPOOL_API int bufpool_event(bufpool *pool, int fd)
{
    if (!pool || fd < -1 || fd == INT_MAX) return -EINVAL;
    /* relaxed: a setting. */
    atomic_store_explicit(&pool->event_fd, fd + 1, memory_order_relaxed);
    return 0;
}

/* Nanoseconds since some time: of a clock that nobody sets, if the kernel does not refuse it. */
static int64_t bufpool__now(void)
{
    enum { MONOTONIC = 1 };
    struct timespec wall = {0, 0};
    struct {
        long seconds, nanoseconds;
    } now;

    if (BUFPOOL_SYSCALL(SYS_clock_gettime, MONOTONIC, &now, 0, 0, 0, 0) == 0)
        return (int64_t)now.seconds * 1000000000 + now.nanoseconds;
    (void)timespec_get(&wall, TIME_UTC);
    return (int64_t)wall.tv_sec * 1000000000 + wall.tv_nsec;
}

/* Sleeps until bytes come back, or for up to a tenth of a second; in milliseconds. */
static void bufpool__wait_event(bufpool *pool, uint32_t seen, int64_t most)
{
    struct {
        long seconds, nanoseconds;
    } time = {0, (long)(most < 100 ? most : 100) * 1000000};

    if (BUFPOOL_SYSCALL(SYS_futex, &pool->events, BUFPOOL__FUTEX_WAIT, seen, &time, 0, 0) != 0 &&
        errno != EAGAIN && errno != EINTR && errno != ETIMEDOUT)
        (void)poll(NULL, 0, 1);
}

BUFPOOL_API int bufpool_acquire_wait(bufpool *pool, size_t size, bufpool_tenant *tenant,
                                     int64_t timeout_ns, bufpool_buf **buf)
{
    int64_t left = timeout_ns, begin = 0;

    for (bool first = true;; first = false) {
        /* acquire, pairs with the release in bufpool__wake: bytes that came back are there. */
        uint32_t seen  = pool ? atomic_load_explicit(&pool->events, memory_order_acquire) : 0;
        int      error = bufpool_try_acquire(pool, size, tenant, buf);
        if (error != -EDQUOT || timeout_ns == 0) return error;
        int64_t now = bufpool__now();
        if (first) begin = now;
        if (timeout_ns > 0) left = timeout_ns - (now - begin);
        if (timeout_ns > 0 && left <= 0) return -ETIMEDOUT;
        bufpool__wait_event(pool, seen, timeout_ns < 0 ? 100 : left / 1000000 + 1);
    }
}

static void bufpool__count_underflow(bufpool *pool)
{
    /* relaxed: a count. */
    atomic_fetch_add_explicit(&pool->underflows, 1, memory_order_relaxed);
}

/* Adds to the pool's sums, of 128 bits each. Their difference may be too much for a moment, but is
 * never below zero: of what comes in the high half is written first and read last, of what goes out
 * the low half. */
static void bufpool__count_charge(bufpool *pool, uint64_t in, uint64_t out)
{
    bufpool_cache *shard = bufpool__borrow(pool);
    /* relaxed, both: the shard is ours. */
    uint64_t before_in  = atomic_load_explicit(&shard->charged_in, memory_order_relaxed);
    uint64_t before_out = atomic_load_explicit(&shard->charged_out, memory_order_relaxed);
    if (in > UINT64_MAX - before_in) bufpool__publish(&shard->charged_in_high, 1);
    bufpool__publish(&shard->charged_in, in);
    bufpool__publish(&shard->charged_out, out);
    if (out > UINT64_MAX - before_out) bufpool__publish(&shard->charged_out_high, 1);
    bufpool__give_back(shard);
}

/* Under the lock. How much of a charge is not too much on any level. */
static uint64_t bufpool__charge_most(const bufpool_tenant *tenant, uint64_t bytes)
{
    /* relaxed, both: the lock. */
    uint64_t charged = atomic_load_explicit(&tenant->charged_in, memory_order_relaxed) -
                       atomic_load_explicit(&tenant->charged_out, memory_order_relaxed);
    uint64_t most = BUFPOOL__CHARGE_MAX - charged;

    for (const bufpool__level *level = tenant->level.above; level; level = level->above) {
        uint64_t granted = bufpool__granted(level);
        uint64_t left    = granted < BUFPOOL__CHARGE_MAX ? BUFPOOL__CHARGE_MAX - granted : 0;
        if (left < most) most = left;
    }
    return bytes < most ? bytes : most;
}

BUFPOOL_API void bufpool_charge(bufpool_tenant *tenant, uint64_t bytes)
{
    if (!tenant) return;
    bufpool *pool = tenant->pool;
    uint64_t most = bytes < BUFPOOL__CHARGE_MAX ? bytes : BUFPOOL__CHARGE_MAX;

    bufpool__count_charge(pool, most, 0); /* before the tenant: see How it works */
    for (unsigned round = 0;; round++) {
        bufpool__lock(tenant->lock);
        uint64_t more    = bufpool__charge_most(tenant, most);
        uint64_t granted = bufpool__granted(&tenant->level), limit = bufpool__limit(tenant);
        bool     within = granted <= limit && more <= limit - granted;
        bool     known  = within || !tenant->level.loose || round >= BUFPOOL__RECALLS;
        if (known) {
            bufpool__publish(&tenant->charged_in, more);
            bufpool__tenant_note(tenant, bufpool__tenant_grant(tenant, more));
        }
        bufpool__unlock(tenant->lock);
        if (known && more < most) bufpool__count_charge(pool, 0, most - more);
        if (known && more < bytes) bufpool__count_underflow(pool);
        if (known) return;
        if (!bufpool__recall(tenant, &tenant->level)) bufpool__pause(round);
    }
}

BUFPOOL_API void bufpool_discharge(bufpool_tenant *tenant, uint64_t bytes)
{
    if (!tenant) return;
    bufpool *pool = tenant->pool;

    bufpool__lock(tenant->lock);
    /* relaxed, both: the lock. */
    uint64_t charged = atomic_load_explicit(&tenant->charged_in, memory_order_relaxed) -
                       atomic_load_explicit(&tenant->charged_out, memory_order_relaxed);
    uint64_t less = bytes < charged ? bytes : charged;
    bufpool__publish(&tenant->charged_out, less);
    bufpool__level_add(&tenant->level, 0 - less);
    bufpool__unlock(tenant->lock);
    bufpool__count_charge(pool, 0, less);
    if (less < bytes) bufpool__count_underflow(pool);
    if (less > 0 && bufpool__get(&pool->refused) != 0) bufpool__wake(pool);
}

/* -- Stats -- */

BUFPOOL_API void bufpool_tenant_stats(const bufpool_tenant       *tenant,
                                      struct bufpool_tenant_info *stats)
{
    if (!stats) return;
    memset(stats, 0, sizeof *stats);
    if (!tenant) return;
    /* relaxed, both: settings and counts. */
    stats->soft_limit_bytes    = atomic_load_explicit(&tenant->limit, memory_order_relaxed);
    stats->soft_limit_exceeded = atomic_load_explicit(&tenant->exceeded, memory_order_relaxed);
    stats->live_bytes          = bufpool__live(tenant);
    bufpool__lock(tenant->lock);
    if (tenant->has_children) stats->live_bytes = bufpool__granted(&tenant->level);
    stats->cap_bytes      = tenant->level.cap == UINT64_MAX ? 0 : tenant->level.cap;
    stats->reserved_bytes = tenant->level.reserved;
    stats->peak_bytes     = atomic_load_explicit(&tenant->level.peak, memory_order_relaxed);
    bufpool__unlock(tenant->lock);
}

/* acquire, pairs with the release in bufpool__publish: a thread that sees what went out sees what
   came in. */
static inline uint64_t bufpool__read(const _Atomic(uint64_t) *counter)
{
    return atomic_load_explicit(counter, memory_order_acquire);
}

/* -- Peaks -- */

static void bufpool__peak_begin(bufpool__level *level, _Atomic(uint32_t) *lock)
{
    bufpool__lock(lock);
    /* relaxed: the lock. */
    atomic_store_explicit(&level->peak, bufpool__granted(level), memory_order_relaxed);
    bufpool__unlock(lock);
}

BUFPOOL_API void bufpool_peak_reset(bufpool_tenant *tenant)
{
    if (tenant) bufpool__peak_begin(&tenant->level, tenant->lock);
}

BUFPOOL_API void bufpool_pool_peak_reset(bufpool *pool)
{
    if (pool) bufpool__peak_begin(&pool->all, &pool->all_lock);
}

BUFPOOL_API bufpool_tenant *bufpool_tenant_next(const bufpool *pool, const bufpool_tenant *tenant)
{
    if (!pool) return NULL;
    /* acquire, pairs with the release in bufpool__make_tenant: the tenant is whole. */
    return atomic_load_explicit(tenant ? &tenant->next : &pool->first_tenant, memory_order_acquire);
}

BUFPOOL_API const char *bufpool_tenant_name(const bufpool_tenant *tenant, size_t *len)
{
    if (len) *len = tenant ? tenant->name_len : 0;
    return tenant ? tenant->name : NULL;
}

/* A sum of charges. */
typedef struct bufpool__wide {
    uint64_t low, high;
} bufpool__wide;

static void bufpool__subtract_outs(const bufpool *pool, struct bufpool_info *stats,
                                   bufpool__wide *charged)
{
    /* acquire, pairs with the release in bufpool__take_seat: each of these seats is there. */
    uint32_t seats = atomic_load_explicit(&pool->seat_count, memory_order_acquire);

    for (uint32_t seat = 0; seat < seats; seat++) {
        const bufpool_cache *cache = bufpool__seat(pool, seat);
        stats->live_bytes -= bufpool__read(&cache->out);
        charged->high -= bufpool__read(&cache->charged_out_high);
        uint64_t out = bufpool__read(&cache->charged_out);
        charged->high -= charged->low < out;
        charged->low -= out;
        stats->live_buffers -= bufpool__read(&cache->oversize_released);
        stats->capacity_bytes -= bufpool__read(&cache->oversize_out);
        for (uint32_t c = 0; c < BUFPOOL_CLASSES; c++) {
            uint64_t released = bufpool__read(&cache->stacks[c].released);
            stats->live_buffers -= released;
            stats->capacity_bytes -= released * bufpool__capacities[c];
        }
    }
}

static void bufpool__add_ins(const bufpool *pool, struct bufpool_info *stats,
                             bufpool__wide *charged)
{
    /* acquire, pairs with the release in bufpool__take_seat: each of these seats is there. */
    uint32_t seats = atomic_load_explicit(&pool->seat_count, memory_order_acquire);

    for (uint32_t seat = 0; seat < seats; seat++) {
        const bufpool_cache *cache    = bufpool__seat(pool, seat);
        uint64_t             oversize = bufpool__read(&cache->oversize);
        stats->live_bytes += bufpool__read(&cache->in);
        uint64_t in = bufpool__read(&cache->charged_in);
        charged->high += bufpool__read(&cache->charged_in_high);
        charged->low += in;
        charged->high += charged->low < in;
        stats->live_buffers += oversize;
        stats->oversize += oversize;
        stats->capacity_bytes += bufpool__read(&cache->oversize_in);
        for (uint32_t c = 0; c < BUFPOOL_CLASSES; c++) {
            const bufpool__stack *stack = &cache->stacks[c];
            uint64_t hits = bufpool__read(&stack->hits), misses = bufpool__read(&stack->misses);
            stats->hits[c] += hits;
            stats->misses[c] += misses;
            stats->live_buffers += hits + misses;
            stats->capacity_bytes += (hits + misses) * bufpool__capacities[c];
            stats->idle_buffers[c] += bufpool__idle_of(cache, c);
            stats->idle_bytes += bufpool__idle_of(cache, c) * (uint64_t)bufpool__capacities[c];
        }
    }
}

/* Fills in what came in less what went out. Returns how much of it went out while we looked: the
 * gauges are at most so much too high. */
static uint64_t bufpool__add_up(const bufpool *pool, struct bufpool_info *stats)
{
    bufpool__wide       charged = {0, 0}, before, after = {0, 0};
    struct bufpool_info later;

    memset(stats, 0, sizeof *stats);
    memset(&later, 0, sizeof later);
    bufpool__subtract_outs(pool, stats, &charged); /* first: see How it works; modulo 2^64 */
    before               = charged;
    uint64_t out_buffers = stats->live_buffers, out_bytes = stats->live_bytes;
    uint64_t out_capacity = stats->capacity_bytes;
    bufpool__add_ins(pool, stats, &charged);
    bufpool__subtract_outs(pool, &later, &after);
    bool fits         = charged.high == 0 && charged.low <= UINT64_MAX - stats->live_bytes;
    stats->live_bytes = fits ? stats->live_bytes + charged.low : UINT64_MAX;
    return out_buffers - later.live_buffers + (out_bytes - later.live_bytes) +
           (out_capacity - later.capacity_bytes) + (before.low - after.low);
}

/* Looks until nothing goes out meanwhile, some times, and keeps the best look. */
static void bufpool__look(const bufpool *pool, struct bufpool_info *stats)
{
    struct bufpool_info next;
    uint64_t            least = bufpool__add_up(pool, stats);

    for (int looks = 1; looks < BUFPOOL_LOOKS && least > 0; looks++) {
        uint64_t moved = bufpool__add_up(pool, &next);
        if (moved < least) *stats = next;
        if (moved < least) least = moved;
    }
}

BUFPOOL_API void bufpool_stats(const bufpool *pool, struct bufpool_info *stats)
{
    if (!stats) return;
    memset(stats, 0, sizeof *stats);
    if (!pool) return;
    bufpool__look(pool, stats);
    /* relaxed, all: counts. */
    stats->underflows = atomic_load_explicit(&pool->underflows, memory_order_relaxed);
    stats->tenants    = bufpool__get(&pool->tenant_count);
    stats->caches     = bufpool__get(&pool->caches);
    stats->cap_bytes  = pool->config.max_bytes;
    stats->peak_bytes = atomic_load_explicit(&pool->all.peak, memory_order_relaxed);
}

/* -- Metrics -- */

typedef struct bufpool__text {
    char  *text;
    size_t capacity;
    size_t len; /* needed so far; may be more than capacity */
} bufpool__text;

static void bufpool__append(bufpool__text *text, const char *bytes, size_t len)
{
    if (text->len < text->capacity) {
        size_t fits = text->capacity - text->len;
        memcpy(text->text + text->len, bytes, len < fits ? len : fits);
    }
    text->len += len;
}

/* All of them; NULL comes last. */
static void bufpool__append_strings(bufpool__text *text, const char *const *strings)
{
    for (; *strings; strings++) bufpool__append(text, *strings, strlen(*strings));
}
#define BUFPOOL__STRINGS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void bufpool__append_number(bufpool__text *text, uint64_t number)
{
    char  digits[20];
    char *at = digits + sizeof digits;

    do *--at = (char)('0' + number % 10);
    while ((number /= 10) != 0);
    bufpool__append(text, at, (size_t)(digits + sizeof digits - at));
}

/* The bytes of the UTF-8 character that begins here, by RFC 3629; 0: it is none. */
static size_t bufpool__utf8(const unsigned char *at, size_t len)
{
    static const struct {
        unsigned char first, last, low, high; /* of the first byte, of the second */
        size_t        len;
    } forms[] = {
        {0x00, 0x7f, 0x00, 0xff, 1}, {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4}};

    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (at[0] < forms[i].first || at[0] > forms[i].last) continue;
        if (forms[i].len > len) return 0;
        if (forms[i].len > 1 && (at[1] < forms[i].low || at[1] > forms[i].high)) return 0;
        for (size_t next = 2; next < forms[i].len; next++)
            if (at[next] < 0x80 || at[next] > 0xbf) return 0;
        return forms[i].len;
    }
    return 0;
}

/* What may not stand in a label as it is; the bytes of the name that it stands for. U+FFFD is what
 * bytes are replaced with, and so replaced itself: no two names read the same. */
static size_t bufpool__append_odd(bufpool__text *text, const unsigned char *at, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    size_t            whole = *at == 0 ? 0 : bufpool__utf8(at, len);

    if (whole == 3 && memcmp(at, "\xef\xbf\xbd", 3) == 0) whole = 0;
    if (*at == '\n') bufpool__append(text, "\\n", 2);
    else if (*at == '"' || *at == '\\') bufpool__append(text, *at == '"' ? "\\\"" : "\\\\", 2);
    else if (whole > 0) bufpool__append(text, (const char *)at, whole);
    else {
        char replaced[5] = {'\xef', '\xbf', '\xbd', hex[*at >> 4], hex[*at & 15]};
        bufpool__append(text, replaced, sizeof replaced);
    }
    return whole > 0 ? whole : 1;
}

static void bufpool__append_label(bufpool__text *text, const char *name, size_t len)
{
    const unsigned char *at = (const unsigned char *)name, *end = at + len;

    while (at < end) {
        const unsigned char *plain = at;
        while (at < end && *at < 0x80 && *at != 0 && *at != '\n' && *at != '"' && *at != '\\') at++;
        bufpool__append(text, (const char *)plain, (size_t)(at - plain));
        if (at < end) at += bufpool__append_odd(text, at, (size_t)(end - at));
    }
}

/* A tenant's name after those above it. A slash in a name is written as odd bytes are: no two paths
 * read the same. */
static void bufpool__append_path(bufpool__text *text, const bufpool_tenant *tenant)
{
    if (!tenant) return;
    if (tenant->parent) {
        bufpool__append_path(text, tenant->parent);
        bufpool__append(text, "/", 1);
    }
    for (size_t at = 0, len; at < tenant->name_len; at += len + 1) {
        const char *slash = (const char *)memchr(tenant->name + at, '/', tenant->name_len - at);
        len               = slash ? (size_t)(slash - tenant->name) - at : tenant->name_len - at;
        bufpool__append_label(text, tenant->name + at, len);
        if (slash)
            bufpool__append(text,
                            "\xef\xbf\xbd"
                            "2f",
                            5);
    }
}

/* TYPE, UNIT and HELP of a family. */
static void bufpool__append_family(bufpool__text *text, const char *name, const char *type,
                                   const char *help)
{
    size_t len      = strlen(name);
    bool   is_bytes = len > 6 && strcmp(name + len - 6, "_bytes") == 0;

    bufpool__append_strings(text, BUFPOOL__STRINGS("# TYPE buffer_pool_", name, " ", type, "\n"));
    if (is_bytes)
        bufpool__append_strings(text, BUFPOOL__STRINGS("# UNIT buffer_pool_", name, " bytes\n"));
    bufpool__append_strings(text, BUFPOOL__STRINGS("# HELP buffer_pool_", name, " ", help, ".\n"));
}

static void bufpool__append_value(bufpool__text *text, uint64_t value)
{
    bufpool__append_number(text, value);
    bufpool__append(text, "\n", 1);
}

/* A family of one sample; suffix: a counter's. */
static void bufpool__append_single(bufpool__text *text, const char *name, const char *type,
                                   const char *suffix, const char *help, uint64_t value)
{
    bufpool__append_family(text, name, type, help);
    bufpool__append_strings(text, BUFPOOL__STRINGS("buffer_pool_", name, suffix, " "));
    bufpool__append_value(text, value);
}

/* A family of one sample for each class. */
static void bufpool__append_classes(bufpool__text *text, const char *name, const char *type,
                                    const char *suffix, const char *help, const uint64_t *values)
{
    bufpool__append_family(text, name, type, help);
    for (uint32_t c = 0; c < BUFPOOL_CLASSES; c++) {
        const char *slug = bufpool_class_slug((bufpool_class)c);
        bufpool__append_strings(
            text, BUFPOOL__STRINGS("buffer_pool_", name, suffix, "{class=\"", slug, "\"} "));
        bufpool__append_value(text, values[c]);
    }
}

/* In tenants' rows. */
static uint64_t bufpool__live_of(const bufpool_tenant *tenant)
{
    struct bufpool_tenant_info info;
    bufpool_tenant_stats(tenant, &info);
    return info.live_bytes;
}

BUFPOOL_API size_t bufpool_top(const bufpool *pool, bufpool_tenant **tenants, size_t k)
{
    size_t   count = 0;
    uint64_t least = 0; /* of those that are there, if these are k */

    if (!tenants || k == 0) return 0;
    for (bufpool_tenant *tenant = bufpool_tenant_next(pool, NULL); tenant;
         tenant                 = bufpool_tenant_next(pool, tenant)) {
        uint64_t live = bufpool__live_of(tenant);
        if (count == k && live <= least) continue;
        size_t at = count < k ? count++ : k - 1;
        for (; at > 0 && bufpool__live_of(tenants[at - 1]) < live; at--)
            tenants[at] = tenants[at - 1];
        tenants[at] = tenant;
        least       = bufpool__live_of(tenants[count - 1]);
    }
    return count;
}

static uint64_t bufpool__peak(const bufpool_tenant *tenant)
{
    return atomic_load_explicit(&tenant->level.peak, memory_order_relaxed); /* a figure */
}

static uint64_t bufpool__cap(const bufpool_tenant *tenant)
{
    struct bufpool_tenant_info info;
    bufpool_tenant_stats(tenant, &info);
    return info.cap_bytes;
}

static uint64_t bufpool__exceeded(const bufpool_tenant *tenant)
{
    return atomic_load_explicit(&tenant->exceeded, memory_order_relaxed); /* a count */
}

/* A family of one sample for each of the first tenant_max tenants, and one for the others, if there
 * are some. A tenant that has the others' name is one of them. */
static void bufpool__append_tenants(bufpool__text *text, const bufpool *pool, const char *series,
                                    uint64_t (*value_of)(const bufpool_tenant *))
{
    static const char others[] = "__other__";
    uint64_t          sum      = 0;
    bool              has_sum  = false;
    /* acquire, both, pairs with the release in bufpool__make_tenant. */
    bufpool_tenant *tenant = atomic_load_explicit(&pool->first_tenant, memory_order_acquire);

    for (; tenant; tenant = atomic_load_explicit(&tenant->next, memory_order_acquire)) {
        uint64_t value = value_of(tenant);
        if (tenant->number >= pool->config.tenant_max ||
            bufpool__is_named(tenant, NULL, others, sizeof others - 1)) {
            sum     = value < UINT64_MAX - sum ? sum + value : UINT64_MAX;
            has_sum = true;
            continue;
        }
        bufpool__append_strings(text, BUFPOOL__STRINGS("buffer_pool_", series, "{tenant_id=\""));
        bufpool__append_label(text, tenant->name, tenant->name_len);
        if (tenant->parent) bufpool__append_strings(text, BUFPOOL__STRINGS("\",parent_id=\""));
        bufpool__append_path(text, tenant->parent);
        bufpool__append(text, "\"} ", 3);
        bufpool__append_value(text, value);
    }
    if (!has_sum) return;
    bufpool__append_strings(
        text, BUFPOOL__STRINGS("buffer_pool_", series, "{tenant_id=\"", others, "\"} "));
    bufpool__append_value(text, sum);
}

static void bufpool__append_pool(bufpool__text *text, const bufpool *pool)
{
    static const char   gauge[] = "gauge", counter[] = "counter", total[] = "_total", none[] = "";
    struct bufpool_info info;
    uint64_t            idle[BUFPOOL_CLASSES];

    bufpool_stats(pool, &info);
    for (uint32_t c = 0; c < BUFPOOL_CLASSES; c++)
        idle[c] = info.idle_buffers[c] * bufpool__capacities[c];
    bufpool__append_classes(text, "hits", counter, total, "Acquisitions that got an idle buffer",
                            info.hits);
    bufpool__append_classes(text, "misses", counter, total,
                            "Acquisitions that got memory from the system", info.misses);
    bufpool__append_single(text, "oversize_allocations", counter, total,
                           "Acquisitions above the largest class", info.oversize);
    bufpool__append_single(text, "live_bytes", gauge, none,
                           "Bytes asked for and not yet released, and charged", info.live_bytes);
    if (info.cap_bytes > 0) {
        bufpool__append_single(text, "peak_bytes", gauge, none,
                               "Most that was live, and drawn ahead", info.peak_bytes);
        bufpool__append_single(text, "cap_bytes", gauge, none, "Live bytes at most",
                               info.cap_bytes);
    }
    bufpool__append_single(text, "live_buffers", gauge, none, "Buffers not yet released",
                           info.live_buffers);
    bufpool__append_single(text, "capacity_bytes", gauge, none, "Capacity of live buffers",
                           info.capacity_bytes);
    bufpool__append_classes(text, "idle_bytes", gauge, none, "Pooled, ready for reuse", idle);
    bufpool__append_single(text, "tenants", gauge, none, "Tenants known", info.tenants);
    bufpool__append_single(text, "underflows", counter, total,
                           "Releases and discharges beyond what was held", info.underflows);
}

BUFPOOL_API size_t bufpool_metrics(const bufpool *pool, char *text, size_t capacity)
{
    bufpool__text all = {text, capacity > 0 ? capacity - 1 : 0, 0};

    if (!pool && capacity > 0) text[0] = '\0';
    if (!pool) return 0;
    bufpool__append_pool(&all, pool);
    bufpool__append_family(&all, "tenant_live_bytes", "gauge", "Live bytes of a tenant");
    bufpool__append_tenants(&all, pool, "tenant_live_bytes", bufpool__live_of);
    bufpool__append_family(&all, "tenant_peak_bytes", "gauge",
                           "Most that a tenant held, and drew ahead");
    bufpool__append_tenants(&all, pool, "tenant_peak_bytes", bufpool__peak);
    bufpool__append_family(&all, "tenant_cap_bytes", "gauge", "Cap of a tenant; 0 is none");
    bufpool__append_tenants(&all, pool, "tenant_cap_bytes", bufpool__cap);
    bufpool__append_family(&all, "tenant_soft_limit_bytes", "gauge", "Soft limit of a tenant");
    bufpool__append_tenants(&all, pool, "tenant_soft_limit_bytes", bufpool__limit);
    bufpool__append_family(&all, "soft_limit_exceeded", "counter",
                           "Acquisitions and charges that ended above the tenant's soft limit");
    bufpool__append_tenants(&all, pool, "soft_limit_exceeded_total", bufpool__exceeded);
    bufpool__append_strings(&all, BUFPOOL__STRINGS("# EOF\n"));
    if (capacity > 0) text[all.len < capacity ? all.len : capacity - 1] = '\0';
    return all.len;
}

/* -- The end -- */

static void bufpool__free_all(bufpool *pool)
{
    /* relaxed: nobody else has the pool any more. */
    for (uint32_t seat = pool->shard_count; seat < bufpool__get(&pool->seat_count); seat++)
        BUFPOOL_UNMAP(bufpool__seat(pool, seat), sizeof(bufpool_cache));
    BUFPOOL_UNMAP(pool->shards, pool->shard_count * sizeof *pool->shards);
    for (bufpool__table *older, *table = atomic_load_explicit(&pool->table, memory_order_relaxed);
         table; table = older) {
        older = table->older;
        BUFPOOL_UNMAP(table, bufpool__table_size(table->mask + 1));
    }
    for (bufpool__arena *next, *arena = pool->arenas; arena; arena = next) {
        next = arena->next;
        BUFPOOL_UNMAP(arena, BUFPOOL__NAMES);
    }
    for (bufpool__chunk *next, *chunk = pool->chunks; chunk; chunk = next) {
        next = chunk->next;
        BUFPOOL__SHOW(chunk, chunk->size);
        BUFPOOL_UNMAP(chunk, chunk->size);
    }
    BUFPOOL_UNMAP(pool, sizeof *pool + BUFPOOL__TENANT_MOST);
}

/* Nothing is idle any more, nor will anything be: there is no room. */
static void bufpool__close_all(bufpool *pool)
{
    for (uint32_t seat = 0; seat < bufpool__get(&pool->seat_count); seat++) {
        bufpool_cache *cache = bufpool__seat(pool, seat);
        bufpool__head *list  = NULL;
        /* A shard may be in use for a release; a cache is not. */
        for (unsigned round = 0; cache->is_shard && !bufpool__seize(cache); round++)
            bufpool__pause(round);
        bufpool__empty(cache, &list);
        cache->has_own = false;
        for (uint32_t c = 0; c < BUFPOOL_CLASSES; c++) bufpool__set(&cache->stacks[c].room, 0);
        bufpool__let_go(cache);
        for (; list; list = list->next) {
            bufpool__return_memory(list);
            bufpool__set(&list->word, BUFPOOL__SPARE);
        }
    }
}

/* Under the lock. Those that are held, or were when the pool was closed. */
static size_t bufpool__count_held(const bufpool *pool)
{
    size_t held = 0;

    for (const bufpool__chunk *chunk = pool->chunks; chunk; chunk = chunk->next)
        for (int i = 0; i < BUFPOOL__HEADS; i++)
            held +=
                (bufpool__get(&chunk->heads[i].word) & (2 * BUFPOOL__IDLE - 1)) != BUFPOOL__SPARE;
    return held;
}

BUFPOOL_API size_t bufpool_destroy(bufpool *pool)
{
    if (!pool) return 0;
    bufpool__lock(&pool->lock);
    bufpool__set(&pool->closed, 1);
    bufpool__unlock(&pool->lock);
    bufpool__close_all(pool);
    bufpool__lock(&pool->lock);
    size_t  held    = bufpool__count_held(pool);
    int64_t holders = (int64_t)held + bufpool__get(&pool->caches);
    bufpool__unlock(&pool->lock);
    /* acq_rel, pairs with the acq_rel in bufpool__leave; some may have left already. */
    if (atomic_fetch_sub_explicit(&pool->holders, BUFPOOL__UNDECIDED - holders,
                                  memory_order_acq_rel) == BUFPOOL__UNDECIDED - holders)
        bufpool__free_all(pool);
    return held;
}

#endif /* BUFPOOL_IMPLEMENTATION */

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
