/* Goal: every public function does what fixedpool.h says, between calls that do not overlap; what
 * overlaps is fixedpool_stress.c's. Method: call each, in every way there is to lease and to free,
 * and count what must be conserved. System calls go through a function of this file, which can
 * refuse one, as an old kernel would. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long test_syscall(long number, long a, long b, long c, long d, long e, long f);
#define FIXEDPOOL_SYSCALL(number, a, b, c, d, e, f) \
    test_syscall(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define FIXEDPOOL_IMPLEMENTATION
#include "../../fixedpool.h"

#include "../check.h"

static bool no_membarrier; /* a kernel before 4.14, or a filter that forbids it */

static long test_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    if (number == SYS_membarrier && no_membarrier) {
        errno = ENOSYS;
        return -1;
    }
    return syscall(number, a, b, c, d, e, f);
}

static fixedpool       *pool;
static fixedpool_cache *cache, *other;

static void make(uint32_t frame_size, uint32_t frame_count, uint32_t flags)
{
    fixedpool_config config = {frame_size, frame_count, flags};
    CHECK_EQ(fixedpool_create(&pool, &config), 0);
    if (!pool) exit(1);
}

static void make_with_caches(uint32_t frame_count)
{
    make(4096, frame_count, 0);
    cache = fixedpool_cache_open(pool);
    other = fixedpool_cache_open(pool);
    CHECK(cache && other);
}

static void close_caches(void)
{
    fixedpool_cache_close(cache);
    fixedpool_cache_close(other);
    cache = other = NULL;
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

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- The ways to lease and to free ---- */

enum { ALLOC, ALLOC_MANY, ALLOC_WAIT, CACHE_ALLOC, OTHER_ALLOC, LEASES };
enum { FREE, FREE_MANY, CACHE_FREE, OTHER_FREE, FREES };

static int lease(int way)
{
    int frame, result;
    switch (way) {
    case ALLOC:
        return fixedpool_alloc(pool);
    case ALLOC_MANY:
        return fixedpool_alloc_many(pool, &frame, 1) ? frame : -ENOBUFS;
    case ALLOC_WAIT:
        result = fixedpool_alloc_wait(pool, 0);
        return result == -ETIMEDOUT ? -ENOBUFS : result;
    case CACHE_ALLOC:
        return fixedpool_cache_alloc(cache);
    default:
        return fixedpool_cache_alloc(other);
    }
}

static int give_back(int way, int frame)
{
    switch (way) {
    case FREE:
        return fixedpool_free(pool, frame);
    case FREE_MANY:
        return fixedpool_free_many(pool, &frame, 1) ? 0 : -EALREADY;
    case CACHE_FREE:
        return fixedpool_cache_free(cache, frame);
    default:
        return fixedpool_cache_free(other, frame);
    }
}

/* Every frame is there, once, and can be had in this way; afterwards all are free. */
static void all_are_there(int way)
{
    int            count = (int)info().frame_count;
    unsigned char *seen  = calloc((size_t)count, 1);

    for (int i = 0; i < count; i++) {
        int frame = lease(way);
        CHECK(frame >= 0 && frame < count && !seen[frame]);
        if (frame >= 0 && frame < count) seen[frame] = 1;
    }
    CHECK_EQ(lease(way), -ENOBUFS);
    CHECK_EQ(info().leased, count);
    CHECK_EQ(info().cached, 0);
    for (int i = 0; i < count; i++) CHECK_EQ(fixedpool_free(pool, i), 0);
    CHECK_EQ(info().leased, 0);
    free(seen);
}

/* ---- Shapes ---- */

static void defaults(void)
{
    make(0, 3, 0);
    CHECK_EQ(fixedpool_frame_size(pool), 65536);
    CHECK(fixedpool_ptr(pool, 2) == (char *)fixedpool_ptr(pool, 0) + 2 * 65536);
    struct fixedpool_info first = info();
    CHECK_EQ(first.frame_count, 3);
    CHECK_EQ(first.leased + first.cached + first.rings + first.caches, 0);
    CHECK_EQ(first.waits + first.refused, 0);
    CHECK_EQ(first.pages, FIXEDPOOL_PAGES_PLAIN);
    end();
}

static void bad_shapes(void)
{
    static const fixedpool_config shapes[] = {
        {4096, 0, 0},
        {0, 0, 0},
        {4096, 65537, 0},
        {4096, UINT32_MAX, 0},
        {1, 1, 0},
        {2048, 1, 0},
        {4095, 1, 0},
        {4097, 1, 0},
        {6144, 1, 0},
        {65536 + 64, 1, 0},
        {(1u << 30) + 4096, 1, 0},
        {UINT32_MAX, 1, 0},
        {UINT32_MAX - 4095, 1, 0},
        {4096, 1, 1u << 2},
        {4096, 1, 1u << 31},
        {4096, 1, UINT32_MAX},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        pool = (fixedpool *)1;
        CHECK_EQ(fixedpool_create(&pool, &shapes[i]), -EINVAL);
        CHECK(pool == NULL);
    }
    pool = (fixedpool *)1;
    CHECK_EQ(fixedpool_create(&pool, NULL), -EINVAL);
    CHECK(pool == NULL);
    CHECK_EQ(fixedpool_create(NULL, &shapes[0]), -EINVAL);
    CHECK_EQ(fixedpool_create(NULL, &(fixedpool_config){4096, 1, 0}), -EINVAL);
}

/* Products that a size_t of 32 bits cannot hold: zero, and small, as they would come out. */
static void shapes_beyond_an_address_space(void)
{
    static const fixedpool_config shapes[] = {
        {0, 65536, 0}, {1u << 30, 65536, 0}, {1u << 30, 4, 0}, {65536 + 4096, 65536, 0}};

    for (size_t i = 0; sizeof(size_t) == 4 && i < sizeof shapes / sizeof *shapes; i++) {
        pool       = (fixedpool *)1;
        int result = fixedpool_create(&pool, &shapes[i]);
        CHECK(result == -EINVAL || result == -ENOMEM);
        CHECK(pool == NULL);
    }
}

static void nothing_to_end(void)
{
    CHECK_EQ(fixedpool_destroy(NULL), 0);
    fixedpool_cache_close(NULL);
}

/* No pool or no array is a defined result in each function. */
static void nothing_to_call(void)
{
    struct fixedpool_info stats;
    int                   frame = 0;

    memset(&stats, 0x5a, sizeof stats);
    fixedpool_stats(NULL, &stats);
    CHECK_EQ(stats.frame_count + stats.leased + stats.cached + stats.rings + stats.caches, 0);
    CHECK_EQ(stats.waits + stats.refused + stats.pages, 0);
    fixedpool_stats(NULL, NULL);
    CHECK_EQ(fixedpool_frame_size(NULL), 0);
    CHECK_EQ(fixedpool_buf_index(NULL, 0), 0);
    CHECK_EQ(fixedpool_iovecs(NULL, NULL, 0), 0);
    CHECK(fixedpool_ptr(NULL, 0) == NULL);
    CHECK_EQ(fixedpool_frame_of(NULL, &frame), -EINVAL);
    CHECK_EQ(fixedpool_register(NULL, 0), -EINVAL);
    CHECK_EQ(fixedpool_unregister(NULL, 0), -EINVAL);
    CHECK_EQ(fixedpool_alloc(NULL), -EINVAL);
    CHECK_EQ(fixedpool_alloc_many(NULL, &frame, 1), 0);
    CHECK_EQ(fixedpool_alloc_wait(NULL, 0), -EINVAL);
    CHECK_EQ(fixedpool_alloc_wait(NULL, -1), -EINVAL);
    CHECK_EQ(fixedpool_free(NULL, 0), -EINVAL);
    CHECK_EQ(fixedpool_free_many(NULL, &frame, 1), 0);
    CHECK(fixedpool_cache_open(NULL) == NULL);

    make(4096, 4, 0);
    fixedpool_stats(pool, NULL);
    CHECK_EQ(fixedpool_alloc_many(pool, NULL, 4), 0);
    CHECK_EQ(info().leased, 0);
    CHECK_EQ(fixedpool_alloc(pool), 0);
    CHECK_EQ(fixedpool_free_many(pool, NULL, 4), 0);
    CHECK_EQ(fixedpool_free(pool, 0), 0);
    end();
}

static bool zero(const unsigned char *frame, size_t size)
{
    for (size_t i = 0; i < size; i += i % 4096 ? 4095 : 1)
        if (frame[i]) return false;
    return frame[size - 1] == 0;
}

static void fill_and_empty(uint32_t size, int count, int round)
{
    unsigned char *seen = calloc((size_t)count, 1);
    unsigned char *base = fixedpool_ptr(pool, 0);

    CHECK_EQ((uintptr_t)base % 4096, 0);
    for (int i = 0; i < count; i++) {
        int            frame = lease(round % LEASES);
        unsigned char *at    = fixedpool_ptr(pool, frame);
        CHECK(frame >= 0 && frame < count && !seen[frame]);
        if (frame < 0 || frame >= count) continue;
        CHECK(at == base + (size_t)frame * size);
        if (round == 0) CHECK(zero(at, size));
        else CHECK(at[0] == (unsigned char)frame && at[size - 1] == (unsigned char)frame);
        at[0] = at[size - 1] = (unsigned char)frame; /* the next lessee still finds it */
        seen[frame]          = 1;
    }
    for (int way = 0; way < LEASES; way++) CHECK_EQ(lease(way), -ENOBUFS);
    CHECK_EQ(info().leased, count);
    for (int i = 0; i < count; i++)
        CHECK_EQ(give_back(round % FREES, round & 1 ? count - 1 - i : i), 0);
    CHECK_EQ(info().leased, 0);
    CHECK(info().cached <= (uint32_t)count);
    free(seen);
}

static void each_frame_once_then_none(void)
{
    static const uint32_t shapes[][2] = {
        {4096, 1},   {4096, 2},     {4096, 3},     {4096, 7},     {4096, 31},   {4096, 32},
        {4096, 33},  {4096, 63},    {4096, 64},    {4096, 65},    {4096, 127},  {4096, 128},
        {4096, 129}, {4096, 1000},  {4096, 4097},  {4096, 65535}, {12288, 100}, {28672, 9},
        {65536, 33}, {1 << 20, 10}, {4096, 65536}, {24 << 20, 2}};

    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        make(shapes[i][0], shapes[i][1], 0);
        CHECK_EQ(fixedpool_frame_size(pool), shapes[i][0]);
        cache = fixedpool_cache_open(pool);
        other = fixedpool_cache_open(pool);
        for (int round = 0; round < LEASES; round++)
            fill_and_empty(shapes[i][0], (int)shapes[i][1], round);
        close_caches();
        CHECK_EQ(info().cached, 0);
        CHECK_EQ(info().refused, 0);
        end();
    }
}

static void addresses_and_frames(void)
{
    static const uint32_t sizes[] = {4096, 12288, 65536, 1 << 20};

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        make(sizes[i], 10, 0);
        char  *base = fixedpool_ptr(pool, 0);
        size_t size = sizes[i];
        for (int frame = 0; frame < 10; frame++) {
            char *at = fixedpool_ptr(pool, frame);
            CHECK(at == base + (size_t)frame * size);
            CHECK_EQ(fixedpool_frame_of(pool, at), frame);
            CHECK_EQ(fixedpool_frame_of(pool, at + 1), frame);
            CHECK_EQ(fixedpool_frame_of(pool, at + size / 2), frame);
            CHECK_EQ(fixedpool_frame_of(pool, at + size - 1), frame);
        }
        CHECK(fixedpool_ptr(pool, 10) == NULL);
        CHECK(fixedpool_ptr(pool, 65536) == NULL);
        CHECK(fixedpool_ptr(pool, INT_MAX) == NULL);
        CHECK(fixedpool_ptr(pool, -1) == NULL);
        CHECK(fixedpool_ptr(pool, INT_MIN) == NULL);
        CHECK_EQ(fixedpool_frame_of(pool, (void *)((uintptr_t)base - 1)), -EINVAL);
        CHECK_EQ(fixedpool_frame_of(pool, (void *)((uintptr_t)base + 10 * size)), -EINVAL);
        CHECK_EQ(fixedpool_frame_of(pool, NULL), -EINVAL);
        CHECK_EQ(fixedpool_frame_of(pool, (void *)UINTPTR_MAX), -EINVAL);
        CHECK_EQ(fixedpool_frame_of(pool, &base), -EINVAL);
        end();
    }
}

/* ---- Spans for the ring ---- */

static void spans_of(uint32_t size, uint32_t count, uint32_t want)
{
    struct iovec     spans[8];
    fixedpool_config config = {size, count, 0};
    uint32_t         span = 0;
    int              frame = 0;

    if (fixedpool_create(&pool, &config) == -ENOMEM) {
        printf("# %u frames of %u bytes do not fit into this machine\n", count, size);
        return;
    }
    size = (uint32_t)fixedpool_frame_size(pool);
    CHECK_EQ(fixedpool_iovecs(pool, NULL, 0), want);
    for (uint32_t fill = 0; fill <= want + 1 && fill < 8; fill++) { /* no more than asked for */
        memset(spans, 0x5a, sizeof spans);
        CHECK_EQ(fixedpool_iovecs(pool, spans, fill), want);
        for (size_t i = (fill < want ? fill : want) * sizeof *spans; i < sizeof spans; i++)
            CHECK(((unsigned char *)spans)[i] == 0x5a);
    }
    CHECK_EQ(fixedpool_iovecs(pool, spans, 8), want);
    for (; span < want && span < 8; span++) {
        CHECK(spans[span].iov_base == fixedpool_ptr(pool, frame));
        CHECK(spans[span].iov_len > 0 && spans[span].iov_len <= (size_t)1 << 30);
        CHECK_EQ(spans[span].iov_len % size, 0);
        int last = frame + (int)(spans[span].iov_len / size) - 1;
        CHECK_EQ(fixedpool_buf_index(pool, frame), span);
        CHECK_EQ(fixedpool_buf_index(pool, (frame + last) / 2), span);
        CHECK_EQ(fixedpool_buf_index(pool, last), span);
        frame = last + 1;
    }
    CHECK_EQ(frame, count);
    end();
}

static void spans_end_where_frames_do(void)
{
    spans_of(4096, 1, 1);
    spans_of(4096, 65536, 1);
    spans_of(0, 16384, 1);     /* 1 GiB */
    spans_of(0, 16385, 2);     /* and a frame */
    spans_of(20480, 52428, 1); /* the most frames of this size that 1 GiB holds */
    spans_of(20480, 52429, 2); /* a cut at 1 GiB would go through a frame */
    spans_of(1 << 30, 1, 1);   /* the largest frame */
    spans_of(640 << 20, 2, 2); /* one frame a span */
    spans_of(360 << 20, 4, 2); /* two */
    if (sizeof(size_t) == 8) spans_of(1 << 30, 3, 3);
}

/* ---- Frees that are refused ---- */

static void a_frame_is_freed_once(void)
{
    make_with_caches(5);
    for (int way = 0; way < FREES; way++) {
        uint64_t before = info().refused;
        for (int frame = 0; frame < 5; frame++)
            CHECK_EQ(give_back(way, frame), -EALREADY); /* never leased, or cached */
        static const int none[] = {5, 6, 31, 32, 64, 65535, 65536, INT_MAX, INT_MIN, -1};
        size_t                nones  = sizeof none / sizeof *none;
        for (size_t i = 0; i < nones; i++)
            CHECK_EQ(give_back(way, none[i]), way == FREE_MANY ? -EALREADY : -EINVAL);
        CHECK_EQ(info().refused, before + 5 + nones);
        all_are_there(way);
    }
    close_caches();
    end();
}

/* Leased in one way, freed in a second, freed again in a third; the frame is neither lost nor there
 * twice, whatever the way to the next lease. */
static void freed_twice(int leased, int freed, int again)
{
    int frame = lease(leased);
    CHECK(frame >= 0);
    CHECK_EQ(info().leased, 1);
    CHECK_EQ(give_back(freed, frame), 0);
    CHECK_EQ(info().leased, 0);
    uint64_t before = info().refused;
    CHECK_EQ(give_back(again, frame), -EALREADY);
    CHECK_EQ(give_back(again, frame), -EALREADY);
    CHECK_EQ(info().refused, before + 2);
    CHECK_EQ(info().leased, 0);
}

static void no_way_frees_a_frame_twice(void)
{
    static const uint32_t counts[] = {1, 2, 5, 100};

    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        make_with_caches(counts[i]);
        for (int way = 0; way < LEASES * FREES * FREES; way++) {
            freed_twice(way % LEASES, way / LEASES % FREES, way / LEASES / FREES);
            if (counts[i] <= 5 || way % 7 == 0) all_are_there((way + 1) % LEASES);
        }
        close_caches();
        all_are_there(ALLOC);
        end();
    }
}

/* ---- Many at once ---- */

static void many_at_once(void)
{
    enum { COUNT = 200 };
    static int frames[COUNT + 10], extra[COUNT];

    make_with_caches(COUNT);
    CHECK_EQ(fixedpool_alloc_many(pool, NULL, 0), 0);
    CHECK_EQ(fixedpool_free_many(pool, NULL, 0), 0);
    CHECK_EQ(fixedpool_alloc_many(pool, frames, 0), 0);
    for (uint32_t want = 1; want <= COUNT; want++) {
        CHECK_EQ(fixedpool_alloc_many(pool, frames, want), want);
        CHECK_EQ(info().leased, want);
        CHECK_EQ(fixedpool_alloc_many(pool, extra, COUNT), COUNT - want); /* what there is */
        CHECK_EQ(fixedpool_alloc_many(pool, extra, 1), 0);
        CHECK_EQ(fixedpool_free_many(pool, frames, want), want);
        CHECK_EQ(fixedpool_free_many(pool, extra, COUNT - want), COUNT - want);
    }
    CHECK_EQ(info().refused, 0);
    CHECK_EQ(fixedpool_alloc_many(pool, frames, COUNT + 10), COUNT);

    int bad[] = {3, COUNT, 4, 3, -1, 4, 65536, 5, 3}; /* 3, 4 and 5 are leased */
    CHECK_EQ(fixedpool_free_many(pool, bad, 9), 3);
    CHECK_EQ(info().refused, 6);
    CHECK_EQ(fixedpool_free_many(pool, bad, 9), 0);
    CHECK_EQ(info().refused, 15);
    CHECK_EQ(info().leased, COUNT - 3);
    CHECK_EQ(fixedpool_free_many(pool, frames, COUNT), COUNT - 3);
    all_are_there(ALLOC_MANY);
    close_caches();
    end();
}

/* Frames in caches count as there, for a call that wants many, too. */
static void many_finds_cached_frames(void)
{
    static int frames[100];

    make_with_caches(100);
    for (int i = 0; i < 100; i++) CHECK(lease(ALLOC) >= 0);
    for (int frame = 0; frame < 100; frame++)
        CHECK_EQ(give_back(frame & 1 ? CACHE_FREE : OTHER_FREE, frame), 0);
    CHECK_EQ(fixedpool_alloc_many(pool, frames, 100), 100);
    CHECK_EQ(info().leased, 100);
    CHECK_EQ(info().cached, 0);
    CHECK_EQ(fixedpool_free_many(pool, frames, 100), 100);
    close_caches();
    end();
}

/* ---- Caches ---- */

static void a_cache_keeps_frames(void)
{
    make_with_caches(256);
    CHECK_EQ(info().caches, 2);
    int frame = fixedpool_cache_alloc(cache);
    CHECK_EQ(info().leased, 1);
    CHECK_EQ(fixedpool_cache_free(cache, frame), 0);
    CHECK_EQ(info().leased, 0);
    CHECK(info().cached > 0 && info().cached < 256);
    CHECK_EQ(fixedpool_cache_alloc(cache), frame); /* still warm */
    CHECK_EQ(fixedpool_destroy(pool), -EBUSY);
    CHECK_EQ(fixedpool_free(pool, frame), 0);
    fixedpool_cache_close(cache);
    CHECK_EQ(info().caches, 1);
    CHECK_EQ(info().cached, 0); /* given back */
    cache = fixedpool_cache_open(pool);
    all_are_there(CACHE_ALLOC);
    CHECK_EQ(fixedpool_destroy(pool), -EBUSY); /* two caches are open */
    close_caches();
    CHECK_EQ(info().caches, 0);
    all_are_there(ALLOC);
    end();
}

enum { IDLERS = 8 };
static fixedpool_cache  *idle[IDLERS];
static pthread_barrier_t turn;

/* Leases through its own cache, frees through it, and then does nothing while others ask. */
static void *sit_idle(void *arg)
{
    fixedpool_cache **mine = arg;
    int               frames[4];
    int               held = 0;

    *mine = fixedpool_cache_open(pool);
    CHECK(*mine != NULL);
    for (int i = 0; i < 4; i++) {
        int frame = fixedpool_cache_alloc(*mine);
        if (frame >= 0) frames[held++] = frame;
    }
    CHECK(held > 0);
    for (int i = 0; i < held; i++) CHECK_EQ(fixedpool_cache_free(*mine, frames[i]), 0);
    pthread_barrier_wait(&turn);
    pthread_barrier_wait(&turn);
    int frame = fixedpool_cache_alloc(*mine); /* works again, although it was emptied */
    CHECK(frame >= 0);
    CHECK_EQ(fixedpool_cache_free(*mine, frame), 0);
    pthread_barrier_wait(&turn);
    fixedpool_cache_close(*mine);
    return NULL;
}

static void no_frame_is_stranded(uint32_t count)
{
    pthread_t threads[IDLERS];

    make_with_caches(count);
    pthread_barrier_init(&turn, NULL, IDLERS + 1);
    for (int i = 0; i < IDLERS; i++) pthread_create(&threads[i], NULL, sit_idle, &idle[i]);
    pthread_barrier_wait(&turn);
    CHECK_EQ(info().caches, IDLERS + 2);
    CHECK_EQ(info().leased, 0);
    for (int way = 0; way < LEASES; way++) all_are_there(way);
    pthread_barrier_wait(&turn);
    pthread_barrier_wait(&turn);
    all_are_there(CACHE_ALLOC);
    for (int i = 0; i < IDLERS; i++) pthread_join(threads[i], NULL);
    CHECK_EQ(info().caches, 2);
    all_are_there(ALLOC);
    pthread_barrier_destroy(&turn);
    close_caches();
    end();
}

static void idle_caches_strand_nothing(void)
{
    static const uint32_t counts[] = {IDLERS * 4, IDLERS * 4 + 1, 64, 100, 1000};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) no_frame_is_stranded(counts[i]);
}

/* More caches than anything has room for by accident. */
static void a_crowd_of_caches(void)
{
    enum { CROWD = 300 };
    static fixedpool_cache *crowd[CROWD];

    make_with_caches(CROWD);
    for (int i = 0; i < CROWD; i++) CHECK((crowd[i] = fixedpool_cache_open(pool)) != NULL);
    CHECK_EQ(info().caches, CROWD + 2);
    for (int round = 0; round < 3; round++) {
        int frames[CROWD];
        for (int i = 0; i < CROWD; i++) {
            int frame = fixedpool_cache_alloc(crowd[i]);
            CHECK(frame >= 0);
            frames[i] = frame;
        }
        CHECK_EQ(lease(ALLOC), -ENOBUFS);
        for (int i = 0; i < CROWD; i++) CHECK_EQ(fixedpool_cache_free(crowd[i], frames[i]), 0);
        all_are_there(round);
        for (int i = round; i < CROWD; i += 3) { /* others take the places of these */
            fixedpool_cache_close(crowd[i]);
            CHECK((crowd[i] = fixedpool_cache_open(pool)) != NULL);
        }
    }
    for (int i = 0; i < CROWD; i++) fixedpool_cache_close(crowd[i]);
    close_caches();
    all_are_there(ALLOC);
    end();
}

static void *leave_it_open(void *arg)
{
    fixedpool_cache **mine = arg;
    *mine                  = fixedpool_cache_open(pool);
    int frame              = fixedpool_cache_alloc(*mine);
    CHECK_EQ(fixedpool_cache_free(*mine, frame), 0);
    return NULL;
}

static void a_thread_may_leave_its_cache(void)
{
    pthread_t thread;

    for (int first = 0; first < 2; first++) {
        make_with_caches(20);
        pthread_create(&thread, NULL, leave_it_open, &idle[0]);
        pthread_join(thread, NULL);
        CHECK_EQ(info().caches, 3);
        if (first) all_are_there(OTHER_ALLOC);
        fixedpool_cache_close(idle[0]); /* by another thread, now that its own has ended */
        CHECK_EQ(info().caches, 2);
        all_are_there(ALLOC);
        close_caches();
        end();
    }
}

static void destroy_waits_for_its_users(void)
{
    make(4096, 2, 0);
    int            frame = fixedpool_alloc(pool);
    unsigned char *at    = fixedpool_ptr(pool, frame);
    at[0]                = 7;
    CHECK_EQ(fixedpool_destroy(pool), -EBUSY);
    CHECK_EQ(at[0], 7); /* nothing happened */
    cache = fixedpool_cache_open(pool);
    CHECK_EQ(fixedpool_cache_free(cache, frame), 0);
    CHECK_EQ(fixedpool_destroy(pool), -EBUSY);
    frame = fixedpool_cache_alloc(cache);
    CHECK(frame >= 0);
    fixedpool_cache_close(cache);
    CHECK_EQ(fixedpool_destroy(pool), -EBUSY); /* a frame outlives the cache that leased it */
    CHECK_EQ(info().leased, 1);
    CHECK_EQ(fixedpool_free(pool, frame), 0);
    all_are_there(ALLOC);
    end();
}

/* Caches work all the same, and everybody finds what there is. */
static void without_membarrier(void)
{
    no_membarrier = true;
    make_with_caches(256);
    int frame = fixedpool_cache_alloc(cache);
    CHECK_EQ(fixedpool_cache_free(cache, frame), 0);
    for (int way = 0; way < LEASES; way++) all_are_there(way);
    close_caches();
    end();
    idle_caches_strand_nothing();
    a_thread_may_leave_its_cache();
    no_way_frees_a_frame_twice();
    no_membarrier = false;
}

/* ---- Waiting ---- */

static void a_timeout_is_kept(void)
{
    static const int64_t timeouts[] = {0, 1, 100000, 3000000, 60000000};

    make_with_caches(1);
    CHECK_EQ(fixedpool_alloc_wait(pool, -1), 0); /* one is there: no time passes */
    CHECK_EQ(info().waits, 0);
    for (size_t i = 0; i < sizeof timeouts / sizeof *timeouts; i++) {
        double start = now();
        CHECK_EQ(fixedpool_alloc_wait(pool, timeouts[i]), -ETIMEDOUT);
        double took = now() - start;
        CHECK(took >= (double)timeouts[i] * 1e-9);
        CHECK(took < 5.0);
        if (timeouts[i] == 0) CHECK_EQ(info().waits, 0); /* which is not a wait */
    }
    CHECK(info().waits >= 2 && info().waits < sizeof timeouts / sizeof *timeouts);
    CHECK_EQ(info().leased, 1);
    CHECK_EQ(give_back(CACHE_FREE, 0), 0);
    uint64_t waits = info().waits;
    CHECK_EQ(fixedpool_alloc_wait(pool, -1), 0); /* found in the cache */
    CHECK_EQ(info().waits, waits);
    CHECK_EQ(give_back(FREE, 0), 0);
    close_caches();
    end();
}

struct waiter {
    pthread_t  thread;
    int64_t    timeout;
    int        frame;
    double     took;
    atomic_int asleep, ended;
};

static void *wait_for_a_frame(void *arg)
{
    struct waiter *self = arg;
    atomic_store(&self->asleep, 1);
    double start = now();
    self->frame  = fixedpool_alloc_wait(pool, self->timeout);
    self->took   = now() - start;
    atomic_store(&self->ended, 1);
    return NULL;
}

static void let_wait(struct waiter *waiter, int64_t timeout)
{
    atomic_store(&waiter->asleep, 0);
    atomic_store(&waiter->ended, 0);
    waiter->timeout = timeout;
    pthread_create(&waiter->thread, NULL, wait_for_a_frame, waiter);
    while (!atomic_load(&waiter->asleep)) sched_yield();
}

/* A waiter that nobody wakes ends the program, after ten seconds. */
static void join(struct waiter *waiter)
{
    for (double start = now(); !atomic_load(&waiter->ended); usleep(200))
        if (now() - start > 10) {
            puts("# a waiter sleeps for ever\nnot ok - the watchdog");
            fflush(stdout);
            _exit(1);
        }
    pthread_join(waiter->thread, NULL);
}

static void each_way_of_freeing_wakes(void)
{
    static struct waiter waiter;

    for (int round = 0; round < 4 * FREES; round++) {
        int way   = round % FREES;
        int count = round < 2 * FREES ? 1 : 40;
        make_with_caches((uint32_t)count);
        for (int i = 0; i < count; i++)
            CHECK(lease(way == CACHE_FREE ? CACHE_ALLOC : ALLOC) >= 0);
        let_wait(&waiter, round < 3 * FREES ? -1 : INT64_C(9000000000));
        if (round / FREES % 2 == 0) usleep(20000); /* asleep by now; else at any point */
        CHECK_EQ(give_back(way, count / 2), 0);
        join(&waiter);
        CHECK_EQ(waiter.frame, count / 2);
        CHECK(info().waits <= 1);
        if (round / FREES % 2 == 0) CHECK_EQ(info().waits, 1);
        for (int frame = 0; frame < count; frame++) CHECK_EQ(fixedpool_free(pool, frame), 0);
        close_caches();
        end();
    }
}

/* Several sleep, and as many frames come back, together or one after the other: all get one. */
static void as_many_wake_as_there_are_frames(void)
{
    enum { WAITERS = 4 };
    static struct waiter waiters[WAITERS];
    static const int     frames[WAITERS] = {0, 1, 2, 3};

    for (int way = 0; way < FREES; way++) {
        make_with_caches(WAITERS);
        for (int i = 0; i < WAITERS; i++) CHECK(lease(OTHER_ALLOC) >= 0);
        for (int i = 0; i < WAITERS; i++) let_wait(&waiters[i], -1);
        usleep(20000);
        if (way == FREE_MANY) CHECK_EQ(fixedpool_free_many(pool, frames, WAITERS), WAITERS);
        else
            for (int i = 0; i < WAITERS; i++) CHECK_EQ(give_back(way, i), 0);
        uint32_t got = 0;
        for (int i = 0; i < WAITERS; i++) {
            join(&waiters[i]);
            if (waiters[i].frame >= 0) got |= 1u << waiters[i].frame;
        }
        CHECK_EQ(got, (1u << WAITERS) - 1);
        CHECK_EQ(info().leased, WAITERS);
        CHECK_EQ(fixedpool_free_many(pool, frames, WAITERS), WAITERS);
        close_caches();
        end();
    }
}

/* Timeouts too long to add to a clock, or for a time_t of 32 bits, are not short ones. */
static void the_longest_timeouts(void)
{
    static const int64_t timeouts[] = {INT64_MAX,
                                       INT64_MAX - 1,
                                       INT64_C(1) << 62,
                                       INT64_MIN,
                                       (INT64_C(1) << 31) * 1000000000,
                                       (INT64_C(1) << 32) * 1000000000};
    static struct waiter waiter;

    make(4096, 1, 0);
    CHECK_EQ(fixedpool_alloc(pool), 0);
    for (size_t i = 0; i < sizeof timeouts / sizeof *timeouts; i++) {
        let_wait(&waiter, timeouts[i]);
        usleep(10000);
        CHECK_EQ(atomic_load(&waiter.ended), 0);
        CHECK_EQ(fixedpool_free(pool, 0), 0);
        join(&waiter);
        CHECK_EQ(waiter.frame, 0);
    }
    CHECK_EQ(fixedpool_free(pool, 0), 0);
    end();
}

static void do_nothing(int signal) { (void)signal; }

/* A signal ends the sleep in the kernel, and neither the wait nor its deadline. */
static void signals_do_not_end_a_wait(void)
{
    static struct waiter waiter;
    struct sigaction     action = {.sa_handler = do_nothing}, before;

    make(4096, 1, 0);
    CHECK_EQ(fixedpool_alloc(pool), 0);
    sigaction(SIGUSR1, &action, &before);
    let_wait(&waiter, -1);
    for (int i = 0; i < 20; i++, usleep(2000)) pthread_kill(waiter.thread, SIGUSR1);
    CHECK_EQ(atomic_load(&waiter.ended), 0);
    CHECK_EQ(fixedpool_free(pool, 0), 0);
    join(&waiter);
    CHECK_EQ(waiter.frame, 0);

    let_wait(&waiter, 100000000);
    for (double start = now(); !atomic_load(&waiter.ended) && now() - start < 5; usleep(2000))
        pthread_kill(waiter.thread, SIGUSR1);
    join(&waiter);
    CHECK_EQ(waiter.frame, -ETIMEDOUT);
    CHECK(waiter.took >= 0.1 && waiter.took < 4);
    sigaction(SIGUSR1, &before, NULL);
    CHECK_EQ(fixedpool_free(pool, 0), 0);
    end();
}

/* ---- Memory ---- */

/* Pages of a pool that are in memory; -1 where the kernel does not tell. */
static int resident(size_t bytes)
{
    static unsigned char pages[4096];
    size_t               count = bytes / (size_t)sysconf(_SC_PAGESIZE);
    int                  sum   = 0;

    if (count > sizeof pages || mincore(fixedpool_ptr(pool, 0), bytes, pages) != 0) return -1;
    for (size_t i = 0; i < count; i++) sum += pages[i] & 1;
    return sum;
}

/* Links and states lie beside the frames: what only goes round costs no page. */
static void frames_cost_nothing_until_written(void)
{
    make_with_caches(1024);
    for (int way = 0; way < LEASES; way++) all_are_there(way);
    int before = resident(1024 * 4096);
    CHECK(before <= 0);
    int written = lease(ALLOC);
    memset(fixedpool_ptr(pool, written), 1, 4096);
    if (before == 0) CHECK(resident(1024 * 4096) > 0);
    for (int frame = 0; frame < 1024; frame++) fixedpool_free(pool, frame);
    close_caches();
    end();
}

/* qemu, for one, maps and does not populate. */
static bool this_machine_populates(void)
{
    enum { SIZE = 1 << 16 };
    unsigned char pages[16] = {0};
    void         *memory =
        mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    bool all = memory != MAP_FAILED && mincore(memory, SIZE, pages) == 0;
    for (long i = 0; all && i < SIZE / sysconf(_SC_PAGESIZE); i++) all = pages[i] & 1;
    if (memory != MAP_FAILED) munmap(memory, SIZE);
    return all;
}

static void populate_brings_every_page_in(void)
{
    static const uint32_t flags[] = {FIXEDPOOL_POPULATE, FIXEDPOOL_POPULATE | FIXEDPOOL_HUGEPAGES};
    enum { SIZE = 4 << 20 };

    if (!this_machine_populates()) check_skip("this machine does not populate mappings");
    for (int i = 0; i < 2; i++) {
        make(65536, SIZE / 65536, flags[i]);
        int pages = resident(SIZE);
        if (pages >= 0 && this_machine_populates())
            CHECK_EQ(pages, SIZE / sysconf(_SC_PAGESIZE));
        for (int frame = 0; frame < SIZE / 65536; frame++) {
            CHECK(lease(ALLOC) >= 0);
        }
        for (int frame = 0; frame < SIZE / 65536; frame++) {
            CHECK(zero(fixedpool_ptr(pool, frame), 65536));
            CHECK_EQ(fixedpool_free(pool, frame), 0);
        }
        end();
    }
}

static void huge_pages_are_asked_for(void)
{
    static const char *const names[]  = {"plain", "transparent", "explicit"};
    static const uint32_t    counts[] = {1, 64, 96, 200}; /* 96: no multiple of 2 MiB */

    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        make(65536, counts[i], FIXEDPOOL_HUGEPAGES);
        uint32_t pages = info().pages;
        CHECK(pages <= FIXEDPOOL_PAGES_EXPLICIT);
        if (pages <= FIXEDPOOL_PAGES_EXPLICIT)
            printf("# %u frames of 64 KiB: %s pages\n", counts[i], names[pages]);
        for (uint32_t n = 0; n < counts[i]; n++) {
            int frame = lease(ALLOC);
            CHECK(frame >= 0);
            CHECK(zero(fixedpool_ptr(pool, frame), 65536));
            memset(fixedpool_ptr(pool, frame), frame, 65536);
        }
        for (int frame = 0; frame < (int)counts[i]; frame++) {
            unsigned char *at = fixedpool_ptr(pool, frame);
            CHECK(at[0] == (unsigned char)frame && at[65535] == (unsigned char)frame);
            CHECK_EQ(fixedpool_free(pool, frame), 0);
        }
        end();
    }
}

/* What a child that touches this memory comes to: 0, or the signal that ended it. */
static int child_touches(volatile unsigned char *at)
{
    int status = 0;

    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL); /* a sanitizer has a handler there */
        at[0] = 99;
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
}

static bool this_machine_keeps_from_children(void)
{
    unsigned char *page =
        mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool keeps =
        madvise(page, 65536, MADV_DONTFORK) == 0 && child_touches(page) == SIGSEGV && page[0] == 0;
    munmap(page, 65536);
    return keeps;
}

static void a_child_has_no_frames(void)
{
    static const uint32_t flags[] = {0, FIXEDPOOL_HUGEPAGES, FIXEDPOOL_POPULATE};

    if (!this_machine_keeps_from_children()) {
        check_skip("this machine does not keep memory from children");
        return;
    }
    for (int i = 0; i < 3; i++) {
        make(65536, 40, flags[i]);
        for (uint32_t n = 0; n < 40; n++) {
            int            frame = lease(ALLOC);
            unsigned char *at    = fixedpool_ptr(pool, frame);
            at[0] = at[65535] = (unsigned char)frame;
        }
        static const int tried[] = {0, 1, 20, 39};
        for (int t = 0; t < 4; t++) {
            unsigned char *at = fixedpool_ptr(pool, tried[t]);
            CHECK_EQ(child_touches(at), SIGSEGV);
            CHECK_EQ(child_touches(at + 65535), SIGSEGV);
        }
        for (int frame = 0; frame < 40; frame++) {
            unsigned char *at = fixedpool_ptr(pool, frame);
            CHECK(at[0] == frame && at[65535] == frame);
            CHECK_EQ(fixedpool_free(pool, frame), 0);
        }
        end();
    }
}

/* ---- Against the plainest model there is: which frames are leased ---- */

enum { MODEL_MAX = 300, MODEL_CACHES = 4 };
static fixedpool_cache *model_caches[MODEL_CACHES];
static bool             model_leased[MODEL_MAX];
static uint32_t         model_count, model_out;

static void model_lease(uint64_t r)
{
    int      frames[MODEL_MAX];
    uint32_t want = 1 + (uint32_t)(r >> 20) % 9, got = 0;
    cache = model_caches[(r >> 8) % MODEL_CACHES];
    if (r >> 60 == 0) got = fixedpool_alloc_many(pool, frames, want);
    else {
        want      = 1;
        int frame = lease((int)((r >> 40) % (LEASES - 1)));
        if (frame >= 0) frames[got++] = frame;
        else CHECK_EQ(frame, -ENOBUFS);
    }
    CHECK_EQ(got, want < model_count - model_out ? want : model_count - model_out);
    for (uint32_t i = 0; i < got; i++) {
        bool known = frames[i] >= 0 && frames[i] < (int)model_count;
        CHECK(known && !model_leased[frames[i]]);
        if (known) model_leased[frames[i]] = true;
        model_out++;
    }
}

static void model_free(uint64_t r)
{
    int frame = (int)((uint32_t)(r >> 24) % (model_count + (r >> 61 == 0)));
    int way   = (int)((r >> 40) % (FREES - 1));
    int want  = frame >= (int)model_count ? -EINVAL : model_leased[frame] ? 0 : -EALREADY;
    cache     = model_caches[(r >> 8) % MODEL_CACHES];
    if (way == FREE_MANY && want == -EINVAL) want = -EALREADY; /* it only counts */
    CHECK_EQ(give_back(way, frame), want);
    if (want != 0) return;
    model_leased[frame] = false;
    model_out--;
}

static void as_a_model_says(void)
{
    static const uint32_t counts[] = {1, 2, 3, 7, 40, 64, MODEL_MAX};
    uint64_t              random   = 3;

    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        make(4096, model_count = counts[c], 0);
        for (int i = 0; i < MODEL_CACHES; i++) model_caches[i] = fixedpool_cache_open(pool);
        for (int step = 0; step < 60000; step++) {
            uint64_t r       = check_random(&random);
            bool     leasing = step / (3 * (int)model_count) & 1; /* fuller, then emptier */
            if (r % 1024 == 0) {
                fixedpool_cache **one = &model_caches[(r >> 8) % MODEL_CACHES];
                fixedpool_cache_close(*one);
                *one = fixedpool_cache_open(pool);
            } else if (r % 8 < (leasing ? 5 : 3)) model_lease(r);
            else model_free(r);
            if (step % 16 == 0) CHECK_EQ(info().leased, model_out);
            if (step % 16 == 0) CHECK(info().cached <= model_count - model_out);
        }
        for (int frame = 0; frame < (int)model_count; frame++)
            if (model_leased[frame]) CHECK_EQ(fixedpool_free(pool, frame), 0);
        memset(model_leased, 0, sizeof model_leased);
        model_out = 0;
        for (int i = 0; i < MODEL_CACHES; i++) fixedpool_cache_close(model_caches[i]);
        all_are_there(ALLOC);
        end();
    }
}

int main(void)
{
    RUN(defaults);
    RUN(bad_shapes);
    RUN(shapes_beyond_an_address_space);
    RUN(nothing_to_end);
    RUN(nothing_to_call);
    RUN(each_frame_once_then_none);
    RUN(addresses_and_frames);
    RUN(spans_end_where_frames_do);
    RUN(a_frame_is_freed_once);
    RUN(no_way_frees_a_frame_twice);
    RUN(many_at_once);
    RUN(many_finds_cached_frames);
    RUN(a_cache_keeps_frames);
    RUN(idle_caches_strand_nothing);
    RUN(a_crowd_of_caches);
    RUN(a_thread_may_leave_its_cache);
    RUN(destroy_waits_for_its_users);
    RUN(without_membarrier);
    RUN(a_timeout_is_kept);
    RUN(each_way_of_freeing_wakes);
    RUN(as_many_wake_as_there_are_frames);
    RUN(the_longest_timeouts);
    RUN(signals_do_not_end_a_wait);
    RUN(frames_cost_nothing_until_written);
    RUN(populate_brings_every_page_in);
    RUN(huge_pages_are_asked_for);
    RUN(a_child_has_no_frames);
    RUN(as_a_model_says);
    return REPORT();
}
