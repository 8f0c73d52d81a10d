# make demo    the cache of a directory tree, on /usr/include (DIR=... for another), and its metrics
# make check   the tests; STRICT=1: what is not installed counts as a failure
# make stress  minutes of storms (SECONDS_EACH=...)
# make bench   every workload over all its subjects, by hyperfine; a table
# make fuzz    libFuzzer over calls of slab_store, and over region files (SECONDS_EACH=...; clang)
# make model   the model checker GenMC over every execution of test/model, if it is installed
# make mutants each memory order weakened in turn: a client in test/model must notice
# make lint    clang-tidy, cppcheck, clang-format, shellcheck
# make install PREFIX=/usr/local DESTDIR=

CC          ?= cc
CFLAGS      ?= -O2 -g
PREFIX      ?= /usr/local
DIR         ?= /usr/include
SECONDS_EACH ?= 60
STRICT      ?=

version  = 0.1.0
headers  = slab.h overflow.h fixedpool.h bufpool.h
storms   = slab_stress slab_process slab_store_oracle \
           overflow_crash overflow_power overflow_process overflow_oracle \
           fixedpool_stress fixedpool_chaos bufpool_stress bufpool_chaos
fuzzers  = slab_store_fuzz overflow_fuzz
cc       = $(CC) -std=c11 $(CFLAGS) $(CPPFLAGS) $(LDFLAGS)
quiet    = @

# The caller's choices reach the scripts unchanged.
export CC CFLAGS STRICT

all: build/treecache build/fit_tiers

demo: build/treecache
	$(quiet)build/treecache --metrics build/metrics.txt $(DIR)
	$(quiet)echo 'build/metrics.txt has the metrics. Who paid for most, in the end:'
	$(quiet)grep '^buffer_pool_tenant_live_bytes{' build/metrics.txt | \
	    awk '{ print $$NF, $$0 }' | sort -rn | head -n 5 | sed 's/^[0-9]* /  /'

check:
	$(quiet)test/run.sh

stress: $(storms:%=build/%)
	$(quiet)build/slab_stress $(SECONDS_EACH) 4
	$(quiet)build/slab_stress $(SECONDS_EACH) 12
	$(quiet)build/slab_store_oracle 10000000
	$(quiet)for i in 1 2 3 4 5 6 7 8 9 10; do build/slab_process || exit 1; done
	$(quiet)build/overflow_crash 1000
	$(quiet)build/overflow_power 20000
	$(quiet)build/overflow_process $(SECONDS_EACH)
	$(quiet)build/overflow_oracle 10000000
	$(quiet)build/fixedpool_stress $(SECONDS_EACH) 4
	$(quiet)build/fixedpool_stress $(SECONDS_EACH) 12
	$(quiet)build/fixedpool_chaos $(SECONDS_EACH) 4
	$(quiet)build/fixedpool_chaos $(SECONDS_EACH) 12
	$(quiet)build/bufpool_stress $(SECONDS_EACH) 4
	$(quiet)build/bufpool_stress $(SECONDS_EACH) 12
	$(quiet)build/bufpool_chaos $(SECONDS_EACH) 4
	$(quiet)build/bufpool_chaos $(SECONDS_EACH) 12

bench:
	$(quiet)bench/run.sh

fuzz: $(fuzzers:%=build/%)
	$(quiet)for fuzzer in $(fuzzers); do \
	    mkdir -p build/corpus/$$fuzzer; \
	    (cd build && ./$$fuzzer -max_total_time=$(SECONDS_EACH) -max_len=3000 corpus/$$fuzzer) || \
	        exit 1; \
	done

model mutants:
	$(quiet)test/model/run.sh $@

lint:
	$(quiet)test/lint.sh

install:
	$(quiet)install -d $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(PREFIX)/lib/pkgconfig
	$(quiet)install -m 644 $(headers) $(DESTDIR)$(PREFIX)/include
	$(quiet)printf '%s\n' 'prefix=$(PREFIX)' '' 'Name: ashlar' \
	    'Description: Allocators that hand out memory by name, one C header each' \
	    'Version: $(version)' 'Cflags: -I$${prefix}/include' > $(DESTDIR)$(PREFIX)/lib/pkgconfig/ashlar.pc

clean:
	$(quiet)rm -rf build

build:
	$(quiet)mkdir -p build

build/treecache: examples/treecache.c $(headers) | build
	$(quiet)$(cc) -pthread $< -o $@

build/fit_tiers: tools/fit_tiers.c $(headers) | build
	$(quiet)$(cc) $< -o $@

build/replay: tools/replay.c $(headers) | build
	$(quiet)$(cc) $< -o $@

build/%_bench: bench/%_bench.c $(wildcard bench/*.h bench/classic/*.h) $(headers) | build
	$(quiet)$(cc) -pthread $< -o $@

build/slab_%: test/slab/slab_%.c test/check.h $(headers) | build
	$(quiet)$(cc) -pthread $< -o $@

build/overflow_%: test/overflow/overflow_%.c test/check.h $(headers) | build
	$(quiet)$(cc) -pthread $< -o $@

build/fixedpool_%: test/fixedpool/fixedpool_%.c test/check.h $(headers) | build
	$(quiet)$(cc) -pthread $< -o $@

build/bufpool_%: test/bufpool/bufpool_%.c test/check.h $(headers) | build
	$(quiet)$(cc) -pthread $< -o $@

build/fixedpool_chaos: test/fixedpool/fixedpool_stress.c
build/bufpool_chaos: test/bufpool/bufpool_stress.c

build/%_fuzz: test/fuzz/%_fuzz.c $(headers) | build
	$(quiet)clang -std=c11 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all $< -o $@

.PHONY: all demo check stress bench fuzz model mutants lint install clean
