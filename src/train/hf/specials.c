/* What else of a tokenizer a GGUF file says: the tokens that begin and end, templates, sampling. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "train/files.h"
#include "train/hf/tokens.h"

/* ---- The special ids ---- */
static const struct {
    const char *theirs, *ours;
} kinds[] = {{"bos", "bos"}, {"eos", "eos"}, {"unk", "unknown"}, {"sep", "seperator"}, {"pad", "padding"},
    {"cls", "cls"}, {"mask", "mask"}};

static const char *joined(char to[64], const char *a, const char *b, const char *c)
{
    snprintf(to, 64, "%s%s%s", a, b, c);
    return to;
}

/* tokenizer_config.json names it by its text, or by an object with that; -1: it names none. */
static int64_t by_text(const struct hf_tokens *t, const char *kind)
{
    char key[64];
    const struct json_item *item = hf_given(t->settings, joined(key, kind, "_token", ""));
    const struct str text =
        json_item_is(item, JSON_ITEM_OBJECT) ? json_item_text(item, "content") : json_item_str(item);
    const uint32_t *id = text.len > 0 ? map_find(&t->ids, text) : NULL;
    return id ? (int64_t)*id : -1;
}

/* A number, or the first of a list; -1: none that is a token. */
static int64_t by_number(const struct hf_tokens *t, const struct json_item *root, const char *kind)
{
    char key[64];
    int64_t id;
    const struct json_item *item = hf_given(root, joined(key, kind, "_token_id", ""));
    if (json_item_is(item, JSON_ITEM_ARRAY))
        item = json_item_first(item);
    return json_item_int(item, &id) && id >= 0 && id < t->n ? id : -1;
}

static int64_t id_find(const struct hf_tokens *t, const struct hf_config *c, const char *kind)
{
    const int64_t id = by_text(t, kind);
    return id >= 0 ? id : by_number(t, c->root, kind);
}

static void ids_write(const struct hf_tokens *t, const struct hf_config *c, struct gguf_writer *w)
{
    char key[64];
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const int64_t id = id_find(t, c, kinds[i].theirs);
        if (id >= 0)
            gguf_write_u32(w, joined(key, "tokenizer.ggml.", kinds[i].ours, "_token_id"), (uint32_t)id);
    }
}

/* generation_config.json, or where there is none config.json, may list more that end an answer. */
static void ends_write(const struct hf_tokens *t, const struct hf_config *c,
    const struct json_item *generation, struct gguf_writer *w)
{
    static const char *const names[] = {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"};
    const int64_t eos = id_find(t, c, "eos");
    const struct json_item *said = hf_given(generation, "eos_token_id");
    size_t n = 0;
    json_item_each(i, said ? said : hf_given(c->root, "eos_token_id")) {
        int64_t id;
        if (n < 2 && json_item_int(i, &id) && id >= 0 && id < t->n && id != eos &&
            t->types[id] == HF_TOKEN_CONTROL)
            gguf_write_u32(w, names[n++], (uint32_t)id);
    }
}

/* ---- Whether they are added ---- */

/* A template of the post-processor: [{"SpecialToken": {"id": "<s>"}}, {"Sequence": ...}]. */
static bool template_has(
    const struct json_item *step, const char *kind, const struct hf_tokens *t, const struct hf_config *c)
{
    const struct json_item *single = json_item_get(step, "single"), *one = json_item_first(single);
    const bool begins = strcmp(kind, "bos") == 0;
    for (const struct json_item *i = one; !begins && i; i = json_item_next(single, i))
        one = i;
    const struct str text = json_item_text(json_item_get(one, "SpecialToken"), "id");
    const uint32_t *id = text.len > 0 ? map_find(&t->ids, text) : NULL;
    return id && (int64_t)*id == id_find(t, c, kind);
}

static bool is_added(const struct hf_tokens *t, const struct hf_config *c, const char *kind)
{
    char key[64];
    const struct json_item *said = hf_given(t->settings, joined(key, "add_", kind, "_token"));
    const struct json_item *post = hf_given(t->root, "post_processor");
    if (said && (said->kind == JSON_ITEM_TRUE || said->kind == JSON_ITEM_FALSE))
        return said->kind == JSON_ITEM_TRUE;
    if (!t->root)
        return strcmp(kind, "bos") == 0; /* SentencePiece's models begin with it */
    bool found = template_has(post, kind, t, c);
    json_item_each(step, json_item_get(post, "processors"))
        found = found || template_has(step, kind, t, c);
    return found;
}

/* ---- Templates ---- */
static int template_check(struct str text, const char *where, struct error *err)
{
    return text.len <= LIMIT_TEMPLATE_SOURCE
               ? 0
               : error_set(err, ERROR_LIMIT, "the chat template of %s is longer than %zu bytes", where,
                     LIMIT_TEMPLATE_SOURCE);
}

/* [{"name": "default", "template": "..."}, ...] */
static int templates_write(
    const struct hf_tokens *t, const struct json_item *list, struct gguf_writer *w, struct error *err)
{
    struct str *names = arena_alloc(t->arena, (json_item_length(list) + 1) * sizeof *names);
    size_t n = 0;
    json_item_each(i, list) {
        const struct str text = json_item_text(i, "template");
        struct str name = arena_copy(t->arena, json_item_text(i, "name"));
        int rc = template_check(text, "tokenizer_config.json", err);
        if (rc)
            return rc;
        for (size_t k = 0; k < name.len; k++) {
            const char a = name.data[k];
            if (!((a >= 'a' && a <= 'z') || (a >= 'A' && a <= 'Z') || (a >= '0' && a <= '9')))
                ((char *)(uintptr_t)name.data)[k] = '_';
        }
        if (str_is(name, "default")) {
            gguf_write_str(w, "tokenizer.chat_template", text);
        } else if (name.len > 0) {
            gguf_write_str(
                w, arena_printf(t->arena, "tokenizer.chat_template." STR_FMT, STR_ARG(name)).data, text);
            names[n++] = name;
        }
    }
    if (n > 0)
        gguf_write_strs(w, "tokenizer.chat_templates", names, n);
    return 0;
}

/* A file of its own stands above what tokenizer_config.json says. */
static int template_write(
    const struct hf_tokens *t, const char *folder, struct gguf_writer *w, struct error *err)
{
    const char *path = arena_printf(t->arena, "%s/chat_template.jinja", folder).data;
    const struct json_item *said = hf_given(t->settings, "chat_template");
    const bool own = access(path, F_OK) == 0;
    struct str text = json_item_str(said);
    struct json_view v;
    const struct json_item *root = NULL;
    int rc = 0;
    if (!own && json_item_is(said, JSON_ITEM_ARRAY))
        return templates_write(t, said, w, err);
    json_view_init(&v);
    if (own)
        rc = file_read(t->arena, path, LIMIT_TEMPLATE_SOURCE, &text, err);
    else if (text.len == 0)
        rc = hf_json_read(t->arena, folder, "chat_template.json", &v, &root, err);
    if (root)
        text = json_item_text(root, "chat_template");
    rc = rc ? rc : template_check(text, folder, err);
    if (rc == 0 && text.len > 0)
        gguf_write_str(w, "tokenizer.chat_template", text);
    json_view_free(&v);
    return rc;
}

/* ---- How answers are drawn ---- */
static void sampling_write(const struct json_item *generation, struct gguf_writer *w)
{
    static const struct {
        const char *theirs, *ours;
        bool whole;
    } rows[] = {{"top_k", "general.sampling.top_k", true}, {"top_p", "general.sampling.top_p", false},
        {"min_p", "general.sampling.min_p", false}, {"temperature", "general.sampling.temp", false},
        {"repetition_penalty", "general.sampling.penalty_repeat", false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        double value;
        if (!json_item_double(hf_given(generation, rows[i].theirs), &value) || value < 0 || value > 1e6)
            continue;
        if (rows[i].whole) {
            const int32_t number = (int32_t)value;
            struct gguf_pair pair = {.key = str_from(rows[i].ours), .type = GGUF_INT32, .i = number};
            gguf_write_pair(w, &pair);
        } else {
            gguf_write_f32(w, rows[i].ours, (float)value);
        }
    }
}

int hf_specials_write(const struct hf_tokens *t, const struct hf_config *c, const char *folder,
    struct gguf_writer *w, struct error *err)
{
    struct json_view v;
    const struct json_item *generation;
    json_view_init(&v);
    int rc = hf_json_read(t->arena, folder, "generation_config.json", &v, &generation, err);
    if (rc == 0) {
        ids_write(t, c, w);
        ends_write(t, c, generation, w);
        gguf_write_bool(w, "tokenizer.ggml.add_bos_token", is_added(t, c, "bos"));
        if (is_added(t, c, "eos"))
            gguf_write_bool(w, "tokenizer.ggml.add_eos_token", true);
        sampling_write(generation, w);
        rc = template_write(t, folder, w, err);
    }
    json_view_free(&v);
    return rc;
}
