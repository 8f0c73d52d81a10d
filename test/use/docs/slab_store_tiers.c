/* The table that fit_tiers made. */
#define SLAB_IMPLEMENTATION
BLOCK

int main(void)
{
    slab_store *store;
    if (create(&store) != 0) return 1;
    slab_store_destroy(store);
    return sizeof tiers / sizeof *tiers == config.tier_count ? 0 : 2;
}
