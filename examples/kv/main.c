/* main.c - kv-server: a key-value server for RESP2 clients, out of four allocators.
 *
 *     make build/kv-server && build/kv-server --memory 64m --spill /tmp/values
 *
 * One thread does everything: it waits for what the sockets have, runs the commands of that batch
 * on its data plane, syncs the file where that is asked for, and only then sends the replies.
 * docs/kv.md explains the design. */
#include "kv.h"

#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { TICK_MS = 100, DRAIN_MS = 5000, SPARE_FILES = 32, BACKLOG = 1024, PORT = 6379,
       IDLE_BYTES = 4 << 20 };

struct server server = {.port = PORT, .metrics_port = -1, .sync = 1, .planes = 1,
                        .plane = {.spill_max = (size_t)1 << 30, .planes = 1}};

uint64_t clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Listens on 127.0.0.1. Returns the socket, or -1 and errno. */
int listen_on(int port)
{
    static const int   yes     = 1;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port   = htons((uint16_t)port),
                                  .sin_addr   = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static int port_of(int fd)
{
    struct sockaddr_in address;
    socklen_t          len = sizeof address;
    return getsockname(fd, (struct sockaddr *)&address, &len) == 0 ? ntohs(address.sin_port) : -1;
}

/* -- Arguments -- */

static const char usage[] =
    "usage: kv-server [--port N] [--memory BYTES] [--spill FILE] [--spill-max BYTES] [--durable]\n"
    "                 [--sync SECONDS] [--cap [ACCOUNT=]BYTES]... [--planes N]\n"
    "                 [--io-threads N] [--no-ring] [--metrics-port N]\n"
    "A key-value server on 127.0.0.1 for clients of Redis. BYTES may end in k, m or g.\n"
    "  --port N           default 6379; 0: any free port\n"
    "  --memory BYTES     of values and index; beyond it values are evicted; default: no limit\n"
    "  --spill FILE       evicted values go to this file, and are served from it\n"
    "  --spill-max BYTES  of the file; default 1g\n"
    "  --durable          each write is in the file before it is acknowledged\n"
    "  --sync SECONDS     from one sync of the file to the next; 0: after each batch; default 1\n"
    "  --cap BYTES        of requests and replies that an account may hold; ACCOUNT=BYTES: only\n"
    "                     that one, db0 to db15 or the name given to AUTH; default: no limit\n"
    "  --planes N         only 1 is possible: the thread that does everything\n"
    "  --io-threads N     only 0 is possible\n"
    "  --no-ring          epoll, not io_uring\n"
    "  --metrics-port N   OpenMetrics text at http://127.0.0.1:N/metrics; 0: any free port\n";

static _Noreturn void wrong(const char *option, const char *why)
{
    fprintf(stderr, "kv-server: --%s %s: %s\n", option, optarg, why);
    exit(2);
}

static size_t bytes_of(const char *option, size_t least)
{
    static const char units[] = "kmg";
    char             *end     = NULL;
    unsigned          shift   = 0;

    errno                     = 0;
    unsigned long long number = *optarg >= '0' && *optarg <= '9' ? strtoull(optarg, &end, 10) : 0;
    if (!end || errno) wrong(option, "not a number of bytes");
    if (*end) {
        const char *unit = strchr(units, *end | 0x20);
        if (!unit || end[1]) wrong(option, "not a number of bytes");
        shift = 10 * (unsigned)(unit - units + 1);
    }
    if (number > (SIZE_MAX >> 1) >> shift) wrong(option, "too large");
    if (number << shift < least) wrong(option, "too small");
    return (size_t)number << shift;
}

/* --cap [ACCOUNT=]BYTES. */
static void add_cap(void)
{
    struct cap cap = {0};
    char      *end = strrchr(optarg, '=');

    if (end == optarg || (end && end - optarg > 255)) wrong("cap", "not a name of an account");
    if (server.cap_count == CAPS) wrong("cap", "too many");
    if (end) cap.account = optarg, cap.account_len = (size_t)(end - optarg), optarg = end + 1;
    cap.bytes = bytes_of("cap", 1);
    server.caps[server.cap_count++] = cap;
}

static int number_of(const char *option, long least, long most)
{
    char *end;
    errno       = 0;
    long number = strtol(optarg, &end, 10);
    if (!*optarg || *end || errno || number < least || number > most) wrong(option, "out of range");
    return (int)number;
}

static void parse(int argc, char **argv)
{
    enum { ANY = 256, MEMORY, SPILL, SPILL_MAX, DURABLE, SYNC, CAP, PLANES, IO, NO_RING, METRICS,
           HELP };
    static const struct option options[] = {
        {"port", 1, NULL, ANY},          {"memory", 1, NULL, MEMORY}, {"spill", 1, NULL, SPILL},
        {"spill-max", 1, NULL, SPILL_MAX}, {"durable", 0, NULL, DURABLE}, {"sync", 1, NULL, SYNC},
        {"cap", 1, NULL, CAP},           {"planes", 1, NULL, PLANES}, {"io-threads", 1, NULL, IO},
        {"no-ring", 0, NULL, NO_RING},   {"metrics-port", 1, NULL, METRICS},
        {"help", 0, NULL, HELP},         {NULL, 0, NULL, 0}};
    char *end;

    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == ANY) server.port = number_of("port", 0, 65535);
        else if (option == MEMORY) server.plane.memory = bytes_of("memory", 1 << 20);
        else if (option == SPILL) server.plane.spill = optarg;
        else if (option == SPILL_MAX) server.plane.spill_max = bytes_of("spill-max", 1 << 20);
        else if (option == DURABLE) server.plane.durable = true;
        else if (option == SYNC) {
            server.sync = strtod(optarg, &end);
            if (!*optarg || *end || !(server.sync >= 0 && server.sync <= 86400))
                wrong("sync", "not a number of seconds");
        } else if (option == CAP) add_cap();
        else if (option == PLANES) {
            if (number_of("planes", 1, 64) != 1) wrong("planes", "only 1 is supported");
        } else if (option == IO) {
            if (number_of("io-threads", 0, 64) != 0) wrong("io-threads", "only 0 is supported");
        } else if (option == NO_RING) server.no_ring = true;
        else if (option == METRICS) server.metrics_port = number_of("metrics-port", 0, 65535);
        else {
            fputs(usage, option == HELP ? stdout : stderr);
            exit(option == HELP ? 0 : 2);
        }
    }
    if (optind < argc || (server.plane.durable && !server.plane.spill)) {
        if (optind == argc) fputs("kv-server: --durable needs --spill FILE\n", stderr);
        else fputs(usage, stderr);
        exit(2);
    }
}

/* -- Work -- */

static void interrupt(int number)
{
    (void)number;
    atomic_store_explicit(&server.stop, true, memory_order_relaxed); /* the loop looks each tick */
}

static int fail(const char *what, int error)
{
    fprintf(stderr, "kv-server: %s: %s\n", what, strerror(-error));
    return error;
}

/* Syncs the file if it is time. A failure is final: acknowledged writes may not be on the disk. */
static int sync_file(uint64_t now)
{
    if (!server.plane.durable) return 0;
    if (server.sync > 0 && (double)(now - server.last_sync) < server.sync * 1000) return 0;
    server.last_sync = now;
    return spill_sync(&server.data.spill);
}

static int serve(void)
{
    struct loop *loop   = &server.loop;
    uint64_t     ticked = 0, ends = UINT64_MAX;
    int          error  = 0;

    while (!error && (ends == UINT64_MAX || (loop->clients && clock_ms() < ends))) {
        error = io_wait(loop, TICK_MS);
        if (error) return fail(io_name(loop), error);
        uint64_t now = server.data.now;
        if ((error = sync_file(now)) != 0) return fail(server.plane.spill, error);
        if (now - ticked >= TICK_MS) plane_tick(&server.data), ticked = now;
        if (server.stop && ends == UINT64_MAX) {
            ends = now + DRAIN_MS;
            io_stop_accepting(loop);
            loop_drain(loop);
        }
        loop_flush(loop);
    }
    return 0;
}

/* Allows as many connections as the system allows files. */
static uint32_t client_limit(void)
{
    struct rlimit files = {1024, 1024};
    (void)getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files);
    (void)getrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_cur > 1 << 20) return 1 << 20;
    return files.rlim_cur > SPARE_FILES * 2 ? (uint32_t)files.rlim_cur - SPARE_FILES : SPARE_FILES;
}

int main(int argc, char **argv)
{
    static const bufpool_config idle = {.idle_bytes = IDLE_BYTES}; /* or memory counts twice */
    struct sigaction on_signal = {.sa_handler = interrupt};

    parse(argc, argv);
    signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is an error of the write */
    signal(SIGPIPE, SIG_IGN);
    sigaction(SIGTERM, &on_signal, NULL);
    sigaction(SIGINT, &on_signal, NULL);
    server.started = server.last_sync = clock_ms();
    server.loop    = (struct loop){.plane = &server.data, .client_room = client_limit()};
    int error      = bufpool_create(&server.buffers, &idle);
    if (!error && !(server.cache = bufpool_cache_open(server.buffers))) error = -ENOMEM;
    if (error) return fail("buffers", error), 1;
    if (plane_open(&server.data, &server.plane) != 0) return 1;
    int listener = listen_on(server.port);
    if (listener < 0) return fail("--port", -errno), 1;
    server.port = port_of(listener);
    error       = io_open(&server.loop, listener, server.no_ring ? IO_EPOLL : IO_RING);
    if (error) return fail("io", error), 1;
    if ((error = metrics_open(&server)) != 0) return fail("--metrics-port", error), 1;
    printf("listening on 127.0.0.1:%d\n", server.port);
    fflush(stdout);

    error = serve();
    metrics_close();
    plane_close(&server.data);
    io_end(&server.loop);
    close(listener);
    bufpool_cache_close(server.cache);
    (void)bufpool_destroy(server.buffers);
    free(server.loop.request.args);
    return error != 0;
}
