/* Goal:   of three releases of one last reference at the same moment one is told 0, the others
 *         -ESTALE; each of those is counted, and the buffer is idle once.
 * Method: three threads release the same buffer; the shard's stack is looked at in the end. */
#include "bufpool_model.h"

static bufpool_buf      *buf;
static _Atomic(unsigned) last;

static void *release(void *unused)
{
    bufpool__home = 0;
    int left      = bufpool_release(buf);
    must(left == 0 || left == -ESTALE);
    /* relaxed: looked at after the joins. */
    if (left == 0) atomic_fetch_add_explicit(&last, 1, memory_order_relaxed);
    return unused;
}

static void play(void)
{
    last = 0;
    model_create(1);
    buf              = model_buffer(0, BUFPOOL_SMALL);
    model_thread one = model_start(release);
    model_thread two = model_start(release);
    (void)release(NULL);
    model_join(one);
    model_join(two);
    must(last == 1);
    must(atomic_load_explicit(&pool->underflows, memory_order_relaxed) == 2);

    bufpool__stack *stack = &pool->shards[0].stacks[BUFPOOL_SMALL];
    must(bufpool__get(&stack->count) == 1);
    must(bufpool__pop(stack) == bufpool__head_of(buf) && !stack->top);
}
