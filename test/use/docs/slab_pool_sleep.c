/* Two pages, an owner that needs many more, and a thread that returns them. */
#define SLAB_IMPLEMENTATION
#include "slab.h"
#include <pthread.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

BLOCK

static slab_pool *pool;
static int        queue[2];

static void *return_all(void *unused)
{
    slab_id id;
    while (read(queue[0], &id, sizeof id) == sizeof id)
        if (give_back(pool, id) != 0) return pool;
    return unused;
}

int main(void)
{
    slab_pool_config config = {.page_count = 2};
    pthread_t        thread;
    void            *failed;
    slab_id          id;

    wakeup = eventfd(0, EFD_CLOEXEC);
    if (wakeup < 0 || pipe(queue) != 0 || slab_pool_create(&pool, &config) != 0) return 1;
    if (pthread_create(&thread, NULL, return_all, NULL) != 0) return 1;
    for (int i = 0; i < 1000; i++)
        if (!alloc_or_sleep(pool, 8, &id) || write(queue[1], &id, sizeof id) != sizeof id) return 1;
    close(queue[1]);
    pthread_join(thread, &failed);
    return failed || slab_pool_destroy(pool) != 0;
}
