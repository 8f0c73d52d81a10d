/* Goal: where a mapping fails there is no pool or no cache, and nothing else is lost; a pool takes
 * the memory that fixedpool.h says, and gives all of it back. Method: mappings go through functions
 * of this file, which count them and let each fail in turn. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static void *test_map(size_t size);
static void  test_unmap(void *memory, size_t size);
#define FIXEDPOOL_MAP(size)           test_map(size)
#define FIXEDPOOL_UNMAP(memory, size) test_unmap(memory, size)
#define FIXEDPOOL_IMPLEMENTATION
#include "../../fixedpool.h"

#include "../check.h"

/* Mappings still there, their bytes, and how many more succeed before one fails (-1: all do). */
static int    maps, maps_left = -1;
static size_t mapped;

/* If there is one: the memory for the next frames, 16 of 4096 bytes. */
static unsigned char *arena, *given;

static void *test_map(size_t size)
{
    if (arena && size == 65536) {
        given = arena;
        arena = NULL;
        return given;
    }
    if (maps_left == 0) return NULL;
    if (maps_left > 0) maps_left--;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return NULL;
    maps++;
    mapped += size;
    return memory;
}

static void test_unmap(void *memory, size_t size)
{
    if (given && memory == given) {
        arena = given;
        given = NULL;
        return;
    }
    maps--;
    mapped -= size;
    CHECK_EQ(munmap(memory, size), 0);
}

static fixedpool       *pool;
static fixedpool_cache *cache;

static void make(uint32_t frame_size, uint32_t frame_count, uint32_t flags)
{
    fixedpool_config config = {frame_size, frame_count, flags};
    CHECK_EQ(fixedpool_create(&pool, &config), 0);
    if (!pool) exit(1);
}

static void end(void)
{
    CHECK_EQ(fixedpool_destroy(pool), 0);
    CHECK_EQ(maps, 0);
    CHECK_EQ(mapped, 0);
}

static struct fixedpool_info info(void)
{
    struct fixedpool_info now;
    fixedpool_stats(pool, &now);
    return now;
}

/* Every frame is there once; afterwards all are free. */
static void all_are_there(void)
{
    int      frames[300];
    uint32_t count = info().frame_count;
    bool     seen[300] = {false};

    CHECK_EQ(fixedpool_alloc_many(pool, frames, 300), count);
    for (uint32_t i = 0; i < count; i++) {
        CHECK(!seen[frames[i]]);
        seen[frames[i]] = true;
    }
    CHECK_EQ(fixedpool_free_many(pool, frames, count), count);
}

static void refused_shapes_map_nothing(void)
{
    static const fixedpool_config shapes[] = {
        {4096, 0, 0}, {4096, 65537, 0}, {100, 1, 0}, {(1u << 30) + 4096, 1, 0}, {4096, 1, 4}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        CHECK_EQ(fixedpool_create(&pool, &shapes[i]), -EINVAL);
        CHECK_EQ(maps, 0);
    }
}

static void no_memory_is_no_pool(void)
{
    for (uint32_t flags = 0; flags < 4; flags++) {
        fixedpool_config config = {4096, 100, flags};
        for (int left = 0;; left++) {
            pool       = (fixedpool *)1;
            maps_left  = left;
            int result = fixedpool_create(&pool, &config);
            if (result == 0) break;
            CHECK_EQ(result, -ENOMEM);
            CHECK(pool == NULL);
            CHECK_EQ(maps, 0);
            CHECK(left < 10);
            if (left == 10) exit(1);
        }
        CHECK(maps_left == 0 && maps > 0); /* it did ask here */
        maps_left = -1;
        all_are_there();
        end();
    }
}

static void no_memory_is_no_cache(void)
{
    fixedpool_cache *caches[600];
    int              open = 0;

    make(4096, 50, 0);
    maps_left = 0;
    for (; open < 600 && (caches[open] = fixedpool_cache_open(pool)); open++) {
    }
    CHECK(open < 600); /* room for a few may be there already */
    CHECK_EQ(info().caches, open);
    all_are_there();
    maps_left = -1;
    cache     = fixedpool_cache_open(pool);
    CHECK(cache != NULL);
    all_are_there();
    CHECK_EQ(info().caches, open + 1);
    while (open > 0) fixedpool_cache_close(caches[--open]);
    fixedpool_cache_close(cache);
    all_are_there();
    end();
}

/* As fixedpool.h says: 4 bytes a frame, 19 KiB, and 0.4 KiB for each cache. */
static void memory_beside_the_frames(void)
{
    static const uint32_t counts[] = {1, 2, 15, 16, 31, 32, 255, 256, 257, 1000, 4096, 65536};
    fixedpool_cache      *caches[100];

    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        make(4096, counts[i], 0);
        size_t beside = mapped - (size_t)counts[i] * 4096;
        CHECK(beside <= 4 * counts[i] + 19 * 1024);
        if (counts[i] == 1 || counts[i] == 65536)
            printf("# beside %u frames %zu bytes\n", counts[i], beside);
        size_t before = mapped;
        for (int c = 0; c < 100; c++) caches[c] = fixedpool_cache_open(pool);
        CHECK(mapped - before + 100 * sizeof(fixedpool_cache) <= 100 * 410 + 8192);
        for (int c = 0; c < 100; c++) fixedpool_cache_close(caches[c]);
        before = mapped;
        for (int c = 0; c < 100; c++) caches[c] = fixedpool_cache_open(pool);
        CHECK_EQ(mapped, before); /* where the first hundred were */
        for (int c = 0; c < 100; c++) fixedpool_cache_close(caches[c]);
        end();
    }
}

/* Memory of the user's own goes back as it was: a child of a later fork inherits it. */
static void memory_that_outlives_the_pool(void)
{
    size_t         size = 65536;
    unsigned char *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int status = 0;

    arena = memory;
    make(4096, 16, 0);
    CHECK(fixedpool_ptr(pool, 0) == memory);
    CHECK_EQ(fixedpool_destroy(pool), 0);
    CHECK_EQ(maps, 0);
    CHECK(arena == memory); /* given back */
    arena = NULL;
    memset(memory, 1, size);
    fflush(stdout);
    if (fork() == 0) {
        signal(SIGSEGV, SIG_DFL); /* a sanitizer has a handler there */
        *(volatile unsigned char *)memory = 2;
        _exit(0);
    }
    wait(&status);
    CHECK_EQ(status, 0);
    munmap(memory, size);
}

int main(void)
{
    RUN(refused_shapes_map_nothing);
    RUN(no_memory_is_no_pool);
    RUN(no_memory_is_no_cache);
    RUN(memory_beside_the_frames);
    RUN(memory_that_outlives_the_pool);
    return REPORT();
}
