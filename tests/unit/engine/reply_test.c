#include "engine/worker/reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* What came, as one text: T(...) R(...) C(name arguments), neighbours of a kind joined. */
struct seen {
    struct buf out;
    char last;
};

static void open_kind(struct seen *s, char kind)
{
    if (s->last != kind) {
        if (s->last)
            buf_append_char(&s->out, ')');
        buf_appendf(&s->out, "%c(", kind);
    }
    s->last = kind;
}

static void on_text(void *ctx, struct str text)
{
    open_kind(ctx, 'T');
    buf_append_str(&((struct seen *)ctx)->out, text);
}

static void on_reasoning(void *ctx, struct str text)
{
    open_kind(ctx, 'R');
    buf_append_str(&((struct seen *)ctx)->out, text);
}

static void on_call(void *ctx, struct str name, struct str arguments)
{
    struct seen *s = ctx;
    s->last = s->last ? s->last : ' ';
    if (s->last != ' ')
        buf_append_char(&s->out, ')');
    buf_appendf(&s->out, "C(" STR_FMT " " STR_FMT, STR_ARG(name), STR_ARG(arguments));
    s->last = 'C';
}

struct row {
    enum reply_syntax syntax;
    bool reasons, inside;
    const char *answer, *seen;
};

static const struct row rows[] = {
    {REPLY_PLAIN, true, false, "<think>\nhm\n</think>\n\nHi.", "R(hm\n)T(Hi.)"},
    {REPLY_PLAIN, true, true, "\nhm</think>Hi.", "R(hm)T(Hi.)"},
    {REPLY_PLAIN, true, true, "hm </thin", "R(hm </thin)"},
    {REPLY_PLAIN, true, false, "Hi <think>x</think>", "T(Hi <think>x</think>)"},
    {REPLY_PLAIN, false, false, "<think>x</think>", "T(<think>x</think>)"},
    {REPLY_PLAIN, false, false, " <tool_call>{}</tool_call>", "T( <tool_call>{}</tool_call>)"},
    {REPLY_HERMES, false, false, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>",
        "C(f {\"a\":1})"},
    {REPLY_HERMES, false, false,
        "Ok.<tool_call>{\"name\":\"f\",\"arguments\":{}}</"
        "tool_call>\n<tool_call>\n{\"name\":\"g\",\"arguments\":\"{}\"}\n</tool_call>\n",
        "T(Ok.)C(f {})C(g {})"},
    {REPLY_HERMES, true, false,
        "<think>a</think>\n<tool_call>{\"name\":\"f\",\"arguments\":{\"x\":\"</tool_call>\"}}</tool_call>",
        "R(a)C(f {\"x\":\"</tool_call>\"})"},
    {REPLY_HERMES, false, false, "<tool_call>{\"name\":\"f\",\"arguments\":{}}", "C(f {})"},
    {REPLY_HERMES, false, false, "a <tool_call>no</tool_call> b", "T(a <tool_call>no</tool_call> b)"},
    {REPLY_HERMES, false, false, "1 < 2 <tool", "T(1 < 2 <tool)"},
    {REPLY_LLAMA3, false, false, "{\"name\": \"f\", \"parameters\": {\"q\": \"a;b\"}}",
        "C(f {\"q\":\"a;b\"})"},
    {REPLY_LLAMA3, false, false,
        "<|python_tag|>{\"type\":\"function\",\"name\":\"f\",\"parameters\":{}}; "
        "{\"name\":\"g\",\"parameters\":{}}",
        "C(f {})C(g {})"},
    {REPLY_LLAMA3, false, false, "{\"answer\": 42}", "T({\"answer\": 42})"},
    {REPLY_LLAMA3, false, false, "Hello {}", "T(Hello {})"},
    {REPLY_MISTRAL, false, false,
        "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"a\": [1]}}, {\"name\": \"g\", \"arguments\": {}}]",
        "C(f {\"a\":[1]})C(g {})"},
    {REPLY_MISTRAL, false, false, "[TOOL_CALLS]f[ARGS]{\"a\": 1}[TOOL_CALLS]g[ARGS]{}",
        "C(f {\"a\":1})C(g {})"},
    {REPLY_MISTRAL, false, false, "See [TOOL_CALLS] there", "T(See [TOOL_CALLS] there)"},
};

static void check(const struct row *row, size_t cut, bool bytes)
{
    struct seen s = {.last = 0};
    struct reply r;
    struct error err;
    const struct reply_sink sink = {on_text, on_reasoning, on_call, &s};
    struct str all = str_from(row->answer);
    buf_init(&s.out, 1 << 16);
    reply_init(&r, row->syntax, row->reasons, row->inside, &sink);
    for (size_t i = 0; bytes && i < all.len; i++)
        assert_int_equal(0, reply_push(&r, str_slice(all, i, i + 1), &err));
    if (!bytes) {
        assert_int_equal(0, reply_push(&r, str_slice(all, 0, cut), &err));
        assert_int_equal(0, reply_push(&r, str_slice(all, cut, all.len), &err));
    }
    assert_int_equal(0, reply_finish(&r, &err));
    if (s.last)
        buf_append_char(&s.out, ')');
    if (!str_is(buf_str(&s.out), row->seen))
        fail_msg("%s cut at %zu: %.*s, not %s", row->answer, cut, (int)s.out.len, s.out.data, row->seen);
    reply_free(&r);
    buf_free(&s.out);
}

static void answers_are_taken_apart_wherever_they_are_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t cut = 0; cut <= strlen(rows[i].answer); cut++)
            check(&rows[i], cut, false);
        check(&rows[i], 0, true);
    }
}

static void templates_tell_the_syntax(void **state)
{
    (void)state;
    assert_int_equal(REPLY_HERMES, reply_syntax_of(STR("{{- '\\n<tool_call>\\n{\"name\": ' }}")));
    assert_int_equal(REPLY_PLAIN, reply_syntax_of(STR("<tool_call>\n<function=x>")));
    assert_int_equal(REPLY_MISTRAL, reply_syntax_of(STR("{{- '[TOOL_CALLS] [' }}")));
    assert_int_equal(REPLY_LLAMA3,
        reply_syntax_of(STR("<|start_header_id|>assistant {\"name\": \"x\", \"parameters\": {}}")));
    assert_int_equal(REPLY_PLAIN, reply_syntax_of(STR("{{ messages }}")));
    assert_true(reply_reasons(STR("content.split('</think>')")));
    assert_false(reply_reasons(STR("{{ messages }}")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_taken_apart_wherever_they_are_cut),
        cmocka_unit_test(templates_tell_the_syntax),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
