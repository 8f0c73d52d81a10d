/* restart.c - a data plane of two processes under load: a writer fills pages of a slab_pool, a
 * reader reads and returns them. Alternately they are killed by kill -9, and restarted. No page is
 * lost, and none is handed out twice.
 *
 *     cc -std=c11 -O2 -I. examples/restart.c -o restart
 *     ./restart [KILLS [MILLISECONDS]]           by default, 10 times, once a second
 *
 * A new writer adopts the pool. Each reader is a peer with a number of its own, and pages are lent
 * to it. When the supervisor has seen a reader dead and changed the number, the writer takes back
 * the pages. The queue is in shared memory: a slot is written, the page lent, then the head moved;
 * so a new writer knows whether the last page was sent. */
#define _GNU_SOURCE /* memfd_create */
#define SLAB_IMPLEMENTATION
#include "slab.h" /* and with it errno.h, stdatomic.h, unistd.h, sys/mman.h */
#include <err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum { PAGES = 64, SIZE = 4096, WORDS = SIZE / sizeof(uint64_t), SLOTS = 256, PAUSE = 20 /* us */ };

static struct shared {
    _Atomic(uint32_t) reader; /* the number of the present one: those below are dead */
    _Atomic(uint64_t) head, tail, slots[SLOTS]; /* the queue of ids; the writer moves the head */
    _Atomic(uint64_t) read, skipped;            /* messages */
} *shared;

static slab_pool_config config = {.page_size = SIZE, .page_count = PAGES, .lends = true};

static slab_pool *own(void)
{
    slab_pool *pool;
    int        error = slab_pool_adopt(&pool, &config);
    if (error == -EINVAL) error = slab_pool_create(&pool, &config); /* the first writer */
    if ((errno = -error) != 0) err(1, "slab_pool_adopt");
    return pool;
}

/* Takes back what dead readers held, and what the former writer had in hand, lent to none. */
static void take_back(slab_pool *pool, uint32_t reader)
{
    uint32_t cursor = 0;
    for (slab_id id; (id = slab_pool_next(pool, &cursor)).gen != 0;)
        if (slab_pool_peer(pool, id) != reader) slab_pool_reap(pool, slab_pool_peer(pool, id));
}

static _Noreturn void writer(void)
{
    slab_pool *pool   = own();
    uint32_t   reader = shared->reader;
    slab_id    id     = slab_id_unpack(shared->slots[shared->head % SLOTS]);

    if (slab_pool_peer(pool, id) == reader) shared->head++; /* lent, but not sent */
    take_back(pool, reader);
    for (;;) {
        if (reader != shared->reader) take_back(pool, reader = shared->reader);
        while (shared->head - shared->tail == SLOTS) usleep(PAUSE);
        uint64_t *page = slab_pool_alloc(pool, SIZE, &id);
        if (!page) {
            usleep(PAUSE);
            continue;
        }
        for (size_t i = 0; i < WORDS; i++) page[i] = shared->head;
        shared->slots[shared->head % SLOTS] = slab_id_pack(id);
        if (slab_pool_lend(pool, id, reader) != 0) errx(1, "the page is not live");
        shared->head++;
    }
}

/* Whether the page is as it was written for that place in the queue; looks twice. */
static bool is_whole(const volatile uint64_t *page, uint64_t place)
{
    for (size_t i = 0; i < 2 * WORDS; i++)
        if (page[i % WORDS] != place) return false;
    return true;
}

static _Noreturn void reader(uint32_t number)
{
    slab_pool *view;
    size_t     len;
    while (slab_pool_attach(&view, config.memory, config.memory_size) != 0) usleep(PAUSE);
    for (;;) {
        while (shared->tail == shared->head) usleep(PAUSE);
        slab_id id = slab_id_unpack(shared->slots[shared->tail % SLOTS]);
        if (slab_pool_peer(view, id) == number) {
            const uint64_t *page = slab_pool_read(view, id, &len);
            if (!page || !is_whole(page, shared->tail)) errx(1, "a page was handed out twice");
            if (slab_pool_return(view, id) < 0) errx(1, "a page was taken from its reader");
            shared->read++;
        } else shared->skipped++; /* lent to a reader that died: the writer takes it back */
        shared->tail++;
    }
}

static pid_t start(bool writes)
{
    pid_t parent = getpid(), child = fork();
    if (child < 0) err(1, "fork");
    if (child > 0) return child;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent) _exit(1);
    if (writes) writer();
    reader(shared->reader);
}

static void end(pid_t child)
{
    int status;
    if (kill(child, SIGKILL) != 0 || waitpid(child, &status, 0) != child) err(1, "kill");
    if (!WIFSIGNALED(status)) exit(1); /* it has printed why */
}

int main(int argc, char **argv)
{
    long     kills = argc > 1 ? atol(argv[1]) : 10, every = argc > 2 ? atol(argv[2]) : 1000;
    size_t   size  = slab_pool_footprint(&config);
    slab_id  id;
    uint64_t found = 0; /* a bit for each page */

    if (argc > 3 || kills < 1 || every < 1) errx(2, "usage: restart [KILLS [MILLISECONDS]]");
    config.fd = memfd_create("pages", MFD_CLOEXEC);
    config.memory_size = size + sizeof *shared;
    if (ftruncate(config.fd, (off_t)config.memory_size) != 0) err(1, "memfd_create");
    config.memory =
        mmap(NULL, config.memory_size, PROT_READ | PROT_WRITE, MAP_SHARED, config.fd, 0);
    if (config.memory == MAP_FAILED) err(1, "mmap");
    shared = (void *)((char *)config.memory + size);

    pid_t child[2] = {start(false), start(true)};
    for (long n = 0; n < kills; n++) {
        uint64_t before = shared->read;
        usleep((useconds_t)every * 1000);
        for (int i = 0; i < 1000 && shared->read == before; i++) usleep(10000);
        if (shared->read == before) errx(1, "no message in ten seconds: pages are lost");
        end(child[n % 2]);
        if (n % 2 == 0) shared->reader++; /* the reader is dead: from here on, its pages are free */
        child[n % 2] = start(n % 2);
    }
    for (int i = 0; i < 2; i++) end(child[i]);
    slab_pool *pool = own();
    take_back(pool, shared->reader + 1); /* no reader is left */
    while (slab_pool_alloc(pool, SIZE, &id)) found |= UINT64_C(1) << id.page;
    printf("killed %ld times: %ju messages read, %ju lost with a reader, %d of %d pages found\n",
           kills, (uintmax_t)shared->read, (uintmax_t)shared->skipped, __builtin_popcountll(found),
           PAGES);
    if (fflush(stdout) != 0) err(1, "standard output");
    return found != UINT64_MAX;
}
