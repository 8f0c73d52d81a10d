/* Goal: frames are provided buffers of io_uring: every byte that a socket receives is in a frame,
 * once and in order, however often the buffer ring runs empty, and whichever threads refill it; no
 * frame is lost; each refusal has its result. Method: multishot receives on real sockets, through
 * raw system calls. The registrations go through a function of this file, which can answer as an
 * older kernel does. A storm of threads has the test in the kernel's place. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static long test_syscall(long number, long a, long b, long c, long d, long e, long f);
#define FIXEDPOOL_SYSCALL(number, a, b, c, d, e, f) \
    test_syscall(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define FIXEDPOOL_IMPLEMENTATION
#include "../../fixedpool.h"

#include "../check.h"
#include "ring.h"

enum { GROUP = 22, UNGROUP = 23, STATUS = 26, OPERATIONS = 64 }; /* of REGISTER */
enum { RECV = 27, BUFFER_SELECT = 1 << 5, MULTISHOT = 1 << 1, MORE = 1 << 1 };

static int  refusal[OPERATIONS]; /* errno that an operation fails with; 0: ask the kernel */
static bool knows_flags = true;  /* a kernel that has buffer rings, but not consumed in parts */
static bool answers;             /* all succeed, and the kernel is not asked */

static long test_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    if (number != REGISTER || b < 0 || b >= OPERATIONS) return syscall(number, a, b, c, d, e, f);
    const uint16_t *flags = (const uint16_t *)(c + 14);
    int             error = refusal[b];
    if (b == GROUP && !knows_flags && *flags) error = EINVAL;
    if (b == STATUS && answers) error = EINVAL;
    if (error) {
        errno = error;
        return -1;
    }
    return answers ? 0 : syscall(number, a, b, c, d, e, f);
}

static fixedpool *pool;
static bool       has_groups, has_parts, has_multishot, threads_have_rings;

static void make(uint32_t size, uint32_t count)
{
    CHECK_EQ(fixedpool_create(&pool, &(fixedpool_config){.frame_size = size, .frame_count = count}),
             0);
    if (!pool) exit(1);
}

static void end(void)
{
    CHECK_EQ(fixedpool_destroy(pool), 0);
    pool = NULL;
}

static uint32_t leased(void)
{
    struct fixedpool_info info;
    fixedpool_stats(pool, &info);
    return info.leased;
}

/* ---- Streams ---- */

static unsigned char byte_at(uint64_t at) { return (unsigned char)(at * 2654435761u >> 13); }

/* Two connected sockets: of a pair, or of TCP on the loopback. */
static void connect_two(int family, int ends[2])
{
    if (family == AF_UNIX) {
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        return;
    }
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t          size    = sizeof address;
    int                door    = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ends[0]                    = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(bind(door, (struct sockaddr *)&address, size), 0);
    CHECK_EQ(listen(door, 1), 0);
    CHECK_EQ(getsockname(door, (struct sockaddr *)&address, &size), 0);
    CHECK_EQ(connect(ends[0], (struct sockaddr *)&address, size), 0);
    ends[1] = accept(door, NULL, NULL);
    CHECK(ends[1] >= 0);
    close(door);
}

struct stream {
    int      family;
    uint32_t setup, flags, frames, entries;
    uint64_t bytes;
};

struct sender {
    int      fd;
    uint64_t bytes;
};

static void *send_all(void *argument)
{
    struct sender *self = argument;
    unsigned char  chunk[20000];
    uint64_t       seed = self->bytes;

    for (uint64_t at = 0; at < self->bytes;) {
        size_t size = 1 + (size_t)(check_random(&seed) % sizeof chunk);
        if (size > self->bytes - at) size = (size_t)(self->bytes - at);
        for (size_t i = 0; i < size; i++) chunk[i] = byte_at(at + i);
        for (size_t done = 0; done < size;) {
            ssize_t sent = send(self->fd, chunk + done, size - done, MSG_NOSIGNAL);
            CHECK(sent > 0);
            if (sent <= 0) return NULL;
            done += (size_t)sent;
        }
        at += size;
    }
    CHECK_EQ(shutdown(self->fd, SHUT_WR), 0);
    return NULL;
}

/* Another thread, which gets frames through a pipe, frees them late and refills. */
struct helper {
    fixedpool_ring *r;
    int             pipe[2];
};

static void *free_late(void *argument)
{
    struct helper *self = argument;
    int            frame;

    while (read(self->pipe[0], &frame, sizeof frame) == sizeof frame) {
        if (frame % 3 == 0) usleep(50);
        if (frame % 2) {
            CHECK_EQ(fixedpool_ring_recycle(self->r, frame), 0);
        } else {
            CHECK_EQ(fixedpool_free(pool, frame), 0);
            int level = fixedpool_ring_refill(self->r);
            CHECK(level >= 0 || level == -ENOBUFS);
        }
    }
    return NULL;
}

/* What the receiver knows. */
struct receiver {
    struct ring     ring;
    fixedpool_ring *r;
    struct helper   helper;
    uint64_t        at, storms, parts;
    bool            armed, ended;
};

static void arm(struct receiver *self, int fd)
{
    struct sqe request = {.opcode = RECV, .flags = BUFFER_SELECT, .fd = fd, .user_data = 5};
    request.buf_index  = 7; /* the group */
    request.ioprio     = has_multishot ? MULTISHOT : 0;
    CHECK_EQ(push(&self->ring, &request), 0);
    self->armed = true;
}

static void take(struct receiver *self, const struct cqe *event)
{
    void *data = NULL;
    int   frame = fixedpool_ring_frame(self->r, event->res, event->flags, &data);

    if (!(event->flags & MORE)) self->armed = false;
    if (event->res == 0) self->ended = true;
    if (event->res == -ENOBUFS) self->storms++;
    else CHECK(event->res >= 0);
    if (event->res > 0) CHECK(frame >= 0);
    if (frame < 0) return;
    int wrong = 0;
    for (int i = 0; i < event->res; i++)
        wrong += ((unsigned char *)data)[i] != byte_at(self->at + (uint64_t)i);
    CHECK_EQ(wrong, 0);
    self->at += (uint64_t)event->res;
    if (event->flags & 1 << 4) { /* the kernel goes on to fill it */
        self->parts++;
        return;
    }
    if (self->at % 3 == 0) CHECK_EQ(fixedpool_ring_recycle(self->r, frame), 0);
    else CHECK_EQ(write(self->helper.pipe[1], &frame, sizeof frame), sizeof frame);
}

static void receive(const struct stream *stream)
{
    static struct receiver self;
    struct sender          sender;
    pthread_t              threads[2];
    struct cqe             event;
    int                    ends[2];

    memset(&self, 0, sizeof self);
    make(4096, stream->frames);
    if (open_ring_with(&self.ring, stream->setup) != 0) exit(1);
    CHECK_EQ(fixedpool_ring_open(pool, self.ring.fd, 7, stream->entries, stream->flags, &self.r),
             0);
    connect_two(stream->family, ends);
    CHECK_EQ(pipe(self.helper.pipe), 0);
    self.helper.r = self.r;
    sender        = (struct sender){ends[0], stream->bytes};
    pthread_create(&threads[0], NULL, send_all, &sender);
    pthread_create(&threads[1], NULL, free_late, &self.helper);
    while (!self.ended && atomic_load(&check_failures) == 0) {
        if (!self.armed) {
            int level = fixedpool_ring_refill(self.r);
            CHECK(level >= 0 || level == -ENOBUFS);
            arm(&self, ends[1]); /* with an empty ring, too: then it ends at once */
        }
        CHECK(await(&self.ring, &event));
        take(&self, &event);
    }
    CHECK_EQ(self.at, stream->bytes);
    close(self.helper.pipe[1]);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    CHECK_EQ(fixedpool_destroy(pool), -EBUSY);
    CHECK_EQ(fixedpool_ring_close(self.r), 0);
    CHECK_EQ(leased(), 0);
    CHECK(self.storms > 0);
    if (stream->flags) CHECK(self.parts > 0);
    close(ends[0]);
    close(ends[1]);
    close(self.helper.pipe[0]);
    close_ring(&self.ring);
    end();
}

static void every_byte_of_a_socket_pair(void)
{
    receive(&(struct stream){AF_UNIX, 0, 0, 6, 4, 3000000});
    if (threads_have_rings)
        receive(&(struct stream){AF_UNIX, SINGLE_ISSUER | DEFER_TASKRUN, 0, 3, 8, 1000000});
}

static void every_byte_of_a_tcp_connection(void)
{
    receive(&(struct stream){AF_INET, 0, 0, 5, 2, 3000000});
    if (threads_have_rings)
        receive(&(struct stream){AF_INET, SINGLE_ISSUER | DEFER_TASKRUN, 0, 8, 8, 3000000});
}

static void frames_filled_in_parts(void)
{
    if (!has_parts) {
        check_skip("this kernel does not consume buffers in parts");
        return;
    }
    receive(&(struct stream){AF_UNIX, 0, FIXEDPOOL_RING_INCREMENTAL, 4, 2, 2000000});
    receive(&(struct stream){AF_INET, 0, FIXEDPOOL_RING_INCREMENTAL, 4, 4, 2000000});
}

/* ---- Levels and ends ---- */

static void the_level_of_a_ring(void)
{
    struct ring     ring;
    fixedpool_ring *r;
    int             mine[8];

    make(4096, 8);
    if (open_ring(&ring) != 0) exit(1);
    CHECK_EQ(fixedpool_ring_open(pool, ring.fd, 1, 4, 0, &r), 0);
    CHECK_EQ(leased(), 0);
    CHECK_EQ(fixedpool_alloc_many(pool, mine, 8), 8);
    CHECK_EQ(fixedpool_ring_refill(r), -ENOBUFS);
    CHECK_EQ(fixedpool_free_many(pool, mine, 3), 3);
    CHECK_EQ(fixedpool_ring_refill(r), 3);
    CHECK_EQ(fixedpool_ring_recycle(r, mine[3]), 0);
    CHECK_EQ(leased(), 8);
    CHECK_EQ(fixedpool_ring_recycle(r, mine[4]), 0); /* full: it is free */
    CHECK_EQ(leased(), 7);
    CHECK_EQ(fixedpool_ring_recycle(r, mine[4]), -EALREADY);
    CHECK_EQ(fixedpool_ring_recycle(r, mine[3]), -EALREADY);
    CHECK_EQ(fixedpool_ring_recycle(r, 8), -EINVAL);
    CHECK_EQ(fixedpool_ring_recycle(r, -1), -EINVAL);
    CHECK_EQ(fixedpool_ring_refill(r), 4);
    CHECK_EQ(leased(), 7);
    struct fixedpool_info info;
    fixedpool_stats(pool, &info);
    CHECK_EQ(info.buffer_rings, 1);
    CHECK_EQ(fixedpool_free_many(pool, mine + 5, 3), 3);
    CHECK_EQ(fixedpool_destroy(pool), -EBUSY);
    CHECK_EQ(fixedpool_ring_close(r), 0);
    CHECK_EQ(leased(), 0);
    close_ring(&ring);
    end();
}

/* One receive, of one byte. */
static struct cqe receive_one(struct ring *ring)
{
    struct sqe request = {.opcode = RECV, .flags = BUFFER_SELECT, .user_data = 1, .buf_index = 1};
    struct cqe event   = {0, 0, 0};
    int        ends[2];

    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    CHECK_EQ(write(ends[0], "x", 1), 1);
    request.fd = ends[1];
    CHECK_EQ(push(ring, &request), 0);
    CHECK(await(ring, &event));
    close(ends[0]);
    close(ends[1]);
    return event;
}

/* Whether the kernel says how far it is in a group: since Linux 6.8. */
static bool says_status(int fd)
{
    uint32_t status[10] = {1, 0};
    return syscall(REGISTER, fd, STATUS, status, 1) == 0;
}

static void a_completion_counts_once(void)
{
    struct ring     ring;
    fixedpool_ring *r;
    void           *data = NULL;

    make(4096, 4);
    if (open_ring(&ring) != 0) exit(1);
    CHECK_EQ(fixedpool_ring_open(pool, ring.fd, 1, 4, 0, &r), 0);
    CHECK_EQ(receive_one(&ring).res, -ENOBUFS);
    CHECK_EQ(fixedpool_ring_refill(r), 4);
    struct cqe event = receive_one(&ring);
    CHECK_EQ(event.res, 1);
    if (says_status(ring.fd)) CHECK_EQ(fixedpool_ring_close(r), -EBUSY);
    int frame = fixedpool_ring_frame(r, event.res, event.flags, &data);
    CHECK_EQ(frame, event.flags >> 16);
    CHECK(data == fixedpool_ptr(pool, frame) && *(char *)data == 'x');
    CHECK_EQ(fixedpool_ring_frame(r, event.res, event.flags, &data), -EINVAL); /* again */
    CHECK_EQ(fixedpool_ring_frame(r, 1, 4u << 16 | 1, NULL), -EINVAL);
    CHECK_EQ(fixedpool_ring_frame(r, 1, 0, NULL), -ENODATA);
    CHECK_EQ(fixedpool_free(pool, frame), 0);
    CHECK_EQ(fixedpool_ring_recycle(r, frame), -EALREADY);
    CHECK_EQ(fixedpool_ring_refill(r), 4);
    CHECK_EQ(fixedpool_ring_close(r), 0);
    CHECK_EQ(leased(), 0);
    close_ring(&ring);
    end();
}

static void a_ring_that_is_gone(void)
{
    struct ring     ring;
    fixedpool_ring *r, *other;

    make(4096, 8);
    if (open_ring(&ring) != 0) exit(1);
    CHECK_EQ(fixedpool_ring_open(pool, ring.fd, 1, 4, 0, &r), 0);
    CHECK_EQ(fixedpool_ring_open(pool, ring.fd, 2, 4, 0, &other), 0);
    CHECK_EQ(fixedpool_ring_refill(r), 4);
    CHECK_EQ(fixedpool_ring_refill(other), 4);
    struct {
        uint64_t address;
        uint32_t entries;
        uint16_t group, flags;
        uint64_t reserved[3];
    } group = {0, 0, 1, 0, {0, 0, 0}};
    CHECK_EQ(syscall(REGISTER, ring.fd, UNGROUP, &group, 1), 0); /* by hand */
    CHECK_EQ(fixedpool_ring_close(r), 0);
    CHECK_EQ(leased(), 4);
    int event = ring.fd; /* closed, and the number used again */
    close_ring(&ring);
    CHECK_EQ(eventfd(0, EFD_CLOEXEC), event);
    CHECK_EQ(fixedpool_ring_close(other), 0);
    close(event);
    end();
}

/* ---- Refusals ---- */

static void refusals(void)
{
    struct ring     ring;
    fixedpool_ring *r, *second;
    int             ends[2];

    make(4096, 8);
    if (open_ring(&ring) != 0) exit(1);
    CHECK_EQ(pipe(ends), 0);
    r = (fixedpool_ring *)&ring;
    CHECK_EQ(fixedpool_ring_open(NULL, ring.fd, 1, 4, 0, &r), -EINVAL);
    CHECK(r == NULL);
    CHECK_EQ(fixedpool_ring_open(pool, ring.fd, 1, 4, 0, NULL), -EINVAL);
    CHECK_EQ(fixedpool_ring_open(pool, ring.fd, 1, 0, 0, &r), -EINVAL);
    CHECK_EQ(fixedpool_ring_open(pool, ring.fd, 1, 3, 0, &r), -EINVAL);
    CHECK_EQ(fixedpool_ring_open(pool, ring.fd, 1, 65536, 0, &r), -EINVAL);
    CHECK_EQ(fixedpool_ring_open(pool, ring.fd, 1, 4, 2, &r), -EINVAL);
    CHECK_EQ(fixedpool_ring_open(pool, -1, 1, 4, 0, &r), -EBADF);
    CHECK_EQ(fixedpool_ring_open(pool, 9999, 1, 4, 0, &r), -EBADF);
    CHECK_EQ(fixedpool_ring_open(pool, ends[0], 1, 4, 0, &r), -EOPNOTSUPP);
    CHECK_EQ(fixedpool_ring_open(pool, ring.fd, 1, 32768, 0, &r), 0);
    CHECK_EQ(fixedpool_ring_open(pool, ring.fd, 1, 4, 0, &second), -EEXIST);
    CHECK(second == NULL);
    refusal[UNGROUP] = EPERM; /* a filter, say: nothing has changed */
    CHECK_EQ(fixedpool_ring_refill(r), 8);
    CHECK_EQ(fixedpool_ring_close(r), -EPERM);
    CHECK_EQ(leased(), 8);
    refusal[UNGROUP] = 0;
    CHECK_EQ(fixedpool_ring_close(r), 0);
    CHECK_EQ(fixedpool_ring_refill(NULL), -EINVAL);
    CHECK_EQ(fixedpool_ring_recycle(NULL, 0), -EINVAL);
    CHECK_EQ(fixedpool_ring_frame(NULL, 1, 1, NULL), -EINVAL);
    CHECK_EQ(fixedpool_ring_close(NULL), 0);
    CHECK_EQ(leased(), 0);
    close(ends[0]);
    close(ends[1]);
    close_ring(&ring);
    end();
}

static fixedpool_ring *of_another;
static int             other_fd, other_answers[2];

static void *in_another_thread(void *unused)
{
    fixedpool_ring *r;
    other_answers[0] = fixedpool_ring_open(pool, other_fd, 2, 4, 0, &r);
    other_answers[1] = fixedpool_ring_close(of_another);
    return unused;
}

static void a_ring_of_another_thread(void)
{
    struct ring ring;
    pthread_t   thread;

    make(4096, 8);
    if (open_ring_with(&ring, SINGLE_ISSUER | DEFER_TASKRUN) != 0) exit(1);
    CHECK_EQ(fixedpool_ring_open(pool, ring.fd, 1, 4, 0, &of_another), 0);
    CHECK_EQ(fixedpool_ring_refill(of_another), 4);
    other_fd = ring.fd;
    pthread_create(&thread, NULL, in_another_thread, NULL);
    pthread_join(thread, NULL);
    CHECK_EQ(other_answers[0], -EPERM);
    CHECK_EQ(other_answers[1], -EPERM);
    CHECK_EQ(leased(), 4);
    CHECK_EQ(fixedpool_ring_close(of_another), 0);
    close_ring(&ring);
    end();
}

/* By the refusals of older kernels. */
static void an_older_kernel(void)
{
    fixedpool_ring *r;
    int             event = eventfd(0, EFD_CLOEXEC); /* any descriptor */

    make(4096, 8);
    refusal[GROUP] = EINVAL;
    CHECK_EQ(fixedpool_ring_open(pool, event, 1, 4, 0, &r), -ENOSYS);
    refusal[GROUP] = ENOSYS;
    CHECK_EQ(fixedpool_ring_open(pool, event, 1, 4, 0, &r), -ENOSYS);
    refusal[GROUP] = ENOMEM;
    CHECK_EQ(fixedpool_ring_open(pool, event, 1, 4, 0, &r), -ENOMEM);
    refusal[GROUP] = 0;
    answers        = true;
    knows_flags    = false;
    CHECK_EQ(fixedpool_ring_open(pool, event, 1, 4, FIXEDPOOL_RING_INCREMENTAL, &r), -ENOSYS);
    CHECK_EQ(fixedpool_ring_open(pool, event, 1, 4, 0, &r), 0);
    CHECK_EQ(fixedpool_ring_refill(r), 4);
    CHECK_EQ(fixedpool_ring_close(r), 0);
    knows_flags = true;
    answers     = false;
    close(event);
    end();
}

/* ---- A storm ----
 *
 * The test is the kernel: it reads entries up to the tail, sees that no frame is in two of them,
 * and passes completions to threads that free, recycle and refill. */

enum { STORM_FRAMES = 48, STORM_THREADS = 3 };

static fixedpool_ring *storm_ring;
static atomic_int      storm_box[STORM_THREADS]; /* frame + 1 */
static atomic_bool     storm_over;

static void *storm_worker(void *argument)
{
    atomic_int *box  = argument;
    uint32_t    turn = 0;

    while (!atomic_load(&storm_over)) {
        int frame = atomic_exchange(box, 0) - 1;
        if (frame < 0) continue;
        if (turn++ % 2) {
            CHECK_EQ(fixedpool_ring_recycle(storm_ring, frame), 0);
        } else {
            CHECK_EQ(fixedpool_free(pool, frame), 0);
            int level = fixedpool_ring_refill(storm_ring);
            CHECK(level >= 0 || level == -ENOBUFS);
        }
    }
    int frame = atomic_exchange(box, 0) - 1;
    if (frame >= 0) CHECK_EQ(fixedpool_free(pool, frame), 0);
    return NULL;
}

/* Gives a frame to a thread that has none. */
static void storm_pass(int frame, uint64_t *seed)
{
    for (;;) {
        int none = 0;
        if (atomic_compare_exchange_strong(&storm_box[check_random(seed) % STORM_THREADS], &none,
                                           frame + 1))
            return;
    }
}

static void any_thread_refills(void)
{
    pthread_t threads[STORM_THREADS];
    uint64_t  seed = 1, taken = 0;
    uint16_t  head  = 0;
    int       event = eventfd(0, EFD_CLOEXEC), idle = 0;

    make(4096, STORM_FRAMES);
    answers = true;
    CHECK_EQ(fixedpool_ring_open(pool, event, 1, 16, 0, &storm_ring), 0);
    CHECK_EQ(fixedpool_ring_refill(storm_ring), 16);
    for (int i = 0; i < STORM_THREADS; i++)
        pthread_create(&threads[i], NULL, storm_worker, &storm_box[i]);
    while (taken < 12000 && idle < 2000 && atomic_load(&check_failures) == 0) {
        uint16_t tail = atomic_load_explicit(&storm_ring->buffers[0].tail, memory_order_acquire);
        if (tail == head) { /* what the last request asked for must be there soon */
            idle++;
            usleep(1000);
            continue;
        }
        idle = 0;
        CHECK((uint16_t)(tail - head) <= 16);
        const fixedpool__buffer *entry = &storm_ring->buffers[head++ % 16];
        uint32_t                 id    = entry->id; /* the entry is written again soon */
        CHECK(entry->length == 4096 &&
              fixedpool_frame_of(pool, (void *)(uintptr_t)entry->address) == (int)id);
        int frame = fixedpool_ring_frame(storm_ring, 4096, id << 16 | 1, NULL);
        CHECK_EQ(frame, id); /* -EINVAL: in two entries, or in a wrong one */
        if (frame < 0) break;
        taken++;
        storm_pass(frame, &seed);
    }
    CHECK_EQ(taken, 12000); /* else a request to refill was lost, and all have waited since */
    atomic_store(&storm_over, true);
    for (int i = 0; i < STORM_THREADS; i++) pthread_join(threads[i], NULL);
    CHECK_EQ(fixedpool_ring_close(storm_ring), 0);
    CHECK_EQ(leased(), 0);
    answers = false;
    close(event);
    end();
}

/* What this kernel has. */
static void look_around(void)
{
    struct ring     ring;
    fixedpool_ring *r;

    if (open_ring(&ring) != 0) return;
    make(4096, 1);
    has_groups = fixedpool_ring_open(pool, ring.fd, 1, 1, 0, &r) == 0;
    if (has_groups) fixedpool_ring_close(r);
    has_parts = fixedpool_ring_open(pool, ring.fd, 1, 1, FIXEDPOOL_RING_INCREMENTAL, &r) == 0;
    if (has_parts) fixedpool_ring_close(r);
    close_ring(&ring);
    if (open_ring_with(&ring, SINGLE_ISSUER) == 0) {
        has_multishot = true; /* both are of Linux 6.0 */
        close_ring(&ring);
    }
    threads_have_rings = open_ring_with(&ring, SINGLE_ISSUER | DEFER_TASKRUN) == 0;
    if (threads_have_rings) close_ring(&ring);
    end();
}

int main(void)
{
    look_around();
    RUN(an_older_kernel);
    RUN(any_thread_refills);
    if (has_groups) {
        RUN(the_level_of_a_ring);
        RUN(a_completion_counts_once);
        RUN(a_ring_that_is_gone);
        RUN(refusals);
        RUN(every_byte_of_a_socket_pair);
        RUN(every_byte_of_a_tcp_connection);
        RUN(frames_filled_in_parts);
        if (threads_have_rings) RUN(a_ring_of_another_thread);
    } else puts("# no buffer rings here");
    return REPORT();
}
