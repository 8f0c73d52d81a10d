/* ringcp SRC DST - copies a file with io_uring, through the frames of a fixedpool.
 *
 * Shows: frames are registered with a ring once, then read into and written from without set-up per
 * call; 16 are in flight, each at its own pace. With O_DIRECT, if the file system allows that, the
 * disk itself accesses them. They are 4 MiB: an ordinary user may lock 8 MiB (`ulimit -l`). Under a
 * lower limit they are used unregistered. Holes become zeros. A failure or Ctrl-C removes DST.
 *     cc -std=c11 -O2 -I. examples/ringcp.c -o ringcp && ./ringcp big.iso copy.iso  # Linux 5.6 */
#define _GNU_SOURCE       1 /* O_DIRECT, fallocate, syscall */
#define _FILE_OFFSET_BITS 64
#define FIXEDPOOL_IMPLEMENTATION
#include "fixedpool.h" /* and with it errno.h, string.h, unistd.h, sys/mman.h, sys/stat.h ... */
#include <fcntl.h>
#include <linux/io_uring.h>
#include <signal.h>
#include <stdio.h>

enum { SIZE = 256 * 1024 /* of a frame */, FRAMES = 16, BLOCK = 4096, IN = 0, OUT = 1 };

static struct job {    /* of the frame with the same index */
    off_t    at;       /* where the frame is in the file */
    unsigned from, to; /* the bytes of the frame to read or write next */
    int      side;     /* IN: they are read; OUT: they are written */
} jobs[FRAMES];

static fixedpool             *pool;
static struct io_uring_params ring;
static struct io_uring_sqe   *entries; /* one for each frame; shared with the kernel, */
static char                  *queues;  /* as are the queues of submissions and completions */
static int                    ring_fd, file[2], in_flight, queued;
static const char            *name[2];
static bool                   registered, failed;
static off_t                  end = INT64_MAX; /* of SRC; known when a read reaches it */
static volatile sig_atomic_t  stopped;
static void                   stop(int number) { stopped = number; }

static int fail(const char *what, const char *why) /* says the first only: others follow from it */
{
    if (!failed) fprintf(stderr, "%sringcp: %s: %s\n", isatty(2) ? "\r\033[K" : "", what, why);
    return failed = true;
}

/* _Atomic: an index of a queue is seen after the entries that it counts. */
static _Atomic(unsigned) *queue(unsigned offset) { return (void *)(queues + offset); }

static int open_ring(void)
{
    const fixedpool_config config = {.frame_size = SIZE, .frame_count = FRAMES};
    int access = PROT_READ | PROT_WRITE, error = fixedpool_create(&pool, &config);

    if (error) return fail("no frames", strerror(-error));
    ring_fd = (int)syscall(SYS_io_uring_setup, FRAMES, &ring);
    if (ring_fd < 0) return fail("no io_uring", strerror(errno));
    size_t size = ring.sq_off.array + FRAMES * sizeof(unsigned); /* the array is the last part */
    queues      = mmap(NULL, size, access, MAP_SHARED, ring_fd, IORING_OFF_SQ_RING);
    entries = mmap(NULL, FRAMES * sizeof *entries, access, MAP_SHARED, ring_fd, IORING_OFF_SQES);
    if (queues == MAP_FAILED || entries == MAP_FAILED) return fail("mmap", strerror(errno));
    registered = (error = fixedpool_register(pool, ring_fd)) == 0;
    if (error) fprintf(stderr, "ringcp: frames not registered (ulimit -l): %s\n", strerror(-error));
    return 0;
}

static void submit(int frame)
{
    const struct job *job = &jobs[frame];

    entries[frame] = (struct io_uring_sqe){
        .opcode    = (uint8_t)((registered ? IORING_OP_READ_FIXED : IORING_OP_READ) + job->side),
        .fd        = file[job->side],
        .addr      = (uintptr_t)fixedpool_ptr(pool, frame) + job->from,
        .len       = (job->to - job->from + BLOCK - 1) / BLOCK * BLOCK, /* see ftruncate below */
        .off       = (uint64_t)job->at + job->from,
        .buf_index = fixedpool_buf_index(pool, frame),
        .user_data = (unsigned)frame,
    };
    queue(ring.sq_off.array)[*queue(ring.sq_off.tail) % FRAMES] = (unsigned)frame;
    ++*queue(ring.sq_off.tail);
    queued++, in_flight++;
}

static void complete(int frame, int result) /* submits what is left to do, or frees the frame */
{
    struct job *job  = &jobs[frame];
    bool        last = result < BLOCK; /* SRC ends here; a write was cut short */

    in_flight--;
    if (result < 0) fail(name[job->side], strerror(-result));
    else if (job->side == OUT && last) fail(name[OUT], "a short write: no space, or a limit");
    else if (job->side == IN && (last || job->from + (unsigned)result == job->to)) {
        *job = (struct job){job->at, 0, job->from + (unsigned)result, OUT};
        if (last && job->at + job->to < end) end = job->at + job->to;
    } else job->from += (unsigned)result / BLOCK * BLOCK; /* the rest is asked for again */
    if (job->from < job->to && !failed) submit(frame);
    else if (fixedpool_free(pool, frame) != 0) fail("frame", "freed twice");
}

static void copy(off_t size)
{
    const struct io_uring_cqe *results = (void *)(queues + ring.cq_off.cqes);

    for (off_t at = 0; in_flight > 0 || (at < end && !failed);) {
        for (int frame; at < end && !failed && (frame = fixedpool_alloc(pool)) >= 0; at += SIZE) {
            jobs[frame] = (struct job){at, 0, SIZE, IN};
            submit(frame);
        }
        long n = syscall(SYS_io_uring_enter, ring_fd, queued, 1, IORING_ENTER_GETEVENTS, NULL, 0);
        if (n < 0 && errno != EINTR && fail("io_uring_enter", strerror(errno))) return;
        queued -= n > 0 ? (int)n : 0;
        for (unsigned head; (head = *queue(ring.cq_off.head)) != *queue(ring.cq_off.tail);) {
            struct io_uring_cqe result = results[head % ring.cq_entries];
            *queue(ring.cq_off.head)   = head + 1;
            complete((int)result.user_data, result.res);
        }
        if (stopped) fail(name[OUT], "interrupted");
        off_t done = at - (off_t)in_flight * SIZE, part = done < size ? done * 100 / size : 100;
        if (!failed && isatty(STDERR_FILENO))
            fprintf(stderr, "\r%3d %% %.*s", (int)part, (int)part / 5, "####################");
    }
}

int main(int argc, char **argv)
{
    struct stat from, to = {0};

    if (argc != 3) return fail("usage", "ringcp SRC DST");
    name[IN] = argv[1], name[OUT] = argv[2];
    if (stat(name[IN], &from) != 0) return fail(name[IN], strerror(errno));
    if (!S_ISREG(from.st_mode)) return fail(name[IN], "not a file");
    if (stat(name[OUT], &to) == 0 && !S_ISREG(to.st_mode)) return fail(name[OUT], "not a file");
    if (from.st_dev == to.st_dev && from.st_ino == to.st_ino) return fail(name[OUT], "SRC itself");
    if (signal(SIGINT, stop) == SIG_ERR || signal(SIGTERM, stop) == SIG_ERR ||
        signal(SIGXFSZ, SIG_IGN) == SIG_ERR)
        return fail("signal", strerror(errno));
    if (open_ring() != 0) return 1;
    if ((file[IN] = open(name[IN], O_RDONLY)) < 0) return fail(name[IN], strerror(errno));
    file[OUT] = open(name[OUT], O_WRONLY | O_CREAT | O_TRUNC, from.st_mode & 0777);
    if (file[OUT] < 0) return fail(name[OUT], strerror(errno));
    /* Where these fail, the page cache is used, and the file grows write by write. */
    (void)fcntl(file[IN], F_SETFL, O_DIRECT), (void)fcntl(file[OUT], F_SETFL, O_DIRECT);
    (void)fallocate(file[OUT], 0, 0, from.st_size);
    copy(from.st_size);
    if (!failed && (end < from.st_size || (from.st_size == 0 && end > 0)))
        fail(name[IN], "not the size that stat says");
    if (!failed && (ftruncate(file[OUT], end) != 0 || close(file[OUT]) != 0))
        fail(name[OUT], strerror(errno));
    if ((registered && fixedpool_unregister(pool, ring_fd)) || fixedpool_destroy(pool))
        fail("frames", "not all are free");
    if (failed && unlink(name[OUT]) != 0) perror("ringcp: unlink");
    if (!failed && isatty(STDERR_FILENO)) fputc('\n', stderr);
    return failed;
}
