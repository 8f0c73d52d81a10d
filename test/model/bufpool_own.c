/* Goal:   a cache's release of a last reference, which only looks at it, comes after all that
 *         others did before they released theirs: the cache may lend the buffer at once.
 * Method: main and two threads hold a buffer. Each reads what main wrote before, writes a word of
 *         its own and releases: one as any thread does, one and main in caches of their own. Who is
 *         told 0 acquires the buffer again, from where it went (main does not), and writes to all
 * of it. */
#include "bufpool_model.h"

static bufpool_cache    *caches[2];
static bufpool_buf      *buf;
static _Atomic(unsigned) last;
static uint64_t          words[3];

static void let_go(bufpool_cache *cache, uint32_t word)
{
    bufpool__home = 0;
    must(words[0] % 10 == 1);
    words[word]++;
    int left = cache ? bufpool_cache_release(cache, buf) : bufpool_release(buf);
    must(left >= 0 && left < 3);
    if (left > 0) return;
    /* relaxed: looked at after the joins. */
    atomic_fetch_add_explicit(&last, 1, memory_order_relaxed);
    if (!cache || !bufpool__own(cache)) cache = NULL;
    bufpool_buf *next =
        cache ? bufpool_cache_acquire(cache, 100, NULL) : bufpool_acquire(pool, 100, NULL);
    must(next == bufpool__next_life(buf));
    for (int i = 0; i < 3; i++) words[i] += 10;
}

static void *release(void *unused)
{
    let_go(NULL, 1);
    return unused;
}

static void *cached(void *unused)
{
    let_go(caches[1], 2);
    return unused;
}

static void play(void)
{
    last = 0;
    model_create(1);
    for (uint32_t i = 0; i < 2; i++) caches[i] = model_open(i, true);
    buf      = model_buffer(0, BUFPOOL_SMALL);
    words[0] = 1, words[1] = 0, words[2] = 0;
    must(bufpool_retain(buf) == buf && bufpool_retain(buf) == buf);
    model_thread one = model_start(release);
    model_thread two = model_start(cached);
    must(words[0] % 10 == 1);
    int left = bufpool_cache_release(caches[0], buf);
    must(left >= 0 && left < 3);
    if (left == 0) atomic_fetch_add_explicit(&last, 1, memory_order_relaxed);
    if (left == 0)
        for (int i = 0; i < 3; i++) words[i] += 10;
    model_join(one);
    model_join(two);
    must(last == 1);
    must(words[0] == 11 && words[1] == 11 && words[2] == 11);
}
