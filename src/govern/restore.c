#include "govern/restore.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"

/* A token that waits for the text it is made of. */
struct held {
    struct chat_token token;
    size_t left; /* bytes of it that are not decided */
    struct str text;
};

/* One of the strands of an answer.
 *
 *   pending: [the byte before] [text that is not decided]      tokens: those whose text is not all decided */
struct strand {
    struct strand *next;
    enum chat_event_kind kind;
    uint32_t choice;
    uint32_t call; /* its index, where it is a tool call's arguments */
    bool refusal;  /* of a text */
    struct buf pending;
    size_t before; /* 0 or 1 */
    struct restore_json json;
    struct arena *arena; /* of the tokens; NULL: there are none */
    struct held *tokens;
    size_t n_tokens, capacity;
};

struct restore {
    struct mask *mask;
    struct strand *strands;
    struct buf out;
    bool failed;
};

struct restore *restore_create(struct mask *mask)
{
    struct restore *r = calloc(1, sizeof *r);
    if (!r)
        abort();
    r->mask = mask;
    buf_init(&r->out, LIMIT_PROVIDER_BODY);
    return r;
}

void restore_free(struct restore *r)
{
    if (!r)
        return;
    for (struct strand *s = r->strands, *next; s; s = next) {
        next = s->next;
        buf_free(&s->pending);
        arena_free(s->arena);
        free(s);
    }
    buf_free(&r->out);
    free(r);
}

static bool strand_is(const struct strand *s, const struct chat_event *e)
{
    return s->kind == e->kind && s->choice == e->choice && s->refusal == e->refusal &&
           (s->kind != CHAT_EVENT_TOOL_CALL || s->call == e->tool_call.index);
}

static struct strand *strand_of(struct restore *r, const struct chat_event *e)
{
    struct strand **at = &r->strands;
    for (; *at; at = &(*at)->next)
        if (strand_is(*at, e))
            return *at;
    struct strand *s = *at = calloc(1, sizeof *s);
    if (!s)
        abort();
    s->kind = e->kind;
    s->choice = e->choice;
    s->refusal = e->refusal;
    s->json.arguments = e->kind == CHAT_EVENT_TOOL_CALL;
    s->call = s->json.arguments ? e->tool_call.index : 0;
    buf_init(&s->pending, LIMIT_PROVIDER_BODY);
    return s;
}

/* ---- Tokens ---- */

static int copy(struct arena *a, struct str *s)
{
    return s->data ? arena_try_copy(a, *s, s) : 0;
}

static int token_copy(struct arena *a, struct chat_token *t)
{
    struct chat_token *top = t->n_top ? arena_try_array(a, struct chat_token, t->n_top) : NULL;
    int rc = copy(a, &t->text) || copy(a, &t->bytes) || (t->n_top && !top);
    for (size_t i = 0; i < t->n_top && rc == 0; i++) {
        top[i] = t->top[i];
        rc = copy(a, &top[i].text) || copy(a, &top[i].bytes);
    }
    t->top = top;
    return rc;
}

/* How many bytes of the text a token is. */
static struct str token_text(const struct chat_token *t)
{
    return t->bytes.data ? t->bytes : t->text;
}

static int tokens_hold(struct strand *s, const struct chat_event *e)
{
    if (e->n_tokens == 0)
        return 0;
    if (!s->arena)
        s->arena = arena_create(LIMIT_PROVIDER_BODY);
    if (s->n_tokens + e->n_tokens > s->capacity) {
        size_t capacity = 2 * (s->n_tokens + e->n_tokens);
        struct held *grown = arena_try_array(s->arena, struct held, capacity);
        if (!grown)
            return ERROR_MEMORY;
        if (s->n_tokens)
            memcpy(grown, s->tokens, s->n_tokens * sizeof *grown);
        s->tokens = grown;
        s->capacity = capacity;
    }
    for (size_t i = 0; i < e->n_tokens; i++) {
        struct held *h = &s->tokens[s->n_tokens++];
        *h = (struct held){.token = e->tokens[i]};
        if (token_copy(s->arena, &h->token))
            return ERROR_MEMORY;
        h->text = token_text(&h->token);
        h->left = h->text.len;
    }
    return 0;
}

/* A placeholder of `len` bytes comes next: the tokens that it stands in say so. */
static void tokens_replace(struct strand *s, size_t len, struct str original)
{
    bool first = true;
    for (size_t i = 0; i < s->n_tokens && len > 0; i++) {
        struct held *h = &s->tokens[i];
        if (h->left == 0)
            continue;
        size_t taken = h->left < len ? h->left : len, done = h->text.len - h->left;
        h->text = arena_printf(s->arena, STR_FMT STR_FMT STR_FMT, STR_ARG(str_slice(h->text, 0, done)),
            STR_ARG(first ? original : STR_NONE), STR_ARG(str_slice(h->text, done + taken, h->text.len)));
        h->token.text = h->text;
        h->token.bytes = h->token.bytes.data ? h->text : STR_NONE;
        h->token.n_top = 0;
        h->left -= taken;
        len -= taken;
        first = false;
    }
}

static void tokens_pass(struct strand *s, size_t len)
{
    for (size_t i = 0; i < s->n_tokens && len > 0; i++) {
        size_t taken = s->tokens[i].left < len ? s->tokens[i].left : len;
        s->tokens[i].left -= taken;
        len -= taken;
    }
}

/* Those in front that are decided, or all. In the strand's arena. */
static size_t tokens_ready(struct strand *s, bool all, struct chat_token **out)
{
    size_t n = 0;
    while (n < s->n_tokens && (all || s->tokens[n].left == 0))
        n++;
    *out = n ? arena_try_array(s->arena, struct chat_token, n) : NULL;
    for (size_t i = 0; i < n && *out; i++)
        (*out)[i] = s->tokens[i].token;
    return *out ? n : 0;
}

static void tokens_drop(struct strand *s, size_t n)
{
    if (n == 0)
        return;
    s->n_tokens -= n;
    memmove(s->tokens, s->tokens + n, s->n_tokens * sizeof *s->tokens);
    if (s->n_tokens > 0)
        return;
    arena_free(s->arena);
    s->arena = NULL;
    s->tokens = NULL;
    s->capacity = 0;
}

/* ---- Text ---- */

static void pass(struct restore *r, struct strand *s, struct str text)
{
    restore_json_take(&s->json, text);
    tokens_pass(s, text.len);
    buf_append_str(&r->out, text);
}

/* What is pending and can be told, or all of it: to r->out. */
static void decide(struct restore *r, struct strand *s, bool all)
{
    struct str text = buf_str(&s->pending);
    size_t from = s->before, at = from;
    while (at < text.len) {
        struct str original;
        size_t n = router_mask_match(r->mask, text, at, all, &original);
        if (n == SIZE_MAX)
            break;
        if (n == 0) {
            at++;
            continue;
        }
        pass(r, s, str_slice(text, from, at));
        size_t start = r->out.len;
        restore_json_write(&s->json, original, &r->out);
        tokens_replace(s, n, str_slice(buf_str(&r->out), start, r->out.len));
        from = at += n;
    }
    pass(r, s, str_slice(text, from, at));
    if (at > 0) {
        buf_consume(&s->pending, at - 1);
        s->before = 1;
    }
}

static void give(
    struct restore *r, struct strand *s, const struct chat_event *first, bool all, struct chat_sink sink)
{
    struct chat_token *tokens;
    size_t n = tokens_ready(s, all, &tokens);
    struct chat_event e = {
        .kind = s->kind, .choice = s->choice, .refusal = s->refusal, .tokens = tokens, .n_tokens = n};
    if (s->kind == CHAT_EVENT_TOOL_CALL) {
        e.tool_call.index = s->call;
        e.tool_call.arguments = buf_str(&r->out);
        if (first) {
            e.tool_call.id = first->tool_call.id;
            e.tool_call.name = first->tool_call.name;
            e.tool_call.more = first->tool_call.more;
            e.tool_call.more_of = first->tool_call.more_of;
        }
    } else {
        e.text = buf_str(&r->out);
    }
    if (r->out.failed)
        r->failed = true;
    else if (r->out.len > 0 || n > 0 || first)
        sink.event(sink.ctx, &e);
    tokens_drop(s, n);
    buf_clear(&r->out);
}

static void strand_flush(struct restore *r, struct strand *s, struct chat_sink sink)
{
    decide(r, s, true);
    give(r, s, NULL, true, sink);
}

/* What others hold goes on before this does: of the same choice, but for the other tool calls of a call. */
static void flush_others(
    struct restore *r, uint32_t choice, enum chat_event_kind kind, bool every_choice, struct chat_sink sink)
{
    for (struct strand *s = r->strands; s; s = s->next)
        if ((every_choice || s->choice == choice) && s->kind != kind)
            strand_flush(r, s, sink);
}

/* ---- What comes in one piece ---- */

static const struct chat_event broken = {.kind = CHAT_EVENT_ERROR,
    .failure = {
        .code = ERROR_MEMORY, .retry_after_ms = -1, .message = {"no memory to restore what was masked", 36}}};

static struct str whole(struct restore *r, struct str text, bool json)
{
    struct restore_json j = {.arguments = json}; /* all of it is JSON */
    size_t from = 0;
    for (size_t at = 0; at < text.len;) {
        struct str original;
        size_t n = router_mask_match(r->mask, text, at, true, &original);
        if (n > 0) {
            struct str before = str_slice(text, from, at);
            restore_json_take(&j, json ? before : STR_NONE);
            buf_append_str(&r->out, before);
            restore_json_write(&j, original, &r->out);
            from = at + n;
        }
        at += n > 0 ? n : 1;
    }
    if (from == 0)
        return text;
    buf_append_str(&r->out, str_slice(text, from, text.len));
    r->failed = r->failed || r->out.failed;
    return buf_str(&r->out);
}

static void on_whole(struct restore *r, const struct chat_event *e, struct chat_sink sink)
{
    struct chat_event restored = *e;
    /* Members beside the text may come between its pieces. */
    bool beside = e->kind == CHAT_EVENT_NATIVE && e->native.what >= CHAT_NATIVE_CHOICE;
    if (!beside)
        flush_others(r, e->choice, CHAT_EVENT_START, e->kind == CHAT_EVENT_ERROR, sink);
    if (e->kind == CHAT_EVENT_NATIVE)
        restored.native.json = whole(r, e->native.json, true);
    else if (e->kind == CHAT_EVENT_STOP)
        restored.stop_string = whole(r, e->stop_string, false);
    else if (e->kind == CHAT_EVENT_ERROR)
        restored.failure.message = whole(r, e->failure.message, false);
    if (r->failed)
        restored = broken;
    /* After STOP or ERROR `r` may be gone: what the sink is given must not be its own. */
    struct buf last = r->out;
    buf_init(&r->out, LIMIT_PROVIDER_BODY);
    sink.event(sink.ctx, &restored);
    buf_free(&last);
}

/* ---- What comes in pieces ---- */

/* Of a call's first piece: what it has besides, which comes whole. `kept` holds it while it is told. */
static struct chat_event first_piece(struct restore *r, const struct chat_event *e, struct buf *kept)
{
    struct chat_event first = *e;
    first.tool_call.more = whole(r, e->tool_call.more, true);
    *kept = r->out;
    buf_init(&r->out, LIMIT_PROVIDER_BODY);
    return first;
}

static void on_text(struct restore *r, const struct chat_event *e, struct chat_sink sink)
{
    bool call = e->kind == CHAT_EVENT_TOOL_CALL;
    bool begins = call && (e->tool_call.id.len > 0 || e->tool_call.name.len > 0);
    struct strand *s = strand_of(r, e);
    struct chat_event first = *e;
    struct buf more = {0};
    flush_others(r, e->choice, e->kind, false, sink);
    if (begins && e->tool_call.more.len > 0)
        first = first_piece(r, e, &more);
    buf_append_str(&s->pending, call ? e->tool_call.arguments : e->text);
    if (s->pending.failed || (!call && tokens_hold(s, e)))
        r->failed = true;
    decide(r, s, false);
    give(r, s, begins ? &first : NULL, false, sink);
    buf_free(&more);
}

void restore_event(struct restore *r, const struct chat_event *e, struct chat_sink sink)
{
    bool text =
        e->kind == CHAT_EVENT_TEXT || e->kind == CHAT_EVENT_REASONING || e->kind == CHAT_EVENT_TOOL_CALL;
    if (e->kind == CHAT_EVENT_START || e->kind == CHAT_EVENT_USAGE)
        sink.event(sink.ctx, e);
    else if (!text)
        on_whole(r, e, sink);
    else
        on_text(r, e, sink);
    if (text && r->failed)
        sink.event(sink.ctx, &broken);
}
