/* Goal: the pool's promises hold between processes: one that returns, one that is stopped, one that
 * is killed anywhere, one that scribbles.
 * Method: a memfd mapped twice, at two addresses; ids travel through cells in a second shared
 * mapping. The owner is the parent; it knows every id it has out, so it can end what a dead child
 * left, and count. */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SLAB_IMPLEMENTATION
#include "../../slab.h"

#include "../check.h"

enum { SIZE = 192, COUNT = 24, CELLS = 64 };

/* One direction, one writer, one reader: a cell is 0 when empty. */
struct cells {
    _Alignas(64) _Atomic(uint64_t) cell[CELLS];
    _Atomic(uint64_t) done; /* ids the child has dealt with */
    _Atomic(uint32_t) bad;  /* payloads the child found wrong */
};

static slab_pool_config config = {.core = 3, .page_size = SIZE, .page_count = COUNT};
static slab_pool       *pool;
static void            *second; /* the pool's memory at another address */
static struct cells    *cells;

static void setup(void)
{
    config.memory_size = slab_pool_footprint(&config);
    int fd             = memfd_create("slab", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)config.memory_size) != 0) exit(1);
    config.memory = mmap(NULL, config.memory_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    second        = mmap(NULL, config.memory_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    cells = mmap(NULL, sizeof *cells, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    close(fd);
    CHECK(config.memory != second);
    CHECK_EQ(slab_pool_create(&pool, &config), 0);
}

static size_t teardown(void)
{
    size_t lost = slab_pool_destroy(pool);
    munmap(config.memory, config.memory_size);
    munmap(second, config.memory_size);
    munmap(cells, sizeof *cells);
    config.memory = NULL;
    return lost;
}

/* The child that behaves: takes ids for ever, checks the payload, returns, and returns again. */
static void return_for_ever(void)
{
    slab_pool *view;
    if (slab_pool_attach(&view, second, config.memory_size) != 0) _exit(2);
    for (uint64_t n = 0;; n++) {
        _Atomic(uint64_t) *cell = &cells->cell[n % CELLS];
        uint64_t           name;
        while ((name = atomic_load(cell)) == 0) sched_yield();
        slab_id id;
        size_t  len;
        memcpy(&id, &name, sizeof id);
        const unsigned char *payload = slab_pool_read(view, id, &len);
        bool                 good    = payload && len == SIZE;
        for (size_t i = 0; good && i < SIZE; i++)
            good = payload[i] == (unsigned char)(id.gen + id.page);
        if (!good) atomic_fetch_add(&cells->bad, 1);
        atomic_store(cell, 0);
        if (slab_pool_return(view, id) < 0) atomic_fetch_add(&cells->bad, 1);
        if (slab_pool_return(view, id) != -ESTALE) atomic_fetch_add(&cells->bad, 1);
        atomic_fetch_add(&cells->done, 1);
    }
}

static void scribble_for_ever(void)
{
    uint64_t           random = (uint64_t)getpid();
    _Atomic(uint32_t) *words  = second;
    size_t count = slab__pool_pages_offset(COUNT, slab__pool_state_size(&config)) / sizeof *words;
    for (;;) {
        uint64_t r = check_random(&random);
        atomic_store(&words[r % count],
                     r & (1u << 20) ? (uint32_t)(r >> 32) : (uint32_t)(r >> 32) % 64);
    }
}

static pid_t spawn(void (*body)(void))
{
    fflush(stdout);
    pid_t child = check_fork();
    if (child == 0) {
        body();
        _exit(0);
    }
    return child;
}

/* A peer with half of the cells: holds a page for a moment between look and return. */
static void serve(uint32_t peer)
{
    slab_pool *view;
    if (slab_pool_attach(&view, second, config.memory_size) != 0) _exit(2);
    for (uint64_t n = 0;; n++) {
        _Atomic(uint64_t) *cell = &cells->cell[peer * CELLS / 2 + n % (CELLS / 2)];
        slab_id            id   = slab_id_unpack(atomic_load(cell));
        size_t             len;
        if (id.gen == 0) {
            if (n % CELLS == 0) sched_yield();
            continue;
        }
        for (int look = 0; look < 2; look++) {
            const unsigned char *payload = slab_pool_read(view, id, &len);
            bool                 good    = payload && len == SIZE;
            for (size_t i = 0; good && i < SIZE; i++)
                good = payload[i] == (unsigned char)(id.gen + id.page);
            if (!good) atomic_fetch_add(&cells->bad, 1);
            if (look == 0 && n % 3 == 0) sched_yield();
        }
        atomic_store(cell, 0);
        if (slab_pool_return(view, id) < 0) atomic_fetch_add(&cells->bad, 1);
    }
}

static pid_t spawn_peer(uint32_t peer)
{
    fflush(stdout);
    pid_t child = check_fork();
    if (child == 0) serve(peer);
    return child;
}

static void end(pid_t child)
{
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

/* Owner: fills a page and hands it over; false when every page is out. */
static bool hand_over(uint64_t *sent, slab_id out[COUNT])
{
    slab_id        id;
    unsigned char *payload = slab_pool_alloc(pool, SIZE, &id);
    if (!payload) return false;
    memset(payload, (int)(unsigned char)(id.gen + id.page), SIZE);
    uint64_t name;
    memcpy(&name, &id, sizeof name);
    while (atomic_load(&cells->cell[*sent % CELLS]) != 0) sched_yield();
    out[id.page] = id;
    atomic_store(&cells->cell[(*sent)++ % CELLS], name);
    return true;
}

/* Every page comes back, each once. */
static void check_all_there(void)
{
    bool    taken[COUNT] = {false};
    slab_id id;
    int     got = 0;

    for (; slab_pool_alloc(pool, SIZE, &id) != NULL; got++) {
        CHECK(!taken[id.page]);
        taken[id.page] = true;
    }
    CHECK_EQ(got, COUNT);
}

static void a_child_at_another_address_returns(void)
{
    slab_id  out[COUNT] = {{0, 0, 0}};
    uint64_t sent       = 0;

    setup();
    pid_t child = spawn(return_for_ever);
    while (sent < 20000)
        if (!hand_over(&sent, out)) sched_yield();
    while (atomic_load(&cells->done) < sent) sched_yield();
    end(child);
    CHECK_EQ(atomic_load(&cells->bad), 0);
    struct slab_pool_info info;
    slab_pool_stats(pool, &info);
    CHECK_EQ(info.refused, sent); /* each second return, counted across processes */
    CHECK_EQ(info.available, COUNT);
    check_all_there();
    CHECK_EQ(teardown(), COUNT);
}

static void a_child_killed_anywhere_loses_no_page(void)
{
    uint64_t random = 9;

    for (int round = 0; round < 100; round++) {
        slab_id  out[COUNT] = {{0, 0, 0}};
        uint64_t sent       = 0;
        setup();
        pid_t  child = spawn(return_for_ever);
        size_t stop  = (size_t)(check_random(&random) % 4000);
        while (sent < stop)
            if (!hand_over(&sent, out)) sched_yield();
        end(child);
        /* What it had not returned, the owner ends; the rest is stale. */
        for (int page = 0; page < COUNT; page++)
            if (out[page].gen) slab_pool_return(pool, out[page]);
        CHECK_EQ(atomic_load(&cells->bad), 0);
        check_all_there();
        CHECK_EQ(teardown(), COUNT);
    }
}

static void a_child_stopped_anywhere_delays_nobody(void)
{
    uint64_t random = 4;

    setup();
    slab_id  out[COUNT] = {{0, 0, 0}};
    uint64_t sent       = 0;
    pid_t    child      = spawn(return_for_ever);
    for (int round = 0; round < 100; round++) {
        uint64_t stop = sent + check_random(&random) % 300;
        while (sent < stop)
            if (!hand_over(&sent, out)) sched_yield();
        kill(child, SIGSTOP);
        waitpid(child, NULL, WUNTRACED);
        /* All it holds is what it was given: the owner takes that back, and has every page. */
        for (int page = 0; page < COUNT; page++)
            if (out[page].gen) slab_pool_return(pool, out[page]);
        slab_id ids[COUNT];
        for (int page = 0; page < COUNT; page++)
            CHECK(slab_pool_alloc(pool, SIZE, &ids[page]) != NULL);
        for (int page = 0; page < COUNT; page++) CHECK_EQ(slab_pool_return(pool, ids[page]), 0);
        for (int i = 0; i < CELLS; i++) atomic_store(&cells->cell[i], 0);
        end(child);
        atomic_store(&cells->done, 0);
        sent  = 0;
        child = spawn(return_for_ever);
    }
    end(child);
    CHECK_EQ(atomic_load(&cells->bad), 0);
    teardown();
}

/* Two peers, of which one is killed anywhere, again and again. Its pages, those on the way to it
 * too, come back by reap, each once, while the other peer goes on. */
static void a_killed_peers_pages_are_reaped(void)
{
    uint64_t random = 6, reaped = 0;
    pid_t    child[2];
    slab_id  id;

    config.lends = true;
    setup();
    for (uint32_t peer = 0; peer < 2; peer++) child[peer] = spawn_peer(peer);
    for (int round = 0; round < 200; round++) {
        uint32_t dead = round & 1;
        for (uint64_t stop = check_random(&random) % 200; stop > 0;) {
            uint32_t           to   = (uint32_t)(check_random(&random) % 2);
            _Atomic(uint64_t) *cell = &cells->cell[to * CELLS / 2 + random % (CELLS / 2)];
            unsigned char     *payload;
            if (atomic_load(cell) != 0 || !(payload = slab_pool_alloc(pool, SIZE, &id))) {
                sched_yield();
                continue;
            }
            memset(payload, (int)(unsigned char)(id.gen + id.page), SIZE);
            CHECK_EQ(slab_pool_lend(pool, id, to), 0);
            atomic_store(cell, slab_id_pack(id));
            stop--;
        }
        end(child[dead]);
        reaped += slab_pool_reap(pool, dead);
        for (uint32_t i = 0; i < CELLS / 2; i++)
            atomic_store(&cells->cell[dead * CELLS / 2 + i], 0);
        child[dead] = spawn_peer(dead);
    }
    for (uint32_t peer = 0; peer < 2; peer++) {
        end(child[peer]);
        reaped += slab_pool_reap(pool, peer);
    }
    CHECK(reaped > 0);
    CHECK_EQ(atomic_load(&cells->bad), 0);
    check_all_there();
    printf("# %llu pages were reaped\n", (unsigned long long)reaped);
    CHECK_EQ(teardown(), COUNT);
    config.lends = false;
}

static void a_scribbler_spoils_no_more_than_payloads(void)
{
    for (int round = 0; round < 10; round++) {
        slab_id  ids[COUNT] = {{0, 0, 0}};
        uint64_t random     = (uint64_t)round;
        config.lends        = round & 1;
        setup();
        pid_t scribbler = spawn(scribble_for_ever);
        for (int step = 0; step < 100000; step++) {
            slab_id        id;
            size_t         len;
            unsigned char *payload = slab_pool_alloc(pool, SIZE, &id);
            if (payload) {
                CHECK(payload >= slab__pool_page(pool, 0));
                CHECK(payload <= slab__pool_page(pool, COUNT - 1));
                memset(payload, step, SIZE);
                ids[id.page] = id;
            }
            slab_id pick = ids[check_random(&random) % COUNT];
            if (slab_pool_read(pool, pick, &len)) CHECK(len <= SIZE);
            if (random & 64) slab_pool_free(pool, pick);
            else slab_pool_return(pool, pick);
            slab_pool_drain(pool);
            slab_pool_lend(pool, pick, 1);
            if (step % 64 == 0) slab_pool_reap(pool, step & 64 ? 1 : SLAB_NO_PEER);
            if (step % 64 == 0) slab_pool_want(pool);
        }
        end(scribbler);
        bool    taken[COUNT] = {false};
        slab_id id;
        while (slab_pool_alloc(pool, SIZE, &id) != NULL) {
            CHECK(!taken[id.page]);
            taken[id.page] = true;
        }
        teardown();
    }
}

int main(void)
{
    RUN(a_child_at_another_address_returns);
    RUN(a_child_killed_anywhere_loses_no_page);
    RUN(a_child_stopped_anywhere_delays_nobody);
    RUN(a_killed_peers_pages_are_reaped);
    RUN(a_scribbler_spoils_no_more_than_payloads);
    return REPORT();
}
