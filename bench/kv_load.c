/* kv_load - a load for key-value servers: RESP (this repository's kv-server, redis-server) or the
 * meta commands of memcached. Every value that comes back is compared, byte by byte.
 *
 *     kv_load PORT [OPTIONS] PHASE...
 *
 *     kv_load 6379 --keys 1000000 --median 300 --pid $(pidof redis-server) fill read drift:4G read
 *
 * PHASE      fill           writes each key once, in order
 *            set:N get:N    N writes, or reads, of keys at random
 *            mix:N          nine reads in ten
 *            drift:BYTES    overwrites keys at random until so many bytes were written, while the
 *                           median goes up and down between a third of --median and three times
 *                           that, and ends where it began
 *            read           reads each key once, in order, and sums up what is there
 *            check          the same, for a server that was killed: only versions that were
 *                           acknowledged last, or sent later, may be there; see --state
 *
 * --memcached        meta commands (ms, mg) in place of RESP
 * --keys N           keys of 16 bytes; default 100,000
 * --median B --sigma S   lognormal sizes; default: 300 and 0.7. Sigma 0: all of one size
 * --clients N        connections, default 16; a key belongs to one of them
 * --pipeline N       requests that a connection has under way, default 1
 * --pid PID          prints what that process holds, anonymous and shared memory, and its processor
 *                    time for each request
 * --state FILE       reads what is known of each key before the first phase, if the file is there,
 *                    and writes it after the last, or when the server is gone
 * --seed N
 *
 * Method: one thread and an epoll. A connection sends --pipeline requests at once and the next ones
 * when all are answered; the latency of a request is the time from there to its answer. The value
 * of a key is a piece of a fixed random text, whose place and length follow from key and version.
 * Since a key belongs to one connection, it is known at each answer which version must be there. In
 * a cache it may be missing: that is counted. Prints "PHASE MEASURE NUMBER", a line for each. The
 * exit status is 1 if an answer was wrong or an error, 3 if the server is gone. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { KEY = 16, VALUE_MOST = 1 << 20, TEXT = 4 << 20, CLIENTS_MOST = 4096, PIPELINE_MOST = 256 };

#define FAIL(...) (fprintf(stderr, "kv_load: " __VA_ARGS__), fputc('\n', stderr), exit(2))

static struct options {
    uint64_t    port, keys, clients, pipeline, seed, median;
    double      sigma;
    const char *state, *pid;
    bool        memcached;
} options = {.keys = 100000, .clients = 16, .pipeline = 1, .seed = 1, .median = 300, .sigma = 0.7};

/* acked <= sent: the version that the server acknowledged last, and the one sent last. 0:
 * never written. The median of a version is that of the moment it was sent. */
struct version {
    uint32_t number;
    float    median;
};
struct key {
    struct version acked, sent;
};

enum verb { SET, GET };

struct request {
    enum verb      verb;
    uint32_t       key;
    struct version version; /* SET: sent; GET: what has to be there */
};

struct client {
    int            fd;
    uint32_t       id;
    char          *in, *out;
    size_t         in_len, in_room, out_len, out_at, out_room;
    struct request window[PIPELINE_MOST];
    uint32_t       sent, answered;
    uint64_t       since;
};

static struct key    *keys;
static struct client *clients;
static char          *text;
static int            epoll;
static bool           gone; /* the server */

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t mix(uint64_t x) /* the finalizer of splitmix64 */
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}
static uint64_t random_state;
static uint64_t random_number(void) { return mix(random_state += 0x9e3779b97f4a7c15u); }

static void *take(size_t size)
{
    void *memory = calloc(1, size);
    if (!memory) FAIL("out of memory");
    return memory;
}

/* ---- Values ---- */

static uint64_t hash_of(uint32_t key, struct version version)
{
    return mix(mix(key + options.seed * 0x9e3779b97f4a7c15u) + version.number);
}

static size_t length_of(uint32_t key, struct version version)
{
    uint64_t h = hash_of(key, version);
    double   u = ((double)(h >> 40) + 0.5) / (1 << 24), v = (double)(mix(h) >> 40) / (1 << 24);
    double   normal = sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
    double   length = (double)version.median * exp(options.sigma * normal) + 0.5;
    return length < 1 ? 1 : length > VALUE_MOST ? VALUE_MOST : (size_t)length;
}

static const char *value_of(uint32_t key, struct version version)
{
    return text + mix(hash_of(key, version) + 1) % (TEXT - VALUE_MOST);
}

static void name_of(uint32_t key, char name[static KEY + 1])
{
    snprintf(name, KEY + 1, "key:%012u", key);
}

/* ---- Figures of a phase ---- */

/* 32 steps to each doubling: what is read off is too high by 3 % at most. */
static struct phase {
    const char *name;
    uint64_t    ops, done, start;
    uint64_t    hits, misses, wrong, errors, payload, written;
    uint64_t    times[60 * 32], longest;
    double      cpu; /* processor time of the server before */
} phase;

static void count_time(uint64_t ns)
{
    int step = ns < 32 ? 0 : 58 - __builtin_clzll(ns);
    phase.times[(uint64_t)step * 32 + (ns >> step)]++;
    if (ns > phase.longest) phase.longest = ns;
}

static double time_us(double part) /* that this part of all requests does not exceed */
{
    uint32_t i    = sizeof phase.times / sizeof *phase.times;
    uint64_t seen = 0, slower = (uint64_t)((1 - part) * (double)phase.done);
    while (i > 0 && seen <= slower) seen += phase.times[--i];
    uint64_t step = i < 64 ? 0 : i / 32 - 1;
    uint64_t ns   = ((i - step * 32 + 1) << step) - 1;
    return (double)(ns < phase.longest ? ns : phase.longest) * 1e-3;
}

static uint64_t resident_bytes(void)
{
    char     path[64], line[256];
    uint64_t kib = 0, part;
    snprintf(path, sizeof path, "/proc/%s/status", options.pid);
    FILE *file = fopen(path, "re");
    if (!file) return 0;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "RssAnon: %lu", &part) == 1 || sscanf(line, "RssShmem: %lu", &part) == 1)
            kib += part;
    fclose(file);
    return kib * 1024;
}

static double processor_seconds(void) /* of the server, all its threads */
{
    char          path[64], line[1024];
    unsigned long user, system;
    if (!options.pid) return 0;
    snprintf(path, sizeof path, "/proc/%s/stat", options.pid);
    FILE *file = fopen(path, "re");
    if (!file) return 0;
    const char *at = fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
    fclose(file);
    if (!at ||
        sscanf(at, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        return 0;
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static void show(const char *measure, double number)
{
    printf("%s %s %.10g\n", phase.name, measure, number);
}

static void report(void)
{
    double seconds = (double)(now_ns() - phase.start) * 1e-9;
    show("ops", (double)phase.done);
    show("ops_per_s", (double)phase.done / seconds);
    if (options.pid && phase.done)
        show("server-us/op", (processor_seconds() - phase.cpu) * 1e6 / (double)phase.done);
    if (phase.done) {
        show("p50-us", time_us(0.5));
        show("p99-us", time_us(0.99));
        show("p99.9-us", time_us(0.999));
        show("max-us", (double)phase.longest * 1e-3);
    }
    show("hits", (double)phase.hits);
    show("misses", (double)phase.misses);
    show("wrong", (double)phase.wrong);
    show("errors", (double)phase.errors);
    show("written_bytes", (double)phase.written);
    if (options.pid) show("resident_bytes", (double)resident_bytes());
    if (strcmp(phase.name, "read") == 0 || strcmp(phase.name, "check") == 0) {
        show("payload_bytes", (double)phase.payload);
        if (options.pid)
            show("payload_per_resident", (double)phase.payload / (double)resident_bytes());
    }
    fflush(stdout);
}

/* ---- Connections ---- */

static void open_client(struct client *client, uint32_t id)
{
    struct sockaddr_in address = {.sin_family      = AF_INET,
                                  .sin_port        = htons((uint16_t)options.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int                yes     = 1;
    client->id                 = id;
    client->in_room            = 64 * 1024;
    client->in                 = take(client->in_room);
    client->out_room           = 64 * 1024;
    client->out                = take(client->out_room);
    client->fd                 = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client->fd < 0 || connect(client->fd, (struct sockaddr *)&address, sizeof address) != 0)
        FAIL("port %lu: %s", options.port, strerror(errno));
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = id};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, client->fd, &event) != 0) FAIL("epoll_ctl");
}

static void want_to_write(const struct client *client, bool write)
{
    struct epoll_event event = {.events   = EPOLLIN | (write ? (uint32_t)EPOLLOUT : 0),
                                .data.u32 = client->id};
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, client->fd, &event) != 0) FAIL("epoll_ctl");
}

static void append(struct client *client, const void *data, size_t len)
{
    if (client->out_len + len > client->out_room) {
        client->out_room = (client->out_len + len) * 2;
        client->out      = realloc(client->out, client->out_room);
        if (!client->out) FAIL("out of memory");
    }
    memcpy(client->out + client->out_len, data, len);
    client->out_len += len;
}

static void append_request(struct client *client, const struct request *request)
{
    char   name[KEY + 1], head[128];
    bool   set    = request->verb == SET;
    size_t len    = set ? length_of(request->key, request->version) : 0;
    int    length = 0;
    name_of(request->key, name);
    if (options.memcached && set) length = snprintf(head, sizeof head, "ms %s %zu\r\n", name, len);
    else if (options.memcached) length = snprintf(head, sizeof head, "mg %s v\r\n", name);
    else if (set)
        length =
            snprintf(head, sizeof head, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%zu\r\n", KEY, name, len);
    else length = snprintf(head, sizeof head, "*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n", KEY, name);
    append(client, head, (size_t)length);
    if (!set) return;
    append(client, value_of(request->key, request->version), len);
    append(client, "\r\n", 2);
    phase.written += KEY + len;
}

static void write_out(struct client *client)
{
    while (client->out_at < client->out_len) {
        ssize_t put = send(client->fd, client->out + client->out_at,
                           client->out_len - client->out_at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (put < 0 && (errno == EAGAIN || errno == EINTR)) {
            want_to_write(client, true);
            return;
        }
        if (put < 0) {
            gone = true;
            return;
        }
        client->out_at += (size_t)put;
    }
    if (client->out_len) want_to_write(client, false);
    client->out_len = client->out_at = 0;
}

/* ---- Answers ---- */

static bool may_be(uint32_t key, struct version version, const char *value, size_t len)
{
    return len == length_of(key, version) && memcmp(value, value_of(key, version), len) == 0;
}

static void complain(const struct request *request, const char *what, const char *answer,
                     size_t len)
{
    if (phase.wrong + phase.errors > 10) return;
    fprintf(stderr, "kv_load: %s: key:%012u, version %u: %s: %.*s\n", phase.name, request->key,
            request->version.number, what, (int)(len < 80 ? len : 80), answer);
}

/* value NULL: it is not there. */
static void check_value(const struct request *request, const char *value, size_t len)
{
    struct key *key   = &keys[request->key];
    bool        check = strcmp(phase.name, "check") == 0, good;
    if (value) {
        good = may_be(request->key, request->version, value, len);
        /* After a crash: any version from the one acknowledged last. One median for all. */
        for (struct version v = key->acked; check && !good && v.number < request->version.number;) {
            v.median = key->sent.median;
            good     = v.number > 0 && may_be(request->key, v, value, len);
            if (good) key->sent = v;
            v.number++;
        }
        phase.hits++;
        phase.payload += KEY + len;
        if (!good) complain(request, "wrong value", "", 0);
    } else {
        good = !check || key->acked.number == 0;
        phase.misses += request->version.number != 0;
        if (!good) complain(request, "lost", "", 0);
    }
    phase.wrong += !good;
    if (check && good && value) key->acked = key->sent;
}

/* Returns the bytes of the answer at the start of in, 0 if it is not complete. */
static size_t take_answer(struct client *client, const struct request *request)
{
    const char *in   = client->in;
    const char *end  = memchr(in, '\n', client->in_len);
    size_t      head = end ? (size_t)(end - in) + 1 : 0, len = 0;
    bool        value = false, nil = false, stored = false;
    if (!end) return 0;
    if (options.memcached) {
        value  = strncmp(in, "VA ", 3) == 0;
        nil    = strncmp(in, "EN", 2) == 0;
        stored = strncmp(in, "HD", 2) == 0;
        if (value) len = strtoul(in + 3, NULL, 10);
    } else {
        nil    = strncmp(in, "$-1", 3) == 0;
        value  = *in == '$' && !nil;
        stored = *in == '+';
        if (value) len = strtoul(in + 1, NULL, 10);
    }
    if (value && client->in_len < head + len + 2) return 0;
    if (request->verb == GET && (value || nil)) check_value(request, value ? in + head : NULL, len);
    else if (request->verb == SET && stored) keys[request->key].acked = request->version;
    else {
        complain(request, "error", in, head);
        phase.errors++;
    }
    return value ? head + len + 2 : head;
}

static bool read_in(struct client *client)
{
    if (client->in_len == client->in_room) {
        client->in_room *= 2;
        client->in = realloc(client->in, client->in_room);
        if (!client->in) FAIL("out of memory");
    }
    ssize_t got = recv(client->fd, client->in + client->in_len, client->in_room - client->in_len,
                       MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return true;
    if (got <= 0) return false;
    client->in_len += (size_t)got;
    size_t   at  = 0, used;
    char    *all = client->in;
    size_t   len = client->in_len;
    uint64_t now = now_ns();
    for (; client->answered < client->sent; at += used) {
        client->in     = all + at;
        client->in_len = len - at;
        if (client->in_len == 0) break;
        used = take_answer(client, &client->window[client->answered]);
        if (used == 0) break;
        client->answered++;
        phase.done++;
        count_time(now - client->since);
    }
    client->in     = all;
    client->in_len = len - at;
    memmove(all, all + at, client->in_len);
    return true;
}

/* ---- Phases ---- */

static struct plan {
    uint64_t ops, bytes; /* ends after so many requests, or when so many bytes were written */
    unsigned reads;      /* in ten */
    bool     in_order;
} plan;

static float median_now(void)
{
    if (plan.bytes == 0) return (float)options.median;
    double part = (double)phase.written / (double)plan.bytes;
    return (float)((double)options.median * pow(3, sin(6.283185307179586 * 2 * part)));
}

/* A key of this client's: the number modulo the clients is its id. */
static uint32_t choose_key(const struct client *client, uint64_t number)
{
    uint64_t of_client = (options.keys - client->id + options.clients - 1) / options.clients;
    return (uint32_t)(number % of_client * options.clients + client->id);
}

static uint64_t *next_in_order; /* by client */

static bool make_request(struct client *client, struct request *request)
{
    uint64_t of_client = (options.keys - client->id + options.clients - 1) / options.clients;
    if (plan.in_order) {
        if (next_in_order[client->id] >= of_client) return false;
        request->key = choose_key(client, next_in_order[client->id]++);
    } else {
        if (plan.bytes ? phase.written >= plan.bytes : phase.ops >= plan.ops) return false;
        request->key = choose_key(client, random_number());
    }
    phase.ops++;
    request->verb = plan.reads == 10 || random_number() % 10 < plan.reads ? GET : SET;
    if (request->verb == SET) {
        keys[request->key].sent.number++;
        keys[request->key].sent.median = median_now();
    }
    request->version = keys[request->key].sent;
    return true;
}

static void send_window(struct client *client)
{
    client->sent = client->answered = 0;
    while (client->sent < options.pipeline && make_request(client, &client->window[client->sent]))
        append_request(client, &client->window[client->sent++]);
    client->since = now_ns();
    if (client->sent) write_out(client);
}

static void play(void)
{
    struct epoll_event events[64];
    uint64_t           active = 0;
    memset(next_in_order, 0, options.clients * sizeof *next_in_order);
    for (uint32_t i = 0; i < options.clients; i++) {
        send_window(&clients[i]);
        active += clients[i].sent > 0;
    }
    while (active > 0 && !gone) {
        int count = epoll_wait(epoll, events, 64, 30000);
        if (count == 0) FAIL("%s: no answer for 30 seconds", phase.name);
        for (int i = 0; i < count && !gone; i++) {
            struct client *client = &clients[events[i].data.u32];
            if (events[i].events & EPOLLOUT) write_out(client);
            if (events[i].events & ~(uint32_t)EPOLLOUT && !read_in(client)) gone = true;
            if (gone || client->sent == 0 || client->answered < client->sent) continue;
            send_window(client);
            active -= client->sent == 0;
        }
    }
}

static uint64_t bytes_of(const char *number)
{
    char    *end   = NULL;
    uint64_t bytes = strtoull(number, &end, 10);
    for (int i = 0; i < 3; i++)
        if ((*end | 32) == "kmg"[i]) return bytes << 10 * (i + 1);
    if (end == number || *end) FAIL("%s: not a number", number);
    return bytes;
}

static void run(char *name)
{
    char *argument = strchr(name, ':');
    if (argument) *argument++ = 0;
    uint64_t amount = argument ? bytes_of(argument) : 0;
    memset(&phase, 0, sizeof phase);
    phase.name = name;
    if (strcmp(name, "fill") == 0) plan = (struct plan){.in_order = true};
    else if (strcmp(name, "read") == 0 || strcmp(name, "check") == 0)
        plan = (struct plan){.in_order = true, .reads = 10};
    else if (amount == 0) FAIL("%s: not a phase, or it needs a number", name);
    else if (strcmp(name, "set") == 0) plan = (struct plan){.ops = amount};
    else if (strcmp(name, "get") == 0) plan = (struct plan){.ops = amount, .reads = 10};
    else if (strcmp(name, "mix") == 0) plan = (struct plan){.ops = amount, .reads = 9};
    else if (strcmp(name, "drift") == 0) plan = (struct plan){.bytes = amount};
    else FAIL("%s: not a phase", name);
    phase.cpu   = processor_seconds();
    phase.start = now_ns();
    play();
    report();
}

/* ---- What is known of the keys, for a check after a crash ---- */

static void load_state(void)
{
    FILE *file = options.state ? fopen(options.state, "re") : NULL;
    if (!file) return;
    if (fread(keys, sizeof *keys, options.keys, file) != options.keys)
        FAIL("%s: not the state of so many keys", options.state);
    fclose(file);
}
static void save_state(void)
{
    FILE *file = options.state ? fopen(options.state, "we") : NULL;
    if (!options.state) return;
    if (!file || fwrite(keys, sizeof *keys, options.keys, file) != options.keys ||
        fclose(file) != 0)
        FAIL("%s: %s", options.state, strerror(errno));
}

static int parse(int argc, char **argv)
{
    static const struct {
        const char *name;
        uint64_t   *value, least, most;
    } numbers[]  = {{"--keys", &options.keys, 1, UINT32_MAX - 1},
                    {"--median", &options.median, 1, VALUE_MOST},
                    {"--clients", &options.clients, 1, CLIENTS_MOST},
                    {"--pipeline", &options.pipeline, 1, PIPELINE_MOST},
                    {"--seed", &options.seed, 0, UINT64_MAX}};
    int i        = 2;
    options.port = argc > 2 ? bytes_of(argv[1]) : 0;
    if (options.port == 0 || options.port > 65535) FAIL("usage: kv_load PORT [OPTIONS] PHASE...");
    for (; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "--memcached") == 0) {
            options.memcached = true;
            continue;
        }
        if (i + 1 == argc) FAIL("%s: nothing follows it", argv[i]);
        size_t n = 0;
        while (n < 5 && strcmp(argv[i], numbers[n].name) != 0) n++;
        if (n < 5) {
            *numbers[n].value = bytes_of(argv[i + 1]);
            if (*numbers[n].value < numbers[n].least || *numbers[n].value > numbers[n].most)
                FAIL("%s %s: out of range", argv[i], argv[i + 1]);
        } else if (strcmp(argv[i], "--sigma") == 0) options.sigma = strtod(argv[i + 1], NULL);
        else if (strcmp(argv[i], "--pid") == 0) options.pid = argv[i + 1];
        else if (strcmp(argv[i], "--state") == 0) options.state = argv[i + 1];
        else FAIL("%s: not an option", argv[i]);
        i++;
    }
    if (i == argc) FAIL("no phase");
    if (options.clients > options.keys) options.clients = options.keys;
    return i;
}

int main(int argc, char **argv)
{
    int  at       = parse(argc, argv);
    bool bad      = false;
    keys          = take(options.keys * sizeof *keys);
    clients       = take(options.clients * sizeof *clients);
    next_in_order = take(options.clients * sizeof *next_in_order);
    text          = take(TEXT);
    for (size_t i = 0; i < TEXT; i++) text[i] = (char)(random_number() >> 32);
    random_state = options.seed;
    epoll        = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0) FAIL("epoll: %s", strerror(errno));
    load_state();
    for (uint32_t i = 0; i < options.clients; i++) open_client(&clients[i], i);
    for (; at < argc && !gone; at++) {
        run(argv[at]);
        bad |= phase.wrong + phase.errors > 0;
    }
    save_state();
    return gone ? 3 : bad;
}
