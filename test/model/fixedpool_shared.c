/* Goal:   in a group without an owner a frame has one holder at a time, each holder's accesses
 *         come before the next one's, and nothing is lost.
 * Method: three threads lease, write and free, with two frames. A frame that two of them hold is a
 *         race, for the writes are plain. At the end each frame can be leased once. */
#include "fixedpool_model.h"

static void *use_one(void *unused)
{
    uint32_t bit = fixedpool__lease(pool, 0, 1);
    if (!bit) return unused;
    uint32_t frame = fixedpool__index(bit);
    model_use((int)frame);
    must(fixedpool_free(pool, frame) == 0);
    return unused;
}

static void play(void)
{
    model_create(1, 1);
    model_thread first  = model_start(use_one);
    model_thread second = model_start(use_one);
    uint32_t     bits   = fixedpool__lease(pool, 0, 2);
    if (bits) model_use((int)fixedpool__index(bits));
    must(fixedpool__free_bits(pool, 0, bits) == bits);
    model_join(first);
    model_join(second);
    model_drain(0);
    model_destroy();
}
