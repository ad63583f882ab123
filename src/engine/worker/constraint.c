#include "engine/worker/constraint.h"

#include "engine/worker/json_schema.h"

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

int constraint_begin(
    struct session *s, const struct chat_work *work, struct constraint *out, struct error *err)
{
    struct buf text;
    int rc = 0;
    *out = (struct constraint){0};
    if (!work->grammar.data && !work->schema)
        return 0;
    buf_init(&text, LIMIT_WIRE_FRAME);
    if (work->schema)
        rc = json_schema_grammar(work->schema, &text, err);
    if (rc == 0)
        rc = vocab_need(s, err);
    if (rc == 0)
        rc = grammar_parse(work->schema ? buf_str(&text) : work->grammar, &out->grammar, err);
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
