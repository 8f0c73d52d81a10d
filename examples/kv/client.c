/* client.c - connections: from bytes to requests, and from replies to bytes.
 *
 * A connection that is idle has no buffer. A request is parsed in the frame that it was received
 * into; only what is incomplete is kept, in a buffer of a bufpool that has room for the rest. All
 * replies to the requests of one frame go into one buffer, and that is sent. So the buffers of a
 * connection are billed to its account, and only while they are of use.
 *
 * Without memory, or at the account's cap (--cap), a request is answered with -OOM, and its
 * remaining bytes are skipped as they come. Small requests and replies, such as this one, always
 * have room: at the cap the server pays for their buffers, 8 and 4 KiB, and runs no other request
 * of the client until the replies are sent. A client that does not read its replies is not read
 * either, once they exceed OUT_PAUSE. */
#define BUFPOOL_IMPLEMENTATION
#include "kv.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { OUT_PAUSE = 1 << 20, OUT_MAX = 1 << 30, OUT_LEAST = 4096, KEEPALIVE_SECONDS = 300,
       SMALL = 512, LENT_PAUSE = OUT_LEAST / 2, LENT_IN = 8 << 10 };

/* -- Replies -- */

unsigned char *sink_room(struct sink *sink, size_t len)
{
    if (sink->room - sink->len >= len) return sink->data + sink->len;
    size_t size = sink->len + len > sink->room * 2 ? sink->len + len : sink->room * 2;
    if (size < OUT_LEAST) size = OUT_LEAST;
    bufpool_buf *buf  = size > OUT_MAX || sink->lent ? NULL : client_buffer(size, sink->tenant);
    bool         lent = !buf && len <= SMALL;
    if (lent) buf = client_buffer(size, NULL);
    if (!buf) return NULL;
    sink->lent          = lent;
    unsigned char *data = bufpool_data(buf);
    if (sink->len > 0) memcpy(data, sink->data, sink->len);
    if (sink->buf) (void)bufpool_cache_release(server.cache, sink->buf);
    sink->buf = buf, sink->data = data, sink->room = bufpool_capacity(buf);
    return data + sink->len;
}

void sink_free(struct sink *sink)
{
    if (sink->buf) (void)bufpool_cache_release(server.cache, sink->buf);
    *sink = (struct sink){.tenant = sink->tenant};
}

bufpool_buf *client_buffer(size_t size, bufpool_tenant *tenant)
{
    return bufpool_cache_acquire(server.cache, size, tenant);
}

/* -- Life -- */

/* The cap of an account: its own, or else the one for all. */
static size_t cap_of(struct slice name)
{
    size_t bytes = 0;
    for (const struct cap *cap = server.caps; cap < server.caps + server.cap_count; cap++)
        if (!cap->account) bytes = cap->bytes;
        else if (cap->account_len == name.len && memcmp(cap->account, name.data, name.len) == 0)
            return cap->bytes;
    return bytes;
}

bool client_bill(struct client *client, struct slice name)
{
    bufpool_tenant *tenant =
        bufpool_tenant_get(server.buffers, (const char *)name.data, name.len);
    if (!tenant || bufpool_tenant_cap(tenant, cap_of(name), 0) != 0) return false;
    client->tenant = client->out.tenant = tenant;
    return true;
}

bool client_select(struct client *client, uint32_t keyspace)
{
    char name[16];
    int  len = snprintf(name, sizeof name, "db%u", keyspace);
    if (!client->authenticated &&
        !client_bill(client, (struct slice){(unsigned char *)name, (size_t)len}))
        return false;
    client->keyspace = keyspace;
    return true;
}

void client_mark(struct client *client)
{
    if (client->listed) return;
    client->listed      = true;
    client->dirty       = client->loop->dirty;
    client->loop->dirty = client;
}

struct client *client_open(struct loop *loop, int fd)
{
    static const char refusal[] = "-ERR max number of clients reached\r\n";
    static const int  yes = 1, idle = KEEPALIVE_SECONDS;
    struct client    *client = NULL;

    if (loop->client_count < loop->client_room) client = calloc(1, sizeof *client);
    if (client) client->loop = loop, client->fd = fd;
    if (!client || !client_select(client, 0)) {
        (void)send(fd, refusal, sizeof refusal - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        close(fd);
        free(client);
        return NULL;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof yes); /* half-open ones end */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    client->id = ++server.client_ids;
    server.connections++;
    server.clients++;
    loop->client_count++;
    client->next = loop->clients;
    if (client->next) client->next->prev = client;
    loop->clients = client;
    return client;
}

static void client_free(struct client *client)
{
    struct loop *loop = client->loop;
    close(client->fd);
    if (client->prev) client->prev->next = client->next;
    else loop->clients = client->next;
    if (client->next) client->next->prev = client->prev;
    loop->client_count--;
    server.clients--;
    if (client->in) (void)bufpool_cache_release(server.cache, client->in);
    sink_free(&client->out);
    sink_free(&client->flying);
    free(client);
}

void client_fail(struct client *client)
{
    client->gone = true;
    client_mark(client);
}

/* Replies to what was received are still sent. */
void client_finish(struct client *client)
{
    client->closing = true;
    client_mark(client);
}

/* -- Input -- */

/* Drops bytes of a request that was refused. Returns how many. */
static size_t skip(struct client *client, const unsigned char *data, size_t len)
{
    size_t at = 0;
    while (client->skip_bytes > 0 || client->skip_args > 0) {
        int64_t bytes;
        size_t  n = len - at < client->skip_bytes ? len - at : (size_t)client->skip_bytes;
        client->skip_bytes -= n, at += n;
        if (client->skip_bytes > 0) break;
        if (client->skip_args == 0) break;
        int head = protocol_length(data + at, len - at, '$', BULK_MAX, &bytes);
        if (head == 0) break;
        if (head < 0 || bytes < 0) {
            reply_error(&client->out, "ERR Protocol error: invalid bulk length");
            client->closing = true;
            return len;
        }
        at += (size_t)head;
        client->skip_bytes = (uint64_t)bytes + 2;
        client->skip_args--;
    }
    return at;
}

/* Replies -OOM to a request of which len bytes are there, and has the rest skipped. */
static void refuse(struct client *client, size_t len)
{
    const struct request *request = &client->loop->request;
    reply_error(&client->out, "OOM the account of this client has no room for the request");
    client->skip_bytes = request->bulk_end - len;
    client->skip_args  = request->left;
    if (client->paused || request->bulk_end < len) client->closing = true;
    if (client->closing) client->skip_bytes = client->skip_args = 0;
}

/* Runs the requests that are complete. Returns how many bytes they take; in_need is then how many
 * bytes must be there, counted from the end of those, before it is worth another try. */
static size_t run(struct client *client, unsigned char *data, size_t len)
{
    struct request *request = &client->loop->request;
    size_t          at      = 0;

    while (at < len && !client->closing) {
        if (client->skip_bytes > 0 || client->skip_args > 0) {
            at += skip(client, data + at, len - at);
            client->in_need = len - at + 1;
            if (client->skip_bytes > 0 || client->skip_args > 0) break;
            continue;
        }
        if (client->out.len + client->flying.len - client->flying_at >
            (client->out.lent ? LENT_PAUSE : OUT_PAUSE)) {
            client->paused  = true;
            client->in_need = 0;
            break;
        }
        enum parsed parsed = protocol_parse(request, data + at, len - at);
        if (parsed == PARSED_MORE) {
            client->in_need = request->used;
            break;
        }
        if (parsed == PARSED_BAD) {
            char what[4] = {'\'', request->unexpected, '\'', 0};
            reply_error(&client->out, "ERR Protocol error: %s%s", request->error,
                        request->unexpected ? what : "");
            client->closing = true;
            break;
        }
        at += request->used;
        if (request->argc > 0) command_run(client, request);
        server.commands++;
    }
    client_mark(client);
    return client->closing ? len : at;
}

/* Keeps the bytes of an incomplete request: data is the frame, or the client's own buffer. */
static void keep(struct client *client, unsigned char *data, size_t len)
{
    if (len == 0) {
        if (client->in) (void)bufpool_cache_release(server.cache, client->in);
        client->in = NULL, client->in_len = 0;
        return;
    }
    size_t need = client->in_need > len ? client->in_need : len;
    if (client->in && need <= bufpool_capacity(client->in)) {
        memmove(bufpool_data(client->in), data, len);
        client->in_len = len;
        return;
    }
    bufpool_buf *buf = client_buffer(need, client->tenant);
    if (!buf && (client->paused || need <= LENT_IN)) buf = client_buffer(need, NULL);
    if (buf) memcpy(bufpool_data(buf), data, len);
    if (client->in) (void)bufpool_cache_release(server.cache, client->in);
    client->in     = buf;
    client->in_len = buf ? len : 0;
    if (!buf) refuse(client, len);
}

static void run_and_keep(struct client *client, unsigned char *data, size_t len)
{
    size_t used = run(client, data, len);
    keep(client, data + used, len - used);
}

void client_received(struct client *client, unsigned char *data, size_t len)
{
    if (client->closing || client->gone) return;
    while (client->in && len > 0) {
        size_t room = bufpool_capacity(client->in) - client->in_len;
        size_t n    = len < room ? len : room;
        memcpy((unsigned char *)bufpool_data(client->in) + client->in_len, data, n);
        client->in_len += n, data += n, len -= n;
        if (client->paused) { /* a frame that was under way: it waits with the others */
            client->in_need = client->in_len + len;
            if (len > 0) keep(client, bufpool_data(client->in), client->in_len);
        } else if (client->in_len >= client->in_need)
            run_and_keep(client, bufpool_data(client->in), client->in_len);
    }
    if (len > 0 && !client->closing) run_and_keep(client, data, len);
}

/* -- Output -- */

void client_sent(struct client *client, size_t len)
{
    client->flying_at += len;
    if (client->flying_at < client->flying.len) return;
    sink_free(&client->flying);
    client->flying_at = 0;
    client_mark(client);
}

/* Brings a client up to date after a batch: sends, goes on after a pause, receives, or ends. */
static void settle(struct client *client)
{
    if (client->out.lost) client->gone = true;
    if (!client->gone && client->flying.len == 0 && client->out.len > 0) {
        client->flying = client->out;
        client->out    = (struct sink){.tenant = client->tenant};
        io_send(client);
    } else if (!client->gone && client->flying.len == 0 && client->closing) client->gone = true;
    if (!client->gone && client->paused && client->flying.len == 0 && client->out.len == 0) {
        client->paused = false;
        if (client->in) run_and_keep(client, bufpool_data(client->in), client->in_len);
    }
    if (client->gone) {
        if (io_close(client)) client_free(client);
    } else if (!client->paused && !client->closing) io_receive(client);
}

void loop_flush(struct loop *loop)
{
    struct client *client;
    while ((client = loop->dirty)) {
        loop->dirty    = client->dirty;
        client->listed = false;
        settle(client);
    }
}

/* Has each client end. What it sent before this is still read and answered. */
void loop_drain(struct loop *loop)
{
    for (struct client *client = loop->clients; client; client = client->next)
        (void)shutdown(client->fd, SHUT_RD);
}
