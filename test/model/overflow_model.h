/* overflow_model.h - an overflow_region and its reader for plays.
 *
 * The file is an array that region and reader share; both are put together here as open would do
 * it, because the checker does not know files. Everything between them is the real code: write,
 * read, free, joining and splitting holes, the reader.
 *
 * For the checker every checksum is 0 and so matches: the order of accesses alone must keep a
 * reader from taking a torn value for a whole one. */
#include "model.h"

#ifdef MODEL
#define OVERFLOW_CRC(crc, word) ((void)(crc), (void)(word), UINT64_C(0))
#define __builtin_prefetch(...) ((void)0)
#endif

#define OVERFLOW_API       MODEL_API
#define OVERFLOW_ASSERT(x) must(x)
#define OVERFLOW_IMPLEMENTATION
MODEL_HEADER_BEGIN
#include "overflow.h"
MODEL_HEADER_END

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

/* Writes a value of one granule, or of two, whose words are all the same. */
MODEL_INLINE overflow_ref model_write(uint64_t word, size_t size)
{
    uint64_t     words[8] = {word, word, word, word, word, word, word, word};
    overflow_ref ref;
    int          error = overflow_write(&region, words, size, 0, &ref);
    must(error == 0);
    return ref;
}

/* Reads ref with the reader. Returns the value's word, or 0 if the value is not live; a mixture of
 * two values, or an error, fails the play. */
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
