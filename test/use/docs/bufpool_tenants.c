/* A tenant near its limit. */
#define BUFPOOL_IMPLEMENTATION
#include "bufpool.h"
#include <stdio.h>
#include <string.h>

BLOCK

int main(void)
{
    bufpool *pool;
    if (bufpool_create(&pool, NULL) != 0) return 1;
    bufpool_tenant *tenant = sign_up(pool, "acme");
    if (!tenant || !may_start(tenant, 1000000) || may_start(tenant, 1 << 20)) return 2;
    return (int)bufpool_destroy(pool);
}
