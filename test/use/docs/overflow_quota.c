#include <errno.h>
#include <stdio.h>
#define OVERFLOW_IMPLEMENTATION
#include "overflow.h"

BLOCK

int main(void)
{
    overflow_config  config = {.initial_bytes = 1 << 20, .flags = OVERFLOW_TEMPORARY};
    overflow_region *region;
    overflow_ref     ref;
    int              error;

    if (overflow_open(&region, "quota.region", &config) != 0) return 1;
    if (overflow_tag_limit(region, QUERY, 1000) != 0) return 1;
    while ((error = spill_row(region, "row", 4, &ref)) == 0) continue;
    return error != -EDQUOT || overflow_close(region);
}
