/* Goal:   a frame that was taken before its group got an owner, or that the owner lent, is the
 *         owner's to lend once somebody frees it elsewhere; what that thread wrote comes before.
 * Method: just that. Nobody takes anything by force, so there is no heavy fence, and the light
 *         ones do nothing: the owner has its acquires, and no more. */
#define MODEL_LIGHTER
#include "fixedpool_model.h"

static fixedpool_cache *cache;

static void *give_back(void *unused)
{
    model_use(0);
    must(fixedpool_free(pool, 0) == 0);
    return unused;
}

static void play(void)
{
    model_create(1, 0);
    unsigned way = model_choose(2);
    cache        = fixedpool_cache_open(pool);
    if (way == 0) must(fixedpool__lease(pool, 0, 1) == 1);
    must(fixedpool__adopt(cache, 0, 0));
    if (way == 1) must(fixedpool__lend_from(cache, 0) && fixedpool__lend(cache) == 0);
    model_thread giver = model_start(give_back);
    if (fixedpool__refill(cache, false)) {
        must(fixedpool__lend(cache) == 0);
        model_use(0);
    }
    model_join(giver);
    model_destroy();
}
