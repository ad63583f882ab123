/* Asking Amazon Bedrock: POST /model/MODEL/converse or converse-stream, one shape for all the models it has.
 * Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html
 *
 * What the shape has no word for is refused by name. Cache points of other shapes are left out: they change
 * the price, not the answer. */
#include <string.h>

#include "base/ascii.h"
#include "base/clock.h"
#include "base/limits.h"
#include "chat/chat_codec.h"
#include "chat/chat_sampling.h"
#include "provider/anthropic.h"
#include "provider/bedrock.h"

static const char vendor[] = "Bedrock";

/* ---- Which model it is ---- */

/* "eu.anthropic.claude-sonnet-4-5-20250929-v1:0" --> "claude-sonnet-4-5-20250929-v1:0"; else STR_NONE. */
static struct str claude_name(struct str model)
{
    size_t at = str_find(model, STR("anthropic."));
    return at == SIZE_MAX ? STR_NONE : str_slice(model, at + strlen("anthropic."), model.len);
}

static bool is_gpt(struct str model)
{
    return str_find(model, STR("openai.")) != SIZE_MAX;
}

/* Anthropic's models on Bedrock want Anthropic's own members for reasoning. */
static int plan_reasoning(const struct provider_model *m, const struct chat_request *r,
    struct provider_anthropic_plan *plan, struct error *err)
{
    struct provider_model claude = {.model = claude_name(m->model), .max_output = m->max_output};
    *plan = (struct provider_anthropic_plan){.max_tokens = provider_anthropic_max_tokens(m, r)};
    if (claude.model.len > 0)
        return provider_anthropic_plan_reasoning(&claude, r, plan, err);
    if (is_gpt(m->model) || !provider_asks(r->vendor, "reasoning_effort") || r->shape != CHAT_SHAPE_OPENAI)
        return 0; /* what another shape said of reasoning is a hint */
    return error_set(
        err, ERROR_UNSUPPORTED, "the model has no 'reasoning_effort': leave it out or choose another model");
}

/* ---- Can it? ---- */

static bool has_calls(const struct chat_request *r)
{
    for (size_t i = 0; i < r->n_messages; i++)
        if (r->messages[i].n_tool_calls > 0)
            return true;
    return false;
}

static int check_settings(const struct provider_model *m, const struct chat_request *r, struct error *err)
{
    static const char *const known[] = {"temperature", "top_p", "top_k", "repeat_last_n", NULL};
    const char *beyond = provider_beyond(r, known);
    bool tools = r->n_tools > 0 && r->tool_choice != CHAT_TOOLS_NONE;
    if (r->has_prompt)
        return error_set(err, ERROR_UNSUPPORTED, "%s continues no bare prompt: send messages", vendor);
    if (beyond)
        return provider_refuse(vendor, beyond, err);
    if (r->sampling.has_seed)
        return provider_refuse(vendor, "seed", err);
    if (r->sampling.top_k > 0 && claude_name(m->model).len == 0)
        return provider_refuse(vendor, "top_k", err);
    if (tools && r->parallel_tool_calls == 0)
        return error_set(err, ERROR_UNSUPPORTED,
            "Bedrock has no 'parallel_tool_calls': false: leave it out or choose another model");
    if (r->tool_choice == CHAT_TOOLS_NONE && has_calls(r))
        return error_set(err, ERROR_UNSUPPORTED,
            "Bedrock has no 'tool_choice': none after tools were called: leave it out or choose another "
            "model");
    return 0;
}

static int check_format(const struct chat_request *r, struct error *err)
{
    struct str grammar, type = json_text(json_object_get(r->vendor, "response_format"), "type");
    const json_t *schema;
    int rc = chat_constraint_read(r, &grammar, &schema, err);
    if (rc == 0 && grammar.len > 0)
        rc = provider_refuse(vendor, "grammar", err);
    if (rc == 0 && str_is(type, "json_object"))
        rc = error_set(err, ERROR_UNSUPPORTED,
            "Bedrock has no 'response_format' of type json_object: give a json_schema");
    return rc;
}

static int bedrock_supports(const struct provider_model *m, const struct chat_request *r, struct error *err)
{
    static const char *const honoured[] = {"response_format", "reasoning_effort", NULL};
    struct provider_anthropic_plan plan;
    int rc = r->count_only ? provider_refuse(vendor, "count_tokens", err)
                           : provider_check_members(vendor, CHAT_SHAPE_BEDROCK, honoured, r, err);
    if (rc == 0)
        rc = check_settings(m, r, err);
    if (rc == 0)
        rc = check_format(r, err);
    if (rc == 0)
        rc = provider_bedrock_check_parts(r, err);
    return rc ? rc : plan_reasoning(m, r, &plan, err);
}

/* ---- Tools ---- */

static void write_tool(
    struct json_writer *w, struct str name, struct str description, const json_t *parameters)
{
    json_object_begin(w);
    json_key(w, "toolSpec");
    json_object_begin(w);
    json_member_str(w, "name", name);
    json_maybe_str(w, "description", description);
    json_key(w, "inputSchema");
    json_object_begin(w);
    json_key(w, "json");
    if (json_object_size(parameters) > 0)
        json_write_value(w, parameters);
    else
        json_write_raw(w, STR("{\"type\":\"object\",\"properties\":{}}"));
    json_object_end(w);
    json_object_end(w);
    json_object_end(w);
}

static bool called_before(const struct chat_request *r, size_t message, size_t call)
{
    for (size_t i = 0; i <= message; i++)
        for (size_t k = 0; k < (i < message ? r->messages[i].n_tool_calls : call); k++)
            if (str_eq(r->messages[i].tool_calls[k].name, r->messages[message].tool_calls[call].name))
                return true;
    return false;
}

/* Bedrock refuses calls of earlier turns where no tools are declared: those that were called are. */
static void write_called_tools(struct json_writer *w, const struct chat_request *r)
{
    for (size_t i = 0; i < r->n_messages; i++)
        for (size_t k = 0; k < r->messages[i].n_tool_calls; k++)
            if (!called_before(r, i, k))
                write_tool(w, r->messages[i].tool_calls[k].name, STR_NONE, NULL);
}

static void write_tool_choice(struct json_writer *w, const struct chat_request *r)
{
    if (r->tool_choice != CHAT_TOOLS_REQUIRED && r->tool_choice != CHAT_TOOLS_NAMED)
        return;
    json_key(w, "toolChoice");
    json_object_begin(w);
    json_key(w, r->tool_choice == CHAT_TOOLS_NAMED ? "tool" : "any");
    json_object_begin(w);
    if (r->tool_choice == CHAT_TOOLS_NAMED)
        json_member_str(w, "name", r->tool_choice_name);
    json_object_end(w);
    json_object_end(w);
}

static void write_tools(struct json_writer *w, const struct chat_request *r)
{
    bool declared = r->n_tools > 0 && r->tool_choice != CHAT_TOOLS_NONE;
    if (!declared && !has_calls(r))
        return;
    json_key(w, "toolConfig");
    json_object_begin(w);
    json_key(w, "tools");
    json_array_begin(w);
    for (size_t i = 0; i < r->n_tools && declared; i++)
        write_tool(w, r->tools[i].name, r->tools[i].description, r->tools[i].parameters);
    if (!declared)
        write_called_tools(w, r);
    json_array_end(w);
    if (declared)
        write_tool_choice(w, r);
    json_object_end(w);
}

/* ---- Settings ---- */

static void write_inference(struct json_writer *w, const struct provider_model *m,
    const struct provider_anthropic_plan *plan, const struct chat_request *r)
{
    int64_t most = r->max_tokens >= 0 ? r->max_tokens : plan->budget > 0 ? plan->max_tokens : m->max_output;
    json_key(w, "inferenceConfig");
    json_object_begin(w);
    if (most > 0)
        json_member_int(w, "maxTokens", most);
    json_maybe_double(w, "temperature", r->sampling.temperature);
    json_maybe_double(w, "topP", r->sampling.top_p);
    chat_stops_write(w, "stopSequences", r);
    json_object_end(w);
}

/* What the models have of their own. */
static void write_additional(struct json_writer *w, const struct provider_model *m,
    const struct provider_anthropic_plan *plan, const struct chat_request *r)
{
    struct str effort = json_text(r->vendor, "reasoning_effort");
    bool gpt = is_gpt(m->model) && effort.len > 0 && !str_is(effort, "none");
    if (!gpt && r->sampling.top_k <= 0 && !plan->effort && plan->budget <= 0)
        return;
    json_key(w, "additionalModelRequestFields");
    json_object_begin(w);
    if (r->sampling.top_k > 0)
        json_member_int(w, "top_k", r->sampling.top_k);
    if (gpt)
        json_member_str(w, "reasoning_effort", effort);
    provider_anthropic_plan_write(w, plan);
    json_object_end(w);
}

/* The schema goes as the text of one. */
static void write_format(struct json_writer *w, const struct chat_request *r)
{
    const json_t *format = json_object_get(json_object_get(r->vendor, "response_format"), "json_schema");
    const json_t *schema = json_object_get(format, "schema");
    struct str name = json_text(format, "name");
    struct json_writer inner;
    struct buf text;
    if (!schema)
        return;
    buf_init(&text, 2 * LIMIT_HTTP_BODY);
    json_writer_init(&inner, &text);
    json_write_value(&inner, schema);
    json_key(w, "outputConfig");
    json_object_begin(w);
    json_key(w, "textFormat");
    json_object_begin(w);
    json_member_str(w, "type", STR("json_schema"));
    json_key(w, "structure");
    json_object_begin(w);
    json_key(w, "jsonSchema");
    json_object_begin(w);
    json_member_str(w, "schema", buf_str(&text));
    json_maybe_str(w, "name", name);
    json_object_end(w);
    json_object_end(w);
    json_object_end(w);
    json_object_end(w);
    if (text.failed)
        w->buf->failed = text.failed;
    buf_free(&text);
}

int provider_bedrock_encode(
    const struct provider_model *m, const struct chat_request *r, struct buf *out, struct error *err)
{
    struct provider_anthropic_plan plan;
    struct json_writer w;
    int rc = bedrock_supports(m, r, err);
    if (rc == 0)
        rc = plan_reasoning(m, r, &plan, err);
    if (rc)
        return rc;
    json_writer_init(&w, out);
    json_object_begin(&w);
    rc = provider_bedrock_messages(&w, m, r, err);
    write_tools(&w, r);
    write_inference(&w, m, &plan, r);
    write_additional(&w, m, &plan, r);
    write_format(&w, r);
    json_object_end(&w);
    return rc ? rc : provider_written(out, err);
}

/* ---- The dialect ---- */

struct str provider_bedrock_path(struct arena *a, const struct provider_model *m, const char *operation)
{
    struct buf model;
    buf_init(&model, 8 * KIB);
    ascii_escape(&model, m->model, ""); /* an ARN has slashes */
    struct str path = arena_printf(a, "/model/" STR_FMT "/%s", STR_ARG(buf_str(&model)), operation);
    buf_free(&model);
    return path;
}

static struct str bedrock_path(struct arena *a, const struct provider_model *m, const struct chat_request *r)
{
    return provider_bedrock_path(a, m, r->stream ? "converse-stream" : "converse");
}

/* A key of Bedrock's own goes as it is; else the request is signed. */
static size_t bedrock_headers(
    struct arena *a, const struct provider *p, const struct chat_request *r, struct egress_header *out)
{
    size_t n = provider_headers(a, "Authorization", "Bearer ", provider_key(p), out);
    (void)r;
    out[1].value = STR("application/vnd.amazon.eventstream");
    return n;
}

size_t provider_bedrock_sign(struct arena *a, const struct provider *p, const struct egress_request *request,
    struct egress_header *out)
{
    const struct egress_header type = {STR("content-type"), STR("application/json")};
    if (p->api_key_len > 0)
        return 0;
    const struct aws_request r = {.method = request->method,
        .host = egress_target_host(p->target),
        .path =
            arena_printf(a, STR_FMT STR_FMT, STR_ARG(egress_target_path(p->target)), STR_ARG(request->path)),
        .query = STR_NONE,
        .headers = &type,
        .n_headers = 1,
        .body = request->body,
        .region = p->region,
        .service = STR("bedrock"),
        .wall_ms = clock_wall_ms()};
    return aws_sign(a, &p->credentials, &r, out);
}

const struct provider_dialect provider_dialect_bedrock = {.supports = bedrock_supports,
    .encode = provider_bedrock_encode,
    .path = bedrock_path,
    .headers = bedrock_headers,
    .event = provider_bedrock_event,
    .sign = provider_bedrock_sign,
    .whole = true};

const struct provider_ops provider_bedrock_ops = {.kind = "bedrock",
    .dialects = {&provider_dialect_bedrock, &provider_embed_bedrock},
    PROVIDER_REMOTE_CALLS};
