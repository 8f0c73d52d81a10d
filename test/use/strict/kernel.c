/* Goal:   tell the tests beside this file what the header under test asked of the kernel.
 * Method: the linker's --wrap sends each call through here and on to the C library. Only explicit
 *         huge pages are refused, so that the header goes on to the transparent ones. */
#define _GNU_SOURCE
#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

uint64_t kernel_advice, kernel_punch, kernel_seek, kernel_lock, kernel_membarrier, kernel_refused;
int      kernel_anonymous, kernel_huge, kernel_fsync, kernel_register, kernel_careful_opens;

int   __real_madvise(void *memory, size_t size, int advice);
void *__real_mmap(void *memory, size_t size, int access, int flags, int fd, off_t at);
long  __real_syscall(long number, ...);
int   __real_fallocate(int fd, int mode, off_t at, off_t size);
int   __real_open(const char *path, int flags, ...);
int   __real_fcntl(int fd, int command, ...);
off_t __real_lseek(int fd, off_t at, int whence);
int   __real_fsync(int fd);

int   __wrap_madvise(void *memory, size_t size, int advice);
void *__wrap_mmap(void *memory, size_t size, int access, int flags, int fd, off_t at);
long  __wrap_syscall(long number, long a, long b, long c, long d, long e, long f);
int   __wrap_fallocate(int fd, int mode, off_t at, off_t size);
int   __wrap_open(const char *path, int flags, ...);
int   __wrap_fcntl(int fd, int command, void *argument);
off_t __wrap_lseek(int fd, off_t at, int whence);
int   __wrap_fsync(int fd);

int __wrap_madvise(void *memory, size_t size, int advice)
{
    kernel_advice |= UINT64_C(1) << advice;
    return __real_madvise(memory, size, advice);
}

void *__wrap_mmap(void *memory, size_t size, int access, int flags, int fd, off_t at)
{
    if (flags & MAP_HUGETLB) {
        kernel_huge += (flags >> 26 & 63) == 21;
        errno = ENOMEM;
        return MAP_FAILED;
    }
    kernel_anonymous += (flags & MAP_ANONYMOUS) != 0 && fd == -1;
    return __real_mmap(memory, size, access, flags, fd, at);
}

long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    long result = __real_syscall(number, a, b, c, d, e, f);
    if (number == SYS_membarrier) kernel_membarrier |= UINT64_C(1) << a;
    if (number == SYS_membarrier && result != 0) kernel_refused |= UINT64_C(1) << a;
    if (number == 427) kernel_register++; /* io_uring_register on every machine */
    return result;
}

int __wrap_fallocate(int fd, int mode, off_t at, off_t size)
{
    kernel_punch |= UINT64_C(1) << mode;
    return __real_fallocate(fd, mode, at, size);
}

int __wrap_open(const char *path, int flags, ...)
{
    const int careful = O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
    va_list   more;
    int       mode = 0;

    if (flags & O_CREAT) {
        va_start(more, flags);
        mode = va_arg(more, int);
        va_end(more);
    }
    kernel_careful_opens += (flags & careful) == careful;
    return __real_open(path, flags, mode);
}

int __wrap_fcntl(int fd, int command, void *argument)
{
    if (command < 64) kernel_lock |= UINT64_C(1) << command;
    return __real_fcntl(fd, command, argument);
}

off_t __wrap_lseek(int fd, off_t at, int whence)
{
    kernel_seek |= UINT64_C(1) << whence;
    return __real_lseek(fd, at, whence);
}

int __wrap_fsync(int fd)
{
    kernel_fsync++;
    return __real_fsync(fd);
}
