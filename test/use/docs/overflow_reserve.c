#include <stdio.h>
#include <unistd.h>
#define OVERFLOW_IMPLEMENTATION
#include "overflow.h"

BLOCK

int main(void)
{
    overflow_config  config = {.initial_bytes = 1 << 20, .flags = OVERFLOW_TEMPORARY};
    overflow_region *region;
    overflow_ref     ref;
    size_t           size;
    int              ends[2];

    if (overflow_open(&region, "reserve.region", &config) != 0 || pipe(ends) != 0) return 1;
    if (write(ends[1], "hello", 6) != 6) return 1;
    if (spill_from(ends[0], region, &ref) != 0) return 1;
    puts(overflow_read(region, ref, &size));
    return size != 6 || overflow_close(region);
}
