/* kv.h - what the files of kv-server share. Each part of the server is one file:
 *
 *     main.c      flags, signals, the threads
 *     io.c        sockets: io_uring with frames of a fixedpool, or epoll
 *     client.c    connections: bytes in, requests out; replies in, bytes out
 *     protocol.c  RESP2: requests are parsed, replies are formed
 *     command.c   the commands
 *     plane.c     a data plane: the values of one shard in a slab_store, within a budget
 *     index.c     from keys to values, in 8 bytes a key and a little air
 *     spill.c     an overflow_region: evicted values, and every value of a durable server
 *     metrics.c   INFO, and OpenMetrics text over HTTP
 *
 * A thread is the only one that touches its loop and its plane, so nothing here takes a lock. */
#ifndef KV_H
#define KV_H

#include "bufpool.h"
#include "overflow.h"
#include "slab.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct slice {
    const unsigned char *data;
    size_t               len;
};

/* -- protocol.c -- */

enum {
    BULK_MAX    = 512 << 20, /* bytes of an argument */
    REQUEST_MAX = 768 << 20, /* bytes of a request */
    ARGS_MAX    = 1 << 20,
    LINE_LIMIT  = 64 << 10, /* bytes of an inline request */
    HEAD_MAX    = 32,       /* bytes of a line that holds a length */
};

enum parsed { PARSED_MORE, PARSED_DONE, PARSED_BAD };

struct request {
    struct slice *args; /* they point into the input */
    size_t        argc, room;
    size_t        used; /* PARSED_DONE: the request's bytes. PARSED_MORE: as many are needed before
                         * it is worth another try */
    size_t        bulk_end; /* PARSED_MORE: where the argument ends that is too short, or 0 */
    size_t        left;     /* PARSED_MORE: arguments behind that one */
    const char   *error;    /* PARSED_BAD */
    char          unexpected;
};

/* Parses the request at the start of the input. argc 0 is an empty line. */
enum parsed protocol_parse(struct request *request, unsigned char *data, size_t len);
/* Reads "$LEN\r\n". Returns the line's length, 0 if it is not complete, -1 if it is malformed. */
int protocol_length(const unsigned char *data, size_t len, char mark, int64_t most, int64_t *value);

/* A reply under construction: a buffer of a bufpool that grows. */
struct sink {
    unsigned char  *data;
    size_t          len, room;
    bufpool_buf    *buf;
    bufpool_tenant *tenant; /* it pays for the buffer */
    bool            lent;   /* the tenant is at its cap: the server pays for the buffer */
    bool            lost;   /* there was no memory even for an error */
};

/* Returns room for len bytes behind what there is. NULL: no memory, or the tenant is at its cap and
 * it is not a few bytes. */
unsigned char *sink_room(struct sink *sink, size_t len);
void           sink_free(struct sink *sink);

void reply_text(struct sink *sink, const char *text); /* a whole reply, with its "\r\n" */
void reply_error(struct sink *sink, const char *format, ...) __attribute__((format(printf, 2, 3)));
void reply_number(struct sink *sink, int64_t number);
void reply_array(struct sink *sink, size_t count);
void reply_bulk(struct sink *sink, const void *data, size_t len);
void reply_string(struct sink *sink, const char *text);
void reply_nil(struct sink *sink);

bool slice_is(struct slice slice, const char *word); /* without regard to case */
bool slice_number(struct slice slice, int64_t *number);
bool slice_matches(struct slice slice, struct slice pattern);

/* -- index.c -- */

enum { INDEX_TABLES = 1024 };

struct index_table {
    uint64_t *entries;
    uint32_t  size, count; /* size: places, without those behind the last home */
};
struct index {
    struct index_table tables[INDEX_TABLES];
    size_t             count, bytes;
};

/* An entry: 24 bits of the key's hash, 7 that say what the name is, RECENT, 32 bits of name. */
#define INDEX_EMPTY  UINT64_MAX
#define INDEX_PLACE  ((UINT64_C(1) << 40) - 1 - INDEX_RECENT) /* kind and name */
#define INDEX_RECENT (UINT64_C(1) << 32)                      /* used since eviction looked last */

typedef bool index_match_fn(void *context, uint64_t entry);

uint64_t  index_hash(uint32_t keyspace, struct slice key);
uint64_t *index_find(struct index *index, uint64_t hash, index_match_fn *match, void *context);
uint64_t *index_insert(struct index *index, uint64_t hash, uint64_t name); /* NULL: no memory */
void      index_remove(struct index *index, uint64_t hash, uint64_t *entry);
uint64_t *index_next(struct index *index, uint64_t *cursor); /* cursor: 0 begins; NULL: the end */
void      index_clear(struct index *index);

/* -- spill.c -- */

struct spilled { /* what the file has of a key */
    overflow_ref ref;
    uint32_t     keyspace;
    uint64_t     serial, expires;
    struct slice key, value;
};

struct spill {
    overflow_region *region; /* NULL: there is none */
    overflow_ref    *refs;   /* by number: of values that are in the file alone */
    uint32_t         count, room, spare; /* spare: the first free number, linked by refs */
    overflow_ref    *later; /* to be freed after the next sync */
    size_t           later_count, later_room;
    uint64_t         serial;
    uint32_t         tag;
    bool             full, dirty;
    uint64_t         recovered;
};

int  spill_open(struct spill *spill, const char *path, size_t max_bytes, uint32_t planes);
int  spill_write(struct spill *spill, const struct spilled *value, overflow_ref *ref);
bool spill_read(const struct spill *spill, overflow_ref ref, struct spilled *value);
bool spill_next(const struct spill *spill, uint64_t *cursor, struct spilled *value);
void spill_free(struct spill *spill, overflow_ref ref);
bool spill_later(struct spill *spill, overflow_ref ref);
void spill_settle(struct spill *spill);
int  spill_sync(struct spill *spill);
void spill_stats(const struct spill *spill, struct overflow_info *info);
void spill_close(struct spill *spill);
/* A number of 32 bits for a ref of 64, for the index; UINT32_MAX: no memory. */
bool         spill_reserve(struct spill *spill, uint32_t count); /* names, for spill_name */
uint32_t     spill_name(struct spill *spill, overflow_ref ref);
overflow_ref spill_unname(struct spill *spill, uint32_t number);

/* -- plane.c -- */

enum { KEYSPACES = 16, TIERS = 63, BINS = 384 };

struct plane_config {
    size_t      memory; /* 0: no limit */
    const char *spill;
    size_t      spill_max;
    bool        durable;
    uint32_t    planes;
};

/* Counts that INFO and metrics read from other threads: written by the plane alone. */
struct plane_counts {
    _Atomic(uint64_t) commands, hits, misses, evicted, expired, spilled, restored, recovered;
    _Atomic(uint64_t) keys, payload, held, index, filed, file_bytes, refused, file_full;
    _Atomic(uint64_t) refitted, evicted_most;
};

struct plane {
    struct plane_config config;
    slab_store         *store;
    struct index        index;
    struct spill        spill;
    struct kept        *kept; /* records that an eviction gives a second chance */
    uint64_t            now; /* ms since 1970, once per batch */
    uint64_t            expiry_hand; /* a cursor of the index */
    size_t              keys[KEYSPACES], expiring;
    uint32_t            tiers[TIERS], tier_count;
    uint32_t            bins[BINS]; /* how many records of each size are in memory */
    uint64_t            writes, ticks;
    size_t              share; /* of the budget: the store's limit */
    uint64_t            looked, looked_most; /* records that evictions looked at; for one write */
    struct plane_counts counts;
};

struct value {
    struct slice data;
    uint64_t     expires; /* ms since 1970; 0: never */
};

enum { LOOK, USE }; /* whether a read counts as a use of the key */

int  plane_open(struct plane *plane, const struct plane_config *config); /* says what failed */
bool plane_get(struct plane *plane, uint32_t keyspace, struct slice key, int use,
               struct value *value); /* valid until the next call that writes */
/* 0; -ENOMEM: the budget has no room; -ENOSPC and other errors: the file of a durable server. */
int  plane_set(struct plane *plane, uint32_t keyspace, struct slice key, const struct value *value);
bool plane_delete(struct plane *plane, uint32_t keyspace, struct slice key);
/* The key of the next entry; cursor 0 begins. Returns false at the end. */
bool plane_next(struct plane *plane, uint64_t *cursor, uint32_t *keyspace, struct slice *key);
void plane_flush(struct plane *plane, int keyspace); /* -1: all of them */
void plane_tick(struct plane *plane);                /* ten times a second: expiry, counts */
void plane_close(struct plane *plane);

/* -- client.c -- */

enum { NAME_MAX_ = 64 };

struct loop;
struct client {
    struct loop    *loop;
    struct client  *next, *prev; /* in the loop's list of all */
    struct client  *dirty;       /* next in the list of those to settle after a batch */
    int             fd;
    uint32_t        keyspace;
    uint64_t        id;
    bufpool_tenant *tenant;
    bufpool_buf    *in; /* a request that has not come to its end; NULL: there is none */
    size_t          in_len, in_need;
    uint64_t        skip_bytes, skip_args; /* of a request that was refused */
    struct sink     out;                   /* replies that are not on their way yet */
    struct sink     flying;                /* replies on their way: sent from flying_at on */
    size_t          flying_at;
    bool            listed, paused, closing, gone, authenticated;
    bool            receiving, sending, shut; /* io.c: requests to the kernel that are under way */
    bool            watched;
    uint32_t        interest; /* epoll */
    char            name[NAME_MAX_];
};

struct loop {
    struct plane   *plane;
    struct io      *io;
    struct client  *clients;
    uint32_t        client_count, client_room;
    struct client  *dirty;
    struct request  request;
    bool            draining;
};

struct client *client_open(struct loop *loop, int fd); /* NULL: refused, fd is closed */
void           client_received(struct client *client, unsigned char *data, size_t len);
void           client_sent(struct client *client, size_t len);
void           client_finish(struct client *client); /* the peer sends no more */
void           client_fail(struct client *client);   /* the peer is gone */
void           client_mark(struct client *client);   /* for loop_flush */
bool           client_select(struct client *client, uint32_t keyspace);
bool           client_bill(struct client *client, struct slice name);
bufpool_buf   *client_buffer(size_t size, bufpool_tenant *tenant); /* NULL: none, or at the cap */
void           loop_flush(struct loop *loop);
void           loop_drain(struct loop *loop);

/* -- command.c -- */

void command_run(struct client *client, const struct request *request);

/* -- io.c -- */

enum io_kind { IO_RING, IO_EPOLL };

int  io_open(struct loop *loop, int listener, enum io_kind kind);
int  io_wait(struct loop *loop, int timeout_ms); /* handles what happened */
void io_receive(struct client *client);
void io_send(struct client *client);
bool io_close(struct client *client); /* false: call it again after what is under way has ended */
void io_end(struct loop *loop);
void io_stop_accepting(struct loop *loop);
const char *io_name(const struct loop *loop);

/* -- main.c -- */

enum { CAPS = 64 };
struct cap {
    const char *account; /* NULL: each that has no cap of its own */
    size_t      account_len, bytes;
};

struct server {
    struct plane_config plane;
    struct cap          caps[CAPS];
    uint32_t            cap_count;
    int                 port, metrics_port;
    double              sync;
    uint32_t            planes;
    bool                no_ring;
    uint64_t            started, last_sync, client_ids;
    bufpool            *buffers;
    bufpool_cache      *cache;
    _Atomic(uint64_t)   clients, connections, commands;
    _Atomic(bool)       stop;
    struct loop         loop;
    struct plane        data;
};
extern struct server server;

uint64_t clock_ms(void);
int      listen_on(int port);

/* -- metrics.c -- */

void   info_write(struct sink *sink, const struct server *server);
int    metrics_open(struct server *server);
void   metrics_close(void);

#endif
