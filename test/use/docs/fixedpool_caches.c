/* Two workers. */
#define FIXEDPOOL_IMPLEMENTATION
#include "fixedpool.h"
#include <pthread.h>
#include <string.h>

BLOCK

int main(void)
{
    fixedpool_config config = {.frame_count = 64};
    fixedpool       *pool;
    pthread_t        threads[2];
    if (fixedpool_create(&pool, &config) != 0) return 1;
    for (int i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, worker, pool) != 0) return 1;
    for (int i = 0; i < 2; i++) {
        void *result;
        if (pthread_join(threads[i], &result) != 0 || result != pool) return 2;
    }
    return fixedpool_destroy(pool);
}
