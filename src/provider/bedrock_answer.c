/* Understanding Bedrock's answers: one document, or the messages of its event stream, each an object whose
 * key is the event's type.
 *
 *   messageStart (contentBlockStart? contentBlockDelta* contentBlockStop)* messageStop metadata */
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

static int take_start(struct provider_answer *a, const struct json_item *block, struct error *err)
{
    const struct json_item *tool = json_item_get(json_item_get(block, "start"), "toolUse");
    if (!json_item_is(tool, JSON_ITEM_OBJECT))
        return 0;
    return provider_answer_tool(a, provider_item_count(block, "contentBlockIndex"),
        json_item_text(tool, "toolUseId"), json_item_text(tool, "name"), STR_NONE, err);
}

static int take_delta(struct provider_answer *a, const struct json_item *block, struct error *err)
{
    const struct json_item *delta = json_item_get(block, "delta"), *tool = json_item_get(delta, "toolUse");
    const struct json_item *reasoning = json_item_get(delta, "reasoningContent");
    provider_answer_text(a, json_item_text(delta, "text"));
    provider_answer_reasoning(a, json_item_text(reasoning, "text"));
    provider_answer_signature(
        a, json_item_text(reasoning, "signature"), json_item_text(reasoning, "redactedContent"));
    if (!json_item_is(tool, JSON_ITEM_OBJECT))
        return 0;
    return provider_answer_tool(a, provider_item_count(block, "contentBlockIndex"), STR_NONE, STR_NONE,
        json_item_text(tool, "input"), err);
}

/* [{"ttl": "1h", "inputTokens": n}, {"ttl": "5m", ...}] */
static int64_t kept_for_an_hour(const struct json_item *details)
{
    int64_t sum = 0;
    json_item_each(detail, details) {
        int64_t n = provider_item_count(detail, "inputTokens");
        if (n > 0 && sum < PROVIDER_COUNT_MAX && str_is(json_item_text(detail, "ttl"), "1h"))
            sum += n;
    }
    return sum;
}

/* What was read from or written to a cache is counted beside the input. */
static void take_usage(struct provider_answer *a, const struct json_item *usage)
{
    int64_t input = provider_item_count(usage, "inputTokens"),
            read = provider_item_part(usage, "cacheReadInputTokens"),
            written = provider_item_part(usage, "cacheWriteInputTokens");
    bool known = input >= 0 && read >= 0 && written >= 0;
    provider_answer_usage(
        a, &(struct chat_usage){
               .input_tokens = known ? input + read + written : -1,
               .cached_tokens = known ? read : 0,
               .output_tokens = provider_item_count(usage, "outputTokens"),
               .written_tokens = known ? written : 0,
               .written_long_tokens = kept_for_an_hour(json_item_get(usage, "cacheDetails")),
           });
}

static void take_reasoning(struct provider_answer *a, const struct json_item *reasoning)
{
    const struct json_item *text = json_item_get(reasoning, "reasoningText");
    provider_answer_reasoning(a, json_item_text(text, "text"));
    provider_answer_signature(
        a, json_item_text(text, "signature"), json_item_text(reasoning, "redactedContent"));
}

static int take_block(
    struct provider_answer *a, int64_t index, const struct json_item *block, struct error *err)
{
    const struct json_item *tool = json_item_get(block, "toolUse"), *input = json_item_get(tool, "input");
    const struct json_item *cited = json_item_get(json_item_get(block, "citationsContent"), "content");
    provider_answer_text(a, json_item_text(block, "text"));
    json_item_each(piece, cited) {
        provider_answer_text(a, json_item_text(piece, "text"));
    }
    take_reasoning(a, json_item_get(block, "reasoningContent"));
    if (!json_item_is(tool, JSON_ITEM_OBJECT))
        return 0;
    int rc = provider_answer_tool(a, index, json_item_text(tool, "toolUseId"), json_item_text(tool, "name"),
        input ? input->text : STR_NONE, err);
    if (rc == 0)
        provider_answer_tool_end(a, index);
    return rc;
}

static int take_whole(struct provider_answer *a, const struct json_item *answer, struct error *err)
{
    const struct json_item *message = json_item_get(json_item_get(answer, "output"), "message");
    int64_t index = 0;
    int rc = json_item_is(message, JSON_ITEM_OBJECT)
                 ? 0
                 : error_set(err, ERROR_INVALID, "it has no 'output.message'");
    json_item_each(block, json_item_get(message, "content")) {
        rc = rc ? rc : take_block(a, index++, block, err);
    }
    take_usage(a, json_item_get(answer, "usage"));
    return rc ? rc : take_stop(a, json_item_text(answer, "stopReason"), err);
}

int provider_bedrock_event(struct provider_answer *a, const struct json_item *event, struct error *err)
{
    int rc = 0;
    provider_answer_start(a, STR_NONE, STR_NONE);
    if (a->form == PROVIDER_FORM_WHOLE)
        rc = take_whole(a, event, err);
    else if (str_is(event->key, "contentBlockStart"))
        rc = take_start(a, event, err);
    else if (str_is(event->key, "contentBlockDelta"))
        rc = take_delta(a, event, err);
    else if (str_is(event->key, "contentBlockStop"))
        provider_answer_tool_end(a, provider_item_count(event, "contentBlockIndex"));
    else if (str_is(event->key, "messageStop"))
        rc = take_stop(a, json_item_text(event, "stopReason"), err);
    else if (str_is(event->key, "metadata") && json_item_is(json_item_get(event, "usage"), JSON_ITEM_OBJECT))
        take_usage(a, json_item_get(event, "usage"));
    return rc;
}
