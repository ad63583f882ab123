#include "engine/worker/chat_template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "unit/engine/shared.h"

enum { NOON = 1795176000 }; /* 2026-11-20T12:00:00Z */

static bool has_token(void *ctx, struct str text)
{
    return str_is(text, ctx);
}

static struct chat_template *create(const char *source, const char *architecture, const char *token)
{
    struct chat_template_setup setup = {.source = str_from(source),
        .architecture = str_from(architecture),
        .bos = STR("<s>"),
        .eos = STR("</s>"),
        .has_token = token ? has_token : NULL,
        .ctx = (void *)(uintptr_t)token};
    struct chat_template *t = NULL;
    struct error err;
    if (chat_template_create(&setup, &t, &err) != 0)
        fail_msg("%s", err.message);
    return t;
}

static int render(const struct chat_template *t, const char *body, struct buf *out, struct error *err)
{
    json_t *tree;
    assert_int_equal(json_read(str_from(body), &tree, err), 0);
    buf_init(out, LIMIT_TEMPLATE_OUTPUT);
    int rc = chat_template_render(t, tree, NOON, out, err);
    json_decref(tree);
    return rc;
}

static void expect(const char *source, const char *body, const char *expected)
{
    struct chat_template *t = create(source, "", NULL);
    struct error err = {0};
    struct buf out;
    assert_null(chat_template_fallback(t));
    if (render(t, body, &out, &err) != 0)
        fail_msg("%s: %s", source, err.message);
    assert_string_equal(out.data ? out.data : "", expected);
    buf_free(&out);
    chat_template_free(t);
}

static void refuse(const char *source, const char *body, int code, const char *says)
{
    struct chat_template *t = create(source, "", NULL);
    struct error err = {0};
    struct buf out;
    assert_int_equal(render(t, body, &out, &err), code);
    assert_non_null(strstr(err.message, says));
    assert_int_equal(out.len, 0);
    buf_free(&out);
    chat_template_free(t);
}

#define PLAIN "{% for m in messages %}{{ m.role }}={{ m.content }};{% endfor %}"

static void test_values(void **state)
{
    (void)state;
    const char *hi = "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
    expect(PLAIN "{{ bos_token }}{{ eos_token }}{{ add_generation_prompt }}{{ tools is defined }}", hi,
        "user=hi;<s></s>TrueFalse");
    expect("{{ strftime_now('%Y-%m-%d %H:%M') }}", hi, "2026-11-20 12:00");
    expect("{{ bos_token }}{{ add_generation_prompt }}{{ strftime_now('%F %T') }}{{ thinking }}{{ effort "
           "}}{{ model }}",
        "{\"messages\":[],\"model\":\"m\",\"bos_token\":\"B\",\"add_generation_prompt\":false,\"now\":"
        "\"2024-02-29T23:59:58Z\",\"thinking\":true,\"chat_template_kwargs\":{\"effort\":\"low\"}}",
        "BFalse2024-02-29 23:59:58Truelow");
    refuse(PLAIN, "{}", ERROR_INVALID, "messages");
    refuse(PLAIN, "{\"messages\":[1]}", ERROR_INVALID, "messages[0]");
    refuse(PLAIN, "{\"messages\":[],\"now\":\"yesterday\"}", ERROR_INVALID, "now");
    refuse(PLAIN, "{\"messages\":[],\"now\":\"2024-13-01\"}", ERROR_INVALID, "now");
    refuse("{{ raise_exception('no ' ~ messages[0].role) }}", hi, ERROR_INVALID, "no user");
}

#define CALL(arguments)                                                                                      \
    "{\"messages\":[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"1\",\"function\":{"   \
    "\"name\":\"f\",\"arguments\":" arguments "}}]}]}"

static void test_arguments(void **state)
{
    (void)state;
    const char *object = "{{ messages[0].tool_calls[0].function.arguments.city }}";
    const char *json = "{{ messages[0].tool_calls[0].function.arguments | tojson }}";
    const char *added = "{{ '' + messages[0].tool_calls[0].function.arguments }}";
    expect(object, CALL("{\"city\":\"Paris\"}"), "Paris");
    expect(object, CALL("\"{\\\"city\\\":\\\"Paris\\\"}\""), "Paris");
    expect(json, CALL("\"{\\\"city\\\": \\\"Paris\\\"}\""), "{\"city\": \"Paris\"}");
    expect(json, CALL("\"not JSON\""), "\"not JSON\"");
    expect(json, CALL("\"[1]\""), "\"[1]\"");
    /* A template that adds them to text takes the text. */
    expect(added, CALL("\"{\\\"city\\\": 1}\""), "{\"city\": 1}");
    refuse(added, CALL("{\"city\":1}"), ERROR_INVALID, "dict");
}

#define PARTS                                                                                                \
    "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\","  \
    "\"text\":\"b\"}]}]}"
#define IMAGE                                                                                                \
    "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"x\"}}]" \
    "}]}"

static void test_content(void **state)
{
    (void)state;
    const char *walks =
        "{% for m in messages %}{% for p in m.content %}[{{ p.text or p.type }}]{% endfor %}{% endfor %}";
    const char *both = "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}"
                       "{% for p in m.content %}[{{ p.text or p.type }}]{% endfor %}{% endif %}{% endfor %}";
    const char *text = "{\"messages\":[{\"role\":\"user\",\"content\":\"ab\"}]}";
    expect(PLAIN, PARTS, "user=a\nb;");
    expect(both, PARTS, "[a][b]");
    expect(both, text, "ab");
    expect(both, IMAGE, "[image_url]");
    expect(walks, PARTS, "[a][b]");
    expect(walks, text, "[ab]");
    expect("{{ messages[0]['content'] + '!' }}", PARTS, "a\nb!");
    refuse(PLAIN, IMAGE, ERROR_UNSUPPORTED, "messages[0]");
}

/* Adding a call's null to a text was an error of the request. */
static void test_no_content_is_none_or_empty_as_the_template_takes_it(void **state)
{
    static const char call[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":null,"
        "\"tool_calls\":[{\"id\":\"a\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":"
        "\"{}\"}}]},{\"role\":\"tool\",\"tool_call_id\":\"a\",\"content\":\"r\"}]}";
    (void)state;
    expect("{% for m in messages %}{{ m.role + ':' + m.content + ';' }}{% endfor %}", call,
        "user:q;assistant:;tool:r;");
    expect(
        "{% for m in messages %}{% if m.content is none %}-{% else %}{{ m.content }}{% endif %}{% endfor %}",
        call, "q-r");
}

static void test_developer(void **state)
{
    (void)state;
    const char *body = "{\"messages\":[{\"role\":\"developer\",\"content\":\"x\"}]}";
    expect(PLAIN, body, "system=x;");
    expect(PLAIN "{% if messages[0].role == 'developer' %}!{% endif %}", body, "developer=x;!");
}

static void test_fallbacks(void **state)
{
    (void)state;
    static const struct {
        const char *token, *architecture, *name, *expected;
    } rows[] = {
        {"<|im_start|>", "llama", "chatml",
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\nA<|im_"
            "end|>\n"
            "<|im_start|>user\nV<|im_end|>\n<|im_start|>assistant\n"},
        {"<|start_header_id|>", "llama", "llama-3",
            "<s><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user<|end_header_"
            "id|>\n\n"
            "U<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nA<|eot_id|><|start_header_id|>user"
            "<|end_header_id|>\n\nV<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
        {"<start_of_turn>", "gemma2", "gemma",
            "<s><start_of_turn>user\nS\n\nU<end_of_turn>\n<start_of_turn>model\nA<end_of_turn>\n"
            "<start_of_turn>user\nV<end_of_turn>\n<start_of_turn>model\n"},
        {NULL, "gemma3", "gemma",
            "<s><start_of_turn>user\nS\n\nU<end_of_turn>\n<start_of_turn>model\nA<end_of_turn>\n"
            "<start_of_turn>user\nV<end_of_turn>\n<start_of_turn>model\n"},
        {"[INST]", "llama", "llama-2",
            "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nU [/INST] A </s><s>[INST] V [/INST]"},
        {"<|end|>", "phi3", "phi-3",
            "<|system|>\nS<|end|>\n<|user|>\nU<|end|>\n<|assistant|>\nA<|end|>\n<|user|>\nV<|end|>\n<|"
            "assistant|>\n"},
        {"nothing known", "gemma", "plain", "<s>system: S\nuser: U\nassistant: A\nuser: V\nassistant:"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct chat_template *t = create("", rows[i].architecture, rows[i].token);
        struct buf out;
        struct error err;
        assert_string_equal(chat_template_fallback(t), rows[i].name);
        assert_int_equal(
            render(t,
                "{\"messages\":[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":"
                "\"U\"},{\"role\":\"assistant\",\"content\":\"A\"},{\"role\":\"user\",\"content\":\"V\"}]}",
                &out, &err),
            0);
        assert_string_equal(out.data, rows[i].expected);
        buf_free(&out);
        assert_int_equal(render(t, "{\"messages\":[],\"tools\":[{}]}", &out, &err), ERROR_INVALID);
        assert_non_null(strstr(err.message, "tools"));
        buf_free(&out);
        chat_template_free(t);
    }
}

static void test_bad_setup(void **state)
{
    (void)state;
    struct chat_template_setup setup = {.source = STR("{% if %}")};
    struct chat_template *t = NULL;
    struct error err;
    assert_int_equal(chat_template_create(&setup, &t, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "line 1"));
    setup = (struct chat_template_setup){.source = STR("{{ bos_token }}|"), .bos = STR("\xff\xfe")};
    assert_int_equal(chat_template_create(&setup, &t, &err), 0); /* a token that is no text is none */
    struct buf out;
    assert_int_equal(render(t, "{\"messages\":[]}", &out, &err), 0);
    assert_string_equal(out.data, "|");
    buf_free(&out);
    chat_template_free(t);
    chat_template_free(NULL);
}

/* Command R's and Hermes' files have a second template; the first one does not know of tools. */
static void test_tools_went_through_the_template_that_knows_none(void **state)
{
    (void)state;
    struct chat_template_setup setup = {.source = STR("{{ messages[0].content }}"),
        .with_tools = STR("{{ tools[0].function.name }}: {{ messages[0].content }}")};
    const char *const tools = "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"tools\":"
                              "[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]}";
    const char *const none = "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"tools\":[]}";
    struct chat_template *t = NULL;
    struct error err;
    struct buf out;
    assert_int_equal(chat_template_create(&setup, &t, &err), 0);
    assert_int_equal(render(t, tools, &out, &err), 0);
    assert_string_equal(out.data, "f: a");
    buf_free(&out);
    assert_int_equal(render(t, none, &out, &err), 0);
    assert_string_equal(out.data, "a");
    buf_free(&out);
    chat_template_free(t);
    setup.with_tools = STR("{% if %}"); /* the other one works, still */
    assert_int_equal(chat_template_create(&setup, &t, &err), 0);
    assert_int_equal(render(t, none, &out, &err), 0);
    buf_free(&out);
    assert_int_equal(render(t, tools, &out, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "line 1"));
    buf_free(&out);
    chat_template_free(t);
}

/* Nothing that is brought into line may change a conversation that is in the templates' own form. */
static void test_shared_cases(void **state)
{
    (void)state;
    if (shared_absent("templates/cases.jsonl"))
        return;
    char path[1024];
    snprintf(path, sizeof path, "%s/templates/cases.jsonl", shared_folder());
    struct buf all = shared_read(path);
    struct str rest = buf_str(&all), line;
    size_t failed = 0;
    while (str_split(&rest, '\n', &line)) {
        json_t *c;
        struct error err = {0};
        struct chat_template *t = NULL;
        struct buf out;
        buf_init(&out, LIMIT_TEMPLATE_OUTPUT);
        assert_int_equal(json_read(line, &c, &err), 0);
        const char *name = json_string_value(json_object_get(c, "template"));
        snprintf(path, sizeof path, "%s/templates/%s", shared_folder(), name);
        struct buf source = shared_read(path);
        struct chat_template_setup setup = {.source = buf_str(&source),
            .bos = json_str(json_object_get(c, "bos_token")),
            .eos = json_str(json_object_get(c, "eos_token"))};
        const json_t *text = json_object_get(c, "text");
        int rc = chat_template_create(&setup, &t, &err);
        if (rc == 0)
            rc = chat_template_render(t, json_object_get(c, "body"), NOON, &out, &err);
        if (text ? rc != 0 || !str_eq(buf_str(&out), json_str(text)) : rc == 0) {
            failed++;
            print_error("%s, %s: %s\n", name, json_string_value(json_object_get(c, "case")), err.message);
        }
        chat_template_free(t);
        buf_free(&source);
        buf_free(&out);
        json_decref(c);
    }
    buf_free(&all);
    assert_int_equal(failed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_values), cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_content), cmocka_unit_test(test_developer),
        cmocka_unit_test(test_no_content_is_none_or_empty_as_the_template_takes_it),
        cmocka_unit_test(test_fallbacks), cmocka_unit_test(test_bad_setup),
        cmocka_unit_test(test_tools_went_through_the_template_that_knows_none),
        cmocka_unit_test(test_shared_cases)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
