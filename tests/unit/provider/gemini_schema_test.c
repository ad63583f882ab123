#include "fixture.h"

#include "provider/gemini.h"

static void assert_becomes(const char *schema, const char *expect)
{
    struct chat_request *r = request_create();
    struct error err;
    size_t budget = 10000;
    json_t *got;
    if (provider_gemini_schema(request_json(r, schema), &budget, &got, &err))
        fail_msg("%s", err.message);
    assert_true(budget < 10000);
    if (!expect) {
        assert_null(got);
    } else {
        char *text = json_dumps(got, JSON_ENCODE_ANY);
        if (!json_equal(got, request_json(r, expect)))
            fail_msg("got  %s\nwant %s", text, expect);
        free(text);
    }
    json_decref(got);
    request_free(r);
}

/* What a property with this schema becomes. */
static void assert_property(const char *schema, const char *expect)
{
    char in[2048], out[2048];
    snprintf(in, sizeof in,
        "{\"properties\":{\"p\":%s},\"$defs\":{\"Place\":{\"type\":\"object\","
        "\"description\":\"where\",\"properties\":{\"city\":{\"type\":\"string\"}},\"required\":[\"city\"]},"
        "\"Tree\":{\"type\":\"object\",\"properties\":{\"left\":{\"$ref\":\"#/$defs/Tree\"},\"right\":"
        "{\"$ref\":\"#/$defs/Tree\"}}}}}",
        schema);
    snprintf(out, sizeof out, "{\"type\":\"object\",\"properties\":{\"p\":%s}}", expect);
    assert_becomes(in, out);
}

static void test_unknown_keys_go(void **state)
{
    (void)state;
    assert_becomes(
        "{\"$schema\":\"http://json-schema.org/draft-07/schema#\",\"title\":\"T\",\"type\":\"object\","
        "\"additionalProperties\":false,\"description\":\"d\",\"properties\":{\"a\":{\"type\":"
        "\"string\",\"minLength\":1,\"pattern\":\"^x\",\"default\":\"x\",\"$comment\":\"c\"},"
        "\"b\":{\"type\":\"number\",\"minimum\":0.5,\"exclusiveMaximum\":3,\"format\":\"float\"}},"
        "\"required\":[\"a\",\"nowhere\",7],\"minProperties\":1}",
        "{\"type\":\"object\",\"description\":\"d\",\"properties\":{\"a\":{\"type\":\"string\",\"minLength\":"
        "1,"
        "\"pattern\":\"^x\"},\"b\":{\"type\":\"number\",\"minimum\":0.5,\"format\":\"float\"}},"
        "\"required\":[\"a\"],\"minProperties\":1}");
    /* A property may be called like a key. */
    assert_becomes("{\"properties\":{\"$schema\":{\"type\":\"string\"},\"type\":{\"type\":\"integer\"}}}",
        "{\"type\":\"object\",\"properties\":{\"$schema\":{\"type\":\"string\"},\"type\":{\"type\":"
        "\"integer\"}}}");
    assert_becomes("{\"type\":\"object\",\"properties\":{}}", NULL);
    assert_becomes("{\"type\":\"object\"}", NULL);
}

static void test_types_that_are_missing_or_several(void **state)
{
    (void)state;
    assert_property("{}", "{\"type\":\"string\"}");
    assert_property("true", "{\"type\":\"string\"}");
    assert_property("{\"type\":\"any\"}", "{\"type\":\"string\"}");
    assert_property("{\"type\":\"array\"}", "{\"type\":\"array\",\"items\":{\"type\":\"string\"}}");
    assert_property("{\"items\":{\"type\":\"integer\"},\"maxItems\":3,\"uniqueItems\":true}",
        "{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"maxItems\":3}");
    assert_property("{\"type\":[\"string\",\"null\"],\"description\":\"d\",\"minLength\":2}",
        "{\"type\":\"string\",\"nullable\":true,\"description\":\"d\",\"minLength\":2}");
    assert_property("{\"type\":[\"string\",\"integer\",\"null\"],\"description\":\"d\"}",
        "{\"anyOf\":[{\"type\":\"string\",\"description\":\"d\",\"nullable\":true},"
        "{\"type\":\"integer\",\"description\":\"d\",\"nullable\":true}]}");
    assert_property("{\"type\":[\"null\"]}", "{\"type\":\"string\",\"nullable\":true}");
}

static void test_alternatives(void **state)
{
    (void)state;
    assert_property("{\"anyOf\":[{\"type\":\"integer\",\"minimum\":1},{\"type\":\"null\"}],\"default\":null,"
                    "\"description\":\"d\"}",
        "{\"type\":\"integer\",\"minimum\":1,\"nullable\":true,\"description\":\"d\"}");
    assert_property("{\"oneOf\":[{\"type\":\"string\",\"description\":\"own\"},{\"type\":\"boolean\"}],"
                    "\"description\":\"d\"}",
        "{\"anyOf\":[{\"type\":\"string\",\"description\":\"own\"},{\"type\":\"boolean\",\"description\":"
        "\"d\"}]}");
    assert_property(
        "{\"anyOf\":[{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"integer\"}]},{\"type\":\"null\"}]}",
        "{\"anyOf\":[{\"type\":\"string\",\"nullable\":true},{\"type\":\"integer\",\"nullable\":true}]}");
}

static void test_enums_are_texts(void **state)
{
    (void)state;
    assert_property("{\"enum\":[\"a\",\"b\"]}", "{\"type\":\"string\",\"enum\":[\"a\",\"b\"]}");
    assert_property("{\"const\":\"a\"}", "{\"type\":\"string\",\"enum\":[\"a\"]}");
    assert_property("{\"type\":\"string\",\"enum\":[\"a\",null]}",
        "{\"type\":\"string\",\"enum\":[\"a\"],\"nullable\":true}");
    assert_property("{\"type\":\"string\",\"enum\":[\"a\",\"\"]}", "{\"type\":\"string\"}");
    assert_property("{\"type\":\"integer\",\"enum\":[1,2]}", "{\"type\":\"integer\"}");
}

static void test_formats(void **state)
{
    (void)state;
    assert_property(
        "{\"type\":\"string\",\"format\":\"date-time\"}", "{\"type\":\"string\",\"format\":\"date-time\"}");
    assert_property("{\"type\":\"string\",\"format\":\"uri\"}", "{\"type\":\"string\"}");
    assert_property(
        "{\"type\":\"integer\",\"format\":\"int64\"}", "{\"type\":\"integer\",\"format\":\"int64\"}");
}

static void test_references(void **state)
{
    static const char place[] = "{\"type\":\"object\",\"description\":\"where\",\"properties\":{\"city\":"
                                "{\"type\":\"string\"}},\"required\":[\"city\"]}";
    (void)state;
    assert_property("{\"$ref\":\"#/$defs/Place\"}", place);
    assert_property("{\"allOf\":[{\"$ref\":\"#/$defs/Place\"}]}", place);
    assert_property("{\"anyOf\":[{\"$ref\":\"#/$defs/Place\"},{\"type\":\"null\"}],\"description\":\"d\"}",
        "{\"type\":\"object\",\"description\":\"d\",\"properties\":{\"city\":{\"type\":\"string\"}},"
        "\"required\":[\"city\"],\"nullable\":true}");
    assert_property("{\"allOf\":[{\"$ref\":\"#/$defs/Place\"},{\"type\":\"object\",\"properties\":{\"zip\":"
                    "{\"type\":\"integer\"}},\"required\":[\"zip\"]}]}",
        "{\"type\":\"object\",\"description\":\"where\",\"properties\":{\"city\":{\"type\":\"string\"},"
        "\"zip\":{\"type\":\"integer\"}},\"required\":[\"city\",\"zip\"]}");
    /* A tree is cut where it would hold itself. */
    assert_property("{\"$ref\":\"#/$defs/Tree\"}",
        "{\"type\":\"object\",\"properties\":{\"left\":{\"type\":\"object\"},\"right\":{\"type\":\"object\"}"
        "}}");
}

static void assert_refused(struct str schema, int code, const char *why)
{
    struct error err = {0};
    size_t budget = 10000;
    json_t *tree, *got;
    if (json_read(schema, &tree, &err))
        fail_msg("%s", err.message);
    assert_int_equal(provider_gemini_schema(tree, &budget, &got, &err), code);
    assert_null(got);
    if (!strstr(err.message, why))
        fail_msg("'%s' does not say '%s'", err.message, why);
    json_decref(tree);
}

static void test_hostile_schemas(void **state)
{
    struct buf b;
    (void)state;
    assert_refused(STR("{\"properties\":{\"p\":{\"$ref\":\"#/$defs/None\"}}}"), ERROR_INVALID, "'$ref'");
    assert_refused(STR("{\"properties\":{\"p\":{\"$ref\":\"http://x/y\"}}}"), ERROR_INVALID, "'$ref'");
    assert_refused(
        STR("{\"properties\":{\"p\":{\"$ref\":\"#/properties/p/$ref\"}}}"), ERROR_INVALID, "'$ref'");
    /* Each doubles the next: 2 to the 40th objects. */
    buf_init(&b, MIB);
    buf_append_text(&b, "{\"$ref\":\"#/d/a0\",\"d\":{");
    for (int i = 0; i < 40; i++)
        buf_appendf(&b,
            "\"a%d\":{\"properties\":{\"x\":{\"$ref\":\"#/d/a%d\"},\"y\":{\"$ref\":\"#/d/a%d\"}}},", i, i + 1,
            i + 1);
    buf_append_text(&b, "\"a40\":{}}}");
    assert_refused(buf_str(&b), ERROR_LIMIT, "too large");
    /* A chain longer than any stack. */
    buf_clear(&b);
    buf_append_text(&b, "{\"$ref\":\"#/d/a0\",\"d\":{");
    for (int i = 0; i < 5000; i++)
        buf_appendf(&b, "\"a%d\":{\"$ref\":\"#/d/a%d\"},", i, i + 1);
    buf_append_text(&b, "\"a5000\":{}}}");
    assert_refused(buf_str(&b), ERROR_LIMIT, "too large");
    /* Long lists are paid for too. */
    buf_clear(&b);
    buf_append_text(&b, "{\"properties\":{\"p\":{\"type\":[");
    for (int i = 0; i < 9000; i++)
        buf_append_text(&b, "\"string\",");
    buf_append_text(&b, "\"string\"]}}}");
    assert_refused(buf_str(&b), ERROR_LIMIT, "too large");
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unknown_keys_go),
        cmocka_unit_test(test_types_that_are_missing_or_several),
        cmocka_unit_test(test_alternatives),
        cmocka_unit_test(test_enums_are_texts),
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_hostile_schemas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
