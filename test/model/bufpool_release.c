/* Goal:   of all holders of a buffer exactly one releases the last reference, and everything that
 *         the others did to the buffer happens before its next life, or before a sole holder
 *         writes.
 * Method: two or three threads hold one buffer; each writes a word of its own before it releases.
 *         The thread that released the last reference acquires the buffer again and writes all
 *         words: a missing happens-before is a data race. */
#include "bufpool_model.h"

static bufpool_cache    *caches[2];
static bufpool_buf      *buf;
static bufpool_view      view;
static _Atomic(unsigned) last;
static uint64_t          words[3];

/* Makes the buffer, with a reference for each of three threads, and its words. */
static void share_buffer(void)
{
    last     = 0;
    buf      = model_buffer(0, BUFPOOL_SMALL);
    words[0] = 1, words[1] = 0, words[2] = 0;
    must(bufpool_retain(buf) == buf && bufpool_retain(buf) == buf);
}

static void count_last(void)
{
    /* relaxed: read after the joins. */
    atomic_fetch_add_explicit(&last, 1, memory_order_relaxed);
}

/* After the last release: acquires the buffer again, from a cache or the shard, and writes all. */
static void acquire_again(bufpool_cache *cache)
{
    count_last();
    bufpool_buf *next =
        cache ? bufpool_cache_acquire(cache, 100, NULL) : bufpool_acquire(pool, 100, NULL);
    must(next == bufpool__next_life(buf));
    for (int i = 0; i < 3; i++) words[i] += 10;
}

/* last: three threads retain, release and drop. One of them ends the buffer's life.
 *
 *    main                        viewer                      reader
 *                                cut a view: 3 -> 4          read word 0
 *    release: 4 -> 3             drop it: 3 -> 2             write word 2
 *                                write word 1                release: 2 -> 1
 *                                release: 1 -> 0
 *                                acquire again, write all
 *
 * Broken if the compare-exchange in bufpool_release does not release, or does not acquire: the last
 * writes race. Broken if it, or the one in bufpool_retain, is a load and a store: a reference is
 * lost, and nobody or two are last. */
static void let_go(uint32_t home)
{
    bufpool__home = home;
    int left      = bufpool_release(buf);
    must(left >= 0 && left <= 3);
    if (left == 0) acquire_again(NULL);
}

static void *cut_and_release(void *unused)
{
    must(bufpool_view_of(buf, 0, 8, &view) == 0);
    must(words[0] == 1);
    must(bufpool_view_drop(&view) > 0);
    words[1] = 2;
    let_go(0);
    return unused;
}

static void *read_and_release(void *unused)
{
    must(words[0] == 1);
    words[2] = 3;
    let_go(0);
    return unused;
}

play(last)
{
    model_create(1);
    share_buffer();
    model_thread one = model_start(cut_and_release);
    model_thread two = model_start(read_and_release);
    let_go(0);
    model_join(one);
    model_join(two);
    must(last == 1);
    must(words[0] == 11 && words[1] == 12 && words[2] == 13);
}

/* own: a cache's release of a last reference, which only loads the count, comes after everything
 * that the others did before they released theirs: the cache may lend the buffer at once.
 *
 *    main (its own cache)        any thread                  a thread with a cache
 *    release: 3 -> 2             write word 1
 *                                release: 2 -> 1             write word 2
 *                                                            cache_release: loads 1, last
 *                                                            acquire again, write all
 *
 * Broken if the load in bufpool_cache_release, or in bufpool__release_slowly, does not acquire: the
 * last writes race with word 1. */
static void let_go_of_own(bufpool_cache *cache, uint32_t word)
{
    bufpool__home = 0;
    must(words[0] % 10 == 1);
    words[word]++;
    int left = cache ? bufpool_cache_release(cache, buf) : bufpool_release(buf);
    must(left >= 0 && left < 3);
    if (left == 0) acquire_again(cache && bufpool__own(cache) ? cache : NULL);
}

static void *release_plainly(void *unused)
{
    let_go_of_own(NULL, 1);
    return unused;
}

static void *release_to_cache(void *unused)
{
    let_go_of_own(caches[1], 2);
    return unused;
}

play(own)
{
    model_create(1);
    for (uint32_t i = 0; i < 2; i++) caches[i] = model_open(i, true);
    share_buffer();
    model_thread one = model_start(release_plainly);
    model_thread two = model_start(release_to_cache);
    must(words[0] % 10 == 1);
    int left = bufpool_cache_release(caches[0], buf);
    must(left >= 0 && left < 3);
    if (left == 0) count_last();
    if (left == 0)
        for (int i = 0; i < 3; i++) words[i] += 10;
    model_join(one);
    model_join(two);
    must(last == 1);
    must(words[0] == 11 && words[1] == 11 && words[2] == 11);
}

/* over: of three releases of one last reference at the same moment one is told 0 and the others
 * -ESTALE; each refused one is counted, and the buffer is idle once.
 *
 *    main                        first                       second
 *    guess: 1 reference          guess: 1 reference          guess: 1 reference
 *    1 -> idle, told 0
 *                                compare-exchange fails:     compare-exchange fails:
 *                                idle, -ESTALE               idle, -ESTALE
 *
 * Broken if the compare-exchange in bufpool_release, or the count of refusals, is a load and a
 * store. */
static void *release_the_last(void *unused)
{
    bufpool__home = 0;
    int left      = bufpool_release(buf);
    must(left == 0 || left == -ESTALE);
    if (left == 0) count_last();
    return unused;
}

play(over)
{
    last = 0;
    model_create(1);
    buf              = model_buffer(0, BUFPOOL_SMALL);
    model_thread one = model_start(release_the_last);
    model_thread two = model_start(release_the_last);
    (void)release_the_last(NULL);
    model_join(one);
    model_join(two);
    must(last == 1);
    must(atomic_load_explicit(&pool->underflows, memory_order_relaxed) == 2);

    bufpool__stack *stack = &pool->shards[0].stacks[BUFPOOL_SMALL];
    must(bufpool__get(&stack->count) == 1);
    must(bufpool__pop(stack) == bufpool__head_of(buf) && !stack->top);
}

/* writable: a holder that is told that it may write may write: the accesses of threads that
 * dropped their references happen before. Its own reference is not lost.
 *
 *    main                        first                       second
 *                                read word 0, write word 1   read word 0, write word 2
 *                                release: 3 -> 2             drop: 2 -> 1
 *    writable: loads 1
 *    write all words
 *
 * Broken if the load in bufpool_writable does not acquire, or if the releases do not release. */
static void *use_and_release(void *unused)
{
    must(words[0] == 1);
    words[1]++;
    must(bufpool_release(buf) > 0);
    return unused;
}

static void *use_and_drop(void *unused)
{
    must(words[0] == 1);
    words[2]++;
    must(bufpool_view_drop(&view) > 0);
    return unused;
}

play(writable)
{
    model_create(1);
    buf      = model_buffer(0, BUFPOOL_SMALL);
    words[0] = 1, words[1] = 0, words[2] = 0;
    must(bufpool_view_of(buf, 0, 8, &view) == 0 && bufpool_retain(buf) == buf);
    model_thread one = model_start(use_and_release);
    model_thread two = model_start(use_and_drop);
    bool         may = bufpool_writable(buf);
    if (may)
        for (int i = 0; i < 3; i++) words[i] += 10;
    model_join(one);
    model_join(two);
    must(bufpool_writable(buf) && bufpool_release(buf) == 0);
    for (int i = 0; i < 3; i++) must(words[i] == (may ? 11 : 1));
}

/* stale: a cache's release refuses a name whose life is over also while the header gets new memory.
 * It looks at nothing but the word, as the other fields change under it.
 *
 *    main                                    other (has a cache)
 *    release: life 1 is over
 *    no room: unmap, the header is spare
 *    acquire 5000 bytes: the same header,    cache_release, life 1 again:
 *      new kind, data, capacity                the word is of another life, or idle: -ESTALE
 *    word := life 2
 *
 * Broken if bufpool_cache_release read any other field of the header before the word: a data
 * race. */
static void *release_again(void *unused)
{
    must(bufpool_cache_release(caches[0], buf) == -ESTALE);
    return unused;
}

play(stale)
{
    model_create(1);
    model_let_map(&model_data[1], 64 << 10, 1); /* a buffer, but no new headers */
    bufpool__home             = 0;
    pool->config.idle_buffers = 0;
    caches[0]                 = model_open(0, false);
    buf                       = model_buffer(0, BUFPOOL_SMALL);
    must(bufpool_release(buf) == 0);
    must(model_data[0] == 10);
    model_thread thread = model_start(release_again);
    bufpool_buf *next   = bufpool_acquire(pool, 5000, NULL);
    model_join(thread);
    must(next && bufpool__head_of(next) == bufpool__head_of(buf) && next != buf);
    must(bufpool_class_of(next) == BUFPOOL_MEDIUM);
    must(atomic_load_explicit(&pool->underflows, memory_order_relaxed) == 1);
}
