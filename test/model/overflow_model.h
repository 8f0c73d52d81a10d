/* overflow_model.h - what the model-checking clients of overflow.h share.
 *
 * Goal:   one client, two programs. With MODEL defined it is for a model checker, which runs play()
 *         once for each outcome that the C11 memory model allows. Without, it is an ordinary
 *         program that runs play() ROUNDS times and hopes.
 * Method: the real header is compiled in. The file is an array that region and reader share; they
 *         are put together here as open would do it from a file (the checker knows no files). What
 *         lies between is the real thing: write, read, free, joining and splitting, the reader.
 *
 * For the checker every checksum is 0 and so holds: then a reader must not take a torn value for
 * whole by the order of accesses alone, without any help by chance. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MODEL_INLINE static inline __attribute__((always_inline, unused))
#define OVERFLOW_API static inline __attribute__((unused))

#ifdef MODEL
#define ROUNDS 1

/* The checker's own names for a thread's start and end and for a failed check. */
typedef int  model_thread;
extern int   __VERIFIER_thread_create(const void *attributes, void *(*run)(void *), void *argument);
extern void *__VERIFIER_thread_join(model_thread thread);
extern void  __VERIFIER_assert_fail(const char *condition, const char *file, int line);

#define must(x)                 ((x) ? (void)0 : __VERIFIER_assert_fail(#x, __FILE__, __LINE__))
#define OVERFLOW_CRC(crc, word) ((void)(crc), (void)(word), UINT64_C(0))
#define __builtin_prefetch(...) ((void)0)
#else
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

typedef pthread_t model_thread;
#define must(x) ((x) ? (void)0 : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x), abort()))
#ifndef ROUNDS
#define ROUNDS 1
#endif
#endif

#define OVERFLOW_ASSERT(x) must(x)
#define OVERFLOW_IMPLEMENTATION
#ifdef MODEL /* the header's helpers too */
#pragma clang attribute push(__attribute__((always_inline)), apply_to = function)
#endif
#include "overflow.h"
#ifdef MODEL
#pragma clang attribute pop
#endif

/* -- A region and a reader of it, in memory -- */

enum { MODEL_PLACES = 16 }; /* granules behind the two headers */

static overflow__word  model_file[(OVERFLOW__FIRST + MODEL_PLACES) * 4];
static overflow__hole  model_holes[16];
static overflow_region region;
static overflow_reader reader;

MODEL_INLINE void model_create(void)
{
    region.view.base = reader.view.base = (unsigned char *)model_file;
    region.used                         = OVERFLOW__FIRST;
    region.max = region.backed = region.touched = reader.end = OVERFLOW__FIRST + MODEL_PLACES;
    region.holes                                             = model_holes;
    region.hole_ready                                        = 16;
    region.hole_top                                          = 1;
    region.hole_spare                                        = 0;
    region.serial                                            = 1;
    region.header.serial_limit                               = 1000;
    region.freed_in = region.freed_out = 0;
    region.live_slots = region.live_granules = region.live_bytes = region.hole_count = 0;
#ifndef MODEL /* for the checker it is all 0 */
    static bool tables;
    if (!tables) overflow__make_tables(&region.view);
    tables      = true;
    reader.view = region.view;
    memset((void *)model_file, 0, sizeof model_file);
    memset(model_holes, 0, sizeof model_holes);
    memset(region.bins, 0, sizeof region.bins);
#endif
}

/* A value of one granule, or of two: words that are all the same. */
MODEL_INLINE overflow_ref model_write(uint64_t word, size_t size)
{
    uint64_t     words[8] = {word, word, word, word, word, word, word, word};
    overflow_ref ref;
    int          error = overflow_write(&region, words, size, 0, &ref);
    must(error == 0);
    return ref;
}

/* Reads ref: the value's word, or 0 if it is not live. Never a mixture, never an error. */
MODEL_INLINE uint64_t model_read(overflow_ref ref)
{
    uint64_t words[8];
    size_t   size;
    int      error = overflow_reader_read(&reader, ref, words, sizeof words, &size);
    if (error == -ESTALE) return 0;
    must(error == 0 && (size == 32 || size == 64));
    must(words[0] == words[1] && words[0] == words[2] && words[0] == words[3]);
    if (size == 64) must(words[0] == words[4] && words[0] == words[7]);
    return words[0];
}

/* -- Threads -- */

MODEL_INLINE model_thread model_start(void *(*run)(void *))
{
#ifdef MODEL
    return __VERIFIER_thread_create(NULL, run, NULL);
#else
    model_thread thread;
    int          error = pthread_create(&thread, NULL, run, NULL);
    must(error == 0);
    return thread;
#endif
}

MODEL_INLINE void model_join(model_thread thread)
{
#ifdef MODEL
    __VERIFIER_thread_join(thread);
#else
    int error = pthread_join(thread, NULL);
    must(error == 0);
#endif
}

/* Each client's: builds a region, lets the threads loose, and asserts. */
static void play(void);

int main(void)
{
    for (int round = 0; round < ROUNDS; round++) play();
    return 0;
}
