/* A file with values of two kinds, opened anew. */
#define OVERFLOW_IMPLEMENTATION
#include "overflow.h"
#include <stdio.h>

BLOCK

int main(void)
{
    overflow_region *region;
    overflow_ref     ref;
    if (overflow_open(&region, "spill.region", NULL) != 0) return 1;
    if (overflow_write(region, "apple", 6, CACHE, &ref) != 0) return 1;
    if (overflow_write(region, "nobody", 7, SESSIONS, &ref) != 0) return 1;
    if (overflow_write(region, "pear", 5, CACHE, &ref) != 0) return 1;
    if (overflow_close(region) != 0) return 1;
    return open_and_index(&region, "spill.region") || overflow_close(region);
}
