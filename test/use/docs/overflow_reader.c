/* An owner, and a child that reads. */
#define OVERFLOW_IMPLEMENTATION
#include "overflow.h"
#include <stdio.h>

#include <sys/wait.h>

BLOCK

int main(void)
{
    overflow_config  config = {1 << 20, 1 << 20, OVERFLOW_TEMPORARY};
    overflow_region *region;
    overflow_ref     ref;
    int              status;
    if (overflow_open(&region, "read.region", &config) != 0) return 1;
    if (overflow_write(region, "hello", 5, 0, &ref) != 0) return 1;
    pid_t pid = fork();
    if (pid == 0) {
        int error = print_value("read.region", ref);
        fflush(stdout);
        _exit(error != 0);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) return 1;
    overflow_free(region, ref);
    return print_value("read.region", ref) != -ESTALE || overflow_close(region);
}
