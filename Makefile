# Weir. `make help` lists what can be made.
.DEFAULT_GOAL := all
SHELL := /bin/bash
MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:
.SUFFIXES:

BUILD ?= build
CC = gcc
PREFIX ?= /usr/local
VERSION := $(shell cat VERSION)

# Rooms, lowest floor first (ARCHITECTURE.md). The worker may use only the common rooms.
COMMON_ROOMS := base json chat
GATEWAY_ROOMS := http egress store engine provider router govern exchange api app
WORKER_DIRS := src/engine/worker src/engine/worker/cpu

WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Werror
CFLAGS ?= -O2 -g
HARDENING := -fstack-protector-strong -fPIE -D_FORTIFY_SOURCE=2
ALL_CFLAGS = -std=c17 -D_GNU_SOURCE -DWEIR_VERSION='"$(VERSION)"' -Isrc -I$(BUILD)/generated -pthread -MMD -MP \
	$(WARNINGS) $(HARDENING) $(CFLAGS)
ALL_LDFLAGS = -pthread -pie -Wl,-z,relro,-z,now $(LDFLAGS)

GATEWAY_LIBS := -levent_openssl -levent_core -lhttp_parser -lcurl -lssl -lcrypto -lsqlite3 -ljansson -lyaml \
	-lsodium -lpcre2-8 -lm
WORKER_LIBS := -lseccomp -ljansson -lpcre2-8 -lm
# The worker links no network code: a reference to any of these fails the link.
WORKER_FORBIDDEN := socket connect bind listen accept accept4 getaddrinfo gethostbyname execve execv execvp \
	execl execlp posix_spawn system popen fork vfork
comma := ,
WORKER_LDFLAGS := $(foreach f,$(WORKER_FORBIDDEN),-Wl$(comma)--wrap=$(f))

objects = $(patsubst src/%.c,$(BUILD)/obj/%.o,$(filter-out %/main.c,$(wildcard $(addsuffix /*.c,$(1)))))
# Both ends of the wire link the framing.
COMMON_OBJECTS := $(call objects,$(addprefix src/,$(COMMON_ROOMS))) $(BUILD)/obj/engine/wire.o
GATEWAY_OBJECTS := $(filter-out %/wire.o,$(call objects,$(addprefix src/,$(GATEWAY_ROOMS))))
WORKER_OBJECTS := $(call objects,$(WORKER_DIRS))

# Kernels are compiled for their instruction set and chosen at run time; elsewhere these files are empty.
ifneq (,$(findstring x86_64,$(shell $(CC) -dumpmachine)))
$(BUILD)/obj/engine/worker/cpu/%_avx2.o: ISA_FLAGS := -mavx2 -mfma -mf16c
$(BUILD)/obj/engine/worker/cpu/%_avx512.o: ISA_FLAGS := -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni
endif
# Kernels are the one place where -O3 pays; the scalar ones must not be reassociated.
$(BUILD)/obj/engine/worker/cpu/%.o: ISA_FLAGS += -O3 -ffp-contract=off

.PHONY: all
all: $(BUILD)/weir $(BUILD)/weir-engine ## build the gateway and the engine (release)

$(BUILD)/weir: $(BUILD)/obj/app/main.o $(BUILD)/libweir.a $(BUILD)/libcommon.a
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(GATEWAY_LIBS)

$(BUILD)/weir-engine: $(BUILD)/obj/engine/worker/main.o $(BUILD)/libengine.a $(BUILD)/libcommon.a
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(WORKER_LDFLAGS) -o $@ $^ $(WORKER_LIBS)

$(BUILD)/libcommon.a: $(COMMON_OBJECTS)
$(BUILD)/libweir.a: $(GATEWAY_OBJECTS)
$(BUILD)/libengine.a: $(WORKER_OBJECTS)
$(BUILD)/%.a:
	@rm -f $@
	ar rcs $@ $^

$(BUILD)/obj/%.o: src/%.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(ISA_FLAGS) -c -o $@ $<

# Files inside the program (base/embed.h).
$(BUILD)/obj/govern/price.o: data/prices.json

# Tests: every tests/unit/ROOM/NAME_test.c is a cmocka program of its own.
UNIT_SOURCES := $(wildcard tests/unit/*/*_test.c)
UNIT_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(UNIT_SOURCES))
$(BUILD)/tests/%: tests/unit/%.c $(BUILD)/libweir.a $(BUILD)/libengine.a $(BUILD)/libcommon.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -Itests -o $@ $< $(BUILD)/libweir.a $(BUILD)/libengine.a $(BUILD)/libcommon.a \
		$(GATEWAY_LIBS) $(WORKER_LIBS) -lcmocka

# Tools: every tools/NAME.c is a program that may use the engine's own code.
TOOLS := $(patsubst tools/%.c,$(BUILD)/tools/%,$(wildcard tools/*.c))
$(BUILD)/tools/%: tools/%.c $(BUILD)/libengine.a $(BUILD)/libcommon.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $< $(BUILD)/libengine.a $(BUILD)/libcommon.a $(WORKER_LIBS)

.PHONY: unit
unit: $(UNIT_TESTS) $(TOOLS) all

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
