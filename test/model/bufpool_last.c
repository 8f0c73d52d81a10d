/* Goal:   a buffer that three threads retain, release and drop is released once, by whoever is the
 *         last; and who acquires it next comes after all that they did to it.
 * Method: main has a reference, and one for each of two threads. Each reads what main wrote before;
 *         one takes one more, as a view, and drops it; each writes a word of its own before its
 *         last release. Who is told 0 acquires the buffer again, and writes to all of it. */
#include "bufpool_model.h"

static bufpool_buf      *buf;
static _Atomic(unsigned) last;
static uint64_t          words[3];

/* A release; after the last one the buffer is idle, in the shard. */
static void let_go(uint32_t home)
{
    bufpool__home = home;
    int left      = bufpool_release(buf);
    must(left >= 0 && left <= 3);
    if (left > 0) return;
    /* relaxed: looked at after the joins. */
    atomic_fetch_add_explicit(&last, 1, memory_order_relaxed);
    bufpool_buf *next = bufpool_acquire(pool, 100, NULL);
    must(next == bufpool__next_life(buf));
    for (int i = 0; i < 3; i++) words[i] += 10;
}

static void *viewer(void *unused)
{
    bufpool_view view;

    must(bufpool_view_of(buf, 0, 8, &view) == 0);
    must(words[0] == 1);
    must(bufpool_view_drop(&view) > 0);
    words[1] = 2;
    let_go(0);
    return unused;
}

static void *reader(void *unused)
{
    must(words[0] == 1);
    words[2] = 3;
    let_go(0);
    return unused;
}

static void play(void)
{
    last = 0;
    model_create(1);
    buf      = model_buffer(0, BUFPOOL_SMALL);
    words[0] = 1, words[1] = 0, words[2] = 0;
    must(bufpool_retain(buf) == buf && bufpool_retain(buf) == buf);
    model_thread one = model_start(viewer);
    model_thread two = model_start(reader);
    let_go(0);
    model_join(one);
    model_join(two);
    must(last == 1);
    must(words[0] == 11 && words[1] == 12 && words[2] == 13);
}
