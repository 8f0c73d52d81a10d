/* Goal:   what the owner notes in a hole is never read as part of the value that was there.
 * Method: while a thread reads, the owner frees; the slot becomes a hole with its notes, and then a
 *         smaller value is written to its front, with another note behind that. */
#include "overflow_model.h"

static overflow_ref old;

static void *read_it(void *unused)
{
    uint64_t word = model_read(old);
    must(word == 7 || word == 0);
    return unused;
}

static void play(void)
{
    model_create();
    old = model_write(7, 64);
    model_write(1, 32); /* or there would be no hole, but fresh space */
    model_thread thread = model_start(read_it);
    must(overflow_free(&region, old) == 0);
    overflow__settle_all(&region);
    must(region.hole_count == 1);
    overflow_ref now = model_write(9, 32);
    must(overflow__place(now) == overflow__place(old));
    model_join(thread);
    must(model_read(old) == 0 && model_read(now) == 9);
}
