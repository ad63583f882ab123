/* Understanding answers in OpenAI's shape: chunks of a stream, whole chat completions and completions. */
#include <math.h>

#include "base/limits.h"
#include "chat/chat_tokens.h"
#include "provider/dialect.h"
#include "provider/gemini.h"

static const struct {
    const char *reason;
    enum chat_stop stop;
} finish_reasons[] = {
    {"stop", CHAT_STOP_END},
    {"length", CHAT_STOP_LENGTH},
    {"model_length", CHAT_STOP_LENGTH}, /* Mistral */
    {"max_tokens", CHAT_STOP_LENGTH},
    {"tool_calls", CHAT_STOP_TOOLS},
    {"function_call", CHAT_STOP_TOOLS},
    {"content_filter", CHAT_STOP_FILTER},
};

static int take_finish(struct provider_answer *a, struct str reason, struct error *err)
{
    enum chat_stop stop = CHAT_STOP_END;
    if (reason.len == 0)
        return 0;
    /* Mistral and OpenRouter; DeepSeek. */
    if (str_is(reason, "error") || str_is(reason, "insufficient_system_resource"))
        return error_set(err, ERROR_UNAVAILABLE, "it gave up in the middle ('" STR_FMT "')", STR_ARG(reason));
    for (size_t i = 0; i < sizeof finish_reasons / sizeof *finish_reasons; i++)
        if (str_is(reason, finish_reasons[i].reason))
            stop = finish_reasons[i].stop;
    provider_answer_stop(a, stop);
    return 0;
}

/* Which stop string it was: vLLM's word for it, and SGLang's. */
static void take_stop_string(struct provider_answer *a, const struct json_item *choice)
{
    struct str which = json_item_text(choice, "stop_reason");
    if (which.len == 0)
        which = json_item_text(choice, "matched_stop");
    if (which.len == 0 || !str_is(json_item_text(choice, "finish_reason"), "stop"))
        return;
    provider_answer_stop(a, CHAT_STOP_STRING);
    provider_answer_stop_string(a, which);
}

static struct str reasoning_of(const struct json_item *delta)
{
    struct str text = json_item_text(delta, "reasoning_content");
    return text.len ? text : json_item_text(delta, "reasoning");
}

/* Mistral: [{"type":"thinking","thinking":[{"type":"text","text"}]}, {"type":"text","text"}] */
static void take_parts(struct provider_answer *a, const struct json_item *parts)
{
    json_item_each(part, parts) {
        const struct json_item *thinking = json_item_get(part, "thinking");
        json_item_each(piece, thinking)
            provider_answer_reasoning(a, json_item_text(piece, "text"));
        if (!thinking)
            provider_answer_text(a, json_item_text(part, "text"));
    }
}

/* The older API's {"tokens": [..], "token_logprobs": [..], "top_logprobs": [{"text": logprob}]}. */
static int legacy_read(
    struct arena *arena, const json_t *logprobs, const struct chat_token **out, size_t *n, struct error *err)
{
    const json_t *texts = json_object_get(logprobs, "tokens"),
                 *tops = json_object_get(logprobs, "top_logprobs");
    *n = json_array_size(texts);
    struct chat_token *tokens = arena_try_array(arena, struct chat_token, *n + 1);
    *out = tokens;
    if (!tokens || *n > LIMIT_TOKENS)
        return error_set(err, ERROR_LIMIT, "it has too many log-probabilities");
    for (size_t i = 0; i < *n; i++) {
        const json_t *number = json_array_get(json_object_get(logprobs, "token_logprobs"), i);
        const json_t *top = json_array_get(tops, i);
        size_t most = json_object_size(top) < LIMIT_TOP_LOGPROBS ? json_object_size(top) : LIMIT_TOP_LOGPROBS;
        struct chat_token *others = arena_try_array(arena, struct chat_token, most + 1);
        const char *key;
        json_t *value;
        if (!others)
            return error_set(err, ERROR_MEMORY, "no memory for log-probabilities");
        tokens[i] = (struct chat_token){.text = json_str(json_array_get(texts, i)),
            .logprob = json_is_number(number) ? json_number_value(number) : -INFINITY,
            .top = others};
        json_object_foreach((json_t *)(uintptr_t)top, key, value)
        {
            if (tokens[i].n_top < most)
                others[tokens[i].n_top++] =
                    (struct chat_token){.text = str_from(key), .logprob = json_number_value(value)};
        }
    }
    return 0;
}

/* Today's API's or the older one's; of neither shape: none. */
static int tokens_read(
    struct arena *arena, const json_t *logprobs, const struct chat_token **out, size_t *n, struct error *err)
{
    const json_t *content = json_object_get(logprobs, "content");
    if (json_is_array(content))
        return chat_tokens_read(arena, content, out, n, err);
    return json_is_array(json_object_get(logprobs, "tokens")) ? legacy_read(arena, logprobs, out, n, err) : 0;
}

static int take_content(struct provider_answer *a, const struct json_item *delta,
    const struct json_item *logprobs, struct error *err)
{
    const struct json_item *content = json_item_get(delta, "content");
    provider_answer_reasoning(a, reasoning_of(delta));
    if (json_item_is(content, JSON_ITEM_ARRAY))
        take_parts(a, content);
    else if (json_item_is(content, JSON_ITEM_STRING) && json_item_is(logprobs, JSON_ITEM_OBJECT))
        return provider_answer_logprobs(a, json_item_str(content), logprobs, tokens_read, err);
    else if (json_item_is(content, JSON_ITEM_STRING))
        provider_answer_text(a, json_item_str(content));
    else if (content && !json_item_is(content, JSON_ITEM_NULL))
        return error_set(err, ERROR_INVALID, "its 'content' is no text");
    provider_answer_refusal(a, json_item_text(delta, "refusal"));
    return 0;
}

/* What is told in words of the one form; all else goes to clients of this shape as it came. */
static const char *const call_members[] = {"id", "type", "index", "function", NULL};
static const char *const message_members[] = {
    "role", "content", "refusal", "reasoning_content", "reasoning", "tool_calls", "function_call", NULL};
static const char *const answer_members[] = {
    "id", "object", "created", "model", "choices", "usage", "x_groq", "obfuscation", "error", NULL};
static const char *const usage_members[] = {"prompt_tokens", "completion_tokens", "total_tokens",
    "prompt_tokens_details", "completion_tokens_details", NULL};

/* Google's, for clients of other shapes, who have no place for it. */
static void keep_signature(const struct json_item *call)
{
    const struct json_item *google = json_item_get(json_item_get(call, "extra_content"), "google");
    provider_gemini_signature_keep(json_item_text(call, "id"),
        json_item_text(json_item_get(call, "function"), "name"), json_item_text(google, "thought_signature"));
}

static int take_tool_call(
    struct provider_answer *a, const struct json_item *call, int64_t index, struct error *err)
{
    const struct json_item *function = json_item_get(call, "function");
    const struct json_item *arguments = json_item_get(function, "arguments");
    struct buf text;
    struct json_writer w;
    if (!json_item_is(call, JSON_ITEM_OBJECT))
        return error_set(err, ERROR_INVALID, "its 'tool_calls' hold no objects");
    buf_init(&text, LIMIT_PROVIDER_EVENT * 2);
    json_writer_init(&w, &text);
    if (json_item_is(arguments, JSON_ITEM_OBJECT)) /* some servers send the object itself */
        json_write_item(&w, arguments);
    keep_signature(call);
    int rc = provider_answer_tool_rest(a, CHAT_SHAPE_OPENAI, call, call_members, err);
    if (rc == 0)
        rc = text.failed ? error_set(err, text.failed, "a tool call's arguments are too large")
                         : provider_answer_tool(a, index, json_item_text(call, "id"),
                               json_item_text(function, "name"),
                               text.len ? buf_str(&text) : json_item_str(arguments), err);
    buf_free(&text);
    return rc;
}

/* `whole`: not pieces but complete calls, which need no index. */
static int take_tool_calls(
    struct provider_answer *a, const struct json_item *calls, bool whole, struct error *err)
{
    int rc = 0;
    int64_t i = 0;
    json_item_each(call, calls) {
        int64_t index = provider_item_count(call, "index");
        rc = rc ? rc : take_tool_call(a, call, whole && index < 0 ? i : index, err);
        i++;
    }
    return rc;
}

static int take_choice(struct provider_answer *a, const struct json_item *choice, struct error *err)
{
    const struct json_item *delta = json_item_get(choice, "delta"),
                           *message = json_item_get(choice, "message");
    bool whole = !json_item_is(delta, JSON_ITEM_OBJECT);
    if (!json_item_is(choice, JSON_ITEM_OBJECT))
        return error_set(err, ERROR_INVALID, "its 'choices' hold no objects");
    int64_t index = provider_item_count(choice, "index");
    if (!provider_answer_choose(a, index < 0 ? 0 : index)) /* more than were asked for */
        return 0;
    if (whole)
        delta = message;
    const struct json_item *logprobs = json_item_get(choice, "logprobs");
    int rc = provider_answer_rest(a, CHAT_SHAPE_OPENAI, CHAT_NATIVE_CHOICE, delta, message_members, err);
    if (rc == 0)
        rc = take_content(a, delta, logprobs, err);
    struct str text = json_item_text(choice, "text"); /* completions */
    if (rc == 0 && text.data && json_item_is(logprobs, JSON_ITEM_OBJECT))
        rc = provider_answer_logprobs(a, text, logprobs, tokens_read, err);
    else if (rc == 0)
        provider_answer_text(a, text);
    if (rc == 0)
        rc = take_tool_calls(a, json_item_get(delta, "tool_calls"), whole, err);
    if (rc == 0)
        rc = take_finish(a, json_item_text(choice, "finish_reason"), err);
    if (rc == 0)
        take_stop_string(a, choice);
    return rc;
}

static int64_t at_least_zero(int64_t n)
{
    return n < 0 ? 0 : n;
}

/* The first of two names, else the second; 0: neither. */
static int64_t either(
    const struct json_item *details, const char *name, const struct json_item *usage, const char *other)
{
    int64_t n = provider_item_count(details, name);
    return at_least_zero(n < 0 ? provider_item_count(usage, other) : n);
}

/* xAI and Google count reasoning beside the output, not in it: the total tells. */
static int64_t output_of(const struct json_item *usage, int64_t reasoning)
{
    int64_t input = provider_item_count(usage, "prompt_tokens"),
            total = provider_item_count(usage, "total_tokens");
    int64_t output = provider_item_count(usage, "completion_tokens");
    bool beside = reasoning > 0 && input >= 0 && output >= 0 && total == input + output + reasoning;
    return beside ? output + reasoning : output;
}

static int take_usage(struct provider_answer *a, const struct json_item *usage, struct error *err)
{
    const struct json_item *prompt = json_item_get(usage, "prompt_tokens_details");
    /* DeepSeek, OpenRouter and Perplexity have names of their own for the same. */
    int64_t cached = either(prompt, "cached_tokens", usage, "prompt_cache_hit_tokens");
    int64_t written = at_least_zero(provider_item_count(prompt, "cache_write_tokens"));
    const struct json_item *completion = json_item_get(usage, "completion_tokens_details");
    int64_t reasoning = either(completion, "reasoning_tokens", usage, "reasoning_tokens");
    provider_answer_usage(
        a, &(struct chat_usage){
               .input_tokens = provider_item_count(usage, "prompt_tokens"),
               .cached_tokens = cached,
               .output_tokens = output_of(usage, reasoning),
               .reasoning_tokens = reasoning,
               .written_tokens = written,
               .accepted_prediction_tokens =
                   at_least_zero(provider_item_count(completion, "accepted_prediction_tokens")),
               .rejected_prediction_tokens =
                   at_least_zero(provider_item_count(completion, "rejected_prediction_tokens")),
               .audio_input_tokens = at_least_zero(provider_item_count(prompt, "audio_tokens")),
               .audio_output_tokens = at_least_zero(provider_item_count(completion, "audio_tokens")),
           });
    return provider_answer_rest(a, CHAT_SHAPE_OPENAI, CHAT_NATIVE_USAGE, usage, usage_members, err);
}

int provider_openai_event(struct provider_answer *a, const struct json_item *event, struct error *err)
{
    if (provider_answer_again(a))
        return 0;
    const struct json_item *choices = json_item_get(event, "choices"), *usage = json_item_get(event, "usage");
    int rc = 0;
    if (!json_item_is(usage, JSON_ITEM_OBJECT)) /* Groq */
        usage = json_item_get(json_item_get(event, "x_groq"), "usage");
    if (choices && !json_item_is(choices, JSON_ITEM_NULL) && !json_item_is(choices, JSON_ITEM_ARRAY))
        return error_set(err, ERROR_INVALID, "its 'choices' is no list");
    if (!json_item_is(usage, JSON_ITEM_OBJECT) && json_item_length(choices) == 0)
        return 0; /* Azure begins with an event about its filters */
    if (!a->started)
        provider_answer_start(a, json_item_text(event, "id"), json_item_text(event, "model"));
    rc = provider_answer_rest(a, CHAT_SHAPE_OPENAI, CHAT_NATIVE_ANSWER, event, answer_members, err);
    json_item_each(choice, choices)
        rc = rc ? rc : take_choice(a, choice, err);
    return rc == 0 && json_item_is(usage, JSON_ITEM_OBJECT) ? take_usage(a, usage, err) : rc;
}
