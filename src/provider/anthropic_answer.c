/* Understanding Anthropic's answers: its stream events, and a whole message where a server does not stream.
 *
 *   message_start (content_block_start content_block_delta* content_block_stop)* message_delta message_stop
 *
 * `ping` and kinds unknown here are skipped, as its documentation asks of clients. */
#include "base/limits.h"
#include "provider/anthropic.h"

static const struct {
    const char *reason;
    enum chat_stop stop;
} stop_reasons[] = {
    {"end_turn", CHAT_STOP_END},
    {"stop_sequence", CHAT_STOP_STRING},
    {"pause_turn", CHAT_STOP_PAUSE},
    {"max_tokens", CHAT_STOP_LENGTH},
    {"model_context_window_exceeded", CHAT_STOP_LENGTH},
    {"tool_use", CHAT_STOP_TOOLS},
    {"refusal", CHAT_STOP_FILTER},
};

/* `from`: the object with `stop_reason` and `stop_sequence`. */
static void take_stop_reason(struct provider_answer *a, const struct json_item *from)
{
    enum chat_stop stop = CHAT_STOP_END;
    struct str reason = json_item_text(from, "stop_reason");
    if (reason.len == 0)
        return;
    for (size_t i = 0; i < sizeof stop_reasons / sizeof *stop_reasons; i++)
        if (str_is(reason, stop_reasons[i].reason))
            stop = stop_reasons[i].stop;
    /* The call that stood for the text was the whole answer. */
    if (stop == CHAT_STOP_TOOLS && a->choice->n_tools == 0)
        stop = CHAT_STOP_END;
    provider_answer_stop_string(a, json_item_text(from, "stop_sequence"));
    provider_answer_stop(a, stop);
}

/* What is told in words of the one form; all else goes to clients of this shape as it came. */
static const char *const call_members[] = {"type", "id", "name", "input", NULL};
static const char *const delta_members[] = {"stop_reason", "stop_sequence", NULL};
static const char *const event_members[] = {"type", "delta", "usage", NULL};
static const char *const message_members[] = {
    "id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage", NULL};
static const char *const usage_members[] = {"input_tokens", "cache_creation_input_tokens",
    "cache_read_input_tokens", "output_tokens", "output_tokens_details", NULL};

static int rest(struct provider_answer *a, enum chat_native what, const struct json_item *object,
    const char *const *known, struct error *err)
{
    return provider_answer_rest(a, CHAT_SHAPE_ANTHROPIC, what, object, known, err);
}

static int64_t count_or_zero(const struct json_item *object, const char *key)
{
    int64_t n = provider_item_count(object, key);
    return n < 0 ? 0 : n;
}

static bool is_told(const struct json_item *object, const char *key)
{
    const struct json_item *item = json_item_get(object, key);
    return item && !json_item_is(item, JSON_ITEM_NULL);
}

/* Anthropic counts what the cache gave and took apart from `input_tokens`. The last event may repeat the
 * input's counts or leave them out. A count that can be none is not known, whatever was told before.
 * `goes_on`: the output is still to come. */
static int take_usage(
    struct provider_answer *a, const struct json_item *usage, int goes_on, struct error *err)
{
    struct chat_usage u = a->usage;
    if (!json_item_is(usage, JSON_ITEM_OBJECT))
        return 0;
    if (is_told(usage, "input_tokens")) {
        int64_t input = provider_item_count(usage, "input_tokens");
        int64_t read = provider_item_part(usage, "cache_read_input_tokens");
        int64_t made = provider_item_part(usage, "cache_creation_input_tokens");
        u.cached_tokens = read < 0 ? 0 : read;
        u.written_tokens = made < 0 ? 0 : made;
        /* Only the first event of a stream tells for how long. */
        if (is_told(usage, "cache_creation"))
            u.written_long_tokens =
                count_or_zero(json_item_get(usage, "cache_creation"), "ephemeral_1h_input_tokens");
        if (u.written_long_tokens > u.written_tokens)
            u.written_long_tokens = u.written_tokens;
        u.input_tokens = input < 0 || read < 0 || made < 0 ? -1 : input + read + made;
    }
    if (is_told(usage, "output_tokens")) {
        u.output_tokens = provider_item_count(usage, "output_tokens");
        u.goes_on = goes_on;
    }
    int64_t thinking = provider_item_count(json_item_get(usage, "output_tokens_details"), "thinking_tokens");
    if (thinking >= 0)
        u.reasoning_tokens = thinking;
    provider_answer_usage(a, &u);
    return rest(a, CHAT_NATIVE_USAGE, usage, usage_members, err);
}

static int take_arguments(struct provider_answer *a, int64_t index, struct str piece, struct error *err);

/* A tool's whole input, where a server sends it at once. */
static int take_input(
    struct provider_answer *a, int64_t index, const struct json_item *input, struct error *err)
{
    struct buf text;
    struct json_writer w;
    if (!json_item_is(input, JSON_ITEM_OBJECT) || input->n == 0)
        return 0;
    buf_init(&text, 2 * LIMIT_PROVIDER_EVENT);
    json_writer_init(&w, &text);
    json_write_item(&w, input);
    int rc = text.failed ? error_set(err, text.failed, "a tool call's arguments are too large")
                         : take_arguments(a, index, buf_str(&text), err);
    buf_free(&text);
    return rc;
}

static int take_tool_use(
    struct provider_answer *a, int64_t index, const struct json_item *block, struct error *err)
{
    if (str_is(json_item_text(block, "name"), PROVIDER_ANTHROPIC_ANSWER_TOOL)) {
        a->text_index = index;
        return take_input(a, index, json_item_get(block, "input"), err);
    }
    int rc = provider_answer_tool_rest(a, CHAT_SHAPE_ANTHROPIC, block, call_members, err);
    if (rc == 0)
        rc = provider_answer_tool(
            a, index, json_item_text(block, "id"), json_item_text(block, "name"), STR_NONE, err);
    return rc ? rc : take_input(a, index, json_item_get(block, "input"), err);
}

/* What only clients of this shape understand: a value of the event, or a tree. */
static int native(struct provider_answer *a, enum chat_native what, const struct json_item *item,
    const json_t *tree, struct error *err)
{
    struct buf text;
    struct json_writer w;
    buf_init(&text, 2 * LIMIT_PROVIDER_EVENT);
    json_writer_init(&w, &text);
    if (tree)
        json_write_value(&w, tree);
    else
        json_write_item(&w, item);
    int rc = text.failed ? error_set(err, text.failed, "a block of the answer is too large") : 0;
    if (rc == 0)
        provider_answer_native(a, CHAT_SHAPE_ANTHROPIC, what, buf_str(&text));
    buf_free(&text);
    return rc;
}

static int take_citations(struct provider_answer *a, const struct json_item *citations, struct error *err)
{
    int rc = 0;
    json_item_each(citation, citations)
        rc = rc ? rc : native(a, CHAT_NATIVE_PIECE, citation, NULL, err);
    return rc;
}

static int take_block(
    struct provider_answer *a, int64_t index, const struct json_item *block, struct error *err)
{
    struct str type = json_item_text(block, "type");
    if (str_is(type, "text")) {
        provider_answer_text(a, json_item_text(block, "text"));
        return take_citations(a, json_item_get(block, "citations"), err);
    }
    if (str_is(type, "thinking")) {
        provider_answer_reasoning(a, json_item_text(block, "thinking"));
        provider_answer_signature(a, json_item_text(block, "signature"), STR_NONE);
        return 0;
    }
    if (str_is(type, "redacted_thinking")) {
        provider_answer_signature(a, STR_NONE, json_item_text(block, "data"));
        return 0;
    }
    if (str_is(type, "tool_use"))
        return take_tool_use(a, index, block, err);
    /* The provider's own tools and their results: whole when the block ends. */
    json_decref(a->block);
    a->block = NULL;
    a->block_index = index;
    buf_clear(&a->block_input);
    return json_item_is(block, JSON_ITEM_OBJECT) ? json_read(block->text, &a->block, err) : 0;
}

static int take_block_end(struct provider_answer *a, int64_t index, struct error *err)
{
    json_t *input;
    provider_answer_tool_end(a, index);
    if (!a->block || a->block_index != index)
        return 0;
    int rc = 0;
    if (a->block_input.failed)
        rc = error_set(err, a->block_input.failed, "a block of the answer is too large");
    else if (a->block_input.len > 0)
        rc = json_read(buf_str(&a->block_input), &input, err);
    if (rc == 0 && a->block_input.len > 0 && json_object_set_new(a->block, "input", input) != 0)
        rc = error_set(err, ERROR_MEMORY, "out of memory");
    if (rc == 0)
        rc = native(a, CHAT_NATIVE_BLOCK, NULL, a->block, err);
    json_decref(a->block);
    a->block = NULL;
    return rc;
}

static int take_arguments(struct provider_answer *a, int64_t index, struct str piece, struct error *err)
{
    if (piece.len == 0)
        return 0;
    if (a->block && a->block_index == index) {
        buf_append_str(&a->block_input, piece); /* checked at its end */
        return 0;
    }
    if (index >= 0 && a->text_index == index) {
        provider_answer_text(a, piece);
        return 0;
    }
    return provider_answer_tool(a, index, STR_NONE, STR_NONE, piece, err);
}

static int take_delta(
    struct provider_answer *a, int64_t index, const struct json_item *delta, struct error *err)
{
    struct str type = json_item_text(delta, "type");
    if (str_is(type, "text_delta"))
        provider_answer_text(a, json_item_text(delta, "text"));
    else if (str_is(type, "thinking_delta"))
        provider_answer_reasoning(a, json_item_text(delta, "thinking"));
    else if (str_is(type, "signature_delta"))
        provider_answer_signature(a, json_item_text(delta, "signature"), STR_NONE);
    else if (str_is(type, "input_json_delta"))
        return take_arguments(a, index, json_item_text(delta, "partial_json"), err);
    else if (str_is(type, "citations_delta") &&
             json_item_is(json_item_get(delta, "citation"), JSON_ITEM_OBJECT))
        return native(a, CHAT_NATIVE_PIECE, json_item_get(delta, "citation"), NULL, err);
    return 0;
}

static int take_start(struct provider_answer *a, const struct json_item *message, struct error *err)
{
    provider_answer_start(a, json_item_text(message, "id"), json_item_text(message, "model"));
    return take_usage(a, json_item_get(message, "usage"), 1, err);
}

static int take_whole(struct provider_answer *a, const struct json_item *message, struct error *err)
{
    const struct json_item *content = json_item_get(message, "content");
    int rc = 0;
    provider_answer_start(a, json_item_text(message, "id"), json_item_text(message, "model"));
    int64_t i = 0;
    json_item_each(block, content) {
        rc = rc ? rc : take_block(a, i, block, err);
        rc = rc ? rc : take_block_end(a, i++, err);
    }
    if (rc == 0)
        rc = rest(a, CHAT_NATIVE_ANSWER, message, message_members, err);
    if (rc == 0)
        rc = take_usage(a, json_item_get(message, "usage"), 0, err);
    take_stop_reason(a, message);
    return rc;
}

static int take_message_delta(struct provider_answer *a, const struct json_item *event, struct error *err)
{
    const struct json_item *delta = json_item_get(event, "delta");
    take_stop_reason(a, delta);
    int rc = rest(a, CHAT_NATIVE_CHOICE, delta, delta_members, err);
    if (rc == 0)
        rc = rest(a, CHAT_NATIVE_ANSWER, event, event_members, err);
    return rc ? rc : take_usage(a, json_item_get(event, "usage"), 0, err);
}

static int take_after_start(
    struct provider_answer *a, struct str type, const struct json_item *event, struct error *err)
{
    int64_t index = provider_item_count(event, "index");
    if (str_is(type, "content_block_start"))
        return take_block(a, index, json_item_get(event, "content_block"), err);
    if (str_is(type, "content_block_delta"))
        return take_delta(a, index, json_item_get(event, "delta"), err);
    if (str_is(type, "content_block_stop")) {
        return take_block_end(a, index, err);
    } else if (str_is(type, "message_delta")) {
        return take_message_delta(a, event, err);
    } else if (str_is(type, "message_stop")) {
        provider_answer_end(a);
    }
    return 0;
}

/* The answer to count_tokens. */
static int take_count(struct provider_answer *a, const struct json_item *count, struct error *err)
{
    provider_answer_start(a, STR_NONE, STR_NONE);
    provider_answer_stop(a, CHAT_STOP_END);
    return take_usage(a, count, 0, err);
}

int provider_anthropic_event(struct provider_answer *a, const struct json_item *event, struct error *err)
{
    struct str type = json_item_text(event, "type");
    if (type.len == 0 && provider_item_count(event, "input_tokens") >= 0)
        return take_count(a, event, err);
    if (type.len == 0)
        return error_set(err, ERROR_INVALID, "an event has no 'type'");
    if (str_is(type, "message"))
        return take_whole(a, event, err);
    if (str_is(type, "message_start"))
        return take_start(a, json_item_get(event, "message"), err);
    bool ours = str_starts(type, STR("content_block_")) || str_starts(type, STR("message_"));
    if (!ours)
        return 0;
    if (!a->started)
        return error_set(err, ERROR_INVALID, "a '" STR_FMT "' event came before message_start",
            STR_ARG(str_slice(type, 0, 40)));
    return take_after_start(a, type, event, err);
}
