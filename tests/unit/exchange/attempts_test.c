/* What a client is told when nobody answered, and what the ledger keeps of it. */
#include "exchange/attempts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Adds an attempt that failed. */
static void failed(struct attempts *a, struct arena *arena, const char *target, int code, int status)
{
    char message[64];
    snprintf(message, sizeof message, "%s said %s", target, error_code_name(code));
    struct chat_failure f = {.code = code,
        .status = status,
        .retry_after_ms = -1,
        .message = str_from(message),
        .type = STR("some_type")};
    size_t index = attempts_begin(a, arena, arena_copy(arena, str_from(target)), STR("provider"));
    attempts_end(a, arena, index, &f, 12);
}

static void one_failure_gives_its_own_status(void **state)
{
    (void)state;
    static const struct {
        int code, status, seen;
    } table[] = {{ERROR_INVALID, 0, 400}, {ERROR_INVALID, 404, 404}, {ERROR_INVALID, 422, 422},
        {ERROR_INVALID, 500, 400}, {ERROR_LIMIT, 413, 413}, {ERROR_LIMIT, 0, 400},
        {ERROR_UNSUPPORTED, 0, 400}, {ERROR_DENIED, 0, 403}, {ERROR_DENIED, 401, 401},
        {ERROR_DENIED, 200, 403}, {ERROR_TIMEOUT, 0, 504}, {ERROR_TIMEOUT, 408, 504}, {ERROR_BUSY, 429, 429},
        {ERROR_BUSY, 0, 429}, {ERROR_UNAVAILABLE, 500, 500}, {ERROR_UNAVAILABLE, 502, 502},
        {ERROR_UNAVAILABLE, 529, 503}, {ERROR_UNAVAILABLE, 401, 401}, {ERROR_UNAVAILABLE, 402, 402},
        {ERROR_UNAVAILABLE, 403, 403}, {ERROR_UNAVAILABLE, 404, 404}, {ERROR_UNAVAILABLE, 0, 503},
        {ERROR_IO, 0, 503}, {ERROR_INTERNAL, 0, 503}, {ERROR_MEMORY, 0, 503}, {ERROR_NOT_FOUND, 404, 404}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct arena *arena = arena_create(MIB);
        struct attempts a = {0};
        failed(&a, arena, "gpt", table[i].code, table[i].status);
        struct exchange_failure f = attempts_failure(&a, arena);
        if (f.status != table[i].seen)
            fail_msg("%s with %d gives %d, not %d", error_code_name(table[i].code), table[i].status, f.status,
                table[i].seen);
        assert_int_equal(f.code, table[i].code);
        assert_true(str_is(f.type, "some_type"));
        assert_true(str_is(f.about.model, "gpt") && str_is(f.about.provider, "provider"));
        assert_int_equal(f.retry_after_ms, -1);
        arena_free(arena);
    }
}

static void several_failures_agree_or_are_503(void **state)
{
    (void)state;
    static const struct {
        int codes[3];
        int seen;
    } table[] = {{{ERROR_TIMEOUT, ERROR_TIMEOUT, 0}, 504}, {{ERROR_BUSY, ERROR_BUSY, ERROR_BUSY}, 429},
        {{ERROR_TIMEOUT, ERROR_BUSY, 0}, 503}, {{ERROR_UNAVAILABLE, ERROR_TIMEOUT, ERROR_UNAVAILABLE}, 503},
        {{ERROR_UNAVAILABLE, ERROR_IO, 0}, 503},
        /* One that cannot do what is asked says nothing about the others. */
        {{ERROR_UNSUPPORTED, ERROR_BUSY, 0}, 429},
        {{ERROR_UNSUPPORTED, ERROR_UNSUPPORTED, ERROR_TIMEOUT}, 504},
        {{ERROR_UNSUPPORTED, ERROR_UNSUPPORTED, 0}, 400}, {{ERROR_BUSY, ERROR_UNSUPPORTED, 0}, 503}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct arena *arena = arena_create(MIB);
        struct attempts a = {0};
        for (int k = 0; k < 3 && table[i].codes[k]; k++)
            failed(&a, arena, "gpt", table[i].codes[k], 0);
        if (attempts_failure(&a, arena).status != table[i].seen)
            fail_msg("row %zu gives %d, not %d", i, attempts_failure(&a, arena).status, table[i].seen);
        arena_free(arena);
    }
}

static void the_error_names_each_attempt(void **state)
{
    (void)state;
    struct arena *arena = arena_create(MIB);
    struct attempts a = {0};
    failed(&a, arena, "house", ERROR_UNAVAILABLE, 0);
    assert_true(str_is(attempts_failure(&a, arena).message, "house: house said unavailable"));
    failed(&a, arena, "gpt", ERROR_BUSY, 429);
    a.list[0].failure.retry_after_ms = 7000;
    a.list[1].failure.retry_after_ms = 300;
    struct exchange_failure f = attempts_failure(&a, arena);
    assert_true(
        str_is(f.message, "no target could answer: house: house said unavailable; gpt: gpt said busy"));
    assert_int_equal(f.retry_after_ms, 7000);
    assert_true(str_is(f.about.model, "gpt"));
    assert_int_equal(f.code, ERROR_BUSY);
    arena_free(arena);
}

static void unaffordable(struct attempts *a, struct arena *arena, const char *target, int64_t retry_after_ms)
{
    failed(a, arena, target, ERROR_BUSY, 0);
    struct attempt *t = &a->list[a->count - 1];
    t->unaffordable = true;
    t->failure.type = STR("insufficient_quota");
    t->failure.retry_after_ms = retry_after_ms;
}

/* Whoever could come back sooner than the money is waited for. */
static void no_money_is_said_where_nothing_else_is_left(void **state)
{
    (void)state;
    struct arena *arena = arena_create(MIB);
    struct attempts a = {0};
    unaffordable(&a, arena, "gpt", 86400000);
    unaffordable(&a, arena, "claude", 86400000);
    struct exchange_failure f = attempts_failure(&a, arena);
    assert_int_equal(f.status, 429);
    assert_true(str_is(f.type, "insufficient_quota"));
    assert_int_equal(f.retry_after_ms, 86400000);
    assert_true(str_find(attempts_json(&a, arena), STR("\"outcome\":\"budget\"")) != SIZE_MAX);
    failed(&a, arena, "small", ERROR_UNSUPPORTED, 0); /* it could not do it anyway */
    f = attempts_failure(&a, arena);
    assert_int_equal(f.status, 429);
    assert_true(str_is(f.type, "insufficient_quota"));
    failed(&a, arena, "house", ERROR_BUSY, 0);
    a.list[a.count - 1].failure.retry_after_ms = 1000;
    f = attempts_failure(&a, arena);
    assert_int_equal(f.status, 429);
    assert_true(str_is(f.type, "some_type"));
    assert_int_equal(f.retry_after_ms, 1000);
    arena_free(arena);
}

/* The failure's own strings live only during the call; long ones are cut. */
static void keeps_copies_of_messages(void **state)
{
    (void)state;
    struct arena *arena = arena_create(4 * MIB);
    struct attempts a = {0};
    char text[5000];
    memset(text, 'm', sizeof text);
    struct chat_failure f = {.code = ERROR_IO, .message = {text, sizeof text}, .type = {text, sizeof text}};
    for (int i = 0; i < LIMIT_TARGETS; i++) {
        size_t index = attempts_begin(&a, arena, arena_printf(arena, "target%d", i), STR("provider"));
        attempts_end(&a, arena, index, &f, 1);
    }
    memset(text, 'x', sizeof text);
    struct exchange_failure out = attempts_failure(&a, arena);
    assert_true(str_find_char(out.message, 'x') == SIZE_MAX && str_find_char(out.type, 'x') == SIZE_MAX);
    assert_int_equal(out.type.len, 200);
    assert_in_range(out.message.len, LIMIT_TARGETS * 2000, LIMIT_TARGETS * 2100);
    assert_true(str_ends(attempts_json(&a, arena), STR("}]")));
    arena_free(arena);
}

/* A target that was asked three times and failed alike is named once. */
static void repeats_are_told_once(void **state)
{
    (void)state;
    struct arena *arena = arena_create(MIB);
    struct attempts a = {0};
    for (int i = 0; i < 3; i++)
        failed(&a, arena, "gpt", ERROR_UNAVAILABLE, 503);
    assert_true(str_is(attempts_failure(&a, arena).message, "gpt: gpt said unavailable"));
    failed(&a, arena, "house", ERROR_UNAVAILABLE, 503);
    assert_true(str_is(attempts_failure(&a, arena).message,
        "no target could answer: gpt: gpt said unavailable; house: house said unavailable"));
    arena_free(arena);
}

/* The first target refused the request for good while a hedge was still being asked. */
static void what_is_under_way_is_no_failure(void **state)
{
    (void)state;
    struct arena *arena = arena_create(MIB);
    struct attempts a = {0};
    failed(&a, arena, "gpt", ERROR_INVALID, 400);
    attempts_begin(&a, arena, STR("claude"), STR("anthropic"));
    struct exchange_failure f = attempts_failure(&a, arena);
    assert_int_equal(f.status, 400);
    assert_int_equal(f.code, ERROR_INVALID);
    assert_true(str_is(f.message, "gpt: gpt said invalid"));
    assert_true(str_is(f.about.model, "gpt"));
    arena_free(arena);
}

static void the_ledger_gets_targets_outcomes_and_times_but_no_message(void **state)
{
    (void)state;
    struct arena *arena = arena_create(MIB);
    struct attempts a = {0};
    assert_true(str_is(attempts_json(&a, arena), "[]"));
    failed(&a, arena, "ho\"use", ERROR_UNAVAILABLE, 0);
    failed(&a, arena, "gpt", ERROR_BUSY, 429);
    attempts_end(&a, arena, attempts_begin(&a, arena, STR("claude"), STR("anthropic")), NULL, 345);
    attempts_pass(&a, arena, STR("tired"), STR("rack"));
    size_t last = attempts_begin(&a, arena, STR("last"), STR("rack"));
    a.list[last].cost_nano_usd = 7;
    assert_true(str_is(attempts_json(&a, arena),
        "[{\"target\":\"ho\\\"use\",\"provider\":\"provider\",\"outcome\":\"unavailable\",\"status\":0,"
        "\"ms\":12},"
        "{\"target\":\"gpt\",\"provider\":\"provider\",\"outcome\":\"busy\",\"status\":429,\"ms\":12},"
        "{\"target\":\"claude\",\"provider\":\"anthropic\",\"outcome\":\"ok\",\"ms\":345},"
        "{\"target\":\"tired\",\"provider\":\"rack\",\"outcome\":\"passed\",\"ms\":0},"
        "{\"target\":\"last\",\"provider\":\"rack\",\"outcome\":\"open\",\"ms\":0,\"cost_nano_usd\":7}]"));
    arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_failure_gives_its_own_status),
        cmocka_unit_test(several_failures_agree_or_are_503),
        cmocka_unit_test(no_money_is_said_where_nothing_else_is_left),
        cmocka_unit_test(the_error_names_each_attempt),
        cmocka_unit_test(repeats_are_told_once),
        cmocka_unit_test(what_is_under_way_is_no_failure),
        cmocka_unit_test(keeps_copies_of_messages),
        cmocka_unit_test(the_ledger_gets_targets_outcomes_and_times_but_no_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
