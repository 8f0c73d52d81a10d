/* Goal: under AddressSanitizer and under Valgrind, a use of a page or slot that is not the user's
 * is reported where it happens, and a rightful use never is. Method: do it and see.
 * AddressSanitizer ends the process, so each access is tried in a child; Valgrind, for which this
 * is compiled with WITH_VALGRIND, counts. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef WITH_VALGRIND
#include <valgrind/memcheck.h>
#endif

#if defined __SANITIZE_ADDRESS__ || (defined __clang__ && !defined WITH_VALGRIND)
/* A returner that is slow to poison: what it does late must not hit the next life. */
#include <sanitizer/asan_interface.h>
static void slow_poison(const volatile void *memory, size_t size);
#define __asan_poison_memory_region(memory, size) slow_poison(memory, size)
#define SLOW_POISON

/* Nobody reads the reports; to find the lines for them takes longer than all the rest. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "symbolize=0"; }
#endif

#define SLAB_IMPLEMENTATION
#include "../../slab.h"

#include "../check.h"

enum { SIZE = 256, COUNT = 4 };

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
#ifdef SLAB__POISONS
    return true;
#else
    return false;
#endif
}
static bool reported(volatile unsigned char *at)
{
    int status = 0;

    fflush(stdout);
    if (fork() == 0) {
        if (!freopen("/dev/null", "w", stderr)) _exit(0);
        *at = 1;
        _exit(0);
    }
    wait(&status);
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

static slab_pool_config config = {.page_size = SIZE, .page_count = COUNT};
static slab_pool       *pool;
static void            *second; /* the pool's memory at another address */

static void setup(void)
{
    config.memory_size = slab_pool_footprint(&config);
    int fd             = memfd_create("slab", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)config.memory_size) != 0) exit(1);
    config.memory = mmap(NULL, config.memory_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    second        = mmap(NULL, config.memory_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    CHECK_EQ(slab_pool_create(&pool, &config), 0);
}

static void teardown(void)
{
    unsigned char *memory = config.memory;

    slab_pool_destroy(pool);
    /* All of it is the caller's again. */
    for (size_t i = 0; i < config.memory_size; i += 1021) CHECK(!reported(&memory[i]));
    munmap(memory, config.memory_size);
    munmap(second, config.memory_size);
    config.memory = NULL;
}

static void a_free_page_is_nobodys(void)
{
    setup();
    for (uint32_t page = 0; page < COUNT; page++) {
        CHECK(reported(slab__pool_page(pool, page)));
        CHECK(reported(slab__pool_page(pool, page) + SIZE - 1));
    }
    teardown();
}

static void a_page_is_ours_until_we_give_it_back(void)
{
    slab_id id;

    setup();
    for (int how = 0; how < 3; how++) {
        unsigned char *payload = slab_pool_alloc(pool, 100, &id);
        bool           wake;
        CHECK(!reported(&payload[0]) && !reported(&payload[99]));
        CHECK(reported(&payload[100]));
        CHECK(reported(&payload[SIZE - 1]));
        if (how == 0) slab_pool_free(pool, id);
        if (how == 1) slab_pool_return(pool, id);
        if (how == 2) slab_pool_return_many(pool, &id, 1, &wake);
        CHECK(reported(&payload[0])); /* before any drain */
        CHECK(reported(&payload[99]));
        slab_pool_return(pool, id); /* stale: changes nothing */
        slab_pool_drain(pool);
        CHECK(reported(&payload[0]));
        CHECK(slab_pool_alloc(pool, SIZE, &id) == payload);
        CHECK(!reported(&payload[0]) && !reported(&payload[SIZE - 1]));
        slab_pool_free(pool, id);
    }
    teardown();
}

static void a_length_is_the_bound(void)
{
    slab_id id;

    setup();
    unsigned char *payload = slab_pool_alloc(pool, SIZE, &id);
    slab_pool_set_len(pool, id, 13);
    CHECK(!reported(&payload[12]));
    CHECK(reported(&payload[16])); /* AddressSanitizer shrinks by eights */
    slab_pool_set_len(pool, id, 77);
    CHECK(!reported(&payload[76]));
    CHECK(reported(&payload[77]));
    teardown();
}

static void a_views_page_is_its_own_while_live(void)
{
    slab_pool *view;
    slab_id    id;
    size_t     len;

    setup();
    CHECK_EQ(slab_pool_attach(&view, second, config.memory_size), 0);
    for (int life = 0; life <= 2 * COUNT; life++) { /* each page again */
        slab_pool_put(pool, "payload", 8, &id);
        unsigned char *payload = (unsigned char *)(uintptr_t)slab_pool_read(view, id, &len);
        CHECK(payload && !reported(&payload[7]));
        slab_pool_return(view, id);
        CHECK(reported(&payload[7]));
        if (life < 2 * COUNT) continue;
        slab_pool_detach(view);
        CHECK(!reported(&payload[7])); /* the caller's mapping again */
    }
    teardown();
}

static void *return_it(void *id)
{
    slab_pool_return(pool, *(slab_id *)id);
    return NULL;
}

static void another_thread_gives_it_back(void)
{
    slab_id   id;
    pthread_t thread;

    setup();
    for (int life = 0; life < 100; life++) { /* the owner may have the page again at once */
        unsigned char *payload = slab_pool_alloc(pool, SIZE, &id);
        pthread_create(&thread, NULL, return_it, &id);
        while (slab_pool_drain(pool) == 0) sched_yield();
        CHECK(slab_pool_alloc(pool, SIZE, &id) == payload);
        payload[0] = payload[SIZE - 1] = 1;
        pthread_join(thread, NULL);
        payload[0] = payload[SIZE - 1] = 2;
        if (life % 10 == 0) CHECK(!reported(payload));
        slab_pool_free(pool, id);
    }
    teardown();
}

/* A view at the pool's own address: its returner's poisoning may not hit the next life. */
static slab_pool *same;

static void *return_for_ever(void *cell)
{
    slow = 20;
    for (uint64_t name; (name = atomic_load((_Atomic(uint64_t) *)cell)) != UINT64_MAX;) {
        slab_id id;
        memcpy(&id, &name, sizeof id);
        slab_pool_return(same, id);
        sched_yield();
    }
    return NULL;
}

static void no_late_poison_hits_a_new_life(void)
{
    static _Atomic(uint64_t) cell;
    pthread_t                threads[3];
    slab_id                  id;

    setup();
    CHECK_EQ(slab_pool_attach(&same, config.memory, config.memory_size), 0);
    for (int page = 1; page < COUNT; page++) slab_pool_put(pool, "kept", 5, &id); /* one is left */
    for (int i = 0; i < 3; i++) pthread_create(&threads[i], NULL, return_for_ever, &cell);
    for (int life = 0; life < 1000; life++) {
        uint64_t       name;
        unsigned char *payload;
        while (!(payload = slab_pool_alloc(pool, SIZE, &id))) sched_yield();
        memset(payload, life, SIZE); /* ends the process if it is poisoned */
        usleep(100);                 /* now, or a little later */
        memset(payload, life, SIZE);
        memcpy(&name, &id, sizeof name);
        atomic_store(&cell, name);
    }
    atomic_store(&cell, UINT64_MAX); /* no id of this pool */
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    slab_pool_detach(same);
    teardown();
}

/* Readers of one page whose length is no multiple of eight, side by side. */
static slab_id shared_id;

static void *read_for_a_while(void *unused)
{
    for (int i = 0; i < 100000; i++) {
        size_t                        len;
        const volatile unsigned char *payload = slab_pool_read(pool, shared_id, &len);
        if (payload[len - 1] != 'x') CHECK(false);
    }
    return unused;
}

static void reading_does_not_poison(void)
{
    pthread_t threads[3];

    setup();
    slab_pool_put(pool, "0123456789abx", 13, &shared_id);
    for (int i = 0; i < 3; i++) pthread_create(&threads[i], NULL, read_for_a_while, NULL);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    teardown();
}

/* ---- slab_store ---- */

static void a_slot_is_ours_until_we_free_it(void)
{
    static const uint32_t lens[] = {0, 1, 64, 100, 4096, 5000, 100000, 3000000};
    slab_store           *store;
    slab_ref              ref, next;

    CHECK_EQ(slab_store_create(&store, NULL), 0);
    for (int life = 0; life < 3; life++)
        for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
            uint32_t       len = lens[i], whole = 64;
            unsigned char *slot = slab_store_alloc(store, len, &ref);
            while (whole < len && len <= 4096) whole *= 2;
            if (len > 4096) whole = (len + 511) / 512 * 512;
            CHECK(!reported(&slot[0]) && !reported(&slot[whole - 1]));
            if (len <= 4096) CHECK(reported(&slot[whole])); /* a slot that nobody has */
            if (len <= 4096) CHECK(slab_store_alloc(store, len, &next) == slot + whole);
            if (len <= 4096) CHECK(!reported(&slot[whole]));
            if (len <= 4096) CHECK_EQ(slab_store_free(store, next, len), 0);
            CHECK_EQ(slab_store_free(store, ref, len), 0);
            CHECK(reported(&slot[0]) && reported(&slot[whole - 1]));
            CHECK_EQ(slab_store_free(store, ref, len), -ESTALE); /* changes nothing */
            CHECK(reported(&slot[0]));
        }
    slab_store_destroy(store);
}

static unsigned char *moved_to;
static void           note_move(void *context, slab_ref from, slab_ref to, void *value, size_t room)
{
    (void)context, (void)from, (void)to, (void)room;
    moved_to = value;
}

static void a_moved_values_old_place_is_nobodys(void)
{
    enum { VALUES = 3000 };
    static slab_ref refs[VALUES];
    slab_store     *store;
    unsigned char  *last = NULL;

    CHECK_EQ(slab_store_create(&store, NULL), 0);
    for (int i = 0; i < VALUES; i++) last = slab_store_alloc(store, 64, &refs[i]);
    for (int i = 0; i < VALUES - 1; i++)
        if (i % 16 != 0) slab_store_free(store, refs[i], 64);
    while (slab_store_compact(store, 1, note_move, NULL) == 1) {
        if (moved_to[0] == 255) CHECK(false); /* ends the process if it is poisoned */
    }
    CHECK(last && reported(last)); /* the highest chunk has been emptied */
    CHECK(!reported(moved_to));
    slab_store_trim(store);
    slab_store_destroy(store);
}

int main(void)
{
    if (!watched()) {
        puts("1..0 # SKIP not built with -fsanitize=address, not run under valgrind");
        return 0;
    }
    RUN(a_free_page_is_nobodys);
    RUN(a_page_is_ours_until_we_give_it_back);
    RUN(a_length_is_the_bound);
    RUN(a_views_page_is_its_own_while_live);
    RUN(another_thread_gives_it_back);
    RUN(no_late_poison_hits_a_new_life);
    RUN(reading_does_not_poison);
    RUN(a_slot_is_ours_until_we_free_it);
    RUN(a_moved_values_old_place_is_nobodys);
    return REPORT();
}
