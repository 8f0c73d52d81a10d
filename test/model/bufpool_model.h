/* bufpool_model.h - a bufpool for plays.
 *
 * The pool is put together here as create would do it, in static memory: two shards, two seats for
 * caches, three headers. Buffers hold one word.
 *
 * The checker does not know membarrier(2): the light and the heavy fence are a seq_cst fence each,
 * which is what the kernel promises of the pair. The ordinary program uses the real ones.
 *
 * A file may define, before it includes this:
 *   MODEL_HINTS     the header's own hints of a buffer's references are in use. Otherwise the guess
 *                   is always 0, as any guess will do: a wrong one fails a compare-exchange
 *   MODEL_NAMES n   there is memory for three tables of up to n names, and for tenants
 *   MODEL_WRECKS    unmapping overwrites everything that a late access would look at */
#include "model.h"
#include <sched.h>

#ifdef MODEL
#define BUFPOOL_YIELDS 1000
#define BUFPOOL_LOOKS  2
/* A futex: come back later, or nobody sleeps. */
#define BUFPOOL_SYSCALL(number, word, op, ...) \
    ((op) == BUFPOOL__FUTEX_WAIT ? (sched_yield(), 0L) : 0L)

/* How often a thread may yield before its execution is given up. */
static unsigned               model_yields;
static _Thread_local unsigned model_yielded;
#define sched_yield() __VERIFIER_assume(model_yielded++ < model_yields)

#define BUFPOOL_LIGHT_FENCE() atomic_thread_fence(memory_order_seq_cst)

/* The kernel refuses this thread its fences. */
static _Thread_local bool model_refused;
#define BUFPOOL_HEAVY_FENCE() \
    (model_refused ? false : (atomic_thread_fence(memory_order_seq_cst), true))

#ifndef MODEL_HINTS
#define BUFPOOL_HINT(head)        ((void)(head), 0u)
#define BUFPOOL_SET_HINT(head, n) ((void)(head))
#endif
#endif

static void *model_map(size_t size);
static void  model_unmap(void *memory, size_t size);
#define BUFPOOL_MAP(size)           model_map(size)
#define BUFPOOL_UNMAP(memory, size) model_unmap(memory, size)

#ifdef MODEL
/* The checker requires one access size for each variable: names byte by byte, also where they are
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
#endif

#define BUFPOOL_API       MODEL_API
#define BUFPOOL_ASSERT(x) must(x)
#define BUFPOOL_IMPLEMENTATION
MODEL_HEADER_BEGIN
#include "bufpool.h"
MODEL_HEADER_END

#ifdef MODEL
#undef memcpy
#undef memcmp
#undef strlen
#endif

/* -- Memory from the system -- */

enum { MODEL_SHARDS = 2, MODEL_CACHES = 2, MODEL_HEADS = 3 };

static bufpool        model_pool;
static bufpool_cache  model_shards[MODEL_SHARDS];
static bufpool_cache  model_caches[MODEL_CACHES];
static bufpool__chunk model_chunk; /* only its first headers are used */
static uint64_t       model_data[MODEL_HEADS];
static alignas(64) uint64_t model_tenants[2][sizeof(bufpool_tenant) / 8]; /* without names */
static bufpool *pool;

#ifdef MODEL_NAMES /* an arena as far as it is used */
static alignas(64) uint64_t model_tables[3][2 + 2 * MODEL_NAMES];
static alignas(64) uint64_t model_arena[96];
static _Atomic(unsigned) model_table_count;

static void *model_map(size_t size)
{
    if (size == BUFPOOL__NAMES) return model_arena;
    must(atomic_load_explicit(&model_table_count, memory_order_relaxed) < 3 &&
         size <= sizeof *model_tables);
    /* relaxed: each caller only needs one of its own. */
    return model_tables[atomic_fetch_add_explicit(&model_table_count, 1, memory_order_relaxed)];
}
#else
/* The system has no memory, except what a play lets it have: count pieces of one size. */
static struct {
    size_t            size;
    unsigned          count;
    unsigned char    *memory;
    _Atomic(unsigned) used;
} model_system;

MODEL_INLINE void model_let_map(void *memory, size_t size, unsigned count)
{
    model_system.size   = size;
    model_system.count  = count;
    model_system.memory = memory;
    model_system.used   = 0;
}

static void *model_map(size_t size)
{
    if (size != model_system.size) return NULL;
    /* relaxed: each caller only needs a number of its own. */
    unsigned mine = atomic_fetch_add_explicit(&model_system.used, 1, memory_order_relaxed);
    return mine < model_system.count ? model_system.memory + size * mine : NULL;
}
#endif

static _Atomic(uint32_t) model_unmapped; /* buffers */
static unsigned          model_wrecked;  /* pools */

/* Each unmapping of a buffer adds 10 to its word. */
MODEL_INLINE void model_unmap_buffer(void *memory) { *(uint64_t *)memory += 10; }

#ifndef MODEL_WRECKS
static void model_unmap(void *memory, size_t size)
{
    (void)size;
    model_unmap_buffer(memory);
    /* relaxed: read after the joins. */
    atomic_fetch_add_explicit(&model_unmapped, 1, memory_order_relaxed);
}
#else
/* Plain stores over everything that a late thread would look at - locks, counts, the headers' words
 * - make any late look a data race. */
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
    else if (memory != &model_pool) model_unmap_buffer(memory);
    else {
        for (int i = 0; i < MODEL_HEADS; i++) must(model_data[i] == 0 || model_data[i] / 10 == 1);
        *(uint32_t *)&model_pool.lock   = 1;
        *(int64_t *)&model_pool.holders = 0;
        model_wrecked++;
    }
}
#endif

/* -- The pool -- */

/* Creates a pool of that many shards. */
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
    bufpool__set(&model_unmapped, 0);
    model_wrecked = 0;
#ifdef MODEL_NAMES
    memset(model_tables, 0, sizeof model_tables);
    memset(model_arena, 0, sizeof model_arena);
    model_table_count = 0;
#endif
#endif
    pool->config.tenant_soft_limit = 1 << 20;
    pool->config.idle_buffers      = 8;
    pool->config.idle_bytes        = 64 << 20;
    pool->config.cache_bytes       = 1 << 20;
    pool->shards                   = model_shards;
    pool->chunks                   = &model_chunk;
    pool->shard_count              = shards;
    for (uint32_t i = 0; i < shards; i++) bufpool__take_seat(pool, &model_shards[i], true);
#ifdef MODEL
    bufpool__set(&pool->has_fences, 1);
#else
    bufpool__set(&pool->has_fences, syscall(SYS_membarrier, BUFPOOL__MEMBARRIER_READY, 0, 0) == 0);
#endif
    atomic_store_explicit(&pool->holders, BUFPOOL__UNDECIDED, memory_order_relaxed);
}

#ifdef MODEL_NAMES
MODEL_INLINE void model_table(uint32_t slots)
{
    bufpool__table *table = (bufpool__table *)model_map(bufpool__table_size(slots));
    bufpool__table_use(pool, table, slots);
}
#endif

/* Makes a buffer of one word with one reference, as acquire would. */
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

/* Opens a cache. */
MODEL_INLINE bufpool_cache *model_open(uint32_t which, bool has_own)
{
    bufpool_cache *cache = bufpool__take_seat(pool, &model_caches[which], false);

    cache->has_own = has_own;
    bufpool__set(&pool->caches, bufpool__get(&pool->caches) + 1);
    return cache;
}

/* Puts an idle buffer, and room for it, into a cache's stack. */
MODEL_INLINE bufpool__head *model_idle(bufpool_cache *cache, uint32_t which, bufpool_class kind)
{
    bufpool_buf *buf = model_buffer(which, kind);

    if (cache->is_shard) bufpool__budget(cache, kind, 1);
    bufpool__set(&bufpool__head_of(buf)->word, bufpool__life_of(buf) + BUFPOOL__IDLE);
    bufpool__add(&cache->out, bufpool__head_of(buf)->size);
    bufpool__add(&cache->stacks[kind].released, 1);
    bufpool__push(&cache->stacks[kind], bufpool__head_of(buf));
    return bufpool__head_of(buf);
}

/* After the joins: returns how many buffers of a class are idle in stacks. Checks that each stack
 * counts its buffers right and has room for them, and that the budget is the sum of shards' room.
 */
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
        if (cache->is_shard) room += bufpool__get(&stack->room);
    }
    must(room == pool->kept[kind]);
    return count;
}

/* Reads what the last holder wrote, and writes: races with any other holder's access. */
MODEL_INLINE void model_use(const bufpool__head *head)
{
    uint64_t *payload = (uint64_t *)head->data;
    *payload          = *payload + 1;
}

MODEL_INLINE bufpool_tenant *model_tenant(uint32_t which, uint32_t number, uint64_t limit)
{
    bufpool_tenant *tenant = (bufpool_tenant *)model_tenants[which];

    bufpool__tenant_set_up(tenant, pool, NULL);
    tenant->number = number;
    bufpool_tenant_limit(tenant, limit);
    return tenant;
}

MODEL_INLINE uint64_t model_granted(const bufpool_tenant *tenant)
{
    return bufpool__granted(&tenant->level);
}

/* Charges bytes to a tenant, in a cache that the caller holds. False: they would exceed a cap. */
MODEL_INLINE bool model_try_bill(bufpool_cache *cache, bufpool_tenant *tenant, uint64_t bytes)
{
    enum bufpool__answer answer = bufpool__draw(cache, tenant, bytes);

    if (answer == BUFPOOL__UNKNOWN) {
        answer = bufpool__tenant_ask(tenant, bytes);
        if (answer == BUFPOOL__UNKNOWN) return false;
        bufpool__tenant_pay(cache, tenant, bytes);
    }
    bufpool__tenant_note(tenant, answer);
    bufpool__publish(&bufpool__tab_of(cache, tenant)->in, bytes);
    return true;
}

MODEL_INLINE void model_bill(bufpool_cache *cache, bufpool_tenant *tenant, uint64_t bytes)
{
    bool billed = model_try_bill(cache, tenant, bytes);
    must(billed);
}

MODEL_INLINE void model_credit(bufpool_cache *cache, bufpool_tenant *tenant, uint64_t bytes)
{
    bufpool__tab *tab = bufpool__tab_of(cache, tenant);

    bufpool__publish(&tab->out, bytes);
    (void)bufpool__tab_undraw(tab, tenant, bytes);
}
