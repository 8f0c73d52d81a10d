/* Two workers. */
#define BUFPOOL_IMPLEMENTATION
#include "bufpool.h"
#include <pthread.h>
#include <stdio.h>
#include <string.h>

BLOCK

int main(void)
{
    bufpool  *pool;
    pthread_t threads[2];
    if (bufpool_create(&pool, NULL) != 0) return 1;
    for (int i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, worker, pool) != 0) return 1;
    for (int i = 0; i < 2; i++) {
        void *result;
        if (pthread_join(threads[i], &result) != 0 || result != pool) return 2;
    }
    return (int)bufpool_destroy(pool);
}
