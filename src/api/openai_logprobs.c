#include "api/openai_logprobs.h"

#include "base/limits.h"
#include "chat/chat_tokens.h"

void openai_logprobs_init(struct openai_logprobs *l)
{
    struct buf *all[] = {&l->content, &l->tokens, &l->values, &l->tops, &l->offsets};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        buf_init(all[i], LIMIT_PROVIDER_BODY);
}

void openai_logprobs_free(struct openai_logprobs *l)
{
    struct buf *all[] = {&l->content, &l->tokens, &l->values, &l->tops, &l->offsets};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        buf_free(all[i]);
}

/* Begins the next element of a list. */
static void item(struct buf *list, struct json_writer *w)
{
    if (list->len > 0)
        buf_append_char(list, ',');
    json_writer_init(w, list);
}

static double finite(double logprob)
{
    return logprob > -9999 ? logprob : -9999;
}

/* The likeliest and, where it is not among them, the token itself. A text counts once: keys are texts here.
 */
static void tops_append(struct buf *list, const struct chat_token *t)
{
    struct json_writer w;
    bool itself = false;
    item(list, &w);
    json_object_begin(&w);
    for (size_t i = 0; i <= t->n_top; i++) {
        const struct chat_token *one = i < t->n_top ? &t->top[i] : t;
        bool again = false;
        for (size_t k = 0; k < i && k < t->n_top && !again; k++)
            again = str_eq(t->top[k].text, one->text);
        if (again || (i == t->n_top && itself))
            continue;
        itself = itself || str_eq(one->text, t->text);
        json_key_str(&w, one->text);
        json_write_double(&w, finite(one->logprob));
    }
    json_object_end(&w);
}

int openai_logprobs_append(
    struct openai_logprobs *l, bool completion, const struct chat_event *e, int64_t *characters)
{
    struct json_writer w;
    int64_t at = *characters;
    for (size_t i = 0; i < e->n_tokens; i++) {
        const struct chat_token *t = &e->tokens[i];
        if (!completion) {
            item(&l->content, &w);
            chat_token_write(t, &w);
            continue;
        }
        item(&l->tokens, &w);
        json_write_str(&w, t->text);
        item(&l->values, &w);
        json_write_double(&w, finite(t->logprob));
        tops_append(&l->tops, t);
        item(&l->offsets, &w);
        json_write_int(&w, at);
        at += (int64_t)str_utf8_count(t->text);
    }
    *characters += (int64_t)str_utf8_count(e->text);
    return l->content.failed ? l->content.failed : l->tops.failed;
}

static void list_write(struct json_writer *w, const char *key, const struct buf *list)
{
    json_key(w, key);
    json_array_begin(w);
    if (list->len > 0)
        json_write_raw(w, buf_str(list));
    json_array_end(w);
}

void openai_logprobs_write(const struct openai_logprobs *l, bool completion, struct json_writer *w)
{
    json_object_begin(w);
    if (completion) {
        list_write(w, "tokens", &l->tokens);
        list_write(w, "token_logprobs", &l->values);
        list_write(w, "top_logprobs", &l->tops);
        list_write(w, "text_offset", &l->offsets);
    } else {
        list_write(w, "content", &l->content);
        json_key(w, "refusal");
        json_write_null(w);
    }
    json_object_end(w);
}
