/* libFuzzer: Ollama's shape, both ways. The first byte picks: a request to chat, a request to generate, or
 * the lines of an answer and how they are cut. Held: a request that is taken goes to an Ollama as JSON in
 * which every text was shown to the detectors or is a word of the shape; an answer has one last event and is
 * the same however its bytes are cut. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/ollama_in.h"
#include "api/ollama_out.h"
#include "base/limits.h"
#include "base/map.h"
#include "provider/dialect.h"
#include "seen.h"

/* ---- Requests ---- */

static bool is_of_the_shape(struct str s)
{
    static const char *const words[] = {"", "model", "upstream", "stream", "messages", "prompt", "suffix",
        "system", "role", "user", "assistant", "tool", "content", "images", "thinking", "tool_calls", "id",
        "function", "name", "arguments", "tool_name", "tool_call_id", "tools", "type", "description",
        "parameters"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (str_is(s, words[i]))
            return true;
    return false;
}

/* Images are shown as the URLs that they became. */
static bool was_seen(const struct map *seen, struct str text, struct arena *a)
{
    static const char *const types[] = {"png", "jpeg", "gif", "webp"};
    bool found = is_of_the_shape(text) || map_find(seen, text);
    for (size_t i = 0; i < 4 && !found; i++)
        found = map_find(seen, arena_printf(a, "data:image/%s;base64," STR_FMT, types[i], STR_ARG(text)));
    return found;
}

static void expect_seen(const struct seen *seen, const json_t *value)
{
    const char *key;
    json_t *member;
    if (json_is_string(value))
        must(was_seen(&seen->texts, json_str(value), seen->arena), "sent unseen", json_str(value));
    for (size_t i = 0; i < json_array_size(value); i++)
        expect_seen(seen, json_array_get(value, i));
    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        must(was_seen(&seen->texts, str_from(key), seen->arena), "sent unseen", str_from(key));
        expect_seen(seen, member);
    }
}

/* Arguments are shown as one text and sent as a tree. */
static void calls_see(const struct chat_request *r, struct seen *seen)
{
    for (size_t i = 0; i < r->n_messages; i++)
        for (size_t k = 0; k < r->messages[i].n_tool_calls; k++) {
            struct error err;
            json_t *tree;
            struct chat_request inner = {.arena = seen->arena};
            if (json_read_in(seen->arena, r->messages[i].tool_calls[k].arguments, &tree, &err))
                continue;
            inner.vendor = tree;
            must(map_find(&seen->texts, r->messages[i].tool_calls[k].arguments), "arguments unseen", STR(""));
            chat_request_visit(&inner, see, seen);
        }
}

static void request(struct arena *a, struct str body, bool chat)
{
    const struct provider_model model = {.model = STR("upstream")};
    struct chat_request *r;
    struct error err;
    struct buf out;
    json_t *sent;
    struct seen seen = {.arena = a};
    int rc = chat ? api_ollama_chat_read(a, body, &r, &err) : api_ollama_generate_read(a, body, &r, &err);
    if (rc)
        return;
    must(r->has_prompt || r->n_messages > 0, "nothing is asked", body);
    buf_init(&out, 64 * MIB);
    if (map_init(&seen.texts, 64, &err))
        abort();
    must(chat_request_visit(r, see, &seen) == 0, "the walk stopped", body);
    if (provider_dialect_ollama.encode(&model, r, &out, &err) == 0) {
        if (json_read(buf_str(&out), &sent, &err) == 0) {
            calls_see(r, &seen);
            expect_seen(&seen, sent);
            json_decref(sent);
        } else {
            must(str_find(str_from(err.message), STR("nested")) != SIZE_MAX, err.message, buf_str(&out));
        }
    }
    map_free(&seen.texts);
    buf_free(&out);
}

/* ---- Answers: through the dialect and out again in the same shape ---- */

struct watch {
    struct ollama_answer out;
    struct buf lines, said;
    int last;
};

static void on_event(void *ctx, const struct chat_event *e)
{
    struct watch *w = ctx;
    must(w->last == 0, "an event after the last", STR(""));
    w->last = e->kind == CHAT_EVENT_STOP || e->kind == CHAT_EVENT_ERROR;
    if (e->kind == CHAT_EVENT_TEXT || e->kind == CHAT_EVENT_REASONING)
        buf_append_str(&w->said, e->text);
    ollama_stream_event(&w->out, e, &w->lines);
}

static struct buf answer(struct str bytes, size_t step)
{
    struct watch w = {0};
    struct provider_answer a;
    buf_init(&w.lines, 256 * MIB);
    buf_init(&w.said, 256 * MIB);
    ollama_answer_init(&w.out, true, STR("m"));
    provider_answer_init(
        &a, STR("cloud"), STR("sk-secret"), provider_dialect_ollama.event, (struct chat_sink){on_event, &w});
    provider_answer_content_type(&a, STR("application/x-ndjson"));
    for (size_t at = 0; at < bytes.len; at += step)
        provider_answer_feed(&a, str_slice(bytes, at, at + step));
    provider_answer_finish(&a, 0, NULL);
    must(w.last, "no last event", bytes);
    struct str rest = buf_str(&w.lines), line;
    while (str_split(&rest, '\n', &line)) {
        struct error err;
        json_t *tree;
        must(json_read(line, &tree, &err) == 0 && json_is_object(tree), "a line that is no object", line);
        json_decref(tree);
    }
    provider_answer_free(&a);
    ollama_answer_free(&w.out);
    buf_free(&w.lines);
    return w.said;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct arena *a = arena_create(64 * MIB);
    struct str text = {(const char *)data + 1, size - 1};
    if (data[0] & 1) {
        struct buf whole = answer(text, size), cut = answer(text, (size_t)(data[0] >> 1) + 1);
        must(str_eq(buf_str(&whole), buf_str(&cut)), "a cut changes the answer", text);
        buf_free(&whole);
        buf_free(&cut);
    } else {
        request(a, text, data[0] & 2);
    }
    arena_free(a);
    return 0;
}
