/* Two pages, an event loop with a thousand messages to send, and a thread that returns them. */
#define SLAB_IMPLEMENTATION
#include "slab.h"
#include <pthread.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

static int  queued = 1000, queue[2], bell;
static void send_id(slab_id id)
{
    if (write(queue[1], &id, sizeof id) != sizeof id) queued = -1;
}

BLOCK

static slab_pool *pool;

static void *return_all(void *unused)
{
    slab_id id;
    while (read(queue[0], &id, sizeof id) == sizeof id) {
        int result = slab_pool_return(pool, id);
        if (result < 0 || (result == SLAB_WAKE_OWNER && eventfd_write(bell, 1) != 0)) return pool;
    }
    return unused;
}

int main(void)
{
    slab_pool_config config = {.page_count = 2};
    pthread_t        thread;
    void            *failed;

    bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (bell < 0 || pipe(queue) != 0 || slab_pool_create(&pool, &config) != 0) return 1;
    if (pthread_create(&thread, NULL, return_all, NULL) != 0) return 1;
    if (event_loop(pool, epoll_create1(EPOLL_CLOEXEC), bell) != 0 || queued != 0) return 2;
    close(queue[1]);
    pthread_join(thread, &failed);
    return failed || slab_pool_destroy(pool) != 0;
}
