/* Goal:   a value is there as soon as its ref is: whoever has the ref, by whatever way, reads the
 *         whole value or nothing.
 * Method: the owner writes; a reader learns the ref without any order, and reads. */
#include "overflow_model.h"

static _Atomic(uint64_t) told;

static void *read_it(void *unused)
{
    overflow_ref ref = atomic_load_explicit(&told, memory_order_relaxed);
    if (ref != 0) {
        uint64_t word = model_read(ref);
        must(word == 7 || word == 0);
    }
    return unused;
}

static void play(void)
{
    model_create();
    atomic_store_explicit(&told, 0, memory_order_relaxed);
    model_thread thread = model_start(read_it);
    atomic_store_explicit(&told, model_write(7, 32), memory_order_relaxed);
    model_join(thread);
    must(model_read(atomic_load_explicit(&told, memory_order_relaxed)) == 7);
}
