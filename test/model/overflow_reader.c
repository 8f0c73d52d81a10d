/* Goal:   a reader gets a whole value that was live, or none, whatever the owner does meanwhile.
 * Method: a thread reads a ref while the owner writes, frees, or reuses the place. Values consist
 *         of equal words, so that a mixture of two shows; checksums always match. */
#include "overflow_model.h"

static overflow_ref old;

static void *read_old(void *unused)
{
    uint64_t word = model_read(old);
    must(word == 7 || word == 0);
    return unused;
}

/* publish: a value is there as soon as its ref is, however the reader learned the ref.
 *
 *    owner                               reader
 *    write: words, serial, check
 *    write: head := live
 *    told := ref, relaxed                told: ref
 *                                        head is live: copy the words
 *
 * Broken if the store in overflow__poke_head does not release, or if the reader's load of the head
 * does not acquire: the reader copies what was there before. */
static _Atomic(uint64_t) told;

static void *read_told(void *unused)
{
    overflow_ref ref = atomic_load_explicit(&told, memory_order_relaxed);
    if (ref != 0) {
        uint64_t word = model_read(ref);
        must(word == 7 || word == 0);
    }
    return unused;
}

play(publish)
{
    model_create();
    atomic_store_explicit(&told, 0, memory_order_relaxed);
    model_thread thread = model_start(read_told);
    atomic_store_explicit(&told, model_write(7, 32), memory_order_relaxed);
    model_join(thread);
    must(model_read(atomic_load_explicit(&told, memory_order_relaxed)) == 7);
}

/* reuse: a value is freed and another one is written to its place while it is read.
 *
 *    owner                               reader
 *                                        head is live, life 1
 *    free: head := hole                  copy the first words: 7
 *    free: release fence
 *    write: words := 9                   copy the last words: 9
 *    write: head := live, life 2         acquire fence
 *                                        head is another: not live
 *
 * Broken if either fence is missing: the reader copies a 9, still sees the old head, and takes the
 * mixture for a value. */
play(reuse)
{
    model_create();
    old                 = model_write(7, 32);
    model_thread thread = model_start(read_old);
    must(overflow_free(&region, old) == 0);
    overflow_ref now = model_write(9, 32);
    must(overflow__place(now) == overflow__place(old));
    model_join(thread);
    must(model_read(old) == 0 && model_read(now) == 9);
}

/* peek: the same, but the words are read in place, and checked afterwards.
 *
 *    owner                               reader
 *                                        peek: head is live, life 1
 *    free: head := hole                  reads the first word: 7
 *    free: release fence
 *    write: words := 9                   reads the last word: 9
 *    write: head := live, life 2         check: acquire fence
 *                                        check: head is another: not live
 *
 * Broken if either fence is missing. */
static void *peek_old(void *unused)
{
    const void *value;
    size_t      size;
    if (overflow_reader_peek(&reader, old, &value, &size) != 0) return unused;
    must(size == 32);
    uint64_t first = overflow__peek((const overflow__word *)value);
    uint64_t last  = overflow__peek((const overflow__word *)value + 3);
    if (overflow_reader_check(&reader, old) == 0) must(first == 7 && last == 7);
    return unused;
}

play(peek)
{
    model_create();
    old                 = model_write(7, 32);
    model_thread thread = model_start(peek_old);
    must(overflow_free(&region, old) == 0);
    overflow_ref now = model_write(9, 32);
    must(overflow__place(now) == overflow__place(old));
    model_join(thread);
    const void *value;
    size_t      size;
    must(overflow_reader_peek(&reader, old, &value, &size) == -ESTALE);
    must(overflow_reader_check(&reader, now) == 0);
}

/* hole: what the owner notes in a hole is never read as part of the value that was there.
 *
 *    owner                               reader
 *                                        head is live, life 1
 *    free: head := hole                  copy the first words: 7
 *    settle: notes in the hole
 *    write 32 bytes to its front,        copy the last words: a note
 *      a note behind them                acquire fence
 *                                        head is another: not live
 *
 * Broken as `reuse` is, and if anything is stored in the slot before its head says hole. */
play(hole)
{
    model_create();
    old = model_write(7, 64);
    model_write(1, 32); /* otherwise the slot would become fresh space, not a hole */
    model_thread thread = model_start(read_old);
    must(overflow_free(&region, old) == 0);
    overflow__settle_all(&region);
    must(region.hole_count == 1);
    overflow_ref now = model_write(9, 32);
    must(overflow__place(now) == overflow__place(old));
    model_join(thread);
    must(model_read(old) == 0 && model_read(now) == 9);
}
