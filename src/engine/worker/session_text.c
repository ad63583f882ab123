/* TOKENIZE, DETOKENIZE, RENDER. */
#include <stdlib.h>

#include "engine/worker/prompt.h"
#include "engine/worker/session_inner.h"

static int tokenizer_need(const struct session *s, struct error *err)
{
    if (s->tokenizer)
        return 0;
    *err = s->tokenizer_error;
    return err->code;
}

int session_ids_read(const json_t *object, const char *key, struct token_list *out, struct error *err)
{
    const json_t *list = json_object_get(object, key);
    if (!json_is_array(list))
        return error_set(err, ERROR_INVALID, "'%s' must be a list of token ids", key);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *id = json_array_get(list, i);
        json_int_t value = json_integer_value(id);
        if (!json_is_integer(id) || value < 0 || value > INT32_MAX)
            return error_set(
                err, ERROR_INVALID, "'%s' must be a list of token ids: number %zu is none", key, i);
        int rc = token_list_append(out, (int32_t)value, err);
        if (rc)
            return rc;
    }
    return 0;
}

static void ids_send(struct session *s, uint32_t id, const struct token_list *tokens)
{
    struct buf json;
    struct json_writer w;
    buf_init(&json, LIMIT_WIRE_FRAME);
    json_writer_init(&w, &json);
    json_object_begin(&w);
    json_key(&w, "ids");
    json_array_begin(&w);
    for (size_t i = 0; i < tokens->count; i++)
        json_write_int(&w, tokens->ids[i]);
    json_array_end(&w);
    json_object_end(&w);
    session_send_result(s, id, &json);
    buf_free(&json);
}

int session_tokenize(struct session *s, uint32_t id, struct str payload, struct error *err)
{
    json_t *root;
    struct str text;
    bool add_special, parse_special;
    struct token_list tokens = {0};
    int rc = json_read(payload, &root, err);
    if (rc)
        return rc;
    rc = json_get_str(root, "text", &text, err);
    if (rc == 0 && !text.data)
        rc = error_set(err, ERROR_INVALID, "'text' is missing: send {\"text\":\"...\"}");
    if (rc == 0)
        rc = json_get_bool(root, "add_special", false, &add_special, err);
    if (rc == 0)
        rc = json_get_bool(root, "parse_special", false, &parse_special, err);
    if (rc == 0)
        rc = tokenizer_need(s, err);
    if (rc == 0)
        rc = tokenizer_encode(s->tokenizer, text, add_special, parse_special, &tokens, err);
    if (rc == 0)
        ids_send(s, id, &tokens);
    free(tokens.ids);
    json_decref(root);
    return rc;
}

static void text_send(struct session *s, uint32_t id, const struct buf *text)
{
    struct buf json;
    struct json_writer w;
    buf_init(&json, LIMIT_WIRE_FRAME);
    json_writer_init(&w, &json);
    json_object_begin(&w);
    json_member_str(&w, "text", buf_str(text));
    json_object_end(&w);
    session_send_result(s, id, &json);
    buf_free(&json);
}

int session_detokenize(struct session *s, uint32_t id, struct str payload, struct error *err)
{
    json_t *root;
    struct token_list tokens = {0};
    struct buf text;
    int rc = json_read(payload, &root, err);
    if (rc)
        return rc;
    buf_init(&text, LIMIT_WIRE_FRAME);
    rc = session_ids_read(root, "ids", &tokens, err);
    if (rc == 0)
        rc = tokenizer_need(s, err);
    if (rc == 0)
        rc = tokenizer_decode(s->tokenizer, tokens.ids, tokens.count, true, &text, err);
    if (rc == 0)
        text_send(s, id, &text);
    buf_free(&text);
    free(tokens.ids);
    json_decref(root);
    return rc;
}

int session_render(struct session *s, uint32_t id, struct str payload, struct error *err)
{
    json_t *body;
    struct buf text;
    int rc = json_read(payload, &body, err);
    if (rc)
        return rc;
    buf_init(&text, LIMIT_TEMPLATE_OUTPUT);
    rc = prompt_render(s, body, &text, err);
    if (rc == 0)
        text_send(s, id, &text);
    buf_free(&text);
    json_decref(body);
    return rc;
}
