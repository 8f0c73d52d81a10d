/* Two pools, and ids of both. */
#define SLAB_IMPLEMENTATION
#include "slab.h"

BLOCK

int main(void)
{
    slab_id ids[2], stranger = {9, 0, 1};
    for (uint16_t core = 0; core < 2; core++)
        if (create_for(core) != 0 || slab_pool_put(pools[core], "x", 1, &ids[core]) != 0) return 1;
    if (slab_pool_return(pools[0], ids[1]) != -EINVAL || give_back(stranger) != -EINVAL) return 1;
    if (give_back(ids[1]) != 0 || give_back(ids[0]) != 0) return 1;
    return slab_pool_destroy(pools[0]) || slab_pool_destroy(pools[1]);
}
