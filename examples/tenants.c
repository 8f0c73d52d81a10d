/* tenants PORT - an HTTP server on loopback that keeps values in memory, with a bill per tenant.
 *
 * Shows: PUT (or POST) receives a value into a buffer, on the account of its tenant. The table, and
 * each answer to GET, has a view of the buffer, without a copy. Any thread may drop the last view,
 * and that takes the bytes off the bill. After Ctrl-C every account must be at zero.
 *     cc -std=c11 -O2 -I. -pthread examples/tenants.c -o tenants && ./tenants 8080   # 0: any port
 *     curl -T photo.jpg localhost:8080/acme/photo && curl localhost:8080/bill    # or /metrics */
#define _GNU_SOURCE 1 /* fdopen, sockets, strncasecmp */
#define BUFPOOL_IMPLEMENTATION
#include "bufpool.h" /* and with it errno.h, stdatomic.h, string.h, unistd.h ... */
#include <arpa/inet.h>
#include <err.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#define LIVE "\nbuffer_pool_tenant_live_bytes{tenant_id=\"" /* begins a line of the metrics */
enum { THREADS = 8, VALUES = 1000, VALUE_MAX = 8 << 20, PATH = 256, LINE = 1024, PATIENCE_S = 5 };
enum method { GET, DELETE, PUT, POST, OTHER };

static struct value { char path[PATH]; bufpool_view view; } values[VALUES]; /* free: path is "" */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;                    /* of the values */
static bufpool        *pool;
static atomic_int      listener, stopping;

static void stop(int number)
{
    stopping = number; /* accept, and each call on a client, ends now or when it is called */
    for (int fd = listener; fd <= listener + 2 * THREADS; fd++) (void)shutdown(fd, SHUT_RDWR);
}

/* GET makes a view of the path's value; PUT and DELETE exchange its view with *view. */
static bool find(enum method method, const char *path, bufpool_view *view)
{
    struct value *found = NULL;
    pthread_mutex_lock(&lock);
    for (struct value *at = values; at < values + VALUES; at++)
        if (!strcmp(at->path, path) || (method == PUT && !found && !*at->path)) found = at;
    if (found && method == GET) bufpool_view_cut(&found->view, 0, found->view.len, view);
    else if (found) {
        bufpool_view old = found->view;
        found->view = *view, *view = old;
        strcpy(found->path, method == PUT ? path : "");
    }
    pthread_mutex_unlock(&lock);
    return found != NULL;
}

static const char *receive(FILE *in, const char *path, size_t size)
{
    bufpool_tenant *tenant = bufpool_tenant_get(pool, path + 1, strcspn(path + 1, "/"));
    bufpool_buf    *buf    = tenant ? bufpool_acquire(pool, size, tenant) : NULL;
    bufpool_view    view   = {0};
    if (!buf || bufpool_view_of(buf, 0, size, &view) != 0) return "507 Insufficient Storage";
    bool whole = fread(bufpool_data(buf), 1, size, in) == size;
    bool kept  = whole && find(PUT, path, &view);
    if (view.buf) bufpool_view_drop(&view); /* what was there before, or what is not kept */
    bufpool_release(buf);
    return kept ? "201 Created" : whole ? "507 Insufficient Storage" : "400 Bad Request";
}

static void report(bool bill, bufpool_view *view) /* the metrics; or a line of them per tenant */
{
    size_t       size = bufpool_metrics(pool, NULL, 0) + 64 * LINE, len; /* there may be more now */
    bufpool_buf *buf  = bufpool_acquire(pool, size, NULL);
    char        *text = bufpool_data(buf), *at = text, name[PATH], bytes[16];
    if (!buf) return;
    len = bufpool_metrics(pool, text, size);
    for (len = bill ? 0 : len; bill && (at = strstr(at, LIVE)) != NULL; at++)
        if (sscanf(at, LIVE "%255[^\"]\"} %15s", name, bytes) == 2)
            len += (size_t)sprintf(text + len, "%s %s\n", name, bytes); /* ends before `at` */
    if (len < size) bufpool_view_of(buf, 0, len, view);
    bufpool_release(buf);
}

static const char *handle(FILE *in, bufpool_view *view) /* the status, and what is to be sent */
{
    static const char *const verbs[] = {"GET", "DELETE", "PUT", "POST"};
    char                     line[LINE], verb[8], path[PATH], after[2];
    enum method              method = GET;
    long                     size   = -1;
    if (!fgets(line, LINE, in)) return "408 Request Timeout";
    bool good = sscanf(line, "%7s %255[A-Za-z0-9._~/-] HTTP/1.%1[01]", verb, path, after) == 3;
    while (fgets(line, LINE, in) && strspn(line, "\r\n") == 0)
        if (strncasecmp(line, "Content-Length:", 15) == 0)
            good = good && sscanf(line + 15, "%9ld%1[\r\n]", &size, after) == 2;
    while (good && method < OTHER && strcmp(verb, verbs[method]) != 0) method++;
    bool put = method == PUT || method == POST;
    if (!good || feof(in) || method == OTHER || (put && size < 0)) return "400 Bad Request";
    if (size > VALUE_MAX) return "413 Content Too Large";
    bool bill = strcmp(path, "/bill") == 0, metrics = strcmp(path, "/metrics") == 0;
    if (method == GET && (bill || metrics)) report(bill, view);
    else if (sscanf(path, "/%*[^/]/%1s", after) != 1) return "404 Not Found";
    else if (put) return receive(in, path, (size_t)size);
    else find(method, path, view);
    if (!view->buf) return "404 Not Found";
    return metrics ? "200 OK\r\nContent-Type: " BUFPOOL_METRICS_TYPE : "200 OK";
}

static void *serve(void *unused)
{
    for (int client; !stopping;) {
        if ((client = accept(listener, NULL, NULL)) < 0) continue;
        FILE *in = fdopen(client, "r"), *out = fdopen(dup(client), "w");
        if (!in || !out) err(1, "client");
        bufpool_view view   = {0};
        const char  *status = handle(in, &view);
        size_t       len    = view.buf ? view.len : strlen(status);
        fprintf(out, "HTTP/1.0 %s\r\nContent-Length: %zu\r\n\r\n", status, len);
        fwrite(view.buf ? view.data : (const void *)status, 1, len, out);
        if (view.buf) bufpool_view_drop(&view);
        fclose(out), (void)shutdown(client, SHUT_WR);
        while (getc(in) != EOF) continue; /* a client that still sends might not see the answer */
        fclose(in);
    }
    return unused;
}

int main(int argc, char **argv)
{
    struct sockaddr_in  addr   = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval      wait = {PATIENCE_S, 0};
    struct bufpool_info info;
    socklen_t           size = sizeof addr;
    pthread_t           threads[THREADS];
    int                 port = -1, on = 1;
    char                after;
    if (argc != 2 || sscanf(argv[1], "%d%c", &port, &after) != 1 || port < 0 || port > UINT16_MAX)
        errx(2, "usage: tenants PORT (0 to 65535)");
    addr.sin_port = htons((uint16_t)port);
    listener    = socket(AF_INET, SOCK_STREAM, 0);
    if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) != 0 || /* of clients */
        setsockopt(listener, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait) != 0 ||
        bind(listener, (struct sockaddr *)&addr, size) != 0 || listen(listener, 64) != 0 ||
        getsockname(listener, (struct sockaddr *)&addr, &size) != 0)
        err(1, "127.0.0.1:%d", port);
    if (bufpool_create(&pool, NULL) != 0) errx(1, "no memory");
    signal(SIGINT, stop), signal(SIGTERM, stop), signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, serve, NULL) != 0) errx(1, "no threads");
    if (dprintf(1, "http://127.0.0.1:%d\n", ntohs(addr.sin_port)) < 0) err(1, "stdout");
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    for (struct value *at = values; at < values + VALUES; at++)
        if (*at->path) bufpool_view_drop(&at->view);
    bufpool_stats(pool, &info);
    printf("%d tenants owe %lld bytes\n", (int)info.tenants, (long long)info.live_bytes);
    if (info.live_bytes != 0 || bufpool_destroy(pool) != 0) errx(1, "an account is not at zero");
    return 0;
}
