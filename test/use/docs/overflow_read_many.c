#include <stdio.h>
#define OVERFLOW_IMPLEMENTATION
#include "overflow.h"

BLOCK

int main(void)
{
    overflow_config  config = {.initial_bytes = 1 << 20, .flags = OVERFLOW_TEMPORARY};
    overflow_region *region;
    overflow_ref     refs[64];
    char             data[64] = {0};

    if (overflow_open(&region, "many.region", &config) != 0) return 1;
    for (size_t i = 0; i < 64; i++)
        if (overflow_write(region, data, i, 0, &refs[i]) != 0) return 1;
    printf("%zu\n", sum_of_sizes(region, refs));
    return overflow_close(region);
}
