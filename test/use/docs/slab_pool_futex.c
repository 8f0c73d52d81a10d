/* Two pages, an owner that needs many more, and a child process that returns them. */
#define SLAB_IMPLEMENTATION
#include "slab.h"
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

BLOCK

static int return_all(int queue, void *memory, size_t size, _Atomic(uint32_t) *word)
{
    slab_pool *view;
    slab_id    id;
    if (slab_pool_attach(&view, memory, size) != 0) return 2;
    while (read(queue, &id, sizeof id) == sizeof id)
        if (give_back(view, id, word) != 0) return 3;
    return 0;
}

int main(void)
{
    slab_pool_config   config = {.page_count = 2};
    size_t             size   = slab_pool_footprint(&config);
    int                queue[2], status;
    slab_pool         *pool;
    slab_id            id;
    char              *memory = mmap(NULL, size + sizeof(uint32_t), PROT_READ | PROT_WRITE,
                                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    _Atomic(uint32_t) *word   = (void *)(memory + size);

    config.memory      = memory;
    config.memory_size = size;
    if (pipe(queue) != 0 || slab_pool_create(&pool, &config) != 0) return 1;
    pid_t child = fork();
    if (child == 0) {
        close(queue[1]);
        _exit(return_all(queue[0], memory, size, word));
    }
    for (int i = 0; i < 1000; i++)
        if (!alloc_or_sleep(pool, 8, &id, word) || write(queue[1], &id, sizeof id) != sizeof id)
            return 1;
    close(queue[1]);
    if (waitpid(child, &status, 0) != child || status != 0) return 1;
    return slab_pool_destroy(pool) != 0;
}
