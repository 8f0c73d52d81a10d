/* Goal: bufpool_metrics writes OpenMetrics 1.0 that nobody can misread, whatever the tenants are
 * called and however little room there is, and says what the stats say; while others acquire and
 * release it says nothing that cannot be. Method: a parser of this file, stricter than the
 * standard, which is given texts with one fault each before it is believed; names whose spelling is
 * known; threads that tell what they began and what they finished. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#define BUFPOOL_IMPLEMENTATION
#include "../../bufpool.h"

#include "../check.h"

#define BAD "\xef\xbf\xbd" /* U+FFFD, which stands before the hexadecimal digits of a bad byte */

/* ---- A parser ---- */

struct series {
    const char *name;
    const char *label; /* its value, without escapes; the pool's series have at most one label */
    size_t      name_len, label_len;
    char        label_name[16];
    uint64_t    number;
};

struct text {
    char          *bytes;
    size_t         len;
    struct series *series; /* in order of name and label, once it is parsed */
    size_t         count;
    char          *labels; /* what they point into */
    const char    *fault_at;
};

struct parser {
    struct text *text;
    const char  *at, *end;
    char        *label;
    /* The family whose lines are read, and those before it. */
    const char *family, *families[64];
    size_t      family_len, families_len[64], families_count;
    bool        is_counter, has_unit, has_help, has_samples;
};

/* The length of the character that begins there, 0 if none does. */
static size_t character(const char *at, const char *end)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char         first   = (unsigned char)*at;
    size_t                len     = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    uint32_t              code    = len == 1 ? first : first & (0xffu >> (len + 1));

    if ((first >= 0x80 && first < 0xc0) || first >= 0xf8 || (size_t)(end - at) < len) return 0;
    for (size_t i = 1; i < len; i++) {
        if (((unsigned char)at[i] & 0xc0) != 0x80) return 0;
        code = code << 6 | ((unsigned char)at[i] & 0x3f);
    }
    if (code < least[len] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return 0;
    return len;
}

static bool took(struct parser *p, const char *word)
{
    size_t len = strlen(word);
    if ((size_t)(p->end - p->at) < len || memcmp(p->at, word, len) != 0) return false;
    p->at += len;
    return true;
}

/* The length of a name of letters, digits after the first, and underscores; 0: there is none. */
static size_t name_at(const struct parser *p)
{
    const char *at = p->at;
    for (; at < p->end; at++) {
        bool letter = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || *at == '_';
        if (!letter && (at == p->at || *at < '0' || *at > '9')) break;
    }
    return (size_t)(at - p->at);
}

static bool ends_in(const char *name, size_t len, const char *end)
{
    size_t end_len = strlen(end);
    return len >= end_len && memcmp(name + len - end_len, end, end_len) == 0;
}

static const char *end_family(const struct parser *p)
{
    if (!p->family) return NULL;
    if (!p->has_help) return "a family without HELP";
    if (ends_in(p->family, p->family_len, "_bytes") != p->has_unit) return "UNIT if _bytes";
    return NULL;
}

static const char *take_type(struct parser *p)
{
    const char *fault = end_family(p), *name = p->at;
    size_t      len = name_at(p);

    if (fault) return fault;
    if (!took(p, "buffer_pool_")) return "a family that is not the pool's";
    for (size_t i = 0; i < p->families_count; i++)
        if (p->families_len[i] == len && memcmp(p->families[i], name, len) == 0)
            return "a family twice";
    if (p->families_count == 64) return "too many families";
    p->families[p->families_count]       = name;
    p->families_len[p->families_count++] = len;
    p->family                            = name;
    p->family_len                        = len;
    p->has_unit = p->has_help = p->has_samples = false;
    p->at                                      = name + len;
    if (ends_in(name, len, "_total")) return "a family called _total";
    p->is_counter = took(p, " counter\n");
    return p->is_counter || took(p, " gauge\n") ? NULL : "an unknown type";
}

/* The rest of a line that describes the current family. */
static bool took_family(struct parser *p)
{
    if (!p->family || name_at(p) != p->family_len || memcmp(p->at, p->family, p->family_len) != 0)
        return false;
    p->at += p->family_len;
    return took(p, " ");
}

static const char *take_unit(struct parser *p)
{
    if (!took_family(p)) return "UNIT of another family";
    if (p->has_unit || p->has_help || p->has_samples) return "UNIT too late";
    p->has_unit = true;
    return took(p, "bytes\n") ? NULL : "an unknown unit";
}

static const char *take_help(struct parser *p)
{
    if (!took_family(p)) return "HELP of another family";
    if (p->has_help || p->has_samples) return "HELP too late";
    p->has_help = true;
    for (; p->at < p->end && *p->at != '\n'; p->at++)
        if (*p->at == '"' || *p->at == '\\') return "HELP with something to escape";
    return took(p, "\n") ? NULL : "HELP without an end";
}

static const char *take_label(struct parser *p, struct series *series)
{
    size_t len = name_at(p);

    if (len == 0 || len >= sizeof series->label_name) return "no name of a label";
    memcpy(series->label_name, p->at, len);
    p->at += len;
    if (!took(p, "=\"")) return "no value of a label";
    series->label = p->label;
    while (p->at < p->end && *p->at != '"' && *p->at != '\n') {
        if (took(p, "\\\\")) *p->label++ = '\\';
        else if (took(p, "\\\"")) *p->label++ = '"';
        else if (took(p, "\\n")) *p->label++ = '\n';
        else if (*p->at == '\\') return "an unknown escape";
        else *p->label++ = *p->at++;
    }
    series->label_len = (size_t)(p->label - series->label);
    return took(p, "\"}") ? NULL : "a label without an end";
}

static const char *take_number(struct parser *p, uint64_t *number)
{
    const char *first = p->at;

    for (*number = 0; p->at < p->end && *p->at >= '0' && *p->at <= '9'; p->at++) {
        uint64_t digit = (uint64_t)(*p->at - '0');
        if (*number > (UINT64_MAX - digit) / 10) return "a number beyond 64 bits";
        *number = *number * 10 + digit;
    }
    if (p->at == first || (*first == '0' && p->at - first > 1)) return "no number";
    return took(p, "\n") ? NULL : "something behind the number";
}

static const char *take_sample(struct parser *p)
{
    struct series *series = &p->text->series[p->text->count++];
    const char    *fault  = NULL;

    memset(series, 0, sizeof *series);
    series->name     = p->at;
    series->name_len = name_at(p);
    p->at += series->name_len;
    if (!p->family || series->name_len < p->family_len ||
        memcmp(series->name, p->family, p->family_len) != 0)
        return "a sample outside its family";
    size_t suffix = series->name_len - p->family_len;
    if (suffix != (p->is_counter ? 6 : 0) ||
        (p->is_counter && !ends_in(series->name, series->name_len, "_total")))
        return "a sample outside its family";
    p->has_samples = true;
    if (took(p, "{")) fault = take_label(p, series);
    if (fault) return fault;
    return took(p, " ") ? take_number(p, &series->number) : "no space before the number";
}

static int compare(const void *a, const void *b)
{
    const struct series *x = a, *y = b;
    size_t               names  = x->name_len < y->name_len ? x->name_len : y->name_len;
    size_t               labels = x->label_len < y->label_len ? x->label_len : y->label_len;
    int                  order  = memcmp(x->name, y->name, names);

    if (order != 0) return order;
    if (x->name_len != y->name_len) return x->name_len < y->name_len ? -1 : 1;
    order = labels ? memcmp(x->label, y->label, labels) : 0;
    if (order != 0) return order;
    return x->label_len == y->label_len ? 0 : x->label_len < y->label_len ? -1 : 1;
}

static const char *take_line(struct parser *p)
{
    if (p->at == p->end) return "no EOF";
    if (took(p, "# TYPE ")) return take_type(p);
    if (took(p, "# UNIT ")) return take_unit(p);
    if (took(p, "# HELP ")) return take_help(p);
    return name_at(p) > 0 ? take_sample(p) : "a line of no kind";
}

/* NULL, or the first fault. */
static const char *parse(struct text *text)
{
    struct parser p     = {.text = text, .at = text->bytes, .end = text->bytes + text->len};
    const char   *fault = NULL;
    size_t        lines = 0, step;

    for (text->fault_at = p.at; text->fault_at < p.end; text->fault_at += step) {
        step = *text->fault_at ? character(text->fault_at, p.end) : 0;
        if (step == 0) return "not UTF-8, or a zero";
        lines += *text->fault_at == '\n';
    }
    text->series = malloc((lines + 1) * sizeof *text->series);
    text->labels = p.label = malloc(text->len + 1);
    if (!text->series || !text->labels) exit(1);
    while (!fault && !took(&p, "# EOF\n")) fault = take_line(&p);
    if (!fault) fault = end_family(&p);
    if (!fault && p.at != p.end) fault = "something behind EOF";
    text->fault_at = p.at;
    if (text->count > 1) qsort(text->series, text->count, sizeof *text->series, compare);
    for (size_t i = 1; !fault && i < text->count; i++) {
        if (compare(&text->series[i - 1], &text->series[i]) != 0) continue;
        fault          = "a series twice";
        text->fault_at = text->series[i].name;
    }
    return fault;
}

static void forget(struct text *text)
{
    free(text->bytes);
    free(text->series);
    free(text->labels);
    memset(text, 0, sizeof *text);
}

/* ---- Whether it can be believed ---- */

#define TYPE_HITS "# TYPE buffer_pool_hits counter\n"
#define HELP_HITS "# HELP buffer_pool_hits Got an idle one.\n"
#define HITS      TYPE_HITS HELP_HITS

#define TYPE_A_BYTES "# TYPE buffer_pool_a_bytes gauge\n"
#define HELP_A_BYTES "# HELP buffer_pool_a_bytes A.\n"

#define LIVE                                                                     \
    "# TYPE buffer_pool_live_bytes gauge\n# UNIT buffer_pool_live_bytes bytes\n" \
    "# HELP buffer_pool_live_bytes Asked for.\nbuffer_pool_live_bytes 7\n"

#define HIT "buffer_pool_hits_total"
#define END "# EOF\n"

static const struct {
    const char *fault, *text;
} faults[] = {
    {NULL, LIVE HITS HIT "{class=\"a\\\\\\\"\\nb\xc3\xa9\"} 0\n" END},
    {NULL, LIVE HITS HIT "{class=\"a\"} 0\n" HIT " 18446744073709551615\n" END},
    {NULL, END},
    {"not UTF-8, or a zero", HITS HIT "{class=\"\x80\"} 0\n" END},
    {"not UTF-8, or a zero", HITS HIT "{class=\"\xc1\xbf\"} 0\n" END},
    {"not UTF-8, or a zero", HITS HIT "{class=\"\xe2\x82\"} 0\n" END},
    {"not UTF-8, or a zero", HITS HIT "{class=\"\xed\xa0\x80\"} 0\n" END},
    {"not UTF-8, or a zero", HITS HIT "{class=\"\xe0\x9f\xbf\"} 0\n" END},
    {"not UTF-8, or a zero", HITS HIT "{class=\"\xf0\x8f\xbf\xbf\"} 0\n" END},
    {"not UTF-8, or a zero", HITS HIT "{class=\"\xf4\x90\x80\x80\"} 0\n" END},
    {"not UTF-8, or a zero", HITS HIT "{class=\"\xff\"} 0\n" END},
    {"no EOF", ""},
    {"no EOF", LIVE},
    {"a line of no kind", LIVE "# EOF"},
    {"a line of no kind", LIVE "\n" END},
    {"a line of no kind", LIVE "# nothing\n" END},
    {"something behind EOF", LIVE END "\n"},
    {"something behind EOF", END LIVE END},
    {"a family that is not the pool's", "# TYPE hits counter\n" END},
    {"a family twice", LIVE HITS LIVE END},
    {"a family called _total", "# TYPE buffer_pool_hits_total counter\n" END},
    {"an unknown type", "# TYPE buffer_pool_hits number\n" END},
    {"an unknown unit", TYPE_A_BYTES "# UNIT buffer_pool_a_bytes seconds\n" END},
    {"UNIT of another family", LIVE "# UNIT buffer_pool_hits bytes\n" END},
    {"UNIT of another family", TYPE_A_BYTES "# UNIT a_bytes bytes\n" END},
    {"UNIT too late", LIVE "# UNIT buffer_pool_live_bytes bytes\n" END},
    {"UNIT too late", TYPE_A_BYTES HELP_A_BYTES "# UNIT buffer_pool_a_bytes bytes\n" END},
    {"UNIT if _bytes", TYPE_A_BYTES HELP_A_BYTES END},
    {"UNIT if _bytes", TYPE_HITS "# UNIT buffer_pool_hits bytes\n" HELP_HITS END},
    {"HELP of another family", "# HELP buffer_pool_hits Before TYPE.\n" END},
    {"HELP of another family", LIVE "# HELP buffer_pool_hits Not this.\n" END},
    {"HELP too late", HITS "# HELP buffer_pool_hits Twice.\n" END},
    {"HELP too late", TYPE_HITS HIT " 1\n" HELP_HITS END},
    {"HELP with something to escape", TYPE_HITS "# HELP buffer_pool_hits \\\n" END},
    {"a family without HELP", TYPE_HITS HIT " 1\n" END},
    {"a family without HELP", TYPE_HITS HIT " 1\n" LIVE END},
    {"a sample outside its family", HIT " 1\n" END},
    {"a sample outside its family", LIVE HIT " 1\n" END},
    {"a sample outside its family", HITS "buffer_pool_hits 1\n" END},
    {"a sample outside its family", HITS "buffer_pool_hits_count 1\n" END},
    {"a sample outside its family", LIVE "buffer_pool_live_bytes_total 1\n" END},
    {"a sample outside its family", HITS HIT "{class=\"a\"} 1\n" LIVE HIT "{class=\"b\"} 1\n" END},
    {"a series twice", LIVE "buffer_pool_live_bytes 8\n" END},
    {"a series twice", HITS HIT " 1\n" HIT "{class=\"\"} 1\n" END}, /* an empty label is none */
    {"a series twice", HITS HIT "{class=\"a\"} 1\n" HIT " 2\n" HIT "{class=\"a\"} 3\n" END},
    {"no name of a label", HITS HIT "{=\"a\"} 1\n" END},
    {"no name of a label", HITS HIT "{} 1\n" END},
    {"no value of a label", HITS HIT "{class=a} 1\n" END},
    {"an unknown escape", HITS HIT "{class=\"\\r\"} 1\n" END},
    {"an unknown escape", HITS HIT "{class=\"a\\\nb\"} 1\n" END},
    {"a label without an end", HITS HIT "{class=\"a\nb\"} 1\n" END},
    {"a label without an end", HITS HIT "{class=\"a\"b\"} 1\n" END},
    {"no space before the number", HITS HIT "{class=\"a\"}1\n" END},
    {"no space before the number", HITS HIT "\n" END},
    {"no number", HITS HIT " -1\n" END},
    {"no number", HITS HIT "  1\n" END},
    {"no number", HITS HIT " 01\n" END},
    {"a number beyond 64 bits", HITS HIT " 18446744073709551616\n" END},
    {"something behind the number", HITS HIT " 1.5\n" END},
    {"something behind the number", HITS HIT " 1 \n" END},
    {"something behind the number", HITS HIT " 1\r\n" END},
};

static void the_parser_finds_every_fault(void)
{
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        struct text text  = {.bytes = strdup(faults[i].text), .len = strlen(faults[i].text)};
        const char *fault = parse(&text), *want = faults[i].fault;
        bool        right = fault && want ? strcmp(fault, want) == 0 : fault == want;

        CHECK(right);
        if (!right) printf("# %zu: %s, not %s\n", i, fault ? fault : "good", want ? want : "good");
        forget(&text);
    }
}

/* ---- What the pool writes ---- */

static bufpool *pool;

/* Every tenant there is, by name. */
static struct {
    bufpool_tenant *tenant;
    char            name[255];
    size_t          len;
} tenants[2048];
static size_t tenant_count;

static void make(uint32_t tenant_max)
{
    bufpool_config config = {.tenant_soft_limit = 100000, .tenant_max = tenant_max};
    CHECK_EQ(bufpool_create(&pool, &config), 0);
    if (!pool) exit(1);
    tenant_count = 0;
}

static void end(void)
{
    CHECK_EQ(bufpool_destroy(pool), 0);
    pool = NULL;
}

static bufpool_tenant *tenant_named(const char *name, size_t len)
{
    bufpool_tenant *tenant = bufpool_tenant_get(pool, name, len);

    CHECK(tenant != NULL);
    for (size_t i = 0; i < tenant_count; i++)
        if (tenants[i].tenant == tenant) return tenant;
    tenants[tenant_count].tenant = tenant;
    memcpy(tenants[tenant_count].name, name, len);
    tenants[tenant_count++].len = len;
    return tenant;
}

/* Its text, read and found good. It may need more room the second time, if others work. */
static struct text metrics(void)
{
    struct text text = {0};
    size_t      room = 0;

    for (int tries = 0; text.len >= room && tries < 1000; tries++) {
        room = bufpool_metrics(pool, NULL, 0) + 1;
        free(text.bytes);
        text.bytes = malloc(room);
        if (!text.bytes) exit(1);
        text.len = bufpool_metrics(pool, text.bytes, room);
    }
    CHECK(text.len < room);
    CHECK_EQ(strlen(text.bytes), text.len);

    const char *fault = parse(&text);
    CHECK(!fault);
    if (fault) {
        const char *line = text.fault_at;
        while (line > text.bytes && line[-1] != '\n') line--;
        printf("# %s: %.*s\n", fault, (int)strcspn(line, "\n"), line);
    }
    return text;
}

/* A series; NULL: there is none. label NULL: it has none. */
static const struct series *series(const struct text *text, const char *name, const char *label,
                                   size_t label_len)
{
    char          whole[64];
    struct series key = {.name = whole, .label = label, .label_len = label_len};

    key.name_len = (size_t)snprintf(whole, sizeof whole, "buffer_pool_%s", name);
    return bsearch(&key, text->series, text->count, sizeof key, compare);
}

static uint64_t number(const struct text *text, const char *name, const char *label_name,
                       const char *label)
{
    const struct series *found = series(text, name, label, label ? strlen(label) : 0);

    CHECK(found != NULL);
    if (!found) printf("# no buffer_pool_%s{%s}\n", name, label ? label : "");
    CHECK(!found || strcmp(found->label_name, label_name) == 0);
    return found ? found->number : UINT64_MAX;
}

static uint64_t alone(const struct text *text, const char *name)
{
    return number(text, name, "", NULL);
}

static bool is_of(const struct series *series, const char *name)
{
    return series->name_len == 12 + strlen(name) &&
           memcmp(series->name + 12, name, strlen(name)) == 0; /* behind buffer_pool_ */
}

static size_t rows(const struct text *text, const char *name)
{
    size_t count = 0;
    for (size_t i = 0; i < text->count; i++) count += is_of(&text->series[i], name);
    return count;
}

static uint64_t sum(const struct text *text, const char *name)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < text->count; i++)
        if (is_of(&text->series[i], name)) sum += text->series[i].number;
    return sum;
}

/* How a name reads. A U+FFFD of its own is three bad bytes: else two names could read the same. */
static size_t spell(char *out, const char *name, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    const char       *end      = name + len;
    char             *to       = out;

    for (size_t step; name < end; name += step) {
        step = *name ? character(name, end) : 0;
        if (step == 3 && memcmp(name, BAD, 3) == 0) step = 0;
        for (size_t i = 0; i < step; i++) *to++ = name[i];
        if (step > 0) continue;
        step = 1;
        memcpy(to, BAD, 3);
        to[3] = digits[(unsigned char)*name >> 4];
        to[4] = digits[*name & 15];
        to += 5;
    }
    return (size_t)(to - out);
}

static void tenants_read_as_the_stats(const struct text *text)
{
    static const char          other[] = "__other__";
    struct bufpool_tenant_info stats;
    uint64_t                   live_rest = 0, limit_rest = 0, exceeded_rest = 0;
    size_t                     shown = 0, folded;

    for (size_t i = 0; i < tenant_count; i++) {
        char                 label[5 * 255];
        size_t               len      = spell(label, tenants[i].name, tenants[i].len);
        const struct series *live     = series(text, "tenant_live_bytes", label, len);
        const struct series *limit    = series(text, "tenant_soft_limit_bytes", label, len);
        const struct series *exceeded = series(text, "soft_limit_exceeded_total", label, len);

        bufpool_tenant_stats(tenants[i].tenant, &stats);
        CHECK(!live == !exceeded && !live == !limit);
        if (!live || !limit || !exceeded || (len == 9 && memcmp(label, other, 9) == 0)) {
            live_rest += stats.live_bytes;
            limit_rest += stats.soft_limit_bytes;
            exceeded_rest += stats.soft_limit_exceeded;
            continue;
        }
        shown++;
        CHECK_EQ(live->number, stats.live_bytes);
        CHECK_EQ(limit->number, stats.soft_limit_bytes);
        CHECK_EQ(exceeded->number, stats.soft_limit_exceeded);
        CHECK(strcmp(live->label_name, "tenant_id") == 0);
        CHECK(strcmp(exceeded->label_name, "tenant_id") == 0);
    }
    folded = shown < tenant_count;
    CHECK_EQ(rows(text, "tenant_live_bytes"), shown + folded);
    CHECK_EQ(rows(text, "tenant_soft_limit_bytes"), shown + folded);
    CHECK_EQ(rows(text, "soft_limit_exceeded_total"), shown + folded);
    if (!folded) return;
    CHECK_EQ(number(text, "tenant_live_bytes", "tenant_id", other), live_rest);
    CHECK_EQ(number(text, "tenant_soft_limit_bytes", "tenant_id", other), limit_rest);
    CHECK_EQ(number(text, "soft_limit_exceeded_total", "tenant_id", other), exceeded_rest);
}

/* When nobody is inside a call: every family of DESIGN.md, to the byte. */
static struct text as_the_stats(void)
{
    struct text         text = metrics();
    struct bufpool_info stats;

    bufpool_stats(pool, &stats);
    CHECK_EQ(rows(&text, "hits_total"), BUFPOOL_CLASSES);
    CHECK_EQ(rows(&text, "misses_total"), BUFPOOL_CLASSES);
    CHECK_EQ(rows(&text, "idle_bytes"), BUFPOOL_CLASSES);
    uint64_t idle_bytes = 0;
    for (int i = 0; i < BUFPOOL_CLASSES; i++) {
        const char *slug = bufpool_class_slug((bufpool_class)i);
        uint64_t    idle = stats.idle_buffers[i] * bufpool_class_capacity((bufpool_class)i);

        CHECK_EQ(number(&text, "hits_total", "class", slug), stats.hits[i]);
        CHECK_EQ(number(&text, "misses_total", "class", slug), stats.misses[i]);
        CHECK_EQ(number(&text, "idle_bytes", "class", slug), idle);
        idle_bytes += idle;
    }
    CHECK_EQ(idle_bytes, stats.idle_bytes);
    CHECK_EQ(alone(&text, "oversize_allocations_total"), stats.oversize);
    CHECK_EQ(alone(&text, "live_bytes"), stats.live_bytes);
    CHECK_EQ(alone(&text, "live_buffers"), stats.live_buffers);
    CHECK_EQ(alone(&text, "capacity_bytes"), stats.capacity_bytes);
    CHECK_EQ(alone(&text, "tenants"), stats.tenants);
    CHECK_EQ(alone(&text, "underflows_total"), stats.underflows);
    CHECK_EQ(stats.tenants, tenant_count);
    tenants_read_as_the_stats(&text);
    return text;
}

static void check_as_the_stats(void)
{
    struct text text = as_the_stats();
    forget(&text);
}

/* ---- Values ---- */

static void an_empty_pool(void)
{
    make(0);
    struct text text = as_the_stats(), again = metrics();
    for (size_t i = 0; i < text.count; i++) CHECK_EQ(text.series[i].number, 0);
    CHECK(text.len == again.len && memcmp(text.bytes, again.bytes, text.len) == 0);
    forget(&text);
    forget(&again);
    end();
}

static void every_value(void)
{
    static const size_t sizes[] = {1, 4096, 4097, 65537, 1048577, 10485761};
    enum { SIZES = sizeof sizes / sizeof *sizes };
    bufpool_buf *held[2 * SIZES];

    make(0);
    bufpool_tenant *acme = tenant_named("acme", 4), *idle = tenant_named("idle", 4);
    bufpool_cache  *cache = bufpool_cache_open(pool);
    CHECK(cache != NULL);
    check_as_the_stats();
    for (int i = 0; i < 2 * SIZES; i++) {
        size_t size = sizes[i % SIZES];
        held[i]     = i < SIZES ? bufpool_acquire(pool, size, acme)
                                : bufpool_cache_acquire(cache, size, i % 2 ? acme : NULL);
        CHECK(held[i] != NULL);
        check_as_the_stats();
    }
    bufpool_charge(idle, UINT64_C(4503599627370497)); /* has no float, nor 32 bits */
    bufpool_tenant_limit(acme, 1);
    bufpool_charge(acme, 5);
    struct text text = as_the_stats();
    CHECK_EQ(number(&text, "misses_total", "class", "small"), 4);
    CHECK_EQ(number(&text, "misses_total", "class", "huge"), 2);
    CHECK_EQ(number(&text, "tenant_live_bytes", "tenant_id", "idle"), INT64_C(4503599627370497));
    CHECK_EQ(alone(&text, "oversize_allocations_total"), 2);
    CHECK_EQ(alone(&text, "live_buffers"), 2 * SIZES);
    forget(&text);
    for (int i = 0; i < 2 * SIZES; i++) {
        CHECK_EQ(i % 2 ? bufpool_release(held[i]) : bufpool_cache_release(cache, held[i]), 0);
        check_as_the_stats();
    }
    CHECK_EQ(bufpool_release(held[0]), -ESTALE);
    bufpool_discharge(acme, 5);
    bufpool_discharge(acme, 1);
    text = as_the_stats();
    CHECK_EQ(number(&text, "idle_bytes", "class", "small"), 4 * 4096);
    CHECK_EQ(number(&text, "tenant_live_bytes", "tenant_id", "acme"), 0);
    CHECK_EQ(alone(&text, "underflows_total"), 2);
    CHECK_EQ(alone(&text, "live_buffers"), 0);
    CHECK_EQ(alone(&text, "capacity_bytes"), 0);
    forget(&text);
    held[0] = bufpool_cache_acquire(cache, 1, acme);
    text    = as_the_stats();
    CHECK_EQ(number(&text, "hits_total", "class", "small"), 1);
    forget(&text);
    bufpool_release(held[0]);
    bufpool_cache_close(cache);
    bufpool_trim(pool, 0);
    text = as_the_stats();
    CHECK_EQ(number(&text, "idle_bytes", "class", "small"), 0);
    forget(&text);
    end();
}

/* ---- Room ---- */

/* Written is what fits and a zero, and not a byte behind it or before. */
static void every_capacity(void)
{
    make(2);
    tenant_named("a\"b\\c\nd", 7);
    tenant_named("\xff\xe2\x82\xac\x80", 5);
    tenant_named("folded", 6);
    struct text text = as_the_stats();
    size_t      room = text.len + 16;
    char       *page = malloc(room), *blank = malloc(room);

    if (!page || !blank) exit(1);
    memset(blank, 0x5a, room);
    CHECK_EQ(bufpool_metrics(pool, NULL, 0), text.len);
    for (size_t capacity = 0; capacity <= text.len + 2; capacity++) {
        size_t fits = capacity > text.len ? text.len : capacity ? capacity - 1 : 0;
        size_t used = capacity ? fits + 1 : 0;

        memcpy(page, blank, room);
        CHECK_EQ(bufpool_metrics(pool, page + 8, capacity), text.len);
        CHECK(memcmp(page, blank, 8) == 0);
        CHECK(memcmp(page + 8, text.bytes, fits) == 0);
        CHECK(capacity == 0 || page[8 + fits] == 0);
        if (used < capacity) used = capacity; /* what is its own it may have used */
        CHECK(memcmp(page + 8 + used, blank, room - 8 - used) == 0);
    }
    free(page);
    free(blank);
    forget(&text);
    end();
}

/* ---- Names ---- */

#define B(byte) BAD byte
#define NAME(name, shown) {name, sizeof(name) - 1, shown, sizeof(shown) - 1}
static const struct {
    const char *name;
    size_t      len;
    const char *shown;
    size_t      shown_len;
} names[] = {
    NAME("plain", "plain"),
    NAME("\"", "\\\""),
    NAME("\\", "\\\\"),
    NAME("\n", "\\n"),
    NAME("\\n", "\\\\n"),
    NAME("a\"b\\c\nd", "a\\\"b\\\\c\\nd"),
    NAME("\r\t\v\x01\x1f\x7f", "\r\t\v\x01\x1f\x7f"),
    NAME(" ", " "),
    NAME("{a=\"b\",} # {}", "{a=\\\"b\\\",} # {}"),
    NAME("\"} 1\n# EOF\nbuffer_pool_live_bytes 1", "\\\"} 1\\n# EOF\\nbuffer_pool_live_bytes 1"),
    NAME("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"),
    /* The first and the last character of each length, and those around the surrogates. */
    NAME("\xc2\x80\xdf\xbf", "\xc2\x80\xdf\xbf"),
    NAME("\xe0\xa0\x80\xef\xbf\xbf", "\xe0\xa0\x80\xef\xbf\xbf"),
    NAME("\xed\x9f\xbf\xee\x80\x80", "\xed\x9f\xbf\xee\x80\x80"),
    NAME("\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"),
    NAME("\xef\xbf\xbc\xef\xbf\xbe", "\xef\xbf\xbc\xef\xbf\xbe"),
    /* What stands for bad bytes. */
    NAME(BAD "!", B("ef") B("bf") B("bd") "!"),
    /* Zeros. */
    NAME("\0", B("00")),
    NAME("a\0b", "a" B("00") "b"),
    NAME("\0\0", B("00") B("00")),
    /* Continuations of nothing. */
    NAME("\x80", B("80")),
    NAME("a\xbfz", "a" B("bf") "z"),
    NAME("\xc3\xa9\xa9", "\xc3\xa9" B("a9")),
    /* Longer than needed. */
    NAME("\xc0\x80", B("c0") B("80")),
    NAME("\xc1\xbf", B("c1") B("bf")),
    NAME("\xe0\x80\x80", B("e0") B("80") B("80")),
    NAME("\xe0\x9f\xbf", B("e0") B("9f") B("bf")),
    NAME("\xf0\x80\x80\x80", B("f0") B("80") B("80") B("80")),
    NAME("\xf0\x8f\xbf\xbf", B("f0") B("8f") B("bf") B("bf")),
    /* Surrogates. */
    NAME("\xed\xa0\x80", B("ed") B("a0") B("80")),
    NAME("\xed\xbf\xbf", B("ed") B("bf") B("bf")),
    /* Above U+10FFFF, and what never begins a character. */
    NAME("\xf4\x90\x80\x80", B("f4") B("90") B("80") B("80")),
    NAME("\xf5\x80\x80\x80", B("f5") B("80") B("80") B("80")),
    NAME("\xf8\x88\x80\x80\x80", B("f8") B("88") B("80") B("80") B("80")),
    NAME("\xfc\x84\x80\x80\x80\x80", B("fc") B("84") B("80") B("80") B("80") B("80")),
    NAME("\xfe", B("fe")),
    NAME("\xff", B("ff")),
    /* Cut off, at the end and before something else. */
    NAME("\xc3", B("c3")),
    NAME("a\xe2\x82", "a" B("e2") B("82")),
    NAME("\xf0\x9f\x98", B("f0") B("9f") B("98")),
    NAME("\xe2\x82z", B("e2") B("82") "z"),
    NAME("\xe2\xc3\xa9", B("e2") "\xc3\xa9"),
    NAME("\xf0\x9f\xe2\x82\xac", B("f0") B("9f") "\xe2\x82\xac"),
    NAME("\xe2\"", B("e2") "\\\""),
    NAME("\xe2\n", B("e2") "\\n"),
    NAME("\xc3\0", B("c3") B("00")),
    NAME("\xc3\xc0", B("c3") B("c0")),
    NAME("\xe2\x82\xc0", B("e2") B("82") B("c0")),
    /* Cut off, and what is missing may lie behind it in memory. */
    NAME("cut\xe2", "cut" B("e2")),
    NAME("\x82\xac", B("82") B("ac")),
};

static bool has_line(const struct text *text, const char *label, size_t len, uint64_t value)
{
    char   line[1400], last[32];
    size_t size =
        (size_t)snprintf(line, sizeof line, "\nbuffer_pool_tenant_live_bytes{tenant_id=\"");
    memcpy(line + size, label, len);
    size += len;
    int digits = snprintf(last, sizeof last, "\"} %llu\n", (unsigned long long)value);
    memcpy(line + size, last, (size_t)digits + 1);
    return strstr(text->bytes, line) != NULL;
}

static void odd_names(void)
{
    enum { NAMES = sizeof names / sizeof *names };

    make(0);
    for (size_t i = 0; i < NAMES; i++)
        bufpool_charge(tenant_named(names[i].name, names[i].len), i + 1);
    struct text text = as_the_stats();
    CHECK_EQ(rows(&text, "tenant_live_bytes"), NAMES);
    for (size_t i = 0; i < NAMES; i++) {
        bool there = has_line(&text, names[i].shown, names[i].shown_len, i + 1);
        CHECK(there);
        if (!there) printf("# name %zu, which should read %s\n", i, names[i].shown);
    }
    forget(&text);
    end();
}

/* Each byte alone, and 700 names of bytes that like to stand together. */
static void many_names(void)
{
    static const char bytes[] =
        "\x80\x8f\x90\x9f\xa0\xbd\xbf\xc0\xc2\xe0\xe2\xed\xef\xf0\xf4\xf5\"\\\na";
    uint64_t state = 1;

    make(0);
    for (int byte = 0; byte < 256; byte++) {
        char name = (char)byte;
        bufpool_charge(tenant_named(&name, 1), (uint64_t)byte);
    }
    for (int i = 0; i < 700; i++) {
        char   name[8];
        size_t len = check_random(&state) % sizeof name + 1;
        for (size_t at = 0; at < len; at++) /* the last of bytes is its zero */
            name[at] = bytes[check_random(&state) % sizeof bytes];
        bufpool_charge(tenant_named(name, len), check_random(&state) % 100000);
    }
    CHECK(tenant_count > 800);
    struct text text = as_the_stats();
    CHECK_EQ(rows(&text, "tenant_live_bytes"), tenant_count);
    forget(&text);
    end();
}

/* What a bad byte reads may stand in a good name, too: those are two tenants all the same. */
static void names_that_look_bad(void)
{
    static const char *const pairs[][2] = {
        {"\xff", BAD "ff"}, {"a\x80z", "a" BAD "80z"}, {BAD, "\xef"}};

    make(0);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        for (int side = 0; side < 2; side++)
            bufpool_charge(tenant_named(pairs[i][side], strlen(pairs[i][side])), 1);
    struct text text = as_the_stats();
    CHECK_EQ(rows(&text, "tenant_live_bytes"), tenant_count);
    forget(&text);
    end();
}

static void the_longest_names(void)
{
    static const struct {
        char        byte;
        const char *shown;
    } kinds[] = {{'x', "x"},    {'"', "\\\""},     {'\\', "\\\\"},
                 {'\n', "\\n"}, {'\xff', B("ff")}, {0, B("00")}};
    char name[256], shown[5 * 255];

    make(0);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        size_t len = strlen(kinds[i].shown);
        memset(name, kinds[i].byte, sizeof name);
        for (size_t at = 0; at < 255; at++) memcpy(shown + at * len, kinds[i].shown, len);
        CHECK(bufpool_tenant_get(pool, name, 0) == NULL);
        CHECK(bufpool_tenant_get(pool, name, 256) == NULL);
        bufpool_charge(tenant_named(name, 255), i + 1);
        struct text text = as_the_stats();
        CHECK(has_line(&text, shown, 255 * len, i + 1));
        forget(&text);
    }
    memset(name, '\xf0', sizeof name); /* each might be the first of four, up to the last */
    tenant_named(name, 255);
    check_as_the_stats();
    end();
}

/* ---- The rest as one ---- */

static void beyond_tenant_max(void)
{
    static const uint32_t most[] = {1, 3, 20};

    for (int i = 0; i < 3; i++) {
        make(most[i]);
        for (size_t made = 1; made <= 20; made++) {
            char            name[8];
            bufpool_tenant *tenant = tenant_named(name, (size_t)snprintf(name, 8, "t%zu", made));
            size_t          named  = made < most[i] ? made : most[i];

            bufpool_charge(tenant, made % 4 ? 1000 * made : 100001);
            struct text text = as_the_stats();
            CHECK_EQ(rows(&text, "tenant_live_bytes"), named + (named < made));
            CHECK((series(&text, "tenant_live_bytes", "__other__", 9) != NULL) == (named < made));
            forget(&text);
        }
        end();
    }
}

/* In a pool that names three: he comes first, last, or not at all. */
static void a_tenant_called_other(void)
{
    static const char *const callers[][6] = {{"__other__"},
                                             {"__other__", "a", "b", "c"},
                                             {"__other__", "a", "b", "c", "d"},
                                             {"a", "b", "__other__"},
                                             {"a", "b", "c", "__other__"},
                                             {"a", "b", "c", "d", "__other__"},
                                             {"__other_", "_other__", "__other___"}};

    for (size_t i = 0; i < sizeof callers / sizeof *callers; i++) {
        size_t others = 0;
        make(3);
        for (size_t n = 0; n < 6 && callers[i][n]; n++) {
            bool other = strcmp(callers[i][n], "__other__") == 0;
            bufpool_charge(tenant_named(callers[i][n], strlen(callers[i][n])), 100001 + n);
            others += other;
            struct text text = as_the_stats();
            CHECK(rows(&text, "tenant_live_bytes") <= 4);
            CHECK(tenant_count - others > 3 ||
                  rows(&text, "tenant_live_bytes") >= tenant_count - others);
            forget(&text);
        }
        end();
    }
}

/* ---- While others work ---- */

enum { THREADS = 4, SLOTS = 8, SHARED = 3, FRESH = 40 };

/* What the threads began, and what they finished: in a text is at least what was finished before
 * it, and at most what was begun before it ended. */
enum { CALLS, BYTES, BUFFERS, CAPACITY, UNDERFLOWS, TENANT, COUNTED = TENANT + SHARED };
static atomic_ullong   in_begun[COUNTED], in_done[COUNTED], out_begun[COUNTED], out_done[COUNTED];
static atomic_bool     stop;
static bufpool_tenant *shared[SHARED], *poor;
static size_t          slots_used, named;
static atomic_int      fresh;
static double          seconds = 0.05;

/* A buffer that somebody has, or, without one, a charge. */
struct holding {
    bufpool_buf *buf;
    size_t       size; /* 0: nothing is held */
    int          tenant;
    bool         is_charge;
};

static void count(atomic_ullong tally[COUNTED], const struct holding *it)
{
    atomic_fetch_add(&tally[CALLS], 1);
    atomic_fetch_add(&tally[BYTES], it->size);
    if (it->tenant >= 0) atomic_fetch_add(&tally[TENANT + it->tenant], it->size);
    if (it->is_charge) return;
    atomic_fetch_add(&tally[BUFFERS], 1);
    atomic_fetch_add(&tally[CAPACITY], bufpool_class_capacity(bufpool_class_for(it->size)));
}

static void take(struct holding *it, bufpool_cache *cache, uint64_t random)
{
    static const size_t most[] = {4096, 4096, 65536, 1 << 20};

    it->size           = (size_t)(random >> 20) % most[random % 4] + 1;
    it->tenant         = (int)(random >> 2 & 3) - 1;
    it->is_charge      = it->tenant >= 0 && (random >> 4 & 3) == 0;
    bufpool_tenant *by = it->tenant < 0 ? NULL : shared[it->tenant];
    count(in_begun, it);
    if (it->is_charge) bufpool_charge(by, it->size);
    else if (random >> 6 & 1) it->buf = bufpool_acquire(pool, it->size, by);
    else it->buf = bufpool_cache_acquire(cache, it->size, by);
    CHECK(it->is_charge || it->buf);
    count(in_done, it);
}

static void give(struct holding *it, bufpool_cache *cache, uint64_t random)
{
    count(out_begun, it);
    if (it->is_charge) bufpool_discharge(shared[it->tenant], it->size);
    else CHECK_EQ(random & 1 ? bufpool_release(it->buf) : bufpool_cache_release(cache, it->buf), 0);
    count(out_done, it);
    it->size = 0;
}

/* A discharge of more than was charged; and a new tenant, with a charge that stays. */
static void now_and_then(void)
{
    static const struct holding charge = {.size = 7, .tenant = -1, .is_charge = true};
    char                        name[16];

    atomic_fetch_add(&in_begun[UNDERFLOWS], 1);
    bufpool_discharge(poor, 1);
    atomic_fetch_add(&in_done[UNDERFLOWS], 1);
    if (atomic_load(&fresh) >= FRESH) return;
    int len = snprintf(name, sizeof name, "fresh%d", atomic_fetch_add(&fresh, 1));
    count(in_begun, &charge);
    bufpool_charge(bufpool_tenant_get(pool, name, (size_t)len), charge.size);
    count(in_done, &charge);
}

static void *worker(void *seed)
{
    struct holding slots[SLOTS] = {0};
    uint64_t       state        = (uintptr_t)seed;
    bufpool_cache *cache        = bufpool_cache_open(pool);

    CHECK(cache != NULL);
    while (!atomic_load(&stop)) {
        uint64_t        random = check_random(&state);
        struct holding *it     = &slots[random % slots_used];

        random >>= 4;
        if (it->size) give(it, cache, random);
        else take(it, cache, random);
        if ((random >> 40) % 64 == 0) now_and_then();
    }
    for (int i = 0; i < SLOTS; i++)
        if (slots[i].size) give(&slots[i], cache, 0);
    bufpool_cache_close(cache);
    return NULL;
}

static bool within(uint64_t value, uint64_t least, uint64_t out, uint64_t most)
{
    bool is = (least <= out || value >= least - out) && value <= most;
    if (!is)
        printf("# %llu, where %llu - %llu .. %llu can be\n", (unsigned long long)value,
               (unsigned long long)least, (unsigned long long)out, (unsigned long long)most);
    return is;
}

/* Is, of what is held, at least what came in before and had not begun to go out after, and at most
 * what had begun to come in after and had not gone out before. */
#define CHECK_HELD(value, what) \
    CHECK(within(value, in_before[what], out_begun[what], in_begun[what] - out_before[what]))

/* What only grows: hits and misses, and underflows. */
static void counters_can_be(const struct text *text, const uint64_t in_before[COUNTED],
                            uint64_t last[2])
{
    uint64_t had = 0, underflows = alone(text, "underflows_total");

    for (int i = 0; i < BUFPOOL_CLASSES; i++) {
        const char *slug = bufpool_class_slug((bufpool_class)i);
        had += number(text, "hits_total", "class", slug);
        had += number(text, "misses_total", "class", slug);
    }
    CHECK(within(had, in_before[BUFFERS], 0, in_begun[BUFFERS]));
    CHECK(within(underflows, in_before[UNDERFLOWS], 0, in_begun[UNDERFLOWS]));
    CHECK(had >= last[0] && underflows >= last[1]);
    last[0] = had;
    last[1] = underflows;
}

/* No parser is needed to see a number below zero; so many more texts can be looked at. */
static void nothing_is_below_zero(void)
{
    static char bytes[1 << 18];

    CHECK(bufpool_metrics(pool, bytes, sizeof bytes) < sizeof bytes);
    for (const char *at = bytes; (at = strchr(at, '\n')) != NULL; at++) {
        const char *digits = at;
        while (digits > bytes && digits[-1] >= '0' && digits[-1] <= '9') digits--;
        CHECK(at - digits < 16);
        if (at - digits >= 16) printf("# %.*s\n", (int)(at - digits), digits);
    }
}

static void one_text(uint64_t last[2])
{
    static const char *const tenant_names[SHARED] = {"shared0", "shared1", "shared2"};
    uint64_t                 in_before[COUNTED], out_before[COUNTED];

    for (int i = 0; i < COUNTED; i++) {
        in_before[i]  = in_done[i];
        out_before[i] = out_done[i];
    }
    struct text text = metrics();
    CHECK_HELD(alone(&text, "live_bytes"), BYTES);
    CHECK_HELD(alone(&text, "live_buffers"), BUFFERS);
    CHECK_HELD(alone(&text, "capacity_bytes"), CAPACITY);
    for (int i = 0; i < SHARED; i++)
        CHECK_HELD(number(&text, "tenant_live_bytes", "tenant_id", tenant_names[i]), TENANT + i);
    for (int i = 0; i < BUFPOOL_CLASSES; i++) {
        size_t   capacity = bufpool_class_capacity((bufpool_class)i);
        uint64_t idle = number(&text, "idle_bytes", "class", bufpool_class_slug((bufpool_class)i));
        CHECK(idle % capacity == 0 && idle <= (64 + 33 * THREADS) * capacity);
    }
    CHECK(rows(&text, "tenant_live_bytes") <= named + 1);
    CHECK(sum(&text, "tenant_live_bytes") <= in_begun[BYTES] - out_before[BYTES]);
    CHECK(sum(&text, "soft_limit_exceeded_total") <= in_begun[CALLS]);
    counters_can_be(&text, in_before, last);
    forget(&text);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* The tenants of the threads are so many apart in the order in which tenants are made. */
static void storm(size_t slots, size_t apart)
{
    pthread_t threads[THREADS];
    uint64_t  last[2] = {0};
    int       texts   = 0;
    char      name[16];

    slots_used = slots;
    named      = (SHARED - 1) * apart + 20;
    make((uint32_t)named);
    for (size_t i = 0; i <= (SHARED - 1) * apart; i++) {
        const char     *format = i % apart ? "filler%zu" : "shared%zu";
        size_t          number = i % apart ? i : i / apart;
        bufpool_tenant *tenant =
            tenant_named(name, (size_t)snprintf(name, sizeof name, format, number));
        if (i % apart == 0) shared[i / apart] = tenant;
    }
    poor = tenant_named("poor", 4);
    for (uintptr_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, worker, (void *)(i + 1)) != 0) exit(1);
    for (double start = now(); texts < 3 || now() - start < seconds; texts++) {
        for (int i = 0; i < 20; i++) nothing_is_below_zero();
        one_text(last);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    printf("# %d texts, %llu calls\n", texts, in_begun[CALLS]);
    for (int i = 0; i < atomic_load(&fresh); i++)
        tenant_named(name, (size_t)snprintf(name, sizeof name, "fresh%d", i));
    struct text text = as_the_stats();
    CHECK_EQ(alone(&text, "live_bytes"), atomic_load(&fresh) * 7);
    CHECK_EQ(alone(&text, "live_buffers"), 0);
    CHECK_EQ(alone(&text, "capacity_bytes"), 0);
    CHECK_EQ(alone(&text, "underflows_total"), in_done[UNDERFLOWS]);
    forget(&text);
    end();
    atomic_store(&stop, false);
    atomic_store(&fresh, 0);
    for (int i = 0; i < COUNTED; i++) in_begun[i] = in_done[i] = out_begun[i] = out_done[i] = 0;
}

static void while_threads_hold_much(void) { storm(SLOTS, 1); }

/* So little that to count a release, and not the acquisition before it, gives less than zero. */
static void while_threads_hold_little(void) { storm(1, 1); }

/* By tenants that a cache cannot have in its table of 256 at the same time. */
static void while_tenants_take_turns(void) { storm(1, 256); }

int main(int argc, char **argv)
{
    if (argc > 1) seconds = atof(argv[1]);
    RUN(the_parser_finds_every_fault);
    RUN(an_empty_pool);
    RUN(every_value);
    RUN(every_capacity);
    RUN(odd_names);
    RUN(many_names);
    RUN(names_that_look_bad);
    RUN(the_longest_names);
    RUN(beyond_tenant_max);
    RUN(a_tenant_called_other);
    RUN(while_threads_hold_much);
    RUN(while_threads_hold_little);
    RUN(while_tenants_take_turns);
    return REPORT();
}
