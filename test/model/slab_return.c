/* Goal:   of two returns of one life exactly one succeeds, whoever wins, and the reader's last read
 *         of the page comes before the owner's next write to it, also when the return that won was
 *         not the reader's, and when no hint led the owner to the page.
 * Method: the only page of a pool goes through a cell to a reader, who reads it, tells a second
 *         thread the id, and returns it; the second thread returns it too. Meanwhile the owner
 *         tries to begin a second life and writes into it. The write must not race with the read,
 *         and neither return, late as it may come, may harm the second life. */
#include "slab_model.h"

static model_cell to_reader, to_doubler;
static int        by_reader, by_doubler;

static void *reader(void *unused)
{
    slab_id         id = model_take(&to_reader);
    size_t          len;
    const uint64_t *payload = slab_pool_read(pool, id, &len);

    must(payload && len == sizeof *payload);
    must(*payload == 1);
    model_give(&to_doubler, id);
    by_reader = slab_pool_return(pool, id);
    return unused;
}

static void *doubler(void *unused)
{
    by_doubler = slab_pool_return(pool, model_take(&to_doubler));
    return unused;
}

static void play(void)
{
    to_reader  = 0;
    to_doubler = 0;
    model_create(1);
    model_thread first  = model_start(reader);
    model_thread second = model_start(doubler);

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
