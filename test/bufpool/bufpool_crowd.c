/* Goal:   show that bufpool.h serves many caches, threads and processors as it serves few; and that
 *         no call fails, misleads or waits for long because other threads are where they are.
 * Method: a machine of 192 processors is pretended, by the only call that tells their number.
 *         Costs are ratios within one run. A limit of address space, real-time threads and threads
 *         that get hardly any time are the kernel's own.
 * Usage:  bufpool_crowd [CACHES]    1,000 caches take a second; without, some */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long pretended; /* 0: as many as there are */

static long test_sysconf(int name)
{
    return name == _SC_NPROCESSORS_ONLN && pretended > 0 ? pretended : sysconf(name);
}
#define sysconf(name) test_sysconf(name)
#define BUFPOOL_IMPLEMENTATION
#include "../../bufpool.h"
#undef sysconf

#include "../check.h"

#if defined __SANITIZE_THREAD__
#define THREAD_SANITIZER
#elif defined __has_feature
#if __has_feature(thread_sanitizer)
#define THREAD_SANITIZER
#endif
#endif

enum { MOST = 4096 };

static bufpool       *pool;
static bufpool_cache *crowd[MOST];
static int            caches = 200;

static void make(bufpool_config config)
{
    CHECK_EQ(bufpool_create(&pool, &config), 0);
    if (!pool) exit(1);
}

static void end(void)
{
    struct bufpool_info info;
    bufpool_stats(pool, &info);
    CHECK_EQ(info.live_bytes, 0);
    CHECK_EQ(info.live_buffers, 0);
    CHECK_EQ(bufpool_destroy(pool), 0);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void open_caches(int from, int to)
{
    for (int i = from; i < to; i++) CHECK((crowd[i] = bufpool_cache_open(pool)) != NULL);
}

/* ---- What a pair costs ---- */

/* Returns the least of some measurements, in ns: a group of buffers acquired and released. */
static double pair_costs(bufpool_cache *cache, size_t size, bufpool_tenant *tenant)
{
    double least = 1;

    for (int tries = 0; tries < 20; tries++) {
        double begin = now();
        for (int i = 0; i < 1000; i++) {
            bufpool_buf *bufs[4];
            for (int j = 0; j < 4; j++) bufs[j] = bufpool_cache_acquire(cache, size, tenant);
            for (int j = 0; j < 4; j++) (void)bufpool_cache_release(cache, bufs[j]);
        }
        double took = now() - begin;
        if (took < least) least = took;
        check_progress();
    }
    return least / 4000 * 1e9;
}

/* A pair in a cache costs the same, whether it is the only one or one of a crowd: the first of them
 * and the last. */
static void a_pair_costs_the_same_in_a_crowd(void)
{
    static const size_t sizes[] = {4096, 64 << 10};

    for (int size = 0; size < 2; size++) {
        pretended = 192;
        make((bufpool_config){0});
        open_caches(0, 1);
        double alone = pair_costs(crowd[0], sizes[size], NULL), worst = 0;
        open_caches(1, caches);
        for (int i = 0; i < caches; i += caches - 1) {
            double one = pair_costs(crowd[i], sizes[size], NULL);
            if (one > worst) worst = one;
        }
        printf("# a pair of %zu bytes: %.1f ns with one cache, %.1f with %d\n", sizes[size], alone,
               worst, caches);
        CHECK(worst < 3 * alone); /* 48 ns and 4.6, were it shared out */
        for (int i = 0; i < caches; i++) bufpool_cache_close(crowd[i]);
        end();
    }
}

/* ---- Accounts in a crowd ---- */

static void all_accounts_are_exact(void)
{
    enum { TENANTS = 300 };
    static bufpool_tenant *tenants[TENANTS];
    static bufpool_buf    *bufs[MOST];

    pretended = 192;
    make((bufpool_config){.tenant_soft_limit = 1000});
    open_caches(0, caches);
    for (int i = 0; i < TENANTS; i++) {
        char name[16];
        int  len   = snprintf(name, sizeof name, "%d", i);
        tenants[i] = bufpool_tenant_get(pool, name, (size_t)len);
    }
    for (int round = 0; round < 3; round++) {
        uint64_t sum = 0;
        for (int i = 0; i < caches; i++)
            bufs[i] =
                bufpool_cache_acquire(crowd[i], (size_t)i, tenants[i * (round + 1) % TENANTS]);
        for (int i = 0; i < TENANTS; i++) {
            struct bufpool_tenant_info info;
            uint64_t                   want = 0;
            for (int j = 0; j < caches; j++)
                if (j * (round + 1) % TENANTS == i) want += (uint64_t)j;
            bufpool_tenant_stats(tenants[i], &info);
            CHECK_EQ(info.live_bytes, want);
            sum += want;
        }
        struct bufpool_info info;
        bufpool_stats(pool, &info);
        CHECK_EQ(info.live_bytes, sum);
        for (int i = 0; i < caches; i++)
            CHECK_EQ(bufpool_cache_release(crowd[(i + 7) % caches], bufs[i]), 0);
    }
    for (int i = 0; i < caches; i++) bufpool_cache_close(crowd[i]);
    end();
}

/* As many threads as a large machine runs, without caches: each shard is somebody's. */
static void *use_shards(void *unused)
{
    for (int i = 0; i < 200; i++) {
        bufpool_buf *buf = bufpool_acquire(pool, 100, NULL);
        CHECK(buf != NULL);
        CHECK_EQ(bufpool_release(buf), 0);
    }
    return unused;
}

static void two_shards_for_each_processor(void)
{
    enum { THREADS = 64 };
    pthread_t threads[THREADS];

    pretended = 192;
    make((bufpool_config){0});
    CHECK_EQ(pool->shard_count, 384);
    for (int i = 0; i < THREADS; i++) CHECK_EQ(pthread_create(&threads[i], NULL, use_shards, 0), 0);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    uint32_t used = 0;
    for (uint32_t i = 0; i < pool->shard_count; i++) used += pool->shards[i].stacks[0].released > 0;
    CHECK(used >= THREADS); /* each thread has one of its own */
    end();
}

/* ---- Idle memory that another thread is about to use ---- */

enum { HOLDERS = 4 };

/* Each thread has one buffer at most, and there is one for each: none is refused. */
static void *use_one_at_a_time(void *unused)
{
    bufpool_cache *cache = bufpool_cache_open(pool);

    for (int i = 0; i < 20000; i++) {
        bool         cached = i / 64 % 2;
        bufpool_buf *buf =
            cached ? bufpool_cache_acquire(cache, 60000, NULL) : bufpool_acquire(pool, 60000, NULL);
        CHECK(buf != NULL);
        if (!buf) break;
        CHECK_EQ(i % 3 ? bufpool_release(buf) : bufpool_cache_release(cache, buf), 0);
    }
    bufpool_cache_close(cache);
    return unused;
}

static int hold_all_that_there_is(void)
{
    pthread_t    threads[HOLDERS];
    bufpool_buf *bufs[HOLDERS];

    make((bufpool_config){0});
    for (int i = 0; i < HOLDERS; i++) bufs[i] = bufpool_acquire(pool, 60000, NULL);
    for (int i = 0; i < HOLDERS; i++) pthread_create(&threads[i], NULL, use_shards, NULL);
    for (int i = 0; i < HOLDERS; i++) pthread_join(threads[i], NULL); /* they have their stacks */
    open_caches(0, HOLDERS);
    for (int i = 0; i < HOLDERS; i++) bufpool_cache_close(crowd[i]); /* and their caches */
    struct rlimit none  = {0, 0};
    bool          spare = pool->spare[BUFPOOL_MEDIUM] != NULL;
    if (setrlimit(RLIMIT_AS, &none) != 0) return 1;
    while (spare && pool->spare[BUFPOOL_MEDIUM]) /* so that none but these are left */
        (void)bufpool__spare_take(pool, BUFPOOL_MEDIUM, NULL);
    for (int i = 0; i < HOLDERS; i++) CHECK_EQ(bufpool_release(bufs[i]), 0);
    for (int i = 0; i < HOLDERS; i++)
        if (pthread_create(&threads[i], NULL, use_one_at_a_time, NULL) != 0) return 77;
    for (int i = 0; i < HOLDERS; i++) pthread_join(threads[i], NULL);
    return check_failures > 0;
}

static void idle_memory_is_found(void)
{
#if defined BUFPOOL__POISONS || defined THREAD_SANITIZER
    check_skip("a sanitizer needs address space of its own");
    return;
#endif
    int   status = 0;
    pid_t child  = fork();

    if (child == 0) {
        check_failures = 0;
        _exit(hold_all_that_there_is());
    }
    CHECK(waitpid(child, &status, 0) == child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) check_skip("no threads under this limit");
    else CHECK_EQ(status, 0);
}

/* ---- Gauges ---- */

enum { CHURNERS = 4, EACH = 200000 };
static atomic_bool stop;

static void on_one_processor(void)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    (void)sched_setaffinity(0, sizeof one, &one);
}

/* Each time that it wakes it interrupts the thread that reads. */
static void *hold_and_sleep(void *tenant)
{
    on_one_processor();
    while (!stop) {
        bufpool_buf *buf = bufpool_acquire(pool, EACH, tenant);
        usleep(10);
        CHECK_EQ(bufpool_release(buf), 0);
    }
    return NULL;
}

static void *read_gauges(void *tenant)
{
    struct sched_param none = {0};
    uint64_t           most = 0, most_of_tenant = 0;

    on_one_processor();
    CHECK_EQ(pthread_setschedparam(pthread_self(), SCHED_IDLE, &none), 0);
    for (double until = now() + 0.15; now() < until;) {
        struct bufpool_info        info;
        struct bufpool_tenant_info bill;
        bufpool_stats(pool, &info);
        bufpool_tenant_stats(tenant, &bill);
        if (info.live_bytes > most) most = info.live_bytes;
        if (bill.live_bytes > most_of_tenant) most_of_tenant = bill.live_bytes;
        check_progress();
    }
    CHECK(most <= CHURNERS * EACH);
    CHECK(most_of_tenant <= CHURNERS * EACH);
    return NULL;
}

/* A thread that is preempted while it reads says no more than what was live together. */
static void a_gauge_of_a_preempted_thread(void)
{
    pthread_t threads[CHURNERS], reader;

    pretended = 0;
    make((bufpool_config){0});
    bufpool_tenant *tenant = bufpool_tenant_get(pool, "a", 1);
    stop                   = false;
    for (int i = 0; i < CHURNERS; i++) pthread_create(&threads[i], NULL, hold_and_sleep, tenant);
    CHECK_EQ(pthread_create(&reader, NULL, read_gauges, tenant), 0);
    pthread_join(reader, NULL);
    stop = true;
    for (int i = 0; i < CHURNERS; i++) pthread_join(threads[i], NULL);
    end();
}

/* ---- Real-time threads ---- */

static atomic_int turn; /* 1: the lock is held; 2: somebody waits for it */

/* Holds a lock while a real-time thread on the same processor begins to wait for it. */
static void *hold_the_lock(void *lock)
{
    on_one_processor();
    bufpool__lock(lock);
    turn = 1;
    while (turn != 2) continue;
    for (double until = now() + 0.002; now() < until;) continue;
    bufpool__unlock(lock);
    return NULL;
}

static double waited;

static void *wait_in_real_time(void *unused)
{
    struct sched_param high = {.sched_priority = 1};

    on_one_processor();
    while (turn != 1) usleep(100);
    if (pthread_setschedparam(pthread_self(), SCHED_FIFO, &high) != 0) {
        waited = -1;
        turn   = 2;
        return unused;
    }
    turn         = 2;
    double begin = now();
    bufpool_cache_close(bufpool_cache_open(pool));
    waited = now() - begin;
    return unused;
}

static void a_real_time_thread_sleeps_for_a_lock(void)
{
    pthread_t holder, waiter;

    make((bufpool_config){0});
    turn = 0;
    pthread_create(&holder, NULL, hold_the_lock, &pool->lock);
    pthread_create(&waiter, NULL, wait_in_real_time, NULL);
    pthread_join(holder, NULL);
    pthread_join(waiter, NULL);
    if (waited < 0) check_skip("no real-time threads for this user");
    CHECK(waited < 0.3); /* the kernel stops a thread that spins after 0.95 s */
    end();
}

int main(int argc, char **argv)
{
    if (argc > 1) caches = atoi(argv[1]);
    if (caches < 2 || caches > MOST) return 2;
    RUN(a_pair_costs_the_same_in_a_crowd);
    RUN(all_accounts_are_exact);
    RUN(two_shards_for_each_processor);
    RUN(idle_memory_is_found);
    RUN(a_gauge_of_a_preempted_thread);
    RUN(a_real_time_thread_sleeps_for_a_lock);
    return REPORT();
}
