/* A file that is no region. */
#define OVERFLOW_IMPLEMENTATION
#include "overflow.h"
#include <stdio.h>

BLOCK

int main(void)
{
    overflow_region *region;
    FILE            *file = fopen("no.region", "w");
    if (!file) return 1;
    for (int i = 0; i < 10000; i++) fputs("nonsense ", file);
    if (fclose(file) != 0) return 1;
    if (open_or_restart(&region, "no.region") != 0) return 2;
    return access("no.region.damaged", F_OK) || overflow_close(region);
}
