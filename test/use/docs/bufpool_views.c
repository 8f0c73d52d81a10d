/* One message, two views. */
#define BUFPOOL_IMPLEMENTATION
#include "bufpool.h"
#include <stdio.h>
#include <string.h>

BLOCK

int main(void)
{
    bufpool     *pool;
    bufpool_view key = {0}, value = {0};
    if (bufpool_create(&pool, NULL) != 0) return 1;
    bufpool_buf *buf = bufpool_acquire(pool, 10, NULL);
    if (!buf) return 1;
    memcpy(bufpool_data(buf), "color=blue", 10);
    if (split(buf, 10, &key, &value) != 0) return 2;
    printf("key: %.*s\nvalue: %.*s\n", (int)key.len, (const char *)key.data, (int)value.len,
           (const char *)value.data);
    if (bufpool_view_drop(&key) != 1 || bufpool_view_drop(&value) != 0) return 3;
    return (int)bufpool_destroy(pool);
}
