/* handover.c - a data plane fills pages of a slab_pool and hands their ids to a control plane that
 * reads and returns the pages: between two threads, or two processes that share a memfd.
 *
 *     cc -std=c11 -O2 -I. -pthread examples/handover.c -o handover
 *     ./handover [--processes]
 *
 * With 16 pages for 50,000 messages, the data plane often finds every page out. It then arms
 * slab_pool_want and sleeps on an eventfd. The return that answers 1 writes the eventfd, so no
 * wake-up is lost. A pipe carries the ids here; any queue of 64-bit slots does. */
#define _GNU_SOURCE /* memfd_create, pipe2 */
#define SLAB_IMPLEMENTATION
#include "slab.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MESSAGES = 50000, PAGES = 16, PAGE_SIZE = 4096, WORDS = PAGE_SIZE / sizeof(uint64_t) };

static int queue[2]; /* a pipe: the data plane writes ids, the control plane reads them */
static int wake;     /* an eventfd: the control plane writes it, the data plane sleeps on it */

/* Sleeps until a page has come back, or not at all if want finds one. Returns whether it slept. */
static bool sleep_for_page(slab_pool *pool)
{
    uint64_t      count;
    struct pollfd events[] = {{.fd = wake, .events = POLLIN}, {.fd = queue[1]}};

    if (!slab_pool_want(pool)) return false;
    if (poll(events, 2, -1) < 0 && errno != EINTR) err(1, "poll");
    if (events[1].revents != 0) errx(1, "the control process is gone"); /* POLLERR: no reader */
    if (read(wake, &count, sizeof count) < 0 && errno != EAGAIN) err(1, "eventfd");
    return true;
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
    uint64_t n, one = 1;
    size_t   len;
    slab_id  id;

    for (n = 0; read(queue[0], &id, sizeof id) == sizeof id; n++) {
        const uint64_t *page = slab_pool_read(pool, id, &len);
        if (!page || len != PAGE_SIZE) errx(1, "a message is missing");
        for (size_t i = 0; i < WORDS; i++)
            if (page[i] != n + i) errx(1, "a message is damaged");

        int result = slab_pool_return(pool, id);
        if (result < 0) errx(1, "a page was returned already");
        if (result == 1 && write(wake, &one, sizeof one) < 0) err(1, "eventfd");
    }
    if (n != MESSAGES) errx(1, "the queue ended early");
    printf("control plane: verified %d messages\n", MESSAGES);
    if (fflush(stdout) != 0) err(1, "standard output");
    return NULL;
}

/* Makes the pool's memory. Sealed: no process can cut it short, which would be SIGBUS for all. */
static int share(slab_pool_config *config)
{
    int memfd           = memfd_create("handover", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    config->memory_size = slab_pool_footprint(config);
    if (memfd < 0 || (errno = posix_fallocate(memfd, 0, (off_t)config->memory_size)) != 0 ||
        fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK) != 0)
        err(1, "shared memory");
    config->memory = mmap(NULL, config->memory_size, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
    if (config->memory == MAP_FAILED) err(1, "mmap");
    return memfd;
}

/* Runs in the child, which maps the memory once more, at an address of its own. */
static _Noreturn void control_process(int memfd, const slab_pool_config *owner)
{
    slab_pool *view;
    void *memory = mmap(NULL, owner->memory_size, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
    if (memory == MAP_FAILED) err(1, "mmap");
    errno = -slab_pool_attach(&view, memory, owner->memory_size);
    if (errno != 0) err(1, "slab_pool_attach");
    printf("memory: at %p in the owner, at %p in the control process\n", owner->memory, memory);
    (void)close(queue[1]); /* while this is open, the queue has no end */
    control_plane(view);
    slab_pool_detach(view);
    exit(0);
}

int main(int argc, char **argv)
{
    bool             processes = argc == 2 && strcmp(argv[1], "--processes") == 0;
    slab_pool_config config    = {.page_size = PAGE_SIZE, .page_count = PAGES};
    slab_pool       *pool;
    pthread_t        thread;
    int              status = 0;

    if (argc > 1 && !processes) errx(2, "usage: handover [--processes]");
    (void)signal(SIGPIPE, SIG_IGN); /* a pipe without a reader is EPIPE then, */
    (void)signal(SIGXFSZ, SIG_IGN); /* and memory beyond RLIMIT_FSIZE is EFBIG */
    wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake < 0 || pipe2(queue, O_CLOEXEC) != 0) err(1, "eventfd or pipe");
    int memfd = processes ? share(&config) : -1;
    errno     = -slab_pool_create(&pool, &config);
    if (errno != 0) err(1, "slab_pool_create");

    pid_t child = processes ? fork() : 0;
    if (child < 0) err(1, "fork");
    if (processes && child == 0) control_process(memfd, &config);
    if (processes) (void)close(queue[0]); /* so that poll and write notice a dead child */
    else if ((errno = pthread_create(&thread, NULL, control_plane, pool)) != 0)
        err(1, "pthread_create");

    unsigned sleeps = data_plane(pool);
    if (processes && waitpid(child, &status, 0) < 0) err(1, "waitpid");
    if (!processes && (errno = pthread_join(thread, NULL)) != 0) err(1, "pthread_join");
    if (WIFSIGNALED(status)) errx(1, "the control process was killed");
    if (status != 0) return 1; /* the control process has printed why */

    size_t lost = slab_pool_destroy(pool);
    printf("data plane: slept %u times without a page, lost %zu pages\n", sleeps, lost);
    if (fflush(stdout) != 0) err(1, "standard output");
    return lost != 0;
}
