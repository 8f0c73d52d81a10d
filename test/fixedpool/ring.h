/* ring.h - an io_uring by raw system calls, for the tests of fixedpool: its queues, one request at
 * a time, its completions. */
#ifndef RING_H
#define RING_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SETUP = 425, ENTER = 426, REGISTER = 427 }; /* on every machine */

struct sqe {
    uint8_t  opcode, flags;
    uint16_t ioprio;
    int32_t  fd;
    uint64_t off, addr;
    uint32_t len, rw_flags;
    uint64_t user_data;
    uint16_t buf_index, personality;
    int32_t  splice_fd;
    uint64_t pad[2];
};
struct cqe {
    uint64_t user_data;
    int32_t  res;
    uint32_t flags;
};
struct params {
    uint32_t sq_entries, cq_entries, flags, sq_cpu, sq_idle, features, wq_fd, reserved[3];
    struct {
        uint32_t head, tail, mask, entries, flags, dropped, array, reserved;
        uint64_t address;
    } sq;
    struct {
        uint32_t head, tail, mask, entries, overflow, cqes, flags, reserved;
        uint64_t address;
    } cq;
};
_Static_assert(sizeof(struct sqe) == 64 && sizeof(struct params) == 120, "the kernel's");

enum { ENTRIES = 8, READ_FIXED = 4, WRITE_FIXED = 5, QUEUES_SIZE = 4096 };

struct ring {
    int            fd;
    struct params  params;
    unsigned char *sq, *cq;
    struct sqe    *sqes;
};

enum { SINGLE_ISSUER = 1 << 12, DEFER_TASKRUN = 1 << 13 }; /* since Linux 6.0 and 6.1 */

/* 0, or the errno that says why there is none. */
static inline int open_ring_with(struct ring *ring, uint32_t setup)
{
    memset(ring, 0, sizeof *ring);
    ring->params.flags = setup;
    ring->fd           = (int)syscall(SETUP, ENTRIES, &ring->params);
    if (ring->fd < 0) return errno;
    int prot = PROT_READ | PROT_WRITE, flags = MAP_SHARED | MAP_POPULATE;
    ring->sq   = mmap(NULL, QUEUES_SIZE, prot, flags, ring->fd, 0);
    ring->cq   = mmap(NULL, QUEUES_SIZE, prot, flags, ring->fd, 0x8000000);
    ring->sqes = mmap(NULL, QUEUES_SIZE, prot, flags, ring->fd, 0x10000000);
    if ((void *)ring->sq == MAP_FAILED || (void *)ring->cq == MAP_FAILED ||
        (void *)ring->sqes == MAP_FAILED)
        exit(1);
    return 0;
}

static inline int open_ring(struct ring *ring) { return open_ring_with(ring, 0); }

static inline void close_ring(struct ring *ring)
{
    munmap(ring->sq, QUEUES_SIZE);
    munmap(ring->cq, QUEUES_SIZE);
    munmap(ring->sqes, QUEUES_SIZE);
    close(ring->fd);
}

static inline _Atomic(uint32_t) *word(unsigned char *queue, uint32_t offset)
{
    return (_Atomic(uint32_t) *)(void *)(queue + offset);
}

/* Submits one request. Returns 0 or -errno. One thread at a time submits, so its own tail and the
 * array may be accessed relaxed: nobody else writes them. */
static inline int push(struct ring *ring, const struct sqe *request)
{
    struct params *p    = &ring->params;
    uint32_t       tail = atomic_load_explicit(word(ring->sq, p->sq.tail), memory_order_relaxed);
    uint32_t       at   = tail % p->sq_entries;
    ring->sqes[at] = *request;
    atomic_store_explicit(word(ring->sq, p->sq.array + 4 * at), at, memory_order_relaxed);
    /* release, pairs with the acquire in the kernel's look at the tail: the request is whole. */
    atomic_store_explicit(word(ring->sq, p->sq.tail), tail + 1, memory_order_release);
    return syscall(ENTER, ring->fd, 1, 0, 0, NULL, 0) == 1 ? 0 : -errno;
}

/* Takes a completion, if there is one. One thread at a time takes them: the head is its own. */
static inline bool peek(struct ring *ring, struct cqe *event)
{
    struct params *p    = &ring->params;
    uint32_t       head = atomic_load_explicit(word(ring->cq, p->cq.head), memory_order_relaxed);
    /* acquire, pairs with the release in the kernel: the completion is whole. */
    if (atomic_load_explicit(word(ring->cq, p->cq.tail), memory_order_acquire) == head)
        return false;
    memcpy(event, ring->cq + p->cq.cqes + sizeof *event * (head % p->cq_entries), sizeof *event);
    /* release, pairs with the acquire in the kernel's look at the head: the copy is made. */
    atomic_store_explicit(word(ring->cq, p->cq.head), head + 1, memory_order_release);
    return true;
}

/* Waits for a completion and takes it. */
static inline bool await(struct ring *ring, struct cqe *event)
{
    while (!peek(ring, event)) { /* 1: waits for an event */
        if (syscall(ENTER, ring->fd, 0, 1, 1, NULL, 0) < 0 && errno != EINTR) return false;
    }
    return true;
}

/* Submits one request and waits for it: its result. */
static inline int submit(struct ring *ring, const struct sqe *request)
{
    struct cqe event;
    if (push(ring, request) != 0 || !await(ring, &event)) return -ENODATA;
    return event.user_data == request->user_data ? event.res : -ENOMSG;
}

#endif /* RING_H */
