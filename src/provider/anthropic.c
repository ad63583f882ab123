/* Asking in Anthropic's shape: POST /v1/messages, version 2023-06-01.
 *
 * What the shape has no word for is refused by name, so that nothing a client asked for is dropped in
 * silence. Ignored are only members that cannot change the answer, names of tool results (the id says it),
 * and reasoning of earlier turns that has no signature of Anthropic's. What came in this shape goes on as it
 * came. */
#include <math.h>

#include "chat/chat_sampling.h"
#include "provider/anthropic.h"

static const char vendor[] = "Anthropic";

/* ---- Can it? ---- */

static int check_sampling(const struct chat_sampling *s, struct error *err)
{
    if (s->temperature > 1)
        return error_set(err, ERROR_UNSUPPORTED, "Anthropic has no 'temperature' above 1: lower it");
    if (fabs(s->presence_penalty) > 0)
        return provider_refuse(vendor, "presence_penalty", err);
    if (fabs(s->frequency_penalty) > 0)
        return provider_refuse(vendor, "frequency_penalty", err);
    return s->has_seed ? provider_refuse(vendor, "seed", err) : 0;
}

static int check_parts(const struct chat_message *m, size_t index, struct error *err)
{
    for (size_t i = 0; i < m->n_parts; i++) {
        enum chat_part_kind kind = m->parts[i].kind;
        bool speaker = m->role == CHAT_USER || m->role == CHAT_TOOL;
        bool refusal = m->role == CHAT_ASSISTANT && str_is(json_text(m->parts[i].raw, "type"), "refusal");
        bool sent_along = kind == CHAT_PART_IMAGE || kind == CHAT_PART_FILE;
        if (kind != CHAT_PART_TEXT && !(sent_along && speaker) && !refusal)
            return error_set(err, ERROR_UNSUPPORTED,
                "messages[%zu].content[%zu] is of a kind that Anthropic does not take there: send text, or "
                "an image "
                "from the user",
                index, i);
    }
    return 0;
}

static int anthropic_supports(const struct provider_model *m, const struct chat_request *r, struct error *err)
{
    static const char *const honoured[] = {"response_format", "reasoning_effort", NULL};
    struct provider_anthropic_plan plan;
    if (r->shape == CHAT_SHAPE_ANTHROPIC) /* it is theirs to judge */
        return 0;
    int rc = provider_check_request(vendor, CHAT_SHAPE_ANTHROPIC, honoured, r, err);
    if (rc == 0)
        rc = check_sampling(&r->sampling, err);
    for (size_t i = 0; i < r->n_messages && rc == 0; i++)
        rc = check_parts(&r->messages[i], i, err);
    return rc ? rc : provider_anthropic_plan(m, r, &plan, err);
}

/* ---- Tools and settings ---- */

static void write_schema(struct json_writer *w, const json_t *parameters)
{
    const char *key;
    json_t *value;
    json_key(w, "input_schema");
    if (json_object_get(parameters, "type")) {
        json_write_value(w, parameters);
        return;
    }
    json_object_begin(w);
    json_member_str(w, "type", STR("object"));
    json_object_foreach((json_t *)(uintptr_t)parameters, key, value)
    {
        json_key(w, key);
        json_write_value(w, value);
    }
    json_object_end(w);
}

/* The tool that stands for the answer, and that it must be called. */
static void write_answer_tool(struct json_writer *w, const struct provider_anthropic_plan *plan)
{
    json_key(w, "tools");
    json_array_begin(w);
    json_object_begin(w);
    json_member_str(w, "name", STR(PROVIDER_ANTHROPIC_ANSWER_TOOL));
    json_member_str(
        w, "description", STR("Gives your answer. Call it exactly once, with all of the answer."));
    write_schema(w, plan->answer);
    json_object_end(w);
    json_array_end(w);
    json_key(w, "tool_choice");
    json_write_raw(w, STR("{\"type\":\"tool\",\"name\":\"" PROVIDER_ANTHROPIC_ANSWER_TOOL "\"}"));
}

static void write_tools(struct json_writer *w, const struct chat_request *r)
{
    json_key(w, "tools");
    json_array_begin(w);
    for (size_t i = 0; i < r->n_tools; i++) {
        const struct chat_tool *t = &r->tools[i];
        json_object_begin(w);
        json_member_str(w, "name", t->name);
        json_maybe_str(w, "description", t->description);
        write_schema(w, t->parameters);
        provider_anthropic_cache_control(w, t->raw);
        json_object_end(w);
    }
    json_array_end(w);
}

static void write_tool_choice(struct json_writer *w, const struct chat_request *r)
{
    static const char *const types[] = {"auto", "auto", "none", "any", "tool"};
    bool one = r->parallel_tool_calls == 0;
    if (r->tool_choice == CHAT_TOOLS_UNSET && !one)
        return;
    json_key(w, "tool_choice");
    json_object_begin(w);
    json_member_text(w, "type", types[r->tool_choice]);
    if (r->tool_choice == CHAT_TOOLS_NAMED)
        json_member_str(w, "name", r->tool_choice_name);
    if (one && r->tool_choice != CHAT_TOOLS_NONE)
        json_member_bool(w, "disable_parallel_tool_use", true);
    json_object_end(w);
}

static void write_settings(
    struct json_writer *w, const struct provider_anthropic_plan *plan, const struct chat_request *r)
{
    json_member_int(w, "max_tokens", plan->max_tokens);
    json_maybe_double(w, "temperature", r->sampling.temperature);
    json_maybe_double(w, "top_p", r->sampling.top_p);
    if (r->sampling.top_k > 0)
        json_member_int(w, "top_k", r->sampling.top_k);
    chat_stops_write(w, "stop_sequences", r);
    if (r->user.len > 0) {
        json_key(w, "metadata");
        json_object_begin(w);
        json_member_str(w, "user_id", r->user);
        json_object_end(w);
    }
    provider_anthropic_plan_write(w, plan);
}

static int write_translated(
    struct json_writer *w, const struct provider_model *m, const struct chat_request *r, struct error *err)
{
    struct provider_anthropic_plan plan;
    int rc = provider_anthropic_plan(m, r, &plan, err);
    if (rc)
        return rc;
    write_settings(w, &plan, r);
    if (plan.answer || plan.any_object) {
        write_answer_tool(w, &plan);
    } else if (r->n_tools > 0) {
        write_tools(w, r);
        write_tool_choice(w, r);
    }
    return 0;
}

/* The client's own members, as they came. */
static void write_native(struct json_writer *w, const struct chat_request *r)
{
    provider_anthropic_rest(w, r->native);
    if (r->n_tools == 0)
        return;
    json_key(w, "tools");
    json_array_begin(w);
    for (size_t i = 0; i < r->n_tools; i++)
        chat_tool_write(w, &r->tools[i]);
    json_array_end(w);
}

int provider_anthropic_encode(
    const struct provider_model *m, const struct chat_request *r, struct buf *out, struct error *err)
{
    struct json_writer w;
    int rc = anthropic_supports(m, r, err);
    if (rc)
        return rc;
    json_writer_init(&w, out);
    json_object_begin(&w);
    json_member_str(&w, "model", m->model);
    if (!r->count_only)
        json_member_bool(&w, "stream", r->stream);
    if (r->shape == CHAT_SHAPE_ANTHROPIC)
        write_native(&w, r);
    else
        rc = write_translated(&w, m, r, err);
    if (rc == 0)
        rc = provider_anthropic_messages(&w, r, err);
    json_object_end(&w);
    return rc ? rc : provider_written(out, err);
}

/* ---- The dialect ---- */

static struct str anthropic_path(
    struct arena *a, const struct provider_model *m, const struct chat_request *r)
{
    (void)a;
    (void)m;
    return r->count_only ? STR("/v1/messages/count_tokens") : STR("/v1/messages");
}

/* A client of this shape says which version and which betas it speaks. */
static size_t anthropic_headers(
    struct arena *a, const struct provider *p, const struct chat_request *r, struct egress_header *out)
{
    size_t n = provider_headers(a, "x-api-key", "", provider_key(p), out);
    bool versioned = false;
    for (size_t i = 0; r->shape == CHAT_SHAPE_ANTHROPIC && i < r->n_headers; i++) {
        bool version = str_is(r->headers[i].name, "anthropic-version");
        if (n + 1 < PROVIDER_HEADERS_MAX && !(version && versioned))
            out[n++] = (struct egress_header){r->headers[i].name, r->headers[i].value};
        versioned |= version;
    }
    if (!versioned)
        out[n++] = (struct egress_header){STR("anthropic-version"), STR("2023-06-01")};
    return n;
}

const struct provider_dialect provider_dialect_anthropic = {.supports = anthropic_supports,
    .encode = provider_anthropic_encode,
    .path = anthropic_path,
    .headers = anthropic_headers,
    .event = provider_anthropic_event,
    .whole = true};

const struct provider_ops provider_anthropic_ops = {
    .kind = "anthropic", .dialects = {&provider_dialect_anthropic}, PROVIDER_REMOTE_CALLS};
