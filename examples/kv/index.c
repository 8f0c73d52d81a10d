/* index.c - from the hash of a key to the entry that names its value.
 *
 * 1,024 small tables, chosen by ten bits of the hash. A table is an array of 8-byte entries, sorted
 * by 24 further bits, the tag, with empty places between them: an entry lies at its home, which is
 * tag * size / 2^24, or close behind it.
 *
 *     home grows with the tag     | . | 3 | 7 | 8 | . | 15 | 17 | . | . | 30 | ....
 *
 *   Invariant   tags ascend; between an entry's home and the entry no place is empty.
 *   So          a search ends at the first larger tag, found or not: 5 entries at nine tenths full.
 *               A table grows by a quarter in one pass, without the keys. A cursor (table, tag)
 *               stays good whatever is inserted, removed or grown: SCAN needs nothing else.
 *   Memory      8 / 0.9 to 8 / 0.7 bytes a key, and 12 spare places in each table.
 *
 * Growth copies one table, a thousandth of the entries: no insert is slow. */
#include "kv.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { TAG_BITS = 24, TAG_AT = 40, TABLE_BITS = 10, SPARE = 12, LEAST = 4 };

static uint64_t tag_of(uint64_t entry) { return entry >> TAG_AT; }
static uint64_t tag_from(uint64_t hash) { return hash & ((1 << TAG_BITS) - 1); }
static struct index_table *table_of(struct index *index, uint64_t hash)
{
    return &index->tables[hash >> (64 - TABLE_BITS)];
}
static size_t home(const struct index_table *table, uint64_t tag)
{
    return (size_t)(tag * table->size >> TAG_BITS);
}

static uint64_t mix(uint64_t a, uint64_t b)
{
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Hashes eight bytes at a time by folded multiplication, with a secret: strangers choose keys. */
uint64_t index_hash(uint32_t keyspace, struct slice key)
{
    static uint64_t secret[2];
    if (secret[0] == 0 && getrandom(secret, sizeof secret, 0) != sizeof secret)
        secret[1] = (uintptr_t)&key;
    secret[0] |= 1;
    uint64_t hash = secret[0] ^ keyspace ^ key.len << 32, word = 0;
    size_t   at   = 0;
    for (; at + 8 <= key.len; at += 8) {
        memcpy(&word, key.data + at, 8);
        hash = mix(hash ^ word, secret[1] ^ 0x9e3779b97f4a7c15);
    }
    word = 0;
    if (at < key.len) memcpy(&word, key.data + at, key.len - at);
    return mix(mix(hash ^ word, secret[1] ^ 0xd1b54a32d192ed03), secret[0]);
}

/* Moves a table's entries to an array for `count` of them. Returns false without memory. */
static bool table_resize(struct index *index, struct index_table *table, size_t count)
{
    for (size_t size = count + count / 4 + LEAST;; size += size / 8) {
        struct index_table larger = {.size = (uint32_t)size, .count = table->count};
        size_t             bytes  = (size + SPARE) * sizeof *larger.entries, at = 0, i;
        larger.entries            = malloc(bytes);
        if (!larger.entries) return false;
        memset(larger.entries, 0xff, bytes);
        size_t places = table->entries ? table->size + SPARE : 0;
        for (i = 0; i < places; i++) {
            if (table->entries[i] == INDEX_EMPTY) continue;
            size_t least = home(&larger, tag_of(table->entries[i]));
            if (at < least) at = least;
            if (at >= size + SPARE - 1) break; /* the last place stays empty: it ends each search */
            larger.entries[at++] = table->entries[i];
        }
        if (i < places) { /* a run at the end: a little more room */
            free(larger.entries);
            continue;
        }
        index->bytes += bytes - places * sizeof *table->entries;
        free(table->entries);
        *table = larger;
        return true;
    }
}

uint64_t *index_find(struct index *index, uint64_t hash, index_match_fn *match, void *context)
{
    const struct index_table *table = table_of(index, hash);
    uint64_t                  tag   = tag_from(hash);
    if (table->count == 0) return NULL;
    for (uint64_t *entry = table->entries + home(table, tag);; entry++) {
        if (*entry == INDEX_EMPTY || tag_of(*entry) > tag) return NULL;
        if (tag_of(*entry) == tag && match(context, *entry)) return entry;
    }
}

uint64_t *index_insert(struct index *index, uint64_t hash, uint64_t name)
{
    struct index_table *table = table_of(index, hash);
    uint64_t            tag   = tag_from(hash);

    if (table->count + 1 > (uint64_t)table->size * 9 / 10 &&
        !table_resize(index, table, table->count + 1))
        return NULL;
    for (;;) {
        size_t at = home(table, tag);
        while (table->entries[at] != INDEX_EMPTY && tag_of(table->entries[at]) <= tag) at++;
        size_t end = at;
        while (table->entries[end] != INDEX_EMPTY) end++;
        if (end < table->size + SPARE - 1) {
            memmove(&table->entries[at + 1], &table->entries[at], (end - at) * sizeof(uint64_t));
            table->entries[at] = tag << TAG_AT | name;
            table->count++, index->count++;
            return &table->entries[at];
        }
        if (!table_resize(index, table, table->size)) return NULL;
    }
}

/* Closes the gap, so that no search ends at it. */
void index_remove(struct index *index, uint64_t hash, uint64_t *entry)
{
    struct index_table *table = table_of(index, hash);
    size_t              at    = (size_t)(entry - table->entries);

    for (; table->entries[at + 1] != INDEX_EMPTY; at++) {
        if (home(table, tag_of(table->entries[at + 1])) > at) break;
        table->entries[at] = table->entries[at + 1];
    }
    table->entries[at] = INDEX_EMPTY;
    table->count--, index->count--;
    if (table->size > 64 && table->count < table->size / 10 * 7)
        (void)table_resize(index, table, table->count); /* without memory it stays large */
}

/* Returns the next entry. A cursor has 10 bits of table, 24 of tag, and 16 that count the entries
 * of this tag that were returned. */
uint64_t *index_next(struct index *index, uint64_t *cursor)
{
    uint64_t number = *cursor >> (TAG_BITS + 16), tag = *cursor >> 16 & ((1 << TAG_BITS) - 1);
    uint64_t skip = *cursor & 0xffff;

    for (; number < INDEX_TABLES; number++, tag = 0, skip = 0) {
        const struct index_table *table = &index->tables[number];
        uint64_t                  seen  = 0;
        if (table->count == 0) continue;
        for (size_t at = home(table, tag); at < table->size + SPARE; at++) {
            uint64_t entry = table->entries[at];
            if (entry == INDEX_EMPTY || tag_of(entry) < tag) continue;
            if (tag_of(entry) > tag) tag = tag_of(entry), skip = seen = 0;
            if (seen++ < skip) continue;
            *cursor = number << (TAG_BITS + 16) | tag << 16 | seen;
            return &table->entries[at];
        }
    }
    *cursor = 0;
    return NULL;
}

void index_clear(struct index *index)
{
    for (size_t i = 0; i < INDEX_TABLES; i++) free(index->tables[i].entries);
    *index = (struct index){0};
}
