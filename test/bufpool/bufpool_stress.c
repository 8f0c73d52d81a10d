/* Goal: under any storm of threads a buffer is recycled once, with its last reference dropped;
 * accounts are exact to the byte whenever nobody is inside a call, and never below zero in between;
 * what is released too often is told, counted, and harms nobody; a pool goes with its last buffer.
 * Method: pools with hardly more buffers than there are threads, used in every way at random. Each
 * life of a buffer has a seat that only one is told to have emptied, and a payload that each holder
 * looks at before it lets go. All accesses to both are relaxed or plain, so that only the pool's
 * own order can make them right. Each thread keeps a ledger; when all stand still it must be what
 * the pool says, and all memory that was mapped is given back in the end.
 * Usage: bufpool_stress [SECONDS [THREADS [OPERATIONS]]] */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static void *counted_map(size_t size);
static void  counted_unmap(void *memory, size_t size);
#define BUFPOOL_MAP(size)           counted_map(size)
#define BUFPOOL_UNMAP(memory, size) counted_unmap(memory, size)
#define BUFPOOL_IMPLEMENTATION
#include "../../bufpool.h"

#include "../check.h"

enum { THREADS_MAX = 60, HELD_MAX = 6, OWN_MAX = 10, SEATS_MAX = 64, BOXES = 4, WORDS = 16 };
enum { COMMON = 300, OWN = 8, TENANTS_MAX = COMMON + OWN * THREADS_MAX };
enum { KIB = 1024, MIB = 1024 * KIB, LARGEST = 10 * MIB + 10000, UNIT = 1000 };

static double   seconds    = 0.25;
static int      threads    = 4;
static uint64_t operations = 30000;

/* Tenants that are used most: none, and two pairs that lie 256 apart, where they may be in each
 * other's way. */
static const uint32_t hot[] = {0, 1, 2, 257, 258};

static bufpool          *pool;
static bufpool_tenant   *tenants[TENANTS_MAX]; /* the first is none */
static _Atomic(int64_t)  mapped;               /* bytes */
static _Atomic(bool)     over;

static void *counted_map(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return NULL;
    atomic_fetch_add_explicit(&mapped, (int64_t)size, memory_order_relaxed);
    return memory;
}

/* A last write to it, for the thread sanitizer: everybody's last access came before. */
static void counted_unmap(void *memory, size_t size)
{
    memset(memory, 0, size < 64 * KIB ? size : 64 * KIB);
    atomic_fetch_sub_explicit(&mapped, (int64_t)size, memory_order_relaxed);
    CHECK_EQ(munmap(memory, size), 0);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Of the time, for one storm. */
static double share(void) { return seconds / 9; }

static void let_pass(double time)
{
    for (double until = now() + time; now() < until;) usleep(1000);
}

static void spin(uint64_t times)
{
    for (; times > 0; times--) atomic_load_explicit(&over, memory_order_relaxed);
}

static struct bufpool_info look_at_pool(void)
{
    struct bufpool_info info;
    bufpool_stats(pool, &info);
    return info;
}

static struct bufpool_tenant_info look_at(const bufpool_tenant *tenant)
{
    struct bufpool_tenant_info info;
    bufpool_tenant_stats(tenant, &info);
    return info;
}

static uint64_t underflows(void) { return look_at_pool().underflows; }

static void make(const bufpool_config *config)
{
    CHECK_EQ(bufpool_create(&pool, config), 0);
    if (!pool) exit(1);
    atomic_store(&over, false);
    check_progress();
}

/* Each buffer of a class that is idle can be had, and is there once. */
static void none_is_lost(bufpool_class class)
{
    enum { MOST = 512 };
    static bufpool_buf *bufs[MOST];
    static void        *data[MOST];
    struct bufpool_info before = look_at_pool();
    uint64_t            got    = 0;

    CHECK(before.idle_buffers[class] < MOST);
    for (; got < MOST && look_at_pool().misses[class] == before.misses[class]; got++) {
        bufs[got] = bufpool_acquire(pool, bufpool_class_capacity(class), NULL);
        data[got] = bufpool_data(bufs[got]);
        CHECK(data[got] != NULL);
        for (uint64_t i = 0; i < got; i++) CHECK(data[i] != data[got]);
    }
    CHECK_EQ(got, before.idle_buffers[class] + 1);
    for (uint64_t i = 0; i < got; i++) CHECK_EQ(bufpool_release(bufs[i]), 0);
}

/* Nobody holds a buffer. */
static void nothing_is_lost(void)
{
    struct bufpool_info info = look_at_pool();
    CHECK_EQ(info.live_buffers, 0);
    CHECK_EQ(info.live_bytes, 0);
    CHECK_EQ(info.capacity_bytes, 0);
    for (int i = 0; i < BUFPOOL_CLASSES && info.caches == 0; i++) /* a cache keeps its own */
        if (info.idle_buffers[i] > 0) none_is_lost((bufpool_class)i);
}

static void end(void)
{
    nothing_is_lost();
    struct bufpool_info info = look_at_pool();
    CHECK_EQ(info.caches, 0);
    CHECK_EQ(info.live_buffers, 0);
    CHECK_EQ(bufpool_destroy(pool), 0);
    CHECK_EQ(atomic_load(&mapped), 0);
}

/* ---- A worker, its references, and its ledger ---- */

enum ways { SHARED = 1, CACHED = 2, MIXED = 3 };
static const char *const names[] = {"", "shared", "cached", "mixed"};

struct reference { /* to buf, or the view's */
    bufpool_buf      *buf;
    bufpool_view      view;
    size_t            size;
    uint32_t          tenant, seat;
    struct reference *next;
};

struct ledger {
    uint64_t acquired[BUFPOOL_CLASSES + 1];
    int64_t  buffers, capacity, units;
    uint64_t underflows;
    int64_t  live[TENANTS_MAX]; /* bytes of tenants' buffers, and of OWN ones' charges */
    int64_t  charged[OWN];
    uint64_t limit[OWN], exceeded[OWN];
};

struct worker {
    _Alignas(64) pthread_t thread;
    bufpool_cache    *cache;
    uint64_t          random;
    int               number;
    enum ways         ways;
    uint32_t          count, own_count;
    struct reference *held[HELD_MAX], *spare;
    struct reference  own[OWN_MAX]; /* of tenants that nobody else uses */
    uint64_t          lives, done, stays;
    bool              late;      /* lets go when the pool has gone */
    bool              may_cache; /* the pool is not being destroyed */
    struct ledger     sum;
    /* Of these others know: what it has ever begun to acquire, and let go. */
    _Alignas(64) _Atomic(uint64_t) ever, released;
};
static struct worker workers[THREADS_MAX + 1];

static uint32_t                    seats; /* as many buffers are held at most */
static _Atomic(bool)               seat[SEATS_MAX];
static _Atomic(struct reference *) box[BOXES]; /* from hand to hand */
static pthread_barrier_t           turn;

static uint32_t own_tenant(int worker, uint32_t k) { return COMMON + (uint32_t)worker * OWN + k; }

static void *run(void *arg, void (*step)(struct worker *))
{
    struct worker *self = arg;
    self->cache         = bufpool_cache_open(pool);
    CHECK(self->cache != NULL);
    while (!atomic_load_explicit(&over, memory_order_relaxed)) {
        step(self);
        self->done++;
        if (self->done % 64 == 0) check_progress();
    }
    return self;
}

static void start(int count, enum ways ways, void *(*what)(void *))
{
    for (int i = 0; i < count; i++) {
        memset(&workers[i], 0, sizeof workers[i]);
        workers[i].number = i;
        workers[i].random = (uint64_t)i * 7919 + ways;
        workers[i].ways   = ways;
    }
    for (int i = 0; i < count; i++) pthread_create(&workers[i].thread, NULL, what, &workers[i]);
}

static void stop(int count)
{
    atomic_store(&over, true);
    for (int i = 0; i < count; i++) pthread_join(workers[i].thread, NULL);
}

static bufpool_buf *acquire(struct worker *self, size_t size, bufpool_tenant *tenant)
{
    bool cached = self->ways == CACHED || (self->ways == MIXED && check_random(&self->random) & 1);
    return cached ? bufpool_cache_acquire(self->cache, size, tenant)
                  : bufpool_acquire(pool, size, tenant);
}

static int give_back(struct worker *self, bufpool_buf *buf)
{
    bool cached = self->ways == CACHED || (self->ways == MIXED && check_random(&self->random) & 1);
    return cached ? bufpool_cache_release(self->cache, buf) : bufpool_release(buf);
}

static void reopen(struct worker *self)
{
    bufpool_cache_close(self->cache);
    self->cache = bufpool_cache_open(pool);
    CHECK(self->cache != NULL);
}

/* A payload is one word, many times: what one writer wrote, whole. */
static uint32_t payload(bufpool_buf *buf)
{
    const volatile uint32_t *at = bufpool_data(buf);
    for (uint32_t i = 1; i < WORDS; i++) CHECK(at[i * 64] == at[0]);
    return at[0];
}

/* Plain writes: the thread sanitizer sees whether anything orders them after others' last reads. */
static void fill(bufpool_buf *buf, uint32_t word)
{
    volatile uint32_t *at = bufpool_data(buf);
    for (uint32_t i = 0; i < WORDS; i++) at[i * 64] = word;
}

static uint32_t word_for(struct worker *self, uint32_t mine)
{
    return (uint32_t)check_random(&self->random) / SEATS_MAX * SEATS_MAX + mine;
}

/* Of a hundred buffers most are small. */
static size_t some_size(uint64_t r)
{
    uint64_t kind = r % 128;
    uint32_t size = (uint32_t)(r >> 8);
    if (kind < 90) return size % (4 * KIB + 1);
    if (kind < 120) return size % (64 * KIB + 1);
    if (kind < 126) return size % (MIB + 1);
    return kind == 126 ? size % (10 * MIB + 1) : LARGEST - size % 10000;
}

static void note(struct worker *self, bufpool_buf *buf, size_t size, uint32_t tenant)
{
    self->sum.acquired[bufpool_class_for(size)]++;
    self->sum.buffers++;
    self->sum.capacity += (int64_t)bufpool_capacity(buf);
    self->sum.live[tenant] += (int64_t)size;
}

static void note_end(struct worker *self, size_t capacity, size_t size, uint32_t tenant)
{
    self->sum.buffers--;
    self->sum.capacity -= (int64_t)capacity;
    self->sum.live[tenant] -= (int64_t)size;
    atomic_store_explicit(&self->released, self->released + 1, memory_order_release);
}

static void promise(struct worker *self, uint64_t size)
{
    atomic_store_explicit(&self->ever, self->ever + size, memory_order_release);
}

static struct reference *keep(struct worker *self)
{
    struct reference *reference = self->spare;
    if (reference) self->spare = reference->next;
    else reference = malloc(sizeof *reference);
    if (!reference) exit(1);
    self->held[self->count++] = reference;
    return reference;
}

static bufpool_buf *buf_of(const struct reference *reference)
{
    return reference->buf ? reference->buf : reference->view.buf;
}

static void look(const struct reference *reference)
{
    uint32_t word = payload(buf_of(reference));
    CHECK_EQ(word % SEATS_MAX, reference->seat);
    if (reference->buf) return;
    CHECK(*(const volatile uint32_t *)(const void *)reference->view.data == word);
}

static void begin_life(struct worker *self, uint64_t r)
{
    uint32_t at = (uint32_t)(r >> 48) % seats, tenant = 0;
    bool     empty = false;
    if (!atomic_compare_exchange_strong_explicit(&seat[at], &empty, true, memory_order_relaxed,
                                                 memory_order_relaxed))
        return;
    if (tenants[1]) tenant = r & 3 ? hot[(r >> 32) % 5] : (uint32_t)(r >> 32) % COMMON;
    size_t size = tenants[1] ? some_size(check_random(&self->random)) : WORDS * 256;
    promise(self, size);
    bufpool_buf *buf = acquire(self, size, tenants[tenant]);
    CHECK(buf != NULL);
    if (!buf) exit(1);
    CHECK(bufpool_capacity(buf) >= size && bufpool_class_of(buf) == bufpool_class_for(size));
    CHECK(bufpool_writable(buf));
    payload(buf);
    fill(buf, word_for(self, at));
    note(self, buf, size, tenant);
    *keep(self) = (struct reference){buf, {0}, size, tenant, at, NULL};
    self->lives++;
}

static void let_go(struct worker *self, uint32_t which)
{
    struct reference *reference = self->held[which];
    self->held[which]           = self->held[--self->count];
    look(reference);
    size_t capacity = bufpool_capacity(buf_of(reference));
    int    left =
        reference->buf ? give_back(self, reference->buf) : bufpool_view_drop(&reference->view);
    CHECK(left >= 0 && left < (threads + 1) * HELD_MAX + BOXES);
    if (left == 0) {
        note_end(self, capacity, reference->size, reference->tenant);
        CHECK(atomic_exchange_explicit(&seat[reference->seat], false, memory_order_relaxed));
    }
    reference->next = self->spare;
    self->spare     = reference;
}

static void one_more(struct worker *self, const struct reference *from, uint64_t r)
{
    struct reference *to     = keep(self);
    size_t            offset = r % WORDS * 256;
    *to                      = *from;
    if (from->buf && (r >> 8) % 2) {
        CHECK(bufpool_retain(from->buf) == from->buf);
    } else if (from->buf) {
        to->buf = NULL;
        CHECK_EQ(bufpool_view_of(from->buf, offset, 4 * KIB - offset, &to->view), 0);
    } else {
        offset = from->view.len / 512 * 256;
        CHECK_EQ(bufpool_view_cut(&from->view, offset, from->view.len - offset, &to->view), 0);
    }
}

static void pass_on(struct worker *self, uint32_t which, uint64_t r)
{
    struct reference *gets =
        atomic_exchange_explicit(&box[r % BOXES], self->held[which], memory_order_acq_rel);
    if (gets) self->held[which] = gets;
    else self->held[which] = self->held[--self->count];
}

static void take_from_box(struct worker *self, uint64_t r)
{
    struct reference *gets = atomic_exchange_explicit(&box[r % BOXES], NULL, memory_order_acq_rel);
    if (gets) self->held[self->count++] = gets;
}

static void use_a_reference(struct worker *self, uint64_t r)
{
    uint32_t          which     = (uint32_t)(r >> 16) % self->count;
    struct reference *reference = self->held[which];
    switch ((r >> 8) % 8) {
    case 0:
    case 1:
        if (self->count < HELD_MAX) one_more(self, reference, r >> 32);
        break;
    case 2:
        pass_on(self, which, r >> 32);
        break;
    case 3: /* nobody else looks at it then */
        look(reference);
        if (bufpool_writable(buf_of(reference)))
            fill(buf_of(reference), word_for(self, reference->seat));
        break;
    case 4: /* narrower */
        if (reference->buf) break;
        CHECK_EQ(bufpool_view_cut(&reference->view, reference->view.len / 512 * 256, 4,
                                  &reference->view),
                 0);
        break;
    default:
        let_go(self, which);
    }
}

static void share_buffers(struct worker *self)
{
    uint64_t r = check_random(&self->random);
    if (self->count == 0 || (self->count < HELD_MAX && r % 8 == 0)) {
        if (r & 64) take_from_box(self, r >> 8);
        else begin_life(self, check_random(&self->random));
    } else use_a_reference(self, r);
    if ((r >> 40) % 64 == 0) sched_yield();
    if ((r >> 40) % 512 == 1) reopen(self); /* what came from it outlives it */
}

static void let_all_go(struct worker *self)
{
    for (int i = 0; i < BOXES; i++) {
        while (self->count > 0) let_go(self, 0);
        take_from_box(self, (uint64_t)i);
    }
    while (self->count > 0) let_go(self, 0);
    bufpool_cache_close(self->cache);
    while (self->spare) {
        struct reference *next = self->spare->next;
        free(self->spare);
        self->spare = next;
    }
}

/* ---- References ---- */

static void *share_for_a_while(void *arg)
{
    run(arg, share_buffers);
    let_all_go(arg);
    return NULL;
}

static void empty_the_boxes(void)
{
    struct worker *last = &workers[THREADS_MAX];
    memset(last, 0, sizeof *last);
    last->ways = SHARED;
    let_all_go(last);
    for (uint32_t i = 0; i < SEATS_MAX; i++) CHECK(!atomic_load(&seat[i]));
}

static void a_buffer_is_recycled_once(void)
{
    static const uint32_t few[] = {1, 3};

    memset(tenants, 0, sizeof tenants);
    for (int i = 0; i < 2; i++)
        for (enum ways ways = SHARED; ways <= MIXED; ways++) {
            bufpool_config config = {.idle_buffers = ways == CACHED ? 16 : few[i]};
            uint64_t       lives = 0, steps = 0;
            make(&config);
            seats = few[i];
            start(threads, ways, share_for_a_while);
            let_pass(share() / 6);
            stop(threads);
            empty_the_boxes();
            for (int t = 0; t < threads; t++) lives += workers[t].lives;
            for (int t = 0; t < threads; t++) steps += workers[t].done;
            printf("# %u buffers, %s: %llu lives, %llu steps\n", few[i], names[ways],
                   (unsigned long long)lives, (unsigned long long)steps);
            CHECK_EQ(underflows(), 0);
            struct bufpool_info info = look_at_pool();
            CHECK_EQ(info.hits[0] + info.misses[0], lives);
            end();
        }
}

/* ---- Accounts ---- */

/* Tenants that only this worker uses: what they come to is known after each call. */
static void discharge_its_own(struct worker *self, uint32_t k, uint64_t r)
{
    uint32_t tenant = own_tenant(self->number, k);
    int64_t *there  = &self->sum.charged[k]; /* as much as that, or more, or less */
    int64_t  bytes  = *there * (int64_t)(r % 3) / 2 + (int64_t)(r >> 8) % 2;

    bufpool_discharge(tenants[tenant], (uint64_t)bytes);
    self->sum.underflows += bytes > *there;
    if (bytes > *there) bytes = *there;
    *there -= bytes;
    self->sum.live[tenant] -= bytes;
}

static void add_to_its_own(struct worker *self, uint32_t k, uint64_t r)
{
    uint32_t       tenant = own_tenant(self->number, k), size = 1 + (uint32_t)(r >> 8) % 5000;
    struct ledger *sum = &self->sum;

    promise(self, size);
    if (r & 3) {
        bufpool_buf *buf             = acquire(self, size, tenants[tenant]);
        self->own[self->own_count++] = (struct reference){buf, {0}, size, tenant, 0, NULL};
        note(self, buf, size, tenant);
    } else {
        bufpool_charge(tenants[tenant], size);
        sum->charged[k] += size;
        sum->live[tenant] += size;
    }
    sum->exceeded[k] += (uint64_t)sum->live[tenant] > sum->limit[k];
}

static void release_its_own(struct worker *self)
{
    struct reference last = self->own[--self->own_count];
    note_end(self, bufpool_capacity(last.buf), last.size, last.tenant);
    CHECK_EQ(give_back(self, last.buf), 0);
}

static void live_on_its_own(struct worker *self, uint64_t r)
{
    uint32_t k = (uint32_t)(r >> 8) % OWN;
    switch (r % 8) {
    case 0:
        discharge_its_own(self, k, r >> 16);
        break;
    case 1:
        self->sum.limit[k] = 1 + (r >> 16) % 30000;
        bufpool_tenant_limit(tenants[own_tenant(self->number, k)], self->sum.limit[k]);
        break;
    default:
        if (self->own_count < 3 && r & 64) add_to_its_own(self, k, r >> 16);
        else if (self->own_count > 0) release_its_own(self);
    }
}

/* Tenants of everybody. Units are discharged whether there are any or not: how often there were
 * none shows in what is left. */
static void bill(struct worker *self, uint64_t r)
{
    bufpool_tenant *tenant = tenants[2 + (r >> 8) % (COMMON - 2)];
    uint64_t        bytes  = (r >> 20) % 100000;
    switch (r % 4) {
    case 0:
        promise(self, bytes);
        bufpool_charge(tenant, bytes);
        spin((r >> 16) % 16);
        bufpool_discharge(tenant, bytes);
        break;
    case 1:
        self->sum.units += r & 256 ? 1 : -1;
        if (r & 256) promise(self, UNIT);
        if (r & 256) bufpool_charge(tenants[1], UNIT);
        else bufpool_discharge(tenants[1], UNIT);
        break;
    case 2:
        bufpool_tenant_limit(
            tenants[(r >> 8) % 2 ? hot[1 + (r >> 12) % 4] : 1 + (r >> 12) % (COMMON - 1)],
            (r >> 9) % 2 ? 1 + bytes : UINT64_C(1) << 30);
        break;
    default:
        if ((r >> 8) % 64 == 0) bufpool_trim(pool, (size_t)bytes * 8);
    }
}

static void do_business(struct worker *self)
{
    uint64_t r = check_random(&self->random);
    if (r % 8 == 0) bill(self, r >> 8);
    else if (r % 8 < 3) live_on_its_own(self, r >> 8);
    else share_buffers(self);
}

static uint64_t ever(void)
{
    uint64_t bytes = 0;
    for (int i = 0; i < threads; i++)
        bytes += atomic_load_explicit(&workers[i].ever, memory_order_acquire);
    return bytes;
}

static void never_falls(uint64_t *last, uint64_t seen)
{
    CHECK(seen >= *last);
    *last = seen;
}

/* Each number of a sum may be of another moment, but it is some number that has been there. So what
 * is live is never seen below zero, nor beyond what all may hold and what they took meanwhile. */
static void *read_on(void *arg)
{
    static struct bufpool_info last;
    static uint64_t            exceeded[TENANTS_MAX];
    uint64_t                  *looks = arg, random = 1, all = (uint64_t)threads + 1;
    uint64_t                   most = (seats + all * 4) * LARGEST + UINT64_C(1000) * MIB;

    memset(&last, 0, sizeof last);
    memset(exceeded, 0, sizeof exceeded);
    for (; !atomic_load(&over); ++*looks) {
        uint64_t            before = ever(), at = 1 + check_random(&random) % (COMMON + OWN);
        struct bufpool_info info = look_at_pool();
        CHECK(info.live_bytes <= most + ever() - before);
        CHECK(info.capacity_bytes < UINT64_C(1) << 60);
        CHECK(info.live_buffers < UINT64_C(1) << 40);
        CHECK(info.idle_bytes < UINT64_C(1) << 50);
        never_falls(&last.underflows, info.underflows);
        never_falls(&last.oversize, info.oversize);
        for (int i = 0; i < BUFPOOL_CLASSES; i++) never_falls(&last.hits[i], info.hits[i]);
        for (int i = 0; i < BUFPOOL_CLASSES; i++) never_falls(&last.misses[i], info.misses[i]);
        CHECK_EQ(info.tenants, last.tenants ? last.tenants : info.tenants);
        if (*looks % 4) at = hot[1 + at % 4];
        before                          = ever();
        struct bufpool_tenant_info look = look_at(tenants[at]);
        CHECK(look.live_bytes <= most + ever() - before);
        never_falls(&exceeded[at], look.soft_limit_exceeded);
        if (*looks % 64 == 0) CHECK(bufpool_metrics(pool, NULL, 0) > 1000);
        last.tenants = info.tenants;
    }
    return NULL;
}

static int64_t total(size_t offset)
{
    int64_t sum = 0;
    for (int i = 0; i < threads; i++) {
        const int64_t *at = (const void *)((const char *)&workers[i].sum + offset);
        sum += *at;
    }
    return sum;
}
#define TOTAL(field) total(offsetof(struct ledger, field))

static void compare_tenants(int64_t *live, uint64_t *missing)
{
    for (size_t i = 1; i < COMMON; i++) {
        int64_t has = (int64_t)look_at(tenants[i]).live_bytes;
        *live += has;
        if (i > 1) CHECK_EQ(has, total(offsetof(struct ledger, live) + i * sizeof(int64_t)));
        if (i > 1) continue;
        int64_t units = has - TOTAL(live[1]);
        CHECK(units >= 0 && units % UNIT == 0 && units / UNIT >= TOTAL(units));
        *missing += (uint64_t)(units / UNIT - TOTAL(units));
    }
    for (int i = 0; i < threads; i++)
        for (uint32_t k = 0; k < OWN; k++) {
            const struct ledger       *sum  = &workers[i].sum;
            uint32_t                   at   = own_tenant(i, k);
            struct bufpool_tenant_info info = look_at(tenants[at]);
            CHECK_EQ(info.live_bytes, sum->live[at]);
            CHECK_EQ(info.soft_limit_exceeded, sum->exceeded[k]);
            CHECK_EQ(info.soft_limit_bytes, sum->limit[k]);
            *live += sum->live[at];
        }
}

/* While nobody is inside a call. */
static void compare(const bufpool_config *config)
{
    int64_t             live    = TOTAL(live[0]);
    uint64_t            missing = 0, idle = 0, most = config->idle_bytes;
    struct bufpool_info info = look_at_pool();

    compare_tenants(&live, &missing);
    for (int i = 0; i < threads; i++) missing += workers[i].sum.underflows;
    CHECK_EQ(info.underflows, missing);
    CHECK_EQ(info.live_bytes, live);
    CHECK_EQ(info.live_buffers, TOTAL(buffers));
    CHECK_EQ(info.capacity_bytes, TOTAL(capacity));
    CHECK_EQ(info.oversize, TOTAL(acquired[BUFPOOL_OVERSIZE]));
    for (size_t i = 0; i < BUFPOOL_CLASSES; i++) {
        CHECK_EQ(info.hits[i] + info.misses[i],
                 total(offsetof(struct ledger, acquired) + i * sizeof(uint64_t)));
        size_t   capacity = bufpool_class_capacity((bufpool_class)i);
        uint64_t each     = (1 << 20) / capacity, cached = each < 32 ? each : 32;
        cached            = info.caches * (cached + (i == 0)); /* in caches at most */
        CHECK(info.idle_buffers[i] <= config->idle_buffers + cached);
        most += cached * capacity;
        idle += info.idle_buffers[i] * bufpool_class_capacity((bufpool_class)i);
    }
    CHECK_EQ(info.idle_bytes, idle);
    CHECK(idle <= most);
}

enum { TURNS = 6, SOFT_LIMIT = 20000 };

static void *do_business_in_turns(void *arg)
{
    struct worker *self = arg;
    self->cache         = bufpool_cache_open(pool);
    for (int k = 0; k < OWN; k++) self->sum.limit[k] = SOFT_LIMIT;
    for (int i = 0; i < TURNS; i++) {
        for (uint64_t n = operations / TURNS / (uint64_t)threads; n > 0; n--, self->done++) {
            do_business(self);
            if (self->done % 64 == 0) check_progress();
        }
        if (i == TURNS - 1) {
            let_all_go(self);
            self->ways = SHARED;
            while (self->own_count > 0) release_its_own(self);
        }
        pthread_barrier_wait(&turn); /* all stand still */
        pthread_barrier_wait(&turn);
    }
    return NULL;
}

static void make_tenants(void)
{
    int count = COMMON + OWN * threads;
    for (int i = 1; i < count; i++) {
        char name[16];
        int  len   = snprintf(name, sizeof name, "tenant %d", i);
        tenants[i] = bufpool_tenant_get(pool, name, (size_t)len);
        CHECK(tenants[i] != NULL);
    }
}

/* What is still charged goes, and a little more, which is counted. */
static void discharge_all(void)
{
    uint64_t before = underflows(), count = 0;
    for (int i = 1; i < COMMON + OWN * threads; i++, count++)
        bufpool_discharge(tenants[i], look_at(tenants[i]).live_bytes + 1);
    CHECK_EQ(underflows() - before, count);
    for (int i = 1; i < COMMON + OWN * threads; i++) CHECK_EQ(look_at(tenants[i]).live_bytes, 0);
    CHECK_EQ(look_at_pool().live_bytes, 0);
    memset(tenants, 0, sizeof tenants);
}

static void accounts_are_exact(void)
{
    bufpool_config config = {.tenant_soft_limit = SOFT_LIMIT,
                             .idle_buffers      = 32,
                             .idle_bytes        = 34 * MIB,
                             .tenant_max        = 50};
    pthread_t      reader;
    uint64_t       looks = 0;

    make(&config);
    make_tenants();
    seats = SEATS_MAX;
    pthread_barrier_init(&turn, NULL, (unsigned)threads + 1);
    start(threads, MIXED, do_business_in_turns);
    pthread_create(&reader, NULL, read_on, &looks);
    for (int i = 0; i < TURNS; i++) {
        pthread_barrier_wait(&turn);
        compare(&config);
        pthread_barrier_wait(&turn);
    }
    stop(threads);
    pthread_join(reader, NULL);
    pthread_barrier_destroy(&turn);
    struct bufpool_info info = look_at_pool();
    printf("# %llu hits, %llu misses, %llu oversize, %llu underflows, %llu looks\n",
           (unsigned long long)info.hits[0], (unsigned long long)info.misses[0],
           (unsigned long long)info.oversize, (unsigned long long)info.underflows,
           (unsigned long long)looks);
    empty_the_boxes();
    discharge_all();
    end();
}

/* ---- Too many releases ---- */

/* All racers go for one buffer at the same moment. `round_at` says when. */
static _Atomic(uint64_t) round_at, told[THREADS_MAX + 2];
static _Atomic(int)      done;
static bufpool_view      prey;
static bufpool_buf      *stale[64];
static uint32_t          stale_count;

static void note_told(int result)
{
    if (result >= 0) atomic_fetch_add_explicit(&told[1 + result], 1, memory_order_relaxed);
    else CHECK_EQ(result, -ESTALE);
    if (result < 0) atomic_fetch_add_explicit(&told[0], 1, memory_order_relaxed);
}

static void release_it(struct worker *self)
{
    bufpool_view view = prey, part;
    switch (check_random(&self->random) % 4) {
    case 0:
        note_told(bufpool_view_drop(&view));
        CHECK(view.buf == NULL && view.len == 0);
        break;
    case 1: /* one more than one has */
        if (self->ways == SHARED || !bufpool_retain(prey.buf)) {
            note_told(self->ways == SHARED ? bufpool_release(prey.buf) : -ESTALE);
            break;
        }
        note_told(bufpool_release(prey.buf));
        note_told(bufpool_release(prey.buf));
        break;
    case 2:
        if (self->ways == SHARED || bufpool_view_cut(&view, 1, 2, &part) != 0) {
            note_told(self->ways == SHARED ? bufpool_view_drop(&view) : -ESTALE);
            break;
        }
        note_told(bufpool_view_drop(&part));
        note_told(bufpool_view_drop(&view));
        break;
    default:
        note_told(bufpool_release(prey.buf));
    }
}

static void use_a_stale_one(struct worker *self)
{
    uint64_t     r   = check_random(&self->random);
    bufpool_buf *old = stale[(r >> 8) % stale_count];
    switch (r % 4) {
    case 0:
        CHECK(bufpool_retain(old) == NULL);
        note_told(-ESTALE);
        break;
    case 1:
        if ((r >> 16) % 8 == 0) CHECK(bufpool_data(old) == NULL);
        note_told(self->ways == SHARED ? bufpool_release(old)
                                       : bufpool_cache_release(self->cache, old));
        break;
    default:
        note_told(bufpool_release(old));
    }
}

static void race(struct worker *self, void (*what)(struct worker *), int times)
{
    self->cache = bufpool_cache_open(pool);
    for (uint64_t last = 0, at;;) {
        at = atomic_load(&round_at);
        if (at == UINT64_MAX) break;
        if (at == last) {
            sched_yield();
            continue;
        }
        last = at;
        for (int i = 0; i < times; i++) what(self);
        atomic_fetch_add(&done, 1);
    }
    bufpool_cache_close(self->cache);
}

static void *release_what_others_release(void *arg)
{
    race(arg, release_it, 1);
    return NULL;
}

static void *use_stale_ones(void *arg)
{
    race(arg, use_a_stale_one, 8);
    return NULL;
}

static void begin_round(uint64_t round)
{
    for (int i = 0; i < THREADS_MAX + 2; i++) atomic_store(&told[i], 0);
    atomic_store(&done, 0);
    atomic_store(&round_at, round);
}

static void end_round(void)
{
    while (atomic_load(&done) != threads) sched_yield();
    check_progress();
}

static void end_race(void)
{
    atomic_store(&round_at, UINT64_MAX);
    stop(threads);
}

/* Each of the references that there are is let go once; only racers that retain make it more. */
static void a_round(struct worker *self, uint64_t round, uint64_t *ends)
{
    uint64_t     r = check_random(&self->random), before = underflows();
    int          more = (int)((r >> 8) % (uint64_t)threads);
    bufpool_buf *buf  = acquire(self, 100, tenants[1]);

    CHECK_EQ(bufpool_view_of(buf, 0, 16, &prey), 0);
    CHECK_EQ(bufpool_release(buf), 1);
    for (int i = 0; i < more; i++) CHECK(bufpool_retain(buf) == buf);
    begin_round(round);
    spin((r >> 16) % 64);
    end_round();
    CHECK_EQ(atomic_load(&told[1]), 1);
    CHECK_EQ(underflows() - before, atomic_load(&told[0]));
    if (workers[0].ways == SHARED) {
        for (int i = 0; i <= more; i++) CHECK_EQ(atomic_load(&told[1 + i]), 1);
        CHECK_EQ(atomic_load(&told[0]), threads - 1 - more);
    }
    CHECK_EQ(look_at(tenants[1]).live_bytes, 0);
    *ends += atomic_load(&told[0]);
    nothing_is_lost();
}

static void a_last_reference_goes_once(void)
{
    for (enum ways ways = SHARED; ways <= MIXED; ways += MIXED - SHARED) {
        bufpool_config config = {.idle_buffers = 4};
        struct worker *self   = &workers[THREADS_MAX];
        uint64_t       rounds = 0, beyond = 0;

        make(&config);
        tenants[1] = bufpool_tenant_get(pool, "one", 3);
        atomic_store(&round_at, 0);
        start(threads, ways, release_what_others_release);
        memset(self, 0, sizeof *self);
        self->cache = bufpool_cache_open(pool);
        self->ways  = MIXED;
        for (double until = now() + share() / 2; rounds < 20 || now() < until;)
            a_round(self, ++rounds, &beyond);
        end_race();
        bufpool_cache_close(self->cache);
        printf("# %llu lives, %llu releases too many\n", (unsigned long long)rounds,
               (unsigned long long)beyond);
        end();
    }
}

/* Of earlier lives, at most 60 ago; meanwhile the buffer lives on, fewer times than would make one
 * of them good again. */
static void live_with_stale_ones(struct worker *self, uint64_t round)
{
    uint64_t before = underflows();
    void    *data   = NULL;

    stale_count = 1 + (uint32_t)(check_random(&self->random) % 30);
    for (uint32_t i = 0; i < stale_count; i++) {
        stale[i] = acquire(self, 100, NULL);
        if (i > 0) CHECK(bufpool_data(stale[i]) == data && stale[i] != stale[i - 1]);
        data = bufpool_data(stale[i]);
        CHECK_EQ(give_back(self, stale[i]), 0);
    }
    begin_round(round);
    for (uint32_t i = 0; i < 30 && atomic_load(&done) != threads; i++) {
        bufpool_view view;
        bufpool_buf *buf  = acquire(self, 100, tenants[1]);
        uint32_t     word = word_for(self, i);
        CHECK(bufpool_data(buf) != NULL && bufpool_writable(buf));
        fill(buf, word);
        spin(check_random(&self->random) % 64);
        CHECK_EQ(bufpool_view_of(buf, 0, 16, &view), 0);
        CHECK_EQ(bufpool_retain(buf) == buf ? give_back(self, buf) : -1, 2);
        CHECK_EQ(bufpool_view_drop(&view), 1);
        CHECK(bufpool_writable(buf) && payload(buf) == word);
        CHECK_EQ(look_at(tenants[1]).live_bytes, 100);
        CHECK_EQ(give_back(self, buf), 0);
    }
    end_round();
    CHECK_EQ(underflows() - before, atomic_load(&told[0]));
    for (int i = 1; i < THREADS_MAX + 2; i++) CHECK_EQ(atomic_load(&told[i]), 0);
}

static void a_stale_pointer_harms_nobody(void)
{
    for (enum ways ways = SHARED; ways <= CACHED; ways++) {
        bufpool_config config = {.idle_buffers = ways == SHARED ? 1 : 16};
        struct worker *self   = &workers[THREADS_MAX];
        uint64_t       rounds = 0;

        make(&config);
        tenants[1] = bufpool_tenant_get(pool, "one", 3);
        atomic_store(&round_at, 0);
        start(threads, ways, use_stale_ones);
        memset(self, 0, sizeof *self);
        self->cache = bufpool_cache_open(pool);
        self->ways  = ways;
        for (double until = now() + share() / 2; rounds < 10 || now() < until;)
            live_with_stale_ones(self, ++rounds);
        end_race();
        bufpool_cache_close(self->cache);
        printf("# %llu rounds, %llu times\n", (unsigned long long)rounds,
               (unsigned long long)underflows());
        end();
    }
}

/* ---- Idle buffers, trimmed while they come and go ---- */

/* The buffer itself says whose it is: nobody's memory is anew, or as it was left. */
static void own_a_buffer(struct worker *self)
{
    static const size_t sizes[] = {1000, 1000, 4000, 4096, 4097, 60000, 200000, MIB};
    uint64_t            r       = check_random(&self->random);

    if (self->own_count < OWN_MAX && r & 1) {
        struct reference *at = &self->own[self->own_count++];
        *at                  = (struct reference){.size = sizes[(r >> 8) % 8]};
        at->buf              = acquire(self, at->size, NULL);
        CHECK(at->buf != NULL);
        if (!at->buf) exit(1);
        _Atomic(uint32_t) *owner = bufpool_data(at->buf);
        payload(at->buf);
        CHECK_EQ(atomic_exchange_explicit(owner, (uint32_t)self->number + 1, memory_order_relaxed),
                 0);
        fill(at->buf, (uint32_t)self->number + 1);
    } else if (self->own_count > 0) {
        uint32_t         which = (uint32_t)(r >> 16) % self->own_count;
        struct reference it    = self->own[which];
        self->own[which]       = self->own[--self->own_count];
        CHECK_EQ(payload(it.buf), self->number + 1);
        fill(it.buf, 0);
        atomic_store_explicit(&self->released, self->released + 1, memory_order_release);
        CHECK_EQ(give_back(self, it.buf), 0);
    }
    if ((r >> 40) % 256 == 1) reopen(self);
    if ((r >> 40) % 64 == 0) sched_yield();
}

static void *own_buffers_in_turns(void *arg)
{
    struct worker *self = arg;
    self->cache         = bufpool_cache_open(pool);
    for (;;) {
        pthread_barrier_wait(&turn);
        if (atomic_load(&over)) break;
        for (uint64_t n = check_random(&self->random) % 400; n > 0; n--) own_a_buffer(self);
        pthread_barrier_wait(&turn);
    }
    while (self->own_count > 0) CHECK_EQ(bufpool_release(self->own[--self->own_count].buf), 0);
    bufpool_cache_close(self->cache);
    return NULL;
}

static uint64_t released(void)
{
    uint64_t sum = 0;
    for (int i = 0; i < threads; i++)
        sum += atomic_load_explicit(&workers[i].released, memory_order_acquire);
    return sum;
}

static const bufpool_config tight = {.idle_buffers = 24, .idle_bytes = 5 * MIB};

/* Who counts while others come and go may count what each of them releases meanwhile, too. */
static void idle_is_bounded(uint64_t in_transit, struct bufpool_info *info)
{
    uint64_t before = released(), bytes = 0;
    *info      = look_at_pool();
    in_transit = in_transit ? in_transit + released() - before : 0;
    for (int i = 0; i < BUFPOOL_CLASSES; i++) {
        CHECK(info->idle_buffers[i] <= tight.idle_buffers + in_transit + 33 * info->caches);
        bytes += info->idle_buffers[i] * bufpool_class_capacity((bufpool_class)i);
    }
    CHECK(info->idle_bytes <= tight.idle_bytes + (in_transit + 3 * info->caches) * MIB);
    if (in_transit == 0) CHECK_EQ(info->idle_bytes, bytes);
}

static _Atomic(uint64_t) trims;

static void *trim_on(void *unused)
{
    uint64_t random = atomic_fetch_add(&trims, 1);
    for (; !atomic_load(&over); atomic_fetch_add(&trims, 1)) {
        struct bufpool_info info;
        size_t              keep = check_random(&random) % 4 * MIB;
        bufpool_trim(pool, keep + check_random(&random) % 8192);
        idle_is_bounded((uint64_t)threads + 2, &info);
        for (uint64_t n = check_random(&random) % 4; n > 0; n--) sched_yield();
    }
    return unused;
}

/* Of each class alone as many are kept as may be. */
static void all_room_is_found_again(void)
{
    enum { MANY = 30 };
    bufpool_buf *bufs[MANY];
    for (int class = 0; class < BUFPOOL_HUGE; class ++) {
        size_t size = bufpool_class_capacity((bufpool_class) class), room = tight.idle_bytes / size;
        bufpool_trim(pool, 0);
        for (int i = 0; i < MANY; i++) bufs[i] = bufpool_acquire(pool, size, NULL);
        for (int i = 0; i < MANY; i++) CHECK_EQ(bufpool_release(bufs[i]), 0);
        if (room > tight.idle_buffers) room = tight.idle_buffers;
        CHECK_EQ(look_at_pool().idle_buffers[class], room);
    }
}

static void trim_loses_nothing(void)
{
    for (enum ways ways = SHARED; ways <= MIXED; ways++) {
        pthread_t           trimmers[2];
        struct bufpool_info info;
        uint64_t            rounds = 0, given = 0;

        make(&tight);
        atomic_store(&trims, 0);
        pthread_barrier_init(&turn, NULL, (unsigned)threads + 1);
        start(threads, ways, own_buffers_in_turns);
        for (double until = now() + share() / 3; rounds < 5 || now() < until; rounds++) {
            atomic_store(&over, false);
            for (int i = 0; i < 2; i++) pthread_create(&trimmers[i], NULL, trim_on, NULL);
            pthread_barrier_wait(&turn);
            pthread_barrier_wait(&turn);
            atomic_store(&over, true);
            for (int i = 0; i < 2; i++) pthread_join(trimmers[i], NULL);
            idle_is_bounded(0, &info);
            uint64_t before  = info.idle_bytes,
                     trimmed = bufpool_trim(pool, (size_t)(rounds % 3) * MIB);
            given += trimmed;
            CHECK_EQ(look_at_pool().idle_bytes, before - trimmed);
            check_progress();
        }
        pthread_barrier_wait(&turn);
        stop(threads);
        pthread_barrier_destroy(&turn);
        printf("# %s: %llu rounds, %llu trims, of %llu bytes when all stood still\n", names[ways],
               (unsigned long long)rounds, (unsigned long long)atomic_load(&trims),
               (unsigned long long)given);
        idle_is_bounded(0, &info);
        nothing_is_lost();
        all_room_is_found_again();
        bufpool_trim(pool, 5000);
        CHECK(look_at_pool().idle_bytes <= 5000);
        bufpool_trim(pool, 0);
        CHECK_EQ(look_at_pool().idle_bytes, 0);
        end();
    }
}

/* ---- Caches that come and go, and tenants that come ---- */

static _Atomic(bufpool_tenant *) met[TENANTS_MAX];

/* The first thread makes it; all get the same. */
static bufpool_tenant *some_tenant(uint64_t r)
{
    uint32_t        at      = 1 + (uint32_t)r % (TENANTS_MAX - 1);
    char            name[2] = {(char)(at % 64), (char)(at / 64)};
    bufpool_tenant *tenant = bufpool_tenant_get(pool, name, sizeof name), *known = NULL;

    CHECK(tenant != NULL);
    if (!atomic_compare_exchange_strong_explicit(&met[at], &known, tenant, memory_order_relaxed,
                                                 memory_order_relaxed))
        CHECK(known == tenant);
    return tenant;
}

static void open_and_close(struct worker *self)
{
    uint64_t     r = check_random(&self->random);
    bufpool_buf *bufs[3];
    uint32_t     count = (uint32_t)(r >> 8) % 4;
    for (uint32_t i = 0; i < count; i++) {
        bufs[i] = bufpool_cache_acquire(self->cache, 100, some_tenant(r >> (8 * i)));
        CHECK(bufs[i] != NULL && bufpool_writable(bufs[i]));
        payload(bufs[i]);
        fill(bufs[i], (uint32_t)r);
        if ((r >> (20 + i)) & 1) reopen(self);
    }
    for (uint32_t i = 0; i < count; i++) {
        CHECK(payload(bufs[i]) == (uint32_t)r);
        CHECK_EQ((r >> (24 + i)) & 1 ? bufpool_cache_release(self->cache, bufs[i])
                                     : bufpool_release(bufs[i]),
                 0);
        if ((r >> (28 + i)) & 1) reopen(self);
    }
    self->lives += count;
}

static void *open_and_close_for_a_while(void *arg)
{
    struct worker *self = arg;
    run(self, self->number % 2 ? open_and_close : share_buffers);
    let_all_go(self);
    return NULL;
}

static void caches_come_and_go(void)
{
    bufpool_config config = {.idle_buffers = 20};
    uint64_t       lives = 0, acquired = 0, seen = 0, names_met = 0;

    make(&config);
    for (int i = 1; i < TENANTS_MAX; i++) tenants[i] = bufpool_tenant_get(pool, &"abcd"[i % 4], 1);
    for (int i = 1; i < TENANTS_MAX; i++) atomic_store(&met[i], NULL);
    seats = 6;
    start(threads, MIXED, open_and_close_for_a_while);
    for (double until = now() + share(); now() < until; usleep(100)) {
        struct bufpool_info info = look_at_pool();
        CHECK(info.caches <= (uint64_t)threads);
        CHECK(info.live_buffers < UINT64_C(1) << 40);
        never_falls(&seen, info.hits[0]);
    }
    stop(threads);
    empty_the_boxes();
    for (int i = 0; i < threads; i++) lives += workers[i].lives;
    struct bufpool_info info = look_at_pool();
    for (int i = 0; i < BUFPOOL_CLASSES; i++) acquired += info.hits[i] + info.misses[i];
    CHECK_EQ(acquired + info.oversize, lives);
    CHECK_EQ(info.underflows, 0);
    for (int i = 1; i < TENANTS_MAX; i++) {
        bufpool_tenant *tenant = atomic_load(&met[i]);
        CHECK_EQ(look_at(tenants[i]).live_bytes, 0);
        if (tenant) CHECK_EQ(look_at(tenant).live_bytes, 0);
        names_met += tenant != NULL;
    }
    CHECK_EQ(info.tenants, 4 + names_met);
    printf("# %llu lives\n", (unsigned long long)lives);
    memset(tenants, 0, sizeof tenants);
    end();
}

/* ---- The soft limit ---- */

enum { PIECE = 5000, MOST = 3 };
static _Atomic(bufpool_buf *) swap[BOXES]; /* one for one: nobody has more than their part */
static uint64_t               limit;
static bool                   above;

static void hold_ones_part(struct worker *self)
{
    uint64_t r = check_random(&self->random);
    if (self->own_count < MOST && r & 1) {
        struct reference *at = &self->own[self->own_count++];
        at->buf              = NULL;
        if ((r >> 8) % 4) at->buf = acquire(self, PIECE, tenants[1]);
        else bufpool_charge(tenants[1], PIECE);
        self->lives++;
    } else if (self->own_count > 0) {
        bufpool_buf *buf = self->own[--self->own_count].buf;
        if (buf && (r >> 8) % 2)
            buf = atomic_exchange_explicit(&swap[(r >> 16) % BOXES], buf, memory_order_acq_rel);
        if (buf) CHECK_EQ(give_back(self, buf), 0);
        else bufpool_discharge(tenants[1], PIECE);
    }
    if ((r >> 40) % 256 == 1) reopen(self);
    if ((r >> 40) % 256 == 2) /* which makes no difference */
        bufpool_tenant_limit(tenants[1], above ? 1 + (r >> 48) % limit : limit + (r >> 48));
}

static void *hold_ones_part_for_a_while(void *arg)
{
    struct worker *self = run(arg, hold_ones_part);
    while (self->own_count > 0) {
        bufpool_buf *buf = self->own[--self->own_count].buf;
        if (buf) CHECK_EQ(give_back(self, buf), 0);
        else bufpool_discharge(tenants[1], PIECE);
    }
    bufpool_cache_close(self->cache);
    return NULL;
}

static uint64_t hold_parts(uint64_t kept)
{
    uint64_t       lives = 0;
    bufpool_cache *aside = bufpool_cache_open(pool);
    bufpool_cache_release(aside, bufpool_cache_acquire(aside, PIECE, tenants[1]));
    bufpool_charge(tenants[1], kept);
    uint64_t before = look_at(tenants[1]).soft_limit_exceeded;
    atomic_store(&over, false);
    start(threads, MIXED, hold_ones_part_for_a_while);
    let_pass(share() / 6);
    stop(threads);
    for (int i = 0; i < threads; i++) lives += workers[i].lives;
    CHECK_EQ(look_at(tenants[1]).soft_limit_exceeded - before, above ? lives : 0);
    bufpool_discharge(tenants[1], kept);
    CHECK_EQ(look_at(tenants[1]).live_bytes, BOXES * PIECE);
    bufpool_cache_close(aside);
    check_progress();
    return lives;
}

/* Everybody's part, to the byte, is the limit, and what a cache that stands aside may have taken
 * ahead is none of it; or it is so low, or so much is held already, that each acquisition and
 * charge is above. */
static void who_is_above_the_limit_is_counted(void)
{
    uint64_t       all = (uint64_t)(threads * MOST + BOXES) * PIECE, lives[2] = {0};
    bufpool_config config = {.tenant_soft_limit = all, .idle_buffers = 16};

    make(&config);
    tenants[1] = bufpool_tenant_get(pool, "one", 3);
    for (int i = 0; i < BOXES; i++) {
        bufpool_buf *buf = bufpool_acquire(pool, PIECE, tenants[1]);
        atomic_store(&swap[i], buf);
    }
    for (int round = 0; round < 6; round++) {
        uint64_t kept = round < 3 ? 1 : 2 * KIB * all; /* a limit that leaves much to take ahead */
        above         = round % 2;
        limit         = round == 1 ? 2 : all + kept;
        bufpool_tenant_limit(tenants[1], limit);
        lives[above] += hold_parts(above && round > 1 ? limit - BOXES * PIECE : kept);
    }
    printf("# %llu within, %llu above\n", (unsigned long long)lives[0],
           (unsigned long long)lives[1]);
    CHECK_EQ(underflows(), 0);
    for (int i = 0; i < BOXES; i++) CHECK_EQ(bufpool_release(atomic_load(&swap[i])), 0);
    tenants[1] = NULL;
    end();
}

/* Takes nothing, but makes the pool look whether the limit has been passed. */
static void discharge_what_is_not_there(struct worker *self)
{
    bufpool_discharge(tenants[1], 1);
    self->lives++;
    if (check_random(&self->random) % 64 == 0) sched_yield();
}

static void *discharge_for_a_while(void *arg)
{
    struct worker *self = arg;
    run(self, discharge_what_is_not_there);
    bufpool_cache_close(self->cache);
    return NULL;
}

/* Within a limit a cache may take ahead for its tenant. When the limit is lowered, what it has
 * taken no longer lets anything pass. */
static void a_lowered_limit_counts_at_once(void)
{
    bufpool_config config = {.idle_buffers = 16};
    struct worker *self   = &workers[THREADS_MAX];
    uint64_t       rounds = 0, discharges = 0;

    make(&config);
    tenants[1] = bufpool_tenant_get(pool, "one", 3);
    start(threads, SHARED, discharge_for_a_while);
    memset(self, 0, sizeof *self);
    self->cache       = bufpool_cache_open(pool);
    bufpool_buf *held = bufpool_acquire(pool, 1000, tenants[1]);
    for (double until = now() + share(); rounds < 10 || now() < until; rounds++) {
        self->ways = rounds % 2 ? SHARED : CACHED;
        bufpool_tenant_limit(tenants[1], UINT64_C(1) << 30);
        for (int i = 0; i < 3; i++) CHECK_EQ(give_back(self, acquire(self, 100, tenants[1])), 0);
        bufpool_tenant_limit(tenants[1], 1000);
        CHECK_EQ(give_back(self, acquire(self, 1, tenants[1])), 0);
        check_progress();
    }
    stop(threads);
    CHECK_EQ(look_at(tenants[1]).soft_limit_exceeded, rounds);
    CHECK_EQ(bufpool_release(held), 0);
    bufpool_cache_close(self->cache);
    for (int i = 0; i < threads; i++) discharges += workers[i].lives;
    CHECK_EQ(underflows(), discharges);
    printf("# %llu times\n", (unsigned long long)rounds);
    tenants[1] = NULL;
    end();
}

/* ---- The end of a pool ---- */

static _Atomic(bool) gone;
static bufpool_view  common; /* everybody has a part of it */

static void let_it_go(struct worker *self, uint32_t which, uint64_t r)
{
    struct reference *reference = self->held[which];
    self->held[which]           = self->held[--self->count];
    look(reference);
    if (r & 1) { /* a buffer that outlives its pool is as any other */
        CHECK(bufpool_retain(buf_of(reference)) != NULL);
        CHECK(bufpool_release(buf_of(reference)) > 0);
    }
    int left = 0;
    if (!reference->buf) left = bufpool_view_drop(&reference->view);
    else if (self->cache && r & 2 && self->may_cache)
        left = bufpool_cache_release(self->cache, reference->buf);
    else left = bufpool_release(reference->buf);
    CHECK(left >= 0);
    if (left == 0) self->lives--;
    reference->next = self->spare;
    self->spare     = reference;
}

static void take_what_will_stay(struct worker *self, uint64_t r)
{
    static const size_t sizes[] = {100, 4096, 5000, 70000, 100, 5000, 100, LARGEST};
    self->lives                 = 0;
    for (uint32_t i = 0; i < 1 + r % 2; i++) {
        size_t       size = sizes[(r >> (8 + 3 * i)) % 8];
        bufpool_buf *buf  = self->cache && (r >> (20 + i)) & 1
                                ? bufpool_cache_acquire(self->cache, size, tenants[1])
                                : bufpool_acquire(pool, size, tenants[1]);
        CHECK(buf != NULL);
        if (!buf) exit(1);
        fill(buf, (uint32_t)self->number);
        *keep(self) = (struct reference){buf, {0}, size, 0, (uint32_t)self->number, NULL};
        self->lives++;
        if ((r >> (24 + i)) & 1) one_more(self, self->held[self->count - 1], r >> 30);
    }
    for (uint64_t n = (r >> 57) % 4; n > 0 && self->count > 0; n--) let_it_go(self, 0, n);
    struct reference *part = keep(self);
    *part                  = (struct reference){.seat = SEATS_MAX - 1};
    CHECK_EQ(bufpool_view_cut(&common, 256, 256, &part->view), 0);
}

static void wait_until_gone(void)
{
    while (!atomic_load_explicit(&gone, memory_order_acquire)) sched_yield();
}

static void *outlive_the_pool(void *arg)
{
    struct worker *self = arg;
    for (;;) {
        pthread_barrier_wait(&turn);
        if (atomic_load(&over)) break;
        uint64_t r      = check_random(&self->random);
        self->cache     = r & 1 ? bufpool_cache_open(pool) : NULL;
        self->may_cache = true;
        take_what_will_stay(self, r >> 1);
        self->stays     = self->lives;
        self->late      = (r >> 40) % 4 == 0;
        self->may_cache = self->late;
        pthread_barrier_wait(&turn);
        if (self->late) wait_until_gone();
        else spin((r >> 42) % 2048);
        while (self->count > 0) let_it_go(self, 0, check_random(&self->random));
        if (self->cache) wait_until_gone();
        bufpool_cache_close(self->cache);
        pthread_barrier_wait(&turn);
    }
    self->cache = NULL;
    let_all_go(self);
    return NULL;
}

static void destroy_while_it_is_used(uint64_t r)
{
    uint64_t most = 1, least = 0;

    for (int i = 0; i < threads; i++) most += workers[i].stays;
    for (int i = 0; i < threads; i++)
        if (workers[i].late) least += workers[i].stays + (least == 0);
    bool first = (r >> 8) % 2;
    spin((r >> 16) % 1024);
    if (first) CHECK(bufpool_view_drop(&common) >= 0);
    size_t left = bufpool_destroy(pool);
    atomic_store_explicit(&gone, true, memory_order_release);
    if (!first) CHECK(bufpool_view_drop(&common) >= 0);
    CHECK(left <= most && left >= least);
}

static void a_pool_ends_with_its_last_buffer(void)
{
    bufpool_config config = {.idle_buffers = 4};
    uint64_t       rounds = 0, random = 1;

    pthread_barrier_init(&turn, NULL, (unsigned)threads + 1);
    atomic_store(&over, false);
    start(threads, MIXED, outlive_the_pool);
    for (double until = now() + share(); rounds < 10 || now() < until; rounds++) {
        uint64_t r = check_random(&random);
        make(&config);
        tenants[1]       = r & 1 ? bufpool_tenant_get(pool, "one", 3) : NULL;
        bufpool_buf *buf = bufpool_acquire(pool, WORDS * 256, tenants[1]);
        fill(buf, SEATS_MAX - 1);
        CHECK_EQ(bufpool_view_of(buf, 0, WORDS * 256, &common), 0);
        CHECK_EQ(bufpool_release(buf), 1);
        atomic_store(&gone, false);
        pthread_barrier_wait(&turn);
        pthread_barrier_wait(&turn);
        destroy_while_it_is_used(r);
        pthread_barrier_wait(&turn);
        CHECK_EQ(atomic_load(&mapped), 0);
    }
    atomic_store(&over, true);
    pthread_barrier_wait(&turn);
    stop(threads);
    pthread_barrier_destroy(&turn);
    tenants[1] = NULL;
    printf("# %llu pools\n", (unsigned long long)rounds);
}

/* ---- Secrets ---- */

static const uint64_t ink[] = {0x6e6f6e656e6f6e65, 0x7365637265742061, 0x7365637265742062};

/* Zeros, or what the same tenant left. */
static void show_no_other(const uint64_t *at, size_t words, uint64_t own)
{
    size_t others = 0;
    for (size_t i = 0; i < words; i++) others += at[i] != 0 && at[i] != own;
    CHECK_EQ(others, 0);
}

static void write_a_secret(struct worker *self)
{
    uint64_t r    = check_random(&self->random);
    uint32_t who  = (uint32_t)(r >> 8) % 3;
    size_t   size = r % 64 == 0 ? 64 * KIB + 1 : r % 4 == 0 ? 5000 : 100;

    bufpool_buf *buf = acquire(self, size, tenants[who]);
    CHECK(buf != NULL);
    if (!buf) exit(1);
    uint64_t *at    = bufpool_data(buf);
    size_t    words = bufpool_capacity(buf) / sizeof *at;
    show_no_other(at, words, ink[who]);
    size_t from = (size_t)(r >> 16) % words, to = from + (size_t)(r >> 40) % (words - from + 1);
    for (size_t i = from; i < to; i++) at[i] = ink[who];
    at[words - 1] = ink[who];
    buf           = atomic_exchange_explicit(&swap[(r >> 12) % BOXES], buf, memory_order_acq_rel);
    if (buf) CHECK_EQ(give_back(self, buf), 0);
    if ((r >> 32) % 256 == 1) reopen(self);
    self->lives++;
}

static void *write_secrets(void *arg)
{
    struct worker *self = arg;
    run(self, write_a_secret);
    bufpool_cache_close(self->cache);
    return NULL;
}

static void nobody_reads_anothers_bytes(void)
{
    bufpool_config config = {.idle_buffers = 8, .flags = BUFPOOL_WIPE};
    uint64_t       lives  = 0;

    make(&config);
    tenants[1] = bufpool_tenant_get(pool, "a", 1);
    tenants[2] = bufpool_tenant_get(pool, "b", 1);
    for (int i = 0; i < BOXES; i++) atomic_store(&swap[i], NULL);
    start(threads, MIXED, write_secrets);
    let_pass(share());
    stop(threads);
    for (int i = 0; i < BOXES; i++) {
        bufpool_buf *buf = atomic_load(&swap[i]);
        if (buf) CHECK_EQ(bufpool_release(buf), 0);
    }
    for (int i = 0; i < threads; i++) lives += workers[i].lives;
    printf("# %llu secrets\n", (unsigned long long)lives);
    memset(tenants, 0, sizeof tenants);
    end();
}

int main(int argc, char **argv)
{
    if (argc > 1) seconds = atof(argv[1]);
    if (argc > 2) threads = atoi(argv[2]);
    if (argc > 3) operations = strtoull(argv[3], NULL, 10);
    if (threads < 1 || threads > THREADS_MAX || !(seconds > 0)) {
        fprintf(stderr, "usage: bufpool_stress [SECONDS [THREADS 1..%d [OPERATIONS]]]\n",
                THREADS_MAX);
        return 2;
    }
    RUN(a_buffer_is_recycled_once);
    RUN(accounts_are_exact);
    RUN(a_last_reference_goes_once);
    RUN(a_stale_pointer_harms_nobody);
    RUN(trim_loses_nothing);
    RUN(caches_come_and_go);
    RUN(who_is_above_the_limit_is_counted);
    RUN(a_lowered_limit_counts_at_once);
    RUN(a_pool_ends_with_its_last_buffer);
    RUN(nobody_reads_anothers_bytes);
    return REPORT();
}
