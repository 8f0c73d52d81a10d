/* Goal:   of two threads that bring what is granted above the limit, or one above and one below,
 *         each leaves the room that belongs to the sum.
 * Method: two threads add to what is granted, one more than the limit, and one takes away. When all
 *         is still, surplus is allowed exactly if granted is within the limit. */
#include "bufpool_model.h"

static bufpool_tenant *tenant;

static void *more(void *unused)
{
    (void)bufpool__grant(tenant, 40);
    return unused;
}

static void *less(void *unused)
{
    (void)bufpool__grant(tenant, UINT64_C(0) - 40);
    return unused;
}

static void play(void)
{
    model_create(1);
    tenant = model_tenant(0, 0, 60);
    (void)bufpool__grant(tenant, 40);
    must(atomic_load_explicit(&tenant->room, memory_order_relaxed) != 0);
    model_thread one = model_start(more);
    model_thread two = model_start(less);
    model_join(one);
    model_join(two);
    must(atomic_load_explicit(&tenant->granted, memory_order_relaxed) == 40);
    must(atomic_load_explicit(&tenant->room, memory_order_relaxed) != 0);
}
