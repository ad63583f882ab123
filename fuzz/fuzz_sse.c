/* libFuzzer: a provider's answer, as bytes. The first byte picks dialect, label and how the bytes are cut.
 * Held for every input: START first, one last event and nothing after it, text in whole characters, tool
 * calls numbered without gaps, and the same events however the bytes are cut. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "provider/dialect.h"

struct watch {
    uint64_t hash; /* of every event */
    size_t events;
    uint32_t tools;
    int last;
};

static void must(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "broken: %s\n", what);
    abort();
}

static void add(struct watch *w, struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        w->hash = (w->hash ^ (unsigned char)s.data[i]) * 0x100000001b3u;
    w->hash = (w->hash ^ s.len) * 0x100000001b3u;
}

static void on_tool(struct watch *w, const struct chat_event *e)
{
    must(e->tool_call.index <= w->tools, "a tool call's index leaves a gap");
    bool first = e->tool_call.index == w->tools;
    must(first == (e->tool_call.name.len > 0), "a first piece has a name, no other has");
    must(first == (e->tool_call.id.len > 0), "a first piece has an id, no other has");
    w->tools += first;
    add(w, e->tool_call.name); /* not the id: it may be made up */
    add(w, e->tool_call.arguments);
}

static void on_event(void *ctx, const struct chat_event *e)
{
    struct watch *w = ctx;
    must(w->last == 0, "an event after the last");
    must(w->events++ > 0 || e->kind == CHAT_EVENT_START || e->kind == CHAT_EVENT_ERROR,
        "the first is no START");
    must(e->kind != CHAT_EVENT_START || w->events == 1, "START comes once");
    w->hash = (w->hash ^ e->kind) * 0x100000001b3u;
    if (e->kind == CHAT_EVENT_TEXT || e->kind == CHAT_EVENT_REASONING) {
        must(str_utf8_valid(e->text) && e->text.len > 0, "text is cut");
        add(w, e->text);
    } else if (e->kind == CHAT_EVENT_TOOL_CALL) {
        on_tool(w, e);
    } else if (e->kind == CHAT_EVENT_USAGE) {
        add(w, (struct str){(const char *)&e->usage, sizeof e->usage});
    } else if (e->kind == CHAT_EVENT_STOP) {
        w->last = 1;
    } else if (e->kind == CHAT_EVENT_ERROR) {
        w->last = 1;
        must(str_utf8_valid(e->failure.message) && e->failure.message.len > 0, "an error without words");
        must(str_find(e->failure.message, STR("sk-secret")) == SIZE_MAX, "a key comes back");
    }
}

static struct watch translate(
    const struct provider_dialect *d, struct str type, struct str bytes, size_t step)
{
    struct watch w = {.hash = 0xcbf29ce484222325u};
    struct provider_answer a;
    provider_answer_init(&a, STR("cloud"), STR("sk-secret"), d->event, (struct chat_sink){on_event, &w});
    provider_answer_content_type(&a, type);
    for (size_t at = 0; at < bytes.len; at += step)
        provider_answer_feed(&a, str_slice(bytes, at, at + step));
    provider_answer_finish(&a, 0, NULL);
    provider_answer_free(&a);
    must(w.last == 1, "no last event");
    return w;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct str types[] = {
        STR("text/event-stream"), STR("application/json"), STR(""), STR("application/x-ndjson")};
    if (size == 0)
        return 0;
    struct str type = types[data[0] >> 1 & 3];
    const struct provider_dialect *d = data[0] & 1               ? &provider_dialect_anthropic
                                       : data[0] & 0x80          ? &provider_dialect_gemini
                                       : (data[0] >> 1 & 3) == 3 ? &provider_dialect_ollama
                                                                 : &provider_dialect_openai;
    struct str bytes = {(const char *)data + 1, size - 1};
    struct watch whole = translate(d, type, bytes, size);
    struct watch cut = translate(d, type, bytes, (size_t)(data[0] >> 3) + 1);
    must(whole.hash == cut.hash && whole.events == cut.events, "a cut changes the events");
    return 0;
}
