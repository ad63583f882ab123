#include "chat/chat_codec.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "chat/chat_sampling.h"

static struct chat_message text_message(struct arena *a, enum chat_role role, const char *text)
{
    struct chat_message m = {.role = role, .n_parts = 1, .parts = arena_new(a, struct chat_part)};
    m.parts[0] = (struct chat_part){.kind = CHAT_PART_TEXT, .text = str_from(text)};
    return m;
}

static struct str write_request(const struct chat_request *r, struct buf *out)
{
    struct error err = {0};
    buf_init(out, MIB);
    if (chat_codec_write(r, out, &err) != 0)
        fail_msg("%s", err.message);
    return buf_str(out);
}

static void test_conversation(void **state)
{
    (void)state;
    struct arena *a = arena_create(MIB);
    struct chat_request *r = chat_request_create(a);
    struct chat_tool_call call = {.id = STR("c1"), .name = STR("add"), .arguments = STR("{\"a\":1}")};
    struct chat_message messages[4] = {
        text_message(a, CHAT_SYSTEM, "be \"brief\"\n"),
        text_message(a, CHAT_USER, "1+1?"),
        {.role = CHAT_ASSISTANT, .tool_calls = &call, .n_tool_calls = 1, .reasoning = STR("hm")},
        text_message(a, CHAT_TOOL, "2"),
    };
    messages[3].tool_call_id = STR("c1");
    struct chat_tool tool = {.name = STR("add"), .description = STR("adds")};
    struct str stops[] = {STR("END"), STR("\n\n")};
    r->messages = messages;
    r->n_messages = 4;
    r->tools = &tool;
    r->n_tools = 1;
    r->stops = stops;
    r->n_stops = 2;
    r->max_tokens = 9;
    r->sampling.temperature = 0;
    r->sampling.has_seed = true;
    r->sampling.seed = -5;

    struct buf out;
    struct chat_work work;
    struct error err = {0};
    assert_int_equal(chat_codec_read(a, write_request(r, &out), &work, &err), 0);
    assert_string_equal(out.data,
        "{\"body\":{\"messages\":[{\"role\":\"system\",\"content\":\"be \\\"brief\\\"\\n\"},"
        "{\"role\":\"user\",\"content\":\"1+1?\"},"
        "{\"role\":\"assistant\",\"content\":null,\"reasoning_content\":\"hm\",\"reasoning\":\"hm\","
        "\"thinking\":\"hm\",\"tool_calls\":[{\"id\":"
        "\"c1\","
        "\"type\":\"function\",\"function\":{\"name\":\"add\",\"arguments\":\"{\\\"a\\\":1}\"}}]},"
        "{\"role\":\"tool\",\"content\":\"2\",\"tool_call_id\":\"c1\"}],"
        "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"add\",\"description\":\"adds\"}}]},"
        "\"sampling\":{\"temperature\":0.0,\"seed\":-5},\"max_tokens\":9,\"stop\":[\"END\",\"\\n\\n\"]}");
    assert_int_equal(json_array_size(json_object_get(work.body, "messages")), 4);
    assert_true(work.prompt.len == 0);
    assert_true(work.sampling.temperature == 0 && isnan(work.sampling.top_p) && work.sampling.top_k == -1);
    assert_true(work.sampling.has_seed && work.sampling.seed == -5);
    assert_int_equal(work.max_tokens, 9);
    assert_int_equal(work.n_stops, 2);
    assert_true(str_is(work.stops[1], "\n\n"));
    buf_free(&out);
    arena_free(a);
}

static void test_prompt(void **state)
{
    (void)state;
    struct arena *a = arena_create(MIB);
    struct chat_request *r = chat_request_create(a);
    r->has_prompt = true;
    r->prompt = STR("Once");
    struct buf out;
    struct chat_work work;
    assert_int_equal(chat_codec_read(a, write_request(r, &out), &work, NULL), 0);
    assert_null(work.body);
    assert_true(str_is(work.prompt, "Once"));
    assert_int_equal(work.max_tokens, -1);
    assert_false(work.sampling.has_seed);
    buf_free(&out);
    arena_free(a);
}

static void test_text_parts_are_joined_and_images_refused(void **state)
{
    (void)state;
    struct arena *a = arena_create(MIB);
    struct chat_request *r = chat_request_create(a);
    struct chat_part parts[] = {{.text = STR("one")}, {.text = STR("two")}};
    struct chat_message m = {.role = CHAT_USER, .parts = parts, .n_parts = 2};
    r->messages = &m;
    r->n_messages = 1;
    struct buf out;
    assert_true(str_find(write_request(r, &out), STR("\"content\":\"one\\ntwo\"")) != SIZE_MAX);
    buf_clear(&out);
    parts[1].kind = CHAT_PART_IMAGE;
    assert_int_equal(chat_codec_write(r, &out, NULL), ERROR_UNSUPPORTED);
    buf_free(&out);
    arena_free(a);
}

/* What the gateway writes is what the worker reads, every field of it. */
static void test_everything_a_generation_may_ask_for(void **state)
{
    (void)state;
    struct arena *a = arena_create(MIB);
    struct chat_request *r = chat_request_create(a);
    const int32_t ids[] = {3, 0, 2147483647};
    const struct chat_bias bias[] = {{7, STR_NONE, -2.5}, {-1, STR("yes"), 1}, {9, STR_NONE, -INFINITY}};
    const struct str breakers[] = {STR("\n"), STR("*")};
    struct chat_sampling *s = &r->sampling;
    r->has_prompt = true;
    r->prompt_ids = ids;
    r->n_prompt_ids = 3;
    r->suffix = STR("end");
    r->logprobs = true;
    r->top_logprobs = 4;
    r->context_shift = true;
    r->n_keep = 2;
    r->truncation = true;
    for (size_t i = 0; i < chat_sampling_n_fields(); i++) {
        const struct chat_sampling_field *f = &chat_sampling_fields[i];
        if (f->whole)
            *(int64_t *)(void *)((char *)s + f->offset) = f->all > 0 ? (int64_t)f->all : 1 + (int64_t)(i % 2);
        else
            *(double *)(void *)((char *)s + f->offset) = 0.25 + (double)i / 64;
    }
    s->logit_bias = bias;
    s->n_logit_bias = 3;
    s->dry_breakers = breakers;
    s->n_dry_breakers = 2;
    s->has_dry_breakers = s->ignore_eos = true;
    struct buf out;
    struct chat_work work;
    struct error err = {0};
    if (chat_codec_read(a, write_request(r, &out), &work, &err))
        fail_msg("%s", err.message);
    assert_true(json_array_size(work.prompt_ids) == 3 && str_is(work.suffix, "end") && !work.prompt.data);
    assert_true(work.logprobs == 4 && work.context_shift && work.n_keep == 2 && work.truncation);
    for (size_t i = 0; i < chat_sampling_n_fields(); i++)
        if (memcmp((char *)s + chat_sampling_fields[i].offset,
                (char *)&work.sampling + chat_sampling_fields[i].offset, 8) != 0)
            fail_msg("%s", chat_sampling_fields[i].name);
    assert_true(work.sampling.ignore_eos && work.sampling.n_dry_breakers == 2);
    assert_true(str_is(work.sampling.dry_breakers[1], "*"));
    assert_int_equal(work.sampling.n_logit_bias, 3);
    for (size_t i = 0; i < 3; i++) {
        const struct chat_bias *got = &work.sampling.logit_bias[i];
        assert_true(
            got->token == bias[i].token && got->bias == bias[i].bias && str_eq(got->text, bias[i].text));
    }
    buf_free(&out);
    arena_free(a);
}

/* A stage's number is no request while the stage is off, nor is the value that switches it off. */
static void test_what_lies_beyond_a_target(void **state)
{
    (void)state;
    static const char *const known[] = {"temperature", "top_k", NULL};
    struct chat_sampling s;
    chat_sampling_init(&s);
    assert_null(chat_sampling_beyond(&s, known));
    s.temperature = 0;
    s.top_k = 5;
    s.min_p = s.dry_multiplier = s.presence_penalty = 0;
    s.typical_p = s.repeat_penalty = 1;
    s.dry_base = 1.75;
    s.xtc_threshold = 0.1;
    s.top_n_sigma = -1;
    assert_null(chat_sampling_beyond(&s, known));
    s.dry_multiplier = 0.5;
    assert_string_equal(chat_sampling_beyond(&s, known), "dry_multiplier");
    s.min_p = 0.1;
    assert_string_equal(chat_sampling_beyond(&s, known), "min_p");
    chat_sampling_init(&s);
    s.ignore_eos = true;
    assert_string_equal(chat_sampling_beyond(&s, known), "ignore_eos");
}

static void test_write_keeps_the_maximum(void **state)
{
    (void)state;
    struct arena *a = arena_create(MIB);
    struct chat_request *r = chat_request_create(a);
    r->has_prompt = true;
    r->prompt = STR("a prompt that is longer than the buffer");
    struct buf out;
    buf_init(&out, 20);
    assert_int_equal(chat_codec_write(r, &out, NULL), ERROR_LIMIT);
    buf_free(&out);
    arena_free(a);
}

static void test_hostile_payloads(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "[]", "{}", "{\"prompt\":1}", "{\"prompt\":\"a\",\"body\":{}}",
        "{\"body\":{}}", "{\"body\":[]}", "{\"body\":{\"messages\":{}}}", "{\"body\":{\"messages\":[1]}}",
        "{\"prompt\":\"a\",\"max_tokens\":-1}", "{\"prompt\":\"a\",\"max_tokens\":99999999999}",
        "{\"prompt\":\"a\",\"max_tokens\":1.5}", "{\"prompt\":\"a\",\"stop\":\"x\"}",
        "{\"prompt\":\"a\",\"stop\":[\"\"]}", "{\"prompt\":\"a\",\"stop\":[1]}",
        "{\"prompt\":\"a\",\"sampling\":[]}", "{\"prompt\":\"a\",\"sampling\":{\"temperature\":-1}}",
        "{\"prompt\":\"a\",\"sampling\":{\"top_p\":2}}", "{\"prompt_ids\":1}", "{\"prompt_ids\":[-1]}",
        "{\"prompt_ids\":[\"1\"]}", "{\"prompt\":\"a\",\"prompt_ids\":[1]}",
        "{\"prompt\":\"a\",\"logprobs\":21}", "{\"prompt\":\"a\",\"measure\":257}",
        "{\"prompt\":\"a\",\"measure_prompt\":1}", "{\"prompt\":\"a\",\"suffix\":1}",
        "{\"prompt\":\"a\",\"n_keep\":-1}", "{\"prompt\":\"a\",\"sampling\":{\"logit_bias\":[[1]]}}",
        "{\"prompt\":\"a\",\"sampling\":{\"top_k\":-2}}",
        "{\"prompt\":\"a\",\"sampling\":{\"repeat_penalty\":0}}",
        "{\"prompt\":\"a\",\"sampling\":{\"seed\":\"x\"}}",
        "{\"prompt\":\"a\",\"stop\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"0\",\"1\",\"2\","
        "\"3\",\"4\","
        "\"5\",\"6\",\"7\"]}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct arena *a = arena_create(MIB);
        struct chat_work work;
        struct error err = {0};
        if (chat_codec_read(a, str_from(bad[i]), &work, &err) == 0)
            fail_msg("accepted: %s", bad[i]);
        assert_true(err.message[0] != 0);
        arena_free(a);
    }
}

/* OpenAI's `prediction`: a text, or parts of text; anything else is refused before the engine sees it. */
static void test_a_prediction(void **state)
{
    (void)state;
    static const struct {
        const char *vendor, *text; /* NULL: refused */
    } rows[] = {{"{\"prediction\":{\"type\":\"content\",\"content\":\"int a;\"}}", "int a;"},
        {"{\"prediction\":{\"type\":\"content\",\"content\":[{\"type\":\"text\",\"text\":\"in\"},"
         "{\"type\":\"text\",\"text\":\"t\"}]}}",
            "int"},
        {"{\"prediction\":null}", ""}, {"{\"prediction\":{\"type\":\"content\",\"content\":\"\"}}", ""},
        {"{\"prediction\":\"int\"}", NULL}, {"{\"prediction\":{\"type\":\"other\",\"content\":\"\"}}", NULL},
        {"{\"prediction\":{\"type\":\"content\"}}", NULL},
        {"{\"prediction\":{\"type\":\"content\",\"content\":[{\"type\":\"image_url\"}]}}", NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct arena *a = arena_create(MIB);
        struct chat_request *r = chat_request_create(a);
        struct chat_work work;
        struct error err = {0};
        struct buf out;
        json_t *vendor;
        r->has_prompt = true;
        r->prompt = STR("x");
        assert_int_equal(json_read_in(a, str_from(rows[i].vendor), &vendor, &err), 0);
        r->vendor = vendor;
        buf_init(&out, MIB);
        int rc = chat_codec_write(r, &out, &err);
        assert_int_equal(rc, rows[i].text ? 0 : ERROR_INVALID);
        if (rc == 0) {
            assert_int_equal(chat_codec_read(a, buf_str(&out), &work, &err), 0);
            assert_true(str_is(work.prediction, rows[i].text));
        }
        buf_free(&out);
        arena_free(a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conversation),
        cmocka_unit_test(test_prompt),
        cmocka_unit_test(test_text_parts_are_joined_and_images_refused),
        cmocka_unit_test(test_everything_a_generation_may_ask_for),
        cmocka_unit_test(test_what_lies_beyond_a_target),
        cmocka_unit_test(test_write_keeps_the_maximum),
        cmocka_unit_test(test_hostile_payloads),
        cmocka_unit_test(test_a_prediction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
