/* Goal:   who is told that a buffer is writable may write: all accesses of the others, who dropped
 *         their references, come before; and the reference that it has is not lost.
 * Method: two threads read a buffer, write a word of their own, and drop; main asks whether it may
 *         write, and does. */
#include "bufpool_model.h"

static bufpool_buf *buf;
static bufpool_view view;
static uint64_t     words[3];

static void *release(void *unused)
{
    must(words[0] == 1);
    words[1]++;
    must(bufpool_release(buf) > 0);
    return unused;
}

static void *drop(void *unused)
{
    must(words[0] == 1);
    words[2]++;
    must(bufpool_view_drop(&view) > 0);
    return unused;
}

static void play(void)
{
    model_create(1);
    buf      = model_buffer(0, BUFPOOL_SMALL);
    words[0] = 1, words[1] = 0, words[2] = 0;
    must(bufpool_view_of(buf, 0, 8, &view) == 0 && bufpool_retain(buf) == buf);
    model_thread one = model_start(release);
    model_thread two = model_start(drop);
    bool         may = bufpool_writable(buf);
    if (may)
        for (int i = 0; i < 3; i++) words[i] += 10;
    model_join(one);
    model_join(two);
    must(bufpool_writable(buf) && bufpool_release(buf) == 0);
    for (int i = 0; i < 3; i++) must(words[i] == (may ? 11 : 1));
}
