/* Goal:   a destroyed pool is unmapped once, after the last buffer and the last cache that were
 *         out, and nobody touches it afterwards.
 * Method: threads release buffers, or close a cache, while main destroys the pool. Unmapping writes
 *         plainly over everything that a late access would look at: any such access is a data
 *         race. */
#define MODEL_WRECKS
#include "bufpool_model.h"

static bufpool_buf *bufs[2];

static void *release(void *unused)
{
    bufpool__home = 0;
    model_use(bufpool__head_of(bufs[0]));
    must(bufpool_release(bufs[0]) == 0);
    return unused;
}

/* buffers: two threads release an oversize buffer each; one of them has only the end of the release
 * before it. What each wrote happens before its buffer is unmapped.
 *
 *    main                        first                       second
 *    closed := 1                 write
 *    count the held: 2           release: unmap the buffer
 *    holders -= UNDECIDED - 2    discard: closed is 1
 *                                holders - 1                 discard: closed is 1
 *                                                            holders - 1 is 0: unmap the pool
 *
 * Broken if the change of holders in bufpool__leave, or in bufpool_destroy, does not acquire and
 * release: the unmapping races with an earlier holder. Broken if it is a load and a store: the pool
 * is unmapped twice, or never. */
static void *discard(void *unused)
{
    model_use(bufpool__head_of(bufs[1]));
    bufpool__discard(bufpool__head_of(bufs[1]));
    return unused;
}

play(buffers)
{
    model_create(1);
    for (uint32_t i = 0; i < 2; i++) {
        bufs[i] = model_buffer(i, BUFPOOL_SMALL);
        /* The class under which it was counted does not matter here. */
        bufpool__head_of(bufs[i])->kind = BUFPOOL_OVERSIZE;
    }
    bufpool__set(&bufpool__head_of(bufs[1])->word, bufpool__life_of(bufs[1]) + BUFPOOL__IDLE);
    model_thread one = model_start(release);
    model_thread two = model_start(discard);
    must(bufpool_destroy(pool) <= 2);
    model_join(one);
    model_join(two);
    must(model_wrecked == 1);
    must(model_data[0] == 11 && model_data[1] == 11);
}

/* cache: a cache is open, with its own buffer in it, and is closed after the destroy.
 *
 *    main                                    other
 *    closed := 1, holders -= UNDECIDED - 2   write
 *    close the cache: holders - 1            release: closed, no room: discard
 *                                            holders - 1 is 0: unmap the pool
 *
 * Broken if the change of holders in bufpool__leave does not acquire and release, or is a load and
 * a store, and if closing did not count as leaving. */
play(cache)
{
    model_create(1);
    bufpool_cache *cache = model_open(0, true);
    bufs[0]              = model_buffer(0, BUFPOOL_SMALL);
    must(bufpool_cache_release(cache, model_buffer(1, BUFPOOL_SMALL)) == 0);
    model_thread thread = model_start(release);
    must(bufpool_destroy(pool) <= 1);
    bufpool_cache_close(cache);
    model_join(thread);
    must(model_wrecked == 1);
    must(model_data[0] == 11 && model_data[1] == 10);
}
