/* The least that a program does with bufpool: a tenant's buffer acquired, viewed and released.
 * Compiles as C and as C++; define BUFPOOL_IMPLEMENTATION to get the functions too (C only). */
#include "bufpool.h"

static int use(void)
{
    bufpool     *pool;
    bufpool_buf *buf;
    bufpool_view view;

    if (bufpool_create(&pool, NULL) != 0) return 1;
    buf = bufpool_acquire(pool, 5000, bufpool_tenant_get(pool, "acme", 4));
    if (!buf) return 2;
    ((char *)bufpool_data(buf))[1] = 'x';
    if (bufpool_view_of(buf, 1, 2, &view) != 0 || *view.data != 'x') return 3;
    if (bufpool_release(buf) != 1 || bufpool_view_drop(&view) != 0) return 4;
    return bufpool_destroy(pool) == 0 ? 0 : 5;
}

int main(void) { return use(); }
