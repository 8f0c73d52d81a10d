/* A tenant above its limit. */
#define BUFPOOL_IMPLEMENTATION
#include "bufpool.h"
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    bufpool_config config = {.tenant_soft_limit = 4096};
    bufpool       *pool;
    if (bufpool_create(&pool, &config) != 0) return 1;
    bufpool_buf *buf = bufpool_acquire(pool, 6000, bufpool_tenant_get(pool, "acme", 4));
    if (!buf) return 1;
    BLOCK
    return bufpool_release(buf) || bufpool_destroy(pool) != 0;
}
