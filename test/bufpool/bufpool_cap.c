/* Goal:   show that bufpool.h's caps hold to the byte on each level, refuse nothing that fits, and
 *         that bytes which come back wake those that wait for them.
 * Method: an oracle adds up what is live and reserved on each level, and says of each acquisition
 *         whether it fits, through shards and caches alike. Threads that together may hold exactly
 *         a cap are never refused; threads that may hold more never hold more than it together.
 * Usage:  bufpool_cap [SECONDS [STEPS]] */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define BUFPOOL_IMPLEMENTATION
#include "../../bufpool.h"

#include "../check.h"

enum { KIB = 1024, MIB = 1024 * 1024 };

static double         seconds = 0.1;
static long           steps   = 20000;
static bufpool       *pool;
static bufpool_cache *caches[2];

static void make(bufpool_config config)
{
    CHECK_EQ(bufpool_create(&pool, &config), 0);
    for (int i = 0; i < 2; i++) caches[i] = bufpool_cache_open(pool);
}

static void end(void)
{
    struct bufpool_info info;
    for (int i = 0; i < 2; i++) bufpool_cache_close(caches[i]);
    bufpool_stats(pool, &info);
    CHECK_EQ(info.live_bytes, 0);
    CHECK_EQ(info.underflows, 0);
    CHECK_EQ(bufpool_destroy(pool), 0);
}

static struct bufpool_tenant_info bill(const bufpool_tenant *tenant)
{
    struct bufpool_tenant_info now;
    bufpool_tenant_stats(tenant, &now);
    return now;
}

static int acquire(int way, size_t size, bufpool_tenant *tenant, bufpool_buf **buf)
{
    if (way == 2) return bufpool_try_acquire(pool, size, tenant, buf);
    *buf = bufpool_cache_acquire(caches[way], size, tenant);
    return *buf ? 0 : -EDQUOT;
}

static int release(int way, bufpool_buf *buf)
{
    return way == 2 ? bufpool_release(buf) : bufpool_cache_release(caches[way], buf);
}

/* ---- To the byte ---- */

static void bad_input(void)
{
    bufpool_buf *buf = (bufpool_buf *)&buf;
    bufpool     *theirs;

    make((bufpool_config){0});
    bufpool_tenant *acme = bufpool_tenant_get(pool, "acme", 4);
    CHECK_EQ(bufpool_create(&theirs, NULL), 0);
    bufpool_tenant *other = bufpool_tenant_get(theirs, "acme", 4);
    CHECK_EQ(bufpool_tenant_cap(NULL, 1, 0), -EINVAL);
    CHECK_EQ(bufpool_tenant_cap(acme, 10, 11), -EINVAL);
    CHECK_EQ(bufpool_tenant_cap(acme, 0, UINT64_MAX), -EINVAL);
    CHECK_EQ(bufpool_try_acquire(pool, 1, acme, NULL), -EINVAL);
    CHECK_EQ(bufpool_try_acquire(NULL, 1, NULL, &buf), -EINVAL);
    CHECK(buf == NULL);
    CHECK_EQ(bufpool_try_acquire(pool, 1, other, &buf), -EINVAL);
    CHECK_EQ(bufpool_try_acquire(pool, SIZE_MAX, acme, &buf), -ENOMEM);
    CHECK(buf == NULL);
    CHECK_EQ(bufpool_acquire_wait(NULL, 1, NULL, 5, &buf), -EINVAL);
    CHECK_EQ(bufpool_event(NULL, 1), -EINVAL);
    CHECK_EQ(bufpool_event(pool, -2), -EINVAL);
    CHECK(bufpool_tenant_child(NULL, "a", 1) == NULL);
    CHECK(bufpool_tenant_child(acme, "a", 0) == NULL);
    CHECK(bufpool_tenant_child(acme, NULL, 1) == NULL);
    CHECK_EQ(bill(acme).peak_bytes, 0);
    CHECK_EQ(bufpool_destroy(theirs), 0);
    end();
}

static void a_cap_is_exact(void)
{
    bufpool_buf *bufs[3], *more;

    make((bufpool_config){0});
    bufpool_tenant *acme = bufpool_tenant_get(pool, "acme", 4);
    for (size_t size = 1; size <= 10 * MIB; size *= 10) {
        CHECK_EQ(bufpool_tenant_cap(acme, 3 * size, 0), 0);
        CHECK_EQ(bill(acme).cap_bytes, 3 * size);
        for (int i = 0; i < 3; i++) CHECK_EQ(acquire(i, size, acme, &bufs[i]), 0);
        CHECK_EQ(bill(acme).live_bytes, 3 * size);
        for (int way = 0; way < 3; way++) CHECK_EQ(acquire(way, 1, acme, &more), -EDQUOT);
        CHECK_EQ(bill(acme).live_bytes, 3 * size);
        CHECK_EQ(release(0, bufs[2]), 0); /* in another cache than it came from */
        CHECK_EQ(acquire(2, size + 1, acme, &more), -EDQUOT);
        CHECK_EQ(acquire(1, size, acme, &bufs[2]), 0);
        CHECK_EQ(acquire(0, 1, acme, &more), -EDQUOT);
        CHECK_EQ(acquire(0, 0, acme, &more), 0); /* no bytes always fit */
        CHECK_EQ(release(1, more), 0);
        bufpool_charge(acme, 5); /* is not refused */
        CHECK_EQ(bufpool_tenant_cap(acme, 3 * size + 5, 0), 0);
        CHECK_EQ(acquire(1, 1, acme, &more), -EDQUOT);
        bufpool_discharge(acme, 5);
        CHECK_EQ(acquire(1, 5, acme, &more), 0);
        CHECK_EQ(release(0, more), 0);
        CHECK_EQ(bufpool_tenant_cap(acme, 1, 0), 0); /* below what is live */
        CHECK_EQ(acquire(1, 1, acme, &more), -EDQUOT);
        for (int i = 0; i < 3; i++) CHECK_EQ(release((i + 1) % 3, bufs[i]), 0);
        CHECK_EQ(acquire(1, 2, acme, &more), -EDQUOT);
        CHECK_EQ(acquire(2, 1, acme, &more), 0);
        CHECK_EQ(release(1, more), 0);
        CHECK_EQ(bufpool_tenant_cap(acme, 0, 0), 0);
    }
    CHECK(bill(acme).peak_bytes >= 30000000);
    end();
}

static void the_pools_cap_is_for_all(void)
{
    bufpool_buf *a, *b, *c;

    make((bufpool_config){.max_bytes = 10000});
    bufpool_tenant *acme = bufpool_tenant_get(pool, "acme", 4);
    bufpool_tenant *safe = bufpool_tenant_get(pool, "safe", 4);
    CHECK_EQ(acquire(2, 4000, NULL, &a), 0);
    CHECK_EQ(acquire(0, 4000, acme, &b), 0);
    for (int way = 0; way < 3; way++) CHECK_EQ(acquire(way, 2001, NULL, &c), -EDQUOT);
    CHECK_EQ(bufpool_tenant_cap(safe, 0, 2001), -EDQUOT);
    CHECK_EQ(bufpool_tenant_cap(safe, 0, 2000), 0);
    CHECK_EQ(acquire(1, 1, acme, &c), -EDQUOT);
    CHECK_EQ(acquire(1, 1, NULL, &c), -EDQUOT);
    CHECK_EQ(acquire(1, 2001, safe, &c), -EDQUOT);
    CHECK_EQ(acquire(1, 2000, safe, &c), 0);
    CHECK_EQ(release(0, c), 0);
    CHECK_EQ(acquire(0, 1, acme, &c), -EDQUOT); /* the reservation stays */
    CHECK_EQ(bufpool_tenant_cap(safe, 0, 0), 0);
    CHECK_EQ(acquire(0, 2000, acme, &c), 0);
    CHECK_EQ(release(2, c), 0);
    CHECK_EQ(release(1, a), 0);
    CHECK_EQ(release(2, b), 0);
    for (int way = 0; way < 3; way++) {
        CHECK_EQ(acquire(way, 10000, NULL, &a), 0);
        CHECK_EQ(release(way, a), 0);
    }
    end();
}

/* ---- The largest tenants; a change of tenants ---- */

static void the_largest_come_first(void)
{
    enum { MANY = 50 };
    bufpool_tenant *tenants[MANY + 1], *top[MANY + 1];
    size_t          len, count = 0;

    make((bufpool_config){0});
    CHECK_EQ(bufpool_top(NULL, top, 3), 0);
    CHECK_EQ(bufpool_top(pool, NULL, 3), 0);
    CHECK_EQ(bufpool_top(pool, top, 3), 0);
    CHECK(bufpool_tenant_next(NULL, NULL) == NULL && bufpool_tenant_next(pool, NULL) == NULL);
    CHECK(bufpool_tenant_name(NULL, &len) == NULL && len == 0);
    for (int i = 0; i < MANY; i++) {
        char name[16];
        tenants[i] = bufpool_tenant_get(pool, name, (size_t)snprintf(name, sizeof name, "%d", i));
        bufpool_charge(tenants[i], 1 + (unsigned)i * 37 % MANY); /* 37 and 50 have no divisor */
    }
    for (bufpool_tenant *it = NULL; (it = bufpool_tenant_next(pool, it)) != NULL; count++)
        CHECK(it == tenants[count] && atoi(bufpool_tenant_name(it, &len)) >= 0 && len > 0);
    CHECK_EQ(count, MANY);
    for (size_t k = 0; k <= MANY + 1; k++) {
        memset(top, 0, sizeof top);
        CHECK_EQ(bufpool_top(pool, top, k), k < MANY ? k : MANY);
        for (size_t i = 0; i < k && i < MANY; i++) CHECK_EQ(bill(top[i]).live_bytes, MANY - i);
        CHECK(k > MANY || top[k] == NULL);
    }
    bufpool_peak_reset(NULL);
    bufpool_discharge(tenants[0], 1);
    CHECK_EQ(bill(tenants[0]).peak_bytes, 1);
    bufpool_peak_reset(tenants[0]);
    CHECK_EQ(bill(tenants[0]).peak_bytes, 0);
    for (int i = 1; i < MANY; i++) bufpool_discharge(tenants[i], 1 + (unsigned)i * 37 % MANY);
    end();
}

static struct bufpool_info all(void)
{
    struct bufpool_info figures;
    bufpool_stats(pool, &figures);
    return figures;
}

/* A pool with a cap knows the most that was live in it. */
static void a_pool_has_a_peak(void)
{
    char text[4096];

    make((bufpool_config){0});
    CHECK_EQ(bufpool_release(bufpool_acquire(pool, 5000, NULL)), 0);
    CHECK_EQ(all().cap_bytes, 0);
    CHECK_EQ(all().peak_bytes, 0);
    bufpool_metrics(pool, text, sizeof text);
    CHECK(!strstr(text, "buffer_pool_peak_bytes") && !strstr(text, "buffer_pool_cap_bytes"));
    end();

    make((bufpool_config){.max_bytes = 10000000});
    bufpool_tenant *acme = bufpool_tenant_get(pool, "acme", 4);
    bufpool_buf    *buf  = bufpool_acquire(pool, 3000000, acme);
    bufpool_pool_peak_reset(NULL);
    CHECK_EQ(bufpool_release(bufpool_acquire(pool, 4000000, NULL)), 0);
    CHECK_EQ(all().cap_bytes, 10000000);
    uint64_t peak = all().peak_bytes;
    CHECK(peak >= 7000000 && peak <= 10000000);
    bufpool_metrics(pool, text, sizeof text);
    CHECK(strstr(text, "\nbuffer_pool_peak_bytes "));
    CHECK(strstr(text, "\nbuffer_pool_cap_bytes 10000000\n"));
    bufpool_pool_peak_reset(pool);
    CHECK(all().peak_bytes >= 3000000 && all().peak_bytes < peak);
    CHECK_EQ(bufpool_release(buf), 0);
    CHECK(all().peak_bytes >= 3000000); /* until the next reset */
    end();
}

static void a_buffer_changes_its_bill(void)
{
    bufpool_buf *buf;

    for (int capped = 0; capped < 2; capped++) {
        make((bufpool_config){.max_bytes = capped ? 20000 : 0});
        bufpool *theirs = NULL;
        CHECK_EQ(bufpool_create(&theirs, NULL), 0);
        bufpool_tenant *a = bufpool_tenant_get(pool, "a", 1), *b = bufpool_tenant_get(pool, "b", 1);
        CHECK_EQ(bufpool_tenant_cap(b, 4999, 0), 0);
        CHECK_EQ(acquire(capped, 5000, NULL, &buf), 0);
        CHECK_EQ(bufpool_rebill(buf, bufpool_tenant_get(theirs, "a", 1)), -EINVAL);
        CHECK_EQ(bufpool_rebill(buf, b), -EDQUOT);
        CHECK_EQ(bufpool_rebill(buf, a), 0);
        CHECK_EQ(bufpool_rebill(buf, a), 0);
        CHECK_EQ(bufpool_rebill(buf, b), -EDQUOT);
        CHECK_EQ(bill(a).live_bytes, 5000);
        CHECK_EQ(bill(b).live_bytes, 0);
        CHECK_EQ(bufpool_tenant_cap(b, 5000, 0), 0);
        CHECK_EQ(bufpool_rebill(buf, b), 0);
        CHECK_EQ(bill(a).live_bytes, 0);
        CHECK_EQ(bill(b).live_bytes, 5000);
        CHECK_EQ(bufpool_rebill(buf, NULL), 0);
        CHECK_EQ(bill(b).live_bytes, 0);
        CHECK_EQ(bufpool_rebill(buf, b), 0);
        CHECK_EQ(release(0, buf), 0);
        CHECK_EQ(bill(b).live_bytes, 0);
        CHECK_EQ(bufpool_rebill(NULL, a), -ESTALE);
        CHECK_EQ(bufpool_rebill(buf, a), -ESTALE);
        CHECK_EQ(bill(a).live_bytes, 0);
        CHECK_EQ(bufpool_destroy(theirs), 0);
        struct bufpool_info info;
        bufpool_stats(pool, &info);
        CHECK_EQ(info.underflows, 1);
        for (int i = 0; i < 2; i++) bufpool_cache_close(caches[i]);
        CHECK_EQ(bufpool_destroy(pool), 0);
    }
}

/* ---- The oracle ---- */

enum { NODES = 7, SLOTS = 40 };

static const int parents[NODES] = {-1, 0, 0, 1, 1, 2, 3}; /* 0: the pool; three levels below it */
static struct {
    bufpool_tenant *tenant;
    uint64_t        live, cap, reserved; /* live: of itself and all below */
} nodes[NODES];

static uint64_t weight(int node, uint64_t live)
{
    return live > nodes[node].reserved ? live : nodes[node].reserved;
}

/* What counts on a level: what is live in it, or reserved by those below it. */
static uint64_t counts(int node)
{
    uint64_t sum = nodes[node].live;
    for (int i = 0; i < NODES; i++)
        if (parents[i] == node) sum += weight(i, counts(i)) - nodes[i].live;
    return sum;
}

static bool fits(int node, uint64_t more)
{
    for (; node >= 0 && more > 0; node = parents[node]) {
        uint64_t was = counts(node);
        if (was > nodes[node].cap || more > nodes[node].cap - was) return false;
        more = weight(node, was + more) - weight(node, was);
    }
    return true;
}

static void count(int node, uint64_t more)
{
    for (; node >= 0; node = parents[node]) nodes[node].live += more;
}

static void set_cap(int node, uint64_t r)
{
    uint64_t cap = r % 4 ? r / 8 % 300000 : 0, reserved = r / 4 % 2 ? r / 1024 % 50000 : 0;
    if (cap > 0 && reserved > cap) reserved = cap;
    uint64_t live = counts(node), was = weight(node, live);
    uint64_t will = live > reserved ? live : reserved;
    bool     good = will <= was || fits(parents[node], will - was);
    CHECK_EQ(bufpool_tenant_cap(nodes[node].tenant, cap, reserved), good ? 0 : -EDQUOT);
    if (!good) return;
    nodes[node].cap      = cap > 0 ? cap : UINT64_MAX;
    nodes[node].reserved = reserved;
}

static void walk(bool pool_is_capped)
{
    static const char *const names[NODES] = {"", "a", "b", "a", "b", "a", "deep"};
    struct {
        bufpool_buf *buf;
        size_t       size;
        int          node;
    } slots[SLOTS]  = {{0}};
    uint64_t random = 7, refused = 0;

    make((bufpool_config){.max_bytes = pool_is_capped ? 400000 : 0});
    for (int i = 0; i < NODES; i++) {
        bufpool_tenant *parent = i > 2 ? nodes[parents[i]].tenant : NULL;
        nodes[i].live = nodes[i].reserved = 0;
        nodes[i].cap                      = i == 0 && pool_is_capped ? 400000 : UINT64_MAX;
        if (i == 0) nodes[i].tenant = NULL;
        else if (parent) nodes[i].tenant = bufpool_tenant_child(parent, names[i], strlen(names[i]));
        else nodes[i].tenant = bufpool_tenant_get(pool, names[i], 1);
        for (int j = 1; j < i; j++) CHECK(nodes[i].tenant != nodes[j].tenant);
    }
    for (long step = 0; step < steps; step++) {
        uint64_t r = check_random(&random);
        int      i = (int)(r % SLOTS), way = (int)((r >> 8) % 3), node = (int)((r >> 16) % NODES);
        if (r >> 24 & 63) {
            if (slots[i].buf) {
                CHECK_EQ(release(way, slots[i].buf), 0);
                count(slots[i].node, 0 - (uint64_t)slots[i].size);
                slots[i].buf = NULL;
                continue;
            }
            size_t size = (size_t)(r >> 32) % (r >> 30 & 1 ? 70000 : 5000);
            bool   good = fits(node, size);
            refused += !good;
            CHECK_EQ(acquire(way, size, nodes[node].tenant, &slots[i].buf), good ? 0 : -EDQUOT);
            if (!slots[i].buf) continue;
            slots[i].size = size;
            slots[i].node = node;
            count(node, size);
        } else if (node > 0) set_cap(node, r >> 30);
    }
    for (int i = 0; i < SLOTS; i++)
        if (slots[i].buf) CHECK_EQ(release(i % 3, slots[i].buf), 0);
    CHECK(refused > (uint64_t)steps / 100);
    printf("# %llu refused\n", (unsigned long long)refused);
    end();
}

static void caps_on_each_level(void)
{
    walk(false);
    walk(true);
}

/* ---- Threads ---- */

enum { THREADS = 4, EACH = 3, SIZE = 60000 };

static bufpool_tenant *tenant;
static atomic_bool     stop;
static atomic_llong    sure, got, refusals; /* sure: bytes live for sure */
static uint64_t        cap;
static bool            may_refuse;

static void *storm(void *arg)
{
    uint64_t       random     = (uintptr_t)arg;
    bufpool_buf   *bufs[EACH] = {NULL};
    size_t         sizes[EACH];
    bufpool_cache *cache = bufpool_cache_open(pool);

    while (!stop) {
        uint64_t r = check_random(&random);
        int      i = (int)(r % EACH);
        if (bufs[i]) {
            sure -= (long long)sizes[i];
            CHECK_EQ(r & 64 ? bufpool_release(bufs[i]) : bufpool_cache_release(cache, bufs[i]), 0);
            bufs[i] = NULL;
            continue;
        }
        sizes[i]  = may_refuse ? SIZE - (size_t)(r >> 16) % 1000 * (size_t)(r >> 9 & 1) : SIZE;
        int error = 0;
        if (r & 128) error = bufpool_try_acquire(pool, sizes[i], tenant, &bufs[i]);
        else bufs[i] = bufpool_cache_acquire(cache, sizes[i], tenant);
        if (!bufs[i]) {
            CHECK(may_refuse && (error == 0 || error == -EDQUOT));
            refusals++;
            continue;
        }
        got++;
        long long size = (long long)sizes[i];
        CHECK((uint64_t)(atomic_fetch_add(&sure, size) + size) <= cap);
    }
    for (int i = 0; i < EACH; i++) {
        if (!bufs[i]) continue;
        sure -= (long long)sizes[i];
        CHECK_EQ(bufpool_release(bufs[i]), 0);
    }
    bufpool_cache_close(cache);
    return NULL;
}

static void run_storm(void)
{
    pthread_t threads[THREADS];

    stop = false;
    sure = got = refusals = 0;
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, storm, (void *)(i + 1)), 0);
    for (int i = 0; i < 1000 && (i < seconds * 1000 / 6 || (may_refuse && refusals == 0)); i++)
        usleep(1000);
    stop = true;
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    printf("# %lld acquired, %lld refused\n", (long long)got, (long long)refusals);
    CHECK(got > 0);
    CHECK(!may_refuse || refusals > 0);
    CHECK_EQ(bill(tenant).live_bytes, 0);
}

static void storms(void)
{
    for (int level = 0; level < 3; level++) {
        cap = (uint64_t)(may_refuse ? THREADS * SIZE + 500 : THREADS * EACH * SIZE);
        make((bufpool_config){.max_bytes = level == 2 ? cap : 0});
        bufpool_tenant *parent = bufpool_tenant_get(pool, "acme", 4);
        tenant                 = level == 1 ? bufpool_tenant_child(parent, "query", 5) : parent;
        if (level < 2) CHECK_EQ(bufpool_tenant_cap(parent, cap, 0), 0);
        run_storm();
        end();
    }
}

static void nobody_is_refused_who_fits(void)
{
    may_refuse = false;
    storms();
}

static void nobody_is_ever_above_the_cap(void)
{
    may_refuse = true;
    storms();
}

/* ---- Waiting ---- */

static void *release_soon(void *buf)
{
    usleep(3000);
    CHECK_EQ(bufpool_release(buf), 0);
    return NULL;
}

static void bytes_that_come_back_wake(void)
{
    bufpool_buf *buf, *next;
    pthread_t    thread;
    uint64_t     events = 0;

    make((bufpool_config){0});
    tenant = bufpool_tenant_get(pool, "acme", 4);
    CHECK_EQ(bufpool_tenant_cap(tenant, 5000, 0), 0);
    int fd = eventfd(0, EFD_NONBLOCK);
    CHECK_EQ(bufpool_event(pool, fd), 0);
    for (int round = 0; round < 3; round++) {
        CHECK_EQ(bufpool_acquire_wait(pool, 5000, tenant, 0, &buf), 0);
        CHECK_EQ(bufpool_acquire_wait(pool, 1, tenant, 0, &next), -EDQUOT);
        CHECK_EQ(bufpool_acquire_wait(pool, 1, tenant, 2000000, &next), -ETIMEDOUT);
        CHECK(read(fd, &events, sizeof events) < 0); /* nothing came back */
        pthread_create(&thread, NULL, release_soon, buf);
        CHECK_EQ(bufpool_acquire_wait(pool, 4000, tenant, round == 1 ? -1 : 2000000000, &next), 0);
        pthread_join(thread, NULL);
        struct pollfd ready = {fd, POLLIN, 0};
        CHECK_EQ(poll(&ready, 1, 1000), 1);
        CHECK(read(fd, &events, sizeof events) == sizeof events && events > 0);
        CHECK_EQ(bufpool_release(next), 0);
        CHECK(read(fd, &events, sizeof events) < 0); /* nobody was refused since */
    }
    CHECK_EQ(bufpool_event(pool, -1), 0);
    close(fd);
    end();
}

int main(int argc, char **argv)
{
    if (argc > 1) seconds = atof(argv[1]);
    if (argc > 2) steps = atol(argv[2]);
    RUN(bad_input);
    RUN(a_cap_is_exact);
    RUN(the_pools_cap_is_for_all);
    RUN(the_largest_come_first);
    RUN(a_pool_has_a_peak);
    RUN(a_buffer_changes_its_bill);
    RUN(caps_on_each_level);
    RUN(nobody_is_refused_who_fits);
    RUN(nobody_is_ever_above_the_cap);
    RUN(bytes_that_come_back_wake);
    return REPORT();
}
