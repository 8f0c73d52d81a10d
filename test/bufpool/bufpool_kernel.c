/* Goal: no answer of the kernel costs a live byte or a buffer: page sizes above 4 KiB. Method: the
 * header goes through the real mmap, madvise and membarrier. Larger pages than this machine has
 * are simulated by functions of this file that round as such a kernel rounds, and then call the
 * real one. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
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

int main(void)
{
    RUN(pages_of_any_size_keep_live_bytes);
    return REPORT();
}
