/* Goal: under AddressSanitizer and under Valgrind, a use of a page that is not the user's is
 * reported where it happens, and a rightful use never is.
 * Method: do it and see. AddressSanitizer ends the process, so each access is tried in a child;
 * Valgrind, for which this is compiled with WITH_VALGRIND, counts. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef WITH_VALGRIND
#include <valgrind/memcheck.h>
#endif

#define SLAB_IMPLEMENTATION
#include "../slab.h"

#include "check.h"

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
#ifdef SLAB__HIDE
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

static slab_pool_config config = {.page_size = SIZE, .page_count = COUNT};
static slab_pool       *pool;

static void setup(void)
{
    config.memory_size = slab_pool_footprint(&config);
    config.memory      = mmap(NULL, config.memory_size, PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK_EQ(slab_pool_create(&pool, &config), 0);
}

static void teardown(void)
{
    unsigned char *memory = config.memory;

    slab_pool_destroy(pool);
    /* All of it is the caller's again. */
    for (size_t i = 0; i < config.memory_size; i += 1021) CHECK(!reported(&memory[i]));
    munmap(memory, config.memory_size);
}

static void a_free_page_is_nobodys(void)
{
    setup();
    for (uint32_t page = 0; page < COUNT; page++) {
        CHECK(reported(slab__page(pool, page)));
        CHECK(reported(slab__page(pool, page) + SIZE - 1));
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
    CHECK(reported(&payload[13]));
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
    CHECK_EQ(slab_pool_attach(&view, config.memory, config.memory_size), 0);
    for (int life = 0; life < 3; life++) {
        slab_pool_put(pool, "payload", 8, &id);
        unsigned char *payload = (unsigned char *)(uintptr_t)slab_pool_read(view, id, &len);
        CHECK(payload && !reported(&payload[7]));
        slab_pool_return(view, id);
        CHECK(reported(&payload[7]));
    }
    slab_pool_detach(view);
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
    return REPORT();
}
