/* Goal:   one of those who wait is woken though another one comes and goes: watchers and sleepers
 *         are counted right.
 * Method: the one frame is leased. One thread waits for it; another one counts itself among those
 *         who do, and out again; a third one frees the frame. */
#include "fixedpool_model.h"

static void *wait(void *unused)
{
    model_home(0);
    fixedpool__frames found = fixedpool__wait(pool, -1);
    must(found.bits == 1);
    return unused;
}

static void *pass(void *unused)
{
    fixedpool__watch(pool);
    fixedpool__sleep(pool, UINT32_MAX, NULL); /* events is not that: it comes back at once */
    fixedpool__unwatch(pool);
    return unused;
}

static void play(void)
{
    uint32_t frame = 0;

    model_create(1, 0);
    must(fixedpool__lease(pool, 0, 1) == 1);
    model_thread waiter = model_start(wait);
    model_thread passer = model_start(pass);
    must(fixedpool_free_many(pool, &frame, 1) == 1);
    model_join(waiter);
    model_join(passer);
    must(atomic_load_explicit(&pool->watchers, memory_order_relaxed) == 0);
    must(atomic_load_explicit(&pool->sleepers, memory_order_relaxed) == 0);
    model_destroy();
}
