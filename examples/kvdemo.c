/* kvdemo [--server PROGRAM] [--trace FILE] [DIR] - loads files into kv-server, reads them back
 * while others write, kills the server, starts it again, and verifies every byte each time.
 *
 *     make demo                     # DIR=/usr/include; DIR=... for another tree, TRACE=... for a
 *                                   # trace with lines "op key size ..."
 *
 * The server is durable and has a quarter of the memory that the values take: the others are in its
 * file. Two loaders write the values of the first 128 MiB of files, two readers read them in random
 * order, one writer all the while sets and deletes keys of its own and notes what was acknowledged.
 * kill -9 ends the server in the midst of that. After the restart each key must have the value that
 * was acknowledged; the one write that was under way may have happened or not. The last line counts
 * the values that were compared; the exit status is 1 if one was wrong, 2 for bad arguments. */
#define _GNU_SOURCE
#include <err.h>
#include <ftw.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    LOAD_MAX = 128 << 20, FILE_LIMIT = 16 << 20, MEMORY_LEAST = 1 << 20, WINDOW = 16, READERS = 2,
    OWN = 1024, OWN_LEAST = 5000, OWN_MAX = 2000, /* the writer: keys, writes, bytes of a value */
};

struct item {
    char          *key;
    unsigned char *data;
    size_t         len;
};
struct connection {
    int            fd;
    size_t         at, len; /* of what was received and not read yet */
    unsigned char *reply;   /* the last bulk reply */
    size_t         room;
    unsigned char  in[1 << 16];
};
struct worker {
    pthread_t thread;
    unsigned  number;
    uint32_t *times; /* ns of each request */
    size_t    count;
};

static struct item      *items;
static size_t            item_count, item_room, bytes;
static size_t            root_len;
static const char       *program = "build/kv-server";
static char              file[4096], memory[32], spill_max[32];
static pid_t             server;
static int               port;
static uint32_t          own[OWN]; /* the version of each value that was acknowledged; 0: none */
static uint32_t          under_way = OWN, under_way_state;
static _Atomic(uint64_t) verified, wrong, done, written;
static char             *half_way; /* INFO while the values are loaded */
static _Atomic(bool)     stop;

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void *need(void *memory_)
{
    if (!memory_) errx(1, "out of memory");
    return memory_;
}

/* -- What is loaded -- */

static void add(const char *key, unsigned char *data, size_t len)
{
    if (item_count == item_room) {
        item_room = item_room * 2 + 1024;
        items     = need(realloc(items, item_room * sizeof *items));
    }
    items[item_count++] = (struct item){need(strdup(key)), data, len};
    bytes += len;
}

static void noise(unsigned char *data, size_t len, uint64_t seed)
{
    for (size_t i = 0; i < len; i++) {
        seed    = seed * 6364136223846793005u + 1442695040888963407u;
        data[i] = (unsigned char)(seed >> 56);
    }
}

static int visit(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)where;
    if (kind != FTW_F || !S_ISREG(st->st_mode) || st->st_size > FILE_LIMIT) return 0;
    FILE *in = fopen(path, "rb");
    if (!in) return 0; /* not ours to read */
    unsigned char *data = need(malloc((size_t)st->st_size + 1));
    size_t         len  = fread(data, 1, (size_t)st->st_size, in);
    fclose(in);
    add(path + root_len, data, len);
    return bytes >= LOAD_MAX;
}

/* The keys of a trace, with the first size above 0 that it records for each. */
static void read_trace(const char *path)
{
    char     command[4200], line[256], name[32], op;
    size_t   gz = strlen(path), size, room = 0;
    uint64_t key;
    bool    *seen = NULL;

    snprintf(command, sizeof command, "gzip -dc '%s'", path);
    bool  packed = gz > 3 && strcmp(path + gz - 3, ".gz") == 0 && !strchr(path, '\'');
    FILE *in     = packed ? popen(command, "r") : fopen(path, "r");
    if (!in) err(2, "%s", path);
    while (bytes < LOAD_MAX && fgets(line, sizeof line, in)) {
        if (sscanf(line, " %c %lu %zu", &op, &key, &size) != 3) continue;
        if (size == 0 || size > FILE_LIMIT || key > 1 << 28) continue;
        if (key >= room) {
            size_t more = key * 2 + 1024;
            seen        = need(realloc(seen, more * sizeof *seen));
            memset(seen + room, 0, more - room);
            room = more;
        }
        if (seen[key]) continue;
        seen[key]           = true;
        unsigned char *data = need(malloc(size));
        noise(data, size, key);
        snprintf(name, sizeof name, "key:%lu", key);
        add(name, data, size);
    }
    free(seen);
    if (packed) pclose(in);
    else fclose(in);
}

/* -- The server -- */

static double start_server(void)
{
    double begun = seconds();
    int    out[2];
    char   line[128] = "";

    if (pipe(out) != 0) err(1, "pipe");
    server = fork();
    if (server < 0) err(1, "fork");
    if (server == 0) {
        dup2(out[1], STDOUT_FILENO);
        close(out[0]), close(out[1]);
        execl(program, "kv-server", "--port", "0", "--memory", memory, "--spill", file,
              "--spill-max", spill_max, "--durable", (char *)NULL);
        err(1, "%s", program);
    }
    close(out[1]);
    FILE *from = need(fdopen(out[0], "r"));
    while (fgets(line, sizeof line, from))
        if (sscanf(line, "listening on 127.0.0.1:%d", &port) == 1) break;
    fclose(from);
    if (strncmp(line, "listening", 9) != 0) errx(1, "%s did not start", program);
    return seconds() - begun;
}

/* Bytes of the server's memory that are its own: pages of its file do not count. */
static size_t resident(void)
{
    char   path[64], line[128];
    size_t kib = 0;
    snprintf(path, sizeof path, "/proc/%ld/status", (long)server);
    FILE *status = fopen(path, "r");
    while (status && fgets(line, sizeof line, status))
        if (sscanf(line, "RssAnon: %zu", &kib) == 1) break;
    if (status) fclose(status);
    return kib << 10;
}

/* -- A client -- */

static struct connection *dial(const char *account)
{
    static const int   yes     = 1;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port   = htons((uint16_t)port),
                                  .sin_addr   = {htonl(INADDR_LOOPBACK)}};
    struct connection *c       = need(calloc(1, sizeof *c));
    c->fd                      = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address) != 0)
        err(1, "connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    dprintf(c->fd, "AUTH %s\r\n", account);
    return c;
}

static void hang_up(struct connection *c)
{
    close(c->fd);
    free(c->reply);
    free(c);
}

static bool put(const struct connection *c, const void *data, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = send(c->fd, (const char *)data + at, len - at, MSG_NOSIGNAL);
        if (n <= 0) return false;
        at += (size_t)n;
    }
    return true;
}

static bool request(const struct connection *c, const char *verb, const char *key,
                    const unsigned char *data, size_t len)
{
    char head[4600];
    int  n = snprintf(head, sizeof head, "*%d\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n", data ? 3 : 2,
                      strlen(verb), verb, strlen(key), key);
    if (n < 0 || n > 4500) return false;
    if (!data) return put(c, head, (size_t)n);
    n += snprintf(head + n, sizeof head - (size_t)n, "$%zu\r\n", len);
    return put(c, head, (size_t)n) && put(c, data, len) && put(c, "\r\n", 2);
}

static int next_byte(struct connection *c)
{
    if (c->at == c->len) {
        ssize_t n = recv(c->fd, c->in, sizeof c->in, 0);
        if (n <= 0) return -1;
        c->at = 0, c->len = (size_t)n;
    }
    return c->in[c->at++];
}

/* Reads a reply. Returns its first character, or 0 if the connection is gone; a bulk reply is in
 * c->reply, and *len its length, -1 for nil. */
static char reply(struct connection *c, int64_t *len)
{
    char line[512] = "";
    int  byte;
    for (size_t i = 0; (byte = next_byte(c)) != '\n'; i++) {
        if (byte < 0) return 0;
        if (i < sizeof line - 1) line[i] = (char)byte;
    }
    *len = -1;
    if (*line != '$' || (*len = atoll(line + 1)) < 0) return *line;
    if (c->room < (size_t)*len + 2) c->reply = need(realloc(c->reply, c->room = (size_t)*len + 2));
    for (size_t at = 0; at < (size_t)*len + 2;) {
        size_t there = c->len - c->at, n = (size_t)*len + 2 - at;
        if (n > there) n = there;
        memcpy(c->reply + at, c->in + c->at, n);
        c->at += n, at += n;
        if (at == (size_t)*len + 2) break;
        if (next_byte(c) < 0) return 0;
        c->at--;
    }
    return '$';
}

static void judge(const struct connection *c, char kind, int64_t len, const unsigned char *data,
                  size_t size, const char *key)
{
    bool good = data ? kind == '$' && len == (int64_t)size && memcmp(c->reply, data, size) == 0
                     : kind == '$' && len < 0;
    atomic_fetch_add(good ? &verified : &wrong, 1);
    if (!good) fprintf(stderr, "kvdemo: %s: wrong (%lld bytes)\n", key, (long long)len);
}

/* -- Work -- */

static void *load(void *argument)
{
    struct worker     *me = argument;
    struct connection *c  = dial("loader");
    int64_t            len;
    size_t             from = item_count * me->number / READERS, sent = from, end;
    end                     = item_count * (me->number + 1) / READERS;

    (void)reply(c, &len);
    for (size_t i = from; i < end; i++) {
        for (; sent < end && sent < i + WINDOW; sent++)
            if (!request(c, "SET", items[sent].key, items[sent].data, items[sent].len))
                errx(1, "the server is gone");
        if (reply(c, &len) != '+') errx(1, "%s was not stored", items[i].key);
        atomic_fetch_add(&done, 1);
    }
    hang_up(c);
    return NULL;
}

/* Reads this worker's share of the items in random order, one by one, and takes the time. */
static void *read_back(void *argument)
{
    struct worker     *me    = argument;
    struct connection *c     = dial("reader");
    size_t             from  = item_count * me->number / READERS;
    size_t             count = item_count * (me->number + 1) / READERS - from;
    uint64_t           seed  = 1 + me->number;
    size_t            *order = need(malloc((count + 1) * sizeof *order));
    int64_t            len;

    me->times = need(realloc(me->times, (count + 1) * sizeof *me->times));
    me->count = count;
    (void)reply(c, &len);
    for (size_t i = 0; i < count; i++) {
        seed     = seed * 6364136223846793005u + 1442695040888963407u;
        size_t j = (size_t)(seed >> 33) % (i + 1);
        order[i] = order[j], order[j] = from + i;
    }
    for (size_t i = 0; i < count; i++) {
        const struct item *item = &items[order[i]];
        double             then = seconds();
        if (!request(c, "GET", item->key, NULL, 0)) errx(1, "the server is gone");
        char kind    = reply(c, &len);
        me->times[i] = (uint32_t)((seconds() - then) * 1e9);
        judge(c, kind, len, item->data, item->len, item->key);
        atomic_fetch_add(&done, 1);
    }
    free(order);
    hang_up(c);
    return NULL;
}

static size_t own_value(uint32_t n, uint32_t version, unsigned char *data)
{
    uint64_t seed = (uint64_t)n << 32 | version;
    size_t   len  = 16 + (size_t)((seed * 0x9e3779b97f4a7c15u) >> 40) % (OWN_MAX - 16);
    noise(data, len, seed);
    return len;
}

/* Sets and deletes its own keys until it is stopped or the server is gone. */
static void *write_on(void *argument)
{
    static uint32_t    version;
    struct connection *c = dial("writer");
    unsigned char      data[OWN_MAX];
    char               key[32];
    int64_t            len;

    (void)reply(c, &len);
    while (!stop) {
        uint32_t n = (++version * 2654435761u >> 8) % OWN;
        bool     deletes = version % 9 == 0;
        snprintf(key, sizeof key, "writer:%u", n);
        under_way = n, under_way_state = deletes ? 0 : version;
        bool good = deletes ? request(c, "DEL", key, NULL, 0)
                            : request(c, "SET", key, data, own_value(n, version, data));
        char kind = good ? reply(c, &len) : 0;
        if (kind == 0) break;
        if (kind != '+' && kind != ':') errx(1, "%s was refused", key);
        own[n] = under_way_state, under_way = OWN;
        atomic_fetch_add(&written, 1);
    }
    hang_up(c);
    return argument;
}

/* Compares the writer's keys with what was acknowledged. */
static void verify_own(void)
{
    struct connection *c = dial("reader");
    unsigned char      data[OWN_MAX];
    char               key[32];
    int64_t            len;

    (void)reply(c, &len);
    for (uint32_t n = 0; n < OWN; n++) {
        snprintf(key, sizeof key, "writer:%u", n);
        if (!request(c, "GET", key, NULL, 0)) errx(1, "the server is gone");
        char kind = reply(c, &len);
        if (n == under_way) { /* it may have happened */
            size_t size = own_value(n, under_way_state, data);
            if (under_way_state == 0 ? len < 0
                                     : len == (int64_t)size && memcmp(c->reply, data, size) == 0)
                own[n] = under_way_state;
        }
        size_t size = own[n] ? own_value(n, own[n], data) : 0;
        judge(c, kind, len, own[n] ? data : NULL, size, key);
    }
    hang_up(c);
}

/* A figure of the INFO command. */
static double figure(const char *info, const char *name)
{
    const char *at = strstr(info, name);
    return at ? atof(at + strlen(name) + 1) : 0;
}

static char *info(void)
{
    struct connection *c = dial("reader");
    int64_t            len;
    (void)reply(c, &len);
    if (!put(c, "INFO\r\n", 6) || reply(c, &len) != '$' || len < 0) errx(1, "INFO failed");
    char *text = need(strndup((char *)c->reply, (size_t)len));
    hang_up(c);
    return text;
}

static void bar(const char *what, size_t most)
{
    static const char full[] = "########################################";
    if (!isatty(STDERR_FILENO)) return;
    int part = most ? (int)(done * 40 / most) : 40;
    fprintf(stderr, "\r%-12s %3d %% %-40.*s", what, part * 5 / 2, part, full);
    if (done >= most) fprintf(stderr, "\r\033[K");
}

/* Runs the work in two threads. Returns the seconds. */
static double together(const char *what, void *(*work)(void *), struct worker workers[READERS])
{
    double begun = seconds();
    done         = 0;
    for (unsigned i = 0; i < READERS; i++) {
        workers[i].number = i;
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) errx(1, "no thread");
    }
    while (done < item_count) {
        bar(what, item_count);
        usleep(20000);
        if (!half_way && done > item_count / 2) half_way = info();
    }
    for (unsigned i = 0; i < READERS; i++) pthread_join(workers[i].thread, NULL);
    double took = seconds() - begun;
    bar(what, item_count);
    return took;
}

/* -- The report -- */

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void print_times(const char *what, struct worker workers[READERS])
{
    size_t    count = 0;
    uint32_t *all   = need(malloc((item_count + 1) * sizeof *all));
    for (unsigned i = 0; i < READERS; i++) {
        memcpy(all + count, workers[i].times, workers[i].count * sizeof *all);
        count += workers[i].count;
    }
    qsort(all, count, sizeof *all, by_size);
    if (count > 0)
        printf("%s 50 %% %.0f us, 99 %% %.0f us, 99.9 %% %.0f us\n", what, all[count / 2] / 1e3,
               all[count * 99 / 100] / 1e3, all[count * 999 / 1000] / 1e3);
    free(all);
}

static void print_state(const char *text)
{
    double payload = figure(text, "\npayload_bytes"), held = (double)resident();
    printf("memory      %.1f MB of keys and values in %.1f MB resident: %.2f; index %.2f MB\n",
           payload / 1e6, held / 1e6, held > 0 ? payload / held : 0,
           figure(text, "\nindex_bytes") / 1e6);
    printf("evicted     %.0f values to the file, %.0f came back; the file has %.0f\n",
           figure(text, "\nevicted"), figure(text, "\nrestored"), figure(text, "\nfiled_values"));
}

/* Accounts, and what each holds in buffers half-way through loading. */
static void print_tenants(void)
{
    const char *at = half_way ? strstr(half_way, "# Tenants") : NULL;
    printf("tenants    ");
    while (at && (at = strchr(at, '\n')) && *++at)
        printf(" %.*s", (int)strcspn(at, "\r"), at);
    printf(" (bytes of buffers while loading)\n");
    free(half_way);
    half_way = NULL;
}

static void demonstrate(void)
{
    struct worker workers[READERS] = {0}, writer = {0};

    start_server();
    double took = together("loading", load, workers);
    printf("loaded      %zu values, %.1f MB: %.0f/s, %.0f MB/s, all durable\n",
           item_count, (double)bytes / 1e6, (double)item_count / took, (double)bytes / 1e6 / took);
    if (pthread_create(&writer.thread, NULL, write_on, NULL) != 0) errx(1, "no thread");
    took = together("reading", read_back, workers);
    printf("read        all in random order, by two clients one by one, one more writes: %.0f/s\n",
           (double)item_count / took);
    print_times("latency    ", workers);
    char *text = info();
    print_state(text);
    print_tenants();
    free(text);
    for (int i = 0; i < 100 && written < OWN_LEAST; i++) usleep(50000);
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    pthread_join(writer.thread, NULL);
    printf("killed      by SIGKILL after %llu acknowledged writes and deletes beside the reads\n",
           (unsigned long long)written);
    took = start_server();
    text = info();
    printf("restarted   in %.2f s: %.0f values recovered\n", took, figure(text, "\nrecovered"));
    free(text);
    together("verifying", read_back, workers);
    verify_own();
    for (unsigned i = 0; i < READERS; i++) free(workers[i].times);
}

static void clean_up(void)
{
    if (server > 0) kill(server, SIGKILL);
    if (*file) unlink(file);
}

static void interrupted(int number)
{
    clean_up();
    _exit(128 + number);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"server", 1, NULL, 's'}, {"trace", 1, NULL, 't'},
                                            {NULL, 0, NULL, 0}};
    const char *trace = NULL, *directory = getenv("TMPDIR");
    int         fd;

    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
        if (option == 's') program = optarg;
        else if (option == 't') trace = *optarg ? optarg : NULL;
        else errx(2, "usage: kvdemo [--server PROGRAM] [--trace FILE] [DIR]");
    if (argc - optind > 1) errx(2, "usage: kvdemo [--server PROGRAM] [--trace FILE] [DIR]");
    char *root = need(realpath(optind < argc ? argv[optind] : "/usr/include", NULL));
    root_len   = strlen(root) + 1;
    if (trace) read_trace(trace);
    else if (nftw(root, visit, 64, FTW_PHYS) < 0) err(2, "%s", root);
    if (item_count == 0) errx(2, "%s: no files", trace ? trace : root);

    snprintf(file, sizeof file, "%s/kvdemo.XXXXXX", directory ? directory : "/tmp");
    if ((fd = mkstemp(file)) < 0 || close(fd) != 0 || unlink(file) != 0) err(1, "%s", file);
    snprintf(memory, sizeof memory, "%zu", bytes / 4 > MEMORY_LEAST ? bytes / 4 : MEMORY_LEAST);
    snprintf(spill_max, sizeof spill_max, "%zu", bytes * 3 + (256 << 20));
    signal(SIGINT, interrupted), signal(SIGTERM, interrupted);
    atexit(clean_up);
    demonstrate();
    kill(server, SIGTERM);
    waitpid(server, NULL, 0);
    server = 0;
    if (system("command -v redis-benchmark >/dev/null 2>&1") == 0)
        printf("next        %s & redis-benchmark -q -t set,get -P 16\n", program);
    printf("kvdemo: %llu verified, %llu wrong\n", (unsigned long long)verified,
           (unsigned long long)wrong);
    return wrong > 0;
}
