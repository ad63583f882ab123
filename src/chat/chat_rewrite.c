/* The same request in other words: chat_request_visit's walk, but writing. */
#include <string.h>

#include "base/limits.h"
#include "chat/chat.h"

struct walk {
    struct arena *arena;
    chat_rewrite *rewrite;
    void *ctx;
    struct error *err;
};

static int text_rewrite(struct walk *w, struct str *text)
{
    return text->len > 0 ? w->rewrite(w->ctx, *text, text, w->err) : 0;
}

/* An array of the request's that will differ. */
static int array_copy(struct walk *w, const void *from, size_t count, size_t size, void *out)
{
    void *copy = count > 0 ? arena_try_alloc(w->arena, count, size) : NULL;
    if (count > 0 && !copy)
        return error_set(w->err, ERROR_MEMORY, "no memory for a copy of the request");
    if (count > 0)
        memcpy(copy, from, count * size);
    memcpy(out, &copy, sizeof copy);
    return 0;
}

/* ---- Trees: *out is the same one, with a reference more, where nothing changes. ---- */

static int tree_rewrite(struct walk *w, const json_t *value, json_t **out);

static int failed(struct walk *w)
{
    return error_set(w->err, ERROR_MEMORY, "no memory for a copy of the request");
}

static int number_rewrite(struct walk *w, const json_t *value, json_t **out)
{
    struct buf text;
    struct json_writer writer;
    buf_init(&text, 64);
    json_writer_init(&writer, &text);
    json_write_value(&writer, value);
    struct str before = arena_copy(w->arena, buf_str(&text)), after = before;
    buf_free(&text);
    int rc = text_rewrite(w, &after);
    if (rc == 0 && !str_eq(before, after)) {
        json_decref(*out);
        *out = NULL;
        if (json_read(after, out, NULL) || !json_is_number(*out))
            rc = error_set(w->err, ERROR_UNSUPPORTED, "a number cannot be written differently");
    }
    return rc;
}

static int array_rewrite(struct walk *w, const json_t *value, json_t **out)
{
    json_t *made = json_array();
    bool same = true;
    int rc = made ? 0 : failed(w);
    for (size_t i = 0; i < json_array_size(value) && rc == 0; i++) {
        json_t *item = NULL;
        rc = tree_rewrite(w, json_array_get(value, i), &item);
        same = same && item == json_array_get(value, i);
        if (rc == 0 && json_array_append(made, item))
            rc = failed(w);
        json_decref(item);
    }
    if (rc == 0 && !same) {
        json_decref(*out);
        *out = json_incref(made);
    }
    json_decref(made);
    return rc;
}

static int object_rewrite(struct walk *w, const json_t *value, json_t **out)
{
    json_t *made = json_object();
    bool same = true;
    int rc = made ? 0 : failed(w);
    for (void *it = json_object_iter((json_t *)(uintptr_t)value); it && rc == 0;
         it = json_object_iter_next((json_t *)(uintptr_t)value, it)) {
        struct str key = str_from(json_object_iter_key(it)), before = key;
        json_t *item = NULL;
        rc = text_rewrite(w, &key);
        if (rc == 0)
            rc = tree_rewrite(w, json_object_iter_value(it), &item);
        same = same && item == json_object_iter_value(it) && str_eq(key, before);
        if (rc == 0 && json_object_setn(made, key.data, key.len, item))
            rc = failed(w);
        json_decref(item);
    }
    if (rc == 0 && json_object_size(made) != json_object_size(value))
        rc = error_set(w->err, ERROR_UNSUPPORTED, "two members would get one name");
    if (rc == 0 && !same) {
        json_decref(*out);
        *out = json_incref(made);
    }
    json_decref(made);
    return rc;
}

static int tree_rewrite(struct walk *w, const json_t *value, json_t **out)
{
    *out = json_incref((json_t *)(uintptr_t)value);
    if (json_is_array(value))
        return array_rewrite(w, value, out);
    if (json_is_object(value))
        return object_rewrite(w, value, out);
    if (json_is_number(value))
        return number_rewrite(w, value, out);
    struct str text = json_str(value), before = text;
    int rc = json_is_string(value) ? text_rewrite(w, &text) : 0;
    if (rc == 0 && !str_eq(text, before)) {
        json_decref(*out);
        *out = json_stringn(text.data, text.len);
        rc = *out ? 0 : failed(w);
    }
    return rc;
}

static int member_rewrite(struct walk *w, const json_t **tree)
{
    json_t *made = NULL;
    if (!*tree)
        return 0;
    int rc = tree_rewrite(w, *tree, &made);
    if (rc)
        json_decref(made);
    else
        json_keep(w->arena, made);
    if (rc == 0)
        *tree = made;
    return rc;
}

/* Arguments as a text: in a tree, so that what is escaped in them is seen and stays so. */
static int arguments_rewrite(struct walk *w, struct str *arguments)
{
    json_t *tree, *made = NULL;
    if (arguments->len == 0 || json_read_in(w->arena, *arguments, &tree, NULL))
        return text_rewrite(w, arguments);
    int rc = tree_rewrite(w, tree, &made);
    if (rc == 0 && made != tree) {
        struct buf text;
        struct json_writer writer;
        buf_init(&text, LIMIT_REQUEST_MEMORY);
        json_writer_init(&writer, &text);
        json_write_value(&writer, made);
        if (text.failed || arena_try_copy(w->arena, buf_str(&text), arguments))
            rc = failed(w);
        buf_free(&text);
    }
    json_decref(made);
    return rc;
}

/* ---- The request ---- */

static int texts_rewrite(struct walk *w, struct str *const *texts, size_t n)
{
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = text_rewrite(w, texts[i]);
    return rc;
}

static int part_rewrite(struct walk *w, struct chat_part *p)
{
    struct str *const texts[] = {&p->text, &p->url, &p->data, &p->format};
    int rc = texts_rewrite(w, texts, sizeof texts / sizeof *texts);
    return rc ? rc : member_rewrite(w, &p->raw);
}

static int call_rewrite(struct walk *w, struct chat_tool_call *c)
{
    struct str *const texts[] = {&c->id, &c->name};
    int rc = texts_rewrite(w, texts, sizeof texts / sizeof *texts);
    if (rc == 0)
        rc = arguments_rewrite(w, &c->arguments);
    return rc ? rc : member_rewrite(w, &c->raw);
}

static int message_rewrite(struct walk *w, struct chat_message *m)
{
    struct str *const texts[] = {&m->name, &m->tool_call_id, &m->reasoning};
    int rc = texts_rewrite(w, texts, sizeof texts / sizeof *texts);
    if (rc == 0)
        rc = array_copy(w, m->parts, m->n_parts, sizeof *m->parts, &m->parts);
    for (size_t i = 0; i < m->n_parts && rc == 0; i++)
        rc = part_rewrite(w, &m->parts[i]);
    if (rc == 0)
        rc = array_copy(w, m->tool_calls, m->n_tool_calls, sizeof *m->tool_calls, &m->tool_calls);
    for (size_t i = 0; i < m->n_tool_calls && rc == 0; i++)
        rc = call_rewrite(w, &m->tool_calls[i]);
    if (rc == 0)
        rc = array_copy(w, m->thoughts, m->n_thoughts, sizeof *m->thoughts, &m->thoughts);
    for (size_t i = 0; i < m->n_thoughts && rc == 0; i++) {
        struct chat_thought *t = &m->thoughts[i];
        struct str *const of_thought[] = {&t->text, &t->signature, &t->data};
        rc = texts_rewrite(w, of_thought, sizeof of_thought / sizeof *of_thought);
    }
    return rc ? rc : member_rewrite(w, &m->vendor);
}

static int tool_rewrite(struct walk *w, struct chat_tool *t)
{
    struct str *const texts[] = {&t->name, &t->description};
    t->written = STR_NONE; /* of what was rewritten */
    int rc = texts_rewrite(w, texts, sizeof texts / sizeof *texts);
    if (rc == 0)
        rc = member_rewrite(w, &t->parameters);
    return rc ? rc : member_rewrite(w, &t->raw);
}

static int lists_rewrite(struct walk *w, struct chat_request *r)
{
    struct chat_sampling *s = &r->sampling;
    struct str *breakers;
    struct chat_bias *biases;
    int rc = array_copy(w, r->stops, r->n_stops, sizeof *r->stops, &r->stops);
    for (size_t i = 0; i < r->n_stops && rc == 0; i++)
        rc = text_rewrite(w, &r->stops[i]);
    if (rc == 0)
        rc = array_copy(w, s->dry_breakers, s->n_dry_breakers, sizeof *breakers, &breakers);
    for (size_t i = 0; i < s->n_dry_breakers && rc == 0; i++)
        rc = text_rewrite(w, &breakers[i]);
    if (rc == 0)
        rc = array_copy(w, s->logit_bias, s->n_logit_bias, sizeof *biases, &biases);
    for (size_t i = 0; i < s->n_logit_bias && rc == 0; i++)
        rc = text_rewrite(w, &biases[i].text);
    if (rc == 0)
        rc = array_copy(w, r->headers, r->n_headers, sizeof *r->headers, &r->headers);
    for (size_t i = 0; i < r->n_headers && rc == 0; i++)
        rc = text_rewrite(w, &r->headers[i].value);
    if (rc == 0) {
        s->dry_breakers = breakers;
        s->logit_bias = biases;
    }
    return rc;
}

int chat_request_rewrite(const struct chat_request *r, chat_rewrite *rewrite, void *ctx,
    struct chat_request **out, struct error *err)
{
    struct walk w = {r->arena, rewrite, ctx, err};
    struct chat_request *c = arena_new(r->arena, struct chat_request);
    *c = *r;
    c->asked = NULL;
    struct str *const texts[] = {&c->prompt, &c->suffix, &c->query, &c->user, &c->tool_choice_name};
    int rc = texts_rewrite(&w, texts, sizeof texts / sizeof *texts);
    if (rc == 0)
        rc = array_copy(&w, r->inputs, r->n_inputs, sizeof *r->inputs, &c->inputs);
    for (size_t i = 0; i < c->n_inputs && rc == 0; i++)
        rc = text_rewrite(&w, &c->inputs[i].text);
    if (rc == 0)
        rc = array_copy(&w, r->messages, r->n_messages, sizeof *r->messages, &c->messages);
    for (size_t i = 0; i < c->n_messages && rc == 0; i++)
        rc = message_rewrite(&w, &c->messages[i]);
    if (rc == 0)
        rc = array_copy(&w, r->tools, r->n_tools, sizeof *r->tools, &c->tools);
    for (size_t i = 0; i < c->n_tools && rc == 0; i++)
        rc = tool_rewrite(&w, &c->tools[i]);
    if (rc == 0)
        rc = lists_rewrite(&w, c);
    if (rc == 0)
        rc = member_rewrite(&w, &c->vendor);
    if (rc == 0)
        rc = member_rewrite(&w, &c->native);
    *out = c;
    return rc;
}
