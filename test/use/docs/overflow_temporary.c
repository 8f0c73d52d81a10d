/* The file is there while the region is open, and no longer. */
#define OVERFLOW_IMPLEMENTATION
#include "overflow.h"
#include <stdio.h>

int main(void)
{
    overflow_region *region;
    BLOCK
    if (error || access("scratch.region", F_OK) != 0) return 1;
    if (overflow_close(region) != 0) return 2;
    return access("scratch.region", F_OK) == 0;
}
