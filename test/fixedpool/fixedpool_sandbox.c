/* Goal: a program may enter a sandbox after it created its pool: what a filter of system calls then
 * refuses loses no frame, gives none to two, and makes no thread spin or sleep for ever. Method:
 * real filters (seccomp), for all threads or for one of them, installed while caches hold idle and
 * leased frames; each test in a child, since a filter stays. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FIXEDPOOL_IMPLEMENTATION
#include "../../fixedpool.h"

#include "../check.h"

/* ---- Filters ---- */

enum { ALL_THREADS = 1, NO_FILTERS = 77 };

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
enum { FIRST_ARGUMENT = 20 }; /* its lower half */
#else
enum { FIRST_ARGUMENT = 16 };
#endif

struct instruction {
    uint16_t code;
    uint8_t  if_true, if_false;
    uint32_t k;
};

/* From now on a system call fails with EPERM, in this thread or in all; word: only if that is the
 * first argument. */
static void refuse(long number, const void *word, long flags)
{
    const struct instruction filter[] = {{0x20, 0, 0, 0}, /* the number of the call */
                                         {0x15, word ? 1 : 4, 0, (uint32_t)number},
                                         {0x05, 0, 0, 2}, /* another: allowed */
                                         {0x20, 0, 0, FIRST_ARGUMENT},
                                         {0x15, 1, 0, (uint32_t)(uintptr_t)word},
                                         {0x06, 0, 0, 0x7fff0000u},
                                         {0x06, 0, 0, 0x00050000u | EPERM}};
    const struct {
        unsigned short            count;
        const struct instruction *filter;
    } program = {sizeof filter / sizeof *filter, filter};

    fflush(stdout);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        syscall(SYS_seccomp, 1, flags, &program) != 0)
        _exit(NO_FILTERS);
}

static void in_a_child(void (*body)(void))
{
    int status;

    fflush(stdout);
    pid_t child = check_fork();
    if (child == 0) {
        body();
        fflush(stdout);
        _exit(atomic_load(&check_failures) != 0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == NO_FILTERS)
        check_skip("no filters of system calls here");
    else CHECK_EQ(status, 0);
}

/* ---- The pool ---- */

enum { FRAMES = 96, THREADS = 3 };

static fixedpool  *pool;
static atomic_uint holders[FRAMES]; /* of each frame: 0 or 1 */
static atomic_bool stop;

static void make(uint32_t count)
{
    CHECK_EQ(fixedpool_create(&pool, &(fixedpool_config){4096, count, 0}), 0);
    if (!pool) exit(1);
}

static void end(void)
{
    CHECK_EQ(fixedpool_destroy(pool), 0);
    pool = NULL;
}

static struct fixedpool_info info(void)
{
    struct fixedpool_info now;
    fixedpool_stats(pool, &now);
    return now;
}

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int hold(int frame)
{
    if (frame >= 0) CHECK_EQ(atomic_fetch_add(&holders[frame], 1), 0);
    return frame;
}

static int let_go(int frame)
{
    CHECK_EQ(atomic_fetch_sub(&holders[frame], 1), 1);
    return frame;
}

/* Leases as many as there are, without a cache, and frees them. */
static void there_are(int count)
{
    int frames[FRAMES], got = 0;

    while (got < FRAMES && (frames[got] = hold(fixedpool_alloc(pool))) >= 0) got++;
    CHECK_EQ(got, count);
    while (got > 0) CHECK_EQ(fixedpool_free(pool, let_go(frames[--got])), 0);
}

/* ---- membarrier ---- */

struct owner {
    pthread_t thread;
    int       leased[20];
};

static pthread_barrier_t turn, owners_only;

/* Holds 20 leased frames and as many idle ones in a cache, and sleeps while others come by. */
static void *own(void *arg)
{
    struct owner    *self  = arg;
    fixedpool_cache *cache = fixedpool_cache_open(pool);
    int              more[12];

    for (int i = 0; i < 20; i++) self->leased[i] = hold(fixedpool_cache_alloc(cache));
    for (int i = 0; i < 12; i++) more[i] = hold(fixedpool_cache_alloc(cache));
    for (int i = 0; i < 12; i++) CHECK_EQ(fixedpool_cache_free(cache, let_go(more[i])), 0);
    pthread_barrier_wait(&turn);
    pthread_barrier_wait(&turn); /* main looks for frames here */
    for (int i = 0; i < 10; i++) {
        int frame = self->leased[i];
        CHECK_EQ(fixedpool_cache_free(cache, let_go(frame)), 0);
        CHECK_EQ(fixedpool_cache_free(cache, frame), -EALREADY);
    }
    /* Nobody leases before all have freed twice: the groups are everybody's now, and a second free
     * of a frame that another thread has leased ends that lease. */
    pthread_barrier_wait(&owners_only);
    for (int i = 0; i < 10; i++) self->leased[i] = hold(fixedpool_cache_alloc(cache));
    pthread_barrier_wait(&turn);
    pthread_barrier_wait(&turn); /* main frees what is leased here */
    int frame = hold(fixedpool_cache_alloc(cache));
    CHECK(frame >= 0);
    CHECK_EQ(fixedpool_cache_free(cache, let_go(frame)), 0);
    fixedpool_cache_close(cache);
    return NULL;
}

/* Frames that sleepers' caches have idle are found, and what they have leased stays leased. */
static void idle_and_leased_frames(void)
{
    struct owner owners[THREADS];

    make(FRAMES);
    pthread_barrier_init(&turn, NULL, THREADS + 1);
    pthread_barrier_init(&owners_only, NULL, THREADS);
    for (int i = 0; i < THREADS; i++) pthread_create(&owners[i].thread, NULL, own, &owners[i]);
    pthread_barrier_wait(&turn);
    CHECK_EQ(info().leased, THREADS * 20);
    CHECK(info().cached > 0);
    refuse(SYS_membarrier, NULL, ALL_THREADS);
    there_are(FRAMES - THREADS * 20);
    double start = seconds(CLOCK_MONOTONIC);
    for (int i = 0; i < 50; i++) there_are(FRAMES - THREADS * 20);
    CHECK(seconds(CLOCK_MONOTONIC) - start < 0.5); /* it pauses no more */
    pthread_barrier_wait(&turn);
    pthread_barrier_wait(&turn);
    CHECK_EQ(info().leased, THREADS * 20);
    CHECK_EQ(info().cached, 0);
    for (int t = 0; t < THREADS; t++)
        for (int i = 0; i < 20; i++)
            CHECK_EQ(fixedpool_free(pool, let_go(owners[t].leased[i])), 0);
    pthread_barrier_wait(&turn);
    for (int i = 0; i < THREADS; i++) pthread_join(owners[i].thread, NULL);
    CHECK_EQ(info().leased, 0);
    there_are(FRAMES);
    end();
}

/* A cache of the thread that looks. */
static void one_thread_alone(void)
{
    make(16);
    fixedpool_cache *cache  = fixedpool_cache_open(pool);
    int              leased = hold(fixedpool_cache_alloc(cache));
    int              idle   = fixedpool_cache_alloc(cache);

    CHECK_EQ(fixedpool_cache_free(cache, idle), 0);
    refuse(SYS_membarrier, NULL, 0);
    there_are(15);
    CHECK_EQ(fixedpool_cache_free(cache, let_go(leased)), 0);
    there_are(16);
    CHECK(hold(fixedpool_cache_alloc(cache)) >= 0);
    there_are(15);
    fixedpool_cache_close(cache);
    there_are(15);
    CHECK_EQ(info().leased, 1);
}

static bool one_is_filtered;

/* Leases and frees in all ways, and runs out again and again, so that others' caches are searched.
 * The first of them gets a filter for itself, if one is to. */
static void *storm(void *arg)
{
    uint64_t         random = (uintptr_t)arg;
    fixedpool_cache *cache  = fixedpool_cache_open(pool);
    int              mine[FRAMES], count = 0;
    bool             filtered = !one_is_filtered || random > 1;

    for (uint32_t round = 0; !atomic_load(&stop); round++) {
        uint64_t r = check_random(&random);
        if (!filtered && round == 20000) {
            refuse(SYS_membarrier, NULL, 0);
            filtered = true;
        }
        if (r % 16 < 9) {
            int frame = hold(r & 64 ? fixedpool_alloc(pool) : fixedpool_cache_alloc(cache));
            if (frame >= 0) mine[count++] = frame;
        } else if (count > 0) {
            int frame = let_go(mine[--count]);
            CHECK_EQ(r & 64 ? fixedpool_free(pool, frame) : fixedpool_cache_free(cache, frame), 0);
        }
    }
    while (count > 0) CHECK_EQ(fixedpool_cache_free(cache, let_go(mine[--count])), 0);
    fixedpool_cache_close(cache);
    return NULL;
}

static void in_the_middle_of_a_storm(void)
{
    pthread_t threads[THREADS];

    make(40);
    for (uintptr_t i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, storm, (void *)(i + 1));
    usleep(50000);
    if (!one_is_filtered) refuse(SYS_membarrier, NULL, ALL_THREADS);
    usleep(200000);
    atomic_store(&stop, true);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    CHECK_EQ(info().leased, 0);
    there_are(40);
    end();
}

static void no_membarrier(void) { in_a_child(idle_and_leased_frames); }
static void no_membarrier_in_one_thread(void) { in_a_child(one_thread_alone); }
static void no_membarrier_any_more(void)
{
    for (int i = 0; i < 3; i++) in_a_child(in_the_middle_of_a_storm);
}
static void no_membarrier_in_one_of_many(void)
{
    one_is_filtered = true;
    for (int i = 0; i < 3; i++) in_a_child(in_the_middle_of_a_storm);
    one_is_filtered = false;
}

/* ---- Clocks and futexes ---- */

static double worked; /* processor time of a waiter */
static int    waited; /* its result */

static void *wait_for_a_frame(void *timeout)
{
    waited = fixedpool_alloc_wait(pool, *(const int64_t *)timeout);
    worked = seconds(CLOCK_THREAD_CPUTIME_ID);
    return NULL;
}

static void times_out(void)
{
    double start = seconds(CLOCK_MONOTONIC);

    CHECK_EQ(fixedpool_alloc_wait(pool, 100000000), -ETIMEDOUT);
    CHECK(seconds(CLOCK_MONOTONIC) - start >= 0.1);
    CHECK(seconds(CLOCK_MONOTONIC) - start < 4);
}

static void a_timeout_without_the_call(void)
{
    make(1);
    CHECK_EQ(fixedpool_alloc(pool), 0);
    refuse(SYS_clock_gettime, NULL, 0);
    times_out();
    CHECK_EQ(fixedpool_free(pool, 0), 0);
    end();
}

/* A thread waits for ever, and another one frees after 0.3 s. flags: whose futexes are refused, and
 * it is before the wait; or -1: the freeing thread's, while the other one sleeps. */
static void comes_in_the_end(long flags)
{
    static const int64_t for_ever = -1;
    pthread_t            waiter;

    make(1);
    CHECK_EQ(fixedpool_alloc(pool), 0);
    if (flags >= 0) {
        refuse(SYS_futex, &pool->events, flags);
        times_out();
    }
    pthread_create(&waiter, NULL, wait_for_a_frame, (void *)(uintptr_t)&for_ever);
    usleep(300000);
    if (flags < 0) refuse(SYS_futex, &pool->events, 0);
    CHECK_EQ(fixedpool_free(pool, 0), 0);
    pthread_join(waiter, NULL);
    CHECK_EQ(waited, 0);
    CHECK(worked < 0.1); /* and not 0.3 */
    CHECK_EQ(fixedpool_free(pool, 0), 0);
    end();
}

static void futexes_of_all(void) { comes_in_the_end(ALL_THREADS); }
static void futexes_of_the_one_that_frees(void) { comes_in_the_end(-1); }

static void neither_futex_nor_sleep(void)
{
    make(1);
    CHECK_EQ(fixedpool_alloc(pool), 0);
    refuse(SYS_futex, &pool->events, 0);
    refuse(SYS_nanosleep, NULL, 0);
    refuse(SYS_clock_nanosleep, NULL, 0);
    CHECK_EQ(fixedpool_alloc_wait(pool, -1), -EPERM);
    CHECK_EQ(fixedpool_alloc_wait(pool, 100000000), -EPERM);
    CHECK_EQ(fixedpool_free(pool, 0), 0);
    CHECK_EQ(fixedpool_alloc_wait(pool, -1), 0);
    CHECK_EQ(fixedpool_free(pool, 0), 0);
    end();
}

static void a_pool_that_a_child_would_inherit(void)
{
    make(4);
    CHECK_EQ(info().inherited, 0);
    end();
    refuse(SYS_madvise, NULL, ALL_THREADS);
    make(4);
    CHECK_EQ(info().inherited, 1);
    int frame = fixedpool_alloc(pool);
    CHECK(frame >= 0);
    memset(fixedpool_ptr(pool, frame), 1, 4096);
    CHECK_EQ(fixedpool_free(pool, frame), 0);
    end();
}

static void no_madvise(void) { in_a_child(a_pool_that_a_child_would_inherit); }
static void no_clock(void) { in_a_child(a_timeout_without_the_call); }
static void no_futex(void) { in_a_child(futexes_of_all); }
static void no_futex_to_wake_by(void) { in_a_child(futexes_of_the_one_that_frees); }
static void no_sleep(void) { in_a_child(neither_futex_nor_sleep); }

int main(void)
{
    RUN(no_membarrier);
    RUN(no_membarrier_in_one_thread);
    RUN(no_membarrier_any_more);
    RUN(no_membarrier_in_one_of_many);
    RUN(no_madvise);
    RUN(no_clock);
    RUN(no_futex);
    RUN(no_futex_to_wake_by);
    RUN(no_sleep);
    return REPORT();
}
