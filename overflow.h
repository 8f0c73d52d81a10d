/* overflow.h - a file to spill values to when memory is full: one thread writes them, any process
 * reads them, and they survive when the writer is killed.
 *
 *     #define OVERFLOW_IMPLEMENTATION           // in one C file
 *     #include "overflow.h"
 *     #include <stdio.h>
 *
 *     int main(void)
 *     {
 *         overflow_region *region;
 *         overflow_ref     ref;                 // 8 bytes: valid across close and reopen
 *         size_t           size;
 *
 *         if (overflow_open(&region, "spill.region", NULL) != 0) return 1; // 64 MiB, up to 1 GiB
 *         if (overflow_write(region, "hello", 6, 0, &ref) != 0) return 1;  // survives kill -9
 *         puts(overflow_read(region, ref, &size));                         // a pointer, no copy
 *         overflow_free(region, ref);
 *         return overflow_close(region);
 *     }
 *
 * Include it in any file for the declarations. Macros to define before that:
 *
 *   OVERFLOW_IMPLEMENTATION       in one C file: adds the implementation to the declarations
 *   OVERFLOW_API                  is placed before each function. "static inline", together with
 *                                 OVERFLOW_IMPLEMENTATION in each file, gives the fastest calls
 *   OVERFLOW_ASSERT(x)            checks the header's own invariants; default: assert
 *   OVERFLOW_FALLOCATE(fd, mode, at, size)
 *                                 changes space of a file: 0, or -1 and errno; default: fallocate
 *
 * Those below OVERFLOW_API take effect in the file with OVERFLOW_IMPLEMENTATION.
 *
 * Requires Linux 3.17 or later, and gcc or clang with C11 or later. The declarations are also
 * C++11. Links with no library. Licence: MIT or Unlicense, at the end of the file.
 */
#ifndef OVERFLOW_H
#define OVERFLOW_H

#define OVERFLOW_VERSION 200 /* 0.2.0: major * 10000 + minor * 100 + patch */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#ifndef OVERFLOW_API
#define OVERFLOW_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- overflow_region ------------------------------------------------------------------------
 *
 * A file that is mapped into memory and holds values. A value lies in a slot; freed slots are
 * holes, which later values reuse. A life of a slot begins with write, and ends with free. A ref
 * names one life.
 *
 * Threads
 *
 *   One thread at a time is the owner. It alone calls the functions that take an overflow_region.
 *   Ownership may move to another thread as any other data does: through a lock or a queue. Any
 *   other thread or process opens a reader of its own.
 *
 * Promises
 *
 *   - If the owner is killed at any point, the file holds every value whose write has returned, no
 *     value whose free has returned, and none that is half written. The next open finds them.
 *   - After overflow_sync the same is true after power loss. A value that was written later is
 *     whole or gone; a value that was freed later may be back.
 *   - If the disk is full, a write returns -ENOSPC. This is never SIGBUS where the file system has
 *     fallocate(2) and writes in place (ext4, xfs, tmpfs), and harms nothing that was written
 *     before.
 *   - A file is trusted only as far as its checksums hold. Damaged data is dropped and counted.
 *     Whatever a file holds, open neither crashes nor reads outside the file.
 *   - With a ref that is stale, forged or of another file nothing is read: the result is NULL or
 *     -ESTALE.
 *   - A pointer from overflow_read is valid until that value is freed. Growth moves nothing.
 *   - Reuse is best fit, neighbouring holes are joined, and no call searches a list; but after
 *     overflow_trim a write looks at all holes before it returns -ENOSPC.
 *
 * Memory
 *
 *   In the file, 32 bytes for each value, and up to 31 more, since places are multiples of 32.
 *   Outside the file, 24 bytes for each hole (in large pages, where there are any), 60 KiB for the
 *   region, and none for a value.
 *
 * Limitations
 *
 *   - A ref has 29 bits for the life that it names. A ref that was kept while 2^29 values were
 *     written may name another value in the same place (at a million writes a second, after nine
 *     minutes). A ref of another file, or a forged one, may name a value by chance: one in 2^28.
 *   - A ref that was made durable elsewhere before overflow_sync may name another value after power
 *     loss.
 *   - If the file is cut short while it is mapped, owner and readers get SIGBUS. On file systems
 *     that write to a new place each time (btrfs, zfs) a full disk can have the same effect; on
 *     tmpfs, once it is full, so can the use of a ref that was freed and whose place was trimmed.
 *   - A child after fork must not use the region. Until it calls exec or exits, it keeps the file
 *     owned. */

typedef struct overflow_region overflow_region;
typedef struct overflow_reader overflow_reader;

/* One life of one slot. Remains valid across close and reopen. 0 never names a slot. */
typedef uint64_t overflow_ref;

enum {
    OVERFLOW_FRESH     = 1u << 0, /* discard what the file holds, whatever it is */
    OVERFLOW_TEMPORARY = 1u << 1, /* close unlinks the file, unless it was unlinked before */
    OVERFLOW_EXCL      = 1u << 2, /* only a new file: -EEXIST if there is one */
    OVERFLOW_RDONLY    = 1u << 3, /* changes nothing in the file, which may be read-only. Any number
                                   * of such opens exclude an owner, and only that. Alone */
    OVERFLOW_SALVAGE   = 1u << 4, /* the same, and takes pages that cannot be read for zeros: the
                                   * values on them are damaged, all others are there */
};

typedef struct overflow_config {
    size_t   initial_bytes; /* of a new file, reserved at once, in whole pages that hold so many, at
                             * least 16 KiB; 0 = 64 MiB, or max_bytes if less */
    size_t   max_bytes;     /* of the file, in whole pages, at most 1 TiB; 0 = 1 GiB. A larger file
                             * can be opened, and does not grow */
    uint32_t flags;         /* OVERFLOW_FRESH ... */
} overflow_config;

typedef struct overflow_slot {
    overflow_ref ref;
    uint64_t     offset; /* of the payload in the file; a multiple of 32 */
    size_t       size;   /* bytes written, not the size of the hole they went into */
    uint32_t     tag;    /* given to overflow_write: an engine, a tenant ... */
    const void  *value;  /* the owner's: as from overflow_read. A reader's: NULL */
} overflow_slot;

struct overflow_info {
    size_t   capacity_bytes;  /* of the file */
    size_t   max_bytes;
    size_t   used_bytes;      /* high-water mark: where the next slot goes if no hole fits */
    size_t   live_bytes;      /* payload of live slots */
    size_t   free_bytes;      /* in holes below the high-water mark */
    size_t   largest_hole;    /* bytes; it takes a value of 32 bytes less */
    uint64_t live_slots;
    uint64_t holes;
    uint64_t recovered_slots; /* found live at open */
    uint64_t damaged_slots;   /* found at open and dropped; unintelligible bytes count as one */
};

struct overflow_tag_info {
    uint64_t live_slots; /* with that tag */
    size_t   live_bytes; /* their payload */
    size_t   held_bytes; /* of the file: payload, headers, rounding, a reservation */
    size_t   max_bytes;  /* that they may hold; 0 = no limit */
};

/* Opens a region and makes the caller its owner. A file that does not exist is created with mode
 * 0600, and made durable with its name (but not with OVERFLOW_TEMPORARY and OVERFLOW_FRESH, which
 * need no earlier file). A file that exists keeps its owner and mode, and is read through: every
 * value is checked. If config is NULL, all defaults apply. Returns
 *   0         on success;
 *   -EBUSY    if the file has an owner, perhaps in this process;
 *   -EUCLEAN  if it is not a region file, or its header is damaged; OVERFLOW_FRESH makes it one;
 *             or if it is below 8,192 bytes, with OVERFLOW_RDONLY or OVERFLOW_SALVAGE;
 *   -ENOTSUP  if it is a region file of another version or byte order;
 *   -ELOOP    if path is a symbolic link;
 *   -EEXIST   if the file exists, with OVERFLOW_EXCL;
 *   -ENOENT   if it does not, with OVERFLOW_RDONLY or OVERFLOW_SALVAGE;
 *   -EINVAL   if a pointer is NULL, a flag is unknown or excludes another, max_bytes is below
 *             16 KiB or above 1 TiB, or initial_bytes is above max_bytes;
 *   -EFBIG    if the file is longer than 1 TiB, or than the address space can hold;
 *   -ENOSPC, -ENOMEM, -EIO, or what open(2) or mmap(2) reports (-ENODEV: no file there can be
 *             mapped).
 * On failure *region is NULL. A copy of a file that leaves out zeros (cp --sparse) holds the same
 * values; open has the disk reserve the space of those, or returns -ENOSPC. */
OVERFLOW_API int overflow_open(overflow_region **region, const char *path,
                               const overflow_config *config);

/* Returns the path as it was given to open, or NULL if region is NULL. Owner only. */
OVERFLOW_API const char *overflow_path(const overflow_region *region);

/* Stores a copy of size bytes, which may be 0, and its ref in *ref. Owner only. data may be NULL if
 * size is 0. Returns
 *   0          on success;
 *   -ENOSPC    if max_bytes or RLIMIT_FSIZE is reached, or the disk is full;
 *   -EDQUOT    if the limit of the tag is reached (overflow_tag_limit);
 *   -EMSGSIZE  if the value can never fit (max_bytes, 16 GiB);
 *   -ENOMEM    if the system has no memory;
 *   -EROFS     if the region was opened to be read only;
 *   -EINVAL    if a pointer is NULL.
 * On failure *ref is 0, and everything written before is unchanged. */
OVERFLOW_API int overflow_write(overflow_region *region, const void *data, size_t size,
                                uint32_t tag, overflow_ref *ref);

/* Stores the bytes of count parts, one behind the other, as one value. Owner only. Returns what
 * overflow_write returns; -EINVAL also if count is negative, or a part with bytes is NULL. */
OVERFLOW_API int overflow_writev(overflow_region *region, const struct iovec *parts, int count,
                                 uint32_t tag, overflow_ref *ref);

/* Reserves room for a value of at most size bytes, and stores in *to where its bytes shall go:
 * memory in the map, aligned to 32, for a socket, a compressor or a read of io_uring to fill. Owner
 * only. There is one reservation at a time; until it ends, every other call is allowed. If the
 * owner dies, or closes the region, it is nothing. Returns what overflow_write returns, or
 *   -EBUSY  if there is a reservation.
 * On failure *to is NULL. The memory holds anything, perhaps a value that was freed. */
OVERFLOW_API int overflow_reserve(overflow_region *region, size_t size, uint32_t tag, void **to);

/* Makes the first used bytes of the reservation a value; the rest of the room is free again. Owner
 * only. Reads the bytes once, for their checksum. The memory may not be changed any more. Returns
 *   0        on success;
 *   -EINVAL  if a pointer is NULL, there is no reservation, or used is more than was reserved; in
 *            the last case the reservation remains.
 * On failure *ref is 0. */
OVERFLOW_API int overflow_commit(overflow_region *region, size_t used, overflow_ref *ref);

/* Ends the reservation without a value. Owner only. Returns 0, or -EINVAL if there is none, or
 * region is NULL. */
OVERFLOW_API int overflow_cancel(overflow_region *region);

/* Returns a value and stores its size in *size. Owner only. The value lies in the map, aligned to
 * 32, and is valid until it is freed. Returns NULL if the slot is not live, or a pointer is NULL;
 * then *size is 0. */
OVERFLOW_API const void *overflow_read(const overflow_region *region, overflow_ref ref,
                                       size_t *size);

/* Fills in slots[i] for each refs[i], or all 0 if the slot is not live. Owner only. Returns how
 * many are live, or 0 if a pointer is NULL. The misses of the cache overlap. */
OVERFLOW_API size_t overflow_read_many(const overflow_region *region, const overflow_ref *refs,
                                       overflow_slot *slots, size_t count);

/* Starts to load what overflow_read will need: the line of the cache in which the value's header
 * is, often with its first bytes. Owner only. Some ten refs ahead is a good time. Any ref is
 * allowed, also a stale one, and NULL for region. */
OVERFLOW_API void overflow_prefetch(const overflow_region *region, overflow_ref ref);

/* Fills in *slot for a ref. Owner only. Returns
 *   0        on success;
 *   -ESTALE  if the slot is not live;
 *   -EINVAL  if a pointer is NULL.
 * On failure *slot is all 0. */
OVERFLOW_API int overflow_describe(const overflow_region *region, overflow_ref ref,
                                   overflow_slot *slot);

/* Computes the checksum of a value again, where the disk or another process may have changed it.
 * Owner only. Reads the value. Returns
 *   0         if the value is as it was written;
 *   -EUCLEAN  if it is not;
 *   -EIO      if the disk cannot read it (since Linux 5.14; before, SIGBUS);
 *   -ESTALE   if the slot is not live;
 *   -EINVAL   if region is NULL. */
OVERFLOW_API int overflow_verify(const overflow_region *region, overflow_ref ref);

/* Fills in *slot for the next live slot in the order of the file. Owner only. Start with *cursor 0.
 * Returns false at the end, or if a pointer is NULL. Writes and frees are allowed in between: a
 * slot that is live all the time is found exactly once. */
OVERFLOW_API bool overflow_next(const overflow_region *region, uint64_t *cursor,
                                overflow_slot *slot);

/* Frees a value. Owner only. Returns
 *   0        on success;
 *   -ESTALE  if the slot is not live;
 *   -EROFS   if the region was opened to be read only;
 *   -EINVAL  if region is NULL.
 * A second free of the same ref returns -ESTALE and changes nothing. */
OVERFLOW_API int overflow_free(overflow_region *region, overflow_ref ref);

/* Frees many values, as overflow_free does each; their misses of the cache overlap. Owner only.
 * Returns how many were live, or 0 if a pointer is NULL. */
OVERFLOW_API size_t overflow_free_many(overflow_region *region, const overflow_ref *refs,
                                       size_t count);

/* Makes all writes and frees so far survive power loss. Owner only. Returns 0, or -errno (-EINVAL
 * if region is NULL). The kernel does not try again to write what it could not, so a failure is
 * final: every later sync of this region fails in the same way. The file is marked, and the next
 * open has all of it written again: then sync returns 0 once that is done. */
OVERFLOW_API int overflow_sync(overflow_region *region);

/* Gives whole pages of holes back to the file system, and what is reserved beyond the high-water
 * mark. Owner only. Returns how many bytes, or 0 if the file system cannot take them back (no
 * FALLOC_FL_PUNCH_HOLE) or region is NULL. The file keeps its length. A write to such a place asks
 * for the space again, and may then return -ENOSPC. */
OVERFLOW_API size_t overflow_trim(overflow_region *region);

/* Fills in *stats. Owner only. Exact, in constant time, or in logarithmic time if a hole exceeds
 * 128 KiB. If region is NULL, all fields are 0. Does nothing if stats is NULL. */
OVERFLOW_API void overflow_stats(const overflow_region *region, struct overflow_info *stats);

/* Limits how many bytes of the file the slots of a tag may hold, so that one query or tenant does
 * not fill the disk for all: a write beyond that is -EDQUOT. 0 = no limit. Owner only. The region
 * keeps accounts by tag from the first call of this or the next function on, which looks at all
 * live slots; then each write and free looks up its account, of 40 bytes. Limits end with close.
 * Returns
 *   0        on success, also if the tag holds more already;
 *   -ENOMEM  if the system has no memory;
 *   -EINVAL  if region is NULL. */
OVERFLOW_API int overflow_tag_limit(overflow_region *region, uint32_t tag, size_t max_bytes);

/* Fills in *stats for a tag, all 0 if it has no slot and no limit. Owner only. Returns 0, -ENOMEM
 * or -EINVAL, as overflow_tag_limit does; on failure all fields are 0. */
OVERFLOW_API int overflow_tag_stats(overflow_region *region, uint32_t tag,
                                    struct overflow_tag_info *stats);

/* Closes a region and ends the ownership. Owner only. Values remain; pointers into the map become
 * invalid. Does not wait for the disk. Returns 0, or -errno if the file was to be unlinked and
 * could not be (-ENOENT: path does not lead to it any more). Does nothing and returns 0 if region
 * is NULL. */
OVERFLOW_API int overflow_close(overflow_region *region);

/* -- Readers -- */

/* Opens a reader. Any thread of any process that may read the file; each thread has a reader of its
 * own. A reader follows the growth of the file, and sees a value as soon as write returns. It takes
 * no lock, delays no other thread, and may outlive the owner. Returns
 *   0         on success;
 *   -EUCLEAN  if it is not a region file, or its header is damaged;
 *   -ENOTSUP  if it is a region file of another version or byte order;
 *   -EINVAL   if a pointer is NULL;
 *   -ENOMEM   if the system has no memory;
 *   or what open(2) or mmap(2) reports.
 * On failure *reader is NULL. */
OVERFLOW_API int overflow_reader_open(overflow_reader **reader, const char *path);

/* Copies a value into buffer and checks the copy: the result is a whole value or an error, never a
 * torn value. The reader's thread. buffer may be NULL if capacity is 0. Returns
 *   0         on success;
 *   -ESTALE   if the slot is not live, or was freed meanwhile;
 *   -ENOBUFS  if capacity is too small; nothing is copied;
 *   -EUCLEAN  if the value is damaged;
 *   -EINVAL   if a pointer is NULL.
 * *size is the size of the value on success and for -ENOBUFS, otherwise 0. After an error the
 * content of buffer is unspecified. */
OVERFLOW_API int overflow_reader_read(overflow_reader *reader, overflow_ref ref, void *buffer,
                                      size_t capacity, size_t *size);

/* Fills in *slot for a ref, but slot->value is NULL. The reader's thread. Returns 0, -ESTALE or
 * -EINVAL as overflow_reader_read does; on failure *slot is all 0. */
OVERFLOW_API int overflow_reader_describe(overflow_reader *reader, overflow_ref ref,
                                          overflow_slot *slot);

/* Fills in *slot for the next live slot in the order of the file, as overflow_reader_describe. The
 * reader's thread. Start with *cursor 0. Returns false at the end, or if a pointer is NULL. A slot
 * that is live all the time is found once; one that is written or freed meanwhile at most once. The
 * time is linear in the file, with what is reserved of it. */
OVERFLOW_API bool overflow_reader_next(overflow_reader *reader, uint64_t *cursor,
                                       overflow_slot *slot);

/* Stores in *value where a value lies in the reader's map, and its size in *size. The reader's
 * thread. Copies and checks nothing of the value: its bytes may change while they are read, so use
 * what was computed from them only if overflow_reader_check returns 0 afterwards. The pointer is
 * valid until the next other call with this reader. Returns
 *   0        on success;
 *   -ESTALE  if the slot is not live;
 *   -EINVAL  if a pointer is NULL.
 * On failure *value is NULL and *size 0. */
OVERFLOW_API int overflow_reader_peek(overflow_reader *reader, overflow_ref ref,
                                      const void **value, size_t *size);

/* Returns 0 if the slot is still live: then all that was read of it since overflow_reader_peek is
 * of this value. Otherwise -ESTALE, or -EINVAL if reader is NULL. The reader's thread. */
OVERFLOW_API int overflow_reader_check(const overflow_reader *reader, overflow_ref ref);

/* Closes a reader. The reader's thread. Does nothing if reader is NULL. */
OVERFLOW_API void overflow_reader_close(overflow_reader *reader);

#ifdef __cplusplus
}
#endif
#endif /* OVERFLOW_H */

/* ======== OVERFLOW_IMPLEMENTATION =========================================================== */

#if defined OVERFLOW_IMPLEMENTATION && !defined OVERFLOW__IMPLEMENTED
#define OVERFLOW__IMPLEMENTED

/* ---- prelude: language ---- */

#ifdef __cplusplus
#error "overflow.h: define OVERFLOW_IMPLEMENTATION in a C file; C++ gets the declarations"
#endif

/* ---- includes ---- */

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- prelude: assert ---- */

#ifndef OVERFLOW_ASSERT
#include <assert.h>
#define OVERFLOW_ASSERT(condition) assert(condition)
#endif

/* ---- prelude: kernel ----
 *
 * In a strict build (-std=c11) a C library hides names, and each hides others. An #ifdef on a
 * hidden name would turn a feature off silently. So this header declares hidden calls under its
 * own names, which cannot repeat a declaration of the C library, and gives the kernel's numbers,
 * which are the same on every processor but two. */

#if defined __alpha__ || defined __hppa__
#error "overflow.h: alpha and parisc number the advice of madvise differently"
#endif

#include <sys/mman.h>
#ifndef MAP_ANONYMOUS /* hidden by glibc, but not by the kernel's header */
#include <asm/mman.h>
#endif

int overflow__madvise(void *memory, size_t size, int advice) __asm__("madvise");

enum {
    OVERFLOW__MADV_DONTNEED       = 4,
    OVERFLOW__MADV_DONTFORK       = 10,
    OVERFLOW__MADV_DOFORK         = 11,
    OVERFLOW__MADV_HUGEPAGE       = 14,
    OVERFLOW__MADV_NOHUGEPAGE     = 15,
    OVERFLOW__MADV_POPULATE_READ  = 22, /* this and the next: since Linux 5.14 */
    OVERFLOW__MADV_POPULATE_WRITE = 23,
};

/* ---- prelude: sanitizers ----
 *
 * Memory that is not in use is poisoned under AddressSanitizer, and under Valgrind if the program
 * included <valgrind/memcheck.h> first: an access to it is reported where it happens.
 *   HIDE    no access is allowed
 *   SHOW    every access is allowed, and the content is defined
 *   FRESH   every access is allowed, and the content is undefined
 * POISONS is defined only in builds that can poison; its value says whether this run does. */

#if defined __SANITIZE_ADDRESS__
#define OVERFLOW__ASAN
#elif defined __has_feature
#if __has_feature(address_sanitizer)
#define OVERFLOW__ASAN
#endif
#endif
#if defined OVERFLOW__ASAN
#include <sanitizer/asan_interface.h>
#define OVERFLOW__POISONS             1
#define OVERFLOW__HIDE(memory, size)  __asan_poison_memory_region(memory, size)
#define OVERFLOW__SHOW(memory, size)  __asan_unpoison_memory_region(memory, size)
#define OVERFLOW__FRESH(memory, size) __asan_unpoison_memory_region(memory, size)
#elif defined VALGRIND_MAKE_MEM_NOACCESS && !defined NVALGRIND
#define OVERFLOW__POISONS             RUNNING_ON_VALGRIND
#define OVERFLOW__HIDE(memory, size)  ((void)VALGRIND_MAKE_MEM_NOACCESS(memory, size))
#define OVERFLOW__SHOW(memory, size)  ((void)VALGRIND_MAKE_MEM_DEFINED(memory, size))
#define OVERFLOW__FRESH(memory, size) ((void)VALGRIND_MAKE_MEM_UNDEFINED(memory, size))
#else
#define OVERFLOW__HIDE(memory, size)  ((void)0)
#define OVERFLOW__SHOW(memory, size)  ((void)0)
#define OVERFLOW__FRESH(memory, size) ((void)0)
#endif

/* ---- prelude: compiler ---- */

#define OVERFLOW__COLD      __attribute__((cold, noinline))
#define OVERFLOW__HOT       __attribute__((always_inline)) inline
#define OVERFLOW__APART     __attribute__((noinline))
#define OVERFLOW__LIKELY(x) __builtin_expect(!!(x), 1)

/* ---- files ---- */

int overflow__fsync(int fd) __asm__("fsync");

#ifdef __USE_FILE_OFFSET64 /* glibc's, where off_t is wider than long */
int overflow__fallocate(int fd, int mode, off_t at, off_t size) __asm__("fallocate64");
#else
int overflow__fallocate(int fd, int mode, off_t at, off_t size) __asm__("fallocate");
#endif
#ifndef OVERFLOW_FALLOCATE
#define OVERFLOW_FALLOCATE(fd, mode, at, size) overflow__fallocate(fd, mode, at, size)
#endif
#ifdef O_NOFOLLOW
#define OVERFLOW__OPEN (O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK)
#else /* glibc's names in a strict build */
#define OVERFLOW__OPEN (__O_NOFOLLOW | __O_CLOEXEC | O_NONBLOCK)
#endif

enum { /* Linux's numbers, on every processor */
    OVERFLOW__OFD_SETLK  = 37,
    OVERFLOW__SEEK_DATA  = 3,
    OVERFLOW__SEEK_HOLE  = 4,
    OVERFLOW__KEEP_SIZE  = 1,
    OVERFLOW__PUNCH_HOLE = 2,
};

/* Tests define it, to die between any two steps of a call. */
#ifndef OVERFLOW_FAULT_POINT
#define OVERFLOW_FAULT_POINT(name) ((void)0)
#endif

/* ---- unchecked access ----
 *
 * Everything but live values is poisoned, so the use of a freed value through a pointer from
 * overflow_read is reported. The owner reads and writes there itself, through overflow__peek,
 * overflow__poke and overflow__poke_head, which are not checked. */

#if defined OVERFLOW__ASAN
#define OVERFLOW__UNCHECKED   __attribute__((no_sanitize("address")))
#define OVERFLOW__CHECK_OFF() ((void)0)
#define OVERFLOW__CHECK_ON()  ((void)0)
#elif defined OVERFLOW__POISONS
#define OVERFLOW__UNCHECKED
#define OVERFLOW__CHECK_OFF() VALGRIND_DISABLE_ERROR_REPORTING
#define OVERFLOW__CHECK_ON()  VALGRIND_ENABLE_ERROR_REPORTING
#else
#define OVERFLOW__UNCHECKED
#define OVERFLOW__CHECK_OFF() ((void)0)
#define OVERFLOW__CHECK_ON()  ((void)0)
#endif

/* ---- How it works ----
 *
 * Slots and holes lie one after the other, from the three copies of the header to the high-water
 * mark. Each begins with its head, one word that says what it is and how long: so the file can be
 * walked, and one aligned store changes what it says.
 *
 *    | header | header | slot | hole     | slot | slot | hole | slot | 0 .....            |
 *    0        4096     8192                                          used        end of file
 *
 *    write into the hole:  the rest of it gets a head of its own (inside the hole: nobody sees it)
 *                          | hole          |  ->  | hole . . [hole] |
 *                          then value and header, and last the head: slot and rest are there
 *                          | hole . . [hole] |  ->  | slot | hole |
 *    write at the end:     the word behind it is 0, then value and header, last the head
 *    free:                 the head says hole; then it is joined with holes beside it, again by the
 *                          store of one head
 *
 * So whenever the owner dies, a walk finds each slot whose head was stored, whole, and no other;
 * what lies between two slots is a hole.
 *
 * Where power fails, any sector may be as it was at the last sync or at any time since. A slot that
 * was live all that time is whole: none of its bytes was ever changed. And the walk comes to it: it
 * looks at each granule that is not of a good slot, and no other good slot can lie there, for its
 * sum would have to hold over bytes that are not its own. (So the walk needs no head of a hole. It
 * goes by them only to tell order from damage.) A slot whose free the last sync covered has lost
 * its head for good. What was written or freed since is whole or gone: what does not hold its sum
 * loses its head at open.
 *
 * A slot's header is checked with each use of a ref, by a checksum that begins with the file's key
 * and the place: a value that looks like a slot is none, unless its author has read the file. The
 * value's own checksum is compared at open, and by readers.
 *
 * Holes are known twice: by a record in memory, on a list of holes of its size, and in the file, by
 * the record's number at both ends. To free a slot the owner looks at the words before and behind
 * it; if that is the number of a record, and the record says that it is of a hole right here, then
 * it is. So no word in the file is believed, and there is nothing to search. The numbers stay good
 * for the next owner, who gives each hole the record that the file says, unless that is taken.
 *
 * -- The file --
 *
 * Words are of 64 bits in the byte order of the machine that wrote them; "low" and "high" are their
 * halves. A place is an offset divided by 32. crc(c, word) is CRC-32C (Castagnoli, reflected,
 * polynomial 0x82f63b78) of the word's eight bytes, low byte first, going on from c, without any
 * inversion.
 *
 * Header, three copies, at 0, 4096 and 6144: of those whose check holds, the one with the highest
 * turn counts
 *   0, 1  "ashlar-overflow\n"
 *   2     low: 2, the version; high: 0x01020304
 *   3     low: 32, the granule; high: which copy, 0, 1 or 2, is known to be on the disk; 3 = none
 *         is, and perhaps not even the name of the file
 *   4     key: random, of the file
 *   5     turn: 1, 2, 3 .., below 2^62
 *   6     serial limit: every slot's serial is below; below 2^62
 *   7     the serial limit when the key was made: as long as it is the same, nothing was written
 *   8     check: crc over words 0 to 7, beginning with 0xffffffff
 *   9     at 0: not 0 after a sync that failed. What is read may not be on the disk, and the next
 *         owner writes all of it again. Means nothing in the other copies
 *
 * Slot, at a multiple of 32, from 8192 on
 *   0     head: bit 63 is 1; 29 bits: the low bits of serial; 34 bits: size of the value in bytes
 *   1     serial: counts the writes, from a random number on
 *   2     low: tag; high: sum of the value
 *   3     low: check: crc over seed, place and the words 0, 1, 2; high: 0
 *   4 ..  the value, then zeros up to a multiple of 32
 *
 *   seed  crc(0xffffffff, key)
 *   sum   four lanes begin with 0xffffffff; lane i takes the words i, i + 4, i + 8 .. of the value
 *         with its zeros. (One chain of crc has to wait for itself; four do not.) Modulo 2^64, with
 *         | joining a high and a low half: m = (lane 1 | lane 0) * 0x9e3779b97f4a7c15;
 *         m = (m ^ m >> 32) + (lane 3 | lane 2); m = m * 0xbf58476d1ce4e5b9; the sum is the low
 *         half of m ^ m >> 32
 *
 * Hole
 *   0     head: bit 63 is 0; 28 bits: the high bits of crc over seed, place and length; 35 bits:
 *         length, in granules
 *   1     its owner's note, and the same in its last word. The rest is anything.
 *
 * End     a word 0, or the end of the file
 *
 * To find all slots of a file that nobody owns, look at each granule from 8192 on. Where check and
 * sum hold there is a slot, and the next granule to look at is the one behind it.
 *
 * A ref: 29 bits of serial, 35 bits of place. Its slot is live if the head at place begins with 1
 * and the same 29 bits, and the check holds. A reader beside the owner: load head, copy words 1 to
 * 3 and the value, load head again, in this order (acquire); it must be the same, and check and sum
 * must hold. The key must still be that of the header. */

enum {
    OVERFLOW__GRANULE     = 32,
    OVERFLOW__PAGE        = 4096,
    OVERFLOW__START       = 8192,    /* of the slots, in bytes, */
    OVERFLOW__FIRST       = OVERFLOW__START / OVERFLOW__GRANULE, /* and in places */
    OVERFLOW__VERSION     = 2,
    OVERFLOW__HEAD_WORDS  = 4,       /* of a slot */
    OVERFLOW__PLACE_BITS  = 35,      /* 1 TiB */
    OVERFLOW__SIZE_BITS   = 34,      /* 16 GiB */
    OVERFLOW__SERIALS     = 4096,    /* reserved at a time: what an owner that dies may waste */
    OVERFLOW__SERIAL_JUMP = 1 << 28, /* where the first is: half of what a ref tells apart */
    OVERFLOW__TOUCH       = 1 << 18, /* bytes made resident at a time, ahead of fresh writes */
    OVERFLOW__GROW_MAX    = 1 << 26, /* bytes asked for at a time; tmpfs takes 8 ms to zero them */
    OVERFLOW__EXACT       = 4096,    /* bins below hold one size each, in granules: up to 128 KiB */
    OVERFLOW__BINS        = OVERFLOW__EXACT + 1, /* the last one holds all others */
    OVERFLOW__BIN_WORDS   = (OVERFLOW__BINS + 63) / 64,
    OVERFLOW__FREED       = 16,      /* frees that wait; a power of two */
    OVERFLOW__STEP        = 4,       /* frees from one step of a free to its next */
    OVERFLOW__READ_AHEAD  = 1 << 22, /* bytes made resident at a time, by open */
    OVERFLOW__MARKS       = 128,     /* granules from one mark of sums to the next, */
    OVERFLOW__SUMMED      = 1 << 21, /* and of bad slots that are summed up without */
};

#define OVERFLOW__LIVE      (UINT64_C(1) << 63)
#define OVERFLOW__PLACE_MAX (UINT64_C(1) << OVERFLOW__PLACE_BITS)
#define OVERFLOW__SIZE_MAX  ((UINT64_C(1) << OVERFLOW__SIZE_BITS) - 1)

typedef _Atomic(uint64_t) overflow__word;

/* What the header says, and which copy of it says so. */
typedef struct overflow__header {
    uint64_t key;
    uint64_t turn;
    uint64_t serial_limit;
    uint64_t first_serial;
    uint32_t durable; /* the copy that is on the disk, whatever happens to the others */
    uint32_t copy;
} overflow__header;

/* What a slot's header says. */
typedef struct overflow__life {
    uint64_t head;
    uint64_t serial;
    uint64_t size;
    uint64_t granules; /* of the whole slot */
    uint32_t tag;
    uint32_t sum;
} overflow__life;

/* The file as owner and reader see it. */
typedef struct overflow__view {
    unsigned char *base;
    size_t         mapped;
    uint32_t       seed;
    bool           instruction; /* the processor has one for crc */
    bool           read_only;   /* the map is private: stores do not reach the file */
    uint32_t       table[8][256];
} overflow__view;

/* Whether a write into a hole has to ask the disk. Such holes have lists of their own. */
typedef enum overflow__kind {
    OVERFLOW__BACKED,
    OVERFLOW__UNBACKED, /* pages between those of its two ends may be missing */
    OVERFLOW__PUNCHED,  /* all of them are */
} overflow__kind;

/* A hole. Records lie in an array; number 0 is none. */
typedef struct overflow__hole {
    uint64_t place;      /* 0: a spare record */
    uint64_t length;     /* granules, and the kind in the two high bits */
    uint32_t next, prev; /* in its list, or larger and smaller in the tree; next: spare records */
} overflow__hole;

/* Room for one value that is being filled. In the file it is a hole, but without a record. */
typedef struct overflow__room {
    uint64_t place; /* 0: none */
    uint64_t granules;
    uint64_t size; /* bytes at most */
    uint32_t tag;
} overflow__room;

/* The account of a tag. */
typedef struct overflow__tag {
    uint64_t slots;
    uint64_t bytes;
    uint64_t granules; /* of slots, and of the reservation */
    uint64_t limit;    /* bytes; 0 = none */
    uint32_t tag;
    bool     taken;
} overflow__tag;

/* A slot that was freed and is not yet a hole with a record. */
typedef struct overflow__freed {
    uint64_t place;
    uint64_t granules;
} overflow__freed;

/* Lists of holes by size, and which of them are not empty. */
typedef struct overflow__bins {
    uint64_t full[OVERFLOW__BIN_WORDS];
    uint64_t full_words[2];
    uint32_t first[OVERFLOW__BINS]; /* the last: the root of a tree */
} overflow__bins;

_Static_assert(sizeof(overflow__word) == 8, "words in the file are words in memory");
_Static_assert(sizeof(overflow__hole) == 24, "what a hole costs");
_Static_assert(OVERFLOW__BIN_WORDS <= 128, "two words say which words of bits have one");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "atomics work between processes");

struct overflow_region {
    overflow__view view;

    /* In places. FIRST <= used <= backed; used - FIRST == granules of live slots, of holes, of the
     * reservation and of freed[freed_out .. freed_in), outside of calls. */
    uint64_t used;    /* the next fresh slot */
    uint64_t backed;  /* below, the disk has given its blocks, but to holes that are unbacked */
    uint64_t touched; /* below, pages are in memory; a guess */
    uint64_t max;     /* end of the map */
    uint64_t step;    /* bytes that growth asks for at a time: half as many after each refusal */

    uint64_t         serial; /* of the next write */
    overflow__header header; /* as it is in the file */

    /* Records of holes: numbers up to hole_top were ever used, and those on no list are spare. */
    overflow__hole *holes;      /* [hole_ready], at addresses for hole_limit */
    uint32_t        hole_top;   /* the first number that never was */
    uint32_t        hole_spare; /* a list */
    uint64_t        hole_ready;
    uint64_t        hole_limit;
    overflow__bins  bins[2]; /* backed, and those that are not */
    uint64_t        apart;   /* granules: neighbouring holes of different kinds have no more */

    /* A ring: what was freed lately, and is settled with frees to come. */
    overflow__freed freed[OVERFLOW__FREED];
    uint64_t        freed_in, freed_out; /* frees ever, and how many of them are settled */

    overflow__room reserved;

    overflow__tag *tags; /* a hash table, open, of tag_room; NULL: nobody asked for accounts */
    size_t         tag_room, tag_count;

    /* For the stats. */
    uint64_t hole_count;
    uint64_t live_slots;
    uint64_t live_granules;
    uint64_t live_bytes;
    uint64_t recovered_slots;
    uint64_t damaged_slots;

    /* For open, sync and close. */
    uint64_t file_bytes;
    int      fd;
    int      sync_error;
    bool     created;
    uint32_t flags;
    char     path[];
};

struct overflow_reader {
    overflow__view view;
    uint64_t       key;
    uint64_t       end; /* of the map, in places */
    int            fd;
};

/* -- Checksums -- */

#if defined OVERFLOW_CRC /* the model checker cannot run instructions, and takes long over tables */
#elif defined __x86_64__ || defined __i386__
#define OVERFLOW__INSTRUCTION
#include <cpuid.h> /* __builtin_cpu_supports would need libgcc, which not every linker adds */
static bool overflow__has_instruction(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSE4_2);
}
static inline uint64_t overflow__crc_instruction(uint64_t crc, uint64_t word)
{
#ifdef __x86_64__
    __asm__("crc32q %1, %0" : "+r"(crc) : "rm"(word));
    return crc;
#else
    uint32_t narrow = (uint32_t)crc;
    __asm__("crc32l %1, %0" : "+r"(narrow) : "rm"((uint32_t)word));
    __asm__("crc32l %1, %0" : "+r"(narrow) : "rm"((uint32_t)(word >> 32)));
    return narrow;
#endif
}
#elif defined __aarch64__
#define OVERFLOW__INSTRUCTION
#include <sys/auxv.h>
static bool overflow__has_instruction(void) { return getauxval(AT_HWCAP) >> 7 & 1; }
static inline uint64_t overflow__crc_instruction(uint64_t crc, uint64_t word)
{
    __asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(word));
    return crc;
}
#endif

#ifndef OVERFLOW_CRC
/* Eight bytes at a time by tables: Kounavis and Berry, A systematic approach to building high
 * performance software-based CRC generators, ISCC 2005. */
static inline uint64_t overflow__crc_table(const overflow__view *view, uint64_t crc, uint64_t word)
{
    uint64_t mixed = word ^ crc;
    uint32_t next  = 0;
    for (int i = 0; i < 8; i++) next ^= view->table[7 - i][mixed >> (8 * i) & 255];
    return next;
}
#endif

/* 32 bits, in a type that saves an instruction. instruction: view->instruction, or what is known of
 * it where it matters. */
static OVERFLOW__HOT uint64_t overflow__crc(const overflow__view *view, bool instruction,
                                            uint64_t crc, uint64_t word)
{
#ifdef OVERFLOW__INSTRUCTION
    if (instruction) return overflow__crc_instruction(crc, word);
#endif
    (void)instruction;
#ifdef OVERFLOW_CRC
    (void)view;
    return OVERFLOW_CRC(crc, word);
#else
    return overflow__crc_table(view, crc, word);
#endif
}

static OVERFLOW__COLD void overflow__make_tables(overflow__view *view)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
        view->table[0][byte] = crc;
    }
    for (int i = 1; i < 8; i++)
        for (uint32_t byte = 0; byte < 256; byte++) {
            uint32_t crc         = view->table[i - 1][byte];
            view->table[i][byte] = crc >> 8 ^ view->table[0][crc & 255];
        }
#ifdef OVERFLOW__INSTRUCTION
    view->instruction = overflow__has_instruction();
#endif
}

static void overflow__set_key(overflow__view *view, uint64_t key)
{
    view->seed = (uint32_t)overflow__crc(view, view->instruction, UINT32_MAX, key);
}

static OVERFLOW__HOT uint32_t overflow__check(const overflow__view *view, bool instruction,
                                              uint64_t place, uint64_t head, uint64_t serial,
                                              uint64_t tag_sum)
{
    uint64_t crc = overflow__crc(view, instruction, view->seed, place);
    crc          = overflow__crc(view, instruction, crc, head);
    crc          = overflow__crc(view, instruction, crc, serial);
    return (uint32_t)overflow__crc(view, instruction, crc, tag_sum);
}

/* -- Words of the file --
 *
 * Readers look at any time at whatever lies at a place. So all words there are atomic; relaxed,
 * because the head's order is what counts: see overflow__end_life and overflow__reader_copy. A word
 * that is stale costs a reader an error, as the head or the check is then another. */

static OVERFLOW__HOT overflow__word *overflow__words(const overflow__view *view, uint64_t place)
{
    return (overflow__word *)(void *)(view->base + place * OVERFLOW__GRANULE);
}

/* relaxed: see above. */
static inline OVERFLOW__UNCHECKED uint64_t overflow__peek(const overflow__word *word)
{
    OVERFLOW__CHECK_OFF();
    uint64_t value = atomic_load_explicit(word, memory_order_relaxed);
    OVERFLOW__CHECK_ON();
    return value;
}
static inline OVERFLOW__UNCHECKED void overflow__poke(overflow__word *word, uint64_t value)
{
    OVERFLOW__CHECK_OFF();
    atomic_store_explicit(word, value, memory_order_relaxed);
    OVERFLOW__CHECK_ON();
}

/* A head replaces another. release: what was stored before, heads above all, comes first, for an
 * owner that dies; pairs with the acquire in overflow__reader_copy. */
static inline OVERFLOW__UNCHECKED void overflow__poke_head(overflow__word *word, uint64_t head)
{
    OVERFLOW__CHECK_OFF();
    atomic_store_explicit(word, head, memory_order_release);
    OVERFLOW__CHECK_ON();
}

static inline uint64_t overflow__granules(uint64_t size) /* of a slot, with its header */
{
    return 1 + (size + OVERFLOW__GRANULE - 1) / OVERFLOW__GRANULE;
}

/* What lies behind a value, in its last granule, is nobody's. */
static inline void overflow__hide_tail(const overflow__view *view, uint64_t place, uint64_t size)
{
    (void)view, (void)place, (void)size;
    OVERFLOW__HIDE((char *)(overflow__words(view, place) + OVERFLOW__HEAD_WORDS) + size,
                   (size_t)((overflow__granules(size) - 1) * OVERFLOW__GRANULE - size));
}

static inline uint64_t overflow__load(const unsigned char *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

/* Word number i of a value, with zeros behind its end. In registers: bytes put together in memory
 * could be loaded as a word only once all stores before them have left for the cache. */
static inline uint64_t overflow__tail_word(const unsigned char *data, uint64_t size, uint64_t i)
{
    uint64_t at = i * 8, word = 0;
    if (at + 8 <= size) return overflow__load(data + at);
    if (at >= size) return 0;
    if (size < 8) {
        unsigned char bytes[8] = {0};
        memcpy(bytes, data, (size_t)size);
        return overflow__load(bytes);
    }
    word = overflow__load(data + size - 8);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return word >> 8 * (at + 8 - size);
#else
    return word << 8 * (at + 8 - size);
#endif
}

/* Not by another crc: that would be linear, and changes in two lanes could cancel out. */
static inline uint32_t overflow__join_lanes(const uint64_t lane[4])
{
    uint64_t mix = (lane[1] << 32 | lane[0]) * UINT64_C(0x9e3779b97f4a7c15);
    mix          = (mix ^ mix >> 32) + (lane[3] << 32 | lane[2]);
    mix *= UINT64_C(0xbf58476d1ce4e5b9);
    return (uint32_t)(mix ^ mix >> 32);
}

/* Copies granules from memory into the file, and goes on with their sums. */
static OVERFLOW__HOT void overflow__put(const overflow__view *view, bool instruction,
                                        overflow__word *to, const unsigned char *from,
                                        uint64_t granules, uint64_t lane[4])
{
    uint64_t a = lane[0], b = lane[1], c = lane[2], d = lane[3];
    for (; granules > 0; granules--, to += 4, from += OVERFLOW__GRANULE) {
        uint64_t w0 = overflow__load(from), w1 = overflow__load(from + 8);
        uint64_t w2 = overflow__load(from + 16), w3 = overflow__load(from + 24);
        a = overflow__crc(view, instruction, a, w0);
        b = overflow__crc(view, instruction, b, w1);
        c = overflow__crc(view, instruction, c, w2);
        d = overflow__crc(view, instruction, d, w3);
        overflow__poke(to + 0, w0);
        overflow__poke(to + 1, w1);
        overflow__poke(to + 2, w2);
        overflow__poke(to + 3, w3);
    }
    lane[0] = a, lane[1] = b, lane[2] = c, lane[3] = d;
}

/* The same out of the file; to NULL: only the sums. */
static OVERFLOW__HOT void overflow__get(const overflow__view *view, bool instruction,
                                        unsigned char *to, const overflow__word *from,
                                        uint64_t granules, uint64_t lane[4])
{
    uint64_t a = lane[0], b = lane[1], c = lane[2], d = lane[3];
    for (; granules > 0; granules--, from += 4) {
        uint64_t w[4] = {overflow__peek(from), overflow__peek(from + 1), overflow__peek(from + 2),
                         overflow__peek(from + 3)};
        a = overflow__crc(view, instruction, a, w[0]);
        b = overflow__crc(view, instruction, b, w[1]);
        c = overflow__crc(view, instruction, c, w[2]);
        d = overflow__crc(view, instruction, d, w[3]);
        if (!to) continue;
        memcpy(to, w, sizeof w);
        to += OVERFLOW__GRANULE;
    }
    lane[0] = a, lane[1] = b, lane[2] = c, lane[3] = d;
}

/* A value of size bytes into the file, zeros behind it; its sum. */
static uint32_t overflow__copy_in(const overflow__view *view, overflow__word *to, const void *data,
                                  uint64_t size)
{
    const unsigned char *from  = data;
    uint64_t             whole = size / OVERFLOW__GRANULE;
    size_t               rest  = size % OVERFLOW__GRANULE;
    uint64_t             lane[4] = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX};

    if (view->instruction) overflow__put(view, true, to, from, whole, lane);
    else overflow__put(view, false, to, from, whole, lane);
    if (rest > 0) {
        uint64_t last[4];
        for (size_t i = 0; i < 4; i++) last[i] = overflow__tail_word(from, size, whole * 4 + i);
        from = (const unsigned char *)last;
        overflow__put(view, view->instruction, to + whole * 4, from, 1, lane);
    }
    return overflow__join_lanes(lane);
}

/* A value of size bytes out of the file, to memory unless it is NULL; its sum. */
static uint32_t overflow__copy_out(const overflow__view *view, void *to, const overflow__word *from,
                                   uint64_t size)
{
    unsigned char *bytes   = to;
    uint64_t       whole   = size / OVERFLOW__GRANULE;
    size_t         rest    = size % OVERFLOW__GRANULE;
    uint64_t       lane[4] = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX};

    if (view->instruction) overflow__get(view, true, bytes, from, whole, lane);
    else overflow__get(view, false, bytes, from, whole, lane);
    if (rest > 0) {
        unsigned char last[OVERFLOW__GRANULE];
        overflow__get(view, view->instruction, last, from + whole * 4, 1, lane);
        if (bytes) memcpy(bytes + whole * OVERFLOW__GRANULE, last, rest);
    }
    return overflow__join_lanes(lane);
}

static uint64_t overflow__hole_head(const overflow__view *view, uint64_t place, uint64_t granules)
{
    uint64_t crc = overflow__crc(view, view->instruction, view->seed, place);
    crc          = overflow__crc(view, view->instruction, crc, granules);
    return crc >> 4 << OVERFLOW__PLACE_BITS | granules;
}

/* Whether there is a slot at place with that head, all of it below end; what its header says. */
static OVERFLOW__HOT bool overflow__look(const overflow__view *view, bool instruction,
                                         uint64_t place, uint64_t head, uint64_t end,
                                         overflow__life *life)
{
    const overflow__word *words   = overflow__words(view, place);
    uint64_t              serial  = overflow__peek(words + 1);
    uint64_t              tag_sum = overflow__peek(words + 2);
    uint64_t              check   = overflow__peek(words + 3);

    life->head     = head;
    life->serial   = serial;
    life->size     = head & OVERFLOW__SIZE_MAX;
    life->granules = overflow__granules(life->size);
    life->tag      = (uint32_t)tag_sum;
    life->sum      = (uint32_t)(tag_sum >> 32);
    return (head & OVERFLOW__LIVE) != 0 && life->granules <= end - place &&
           check == overflow__check(view, instruction, place, head, serial, tag_sum);
}

static inline overflow_ref overflow__ref(uint64_t place, uint64_t serial)
{
    return serial << OVERFLOW__PLACE_BITS | place;
}
static inline uint64_t overflow__place(overflow_ref ref) { return ref & (OVERFLOW__PLACE_MAX - 1); }

/* Whether a head is of the life that ref names. */
static inline bool overflow__is_life(uint64_t head, overflow_ref ref)
{
    return head >> OVERFLOW__SIZE_BITS == (OVERFLOW__LIVE >> OVERFLOW__SIZE_BITS |
                                           ref >> OVERFLOW__PLACE_BITS);
}

/* Whether ref is live; what its slot's header says. */
static OVERFLOW__HOT bool overflow__find(const overflow_region *region, bool instruction,
                                         overflow_ref ref, overflow__life *life)
{
    uint64_t place = overflow__place(ref);
    if (place < OVERFLOW__FIRST || place >= region->used) return false;
    uint64_t head = overflow__peek(overflow__words(&region->view, place));
    return overflow__is_life(head, ref) &&
           overflow__look(&region->view, instruction, place, head, region->used, life);
}

/* -- The header of the file -- */

static const char overflow__magic[16] = {'a', 's', 'h', 'l', 'a', 'r', '-', 'o',
                                         'v', 'e', 'r', 'f', 'l', 'o', 'w', '\n'};

enum { OVERFLOW__HEADER_WORDS = 9, OVERFLOW__COPIES = 3 };
#define OVERFLOW__COUNT_MAX (UINT64_C(1) << 62)

static void overflow__header_words(const overflow__view *view, const overflow__header *header,
                                   uint64_t words[OVERFLOW__HEADER_WORDS])
{
    uint64_t crc = UINT32_MAX;
    memcpy(words, overflow__magic, sizeof overflow__magic);
    words[2] = UINT64_C(0x01020304) << 32 | OVERFLOW__VERSION;
    words[3] = (uint64_t)header->durable << 32 | OVERFLOW__GRANULE;
    words[4] = header->key;
    words[5] = header->turn;
    words[6] = header->serial_limit;
    words[7] = header->first_serial;
    for (int i = 0; i < 8; i++) crc = overflow__crc(view, view->instruction, crc, words[i]);
    words[8] = crc;
}

/* Where a copy lies, in words from the beginning. Each has sectors of its own. */
static inline size_t overflow__header_at(uint32_t copy)
{
    return copy == 0 ? 0 : (OVERFLOW__PAGE + (copy - 1) * OVERFLOW__PAGE / 2) / sizeof(uint64_t);
}

/* Whether a header is of another version, byte order or granule, and not merely cut short: then its
 * end is 0, but the last byte of word 2 never is. */
static bool overflow__is_other(const uint64_t *got, const uint64_t *want)
{
    unsigned char last = ((const unsigned char *)(got + 2))[7];
    if (memcmp(got, want, sizeof overflow__magic) != 0 || last == 0) return false;
    uint32_t granule = (uint32_t)got[3];
    return got[2] != want[2] || (granule != OVERFLOW__GRANULE && granule != 0);
}

/* The header of a file that begins with two pages like these. 0, -EUCLEAN, -ENOTSUP. */
static int overflow__parse_header(const overflow__view *view, const overflow__word *file,
                                  overflow__header *header)
{
    int error    = -EUCLEAN;
    header->turn = 0;
    for (uint32_t copy = 0; copy < OVERFLOW__COPIES; copy++) {
        const overflow__word *at = file + overflow__header_at(copy);
        uint64_t              got[OVERFLOW__HEADER_WORDS], want[OVERFLOW__HEADER_WORDS];
        for (int i = 0; i < OVERFLOW__HEADER_WORDS; i++) got[i] = overflow__peek(at + i);
        overflow__header said = {got[4], got[5], got[6], got[7], (uint32_t)(got[3] >> 32), copy};
        overflow__header_words(view, &said, want);
        if (memcmp(got, want, sizeof got) == 0 && said.turn > header->turn &&
            said.turn < OVERFLOW__COUNT_MAX && said.durable <= OVERFLOW__COPIES &&
            said.serial_limit < OVERFLOW__COUNT_MAX) {
            *header = said;
            error   = 0;
        } else if (error == -EUCLEAN && overflow__is_other(got, want)) {
            error = -ENOTSUP;
        }
    }
    return error;
}

/* The next turn of the header: serials below this limit may come to be in use. It goes to a copy
 * that is neither the last one, which counts if the owner dies on the way, nor the one on the disk,
 * which counts if power fails and leaves the others torn. */
static OVERFLOW__COLD void overflow__turn_header(overflow_region *region, uint64_t serial_limit)
{
    uint64_t words[OVERFLOW__HEADER_WORDS];

    if (region->view.read_only) return;
    do region->header.copy = (region->header.copy + 1) % OVERFLOW__COPIES;
    while (region->header.copy == region->header.durable);
    region->header.turn++;
    region->header.serial_limit = serial_limit;
    overflow__word *to = overflow__words(&region->view, 0);
    to += overflow__header_at(region->header.copy);
    overflow__header_words(&region->view, &region->header, words);
    /* For an owner that dies: the head of a slot is stored with release, so behind all this. */
    for (int i = 0; i < OVERFLOW__HEADER_WORDS; i++) {
        overflow__poke(to + i, words[i]);
        OVERFLOW_FAULT_POINT("header");
    }
}

/* -- Holes -- */

static inline uint64_t overflow__length(const overflow__hole *hole)
{
    return hole->length & (UINT64_MAX >> 2);
}
static inline overflow__kind overflow__kind_of(const overflow__hole *hole)
{
    return (overflow__kind)(hole->length >> 62);
}

/* Large holes, by size and place, are a treap (Seidel and Aragon, Randomized search trees, 1996): a
 * search tree in which no hole has a higher rank than the one above it. A record's rank comes from
 * its number and an address, so it takes no memory, and the author of a file does not know it. */

static inline uint64_t overflow__tree_rank(const overflow_region *region, uint32_t number)
{
    uint64_t mix = (number + (uint64_t)(uintptr_t)region->holes) * UINT64_C(0x9e3779b97f4a7c15);
    return (mix ^ mix >> 32) * UINT64_C(0xbf58476d1ce4e5b9);
}

/* Whether a hole comes before that length and place. */
static inline bool overflow__tree_before(const overflow__hole *hole, uint64_t length,
                                         uint64_t place)
{
    uint64_t own = overflow__length(hole);
    return own < length || (own == length && hole->place < place);
}

static OVERFLOW__APART void overflow__tree_add(overflow_region *region, uint32_t *at,
                                               uint32_t number)
{
    overflow__hole *holes = region->holes, *hole = &holes[number];
    uint64_t        length = overflow__length(hole), rank = overflow__tree_rank(region, number);
    uint32_t       *smaller = &hole->prev, *larger = &hole->next;

    while (*at != 0 && overflow__tree_rank(region, *at) >= rank)
        at = overflow__tree_before(&holes[*at], length, hole->place) ? &holes[*at].next
                                                                     : &holes[*at].prev;
    uint32_t rest = *at; /* lies below the new one: what is smaller, and what is larger */
    *at           = number;
    while (rest != 0) {
        bool before = overflow__tree_before(&holes[rest], length, hole->place);
        if (before) *smaller = rest, smaller = &holes[rest].next, rest = *smaller;
        else *larger = rest, larger = &holes[rest].prev, rest = *larger;
    }
    *smaller = *larger = 0;
}

static OVERFLOW__APART void overflow__tree_remove(overflow_region *region, uint32_t *at,
                                                  uint32_t number)
{
    overflow__hole *holes  = region->holes;
    uint64_t        length = overflow__length(&holes[number]), place = holes[number].place;
    uint32_t        smaller = holes[number].prev, larger = holes[number].next;

    while (*at != number) {
        OVERFLOW_ASSERT(*at != 0);
        at = overflow__tree_before(&holes[*at], length, place) ? &holes[*at].next
                                                               : &holes[*at].prev;
    }
    while (smaller != 0 && larger != 0) {
        bool high = overflow__tree_rank(region, smaller) >= overflow__tree_rank(region, larger);
        if (high) *at = smaller, at = &holes[smaller].next, smaller = *at;
        else *at = larger, at = &holes[larger].prev, larger = *at;
    }
    *at = smaller | larger;
}

/* The first hole of that length and place, or after it; 0 = none. */
static uint32_t overflow__tree_from(const overflow_region *region, uint32_t root, uint64_t length,
                                    uint64_t place)
{
    uint32_t found = 0;
    while (root != 0) {
        const overflow__hole *hole = &region->holes[root];
        if (overflow__tree_before(hole, length, place)) root = hole->next;
        else found = root, root = hole->prev;
    }
    return found;
}

static inline uint32_t overflow__bin(uint64_t granules)
{
    return granules < OVERFLOW__EXACT ? (uint32_t)granules : OVERFLOW__EXACT;
}

static inline void overflow__link(overflow_region *region, uint32_t number)
{
    overflow__hole *hole = &region->holes[number];
    overflow__bins *bins = &region->bins[overflow__kind_of(hole) != OVERFLOW__BACKED];
    uint32_t        bin  = overflow__bin(overflow__length(hole));
    uint32_t        next = bins->first[bin];

    region->hole_count++;
    if (bin == OVERFLOW__EXACT) {
        overflow__tree_add(region, &bins->first[bin], number);
    } else {
        hole->prev       = 0;
        hole->next       = next;
        bins->first[bin] = number;
        if (next != 0) region->holes[next].prev = number;
    }
    if (next != 0) return;
    bins->full[bin / 64] |= UINT64_C(1) << bin % 64;
    bins->full_words[bin / 4096] |= UINT64_C(1) << bin / 64 % 64;
}

static inline void overflow__unlink(overflow_region *region, uint32_t number)
{
    overflow__hole *hole = &region->holes[number];
    overflow__bins *bins = &region->bins[overflow__kind_of(hole) != OVERFLOW__BACKED];
    uint32_t        bin  = overflow__bin(overflow__length(hole));
    uint32_t        next = hole->next;

    region->hole_count--;
    if (bin == OVERFLOW__EXACT) {
        overflow__tree_remove(region, &bins->first[bin], number);
        next = bins->first[bin];
    } else {
        if (next != 0) region->holes[next].prev = hole->prev;
        if (hole->prev != 0) {
            region->holes[hole->prev].next = next;
            return;
        }
        bins->first[bin] = next;
        __builtin_prefetch(&region->holes[next], 1); /* perhaps taken soon */
    }
    if (next != 0) return;
    bins->full[bin / 64] &= ~(UINT64_C(1) << bin % 64);
    if (bins->full[bin / 64] == 0)
        bins->full_words[bin / 4096] &= ~(UINT64_C(1) << bin / 64 % 64);
}

/* The first bin from this one on that is not empty; OVERFLOW__BINS = none. */
static uint32_t overflow__next_bin(const overflow__bins *bins, uint32_t bin)
{
    uint32_t word = bin / 64;
    if (word >= OVERFLOW__BIN_WORDS) return OVERFLOW__BINS;
    uint64_t full = bins->full[word] & UINT64_MAX << bin % 64;
    if (full != 0) return word * 64 + (uint32_t)__builtin_ctzll(full);

    word++;
    for (uint32_t half = word / 64; half < 2; half++, word = half * 64) {
        full = bins->full_words[half] & UINT64_MAX << word % 64;
        if (full == 0) continue;
        word = half * 64 + (uint32_t)__builtin_ctzll(full);
        return word * 64 + (uint32_t)__builtin_ctzll(bins->full[word]);
    }
    return OVERFLOW__BINS;
}

/* The hole that fits best, 0 = none does. */
static uint32_t overflow__fit(const overflow_region *region, const overflow__bins *bins,
                              uint64_t granules)
{
    uint32_t bin = overflow__next_bin(bins, overflow__bin(granules));
    if (bin < OVERFLOW__EXACT) return bins->first[bin];
    return overflow__tree_from(region, bins->first[OVERFLOW__EXACT], granules, 0);
}

/* As many records as frees can come to need before the next write: each makes one hole at most,
 * whatever the file says. */
static inline uint64_t overflow__holes_max(const overflow_region *region)
{
    return region->hole_count + (region->freed_in - region->freed_out) + region->live_slots + 3;
}

/* Makes records for that many holes. Called by those who may fail, so that free need not. */
static bool overflow__ready(overflow_region *region, uint64_t count)
{
    uint64_t ready = region->hole_ready;
    if (count <= ready) return true;
    if (count > region->hole_limit) return false;
    while (ready < count) ready = ready == 0 ? 4096 : ready * 2;
    if (ready > region->hole_limit) ready = region->hole_limit;
    if (mprotect(region->holes, (size_t)(ready * sizeof(overflow__hole)), PROT_READ | PROT_WRITE))
        return false;
    region->hole_ready = ready;
    return true;
}

static inline uint32_t overflow__new_record(overflow_region *region)
{
    uint32_t number = region->hole_spare;
    if (number == 0) return region->hole_top++;
    region->hole_spare = region->holes[number].next;
    return number;
}

static inline void overflow__spare_record(overflow_region *region, uint32_t number)
{
    overflow__hole *hole = &region->holes[number];
    hole->place          = 0;
    hole->length         = 0;
    hole->next           = region->hole_spare;
    region->hole_spare   = number;
}

static void overflow__set_head(const overflow_region *region, uint64_t place, uint64_t head)
{
    OVERFLOW_FAULT_POINT("before a head");
    overflow__poke_head(overflow__words(&region->view, place), head);
    OVERFLOW_FAULT_POINT("behind a head");
}

/* The head of a slot becomes that of a hole. */
static inline void overflow__end_life(const overflow_region *region, uint64_t place,
                                      uint64_t granules)
{
    overflow__set_head(region, place, overflow__hole_head(&region->view, place, granules));
    /* release, pairs with the acquire fence in overflow__reader_copy: who copies any word of what
     * is stored here from now on, finds afterwards that the head is gone. */
    atomic_thread_fence(memory_order_release);
}

/* The record of the hole that begins, or ends, at place; 0 = none does. The file only suggests. */
static inline uint32_t overflow__hole_from(const overflow_region *region, uint64_t place)
{
    uint64_t number = overflow__peek(overflow__words(&region->view, place) + 1);
    return number < region->hole_top && region->holes[number].place == place ? (uint32_t)number : 0;
}
static inline uint32_t overflow__hole_until(const overflow_region *region, uint64_t place)
{
    uint64_t number = overflow__peek(overflow__words(&region->view, place) - 1);
    if (number >= region->hole_top) return 0;
    const overflow__hole *hole = &region->holes[number];
    return hole->place != 0 && hole->place + overflow__length(hole) == place ? (uint32_t)number : 0;
}

/* Makes a hole: its record, its list, and what the file says of it. */
static inline void overflow__add_hole(overflow_region *region, uint32_t number, uint64_t place,
                                      uint64_t granules, overflow__kind kind)
{
    overflow__hole *hole  = &region->holes[number];
    overflow__word *words = overflow__words(&region->view, place);

    hole->place  = place;
    hole->length = granules | (uint64_t)kind << 62;
    overflow__link(region, number);
    overflow__poke(words + 1, number);
    overflow__poke(words + granules * 4 - 1, number);
    overflow__set_head(region, place, overflow__hole_head(&region->view, place, granules));
}

/* Whether a hole has pages between those of its two ends: they can be given back. */
static bool overflow__inner_pages(uint64_t place, uint64_t granules, uint64_t *from, uint64_t *to)
{
    uint64_t begin = place * OVERFLOW__GRANULE + 16;
    uint64_t end   = (place + granules) * OVERFLOW__GRANULE - 8;
    *from          = (begin + OVERFLOW__PAGE - 1) / OVERFLOW__PAGE * OVERFLOW__PAGE;
    *to            = end / OVERFLOW__PAGE * OVERFLOW__PAGE;
    return *from < *to;
}

/* What ends at the high-water mark is fresh space again, and holes before it are, too. */
static void overflow__retract(overflow_region *region, uint64_t place)
{
    uint32_t number;
    while ((number = overflow__hole_until(region, place)) != 0) {
        overflow__unlink(region, number);
        place = region->holes[number].place;
        if (overflow__kind_of(&region->holes[number]) != OVERFLOW__BACKED) region->backed = place;
        overflow__spare_record(region, number);
    }
    region->used = place;
    if (region->touched > region->backed) region->touched = region->backed;
    overflow__set_head(region, place, 0);
}

/* Whether a hole may be joined with one of this kind. */
static inline bool overflow__joins(const overflow_region *region, uint32_t number,
                                   overflow__kind kind)
{
    return number != 0 && (overflow__kind_of(&region->holes[number]) == OVERFLOW__BACKED) ==
                              (kind == OVERFLOW__BACKED);
}

/* A hole to be, whose head says so already: joined with holes of its kind beside it. */
static void overflow__settle(overflow_region *region, uint64_t place, uint64_t granules,
                             overflow__kind kind)
{
    uint64_t end    = place + granules;
    uint32_t before = overflow__hole_until(region, place);
    uint32_t behind = overflow__hole_from(region, end);
    uint32_t number = 0;

    if (region->apart != 0) region->apart = UINT64_MAX; /* one of them may grow */
    if (overflow__joins(region, behind, kind)) {
        number = behind;
        overflow__unlink(region, number);
        end += overflow__length(&region->holes[number]);
    } else if (behind != 0) {
        region->apart = UINT64_MAX;
    }
    if (overflow__joins(region, before, kind)) {
        if (number != 0) overflow__spare_record(region, number);
        number = before;
        overflow__unlink(region, number);
        place = region->holes[number].place;
    } else if (before != 0) {
        region->apart = UINT64_MAX;
    }
    if (number == 0) number = overflow__new_record(region);
    else if (kind == OVERFLOW__PUNCHED) kind = OVERFLOW__UNBACKED; /* pages where they met */
    overflow__add_hole(region, number, place, end - place, kind);
}

/* A free ends with a look at what lies around the slot, and at the records of holes there: misses
 * of the cache, one after the other. So a free only starts them, and the next frees take it
 * further; by the time it is settled, all is at hand. */
static OVERFLOW__HOT void overflow__warm(const overflow_region *region, overflow__freed freed)
{
    uint64_t end    = freed.place + freed.granules;
    uint64_t before = overflow__peek(overflow__words(&region->view, freed.place) - 1);
    if (before < region->hole_top) __builtin_prefetch(&region->holes[before], 1);
    if (end >= region->used) return;
    uint64_t behind = overflow__peek(overflow__words(&region->view, end) + 1);
    if (behind < region->hole_top) __builtin_prefetch(&region->holes[behind], 1);
}

static void overflow__settle_one(overflow_region *region)
{
    const overflow__freed freed = region->freed[region->freed_out++ % OVERFLOW__FREED];
    if (freed.place + freed.granules == region->used) overflow__retract(region, freed.place);
    else overflow__settle(region, freed.place, freed.granules, OVERFLOW__BACKED);
}

/* Afterwards every hole has its record, and its neighbours are slots. */
static void overflow__settle_all(overflow_region *region)
{
    while (region->freed_out != region->freed_in) overflow__settle_one(region);
}

static OVERFLOW__HOT void overflow__settle_later(overflow_region *region, uint64_t place,
                                                 uint64_t granules)
{
    uint64_t in = region->freed_in++;

    region->freed[in % OVERFLOW__FREED] = (overflow__freed){place, granules};
    __builtin_prefetch(overflow__words(&region->view, place) - 1, 1);
    __builtin_prefetch(overflow__words(&region->view, place + granules), 1);
    if (in - region->freed_out >= OVERFLOW__STEP)
        overflow__warm(region, region->freed[(in - OVERFLOW__STEP) % OVERFLOW__FREED]);
    if (in - region->freed_out >= (uint64_t)2 * OVERFLOW__STEP) overflow__settle_one(region);
}

/* -- Space -- */

static inline uint64_t overflow__page_down(uint64_t bytes)
{
    return bytes / OVERFLOW__PAGE * OVERFLOW__PAGE;
}
static inline uint64_t overflow__page_up(uint64_t bytes)
{
    return overflow__page_down(bytes + OVERFLOW__PAGE - 1);
}

/* Above this limit the kernel would send SIGXFSZ. */
static uint64_t overflow__file_limit(void)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_FSIZE, &limit) == 0 ? (uint64_t)limit.rlim_cur : UINT64_MAX;
}

static int overflow__no_space(int error)
{
    return error == EDQUOT || error == EFBIG || error == EFAULT ? -ENOSPC : -error;
}

/* Makes pages resident, and so finds out what would be SIGBUS. Kernels before 5.14: -EINVAL. */
static int overflow__populate(const overflow_region *region, uint64_t from, uint64_t to, int how)
{
    int result;
    do result = overflow__madvise(region->view.base + from, (size_t)(to - from), how);
    while (result != 0 && (errno == EINTR || errno == EAGAIN));
    return result == 0 ? 0 : -errno;
}

/* Has the file system reserve whole pages, from and to in bytes. */
static int overflow__back(overflow_region *region, uint64_t from, uint64_t to)
{
    int result;
    if (region->view.read_only) return 0; /* the map takes memory for what is missing */
    if (to > region->file_bytes && to > overflow__file_limit()) return -ENOSPC;
    OVERFLOW_FAULT_POINT("before fallocate");
    do result = OVERFLOW_FALLOCATE(region->fd, 0, (off_t)from, (off_t)(to - from));
    while (result != 0 && errno == EINTR);
    OVERFLOW_FAULT_POINT("behind fallocate");
    if (result != 0) {
        if (errno != EOPNOTSUPP && errno != ENOSYS) return overflow__no_space(errno);
        /* No such call: lengthen the file, and ask for each page. */
        if (to > region->file_bytes && (lseek(region->fd, (off_t)to - 1, SEEK_SET) < 0 ||
                                        write(region->fd, "", 1) != 1))
            return overflow__no_space(errno);
        result = overflow__populate(region, from, to, OVERFLOW__MADV_POPULATE_WRITE);
        if (result == -EINVAL) return -EOPNOTSUPP;
        if (result != 0) return overflow__no_space(-result);
    }
    if (to > region->file_bytes) region->file_bytes = to;
    return 0;
}

/* Raises the end of what is backed to this place at least. */
static int overflow__grow(overflow_region *region, uint64_t place)
{
    uint64_t from  = overflow__page_down(region->backed * OVERFLOW__GRANULE);
    uint64_t least = overflow__page_up(place * OVERFLOW__GRANULE);
    uint64_t most  = region->max * OVERFLOW__GRANULE;

    if (most > overflow__file_limit()) most = overflow__page_down(overflow__file_limit());
    if (least > most) return -ENOSPC;

    /* A file system may take all that is left before it refuses, and others miss it meanwhile. So
     * the step is remembered. It doubles when it was not refused: somebody has made room. */
    for (uint64_t step = region->step, to;; region->step = (to - from) / 2) {
        to = from + (from < region->step ? from : region->step);
        if (to < least) to = least;
        if (to > most) to = most;
        to = overflow__page_down(to);
        if (to <= from) return 0;
        int error = overflow__back(region, from, to);
        if (error == -ENOSPC && to > least) continue;
        if (error != 0) return error;
        region->backed = to / OVERFLOW__GRANULE;
        if (step == region->step && step < OVERFLOW__GROW_MAX) region->step = step * 2 + 1;
        return 0;
    }
}

/* Fresh pages up to this place are made resident many at a time: half the price of a fault each. */
static int overflow__touch(overflow_region *region, uint64_t place)
{
    uint64_t from = overflow__page_down(region->touched * OVERFLOW__GRANULE);
    uint64_t end  = region->backed * OVERFLOW__GRANULE;
    uint64_t to   = overflow__page_up(place * OVERFLOW__GRANULE) + OVERFLOW__TOUCH;

    if (to > end) to = end;
    int error = overflow__populate(region, from, to, OVERFLOW__MADV_POPULATE_WRITE);
    if (error == -EFAULT) return -ENOSPC;
    region->touched = to / OVERFLOW__GRANULE;
    return 0;
}

/* The granules from the high-water mark on, and one more for the word behind them. */
static int overflow__take_fresh(overflow_region *region, uint64_t granules, uint64_t *place)
{
    uint64_t end = region->used + granules + 1;
    int      error;

    if (end > region->touched && (error = overflow__touch(region, end)) != 0) return error;
    *place = region->used;
    return 0;
}

/* Starts the misses of a write to granules that were not in use. */
static inline void overflow__fetch(const overflow_region *region, uint64_t place, uint64_t granules)
{
    const char *to = (const char *)overflow__words(&region->view, place);
    for (uint64_t i = 0; i <= granules / 2 && i < 16; i++) __builtin_prefetch(to + i * 64, 1);
}

/* Has the disk give the pages of a slot at the front of a hole, and of the head behind it. The kind
 * of what is left. */
static OVERFLOW__COLD int overflow__back_front(overflow_region *region, uint64_t place,
                                               uint64_t granules, uint64_t left,
                                               overflow__kind *kind)
{
    uint64_t end  = (place + granules) * OVERFLOW__GRANULE + (left > 0 ? 16 : 0), from, to;
    int error = overflow__back(region, overflow__page_down(place * OVERFLOW__GRANULE),
                               overflow__page_up(end));
    if (left == 0 || !overflow__inner_pages(place + granules, left, &from, &to))
        *kind = OVERFLOW__BACKED;
    return error;
}

/* The front of a hole; the rest of it is a hole from here on, though no head leads there yet. */
static inline int overflow__take_hole(overflow_region *region, uint32_t number, uint64_t granules,
                                      uint64_t *place)
{
    const overflow__hole *hole = &region->holes[number];
    overflow__kind        was  = overflow__kind_of(hole), kind = was;
    uint64_t              rest = overflow__length(hole) - granules;

    *place = hole->place;
    overflow__fetch(region, *place, granules);
    if (was != OVERFLOW__BACKED) {
        int error = overflow__back_front(region, *place, granules, rest, &kind);
        if (error != 0) return error;
    }
    overflow__unlink(region, number);
    if (rest > 0 && kind == was) {
        overflow__add_hole(region, number, *place + granules, rest, kind);
        return 0;
    }
    overflow__spare_record(region, number);
    if (rest > 0) overflow__settle(region, *place + granules, rest, kind);
    return 0;
}

/* Has the disk back the front of neighbouring holes that are long enough together, and joins them.
 * Their number, or 0. Looks at all holes, where a write has found no other room after a trim. */
static OVERFLOW__COLD uint32_t overflow__join_kinds(overflow_region *region, uint64_t granules)
{
    uint64_t most = 0, begin = 0, end = 0;
    uint32_t other, number = 0;

    if (granules > region->apart) return 0;
    while (++number < region->hole_top) {
        if (region->holes[number].place == 0 ||
            overflow__kind_of(&region->holes[number]) == OVERFLOW__BACKED)
            continue;
        begin = end = region->holes[number].place;
        while ((other = overflow__hole_until(region, begin)) != 0)
            begin = region->holes[other].place;
        while ((other = overflow__hole_from(region, end)) != 0)
            end += overflow__length(&region->holes[other]);
        if (end - begin >= granules) break;
        if (end - begin > most && end - begin > overflow__length(&region->holes[number]))
            most = end - begin;
    }
    if (number == region->hole_top) {
        region->apart = most;
        return 0;
    }
    if (overflow__back(region, overflow__page_down(begin * OVERFLOW__GRANULE),
                       overflow__page_up((begin + granules) * OVERFLOW__GRANULE + 16)) != 0)
        return 0;
    for (uint64_t place = begin; (other = overflow__hole_from(region, place)) != 0;) {
        place += overflow__length(&region->holes[other]);
        overflow__unlink(region, other);
        overflow__spare_record(region, other);
    }
    number = overflow__new_record(region);
    overflow__add_hole(region, number, begin, end - begin, OVERFLOW__UNBACKED);
    return number;
}

/* Finds granules to write to: what there is, before the disk is asked for more. */
static int overflow__take(overflow_region *region, uint64_t granules, uint64_t *place)
{
    uint32_t number;
    if (region->freed_in != region->freed_out) { /* what was freed last, if it is just as long */
        overflow__freed last = region->freed[(region->freed_in - 1) % OVERFLOW__FREED];
        if (last.granules == granules) {
            region->freed_in--;
            *place = last.place;
            overflow__fetch(region, last.place, granules);
            return 0;
        }
    }
    number = overflow__fit(region, &region->bins[false], granules);
    if (number != 0) return overflow__take_hole(region, number, granules, place);

    if (region->used + granules + 1 > region->backed) {
        if (region->freed_out != region->freed_in) {
            overflow__settle_all(region);
            return overflow__take(region, granules, place);
        }
        number = overflow__fit(region, &region->bins[true], granules);
        if (number != 0 && overflow__take_hole(region, number, granules, place) == 0) return 0;
        int error = overflow__grow(region, region->used + granules + 1);
        if (error == -ENOSPC && (number = overflow__join_kinds(region, granules)) != 0)
            return overflow__take_hole(region, number, granules, place);
        if (error != 0) return error;
    }
    return overflow__take_fresh(region, granules, place);
}

/* -- Accounts by tag --
 *
 * For each tag, slots, bytes and granules are those of its live slots; the reservation's granules
 * are added to its tag. The account of a slot exists before the slot does, so that only a write can
 * fail for want of memory. Accounts without granules and limit go when the table grows. */

static overflow__tag *overflow__tag_find(const overflow_region *region, uint32_t tag)
{
    uint64_t mix = (tag + (uint64_t)(uintptr_t)region->holes) * UINT64_C(0x9e3779b97f4a7c15);
    size_t   at  = (size_t)(mix >> 32) & (region->tag_room - 1);
    while (region->tags[at].taken && region->tags[at].tag != tag)
        at = (at + 1) & (region->tag_room - 1);
    return &region->tags[at];
}

static OVERFLOW__COLD bool overflow__tag_grow(overflow_region *region)
{
    overflow__tag *old = region->tags;
    size_t         had = region->tag_room, kept = 0, room = 64;

    for (size_t i = 0; i < had; i++) kept += (old[i].granules | old[i].limit) != 0;
    while (room < kept * 3) room *= 2;
    overflow__tag *table = calloc(room, sizeof *table);
    if (!table) return false;
    region->tags      = table;
    region->tag_room  = room;
    region->tag_count = kept;
    for (size_t i = 0; i < had; i++)
        if ((old[i].granules | old[i].limit) != 0)
            *overflow__tag_find(region, old[i].tag) = old[i];
    free(old);
    return true;
}

/* The account of a tag, made if there is none. NULL: no memory. */
static overflow__tag *overflow__tag_open(overflow_region *region, uint32_t tag)
{
    overflow__tag *found = region->tags ? overflow__tag_find(region, tag) : NULL;
    if (found && found->taken) return found;
    if (!found || (region->tag_count + 1) * 4 > region->tag_room * 3) {
        if (!overflow__tag_grow(region)) return NULL;
        found = overflow__tag_find(region, tag);
    }
    found->tag   = tag;
    found->taken = true;
    region->tag_count++;
    return found;
}

static void overflow__tag_add(overflow_region *region, uint32_t tag, uint64_t size,
                              uint64_t granules)
{
    overflow__tag *account = overflow__tag_find(region, tag);
    account->slots++;
    account->bytes += size;
    account->granules += granules;
}

/* Slots that somebody has forged inside of others have no account: none falls below 0. */
static void overflow__tag_sub(overflow_region *region, uint32_t tag, uint64_t slots, uint64_t size,
                              uint64_t granules)
{
    overflow__tag *account = overflow__tag_find(region, tag);
    account->slots -= slots < account->slots ? slots : account->slots;
    account->bytes -= size < account->bytes ? size : account->bytes;
    account->granules -= granules < account->granules ? granules : account->granules;
}

/* Whether a slot may be written. */
static OVERFLOW__COLD int overflow__tag_admit(overflow_region *region, uint32_t tag,
                                              uint64_t granules)
{
    const overflow__tag *account = overflow__tag_open(region, tag);
    if (!account) return -ENOMEM;
    uint64_t bytes = (account->granules + granules) * OVERFLOW__GRANULE;
    return account->limit != 0 && bytes > account->limit ? -EDQUOT : 0;
}

/* Accounts for all that lives. */
static OVERFLOW__COLD int overflow__tag_begin(overflow_region *region)
{
    overflow_slot slot;
    uint64_t      cursor = 0;

    if (region->tags) return 0;
    if (!overflow__tag_grow(region)) return -ENOMEM;
    bool all = region->reserved.place == 0 || overflow__tag_open(region, region->reserved.tag);
    if (all && region->reserved.place != 0)
        overflow__tag_find(region, region->reserved.tag)->granules = region->reserved.granules;
    while (all && overflow_next(region, &cursor, &slot)) {
        all = overflow__tag_open(region, slot.tag) != NULL;
        if (all) overflow__tag_add(region, slot.tag, slot.size, overflow__granules(slot.size));
    }
    if (all) return 0;
    free(region->tags);
    region->tags     = NULL;
    region->tag_room = region->tag_count = 0;
    return -ENOMEM;
}

OVERFLOW_API int overflow_tag_limit(overflow_region *region, uint32_t tag, size_t max_bytes)
{
    if (!region) return -EINVAL;
    if (overflow__tag_begin(region) != 0) return -ENOMEM;
    overflow__tag *account = overflow__tag_open(region, tag);
    if (!account) return -ENOMEM;
    account->limit = max_bytes;
    return 0;
}

OVERFLOW_API int overflow_tag_stats(overflow_region *region, uint32_t tag,
                                    struct overflow_tag_info *stats)
{
    if (stats) *stats = (struct overflow_tag_info){0};
    if (!region || !stats) return -EINVAL;
    if (overflow__tag_begin(region) != 0) return -ENOMEM;
    const overflow__tag *account = overflow__tag_find(region, tag);
    stats->live_slots            = account->slots;
    stats->live_bytes            = (size_t)account->bytes;
    stats->held_bytes            = (size_t)(account->granules * OVERFLOW__GRANULE);
    stats->max_bytes             = (size_t)account->limit;
    return 0;
}

/* The same for a value of that size, in bytes, and what its free will need of memory. */
static inline int overflow__take_for(overflow_region *region, uint64_t size, uint32_t tag,
                                     uint64_t *place)
{
    uint64_t granules = overflow__granules(size);
    int      error;
    if (region->view.read_only) return -EROFS;
    if (size > OVERFLOW__SIZE_MAX || granules + 1 > region->max - OVERFLOW__FIRST)
        return -EMSGSIZE;
    if (!overflow__ready(region, overflow__holes_max(region))) return -ENOMEM;
    if (region->tags && (error = overflow__tag_admit(region, tag, granules)) != 0) return error;
    return overflow__take(region, granules, place);
}

/* -- write, read, free -- */

/* Where the bytes of a value go, and the word 0 behind it if it is the last one. */
static inline overflow__word *overflow__write_begin(overflow_region *region, uint64_t place,
                                                    uint64_t granules)
{
    overflow__word *words = overflow__words(&region->view, place);
    if (place == region->used) overflow__poke(words + granules * 4, 0);
    OVERFLOW__SHOW(words + OVERFLOW__HEAD_WORDS, (size_t)(granules - 1) * OVERFLOW__GRANULE);
    return words + OVERFLOW__HEAD_WORDS;
}

/* The value is there: its header, and then the head that makes them a slot. */
static inline overflow_ref overflow__write_end(overflow_region *region, uint64_t place,
                                               uint64_t size, uint32_t tag, uint32_t sum)
{
    if (region->serial == region->header.serial_limit)
        overflow__turn_header(region, region->serial + OVERFLOW__SERIALS);
    const overflow__view *view     = &region->view;
    overflow__word       *words    = overflow__words(view, place);
    uint64_t              granules = overflow__granules(size);
    uint64_t              serial   = region->serial++;
    uint64_t              head     = OVERFLOW__LIVE | serial << OVERFLOW__SIZE_BITS | size;
    uint64_t              tag_sum  = (uint64_t)sum << 32 | tag;
    OVERFLOW_FAULT_POINT("value");
    overflow__poke(words + 1, serial);
    overflow__poke(words + 2, tag_sum);
    uint32_t check = overflow__check(view, view->instruction, place, head, serial, tag_sum);
    overflow__poke(words + 3, check);
    overflow__hide_tail(view, place, size);
    overflow__set_head(region, place, head);

    if (place == region->used) region->used += granules;
    region->live_slots++;
    region->live_bytes += size;
    region->live_granules += granules;
    if (region->tags) overflow__tag_add(region, tag, size, granules);
    return overflow__ref(place, serial);
}

OVERFLOW_API int overflow_write(overflow_region *region, const void *data, size_t size,
                                uint32_t tag, overflow_ref *ref)
{
    uint64_t place;
    if (!ref) return -EINVAL;
    *ref = 0;
    if (!region || (!data && size > 0)) return -EINVAL;
    int error = overflow__take_for(region, size, tag, &place);
    if (error != 0) return error;
    overflow__word *to  = overflow__write_begin(region, place, overflow__granules(size));
    uint32_t        sum = overflow__copy_in(&region->view, to, data, size);
    *ref                = overflow__write_end(region, place, size, tag, sum);
    return 0;
}

/* Copies parts into the file, one behind the other, zeros behind the last; their sum. */
static uint32_t overflow__gather(const overflow__view *view, overflow__word *to,
                                 const struct iovec *parts, int count)
{
    uint64_t      lane[4] = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX};
    unsigned char last[OVERFLOW__GRANULE]; /* a granule that has bytes of two parts */
    size_t        filled = 0;

    for (int i = 0; i < count; i++) {
        const unsigned char *from = parts[i].iov_base;
        size_t               left = parts[i].iov_len;
        size_t               some = sizeof last - filled < left ? sizeof last - filled : left;
        if (left == 0) continue;
        if (filled > 0) {
            memcpy(last + filled, from, some);
            filled += some, from += some, left -= some;
            if (filled < sizeof last) continue;
            overflow__put(view, view->instruction, to, last, 1, lane);
            to += OVERFLOW__GRANULE / sizeof *to;
        }
        filled = left % OVERFLOW__GRANULE;
        overflow__put(view, view->instruction, to, from, left / OVERFLOW__GRANULE, lane);
        memcpy(last, from + left - filled, filled);
        to += (left - filled) / sizeof *to;
    }
    memset(last + filled, 0, sizeof last - filled);
    if (filled > 0) overflow__put(view, view->instruction, to, last, 1, lane);
    return overflow__join_lanes(lane);
}

OVERFLOW_API int overflow_writev(overflow_region *region, const struct iovec *parts, int count,
                                 uint32_t tag, overflow_ref *ref)
{
    uint64_t place;
    size_t   size = 0;

    if (!ref) return -EINVAL;
    *ref = 0;
    if (!region || count < 0 || (!parts && count > 0)) return -EINVAL;
    for (int i = 0; i < count; i++) {
        if (!parts[i].iov_base && parts[i].iov_len > 0) return -EINVAL;
        if (parts[i].iov_len > SIZE_MAX - size) return -EMSGSIZE;
        size += parts[i].iov_len;
    }
    int error = overflow__take_for(region, size, tag, &place);
    if (error != 0) return error;
    overflow__word *to  = overflow__write_begin(region, place, overflow__granules(size));
    uint32_t        sum = overflow__gather(&region->view, to, parts, count);
    *ref                = overflow__write_end(region, place, size, tag, sum);
    return 0;
}

/* -- The reservation --
 *
 * For the file it is a hole of just its length, so that walks go over it, dead or alive. In memory
 * it is a wall like a slot: no record is of it, so nothing is joined with it. Commit makes the rest
 * a hole first, and the slot then, by its head. */

/* Granules that the file calls a hole become one. */
static void overflow__room_give(overflow_region *region, uint64_t place, uint64_t granules)
{
    if (place + granules == region->used) overflow__retract(region, place);
    else overflow__settle(region, place, granules, OVERFLOW__BACKED);
}

OVERFLOW_API int overflow_reserve(overflow_region *region, size_t size, uint32_t tag, void **to)
{
    overflow__room room = {.size = size, .granules = overflow__granules(size), .tag = tag};

    if (!to) return -EINVAL;
    *to = NULL;
    if (!region) return -EINVAL;
    if (region->reserved.place != 0) return -EBUSY;
    int error = overflow__take_for(region, size, tag, &room.place);
    if (error != 0) return error;
    *to = overflow__write_begin(region, room.place, room.granules);
    overflow__set_head(region, room.place,
                       overflow__hole_head(&region->view, room.place, room.granules));
    if (room.place == region->used) region->used += room.granules;
    overflow__hide_tail(&region->view, room.place, size);
    region->reserved = room;
    if (region->tags) overflow__tag_find(region, tag)->granules += room.granules;
    return 0;
}

OVERFLOW_API int overflow_commit(overflow_region *region, size_t used, overflow_ref *ref)
{
    if (!ref) return -EINVAL;
    *ref = 0;
    if (!region || region->reserved.place == 0 || used > region->reserved.size) return -EINVAL;

    const overflow__room room = region->reserved;
    uint64_t             need = overflow__granules(used);
    overflow__word      *to   = overflow__words(&region->view, room.place) + OVERFLOW__HEAD_WORDS;

    region->reserved.place = 0;
    OVERFLOW__SHOW(to, (size_t)(need - 1) * OVERFLOW__GRANULE);
    memset((unsigned char *)to + used, 0, (size_t)((need - 1) * OVERFLOW__GRANULE - used));
    uint32_t sum = overflow__copy_out(&region->view, NULL, to, used);
    OVERFLOW__HIDE(to + (need - 1) * 4, (size_t)(room.granules - need) * OVERFLOW__GRANULE);
    if (need < room.granules)
        overflow__room_give(region, room.place + need, room.granules - need);
    if (region->tags) overflow__tag_sub(region, room.tag, 0, 0, room.granules);
    *ref = overflow__write_end(region, room.place, used, room.tag, sum);
    return 0;
}

OVERFLOW_API int overflow_cancel(overflow_region *region)
{
    if (!region || region->reserved.place == 0) return -EINVAL;
    const overflow__room room = region->reserved;
    region->reserved.place    = 0;
    OVERFLOW__HIDE(overflow__words(&region->view, room.place + 1),
                   (size_t)(room.granules - 1) * OVERFLOW__GRANULE);
    if (region->tags) overflow__tag_sub(region, room.tag, 0, 0, room.granules);
    overflow__room_give(region, room.place, room.granules);
    return 0;
}

/* Two variants of what is called often, so that none saves registers for the tables of the other;
 * overflow__read_table and its like are calls in place of the return. */
static OVERFLOW__HOT const void *overflow__read_by(const overflow_region *region, bool instruction,
                                                   overflow_ref ref, size_t *size)
{
    overflow__life life;
    *size = 0;
    if (!overflow__find(region, instruction, ref, &life)) return NULL;
    *size = (size_t)life.size;
    return overflow__words(&region->view, overflow__place(ref)) + OVERFLOW__HEAD_WORDS;
}
static OVERFLOW__APART const void *overflow__read_table(const overflow_region *region,
                                                        overflow_ref ref, size_t *size)
{
    return overflow__read_by(region, false, ref, size);
}

OVERFLOW_API const void *overflow_read(const overflow_region *region, overflow_ref ref,
                                       size_t *size)
{
    if (!size) return NULL;
    if (!region) {
        *size = 0;
        return NULL;
    }
    if (!region->view.instruction) return overflow__read_table(region, ref, size);
    return overflow__read_by(region, true, ref, size);
}

OVERFLOW_API int overflow_free(overflow_region *region, overflow_ref ref)
{
    overflow__life life;
    uint64_t       place = overflow__place(ref);
    if (!region) return -EINVAL;
    if (region->view.read_only) return -EROFS;
    /* More lives cannot end than there are, whatever slots somebody has forged inside of others. */
    if (!overflow__find(region, region->view.instruction, ref, &life) || region->live_slots == 0 ||
        region->live_granules < life.granules)
        return -ESTALE;

    overflow__end_life(region, place, life.granules);
    OVERFLOW__HIDE(overflow__words(&region->view, place + 1),
                   (size_t)(life.granules - 1) * OVERFLOW__GRANULE);
    region->live_slots--;
    region->live_bytes -= life.size;
    region->live_granules -= life.granules;
    if (region->tags) overflow__tag_sub(region, life.tag, 1, life.size, life.granules);
    overflow__settle_later(region, place, life.granules);
    return 0;
}

/* -- Looking around -- */

/* The next byte from here on that the file system has, or does not have, a page for. */
static uint64_t overflow__seek(int fd, uint64_t end, uint64_t at, int whence)
{
    off_t found = lseek(fd, (off_t)at, whence);
    return found >= 0 ? (uint64_t)found : end;
}

static inline void overflow__tell(const overflow_region *region, overflow_slot *slot,
                                  uint64_t place, const overflow__life *life)
{
    slot->value  = overflow__words(&region->view, place) + OVERFLOW__HEAD_WORDS;
    slot->ref    = overflow__ref(place, life->serial);
    slot->offset = (place + 1) * OVERFLOW__GRANULE;
    slot->size   = (size_t)life->size;
    slot->tag    = life->tag;
}

OVERFLOW_API int overflow_describe(const overflow_region *region, overflow_ref ref,
                                   overflow_slot *slot)
{
    overflow__life life;
    if (!slot) return -EINVAL;
    *slot = (overflow_slot){0};
    if (!region) return -EINVAL;
    if (!overflow__find(region, region->view.instruction, ref, &life)) return -ESTALE;
    overflow__tell(region, slot, overflow__place(ref), &life);
    return 0;
}

/* -- Many refs at a time --
 *
 * A read at a random place waits for one line of the cache, and often for a page table entry. With
 * the header of the ref AHEAD of this one on its way, these waits overlap. */

enum { OVERFLOW__AHEAD = 12 };

OVERFLOW_API void overflow_prefetch(const overflow_region *region, overflow_ref ref)
{
    if (!region || overflow__place(ref) >= region->used) return;
    /* Not the line behind it as well: two for each ref are more than are under way at a time. */
    __builtin_prefetch(overflow__words(&region->view, overflow__place(ref)));
}

static OVERFLOW__HOT size_t overflow__read_all(const overflow_region *region, bool instruction,
                                               const overflow_ref *refs, overflow_slot *slots,
                                               size_t count)
{
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        overflow__life life;
        if (i + OVERFLOW__AHEAD < count) overflow_prefetch(region, refs[i + OVERFLOW__AHEAD]);
        if (overflow__find(region, instruction, refs[i], &life)) {
            overflow__tell(region, &slots[i], overflow__place(refs[i]), &life);
            found++;
        } else {
            slots[i] = (overflow_slot){0};
        }
    }
    return found;
}

OVERFLOW_API size_t overflow_read_many(const overflow_region *region, const overflow_ref *refs,
                                       overflow_slot *slots, size_t count)
{
    if (!region || !refs || !slots) return 0;
    for (size_t i = 0; i < count && i < OVERFLOW__AHEAD; i++) overflow_prefetch(region, refs[i]);
    if (region->view.instruction) return overflow__read_all(region, true, refs, slots, count);
    return overflow__read_all(region, false, refs, slots, count);
}

OVERFLOW_API size_t overflow_free_many(overflow_region *region, const overflow_ref *refs,
                                       size_t count)
{
    size_t freed = 0;
    if (!region || !refs) return 0;
    for (size_t i = 0; i < count && i < OVERFLOW__AHEAD; i++) overflow_prefetch(region, refs[i]);
    for (size_t i = 0; i < count; i++) {
        if (i + OVERFLOW__AHEAD < count) overflow_prefetch(region, refs[i + OVERFLOW__AHEAD]);
        freed += overflow_free(region, refs[i]) == 0;
    }
    return freed;
}

OVERFLOW_API int overflow_verify(const overflow_region *region, overflow_ref ref)
{
    overflow__life life;
    if (!region) return -EINVAL;
    if (!overflow__find(region, region->view.instruction, ref, &life)) return -ESTALE;
    uint64_t from = overflow__place(ref), to = (from + life.granules) * OVERFLOW__GRANULE;
    if (overflow__populate(region, overflow__page_down(from * OVERFLOW__GRANULE),
                           overflow__page_up(to), OVERFLOW__MADV_POPULATE_READ) == -EFAULT)
        return -EIO;
    uint32_t sum = overflow__copy_out(&region->view, NULL,
                                      overflow__words(&region->view, from) + OVERFLOW__HEAD_WORDS,
                                      life.size);
    return sum == life.sum ? 0 : -EUCLEAN;
}

/* The length of the hole whose head that is; 0 = it is not the head of a hole here. */
static uint64_t overflow__hole_length(const overflow__view *view, uint64_t place, uint64_t head,
                                      uint64_t end)
{
    uint64_t granules = head & (OVERFLOW__PLACE_MAX - 1);
    return granules <= end - place && head == overflow__hole_head(view, place, granules) ? granules
                                                                                         : 0;
}

/* The cursor is a place. What was written and freed since the last call may have left it inside of
 * something; then the next head is not far. */
OVERFLOW_API bool overflow_next(const overflow_region *region, uint64_t *cursor,
                                overflow_slot *slot)
{
    overflow__life life;
    if (!region || !cursor || !slot) return false;
    uint64_t place = *cursor < OVERFLOW__FIRST ? OVERFLOW__FIRST : *cursor;
    bool     trimmed = (region->bins[true].full_words[0] | region->bins[true].full_words[1]) != 0;
    while (place < region->used) {
        if (trimmed) { /* on a full tmpfs a look at what is missing is SIGBUS */
            uint64_t at = place * OVERFLOW__GRANULE;
            uint64_t to = overflow__seek(region->fd, region->file_bytes, at, OVERFLOW__SEEK_DATA);
            if (to > at) {
                place = to / OVERFLOW__GRANULE;
                continue;
            }
        }
        uint64_t head = overflow__peek(overflow__words(&region->view, place));
        if (overflow__look(&region->view, region->view.instruction, place, head, region->used,
                           &life)) {
            overflow__tell(region, slot, place, &life);
            *cursor = place + life.granules;
            return true;
        }
        uint64_t hole = overflow__hole_length(&region->view, place, head, region->used);
        place += hole > 0 ? hole : 1;
    }
    *slot   = (overflow_slot){0};
    *cursor = place;
    return false;
}

static uint64_t overflow__largest_hole(const overflow_region *region)
{
    uint64_t most = 0;
    for (int kind = 0; kind < 2; kind++) {
        const overflow__bins *bins = &region->bins[kind];
        int                   word = OVERFLOW__BIN_WORDS - 1;
        while (word >= 0 && bins->full[word] == 0) word--;
        if (word < 0) continue;
        uint32_t bin    = (uint32_t)(word * 64 + 63 - __builtin_clzll(bins->full[word]));
        uint32_t number = bins->first[bin];
        while (bin == OVERFLOW__EXACT && region->holes[number].next != 0)
            number = region->holes[number].next;
        if (overflow__length(&region->holes[number]) > most)
            most = overflow__length(&region->holes[number]);
    }
    return most;
}

OVERFLOW_API void overflow_stats(const overflow_region *region, struct overflow_info *stats)
{
    if (!stats) return;
    *stats = (struct overflow_info){0};
    if (!region) return;
    overflow__settle_all((overflow_region *)(uintptr_t)region); /* what is told is the same */
    stats->capacity_bytes  = (size_t)region->file_bytes;
    stats->max_bytes       = (size_t)(region->max * OVERFLOW__GRANULE);
    stats->used_bytes      = (size_t)(region->used * OVERFLOW__GRANULE);
    stats->live_bytes      = (size_t)region->live_bytes;
    stats->free_bytes      = (size_t)((region->used - OVERFLOW__FIRST - region->live_granules -
                                  (region->reserved.place != 0 ? region->reserved.granules : 0)) *
                                 OVERFLOW__GRANULE);
    stats->largest_hole    = (size_t)(overflow__largest_hole(region) * OVERFLOW__GRANULE);
    stats->live_slots      = region->live_slots;
    stats->holes           = region->hole_count;
    stats->recovered_slots = region->recovered_slots;
    stats->damaged_slots   = region->damaged_slots;
}

OVERFLOW_API const char *overflow_path(const overflow_region *region)
{
    return region ? region->path : NULL;
}

/* -- sync and trim -- */


/* There is no order to keep: no word of the file counts for more than its own slot or hole. */
OVERFLOW_API int overflow_sync(overflow_region *region)
{
    if (!region) return -EINVAL;
    if (region->view.read_only) return 0;
    if (region->sync_error != 0) return region->sync_error;
    overflow__word *mark = overflow__words(&region->view, 0) + OVERFLOW__HEADER_WORDS;
    if (msync(region->view.base, (size_t)overflow__page_up(region->file_bytes), MS_SYNC) != 0) {
        region->sync_error = -errno;
        overflow__poke(mark, 1);
    } else {
        region->header.durable = region->header.copy;
        if (overflow__peek(mark) != 0) overflow__poke(mark, 0);
    }
    return region->sync_error;
}

/* After a sync that failed, pages that are not on the disk look to the kernel as if they were: it
 * takes a store to have them written. Stores into each page what is there already. */
static OVERFLOW__COLD int overflow__write_again(const overflow_region *region)
{
    uint64_t at = 0, end, bytes = region->file_bytes;
    for (; (at = overflow__seek(region->fd, bytes, at, OVERFLOW__SEEK_DATA)) < bytes; at = end) {
        end = overflow__seek(region->fd, bytes, at, OVERFLOW__SEEK_HOLE);
        at  = overflow__page_down(at);
        if (overflow__populate(region, at, end, OVERFLOW__MADV_POPULATE_WRITE) == -EFAULT)
            return -EIO;
        for (; at < end; at += OVERFLOW__PAGE) {
            overflow__word *word = overflow__words(&region->view, at / OVERFLOW__GRANULE);
            overflow__poke(word, overflow__peek(word));
        }
    }
    OVERFLOW_FAULT_POINT("written again");
    return 0;
}

static uint64_t overflow__blocks(const overflow_region *region)
{
    struct stat status;
    return fstat(region->fd, &status) == 0 ? (uint64_t)status.st_blocks * 512 : 0;
}

/* Gives back the pages from and to, in bytes. */
static bool overflow__punch(const overflow_region *region, uint64_t from, uint64_t to)
{
    return OVERFLOW_FALLOCATE(region->fd, OVERFLOW__PUNCH_HOLE | OVERFLOW__KEEP_SIZE, (off_t)from,
                              (off_t)(to - from)) == 0;
}

/* Punches one hole; it changes lists. */
static void overflow__trim_hole(overflow_region *region, uint32_t number)
{
    uint64_t place    = region->holes[number].place;
    uint64_t granules = overflow__length(&region->holes[number]), from, to;
    if (overflow__kind_of(&region->holes[number]) == OVERFLOW__PUNCHED ||
        !overflow__inner_pages(place, granules, &from, &to) || !overflow__punch(region, from, to))
        return;
    overflow__unlink(region, number);
    overflow__spare_record(region, number);
    overflow__settle(region, place, granules, OVERFLOW__PUNCHED);
}

OVERFLOW_API size_t overflow_trim(overflow_region *region)
{
    if (!region || region->view.read_only) return 0;
    overflow__settle_all(region);
    uint64_t before = overflow__blocks(region);
    for (int kind = 0; kind < 2; kind++) {
        overflow__bins *bins = &region->bins[kind];
        uint32_t        bin  = overflow__bin(OVERFLOW__PAGE / OVERFLOW__GRANULE), number, next;
        for (; (bin = overflow__next_bin(bins, bin)) < OVERFLOW__EXACT; bin++)
            for (number = bins->first[bin]; number != 0; number = next) {
                next = region->holes[number].next;
                overflow__trim_hole(region, number);
            }
        uint64_t        length = 0, place = 0;
        const uint32_t *root   = &bins->first[OVERFLOW__EXACT];
        while ((number = overflow__tree_from(region, *root, length, place)) != 0) {
            length = overflow__length(&region->holes[number]);
            place  = region->holes[number].place + 1;
            overflow__trim_hole(region, number);
        }
    }
    uint64_t from = overflow__page_up(region->used * OVERFLOW__GRANULE + sizeof(uint64_t));
    if (from < region->file_bytes && overflow__punch(region, from, region->file_bytes)) {
        if (region->backed > from / OVERFLOW__GRANULE) region->backed = from / OVERFLOW__GRANULE;
        if (region->touched > region->backed) region->touched = region->backed;
    }
    uint64_t after = overflow__blocks(region);
    return before > after ? (size_t)(before - after) : 0;
}

/* -- Recovery -- */

/* A part of the file, in places: bytes that the file system has, or zeros that it does not have. */
typedef struct overflow__extent {
    uint64_t from, end;
    bool     zeros;
} overflow__extent;

/* A place, and the sums over everything from the first mark to there. */
typedef struct overflow__mark {
    uint64_t place;
    uint32_t lane[4];
    bool     zeros; /* the file system has nothing from here to the next mark */
} overflow__mark;

/* The way through a file at open. */
typedef struct overflow__walk {
    uint64_t         end;      /* place: of the file's end */
    uint64_t         gap;      /* place: where the last good slot ended */
    uint64_t         quiet;    /* place: to here leads the head of a hole, or of a dropped slot */
    uint64_t         resident; /* byte: below, pages are in memory */
    overflow__extent here;     /* the one that was asked for last */
    bool             sparse;   /* there were missing zeros since the last good slot */
    int              error;
    enum { OVERFLOW__IN_ORDER, OVERFLOW__ENDED, OVERFLOW__LOST } state;

    overflow__hole *unnamed; /* holes that the file gives no record for */
    size_t          unnamed_count, unnamed_room;

    uint64_t         summed; /* granules of bad slots */
    uint32_t         power[OVERFLOW__PLACE_BITS]; /* x to the 64, to the 128, to the 256 .. */
    overflow__extent ahead;                       /* where the last mark is */
    overflow__mark  *marks;
    size_t           mark_count, mark_room;
} overflow__walk;

/* Finds the extent that place lies in. How many granules the file system had to look at. */
static OVERFLOW__APART uint64_t overflow__extent_find(int fd, uint64_t file_bytes, uint64_t place,
                                                      overflow__extent *extent)
{
    uint64_t at   = place * OVERFLOW__GRANULE;
    uint64_t edge = overflow__seek(fd, file_bytes, at, OVERFLOW__SEEK_HOLE);

    extent->from  = place;
    extent->zeros = edge <= at;
    if (extent->zeros) edge = overflow__seek(fd, file_bytes, at, OVERFLOW__SEEK_DATA);
    else edge += OVERFLOW__GRANULE - 1;
    extent->end = edge / OVERFLOW__GRANULE;
    if (extent->end <= place) extent->end = place + 1;
    return extent->zeros ? OVERFLOW__MARKS : extent->end - place;
}
static inline uint64_t overflow__extent_of(int fd, uint64_t file_bytes, uint64_t place,
                                           overflow__extent *extent)
{
    bool inside = place >= extent->from && place < extent->end;
    return inside ? 0 : overflow__extent_find(fd, file_bytes, place, extent);
}

/* Puts zeros in the place of pages that cannot be read, in our private map. */
static OVERFLOW__COLD bool overflow__salvage(const overflow_region *region, uint64_t from,
                                             uint64_t to)
{
    for (; from < to; from += OVERFLOW__PAGE) {
        unsigned char *page = region->view.base + from;
        if (overflow__populate(region, from, from + OVERFLOW__PAGE, OVERFLOW__MADV_POPULATE_READ) ==
                -EFAULT &&
            mmap(page, OVERFLOW__PAGE, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != page)
            return false;
    }
    return true;
}

/* Before bytes are read. A disk that fails is an error here, and no SIGBUS. */
static OVERFLOW__APART bool overflow__walk_on(const overflow_region *region, overflow__walk *walk,
                                              const overflow__extent *extent, uint64_t from,
                                              uint64_t to)
{
    uint64_t begin = overflow__page_down(from > walk->resident ? from : walk->resident);
    uint64_t end   = begin + OVERFLOW__READ_AHEAD, edge = extent->end * OVERFLOW__GRANULE;
    if (end > edge) end = overflow__page_down(edge); /* what is missing stays so */
    if (end > region->file_bytes) end = region->file_bytes;
    if (end < to) end = to;
    end = overflow__page_up(end);
    if (overflow__populate(region, begin, end, OVERFLOW__MADV_POPULATE_READ) == -EFAULT &&
        !((region->flags & OVERFLOW_SALVAGE) && overflow__salvage(region, begin, end)))
        walk->error = -EIO;
    walk->resident = end;
    return walk->error == 0;
}
static inline bool overflow__walk_to(const overflow_region *region, overflow__walk *walk,
                                     const overflow__extent *extent, uint64_t from, uint64_t to)
{
    return to <= walk->resident || overflow__walk_on(region, walk, extent, from, to);
}

/* -- Sums at open --
 *
 * Whatever a file holds, each slot whose header holds its check has its sum computed, and the time
 * stays linear in what the file system holds. crc is linear over GF(2). With Z(n) = x^64n modulo
 * its polynomial, going on over n words
 *
 *    that are 0:       crc(c) = c Z(n)
 *    of any content:   crc(c) = c Z(n) ^ crc(0), so crc(c) = (c ^ a) Z(n) ^ b, if a became b
 *
 * The first is for what the file system does not have. The second is for bad slots that lie over
 * each other: once OVERFLOW__SUMMED granules of them have been read, the lanes at a mark in every
 * page are noted, and what lies between two marks is not read again. (The walk changes heads, of
 * bad slots. They lie before all that it sums up later; so the marks are still right there.) */

/* The product of two polynomials; bit 31 is that of x^0. */
static uint32_t overflow__times(uint32_t a, uint32_t b)
{
    uint32_t product = 0;
    for (; a != 0; a <<= 1) {
        if (a >> 31 != 0) product ^= b;
        b = b >> 1 ^ (b & 1 ? 0x82f63b78 : 0);
    }
    return product;
}

static void overflow__make_powers(const overflow__view *view, overflow__walk *walk)
{
    uint32_t power = (uint32_t)overflow__crc(view, view->instruction, UINT32_C(1) << 31, 0);
    for (int i = 0; i < OVERFLOW__PLACE_BITS; i++) {
        walk->power[i] = power;
        power          = overflow__times(power, power);
    }
}

/* Multiplies lanes by Z(granules): a lane takes one word of each. */
static void overflow__sum_zeros(const overflow__walk *walk, uint64_t granules, uint64_t lane[4])
{
    uint32_t factor = UINT32_C(1) << 31;
    for (int i = 0; i < OVERFLOW__PLACE_BITS; i++)
        if (granules >> i & 1) factor = overflow__times(walk->power[i], factor);
    for (int i = 0; i < 4; i++) lane[i] = overflow__times(factor, (uint32_t)lane[i]);
}

/* Goes on with the lanes from place to end. False: walk->error. */
static bool overflow__sum_range(const overflow_region *region, overflow__walk *walk,
                                overflow__extent *extent, uint64_t place, uint64_t end,
                                uint64_t lane[4])
{
    const overflow__view *view = &region->view;
    for (uint64_t stop; place < end; place = stop) {
        walk->summed += overflow__extent_of(region->fd, region->file_bytes, place, extent);
        stop = extent->end < end ? extent->end : end;
        if (extent->zeros) {
            overflow__sum_zeros(walk, stop - place, lane);
            continue;
        }
        if (!overflow__walk_to(region, walk, extent, place * OVERFLOW__GRANULE,
                               stop * OVERFLOW__GRANULE))
            return false;
        const overflow__word *words = overflow__words(view, place);
        if (view->instruction) overflow__get(view, true, NULL, words, stop - place, lane);
        else overflow__get(view, false, NULL, words, stop - place, lane);
        walk->summed += stop - place;
    }
    return true;
}

static bool overflow__mark_add(overflow__walk *walk, const overflow__mark *mark)
{
    if (walk->mark_count == walk->mark_room) {
        size_t          room = walk->mark_room * 2 + 64;
        overflow__mark *more = realloc(walk->marks, room * sizeof *more);
        if (!more) {
            walk->error = -ENOMEM;
            return false;
        }
        walk->marks     = more;
        walk->mark_room = room;
    }
    walk->marks[walk->mark_count++] = *mark;
    return true;
}

/* Makes marks up to end; they begin at place if there are none. */
static bool overflow__mark_until(const overflow_region *region, overflow__walk *walk,
                                 uint64_t place, uint64_t end)
{
    overflow__mark mark = {.place = place};
    if (walk->mark_count == 0 && !overflow__mark_add(walk, &mark)) return false;
    for (;;) {
        overflow__mark *last = &walk->marks[walk->mark_count - 1];
        uint64_t        lane[4];
        if (last->place >= end) return true;
        (void)overflow__extent_of(region->fd, region->file_bytes, last->place, &walk->ahead);
        last->zeros = walk->ahead.zeros;
        mark.place  = last->zeros ? walk->ahead.end : last->place + OVERFLOW__MARKS;
        if (mark.place > walk->ahead.end) mark.place = walk->ahead.end;
        if (mark.place > walk->end) mark.place = walk->end;
        for (int i = 0; i < 4; i++) lane[i] = last->lane[i];
        if (!overflow__sum_range(region, walk, &walk->ahead, last->place, mark.place, lane))
            return false;
        for (int i = 0; i < 4; i++) mark.lane[i] = (uint32_t)lane[i];
        if (!overflow__mark_add(walk, &mark)) return false;
    }
}

/* The number of the first mark at that place or behind it. */
static size_t overflow__mark_from(const overflow__walk *walk, uint64_t place)
{
    size_t low = 0, high = walk->mark_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (walk->marks[middle].place < place) low = middle + 1;
        else high = middle;
    }
    return low;
}

/* The same as overflow__sum_range by marks. */
static bool overflow__sum_marked(const overflow_region *region, overflow__walk *walk,
                                 uint64_t place, uint64_t end, uint64_t lane[4])
{
    if (!overflow__mark_until(region, walk, place, end)) return false;
    size_t from = overflow__mark_from(walk, place), to = overflow__mark_from(walk, end + 1) - 1;
    const overflow__mark *first = &walk->marks[from], *last = &walk->marks[to];
    uint64_t              begin = from <= to ? first->place : end, rest = begin;

    if (begin > place) { /* the mark before has the extent's kind */
        overflow__extent piece = {place, begin, first[-1].zeros};
        if (!overflow__sum_range(region, walk, &piece, place, begin, lane)) return false;
    }
    if (from < to) {
        for (int i = 0; i < 4; i++) lane[i] ^= first->lane[i];
        overflow__sum_zeros(walk, last->place - begin, lane);
        for (int i = 0; i < 4; i++) lane[i] ^= last->lane[i];
        rest = last->place;
    }
    overflow__extent piece = {rest, end, last->zeros};
    return overflow__sum_range(region, walk, &piece, rest, end, lane);
}

/* Has the disk back the pages of something that the file holds, whose zeros a copy left out:
 * up to the end of the file, which may lie inside of a page. */
static int overflow__back_found(overflow_region *region, uint64_t from, uint64_t to)
{
    to = overflow__page_up(to);
    if (to > region->file_bytes) to = region->file_bytes;
    return overflow__back(region, overflow__page_down(from), to);
}

/* A hole that is to be given a record once all others have theirs. */
static void overflow__walk_unnamed(overflow_region *region, overflow__walk *walk,
                                   overflow__hole hole)
{
    if (walk->unnamed_count == walk->unnamed_room) {
        size_t          room = walk->unnamed_room * 2 + 64;
        overflow__hole *more = realloc(walk->unnamed, room * sizeof *more);
        if (!more) {
            walk->error = -ENOMEM;
            return;
        }
        walk->unnamed      = more;
        walk->unnamed_room = room;
    }
    walk->unnamed[walk->unnamed_count++] = hole;
    if (!walk->sparse) return;
    uint64_t begin = hole.place * OVERFLOW__GRANULE;
    uint64_t end   = begin + overflow__length(&hole) * OVERFLOW__GRANULE;
    walk->error    = overflow__back_found(region, begin, begin + 1);
    if (walk->error == 0) walk->error = overflow__back_found(region, end - 8, end);
}

/* What lies between two slots is a hole. It keeps the record that the file gives it, unless that is
 * taken; then nothing need be written. */
static void overflow__walk_hole(overflow_region *region, overflow__walk *walk, uint64_t place)
{
    uint64_t        granules = place - walk->gap, from, to;
    overflow__hole  hole     = {.place = walk->gap, .length = granules};
    overflow__word *words    = overflow__words(&region->view, hole.place);

    if (walk->sparse && overflow__inner_pages(hole.place, granules, &from, &to))
        hole.length |= (uint64_t)OVERFLOW__UNBACKED << 62;
    uint64_t head   = overflow__peek(words);
    uint64_t number = overflow__peek(words + 1);
    OVERFLOW__HIDE(words, (size_t)granules * OVERFLOW__GRANULE);
    if (head != overflow__hole_head(&region->view, hole.place, granules) ||
        number != overflow__peek(words + granules * 4 - 1) || number == 0 ||
        number > overflow__holes_max(region) * 2 + 4096 || /* much memory for few holes */
        !overflow__ready(region, number + 1) || region->holes[number].place != 0) {
        overflow__walk_unnamed(region, walk, hole);
        return;
    }
    region->holes[number] = hole;
    if (number >= region->hole_top) region->hole_top = (uint32_t)number + 1;
    overflow__link(region, (uint32_t)number);
}

/* Whether a slot whose header holds its check is good. */
static bool overflow__walk_slot(overflow_region *region, overflow__walk *walk, uint64_t place,
                                const overflow__life *life)
{
    uint64_t         end = place + life->granules, summed = walk->summed;
    uint64_t         lane[4] = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX};
    overflow__extent extent  = walk->here;

    if (life->serial >= region->header.serial_limit + (UINT64_C(1) << 40) ||
        life->granules > walk->end - place)
        return false;
    bool read = summed < OVERFLOW__SUMMED
                    ? overflow__sum_range(region, walk, &extent, place + 1, end, lane)
                    : overflow__sum_marked(region, walk, place + 1, end, lane);
    if (!read || overflow__join_lanes(lane) != life->sum) return false;
    walk->summed = summed;
    if (end > walk->here.end) /* a copy left out zeros; later something else may be written here */
        walk->error = overflow__back_found(region, place * OVERFLOW__GRANULE,
                                           end * OVERFLOW__GRANULE);
    return walk->error == 0;
}

static void overflow__walk_keep(overflow_region *region, overflow__walk *walk, uint64_t place,
                                const overflow__life *life)
{
    if (walk->gap < place) overflow__walk_hole(region, walk, place);
    if (walk->state == OVERFLOW__ENDED) region->damaged_slots++; /* what that 0 was before */
    walk->state  = OVERFLOW__IN_ORDER;
    walk->gap    = place + life->granules;
    walk->sparse = false;
    overflow__hide_tail(&region->view, place, life->size);
    if (region->serial <= life->serial) region->serial = life->serial + 1; /* power loss */
    region->live_slots++;
    region->live_bytes += life->size;
    region->live_granules += life->granules;
}

/* One step on from place; how many granules it takes. Every granule outside of good slots is looked
 * at, whatever heads say of holes: see "Where power fails". */
static uint64_t overflow__walk_step(overflow_region *region, overflow__walk *walk, uint64_t place)
{
    uint64_t       at    = place * OVERFLOW__GRANULE;
    bool           quiet = place < walk->quiet;
    overflow__life life;

    (void)overflow__extent_of(region->fd, region->file_bytes, place, &walk->here);
    if (walk->here.zeros) { /* that are not even there */
        if (walk->state == OVERFLOW__IN_ORDER && !quiet) walk->state = OVERFLOW__ENDED;
        walk->sparse = true;
        return walk->here.end - place;
    }
    if (!overflow__walk_to(region, walk, &walk->here, at, at + OVERFLOW__GRANULE)) return 1;

    uint64_t head = overflow__peek(overflow__words(&region->view, place));
    if (overflow__look(&region->view, region->view.instruction, place, head, OVERFLOW__PLACE_MAX,
                       &life)) {
        if (overflow__walk_slot(region, walk, place, &life)) {
            overflow__walk_keep(region, walk, place, &life);
            return life.granules;
        }
        if (walk->error != 0) return 1;
        overflow__end_life(region, place, 1); /* or a ref would find it */
        if (walk->state != OVERFLOW__ENDED && !quiet) region->damaged_slots++;
        if (walk->quiet < place + life.granules) walk->quiet = place + life.granules;
    } else if (walk->state == OVERFLOW__IN_ORDER && !quiet) {
        uint64_t hole = overflow__hole_length(&region->view, place, head, walk->end);
        if (hole == 0) walk->state = head == 0 ? OVERFLOW__ENDED : OVERFLOW__LOST;
        if (hole == 0 && head != 0) region->damaged_slots++;
        walk->quiet = place + hole;
    }
    return 1;
}

/* Records for all holes, and a 0 where the slots end. */
static int overflow__walk_done(overflow_region *region, overflow__walk *walk)
{
    uint64_t at = walk->gap * OVERFLOW__GRANULE;

    region->used = region->touched = region->backed = walk->gap;
    if (!overflow__ready(region, region->hole_top + walk->unnamed_count + 1) ||
        !overflow__ready(region, overflow__holes_max(region)))
        return -ENOMEM;
    for (uint32_t number = region->hole_top; --number > 0;)
        if (region->holes[number].place == 0) overflow__spare_record(region, number);
    for (size_t i = 0; i < walk->unnamed_count; i++) {
        const overflow__hole *hole = &walk->unnamed[i];
        overflow__add_hole(region, overflow__new_record(region), hole->place,
                           overflow__length(hole), overflow__kind_of(hole));
    }
    if (at + OVERFLOW__GRANULE <= region->file_bytes &&
        overflow__seek(region->fd, region->file_bytes, at, OVERFLOW__SEEK_HOLE) > at &&
        overflow__peek(overflow__words(&region->view, region->used)) != 0)
        overflow__set_head(region, region->used, 0);
    region->recovered_slots = region->live_slots;
    if (region->serial > region->header.serial_limit)
        overflow__turn_header(region, region->serial + OVERFLOW__SERIALS);
    /* Nothing was ever written under this key: what makes no sense is of before OVERFLOW_FRESH. */
    if (region->serial == region->header.first_serial) region->damaged_slots = 0;
    return 0;
}

static int overflow__recover(overflow_region *region)
{
    overflow__walk walk  = {.gap = OVERFLOW__FIRST};
    uint64_t       place = OVERFLOW__FIRST;

    walk.end = region->file_bytes / OVERFLOW__GRANULE;
    overflow__make_powers(&region->view, &walk);
    while (place < walk.end && walk.error == 0) place += overflow__walk_step(region, &walk, place);
    if (walk.error == 0) walk.error = overflow__walk_done(region, &walk);
    free(walk.unnamed);
    free(walk.marks);
    return walk.error;
}

/* -- open and close -- */

/* Whether the path still leads to that file. */
static bool overflow__is_there(const overflow_region *region, const struct stat *ours)
{
    struct stat there;
    return stat(region->path, &there) == 0 && there.st_dev == ours->st_dev &&
           there.st_ino == ours->st_ino;
}

/* Opens or creates the file, and owns it. */
static int overflow__own(overflow_region *region)
{
    bool         reads = region->view.read_only;
    struct flock lock  = {.l_type = reads ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};
    struct stat  ours;

    for (;;) {
        region->created = false;
        region->fd      = -1;
        if ((region->flags & OVERFLOW_EXCL) == 0)
            region->fd = open(region->path, (reads ? O_RDONLY : O_RDWR) | OVERFLOW__OPEN);
        if ((region->flags & OVERFLOW_EXCL) != 0 || (region->fd < 0 && errno == ENOENT && !reads)) {
            region->fd = open(region->path, O_RDWR | O_CREAT | O_EXCL | OVERFLOW__OPEN, 0600);
            if (region->fd < 0 && errno == EEXIST && (region->flags & OVERFLOW_EXCL) == 0) continue;
            region->created = region->fd >= 0;
        }
        if (region->fd < 0) return -errno;
        if (fstat(region->fd, &ours) != 0) return -errno;
        if (!S_ISREG(ours.st_mode)) return -EUCLEAN;
        if (fcntl(region->fd, OVERFLOW__OFD_SETLK, &lock) != 0) {
            region->created = false; /* another owner has locked it */
            return errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
        }
        /* The owner before may have unlinked it while we waited for nothing. */
        if (overflow__is_there(region, &ours)) break;
        close(region->fd);
    }
    if (fstat(region->fd, &ours) != 0) return -errno;
    region->file_bytes = (uint64_t)ours.st_size;
    return 0;
}

/* The name of the file shall survive power loss, too. */
static int overflow__sync_name(overflow_region *region)
{
    char  *name  = region->path;
    char  *slash = strrchr(name, '/');
    char   saved = 0;
    int    fd, error = 0;

    if (slash) saved = slash[1], slash[1] = 0;
    fd = open(slash ? name : ".", O_RDONLY | O_NONBLOCK);
    if (fd < 0 || overflow__fsync(fd) != 0) error = -errno;
    if (fd >= 0) close(fd);
    if (slash) slash[1] = saved;
    return error == -EINVAL || error == -EACCES ? 0 : error; /* not to be had here */
}

/* Reads the header. *words are two pages. */
static int overflow__read_header(overflow_region *region, overflow__word *words,
                                 overflow__header *header)
{
    size_t got = 0;
    memset((void *)words, 0, (size_t)OVERFLOW__START);
    while (got < (size_t)OVERFLOW__START) {
        ssize_t more = read(region->fd, (char *)words + got, (size_t)OVERFLOW__START - got);
        if (more < 0 && errno == EINTR) continue;
        if (more < 0) return -errno;
        if (more == 0) break;
        got += (size_t)more;
    }
    return overflow__parse_header(&region->view, words, header);
}

/* Makes sure that the header is on the disk, and that the file's name leads there. */
static int overflow__sync_file(overflow_region *region, overflow__header *header)
{
    if (overflow__fsync(region->fd) != 0) return overflow__no_space(errno);
    int error = overflow__sync_name(region);
    if (error == 0) header->durable = header->copy;
    return error;
}

/* Makes the file an empty region of a new key; what it held before means nothing under that. Its
 * serials begin at random, so that refs of other files, and of this one before, are stale. */
static int overflow__format(overflow_region *region, overflow__word *words,
                            overflow__header *header)
{
    size_t   put = 0;
    uint64_t random[2];
    uint64_t first[OVERFLOW__HEADER_WORDS];

    if (overflow__file_limit() < OVERFLOW__START) return -ENOSPC;
    if (getrandom(random, sizeof random, 0) != sizeof random) return -errno;
    header->key  = random[0];
    header->turn++;
    header->copy    = 0; /* which comes first */
    header->durable = OVERFLOW__COPIES;
    header->serial_limit += random[1] % OVERFLOW__SERIAL_JUMP;
    header->first_serial = header->serial_limit;
    overflow__header_words(&region->view, header, first);
    memset((void *)words, 0, (size_t)OVERFLOW__START);
    memcpy((void *)words, first, sizeof first);
    if (lseek(region->fd, 0, SEEK_SET) != 0) return -errno;
    while (put < (size_t)OVERFLOW__START) {
        ssize_t more = write(region->fd, (char *)words + put, (size_t)OVERFLOW__START - put);
        OVERFLOW_FAULT_POINT("format");
        if (more < 0 && errno == EINTR) continue;
        if (more < 0) return overflow__no_space(errno);
        put += (size_t)more;
    }
    if (region->file_bytes < (size_t)OVERFLOW__START) region->file_bytes = OVERFLOW__START;
    return 0;
}

/* Addresses for all the file can become, and for all the holes it can have. Beyond the end of the
 * file nothing is touched; growing makes more of the map usable, and moves nothing. */
static int overflow__map(overflow_region *region, uint64_t max_bytes)
{
    uint64_t bytes = overflow__page_up(region->file_bytes > max_bytes ? region->file_bytes
                                                                      : max_bytes);
    uint64_t granules = bytes / OVERFLOW__GRANULE;
    if (granules > OVERFLOW__PLACE_MAX || bytes > SIZE_MAX / 2) return -EFBIG;
    region->max = granules;

    region->hole_limit = granules + 64;
    if (region->hole_limit > UINT32_MAX) region->hole_limit = UINT32_MAX;
    int   kind  = region->view.read_only ? MAP_PRIVATE : MAP_SHARED;
    void *map   = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, kind, region->fd, 0);
    int   error = map == MAP_FAILED ? -errno : -ENOMEM;
    void *holes = mmap(NULL, (size_t)region->hole_limit * sizeof(overflow__hole), PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map != MAP_FAILED) region->view.base = map, region->view.mapped = (size_t)bytes;
    if (holes != MAP_FAILED) region->holes = holes;
    if (map == MAP_FAILED || holes == MAP_FAILED) return error;
    (void)overflow__madvise(holes, (size_t)region->hole_limit * sizeof(overflow__hole),
                            OVERFLOW__MADV_HUGEPAGE);
    region->hole_top = 1;
    return overflow__ready(region, 64) ? 0 : -ENOMEM;
}

/* Whether there is nothing yet, or no more than the zeros that power loss leaves of a new file. */
static bool overflow__is_blank(const overflow_region *region, const overflow__word *words)
{
    bool blank = region->file_bytes <= OVERFLOW__START;
    for (size_t i = 0; i < OVERFLOW__START / sizeof *words; i++)
        blank = blank && overflow__peek(&words[i]) == 0;
    return blank;
}

/* From a file that is owned to a region that can be used. */
static int overflow__start(overflow_region *region, const overflow_config *config)
{
    overflow__word   words[OVERFLOW__START / sizeof(overflow__word)];
    overflow__header header = {.serial_limit = 1};
    int              error  = overflow__read_header(region, words, &header);
    bool             reads  = region->view.read_only;
    bool             fresh  = (config->flags & OVERFLOW_FRESH) != 0 ||
                 (!reads && overflow__is_blank(region, words));

    if (error == 0 && (header.turn | header.serial_limit) >= OVERFLOW__COUNT_MAX / 4)
        error = -EUCLEAN; /* nobody counted as far as that; and there must be room to go on */
    if (error == 0 && reads && region->file_bytes < OVERFLOW__START)
        error = -EUCLEAN; /* an owner that may write makes it longer */
    if (fresh) {
        if (error != 0 || (header.turn | header.serial_limit) >= OVERFLOW__COUNT_MAX / 8)
            header = (overflow__header){.serial_limit = 1};
        error = overflow__format(region, words, &header);
    }
    /* A creator may have died before this. A temporary file that begins anew each time needs it
     * not: it is never read again. */
    if (error == 0 && header.durable == OVERFLOW__COPIES && !reads &&
        (~config->flags & (OVERFLOW_TEMPORARY | OVERFLOW_FRESH)) != 0)
        error = overflow__sync_file(region, &header);
    if (error == 0) error = overflow__map(region, reads ? 0 : config->max_bytes);
    if (error == 0) error = overflow__back(region, 0, OVERFLOW__START);
    if (error != 0) return error;

    overflow__set_key(&region->view, header.key);
    region->header = header;
    region->serial = header.serial_limit;
    if (!fresh) {
        error = overflow__recover(region);
        if (error == 0 && !reads && overflow__peek(&words[OVERFLOW__HEADER_WORDS]) != 0)
            error = overflow__write_again(region);
        return error;
    }

    region->used = region->backed = region->touched = OVERFLOW__FIRST;
    if (region->file_bytes > OVERFLOW__START)
        (void)overflow__punch(region, OVERFLOW__START, overflow__page_up(region->file_bytes));
    error = overflow__grow(region, overflow__page_up(config->initial_bytes) / OVERFLOW__GRANULE);
    if (error == 0) overflow__set_head(region, region->used, 0);
    return error;
}

/* Gives back what open took so far, after success or failure. */
static void overflow__release(overflow_region *region)
{
    if (region->view.base) {
        OVERFLOW__SHOW(region->view.base, (size_t)overflow__page_up(region->file_bytes));
        (void)munmap(region->view.base, region->view.mapped);
    }
    if (region->holes)
        (void)munmap(region->holes, (size_t)region->hole_limit * sizeof(overflow__hole));
    if (region->fd >= 0) close(region->fd);
    free(region->tags);
    free(region);
}

OVERFLOW_API int overflow_open(overflow_region **region, const char *path,
                               const overflow_config *config)
{
    overflow_config want = config ? *config : (overflow_config){0};
    uint64_t        most = OVERFLOW__PLACE_MAX * OVERFLOW__GRANULE;

    if (!region) return -EINVAL;
    *region = NULL;
    if (want.max_bytes == 0) want.max_bytes = (size_t)1 << 30;
    want.max_bytes = (size_t)overflow__page_down(want.max_bytes);
    if (want.initial_bytes == 0)
        want.initial_bytes = want.max_bytes < (size_t)1 << 26 ? want.max_bytes : (size_t)1 << 26;
    if (want.initial_bytes < (size_t)3 * OVERFLOW__PAGE)
        want.initial_bytes = (size_t)3 * OVERFLOW__PAGE;
    uint32_t writes = OVERFLOW_FRESH | OVERFLOW_TEMPORARY | OVERFLOW_EXCL;
    uint32_t reads  = OVERFLOW_RDONLY | OVERFLOW_SALVAGE;
    if (!path || (want.flags & ~(writes | reads)) != 0 ||
        ((want.flags & writes) != 0 && (want.flags & reads) != 0) ||
        want.max_bytes < (size_t)4 * OVERFLOW__PAGE || want.initial_bytes > want.max_bytes ||
        (uint64_t)want.max_bytes > most)
        return -EINVAL;

    size_t           length = strlen(path) + 1;
    overflow_region *opened = calloc(1, sizeof *opened + length);
    if (!opened) return -ENOMEM;
    opened->fd    = -1;
    opened->flags = want.flags;
    memcpy(opened->path, path, length);
    opened->step           = OVERFLOW__GROW_MAX;
    opened->view.read_only = (want.flags & reads) != 0;
    overflow__make_tables(&opened->view);
    int error = overflow__own(opened);
    if (error == 0) error = overflow__start(opened, &want);
    if (error != 0) {
        if (opened->created) (void)unlink(opened->path);
        overflow__release(opened);
        return error;
    }
    *region = opened;
    return 0;
}

OVERFLOW_API int overflow_close(overflow_region *region)
{
    struct stat ours;
    int         error = 0;

    if (!region) return 0;
    (void)overflow_cancel(region);
    overflow__settle_all(region);
    /* So that the next owner goes on counting from here. */
    if (region->header.serial_limit != region->serial)
        overflow__turn_header(region, region->serial);
    if ((region->flags & OVERFLOW_TEMPORARY) && fstat(region->fd, &ours) == 0 &&
        ours.st_nlink > 0) {
        if (!overflow__is_there(region, &ours)) error = -ENOENT;
        else if (unlink(region->path) != 0) error = -errno;
    }
    overflow__release(region);
    return error;
}

/* -- Readers -- */

/* Maps the file as long as it is now. */
static int overflow__reader_map(overflow_reader *reader)
{
    struct stat status;
    if (fstat(reader->fd, &status) != 0) return -errno;
    if (!S_ISREG(status.st_mode) || status.st_size < OVERFLOW__START) return -EUCLEAN;
    if ((uint64_t)status.st_size > SIZE_MAX / 2) return -ENOMEM;
    if ((size_t)status.st_size <= reader->view.mapped) return 0;

    void *map = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_SHARED, reader->fd, 0);
    if (map == MAP_FAILED) return -errno;
    if (reader->view.base) (void)munmap(reader->view.base, reader->view.mapped);
    reader->view.base   = map;
    reader->view.mapped = (size_t)status.st_size;
    reader->end         = reader->view.mapped / OVERFLOW__GRANULE;
    return 0;
}

/* Has the map end at that place or above, if the file does. */
static int overflow__reader_reach(overflow_reader *reader, uint64_t end)
{
    return end <= reader->end ? 0 : overflow__reader_map(reader);
}

/* OVERFLOW_FRESH gives the file another key: then nothing that was read under the first is live. */
static bool overflow__same_key(const overflow_reader *reader)
{
    const overflow__word *words = overflow__words(&reader->view, 0);
    return reader->key == overflow__peek(words + 4) ||
           reader->key == overflow__peek(words + overflow__header_at(1) + 4) ||
           reader->key == overflow__peek(words + overflow__header_at(2) + 4);
}

static int overflow__reader_key(overflow_reader *reader)
{
    overflow__header header;

    if (overflow__same_key(reader)) return 0;
    int error = overflow__parse_header(&reader->view, overflow__words(&reader->view, 0), &header);
    if (error != 0) return error;
    reader->key = header.key;
    overflow__set_key(&reader->view, header.key);
    return 0;
}

OVERFLOW_API int overflow_reader_open(overflow_reader **reader, const char *path)
{
    overflow__header header;
    if (!reader) return -EINVAL;
    *reader = NULL;
    if (!path) return -EINVAL;
    overflow_reader *opened = calloc(1, sizeof *opened);
    if (!opened) return -ENOMEM;

    overflow__make_tables(&opened->view);
    opened->fd = open(path, O_RDONLY | OVERFLOW__OPEN);
    int error  = opened->fd >= 0 ? overflow__reader_map(opened) : -errno;
    if (error == 0)
        error = overflow__parse_header(&opened->view, overflow__words(&opened->view, 0), &header);
    if (error != 0) {
        overflow_reader_close(opened);
        return error;
    }
    opened->key = header.key;
    overflow__set_key(&opened->view, header.key);
    *reader = opened;
    return 0;
}

OVERFLOW_API void overflow_reader_close(overflow_reader *reader)
{
    if (!reader) return;
    if (reader->view.base) (void)munmap(reader->view.base, reader->view.mapped);
    if (reader->fd >= 0) close(reader->fd);
    free(reader);
}

/* Copies what lies at ref, and looks whether it was the whole and nothing else. */
static int overflow__reader_copy(const overflow_reader *reader, overflow_ref ref, void *buffer,
                                 size_t capacity, size_t *size)
{
    const overflow__view *view  = &reader->view;
    uint64_t              place = overflow__place(ref);
    const overflow__word *words = overflow__words(view, place);
    overflow__life        life;
    uint32_t              sum = 0;

    /* acquire, pairs with the release in overflow__poke_head: a reader that sees the head sees the
       slot. */
    uint64_t head = atomic_load_explicit(words, memory_order_acquire);
    if (!overflow__is_life(head, ref)) return -ESTALE;
    bool good = overflow__look(view, view->instruction, place, head, reader->end, &life);
    bool fits = good && life.size <= capacity;
    if (fits) sum = overflow__copy_out(view, buffer, words + OVERFLOW__HEAD_WORDS, life.size);
    /* acquire, pairs with the release fence in overflow__end_life: if any word of the copy was
     * stored after that, the head that we see now is another. */
    atomic_thread_fence(memory_order_acquire);
    if (overflow__peek(words) != head || !overflow__same_key(reader) || !good) return -ESTALE;
    if (fits && sum != life.sum) return -EUCLEAN;
    *size = (size_t)life.size;
    return fits ? 0 : -ENOBUFS;
}

/* Has the map reach over the slot of ref, if it is there. The head's word is only a guess. */
static int overflow__reader_find(overflow_reader *reader, overflow_ref ref)
{
    int error = overflow__reader_key(reader);
    if (error != 0) return -ESTALE; /* the file begins anew at this very moment */
    uint64_t place = overflow__place(ref);
    error          = overflow__reader_reach(reader, place + 1);
    if (error != 0) return error;
    if (place < OVERFLOW__FIRST || place >= reader->end) return -ESTALE;
    uint64_t head = overflow__peek(overflow__words(&reader->view, place));
    if (!overflow__is_life(head, ref)) return -ESTALE;
    uint64_t granules = overflow__granules(head & OVERFLOW__SIZE_MAX);
    return overflow__reader_reach(reader, place + granules);
}

OVERFLOW_API int overflow_reader_read(overflow_reader *reader, overflow_ref ref, void *buffer,
                                      size_t capacity, size_t *size)
{
    if (!size) return -EINVAL;
    *size = 0;
    if (!reader || (!buffer && capacity > 0)) return -EINVAL;
    int error = overflow__reader_find(reader, ref);
    return error != 0 ? error : overflow__reader_copy(reader, ref, buffer, capacity, size);
}

/* The header of the slot with that head, whole. */
static bool overflow__reader_look(const overflow_reader *reader, uint64_t place, uint64_t head,
                                  overflow__life *life)
{
    const overflow__view *view = &reader->view;
    bool good = overflow__look(view, view->instruction, place, head, reader->end, life);
    /* acquire, pairs with the release fence in overflow__end_life: if a word of the header was
     * stored after that, the head that we see now is another. */
    atomic_thread_fence(memory_order_acquire);
    return good && overflow__peek(overflow__words(view, place)) == head &&
           overflow__same_key(reader);
}

static void overflow__reader_tell(overflow_slot *slot, uint64_t place, const overflow__life *life)
{
    slot->ref    = overflow__ref(place, life->serial);
    slot->offset = (place + 1) * OVERFLOW__GRANULE;
    slot->size   = (size_t)life->size;
    slot->tag    = life->tag;
    slot->value  = NULL;
}

OVERFLOW_API int overflow_reader_describe(overflow_reader *reader, overflow_ref ref,
                                          overflow_slot *slot)
{
    overflow__life life;
    if (!slot) return -EINVAL;
    *slot = (overflow_slot){0};
    if (!reader) return -EINVAL;
    int error = overflow__reader_find(reader, ref);
    if (error != 0) return error;
    uint64_t place = overflow__place(ref);
    /* acquire, pairs with the release in overflow__poke_head: a reader that sees the head sees the
     * header. */
    uint64_t head = atomic_load_explicit(overflow__words(&reader->view, place),
                                         memory_order_acquire);
    if (!overflow__is_life(head, ref) || !overflow__reader_look(reader, place, head, &life))
        return -ESTALE;
    overflow__reader_tell(slot, place, &life);
    return 0;
}

OVERFLOW_API int overflow_reader_peek(overflow_reader *reader, overflow_ref ref,
                                      const void **value, size_t *size)
{
    overflow_slot slot;
    if (value) *value = NULL;
    if (size) *size = 0;
    if (!reader || !value || !size) return -EINVAL;
    int error = overflow_reader_describe(reader, ref, &slot);
    if (error != 0) return error;
    *value = reader->view.base + slot.offset;
    *size  = slot.size;
    return 0;
}

OVERFLOW_API int overflow_reader_check(const overflow_reader *reader, overflow_ref ref)
{
    uint64_t place = overflow__place(ref);
    if (!reader) return -EINVAL;
    if (place < OVERFLOW__FIRST || place >= reader->end) return -ESTALE;
    /* acquire, pairs with the release fence in overflow__end_life: if a byte that was read since
     * the peek was stored after that, the head that we see now is another. */
    atomic_thread_fence(memory_order_acquire);
    uint64_t head = overflow__peek(overflow__words(&reader->view, place));
    return overflow__is_life(head, ref) && overflow__same_key(reader) ? 0 : -ESTALE;
}

/* A reader does not know where the slots end: a 0 may be a value's, that was written over the place
 * of the cursor. So it goes on to the end of the file, but over what the file system lacks. */
OVERFLOW_API bool overflow_reader_next(overflow_reader *reader, uint64_t *cursor,
                                       overflow_slot *slot)
{
    overflow__extent extent = {0};
    overflow__life   life;

    if (slot) *slot = (overflow_slot){0};
    if (!reader || !cursor || !slot || overflow__reader_key(reader) != 0) return false;
    uint64_t place = *cursor < OVERFLOW__FIRST ? OVERFLOW__FIRST : *cursor;
    while (overflow__reader_reach(reader, place + 1) == 0 && place < reader->end) {
        (void)overflow__extent_of(reader->fd, reader->view.mapped, place, &extent);
        /* acquire, pairs with the release in overflow__poke_head: a reader that sees the head sees
         * the header. */
        uint64_t head = extent.zeros ? 0
                                     : atomic_load_explicit(overflow__words(&reader->view, place),
                                                            memory_order_acquire);
        if (head & OVERFLOW__LIVE) {
            uint64_t end = place + overflow__granules(head & OVERFLOW__SIZE_MAX);
            if (end <= OVERFLOW__PLACE_MAX) (void)overflow__reader_reach(reader, end);
            if (overflow__reader_look(reader, place, head, &life)) {
                overflow__reader_tell(slot, place, &life);
                *cursor = place + life.granules;
                return true;
            }
        }
        uint64_t hole = extent.zeros ? extent.end - place
                                     : overflow__hole_length(&reader->view, place, head,
                                                             reader->end);
        place += hole > 0 ? hole : 1;
    }
    *cursor = place;
    return false;
}

#endif /* OVERFLOW_IMPLEMENTATION */

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
