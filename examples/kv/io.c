/* io.c - sockets of one thread: io_uring, or epoll where the kernel has none.
 *
 * With io_uring each connection has at most one receive and one send under way. Receives name no
 * memory: a fixedpool_ring offers a few frames to all connections, and the kernel takes one when
 * data is there, so ten thousand idle connections hold none. A frame goes back as soon as its
 * requests were run. One system call submits what a batch of requests led to, and waits for the
 * next: that is all there are.
 *
 *     io_uring_enter -> received: frame -> client_received -> replies in a buffer -> loop_flush
 *           ^                       frame back to the ring                               |
 *           +----------------------- one send and one receive for each client ----------+
 *
 * epoll receives into one frame of the same pool, and sends at once. */
#define FIXEDPOOL_API static inline
#define FIXEDPOOL_IMPLEMENTATION
#include "fixedpool.h"

#include "kv.h"

#include <linux/io_uring.h>
#include <linux/time_types.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

enum {
    FRAME = 8 << 10, FRAMES = 128,         /* a power of 2 */
    SUBMISSIONS = 512, COMPLETIONS = 4096, /* more wait in the kernel */
    EVENTS = 256, GROUP = 1,
    RECEIVED = 0, SENT = 1, ACCEPTED = 2, KINDS = 3, /* in the low bits of user_data */
    RETRY_MS = 100,                                  /* after accept failed */
};

struct io {
    int       listener, epoll, ring; /* ring -1: epoll */
    bool      accepting;             /* ring: a request is under way */
    uint64_t  accept_after;          /* ms */
    fixedpool      *pool;
    fixedpool_ring *buffers;
    int             frame; /* epoll's */

    /* Shared with the kernel: we write sq_tail and cq_head, it writes sq_head and cq_tail. */
    unsigned char             *queues;
    struct io_uring_sqe       *submissions;
    const struct io_uring_cqe *completions;
    _Atomic(uint32_t)         *sq_head, *sq_tail, *cq_head, *cq_tail;
    uint32_t                   sq_mask, cq_mask, queued;
    size_t                     queues_size;
};

const char *io_name(const struct loop *loop) { return loop->io->ring >= 0 ? "io_uring" : "epoll"; }

/* -- io_uring -- */

static int enter(struct io *io, unsigned wait, int timeout_ms)
{
    struct __kernel_timespec     time  = {timeout_ms / 1000, timeout_ms % 1000 * 1000000LL};
    struct io_uring_getevents_arg arg  = {.ts = (uintptr_t)&time};
    unsigned                     flags = IORING_ENTER_EXT_ARG | IORING_ENTER_GETEVENTS;
    long n = syscall(SYS_io_uring_enter, io->ring, io->queued, wait, flags, &arg, sizeof arg);
    if (n > 0) io->queued -= (uint32_t)n;
    return n < 0 ? -errno : 0;
}

static struct io_uring_sqe *submission(struct io *io, void *about, unsigned kind)
{
    while (io->queued > io->sq_mask && enter(io, 0, 0) == 0) {}
    /* relaxed: our own count. */
    uint32_t tail = atomic_load_explicit(io->sq_tail, memory_order_relaxed);
    struct io_uring_sqe *entry = &io->submissions[tail & io->sq_mask];
    memset(entry, 0, sizeof *entry);
    entry->user_data = (uintptr_t)about | kind;
    /* release, pairs with the kernel's acquire in io_uring_enter: which comes after the caller has
       filled in the entry, as this thread alone enters. */
    atomic_store_explicit(io->sq_tail, tail + 1, memory_order_release);
    io->queued++;
    return entry;
}

static void ring_accept(struct io *io)
{
    struct io_uring_sqe *entry = submission(io, NULL, ACCEPTED);
    entry->opcode       = IORING_OP_ACCEPT;
    entry->fd           = io->listener;
    entry->ioprio       = IORING_ACCEPT_MULTISHOT;
    entry->accept_flags = SOCK_CLOEXEC;
    io->accepting       = true;
}

static void ring_completed(struct loop *loop, const struct io_uring_cqe *result)
{
    struct io     *io     = loop->io;
    unsigned       kind   = (unsigned)result->user_data & KINDS;
    struct client *client = (struct client *)(uintptr_t)(result->user_data & ~(uint64_t)KINDS);
    void          *data;

    if (kind == ACCEPTED) {
        if (!(result->flags & IORING_CQE_F_MORE)) io->accepting = false;
        if (result->res < 0) io->accept_after = clock_ms() + RETRY_MS;
        else if ((client = client_open(loop, result->res))) io_receive(client);
    } else if (kind == SENT) {
        client->sending = false;
        if (result->res < 0 && result->res != -EINTR && result->res != -EAGAIN) client_fail(client);
        else client_sent(client, result->res < 0 ? 0 : (size_t)result->res);
        if (client->flying.len > 0 && !client->gone) io_send(client);
    } else {
        client->receiving = false;
        int frame = fixedpool_ring_frame(io->buffers, result->res, result->flags, &data);
        if (frame >= 0 && result->res > 0) client_received(client, data, (size_t)result->res);
        else if (result->res == -ENOBUFS || result->res == -EINTR)
            (void)fixedpool_ring_refill(io->buffers);
        else if (result->res == 0) client_finish(client);
        else client_fail(client);
        if (frame >= 0) (void)fixedpool_ring_recycle(io->buffers, frame);
        client_mark(client);
    }
}

static int ring_wait(struct loop *loop, int timeout_ms)
{
    struct io *io = loop->io;
    if (!io->accepting && !loop->draining && clock_ms() >= io->accept_after) ring_accept(io);
    int error = enter(io, 1, timeout_ms);
    if (error && error != -ETIME && error != -EINTR && error != -EBUSY) return error;
    loop->plane->now = clock_ms();
    /* relaxed: our own count. */
    uint32_t head = atomic_load_explicit(io->cq_head, memory_order_relaxed);
    /* acquire, pairs with the kernel's release: the completions up to there are written. */
    uint32_t tail = atomic_load_explicit(io->cq_tail, memory_order_acquire);
    for (; head != tail; head++) {
        struct io_uring_cqe result = io->completions[head & io->cq_mask];
        ring_completed(loop, &result);
    }
    /* release, pairs with the kernel's acquire: we have read the completions. */
    atomic_store_explicit(io->cq_head, head, memory_order_release);
    return 0;
}

static int ring_map(struct io *io, const struct io_uring_params *params)
{
    const struct io_sqring_offsets *sq = &params->sq_off;
    const struct io_cqring_offsets *cq = &params->cq_off;
    size_t sq_size = sq->array + params->sq_entries * sizeof(uint32_t);
    size_t cq_size = cq->cqes + params->cq_entries * sizeof *io->completions;
    int    access = PROT_READ | PROT_WRITE, flags = MAP_SHARED | MAP_POPULATE;

    if (!(params->features & IORING_FEAT_SINGLE_MMAP) || !(params->features & IORING_FEAT_EXT_ARG))
        return -ENOSYS;
    io->queues_size = sq_size > cq_size ? sq_size : cq_size;
    io->queues      = mmap(NULL, io->queues_size, access, flags, io->ring, IORING_OFF_SQ_RING);
    io->submissions = mmap(NULL, params->sq_entries * sizeof *io->submissions, access, flags,
                           io->ring, IORING_OFF_SQES);
    if (io->queues == MAP_FAILED || io->submissions == MAP_FAILED) return -errno;
    io->sq_head     = (void *)(io->queues + sq->head);
    io->sq_tail     = (void *)(io->queues + sq->tail);
    io->cq_head     = (void *)(io->queues + cq->head);
    io->cq_tail     = (void *)(io->queues + cq->tail);
    io->completions = (void *)(io->queues + cq->cqes);
    io->sq_mask = params->sq_entries - 1, io->cq_mask = params->cq_entries - 1;
    for (uint32_t i = 0; i < params->sq_entries; i++)
        ((uint32_t *)(void *)(io->queues + sq->array))[i] = i; /* each place its own entry */
    return 0;
}

static int ring_open(struct io *io)
{
    struct io_uring_params params = {.flags = IORING_SETUP_CQSIZE | IORING_SETUP_SINGLE_ISSUER |
                                              IORING_SETUP_DEFER_TASKRUN,
                                     .cq_entries = COMPLETIONS};
    io->ring = (int)syscall(SYS_io_uring_setup, SUBMISSIONS, &params);
    if (io->ring < 0 && errno == EINVAL) { /* before Linux 6.1 */
        params.flags = IORING_SETUP_CQSIZE;
        io->ring = (int)syscall(SYS_io_uring_setup, SUBMISSIONS, &params);
    }
    if (io->ring < 0) return -errno;
    int error = ring_map(io, &params);
    if (!error) error = fixedpool_ring_open(io->pool, io->ring, GROUP, FRAMES, 0, &io->buffers);
    if (!error && fixedpool_ring_refill(io->buffers) < 0) error = -ENOBUFS;
    if (!error) return 0;
    close(io->ring);
    io->ring = -1;
    return error;
}

/* -- epoll -- */

static void interest(struct client *client, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = client};
    int                how   = client->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (client->watched && client->interest == events) return;
    if (epoll_ctl(client->loop->io->epoll, how, client->fd, &event) != 0) {
        client_fail(client);
        return;
    }
    client->watched = true, client->interest = events;
}

static void epoll_accept(struct loop *loop)
{
    struct client *client;
    for (int fd; (fd = accept4(loop->io->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0;)
        if ((client = client_open(loop, fd))) io_receive(client);
    if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL); /* it would come again at once */
}

static void epoll_happened(struct client *client, uint32_t events)
{
    struct io *io   = client->loop->io;
    void      *data = fixedpool_ptr(io->pool, io->frame);

    if (events & EPOLLOUT) io_send(client);
    if (events & EPOLLIN && (client->paused || client->closing)) {
        interest(client, client->interest & ~(uint32_t)EPOLLIN);
    } else if (events & EPOLLIN) {
        ssize_t n = recv(client->fd, data, FRAME, MSG_DONTWAIT);
        if (n > 0) client_received(client, data, (size_t)n);
        else if (n == 0) client_finish(client);
        else if (errno != EAGAIN && errno != EINTR) client_fail(client);
    } else if (events & (EPOLLERR | EPOLLHUP)) client_fail(client);
    client_mark(client);
}

static int epoll_wait_(struct loop *loop, int timeout_ms)
{
    struct epoll_event events[EVENTS];
    int                n = epoll_wait(loop->io->epoll, events, EVENTS, timeout_ms);
    if (n < 0 && errno != EINTR) return -errno;
    loop->plane->now = clock_ms();
    for (int i = 0; i < n; i++)
        if (events[i].data.ptr) epoll_happened(events[i].data.ptr, events[i].events);
        else epoll_accept(loop);
    return 0;
}

static void epoll_send(struct client *client)
{
    while (client->flying.len > 0) {
        ssize_t n = send(client->fd, client->flying.data + client->flying_at,
                         client->flying.len - client->flying_at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0) client_sent(client, (size_t)n);
        else if (errno == EAGAIN) {
            interest(client, client->interest | EPOLLOUT);
            return;
        } else if (errno != EINTR) {
            client_fail(client);
            return;
        }
    }
    if (client->interest & EPOLLOUT) interest(client, client->interest & ~(uint32_t)EPOLLOUT);
}

/* -- Either -- */

int io_open(struct loop *loop, int listener, enum io_kind kind)
{
    fixedpool_config shape = {.frame_size = FRAME, .frame_count = FRAMES};
    struct io       *io    = calloc(1, sizeof *io);
    int              error = io ? fixedpool_create(&io->pool, &shape) : -ENOMEM;

    loop->io = io;
    if (error) return error;
    io->listener = listener, io->ring = io->epoll = -1;
    if (kind == IO_RING && (error = ring_open(io)) == 0) return 0;
    if (kind == IO_RING)
        fprintf(stderr, "kv-server: no io_uring: %s; using epoll\n", strerror(-error));
    struct epoll_event event = {.events = EPOLLIN};
    io->frame = fixedpool_alloc(io->pool);
    io->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (io->epoll < 0 || epoll_ctl(io->epoll, EPOLL_CTL_ADD, listener, &event) != 0) return -errno;
    return 0;
}

int io_wait(struct loop *loop, int timeout_ms)
{
    return loop->io->ring >= 0 ? ring_wait(loop, timeout_ms) : epoll_wait_(loop, timeout_ms);
}

void io_receive(struct client *client)
{
    struct io *io = client->loop->io;
    if (io->ring < 0) {
        interest(client, client->interest | EPOLLIN);
        return;
    }
    if (client->receiving) return;
    struct io_uring_sqe *entry = submission(io, client, RECEIVED);
    entry->opcode     = IORING_OP_RECV;
    entry->fd         = client->fd;
    entry->flags      = IOSQE_BUFFER_SELECT;
    entry->buf_group  = GROUP;
    client->receiving = true;
}

void io_send(struct client *client)
{
    struct io *io = client->loop->io;
    if (io->ring < 0) {
        epoll_send(client);
        return;
    }
    size_t left = client->flying.len - client->flying_at;
    struct io_uring_sqe *entry = submission(io, client, SENT);
    entry->opcode    = IORING_OP_SEND;
    entry->fd        = client->fd;
    entry->addr      = (uintptr_t)client->flying.data + client->flying_at;
    entry->len       = left < 1 << 30 ? (uint32_t)left : 1 << 30;
    entry->msg_flags = MSG_NOSIGNAL | MSG_WAITALL;
    client->sending  = true;
}

/* The kernel may still write to a frame or read a buffer: the client must stay until it has said
 * that it does not. */
bool io_close(struct client *client)
{
    if (!client->receiving && !client->sending) return true;
    if (!client->shut) (void)shutdown(client->fd, SHUT_RDWR);
    client->shut = true;
    return false;
}

void io_stop_accepting(struct loop *loop)
{
    struct io *io  = loop->io;
    loop->draining = true;
    if (io->epoll >= 0) (void)epoll_ctl(io->epoll, EPOLL_CTL_DEL, io->listener, NULL);
    (void)shutdown(io->listener, SHUT_RD);
}

void io_end(struct loop *loop)
{
    struct io *io = loop->io;
    if (io->ring >= 0) {
        (void)fixedpool_ring_close(io->buffers);
        close(io->ring);
    } else {
        (void)fixedpool_free(io->pool, io->frame);
        close(io->epoll);
    }
    (void)fixedpool_destroy(io->pool);
    free(io);
}
