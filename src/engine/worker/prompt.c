#include "engine/worker/prompt.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/worker/chat_template.h"

static struct str token_text(const struct tokenizer *t, int32_t id)
{
    return t && id >= 0 ? tokenizer_text(t, id) : STR_NONE;
}

static bool has_token(void *tokenizer, struct str text)
{
    return tokenizer && tokenizer_find(tokenizer, text) >= 0;
}

/* `source` empty: the file's own template, or a fall-back by its tokens. */
static int template_create(
    const struct session *s, struct str source, struct chat_template **out, struct error *err)
{
    const struct tokenizer *t = s->tokenizer;
    struct chat_template_setup setup = {.source = source,
        .bos = token_text(t, t ? tokenizer_bos(t) : -1),
        .eos = token_text(t, t ? tokenizer_eos(t) : -1),
        .has_token = has_token,
        .ctx = s->tokenizer};
    int rc = 0;
    if (s->gguf)
        rc = gguf_get_str(s->gguf, "general.architecture", STR_NONE, &setup.architecture, err);
    if (rc == 0 && s->gguf && source.len == 0)
        rc = gguf_get_str(s->gguf, "tokenizer.chat_template", STR_NONE, &setup.source, err);
    return rc ? rc : chat_template_create(&setup, out, err);
}

void prompt_template_load(struct session *s)
{
    s->template_error = (struct error){0};
    if (template_create(s, STR_NONE, &s->template, &s->template_error) != 0) {
        log_warn("prompt", "the model's chat template cannot be used: %s", s->template_error.message);
        return;
    }
    const char *fallback = chat_template_fallback(s->template);
    if (fallback && strcmp(fallback, "plain") == 0) {
        log_warn("prompt", "the model has no chat template: it continues what it is given");
        chat_template_free(s->template);
        s->template = NULL;
    } else if (fallback) {
        log_warn(
            "prompt", "the model has no chat template: its tokens are those of %s, which is used", fallback);
    }
}

/* ---- Rendering ---- */

/* Without a template: the texts, an empty line between them. */
static int render_plain(const json_t *body, struct buf *out, struct error *err)
{
    const json_t *messages = json_object_get(body, "messages");
    size_t i;
    json_t *message;
    if (json_array_size(json_object_get(body, "tools")) > 0)
        return error_set(err, ERROR_INVALID,
            "this model file has no chat template, so that it cannot be given tools: use a file that has "
            "one");
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
    struct chat_template *own = NULL;
    if (!json_is_array(json_object_get(body, "messages")))
        return error_set(err, ERROR_INVALID, "'messages' must be a list");
    int rc = json_get_str(body, "template", &source, err);
    if (rc)
        return rc;
    if (source.data) {
        rc = template_create(s, source, &own, err);
        if (rc == 0)
            rc = chat_template_render(own, body, clock_wall_ms() / 1000, out, err);
        chat_template_free(own);
        return rc;
    }
    if (s->template)
        return chat_template_render(s->template, body, clock_wall_ms() / 1000, out, err);
    if (s->template_error.code) {
        *err = s->template_error;
        return err->code;
    }
    return render_plain(body, out, err);
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
