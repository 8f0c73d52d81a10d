/* Goal: where there is no space left, a write says -ENOSPC; no signal, nothing that was written
 * before is harmed, and what is freed can be used again.
 * Method: an OVERFLOW_FALLOCATE that fails as told: at its n-th call for each n, with each error,
 * like a disk of so many bytes, like a file system that has no such call; and RLIMIT_FSIZE. Then
 * the same on a real disk: DIR is filled by the region and by a foreign file (see
 * overflow_full.sh). Each time all values are compared, also by the next owner. Usage:
 * overflow_full [DIR [BENEATH]]   DIR: a small file system of its own, that may be filled;
 * BENEATH: another, on which the image of the first lies */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

static int told_fallocate(int fd, int mode, off_t at, off_t size);
#define OVERFLOW_FALLOCATE(fd, mode, at, size) told_fallocate(fd, mode, at, size)
#define OVERFLOW_IMPLEMENTATION
#include "../../overflow.h"

#include "../check.h"

enum { KEYS = 4096, SIZE_BITS = 17, PUNCH = 2 };

static char             path[4096], foreign[4200];
static const char      *disk;    /* that may be filled; or NULL */
static const char      *beneath; /* where the disk itself lies, and finds no space; or NULL */
static overflow_region *region;
static size_t           max_bytes = 64 << 20;

static struct {
    overflow_ref ref;
    uint64_t     seed; /* the low bits are the size; 0 = none */
} value[KEYS];
static uint64_t      seeds;
static unsigned char want[1 << SIZE_BITS];

/* What the call shall do. */
static struct {
    int      calls;     /* so far */
    uint64_t asked;     /* bytes that they should reserve */
    int      fail_from; /* number of the call that fails first; 0 = none does */
    int      fail_until;
    int      error;
    uint64_t bytes; /* of the disk, for calls that reserve; 0 = any number */
    bool     none;  /* there is no such call */
    bool     no_punch;
    int      interruptions; /* before each call */
} told;

static int told_fallocate(int fd, int mode, off_t at, off_t size)
{
    static int interrupted;
    int        error = 0;

    if (interrupted < told.interruptions) {
        interrupted++;
        errno = EINTR;
        return -1;
    }
    interrupted = 0;
    told.calls++;
    if (!(mode & PUNCH)) told.asked += (uint64_t)size;
    if (told.none || (told.no_punch && (mode & PUNCH))) error = EOPNOTSUPP;
    if (told.fail_from && told.calls >= told.fail_from && told.calls <= told.fail_until)
        error = told.error;
    if (told.bytes && !(mode & PUNCH) && (uint64_t)(at + size) > told.bytes) error = ENOSPC;
    if (error == 0) return overflow__fallocate(fd, mode, at, size);
    errno = error;
    return -1;
}

static void as_usual(void) { memset(&told, 0, sizeof told); }

/* ---- Values ---- */

static size_t size_of(uint64_t seed) { return (size_t)(seed & ((1u << SIZE_BITS) - 1)); }

static const void *value_of(uint64_t seed)
{
    for (size_t i = 0, size = size_of(seed); i < size; i += 8) {
        uint64_t word = check_random(&seed);
        memcpy(want + i, &word, 8);
    }
    return want;
}

static int put(int key, size_t size)
{
    uint64_t     seed  = ++seeds << SIZE_BITS | size;
    overflow_ref ref   = 1;
    int          error = overflow_write(region, value_of(seed), size, (uint32_t)key, &ref);
    if (error == 0) {
        value[key].ref  = ref;
        value[key].seed = seed;
    } else {
        CHECK_EQ(ref, 0);
    }
    return error;
}

static void drop(int key)
{
    if (value[key].seed) CHECK_EQ(overflow_free(region, value[key].ref), 0);
    value[key].seed = 0;
}

static int open_region(uint32_t flags)
{
    overflow_config config = {.initial_bytes = 16 << 10, .max_bytes = max_bytes, .flags = flags};
    return overflow_open(&region, path, &config);
}

static void begin(void)
{
    as_usual();
    unlink(path);
    memset(value, 0, sizeof value);
    CHECK_EQ(open_region(0), 0);
}

static void check_values(void)
{
    struct overflow_info info;
    uint64_t             live = 0;
    for (int key = 0; key < KEYS; key++) {
        size_t size;
        if (!value[key].seed) continue;
        live++;
        const void *found = overflow_read(region, value[key].ref, &size);
        bool        same  = found && size == size_of(value[key].seed) &&
                    memcmp(found, value_of(value[key].seed), size) == 0;
        CHECK(same);
    }
    overflow_stats(region, &info);
    CHECK_EQ(info.live_slots, live);
    CHECK_EQ(info.damaged_slots, 0);
}

/* By this owner, and by the next. */
static void check_all(void)
{
    check_values();
    CHECK_EQ(overflow_close(region), 0);
    CHECK_EQ(open_region(0), 0);
    check_values();
}

/* ---- A call that fails as told ---- */

static bool failed; /* some call of the script did, as it was told to */

static void may_fail(int error)
{
    int expected = told.error == EDQUOT || told.error == EFBIG ? -ENOSPC : -told.error;
    if (error == 0) return;
    failed = true;
    CHECK_EQ(error, expected);
}

/* Everything that asks for space: open, growth, what was trimmed; and reopens with a new limit. */
static void script(void)
{
    unlink(path);
    memset(value, 0, sizeof value);
    int error = open_region(0);
    may_fail(error);
    if (error != 0) {
        CHECK(region == NULL && access(path, F_OK) != 0); /* nothing is left behind */
        as_usual();
        CHECK_EQ(open_region(0), 0);
    }
    for (int key = 0; key < 12; key++) may_fail(put(key, 5000));
    may_fail(put(12, 60000));
    may_fail(put(13, 100));
    for (int key = 2; key < 9; key++) drop(key);
    drop(12);
    overflow_trim(region);
    may_fail(put(2, 3000));
    may_fail(put(3, 16000));
    may_fail(put(4, 9000));
    drop(3);
    overflow_trim(region);
    may_fail(put(5, 20000));
    may_fail(put(14, 120000));
    check_values();
}

static void each_call_fails_once(void)
{
    static const int errors[] = {ENOSPC, EDQUOT, EFBIG, EIO};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        for (int from = 1, calls = 1; from <= calls; from++)
            for (int rest = 0; rest < 2; rest++) { /* once only, or from then on */
                as_usual();
                told.error      = errors[i];
                told.fail_from  = from;
                told.fail_until = rest ? INT32_MAX : from;
                failed          = false;
                script();
                calls = told.calls > calls ? told.calls : calls;
                as_usual();
                check_all();
                for (int key = 20; key < 60; key++) CHECK_EQ(put(key, 3000), 0);
                check_all();
                CHECK_EQ(overflow_close(region), 0);
                if (atomic_load(&check_failures) == 0) continue;
                printf("# call %d, error %d\n", from, errors[i]);
                return;
            }
}

static void interruptions_are_nothing(void)
{
    as_usual();
    told.interruptions = 3;
    failed             = false;
    script();
    CHECK(!failed && told.calls > 5);
    check_all();
    CHECK_EQ(overflow_close(region), 0);
}

static void a_file_system_without_the_call_serves(void)
{
    as_usual();
    told.none = true;
    failed    = false;
    script();
    CHECK(!failed && told.calls > 5);
    CHECK_EQ(overflow_trim(region), 0);
    check_all();
    CHECK_EQ(overflow_close(region), 0);
    as_usual();
    told.no_punch = true;
    script();
    CHECK(!failed);
    CHECK_EQ(overflow_trim(region), 0);
    check_all();
    CHECK_EQ(overflow_close(region), 0);
}

/* Fills the region until it is told that there is no space; how many values it has then. */
static int fill(size_t size)
{
    int key = 0, error = 0;
    for (; error == 0 && key < KEYS; key++)
        if (!value[key].seed) error = put(key, size);
    CHECK_EQ(error, -ENOSPC);
    return key - 1;
}

/* What any full region must be good for; more: the space that is freed is larger than that. */
static void use_what_is_freed(size_t size)
{
    int count = fill(size);
    CHECK_EQ(put(KEYS - 1, size), -ENOSPC); /* again */
    check_values();
    for (int key = 0; key < count; key += 2) drop(key);
    for (int key = 0; key < count; key += 2) CHECK_EQ(put(key, size), 0);
    check_all();
    for (int key = 1; key < count; key += 2) drop(key);
    for (int key = 1; key < count; key += 2) CHECK_EQ(put(key, size / 2), 0);
    CHECK_EQ(put(KEYS - 1, 0), 0); /* smaller ones find room */
    check_all();
}

static void a_disk_of_so_many_bytes(void)
{
    begin();
    told.bytes = 300000;
    use_what_is_freed(1000);
    CHECK_EQ(overflow_sync(region), 0);
    told.bytes = 0; /* a larger one */
    for (int key = 2000; key < 2400; key++) CHECK_EQ(put(key, 1000), 0);
    check_all();
    CHECK_EQ(overflow_close(region), 0);
}

/* What fallocate takes before it finds no space is missed by all who write to that disk. So a step
 * that was too large is not tried with each write: all calls together ask for a few times of what
 * there is. */
static void the_step_of_growth_fits_the_disk(uint64_t bytes)
{
    told.asked = 0;
    fill(4000);
    printf("# %d bytes were asked for, of a disk of %d\n", (int)told.asked, (int)bytes);
    CHECK(told.asked < 4 * bytes);
    told.asked = 0;
    for (int i = 0; i < 8; i++) CHECK_EQ(put(KEYS - 1, 4000), -ENOSPC);
    CHECK(told.asked <= 8 * 12288);
}

static void a_step_of_growth_fits_a_small_disk(void)
{
    begin();
    for (int key = 3000; key < 3015; key++) CHECK_EQ(put(key, 100000), 0);
    told.bytes = 4000000;
    the_step_of_growth_fits_the_disk(told.bytes);
    for (int key = 3000; key < 3015; key++) drop(key);
    told.bytes = 60000000; /* another program has made room: the step grows again */
    told.calls = 0;
    for (int key = 1000; key < 2000; key++) CHECK_EQ(put(key, 30000), 0);
    CHECK(told.calls < 40);
    check_all();
    CHECK_EQ(overflow_close(region), 0);
}

static void the_maximum_is_reached(void)
{
    max_bytes = 200000; /* no multiple of a page */
    begin();
    use_what_is_freed(700);
    CHECK_EQ(overflow_close(region), 0);
    max_bytes = 64 << 20;
    CHECK_EQ(open_region(0), 0); /* a larger one */
    for (int key = 2000; key < 2400; key++) CHECK_EQ(put(key, 1000), 0);
    check_all();
    CHECK_EQ(overflow_close(region), 0);
}

/* ---- RLIMIT_FSIZE, in a child: SIGXFSZ would end it ---- */

static int run_limited(rlim_t limit, void (*body)(void))
{
    int status;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        struct rlimit both = {limit, RLIM_INFINITY};
        atomic_store(&check_failures, 0);
        signal(SIGXFSZ, SIG_DFL);
        if (setrlimit(RLIMIT_FSIZE, &both) != 0) _exit(9);
        body();
        both.rlim_cur = RLIM_INFINITY;
        setrlimit(RLIMIT_FSIZE, &both); /* or what is printed could not be stored */
        fflush(stdout);
        _exit(atomic_load(&check_failures) != 0);
    }
    if (waitpid(child, &status, 0) != child) return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void open_limited(void)
{
    int error = open_region(0);
    CHECK(error == 0 || error == -ENOSPC);
    if (error != 0) CHECK(access(path, F_OK) != 0);
    if (error == 0) CHECK_EQ(overflow_close(region), 0);
}

static void fill_limited(void)
{
    CHECK_EQ(open_region(0), 0);
    use_what_is_freed(900);
    overflow_trim(region);
    check_all();
    CHECK_EQ(overflow_close(region), 0);
}

/* The file is longer than the limit is now. */
static void use_limited(void)
{
    CHECK_EQ(open_region(0), 0);
    for (int key = 100; key < 300; key++) drop(key);
    overflow_trim(region);
    fill(900);
    check_all();
    CHECK_EQ(overflow_close(region), 0);
}

static void a_limit_on_files_is_no_signal(void)
{
    static const rlim_t limits[] = {0, 1, 4096, 8191, 8192, 10000, 16384, 20480, 100000};
    begin();
    CHECK_EQ(overflow_close(region), 0);
    for (int none = 0; none < 2; none++) {
        told.none = none;
        for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
            unlink(path);
            CHECK_EQ(run_limited(limits[i], open_limited), 0);
        }
        unlink(path);
        CHECK_EQ(run_limited(150001, fill_limited), 0);
    }
    for (int none = 0; none < 2; none++) {
        begin();
        for (int key = 0; key < 400; key++) CHECK_EQ(put(key, 900), 0);
        CHECK_EQ(overflow_close(region), 0);
        told.none = none;
        CHECK_EQ(run_limited(100000, use_limited), 0);
    }
}

static int odd_result; /* what open may return; 0 is always right */

static void open_odd(void)
{
    int error = open_region(0);
    CHECK(error == 0 || error == odd_result);
    if (error != 0) return;
    CHECK_EQ(put(0, 100000), -ENOSPC);
    CHECK_EQ(overflow_close(region), 0);
}

/* Files that do not end with a page, and have no pages for zeros, under a limit of their length. */
static void a_limit_on_odd_files_is_no_signal(void)
{
    static const char zeros[40000];
    overflow_ref      ref;

    for (off_t more = 0; more < 64; more += 7) {
        begin();
        CHECK_EQ(put(1, 900), 0);
        CHECK_EQ(overflow_write(region, zeros, sizeof zeros, 0, &ref), 0);
        off_t end = (off_t)(region->used * 32), page = end / 4096 * 4096;
        CHECK_EQ(overflow_close(region), 0);
        int fd = open(path, O_RDWR | O_CLOEXEC);
        (void)overflow__fallocate(fd, PUNCH | 1, 16384, page + 4096 - 16384);
        CHECK_EQ(ftruncate(fd, end + more), 0);
        close(fd);
        odd_result = 0;
        CHECK_EQ(run_limited((rlim_t)(end + more), open_odd), 0);
        CHECK_EQ(truncate(path, 4200 + more), 0);
        odd_result = -ENOSPC;
        CHECK_EQ(run_limited((rlim_t)(4200 + more), open_odd), 0);
    }
}

/* ---- A real disk ---- */

/* Takes all blocks that are left, but for so many bytes. */
static void fill_disk(size_t but)
{
    static const char zeros[512];
    struct statvfs    left;
    int               fd = open(foreign, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    while (statvfs(foreign, &left) == 0 && (size_t)(left.f_bavail * left.f_frsize) > but)
        if (write(fd, zeros, sizeof zeros) != (ssize_t)sizeof zeros) break;
    if (but == 0)
        while (write(fd, zeros, sizeof zeros) > 0) continue;
    close(fd);
}

static void a_full_disk(void)
{
    begin();
    the_step_of_growth_fits_the_disk(8 << 20);
    for (int key = 0; key < KEYS; key++) drop(key);
    use_what_is_freed(3000);
    int error = overflow_sync(region);
    CHECK_EQ(error, 0);
    for (int key = 0; key < KEYS; key++) drop(key);
    use_what_is_freed(60000);
    CHECK_EQ(overflow_close(region), 0);
}

/* What was given back belongs to somebody else by the time it is wanted again. */
static void a_disk_that_others_fill(void)
{
    begin();
    int count = fill(20000);
    for (int key = 0; key < count; key++)
        if (key % 3) drop(key);
    size_t back = overflow_trim(region);
    if (back == 0) printf("# trim gives nothing back here\n");
    fill_disk(0);
    check_values();
    int some = 0, none = 0;
    for (int round = 0; round < 4; round++)
        for (int key = 0; key < count; key++) {
            if (value[key].seed) continue;
            int error = put(key, key % 2 ? 19000 : 3000);
            CHECK(error == 0 || error == -ENOSPC);
            some += error == 0;
            none += error == -ENOSPC;
        }
    if (back > 0) CHECK(none > 0);
    check_all(); /* it can be opened, too */
    for (int key = 0; key < KEYS; key += 3) drop(key);
    for (int key = 0; key < count; key++)
        if (!value[key].seed) (void)put(key, 1000);
    CHECK_EQ(overflow_sync(region), 0);
    check_all();
    unlink(foreign);
    for (int key = 0; key < count; key++) drop(key);
    for (int key = 0; key < count / 2; key++) CHECK_EQ(put(key, 20000), 0);
    check_all();
    CHECK_EQ(overflow_close(region), 0);
    printf("# %d bytes came back; with the disk full %d writes went well, %d did not\n", (int)back,
           some, none);
}

/* The place of a cursor is in the middle of a hole that was trimmed, by now, and no page can be had
 * for it: next goes on behind it. */
static void a_cursor_in_a_trimmed_hole(void)
{
    overflow_slot    slot;
    overflow_reader *reader;
    uint64_t         cursor = 0, mine;

    begin();
    for (int key = 0; key < 100; key++) CHECK_EQ(put(key, 5000), 0);
    for (int i = 0; i < 50; i++) CHECK(overflow_next(region, &cursor, &slot));
    for (int key = 20; key < 80; key++) drop(key);
    size_t back = overflow_trim(region);
    CHECK_EQ(overflow_reader_open(&reader, path), 0);
    fill_disk(0);
    int found = 0, theirs = 0;
    for (mine = cursor; overflow_next(region, &mine, &slot);) found++;
    CHECK_EQ(found, 20);
    for (mine = cursor; overflow_reader_next(reader, &mine, &slot);) theirs++;
    CHECK_EQ(theirs, 20);
    printf("# %d bytes came back\n", (int)back);
    unlink(foreign);
    overflow_reader_close(reader);
    CHECK_EQ(overflow_close(region), 0);
}

static void nothing_is_left_of_a_file_that_found_no_room(void)
{
    unlink(path);
    for (size_t but = 0; but <= 24576; but += 4096) {
        fill_disk(but);
        int error = open_region(0);
        CHECK(error == 0 || error == -ENOSPC);
        if (error == 0) CHECK_EQ(overflow_close(region), 0);
        else CHECK(access(path, F_OK) != 0);
        unlink(path);
        unlink(foreign);
    }
}

/* Killed on a full disk, with holes that have no pages. */
static void a_full_disk_and_a_dead_owner(void)
{
    int status;
    begin();
    CHECK_EQ(overflow_close(region), 0);
    pid_t child = fork();
    if (child == 0) {
        if (open_region(0) != 0) _exit(1);
        int count = fill(30000);
        for (int key = 0; key < count; key += 2) drop(key);
        overflow_trim(region);
        fill_disk(0);
        for (int key = 0; key < count; key += 4) (void)put(key, 2000);
        raise(SIGKILL);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGKILL);
    CHECK_EQ(open_region(0), 0);
    struct overflow_info info;
    overflow_stats(region, &info);
    CHECK(info.live_slots > 10);
    CHECK_EQ(info.damaged_slots, 0);
    overflow_ref  ref;
    overflow_slot slot;
    uint64_t      cursor = 0;
    for (int i = 0; i < 8; i++) (void)overflow_write(region, want, 25000, 0, &ref);
    while (overflow_next(region, &cursor, &slot)) CHECK_EQ(overflow_free(region, slot.ref), 0);
    unlink(foreign);
    CHECK_EQ(overflow_write(region, want, 100000, 0, &ref), 0);
    CHECK_EQ(overflow_close(region), 0);
}

/* A disk that cannot write for a while. What the next owner's sync returns 0 for is there when the
 * kernel has dropped all pages of the file. */
static void a_disk_that_fails_for_a_while(void)
{
    char hog[4200];

    snprintf(hog, sizeof hog, "%s/hog", beneath);
    begin();
    for (int key = 0; key < 100; key++) CHECK_EQ(put(key, 4000), 0);
    CHECK_EQ(overflow_sync(region), 0);
    for (int key = 100; key < 400; key++) CHECK_EQ(put(key, 4000), 0);
    snprintf(foreign, sizeof foreign, "%s", hog);
    fill_disk(0);
    int error = overflow_sync(region);
    CHECK(error == -EIO || error == -ENOSPC);
    CHECK_EQ(overflow_sync(region), error);
    CHECK_EQ(overflow_close(region), 0);
    unlink(hog); /* now it could */
    CHECK_EQ(open_region(0), 0);
    CHECK_EQ(overflow_sync(region), 0);
    check_values();
    CHECK_EQ(overflow_close(region), 0);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK_EQ(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    close(fd);
    CHECK_EQ(open_region(0), 0);
    check_values();
    CHECK_EQ(overflow_close(region), 0);
}

int main(int argc, char **argv)
{
    const char *where = getenv("TMPDIR");
    if (argc > 1) disk = argv[1];
    if (argc > 2) beneath = argv[2];
    snprintf(path, sizeof path, "%s/overflow_full.%d",
             disk    ? disk
             : where ? where
                     : "/tmp",
             (int)getpid());
    snprintf(foreign, sizeof foreign, "%s.foreign", path);

    if (!disk) {
        RUN(each_call_fails_once);
        RUN(interruptions_are_nothing);
        RUN(a_file_system_without_the_call_serves);
        RUN(a_disk_of_so_many_bytes);
        RUN(a_step_of_growth_fits_a_small_disk);
        RUN(the_maximum_is_reached);
        RUN(a_limit_on_files_is_no_signal);
        RUN(a_limit_on_odd_files_is_no_signal);
    } else if (beneath) {
        RUN(a_disk_that_fails_for_a_while);
    } else {
        RUN(a_full_disk);
        RUN(a_disk_that_others_fill);
        RUN(a_cursor_in_a_trimmed_hole);
        RUN(nothing_is_left_of_a_file_that_found_no_room);
        RUN(a_full_disk_and_a_dead_owner);
    }
    unlink(path);
    unlink(foreign);
    return REPORT();
}
