/* store.c - a map from strings to strings within 16 MiB: slab_store keeps the strings, and an index
 * with open addressing keeps their refs. A set that finds no room evicts other keys; after each
 * free, slab_store_compact moves up to two values, so that no memory stays half empty.
 *
 *     cc -std=c11 -O2 -I. examples/store.c -o store
 *     ./store --demo
 *     printf 'set colour dark blue\nget colour\ndel colour\nstats\n' | ./store     # or FILE */
#define _DEFAULT_SOURCE /* getline, err */
#define SLAB_IMPLEMENTATION
#include "slab.h"

#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BUDGET = 16 << 20, TIERS = 11, SMALLEST = 64, PLACES = 2 * BUDGET / SMALLEST, MOVES = 2 };
static const uint32_t tiers[TIERS] = {SMALLEST, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096};

struct entry { /* of the index */
    slab_ref ref; /* names a record: the key, 0, the value, 0 */
    uint32_t len; /* of the record; 0 = no entry here */
};

static struct entry table[PLACES]; /* half full at most: a record takes SMALLEST bytes or more */
static uint32_t     keys, evicted, hand; /* hand: where eviction goes on */
static slab_store  *store;

static const char *record(struct entry it) { return slab_store_get(store, it.ref, it.len); }

static uint32_t home(const char *key)
{
    uint32_t hash = 2166136261; /* FNV-1a */
    while (*key) hash = (hash ^ (unsigned char)*key++) * 16777619;
    return (hash ^ hash >> 15) % PLACES;
}

/* Returns the place of the key's entry, or the empty place where it would go. */
static uint32_t find(const char *key)
{
    uint32_t at = home(key);
    while (table[at].len != 0 && strcmp(record(table[at]), key) != 0) at = (at + 1) % PLACES;
    return at;
}

/* compact has moved a record: updates its entry. */
static void moved(void *context, slab_ref from, slab_ref to, void *value, size_t room)
{
    uint32_t at = home(value);
    while (table[at].len == 0 || table[at].ref != from) at = (at + 1) % PLACES;
    table[at].ref = to;
    (void)context, (void)room;
}

/* Returns how many keys it deleted: 0 if the place is empty. */
static uint32_t del(uint32_t at, size_t moves)
{
    struct entry gone = table[at], entry;
    if (gone.len == 0) return 0;
    table[at].len = 0;
    while ((entry = table[at = (at + 1) % PLACES]).len != 0) { /* so that no gap is left */
        table[at].len              = 0;
        table[find(record(entry))] = entry;
    }
    keys--;
    if ((errno = -slab_store_free(store, gone.ref, gone.len)) != 0) err(1, "slab_store_free");
    (void)slab_store_compact(store, moves, moved, NULL);
    return 1;
}

/* Returns false if there is no room; the old value is gone then, too. */
static bool set(const char *data, size_t len)
{
    slab_ref ref;
    if (len > BUDGET / 8) return false; /* not worth the loss of everything else */
    del(find(data), MOVES);
    while ((errno = -slab_store_put(store, data, len, &ref)) == ENOSPC && keys > 0)
        evicted += del(hand++ % PLACES, MOVES);
    if (errno != 0) return false;
    table[find(data)] = (struct entry){.ref = ref, .len = (uint32_t)len};
    keys++;
    return true;
}

static void print_stats(const char *when)
{
    struct slab_store_info info;
    slab_store_stats(store, &info);
    printf("%s%u keys, %u evicted; payload: %zu of %zu bytes held, %zu %%\n", when, keys, evicted,
           info.payload_bytes, info.held_bytes, info.payload_bytes * 100 / info.held_bytes);
}

/* Runs a line of input. Returns false if it is no command, or a value has no room. */
static bool run(char *line)
{
    const char *verb = strtok(line, " \n"), *key = strtok(NULL, " \n"), *value = strtok(NULL, "\n");
    if (!verb) return true;
    if (strcmp(verb, "set") == 0 && value) return set(key, (size_t)(strchr(value, 0) - key) + 1);
    if (strcmp(verb, "stats") == 0 && !key) return print_stats(""), true;
    if (!key || value) return false;
    uint32_t at = find(key);
    if (strcmp(verb, "del") == 0) return del(at, MOVES), true;
    if (strcmp(verb, "get") != 0) return false;
    return puts(table[at].len != 0 ? record(table[at]) + strlen(key) + 1 : "(none)"), true;
}

/* Fills the map, deletes half of it without compaction, compacts, and verifies what is left. */
static void demo(void)
{
    char data[500]; /* the value is the key with zeros in front */
    for (unsigned n = 0; n < 80000; n++) {
        int len = snprintf(data, sizeof data, "%u%c%0*u", n, 0, (int)(n % 400), n);
        if (!set(data, (size_t)len + 1)) errx(1, "demo: no room");
    }
    print_stats("full:      ");
    for (uint32_t at = 0; at < PLACES; at += 2) del(at, 0);
    print_stats("deleted:   ");
    while (slab_store_compact(store, 100, moved, NULL) > 0) {}
    (void)slab_store_trim(store);
    print_stats("compacted: ");
    for (uint32_t at = 0; at < PLACES; at++) {
        if (table[at].len == 0) continue;
        const char *key = record(table[at]), *value = key + strlen(key) + 1;
        if (strtoul(key, NULL, 10) != strtoul(value, NULL, 10)) errx(1, "demo: a wrong value");
    }
}

int main(int argc, char **argv)
{
    slab_store_config config = {.tier_sizes = tiers, .tier_count = TIERS, .max_bytes = BUDGET};
    bool              show   = argc == 1 ? isatty(STDIN_FILENO) : strcmp(argv[1], "--demo") == 0;
    bool              bad    = false;
    char             *line   = NULL;
    size_t            room   = 0;

    if (argc > 2 || (argc == 2 && argv[1][0] == '-' && !show))
        errx(2, "usage: store [--demo | FILE]");
    if (argc == 2 && !show && !freopen(argv[1], "r", stdin)) err(1, "%s", argv[1]);
    if ((errno = -slab_store_create(&store, &config)) != 0) err(1, "slab_store_create");
    if (show) demo();
    for (unsigned n = 1; !show && !ferror(stdout) && getline(&line, &room, stdin) >= 0; n++)
        if (!run(line)) bad = true, warnx("line %u: no command, or no room", n);
    if (!show && ferror(stdin)) err(1, "input");
    free(line);
    slab_store_destroy(store);
    if (fflush(stdout) != 0 || ferror(stdout)) err(1, "standard output");
    return bad;
}
