/* Goal:   a lent frame that another thread frees while its group loses its owner and gets another
 *         is idle afterwards, and its free is not refused: it is returned or taken, and at no time
 *         neither.
 * Method: just that: one cache leaves the group, a second one adopts it, a third thread frees. */
#include "fixedpool_model.h"

static fixedpool_cache *caches[2];
static uint32_t         frame;

static void *give_back(void *unused)
{
    model_use((int)frame);
    must(fixedpool_free(pool, frame) == 0);
    return unused;
}

static void *adopt(void *unused)
{
    (void)fixedpool__adopt(caches[1], 0, 0);
    return unused;
}

static void play(void)
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
