/* An owner that is killed, one that adopts its pool, and a reader with an id of the first. */
#define SLAB_IMPLEMENTATION
#include "slab.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

BLOCK

int main(void)
{
    slab_pool_config config = {.page_size = 4096, .page_count = 64};
    uint32_t         cursor = 0;
    size_t           len;
    slab_id          id;
    int              ids[2];
    slab_pool       *pool;

    if (pipe(ids) != 0) return 1;
    pid_t first = fork();
    if (first == 0) {
        pool = own("pages", config);
        if (!pool || slab_pool_put(pool, "hello", 6, &id) != 0) _exit(1);
        if (write(ids[1], &id, sizeof id) != sizeof id) _exit(2);
        for (;;) pause();
    }
    if (read(ids[0], &id, sizeof id) != sizeof id || own("pages", config) != NULL) return 2;
    kill(first, SIGKILL);
    waitpid(first, NULL, 0);
    if (!(pool = own("pages", config))) return 3;
    for (slab_id out; (out = slab_pool_next(pool, &cursor)).gen != 0;)
        printf("page %d is out\n", out.page);
    const char *text = slab_pool_read(pool, id, &len);
    if (!text || slab_pool_return(pool, id) != 0) return 4;
    printf("reader: %s\n", text);
    printf("%zu page is back\n", slab_pool_drain(pool));
    return slab_pool_destroy(pool) != 0;
}
