/* Goal: every public function does what bufpool.h says, between calls that do not overlap; what
 * overlaps is bufpool_stress.c's, where memory ends is bufpool_lack.c's. Method: call each, through
 * the pool and through two caches, and compare all figures after each step with those that plain
 * arithmetic gives; at length in a random walk. System calls go through a function of this file,
 * which can refuse one, as an old kernel would.
 *
 *     bufpool_test [tenants]     1000000 says what a look-up costs among so many; and what else
 * takes a second is done
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long test_syscall(long number, long a, long b, long c, long d, long e, long f);
#define BUFPOOL_SYSCALL(number, a, b, c, d, e, f) \
    test_syscall(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define BUFPOOL_IMPLEMENTATION
#include "../../bufpool.h"

#include "../check.h"

enum { KIB = 1024, MIB = 1024 * 1024 };

static bool no_membarrier; /* a kernel before 4.14, or a filter that forbids it */
static bool no_getrandom;  /* a kernel before 3.17, or a filter */

static long test_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    if ((number == SYS_membarrier && no_membarrier) || (number == SYS_getrandom && no_getrandom)) {
        errno = ENOSYS;
        return -1;
    }
    return syscall(number, a, b, c, d, e, f);
}

/* What trim needs to get at the buffers in open caches; qemu, for one, may not have it. */
static bool this_machine_has_membarrier(void)
{
    long commands = syscall(SYS_membarrier, 0, 0, 0); /* which there are */
    return !no_membarrier && commands > 0 && (commands & 1 << 3) && (commands & 1 << 4);
}

static bufpool       *pool;
static bufpool_cache *cache, *other;

static void make(bufpool_config config)
{
    CHECK_EQ(bufpool_create(&pool, &config), 0);
    if (!pool) exit(1);
}

static void make_with_caches(bufpool_config config)
{
    make(config);
    cache = bufpool_cache_open(pool);
    other = bufpool_cache_open(pool);
    CHECK(cache && other);
}

static void close_caches(void)
{
    bufpool_cache_close(cache);
    bufpool_cache_close(other);
    cache = other = NULL;
}

static struct bufpool_info info(void)
{
    struct bufpool_info now;
    memset(&now, 0x5a, sizeof now);
    bufpool_stats(pool, &now);
    return now;
}

/* Nothing is out any more. */
static void end(void)
{
    CHECK_EQ(info().live_bytes, 0);
    CHECK_EQ(info().capacity_bytes, 0);
    CHECK_EQ(bufpool_destroy(pool), 0);
    pool = NULL;
}

static bufpool_tenant *tenant_named(const char *name)
{
    bufpool_tenant *tenant = bufpool_tenant_get(pool, name, strlen(name));
    CHECK(tenant != NULL);
    return tenant;
}

static bufpool_tenant *tenant_number(uint32_t i)
{
    char name[32];
    return bufpool_tenant_get(pool, name, (size_t)snprintf(name, sizeof name, "tenant-%u", i));
}

static struct bufpool_tenant_info bill(const bufpool_tenant *tenant)
{
    struct bufpool_tenant_info now;
    bufpool_tenant_stats(tenant, &now);
    return now;
}

static void idle_is(uint64_t small, uint64_t medium, uint64_t large, uint64_t huge)
{
    struct bufpool_info now = info();
    CHECK_EQ(now.idle_buffers[BUFPOOL_SMALL], small);
    CHECK_EQ(now.idle_buffers[BUFPOOL_MEDIUM], medium);
    CHECK_EQ(now.idle_buffers[BUFPOOL_LARGE], large);
    CHECK_EQ(now.idle_buffers[BUFPOOL_HUGE], huge);
    CHECK_EQ(now.idle_bytes, small * 4 * KIB + medium * 64 * KIB + large * MIB + huge * 10 * MIB);
}

/* ---- The ways to acquire and to release ---- */

enum { SHARED, CACHE, OTHER, WAYS };

static bufpool_buf *acquire(int way, size_t size, bufpool_tenant *tenant)
{
    if (way == SHARED) return bufpool_acquire(pool, size, tenant);
    return bufpool_cache_acquire(way == CACHE ? cache : other, size, tenant);
}

static int release(int way, bufpool_buf *buf)
{
    if (way == SHARED) return bufpool_release(buf);
    return bufpool_cache_release(way == CACHE ? cache : other, buf);
}

/* Acquires count buffers and releases them: that many are idle, or as many as may be. */
static void leave_idle(int way, size_t size, int count)
{
    bufpool_buf *bufs[200];
    for (int i = 0; i < count; i++) CHECK((bufs[i] = acquire(way, size, NULL)) != NULL);
    for (int i = 0; i < count; i++) CHECK_EQ(release(way, bufs[i]), 0);
}

/* ---- Classes ---- */

static const size_t capacities[] = {4 * KIB, 64 * KIB, MIB, 10 * MIB, SIZE_MAX};

static const struct {
    size_t        size;
    bufpool_class c;
} boundaries[] = {{0, BUFPOOL_SMALL},          {1, BUFPOOL_SMALL},
                  {4095, BUFPOOL_SMALL},       {4096, BUFPOOL_SMALL},
                  {4097, BUFPOOL_MEDIUM},      {65535, BUFPOOL_MEDIUM},
                  {65536, BUFPOOL_MEDIUM},     {65537, BUFPOOL_LARGE},
                  {MIB - 1, BUFPOOL_LARGE},    {MIB, BUFPOOL_LARGE},
                  {MIB + 1, BUFPOOL_HUGE},     {10 * MIB - 1, BUFPOOL_HUGE},
                  {10 * MIB, BUFPOOL_HUGE},    {10 * MIB + 1, BUFPOOL_OVERSIZE},
                  {11 * MIB, BUFPOOL_OVERSIZE}};
enum { BOUNDARIES = sizeof boundaries / sizeof *boundaries };

static void classes_and_their_sizes(void)
{
    static const char *const slugs[] = {"small", "medium", "large", "huge", "oversize"};

    for (int c = BUFPOOL_SMALL; c <= BUFPOOL_OVERSIZE; c++) {
        CHECK(bufpool_class_capacity((bufpool_class)c) == capacities[c]);
        CHECK(strcmp(bufpool_class_slug((bufpool_class)c), slugs[c]) == 0);
    }
    for (int i = 0; i < BOUNDARIES; i++)
        CHECK_EQ(bufpool_class_for(boundaries[i].size), boundaries[i].c);
    CHECK_EQ(bufpool_class_for(SIZE_MAX), BUFPOOL_OVERSIZE);
    CHECK_EQ(bufpool_class_for(SIZE_MAX / 2 + 1), BUFPOOL_OVERSIZE);
    CHECK_EQ(BUFPOOL_CLASSES, 4);
    CHECK_EQ(BUFPOOL_OVERSIZE, 4);
}

/* Every byte; of large ones the first of each page, and the last. */
static bool zero(const unsigned char *data, size_t size)
{
    for (size_t i = 0, step = size > 64 * KIB ? 4096 : 1; i < size; i += step)
        if (data[i]) return false;
    return data[size - 1] == 0;
}

/* A new buffer of this size, in this way: all that can be said of it. */
static void a_buffer_of(int way, size_t size, bufpool_class c)
{
    bufpool_tenant     *tenant = tenant_named("acme");
    struct bufpool_info before = info();
    bufpool_buf        *buf    = acquire(way, size, tenant);
    CHECK(buf != NULL);
    if (!buf) return;
    unsigned char *data     = bufpool_data(buf);
    size_t         capacity = bufpool_capacity(buf);
    CHECK_EQ((uintptr_t)data % 4096, 0);
    CHECK_EQ(bufpool_class_of(buf), c);
    if (c == BUFPOOL_OVERSIZE) CHECK(capacity >= size && capacity < size + 64 * KIB);
    else CHECK_EQ(capacity, bufpool_class_capacity(c));
    CHECK(zero(data, capacity));
    data[0] = data[capacity - 1] = 1;

    struct bufpool_info now = info();
    CHECK_EQ(now.live_bytes, size);
    CHECK_EQ(now.live_buffers, 1);
    CHECK_EQ(now.capacity_bytes, capacity);
    CHECK_EQ(bill(tenant).live_bytes, size);
    CHECK_EQ(now.oversize - before.oversize, c == BUFPOOL_OVERSIZE);
    for (int i = 0; i < BUFPOOL_CLASSES; i++) {
        CHECK_EQ(now.hits[i], before.hits[i]);
        CHECK_EQ(now.misses[i] - before.misses[i], i == (int)c);
    }
    CHECK_EQ(release(way, buf), 0);
    idle_is(c == 0, c == 1, c == 2, c == 3);
    CHECK_EQ(info().live_buffers, 0);
    CHECK_EQ(bill(tenant).live_bytes, 0);
}

static void buffers_of_every_boundary(void)
{
    for (int way = 0; way < WAYS; way++)
        for (int i = 0; i < BOUNDARIES; i++) {
            make_with_caches((bufpool_config){0});
            a_buffer_of(way, boundaries[i].size, boundaries[i].c);
            close_caches();
            end();
        }
}

/* Also where a page more would be beyond SIZE_MAX. Nothing is charged, and nothing is lost. */
static void sizes_that_no_machine_has(void)
{
    static const size_t sizes[] = {SIZE_MAX,
                                   SIZE_MAX - 1,
                                   SIZE_MAX - 63,
                                   SIZE_MAX - 4094,
                                   SIZE_MAX - 4095,
                                   SIZE_MAX - 4096,
                                   SIZE_MAX - 8192,
                                   SIZE_MAX - 65535,
                                   SIZE_MAX - 2 * MIB,
                                   (size_t)PTRDIFF_MAX + 4097,
                                   (size_t)PTRDIFF_MAX + 2,
                                   (size_t)PTRDIFF_MAX + 1,
                                   PTRDIFF_MAX,
                                   PTRDIFF_MAX - 1,
                                   PTRDIFF_MAX - 4094,
                                   PTRDIFF_MAX - 4095,
                                   PTRDIFF_MAX - 4096};

    make_with_caches((bufpool_config){.tenant_soft_limit = 1});
    bufpool_tenant *tenant = tenant_named("acme");
    bufpool_buf    *one    = bufpool_acquire(pool, 5, tenant);
    strcpy(bufpool_data(one), "hold");
    struct bufpool_info before = info();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int way = 0; way < WAYS; way++) {
            CHECK_EQ(bufpool_class_for(sizes[i]), BUFPOOL_OVERSIZE);
            if (sizeof(size_t) == 4 && sizes[i] <= PTRDIFF_MAX) continue; /* 2 GiB may be there */
            CHECK(acquire(way, sizes[i], tenant) == NULL);
            CHECK(acquire(way, sizes[i], NULL) == NULL);
            struct bufpool_info now = info();
            CHECK(memcmp(&now, &before, sizeof now) == 0);
            CHECK_EQ(bill(tenant).live_bytes, 5);
            CHECK_EQ(bill(tenant).soft_limit_exceeded, 1);
        }
    CHECK(strcmp(bufpool_data(one), "hold") == 0);
    CHECK_EQ(bufpool_release(one), 0);
    close_caches();
    end();
}

/* ---- Pools ---- */

static void defaults(void)
{
    for (int i = 0; i < 2; i++) {
        if (i == 0) CHECK_EQ(bufpool_create(&pool, NULL), 0);
        else make((bufpool_config){0});
        struct bufpool_info fresh = info(), none = {0};
        CHECK(memcmp(&fresh, &none, sizeof none) == 0);
        CHECK_EQ(bill(tenant_named("acme")).soft_limit_bytes, UINT64_C(256) * MIB);
        leave_idle(SHARED, 1, 70);
        leave_idle(SHARED, 5000, 70);
        idle_is(64, 64, 0, 0);
        bufpool_trim(pool, 0);
        leave_idle(SHARED, 10 * MIB, 8);
        idle_is(0, 0, 0, 6); /* more would be above 64 MiB */
        bufpool_trim(pool, 0);
        leave_idle(SHARED, MIB, 70);
        idle_is(0, 0, 64, 0);
        end();
    }
}

static void bad_configs(void)
{
    static const uint32_t flags[] = {2, 3, 4, 1u << 31, UINT32_MAX};

    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        pool = (bufpool *)1;
        CHECK_EQ(bufpool_create(&pool, &(bufpool_config){.flags = flags[i]}), -EINVAL);
        CHECK(pool == NULL);
        CHECK_EQ(bufpool_create(NULL, &(bufpool_config){.flags = flags[i]}), -EINVAL);
    }
    CHECK_EQ(bufpool_create(NULL, NULL), -EINVAL);
    CHECK_EQ(bufpool_create(NULL, &(bufpool_config){0}), -EINVAL);
}

static void nothing_is_nothing(void)
{
    bufpool_view               view = {(const unsigned char *)"x", 1, NULL};
    struct bufpool_info        figures, no_figures = {0};
    struct bufpool_tenant_info account, no_account = {0};
    char                       text[2] = "x";

    CHECK_EQ(bufpool_destroy(NULL), 0);
    bufpool_cache_close(NULL);
    bufpool_charge(NULL, 5);
    bufpool_discharge(NULL, 5);
    CHECK_EQ(bufpool_release(NULL), -ESTALE);
    CHECK(bufpool_retain(NULL) == NULL);
    CHECK(bufpool_data(NULL) == NULL);
    CHECK_EQ(bufpool_view_of(NULL, 0, 0, &view), -ESTALE);
    CHECK(!view.data && !view.len && !view.buf);
    CHECK_EQ(bufpool_view_drop(&view), -ESTALE);
    CHECK_EQ(bufpool_view_cut(&view, 0, 0, &view), -ESTALE);
    CHECK_EQ(bufpool_view_shrink(&view), -ESTALE);
    CHECK_EQ(bufpool_capacity(NULL), 0);
    CHECK_EQ(bufpool_class_of(NULL), BUFPOOL_OVERSIZE);
    CHECK(!bufpool_writable(NULL));
    CHECK(bufpool_acquire(NULL, 1, NULL) == NULL);
    CHECK(bufpool_cache_open(NULL) == NULL);
    CHECK(bufpool_tenant_get(NULL, "acme", 4) == NULL);
    CHECK_EQ(bufpool_trim(NULL, 0), 0);
    CHECK_EQ(bufpool_metrics(NULL, text, sizeof text), 0);
    CHECK_EQ(text[0], 0);
    CHECK_EQ(bufpool_metrics(NULL, NULL, 0), 0);
    bufpool_tenant_limit(NULL, 5);
    memset(&account, 0x5a, sizeof account);
    bufpool_tenant_stats(NULL, &account);
    CHECK(memcmp(&account, &no_account, sizeof account) == 0);
    bufpool_tenant_stats(NULL, NULL);
    memset(&figures, 0x5a, sizeof figures);
    bufpool_stats(NULL, &figures);
    CHECK(memcmp(&figures, &no_figures, sizeof figures) == 0);
    bufpool_stats(NULL, NULL);
    make_with_caches((bufpool_config){0});
    CHECK_EQ(bufpool_cache_release(cache, NULL), -ESTALE);
    CHECK_EQ(info().underflows, 0);
    close_caches();
    end();
}

/* As bufpool.h says at its top, and who is asked in between. */
static void a_view_outlives_the_name(void)
{
    bufpool_view word;

    make((bufpool_config){0});
    bufpool_tenant *tenant = tenant_named("acme");
    bufpool_buf    *buf    = bufpool_acquire(pool, 6000, tenant);
    strcpy(bufpool_data(buf), "say hello");
    CHECK_EQ(bufpool_view_of(buf, 4, 5, &word), 0);
    CHECK(!bufpool_writable(buf));
    CHECK_EQ(bufpool_release(buf), 1);
    CHECK(bufpool_writable(word.buf));
    CHECK_EQ(word.len, 5);
    CHECK(memcmp(word.data, "hello", 5) == 0);
    CHECK_EQ(bill(tenant).live_bytes, 6000);
    CHECK_EQ(bufpool_view_drop(&word), 0);
    CHECK_EQ(bill(tenant).live_bytes, 0);
    idle_is(0, 1, 0, 0);
    end();
}

/* ---- References ---- */

static void references_are_counted(void)
{
    make_with_caches((bufpool_config){0});
    for (int i = 0; i < 3 * WAYS; i++) {
        size_t       size = i < WAYS ? 100 : i < 2 * WAYS ? 2 * MIB : 12 * MIB;
        bufpool_buf *buf  = acquire(i % WAYS, size, NULL);
        CHECK(bufpool_writable(buf));
        for (int refs = 2; refs <= 1000; refs++) {
            CHECK(bufpool_retain(buf) == buf);
            CHECK(!bufpool_writable(buf));
        }
        CHECK_EQ(info().live_bytes, size); /* once, for all holders */
        CHECK_EQ(info().live_buffers, 1);
        for (int refs = 999; refs >= 1; refs--) {
            CHECK(!bufpool_writable(buf));
            CHECK_EQ(release(refs % WAYS, buf), refs);
        }
        CHECK(bufpool_writable(buf));
        CHECK_EQ(info().live_bytes, size);
        CHECK_EQ(release((i + 1) % WAYS, buf), 0);
        CHECK_EQ(info().live_bytes, 0);
        CHECK_EQ(release(i % WAYS, buf), -ESTALE);
        CHECK_EQ(info().underflows, i + 1);
    }
    close_caches();
    end();
}

/* 33 million references are too many; 33 million less one are not. Takes a second. */
static void references_have_an_end(void)
{
    make((bufpool_config){0});
    bufpool_buf *buf   = bufpool_acquire(pool, 1, NULL);
    int          count = 1;
    while (count < 40000000 && bufpool_retain(buf) == buf) count++;
    CHECK(count >= 33000000 && count < 40000000);
    CHECK(bufpool_retain(buf) == NULL);
    CHECK_EQ(info().underflows, 0);
    CHECK(bufpool_data(buf) != NULL);
    while (--count > 0)
        if (bufpool_release(buf) != count) break;
    CHECK_EQ(count, 0);
    CHECK_EQ(bufpool_release(buf), 0);
    CHECK_EQ(bufpool_release(buf), -ESTALE);
    end();
}

/* A release of another's reference succeeds; the last release, then one too many, fails. */
static void one_release_too_many(void)
{
    make((bufpool_config){0});
    bufpool_buf *buf = bufpool_acquire(pool, 1, NULL);
    bufpool_retain(buf);
    CHECK_EQ(bufpool_release(buf), 1);
    CHECK_EQ(bufpool_release(buf), 0);
    CHECK_EQ(info().underflows, 0);
    CHECK_EQ(bufpool_release(buf), -ESTALE);
    CHECK_EQ(bufpool_release(buf), -ESTALE);
    CHECK_EQ(info().underflows, 2);
    CHECK_EQ(info().live_buffers, 0);
    idle_is(1, 0, 0, 0);
    end();
}

/* A buffer without references, or in another life: whatever is tried with the old name fails, what
 * takes or gives a reference is counted, and nothing happens. */
static void is_stale(bufpool_buf *name)
{
    struct bufpool_info before = info();
    bufpool_view        view = {(const unsigned char *)"x", 1, name}, into = view;
    bufpool_view        twice = view;

    for (int way = 0; way < WAYS; way++) CHECK_EQ(release(way, name), -ESTALE);
    CHECK_EQ(info().underflows, before.underflows + WAYS);
    CHECK(bufpool_retain(name) == NULL);
    CHECK_EQ(info().underflows, before.underflows + WAYS + 1);
    CHECK_EQ(bufpool_view_drop(&twice), -ESTALE);
    CHECK_EQ(info().underflows, before.underflows + WAYS + 2);
    CHECK(!twice.data && !twice.len && !twice.buf);
    CHECK(bufpool_data(name) == NULL);
    CHECK_EQ(bufpool_view_of(name, 0, 1, &into), -ESTALE);
    CHECK(!into.data && !into.len && !into.buf);
    CHECK_EQ(bufpool_view_cut(&view, 0, 1, &into), -ESTALE);
    CHECK(!into.data && !into.len && !into.buf);
    CHECK_EQ(bufpool_view_cut(&view, 0, 1, &view), -ESTALE);
    CHECK(view.data && view.len == 1 && view.buf == name);

    struct bufpool_info after = info();
    before.underflows         = after.underflows;
    CHECK(memcmp(&after, &before, sizeof after) == 0);
}

/* The 63 names that a buffer had before are all stale, when it is idle as when it is held. */
static void a_name_is_good_for_one_life(void)
{
    enum { LIVES = 200 };
    static bufpool_buf *names[LIVES];

    make_with_caches((bufpool_config){0});
    for (int way = 0; way < WAYS; way++) {
        for (int life = 0; life < LIVES; life++) {
            bufpool_buf *buf = names[life] = acquire(way, 100, NULL);
            char        *data              = bufpool_data(buf);
            strcpy(data, "mine");
            int first = life > 63 ? life - 63 : 0;
            for (int old = first; old < life; old += life % 8 ? 9 : 1) {
                CHECK(names[old] != buf);
                CHECK_EQ(release(old % WAYS, names[old]), -ESTALE);
            }
            if (life > 0) is_stale(names[life % 2 ? first : life - 1]);
            CHECK(bufpool_retain(buf) == buf);
            if (life > 0) is_stale(names[life - 1]);
            CHECK(strcmp(data, "mine") == 0);
            CHECK(bufpool_data(buf) == data);
            CHECK_EQ(release(way, buf), 1);
            CHECK_EQ(release((way + life) % WAYS, buf), 0);
            is_stale(buf);
            is_stale(names[first]);
        }
    }
    close_caches();
    end();
}

/* Its memory was unmapped, and what stood for it stands for another of another class. */
static void a_name_is_stale_after_trim_too(void)
{
    static const size_t sizes[] = {1, 12 * MIB, 5000, 10 * MIB, 1, 11 * MIB, MIB};
    enum { SIZES = sizeof sizes / sizeof *sizes };
    bufpool_buf *names[SIZES], *bufs[SIZES];

    make_with_caches((bufpool_config){0});
    for (int i = 0; i < SIZES; i++) {
        names[i] = acquire(i % WAYS, sizes[i], NULL);
        CHECK_EQ(release(i % WAYS, names[i]), 0);
        bufpool_trim(pool, 0);
        for (int old = 0; old <= i; old++) is_stale(names[old]);
    }
    for (int i = 0; i < SIZES; i++) {
        bufs[i] = acquire(i % WAYS, sizes[(i + 3) % SIZES], NULL);
        for (int old = 0; old < SIZES; old++) is_stale(names[old]);
    }
    for (int i = 0; i < SIZES; i++) CHECK_EQ(release(i % WAYS, bufs[i]), 0);
    close_caches();
    end();
}

/* ---- Views ---- */

static void is_empty(const bufpool_view *view)
{
    CHECK(view->data == NULL);
    CHECK_EQ(view->len, 0);
    CHECK(view->buf == NULL);
}

static void views_of(size_t size)
{
    bufpool_buf   *buf  = bufpool_acquire(pool, size, NULL);
    unsigned char *data = bufpool_data(buf);
    size_t         end  = bufpool_capacity(buf); /* what is beyond size may be used, too */
    const struct {
        size_t offset, len;
        int    result;
    } cuts[] = {
        {0, 0, 0},
        {0, end, 0},
        {end, 0, 0},
        {end - 1, 1, 0},
        {1, end - 1, 0},
        {7, 5, 0},
        {0, end + 1, -ERANGE},
        {1, end, -ERANGE},
        {end, 1, -ERANGE},
        {end - 1, 2, -ERANGE},
        {end + 1, 0, -ERANGE},
        {SIZE_MAX, 0, -ERANGE},
        {0, SIZE_MAX, -ERANGE},
        {1, SIZE_MAX, -ERANGE},
        {2, SIZE_MAX, -ERANGE},
        {SIZE_MAX, 1, -ERANGE},
        {SIZE_MAX, 2, -ERANGE},
        {SIZE_MAX, SIZE_MAX, -ERANGE},
        {SIZE_MAX - 6, 7 + 5, -ERANGE},
        {end, SIZE_MAX - end + 1, -ERANGE},
        {end / 2, SIZE_MAX - end / 2 + 2, -ERANGE},
        {SIZE_MAX / 2 + 1, SIZE_MAX / 2 + 1, -ERANGE},
    };
    bufpool_view whole, view, narrow;

    CHECK_EQ(bufpool_view_of(buf, 0, end, &whole), 0);
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        size_t offset = cuts[i].offset, len = cuts[i].len;
        view = (bufpool_view){data + 1, 1, buf};
        CHECK_EQ(bufpool_view_of(buf, offset, len, &view), cuts[i].result);
        if (cuts[i].result) is_empty(&view);
        else {
            CHECK(view.data == data + offset && view.len == len && view.buf == buf);
            CHECK_EQ(bufpool_view_drop(&view), 2);
            is_empty(&view);
        }
        view = (bufpool_view){data + 1, 1, buf};
        CHECK_EQ(bufpool_view_cut(&whole, offset, len, &view), cuts[i].result);
        if (cuts[i].result) is_empty(&view);
        else CHECK_EQ(bufpool_view_drop(&view), 2);

        CHECK_EQ(bufpool_view_cut(&whole, 0, end, &narrow), 0);
        CHECK_EQ(bufpool_view_cut(&narrow, offset, len, &narrow), cuts[i].result);
        if (cuts[i].result) CHECK(narrow.data == data && narrow.len == end && narrow.buf == buf);
        else CHECK(narrow.data == data + offset && narrow.len == len && narrow.buf == buf);
        CHECK_EQ(bufpool_view_drop(&narrow), 2);
    }
    CHECK_EQ(info().underflows, 0);
    CHECK_EQ(bufpool_release(buf), 1);
    CHECK_EQ(bufpool_view_drop(&whole), 0);
    is_empty(&whole);
    CHECK_EQ(bufpool_view_drop(&whole), -ESTALE);
    is_empty(&whole);
}

/* The copy is charged to the same tenant; a view that fits no smaller class stays where it is. */
static void a_view_moves_to_a_smaller_buffer(void)
{
    bufpool_view view, twice;

    make((bufpool_config){0});
    bufpool_tenant *tenant = tenant_named("acme");
    bufpool_buf    *buf    = bufpool_acquire(pool, 2 * MIB, tenant);
    strcpy((char *)bufpool_data(buf) + MIB, "a request of forty bytes, of which we keep some");
    CHECK_EQ(bufpool_view_of(buf, MIB, 20, &view), 0);
    CHECK_EQ(bufpool_release(buf), 1);
    twice = view;
    CHECK_EQ(bufpool_view_shrink(&view), 0);
    CHECK(view.buf != buf && view.len == 20 && view.data == bufpool_data(view.buf));
    CHECK(memcmp(view.data, "a request of forty b", 20) == 0);
    CHECK_EQ(bufpool_class_of(view.buf), BUFPOOL_SMALL);
    CHECK(bufpool_writable(view.buf));
    CHECK_EQ(bill(tenant).live_bytes, 20);
    CHECK_EQ(info().live_bytes, 20);
    idle_is(0, 0, 0, 1);
    buf = view.buf;
    CHECK_EQ(bufpool_view_shrink(&view), 0); /* there is no smaller class */
    CHECK(view.buf == buf && view.len == 20);
    CHECK_EQ(bufpool_view_shrink(&twice), -ESTALE);
    CHECK_EQ(info().underflows, 1);
    CHECK_EQ(bufpool_view_drop(&view), 0);
    CHECK_EQ(bufpool_view_shrink(&view), -ESTALE);
    is_empty(&view);

    buf = bufpool_acquire(pool, 10 * MIB + 1, NULL);
    CHECK_EQ(bufpool_view_of(buf, 7, 0, &view), 0);
    CHECK_EQ(bufpool_view_shrink(&view), 0);
    CHECK(view.buf != buf && view.len == 0);
    CHECK_EQ(bufpool_release(buf), 0);
    CHECK_EQ(bufpool_view_drop(&view), 0);
    end();
}

/* At a cap, and without memory: the view stays as it was. */
static void a_view_that_cannot_move(void)
{
    bufpool_view view;

    make((bufpool_config){0});
    bufpool_tenant *tenant = tenant_named("acme");
    bufpool_buf    *buf    = bufpool_acquire(pool, 5000, tenant);
    CHECK_EQ(bufpool_view_of(buf, 100, 20, &view), 0);
    CHECK_EQ(bufpool_tenant_cap(tenant, 5019, 0), 0);
    CHECK_EQ(bufpool_view_shrink(&view), -EDQUOT);
    CHECK(view.buf == buf && view.len == 20);
    CHECK_EQ(bill(tenant).live_bytes, 5000);
    CHECK_EQ(bufpool_tenant_cap(tenant, 5020, 0), 0);
    CHECK_EQ(bufpool_view_shrink(&view), 0);
    CHECK_EQ(bill(tenant).live_bytes, 5020);
    CHECK_EQ(bufpool_release(buf), 0);
    CHECK_EQ(bufpool_view_drop(&view), 0);
    end();
}

static void views_end_where_buffers_do(void)
{
    static const size_t sizes[] = {100, 4096, 5000, 64 * KIB, 2 * MIB, 10 * MIB, 10 * MIB + 1};

    make((bufpool_config){0});
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) views_of(sizes[i]);
    end();
}

/* A view of a view ends where that one does, not where the buffer does. */
static void cuts_end_where_views_do(void)
{
    bufpool_view word, letter, cut;

    make((bufpool_config){0});
    bufpool_buf *buf = bufpool_acquire(pool, 100, NULL);
    strcpy(bufpool_data(buf), "say hello twice");
    CHECK_EQ(bufpool_view_of(buf, 4, 5, &word), 0);
    CHECK_EQ(bufpool_release(buf), 1);
    CHECK_EQ(bufpool_view_cut(&word, 1, 2, &letter), 0);
    CHECK(memcmp(letter.data, "el", 2) == 0);
    CHECK_EQ(bufpool_view_cut(&letter, 0, 3, &cut), -ERANGE);
    is_empty(&cut);
    CHECK_EQ(bufpool_view_cut(&letter, 2, 1, &cut), -ERANGE);
    CHECK_EQ(bufpool_view_cut(&letter, 3, 0, &cut), -ERANGE);
    CHECK_EQ(bufpool_view_cut(&letter, SIZE_MAX, 1, &cut), -ERANGE); /* 'h' */
    CHECK_EQ(bufpool_view_cut(&letter, SIZE_MAX, 2, &cut), -ERANGE);
    CHECK_EQ(bufpool_view_cut(&letter, 2, 0, &cut), 0);
    CHECK(cut.data == letter.data + 2 && cut.len == 0);
    CHECK_EQ(bufpool_view_drop(&word), 2); /* its cuts have references of their own */
    CHECK(memcmp(letter.data, "el", 2) == 0);
    CHECK_EQ(bufpool_view_cut(&letter, 1, 1, &letter), 0);
    CHECK(letter.data[0] == 'l' && letter.len == 1);
    CHECK_EQ(bufpool_view_drop(&cut), 1);
    CHECK_EQ(bufpool_view_drop(&cut), -ESTALE);
    bufpool_view copy = letter;
    CHECK_EQ(bufpool_view_drop(&letter), 0);
    CHECK_EQ(info().underflows, 0); /* an emptied view belongs to no pool */
    CHECK_EQ(bufpool_view_drop(&copy), -ESTALE);
    CHECK_EQ(info().underflows, 1);
    end();
}

/* ---- Caches ---- */

/* The buffers of a class that all caches together may keep; one more is a cache's own. */
static uint64_t in_caches(int c)
{
    uint64_t each = MIB / capacities[c];
    return info().caches * ((each < 32 ? each : 32) + (c == 0));
}

static void a_cache_keeps_buffers(void)
{
    make_with_caches((bufpool_config){0});
    CHECK_EQ(info().caches, 2);
    for (int c = 0; c < BUFPOOL_CLASSES; c++) {
        bufpool_buf *buf  = bufpool_cache_acquire(cache, capacities[c], NULL);
        void        *data = bufpool_data(buf);
        CHECK_EQ(bufpool_cache_release(cache, buf), 0);
        CHECK_EQ(info().idle_buffers[c], 1);
        for (int round = 0; round < 10; round++) {
            buf = bufpool_cache_acquire(cache, capacities[c] - 1, NULL);
            CHECK(bufpool_data(buf) == data); /* still warm */
            CHECK_EQ(info().idle_buffers[c], 0);
            CHECK_EQ(bufpool_cache_release(cache, buf), 0);
        }
        CHECK_EQ(info().hits[c], 10);
        CHECK_EQ(info().misses[c], 1);
    }
    idle_is(1, 1, 1, 1);
    close_caches();
    CHECK_EQ(info().caches, 0);
    idle_is(1, 1, 1, 1); /* the pool's */
    for (int c = 0; c < BUFPOOL_CLASSES; c++) leave_idle(SHARED, capacities[c], 1);
    for (int c = 0; c < BUFPOOL_CLASSES; c++) CHECK_EQ(info().hits[c], 11);
    end();
}

/* Acquired in one way, retained, released in two others; many more than a cache has room for. */
static void any_buffer_through_any_way(void)
{
    enum { COUNT = 150 };
    static bufpool_buf *bufs[COUNT];

    make_with_caches((bufpool_config){0});
    bufpool_tenant *tenant = tenant_named("acme");
    for (int round = 0; round < WAYS * WAYS * WAYS; round++) {
        int    way = round % WAYS, first = round / WAYS % WAYS, last = round / WAYS / WAYS;
        size_t size = capacities[round % 2];
        for (int i = 0; i < COUNT; i++) {
            bufs[i]    = bufpool_retain(acquire(way, size, tenant));
            char *data = bufpool_data(bufs[i]);
            data[0]    = (char)i;
        }
        CHECK_EQ(bill(tenant).live_bytes, size * COUNT);
        for (int i = 0; i < COUNT; i++) CHECK_EQ(((char *)bufpool_data(bufs[i]))[0], (char)i);
        for (int i = 0; i < COUNT; i++) CHECK_EQ(release(first, bufs[i]), 1);
        CHECK_EQ(bill(tenant).live_bytes, size * COUNT);
        for (int i = 0; i < COUNT; i++) CHECK_EQ(release(last, bufs[i]), 0);
        CHECK_EQ(bill(tenant).live_bytes, 0);
        CHECK(info().idle_buffers[round % 2] <= 64 + in_caches(round % 2));
    }
    close_caches();
    end();
}

/* A buffer goes back to the pool that it came from, through any pool's cache. */
static void two_pools_side_by_side(void)
{
    bufpool            *mine, *theirs;
    bufpool_buf        *bufs[100];
    struct bufpool_info there;

    CHECK_EQ(bufpool_create(&theirs, &(bufpool_config){.tenant_soft_limit = 7}), 0);
    make_with_caches((bufpool_config){0});
    mine                   = pool;
    bufpool_tenant *acme   = bufpool_tenant_get(mine, "acme", 4);
    bufpool_tenant *acme_2 = bufpool_tenant_get(theirs, "acme", 4);
    CHECK(acme != acme_2);
    CHECK_EQ(bill(acme_2).soft_limit_bytes, 7);
    for (int way = 0; way < WAYS; way++) {
        for (int i = 0; i < 100; i++) bufs[i] = bufpool_acquire(theirs, 100, acme_2);
        CHECK_EQ(bill(acme_2).live_bytes, 10000);
        CHECK_EQ(bill(acme).live_bytes, 0);
        CHECK_EQ(info().live_buffers, 0);
        for (int i = 0; i < 100; i++) CHECK_EQ(release(way, bufs[i]), 0);
        bufpool_stats(theirs, &there);
        CHECK_EQ(there.live_bytes, 0);
        CHECK_EQ(there.idle_buffers[0], 64);
        CHECK_EQ(bill(acme_2).live_bytes, 0);
        CHECK_EQ(release(way, bufs[0]), -ESTALE);
    }
    bufpool_stats(theirs, &there);
    CHECK_EQ(there.underflows, 3);
    idle_is(0, 0, 0, 0);
    struct bufpool_info here = info();
    CHECK_EQ(here.underflows + here.hits[0] + here.misses[0], 0);
    CHECK_EQ(bufpool_destroy(theirs), 0);
    leave_idle(CACHE, 1, 10);
    close_caches();
    end();
}

static bool takes_its_time; /* as its caller wants */

/* More than there are bits to tell them apart by, with one tenant in all of them; or as many as
 * there can be, which takes a second. */
static void a_crowd_of_caches(void)
{
    enum { FEW = 200, AT_LEAST = 4000, MOST = 4200 };
    static bufpool_cache *crowd[MOST];
    static bufpool_buf   *bufs[FEW];
    int                   count = 0, some = takes_its_time ? MOST : FEW;

    make((bufpool_config){0});
    bufpool_tenant *tenant = tenant_number(0), *rival = NULL; /* they share a place in a cache */
    for (uint32_t i = 1; i <= 256; i++) rival = tenant_number(i);
    while (count < some && (crowd[count] = bufpool_cache_open(pool)) != NULL) count++;
    CHECK(takes_its_time ? count >= AT_LEAST && count < MOST : count == FEW);
    CHECK_EQ(info().caches, count);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < FEW; i++) {
            bufs[i] = bufpool_cache_acquire(crowd[count / FEW * i], 1000, tenant);
            if (i % 10 == 0) CHECK_EQ(bill(tenant).live_bytes, 1000 * (i + 1));
        }
        for (int i = 0; i < FEW; i++) {
            bufpool_cache *one = crowd[count / FEW * i];
            CHECK_EQ(bufpool_cache_release(one, bufpool_cache_acquire(one, 10, rival)), 0);
            CHECK_EQ(bill(tenant).live_bytes, 1000 * FEW);
        }
        for (int i = 0; i < FEW; i++) {
            int c = count / FEW * ((i + round) % FEW);
            CHECK_EQ(bufpool_cache_release(crowd[c], bufs[i]), 0);
            if (i % 10 == 0) CHECK_EQ(bill(tenant).live_bytes, 1000 * (FEW - 1 - i));
        }
        CHECK(info().idle_buffers[0] <= 64 + in_caches(0));
    }
    for (int i = 0; i < count; i += 2) bufpool_cache_close(crowd[i]);
    CHECK_EQ(info().caches, count / 2);
    CHECK((crowd[0] = bufpool_cache_open(pool)) != NULL); /* there is room again */
    bufpool_cache_close(crowd[0]);
    for (int i = 1; i < count; i += 2) bufpool_cache_close(crowd[i]);
    CHECK_EQ(info().caches, 0);
    CHECK_EQ(bill(tenant).live_bytes, 0);
    end();
}

/* ---- What is kept idle ---- */

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

static void within(uint64_t most_buffers, uint64_t most_bytes)
{
    struct bufpool_info now = info();
    uint64_t            sum = 0, cached = 0;

    for (int c = 0; c < BUFPOOL_CLASSES; c++) {
        CHECK(now.idle_buffers[c] <= most_buffers + in_caches(c));
        sum += now.idle_buffers[c] * capacities[c];
        cached += in_caches(c) * capacities[c];
    }
    CHECK_EQ(now.idle_bytes, sum);
    CHECK(sum < cached || sum - cached <= most_bytes);
}

/* As many as may be, where there is one class and no cache; else no more than may be. */
static void idle_is_bounded(void)
{
    static const bufpool_config configs[] = {{.idle_buffers = 1},
                                             {.idle_buffers = 3},
                                             {.idle_buffers = 12, .idle_bytes = 1000 * MIB},
                                             {.idle_buffers = UINT32_MAX, .idle_bytes = SIZE_MAX},
                                             {.idle_bytes = 1},
                                             {.idle_bytes = 4095},
                                             {.idle_bytes = 4096},
                                             {.idle_bytes = 8191},
                                             {.idle_bytes = 8192},
                                             {.idle_bytes = 3 * MIB - 1},
                                             {.idle_bytes = 13 * MIB, .idle_buffers = 2},
                                             {.idle_bytes = 41 * MIB, .idle_buffers = 20}};

    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        uint64_t buffers = configs[i].idle_buffers ? configs[i].idle_buffers : 64;
        uint64_t bytes   = configs[i].idle_bytes ? configs[i].idle_bytes : 64 * MIB;
        make(configs[i]);
        for (int c = 0; c < BUFPOOL_CLASSES; c++) {
            leave_idle(SHARED, capacities[c], 20);
            uint64_t most = least(20, least(buffers, bytes / capacities[c]));
            idle_is(c == 0 ? most : 0, c == 1 ? most : 0, c == 2 ? most : 0, c == 3 ? most : 0);
            CHECK_EQ(bufpool_trim(pool, 0), most * capacities[c]);
        }
        end();

        make_with_caches(configs[i]);
        for (int round = 0; round < 4 * WAYS * BUFPOOL_CLASSES; round++) {
            int c = round / WAYS % BUFPOOL_CLASSES; /* small ones first, then large ones */
            leave_idle(round % WAYS, capacities[round & 32 ? 3 - c : c], 20);
            within(buffers, bytes);
        }
        close_caches();
        within(buffers, bytes);
        end();
    }
}

/* When there are no bytes left, a class that keeps more than another gives way to it: what was idle
 * once is not so for ever. Nothing is lost on the way, in shards and in caches. */
static void no_class_starves(void)
{
    for (int round = 0; round < 2 * WAYS * BUFPOOL_CLASSES; round++) {
        int way = round % WAYS, c = round / WAYS % BUFPOOL_CLASSES, other_c = c == 3 ? 2 : 3;
        make_with_caches((bufpool_config){.idle_bytes = 40 * MIB});
        leave_idle(round < WAYS * BUFPOOL_CLASSES ? SHARED : (way + 1) % WAYS, capacities[other_c],
                   50);
        leave_idle(way, capacities[c], 20);
        within(64, 40 * MIB);
        CHECK(info().idle_buffers[c] > 0);
        close_caches();
        within(64, 40 * MIB);
        end();
    }
}

/* What a trim to so many bytes leaves: the largest goes first; a small one may stay in a cache. */
static void trim_to(size_t keep)
{
    struct bufpool_info before = info();
    uint64_t            left   = before.idle_bytes, idle[BUFPOOL_CLASSES];
    for (int c = BUFPOOL_CLASSES - 1; c >= 0; c--) {
        idle[c] = before.idle_buffers[c];
        for (; left > keep && idle[c] > 0; idle[c]--) left -= capacities[c];
    }
    size_t              given = bufpool_trim(pool, keep);
    struct bufpool_info after = info();
    CHECK_EQ(given, before.idle_bytes - after.idle_bytes);
    for (uint64_t stay = least(before.idle_buffers[0], before.caches); idle[0] < stay; idle[0]++)
        if (idle[0] == after.idle_buffers[0]) break;
    idle_is(idle[0], idle[1], idle[2], idle[3]);
}

/* All that it reaches. */
static void trim_all(void)
{
    bufpool_trim(pool, 0);
    CHECK(info().idle_bytes <= info().caches * 4 * KIB);
}

static void trim_gives_the_largest_first(void)
{
    static const size_t keeps[] = {SIZE_MAX, 40 * MIB, 30 * MIB - 1, 25 * MIB,  15 * MIB,
                                   3 * MIB,  2 * MIB,  MIB + 1,      600 * KIB, 64 * KIB + 1,
                                   64 * KIB, 16 * KIB, 8191,         4096,      4095,
                                   1,        0};
    enum { KEEPS = sizeof keeps / sizeof *keeps };

    for (int ways = 1; ways <= WAYS; ways += WAYS - 1) {
        if (ways > 1 && !this_machine_has_membarrier()) {
            puts("# this machine has no membarrier");
            continue;
        }
        if (ways == 1) make((bufpool_config){0});
        else make_with_caches((bufpool_config){0});
        for (int start = 0; start < KEEPS; start++) {
            for (int way = 0; way < ways; way++)
                for (int c = 0; c < BUFPOOL_CLASSES; c++)
                    leave_idle(way, capacities[c], c == 0 ? 7 : c == 1 ? 5 : 2);
            for (int i = start; i < KEEPS; i += start + 1) trim_to(keeps[i]);
            trim_to(0);
            trim_all();
            for (int way = 0; way < ways; way++) leave_idle(way, 1, 3); /* all works as before */
        }
        close_caches();
        end();
    }
}

static pthread_barrier_t turn;

/* Fills its own cache, does nothing while others trim, and goes on. */
static void *sit_idle(void *arg)
{
    bufpool_cache *mine = bufpool_cache_open(pool);
    bufpool_buf   *bufs[3];

    (void)arg;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 3; i++) bufs[i] = bufpool_cache_acquire(mine, 5000, NULL);
        for (int i = 0; i < 3; i++) CHECK_EQ(bufpool_cache_release(mine, bufs[i]), 0);
        pthread_barrier_wait(&turn);
        pthread_barrier_wait(&turn);
    }
    bufpool_cache_close(mine);
    return NULL;
}

static void trim_reaches_caches_of_others(void)
{
    pthread_t thread;

    make((bufpool_config){0});
    pthread_barrier_init(&turn, NULL, 2);
    pthread_create(&thread, NULL, sit_idle, NULL);
    for (int round = 0; round < 3; round++) {
        pthread_barrier_wait(&turn);
        CHECK_EQ(info().caches, 1);
        if (this_machine_has_membarrier()) {
            idle_is(0, 3, 0, 0);
            CHECK_EQ(bufpool_trim(pool, 64 * KIB), 2 * 64 * KIB);
            idle_is(0, 1, 0, 0);
            CHECK_EQ(bufpool_trim(pool, 0), 64 * KIB);
        } else CHECK_EQ(bufpool_trim(pool, 0) + info().idle_bytes, 3 * 64 * KIB);
        pthread_barrier_wait(&turn);
    }
    pthread_join(thread, NULL);
    bufpool_trim(pool, 0);
    CHECK_EQ(info().idle_bytes, 0); /* no cache is open any more */
    pthread_barrier_destroy(&turn);
    end();
}

/* ---- Tenants ---- */

static void names_of_tenants(void)
{
    static char     longest[257];
    bufpool_tenant *letters[256];

    make((bufpool_config){0});
    memset(longest, 'x', sizeof longest);
    CHECK(bufpool_tenant_get(pool, "", 0) == NULL);
    CHECK(bufpool_tenant_get(pool, NULL, 0) == NULL);
    CHECK(bufpool_tenant_get(pool, longest, 256) == NULL);
    CHECK(bufpool_tenant_get(pool, longest, 257) == NULL);
    CHECK(bufpool_tenant_get(pool, longest, SIZE_MAX) == NULL);
    CHECK(bufpool_tenant_get(pool, longest, (size_t)PTRDIFF_MAX + 1) == NULL);
    CHECK_EQ(info().tenants, 0);
    for (int i = 0; i < 256; i++) {
        char name  = (char)i;
        letters[i] = bufpool_tenant_get(pool, &name, 1);
        bufpool_charge(letters[i], (uint64_t)i + 1);
    }
    CHECK_EQ(info().tenants, 256);
    for (int i = 0; i < 256; i++) {
        char name = (char)i;
        CHECK(bufpool_tenant_get(pool, &name, 1) == letters[i]);
        CHECK_EQ(bill(letters[i]).live_bytes, i + 1);
        bufpool_discharge(letters[i], (uint64_t)i + 1);
    }
    /* Each a name of its own: as long, but for the end; as far, but longer; with bytes 0. */
    static const struct {
        const char *name;
        size_t      len;
    } names[] = {{"acme", 4},     {"acmf", 4},   {"acm", 3},      {"ac", 2},      {"acme\0", 5},
                 {"acme\0\0", 6}, {"\0acme", 5}, {"ac\0me", 5},   {"ac\0mf", 5},  {"\0\0", 2},
                 {"\0\0\0", 3},   {"ACME", 4},   {"acme acm", 8}, {"\xff\xfe", 2}};
    enum { NAMES = sizeof names / sizeof *names };
    bufpool_tenant *tenants[NAMES];
    for (int i = 0; i < NAMES; i++) {
        tenants[i] = bufpool_tenant_get(pool, names[i].name, names[i].len);
        CHECK(tenants[i] != NULL);
        for (int other_one = 0; other_one < i; other_one++) CHECK(tenants[other_one] != tenants[i]);
    }
    bufpool_tenant *full = bufpool_tenant_get(pool, longest, 255);
    CHECK(full && full != bufpool_tenant_get(pool, longest, 254));
    longest[254] = 'y';
    CHECK(full != bufpool_tenant_get(pool, longest, 255));
    longest[254] = 'x';
    CHECK(full == bufpool_tenant_get(pool, longest, 255)); /* wherever the name lies */
    for (int i = 0; i < NAMES; i++)
        CHECK(tenants[i] == bufpool_tenant_get(pool, names[i].name, names[i].len));
    CHECK_EQ(info().tenants, 256 + NAMES + 3);
    end();
}

/* Processor time, which others that run beside us do not change. */
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static size_t resident_bytes(void)
{
    long  total = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file && fscanf(file, "%ld %ld", &total, &resident) != 2) resident = 0;
    if (file) fclose(file);
    return (size_t)resident * (size_t)sysconf(_SC_PAGESIZE);
}

/* Names of 22 blocks of 8 bytes. Under a hash that multiplies and folds each block, these two
 * changes cancel each other, whatever the seed: bit 63 of a block, bits 63 and 34 of the next. */
enum { CHOSEN = 2048, PAIRS = 11 };

static void choose_name(unsigned char *name, uint32_t which, bool collides)
{
    memset(name, 'x', PAIRS * 16);
    for (int pair = 0; pair < PAIRS; pair++) {
        if (!(which >> pair & 1)) continue;
        uint64_t       blocks[2];
        unsigned char *at = name + 16 * pair;
        memcpy(blocks, at, 16);
        blocks[0] ^= UINT64_C(1) << 63;
        if (collides) blocks[1] ^= UINT64_C(1) << 63 | UINT64_C(1) << 34;
        memcpy(at, blocks, 16);
    }
}

/* The time of a look-up of one of such names. */
static double look_up_chosen(bool collides)
{
    static bufpool_tenant *chosen[CHOSEN];
    unsigned char          name[PAIRS * 16];

    make((bufpool_config){0});
    for (uint32_t i = 0; i < CHOSEN; i++) {
        choose_name(name, i, collides);
        CHECK((chosen[i] = bufpool_tenant_get(pool, (char *)name, sizeof name)) != NULL);
    }
    CHECK_EQ(info().tenants, CHOSEN);
    double start = now();
    for (uint32_t i = 0; i < CHOSEN; i++) {
        choose_name(name, i, collides);
        CHECK(bufpool_tenant_get(pool, (char *)name, sizeof name) == chosen[i]);
    }
    double time = (now() - start) / CHOSEN * 1e9;
    end();
    return time;
}

static void names_that_are_chosen_to_collide(void)
{
    double others = look_up_chosen(false), chosen = look_up_chosen(true);

    CHECK(chosen < 10 * others + 1000);
    printf("# a look-up takes %.0f ns, of names that are chosen to collide %.0f\n", others, chosen);
}

/* The results are those of CPython 3.11 for the same bytes (PYTHONHASHSEED=0: a key of zeros). */
static void the_hash_is_siphash_1_3(void)
{
    static const struct {
        size_t   len;
        uint64_t hash;
    } known[] = {{1, UINT64_C(0x68a914128e01e473)},  {7, UINT64_C(0x2f098ab0c751325a)},
                 {8, UINT64_C(0xead411e67ebe2eea)},  {9, UINT64_C(0x75927f9d95124362)},
                 {15, UINT64_C(0xf30eb725bb91c9ea)}, {16, UINT64_C(0x8972188433a5c5b7)},
                 {63, UINT64_C(0x385d3e39e5f37359)}};
    static const uint64_t key[2] = {0, 0};
    char                  bytes[63];

    for (int i = 0; i < 63; i++) bytes[i] = (char)i;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        CHECK(bufpool__sip(key, bytes, known[i].len) == known[i].hash);
}

/* With getrandom and without: no pool's key is another's, or what the C library keeps secret. */
static void each_pool_has_a_key_of_its_own(void)
{
    uint64_t        keys[4][2], secret[2];
    bufpool_tenant *tenant;

    memcpy(secret, (const void *)getauxval(AT_RANDOM), sizeof secret);
    for (int i = 0; i < 4; i++) {
        bufpool *pools[2];
        no_getrandom = i >= 2;
        CHECK_EQ(bufpool_create(&pools[0], NULL), 0);
        CHECK_EQ(bufpool_create(&pools[1], NULL), 0);
        memcpy(keys[i], pools[i % 2]->key, sizeof keys[i]);
        CHECK((tenant = bufpool_tenant_get(pools[1], "acme", 4)) != NULL);
        CHECK(bufpool_tenant_get(pools[1], "acme", 4) == tenant);
        for (int word = 0; word < 2; word++) {
            CHECK(keys[i][word] != 0 && keys[i][word] != keys[i][!word]);
            CHECK(keys[i][word] != secret[0] && keys[i][word] != secret[1]);
            for (int before = 0; before < i; before++)
                if (before / 2 == i / 2 || !no_getrandom)
                    CHECK(keys[before][word] != keys[i][word]);
        }
        CHECK_EQ(bufpool_destroy(pools[0]), 0);
        CHECK_EQ(bufpool_destroy(pools[1]), 0);
    }
    no_getrandom = false;
}

static uint32_t         how_many = 20000;
static bufpool_tenant **crowd;

/* The time of a look-up among as many as there are. */
static double look_up(uint32_t count)
{
    enum { LOOKS = 20000 };
    uint64_t random = 7;
    double   start  = now();
    for (int i = 0; i < LOOKS; i++) {
        uint32_t which = (uint32_t)(check_random(&random) % count);
        CHECK(tenant_number(which) == crowd[which]);
    }
    return (now() - start) / LOOKS * 1e9;
}

static void a_crowd_of_tenants(void)
{
    double first = 0, last = 0;

    make((bufpool_config){0});
    crowd = calloc(how_many, sizeof *crowd);
    memset(crowd, 1, how_many * sizeof *crowd); /* so that it counts before */
    size_t before = resident_bytes();
    for (uint32_t i = 0; i < how_many; i++) {
        crowd[i] = tenant_number(i);
        CHECK(crowd[i] != NULL);
        if (!crowd[i]) exit(1);
        bufpool_charge(crowd[i], i);
        if (i + 1 == 2000) first = look_up(2000);
    }
    size_t bytes = resident_bytes() - before;
    last         = look_up(how_many);
    CHECK_EQ(info().tenants, how_many);
    CHECK_EQ(info().live_bytes, (uint64_t)how_many * (how_many - 1) / 2);
    for (uint32_t i = 0; i < how_many; i++) {
        CHECK_EQ(bill(crowd[i]).live_bytes, i);
        bufpool_discharge(crowd[i], i);
    }
    CHECK_EQ(info().tenants, how_many);
    CHECK_EQ(info().underflows, 0);
    CHECK(last < 4 * first + 1000); /* a list takes as many times as long as there are more */
    if (how_many > 20000)
        printf("# a look-up takes %.0f ns among 2000 tenants, %.0f among %u; %zu bytes each\n",
               first, last, how_many, bytes / how_many);
    free(crowd);
    end();
}

static void bill_is(const bufpool_tenant *tenant, uint64_t limit, uint64_t live, uint64_t exceeded)
{
    struct bufpool_tenant_info now_it_is = bill(tenant);
    CHECK_EQ(now_it_is.soft_limit_bytes, limit);
    CHECK_EQ(now_it_is.live_bytes, live);
    CHECK_EQ(now_it_is.soft_limit_exceeded, exceeded);
}

/* A limit is the most there may be; beyond it each acquisition and charge counts, whatever its
 * size, until the tenant is below again. */
static void soft_limits(int way)
{
    make_with_caches((bufpool_config){.tenant_soft_limit = 10000});
    bufpool_tenant *tenant = tenant_named("acme"), *second = tenant_named("b");
    bill_is(tenant, 10000, 0, 0);
    bufpool_buf *a = acquire(way, 10000, tenant);
    bill_is(tenant, 10000, 10000, 0); /* not above */
    bufpool_buf *b = acquire(way, 0, tenant);
    bill_is(tenant, 10000, 10000, 0);
    bufpool_buf *c = acquire(way, 1, tenant);
    bill_is(tenant, 10000, 10001, 1);
    bufpool_charge(tenant, 1);
    bill_is(tenant, 10000, 10002, 2);
    bufpool_buf *d = acquire(way, 0, tenant); /* with it, it is above */
    bill_is(tenant, 10000, 10002, 3);
    bufpool_charge(tenant, 0);
    bill_is(tenant, 10000, 10002, 4);
    bufpool_buf *e = acquire(way, 5, second);
    bill_is(second, 10000, 5, 0);
    CHECK_EQ(release(way, c), 0);
    bufpool_discharge(tenant, 1);
    bill_is(tenant, 10000, 10000, 4);
    bufpool_retain(a); /* a reference is no acquisition */
    CHECK_EQ(release(way, a), 1);
    bill_is(tenant, 10000, 10000, 4);
    bufpool_charge(tenant, 0);
    bill_is(tenant, 10000, 10000, 4);

    bufpool_tenant_limit(tenant, 9999); /* below what is live: counts from the next on */
    bill_is(tenant, 9999, 10000, 4);
    bufpool_charge(tenant, 0);
    bill_is(tenant, 9999, 10000, 5);
    bufpool_tenant_limit(tenant, UINT64_MAX);
    c = acquire(way, 10 * MIB, tenant);
    bill_is(tenant, UINT64_MAX, 10 * MIB + 10000, 5);
    bufpool_tenant_limit(tenant, 0);
    bill_is(tenant, 10000, 10 * MIB + 10000, 5);
    bufpool_charge(tenant, 7);
    bill_is(tenant, 10000, 10 * MIB + 10007, 6);
    bufpool_tenant_limit(tenant, 1);
    bill_is(second, 10000, 5, 0); /* it is each one's own */
    bill_is(tenant_named("new"), 10000, 0, 0);
    bufpool_discharge(tenant, 7);
    CHECK_EQ(release(way, a), 0);
    CHECK_EQ(release(way, b), 0);
    CHECK_EQ(release(way, c), 0);
    CHECK_EQ(release(way, d), 0);
    CHECK_EQ(release(way, e), 0);
    bill_is(tenant, 1, 0, 6);
    bufpool_charge(tenant, 1);
    bill_is(tenant, 1, 1, 6);
    bufpool_discharge(tenant, 1);
    CHECK_EQ(info().underflows, 0);
    close_caches();
    end();
}

static void soft_limits_are_counted(void)
{
    for (int way = 0; way < WAYS; way++) soft_limits(way);
}

/* Up to a limit and down again, many times, by steps of all sizes and ways: where a cache looks at
 * sums of its own, it must look again in time. */
static void near_the_limit(void)
{
    static const size_t steps[] = {1, 10, 100, 999, 4096, 5000, 60000};
    static bufpool_buf *bufs[2000];

    for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
        make_with_caches((bufpool_config){.tenant_soft_limit = 100 * steps[s]});
        bufpool_tenant *tenant   = tenant_named("acme");
        uint64_t        exceeded = 0;
        for (int round = 0; round < 6; round++) {
            int top = 95 + 3 * round;
            for (int i = 0; i < top; i++) {
                bufs[i] = acquire((i + round) % WAYS, steps[s], tenant);
                exceeded += i >= 100;
                bill_is(tenant, 100 * steps[s], (uint64_t)(i + 1) * steps[s], exceeded);
            }
            for (int i = top; i-- > 0;) {
                CHECK_EQ(release((i + 2 * round) % WAYS, bufs[i]), 0);
                bill_is(tenant, 100 * steps[s], (uint64_t)i * steps[s], exceeded);
            }
        }
        CHECK_EQ(info().underflows, 0);
        close_caches();
        end();
    }
}

/* More tenants than a cache has places for: each one's account is right, wherever it is kept. */
static void more_tenants_than_a_cache_knows(void)
{
    enum { COUNT = 600 };
    static bufpool_tenant *tenants[COUNT];
    static bufpool_buf    *bufs[2][COUNT];
    uint64_t               exceeded = 0;

    make_with_caches((bufpool_config){.tenant_soft_limit = 5000, .idle_buffers = 2000});
    for (uint32_t i = 0; i < COUNT; i++) tenants[i] = tenant_number(i);
    for (int round = 0; round < 6; round++) {
        for (int i = 0; i < COUNT; i++)
            for (int j = 0; j < 2; j++) { /* those that share a place, one after the other */
                int t      = j ? (i + 256 * round) % COUNT : i;
                bufs[j][t] = acquire((i / 3 + j + round) % WAYS, 2000 + (size_t)t, tenants[t]);
            }
        for (int i = 0; i < COUNT; i++) { /* 500 is the last whose second buffer is within it */
            uint64_t live = 4000 + 2 * (uint64_t)i, before = exceeded * (i > 500 ? 2 : 1);
            bill_is(tenants[i], 5000, live, before + (i > 500));
            bufpool_charge(tenants[i], 1001);
            bill_is(tenants[i], 5000, live + 1001, before + (i > 500) + 1);
            bufpool_discharge(tenants[i], 1001);
        }
        exceeded++;
        for (int i = 0; i < COUNT; i++)
            for (int j = 0; j < 2; j++)
                CHECK_EQ(release((i / 7 + j + round / 2) % WAYS, bufs[j][i * 7 % COUNT]), 0);
        for (int i = 0; i < COUNT; i++) bill_is(tenants[i], 5000, 0, exceeded * (i > 500 ? 2 : 1));
        CHECK_EQ(info().live_bytes, 0);
    }
    CHECK_EQ(info().underflows, 0);
    close_caches();
    end();
}

/* More than a figure holds is the most that it holds. */
static void charges_of_many_tenants(void)
{
    const uint64_t  most = UINT64_C(1) << 62;
    bufpool_tenant *tenants[6];
    bufpool_buf    *buf;

    make((bufpool_config){.tenant_soft_limit = UINT64_MAX});
    CHECK((buf = bufpool_acquire(pool, 100, NULL)) != NULL);
    for (uint32_t i = 0; i < 6; i++) {
        bufpool_charge(tenants[i] = tenant_number(i), most);
        CHECK_EQ(info().live_bytes, i < 3 ? (i + 1) * most + 100 : UINT64_MAX);
    }
    for (uint32_t i = 6; i-- > 0;) {
        for (int piece = 0; piece < 5; piece++) /* no whole units of 2^32 */
            bufpool_discharge(tenants[i], UINT32_MAX - 1);
        bufpool_discharge(tenants[i], most - 5 * UINT64_C(0xfffffffe));
        CHECK_EQ(info().live_bytes, i < 4 ? i * most + 100 : UINT64_MAX);
    }
    CHECK_EQ(info().underflows, 0);
    CHECK_EQ(bufpool_release(buf), 0);
    end();
}

static void charges(void)
{
    const uint64_t most = UINT64_C(1) << 62;

    make((bufpool_config){.tenant_soft_limit = UINT64_MAX});
    bufpool_tenant *tenant = tenant_named("acme");
    bufpool_buf    *buf    = bufpool_acquire(pool, 100, tenant);
    bufpool_charge(tenant, 50);
    CHECK_EQ(info().live_bytes, 150);
    CHECK_EQ(info().live_buffers, 1); /* no buffer of ours */
    CHECK_EQ(info().capacity_bytes, 4096);
    bufpool_discharge(tenant, 20);
    CHECK_EQ(bill(tenant).live_bytes, 130);
    bufpool_discharge(tenant, 31); /* one too many: the buffer's bytes stay */
    CHECK_EQ(bill(tenant).live_bytes, 100);
    CHECK_EQ(info().live_bytes, 100);
    CHECK_EQ(info().underflows, 1);
    bufpool_discharge(tenant, 1);
    bufpool_discharge(tenant, UINT64_MAX);
    bufpool_discharge(tenant, 0); /* which is not too many */
    CHECK_EQ(bill(tenant).live_bytes, 100);
    CHECK_EQ(info().underflows, 3);

    const uint64_t above[] = {1,        2,        most - 1,     most,           most + 1,
                              2 * most, 3 * most, 3 * most + 1, UINT64_MAX - 1, UINT64_MAX};
    for (size_t i = 0; i < sizeof above / sizeof *above; i++) {
        uint64_t underflows = info().underflows;
        bufpool_charge(tenant, most);
        CHECK_EQ(info().underflows, underflows);
        CHECK_EQ(bill(tenant).live_bytes, most + 100);
        bufpool_charge(tenant, 0);
        CHECK_EQ(info().underflows, underflows);
        bufpool_charge(tenant, above[i]);
        CHECK_EQ(info().underflows, underflows + 1);
        CHECK_EQ(bill(tenant).live_bytes, most + 100);
        CHECK_EQ(info().live_bytes, most + 100);
        bufpool_discharge(tenant, most);
        CHECK_EQ(bill(tenant).live_bytes, 100);
        bufpool_charge(tenant, 10);
        bufpool_charge(tenant, most - 10);
        CHECK_EQ(info().underflows, underflows + 1);
        bufpool_discharge(tenant, 5);
        bufpool_charge(tenant, above[i] | 8); /* what there is room for */
        CHECK_EQ(info().underflows, underflows + 2);
        CHECK_EQ(bill(tenant).live_bytes, most + 100);
        bufpool_discharge(tenant, most);
        CHECK_EQ(info().live_bytes, 100);
    }
    CHECK_EQ(bufpool_release(buf), 0);
    CHECK_EQ(bill(tenant).live_bytes, 0);
    CHECK_EQ(bill(tenant).soft_limit_exceeded, 0);
    end();
}

/* ---- Whose bytes are seen ---- */

static void dirty(unsigned char *data, size_t size, unsigned char mark)
{
    if (size <= 64 * KIB) memset(data, mark, size);
    else
        for (size_t i = 0; i < size; i += 4096) data[i + i / 4096 % 4096] = mark;
    data[0] = data[size - 1] = mark;
}

static bool has_none(const unsigned char *data, size_t size, unsigned char mark)
{
    if (data[0] == mark || data[size - 1] == mark) return false;
    for (size_t i = 0; i < size; i += size <= 64 * KIB ? 1 : 4096)
        if (data[size <= 64 * KIB ? i : i + i / 4096 % 4096] == mark) return false;
    return true;
}

/* The first leaves its mark, the second gets the same buffer. */
static void wiped(int way, size_t size, bufpool_tenant *first, bufpool_tenant *second)
{
    bufpool_buf   *buf      = acquire(way, size - size / 9, first); /* all of it may be used */
    unsigned char *data     = bufpool_data(buf);
    size_t         capacity = bufpool_capacity(buf);
    CHECK(has_none(data, capacity, 'b'));
    dirty(data, capacity, 'a');
    CHECK_EQ(release(way, buf), 0);

    buf = acquire(way, size, second);
    if (size <= 10 * MIB) CHECK(bufpool_data(buf) == data);
    data = bufpool_data(buf);
    CHECK(zero(data, capacity < size ? capacity : size));
    CHECK(has_none(data, bufpool_capacity(buf), 'a'));
    dirty(data, bufpool_capacity(buf), 'b');
    CHECK_EQ(release(way, buf), 0);

    buf = acquire(way, size - size / 9, first);
    CHECK(has_none(bufpool_data(buf), capacity, 'b'));
    CHECK_EQ(release(way, buf), 0);
    buf = acquire(way, size, second); /* nor is it seen if its holder wrote nothing */
    CHECK(has_none(bufpool_data(buf), size, 'a'));
    CHECK_EQ(release(way, buf), 0);
}

static void nobody_sees_anothers_bytes(void)
{
    static const size_t sizes[] = {11, 4096, 64 * KIB, 900 * KIB, 10 * MIB, 12 * MIB};
    enum { SIZES = sizeof sizes / sizeof *sizes };

    make_with_caches((bufpool_config){.flags = BUFPOOL_WIPE});
    bufpool_tenant *a = tenant_named("a"), *b = tenant_named("b");
    for (int i = 0; i < SIZES; i++)
        for (int way = 0; way < 2; way++) {
            if (sizes[i] < MIB || way == 0) wiped(way, sizes[i], a, b);
            if (sizes[i] < MIB) wiped(way, sizes[i], b, NULL);
            if (sizes[i] < MIB || way == 1) wiped(way, sizes[i], NULL, a);
        }
    CHECK_EQ(info().underflows, 0);
    close_caches();
    end();
}

/* From one cache to another's tenant, through the pool; all that was idle. */
static void nor_through_another_way(void)
{
    enum { COUNT = 70 };
    static bufpool_buf *bufs[COUNT];

    make_with_caches((bufpool_config){.flags = BUFPOOL_WIPE});
    for (int round = 0; round < 18; round++) {
        bufpool_tenant *tenant = round == 1 ? NULL : tenant_number((uint32_t)round);
        for (int i = 0; i < COUNT; i++) {
            bufs[i] = acquire((round + i) % WAYS, 300, tenant);
            CHECK(zero(bufpool_data(bufs[i]), 4096));
        }
        for (int i = 0; i < COUNT; i++) {
            memset(bufpool_data(bufs[i]), round + 1, 4096);
            CHECK_EQ(release((round / 3 + i) % WAYS, bufs[i]), 0);
        }
    }
    CHECK(info().hits[0] > 18 * 20);
    close_caches();
    end();
}

/* Pages of a mapping that are in memory; -1 where the kernel does not tell. */
static long resident(void *data, size_t bytes)
{
    static unsigned char pages[4096];
    size_t               count = bytes / (size_t)sysconf(_SC_PAGESIZE);
    long                 sum   = 0;

    if (count > sizeof pages || mincore(data, bytes, pages) != 0) return -1;
    for (size_t i = 0; i < count; i++) sum += pages[i] & 1;
    return sum;
}

/* qemu and Valgrind may not tell, and a machine may back more at a time. */
static bool this_machine_backs_what_is_written(size_t written)
{
    size_t page  = (size_t)sysconf(_SC_PAGESIZE);
    void *memory = mmap(NULL, 10 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return false;
    bool none = resident(memory, 10 * MIB) == 0;
    memset(memory, 1, written);
    bool as_written = resident(memory, 10 * MIB) == (long)((written + page - 1) / page);
    munmap(memory, 10 * MIB);
    return none && as_written;
}

static void a_buffer_costs_what_is_written(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), written = 11 * MIB / 10;

    if (!this_machine_backs_what_is_written(written)) {
        check_skip("this machine does not tell what is in memory");
        return;
    }
    for (uint32_t flags = 0; flags <= BUFPOOL_WIPE; flags++)
        for (int way = 0; way < WAYS; way++) {
            make_with_caches((bufpool_config){.flags = flags});
            bufpool_tenant *tenant = tenant_named("acme");
            for (int round = 0; round < 4; round++) { /* going round writes nothing there */
                bufpool_buf *buf = acquire(way, 10 * MIB, tenant);
                CHECK_EQ(resident(bufpool_data(buf), 10 * MIB), 0);
                CHECK_EQ(release(way, buf), 0);
            }
            bufpool_buf *buf = acquire(way, 10 * MIB, tenant);
            memset(bufpool_data(buf), 1, written);
            CHECK_EQ(resident(bufpool_data(buf), 10 * MIB), (written + page - 1) / page);
            CHECK_EQ(release(way, buf), 0);
            close_caches();
            end();
        }
}

/* ---- The end of a pool ---- */

enum { LEFT = 12 };
static bufpool_buf *left[LEFT];
static bufpool_view views[LEFT];

static void *drop_what_is_left(void *arg)
{
    bool through_a_cache = arg != NULL;
    for (int i = 0; i < LEFT; i++) {
        unsigned char *data = bufpool_data(left[i]);
        CHECK(data && data[0] == i && data[bufpool_capacity(left[i]) - 1] == i);
        CHECK(!bufpool_writable(left[i]));
        CHECK(bufpool_retain(left[i]) == left[i]); /* it all works as before */
        CHECK_EQ(bufpool_view_cut(&views[i], 0, 1, &views[i]), 0);
        CHECK(views[i].data[0] == i);
        CHECK_EQ(bufpool_view_drop(&views[i]), 2);
        CHECK_EQ(bufpool_release(left[i]), 1);
        CHECK(bufpool_writable(left[i]));
        CHECK_EQ(through_a_cache ? bufpool_cache_release(cache, left[i]) : bufpool_release(left[i]),
                 0);
        if (i < LEFT - 1) CHECK_EQ(bufpool_release(left[i]), -ESTALE); /* the pool is still there */
    }
    return NULL;
}

static void leave_some(void)
{
    static const size_t sizes[] = {100, 5000, 70000, 2 * MIB, 11 * MIB};

    make_with_caches((bufpool_config){0});
    for (int way = 0; way < WAYS; way++) leave_idle(way, 100, 10);
    for (int i = 0; i < LEFT; i++) {
        left[i]             = acquire(i % WAYS, sizes[i % 5], i % 2 ? tenant_named("acme") : NULL);
        unsigned char *data = bufpool_data(left[i]);
        data[0] = data[bufpool_capacity(left[i]) - 1] = (unsigned char)i;
        CHECK_EQ(bufpool_view_of(left[i], 0, 100, &views[i]), 0);
    }
}

/* Dropped here or by another thread; with the caches closed before, in between, or after. */
static void buffers_outlive_the_pool(void)
{
    pthread_t thread;

    for (int round = 0; round < 6; round++) {
        leave_some();
        if (round < 2) close_caches();
        CHECK_EQ(bufpool_destroy(pool), LEFT);
        if (round / 2 == 1) close_caches();
        void *through_the_cache = round / 2 == 2 ? &cache : NULL;
        if (round % 2 == 0) drop_what_is_left(through_the_cache);
        else {
            pthread_create(&thread, NULL, drop_what_is_left, through_the_cache);
            pthread_join(thread, NULL);
        }
        if (round / 2 == 2) close_caches();
    }
}

static void caches_outlive_the_pool(void)
{
    for (int round = 0; round < 4; round++) {
        make_with_caches((bufpool_config){0});
        for (int way = 0; way < WAYS; way++)
            if (round & 1) leave_idle(way, 100, 10);
        bufpool_buf *buf = bufpool_cache_acquire(cache, 1, NULL);
        if (round & 2) CHECK_EQ(bufpool_release(buf), 0);
        CHECK_EQ(bufpool_destroy(pool), !(round & 2));
        bufpool_cache_close(other);
        if (!(round & 2)) CHECK_EQ(bufpool_cache_release(cache, buf), 0);
        bufpool_cache_close(cache);
    }
}

/* A child has a copy of its own, and so has its parent. */
static void a_child_has_a_copy(void)
{
    int status = 0;

    make_with_caches((bufpool_config){0});
    bufpool_buf *buf = bufpool_acquire(pool, 100, NULL);
    for (int way = 0; way < WAYS; way++) leave_idle(way, 100, 10);
    struct bufpool_info before = info();
    strcpy(bufpool_data(buf), "parent");
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        CHECK(strcmp(bufpool_data(buf), "parent") == 0);
        strcpy(bufpool_data(buf), "child");
        for (int way = 0; way < WAYS; way++) leave_idle(way, 5000, 5);
        CHECK_EQ(bufpool_release(buf), 0);
        if (this_machine_has_membarrier()) trim_all();
        close_caches();
        end();
        fflush(stdout);
        _exit(atomic_load(&check_failures) != 0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_EQ(status, 0);
    struct bufpool_info after = info();
    CHECK(memcmp(&after, &before, sizeof after) == 0);
    CHECK(strcmp(bufpool_data(buf), "parent") == 0);
    CHECK_EQ(bufpool_release(buf), 0);
    close_caches();
    end();
}

/* Text of all lengths that there is room for; what it says is bufpool_metrics.c's. */
static void metrics_fit(void)
{
    static char text[8192], again[8192];

    make_with_caches((bufpool_config){0});
    bufpool_charge(tenant_named("acme"), 12345);
    size_t len = bufpool_metrics(pool, NULL, 0);
    CHECK(len > 100 && len < sizeof text);
    CHECK_EQ(bufpool_metrics(pool, text, sizeof text), len);
    CHECK_EQ(strlen(text), len);
    CHECK(strcmp(text + len - 6, "# EOF\n") == 0);
    CHECK(strstr(text, "\nbuffer_pool_tenant_live_bytes{tenant_id=\"acme\"} 12345\n") != NULL);
    for (size_t capacity = 0; capacity <= len + 2; capacity += capacity < 80 ? 1 : 37) {
        memset(again, 0x5a, sizeof again);
        CHECK_EQ(bufpool_metrics(pool, again, capacity), len);
        size_t fits = capacity > len ? len : capacity ? capacity - 1 : 0;
        CHECK(memcmp(again, text, fits) == 0);
        if (capacity) CHECK_EQ(again[fits], 0);
        CHECK_EQ(again[capacity > len ? len + 1 : capacity], 0x5a);
    }
    bufpool_discharge(tenant_named("acme"), 12345);
    close_caches();
    end();
}

/* Caches work all the same; a trim gets at what is in them when they are closed. */
static void without_membarrier(void)
{
    no_membarrier = true;
    buffers_of_every_boundary();
    a_cache_keeps_buffers();
    any_buffer_through_any_way();
    trim_gives_the_largest_first();
    trim_reaches_caches_of_others();
    buffers_outlive_the_pool();
    caches_outlive_the_pool();
    make_with_caches((bufpool_config){0});
    for (int way = 0; way < WAYS; way++) leave_idle(way, 100, 3);
    uint64_t before = info().idle_bytes;
    size_t   given  = bufpool_trim(pool, 0);
    CHECK_EQ(info().idle_bytes, before - given);
    close_caches();
    CHECK_EQ(info().idle_bytes, before - given);
    CHECK_EQ(bufpool_trim(pool, 0), before - given);
    CHECK_EQ(info().idle_bytes, 0);
    end();
    no_membarrier = false;
}

/* ---- Against plain arithmetic, at random ---- */

enum { SLOTS = 60, TENANTS = 5, NAMES_KEPT = 16, VIEWS = 3 };

struct slot {
    bufpool_buf *buf;
    int          refs; /* plain ones; each view has one more */
    int          views;
    bufpool_view view[VIEWS];
    size_t       size;
    int          tenant; /* TENANTS = none */
    uint64_t     mark;
};

static struct slot slots[SLOTS];
static struct {
    bufpool_tenant *tenant;
    uint64_t        limit, held, charged, exceeded;
} billed[TENANTS];
static struct {
    bufpool_buf *buf;
    uint64_t     died; /* when so many had been acquired */
} names_kept[NAMES_KEPT];
static struct bufpool_info want;
static bufpool_config      walked;
static uint64_t            acquired, pooled[BUFPOOL_CLASSES];
static bool                through_caches;

static int some_way(uint64_t r) { return through_caches ? (int)((r >> 40) % WAYS) : SHARED; }

static bool may_keep(bufpool_class c)
{
    return want.idle_buffers[c] < walked.idle_buffers &&
           want.idle_bytes + capacities[c] <= walked.idle_bytes;
}

static void walk_acquire(struct slot *slot, uint64_t r)
{
    static const size_t bases[] = {0, 1, 4095, 4096, 60000, 65536, 1000000, 9 * MIB, 10 * MIB};
    int                 way     = some_way(r);

    slot->size   = bases[(r >> 8) % ((r >> 16) % 4 ? 5 : 9)] + (size_t)(r >> 20) % 3;
    slot->tenant = (int)((r >> 24) % (TENANTS + 1));
    slot->buf =
        acquire(way, slot->size, slot->tenant < TENANTS ? billed[slot->tenant].tenant : NULL);
    CHECK(slot->buf != NULL);
    slot->refs      = 1;
    slot->mark      = r;
    bufpool_class c = bufpool_class_for(slot->size);
    memcpy(bufpool_data(slot->buf), &r, sizeof r);
    acquired++;
    want.live_buffers++;
    want.live_bytes += slot->size;
    want.capacity_bytes += bufpool_capacity(slot->buf);
    if (slot->tenant < TENANTS) {
        billed[slot->tenant].held += slot->size;
        billed[slot->tenant].exceeded +=
            billed[slot->tenant].held + billed[slot->tenant].charged > billed[slot->tenant].limit;
    }
    if (c == BUFPOOL_OVERSIZE) {
        want.oversize++;
        return;
    }
    pooled[c]++;
    struct bufpool_info got = info();
    bool hit = through_caches ? got.hits[c] > want.hits[c] : want.idle_buffers[c] > 0;
    if (hit) CHECK(want.idle_buffers[c] > 0);
    *(hit ? &want.hits[c] : &want.misses[c]) += 1;
    want.idle_buffers[c] -= hit;
    want.idle_bytes -= hit ? capacities[c] : 0;
}

/* After the last reference: what was kept, or not. */
static void walk_recycled(struct slot *slot)
{
    bufpool_class c    = bufpool_class_for(slot->size);
    size_t        size = c == BUFPOOL_OVERSIZE ? (slot->size + 4095) / 4096 * 4096 : capacities[c];

    want.live_buffers--;
    want.live_bytes -= slot->size;
    want.capacity_bytes -= size;
    if (slot->tenant < TENANTS) billed[slot->tenant].held -= slot->size;
    names_kept[acquired % NAMES_KEPT].buf  = slot->buf;
    names_kept[acquired % NAMES_KEPT].died = acquired;
    slot->buf                              = NULL;
    if (c == BUFPOOL_OVERSIZE) return;
    struct bufpool_info got   = info();
    bool                may   = may_keep(c);
    uint64_t            after = want.idle_buffers[c] + 1;
    if (may && !through_caches) CHECK_EQ(got.idle_buffers[c], after);
    for (int other_c = 0; other_c < BUFPOOL_CLASSES; other_c++) { /* which may give way to it */
        if (other_c == (int)c)
            CHECK(got.idle_buffers[c] == after || got.idle_buffers[c] == after - 1);
        else if (may && !through_caches)
            CHECK_EQ(got.idle_buffers[other_c], want.idle_buffers[other_c]);
        else CHECK(got.idle_buffers[other_c] <= want.idle_buffers[other_c]);
    }
    memcpy(want.idle_buffers, got.idle_buffers, sizeof want.idle_buffers);
    want.idle_bytes = got.idle_bytes;
}

static void walk_release(struct slot *slot, uint64_t r)
{
    int left_over = slot->refs + slot->views - 1;

    CHECK(memcmp(bufpool_data(slot->buf), &slot->mark, 8) == 0);
    CHECK_EQ(bufpool_writable(slot->buf), left_over == 0);
    if (slot->views > 0 && (slot->refs == 0 || r & 256)) {
        bufpool_view *view = &slot->view[--slot->views];
        CHECK_EQ(bufpool_view_drop(view), left_over);
    } else {
        slot->refs--;
        CHECK_EQ(release(some_way(r), slot->buf), left_over);
    }
    if (left_over == 0) walk_recycled(slot);
}

static void walk_share(struct slot *slot, uint64_t r)
{
    if (slot->views == VIEWS || (slot->refs == 0 && slot->views == 0)) return;
    if (r & 256) {
        CHECK(bufpool_retain(slot->buf) == slot->buf);
        slot->refs++;
    } else if (slot->views > 0 && r & 512) {
        CHECK_EQ(bufpool_view_cut(&slot->view[0], 0, 8, &slot->view[slot->views]), 0);
        CHECK(memcmp(slot->view[slot->views++].data, &slot->mark, 8) == 0);
    } else {
        CHECK_EQ(
            bufpool_view_of(slot->buf, 0, 8 + (size_t)(r >> 20) % 99, &slot->view[slot->views++]),
            0);
    }
}

static void walk_charge(uint64_t r)
{
    int      t     = (int)((r >> 24) % TENANTS);
    uint64_t bytes = (r >> 30) % 50000;

    if (r & 256) {
        bufpool_charge(billed[t].tenant, bytes);
        billed[t].charged += bytes;
        want.live_bytes += bytes;
        billed[t].exceeded += billed[t].held + billed[t].charged > billed[t].limit;
        return;
    }
    bufpool_discharge(billed[t].tenant, bytes);
    want.underflows += bytes > billed[t].charged;
    if (bytes > billed[t].charged) bytes = billed[t].charged;
    billed[t].charged -= bytes;
    want.live_bytes -= bytes;
}

static void walk_limit(uint64_t r)
{
    int      t     = (int)((r >> 24) % TENANTS);
    uint64_t bytes = (r >> 30) % 300000;
    bufpool_tenant_limit(billed[t].tenant, r & 256 ? bytes : 0);
    billed[t].limit = r & 256 && bytes ? bytes : walked.tenant_soft_limit;
}

/* A name of a life that has ended, before it may be good again. */
static void walk_stale(uint64_t r)
{
    bufpool_buf *name = names_kept[(r >> 24) % NAMES_KEPT].buf;
    if (!name || acquired - names_kept[(r >> 24) % NAMES_KEPT].died > 60) return;
    CHECK_EQ(release(some_way(r), name), -ESTALE);
    want.underflows++;
}

static void walk_trim(uint64_t r)
{
    if (!this_machine_has_membarrier()) return;
    trim_to((size_t)(r >> 24) % 3 ? (size_t)(r >> 30) % (2 * MIB) : 0);
    struct bufpool_info got = info();
    memcpy(want.idle_buffers, got.idle_buffers, sizeof want.idle_buffers);
    want.idle_bytes = got.idle_bytes;
}

static void walk_reopen(uint64_t r)
{
    if (!through_caches) return;
    bufpool_cache **one = r & 256 ? &cache : &other;
    bufpool_cache_close(*one);
    struct bufpool_info got = info();
    CHECK(got.idle_bytes <= want.idle_bytes); /* from the cache to the pool, as far as that keeps */
    CHECK((*one = bufpool_cache_open(pool)) != NULL);
    memcpy(want.idle_buffers, got.idle_buffers, sizeof want.idle_buffers);
    want.idle_bytes = got.idle_bytes;
}

static void walk_step(uint64_t r, int step)
{
    struct slot *slot    = &slots[(r >> 48) % SLOTS];
    bool         growing = step / 300 & 1; /* fuller, then emptier */

    switch (r % 16) {
    case 0:
        walk_charge(r);
        break;
    case 1:
        walk_stale(r);
        break;
    case 2:
        walk_limit(r);
        break;
    case 3:
        (r >> 32) % 8 ? walk_charge(r) : r & 1024 ? walk_trim(r) : walk_reopen(r);
        break;
    case 4:
    case 5:
        if (slot->buf) walk_share(slot, r);
        break;
    default:
        if (!slot->buf) {
            if (r % 16 < (growing ? 14 : 9)) walk_acquire(slot, r);
        } else if (r % 16 >= (growing ? 12 : 7)) walk_release(slot, r);
    }
}

/* All that is said, to the byte. */
static bool walk_agrees(void)
{
    struct bufpool_info got = info();
    uint64_t            sum = 0;

    for (int c = 0; c < BUFPOOL_CLASSES; c++) {
        CHECK_EQ(got.hits[c], want.hits[c]);
        CHECK_EQ(got.misses[c], want.misses[c]);
        CHECK_EQ(got.hits[c] + got.misses[c], pooled[c]);
        CHECK_EQ(got.idle_buffers[c], want.idle_buffers[c]);
        CHECK(got.idle_buffers[c] <= walked.idle_buffers + in_caches(c));
        sum += got.idle_buffers[c] * capacities[c];
    }
    CHECK_EQ(got.oversize, want.oversize);
    CHECK_EQ(got.live_bytes, want.live_bytes);
    CHECK_EQ(got.live_buffers, want.live_buffers);
    CHECK_EQ(got.capacity_bytes, want.capacity_bytes);
    CHECK_EQ(got.idle_bytes, want.idle_bytes);
    CHECK_EQ(got.idle_bytes, sum);
    uint64_t in_all = 0;
    for (int c = 0; c < BUFPOOL_CLASSES; c++) in_all += in_caches(c) * capacities[c];
    CHECK(got.idle_bytes < in_all || got.idle_bytes - in_all <= walked.idle_bytes);
    CHECK_EQ(got.tenants, TENANTS);
    CHECK_EQ(got.caches, through_caches ? 2 : 0);
    CHECK_EQ(got.underflows, want.underflows);
    for (int t = 0; t < TENANTS; t++)
        bill_is(billed[t].tenant, billed[t].limit, billed[t].held + billed[t].charged,
                billed[t].exceeded);
    return atomic_load(&check_failures) == 0;
}

static void walk(bufpool_config config, uint64_t seed, int steps)
{
    static const char *const names[TENANTS] = {"a", "b", "acme", "acme2", "\xff"};
    int                      step           = 0;

    through_caches = seed % 3 > 0;
    if (through_caches) make_with_caches(config);
    else make(config);
    walked = config;
    if (!walked.idle_buffers) walked.idle_buffers = 64;
    if (!walked.idle_bytes) walked.idle_bytes = 64 * MIB;
    memset(&want, 0, sizeof want);
    memset(pooled, 0, sizeof pooled);
    memset(names_kept, 0, sizeof names_kept);
    memset(billed, 0, sizeof billed);
    for (int t = 0; t < TENANTS; t++) {
        billed[t].tenant = tenant_named(names[t]);
        billed[t].limit  = config.tenant_soft_limit;
    }
    acquired = 0;
    for (; step < steps && walk_agrees(); step++) walk_step(check_random(&seed), step);
    if (step < steps) printf("# in step %d\n", step);
    for (int i = 0; i < SLOTS; i++)
        while (slots[i].buf) walk_release(&slots[i], check_random(&seed));
    for (int t = 0; t < TENANTS; t++) bufpool_discharge(billed[t].tenant, billed[t].charged);
    close_caches();
    end();
}

static void as_arithmetic_says(void)
{
    static const bufpool_config configs[] = {
        {.tenant_soft_limit = 100000},
        {.tenant_soft_limit = 100000, .idle_buffers = 1},
        {.tenant_soft_limit = 1, .idle_bytes = 1},
        {.tenant_soft_limit = 5000, .idle_bytes = 8192},
        {.tenant_soft_limit = 1000000, .idle_buffers = 5, .idle_bytes = 2 * MIB + 8192},
        {.tenant_soft_limit = 20000000, .idle_buffers = 20, .idle_bytes = 11 * MIB},
        {.tenant_soft_limit = 100000, .flags = BUFPOOL_WIPE, .idle_buffers = 3},
        {.tenant_soft_limit = 100000, .idle_buffers = UINT32_MAX, .idle_bytes = SIZE_MAX}};

    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++)
        for (uint64_t seed = 0; seed < (takes_its_time ? 300 : 3); seed++)
            walk(configs[i], 300 * i + seed, 700);
}

int main(int argc, char **argv)
{
    takes_its_time = argc > 1;
    if (argc > 1) how_many = (uint32_t)strtoul(argv[1], NULL, 10);
    RUN(classes_and_their_sizes);
    RUN(buffers_of_every_boundary);
    RUN(sizes_that_no_machine_has);
    RUN(defaults);
    RUN(bad_configs);
    RUN(nothing_is_nothing);
    RUN(a_view_outlives_the_name);
    RUN(references_are_counted);
    if (takes_its_time) RUN(references_have_an_end);
    RUN(one_release_too_many);
    RUN(a_name_is_good_for_one_life);
    RUN(a_name_is_stale_after_trim_too);
    RUN(views_end_where_buffers_do);
    RUN(a_view_moves_to_a_smaller_buffer);
    RUN(a_view_that_cannot_move);
    RUN(cuts_end_where_views_do);
    RUN(a_cache_keeps_buffers);
    RUN(any_buffer_through_any_way);
    RUN(two_pools_side_by_side);
    RUN(a_crowd_of_caches);
    RUN(idle_is_bounded);
    RUN(no_class_starves);
    RUN(trim_gives_the_largest_first);
    RUN(trim_reaches_caches_of_others);
    RUN(names_of_tenants);
    RUN(names_that_are_chosen_to_collide);
    RUN(the_hash_is_siphash_1_3);
    RUN(each_pool_has_a_key_of_its_own);
    RUN(a_crowd_of_tenants);
    RUN(more_tenants_than_a_cache_knows);
    RUN(soft_limits_are_counted);
    RUN(near_the_limit);
    RUN(charges);
    RUN(charges_of_many_tenants);
    RUN(nobody_sees_anothers_bytes);
    RUN(nor_through_another_way);
    RUN(a_buffer_costs_what_is_written);
    RUN(buffers_outlive_the_pool);
    RUN(caches_outlive_the_pool);
    RUN(a_child_has_a_copy);
    RUN(metrics_fit);
    RUN(without_membarrier);
    RUN(as_arithmetic_says);
    return REPORT();
}
