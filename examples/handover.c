/* handover.c - a data plane fills pages of a slab_pool and hands their ids to a control plane that
 * reads and returns the pages: between two threads, or two processes that share a memfd.
 *
 *     cc -std=c11 -O2 -I. -pthread examples/handover.c -o handover
 *     ./handover [--processes]
 *
 * With 16 pages for 50,000 messages, the data plane often finds every page out. It then arms
 * slab_pool_want and sleeps: in epoll on an eventfd, or, between processes, on a futex in shared
 * memory. The return that answers SLAB_WAKE_OWNER wakes it, so no wake-up is lost. A pipe carries
 * the ids here; any queue of 64-bit slots does. pagecount.c sleeps in an io_uring instead. */
#define _GNU_SOURCE /* memfd_create, pipe2 */
#define SLAB_IMPLEMENTATION
#include "slab.h" /* and with it errno.h, stdatomic.h, string.h, unistd.h, sys/mman.h */

#include <err.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { MESSAGES = 50000, PAGES = 16, PAGE_SIZE = 4096, WORDS = PAGE_SIZE / sizeof(uint64_t) };

static int queue[2];             /* a pipe for ids, from the data plane to the control plane */
static int bell, epoll;          /* between threads: an eventfd, and the epoll that waits for it */
static _Atomic(uint32_t) *futex; /* between processes: counts wake-ups, in shared memory */

/* Sleeps until a page has come back, or not at all if want finds one. Returns whether it slept. */
static bool sleep_for_page(slab_pool *pool)
{
    const struct timespec tenth = {.tv_nsec = 100000000}; /* a peer may die before it wakes us */
    uint32_t              seen  = futex ? atomic_load(futex) : 0; /* before want: see wake_owner */
    struct pollfd         peer  = {.fd = queue[1]};
    struct epoll_event    event;
    eventfd_t             count;

    if (!slab_pool_want(pool)) return false;
    if (futex) (void)syscall(SYS_futex, futex, FUTEX_WAIT, seen, &tenth, NULL, 0);
    else if (epoll_wait(epoll, &event, 1, -1) > 0) (void)eventfd_read(bell, &count);
    if (poll(&peer, 1, 0) > 0) errx(1, "the control process is gone"); /* POLLERR: no reader */
    return true;
}

static void wake_owner(void)
{
    if (!futex && eventfd_write(bell, 1) != 0) err(1, "eventfd");
    if (futex) atomic_fetch_add(futex, 1); /* an owner that is about to wait finds another value */
    if (futex) (void)syscall(SYS_futex, futex, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* The owner. Message n is a page of the words n, n + 1, n + 2, ... Returns how often it slept. */
static unsigned data_plane(slab_pool *pool)
{
    uint64_t *page;
    unsigned  sleeps = 0;
    slab_id   id;

    for (unsigned n = 0; n < MESSAGES; n++) {
        while (!(page = slab_pool_alloc(pool, PAGE_SIZE, &id))) sleeps += sleep_for_page(pool);
        for (size_t i = 0; i < WORDS; i++) page[i] = n + i;
        if (write(queue[1], &id, sizeof id) != sizeof id) err(1, "queue");
    }
    (void)close(queue[1]); /* the control plane reads up to here */
    return sleeps;
}

static void *control_plane(void *pool)
{
    uint64_t n;
    size_t   len;
    slab_id  id;

    for (n = 0; read(queue[0], &id, sizeof id) == sizeof id; n++) {
        const uint64_t *page = slab_pool_read(pool, id, &len);
        if (!page || len != PAGE_SIZE) errx(1, "a message is missing");
        for (size_t i = 0; i < WORDS; i++)
            if (page[i] != n + i) errx(1, "a message is damaged");
        int result = slab_pool_return(pool, id);
        if (result < 0) errx(1, "a page was returned already");
        if (result == SLAB_WAKE_OWNER) wake_owner();
    }
    if (n != MESSAGES) errx(1, "the queue ended early");
    printf("control plane: verified %d messages\n", MESSAGES);
    if (fflush(stdout) != 0) err(1, "standard output");
    return NULL;
}

/* Makes memory for the pool and, behind it, the futex. Sealed: cutting it short would be SIGBUS. */
static int share(slab_pool_config *config)
{
    int memfd           = memfd_create("handover", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    config->memory_size = slab_pool_footprint(config) + sizeof *futex;
    if (memfd < 0 || (errno = posix_fallocate(memfd, 0, (off_t)config->memory_size)) != 0 ||
        fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK) != 0)
        err(1, "shared memory");
    config->memory = mmap(NULL, config->memory_size, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
    if (config->memory == MAP_FAILED) err(1, "mmap");
    futex = (void *)((char *)config->memory + slab_pool_footprint(config));
    return memfd;
}

/* Runs in the child, which maps the memory once more, at an address of its own. */
static int control_process(int memfd, const slab_pool_config *owner)
{
    slab_pool *view;
    void *memory = mmap(NULL, owner->memory_size, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
    if (memory == MAP_FAILED) err(1, "mmap");
    if ((errno = -slab_pool_attach(&view, memory, owner->memory_size)) != 0) err(1, "attach");
    printf("memory: at %p in the owner, at %p in the control process\n", owner->memory, memory);
    (void)close(queue[1]); /* while this is open, the queue has no end */
    return control_plane(view) != NULL;
}

int main(int argc, char **argv)
{
    bool               processes = argc == 2 && strcmp(argv[1], "--processes") == 0;
    slab_pool_config   config    = {.page_size = PAGE_SIZE, .page_count = PAGES};
    struct epoll_event readable  = {.events = EPOLLIN};
    slab_pool         *pool;
    pthread_t          thread;
    int                status = 0, memfd = -1, child = 0;

    if (argc > 1 && !processes) errx(2, "usage: handover [--processes]");
    (void)signal(SIGPIPE, SIG_IGN); /* a pipe without a reader is EPIPE then, */
    (void)signal(SIGXFSZ, SIG_IGN); /* and memory beyond RLIMIT_FSIZE is EFBIG */
    bell  = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, bell, &readable) != 0) err(1, "eventfd or epoll");
    if (pipe2(queue, O_CLOEXEC) != 0) err(1, "pipe");
    if (processes) memfd = share(&config);
    if ((errno = -slab_pool_create(&pool, &config)) != 0) err(1, "slab_pool_create");
    if (processes && (child = fork()) == 0) return control_process(memfd, &config);
    if (child < 0) err(1, "fork");
    if (processes) (void)close(queue[0]); /* so that poll and write notice a dead child */
    else if ((errno = pthread_create(&thread, NULL, control_plane, pool)) != 0) err(1, "thread");

    unsigned sleeps = data_plane(pool);
    if (processes && waitpid(child, &status, 0) < 0) err(1, "waitpid");
    if (!processes && (errno = pthread_join(thread, NULL)) != 0) err(1, "pthread_join");
    if (status != 0) return 1; /* the control process has printed why, unless it was killed */
    size_t lost = slab_pool_destroy(pool);
    printf("data plane: slept %u times without a page, lost %zu pages\n", sleeps, lost);
    if (fflush(stdout) != 0) err(1, "standard output");
    return lost != 0;
}
