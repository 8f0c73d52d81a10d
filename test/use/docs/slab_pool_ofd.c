/* A peer that gets four pages, returns one and is killed. */
#define SLAB_IMPLEMENTATION
#include "slab.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int queue;

BLOCK

static int peer(int ids, slab_pool_config config)
{
    slab_pool *view;
    slab_id    id;
    if (be_peer(config.fd, 5) != 0) return 1;
    if (slab_pool_attach(&view, config.memory, config.memory_size) != 0) return 1;
    if (read(ids, &id, sizeof id) != sizeof id || slab_pool_return(view, id) != 0) return 2;
    for (;;) pause();
}

int main(void)
{
    slab_pool_config config = {.page_size = 64, .page_count = 9, .lends = true};
    slab_pool       *pool;
    slab_id          id;
    int              ids[2];

    config.memory_size = slab_pool_footprint(&config);
    config.fd          = memfd_create("pages", MFD_CLOEXEC);
    if (ftruncate(config.fd, (off_t)config.memory_size) != 0) return 1;
    config.memory =
        mmap(NULL, config.memory_size, PROT_READ | PROT_WRITE, MAP_SHARED, config.fd, 0);
    if (slab_pool_create(&pool, &config) != 0 || pipe(ids) != 0) return 1;
    queue     = ids[1];
    pid_t pid = fork();
    if (pid == 0) _exit(peer(ids[0], config));
    for (int i = 0; i < 4; i++) {
        if (slab_pool_put(pool, "text", 5, &id) != 0 || slab_pool_lend(pool, id, 5) != 0) return 2;
        if (write(queue, &id, sizeof id) != sizeof id) return 3;
    }
    while (slab_pool_drain(pool) == 0) usleep(100);
    printf("alive: %zu pages reaped\n", has_ended(config.fd, 5) ? slab_pool_reap(pool, 5) : 0);
    kill(pid, SIGKILL);
    while (!has_ended(config.fd, 5)) usleep(100);
    printf("dead: %zu pages reaped, 1 was returned\n", slab_pool_reap(pool, 5));
    return slab_pool_destroy(pool) != 0;
}
