/* Understanding Bedrock's answers: the messages of its event stream, each as an object of one member that is
 * named by the event's type (answer.c wraps them).
 *
 *   messageStart (contentBlockStart? contentBlockDelta* contentBlockStop)* messageStop metadata */
#include "base/limits.h"
#include "provider/bedrock.h"

static const struct {
    const char *reason;
    enum chat_stop stop;
} stop_reasons[] = {
    {"end_turn", CHAT_STOP_END},
    {"max_tokens", CHAT_STOP_LENGTH},
    {"model_context_window_exceeded", CHAT_STOP_LENGTH},
    {"tool_use", CHAT_STOP_TOOLS},
    {"stop_sequence", CHAT_STOP_STRING},
    {"guardrail_intervened", CHAT_STOP_FILTER},
    {"content_filtered", CHAT_STOP_FILTER},
};

static int take_stop(struct provider_answer *a, struct str reason, struct error *err)
{
    enum chat_stop stop = CHAT_STOP_END;
    /* malformed_model_output, malformed_tool_use: asked again it may do better. */
    if (str_starts(reason, STR("malformed_")))
        return error_set(err, ERROR_UNAVAILABLE, "the model's answer went wrong (" STR_FMT "): try again",
            STR_ARG(str_slice(reason, 0, 60)));
    for (size_t i = 0; i < sizeof stop_reasons / sizeof *stop_reasons; i++)
        if (str_is(reason, stop_reasons[i].reason))
            stop = stop_reasons[i].stop;
    provider_answer_stop(a, stop);
    return 0;
}

static int take_start(struct provider_answer *a, const json_t *block, struct error *err)
{
    const json_t *tool = json_object_get(json_object_get(block, "start"), "toolUse");
    if (!json_is_object(tool))
        return 0;
    return provider_answer_tool(a, provider_count(block, "contentBlockIndex"),
        provider_text(tool, "toolUseId"), provider_text(tool, "name"), STR_NONE, err);
}

static int take_delta(struct provider_answer *a, const json_t *block, struct error *err)
{
    const json_t *delta = json_object_get(block, "delta"), *tool = json_object_get(delta, "toolUse");
    const json_t *reasoning = json_object_get(delta, "reasoningContent");
    provider_answer_text(a, provider_text(delta, "text"));
    provider_answer_reasoning(a, provider_text(reasoning, "text"));
    provider_answer_signature(
        a, provider_text(reasoning, "signature"), provider_text(reasoning, "redactedContent"));
    if (!json_is_object(tool))
        return 0;
    return provider_answer_tool(
        a, provider_count(block, "contentBlockIndex"), STR_NONE, STR_NONE, provider_text(tool, "input"), err);
}

/* [{"ttl": "1h", "inputTokens": n}, {"ttl": "5m", ...}] */
static int64_t kept_for_an_hour(const json_t *details)
{
    int64_t sum = 0;
    for (size_t i = 0; i < json_array_size(details) && i < 16; i++) {
        int64_t n = provider_count(json_array_get(details, i), "inputTokens");
        if (n > 0 && str_is(provider_text(json_array_get(details, i), "ttl"), "1h"))
            sum += n;
    }
    return sum;
}

/* What was read from or written to a cache is counted beside the input. */
static void take_usage(struct provider_answer *a, const json_t *usage)
{
    int64_t input = provider_count(usage, "inputTokens"),
            read = provider_count(usage, "cacheReadInputTokens");
    int64_t written = provider_count(usage, "cacheWriteInputTokens");
    read = read < 0 ? 0 : read;
    written = written < 0 ? 0 : written;
    provider_answer_usage(
        a, &(struct chat_usage){
               .input_tokens = input < 0 ? -1 : input + read + written,
               .cached_tokens = read,
               .output_tokens = provider_count(usage, "outputTokens"),
               .written_tokens = written,
               .written_long_tokens = kept_for_an_hour(json_object_get(usage, "cacheDetails")),
           });
}

int provider_bedrock_event(struct provider_answer *a, const json_t *event, struct error *err)
{
    const json_t *start = json_object_get(event, "contentBlockStart");
    const json_t *delta = json_object_get(event, "contentBlockDelta");
    const json_t *stop = json_object_get(event, "messageStop");
    const json_t *usage = json_object_get(json_object_get(event, "metadata"), "usage");
    int rc = 0;
    provider_answer_start(a, STR_NONE, STR_NONE);
    if (json_is_object(start))
        rc = take_start(a, start, err);
    if (rc == 0 && json_is_object(delta))
        rc = take_delta(a, delta, err);
    if (rc == 0 && json_object_get(event, "contentBlockStop"))
        provider_answer_tool_end(
            a, provider_count(json_object_get(event, "contentBlockStop"), "contentBlockIndex"));
    if (rc == 0 && json_is_object(stop))
        rc = take_stop(a, provider_text(stop, "stopReason"), err);
    if (rc == 0 && json_is_object(usage))
        take_usage(a, usage);
    return rc;
}
