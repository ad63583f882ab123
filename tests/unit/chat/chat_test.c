/* The walk that detectors rely on: a string it misses is a string that can leave unseen. */
#include "chat/chat.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"

/* What was visited, as lines "where|text". */
struct visits {
    struct buf lines;
    int count, stop_at;
};

static int visit(void *ctx, struct str where, struct str text)
{
    struct visits *v = ctx;
    assert_true(text.len > 0);
    buf_appendf(&v->lines, "\n" STR_FMT "|" STR_FMT "\n", STR_ARG(where), STR_ARG(text));
    return ++v->count == v->stop_at ? 77 : 0;
}

static struct visits walk(const struct chat_request *r)
{
    struct visits v = {.stop_at = -1};
    buf_init(&v.lines, MIB);
    assert_int_equal(chat_request_visit(r, visit, &v), 0);
    return v;
}

static void expect_visit(const struct visits *v, const char *where, const char *text)
{
    char line[256];
    snprintf(line, sizeof line, "\n%s|%s\n", where, text);
    if (!v->lines.data || !strstr(v->lines.data, line))
        fail_msg("not visited: %s; visited: %s", line, v->lines.data ? v->lines.data : "nothing");
}

static const json_t *read_json(struct arena *a, const char *text)
{
    json_t *root;
    struct error err;
    if (json_read_in(a, str_from(text), &root, &err))
        fail_msg("%s", err.message);
    return root;
}

/* One request with something in every place a client can write to. */
static struct chat_request *full_request(struct arena *a)
{
    struct chat_request *r = chat_request_create(a);
    struct chat_message *m = r->messages = arena_alloc(a, 2 * sizeof *m);
    r->n_messages = 2;
    m[0].role = CHAT_USER;
    m[0].name = STR("m-name");
    m[0].n_parts = 5;
    m[0].parts = arena_alloc(a, 5 * sizeof *m->parts);
    m[0].parts[0] = (struct chat_part){.kind = CHAT_PART_TEXT, .text = STR("m-text")};
    m[0].parts[1] = (struct chat_part){.kind = CHAT_PART_TEXT,
        .text = STR("raw-text"),
        .raw = read_json(
            a, "{\"type\":\"raw-type\",\"text\":\"raw-text\",\"raw-key\":{\"raw-deep\":[\"raw-leaf\"]}}")};
    m[0].parts[2] =
        (struct chat_part){.kind = CHAT_PART_IMAGE, .url = STR("img-url"), .format = STR("img-detail")};
    m[0].parts[3] =
        (struct chat_part){.kind = CHAT_PART_AUDIO, .data = STR("audio-data"), .format = STR("audio-format")};
    m[0].parts[4] = (struct chat_part){.kind = CHAT_PART_OTHER,
        .raw = read_json(a, "{\"type\":\"file\",\"file\":{\"file_data\":\"other-data\"}}")};
    m[0].vendor = read_json(a, "{\"mv-key\":[[[\"mv-leaf\"]],4155550132,-1.25,true,null]}");
    m[1].role = CHAT_TOOL;
    m[1].tool_call_id = STR("m-call-id");
    m[1].reasoning = STR("m-reasoning");
    m[1].n_thoughts = 1;
    m[1].thoughts = arena_new(a, struct chat_thought);
    m[1].thoughts[0] = (struct chat_thought){
        .text = STR("th-text"), .signature = STR("th-signature"), .data = STR("th-data")};
    m[1].n_tool_calls = 2;
    m[1].tool_calls = arena_alloc(a, 2 * sizeof *m->tool_calls);
    m[1].tool_calls[0] = (struct chat_tool_call){
        .id = STR("c0-id"), .name = STR("c0-name"), .arguments = STR("{\"c0\":\"arguments\"}")};
    m[1].tool_calls[1] =
        (struct chat_tool_call){.id = STR("c1-id"), .name = STR("c1-name"), .arguments = STR("not json c1")};
    r->n_tools = 2;
    r->tools = arena_alloc(a, 2 * sizeof *r->tools);
    r->tools[0] = (struct chat_tool){.name = STR("t0-name"),
        .description = STR("t0-description"),
        .parameters =
            read_json(a, "{\"type\":\"object\",\"properties\":{\"t0-property\":{\"description\":\"t0-deep\","
                         "\"enum\":[\"t0-enum\",12.5]}},\"required\":[\"t0-required\"],\"t0-empty\":{}}")};
    r->tools[1].raw = read_json(a,
        "{\"type\":\"function\",\"function\":{\"name\":\"t1-name\",\"description\":\"t1-description\","
        "\"parameters\":{\"t1-key\":\"t1-value\"}},\"t1-vendor\":\"t1-extra\"}");
    r->tools[1].name = STR("t1-name");
    r->prompt = STR("r-prompt");
    r->has_prompt = true;
    r->n_stops = 2;
    r->stops = arena_alloc(a, 2 * sizeof *r->stops);
    r->stops[0] = STR("stop-0");
    r->stops[1] = STR("stop-1");
    r->user = STR("r-user");
    r->tool_choice_name = STR("choice-name");
    r->native = read_json(a, "{\"n-key\":{\"deep\":\"n-value\"}}");
    r->n_headers = 1;
    r->headers = arena_new(a, struct chat_header);
    r->headers[0] = (struct chat_header){STR("anthropic-beta"), STR("h-value")};
    r->vendor =
        read_json(a, "{\"metadata\":{\"v-key\":\"v-value\"},\"prediction\":[\"v-list\",123456789012345678]}");
    return r;
}

static void visits_every_string(void **state)
{
    (void)state;
    static const char *const wanted[][2] = {{"prompt", "r-prompt"}, {"messages[0].name", "m-name"},
        {"messages[0].content", "m-text"}, {"messages[0].content", "raw-type"},
        {"messages[0].content", "raw-text"}, {"messages[0].content", "raw-key"},
        {"messages[0].content", "raw-deep"}, {"messages[0].content", "raw-leaf"},
        {"messages[0].content", "img-url"}, {"messages[0].content", "img-detail"},
        {"messages[0].content", "audio-data"}, {"messages[0].content", "audio-format"},
        {"messages[0].content", "other-data"}, {"messages[0]", "mv-key"}, {"messages[0]", "mv-leaf"},
        {"messages[0]", "4155550132"}, {"messages[0]", "-1.25"}, {"messages[1].tool_call_id", "m-call-id"},
        {"messages[1].reasoning", "m-reasoning"}, {"messages[1].tool_calls", "c0-id"},
        {"messages[1].tool_calls", "c0-name"}, {"messages[1].tool_calls", "{\"c0\":\"arguments\"}"},
        {"messages[1].tool_calls", "c1-id"}, {"messages[1].tool_calls", "c1-name"},
        {"messages[1].tool_calls", "not json c1"}, {"tools[0]", "t0-name"}, {"tools[0]", "t0-description"},
        {"tools[0]", "properties"}, {"tools[0]", "t0-property"}, {"tools[0]", "t0-deep"},
        {"tools[0]", "t0-enum"}, {"tools[0]", "12.5"}, {"tools[0]", "t0-required"}, {"tools[0]", "t0-empty"},
        {"tools[1]", "t1-name"}, {"tools[1]", "t1-description"}, {"tools[1]", "t1-key"},
        {"tools[1]", "t1-value"}, {"tools[1]", "t1-vendor"}, {"tools[1]", "t1-extra"}, {"stop", "stop-0"},
        {"stop", "stop-1"}, {"user", "r-user"}, {"tool_choice", "choice-name"}, {"request", "metadata"},
        {"request", "n-key"}, {"request", "n-value"}, {"headers", "h-value"},
        {"messages[1].reasoning", "th-text"}, {"messages[1].reasoning", "th-signature"},
        {"messages[1].reasoning", "th-data"}, {"request", "v-key"}, {"request", "v-value"},
        {"request", "v-list"}, {"request", "123456789012345678"}};
    struct arena *a = arena_create(MIB);
    struct visits v = walk(full_request(a));
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        expect_visit(&v, wanted[i][0], wanted[i][1]);
    buf_free(&v.lines);
    arena_free(a);
}

static void visits_what_is_embedded_or_ranked(void **state)
{
    (void)state;
    static const char *const wanted[][2] = {
        {"query", "r-query"}, {"documents[0]", "d0"}, {"documents[1]", "d1"}, {"request", "v-key"}};
    struct arena *a = arena_create(MIB);
    struct chat_request *r = chat_request_create(a);
    r->kind = CHAT_KIND_RERANK;
    r->query = STR("r-query");
    r->inputs = arena_alloc(a, 2 * sizeof *r->inputs);
    r->inputs[0].text = STR("d0");
    r->inputs[1].text = STR("d1");
    r->n_inputs = 2;
    r->vendor = read_json(a, "{\"v-key\":true}");
    struct visits v = walk(r);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        expect_visit(&v, wanted[i][0], wanted[i][1]);
    buf_free(&v.lines);
    r->kind = CHAT_KIND_EMBED;
    v = walk(r);
    expect_visit(&v, "input[1]", "d1");
    buf_free(&v.lines);
    arena_free(a);
}

static void stops_where_it_is_told_to(void **state)
{
    (void)state;
    struct arena *a = arena_create(MIB);
    const struct chat_request *r = full_request(a);
    struct visits all = walk(r);
    for (int stop_at = 1; stop_at <= all.count; stop_at++) {
        struct visits v = {.stop_at = stop_at};
        buf_init(&v.lines, MIB);
        assert_int_equal(chat_request_visit(r, visit, &v), 77);
        assert_int_equal(v.count, stop_at);
        buf_free(&v.lines);
    }
    buf_free(&all.lines);
    arena_free(a);
}

/* Every text gets a mark; numbers become another one. */
static int mark(void *ctx, struct str text, struct str *out, struct error *err)
{
    struct arena *a = ctx;
    (void)err;
    bool number = text.data[0] == '-' || (text.data[0] >= '0' && text.data[0] <= '9');
    *out = number ? STR("77") : arena_printf(a, "~" STR_FMT, STR_ARG(text));
    return 0;
}

static int is_marked(void *ctx, struct str where, struct str text)
{
    (void)ctx;
    bool json = text.data[0] == '{';
    if (json ? !str_is(text, "{\"~c0\":\"~arguments\"}") : text.data[0] != '~' && !str_is(text, "77"))
        fail_msg("as it was: " STR_FMT ": " STR_FMT, STR_ARG(where), STR_ARG(text));
    return 0;
}

static int same(void *ctx, struct str text, struct str *out, struct error *err)
{
    (void)ctx;
    (void)err;
    *out = text;
    return 0;
}

/* What the detectors see and what a rewriting changes must be the same: a text that is missed leaves as it
 * was. */
static void rewrites_all_that_is_visited(void **state)
{
    (void)state;
    struct error err;
    struct arena *a = arena_create(MIB);
    struct chat_request *r = full_request(a), *out;
    r->query = STR("r-query");
    r->inputs = arena_new(a, struct chat_input);
    r->inputs[0].text = STR("d0");
    r->n_inputs = 1;
    r->suffix = STR("r-suffix");
    r->sampling.dry_breakers = &r->suffix;
    r->sampling.n_dry_breakers = 1;
    r->sampling.logit_bias = &(struct chat_bias){.token = -1, .text = STR("biased")};
    r->sampling.n_logit_bias = 1;
    r->tool_choice_name = STR("c-name");
    struct visits before = walk(r);
    assert_int_equal(chat_request_rewrite(r, mark, a, &out, &err), 0);
    assert_int_equal(chat_request_visit(out, is_marked, NULL), 0);
    struct visits after = walk(out), unchanged = walk(r);
    assert_int_equal(after.count, before.count);
    assert_string_equal(unchanged.lines.data, before.lines.data);
    assert_int_equal(chat_request_rewrite(r, same, a, &out, &err), 0);
    assert_ptr_equal(out->vendor, r->vendor);
    assert_ptr_equal(out->messages[0].parts[1].raw, r->messages[0].parts[1].raw);
    buf_free(&before.lines);
    buf_free(&after.lines);
    buf_free(&unchanged.lines);
    arena_free(a);
}

static struct str tool_written(const struct chat_tool *t, struct buf *text)
{
    struct json_writer w;
    buf_clear(text);
    json_writer_init(&w, text);
    chat_tool_write(&w, t);
    return buf_str(text);
}

static void a_tool_that_was_rewritten_is_not_sent_as_it_was_written_before(void **state)
{
    (void)state;
    struct error err;
    struct buf text;
    struct arena *a = arena_create(MIB);
    struct chat_request r = {.arena = a, .n_tools = 1}, *out;
    json_t *raw = json_pack("{s:s}", "name", "anna");
    r.tools = &(struct chat_tool){.raw = raw, .written = STR("{\"name\":\"anna\"}")};
    buf_init(&text, 4 * KIB);
    assert_true(str_is(tool_written(r.tools, &text), "{\"name\":\"anna\"}"));
    assert_int_equal(chat_request_rewrite(&r, mark, a, &out, &err), 0);
    assert_true(str_is(tool_written(out->tools, &text), "{\"~name\":\"~anna\"}"));
    assert_true(str_is(tool_written(r.tools, &text), "{\"name\":\"anna\"}"));
    json_decref(raw);
    buf_free(&text);
    arena_free(a);
}

static int spell(void *ctx, struct str text, struct str *out, struct error *err)
{
    (void)ctx;
    (void)err;
    *out = text.data[0] == '4' ? STR("four") : STR("k");
    return 0;
}

static void a_number_stays_one_and_members_stay_apart(void **state)
{
    (void)state;
    struct error err;
    struct arena *a = arena_create(MIB);
    struct chat_request *r = chat_request_create(a), *out;
    r->vendor = read_json(a, "{\"a\":41}");
    assert_int_equal(chat_request_rewrite(r, spell, NULL, &out, &err), ERROR_UNSUPPORTED);
    r->vendor = read_json(a, "{\"a\":true,\"b\":true}");
    assert_int_equal(chat_request_rewrite(r, spell, NULL, &out, &err), ERROR_UNSUPPORTED);
    arena_free(a);
}

static void an_empty_request_has_nothing_to_visit(void **state)
{
    (void)state;
    struct arena *a = arena_create(MIB);
    struct chat_request *r = chat_request_create(a);
    struct visits v = walk(r);
    assert_int_equal(v.count, 0);
    assert_true(isnan(r->sampling.temperature) && isnan(r->sampling.top_p) && isnan(r->sampling.min_p));
    assert_true(isnan(r->sampling.repeat_penalty) && isnan(r->sampling.presence_penalty) &&
                isnan(r->sampling.frequency_penalty));
    assert_true(r->sampling.top_k == -1 && r->sampling.repeat_last_n == -1 && !r->sampling.has_seed);
    assert_true(r->max_tokens == -1 && r->parallel_tool_calls == -1 && r->arena == a);
    buf_free(&v.lines);
    arena_free(a);
}

static void names_roles(void **state)
{
    (void)state;
    assert_string_equal(chat_role_name(CHAT_SYSTEM), "system");
    assert_string_equal(chat_role_name(CHAT_DEVELOPER), "developer");
    assert_string_equal(chat_role_name(CHAT_USER), "user");
    assert_string_equal(chat_role_name(CHAT_ASSISTANT), "assistant");
    assert_string_equal(chat_role_name(CHAT_TOOL), "tool");
}

static void a_copy_of_an_event_is_its_own(void **state)
{
    (void)state;
    struct arena *a = arena_create(64 * KIB), *small = arena_create(1);
    char text[] = "hello", top_text[] = "hullo", bytes[] = "hu";
    const struct chat_token top = {.text = str_from(top_text), .bytes = str_from(bytes), .logprob = -2};
    const struct chat_token token = {.text = str_from(text), .logprob = -1, .top = &top, .n_top = 1};
    const struct chat_event e = {
        .kind = CHAT_EVENT_TEXT, .choice = 2, .tokens = &token, .n_tokens = 1, .text = str_from(text)};
    struct chat_event copy;
    assert_true(chat_event_copy(a, &e, &copy));
    memset(text, 'x', 5);
    memset(top_text, 'x', 5);
    memset(bytes, 'x', 2);
    assert_true(str_is(copy.text, "hello") && copy.choice == 2 && copy.n_tokens == 1);
    assert_true(str_is(copy.tokens[0].text, "hello") && !copy.tokens[0].bytes.data);
    assert_true(str_is(copy.tokens[0].top[0].text, "hullo") && str_is(copy.tokens[0].top[0].bytes, "hu"));
    const struct chat_event call = {.kind = CHAT_EVENT_TOOL_CALL,
        .tool_call = {.index = 1, .id = STR("c"), .name = STR("f"), .arguments = STR("{}")}};
    assert_true(chat_event_copy(a, &call, &copy));
    assert_true(copy.tool_call.index == 1 && str_is(copy.tool_call.arguments, "{}"));
    const struct chat_event block = {.kind = CHAT_EVENT_NATIVE};
    assert_false(chat_event_copy(a, &block, &copy));
    static char large[MIB];
    const struct chat_event much = {.kind = CHAT_EVENT_TEXT, .text = {large, sizeof large}};
    assert_false(chat_event_copy(small, &much, &copy));
    arena_free(small);
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(visits_every_string),
        cmocka_unit_test(visits_what_is_embedded_or_ranked),
        cmocka_unit_test(stops_where_it_is_told_to),
        cmocka_unit_test(rewrites_all_that_is_visited),
        cmocka_unit_test(a_tool_that_was_rewritten_is_not_sent_as_it_was_written_before),
        cmocka_unit_test(a_number_stays_one_and_members_stay_apart),
        cmocka_unit_test(an_empty_request_has_nothing_to_visit),
        cmocka_unit_test(names_roles),
        cmocka_unit_test(a_copy_of_an_event_is_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
