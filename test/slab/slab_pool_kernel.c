/* Goal: slab_pool does what slab.h says where the kernel has a part in it: after fork, with locks.
 * Method: no macro of the header is replaced. A child after fork calls everything with the ids of
 * its parent, and then uses the pool as its own; the parent looks whether it lost a page. Owners in
 * other processes hold the lock of a memfd, and end in every way. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SLAB_IMPLEMENTATION
#include "../../slab.h"

#include "../check.h"

enum { SIZE = 128, COUNT = 50, OUT = 30 };

static slab_pool *pool;
static slab_id    ids[COUNT];

static uint32_t available(void)
{
    struct slab_pool_info info;
    slab_pool_stats(pool, &info);
    return info.available;
}

/* Runs it in a child after fork; its failed checks are the parent's. */
static void in_a_child(void (*body)(void))
{
    int status = 0;

    fflush(stdout);
    pid_t child = check_fork();
    if (child == 0) {
        body();
        _exit(atomic_load(&check_failures) != 0);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

/* Whether this kernel, or emulator, wipes memory in children. */
static bool wipes(void)
{
    size_t size   = (size_t)sysconf(_SC_PAGESIZE);
    char  *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int    status = 0;

    memory[0] = 1;
    if (madvise(memory, size, 18 /* MADV_WIPEONFORK */) != 0) return false;
    pid_t child = check_fork();
    if (child == 0) _exit(memory[0]);
    waitpid(child, &status, 0);
    munmap(memory, size);
    return status == 0;
}

static void use_the_parents_ids(void)
{
    size_t len;
    bool   wake;

    for (int i = 0; i < OUT; i++) {
        CHECK(slab_pool_read(pool, ids[i], &len) == NULL);
        CHECK_EQ(slab_pool_return(pool, ids[i]), -ESTALE);
        CHECK_EQ(slab_pool_free(pool, ids[i]), -ESTALE);
        CHECK_EQ(slab_pool_set_len(pool, ids[i], 1), -ESTALE);
    }
    CHECK_EQ(slab_pool_return_many(pool, ids, OUT, &wake), 0);
}

static void use_the_pool(void)
{
    bool    taken[COUNT] = {false};
    slab_id id;

    for (int i = 0; i < COUNT; i++) {
        CHECK(slab_pool_alloc(pool, SIZE, &id) != NULL);
        CHECK(!taken[id.page]);
        taken[id.page] = true;
        for (int k = 0; k < OUT; k++) CHECK(id.page != ids[k].page || id.gen != ids[k].gen);
    }
    CHECK(slab_pool_alloc(pool, SIZE, &id) == NULL);
    use_the_parents_ids(); /* not even now does one of them pass for an id of the child */
    CHECK_EQ(slab_pool_destroy(pool), COUNT);
}

static void a_child_refuses_the_parents_ids(void)
{
    slab_pool_config config = {.page_size = SIZE, .page_count = COUNT};
    size_t           len;

    if (!wipes()) {
        check_skip("no MADV_WIPEONFORK here");
        return;
    }
    CHECK_EQ(slab_pool_create(&pool, &config), 0);
    for (int i = 0; i < OUT; i++) CHECK_EQ(slab_pool_put(pool, "parent", 7, &ids[i]), 0);
    in_a_child(use_the_parents_ids);
    in_a_child(use_the_pool);
    CHECK_EQ(available(), COUNT - OUT);
    for (int i = 0; i < OUT; i++) {
        const char *payload = slab_pool_read(pool, ids[i], &len);
        CHECK(payload && strcmp(payload, "parent") == 0);
        CHECK_EQ(slab_pool_return(pool, ids[i]), 0);
    }
    CHECK_EQ(available(), COUNT);
    CHECK_EQ(slab_pool_destroy(pool), 0);
}

/* In shared memory, the child's pool, like a view, reads and returns the parent's pages. */
static void return_the_parents_pages(void)
{
    size_t len;

    for (int i = 0; i < OUT; i++) {
        const char *payload = slab_pool_read(pool, ids[i], &len);
        CHECK(payload && strcmp(payload, "shared") == 0);
        CHECK_EQ(slab_pool_return(pool, ids[i]), 0);
    }
}

static void a_child_returns_what_is_shared(void)
{
    slab_pool_config config = {.page_size = SIZE, .page_count = COUNT};

    config.memory_size = slab_pool_footprint(&config);
    config.memory      = mmap(NULL, config.memory_size, PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK_EQ(slab_pool_create(&pool, &config), 0);
    for (int i = 0; i < OUT; i++) CHECK_EQ(slab_pool_put(pool, "shared", 7, &ids[i]), 0);
    in_a_child(return_the_parents_pages);
    CHECK_EQ(available(), COUNT);
    CHECK_EQ(slab_pool_destroy(pool), 0);
    munmap(config.memory, config.memory_size);
}

/* -- One owner -- */

static slab_pool_config shared; /* a pool in a memfd */

static void make_shared(void)
{
    shared             = (slab_pool_config){.page_size = SIZE, .page_count = COUNT};
    shared.memory_size = slab_pool_footprint(&shared);
    shared.fd          = memfd_create("pages", MFD_CLOEXEC);
    CHECK(shared.fd > 0 && ftruncate(shared.fd, (off_t)shared.memory_size) == 0);
    shared.memory =
        mmap(NULL, shared.memory_size, PROT_READ | PROT_WRITE, MAP_SHARED, shared.fd, 0);
}

static void end_shared(void)
{
    munmap(shared.memory, shared.memory_size);
    close(shared.fd);
}

static void find_it_busy(void)
{
    slab_pool *second = pool;

    CHECK_EQ(slab_pool_adopt(&second, &shared), -EBUSY);
    CHECK(second == NULL);
    CHECK_EQ(slab_pool_create(&second, &shared), -EBUSY);
    CHECK(second == NULL);
}

static void adopt_it(void)
{
    CHECK_EQ(slab_pool_adopt(&pool, &shared), 0);
    find_it_busy();
}

static int descriptors(void) /* the lowest that is free: a leak raises it */
{
    int fd = dup(0);
    close(fd);
    return fd;
}

static void one_owner_at_a_time(void)
{
    slab_pool *view;

    make_shared();
    int before = descriptors();
    CHECK_EQ(slab_pool_create(&pool, &shared), 0);
    CHECK_EQ(slab_pool_put(pool, "kept", 5, &ids[0]), 0);
    CHECK_EQ(slab_pool_attach(&view, shared.memory, shared.memory_size), 0);
    find_it_busy();
    in_a_child(find_it_busy); /* the child has the same descriptor, and opens the file anew */
    CHECK_EQ(slab_pool_destroy(pool), 1);
    CHECK_EQ(descriptors(), before);
    CHECK_EQ(slab_pool_adopt(&pool, &shared), -EINVAL); /* not busy, but destroyed */
    CHECK_EQ(slab_pool_create(&pool, &shared), 0);
    CHECK_EQ(slab_pool_destroy(pool), 0);
    CHECK_EQ(descriptors(), before);
    slab_pool_detach(view);
    end_shared();
}

/* The bytes behind the first are the caller's to lock: here by a peer that dies. */
static void peers_may_lock_the_other_bytes(void)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1, .l_len = 1};
    int          ready[2], status;
    char         byte, path[40];

    make_shared();
    CHECK_EQ(slab_pool_create(&pool, &shared), 0);
    CHECK(pipe(ready) == 0);
    pid_t peer = check_fork();
    if (peer == 0) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", shared.fd);
        if (fcntl(open(path, O_RDWR | O_CLOEXEC), F_OFD_SETLK, &lock) != 0) _exit(1);
        if (write(ready[1], "", 1) != 1) _exit(2);
        for (;;) pause();
    }
    CHECK(read(ready[0], &byte, 1) == 1);
    CHECK(fcntl(shared.fd, F_OFD_GETLK, &lock) == 0 && lock.l_type == F_WRLCK);
    kill(peer, SIGKILL);
    waitpid(peer, &status, 0);
    lock = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1, .l_len = 1};
    CHECK(fcntl(shared.fd, F_OFD_GETLK, &lock) == 0 && lock.l_type == F_UNLCK);
    CHECK_EQ(slab_pool_destroy(pool), 0);
    close(ready[0]);
    close(ready[1]);
    end_shared();
}

static void the_lock_ends_with_the_process(void)
{
    slab_id *kept = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int      ready[2], status;
    char     byte;

    make_shared();
    CHECK(pipe(ready) == 0);
    pid_t owner = check_fork();
    if (owner == 0) {
        if (slab_pool_create(&pool, &shared) != 0) _exit(1);
        if (slab_pool_put(pool, "kept", 5, kept) != 0) _exit(2);
        if (write(ready[1], "", 1) != 1) _exit(3);
        for (;;) pause();
    }
    CHECK(read(ready[0], &byte, 1) == 1);
    find_it_busy();
    kill(owner, SIGKILL);
    waitpid(owner, &status, 0);
    adopt_it();
    CHECK_EQ(available(), COUNT - 1);
    CHECK_EQ(slab_pool_return(pool, *kept), 0);
    CHECK_EQ(slab_pool_destroy(pool), 0);
    end_shared();
    munmap(kept, 4096);
    close(ready[0]);
    close(ready[1]);
}

/* A child after fork has the owner's lock, until it detaches. */
static void a_childs_lock_ends_with_detach(void)
{
    int  go[2], done[2], status;
    char byte;

    make_shared();
    CHECK(pipe(go) == 0 && pipe(done) == 0);
    pid_t owner = check_fork();
    if (owner == 0) {
        if (slab_pool_create(&pool, &shared) != 0) _exit(1);
        if (fork() != 0) _exit(0); /* the owner ends, its child goes on */
        if (read(go[0], &byte, 1) != 1) _exit(2);
        slab_pool_detach(pool);
        if (write(done[1], "", 1) != 1) _exit(3);
        (void)!read(go[0], &byte, 1);
        _exit(0);
    }
    waitpid(owner, &status, 0);
    CHECK_EQ(status, 0);
    find_it_busy();
    CHECK(write(go[1], "", 1) == 1 && read(done[0], &byte, 1) == 1);
    CHECK_EQ(slab_pool_adopt(&pool, &shared), 0);
    slab_pool_detach(pool); /* does nothing here: this is the owner */
    find_it_busy();
    CHECK(write(go[1], "", 1) == 1);
    CHECK_EQ(slab_pool_destroy(pool), 0);
    for (int i = 0; i < 2; i++) close(go[i]), close(done[i]);
    end_shared();
}

int main(void)
{
    RUN(a_child_refuses_the_parents_ids);
    RUN(a_child_returns_what_is_shared);
    RUN(one_owner_at_a_time);
    RUN(peers_may_lock_the_other_bytes);
    RUN(the_lock_ends_with_the_process);
    RUN(a_childs_lock_ends_with_detach);
    return REPORT();
}
