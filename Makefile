# Weir. `make help` lists what can be made.
.DEFAULT_GOAL := all
SHELL := /bin/bash
MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:
.SUFFIXES:

BUILD ?= build
# V=1 shows each command.
Q := $(if $(V),,@)
CC = gcc
PREFIX ?= /usr/local
VERSION := $(shell cat VERSION)

# Rooms, lowest floor first (ARCHITECTURE.md). The worker may use only the common rooms.
COMMON_ROOMS := base json chat
GATEWAY_ROOMS := http egress store engine provider router govern hub exchange api app
WORKER_DIRS := src/engine/worker src/engine/worker/cpu
# The trainer, a program of its own, uses the engine's code.
TRAIN_ROOMS := train train/hf

WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Werror
CFLAGS ?= -O2 -g
HARDENING := -fstack-protector-strong -fPIE -D_FORTIFY_SOURCE=2
ALL_CFLAGS = -std=c17 -D_GNU_SOURCE -DWEIR_VERSION='"$(VERSION)"' -Isrc -I$(BUILD)/generated -pthread -MMD -MP \
	$(WARNINGS) $(HARDENING) $(CFLAGS)
ALL_LDFLAGS = -pthread -pie -Wl,-z,relro,-z,now $(LDFLAGS)

GATEWAY_LIBS := -levent_openssl -levent_core -lhttp_parser -lcurl -lssl -lcrypto -lsqlite3 -lpq -ljansson -lyaml \
	-lsodium -lpcre2-8 -lm
# The gateway's malloc: 100 small blocks a request, freed out of order. The sanitizers bring their own.
GATEWAY_MALLOC := $(if $(findstring -fsanitize,$(CFLAGS)),,-lmimalloc)
WORKER_LIBS := -lseccomp -ljansson -lpcre2-8 -lsodium -lm
TRAIN_LIBS := $(WORKER_LIBS) -lyaml
# The worker and the trainer link no network code: a reference to any of these fails the link.
WORKER_FORBIDDEN := socket connect bind listen accept accept4 getaddrinfo gethostbyname execve execv execvp \
	execl execlp posix_spawn system popen fork vfork
comma := ,
# clang links the sanitizers' runtime into the program, and that itself refers to vfork, to see what is done there.
WORKER_WRAPPED := $(if $(findstring -fsanitize,$(CFLAGS)),$(filter-out vfork,$(WORKER_FORBIDDEN)),$(WORKER_FORBIDDEN))
WORKER_LDFLAGS := $(foreach f,$(WORKER_WRAPPED),-Wl$(comma)--wrap=$(f))

objects = $(patsubst src/%.c,$(BUILD)/obj/%.o,$(filter-out %/main.c,$(wildcard $(addsuffix /*.c,$(1)))))
# Both ends of the wire link the framing, and ask what memory there is.
COMMON_OBJECTS := $(call objects,$(addprefix src/,$(COMMON_ROOMS))) $(BUILD)/obj/engine/wire.o \
	$(BUILD)/obj/engine/memory.o
GATEWAY_OBJECTS := $(filter-out %/engine/wire.o %/engine/memory.o,$(call objects,$(addprefix src/,$(GATEWAY_ROOMS))))
WORKER_OBJECTS := $(call objects,$(WORKER_DIRS))
TRAIN_OBJECTS := $(call objects,$(addprefix src/,$(TRAIN_ROOMS)))

# Where -O3 pays: kernels and judging. Of kernels no product and sum are fused but where a kernel says so, and nobody reads
# the exceptions' flags, for whose sake gcc would make no vectors of loops that compare. (make applies the pattern that fits
# most closely last, so the instruction sets are added to these.)
$(BUILD)/obj/router/%.o: ISA_FLAGS := -O3
$(BUILD)/obj/engine/worker/cpu/%.o: ISA_FLAGS := -O3 -ffp-contract=off -fno-trapping-math
# Bytes of a quantised file depend on no compiler's fused sums.
$(BUILD)/obj/engine/worker/tensor_quantize%.o: ISA_FLAGS := -O3 -ffp-contract=off
# The trainer's vectors are written for products and sums to be fused.
$(BUILD)/obj/train/kernels_%.o: ISA_FLAGS := -O3 -ffp-contract=fast -fno-math-errno -fno-trapping-math
# Kernels are compiled for their instruction set and chosen at run time; elsewhere these files are empty.
ifneq (,$(findstring x86_64,$(shell $(CC) -dumpmachine)))
$(BUILD)/obj/train/kernels_avx2.o: ISA_FLAGS += -mavx2 -mfma
TRAIN_WIDE := -mavx2 -mfma -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512
$(BUILD)/obj/train/kernels_avx512.o: ISA_FLAGS += $(TRAIN_WIDE)
$(BUILD)/obj/train/kernels_amx.o: ISA_FLAGS += $(TRAIN_WIDE) -mavx512bf16 -mamx-tile -mamx-bf16
$(BUILD)/obj/engine/worker/cpu/%_avx2.o: ISA_FLAGS += -mavx2 -mfma -mf16c
$(BUILD)/obj/engine/worker/cpu/%_avx512.o: ISA_FLAGS += -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl
$(BUILD)/obj/engine/worker/cpu/%_avxvnni.o: ISA_FLAGS += -mavx2 -mfma -mf16c -mavxvnni
$(BUILD)/obj/engine/worker/cpu/%_amx.o: ISA_FLAGS += -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx512vbmi -mavx512bf16 -mamx-tile -mamx-int8 -mamx-bf16
$(BUILD)/obj/engine/worker/cpu/%_avx512vnni.o: ISA_FLAGS += -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni
endif
ifneq (,$(findstring aarch64,$(shell $(CC) -dumpmachine)))
$(BUILD)/obj/engine/worker/cpu/%_dotprod.o: ISA_FLAGS += -march=armv8.2-a+dotprod
endif

.PHONY: all
all: $(BUILD)/weir $(BUILD)/weir-engine $(BUILD)/weir-train ## build the gateway, the engine and the trainer (release)

$(BUILD)/weir: $(BUILD)/obj/app/main.o $(BUILD)/libweir.a $(BUILD)/libcommon.a
	$(if $(V),,@echo "  link $@")
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(GATEWAY_MALLOC) $(GATEWAY_LIBS)

$(BUILD)/weir-engine: $(BUILD)/obj/engine/worker/main.o $(BUILD)/libengine.a $(BUILD)/libcommon.a
	$(if $(V),,@echo "  link $@")
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(WORKER_LDFLAGS) -o $@ $^ $(WORKER_LIBS)

$(BUILD)/weir-train: $(BUILD)/obj/train/main.o $(BUILD)/libtrain.a $(BUILD)/libengine.a $(BUILD)/libcommon.a
	$(if $(V),,@echo "  link $@")
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(WORKER_LDFLAGS) -o $@ $^ $(TRAIN_LIBS)

$(BUILD)/libcommon.a: $(COMMON_OBJECTS)
$(BUILD)/libweir.a: $(GATEWAY_OBJECTS)
$(BUILD)/libengine.a: $(WORKER_OBJECTS)
$(BUILD)/libtrain.a: $(TRAIN_OBJECTS)
$(BUILD)/%.a:
	@rm -f $@
	$(Q)ar rcs $@ $^

$(BUILD)/obj/%.o: src/%.c
	@mkdir -p $(@D)
	$(if $(V),,@echo "  cc $<")
	$(Q)$(CC) $(ALL_CFLAGS) $(ISA_FLAGS) -c -o $@ $<

# Files inside the program (base/embed.h).
$(BUILD)/obj/govern/price.o: data/prices.json
$(BUILD)/obj/router/score_read.o $(BUILD)/traced/router/score_read.o: data/complexity.grams
$(BUILD)/obj/router/detect_lexicon.o $(BUILD)/traced/router/detect_lexicon.o: data/names.txt data/cues.txt
$(BUILD)/obj/router/detect_spelled.o $(BUILD)/traced/router/detect_spelled.o: data/everyday.txt
$(BUILD)/obj/router/detect_wallet.o $(BUILD)/traced/router/detect_wallet.o: data/wallet.txt
$(BUILD)/obj/router/detect_gist.o $(BUILD)/traced/router/detect_gist.o: data/gist.weights
$(BUILD)/obj/router/detect_tag.o $(BUILD)/traced/router/detect_tag.o: data/tag.weights
$(BUILD)/obj/api/web.o: web/index.html web/style.css web/app.js web/icon.svg

# Tests: every tests/unit/ROOM/NAME_test.c is a cmocka program of its own. Their own code runs once: -O1 compiles it in
# two thirds of the time.
UNIT_SOURCES := $(wildcard tests/unit/*/*_test.c)
UNIT_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(UNIT_SOURCES))
$(BUILD)/tests/%: tests/unit/%.c $(BUILD)/libweir.a $(BUILD)/libtrain.a $(BUILD)/libengine.a $(BUILD)/libcommon.a
	@mkdir -p $(@D)
	$(if $(V),,@echo "  link $@")
	$(Q)$(CC) $(ALL_CFLAGS) -O1 $(ALL_LDFLAGS) -Itests -o $@ $< $(filter %.o,$^) $(BUILD)/libweir.a $(BUILD)/libtrain.a $(BUILD)/libengine.a \
		$(BUILD)/libcommon.a \
		$(GATEWAY_LIBS) $(WORKER_LIBS) -lcmocka

# A linear_test counts the basic blocks that run: its own copies of the code under test call a counter in each.
TRACED := $(patsubst src/%.c,$(BUILD)/traced/%.o,$(wildcard $(addsuffix *.c,src/base/ $(addprefix \
	src/engine/worker/,gguf tokenizer template))))
TRACED_ROUTER := $(patsubst src/%.c,$(BUILD)/traced/%.o,$(wildcard src/base/*.c src/router/*.c))
$(BUILD)/tests/engine/linear_test: $(TRACED)
$(BUILD)/tests/router/linear_test: $(TRACED_ROUTER)
$(BUILD)/traced/%.o: src/%.c
	@mkdir -p $(@D)
	$(if $(V),,@echo "  cc $< (traced)")
	$(Q)$(CC) $(ALL_CFLAGS) -O1 -w -fsanitize-coverage=trace-pc -c -o $@ $<

# Tools: every tools/NAME.c is a program that may use the engine's own code.
TOOLS := $(patsubst tools/%.c,$(BUILD)/tools/%,$(wildcard tools/*.c))
$(BUILD)/tools/%: tools/%.c $(BUILD)/libengine.a $(BUILD)/libcommon.a
	@mkdir -p $(@D)
	$(if $(V),,@echo "  link $@")
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $< $(BUILD)/libengine.a $(BUILD)/libcommon.a $(WORKER_LIBS)
# judge_bench measures the router, judge_score what its detector is worth on labelled texts.
# ledger_bench measures what a row of the ledger costs.
$(BUILD)/tools/judge_bench $(BUILD)/tools/judge_score $(BUILD)/tools/ledger_bench: $(BUILD)/tools/%: tools/%.c $(BUILD)/libweir.a $(BUILD)/libcommon.a
	@mkdir -p $(@D)
	$(if $(V),,@echo "  link $@")
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(GATEWAY_LIBS)

# Fit data/complexity.grams, data/gist.weights and data/tag.weights; run by hand (CONTRIBUTING.md).
$(BUILD)/tools/score_train $(BUILD)/tools/gist_train $(BUILD)/tools/tag_train: $(BUILD)/tools/%: tools/%.c $(BUILD)/libweir.a $(BUILD)/libcommon.a
	@mkdir -p $(@D)
	$(if $(V),,@echo "  link $@")
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $< $(BUILD)/libweir.a $(BUILD)/libcommon.a $(GATEWAY_LIBS)

# Fuzzing: each fuzz/fuzz_NAME.c is a libFuzzer target; its corpus is fuzz/corpus/NAME. They are compiled with the
# tests, so that one that no longer fits the code is seen before somebody fuzzes.
FUZZERS := $(patsubst fuzz/%.c,%,$(wildcard fuzz/fuzz_*.c))
$(BUILD)/fuzz/%.o: fuzz/%.c
	@mkdir -p $(@D)
	$(if $(V),,@echo "  cc $<")
	$(Q)$(CC) $(ALL_CFLAGS) -c -o $@ $<
$(BUILD)/fuzz_%: $(BUILD)/fuzz/fuzz_%.o $(BUILD)/libweir.a $(BUILD)/libtrain.a $(BUILD)/libengine.a $(BUILD)/libcommon.a
	$(CC) $(ALL_CFLAGS) -fsanitize=address,undefined,fuzzer -o $@ $(filter %.o %.a,$^) $(GATEWAY_LIBS) $(WORKER_LIBS)

.PHONY: unit
unit: $(UNIT_TESTS) $(TOOLS) $(FUZZERS:%=$(BUILD)/fuzz/%.o) all

# ---- What people call ----

.PHONY: house
house: ## train the house model, models/house.gguf's source, from its own corpus (hours; goes on where it was stopped)
	@tools/deps train
	@$(MAKE) --no-print-directory -j"$$(nproc)" all >/dev/null
	@train/house/make $(BUILD)

.PHONY: run test sanitize thread-sanitize fuzz bench lint format tidy install clean help deps
deps:
	@tools/deps build

# Without a model and a configuration of one's own, the house model is served, where it is.
HOUSE = $(if $(or $(CONFIG),$(wildcard weir.yaml)),,$(wildcard models/house.gguf))
run: ## install what is missing, build, start the gateway (MODEL=file.gguf, CONFIG=weir.yaml, LISTEN=host:port)
	@tools/deps build
	@[ -x $(BUILD)/weir ] || echo "building Weir: the first time takes some minutes" >&2
	@$(MAKE) --no-print-directory -j"$$(nproc)" all >/dev/null
	@exec $(BUILD)/weir serve $(if $(or $(MODEL),$(HOUSE)),--model "$(or $(MODEL),$(HOUSE))") $(if $(CONFIG),--config "$(CONFIG)") \
		$(if $(LISTEN),--listen "$(LISTEN)")

test: ## install what is missing, build, run every test
	@tools/deps test
	@$(MAKE) --no-print-directory -j"$$(nproc)" unit
	@tests/e2e/install
	@tests/run $(BUILD)

SANITIZE_FLAGS := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all -U_FORTIFY_SOURCE
sanitize: ## the tests and the 60 s load under ASan and UBSan (long)
	@tools/deps develop
	@$(MAKE) --no-print-directory -j"$$(nproc)" BUILD=build-sanitize CFLAGS="$(SANITIZE_FLAGS)" HARDENING= \
		LDFLAGS="-fsanitize=address,undefined" unit
	@tests/e2e/install
	@ASAN_OPTIONS=detect_stack_use_after_return=1 TEST_TIMEOUT=1800 WEIR_LONG=1 WEIR_TESTS="unit e2e" \
		tests/run build-sanitize

thread-sanitize: ## the unit tests under ThreadSanitizer (long)
	@tools/deps develop
	@$(MAKE) --no-print-directory -j"$$(nproc)" BUILD=build-tsan CFLAGS="-O1 -g -fsanitize=thread" HARDENING= \
		LDFLAGS="-fsanitize=thread" unit
	@TSAN_OPTIONS=suppressions=$(CURDIR)/tests/tsan.supp TEST_TIMEOUT=1800 WEIR_TESTS=unit tests/run build-tsan

FUZZ_SECONDS ?= 60
# What is undefined ends the run: by default it would only be told.
FUZZ_FLAGS := -O1 -g -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all
fuzz: ## run each fuzz target for FUZZ_SECONDS (default 60), and a million mutated requests through the decision
	@tools/deps develop
	@$(MAKE) --no-print-directory -j"$$(nproc)" BUILD=build-fuzz CC=clang CFLAGS="$(FUZZ_FLAGS)" HARDENING= \
		$(addprefix build-fuzz/,$(FUZZERS))
	@for f in $(FUZZERS); do \
		mkdir -p build-fuzz/corpus/$$f fuzz/corpus/$${f#fuzz_}; \
		echo "== $$f"; \
		build-fuzz/$$f -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 \
			-artifact_prefix=build-fuzz/$$f- build-fuzz/corpus/$$f fuzz/corpus/$${f#fuzz_} || exit 1; \
	done
	@$(MAKE) --no-print-directory $(BUILD)/tests/router/detect_mutation_test
	@WEIR_MUTATIONS=1000000 $(BUILD)/tests/router/detect_mutation_test

bench: all $(TOOLS) ## measure: kernels and models against the machine's own limits
	@bench/run $(BUILD)

.PHONY: bench-memory
bench-memory: all $(TOOLS) ## the gateway's resident memory over REQUESTS (default a million), an hour at most
	@WEIR_BUILD=$(BUILD) node bench/memory.mjs --requests $(or $(REQUESTS),1000000)

.PHONY: bench-peers
bench-peers: all $(BUILD)/tools/gguf_make ## another engine's bench program beside ours, in turn (PEER=path, MODEL=file.gguf)
	@bench/peers $(BUILD) "$(PEER)" $(MODEL)

.PHONY: bench-finetune
bench-finetune: all ## what some minutes of weir finetune teach a small model (MODEL=models/house.gguf, OPTIONS='--rank 32')
	@WEIR=$(BUILD)/weir node bench/finetune.mjs $(or $(MODEL),models/house.gguf) $(OPTIONS)

lint: ## tidy, clang's warnings, clang-tidy's bug checks, cppcheck
	@tools/deps develop
	@tools/tidy
	@$(MAKE) --no-print-directory -j"$$(nproc)" BUILD=build-clang CC=clang all
	@clang-tidy --quiet \
		$(filter-out src/engine/worker/cpu/kernels_neon.c,$(wildcard src/*/*.c src/engine/worker/*.c)) -- -std=c17 -D_GNU_SOURCE -DWEIR_VERSION='""' -Isrc
	@cppcheck --quiet --std=c11 --error-exitcode=1 --inline-suppr --suppress=comparePointers --suppress=unknownMacro \
		--suppress=uninitvar --suppress=ctuuninitvar --suppress=memleak -Isrc src

format: ## clang-format 14 over everything
	@clang-format -i $$(git ls-files '*.c' '*.h')

tidy: ## floors, sizes, single homes of libraries
	@tools/tidy

install: all ## install to PREFIX (default /usr/local)
	install -D -m 755 $(BUILD)/weir $(DESTDIR)$(PREFIX)/bin/weir
	install -D -m 755 $(BUILD)/weir-engine $(DESTDIR)$(PREFIX)/libexec/weir/weir-engine
	install -D -m 755 $(BUILD)/weir-train $(DESTDIR)$(PREFIX)/libexec/weir/weir-train

clean: ## remove everything built
	rm -rf build build-*

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
