/* spill.c - values in an overflow_region outlive the process that wrote them. A child writes values
 * until a kill -9 ends it; the parent meanwhile reads each of them through an overflow_reader. Then
 * the parent opens the region and finds every value whose write had returned.
 *
 *     cc -std=c11 -O2 -I. examples/spill.c -o spill
 *     ./spill [FILE]      # default: a temporary file. FILE is kept for the next run */
#define _DEFAULT_SOURCE /* err, mkstemp */
#define OVERFLOW_IMPLEMENTATION
#include "overflow.h"

#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KILL_AT = 20000, VALUES_MAX = KILL_AT + 10000, WORDS_MAX = 64, TAG = 0x5b111 };

/* Reserved at once, so that a full disk is an error of open and not of a later write. */
static const overflow_config config = {.initial_bytes = 16 << 20, .max_bytes = 16 << 20};

static const char           *path;
static char                  temporary[4096]; /* the path of the temporary file, or "" */
static overflow_ref          refs[VALUES_MAX]; /* of the values 0, 1, 2, ... */
static volatile sig_atomic_t interrupted; /* by the signal of this number */
static const int             endings[] = {SIGHUP, SIGINT, SIGTERM, SIGPIPE, SIGXFSZ};

static void interrupt(int number) { interrupted = number; }

static void remove_temporary(void)
{
    if (temporary[0]) (void)unlink(temporary);
}

/* Value n is the words n, n + 1, n + 2, ... */
static size_t value_size(uint64_t n) { return (size_t)(n % WORDS_MAX + 1) * sizeof n; }

static bool is_value(const uint64_t *value, size_t size, uint64_t n)
{
    if (size != value_size(n)) return false;
    for (size_t i = 0; i < size / sizeof n; i++)
        if (value[i] != n + i) return false;
    return true;
}

static overflow_region *open_region(void)
{
    overflow_region *region;
    int              error = overflow_open(&region, path, &config);
    if (error == -EUCLEAN || error == -ENOTSUP)
        errx(1, "%s: not a region file of this version; left as it is", path);
    if ((errno = -error) != 0) err(1, "%s", path);
    return region;
}

/* Verifies all values in the region. Returns how many there are. */
static unsigned verify(const overflow_region *region)
{
    unsigned      count  = 0;
    uint64_t      cursor = 0;
    size_t        size;
    overflow_slot slot;
    for (; overflow_next(region, &cursor, &slot); count++) {
        if (slot.tag != TAG) errx(1, "%s: a region of another program; left as it is", path);
        const uint64_t *value = overflow_read(region, slot.ref, &size);
        if (!is_value(value, size, *value)) errx(1, "%s: a value is damaged", path);
    }
    return count;
}

/* Runs in the child: writes values and reports each ref, until it is killed. */
static _Noreturn void writer(const int reports[2])
{
    overflow_region *region = open_region();
    overflow_ref     ref;
    uint64_t         value[WORDS_MAX];
    (void)close(reports[0]); /* only the parent reads: without it write fails with EPIPE */
    for (uint64_t n = 0;; n++) {
        for (size_t i = 0; i < WORDS_MAX; i++) value[i] = n + i;
        errno = -overflow_write(region, value, value_size(n), TAG, &ref);
        if (errno != 0) err(1, "overflow_write");
        if (write(reports[1], &ref, sizeof ref) != sizeof ref) err(1, "pipe");
    }
}

/* Reads each value that was reported, and kills the writer. Returns how many were reported. */
static unsigned read_beside(pid_t child, int reports)
{
    uint64_t         value[WORDS_MAX];
    unsigned         n;
    size_t           size;
    overflow_reader *reader;
    if ((errno = -overflow_reader_open(&reader, path)) != 0) err(1, "%s", path);
    for (n = 0; n < VALUES_MAX && read(reports, &refs[n], sizeof *refs) == sizeof *refs; n++) {
        errno = -overflow_reader_read(reader, refs[n], value, sizeof value, &size);
        if (errno != 0) err(1, "reader: value %u", n);
        if (!is_value(value, size, n)) errx(1, "reader: value %u is wrong", n);
        if ((n == KILL_AT || interrupted) && kill(child, SIGKILL) != 0) err(1, "kill");
    }
    overflow_reader_close(reader);
    return n;
}

int main(int argc, char **argv)
{
    const char   *directory = getenv("TMPDIR");
    uint64_t      cursor    = 0;
    int           reports[2], status;
    size_t        size;
    overflow_slot slot;

    if (argc > 2 || (argc == 2 && argv[1][0] == '-')) errx(2, "usage: spill [FILE]");
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        (void)signal(endings[i], interrupt);
    path = argc == 2 ? argv[1] : temporary;
    if (atexit(remove_temporary) != 0 || pipe(reports) != 0) err(1, "pipe");
    if (argc == 1) {
        snprintf(temporary, sizeof temporary, "%s/spill.XXXXXX", directory ? directory : "/tmp");
        int fd = mkstemp(temporary);
        if (fd < 0 || close(fd) != 0) err(1, "%s", temporary);
    }
    overflow_region *region  = open_region();
    unsigned         earlier = verify(region);
    while (overflow_next(region, &cursor, &slot))
        if ((errno = -overflow_free(region, slot.ref)) != 0) err(1, "overflow_free");
    (void)overflow_close(region); /* the writer opens it next */

    pid_t child = fork();
    if (child < 0) err(1, "fork");
    if (child == 0) writer(reports);
    (void)close(reports[1]); /* only the writer writes: when it dies, the reports end */
    unsigned written = read_beside(child, reports[0]);
    if (waitpid(child, &status, 0) != child) err(1, "waitpid");
    if (interrupted) errx(128 + interrupted, "interrupted");
    if (WIFEXITED(status)) return 1; /* the writer has printed why */

    region = open_region();
    for (unsigned n = 0; n < written; n++) {
        const uint64_t *value = overflow_read(region, refs[n], &size);
        if (!is_value(value, size, n)) errx(1, "value %u is lost", n);
    }
    printf("start:  found %u values of an earlier run in %s, and freed them\n", earlier, path);
    printf("writer: killed after %u writes; a reader saw the value of each\n", written);
    printf("reopen: found %u values, none lost or damaged\n", verify(region));
    (void)overflow_close(region);
    if (fflush(stdout) != 0) err(1, "standard output");
    return 0;
}
