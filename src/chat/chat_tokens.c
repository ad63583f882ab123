#include "chat/chat_tokens.h"

#include <math.h>

#include "base/limits.h"

#define LOGPROB_LEAST (-9999.0) /* OpenAI's word for "impossible" */

/* ---- Writing ---- */

static void members_write(const struct chat_token *t, struct json_writer *w)
{
    json_member_str(w, "token", t->text);
    json_member_double(w, "logprob", isfinite(t->logprob) ? t->logprob : LOGPROB_LEAST);
    json_key(w, "bytes");
    if (!t->bytes.data) {
        json_write_null(w);
        return;
    }
    json_array_begin(w);
    for (size_t i = 0; i < t->bytes.len; i++)
        json_write_int(w, (unsigned char)t->bytes.data[i]);
    json_array_end(w);
}

void chat_token_write(const struct chat_token *t, struct json_writer *w)
{
    json_object_begin(w);
    members_write(t, w);
    json_key(w, "top_logprobs");
    json_array_begin(w);
    for (size_t i = 0; i < t->n_top; i++) {
        json_object_begin(w);
        members_write(&t->top[i], w);
        json_object_end(w);
    }
    json_array_end(w);
    json_object_end(w);
}

/* ---- Reading ---- */

static int bytes_read(struct arena *a, const json_t *list, struct str *out, struct error *err)
{
    size_t n = json_array_size(list);
    *out = STR_NONE;
    if (!list || json_is_null(list))
        return 0;
    if (!json_is_array(list) || n > LIMIT_TOKEN)
        return error_set(err, ERROR_INVALID, "the 'bytes' of a token are no list that could be true");
    char *bytes = arena_alloc(a, n + 1);
    for (size_t i = 0; i < n; i++) {
        const json_t *byte = json_array_get(list, i);
        if (!json_is_integer(byte) || json_integer_value(byte) < 0 || json_integer_value(byte) > 255)
            return error_set(err, ERROR_INVALID, "a token has a byte that is none");
        bytes[i] = (char)json_integer_value(byte);
    }
    *out = (struct str){bytes, n};
    return 0;
}

static int token_read(struct arena *a, const json_t *item, struct chat_token *t, struct error *err)
{
    const json_t *logprob = json_object_get(item, "logprob");
    *t = (struct chat_token){.text = json_text(item, "token")};
    if (!json_is_string(json_object_get(item, "token")) ||
        (logprob && !json_is_null(logprob) && !json_is_number(logprob)))
        return error_set(err, ERROR_INVALID, "a token needs a text 'token' and a number 'logprob'");
    t->logprob = json_is_number(logprob) ? json_number_value(logprob) : -INFINITY;
    return bytes_read(a, json_object_get(item, "bytes"), &t->bytes, err);
}

static int list_read(
    struct arena *a, const json_t *list, size_t most, struct chat_token **out, size_t *n, struct error *err)
{
    *n = json_array_size(list);
    if (!json_is_array(list) || *n > most)
        return error_set(err, ERROR_INVALID, "log-probabilities must be a list of at most %zu tokens", most);
    struct chat_token *tokens = *out = arena_try_array(a, struct chat_token, *n + 1);
    if (!tokens)
        return error_set(err, ERROR_MEMORY, "no memory for log-probabilities: ask for fewer");
    for (size_t i = 0; i < *n; i++) {
        int rc = token_read(a, json_array_get(list, i), &tokens[i], err);
        if (rc)
            return rc;
    }
    return 0;
}

int chat_tokens_read(
    struct arena *a, const json_t *list, const struct chat_token **out, size_t *n, struct error *err)
{
    struct chat_token *tokens;
    int rc = list_read(a, list, LIMIT_TOKENS, &tokens, n, err);
    for (size_t i = 0; i < *n && rc == 0; i++) {
        const json_t *top = json_object_get(json_array_get(list, i), "top_logprobs");
        struct chat_token *others;
        if (!top || json_is_null(top))
            continue;
        rc = list_read(a, top, LIMIT_TOP_LOGPROBS, &others, &tokens[i].n_top, err);
        tokens[i].top = others;
    }
    *out = tokens;
    return rc;
}
