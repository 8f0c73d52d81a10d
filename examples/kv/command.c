/* command.c - the commands: arguments in, a reply out. Replies and errors are those of Redis 7.0.
 *
 * A command of keys uses only the call's plane and sink, so it may run on the plane's own thread. A
 * command of the connection has the call's client, too. */
#include "kv.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

struct call {
    struct plane       *plane;
    struct client      *client;
    struct sink        *out;
    const struct slice *args;
    size_t              argc;
    uint32_t            keyspace;
    const char         *name;
};

#define SYNTAX      "ERR syntax error"
#define NOT_INTEGER "ERR value is not an integer or out of range"
#define NO_ROOM     "OOM the account of this client has no room for the reply"
#define OK          "+OK\r\n"

/* -- Values -- */

static bool get(struct call *call, struct slice key, struct value *value)
{
    return plane_get(call->plane, call->keyspace, key, USE, value);
}

/* Stores a value, or replies with the error. */
static bool set(struct call *call, struct slice key, struct slice data, uint64_t expires)
{
    struct value value = {data, expires};
    int          error = plane_set(call->plane, call->keyspace, key, &value);
    if (error == -ENOMEM)
        reply_error(call->out, "OOM command not allowed when used memory > 'maxmemory'.");
    else if (error) reply_error(call->out, "OOM the file takes no more: %s", strerror(-error));
    return error == 0;
}

/* Stores head and tail as one value. They may lie in the plane, so they are copied first. */
static bool set_joined(struct call *call, struct slice key, struct slice head, struct slice tail,
                       uint64_t expires)
{
    unsigned char *copy = malloc(head.len + tail.len + 1);
    if (!copy) {
        reply_error(call->out, "OOM out of memory");
        return false;
    }
    if (head.len > 0) memcpy(copy, head.data, head.len);
    if (tail.len > 0) memcpy(copy + head.len, tail.data, tail.len);
    bool good = set(call, key, (struct slice){copy, head.len + tail.len}, expires);
    free(copy);
    return good;
}

/* Computes the moment so many units of `unit` ms behind base, or replies with an error. */
static bool expiry(struct call *call, struct slice text, int64_t unit, int64_t base, int64_t least,
                   int64_t *moment)
{
    int64_t number;
    if (!slice_number(text, &number)) {
        reply_error(call->out, NOT_INTEGER);
        return false;
    }
    if (number < least || number > (INT64_MAX - base) / unit || number < INT64_MIN / unit) {
        reply_error(call->out, "ERR invalid expire time in '%s' command", call->name);
        return false;
    }
    *moment = base + number * unit;
    return true;
}

static void do_get(struct call *call)
{
    struct value value;
    if (get(call, call->args[1], &value)) reply_bulk(call->out, value.data.data, value.data.len);
    else reply_nil(call->out);
}

static void do_mget(struct call *call)
{
    struct value value;
    reply_array(call->out, call->argc - 1);
    for (size_t i = 1; i < call->argc; i++)
        if (get(call, call->args[i], &value))
            reply_bulk(call->out, value.data.data, value.data.len);
        else reply_nil(call->out);
}

/* Takes back a part of the replies. */
static void cut(struct sink *out, size_t from, size_t end)
{
    if (end > from) memmove(out->data + from, out->data + end, out->len - end);
    out->len -= end - from;
}

enum { NX = 1, XX = 2, KEEP = 4, GET = 8, TIMED = 16 };

/* Reads the options of SET. Returns false after a reply with the error. */
static bool set_options(struct call *call, unsigned *flags, int64_t *moment)
{
    static const struct {
        const char *word;
        int64_t     unit; /* ms; 0: takes no argument */
        unsigned    flag, excludes;
        bool        absolute;
    } options[] = {
        {"nx", 0, NX, XX, false},          {"xx", 0, XX, NX, false},
        {"get", 0, GET, 0, false},         {"keepttl", 0, KEEP, TIMED, false},
        {"ex", 1000, TIMED, TIMED | KEEP, false}, {"px", 1, TIMED, TIMED | KEEP, false},
        {"exat", 1000, TIMED, TIMED | KEEP, true}, {"pxat", 1, TIMED, TIMED | KEEP, true},
    };
    for (size_t i = 3; i < call->argc; i++) {
        size_t o = 0;
        while (o < sizeof options / sizeof *options && !slice_is(call->args[i], options[o].word))
            o++;
        if (o == sizeof options / sizeof *options || *flags & options[o].excludes ||
            (options[o].unit && i + 1 == call->argc)) {
            reply_error(call->out, SYNTAX);
            return false;
        }
        *flags |= options[o].flag;
        if (options[o].unit &&
            !expiry(call, call->args[++i], options[o].unit,
                    options[o].absolute ? 0 : (int64_t)call->plane->now, 1, moment))
            return false;
    }
    return true;
}

static void do_set(struct call *call)
{
    struct value  old = {{NULL, 0}, 0};
    int64_t       moment = 0;
    unsigned      flags  = 0;

    if (call->argc > 3 && !set_options(call, &flags, &moment)) return;
    bool there = flags & (NX | XX | KEEP | GET) &&
                 plane_get(call->plane, call->keyspace, call->args[1], LOOK, &old);
    bool       sets   = !(flags & NX && there) && !(flags & XX && !there);
    size_t     before = call->out->len;
    if (flags & GET && there) reply_bulk(call->out, old.data.data, old.data.len);
    if ((flags & GET && !there) || (!sets && !(flags & GET))) reply_nil(call->out);
    size_t after = call->out->len;
    if (!sets) return;
    bool good = set(call, call->args[1], call->args[2],
                    flags & KEEP && there ? old.expires : (uint64_t)moment);
    if (good && !(flags & GET)) reply_text(call->out, OK);
    if (!good) cut(call->out, before, after); /* the error alone */
}

static void set_timed(struct call *call, int64_t unit)
{
    int64_t moment;
    if (expiry(call, call->args[2], unit, (int64_t)call->plane->now, 1, &moment) &&
        set(call, call->args[1], call->args[3], (uint64_t)moment))
        reply_text(call->out, OK);
}
static void do_setex(struct call *call) { set_timed(call, 1000); }
static void do_psetex(struct call *call) { set_timed(call, 1); }

static void do_setnx(struct call *call)
{
    struct value value;
    if (plane_get(call->plane, call->keyspace, call->args[1], LOOK, &value))
        reply_number(call->out, 0);
    else if (set(call, call->args[1], call->args[2], 0)) reply_number(call->out, 1);
}

static void do_mset(struct call *call)
{
    if (call->argc % 2 == 0) {
        reply_error(call->out, "ERR wrong number of arguments for 'mset' command");
        return;
    }
    for (size_t i = 1; i < call->argc; i += 2)
        if (!set(call, call->args[i], call->args[i + 1], 0)) return;
    reply_text(call->out, OK);
}

static void do_getset(struct call *call)
{
    size_t before = call->out->len;
    do_get(call);
    size_t after = call->out->len;
    if (!set(call, call->args[1], call->args[2], 0)) cut(call->out, before, after);
}

static void do_del(struct call *call)
{
    int64_t count = 0;
    for (size_t i = 1; i < call->argc; i++)
        count += plane_delete(call->plane, call->keyspace, call->args[i]);
    reply_number(call->out, count);
}

static void do_getdel(struct call *call)
{
    do_get(call);
    (void)plane_delete(call->plane, call->keyspace, call->args[1]);
}

static void do_exists(struct call *call)
{
    struct value value;
    int64_t      count = 0;
    for (size_t i = 1; i < call->argc; i++) count += get(call, call->args[i], &value);
    reply_number(call->out, count);
}

static void do_type(struct call *call)
{
    struct value value;
    bool         there = plane_get(call->plane, call->keyspace, call->args[1], LOOK, &value);
    reply_text(call->out, there ? "+string\r\n" : "+none\r\n");
}

static void do_strlen(struct call *call)
{
    struct value value;
    reply_number(call->out, get(call, call->args[1], &value) ? (int64_t)value.data.len : 0);
}

static void do_append(struct call *call)
{
    struct value value = {{NULL, 0}, 0};
    (void)get(call, call->args[1], &value);
    size_t len = value.data.len + call->args[2].len;
    if (len > BULK_MAX)
        reply_error(call->out, "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    else if (set_joined(call, call->args[1], value.data, call->args[2], value.expires))
        reply_number(call->out, (int64_t)len);
}

static void do_getrange(struct call *call)
{
    struct value value = {{NULL, 0}, 0};
    int64_t      first, last;
    if (!slice_number(call->args[2], &first) || !slice_number(call->args[3], &last)) {
        reply_error(call->out, NOT_INTEGER);
        return;
    }
    (void)get(call, call->args[1], &value);
    int64_t len = (int64_t)value.data.len;
    if (first < 0) first = first < -len ? 0 : first + len;
    if (last < 0) last = last < -len ? -1 : last + len;
    if (last >= len) last = len - 1;
    if (first > last) reply_bulk(call->out, "", 0);
    else reply_bulk(call->out, value.data.data + first, (size_t)(last - first + 1));
}

static void add(struct call *call, int64_t amount)
{
    struct value value = {{NULL, 0}, 0};
    int64_t      number = 0;
    char         text[24];

    if (get(call, call->args[1], &value) && !slice_number(value.data, &number)) {
        reply_error(call->out, NOT_INTEGER);
        return;
    }
    if (__builtin_add_overflow(number, amount, &number)) {
        reply_error(call->out, "ERR increment or decrement would overflow");
        return;
    }
    int len = snprintf(text, sizeof text, "%" PRId64, number);
    if (set(call, call->args[1], (struct slice){(unsigned char *)text, (size_t)len}, value.expires))
        reply_number(call->out, number);
}
static void do_incr(struct call *call) { add(call, 1); }
static void do_decr(struct call *call) { add(call, -1); }

static void do_incrby(struct call *call)
{
    int64_t amount;
    if (!slice_number(call->args[2], &amount)) reply_error(call->out, NOT_INTEGER);
    else add(call, amount);
}

static void do_decrby(struct call *call)
{
    int64_t amount;
    if (!slice_number(call->args[2], &amount)) reply_error(call->out, NOT_INTEGER);
    else if (amount == INT64_MIN) reply_error(call->out, "ERR decrement would overflow");
    else add(call, -amount);
}

/* -- Expiry -- */

static void expire(struct call *call, int64_t unit)
{
    struct value value;
    int64_t      moment;
    if (!expiry(call, call->args[2], unit, (int64_t)call->plane->now, INT64_MIN, &moment)) return;
    if (call->argc > 3) reply_error(call->out, "ERR Unsupported option %.*s",
                                    (int)(call->args[3].len < 64 ? call->args[3].len : 64),
                                    (const char *)call->args[3].data);
    else if (!plane_get(call->plane, call->keyspace, call->args[1], LOOK, &value))
        reply_number(call->out, 0);
    else if (moment <= (int64_t)call->plane->now)
        reply_number(call->out, plane_delete(call->plane, call->keyspace, call->args[1]));
    else if (set_joined(call, call->args[1], value.data, (struct slice){NULL, 0}, (uint64_t)moment))
        reply_number(call->out, 1);
}
static void do_expire(struct call *call) { expire(call, 1000); }
static void do_pexpire(struct call *call) { expire(call, 1); }

static void do_persist(struct call *call)
{
    struct value value;
    bool         there = plane_get(call->plane, call->keyspace, call->args[1], LOOK, &value);
    if (!there || !value.expires) reply_number(call->out, 0);
    else if (set_joined(call, call->args[1], value.data, (struct slice){NULL, 0}, 0))
        reply_number(call->out, 1);
}

static void left(struct call *call, int64_t unit)
{
    struct value value;
    if (!plane_get(call->plane, call->keyspace, call->args[1], LOOK, &value))
        reply_number(call->out, -2);
    else if (!value.expires) reply_number(call->out, -1);
    else reply_number(call->out, ((int64_t)(value.expires - call->plane->now) + unit / 2) / unit);
}
static void do_ttl(struct call *call) { left(call, 1000); }
static void do_pttl(struct call *call) { left(call, 1); }

/* -- All keys -- */

static void do_dbsize(struct call *call)
{
    reply_number(call->out, (int64_t)call->plane->keys[call->keyspace]);
}
static void do_flushall(struct call *call)
{
    plane_flush(call->plane, -1);
    reply_text(call->out, OK);
}
static void do_flushdb(struct call *call)
{
    plane_flush(call->plane, (int)call->keyspace);
    reply_text(call->out, OK);
}

struct scan {
    struct slice match, type;
    int64_t      count;
};

static bool scan_options(struct call *call, struct scan *scan)
{
    for (size_t i = 2; i + 1 < call->argc; i += 2)
        if (slice_is(call->args[i], "match")) scan->match = call->args[i + 1];
        else if (slice_is(call->args[i], "type")) scan->type = call->args[i + 1];
        else if (!slice_is(call->args[i], "count")) return reply_error(call->out, SYNTAX), false;
        else if (!slice_number(call->args[i + 1], &scan->count))
            return reply_error(call->out, NOT_INTEGER), false;
        else if (scan->count < 1) return reply_error(call->out, SYNTAX), false;
    if (call->argc % 2 == 1) return reply_error(call->out, SYNTAX), false;
    return true;
}

/* A cursor is a place in the order of the index, which growth does not change: a key that is there
 * all the time is returned. Looks at COUNT keys; the reply is put together behind its own head. */
static void do_scan(struct call *call)
{
    struct scan  scan = {.count = 10, .match = {(const unsigned char *)"*", 1}};
    struct slice key;
    int64_t      given;
    uint32_t     keyspace;
    size_t       found = 0;
    char         text[24];

    if (!slice_number(call->args[1], &given) || given < 0) {
        reply_error(call->out, "ERR invalid cursor");
        return;
    }
    if (!scan_options(call, &scan)) return;
    bool        typed  = scan.type.len > 0 && !slice_is(scan.type, "string");
    uint64_t    cursor = (uint64_t)given;
    size_t      before = call->out->len;
    struct sink keys   = {.tenant = call->out->tenant};
    while (scan.count-- > 0 && plane_next(call->plane, &cursor, &keyspace, &key))
        if (keyspace == call->keyspace && !typed && slice_matches(key, scan.match)) {
            reply_bulk(&keys, key.data, key.len);
            found++;
        }
    snprintf(text, sizeof text, "%" PRIu64, cursor);
    reply_array(call->out, 2);
    reply_string(call->out, text);
    reply_array(call->out, found);
    unsigned char *at = sink_room(call->out, keys.len);
    if (!at || keys.lost) {
        call->out->len = before;
        reply_error(call->out, NO_ROOM);
    } else if (keys.len > 0) {
        memcpy(at, keys.data, keys.len);
        call->out->len += keys.len;
    }
    sink_free(&keys);
}

/* -- The connection -- */

static void do_ping(struct call *call)
{
    if (call->argc == 1) reply_text(call->out, "+PONG\r\n");
    else reply_bulk(call->out, call->args[1].data, call->args[1].len);
}
static void do_echo(struct call *call)
{
    reply_bulk(call->out, call->args[1].data, call->args[1].len);
}
static void do_quit(struct call *call)
{
    reply_text(call->out, OK);
    call->client->closing = true;
}
static void do_shutdown(struct call *call)
{
    call->client->closing = true;
    atomic_store_explicit(&server.stop, true, memory_order_relaxed);
}

/* SELECT n chooses the keys and, without AUTH, the account: "db0", "db1" ... */
static void do_select(struct call *call)
{
    int64_t number;
    if (!slice_number(call->args[1], &number)) reply_error(call->out, "ERR invalid DB index");
    else if (number < 0 || number >= KEYSPACES)
        reply_error(call->out, "ERR DB index is out of range");
    else if (client_select(call->client, (uint32_t)number)) reply_text(call->out, OK);
    else reply_error(call->out, "OOM out of memory");
}

/* AUTH name: the account that buffers are billed to from now on. There is no password. */
static void do_auth(struct call *call)
{
    struct slice name = call->args[1];
    if (call->argc > 3) reply_error(call->out, SYNTAX);
    else if (name.len == 0 || name.len > 255) reply_error(call->out, "ERR invalid account name");
    else if (client_bill(call->client, name)) {
        call->client->authenticated = true;
        reply_text(call->out, OK);
    }
    else reply_error(call->out, "OOM out of memory");
}

static void do_hello(struct call *call)
{
    int64_t protocol = 2;
    if (call->argc > 1 && (!slice_number(call->args[1], &protocol) || protocol != 2)) {
        reply_error(call->out, "NOPROTO unsupported protocol version");
        return;
    }
    if (call->argc > 2) {
        reply_error(call->out, SYNTAX " in HELLO: options are not supported");
        return;
    }
    reply_array(call->out, 14);
    reply_string(call->out, "server"), reply_string(call->out, "kv-server");
    reply_string(call->out, "version"), reply_string(call->out, "7.0.0");
    reply_string(call->out, "proto"), reply_number(call->out, 2);
    reply_string(call->out, "id"), reply_number(call->out, (int64_t)call->client->id);
    reply_string(call->out, "mode"), reply_string(call->out, "standalone");
    reply_string(call->out, "role"), reply_string(call->out, "master");
    reply_string(call->out, "modules"), reply_array(call->out, 0);
}

static void describe_client(const struct client *client, struct sink *out)
{
    char text[256];
    int  len = snprintf(text, sizeof text, "id=%" PRIu64 " fd=%d name=%s db=%u\n", client->id,
                        client->fd, client->name, client->keyspace);
    unsigned char *at = sink_room(out, (size_t)len);
    if (!at) return;
    memcpy(at, text, (size_t)len);
    out->len += (size_t)len;
}

static void do_client(struct call *call)
{
    struct slice what = call->args[1];
    if (slice_is(what, "id")) reply_number(call->out, (int64_t)call->client->id);
    else if (slice_is(what, "getname")) {
        if (*call->client->name) reply_string(call->out, call->client->name);
        else reply_nil(call->out);
    } else if (slice_is(what, "setname") && call->argc == 3) {
        if (call->args[2].len >= sizeof call->client->name) {
            reply_error(call->out, "ERR Client names are limited to 63 bytes");
            return;
        }
        for (size_t i = 0; i < call->args[2].len; i++)
            if (call->args[2].data[i] < '!' || call->args[2].data[i] > '~') {
                reply_error(call->out, "ERR Client names cannot contain spaces, newlines or "
                                       "special characters.");
                return;
            }
        memcpy(call->client->name, call->args[2].data, call->args[2].len);
        call->client->name[call->args[2].len] = 0;
        reply_text(call->out, OK);
    } else if (slice_is(what, "list") || slice_is(what, "info")) {
        struct sink list = {.tenant = call->out->tenant};
        if (slice_is(what, "info")) describe_client(call->client, &list);
        else
            for (struct client *it = call->client->loop->clients; it; it = it->next)
                describe_client(it, &list);
        reply_bulk(call->out, list.data, list.len);
        sink_free(&list);
    } else if (slice_is(what, "setinfo") || slice_is(what, "no-evict")) reply_text(call->out, OK);
    else
        reply_error(call->out, "ERR Unknown subcommand or wrong number of arguments for '%.*s'. "
                               "Try CLIENT HELP.",
                    (int)(what.len < 64 ? what.len : 64), (const char *)what.data);
}

static void do_config(struct call *call)
{
    char         memory[24];
    struct slice what = call->args[1];
    snprintf(memory, sizeof memory, "%zu", server.plane.memory);
    const char *const settings[][2] = {
        {"maxmemory", memory},   {"maxmemory-policy", server.plane.spill ? "spill" : "allkeys-lru"},
        {"save", ""},            {"appendonly", server.plane.durable ? "yes" : "no"},
        {"databases", "16"},     {"proto-max-bulk-len", "536870912"}};
    enum { SETTINGS = sizeof settings / sizeof *settings };
    bool   chosen[SETTINGS] = {false};
    size_t count            = 0;

    if (slice_is(what, "resetstat") && call->argc == 2) {
        reply_text(call->out, OK);
        return;
    }
    if (!slice_is(what, "get") || call->argc < 3) {
        reply_error(call->out, "ERR CONFIG supports GET only");
        return;
    }
    for (size_t i = 2; i < call->argc; i++)
        for (size_t s = 0; s < SETTINGS; s++) {
            const char *name = settings[s][0];
            if (chosen[s] || (!slice_is(call->args[i], name) &&
                              !slice_matches((struct slice){(const unsigned char *)name,
                                                            strlen(name)}, call->args[i])))
                continue;
            chosen[s] = true, count++;
        }
    reply_array(call->out, count * 2);
    for (size_t s = 0; s < SETTINGS; s++)
        for (size_t half = 0; chosen[s] && half < 2; half++)
            reply_string(call->out, settings[s][half]);
}

static void do_time(struct call *call)
{
    struct timeval now;
    char           text[24];
    gettimeofday(&now, NULL);
    reply_array(call->out, 2);
    snprintf(text, sizeof text, "%lld", (long long)now.tv_sec), reply_string(call->out, text);
    snprintf(text, sizeof text, "%lld", (long long)now.tv_usec), reply_string(call->out, text);
}

static void do_info(struct call *call)
{
    plane_tick(call->plane);
    struct sink text = {.tenant = call->out->tenant};
    info_write(&text, &server);
    reply_bulk(call->out, text.data, text.len);
    sink_free(&text);
}

static void do_command(struct call *call);

/* -- The table -- */

static const struct command {
    const char *name;
    int         arity; /* arguments, the name included; negative: at least so many */
    void (*run)(struct call *call);
} commands[] = {
    {"get", 2, do_get},           {"set", -3, do_set},         {"mget", -2, do_mget},
    {"mset", -3, do_mset},        {"del", -2, do_del},         {"unlink", -2, do_del},
    {"exists", -2, do_exists},    {"incr", 2, do_incr},        {"decr", 2, do_decr},
    {"incrby", 3, do_incrby},     {"decrby", 3, do_decrby},    {"strlen", 2, do_strlen},
    {"append", 3, do_append},     {"getrange", 4, do_getrange}, {"substr", 4, do_getrange},
    {"setex", 4, do_setex},       {"psetex", 4, do_psetex},    {"setnx", 3, do_setnx},
    {"getset", 3, do_getset},     {"getdel", 2, do_getdel},    {"type", 2, do_type},
    {"expire", -3, do_expire},    {"pexpire", -3, do_pexpire}, {"persist", 2, do_persist},
    {"ttl", 2, do_ttl},           {"pttl", 2, do_pttl},        {"scan", -2, do_scan},
    {"dbsize", 1, do_dbsize},     {"flushall", -1, do_flushall}, {"flushdb", -1, do_flushdb},
    {"ping", -1, do_ping},        {"echo", 2, do_echo},        {"quit", -1, do_quit},
    {"select", 2, do_select},     {"auth", -2, do_auth},       {"hello", -1, do_hello},
    {"client", -2, do_client},    {"config", -2, do_config},   {"command", -1, do_command},
    {"info", -1, do_info},        {"time", 1, do_time},        {"shutdown", -1, do_shutdown},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static void do_command(struct call *call)
{
    if (call->argc == 1) {
        reply_array(call->out, COMMANDS);
        for (size_t i = 0; i < COMMANDS; i++) {
            reply_array(call->out, 6);
            reply_string(call->out, commands[i].name);
            reply_number(call->out, commands[i].arity);
            reply_array(call->out, 0);
            for (int k = 0; k < 3; k++) reply_number(call->out, 0);
        }
    } else if (slice_is(call->args[1], "count")) reply_number(call->out, COMMANDS);
    else reply_array(call->out, 0); /* DOCS, INFO: clients do without */
}

static void unknown(struct call *call)
{
    char   text[160];
    size_t len = 0;
    for (size_t i = 1; i < call->argc && len < 128; i++) {
        int n = (int)(call->args[i].len < 128 - len ? call->args[i].len : 128 - len);
        len += (size_t)snprintf(text + len, sizeof text - len, "'%.*s' ", n,
                                (const char *)call->args[i].data);
    }
    text[len] = 0;
    reply_error(call->out, "ERR unknown command '%.*s', with args beginning with: %s",
                (int)(call->args->len < 128 ? call->args->len : 128),
                (const char *)call->args->data, text);
}

void command_run(struct client *client, const struct request *request)
{
    struct call call = {client->loop->plane, client, &client->out, request->args, request->argc,
                        client->keyspace, NULL};
    const struct command *command = commands;
    while (command < commands + COMMANDS && !slice_is(*request->args, command->name)) command++;
    if (command == commands + COMMANDS) {
        unknown(&call);
        return;
    }
    call.name = command->name;
    if (command->arity < 0 ? request->argc < (size_t)-command->arity
                           : request->argc != (size_t)command->arity)
        reply_error(&client->out, "ERR wrong number of arguments for '%s' command", command->name);
    else if (command->run == do_ping && request->argc > 2)
        reply_error(&client->out, "ERR wrong number of arguments for 'ping' command");
    else command->run(&call);
}
