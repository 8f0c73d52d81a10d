/* Reads this program page by page, through two pages that a thread returns; compares the size. */
#define SLAB_IMPLEMENTATION
#include "slab.h"
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

BLOCK

static slab_pool *pool;
static int        queue[2], bell;
static uint64_t   bytes;

static void *return_all(void *unused)
{
    slab_id id;
    size_t  len;
    while (read(queue[0], &id, sizeof id) == sizeof id) {
        usleep(100);
        if (!slab_pool_read(pool, id, &len)) return pool;
        bytes += len;
        int result = slab_pool_return(pool, id);
        if (result < 0 || (result == SLAB_WAKE_OWNER && eventfd_write(bell, 1) != 0)) return pool;
    }
    return unused;
}

static int finish(struct io_uring *ring, uint64_t *waits)
{
    struct io_uring_cqe *done;
    eventfd_t            count;
    if (io_uring_submit_and_wait(ring, 1) < 0 || io_uring_wait_cqe(ring, &done) != 0) return -1;
    uint64_t word   = io_uring_cqe_get_data64(done);
    int      result = done->res;
    io_uring_cqe_seen(ring, done);
    if (word == 0) {
        ++*waits;
        return eventfd_read(bell, &count);
    }
    slab_id id = slab_id_unpack(word);
    if (result < 0 || slab_pool_set_len(pool, id, (size_t)result) != 0) return -1;
    return write(queue[1], &id, sizeof id) == sizeof id ? 0 : -1;
}

int main(void)
{
    slab_pool_config config = {.page_size = 4096, .page_count = 2};
    struct io_uring  ring;
    struct stat      size;
    pthread_t        thread;
    void            *failed;
    uint64_t         waits = 0;

    if (io_uring_queue_init(4, &ring, 0) != 0) return 77;
    int file = open("/proc/self/exe", O_RDONLY);
    bell     = eventfd(0, EFD_CLOEXEC);
    if (fstat(file, &size) != 0 || pipe(queue) != 0) return 1;
    if (slab_pool_create(&pool, &config) != 0 || register_pages(&ring, pool) != 0) return 2;
    if (pthread_create(&thread, NULL, return_all, NULL) != 0) return 3;
    for (uint64_t at = 0; at < (uint64_t)size.st_size;) {
        uint64_t before = waits;
        if (!read_or_wait(&ring, pool, file, at, bell)) continue;
        if (finish(&ring, &waits) != 0) return 4;
        if (waits == before) at += 4096;
    }
    close(queue[1]);
    pthread_join(thread, &failed);
    io_uring_queue_exit(&ring);
    if (failed || waits == 0 || bytes != (uint64_t)size.st_size) return 5;
    return slab_pool_destroy(pool) != 0;
}
