/* Goal:   fixedpool.h alone asks for huge pages, keeps frames out of the child of a fork, uses
 *         process-wide barriers, registers, and waits by futex and clock in a strict build. */
#define FIXEDPOOL_IMPLEMENTATION
#include "fixedpool.h"

#include "kernel.h"

enum { FRAMES = 256 }; /* in groups of 16, so that a cache has idle frames beside a leased one */

static int asks_for_memory(fixedpool **pool)
{
    fixedpool_config config = {4096, FRAMES, FIXEDPOOL_HUGEPAGES | FIXEDPOOL_POPULATE};

    NEED(fixedpool_create(pool, &config) == 0);
    NEED(kernel_anonymous > 0);
    NEED(kernel_huge == 1);
    NEED(ASKED(HUGEPAGE));
    NEED(ASKED(POPULATE_WRITE));
    NEED(ASKED(DONTFORK));
    NEED(kernel_membarrier >> 16 & 1); /* MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED */
    return 0;
}

int main(void)
{
    fixedpool *pool;

    if (asks_for_memory(&pool) != 0) return 1;
    fixedpool_cache *cache = fixedpool_cache_open(pool);
    NEED(cache != NULL);
    int frame = fixedpool_cache_alloc(cache);
    NEED(frame >= 0);
    NEED(fixedpool_ptr(pool, frame) != NULL);
    for (int i = 1; i < FRAMES; i++) NEED(fixedpool_alloc(pool) >= 0);
    /* MEMBARRIER_CMD_PRIVATE_EXPEDITED, to take from a cache. */
    NEED((kernel_refused >> 16 & 1) || (kernel_membarrier >> 8 & 1));
    NEED(fixedpool_alloc_wait(pool, 1000 * 1000) == -ETIMEDOUT);
    NEED(fixedpool_register(pool, 1000) < 0);
    NEED(kernel_register > 0);
    fixedpool_cache_close(cache);
    for (int i = 0; i < FRAMES; i++) NEED(fixedpool_free(pool, i) == 0);
    NEED(!ASKED(DOFORK));
    NEED(fixedpool_destroy(pool) == 0);
    NEED(ASKED(DOFORK));
    return 0;
}
