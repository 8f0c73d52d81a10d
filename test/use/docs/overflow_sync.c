/* A region of its own. */
#define OVERFLOW_IMPLEMENTATION
#include "overflow.h"
#include <stdio.h>

int main(void)
{
    overflow_config  config = {1 << 20, 1 << 20, OVERFLOW_TEMPORARY};
    overflow_region *region;
    if (overflow_open(&region, "own.region", &config) != 0) return 1;
    BLOCK
    return overflow_close(region);
}
