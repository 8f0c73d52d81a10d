/* Goal: readers in other processes get a whole value or an error, see growth and new values at
 * once, and cannot stop the owner; there is one owner at a time, and the next is let in however the
 * last one ended. Method: refs travel through cells in shared memory, each beside the seed that its
 * value was made from, so that a reader knows what every byte has to be. The owner takes a ref out
 * of its cell before it frees the value: a reader whose ref is still in the cell afterwards must
 * have got it. Usage: overflow_process [SECONDS] */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define OVERFLOW_IMPLEMENTATION
#include "../../overflow.h"

#include "../check.h"

enum { CELLS = 256, READERS = 4, SIZE_BITS = 15, SIZE_MAX_HERE = 1 << SIZE_BITS };

/* ref is 0 while seed changes; a ref is never given twice. */
struct cell {
    _Alignas(64) _Atomic(uint64_t) ref;
    _Atomic(uint64_t) seed;
};

struct shared {
    struct cell cell[CELLS];
    struct {
        _Alignas(64) _Atomic(uint64_t) whole, stale, small; /* what its reads came to */
        _Atomic(uint64_t) bad;
        _Atomic(int64_t)  error; /* the last that should not be, or 1: wrong bytes */
    } reader[READERS];
    _Atomic(uint64_t) inside;  /* owners of a file */
    _Atomic(uint64_t) entered; /* how often one was let in */
    _Atomic(uint64_t) clashes; /* two were inside */
    _Atomic(bool)     over;
    _Atomic(bool)     free_of_it; /* a child no longer has the region that it was forked with */
};
static struct shared *shared;

static double           seconds = 1.5;
static char             path[4096], other_path[4200];
static overflow_region *region;
static unsigned char    want[SIZE_MAX_HERE], got[SIZE_MAX_HERE];

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static size_t size_of(uint64_t seed) { return (size_t)(seed & (SIZE_MAX_HERE - 1)); }

static const void *value_of(uint64_t seed)
{
    size_t size = size_of(seed);
    for (size_t i = 0; i < size; i += 8) {
        uint64_t word = check_random(&seed);
        memcpy(want + i, &word, size - i < 8 ? size - i : 8);
    }
    return want;
}

static pid_t spawn(void (*body)(int), int argument)
{
    fflush(stdout);
    atomic_store(&shared->free_of_it, false);
    pid_t child = check_fork();
    if (child == 0) {
        if (region) overflow__release(region); /* as exec would: else the file stays owned */
        region = NULL;
        atomic_store(&shared->free_of_it, true);
        body(argument);
        _exit(0);
    }
    while (!atomic_load(&shared->free_of_it)) sched_yield();
    return child;
}

static int wait_for(pid_t child)
{
    int status;
    if (waitpid(child, &status, 0) != child) return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static int end(pid_t child)
{
    kill(child, SIGKILL);
    return wait_for(child);
}

static int open_region(const char *name, uint32_t flags)
{
    overflow_config config = {.initial_bytes = 16 << 10, .max_bytes = 16 << 20};
    config.flags           = flags;
    return overflow_open(&region, name, &config);
}

static void close_region(void)
{
    CHECK_EQ(overflow_close(region), 0);
    region = NULL;
}

/* ---- Readers ---- */

static void bad(int number, int error)
{
    atomic_store(&shared->reader[number].error, error);
    atomic_fetch_add(&shared->reader[number].bad, 1);
}

/* A ref that a reader got, and kept for a while. */
struct kept {
    struct cell *cell;
    uint64_t     ref, seed;
};

static bool take_from(struct cell *cell, struct kept *kept)
{
    struct kept new = {cell, atomic_load(&cell->ref), atomic_load(&cell->seed)};
    if (new.ref == 0 || atomic_load(&cell->ref) != new.ref) return false;
    *kept = new;
    return true;
}

static void read_kept(overflow_reader *reader, int number, const struct kept *kept, size_t capacity)
{
    size_t size;
    int    error = overflow_reader_read(reader, kept->ref, got, capacity, &size);
    if (error == 0) {
        bool right = size == size_of(kept->seed) && memcmp(got, value_of(kept->seed), size) == 0;
        if (!right) bad(number, 1);
        atomic_fetch_add(&shared->reader[number].whole, 1);
    } else if (error == -ENOBUFS) {
        if (size != size_of(kept->seed) || size <= capacity) bad(number, error);
        atomic_fetch_add(&shared->reader[number].small, 1);
    } else {
        bool still = atomic_load(&kept->cell->ref) == kept->ref;
        if (error != -ESTALE || size != 0 || still) bad(number, error);
        atomic_fetch_add(&shared->reader[number].stale, 1);
    }
}

/* What was read in place counts only if the check afterwards says so. */
static void peek_kept(overflow_reader *reader, int number, const struct kept *kept)
{
    overflow_slot slot;
    const void   *value;
    size_t        size;
    bool          still = false;
    int           error = overflow_reader_peek(reader, kept->ref, &value, &size);
    if (error == 0) {
        bool right = size == size_of(kept->seed) && memcmp(value, value_of(kept->seed), size) == 0;
        error      = overflow_reader_check(reader, kept->ref);
        if (error == 0 && !right) bad(number, 2);
    }
    if (error != 0) still = atomic_load(&kept->cell->ref) == kept->ref;
    if ((error != 0 && error != -ESTALE) || still) bad(number, error);
    error = overflow_reader_describe(reader, kept->ref, &slot);
    if (error == 0 && (slot.ref != kept->ref || slot.size != size_of(kept->seed))) bad(number, 3);
}

/* A walk beside the owner meets no slot twice. */
static void walk_file(overflow_reader *reader, int number)
{
    overflow_slot slot;
    uint64_t      cursor = 0, before = 0;
    while (overflow_reader_next(reader, &cursor, &slot)) {
        if (slot.offset <= before) bad(number, 4);
        before = slot.offset + slot.size;
    }
}

static void read_for_ever(int number)
{
    overflow_reader *reader;
    struct kept      kept[16] = {{0}};
    uint64_t         random   = (uint64_t)number + 1;
    int              error    = overflow_reader_open(&reader, path);
    if (error != 0) {
        bad(number, error);
        _exit(2);
    }
    while (!atomic_load(&shared->over)) {
        uint64_t     r   = check_random(&random);
        struct kept *one = &kept[r >> 60];
        bool new         = one->ref == 0 || r >> 57 & 1;
        if (new && !take_from(&shared->cell[r % CELLS], one)) continue;
        read_kept(reader, number, one, r >> 20 & 3 ? sizeof got : (size_t)(r >> 22) % 600);
        if ((r >> 32) % 4 == 0) peek_kept(reader, number, one);
        if ((r >> 32) % 4096 == 1) walk_file(reader, number);
        if ((r >> 32) % 4096 == 0) { /* one that comes later */
            overflow_reader_close(reader);
            if ((error = overflow_reader_open(&reader, path)) != 0) bad(number, error), _exit(2);
        }
    }
    overflow_reader_close(reader);
}

static uint64_t sum_up(uint64_t *whole)
{
    uint64_t wrong = 0;
    *whole         = 0;
    for (int i = 0; i < READERS; i++) {
        wrong += atomic_load(&shared->reader[i].bad);
        *whole += atomic_load(&shared->reader[i].whole);
        if (atomic_load(&shared->reader[i].bad))
            printf("# reader %d: error %d\n", i, (int)atomic_load(&shared->reader[i].error));
    }
    return wrong;
}

/* ---- The owner ---- */

static void put(struct cell *cell, uint64_t seed)
{
    overflow_ref ref;
    int error = region ? overflow_write(region, value_of(seed), size_of(seed), 0, &ref) : -ENOSPC;
    CHECK(error == 0 || error == -ENOSPC);
    if (error != 0) return;
    atomic_store(&cell->seed, seed);
    atomic_store(&cell->ref, ref);
}

static void drop(struct cell *cell)
{
    overflow_ref ref = atomic_load(&cell->ref);
    atomic_store(&cell->ref, 0);
    CHECK_EQ(overflow_free(region, ref), 0);
}

/* Sizes grow as time goes by, and so does the file. */
static void churn(uint64_t *random, uint64_t largest)
{
    uint64_t     r    = check_random(random);
    struct cell *cell = &shared->cell[(r >> 40) % CELLS];
    uint64_t     size = (r & 7 ? r >> 8 & 1023 : (r >> 8) % SIZE_MAX_HERE) % largest;
    if (atomic_load(&cell->ref)) drop(cell);
    else put(cell, r >> SIZE_BITS << SIZE_BITS | size);
    if (r % 20011 == 0) CHECK_EQ(overflow_sync(region), 0);
    if (r % 997 == 0) overflow_trim(region);
}

static void begin(void)
{
    memset((void *)shared, 0, sizeof *shared);
    unlink(path);
    CHECK_EQ(open_region(path, 0), 0);
}

static void four_readers_get_whole_values(void)
{
    struct overflow_info before, after;
    pid_t                reader[READERS];
    uint64_t             random = 1, whole, calls = 0;

    begin();
    overflow_stats(region, &before);
    for (int i = 0; i < READERS; i++) reader[i] = spawn(read_for_ever, i);
    double start = now();
    for (double t = start; t < start + seconds; t = now())
        for (int i = 0; i < 64; i++, calls++)
            churn(&random, 16 + (uint64_t)((t - start) / seconds * SIZE_MAX_HERE));
    for (sum_up(&whole); whole < 1000 && now() < start + 60; sum_up(&whole)) sched_yield();
    atomic_store(&shared->over, true);
    for (int i = 0; i < READERS; i++) {
        CHECK_EQ(wait_for(reader[i]), 0);
        CHECK(atomic_load(&shared->reader[i].whole) > 0);
    }
    CHECK_EQ(sum_up(&whole), 0);
    overflow_stats(region, &after);
    CHECK(after.capacity_bytes > 4 * before.capacity_bytes);
    printf("# %d calls of the owner, %d whole values read, %d stale refs, %d too large\n",
           (int)calls, (int)whole, (int)atomic_load(&shared->reader[0].stale),
           (int)atomic_load(&shared->reader[0].small));
    close_region();
}

/* A reader that is stopped or dies, wherever it is just then. */
static void readers_cannot_stop_the_owner(void)
{
    uint64_t random = 3, whole;

    begin();
    for (int round = 0; round < 40 && region; round++) {
        pid_t    reader = spawn(read_for_ever, round % READERS);
        uint64_t calls = 0, until = check_random(&random) % 2000;
        for (; calls < until; calls++) churn(&random, 2000);
        kill(reader, round & 1 ? SIGSTOP : SIGKILL);
        for (calls = 0; calls < 2000; calls++) churn(&random, 2000);
        if (round & 1) {
            CHECK_EQ(overflow_sync(region), 0);
            overflow_trim(region);
            kill(reader, SIGCONT); /* it wakes up in another world */
            for (calls = 0; calls < 500; calls++) churn(&random, 2000);
        }
        if (round & 1 && round % 4 == 1) { /* and outlives the owner */
            close_region();
            sched_yield();
            CHECK_EQ(open_region(path, 0), 0);
        }
        CHECK_EQ(end(reader), 1000 + SIGKILL);
    }
    CHECK_EQ(sum_up(&whole), 0);
    struct overflow_info info;
    overflow_stats(region, &info);
    CHECK_EQ(info.damaged_slots, 0);
    close_region();
}

/* The file begins anew under readers that stay. */
static void old_refs_are_stale_in_a_fresh_file(void)
{
    pid_t            reader[READERS];
    overflow_reader *own;
    overflow_ref     old[CELLS];
    uint64_t         random = 5, whole, before = 0;
    size_t           size;

    begin();
    CHECK_EQ(overflow_reader_open(&own, path), 0);
    for (int i = 0; i < READERS; i++) reader[i] = spawn(read_for_ever, i);
    for (int round = 0; round < 100 && region; round++) {
        for (int i = 0; i < 600; i++) churn(&random, 3000);
        for (int i = 0; i < CELLS; i++) {
            old[i] = atomic_load(&shared->cell[i].ref);
            if (old[i]) CHECK_EQ(overflow_reader_read(own, old[i], got, sizeof got, &size), 0);
            atomic_store(&shared->cell[i].ref, 0);
        }
        close_region();
        CHECK_EQ(open_region(path, OVERFLOW_FRESH), 0);
        for (int i = 0; i < 200; i++) churn(&random, 3000);
        for (int i = 0; i < CELLS; i++)
            if (old[i])
                CHECK_EQ(overflow_reader_read(own, old[i], got, sizeof got, &size), -ESTALE);
        for (int i = 0; i < CELLS; i++) {
            overflow_ref ref = atomic_load(&shared->cell[i].ref);
            if (ref) CHECK_EQ(overflow_reader_read(own, ref, got, sizeof got, &size), 0);
        }
        if (atomic_load(&check_failures)) break;
        for (sum_up(&whole); whole == before; sum_up(&whole)) sched_yield();
        before = whole;
    }
    atomic_store(&shared->over, true);
    for (int i = 0; i < READERS; i++) CHECK_EQ(wait_for(reader[i]), 0); /* no SIGBUS */
    CHECK_EQ(sum_up(&whole), 0);
    overflow_reader_close(own);
    close_region();
}

/* ---- One owner ---- */

static void try_to_own(int argument)
{
    (void)argument;
    overflow_region *mine;
    _exit(overflow_open(&mine, path, NULL) == -EBUSY && mine == NULL ? 0 : 1);
}

static void own_and_leave(int how)
{
    if (open_region(path, 0) != 0) _exit(1);
    if (how == 0) overflow_close(region);
    if (how == 2) raise(SIGKILL);
    _exit(0); /* 1: without a word */
}

static void there_is_one_owner(void)
{
    overflow_region *second = (overflow_region *)(void *)shared;
    overflow_reader *reader;

    begin();
    for (uint32_t flags = 0; flags < 4; flags++) {
        overflow_config config = {.flags = flags};
        CHECK_EQ(overflow_open(&second, path, &config), -EBUSY);
        CHECK(second == NULL);
    }
    CHECK_EQ(wait_for(spawn(try_to_own, 0)), 0);
    CHECK_EQ(overflow_reader_open(&reader, path), 0); /* nor is it given up by a reader's close */
    overflow_reader_close(reader);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    close(fd); /* as locks of the older kind would be */
    CHECK_EQ(wait_for(spawn(try_to_own, 0)), 0);
    close_region();
    for (int how = 0; how < 3; how++) {
        CHECK_EQ(wait_for(spawn(own_and_leave, how)), how == 2 ? 1000 + SIGKILL : 0);
        CHECK_EQ(open_region(path, 0), 0);
        close_region();
    }
}

/* Owns the file again and again, whenever it can; now and then it is unlinked at the end. */
static void own_for_ever(int number)
{
    uint64_t random = (uint64_t)number;
    while (!atomic_load(&shared->over)) {
        uint64_t r     = check_random(&random);
        int      error = open_region(path, r % 4 == 0 ? OVERFLOW_TEMPORARY : 0);
        if (error == -EBUSY) {
            sched_yield();
            continue;
        }
        if (error != 0) _exit(-error);
        if (atomic_fetch_add(&shared->inside, 1) != 0) atomic_fetch_add(&shared->clashes, 1);
        atomic_fetch_add(&shared->entered, 1);
        overflow_ref ref;
        if (overflow_write(region, "x", 1, 0, &ref) != 0) _exit(1);
        if (r & 64) sched_yield();
        atomic_fetch_sub(&shared->inside, 1);
        if (overflow_close(region) != 0) _exit(3);
    }
}

static void a_crowd_of_owners_takes_turns(void)
{
    pid_t child[READERS];

    memset((void *)shared, 0, sizeof *shared);
    unlink(path);
    for (int i = 0; i < READERS; i++) child[i] = spawn(own_for_ever, i + 1);
    double start = now();
    while (now() < start + 0.3 || atomic_load(&shared->entered) < 20) sched_yield();
    atomic_store(&shared->over, true);
    for (int i = 0; i < READERS; i++) CHECK_EQ(wait_for(child[i]), 0);
    CHECK_EQ(atomic_load(&shared->clashes), 0);
}

static void a_temporary_file_goes_with_its_owner(void)
{
    overflow_reader *reader;
    size_t           size;

    begin();
    close_region();
    CHECK_EQ(open_region(path, OVERFLOW_TEMPORARY), 0);
    put(&shared->cell[0], 100);
    CHECK_EQ(overflow_reader_open(&reader, path), 0);
    close_region();
    CHECK(access(path, F_OK) != 0);
    uint64_t ref = atomic_load(&shared->cell[0].ref); /* an open reader goes on reading */
    CHECK_EQ(overflow_reader_read(reader, ref, got, sizeof got, &size), 0);
    CHECK(size == 100 && memcmp(got, value_of(100), 100) == 0);
    overflow_reader_close(reader);

    /* Killed, it leaves the file; and a file that only took its name stays. */
    CHECK_EQ(open_region(path, OVERFLOW_TEMPORARY), 0);
    FILE *file = fopen(other_path, "w");
    CHECK(file && fputs("mine", file) >= 0 && fclose(file) == 0);
    CHECK_EQ(rename(other_path, path), 0);
    CHECK_EQ(overflow_close(region), 0); /* its own file is gone */
    region = NULL;
    CHECK(access(path, F_OK) == 0);
    CHECK_EQ(open_region(path, 0), -EUCLEAN);
    CHECK(region == NULL && access(path, F_OK) == 0);
    CHECK_EQ(open_region(path, OVERFLOW_FRESH), 0);
    close_region();

    CHECK_EQ(open_region(path, OVERFLOW_TEMPORARY), 0); /* one that went elsewhere stays there */
    CHECK_EQ(rename(path, other_path), 0);
    CHECK_EQ(overflow_close(region), -ENOENT);
    region = NULL;
    CHECK_EQ(unlink(other_path), 0);
}

int main(int argc, char **argv)
{
    const char *where = getenv("TMPDIR");
    if (argc > 1) seconds = atof(argv[1]);
    snprintf(path, sizeof path, "%s/overflow_process.%d", where ? where : "/tmp", (int)getpid());
    snprintf(other_path, sizeof other_path, "%s.other", path);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return 1;

    RUN(four_readers_get_whole_values);
    RUN(readers_cannot_stop_the_owner);
    RUN(old_refs_are_stale_in_a_fresh_file);
    RUN(there_is_one_owner);
    RUN(a_crowd_of_owners_takes_turns);
    RUN(a_temporary_file_goes_with_its_owner);
    unlink(path);
    return REPORT();
}
