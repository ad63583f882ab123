#include "chat/chat.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "chat/chat_sampling.h"

struct chat_request *chat_request_create(struct arena *arena)
{
    struct chat_request *r = arena_new(arena, struct chat_request);
    r->arena = arena;
    r->max_tokens = -1;
    r->n_keep = -1;
    r->n = 1;
    r->parallel_tool_calls = -1;
    chat_sampling_init(&r->sampling);
    return r;
}

static const struct str roles[] = {
    {"system", 6}, {"developer", 9}, {"user", 4}, {"assistant", 9}, {"tool", 4}};

const char *chat_role_name(enum chat_role role)
{
    return roles[role].data;
}

bool chat_role_find(struct str name, enum chat_role *out)
{
    for (int role = CHAT_SYSTEM; role <= CHAT_TOOL; role++)
        if (str_eq(name, roles[role])) {
            *out = (enum chat_role)role;
            return true;
        }
    return false;
}

struct chat_failure chat_failure_of(int code, struct str message)
{
    /* Another target may have a larger context (CONTEXT), or do what this one does not (UNSUPPORTED). */
    bool ours =
        code == ERROR_INVALID || code == ERROR_LIMIT || code == ERROR_DENIED || code == ERROR_CANCELLED;
    return (struct chat_failure){.code = code,
        .retryable = !ours,
        .retry_after_ms = -1,
        .message = message,
        .type = code == ERROR_CONTEXT ? STR("context_length_exceeded") : STR_NONE};
}

/* The walk over a request: where we are, and whom to tell. */
struct walk {
    const struct chat_request *request;
    int (*visit)(void *, struct str, struct str);
    void *ctx;
};

static int visit_text(const struct walk *w, struct str where, struct str text)
{
    return text.len ? w->visit(w->ctx, where, text) : 0;
}

/* Every string in a tree, keys included: a key can hold what a value can. Depth is bounded by json_read. */
static int visit_json(const struct walk *w, struct str where, const json_t *value)
{
    int rc = 0;
    if (json_is_string(value))
        return visit_text(w, where, json_str(value));
    if (json_is_array(value)) {
        for (size_t i = 0; i < json_array_size(value) && rc == 0; i++)
            rc = visit_json(w, where, json_array_get(value, i));
        return rc;
    }
    if (json_is_number(value)) {
        struct buf text;
        struct json_writer writer;
        buf_init(&text, 64);
        json_writer_init(&writer, &text);
        json_write_value(&writer, value);
        rc = visit_text(w, where, buf_str(&text));
        buf_free(&text);
        return rc;
    }
    if (!json_is_object(value))
        return 0;
    for (void *it = json_object_iter((json_t *)(uintptr_t)value); it && rc == 0;
         it = json_object_iter_next((json_t *)(uintptr_t)value, it)) {
        rc = visit_text(w, where, str_from(json_object_iter_key(it)));
        if (rc == 0)
            rc = visit_json(w, where, json_object_iter_value(it));
    }
    return rc;
}

static int visit_part(const struct walk *w, struct str where, const struct chat_part *p)
{
    const struct str texts[] = {p->text, p->url, p->data, p->format};
    int rc = p->raw ? visit_json(w, where, p->raw) : 0;
    if (p->raw && !p->raw_is_rest)
        return rc;
    for (size_t i = 0; i < sizeof texts / sizeof *texts && rc == 0; i++)
        rc = visit_text(w, where, texts[i]);
    return rc;
}

static int visit_thought(const struct walk *w, struct str where, const struct chat_thought *t)
{
    int rc = visit_text(w, where, t->text);
    if (rc == 0)
        rc = visit_text(w, where, t->signature);
    return rc ? rc : visit_text(w, where, t->data);
}

struct str chat_place(struct arena *a, const char *list, size_t index, const char *member)
{
    char number[24], *digit = number + sizeof number;
    do
        *--digit = (char)('0' + index % 10);
    while ((index /= 10) > 0);
    size_t digits = (size_t)(number + sizeof number - digit), start = strlen(list), rest = strlen(member);
    size_t size = start + digits + rest;
    char *text = arena_alloc(a, size + 1);
    memcpy(text, list, start);
    memcpy(text + start, digit, digits);
    memcpy(text + size - rest, member, rest);
    return (struct str){text, size};
}

static struct str place(const struct walk *w, const char *list, size_t index, const char *member)
{
    return chat_place(w->request->arena, list, index, member);
}

static int visit_tool_call(const struct walk *w, struct str where, const struct chat_tool_call *call)
{
    const struct str texts[] = {call->name, call->id, call->arguments};
    int rc = call->raw ? visit_json(w, where, call->raw) : 0;
    for (size_t i = 0; i < sizeof texts / sizeof *texts && rc == 0; i++)
        rc = visit_text(w, where, texts[i]);
    return rc;
}

static int visit_message(const struct walk *w, size_t index, const struct chat_message *m)
{
    int rc = m->name.len ? visit_text(w, place(w, "messages[", index, "].name"), m->name) : 0;
    struct str where = m->n_parts ? place(w, "messages[", index, "].content") : STR_NONE;
    for (size_t i = 0; i < m->n_parts && rc == 0; i++)
        rc = visit_part(w, where, &m->parts[i]);
    if (m->reasoning.len > 0 || m->n_thoughts > 0)
        where = place(w, "messages[", index, "].reasoning");
    if (rc == 0)
        rc = visit_text(w, where, m->reasoning);
    for (size_t i = 0; i < m->n_thoughts && rc == 0; i++)
        rc = visit_thought(w, where, &m->thoughts[i]);
    if (rc == 0 && m->tool_call_id.len > 0)
        rc = visit_text(w, place(w, "messages[", index, "].tool_call_id"), m->tool_call_id);
    where = m->n_tool_calls ? place(w, "messages[", index, "].tool_calls") : STR_NONE;
    for (size_t i = 0; i < m->n_tool_calls && rc == 0; i++)
        rc = visit_tool_call(w, where, &m->tool_calls[i]);
    if (rc == 0 && m->vendor)
        rc = visit_json(w, place(w, "messages[", index, "]"), m->vendor);
    return rc;
}

static int visit_tool(const struct walk *w, size_t index, const struct chat_tool *t)
{
    struct str where = place(w, "tools[", index, "]");
    if (t->raw)
        return visit_json(w, where, t->raw);
    int rc = visit_text(w, where, t->name);
    if (rc == 0)
        rc = visit_text(w, where, t->description);
    return rc || !t->parameters ? rc : visit_json(w, where, t->parameters);
}

static int visit_sampling(const struct walk *w, const struct chat_sampling *s)
{
    int rc = 0;
    for (size_t i = 0; i < s->n_dry_breakers && rc == 0; i++)
        rc = visit_text(w, STR("dry_sequence_breakers"), s->dry_breakers[i]);
    for (size_t i = 0; i < s->n_logit_bias && rc == 0; i++) {
        const struct chat_bias *b = &s->logit_bias[i];
        rc = visit_text(w, STR("logit_bias"),
            b->text.data ? b->text : arena_printf(w->request->arena, "%lld", (long long)b->token));
    }
    return rc;
}

static int visit_inputs(const struct walk *w, const struct chat_request *r)
{
    const char *name = r->kind == CHAT_KIND_RERANK ? "documents" : r->has_prompt ? "prompt" : "input";
    int rc = visit_text(w, STR("query"), r->query);
    for (size_t i = 0; i < r->n_inputs && rc == 0; i++)
        rc = visit_text(w, arena_printf(r->arena, "%s[%zu]", name, i), r->inputs[i].text);
    return rc;
}

void chat_tool_write(struct json_writer *w, const struct chat_tool *t)
{
    if (t->written.len > 0)
        json_write_raw(w, t->written);
    else
        json_write_value(w, t->raw ? t->raw : t->parameters);
}

int chat_tool_visit(const struct chat_request *r, size_t index,
    int (*visit)(void *ctx, struct str where, struct str text), void *ctx)
{
    return visit_tool(&(struct walk){r, visit, ctx}, index, &r->tools[index]);
}

int chat_request_visit(
    const struct chat_request *r, int (*visit)(void *ctx, struct str where, struct str text), void *ctx)
{
    return chat_request_visit_tools(r, visit, NULL, ctx);
}

int chat_request_visit_tools(const struct chat_request *r,
    int (*visit)(void *ctx, struct str where, struct str text), int (*tool)(void *ctx, size_t index),
    void *ctx)
{
    struct walk w = {r, visit, ctx};
    int rc = visit_text(&w, STR("prompt"), r->prompt);
    if (rc == 0)
        rc = visit_text(&w, STR("suffix"), r->suffix);
    if (rc == 0)
        rc = visit_inputs(&w, r);
    for (size_t i = 0; i < r->n_messages && rc == 0; i++)
        rc = visit_message(&w, i, &r->messages[i]);
    for (size_t i = 0; i < r->n_tools && rc == 0; i++)
        rc = tool ? tool(ctx, i) : visit_tool(&w, i, &r->tools[i]);
    for (size_t i = 0; i < r->n_stops && rc == 0; i++)
        rc = visit_text(&w, STR("stop"), r->stops[i]);
    if (rc == 0)
        rc = visit_sampling(&w, &r->sampling);
    if (rc == 0)
        rc = visit_text(&w, STR("user"), r->user);
    if (rc == 0)
        rc = visit_text(&w, STR("tool_choice"), r->tool_choice_name);
    if (rc == 0 && r->vendor)
        rc = visit_json(&w, STR("request"), r->vendor);
    if (rc == 0 && r->native)
        rc = visit_json(&w, STR("request"), r->native);
    for (size_t i = 0; i < r->n_headers && rc == 0; i++)
        rc = visit_text(&w, STR("headers"), r->headers[i].value);
    return rc;
}

/* ---- Events that are kept ---- */

static bool token_copy(struct arena *a, const struct chat_token *from, struct chat_token *to)
{
    *to = *from;
    if (arena_try_copy(a, from->text, &to->text) ||
        (from->bytes.data && arena_try_copy(a, from->bytes, &to->bytes)))
        return false;
    struct chat_token *top = arena_try_array(a, struct chat_token, from->n_top + 1);
    to->top = top;
    for (size_t i = 0; top && i < from->n_top; i++) {
        top[i] = from->top[i];
        if (arena_try_copy(a, from->top[i].text, &top[i].text) ||
            (from->top[i].bytes.data && arena_try_copy(a, from->top[i].bytes, &top[i].bytes)))
            return false;
    }
    return top != NULL;
}

static bool tokens_copy(struct arena *a, const struct chat_event *from, struct chat_event *to)
{
    if (from->n_tokens == 0)
        return true;
    struct chat_token *tokens = arena_try_array(a, struct chat_token, from->n_tokens);
    to->tokens = tokens;
    for (size_t i = 0; tokens && i < from->n_tokens; i++)
        if (!token_copy(a, &from->tokens[i], &tokens[i]))
            return false;
    return tokens != NULL;
}

bool chat_event_copy(struct arena *a, const struct chat_event *e, struct chat_event *out)
{
    *out = *e;
    switch (e->kind) {
    case CHAT_EVENT_START:
        return !arena_try_copy(a, e->start.id, &out->start.id) &&
               !arena_try_copy(a, e->start.model, &out->start.model);
    case CHAT_EVENT_TEXT:
    case CHAT_EVENT_REASONING:
        return !arena_try_copy(a, e->text, &out->text) && tokens_copy(a, e, out);
    case CHAT_EVENT_TOOL_CALL:
        return !arena_try_copy(a, e->tool_call.id, &out->tool_call.id) &&
               !arena_try_copy(a, e->tool_call.name, &out->tool_call.name) &&
               !arena_try_copy(a, e->tool_call.arguments, &out->tool_call.arguments) &&
               !arena_try_copy(a, e->tool_call.more, &out->tool_call.more);
    case CHAT_EVENT_SIGNATURE:
        return !arena_try_copy(a, e->signature.text, &out->signature.text) &&
               !arena_try_copy(a, e->signature.data, &out->signature.data);
    case CHAT_EVENT_STOP:
        return !arena_try_copy(a, e->stop_string, &out->stop_string);
    case CHAT_EVENT_MEASURE:
    case CHAT_EVENT_USAGE:
        return true;
    default:
        return false;
    }
}
