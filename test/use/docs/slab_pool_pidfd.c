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
    if (slab_pool_attach(&view, config.memory, config.memory_size) != 0) return 1;
    if (read(ids, &id, sizeof id) != sizeof id || slab_pool_return(view, id) != 0) return 2;
    for (;;) pause();
}

int main(void)
{
    slab_pool_config config = {.page_size = 64, .page_count = 9, .lends = true};
    size_t           reaped = 0, before;
    slab_pool       *pool;
    int              ids[2];

    config.memory_size = slab_pool_footprint(&config);
    config.memory      = mmap(NULL, config.memory_size, PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (slab_pool_create(&pool, &config) != 0 || pipe(ids) != 0) return 1;
    queue     = ids[1];
    pid_t pid = fork();
    if (pid == 0) _exit(peer(ids[0], config));
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    for (int i = 0; i < 4; i++)
        if (send_to(pool, 1, "text") != 0) return 2;
    while (slab_pool_drain(pool) == 0) usleep(100);
    before = pages_of_the_dead(pool, 1, pidfd);
    printf("alive: %zu pages reaped\n", before);
    kill(pid, SIGKILL);
    while (reaped == 0) reaped = pages_of_the_dead(pool, 1, pidfd);
    printf("dead: %zu pages reaped, 1 was returned\n", reaped);
    return slab_pool_destroy(pool) != 0;
}
