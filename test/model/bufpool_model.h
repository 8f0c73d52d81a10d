/* bufpool_model.h - what the model-checking clients of bufpool.h share.
 *
 * Goal:   one client, two programs. With MODEL defined it is for a model checker, which runs play()
 *         once for each outcome that the C11 memory model allows. Without, it is an ordinary
 *         program that runs play() ROUNDS times and hopes.
 * Method: the real header is compiled in. The pool is put together here as create would do it, in
 *         static memory: two shards, two seats for caches, a few headers.
 *
 * The checker knows no membarrier(2): the light and the heavy fence are a seq_cst fence each. That
 * is what the kernel promises of the pair. The ordinary program has the real ones.
 *
 * Payloads are plain variables, written and read without any order of their own: where the pool
 * does not order two accesses, the checker reports a race. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MODEL_INLINE static inline __attribute__((always_inline, unused))
#define BUFPOOL_API  static inline __attribute__((unused))

#ifdef MODEL
#define ROUNDS 1

/* The checker's own names for a thread's start and end, for a way not to be gone, and for a failed
 * check. */
typedef int  model_thread;
extern int   __VERIFIER_thread_create(const void *attributes, void *(*run)(void *), void *argument);
extern void *__VERIFIER_thread_join(model_thread thread);
extern void  __VERIFIER_assume(bool condition);
extern void  __VERIFIER_assert_fail(const char *condition, const char *file, int line);

#define must(x) ((x) ? (void)0 : __VERIFIER_assert_fail(#x, __FILE__, __LINE__))

/* Who finds a lock taken is not followed: that it comes later is another execution. */
#ifndef MODEL_YIELD
#define MODEL_YIELD() __VERIFIER_assume(false)
#endif
#define sched_yield() MODEL_YIELD()

#define BUFPOOL_LIGHT_FENCE() atomic_thread_fence(memory_order_seq_cst)
#define BUFPOOL_HEAVY_FENCE() atomic_thread_fence(memory_order_seq_cst)

/* Any guess will do: a wrong one fails a compare-exchange. But for the client that is about it. */
#ifndef MODEL_HINTS
#define BUFPOOL_HINT(head)        ((void)(head), 0u)
#define BUFPOOL_SET_HINT(head, n) ((void)(head))
#endif
#else
#include <pthread.h>
#include <stdio.h>

typedef pthread_t model_thread;
#define must(x) ((x) ? (void)0 : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x), abort()))
#ifndef ROUNDS
#define ROUNDS 1
#endif
#endif

static void *model_map(size_t size);
static void  model_unmap(void *memory, size_t size);
#define BUFPOOL_MAP(size)           model_map(size)
#define BUFPOOL_UNMAP(memory, size) model_unmap(memory, size)

/* Read-modify-writes torn into a load and a store: run.sh mutants turns a header's atomic_fetch_or
 * into torn_fetch_or, and asks who reports it. */
#define torn_step(object, desired)                                                  \
    __extension__({                                                                 \
        __auto_type torn_from = atomic_load_explicit(object, memory_order_seq_cst); \
        __auto_type torn_to   = (desired);                                          \
        atomic_store_explicit(object, torn_to, memory_order_seq_cst);               \
        torn_from;                                                                  \
    })
#define torn_exchange_explicit(object, desired, order)  torn_step(object, desired)
#define torn_fetch_or_explicit(object, operand, order)  torn_step(object, torn_from | (operand))
#define torn_fetch_and_explicit(object, operand, order) torn_step(object, torn_from &(operand))
#define torn_fetch_add_explicit(object, operand, order) torn_step(object, torn_from + (operand))
#define torn_fetch_sub_explicit(object, operand, order) torn_step(object, torn_from - (operand))
#define torn_compare_exchange_strong_explicit(object, expected, desired, order, failure) \
    __extension__({                                                                      \
        __auto_type torn_from = atomic_load_explicit(object, memory_order_seq_cst);      \
        bool torn_done        = torn_from == *(expected);                                \
        if (torn_done) atomic_store_explicit(object, desired, memory_order_seq_cst);     \
        else *(expected) = torn_from;                                                    \
        torn_done;                                                                       \
    })
#define torn_compare_exchange_weak_explicit torn_compare_exchange_strong_explicit

#ifdef MODEL /* the header's helpers too */
/* The checker wants each variable accessed in one size: names byte by byte, also where they are
 * copied to a word. */
MODEL_INLINE void model_copy_bytes(void *to, const void *from, size_t size)
{
    for (size_t i = 0; i < size; i++) ((char *)to)[i] = ((const char *)from)[i];
}

MODEL_INLINE void model_copy_word(uint64_t *to, const void *from, size_t size)
{
    for (size_t i = 0; i < size; i++) *to |= (uint64_t)((const unsigned char *)from)[i] << (8 * i);
}

MODEL_INLINE int model_compare(const void *one, const void *other, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (((const char *)one)[i] != ((const char *)other)[i]) return 1;
    return 0;
}

MODEL_INLINE size_t model_length(const char *string)
{
    size_t len = 0;

    while (string[len] != '\0') len++;
    return len;
}

#define memcpy(to, from, size) \
    _Generic((to), uint64_t * : model_copy_word, default : model_copy_bytes)(to, from, size)
#define memcmp(one, other, size) model_compare(one, other, size)
#define strlen(string)           model_length(string)

#pragma clang attribute push(__attribute__((always_inline)), apply_to = function)

#endif
#define BUFPOOL_ASSERT(x) must(x)
#define BUFPOOL_IMPLEMENTATION
#include "bufpool.h"
#ifdef MODEL

#pragma clang attribute pop
#undef memcpy
#undef memcmp
#undef strlen
#endif

/* -- The pool -- */

enum { MODEL_SHARDS = 2, MODEL_CACHES = 2, MODEL_HEADS = 3 };

static bufpool        model_pool;
static bufpool_cache  model_shards[MODEL_SHARDS];
static bufpool_cache  model_caches[MODEL_CACHES];
static bufpool__chunk model_chunk; /* its first headers */
static uint64_t       model_data[MODEL_HEADS];
static alignas(64) uint64_t model_tenants[2][sizeof(bufpool_tenant) / 8]; /* without names */
static bufpool *pool;

/* Memory from the system: there is none, unless the client has its own, or asks for some. Buffers
 * that go back to it are counted. */
#ifndef MODEL_MEMORY
#ifdef MODEL_NAMES /* for two tables of so many slots, and an arena: as much of them as is used */
static alignas(64) uint64_t model_tables[2][2 + 2 * MODEL_NAMES];
static alignas(64) uint64_t model_arena[96];
static unsigned model_table_count;

static void *model_map(size_t size)
{
    if (size == BUFPOOL__NAMES) return model_arena;
    must(model_table_count < 2 && size <= sizeof *model_tables);
    return model_tables[model_table_count++];
}
#else
static void *model_map(size_t size)
{
    (void)size;
    return NULL;
}
#endif

static _Atomic(uint32_t) model_unmapped; /* buffers */
static unsigned          model_wrecked;  /* pools */

#ifndef MODEL_WRECKS
static void model_unmap(void *memory, size_t size)
{
    (void)size;
    *(uint64_t *)memory += 10;
    /* relaxed: looked at after the joins. */
    atomic_fetch_add_explicit(&model_unmapped, 1, memory_order_relaxed);
}
#else
/* To unmap is to write plainly over what late ones would look at: locks, counts, the headers'
 * words. Then any late look is a race. Of a buffer it is to add 10 to what is in it. */
static void model_wreck(bufpool_cache *cache)
{
    *(uint32_t *)&cache->busy   = 1;
    *(uint32_t *)&cache->seized = 1;
    *(uint64_t *)&cache->out    = 0;
}

static void model_unmap(void *memory, size_t size)
{
    must(model_wrecked == 0);
    if (memory == model_shards)
        for (size_t i = 0; i < size / sizeof *model_shards; i++) model_wreck(&model_shards[i]);
    else if (memory == &model_caches[0]) model_wreck(&model_caches[0]);
    else if (memory == &model_chunk)
        for (int i = 0; i < MODEL_HEADS; i++) {
            *(uint32_t *)&model_chunk.heads[i].word = 0;
            *(uint16_t *)&model_chunk.heads[i].hint = 0;
        }
    else if (memory != &model_pool) *(uint64_t *)memory += 10;
    else {
        for (int i = 0; i < MODEL_HEADS; i++) must(model_data[i] == 0 || model_data[i] / 10 == 1);
        *(uint32_t *)&model_pool.lock   = 1;
        *(int64_t *)&model_pool.holders = 0;
        model_wrecked++;
    }
}
#endif
#endif

/* A pool of so many shards. */
MODEL_INLINE void model_create(uint32_t shards)
{
    pool = &model_pool;
#ifndef MODEL /* for the checker it is all 0 */
    memset(pool, 0, sizeof *pool);
    memset(model_shards, 0, sizeof model_shards);
    memset(model_caches, 0, sizeof model_caches);
    memset(&model_chunk, 0, sizeof model_chunk);
    memset(model_data, 0, sizeof model_data);
    memset(model_tenants, 0, sizeof model_tenants);
#ifndef MODEL_MEMORY
    bufpool__set(&model_unmapped, 0);
    model_wrecked = 0;
#endif
#ifdef MODEL_NAMES
    memset(model_tables, 0, sizeof model_tables);
    memset(model_arena, 0, sizeof model_arena);
    model_table_count = 0;
#endif
#endif
    pool->config.tenant_soft_limit = 1 << 20;
    pool->config.idle_buffers      = 8;
    pool->config.idle_bytes        = 64 << 20;
    pool->shards                   = model_shards;
    pool->chunks                   = &model_chunk;
    pool->shard_count              = shards;
    for (uint32_t i = 0; i < shards; i++) bufpool__take_seat(pool, &model_shards[i], true);
#ifdef MODEL
    pool->has_fences = true;
#else
    pool->has_fences = syscall(SYS_membarrier, BUFPOOL__MEMBARRIER_READY, 0, 0) == 0;
#endif
    atomic_store_explicit(&pool->holders, BUFPOOL__UNDECIDED, memory_order_relaxed);
}

/* A buffer with one reference, as acquire makes it, of one word. */
MODEL_INLINE bufpool_buf *model_buffer(uint32_t which, bufpool_class kind)
{
    bufpool__head *head = &model_chunk.heads[which];

    head->pool     = pool;
    head->kind     = (unsigned char)kind;
    head->small_of = kind == BUFPOOL_SMALL ? pool : NULL;
    head->capacity = bufpool__capacities[kind];
    head->data     = (unsigned char *)&model_data[which];
    head->size     = 100;
    bufpool__add(&pool->shards[0].in, head->size);
    bufpool__add(&pool->shards[0].stacks[kind].misses, 1);
    bufpool_buf *name = bufpool__next_name(head);
    bufpool__set(&head->word, bufpool__life_of(name) + 1);
    return name;
}

/* An open cache. */
MODEL_INLINE bufpool_cache *model_open(uint32_t which, bool has_own)
{
    bufpool_cache *cache = bufpool__take_seat(pool, &model_caches[which], false);

    cache->in_use = true;
    bufpool__set(&pool->caches, bufpool__get(&pool->caches) + 1);
    bufpool__set_shares(pool);
    if (has_own) bufpool__find_own(cache);
    return cache;
}

/* A buffer that is idle in the stack of a cache, which has room for it. */
MODEL_INLINE bufpool__head *model_idle(bufpool_cache *cache, uint32_t which, bufpool_class kind)
{
    bufpool_buf *buf = model_buffer(which, kind);

    bufpool__budget(cache, kind, 1);
    bufpool__set(&bufpool__head_of(buf)->word, bufpool__life_of(buf) + BUFPOOL__IDLE);
    bufpool__add(&cache->out, bufpool__head_of(buf)->size);
    bufpool__add(&cache->stacks[kind].released, 1);
    bufpool__push(&cache->stacks[kind], bufpool__head_of(buf));
    return bufpool__head_of(buf);
}

/* When all is still: how many of a class are idle, in stacks. There is room for each, and the
 * budget is what there is room for. */
MODEL_INLINE uint32_t model_count(bufpool_class kind)
{
    uint32_t count = 0, room = 0;

    for (uint32_t seat = 0; seat < bufpool__get(&pool->seat_count); seat++) {
        bufpool_cache  *cache = atomic_load_explicit(&pool->seats[seat], memory_order_relaxed);
        bufpool__stack *stack = &cache->stacks[kind];
        uint32_t        there = 0;
        for (bufpool__head *head = stack->top; head; head = head->next) there++;
        must(there == bufpool__get(&stack->count) && there <= bufpool__get(&stack->room));
        count += there;
        room += bufpool__get(&stack->room) + (kind == BUFPOOL_SMALL && cache->has_own);
    }
    must(room == pool->kept[kind]);
    return count;
}

/* Reads what the last holder wrote, and writes: a race with any other holder's. */
MODEL_INLINE void model_use(const bufpool__head *head)
{
    uint64_t *payload = (uint64_t *)head->data;
    *payload          = *payload + 1;
}

MODEL_INLINE bufpool_tenant *model_tenant(uint32_t which, uint32_t number, uint64_t limit)
{
    bufpool_tenant *tenant = (bufpool_tenant *)model_tenants[which];

    tenant->pool   = pool;
    tenant->number = number;
    bufpool_tenant_limit(tenant, limit);
    return tenant;
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
