/* Goal: an owner that is killed at any instruction of any call leaves a pool that the next owner
 * adopts: no page is lost, none is handed out twice, and no id is ever used again.
 * Method: an owner adopts the pool, checks it, hands pages to four processes that read and return
 * them all the time, and makes a call, of which it is let make n instructions, by ptrace, and then
 * killed; for each n until the call is over. The next owner is the judge of what is left. No macro
 * of the header is replaced.
 * Usage: slab_pool_adopt [STRIDE]     each STRIDE-th instruction or so (default 150; 1 is all) */
#define _GNU_SOURCE
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#define SLAB_IMPLEMENTATION
#include "../../slab.h"

#include "../check.h"

enum { SIZE = 192, COUNT = 24, PEERS = 4, CELLS = 4, KEPT = 3, GONE = 9 /* no peer */ };

/* Shared by all processes. A page is in a peer's hands as long as its id is in a cell. */
static struct board {
    _Alignas(64) _Atomic(uint64_t) cells[PEERS][CELLS];
    _Atomic(uint32_t) bad;         /* what peers found wrong */
    _Atomic(uint32_t) failures;    /* of owners */
    _Atomic(uint32_t) rounds;
    uint32_t          gens[COUNT]; /* the last one of each page that an owner has seen */
} *board;

static slab_pool_config config = {
    .core = 3, .page_size = SIZE, .page_count = COUNT, .lends = true};
static slab_pool       *pool;
static slab_id          kept[KEPT]; /* in the owner's hands alone */
static unsigned         stride = 150;

static unsigned char pattern(slab_id id) { return (unsigned char)(id.gen * 7 + id.page); }

static bool whole(slab_id id, const unsigned char *payload)
{
    for (size_t i = 0; i < SIZE; i++)
        if (payload[i] != pattern(id)) return false;
    return true;
}

/* A peer: reads the page when it gets it, holds it for a while, reads it again, returns it. */
static void read_and_return(int peer)
{
    uint64_t   random = (uint64_t)peer;
    slab_pool *view;

    if (slab_pool_attach(&view, config.memory, config.memory_size) != 0) _exit(2);
    for (unsigned n = 0;; n++) {
        _Atomic(uint64_t) *cell = &board->cells[peer][n % CELLS];
        uint64_t           word = atomic_load(cell);
        if (word == 0) {
            if (n % CELLS == 0) usleep(20);
            continue;
        }
        slab_id              id = slab_id_unpack(word);
        size_t               len;
        const unsigned char *payload = slab_pool_read(view, id, &len);
        if (!payload || len != SIZE || !whole(id, payload)) atomic_fetch_add(&board->bad, 1);
        if (check_random(&random) % 4 == 0) usleep((unsigned)(random % 1000));
        if (!payload || !whole(id, payload)) atomic_fetch_add(&board->bad, 1);
        if (slab_pool_return(view, id) < 0) atomic_fetch_add(&board->bad, 1);
        atomic_store(cell, 0);
    }
}

/* -- The owner -- */

/* Allocates and fills a page. Its generation must be a new one. */
static bool fill(slab_id *id)
{
    unsigned char *payload = slab_pool_alloc(pool, SIZE, id);
    if (!payload) return false;
    CHECK(id->gen > board->gens[id->page]);
    board->gens[id->page] = id->gen;
    memset(payload, pattern(*id), SIZE);
    return true;
}

/* What was out at the death of the last owner is out now, or was returned since. What peers do not
 * hold was in that owner's hands: it goes back. */
static void take_back(void)
{
    slab_id  id;
    uint32_t cursor = 0, at;
    size_t   lost   = 0;

    while ((id = slab_pool_next(pool, &cursor)).gen != 0) {
        bool held = false;
        CHECK(id.gen >= board->gens[id.page]);
        board->gens[id.page] = id.gen;
        for (at = 0; at < PEERS * CELLS; at++)
            held |= atomic_load(&board->cells[at / CELLS][at % CELLS]) == slab_id_pack(id);
        if (held) CHECK(slab_pool_peer(pool, id) < PEERS || slab_pool_return(pool, id) < 0);
        else if (slab_pool_peer(pool, id) == GONE) lost++;
        else slab_pool_return(pool, id); /* a peer may have returned it since */
    }
    CHECK_EQ(slab_pool_reap(pool, GONE), lost);
}

/* Takes every page, while the peers hold some and return them: each comes once, and in the end
 * there are COUNT. Then gives them back. */
static void take_all(void)
{
    bool    taken[COUNT] = {false};
    slab_id ids[COUNT], none;

    for (int got = 0; got < COUNT;) {
        if (!fill(&ids[got])) {
            sched_yield();
            continue;
        }
        CHECK(!taken[ids[got].page]);
        taken[ids[got++].page] = true;
    }
    CHECK(slab_pool_alloc(pool, SIZE, &none) == NULL);
    for (int i = 0; i < COUNT; i++) CHECK_EQ(slab_pool_return(pool, ids[i]), 0);
}

/* Fills as many empty cells, and returns how many. */
static int hand_out(int pages)
{
    int     sent = 0;
    slab_id id;

    for (int at = 0; at < PEERS * CELLS && sent < pages; at++) {
        _Atomic(uint64_t) *cell = &board->cells[at % PEERS][at / PEERS];
        if (atomic_load(cell) != 0 || !fill(&id)) continue;
        CHECK_EQ(slab_pool_lend(pool, id, (uint32_t)at % PEERS), 0);
        atomic_store(cell, slab_id_pack(id));
        sent++;
    }
    return sent;
}

/* -- The calls -- */

static void call_alloc(void) { slab_pool_alloc(pool, SIZE, &kept[0]); }
static void call_put(void) { slab_pool_put(pool, "four", 4, &kept[0]); }
static void call_set_len(void) { slab_pool_set_len(pool, kept[0], 7); }
static void call_free(void) { slab_pool_free(pool, kept[0]); }
static void call_drain(void) { slab_pool_drain(pool); }
static void call_want(void) { slab_pool_want(pool); }
static void call_return(void) { slab_pool_return(pool, kept[0]); }
static void call_create(void) { slab_pool_create(&pool, &config); }
static void call_adopt(void) { slab_pool_adopt(&pool, &config); }
static void call_lend(void) { slab_pool_lend(pool, kept[0], GONE); }
static void call_reap(void) { slab_pool_reap(pool, GONE); }
static void call_destroy(void) { slab_pool_destroy(pool); }

static void call_return_many(void)
{
    bool wake;
    slab_pool_return_many(pool, kept, KEPT, &wake);
}

static void call_stats(void)
{
    struct slab_pool_info info;
    slab_pool_stats(pool, &info);
}

static void call_next(void)
{
    uint32_t cursor = 0;
    slab_pool_next(pool, &cursor);
}

enum { PLAIN, WITHOUT_PAGES, WITHOUT_POOL, WITHOUT_PEERS }; /* the state before a call */

static const struct call {
    const char *name;
    void      (*call)(void);
    int         before;
} calls[] = {
    {"alloc", call_alloc, PLAIN},
    {"alloc that looks at pages", call_alloc, WITHOUT_PAGES},
    {"put", call_put, PLAIN},
    {"set_len", call_set_len, PLAIN},
    {"free", call_free, PLAIN},
    {"drain", call_drain, PLAIN},
    {"want", call_want, WITHOUT_PAGES},
    {"return", call_return, PLAIN},
    {"return_many", call_return_many, PLAIN},
    {"stats", call_stats, PLAIN},
    {"next", call_next, PLAIN},
    {"lend", call_lend, PLAIN},
    {"reap", call_reap, PLAIN},
    {"adopt", call_adopt, WITHOUT_POOL},
    {"create", call_create, WITHOUT_PEERS},
    {"destroy", call_destroy, WITHOUT_PEERS},
};

/* After create or destroy was broken off, which no peer saw: there is no pool, or the one before as
 * it was, or a new one. */
static void look_at_creation(void)
{
    unsigned lives = 0, kept_on = 0;

    for (uint32_t page = 0; page < COUNT; page++) {
        lives += atomic_load(&pool->lives[page].gen) != 0;
        kept_on += atomic_load(&pool->lives[page].gen) >= board->gens[page];
    }
    CHECK(lives == 0 || kept_on == COUNT);
    if (lives == 0) memset(board->gens, 0, sizeof board->gens);
}

/* Lets go of the lock, or create would find the file locked by ourselves. */
static void unlock(void)
{
    close(pool->lock_fd);
    pool->lock_fd = -1;
}

/* Brings the pool into that state; the call is next. */
static void prepare(int before)
{
    slab_id id;

    if (before == WITHOUT_POOL) return;
    int error = slab_pool_adopt(&pool, &config);
    if (error == -EINVAL) { /* create or destroy was broken off, or destroy was not */
        memset(board->gens, 0, sizeof board->gens);
        error = slab_pool_create(&pool, &config);
    }
    CHECK_EQ(error, 0);
    if (error) return;
    if (before == WITHOUT_PEERS) look_at_creation();
    take_back();
    take_all();
    for (int i = 0; i < KEPT; i++) CHECK(fill(&kept[i]));
    if (before == WITHOUT_PEERS) {
        unlock();
        return;
    }
    for (int i = 1; i < KEPT; i++) CHECK_EQ(slab_pool_lend(pool, kept[i], GONE), 0);
    hand_out(8);
    while (before == WITHOUT_PAGES && slab_pool_alloc(pool, SIZE, &id)) {}
    usleep(100); /* some come back */
}

static _Noreturn void own(const struct call *call)
{
    prepare(call->before);
    atomic_fetch_add(&board->failures, (unsigned)atomic_load(&check_failures));
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) _exit(1);
    raise(SIGSTOP);
    call->call();
    raise(SIGSTOP);
    _exit(0);
}

/* Kills an owner after that many instructions of the call. Returns whether it was over by then. */
static bool kill_after(const struct call *call, unsigned instructions)
{
    int  status = 0;
    bool over   = false;

    fflush(stdout);
    pid_t owner = check_fork();
    if (owner == 0) own(call);
    waitpid(owner, &status, 0);
    CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    for (unsigned n = 0; n < instructions && !over && WIFSTOPPED(status); n++) {
        if (ptrace(PTRACE_SINGLESTEP, owner, NULL, NULL) != 0) break;
        waitpid(owner, &status, 0);
        over = WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP;
    }
    CHECK(WIFSTOPPED(status));
    kill(owner, SIGKILL);
    waitpid(owner, &status, 0);
    atomic_fetch_add(&board->rounds, 1);
    return over || atomic_load(&check_failures) != 0;
}

static bool can_trace(void)
{
    int status = 0;

    pid_t child = check_fork();
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) _exit(1);
        raise(SIGSTOP);
        _exit(0);
    }
    waitpid(child, &status, 0);
    bool can = WIFSTOPPED(status) && ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) == 0;
    if (can) waitpid(child, &status, 0);
    can = can && WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP;
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    return can;
}

static void an_owner_killed_at_any_instruction(void)
{
    pid_t    peers[PEERS] = {0};
    uint64_t random = 1;

    if (!can_trace()) {
        check_skip("no ptrace here");
        return;
    }
    config.memory_size = slab_pool_footprint(&config);
    config.fd          = memfd_create("pages", MFD_CLOEXEC);
    if (config.fd < 0 || ftruncate(config.fd, (off_t)config.memory_size) != 0) exit(1);
    const int access = PROT_READ | PROT_WRITE;
    config.memory    = mmap(NULL, config.memory_size, access, MAP_SHARED, config.fd, 0);
    board = mmap(NULL, sizeof *board, access, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    CHECK_EQ(slab_pool_create(&pool, &config), 0);
    close(pool->lock_fd); /* the owners from here on are children */
    for (int i = 0; i < PEERS; i++)
        if ((peers[i] = check_fork()) == 0) read_and_return(i);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        unsigned n = 0;
        while (!kill_after(&calls[i], n))
            n += 1 + (unsigned)(check_random(&random) % (2 * stride - 1));
        printf("# %s: %u instructions\n", calls[i].name, n);
        CHECK_EQ(atomic_load(&board->bad), 0);
        CHECK_EQ(atomic_load(&board->failures), 0);
        check_progress();
    }
    kill_after(&calls[0], 0); /* one more owner, to look */
    CHECK_EQ(atomic_load(&board->failures), 0);
    printf("# %u owners were killed\n", atomic_load(&board->rounds));
    for (int i = 0; i < PEERS; i++) {
        kill(peers[i], SIGKILL);
        waitpid(peers[i], NULL, 0);
    }
    munmap(config.memory, config.memory_size);
    munmap(board, sizeof *board);
    close(config.fd);
}

int main(int argc, char **argv)
{
    if (argc > 1) stride = (unsigned)atoi(argv[1]);
    if (stride == 0) return 2;
    RUN(an_owner_killed_at_any_instruction);
    return REPORT();
}
