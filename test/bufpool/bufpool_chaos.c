/* Goal: as bufpool_stress.c's, for moments of a few nanoseconds that a storm meets once in hours.
 * Method: the same storms, with bufpool.h's atomic operations each preceded by a pause, mostly
 * none, sometimes long enough for all other threads to pass. What a thread then finds changed
 * between any two of its steps is what it may find when it is preempted there.
 * Usage: bufpool_chaos [SECONDS [THREADS [OPERATIONS]]] */
#define _GNU_SOURCE
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <unistd.h>

static void pause_at_random(void)
{
    static _Atomic(uint32_t)      seeds;
    static _Thread_local uint32_t random;

    if (random == 0) random = 1 + atomic_fetch_add(&seeds, 0x9e3779b9u);
    random ^= random << 13; /* xorshift (Marsaglia, 2003) */
    random ^= random >> 17;
    random ^= random << 5;
    if (random % 32 == 0) sched_yield();
    if (random % 4096 == 1) usleep(random / 4096 % 300);
}

#ifdef __clang__
#define PAUSED(clangs, gccs, ...) (pause_at_random(), __c11_atomic_##clangs(__VA_ARGS__))
#define WEAK(at, was, to, ...)    PAUSED(compare_exchange_weak, , at, was, to, __VA_ARGS__)
#define STRONG(at, was, to, ...)  PAUSED(compare_exchange_strong, , at, was, to, __VA_ARGS__)
#else
#define PAUSED(clangs, gccs, ...) (pause_at_random(), __atomic_##gccs(__VA_ARGS__))
#define WEAK(at, was, to, ...)    PAUSED(, compare_exchange_n, at, was, to, 1, __VA_ARGS__)
#define STRONG(at, was, to, ...)  PAUSED(, compare_exchange_n, at, was, to, 0, __VA_ARGS__)
#endif
#undef atomic_load_explicit
#undef atomic_store_explicit
#undef atomic_exchange_explicit
#undef atomic_fetch_add_explicit
#undef atomic_fetch_sub_explicit
#undef atomic_fetch_or_explicit
#undef atomic_fetch_and_explicit
#undef atomic_compare_exchange_weak_explicit
#undef atomic_compare_exchange_strong_explicit
#define atomic_load_explicit(...)                    PAUSED(load, load_n, __VA_ARGS__)
#define atomic_store_explicit(...)                   PAUSED(store, store_n, __VA_ARGS__)
#define atomic_exchange_explicit(...)                PAUSED(exchange, exchange_n, __VA_ARGS__)
#define atomic_fetch_add_explicit(...)               PAUSED(fetch_add, fetch_add, __VA_ARGS__)
#define atomic_fetch_sub_explicit(...)               PAUSED(fetch_sub, fetch_sub, __VA_ARGS__)
#define atomic_fetch_or_explicit(...)                PAUSED(fetch_or, fetch_or, __VA_ARGS__)
#define atomic_fetch_and_explicit(...)               PAUSED(fetch_and, fetch_and, __VA_ARGS__)
#define atomic_compare_exchange_weak_explicit(...)   WEAK(__VA_ARGS__)
#define atomic_compare_exchange_strong_explicit(...) STRONG(__VA_ARGS__)

#include "bufpool_stress.c"
