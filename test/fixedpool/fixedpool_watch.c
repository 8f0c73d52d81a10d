/* Goal: an event loop hears of a free frame, by an eventfd or by a futex word, whichever way the
 * frame is freed; event loops and sleepers do not starve each other; wake_all ends all waiting.
 * Method: real eventfds and futexes, also through io_uring. In the storms every thread has to get
 * frames all the time, and there are fewer frames than threads: a lost event ends in silence. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define FIXEDPOOL_IMPLEMENTATION
#include "../../fixedpool.h"

#include "../check.h"
#include "ring.h"

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

/* Whether the event comes within so many milliseconds; takes it. */
static bool told(int fd, int milliseconds)
{
    struct pollfd event = {.fd = fd, .events = POLLIN};
    uint64_t      value;
    return poll(&event, 1, milliseconds) == 1 && read(fd, &value, sizeof value) == sizeof value;
}

static fixedpool_waiter open_waiter(void)
{
    return (fixedpool_waiter){eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), NULL, NULL};
}

static void close_waiter(fixedpool_waiter *waiter)
{
    fixedpool_unwatch(pool, waiter);
    CHECK(waiter->place == NULL);
    close(waiter->eventfd);
}

static void each_way_of_freeing_tells(void)
{
    fixedpool_waiter waiter = open_waiter();
    int              frame;

    make(1);
    fixedpool_cache *cache = fixedpool_cache_open(pool), *other = fixedpool_cache_open(pool);
    for (int way = 0; way < 6; way++) {
        frame = way < 3 ? fixedpool_alloc(pool) : fixedpool_cache_alloc(cache);
        CHECK_EQ(frame, 0);
        CHECK_EQ(fixedpool_watch(pool, &waiter), -ENOBUFS);
        CHECK(!told(waiter.eventfd, 0));
        if (way % 3 == 0) CHECK_EQ(fixedpool_free(pool, 0), 0);
        if (way % 3 == 1) CHECK_EQ(fixedpool_free_many(pool, &frame, 1), 1);
        if (way % 3 == 2) CHECK_EQ(fixedpool_cache_free(way == 2 ? other : cache, 0), 0);
        CHECK(told(waiter.eventfd, 1000));
        CHECK_EQ(fixedpool_watch(pool, &waiter), 0);
        CHECK(!told(waiter.eventfd, 0));
        CHECK_EQ(fixedpool_free(pool, 0), 0);
        CHECK(!told(waiter.eventfd, 0)); /* it was not armed */
    }
    CHECK_EQ(fixedpool_destroy(pool), -EBUSY);
    fixedpool_cache_close(cache);
    fixedpool_cache_close(other);
    struct fixedpool_info info;
    fixedpool_stats(pool, &info);
    CHECK_EQ(info.waiters, 1);
    CHECK_EQ(fixedpool_destroy(pool), -EBUSY); /* the waiter has a place */
    close_waiter(&waiter);
    end();
}

static void in_order_of_arrival(void)
{
    fixedpool_waiter waiters[40]; /* more than a block of seats */
    int              frames[2];

    make(2);
    CHECK_EQ(fixedpool_alloc_many(pool, frames, 2), 2);
    for (int i = 0; i < 40; i++) {
        waiters[i] = open_waiter();
        CHECK_EQ(fixedpool_watch(pool, &waiters[i]), -ENOBUFS);
    }
    CHECK_EQ(fixedpool_watch(pool, &waiters[0]), -ENOBUFS); /* keeps its turn */
    for (int i = 0; i < 40; i += 2) {
        CHECK_EQ(fixedpool_free_many(pool, frames, 2), 2);
        for (int j = 0; j < 40; j++) CHECK_EQ(told(waiters[j].eventfd, 0), j == i || j == i + 1);
        CHECK_EQ(fixedpool_alloc_many(pool, frames, 2), 2);
    }
    for (int i = 0; i < 40; i++) close_waiter(&waiters[i]);
    CHECK_EQ(fixedpool_free_many(pool, frames, 2), 2);
    end();
}

static void a_waiter_that_leaves_passes_it_on(void)
{
    fixedpool_waiter first = open_waiter(), second = open_waiter();

    make(1);
    CHECK_EQ(fixedpool_alloc(pool), 0);
    CHECK_EQ(fixedpool_watch(pool, &first), -ENOBUFS);
    CHECK_EQ(fixedpool_watch(pool, &second), -ENOBUFS);
    CHECK_EQ(fixedpool_free(pool, 0), 0);
    CHECK(!told(second.eventfd, 0));
    fixedpool_unwatch(pool, &first);
    CHECK(told(second.eventfd, 1000));
    fixedpool_unwatch(pool, &first); /* again: nothing */
    CHECK_EQ(fixedpool_alloc(pool), 0);
    CHECK_EQ(fixedpool_watch(pool, &first), -ENOBUFS);
    fixedpool_unwatch(pool, &first); /* canceled */
    CHECK(told(first.eventfd, 0));   /* of before */
    CHECK_EQ(fixedpool_free(pool, 0), 0);
    CHECK(!told(first.eventfd, 0));
    close_waiter(&first);
    close_waiter(&second);
    end();
}

static void bad_calls(void)
{
    uint32_t         words[2] = {0, 0};
    fixedpool_waiter waiter   = {-1, NULL, NULL};

    make(1);
    CHECK_EQ(fixedpool_watch(NULL, &waiter), -EINVAL);
    CHECK_EQ(fixedpool_watch(pool, NULL), -EINVAL);
    CHECK_EQ(fixedpool_watch(pool, &waiter), -EINVAL);
    waiter.futex = (uint32_t *)(void *)((char *)words + 1);
    CHECK_EQ(fixedpool_watch(pool, &waiter), -EINVAL);
    CHECK(waiter.place == NULL);
    fixedpool_unwatch(NULL, &waiter);
    fixedpool_unwatch(pool, NULL);
    fixedpool_unwatch(pool, &waiter);
    CHECK_EQ(fixedpool_wake_all(NULL), -EINVAL);
    end();
}

/* ---- A futex word, by io_uring ---- */

enum { FUTEX_WAIT_SQE = 51, U32_PRIVATE = 2 | 128 };

static void a_futex_word(void)
{
    uint32_t         word   = 0;
    fixedpool_waiter waiter = {-1, &word, NULL};
    struct ring      ring;
    struct cqe       event = {0, 0, 0};

    make(1);
    CHECK_EQ(fixedpool_alloc(pool), 0);
    CHECK_EQ(fixedpool_watch(pool, &waiter), -ENOBUFS);
    if (open_ring(&ring) == 0) {
        struct sqe request = {.opcode = FUTEX_WAIT_SQE, .fd = U32_PRIVATE, .user_data = 9};
        request.addr       = (uintptr_t)&word;
        request.pad[0]     = UINT32_MAX; /* addr3: the mask */
        CHECK_EQ(push(&ring, &request), 0);
        if (peek(&ring, &event)) printf("# no IORING_OP_FUTEX_WAIT here: %d\n", event.res);
        CHECK_EQ(fixedpool_free(pool, 0), 0);
        if (event.user_data != 9) CHECK(await(&ring, &event));
        close_ring(&ring);
    } else CHECK_EQ(fixedpool_free(pool, 0), 0);
    CHECK_EQ(word, 1);
    CHECK_EQ(fixedpool_watch(pool, &waiter), 0);
    CHECK_EQ(fixedpool_free(pool, 0), 0);
    CHECK_EQ(word, 1);
    fixedpool_unwatch(pool, &waiter);
    end();
}

/* ---- The end of waiting ---- */

static void *sleep_for_a_frame(void *cache)
{
    int result = cache ? fixedpool_cache_alloc_wait(cache, -1) : fixedpool_alloc_wait(pool, -1);
    return (void *)(intptr_t)result;
}

static void wake_all_ends_waiting(void)
{
    fixedpool_waiter waiters[2] = {open_waiter(), open_waiter()};
    pthread_t        threads[3];
    void            *result;

    make(1);
    fixedpool_cache *cache = fixedpool_cache_open(pool);
    CHECK_EQ(fixedpool_alloc(pool), 0);
    for (int i = 0; i < 2; i++) CHECK_EQ(fixedpool_watch(pool, &waiters[i]), -ENOBUFS);
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, sleep_for_a_frame, i == 2 ? cache : NULL);
    struct fixedpool_info info = {.waits = 0};
    while (info.waits < 3) {
        usleep(1000);
        fixedpool_stats(pool, &info);
    }
    CHECK_EQ(fixedpool_wake_all(pool), 0);
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], &result);
        CHECK_EQ((intptr_t)result, -ECANCELED);
    }
    for (int i = 0; i < 2; i++) CHECK(told(waiters[i].eventfd, 1000));
    CHECK_EQ(fixedpool_watch(pool, &waiters[0]), -ECANCELED);
    CHECK_EQ(fixedpool_alloc_wait(pool, -1), -ECANCELED); /* a thread that comes late */
    CHECK_EQ(fixedpool_cache_alloc_wait(cache, -1), -ECANCELED);
    CHECK_EQ(fixedpool_free(pool, 0), 0);
    CHECK_EQ(fixedpool_alloc_wait(pool, -1), 0);
    CHECK_EQ(fixedpool_free(pool, 0), 0);
    CHECK_EQ(fixedpool_cache_alloc_wait(cache, 0), 0);
    CHECK_EQ(fixedpool_cache_free(cache, 0), 0);
    CHECK_EQ(fixedpool_watch(pool, &waiters[0]), 0);
    CHECK_EQ(fixedpool_free(pool, 0), 0);
    fixedpool_cache_close(cache);
    for (int i = 0; i < 2; i++) close_waiter(&waiters[i]);
    end();
}

static void a_cache_waits_as_alloc_wait_does(void)
{
    make(1);
    fixedpool_cache *cache = fixedpool_cache_open(pool);
    CHECK_EQ(fixedpool_cache_alloc_wait(cache, 0), 0);
    CHECK_EQ(fixedpool_cache_alloc_wait(cache, 0), -ETIMEDOUT);
    CHECK_EQ(fixedpool_cache_alloc_wait(cache, 2000000), -ETIMEDOUT);
    pthread_t thread;
    void     *result;
    pthread_create(&thread, NULL, sleep_for_a_frame, cache);
    usleep(3000);
    CHECK_EQ(fixedpool_free(pool, 0), 0);
    pthread_join(thread, &result);
    CHECK_EQ((intptr_t)result, 0);
    CHECK_EQ(fixedpool_cache_free(cache, 0), 0);
    fixedpool_cache_close(cache);
    end();
}

/* ---- A storm ---- */

enum { THREADS = 6, ROUNDS = 10000 };

static atomic_int  done;
static atomic_uint owners[2];

static void use(int frame)
{
    CHECK_EQ(atomic_fetch_add(&owners[frame], 1), 0);
    if (frame) sched_yield();
    CHECK_EQ(atomic_fetch_sub(&owners[frame], 1), 1);
}

static void *event_loop(void *cache)
{
    fixedpool_waiter waiter = open_waiter();

    for (int round = 0; round < ROUNDS;) {
        int frame = cache ? fixedpool_cache_alloc(cache) : fixedpool_alloc(pool);
        if (frame == -ENOBUFS) frame = fixedpool_watch(pool, &waiter);
        if (frame == -ENOBUFS) {
            CHECK(told(waiter.eventfd, 8000));
            if (round % 7 == 0) fixedpool_unwatch(pool, &waiter); /* and has no use for it */
            continue;
        }
        CHECK(frame >= 0);
        use(frame);
        CHECK_EQ(cache ? fixedpool_cache_free(cache, frame) : fixedpool_free(pool, frame), 0);
        round++;
    }
    close_waiter(&waiter);
    atomic_fetch_add(&done, 1);
    return NULL;
}

static void *sleeper(void *cache)
{
    for (int round = 0; round < ROUNDS; round++) {
        int frame = fixedpool_cache_alloc_wait(cache, -1);
        use(frame);
        CHECK_EQ(fixedpool_cache_free(cache, frame), 0);
    }
    atomic_fetch_add(&done, 1);
    return NULL;
}

static void no_event_is_lost(void)
{
    pthread_t        threads[THREADS];
    fixedpool_cache *caches[THREADS];

    make(2);
    for (int i = 0; i < THREADS; i++) {
        caches[i] = fixedpool_cache_open(pool);
        pthread_create(&threads[i], NULL, i % 3 == 2 ? sleeper : event_loop,
                       i % 3 == 1 ? NULL : caches[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        fixedpool_cache_close(caches[i]);
    }
    CHECK_EQ(atomic_load(&done), THREADS);
    end();
}

int main(void)
{
    RUN(each_way_of_freeing_tells);
    RUN(in_order_of_arrival);
    RUN(a_waiter_that_leaves_passes_it_on);
    RUN(bad_calls);
    RUN(a_futex_word);
    RUN(wake_all_ends_waiting);
    RUN(a_cache_waits_as_alloc_wait_does);
    RUN(no_event_is_lost);
    return REPORT();
}
