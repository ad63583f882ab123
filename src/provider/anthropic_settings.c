/* Reasoning and the answer's format, from OpenAI's words into Anthropic's.
 *
 *   reasoning_effort   adaptive thinking and its effort where the model has them, else a budget of tokens
 *   response_format    output_config.format for a strict schema where the model has it, else a tool that it
 * must call, whose input is the answer */
#include "chat/chat_codec.h"
#include "chat/chat_sampling.h"
#include "provider/anthropic.h"

enum { DEFAULT_MAX_TOKENS = 4096, BUDGET_LEAST = 1024, BUDGET_MOST = 32000 };

/* ---- What a model has: dated names begin with these ---- */

static bool begins_with_any(struct str model, const char *const *names)
{
    for (; *names; names++)
        if (str_starts(model, str_from(*names)))
            return true;
    return false;
}

static bool has_thinking(struct str model)
{
    static const char *const without[] = {"claude-2", "claude-instant", "claude-3-haiku", "claude-3-sonnet",
        "claude-3-opus", "claude-3-5", NULL};
    return !begins_with_any(model, without);
}

static bool has_adaptive(struct str model)
{
    static const char *const with[] = {"claude-opus-4-6", "claude-opus-4-7", "claude-opus-4-8",
        "claude-sonnet-4-6", "claude-opus-5", "claude-sonnet-5", "claude-haiku-5", NULL};
    return begins_with_any(model, with);
}

static bool has_format(struct str model)
{
    static const char *const without[] = {"claude-2", "claude-instant", "claude-3", "claude-sonnet-4-0",
        "claude-sonnet-4-2", "claude-opus-4-0", "claude-opus-4-2", NULL};
    return !begins_with_any(model, without);
}

/* ---- Format ---- */

static int plan_format(const struct provider_model *m, const struct chat_request *r,
    struct provider_anthropic_plan *p, struct error *err)
{
    struct str grammar, type = json_text(json_object_get(r->vendor, "response_format"), "type");
    const json_t *schema;
    int rc = chat_constraint_read(r, &grammar, &schema, err);
    if (rc)
        return rc;
    const json_t *format = json_object_get(json_object_get(r->vendor, "response_format"), "json_schema");
    bool strict = json_is_true(json_object_get(format, "strict"));
    bool tools = r->n_tools > 0 && r->tool_choice != CHAT_TOOLS_NONE;
    if (schema && has_format(m->model) && (strict || tools)) {
        p->schema = schema;
        return 0;
    }
    p->answer = schema;
    p->any_object = !schema && str_is(type, "json_object");
    if ((p->answer || p->any_object) && tools)
        return error_set(err, ERROR_UNSUPPORTED,
            "'response_format' as it is given cannot be had beside 'tools' of %.*s: send one of them, or a "
            "json_schema to a later model",
            (int)str_slice(m->model, 0, 80).len, m->model.data);
    return 0;
}

/* ---- Reasoning ---- */

/* A model that thinks wants to see the thought that led to a call when it sees the call's result; a client
 * that did not keep it goes on without. */
static bool thought_is_missing(const struct chat_request *r)
{
    for (size_t i = r->n_messages; i-- > 0;) {
        const struct chat_message *m = &r->messages[i];
        if (m->role == CHAT_USER)
            return false;
        if (m->role == CHAT_ASSISTANT)
            return m->n_thoughts == 0;
    }
    return false;
}

static int64_t budget_of(int64_t tenths, int64_t max_tokens)
{
    int64_t budget = max_tokens / 10 * tenths;
    budget = budget < BUDGET_LEAST ? BUDGET_LEAST : budget > BUDGET_MOST ? BUDGET_MOST : budget;
    return budget < max_tokens ? budget : 0;
}

/* What Anthropic refuses beside thinking. */
static int check_beside_thinking(const struct chat_request *r, struct error *err)
{
    const struct chat_sampling *s = &r->sampling;
    if (s->temperature >= 0 && (s->temperature < 1 || s->temperature > 1))
        return error_set(err, ERROR_UNSUPPORTED,
            "Anthropic takes no 'temperature' beside 'reasoning_effort': leave one of them out");
    if (s->top_k > 0 || (s->top_p >= 0 && s->top_p < 0.95))
        return error_set(err, ERROR_UNSUPPORTED,
            "Anthropic takes no 'top_k', and no 'top_p' below 0.95, beside 'reasoning_effort': leave one of "
            "them "
            "out");
    if (r->tool_choice == CHAT_TOOLS_REQUIRED || r->tool_choice == CHAT_TOOLS_NAMED)
        return error_set(err, ERROR_UNSUPPORTED,
            "Anthropic cannot be made to call a tool beside 'reasoning_effort': leave one of them out");
    return 0;
}

int provider_anthropic_plan_reasoning(const struct provider_model *m, const struct chat_request *r,
    struct provider_anthropic_plan *p, struct error *err)
{
    static const struct {
        const char *effort;
        int64_t tenths; /* of max_tokens */
    } theirs[CHAT_EFFORTS] = {
        {NULL, 0}, {"low", 1}, {"low", 2}, {"medium", 5}, {"high", 8}, {"high", 8}, {"max", 8}};
    const json_t *asked = json_object_get(r->vendor, "reasoning_effort");
    size_t at;
    if (!asked || json_is_null(asked))
        return 0;
    int rc = chat_effort_read(json_str(asked), &at, err);
    if (rc || at == 0)
        return rc;
    if (!has_thinking(m->model))
        return error_set(err, ERROR_UNSUPPORTED,
            "the model has no 'reasoning_effort': leave it out or choose another model");
    /* A forced call leaves no room for thoughts, and neither does a small maximum. */
    if (p->answer || p->any_object || thought_is_missing(r))
        return 0;
    if (has_adaptive(m->model)) {
        p->effort = theirs[at].effort;
        return check_beside_thinking(r, err);
    }
    p->budget = budget_of(theirs[at].tenths, p->max_tokens);
    return p->budget > 0 ? check_beside_thinking(r, err) : 0;
}

int64_t provider_anthropic_max_tokens(const struct provider_model *m, const struct chat_request *r)
{
    return r->max_tokens >= 0 ? r->max_tokens : m->max_output > 0 ? m->max_output : DEFAULT_MAX_TOKENS;
}

int provider_anthropic_plan(const struct provider_model *m, const struct chat_request *r,
    struct provider_anthropic_plan *out, struct error *err)
{
    *out = (struct provider_anthropic_plan){.max_tokens = provider_anthropic_max_tokens(m, r)};
    int rc = plan_format(m, r, out, err);
    return rc ? rc : provider_anthropic_plan_reasoning(m, r, out, err);
}

void provider_anthropic_plan_write(struct json_writer *w, const struct provider_anthropic_plan *p)
{
    if (p->effort || p->budget > 0) {
        json_key(w, "thinking");
        json_object_begin(w);
        json_member_str(w, "type", p->effort ? STR("adaptive") : STR("enabled"));
        if (!p->effort)
            json_member_int(w, "budget_tokens", p->budget);
        json_object_end(w);
    }
    if (!p->effort && !p->schema)
        return;
    json_key(w, "output_config");
    json_object_begin(w);
    if (p->effort)
        json_member_str(w, "effort", str_from(p->effort));
    if (p->schema) {
        json_key(w, "format");
        json_object_begin(w);
        json_member_str(w, "type", STR("json_schema"));
        json_key(w, "schema");
        json_write_value(w, p->schema);
        json_object_end(w);
    }
    json_object_end(w);
}
