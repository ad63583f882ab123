/* Objects and arrays.
 *
 * Members come in the order of `properties`. For each place in that order there are two rules: no member was
 * written yet, and one was, so that a comma is needed. */
#include <stdlib.h>
#include <string.h>

#include "engine/worker/grammar.h"
#include "engine/worker/json_schema_inner.h"

enum { MEMBERS_MAX = 4096, NAME_MAX_BYTES = 1024 };

struct members {
    struct json_schema *s;
    const json_t *schema;
    const json_t *rest; /* schema of members that are not in `properties`; NULL: there are none */
    const char **names;
    bool *required;
    size_t count;
    uint32_t (*rules)[2]; /* by member, by whether one was written */
    struct error *err;
};

static int invalid(struct error *err, const char *key, const char *what)
{
    return error_set(err, ERROR_INVALID, "the JSON schema's '%s' must be %s", key, what);
}

static int unsupported(struct error *err, const char *key)
{
    return error_set(err, ERROR_UNSUPPORTED,
        "the JSON schema uses '%s' in a way that cannot be enforced here: leave it out or name another model",
        key);
}

/* ---- Names that are not taken ---- */

static int name_compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The character at a byte offset, and its length. */
static uint32_t character_at(const char *name, size_t at, size_t *length)
{
    uint32_t c = 0;
    *length = str_utf8_decode(str_slice(str_from(name), at, strlen(name)), &c);
    return c;
}

static void class_append(struct buf *out, uint32_t c)
{
    buf_appendf(out, "\\U%08X", c);
}

/* The rest of a name that is none of names[0..n), which share their first `at` bytes and are sorted: another
 * character and anything, or one of theirs and the same again; or the end, where none of them ends here. */
static int other_names(struct members *m, const char **names, size_t n, size_t at, uint32_t *rule)
{
    struct buf body, others;
    size_t length, i = 0;
    bool ends = names[0][at] == '\0';
    /* What is not written plainly is left out. */
    const char *never = m->s->style->bare ? "<\\x00" : "\"\\\\\\x00-\\x1F";
    int rc = schema_rule_new(m->s, rule, m->err);
    buf_init(&body, SCHEMA_GRAMMAR_MAX);
    buf_init(&others, SCHEMA_GRAMMAR_MAX);
    i += ends;
    if (!ends)
        buf_append_text(&body, "\"\" | ");
    while (i < n && rc == 0) {
        uint32_t c = character_at(names[i], at, &length), below;
        size_t from = i;
        while (i < n && strncmp(names[i] + at, names[from] + at, length) == 0)
            i++;
        class_append(&others, c);
        rc = other_names(m, names + from, i - from, at + length, &below);
        if (m->s->style->bare ? c == '<' : c < 0x20 || c == '"' || c == '\\')
            continue; /* never written plainly */
        buf_append_char(&body, '[');
        class_append(&body, c);
        buf_appendf(&body, "] r%u | ", below);
    }
    buf_appendf(&body, "[^%s", never);
    buf_append_str(&body, buf_str(&others));
    buf_appendf(&body, "] [^%s]*", never);
    if (rc == 0)
        rc = schema_rule_end(m->s, *rule, &body, m->err);
    buf_free(&body);
    buf_free(&others);
    return rc;
}

/* The key of a member that is not in `properties`. */
static int other_key(struct members *m, struct buf *out)
{
    const char **sorted;
    uint32_t rule;
    if (m->count == 0) {
        buf_append_text(out, "string");
        return 0;
    }
    sorted = arena_try_array(m->s->arena, const char *, m->count);
    if (!sorted)
        return error_set(m->err, ERROR_LIMIT, "the JSON schema is too large: make it smaller");
    memcpy(sorted, m->names, m->count * sizeof *sorted);
    qsort(sorted, m->count, sizeof *sorted, name_compare);
    int rc = other_names(m, sorted, m->count, 0, &rule);
    buf_appendf(out, "%s r%u %s", m->s->style->quote, rule, m->s->style->quote);
    return rc;
}

/* ---- Members ---- */

static const json_t *property(const json_t *schema, const char *name)
{
    return json_object_get(json_object_get(schema, "properties"), name);
}

static int member_add(struct members *m, const char *name, bool required)
{
    if (m->count == MEMBERS_MAX || strlen(name) > NAME_MAX_BYTES)
        return error_set(m->err, ERROR_LIMIT,
            "the JSON schema has an object of too many members, or a name of more than %d bytes",
            NAME_MAX_BYTES);
    m->names[m->count] = name;
    m->required[m->count++] = required;
    return 0;
}

static int members_read(struct members *m)
{
    const json_t *properties = json_object_get(m->schema, "properties"),
                 *list = json_object_get(m->schema, "required");
    const char *name;
    json_t *value;
    int rc = 0;
    size_t most = json_object_size(properties) + json_array_size(list) + 1;
    m->names = arena_try_array(m->s->arena, const char *, most);
    m->required = arena_try_array(m->s->arena, bool, most);
    if (!m->names || !m->required)
        return error_set(m->err, ERROR_LIMIT, "the JSON schema is too large: make it smaller");
    if ((properties && !json_is_object(properties)) || (list && !json_is_array(list)))
        return invalid(m->err, "properties' and 'required", "an object and a list of names");
    json_object_foreach((json_t *)(uintptr_t)properties, name, value)
    {
        json_t *text = json_string(name);
        bool required = false;
        for (size_t i = 0; i < json_array_size(list) && !required; i++)
            required = json_equal(json_array_get(list, i), text);
        json_decref(text);
        if (rc == 0)
            rc = member_add(m, name, required);
    }
    for (size_t i = 0; i < json_array_size(list) && rc == 0; i++) {
        const char *wanted = json_string_value(json_array_get(list, i));
        bool there = false;
        for (size_t k = 0; k < m->count && wanted && !there; k++)
            there = strcmp(m->names[k], wanted) == 0;
        if (!wanted)
            rc = invalid(m->err, "required", "a list of names");
        else if (!there)
            rc = member_add(m, wanted, true);
    }
    return rc;
}

/* What `additionalProperties` leaves; closed where only `properties` are named. */
static int rest_read(struct members *m)
{
    const json_t *rest = json_object_get(m->schema, "additionalProperties"),
                 *names = json_object_get(m->schema, "propertyNames");
    const char *key;
    json_t *value;
    if (rest && !json_is_boolean(rest) && !json_is_object(rest))
        return invalid(m->err, "additionalProperties", "true, false or a schema");
    m->rest = rest && !json_is_false(rest) ? rest : NULL;
    if (!rest && m->count == 0)
        m->rest = json_true();
    json_object_foreach((json_t *)(uintptr_t)names, key, value)
    {
        if (!schema_is_note(key) && !(strcmp(key, "type") == 0 && str_is(json_str(value), "string")))
            return unsupported(m->err, "propertyNames");
    }
    return 0;
}

static int member_write(struct members *m, size_t i, struct buf *out)
{
    const json_t *schema = property(m->schema, m->names[i]);
    const json_t *rest = json_object_get(m->schema, "additionalProperties");
    schema_key_write(m->s, m->names[i], out);
    buf_append_text(out, " ws \":\" ws ");
    if (!schema && json_is_false(rest))
        return error_set(m->err, ERROR_INVALID,
            "the JSON schema requires '%.100s', which it does not allow: name it in 'properties'",
            m->names[i]);
    if (!schema && !json_is_object(rest)) {
        buf_append_text(out, "value");
        return 0;
    }
    return schema_reference_write(m->s, schema ? schema : rest, out, m->err);
}

/* What may follow when members before the i-th are dealt with. */
static int place_write(struct members *m, size_t i, int written)
{
    struct buf body;
    int rc = 0;
    buf_init(&body, SCHEMA_GRAMMAR_MAX);
    if (i < m->count) {
        buf_append_text(&body, written ? "\",\" ws " : "");
        rc = member_write(m, i, &body);
        buf_appendf(&body, " ws r%u", m->rules[i + 1][1]);
        if (!m->required[i])
            buf_appendf(&body, " | r%u", m->rules[i + 1][written]);
    } else if (m->rest) {
        uint32_t rule;
        struct buf pair;
        buf_init(&pair, SCHEMA_GRAMMAR_MAX);
        rc = schema_rule_new(m->s, &rule, m->err);
        if (rc == 0)
            rc = other_key(m, &pair);
        buf_append_text(&pair, " ws \":\" ws ");
        if (rc == 0)
            rc = schema_reference_write(m->s, m->rest, &pair, m->err);
        buf_append_text(&pair, " ws");
        if (rc == 0)
            rc = schema_rule_end(m->s, rule, &pair, m->err);
        buf_free(&pair);
        if (written)
            buf_appendf(&body, "(\",\" ws r%u)*", rule);
        else
            buf_appendf(&body, "(r%u (\",\" ws r%u)*)?", rule, rule);
    }
    if (rc == 0)
        rc = schema_rule_end(m->s, m->rules[i][written], &body, m->err);
    buf_free(&body);
    return rc;
}

/* {least, most} members where the schema names none of them; otherwise only where it changes nothing. */
static int counts_check(struct members *m, int64_t *most)
{
    int64_t least, wanted = 0;
    int rc = json_get_int(m->schema, "minProperties", 0, 0, INT32_MAX, &least, m->err);
    if (rc == 0)
        rc = json_get_int(m->schema, "maxProperties", -1, 0, INT32_MAX, most, m->err);
    for (size_t i = 0; i < m->count; i++)
        wanted += m->required[i];
    /* Two extra members may have one name: they would count as one. */
    if (rc == 0 && least > wanted && !(least == 1 && m->count == 0))
        rc = unsupported(m->err, "minProperties");
    if (rc == 0 && *most >= 0 && m->count > 0 && (m->rest || *most < (int64_t)m->count))
        rc = unsupported(m->err, "maxProperties");
    return rc ? rc : (int)(least > 0 && m->count == 0);
}

/* An object that is a map: any names, one kind of value. */
static int map_write(struct members *m, struct buf *out, bool filled, int64_t most)
{
    struct buf pair;
    uint32_t rule;
    if (most == 0 || !m->rest) {
        if (filled)
            return unsupported(m->err, "minProperties");
        buf_append_text(out, "\"{\" ws \"}\"");
        return 0;
    }
    buf_init(&pair, SCHEMA_GRAMMAR_MAX);
    buf_append_text(&pair, "string ws \":\" ws ");
    int rc = schema_rule_new(m->s, &rule, m->err);
    if (rc == 0)
        rc = schema_reference_write(m->s, m->rest, &pair, m->err);
    buf_append_text(&pair, " ws");
    if (rc == 0)
        rc = schema_rule_end(m->s, rule, &pair, m->err);
    buf_free(&pair);
    buf_appendf(out, "\"{\" ws (r%u (\",\" ws r%u)", rule, rule);
    if (most < 0)
        buf_append_text(out, "*)");
    else
        buf_appendf(out, "{0,%lld})", (long long)most - 1);
    buf_append_text(out, filled ? " \"}\"" : "? \"}\"");
    return rc;
}

int schema_object_write(struct json_schema *s, const json_t *schema, struct buf *out, struct error *err)
{
    struct members m = {.s = s, .schema = schema, .err = err};
    int64_t most = -1;
    int rc = members_read(&m);
    if (rc == 0)
        rc = rest_read(&m);
    int filled = rc ? rc : counts_check(&m, &most);
    if (filled < 0)
        return filled;
    if (m.count == 0)
        return map_write(&m, out, filled > 0, most);
    m.rules = arena_try_alloc(s->arena, m.count + 1, sizeof *m.rules);
    if (!m.rules)
        return error_set(err, ERROR_LIMIT, "the JSON schema is too large: make it smaller");
    for (size_t i = 0; i <= m.count && rc == 0; i++)
        for (int written = 0; written < 2 && rc == 0; written++)
            rc = schema_rule_new(s, &m.rules[i][written], err);
    for (size_t i = 0; i <= m.count && rc == 0; i++)
        for (int written = 0; written < 2 && rc == 0; written++)
            rc = place_write(&m, i, written);
    buf_appendf(out, "\"{\" ws r%u \"}\"", m.rules[0][0]);
    return rc;
}

/* ---- Arrays ---- */

/* The schemas of the first items, and that of the others: NULL where there are none. */
static int items_read(const json_t *schema, const json_t **first, const json_t **rest, struct error *err)
{
    const json_t *items = json_object_get(schema, "items"),
                 *additional = json_object_get(schema, "additionalItems");
    *first = json_object_get(schema, "prefixItems");
    *rest = items;
    if (json_is_array(items)) { /* before draft 2020-12 */
        *first = items;
        *rest = additional;
    }
    if (*first && !json_is_array(*first))
        return invalid(err, "prefixItems", "a list of schemas");
    if (*rest && !json_is_object(*rest) && !json_is_boolean(*rest))
        return invalid(err, "items", "a schema");
    if (!*rest && json_array_size(*first) == 0)
        *rest = json_true();
    if (json_is_false(*rest))
        *rest = NULL;
    return 0;
}

/* (item ("," item){least-1,most-1}) with what comes before it, a comma where that is not the beginning. */
static int rest_write(struct json_schema *s, const json_t *item, bool comma, int64_t least, int64_t most,
    struct buf *out, struct error *err)
{
    struct buf rule;
    int rc;
    if (most == 0)
        return 0;
    buf_init(&rule, SCHEMA_GRAMMAR_MAX);
    rc = schema_reference_write(s, item, &rule, err);
    if (!comma) {
        buf_appendf(out, " (" STR_FMT " ws", STR_ARG(buf_str(&rule)));
        most -= most > 0;
    }
    buf_appendf(out, " (\",\" ws " STR_FMT " ws){%lld,", STR_ARG(buf_str(&rule)),
        (long long)(!comma && least > 0 ? least - 1 : least));
    if (most >= 0)
        buf_appendf(out, "%lld", (long long)most);
    buf_append_text(out, "}");
    if (!comma)
        buf_append_text(out, least > 0 ? ")" : ")?");
    buf_free(&rule);
    return rc;
}

int schema_array_write(struct json_schema *s, const json_t *schema, struct buf *out, struct error *err)
{
    const json_t *first, *rest;
    int64_t least, most;
    int rc = items_read(schema, &first, &rest, err);
    if (rc == 0)
        rc = json_get_int(schema, "minItems", 0, 0, 1 << 29, &least, err);
    if (rc == 0)
        rc = json_get_int(schema, "maxItems", -1, 0, 1 << 29, &most, err);
    if (rc)
        return rc;
    int64_t fixed = (int64_t)json_array_size(first);
    if (most >= 0 && fixed > most)
        fixed = most;
    if (json_is_true(json_object_get(schema, "uniqueItems")) && !(most >= 0 && most <= 1))
        return unsupported(err, "uniqueItems");
    if ((most >= 0 && least > most) || (!rest && least > fixed && !json_is_array(first)))
        return invalid(err, "minItems", "no larger than the items that there may be");
    if (!rest && least > fixed) { /* a tuple that goes on with anything */
        if (json_object_get(schema, "items") && !json_is_array(json_object_get(schema, "items")))
            return invalid(err, "minItems", "no larger than the items that there may be");
        rest = json_true();
    }
    buf_append_text(out, "\"[\" ws");
    for (int64_t i = 0; i < fixed && rc == 0; i++) {
        buf_append_text(out, i > 0 ? " \",\" ws " : " ");
        rc = schema_reference_write(s, json_array_get(first, (size_t)i), out, err);
        buf_append_text(out, " ws");
    }
    if (rc == 0 && rest)
        rc = rest_write(
            s, rest, fixed > 0, least > fixed ? least - fixed : 0, most < 0 ? -1 : most - fixed, out, err);
    buf_append_text(out, " \"]\"");
    return rc;
}
