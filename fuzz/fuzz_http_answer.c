/* libFuzzer: an answer over HTTP/1.1, as bytes. The first byte says whether a body may follow, whether the
 * handler pauses at every piece, and how the bytes are cut. Held for every input: the status comes once and
 * before the body, nothing comes after the end or an error, and the same answer however the bytes are cut. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "egress/internal.h"

struct answer {
    struct egress_transfer *t;
    bool pause, over;
    int status;
    uint64_t hash; /* of the body */
    size_t len;
};

static void check(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "broken: %s\n", what);
    abort();
}

static void on_status(void *ctx, int status)
{
    struct answer *a = ctx;
    check(a->status == 0 && status >= 200, "the status comes once");
    a->status = status;
    a->t->paused = a->pause;
}

static void on_data(void *ctx, struct str bytes)
{
    struct answer *a = ctx;
    check(a->status && !a->over && !a->t->paused && bytes.len > 0, "a body at its time");
    for (size_t i = 0; i < bytes.len; i++)
        a->hash = (a->hash ^ (unsigned char)bytes.data[i]) * 0x100000001b3u;
    a->len += bytes.len;
    a->t->paused = a->pause;
}

static void read_all(
    struct answer *a, const struct egress_target *target, struct str bytes, size_t step, bool head_only)
{
    struct egress_transfer *t = a->t = must(calloc(1, sizeof *t));
    t->target = target;
    t->head_only = head_only;
    t->handler = (struct egress_handler){on_status, on_data, NULL, a};
    egress_answer_begin(t);
    for (size_t at = 0; at < bytes.len && !a->over;) {
        size_t len = step < bytes.len - at ? step : bytes.len - at;
        t->paused = false;
        size_t used = egress_answer_read(t, bytes.data + at, len);
        check(used <= len, "more used than was there");
        check(used == len || t->paused || t->complete || t->code, "less used than was there");
        a->over = t->complete || t->code;
        at += used;
    }
    t->paused = false;
    if (!a->over)
        egress_answer_read(t, NULL, 0);
    check(!t->complete || a->status, "an end without a beginning");
    check(t->answer_headers.len <= 32 * 1024, "headers beyond their bound");
}

static void answer_free(struct answer *a)
{
    buf_free(&a->t->answer_headers);
    free(a->t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct egress_target *target;
    const struct egress_target_options options = {
        .name = STR("cloud"), .base_url = STR("http://127.0.0.1"), .zone = EGRESS_ZONE_LOCAL};
    struct error err;
    if (!target && egress_target_create(&options, &target, &err))
        abort();
    if (size == 0)
        return 0;
    struct str bytes = {(const char *)data + 1, size - 1};
    struct answer whole = {.pause = data[0] & 2}, cut = {.pause = data[0] & 4};
    read_all(&whole, target, bytes, size, data[0] & 1);
    read_all(&cut, target, bytes, (size_t)(data[0] >> 3) + 1, data[0] & 1);
    const struct egress_transfer *w = whole.t, *c = cut.t;
    check(whole.status == cut.status && whole.hash == cut.hash && whole.len == cut.len,
        "a cut changes the body");
    check(w->complete == c->complete && w->code == c->code, "a cut changes the end");
    check(!w->complete || w->keep_alive == c->keep_alive, "a cut changes what follows");
    check(!w->complete || str_eq(buf_str(&w->answer_headers), buf_str(&c->answer_headers)),
        "a cut changes the headers");
    answer_free(&whole);
    answer_free(&cut);
    return 0;
}
