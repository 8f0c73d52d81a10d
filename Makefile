# make demo        a key-value server, loaded, killed and verified: DIR=/usr/include or TRACE=FILE
# make check       the tests that need a compiler and make alone; about a minute. Also: make test
# make check-all   every test; a missing package says SKIP, and with STRICT=1 it is a failure
# make stress      minutes of storms: SECONDS_EACH=60
# make fuzz        libFuzzer: calls of slab_store, region files, requests: SECONDS_EACH=60 (clang)
# make model       every execution of the plays in test/model, by the model checker GenMC
# make mutants     each memory order weakened in turn: a play in test/model must notice
# make lint        clang-tidy, cppcheck, shellcheck, and the rules for text
# make bench       every workload over all its subjects; tables in build/bench
# make bench-sweep time against threads and against amounts of work, for the plots
# make bench-publish  copies the tables and plots to bench/results and into the docs
# make replay      recorded traces, over slab_store and over mallocs: TRACES=DIRECTORY
# make install     headers, pkg-config file and docs: PREFIX=/usr/local DESTDIR=
# make uninstall   removes what install put there
# make clean       removes build
#
# BUILD=DIRECTORY names another place for all that is built. test/run.sh RUNG runs one test.

CC           ?= cc
CFLAGS       ?= -O2 -g
BUILD        ?= build
PREFIX       ?= /usr/local
DIR          ?= /usr/include
TRACE        ?=
SECONDS_EACH ?= 60
STRICT       ?=

version = 0.2.0
# A placeholder until the project has an address; the same in CMakeLists.txt and meson.build.
url     = https://ashlar.example
headers = slab.h overflow.h fixedpool.h bufpool.h
storms  = slab_stress slab_process slab_store_oracle \
          overflow_crash overflow_power overflow_process overflow_oracle \
          fixedpool_stress fixedpool_chaos bufpool_stress bufpool_chaos
fuzzers = slab_store_fuzz overflow_fuzz kv_protocol_fuzz
cc      = $(CC) -std=c11 $(CFLAGS) $(CPPFLAGS) $(LDFLAGS)
quiet   = @

# The caller's choices reach the scripts unchanged. make -j N runs N tests at once.
export CC CFLAGS STRICT BUILD
jobs = $(patsubst -j%,%,$(filter -j%,$(MAKEFLAGS)))
run  = $(if $(jobs),JOBS=$(jobs) )test/run.sh
# Without your CFLAGS make check compiles quickly; check-all has every level of optimization.
fast = $(if $(filter file,$(origin CFLAGS)),CFLAGS='-O0 -g' LONG_CFLAGS='-O1 -g' )

examples = handover pagecount restart store spill ringcp tenants kvdemo

all: $(examples:%=$(BUILD)/%) $(BUILD)/kv-server $(BUILD)/fit_tiers $(BUILD)/replay \
     $(BUILD)/overflow_inspect

help:
	$(quiet)sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

demo: $(BUILD)/kv-server $(BUILD)/kvdemo
	$(quiet)$(BUILD)/kvdemo --server $(BUILD)/kv-server --trace '$(TRACE)' '$(DIR)'

check test:
	$(quiet)$(fast)$(run) check

check-all:
	$(quiet)$(run) all

stress: $(storms:%=$(BUILD)/%)
	$(quiet)cd $(BUILD) && set -e; s=$(SECONDS_EACH); \
	    for n in 4 12; do \
	        ./slab_stress $$s $$n; \
	        ./fixedpool_stress $$s $$n; ./fixedpool_chaos $$s $$n; \
	        ./bufpool_stress $$s $$n; ./bufpool_chaos $$s $$n; \
	    done; \
	    for i in 1 2 3 4 5 6 7 8 9 10; do ./slab_process; done; \
	    ./slab_store_oracle 10000000; \
	    ./overflow_crash 1000; ./overflow_power 20000; ./overflow_process $$s; \
	    ./overflow_oracle 10000000

bench:
	$(quiet)bench/run.sh

bench-sweep:
	$(quiet)bench/run.sh sweep

bench-publish:
	$(quiet)bench/publish.sh

replay:
	$(quiet)tools/replay.sh $(TRACES)

fuzz: $(fuzzers:%=$(BUILD)/%)
	$(quiet)cd $(BUILD) && for fuzzer in $(fuzzers); do \
	    mkdir -p corpus/$$fuzzer; \
	    ./$$fuzzer -max_total_time=$(SECONDS_EACH) -max_len=3000 corpus/$$fuzzer || exit 1; \
	done

model:
	$(quiet)test/model/run.sh

mutants:
	$(quiet)test/model/run.sh mutants

lint:
	$(quiet)test/lint.sh

# The files of an installation, by folder below PREFIX. CMakeLists.txt and meson.build install the
# same. PREFIX and DESTDIR may hold spaces: they reach the shell through its environment.
docs     = README.md CHANGELOG.md LICENSE $(wildcard docs/*.md docs/*.svg)
includes = include/ashlar
pc_file  = lib/pkgconfig/ashlar.pc
doc_dir  = share/doc/ashlar
install uninstall: export root = $(DESTDIR)$(PREFIX)
install: export prefix = $(PREFIX)

install:
	$(quiet)set -e; \
	    install -d "$$root/$(includes)" "$$root/$(dir $(pc_file))" "$$root/$(doc_dir)/docs"; \
	    install -m 644 $(headers) "$$root/$(includes)"; \
	    for doc in $(docs); do install -m 644 $$doc "$$root/$(doc_dir)/$$doc"; done; \
	    printf '%s\n' "prefix=$$(printf '%s' "$$prefix" | sed 's/ /\\ /g')" \
	        'includedir=$${prefix}/include' '' 'Name: ashlar' \
	        'Description: Allocators for C11 on Linux, one header each' \
	        'URL: $(url)' 'Version: $(version)' \
	        'Cflags: -I$${includedir}/ashlar' >"$$root/$(pc_file)"; \
	    chmod 644 "$$root/$(pc_file)"

# Leaves what it did not install, and folders that other packages share.
uninstall:
	$(quiet)set -e; \
	    for file in $(headers:%=$(includes)/%) $(pc_file) $(docs:%=$(doc_dir)/%); do \
	        rm -f "$$root/$$file"; \
	    done; \
	    for folder in $(includes) $(doc_dir)/docs $(doc_dir); do \
	        rmdir "$$root/$$folder" 2>/dev/null || :; \
	    done

clean:
	$(quiet)rm -rf $(BUILD)

$(BUILD):
	$(quiet)mkdir -p $(BUILD)

$(BUILD)/%: examples/%.c $(headers) | $(BUILD)
	$(quiet)$(cc) -I. -pthread $< -o $@

$(BUILD)/kv-server: $(wildcard examples/kv/*.[ch]) $(headers) | $(BUILD)
	$(quiet)$(cc) -D_GNU_SOURCE -I. -pthread $(filter %.c,$^) -o $@

$(BUILD)/%: tools/%.c tools/fit.h $(headers) | $(BUILD)
	$(quiet)$(cc) $< -ldl -o $@

$(BUILD)/%_bench: bench/%_bench.c $(wildcard bench/*.h bench/classic/*.h) $(headers) | $(BUILD)
	$(quiet)$(cc) -pthread $< -o $@

# A header's test programs: build/slab_stress is test/slab/slab_stress.c.
define test_programs
$$(BUILD)/$(1)_%: test/$(1)/$(1)_%.c $$(wildcard test/$(1)/*.[ch]) test/check.h $(1).h | $$(BUILD)
	$$(quiet)$$(cc) -pthread $$< -o $$@
endef
$(foreach header,$(headers:.h=),$(eval $(call test_programs,$(header))))

$(BUILD)/%_fuzz: test/fuzz/%_fuzz.c $(wildcard examples/kv/*) $(headers) | $(BUILD)
	$(quiet)clang -std=c11 -g -O1 -I. -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all $< -o $@

.PHONY: all help demo check test check-all stress bench bench-sweep \
    bench-publish replay fuzz model mutants lint install uninstall clean
