/* Goal:   a pool that is destroyed while its buffers are released goes once, after the last of
 *         those; nobody touches it afterwards; and what each wrote to its buffer comes before that
 *         is unmapped.
 * Method: two threads release an oversize buffer each, of which one is past all but the end of it;
 *         main destroys the pool meanwhile. What is unmapped is wrecked. */
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

static void *discard(void *unused)
{
    model_use(bufpool__head_of(bufs[1]));
    bufpool__discard(bufpool__head_of(bufs[1]));
    return unused;
}

static void play(void)
{
    model_create(1);
    for (uint32_t i = 0; i < 2; i++) {
        bufs[i] = model_buffer(i, BUFPOOL_SMALL);
        /* As what it is counted does not matter here. */
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
