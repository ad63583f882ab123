#include "engine/worker/template.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/limits.h"
#include "unit/engine/shared.h"
#include "unit/engine/template_expression_rows.h"
#include "unit/engine/template_statement_rows.h"

enum { NOON = 1795176000 }; /* 2026-11-20T12:00:00Z */

/* Renders `source` with the JSON text `values`; the text or "error: ..." is in *out, to be freed. */
static int render_sized(struct str source, const char *values, size_t max, struct buf *out, struct error *err)
{
    struct template *t = NULL;
    json_t *tree;
    *err = (struct error){0};
    buf_init(out, max);
    assert_int_equal(json_read(str_from(values), &tree, err), 0);
    int rc = template_parse(source, &t, err);
    if (rc == 0)
        rc = template_render(t, tree, NOON, out, err);
    template_free(t);
    json_decref(tree);
    return rc;
}

static int render(const char *source, const char *values, struct buf *out, struct error *err)
{
    return render_sized(str_from(source), values, LIMIT_TEMPLATE_OUTPUT, out, err);
}

static bool row_holds(const char *source, const char *values, const char *expected)
{
    struct buf out;
    struct error err;
    int rc = render(source, values, &out, &err);
    const char *text = out.data ? out.data : "";
    bool ok = expected ? rc == 0 && strcmp(text, expected) == 0
                       : rc != 0 && err.code == rc && err.message[0] && out.len == 0;
    if (!ok)
        print_error("%s\n  expected: %s\n  got:      %s\n", source, expected ? expected : "an error",
            rc ? err.message : text);
    buf_free(&out);
    return ok;
}

#define ROWS(rows) (sizeof(rows) / sizeof(rows)[0])

static void test_expressions(void **state)
{
    (void)state;
    size_t failed = 0;
    for (size_t i = 0; i < ROWS(expression_rows); i++) {
        char source[512];
        snprintf(source, sizeof source, "{{ %s }}", expression_rows[i].source);
        failed += !row_holds(source, row_values, expression_rows[i].expected);
    }
    assert_int_equal(failed, 0);
}

static void test_statements(void **state)
{
    (void)state;
    size_t failed = 0;
    for (size_t i = 0; i < ROWS(statement_rows); i++)
        failed += !row_holds(statement_rows[i].source, row_values, statement_rows[i].expected);
    assert_int_equal(failed, 0);
}

static void refused(const char *source, const char *values, const char *says)
{
    struct buf out;
    struct error err;
    int rc = render(source, values, &out, &err);
    if (rc != ERROR_INVALID || !strstr(err.message, says) || out.len > 0)
        fail_msg("%s: %d: %s", source, rc, err.message);
    buf_free(&out);
}

/* What an error says. */
static void test_errors(void **state)
{
    (void)state;
    refused("a{{ raise_exception('Only user and assistant!') }}", "{}", "Only user and assistant!");
    refused("a\n\n{{ x.y.z }}", "{\"x\":{}}", "line 3: 'dict object' has no attribute 'y'");
    refused("a\n{% if x %}", "{}", "line 2: the template ends where '{% endif %}' is missing");
    refused("{{ 1|nofilter }}", "{}", "there is no filter named 'nofilter'");
    refused("{{ 1 is notest }}", "{}", "there is no test named 'notest'");
    refused("{{ 'x'\n\n | upper(1) }}", "{}", "line 3");
    refused("{{ '\xff' }}", "{}", "UTF-8");
    refused("{{ x.append(1) }}", "{\"x\":[]}", "access to attribute 'append' of 'list' object is unsafe");
    refused("{% include 'a' %}", "{}", "'include'");
}

/* The text goes behind what is in the buffer; an error leaves that alone. */
static void test_appends(void **state)
{
    (void)state;
    struct template *t;
    struct error err;
    struct buf out;
    json_t *values = json_object();
    buf_init(&out, 100);
    buf_append_text(&out, "before ");
    assert_int_equal(template_parse(STR("x{% if fail %}{{ fail.x.y }}{% endif %}"), &t, &err), 0);
    assert_int_equal(template_render(t, values, NOON, &out, &err), 0);
    assert_string_equal(out.data, "before x");
    json_object_set_new(values, "fail", json_integer(1));
    assert_int_equal(template_render(t, values, NOON, &out, NULL), ERROR_INVALID);
    assert_string_equal(out.data, "before x");
    assert_int_equal(template_render(t, NULL, NOON, &out, &err), ERROR_INVALID);
    json_decref(values);
    template_free(t);
    buf_free(&out);
}

static void test_dates(void **state)
{
    (void)state;
    static const struct {
        int64_t now;
        const char *expected;
    } rows[] = {{0, "Thu 1970-01-01 001 01 1970 1"}, {951782400, "Tue 2000-02-29 060 09 2000 29"},
        {1483228799, "Sat 2016-12-31 366 52 2016 31"}, {-1, "Wed 1969-12-31 365 01 1970 31"},
        {1609459200, "Fri 2021-01-01 001 53 2020 1"}, {NOON, "Fri 2026-11-20 324 47 2026 20"}};
    struct template *t;
    json_t *values = json_object();
    assert_int_equal(template_parse(STR("{{ strftime_now('%a %Y-%m-%d %j %V %G %-d') }}"), &t, NULL), 0);
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct buf out;
        buf_init(&out, 100);
        assert_int_equal(template_render(t, values, rows[i].now, &out, NULL), 0);
        assert_string_equal(out.data, rows[i].expected);
        buf_free(&out);
    }
    json_decref(values);
    template_free(t);
}

/* ---- Hostile templates: refused, quickly, without much memory ---- */

static const char *const bombs[] = {
    "{{ 'a' * 10000000000 }}",
    "{{ 'a' * 9223372036854775807 }}",
    "{{ [1] * 10000000000 }}",
    "{{ range(100001)|list }}",
    "{{ range(0, 9223372036854775807, 1) }}",
    "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(9999) %}{% endfor %}{% endfor "
    "%}{% endfor %}",
    "{% for a in range(99999) %}{% for b in range(99999) %}{% set x = a %}{% endfor %}{% endfor %}",
    "{% for a in range(99999) %}{% for b in range(999) %}{{ 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' }}{% endfor "
    "%}{% endfor %}",
    "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
    "{% set ns = namespace(s=['x']) %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
    "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s "
    "}}",
    "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ "
    "ns.s|tojson }}",
    "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s "
    "== ns.s + [] }}",
    "{% set ns = namespace(s='x') %}{% for i in range(99999) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s }}",
    "{% set ns = namespace(s='x') %}{% for i in range(99999) %}{% set ns.s = [ns.s] %}{% endfor %}{{ "
    "ns.s|tojson }}",
    "{% set ns = namespace(s='x') %}{% for i in range(99999) %}{% set ns.s = {'a': ns.s} %}{% endfor %}{{ "
    "ns.s }}",
    "{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% macro m() %}{% call m() %}{% endcall %}{{ caller() }}{% endmacro %}{% call m() %}{% endcall %}",
    "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "{{ 'x'|indent(10000000000) }}",
    "{{ 'x'|center(10000000000) }}",
    "{{ 'x'.ljust(10000000000) }}",
    "{{ '%10000000000d' % 1 }}",
    "{{ '{:10000000000}'.format('x') }}",
    "{{ '%.10000f' % 1.5 }}",
    "{{ [1]|batch(10000000000, 0)|list }}",
    "{{ [1]|slice(10000000000, 0)|list }}",
    "{{ [[1]]|tojson(indent=10000000000) }}",
    "{{ ('a' * 1000000).replace('', 'b' * 1000000) }}",
    "{{ ('a,' * 1000000).split(',')|join('b' * 1000000) }}",
    "{% set s = 'a' * 10000000 %}{% for i in range(99999) %}{% if 'b' in s %}{% endif %}{% endfor %}",
    "{% set s = 'a' * 10000000 %}{% for i in range(99999) %}{% set x = s|upper %}{% endfor %}",
    "{% for i in range(99999) %}{% for j in range(99999) %}{{ raise }}{% set k = strftime_now('%c' * 1000) "
    "%}{% endfor %}{% endfor %}",
};

static void test_bombs(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROWS(bombs); i++) {
        struct buf out;
        struct error err;
        struct timespec from, to;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
        int rc = render(bombs[i], "{}", &out, &err);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
        if (rc == 0 || to.tv_sec - from.tv_sec > 60)
            fail_msg("%s: %d after %ld s", bombs[i], rc, (long)(to.tv_sec - from.tv_sec));
        assert_true(rc == ERROR_LIMIT || rc == ERROR_INVALID);
        assert_int_equal(out.len, 0);
        buf_free(&out);
    }
}

/* `count` times `open`, then `middle`, then `count` times `close`. */
static int nested(const char *open, const char *middle, const char *close, size_t count, struct error *err)
{
    struct buf source, out;
    buf_init(&source, 8 * LIMIT_TEMPLATE_SOURCE);
    for (size_t i = 0; i < count; i++)
        buf_append_text(&source, open);
    buf_append_text(&source, middle);
    for (size_t i = 0; i < count; i++)
        buf_append_text(&source, close);
    assert_int_equal(source.failed, 0);
    int rc = render_sized(buf_str(&source), "{\"x\":1}", 1 << 20, &out, err);
    buf_free(&source);
    buf_free(&out);
    return rc;
}

static void test_nesting(void **state)
{
    (void)state;
    static const struct {
        const char *open, *middle, *close;
    } rows[] = {{"(", "1", ")"}, {"[", "1", "]"}, {"{'a':", "1", "}"}, {"-", "1", ""}, {"not ", "1", ""},
        {"x[", "1", "]"}, {"x(", "1", ")"}, {"x if ", "1", ""}, {"x if x else ", "1", ""},
        {"x|default(", "1", ")"}, {"x is eq ", "1", ""}};
    struct error err;
    char open[64], close[64];
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct buf source, out;
        buf_init(&source, LIMIT_TEMPLATE_SOURCE);
        buf_append_text(&source, "{{ ");
        for (int k = 0; k < 10000; k++)
            buf_append_text(&source, rows[i].open);
        buf_append_text(&source, rows[i].middle);
        for (int k = 0; k < 10000; k++)
            buf_append_text(&source, rows[i].close);
        buf_append_text(&source, " }}");
        assert_int_not_equal(render_sized(buf_str(&source), "{\"x\":1}", 1000, &out, &err), 0);
        buf_free(&source);
        buf_free(&out);
    }
    static const char *const tags[] = {
        "if x", "for i in [1]", "filter upper", "set y", "with", "macro m()", "call x()"};
    for (size_t i = 0; i < ROWS(tags); i++) {
        size_t n = strcspn(tags[i], " ");
        snprintf(open, sizeof open, "{%% %s %%}", tags[i]);
        snprintf(close, sizeof close, "{%% end%.*s %%}", (int)n, tags[i]);
        assert_int_equal(nested(open, "x", close, 10000, &err), ERROR_LIMIT);
        int rc = nested(open, "x", close, 20, &err);
        assert_true(rc == 0 || i == 6); /* x is not callable */
    }
}

/* Long, flat templates: fine while they fit, and read in linear time. */
static void test_long(void **state)
{
    (void)state;
    struct error err;
    static const char *const pieces[] = {"{{ x }}", "{% set y = 1 %}", "{# c #}", "{% raw %}{{{% endraw %}",
        "a\n  {% if x %}b{% endif %}\n", "{{ 'a' 'b' ~ x + 1 ~ [1, 2][0] }}",
        "{% macro m(a, b=2) %}{{ a }}{% endmacro %}"};
    for (size_t i = 0; i < ROWS(pieces); i++) {
        assert_int_equal(nested(pieces[i], "", "", LIMIT_TEMPLATE_SOURCE / strlen(pieces[i]), &err), 0);
        assert_int_equal(
            nested(pieces[i], "", "", 2 * LIMIT_TEMPLATE_SOURCE / strlen(pieces[i]), &err), ERROR_LIMIT);
    }
    static const char *const unclosed[] = {
        "{% raw %}", "{#", "{% set x %}", "{{ '", "{% if x %}", "{%", "{{ (", "{% raw %}{% ", "\\"};
    for (size_t i = 0; i + 1 < ROWS(unclosed); i++)
        assert_int_not_equal(nested(unclosed[i], "", "", 100000, &err), 0);
    assert_int_equal(nested("1+", "1 }}", "", 100000, &err), 0); /* plain text */
    assert_int_equal(nested("{{ 1 ~ ", "", "", 1, &err), ERROR_INVALID);
}

/* A chain that the parser reads in a loop may still be too deep to evaluate. */
static void test_long_chain(void **state)
{
    (void)state;
    static const char *const links[] = {"+ 1 ", "|abs", "and 1 ", "[0:]", " is eq(1)"};
    for (size_t i = 0; i < ROWS(links); i++) {
        struct buf source, out;
        struct error err;
        buf_init(&source, LIMIT_TEMPLATE_SOURCE);
        buf_append_text(&source, "{{ x ");
        for (int k = 0; k < 50000; k++)
            buf_append_text(&source, links[i]);
        buf_append_text(&source, "}}");
        assert_int_equal(render_sized(buf_str(&source), "{\"x\":1}", 1000, &out, &err), ERROR_LIMIT);
        buf_free(&source);
        buf_free(&out);
    }
}

/* Adding to a string in a loop takes linear memory, also with other strings made in between. */
static void test_growing_string(void **state)
{
    (void)state;
    struct buf out;
    struct error err;
    const char *source =
        "{% set ns = namespace(a='', b='', l=[]) %}{% for i in range(50000) %}"
        "{% set ns.a = ns.a ~ 'some text that is added ' %}{% set ns.b = ns.b + 'x' ~ i|string|upper %}"
        "{% set ns.l = ns.l + [i] %}{% endfor %}{{ ns.a|length }} {{ ns.b|length }} {{ ns.l|sum }}";
    int rc = render(source, "{}", &out, &err);
    assert_int_equal(rc, 0);
    assert_string_equal(out.data, "1200000 288890 1249975000");
    buf_free(&out);
}

static void test_output_bound(void **state)
{
    (void)state;
    struct buf out;
    struct error err;
    assert_int_equal(render_sized(STR("{{ 'x' * 100 }}"), "{}", 100, &out, &err), 0);
    buf_free(&out);
    assert_int_equal(render_sized(STR("{{ 'x' * 60 }}{{ 'x' * 60 }}"), "{}", 100, &out, &err), ERROR_LIMIT);
    assert_int_equal(out.len, 0);
    buf_free(&out);
}

/* ---- The shared cases ---- */

static bool case_holds(const json_t *c, struct str source)
{
    json_t *values = json_copy(json_object_get(c, "body"));
    const json_t *expected = json_object_get(c, "text");
    struct template *t = NULL;
    struct error err = {0};
    struct buf out;
    buf_init(&out, LIMIT_TEMPLATE_OUTPUT);
    json_object_set(values, "bos_token", json_object_get(c, "bos_token"));
    json_object_set(values, "eos_token", json_object_get(c, "eos_token"));
    int rc = template_parse(source, &t, &err);
    if (rc == 0)
        rc = template_render(t, values, NOON, &out, &err);
    bool ok = expected ? rc == 0 && str_eq(buf_str(&out), json_str(expected)) : rc != 0;
    if (!ok)
        print_error("%s, %s: %s\n", json_string_value(json_object_get(c, "template")),
            json_string_value(json_object_get(c, "case")), rc ? err.message : "another text");
    template_free(t);
    json_decref(values);
    buf_free(&out);
    return ok;
}

static void test_shared_cases(void **state)
{
    (void)state;
    if (shared_absent("templates/cases.jsonl"))
        return;
    char path[1024];
    snprintf(path, sizeof path, "%s/templates/cases.jsonl", shared_folder());
    struct buf all = shared_read(path);
    struct str rest = buf_str(&all), line;
    size_t cases = 0, failed = 0;
    while (str_split(&rest, '\n', &line)) {
        json_t *c;
        struct error err;
        assert_int_equal(json_read(line, &c, &err), 0);
        snprintf(path, sizeof path, "%s/templates/%s", shared_folder(),
            json_string_value(json_object_get(c, "template")));
        struct buf source = shared_read(path);
        failed += !case_holds(c, buf_str(&source));
        cases++;
        buf_free(&source);
        json_decref(c);
    }
    buf_free(&all);
    assert_true(cases > 0);
    assert_int_equal(failed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_expressions), cmocka_unit_test(test_statements),
        cmocka_unit_test(test_errors), cmocka_unit_test(test_appends), cmocka_unit_test(test_dates),
        cmocka_unit_test(test_bombs), cmocka_unit_test(test_nesting), cmocka_unit_test(test_long),
        cmocka_unit_test(test_long_chain), cmocka_unit_test(test_growing_string),
        cmocka_unit_test(test_output_bound), cmocka_unit_test(test_shared_cases)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
