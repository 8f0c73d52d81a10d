/* Goal: an owner that is killed anywhere leaves every value whose write returned, none whose free
 * returned, none torn, and no damage; the next owner can go on.
 * Method: a child writes and frees, and notes in shared memory what it is about to call and what
 * returned. In part one it dies at the first fault point of a script, then at the second, and so
 * on to the last, and the owner that recovers its file dies at each of its own. Part two kills
 * children in the middle of a random churn, all on one file. After each death a new owner compares
 * the file with the notes: only the call in flight may have happened or not.
 * Usage: overflow_crash [ROUNDS]   of part two */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void fault_point(const char *name);

/* No power fails here, so the disk need not be waited for. This fsync replaces the C library's. */
static int no_msync(void *memory, size_t size, int flags)
{
    return (void)memory, (void)size, (void)flags, 0;
}
int fsync(int fd) { return (void)fd, 0; }

#define OVERFLOW_FAULT_POINT(name) fault_point(name)
#define msync                      no_msync
#define OVERFLOW_IMPLEMENTATION
#include "../../overflow.h"
#undef msync

#include "../check.h"

enum { KEYS = 128, NAMES = 16, SIZE_BITS = 17, DIED = 77, LOST = 78, KILLED = 79 };
enum { MAX_BYTES = 4 << 20, INITIAL_BYTES = 16 << 10 };

/* What a child was about to do. RENEW: the file is unlinked and made again. */
enum { NOTHING, WRITE, FREE, EMPTY, RENEW };

/* A value is known by its seed, whose low bits are its size; its tag is its key. */
struct entry {
    overflow_ref ref;
    overflow_ref gone; /* the ref that was freed last under this key */
    uint64_t     seed;
    bool         live;
};

struct notes {
    struct entry      entry[KEYS];
    uint64_t          intent_seed;
    _Atomic(uint64_t) intent;   /* operation, key << 8; stored last of all that belongs together */
    _Atomic(uint64_t) calls;    /* that returned */
    _Atomic(uint64_t) seeds;    /* that were used */
    _Atomic(uint32_t) verified; /* the child has looked, and found all as it should be */
    char              names[NAMES][32]; /* fault points that were met */
    int               ended;
};
static struct notes *notes;

static char             path[4096];
static overflow_region *region; /* in a child, that never gives it back */
static uint64_t         points_left;
static unsigned char    want[1 << 17];

/* Nothing is tidied up, nor looked for by a tool that waits for an exit: the parent kills. */
static void end_with(int how)
{
    fflush(stdout);
    notes->ended = how;
    for (;;) raise(SIGSTOP);
}

static void fault_point(const char *name)
{
    static const char *met[NAMES]; /* quick to see */
    int                i = 0;
    while (i < NAMES - 1 && met[i] && met[i] != name) i++;
    if (met[i] != name) {
        met[i] = name;
        for (i = 0; i < NAMES - 1 && notes->names[i][0]; i++)
            if (strcmp(notes->names[i], name) == 0) break;
        snprintf(notes->names[i], sizeof notes->names[i], "%s", name);
    }
    if (points_left > 0 && --points_left == 0) end_with(DIED);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static size_t size_of(uint64_t seed) { return (size_t)(seed & ((1u << SIZE_BITS) - 1)); }

static uint64_t new_seed(size_t size)
{
    return (atomic_fetch_add(&notes->seeds, 1) + 1) << SIZE_BITS | size;
}

static const void *value_of(uint64_t seed)
{
    size_t size = size_of(seed);
    for (size_t i = 0; i < size; i += 8) {
        uint64_t word = check_random(&seed);
        memcpy(want + i, &word, 8);
    }
    return want;
}

static bool is_value(const void *value, size_t size, uint64_t seed)
{
    return value && size == size_of(seed) && memcmp(value, value_of(seed), size) == 0;
}

/* ---- What a child does, and notes ---- */

static void intend(unsigned operation, unsigned key)
{
    atomic_store(&notes->intent, operation | (uint64_t)key << 8);
}

static void returned(void)
{
    atomic_store(&notes->intent, NOTHING);
    atomic_fetch_add(&notes->calls, 1);
}

/* Every third value by a reservation that is larger, while another value is freed and written. */
static int write_some_way(unsigned key, const void *value, size_t size, overflow_ref *ref)
{
    struct iovec parts[2] = {{(void *)(uintptr_t)value, size / 3},
                             {(char *)(uintptr_t)value + size / 3, size - size / 3}};
    void        *to;

    if (key % 3 == 0) return overflow_write(region, value, size, key, ref);
    if (key % 3 == 1) return overflow_writev(region, parts, 2, key, ref);
    int error = overflow_reserve(region, size + key % 5 * 40, key, &to);
    if (error != 0) return error;
    memcpy(to, value, size);
    if (key % 2) overflow_trim(region);
    return overflow_commit(region, size, ref);
}

static void put(unsigned key, size_t size)
{
    struct entry *entry = &notes->entry[key];
    overflow_ref  ref;
    uint64_t      seed  = new_seed(size);
    const void   *value = value_of(seed);

    notes->intent_seed = seed;
    intend(WRITE, key);
    int error = write_some_way(key, value, size, &ref);
    if (error == 0) {
        entry->ref  = ref;
        entry->seed = seed;
        entry->live = true;
    } else if (error != -ENOSPC) {
        CHECK_EQ(error, 0);
    }
    returned();
}

static void drop(unsigned key)
{
    struct entry *entry = &notes->entry[key];

    intend(FREE, key);
    CHECK_EQ(overflow_free(region, entry->ref), 0);
    entry->gone = entry->ref;
    entry->live = false;
    returned();
}

static void forget_all(void)
{
    for (int key = 0; key < KEYS; key++) {
        struct entry *entry = &notes->entry[key];
        if (entry->live) entry->gone = entry->ref;
        entry->live = false;
    }
}

static bool open_region(uint32_t flags)
{
    overflow_config config = {.initial_bytes = INITIAL_BYTES, .max_bytes = MAX_BYTES};
    config.flags           = flags;
    int error              = overflow_open(&region, path, &config);
    CHECK_EQ(error, 0);
    return error == 0;
}

static void empty(unsigned how)
{
    CHECK_EQ(overflow_close(region), 0);
    intend(how, 0);
    if (how == RENEW) unlink(path);
    if (!open_region(how == RENEW ? 0 : OVERFLOW_FRESH)) return;
    forget_all();
    returned();
}

static void reopen(void)
{
    CHECK_EQ(overflow_close(region), 0);
    open_region(0);
}

/* ---- What the next owner finds ---- */

/* Whether a slot is what the notes say of its key; takes over the write that was in flight. */
static bool is_known(const overflow_slot *slot, unsigned operation, unsigned in_flight)
{
    size_t      size;
    const void *value = overflow_read(region, slot->ref, &size);
    if (slot->tag >= KEYS || size != slot->size) return false;

    struct entry *entry = &notes->entry[slot->tag];
    if (entry->live) return entry->ref == slot->ref && is_value(value, size, entry->seed);
    if (operation != WRITE || in_flight != slot->tag || !is_value(value, size, notes->intent_seed))
        return false;
    entry->ref  = slot->ref;
    entry->seed = notes->intent_seed;
    entry->live = true;
    return true;
}

/* Whether a key without a slot may have none. */
static void check_missing(unsigned key, unsigned operation, unsigned in_flight, uint64_t slots)
{
    struct entry *entry = &notes->entry[key];
    size_t        size;

    if (entry->live) {
        bool freed = operation == FREE && in_flight == key;
        bool all   = (operation == EMPTY || operation == RENEW) && slots == 0;
        CHECK(freed || all);
        entry->gone = entry->ref;
        entry->live = false;
    }
    if (entry->gone) {
        CHECK(overflow_read(region, entry->gone, &size) == NULL);
        CHECK_EQ(overflow_free(region, entry->gone), -ESTALE);
    }
}

/* Compares the region with the notes; afterwards nothing is in flight. opened: just now. */
static void verify(bool opened)
{
    bool          found[KEYS] = {false};
    uint64_t      intent = atomic_load(&notes->intent), cursor = 0, slots = 0, granules = 0;
    unsigned      operation = intent & 255, in_flight = (unsigned)(intent >> 8);
    size_t        bytes = 0;
    overflow_slot slot;

    for (; overflow_next(region, &cursor, &slot); slots++) {
        bytes += slot.size;
        granules += 1 + (slot.size + 31) / 32;
        bool known = is_known(&slot, operation, in_flight) && !found[slot.tag];
        CHECK(known);
        if (known) found[slot.tag] = true;
    }
    for (unsigned key = 0; key < KEYS; key++)
        if (!found[key]) check_missing(key, operation, in_flight, slots);
    if (operation == RENEW && slots == 0) forget_all();

    struct overflow_info info;
    overflow_stats(region, &info);
    CHECK_EQ(info.live_slots, slots);
    CHECK_EQ(info.live_bytes, bytes);
    if (opened) CHECK_EQ(info.recovered_slots, slots);
    CHECK_EQ(info.damaged_slots, 0);
    CHECK_EQ(info.used_bytes - 8192, granules * 32 + info.free_bytes);
    atomic_store(&notes->intent, NOTHING);
}

/* ---- Children ---- */

static pid_t spawn(void (*body)(uint64_t), uint64_t argument)
{
    fflush(stdout);
    notes->ended = KILLED;
    pid_t child  = check_fork();
    if (child == 0) {
        atomic_store(&check_failures, 0);
        body(argument);
        end_with(atomic_load(&check_failures) ? LOST : 0);
    }
    return child;
}

/* How a child ended: as it noted, KILLED if it did not, or a signal that nobody sent. */
static int wait_for(pid_t child)
{
    int status;
    if (waitpid(child, &status, WUNTRACED) != child) return -1;
    if (WIFSTOPPED(status)) {
        kill(child, SIGKILL);
        if (waitpid(child, &status, 0) != child) return -1;
    }
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL ? notes->ended : 1000 + status;
}

static void begin(void)
{
    unlink(path);
    memset(notes->entry, 0, sizeof notes->entry);
    atomic_store(&notes->intent, NOTHING);
}

/* Opens what somebody left, dying at that fault point of the recovery; 0 = nowhere. */
static void recover(uint64_t point)
{
    points_left = point;
    if (!open_region(0)) return;
    points_left = 0;
    verify(true);
}

/* The same, and then works in it and looks again. */
static void recover_and_go_on(uint64_t random)
{
    recover(0);
    for (int step = 0; step < 24; step++) {
        unsigned key = (unsigned)(check_random(&random) % 24);
        if (notes->entry[key].live) drop(key);
        else put(key, (size_t)(check_random(&random) % 700));
    }
    if (random & 1) reopen();
    verify(random & 1);
    /* No close, for those who look next. */
}

/* ---- Part one: a script ---- */

static bool settled; /* the region's view of its holes is up to date before each step */

static void step(void)
{
    struct overflow_info info;
    if (settled) overflow_stats(region, &info);
}
static void puts_at(unsigned first, unsigned end, size_t size)
{
    for (unsigned key = first; key < end; key++) step(), put(key, size);
}
static void drop_at(unsigned key) { step(), drop(key); }

static void script_of_holes(void)
{
    puts_at(0, 20, 100); /* five granules each */
    drop_at(1);          /* between slots */
    drop_at(3);
    drop_at(2); /* between holes */
    drop_at(6);
    drop_at(7); /* a hole before it */
    drop_at(11);
    drop_at(10);     /* a hole behind it */
    put(1, 14 * 32); /* 15 granules: the hole of three, exactly */
    put(2, 100);     /* half of a hole of two */
    put(3, 90);      /* the other half */
    put(6, 9 * 32 - 1);
    put(7, 0); /* one granule */
    put(10, 1);
    drop_at(7);
    drop_at(10);
    drop_at(19); /* the last one: the end comes down */
    drop_at(17);
    drop_at(16);
    drop_at(18); /* the last one, with holes before it */
    puts_at(16, 20, 100);
}

static void script_of_space(void)
{
    step();
    put(20, 7000); /* growth, from here on */
    put(21, 30000);
    put(22, 12000);
    put(23, 64);
    drop_at(21);
    step();
    overflow_trim(region);
    put(21, 5000); /* the front of what has no pages */
    put(24, 25000 - 5000 - 64);
    drop_at(23);
    drop_at(21);
    drop_at(22);
    step();
    overflow_trim(region);
    put(22, 3000);
    drop_at(20);
    step();
    overflow_trim(region);
    drop_at(24);
    drop_at(22);
    put(20, 40000);
    CHECK_EQ(overflow_sync(region), 0);
    drop_at(20);
    step();
    overflow_trim(region);
    put(20, 40000);
}

static void script(uint64_t point)
{
    points_left = point;
    if (!open_region(0)) return; /* which makes the file */
    script_of_holes();
    script_of_space();
    reopen();
    puts_at(25, 28, 33);
    drop_at(26);
    empty(EMPTY);
    puts_at(0, 4, 100);
    drop_at(1);
    empty(RENEW);
    puts_at(0, 4, 100);
    put(30, 100000);
    put(31, 10000);
    drop_at(30);
    put(30, 50000);
    CHECK_EQ(overflow_close(region), 0);
    points_left = 0;
}

/* What a dead child left: the file and the notes. */
static struct {
    struct notes  notes;
    ssize_t       size; /* -1: no file */
    unsigned char bytes[MAX_BYTES];
} left;

static void save(void)
{
    int fd     = open(path, O_RDONLY | O_CLOEXEC);
    left.notes = *notes;
    left.size  = fd < 0 ? -1 : read(fd, left.bytes, sizeof left.bytes);
    if (fd >= 0) close(fd);
}

static void restore(void)
{
    static const unsigned char zeros[4096];

    *notes = left.notes;
    unlink(path);
    if (left.size < 0) return;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && ftruncate(fd, left.size) == 0);
    for (ssize_t at = 0; at < left.size; at += 4096) {
        size_t some = left.size - at < 4096 ? (size_t)(left.size - at) : 4096;
        if (memcmp(left.bytes + at, zeros, some) != 0)
            CHECK(pwrite(fd, left.bytes + at, some, at) == (ssize_t)some);
    }
    close(fd);
}

/* Recovers what is left; then once more for each fault point on the way, dying there. */
static bool recover_in_all_ways(uint64_t point, int *deaths)
{
    int end = DIED, on;

    save();
    if (wait_for(spawn(recover_and_go_on, point)) != 0) return false;
    if (wait_for(spawn(recover, 0)) != 0) return false;
    for (uint64_t n = 1; end == DIED; n++) {
        restore();
        end = wait_for(spawn(recover, n));
        if (end != DIED) break;
        ++*deaths;
        on = wait_for(spawn(recover_and_go_on, n));
        if (on != 0) return false;
    }
    return end == 0;
}

static void run_script(void)
{
    uint64_t point = 0, stride = 1, tried = 0;
    int      end = DIED, deaths = 0;
    double   start = now();

    for (; end == DIED; tried++) {
        if (tried == 8 && now() - start > 0.5) stride = 13; /* an emulator: not all of them */
        begin();
        end = wait_for(spawn(script, point += stride));
        CHECK(end == 0 || end == DIED);
        bool recovered = recover_in_all_ways(point, &deaths);
        CHECK(recovered);
        if (recovered) continue;
        printf("# point %d of the script\n", (int)point);
        return;
    }
    printf("# the script died %d times, its recoveries %d\n", (int)tried - 1, deaths);
    CHECK(point > 200);
}

static void a_script_dies_at_each_of_its_points(void)
{
    settled = true;
    run_script();
}

static void the_same_with_holes_that_wait(void)
{
    settled = false;
    run_script();
}

static void every_kind_of_point_was_met(void)
{
    static const char *all[] = {
        "header",           "before a head", "behind a head", "before fallocate",
        "behind fallocate", "value",         "format"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        bool met = false;
        for (int j = 0; j < NAMES; j++) met = met || strcmp(notes->names[j], all[i]) == 0;
        if (!met) printf("# %s\n", all[i]);
        CHECK(met);
    }
}

/* Serials are reserved by turns of the header; an owner that dies leaves none for the next, whose
 * first write makes another turn, in the middle of its reuse of a hole. */
static void leave_holes(uint64_t none)
{
    points_left = none;
    if (!open_region(0)) return;
    puts_at(0, 6, 100);
    drop(1);
    drop(3);
}

static void fill_holes(uint64_t point)
{
    if (!open_region(0)) return;
    points_left = point;
    put(1, 100);
    put(3, 50);
    points_left = 0;
}

static void it_dies_in_its_first_write(void)
{
    uint64_t point = 0;
    int      end   = DIED;

    begin();
    CHECK_EQ(wait_for(spawn(leave_holes, 0)), 0);
    save();
    while (end == DIED) {
        restore();
        end = wait_for(spawn(fill_holes, ++point));
        CHECK_EQ(wait_for(spawn(recover_and_go_on, point)), 0);
        CHECK_EQ(wait_for(spawn(recover, 0)), 0);
    }
    CHECK_EQ(end, 0);
    CHECK(point > 12);
}

/* ---- Part two: at random ---- */

static int rounds = 50;

static size_t any_size(uint64_t r)
{
    switch (r & 7) {
    case 0:
        return (size_t)(r >> 8 & 65535);
    case 1:
        return (size_t)(r >> 8 & 8191);
    case 2:
        return 0;
    default:
        return (size_t)(r >> 8 & 511);
    }
}

static void churn(uint64_t seed)
{
    uint64_t random = seed * 2654435761u;

    points_left = check_random(&random) % 4 == 0 ? 1 + random % 1500 : 0;
    if (!open_region(0)) return;
    verify(true);
    atomic_store(&notes->verified, 1);
    for (uint64_t n = 0; atomic_load(&check_failures) == 0; n++) {
        uint64_t             r   = check_random(&random);
        unsigned             key = (unsigned)(r >> 32) % KEYS;
        struct overflow_info info;
        bool                 fill = n >> 7 & 1; /* more is written than freed */
        if (!notes->entry[key].live) put(key, any_size(r));
        else if (!fill || (r & 3072) == 0) drop(key);
        switch (r >> 48 & 4095) {
        case 0:
            empty(EMPTY);
            break;
        case 1:
            empty(RENEW);
            break;
        case 2:
            CHECK_EQ(overflow_sync(region), 0);
            break;
        case 3:
        case 4:
        case 5:
        case 6:
        case 7:
        case 8:
            reopen();
            break;
        case 9:
        case 10:
        case 11:
        case 12:
        case 13:
        case 14:
            overflow_trim(region);
            break;
        case 15:
        case 16:
        case 17:
        case 18:
            overflow_stats(region, &info);
            break;
        default:
            break;
        }
    }
}

/* Kills the child once it has made so many calls, and a moment. False: it ended by itself. */
static bool kill_after(pid_t child, uint64_t calls, bool verified, long nanoseconds)
{
    struct timespec moment = {0, nanoseconds};
    int             status;

    while (atomic_load(&notes->calls) < calls || (verified && !atomic_load(&notes->verified))) {
        if (waitpid(child, &status, WNOHANG | WUNTRACED) == child) {
            if (!WIFSTOPPED(status)) return false;
            kill(child, SIGKILL);
            return wait_for(child) == DIED;
        }
        sched_yield();
    }
    nanosleep(&moment, NULL);
    kill(child, SIGKILL);
    int end = wait_for(child);
    return end == DIED || end == KILLED;
}

static void a_storm_is_killed_at_any_time(void)
{
    uint64_t random = 2;

    begin();
    for (int round = 0; round < rounds; round++) {
        uint64_t r        = check_random(&random);
        uint64_t calls    = atomic_load(&notes->calls);
        bool     verified = (r & 7) != 0; /* else it may be killed in the middle of its open */
        atomic_store(&notes->verified, 0);
        pid_t child = spawn(churn, r);
        bool  ended = kill_after(child, verified ? calls + (r >> 8) % 500 : 0, verified,
                                 (long)(r >> 20) % 300000);
        CHECK(ended);
        if (!ended) {
            printf("# round %d\n", round);
            break;
        }
    }
    CHECK_EQ(wait_for(spawn(recover, 0)), 0);
    printf("# %d rounds, %d calls returned\n", rounds, (int)atomic_load(&notes->calls));
}

int main(int argc, char **argv)
{
    const char *where = getenv("TMPDIR");
    if (argc > 1) rounds = atoi(argv[1]);
    snprintf(path, sizeof path, "%s/overflow_crash.%d", where ? where : "/tmp", (int)getpid());
    notes = mmap(NULL, sizeof *notes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (notes == MAP_FAILED) return 1;

    RUN(a_script_dies_at_each_of_its_points);
    RUN(the_same_with_holes_that_wait);
    RUN(every_kind_of_point_was_met);
    RUN(it_dies_in_its_first_write);
    RUN(a_storm_is_killed_at_any_time);
    unlink(path);
    return REPORT();
}
