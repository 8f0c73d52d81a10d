/* Goal: calls for many frames of a cache do what as many calls for one do: each frame once, a
 * second free refused, nothing lost; also while other threads revoke the cache's groups. Method:
 * every count, mixtures of frames leased in other ways, and a storm with fewer frames than are
 * asked for, where each frame has a mark of its owner. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>

#include <sys/syscall.h>
#include <unistd.h>

static long test_syscall(long number, long a, long b, long c, long d, long e, long f);
#define FIXEDPOOL_SYSCALL(number, a, b, c, d, e, f) \
    test_syscall(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define FIXEDPOOL_IMPLEMENTATION
#include "../../fixedpool.h"

#include "../check.h"

enum { FRAMES = 512 };

static atomic_long woken; /* the most threads that were to be woken at once */

static long test_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    if (number == SYS_futex && b == FIXEDPOOL__FUTEX_WAKE && c > atomic_load(&woken))
        atomic_store(&woken, c);
    return syscall(number, a, b, c, d, e, f);
}

static fixedpool *pool;

static void make(uint32_t count)
{
    fixedpool_config config = {.frame_size = 4096, .frame_count = count};
    CHECK_EQ(fixedpool_create(&pool, &config), 0);
    if (!pool) exit(1);
}

static void end(void)
{
    CHECK_EQ(fixedpool_destroy(pool), 0);
    pool = NULL;
}

static struct fixedpool_info stats(void)
{
    struct fixedpool_info info;
    fixedpool_stats(pool, &info);
    return info;
}

static void every_count(void)
{
    int frames[FRAMES + 1], sizes[] = {1, 17, 256, FRAMES};

    for (int s = 0; s < 4; s++) {
        make((uint32_t)sizes[s]);
        fixedpool_cache *cache = fixedpool_cache_open(pool);
        for (uint32_t count = 0; count <= (uint32_t)sizes[s] + 1; count += 1 + count / 40) {
            uint32_t want         = count < (uint32_t)sizes[s] ? count : (uint32_t)sizes[s];
            bool     seen[FRAMES] = {false};
            CHECK_EQ(fixedpool_cache_alloc_many(cache, frames, count), want);
            for (uint32_t i = 0; i < want; i++) {
                CHECK(frames[i] >= 0 && frames[i] < sizes[s] && !seen[frames[i]]);
                seen[frames[i]] = true;
            }
            CHECK_EQ(stats().leased, want);
            CHECK_EQ(fixedpool_cache_free_many(cache, frames, want), want);
            CHECK_EQ(stats().leased, 0);
            CHECK_EQ(fixedpool_cache_free_many(cache, frames, want), 0); /* again */
        }
        fixedpool_cache_close(cache);
        end();
    }
}

static void any_frames_in_any_order(void)
{
    int mine[64], others[64], plain[64], all[260], count = 0;

    make(FRAMES);
    fixedpool_cache *cache = fixedpool_cache_open(pool), *other = fixedpool_cache_open(pool);
    CHECK_EQ(fixedpool_cache_alloc_many(cache, NULL, 3), 0);
    CHECK_EQ(fixedpool_cache_free_many(cache, NULL, 3), 0);
    CHECK_EQ(fixedpool_cache_alloc_many(cache, mine, 64), 64);
    CHECK_EQ(fixedpool_cache_alloc_many(other, others, 64), 64);
    CHECK_EQ(fixedpool_alloc_many(pool, plain, 64), 64);
    for (int i = 0; i < 64; i++) {
        all[count++] = mine[i * 5 % 64];
        all[count++] = others[63 - i];
        all[count++] = plain[i];
    }
    all[count++] = mine[0]; /* twice */
    all[count++] = -1;
    all[count++] = FRAMES;
    CHECK_EQ(fixedpool_cache_free_many(cache, all, (uint32_t)count), 192);
    CHECK_EQ(stats().leased, 0);
    CHECK_EQ(stats().refused, 3);
    CHECK_EQ(fixedpool_cache_alloc_many(cache, all, 2), 2); /* with single calls */
    int one = fixedpool_cache_alloc(cache);
    CHECK(one >= 0 && one != all[0] && one != all[1]);
    CHECK_EQ(fixedpool_cache_free(cache, all[0]), 0);
    CHECK_EQ(fixedpool_cache_free_many(cache, (int[]){all[0], all[1], one}, 3), 2);
    CHECK_EQ(fixedpool_cache_alloc_many(cache, all, 3), 3);
    CHECK(all[0] != all[1] && all[1] != all[2] && all[0] != all[2]);
    CHECK_EQ(fixedpool_free_many(pool, all, 3), 3);
    CHECK_EQ(stats().leased, 0);
    fixedpool_cache_close(cache);
    fixedpool_cache_close(other);
    end();
}

/* Frames stay the cache's: what was freed is leased next, and all were lent by the cache. */
static void a_cache_keeps_its_frames(void)
{
    int first[100], again[8];

    make(FRAMES);
    fixedpool_cache *cache = fixedpool_cache_open(pool);
    CHECK_EQ(fixedpool_cache_alloc_many(cache, first, 100), 100);
    CHECK_EQ(fixedpool_cache_free_many(cache, first, 100), 100);
    CHECK(stats().cached >= 100);
    CHECK_EQ(fixedpool_cache_alloc_many(cache, first, 8), 8);
    CHECK_EQ(fixedpool_cache_free_many(cache, first, 8), 8);
    CHECK_EQ(fixedpool_cache_alloc_many(cache, again, 8), 8);
    CHECK(memcmp(first, again, sizeof again) == 0);
    CHECK_EQ(fixedpool_cache_free_many(cache, again, 8), 8);
    fixedpool_cache_close(cache);
    end();
}

/* Two frees of one lease, by the cache and by another thread at one moment, may both succeed. Then
 * the frame is marked as returned while it is idle in the cache, and must not be lent so. */
static void a_frame_that_came_back_twice(void)
{
    int frames[16];

    make(256);
    fixedpool_cache *cache = fixedpool_cache_open(pool);
    CHECK_EQ(fixedpool_cache_alloc_many(cache, frames, 16), 16);
    CHECK_EQ(fixedpool_cache_free_many(cache, frames, 16), 16);
    uint32_t frame = (uint32_t)frames[3];
    atomic_fetch_or(&pool->groups[frame >> 4].shared, UINT64_C(1) << (16 + frame % 16));
    CHECK_EQ(fixedpool_cache_alloc_many(cache, frames, 16), 16);
    for (int i = 0; i < 16; i++)
        if (frames[i] == (int)frame)
            CHECK(!(fixedpool__returned(pool->groups[frame >> 4].shared) & 1u << frame % 16));
    CHECK_EQ(stats().leased, 16);
    CHECK_EQ(fixedpool_free_many(pool, frames, 16), 16);
    fixedpool_cache_close(cache);
    CHECK_EQ(stats().leased, 0);
    end();
}

/* ---- A storm ---- */

enum { THREADS = 3, ROUNDS = 4000, SMALL = 40 };

static atomic_int owner[SMALL];

static void *worker(void *argument)
{
    uint64_t         seed  = (uintptr_t)argument;
    fixedpool_cache *cache = fixedpool_cache_open(pool);
    int              me    = (int)seed, frames[24];

    for (int round = 0; round < ROUNDS; round++) {
        uint32_t want = 1 + (uint32_t)(check_random(&seed) % 24);
        uint32_t got  = fixedpool_cache_alloc_many(cache, frames, want);
        for (uint32_t i = 0; i < got; i++) CHECK_EQ(atomic_exchange(&owner[frames[i]], me), 0);
        if (round % 16 == 0) sched_yield();
        for (uint32_t i = 0; i < got; i++) CHECK_EQ(atomic_exchange(&owner[frames[i]], 0), me);
        uint32_t part = got ? (uint32_t)(check_random(&seed) % got) : 0;
        CHECK_EQ(fixedpool_cache_free_many(cache, frames, part), part);
        CHECK_EQ(round % 2 ? fixedpool_free_many(pool, frames + part, got - part)
                           : fixedpool_cache_free_many(cache, frames + part, got - part),
                 got - part);
    }
    fixedpool_cache_close(cache);
    return NULL;
}

static void frames_have_one_owner(void)
{
    pthread_t threads[THREADS];

    make(SMALL);
    for (uintptr_t i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, worker, (void *)(i + 1));
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    CHECK_EQ(stats().leased, 0);
    int all[SMALL];
    CHECK_EQ(fixedpool_alloc_many(pool, all, SMALL), SMALL);
    CHECK_EQ(fixedpool_free_many(pool, all, SMALL), SMALL);
    end();
}

/* A sleeper hears of frames that a cache frees by a call for many. */
static void *sleeper(void *unused)
{
    int frame = fixedpool_alloc_wait(pool, -1);
    CHECK(frame >= 0);
    CHECK_EQ(fixedpool_free(pool, frame), 0);
    return unused;
}

static void each_of_many_sleepers_is_woken(void)
{
    pthread_t threads[4];
    int       frames[4];

    make(4);
    fixedpool_cache *cache = fixedpool_cache_open(pool);
    CHECK_EQ(fixedpool_cache_alloc_many(cache, frames, 4), 4);
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, sleeper, NULL);
    while (atomic_load(&pool->sleepers) < 4) sched_yield();
    CHECK_EQ(fixedpool_cache_free_many(cache, frames, 4), 4);
    CHECK_EQ(atomic_load(&woken), 4);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    fixedpool_cache_close(cache);
    end();
}

int main(void)
{
    RUN(every_count);
    RUN(any_frames_in_any_order);
    RUN(a_cache_keeps_its_frames);
    RUN(a_frame_that_came_back_twice);
    RUN(frames_have_one_owner);
    RUN(each_of_many_sleepers_is_woken);
    return REPORT();
}
