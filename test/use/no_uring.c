/* no_uring COMMAND ARGUMENTS... - runs the command as on a kernel without io_uring.
 *
 * Goal: what uses an io_uring where there is one can be tested where there is none.
 * Method: a seccomp filter, which the command inherits, answers the three system calls with ENOSYS.
 * The exit status is the command's; 125: no filter is possible here; 127: no such command.
 */
#define _GNU_SOURCE

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { SETUP = 425, REGISTER = 427 }; /* io_uring_enter is between them */

static struct sock_filter program[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, SETUP, 0, 2),
    BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, REGISTER, 1, 0),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};

int main(int argc, char **argv)
{
    struct sock_fprog filter = {sizeof program / sizeof *program, program};

    if (argc < 2) {
        fputs("usage: no_uring COMMAND ARGUMENTS...\n", stderr);
        return 125;
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) != 0) {
        perror("no_uring: seccomp");
        return 125;
    }
    execvp(argv[1], argv + 1);
    perror(argv[1]);
    return 127;
}
