/* A small view leaves a large buffer. */
#define BUFPOOL_IMPLEMENTATION
#include "bufpool.h"
#include <string.h>

int main(void)
{
    bufpool            *pool;
    struct bufpool_info info;
    if (bufpool_create(&pool, NULL) != 0) return 1;
    bufpool_buf *buf = bufpool_acquire(pool, 100000, NULL);
    if (!buf) return 1;
    memset(bufpool_data(buf), 'x', 100000);
    BLOCK
    if (error) return 2;
    bufpool_stats(pool, &info);
    if (info.live_bytes != 20 || header.data[19] != 'x') return 3;
    if (bufpool_view_drop(&header) != 0) return 4;
    return (int)bufpool_destroy(pool);
}
