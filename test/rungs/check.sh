# check.sh - what make check runs: with a compiler and make alone, the same on every machine.
# shellcheck shell=sh disable=SC2034,SC2154  # lists for run.sh, which sets dir

# The first failure in each header shows soonest: its own test begins.
units='text slab_test slab_store_test slab_store_cache slab_store_retier slab_store_age
    overflow_test bufpool_test fixedpool_test slab_misuse slab_fit_test slab_pool_kernel
    slab_kernel fixedpool_lack fixedpool_sandbox bufpool_lack bufpool_kernel bufpool_crowd
    bufpool_metrics fixedpool_ring fixedpool_buffers fixedpool_watch fixedpool_batch
    overflow_oracle slab_store_oracle overflow_hostile'
storms='overflow_crash overflow_power fixedpool_stress fixedpool_chaos overflow_process slab_stress
    bufpool_stress bufpool_chaos bufpool_cap overflow_full slab_process slab_pool_adopt'
quick='docs examples ringcp restart tenants fit_tiers replay kv'
programs=$(echo "$units $storms" | sed "s/^text //")
# These compute for longer than a compiler takes to optimize them: LONG_CFLAGS are theirs.
long='slab_store_test overflow_hostile overflow_oracle overflow_crash overflow_process slab_pool_adopt'

rung_text() { run_tap '' test/lint.sh text; }

# What needs a package or a sanitizer is left to check-all (more_examples), so that nothing is
# skipped here.
only_compiler() { ONLY_COMPILER=1 run_tap '' "test/use/$1_test.sh" "$PWD/$dir/work"; }
rung_docs() { only_compiler docs; }
rung_ringcp() { only_compiler ringcp; }
rung_restart() { only_compiler restart; }
rung_tenants() { only_compiler tenants; }
rung_kv() { only_compiler kv; }
