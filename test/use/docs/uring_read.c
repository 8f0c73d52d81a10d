/* Reads its own program, which begins with 0x7f ELF. */
#define FIXEDPOOL_IMPLEMENTATION
#include "fixedpool.h"
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>

static void use(const void *data, int bytes)
{
    if (bytes >= 4) printf("%.3s\n", (const char *)data + 1);
}

BLOCK

int main(void)
{
    fixedpool_config config = {.frame_count = 64};
    fixedpool       *pool;
    struct io_uring  ring;
    if (io_uring_queue_init(4, &ring, 0) != 0) return 77;
    int fd = open("/proc/self/exe", O_RDONLY);
    if (fd < 0 || fixedpool_create(&pool, &config) != 0) return 1;
    if (fixedpool_register(pool, ring.ring_fd) != 0) return 2;
    if (start_read(&ring, pool, fd, 0) != 0 || finish_read(&ring, pool) <= 0) return 3;
    if (fixedpool_unregister(pool, ring.ring_fd) != 0) return 4;
    io_uring_queue_exit(&ring);
    return fixedpool_destroy(pool);
}
