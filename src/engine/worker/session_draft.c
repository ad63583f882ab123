/* The smaller model that drafts (scheduler_model.c): it must speak the model's own tokens. */
#include <string.h>

#include "base/log.h"
#include "engine/worker/fit.h"
#include "engine/worker/session_inner.h"

/* Token by token: a draft is a number, which means what the vocabulary says. */
static int vocabulary_check(const struct session *s, struct error *err)
{
    struct gguf_array own, other;
    int rc = gguf_get_array(s->gguf, "tokenizer.ggml.tokens", GGUF_STRING, &own, err);
    if (rc == 0)
        rc = gguf_get_array(s->draft_gguf, "tokenizer.ggml.tokens", GGUF_STRING, &other, err);
    if (rc)
        return rc;
    if (own.count != other.count)
        return error_set(err, ERROR_INVALID,
            "the draft model has %llu tokens, the model %llu: choose a draft model with the same vocabulary, "
            "as "
            "another size of the same family has",
            (unsigned long long)other.count, (unsigned long long)own.count);
    size_t own_at = 0, other_at = 0;
    struct str a, b;
    for (uint64_t i = 0; gguf_array_next(&own, &own_at, &a) && gguf_array_next(&other, &other_at, &b); i++)
        if (!str_eq(a, b))
            return error_set(err, ERROR_INVALID,
                "token %llu is '" STR_FMT "' for the draft model and '" STR_FMT
                "' for the model: choose a draft model with the same vocabulary",
                (unsigned long long)i, STR_ARG(str_slice(b, 0, 32)), STR_ARG(str_slice(a, 0, 32)));
    return 0;
}

int session_draft_open(struct session *s, struct error *err)
{
    const size_t at = s->setup.n_files - (size_t)s->n_adapters - 1;
    int rc = gguf_open(s->setup.files + at, 1, &s->draft_gguf, err);
    if (rc)
        return error_wrap(err, "the draft model");
    return vocabulary_check(s, err);
}

int session_draft_load(struct session *s, struct error *err)
{
    if (!s->draft_gguf)
        return 0;
    int rc = model_load(s->draft_gguf, s->backend, &s->draft_model, err);
    if (rc)
        return error_wrap(err, "the draft model");
    if (model_info(s->draft_model)->encoder || model_info(s->model)->encoder)
        return error_set(
            err, ERROR_INVALID, "a draft model, and the model that it drafts for, must write text");
    if (model_info(s->draft_model)->n_vocab / 2 > model_info(s->model)->n_vocab)
        return error_set(
            err, ERROR_INVALID, "the draft model's table of tokens is far larger than the model's");
    return 0;
}

uint64_t session_draft_bytes(const struct session *s)
{
    if (!s->draft_model)
        return 0;
    const struct fit fit = fit_within(s->draft_model, &s->room, FIT_BATCH);
    return fit_total(&fit);
}

int session_draft_start(struct session *s, struct error *err)
{
    if (!s->draft_model)
        return 0;
    const struct model_info *info = model_info(s->draft_model);
    if (info->n_context_train > 0 && s->n_context > info->n_context_train)
        log_info("session", "the draft model was trained for %d tokens: behind them its drafts will be worse",
            info->n_context_train);
    int rc = model_state_create_within(s->draft_model, &s->room, &s->draft_state, err);
    return rc ? error_wrap(err, "the draft model") : 0;
}

void session_draft_close(struct session *s)
{
    model_state_free(s->draft_state);
    model_free(s->draft_model);
    gguf_close(s->draft_gguf);
    s->draft_state = NULL;
    s->draft_model = NULL;
    s->draft_gguf = NULL;
}
