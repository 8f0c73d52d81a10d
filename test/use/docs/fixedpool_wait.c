/* A pool of 1, and perhaps a frame of it. */
#define FIXEDPOOL_IMPLEMENTATION
#include "fixedpool.h"
#include <stdio.h>

int main(void)
{
    fixedpool_config config = {.frame_count = 1};
    fixedpool       *pool;
    if (fixedpool_create(&pool, &config) != 0) return 1;
    int held = fixedpool_alloc(pool);
    BLOCK
    if (frame != -ETIMEDOUT || fixedpool_free(pool, held) != 0) return 2;
    return fixedpool_destroy(pool);
}
