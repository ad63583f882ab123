#include "engine/worker/json_schema.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

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

/* ---- Random answers ---- */

/* After a while, what closes is preferred. */
static int32_t draw(const float *fits, size_t step)
{
    static const char closing[] = "0]}x\"";
    int32_t best = -1;
    float most = -INFINITY;
    for (int32_t id = 0; id < RIG_VOCAB; id++) {
        if (isinf(fits[id]))
            continue;
        float value = (float)below(1 << 20) + (id == RIG_END ? 3e5f : 0);
        if (step > 60 && id < 256 && id > 0 && strchr(closing, id))
            value += 3e6f + 1e6f * (float)(strchr(closing, id) - closing);
        if (step > 60 && (id == RIG_END || id == 'n'))
            value += id == 'n' ? 2e6f : 1e7f;
        if (value > most) {
            most = value;
            best = id;
        }
    }
    return best;
}

enum { STEPS_MAX = 5000 };

static void answer_random(struct grammar_matcher *m, struct buf *out)
{
    struct error err = {0};
    for (size_t step = 0; step < STEPS_MAX; step++) {
        float logits[RIG_VOCAB] = {0};
        if (grammar_matcher_mask(m, logits, &err) != 1)
            fail_msg("after %.*s: %s", (int)out->len, out->data, err.message);
        int32_t id = draw(logits, step);
        if (grammar_matcher_accept(m, id, &err) != 1)
            fail_msg("token %d does not fit after %.*s", id, (int)out->len, out->data);
        if (id == RIG_END)
            return;
        rig_piece(NULL, id, out);
    }
    fail_msg("no end: %.*s", (int)out->len, out->data);
}

static void check_answer(const json_t *schema, uint32_t number)
{
    struct buf gbnf, answer;
    struct grammar *g = NULL;
    struct grammar_matcher *m;
    struct error err = {0};
    buf_init(&gbnf, 1 << 22);
    buf_init(&answer, 1 << 22);
    char *text = json_dumps(schema, JSON_ENCODE_ANY);
    if (json_schema_grammar(schema, &gbnf, &err) || grammar_parse(buf_str(&gbnf), &g, &err))
        fail_msg("schema %u, %s: %s\n%.*s", number, text, err.message, (int)gbnf.len, gbnf.data);
    assert_int_equal(0, grammar_matcher_create(g, vocab, &m, &err));
    answer_random(m, &answer);
    json_error_t where;
    json_t *value = json_loadb(answer.data, answer.len, JSON_DECODE_ANY, &where);
    if (!value)
        fail_msg("schema %u, %s: no JSON: %s: %.*s", number, text, where.text, (int)answer.len, answer.data);
    if (!valid(schema, schema, value))
        fail_msg("schema %u, %s: not valid: %.*s", number, text, (int)answer.len, answer.data);
    json_decref(value);
    free(text);
    grammar_matcher_free(m);
    grammar_free(g);
    buf_free(&gbnf);
    buf_free(&answer);
}

static void answers_are_valid_for_10000_random_schemas(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 10000; i++) {
        rand_pcg_seed(&dice, i + 1);
        json_t *schema = root_random();
        check_answer(schema, i);
        json_decref(schema);
    }
}

/* ---- Single schemas ---- */

static int outcome(const char *schema, const char *answer, struct error *err)
{
    struct buf gbnf;
    struct grammar *g = NULL;
    struct grammar_matcher *m = NULL;
    json_t *tree;
    assert_int_equal(0, json_read(str_from(schema), &tree, err));
    buf_init(&gbnf, 1 << 22);
    int rc = json_schema_grammar(tree, &gbnf, err);
    if (rc == 0)
        rc = grammar_parse(buf_str(&gbnf), &g, err);
    if (rc == 0) {
        assert_int_equal(0, grammar_matcher_create(g, vocab, &m, err));
        rc = grammar_matcher_text(m, str_from(answer), err) == 1 && grammar_matcher_complete(m);
    }
    grammar_matcher_free(m);
    grammar_free(g);
    buf_free(&gbnf);
    json_decref(tree);
    return rc;
}

static void test_answers(void **state)
{
    static const struct {
        const char *schema, *answer;
        int result;
    } rows[] = {
        {"{\"type\":\"object\"}", "{\"a\": [1, {\"b\": null}]}", 1},
        {"{}", "[1.5e3, \"x\", {}]", 1},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"string\"}},"
         "\"required\":[\"a\"],"
         "\"additionalProperties\":false}",
            "{\n  \"a\": 5,\n  \"b\": \"x\"\n}", 1},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"string\"}},"
         "\"required\":[\"b\"]}",
            "{\"b\":\"\"}", 1},
        {"{\"type\":\"object\",\"properties\":{\"a\":{}},\"required\":[\"a\"]}", "{}", 0},
        {"{\"type\":\"object\",\"properties\":{\"a\":{}},\"additionalProperties\":{\"type\":\"integer\"}}",
            "{\"ab\":1}", 1},
        {"{\"type\":\"object\",\"properties\":{\"a\":{}},\"additionalProperties\":{\"type\":\"integer\"}}",
            "{\"b\":\"\"}", 0},
        {"{\"type\":\"integer\",\"minimum\":-5,\"maximum\":120}", "-5", 1},
        {"{\"type\":\"integer\",\"minimum\":-5,\"maximum\":120}", "-6", 0},
        {"{\"type\":\"integer\",\"minimum\":-5,\"maximum\":120}", "120", 1},
        {"{\"type\":\"integer\",\"minimum\":-5,\"maximum\":120}", "121", 0},
        {"{\"type\":\"integer\",\"exclusiveMinimum\":0}", "0", 0},
        {"{\"type\":\"integer\",\"exclusiveMinimum\":0}", "1", 1},
        {"{\"type\":\"number\",\"exclusiveMinimum\":0}", "0.01", 1},
        {"{\"type\":\"number\",\"exclusiveMinimum\":0}", "0.00", 0},
        {"{\"type\":\"number\",\"minimum\":0,\"maximum\":1}", "0.75", 1},
        {"{\"type\":\"number\",\"minimum\":0,\"maximum\":1}", "1.1", 0},
        {"{\"type\":\"string\",\"maxLength\":2}", "\"\xC3\xA9\\u00e9\"", 1},
        {"{\"type\":\"string\",\"maxLength\":2}", "\"abc\"", 0},
        {"{\"type\":\"string\",\"pattern\":\"^(foo|ba[rz])$\"}", "\"baz\"", 1},
        {"{\"type\":\"string\",\"pattern\":\"^(foo|ba[rz])$\"}", "\"bay\"", 0},
        {"{\"type\":\"string\",\"format\":\"date\"}", "\"2024-02-28\"", 1},
        {"{\"type\":\"string\",\"format\":\"date\"}", "\"2024-13-01\"", 0},
        {"{\"type\":\"string\",\"format\":\"date-time\"}", "\"2024-02-28T10:00:00Z\"", 1},
        {"{\"type\":\"string\",\"format\":\"date-time\"}", "\"2024-02-28T10:00:00z\"", 0},
        {"{\"type\":\"string\",\"format\":\"date-time\"}", "\"2024-02-28t10:00:00Z\"", 0},
        {"{\"$ref\":\"#/$defs/"
         "n\",\"$defs\":{\"n\":{\"type\":\"object\",\"properties\":{\"v\":{\"type\":\"integer\"},\"c\":{"
         "\"type\":\"array\","
         "\"items\":{\"$ref\":\"#/$defs/n\"}}},\"required\":[\"v\",\"c\"],\"additionalProperties\":false}}}",
            "{\"v\":1,\"c\":[{\"v\":2,\"c\":[]}]}", 1},
        {"{\"type\":[\"string\",\"null\"],\"enum\":[\"a\",null]}", "null", 1},
        {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":2,\"maxItems\":3}", "[1]", 0},
        {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":2,\"maxItems\":3}", "[1,2,3]", 1},
        {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":2,\"maxItems\":3}", "[1,2,3,4]",
            0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct error err = {0};
        int result = outcome(rows[i].schema, rows[i].answer, &err);
        if (result != rows[i].result)
            fail_msg("%s on %s: %d %s", rows[i].schema, rows[i].answer, result, err.message);
    }
}

static void what_cannot_be_enforced_is_named(void **state)
{
    static const struct {
        const char *schema, *names;
        int code;
    } rows[] = {
        {"{\"not\":{\"type\":\"string\"}}", "'not'", ERROR_UNSUPPORTED},
        {"{\"type\":\"array\",\"uniqueItems\":true}", "'uniqueItems'", ERROR_UNSUPPORTED},
        {"{\"type\":\"array\",\"contains\":{}}", "'contains'", ERROR_UNSUPPORTED},
        {"{\"type\":\"integer\",\"multipleOf\":3}", "'multipleOf'", ERROR_UNSUPPORTED},
        {"{\"type\":\"number\",\"minimum\":0.5}", "'minimum'", ERROR_UNSUPPORTED},
        {"{\"type\":\"object\",\"patternProperties\":{}}", "'patternProperties'", ERROR_UNSUPPORTED},
        {"{\"type\":\"object\",\"minProperties\":2}", "'minProperties'", ERROR_UNSUPPORTED},
        {"{\"type\":\"string\",\"format\":\"regex\"}", "'regex'", ERROR_UNSUPPORTED},
        {"{\"type\":\"string\",\"pattern\":\"(?=a)b\"}", "look ahead", ERROR_UNSUPPORTED},
        {"{\"type\":\"string\",\"pattern\":\"(a)\\\\1\"}", "escape", ERROR_UNSUPPORTED},
        {"{\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"number\"}]}", "'oneOf'", ERROR_UNSUPPORTED},
        {"{\"$ref\":\"http://example.com/x\"}", "'$ref'", ERROR_UNSUPPORTED},
        {"{\"$ref\":\"#/$defs/x\"}", "not there", ERROR_INVALID},
        {"{\"$ref\":\"#\"}", "circle", ERROR_INVALID},
        {"{\"type\":\"strin\"}", "'strin'", ERROR_INVALID},
        {"{\"type\":\"integer\",\"minimum\":5,\"maximum\":4}", "bounds", ERROR_INVALID},
        {"{\"type\":\"string\",\"enum\":[1]}", "no value", ERROR_INVALID},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#\"}},\"required\":[\"a\"]}", "never ends",
            ERROR_INVALID},
        {"false", "nothing", ERROR_INVALID},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct error err = {0};
        int result = outcome(rows[i].schema, "", &err);
        if (result != rows[i].code || !strstr(err.message, rows[i].names))
            fail_msg("%s: %d %s", rows[i].schema, result, err.message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(what_cannot_be_enforced_is_named),
        cmocka_unit_test(answers_are_valid_for_10000_random_schemas),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
