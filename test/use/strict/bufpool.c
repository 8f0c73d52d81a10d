/* Goal:   bufpool.h alone maps memory, keeps huge pages away from large buffers, gives memory back
 *         and uses process-wide barriers in a strict build. */
#define BUFPOOL_IMPLEMENTATION
#include "bufpool.h"

#include "kernel.h"

int main(void)
{
    bufpool *pool;

    NEED(bufpool_create(&pool, NULL) == 0);
    NEED(kernel_anonymous > 0);
    NEED(kernel_membarrier >> 16 & 1); /* MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED */
    bufpool_buf *huge = bufpool_acquire(pool, 10 << 20, NULL);
    NEED(huge != NULL);
    NEED(ASKED(NOHUGEPAGE));
    NEED(bufpool_release(huge) == 0);

    bufpool_cache *cache = bufpool_cache_open(pool);
    NEED(cache != NULL);
    bufpool_buf *one = bufpool_cache_acquire(cache, 100, NULL);
    bufpool_buf *two = bufpool_cache_acquire(cache, 100, NULL);
    NEED(one != NULL && two != NULL);
    NEED(bufpool_cache_release(cache, one) == 0 && bufpool_cache_release(cache, two) == 0);
    NEED(!ASKED(DONTNEED));
    (void)bufpool_trim(pool, 0);
    /* MEMBARRIER_CMD_PRIVATE_EXPEDITED, to trim a cache. */
    NEED((kernel_refused >> 16 & 1) || (kernel_membarrier >> 8 & 1));
    bufpool_cache_close(cache);
    (void)bufpool_trim(pool, 0);
    NEED(ASKED(DONTNEED));
    NEED(bufpool_destroy(pool) == 0);
    return 0;
}
