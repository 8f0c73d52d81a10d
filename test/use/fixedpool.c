/* The least that a program does with fixedpool: a frame leased, used and freed. Compiles as C and
 * as C++; define FIXEDPOOL_IMPLEMENTATION to get the functions too (C only). */
#include "fixedpool.h"

static int use(void)
{
    fixedpool_config config = {4096, 2, 0};
    fixedpool       *pool;
    int              frame;

    if (fixedpool_create(&pool, &config) != 0) return 1;
    frame = fixedpool_alloc(pool);
    if (frame < 0 || !fixedpool_ptr(pool, frame)) return 2;
    *(char *)fixedpool_ptr(pool, frame) = 'x';
    if (fixedpool_free(pool, frame) != 0) return 3;
    return fixedpool_destroy(pool) == 0 ? 0 : 4;
}

int main(void) { return use(); }
