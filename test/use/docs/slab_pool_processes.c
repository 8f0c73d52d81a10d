/* A parent that owns a pool in a memfd, and a child that attaches to it. */
#define SLAB_IMPLEMENTATION
#include "slab.h"
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

BLOCK

static int child(int fd, slab_id id)
{
    slab_pool  *view = attach_shared(fd);
    size_t      len;
    const char *text = slab_pool_read(view, id, &len);
    if (!text) return 1;
    printf("child: %s\n", text);
    fflush(stdout);
    return slab_pool_return(view, id);
}

int main(void)
{
    int        fd, status;
    slab_id    id;
    slab_pool *pool = create_shared(&fd);
    if (!pool || slab_pool_put(pool, "hello", 6, &id) != 0) return 1;
    pid_t pid = fork();
    if (pid == 0) _exit(child(fd, id));
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) return 1;
    printf("owner: %zu pages lost\n", slab_pool_destroy(pool));
    return 0;
}
