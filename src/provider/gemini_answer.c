/* Understanding Gemini's answers: GenerateContentResponse objects, one an event, or all in one array.
 *
 *   {candidates: [{content: {parts: [...]}, finishReason}], usageMetadata, modelVersion, responseId} ...
 *
 * No event says that it is the last: the answer ends where its bytes do, complete if a finishReason came. */
#include <math.h>
#include <stdio.h>

#include "base/limits.h"
#include "provider/failure.h"
#include "provider/gemini.h"

/* ---- Why it stopped ---- */

/* What the model wrote instead of a tool call cannot be passed on; asked again it may do better. */
static const char *const failures[] = {"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS", "MALFORMED_RESPONSE", "MISSING_THOUGHT_SIGNATURE"};

static int take_finish(struct provider_answer *a, struct str reason, struct error *err)
{
    if (reason.len == 0 || str_is(reason, "FINISH_REASON_UNSPECIFIED"))
        return 0;
    for (size_t i = 0; i < sizeof failures / sizeof *failures; i++)
        if (str_is(reason, failures[i]))
            return error_set(
                err, ERROR_UNAVAILABLE, "the model's tool call went wrong (%s): try again", failures[i]);
    /* All others (SAFETY, RECITATION, BLOCKLIST, PROHIBITED_CONTENT, SPII, LANGUAGE, OTHER, …) are Google's
     * refusals to let the model go on. */
    provider_answer_stop(a, str_is(reason, "STOP")         ? CHAT_STOP_END
                            : str_is(reason, "MAX_TOKENS") ? CHAT_STOP_LENGTH
                                                           : CHAT_STOP_FILTER);
    return 0;
}

static void fail_blocked(struct provider_answer *a, struct str reason)
{
    struct provider_failure f;
    char message[160];
    snprintf(message, sizeof message,
        "the prompt was blocked (" STR_FMT "): change the messages or choose another model",
        STR_ARG(str_slice(reason, 0, 60)));
    provider_failure_error(&f, a->provider, a->api_key, ERROR_INVALID, message);
    provider_answer_fail(a, &f.failure);
}

/* ---- What it said ---- */

/* An id that is the same however often the answer is read; Google gives one of its own only sometimes. */
static struct str make_id(const struct provider_answer *a, struct str answer, char out[48])
{
    if (answer.len == 0)
        return STR_NONE;
    snprintf(out, 48, "call_%016llx%x%03zx", (unsigned long long)str_hash(answer),
        (unsigned)(a->choice - a->choices), a->choice->n_tools & 0xfff);
    return str_from(out);
}

static int take_call(
    struct provider_answer *a, const struct json_item *part, struct str answer, struct error *err)
{
    const struct json_item *call = json_item_get(part, "functionCall");
    struct str id = json_item_text(call, "id"), name = json_item_text(call, "name");
    char made[48];
    if (id.len == 0)
        id = make_id(a, answer, made);
    provider_gemini_signature_keep(id, name, json_item_text(part, "thoughtSignature"));
    return provider_answer_call(a, id, name, json_item_get(call, "args"), err);
}

static struct chat_token token_of(const json_t *candidate)
{
    const json_t *logprob = json_object_get(candidate, "logProbability");
    return (struct chat_token){.text = json_text(candidate, "token"),
        .logprob = json_is_number(logprob) ? json_number_value(logprob) : -INFINITY};
}

/* {"chosenCandidates": [{token, logProbability}], "topCandidates": [{"candidates": [likewise]}]}, an entry
 * for each token. */
static int tokens_read(
    struct arena *arena, const json_t *result, const struct chat_token **out, size_t *n, struct error *err)
{
    const json_t *chosen = json_object_get(result, "chosenCandidates"),
                 *tops = json_object_get(result, "topCandidates");
    *n = json_array_size(chosen);
    struct chat_token *tokens = arena_try_array(arena, struct chat_token, *n + 1);
    *out = tokens;
    if (!tokens || *n > LIMIT_TOKENS)
        return error_set(err, ERROR_LIMIT, "it has too many log-probabilities");
    for (size_t i = 0; i < *n; i++) {
        const json_t *top = json_object_get(json_array_get(tops, i), "candidates");
        size_t most = json_array_size(top) < LIMIT_TOP_LOGPROBS ? json_array_size(top) : LIMIT_TOP_LOGPROBS;
        struct chat_token *others = arena_try_array(arena, struct chat_token, most + 1);
        if (!others)
            return error_set(err, ERROR_MEMORY, "no memory for log-probabilities");
        for (size_t k = 0; k < most; k++)
            others[k] = token_of(json_array_get(top, k));
        tokens[i] = token_of(json_array_get(chosen, i));
        tokens[i].top = others;
        tokens[i].n_top = most;
    }
    return 0;
}

/* `logprobs`: of all text of the event, told with the first; NULL afterwards. */
static int take_part(struct provider_answer *a, const struct json_item *part, struct str answer,
    const struct json_item **logprobs, struct error *err)
{
    const struct json_item *call = json_item_get(part, "functionCall");
    struct str text = json_item_text(part, "text");
    int rc = 0;
    if (json_item_is(json_item_get(part, "thought"), JSON_ITEM_TRUE)) {
        provider_answer_reasoning(a, text);
    } else if (text.len > 0 && json_item_is(*logprobs, JSON_ITEM_OBJECT)) {
        rc = provider_answer_logprobs(a, text, *logprobs, tokens_read, err);
        *logprobs = NULL;
    } else {
        provider_answer_text(a, text);
    }
    if (rc)
        return rc;
    if (json_item_get(part, "inlineData") || json_item_get(part, "fileData"))
        return error_set(err, ERROR_INVALID, "it holds an image or a file, not only text");
    return json_item_is(call, JSON_ITEM_OBJECT) ? take_call(a, part, answer, err) : 0;
}

static int take_candidate(
    struct provider_answer *a, const struct json_item *candidate, struct str answer, struct error *err)
{
    const struct json_item *parts = json_item_get(json_item_get(candidate, "content"), "parts"),
                           *logprobs = json_item_get(candidate, "logprobsResult");
    int rc = 0;
    if (!json_item_is(candidate, JSON_ITEM_OBJECT))
        return error_set(err, ERROR_INVALID, "its 'candidates' hold no objects");
    int64_t index = provider_item_count(candidate, "index");
    if (!provider_answer_choose(a, index < 0 ? 0 : index)) /* more than were asked for */
        return 0;
    json_item_each(part, parts)
        rc = rc ? rc : take_part(a, part, answer, &logprobs, err);
    return rc ? rc : take_finish(a, json_item_text(candidate, "finishReason"), err);
}

/* ---- What it cost ---- */

static int64_t count_or_zero(const struct json_item *object, const char *key)
{
    int64_t n = provider_item_count(object, key);
    return n < 0 || n > INT64_MAX / 4 ? 0 : n;
}

/* [{"modality":"TEXT","tokenCount":n}, {"modality":"AUDIO",...}] */
static int64_t sound_of(const struct json_item *usage, const char *key)
{
    int64_t sum = 0;
    json_item_each(detail, json_item_get(usage, key)) {
        int64_t n = provider_item_count(detail, "tokenCount");
        if (n > 0 && sum < PROVIDER_COUNT_MAX && str_is(json_item_text(detail, "modality"), "AUDIO"))
            sum += n;
    }
    return sum;
}

/* A count of zero is left out; before the end, so is one that is not known yet. */
static void take_usage(struct provider_answer *a, const struct json_item *usage)
{
    int64_t thoughts = provider_item_part(usage, "thoughtsTokenCount");
    int64_t text = provider_item_part(usage, "candidatesTokenCount");
    int64_t output = text < 0 || thoughts < 0 ? -1 : text + thoughts;
    provider_answer_usage(a, &(struct chat_usage){
                                 .input_tokens = provider_item_count(usage, "promptTokenCount"),
                                 .cached_tokens = count_or_zero(usage, "cachedContentTokenCount"),
                                 .output_tokens = output > 0 || a->choice->has_stop ? output : -1,
                                 .reasoning_tokens = thoughts < 0 ? 0 : thoughts,
                                 .audio_input_tokens = sound_of(usage, "promptTokensDetails"),
                                 .audio_output_tokens = sound_of(usage, "candidatesTokensDetails"),
                             });
}

int provider_gemini_event(struct provider_answer *a, const struct json_item *event, struct error *err)
{
    const struct json_item *candidates = json_item_get(event, "candidates");
    const struct json_item *usage = json_item_get(event, "usageMetadata");
    struct str answer = json_item_text(event, "responseId");
    struct str blocked = json_item_text(json_item_get(event, "promptFeedback"), "blockReason");
    int rc = 0;
    if (blocked.len > 0) {
        fail_blocked(a, blocked);
        return 0;
    }
    if (candidates && !json_item_is(candidates, JSON_ITEM_NULL) && !json_item_is(candidates, JSON_ITEM_ARRAY))
        return error_set(err, ERROR_INVALID, "its 'candidates' is no list");
    if (!json_item_is(usage, JSON_ITEM_OBJECT) && json_item_length(candidates) == 0)
        return 0;
    provider_answer_start(a, answer, json_item_text(event, "modelVersion"));
    json_item_each(candidate, candidates)
        rc = rc ? rc : take_candidate(a, candidate, answer, err);
    if (rc == 0 && json_item_is(usage, JSON_ITEM_OBJECT))
        take_usage(a, usage);
    return rc;
}
