/* treecache [DIR] - an in-memory cache of a directory tree, served through a slab_pool.
 *
 * Goal: show that pages cross between threads without a copy, a lock or a lost byte, on real files.
 *
 * Method: the data plane, one thread, walks DIR, reads every regular file into its own memory and
 * owns the pool. Two control planes ask for each file once, in random order. A request is a 64-bit
 * slot with the file's number; the answer is one slab_id, a 64-bit slot too, for each page of its
 * content. The control plane compares the pages with what pread finds in the file and returns them.
 *
 *      control plane  ---- requests: file numbers ---->  data plane: cache, pool
 *      (two of them)  <--- replies: ids of pages ------  (one)
 *                     ---- slab_pool_return_many ----->
 *
 * Nobody can wait in a circle: the one thing that runs out is pages, those are in the hands of
 * control planes, and these return all they hold before they sleep. The last line counts what was
 * found; the exit status is 1 if anything is wrong.
 */
#define _GNU_SOURCE       1
#define _FILE_OFFSET_BITS 64

#define SLAB_IMPLEMENTATION
#include "../slab.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    PAGE_BYTES     = 64 * 1024,
    PAGE_COUNT     = 256, /* even one would do */
    RING_SLOTS     = 256, /* a power of two, and no fewer than pages: replies never find it full */
    BURST          = 16,  /* pages for one control plane before the other has its turn */
    CONTROL_PLANES = 2,
    LINE           = 64,
    NOTES_PRINTED  = 10, /* of each kind; the rest are counted */
    NOTE_PATH_MAX  = 200,
    SETTLED_NS     = 20 * 1000 * 1000, /* see settle */
};

#define CACHE_BUDGET (UINT64_C(1) << 30) /* bytes of content, names and records */
#define FILE_FLAGS   (O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY)

static_assert((RING_SLOTS & (RING_SLOTS - 1)) == 0, "positions wrap to slots with a mask");
static_assert(RING_SLOTS >= PAGE_COUNT, "a reply always has a slot");
static_assert(sizeof(slab_id) == sizeof(uint64_t), "an id is a slot");

/* -- Bell: one thread sleeps, any thread wakes it -- */

enum { QUIET, RUNG, ASLEEP };

struct bell {
    alignas(LINE) _Atomic(uint32_t) state; /* its sleeper sets QUIET and ASLEEP, any thread RUNG */
};

/* Any thread, after it made work for the sleeper. */
static void bell_ring(struct bell *bell)
{
    /* release, pairs with the exchange in bell_wait: the sleeper sees the work made before. */
    if (atomic_exchange_explicit(&bell->state, RUNG, memory_order_release) == ASLEEP)
        syscall(SYS_futex, &bell->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* The sleeper, having found no work. Comes back at once if the bell rang since the last time, so
 * work that came between the look and the sleep is not slept over. */
static void bell_wait(struct bell *bell)
{
    uint32_t state = QUIET;

    /* relaxed, here and in the loop: only whether to sleep; the exchange fetches the work. */
    if (atomic_compare_exchange_strong_explicit(&bell->state, &state, ASLEEP, memory_order_relaxed,
                                                memory_order_relaxed))
        while (atomic_load_explicit(&bell->state, memory_order_relaxed) == ASLEEP)
            syscall(SYS_futex, &bell->state, FUTEX_WAIT_PRIVATE, ASLEEP, NULL, NULL, 0);
    /* acquire, pairs with the release of every ring so far: each is an exchange, so the last one
       carries the others. */
    atomic_exchange_explicit(&bell->state, QUIET, memory_order_acquire);
}

/* -- Ring: one thread pushes, one thread pops -- */

struct ring {
    alignas(LINE) _Atomic(uint64_t) pushed; /* the pusher writes */
    alignas(LINE) _Atomic(uint64_t) popped; /* the popper writes */
    alignas(LINE) uint64_t slots[RING_SLOTS];
};

/* Pusher. False: full. Both counts only grow, and have one writer each: no ABA. */
static bool ring_push(struct ring *ring, uint64_t slot)
{
    /* relaxed: our own count. */
    uint64_t pushed = atomic_load_explicit(&ring->pushed, memory_order_relaxed);
    /* acquire, pairs with the release in ring_pop: the slot was read before we write it again. */
    if (pushed - atomic_load_explicit(&ring->popped, memory_order_acquire) == RING_SLOTS)
        return false;
    ring->slots[pushed & (RING_SLOTS - 1)] = slot;
    /* release, pairs with the acquire in ring_pop: the slot and what it names are written. */
    atomic_store_explicit(&ring->pushed, pushed + 1, memory_order_release);
    return true;
}

/* Popper. False: empty. */
static bool ring_pop(struct ring *ring, uint64_t *slot)
{
    /* relaxed: our own count. */
    uint64_t popped = atomic_load_explicit(&ring->popped, memory_order_relaxed);
    /* acquire, pairs with the release in ring_push: the slot and what it names are written. */
    if (popped == atomic_load_explicit(&ring->pushed, memory_order_acquire)) return false;
    *slot = ring->slots[popped & (RING_SLOTS - 1)];
    /* release, pairs with the acquire in ring_push: we have read the slot. */
    atomic_store_explicit(&ring->popped, popped + 1, memory_order_release);
    return true;
}

/* -- The cache -- */

enum outcome { UNSEEN, VERIFIED, SYMLINK, SKIPPED, CHANGED, WRONG, OUTCOMES };

/* What the file system says of a file. New content shows in it, unless it came through mmap or by a
 * single write of more than SETTLED_NS. */
struct identity {
    dev_t           device;
    ino_t           inode;
    off_t           size;
    struct timespec modified, status_changed;
};

/* One name in the tree. */
struct file {
    /* Constant while the control planes run. */
    struct file    *next;
    unsigned char  *value; /* NULL for a directory */
    struct identity identity;

    /* The one control plane that asks for the file writes them; read when that has ended. */
    enum outcome outcome;
    int          error; /* errno, or 0 */

    char path[]; /* below the root; of any length */
};

struct cache {
    int          root;
    bool         terminal; /* stderr is one */
    int          percent;  /* on the progress bar */
    struct file *files;
    struct file *pending; /* directories yet to be read: one is open at a time */
    size_t       file_count;
    uint64_t     bytes;
    uint64_t     charged; /* of CACHE_BUDGET: content, and all records and paths there ever were */
    uint64_t     outcomes[OUTCOMES];
};

/* One line on stderr about one file, or, after NOTES_PRINTED of them, one more in the count. */
static void note(struct cache *cache, enum outcome outcome, const char *path, const char *why)
{
    static const char *const words[OUTCOMES] = {
        [SKIPPED] = "skipped", [CHANGED] = "changed", [WRONG] = "wrong"};
    size_t                   len = strlen(path);

    if (cache->outcomes[outcome]++ >= NOTES_PRINTED || outcome == SYMLINK) return;
    fprintf(stderr, "%streecache: %s: ", cache->terminal ? "\r\033[K" : "", words[outcome]);
    if (len > NOTE_PATH_MAX) fputs("...", stderr);
    if (len > NOTE_PATH_MAX) path += len - NOTE_PATH_MAX;
    /* A name may hold a newline, or an escape sequence that plays tricks on a terminal. */
    for (; *path; path++) fputc((unsigned char)*path < ' ' || *path == 127 ? '?' : *path, stderr);
    fprintf(stderr, ": %s\n", why);
}

/* total 0: not known yet. */
static void progress(struct cache *cache, size_t done, size_t total)
{
    static const char bar[] = "##################################################";
    int               percent = total ? (int)(done * 100 / total) : -1;

    if (!cache->terminal || (total && percent == cache->percent)) return;
    cache->percent = percent;
    if (total) fprintf(stderr, "\rserving [%-50.*s] %3d%%", percent / 2, bar, percent);
    else if (done % 64 == 0) fprintf(stderr, "\rreading %zu files", done);
    if (total && done == total) fputs("\r\033[K", stderr);
}

static struct identity identity_of(const struct stat *st)
{
    return (struct identity){st->st_dev, st->st_ino, st->st_size, st->st_mtim, st->st_ctim};
}

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

/* Whether the open file is still that one, with that content. */
static bool unchanged(int fd, const struct identity *then)
{
    struct stat st;

    if (fstat(fd, &st) != 0) return false;
    return st.st_dev == then->device && st.st_ino == then->inode && st.st_size == then->size &&
           same_time(st.st_mtim, then->modified) && same_time(st.st_ctim, then->status_changed);
}

/* Whether the error says that the name now stands for something else, or nothing. */
static bool gone(int error)
{
    return error == ENOENT || error == ENOTDIR || error == ELOOP || error == ENXIO ||
           error == ESTALE;
}

/* openat below the root, for a path of any length. -1: errno. */
static int open_below(int root, const char *path, int flags)
{
    char *copy = strdup(path), *rest = copy, *cut;
    int   at = root;

    if (!copy) return -1;
    do {
        cut = strlen(rest) < PATH_MAX ? NULL : memrchr(rest, '/', PATH_MAX);
        if (cut) *cut = '\0';
        int next = openat(at, rest, cut ? O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC : flags);
        int error = errno;
        if (at != root) close(at);
        errno = error;
        at = next;
        if (cut) rest = cut + 1;
    } while (cut && at >= 0);
    int error = errno;
    free(copy);
    errno = error;
    return at;
}

/* Reads count bytes, or to the end: with pread, or if offset is -1 with read from where the file
 * stands. How many; -1: errno. */
static ssize_t read_fully(int fd, unsigned char *buffer, size_t count, off_t offset)
{
    size_t done = 0;

    while (done < count) {
        ssize_t got = offset < 0 ? read(fd, buffer + done, count - done)
                                 : pread(fd, buffer + done, count - done, offset + (off_t)done);
        if (got == 0) break;
        if (got < 0 && errno != EINTR) return -1;
        if (got > 0) done += (size_t)got;
    }
    return (ssize_t)done;
}

/* A file's times come from a clock that ticks every 1 to 10 ms: two writes in a tick look like one.
 * A file written this very moment is given time, so that the next write will show. */
static void settle(struct timespec status_changed)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    double age = difftime(now.tv_sec, status_changed.tv_sec) * 1e9;
    age += (double)(now.tv_nsec - status_changed.tv_nsec);
    if (age > -1e9 && age < SETTLED_NS) nanosleep(&(struct timespec){0, SETTLED_NS}, NULL);
}

/* -- Data plane: loading -- */

/* Fills in value and identity. NULL: done; else why not, and the outcome is SKIPPED or CHANGED. */
static const char *load_file(struct cache *cache, int at, const char *name, struct file *file)
{
    struct stat st;
    int         fd = openat(at, name, FILE_FLAGS);
    const char *why = NULL;

    file->outcome = fd < 0 && gone(errno) ? CHANGED : SKIPPED;
    if (fd < 0) return strerror(errno);
    if (fstat(fd, &st) != 0) why = strerror(errno);
    else if (!S_ISREG(st.st_mode)) why = "not a regular file";
    else if ((uint64_t)st.st_size > CACHE_BUDGET - cache->charged) why = "over the budget";
    else if (!(file->value = malloc((size_t)st.st_size + 1))) why = "no memory";
    else {
        file->identity = identity_of(&st);
        settle(st.st_ctim);
        /* One byte more than there should be: the file may have grown. */
        ssize_t got = read_fully(fd, file->value, (size_t)st.st_size + 1, -1);
        if (got < 0) why = strerror(errno);
        else if (got != st.st_size || !unchanged(fd, &file->identity)) why = "while it was read";
        if (got >= 0) file->outcome = why ? CHANGED : UNSEEN;
    }
    close(fd);
    return why;
}

/* Into the cache, or onto the pending directories. NULL: done; else why not, and file->outcome. */
static const char *add_file(struct cache *cache, int at, const char *name, struct file *file)
{
    size_t      cost = sizeof *file + strlen(file->path) + 1;
    struct stat st;

    file->outcome = SKIPPED;
    if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        if (gone(errno)) file->outcome = CHANGED;
        return strerror(errno);
    }
    if (S_ISLNK(st.st_mode)) file->outcome = SYMLINK;
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) return "not a regular file";
    if (cost > CACHE_BUDGET - cache->charged) return "over the budget";
    cache->charged += cost;
    file->identity = identity_of(&st);
    const char *why = S_ISREG(st.st_mode) ? load_file(cache, at, name, file) : NULL;
    if (why) return why;

    struct file **list = S_ISREG(st.st_mode) ? &cache->files : &cache->pending;
    file->next = *list;
    *list = file;
    if (list == &cache->pending) return NULL;
    cache->bytes += (uint64_t)file->identity.size;
    cache->charged += (uint64_t)file->identity.size;
    progress(cache, ++cache->file_count, 0);
    return NULL;
}

static void add_name(struct cache *cache, int at, const char *parent, const char *name)
{
    bool         top = strcmp(parent, ".") == 0;
    struct file *file = calloc(1, sizeof *file + strlen(parent) + strlen(name) + 2);

    if (!file) {
        note(cache, SKIPPED, name, "no memory");
        return;
    }
    stpcpy(stpcpy(stpcpy(file->path, top ? "" : parent), top ? "" : "/"), name);
    const char *why = add_file(cache, at, name, file);
    if (!why) return;
    note(cache, file->outcome, file->path, why);
    free(file->value);
    free(file);
}

static void read_directory(struct cache *cache, const struct file *directory)
{
    static const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    struct dirent   *entry;
    struct stat      st;
    int              fd = open_below(cache->root, directory->path, flags);
    DIR             *stream = fd < 0 ? NULL : fdopendir(fd);

    if (!stream || fstat(fd, &st) != 0) {
        note(cache, gone(errno) ? CHANGED : SKIPPED, directory->path, strerror(errno));
    } else if (st.st_dev != directory->identity.device || st.st_ino != directory->identity.inode) {
        note(cache, CHANGED, directory->path, "another directory took its place");
    } else {
        for (errno = 0; (entry = readdir(stream)) != NULL; errno = 0) {
            if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
            add_name(cache, fd, directory->path, entry->d_name);
        }
        if (errno != 0) note(cache, SKIPPED, directory->path, strerror(errno));
    }
    if (stream) closedir(stream);
    else if (fd >= 0) close(fd);
}

/* False: there is no such directory; errno. */
static bool load_tree(struct cache *cache, const char *path)
{
    cache->root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (cache->root < 0) return false;
    add_name(cache, cache->root, ".", ".");
    while (cache->pending) {
        struct file *directory = cache->pending;
        cache->pending = directory->next;
        read_directory(cache, directory);
        free(directory);
    }
    return true;
}

static void free_tree(struct cache *cache)
{
    for (struct file *file = cache->files, *next; file; file = next) {
        next = file->next;
        free(file->value);
        free(file);
    }
    if (cache->root >= 0) close(cache->root);
}

/* -- Control planes -- */

struct server;

struct control_plane {
    /* Constant while it runs. */
    struct server *server;
    size_t         end; /* it asks for the files of plan up to here */
    pthread_t      thread;

    struct ring requests; /* it pushes */
    struct ring replies;  /* it pops */
    struct bell bell;     /* it sleeps */

    /* Its own. The file whose pages come in now is plan[checked]. */
    alignas(LINE) size_t asked, checked;
    size_t        offset; /* of the next page in that file */
    int           fd;     /* of that file, once offset > 0 */
    bool          differs;
    unsigned char bytes[PAGE_BYTES]; /* read a second way */

    /* The data plane's: the answer under way. */
    alignas(LINE) const struct file *answering; /* NULL: none */
    size_t answered;                            /* bytes of it */
};

struct server {
    struct cache        *cache;
    slab_pool           *pool;
    struct file        **plan; /* every file once, shuffled */
    struct bell          bell; /* the data plane sleeps */
    struct control_plane control_planes[CONTROL_PLANES];
    uint64_t             wall_ns, data_plane_ns;
    uint32_t             in_flight; /* pages, at most */
};

/* The length of the page at an offset of a file. An empty file has one page, of 0 bytes. */
static size_t page_len(const struct file *file, size_t offset)
{
    size_t left = (size_t)file->identity.size - offset;

    return left < PAGE_BYTES ? left : PAGE_BYTES;
}

static void open_again(struct control_plane *control, struct file *file)
{
    control->differs = false;
    control->fd = open_below(control->server->cache->root, file->path, FILE_FLAGS);
    if (control->fd < 0) {
        file->outcome = gone(errno) || errno == EACCES ? CHANGED : WRONG;
        file->error = errno;
    } else if (!unchanged(control->fd, &file->identity)) {
        file->outcome = CHANGED;
    }
}

/* The pages of one file come in order, and those of two files never mixed. */
static void check_page(struct control_plane *control, slab_id id)
{
    struct file *file = control->server->plan[control->checked];
    size_t       expected = page_len(file, control->offset), len = 0;
    const void  *payload = slab_pool_read(control->server->pool, id, &len);

    if (control->offset == 0) open_again(control, file);
    if (file->outcome == UNSEEN) {
        ssize_t got = read_fully(control->fd, control->bytes, expected, (off_t)control->offset);
        if (got < 0) file->error = errno;
        if (!payload || len != expected || got != (ssize_t)expected ||
            memcmp(payload, control->bytes, len) != 0)
            control->differs = true;
    }
    control->offset += expected;
    if (control->offset < (size_t)file->identity.size) return;

    /* Only a file that is what it was can tell right from wrong. */
    if (file->outcome == UNSEEN && !unchanged(control->fd, &file->identity))
        file->outcome = CHANGED;
    if (file->outcome == UNSEEN) file->outcome = control->differs ? WRONG : VERIFIED;
    if (control->fd >= 0) close(control->fd);
    control->offset = 0;
    control->checked++;
}

/* Checks and returns the pages that came. False: none. */
static bool take_replies(struct control_plane *control)
{
    slab_id  ids[BURST];
    uint64_t slot;
    size_t   count = 0;
    bool     wake;

    while (count < BURST && ring_pop(&control->replies, &slot)) {
        memcpy(&ids[count], &slot, sizeof slot);
        check_page(control, ids[count++]);
    }
    slab_pool_return_many(control->server->pool, ids, count, &wake);
    if (wake) bell_ring(&control->server->bell);
    return count > 0;
}

/* Sleeps only when it holds no page and has asked for all there is room to ask for: then it is the
 * data plane's turn. */
static void *control_plane_main(void *argument)
{
    struct control_plane *control = argument;

    while (control->checked < control->end) {
        size_t asked = control->asked;
        while (control->asked < control->end && ring_push(&control->requests, control->asked))
            control->asked++;
        if (control->asked > asked) bell_ring(&control->server->bell);
        if (!take_replies(control)) bell_wait(&control->bell);
    }
    return NULL;
}

/* -- Data plane: serving -- */

/* Hands over the next few pages of what one control plane asked for: how many. *out: ran out of
 * pages. *files counts those that are answered to the end. */
static size_t serve(struct server *server, struct control_plane *control, bool *out, size_t *files)
{
    size_t   pages = 0;
    uint64_t slot;
    slab_id  id;

    for (; pages < BURST; pages++) {
        if (!control->answering) {
            if (!ring_pop(&control->requests, &slot)) break;
            control->answering = server->plan[slot];
            control->answered = 0;
        }
        const struct file *file = control->answering;
        size_t             len = page_len(file, control->answered);
        if (slab_pool_put(server->pool, file->value + control->answered, len, &id) != 0) {
            *out = true;
            break;
        }
        memcpy(&slot, &id, sizeof slot);
        bool pushed = ring_push(&control->replies, slot);
        assert(pushed); /* RING_SLOTS >= PAGE_COUNT */
        (void)pushed;
        control->answered += len;
        if (control->answered < (size_t)file->identity.size) continue;
        control->answering = NULL;
        ++*files;
    }
    if (pages > 0) bell_ring(&control->bell);
    return pages;
}

static void data_plane_main(struct server *server, size_t wanted)
{
    struct slab_pool_info info;
    size_t                files = 0;

    while (files < wanted) {
        size_t pages = 0;
        bool   out = false;
        for (size_t i = 0; i < CONTROL_PLANES; i++)
            pages += serve(server, &server->control_planes[i], &out, &files);
        slab_pool_stats(server->pool, &info);
        uint32_t in_flight = info.page_count - info.available;
        if (in_flight > server->in_flight) server->in_flight = in_flight;
        progress(server->cache, files, wanted);
        if (pages > 0 || files == wanted) continue;
        /* Nobody asks, or the pages are out. A request always rings; a return only when the pool
           was told that we want it, and not if pages came back before that. */
        if (!out || slab_pool_want(server->pool)) bell_wait(&server->bell);
    }
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* The files in an order that is random, but the same in every run. NULL: no memory. */
static struct file **shuffled(const struct cache *cache)
{
    struct file **plan = calloc(cache->file_count + 1, sizeof *plan);
    uint64_t      random = 88172645463325252; /* xorshift64 */
    size_t        count = 0;

    for (struct file *file = cache->files; plan && file; file = file->next) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        size_t other = (size_t)(random % ++count);
        plan[count - 1] = plan[other];
        plan[other] = file;
    }
    return plan;
}

/* Starts the control planes, serves them, waits for their end. 0; errno: some files stay UNSEEN. */
static int serve_all(struct server *server)
{
    size_t started = 0, wanted = 0;
    int    error = 0;

    uint64_t wall = clock_ns(CLOCK_MONOTONIC), busy = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    for (; started < CONTROL_PLANES; started++) {
        struct control_plane *control = &server->control_planes[started];
        control->server = server;
        control->asked = control->checked = wanted;
        control->end = server->cache->file_count * (started + 1) / CONTROL_PLANES;
        error = pthread_create(&control->thread, NULL, control_plane_main, control);
        if (error) break;
        wanted = control->end;
    }
    data_plane_main(server, wanted);
    server->data_plane_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - busy;
    while (started > 0) pthread_join(server->control_planes[--started].thread, NULL);
    server->wall_ns = clock_ns(CLOCK_MONOTONIC) - wall;
    return error;
}

/* -- Report -- */

static void judge(struct cache *cache)
{
    static const char *const words[OUTCOMES] = {[SYMLINK] = "symbolic links not followed",
                                                [SKIPPED] = "skipped",
                                                [CHANGED] = "changed",
                                                [WRONG] = "wrong"};

    for (const struct file *file = cache->files; file; file = file->next) {
        const char *error = file->error ? strerror(file->error) : NULL;
        if (file->outcome == VERIFIED) cache->outcomes[VERIFIED]++;
        else if (file->outcome == UNSEEN) note(cache, WRONG, file->path, "never answered");
        else if (error) note(cache, file->outcome, file->path, error);
        else if (file->outcome == CHANGED) note(cache, CHANGED, file->path, "after it was read");
        else note(cache, WRONG, file->path, "its pages are not its bytes");
    }
    for (enum outcome outcome = SYMLINK; outcome < OUTCOMES; outcome++) {
        uint64_t printed = outcome == SYMLINK ? 0 : NOTES_PRINTED;
        if (cache->outcomes[outcome] <= printed) continue;
        fprintf(stderr, "treecache: %" PRIu64 "%s %s\n", cache->outcomes[outcome] - printed,
                printed ? " more" : "", words[outcome]);
    }
    if (cache->file_count == 0) fputs("treecache: no files\n", stderr);
}

static void print_row(const char *name, uint64_t value, const char *remark)
{
    printf("%-26s%14" PRIu64 "%s%s\n", name, value, *remark ? "  " : "", remark);
}

static void print_table(const struct server *server, const struct slab_pool_info *info)
{
    const struct cache *cache = server->cache;
    uint64_t            pages = info->allocs;
    char                shape[64];

    snprintf(shape, sizeof shape, "of %d, %d bytes each", PAGE_COUNT, PAGE_BYTES);
    print_row("files", cache->file_count, "");
    print_row("bytes", cache->bytes, "");
    print_row("pages handed over", pages, "");
    print_row("ns per page", pages ? server->wall_ns / pages : 0,
              "from first request to last check, by the clock");
    print_row("  of the data plane", pages ? server->data_plane_ns / pages : 0,
              "processor time: copy in, hand over, take back");
    print_row("pages in flight at most", server->in_flight, shape);
    print_row("refused ids", info->refused, "returns turned away; 0 expected");
    print_row("changed files", cache->outcomes[CHANGED], "meanwhile, by others; not verified");
    print_row("skipped names", cache->outcomes[SKIPPED], "not in the cache");
}

/* Serves what is in the cache. False: something besides the content of files was wrong. */
static bool run(struct cache *cache)
{
    static struct server  server; /* too large for some stacks */
    slab_pool_config      shape = {.page_size = PAGE_BYTES, .page_count = PAGE_COUNT};
    struct slab_pool_info info = {0};
    size_t                lost = 0;

    server.cache = cache;
    server.plan = shuffled(cache);
    int error = server.plan ? -slab_pool_create(&server.pool, &shape) : ENOMEM;
    if (!error) {
        error = serve_all(&server);
        slab_pool_stats(server.pool, &info);
        lost = slab_pool_destroy(server.pool);
    }
    free(server.plan);
    judge(cache);
    if (error) fprintf(stderr, "treecache: cannot serve: %s\n", strerror(error));
    if (lost > 0) fprintf(stderr, "treecache: %zu pages were never given back\n", lost);
    print_table(&server, &info);
    return error == 0 && lost == 0 && info.refused == 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    static const char usage[] = "usage: treecache [DIR]\n"
                                "Caches the files below DIR (default /usr/include), serves them\n"
                                "to two threads and verifies every byte.\n";
    struct cache cache = {.terminal = isatty(STDERR_FILENO), .percent = -1};

    int option = getopt_long(argc, argv, "h", options, NULL);
    if (option != -1 || argc - optind > 1) {
        fputs(usage, option == 'h' ? stdout : stderr);
        return option == 'h' ? EXIT_SUCCESS : 2;
    }
    const char *path = optind < argc ? argv[optind] : "/usr/include";
    bool        good = load_tree(&cache, path);
    if (good) good = run(&cache);
    else fprintf(stderr, "treecache: %s: %s\n", path, strerror(errno));
    printf("treecache: %zu files, %" PRIu64 " bytes, %" PRIu64 " verified, %" PRIu64 " wrong\n",
           cache.file_count, cache.bytes, cache.outcomes[VERIFIED], cache.outcomes[WRONG]);
    good = good && cache.outcomes[WRONG] == 0;
    free_tree(&cache);
    if (fflush(stdout) != 0) good = false;
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
