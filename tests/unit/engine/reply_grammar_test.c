/* Constrained answers of every family, read back. */
#include "engine/worker/reply_grammar.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/worker/reply.h"
#include "grammar_rig.h"
#include "schema_rig.h"

static struct grammar_vocab *vocab;

static int setup(void **state)
{
    struct error err;
    (void)state;
    return grammar_vocab_create(&rig_source, &vocab, &err);
}

static int teardown(void **state)
{
    (void)state;
    grammar_vocab_free(vocab);
    return 0;
}

/* ---- Random answers that come to an end ---- */

enum { MARKS = 12 };

struct guide {
    struct str marks[MARKS]; /* what is finished once it was begun */
    size_t n;
    struct str special; /* RIG_SPECIAL is written so */
    int patience;       /* steps before it hurries */
};

static void guide_add(struct guide *g, const char *mark)
{
    if (mark && *mark && g->n < MARKS)
        g->marks[g->n++] = str_from(mark);
}

static struct guide guide_of(const struct reply_form *form, bool special)
{
    struct guide g = {.n = 0};
    const struct reply_syntax *s = form->syntax;
    if (s) {
        guide_add(&g, s->value_end);
        guide_add(&g, s->call_close);
        guide_add(&g, s->close);
        guide_add(&g, s->open);
        guide_add(&g, s->call_open);
        guide_add(&g, s->payload == PAYLOAD_GEMMA ? "<|\"|>" : NULL);
        guide_add(&g, s->payload == PAYLOAD_CHANNEL ? "<|end|>" : NULL);
        if (special)
            g.special = reply_mark(s->open);
    }
    if (form->thinking)
        guide_add(&g, form->thinking->close);
    g.patience = (int)below(60);
    return g;
}

static float weight(const struct guide *g, struct str so_far, int32_t id, int step)
{
    static const char closing[] = "0]})x\"";
    float w = (float)below(1 << 20) + (id == RIG_END ? 3e5f : 0);
    if (id >= 256 && id != RIG_END && id != RIG_SPECIAL)
        return w;
    for (size_t i = 0; i < g->n && id < 256; i++)
        for (size_t n = g->marks[i].len - 1; n > 0; n--)
            if (g->marks[i].data[n] == (char)id && str_ends(so_far, str_slice(g->marks[i], 0, n)) &&
                (step > g->patience || below(4) == 0)) {
                w += 2e7f + 1e5f * (float)n;
                break;
            }
    if (step > g->patience && id < 256 && id > 0 && strchr(closing, id))
        w += 3e6f + 1e6f * (float)(strchr(closing, id) - closing);
    if (step > g->patience && (id == '<' || id == '\n' || id == '`'))
        w += 9.5e6f;
    if (step > g->patience && (id == RIG_END || id == 'n' || id == 'N'))
        w += id != RIG_END ? 2e6f : 1e8f;
    return w;
}

static int32_t draw(const struct guide *g, struct str so_far, const float *fits, int step)
{
    int32_t best = -1;
    float most = -INFINITY;
    for (int32_t id = 0; id < RIG_VOCAB; id++) {
        float w = isinf(fits[id]) ? -INFINITY : weight(g, so_far, id, step);
        if (w > most) {
            most = w;
            best = id;
        }
    }
    return best;
}

enum { STEPS_MAX = 500 };

/* False where it did not come to an end. */
static bool answer_random(struct grammar_matcher *m, const struct guide *g, struct buf *out)
{
    struct error err = {0};
    for (int step = 0; step < STEPS_MAX; step++) {
        float logits[RIG_VOCAB] = {0};
        int rc = grammar_matcher_mask(m, logits, &err);
        if (rc != 1)
            fail_msg("after %.*s: %s", (int)out->len, out->data, err.message);
        int32_t id = draw(g, buf_str(out), logits, step);
        assert_int_equal(1, grammar_matcher_accept(m, id, &err));
        if (id == RIG_END)
            return true;
        if (id == RIG_SPECIAL)
            buf_append_str(out, g->special);
        else
            rig_piece(NULL, id, out);
    }
    return false;
}

/* ---- Reading them back ---- */

struct heard {
    struct buf text;
    char names[64][32];
    struct buf arguments[64];
    size_t n;
};

static void on_text(void *ctx, struct str text)
{
    buf_append_str(&((struct heard *)ctx)->text, text);
}

static void on_reasoning(void *ctx, struct str text)
{
    (void)ctx;
    (void)text;
}

static void on_call(void *ctx, size_t index, struct str name, struct str arguments)
{
    struct heard *h = ctx;
    if (name.len > 0) {
        assert_int_equal(h->n, index);
        assert_true(h->n < 64);
        snprintf(h->names[h->n], 32, STR_FMT, STR_ARG(name));
        buf_init(&h->arguments[h->n++], 1 << 20);
    }
    assert_int_equal(h->n, index + 1);
    buf_append_str(&h->arguments[index], arguments);
}

static void hear(const struct reply_ask *ask, struct str answer, struct heard *h)
{
    struct reply r;
    struct error err;
    const struct reply_sink sink = {on_text, on_reasoning, on_call, h};
    size_t piece = 1 + below(40);
    memset(h, 0, sizeof *h);
    buf_init(&h->text, 1 << 20);
    reply_init(&r, ask->form, ask->inside, ask->tools, &sink);
    for (size_t i = 0, end; i < answer.len; i = end) {
        end = i + piece < answer.len ? i + piece : answer.len;
        while (end < answer.len && ((unsigned char)answer.data[end] & 0xC0) == 0x80)
            end++;
        assert_int_equal(0, reply_push(&r, str_slice(answer, i, end), &err));
    }
    assert_int_equal(0, reply_finish(&r, &err));
    reply_free(&r);
}

static void heard_free(struct heard *h)
{
    buf_free(&h->text);
    for (size_t i = 0; i < h->n; i++)
        buf_free(&h->arguments[i]);
}

static void calls_check(const struct reply_ask *ask, struct str answer, const struct heard *h)
{
    for (size_t i = 0; i < h->n; i++) {
        const json_t *schema = reply_tool_schema(ask->tools, str_from(h->names[i]));
        json_error_t why;
        /* Two members of a map may have one name. */
        json_t *tree = json_loadb(h->arguments[i].data, h->arguments[i].len, 0, &why);
        if (!tree || !schema || !valid(schema, schema, tree)) {
            char *text = json_dumps(schema, 0);
            fail_msg("%s: %s%.*s is not valid under %s: from\n%.*s", ask->form.syntax->name, h->names[i],
                (int)h->arguments[i].len, h->arguments[i].data, text, (int)answer.len, answer.data);
        }
        json_decref(tree);
    }
}

/* ---- Rounds ---- */

static json_t *tools_random(void)
{
    json_t *list = json_array();
    for (uint32_t i = 0, n = 1 + below(3); i < n; i++) {
        char name[32];
        snprintf(name, sizeof name, "tool_%u", i);
        json_t *parameters = object_random(2, false);
        json_object_set_new(parameters, "additionalProperties", json_false());
        /* What is required must be there to be named. */
        json_array_append_new(list, json_pack("{s:s,s:{s:s,s:b,s:o}}", "type", "function", "function", "name",
                                        name, "strict", 1, "parameters", parameters));
    }
    return list;
}

static bool has_special;

static int32_t special(const void *ctx, struct str text)
{
    return has_special && str_eq(text, *(const struct str *)ctx) ? RIG_SPECIAL : -1;
}

static struct reply_ask ask_random(const struct reply_syntax *s, const json_t *tools)
{
    size_t n;
    const struct reply_thinking *t = reply_thinkings(&n);
    struct reply_ask ask = {
        .form = {s, below(2) ? &t[below((uint32_t)n)] : NULL}, .tools = tools, .special = special};
    if (s->payload == PAYLOAD_CHANNEL)
        ask.form.thinking = NULL;
    ask.must_call = below(2);
    ask.may_call = !ask.must_call;
    ask.one_call = below(3) == 0;
    ask.inside = ask.form.thinking && below(2);
    ask.may_reason = ask.form.thinking && !ask.inside;
    if (ask.must_call && below(4) == 0)
        ask.call_name = STR("tool_0");
    return ask;
}

/* 1: the answer was complete. */
static int round_run(const struct reply_syntax *s)
{
    struct error err = {0};
    struct grammar *g;
    struct grammar_matcher *m;
    struct buf text, answer;
    struct heard heard;
    json_t *tools = tools_random();
    struct reply_ask ask = ask_random(s, tools);
    struct str open = reply_mark(s->open);
    has_special = below(2) && open.len > 0;
    ask.ctx = &open;
    buf_init(&text, 1 << 22);
    buf_init(&answer, 1 << 20);
    int rc = reply_grammar_write(&ask, &text, &err);
    if (rc == ERROR_UNSUPPORTED) /* a name that the family cannot write */
        goto out;
    if (rc)
        fail_msg("%s: %s", s->name, err.message);
    if (grammar_parse_from(buf_str(&text), REPLY_GRAMMAR_ROOT, &g, &err))
        fail_msg("%s: %s in\n%.*s", s->name, err.message, (int)text.len, text.data);
    assert_int_equal(0, grammar_matcher_create(g, vocab, &m, &err));
    struct guide guide = guide_of(&ask.form, has_special);
    if (answer_random(m, &guide, &answer)) {
        rc = 1;
        hear(&ask, buf_str(&answer), &heard);
        calls_check(&ask, buf_str(&answer), &heard);
        if (ask.must_call && heard.n == 0)
            fail_msg("%s: no call in\n%.*s", s->name, (int)answer.len, answer.data);
        if (ask.must_call && str_trim(buf_str(&heard.text)).len > 0)
            fail_msg("%s: text in\n%.*s", s->name, (int)answer.len, answer.data);
        if (ask.one_call && heard.n > 1)
            fail_msg("%s: more than one call in\n%.*s", s->name, (int)answer.len, answer.data);
        heard_free(&heard);
    }
    grammar_matcher_free(m);
    grammar_free(g);
out:
    buf_free(&text);
    buf_free(&answer);
    json_decref(tools);
    return rc;
}

/* WEIR_ROUNDS asks for more. */
enum { ROUNDS = 60 };

static void constrained_calls_read_back_and_fit_their_tools(void **state)
{
    size_t n, complete = 0, rounds = getenv("WEIR_ROUNDS") ? (size_t)atoi(getenv("WEIR_ROUNDS")) : ROUNDS,
              least = rounds;
    const struct reply_syntax *s = reply_syntaxes(&n);
    (void)state;
    rand_pcg_seed(&dice, 7);
    for (size_t i = 0; i < n; i++) {
        size_t done = 0;
        for (size_t k = 0; k < rounds; k++)
            done += round_run(&s[i]) == 1;
        complete += done;
        least = done < least ? done : least;
    }
    print_message("%zu answers of %zu families were complete, at least %zu of each\n", complete, n, least);
    assert_true(least >= rounds / 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(constrained_calls_read_back_and_fit_their_tools),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
