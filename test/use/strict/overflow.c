/* Goal:   overflow.h alone locks its file, reserves, populates, punches and syncs when strict. */
#define OVERFLOW_IMPLEMENTATION
#include "overflow.h"

#include "kernel.h"

enum { VALUES = 64, SIZE = 100000 };

static unsigned char bytes[SIZE];
static overflow_ref  refs[VALUES];
static bool          has_holes; /* the file system can punch them */

static int writes(void)
{
    overflow_config  config = {16 << 10, 16 << 20, OVERFLOW_FRESH};
    overflow_region *region;

    NEED(overflow_open(&region, "strict.region", &config) == 0);
    NEED(kernel_careful_opens > 0);
    NEED(kernel_lock >> 37 & 1); /* F_OFD_SETLK */
    NEED(kernel_anonymous > 0);
    NEED(ASKED(HUGEPAGE));
    for (int i = 0; i < VALUES; i++)
        NEED(overflow_write(region, bytes, sizeof bytes, 0, &refs[i]) == 0);
    NEED(kernel_punch >> 0 & 1);
    NEED(ASKED(POPULATE_WRITE));
    for (int i = 1; i < VALUES - 1; i++) NEED(overflow_free(region, refs[i]) == 0);
    has_holes = overflow_trim(region) > 0;
    NEED(kernel_punch >> 3 & 1); /* FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE */
    NEED(overflow_sync(region) == 0);
    NEED(kernel_fsync > 0);
    return overflow_close(region);
}

static int reads(void)
{
    overflow_region *region;
    overflow_reader *reader;
    size_t           size;

    NEED(overflow_open(&region, "strict.region", NULL) == 0);
    NEED(ASKED(POPULATE_READ));
    NEED(kernel_seek >> 4 & 1); /* SEEK_HOLE */
    NEED(!has_holes || (kernel_seek >> 3 & 1)); /* SEEK_DATA */
    NEED(overflow_reader_open(&reader, "strict.region") == 0);
    NEED(overflow_reader_read(reader, refs[0], bytes, sizeof bytes, &size) == 0 && size == SIZE);
    overflow_reader_close(reader);
    return overflow_close(region);
}

int main(void) { return writes() || reads(); }
