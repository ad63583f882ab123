#include "exchange/attempts.h"

#include <assert.h>
#include <string.h>

#include "base/clock.h"

size_t attempts_begin(struct attempts *a, struct arena *arena, struct str target, struct str provider)
{
    assert(a->count < ATTEMPTS_MOST);
    if (a->count == a->capacity) {
        size_t capacity = a->capacity ? a->capacity * 2 : 4;
        struct attempt *list = arena_alloc(arena, capacity * sizeof *list);
        if (a->count > 0)
            memcpy(list, a->list, a->count * sizeof *list);
        a->list = list;
        a->capacity = capacity;
    }
    a->list[a->count] = (struct attempt){.target = target, .provider = provider};
    return a->count++;
}

void attempts_end(
    struct attempts *a, struct arena *arena, size_t index, const struct chat_failure *failure, int64_t ms)
{
    assert(index < a->count);
    struct attempt *at = &a->list[index];
    at->over = true;
    at->ok = failure == NULL;
    at->ms = ms;
    at->ended_ns = clock_mono_ns();
    if (failure) {
        at->failure = *failure;
        at->failure.message = arena_copy(arena, str_slice(failure->message, 0, 2000));
        at->failure.type = arena_copy(arena, str_slice(failure->type, 0, 200));
    }
}

void attempts_pass(struct attempts *a, struct arena *arena, struct str target, struct str provider)
{
    const struct chat_failure open = {.code = ERROR_UNAVAILABLE,
        .retryable = true,
        .retry_after_ms = -1,
        .message = STR("it has failed too often and is left alone for a while")};
    size_t index = attempts_begin(a, arena, target, provider);
    attempts_end(a, arena, index, &open, 0);
    a->list[index].passed = true;
}

bool attempt_is_doubted(const struct attempt *t)
{
    return t->doubted && t->over && !t->ok && t->failure.code == ERROR_CANCELLED;
}

const char *attempt_outcome(const struct attempt *t)
{
    if (!t->over)
        return "open";
    if (t->passed)
        return "passed";
    if (t->unaffordable)
        return "budget";
    if (attempt_is_doubted(t))
        return "doubted";
    return t->ok ? "ok" : error_code_name(t->failure.code);
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
        json_member_str(&w, "target", t->target);
        json_member_str(&w, "provider", t->provider);
        json_member_text(&w, "outcome", attempt_outcome(t));
        if (t->over && !t->ok && !t->passed)
            json_member_int(&w, "status", t->failure.status);
        json_member_int(&w, "ms", t->ms);
        if (t->cost_nano_usd > 0)
            json_member_int(&w, "cost_nano_usd", t->cost_nano_usd);
        if (t->measured.tokens > 0) {
            json_member_double(&w, "doubt", t->doubt);
            json_key(&w, "measured");
            doubt_write(&t->measured, &w);
        }
        json_object_end(&w);
    }
    json_array_end(&w);
    kept = text.failed ? STR("[]") : arena_copy(arena, buf_str(&text));
    buf_free(&text);
    return kept;
}

bool attempts_measured(struct str json, struct str target, struct doubt *out)
{
    json_t *list;
    struct error err;
    bool found = false;
    if (json.len == 0 || json_read(json, &list, &err))
        return false;
    for (size_t i = 0; i < json_array_size(list) && !found; i++) {
        const json_t *t = json_array_get(list, i);
        bool meant = target.len == 0 || str_eq(json_text(t, "target"), target);
        found = meant && doubt_read(json_object_get(t, "measured"), out);
    }
    json_decref(list);
    return found;
}

static int status_of(const struct chat_failure *f)
{
    if (f->code == ERROR_UNSUPPORTED || f->code == ERROR_INVALID || f->code == ERROR_LIMIT ||
        f->code == ERROR_CONTEXT)
        return f->status >= 400 && f->status < 500 ? f->status : 400;
    if (f->code == ERROR_TIMEOUT)
        return 504;
    if (f->code == ERROR_BUSY)
        return 429;
    if (f->code == ERROR_DENIED)
        return f->status >= 400 && f->status < 500 ? f->status : 403;
    /* The key, the account or the model's name is wrong: asking again mends nothing, and a broken server is
     * told from a busy one, whatever word its provider has for that (Anthropic's is 529). */
    return (f->status >= 401 && f->status <= 404) || f->status == 500 || f->status == 502 ? f->status : 503;
}

static bool any_unaffordable(const struct attempts *a)
{
    for (size_t i = 0; i < a->count; i++)
        if (a->list[i].unaffordable)
            return true;
    return false;
}

/* Whose failure stands for all: the last one's. That there is no money is said where there was nothing else
 * to say than that others cannot do it: a target that is busy or down may come back sooner than the money. */
static const struct attempt *last_of(const struct attempts *a)
{
    const struct attempt *last = NULL, *unaffordable = NULL;
    bool no_money = any_unaffordable(a);
    for (size_t i = 0; i < a->count; i++) {
        const struct attempt *t = &a->list[i];
        if (t->over && t->unaffordable)
            unaffordable = t;
        else if (t->over && !(no_money && t->failure.code == ERROR_UNSUPPORTED))
            last = t;
    }
    return last ? last : unaffordable ? unaffordable : a->list;
}

/* All attempts alike give their own status; mixed ones a 503, so that the client may try again. */
static int status_of_all(const struct attempts *a)
{
    int status = 0;
    for (size_t i = 0; i < a->count; i++) {
        int one = status_of(&a->list[i].failure);
        if (!a->list[i].over || (a->list[i].passed && i + 1 < a->count))
            continue; /* a hedge under way, or one that was not asked, says nothing */
        /* A request that one target refuses for what it asks says nothing about the others. */
        if (a->count > 1 && a->list[i].failure.code == ERROR_UNSUPPORTED &&
            (i + 1 < a->count || any_unaffordable(a)))
            continue;
        if (status != 0 && status != one)
            return 503;
        status = one;
    }
    return status ? status : 503;
}

/* The same target failing the same way again is not news to a client. */
static bool is_repeat(const struct attempts *a, size_t i)
{
    return i > 0 && str_eq(a->list[i].target, a->list[i - 1].target) &&
           str_eq(a->list[i].failure.message, a->list[i - 1].failure.message);
}

static bool is_one_target(const struct attempts *a)
{
    for (size_t i = 1; i < a->count; i++)
        if (a->list[i].over && !is_repeat(a, i))
            return false;
    return true;
}

struct exchange_failure attempts_failure(const struct attempts *a, struct arena *arena)
{
    assert(a->count > 0);
    const struct attempt *last = last_of(a);
    struct exchange_failure f = {.status = status_of_all(a),
        .code = last->failure.code,
        .type = last->failure.type,
        .retry_after_ms = -1,
        .about = {.model = last->target, .provider = last->provider}};
    struct buf text;
    buf_init(&text, 64 * KIB);
    if (!is_one_target(a))
        buf_append_text(&text, "no target could answer: ");
    for (size_t i = 0; i < a->count; i++) {
        const struct attempt *t = &a->list[i];
        if (!t->over)
            continue;
        if (!is_repeat(a, i))
            buf_appendf(&text, "%s" STR_FMT ": " STR_FMT, i ? "; " : "", STR_ARG(t->target),
                STR_ARG(t->failure.message));
        if (t->failure.retry_after_ms > f.retry_after_ms && t->unaffordable == last->unaffordable)
            f.retry_after_ms = t->failure.retry_after_ms;
    }
    f.message = arena_copy(arena, buf_str(&text));
    buf_free(&text);
    return f;
}
