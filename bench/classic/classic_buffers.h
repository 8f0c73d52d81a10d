/* classic_buffers.h - the design that bufpool replaces, for measuring against: one free list for
 * each size class and all sums under one mutex, an atomic count of references in each buffer's
 * header, and the tenants' live bytes in a hash table by name under a second mutex, which is asked
 * for each acquisition and each release.
 *
 * What it lacks: all threads meet at the mutexes, and a thread that asks for the metrics stops them
 * all until the last line is written; a release beyond the last puts a buffer into its list
 * a second time; and 64 idle buffers a class may be 640 MiB. */
#ifndef CLASSIC_BUFFERS_H
#define CLASSIC_BUFFERS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLASSIC_CLASSES = 4, CLASSIC_IDLE = 64, CLASSIC_BUCKETS_MIN = 64 };

struct classic_buffer {
    struct classic_buffer *next; /* of an idle one */
    unsigned char         *data;
    const char            *tenant; /* a name, or NULL */
    size_t                 size;   /* that was asked for */
    int class;
    _Atomic(uint32_t) references;
};

struct classic_tenant {
    struct classic_tenant *next; /* in its bucket */
    uint64_t               live_bytes;
    char                   name[];
};

struct classic_sums {
    uint64_t hits[CLASSIC_CLASSES], misses[CLASSIC_CLASSES];
    uint64_t live_bytes, live_buffers;
};

struct classic_buffers {
    pthread_mutex_t        lock; /* to the end of this group */
    struct classic_buffer *idle[CLASSIC_CLASSES];
    uint32_t               idle_count[CLASSIC_CLASSES];
    struct classic_sums    sums;
    _Alignas(64) pthread_mutex_t tenants_lock; /* to the end of this group */
    struct classic_tenant **buckets;
    size_t                  bucket_count, tenant_count;
};

static struct classic_buffers *classic_create(void)
{
    struct classic_buffers *pool = aligned_alloc(64, sizeof *pool);
    if (!pool) abort();
    memset(pool, 0, sizeof *pool);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_mutex_init(&pool->tenants_lock, NULL);
    pool->bucket_count = CLASSIC_BUCKETS_MIN;
    pool->buckets      = calloc(pool->bucket_count, sizeof(struct classic_tenant *));
    if (!pool->buckets) abort();
    return pool;
}

/* -- Tenants, under their mutex -- */

static inline struct classic_tenant **classic_bucket(struct classic_buffers *pool, const char *name)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (; *name; name++) hash = (hash ^ (unsigned char)*name) * 1099511628211u;
    return &pool->buckets[hash & (pool->bucket_count - 1)];
}

static void classic_double(struct classic_buffers *pool)
{
    struct classic_tenant **old   = pool->buckets;
    size_t                  count = pool->bucket_count;
    pool->bucket_count *= 2;
    pool->buckets = calloc(pool->bucket_count, sizeof(struct classic_tenant *));
    if (!pool->buckets) abort();
    for (size_t i = 0; i < count; i++)
        for (struct classic_tenant *tenant = old[i], *next; tenant; tenant = next) {
            struct classic_tenant **bucket = classic_bucket(pool, tenant->name);
            next                           = tenant->next;
            tenant->next                   = *bucket;
            *bucket                        = tenant;
        }
    free(old);
}

static struct classic_tenant *classic_find(struct classic_buffers *pool, const char *name)
{
    struct classic_tenant **bucket = classic_bucket(pool, name), *tenant;
    for (tenant = *bucket; tenant; tenant = tenant->next)
        if (strcmp(tenant->name, name) == 0) return tenant;
    size_t len = strlen(name) + 1;
    tenant     = malloc(sizeof *tenant + len);
    if (!tenant) abort();
    tenant->next       = *bucket;
    tenant->live_bytes = 0;
    memcpy(tenant->name, name, len);
    *bucket = tenant;
    if (++pool->tenant_count > pool->bucket_count) classic_double(pool);
    return tenant;
}

/* Stays where it is, but its bytes are read and written under the mutex only. */
static struct classic_tenant *classic_look_up(struct classic_buffers *pool, const char *name)
{
    pthread_mutex_lock(&pool->tenants_lock);
    struct classic_tenant *tenant = classic_find(pool, name);
    pthread_mutex_unlock(&pool->tenants_lock);
    return tenant;
}

static void classic_account(struct classic_buffers *pool, const char *name, uint64_t bytes)
{
    pthread_mutex_lock(&pool->tenants_lock);
    classic_find(pool, name)->live_bytes += bytes;
    pthread_mutex_unlock(&pool->tenants_lock);
}

/* -- Buffers -- */

static inline size_t classic_capacity(int class)
{
    return class == 3 ? (size_t)10 << 20 : (size_t)4096 << 4 * class;
}

static struct classic_buffer *classic_new(int class)
{
    struct classic_buffer *buffer = malloc(sizeof *buffer);
    if (!buffer || !(buffer->data = aligned_alloc(4096, classic_capacity(class)))) abort();
    buffer->class = class;
    return buffer;
}

/* At most 10 MiB. */
static inline struct classic_buffer *classic_acquire(struct classic_buffers *pool, size_t size,
                                                     const char *tenant)
{
    int class = size <= 4096 ? 0 : size <= 65536 ? 1 : size <= 1 << 20 ? 2 : 3;
    pthread_mutex_lock(&pool->lock);
    struct classic_buffer *buffer = pool->idle[class];
    if (buffer) {
        pool->idle[class] = buffer->next;
        pool->idle_count[class]--;
        pool->sums.hits[class]++;
    } else pool->sums.misses[class]++;
    pool->sums.live_bytes += size;
    pool->sums.live_buffers++;
    pthread_mutex_unlock(&pool->lock);
    if (!buffer) buffer = classic_new(class);
    buffer->size   = size;
    buffer->tenant = tenant;
    atomic_store_explicit(&buffer->references, 1, memory_order_relaxed);
    if (tenant) classic_account(pool, tenant, size);
    return buffer;
}

static inline void classic_retain(struct classic_buffer *buffer)
{
    atomic_fetch_add_explicit(&buffer->references, 1, memory_order_relaxed);
}

static inline void classic_release(struct classic_buffers *pool, struct classic_buffer *buffer)
{
    if (atomic_fetch_sub_explicit(&buffer->references, 1, memory_order_acq_rel) != 1) return;
    int class = buffer->class;
    if (buffer->tenant) classic_account(pool, buffer->tenant, -(uint64_t)buffer->size);
    pthread_mutex_lock(&pool->lock);
    pool->sums.live_bytes -= buffer->size;
    pool->sums.live_buffers--;
    int keep = pool->idle_count[class] < CLASSIC_IDLE;
    if (keep) {
        buffer->next      = pool->idle[class];
        pool->idle[class] = buffer;
        pool->idle_count[class]++;
    }
    pthread_mutex_unlock(&pool->lock);
    if (keep) return;
    free(buffer->data);
    free(buffer);
}

/* -- Statistics -- */

static struct classic_sums classic_stats(struct classic_buffers *pool)
{
    pthread_mutex_lock(&pool->lock);
    struct classic_sums sums = pool->sums;
    pthread_mutex_unlock(&pool->lock);
    return sums;
}

/* The length; at most capacity bytes are written. */
static size_t classic_metrics(struct classic_buffers *pool, char *text, size_t capacity)
{
    size_t len = 0;
    pthread_mutex_lock(&pool->tenants_lock);
    for (size_t i = 0; i < pool->bucket_count; i++)
        for (struct classic_tenant *tenant = pool->buckets[i]; tenant; tenant = tenant->next)
            len += (size_t)snprintf(len < capacity ? text + len : NULL,
                                    len < capacity ? capacity - len : 0,
                                    "buffer_pool_tenant_live_bytes{tenant_id=\"%s\"} %llu\n",
                                    tenant->name, (unsigned long long)tenant->live_bytes);
    pthread_mutex_unlock(&pool->tenants_lock);
    return len;
}

#endif /* CLASSIC_BUFFERS_H */
