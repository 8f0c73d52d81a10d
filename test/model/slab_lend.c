/* Goal:   pages of a peer that died come back once, also if another thread lends or returns them at
 *         that moment.
 * Method: one thread returns or lends while the owner reaps. A peer's death is a word of memory,
 *         which stands for the system call that tells of it. */
#include "slab_model.h"

enum { GONE = 3, OTHER = 5 };

static slab_id id;

MODEL_INLINE void create_and_lend(uint32_t page_count, uint32_t peer)
{
    slab_pool_config config = {0};
    config.core             = MODEL_CORE;
    config.page_size        = 64;
    config.page_count       = page_count;
    config.lends            = true;
    int error               = slab_pool_create(&pool, &config);
    must(error == 0);
    id = model_fill(1);
    if (peer != SLAB_NO_PEER) must(slab_pool_lend(pool, id, peer) == 0);
}

/* against_return: a return is in flight while the owner reaps.
 *
 *    owner                              returner
 *    reap: lent to the dead peer
 *                                       return: gen 1 -> 2, won
 *    reap: gen is not 1
 *    drain                              hint
 *
 * Broken if the compare-exchange in slab_pool_reap is a load and a store, or if reap recycled the
 * page without it: the life ends twice. Broken if reap took what it did not end. */
static int returned;

static void *return_it(void *unused)
{
    returned = slab_pool_return(pool, id);
    return unused;
}

play(against_return)
{
    create_and_lend(1, GONE);
    model_thread returner = model_start(return_it);
    size_t       reaped   = slab_pool_reap(pool, GONE);
    model_join(returner);

    must((reaped == 1 && returned == -ESTALE) || (reaped == 0 && returned == 0));
    must(slab_pool_drain(pool) == 1 - reaped);
    must(model_available() == 1);
    must(slab_pool_reap(pool, GONE) == 0);
    slab_pool_destroy(pool);
}

/* death: a reader passes its page on to a peer that dies. Either the reader sees that and returns
 * the page, or the owner, who reaps after the death, finds the loan.
 *
 *    owner                              reader
 *                                       lend to the peer
 *    the peer is dead := 1              is the peer dead?  0: send; 1: return
 *    reap: is the page lent to it?
 *
 * Store and load cross. Broken if the compare-exchange in slab_pool_lend or the load in
 * slab_pool_reap is not seq_cst: no one gives the page back. */
static _Atomic(uint32_t) dead;

static void *pass_on(void *unused)
{
    must(slab_pool_lend(pool, id, GONE) == 0);
    /* seq_cst: the caller's look, see slab_pool_lend. */
    if (atomic_load_explicit(&dead, memory_order_seq_cst)) returned = slab_pool_return(pool, id);
    return unused;
}

play(death)
{
    dead     = 0;
    returned = -1;
    create_and_lend(1, OTHER);
    model_thread reader = model_start(pass_on);
    atomic_store_explicit(&dead, 1, memory_order_seq_cst);
    size_t reaped = slab_pool_reap(pool, GONE);
    model_join(reader);

    must(reaped == 1 ? returned != 0 : returned == 0);
    must(model_available() == 1);
    slab_pool_destroy(pool);
}

/* late: a lend of a life that is over does not replace the loan of the page's next life.
 *
 *    late lender                        owner
 *    load the loan: none                life 1 ends, life 3 begins
 *    life 1 is not over?                lend 3 to the other peer
 *    compare-exchange
 *
 * Broken if the compare-exchange in slab_pool_lend is a load and a store, or if its load
 * of the loan does not acquire: the loan of life 3 is lost. */
static void *lend_late(void *unused)
{
    slab_pool_lend(pool, id, GONE);
    return unused;
}

play(late)
{
    create_and_lend(1, SLAB_NO_PEER);
    model_thread lender = model_start(lend_late);
    must(slab_pool_return(pool, id) == 0);
    slab_id   next;
    uint64_t *payload = slab_pool_alloc(pool, sizeof *payload, &next);
    must(payload);
    must(slab_pool_lend(pool, next, OTHER) == 0);
    model_join(lender);

    must(slab_pool_peer(pool, next) == OTHER);
    must(slab_pool_reap(pool, GONE) == 0);
    must(slab_pool_reap(pool, OTHER) == 1);
    must(model_available() == 1);
    slab_pool_destroy(pool);
}
