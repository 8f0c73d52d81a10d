/* classic_pool.h - the design that slab_pool replaces, for measuring against: a stack of free pages
 * for the owner, and a ring into which any thread puts what it gives back, by one fetch_add for a
 * place and one store into it.
 *
 * What it lacks: no id, so a page returned twice is handed out twice; and a thread stopped between
 * its fetch_add and its store holds up every return behind it. The ring has as many places as there
 * are pages, so that it never runs full. */
#ifndef CLASSIC_POOL_H
#define CLASSIC_POOL_H

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

struct classic_pool {
    unsigned char *pages;
    size_t         page_size;
    uint32_t       page_count;
    _Alignas(64) uint32_t top; /* owner only, to the end of this group */
    uint32_t  tail;
    uint32_t *stack;
    _Alignas(64) _Atomic(uint32_t) head; /* any thread */
    _Alignas(64) _Atomic(uint32_t) *ring; /* page + 1; 0 = empty */
};

static struct classic_pool *classic_create(size_t page_size, uint32_t page_count)
{
    struct classic_pool *pool = aligned_alloc(64, sizeof *pool);
    *pool = (struct classic_pool){.page_size = page_size, .page_count = page_count};
    pool->pages = aligned_alloc(4096, page_size * page_count);
    pool->stack = calloc(page_count, sizeof *pool->stack);
    pool->ring  = calloc(page_count, sizeof *pool->ring);
    while (pool->top < page_count) {
        pool->stack[pool->top] = page_count - 1 - pool->top;
        pool->top++;
    }
    return pool;
}

static inline uint32_t classic_drain(struct classic_pool *pool)
{
    uint32_t before = pool->top;
    for (;;) {
        _Atomic(uint32_t) *place = &pool->ring[pool->tail % pool->page_count];
        uint32_t           entry = atomic_load_explicit(place, memory_order_acquire);
        if (entry == 0) return pool->top - before;
        atomic_store_explicit(place, 0, memory_order_relaxed);
        pool->stack[pool->top++] = entry - 1;
        pool->tail++;
    }
}

static inline void *classic_alloc(struct classic_pool *pool, uint32_t *page)
{
    if (pool->top == 0 && classic_drain(pool) == 0) return NULL;
    *page = pool->stack[--pool->top];
    return pool->pages + *page * pool->page_size;
}

static inline void classic_free(struct classic_pool *pool, uint32_t page)
{
    pool->stack[pool->top++] = page;
}

static inline void classic_return(struct classic_pool *pool, uint32_t page)
{
    uint32_t place = atomic_fetch_add_explicit(&pool->head, 1, memory_order_relaxed);
    atomic_store_explicit(&pool->ring[place % pool->page_count], page + 1, memory_order_release);
}

static inline void classic_return_many(struct classic_pool *pool, const uint32_t *pages,
                                       uint32_t count)
{
    uint32_t place = atomic_fetch_add_explicit(&pool->head, count, memory_order_relaxed);
    for (uint32_t i = 0; i < count; i++)
        atomic_store_explicit(&pool->ring[(place + i) % pool->page_count], pages[i] + 1,
                              memory_order_release);
}

#endif /* CLASSIC_POOL_H */
