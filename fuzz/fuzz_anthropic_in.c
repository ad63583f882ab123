/* libFuzzer: the body of a request in Anthropic's shape. The first byte picks the endpoint.
 * Held for every body that is taken: every target says yes or no, what the worker gets can be read there, and
 * what goes to a target of the same shape can be read again, is the same request, and was all shown to the
 * detectors. */
#include <stdio.h>
#include <stdlib.h>

#include "api/anthropic_in.h"
#include "api/anthropic_out.h"
#include "base/limits.h"
#include "base/map.h"
#include "chat/chat_codec.h"
#include "provider/dialect.h"
#include "seen.h"

/* Keys and values that the encoder writes of its own. */
static bool is_of_the_shape(struct str s)
{
    static const char *const words[] = {"", "model", "upstream", "stream", "system", "messages", "role",
        "user", "assistant", "content", "type", "text", "image", "document", "source", "base64", "media_type",
        "data", "url", "tool_use", "id", "name", "input", "tool_result", "tool_use_id", "is_error",
        "thinking", "signature", "redacted_thinking", "tools"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (str_is(s, words[i]))
            return true;
    return false;
}

/* A picture was shown as one URL, a call's input as one text. */
static bool was_shown(const struct seen *seen, struct str text)
{
    return is_of_the_shape(text) || map_find(&seen->texts, text);
}

static void expect_shown(const struct seen *seen, const json_t *value)
{
    const char *key;
    json_t *member;
    if (json_is_string(value))
        must(was_shown(seen, json_str(value)), "sent unseen", json_str(value));
    for (size_t i = 0; i < json_array_size(value); i++)
        expect_shown(seen, json_array_get(value, i));
    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        if (str_is(str_from(key), "source") || str_is(str_from(key), "input") ||
            str_is(str_from(key), "tool_use_id"))
            continue;
        must(was_shown(seen, str_from(key)), "sent unseen", str_from(key));
        expect_shown(seen, member);
    }
}

/* ---- What is made of a request ---- */

static void check_same_shape(const struct chat_request *r, struct str sent, struct arena *a)
{
    struct chat_request *again;
    struct error err;
    struct seen seen = {.arena = a};
    json_t *tree;
    if (map_init(&seen.texts, 64, &err))
        abort();
    must(chat_request_visit(r, see, &seen) == 0, "the walk stopped", sent);
    if (json_read_in(a, sent, &tree, &err) == 0) {
        /* A call's id is made of Anthropic's letters, and so may the id differ from the one shown. */
        expect_shown(&seen, json_object_get(tree, "system"));
        expect_shown(&seen, json_object_get(tree, "tools"));
        int rc = api_anthropic_count_read(a, sent, &again, &err);
        must(rc == 0 || str_find(str_from(err.message), STR("nested")) != SIZE_MAX, err.message, sent);
        must(rc != 0 || again->n_tools == r->n_tools, "the tools", sent);
    } else {
        must(str_find(str_from(err.message), STR("nested")) != SIZE_MAX, err.message, sent);
    }
    map_free(&seen.texts);
}

static void check_providers(const struct chat_request *r, struct arena *a)
{
    static const struct provider_dialect *const dialects[] = {
        &provider_dialect_anthropic, &provider_dialect_openai, &provider_dialect_gemini};
    const struct provider_model model = {.model = STR("upstream")};
    for (size_t i = 0; i < sizeof dialects / sizeof *dialects; i++) {
        struct buf out;
        struct error err;
        json_t *sent;
        buf_init(&out, 64 * MIB);
        if (dialects[i]->encode(&model, r, &out, &err) == 0) {
            if (i == 0)
                check_same_shape(r, buf_str(&out), a);
            if (json_read(buf_str(&out), &sent, &err) == 0)
                json_decref(sent);
            else
                must(str_find(str_from(err.message), STR("nested")) != SIZE_MAX, err.message, buf_str(&out));
        }
        buf_free(&out);
    }
}

static void check_worker(const struct chat_request *r, struct arena *a)
{
    struct buf out;
    struct chat_work work;
    struct error err;
    bool long_stop = false;
    buf_init(&out, LIMIT_WIRE_FRAME);
    for (size_t i = 0; i < r->n_stops; i++)
        long_stop |= r->stops[i].len > 1024; /* the worker says so itself */
    if (chat_codec_write(r, &out, &err) == 0 && chat_codec_read(a, buf_str(&out), &work, &err) != 0)
        must(long_stop || str_find(str_from(err.message), STR("nested")) != SIZE_MAX, err.message,
            buf_str(&out));
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct arena *a = arena_create(64 * MIB);
    struct str body = {(const char *)data + 1, size - 1};
    struct chat_request *r;
    struct error err = {0};
    bool count = data[0] & 1;
    int rc = count ? api_anthropic_count_read(a, body, &r, &err) : api_anthropic_read(a, body, &r, &err);
    if (rc == 0) {
        must(r->model.len > 0 && r->model.len <= LIMIT_MODEL_NAME, "the model", r->model);
        must(r->n_messages > 0 && (count ? r->max_tokens == 0 : r->max_tokens > 0), "the limits", body);
        check_providers(r, a);
        check_worker(r, a);
    } else {
        struct buf out;
        json_t *answer = NULL;
        buf_init(&out, 64 * KIB);
        anthropic_error_write(400, str_from(err.message), STR("req_1"), &out);
        must(err.message[0] && json_read(buf_str(&out), &answer, &err) == 0, "the refusal", buf_str(&out));
        json_decref(answer);
        buf_free(&out);
    }
    arena_free(a);
    return 0;
}
