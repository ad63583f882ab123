/* A loaded model and the state of the sequences it runs. Weights are used from the file's mapping.
 *
 * A `model` is immutable. A `model_state` holds, for each slot (one sequence), what each layer remembers
 * (state.h). One thread drives a state; the backend uses its own threads inside model_decode. */
#ifndef WEIR_ENGINE_WORKER_MODEL_H
#define WEIR_ENGINE_WORKER_MODEL_H

#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/str.h"
#include "engine/worker/spill.h"
#include "engine/worker/tensor.h"

struct gguf;
struct backend;
struct model;
struct model_state;
struct program_watch;
struct pages_kin; /* pages.h */

/* What becomes of a text's rows, one for each token; the numbers are the file's. */
enum model_pooling {
    MODEL_POOL_NONE, /* all of them */
    MODEL_POOL_MEAN,
    MODEL_POOL_CLS, /* the first */
    MODEL_POOL_LAST,
    MODEL_POOL_RANK /* the scores that a head makes of them */
};

struct model_info {
    struct str architecture, name;
    int32_t n_vocab, n_layers, n_embed, n_context_train;
    int32_t
        n_context_best; /* longer states cost quality on short texts: what to use unless more is asked for */
    uint64_t n_parameters, weight_bytes;
    int32_t n_adapters;
    uint64_t adapter_bytes;
    bool encoder;              /* embeds (model_encode); the others generate (model_decode) */
    bool foretells;            /* a layer of its own drafts (model_foretell) */
    const char *foretells_not; /* why such a layer of the file cannot, and is left out; NULL: it was not */
    enum model_pooling pooling;
    int32_t n_embedding; /* encoder: floats in a row that model_encode gives */
};

/* The gguf must outlive the model. Every hyperparameter and tensor shape is checked here, so that running the
 * model cannot leave a buffer. An architecture that is not in the table is ERROR_UNSUPPORTED, by name, with
 * the list of those that run. */
int model_load(const struct gguf *g, struct backend *backend, struct model **out, struct error *err) MUST_USE;
struct model_options {
    const struct gguf *const
        *adapters;      /* n_adapters (lora.h), which must outlive the model too; no sequence */
    int32_t n_adapters; /* takes any of them unless model_state_adapt says so */
    bool foretells;     /* a layer that drafts is loaded where the file has a whole one: model_foretell */
};
int model_load_with(const struct gguf *g, const struct model_options *options, struct backend *backend,
    struct model **out, struct error *err) MUST_USE;
bool model_architecture_runs(struct str name);
void model_free(struct model *m); /* NULL is allowed */
const struct model_info *model_info(const struct model *m);

/* Bytes that model_state_create would take: known before it is tried. */
uint64_t model_state_bytes(const struct model *m, int32_t n_slots, int32_t n_context);
/* Bytes of its state that a sequence's next token reads, itself the last of `length`: no spare room. */
uint64_t model_state_read(const struct model *m, enum tensor_type kv_type, int32_t length);
/* Bytes that a step of n_tokens takes beside that, with a row of logits for each of n_slots. */
uint64_t model_step_bytes(const struct model *m, int32_t n_slots, int32_t n_context, int32_t n_tokens);
int model_state_create(const struct model *m, int32_t n_slots, int32_t n_context, struct model_state **out,
    struct error *err) MUST_USE;
/* What the states of sequences may take. */
struct model_room {
    int32_t n_slots, n_context; /* positions of each slot */
    int32_t n_pages; /* (pages.h) for the layers that keep all positions, more than one context takes; 0: as
                        many as all slots need */
    enum tensor_type
        kv_type; /* F16, BF16, Q8_0 or Q4_0: of keys and values whose width allows it; F32: as they are */
};
/* What keys and values are kept in unless it is said otherwise. */
enum tensor_type model_kv_type(const struct model *m);
uint64_t model_state_bytes_within(const struct model *m, const struct model_room *room);
int model_state_create_within(const struct model *m, const struct model_room *room, struct model_state **out,
    struct error *err) MUST_USE;
/* How many pages `bytes` hold. */
int32_t model_pages(const struct model *m, enum tensor_type kv_type, uint64_t bytes);
/* Would slots share pages (model_state_shares)? */
bool model_shares(const struct model *m, int32_t n_context);
void model_state_free(struct model_state *s);
/* Whom the products of all steps are shown to from now on (program.h); NULL: nobody, as at first. */
void model_state_watch(struct model_state *s, const struct program_watch *watch);
int32_t model_state_length(const struct model_state *s, int32_t slot); /* positions held */
/* The most positions (<= length) that truncate or fork could keep exactly. */
int32_t model_state_reach(const struct model_state *s, int32_t slot, int32_t length);
/* Forgets positions >= length. Returns what is kept: layers that cannot roll back exactly keep less. */
int32_t model_state_truncate(struct model_state *s, int32_t slot, int32_t length);
/* Can a slot be taken back to any length that it has just passed? Not where a layer has recurrent state. */
bool model_state_rewinds(const struct model_state *s);
/* Slot `to` takes what `from` holds of positions < length, in place of what it held; `from` stays as it is.
 * Returns how many it took, as truncate would keep. Costs a copy of that state, no computation. */
int32_t model_state_fork(struct model_state *s, int32_t from, int32_t to, int32_t length);

/* How much of each adapter (n_adapters scales; NULL: nothing, as at first) the slot's tokens take from now
 * on. What the slot holds under other scales is forgotten; a fork takes the scales along. */
void model_state_adapt(struct model_state *s, int32_t slot, const float *scales);
bool model_state_is_adapted(const struct model_state *s, int32_t slot, const float *scales); /* so already */

/* Do slots take beginnings from what all others have computed, now or before (pages.h)? Not where a layer
 * keeps a window only, or recurrent state: there a fork takes them from the slot that still has them. */
bool model_state_shares(const struct model_state *s);
/* Where they do: how many of the tokens, from the first, are held for such sequences, and *unused: how many
 * pages that takes which no slot has. */
int32_t model_state_match(const struct model_state *s, const struct pages_kin *kin, const int32_t *tokens,
    int32_t count, int32_t *unused);
/* The slot, which is empty and adapted, takes them. Returns how many. */
int32_t model_state_adopt(
    struct model_state *s, int32_t slot, uint64_t scope, const int32_t *tokens, int32_t count);
/* Others of the scope may have what the slot holds of these tokens, a page at a time; with `leave` all of it,
 * and the slot is empty. */
void model_state_keep(struct model_state *s, int32_t slot, uint64_t scope, const int32_t *tokens, bool leave);

/* From now on pages that make way go to the options' file (whose `owner` and `page_bytes` are the model's to
 * say), and come back from there. `identity`: of the model's file. ERROR_UNSUPPORTED where slots share no
 * pages; the errors of spill_open. */
int model_state_spill(
    struct model_state *s, const struct spill_options *o, struct str identity, struct error *err) MUST_USE;
int32_t model_state_spilled(const struct model_state *s); /* pages on disk */
/* Of these tokens, pages behind those that are held come from the disk, as many as a moment allows. The
 * moment is *disk_free until something came; then others wait. False: all that can come is there. */
bool model_state_recall(struct model_state *s, const struct pages_kin *kin, const int32_t *tokens,
    int32_t count, bool *disk_free);
/* Writes a page that is not on the disk yet; false: there is none. */
bool model_state_spill_ahead(struct model_state *s);

/* Pages that slots could still be given; needed: by a slot for `count` positions more, or by a sequence of
 * `length` positions of which `kept` are held already. A model without pages needs none. */
int32_t model_state_pages_left(const struct model_state *s);
int32_t model_state_pages_needed(const struct model_state *s, int32_t slot, int32_t count);
int32_t model_state_pages_between(const struct model_state *s, int32_t kept, int32_t length);
int32_t model_state_page(const struct model_state *s); /* positions of a page, by which slots share; else 1 */

/* One step over tokens of any mix of slots. Tokens of one slot stand together in order, their positions
 * follow on from what the slot holds. */
struct model_batch {
    int32_t n_tokens;
    const int32_t *tokens;
    const int32_t *slots;
    const uint8_t *wants_logits; /* per token */
};
/* `logits`: one row of n_vocab floats for each token that wants them, in order. On error the slots of the
 * batch hold what they held before, or less: see model_state_length. ERROR_INVALID for a token or slot out of
 * range, ERROR_LIMIT past n_context. */
int model_decode(
    struct model_state *s, const struct model_batch *batch, float *logits, struct error *err) MUST_USE;

/* Of a model that foretells: what a layer of its own says to follow each token of the batch, one of a slot,
 * which all want logits: a row for each. positions[i]: of the token, that of the newest, of which
 * the slot may lack the last ones still, then one by one those of what is foretold. What the slot holds stays
 * as it is, but it takes pages, until model_foretell_end. ERROR_BUSY: there are not enough of them. */
enum { FORETOLD_MOST = 64 }; /* tokens of a batch */
int model_foretell(struct model_state *s, const struct model_batch *batch, const int32_t *positions,
    float *logits, struct error *err) MUST_USE;
/* Of the slot, whose sequence has so many tokens but for the newest, nothing more is foretold in this step.
 */
void model_foretell_end(struct model_state *s, int32_t slot, int32_t length);
bool model_state_foretells(const struct model_state *s);

/* The embedding of a whole text: n_embedding floats, with MODEL_POOL_NONE n_tokens (at least 1) times as
 * many. Nothing of it stays in the state. ERROR_UNSUPPORTED for a model that is no encoder, as model_decode
 * for one that is; the other errors are model_decode's. */
int model_encode(
    struct model_state *s, const int32_t *tokens, int32_t n_tokens, float *out, struct error *err) MUST_USE;

#endif
