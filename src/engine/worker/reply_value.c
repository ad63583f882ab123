/* Values that are written as a family does: bare text by the schema, Gemma's quoting, Python's literals. */
#include <string.h>

#include "engine/worker/json_schema.h"
#include "engine/worker/reply_inner.h"

enum { VALUE_DEPTH = 64 };

static const struct str quote = STR("<|\"|>");

static const json_t *schema_of(const json_t *parameters, struct str key)
{
    const json_t *properties = json_object_get(parameters, "properties");
    const char *name;
    json_t *each;
    json_object_foreach((json_t *)(uintptr_t)properties, name, each)
    {
        if (str_is(key, name))
            return each;
    }
    return json_object_get(parameters, "additionalProperties");
}

bool reply_value_goes_on(struct str text, const json_t *parameters, struct str key)
{
    const json_t *schema = schema_of(parameters, key);
    struct json_scan scan = {0};
    enum json_scan_result result = JSON_SCAN_MORE;
    text = str_trim(text);
    if (!schema || json_schema_is_text(parameters, schema) || text.len == 0 || !strchr("{[\"", text.data[0]))
        return false;
    for (size_t i = 0; i < text.len && result == JSON_SCAN_MORE; i++)
        result = json_scan_next(&scan, text.data[i]);
    return result == JSON_SCAN_MORE;
}

json_t *reply_value_typed(struct str text, const json_t *parameters, struct str key)
{
    const json_t *schema = schema_of(parameters, key);
    json_t *value;
    if (json_schema_is_text(parameters, schema) || json_read(str_trim(text), &value, NULL))
        return json_stringn(text.data ? text.data : "", text.len);
    return value;
}

/* ---- Literals ---- */

struct reader {
    struct str text;
    size_t at;
    int depth;
};

static json_t *value_read(struct reader *r);

static char peek(struct reader *r)
{
    while (r->at < r->text.len && strchr(" \n\r\t", r->text.data[r->at]) && r->text.data[r->at])
        r->at++;
    return r->at < r->text.len ? r->text.data[r->at] : '\0';
}

static bool take(struct reader *r, char c)
{
    if (peek(r) != c)
        return false;
    r->at++;
    return true;
}

static bool take_text(struct reader *r, struct str word)
{
    peek(r);
    if (!str_starts(str_slice(r->text, r->at, r->text.len), word))
        return false;
    r->at += word.len;
    return true;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* `digits` hexadecimal digits at `at`, read; -1: they are not there. */
static int64_t hex_read(struct reader *r, size_t digits)
{
    int64_t value = 0;
    for (size_t i = 0; i < digits; i++) {
        int d = r->at + i < r->text.len ? hex_digit(r->text.data[r->at + i]) : -1;
        if (d < 0)
            return -1;
        value = value * 16 + d;
    }
    r->at += digits;
    return value;
}

/* After a backslash. */
static bool escape_read(struct reader *r, struct buf *out)
{
    static const char from[] = "nrtbf\"'\\/", to[] = "\n\r\t\b\f\"'\\/";
    char c = r->text.data[r->at++], utf8[4];
    const char *known = c ? strchr(from, c) : NULL;
    if (known)
        return buf_append_char(out, to[known - from]) == 0;
    if (c != 'x' && c != 'u' && c != 'U') /* Python leaves it as it is */
        return buf_append_char(out, '\\') == 0 && buf_append_char(out, c) == 0;
    int64_t code = hex_read(r, c == 'x' ? 2 : c == 'u' ? 4 : 8);
    if (code >= 0xD800 && code < 0xDC00 && take_text(r, STR("\\u"))) {
        int64_t low = hex_read(r, 4);
        code = low >= 0xDC00 && low <= 0xDFFF ? 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00) : -1;
    }
    size_t n = code > 0 && code <= 0x10FFFF ? str_utf8_encode((uint32_t)code, utf8) : 0;
    return n > 0 && buf_append(out, utf8, n) == 0;
}

/* "..." or '...' */
static json_t *string_read(struct reader *r, char end)
{
    struct buf out;
    bool ok = true, closed = false;
    buf_init(&out, 16 * MIB);
    while (ok && !closed && r->at < r->text.len) {
        char c = r->text.data[r->at++];
        if (c == end)
            closed = true;
        else if (c == '\\' && r->at < r->text.len)
            ok = escape_read(r, &out);
        else
            ok = buf_append_char(&out, c) == 0;
    }
    json_t *value = ok && closed ? json_stringn(out.data ? out.data : "", out.len) : NULL;
    buf_free(&out);
    return value;
}

static json_t *text_read(struct reader *r)
{
    char c = peek(r);
    if (c == '"' || c == '\'') {
        r->at++;
        return string_read(r, c);
    }
    if (!take_text(r, quote))
        return NULL;
    struct str rest = str_slice(r->text, r->at, r->text.len);
    size_t end = str_find(rest, quote);
    if (end == SIZE_MAX)
        return NULL;
    r->at += end + quote.len;
    return json_stringn(rest.data, end);
}

/* A key as text, or bare up to ':' or '='. */
static json_t *key_read(struct reader *r)
{
    char c = peek(r);
    if (c == '"' || c == '\'' || c == '<')
        return text_read(r);
    size_t from = r->at;
    while (r->at < r->text.len && !strchr(":=,{}()[]", r->text.data[r->at]))
        r->at++;
    struct str key = str_trim(str_slice(r->text, from, r->at));
    return key.len > 0 ? json_stringn(key.data, key.len) : NULL;
}

/* key:value, ... up to `end`; the beginning is read. */
static json_t *pairs_read(struct reader *r, char between, char end)
{
    json_t *object = json_object();
    bool ok = object != NULL;
    while (ok && !take(r, end)) {
        json_t *key = key_read(r);
        json_t *value = key && take(r, between) ? value_read(r) : NULL;
        const char *name = json_string_value(key);
        ok = value && strlen(name) == json_string_length(key) && json_object_set(object, name, value) == 0 &&
             (take(r, ',') || peek(r) == end);
        json_decref(value);
        json_decref(key);
    }
    if (ok)
        return object;
    json_decref(object);
    return NULL;
}

static json_t *items_read(struct reader *r, char end)
{
    json_t *list = json_array();
    bool ok = list != NULL;
    while (ok && !take(r, end)) {
        json_t *value = value_read(r);
        ok = value && json_array_append_new(list, value) == 0 && (take(r, ',') || peek(r) == end);
    }
    if (ok)
        return list;
    json_decref(list);
    return NULL;
}

static json_t *word_read(struct reader *r)
{
    size_t from = r->at;
    json_t *value;
    while (r->at < r->text.len && !strchr(",:}])=( \n\r\t", r->text.data[r->at]))
        r->at++;
    struct str word = str_slice(r->text, from, r->at);
    if (str_is(word, "True"))
        return json_true();
    if (str_is(word, "False"))
        return json_false();
    if (str_is(word, "None"))
        return json_null();
    return word.len > 0 && json_read(word, &value, NULL) == 0 ? value : NULL;
}

static json_t *value_read(struct reader *r)
{
    json_t *value;
    char c = peek(r);
    if (c == '"' || c == '\'' || c == '<')
        return text_read(r);
    if (c != '{' && c != '[' && c != '(')
        return word_read(r);
    if (r->depth == VALUE_DEPTH)
        return NULL;
    r->depth++;
    r->at++;
    value = c == '{' ? pairs_read(r, ':', '}') : items_read(r, c == '[' ? ']' : ')');
    r->depth--;
    return value;
}

/* ---- Calls ---- */

struct found {
    struct str name;
    json_t *arguments;
};

enum { CALLS_MAX = 64 };

static bool name_take(struct reader *r, char open, struct str *name)
{
    peek(r);
    size_t from = r->at;
    while (r->at < r->text.len && r->text.data[r->at] != open && r->at - from < REPLY_NAME_MAX)
        r->at++;
    *name = str_trim(str_slice(r->text, from, r->at));
    for (size_t i = 0; i < name->len; i++)
        if ((unsigned char)name->data[i] <= ' ' || strchr("<>[]{}(),;:='\"", name->data[i]))
            return false;
    return name->len > 0 && take(r, open);
}

static bool found_pass(struct reply *r, const struct found *calls, size_t n)
{
    struct buf text;
    struct json_writer w;
    buf_init(&text, 16 * MIB);
    for (size_t i = 0; i < n; i++) {
        buf_clear(&text);
        json_writer_init(&w, &text);
        json_write_value(&w, calls[i].arguments);
        if (text.failed)
            break;
        reply_call_pass(r, calls[i].name, buf_str(&text));
    }
    buf_free(&text);
    return n > 0;
}

bool reply_gemma_pass(struct reply *r, struct str text)
{
    struct reader in = {.text = text};
    struct found call = {.arguments = NULL};
    if (name_take(&in, '{', &call.name))
        call.arguments = pairs_read(&in, ':', '}');
    bool passed = call.arguments && peek(&in) == '\0' && in.at == text.len && found_pass(r, &call, 1);
    json_decref(call.arguments);
    return passed;
}

bool reply_python_pass(struct reply *r, struct str text)
{
    struct reader in = {.text = text};
    struct found calls[CALLS_MAX];
    size_t n = 0;
    bool listed = take(&in, '['), ok = true, ended = false;
    while (ok && !ended && n < CALLS_MAX) {
        calls[n].arguments = name_take(&in, '(', &calls[n].name) ? pairs_read(&in, '=', ')') : NULL;
        ok = calls[n].arguments != NULL;
        n += ok;
        ended = ok && !take(&in, ',');
    }
    if (listed)
        ok = ok && take(&in, ']');
    ok = ok && ended && peek(&in) == '\0' && in.at == text.len && found_pass(r, calls, n);
    for (size_t i = 0; i < n; i++)
        json_decref(calls[i].arguments);
    return ok;
}
