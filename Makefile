# make demo    the cache of a directory tree, on /usr/include (DIR=... for another)
# make check   the tests; STRICT=1: what is not installed counts as a failure
# make stress  minutes of storms (SECONDS_EACH=...)
# make bench   every workload over all its subjects, by hyperfine; a table
# make fuzz    libFuzzer over sequences of slab_store's calls (SECONDS_EACH=...; clang)
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
headers  = slab.h
tests    = test slab_test slab_misuse slab_process slab_stress
cc       = $(CC) -std=c11 $(CFLAGS) $(CPPFLAGS) $(LDFLAGS)
quiet    = @

# The caller's choices reach the scripts unchanged.
export CC CFLAGS STRICT

all: build/treecache build/fit_tiers

demo: build/treecache
	$(quiet)build/treecache $(DIR)

check:
	$(quiet)test/run.sh

stress: build/slab_stress build/slab_process build/slab_store_oracle
	$(quiet)build/slab_stress $(SECONDS_EACH) 4
	$(quiet)build/slab_stress $(SECONDS_EACH) 12
	$(quiet)build/slab_store_oracle 10000000
	$(quiet)for i in 1 2 3 4 5 6 7 8 9 10; do build/slab_process || exit 1; done

bench:
	$(quiet)bench/run.sh

fuzz: | build
	$(quiet)clang -std=c11 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
	    test/fuzz/slab_store_fuzz.c -o build/slab_store_fuzz
	$(quiet)mkdir -p build/corpus
	$(quiet)cd build && ./slab_store_fuzz -max_total_time=$(SECONDS_EACH) -max_len=3000 corpus

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

build/fit_tiers: examples/fit_tiers.c $(headers) | build
	$(quiet)$(cc) $< -o $@

build/replay: bench/replay.c $(headers) | build
	$(quiet)$(cc) $< -o $@

build/%_bench: bench/%_bench.c $(wildcard bench/*.h bench/classic/*.h) $(headers) | build
	$(quiet)$(cc) -pthread $< -o $@

build/slab_%: test/slab_%.c test/check.h $(headers) | build
	$(quiet)$(cc) -pthread $< -o $@

.PHONY: all demo check stress bench fuzz model mutants lint install clean
