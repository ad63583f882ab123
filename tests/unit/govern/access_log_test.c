#include "govern/access_log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/limits.h"

static const struct access_entry whole = {.wall_ms = 1795840180123,
    .request_id = STR("req_1"),
    .client = STR("127.0.0.1"),
    .key_id = STR("k1"),
    .method = STR("POST"),
    .path = STR("/v1/messages"),
    .api = STR("anthropic.messages"),
    .route = STR("auto"),
    .rule = STR("a \"rule\""),
    .model = STR("m"),
    .provider = STR("out"),
    .outcome = STR("ok"),
    .status = 200,
    .input_tokens = 7,
    .cached_tokens = 3,
    .output_tokens = 2,
    .reasoning_tokens = 1,
    .cost_nano_usd = 2500000,
    .first_token_ms = 12,
    .total_us = 34500,
    .bytes_in = 100,
    .bytes_out = 2000};

static void writes_one_line(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 64 * KIB);
    access_entry_write(&whole, &out);
    assert_string_equal(out.data,
        "{\"time\":\"2026-11-28T04:29:40.123Z\",\"request_id\":\"req_1\",\"client\":\"127.0.0.1\",\"key_id\":"
        "\"k1\",\"method\":\"POST\",\"path\":\"/v1/messages\",\"api\":\"anthropic.messages\",\"route\":"
        "\"auto\",\"rule\":\"a \\\"rule\\\"\",\"model\":\"m\",\"provider\":\"out\",\"status\":200,"
        "\"outcome\":\"ok\",\"input_tokens\":7,\"cached_tokens\":3,\"output_tokens\":2,"
        "\"reasoning_tokens\":1,\"cost_usd\":0.0025,\"first_token_ms\":12,\"total_ms\":34.5,"
        "\"bytes_in\":100,\"bytes_out\":2000}\n");
    buf_free(&out);
}

/* What never came to be known is left out, not told as zero. */
static void leaves_out_what_is_unknown(void **state)
{
    (void)state;
    const struct access_entry e = {.request_id = STR("r"),
        .status = 404,
        .input_tokens = -1,
        .cached_tokens = -1,
        .output_tokens = -1,
        .reasoning_tokens = -1,
        .cost_nano_usd = -1,
        .first_token_ms = -1};
    struct buf out;
    buf_init(&out, 64 * KIB);
    access_entry_write(&e, &out);
    assert_string_equal(out.data,
        "{\"time\":\"1970-01-01T00:00:00.000Z\",\"request_id\":\"r\",\"status\":404,\"total_ms\":0.0,"
        "\"bytes_in\":0,\"bytes_out\":0}\n");
    buf_free(&out);
}

static size_t lines_of(const char *file)
{
    FILE *f = fopen(file, "r");
    size_t n = 0;
    assert_non_null(f);
    for (int c; (c = fgetc(f)) != EOF;)
        n += c == '\n';
    fclose(f);
    return n;
}

static void writes_all_before_it_ends_and_appends(void **state)
{
    (void)state;
    char folder[] = "/tmp/weir-access-XXXXXX", file[64];
    struct access_log *l;
    struct error err;
    assert_non_null(mkdtemp(folder));
    snprintf(file, sizeof file, "%s/log", folder);
    for (int round = 1; round <= 2; round++) {
        assert_int_equal(access_log_create(str_from(file), &l, &err), 0);
        for (int i = 0; i < 500; i++)
            access_log_write(l, &whole);
        assert_int_equal(access_log_dropped(l), 0);
        access_log_free(l);
        assert_int_equal(lines_of(file), 500 * round);
    }
    unlink(file);
    rmdir(folder);
    assert_int_equal(access_log_create(STR("/nowhere/at/all"), &l, &err), ERROR_IO);
    access_log_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_one_line),
        cmocka_unit_test(leaves_out_what_is_unknown),
        cmocka_unit_test(writes_all_before_it_ends_and_appends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
