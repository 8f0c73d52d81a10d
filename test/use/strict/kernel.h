/* kernel.h - what a header asked of the kernel, recorded by kernel.c below the C library.
 *
 * A test program includes the header under test first, so that nothing but the compiler's command
 * line decides which names the C library shows to it. */
#ifndef STRICT_KERNEL_H
#define STRICT_KERNEL_H

#include <stdint.h>
#include <stdio.h>

/* Bit n is set: the call was made with the value n. */
extern uint64_t kernel_advice;     /* madvise */
extern uint64_t kernel_punch;      /* fallocate, mode */
extern uint64_t kernel_seek;       /* lseek, whence */
extern uint64_t kernel_lock;       /* fcntl, command; those below 64 */
extern uint64_t kernel_membarrier; /* membarrier, command */
extern uint64_t kernel_refused;    /* membarrier, command: forbidden here, or not known */

/* Calls so far: mmap with MAP_ANONYMOUS; mmap of huge pages of 2 MiB, which fails; fsync; io_uring
 * registrations; open with O_NOFOLLOW, O_CLOEXEC and O_NONBLOCK. */
extern int kernel_anonymous, kernel_huge, kernel_fsync, kernel_register, kernel_careful_opens;

#define NEED(x)                                                           \
    do {                                                                  \
        if (!(x)) {                                                       \
            printf("# %s:%d: %s\n", __FILE__, __LINE__, #x);              \
            return 1;                                                     \
        }                                                                 \
    } while (0)

/* Linux's numbers, which the C library may hide. */
#define ASKED(advice) (kernel_advice >> (advice) & 1)
enum {
    DONTNEED       = 4,
    DONTFORK       = 10,
    DOFORK         = 11,
    HUGEPAGE       = 14,
    NOHUGEPAGE     = 15,
    POPULATE_READ  = 22,
    POPULATE_WRITE = 23,
};

#endif /* STRICT_KERNEL_H */
