/* metrics.c - figures of the server: for INFO, and over HTTP as OpenMetrics text.
 *
 * The HTTP side is a thread of its own on 127.0.0.1. It serves one request at a time, and reads
 * only counts that are atomic and the accounts of the bufpool, which any thread may ask for: it
 * delays no command. */
#include "kv.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATIENCE_MS = 1000, REQUEST_ROOM = 2048 };

struct figure {
    const char *name, *help;
    uint64_t    value;
    bool        counts; /* a counter; else a gauge */
};
enum { FIGURES = 21 };

static uint64_t resident(void)
{
    unsigned long pages = 0;
    FILE         *file  = fopen("/proc/self/statm", "r");
    if (!file) return 0;
    if (fscanf(file, "%*u %lu", &pages) != 1) pages = 0;
    fclose(file);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void figures(const struct server *of, struct figure figures[FIGURES])
{
    const struct plane_counts *c = &of->data.counts;
/* relaxed: each figure by itself; a stale one is a moment old. */
#define NOW(count) atomic_load_explicit(&(count), memory_order_relaxed)
    const struct figure all[FIGURES] = {
        {"keys", "Keys, in memory or in the file.", NOW(c->keys), false},
        {"payload_bytes", "Bytes of keys, values and heads in memory.", NOW(c->payload), false},
        {"held_bytes", "Bytes that the store has mapped.", NOW(c->held), false},
        {"index_bytes", "Bytes of the index.", NOW(c->index), false},
        {"resident_bytes", "Bytes of the process in memory.", resident(), false},
        {"filed_values", "Values in the file.", NOW(c->filed), false},
        {"file_bytes", "Bytes of the file.", NOW(c->file_bytes), false},
        {"file_full", "1 if the file takes no more.", NOW(c->file_full), false},
        {"connected_clients", "Connections.", NOW(of->clients), false},
        {"connections", "Connections since the start.", NOW(of->connections), true},
        {"commands", "Commands since the start.", NOW(of->commands), true},
        {"keyspace_hits", "Reads that found a key.", NOW(c->hits), true},
        {"keyspace_misses", "Reads that found none.", NOW(c->misses), true},
        {"evicted", "Values that left memory.", NOW(c->evicted), true},
        {"evicted_most", "Values looked at to make room for one write, at most.",
         NOW(c->evicted_most), false},
        {"refitted", "How often the tiers were fitted to the sizes.", NOW(c->refitted), true},
        {"refused", "Writes that found no room in memory.", NOW(c->refused), true},
        {"spilled", "Values written to the file when evicted.", NOW(c->spilled), true},
        {"restored", "Values brought back to memory.", NOW(c->restored), true},
        {"recovered", "Values found in the file at the start.", NOW(c->recovered), true},
        {"expired", "Keys whose time was over.", NOW(c->expired), true},
    };
#undef NOW
    memcpy(figures, all, sizeof all);
}

static void line(struct sink *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void line(struct sink *out, const char *format, ...)
{
    va_list        list;
    unsigned char *at = sink_room(out, 256);
    if (!at) return;
    va_start(list, format);
    out->len += (size_t)vsnprintf((char *)at, 256, format, list);
    va_end(list);
}

/* What each account holds in buffers at this moment. */
static void tenants_write(struct sink *out, const bufpool *pool)
{
    static const char family[] = "buffer_pool_tenant_live_bytes{tenant_id=\"";
    size_t            size     = bufpool_metrics(pool, NULL, 0) + 4096;
    char             *all      = malloc(size);

    if (all && bufpool_metrics(pool, all, size) < size)
        for (char *at = all; (at = strstr(at, family)); at++) {
            at += sizeof family - 1;
            int name = (int)strcspn(at, "\"");
            line(out, "%.*s:%llu\r\n", name < 64 ? name : 64, at,
                 strtoull(at + name + 3, NULL, 10));
        }
    free(all);
}

/* The names that clients of Redis look for come first. */
void info_write(struct sink *out, const struct server *of)
{
    struct figure all[FIGURES];
    figures(of, all);
    line(out, "# Server\r\nredis_version:7.0.0\r\nredis_mode:standalone\r\n"
              "server_name:kv-server\r\nprocess_id:%ld\r\ntcp_port:%d\r\n"
              "uptime_in_seconds:%" PRIu64 "\r\nio:%s\r\n",
         (long)getpid(), of->port, (clock_ms() - of->started) / 1000, io_name(&of->loop));
    line(out, "planes:%u\r\ndurable:%d\r\n# Memory\r\nused_memory:%" PRIu64
              "\r\nused_memory_rss:%" PRIu64 "\r\nmaxmemory:%zu\r\n# Figures\r\n",
         of->planes, of->plane.durable, all[2].value + all[3].value, all[4].value,
         of->plane.memory);
    for (size_t i = 0; i < FIGURES; i++) line(out, "%s:%" PRIu64 "\r\n", all[i].name, all[i].value);
    line(out, "# Keyspace\r\n");
    for (int k = 0; k < KEYSPACES; k++)
        if (of->data.keys[k] > 0)
            line(out, "db%d:keys=%zu,expires=0,avg_ttl=0\r\n", k, of->data.keys[k]);
    line(out, "# Tenants\r\n");
    tenants_write(out, of->buffers);
}

/* Writes all figures, and the accounts of the tenants. Returns the length of the whole. */
static size_t text(const struct server *of, char *at, size_t room)
{
    struct figure all[FIGURES];
    size_t        len = 0;
    figures(of, all);
    for (size_t i = 0; i < FIGURES; i++) {
        int n = snprintf(len < room ? at + len : NULL, len < room ? room - len : 0,
                         "# TYPE kv_%s %s\n# HELP kv_%s %s\nkv_%s%s %" PRIu64 "\n", all[i].name,
                         all[i].counts ? "counter" : "gauge", all[i].name, all[i].help,
                         all[i].name, all[i].counts ? "_total" : "", all[i].value);
        len += (size_t)n;
    }
    return len + bufpool_metrics(of->buffers, len < room ? at + len : NULL,
                                 len < room ? room - len : 0); /* it ends with "# EOF" */
}

/* -- HTTP -- */

static int       listener = -1, stop = -1;
static pthread_t thread;

static void send_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n <= 0) return;
        data += n, len -= (size_t)n;
    }
}

static void serve(int fd)
{
    static const struct timeval patience = {PATIENCE_MS / 1000, 0};
    char                        request[REQUEST_ROOM], head[256];
    size_t                      len = 0, size = 0;
    char                       *body = NULL;

    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    do {
        ssize_t n = recv(fd, request + len, sizeof request - 1 - len, 0);
        if (n <= 0) return;
        len += (size_t)n;
        request[len] = 0;
    } while (!strstr(request, "\r\n\r\n") && len < sizeof request - 1);
    bool good = strncmp(request, "GET /metrics ", 13) == 0;
    for (size_t need = 1; good && need > size;) { /* accounts may come in between */
        size       = need + 4096;
        char *more = realloc(body, size);
        if (!more) break;
        body = more;
        need = text(&server, body, size);
        len  = need;
    }
    if (!good || !body) len = 0;
    int n = snprintf(head, sizeof head,
                     "HTTP/1.0 %s\r\nContent-Type: " BUFPOOL_METRICS_TYPE
                     "\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
                     good ? "200 OK" : "404 Not Found", len);
    send_all(fd, head, (size_t)n);
    if (body) send_all(fd, body, len);
    free(body);
}

static void *work(void *unused)
{
    struct pollfd fds[2] = {{.fd = listener, .events = POLLIN}, {.fd = stop, .events = POLLIN}};
    while (poll(fds, 2, -1) >= 0 && !fds[1].revents) {
        int fd = fds[0].revents ? accept4(listener, NULL, NULL, SOCK_CLOEXEC) : -1;
        if (fd < 0) continue;
        serve(fd);
        close(fd);
    }
    return unused;
}

int metrics_open(struct server *of)
{
    if (of->metrics_port < 0) return 0;
    listener = listen_on(of->metrics_port);
    stop     = eventfd(0, EFD_CLOEXEC);
    if (listener < 0 || stop < 0) return -errno;
    return -pthread_create(&thread, NULL, work, NULL);
}

void metrics_close(void)
{
    if (stop < 0) return;
    (void)eventfd_write(stop, 1);
    (void)pthread_join(thread, NULL);
    close(listener), close(stop);
}
