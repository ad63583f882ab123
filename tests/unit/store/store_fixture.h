/* For tests that need a state: a directory of their own, rows, a loop that counts answers. */
#ifndef WEIR_TESTS_STORE_FIXTURE_H
#define WEIR_TESTS_STORE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "store/store.h"

struct fixture {
    char dir[64], path[96], url[160];
    struct loop *loop;
    int answers, expected, failures, last_code;
};

static inline int fixture_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct error err;
    strcpy(f->dir, "/tmp/weir-store-XXXXXX");
    if (!f || !mkdtemp(f->dir) || loop_create(&f->loop, &err))
        return -1;
    snprintf(f->path, sizeof f->path, "%s/weir.db", f->dir);
    snprintf(f->url, sizeof f->url, "sqlite:%s", f->path);
    *state = f;
    return 0;
}

static inline int fixture_down(void **state)
{
    struct fixture *f = *state;
    loop_free(f->loop);
    DIR *dir = opendir(f->dir);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", f->dir, e->d_name);
        unlink(path);
    }
    if (dir)
        closedir(dir);
    rmdir(f->dir);
    free(f);
    return 0;
}

static inline struct store *fixture_open(struct fixture *f)
{
    struct store *s = NULL;
    struct error err = {0};
    int rc = store_open(str_from(f->url), &s, &err);
    if (rc)
        print_error("%s\n", err.message);
    assert_int_equal(rc, 0);
    return s;
}

static inline void fixture_answer(void *ctx, int code)
{
    struct fixture *f = ctx;
    f->answers++;
    f->last_code = code;
    f->failures += code != 0;
    if (f->answers == f->expected)
        loop_stop(f->loop);
}

static inline struct store_done fixture_done(struct fixture *f)
{
    f->expected++;
    return (struct store_done){f->loop, fixture_answer, f};
}

/* Runs the loop until everything asked for has been answered; the last code. */
static inline int fixture_wait(struct fixture *f)
{
    struct error err;
    if (f->answers < f->expected)
        assert_int_equal(loop_run(f->loop, &err), 0);
    assert_int_equal(f->answers, f->expected);
    return f->last_code;
}

static const struct store_done NOBODY = {NULL, NULL, NULL};

static inline struct store_opened opened_row(const char *request_id, int64_t wall_ms)
{
    return (struct store_opened){.request_id = str_from(request_id),
        .wall_ms = wall_ms,
        .key_id = STR("abc"),
        .team = STR("blue"),
        .api = STR("openai.chat"),
        .model = STR("auto"),
        .route = STR("auto"),
        .rule = STR("otherwise"),
        .boundary = STR("any"),
        .sensitive = true,
        .decision = STR("{\"tokens\":7}")};
}

static inline struct store_settled settled_row(const char *request_id)
{
    return (struct store_settled){.request_id = str_from(request_id),
        .provider = STR("openai"),
        .model = STR("gpt-4o"),
        .attempts = STR("[]"),
        .input_tokens = 100,
        .cached_tokens = 40,
        .output_tokens = 20,
        .cost_nano_usd = 400000,
        .first_token_ms = 12,
        .total_ms = 340,
        .outcome = STR("ok"),
        .status = 200};
}

static inline struct store_egress egress_row(const char *request_id, int64_t wall_ms)
{
    return (struct store_egress){.wall_ms = wall_ms,
        .request_id = str_from(request_id),
        .rule = STR("otherwise"),
        .boundary = STR("any"),
        .zone = STR("cloud"),
        .target = STR("openai"),
        .host = STR("api.example"),
        .path = STR("/v1/chat/completions"),
        .bytes = 512,
        .sha256 = STR("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")};
}

/* Both opened and settled, kept before it returns. */
static inline void keep_request(struct fixture *f, struct store *s, const char *id, int64_t wall_ms)
{
    struct error err;
    struct store_opened opened = opened_row(id, wall_ms);
    struct store_settled settled = settled_row(id);
    settled.opened_ms = wall_ms;
    assert_int_equal(store_ledger_open(s, &opened, fixture_done(f), &err), 0);
    assert_int_equal(store_ledger_settle(s, &settled, fixture_done(f), &err), 0);
    assert_int_equal(fixture_wait(f), 0);
}

static inline int count_ledger(void *ctx, const struct store_ledger_row *row)
{
    (void)row;
    ++*(int64_t *)ctx;
    return 0;
}

static inline int64_t ledger_count(struct store *s)
{
    struct error err;
    int64_t n = 0;
    if (store_ledger_list(s, 0, count_ledger, &n, &err))
        fail_msg("%s", err.message);
    return n;
}

#endif
