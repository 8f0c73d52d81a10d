/* A descriptor that is no ring. */
#define FIXEDPOOL_IMPLEMENTATION
#include "fixedpool.h"
#include <stdio.h>

#include <fcntl.h>

BLOCK

int main(void)
{
    fixedpool_config config = {.frame_count = 64};
    fixedpool       *pool;
    if (fixedpool_create(&pool, &config) != 0) return 1;
    int fd = open("/dev/null", O_RDONLY);
    if (register_if_allowed(pool, -1) == 0 && register_if_allowed(pool, fd) != 0) return 2;
    return fixed || fixedpool_destroy(pool);
}
