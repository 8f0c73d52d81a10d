/* Goal:   a buffer ring loses no request to refill, has one thread inside its door at a time, and
 *         publishes whole entries.
 * Method: threads free a frame and ask for a refill; the array of buffers lies in static memory. At
 *         the end every frame that was freed before some request is in an entry, once. */
#include "fixedpool_model.h"

static alignas(64) uint64_t model_ring[(sizeof(fixedpool_ring) + 4 * 4) / 8 + 1];
static fixedpool__buffer entries[2];
static fixedpool_ring   *r;

/* A buffer ring of two entries over a new pool of one group of two frames, both leased. */
MODEL_INLINE void model_ring_open(void)
{
    model_create(1, 1);
    r = (fixedpool_ring *)model_ring;
#ifndef MODEL
    memset(model_ring, 0, sizeof model_ring);
    memset(entries, 0, sizeof entries);
#endif
    r->pool    = pool;
    r->buffers = entries;
    r->entries = 2;
    must(fixedpool__lease(pool, 0, 2) == 3);
}

/* Refills as fixedpool__supply_fill does, one frame at a time: the play has no batches. */
MODEL_INLINE void model_fill(void)
{
    uint32_t bits = 0;
    if (fixedpool__supply_level(r) < r->entries) bits = fixedpool__lease(pool, 0, 1);
    if (!bits) return;
    int frame = (int)fixedpool__index(bits);
    model_use(frame);
    fixedpool__supply_put(r, &frame, 1);
}

MODEL_INLINE void model_refill(void)
{
    uint32_t requests;
    if (!fixedpool__supply_enter(r, &requests)) return;
    do model_fill();
    while (!fixedpool__supply_leave(r, &requests));
}

MODEL_INLINE uint32_t model_bits(uint32_t count)
{
    uint32_t bits = 0;
    for (uint32_t i = 0; i < count; i++) {
        must(!(bits & UINT32_C(1) << entries[i].id));
        bits |= UINT32_C(1) << entries[i].id;
    }
    return bits;
}

/* request: two threads free a frame each and ask for a refill.
 *
 *    first                                  second
 *    free 0; door: 0 -> 1                   free 1
 *    leases frame 0                         door: 1 -> 2
 *    door: 1 -> 0? it is 2
 *    leases frame 1; door: 2 -> 0
 *
 * Broken if a request does not release, or the door is left in two steps: frame 1 stays idle.
 * Broken if entering does not acquire or leaving does not release: two threads write the entries,
 * which is a race, or one entry twice. */
static void *free_and_ask(void *unused)
{
    model_use(1);
    must(fixedpool_free(pool, 1) == 0);
    model_refill();
    return unused;
}

play(request)
{
    model_ring_open();
    model_thread thread = model_start(free_and_ask);
    model_use(0);
    must(fixedpool_free(pool, 0) == 0);
    model_refill();
    model_join(thread);
    must(r->given == 2 && r->door == 0);
    must(model_bits(2) == 3);
    model_destroy();
}

/* publish: the kernel, which reads the tail by an acquire, reads the entry, and posts a completion;
 * fixedpool_ring_frame takes it, and the entry is written again by another thread.
 *
 *    refill, inside                         kernel, then the thread of completions
 *    entry 0 := frame 0; place := 1
 *    tail := 1                              tail is 1: reads entry 0
 *                                           ring_frame: place := 0, taken := 1
 *    level: given 1, taken 1
 *    entry 0 := frame 1
 *
 * Broken if the tail does not release: the entry is read before it is written. Broken if taken does
 * not release, or the level does not acquire: the entry is written over while the kernel reads. */
static void *kernel(void *unused)
{
    if (atomic_load_explicit(&entries[0].tail, memory_order_acquire) == 0) return unused;
    uint32_t id    = entries[0].id;
    int      frame = fixedpool_ring_frame(r, 8, id << 16 | 1, NULL);
    must(frame == 0 && id == 0);
    model_use(frame);
    return unused;
}

play(publish)
{
    uint32_t requests;

    model_ring_open();
    r->entries = 1;
    must(fixedpool_free(pool, 1) == 0);
    model_thread thread = model_start(kernel);
    int          frame  = 0;
    bool         inside = fixedpool__supply_enter(r, &requests);
    must(inside);
    model_use(0);
    fixedpool__supply_put(r, &frame, 1);
    model_fill();
    bool left = fixedpool__supply_leave(r, &requests);
    must(left);
    model_join(thread);
    must(r->given == 1 || r->given == 2);
    model_destroy();
}
