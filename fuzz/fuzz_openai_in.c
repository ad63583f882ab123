/* libFuzzer: the body of a request in OpenAI's shapes. The first byte picks the endpoint: 'r' is Responses,
 * 'e' embeddings, 'k' rerank.
 * Held for every body that is taken: what is read without a tree is what a tree gives, what the worker gets
 * can be read there and is the same request, and
 * every string that a provider would be sent has been shown to the detectors or is a word of the shape
 * itself. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/openai_in.h"
#include "api/openai_out.h"
#include "api/openai_plain.h"
#include "api/responses_in.h"
#include "api/shape.h"
#include "base/limits.h"
#include "base/map.h"
#include "chat/chat_codec.h"
#include "chat/chat_sampling.h"
#include "provider/dialect.h"
#include "seen.h"

/* Keys and values that the encoder writes of its own. */
static bool is_of_the_shape(struct str s)
{
    static const char *const words[] = {"", "model", "upstream", "messages", "prompt", "role", "system",
        "developer", "user", "assistant", "tool", "content", "name", "tool_calls", "id", "type", "function",
        "arguments", "tool_call_id", "reasoning_content", "tools", "description", "parameters", "tool_choice",
        "auto", "none", "required", "parallel_tool_calls", "temperature", "top_p", "min_p", "top_k",
        "repeat_penalty", "repeat_last_n", "presence_penalty", "frequency_penalty", "seed", "max_tokens",
        "max_completion_tokens", "n", "logprobs", "top_logprobs", "logit_bias", "suffix", "echo", "input",
        "dimensions", "query", "documents", "top_n", "ignore_eos", "dry_sequence_breakers", "stop", "stream",
        "stream_options", "include_usage", "text"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (str_is(s, words[i]))
            return true;
    for (size_t i = 0; i < chat_sampling_n_fields(); i++)
        if (str_is(s, chat_sampling_fields[i].name))
            return true;
    return false;
}

static void expect_seen(const struct map *seen, const json_t *value)
{
    const char *key;
    json_t *member;
    if (json_is_string(value))
        must(is_of_the_shape(json_str(value)) || map_find(seen, json_str(value)), "sent unseen",
            json_str(value));
    for (size_t i = 0; i < json_array_size(value); i++)
        expect_seen(seen, json_array_get(value, i));
    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        must(is_of_the_shape(str_from(key)) || map_find(seen, str_from(key)), "sent unseen", str_from(key));
        expect_seen(seen, member);
    }
}

/* ---- What is made of a request ---- */

static void check_providers(const struct chat_request *r, struct arena *a)
{
    static const struct provider_dialect *const dialects[] = {
        &provider_dialect_openai, &provider_dialect_anthropic, &provider_dialect_gemini};
    static const struct provider_dialect *const embed[] = {
        &provider_embed_openai, &provider_embed_ollama, &provider_embed_gemini};
    static const struct provider_dialect *const rerank[] = {&provider_rerank_openai};
    const bool answer = r->kind == CHAT_KIND_ANSWER;
    const struct provider_dialect *const *asked = answer                       ? dialects
                                                  : r->kind == CHAT_KIND_EMBED ? embed
                                                                               : rerank;
    const size_t n_asked = r->kind == CHAT_KIND_RERANK ? 1 : 3;
    const struct provider_model model = {.model = STR("upstream")};
    for (size_t i = 0; i < n_asked; i++) {
        struct buf out;
        struct error err;
        json_t *sent;
        struct seen seen = {.arena = a};
        buf_init(&out, 64 * MIB);
        if (map_init(&seen.texts, 64, &err))
            abort();
        must(chat_request_visit(r, see, &seen) == 0, "the walk stopped", STR(""));
        if (asked[i]->encode(&model, r, &out, &err) == 0) {
            /* Deeper and with more values than was read there may be, but never malformed. */
            if (json_read(buf_str(&out), &sent, &err) == 0) {
                if (i == 0)
                    expect_seen(&seen.texts, sent);
                json_decref(sent);
            } else {
                must(str_find(str_from(err.message), STR("nested")) != SIZE_MAX, err.message, buf_str(&out));
            }
        }
        map_free(&seen.texts);
        buf_free(&out);
    }
}

static void check_worker(const struct chat_request *r, struct arena *a)
{
    struct buf out;
    struct chat_work work;
    struct error err;
    buf_init(&out, LIMIT_WIRE_FRAME);
    if (chat_codec_write(r, &out, &err) == 0) {
        bool long_stop = false;
        for (size_t i = 0; i < r->n_stops; i++)
            long_stop |= r->stops[i].len > 1024; /* the worker says so itself */
        int rc = chat_codec_read(a, buf_str(&out), &work, &err);
        if (rc == 0) {
            must(work.max_tokens == r->max_tokens && work.n_stops == r->n_stops, "limits", buf_str(&out));
            must(!r->has_prompt || str_eq(work.prompt, r->prompt), "the prompt", buf_str(&out));
            must(json_array_size(work.prompt_ids) == r->n_prompt_ids, "the prompt's ids", buf_str(&out));
            must(!r->has_prompt || str_eq(work.suffix, r->suffix), "the suffix", buf_str(&out));
            must(r->has_prompt || json_array_size(json_object_get(work.body, "messages")) == r->n_messages,
                "the messages", buf_str(&out));
            must(work.sampling.has_seed == r->sampling.has_seed && work.sampling.seed == r->sampling.seed &&
                     work.sampling.top_k == r->sampling.top_k &&
                     work.sampling.n_logit_bias == r->sampling.n_logit_bias &&
                     work.sampling.n_dry_breakers == r->sampling.n_dry_breakers,
                "the sampling", buf_str(&out));
        } else {
            must(long_stop || str_find(str_from(err.message), STR("nested")) != SIZE_MAX, err.message,
                buf_str(&out));
        }
    }
    buf_free(&out);
}

/* What is read without a tree. */
static void check_plain(struct arena *a, struct str body)
{
    struct chat_request *plain, *whole;
    json_t *root;
    struct error err;
    struct buf of_plain, of_whole;
    if (api_openai_plain_read(a, body, &plain, &err) || !plain)
        return;
    must(json_read_in(a, body, &root, &err) == 0, "plain, and no JSON", body);
    must(api_openai_chat_tree_read(a, root, &whole, &err) == 0, "plain, and refused", body);
    buf_init(&of_plain, LIMIT_WIRE_FRAME);
    buf_init(&of_whole, LIMIT_WIRE_FRAME);
    must(chat_codec_write(plain, &of_plain, &err) == chat_codec_write(whole, &of_whole, &err), "plain", body);
    must(str_eq(buf_str(&of_plain), buf_str(&of_whole)), "plain, and another", body);
    must(str_eq(plain->model, whole->model) && str_eq(plain->user, whole->user) &&
             plain->stream == whole->stream && plain->include_usage == whole->include_usage,
        "plain, and otherwise", body);
    must(!whole->vendor && whole->n_tools == 0 && whole->n_stops == 0, "plain, and more", body);
    buf_free(&of_plain);
    buf_free(&of_whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct arena *a = arena_create(16 * MIB);
    struct str body = {(const char *)data + 1, size - 1};
    struct chat_request *r;
    struct error err = {0};
    bool completion = data[0] & 1 && data[0] != 'e' && data[0] != 'k';
    check_plain(a, body);
    int rc = data[0] == 'r'   ? api_responses_read(a, body, &r, &err)
             : data[0] == 'e' ? api_embeddings_shape.read(a, body, &r, &err)
             : data[0] == 'k' ? api_rerank_shape.read(a, body, &r, &err)
             : completion     ? api_openai_completion_read(a, body, &r, &err)
                              : api_openai_chat_read(a, body, &r, &err);
    if (rc == 0) {
        must(r->model.len > 0 && r->model.len <= LIMIT_MODEL_NAME, "the model", r->model);
        must(r->has_prompt == completion && (completion || r->n_messages + r->n_inputs > 0), "neither", body);
        check_providers(r, a);
        if (r->kind == CHAT_KIND_ANSWER)
            check_worker(r, a);
    } else {
        struct buf out;
        json_t *answer = NULL;
        buf_init(&out, 64 * KIB);
        openai_error_write(400, str_from(err.message), STR_NONE, &out);
        must(err.message[0] && json_read(buf_str(&out), &answer, &err) == 0, "the refusal", buf_str(&out));
        json_decref(answer);
        buf_free(&out);
    }
    arena_free(a);
    return 0;
}
