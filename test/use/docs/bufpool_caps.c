/* A query below its user. */
#define BUFPOOL_IMPLEMENTATION
#include "bufpool.h"
#include <errno.h>

BLOCK

int main(void)
{
    bufpool     *pool;
    bufpool_buf *result, *more;

    if (bufpool_create(&pool, &(bufpool_config){.max_bytes = 100 << 20}) != 0) return 1;
    bufpool_tenant *user = bufpool_tenant_get(pool, "acme", 4);
    if (!user || answer_query(pool, user, &result) != 0) return 2;
    if (bufpool_try_acquire(pool, 8 << 20, user, &more) != -EDQUOT) return 3;
    if (bufpool_release(result) != 0) return 4;
    return (int)bufpool_destroy(pool);
}
