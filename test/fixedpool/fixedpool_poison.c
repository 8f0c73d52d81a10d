/* Goal: under AddressSanitizer and under Valgrind, a write to a frame that is nobody's is reported
 * where it happens, however the frame was freed, and a rightful one never is.
 * Method: do it and see. AddressSanitizer ends the process, so each access is tried in a child, for
 * which its page is let through the fork; Valgrind, for which this is compiled with WITH_VALGRIND,
 * counts. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef WITH_VALGRIND
#include <valgrind/memcheck.h>
#endif

#if defined __SANITIZE_ADDRESS__ || (defined __clang__ && !defined WITH_VALGRIND)
/* A thread that is slow to poison: what it does late must not hit the next lease. */
#include <sanitizer/asan_interface.h>
static void slow_poison(const volatile void *memory, size_t size);
#define __asan_poison_memory_region(memory, size) slow_poison(memory, size)
#define SLOW_POISON

/* Nobody reads the reports; to find the lines for them takes longer than all the rest. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "symbolize=0"; }
#endif

#define FIXEDPOOL_IMPLEMENTATION
#include "../../fixedpool.h"

#include "../check.h"

enum { SIZE = 8192, COUNT = 40 };

#ifdef WITH_VALGRIND
static bool watched(void) { return RUNNING_ON_VALGRIND != 0; }
static bool reported(volatile unsigned char *at)
{
    unsigned before = (unsigned)VALGRIND_COUNT_ERRORS;
    *at             = 1;
    return (unsigned)VALGRIND_COUNT_ERRORS != before;
}
#else
static bool watched(void)
{
#ifdef FIXEDPOOL__ASAN
    return true;
#else
    return false;
#endif
}
static bool reported(volatile unsigned char *at)
{
    size_t page   = (size_t)sysconf(_SC_PAGESIZE);
    void  *start  = (void *)((uintptr_t)at / page * page);
    int    status = 0;

    fflush(stdout);
    madvise(start, page, MADV_DOFORK);
    if (fork() == 0) {
        if (!freopen("/dev/null", "w", stderr)) _exit(0);
        *at = 1;
        _exit(0);
    }
    wait(&status);
    madvise(start, page, MADV_DONTFORK);
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}
#endif

#ifdef SLOW_POISON
#undef __asan_poison_memory_region
static _Thread_local int slow; /* microseconds */
static void              slow_poison(const volatile void *memory, size_t size)
{
    if (slow) usleep((useconds_t)slow);
    __asan_poison_memory_region(memory, size);
}
#else
static int slow;
#endif

static fixedpool       *pool;
static fixedpool_cache *cache, *other;

static void setup(uint32_t flags)
{
    fixedpool_config config = {SIZE, COUNT, flags};
    CHECK_EQ(fixedpool_create(&pool, &config), 0);
    cache = fixedpool_cache_open(pool);
    other = fixedpool_cache_open(pool);
    if (!pool || !cache || !other) exit(1);
}

static void teardown(void)
{
    fixedpool_cache_close(cache);
    fixedpool_cache_close(other);
    CHECK_EQ(fixedpool_destroy(pool), 0);
}

enum { LEASES = 5, FREES = 4 };

static int lease(int way)
{
    int one, frame;
    if (way == 0) frame = fixedpool_alloc(pool);
    else if (way == 1) frame = fixedpool_alloc_many(pool, &one, 1) ? one : -ENOBUFS;
    else if (way == 2) frame = fixedpool_alloc_wait(pool, -1);
    else frame = fixedpool_cache_alloc(way == 3 ? cache : other);
    CHECK(frame >= 0);
    return frame;
}

static int give_back(int way, int frame)
{
    if (way == 0) return fixedpool_free(pool, frame);
    if (way == 1) return fixedpool_free_many(pool, &frame, 1) ? 0 : -EALREADY;
    return fixedpool_cache_free(way == 2 ? cache : other, frame);
}

static unsigned char *end_of(int frame)
{
    return (unsigned char *)fixedpool_ptr(pool, frame) + SIZE - 1;
}

static void an_idle_frame_is_nobodys(void)
{
    for (uint32_t flags = 0; flags < 4; flags++) {
        setup(flags);
        for (int frame = 0; frame < COUNT; frame += 13) {
            CHECK(reported(fixedpool_ptr(pool, frame)));
            CHECK(reported(end_of(frame)));
        }
        teardown();
    }
}

static void a_frame_is_ours_until_we_free_it(void)
{
    setup(0);
    for (int way = 0; way < LEASES * FREES; way++) {
        int            frame = lease(way % LEASES);
        unsigned char *at    = fixedpool_ptr(pool, frame);
        CHECK(!reported(at) && !reported(end_of(frame)));
        if (frame + 1 < COUNT) CHECK(reported(end_of(frame) + 1)); /* the neighbour's */
        memset(at, way, SIZE);
        CHECK_EQ(give_back(way / LEASES, frame), 0);
        CHECK(reported(at) && reported(end_of(frame)));
        CHECK_EQ(give_back(way % FREES, frame), -EALREADY); /* changes nothing */
        CHECK(reported(at));
    }
    teardown();
}

static void many_are_ours_until_we_free_them(void)
{
    int frames[COUNT];

    setup(0);
    CHECK_EQ(fixedpool_alloc_many(pool, frames, COUNT), COUNT);
    for (uint32_t i = 0; i < COUNT; i++) memset(fixedpool_ptr(pool, frames[i]), 1, SIZE);
    CHECK(!reported(end_of(0)) && !reported(end_of(COUNT - 1)));
    CHECK_EQ(fixedpool_free_many(pool, frames, COUNT / 2), COUNT / 2);
    for (uint32_t i = 0; i < COUNT; i += 3)
        CHECK_EQ(reported(fixedpool_ptr(pool, frames[i])), i < COUNT / 2);
    CHECK_EQ(fixedpool_free_many(pool, frames, COUNT), COUNT - COUNT / 2);
    for (uint32_t i = 0; i < COUNT; i += 3) CHECK(reported(fixedpool_ptr(pool, frames[i])));
    teardown();
}

/* What lies idle in a cache is hidden, and shown to the thread that takes it. */
static void a_cached_frame_is_nobodys(void)
{
    setup(0);
    for (int round = 0; round < 3; round++) {
        int            frame = lease(3);
        unsigned char *at    = fixedpool_ptr(pool, frame);
        give_back(2, frame);
        CHECK(reported(at));
        if (round == 1) fixedpool_cache_close(cache);
        if (round == 1) CHECK(reported(at));
        if (round == 1) cache = fixedpool_cache_open(pool);
        for (int i = 0; i < COUNT; i++) *end_of(lease(round == 2 ? 4 : 0)) = 1;
        CHECK(!reported(at));
        for (int i = 0; i < COUNT; i++) CHECK_EQ(give_back(round, i), 0);
        CHECK(reported(at));
    }
    teardown();
}

/* Zeros, or what was left: reading it before the first write is no error. */
static void a_leased_frame_may_be_read(void)
{
    setup(0);
#ifdef WITH_VALGRIND
    unsigned before = (unsigned)VALGRIND_COUNT_ERRORS;
#endif
    for (int way = 0; way < LEASES; way++) {
        int                           frame = lease(way);
        const volatile unsigned char *at    = fixedpool_ptr(pool, frame);
        if (at[0] != 0) CHECK(at[0] == 7);
        if (at[SIZE - 1] != 0) CHECK(at[SIZE - 1] == 7);
        memset(fixedpool_ptr(pool, frame), 7, SIZE);
        CHECK_EQ(give_back(way % FREES, frame), 0);
    }
#ifdef WITH_VALGRIND
    CHECK_EQ(VALGRIND_COUNT_ERRORS, before);
#endif
    teardown();
}

static void the_memory_is_anybodys_again(void)
{
    setup(0);
    unsigned char *at = fixedpool_ptr(pool, 0);
    teardown();
    unsigned char *again =
        mmap(at, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    CHECK(again == at);
    CHECK(!reported(again) && !reported(again + SIZE - 1));
    munmap(again, SIZE);
}

#ifndef WITH_VALGRIND
static void a_cache_is_closed_once(void)
{
    int status = 0;

    setup(0);
    fflush(stdout);
    if (fork() == 0) {
        if (!freopen("/dev/null", "w", stderr)) _exit(0);
        fixedpool_cache_close(cache);
        fixedpool_cache_close(cache);
        _exit(0);
    }
    wait(&status);
    CHECK(!WIFEXITED(status) || WEXITSTATUS(status) != 0);
    teardown();
}
#endif

/* ---- A late hand ---- */

static _Atomic(int) cell; /* frame + 1; 0: none; -1: over */
static int          how;

static void *free_for_ever(void *unused)
{
    fixedpool_cache *mine = fixedpool_cache_open(pool);

    slow = 20;
    for (int frame; (frame = atomic_load(&cell)) != -1; sched_yield()) {
        if (frame == 0 || !atomic_compare_exchange_strong(&cell, &frame, 0)) continue;
        int result = how == 2 ? fixedpool_cache_free(mine, frame - 1)
                              : give_back(how, frame - 1);
        CHECK_EQ(result, 0);
    }
    fixedpool_cache_close(mine);
    return unused;
}

static void no_late_hiding_hits_a_new_lease(void)
{
    pthread_t threads[3];
    int       kept[COUNT];

    for (how = 0; how < 3; how++) {
        setup(0);
        CHECK_EQ(fixedpool_alloc_many(pool, kept, COUNT - 1), COUNT - 1); /* one is left */
        atomic_store(&cell, 0);
        for (int i = 0; i < 3; i++) pthread_create(&threads[i], NULL, free_for_ever, NULL);
        for (int life = 0; life < 400; life++) {
            int frame = lease(2);
            memset(fixedpool_ptr(pool, frame), life, SIZE); /* ends the process if it is hidden */
            usleep(50);                                     /* now, or a little later */
            memset(fixedpool_ptr(pool, frame), life, SIZE);
            while (atomic_load(&cell) != 0) sched_yield();
            atomic_store(&cell, frame + 1);
        }
        while (atomic_load(&cell) != 0) sched_yield();
        atomic_store(&cell, -1);
        for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
        CHECK_EQ(fixedpool_free_many(pool, kept, COUNT - 1), COUNT - 1);
        teardown();
    }
}

int main(void)
{
    if (!watched()) {
        puts("1..0 # SKIP not built with -fsanitize=address, not run under valgrind");
        return 0;
    }
    RUN(an_idle_frame_is_nobodys);
    RUN(a_frame_is_ours_until_we_free_it);
    RUN(many_are_ours_until_we_free_them);
    RUN(a_cached_frame_is_nobodys);
    RUN(a_leased_frame_may_be_read);
    RUN(the_memory_is_anybodys_again);
#ifndef WITH_VALGRIND
    RUN(a_cache_is_closed_once);
#endif
    RUN(no_late_hiding_hits_a_new_lease);
    return REPORT();
}
