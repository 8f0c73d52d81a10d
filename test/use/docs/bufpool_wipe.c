/* A secret, and another tenant. */
#define BUFPOOL_IMPLEMENTATION
#include "bufpool.h"
#include <stdio.h>
#include <string.h>

int main(void)
{
    bufpool *pool;
    BLOCK
    if (error) return 1;
    bufpool_buf *buf = bufpool_acquire(pool, 7, bufpool_tenant_get(pool, "acme", 4));
    if (!buf) return 1;
    strcpy(bufpool_data(buf), "secret");
    bufpool_release(buf);
    buf = bufpool_acquire(pool, 7, bufpool_tenant_get(pool, "other", 5));
    if (!buf || memcmp(bufpool_data(buf), "\0\0\0\0\0\0", 7) != 0) return 2;
    bufpool_release(buf);
    return (int)bufpool_destroy(pool);
}
