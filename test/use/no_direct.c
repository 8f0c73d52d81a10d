/* no_direct COMMAND ARGUMENTS... - runs the command as on a file system without O_DIRECT.
 *
 * Goal: the fall-back to the page cache can be tested on any file system.
 * Method: a seccomp filter, which the command inherits, answers fcntl(fd, F_SETFL, O_DIRECT) with
 * EINVAL. The exit status is the command's; 125: no filter is possible here; 127: no such command.
 */
#define _GNU_SOURCE

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef SYS_fcntl64 /* what a 32-bit libc calls */
#define FCNTL SYS_fcntl64
#else
#define FCNTL SYS_fcntl
#endif

/* The lower half of the argument. */
#define ARGUMENT(n) (offsetof(struct seccomp_data, args[n]) + 4 * (BYTE_ORDER == BIG_ENDIAN))

static struct sock_filter program[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FCNTL, 0, 5),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ARGUMENT(1)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, F_SETFL, 0, 3),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ARGUMENT(2)),
    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_DIRECT, 0, 1),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};

int main(int argc, char **argv)
{
    struct sock_fprog filter = {sizeof program / sizeof *program, program};

    if (argc < 2) {
        fputs("usage: no_direct COMMAND ARGUMENTS...\n", stderr);
        return 125;
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) != 0) {
        perror("no_direct: seccomp");
        return 125;
    }
    execvp(argv[1], argv + 1);
    perror(argv[1]);
    return 127;
}
