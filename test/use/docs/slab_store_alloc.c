/* A value that comes from a pipe. */
#define SLAB_IMPLEMENTATION
#include "slab.h"
#include <unistd.h>

int main(void)
{
    const size_t size = 5;
    slab_store  *store;
    int          pipe_fds[2];
    if (slab_store_create(&store, NULL) != 0 || pipe(pipe_fds) != 0) return 1;
    if (write(pipe_fds[1], "hello", size) != (ssize_t)size) return 1;
    int fd = pipe_fds[0];
    BLOCK
    if (memcmp(slab_store_get(store, ref, size), "hello\0\0", 7) != 0) return 2;
    slab_store_destroy(store);
    return 0;
}
