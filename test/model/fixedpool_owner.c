/* Goal:   a group that changes owners forgets nothing: no lent frame becomes idle, and no idle one
 *         stays lent, because one owner's stores fall into the next owner's turn.
 * Method: one thread adopts a group while another leaves it, revokes it, or frees a frame of it. At
 *         the end each frame that is not leased can be leased exactly once. */
#include "fixedpool_model.h"

static fixedpool_cache *caches[2];
static int              frame;
static uint32_t         leased[2];

static void *adopt(void *unused)
{
    (void)fixedpool__adopt(caches[1], 0, 0);
    return unused;
}

static void lend_after_adopting(int which)
{
    if (!model_own(caches[which], 0)) return;
    int lent = fixedpool__lend(caches[which]);
    if (lent < 0) return;
    model_use(lent);
    leased[which] |= UINT32_C(1) << lent;
}

/* adopt: a group that is revoked while its new owner has not yet cleared lent gets no other owner
 * before that is done.
 *
 *    first owner                             thief, then owner
 *    turn: unowned -> owned
 *                                            turn: owned -> revoked
 *                                            group->owner is of another turn: it stays revoked
 *                                            (otherwise: unowned -> owned, lent := 1)
 *    lent := 0, for all frames
 *    group->owner := turn, seat
 *
 * Broken if fixedpool__is_busy did not count an owner that has not named itself as busy, or if the
 * store of group->owner does not release: what the next owner lent is cleared, and leased twice. */
static void *steal_and_adopt(void *unused)
{
    leased[1] = model_steal();
    lend_after_adopting(1);
    return unused;
}

play(adopt)
{
    leased[0] = leased[1] = 0;
    model_create(1, 1);
    caches[0]           = fixedpool_cache_open(pool);
    caches[1]           = fixedpool_cache_open(pool);
    model_thread thread = model_start(steal_and_adopt);
    lend_after_adopting(0);
    model_join(thread);
    must(!(leased[0] & leased[1]));
    model_drain(leased[0] | leased[1]);
    model_destroy();
}

/* heir: what a group's last owner stored in lent comes before what the next owner stores there,
 * even if a third thread made the group unowned in between.
 *
 *    owner                       thief                       heir
 *    lend: lent := 1
 *    busy := 0                   turn: owned -> revoked
 *                                owner is not busy
 *                                leave in its stead:
 *                                  turn -> unowned           turn: unowned -> owned
 *                                                            lent := 0
 *
 * Broken if the owner's busy := 0 or the thief's compare-exchange does not release, or if the
 * thief's load of busy or the heir's compare-exchange does not acquire: lent := 1 comes last, and
 * the frame seems lent for ever. */
static uint32_t stolen;

static void *steal(void *unused)
{
    stolen = fixedpool__steal(pool, 0, 1);
    return unused;
}

play(heir)
{
    model_create(1, 1);
    caches[0]            = model_open();
    caches[1]            = fixedpool_cache_open(pool);
    model_thread thief   = model_start(steal);
    model_thread adopter = model_start(adopt);
    int          mine    = fixedpool__lend(caches[0]);
    model_join(thief);
    model_join(adopter);
    if (mine >= 0) must(fixedpool_free(pool, mine) == 0);
    must(fixedpool__free_bits(pool, 0, stolen) == stolen);
    model_drain(0);
    model_destroy();
}

/* absorb: an owner that absorbs a return, and whose group is revoked meanwhile, does not clear what
 * the next owner has lent. The frame was lent and freed elsewhere.
 *
 *    owner                                   thief, then owner
 *    busy := whole group                     turn: owned -> revoked
 *    light fence                             heavy fence
 *    turn is its own?                        owner is busy? leave the group alone
 *    lent := 0, returned := 0                else lease, free, adopt, lend: lent := 1
 *    busy := 0
 *
 * Broken if a fence is missing, or if busy did not stand for the whole group: lent := 0 falls into
 * the next turn, and the frame is leased twice. */
static void *take_over(void *unused)
{
    uint32_t bit = model_steal();
    if (!bit) return unused;
    must(fixedpool_free(pool, 0) == 0);
    if (model_own(caches[1], 0)) leased[1] = fixedpool__lend(caches[1]) == 0;
    return unused;
}

play(absorb)
{
    leased[1] = 0;
    model_create(1, 0);
    caches[0] = model_open();
    caches[1] = fixedpool_cache_open(pool);
    must(fixedpool__lend(caches[0]) == 0);
    must(fixedpool_free(pool, 0) == 0);
    model_thread thread = model_start(take_over);
    (void)fixedpool__refill(caches[0], false);
    model_join(thread);
    model_drain(leased[1]);
    model_destroy();
}

/* depart: a lent frame that another thread frees while its group loses its owner and gets another
 * is idle afterwards, and the free is not refused: at each moment the frame is lent, or taken.
 *
 *    owner                       giver                       adopter
 *                                load shared: owned
 *    leave: lent -> taken                                    turn: unowned -> owned
 *                                load lent: 0                lent := 0
 *                                shared has changed:
 *                                  look again, taken := 0
 *
 * Broken if leave stored taken apart from the turn, or if the loads of group->owner and lent in
 * fixedpool__lent do not acquire: the giver finds the frame neither lent nor taken, and is told
 * -EALREADY. */
static void *give_back(void *unused)
{
    model_use(frame);
    must(fixedpool_free(pool, frame) == 0);
    return unused;
}

play(depart)
{
    model_create(1, 0);
    caches[0]            = model_open();
    caches[1]            = fixedpool_cache_open(pool);
    frame                = model_cache_lease(caches[0]);
    model_thread giver   = model_start(give_back);
    model_thread adopter = model_start(adopt);
    fixedpool__leave(pool, &caches[0]->slots[0]);
    model_join(giver);
    model_join(adopter);
    model_drain(0);
    model_destroy();
}

/* seats: two caches that are opened at the same moment get a seat each, and are counted right.
 *
 *    first                                   second
 *    seats is NULL: map a block              seats is NULL: map a block
 *    seats := block, release
 *    occupied 0 -> 1                         seats is there: unmap, take that one
 *                                            occupied 1 -> 3
 *
 * Broken if adding a block, taking a seat or giving one back is a load and a store, or if a block
 * is published or looked at without release and acquire: both take one seat, or a seat has no
 * number. */
static void *open_one(void *unused)
{
    model_home(0);
    caches[1] = fixedpool_cache_open(pool);
    return unused;
}

play(seats)
{
    model_create(1, 0);
    model_home(0);
    model_thread thread = model_start(open_one);
    caches[0]           = fixedpool_cache_open(pool);
    model_join(thread);
    must(caches[0]->seat != caches[1]->seat && caches[0]->number != caches[1]->number);
    must(pool->caches == 2);
    fixedpool_cache_close(caches[0]);
    fixedpool_cache_close(caches[1]);
    must(pool->caches == 0 && atomic_load(&pool->seats)->occupied == 0);
    model_destroy();
}

/* lock: of two threads that register one comes after the other and sees what it did. That a sleeper
 * is woken is not modelled: it also looks by itself.
 *
 *    first                                   second
 *    lock: 0 -> 1                            lock: 1 -> 2, sleep
 *    write                                   or
 *    lock: -> 0, release                     lock: 0 -> 1, acquire
 *                                            write
 *
 * Broken if lock or unlock does not acquire or release, or is a load and a store: the writes
 * race. */
static void count_one(void)
{
    fixedpool__lock(pool);
    pool->ring_count++;
    fixedpool__unlock(pool);
}

static void *count_too(void *unused)
{
    count_one();
    return unused;
}

play(lock)
{
    model_create(1, 0);
    model_sleepless     = &pool->lock;
    model_thread thread = model_start(count_too);
    count_one();
    model_join(thread);
    must(pool->ring_count == 2 && pool->registered == 2);
    model_sleepless  = NULL;
    pool->ring_count = 0;
    pool->registered = 0;
    model_destroy();
}
