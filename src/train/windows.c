#include "train/windows.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "engine/worker/fit.h"
#include "engine/worker/state.h"
#include "train/files.h"

/* The model's BOS where it begins each text with it, else -1. */
static int bos_read(const struct tokenizer *t, int32_t *bos, struct error *err)
{
    struct token_list empty = {0};
    const int rc = tokenizer_encode(t, STR_NONE, true, false, &empty, err);
    *bos = rc == 0 && empty.count > 0 && empty.ids[0] == tokenizer_bos(t) ? tokenizer_bos(t) : -1;
    free(empty.ids);
    return rc;
}

static int tokens_read(struct reader *r, struct str text, struct error *err)
{
    struct tokenizer *t;
    int rc = tokenizer_create(r->gguf, &t, err);
    if (rc)
        return rc;
    rc = bos_read(t, &r->bos, err);
    rc = rc ? rc : tokenizer_encode(t, text, true, false, &r->tokens, err);
    tokenizer_free(t);
    r->n_windows = (int64_t)r->tokens.count / r->context;
    if (rc == 0 && r->n_windows < 2)
        rc = error_set(err, ERROR_INVALID,
            "the text has %zu tokens, less than two windows of %d: give a longer text or a smaller --context",
            r->tokens.count, (int)r->context);
    return rc;
}

static int model_open(struct reader *r, struct backend *backend, uint64_t *memory, struct error *err)
{
    const struct model_room room = {.n_slots = 1, .n_context = r->context};
    int rc = model_load(r->gguf, backend, &r->model, err);
    if (rc)
        return rc;
    const struct model_info *info = model_info(r->model);
    if (info->encoder)
        return error_set(
            err, ERROR_UNSUPPORTED, "the model embeds text, it does not write any: nothing can be measured");
    const struct fit fit =
        fit_within(r->model, &room, r->context < STATE_STEP_MAX ? r->context : STATE_STEP_MAX);
    rc = fit_check(r->model, &fit, *memory, err);
    *memory -= rc ? 0 : fit_total(&fit);
    if (rc == 0 && r->context > info->n_context_train)
        log_warn("train", "%s was trained for %d tokens: windows of %d are longer", r->path,
            (int)info->n_context_train, (int)r->context);
    return rc ? rc : model_state_create_within(r->model, &room, &r->state, err);
}

int reader_open(const char *path, struct str text, int32_t context, struct backend *backend, uint64_t *memory,
    struct reader *out, struct error *err)
{
    *out = (struct reader){.path = path, .context = context};
    int rc = file_open_model(path, &out->gguf, err);
    if (rc == 0 && (tokens_read(out, text, err) || model_open(out, backend, memory, err)))
        rc = error_wrap(err, "%s", path);
    if (rc)
        reader_close(out);
    return rc;
}

void reader_close(struct reader *r)
{
    model_state_free(r->state);
    model_free(r->model);
    gguf_close(r->gguf);
    free(r->tokens.ids);
    *r = (struct reader){0};
}

int reader_read(
    struct reader *r, int64_t window, int32_t from, int32_t count, float *logits, struct error *err)
{
    int32_t tokens[STATE_STEP_MAX];
    static const int32_t slots[STATE_STEP_MAX];
    uint8_t wants[STATE_STEP_MAX];
    memset(wants, logits != NULL, sizeof wants);
    model_state_truncate(r->state, 0, from);
    for (int32_t at = from, n; at < from + count; at += n) {
        n = from + count - at < STATE_STEP_MAX ? from + count - at : STATE_STEP_MAX;
        memcpy(tokens, r->tokens.ids + window * r->context + at, (size_t)n * sizeof *tokens);
        if (at == 0 && r->bos >= 0)
            tokens[0] = r->bos;
        if (model_decode(r->state, &(struct model_batch){n, tokens, slots, wants}, logits, err))
            return error_wrap(err, "%s", r->path);
        logits += logits ? (size_t)n * (size_t)model_info(r->model)->n_vocab : 0;
    }
    return 0;
}
