/* Values as text: str(), repr(), json.dumps(), and where strings live. */
#include "engine/worker/template_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Where strings live ---- */

enum { HEAP_CHUNK = 16384, GROW_LEAST = 1024 };

/* Room for a new string of `len` bytes. */
static char *heap_take(struct tpl_run *r, size_t len)
{
    if (r->heap && r->heap_size - r->heap_used >= len) {
        r->heap_used += len;
        return r->heap + r->heap_used - len;
    }
    if (len > HEAP_CHUNK / 4)
        return arena_try_alloc(r->arena, len, 1);
    char *chunk = arena_try_alloc(r->arena, HEAP_CHUNK, 1);
    if (!chunk)
        return NULL;
    r->heap = chunk;
    r->heap_size = HEAP_CHUNK;
    r->heap_used = len;
    return chunk;
}

/* Room for `len` bytes right behind those of `a`, moving it if need be. A string that is added to is likely
 * to be added to again: it gets a place of its own with room to double, so that a loop of additions stays
 * linear. */
static char *grow_take(struct tpl_run *r, struct str a, size_t len)
{
    struct tpl_grower *g = NULL;
    for (size_t i = 0; i < TPL_GROWERS && !g; i++)
        if (r->growers[i].data && r->growers[i].data + r->growers[i].used == a.data + a.len)
            g = &r->growers[i];
    if (g && g->size - g->used >= len) {
        g->used += len;
        return g->data + g->used - len;
    }
    if (!g)
        g = &r->growers[r->next_grower++ % TPL_GROWERS];
    size_t size = (a.len + len) * 2; /* both are at most the output's maximum */
    char *data = arena_try_alloc(r->arena, size, 1);
    if (!data)
        return NULL;
    memcpy(data, a.data, a.len);
    *g = (struct tpl_grower){data, a.len + len, size};
    return data + a.len;
}

int tpl_concat(struct tpl_run *r, struct str a, struct str b, struct str *out)
{
    if (a.len == 0 || b.len == 0) {
        *out = a.len == 0 ? b : a;
        return 0;
    }
    int rc = tpl_spend_bytes(r, b.len);
    if (rc)
        return rc;
    if (b.len > r->out->max || a.len > r->out->max - b.len || r->out->max > SIZE_MAX / 4)
        return tpl_fail_memory(r);
    char *at = NULL;
    if (a.len >= GROW_LEAST) {
        at = grow_take(r, a, b.len);
    } else if ((at = heap_take(r, a.len + b.len)) != NULL) {
        memcpy(at, a.data, a.len);
        at += a.len;
    }
    if (!at)
        return tpl_fail_memory(r);
    memcpy(at, b.data, b.len);
    *out = (struct str){at - a.len, a.len + b.len};
    return 0;
}

int tpl_repeat(struct tpl_run *r, struct str s, int64_t times, struct str *out)
{
    size_t total;
    *out = STR_NONE;
    if (times <= 0 || s.len == 0)
        return 0;
    if (__builtin_mul_overflow(s.len, (uint64_t)times, &total) || total > r->out->max)
        return tpl_fail_memory(r);
    int rc = tpl_spend_bytes(r, total);
    if (rc)
        return rc;
    char *at = heap_take(r, total);
    if (!at)
        return tpl_fail_memory(r);
    for (size_t i = 0; i < total; i += s.len)
        memcpy(at + i, s.data, s.len);
    *out = (struct str){at, total};
    return 0;
}

int tpl_out_check(struct tpl_run *r)
{
    if (r->out->failed == ERROR_MEMORY)
        return error_set(r->err, ERROR_MEMORY, "no memory for what the chat template writes");
    if (r->out->failed)
        return error_set(r->err, ERROR_LIMIT,
            "the chat template writes more than %zu bytes, the last at line %u", r->out->max, r->line);
    return 0;
}

int tpl_text_end(struct tpl_run *r, size_t mark, struct str *out)
{
    int rc = tpl_out_check(r);
    size_t len = r->out->len - mark;
    if (rc == 0)
        rc = tpl_spend_bytes(r, len);
    *out = STR_NONE;
    if (rc == 0 && len > 0) {
        char *at = heap_take(r, len);
        if (!at)
            return tpl_fail_memory(r);
        memcpy(at, r->out->data + mark, len);
        *out = (struct str){at, len};
    }
    tpl_text_drop(r, mark);
    return rc;
}

void tpl_text_drop(struct tpl_run *r, size_t mark)
{
    r->out->len = mark;
    if (r->out->data)
        r->out->data[mark] = '\0';
}

/* ---- Numbers ---- */

/* The shortest digits that read back, as Python's repr: exponents below -4 and from 16 on. */
void tpl_float_text(double f, char out[40])
{
    char digits[40];
    if (!isfinite(f)) {
        strcpy(out, isnan(f) ? "nan" : f > 0 ? "inf" : "-inf");
        return;
    }
    for (int precision = 0; precision <= 16; precision++) {
        snprintf(digits, sizeof digits, "%.*e", precision, f);
        if (strtod(digits, NULL) == f)
            break;
    }
    int exponent = atoi(strchr(digits, 'e') + 1);
    int significant = (int)strspn(digits[0] == '-' ? digits + 1 : digits, "0123456789.");
    significant = significant > 1 ? significant - 1 : 1; /* less the point */
    if (exponent >= -4 && exponent < 16) {
        int places = significant - 1 - exponent;
        snprintf(out, 40, "%.*f", places > 1 ? places : 1, f);
    } else {
        snprintf(out, 40, "%.*e", significant - 1, f);
    }
}

/* ---- str() and repr() ---- */

static void write_char_repr(struct buf *b, uint32_t c, char quote)
{
    if (c == '\n' || c == '\r' || c == '\t')
        buf_append_text(b, c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
    else if (c == '\\' || c == (uint32_t)quote)
        buf_appendf(b, "\\%c", (int)c);
    else if (tpl_is_printable(c))
        tpl_append_char(b, c);
    else
        buf_appendf(b, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
}

static int write_string_repr(struct tpl_run *r, struct str s)
{
    char quote = str_find_char(s, '\'') != SIZE_MAX && str_find_char(s, '"') == SIZE_MAX ? '"' : '\'';
    int rc = tpl_spend_bytes(r, s.len * 8);
    buf_append_char(r->out, quote);
    for (size_t pos = 0; rc == 0 && pos < s.len && !r->out->failed;)
        write_char_repr(r->out, tpl_char_next(s, &pos), quote);
    buf_append_char(r->out, quote);
    return rc;
}

static int write_sequence(struct tpl_run *r, const struct tpl_list *list, const char *open, const char *close)
{
    int rc = 0;
    buf_append_text(r->out, open);
    for (size_t i = 0; rc == 0 && i < list->count; i++) {
        if (i > 0)
            buf_append_text(r->out, ", ");
        rc = tpl_write_repr(r, &list->items[i]);
    }
    buf_append_text(r->out, close);
    return rc;
}

static int write_dict(struct tpl_run *r, const struct tpl_dict *dict)
{
    int rc = 0;
    buf_append_char(r->out, '{');
    for (size_t i = 0; rc == 0 && i < dict->count; i++) {
        if (i > 0)
            buf_append_text(r->out, ", ");
        rc = tpl_write_repr(r, &dict->entries[i].key);
        buf_append_text(r->out, ": ");
        if (rc == 0)
            rc = tpl_write_repr(r, &dict->entries[i].value);
    }
    buf_append_char(r->out, '}');
    return rc;
}

static int write_view(struct tpl_run *r, const struct tpl_value *v)
{
    static const char *const names[] = {
        [TPL_KEYS] = "dict_keys([", [TPL_VALUES] = "dict_values([", [TPL_ITEMS] = "dict_items(["};
    struct tpl_list list;
    int rc = tpl_items(r, v, &list);
    return rc ? rc : write_sequence(r, &list, names[v->view->kind], "])");
}

static void write_range(struct buf *b, const struct tpl_range *range)
{
    int64_t stop = range->start + (int64_t)range->count * range->step;
    buf_appendf(b, "range(%lld, %lld", (long long)range->start, (long long)stop);
    if (range->step != 1)
        buf_appendf(b, ", %lld", (long long)range->step);
    buf_append_char(b, ')');
}

/* What is no container and no string. */
static void write_plain(struct tpl_run *r, const struct tpl_value *v)
{
    char number[40];
    switch (v->kind) {
    case TPL_NONE:
        buf_append_text(r->out, "None");
        break;
    case TPL_BOOL:
        buf_append_text(r->out, v->b ? "True" : "False");
        break;
    case TPL_INT:
        buf_appendf(r->out, "%lld", (long long)v->i);
        break;
    case TPL_FLOAT:
        tpl_float_text(v->f, number);
        buf_append_text(r->out, number);
        break;
    case TPL_RANGE:
        write_range(r->out, v->range);
        break;
    case TPL_MACRO:
        buf_appendf(r->out, "<Macro '" STR_FMT "'>", STR_ARG(v->macro->node->name));
        break;
    default:
        buf_appendf(r->out, "<%s object>", tpl_type_name(v));
    }
}

int tpl_write_repr(struct tpl_run *r, const struct tpl_value *v)
{
    int rc = tpl_enter(r);
    if (rc)
        return rc;
    switch (v->kind) {
    case TPL_UNDEFINED:
        buf_append_text(r->out, "Undefined");
        break;
    case TPL_STRING:
        if (v->markup)
            buf_append_text(r->out, "Markup(");
        rc = write_string_repr(r, v->s);
        if (v->markup)
            buf_append_char(r->out, ')');
        break;
    case TPL_LIST:
        rc = write_sequence(r, v->list, "[", "]");
        break;
    case TPL_TUPLE:
        rc = write_sequence(r, v->list, "(", v->list->count == 1 ? ",)" : ")");
        break;
    case TPL_NAMESPACE:
        buf_append_text(r->out, "<Namespace ");
        rc = write_dict(r, v->dict);
        buf_append_char(r->out, '>');
        break;
    case TPL_DICT:
        rc = write_dict(r, v->dict);
        break;
    case TPL_VIEW:
        rc = write_view(r, v);
        break;
    default:
        write_plain(r, v);
    }
    tpl_leave(r);
    return rc ? rc : tpl_out_check(r);
}

int tpl_write(struct tpl_run *r, const struct tpl_value *v)
{
    if (v->kind == TPL_UNDEFINED)
        return 0;
    if (v->kind != TPL_STRING)
        return tpl_write_repr(r, v);
    buf_append_str(r->out, v->s);
    int rc = tpl_out_check(r);
    return rc ? rc : tpl_spend_bytes(r, v->s.len);
}

int tpl_to_str(struct tpl_run *r, const struct tpl_value *v, struct str *out)
{
    *out = STR_NONE;
    if (v->kind == TPL_STRING) {
        *out = v->s;
        return 0;
    }
    size_t mark = tpl_text_begin(r);
    int rc = tpl_write(r, v);
    return rc ? rc : tpl_text_end(r, mark, out);
}

int tpl_escape(struct tpl_run *r, struct str s, struct str *out)
{
    static const struct {
        char c;
        const char *entity;
    } entities[] = {{'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'\'', "&#39;"}, {'"', "&#34;"}};
    size_t mark = tpl_text_begin(r), plain = 0;
    for (size_t i = 0; i < s.len; i++)
        for (size_t k = 0; k < sizeof entities / sizeof entities[0]; k++)
            if (s.data[i] == entities[k].c) {
                buf_append_str(r->out, str_slice(s, plain, i));
                buf_append_text(r->out, entities[k].entity);
                plain = i + 1;
            }
    buf_append_str(r->out, str_slice(s, plain, s.len));
    return tpl_text_end(r, mark, out);
}

/* ---- json.dumps() ---- */

static void write_json_char(struct buf *b, uint32_t c, bool ascii)
{
    static const char names[] = "btn_fr";
    if (c == '"' || c == '\\')
        buf_appendf(b, "\\%c", (int)c);
    else if (c >= '\b' && c <= '\r' && c != '\v')
        buf_appendf(b, "\\%c", names[c - '\b']);
    else if (c < ' ' || (ascii && c > '~' && c < 0x10000))
        buf_appendf(b, "\\u%04x", c);
    else if (ascii && c >= 0x10000)
        buf_appendf(b, "\\u%04x\\u%04x", 0xD800 + ((c - 0x10000) >> 10), 0xDC00 + ((c - 0x10000) & 0x3FF));
    else
        tpl_append_char(b, c);
}

static int write_json_string(struct tpl_run *r, struct str s, bool ascii)
{
    int rc = tpl_spend_bytes(r, s.len * 4);
    buf_append_char(r->out, '"');
    for (size_t pos = 0; rc == 0 && pos < s.len && !r->out->failed;)
        write_json_char(r->out, tpl_char_next(s, &pos), ascii);
    buf_append_char(r->out, '"');
    return rc;
}

static int write_json_scalar(struct tpl_run *r, const struct tpl_value *v)
{
    char number[40];
    switch (v->kind) {
    case TPL_NONE:
        buf_append_text(r->out, "null");
        return 0;
    case TPL_BOOL:
        buf_append_text(r->out, v->b ? "true" : "false");
        return 0;
    case TPL_INT:
        buf_appendf(r->out, "%lld", (long long)v->i);
        return 0;
    case TPL_FLOAT:
        tpl_float_text(v->f, number);
        buf_append_text(r->out, isnan(v->f)   ? "NaN"
                                : isinf(v->f) ? (v->f > 0 ? "Infinity" : "-Infinity")
                                              : number);
        return 0;
    default:
        return tpl_fail(r, "Object of type %s is not JSON serializable", tpl_type_name(v));
    }
}

static void write_json_line(struct tpl_run *r, const struct tpl_json_style *style, int level)
{
    if (!style->indented)
        return;
    buf_append_char(r->out, '\n');
    for (int i = 0; i < level && !r->out->failed; i++)
        buf_append_str(r->out, style->indent);
}

static int write_json(
    struct tpl_run *r, const struct tpl_value *v, const struct tpl_json_style *style, int level);

static int write_json_list(
    struct tpl_run *r, const struct tpl_list *list, const struct tpl_json_style *style, int level)
{
    int rc = 0;
    buf_append_char(r->out, '[');
    for (size_t i = 0; rc == 0 && i < list->count; i++) {
        if (i > 0)
            buf_append_str(r->out, style->comma);
        write_json_line(r, style, level + 1);
        rc = write_json(r, &list->items[i], style, level + 1);
    }
    if (list->count > 0)
        write_json_line(r, style, level);
    buf_append_char(r->out, ']');
    return rc;
}

static int write_json_key(struct tpl_run *r, const struct tpl_value *key, bool ascii)
{
    if (key->kind == TPL_STRING)
        return write_json_string(r, key->s, ascii);
    if (key->kind != TPL_NONE && !tpl_is_number(key))
        return tpl_fail(r, "keys must be str, int, float, bool or None, not %s", tpl_type_name(key));
    buf_append_char(r->out, '"');
    int rc = write_json_scalar(r, key);
    buf_append_char(r->out, '"');
    return rc;
}

/* The entries by key. Insertion sort: schemas are small, and every comparison is paid for. */
static int sort_entries(struct tpl_run *r, const struct tpl_dict *dict, struct tpl_entry **out)
{
    struct tpl_entry *sorted = arena_try_array(r->arena, struct tpl_entry, dict->count);
    if (!sorted)
        return tpl_fail_memory(r);
    for (size_t i = 0; i < dict->count; i++) {
        size_t k = i;
        bool less = true;
        while (k > 0) {
            int rc = tpl_less(r, &dict->entries[i].key, &sorted[k - 1].key, false, &less);
            if (rc || (rc = tpl_spend(r, 1)))
                return rc;
            if (!less)
                break;
            sorted[k] = sorted[k - 1];
            k--;
        }
        sorted[k] = dict->entries[i];
    }
    *out = sorted;
    return 0;
}

static int write_json_dict(
    struct tpl_run *r, const struct tpl_dict *dict, const struct tpl_json_style *style, int level)
{
    struct tpl_entry *entries = dict->entries;
    int rc = style->sort ? sort_entries(r, dict, &entries) : 0;
    buf_append_char(r->out, '{');
    for (size_t i = 0; rc == 0 && i < dict->count; i++) {
        if (i > 0)
            buf_append_str(r->out, style->comma);
        write_json_line(r, style, level + 1);
        rc = write_json_key(r, &entries[i].key, style->ascii);
        buf_append_str(r->out, style->colon);
        if (rc == 0)
            rc = write_json(r, &entries[i].value, style, level + 1);
    }
    if (dict->count > 0)
        write_json_line(r, style, level);
    buf_append_char(r->out, '}');
    return rc;
}

static int write_json(
    struct tpl_run *r, const struct tpl_value *v, const struct tpl_json_style *style, int level)
{
    int rc = tpl_enter(r);
    if (rc)
        return rc;
    if (v->kind == TPL_STRING)
        rc = write_json_string(r, v->s, style->ascii);
    else if (v->kind == TPL_LIST || v->kind == TPL_TUPLE)
        rc = write_json_list(r, v->list, style, level);
    else if (v->kind == TPL_DICT)
        rc = write_json_dict(r, v->dict, style, level);
    else
        rc = write_json_scalar(r, v);
    tpl_leave(r);
    return rc ? rc : tpl_out_check(r);
}

int tpl_write_json(struct tpl_run *r, const struct tpl_value *v, const struct tpl_json_style *style)
{
    return write_json(r, v, style, 0);
}
