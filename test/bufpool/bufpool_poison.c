/* Goal: under AddressSanitizer and under Valgrind, a use of a buffer after its last release is
 * reported where it happens, however and by whom it was released, and a rightful one never is.
 * Method: do it and see. AddressSanitizer ends the process, so each access is tried in a child;
 * Valgrind, for which this is compiled with WITH_VALGRIND, counts. Where the addresses have been
 * given back to the system, too, it is no longer ours to report: an access faults, until somebody
 * else has them. */
#define _GNU_SOURCE
#include <errno.h>
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
/* A thread that is slow to poison: what it does late must not hit the next life. */
#include <sanitizer/asan_interface.h>
static void slow_poison(const volatile void *memory, size_t size);
#define __asan_poison_memory_region(memory, size) slow_poison(memory, size)
#define SLOW_POISON

/* Nobody reads the reports; to find the lines for them takes longer than all the rest. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "symbolize=0"; }
#endif

#define BUFPOOL_IMPLEMENTATION
#include "../../bufpool.h"

#include "../check.h"

static bool faults(volatile unsigned char *at, bool writes)
{
    int status = 0;

    fflush(stdout);
    if (fork() == 0) {
        if (!freopen("/dev/null", "w", stderr)) _exit(0);
        if (writes) *at = 1;
        else _exit(*at & 0);
        _exit(0);
    }
    wait(&status);
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

#ifdef WITH_VALGRIND
static bool watched(void) { return RUNNING_ON_VALGRIND != 0; }
static bool reported(volatile unsigned char *at)
{
    unsigned before = (unsigned)VALGRIND_COUNT_ERRORS;
    *at             = 1;
    return (unsigned)VALGRIND_COUNT_ERRORS != before;
}
static bool read_reported(volatile unsigned char *at)
{
    static volatile unsigned char seen; /* a load that nobody wants Valgrind leaves out */
    unsigned                      before = (unsigned)VALGRIND_COUNT_ERRORS;
    seen                                 = *at;
    return (unsigned)VALGRIND_COUNT_ERRORS != before;
}
#else
static bool watched(void)
{
#ifdef BUFPOOL__ASAN
    return true;
#else
    return false;
#endif
}
static bool reported(volatile unsigned char *at) { return faults(at, true); }
static bool read_reported(volatile unsigned char *at) { return faults(at, false); }
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
static int  slow;
#endif

static bufpool       *pool;
static bufpool_cache *cache, *other;

static void setup(uint32_t flags)
{
    bufpool_config config = {.idle_bytes = 128u << 20, .flags = flags};
    CHECK_EQ(bufpool_create(&pool, &config), 0);
    cache = pool ? bufpool_cache_open(pool) : NULL;
    other = pool ? bufpool_cache_open(pool) : NULL;
    if (!cache || !other) exit(1);
}

static void close_caches(void)
{
    bufpool_cache_close(cache);
    bufpool_cache_close(other);
    cache = other = NULL;
}

static void end_while_held(size_t held)
{
    close_caches();
    CHECK_EQ(bufpool_destroy(pool), held);
}

static void teardown(void) { end_while_held(0); }

enum { ACQUIRES = 3, RELEASES = 5 };

static bufpool_buf *acquire(int way, size_t size)
{
    bufpool_buf *buf = way == 0 ? bufpool_acquire(pool, size, NULL)
                                : bufpool_cache_acquire(way == 1 ? cache : other, size, NULL);
    CHECK(buf != NULL);
    if (!buf) exit(1);
    return buf;
}

static void *release_shared(void *buf)
{
    CHECK_EQ(bufpool_release(buf), 0);
    return NULL;
}

static void *release_cached(void *buf)
{
    bufpool_cache *mine = bufpool_cache_open(pool);
    CHECK_EQ(bufpool_cache_release(mine, buf), 0);
    bufpool_cache_close(mine);
    return NULL;
}

static void in_another_thread(void *(*what)(void *), void *with)
{
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, what, with), 0);
    pthread_join(thread, NULL);
}

static void release(int way, bufpool_buf *buf)
{
    bufpool_view view;
    switch (way) {
    case 0:
        CHECK_EQ(bufpool_release(buf), 0);
        break;
    case 1:
        CHECK_EQ(bufpool_cache_release(cache, buf), 0);
        break;
    case 2: /* a view is the last to go */
        CHECK_EQ(bufpool_view_of(buf, 10, 20, &view), 0);
        CHECK_EQ(bufpool_cache_release(cache, buf), 1);
        CHECK(!read_reported(bufpool_data(buf)));
        CHECK_EQ(bufpool_view_drop(&view), 0);
        break;
    default:
        in_another_thread(way == 3 ? release_shared : release_cached, buf);
    }
}

static size_t size_of(int class) { return bufpool_class_capacity((bufpool_class) class); }

static void a_buffer_is_ours_until_its_last_release(void)
{
    setup(0);
    for (int class = 0; class < BUFPOOL_CLASSES; class ++)
        for (int way = 0; way < ACQUIRES * RELEASES; way++) {
            size_t         size = size_of(class);
            bufpool_buf   *buf  = acquire(way % ACQUIRES, size - 100);
            unsigned char *at = bufpool_data(buf), *end = at + size - 1;
            CHECK(!reported(at) && !reported(end));
            CHECK(bufpool_retain(buf) == buf);
            CHECK_EQ(bufpool_release(buf), 1);
            CHECK(!reported(at + size / 2));
            at[0] = at[size - 1] = (unsigned char)way;
            release(way / ACQUIRES, buf);
            CHECK(reported(at) && reported(end));
            CHECK(read_reported(at + size / 2));
            CHECK_EQ(bufpool_release(buf), -ESTALE); /* changes nothing */
            CHECK(bufpool_data(buf) == NULL && bufpool_retain(buf) == NULL);
            CHECK(reported(at));
        }
    teardown();
}

/* What lies idle in one place is hidden, and shown to the thread that takes it. */
static void an_idle_buffer_is_nobodys(void)
{
    setup(0);
    for (int class = 0; class < BUFPOOL_CLASSES; class ++)
        for (int round = 0; round < 4; round++) {
            bufpool_buf *bufs[4];
            for (int i = 0; i < 4; i++) bufs[i] = acquire(round % ACQUIRES, size_of(class));
            unsigned char *at = bufpool_data(bufs[0]);
            for (int i = 0; i < 4; i++) release(round % 2, bufs[i]);
            CHECK(reported(at));
            if (round == 3) bufpool_cache_close(cache);
            if (round == 3) CHECK(reported(at));
            if (round == 3) cache = bufpool_cache_open(pool);
            for (int i = 0; i < 4; i++) bufs[i] = acquire(round / 2, size_of(class));
            for (int i = 0; i < 4; i++) CHECK(!reported(bufpool_data(bufs[i])));
            for (int i = 0; i < 4; i++) release(1 - round % 2, bufs[i]);
        }
    teardown();
}

/* Zeros, or what was left: reading it before the first write is no error. */
static void a_buffer_may_be_read(void)
{
    for (uint32_t flags = 0; flags <= BUFPOOL_WIPE; flags += BUFPOOL_WIPE) {
        setup(flags);
        bufpool_tenant *tenants[2] = {bufpool_tenant_get(pool, "a", 1), NULL};
#ifdef WITH_VALGRIND
        unsigned before = (unsigned)VALGRIND_COUNT_ERRORS;
#endif
        for (int class = 0; class <= BUFPOOL_CLASSES; class ++)
            for (int way = 0; way < 6; way++) {
                size_t         size = class < BUFPOOL_CLASSES ? size_of(class) : (11u << 20);
                bufpool_buf   *buf  = way % 2
                                          ? bufpool_cache_acquire(cache, size, tenants[way / 2 % 2])
                                          : bufpool_acquire(pool, size, tenants[way / 2 % 2]);
                unsigned char *at   = bufpool_data(buf);
                if (at[0] != 0) CHECK(at[0] == 7 && flags == 0);
                if (at[size - 1] != 0) CHECK(at[size - 1] == 7 && flags == 0);
                at[0] = at[size - 1] = flags == 0 ? 7 : 0;
                release(way % RELEASES, buf);
            }
#ifdef WITH_VALGRIND
        CHECK_EQ(VALGRIND_COUNT_ERRORS, before);
#endif
        teardown();
    }
}

/* The next mapping at this address may be anybody's. */
static void is_anybodys(unsigned char *at, size_t size)
{
    unsigned char *again = mmap(at, size, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    CHECK(again == at);
    if (again != at) return;
    CHECK(!reported(again) && !reported(again + size - 1));
    munmap(again, size);
}

static void what_the_system_has_again_is_anybodys(void)
{
    for (int class = 0; class <= BUFPOOL_CLASSES; class ++)
        for (int way = 0; way < RELEASES; way++) {
            setup(0);
            bool           ends = way % 2 == 0, pooled = class < BUFPOOL_CLASSES;
            bool           stays = class <= BUFPOOL_MEDIUM; /* its addresses, as long as the pool */
            size_t         size  = pooled ? size_of(class) : (11u << 20);
            bufpool_buf   *buf = acquire(way % ACQUIRES, size), *last = acquire(0, size);
            unsigned char *at = bufpool_data(buf), *held = bufpool_data(last);
            release(way, buf);
            close_caches();
            if (ends) end_while_held(1);
            else CHECK_EQ(bufpool_trim(pool, 0), pooled ? size : 0);
            CHECK(stays ? reported(at) : faults(at, true));
            if (!stays) is_anybodys(at, size);
            CHECK(!reported(held) && !reported(held + size - 1));
            CHECK_EQ(bufpool_release(last), 0);
            if (!ends) teardown();
            CHECK(faults(held, false) && faults(at, true));
            is_anybodys(held, size);
            is_anybodys(at, size);
        }
}

/* ---- A late hand ---- */

static _Atomic(bufpool_buf *) cell;
static _Atomic(bool)          over;

static void *release_for_ever(void *how)
{
    bufpool_cache *mine = bufpool_cache_open(pool);

    slow = 20;
    for (bufpool_buf *buf; !atomic_load(&over); sched_yield()) {
        if ((buf = atomic_exchange(&cell, NULL)) == NULL) continue;
        CHECK_EQ(how ? bufpool_cache_release(mine, buf) : bufpool_release(buf), 0);
    }
    bufpool_cache_close(mine);
    return NULL;
}

static void no_late_hiding_hits_a_new_life(void)
{
    enum { SIZE = 4096 };
    static int cached;
    pthread_t  threads[3];

    for (int how = 0; how < 2; how++) {
        setup(0);
        atomic_store(&over, false);
        for (int i = 0; i < 3; i++)
            pthread_create(&threads[i], NULL, release_for_ever, how ? &cached : NULL);
        for (int life = 0; life < 300; life++) {
            bufpool_buf *buf = acquire(life % ACQUIRES, SIZE);
            memset(bufpool_data(buf), life, SIZE); /* ends the process if it is hidden */
            usleep(50);                            /* now, or a little later */
            memset(bufpool_data(buf), life, SIZE);
            while (atomic_load(&cell)) sched_yield();
            atomic_store(&cell, buf);
            if (life % 32 == 0) bufpool_trim(pool, 0);
        }
        while (atomic_load(&cell)) sched_yield();
        atomic_store(&over, true);
        for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
        teardown();
    }
}

int main(void)
{
    if (!watched()) {
        puts("1..0 # SKIP not built with -fsanitize=address, not run under valgrind");
        return 0;
    }
    RUN(a_buffer_is_ours_until_its_last_release);
    RUN(an_idle_buffer_is_nobodys);
    RUN(a_buffer_may_be_read);
    RUN(what_the_system_has_again_is_anybodys);
    RUN(no_late_hiding_hits_a_new_life);
    return REPORT();
}
