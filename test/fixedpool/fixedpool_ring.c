/* Goal: frames are fixed buffers of io_uring: of one ring, of several, of several threads' rings;
 * data read and written through them is whole; each refusal has its result, and the pool works on
 * where there is no io_uring. Method: raw system calls. Calls of
 * io_uring_register go through a function of this file, which counts them, and can answer in the
 * kernel's stead: what only gigabytes of memory, or another kernel, would show. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
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
#include "ring.h"

enum { BUFFERS = 0, UNREGISTER = 1, CLONE = 30, OPERATIONS = 64 }; /* of REGISTER */

static atomic_int   calls[OPERATIONS];   /* by operation */
static int          refusal[OPERATIONS]; /* errno that an operation fails with; 0: ask the kernel */
static bool         answers;             /* all others succeed, and the kernel is not asked */
static struct iovec seen_spans[8];       /* what was to be registered */
static long         seen_count;

static atomic_bool  takes_long;          /* half a second to register */
static bool         no_more_rings;       /* the header gets none of its own */

static long test_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    if (number == SETUP && no_more_rings) {
        errno = EMFILE;
        return -1;
    }
    if (number != REGISTER || b < 0 || b >= OPERATIONS) return syscall(number, a, b, c, d, e, f);
    atomic_fetch_add(&calls[b], 1);
    if (b == BUFFERS && answers) {
        seen_count = d;
        for (long i = 0; i < d && i < 8; i++)
            seen_spans[i] = ((const struct iovec *)(intptr_t)c)[i];
    }
    if (b == BUFFERS && atomic_load(&takes_long)) usleep(500000);
    if (refusal[b]) {
        errno = refusal[b];
        return -1;
    }
    return answers ? 0 : syscall(number, a, b, c, d, e, f);
}

/* ---- The pool, and a file to read from and write to ---- */

static fixedpool *pool;
static int        file = -1;
static bool       rings_work;

static int make_pool(uint32_t size, uint32_t count)
{
    return fixedpool_create(&pool, &(fixedpool_config){size, count, 0});
}

static void make(uint32_t size, uint32_t count)
{
    CHECK_EQ(make_pool(size, count), 0);
    if (!pool) exit(1);
}

static void end(void)
{
    CHECK_EQ(fixedpool_destroy(pool), 0);
    pool = NULL;
}

static uint32_t rings(void)
{
    struct fixedpool_info info;
    fixedpool_stats(pool, &info);
    return info.rings;
}

static void open_file(void)
{
    const char *where = getenv("TMPDIR");
    char        path[4096];

    snprintf(path, sizeof path, "%s/fixedpool_ring.%d", where ? where : ".", (int)getpid());
    file = open(path, O_RDWR | O_CREAT | O_EXCL | O_DIRECT | O_CLOEXEC, 0600);
    if (file < 0) {
        puts("# without O_DIRECT, which the file system does not take");
        file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    }
    if (file < 0) exit(1);
    unlink(path);
}

static int transfer(struct ring *ring, uint8_t opcode, int frame, uint64_t record)
{
    struct sqe request = {.opcode = opcode, .fd = file, .user_data = record ^ 0x5eed};
    request.len        = (uint32_t)fixedpool_frame_size(pool);
    request.off        = record * request.len;
    request.addr       = (uintptr_t)fixedpool_ptr(pool, frame);
    request.buf_index  = fixedpool_buf_index(pool, frame);
    return submit(ring, &request);
}

static void fill(int frame, uint64_t seed)
{
    unsigned char *at = fixedpool_ptr(pool, frame);
    for (size_t i = 0; i < fixedpool_frame_size(pool); i += 8) {
        uint64_t value = check_random(&seed);
        memcpy(at + i, &value, 8);
    }
}

static bool filled(int frame, uint64_t seed)
{
    const unsigned char *at = fixedpool_ptr(pool, frame);
    for (size_t i = 0; i < fixedpool_frame_size(pool); i += 8) {
        uint64_t value = check_random(&seed);
        if (memcmp(at + i, &value, 8) != 0) return false;
    }
    return true;
}

/* A frame's content to the file and back into another frame. */
static void goes_there_and_back(struct ring *ring, int from, int to, uint64_t record)
{
    int size = (int)fixedpool_frame_size(pool);
    fill(from, record + 77);
    memset(fixedpool_ptr(pool, to), 0, (size_t)size);
    CHECK_EQ(transfer(ring, WRITE_FIXED, from, record), size);
    CHECK_EQ(transfer(ring, READ_FIXED, to, record), size);
    CHECK(filled(to, record + 77));
}

/* Two frames of the pool, through this ring; leased as any others are. */
static void works(struct ring *ring)
{
    int from = fixedpool_alloc(pool), to = fixedpool_alloc(pool);
    CHECK(from >= 0 && to >= 0);
    goes_there_and_back(ring, from, to, 3);
    CHECK_EQ(fixedpool_free(pool, from), 0);
    CHECK_EQ(fixedpool_free(pool, to), 0);
}

static bool has_buffers(struct ring *ring)
{
    long result = syscall(REGISTER, ring->fd, UNREGISTER, NULL, 0);
    CHECK(result == 0 || errno == ENXIO);
    return result == 0;
}

static struct ring ring, second;

/* ---- Data ---- */

static void every_frame_is_a_fixed_buffer(void)
{
    enum { COUNT = 65536, RECORDS = 256 };
    static int frames[COUNT];

    make(4096, COUNT);
    CHECK_EQ(open_ring(&ring), 0);
    int result = fixedpool_register(pool, ring.fd);
    if (result == -ENOMEM && geteuid() != 0) {
        check_skip("RLIMIT_MEMLOCK does not cover 65,536 frames");
    } else {
        CHECK_EQ(result, 0);
        CHECK_EQ(rings(), 1);
        CHECK_EQ(fixedpool_alloc_many(pool, frames, COUNT), COUNT);
        for (int i = 0; i < RECORDS; i++)
            goes_there_and_back(&ring, i * 257, (i * 257 + 129) % COUNT, (uint64_t)i);
        goes_there_and_back(&ring, 0, COUNT - 1, 0);
        goes_there_and_back(&ring, COUNT - 1, 0, 1);
        CHECK_EQ(fixedpool_free_many(pool, frames, COUNT), COUNT);
        CHECK_EQ(fixedpool_unregister(pool, ring.fd), 0);
    }
    close_ring(&ring);
    end();
}

/* Kilobytes of this process that are pinned; -1: the kernel does not tell. */
static long pinned(void)
{
    FILE *status = fopen("/proc/self/status", "r");
    char  line[256];
    long  sum = -1;
    while (status && fgets(line, sizeof line, status))
        if (sscanf(line, "VmPin: %ld", &sum) == 1) break;
    if (status) fclose(status);
    return sum;
}

/* Descriptors of this process. */
static int descriptors(void)
{
    int count = 0;
    for (int fd = 0; fd < 1000; fd++) count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* Since Linux 6.12: without buffers there is nothing to clone, which is another error. */
static bool this_kernel_clones(void)
{
    CHECK(open_ring(&ring) == 0 && open_ring(&second) == 0);
    uint32_t clone[8] = {(uint32_t)second.fd};
    bool     clones   = syscall(REGISTER, ring.fd, CLONE, clone, 1) != 0 && errno == ENXIO;
    close_ring(&ring);
    close_ring(&second);
    return clones;
}

/* With this kernel's cloning, and without any. */
static void a_second_ring(int clone_refusal)
{
    refusal[CLONE] = clone_refusal;
    make(65536, 16);
    CHECK(open_ring(&ring) == 0 && open_ring(&second) == 0);
    CHECK_EQ(fixedpool_register(pool, ring.fd), 0);
    long one      = pinned();
    int  cloned   = atomic_load(&calls[CLONE]);
    int  by_other = atomic_load(&calls[BUFFERS]);
    CHECK_EQ(fixedpool_register(pool, second.fd), 0);
    CHECK_EQ(rings(), 2);
    CHECK_EQ(atomic_load(&calls[CLONE]), cloned + 1);
    if (clone_refusal) CHECK_EQ(atomic_load(&calls[BUFFERS]), by_other + 1);
    else if (atomic_load(&calls[BUFFERS]) == by_other) CHECK_EQ(pinned(), one);
    else puts("# this kernel does not clone buffers");
    works(&ring);
    works(&second);
    CHECK_EQ(fixedpool_destroy(pool), -EBUSY);
    CHECK_EQ(fixedpool_unregister(pool, ring.fd), 0); /* the clone does not need the first */
    CHECK_EQ(rings(), 1);
    works(&second);
    CHECK_EQ(fixedpool_register(pool, ring.fd), 0); /* and can be the one to clone from */
    works(&ring);
    CHECK_EQ(fixedpool_unregister(pool, second.fd), 0);
    CHECK_EQ(fixedpool_destroy(pool), -EBUSY);
    works(&ring);
    CHECK_EQ(fixedpool_unregister(pool, ring.fd), 0);
    CHECK_EQ(rings(), 0);
    CHECK(!has_buffers(&ring) && !has_buffers(&second));
    close_ring(&ring);
    close_ring(&second);
    end();
    refusal[CLONE] = 0;
}

static void two_rings(void)
{
    a_second_ring(0);
    a_second_ring(EINVAL);
}

struct worker {
    pthread_t thread;
    uint32_t  number;
};

static void *work(void *arg)
{
    struct worker   *self  = arg;
    fixedpool_cache *cache = fixedpool_cache_open(pool);
    struct ring      mine;

    CHECK_EQ(open_ring(&mine), 0);
    CHECK_EQ(fixedpool_register(pool, mine.fd), 0);
    for (uint32_t round = 0; round < 100; round++) {
        int from = round & 1 ? fixedpool_cache_alloc(cache) : fixedpool_alloc_wait(pool, -1);
        int to   = fixedpool_cache_alloc(cache);
        CHECK(from >= 0 && to >= 0);
        goes_there_and_back(&mine, from, to, self->number * 100 + round);
        CHECK_EQ(fixedpool_cache_free(cache, from), 0);
        CHECK_EQ(round & 2 ? fixedpool_free(pool, to) : fixedpool_cache_free(cache, to), 0);
        if (round % 16 == 15) { /* while the other thread does the same */
            CHECK_EQ(fixedpool_unregister(pool, mine.fd), 0);
            CHECK_EQ(fixedpool_register(pool, mine.fd), 0);
        }
    }
    CHECK_EQ(fixedpool_unregister(pool, mine.fd), 0);
    close_ring(&mine);
    fixedpool_cache_close(cache);
    return NULL;
}

static void two_threads_with_a_ring_each(void)
{
    struct worker workers[2];

    make(16384, 4); /* no more than they need */
    for (uint32_t i = 0; i < 2; i++) {
        workers[i].number = i;
        pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    }
    for (int i = 0; i < 2; i++) pthread_join(workers[i].thread, NULL);
    CHECK_EQ(rings(), 0);
    end();
}

/* What the pool registered stays the pool's while a child lives, and the child has none of it. */
static void a_child_parts_no_frame_from_its_ring(void)
{
    int ends[2], status;

    make(4096, 8);
    CHECK_EQ(open_ring(&ring), 0);
    CHECK_EQ(fixedpool_register(pool, ring.fd), 0);
    CHECK_EQ(fixedpool_alloc_many(pool, (int[8]){0}, 8), 8);
    for (int frame = 0; frame < 8; frame++) fill(frame, 1); /* no page is new */
    CHECK_EQ(pipe(ends), 0);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        close(ends[1]);
        char byte;
        _exit(read(ends[0], &byte, 1) != 0);
    }
    for (int i = 0; i < 4; i++) goes_there_and_back(&ring, i, 7 - i, (uint64_t)i);
    close(ends[1]);
    close(ends[0]);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    for (int frame = 0; frame < 8; frame++) CHECK_EQ(fixedpool_free(pool, frame), 0);
    CHECK_EQ(fixedpool_unregister(pool, ring.fd), 0);
    close_ring(&ring);
    end();
}

/* ---- Refusals ---- */

static void refusals(void)
{
    static char own[4096];
    int         null = open("/dev/null", O_RDWR | O_CLOEXEC), ends[2];

    CHECK_EQ(pipe(ends), 0);
    make(4096, 4);
    CHECK(open_ring(&ring) == 0 && open_ring(&second) == 0);
    CHECK_EQ(fixedpool_register(pool, -1), -EBADF);
    CHECK_EQ(fixedpool_register(pool, 9999), -EBADF);
    CHECK_EQ(fixedpool_register(pool, null), -EOPNOTSUPP);
    CHECK_EQ(fixedpool_register(pool, ends[0]), -EOPNOTSUPP);
    CHECK_EQ(fixedpool_register(pool, file), -EOPNOTSUPP);
    CHECK_EQ(fixedpool_unregister(pool, ring.fd), -ENXIO);
    CHECK_EQ(fixedpool_unregister(pool, -1), -ENXIO);
    CHECK_EQ(fixedpool_unregister(pool, null), -ENXIO);
    CHECK_EQ(rings(), 0);

    struct iovec span = {own, sizeof own};
    CHECK_EQ(syscall(REGISTER, second.fd, BUFFERS, &span, 1), 0);
    CHECK_EQ(fixedpool_register(pool, second.fd), -EBUSY);
    CHECK_EQ(rings(), 0);
    CHECK_EQ(fixedpool_register(pool, ring.fd), 0);
    CHECK_EQ(fixedpool_register(pool, ring.fd), -EEXIST);
    CHECK_EQ(fixedpool_register(pool, second.fd), -EBUSY); /* no clone over them, either */
    CHECK_EQ(fixedpool_unregister(pool, second.fd), -ENXIO);
    CHECK_EQ(fixedpool_register(pool, null), -EOPNOTSUPP);
    CHECK_EQ(fixedpool_register(pool, -1), -EBADF);
    CHECK_EQ(rings(), 1);
    CHECK(has_buffers(&second)); /* still its own */
    works(&ring);
    CHECK_EQ(fixedpool_destroy(pool), -EBUSY);
    CHECK_EQ(fixedpool_unregister(pool, ring.fd), 0);
    CHECK_EQ(fixedpool_unregister(pool, ring.fd), -ENXIO);
    CHECK_EQ(rings(), 0);
    CHECK_EQ(fixedpool_register(pool, ring.fd), 0); /* again */
    works(&ring);
    CHECK_EQ(fixedpool_unregister(pool, ring.fd), 0);
    close_ring(&ring);
    close_ring(&second);
    close(null);
    close(ends[0]);
    close(ends[1]);
    end();
}

/* Closed first, unregistered afterwards: the number may be nothing now, or something else. */
static void a_ring_that_was_closed(void)
{
    static char  own[4096];
    struct iovec span = {own, sizeof own};

    make(4096, 4);
    CHECK_EQ(open_ring(&ring), 0);
    CHECK_EQ(fixedpool_register(pool, ring.fd), 0);
    close_ring(&ring);
    int result = fixedpool_unregister(pool, ring.fd);
    CHECK(result == 0 || result == -ENXIO);
    CHECK_EQ(rings(), 0);
    CHECK_EQ(fixedpool_unregister(pool, ring.fd), -ENXIO);

    CHECK_EQ(open_ring(&ring), 0); /* the same, and somebody else's ring has the number */
    CHECK_EQ(fixedpool_register(pool, ring.fd), 0);
    close_ring(&ring);
    CHECK_EQ(open_ring(&second), 0);
    CHECK_EQ(second.fd, ring.fd);
    CHECK_EQ(syscall(REGISTER, second.fd, BUFFERS, &span, 1), 0);
    CHECK_EQ(fixedpool_unregister(pool, second.fd), -ENXIO);
    CHECK_EQ(rings(), 0);
    CHECK(has_buffers(&second)); /* they were not the pool's to unregister */
    close_ring(&second);
    end();
}

static void no_clone_of_strange_buffers(void)
{
    static char  own[4 * 4096];
    struct iovec span = {own, sizeof own};
    struct ring  third;

    make(4096, 4);
    CHECK_EQ(open_ring(&ring), 0);
    CHECK_EQ(open_ring(&third), 0);
    CHECK_EQ(fixedpool_register(pool, ring.fd), 0);
    close_ring(&ring);
    CHECK_EQ(fixedpool_register(pool, third.fd), 0); /* nothing is left to clone */
    works(&third);
    CHECK_EQ(fixedpool_unregister(pool, third.fd), 0);
    CHECK_EQ(open_ring(&second), 0);
    CHECK_EQ(second.fd, ring.fd);
    CHECK_EQ(syscall(REGISTER, second.fd, BUFFERS, &span, 1), 0);
    CHECK_EQ(fixedpool_register(pool, third.fd), 0); /* what is there is somebody else's */
    works(&third);
    CHECK_EQ(fixedpool_unregister(pool, third.fd), 0);
    CHECK(has_buffers(&second));
    CHECK_EQ(fixedpool_register(pool, second.fd), 0); /* a new ring, though of an old number */
    works(&second);
    CHECK_EQ(fixedpool_unregister(pool, second.fd), 0);
    CHECK_EQ(rings(), 0);
    close_ring(&second);
    close_ring(&third);
    end();
}

/* ---- While the kernel pins ---- */

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double worked[2]; /* processor time of a thread that registers */

static void *register_slowly(void *arg)
{
    uint32_t    number = *(const uint32_t *)arg;
    struct ring mine;

    CHECK_EQ(open_ring(&mine), 0);
    double before = seconds(CLOCK_THREAD_CPUTIME_ID);
    CHECK_EQ(fixedpool_register(pool, mine.fd), 0);
    worked[number] = seconds(CLOCK_THREAD_CPUTIME_ID) - before;
    CHECK_EQ(fixedpool_unregister(pool, mine.fd), 0);
    close_ring(&mine);
    return NULL;
}

/* Nothing but another registration waits for one, and that sleeps. */
static void a_long_registration(void)
{
    static const uint32_t numbers[2] = {0, 1};
    pthread_t             threads[2];

    make(4096, 4);
    refusal[CLONE] = EINVAL;
    atomic_store(&takes_long, true);
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, register_slowly, (void *)(uintptr_t)&numbers[i]);
    usleep(100000);
    double           start = seconds(CLOCK_MONOTONIC);
    fixedpool_cache *cache = fixedpool_cache_open(pool);
    CHECK(cache != NULL);
    CHECK_EQ(rings(), 0);
    fixedpool_cache_close(cache);
    CHECK(seconds(CLOCK_MONOTONIC) - start < 0.2);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    CHECK(worked[0] < 0.1 && worked[1] < 0.1);
    atomic_store(&takes_long, false);
    refusal[CLONE] = 0;
    end();
}

/* ---- Which ring a descriptor is ---- */

/* A copy of a descriptor is the same ring, also when the first one is closed. */
static void a_copy_of_a_descriptor(void)
{
    make(4096, 4);
    CHECK_EQ(open_ring(&ring), 0);
    int copy = fcntl(ring.fd, F_DUPFD_CLOEXEC, 0), first = ring.fd;
    CHECK_EQ(fixedpool_register(pool, ring.fd), 0);
    CHECK_EQ(fixedpool_register(pool, copy), -EEXIST);
    CHECK_EQ(rings(), 1);
    CHECK_EQ(fixedpool_unregister(pool, copy), 0);
    CHECK_EQ(rings(), 0);
    CHECK(!has_buffers(&ring));

    CHECK_EQ(fixedpool_register(pool, ring.fd), 0);
    close(first);
    ring.fd = copy;
    CHECK_EQ(fixedpool_register(pool, copy), -EEXIST);
    works(&ring);
    CHECK_EQ(fixedpool_unregister(pool, copy), 0);
    CHECK_EQ(rings(), 0);
    CHECK(!has_buffers(&ring));
    close_ring(&ring);
    end();
}

/* Rings that were closed and not unregistered make room when it is needed; others do not. */
static void closed_rings_make_room(void)
{
    enum { MOST = 1024, SPARE = 200 };
    struct rlimit files;
    int           fd = 64; /* each ring gets a number above the last one's */

    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &files), 0);
    files.rlim_cur = files.rlim_max;
    if (files.rlim_max < MOST + SPARE || setrlimit(RLIMIT_NOFILE, &files) != 0) {
        check_skip("a process has too few descriptors here");
        return;
    }
    make(4096, 4);
    CHECK_EQ(open_ring(&second), 0);
    CHECK_EQ(fixedpool_register(pool, second.fd), 0);
    for (int i = 1; i < MOST; i++) {
        CHECK_EQ(open_ring(&ring), 0);
        fd = fcntl(ring.fd, F_DUPFD_CLOEXEC, fd + 1);
        CHECK_EQ(fixedpool_register(pool, fd), 0);
        close_ring(&ring);
        close(fd);
    }
    CHECK_EQ(rings(), MOST);
    CHECK_EQ(open_ring(&ring), 0);
    CHECK_EQ(fixedpool_register(pool, ring.fd), 0);
    CHECK_EQ(rings(), 2);
    works(&ring);
    works(&second);
    CHECK_EQ(fixedpool_unregister(pool, ring.fd), 0);
    CHECK_EQ(fixedpool_unregister(pool, second.fd), 0);
    CHECK_EQ(rings(), 0);
    close_ring(&ring);
    close_ring(&second);
    end();
}

/* ---- Rings that belong to a thread ---- */

static bool threads_have_rings; /* this kernel has SINGLE_ISSUER and DEFER_TASKRUN */

/* A thread with such a ring: registers, and unregisters unless it is to end with the ring open. */
struct issuer {
    pthread_t         thread;
    struct ring       ring;
    int               registered, unregistered;
    bool              leaves_it;
    pthread_barrier_t turn;
};

static void *issue(void *arg)
{
    struct issuer *self = arg;

    CHECK_EQ(open_ring_with(&self->ring, SINGLE_ISSUER | DEFER_TASKRUN), 0);
    self->registered = fixedpool_register(pool, self->ring.fd);
    works(&self->ring);
    pthread_barrier_wait(&self->turn);
    pthread_barrier_wait(&self->turn);
    if (!self->leaves_it) self->unregistered = fixedpool_unregister(pool, self->ring.fd);
    return NULL;
}

static void start_issuer(struct issuer *issuer, bool leaves_it)
{
    issuer->leaves_it = leaves_it;
    pthread_barrier_init(&issuer->turn, NULL, 2);
    pthread_create(&issuer->thread, NULL, issue, issuer);
    pthread_barrier_wait(&issuer->turn);
    CHECK_EQ(issuer->registered, 0);
}

static void end_issuer(struct issuer *issuer)
{
    pthread_barrier_wait(&issuer->turn);
    pthread_join(issuer->thread, NULL);
    pthread_barrier_destroy(&issuer->turn);
}

/* What the kernel did not unregister stays registered. */
static void a_ring_of_another_thread(void)
{
    static struct issuer issuer;

    make(4096, 4);
    start_issuer(&issuer, false);
    CHECK(fixedpool_unregister(pool, issuer.ring.fd) < 0);
    CHECK(fixedpool_unregister(pool, issuer.ring.fd) != -ENXIO);
    CHECK_EQ(rings(), 1);
    end_issuer(&issuer);
    CHECK_EQ(issuer.unregistered, 0);
    CHECK_EQ(rings(), 0);
    close_ring(&issuer.ring);

    start_issuer(&issuer, true); /* and is over before its ring */
    end_issuer(&issuer);
    CHECK(fixedpool_unregister(pool, issuer.ring.fd) < 0);
    CHECK_EQ(rings(), 1);
    close_ring(&issuer.ring);
    CHECK_EQ(fixedpool_unregister(pool, issuer.ring.fd), -ENXIO);
    CHECK_EQ(rings(), 0);
    end();
}

/* That another thread must call, and that it did so already, are two answers. */
static void two_reasons_not_to_register(void)
{
    static struct issuer issuer;
    fixedpool           *first;

    make(4096, 4);
    first = pool;
    start_issuer(&issuer, false);
    CHECK_EQ(fixedpool_register(pool, issuer.ring.fd), -EEXIST);
    make(4096, 4);
    CHECK_EQ(fixedpool_register(pool, issuer.ring.fd), -EPERM);
    CHECK_EQ(rings(), 0);
    end();
    pool = first;
    end_issuer(&issuer);
    close_ring(&issuer.ring);
    end();
}

/* Each registers in its own thread. Returns the kilobytes that are pinned then. */
static long three_issuers(void)
{
    static struct issuer issuers[3];
    int                  before = descriptors();

    for (int i = 0; i < 3; i++) start_issuer(&issuers[i], false);
    CHECK_EQ(rings(), 3);
    long all = pinned();
    for (int i = 0; i < 3; i++) {
        end_issuer(&issuers[i]);
        CHECK_EQ(issuers[i].unregistered, 0);
        close_ring(&issuers[i].ring);
    }
    CHECK_EQ(rings(), 0);
    CHECK_EQ(descriptors(), before);
    return all;
}

/* Rings of three threads, and the frames are pinned once; three times without a clone, or without
 * a ring of the pool's own. */
static void a_thread_a_ring(void)
{
    long none = pinned();

    for (int i = 0; none > 0 && i < 1000; i++, none = pinned()) usleep(2000); /* closed rings */
    if (!this_kernel_clones()) puts("# this kernel does not clone buffers");
    make(65536, 16);
    long all = three_issuers() - none;
    if (none >= 0) CHECK_EQ(all, this_kernel_clones() ? 16 * 64 : 3 * 16 * 64);
    CHECK_EQ(pinned(), none);
    refusal[CLONE] = EINVAL;
    all            = three_issuers() - none;
    refusal[CLONE] = 0;
    if (none >= 0) CHECK_EQ(all, 3 * 16 * 64);
    no_more_rings = true;
    all           = three_issuers() - none;
    no_more_rings = false;
    if (none >= 0) CHECK_EQ(all, 3 * 16 * 64);
    CHECK_EQ(pinned(), none);
    end();
}

/* ---- In the kernel's stead ---- */

/* Needs no io_uring, but a descriptor. */
static void spans_are_what_is_registered(void)
{
    struct iovec spans[8];
    int          fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (make_pool(20480, 52429) != 0) { /* a frame more than 1 GiB holds */
        check_skip("more than 1 GiB of frames do not fit into this machine");
        close(fd);
        return;
    }
    answers = true;
    CHECK_EQ(fixedpool_iovecs(pool, spans, 8), 2);
    CHECK_EQ(fixedpool_register(pool, fd), 0);
    CHECK_EQ(seen_count, 2);
    for (int i = 0; i < 2; i++) {
        CHECK(seen_spans[i].iov_base == spans[i].iov_base);
        CHECK_EQ(seen_spans[i].iov_len, spans[i].iov_len);
    }
    CHECK_EQ(seen_spans[1].iov_len, 20480);
    CHECK_EQ(fixedpool_buf_index(pool, 52427), 0);
    CHECK_EQ(fixedpool_buf_index(pool, 52428), 1);
    CHECK_EQ(fixedpool_destroy(pool), -EBUSY);
    CHECK_EQ(fixedpool_unregister(pool, fd), 0);
    answers = false;
    close(fd);
    end();
}

/* Of numbers that are no descriptors here, and a kernel that says yes to all. */
static void as_many_rings_as_there_are(void)
{
    enum { FIRST = 5000, MOST = 1024 };

    make(4096, 4);
    answers = true;
    for (int i = 0; i < MOST; i++) CHECK_EQ(fixedpool_register(pool, FIRST + i), 0);
    CHECK_EQ(fixedpool_register(pool, FIRST + MOST), -ENOSPC);
    CHECK_EQ(rings(), MOST);
    CHECK_EQ(fixedpool_unregister(pool, FIRST + 7), 0);
    CHECK_EQ(fixedpool_register(pool, FIRST + MOST), 0);
    for (int i = 0; i <= MOST; i++)
        CHECK_EQ(fixedpool_unregister(pool, FIRST + i), i == 7 ? -ENXIO : 0);
    answers = false;
    end();
}

static void what_the_kernel_says_is_passed_on(void)
{
    static const int errors[] = {ENOMEM, EBUSY, ENOSYS, EOPNOTSUPP,
                                 EFAULT, EPERM, EINVAL, EOVERFLOW};
    int              fd       = open("/dev/null", O_RDWR | O_CLOEXEC);

    make(4096, 4);
    answers = true;
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        refusal[BUFFERS] = errors[i];
        CHECK_EQ(fixedpool_register(pool, fd), -errors[i]);
        CHECK_EQ(rings(), 0);
        CHECK_EQ(fixedpool_unregister(pool, fd), -ENXIO);
    }
    refusal[BUFFERS] = 0;
    CHECK_EQ(fixedpool_register(pool, fd), 0);
    CHECK_EQ(fixedpool_register(pool, fd), -EEXIST);
    CHECK_EQ(fixedpool_unregister(pool, fd), 0);
    answers = false;
    close(fd);
    end();
}

/* Each error but those that say that there is no such registration. */
static void a_refused_unregister_changes_nothing(void)
{
    static const int errors[] = {EEXIST, EPERM, EACCES, ENOSYS, EINVAL, ENOMEM};
    int              fd       = open("/dev/null", O_RDWR | O_CLOEXEC);

    make(4096, 4);
    answers = true;
    CHECK_EQ(fixedpool_register(pool, fd), 0);
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        refusal[UNREGISTER] = errors[i];
        CHECK_EQ(fixedpool_unregister(pool, fd), -errors[i]);
        CHECK_EQ(rings(), 1);
    }
    refusal[UNREGISTER] = ENXIO; /* the user did it by hand */
    CHECK_EQ(fixedpool_unregister(pool, fd), -ENXIO);
    CHECK_EQ(rings(), 0);
    refusal[UNREGISTER] = 0;
    answers             = false;
    close(fd);
    end();
}

/* ---- Where io_uring is refused ---- */

static int in_a_child(int (*body)(void))
{
    int status;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) _exit(body());
    CHECK(waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* The pool does all that it does without a ring: 0, or where it failed. */
static int works_without_a_ring(void)
{
    int frame = fixedpool_alloc(pool);
    if (frame < 0) return 20;
    memset(fixedpool_ptr(pool, frame), 1, fixedpool_frame_size(pool));
    if (fixedpool_free(pool, frame) != 0) return 21;
    if (rings() != 0) return 22;
    return fixedpool_destroy(pool) == 0 ? 0 : 23;
}

static int as_somebody_with_little_memory(void)
{
    struct rlimit limit = {65536, 65536};
    if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0) return 10;
    if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0) return 11;
    if (open_ring(&ring) != 0) return 77; /* by kernel.io_uring_disabled */
    if (make_pool(65536, 64) != 0) return 12;
    int result = fixedpool_register(pool, ring.fd);
    if (result != -ENOMEM) return 13;
    if (fixedpool_unregister(pool, ring.fd) != -ENXIO) return 14;
    return works_without_a_ring();
}

static void memory_that_must_not_be_locked(void)
{
    int result = in_a_child(as_somebody_with_little_memory);
    if (result == 77) check_skip("io_uring is only for some users here");
    else CHECK_EQ(result, 0);
}

/* Room for the frames once, and half a time more. */
static int as_somebody_with_enough_memory(void)
{
    struct rlimit limit = {6 << 20, 6 << 20};
    if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0) return 10;
    if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0) return 11;
    if (open_ring(&ring) != 0) return 77;
    if (make_pool(65536, 64) != 0) return 12;
    (void)three_issuers();
    if (fixedpool_register(pool, ring.fd) != 0) return 13;
    if (fixedpool_unregister(pool, ring.fd) != 0) return 14;
    return atomic_load(&check_failures) ? 15 : works_without_a_ring();
}

static void memory_for_one_registration(void)
{
    int result = this_kernel_clones() ? in_a_child(as_somebody_with_enough_memory) : 77;
    if (result == 77) check_skip("io_uring is for some users only, or does not clone, here");
    else CHECK_EQ(result, 0);
}

/* A filter as of a container that knows no io_uring. */
static int forbid_io_uring(void)
{
    static const struct {
        uint16_t code;
        uint8_t  if_true, if_false;
        uint32_t k;
    } filter[] = {{0x20, 0, 0, 0},        /* the number of the call */
                  {0x35, 0, 2, SETUP},    /* below: allowed */
                  {0x25, 1, 0, REGISTER}, /* above: allowed */
                  {0x06, 0, 0, 0x00050000u | ENOSYS},
                  {0x06, 0, 0, 0x7fff0000u}};
    const struct {
        unsigned short count;
        const void    *filter;
    } program = {5, filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ? -1 : prctl(PR_SET_SECCOMP, 2, &program);
}

static int in_a_container_without(void)
{
    int fd = 0; /* where there are no rings anyway: a descriptor */
    if (rings_work && open_ring(&ring) == 0) fd = ring.fd;
    if (forbid_io_uring() != 0) return 77;
    if (make_pool(4096, 8) != 0) return 10;
    if (fixedpool_register(pool, fd) != -ENOSYS) return 11;
    if (fixedpool_unregister(pool, fd) != -ENXIO) return 12;
    return works_without_a_ring();
}

static void a_kernel_that_forbids_it(void)
{
    int result = in_a_child(in_a_container_without);
    if (result == 77) check_skip("no filters of system calls here");
    else CHECK_EQ(result, 0);
}

int main(void)
{
    int error  = open_ring(&ring);
    rings_work = error == 0;
    if (rings_work) {
        close_ring(&ring);
        threads_have_rings = open_ring_with(&ring, SINGLE_ISSUER | DEFER_TASKRUN) == 0;
        if (threads_have_rings) close_ring(&ring);
    } else printf("# no io_uring here: %s\n", strerror(error));
    open_file();

    RUN(spans_are_what_is_registered);
    RUN(what_the_kernel_says_is_passed_on);
    RUN(a_refused_unregister_changes_nothing);
    RUN(as_many_rings_as_there_are);
    RUN(a_kernel_that_forbids_it);
    if (rings_work) {
        RUN(every_frame_is_a_fixed_buffer);
        RUN(two_rings);
        RUN(two_threads_with_a_ring_each);
        RUN(a_child_parts_no_frame_from_its_ring);
        RUN(refusals);
        RUN(a_ring_that_was_closed);
        RUN(no_clone_of_strange_buffers);
        RUN(a_long_registration);
        RUN(a_copy_of_a_descriptor);
        RUN(closed_rings_make_room);
        if (threads_have_rings) {
            RUN(a_ring_of_another_thread);
            RUN(two_reasons_not_to_register);
            RUN(a_thread_a_ring);
            RUN(memory_for_one_registration);
        } else puts("# this kernel has no rings that belong to a thread");
        RUN(memory_that_must_not_be_locked);
    }
    return REPORT();
}
