#include "exchange/attempts.h"

#include <assert.h>

void attempts_begin(struct attempts *a, struct str target, struct str provider)
{
    assert(a->count < LIMIT_TARGETS);
    a->list[a->count++] = (struct attempt){.target = target, .provider = provider};
}

void attempts_end(struct attempts *a, struct arena *arena, const struct chat_failure *failure, int64_t ms)
{
    assert(a->count > 0);
    struct attempt *last = &a->list[a->count - 1];
    last->over = true;
    last->ok = failure == NULL;
    last->ms = ms;
    if (failure) {
        last->failure = *failure;
        last->failure.message = arena_copy(arena, str_slice(failure->message, 0, 2000));
        last->failure.type = arena_copy(arena, str_slice(failure->type, 0, 200));
    }
}

struct str attempts_json(const struct attempts *a, struct arena *arena)
{
    struct buf text;
    struct json_writer w;
    struct str kept;
    buf_init(&text, 128 * KIB);
    json_writer_init(&w, &text);
    json_array_begin(&w);
    for (size_t i = 0; i < a->count; i++) {
        const struct attempt *t = &a->list[i];
        json_object_begin(&w);
        json_key(&w, "target");
        json_write_str(&w, t->target);
        json_key(&w, "provider");
        json_write_str(&w, t->provider);
        json_key(&w, "outcome");
        json_write_text(&w, !t->over ? "open" : t->ok ? "ok" : error_code_name(t->failure.code));
        if (t->over && !t->ok) {
            json_key(&w, "status");
            json_write_int(&w, t->failure.status);
        }
        json_key(&w, "ms");
        json_write_int(&w, t->ms);
        json_object_end(&w);
    }
    json_array_end(&w);
    kept = text.failed ? STR("[]") : arena_copy(arena, buf_str(&text));
    buf_free(&text);
    return kept;
}

static int status_of(const struct chat_failure *f)
{
    if (f->code == ERROR_UNSUPPORTED || f->code == ERROR_INVALID || f->code == ERROR_LIMIT)
        return f->status >= 400 && f->status < 500 ? f->status : 400;
    if (f->code == ERROR_TIMEOUT)
        return 504;
    if (f->code == ERROR_BUSY)
        return 429;
    if (f->code == ERROR_DENIED)
        return f->status >= 400 && f->status < 500 ? f->status : 403;
    return 503;
}

/* All attempts alike give their own status; mixed ones a 503, so that the client may try again. */
static int status_of_all(const struct attempts *a)
{
    int status = 0;
    for (size_t i = 0; i < a->count; i++) {
        int one = status_of(&a->list[i].failure);
        /* A request that one target refuses for what it asks says nothing about the others. */
        if (a->count > 1 && a->list[i].failure.code == ERROR_UNSUPPORTED && i + 1 < a->count)
            continue;
        if (status != 0 && status != one)
            return 503;
        status = one;
    }
    return status ? status : 503;
}

struct exchange_failure attempts_failure(const struct attempts *a, struct arena *arena)
{
    assert(a->count > 0);
    const struct attempt *last = &a->list[a->count - 1];
    struct exchange_failure f = {.status = status_of_all(a),
        .code = last->failure.code,
        .type = last->failure.type,
        .retry_after_ms = -1,
        .about = {.model = last->target, .provider = last->provider}};
    struct buf text;
    buf_init(&text, 64 * KIB);
    if (a->count > 1)
        buf_append_text(&text, "no target could answer: ");
    for (size_t i = 0; i < a->count; i++) {
        const struct attempt *t = &a->list[i];
        buf_appendf(
            &text, "%s" STR_FMT ": " STR_FMT, i ? "; " : "", STR_ARG(t->target), STR_ARG(t->failure.message));
        if (t->failure.retry_after_ms > f.retry_after_ms)
            f.retry_after_ms = t->failure.retry_after_ms;
    }
    f.message = arena_copy(arena, buf_str(&text));
    buf_free(&text);
    return f;
}
