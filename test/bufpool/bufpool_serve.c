/* A server for prometheus_test.sh: a pool with something of everything in it, by HTTP, on a port of
 * the loopback that the kernel picks and the first line it prints names. It ends after a minute.
 *
 *   GET /metrics   what bufpool_metrics writes
 *   GET /stats     what the stats say: lines of a series, its label or -, the label's value in
 *                  hexadecimal or -, and the number; each tenant has his, folded or not
 *   GET /change    something of everything happens; then as /stats
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define BUFPOOL_IMPLEMENTATION
#include "../../bufpool.h"

#define BAD "\xef\xbf\xbd" /* U+FFFD, which stands before the hexadecimal digits of a bad byte */

enum { NAMED = 150, ORDINARY = 200, LONGEST = 255 };

/* A tenant, and how Prometheus should know it. */
struct named {
    bufpool_tenant *tenant;
    char            name[LONGEST], shown[5 * LONGEST];
    size_t          len, shown_len;
};

static bufpool       *pool;
static bufpool_cache *cache;
static struct named   tenants[300];
static size_t         tenant_count;
static bufpool_buf   *live[32];
static bufpool_view   view;

/* ---- What is in the pool ---- */

#define NAME(name, shown)                                \
    {                                                    \
        name, sizeof(name) - 1, shown, sizeof(shown) - 1 \
    }
static const struct {
    const char *name;
    size_t      len;
    const char *shown;
    size_t      shown_len;
} odd[] = {
    NAME("acme", "acme"),
    NAME("a \"quoted\" one", "a \"quoted\" one"),
    NAME("back\\slash", "back\\slash"),
    NAME("new\nline", "new\nline"),
    NAME("back\\\nboth\\n", "back\\\nboth\\n"),
    NAME("\"} 1\n# EOF\nbuffer_pool_live_bytes 1", "\"} 1\n# EOF\nbuffer_pool_live_bytes 1"),
    NAME("{a=\"b\",c='d'} # {}", "{a=\"b\",c='d'} # {}"),
    NAME(" ", " "),
    NAME("carriage\rreturn\r\n\t", "carriage\rreturn\r\n\t"),
    NAME("\x01\x1b\x7f", "\x01\x1b\x7f"),
    NAME("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"),
    NAME("\xf4\x8f\xbf\xbf\xed\x9f\xbf", "\xf4\x8f\xbf\xbf\xed\x9f\xbf"),
    NAME("zero\0", "zero" BAD "00"),
    NAME("zero\0\0", "zero" BAD "00" BAD "00"),
    NAME("\x80 alone", BAD "80 alone"),
    NAME("too long \xc0\xaf", "too long " BAD "c0" BAD "af"),
    NAME("too long \xe0\x80\xaf", "too long " BAD "e0" BAD "80" BAD "af"),
    NAME("surrogate \xed\xa0\x80", "surrogate " BAD "ed" BAD "a0" BAD "80"),
    NAME("too high \xf4\x90\x80\x80", "too high " BAD "f4" BAD "90" BAD "80" BAD "80"),
    NAME("cut off \xf0\x9f\x98", "cut off " BAD "f0" BAD "9f" BAD "98"),
    NAME("cut off \xe2\x82\"", "cut off " BAD "e2" BAD "82\""),
    NAME("never \xfe", "never " BAD "fe"),
    NAME("never \xff", "never " BAD "ff"),
    NAME("never " BAD "ff", "never " BAD "ef" BAD "bf" BAD "bdff"),
};
enum { ODD = sizeof odd / sizeof *odd };

static bufpool_tenant *add(const char *name, size_t len, const char *shown, size_t shown_len)
{
    struct named *it = &tenants[tenant_count++];

    it->tenant = bufpool_tenant_get(pool, name, len);
    if (!it->tenant) exit(1);
    memcpy(it->name, name, len);
    memcpy(it->shown, shown, shown_len);
    it->len       = len;
    it->shown_len = shown_len;
    return it->tenant;
}

static void add_long(char byte, const char *shown)
{
    char   name[LONGEST], all[5 * LONGEST];
    size_t len = strlen(shown);

    memset(name, byte, LONGEST);
    for (size_t i = 0; i < LONGEST; i++) memcpy(all + i * len, shown, len);
    add(name, LONGEST, all, LONGEST * len);
}

static bufpool_buf *get(size_t size, size_t tenant)
{
    bufpool_buf *buf = tenant % 2 ? bufpool_acquire(pool, size, tenants[tenant].tenant)
                                  : bufpool_cache_acquire(cache, size, tenants[tenant].tenant);
    if (!buf) exit(1);
    return buf;
}

static void fill(void)
{
    static const size_t sizes[] = {1, 4096, 5000, 65536, 70000, 1048577, 10485761, 0};
    bufpool_config      config  = {.tenant_soft_limit = 1000000, .tenant_max = NAMED};

    if (bufpool_create(&pool, &config) != 0) exit(1);
    cache = bufpool_cache_open(pool);
    if (!cache) exit(1);
    for (size_t i = 0; i < ODD; i++) add(odd[i].name, odd[i].len, odd[i].shown, odd[i].shown_len);
    add_long('x', "x");
    add_long('"', "\"");
    add_long('\n', "\n");
    add_long('\xff', BAD "ff");
    for (int i = 0; i < ORDINARY; i++) {
        char name[32];
        int  len = snprintf(name, sizeof name, "tenant-%d", i);
        add(name, (size_t)len, name, (size_t)len);
    }
    add("__other__", 9, "__other__", 9);
    for (size_t i = 0; i < 32; i++) live[i] = get(sizes[i % 8], i * 5);
    for (size_t i = 0; i < 24; i++) bufpool_release(get(sizes[i % 5], i));
    for (size_t i = 0; i < tenant_count; i++) bufpool_charge(tenants[i].tenant, i * i * 100);
    bufpool_charge(tenants[1].tenant, UINT64_C(4503599627370497)); /* all its digits matter */
    bufpool_tenant_limit(tenants[2].tenant, 1);
    bufpool_charge(tenants[2].tenant, 7);
    bufpool_discharge(tenants[3].tenant, UINT64_MAX);
    bufpool_view_of(live[3], 0, 1, &view);
    bufpool_buf *stale = get(1, 0);
    bufpool_release(stale);
    bufpool_release(stale);
}

static void change(void)
{
    for (size_t i = 0; i < 32; i += 3) bufpool_release(live[i]); /* the view keeps the fourth */
    for (size_t i = 0; i < 32; i += 3) live[i] = get(i * 40000, i * 7);
    for (size_t i = 0; i < tenant_count; i += 2) bufpool_charge(tenants[i].tenant, 1000000);
    for (size_t i = 1; i < tenant_count; i += 4) bufpool_discharge(tenants[i].tenant, 100);
    add("newcomer", 8, "newcomer", 8);
    bufpool_charge(tenants[tenant_count - 1].tenant, 2000000);
    bufpool_trim(pool, 65536);
}

/* ---- What it tells ---- */

struct answer {
    char  *text;
    size_t len, room;
};

static void say(struct answer *answer, const char *format, ...)
{
    va_list list;

    va_start(list, format);
    int len = vsnprintf(answer->text + answer->len, answer->room - answer->len, format, list);
    va_end(list);
    answer->len += (size_t)len;
    if (answer->len >= answer->room) exit(1);
}

static void line(struct answer *answer, const char *name, const char *label, const char *value,
                 size_t len, uint64_t number)
{
    say(answer, "buffer_pool_%s %s ", name, label);
    for (size_t i = 0; i < len; i++) say(answer, "%02x", (unsigned char)value[i]);
    say(answer, "%s %llu\n", len ? "" : "-", (unsigned long long)number);
}

static void stats(struct answer *answer)
{
    struct bufpool_info        info;
    struct bufpool_tenant_info of;

    bufpool_stats(pool, &info);
    for (int i = 0; i < BUFPOOL_CLASSES; i++) {
        const char *slug = bufpool_class_slug((bufpool_class)i);
        size_t      len  = strlen(slug);
        line(answer, "hits_total", "class", slug, len, info.hits[i]);
        line(answer, "misses_total", "class", slug, len, info.misses[i]);
        line(answer, "idle_bytes", "class", slug, len,
             info.idle_buffers[i] * bufpool_class_capacity((bufpool_class)i));
    }
    line(answer, "oversize_allocations_total", "-", "", 0, info.oversize);
    line(answer, "live_bytes", "-", "", 0, info.live_bytes);
    line(answer, "live_buffers", "-", "", 0, info.live_buffers);
    line(answer, "capacity_bytes", "-", "", 0, info.capacity_bytes);
    line(answer, "tenants", "-", "", 0, info.tenants);
    line(answer, "underflows_total", "-", "", 0, info.underflows);
    for (struct named *it = tenants; it < tenants + tenant_count; it++) {
        bufpool_tenant_stats(it->tenant, &of);
        line(answer, "tenant_live_bytes", "tenant_id", it->shown, it->shown_len, of.live_bytes);
        line(answer, "tenant_soft_limit_bytes", "tenant_id", it->shown, it->shown_len,
             of.soft_limit_bytes);
        line(answer, "tenant_cap_bytes", "tenant_id", it->shown, it->shown_len, of.cap_bytes);
        line(answer, "tenant_peak_bytes", "tenant_id", it->shown, it->shown_len, of.peak_bytes);
        line(answer, "soft_limit_exceeded_total", "tenant_id", it->shown, it->shown_len,
             of.soft_limit_exceeded);
    }
}

/* ---- HTTP ---- */

static bool asks(const char *request, const char *path)
{
    size_t len = strlen(path);
    return strncmp(request, "GET ", 4) == 0 && strncmp(request + 4, path, len) == 0 &&
           request[4 + len] == ' ';
}

static void send_all(int peer, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t sent = send(peer, bytes, len, MSG_NOSIGNAL);
        if (sent <= 0) return;
        bytes += sent;
        len -= (size_t)sent;
    }
}

static void serve(int peer, struct answer *answer)
{
    char        request[8192] = "", head[256];
    size_t      len           = 0;
    const char *type = "text/plain; charset=utf-8", *status = "200 OK";

    while (!strstr(request, "\r\n\r\n")) {
        ssize_t got = recv(peer, request + len, sizeof request - 1 - len, 0);
        if (got <= 0) return;
        len += (size_t)got;
        request[len] = 0;
    }
    answer->len = 0;
    if (asks(request, "/metrics")) {
        type        = BUFPOOL_METRICS_TYPE;
        answer->len = bufpool_metrics(pool, answer->text, answer->room);
        if (answer->len >= answer->room) exit(1);
    } else if (asks(request, "/stats")) {
        stats(answer);
    } else if (asks(request, "/change")) {
        change();
        stats(answer);
    } else {
        status = "404 Not Found";
    }
    int size = snprintf(head, sizeof head,
                        "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                        "Connection: close\r\n\r\n",
                        status, type, answer->len);
    send_all(peer, head, (size_t)size);
    send_all(peer, answer->text, answer->len);
}

int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t          size    = sizeof address;
    struct timeval     patience = {.tv_sec = 2};
    struct answer      answer   = {.room = 1 << 22};
    int                door     = socket(AF_INET, SOCK_STREAM, 0);

    alarm(60);
    fill();
    answer.text = malloc(answer.room);
    if (!answer.text || door < 0 || bind(door, (struct sockaddr *)&address, size) != 0 ||
        listen(door, 16) != 0 || getsockname(door, (struct sockaddr *)&address, &size) != 0) {
        perror("bufpool_serve");
        return 1;
    }
    printf("port %d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        int peer = accept(door, NULL, NULL);
        if (peer < 0) continue;
        setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        setsockopt(peer, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
        serve(peer, &answer);
        close(peer);
    }
}
