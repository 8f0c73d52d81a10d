/* pagecount.c - counts the lines and bytes of a file: an io_uring reads it straight into the pages
 * of a slab_pool, and a thread counts the lines of each page and returns it.
 *
 *     cc -std=c11 -O2 -I. -pthread examples/pagecount.c -o pagecount  # Linux 5.6
 *     ./pagecount FILE
 *
 * The pages are one registered buffer of the ring: slab_pool_base says where they are. A read has
 * the id of its page as user_data. If every page is out, the owner arms slab_pool_want and lets the
 * ring poll an eventfd, so that it waits for reads and for pages in one place. */
#define _GNU_SOURCE
#define SLAB_IMPLEMENTATION
#include "slab.h" /* and with it errno.h, string.h, unistd.h, sys/mman.h */

#include <err.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

enum { PAGES = 16, SIZE = 64 * 1024 /* of a page */, ENTRIES = 32 /* for reads and the poll */ };

static slab_pool             *pool;
static char                  *base; /* of its pages */
static int                    queue[2], bell, file, ring, queued, in_flight, registered;
static uint64_t               file_size, lines, bytes, reached[PAGES]; /* by a page's data */
static struct io_uring_params params;
static struct io_uring_sqe   *entries;
static char                  *rings; /* the queues of submissions and completions */

/* _Atomic: an index of a queue is seen after the entries that it counts. */
static _Atomic(unsigned) *at(unsigned offset) { return (void *)(rings + offset); }

static void *count_lines(void *unused)
{
    uint64_t word;
    size_t   len;
    while (read(queue[0], &word, sizeof word) == sizeof word) {
        slab_id     id   = slab_id_unpack(word);
        const char *page = slab_pool_read(pool, id, &len), *end = page + len;
        if (!page) errx(1, "a page is missing");
        bytes += len;
        for (; (page = memchr(page, '\n', (size_t)(end - page))) != NULL; page++) lines++;
        int result = slab_pool_return(pool, id);
        if (result < 0) errx(1, "a page was returned already");
        if (result == SLAB_WAKE_OWNER && eventfd_write(bell, 1) != 0) err(1, "eventfd");
    }
    return unused;
}

static void open_ring(void)
{
    const int          access = PROT_READ | PROT_WRITE;
    const struct iovec pages  = {base = slab_pool_base(pool, NULL, NULL), (size_t)PAGES * SIZE};
    if ((ring = (int)syscall(SYS_io_uring_setup, ENTRIES, &params)) < 0) err(1, "no io_uring");
    size_t size = params.sq_off.array + ENTRIES * sizeof(unsigned); /* the array is the last part */
    rings       = mmap(NULL, size, access, MAP_SHARED, ring, IORING_OFF_SQ_RING);
    entries = mmap(NULL, ENTRIES * sizeof *entries, access, MAP_SHARED, ring, IORING_OFF_SQES);
    if (rings == MAP_FAILED || entries == MAP_FAILED) err(1, "mmap");
    /* Fails if `ulimit -l` is too low. Then the kernel looks up the pages for each read. */
    registered = syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &pages, 1) == 0;
}

static void submit(struct io_uring_sqe entry)
{
    unsigned index                 = *at(params.sq_off.tail) % ENTRIES;
    entries[index]                 = entry;
    at(params.sq_off.array)[index] = index;
    *at(params.sq_off.tail) += 1;
    queued++, in_flight++;
}

static void submit_read(slab_id id) /* of all that the page lacks */
{
    uint64_t from = reached[id.page], left = file_size - from, filled = from % SIZE;
    submit((struct io_uring_sqe){
        .opcode = registered ? IORING_OP_READ_FIXED : IORING_OP_READ, .fd = file, .off = from,
        .addr   = (uintptr_t)(base + (size_t)id.page * SIZE + filled),
        .len    = (uint32_t)(left < SIZE - filled ? left : SIZE - filled),
        .user_data = slab_id_pack(id)});
}

static void complete(slab_id id, int result)
{
    uint64_t word = slab_id_pack(id), before = reached[id.page] % SIZE;
    if (result < 0) errx(1, "read: %s", strerror(-result));
    reached[id.page] += (unsigned)result;
    if (result > 0 && reached[id.page] % SIZE != 0 && reached[id.page] < file_size)
        submit_read(id); /* this read was short */
    else if (slab_pool_set_len(pool, id, (size_t)before + (unsigned)result) != 0 ||
             write(queue[1], &word, sizeof word) != sizeof word)
        err(1, "queue");
}

static unsigned read_file(void) /* the owner; returns how often it waited for a page */
{
    const struct io_uring_cqe *results = (void *)(rings + params.cq_off.cqes);
    unsigned                   waits   = 0;
    bool                       polled  = false;
    uint64_t                   count;
    slab_id                    id;

    for (uint64_t next = 0; next < file_size || in_flight > polled;) {
        for (; next < file_size && slab_pool_alloc(pool, SIZE, &id); next += SIZE) {
            reached[id.page] = next;
            submit_read(id);
        }
        if (next < file_size && !polled) { /* every page is out */
            if (!slab_pool_want(pool)) continue; /* no, one has come back */
            submit((struct io_uring_sqe){IORING_OP_POLL_ADD, .fd = bell, .poll_events = POLLIN});
            polled = true, waits++;
        }
        long n = syscall(SYS_io_uring_enter, ring, queued, 1, IORING_ENTER_GETEVENTS, NULL, 0);
        if (n < 0 && errno != EINTR) err(1, "io_uring_enter");
        queued -= n > 0 ? (int)n : 0;
        for (unsigned head; (head = *at(params.cq_off.head)) != *at(params.cq_off.tail);) {
            struct io_uring_cqe result = results[head % params.cq_entries];
            *at(params.cq_off.head)    = head + 1;
            in_flight--;
            if (result.user_data != 0) complete(slab_id_unpack(result.user_data), result.res);
            else polled = eventfd_read(bell, &count) != 0; /* 0 is no id: it is the poll's */
        }
    }
    return waits;
}

int main(int argc, char **argv)
{
    slab_pool_config config = {.page_size = SIZE, .page_count = PAGES};
    pthread_t        thread;
    struct stat      stat;
    if (argc != 2) errx(2, "usage: pagecount FILE");
    if ((file = open(argv[1], O_RDONLY | O_CLOEXEC)) < 0) err(1, "%s", argv[1]);
    if (fstat(file, &stat) != 0 || !S_ISREG(stat.st_mode)) errx(1, "%s: not a file", argv[1]);
    file_size = (uint64_t)stat.st_size;
    if (pipe(queue) != 0 || (bell = eventfd(0, EFD_CLOEXEC)) < 0) err(1, "pipe or eventfd");
    if ((errno = -slab_pool_create(&pool, &config)) != 0) err(1, "slab_pool_create");
    open_ring();
    if ((errno = pthread_create(&thread, NULL, count_lines, NULL)) != 0) err(1, "pthread_create");
    unsigned waits = read_file();
    (void)close(queue[1]); /* the thread reads up to here */
    (void)pthread_join(thread, NULL);
    printf("%ju lines, %ju bytes; waited %u times for a page, lost %zu pages\n", (uintmax_t)lines,
           (uintmax_t)bytes, waits, slab_pool_destroy(pool));
    if (fflush(stdout) != 0) err(1, "standard output");
}
