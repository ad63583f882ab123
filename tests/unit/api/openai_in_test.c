#include "api/openai_in.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "api/openai_plain.h"
#include "base/limits.h"
#include "chat/chat_codec.h"

static int read_chat(struct arena *a, const char *body, struct chat_request **r, struct error *err)
{
    *err = (struct error){0};
    return api_openai_chat_read(a, str_from(body), r, err);
}

static struct chat_request *chat(struct arena *a, const char *body)
{
    struct chat_request *r;
    struct error err;
    if (read_chat(a, body, &r, &err))
        fail_msg("%s: %s", body, err.message);
    return r;
}

static void reads_the_least(void **state)
{
    (void)state;
    struct arena *a = arena_create(MIB);
    struct chat_request *r =
        chat(a, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}");
    assert_ptr_equal(r->arena, a);
    assert_true(str_is(r->model, "m"));
    assert_int_equal(r->n_messages, 1);
    assert_int_equal(r->messages[0].role, CHAT_USER);
    assert_int_equal(r->messages[0].n_parts, 1);
    assert_int_equal(r->messages[0].parts[0].kind, CHAT_PART_TEXT);
    assert_true(str_is(r->messages[0].parts[0].text, "hi"));
    assert_null(r->messages[0].parts[0].raw);
    assert_null(r->messages[0].vendor);
    assert_null(r->vendor);
    assert_true(isnan(r->sampling.temperature) && isnan(r->sampling.top_p) && r->sampling.top_k == -1);
    assert_true(isnan(r->sampling.repeat_penalty) && !r->sampling.has_seed);
    assert_true(r->max_tokens == -1 && r->parallel_tool_calls == -1 && r->n_stops == 0 && r->n_tools == 0);
    assert_int_equal(r->tool_choice, CHAT_TOOLS_UNSET);
    assert_false(r->stream || r->include_usage || r->has_prompt);
    arena_free(a);
}

#define HEAD "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],"

static void reads_every_number_and_switch(void **state)
{
    (void)state;
    struct arena *a = arena_create(MIB);
    struct chat_request *r = chat(a, HEAD
        "\"temperature\":0.5,\"top_p\":0.9,\"min_p\":0.1,\"top_k\":7,\"repetition_penalty\":1.2,"
        "\"repeat_last_n\":99,\"presence_penalty\":-2,\"frequency_penalty\":2,\"seed\":-9223372036854775808,"
        "\"max_tokens\":12,\"stop\":[\"a\",\"\",\"b\"],\"stream\":true,\"stream_options\":{\"include_usage\":"
        "true},"
        "\"user\":\"u\",\"parallel_tool_calls\":false}");
    const struct chat_sampling *s = &r->sampling;
    assert_true(s->temperature == 0.5 && s->top_p == 0.9 && s->min_p == 0.1 && s->top_k == 7);
    assert_true(s->repeat_penalty == 1.2 && s->repeat_last_n == 99);
    assert_true(s->presence_penalty == -2 && s->frequency_penalty == 2);
    assert_true(s->has_seed && s->seed == INT64_MIN);
    assert_int_equal(r->max_tokens, 12);
    assert_int_equal(r->n_stops, 2); /* the empty one would stop at once */
    assert_true(str_is(r->stops[0], "a") && str_is(r->stops[1], "b"));
    assert_true(r->stream && r->include_usage && str_is(r->user, "u"));
    assert_int_equal(r->parallel_tool_calls, 0);
    assert_null(r->vendor);
    r = chat(a, HEAD "\"repeat_penalty\":1.5,\"max_tokens\":5,\"max_completion_tokens\":6,\"stop\":\"x\","
                     "\"parallel_tool_calls\":true,\"seed\":0,\"top_k\":0,\"temperature\":0}");
    assert_true(r->sampling.repeat_penalty == 1.5 && r->sampling.top_k == 0 && r->sampling.temperature == 0);
    assert_int_equal(r->max_tokens, 6); /* the newer name counts */
    assert_true(
        r->n_stops == 1 && str_is(r->stops[0], "x") && r->parallel_tool_calls == 1 && r->sampling.has_seed);
    arena_free(a);
}

/* null is "not given", for every member. */
static void takes_null_for_absent(void **state)
{
    (void)state;
    struct arena *a = arena_create(MIB);
    struct chat_request *r = chat(a,
        "{\"model\":\"m\",\"messages\":[{\"role\":\"assistant\",\"content\":null,\"name\":null,\"tool_"
        "calls\":null,"
        "\"refusal\":null,\"audio\":null}],\"temperature\":null,\"top_p\":null,\"top_k\":null,\"seed\":null,"
        "\"stop\":null,"
        "\"max_tokens\":null,\"max_completion_tokens\":null,\"stream\":null,\"stream_options\":null,\"user\":"
        "null,"
        "\"tools\":null,\"tool_choice\":null,\"parallel_tool_calls\":null,\"logit_bias\":null,\"n\":null}");
    assert_true(isnan(r->sampling.temperature) && r->sampling.top_k == -1 && !r->sampling.has_seed);
    assert_true(r->max_tokens == -1 && r->n_stops == 0 && !r->stream && r->parallel_tool_calls == -1);
    assert_null(r->vendor);
    assert_null(r->messages[0].vendor);
    assert_int_equal(r->messages[0].n_parts, 0);
    arena_free(a);
}

static void reads_messages_with_all_they_may_have(void **state)
{
    (void)state;
    struct arena *a = arena_create(MIB);
    struct chat_request *r = chat(a,
        "{\"model\":\"m\",\"messages\":["
        "{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"developer\",\"content\":[]  ,\"name\":\"d\","
        "\"tool_calls\":[{\"function\":{\"name\":\"f\"}}]},"
        "{\"role\":\"user\",\"name\":\"ann\",\"weight\":1,\"content\":["
        "{\"type\":\"text\",\"text\":\"t\"},{\"type\":\"text\",\"text\":\"c\",\"cache_control\":{\"type\":"
        "\"ephemeral\"}},"
        "{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://x/y.png\",\"detail\":\"low\"}},"
        "{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"QUJD\",\"format\":\"wav\"}},"
        "{\"type\":\"file\",\"file\":{\"file_id\":\"f1\"}},{\"type\":\"refusal\",\"refusal\":\"no\"}]},"
        "{\"role\":\"assistant\",\"content\":null,\"reasoning_content\":\"hm\",\"tool_calls\":[{\"id\":"
        "\"c1\","
        "\"type\":\"function\",\"function\":{\"name\":\"add\",\"arguments\":\"{\\\"a\\\":1}\"}}]},"
        "{\"role\":\"tool\",\"tool_call_id\":\"c1\",\"content\":\"2\"}]}");
    assert_int_equal(r->n_messages, 5);
    assert_int_equal(r->messages[1].role, CHAT_DEVELOPER);
    const struct chat_message *user = &r->messages[2];
    assert_true(str_is(user->name, "ann"));
    assert_int_equal(json_integer_value(json_object_get(user->vendor, "weight")), 1);
    assert_int_equal(json_object_size(user->vendor), 1);
    assert_int_equal(user->n_parts, 6);
    assert_true(str_is(user->parts[0].text, "t") && !user->parts[0].raw);
    assert_true(str_is(user->parts[1].text, "c") && json_object_get(user->parts[1].raw, "cache_control"));
    assert_int_equal(user->parts[2].kind, CHAT_PART_IMAGE);
    assert_true(str_is(user->parts[2].url, "https://x/y.png") && str_is(user->parts[2].format, "low"));
    assert_int_equal(user->parts[3].kind, CHAT_PART_AUDIO);
    assert_true(str_is(user->parts[3].data, "QUJD") && str_is(user->parts[3].format, "wav"));
    assert_int_equal(user->parts[4].kind, CHAT_PART_OTHER);
    assert_non_null(json_object_get(user->parts[4].raw, "file"));
    assert_int_equal(user->parts[5].kind, CHAT_PART_TEXT);
    assert_true(str_is(user->parts[5].text, "no") && user->parts[5].raw);
    for (int i = 2; i < 5; i++)
        assert_non_null(user->parts[i].raw);
    const struct chat_message *calls = &r->messages[3];
    assert_true(calls->n_parts == 0 && calls->n_tool_calls == 1 && str_is(calls->reasoning, "hm"));
    assert_true(str_is(calls->tool_calls[0].id, "c1") && str_is(calls->tool_calls[0].name, "add"));
    assert_true(str_is(calls->tool_calls[0].arguments, "{\"a\":1}"));
    assert_true(str_is(r->messages[4].tool_call_id, "c1"));
    arena_free(a);
}

static void reads_tools_and_the_choice_among_them(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        enum chat_tool_choice choice;
    } choices[] = {{"\"auto\"", CHAT_TOOLS_AUTO}, {"\"none\"", CHAT_TOOLS_NONE},
        {"\"required\"", CHAT_TOOLS_REQUIRED},
        {"{\"type\":\"function\",\"function\":{\"name\":\"add\"}}", CHAT_TOOLS_NAMED}};
    struct arena *a = arena_create(MIB);
    for (size_t i = 0; i < 4; i++) {
        char body[600];
        snprintf(body, sizeof body,
            HEAD
            "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"add\",\"description\":\"adds\","
            "\"strict\":true,"
            "\"parameters\":{\"type\":\"object\"}}},{\"type\":\"function\",\"function\":{\"name\":\"now\","
            "\"parameters\":null}}],\"tool_choice\":%s}",
            choices[i].json);
        struct chat_request *r = chat(a, body);
        assert_int_equal(r->tool_choice, choices[i].choice);
        assert_true(str_is(r->tool_choice_name, choices[i].choice == CHAT_TOOLS_NAMED ? "add" : ""));
        assert_int_equal(r->n_tools, 2);
        assert_true(str_is(r->tools[0].name, "add") && str_is(r->tools[0].description, "adds"));
        assert_true(json_is_object(r->tools[0].parameters) && json_is_object(r->tools[0].raw));
        assert_null(r->tools[1].parameters); /* JSON's null is no schema */
        for (size_t k = 0; k < 2; k++) {
            char *dumped = json_dumps(r->tools[k].raw, JSON_COMPACT);
            assert_true(str_is(r->tools[k].written, dumped));
            free(dumped);
        }
    }
    arena_free(a);
}

static void keeps_unknown_members_for_targets_that_know_them(void **state)
{
    (void)state;
    struct arena *a = arena_create(MIB);
    struct chat_request *r = chat(
        a, HEAD "\"brand_new\":2,\"response_format\":{\"type\":\"json_object\"},\"metadata\":{\"k\":\"v\"}}");
    assert_int_equal(json_object_size(r->vendor), 3);
    assert_int_equal(json_integer_value(json_object_get(r->vendor, "brand_new")), 2);
    assert_null(json_object_get(r->vendor, "messages"));
    arena_free(a);
}

static void reads_completions(void **state)
{
    (void)state;
    static const char *const good[] = {
        "{\"model\":\"m\",\"prompt\":\"Once\",\"max_tokens\":3,\"echo\":false}",
        "{\"model\":\"m\",\"prompt\":[\"Once\"],\"max_tokens\":3,\"echo\":false}"};
    static const char *const bad[] = {"{\"model\":\"m\"}", "{\"model\":\"m\",\"prompt\":null}",
        "{\"model\":\"m\",\"prompt\":1}", "{\"model\":\"m\",\"prompt\":[]}",
        "{\"model\":\"m\",\"prompt\":[1,-2]}", "{\"model\":\"m\",\"prompt\":[1,\"b\"]}",
        "{\"model\":\"m\",\"prompt\":{\"a\":1}}"};
    struct arena *a = arena_create(MIB);
    struct chat_request *r;
    struct error err = {0};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(api_openai_completion_read(a, str_from(good[i]), &r, &err), 0);
        assert_true(r->has_prompt && str_is(r->prompt, "Once") && r->max_tokens == 3 && r->n_messages == 0);
        assert_null(r->vendor);
        assert_false(r->echo);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(api_openai_completion_read(a, str_from(bad[i]), &r, &err), ERROR_INVALID);
        assert_non_null(strstr(err.message, "'prompt' must be a string"));
    }
    /* Lists of prompts were refused. */
    static const char several[] = "{\"model\":\"m\",\"prompt\":[\"Once\",[7,8]],\"n\":3}";
    assert_int_equal(api_openai_completion_read(a, str_from(several), &r, &err), 0);
    assert_true(r->has_prompt && r->n == 6 && r->n_inputs == 2 && r->prompt.len == 0 && !r->prompt_ids);
    assert_true(str_is(r->inputs[0].text, "Once") && r->inputs[1].n_ids == 2 && r->inputs[1].ids[1] == 8);
    arena_free(a);
}

/* ---- Refusals: each names what is wrong ---- */

static void reads_what_a_generation_may_ask_for(void **state)
{
    (void)state;
    struct arena *a = arena_create(MIB);
    struct chat_request *r = chat(a,
        HEAD "\"n\":3,\"logprobs\":true,\"top_logprobs\":5,\"logit_bias\":{\"7\":-100,\"yes\":2.5},"
             "\"dry_multiplier\":0.8,\"dry_sequence_breakers\":[\"\\n\"],\"mirostat\":2,\"min_keep\":3,"
             "\"repeat_last_n\":-1,\"top_k\":-1,\"ignore_eos\":true,\"context_shift\":true,\"n_keep\":4}");
    assert_true(r->n == 3 && r->logprobs && r->top_logprobs == 5 && r->context_shift && r->n_keep == 4);
    const struct chat_sampling *s = &r->sampling;
    assert_int_equal(s->n_logit_bias, 2);
    assert_true(s->logit_bias[0].token == 7 && s->logit_bias[0].bias == -100 && !s->logit_bias[0].text.data);
    assert_true(s->logit_bias[1].token == -1 && str_is(s->logit_bias[1].text, "yes"));
    assert_true(s->dry_multiplier == 0.8 && s->n_dry_breakers == 1 && str_is(s->dry_breakers[0], "\n"));
    assert_true(s->mirostat == 2 && s->min_keep == 3 && s->ignore_eos);
    assert_true(s->repeat_last_n == CHAT_ALL && s->top_k == 0);
    assert_null(r->vendor);

    struct error err = {0};
    struct str body =
        STR("{\"model\":\"m\",\"prompt\":[5,6],\"suffix\":\"end\",\"echo\":true,\"logprobs\":2,\"n\":2,"
            "\"best_of\":2,\"logit_bias\":[[3,false],[\"x\",1]]}");
    assert_int_equal(api_openai_completion_read(a, body, &r, &err), 0);
    assert_true(r->has_prompt && r->n_prompt_ids == 2 && r->prompt_ids[1] == 6 && str_is(r->suffix, "end"));
    assert_true(r->echo && r->logprobs && r->top_logprobs == 2 && r->n == 2);
    assert_true(isinf(r->sampling.logit_bias[0].bias) && r->sampling.logit_bias[1].bias == 1);
    arena_free(a);
}

#define ONE(message) "{\"model\":\"m\",\"messages\":[" message "]}"
#define USER(content) ONE("{\"role\":\"user\",\"content\":" content "}")
#define TOOL(tool) HEAD "\"tools\":[" tool "]}"

static void names_what_it_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *body, *why;
    } bad[] = {
        {"", "not valid JSON"},
        {"[]", "must be a JSON object"},
        {"{\"messages\":[]}", "'model' is missing"},
        {"{\"model\":\"\",\"messages\":[]}", "'model' is missing"},
        {"{\"model\":1,\"messages\":[]}", "'model' must be a string, not a number"},
        {"{\"model\":\"m\"}", "'messages' must be an array"},
        {"{\"model\":\"m\",\"messages\":[]}", "'messages' must be an array with at least one"},
        {"{\"model\":\"m\",\"messages\":{}}", "'messages' must be an array"},
        {ONE("1"), "messages[0]: must be an object"},
        {ONE("{}"), "messages[0]: 'role' must be"},
        {ONE("{\"role\":\"robot\",\"content\":\"x\"}"),
            "messages[0]: 'role' must be system, developer, user"},
        {ONE("{\"role\":5,\"content\":\"x\"}"), "messages[0]: 'role' must be a string"},
        {ONE("{\"role\":\"user\"}"), "messages[0]: has no 'content'"},
        {USER("null"), "messages[0]: has no 'content'"},
        {USER("[]"), "messages[0]: has no 'content'"},
        {USER("5"), "messages[0]: 'content' must be a string or an array"},
        {USER("{}"), "'content' must be a string or an array"},
        {USER("[\"x\"]"), "a content part must be an object"},
        {USER("[{}]"), "a content part must have a 'type'"},
        {USER("[{\"type\":1}]"), "'type' must be a string"},
        {USER("[{\"type\":\"text\"}]"), "of type 'text' wants the string 'text'"},
        {USER("[{\"type\":\"text\",\"text\":1}]"), "wants the string 'text'"},
        {USER("[{\"type\":\"refusal\",\"text\":\"x\"}]"), "wants the string 'refusal'"},
        {USER("[{\"type\":\"image_url\",\"image_url\":\"https://x\"}]"), "'image_url' must be an object"},
        {USER("[{\"type\":\"image_url\",\"image_url\":{}}]"), "'image_url' must have a 'url'"},
        {USER("[{\"type\":\"image_url\",\"image_url\":{\"url\":\"x\",\"detail\":1}}]"),
            "'detail' must be a string"},
        {USER("[{\"type\":\"input_audio\"}]"), "'input_audio' must be an object"},
        {USER("[{\"type\":\"input_audio\",\"input_audio\":{\"data\":1}}]"), "'data' must be a string"},
        {ONE("{\"role\":\"user\",\"content\":\"x\",\"name\":1}"), "'name' must be a string"},
        {ONE("{\"role\":\"tool\",\"content\":\"x\"}"), "of role tool must have a 'tool_call_id'"},
        {ONE("{\"role\":\"tool\",\"content\":\"x\",\"tool_call_id\":1}"), "'tool_call_id' must be a string"},
        {ONE("{\"role\":\"assistant\",\"tool_calls\":{}}"), "'tool_calls' must be an array"},
        {ONE("{\"role\":\"assistant\",\"tool_calls\":[1]}"), "a tool call must have a 'function'"},
        {ONE("{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{}}]}"), "must have a 'name'"},
        {ONE("{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{}}}]}"),
            "'arguments' must be a string, not an object"},
        {ONE("{\"role\":\"assistant\",\"content\":\"\",\"reasoning_content\":[]}"),
            "'reasoning_content' must be a string"},
        {HEAD "\"tools\":{}}", "'tools' must be an array"},
        {TOOL("1"), "tools[0]: must be an object with a 'function'"},
        {TOOL("{\"type\":\"function\",\"function\":{}}"), "tools[0]: must have a function 'name'"},
        {TOOL("{\"type\":\"function\",\"function\":{\"name\":1}}"), "tools[0]: 'name' must be a string"},
        {TOOL("{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":1}}"),
            "'description' must be"},
        {TOOL("{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":[]}}"),
            "must be a JSON Schema object"},
        {HEAD "\"tool_choice\":\"some\"}", "'tool_choice' must be auto"},
        {HEAD "\"tool_choice\":1}", "'tool_choice' must be auto"},
        {HEAD "\"tool_choice\":{}}", "'tool_choice' must be auto"},
        {HEAD "\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":1}}}",
            "'name' must be a string"},
        {HEAD "\"parallel_tool_calls\":1}", "'parallel_tool_calls' must be true or false"},
        {HEAD "\"temperature\":\"hot\"}", "'temperature' must be a number"},
        {HEAD "\"temperature\":2.1}", "'temperature' must be between 0 and 2"},
        {HEAD "\"temperature\":-0.1}", "'temperature' must be between"},
        {HEAD "\"top_p\":1.1}", "'top_p' must be between 0 and 1"},
        {HEAD "\"min_p\":-1}", "'min_p' must be between"},
        {HEAD "\"presence_penalty\":3}", "'presence_penalty' must be between"},
        {HEAD "\"frequency_penalty\":-3}", "'frequency_penalty' must be between"},
        {HEAD "\"repetition_penalty\":0}", "'repetition_penalty' must be between"},
        {HEAD "\"repeat_penalty\":101}", "'repeat_penalty' must be between"},
        {HEAD "\"top_k\":-2}", "'top_k' must be between"},
        {HEAD "\"top_k\":1.5}", "'top_k' must be an integer, not a fraction"},
        {HEAD "\"repeat_last_n\":2147483648}", "'repeat_last_n' must be between"},
        {HEAD "\"n\":0}", "'n' must be between 1 and 16"},
        {HEAD "\"n\":17}", "'n' must be between 1 and 16"},
        {HEAD "\"logprobs\":2}", "'logprobs' must be true or false"},
        {HEAD "\"top_logprobs\":2}", "'top_logprobs' wants 'logprobs'"},
        {HEAD "\"logprobs\":true,\"top_logprobs\":21}", "'top_logprobs' must be between 0 and 20"},
        {HEAD "\"logit_bias\":3}", "'logit_bias' must be an object or a list"},
        {HEAD "\"logit_bias\":{\"1\":101}}", "'logit_bias' must be between -100 and 100"},
        {HEAD "\"logit_bias\":{\"1\":\"x\"}}", "'logit_bias' must give tokens a bias"},
        {HEAD "\"logit_bias\":{\"-1\":1}}", "'logit_bias' must give tokens a bias"},
        {HEAD "\"logit_bias\":[7]}", "'logit_bias' must give tokens a bias"},
        {HEAD "\"dry_sequence_breakers\":[\"\"]}", "dry_sequence_breakers[0] must be a text"},
        {HEAD "\"mirostat\":3}", "'mirostat' must be between 0 and 2"},
        {HEAD "\"typical_p\":2}", "'typical_p' must be between 0 and 1"},
        {HEAD "\"seed\":1.5}", "'seed' must be an integer"},
        {HEAD "\"seed\":18446744073709551616}", "not valid JSON"},
        {HEAD "\"max_tokens\":0}", "'max_tokens' must be between 1"},
        {HEAD "\"max_completion_tokens\":-1}", "'max_completion_tokens' must be between 1"},
        {HEAD "\"max_tokens\":true}", "'max_tokens' must be an integer, not a boolean"},
        {HEAD "\"stop\":1}", "'stop' must be a string or an array of strings"},
        {HEAD "\"stop\":[\"a\",1]}", "'stop' must be a string or an array of strings"},
        {HEAD "\"stream\":\"yes\"}", "'stream' must be true or false"},
        {HEAD "\"stream_options\":1}", "'stream_options' must be an object"},
        {HEAD "\"stream_options\":{\"include_usage\":1}}", "'include_usage' must be true or false"},
        {HEAD "\"stream_options\":{\"include_obfuscation\":1}}",
            "'include_obfuscation' must be true or false"},
        {HEAD "\"user\":1}", "'user' must be a string"},
        {HEAD "\"user\":\"a\",\"user\":\"b\"}", "duplicate"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct arena *a = arena_create(MIB);
        struct chat_request *r;
        struct error err;
        int rc = read_chat(a, bad[i].body, &r, &err);
        if (rc != ERROR_INVALID || !strstr(err.message, bad[i].why))
            fail_msg("%s\n  gives %d '%s'\n  not '%s'", bad[i].body, rc, err.message, bad[i].why);
        arena_free(a);
    }
}

/* `count` times `item`, with commas. */
static const char *repeated(
    struct buf *b, const char *before, size_t count, const char *item, const char *after)
{
    buf_clear(b);
    buf_append_text(b, before);
    for (size_t i = 0; i < count; i++) {
        if (i)
            buf_append_char(b, ',');
        buf_append_text(b, item);
    }
    buf_append_text(b, after);
    return b->data;
}

static void keeps_its_limits_exactly(void **state)
{
    (void)state;
    static const struct {
        size_t most;
        const char *before, *item, *after, *why;
    } limits[] = {
        {LIMIT_MESSAGES, "{\"model\":\"m\",\"messages\":[", "{\"role\":\"user\",\"content\":\"x\"}", "]}",
            "messages: at most"},
        {LIMIT_PARTS, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[",
            "{\"type\":\"text\",\"text\":\"\"}", "]}]}", "parts: at most"},
        {LIMIT_TOOLS, HEAD "\"tools\":[", "{\"function\":{\"name\":\"f\"}}", "]}", "tools: at most"},
        {LIMIT_TOOLS, "{\"model\":\"m\",\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[",
            "{\"function\":{\"name\":\"f\"}}", "]}]}", "tool calls: at most"},
        {LIMIT_STOPS, HEAD "\"stop\":[", "\"x\"", "]}", "strings: at most"},
        {LIMIT_MODEL_NAME, "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"model\":\"", "", "\"}",
            "'model' is longer"},
    };
    struct buf b;
    buf_init(&b, 16 * MIB);
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        for (size_t over = 0; over < 2; over++) {
            struct arena *a = arena_create(64 * MIB);
            struct chat_request *r;
            struct error err;
            /* The commas between nothing make the name. */
            size_t count = limits[i].most + over + (limits[i].item[0] ? 0 : 1);
            int rc = read_chat(
                a, repeated(&b, limits[i].before, count, limits[i].item, limits[i].after), &r, &err);
            assert_int_equal(rc, over ? ERROR_INVALID : 0);
            assert_true(!over || strstr(err.message, limits[i].why));
            arena_free(a);
        }
    }
    buf_free(&b);
}

/* A request that takes more memory than one may is refused, not a crash. */
static void refuses_what_its_arena_cannot_hold(void **state)
{
    (void)state;
    struct buf b;
    static const char *const messages[] = {
        "{\"role\":\"user\",\"content\":[{\"type\":\"x\"},{\"type\":\"x\"}]}",
        "{\"role\":\"user\",\"content\":\"a text and nothing else\"}"};
    for (size_t room = 8 * KIB; room < 2 * 40 * KIB; room += KIB) {
        buf_init(&b, 16 * MIB);
        repeated(&b, "{\"model\":\"m\",\"messages\":[", 100, messages[room / KIB % 2], "]}");
        struct arena *a = arena_create(room);
        struct chat_request *r;
        struct error err;
        int rc = read_chat(a, b.data, &r, &err);
        assert_true(rc == 0 || rc == ERROR_MEMORY);
        assert_true(rc == 0 || strstr(err.message, "no memory for the request"));
        arena_free(a);
        buf_free(&b);
    }
}

/* ---- Texts alone are read without a tree: the same comes of it. ---- */

static void as_by_a_tree(const char *body)
{
    struct arena *a = arena_create(MIB);
    struct chat_request *plain, *whole = NULL;
    struct error err;
    struct buf of_plain, of_whole;
    json_t *root;
    if (api_openai_plain_read(a, str_from(body), &plain, &err) || !plain)
        fail_msg("not read: %s", body);
    if (json_read_in(a, str_from(body), &root, &err) || api_openai_chat_tree_read(a, root, &whole, &err))
        fail_msg("%s: %s", body, err.message);
    buf_init(&of_plain, MIB);
    buf_init(&of_whole, MIB);
    assert_int_equal(chat_codec_write(plain, &of_plain, &err), 0);
    assert_int_equal(chat_codec_write(whole, &of_whole, &err), 0);
    assert_string_equal(of_plain.data, of_whole.data);
    assert_true(str_eq(plain->model, whole->model) && str_eq(plain->user, whole->user));
    assert_true(plain->stream == whole->stream && plain->include_usage == whole->include_usage);
    assert_true(plain->max_tokens == whole->max_tokens && plain->n == whole->n);
    assert_true(plain->n_keep == whole->n_keep && plain->parallel_tool_calls == whole->parallel_tool_calls);
    assert_true(!plain->vendor && !whole->vendor && plain->shape == whole->shape);
    for (size_t i = 0; i < plain->n_messages; i++) {
        assert_true(str_eq(plain->messages[i].name, whole->messages[i].name));
        assert_int_equal(plain->messages[i].n_parts, whole->messages[i].n_parts);
        assert_null(plain->messages[i].vendor);
    }
    buf_free(&of_plain);
    buf_free(&of_whole);
    arena_free(a);
}

#define PLAIN "{\"role\":\"user\",\"content\":\"hi\"}"

static void texts_alone_are_read_as_by_a_tree(void **state)
{
    (void)state;
    as_by_a_tree("{\"model\":\"m\",\"messages\":[" PLAIN "]}");
    as_by_a_tree(" { \"messages\" : [ " PLAIN " , " PLAIN " ] ,\n \"model\":\"m\" } ");
    as_by_a_tree(
        "{\"model\":\"m\",\"messages\":[{\"content\":\"\",\"role\":\"system\"},{\"role\":\"developer\","
        "\"content\":\"be brief\",\"name\":\"\"},{\"role\":\"assistant\",\"name\":\"ann\",\"content\":"
        "\"a\\\"\\\\\\/"
        "\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00\"},{\"role\":\"user\",\"content\":\"\xC3\xA9\"}]}");
    as_by_a_tree(HEAD "\"stream\":true,\"stream_options\":{\"include_usage\":true},\"user\":\"u\\u0041\"}");
    as_by_a_tree(HEAD "\"stream\":false,\"stream_options\":{\"include_usage\":false}}");
    as_by_a_tree(HEAD "\"max_tokens\":7}");
    as_by_a_tree(HEAD "\"max_completion_tokens\":2147483647,\"max_tokens\":1}");
    as_by_a_tree(HEAD "\"temperature\":0,\"top_p\":1,\"presence_penalty\":-2,\"frequency_penalty\":1.5e-3}");
    as_by_a_tree(
        HEAD "\"temperature\":2,\"top_p\":0.1,\"presence_penalty\":2.0,\"frequency_penalty\":-0.25}");
    as_by_a_tree("{\"mod\\u0065l\":\"m\",\"messages\":[" PLAIN "]}");
}

static void what_is_more_than_texts_is_left_to_the_tree(void **state)
{
    (void)state;
    static const char *const bodies[] = {"", "{}", "[]", "{\"model\":\"m\"}", "{\"messages\":[" PLAIN "]}",
        "{\"model\":\"m\",\"messages\":[" PLAIN "]}x", "{\"model\":\"m\",\"messages\":[]}",
        "{\"model\":\"\",\"messages\":[" PLAIN "]}", "{\"model\":null,\"messages\":[" PLAIN "]}",
        HEAD "\"model\":\"m\"}", HEAD "\"messages\":[]}", HEAD "\"stream\":null}", HEAD "\"stream\":1}",
        HEAD "\"stream\":true,\"stream\":true}", HEAD "\"stream_options\":{}}",
        HEAD "\"stream_options\":{\"include_usage\":true,\"x\":1}}", HEAD "\"max_tokens\":0}",
        HEAD "\"max_tokens\":1.0}", HEAD "\"max_tokens\":2147483648}", HEAD "\"max_tokens\":\"1\"}",
        HEAD "\"temperature\":2.1}", HEAD "\"temperature\":-0}", HEAD "\"top_p\":1.1}",
        HEAD "\"presence_penalty\":-2.1}", HEAD "\"frequency_penalty\":1e999}", HEAD "\"n\":1}",
        HEAD "\"tools\":[]}", HEAD "\"metadata\":{}}", HEAD "\"user\":7}", HEAD "\"user\":\"\\u0000\"}",
        HEAD "\"user\":\"\\ud83d\"}", HEAD "\"user\":\"\xC3\"}", HEAD "\"user\":\"\n\"}"};
    static const char *const messages[] = {"7", "{}", "{\"role\":\"user\"}", "{\"content\":\"hi\"}",
        "{\"role\":\"tool\",\"content\":\"hi\"}", "{\"role\":\"User\",\"content\":\"hi\"}",
        "{\"role\":\"user\",\"content\":null}", "{\"role\":\"user\",\"content\":[]}",
        "{\"role\":\"user\",\"content\":\"hi\",\"content\":\"card\"}",
        "{\"role\":\"user\",\"role\":\"user\",\"content\":\"hi\"}",
        "{\"role\":\"user\",\"content\":\"hi\",\"name\":null}",
        "{\"role\":\"user\",\"content\":\"hi\",\"cache_control\":{}}",
        "{\"role\":\"assistant\",\"content\":\"hi\",\"reasoning_content\":\"x\"}"};
    struct chat_request *r;
    struct error err;
    struct arena *a = arena_create(1); /* none of it is used */
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        if (api_openai_plain_read(a, str_from(bodies[i]), &r, &err) || r)
            fail_msg("read: %s", bodies[i]);
    for (size_t i = 0; i < sizeof messages / sizeof *messages; i++) {
        char body[256];
        snprintf(body, sizeof body, "{\"model\":\"m\",\"messages\":[" PLAIN ",%s]}", messages[i]);
        if (api_openai_plain_read(a, str_from(body), &r, &err) || r)
            fail_msg("read: %s", body);
    }
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_least),
        cmocka_unit_test(reads_every_number_and_switch),
        cmocka_unit_test(takes_null_for_absent),
        cmocka_unit_test(reads_messages_with_all_they_may_have),
        cmocka_unit_test(reads_tools_and_the_choice_among_them),
        cmocka_unit_test(keeps_unknown_members_for_targets_that_know_them),
        cmocka_unit_test(reads_completions),
        cmocka_unit_test(reads_what_a_generation_may_ask_for),
        cmocka_unit_test(texts_alone_are_read_as_by_a_tree),
        cmocka_unit_test(what_is_more_than_texts_is_left_to_the_tree),
        cmocka_unit_test(names_what_it_refuses),
        cmocka_unit_test(keeps_its_limits_exactly),
        cmocka_unit_test(refuses_what_its_arena_cannot_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
