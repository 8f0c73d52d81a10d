/* Goal:   a wrong guess at a buffer's references does no harm, and a thread that has given up its
 *         reference does not touch the header any more.
 * Method: the header's own hints are in use. The pool is destroyed, so that the last release unmaps
 *         it; unmapping writes plainly over the headers: any later access is a data race. */
#define MODEL_WRECKS
#define MODEL_HINTS
#include "bufpool_model.h"

static bufpool_buf *buf;

/* guess: one thread releases, the other one retains and releases twice.
 *
 *    first                                   second
 *    release: hint says 2 references         retain: 2 -> 3, hint := 2
 *    2 -> 1 fails: there are 3               release: hint := 1, 3 -> 2
 *    hint := 0, 2 -> 1                       release: hint says 1, or 2: 1 -> 0
 *                                            unmap the pool
 *
 * Broken if bufpool_release stored its hint after the compare-exchange: the store races with the
 * unmapping. */
static void *release(void *unused)
{
    bufpool__home = 0;
    must(bufpool_release(buf) >= 0);
    return unused;
}

static void *retain(void *unused)
{
    bufpool__home = 0;
    must(bufpool_retain(buf) == buf);
    must(bufpool_release(buf) > 0);
    must(bufpool_release(buf) >= 0);
    return unused;
}

play(guess)
{
    model_create(1);
    buf = model_buffer(0, BUFPOOL_SMALL);
    must(bufpool_retain(buf) == buf);
    must(bufpool_destroy(pool) == 1);
    model_thread one = model_start(release);
    model_thread two = model_start(retain);
    model_join(one);
    model_join(two);
    must(model_wrecked == 1);
}
