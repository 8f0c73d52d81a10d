/* Goal:   a wrong guess at a buffer's references does no harm, and who has given up his does not
 *         touch the header any more: it may be gone.
 * Method: a pool that is destroyed, with one buffer that two threads hold. One releases it, the
 *         other retains it, and releases it twice. What is unmapped is wrecked. */
#define MODEL_WRECKS
#define MODEL_HINTS
#include "bufpool_model.h"

static bufpool_buf *buf;

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

static void play(void)
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
