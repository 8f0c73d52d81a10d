/* classic_frames.h - the design that fixedpool replaces, for measuring against: a stack of free
 * frames under one head {tag, index}, which every thread exchanges for each alloc and free. The tag
 * grows with every alloc, so that a head which came back is not taken for the same one.
 *
 * What it lacks: a frame freed twice is handed out twice, after the stack was tied into a knot; and
 * all threads meet at one word, so that two cores are slower than one. */
#ifndef CLASSIC_FRAMES_H
#define CLASSIC_FRAMES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

struct classic_frames {
    _Alignas(64) _Atomic(uint64_t) head; /* tag << 32 | frame + 1; 0 in the low half = none */
    _Alignas(64) _Atomic(uint32_t) *next;
};

static inline void classic_free_many(struct classic_frames *stack, const uint32_t *frames,
                                     uint32_t count)
{
    if (count == 0) return;
    for (uint32_t i = 0; i + 1 < count; i++)
        atomic_store_explicit(&stack->next[frames[i]], frames[i + 1] + 1, memory_order_relaxed);
    uint64_t head = atomic_load_explicit(&stack->head, memory_order_relaxed), first;
    do {
        atomic_store_explicit(&stack->next[frames[count - 1]], (uint32_t)head,
                              memory_order_relaxed);
        first = (head & ~(uint64_t)UINT32_MAX) | (frames[0] + 1);
    } while (!atomic_compare_exchange_weak_explicit(&stack->head, &head, first,
                                                    memory_order_release, memory_order_relaxed));
}

static struct classic_frames *classic_create(uint32_t count)
{
    struct classic_frames *stack = aligned_alloc(64, sizeof *stack);
    atomic_init(&stack->head, 0);
    stack->next = calloc(count, sizeof *stack->next);
    while (count-- > 0) classic_free_many(stack, &count, 1);
    return stack;
}

static inline bool classic_alloc(struct classic_frames *stack, uint32_t *frame)
{
    uint64_t head = atomic_load_explicit(&stack->head, memory_order_acquire), rest;
    do {
        if ((uint32_t)head == 0) return false;
        *frame        = (uint32_t)head - 1;
        uint32_t next = atomic_load_explicit(&stack->next[*frame], memory_order_relaxed);
        rest          = ((head >> 32) + 1) << 32 | next;
    } while (!atomic_compare_exchange_weak_explicit(&stack->head, &head, rest, memory_order_acquire,
                                                    memory_order_acquire));
    return true;
}

static inline void classic_free(struct classic_frames *stack, uint32_t frame)
{
    classic_free_many(stack, &frame, 1);
}

#endif /* CLASSIC_FRAMES_H */
