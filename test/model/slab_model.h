/* slab_model.h - what the model-checking clients of slab.h share.
 *
 * Goal:   one client, two programs. With MODEL defined it is for a model checker, which runs play()
 *         once for each outcome that the C11 memory model allows. Without, it is an ordinary
 *         program that runs play() ROUNDS times and hopes.
 * Method: the real header is compiled in. For the checker, its memory comes from a static arena
 *         (the checker knows no mmap) and its functions are inlined, so that an id passed by value
 *         never meets memory as one word here and as three fields there.
 *
 * Payloads are plain variables, written and read without any order of their own: where the pool
 * does not order two accesses, the checker reports a race. */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MODEL_INLINE static inline __attribute__((always_inline, unused))
#define SLAB_API     static inline

#ifdef MODEL
#define ROUNDS 1

/* The checker's own names for a thread's start and end and for a failed check. */
typedef int model_thread;
extern int   __VERIFIER_thread_create(const void *attributes, void *(*run)(void *), void *argument);
extern void *__VERIFIER_thread_join(model_thread thread);
extern void  __VERIFIER_assert_fail(const char *condition, const char *file, int line);

#define must(x) ((x) ? (void)0 : __VERIFIER_assert_fail(#x, __FILE__, __LINE__))

/* Of words, for the checker gives each element a name, and takes its time about it. */
static alignas(4096) uint64_t model_arena[3][1024];
static _Atomic(unsigned)      model_arenas_used;

MODEL_INLINE void *model_map(size_t size)
{
    must(size <= sizeof model_arena[0]);
    /* relaxed: a number of its own for each caller is all that is asked. */
    return model_arena[atomic_fetch_add_explicit(&model_arenas_used, 1, memory_order_relaxed)];
}

#define SLAB_MAP(size)           model_map(size)
#define SLAB_UNMAP(memory, size) ((void)(memory), (void)(size))
#define model_yield()            ((void)0)
#else
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

typedef pthread_t model_thread;
#define must(x)                                                                                    \
    ((x) ? (void)0 : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x), abort()))
#ifndef ROUNDS
#define ROUNDS 1
#endif
#define model_yield() ((void)sched_yield())
#endif

/* Read-modify-writes torn into a load and a store: run.sh mutants turns a header's atomic_fetch_or
 * into torn_fetch_or, and asks who reports it. */
#define torn_step(object, desired)                                                                 \
    __extension__({                                                                                \
        __auto_type torn_from = atomic_load_explicit(object, memory_order_seq_cst);                \
        __auto_type torn_to   = (desired);                                                         \
        atomic_store_explicit(object, torn_to, memory_order_seq_cst);                              \
        torn_from;                                                                                 \
    })
#define torn_exchange_explicit(object, desired, order)  torn_step(object, desired)
#define torn_fetch_or_explicit(object, operand, order)  torn_step(object, torn_from | (operand))
#define torn_fetch_and_explicit(object, operand, order) torn_step(object, torn_from & (operand))
#define torn_fetch_add_explicit(object, operand, order) torn_step(object, torn_from + (operand))
#define torn_fetch_sub_explicit(object, operand, order) torn_step(object, torn_from - (operand))
#define torn_compare_exchange_strong_explicit(object, expected, desired, order, failure)           \
    (atomic_load_explicit(object, memory_order_seq_cst) == *(expected) &&                          \
     (atomic_store_explicit(object, desired, memory_order_seq_cst), true))

#ifdef MODEL /* the header's helpers too */
#pragma clang attribute push(__attribute__((always_inline)), apply_to = function)
#endif
#define SLAB_ASSERT(x) must(x)
#define SLAB_IMPLEMENTATION
#include "slab.h"
#ifdef MODEL
#pragma clang attribute pop
#endif

/* -- Handing over --
 *
 * A cell carries one id as one word; 0 is empty, and never an id. */

typedef _Atomic(uint64_t) model_cell;

MODEL_INLINE slab_id model_id(uint64_t word)
{
    slab_id id;
    memcpy(&id, &word, sizeof id);
    return id;
}

MODEL_INLINE void model_give(model_cell *cell, slab_id id)
{
    uint64_t word;
    memcpy(&word, &id, sizeof word);
    /* release, pairs with the acquire in model_take: the user's own queue. */
    atomic_store_explicit(cell, word, memory_order_release);
}

MODEL_INLINE slab_id model_take(model_cell *cell)
{
    uint64_t word;
    while ((word = atomic_load_explicit(cell, memory_order_acquire)) == 0) model_yield();
    return model_id(word);
}

/* -- The pool -- */

enum { MODEL_CORE = 7 };

static slab_pool *pool;

MODEL_INLINE void model_create(uint32_t page_count)
{
    slab_pool_config config = {0};
    config.core             = MODEL_CORE;
    config.page_size        = 64;
    config.page_count       = page_count;
    int error               = slab_pool_create(&pool, &config);
    must(error == 0);
}

/* A page that must be there, with value written into it. */
MODEL_INLINE slab_id model_fill(uint64_t value)
{
    slab_id   id;
    uint64_t *payload = slab_pool_alloc(pool, sizeof *payload, &id);
    must(payload);
    *payload = value;
    return id;
}

MODEL_INLINE uint32_t model_available(void)
{
    struct slab_pool_info info;
    slab_pool_stats(pool, &info);
    return info.available;
}

/* -- Threads -- */

MODEL_INLINE model_thread model_start(void *(*run)(void *))
{
#ifdef MODEL
    return __VERIFIER_thread_create(NULL, run, NULL);
#else
    model_thread thread;
    int          error = pthread_create(&thread, NULL, run, NULL);
    must(error == 0);
    return thread;
#endif
}

MODEL_INLINE void model_join(model_thread thread)
{
#ifdef MODEL
    __VERIFIER_thread_join(thread);
#else
    int error = pthread_join(thread, NULL);
    must(error == 0);
#endif
}

/* Each client's: builds a pool, lets the threads loose, and asserts. */
static void play(void);

int main(void)
{
    for (int round = 0; round < ROUNDS; round++) play();
    return 0;
}
