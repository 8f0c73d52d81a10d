/* A pool of 64, and perhaps a frame of it. */
#define FIXEDPOOL_IMPLEMENTATION
#include "fixedpool.h"
#include <stdio.h>

int main(void)
{
    fixedpool_config config = {.frame_count = 64};
    fixedpool       *pool;
    if (fixedpool_create(&pool, &config) != 0) return 1;
    int frame = fixedpool_alloc(pool);
    BLOCK
    if (fixedpool_free(pool, frame) != 0) return 2;
    return fixedpool_destroy(pool);
}
