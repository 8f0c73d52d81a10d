/* A user's memory macros, for header_test.sh: memory of aligned_alloc in place of mappings. The
 * program fails unless the header asked for memory and gave all of it back. */
#include <stdlib.h>
#include <string.h>

static size_t own_maps, own_unmaps;

static void *own_map(size_t size)
{
    size_t whole  = (size + 4095) / 4096 * 4096;
    void  *memory = aligned_alloc(4096, whole);

    if (!memory) return NULL;
    own_maps++;
    return memset(memory, 0, whole);
}

static void own_unmap(void *memory, size_t size)
{
    (void)size;
    own_unmaps++;
    free(memory);
}

__attribute__((destructor)) static void own_check(void)
{
    if (own_maps == 0 || own_maps != own_unmaps) _Exit(9);
}

#define SLAB_MAP(size)                own_map(size)
#define SLAB_UNMAP(memory, size)      own_unmap(memory, size)
#define FIXEDPOOL_MAP(size)           own_map(size)
#define FIXEDPOOL_UNMAP(memory, size) own_unmap(memory, size)
#define BUFPOOL_MAP(size)             own_map(size)
#define BUFPOOL_UNMAP(memory, size)   own_unmap(memory, size)
