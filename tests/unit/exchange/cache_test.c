#include "exchange/cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"

static struct error err;

static struct cache_question question(const char *body)
{
    static const struct str targets[] = {{"gpt", 3}, {"house", 5}};
    return (struct cache_question){.scope = STR("key1"),
        .world = 7,
        .api = STR("openai.chat"),
        .targets = targets,
        .n_targets = 2,
        .body = str_from(body)};
}

static bool same(const struct cache_question *a, const struct cache_question *b)
{
    unsigned char x[CACHE_KEY], y[CACHE_KEY];
    assert_int_equal(cache_key(a, x, &err), 0);
    assert_int_equal(cache_key(b, y, &err), 0);
    return memcmp(x, y, sizeof x) == 0;
}

static void the_same_question_in_other_words_of_json(void **state)
{
    (void)state;
    struct cache_question a = question("{\"model\":\"m\",\"messages\":[1,{\"a\":1,\"b\":2}]}");
    const struct cache_question b = question(
        " { \"messages\" : [1,{\"b\":2,\"a\":1}], \"stream\":true, \"stream_options\":{}, \"model\":\"m\" }");
    assert_true(same(&a, &b)); /* how it is delivered does not matter */
}

static void any_difference_that_matters_is_another_question(void **state)
{
    (void)state;
    const struct cache_question base = question("{\"model\":\"m\",\"seed\":1}");
    struct cache_question other = question("{\"model\":\"m\",\"seed\":2}");
    assert_false(same(&base, &other));
    other = base;
    other.scope = STR("key2");
    assert_false(same(&base, &other));
    other = base;
    other.local = true; /* never across a boundary */
    assert_false(same(&base, &other));
    other = base;
    other.files = 5;
    assert_false(same(&base, &other));
    other = base;
    other.world = 8;
    assert_false(same(&base, &other));
    other = base;
    other.api = STR("openai.completions");
    assert_false(same(&base, &other));
    other = base;
    other.n_targets = 1;
    assert_false(same(&base, &other));
    const struct chat_header header = {STR("anthropic-beta"), STR("x")};
    other = base;
    other.headers = &header;
    other.n_headers = 1;
    assert_false(same(&base, &other));
    /* Neighbouring parts do not run together. */
    struct cache_question left = base, right = base;
    left.scope = STR("a");
    left.api = STR("bc");
    right.scope = STR("ab");
    right.api = STR("c");
    assert_false(same(&left, &right));
}

static void what_is_no_object_is_not_asked(void **state)
{
    (void)state;
    unsigned char key[CACHE_KEY];
    static const char *const bodies[] = {"", "[]", "{", "7", "{\"a\":1,\"a\":2}"};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        const struct cache_question q = question(bodies[i]);
        assert_int_equal(cache_key(&q, key, &err), ERROR_INVALID);
    }
}

static void only_what_would_be_answered_alike(void **state)
{
    (void)state;
    struct arena *arena = arena_create(1 << 20);
    struct chat_request *r = chat_request_create(arena);
    assert_false(cache_may(r)); /* drawn by chance */
    r->sampling.temperature = 0;
    assert_true(cache_may(r));
    r->n = 2;
    assert_false(cache_may(r));
    r->n = 1;
    r->sampling.temperature = 1;
    r->sampling.has_seed = true;
    assert_true(cache_may(r));
    arena_free(arena);
}

/* ---- Answers ---- */

static void on_event(void *ctx, const struct chat_event *e)
{
    struct buf *b = ctx;
    if (e->kind == CHAT_EVENT_TEXT)
        buf_appendf(b, "text " STR_FMT "\n", STR_ARG(e->text));
    else if (e->kind == CHAT_EVENT_TOOL_CALL)
        buf_appendf(b, "tool %u " STR_FMT " " STR_FMT " " STR_FMT "\n", e->tool_call.index,
            STR_ARG(e->tool_call.id), STR_ARG(e->tool_call.name), STR_ARG(e->tool_call.arguments));
    else if (e->kind == CHAT_EVENT_USAGE)
        buf_appendf(b, "usage %d\n", (int)e->usage.output_tokens);
    else if (e->kind == CHAT_EVENT_STOP)
        buf_appendf(b, "stop %d\n", e->stop);
}

static void an_answer_comes_back_as_it_was(void **state)
{
    (void)state;
    char text[] = "hello";
    struct cache_answer *a = cache_answer_create(STR("gpt"), STR("openai"));
    assert_true(cache_answer_add(a, &(struct chat_event){.kind = CHAT_EVENT_TEXT, .text = {text, 5}}));
    memset(text, 'x', 5); /* it was copied */
    assert_true(cache_answer_add(a, &(struct chat_event){.kind = CHAT_EVENT_TOOL_CALL,
                                        .tool_call = {1, STR("c1"), STR("look"), STR("{}")}}));
    assert_true(
        cache_answer_add(a, &(struct chat_event){.kind = CHAT_EVENT_USAGE, .usage = {.output_tokens = 9}}));
    assert_true(cache_answer_add(a, &(struct chat_event){.kind = CHAT_EVENT_STOP, .stop = CHAT_STOP_TOOLS}));
    assert_false(cache_answer_add(a, &(struct chat_event){.kind = CHAT_EVENT_ERROR}));
    struct buf out;
    buf_init(&out, 4096);
    cache_answer_replay(a, (struct chat_sink){on_event, &out});
    assert_string_equal(out.data, "text hello\ntool 1 c1 look {}\nusage 9\nstop 2\n");
    assert_true(str_is(cache_answer_model(a), "gpt") && str_is(cache_answer_provider(a), "openai"));
    buf_free(&out);
    cache_answer_unref(a);
}

static void put(struct cache *c, unsigned char name, size_t bytes, int64_t now)
{
    static char text[CACHE_ANSWER_MOST];
    unsigned char key[CACHE_KEY] = {name};
    struct cache_answer *a = cache_answer_create(STR("m"), STR("p"));
    assert_true(cache_answer_add(a, &(struct chat_event){.kind = CHAT_EVENT_TEXT, .text = {text, bytes}}));
    cache_put(c, key, a, now);
}

static bool has(struct cache *c, unsigned char name, int64_t now)
{
    unsigned char key[CACHE_KEY] = {name};
    struct cache_answer *a = cache_get(c, key, now);
    cache_answer_unref(a);
    return a != NULL;
}

static void the_least_recently_used_goes_first(void **state)
{
    (void)state;
    struct cache *c = cache_create();
    size_t bytes, answers;
    cache_configure(c, 1000, 40000);
    for (unsigned char i = 1; i <= 3; i++)
        put(c, i, 10000, 0);
    assert_true(has(c, 1, 0));
    put(c, 4, 10000, 0);
    assert_true(has(c, 1, 0) && has(c, 3, 0) && has(c, 4, 0));
    assert_false(has(c, 2, 0));
    put(c, 5, 100000, 0); /* larger than all the room: nothing goes for it */
    assert_false(has(c, 5, 0));
    assert_true(has(c, 1, 0));
    put(c, 1, 20000, 0); /* replaced, not doubled */
    cache_size(c, &bytes, &answers);
    assert_true(bytes <= 40000 && answers == 2);
    cache_configure(c, 1000, 0); /* switched off by a reload */
    cache_size(c, &bytes, &answers);
    assert_true(bytes == 0 && answers == 0);
    put(c, 1, 10, 0);
    assert_false(has(c, 1, 0));
    cache_free(c);
}

static void answers_grow_old(void **state)
{
    (void)state;
    struct cache *c = cache_create();
    cache_configure(c, 1000, 1 << 20);
    put(c, 1, 10, 500);
    assert_true(has(c, 1, 1499));
    assert_false(has(c, 1, 1500));
    size_t bytes, answers;
    cache_size(c, &bytes, &answers);
    assert_int_equal(bytes, 0);
    cache_free(c);
}

static void an_answer_outlives_its_entry(void **state)
{
    (void)state;
    struct cache *c = cache_create();
    unsigned char key[CACHE_KEY] = {1};
    cache_configure(c, 1000, 1 << 20);
    put(c, 1, 10, 0);
    struct cache_answer *a = cache_get(c, key, 0);
    cache_free(c);
    assert_true(str_is(cache_answer_model(a), "m"));
    cache_answer_unref(a);
}

static void an_answer_that_is_too_large_is_given_up(void **state)
{
    (void)state;
    static char text[CACHE_ANSWER_MOST];
    struct cache_answer *a = cache_answer_create(STR("m"), STR("p"));
    assert_false(cache_answer_add(
        a, &(struct chat_event){.kind = CHAT_EVENT_TEXT, .text = {text, CACHE_ANSWER_MOST}}));
    cache_answer_unref(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_question_in_other_words_of_json),
        cmocka_unit_test(any_difference_that_matters_is_another_question),
        cmocka_unit_test(what_is_no_object_is_not_asked),
        cmocka_unit_test(only_what_would_be_answered_alike),
        cmocka_unit_test(an_answer_comes_back_as_it_was),
        cmocka_unit_test(the_least_recently_used_goes_first),
        cmocka_unit_test(answers_grow_old),
        cmocka_unit_test(an_answer_outlives_its_entry),
        cmocka_unit_test(an_answer_that_is_too_large_is_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
