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
        rc = chat_template_sources(s->gguf, &setup.source, &setup.with_tools, err);
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

static bool role_is(const json_t *message, const char *role)
{
    return str_is(json_text(message, "role"), role);
}

static bool is_system(const json_t *message)
{
    return role_is(message, "system") || role_is(message, "developer");
}

/* The conversation behind what the model's own begin with; the request's system messages stand in the place
 * of the model's. */
static json_t *body_opened(const struct session *s, const json_t *body)
{
    const json_t *messages = json_object_get(body, "messages");
    const size_t n = json_array_size(messages);
    json_t *out = json_copy((json_t *)(uintptr_t)body), *all = json_array(), *message;
    size_t own = 0, i;
    for (; own < n && is_system(json_array_get(messages, own)); own++)
        json_array_append(all, json_array_get(messages, own));
    json_array_foreach(s->opening, i, message)
    {
        if (own == 0 || !is_system(message))
            json_array_append(all, message);
    }
    for (i = own; i < n; i++)
        json_array_append(all, json_array_get(messages, i));
    json_object_set_new(out, "messages", all);
    return out;
}

static int render(struct session *s, const json_t *body, struct buf *out, struct error *err)
{
    struct str source;
    struct chat_template *own = NULL;
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

int prompt_render(struct session *s, const json_t *body, struct buf *out, struct error *err)
{
    if (!json_is_array(json_object_get(body, "messages")))
        return error_set(err, ERROR_INVALID, "'messages' must be a list");
    if (!s->opening)
        return render(s, body, out, err);
    json_t *opened = body_opened(s, body);
    int rc = opened ? render(s, opened, out, err) : error_set(err, ERROR_MEMORY, "no memory for the prompt");
    json_decref(opened);
    return rc;
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

/* The conversation from its `turn`th turn on (a turn begins with what the user says); tells how many there
 * are. */
static json_t *body_from(const json_t *body, size_t turn, size_t *n_turns)
{
    const json_t *messages = json_object_get(body, "messages");
    json_t *out = json_copy((json_t *)(uintptr_t)body), *kept = json_array(), *message;
    size_t i;
    bool within = turn == 0;
    *n_turns = 0;
    json_array_foreach((json_t *)(uintptr_t)messages, i, message)
    {
        within = within || (role_is(message, "user") && *n_turns == turn);
        *n_turns += role_is(message, "user");
        if (within || is_system(message))
            json_array_append(kept, message);
    }
    json_object_set_new(out, "messages", kept);
    return out;
}

static int prompt_from_turn(struct session *s, const json_t *body, size_t turn, struct token_list *out,
    size_t *n_turns, struct error *err)
{
    json_t *rest = body_from(body, turn, n_turns);
    out->count = 0;
    int rc =
        rest ? prompt_from_chat(s, rest, out, err) : error_set(err, ERROR_MEMORY, "no memory for the prompt");
    json_decref(rest);
    return rc;
}

int prompt_from_chat_shortened(
    struct session *s, const json_t *body, struct token_list *out, struct error *err)
{
    enum { ANSWER = 8 };
    const size_t room = (size_t)(s->n_context - s->n_context / ANSWER);
    /* Turns to begin with: `first` is one too many, `last` will do or must; `made`: that `out` begins with.
     */
    size_t first = 0, last, made = 0, n_turns;
    int rc = prompt_from_turn(s, body, 0, out, &n_turns, err);
    if (rc || out->count <= room || n_turns < 2)
        return rc;
    for (last = n_turns - 1; rc == 0 && last - first > 1;) {
        made = first + (last - first) / 2;
        rc = prompt_from_turn(s, body, made, out, &n_turns, err);
        *(out->count > room ? &first : &last) = made;
    }
    return rc || made == last ? rc : prompt_from_turn(s, body, last, out, &n_turns, err);
}

/* ---- Without a conversation ---- */

/* A mark for filling in the middle: its keys in the file, and how vocabularies that name none spell it. */
static const struct fill_mark {
    const char *what, *key, *older, *texts[9];
} fill_marks[] = {
    {"prefix", "tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.prefix_token_id",
        {"<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>",
            "<\xEF\xBD\x9C"
            "fim\xE2\x96\x81"
            "begin\xEF\xBD\x9C>",
            "<PRE>", "\xE2\x96\x81<PRE>", "<|code_prefix|>", "<|prefix|>"}},
    {"suffix", "tokenizer.ggml.fim_suf_token_id", "tokenizer.ggml.suffix_token_id",
        {"<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>",
            "<\xEF\xBD\x9C"
            "fim\xE2\x96\x81"
            "hole\xEF\xBD\x9C>",
            "<SUF>", "\xE2\x96\x81<SUF>", "<|code_suffix|>", "<|suffix|>"}},
    {"middle", "tokenizer.ggml.fim_mid_token_id", "tokenizer.ggml.middle_token_id",
        {"<|fim_middle|>", "<fim-middle>", "<fim_middle>",
            "<\xEF\xBD\x9C"
            "fim\xE2\x96\x81"
            "end\xEF\xBD\x9C>",
            "<MID>", "\xE2\x96\x81<MID>", "<|code_middle|>", "<|middle|>"}},
};

static int fill_mark_find(
    const struct session *s, const struct fill_mark *mark, int32_t *out, struct error *err)
{
    uint32_t id, none = UINT32_MAX;
    int rc = gguf_get_u32(s->gguf, mark->key, none, &id, err);
    if (rc == 0 && id == none)
        rc = gguf_get_u32(s->gguf, mark->older, none, &id, err);
    if (rc)
        return rc;
    *out = id < (uint32_t)tokenizer_vocab_size(s->tokenizer) ? (int32_t)id : -1;
    for (const char *const *text = mark->texts; *text && *out < 0; text++)
        *out = tokenizer_find(s->tokenizer, str_from(*text));
    return *out >= 0
               ? 0
               : error_set(err, ERROR_UNSUPPORTED,
                     "the model cannot fill in between a prompt and a 'suffix': its vocabulary has no mark "
                     "for the %s; leave 'suffix' out or use a model made for it",
                     mark->what);
}

/* The prompt itself; beside a suffix nothing in it is read as a mark. */
static int prompt_append(
    struct session *s, const struct chat_work *work, bool marks, struct token_list *out, struct error *err)
{
    int rc = 0;
    if (!work->prompt_ids)
        return tokenizer_encode(s->tokenizer, work->prompt, marks, marks, out, err);
    for (size_t i = 0; i < json_array_size(work->prompt_ids) && rc == 0; i++)
        rc = token_list_append(out, (int32_t)json_integer_value(json_array_get(work->prompt_ids, i)), err);
    return rc;
}

int prompt_from_work(
    struct session *s, const struct chat_work *work, struct token_list *out, struct error *err)
{
    int32_t marks[3], bos;
    int rc = 0;
    if (work->suffix.len == 0)
        return prompt_append(s, work, true, out, err);
    for (size_t i = 0; i < 3 && rc == 0; i++)
        rc = fill_mark_find(s, &fill_marks[i], &marks[i], err);
    if (rc == 0)
        rc = bos_wanted(s->tokenizer, &bos, err);
    if (rc == 0 && bos >= 0)
        rc = token_list_append(out, bos, err);
    if (rc == 0)
        rc = token_list_append(out, marks[0], err);
    if (rc == 0)
        rc = prompt_append(s, work, false, out, err);
    if (rc == 0)
        rc = token_list_append(out, marks[1], err);
    if (rc == 0)
        rc = tokenizer_encode(s->tokenizer, work->suffix, false, false, out, err);
    return rc ? rc : token_list_append(out, marks[2], err);
}
