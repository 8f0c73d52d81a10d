/* Goal:   a page's life ends exactly once, whether by a return, by the owner's free, or by both at
 *         the same moment, and a late return cannot harm the page's next life.
 * Method: one or two threads return ids that the owner, or another thread, ends as well, while the
 *         owner begins new lives and writes to their pages. The writes are plain: an owner that
 *         writes before the last reader has read races with it. */
#include "slab_model.h"

static slab_id id;

/* doubled: of two returns of one life exactly one succeeds, and the reader's last read happens
 * before the owner's next write, even if the other thread's return won and no hint led the owner to
 * the page.
 *
 *    owner                       reader                      doubler
 *    write 1
 *    give id ------------------> read 1
 *                                give id ------------------> return: gen 1 -> 2, won
 *    alloc: look sees gen 2
 *    write 2                     return: -ESTALE
 *
 * Broken if the returner's compare-exchange in slab__pool_end_life does not release, or if the load
 * in slab__pool_look does not acquire: then write 2 races with read 1. Broken if the
 * compare-exchange is a load and a store: then both returns succeed. */
static model_cell to_reader, to_doubler;
static int        by_reader, by_doubler;

static void *read_and_return(void *unused)
{
    slab_id         taken = model_take(&to_reader);
    size_t          len;
    const uint64_t *payload = slab_pool_read(pool, taken, &len);

    must(payload && len == sizeof *payload);
    must(*payload == 1);
    model_give(&to_doubler, taken);
    by_reader = slab_pool_return(pool, taken);
    return unused;
}

static void *return_too(void *unused)
{
    by_doubler = slab_pool_return(pool, model_take(&to_doubler));
    return unused;
}

play(doubled)
{
    to_reader  = 0;
    to_doubler = 0;
    model_create(1);
    model_thread first  = model_start(read_and_return);
    model_thread second = model_start(return_too);

    model_give(&to_reader, model_fill(1));
    slab_id   next;
    uint64_t *payload = slab_pool_alloc(pool, sizeof *payload, &next);
    if (payload) *payload = 2;
    model_join(first);
    model_join(second);

    must((by_reader == 0 && by_doubler == -ESTALE) || (by_reader == -ESTALE && by_doubler == 0));
    if (payload) {
        size_t len;
        must(model_available() == 0);
        must(slab_pool_read(pool, next, &len) == payload && *payload == 2);
        must(slab_pool_return(pool, next) == 0);
    }
    must(model_available() == 1);
    must(slab_pool_drain(pool) == 1);
    must(slab_pool_drain(pool) == 0);
    slab_pool_destroy(pool);
}

/* freed: when the owner frees the id that another thread returns at the same moment, the page comes
 * back once, and the late return does not reach the page's next life. Each side may be told 0, both
 * too, but not neither.
 *
 *    owner                                   returner
 *    free: gen is 1, live
 *                                            return: gen 1 -> 2, won
 *    free: gen := 2, recycle the page
 *    alloc: gen := 3
 *                                            hint, for a life that is over
 *    alloc: look finds gen 3 live
 *
 * Broken if the look recycled a hinted page without comparing its generation with that of the life
 * that is out: the page would be handed out twice. Broken if the generation did not grow: the late
 * return would end life 3. */
static int returned;

static void *return_it(void *unused)
{
    returned = slab_pool_return(pool, id);
    return unused;
}

play(freed)
{
    model_create(2);
    id = model_fill(1);

    model_thread thread = model_start(return_it);
    int          freed  = slab_pool_free(pool, id);
    slab_id      next[2];
    uint64_t    *payload[2];
    size_t       len;
    unsigned     out = 0;
    for (unsigned i = 0; i < 2; i++) {
        payload[i] = slab_pool_alloc(pool, sizeof **payload, &next[i]);
        out += payload[i] != NULL;
    }
    model_join(thread);

    must(freed == 0 || freed == -ESTALE);
    must(returned == 0 || returned == -ESTALE);
    must(freed == 0 || returned == 0);
    must(out == 2); /* the free was over, or it had seen the return */
    must(payload[0] != payload[1]);
    must(model_available() == 0);
    must(!slab_pool_read(pool, id, &len));
    for (unsigned i = 0; i < 2; i++) {
        must(slab_pool_read(pool, next[i], &len) == payload[i]);
        must(slab_pool_return(pool, next[i]) == 0);
        must(slab_pool_return(pool, next[i]) == -ESTALE);
    }
    must(slab_pool_drain(pool) == 2);
    slab_pool_destroy(pool);
}

/* stale: returns of a life that is over are refused and counted, wherever they fall in the page's
 * next life.
 *
 *    owner                       first                       second
 *    (life 1 is over)
 *    alloc: gen := 3             return 1: gen is not 1
 *    write 2, read 2                                         return_many 1: gen is not 1
 *    return 3, drain
 *
 * Broken if the compare-exchange in slab__pool_end_life compared anything less than the whole
 * generation: life 3 would end early. Broken if the count in slab__pool_refuse is a load and a
 * store: one is lost. */
static void *return_old(void *unused)
{
    must(slab_pool_return(pool, id) == -ESTALE);
    return unused;
}

static void *return_old_many(void *unused)
{
    bool wake;
    must(slab_pool_return_many(pool, &id, 1, &wake) == 0 && !wake);
    return unused;
}

play(stale)
{
    model_create(1);
    id = model_fill(1);
    must(slab_pool_return(pool, id) == 0);

    model_thread first  = model_start(return_old);
    model_thread second = model_start(return_old_many);
    slab_id      next   = model_fill(2);
    size_t       len;
    must(model_available() == 0);
    const uint64_t *payload = slab_pool_read(pool, next, &len);
    must(payload && *payload == 2);
    must(slab_pool_return(pool, next) == 0);
    must(slab_pool_drain(pool) == 1);
    model_join(first);
    model_join(second);

    struct slab_pool_info info;
    slab_pool_stats(pool, &info);
    must(info.refused == 2 && info.allocs == 2 && info.available == 1);
    slab_pool_destroy(pool);
}

/* many: return_many keeps every promise of return: of doubled ids one succeeds, a drain alone finds
 * the pages, an owner that may sleep gets exactly one wake-up, and reads happen before the owner's
 * next write.
 *
 *    owner                       first                           second
 *    drain: 0
 *                                read page 0
 *    want: wanted := 1           return_many 0, 1: ends 0
 *    want: look finds nothing                                    return_many 1: ends 1
 *                                1 is stale
 *                                hint
 *                                wanted is 1: wake := true       hint
 *                                                                wanted is 0: wake = false
 *
 * Broken by what breaks return: a weaker order in slab__pool_end_life, slab__pool_hint or
 * slab__pool_take_wake, or in the owner's look. Both pages are of group 0: the header reads the
 * page number out of the array apart from the whole id, which the checker, with its one size for
 * each variable, takes for 0. */
static slab_id ids[2];
static size_t  live[2];
static bool    wake[2];

static void *return_both(void *unused)
{
    size_t          len;
    const uint64_t *payload = slab_pool_read(pool, ids[0], &len);

    must(payload && *payload == 1);
    live[0] = slab_pool_return_many(pool, ids, 2, &wake[0]);
    return unused;
}

static void *return_second(void *unused)
{
    live[1] = slab_pool_return_many(pool, ids + 1, 1, &wake[1]);
    return unused;
}

play(many)
{
    model_create(2);
    ids[0] = model_fill(1);
    ids[1] = model_fill(2);

    model_thread first  = model_start(return_both);
    model_thread second = model_start(return_second);
    size_t       found  = slab_pool_drain(pool);
    unsigned     taken  = 0;
    bool         armed  = false;
    slab_id      next;
    if (found == 0) {
        armed = slab_pool_want(pool);
    } else {
        model_fill(3);
        taken++;
    }
    model_join(first);
    model_join(second);

    must(live[0] >= 1 && live[0] + live[1] == 2);
    if (armed) must(wake[0] + wake[1] == 1);
    must(model_available() == 2 - taken);
    if (armed || found > 0) must(found + slab_pool_drain(pool) == 2);
    while (taken < 2) {
        must(slab_pool_alloc(pool, 8, &next));
        taken++;
    }
    must(!slab_pool_alloc(pool, 8, &next));
    slab_pool_destroy(pool);
}
