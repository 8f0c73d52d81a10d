/* The io_uring sample of the documentation as a whole program: writes what a file begins with. */
#define _GNU_SOURCE
#define FIXEDPOOL_IMPLEMENTATION
#include "fixedpool.h"

#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    int fd = argc == 2 ? open(argv[1], O_RDONLY) : -1;

    struct io_uring      ring;
    struct io_uring_cqe *done;
    fixedpool           *pool;
    fixedpool_config     config = {0, 64, 0}; // 64 frames of 64 KiB are 4 MiB

    if (io_uring_queue_init(64, &ring, 0) != 0) return 1;
    if (fixedpool_create(&pool, &config) != 0) return 1;
    if (fixedpool_register(pool, ring.ring_fd) != 0) return 1; // -ENOMEM: see `ulimit -l`

    int frame = fixedpool_alloc_wait(pool, -1); // any thread; sleeps while all are leased
    if (frame < 0) return 1;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    io_uring_prep_read_fixed(sqe, fd, fixedpool_ptr(pool, frame), 65536, 0,
                             fixedpool_buf_index(pool, frame));
    sqe->user_data = (unsigned)frame;
    if (io_uring_submit(&ring) != 1 || io_uring_wait_cqe(&ring, &done) != 0) return 1;
    if (done->res < 0) return 1;
    frame = (int)done->user_data;
    fwrite(fixedpool_ptr(pool, frame), 1, (size_t)done->res, stdout);
    io_uring_cqe_seen(&ring, done);
    fixedpool_free(pool, frame); // any thread
    return 0;
}
