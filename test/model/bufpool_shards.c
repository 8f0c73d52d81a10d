/* Goal:   a shard's stack is one thread's at a time: each buffer is acquired by one, who comes
 *         after all others that had it; and budget and room are kept.
 * Method: two shards, with a buffer each. Two threads, both at home in the first one, acquire,
 *         write to what they have, and release. Who finds no buffer finds no memory either, and
 *         gives back what is idle by then. */
#include "bufpool_model.h"

static void *serve(void *unused)
{
    bufpool__home    = 0;
    bufpool_buf *buf = bufpool_acquire(pool, 100, NULL);

    if (!buf) return unused;
    model_use(bufpool__head_of(buf));
    must(bufpool_release(buf) == 0);
    return unused;
}

static void play(void)
{
    model_create(2);
    (void)model_idle(&pool->shards[0], 0, BUFPOOL_SMALL);
    (void)model_idle(&pool->shards[1], 1, BUFPOOL_SMALL);
    model_thread one = model_start(serve);
    model_thread two = model_start(serve);
    model_join(one);
    model_join(two);
    must(model_count(BUFPOOL_SMALL) + bufpool__get(&model_unmapped) == 2);
    must(model_data[0] % 10 + model_data[1] % 10 <= 2);
}
