/* treecache [--budget BYTES] [--spill FILE [--keep]] [--metrics FILE] [--serve PORT] [DIR] - serves
 * a directory tree from a cache with a budget of memory, and from a file what that has no room for.
 *
 * Goal: show that a slab_store keeps what is asked for most within its budget, that an
 * overflow_region keeps the rest, also for the next run and after a kill -9, that an io_uring reads
 * into frames of a fixedpool, many at a time, that pages of a slab_pool cross between threads
 * without a lock or a lost byte, and that buffers of a bufpool come back with the last view of
 * them, each billed to its tenant to the byte; on real files.
 *
 * Method: the data plane, one thread, walks DIR for names and sizes, and fits the tiers of the
 * store to them. Two control planes ask for each of their files once, and for popular ones again
 * and again, in random order. A request is a 64-bit slot with its place in the plan; the answer is
 * one slab_id, a 64-bit slot too, for each piece of the file: as much as fits a page. The control
 * plane compares the pages with what pread finds in the file and returns them.
 *
 *     control plane ---- requests -----------------> data plane: is the piece in the store?
 *     (two of them)                                        | yes          no: in the region?
 *                                                          v             | yes          | no
 *                   <--- replies: ids of ---- pages <-- slab_store <-----+-- frames <-- files
 *                   ---- slab_pool_return_many ->  |       |             |       io_uring
 *                                                  v    full: compact, or    |
 *                   ---- bufpool_view_drop --> buffers  the coldest piece --> overflow_region
 *                                                                            | full:
 *                                                                       the oldest piece goes
 *
 * When the store is full, compact makes sure that no tier keeps a chunk another could use; then the
 * coldest piece goes, of whatever tier, until there is room. A value begins with the address of its
 * piece's record: so it is known whose ref changes when compact moves it. What finds no room in an
 * empty store, and files larger than the budget, are read straight into the answer. Names and
 * records are in malloc'ed memory, outside the budget and counted apart.
 *
 * A file of more than one piece, up to 10 MiB, is put together in one buffer, and each page has a
 * view of the next range of it in place of the piece itself. The data plane lets go of the buffer
 * when it has cut the last one, and never sees it again: the control plane that drops the last view
 * gives it back. Each directory at the top of DIR is a tenant, and DIR itself, ".", for the files
 * that are directly in it. A tenant pays for its buffers on their way, and for what the store has
 * of its files; more than half of the budget is beyond its limit, which is only counted. One more
 * thread serves these figures by HTTP or in a file. When the store is emptied at the end, every
 * account must be zero.
 *
 * Before each turn of a control plane, the data plane looks at the pieces that the next turn of
 * each will ask for, and begins to read what is neither in the store nor in the region: by an
 * io_uring, into frames that the kernel has mapped once and for all. A piece that was there then,
 * and is gone when its turn comes, is read so, too. Without io_uring, or with --no-ring, pread
 * reads.
 *
 * What goes from the store is spilled to the region, and stays there when it comes back to the
 * store: to evict it again costs nothing. A spilled piece begins with a key that says of which
 * state of which file it is; so the next run knows it again, and takes it only if the file is what
 * it was.
 *
 * Nobody can wait in a circle: the one thing that runs out is pages, those are in the hands of
 * control planes, and these return all they hold before they sleep. The last line counts what was
 * found; the exit status is 1 if anything is wrong, 2 if the arguments are.
 */
#define _GNU_SOURCE       1
#define _FILE_OFFSET_BITS 64

#define SLAB_API static inline
#define SLAB_IMPLEMENTATION
#include "../slab.h"
#define OVERFLOW_API static inline
#define OVERFLOW_IMPLEMENTATION
#include "../overflow.h"
#define FIXEDPOOL_API static inline
#define FIXEDPOOL_IMPLEMENTATION
#include "../fixedpool.h"
#define BUFPOOL_API static inline
#define BUFPOOL_IMPLEMENTATION
#include "../bufpool.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    PAGE_BYTES     = 8 * 1024, /* the largest slot, too: see TIERS_MAX */
    PAGE_COUNT     = 256,      /* even one would do */
    ASKED_MAX      = 256,      /* requests of a control plane that are not answered to the end */
    QUEUE_SLOTS    = 512,      /* a power of two */
    BURST          = 16,       /* pages for one control plane before the other has its turn */
    CONTROL_PLANES = 2,
    READS_MAX      = CONTROL_PLANES * BURST, /* in flight: what the next turn of each may need */
    OPEN_FILES     = READS_MAX + 32,         /* at most, with a file open for each of those */
    ASKED_AGAIN    = 2,                      /* requests by popularity for each file there is */
    LINE           = 64,
    NOTES_PRINTED  = 10, /* of each kind; the rest are counted */
    NOTE_PATH_MAX  = 200,
    SETTLED_NS     = 20 * 1000 * 1000, /* see walk */

    /* A full store wastes the end of each file's last slot, and in each tier what does not make a
     * free chunk. Small pieces make little of both: on /usr/include with a quarter of its bytes,
     * pages of 8 KiB and 15 tiers fill more than nine tenths of the memory with content, pages of
     * 64 KiB less than eight. More tiers fit better, but leave more chunks in part: 31 are no gain,
     * and with a small budget even 15 are too many. */
    TIERS_MAX     = 15,
    TIER_SHARE    = 512 * 1024, /* of the budget, for each tier */
    COMPACT_MOVES = 64,         /* values, before it is tried whether there is room */

    /* The default budget is a quarter of what the files hold, so that some must go. */
    BUDGET_PART  = 4,
    BUDGET_MIN   = 1024 * 1024,
    BUDGET_MAX   = 1024 * 1024 * 1024,
    BUDGET_SHARE = 2,                  /* part of it that is the soft limit of a tenant */
    FILE_MAX     = 1024 * 1024 * 1024, /* larger files are skipped: /proc/kcore claims 128 TiB */

    SPILL_INITIAL = 1024 * 1024, /* of the region; it grows as it is filled */
    SPILL_DEFAULT = 1024 * 1024 * 1024,
    SPILL_MIN     = 16 * 1024,  /* as overflow_open says, and so is SPILL_MAX */
    SPILL_TAG     = 0x65657274, /* of our values in a region: "tree" */
    SPILL_VERSION = 1,          /* another if anything in struct spilled changes, or PIECE_BYTES */

    NAME_BYTES = 255, /* of a tenant; few file systems have longer names */

    METRICS_MS  = 1000, /* from one text in the file to the next */
    CLIENT_MS   = 1000, /* for a client to ask, and again to take the answer */
    TICK_MS     = 100,
    CLIENTS     = 16, /* that are asking, at a time */
    REQUEST_MAX = 2048,
    PORT_MAX    = 65535,
};

#define SPILL_MAX (SIZE_MAX / 2 < UINT64_C(1) << 40 ? SIZE_MAX / 2 : (size_t)(UINT64_C(1) << 40))

#define FILE_FLAGS (O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY)

static_assert((QUEUE_SLOTS & (QUEUE_SLOTS - 1)) == 0, "positions wrap to slots with a mask");
static_assert(QUEUE_SLOTS >= PAGE_COUNT + ASKED_MAX, "a reply always has a slot, be it a refusal");
static_assert(sizeof(slab_id) == sizeof(uint64_t), "an id is a slot");

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* -- Bell: one thread sleeps, any thread wakes it -- */

enum { QUIET, RUNG, ASLEEP };

struct bell {
    alignas(LINE) _Atomic(uint32_t) state; /* its sleeper sets QUIET and ASLEEP, any thread RUNG */
};

/* Any thread, after it made work for the sleeper. */
static void bell_ring(struct bell *bell)
{
    /* release, pairs with the exchange in bell_wait: the sleeper sees the work made before. */
    if (atomic_exchange_explicit(&bell->state, RUNG, memory_order_release) == ASLEEP)
        syscall(SYS_futex, &bell->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* The sleeper, having found no work. Comes back at once if the bell rang since the last time, so
 * work that came between the look and the sleep is not slept over. */
static void bell_wait(struct bell *bell)
{
    uint32_t state = QUIET;

    /* relaxed, here and in the loop: only whether to sleep; the exchange fetches the work. */
    if (atomic_compare_exchange_strong_explicit(&bell->state, &state, ASLEEP, memory_order_relaxed,
                                                memory_order_relaxed))
        while (atomic_load_explicit(&bell->state, memory_order_relaxed) == ASLEEP)
            syscall(SYS_futex, &bell->state, FUTEX_WAIT_PRIVATE, ASLEEP, NULL, NULL, 0);
    /* acquire, pairs with the release of every ring so far: each is an exchange, so the last one
       carries the others. */
    atomic_exchange_explicit(&bell->state, QUIET, memory_order_acquire);
}

/* -- Queue: one thread pushes, one thread pops -- */

struct queue {
    alignas(LINE) _Atomic(uint64_t) pushed; /* the pusher writes */
    alignas(LINE) _Atomic(uint64_t) popped; /* the popper writes */
    alignas(LINE) uint64_t slots[QUEUE_SLOTS];
};

/* Pusher. False: full. Both counts only grow, and have one writer each: no ABA. */
static bool queue_push(struct queue *queue, uint64_t slot)
{
    /* relaxed: our own count. */
    uint64_t pushed = atomic_load_explicit(&queue->pushed, memory_order_relaxed);
    /* acquire, pairs with the release in queue_pop: the slot was read before we write it again. */
    if (pushed - atomic_load_explicit(&queue->popped, memory_order_acquire) == QUEUE_SLOTS)
        return false;
    queue->slots[pushed & (QUEUE_SLOTS - 1)] = slot;
    /* release, pairs with the acquire in queue_pop: the slot and what it names are written. */
    atomic_store_explicit(&queue->pushed, pushed + 1, memory_order_release);
    return true;
}

/* Popper. False: empty. */
static bool queue_pop(struct queue *queue, uint64_t *slot)
{
    /* relaxed: our own count. */
    uint64_t popped = atomic_load_explicit(&queue->popped, memory_order_relaxed);
    /* acquire, pairs with the release in queue_push: the slot and what it names are written. */
    if (popped == atomic_load_explicit(&queue->pushed, memory_order_acquire)) return false;
    *slot = queue->slots[popped & (QUEUE_SLOTS - 1)];
    /* release, pairs with the acquire in queue_push: we have read the slot. */
    atomic_store_explicit(&queue->popped, popped + 1, memory_order_release);
    return true;
}

/* -- The ring -- */

/* A read by the ring, into the frame of the same number. */
struct read {
    const struct file *file; /* NULL: nobody wants it any more */
    size_t             offset;
    bool               flying; /* begun, and not yet complete */
    int32_t            result; /* bytes; or -errno */
};

/* An io_uring, of the data plane alone. Its rules:
 * - A read has a frame of its own from its begin until it is taken. There are as many frames as
 *   places for submissions, and half as many as for completions: neither queue is ever full.
 * - No piece is read twice at a time: what needs it first takes the read, whatever began it.
 * - What nobody needs any more is forgotten, but keeps its frame while the kernel may write to it.
 * - What failed, or came short, is left to pread: that says why. */
struct uring {
    bool       off; /* an argument */
    bool       on;  /* false: nothing is read so */
    int        fd;  /* -1: there is none */
    fixedpool *frames;

    /* Shared with the kernel. We write sq_tail and cq_head, the kernel sq_head and cq_tail. */
    void                      *map;
    size_t                     map_size, entries_size;
    _Atomic(uint32_t)         *sq_head, *sq_tail, *cq_head, *cq_tail;
    struct io_uring_sqe       *submissions; /* as map, MAP_FAILED if there is none */
    const struct io_uring_cqe *completions;
    uint32_t                   sq_mask, cq_mask;

    struct read reads[READS_MAX];
    uint64_t    taken, bytes; /* reads, and what they brought */
    uint64_t    left;         /* to pread */
    uint32_t    in_flight;    /* submitted and not reaped, at most */
};

static bool map_ring(struct uring *ring, const struct io_uring_params *params)
{
    static const int access = PROT_READ | PROT_WRITE, flags = MAP_SHARED | MAP_POPULATE;
    const struct io_sqring_offsets *sq = &params->sq_off;
    const struct io_cqring_offsets *cq = &params->cq_off;

    errno = ENOTSUP; /* Linux before 5.4 */
    if (!(params->features & IORING_FEAT_SINGLE_MMAP)) return false;
    size_t sq_size     = sq->array + params->sq_entries * sizeof(uint32_t);
    size_t cq_size     = cq->cqes + params->cq_entries * sizeof *ring->completions;
    ring->map_size     = sq_size > cq_size ? sq_size : cq_size;
    ring->entries_size = params->sq_entries * sizeof *ring->submissions;
    ring->map          = mmap(NULL, ring->map_size, access, flags, ring->fd, IORING_OFF_SQ_RING);
    if (ring->map == MAP_FAILED) return false;
    ring->submissions = mmap(NULL, ring->entries_size, access, flags, ring->fd, IORING_OFF_SQES);
    if (ring->submissions == MAP_FAILED) return false;

    unsigned char *at = ring->map;
    ring->sq_head     = (_Atomic(uint32_t) *)(void *)(at + sq->head);
    ring->sq_tail     = (_Atomic(uint32_t) *)(void *)(at + sq->tail);
    ring->cq_head     = (_Atomic(uint32_t) *)(void *)(at + cq->head);
    ring->cq_tail     = (_Atomic(uint32_t) *)(void *)(at + cq->tail);
    ring->completions = (const struct io_uring_cqe *)(void *)(at + cq->cqes);
    ring->sq_mask     = params->sq_entries - 1;
    ring->cq_mask     = params->cq_entries - 1;
    /* The queue of submissions holds numbers of entries: each place its own, for ever. */
    for (uint32_t i = 0; i < params->sq_entries; i++) ((uint32_t *)(void *)(at + sq->array))[i] = i;
    return true;
}

/* NULL: it is on. Else what failed, and errno. */
static const char *open_ring(struct uring *ring)
{
    fixedpool_config       shape  = {.frame_size = PAGE_BYTES, .frame_count = READS_MAX};
    struct io_uring_params params = {0};
    struct rlimit          files;

    errno = EMFILE; /* Each read may be of a file of its own, which stays open until it is taken. */
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < OPEN_FILES) return "ulimit -n";
    ring->fd = (int)syscall(SYS_io_uring_setup, READS_MAX, &params);
    if (ring->fd < 0) return "io_uring_setup";
    if (!map_ring(ring, &params)) return "mmap of the ring";
    errno = -fixedpool_create(&ring->frames, &shape);
    if (errno) return "fixedpool_create";
    errno = -fixedpool_register(ring->frames, ring->fd);
    if (errno) return "fixedpool_register";
    ring->on = true;
    /* Nothing to do; only whether we may. */
    return syscall(SYS_io_uring_enter, ring->fd, 0, 0, 0, NULL, 0) == 0 ? NULL : "io_uring_enter";
}

/* Submits what was begun, and waits for a completion, if asked. What it could not submit, for want
 * of memory or by an interrupt, the next call does. */
static void enter(struct uring *ring, bool wait)
{
    unsigned flags = wait ? IORING_ENTER_GETEVENTS : 0;

    /* relaxed: our own count. acquire, pairs with the kernel's release: it has read the entries. */
    uint32_t begun = atomic_load_explicit(ring->sq_tail, memory_order_relaxed) -
                     atomic_load_explicit(ring->sq_head, memory_order_acquire);
    if (begun == 0 && !wait) return;
    long result = syscall(SYS_io_uring_enter, ring->fd, begun, wait ? 1 : 0, flags, NULL, 0);
    assert(result >= 0 || errno == EINTR || errno == EAGAIN || errno == EBUSY);
    (void)result;
    /* relaxed, both: only for the table, and in step as it is. */
    uint32_t in_flight = atomic_load_explicit(ring->sq_head, memory_order_relaxed) -
                         atomic_load_explicit(ring->cq_head, memory_order_relaxed);
    if (in_flight > ring->in_flight) ring->in_flight = in_flight;
}

/* Its frame is free, at once or when it is complete. */
static void forget(struct uring *ring, struct read *read)
{
    read->file = NULL;
    if (read->flying) return;
    int error = fixedpool_free(ring->frames, (int)(read - ring->reads));
    assert(error == 0);
    (void)error;
}

/* Notes which reads are complete. */
static void reap(struct uring *ring)
{
    /* relaxed: our own count. */
    uint32_t head = atomic_load_explicit(ring->cq_head, memory_order_relaxed);
    /* acquire, pairs with the kernel's release: the entries are written, and the frames. */
    uint32_t tail = atomic_load_explicit(ring->cq_tail, memory_order_acquire);

    for (; head != tail; head++) {
        const struct io_uring_cqe *completion = &ring->completions[head & ring->cq_mask];
        struct read               *read       = &ring->reads[completion->user_data];
        read->result                          = completion->res;
        read->flying                          = false;
        if (!read->file) forget(ring, read);
    }
    /* release, pairs with the kernel's acquire: we have read the entries. */
    atomic_store_explicit(ring->cq_head, head, memory_order_release);
}

static void await(struct uring *ring, const struct read *read)
{
    reap(ring);
    while (read->flying) {
        enter(ring, true);
        reap(ring);
    }
}

/* NULL: it was not begun. */
static struct read *find_read(struct uring *ring, const struct file *file, size_t offset)
{
    for (struct read *read = ring->reads; read < ring->reads + READS_MAX; read++)
        if (read->file == file && read->offset == offset) return read;
    return NULL;
}

/* For enter to submit. NULL: the ring is off, there is nothing to read, or no frame is left. */
static struct read *begin_read(struct uring *ring, int fd, const struct file *file, size_t offset,
                               size_t len)
{
    int frame = ring->on && len > 0 ? fixedpool_alloc(ring->frames) : -1;

    if (frame < 0) return NULL;
    /* relaxed: our own count. */
    uint32_t tail      = atomic_load_explicit(ring->sq_tail, memory_order_relaxed);
    ring->reads[frame] = (struct read){.file = file, .offset = offset, .flying = true};
    ring->submissions[tail & ring->sq_mask] = (struct io_uring_sqe){
        .opcode    = IORING_OP_READ_FIXED,
        .fd        = fd,
        .off       = offset,
        .addr      = (uintptr_t)fixedpool_ptr(ring->frames, frame),
        .len       = (uint32_t)len,
        .buf_index = fixedpool_buf_index(ring->frames, frame),
        .user_data = (uint32_t)frame,
    };
    /* release, pairs with the kernel's acquire: the entry is written. */
    atomic_store_explicit(ring->sq_tail, tail + 1, memory_order_release);
    return &ring->reads[frame];
}

/* Waits for it, and fills the buffer. False: it did not bring len bytes. */
static bool take_read(struct uring *ring, struct read *read, unsigned char *buffer, size_t len)
{
    await(ring, read);
    bool good = read->result == (int32_t)len;
    if (good) memcpy(buffer, fixedpool_ptr(ring->frames, (int)(read - ring->reads)), len);
    if (good) ring->bytes += len;
    ring->taken += good;
    ring->left += !good;
    forget(ring, read);
    return good;
}

/* All reads of a file, or of any. */
static void forget_reads(struct uring *ring, const struct file *file)
{
    for (struct read *read = ring->reads; read < ring->reads + READS_MAX; read++)
        if (read->file && (read->file == file || !file)) forget(ring, read);
}

/* False: something is still in use, or was lost; and that was said. */
static bool close_ring(struct uring *ring)
{
    int unregistered = 0;

    forget_reads(ring, NULL);
    for (size_t i = 0; ring->on && i < READS_MAX; i++) await(ring, &ring->reads[i]);
    if (ring->on) unregistered = fixedpool_unregister(ring->frames, ring->fd);
    if (ring->submissions != MAP_FAILED) munmap(ring->submissions, ring->entries_size);
    if (ring->map != MAP_FAILED) munmap(ring->map, ring->map_size);
    if (ring->fd >= 0) close(ring->fd);
    int destroyed = fixedpool_destroy(ring->frames);
    ring->on      = false;
    if (unregistered) fprintf(stderr, "treecache: unregister: %s\n", strerror(-unregistered));
    if (destroyed) fprintf(stderr, "treecache: frames of the ring: %s\n", strerror(-destroyed));
    return unregistered == 0 && destroyed == 0;
}

static void start_ring(struct uring *ring)
{
    ring->fd          = -1;
    ring->map         = MAP_FAILED;
    ring->submissions = MAP_FAILED;
    const char *what  = ring->off ? NULL : open_ring(ring);
    if (!what) return;
    fprintf(stderr, "treecache: %s: %s; reading with pread\n", what, strerror(errno));
    close_ring(ring);
}

/* -- The cache -- */

enum outcome { UNSEEN, VERIFIED, SYMLINK, SKIPPED, CHANGED, WRONG, OUTCOMES }; /* worse and worse */

/* What the file system says of a file. New content shows in it, unless it came through mmap or by a
 * single write of more than SETTLED_NS. */
struct identity {
    dev_t           device;
    ino_t           inode;
    off_t           size;
    struct timespec modified, status_changed;
};

/* PIECE_BYTES of a file, or what is left of it; an empty file has one piece, of 0 bytes. The data
 * plane's. In the store if it is linked: between the next colder and the next warmer one. In the
 * region if it was spilled, be it in the store or not. */
struct piece {
    struct file  *file;
    struct piece *colder, *warmer;
    slab_ref      ref;
    uint32_t      len;
    overflow_ref  spilled; /* 0: it is not in the region */
    struct piece *newer;   /* spilled next after it */
};

/* A piece in the store. */
struct value {
    struct piece *piece;
    unsigned char content[];
};

enum { PIECE_BYTES = PAGE_BYTES - sizeof(struct value) };

/* One name in the tree. */
struct file {
    /* Constant while the control planes run. */
    struct file    *next; /* those of a tenant lie together */
    struct identity identity;
    bufpool_tenant *tenant; /* its directory at the top, or "."; NULL: no memory for one */

    /* The data plane's. */
    struct piece *pieces; /* NULL: not asked for yet, or larger than the budget */

    /* The one control plane that asks for the file writes them; read when that has ended. */
    enum outcome outcome; /* the worst of its answers */
    int          error;   /* errno, or 0 */

    char path[]; /* below the root; of any length */
};

/* What a value in the region begins with, where a piece was spilled. The path follows, without a
 * NUL, then the content. */
struct spilled {
    uint32_t version; /* SPILL_VERSION */
    uint32_t path_len;
    uint64_t offset; /* of the piece, in the file */
    uint64_t size;   /* of the file; this and what follows as in struct identity */
    uint64_t device, inode;
    int64_t  modified[2], status_changed[2]; /* seconds and nanoseconds */
};

static_assert(sizeof(struct spilled) == 9 * sizeof(uint64_t), "no padding: compared as bytes");

/* The region, and what came of it. */
struct spill {
    /* The arguments. */
    const char *path; /* NULL: a temporary file */
    size_t      max_bytes;
    bool        off, keep;

    overflow_region *region; /* NULL: nothing is spilled */
    dev_t            device; /* of FILE, which is not served if it lies in the tree */
    ino_t            inode;
    unsigned char   *buffer;       /* for a value on its way */
    struct piece *oldest, *newest; /* spilled; what a former run left, in the order of the file */

    uint64_t pieces; /* in the region now */
    uint64_t spilled, served, dropped;
    uint64_t refused; /* there was no room, even with no other piece in the region */
    int      error;   /* errno of the last refusal */
    uint64_t at_end;  /* spilled when all was served, for the next run */

    /* Of former runs, or of other programs. */
    uint64_t found, found_bytes, outdated, damaged, foreign;
};

struct cache {
    int          root;
    bool         terminal; /* stderr is one */
    int          percent;  /* on the progress bar */
    struct file *files;
    struct file *pending; /* directories yet to be read: one is open at a time */
    size_t       file_count;
    uint64_t     bytes;
    uint64_t     index_bytes; /* of names and records: malloc'ed, outside the budget */
    size_t       path_max;    /* length of the longest path */
    uint64_t     outcomes[OUTCOMES];

    size_t       budget;   /* 0 until the default is known */
    slab_store  *store;    /* NULL: the budget is too small for one */
    struct piece ends;     /* colder than the coldest is the warmest: a circle, with this between */
    size_t       held_max; /* bytes of the store */
    uint32_t     tiers[TIERS_MAX];
    uint32_t     tier_count;
    uint64_t     hits, misses, evictions, moves;
    uint64_t     not_kept; /* misses that went straight to the answer */
    struct uring ring;
    struct spill spill;

    bufpool       *pool;    /* of buffers, and the accounts of the tenants */
    bufpool_cache *buffers; /* the data plane's own */
};

/* A name may hold a newline, or an escape sequence that plays tricks on a terminal. */
static char visible(char c) { return (unsigned char)c < ' ' || c == 127 ? '?' : c; }

/* One line on stderr about one file, or, after NOTES_PRINTED of them, one more in the count. */
static void note(struct cache *cache, enum outcome outcome, const char *path, const char *why)
{
    static const char *const words[OUTCOMES] = {
        [SKIPPED] = "skipped", [CHANGED] = "changed", [WRONG] = "wrong"};
    size_t len = strlen(path);

    if (cache->outcomes[outcome]++ >= NOTES_PRINTED || outcome == SYMLINK) return;
    fprintf(stderr, "%streecache: %s: ", cache->terminal ? "\r\033[K" : "", words[outcome]);
    if (len > NOTE_PATH_MAX) fputs("...", stderr);
    if (len > NOTE_PATH_MAX) path += len - NOTE_PATH_MAX;
    for (; *path; path++) fputc(visible(*path), stderr);
    fprintf(stderr, ": %s\n", why);
}

/* total 0: not known yet. */
static void progress(struct cache *cache, size_t done, size_t total)
{
    static const char bar[]   = "##################################################";
    int               percent = total ? (int)(done * 100 / total) : -1;

    if (!cache->terminal || (total && percent == cache->percent)) return;
    cache->percent = percent;
    if (total) fprintf(stderr, "\rserving [%-50.*s] %3d%%", percent / 2, bar, percent);
    else if (done % 64 == 0) fprintf(stderr, "\rfound %zu files", done);
    if (total && done == total) fputs("\r\033[K", stderr);
}

static struct identity identity_of(const struct stat *st)
{
    return (struct identity){st->st_dev, st->st_ino, st->st_size, st->st_mtim, st->st_ctim};
}

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

/* Whether the open file is still that one, with that content. */
static bool unchanged(int fd, const struct identity *then)
{
    struct stat st;

    if (fstat(fd, &st) != 0) return false;
    return st.st_dev == then->device && st.st_ino == then->inode && st.st_size == then->size &&
           same_time(st.st_mtim, then->modified) && same_time(st.st_ctim, then->status_changed);
}

/* Whether the error says that the name now stands for something else, or nothing. */
static bool gone(int error)
{
    return error == ENOENT || error == ENOTDIR || error == ELOOP || error == ENXIO ||
           error == ESTALE;
}

/* openat below the root, for a path of any length. -1: errno. */
static int open_below(int root, const char *path, int flags)
{
    char *copy = strdup(path), *rest = copy, *cut;
    int   at = root;

    if (!copy) return -1;
    do {
        cut = strlen(rest) < PATH_MAX ? NULL : memrchr(rest, '/', PATH_MAX);
        if (cut) *cut = '\0';
        int next  = openat(at, rest, cut ? O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC : flags);
        int error = errno;
        if (at != root) close(at);
        errno = error;
        at    = next;
        if (cut) rest = cut + 1;
    } while (cut && at >= 0);
    int error = errno;
    free(copy);
    errno = error;
    return at;
}

/* Reads count bytes, or to the end: how many; -1: errno. */
static ssize_t read_fully(int fd, unsigned char *buffer, size_t count, size_t offset)
{
    size_t done = 0;

    while (done < count) {
        ssize_t got = pread(fd, buffer + done, count - done, (off_t)(offset + done));
        if (got == 0) break;
        if (got < 0 && errno != EINTR) return -1;
        if (got > 0) done += (size_t)got;
    }
    return (ssize_t)done;
}

/* The length of the piece at an offset of a file. */
static size_t piece_len(const struct file *file, size_t offset)
{
    size_t left = (size_t)file->identity.size - offset;

    return left < PIECE_BYTES ? left : PIECE_BYTES;
}

static size_t piece_count(const struct file *file)
{
    size_t size = (size_t)file->identity.size;

    return size == 0 ? 1 : (size + PIECE_BYTES - 1) / PIECE_BYTES;
}

/* The record of the piece at an offset. NULL: the file is larger than the budget, or no memory. */
static struct piece *find_piece(struct cache *cache, struct file *file, size_t offset)
{
    if ((size_t)file->identity.size > cache->budget) return NULL;
    if (!file->pieces) {
        file->pieces = calloc(piece_count(file), sizeof *file->pieces);
        if (!file->pieces) return NULL;
        for (size_t i = 0; i < piece_count(file); i++) file->pieces[i].file = file;
        cache->index_bytes += piece_count(file) * sizeof *file->pieces;
    }
    return &file->pieces[offset / PIECE_BYTES];
}

/* -- Data plane: the walk -- */

/* The tenant that pays for a file: the first name in its path, or "." if that is the file's own. */
static const char *tenant_name(const char *path, size_t *len)
{
    const char *end = strchr(path, '/');

    *len = end ? (size_t)(end - path) : 1;
    if (*len > NAME_BYTES) *len = NAME_BYTES;
    return end ? path : ".";
}

static bufpool_tenant *tenant_of(bufpool *pool, const char *path)
{
    size_t      len;
    const char *name = tenant_name(path, &len);

    return bufpool_tenant_get(pool, name, len);
}

/* Among the files, or onto the pending directories. NULL: done; else why not, and file->outcome. */
static const char *add_file(struct cache *cache, int at, const char *name, struct file *file)
{
    struct stat st;

    file->outcome = SKIPPED;
    if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        if (gone(errno)) file->outcome = CHANGED;
        return strerror(errno);
    }
    if (S_ISLNK(st.st_mode)) file->outcome = SYMLINK;
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) return "not a regular file";
    if (S_ISREG(st.st_mode) && st.st_size > FILE_MAX) return "larger than 1 GiB";
    if (cache->spill.path && st.st_dev == cache->spill.device && st.st_ino == cache->spill.inode)
        return "the region itself";
    file->outcome  = UNSEEN;
    file->identity = identity_of(&st);

    struct file **list = S_ISREG(st.st_mode) ? &cache->files : &cache->pending;
    file->next         = *list;
    *list              = file;
    if (list == &cache->pending) return NULL;
    file->tenant = tenant_of(cache->pool, file->path);
    cache->bytes += (uint64_t)st.st_size;
    cache->index_bytes += sizeof *file + strlen(file->path) + 1;
    if (strlen(file->path) > cache->path_max) cache->path_max = strlen(file->path);
    progress(cache, ++cache->file_count, 0);
    return NULL;
}

static void add_name(struct cache *cache, int at, const char *parent, const char *name)
{
    bool         top  = strcmp(parent, ".") == 0;
    struct file *file = calloc(1, sizeof *file + strlen(parent) + strlen(name) + 2);

    if (!file) {
        note(cache, SKIPPED, name, "no memory");
        return;
    }
    stpcpy(stpcpy(stpcpy(file->path, top ? "" : parent), top ? "" : "/"), name);
    const char *why = add_file(cache, at, name, file);
    if (!why) return;
    note(cache, file->outcome, file->path, why);
    free(file);
}

static void read_directory(struct cache *cache, const struct file *directory)
{
    static const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    struct dirent   *entry;
    struct stat      st;
    int              fd     = open_below(cache->root, directory->path, flags);
    DIR             *stream = fd < 0 ? NULL : fdopendir(fd);

    if (!stream || fstat(fd, &st) != 0) {
        note(cache, gone(errno) ? CHANGED : SKIPPED, directory->path, strerror(errno));
    } else if (st.st_dev != directory->identity.device || st.st_ino != directory->identity.inode) {
        note(cache, CHANGED, directory->path, "another directory took its place");
    } else {
        for (errno = 0; (entry = readdir(stream)) != NULL; errno = 0) {
            if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
            add_name(cache, fd, directory->path, entry->d_name);
        }
        if (errno != 0) note(cache, SKIPPED, directory->path, strerror(errno));
    }
    if (stream) closedir(stream);
    else if (fd >= 0) close(fd);
}

static void walk(struct cache *cache)
{
    add_name(cache, cache->root, ".", ".");
    while (cache->pending) {
        struct file *directory = cache->pending;
        cache->pending         = directory->next;
        read_directory(cache, directory);
        free(directory);
    }
    /* A file's times come from a clock that ticks every 1 to 10 ms: two writes in a tick look like
       one. From here on, a write shows in the times of any file that was found. */
    nanosleep(&(struct timespec){0, SETTLED_NS}, NULL);
}

/* -- Data plane: the region -- */

/* In $TMPDIR or /tmp. Its name goes at once, so that nothing is left however we end. 0; errno. */
static int open_temporary(struct spill *spill, const overflow_config *config)
{
    const char *directory = getenv("TMPDIR");
    char        path[PATH_MAX];
    sigset_t    all, before;

    if (!directory || !*directory) directory = "/tmp";
    int len = snprintf(path, sizeof path, "%s/treecache.XXXXXX", directory);
    if (len < 0 || (size_t)len >= sizeof path) return ENAMETOOLONG;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    int fd    = mkostemp(path, O_CLOEXEC);
    int error = fd < 0 ? errno : -overflow_open(&spill->region, path, config);
    if (fd >= 0) unlink(path);
    if (fd >= 0) close(fd);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return error;
}

static const char *why_no_region(int error)
{
    if (error == EBUSY) return "another process is using it";
    if (error == EUCLEAN) return "there is something else in this file; it is left alone";
    if (error == ENOTSUP) return "a region of another version or machine; it is left alone";
    return strerror(error);
}

/* False: FILE cannot be used, and that was said. */
static bool open_region(struct spill *spill)
{
    overflow_config config = {.initial_bytes = SPILL_INITIAL, .max_bytes = spill->max_bytes};
    struct stat     st;

    if (spill->off) return true;
    if (config.initial_bytes > config.max_bytes) config.initial_bytes = config.max_bytes;
    if (!spill->path) {
        config.flags = OVERFLOW_TEMPORARY;
        int error    = open_temporary(spill, &config);
        if (error)
            fprintf(stderr, "treecache: no temporary file, nothing is spilled: %s\n",
                    strerror(error));
        return true;
    }
    /* Never OVERFLOW_FRESH, which takes any file: what we do not want we free. */
    int error = -overflow_open(&spill->region, spill->path, &config);
    if (!error && lstat(spill->path, &st) != 0) error = errno;
    if (error) {
        fprintf(stderr, "treecache: --spill %s: %s\n", spill->path, why_no_region(error));
        return false;
    }
    spill->device = st.st_dev;
    spill->inode  = st.st_ino;
    return true;
}

static struct spilled key_of(const struct file *file, uint64_t offset)
{
    const struct identity *identity = &file->identity;

    return (struct spilled){
        .version        = SPILL_VERSION,
        .path_len       = (uint32_t)strlen(file->path),
        .offset         = offset,
        .size           = (uint64_t)identity->size,
        .device         = identity->device,
        .inode          = identity->inode,
        .modified       = {identity->modified.tv_sec, identity->modified.tv_nsec},
        .status_changed = {identity->status_changed.tv_sec, identity->status_changed.tv_nsec},
    };
}

/* The newest in the region. */
static void link_spilled(struct spill *spill, struct piece *piece, overflow_ref ref)
{
    piece->spilled = ref;
    piece->newer   = NULL;
    if (spill->newest) spill->newest->newer = piece;
    else spill->oldest = piece;
    spill->newest = piece;
    spill->pieces++;
}

/* False: there is none. */
static bool drop_oldest(struct spill *spill)
{
    struct piece *piece = spill->oldest;

    if (!piece) return false;
    /* -ESTALE if somebody wrote to the file who does not own it; then it is gone, too. */
    (void)overflow_free(spill->region, piece->spilled);
    spill->oldest = piece->newer;
    if (!spill->oldest) spill->newest = NULL;
    piece->spilled = 0;
    spill->pieces--;
    spill->dropped++;
    return true;
}

/* Before a piece leaves the store. */
static void spill_piece(struct spill *spill, struct piece *piece, const struct value *value)
{
    const struct file *file   = piece->file;
    size_t             offset = (size_t)(piece - file->pieces) * PIECE_BYTES;
    size_t             len    = piece->len - sizeof *value;
    overflow_ref       ref;
    int                error;

    if (!spill->region || piece->spilled) return;
    struct spilled key = key_of(file, offset);
    memcpy(spill->buffer, &key, sizeof key);
    memcpy(spill->buffer + sizeof key, file->path, key.path_len);
    memcpy(spill->buffer + sizeof key + key.path_len, value->content, len);
    size_t size = sizeof key + key.path_len + len;
    do error = overflow_write(spill->region, spill->buffer, size, SPILL_TAG, &ref);
    while (error == -ENOSPC && drop_oldest(spill));
    if (error) {
        spill->refused++;
        spill->error = -error;
        return;
    }
    link_spilled(spill, piece, ref);
    spill->spilled++;
}

/* In the region, good until something is spilled. NULL: not there. */
static const unsigned char *spilled_content(const struct spill *spill, const struct piece *piece,
                                            size_t len)
{
    size_t               size;
    const unsigned char *value = overflow_read(spill->region, piece->spilled, &size);

    return value && size >= sizeof(struct spilled) + len ? value + (size - len) : NULL;
}

/* -- Data plane: what a former run left in the region -- */

static int compare_files(const void *a, const void *b)
{
    const struct file *const *one = a, *const *other = b;

    return strcmp((*one)->path, (*other)->path);
}

struct path {
    const char *text; /* no NUL in it */
    size_t      len;
};

static int compare_path(const void *path, const void *file)
{
    const struct path        *one   = path;
    const struct file *const *other = file;
    int                       order = strncmp(one->text, (*other)->path, one->len);

    return order == 0 && (*other)->path[one->len] != '\0' ? -1 : order;
}

enum finding { FOUND, OUTDATED, DAMAGED };

/* Links a value of ours to its piece, if there is one. Nothing in it is believed: the path is only
 * looked up, and the key must be the one we would write now. */
static enum finding recognize(struct cache *cache, struct file **by_path, const overflow_slot *slot)
{
    struct spilled       key, now;
    size_t               size;
    const unsigned char *value = overflow_read(cache->spill.region, slot->ref, &size);

    if (!value || size < sizeof key) return DAMAGED;
    memcpy(&key, value, sizeof key);
    struct path path = {(const char *)value + sizeof key, key.path_len};
    if (key.version != SPILL_VERSION) return OUTDATED;
    if (path.len > size - sizeof key || memchr(path.text, '\0', path.len)) return DAMAGED;

    struct file **found = bsearch(&path, by_path, cache->file_count, sizeof *by_path, compare_path);
    if (!found) return OUTDATED;
    struct file *file = *found;
    now               = key_of(file, key.offset);
    if (memcmp(&key, &now, sizeof key) != 0) return OUTDATED;
    if (key.offset % PIECE_BYTES != 0 || key.offset / PIECE_BYTES >= piece_count(file) ||
        size != sizeof key + path.len + piece_len(file, (size_t)key.offset))
        return DAMAGED;

    struct piece *piece = find_piece(cache, file, (size_t)key.offset);
    if (!piece || piece->spilled) return OUTDATED; /* power loss can bring back what was freed */
    link_spilled(&cache->spill, piece, slot->ref);
    cache->spill.found_bytes += piece_len(file, (size_t)key.offset);
    return FOUND;
}

/* Frees what is ours and of no use; without --keep, all that is ours. */
static void sort_out(struct cache *cache, struct file **by_path)
{
    struct spill *spill  = &cache->spill;
    uint64_t      cursor = 0;
    overflow_slot slot;

    while (overflow_next(spill->region, &cursor, &slot)) {
        if (slot.tag != SPILL_TAG) {
            spill->foreign++;
            continue;
        }
        enum finding finding = by_path ? recognize(cache, by_path, &slot) : OUTDATED;
        spill->found += finding == FOUND;
        spill->outdated += finding == OUTDATED;
        spill->damaged += finding == DAMAGED;
        if (finding != FOUND) overflow_free(spill->region, slot.ref);
    }
}

/* After the walk. 0; errno. */
static int make_spill(struct cache *cache)
{
    struct spill        *spill   = &cache->spill;
    struct file        **by_path = NULL;
    struct overflow_info info;

    if (!spill->region) return 0;
    spill->buffer = malloc(sizeof(struct spilled) + cache->path_max + PIECE_BYTES);
    if (!spill->buffer) return ENOMEM;
    if (spill->keep) {
        size_t count = 0;
        by_path      = calloc(cache->file_count + 1, sizeof *by_path);
        if (!by_path) return ENOMEM;
        for (struct file *file = cache->files; file; file = file->next) by_path[count++] = file;
        qsort(by_path, count, sizeof *by_path, compare_files);
    }
    sort_out(cache, by_path);
    free(by_path);
    if (!spill->keep) return 0;
    overflow_stats(spill->region, &info);
    spill->damaged += info.damaged_slots;
    printf("treecache: found %" PRIu64 " pieces, %.1f MB of a former run; %" PRIu64
           " damaged, %" PRIu64 " outdated, %" PRIu64 " of other programs\n",
           spill->found, (double)spill->found_bytes / 1e6, spill->damaged, spill->outdated,
           spill->foreign);
    fflush(stdout);
    return 0;
}

/* -- Data plane: the store -- */

/* The tiers that waste least for the pieces of the files: how many. 0: no memory. */
static uint32_t fit_tiers(struct cache *cache)
{
    static uint32_t sizes[PAGE_BYTES];
    static uint64_t counts[PAGE_BYTES];
    size_t          tier_count = cache->budget / TIER_SHARE;

    if (tier_count > TIERS_MAX) tier_count = TIERS_MAX;
    if (tier_count < 1) tier_count = 1;
    for (uint32_t i = 0; i < PAGE_BYTES; i++) sizes[i] = i + 1;
    for (const struct file *file = cache->files; file; file = file->next) {
        if ((size_t)file->identity.size > cache->budget) continue;
        size_t whole = piece_count(file) - 1;
        counts[PAGE_BYTES - 1] += whole;
        counts[sizeof(struct value) + piece_len(file, whole * PIECE_BYTES) - 1]++;
    }
    return slab_fit_tiers(sizes, counts, PAGE_BYTES, cache->tiers, (uint32_t)tier_count);
}

/* 0; errno. */
static int make_store(struct cache *cache)
{
    slab_store_config config = {.tier_sizes = cache->tiers, .max_bytes = cache->budget};

    cache->ends.colder = cache->ends.warmer = &cache->ends;
    config.tier_count = cache->tier_count = fit_tiers(cache);
    int error = config.tier_count > 0 ? -slab_store_create(&cache->store, &config) : ENOMEM;
    if (error != EINVAL) return error;
    fputs("treecache: the budget is too small for a store: nothing is cached\n", stderr);
    return 0;
}

static struct value *value_of(const struct cache *cache, const struct piece *piece)
{
    struct value *value =
        (struct value *)(uintptr_t)slab_store_get(cache->store, piece->ref, piece->len);

    assert(value && value->piece == piece);
    return value;
}

static void link_warmest(struct cache *cache, struct piece *piece)
{
    piece->warmer         = &cache->ends;
    piece->colder         = cache->ends.colder;
    piece->colder->warmer = piece->warmer->colder = piece;
}

static void unlink_piece(struct piece *piece)
{
    piece->colder->warmer = piece->warmer;
    piece->warmer->colder = piece->colder;
    piece->colder = piece->warmer = NULL;
}

static void drop(struct cache *cache, struct piece *piece)
{
    int error = slab_store_free(cache->store, piece->ref, piece->len);

    assert(error == 0);
    (void)error;
    bufpool_discharge(piece->file->tenant, piece->len);
    unlink_piece(piece);
}

/* The coldest, of whatever tier. */
static void evict(struct cache *cache)
{
    struct piece *coldest = cache->ends.warmer;

    spill_piece(&cache->spill, coldest, value_of(cache, coldest));
    drop(cache, coldest);
    cache->evictions++;
}

/* Also what is in the store, for the next run; the warmest last, so that they stay if not all can.
 * No overflow_sync: power loss costs no more than to read files again. */
static void spill_all(struct cache *cache)
{
    uint64_t before = cache->spill.spilled;

    for (struct piece *piece = cache->ends.warmer; piece != &cache->ends; piece = piece->warmer)
        spill_piece(&cache->spill, piece, value_of(cache, piece));
    cache->spill.at_end = cache->spill.spilled - before;
}

static void value_moved(void *context, slab_ref from, slab_ref to, void *value, size_t room)
{
    struct piece *piece = ((struct value *)value)->piece;
    struct cache *cache = context;

    assert(piece->ref == from);
    (void)from, (void)room;
    piece->ref = to;
    cache->moves++;
}

/* Room for the content of a piece that is not in the store; it is the warmest now. NULL: there
 * would be none in an empty store, or there is no store. */
static struct value *make_value(struct cache *cache, struct piece *piece, size_t len)
{
    struct slab_store_info info;
    struct value          *value;

    piece->len = (uint32_t)(sizeof *value + len);
    while (!(value = slab_store_alloc(cache->store, piece->len, &piece->ref))) {
        /* What is evicted leaves slots of its own tier. Compact makes chunks for any tier of them.
         */
        if (slab_store_compact(cache->store, COMPACT_MOVES, value_moved, cache) > 0) continue;
        if (cache->ends.warmer == &cache->ends) return NULL;
        evict(cache);
    }
    value->piece = piece;
    link_warmest(cache, piece);
    bufpool_charge(piece->file->tenant, piece->len);
    slab_store_stats(cache->store, &info);
    if (info.held_bytes > cache->held_max) cache->held_max = info.held_bytes;
    return value;
}

/* -- Data plane: buffers and tenants -- */

/* False: no memory, and that was said. */
static bool open_buffers(struct cache *cache)
{
    int error = -bufpool_create(&cache->pool, NULL);

    if (!error) cache->buffers = bufpool_cache_open(cache->pool);
    if (cache->buffers) return true;
    fprintf(stderr, "treecache: no buffers: %s\n", strerror(ENOMEM));
    return false;
}

/* The next tenant's first file, or the first one's. NULL: no more. */
static struct file *next_tenant(const struct cache *cache, const struct file *file)
{
    const bufpool_tenant *before = file ? file->tenant : NULL;
    struct file          *next   = file ? file->next : cache->files;

    while (next && (!next->tenant || next->tenant == before)) next = next->next;
    return next;
}

/* When the budget is known. */
static void limit_tenants(const struct cache *cache)
{
    struct file *file = NULL;

    while ((file = next_tenant(cache, file)) != NULL)
        bufpool_tenant_limit(file->tenant, cache->budget / BUDGET_SHARE);
}

struct bill {
    uint64_t           bytes, exceeded; /* of all tenants */
    uint64_t           largest;         /* bytes */
    const struct file *payer;           /* of the largest; NULL: nobody owes anything */
};

static struct bill add_up(const struct cache *cache)
{
    struct bill                bill = {0, 0, 0, NULL};
    struct bufpool_tenant_info tenant;
    const struct file         *file = NULL;

    while ((file = next_tenant(cache, file)) != NULL) {
        bufpool_tenant_stats(file->tenant, &tenant);
        bill.bytes += tenant.live_bytes;
        bill.exceeded += tenant.soft_limit_exceeded;
        if (tenant.live_bytes <= bill.largest) continue;
        bill.largest = tenant.live_bytes;
        bill.payer   = file;
    }
    return bill;
}

/* Empties the store. False: after that somebody still pays, or something was released twice; and
 * that was said. */
static bool close_accounts(struct cache *cache)
{
    struct bufpool_info info;

    if (!cache->pool) return true;
    while (cache->store && cache->ends.warmer != &cache->ends) drop(cache, cache->ends.warmer);
    bufpool_stats(cache->pool, &info);
    struct bill bill = add_up(cache);
    bufpool_cache_close(cache->buffers);
    size_t held = bufpool_destroy(cache->pool);
    if (bill.bytes == 0 && info.live_bytes == 0 && held == 0 && info.underflows == 0) return true;
    fprintf(stderr,
            "treecache: accounts: %" PRIu64 " bytes, by tenant %" PRIu64 "; %zu buffers; %" PRIu64
            " underflows\n",
            info.live_bytes, bill.bytes, held, info.underflows);
    return false;
}

static void free_cache(struct cache *cache)
{
    for (struct file *file = cache->files, *next; file; file = next) {
        next = file->next;
        free(file->pieces);
        free(file);
    }
    slab_store_destroy(cache->store);
    overflow_close(cache->spill.region);
    free(cache->spill.buffer);
    if (cache->root >= 0) close(cache->root);
}

/* -- Control planes -- */

struct server;

/* The data plane's: what it is sending to a control plane, or will. */
struct answer {
    struct file *file;
    size_t       offset; /* of the next piece */
    int          fd;     /* -1: no piece so far had to be read */
    bufpool_buf *buf;    /* NULL: none so far, or it needs none */
};

struct control_plane {
    /* Constant while it runs. */
    struct server *server;
    size_t         end; /* it asks for the files of plan up to here */
    pthread_t      thread;

    struct queue requests; /* it pushes */
    struct queue replies;  /* it pops */
    struct bell  bell;     /* it sleeps */

    /* Its own. The file whose pages come in now is plan[checked]. */
    alignas(LINE) size_t asked, checked;
    size_t        offset; /* of the next page in that file */
    int           fd;     /* of that file, once offset > 0; or -1 */
    enum outcome  outcome;
    int           error; /* errno, or 0 */
    bool          differs;
    unsigned char bytes[PIECE_BYTES]; /* read a second way */

    /* The data plane's. Those that are begun and not ended, in this order. */
    alignas(LINE) struct answer answers[BURST];
    size_t begun, ended;
};

struct server {
    struct cache        *cache;
    slab_pool           *pool;
    struct file        **plan; /* requests: each control plane has a part of its own */
    size_t               ends[CONTROL_PLANES]; /* of the parts */
    size_t               answered;             /* requests */
    struct bell          bell;                 /* the data plane sleeps */
    struct control_plane control_planes[CONTROL_PLANES];
    uint64_t             wall_ns, data_plane_ns;
    uint32_t             in_flight; /* pages, at most */
    uint64_t             buffers;   /* that somebody held, at most */
};

/* A reply in place of a page: the rest of the file will not come, for this reason. It looks like an
 * id, but is never live: its gen is even. */
static slab_id refusal(int error) { return (slab_id){.page = (uint16_t)error}; }

/* 0: it is an id. */
static int refused(slab_id id) { return id.gen == 0 ? id.page : 0; }

/* Whether a file is answered in one buffer, of which the pages have views. Those too large to be
 * pooled are not: then no more of one is in memory at a time than fits the pages. */
static bool in_buffer(const struct file *file)
{
    size_t size = (size_t)file->identity.size;

    return size > PIECE_BYTES && bufpool_class_for(size) != BUFPOOL_OVERSIZE;
}

static void begin_check(struct control_plane *control, const struct file *file)
{
    control->outcome = VERIFIED;
    control->error   = 0;
    control->differs = false;
    control->fd      = open_below(control->server->cache->root, file->path, FILE_FLAGS);
    if (control->fd < 0) {
        control->outcome = gone(errno) || errno == EACCES ? CHANGED : WRONG;
        control->error   = errno;
    } else if (!unchanged(control->fd, &file->identity)) {
        control->outcome = CHANGED;
    }
}

/* The answer to plan[checked] is complete. */
static void end_check(struct control_plane *control)
{
    struct file *file = control->server->plan[control->checked++];

    if (control->outcome > file->outcome) {
        file->outcome = control->outcome;
        file->error   = control->error;
    }
    if (control->fd >= 0) close(control->fd);
    control->fd     = -1;
    control->offset = 0;
}

static void take_refusal(struct control_plane *control, int error)
{
    control->outcome = gone(error) ? CHANGED : SKIPPED;
    control->error   = error == ESTALE ? 0 : error;
    end_check(control);
}

/* What is in a page, or in the view that is. Empty: neither. */
static bufpool_view view_of_page(const struct server *server, slab_id id, const struct file *file)
{
    bufpool_view view = {NULL, 0, NULL};
    size_t       len  = 0;

    const unsigned char *page = slab_pool_read(server->pool, id, &len);
    if (!page) return view;
    if (!in_buffer(file)) return (bufpool_view){page, len, NULL};
    if (len == sizeof view) memcpy(&view, page, len);
    return view;
}

/* The pages of one file come in order, and those of two files never mixed. A view is dropped here:
 * with the last one the buffer is back in the pool. */
static void check_page(struct control_plane *control, slab_id id)
{
    const struct file *file     = control->server->plan[control->checked];
    size_t             expected = piece_len(file, control->offset);
    bufpool_view       view     = view_of_page(control->server, id, file);

    if (control->offset == 0) begin_check(control, file);
    if (control->outcome == VERIFIED) {
        ssize_t got = read_fully(control->fd, control->bytes, expected, control->offset);
        if (got < 0) control->error = errno;
        if (!view.data || view.len != expected || got != (ssize_t)expected ||
            memcmp(view.data, control->bytes, expected) != 0)
            control->differs = true;
    }
    if (view.buf) bufpool_view_drop(&view);
    control->offset += expected;
    if (control->offset < (size_t)file->identity.size) return;

    /* Only a file that is what it was can tell right from wrong. */
    if (control->outcome == VERIFIED && !unchanged(control->fd, &file->identity))
        control->outcome = CHANGED;
    if (control->outcome == VERIFIED && control->differs) control->outcome = WRONG;
    end_check(control);
}

/* Checks and returns the pages that came. False: no reply has come. */
static bool take_replies(struct control_plane *control)
{
    slab_id  ids[BURST], id;
    uint64_t slot;
    size_t   taken = 0, count = 0;
    bool     wake;

    for (; taken < BURST && queue_pop(&control->replies, &slot); taken++) {
        memcpy(&id, &slot, sizeof slot);
        if (refused(id)) take_refusal(control, refused(id));
        else check_page(control, ids[count++] = id);
    }
    slab_pool_return_many(control->server->pool, ids, count, &wake);
    if (wake) bell_ring(&control->server->bell);
    return taken > 0;
}

/* Sleeps only when it holds no page and has asked for all that it may: then it is the data plane's
 * turn. */
static void *control_plane_main(void *argument)
{
    struct control_plane *control = argument;

    while (control->checked < control->end) {
        size_t asked = control->asked;
        while (control->asked < control->end && control->asked - control->checked < ASKED_MAX &&
               queue_push(&control->requests, control->asked))
            control->asked++;
        if (control->asked > asked) bell_ring(&control->server->bell);
        if (!take_replies(control)) bell_wait(&control->bell);
    }
    return NULL;
}

/* -- Data plane: serving -- */

/* 0; errno; ESTALE: the file is not what the walk found. */
static int open_file(const struct cache *cache, struct answer *answer)
{
    if (answer->fd >= 0) return 0;
    int fd = open_below(cache->root, answer->file->path, FILE_FLAGS);
    if (fd < 0) return errno;
    if (!unchanged(fd, &answer->file->identity)) {
        close(fd);
        return ESTALE;
    }
    /* With O_NONBLOCK, some file systems, such as overlayfs, let a ring read nothing. It has
       served: this is no fifo. But some files of /proc, which say that they are empty, need it
       still. */
    if (cache->ring.on && answer->file->identity.size > 0) fcntl(fd, F_SETFL, 0);
    answer->fd = fd;
    return 0;
}

/* From the file. 0; errno; ESTALE. */
static int read_piece(struct cache *cache, struct answer *answer, unsigned char *buffer, size_t len)
{
    unsigned char beyond;

    int error = open_file(cache, answer);
    if (error) return error;
    struct read *read = find_read(&cache->ring, answer->file, answer->offset);
    if (!read) read = begin_read(&cache->ring, answer->fd, answer->file, answer->offset, len);
    if (!read || !take_read(&cache->ring, read, buffer, len)) {
        ssize_t got = read_fully(answer->fd, buffer, len, answer->offset);
        if (got < 0) return errno;
        if (got != (ssize_t)len) return ESTALE;
        /* The files of /proc say that they are empty, and are not. */
        if (len == 0 && read_fully(answer->fd, &beyond, 1, 0) != 0) return ESTALE;
    }
    return unchanged(answer->fd, &answer->file->identity) ? 0 : ESTALE;
}

/* Fetches it from the region, and fills the store again. False: the piece is not there. */
static bool take_spilled(struct cache *cache, struct piece *piece, unsigned char *to, size_t len)
{
    const unsigned char *content = spilled_content(&cache->spill, piece, len);

    if (!content) return false;
    /* The answer first: to make a value others may be spilled, and the oldest dropped; perhaps it
       is this one. */
    memcpy(to, content, len);
    struct value *value = make_value(cache, piece, len);
    if (value) memcpy(value->content, to, len);
    cache->spill.served++;
    return true;
}

/* The next piece of an answer, from wherever it is. 0; errno. */
static int fetch(struct cache *cache, struct answer *answer, unsigned char *to, size_t len)
{
    struct piece *piece = find_piece(cache, answer->file, answer->offset);
    struct value *value = NULL;

    if (piece && piece->warmer) {
        cache->hits++;
        unlink_piece(piece);
        link_warmest(cache, piece);
        memcpy(to, value_of(cache, piece)->content, len);
        return 0;
    }
    if (piece && take_spilled(cache, piece, to, len)) return 0;
    cache->misses++;
    if (piece) value = make_value(cache, piece, len);
    if (!value) cache->not_kept++;
    int error = read_piece(cache, answer, value ? value->content : to, len);
    if (value && error) drop(cache, piece);
    else if (value) memcpy(to, value->content, len);
    return error;
}

/* Fetches the next range of an answer into its buffer, and cuts a view of it. 0; errno. */
static int fetch_range(struct cache *cache, struct answer *answer, bufpool_view *view, size_t len)
{
    struct file *file = answer->file;

    if (!answer->buf)
        answer->buf =
            bufpool_cache_acquire(cache->buffers, (size_t)file->identity.size, file->tenant);
    if (!answer->buf) return ENOMEM;
    unsigned char *data  = bufpool_data(answer->buf);
    int            error = fetch(cache, answer, data + answer->offset, len);
    return error ? error : -bufpool_view_of(answer->buf, answer->offset, len, view);
}

/* Begins the reads that the next burst for a control plane will need. */
static void look_ahead(struct server *server, struct control_plane *control)
{
    struct cache *cache  = server->cache;
    size_t        pieces = BURST;
    uint64_t      slot;

    while (control->begun - control->ended < BURST && queue_pop(&control->requests, &slot))
        control->answers[control->begun++ % BURST] =
            (struct answer){server->plan[slot], 0, -1, NULL};
    for (size_t i = control->ended; cache->ring.on && i < control->begun; i++) {
        struct answer *answer = &control->answers[i % BURST];
        size_t         next   = answer->offset / PIECE_BYTES;
        for (; next < piece_count(answer->file) && pieces > 0; next++, pieces--) {
            size_t        offset = next * PIECE_BYTES;
            struct piece *piece  = find_piece(cache, answer->file, offset);
            if (piece && (piece->warmer || piece->spilled)) continue;
            if (find_read(&cache->ring, answer->file, offset)) continue;
            if (open_file(cache, answer) != 0) break; /* read_piece will say why */
            begin_read(&cache->ring, answer->fd, answer->file, offset,
                       piece_len(answer->file, offset));
        }
    }
}

/* Replies with the next page of the first answer, or with a refusal. False: the pages are out. */
static bool reply(struct server *server, struct control_plane *control)
{
    struct answer *answer = &control->answers[control->ended % BURST];
    size_t         len    = piece_len(answer->file, answer->offset);
    bool           range  = in_buffer(answer->file);
    slab_id        id;
    uint64_t       slot;

    void *page = slab_pool_alloc(server->pool, range ? sizeof(bufpool_view) : len, &id);
    if (!page) return false;
    int error = range ? fetch_range(server->cache, answer, page, len)
                      : fetch(server->cache, answer, page, len);
    if (error) {
        slab_pool_free(server->pool, id);
        id = refusal(error);
    }
    memcpy(&slot, &id, sizeof slot);
    bool pushed = queue_push(&control->replies, slot);
    assert(pushed); /* QUEUE_SLOTS >= PAGE_COUNT + ASKED_MAX */
    (void)pushed;
    answer->offset += len;
    if (!error && answer->offset < (size_t)answer->file->identity.size) return true;
    if (error) forget_reads(&server->cache->ring, answer->file);
    if (answer->fd >= 0) close(answer->fd);
    if (answer->buf)
        bufpool_cache_release(server->cache->buffers, answer->buf); /* left: the views */
    control->ended++;
    server->answered++;
    return true;
}

/* The next few replies to one control plane: how many. *out: ran out of pages. */
static size_t serve(struct server *server, struct control_plane *control, bool *out)
{
    size_t replies = 0;

    for (size_t i = 0; i < CONTROL_PLANES; i++) look_ahead(server, &server->control_planes[i]);
    if (server->cache->ring.on) enter(&server->cache->ring, false);
    for (; replies < BURST && control->ended < control->begun; replies++) {
        if (reply(server, control)) continue;
        *out = true;
        break;
    }
    if (replies > 0) bell_ring(&control->bell);
    return replies;
}

static void data_plane_main(struct server *server, size_t wanted)
{
    struct slab_pool_info info;
    struct bufpool_info   buffers;

    while (server->answered < wanted) {
        size_t replies = 0;
        bool   out     = false;
        for (size_t i = 0; i < CONTROL_PLANES; i++)
            replies += serve(server, &server->control_planes[i], &out);
        slab_pool_stats(server->pool, &info);
        uint32_t in_flight = info.page_count - info.available;
        if (in_flight > server->in_flight) server->in_flight = in_flight;
        bufpool_stats(server->cache->pool, &buffers);
        if (buffers.live_buffers > server->buffers) server->buffers = buffers.live_buffers;
        progress(server->cache, server->answered, wanted);
        if (replies > 0 || server->answered == wanted) continue;
        /* Nobody asks, or the pages are out. A request always rings; a return only when the pool
           was told that we want it, and not if pages came back before that. */
        if (!out || slab_pool_want(server->pool)) bell_wait(&server->bell);
    }
}

/* -- The plan -- */

/* The same numbers in every run. */
static size_t random_below(size_t end)
{
    static uint64_t state = 88172645463325252; /* xorshift64 */

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (size_t)(state % end);
}

static void shuffle(struct file **files, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t       other = random_below(i + 1);
        struct file *file  = files[i];
        files[i]           = files[other];
        files[other]       = file;
    }
}

/* A rank, 0 the most popular. Zipf's law, rank r about 1/(r+1) as often as 0, by steps: the ranks
 * 0, 1..2, 3..6, 7..14 are chosen as often as each other. */
static size_t popular(size_t count)
{
    size_t octaves = 1;

    while (count >> octaves > 0) octaves++;
    size_t octave = (size_t)1 << random_below(octaves);
    return (octave - 1 + random_below(octave)) % count;
}

/* Deals the files to the control planes. Each asks for its own once, and for the popular ones of
 * them again and again, in random order. False: no memory. */
static bool make_plan(struct server *server)
{
    size_t       count = server->cache->file_count, planned = 0;
    struct file *file = server->cache->files;

    server->plan = calloc(count + 1, (1 + ASKED_AGAIN) * sizeof *server->plan);
    for (size_t i = 0; server->plan && i < CONTROL_PLANES; i++) {
        struct file **part  = server->plan + planned;
        size_t        owned = count * (i + 1) / CONTROL_PLANES - count * i / CONTROL_PLANES;
        for (size_t n = 0; n < owned; n++, file = file->next) part[n] = file;
        shuffle(part, owned);
        for (size_t n = owned; n < owned * (1 + ASKED_AGAIN); n++) part[n] = part[popular(owned)];
        shuffle(part, owned * (1 + ASKED_AGAIN));
        planned += owned * (1 + ASKED_AGAIN);
        server->ends[i] = planned;
    }
    return server->plan != NULL;
}

/* Starts the control planes, serves them, waits for their end. 0; errno: some files stay UNSEEN. */
static int serve_all(struct server *server)
{
    size_t started = 0, wanted = 0;
    int    error = 0;

    uint64_t wall = clock_ns(CLOCK_MONOTONIC), busy = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    for (; started < CONTROL_PLANES; started++) {
        struct control_plane *control = &server->control_planes[started];
        control->server               = server;
        control->fd                   = -1;
        control->asked = control->checked = wanted;
        control->end                      = server->ends[started];
        error = pthread_create(&control->thread, NULL, control_plane_main, control);
        if (error) break;
        wanted = control->end;
    }
    data_plane_main(server, wanted);
    server->data_plane_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - busy;
    while (started > 0) pthread_join(server->control_planes[--started].thread, NULL);
    server->wall_ns = clock_ns(CLOCK_MONOTONIC) - wall;
    return error;
}

/* -- Report -- */

static void judge(struct cache *cache)
{
    static const char *const words[OUTCOMES] = {[SYMLINK] = "symbolic links not followed",
                                                [SKIPPED] = "skipped",
                                                [CHANGED] = "changed",
                                                [WRONG]   = "wrong"};

    for (const struct file *file = cache->files; file; file = file->next) {
        const char *error = file->error ? strerror(file->error) : NULL;
        if (file->outcome == VERIFIED) cache->outcomes[VERIFIED]++;
        else if (file->outcome == UNSEEN) note(cache, WRONG, file->path, "never answered");
        else if (error) note(cache, file->outcome, file->path, error);
        else if (file->outcome == CHANGED) note(cache, CHANGED, file->path, "after it was found");
        else note(cache, WRONG, file->path, "its pages are not its bytes");
    }
    for (enum outcome outcome = SYMLINK; outcome < OUTCOMES; outcome++) {
        uint64_t printed = outcome == SYMLINK ? 0 : NOTES_PRINTED;
        if (cache->outcomes[outcome] <= printed) continue;
        fprintf(stderr, "treecache: %" PRIu64 "%s %s\n", cache->outcomes[outcome] - printed,
                printed ? " more" : "", words[outcome]);
    }
    if (cache->file_count == 0) fputs("treecache: no files\n", stderr);
}

static void print_row(const char *name, uint64_t value, const char *remark)
{
    printf("%-26s%14" PRIu64 "%s%s\n", name, value, *remark ? "  " : "", remark);
}

static void print_ratio(const char *name, uint64_t part, uint64_t whole, const char *remark)
{
    printf("%-26s%14.3f  %s\n", name, whole ? (double)part / (double)whole : 0, remark);
}

static void print_ring(const struct uring *ring)
{
    char shape[64];

    snprintf(shape, sizeof shape, "of %d, each to a frame of %d bytes", READS_MAX, PAGE_BYTES);
    print_row("reads with fixed buffers", ring->taken, "of the misses, by an io_uring");
    print_row("  in flight at most", ring->in_flight, shape);
    print_row("  bytes read so", ring->bytes, "");
    print_row("  left to pread", ring->left, "they failed, or came short");
}

static const char *why_refused(int error)
{
    if (error == EMSGSIZE) return "larger than the region";
    return error ? strerror(error) : "";
}

static void print_region(const struct spill *spill)
{
    struct overflow_info info;
    char                 kept[64];

    overflow_stats(spill->region, &info);
    print_row("region", info.capacity_bytes, spill->path ? spill->path : "bytes, temporary");
    if (spill->keep) print_row("  pieces found", spill->found, "of a former run");
    print_row("  pieces spilled", spill->spilled, "from the store, the coldest first");
    print_row("  pages served", spill->served, "from the region, and taken back into the store");
    print_row("  pieces dropped", spill->dropped, "the oldest, for want of room");
    print_row("  pieces refused", spill->refused, why_refused(spill->error));
    if (!spill->keep) return;
    snprintf(kept, sizeof kept, "for the next run; %" PRIu64 " were only in the store",
             spill->at_end);
    print_row("  pieces kept", spill->pieces, kept);
}

static void print_cache(const struct cache *cache)
{
    struct slab_store_info info;
    char                   tiers[64] = "";

    uint64_t pages = cache->hits + cache->spill.served + cache->misses;
    slab_store_stats(cache->store, &info);
    if (cache->store)
        snprintf(tiers, sizeof tiers, "fitted, slots of %" PRIu32 " to %" PRIu32 " bytes",
                 cache->tiers[0], cache->tiers[cache->tier_count - 1]);
    print_row("budget", cache->budget, "");
    print_row("  bytes held at most", cache->held_max, "by the store, metadata included");
    print_ratio("  payload per byte held", info.payload_bytes, info.held_bytes, "in the end");
    print_row("  tiers", info.tier_count, tiers);
    print_row("names and records", cache->index_bytes, "bytes, malloc'ed outside the budget");
    print_row("hits", cache->hits, "pages that were in the store");
    print_row("misses", cache->misses, "pages read from their file");
    print_row("  not kept", cache->not_kept, "of files larger than the budget, or no room at all");
    print_ring(&cache->ring);
    print_ratio("hit ratio", cache->hits, pages, "of all pages");
    print_row("evictions", cache->evictions, "the coldest piece each time");
    print_row("moves by compact", cache->moves, "so that tiers share what is free");
    if (!cache->spill.region) return;
    print_region(&cache->spill);
    print_ratio("hit ratio with region", cache->hits + cache->spill.served, pages,
                "of all pages: no file was read for them");
}

static void print_buffers(const struct server *server)
{
    struct bufpool_info info;
    uint64_t            hits = 0, misses = 0;
    struct bill         bill = add_up(server->cache);
    char                largest[64];

    bufpool_stats(server->cache->pool, &info);
    for (int i = 0; i < BUFPOOL_CLASSES; i++) hits += info.hits[i];
    for (int i = 0; i < BUFPOOL_CLASSES; i++) misses += info.misses[i];
    size_t      len  = 0;
    const char *name = bill.payer ? tenant_name(bill.payer->path, &len) : "";
    if (len >= sizeof largest) len = sizeof largest - 1;
    for (size_t i = 0; i < len; i++) largest[i] = visible(name[i]);
    largest[len] = '\0';
    print_row("buffers", hits + misses, "for answers of more than a page, which had views of them");
    print_row("  recycled", hits, "after the last view was dropped");
    print_row("  from the system", misses, "when no other was idle");
    print_row("  held at most", server->buffers, "at a time");
    print_row("  bytes idle", info.idle_bytes, "in the end, outside the budget");
    print_row("tenants", info.tenants, "DIR and its directories, where they have files");
    print_row("  bytes charged", info.live_bytes, "for what is in the store, in the end");
    print_row("  to the largest", bill.largest, largest);
    print_row("  beyond the limit", bill.exceeded, "charges of a tenant with half of the budget");
}

static void print_table(const struct server *server, const struct slab_pool_info *info)
{
    const struct cache *cache = server->cache;
    uint64_t            pages = info->allocs;
    char                shape[64];

    snprintf(shape, sizeof shape, "of %d, %d bytes each", PAGE_COUNT, PAGE_BYTES);
    print_row("files", cache->file_count, "");
    print_row("bytes", cache->bytes, "");
    print_row("requests", server->answered, "each file once, popular ones again and again");
    print_row("pages handed over", pages, "");
    print_row("ns per page", pages ? server->wall_ns / pages : 0,
              "from first request to last check, by the clock");
    print_row("  of the data plane", pages ? server->data_plane_ns / pages : 0,
              "processor time: find or read, copy in, hand over, take back");
    print_row("pages in flight at most", server->in_flight, shape);
    print_row("refused ids", info->refused, "returns turned away; 0 expected");
    print_cache(cache);
    print_buffers(server);
    print_row("changed files", cache->outcomes[CHANGED], "meanwhile, by others; not verified");
    print_row("skipped names", cache->outcomes[SKIPPED], "not served");
}

/* Serves what the walk found. False: something besides the content of files was wrong. */
static bool run(struct cache *cache)
{
    static struct server  server; /* too large for some stacks */
    slab_pool_config      shape  = {.page_size = PAGE_BYTES, .page_count = PAGE_COUNT};
    struct slab_pool_info info   = {0};
    size_t                lost   = 0;
    bool                  closed = true;

    limit_tenants(cache);
    server.cache = cache;
    int error    = make_plan(&server) ? make_store(cache) : ENOMEM;
    if (!error) error = make_spill(cache);
    if (!error) error = -slab_pool_create(&server.pool, &shape);
    if (!error) {
        start_ring(&cache->ring);
        error  = serve_all(&server);
        closed = !cache->ring.on || close_ring(&cache->ring);
        slab_pool_stats(server.pool, &info);
        lost = slab_pool_destroy(server.pool);
        if (cache->spill.keep) spill_all(cache);
    }
    free(server.plan);
    judge(cache);
    if (error) fprintf(stderr, "treecache: cannot serve: %s\n", strerror(error));
    if (lost > 0) fprintf(stderr, "treecache: %zu pages were never given back\n", lost);
    print_table(&server, &info);
    return error == 0 && lost == 0 && info.refused == 0 && closed;
}

/* -- Metrics: a thread writes them to a file, and serves them -- */

/* A connection whose request is not complete. */
struct client {
    int      fd;
    uint64_t deadline;
    size_t   len;
    char     request[REQUEST_MAX];
};

struct metrics {
    const char    *path; /* an argument; NULL: no file */
    int            port; /* an argument; -1: nobody is answered */
    const bufpool *pool;
    char          *temporary; /* what path is called while it is written */
    int            listener, stop;
    pthread_t      thread;
    bool           running;

    /* The thread's. */
    struct client clients[CLIENTS];
    size_t        client_count;
    uint64_t      written; /* when */
};

/* NULL: no memory. */
static char *metrics_text(const bufpool *pool, size_t *len)
{
    char  *text     = NULL;
    size_t capacity = 0;

    /* It may grow between two calls. */
    while ((*len = bufpool_metrics(pool, text, capacity)) >= capacity) {
        free(text);
        capacity = *len + *len / 8 + 1;
        text     = malloc(capacity);
        if (!text) return NULL;
    }
    return text;
}

static bool write_fully(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t put = write(fd, text, len);
        if (put < 0 && errno != EINTR) return false;
        if (put <= 0) continue;
        text += put;
        len -= (size_t)put;
    }
    return true;
}

/* Under another name first, so that nobody ever reads half of it. 0; errno. */
static int write_metrics(const struct metrics *metrics)
{
    static const int flags = O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC;
    size_t           len;
    char            *text = metrics_text(metrics->pool, &len);

    if (!text) return ENOMEM;
    int  fd   = open(metrics->temporary, flags, 0666);
    bool good = fd >= 0 && write_fully(fd, text, len);
    if (fd >= 0 && close(fd) != 0) good = false;
    if (good) good = rename(metrics->temporary, metrics->path) == 0;
    int error = good ? 0 : errno;
    if (error && fd >= 0) unlink(metrics->temporary);
    free(text);
    return error;
}

static uint64_t now_ms(void) { return clock_ns(CLOCK_MONOTONIC) / 1000000; }

static void send_fully(const struct client *client, const char *text, size_t len)
{
    struct pollfd fd = {.fd = client->fd, .events = POLLOUT};

    for (uint64_t now = now_ms(); len > 0 && now < client->deadline; now = now_ms()) {
        if (poll(&fd, 1, (int)(client->deadline - now)) <= 0) continue;
        ssize_t put = send(client->fd, text, len, MSG_NOSIGNAL);
        if (put < 0) return;
        text += put;
        len -= (size_t)put;
    }
}

/* Whatever GET asks for. */
static void answer_client(const bufpool *pool, struct client *client)
{
    const char *request = client->request;
    char       *text    = NULL, head[256], rest[REQUEST_MAX];
    size_t      len     = 0;
    ssize_t     got;

    bool http = memmem(request, strcspn(request, "\r\n"), " HTTP/1.", 8);
    bool get  = http && strncmp(request, "GET ", 4) == 0;
    if (get) text = metrics_text(pool, &len);
    const char *status = text   ? "200 OK"
                         : get  ? "503 Service Unavailable"
                         : http ? "405 Method Not Allowed"
                                : "400 Bad Request";
    snprintf(head, sizeof head,
             "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nAllow: GET\r\n"
             "Connection: close\r\n\r\n",
             status, text ? BUFPOOL_METRICS_TYPE : "text/plain", text ? len : 0);
    client->deadline = now_ms() + CLIENT_MS;
    send_fully(client, head, strlen(head));
    if (text) send_fully(client, text, len);
    free(text);
    /* What is left unread would make close throw away what the client has not taken yet. */
    do got = recv(client->fd, rest, sizeof rest, 0);
    while (got > 0 && now_ms() < client->deadline);
}

/* When something came from it. False: it has its answer, or will have none. */
static bool hear_client(const bufpool *pool, struct client *client)
{
    char   *end  = client->request + client->len;
    size_t  room = sizeof client->request - 1 - client->len;
    ssize_t got  = recv(client->fd, end, room, 0);

    if (got <= 0) return got < 0 && errno == EAGAIN;
    client->len += (size_t)got;
    end[got]   = '\0';
    bool whole = strstr(client->request, "\r\n\r\n") || strstr(client->request, "\n\n");
    if (!whole && (size_t)got < room) return true;
    if (!whole) *client->request = '\0'; /* too long: no request */
    answer_client(pool, client);
    return false;
}

static void accept_client(struct metrics *metrics)
{
    int fd = accept4(metrics->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0) {
        poll(NULL, 0, TICK_MS); /* perhaps too many files are open: not again at once */
        return;
    }
    struct client *client = &metrics->clients[metrics->client_count++];
    client->fd            = fd;
    client->deadline      = now_ms() + CLIENT_MS;
    client->len           = 0;
}

/* Handles every descriptor that is ready. Returns false when it is time to stop. */
static bool attend(struct metrics *metrics)
{
    struct pollfd fds[2 + CLIENTS];
    size_t        count = metrics->client_count;
    int           wait  = count > 0 || metrics->path ? TICK_MS : -1;

    fds[0] = (struct pollfd){.fd = metrics->stop, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = count < CLIENTS ? metrics->listener : -1, .events = POLLIN};
    for (size_t i = 0; i < count; i++)
        fds[2 + i] = (struct pollfd){.fd = metrics->clients[i].fd, .events = POLLIN};
    if (poll(fds, 2 + count, wait) < 0) return true;
    if (fds[0].revents) return false;
    while (count-- > 0) { /* the last one first: it takes the place of one that goes */
        struct client *client = &metrics->clients[count];
        bool           asks   = !fds[2 + count].revents || hear_client(metrics->pool, client);
        if (asks && now_ms() < client->deadline) continue;
        close(client->fd);
        *client = metrics->clients[--metrics->client_count];
    }
    if (fds[1].revents) accept_client(metrics);
    return true;
}

static void *metrics_main(void *argument)
{
    struct metrics *metrics = argument;

    metrics->written = now_ms();
    while (attend(metrics)) {
        if (!metrics->path || now_ms() - metrics->written < METRICS_MS) continue;
        (void)write_metrics(metrics); /* a failure may pass; the last one is told */
        metrics->written = now_ms();
    }
    while (metrics->client_count > 0) close(metrics->clients[--metrics->client_count].fd);
    return NULL;
}

/* False: it cannot be had, and that was said. */
static bool open_text(struct metrics *metrics)
{
    struct stat st;
    const char *why = NULL;

    /* To rename over it would be the end of a device, or of a pipe. */
    if (lstat(metrics->path, &st) == 0 && !S_ISREG(st.st_mode)) why = "not a regular file";
    if (!why) {
        int len   = asprintf(&metrics->temporary, "%s.%ld.tmp", metrics->path, (long)getpid());
        int error = len < 0 ? ENOMEM : write_metrics(metrics);
        if (error) why = strerror(error);
    }
    if (why) fprintf(stderr, "treecache: --metrics %s: %s\n", metrics->path, why);
    return !why;
}

/* False: it cannot be had, and that was said. */
static bool open_port(struct metrics *metrics)
{
    static const int   yes     = 1;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port   = htons((uint16_t)metrics->port),
                                  .sin_addr   = {htonl(INADDR_LOOPBACK)}};
    socklen_t          len     = sizeof address;
    int                fd      = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    metrics->listener = fd;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes); /* what was closed lingers on */
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, len) != 0 || listen(fd, CLIENTS) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
        fprintf(stderr, "treecache: --serve %d: %s\n", metrics->port, strerror(errno));
        return false;
    }
    printf("treecache: metrics at http://127.0.0.1:%d/metrics until interrupted\n",
           ntohs(address.sin_port));
    fflush(stdout);
    return true;
}

/* Ctrl-C, and kill. */
static void interrupts(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
}

/* 0; errno. */
static int start_thread(struct metrics *metrics)
{
    sigset_t set, before;

    metrics->stop = eventfd(0, EFD_CLOEXEC);
    if (metrics->stop < 0) return errno;
    interrupts(&set);
    pthread_sigmask(SIG_BLOCK, &set, &before); /* they are for the first thread */
    int error = pthread_create(&metrics->thread, NULL, metrics_main, metrics);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

/* False: they cannot be shown, and that was said. */
static bool start_metrics(struct metrics *metrics, const bufpool *pool)
{
    metrics->pool = pool;
    if (!metrics->path && metrics->port < 0) return true;
    if (metrics->path && !open_text(metrics)) return false;
    if (metrics->port >= 0 && !open_port(metrics)) return false;
    int error        = start_thread(metrics);
    metrics->running = error == 0;
    if (error) fprintf(stderr, "treecache: no thread for metrics: %s\n", strerror(error));
    return metrics->running;
}

/* False: the file does not have the last of them, and that was said. */
static bool stop_metrics(struct metrics *metrics)
{
    if (metrics->running) eventfd_write(metrics->stop, 1);
    if (metrics->running) pthread_join(metrics->thread, NULL);
    int error = metrics->running && metrics->path ? write_metrics(metrics) : 0;
    if (error) fprintf(stderr, "treecache: --metrics %s: %s\n", metrics->path, strerror(error));
    if (metrics->listener >= 0) close(metrics->listener);
    if (metrics->stop >= 0) close(metrics->stop);
    free(metrics->temporary);
    return error == 0;
}

/* -- Program -- */

/* The bytes that "30", "30K", "30M" or "30G" say; 0: it says no such thing, or too much. */
static size_t bytes_from(const char *text)
{
    static const char  units[] = "KMG";
    char              *end     = NULL;
    int                shift   = 0;
    unsigned long long number  = 0;

    errno = 0;
    if (*text >= '0' && *text <= '9') number = strtoull(text, &end, 10);
    if (number == 0 || errno != 0) return 0;
    if (*end) {
        const char *unit = strchr(units, *end);
        if (!unit || end[1]) return 0;
        shift = 10 * (int)(unit - units + 1);
    }
    return number <= SIZE_MAX >> shift ? (size_t)number << shift : 0;
}

static size_t default_budget(const struct cache *cache)
{
    uint64_t budget = cache->bytes / BUDGET_PART;

    if (budget < BUDGET_MIN) budget = BUDGET_MIN;
    if (budget > BUDGET_MAX) budget = BUDGET_MAX;
    return (size_t)budget;
}

/* A size among the arguments. False: it is none, and that was said. */
static bool parse_bytes(const char *option, size_t least, size_t most, size_t *bytes)
{
    *bytes = bytes_from(optarg);
    if (*bytes >= least && *bytes <= most) return true;
    fprintf(stderr, "treecache: --%s %s: no number of bytes from %zu to %zu\n", option, optarg,
            least, most);
    return false;
}

/* False: it is none, and that was said. */
static bool parse_port(int *port)
{
    size_t digits = strspn(optarg, "0123456789");

    *port = digits > 0 && digits <= 5 && !optarg[digits] ? atoi(optarg) : PORT_MAX + 1;
    if (*port <= PORT_MAX) return true;
    fprintf(stderr, "treecache: --serve %s: no port from 0 to %d\n", optarg, PORT_MAX);
    return false;
}

/* The arguments. -1; 'h'; 2: they are wrong; 'u': and that was not said yet. */
static int parse(struct cache *cache, struct metrics *metrics, int argc, char **argv)
{
    static const struct option options[] = {{"budget", required_argument, NULL, 'b'},
                                            {"spill", required_argument, NULL, 's'},
                                            {"spill-max", required_argument, NULL, 'm'},
                                            {"keep", no_argument, NULL, 'k'},
                                            {"no-spill", no_argument, NULL, 'n'},
                                            {"no-ring", no_argument, NULL, 'r'},
                                            {"metrics", required_argument, NULL, 'f'},
                                            {"serve", required_argument, NULL, 'p'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    struct spill              *spill     = &cache->spill;
    int                        option;

    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (option == 'b' && !parse_bytes("budget", 1, SIZE_MAX, &cache->budget)) return 2;
        if (option == 'm' && !parse_bytes("spill-max", SPILL_MIN, SPILL_MAX, &spill->max_bytes))
            return 2;
        if (option == 'p' && !parse_port(&metrics->port)) return 2;
        if (option == 'f') metrics->path = optarg;
        if (option == 's') spill->path = optarg;
        if (option == 'k') spill->keep = true;
        if (option == 'n') spill->off = true;
        if (option == 'r') cache->ring.off = true;
        if (option == 'h') return 'h';
        if (option == '?') return 'u';
    }
    if ((spill->keep && !spill->path) || (spill->off && spill->path) || argc - optind > 1)
        return 'u';
    return -1;
}

/* False: that was said. */
static bool begin(struct cache *cache, struct metrics *metrics)
{
    return open_region(&cache->spill) && open_buffers(cache) && start_metrics(metrics, cache->pool);
}

/* False: something is missing, and that was said. */
static bool end(struct cache *cache, struct metrics *metrics)
{
    bool shown = stop_metrics(metrics), paid = close_accounts(cache);

    free_cache(cache);
    return shown && paid;
}

static const char usage[] =
    "usage: treecache [--budget BYTES] [--spill FILE [--keep]] [--spill-max BYTES]\n"
    "                 [--metrics FILE] [--serve PORT] [DIR]\n"
    "Serves the files below DIR (default /usr/include) from a cache to two threads, and\n"
    "verifies every byte.\n"
    "  --budget BYTES     of memory for what is cached, such as 500000, 64K, 30M or 1G;\n"
    "                     default: a quarter of what the files hold, but from 1M to 1G\n"
    "  --spill FILE       what the budget has no room for goes to this region; default: to\n"
    "                     a temporary file in $TMPDIR or /tmp\n"
    "  --keep             serve what FILE holds of a former run, too, and leave it all there\n"
    "  --spill-max BYTES  the region at most, from 16K on; default 1G\n"
    "  --no-spill         what the budget has no room for is read again\n"
    "  --no-ring          files are read with pread, not by an io_uring\n"
    "  --metrics FILE     bytes by tenant: OpenMetrics text, anew each second and at the end\n"
    "  --serve PORT       the same over HTTP, on 127.0.0.1 only (0: on a port that is free),\n"
    "                     while it works and after that, until it is interrupted\n";

int main(int argc, char **argv)
{
    struct metrics metrics = {.port = -1, .listener = -1, .stop = -1};
    struct cache   cache   = {.root     = -1,
                              .terminal = isatty(STDERR_FILENO),
                              .percent  = -1,
                              .spill    = {.max_bytes = SPILL_DEFAULT}};
    sigset_t       set;
    int            number;

    int option = parse(&cache, &metrics, argc, argv);
    if (option == 'h' || option == 'u') fputs(usage, option == 'h' ? stdout : stderr);
    if (option != -1) return option == 'h' ? EXIT_SUCCESS : 2;

    const char *path = optind < argc ? argv[optind] : "/usr/include";
    cache.root       = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good        = cache.root >= 0;
    if (!good) fprintf(stderr, "treecache: %s: %s\n", path, strerror(errno));
    if (good && !begin(&cache, &metrics)) {
        end(&cache, &metrics);
        return EXIT_FAILURE;
    }
    if (good) walk(&cache);
    if (cache.budget == 0) cache.budget = default_budget(&cache);
    if (good) good = run(&cache);
    interrupts(&set);
    if (metrics.running) pthread_sigmask(SIG_BLOCK, &set, NULL);
    printf("treecache: %zu files, %" PRIu64 " bytes, %" PRIu64 " verified, %" PRIu64 " wrong\n",
           cache.file_count, cache.bytes, cache.outcomes[VERIFIED], cache.outcomes[WRONG]);
    good = good && cache.outcomes[WRONG] == 0;
    if (fflush(stdout) != 0) good = false;
    if (metrics.running && metrics.port >= 0) sigwait(&set, &number);
    if (!end(&cache, &metrics)) good = false;
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
