/* Goal: no answer of the kernel costs a live byte or a buffer: page sizes above 4 KiB, a membarrier
 * that is refused, locked memory, a limit on address space; and mappings, of which a process has
 * few, are bounded. Method: the header goes through the real mmap, madvise and membarrier. A
 * seccomp filter refuses membarrier after create, as a sandbox does. Larger pages than this machine
 * has are simulated by functions of this file that round as such a kernel rounds, and then call the
 * real one. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- A kernel with larger pages ---- */

static size_t simulated_page; /* 0: the machine's own */

static long test_sysconf(int name)
{
    if (name == _SC_PAGESIZE && simulated_page) return (long)simulated_page;
    return sysconf(name);
}

/* Maps whole pages, aligned to a page. */
static void *test_mmap(void *address, size_t size, int access, int flags, int fd, off_t offset)
{
    size_t page = simulated_page;
    if (!page || address) return mmap(address, size, access, flags, fd, offset);
    size               = (size + page - 1) & ~(page - 1);
    unsigned char *all = mmap(NULL, size + page, access, flags, fd, offset);
    if (all == MAP_FAILED) return MAP_FAILED;
    size_t before = (size_t)(-(uintptr_t)all & (page - 1));
    if (before > 0) munmap(all, before);
    if (before < page) munmap(all + before + size, page - before);
    return all + before;
}

static int test_munmap(void *memory, size_t size)
{
    if (simulated_page) size = (size + simulated_page - 1) & ~(simulated_page - 1);
    return munmap(memory, size);
}

/* Takes the place of the C library's function, which the header calls by its linker's name: as in
 * Linux, the address must be that of a page, and the size is rounded up to whole pages. */
int madvise(void *memory, size_t size, int advice)
{
    size_t page = simulated_page;
    if (page && (uintptr_t)memory % page != 0) {
        errno = EINVAL;
        return -1;
    }
    if (page) size = (size + page - 1) & ~(page - 1);
    return (int)syscall(SYS_madvise, memory, size, advice);
}

#define sysconf(name)                              test_sysconf(name)
#define mmap(address, size, access, flags, fd, at) test_mmap(address, size, access, flags, fd, at)
#define munmap(memory, size)                       test_munmap(memory, size)
#define BUFPOOL_IMPLEMENTATION
#include "../../bufpool.h"
#undef sysconf
#undef mmap
#undef munmap

#include "../check.h"

enum { KIB = 1024, MIB = 1024 * 1024 };

static bufpool *pool;

static void make(bufpool_config config)
{
    CHECK_EQ(bufpool_create(&pool, &config), 0);
    if (!pool) exit(1);
}

/* Whether all bytes of a buffer have this value. */
static bool is_all(bufpool_buf *buf, unsigned char value)
{
    const unsigned char *data = bufpool_data(buf);
    size_t               size = bufpool_capacity(buf);
    for (size_t i = 0; i < size; i++)
        if (data[i] != value) return false;
    return true;
}

/* Some buffers go back to the system, those between them stay as they are, and the next tenant
 * finds zeros. */
static void neighbours_keep_their_bytes(size_t size, int count)
{
    static bufpool_buf *bufs[100];

    make((bufpool_config){.flags = BUFPOOL_WIPE, .idle_buffers = 1});
    bufpool_tenant *first  = bufpool_tenant_get(pool, "first", 5);
    bufpool_tenant *second = bufpool_tenant_get(pool, "second", 6);
    for (int i = 0; i < count; i++) {
        CHECK((bufs[i] = bufpool_acquire(pool, size, first)) != NULL);
        memset(bufpool_data(bufs[i]), 1 + i, bufpool_capacity(bufs[i]));
    }
    for (int i = 0; i < count; i += 2) CHECK_EQ(bufpool_release(bufs[i]), 0);
    bufpool_trim(pool, 0);
    for (int i = 1; i < count; i += 2) CHECK(is_all(bufs[i], (unsigned char)(1 + i)));
    for (int i = 0; i < count; i += 2) {
        CHECK((bufs[i] = bufpool_acquire(pool, size, second)) != NULL);
        CHECK(is_all(bufs[i], 0));
        memset(bufpool_data(bufs[i]), 1 + i, bufpool_capacity(bufs[i]));
    }
    for (int i = 0; i < count; i++) {
        CHECK(is_all(bufs[i], (unsigned char)(1 + i)));
        CHECK_EQ(bufpool_release(bufs[i]), 0);
    }
    CHECK_EQ(bufpool_destroy(pool), 0);
}

static void pages_of_any_size_keep_live_bytes(void)
{
    static const size_t pages[] = {0, 8 * KIB, 16 * KIB, 64 * KIB, 256 * KIB};

    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
        if (pages[i] && pages[i] < (size_t)sysconf(_SC_PAGESIZE)) continue;
        simulated_page = pages[i];
        neighbours_keep_their_bytes(100, 100);
        neighbours_keep_their_bytes(64 * KIB, 40);
        neighbours_keep_their_bytes(MIB - 1, 6);
        neighbours_keep_their_bytes(10 * MIB + 1, 4);
    }
    simulated_page = 0;
}

/* ---- A filter that refuses membarrier ---- */

enum { THREADS = 3, NOT_HERE = 77 };

/* From now on membarrier fails with EPERM, in all threads. */
static bool refuse_membarrier(void)
{
    const struct {
        uint16_t code;
        uint8_t  if_true, if_false;
        uint32_t k;
    } filter[] = {{0x20, 0, 0, 0}, /* the number of the call */
                  {0x15, 0, 1, SYS_membarrier},
                  {0x06, 0, 0, 0x00050000u | EPERM},
                  {0x06, 0, 0, 0x7fff0000u}};
    const struct {
        unsigned short count;
        const void    *filter;
    } program = {4, filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           syscall(SYS_seccomp, 1, 1 /* all threads */, &program) == 0;
}

static struct bufpool_info info(void)
{
    struct bufpool_info now;
    bufpool_stats(pool, &now);
    return now;
}

/* Nothing is lost: what is idle goes back to the system when no cache is open. */
static void end(void)
{
    CHECK_EQ(info().caches, 0);
    CHECK_EQ(info().live_buffers, 0);
    uint64_t idle = info().idle_bytes;
    CHECK_EQ(bufpool_trim(pool, 0), idle);
    CHECK_EQ(info().idle_bytes, 0);
    CHECK_EQ(bufpool_destroy(pool), 0);
}

/* A filter is for ever: what installs one runs in a child. */
static void in_a_child(int (*run)(void))
{
    int   status = 0;
    pid_t child  = check_fork();
    if (child == 0) _exit(run() ? NOT_HERE : atomic_load(&check_failures) != 0);
    CHECK(waitpid(child, &status, 0) == child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_HERE) check_skip("not on this machine");
    else CHECK_EQ(status, 0);
}

static pthread_barrier_t turn;
static const size_t      sizes[] = {100, 5000, 5000, 5000, 100 * KIB, 100 * KIB};
enum { SIZES = sizeof sizes / sizeof *sizes };

static void acquire_each(bufpool_cache *cache, bufpool_buf **bufs)
{
    for (int i = 0; i < SIZES; i++) {
        CHECK((bufs[i] = bufpool_cache_acquire(cache, sizes[i], NULL)) != NULL);
        if (!bufs[i]) _exit(1);
        memset(bufpool_data(bufs[i]), (int)(uintptr_t)bufs, sizes[i]);
    }
}

/* They are still ours alone. */
static void release_each(bufpool_cache *cache, bufpool_buf **bufs)
{
    for (int i = 0; i < SIZES; i++) {
        const unsigned char *data = bufpool_data(bufs[i]), mine = (unsigned char)(uintptr_t)bufs;
        CHECK(data && data[0] == mine && data[sizes[i] / 2] == mine && data[sizes[i] - 1] == mine);
        CHECK_EQ(bufpool_cache_release(cache, bufs[i]), 0);
    }
}

/* Leaves idle buffers in a cache; acquires them again when the filter is there. */
static void *rest(void *unused)
{
    bufpool_cache *cache = bufpool_cache_open(pool);
    bufpool_buf   *bufs[SIZES];

    acquire_each(cache, bufs);
    release_each(cache, bufs);
    for (int round = 0; round < 2; round++) {
        pthread_barrier_wait(&turn);
        pthread_barrier_wait(&turn);
        acquire_each(cache, bufs);
        release_each(cache, bufs);
    }
    bufpool_cache_close(cache);
    return unused;
}

static int idle_caches_and_a_filter(void)
{
    pthread_t threads[THREADS];

    make((bufpool_config){.cache_bytes = 2 << 20}); /* two large ones in each cache */
    pthread_barrier_init(&turn, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, rest, NULL);
    for (int round = 0; round < 2; round++) {
        pthread_barrier_wait(&turn);
        if (round == 0 && !refuse_membarrier()) return NOT_HERE;
        struct bufpool_info before = info();
        CHECK_EQ(bufpool_trim(pool, 0), 0); /* all of it is in caches */
        CHECK_EQ(info().idle_bytes, before.idle_bytes);
        CHECK_EQ(info().idle_buffers[BUFPOOL_MEDIUM], 3 * THREADS);
        pthread_barrier_wait(&turn);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    CHECK_EQ(info().misses[BUFPOOL_MEDIUM], 3 * THREADS); /* each came back to its thread */
    CHECK_EQ(info().misses[BUFPOOL_LARGE], 2 * THREADS);
    end();
    return 0;
}

static void a_refused_fence_leaves_caches_alone(void) { in_a_child(idle_caches_and_a_filter); }

static _Atomic(bool) enough;

static void *work(void *unused)
{
    bufpool_cache *cache = bufpool_cache_open(pool);
    bufpool_buf   *bufs[SIZES];

    while (!atomic_load(&enough)) {
        acquire_each(cache, bufs);
        release_each(cache, bufs);
        sched_yield();
    }
    bufpool_cache_close(cache);
    return unused;
}

/* From the middle on, each seizure is refused its fence. */
static int busy_caches_and_a_filter(void)
{
    pthread_t threads[THREADS];
    bool      filtered = true;

    make((bufpool_config){0});
    for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, work, NULL);
    for (int i = 0; i < 4000 && filtered; i++) {
        if (i == 2000) filtered = refuse_membarrier();
        bufpool_trim(pool, (size_t)(i % 4) * 100 * KIB);
        bufpool_cache_close(bufpool_cache_open(pool));
        if (i % 8 == 0) usleep(100);
        check_progress();
    }
    atomic_store(&enough, true);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    end();
    return filtered ? 0 : NOT_HERE;
}

static void a_refused_fence_in_a_storm(void) { in_a_child(busy_caches_and_a_filter); }

/* ---- Mappings ---- */

static int mappings(void)
{
    int   count = 0, c;
    FILE *file  = fopen("/proc/self/maps", "r");

    if (!file) return 0;
    while ((c = getc(file)) != EOF) count += c == '\n';
    fclose(file);
    return count;
}

/* vm.max_map_count allows a process 65,530 mappings. */
static void buffers_need_few_mappings(void)
{
    enum { SMALL = 200000, MEDIUM = 20000, FEW = 200 };
    bufpool_buf **bufs = malloc(SMALL * sizeof *bufs);
    if (!bufs) exit(1);

    for (int medium = 0; medium < 2; medium++) {
        int    count  = sizeof(void *) == 4 ? MEDIUM / 4 : medium ? MEDIUM : SMALL;
        size_t size   = medium ? 64 * KIB : 4 * KIB;
        int    before = mappings(), got = 0;
        make((bufpool_config){0});
        while (got < count && (bufs[got] = bufpool_acquire(pool, size, NULL)) != NULL) {
            if (got % 16 == 0) *(char *)bufpool_data(bufs[got]) = 1;
            got++;
        }
        CHECK_EQ(got, count);
        CHECK(mappings() < before + FEW);
        for (int i = 0; i < got; i += 2) CHECK_EQ(bufpool_release(bufs[i]), 0);
        CHECK(mappings() < before + FEW);
        for (int i = 1; i < got; i += 2) CHECK_EQ(bufpool_release(bufs[i]), 0);
        end();
        CHECK(mappings() <= before + FEW);
    }
    free(bufs);
}

/* As many as there are; then releases them. */
static int acquire_all(size_t size, bufpool_buf **bufs, int most)
{
    int got = 0;

    while (got < most && (bufs[got] = bufpool_acquire(pool, size, NULL)) != NULL) got++;
    for (int i = 0; i < got; i++) CHECK_EQ(bufpool_release(bufs[i]), 0);
    bufpool_trim(pool, 0);
    return got;
}

static int with_little_address_space(void)
{
    enum { MOST = 64 * MIB / (4 * KIB) };
    static bufpool_buf *bufs[MOST];
    struct rlimit       limit = {0, 0};
    long                pages = 0;
    FILE               *file  = fopen("/proc/self/statm", "r");

    if (!file || fscanf(file, "%ld", &pages) != 1) return NOT_HERE;
    fclose(file);
    limit.rlim_cur = limit.rlim_max = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + 32 * MIB;
    if (setrlimit(RLIMIT_AS, &limit) != 0) return NOT_HERE;
    if (mmap(NULL, 64 * MIB, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED)
        return NOT_HERE; /* under qemu */
    make((bufpool_config){0});
    int mediums = acquire_all(64 * KIB, bufs, MOST);
    CHECK(mediums > 300 && mediums < 512);
    CHECK_EQ(acquire_all(64 * KIB, bufs, MOST), mediums);
    end();
    make((bufpool_config){0});
    int smalls = acquire_all(100, bufs, MOST);
    CHECK(smalls > 6000 && smalls < 8192);
    CHECK_EQ(acquire_all(100, bufs, MOST), smalls); /* none is lost */
    end();
    return 0;
}

/* qemu and sanitizers have address space of their own. */
static void address_space_is_used_again(void)
{
#ifndef BUFPOOL__POISONS
    in_a_child(with_little_address_space);
#endif
}

/* Bytes of the process that are in memory. */
static size_t resident_bytes(void)
{
    char   line[200];
    size_t kib  = 0;
    FILE  *file = fopen("/proc/self/status", "r");

    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "VmRSS:", 6) == 0) kib = strtoul(line + 6, NULL, 10);
    if (file) fclose(file);
    return kib * KIB;
}

/* Since Linux 5.18, but not under qemu. */
static bool this_machine_drops_locked_pages(void)
{
    unsigned char *page =
        mmap(NULL, 64 * KIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return false;
    page[0]      = 1;
    bool dropped = madvise(page, 64 * KIB, BUFPOOL__MADV_DONTNEED_LOCKED) == 0 && page[0] == 0;
    munmap(page, 64 * KIB);
    return dropped;
}

static int with_locked_memory(void)
{
    enum { COUNT = 60 };
    bufpool_buf *bufs[COUNT];

    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) return NOT_HERE;
    void *much = mmap(NULL, 64 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (much == MAP_FAILED) return NOT_HERE;
    munmap(much, 64 * MIB);
    neighbours_keep_their_bytes(100, 100);
    neighbours_keep_their_bytes(5000, 40);
    make((bufpool_config){0});
    for (int i = 0; i < COUNT; i++) CHECK((bufs[i] = bufpool_acquire(pool, 5000, NULL)) != NULL);
    for (int i = 0; i < COUNT; i++) memset(bufpool_data(bufs[i]), 1, 64 * KIB);
    size_t before = resident_bytes();
    for (int i = 0; i < COUNT; i++) CHECK_EQ(bufpool_release(bufs[i]), 0);
    bufpool_trim(pool, 0);
    if (this_machine_drops_locked_pages())
        CHECK(resident_bytes() + (size_t)COUNT * 50 * KIB < before);
    end();
    return 0;
}

static void locked_memory_goes_back(void) { in_a_child(with_locked_memory); }

int main(void)
{
    RUN(buffers_need_few_mappings);
    RUN(address_space_is_used_again);
    RUN(locked_memory_goes_back);
    RUN(a_refused_fence_leaves_caches_alone);
    RUN(a_refused_fence_in_a_storm);
    RUN(pages_of_any_size_keep_live_bytes);
    return REPORT();
}
