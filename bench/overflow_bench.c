/* overflow_bench - one workload, one subject, a fixed amount of work; measures what an
 * overflow_region costs beside the least it could cost, and beside others that keep values in a
 * file.
 *
 *     overflow_bench WORKLOAD SUBJECT [--ops N] [--values N] [--size N] [--dir DIR]
 *     overflow_bench --list         every workload with each of its subjects
 *
 * Each run prints one figure a line: workload, subject, number, what it is; first the ns/op. A
 * subject that could not do it prints FAILED and why, no figure, and the program returns 1.
 * bench/run.sh runs them all and makes the tables.
 *
 * Each workload exists twice: disk-... in a file in DIR (default: TMPDIR, or build, or .), and
 * shm-... in a file in /dev/shm. Only sync syncs: disk is the page cache.
 *
 *   write-256, write-4k, write-64k    512 MiB of values of that size written to a fresh file; op: a
 *             write, and its share of first touch and of growth
 *   read      the first 8 bytes of 1 M values of 256 bytes, in random order; the array of names is
 *             walked from end to end; op: a read
 *   read-many the same, 64 at a time: overflow_read_many; floor prefetches the pointers
 *   free      1 M values of 256 bytes are freed in random order; op: a free
 *   free-many the same, 64 at a time: overflow_free_many
 *   read-copy the same with all of the value copied out: a reader beside the owner
 *   churn-100, churn-10k, churn-1m    N holes: 2 N values of 64 to 448 bytes are written and every
 *             other is freed. Then op: a random one of those N that live is freed, and a value of
 *             another random size is written in its stead. Neighbours become one hole, so there are
 *             fewer and fewer: after N / 4 operations the clock is stopped, all is freed, and the N
 *             holes are made again. holes: how many there were in the end
 *   reopen-100k, reopen-1m, reopen-10m    N values of 64 bytes, written and closed; from open until
 *             every value has been looked at; op: a value
 *   sync      200,000 values of 256 bytes to a fresh file, sync after every 1,000; op: a write, and
 *             a thousandth of a sync
 *   fragment-64m, fragment-1g    a region of that size is filled with values of 64 to 4096 bytes,
 *             until their bytes are 80 % of its own. Then 10 M times op: a random one is freed, and
 *             one of another random size written. In the end
 *             - unusable-%: of the region, what is in holes too small for 4 KiB; all are walked
 *             - 4k-writes: so many are then done until there is no room
 *             - left-%: of the region, what is free after them, in holes of any size
 *             - payload-%: of the region, what are bytes of values then: how full it could be made
 *
 * --ops: how many writes, reads, or frees with a write. --values: how many values there are (read),
 * live (churn, reopen), or fill 80 % of the region, which gets its size from them (fragment).
 * --size: how large a value is; the largest, for churn. With --values or --size the workload does
 * not do what its name says.
 *
 * Subjects. Each is given the same sizes in the same order, from the same warm bytes, of which the
 * first 8 are new each time; each of its values is found again by an 8-byte name in an array.
 *   ashlar    overflow.h; to read-copy, an overflow_reader
 *   reserve   the same, but a value is copied into a reservation, which is then committed
 *   floor     memcpy, and the same checksum; slots of the same size, one behind the other in a
 *             mapped file whose blocks are reserved by fallocate, 64 MiB at a time. Pages come by
 *             faults. read: a bare pointer. churn: the old place. sync: msync of what is new.
 *             reopen: a checksum of each value
 *   touch     the same without checksum
 *   populate  floor, with pages by MADV_POPULATE_WRITE, 256 KiB at a time
 *   pwrite    one pwrite for each value, at a growing offset; pread; fdatasync
 *   lmdb      integer keys that grow, MDB_APPEND, MDB_WRITEMAP; without sync MDB_NOSYNC and
 *             MDB_NOMETASYNC, and a transaction for every 1,000 calls, or 4 MiB; with sync one for
 *             each sync, durable. read: a transaction for 1,000 reads. read-copy: memcpy besides.
 *             reopen: a cursor over all; it checks nothing
 *   memkind   memkind_create_pmem: malloc and memcpy in a file, of which nothing can be found again
 *   boost     Boost.Interprocess: managed_mapped_file's allocate and memcpy, without its lock; the
 *             file has its whole size from the beginning. When the owner dies it is left as it is,
 *             in any state. read: a pointer. sync: msync, since its own flush does nothing
 *
 * A virtual machine may have lent free memory to its host: the first to touch it again waits. So,
 * where first touch is measured, every subject alike touches and gives back as much memory as it is
 * about to take, twice, and then writes and deletes a file of that size. What the bench needs for
 * itself is mapped and touched before the clock starts. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define OVERFLOW_API static inline /* inlined, for the best time */
#define OVERFLOW_IMPLEMENTATION
#include "../overflow.h"

#include "options.h"

#ifdef WITH_LMDB
#include <lmdb.h>
#endif
#ifdef WITH_MEMKIND
#include <memkind.h>
#endif

enum {
    KI         = 1024,
    MI         = 1024 * 1024,
    HEADER     = 32,   /* of a slot, and what its size is a multiple of */
    FIRST      = 8192, /* where the first slot is */
    VALUE_MOST = 64 * KI,
    BATCH      = 1000,
    MANY       = 64,
    LEAST      = 64,
    LARGE      = 4096, /* fragment: what shall still fit */
    FULL       = 80    /* percent */
};

static uint64_t      ops;
static uint32_t      values;
static size_t        value_size;
static size_t        room;    /* that the subject needs in its file, about */
static bool          limited; /* room is all there is */
static bool          durable; /* sync counts */
static const char   *dir;
static char          path[4096];
static char          lock_path[4096 + 8];
static char          workload[64];
static const char   *subject;
static uint64_t     *names; /* of values */
static unsigned char sample[VALUE_MOST] __attribute__((aligned(64)));
static unsigned char buffer[VALUE_MOST] __attribute__((aligned(64)));

/* ---- Time, memory, files ---- */

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void remove_files(void)
{
    unlink(path);
    unlink(lock_path);
}

static void ended_by(int number)
{
    remove_files();
    signal(number, SIG_DFL);
    raise(number);
}

static void report(double figure, const char *what)
{
    int digits = figure == (double)(uint64_t)figure ? 0 : figure < 1 ? 4 : 2;
    printf("%s %s %.*f %s\n", workload, subject, digits, figure, what);
}

static void report_ns(uint64_t ns, uint64_t count)
{
    report(count ? (double)ns / (double)count : 0, "ns/op");
}

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

/* Less than all is no room, or the end of the file. */
static inline void need_all(ssize_t done, size_t size, const char *what)
{
    if (done != (ssize_t)size) fail(what, done < 0 ? errno : ENOSPC);
}

static void *map(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(memory != MAP_FAILED, "mmap");
    return memory;
}

/* For ourselves: on large pages where there are any, and touched. */
static void *map_own(size_t size)
{
    void *memory = map(size);
    madvise(memory, size, MADV_HUGEPAGE);
    memset(memory, 1, size);
    return memory;
}

static void warm_memory(size_t size)
{
    for (int pass = 0; pass < 2; pass++) munmap(map_own(size), size);
}

/* Memory, and what the file system needs of it besides. */
static void warm(size_t size)
{
    warm_memory(size);
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    need(file >= 0, "open");
    for (size_t done = 0; done < size; done += sizeof buffer)
        need_all(write(file, buffer, sizeof buffer), sizeof buffer, "warm");
    unlink(path);
    close(file);
}

/* What earlier runs left to be written, freed or discarded shall not be part of ours. */
static void quiet(void)
{
    int file = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    need(file >= 0, dir);
    syncfs(file);
    close(file);
}

static void pin(size_t core)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    sched_setaffinity(0, sizeof set, &set); /* refused: a noisier figure */
}

/* ---- Chance: the same in each run ---- */

static uint64_t chance = 1;

static inline uint32_t draw_below(uint32_t limit)
{
    chance = chance * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((chance >> 32) * limit >> 32);
}

static inline uint32_t draw_size(uint32_t least, uint32_t most)
{
    return least + draw_below(most - least + 1);
}

/* ---- Subjects ---- */

struct subject {
    const char *name;
    void (*open)(void);                                          /* an empty one */
    int (*write)(uint64_t *name, const void *data, size_t size); /* 0, or an error */
    void (*commit)(void);                                        /* it was the last write */
    void (*start_reads)(void);
    const void *(*read)(uint64_t name);
    uint64_t (*read_many)(const uint64_t *names, uint32_t count); /* sum of their first 8 bytes */
    void (*copy)(uint64_t name, size_t size);                     /* to buffer */
    void (*free)(uint64_t name);
    void (*free_many)(const uint64_t *names, uint32_t count);
    void (*sync)(void);
    void (*close)(void);
    uint64_t (*reopen)(void); /* how many values it found */
    void (*holes)(bool full);
    void (*clear)(void); /* all was freed, and it shall know */
    bool overlaps;       /* values are not there afterwards */
};

static void nothing(void) {}

static inline uint64_t first_of(const void *value)
{
    uint64_t first;
    memcpy(&first, value, sizeof first);
    return first;
}

/* -- Ashlar -- */

static overflow_region *ashlar;
static overflow_reader *ashlar_reader;

static void ashlar_open(void)
{
    overflow_config config = {.max_bytes = room, .flags = OVERFLOW_FRESH};
    if (limited) config.initial_bytes = room;
    int error = overflow_open(&ashlar, path, &config);
    if (error) fail("open", error);
}
static inline int ashlar_write(uint64_t *name, const void *data, size_t size)
{
    return overflow_write(ashlar, data, size, 0, name);
}
static void ashlar_start_reads(void)
{
    int error = overflow_reader_open(&ashlar_reader, path);
    if (error) fail("reader_open", error);
}
static inline const void *ashlar_read(uint64_t name)
{
    size_t      size;
    const void *value = overflow_read(ashlar, name, &size);
    if (!value) fail("read", ESTALE);
    return value;
}
static inline uint64_t ashlar_read_many(const uint64_t *some, uint32_t count)
{
    static overflow_slot slots[MANY];
    uint64_t             sum = 0;
    if (overflow_read_many(ashlar, some, slots, count) != count) fail("read_many", ESTALE);
    for (uint32_t i = 0; i < count; i++) sum += first_of(slots[i].value);
    return sum;
}
static inline void ashlar_copy(uint64_t name, size_t size)
{
    int error = overflow_reader_read(ashlar_reader, name, buffer, size, &size);
    if (error) fail("reader_read", error);
}
static inline void ashlar_free(uint64_t name)
{
    int error = overflow_free(ashlar, name);
    if (error) fail("free", error);
}
static inline void ashlar_free_many(const uint64_t *some, uint32_t count)
{
    if (overflow_free_many(ashlar, some, count) != count) fail("free_many", ESTALE);
}
static inline void ashlar_sync(void)
{
    int error = overflow_sync(ashlar);
    if (error) fail("sync", error);
}
static void ashlar_close(void)
{
    int error = overflow_close(ashlar);
    if (error) fail("close", error);
}
static uint64_t ashlar_reopen(void)
{
    struct overflow_info info;
    overflow_config      config = {.max_bytes = room};
    int                  error  = overflow_open(&ashlar, path, &config);
    if (error) fail("reopen", error);
    overflow_stats(ashlar, &info);
    return info.damaged_slots == 0 ? info.recovered_slots : 0;
}

/* Walks what lies between slots, and from the last one to the end; full: no large value fits any
 * more. The end of the region keeps 32 bytes for the word behind the last slot. */
static void ashlar_holes(bool full)
{
    overflow_slot slot;
    uint64_t      cursor = 0, end = FIRST, small = 0, all = 0, holes = 0;
    for (bool more = true; more;) {
        more         = overflow_next(ashlar, &cursor, &slot);
        uint64_t gap = (more ? slot.offset - HEADER : room - HEADER) - end;
        if (more) end = slot.offset + (slot.size + HEADER - 1) / HEADER * HEADER;
        all += gap;
        holes += gap > 0;
        if (gap < LARGE + HEADER) small += gap;
    }
    struct overflow_info info;
    overflow_stats(ashlar, &info);
    if (limited &&
        (all != info.free_bytes + room - HEADER - info.used_bytes || (full && small != all)))
        fail_text("holes", "they do not add up");
    if (!limited) report((double)info.holes, "holes");
    else if (full) report((double)all * 100 / (double)room, "left-%");
    else {
        report((double)small * 100 / (double)room, "unusable-%");
        report((double)holes, "holes");
    }
}

static const struct subject subject_ashlar = {
    .name        = "ashlar",
    .open        = ashlar_open,
    .write       = ashlar_write,
    .commit      = nothing,
    .start_reads = ashlar_start_reads,
    .read        = ashlar_read,
    .read_many   = ashlar_read_many,
    .copy        = ashlar_copy,
    .free        = ashlar_free,
    .free_many   = ashlar_free_many,
    .sync        = ashlar_sync,
    .close       = ashlar_close,
    .reopen      = ashlar_reopen,
    .holes       = ashlar_holes,
};

static inline int reserve_write(uint64_t *name, const void *data, size_t size)
{
    void *to;
    int   error = overflow_reserve(ashlar, size, 0, &to);
    if (error) return error;
    memcpy(to, data, size);
    return overflow_commit(ashlar, size, name);
}

static const struct subject subject_reserve = {
    .name        = "reserve",
    .open        = ashlar_open,
    .write       = reserve_write,
    .commit      = nothing,
    .start_reads = nothing,
    .read        = ashlar_read,
};

/* -- Floors -- */

enum { GROWTH = 64 * MI, TOUCH = 256 * KI, PAGE = 4096 };
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

static int               floor_file;
static unsigned char    *floor_map;
static size_t            floor_used, floor_backed, floor_touched, floor_synced;
static uint64_t          floor_spare; /* churn: the place that was freed */
static volatile uint32_t floor_sum;

/* CRC-32C in four lanes, as in overflow.h. */
static inline uint32_t crc(uint32_t sum, uint64_t word)
{
#if defined __x86_64__
    uint64_t wide = sum;
    __asm__("crc32q %1, %0" : "+r"(wide) : "rm"(word));
    return (uint32_t)wide;
#elif defined __aarch64__
    __asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(sum) : "r"(word));
    return sum;
#else
    return (sum ^ (uint32_t)word ^ (uint32_t)(word >> 32)) * 0x9e3779b1u; /* of its speed, about */
#endif
}
static inline uint32_t sum_of(const void *value, size_t size)
{
    const unsigned char *at = value, *end = at + (size + 31) / 32 * 32;
    uint32_t             a = UINT32_MAX, b = a, c = a, d = a;
    for (; at < end; at += 32) {
        a = crc(a, first_of(at));
        b = crc(b, first_of(at + 8));
        c = crc(c, first_of(at + 16));
        d = crc(d, first_of(at + 24));
    }
    return crc(crc(0, (uint64_t)b << 32 | a), (uint64_t)d << 32 | c);
}

static void floor_grow(void)
{
    need(fallocate(floor_file, 0, (off_t)floor_backed, GROWTH) == 0, "fallocate");
    floor_backed += GROWTH;
}
static void floor_open(void)
{
    size_t most = room + GROWTH;
    floor_file  = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    need(floor_file >= 0, "open");
    floor_grow();
    floor_map = mmap(NULL, most, PROT_READ | PROT_WRITE, MAP_SHARED, floor_file, 0);
    need(floor_map != MAP_FAILED, "mmap");
}
static inline int floor_put(uint64_t *name, const void *data, size_t size, bool sums,
                            bool populates)
{
    size_t end = floor_used + HEADER + (size + 31) / 32 * 32;
    if (floor_spare != 0) {
        *name       = floor_spare;
        floor_spare = 0;
    } else {
        if (end > floor_backed) floor_grow();
        while (populates && end > floor_touched) {
            need(madvise(floor_map + floor_touched, TOUCH, MADV_POPULATE_WRITE) == 0, "madvise");
            floor_touched += TOUCH;
        }
        *name      = (uint64_t)(uintptr_t)(floor_map + floor_used + HEADER);
        floor_used = end;
    }
    void *value = (void *)(uintptr_t)*name;
    memcpy(value, data, size);
    if (sums) floor_sum = sum_of(data, size);
    return 0;
}
static inline int floor_write(uint64_t *name, const void *data, size_t size)
{
    return floor_put(name, data, size, true, false);
}
static inline int touch_write(uint64_t *name, const void *data, size_t size)
{
    return floor_put(name, data, size, false, false);
}
static inline int populate_write(uint64_t *name, const void *data, size_t size)
{
    return floor_put(name, data, size, true, true);
}
static inline const void *pointer_read(uint64_t name) { return (const void *)(uintptr_t)name; }
static inline uint64_t floor_read_many(const uint64_t *some, uint32_t count)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (i + 12 < count) __builtin_prefetch((const void *)(uintptr_t)some[i + 12]);
        sum += first_of((const void *)(uintptr_t)some[i]);
    }
    return sum;
}
static inline void floor_copy(uint64_t name, size_t size)
{
    memcpy(buffer, pointer_read(name), size);
    floor_sum = sum_of(buffer, size);
}
static inline void floor_free(uint64_t name) { floor_spare = name; }
static void        floor_clear(void) { floor_used = floor_spare = 0; }
static inline void floor_sync(void)
{
    size_t from = floor_synced / PAGE * PAGE;
    need(msync(floor_map + from, floor_used - from, MS_SYNC) == 0, "msync");
    floor_synced = floor_used;
}
static void floor_close(void)
{
    munmap(floor_map, room + GROWTH);
    close(floor_file);
}
static uint64_t floor_reopen(void)
{
    size_t   slot  = HEADER + value_size;
    uint64_t found = 0;
    floor_file     = open(path, O_RDONLY | O_CLOEXEC);
    need(floor_file >= 0, "open");
    floor_map = mmap(NULL, floor_used, PROT_READ, MAP_SHARED | MAP_POPULATE, floor_file, 0);
    need(floor_map != MAP_FAILED, "mmap");
    for (size_t at = HEADER; at < floor_used; at += slot, found++)
        floor_sum = sum_of(floor_map + at, value_size);
    return found;
}

#define FLOOR(s)                                \
    static const struct subject subject_##s = { \
        .name        = #s,                      \
        .open        = floor_open,              \
        .write       = s##_write,               \
        .commit      = nothing,                 \
        .start_reads = nothing,                 \
        .read        = pointer_read,            \
        .read_many   = floor_read_many,         \
        .copy        = floor_copy,              \
        .free        = floor_free,              \
        .sync        = floor_sync,              \
        .close       = floor_close,             \
        .reopen      = floor_reopen,            \
        .clear       = floor_clear,             \
        .overlaps    = true,                    \
    };
FLOOR(floor)
FLOOR(touch)
FLOOR(populate)

/* -- pwrite -- */

static int    plain_file;
static size_t plain_used;

static void plain_open(void)
{
    plain_file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    need(plain_file >= 0, "open");
}
static inline int plain_write(uint64_t *name, const void *data, size_t size)
{
    need_all(pwrite(plain_file, data, size, (off_t)plain_used), size, "pwrite");
    *name = plain_used;
    plain_used += size;
    return 0;
}
static inline void plain_copy(uint64_t name, size_t size)
{
    need_all(pread(plain_file, buffer, size, (off_t)name), size, "pread");
}
static inline const void *plain_read(uint64_t name)
{
    plain_copy(name, value_size);
    return buffer;
}
static inline void plain_sync(void) { need(fdatasync(plain_file) == 0, "fdatasync"); }

static const struct subject subject_plain = {
    .name        = "pwrite",
    .open        = plain_open,
    .write       = plain_write,
    .commit      = nothing,
    .start_reads = nothing,
    .read        = plain_read,
    .copy        = plain_copy,
    .sync        = plain_sync,
};

/* -- LMDB -- */

#ifdef WITH_LMDB
static MDB_env *lmdb;
static MDB_dbi  lmdb_table;
static MDB_txn *lmdb_txn;
static size_t   lmdb_calls, lmdb_bytes, lmdb_key;

static inline void lmdb_need(int error, const char *what)
{
    if (error) fail_text(what, mdb_strerror(error));
}
static void lmdb_env(void)
{
    unsigned flags = MDB_NOSUBDIR | MDB_WRITEMAP;
    if (!durable) flags |= MDB_NOSYNC | MDB_NOMETASYNC;
    lmdb_need(mdb_env_create(&lmdb), "env_create");
    lmdb_need(mdb_env_set_mapsize(lmdb, room * 3), "env_set_mapsize");
    lmdb_need(mdb_env_open(lmdb, path, flags, 0600), "env_open");
}
static void lmdb_commit(void)
{
    if (lmdb_txn) lmdb_need(mdb_txn_commit(lmdb_txn), "txn_commit");
    lmdb_txn   = NULL;
    lmdb_calls = lmdb_bytes = 0;
}
static void lmdb_open(void)
{
    lmdb_env();
    lmdb_need(mdb_txn_begin(lmdb, NULL, 0, &lmdb_txn), "txn_begin");
    lmdb_need(mdb_dbi_open(lmdb_txn, NULL, MDB_INTEGERKEY, &lmdb_table), "dbi_open");
    lmdb_commit();
}
/* One more call; a transaction for it. */
static inline void lmdb_call(size_t size)
{
    if (lmdb_calls == BATCH || lmdb_bytes + size > (size_t)4 * MI) lmdb_commit();
    if (!lmdb_txn) lmdb_need(mdb_txn_begin(lmdb, NULL, 0, &lmdb_txn), "txn_begin");
    lmdb_calls++;
    lmdb_bytes += size;
}
static inline int lmdb_write(uint64_t *name, const void *data, size_t size)
{
    lmdb_call(size);
    size_t  number = ++lmdb_key;
    MDB_val key    = {sizeof number, &number};
    MDB_val value  = {size, (void *)(uintptr_t)data};
    *name          = number;
    lmdb_need(mdb_put(lmdb_txn, lmdb_table, &key, &value, MDB_APPEND), "put");
    return 0;
}
static void lmdb_start_reads(void)
{
    lmdb_commit();
    lmdb_need(mdb_txn_begin(lmdb, NULL, MDB_RDONLY, &lmdb_txn), "txn_begin");
}
static inline MDB_val lmdb_get(uint64_t name)
{
    size_t  number = name;
    MDB_val key    = {sizeof number, &number}, value;
    if (++lmdb_calls == BATCH) {
        mdb_txn_reset(lmdb_txn);
        lmdb_need(mdb_txn_renew(lmdb_txn), "txn_renew");
        lmdb_calls = 0;
    }
    lmdb_need(mdb_get(lmdb_txn, lmdb_table, &key, &value), "get");
    return value;
}
static inline const void *lmdb_read(uint64_t name) { return lmdb_get(name).mv_data; }
static inline void        lmdb_copy(uint64_t name, size_t size)
{
    MDB_val value = lmdb_get(name);
    memcpy(buffer, value.mv_data, value.mv_size < size ? value.mv_size : size);
}
static inline void lmdb_free(uint64_t name)
{
    lmdb_call(0);
    size_t  number = name;
    MDB_val key    = {sizeof number, &number};
    lmdb_need(mdb_del(lmdb_txn, lmdb_table, &key, NULL), "del");
}
static void lmdb_close(void)
{
    lmdb_commit();
    mdb_env_close(lmdb);
}
static uint64_t lmdb_reopen(void)
{
    MDB_cursor *cursor;
    MDB_val     key, value;
    uint64_t    found = 0, sum = 0;
    lmdb_env();
    lmdb_need(mdb_txn_begin(lmdb, NULL, MDB_RDONLY, &lmdb_txn), "txn_begin");
    lmdb_need(mdb_dbi_open(lmdb_txn, NULL, MDB_INTEGERKEY, &lmdb_table), "dbi_open");
    lmdb_need(mdb_cursor_open(lmdb_txn, lmdb_table, &cursor), "cursor_open");
    for (; mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0; found++)
        sum += first_of(value.mv_data);
    floor_sum = (uint32_t)sum;
    return found;
}

static const struct subject subject_lmdb = {
    .name        = "lmdb",
    .open        = lmdb_open,
    .write       = lmdb_write,
    .commit      = lmdb_commit,
    .start_reads = lmdb_start_reads,
    .read        = lmdb_read,
    .copy        = lmdb_copy,
    .free        = lmdb_free,
    .sync        = lmdb_commit,
    .close       = lmdb_close,
    .reopen      = lmdb_reopen,
};
#endif

/* -- memkind -- */

#ifdef WITH_MEMKIND
static memkind_t memkind;

static void memkind_open(void)
{
    int error = memkind_create_pmem(dir, limited ? room : 0, &memkind);
    if (error) {
        char text[MEMKIND_ERROR_MESSAGE_SIZE];
        memkind_error_message(error, text, sizeof text);
        fail_text("create_pmem", text);
    }
}
static inline int memkind_write(uint64_t *name, const void *data, size_t size)
{
    void *value = memkind_malloc(memkind, size);
    if (!value) return ENOMEM;
    memcpy(value, data, size);
    *name = (uint64_t)(uintptr_t)value;
    return 0;
}
static inline void memkind_give_back(uint64_t name)
{
    memkind_free(memkind, (void *)(uintptr_t)name);
}

static const struct subject subject_memkind = {
    .name        = "memkind",
    .open        = memkind_open,
    .write       = memkind_write,
    .commit      = nothing,
    .start_reads = nothing,
    .read        = pointer_read,
    .free        = memkind_give_back,
};
#endif

/* -- Boost: overflow_peers.cc -- */

#ifdef WITH_BOOST
void *boost_open(const char *path, size_t bytes);
void *boost_allocate(size_t size);
void  boost_free(void *memory);
bool  boost_sync(void);

static unsigned char *boost_map; /* a name is an offset: what is left after a reopen */

static void boost_create(void)
{
    boost_map = boost_open(path, room);
    if (!boost_map) fail_text("open", "exception");
}
static inline int boost_write(uint64_t *name, const void *data, size_t size)
{
    unsigned char *value = boost_allocate(size);
    if (!value) return ENOMEM;
    memcpy(value, data, size);
    *name = (uint64_t)(value - boost_map);
    return 0;
}
static inline const void *boost_read(uint64_t name) { return boost_map + name; }
static inline void        boost_give_back(uint64_t name) { boost_free(boost_map + name); }
static inline void        boost_flush(void)
{
    if (!boost_sync()) fail_text("flush", "false");
}

static const struct subject subject_boost = {
    .name        = "boost",
    .open        = boost_create,
    .write       = boost_write,
    .commit      = nothing,
    .start_reads = nothing,
    .read        = boost_read,
    .free        = boost_give_back,
    .sync        = boost_flush,
};
#endif

/* ---- Workloads: inlined for each subject, so that no call goes through a pointer ---- */

#define WORKLOAD static inline __attribute__((always_inline)) void

/* A value begins with its place among the names, and the number of the operation. */
WORKLOAD put(const struct subject *s, uint32_t place, uint64_t number, size_t size)
{
    uint64_t stamp = number << 32 | place;
    memcpy(sample, &stamp, sizeof stamp);
    int error = s->write(&names[place], sample, size);
    if (error) fail("write", error);
}

WORKLOAD check(const struct subject *s, uint32_t place)
{
    if ((uint32_t)first_of(s->read(names[place])) != place) fail_text("check", "another value");
}

static size_t whole_mib(size_t size) { return (size + MI - 1) / MI * MI; }

/* Room for that many values. */
static size_t room_for(uint64_t count, size_t size)
{
    return whole_mib((size_t)count * (size + 2 * HEADER)) + (size_t)16 * MI;
}

static void make_names(uint64_t count)
{
    if (count > UINT32_MAX) fail_text("values", "too many");
    names = map_own(count * sizeof *names);
}

/* fill and sync; every: writes between two syncs, 0 = there is none. */
WORKLOAD writes(const struct subject *s, uint32_t every)
{
    uint32_t count = (uint32_t)ops, left = every;
    room    = room_for(ops, value_size);
    durable = every != 0;
    make_names(ops);
    warm(room);
    s->open();
    if (durable) quiet(); /* that the file is there has been synced */
    uint64_t start = now_ns();
    for (uint32_t i = 0; i < count; i++) {
        put(s, i, i, value_size);
        if (every == 0 || --left > 0) continue;
        s->sync();
        left = every;
    }
    if (every != 0 && left < every) s->sync();
    s->commit();
    uint64_t ns = now_ns() - start;
    report_ns(ns, ops);
    if (every != 0) report((double)ns / (double)ops, "us/1000");
    s->start_reads();
    for (int i = 0; i < 1000; i++) check(s, draw_below(count));
}

WORKLOAD fill(const struct subject *s) { writes(s, 0); }
WORKLOAD sync_often(const struct subject *s) { writes(s, BATCH); }

/* The names of values, written one after the other, in random order. */
WORKLOAD fill_shuffled(const struct subject *s)
{
    uint32_t *order = map_own(values * sizeof *order);
    for (uint32_t i = 0; i < values; i++) {
        uint32_t other = draw_below(i + 1);
        order[i]       = order[other];
        order[other]   = i;
    }
    s->open();
    for (uint32_t i = 0; i < values; i++) put(s, order[i], 0, value_size);
    s->commit();
    s->start_reads();
    munmap(order, values * sizeof *order);
}

WORKLOAD gets(const struct subject *s, bool copies)
{
    uint64_t sum = 0, want = 0;
    uint32_t place = 0;
    room           = room_for(values, value_size);
    make_names(values);
    fill_shuffled(s);
    uint64_t start = now_ns();
    for (uint64_t i = 0; i < ops; i++) {
        if (++place == values) place = 0;
        if (copies) s->copy(names[place], value_size);
        sum += first_of(copies ? buffer : s->read(names[place]));
        want += place;
    }
    uint64_t ns = now_ns() - start;
    if (sum != want) fail_text("check", "other values");
    report_ns(ns, ops);
}

WORKLOAD get_many(const struct subject *s)
{
    uint64_t sum = 0, want = 0;
    values       = values / MANY * MANY;
    room         = room_for(values, value_size);
    make_names(values);
    fill_shuffled(s);
    uint64_t start = now_ns();
    for (uint64_t i = 0; i < ops; i += MANY) sum += s->read_many(names + i % values, MANY);
    uint64_t ns = now_ns() - start;
    for (uint64_t i = 0; i < ops; i += MANY)
        for (uint64_t k = 0; k < MANY; k++) want += i % values + k;
    if (sum != want) fail_text("check", "other values");
    report_ns(ns, ops);
}

/* The names of the values that are freed are in random order already. */
WORKLOAD frees(const struct subject *s)
{
    if (ops > values) ops = values;
    room = room_for(values, value_size);
    make_names(values);
    fill_shuffled(s);
    uint64_t start = now_ns();
    for (uint64_t i = 0; i < ops; i++) s->free(names[i]);
    report_ns(now_ns() - start, ops);
}

WORKLOAD free_many(const struct subject *s)
{
    if (ops > values) ops = values;
    ops  = ops / MANY * MANY;
    room = room_for(values, value_size);
    make_names(values);
    fill_shuffled(s);
    uint64_t start = now_ns();
    for (uint64_t i = 0; i < ops; i += MANY) s->free_many(names + i, MANY);
    report_ns(now_ns() - start, ops);
}

WORKLOAD get(const struct subject *s) { gets(s, false); }
WORKLOAD copy(const struct subject *s) { gets(s, true); }

/* That many frees with a write each. */
WORKLOAD churn_on(const struct subject *s, uint64_t count, uint32_t most, uint16_t *sizes)
{
    for (uint64_t i = 0; i < count; i++) {
        uint32_t place = draw_below(values), size = draw_size(LEAST, most);
        s->free(names[place]);
        put(s, place, i, size);
        if (sizes) sizes[place] = (uint16_t)size;
    }
}

WORKLOAD check_all(const struct subject *s)
{
    s->start_reads();
    for (uint32_t i = 0; i < values && !s->overlaps; i++) check(s, i);
}

/* Twice as many values as shall live, and every other is a hole. */
WORKLOAD make_holes(const struct subject *s)
{
    for (uint32_t i = 0; i < values; i++) {
        put(s, i, 0, draw_size(LEAST, (uint32_t)value_size));
        put(s, values + i, 0, draw_size(LEAST, (uint32_t)value_size));
    }
    for (uint32_t i = 0; i < values; i++) s->free(names[values + i]);
}

WORKLOAD churn(const struct subject *s)
{
    uint64_t ns = 0, burst = values / 4 + 1;
    room = room_for((uint64_t)values * 2, value_size);
    make_names((uint64_t)values * 2);
    s->open();
    make_holes(s);
    warm_memory((size_t)values * 128); /* what is there is touched; the rest is growth */
    for (uint64_t left = ops; left > 0;) {
        uint64_t count = burst < left ? burst : left, start = now_ns();
        churn_on(s, count, (uint32_t)value_size, NULL);
        ns += now_ns() - start;
        left -= count;
        if (left == 0) break;
        for (uint32_t i = 0; i < values; i++) s->free(names[i]);
        if (s->clear) s->clear();
        make_holes(s);
    }
    s->commit();
    report_ns(ns, ops);
    check_all(s);
    if (s->holes) s->holes(false);
}

WORKLOAD reopen(const struct subject *s)
{
    room = room_for(values, value_size);
    make_names(values);
    s->open();
    for (uint32_t i = 0; i < values; i++) put(s, i, 0, value_size);
    s->close();
    uint64_t start = now_ns();
    uint64_t found = s->reopen();
    uint64_t ns    = now_ns() - start;
    if (found != values) fail_text("check", "not all values are there");
    report_ns(ns, values);
    report((double)ns / 1e6, "ms");
}

/* Its values are as many as fill the region; to begin with, values is a guess. */
WORKLOAD fill_region(const struct subject *s, uint16_t *sizes, uint64_t count)
{
    uint64_t payload = 0;
    for (values = 0; values < count && payload * 100 < (uint64_t)room * FULL; values++) {
        sizes[values] = (uint16_t)draw_size(LEAST, LARGE);
        payload += sizes[values];
        put(s, values, 0, sizes[values]);
    }
    s->commit();
}

WORKLOAD fragment(const struct subject *s)
{
    uint64_t payload = 0, more = 0, name;
    size_t   mean = (LEAST + LARGE) / 2;
    limited       = true;
    room          = whole_mib(values * mean * 100 / FULL);
    if (room < (size_t)16 * MI) room = (size_t)16 * MI; /* memkind takes no less */
    uint64_t  count = room / mean;
    uint16_t *sizes = map_own(count * sizeof *sizes);
    make_names(count);
    s->open();
    fill_region(s, sizes, count);
    uint64_t start = now_ns();
    churn_on(s, ops, LARGE, sizes);
    s->commit();
    report_ns(now_ns() - start, ops);
    check_all(s);
    for (uint32_t i = 0; i < values; i++) payload += sizes[i];
    if (s->holes) s->holes(false);
    while (s->write(&name, sample, LARGE) == 0) more++;
    report((double)more, "4k-writes");
    if (s->holes) s->holes(true);
    report((double)(payload + more * LARGE) * 100 / (double)room, "payload-%");
}

/* ---- The table of what can be run ---- */

#define DO(s, what) \
    static void run_##s##_##what(void) { what(&subject_##s); }
#define WITH(workload, s, what, ops, values, size)                  \
    {                                                               \
        workload, &subject_##s, run_##s##_##what, ops, values, size \
    }
#define WITHOUT                   \
    {                             \
        NULL, NULL, NULL, 0, 0, 0 \
    }

DO(ashlar, fill)
DO(ashlar, get)
DO(ashlar, get_many)
DO(ashlar, frees)
DO(ashlar, free_many)
DO(reserve, fill)
DO(ashlar, copy)
DO(ashlar, churn)
DO(ashlar, reopen)
DO(ashlar, sync_often)
DO(ashlar, fragment)
DO(floor, fill)
DO(floor, get)
DO(floor, get_many)
DO(floor, copy)
DO(floor, churn)
DO(floor, reopen)
DO(floor, sync_often)
DO(touch, fill)
DO(populate, fill)
DO(plain, fill)
DO(plain, get)
DO(plain, copy)
DO(plain, sync_often)
#ifdef WITH_LMDB
DO(lmdb, fill)
DO(lmdb, get)
DO(lmdb, copy)
DO(lmdb, churn)
DO(lmdb, reopen)
DO(lmdb, sync_often)
#define LMDB(workload, what, ops, values, size) WITH(workload, lmdb, what, ops, values, size)
#else
#define LMDB(workload, what, ops, values, size) WITHOUT
#endif
#ifdef WITH_MEMKIND
DO(memkind, fill)
DO(memkind, get)
DO(memkind, frees)
DO(memkind, churn)
DO(memkind, fragment)
#define MEMKIND(workload, what, ops, values, size) WITH(workload, memkind, what, ops, values, size)
#else
#define MEMKIND(workload, what, ops, values, size) WITHOUT
#endif
#ifdef WITH_BOOST
DO(boost, fill)
DO(boost, get)
DO(boost, frees)
DO(boost, churn)
DO(boost, sync_often)
DO(boost, fragment)
#define BOOST(workload, what, ops, values, size) WITH(workload, boost, what, ops, values, size)
#else
#define BOOST(workload, what, ops, values, size) WITHOUT
#endif

enum { READS = 8000000, READ = 1000000, CHURNS = 500000, SYNCS = 200000, FRAGMENTS = 10000000 };

#define WRITES(workload, ops, size)                                                              \
    WITH(workload, ashlar, fill, ops, 1, size), WITH(workload, reserve, fill, ops, 1, size),     \
        WITH(workload, floor, fill, ops, 1, size),                                               \
        WITH(workload, touch, fill, ops, 1, size), WITH(workload, populate, fill, ops, 1, size), \
        WITH(workload, plain, fill, ops, 1, size), LMDB(workload, fill, ops, 1, size),           \
        MEMKIND(workload, fill, ops, 1, size), BOOST(workload, fill, ops, 1, size)
#define CHURN(workload, values)                                                                    \
    WITH(workload, ashlar, churn, CHURNS, values, 448),                                            \
        WITH(workload, floor, churn, CHURNS, values, 448),                                         \
        LMDB(workload, churn, CHURNS, values, 448), MEMKIND(workload, churn, CHURNS, values, 448), \
        BOOST(workload, churn, CHURNS, values, 448)
#define REOPEN(workload, values)                                                                 \
    WITH(workload, ashlar, reopen, 1, values, 64), WITH(workload, floor, reopen, 1, values, 64), \
        LMDB(workload, reopen, 1, values, 64)
#define FRAGMENT(workload, values)                          \
    WITH(workload, ashlar, fragment, FRAGMENTS, values, 0), \
        MEMKIND(workload, fragment, FRAGMENTS, values, 0),  \
        BOOST(workload, fragment, FRAGMENTS, values, 0)

static const struct run {
    const char           *workload; /* without its place; NULL: not compiled in */
    const struct subject *subject;
    void (*run)(void);
    uint64_t ops;
    uint32_t values;
    uint32_t size;
} runs[] = {
    WRITES("write-256", 2 * MI, 256),
    WRITES("write-4k", 128 * KI, 4 * KI),
    WRITES("write-64k", 8 * KI, 64 * KI),
    WITH("read", ashlar, get, READS, READ, 256),
    WITH("read", floor, get, READS, READ, 256),
    WITH("read", plain, get, READS, READ, 256),
    LMDB("read", get, READS, READ, 256),
    MEMKIND("read", get, READS, READ, 256),
    BOOST("read", get, READS, READ, 256),
    WITH("read-many", ashlar, get_many, READS, READ, 256),
    WITH("read-many", floor, get_many, READS, READ, 256),
    WITH("free", ashlar, frees, READ, READ, 256),
    MEMKIND("free", frees, READ, READ, 256),
    BOOST("free", frees, READ, READ, 256),
    WITH("free-many", ashlar, free_many, READ, READ, 256),
    WITH("read-copy", ashlar, copy, READS, READ, 256),
    WITH("read-copy", floor, copy, READS, READ, 256),
    WITH("read-copy", plain, copy, READS, READ, 256),
    LMDB("read-copy", copy, READS, READ, 256),
    CHURN("churn-100", 100),
    CHURN("churn-10k", 10000),
    CHURN("churn-1m", 1000000),
    REOPEN("reopen-100k", 100000),
    REOPEN("reopen-1m", 1000000),
    REOPEN("reopen-10m", 10000000),
    WITH("sync", ashlar, sync_often, SYNCS, 1, 256),
    WITH("sync", floor, sync_often, SYNCS, 1, 256),
    WITH("sync", plain, sync_often, SYNCS, 1, 256),
    LMDB("sync", sync_often, SYNCS, 1, 256),
    BOOST("sync", sync_often, SYNCS, 1, 256),
    FRAGMENT("fragment-64m", 25811),
    FRAGMENT("fragment-1g", 412977),
};
enum { RUN_COUNT = sizeof runs / sizeof *runs };

static const char *const places[] = {"disk-", "shm-"};

static const char *shm(void) { return access("/dev/shm", W_OK) == 0 ? "/dev/shm" : NULL; }

/* The directory of disk-... without --dir. */
static const char *disk(void)
{
    const char *named = getenv("TMPDIR");
    if (named && *named) return named;
    return access("build", W_OK) == 0 ? "build" : ".";
}

static const char usage[] =
    "usage: overflow_bench WORKLOAD SUBJECT [--ops N] [--values N] [--size N] [--dir DIR]\n"
    "       overflow_bench --list    prints every workload and subject\n"
    "Workloads are disk-... for a file in DIR, and shm-... for one in /dev/shm.\n";

static int list(void)
{
    for (int place = 0; place < 2; place++)
        for (int i = 0; i < RUN_COUNT && (place == 0 || shm()); i++)
            if (runs[i].workload)
                printf("%s%s %s\n", places[place], runs[i].workload, runs[i].subject->name);
    return 0;
}

static const struct run *find(char **argv)
{
    bool known = false;
    for (int place = 0; place < 2; place++) {
        size_t len = strlen(places[place]);
        if (strncmp(argv[1], places[place], len) != 0) continue;
        dir = place == 0 ? disk() : shm();
        for (int i = 0; i < RUN_COUNT; i++) {
            if (!runs[i].workload || strcmp(runs[i].workload, argv[1] + len) != 0) continue;
            known = true;
            if (strcmp(runs[i].subject->name, argv[2]) == 0) return &runs[i];
        }
    }
    bench_not_found(argv, known);
}

/* The file is removed however we end, but for kill -9. */
static void name_files(void)
{
    struct statfs system;
    need(dir && statfs(dir, &system) == 0, "dir");
    if (strncmp(workload, "disk-", 5) == 0 && system.f_type == 0x01021994) /* TMPFS_MAGIC */
        fprintf(stderr, "overflow_bench: %s is not on a disk; give a --dir\n", dir);
    int len = snprintf(path, sizeof path, "%s/overflow_bench.%d", dir, (int)getpid());
    if (len < 0 || (size_t)len >= sizeof path) fail("dir", ENAMETOOLONG);
    snprintf(lock_path, sizeof lock_path, "%s-lock", path); /* lmdb's */
    atexit(remove_files);
    const int ends[] = {SIGHUP, SIGINT, SIGTERM, SIGABRT, SIGBUS, SIGSEGV, SIGXFSZ};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) signal(ends[i], ended_by);
}

int main(int argc, char **argv)
{
    bench_begin(argc, argv, "overflow_bench", usage);
    if (argc == 2) return list();
    const struct run         *run   = find(argv);
    uint64_t                  count = run->values, size = run->size;
    const char               *place     = NULL;
    const struct bench_option options[] = {
        {"--ops", &ops, 1, 1 << 30, NULL},
        {"--values", &count, 1, 1 << 28, NULL},
        {"--size", &size, LEAST, VALUE_MOST, NULL},
        {"--dir", NULL, 0, 0, &place},
        {NULL, NULL, 0, 0, NULL},
    };
    ops = run->ops;
    bench_options(argc, argv, options);
    values     = (uint32_t)count;
    value_size = (size_t)size;
    subject    = run->subject->name;
    snprintf(workload, sizeof workload, "%s", argv[1]);
    if (place && strncmp(workload, "disk-", 5) == 0) dir = place;
    pin((size_t)sysconf(_SC_NPROCESSORS_ONLN) - 1);
    name_files();
    memset(sample, 1, sizeof sample);
    memset(buffer, 1, sizeof buffer);
    quiet();
    run->run();
    return 0;
}
