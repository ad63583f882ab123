#include "engine/worker/grammar.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "grammar_rig.h"

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

/* Does `text` match as a whole? -1: it cannot go on at some byte. */
static int match(const char *gbnf, struct str text)
{
    struct grammar *g;
    struct grammar_matcher *m;
    struct error err = {0};
    if (grammar_parse(str_from(gbnf), &g, &err))
        fail_msg("%s: %s", gbnf, err.message);
    assert_int_equal(0, grammar_matcher_create(g, vocab, &m, &err));
    int rc = 1;
    for (size_t i = 0; i < text.len && rc == 1; i++)
        rc = grammar_matcher_text(m, str_slice(text, i, i + 1), &err);
    int result = rc < 0 ? rc - 100 : rc == 0 ? -1 : grammar_matcher_complete(m);
    grammar_matcher_free(m);
    grammar_free(g);
    return result;
}

static void test_matches(void **state)
{
    static const struct {
        const char *gbnf, *text;
        int result;
    } rows[] = {
        {"root ::= \"ab\"", "ab", 1},
        {"root ::= \"ab\"", "a", 0},
        {"root ::= \"ab\"", "b", -1},
        {"root ::= \"ab\"", "abc", -1},
        {"root ::= \"a\" | \"b\" c\nc ::= [x-z]+", "bxz", 1},
        {"root ::= \"a\" | \"b\" c\nc ::= [x-z]+", "b", 0},
        {"root ::= [^a-c]", "d", 1},
        {"root ::= [^a-c]", "b", -1},
        {"root ::= [^a-c]", "\xE2\x82\xAC", 1},
        {"root ::= .", "\xF0\x9F\x98\x80", 1},
        {"root ::= .", "\xED\xA0\x80", -1},
        {"root ::= [\xC3\xA9-\xC3\xAB]", "\xC3\xAA", 1},
        {"root ::= [\xC3\xA9-\xC3\xAB]", "\xC3\xAC", -1},
        {"root ::= [\xC3\xA9-\xC3\xAB]", "\xC4", -1},
        {"root ::= \"a\"{3}", "aaa", 1},
        {"root ::= \"a\"{3}", "aa", 0},
        {"root ::= \"a\"{3}", "aaaa", -1},
        {"root ::= \"a\"{2,}", "aaaaaa", 1},
        {"root ::= \"a\"{2,4}", "aaaa", 1},
        {"root ::= \"a\"{2,4}", "aaaaa", -1},
        {"root ::= \"a\"{,2} \"b\"", "b", 1},
        {"root ::= (\"a\"? \"b\"?)* \"c\"", "abbac", 1},
        {"root ::= ((\"a\"*)*)* \"c\"", "aac", 1},
        {"root ::= (\"a\"*){3,5} \"c\"", "aaaaaaaaaac", 1},
        {"root ::= \"(\" root \")\" | \"x\"", "(((x)))", 1},
        {"root ::= \"(\" root \")\" | \"x\"", "(((x))", 0},
        {"root ::= \"(\" root \")\" | \"x\"", "((x)))", -1},
        {"root ::= # a comment\n  \"a\" # another\n  \"b\"\n\nother ::= \"c\"", "ab", 1},
        {"root ::= a a\na ::= \"x\" | \"\"", "x", 1},
        {"root ::= \"\\x41\\u0042\\U00000043\\n\\\"\"", "ABC\n\"", 1},
        {"root ::= [\\]\\\\]", "]", 1},
        {"root ::= \"a\" dead | \"b\"\ndead ::= \"x\" dead", "a", -1},
        {"root ::= \"a\"{1000,2000}", "aaa", 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int result = match(rows[i].gbnf, str_from(rows[i].text));
        if (result != rows[i].result)
            fail_msg("%s on %s: %d", rows[i].gbnf, rows[i].text, result);
    }
}

static void test_refuses(void **state)
{
    static const struct {
        const char *gbnf;
        int code;
    } rows[] = {
        {"", ERROR_INVALID},
        {"root ::= a", ERROR_INVALID},
        {"root ::= \"a", ERROR_INVALID},
        {"root ::= [a", ERROR_INVALID},
        {"root ::= (\"a\"", ERROR_INVALID},
        {"root ::= \"a\")", ERROR_INVALID},
        {"root ::= [z-a]", ERROR_INVALID},
        {"root ::= \"a\"{3,2}", ERROR_INVALID},
        {"root ::= \"a\"{99999999999}", ERROR_INVALID},
        {"root ::= \"\\q\"", ERROR_INVALID},
        {"root ::= \"a\"\nroot ::= \"b\"", ERROR_INVALID},
        {"root ::= root \"a\" | \"b\"", ERROR_UNSUPPORTED},
        {"root ::= x\nx ::= \"q\"? y\ny ::= x \"a\" | \"b\"", ERROR_UNSUPPORTED},
        {"root ::= \"a\" root", ERROR_INVALID},
        {"root ::= []", ERROR_INVALID},
        {"root ::= (\"a\"?){1,1000}", ERROR_UNSUPPORTED},
        {"root = \"a\"", ERROR_INVALID},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct grammar *g;
        struct error err = {0};
        int rc = grammar_parse(str_from(rows[i].gbnf), &g, &err);
        if (rc != rows[i].code || err.message[0] == '\0')
            fail_msg("%s: %d %s", rows[i].gbnf, rc, err.message);
        assert_null(g);
    }
}

static void nested_parentheses_are_bounded(void **state)
{
    struct buf text;
    struct grammar *g;
    struct error err;
    (void)state;
    buf_init(&text, 1 << 20);
    buf_append_text(&text, "root ::= ");
    for (int i = 0; i < 100000; i++)
        buf_append_char(&text, '(');
    assert_int_equal(ERROR_INVALID, grammar_parse(buf_str(&text), &g, &err));
    buf_free(&text);
}

/* The mask is what accepting each token on its own says. */
static void masks_agree_with_single_tokens(void **state)
{
    static const char gbnf[] =
        "root ::= \"{\\\"\" [a-z\xC3\xA9]* \"\\\":\" (\"true\" | [0-9]{1,3} | <[315]>) \"}\"";
    struct grammar *g;
    struct grammar_matcher *m, *probe;
    struct error err;
    struct buf written;
    (void)state;
    struct buf text;
    buf_init(&text, 1 << 16);
    buf_append_text(&text, gbnf);
    buf_clear(&text);
    buf_appendf(&text, "root ::= \"{\\\"\" [a-z\xC3\xA9]* \"\\\":\" (\"true\" | [0-9]{1,3} | <[%d]>) \"}\"",
        RIG_SPECIAL);
    assert_int_equal(0, grammar_parse(buf_str(&text), &g, &err));
    buf_init(&written, 1 << 16);
    assert_int_equal(0, grammar_matcher_create(g, vocab, &m, &err));
    for (uint32_t seed = 1, step = 0; step < 60; step++) {
        float logits[RIG_VOCAB] = {0};
        int32_t fits[RIG_VOCAB], n = 0;
        int rc = grammar_matcher_mask(m, logits, &err);
        assert_int_equal(1, rc);
        for (int32_t id = 0; id < RIG_VOCAB; id++) {
            assert_int_equal(0, grammar_matcher_create(g, vocab, &probe, &err));
            assert_int_equal(1, grammar_matcher_text(probe, buf_str(&written), &err));
            int alone = grammar_matcher_accept(probe, id, &err);
            if ((alone == 1) != (logits[id] > -INFINITY))
                fail_msg("token %d after %.*s: %d, %f", id, (int)written.len, written.data, alone,
                    (double)logits[id]);
            if (alone == 1)
                fits[n++] = id;
            grammar_matcher_free(probe);
        }
        seed = seed * 1103515245u + 12345u;
        int32_t id = fits[(seed >> 8) % (uint32_t)n];
        if (id == RIG_END || id == RIG_SPECIAL)
            break;
        assert_int_equal(1, grammar_matcher_accept(m, id, &err));
        rig_piece(NULL, id, &written);
    }
    assert_true(written.len > 2);
    grammar_matcher_free(m);
    grammar_free(g);
    buf_free(&written);
    buf_free(&text);
}

static void the_end_comes_where_the_grammar_is_complete(void **state)
{
    struct grammar *g;
    struct grammar_matcher *m;
    struct error err;
    (void)state;
    assert_int_equal(0, grammar_parse(STR("root ::= \"no\" <[999]>?"), &g, &err));
    assert_int_equal(0, grammar_matcher_create(g, vocab, &m, &err));
    float logits[RIG_VOCAB] = {0};
    assert_int_equal(1, grammar_matcher_mask(m, logits, &err));
    assert_true(isinf(logits[RIG_END]));
    assert_int_equal(0, grammar_matcher_accept(m, RIG_END, &err));
    assert_int_equal(1, grammar_matcher_text(m, STR("no"), &err));
    memset(logits, 0, sizeof logits);
    assert_int_equal(1, grammar_matcher_mask(m, logits, &err));
    for (int32_t id = 0; id < RIG_VOCAB; id++)
        assert_int_equal(id == RIG_END, logits[id] == 0.0f);
    assert_int_equal(1, grammar_matcher_accept(m, RIG_END, &err));
    grammar_matcher_free(m);
    grammar_free(g);
}

/* What is remembered is forgotten when it is full, and the answer goes on. */
static void long_answers_go_on(void **state)
{
    struct grammar *g;
    struct grammar_matcher *m;
    struct error err;
    (void)state;
    assert_int_equal(0, grammar_parse(STR("root ::= (\"a\" | \"(\" root \")\"){60000}"), &g, &err));
    assert_int_equal(0, grammar_matcher_create(g, vocab, &m, &err));
    for (int i = 0; i < 30000; i++)
        assert_int_equal(1, grammar_matcher_text(m, i % 3 ? STR("a") : STR("("), &err));
    float logits[RIG_VOCAB] = {0};
    assert_int_equal(1, grammar_matcher_mask(m, logits, &err));
    assert_true(isinf(logits['b']) && !isinf(logits['a']));
    grammar_matcher_free(m);
    grammar_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matches),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(nested_parentheses_are_bounded),
        cmocka_unit_test(masks_agree_with_single_tokens),
        cmocka_unit_test(the_end_comes_where_the_grammar_is_complete),
        cmocka_unit_test(long_answers_go_on),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
