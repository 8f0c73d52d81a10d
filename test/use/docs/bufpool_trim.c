/* A pool with one idle buffer, a huge one. */
#define BUFPOOL_IMPLEMENTATION
#include "bufpool.h"
#include <stdio.h>

int main(void)
{
    bufpool *pool;
    if (bufpool_create(&pool, NULL) != 0) return 1;
    bufpool_buf *buf = bufpool_acquire(pool, 10 << 20, NULL);
    if (!buf || bufpool_release(buf) != 0) return 1;
    BLOCK
    return (int)bufpool_destroy(pool);
}
