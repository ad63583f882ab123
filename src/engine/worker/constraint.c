#include "engine/worker/constraint.h"

#include "engine/worker/reply_grammar.h"

static int piece(const void *ctx, int32_t id, struct buf *out)
{
    return tokenizer_append_piece(ctx, id, false, out);
}

static bool is_end(const void *ctx, int32_t id)
{
    return tokenizer_is_end(ctx, id);
}

static int vocab_need(struct session *s, struct error *err)
{
    if (s->grammar_vocab)
        return 0;
    /* As many as there are logits: a model may have more than its tokenizer, and those have no text. */
    const struct grammar_vocab_source source = {model_info(s->model)->n_vocab, piece, is_end, s->tokenizer};
    return grammar_vocab_create(&source, &s->grammar_vocab, err);
}

static int32_t special(const void *ctx, struct str text)
{
    int32_t id = tokenizer_find(ctx, text);
    return id >= 0 && tokenizer_is_special(ctx, id) ? id : -1;
}

/* Only tools that must fit their schema, or calls that must not come together, need a grammar beside text. */
static bool tools_are_held(const json_t *tools)
{
    for (size_t i = 0; i < json_array_size(tools); i++)
        if (json_is_true(json_object_get(json_object_get(json_array_get(tools, i), "function"), "strict")))
            return true;
    return false;
}

int constraint_begin(struct session *s, const struct chat_work *work, const struct constraint_prompt *prompt,
    struct constraint *out, struct error *err)
{
    const json_t *tools = json_object_get(work->body, "tools");
    bool has_tools = json_array_size(tools) > 0;
    struct reply_ask ask = {.form = prompt->form,
        .tools = tools,
        .must_call = work->must_call,
        .may_call = has_tools && !work->must_call && prompt->form.syntax,
        .one_call = work->one_call,
        .call_name = work->call_name,
        .schema = work->schema,
        .own_root = work->grammar.data,
        .inside = prompt->inside,
        .may_reason = prompt->may_reason,
        .special = special,
        .ctx = s->tokenizer};
    struct buf text;
    if (!work->grammar.data && !work->schema && !work->must_call &&
        !(ask.may_call && (work->one_call || tools_are_held(tools))))
        return 0;
    buf_init(&text, LIMIT_WIRE_FRAME);
    buf_append_str(&text, work->grammar);
    buf_append_char(&text, '\n');
    int rc = reply_grammar_write(&ask, &text, err);
    if (rc == 0)
        rc = vocab_need(s, err);
    if (rc == 0)
        rc = grammar_parse_from(buf_str(&text), REPLY_GRAMMAR_ROOT, &out->grammar, err);
    if (rc == 0)
        rc = grammar_matcher_create(out->grammar, s->grammar_vocab, &out->matcher, err);
    buf_free(&text);
    if (rc)
        constraint_end(out);
    return rc;
}

void constraint_end(struct constraint *c)
{
    grammar_matcher_free(c->matcher);
    grammar_free(c->grammar);
    *c = (struct constraint){0};
}

int constraint_mask(struct constraint *c, float *logits, struct error *err)
{
    return c->matcher ? grammar_matcher_mask(c->matcher, logits, err) : 1;
}

int constraint_accept(struct constraint *c, int32_t token, struct error *err)
{
    int rc = c->matcher ? grammar_matcher_accept(c->matcher, token, err) : 1;
    if (rc < 0)
        return rc;
    return rc > 0 ? 0 : error_set(err, ERROR_INTERNAL, "a token was drawn that does not fit the grammar");
}
