#include "engine/worker/prompt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/worker/template.h"

static int template_default(struct session *s, struct error *err)
{
    struct str source;
    int rc = gguf_get_str(s->gguf, "tokenizer.chat_template", STR_NONE, &source, err);
    if (rc || source.len == 0)
        return rc;
    return template_parse(source, &s->template, err);
}

void prompt_template_load(struct session *s)
{
    s->template_error = (struct error){0};
    if (template_default(s, &s->template_error) != 0)
        log_warn("prompt", "the model's chat template cannot be used: %s", s->template_error.message);
    else if (!s->template)
        log_info("prompt", "the model has no chat template: it continues what it is given");
}

/* ---- Values ---- */

/* Tool calls hold their arguments as JSON text; templates want the tree. */
static void arguments_expand(json_t *call)
{
    json_t *function = json_object_get(call, "function"), *tree;
    struct str text = json_str(json_object_get(function, "arguments"));
    if (text.data && json_read(text, &tree, NULL) == 0)
        json_object_set_new(function, "arguments", tree);
}

/* A copy of the messages that may be changed. */
static json_t *messages_copy(const json_t *messages)
{
    json_t *copy = json_deep_copy(messages), *message, *call;
    size_t i, k;
    json_array_foreach(copy, i, message) json_array_foreach(json_object_get(message, "tool_calls"), k, call)
        arguments_expand(call);
    return copy;
}

static void token_set(json_t *values, const char *key, const struct tokenizer *t, int32_t id)
{
    if (json_is_string(json_object_get(values, key)))
        return;
    struct str text = t && id >= 0 ? tokenizer_text(t, id) : STR("");
    json_t *value = json_stringn(text.data, text.len); /* NULL where it is not UTF-8 */
    json_object_set_new(values, key, value ? value : json_string(""));
}

/* Unset members that transformers always passes are there as none. */
static void member_default(json_t *values, const char *key, json_t *fallback)
{
    if (json_object_get(values, key))
        json_decref(fallback);
    else
        json_object_set_new(values, key, fallback);
}

static int values_create(const struct session *s, const json_t *body, json_t **out, struct error *err)
{
    const struct tokenizer *t = s->tokenizer;
    json_t *values = json_copy((json_t *)(uintptr_t)body);
    json_t *messages = messages_copy(json_object_get(body, "messages"));
    if (!values || !messages || json_object_set_new(values, "messages", messages) != 0) {
        json_decref(values);
        return error_set(err, ERROR_MEMORY, "no memory for the conversation: shorten it");
    }
    json_object_del(values, "template");
    json_object_del(values, "now");
    token_set(values, "bos_token", t, t ? tokenizer_bos(t) : -1);
    token_set(values, "eos_token", t, t ? tokenizer_eos(t) : -1);
    member_default(values, "tools", json_null());
    member_default(values, "documents", json_null());
    member_default(values, "add_generation_prompt", json_true());
    *out = values;
    return 0;
}

/* "2026-11-20T12:00:00", with or without a Z. */
static int now_read(const json_t *body, int64_t *out, struct error *err)
{
    struct str text;
    struct tm tm;
    int rc = json_get_str(body, "now", &text, err);
    *out = clock_wall_ms() / 1000;
    if (rc || !text.data)
        return rc;
    const char *end = strptime(text.data, "%Y-%m-%dT%H:%M:%S", &tm);
    if (!end || (*end != '\0' && strcmp(end, "Z") != 0))
        return error_set(err, ERROR_INVALID, "'now' must be a time such as 2026-11-20T12:00:00Z");
    *out = timegm(&tm);
    return 0;
}

/* ---- Rendering ---- */

static int render_with(
    struct session *s, const struct template *t, const json_t *body, struct buf *out, struct error *err)
{
    json_t *values = NULL;
    int64_t now;
    int rc = now_read(body, &now, err);
    if (rc == 0)
        rc = values_create(s, body, &values, err);
    if (rc)
        return rc;
    rc = template_render(t, values, now, out, err);
    json_decref(values);
    return rc;
}

/* Without a template: the texts, an empty line between them. */
static int render_plain(const json_t *messages, struct buf *out, struct error *err)
{
    size_t i;
    json_t *message;
    json_array_foreach((json_t *)(uintptr_t)messages, i, message)
    {
        const json_t *content = json_object_get(message, "content");
        if (content && !json_is_string(content) && !json_is_null(content))
            return error_set(err, ERROR_INVALID, "messages[%zu].content must be text for this model", i);
        if (i > 0)
            buf_append_text(out, "\n\n");
        buf_append_str(out, json_str(content));
    }
    if (out->failed)
        return error_set(err, out->failed, "the conversation is too long: shorten it");
    return 0;
}

int prompt_render(struct session *s, const json_t *body, struct buf *out, struct error *err)
{
    struct str source;
    struct template *own;
    if (!json_is_array(json_object_get(body, "messages")))
        return error_set(err, ERROR_INVALID, "'messages' must be a list");
    int rc = json_get_str(body, "template", &source, err);
    if (rc)
        return rc;
    if (source.data) {
        rc = template_parse(source, &own, err);
        if (rc)
            return rc;
        rc = render_with(s, own, body, out, err);
        template_free(own);
        return rc;
    }
    if (s->template)
        return render_with(s, s->template, body, out, err);
    if (s->template_error.code) {
        *err = s->template_error;
        return err->code;
    }
    return render_plain(json_object_get(body, "messages"), out, err);
}

/* The BOS that the tokenizer would add, or -1. */
static int bos_wanted(const struct tokenizer *t, int32_t *out, struct error *err)
{
    struct token_list specials = {0};
    int rc = tokenizer_encode(t, STR(""), true, false, &specials, err);
    int32_t bos = tokenizer_bos(t);
    *out = rc == 0 && specials.count > 0 && specials.ids[0] == bos ? bos : -1;
    free(specials.ids);
    return rc;
}

int prompt_from_chat(struct session *s, const json_t *body, struct token_list *out, struct error *err)
{
    struct buf text;
    struct token_list tokens = {0};
    int32_t bos;
    buf_init(&text, LIMIT_TEMPLATE_OUTPUT);
    int rc = prompt_render(s, body, &text, err);
    if (rc == 0)
        rc = tokenizer_encode(s->tokenizer, buf_str(&text), false, true, &tokens, err);
    if (rc == 0)
        rc = bos_wanted(s->tokenizer, &bos, err);
    /* Most templates begin with the BOS themselves; twice would confuse the model. */
    if (rc == 0 && bos >= 0 && (tokens.count == 0 || tokens.ids[0] != bos))
        rc = token_list_append(out, bos, err);
    for (size_t i = 0; i < tokens.count && rc == 0; i++)
        rc = token_list_append(out, tokens.ids[i], err);
    free(tokens.ids);
    buf_free(&text);
    return rc;
}
