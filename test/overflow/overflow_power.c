/* Goal: after power loss what overflow_sync covered is there, and the rest whole or gone: no value
 * torn, none under a ref that was not its own, none back whose free was covered; and the file can
 * be worked with, and lost again.
 * Method: a model of a disk. Durable is what msync and fsync were called for, and only that range.
 * Images of the file are taken at random fault points, in the middle of calls. When power fails,
 * the file is put together anew: of each sector of 512 bytes one of these images is there. What
 * comes out is opened and compared with the history of all values; then the next round begins on
 * that file, with or without a sync, with open itself interrupted.
 * Usage: overflow_power [ROUNDS [SEED]] */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void fault_point(const char *name);
static int  disk_msync(void *memory, size_t size, int flags);

#define OVERFLOW_FAULT_POINT(name) fault_point(name)
#define msync                      disk_msync
#define OVERFLOW_IMPLEMENTATION
#include "../../overflow.h"
#undef msync

#include "../check.h"

enum {
    SECTOR    = 512,
    MAX_BYTES = 128 << 10,
    IMAGES    = 6, /* image 0 is what is durable */
    LIVES     = 4096,
};

struct image {
    size_t        size;
    unsigned char bytes[MAX_BYTES];
};

/* A value that was written, and what is known of it. */
struct life {
    overflow_ref ref;
    uint64_t     seed; /* of the content; the tag is its low half */
    size_t       size;
    bool         live;
    bool         durable;  /* live at the last sync */
    bool         possible; /* live at some time since then: it may be there after power loss */
};

static char             path[4096];
static int              disk = -1; /* the same file, for the model */
static overflow_region *region;
static struct image     images[IMAGES], composed;
static int              image_count;
static struct life      lives[LIVES];
static int              life_count;
static uint64_t         seeds, dice, shots; /* shots: one fault point in so many is an image */
static unsigned char    want[1 << 16];
static uint64_t         lost, kept, dropped, sync_fails, written_again;
static struct image     forgotten; /* a sync of this content failed: the kernel takes it for */
static int              files_synced, folders_synced; /* by fsync */
static bool             dies_at_fsync, only_headers; /* these: images are of torn ones */
static bool             forgets;   /* written, and syncs none of it that was not stored again */

/* ---- The disk ---- */

static size_t whole_file(unsigned char *bytes)
{
    size_t got = 0;
    for (ssize_t more; got < MAX_BYTES; got += (size_t)more)
        if ((more = pread(disk, bytes + got, MAX_BYTES - got, (off_t)got)) <= 0) break;
    return got;
}

static void take_image(int number) { images[number].size = whole_file(images[number].bytes); }

static void fault_point(const char *name)
{
    if (strcmp(name, "written again") == 0) {
        written_again++;
        forgets = false;
    }
    if (only_headers && strcmp(name, "header") != 0) return;
    if (shots == 0 || check_random(&dice) % shots != 0) return;
    if (image_count < IMAGES - 1) take_image(image_count++);
    else take_image(1 + (int)(check_random(&dice) % (IMAGES - 2)));
}

/* What lies in that range, and the file's length, is durable from here on. */
static void make_durable(size_t from, size_t to)
{
    static struct image now;
    now.size = whole_file(now.bytes);
    if (to > now.size) to = now.size;
    for (size_t end; from < to; from = end) {
        end = (from / 4096 + 1) * 4096 < to ? (from / 4096 + 1) * 4096 : to;
        if (forgets && memcmp(forgotten.bytes + from, now.bytes + from, end - from) == 0) continue;
        memcpy(images[0].bytes + from, now.bytes + from, end - from);
    }
    if (now.size > images[0].size) images[0].size = now.size;
}

static int disk_msync(void *memory, size_t size, int flags)
{
    size_t from = (size_t)((unsigned char *)memory - region->view.base);
    if (sync_fails > 0) {
        sync_fails--;
        memset(forgotten.bytes, 0, sizeof forgotten.bytes);
        forgotten.size = whole_file(forgotten.bytes);
        forgets        = true;
        errno          = EIO;
        return -1;
    }
    if (flags & MS_SYNC) make_durable(from, from + size);
    return 0;
}

/* In place of the C library's. */
int fsync(int fd)
{
    struct stat status;
    if (dies_at_fsync) raise(SIGKILL);
    if (fstat(fd, &status) == 0 && S_ISDIR(status.st_mode)) {
        folders_synced++;
        return 0;
    }
    files_synced++;
    if (disk >= 0) make_durable(0, MAX_BYTES);
    return 0;
}

static void write_file(const unsigned char *bytes, size_t size)
{
    static const unsigned char zeros[4096];

    if (ftruncate(disk, 0) != 0 || ftruncate(disk, (off_t)size) != 0) exit(2);
    for (size_t at = 0; at < size; at += 4096) { /* what is 0 is not even there, now and then */
        size_t some = size - at < 4096 ? size - at : 4096;
        if (memcmp(bytes + at, zeros, some) == 0 && check_random(&dice) & 1) continue;
        if (pwrite(disk, bytes + at, some, (off_t)at) != (ssize_t)some) exit(2);
    }
}

/* Which image a sector is from. */
static int pick(uint64_t mode, int one, int other)
{
    uint64_t r = check_random(&dice);
    switch (mode) {
    case 0:
        return (int)(r % (uint64_t)image_count);
    case 1:
        return r % 8 ? 0 : (int)((r >> 8) % (uint64_t)image_count);
    case 2:
        return r % 8 ? image_count - 1 : (int)((r >> 8) % (uint64_t)image_count);
    case 3:
        return r % 32 ? one : other;
    default:
        return r & 1 ? one : other;
    }
}

/* The file as it may be after power loss, in memory. */
static void compose(void)
{
    uint64_t r = check_random(&dice), mode = r % 6;
    int      one   = (int)((r >> 8) % (uint64_t)image_count);
    int      other = (int)((r >> 32) % (uint64_t)image_count);
    size_t   unit  = mode == 5 ? 4096 : SECTOR;

    composed.size = 0;
    for (int i = 0; i < image_count; i++) {
        struct image *image = &images[i];
        if (image->size > composed.size) composed.size = image->size;
        memset(image->bytes + image->size, 0, MAX_BYTES - image->size);
    }
    for (size_t at = 0; at < composed.size; at += unit)
        memcpy(composed.bytes + at, images[pick(mode, one, other)].bytes + at, unit);
}

/* ---- Values ---- */

static const void *value_of(uint64_t seed, size_t size)
{
    for (size_t i = 0; i < size; i += 8) {
        uint64_t word = check_random(&seed);
        memcpy(want + i, &word, 8);
    }
    return want;
}

static bool is_whole(const struct life *life)
{
    size_t        size;
    const void   *value = overflow_read(region, life->ref, &size);
    overflow_slot slot;
    return value && size == life->size && overflow_describe(region, life->ref, &slot) == 0 &&
           slot.tag == (uint32_t)life->seed && slot.size == size &&
           memcmp(value, value_of(life->seed, size), size) == 0;
}

static void put(size_t size)
{
    struct life life = {.seed = ++seeds, .size = size, .live = true, .possible = true};
    if (life_count == LIVES) return;
    /* Noted first: an image may have it before the call returns. */
    struct life *noted = &lives[life_count++];
    *noted             = life;
    noted->live        = false;
    int error =
        overflow_write(region, value_of(life.seed, size), size, (uint32_t)life.seed, &life.ref);
    CHECK(error == 0 || error == -ENOSPC);
    if (error == 0) *noted = life;
    else life_count--;
}

static void drop(struct life *life)
{
    CHECK_EQ(overflow_free(region, life->ref), 0);
    life->live = life->durable = false;
}

static int count_live(void)
{
    int count = 0;
    for (int i = 0; i < life_count; i++) count += lives[i].live;
    return count;
}

static uint64_t crowd; /* how many values a file has at most */
static unsigned few;   /* of how many sizes they are */

/* Few sizes, so that what is written ends where something else began, in another life. */
static size_t any_size(uint64_t r)
{
    static const size_t sizes[] = {224, 480, 96,  30,  736,  0,    100,
                                   200, 60,  300, 500, 1500, 3000, 16000};
    return sizes[r % few];
}

static void churn(uint64_t calls)
{
    while (calls-- > 0) {
        uint64_t r    = check_random(&dice);
        uint64_t live = (uint64_t)count_live();
        if (live < 2 || (live < crowd && r % 100 < 52)) {
            put(any_size(r >> 8));
            continue;
        }
        struct life *life = lives;
        uint64_t     skip = (r >> 16) % live;
        while (!life->live || skip-- > 0) life++;
        drop(life);
        if (r >> 56 == 0) overflow_trim(region);
        if (r >> 56 < 64) { /* freed slots are joined with holes */
            struct overflow_info info;
            overflow_stats(region, &info);
        }
    }
}

/* Power loss from here on leaves what is live, and nothing that is not. */
static void sync_region(void)
{
    int kept_lives = 0;
    CHECK_EQ(overflow_sync(region), 0);
    for (int i = 0; i < life_count; i++) lives[i].durable = lives[i].possible = lives[i].live;
    /* The dead stay for a while, for their refs to be tried. */
    for (int i = 0; i < life_count; i++)
        if (lives[i].live || i >= life_count - LIVES / 2) lives[kept_lives++] = lives[i];
    life_count  = kept_lives;
    image_count = 1;
}

/* ---- What is found ---- */

static bool open_region(void)
{
    overflow_config config = {.initial_bytes = 16 << 10, .max_bytes = MAX_BYTES};
    int             error  = overflow_open(&region, path, &config);
    CHECK_EQ(error, 0);
    return error == 0;
}

/* The life that a slot is of, or NULL. exact: only of those that are live. */
static struct life *life_of(const overflow_slot *slot, bool exact)
{
    for (int i = life_count; i-- > 0;) {
        struct life *life = &lives[i];
        if (life->ref != slot->ref || (uint32_t)life->seed != slot->tag) continue;
        if ((exact ? life->live : life->possible) && is_whole(life)) return life;
    }
    return NULL;
}

/* Slots are told by overflow_next, each one that may be there; and no other ref is live. */
static void check_slots(bool exact)
{
    static bool   there[LIVES];
    uint64_t      cursor = 0, slots = 0, granules = 0;
    overflow_slot slot;

    memset(there, 0, sizeof there);
    for (; overflow_next(region, &cursor, &slot); slots++) {
        struct life *life = life_of(&slot, exact);
        granules += 1 + (slot.size + 31) / 32;
        CHECK(life != NULL);
        if (life) there[life - lives] = true;
    }
    for (int i = 0; i < life_count; i++) {
        struct life *life = &lives[i];
        CHECK(!life->durable || there[i]); /* synced, and lost */
        CHECK(!exact || !life->live || there[i]);
        kept += there[i];
        dropped += life->live && !there[i];
        life->live = there[i];
    }
    for (int i = 0; i < life_count; i++) { /* of two lives with one ref the other may be there */
        size_t size;
        bool   live = false;
        if (lives[i].live || !overflow_read(region, lives[i].ref, &size)) continue;
        for (int j = 0; j < life_count; j++) live |= lives[j].live && lives[j].ref == lives[i].ref;
        CHECK(live); /* a ref that overflow_next did not tell can be read */
    }
    struct overflow_info info;
    overflow_stats(region, &info);
    CHECK_EQ(info.live_slots, slots);
    CHECK_EQ(info.used_bytes - 8192, granules * 32 + info.free_bytes);
    if (exact) CHECK_EQ(info.damaged_slots, 0);
}

/* The owner is killed: the file stays as it is. */
static void kill_owner(void)
{
    static struct image now;
    now.size = whole_file(now.bytes);
    overflow_close(region);
    write_file(now.bytes, now.size);
}

static void lose_power(void)
{
    shots = 0;
    take_image(image_count++);
    overflow_close(region);
    compose();
    write_file(composed.bytes, composed.size);
    images[0]   = composed; /* that is what the disk has now */
    image_count = 1;
    lost++;
}

static void start_file(void)
{
    forgets = false;
    unlink(path);
    if (disk >= 0) close(disk);
    disk       = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    life_count = 0;
    memset(&images[0], 0, sizeof images[0]);
    image_count = 1;
    crowd       = 6u << check_random(&dice) % 5;
    few         = 3 + (unsigned)(check_random(&dice) % 12);
    open_region();
    take_image(0); /* open has synced it */
}

/* ---- The tests ---- */

static int      rounds     = 500;
static bool     in_time    = true; /* less of them where all is slow */
static uint64_t first_seed = 1;

/* One loss of power, and a life after it. False: something was wrong. */
static bool one_round(void)
{
    uint64_t r = check_random(&dice);
    shots      = 0;
    churn(r % 60);
    if (r >> 32 & 3) sync_region(); /* else: a second loss before the next sync */
    shots = 1 + (r >> 16) % 200;
    churn((r >> 8) % 120);
    lose_power();

    shots = r >> 40 & 1 ? 1 + (r >> 16) % 20 : 0; /* what open stores may be lost, too */
    if (!open_region()) return false;
    check_slots(false);
    churn((r >> 24) % 30);
    if (r >> 41 & 1) return atomic_load(&check_failures) == 0;
    shots = 0;
    if (r >> 42 & 1) kill_owner();
    else overflow_close(region);
    if (!open_region()) return false;
    check_slots(true);
    return atomic_load(&check_failures) == 0;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void power_fails_at_any_time(void)
{
    double start = now();
    for (int round = 0; round < rounds && (!in_time || now() < start + 15); round++) {
        dice = first_seed + (uint64_t)round / 8;
        if (round % 8 == 0) {
            if (region) overflow_close(region);
            start_file();
        }
        dice = dice << 8 | (uint64_t)round % 8;
        if (one_round()) continue;
        printf("# seed %d, loss %d of it\n", (int)(first_seed + (uint64_t)round / 8), round % 8);
        break;
    }
    overflow_close(region);
    region = NULL;
    printf("# power was lost %d times; %d values were kept, %d dropped\n", (int)lost, (int)kept,
           (int)dropped);
    CHECK(kept > 0 && (dropped > 0 || lost < 50));
}

/* The model at some moment. */
static struct moment {
    struct life lives[128];
    int         life_count;
} first, second;

static void keep_moment(struct moment *moment)
{
    moment->life_count = life_count;
    memcpy(moment->lives, lives, (size_t)life_count * sizeof *lives);
}

static void go_back_to(const struct moment *moment)
{
    life_count = moment->life_count;
    memcpy(lives, moment->lives, (size_t)life_count * sizeof *lives);
}

/* Of two images each sector that differs is from one or the other, as the bits of number say. */
static void mix(const struct image *old, const struct image *new, uint64_t number)
{
    composed.size = old->size > new->size ? old->size : new->size;
    memcpy(composed.bytes, old->bytes, composed.size);
    for (size_t at = 0; at < composed.size; at += SECTOR) {
        if (memcmp(old->bytes + at, new->bytes + at, SECTOR) == 0) continue;
        if (number & 1) memcpy(composed.bytes + at, new->bytes + at, SECTOR);
        number = number >> 1 | number << 63;
    }
    write_file(composed.bytes, composed.size);
}

/* Works a little after a sync; then there are two images to mix, what is durable and what is not.
 */
static void work_and_close(uint64_t calls, struct moment *moment, struct image *old,
                           struct image *new)
{
    churn(calls);
    *old = images[0];
    memset(new->bytes, 0, sizeof new->bytes);
    new->size = whole_file(new->bytes);
    keep_moment(moment);
    overflow_close(region);
}

static bool two_losses(void)
{
    static struct image old[2], new[2];

    shots = 0;
    start_file();
    crowd = 3 + check_random(&dice) % 8;
    few   = 2 + (unsigned)(check_random(&dice) % 6);
    churn(10 + check_random(&dice) % 10);
    sync_region();
    work_and_close(3 + check_random(&dice) % 8, &first, &old[0], &new[0]);
    for (int i = 0; i < 8; i++) {
        go_back_to(&first);
        mix(&old[0], &new[0], check_random(&dice));
        if (!open_region()) return false;
        check_slots(false);
        churn(check_random(&dice) % 2);
        sync_region();
        work_and_close(1 + check_random(&dice) % 3, &second, &old[1], &new[1]);
        for (int j = 0; j < 4; j++) {
            go_back_to(&second);
            mix(&old[1], &new[1], check_random(&dice));
            if (!open_region()) return false;
            check_slots(false);
            overflow_close(region);
        }
        if (atomic_load(&check_failures) != 0) return false;
    }
    return true;
}

static void power_fails_twice_in_many_mixes(void)
{
    double start = now();
    int    round = 0;
    for (; round < rounds && (!in_time || now() < start + 15); round++) {
        dice = (first_seed + (uint64_t)round) << 20;
        if (two_losses()) continue;
        printf("# seed %d\n", (int)first_seed + round);
        break;
    }
    printf("# %d beginnings, each lost in 8 mixes, and each of these in 4\n", round);
    region = NULL;
}

/* The kernel forgets what it could not write: this owner cannot tell what that was. */
static void a_sync_that_failed_stays_failed(void)
{
    start_file();
    put(100);
    sync_fails = 1;
    CHECK_EQ(overflow_sync(region), -EIO);
    CHECK_EQ(sync_fails, 0);
    CHECK_EQ(overflow_sync(region), -EIO);
    CHECK_EQ(overflow_close(region), 0);
    region = NULL;
}

/* A sync that failed, and the next owner; whether its sync fails, too, as it is told. */
static void fail_and_reopen(bool killed, uint64_t fails)
{
    sync_fails = 1;
    CHECK_EQ(overflow_sync(region), -EIO);
    churn(5);
    if (killed) kill_owner();
    else CHECK_EQ(overflow_close(region), 0);
    if (!open_region()) return;
    sync_fails = fails;
    if (fails) fail_and_reopen(killed, fails - 1);
}

/* Where the next owner's sync returns 0, all is on the disk: nothing that was forgotten is missing
 * after power loss; and then files are as they were, and nothing is written twice. */
static void the_next_owner_writes_again_what_a_failed_sync_lost(void)
{
    for (uint64_t round = 0; round < 40 && atomic_load(&check_failures) == 0; round++) {
        dice = first_seed + round;
        start_file();
        churn(40);
        if (round & 1) sync_region();
        churn(20);
        fail_and_reopen(round & 2, round >> 2 & 1);
        uint64_t before = written_again;
        CHECK(before > 0);
        sync_region();
        lose_power();
        if (!open_region()) break;
        check_slots(false);
        forgets = false;
        churn(20);
        sync_region();
        overflow_close(region);
        if (!open_region()) break;
        CHECK(written_again <= before + 1); /* the mark went with the power, or it did not */
        before = written_again;
        sync_region();
        overflow_close(region);
        if (!open_region()) break;
        check_slots(true);
        CHECK_EQ(written_again, before);
        overflow_close(region);
    }
    region = NULL;
}

/* Owners that follow each other without a sync write the header again and again, and a disk may
 * have each sector of it from the middle of that: what the last sync covered is still there. */
static void the_header_survives_turns_without_a_sync(void)
{
    static overflow__view view;
    overflow__make_tables(&view);
    for (uint64_t round = 0; round < 300 && atomic_load(&check_failures) == 0; round++) {
        dice = first_seed + round;
        start_file();
        for (uint64_t owners = round % 4; owners > 0; owners--) {
            put(100);
            overflow_close(region);
            open_region();
        }
        if (round & 4) put(200);
        sync_region();
        shots        = 1;
        only_headers = true;
        for (uint64_t owners = 1 + round / 8 % 4; owners > 0; owners--) {
            put(100);
            overflow_close(region);
            if (!open_region()) return;
        }
        only_headers = false;
        for (int mixes = 0; mixes < 50; mixes++) {
            overflow__header header;
            compose();
            CHECK_EQ(overflow__parse_header(&view, (void *)composed.bytes, &header), 0);
        }
        lose_power();
        if (!open_region()) return;
        check_slots(false);
        overflow_close(region);
    }
    region = NULL;
}

/* fsync once for the file, and once for its name. */
static void check_syncs(uint32_t flags, int files, int folders)
{
    overflow_config config = {.initial_bytes = 16 << 10, .max_bytes = MAX_BYTES, .flags = flags};
    files_synced = folders_synced = 0;
    CHECK_EQ(overflow_open(&region, path, &config), 0);
    CHECK_EQ(files_synced, files);
    CHECK_EQ(folders_synced, folders);
    put(10); /* its header tells the next owner */
    CHECK_EQ(overflow_close(region), 0);
}

static void a_new_file_and_its_name_are_synced(void)
{
    int status;

    close(disk);
    disk = -1;
    unlink(path);
    check_syncs(0, 1, 1);
    check_syncs(0, 0, 0);
    check_syncs(OVERFLOW_FRESH, 1, 1);
    check_syncs(OVERFLOW_TEMPORARY, 0, 0);
    check_syncs(OVERFLOW_TEMPORARY, 1, 1); /* after power loss it is a region */
    check_syncs(OVERFLOW_TEMPORARY | OVERFLOW_FRESH, 0, 0);

    fflush(stdout);
    pid_t child = fork(); /* a creator that does not come so far */
    if (child == 0) {
        dies_at_fsync = true;
        open_region();
        _exit(1);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
    check_syncs(0, 1, 1);
    check_syncs(0, 0, 0);
    region = NULL;
}

int main(int argc, char **argv)
{
    const char *where = getenv("TMPDIR");
    if (argc > 1) rounds = atoi(argv[1]), in_time = false;
    if (argc > 2) first_seed = strtoull(argv[2], NULL, 0);
    snprintf(path, sizeof path, "%s/overflow_power.%d", where ? where : "/tmp", (int)getpid());

    RUN(power_fails_at_any_time);
    RUN(power_fails_twice_in_many_mixes);
    RUN(a_sync_that_failed_stays_failed);
    RUN(the_next_owner_writes_again_what_a_failed_sync_lost);
    RUN(the_header_survives_turns_without_a_sync);
    RUN(a_new_file_and_its_name_are_synced);
    unlink(path);
    return REPORT();
}
