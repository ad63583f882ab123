#include <string.h>

#include "engine/worker/reply_inner.h"

enum { TAGS_MAX = 6 };

static const struct str message = STR("<|message|>");
/* What ends a message of a channel. The first ones may be the end of the answer, too. */
static const struct str ends[] = {
    STR("<|end|>"), STR("<|call|>"), STR("<|return|>"), STR("<|start|>"), STR("<|channel|>")};
enum { ENDS = sizeof ends / sizeof *ends };

static bool has_channels(const struct reply *r)
{
    return r->form.syntax && r->form.syntax->payload == PAYLOAD_CHANNEL;
}

void reply_init(
    struct reply *r, struct reply_form form, bool inside, const json_t *tools, const struct reply_sink *sink)
{
    *r = (struct reply){.form = form, .tools = tools, .sink = *sink};
    /* Channels are there without tools, too. */
    if (json_array_size(tools) == 0 && !has_channels(r))
        r->form.syntax = NULL;
    r->state = inside && form.thinking ? REPLY_REASONING : REPLY_START;
    r->quiet = r->state == REPLY_REASONING;
    buf_init(&r->held, 16 * MIB);
    buf_init(&r->name, REPLY_NAME_MAX);
    buf_init(&r->arguments, 16 * MIB);
}

void reply_free(struct reply *r)
{
    buf_free(&r->held);
    buf_free(&r->name);
    buf_free(&r->arguments);
    json_decref(r->pairs);
}

bool reply_is_plain(const struct reply *r)
{
    return !r->form.syntax && !r->form.thinking;
}

static bool within(struct str token, const char *marker)
{
    return marker && str_find(str_from(marker), token) != SIZE_MAX;
}

bool reply_wants(const struct reply *r, struct str token)
{
    const struct reply_syntax *s = r->form.syntax;
    const struct reply_thinking *t = r->form.thinking;
    bool wanted = false;
    if (token.len < 2)
        return false;
    if (s) {
        const char *const markers[] = {s->open, s->close, s->call_open, s->call_close, s->name_end,
            s->name_cut, s->key_open, s->key_end, s->key_cut, s->value_end, s->between};
        for (size_t i = 0; i < sizeof markers / sizeof *markers; i++)
            wanted = wanted || within(token, markers[i]);
        wanted = wanted || (s->payload == PAYLOAD_GEMMA && str_is(token, "<|\"|>"));
    }
    if (t)
        wanted = wanted || within(token, t->open) || within(token, t->close);
    for (size_t i = 0; t && i < sizeof t->drops / sizeof *t->drops; i++)
        wanted = wanted || within(token, t->drops[i]);
    for (size_t i = 0; has_channels(r) && i < ENDS; i++)
        wanted = wanted || str_eq(token, ends[i]);
    return wanted;
}

const json_t *reply_tool_schema(const json_t *tools, struct str name)
{
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const json_t *function = json_object_get(json_array_get(tools, i), "function");
        if (str_eq(json_text(function, "name"), name))
            return json_object_get(function, "parameters");
    }
    return NULL;
}

/* ---- Text ---- */

static void text_pass(struct reply *r, struct str text)
{
    if (r->quiet) {
        while (text.len > 0 && strchr(" \n\r\t", text.data[0]) && text.data[0])
            text = str_slice(text, 1, text.len);
        r->quiet = text.len == 0;
    }
    if (text.len == 0)
        return;
    if (r->state == REPLY_REASONING)
        r->sink.reasoning(r->sink.ctx, text);
    else
        r->sink.text(r->sink.ctx, text);
}

size_t reply_overlap(struct str text, struct str tag)
{
    size_t n = tag.len < 1 ? 0 : tag.len - 1 < text.len ? tag.len - 1 : text.len;
    while (n > 0 && !str_ends(text, str_slice(tag, 0, n)))
        n--;
    return n;
}

int reply_expect(struct str text, size_t at, struct str marker)
{
    struct str rest = str_slice(text, at, at + marker.len);
    if (str_eq(rest, marker))
        return 1;
    return rest.len < marker.len && str_starts(marker, rest) ? 0 : -1;
}

/* Passes on what stands before the first of the tags and drops both. Which one it was; -1: none is there yet,
 * and only what may begin one stays. */
static int tag_take(struct reply *r, const struct str *tags, size_t n)
{
    struct str text = buf_str(&r->held);
    size_t first = SIZE_MAX, overlap = 0;
    int which = -1;
    for (size_t i = 0; i < n; i++) {
        size_t at = str_find(text, tags[i]);
        size_t over = reply_overlap(text, tags[i]);
        if (at < first) {
            first = at;
            which = (int)i;
        }
        overlap = over > overlap ? over : overlap;
    }
    size_t before = which >= 0 ? first : text.len - overlap;
    text_pass(r, str_slice(text, 0, before));
    buf_consume(&r->held, before + (which >= 0 ? tags[which].len : 0));
    return which;
}

/* ---- Steps: 1: something was found, 0: more is needed ---- */

static int state_enter(struct reply *r, enum reply_state state, bool quiet)
{
    r->state = state;
    r->quiet = quiet;
    return 1;
}

/* The calls that begin after `skipped` bytes. */
static int call_enter(struct reply *r, size_t skipped, bool opened)
{
    buf_consume(&r->held, skipped);
    r->state = REPLY_CALL;
    r->opened = opened;
    reply_call_begin(r);
    return 1;
}

/* What an answer begins with, white space aside. */
static int start_step(struct reply *r)
{
    const struct reply_syntax *s = r->form.syntax;
    struct str text = str_trim(buf_str(&r->held));
    struct str think = r->form.thinking ? reply_mark(r->form.thinking->open) : STR_NONE;
    if (text.len == 0)
        return 0;
    size_t before = (size_t)(text.data - r->held.data);
    int thinks = think.len > 0 ? reply_expect(text, 0, think) : -1;
    if (thinks > 0) {
        buf_consume(&r->held, before + think.len);
        return state_enter(r, REPLY_REASONING, true);
    }
    if (has_channels(r)) {
        static const struct str begins[] = {STR("<|channel|>"), STR("<|start|>"), STR("to=")};
        for (size_t i = 0; i < 3; i++) {
            int there = reply_expect(text, 0, begins[i]);
            if (there >= 0)
                return there > 0 ? state_enter(r, REPLY_HEADER, true) : 0;
        }
    }
    if (thinks == 0)
        return 0;
    if (s && s->whole && text.data[0] == '{')
        return call_enter(r, before, false);
    return state_enter(r, REPLY_TEXT, r->quiet);
}

/* <|start|>assistant to=functions.NAME<|channel|>commentary json<|message|>, in any order. */
static int header_step(struct reply *r)
{
    static const struct str call = STR("to=functions.");
    struct str text = buf_str(&r->held);
    size_t end = str_find(text, message), at;
    if (end == SIZE_MAX ? text.len > 4 * KIB + message.len : end > 4 * KIB)
        return state_enter(r, REPLY_TEXT, false);
    if (end == SIZE_MAX)
        return 0;
    struct str header = str_slice(text, 0, end);
    at = str_find(header, call);
    if (at != SIZE_MAX && json_array_size(r->tools) > 0)
        return call_enter(r, at + call.len, true);
    bool reasons = str_find(header, STR("analysis")) != SIZE_MAX;
    buf_consume(&r->held, end + message.len);
    return state_enter(r, reasons ? REPLY_REASONING : REPLY_TEXT, true);
}

static int channel_step(struct reply *r)
{
    int which = tag_take(r, ends, ENDS);
    if (which < 0)
        return 0;
    return state_enter(r, REPLY_HEADER, true);
}

static int reasoning_step(struct reply *r)
{
    if (has_channels(r))
        return channel_step(r);
    struct str end = reply_mark(r->form.thinking->close);
    if (tag_take(r, &end, 1) < 0)
        return 0;
    /* What follows may be a call of the kind that is the whole answer. */
    return state_enter(r, REPLY_START, true);
}

static int text_step(struct reply *r)
{
    const struct reply_syntax *s = r->form.syntax;
    const struct reply_thinking *t = r->form.thinking;
    struct str tags[TAGS_MAX];
    size_t n = 0;
    if (has_channels(r))
        return channel_step(r);
    if (s)
        tags[n++] = reply_mark(s->open);
    for (size_t i = 0; t && i < sizeof t->drops / sizeof *t->drops && t->drops[i]; i++)
        tags[n++] = str_from(t->drops[i]);
    int which = tag_take(r, tags, n);
    if (which < 0)
        return 0;
    if (which > 0 || !s)
        return state_enter(r, REPLY_TEXT, true);
    return call_enter(r, 0, true);
}

static int call_step(struct reply *r)
{
    enum reply_progress progress;
    while ((progress = reply_call_step(r)) == REPLY_ON)
        continue;
    if (progress == REPLY_MORE)
        return 0;
    if (progress == REPLY_END) {
        buf_consume(&r->held, r->at);
        r->at = 0;
        return state_enter(r, has_channels(r) ? REPLY_HEADER : REPLY_TEXT, true);
    }
    state_enter(r, REPLY_TEXT, false);
    if (r->opened)
        text_pass(r, has_channels(r) ? STR("to=functions.") : reply_mark(r->form.syntax->open));
    /* Each try reads what is held once more. */
    if (++r->failures >= REPLY_TRIES)
        r->form.syntax = NULL;
    return 1;
}

static int step(struct reply *r)
{
    switch (r->state) {
    case REPLY_START:
        return start_step(r);
    case REPLY_HEADER:
        return header_step(r);
    case REPLY_REASONING:
        return reasoning_step(r);
    case REPLY_TEXT:
        return text_step(r);
    case REPLY_CALL:
        return call_step(r);
    }
    return 0;
}

int reply_push(struct reply *r, struct str text, struct error *err)
{
    if (buf_append_str(&r->held, text))
        return error_set(err, r->held.failed, "the answer holds a tool call that is too long: ask for less");
    while (r->held.len > 0 && step(r) > 0)
        continue;
    return 0;
}

int reply_finish(struct reply *r, struct error *err)
{
    (void)err;
    if (r->state == REPLY_CALL) {
        enum reply_progress progress = reply_call_finish(r);
        r->state = REPLY_TEXT;
        r->quiet = progress != REPLY_FAIL;
        if (progress == REPLY_FAIL && r->opened)
            text_pass(r, has_channels(r) ? STR("to=functions.") : reply_mark(r->form.syntax->open));
        else if (progress != REPLY_FAIL)
            buf_consume(&r->held, r->at < r->held.len ? r->at : r->held.len);
    }
    /* <|start|>assistant and no more is no text. */
    if (r->state != REPLY_HEADER)
        text_pass(r, buf_str(&r->held));
    buf_clear(&r->held);
    return 0;
}
