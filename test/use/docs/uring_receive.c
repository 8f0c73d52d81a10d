/* Receives a stream from a socket pair, into two frames. */
#define FIXEDPOOL_IMPLEMENTATION
#include "fixedpool.h"
#include <liburing.h>
#include <stdio.h>
#include <sys/socket.h>

static size_t received, wrong;

static void use(const void *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++, received++)
        wrong += ((const unsigned char *)data)[i] != received % 251;
}

BLOCK

int main(void)
{
    static unsigned char sent[40000];
    fixedpool_config     config = {.frame_size = 4096, .frame_count = 2};
    fixedpool           *pool;
    fixedpool_ring      *frames;
    struct io_uring      ring;
    int                  ends[2];

    for (size_t i = 0; i < sizeof sent; i++) sent[i] = (unsigned char)(i % 251);
    if (io_uring_queue_init(4, &ring, 0) != 0) return 77;
    if (fixedpool_create(&pool, &config) != 0) return 1;
    int error = fixedpool_ring_open(pool, ring.ring_fd, 7, 64, 0, &frames);
    if (error == -ENOSYS) return 77;
    if (error || fixedpool_ring_refill(frames) != 2) return 2;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return 3;
    if (write(ends[0], sent, sizeof sent) != sizeof sent) return 4;
    shutdown(ends[0], SHUT_WR);
    start_receive(&ring, ends[1]);
    while (receive_some(&ring, frames, ends[1])) {
    }
    if (received != sizeof sent || wrong) return 5;
    if (fixedpool_ring_close(frames) != 0) return 6;
    io_uring_queue_exit(&ring);
    return fixedpool_destroy(pool);
}
