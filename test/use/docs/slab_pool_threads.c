/* One owner, one consumer, ids through a pipe. */
#define SLAB_IMPLEMENTATION
#include "slab.h"
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

BLOCK

int main(void)
{
    slab_pool *pool;
    pthread_t  consumer;
    if (slab_pool_create(&pool, NULL) != 0 || pipe(queue) != 0) return 1;
    if (pthread_create(&consumer, NULL, consume, pool) != 0) return 1;
    if (produce(pool, "one") != 0 || produce(pool, "two") != 0) return 1;
    close(queue[1]);
    pthread_join(consumer, NULL);
    return (int)slab_pool_destroy(pool);
}
