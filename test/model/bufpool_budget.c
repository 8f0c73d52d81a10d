/* Goal:   a class that has no budget gets some from one that has more than its part: the buffer
 *         that gives way is nobody's by then, and is unmapped once; room is never more than what
 *         the pool may keep.
 * Method: a pool that may keep two medium buffers' bytes, and does, in one shard. A thread acquires
 *         one of them, writes to it, and releases it; main releases a small one into another
 *         shard. */
#include "bufpool_model.h"

static void *serve(void *unused)
{
    bufpool__home    = 0;
    bufpool_buf *buf = bufpool_acquire(pool, 5000, NULL);

    if (!buf) return unused;
    model_use(bufpool__head_of(buf));
    must(bufpool_release(buf) == 0);
    return unused;
}

static void play(void)
{
    model_create(2);
    bufpool__home           = 1;
    pool->config.idle_bytes = 128 << 10;
    (void)model_idle(&pool->shards[0], 0, BUFPOOL_MEDIUM);
    (void)model_idle(&pool->shards[0], 1, BUFPOOL_MEDIUM);
    bufpool_buf *small  = model_buffer(2, BUFPOOL_SMALL);
    model_thread thread = model_start(serve);
    model_use(bufpool__head_of(small));
    must(bufpool_release(small) == 0);
    model_join(thread);

    uint32_t idle = model_count(BUFPOOL_SMALL) + model_count(BUFPOOL_MEDIUM);
    must(pool->kept_bytes <= pool->config.idle_bytes);
    must(idle + bufpool__get(&model_unmapped) == 3);
    must(bufpool__get(&model_unmapped) > 0);
}
