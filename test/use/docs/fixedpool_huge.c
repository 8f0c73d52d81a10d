/* A pool on whatever pages there are. */
#define FIXEDPOOL_IMPLEMENTATION
#include "fixedpool.h"
#include <stdio.h>

int main(void)
{
    fixedpool *pool;
    BLOCK
    return fixedpool_destroy(pool);
}
