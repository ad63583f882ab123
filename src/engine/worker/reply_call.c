/* Calls, read as they come. `held` begins where a call may have to be given back as text; `at` is how far it
 * was read. */
#include <string.h>

#include "engine/worker/reply_inner.h"

void reply_call_begin(struct reply *r)
{
    const struct reply_syntax *s = r->form.syntax;
    bool whole = s->payload == PAYLOAD_GEMMA || s->payload == PAYLOAD_PYTHON;
    r->stage = whole ? STAGE_WHOLE : STAGE_BEGIN;
    if (s->payload == PAYLOAD_CHANNEL)
        r->stage = STAGE_NAME;
    r->in_list = r->in_object = false;
    r->at = r->from = r->scanned = 0;
    buf_clear(&r->name);
    buf_clear(&r->arguments);
    json_decref(r->pairs);
    r->pairs = NULL;
}

/* ---- What is found is passed on ---- */

static enum reply_progress go(struct reply *r, enum reply_stage stage)
{
    r->stage = stage;
    r->from = r->scanned = r->at;
    return REPLY_ON;
}

/* What was read cannot become text any more. */
static void commit(struct reply *r)
{
    buf_consume(&r->held, r->at);
    r->at = r->from = r->scanned = 0;
    r->opened = false;
}

static void announce(struct reply *r, struct str arguments)
{
    r->sink.tool_call(r->sink.ctx, r->n_calls++, buf_str(&r->name), arguments);
    commit(r);
}

void reply_call_pass(struct reply *r, struct str name, struct str arguments)
{
    r->sink.tool_call(r->sink.ctx, r->n_calls++, name, arguments.len > 0 ? arguments : STR("{}"));
}

static void piece_pass(struct reply *r)
{
    if (r->at > 0)
        r->sink.tool_call(r->sink.ctx, r->n_calls - 1, STR_NONE, str_slice(buf_str(&r->held), 0, r->at));
    commit(r);
}

/* ---- Small steps ---- */

/* The next byte that is no white space; false: there is none yet. */
static bool skip(struct reply *r, char *c)
{
    while (r->at < r->held.len) {
        *c = r->held.data[r->at];
        if (*c != ' ' && *c != '\n' && *c != '\r' && *c != '\t')
            return true;
        r->at++;
    }
    return false;
}

/* 1: the marker was there and is read; 0 and -1 as reply_expect. */
static int marker_read(struct reply *r, const char *marker)
{
    struct str mark = reply_mark(marker);
    int there = reply_expect(buf_str(&r->held), r->at, mark);
    if (there > 0)
        r->at += mark.len;
    return there;
}

/* Where the marker stands from `at` on; SIZE_MAX: not yet. */
static size_t marker_find(struct reply *r, struct str marker)
{
    size_t from = r->scanned > r->at ? r->scanned : r->at;
    size_t at = str_find(str_slice(buf_str(&r->held), from, r->held.len), marker);
    if (at != SIZE_MAX)
        return from + at;
    if (r->held.len > from + marker.len)
        r->scanned = r->held.len - marker.len + 1;
    return SIZE_MAX;
}

static bool name_set(struct reply *r, struct str name)
{
    const struct reply_syntax *s = r->form.syntax;
    size_t cut = s->name_cut ? str_find(name, str_from(s->name_cut)) : SIZE_MAX;
    name = str_trim(str_slice(name, 0, cut));
    buf_clear(&r->name);
    for (size_t i = 0; i < name.len; i++)
        if ((unsigned char)name.data[i] <= ' ' || name.data[i] == '<')
            return false;
    return name.len > 0 && buf_append_str(&r->name, name) == 0;
}

/* ---- JSON ---- */

static bool is_key(struct str key, const char *family, const char *usual)
{
    return (family && str_is(key, family)) || str_is(key, usual);
}

/* The member's name decides what its value is. */
static enum reply_progress key_read(struct reply *r, struct str key)
{
    const struct reply_syntax *s = r->form.syntax;
    bool by_key = s->payload == PAYLOAD_JSON && !s->name_key;
    r->in_name = !by_key && is_key(key, s->name_key, "name");
    r->in_args = by_key || is_key(key, s->args_key, "arguments") || str_is(key, "parameters");
    return by_key && !name_set(r, key) ? REPLY_FAIL : REPLY_ON;
}

/* A member's name that begins at `at`, read; NULL and *more: it does not end yet. */
static json_t *string_read(struct reply *r, bool *more)
{
    size_t end = r->at + 1;
    json_t *value;
    *more = false;
    for (; end < r->held.len && r->held.data[end] != '"'; end++)
        end += r->held.data[end] == '\\';
    if (end >= r->held.len || end - r->at >= 4 * REPLY_NAME_MAX) {
        *more = end - r->at < 4 * REPLY_NAME_MAX; /* no member has a name of that length */
        return NULL;
    }
    if (json_read(str_slice(buf_str(&r->held), r->at, end + 1), &value, NULL))
        return NULL;
    r->at = end + 1;
    return value;
}

static enum reply_progress object_end(struct reply *r)
{
    /* A call that is the whole answer has arguments, or any object with a name would be one. */
    bool call = r->name.len > 0 && !(r->form.syntax->whole && !r->opened && r->arguments.len == 0);
    if (r->from != SIZE_MAX && !call)
        return REPLY_FAIL;
    if (r->from != SIZE_MAX)
        announce(r, r->arguments.len > 0 ? buf_str(&r->arguments) : STR("{}"));
    buf_clear(&r->name);
    buf_clear(&r->arguments);
    return go(r, r->in_list ? STAGE_BEGIN : STAGE_CLOSE);
}

static enum reply_progress member_step(struct reply *r)
{
    char c;
    bool more;
    if (!skip(r, &c))
        return REPLY_MORE;
    if (c == ',' || c == '}') {
        r->at++;
        return c == '}' ? object_end(r) : REPLY_ON;
    }
    size_t from = r->at;
    json_t *key = c == '"' ? string_read(r, &more) : NULL;
    if (!key)
        return c == '"' && more ? REPLY_MORE : REPLY_FAIL;
    if (!skip(r, &c)) {
        r->at = from;
        json_decref(key);
        return REPLY_MORE;
    }
    enum reply_progress progress = c == ':' ? key_read(r, json_str(key)) : REPLY_FAIL;
    json_decref(key);
    r->at++;
    r->scan = (struct json_scan){0};
    if (progress == REPLY_ON) {
        bool announced = r->from == SIZE_MAX;
        r->stage = STAGE_VALUE;
        r->scanned = r->at;
        if (announced)
            r->in_args = false;
    }
    return progress;
}

/* A value that is kept: the name, or arguments that come before it or as text. */
static enum reply_progress value_keep(struct reply *r, struct str value)
{
    json_t *tree;
    bool kept = true;
    if (!r->in_name && !r->in_args)
        return REPLY_ON;
    if (json_read(str_trim(value), &tree, NULL))
        return REPLY_FAIL;
    if (r->in_name && r->from != SIZE_MAX)
        kept = json_is_string(tree) && name_set(r, json_str(tree));
    if (r->in_args)
        buf_clear(&r->arguments);
    if (r->in_args && json_is_object(tree))
        kept = buf_append_str(&r->arguments, str_trim(value)) == 0;
    else if (r->in_args)
        kept = json_is_string(tree) && buf_append_str(&r->arguments, json_str(tree)) == 0;
    json_decref(tree);
    return kept ? REPLY_ON : REPLY_FAIL;
}

/* `scanned` is the first byte that the scan has not seen. */
static enum reply_progress value_step(struct reply *r)
{
    char c = '\0';
    if (r->scanned <= r->at && !skip(r, &c))
        return REPLY_MORE;
    if (r->scanned <= r->at) {
        if (r->in_args && r->name.len > 0 && c == '{') {
            announce(r, STR_NONE);
            r->stage = STAGE_ARGS;
            return REPLY_ON;
        }
        r->scanned = r->at;
    }
    while (r->scanned < r->held.len) {
        enum json_scan_result result = json_scan_next(&r->scan, r->held.data[r->scanned]);
        if (result == JSON_SCAN_BROKEN)
            return REPLY_FAIL;
        r->scanned += result != JSON_SCAN_BEFORE;
        if (result == JSON_SCAN_MORE)
            continue;
        struct str value = str_slice(buf_str(&r->held), r->at, r->scanned);
        r->at = r->scanned;
        r->stage = STAGE_MEMBER;
        return value_keep(r, value);
    }
    return REPLY_MORE;
}

/* Which syntax is it after its marker: an object, a list, or the family's own. */
static enum reply_progress json_begin(struct reply *r, char c)
{
    r->at++;
    if (c == '[' && !r->in_list) {
        r->in_list = true;
        return REPLY_ON;
    }
    if (r->in_list && c == ',')
        return REPLY_ON;
    if (r->in_list && c == ']')
        return go(r, STAGE_CLOSE);
    if (c != '{')
        return REPLY_FAIL;
    buf_clear(&r->name);
    buf_clear(&r->arguments);
    r->stage = STAGE_MEMBER;
    r->in_object = true;
    r->from = 0;
    return REPLY_ON;
}

static enum reply_progress begin_step(struct reply *r)
{
    const struct reply_syntax *s = r->form.syntax;
    char c;
    if (!skip(r, &c))
        return REPLY_MORE;
    if (s->payload == PAYLOAD_JSON || (!s->call_open && (r->in_list || c == '[' || c == '{')))
        return json_begin(r, c);
    int there = marker_read(r, s->call_open);
    if (there > 0)
        return go(r, STAGE_NAME);
    int closes = s->many && !r->opened ? marker_read(r, s->close) : -1;
    if (closes > 0)
        return REPLY_END;
    return there == 0 || closes == 0 ? REPLY_MORE : REPLY_FAIL;
}

/* ---- Arguments that are passed on as they come ---- */

static enum reply_progress args_begin(struct reply *r)
{
    char c;
    if (!skip(r, &c))
        return REPLY_MORE;
    if (c != '{')
        return REPLY_FAIL;
    announce(r, STR_NONE);
    r->scan = (struct json_scan){0};
    r->stage = STAGE_ARGS;
    return REPLY_ON;
}

static enum reply_progress args_step(struct reply *r)
{
    enum json_scan_result result = JSON_SCAN_MORE;
    while (r->at < r->held.len && result == JSON_SCAN_MORE) {
        result = json_scan_next(&r->scan, r->held.data[r->at]);
        r->at += result != JSON_SCAN_BROKEN;
    }
    piece_pass(r);
    if (result == JSON_SCAN_MORE)
        return REPLY_MORE;
    if (result == JSON_SCAN_BROKEN) {
        r->stage = STAGE_BROKEN;
    } else if (r->in_object) {
        r->stage = STAGE_MEMBER;
        r->from = SIZE_MAX; /* announced */
    } else {
        go(r, STAGE_CALL_CLOSE);
    }
    return REPLY_ON;
}

/* No JSON: it goes on to what closes it, or to the end. */
static enum reply_progress broken_step(struct reply *r)
{
    const struct reply_syntax *s = r->form.syntax;
    struct str end = reply_mark(s->call_close && *s->call_close ? s->call_close : s->close);
    struct str text = buf_str(&r->held);
    size_t at = end.len > 0 ? str_find(text, end) : SIZE_MAX;
    r->at = at != SIZE_MAX ? at : text.len - reply_overlap(text, end);
    piece_pass(r);
    if (at == SIZE_MAX)
        return REPLY_MORE;
    r->in_list = false;
    return go(r, s->call_close ? STAGE_CALL_CLOSE : STAGE_CLOSE);
}

/* ---- Names and pairs ---- */

static enum reply_progress name_step(struct reply *r)
{
    const struct reply_syntax *s = r->form.syntax;
    bool channel = s->payload == PAYLOAD_CHANNEL;
    struct str end = channel ? STR("<|message|>") : reply_mark(s->name_end);
    size_t at = marker_find(r, end.len > 0 ? end : STR("<"));
    size_t length = (at == SIZE_MAX ? r->held.len : at) - r->at;
    if (length > 2 * REPLY_NAME_MAX + (at == SIZE_MAX ? end.len : 0))
        return REPLY_FAIL;
    if (at == SIZE_MAX)
        return REPLY_MORE;
    struct str name = str_slice(buf_str(&r->held), r->at, at);
    if (channel) { /* NAME<|channel|>commentary json, or NAME <|constrain|>json */
        size_t stop = 0;
        while (stop < name.len && name.data[stop] != ' ' && name.data[stop] != '<')
            stop++;
        name = str_slice(name, 0, stop);
    }
    if (!name_set(r, name))
        return REPLY_FAIL;
    r->at = at + end.len;
    return go(r, s->payload == PAYLOAD_TAGGED ? STAGE_PAIR : STAGE_ARGS_BEGIN);
}

static enum reply_progress tagged_end(struct reply *r)
{
    struct buf text;
    struct json_writer w;
    buf_init(&text, 16 * MIB);
    json_writer_init(&w, &text);
    if (r->pairs)
        json_write_value(&w, r->pairs);
    else
        buf_append_text(&text, "{}");
    bool whole = !text.failed;
    if (whole)
        announce(r, buf_str(&text));
    buf_free(&text);
    json_decref(r->pairs);
    r->pairs = NULL;
    if (!whole)
        return REPLY_FAIL;
    if (!r->form.syntax->call_close)
        return REPLY_END;
    return go(r, r->form.syntax->many ? STAGE_BEGIN : STAGE_CLOSE);
}

/* The line breaks that the family writes around a value are no part of it. */
static struct str value_bare(const struct reply_syntax *s, struct str value)
{
    struct str open = str_from(s->key_end), close = str_from(s->value_end);
    if (str_ends(open, STR("\n")) && str_starts(value, STR("\n")))
        value = str_slice(value, 1, value.len);
    if (str_starts(close, STR("\n")) && str_ends(value, STR("\n")))
        value = str_slice(value, 0, value.len - 1);
    return value;
}

/* Without what is said about its type. */
static struct str key_bare(const struct reply_syntax *s, struct str key)
{
    return str_trim(str_slice(key, 0, s->key_cut ? str_find(key, str_from(s->key_cut)) : SIZE_MAX));
}

static bool pair_add(struct reply *r, struct str key, struct str value)
{
    const struct reply_syntax *s = r->form.syntax;
    size_t cut = s->key_cut ? str_find(key, str_from(s->key_cut)) : SIZE_MAX;
    struct str kind = cut != SIZE_MAX ? str_slice(key, cut + str_from(s->key_cut).len, key.len) : STR_NONE;
    json_t *tree = NULL;
    key = key_bare(s, key);
    value = value_bare(s, value);
    if (!r->pairs)
        r->pairs = json_object();
    if (str_is(kind, "true"))
        tree = json_stringn(value.data ? value.data : "", value.len);
    else
        tree = reply_value_typed(value, reply_tool_schema(r->tools, buf_str(&r->name)), key);
    char name[REPLY_NAME_MAX + 1];
    bool fits = r->pairs && tree && key.len > 0 && key.len < sizeof name && !memchr(key.data, 0, key.len);
    if (fits) {
        memcpy(name, key.data, key.len);
        name[key.len] = '\0';
        fits = json_object_set(r->pairs, name, tree) == 0;
    }
    json_decref(tree);
    return fits;
}

/* Between a key's and a value's mark there may be white space: </arg_key>\n<arg_value>. */
static struct str second_mark(struct str *mark)
{
    size_t at = str_find_char(*mark, '\n');
    struct str second = at == SIZE_MAX ? STR_NONE : str_trim(str_slice(*mark, at, mark->len));
    size_t tag = second.len > 0 ? at : SIZE_MAX;
    if (tag == SIZE_MAX) { /* or none at all: two tags */
        at = str_find(*mark, STR("><"));
        if (at == SIZE_MAX)
            return STR_NONE;
        second = str_slice(*mark, at + 1, mark->len);
        tag = at + 1;
    }
    *mark = str_slice(*mark, 0, tag);
    return second;
}

static enum reply_progress pair_read(struct reply *r)
{
    const struct reply_syntax *s = r->form.syntax;
    struct str key_end = reply_mark(s->key_end), value_end = reply_mark(s->value_end), rest;
    struct str second = second_mark(&key_end);
    struct str text = buf_str(&r->held);
    size_t key = r->at, end = str_find(str_slice(text, key, key + 2 * REPLY_NAME_MAX), key_end);
    if (end == SIZE_MAX)
        return text.len - key < 2 * REPLY_NAME_MAX ? REPLY_MORE : REPLY_FAIL;
    size_t value = key + end + key_end.len;
    if (second.len > 0) {
        rest = str_slice(text, value, text.len);
        while (rest.len > 0 && (rest.data[0] == ' ' || rest.data[0] == '\n'))
            rest = str_slice(rest, 1, rest.len);
        int there = reply_expect(rest, 0, second);
        if (there <= 0)
            return there == 0 ? REPLY_MORE : REPLY_FAIL;
        value = text.len - rest.len + second.len;
    }
    if (r->scanned < value)
        r->scanned = value;
    struct str name = key_bare(s, str_slice(text, key, key + end));
    const json_t *schema = reply_tool_schema(r->tools, buf_str(&r->name));
    size_t stop;
    while ((stop = marker_find(r, value_end)) != SIZE_MAX && r->failures < REPLY_TRIES &&
           reply_value_goes_on(str_slice(text, value, stop), schema, name)) {
        r->failures++;
        r->scanned = stop + value_end.len;
    }
    if (stop == SIZE_MAX)
        return REPLY_MORE;
    if (!pair_add(r, str_slice(text, key, key + end), str_slice(text, value, stop)))
        return REPLY_FAIL;
    r->at = stop + value_end.len;
    r->scanned = r->at;
    return REPLY_ON;
}

static enum reply_progress pair_step(struct reply *r)
{
    const struct reply_syntax *s = r->form.syntax;
    char c;
    if (!skip(r, &c))
        return REPLY_MORE;
    size_t from = r->at;
    int there = marker_read(r, s->key_open);
    if (there > 0) {
        enum reply_progress progress = pair_read(r);
        if (progress == REPLY_MORE)
            r->at = from;
        return progress;
    }
    int closes = marker_read(r, s->call_close ? s->call_close : s->close);
    if (closes > 0)
        return tagged_end(r);
    return there == 0 || closes == 0 ? REPLY_MORE : REPLY_FAIL;
}

/* ---- Ends ---- */

static enum reply_progress close_step(struct reply *r, const char *marker, enum reply_progress then)
{
    char c;
    if (!skip(r, &c) && reply_mark(marker).len > 0)
        return REPLY_MORE;
    int there = marker_read(r, marker);
    if (there == 0)
        return REPLY_MORE;
    /* One that was forgotten is not missed. */
    return there < 0 ? REPLY_END : then;
}

static enum reply_progress call_close(struct reply *r)
{
    const struct reply_syntax *s = r->form.syntax;
    enum reply_progress progress = close_step(r, s->call_close, REPLY_ON);
    if (progress != REPLY_ON)
        return progress;
    if (s->payload == PAYLOAD_CHANNEL)
        return REPLY_END;
    commit(r);
    return go(r, s->many ? STAGE_BEGIN : STAGE_CLOSE);
}

/* More of the calls that are the whole answer come after ';'. */
static enum reply_progress section_close(struct reply *r)
{
    char c;
    if (!r->form.syntax->whole)
        return close_step(r, r->form.syntax->close, REPLY_END);
    if (!skip(r, &c))
        return REPLY_MORE;
    if (c != ';')
        return REPLY_END;
    r->at++;
    return go(r, STAGE_BEGIN);
}

static bool whole_pass(struct reply *r, struct str text)
{
    return r->form.syntax->payload == PAYLOAD_GEMMA ? reply_gemma_pass(r, text) : reply_python_pass(r, text);
}

/* The closing marker may stand in a value, too: then what comes before it is no call. */
static enum reply_progress whole_step(struct reply *r)
{
    struct str end = reply_mark(r->form.syntax->close);
    size_t at = marker_find(r, end);
    if (at == SIZE_MAX)
        return REPLY_MORE;
    r->scanned = at + end.len;
    if (whole_pass(r, str_slice(buf_str(&r->held), 0, at))) {
        r->at = r->scanned;
        return REPLY_END;
    }
    return ++r->failures < REPLY_TRIES ? REPLY_ON : REPLY_FAIL;
}

enum reply_progress reply_call_step(struct reply *r)
{
    switch (r->stage) {
    case STAGE_BEGIN:
        return begin_step(r);
    case STAGE_MEMBER:
        return member_step(r);
    case STAGE_VALUE:
        return value_step(r);
    case STAGE_NAME:
        return name_step(r);
    case STAGE_ARGS_BEGIN:
        return args_begin(r);
    case STAGE_ARGS:
        return args_step(r);
    case STAGE_BROKEN:
        return broken_step(r);
    case STAGE_PAIR:
        return pair_step(r);
    case STAGE_CALL_CLOSE:
        return call_close(r);
    case STAGE_CLOSE:
        return section_close(r);
    case STAGE_WHOLE:
        return whole_step(r);
    }
    return REPLY_FAIL;
}

enum reply_progress reply_call_finish(struct reply *r)
{
    bool announced = r->stage == STAGE_ARGS || (r->stage == STAGE_MEMBER && r->from == SIZE_MAX);
    if (r->stage == STAGE_WHOLE)
        return whole_pass(r, buf_str(&r->held)) ? (r->at = r->held.len, REPLY_END) : REPLY_FAIL;
    if (r->stage == STAGE_BROKEN) {
        r->at = r->held.len;
        piece_pass(r);
        return REPLY_END;
    }
    if (announced || r->stage == STAGE_CLOSE || r->stage == STAGE_CALL_CLOSE)
        return REPLY_END;
    /* Between calls: nothing is left. */
    if (r->stage == STAGE_BEGIN && !r->opened && r->at == r->held.len && r->n_calls > 0)
        return REPLY_END;
    /* A call whose end was cut off is one where its arguments are there. */
    if (r->stage == STAGE_MEMBER && r->name.len > 0 && r->arguments.len > 0)
        return object_end(r), REPLY_END;
    return REPLY_FAIL;
}
