/* What a layer remembers of each sequence, one interface for every kind: a KV cache, whole, a window's ring
 * or one of latents (kvcache.h), or recurrent state (recurrent.h).
 *
 *   slot 0: positions 0 .. length-1 held     slot 1: ...        the lengths are kept by model_state
 *
 * A step writes behind a slot's length; the length moves only when the whole step has succeeded, so that a
 * failed step leaves every slot as it was. */
#ifndef WEIR_ENGINE_WORKER_STATE_H
#define WEIR_ENGINE_WORKER_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "engine/worker/kvcache.h"
#include "engine/worker/recurrent.h"

/* Tokens in one program: bounds the memory of a step, whatever the batch, and what a ring keeps. */
enum { STATE_STEP_MAX = 512 };

enum state_kind { STATE_KV, STATE_RECURRENT, STATE_KINDS };

struct state_spec {
    enum state_kind kind;
    union {
        struct kv_spec kv;
        struct recurrent_spec recurrent;
    };
};

/* What a state has room for. */
struct state_room {
    int32_t n_slots, n_context; /* positions of each slot */
    enum tensor_type kv_type;   /* of keys and values that allow it; F32: as their spec says */
    int32_t n_pages; /* for layers that keep all positions; 0: each slot has memory of its own for them */
    const struct pages *pages; /* the tables of these, which outlive the layers */
};

struct state_ops {
    /* Bytes for all slots; UINT64_MAX if that overflows. */
    uint64_t (*bytes)(const struct state_spec *spec, const struct state_room *room);
    int (*create)(const struct state_spec *spec, struct backend *backend, const struct state_room *room,
        void **layer, struct error *err);
    void (*free)(void *layer); /* NULL is allowed */
    /* A step is about to write the slot's positions up to length, in runs of at most STATE_STEP_MAX. */
    void (*advance)(void *layer, int32_t slot, int32_t length);
    /* The most positions (<= length) that the slot could be taken back to exactly. */
    int32_t (*reach)(const void *layer, int32_t slot, int32_t length);
    /* Forgets positions >= length; returns how many it keeps, which is what reach says. */
    int32_t (*truncate)(void *layer, int32_t slot, int32_t length);
    /* Would it keep everything in the room's pages? Then fork has nothing to do; a page is copied instead. */
    bool (*paged)(const struct state_spec *spec, const struct state_room *room);
    void (*copy)(void *layer, int32_t from_page, int32_t to_page); /* of one that is not paged: nothing */
    /* What a page of a paged layer holds, as bytes: how many, written to `to` unless that is NULL; and back.
     */
    size_t (*page_save)(const void *layer, int32_t page, char *to);
    size_t (*page_load)(void *layer, int32_t page, const char *from);
    /* Slot `to` becomes what `from` would be after truncate(length), which reach allows; `from` stays. */
    void (*fork)(void *layer, int32_t from, int32_t to, int32_t length);
};

extern const struct state_ops recurrent_ops;
extern const struct state_ops *const state_kinds[STATE_KINDS];

#endif
