/* The least that a program does with overflow: a value written, read and freed, in a file of the
 * current directory that is gone afterwards. Compiles as C and as C++; define
 * OVERFLOW_IMPLEMENTATION to get the functions too (C only). */
#include "overflow.h"

static int use(void)
{
    overflow_config  config = {0, 1 << 20, OVERFLOW_FRESH | OVERFLOW_TEMPORARY};
    overflow_region *region;
    overflow_ref     ref;
    size_t           size;
    const char      *data;

    if (overflow_open(&region, "overflow.region", &config) != 0) return 1;
    if (overflow_write(region, "x", 1, 0, &ref) != 0) return 2;
    data = (const char *)overflow_read(region, ref, &size);
    if (!data || size != 1 || *data != 'x') return 3;
    if (overflow_free(region, ref) != 0) return 4;
    return overflow_close(region) == 0 ? 0 : 5;
}

int main(void) { return use(); }
