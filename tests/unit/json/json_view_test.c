/* The view beside jansson's tree: the same values for random texts, nothing taken that jansson would refuse.
 */
#include "json/json_view.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/limits.h"
#include "json_random.h"

enum { ROUNDS = 20000 };

/* What jansson makes of the same text; a number that it cannot hold is none of its. */
static void assert_same(struct json_view *v, struct str text)
{
    const struct json_item *item;
    struct error err;
    json_error_t e;
    struct buf again;
    struct json_writer w;
    json_t *tree = json_loadb(text.data, text.len, JSON_DECODE_ANY, &e);
    int rc = json_view_read(v, text, &item, &err);
    if (rc != 0 && tree)
        fail_msg(STR_FMT " is valid and was not taken: %s", STR_ARG(text), err.message);
    if (rc == 0 && !tree && json_error_code(&e) != json_error_numeric_overflow)
        fail_msg(STR_FMT " was taken: %s", STR_ARG(text), e.text);
    if (!tree)
        return;
    buf_init(&again, MIB);
    json_writer_init(&w, &again);
    json_write_item(&w, item);
    json_t *back = json_loadb(again.data, again.len, JSON_DECODE_ANY, &e);
    if (!back || !json_equal(back, tree))
        fail_msg(STR_FMT " became " STR_FMT, STR_ARG(text), STR_ARG(buf_str(&again)));
    json_decref(back);
    json_decref(tree);
    buf_free(&again);
}

static void random_texts_give_the_same_values(void **state)
{
    struct json_view v;
    struct buf b;
    (void)state;
    json_view_init(&v);
    buf_init(&b, MIB);
    for (int i = 0; i < ROUNDS; i++) {
        buf_clear(&b);
        json_random_value(&b, 5);
        assert_same(&v, buf_str(&b));
    }
    buf_free(&b);
    json_view_free(&v);
}

static void mutated_texts_are_judged_alike(void **state)
{
    struct json_view v;
    struct buf b;
    (void)state;
    json_view_init(&v);
    buf_init(&b, MIB);
    for (int i = 0; i < ROUNDS; i++) {
        buf_clear(&b);
        json_random_value(&b, 4);
        json_random_damage(&b);
        assert_same(&v, buf_str(&b));
    }
    buf_free(&b);
    json_view_free(&v);
}

static void members_and_elements_are_found(void **state)
{
    struct json_view v;
    const struct json_item *root;
    struct error err;
    int64_t n;
    (void)state;
    json_view_init(&v);
    struct str text = STR("{\"a\":[1,\"x\",{\"deep\":true}],\"b\\u0061\":\"one\\ntwo\",\"n\":-7,\"a\":2,"
                          "\"big\":9223372036854775808,\"most\":9223372036854775807,\"real\":1.5,\"\":0}");
    assert_int_equal(json_view_read(&v, text, &root, &err), 0);
    const struct json_item *a = json_item_get(root, "a");
    assert_int_equal(json_item_length(a), 3); /* the first of two */
    assert_int_equal(root->n, 8);
    const struct json_item *x = json_item_next(a, json_item_first(a));
    assert_true(str_is(json_item_str(x), "x"));
    assert_true(json_item_is(json_item_get(json_item_next(a, x), "deep"), JSON_ITEM_TRUE));
    assert_null(json_item_next(a, json_item_next(a, x)));
    assert_true(str_is(json_item_text(root, "ba"), "one\ntwo"));
    assert_true(json_item_int(json_item_get(root, "n"), &n) && n == -7);
    assert_true(json_item_int(json_item_get(root, "most"), &n) && n == INT64_MAX);
    assert_false(json_item_int(json_item_get(root, "big"), &n));
    assert_false(json_item_int(json_item_get(root, "real"), &n));
    assert_false(json_item_int(a, &n));
    assert_true(json_item_int(json_item_get(root, ""), &n) && n == 0);
    assert_null(json_item_get(a, "deep"));
    assert_null(json_item_get(NULL, "a"));
    assert_null(json_item_first(NULL));
    assert_null(json_item_first(x));
    assert_null(json_item_first(root)); /* members are no elements */
    double d;
    assert_true(json_item_double(json_item_get(root, "real"), &d) && d == 1.5);
    assert_false(json_item_double(x, &d));
    assert_int_equal(json_item_str(a).len, 0);
    json_view_free(&v);
}

/* Text that had escapes stays where it is while more comes. */
static void unescaped_texts_do_not_move(void **state)
{
    struct json_view v;
    const struct json_item *root;
    struct error err;
    struct buf b;
    (void)state;
    json_view_init(&v);
    buf_init(&b, MIB);
    for (int round = 1; round < 200; round += 33) {
        buf_clear(&b);
        buf_append_char(&b, '[');
        for (int i = 0; i < round; i++)
            buf_appendf(&b, "%s{\"k\\u00e9%d\":\"\\\"%d\\\"\"}", i ? "," : "", i, i);
        buf_append_char(&b, ']');
        assert_int_equal(json_view_read(&v, buf_str(&b), &root, &err), 0);
        int i = 0;
        for (const struct json_item *e = json_item_first(root); e; e = json_item_next(root, e), i++) {
            char key[32], value[32];
            snprintf(key, sizeof key, "k\xc3\xa9%d", i);
            snprintf(value, sizeof value, "\"%d\"", i);
            assert_true(str_is(json_item_text(e, key), value));
        }
        assert_int_equal(i, round);
    }
    buf_free(&b);
    json_view_free(&v);
}

static void what_is_no_json_is_refused_with_words(void **state)
{
    static const struct {
        const char *text, *why;
    } cases[] = {{"", "not valid JSON"}, {"{\"a\":", "not valid JSON at line 1"}, {"{} {}", "not valid JSON"},
        {"\"\xff\"", "not valid JSON"}, {"\"\\u0000\"", "not valid JSON"}, {"[1,]", "not valid JSON"},
        {"\"a\nb\"", "not valid JSON"}};
    struct json_view v;
    const struct json_item *item;
    struct error err;
    (void)state;
    json_view_init(&v);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(json_view_read(&v, str_from(cases[i].text), &item, &err), ERROR_INVALID);
        assert_non_null(strstr(err.message, cases[i].why));
    }
    char deep[2 * LIMIT_JSON_DEPTH + 3];
    memset(deep, '[', LIMIT_JSON_DEPTH + 1);
    memset(deep + LIMIT_JSON_DEPTH + 1, ']', LIMIT_JSON_DEPTH + 1);
    deep[2 * LIMIT_JSON_DEPTH + 2] = '\0';
    assert_int_equal(json_view_read(&v, str_from(deep), &item, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "deep"));
    assert_int_equal(json_view_read(&v, (struct str){deep + 1, 2 * LIMIT_JSON_DEPTH}, &item, &err), 0);
    json_view_free(&v);
}

static bool takes_a(struct str key)
{
    return str_is(key, "a");
}

static void what_nobody_takes_is_not_read_on(void **state)
{
    (void)state;
    struct json_view v;
    const struct json_item *item;
    struct error err;
    json_view_init(&v);
    v.takes = takes_a;
    assert_int_equal(json_view_read(&v, STR("{\"b\": tru"), &item, &err), ERROR_UNSUPPORTED);
    assert_int_equal(
        json_view_read(&v, STR("{\"a\": [{\"b\": 1}]}"), &item, &err), 0); /* deeper it is not asked */
    assert_int_equal(json_view_read(&v, STR("{\"a\": tru"), &item, &err), ERROR_INVALID);
    assert_int_equal(json_view_read(&v, STR("[{\"b\": 1}]"), &item, &err), 0);
    json_view_free(&v);
}

static void every_cut_is_refused(void **state)
{
    struct str text =
        STR("{\"a\\u00e9\":[1,-2.5e3,\"\\ud83d\\ude00\",true,null,{}],\"b\":{\"c\":\"\xc3\xa9\"}}");
    struct json_view v;
    const struct json_item *item;
    struct error err;
    (void)state;
    json_view_init(&v);
    for (size_t i = 0; i < text.len; i++) {
        /* A copy of just these bytes, so that a byte too many is seen. */
        char *copy = malloc(i + 1);
        memcpy(copy, text.data, i);
        assert_int_equal(json_view_read(&v, (struct str){copy, i}, &item, &err), ERROR_INVALID);
        free(copy);
    }
    assert_int_equal(json_view_read(&v, text, &item, &err), 0);
    json_view_free(&v);
}

/* ---- Texts that are like the one before ---- */

static void assert_as_afresh(struct json_view *v, struct str text)
{
    struct json_view fresh;
    const struct json_item *seen, *root;
    struct error err, why;
    json_view_init(&fresh);
    int rc = json_view_read(v, text, &seen, &err), expected = json_view_read(&fresh, text, &root, &why);
    if (rc != expected || (rc == 0 && v->n != fresh.n) || (rc && strcmp(err.message, why.message) != 0))
        fail_msg(STR_FMT ": %d, not %d", STR_ARG(text), rc, expected);
    for (size_t i = 0; rc == 0 && i < v->n; i++) {
        const struct json_item *a = &seen[i], *b = &root[i];
        if (a->kind != b->kind || a->n != b->n || a->span != b->span || !str_eq(a->key, b->key) ||
            !str_eq(a->text, b->text))
            fail_msg(STR_FMT ": item %zu is '" STR_FMT "': '" STR_FMT "'", STR_ARG(text), i, STR_ARG(a->key),
                STR_ARG(a->text));
    }
    json_view_free(&fresh);
}

static void an_event_like_the_last_is_seen_as_afresh(void **state)
{
    static const char *const events[] = {
        "{\"id\":\"c\",\"n\":17,\"choices\":[{\"delta\":{\"content\":\"Hel\"},\"stop\":null}],\"pad\":"
        "\"ab\"}",
        "{\"id\":\"c\",\"n\":17,\"choices\":[{\"delta\":{\"content\":\"lo, "
        "wor\"},\"stop\":null}],\"pad\":\"\"}",
        "{\"id\":\"c\",\"n\":17,\"choices\":[{\"delta\":{\"content\":\"\"},\"stop\":null}],\"pad\":\"abcd\"}",
        "{\"id\":\"c\",\"n\":9,\"choices\":[{\"delta\":{\"content\":\"Ã©\"},\"stop\":null}],\"pad\":"
        "\"abcd\"}",
        "{\"id\":\"c\",\"n\":-1e5,\"choices\":[{\"delta\":{\"content\":\"ld\"},\"stop\":null}],\"pad\":\"\"}",
        /* From here on they are not: an escape, one cut in UTF-8, words, keys, more members, a cut. */
        "{\"id\":\"c\",\"n\":1,\"choices\":[{\"delta\":{\"content\":\"\\n\"},\"stop\":null}],\"pad\":\"\"}",
        "{\"id\":\"c\",\"n\":1,\"choices\":[{\"delta\":{\"content\":\"Ã\"},\"stop\":null}],\"pad\":\"\"}",
        "{\"id\":\"c\",\"n\":1,\"choices\":[{\"delta\":{\"content\":\"x\"},\"stop\":true}],\"pad\":\"\"}",
        "{\"id\":\"c\",\"n\":1,\"choices\":[{\"delta\":{\"contant\":\"x\"},\"stop\":true}],\"pad\":\"\"}",
        "{\"id\":\"c\",\"n\":1,\"choices\":[{\"delta\":{\"contant\":\"x\",\"a\":\"b\"},\"stop\":true}],"
        "\"pad\":\"\"}",
        "{\"id\":\"c\",\"n\":01,\"choices\":[]}",
        "{\"id\":\"c\",\"n\":1,\"choices\":[]",
        "{\"id\":\"c\",\"n\":1,\"choices\":[]} x",
        "7",
        "78",
        "\"7\"",
        "",
    };
    enum { EVENTS = sizeof events / sizeof *events, ALIKE = 5 };
    struct json_view v;
    (void)state;
    json_view_init(&v);
    v.repeats = true;
    for (size_t i = 0; i < EVENTS; i++) {
        assert_as_afresh(&v, str_from(events[i]));
        if (i < ALIKE) /* content, then the padding, then the number */
            assert_int_equal(v.n_varies, i == 0 ? 0 : i < 3 ? 2 : 3);
    }
    for (int i = 0; i < ROUNDS; i++)
        assert_as_afresh(&v, str_from(events[json_random_below(EVENTS)]));
    json_view_free(&v);
}

static void random_texts_with_a_change_are_seen_as_afresh(void **state)
{
    struct json_view v;
    struct buf b;
    (void)state;
    json_view_init(&v);
    v.repeats = true;
    buf_init(&b, MIB);
    for (int i = 0; i < ROUNDS; i++) {
        if (json_random_below(6) == 0 || b.len == 0) {
            buf_clear(&b);
            json_random_value(&b, 3);
        }
        assert_as_afresh(&v, buf_str(&b));
        if (json_random_below(3) == 0)
            json_random_damage(&b);
        else if (b.len > 0) { /* some other digit or letter */
            char *at = &b.data[json_random_below(b.len)];
            *at = *at >= '0' && *at <= '8' ? (char)(*at + 1) : *at == 'a' ? 'b' : *at;
        }
    }
    buf_free(&b);
    json_view_free(&v);
}

/* What is taken without being read is what reading would have found. */
static void an_event_known_unread_is_seen_as_afresh(void **state)
{
    static const char first[] = "{\"n\":1,\"d\":{\"t\":\"Hel\"},\"s\":null}";
    static const struct {
        const char *text, *value; /* NULL: it is not known */
    } next[] = {
        {"{\"n\":1,\"d\":{\"t\":\"lo, world\"},\"s\":null}\n\nmore", "lo, world"},
        {"{\"n\":1,\"d\":{\"t\":\"\"},\"s\":null}", ""},
        {"{\"n\":1,\"d\":{\"t\":\"a\\n\\\"\\u00e9\"},\"s\":null}", "a\n\"\xc3\xa9"},
        {"{\"n\":1,\"d\":{\"t\":\"x\"},\"s\":true}", NULL},
        {"{\"n\":2,\"d\":{\"t\":\"x\"},\"s\":null}", NULL},
        {"{\"n\":1,\"d\":{\"t\":\"\xc3\"},\"s\":null}", NULL},
        {"{\"n\":1,\"d\":{\"t\":\"\\u000\"},\"s\":null}", NULL},
        {"{\"n\":1,\"d\":{\"t\":null},\"s\":null}", NULL},
        {"{\"n\":1,\"d\":{\"t\":\"x\"},\"s\":nul", NULL},
        {"{\"n\":1,\"d\":{\"t\":\"x", NULL},
        {"", NULL},
    };
    struct json_view v;
    const struct json_item *root;
    struct error err;
    struct str value;
    (void)state;
    json_view_init(&v);
    v.repeats = true;
    assert_int_equal(json_view_again(&v, str_from(first), &value), 0);
    assert_int_equal(json_view_read(&v, str_from(first), &root, &err), 0);
    assert_int_equal(json_view_again(&v, str_from(first), &value), 0); /* nothing has varied so far */
    assert_int_equal(json_view_read(&v, STR("{\"n\":1,\"d\":{\"t\":\"p\"},\"s\":null}"), &root, &err), 0);
    for (size_t i = 0; i < sizeof next / sizeof *next; i++) {
        size_t n = json_view_again(&v, str_from(next[i].text), &value);
        if (!next[i].value) {
            assert_int_equal(n, 0);
            continue;
        }
        const char *end = strstr(next[i].text, "\n\n");
        assert_int_equal(n, end ? (size_t)(end - next[i].text) : strlen(next[i].text));
        assert_true(str_eq(value, str_from(next[i].value)));
        assert_true(str_is(json_item_text(json_item_get(root, "d"), "t"), "p")); /* as it was read */
        for (size_t cut = 0; cut < n; cut++)
            assert_int_equal(json_view_again(&v, (struct str){next[i].text, cut}, &value), 0);
    }
    json_view_free(&v);
}

/* A tokenizer has more values than any request may. */
static void more_values_than_usual_are_read_where_it_is_said(void **state)
{
    struct json_view v;
    const struct json_item *root;
    struct error err;
    struct buf b;
    (void)state;
    json_view_init(&v);
    buf_init(&b, 64 * MIB);
    buf_append_char(&b, '[');
    for (int i = 0; i <= LIMIT_JSON_VALUES; i++)
        buf_append_text(&b, "0,");
    buf_append_text(&b, "0]");
    assert_int_not_equal(json_view_read(&v, buf_str(&b), &root, &err), 0);
    v.most = 2 * (size_t)LIMIT_JSON_VALUES;
    assert_int_equal(json_view_read(&v, buf_str(&b), &root, &err), 0);
    assert_int_equal(json_item_length(root), LIMIT_JSON_VALUES + 2);
    buf_free(&b);
    json_view_free(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_texts_give_the_same_values),
        cmocka_unit_test(mutated_texts_are_judged_alike),
        cmocka_unit_test(members_and_elements_are_found),
        cmocka_unit_test(unescaped_texts_do_not_move),
        cmocka_unit_test(what_is_no_json_is_refused_with_words),
        cmocka_unit_test(what_nobody_takes_is_not_read_on),
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(an_event_like_the_last_is_seen_as_afresh),
        cmocka_unit_test(random_texts_with_a_change_are_seen_as_afresh),
        cmocka_unit_test(an_event_known_unread_is_seen_as_afresh),
        cmocka_unit_test(more_values_than_usual_are_read_where_it_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
