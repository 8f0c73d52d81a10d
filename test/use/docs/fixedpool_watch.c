/* A pool of 1, whose frame is freed by what the event loop serves. */
#define FIXEDPOOL_IMPLEMENTATION
#include "fixedpool.h"
#include <poll.h>
#include <sys/eventfd.h>

static fixedpool *pool;
static int        held;

static void poll_and_serve(int fd)
{
    struct pollfd event = {.fd = fd, .events = POLLIN};
    uint64_t      value;

    if (held >= 0) fixedpool_free(pool, held);
    held = -1;
    if (poll(&event, 1, 5000) == 1 && read(fd, &value, sizeof value) == sizeof value) return;
    abort();
}

int main(void)
{
    fixedpool_config config = {.frame_count = 1};
    if (fixedpool_create(&pool, &config) != 0) return 1;
    held = fixedpool_alloc(pool);
    BLOCK
    if (next != 0 || fixedpool_free(pool, next) != 0) return 2;
    return fixedpool_destroy(pool);
}
