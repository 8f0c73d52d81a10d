/* Goal: under any storm of threads a frame is leased to one at a time, a lease fails only when all
 * frames are leased, none is lost, and waiters are woken; and a thread that is stopped anywhere
 * holds up nobody.
 * Method: pools with hardly a frame more than there are threads, leased and freed in every way at
 * random; the groups' turns begin near their end, and wrap. Each frame has a word that says whose
 * it is, and a payload that its owner looks at again before the free. All accesses to both are
 * relaxed or plain, so that only the pool's own order can make them right. At the end of each storm
 * all frames are counted.
 * Usage: fixedpool_stress [SECONDS [THREADS]] */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Some time after each membarrier: else the others' processors, which it has just interrupted, are
 * not yet back where a fence that is missing elsewhere would show. */
static long late_syscall(long number, long a, long b, long c, long d, long e, long f);
#define FIXEDPOOL_SYSCALL(number, a, b, c, d, e, f) \
    late_syscall(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define FIXEDPOOL_IMPLEMENTATION
#include "../../fixedpool.h"

#include "../check.h"

enum { SIZE = 4096, FRAMES_MAX = 512, HELD_MAX = 16, THREADS_MAX = 64, WORDS = 16 };

static double seconds = 2.0;
static int    threads = 4;

static fixedpool        *pool;
static _Atomic(uint32_t) owner[FRAMES_MAX]; /* worker's number; 0 = nobody's */
static _Atomic(bool)     over;

static long late_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    static _Thread_local uint64_t random;
    long                          result = syscall(number, a, b, c, d, e, f);
    if (number == SYS_membarrier && threads < 12)
        for (uint64_t spin = check_random(&random) % 1024; spin > 0; spin--)
            atomic_load_explicit(&over, memory_order_relaxed);
    return result;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Of the time, for one storm; the second gets two. */
static double share(void) { return seconds / 9; }

static void make(uint32_t count)
{
    fixedpool_config config = {SIZE, count, 0};
    CHECK_EQ(fixedpool_create(&pool, &config), 0);
    if (!pool) exit(1);
    for (uint32_t i = 0; i < pool->group_count; i++) /* their turns are about to wrap */
        atomic_fetch_or(&pool->groups[i].shared, (uint64_t)(0 - 4 * (i % 8 + 1)) << 32);
    for (int i = 0; i < FRAMES_MAX; i++) atomic_store(&owner[i], 0);
    atomic_store(&over, false);
    check_progress();
}

static uint32_t leased(void)
{
    struct fixedpool_info info;
    fixedpool_stats(pool, &info);
    return info.leased;
}

/* All frames are idle, and each is there once. */
static void nothing_is_lost(void)
{
    int                   frames[FRAMES_MAX];
    bool                  seen[FRAMES_MAX] = {false};
    struct fixedpool_info info;

    fixedpool_stats(pool, &info);
    CHECK_EQ(info.leased, 0);
    uint32_t got = fixedpool_alloc_many(pool, frames, FRAMES_MAX);
    CHECK_EQ(got, info.frame_count);
    for (uint32_t i = 0; i < got; i++) {
        CHECK(!seen[frames[i]]);
        seen[frames[i]] = true;
    }
    CHECK_EQ(fixedpool_alloc(pool), -ENOBUFS);
    CHECK_EQ(leased(), info.frame_count);
    CHECK_EQ(fixedpool_free_many(pool, frames, got), got);
}

static void end(void)
{
    struct fixedpool_info info;
    nothing_is_lost();
    fixedpool_stats(pool, &info);
    CHECK_EQ(info.caches, 0);
    CHECK_EQ(info.cached, 0);
    CHECK_EQ(fixedpool_destroy(pool), 0);
}

/* ---- A worker, and what it does with a frame ---- */

enum ways { SHARED = 1, CACHED = 2, MIXED = 3 };

struct worker {
    _Alignas(64) pthread_t thread;
    fixedpool_cache *cache;
    uint64_t         random;
    uint64_t         leases, misses;
    uint32_t         number; /* from 1 */
    enum ways        ways;
    uint32_t         most; /* frames that it holds at a time */
    uint32_t         count;
    int              held[HELD_MAX];
    bool             never_fails; /* there is a frame for everybody */
    bool             greedy;      /* holds nearly all it may, always */
};
static struct worker workers[THREADS_MAX];

/* Plain writes: the thread sanitizer sees whether anything orders them after the last owner's. */
static void take(struct worker *self, int frame)
{
    CHECK(frame >= 0 && frame < FRAMES_MAX);
    CHECK_EQ(atomic_exchange_explicit(&owner[frame], self->number, memory_order_relaxed), 0);
    volatile uint32_t *at = fixedpool_ptr(pool, frame);
    for (uint32_t i = 0; i < WORDS; i++) {
        CHECK(at[i * 64] == at[0]); /* one owner's, whole */
    }
    for (uint32_t i = 0; i < WORDS; i++) at[i * 64] = self->number;
    self->leases++;
}

static void look_again(struct worker *self, int frame)
{
    volatile uint32_t *at = fixedpool_ptr(pool, frame);
    for (uint32_t i = 0; i < WORDS; i++) CHECK(at[i * 64] == self->number);
    CHECK_EQ(atomic_exchange_explicit(&owner[frame], 0, memory_order_relaxed), self->number);
}

static void lease(struct worker *self, uint64_t r)
{
    uint32_t room = self->most - self->count, want = 1, got = 0;
    int      frame = -ENOBUFS, frames[HELD_MAX];

    if (self->ways == CACHED || (self->ways == MIXED && r & 1)) {
        frame = fixedpool_cache_alloc(self->cache);
    } else if ((r >> 8) % 4 == 0) {
        want = 1 + (uint32_t)(r >> 16) % room;
        got  = fixedpool_alloc_many(pool, frames, want);
    } else if ((r >> 8) % 4 == 1) {
        frame = fixedpool_alloc_wait(pool, self->never_fails ? 0 : (int64_t)(r >> 20) % 200000);
        if (frame == -ETIMEDOUT) frame = -ENOBUFS;
    } else {
        frame = fixedpool_alloc(pool);
    }
    if (frame >= 0) frames[got++] = frame;
    else CHECK_EQ(frame, -ENOBUFS);
    self->misses += got < want;
    if (self->never_fails) CHECK_EQ(got, want);
    for (uint32_t i = 0; i < got; i++) {
        take(self, frames[i]);
        self->held[self->count++] = frames[i];
    }
}

static void release(struct worker *self, uint64_t r)
{
    if (self->ways != CACHED && (r >> 8) % 4 == 0) { /* all of them */
        for (uint32_t i = 0; i < self->count; i++) look_again(self, self->held[i]);
        CHECK_EQ(fixedpool_free_many(pool, self->held, self->count), self->count);
        self->count = 0;
        return;
    }
    uint32_t at    = (uint32_t)(r >> 16) % self->count;
    int      frame = self->held[at];
    self->held[at] = self->held[--self->count];
    look_again(self, frame);
    if (self->ways == CACHED || (self->ways == MIXED && r & 2))
        CHECK_EQ(fixedpool_cache_free(self->cache, frame), 0);
    else CHECK_EQ(fixedpool_free(pool, frame), 0);
}

static void *lease_and_free(void *arg)
{
    struct worker *self = arg;

    self->cache = fixedpool_cache_open(pool);
    CHECK(self->cache != NULL);
    while (!atomic_load_explicit(&over, memory_order_relaxed)) {
        uint64_t r = check_random(&self->random);
        if (self->count == 0 || (self->count < self->most && (self->greedy || r >> 63)))
            lease(self, r);
        else release(self, r);
        if ((r >> 40) % 64 == 0) sched_yield();
        if ((r >> 40) % 512 == 1) { /* what it leased outlives it */
            fixedpool_cache_close(self->cache);
            self->cache = fixedpool_cache_open(pool);
        }
        check_progress();
    }
    while (self->count > 0) release(self, check_random(&self->random));
    fixedpool_cache_close(self->cache);
    return NULL;
}

static void start(int count, enum ways ways, uint32_t most, bool never_fails)
{
    for (int i = 0; i < count; i++) {
        struct worker *worker = &workers[i];
        memset(worker, 0, sizeof *worker);
        worker->number      = (uint32_t)i + 1;
        worker->random      = (uint64_t)i * 7919 + ways * 31 + most;
        worker->ways        = ways;
        worker->most        = most;
        worker->never_fails = never_fails;
        worker->greedy      = never_fails && most > 1 && i % 4 != 3;
        pthread_create(&worker->thread, NULL, lease_and_free, worker);
    }
}

static void stop(int count, const char *what)
{
    uint64_t leases = 0, misses = 0;
    atomic_store(&over, true);
    for (int i = 0; i < count; i++) {
        pthread_join(workers[i].thread, NULL);
        leases += workers[i].leases;
        misses += workers[i].misses;
    }
    printf("# %s: %llu leases, none left %llu times\n", what, (unsigned long long)leases,
           (unsigned long long)misses);
}

static void let_pass(double time)
{
    for (double until = now() + time; now() < until;) usleep(2000);
}

static const char *const names[] = {"", "shared", "cached", "mixed"};

static void a_frame_has_one_owner(void)
{
    static const uint32_t shapes[][2] = {{1, 1}, {2, 1}, {2, 2}, {5, 3}, {40, 8}};
    enum { SHAPES = sizeof shapes / sizeof *shapes };

    for (int i = 0; i < SHAPES; i++)
        for (enum ways ways = SHARED; ways <= MIXED; ways++) {
            make(shapes[i][0]);
            start(threads, ways, shapes[i][1], false);
            let_pass(share() / (SHAPES * MIXED));
            stop(threads, names[ways]);
            end();
        }
}

/* As many frames as the threads hold at most: never is none left, although hardly one is idle, and
 * that one is in somebody's cache, or on its way from one to another. */
static void a_lease_fails_only_when_all_are_leased(void)
{
    static const uint32_t most[] = {1, 1, 2, 5, 8, 16};
    static const int      more[] = {1, 3, 1, 1, 1, 2}; /* times as many threads */
    enum { SHAPES = sizeof most / sizeof *most };

    for (int i = 0; i < SHAPES; i++)
        for (enum ways ways = SHARED; ways <= MIXED; ways++) {
            int count = threads * more[i] < THREADS_MAX ? threads * more[i] : THREADS_MAX;
            make((uint32_t)count * most[i]);
            start(count, ways, most[i], true);
            let_pass(2 * share() / (SHAPES * MIXED));
            stop(count, names[ways]);
            end();
        }
}

/* Two threads, on two processors where there are two, with nothing in their way that would put
 * their stores in order: a fence that is missing in the pool shows here. */
static void *lease_and_free_fast(void *arg)
{
    struct worker *self   = arg;
    bool           cached = self->ways == CACHED;

    self->cache = fixedpool_cache_open(pool);
    for (; !atomic_load_explicit(&over, memory_order_relaxed); self->leases++) {
        int frame = cached ? fixedpool_cache_alloc(self->cache) : fixedpool_alloc(pool);
        if (self->never_fails) CHECK(frame >= 0);
        if (frame < 0) continue;
        CHECK_EQ(atomic_load_explicit(&owner[frame], memory_order_relaxed), 0);
        atomic_store_explicit(&owner[frame], self->number, memory_order_relaxed);
        for (uint64_t i = self->leases % 8; i > 0; i--)
            CHECK(atomic_load_explicit(&owner[frame], memory_order_relaxed) == self->number);
        atomic_store_explicit(&owner[frame], 0, memory_order_relaxed);
        if (cached) CHECK_EQ(fixedpool_cache_free(self->cache, frame), 0);
        else CHECK_EQ(fixedpool_free(pool, frame), 0);
    }
    fixedpool_cache_close(self->cache);
    return NULL;
}

static void two_pass_each_other(void)
{
    static const uint32_t idle[] = {1, 1, 2}; /* one: each takes it from the other */
    static int            kept[FRAMES_MAX];

    for (int i = 0; i < 3; i++) {
        uint32_t count = i == 0 ? 2 : 32; /* by ones; by twos, all but a few of which are out */
        make(count);
        CHECK_EQ(fixedpool_alloc_many(pool, kept, count - idle[i]), count - idle[i]);
        for (int t = 0; t < 2; t++) {
            memset(&workers[t], 0, sizeof workers[t]);
            workers[t].number      = (uint32_t)t + 1;
            workers[t].never_fails = idle[i] > 1;
            workers[t].ways        = t == 0 || i == 1 ? CACHED : SHARED;
            pthread_create(&workers[t].thread, NULL, lease_and_free_fast, &workers[t]);
        }
        let_pass(share() / 3);
        stop(2, "two");
        CHECK_EQ(fixedpool_free_many(pool, kept, count - idle[i]), count - idle[i]);
        end();
    }
}

/* ---- Idle caches, some of which come and go ---- */

enum { IDLERS = 8, TAKERS = 2, PLENTY = 64 };
static pthread_barrier_t turn;

static void *fill_a_cache(void *arg)
{
    struct worker *self  = arg;
    bool           comes = self->number % 2;

    self->cache = fixedpool_cache_open(pool);
    for (;;) {
        int      frames[6];
        uint32_t count = 1 + (uint32_t)check_random(&self->random) % 6;
        for (uint32_t i = 0; i < count; i++) {
            int frame = fixedpool_cache_alloc(self->cache);
            CHECK(frame >= 0); /* 48 of 64 at most */
            frames[i] = frame;
        }
        for (uint32_t i = 0; i < count; i++)
            CHECK_EQ(fixedpool_cache_free(self->cache, frames[i]), 0);
        pthread_barrier_wait(&turn); /* from here on no frame is leased but by the takers */
        if (atomic_load(&over)) break;
        for (int i = 0; comes && i < 4; i++) { /* moves what is in it while they take it */
            fixedpool_cache_close(self->cache);
            self->cache = fixedpool_cache_open(pool);
        }
        pthread_barrier_wait(&turn);
    }
    fixedpool_cache_close(self->cache);
    return NULL;
}

static void *take_its_half(void *arg)
{
    struct worker *self = arg;

    self->cache       = fixedpool_cache_open(pool);
    self->never_fails = true;
    for (;;) {
        pthread_barrier_wait(&turn);
        if (atomic_load(&over)) break;
        int      frames[PLENTY / TAKERS];
        uint32_t count = 0;
        while (count < PLENTY / TAKERS) {
            self->most = PLENTY / TAKERS - count < HELD_MAX ? PLENTY / TAKERS - count : HELD_MAX;
            lease(self, check_random(&self->random));
            for (uint32_t i = 0; i < self->count; i++) frames[count++] = self->held[i];
            if (self->count == 0) break; /* already reported */
            self->count = 0;
        }
        for (uint32_t i = 0; i < count; i++) {
            look_again(self, frames[i]);
            CHECK_EQ(check_random(&self->random) & 1 ? fixedpool_cache_free(self->cache, frames[i])
                                                     : fixedpool_free(pool, frames[i]),
                     0);
        }
        check_progress();
        pthread_barrier_wait(&turn);
    }
    fixedpool_cache_close(self->cache);
    return NULL;
}

static void idle_caches_strand_nothing(void)
{
    uint64_t rounds = 0;

    make(PLENTY);
    pthread_barrier_init(&turn, NULL, IDLERS + TAKERS + 1);
    for (int i = 0; i < IDLERS + TAKERS; i++) {
        memset(&workers[i], 0, sizeof workers[i]);
        workers[i].number = (uint32_t)i + 1;
        workers[i].random = (uint64_t)i;
        workers[i].ways   = MIXED;
        pthread_create(&workers[i].thread, NULL, i < IDLERS ? fill_a_cache : take_its_half,
                       &workers[i]);
    }
    for (double until = now() + share(); now() < until; rounds++) {
        pthread_barrier_wait(&turn);
        pthread_barrier_wait(&turn);
        CHECK_EQ(leased() <= IDLERS * 6, true);
    }
    atomic_store(&over, true);
    pthread_barrier_wait(&turn);
    for (int i = 0; i < IDLERS + TAKERS; i++) pthread_join(workers[i].thread, NULL);
    pthread_barrier_destroy(&turn);
    printf("# %llu rounds\n", (unsigned long long)rounds);
    end();
}

/* ---- Waiting ---- */

/* One frame goes from thread to thread. The thread that frees it does nothing more until the other
 * says that it got the frame: a wake-up that is lost is not made good by the next one. */
static _Atomic(uint64_t) expecting, arrived;
static uint64_t          last_turn; /* nobody's business while a player holds the baton */

static void *free_and_exit(void *arg)
{
    fixedpool_cache *cache = fixedpool_cache_open(pool);
    int             *frame = arg;
    CHECK_EQ(fixedpool_cache_free(cache, *frame), 0);
    fixedpool_cache_close(cache);
    return NULL;
}

static void hand_over(struct worker *self, int frame)
{
    pthread_t thread;
    uint64_t  r      = check_random(&self->random);
    int       two[2] = {frame, FRAMES_MAX};
    look_again(self, frame);
    switch (r % 64 == 0 ? 4 : (r >> 8) % 4) {
    case 0:
        CHECK_EQ(fixedpool_free(pool, frame), 0);
        break;
    case 1:
        CHECK_EQ(fixedpool_free_many(pool, two, 2), 1);
        break;
    case 2:
        CHECK_EQ(fixedpool_cache_free(self->cache, frame), 0);
        break;
    case 3:
        CHECK_EQ(fixedpool_cache_free(self->cache, frame), 0);
        fixedpool_cache_close(self->cache);
        self->cache = fixedpool_cache_open(pool);
        break;
    default:
        pthread_create(&thread, NULL, free_and_exit, &frame);
        pthread_join(thread, NULL);
    }
}

/* Turn n is received by worker n % 2. */
static void *play(void *arg)
{
    struct worker *self = arg;
    uint64_t       mine = self->number - 1;

    self->cache = fixedpool_cache_open(pool);
    for (uint64_t n = 1;; n++) {
        if (n % 2 == mine) {
            atomic_store(&expecting, n);
            int frame = fixedpool_alloc_wait(pool, -1);
            CHECK(frame >= 0);
            take(self, frame);
            self->held[0] = frame;
            check_progress();
            if (atomic_load(&over)) last_turn = n;
            atomic_store(&arrived, n);
            if (last_turn == n) break;
        } else {
            while (atomic_load(&expecting) != n) sched_yield();
            for (uint64_t spin = check_random(&self->random) % 400; spin > 0; spin--)
                atomic_load_explicit(&expecting, memory_order_relaxed);
            hand_over(self, self->held[0]);
            while (atomic_load(&arrived) != n) sched_yield();
            if (last_turn == n) break;
        }
    }
    if (last_turn % 2 == mine) {
        look_again(self, self->held[0]);
        CHECK_EQ(fixedpool_free(pool, self->held[0]), 0);
    }
    fixedpool_cache_close(self->cache);
    return NULL;
}

/* Comes by once a turn, waits for a moment, and if it gets the frame passes it on: the wake-up that
 * it may have got must reach the waiter. */
static void *come_by(void *arg)
{
    struct worker *self = arg;

    self->cache = fixedpool_cache_open(pool);
    for (uint64_t seen = 0; !atomic_load(&over);) {
        uint64_t n = atomic_load(&expecting), r = check_random(&self->random);
        if (n == seen) {
            sched_yield();
            continue;
        }
        seen      = n;
        int frame = fixedpool_alloc_wait(pool, (int64_t)(r >> 8) % (r % 4 ? 100000 : 1000));
        if (frame < 0) CHECK_EQ(frame, -ETIMEDOUT);
        self->misses += frame < 0;
        if (frame < 0) continue;
        take(self, frame);
        look_again(self, frame);
        CHECK_EQ(r & 16 ? fixedpool_free(pool, frame)
                        : fixedpool_cache_free(self->cache, frame),
                 0);
    }
    fixedpool_cache_close(self->cache);
    return NULL;
}

static void hand_to_hand(int passers, uint32_t count)
{
    make(count);
    int kept[FRAMES_MAX];
    CHECK_EQ(fixedpool_alloc_many(pool, kept, count), count);
    memset(workers, 0, sizeof workers);
    for (int i = 0; i < 2 + passers; i++) {
        workers[i].number = (uint32_t)i + 1;
        workers[i].random = (uint64_t)i + count;
    }
    atomic_store(&expecting, 0);
    atomic_store(&arrived, 0);
    last_turn          = 0;
    workers[0].held[0] = kept[count / 2];
    take(&workers[0], workers[0].held[0]);
    for (int i = 0; i < 2 + passers; i++)
        pthread_create(&workers[i].thread, NULL, i < 2 ? play : come_by, &workers[i]);
    let_pass(share() / 4);
    atomic_store(&over, true);
    for (int i = 0; i < 2 + passers; i++) pthread_join(workers[i].thread, NULL);
    struct fixedpool_info info;
    fixedpool_stats(pool, &info);
    printf("# %llu turns, %llu sleeps, %d who came by\n", (unsigned long long)last_turn,
           (unsigned long long)info.waits, passers);
    for (uint32_t i = 0; i < count; i++)
        if (i != count / 2) CHECK_EQ(fixedpool_free(pool, kept[i]), 0);
    end();
}

static void no_wake_up_is_lost(void)
{
    hand_to_hand(0, 1);
    hand_to_hand(0, 40);
    hand_to_hand(1, 1);
    hand_to_hand(threads, 40);
}

/* A crowd before one frame or two; some give up, some never do, and all come through at the end. */
static void *queue_up(void *arg)
{
    struct worker *self = arg;

    self->cache = fixedpool_cache_open(pool);
    do {
        uint64_t r     = check_random(&self->random);
        int64_t  time  = r % 4 == 0 ? -1 : (int64_t)(r >> 8) % (r % 4 == 1 ? 20000 : 2000000);
        int      frame = fixedpool_alloc_wait(pool, time);
        if (frame < 0) {
            CHECK(frame == -ETIMEDOUT && time >= 0);
            self->misses++;
            continue;
        }
        take(self, frame);
        for (uint64_t spin = (r >> 30) % 300; spin > 0; spin--) atomic_load(&over);
        check_progress();
        hand_over(self, frame);
    } while (!atomic_load(&over));
    fixedpool_cache_close(self->cache);
    return NULL;
}

static void a_crowd_comes_through(void)
{
    for (uint32_t frames = 1; frames <= 2; frames++) {
        int count = threads + 4 < THREADS_MAX ? threads + 4 : THREADS_MAX;
        make(frames);
        for (int i = 0; i < count; i++) {
            memset(&workers[i], 0, sizeof workers[i]);
            workers[i].number = (uint32_t)i + 1;
            workers[i].random = (uint64_t)i + frames;
            pthread_create(&workers[i].thread, NULL, queue_up, &workers[i]);
        }
        let_pass(share() / 2);
        stop(count, "a crowd");
        end();
    }
}

/* ---- Frames freed twice ---- */

/* All racers free one lease at the same moment. `arena` says which, and of which turn. */
static _Atomic(uint64_t) arena;
static _Atomic(uint32_t) told_0, done;
static bool              own_cache; /* the cache that lent it takes part, too */

static void free_it(struct worker *self, int frame, uint64_t r)
{
    int twice[2] = {frame, frame}, result = 0;
    switch (self->ways == SHARED ? r % 2 : r % 3) {
    case 0:
        result = fixedpool_free(pool, frame);
        break;
    case 1:
        result = fixedpool_free_many(pool, twice, 2) ? 0 : -EALREADY;
        break;
    default:
        result = fixedpool_cache_free(self->cache, frame);
    }
    if (result == 0) atomic_fetch_add_explicit(&told_0, 1, memory_order_relaxed);
    else CHECK_EQ(result, -EALREADY);
}

static void *free_what_others_free(void *arg)
{
    struct worker *self = arg;

    self->cache = fixedpool_cache_open(pool);
    for (uint64_t last = 0;;) {
        uint64_t now_at = atomic_load(&arena);
        if (now_at == UINT64_MAX) break;
        if (now_at == last) {
            sched_yield();
            continue;
        }
        last = now_at;
        free_it(self, (int)(now_at % FRAMES_MAX), check_random(&self->random));
        atomic_fetch_add(&done, 1);
    }
    fixedpool_cache_close(self->cache);
    return NULL;
}

static uint64_t race(enum ways ways, double until, uint64_t *both)
{
    struct worker *self  = &workers[threads];
    uint64_t       turns = 0, random = ways;

    for (; turns % 64 != 0 || now() < until; turns++) {
        uint64_t r     = check_random(&random);
        bool     lent  = ways == MIXED && r % 4 != 0;
        int      frame = lent ? fixedpool_cache_alloc(self->cache) : fixedpool_alloc(pool);
        CHECK(frame >= 0);
        if (frame < 0) continue;
        atomic_store(&told_0, 0);
        atomic_store(&done, 0);
        atomic_store(&arena, (turns + 1) * FRAMES_MAX + (uint32_t)frame);
        for (uint64_t spin = (r >> 8) % 200; spin > 0; spin--) atomic_load(&done);
        if (own_cache && fixedpool_cache_free(self->cache, frame) == 0)
            atomic_fetch_add(&told_0, 1);
        while (atomic_load(&done) != (uint32_t)threads) sched_yield();
        uint32_t told = atomic_load(&told_0);
        if (own_cache && lent) CHECK(told == 1 || told == 2);
        else CHECK_EQ(told, 1);
        *both += told == 2;
        nothing_is_lost();
        check_progress();
    }
    return turns;
}

static void a_frame_freed_by_all_is_idle_once(void)
{
    for (int round = 0; round < 6; round++) {
        enum ways ways = round % 3 == 0 ? SHARED : MIXED;
        uint64_t  both = 0;
        own_cache      = round % 3 == 2;
        make(round < 3 ? 3 : 40);
        atomic_store(&arena, 0);
        memset(workers, 0, sizeof workers);
        for (int i = 0; i < threads; i++) {
            workers[i].random = (uint64_t)i;
            workers[i].ways   = ways;
            pthread_create(&workers[i].thread, NULL, free_what_others_free, &workers[i]);
        }
        workers[threads].cache = fixedpool_cache_open(pool);
        uint64_t turns         = race(ways, now() + share() / 6, &both);
        atomic_store(&arena, UINT64_MAX);
        for (int i = 0; i < threads; i++) pthread_join(workers[i].thread, NULL);
        fixedpool_cache_close(workers[threads].cache);
        printf("# %s%s: %llu leases, ended by two %llu times\n", names[ways],
               own_cache ? " and the cache that lent" : "", (unsigned long long)turns,
               (unsigned long long)both);
        end();
    }
}

/* ---- A thread that is stopped, wherever it is ---- */

static _Atomic(int)  stopped;
static _Atomic(bool) resume;

static void stand_still(int unused)
{
    (void)unused;
    int error = errno;
    atomic_fetch_add(&stopped, 1);
    while (!atomic_load(&resume)) sched_yield();
    atomic_fetch_sub(&stopped, 1);
    errno = error;
}

static void *lease_and_free_one(void *arg)
{
    struct worker *self = arg;

    while (!atomic_load_explicit(&over, memory_order_relaxed)) {
        uint64_t r = check_random(&self->random);
        if (self->count == 0) lease(self, r & 3 ? r : r | 1);
        else release(self, r);
    }
    while (self->count > 0) release(self, check_random(&self->random));
    return NULL;
}

/* Everything but one frame of each stopped thread can be had, by one who cannot wait for them. */
static void take_all_but(uint32_t count, int still, struct worker *self)
{
    int      frames[FRAMES_MAX];
    uint32_t got = 0;
    for (int frame; got < count; frames[got++] = frame) {
        frame = got % 2 ? fixedpool_alloc(pool) : fixedpool_cache_alloc(self->cache);
        if (frame < 0) break;
        take(self, frame);
    }
    CHECK(got >= count - (uint32_t)still && got <= count);
    self->misses += count - got;
    for (uint32_t i = 0; i < got; i++) {
        look_again(self, frames[i]);
        CHECK_EQ(i % 3 ? fixedpool_free(pool, frames[i])
                       : fixedpool_cache_free(self->cache, frames[i]),
                 0);
    }
}

static void stop_and_take(uint32_t count, int still)
{
    struct worker *self   = &workers[still];
    uint64_t       rounds = 0, random = count;

    make(count);
    memset(workers, 0, sizeof workers);
    for (int i = 0; i <= still; i++) {
        workers[i].number = (uint32_t)i + 1;
        workers[i].random = (uint64_t)i;
        workers[i].ways   = MIXED;
        workers[i].most   = 1;
        workers[i].cache  = fixedpool_cache_open(pool);
        if (i < still) pthread_create(&workers[i].thread, NULL, lease_and_free_one, &workers[i]);
    }
    for (double until = now() + share() / 4; now() < until; rounds++) {
        for (uint64_t spin = check_random(&random) % 3000; spin > 0; spin--) atomic_load(&over);
        atomic_store(&resume, false);
        for (int i = 0; i < still; i++) pthread_kill(workers[i].thread, SIGUSR1);
        while (atomic_load(&stopped) != still) sched_yield();
        take_all_but(count, still, self);
        atomic_store(&resume, true);
        while (atomic_load(&stopped) != 0) sched_yield();
        check_progress();
    }
    atomic_store(&over, true);
    for (int i = 0; i < still; i++) pthread_join(workers[i].thread, NULL);
    for (int i = 0; i <= still; i++) fixedpool_cache_close(workers[i].cache);
    printf("# %u frames, %d stopped: %llu times, with %llu frames in their hands\n", count, still,
           (unsigned long long)rounds, (unsigned long long)self->misses);
    end();
}

static void nobody_waits_for_a_stopped_thread(void)
{
#ifdef FIXEDPOOL__ASAN
    check_skip("not under AddressSanitizer, where a lock guards what is hidden");
#else
    struct sigaction action = {.sa_handler = stand_still, .sa_flags = SA_RESTART}, before;

    sigaction(SIGUSR1, &action, &before);
    stop_and_take(1, 1);
    stop_and_take(40, 1);
    stop_and_take(40, 3);
    stop_and_take(300, 2);
    sigaction(SIGUSR1, &before, NULL);
#endif
}

int main(int argc, char **argv)
{
    if (argc > 1) seconds = atof(argv[1]);
    if (argc > 2) threads = atoi(argv[2]);
    if (threads < 1 || threads >= THREADS_MAX - 4 || !(seconds > 0)) {
        fprintf(stderr, "usage: fixedpool_stress [SECONDS [THREADS 1..%d]]\n", THREADS_MAX - 5);
        return 2;
    }
    RUN(a_frame_has_one_owner);
    RUN(a_lease_fails_only_when_all_are_leased);
    RUN(two_pass_each_other);
    RUN(idle_caches_strand_nothing);
    RUN(no_wake_up_is_lost);
    RUN(a_crowd_comes_through);
    RUN(a_frame_freed_by_all_is_idle_once);
    RUN(nobody_waits_for_a_stopped_thread);
    return REPORT();
}
