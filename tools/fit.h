/* fit.h - chooses the tiers of a slab_store: how many, and up to which size. For tools/fit_tiers.c
 * and tools/replay.c, after slab.h with its implementation.
 *
 * Method: slab_fit_tiers finds the sizes of N tiers that waste least in slots, but neither N nor
 * the limit above which values are better large objects. Both are chosen by the bytes that the
 * whole store would hold:
 *
 *     slots of the values + units of the large objects + FIT_TIER_COST for each tier
 *
 * where the values are as many as fill a store of the given size. So a small store gets few tiers.
 * Among choices that differ by less than FIT_SLACK of the payload, the one with the fewest tiers is
 * taken.
 */
#ifndef FIT_H
#define FIT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum {
    FIT_TIERS     = 63,
    FIT_MAX       = 64 * 1024, /* larger values are large objects, whatever the tiers */
    FIT_UNIT      = 512,       /* large objects take whole ones */
    FIT_TIER_COST = 8 * 1024,  /* resident: a chunk in part, and the holes that compact leaves */
};
#define FIT_SLACK 0.005

struct fit_sizes {
    uint64_t counts[FIT_MAX + 1]; /* [size] */
    uint64_t large_payload, large_held;
};

struct fit {
    uint32_t tiers[FIT_TIERS];
    uint32_t count;
    uint32_t limit;
    double   bytes; /* that the store would hold for one byte of payload */
};

static const uint32_t fit_limits[] = {4096, 8192, 16384, 32768, FIT_MAX};
static const uint32_t fit_counts[] = {1, 2, 3, 5, 7, 11, 15, 23, 31, 47, FIT_TIERS};

enum {
    FIT_LIMITS = sizeof fit_limits / sizeof *fit_limits,
    FIT_COUNTS = sizeof fit_counts / sizeof *fit_counts,
};

static inline uint64_t fit_units(uint64_t size)
{
    return (size + FIT_UNIT - 1) / FIT_UNIT * FIT_UNIT;
}

static inline void fit_add(struct fit_sizes *sizes, uint64_t size, uint64_t count)
{
    if (size == 0) size = 1; /* takes the smallest slot, as one byte does */
    if (size <= FIT_MAX) {
        sizes->counts[size] += count;
        return;
    }
    sizes->large_payload += size * count;
    sizes->large_held += fit_units(size) * count;
}

/* What a store of store_bytes of payload holds for each byte of it, with these tiers. */
static inline double fit_measure(const struct fit_sizes *sizes, uint64_t store_bytes,
                                 const struct fit *fit)
{
    double   payload = (double)sizes->large_payload, held = (double)sizes->large_held;
    uint32_t tier = 0;

    for (uint32_t size = 1; size <= FIT_MAX; size++) {
        double count = (double)sizes->counts[size];
        while (tier < fit->count && fit->tiers[tier] < size) tier++;
        payload += count * size;
        held += count * (tier < fit->count ? fit->tiers[tier] : (double)fit_units(size));
    }
    return held / payload + (double)fit->count * FIT_TIER_COST / (double)store_bytes;
}

/* The best of at most that many tiers for values up to the limit. False: there are no such values,
 * or no memory. */
static inline bool fit_tiers(const struct fit_sizes *sizes, uint64_t store_bytes, uint32_t count,
                             uint32_t limit, struct fit *fit)
{
    static uint32_t all[FIT_MAX]; /* every size: those without values cost little */

    for (uint32_t i = 0; i < FIT_MAX; i++) all[i] = i + 1;
    while (limit > 0 && sizes->counts[limit] == 0) limit--;
    memset(fit, 0, sizeof *fit);
    if (limit == 0) return false;
    fit->limit = limit;
    fit->count = slab_fit_tiers(all, sizes->counts + 1, limit, fit->tiers, count);
    fit->bytes = fit_measure(sizes, store_bytes, fit);
    return fit->count > 0;
}

/* count, limit: 0 = the best. False as above; then best->count is 0. */
static inline bool fit_choose(const struct fit_sizes *sizes, uint64_t store_bytes, uint32_t count,
                              uint32_t limit, struct fit *best)
{
    struct fit fit;

    memset(best, 0, sizeof *best);
    for (size_t i = 0; i < (count ? 1 : FIT_COUNTS); i++) {
        for (size_t j = 0; j < (limit ? 1 : FIT_LIMITS); j++) {
            if (!fit_tiers(sizes, store_bytes, count ? count : fit_counts[i],
                           limit ? limit : fit_limits[j], &fit))
                continue;
            if (best->count && fit.bytes > best->bytes - (fit.count > best->count ? FIT_SLACK : 0))
                continue;
            *best = fit;
        }
    }
    return best->count > 0;
}

#endif
