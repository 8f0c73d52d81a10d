/* Goal: under any storm of threads each life ends once, no page is lost or handed out twice, no
 * payload is overwritten under its reader, no wake-up is lost.
 * Method: one owner and several returners on pools so small that every return matters. A returner
 * that has read its page spreads the id as a rumour before it returns it, and returns rumours it
 * hears, so that most ids are returned several times at once. At the end everything is counted.
 * Usage: slab_stress [SECONDS [RETURNERS]] */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdlib.h>
#include <time.h>

#define SLAB_IMPLEMENTATION
#include "../../slab.h"

#include "../check.h"

enum { SIZE = 128, CELLS = 128, RUMOURS = 32, RETURNERS_MAX = 16, BATCH = 16 };

static double seconds   = 1.0;
static int    returners = 4;

static slab_pool        *pool;
static _Atomic(bool)     over;
static sem_t             wake_up;
static _Atomic(uint64_t) rumours[RUMOURS];

static struct returner {
    _Alignas(64) _Atomic(uint64_t) cells[CELLS]; /* ids from the owner; 0 = empty */
    pthread_t thread;
    uint64_t  random, ended, refused, wakes;
} all[RETURNERS_MAX];

static uint64_t name_of(slab_id id)
{
    uint64_t name;
    memcpy(&name, &id, sizeof name);
    return name;
}

static slab_id id_of(uint64_t name)
{
    slab_id id;
    memcpy(&id, &name, sizeof id);
    return id;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void fill(unsigned char *payload, slab_id id)
{
    uint64_t name = name_of(id);
    for (size_t i = 0; i < SIZE; i += sizeof name) memcpy(payload + i, &name, sizeof name);
}

static bool filled(const unsigned char *payload, size_t len, slab_id id)
{
    uint64_t name = name_of(id);
    if (!payload || len != SIZE) return false;
    for (size_t i = 0; i < SIZE; i += sizeof name)
        if (memcmp(payload + i, &name, sizeof name) != 0) return false;
    return true;
}

static void return_one(struct returner *self, slab_id id)
{
    int result = slab_pool_return(pool, id);
    if (result < 0) {
        CHECK_EQ(result, -ESTALE);
        self->refused++;
        return;
    }
    self->ended++;
    if (result == 1) {
        self->wakes++;
        sem_post(&wake_up);
    }
}

static void return_batch(struct returner *self, const slab_id *ids, size_t count)
{
    bool   wake;
    size_t live = slab_pool_return_many(pool, ids, count, &wake);
    self->ended += live;
    self->refused += count - live;
    if (wake) {
        self->wakes++;
        sem_post(&wake_up);
    }
}

static void *returner(void *arg)
{
    struct returner *self = arg;
    slab_id          batch[BATCH];
    size_t           held = 0;

    for (uint64_t n = 0;;) {
        bool     last = atomic_load(&over); /* before the look at the cell: nothing comes after */
        uint64_t r    = check_random(&self->random);
        uint64_t name = atomic_load_explicit(&self->cells[n % CELLS], memory_order_acquire);
        if (name) {
            atomic_store_explicit(&self->cells[n++ % CELLS], 0, memory_order_release);
            size_t  len;
            slab_id id = id_of(name);
            CHECK(filled(slab_pool_read(pool, id, &len), SIZE, id));
            /* release: who hears of the id and ends its life has our reads before its return. */
            atomic_store_explicit(&rumours[r % RUMOURS], name, memory_order_release);
            batch[held++] = id;
        }
        if (held == BATCH || (held && (!name || r >> 62))) {
            if (r & 4096) return_batch(self, batch, held);
            else
                for (size_t i = 0; i < held; i++) return_one(self, batch[i]);
            held = 0;
        }
        uint64_t rumour = atomic_load_explicit(&rumours[(r >> 8) % RUMOURS], memory_order_acquire);
        if (rumour && (r & 8192)) return_one(self, id_of(rumour));
        if (!name && held == 0) {
            if (last) return NULL;
            sched_yield();
        }
    }
}

/* Owner, out of pages: sleeps until a returner says 1. */
static void sleep_until_woken(void)
{
    struct timespec deadline;

    if (!slab_pool_want(pool)) return;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += 60;
    CHECK_EQ(sem_timedwait(&wake_up, &deadline), 0);
}

struct tally {
    uint64_t allocs, ended, refused, sleeps;
};

static void own(double until, uint64_t seed, struct tally *tally)
{
    uint64_t random = seed, sent[RETURNERS_MAX] = {0};

    for (uint64_t step = 1; step % 256 != 0 || now() < until; step++) {
        uint64_t       r = check_random(&random);
        slab_id        id;
        unsigned char *payload = slab_pool_alloc(pool, SIZE, &id);
        if (!payload) {
            tally->sleeps++;
            if (r & 1) sleep_until_woken();
            else sched_yield();
            continue;
        }
        tally->allocs++;
        check_progress();
        fill(payload, id);
        if (r % 16 == 0) {
            CHECK_EQ(slab_pool_free(pool, id), 0);
            CHECK_EQ(slab_pool_free(pool, id), -ESTALE);
            tally->ended++;
            tally->refused++;
            continue;
        }
        int to = (int)((r >> 8) % (uint64_t)returners);
        /* Never full: what is in the cells is live, and there are more cells than pages. */
        atomic_store_explicit(&all[to].cells[sent[to]++ % CELLS], name_of(id),
                              memory_order_release);
        uint64_t rumour = atomic_load_explicit(&rumours[(r >> 16) % RUMOURS], memory_order_acquire);
        if (rumour && r % 4 == 1) { /* the owner revokes a page: exact against everybody */
            int result = slab_pool_return(pool, id_of(rumour));
            tally->ended += result >= 0;
            tally->refused += result < 0;
        }
        if (r % 64 == 2) slab_pool_drain(pool);
    }
}

static void storm(uint32_t count, double until)
{
    slab_pool_config config = {.core = 1, .page_size = SIZE, .page_count = count};
    struct tally     tally  = {0, 0, 0, 0};

    CHECK_EQ(slab_pool_create(&pool, &config), 0);
    sem_init(&wake_up, 0, 0);
    atomic_store(&over, false);
    for (int i = 0; i < RUMOURS; i++) atomic_store(&rumours[i], 0);
    for (int i = 0; i < returners; i++) {
        memset(&all[i], 0, sizeof all[i]);
        all[i].random = count * 100u + (uint64_t)i;
        pthread_create(&all[i].thread, NULL, returner, &all[i]);
    }
    own(until, count, &tally);
    atomic_store(&over, true);
    for (int i = 0; i < returners; i++) {
        pthread_join(all[i].thread, NULL);
        tally.ended += all[i].ended;
        tally.refused += all[i].refused;
    }
    struct slab_pool_info info;
    slab_pool_stats(pool, &info);
    CHECK_EQ(tally.ended, tally.allocs); /* each life ended, and once */
    CHECK_EQ(info.allocs, tally.allocs);
    CHECK_EQ(info.refused, tally.refused);
    CHECK_EQ(info.available, count);
    slab_pool_drain(pool);
    CHECK_EQ(pool->free_top + (pool->free_last != 0), count); /* by the drain alone: nobody died */
    bool    taken[CELLS] = {false};
    slab_id id;
    while (slab_pool_alloc(pool, SIZE, &id)) {
        CHECK(!taken[id.page]);
        taken[id.page] = true;
    }
    CHECK_EQ(slab_pool_destroy(pool), count);
    sem_destroy(&wake_up);
    printf("# %u pages: %llu lives, %llu refused, out of pages %llu times\n", count,
           (unsigned long long)tally.allocs, (unsigned long long)tally.refused,
           (unsigned long long)tally.sleeps);
}

static void each_life_ends_once(void)
{
    static const uint32_t counts[] = {1, 2, 3, 4, 7, 16, 33, 64};
    size_t                rounds   = sizeof counts / sizeof *counts;

    for (size_t i = 0; i < rounds; i++) storm(counts[i], now() + seconds * 0.6 / (double)rounds);
}

/* The one race whose result is not exact: free against a return of the same id. The page lives on,
 * and as one. */
static _Atomic(uint64_t) raced;
static uint64_t          racer_won;

static void *racer(void *arg)
{
    (void)arg;
    for (uint64_t name, last = 0; !atomic_load(&over);) {
        name = atomic_load_explicit(&raced, memory_order_acquire);
        if (name == last) continue;
        last = name;
        racer_won += slab_pool_return(pool, id_of(name)) >= 0;
    }
    return NULL;
}

static void free_against_return_recycles_once(void)
{
    slab_pool_config config = {.page_size = 64, .page_count = 3};
    uint64_t         allocs = 0, won = 0;
    double           until = now() + seconds * 0.2;
    pthread_t        thread;

    CHECK_EQ(slab_pool_create(&pool, &config), 0);
    atomic_store(&over, false);
    pthread_create(&thread, NULL, racer, NULL);
    while (allocs % 256 != 0 || now() < until) {
        slab_id id;
        CHECK(slab_pool_alloc(pool, 1, &id) != NULL); /* never lost: one page is out at a time */
        allocs++;
        atomic_store_explicit(&raced, name_of(id), memory_order_release);
        for (uint64_t spin = allocs % 64; spin-- > 0;) atomic_load(&raced);
        won += slab_pool_free(pool, id) == 0;
        CHECK(pool->free_top <= 3);
    }
    atomic_store(&over, true);
    pthread_join(thread, NULL);
    CHECK(won + racer_won >= allocs);
    printf("# %llu lives, %llu of them ended by both\n", (unsigned long long)allocs,
           (unsigned long long)(won + racer_won - allocs));
    slab_pool_drain(pool);
    CHECK_EQ(pool->free_top + (pool->free_last != 0), 3);
    CHECK_EQ(slab_pool_destroy(pool), 0);
}

/* A reap against a return of the same id is exact. */
static void reap_against_return_ends_once(void)
{
    slab_pool_config config = {.page_size = 64, .page_count = 3, .lends = true};
    uint64_t         allocs = 0, reaped = 0;
    double           until = now() + seconds * 0.1;
    pthread_t        thread;

    CHECK_EQ(slab_pool_create(&pool, &config), 0);
    atomic_store(&over, false);
    atomic_store(&raced, 0);
    racer_won = 0;
    pthread_create(&thread, NULL, racer, NULL);
    while (allocs % 256 != 0 || now() < until) {
        slab_id id;
        CHECK(slab_pool_alloc(pool, 1, &id) != NULL); /* never lost: one page is out at a time */
        allocs++;
        CHECK_EQ(slab_pool_lend(pool, id, 7), 0);
        atomic_store_explicit(&raced, name_of(id), memory_order_release);
        for (uint64_t spin = allocs * 7 % 512; spin-- > 0;) atomic_load(&raced);
        reaped += slab_pool_reap(pool, 7);
    }
    atomic_store(&over, true);
    pthread_join(thread, NULL);
    CHECK_EQ(reaped + racer_won, allocs);
    printf("# %llu lives, %llu of them reaped\n", (unsigned long long)allocs,
           (unsigned long long)reaped);
    slab_pool_drain(pool);
    CHECK_EQ(pool->free_top + (pool->free_last != 0), 3);
    CHECK_EQ(slab_pool_destroy(pool), 0);
}

/* One page, one returner, one question: had the owner gone to sleep, would it have been woken?
 * Where another return always follows, a lost wake-up does not show. And had it only drained, would
 * it have found the page? */
static _Atomic(uint64_t) offered, answered;
static _Atomic(int)      answer;

static void *answer_for_ever(void *unused)
{
    for (uint64_t name, last = 0; (name = atomic_load(&offered)) != UINT64_MAX;) {
        if (name == last) continue;
        last = name;
        atomic_store(&answer, slab_pool_return(pool, id_of(name)));
        atomic_store(&answered, name);
    }
    return unused;
}

static void no_return_falls_between(void)
{
    slab_pool_config config = {.page_size = 64, .page_count = 1};
    uint64_t         turns = 0, asleep = 0;
    double           until = now() + seconds * 0.2;
    pthread_t        thread;
    slab_id          id;

    CHECK_EQ(slab_pool_create(&pool, &config), 0);
    atomic_store(&offered, 0);
    pthread_create(&thread, NULL, answer_for_ever, NULL);
    for (; turns % 256 != 0 || now() < until; turns++) {
        bool   ask   = turns & 1;
        size_t found = 0;
        CHECK_EQ(slab_pool_put(pool, "x", 1, &id), 0);
        atomic_store(&offered, name_of(id));
        for (uint64_t spin = turns % 96; spin > 0; spin--) atomic_load(&offered);
        bool armed = ask && slab_pool_want(pool);
        while (atomic_load(&answered) != name_of(id))
            if (!ask) found += slab_pool_drain(pool);
        if (armed) CHECK_EQ(atomic_load(&answer), 1);
        if (!ask) CHECK_EQ(found + slab_pool_drain(pool), 1);
        asleep += armed;
    }
    atomic_store(&offered, UINT64_MAX); /* no id of this pool */
    pthread_join(thread, NULL);
    printf("# %llu turns, armed in %llu\n", (unsigned long long)turns, (unsigned long long)asleep);
    CHECK_EQ(slab_pool_destroy(pool), 0);
}

int main(int argc, char **argv)
{
    if (argc > 1) seconds = atof(argv[1]);
    if (argc > 2) returners = atoi(argv[2]);
    if (returners < 1 || returners > RETURNERS_MAX || !(seconds > 0)) {
        fprintf(stderr, "usage: slab_stress [SECONDS [RETURNERS 1..%d]]\n", RETURNERS_MAX);
        return 2;
    }
    RUN(each_life_ends_once);
    RUN(free_against_return_recycles_once);
    RUN(reap_against_return_ends_once);
    RUN(no_return_falls_between);
    return REPORT();
}
