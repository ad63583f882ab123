#include "engine/worker/reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "reply_rig.h"

struct row {
    const char *syntax;   /* NULL: none */
    const char *thinking; /* the sign in the template; NULL: none */
    bool inside;
    const char *answer, *seen;
};

#define D "\xEF\xBD\x9C"
#define U "\xE2\x96\x81"
#define DS(name) "<" D "tool" U name D ">"
#define ML D "DSML" D

static const struct row rows[] = {
    {NULL, "</think>", false, "<think>\nhm\n</think>\n\nHi.", "R(hm\n)T(Hi.)"},
    {NULL, "</think>", true, "\nhm</think>Hi.", "R(hm)T(Hi.)"},
    {NULL, "</think>", true, "hm </thin", "R(hm </thin)"},
    {NULL, "</think>", false, "Hi <think>x</think>", "T(Hi <think>x</think>)"},
    {NULL, NULL, false, "<think>x</think>", "T(<think>x</think>)"},
    {NULL, NULL, false, " <tool_call>{}</tool_call>", "T( <tool_call>{}</tool_call>)"},
    {NULL, "[/THINK]", false, "[THINK]a[/THINK]b", "R(a)T(b)"},
    {NULL, "</seed:think>", false, "<seed:think>a</seed:think>\nb", "R(a)T(b)"},
    {NULL, "<|END_THINKING|>", false,
        "<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>b<|END_RESPONSE|>", "R(a)T(b)"},
    {NULL, "<|channel>", false, "<|channel>thought\nhm\n<channel|>Hi", "R(hm\n)T(Hi)"},
    {NULL, "[BEGIN FINAL RESPONSE]", true, "one\ntwo\n[BEGIN FINAL RESPONSE]\nHi\n[END FINAL RESPONSE]",
        "R(one\ntwo\n)T(Hi\n)"},
    {NULL, "</response>", false, "<think>a</think>\n<response>b</response>", "R(a)T(b)"},
    {NULL, "<|inner_suffix|>", false, "<|inner_prefix|>a<|inner_suffix|>b", "R(a)T(b)"},
    {"hermes", NULL, false, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>",
        "C(f {\"a\": 1})"},
    {"hermes", NULL, false,
        "Ok.<tool_call>{\"name\":\"f\",\"arguments\":{}}</"
        "tool_call>\n<tool_call>\n{\"name\":\"g\",\"arguments\":\"{}\"}\n</tool_call>\n",
        "T(Ok.)C(f {})C(g {})"},
    {"hermes", "</think>", false,
        "<think>a</think>\n<tool_call>{\"name\":\"f\",\"arguments\":{\"x\":\"</tool_call>\"}}</tool_call>",
        "R(a)C(f {\"x\":\"</tool_call>\"})"},
    {"hermes", NULL, false, "<tool_call>{\"name\":\"f\",\"arguments\":{}}", "C(f {})"},
    {"hermes", NULL, false, "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":", "C(f {\"a\":)"},
    {"hermes", NULL, false, "<tool_call>{\"arguments\":{\"a\":[1,\"}\"]},\"name\":\"f\"}</tool_call> after",
        "C(f {\"a\":[1,\"}\"]})T(after)"},
    {"hermes", NULL, false, "<tool_call>{\"name\":\"f\"}</tool_call>", "C(f {})"},
    {"hermes", NULL, false,
        "<tool_call>[{\"name\":\"f\",\"arguments\":{}},{\"name\":\"g\",\"arguments\":{\"b\":\"é\"}}]</"
        "tool_call>",
        "C(f {})C(g {\"b\":\"é\"})"},
    {"hermes", NULL, false, "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":1}, \"id\": 5}</tool_call>x",
        "C(f {\"a\":1})T(x)"},
    {"hermes", NULL, false, "a <tool_call>no</tool_call> b", "T(a <tool_call>no</tool_call> b)"},
    {"hermes", NULL, false, "<tool_call>{\"x\": 1}</tool_call>", "T(<tool_call>{\"x\": 1}</tool_call>)"},
    {"hermes", NULL, false, "<tool_call>oops<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>",
        "T(<tool_call>oops)C(f {})"},
    {"hermes", NULL, false, "<tool_call>{\"name\": 5, \"arguments\": {}}</tool_call>",
        "T(<tool_call>{\"name\": 5, \"arguments\": {}}</tool_call>)"},
    {"hermes", NULL, false, "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":nope}}</tool_call>.",
        "C(f {\"a\":nope}})T(.)"},
    {"hermes", NULL, false, "<tool_call>[{\"name\":\"f\",\"arguments\": {\"a\":1},)\"id\":1}]</tool_call>",
        "C(f {\"a\":1})T(,)\"id\":1}]</tool_call>)"}, /* the space came alone: nothing was streamed */
    {"hermes", NULL, false, "1 < 2 <tool", "T(1 < 2 <tool)"},
    {"llama3", NULL, false, "{\"name\": \"f\", \"parameters\": {\"q\": \"a;b\"}}", "C(f {\"q\": \"a;b\"})"},
    {"llama3", NULL, false,
        "<|python_tag|>{\"type\":\"function\",\"name\":\"f\",\"parameters\":{}}; "
        "{\"name\":\"g\",\"parameters\":{}}",
        "C(f {})C(g {})"},
    {"llama3", NULL, false, "{\"answer\": 42}", "T({\"answer\": 42})"},
    {"llama3", NULL, false, "{\"name\": \"Bob\", \"age\": 3}", "T({\"name\": \"Bob\", \"age\": 3})"},
    {"llama3", NULL, false, "Hello {}", "T(Hello {})"},
    {"llama3", NULL, false, "{\"name\": \"f\", \"par", "T({\"name\": \"f\", \"par)"},
    {"mistral", NULL, false,
        "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"a\": [1]}}, {\"name\": \"g\", \"arguments\": {}}]",
        "C(f {\"a\": [1]})C(g {})"},
    {"mistral", NULL, false, "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {}}]\t\t: x",
        "C(f {})T(: x)"}, /* tabs after a call were text or not by where it was cut */
    {"mistral", NULL, false, "See [TOOL_CALLS] there", "T(See [TOOL_CALLS] there)"},
    {"mistral-args", "[/THINK]", false, "[THINK]hm[/THINK][TOOL_CALLS]f[ARGS]{\"a\": 1}[TOOL_CALLS]g[ARGS]{}",
        "R(hm)C(f {\"a\": 1})C(g {})"},
    {"mistral-args", NULL, false, "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {}}]", "C(f {})"},
    {"mistral-args", NULL, false, "[TOOL_CALLS]{\"name\": \"f\", \"arguments\": {}}", "C(f {})"},
    {"mistral-call-id", NULL, false, "Ok[TOOL_CALLS]f[CALL_ID]abcdefghi[ARGS]{\"a\": 1}",
        "T(Ok)C(f {\"a\": 1})"},
    {"qwen-xml", "</think>", true,
        "hm</think>\n\n<tool_call>\n<function=f>\n<parameter=s>\n12\n</parameter>\n<parameter=n>\n12\n</"
        "parameter>\n</function>\n</tool_call>",
        "R(hm)C(f {\"s\":\"12\",\"n\":12})"},
    {"qwen-xml", NULL, false,
        "<tool_call>\n<function=f>\n<parameter=s>\n a\n\n<b>\n</parameter>\n<parameter=o>\n{\"x\": "
        "[true]}\n</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=g>\n</function>\n</"
        "tool_call>",
        "C(f {\"s\":\" a\\n\\n<b>\",\"o\":{\"x\":[true]}})C(g {})"},
    {"qwen-xml", NULL, false,
        "<tool_call>\n<function=f>\n<parameter=n>\nnot a "
        "number\n</parameter>\n<parameter=other>\nnull\n</parameter>\n</function>\n</tool_call>",
        "C(f {\"n\":\"not a number\",\"other\":null})"},
    {"qwen-xml", NULL, false, "<tool_call>\n<function=f>\n<parameter=s>\nx",
        "T(<tool_call>\n<function=f>\n<parameter=s>\nx)"},
    {"qwen-xml", NULL, false,
        "<tool_call>\n<function=f>\n<parameter=o>\n{\"x\": "
        "\"</parameter>\"}\n</parameter>\n</function>\n</tool_call>",
        "C(f {\"o\":{\"x\":\"</parameter>\"}})"},
    {"qwen-xml", NULL, false, "<tool_call>what</tool_call>", "T(<tool_call>what</tool_call>)"},
    {"seed-oss", "</seed:think>", false,
        "<seed:think>a</seed:think><seed:tool_call>\n<function=f>\n<parameter=s>x\n</"
        "parameter>\n<parameter=n>2</parameter>\n</function>\n</seed:tool_call>",
        "R(a)C(f {\"s\":\"x\\n\",\"n\":2})"},
    {"minimax", NULL, false,
        "<minimax:tool_call>\n<invoke name=\"f\">\n<parameter name=\"s\">x</parameter>\n</invoke>\n<invoke "
        "name=\"g\">\n</invoke>\n</minimax:tool_call>",
        "C(f {\"s\":\"x\"})C(g {})"},
    {"glm", "</think>", false,
        "\n<think>a</think>\n<tool_call>f\n<arg_key>s</arg_key>\n<arg_value>7</arg_value>\n<arg_key>n</"
        "arg_key>\n<arg_value>7</arg_value>\n</tool_call>\n<tool_call>g\n</tool_call>",
        "R(a)C(f {\"s\":\"7\",\"n\":7})C(g {})"},
    {"glm", NULL, false, "<tool_call>f\n<arg_key>s</arg_key>oops",
        "T(<tool_call>f\n<arg_key>s</arg_key>oops)"},
    {"glm-5", NULL, false,
        "x<tool_call>f<arg_key>s</arg_key><arg_value>7</arg_value></tool_call><tool_call>g</tool_call>y",
        "T(x)C(f {\"s\":\"7\"})C(g {})T(y)"},
    {"deepseek-v3.2", "</think>", false,
        "<think>a</think>\n\n<" D "DSML" D "function_calls>\n<" D "DSML" D "invoke name=\"f\">\n<" D "DSML" D
        "parameter name=\"s\" string=\"true\">5</" D "DSML" D "parameter>\n<" D "DSML" D
        "parameter name=\"n\" string=\"false\">5</" D "DSML" D "parameter>\n</" D "DSML" D "invoke>\n<" D
        "DSML" D "invoke name=\"g\">\n</" D "DSML" D "invoke>\n</" D "DSML" D "function_calls>",
        "R(a)C(f {\"s\":\"5\",\"n\":5})C(g {})"},
    {"deepseek-v4", "</think>", false,
        "<think>a</think>\n\n<" D "DSML" D "tool_calls>\n<" D "DSML" D "invoke name=\"f\">\n<" D "DSML" D
        "parameter name=\"s\" string=\"true\">5</" D "DSML" D "parameter>\n<" D "DSML" D
        "parameter name=\"n\" string=\"false\">5</" D "DSML" D "parameter>\n</" D "DSML" D "invoke>\n<" D
        "DSML" D "invoke name=\"g\">\n</" D "DSML" D "invoke>\n</" D "DSML" D "tool_calls>",
        "R(a)C(f {\"s\":\"5\",\"n\":5})C(g {})"},
    {"deepseek-r1", "</think>", true,
        "hm</think><" D "tool" U "calls" U "begin" D "><" D "tool" U "call" U "begin" D ">function<" D
        "tool" U "sep" D ">f\n```json\n{\"a\": \"```\"}\n```<" D "tool" U "call" U "end" D ">\n<" D "tool" U
        "call" U "begin" D ">function<" D "tool" U "sep" D ">g\n```json\n{}\n```<" D "tool" U "call" U "end" D
        "><" D "tool" U "calls" U "end" D ">",
        "R(hm)C(f {\"a\": \"```\"})C(g {})"},
    {"deepseek-v3.1", NULL, false,
        "Ok <" D "tool" U "calls" U "begin" D "><" D "tool" U "call" U "begin" D ">f<" D "tool" U "sep" D
        ">{\"a\": 1}<" D "tool" U "call" U "end" D "><" D "tool" U "call" U "begin" D ">g<" D "tool" U "sep" D
        ">{}<" D "tool" U "call" U "end" D "><" D "tool" U "calls" U "end" D ">",
        "T(Ok )C(f {\"a\": 1})C(g {})"},
    {"deepseek-v3.1", NULL, false, "<" D "tool" U "calls" U "begin" D "><" D "tool" U "calls" U "end" D ">",
        "T(<" D "tool" U "calls" U "begin" D "><" D "tool" U "calls" U "end" D ">)"},
    {"kimi-k2", "</think>", false,
        "<think></"
        "think>Ok<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{"
        "\"a\": "
        "1}<|tool_call_end|><|tool_call_begin|>functions.g:1<|tool_call_argument_begin|>{}<|tool_call_end|><|"
        "tool_calls_section_end|>",
        "T(Ok)C(f {\"a\": 1})C(g {})"},
    {"gemma4", "<|channel>", false,
        "<|channel>thought\na<channel|><|tool_call>call:f{s:<|\"|>x, "
        "\"}y<|\"|>,n:-2.5,o:{a:[true,null,<|\"|>z<|\"|>]}}<tool_call|><|tool_call>call:g{}<tool_call|>",
        "R(a)C(f {\"s\":\"x, \\\"}y\",\"n\":-2.5,\"o\":{\"a\":[true,null,\"z\"]}})C(g {})"},
    {"gemma4", NULL, false, "<|tool_call>call:f{s:<|\"|><tool_call|><|\"|>}<tool_call|>!",
        "C(f {\"s\":\"<tool_call|>\"})T(!)"},
    {"gemma4", NULL, false, "<|tool_call>call:f{s:}<tool_call|>", "T(<|tool_call>call:f{s:}<tool_call|>)"},
    {"granite", NULL, false,
        "<|tool_call|>[{\"name\": \"f\", \"arguments\": {\"a\": 1}}, {\"name\": \"g\", \"arguments\": {}}]",
        "C(f {\"a\": 1})C(g {})"},
    {"cohere", "<|END_THINKING|>", false,
        "<|START_THINKING|>plan<|END_THINKING|><|START_ACTION|>[\n    {\"tool_call_id\": \"0\", "
        "\"tool_name\": \"f\", \"parameters\": {\"a\": 1}}\n]<|END_ACTION|>",
        "R(plan)C(f {\"a\": 1})"},
    {"command-r", NULL, false,
        "Let me look.\nAction:\n```json\n[\n    {\n        \"tool_name\": \"f\",\n        \"parameters\": "
        "{\"a\": 1}\n    }\n]```\n",
        "T(Let me look.\n)C(f {\"a\": 1})"},
    {"apertus", "<|inner_suffix|>", false,
        "<|inner_prefix|>a<|inner_suffix|><|tools_prefix|>[{\"f\": {\"a\": 1}}, {\"g\": {}}]<|tools_suffix|>",
        "R(a)C(f {\"a\": 1})C(g {})"},
    {"apriel", "[BEGIN FINAL RESPONSE]", true,
        "steps [BEGIN FINAL RESPONSE]\n<tool_calls>[{\"name\": \"f\", \"arguments\": {\"a\": 1}, \"id\": "
        "\"x\"}]</tool_calls>\n[END FINAL RESPONSE]",
        "R(steps )C(f {\"a\": 1})"},
    {"nemotron", NULL, false, "<TOOLCALL>[{\"name\": \"f\", \"arguments\": {}}]</TOOLCALL>", "C(f {})"},
    {"gigachat", NULL, false, "Ok<|function_call|>{\"name\": \"f\", \"arguments\": {\"a\": 1}}",
        "T(Ok)C(f {\"a\": 1})"},
    {"gigachat3", NULL, false,
        "Ok\n\nfunction call<|role_sep|>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}",
        "T(Ok\n\n)C(f {\"a\": 1})"},
    {"firefunction", NULL, false, "Sure. functools[{\"name\": \"f\", \"arguments\": {\"a\": 1}}]",
        "T(Sure. )C(f {\"a\": 1})"},
    {"functionary", NULL, false, "<function=f>{\"a\": 1}</function><function=g>{}</function>",
        "C(f {\"a\": 1})C(g {})"},
    {"lfm2", "</think>", false,
        "<|tool_call_start|>[f(s=\"it's\", n=-1, o={'k': (1, None, True)}), g()]<|tool_call_end|>ok",
        "C(f {\"s\":\"it's\",\"n\":-1,\"o\":{\"k\":[1,null,true]}})C(g {})T(ok)"},
    {"lfm2", NULL, false, "<|tool_call_start|>[f(s='a\\'b\\x41\\u00e9')]<|tool_call_end|>",
        "C(f {\"s\":\"a'bAé\"})"},
    {"lfm2", NULL, false, "<|tool_call_start|>[f(1)]<|tool_call_end|>",
        "T(<|tool_call_start|>[f(1)]<|tool_call_end|>)"},
    {"gpt-oss", NULL, false,
        "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>commentary to=functions.f "
        "<|constrain|>json<|message|>{\"a\": 1}<|call|>",
        "R(hm)C(f {\"a\": 1})"},
    {"gpt-oss", NULL, false,
        "<|channel|>analysis<|message|>hm<|end|><|start|>assistant to=functions.f<|channel|>commentary "
        "json<|message|>{\"a\": 1}",
        "R(hm)C(f {\"a\": 1})"},
    {"gpt-oss", NULL, false,
        "<|channel|>commentary<|message|>I "
        "will.<|end|><|start|>assistant<|channel|>final<|message|>Hi<|return|>",
        "T(I will.Hi)"},
    {"gpt-oss", NULL, false, "Plain < text", "T(Plain < text)"},
    {"gpt-oss", NULL, false, "<|channel|>final<|message|>a <|x|> b", "T(a <|x|> b)"},
    {"gpt-oss", NULL, false, "<|channel|>commentary to=functions.f<|message|>no",
        "T(to=functions.f<|message|>no)"},
};

static struct reply_form form_of(const struct row *row)
{
    struct reply_form form = {NULL, NULL};
    if (row->thinking)
        form.thinking = reply_form_of(str_from(row->thinking)).thinking;
    if (row->syntax) {
        form.syntax = reply_syntax_named(row->syntax);
        assert_non_null(form.syntax);
    }
    return form;
}

/* Pushed in two parts, or a character at a time. */
static void check(const struct row *row, size_t cut, bool characters)
{
    struct rig_seen s;
    struct reply r;
    struct error err;
    struct str all = str_from(row->answer);
    rig_seen_init(&s);
    const struct reply_sink sink = rig_sink(&s);
    reply_init(&r, form_of(row), row->inside, rig_tools(), &sink);
    for (size_t i = 0, end; i < all.len; i = end) {
        end = characters ? i + 1 : i < cut ? cut : all.len;
        while (end < all.len && ((unsigned char)all.data[end] & 0xC0) == 0x80)
            end++;
        assert_int_equal(0, reply_push(&r, str_slice(all, i, end), &err));
    }
    assert_int_equal(0, reply_finish(&r, &err));
    rig_seen_end(&s);
    if (!str_is(buf_str(&s.out), row->seen))
        fail_msg("%s: %s cut at %zu:\n  %.*s, not\n  %s", row->syntax ? row->syntax : "-", row->answer, cut,
            (int)s.out.len, s.out.data, row->seen);
    assert_false(s.broken);
    reply_free(&r);
    rig_seen_free(&s);
}

static void answers_are_taken_apart_wherever_they_are_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t cut = 0; cut <= strlen(rows[i].answer); cut++)
            if (((unsigned char)rows[i].answer[cut] & 0xC0) != 0x80)
                check(&rows[i], cut, false);
        check(&rows[i], 0, true);
    }
}

/* Each row of the table has an answer here, so that none goes untested. */
static void every_family_has_a_row(void **state)
{
    size_t n;
    const struct reply_syntax *s = reply_syntaxes(&n);
    (void)state;
    for (size_t i = 0; i < n; i++) {
        bool there = false;
        for (size_t k = 0; k < sizeof rows / sizeof *rows; k++)
            there = there || (rows[k].syntax && strcmp(rows[k].syntax, s[i].name) == 0);
        if (!there)
            fail_msg("no answer of %s", s[i].name);
    }
}

/* What reply_avoid_write needs. */
static void markers_do_not_repeat_their_first_character(void **state)
{
    size_t n, m;
    const struct reply_syntax *s = reply_syntaxes(&n);
    const struct reply_thinking *t = reply_thinkings(&m);
    (void)state;
    for (size_t i = 0; i < n + m; i++) {
        struct str marks[] = {i < n ? reply_mark(s[i].open) : reply_mark(t[i - n].close),
            i < n ? reply_mark(s[i].value_end) : STR_NONE};
        for (size_t k = 0; k < 2; k++)
            if (marks[k].len > 0)
                assert_int_equal(
                    SIZE_MAX, str_find_char(str_slice(marks[k], 1, marks[k].len), marks[k].data[0]));
    }
}

static const struct {
    const char *template, *syntax, *close;
} templates[] = {
    {"{{- '\\n<tool_call>\\n{\"name\": ' }} </think>", "hermes", "</think>"},
    {"<tool_call>\n<function=x> <parameter=y>", "qwen-xml", NULL},
    {"<seed:tool_call> <function= <parameter= </seed:think>", "seed-oss", "</seed:think>"},
    {"<tool_call>{name}\n<arg_key>k</arg_key>\n<arg_value>v</arg_value>\n", "glm", NULL},
    {"<tool_call>{name}<arg_key>k</arg_key><arg_value>", "glm-5", NULL},
    {"{{- '[TOOL_CALLS] [' }}", "mistral", NULL},
    {"[TOOL_CALLS]name[ARGS] [/THINK]", "mistral-args", "[/THINK]"},
    {"[TOOL_CALLS]name[CALL_ID]x[ARGS]", "mistral-call-id", NULL},
    {"<|start_header_id|>assistant {\"name\": \"x\", \"parameters\": {}}", "llama3", NULL},
    {"<|start|>assistant<|channel|>final<|message|>", "gpt-oss", NULL},
    {"{{ dsml }}" ML "' 'function_calls>' </think>", "deepseek-v3.2", "</think>"},
    {ML " + 'tool_calls>'", "deepseek-v4", NULL},
    {DS("calls" U "begin") " ```json </think>", "deepseek-r1", "</think>"},
    {DS("calls" U "begin"), "deepseek-v3.1", NULL},
    {"<|tool_call>call:f{} <|channel>thought", "gemma4", "<channel|>"},
    {"<|START_ACTION|>[ <|END_THINKING|>", "cohere", "<|END_THINKING|>"},
    {"List of tools: [", "lfm2", NULL},
    {"<think></think><response></response> <|tool_call|>", "granite", "</think>"},
    {"<tool_calls>[ <tool_call> [BEGIN FINAL RESPONSE]", "apriel", "[BEGIN FINAL RESPONSE]"},
    {"{{ messages }}", NULL, NULL},
};

static void templates_tell_the_syntax(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof templates / sizeof *templates; i++) {
        struct reply_form form = reply_form_of(str_from(templates[i].template));
        if (!templates[i].syntax)
            assert_null(form.syntax);
        else if (!form.syntax || strcmp(form.syntax->name, templates[i].syntax) != 0)
            fail_msg("%s: %s", templates[i].template, form.syntax ? form.syntax->name : "none");
        if (!templates[i].close)
            assert_null(form.thinking);
        else
            assert_string_equal(templates[i].close, form.thinking->close);
    }
}

/* Where it was cut decided whether a name that is too long was one. */
static void a_name_that_is_too_long_is_text_however_it_comes(void **state)
{
    (void)state;
    for (size_t piece = 1; piece < 3000; piece += 997) {
        struct rig_seen s;
        struct reply r;
        struct error err;
        struct buf text;
        buf_init(&text, 4096);
        buf_append_text(&text, "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:");
        for (int i = 0; i < 700; i++)
            buf_append_char(&text, '0');
        buf_append_text(&text, "<|tool_call_argument_begin|>{}<|tool_call_end|>");
        rig_seen_init(&s);
        const struct reply_sink sink = rig_sink(&s);
        struct reply_form form = {reply_syntax_named("kimi-k2"), NULL};
        reply_init(&r, form, false, rig_tools(), &sink);
        for (size_t i = 0; i < text.len; i += piece)
            assert_int_equal(0, reply_push(&r, str_slice(buf_str(&text), i, i + piece), &err));
        assert_int_equal(0, reply_finish(&r, &err));
        rig_seen_end(&s);
        assert_int_equal(0, r.n_calls);
        assert_int_equal(text.len + 3, s.out.len);
        reply_free(&r);
        rig_seen_free(&s);
        buf_free(&text);
    }
}

/* A hostile answer opens calls that never are any: the work stays in proportion. */
static void failing_calls_do_not_read_the_answer_again_and_again(void **state)
{
    struct rig_seen s;
    struct reply r;
    struct error err;
    (void)state;
    rig_seen_init(&s);
    const struct reply_sink sink = rig_sink(&s);
    struct reply_form form = {reply_syntax_named("hermes"), NULL};
    reply_init(&r, form, false, rig_tools(), &sink);
    for (int i = 0; i < 20000; i++)
        assert_int_equal(0, reply_push(&r, STR("<tool_call>{\"name\": \"x"), &err));
    assert_int_equal(0, reply_finish(&r, &err));
    rig_seen_end(&s);
    assert_int_equal(0, r.n_calls);
    assert_true(r.failures <= 64);
    reply_free(&r);
    rig_seen_free(&s);
}

static void special_tokens_of_a_family_are_read_as_text(void **state)
{
    struct rig_seen s;
    struct reply r;
    (void)state;
    rig_seen_init(&s);
    const struct reply_sink sink = rig_sink(&s);
    struct reply_form form = reply_form_of(STR(ML "'tool_calls>' </think>"));
    reply_init(&r, form, false, rig_tools(), &sink);
    assert_true(reply_wants(&r, STR(ML)));
    assert_true(reply_wants(&r, STR("<think>")));
    assert_false(reply_wants(&r, STR("<|im_start|>")));
    reply_free(&r);
    reply_init(&r, form, false, NULL, &sink);
    assert_false(reply_wants(&r, STR(ML)));
    reply_free(&r);
    rig_seen_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_taken_apart_wherever_they_are_cut),
        cmocka_unit_test(every_family_has_a_row),
        cmocka_unit_test(markers_do_not_repeat_their_first_character),
        cmocka_unit_test(templates_tell_the_syntax),
        cmocka_unit_test(a_name_that_is_too_long_is_text_however_it_comes),
        cmocka_unit_test(failing_calls_do_not_read_the_answer_again_and_again),
        cmocka_unit_test(special_tokens_of_a_family_are_read_as_text),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    rig_tools_free();
    return rc;
}
