/* Goal:   a reader of a value that is freed, and whose place is written to anew, gets the whole old
 *         value or none.
 * Method: while a thread reads, the owner frees and writes a value of the same size: it comes to
 * lie in the same place. */
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
    old                 = model_write(7, 32);
    model_thread thread = model_start(read_it);
    must(overflow_free(&region, old) == 0);
    overflow_ref now = model_write(9, 32);
    must(overflow__place(now) == overflow__place(old));
    model_join(thread);
    must(model_read(old) == 0 && model_read(now) == 9);
}
