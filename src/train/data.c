/* Reading examples: JSON lines, through the chat template, to tokens. */
#include "train/data.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "engine/worker/chat_template.h"
#include "train/files.h"
#include "train/text.h"

#define DATA_MAX (16 * GIB)
enum { WEIGHT_MAX = 100 };
#define NOW_S 1767225600 /* what templates that ask for the date are told: the first day of 2026 */

/* ---- Lines ---- */
static bool role_known(struct str role)
{
    static const char *const roles[] = {
        "system", "developer", "user", "assistant", "tool", "function", "ipython", "observation", NULL};
    return str_among(role, roles);
}

/* A list of parts, all of them text, becomes their text. */
static void content_join(json_t *message)
{
    const json_t *parts = json_object_get(message, "content");
    struct buf text;
    size_t i;
    json_t *part;
    bool all = json_is_array(parts);
    buf_init(&text, LIMIT_TEMPLATE_OUTPUT);
    json_array_foreach((json_t *)(uintptr_t)parts, i, part)
    {
        all = all && str_is(json_text(part, "type"), "text") && json_is_string(json_object_get(part, "text"));
        buf_append_str(&text, json_text(part, "text"));
    }
    if (all && !text.failed)
        json_object_set_new(message, "content", json_stringn(text.data ? text.data : "", text.len));
    buf_free(&text);
}

static int message_check(json_t *message, size_t i, struct error *err)
{
    content_join(message);
    const json_t *content = json_object_get(message, "content"), *weight = json_object_get(message, "weight");
    const struct str role = json_text(message, "role");
    if (!json_is_string(json_object_get(message, "role")) ||
        (content && !json_is_string(content) && !json_is_null(content)))
        return error_set(
            err, ERROR_INVALID, "messages[%zu] must have a 'role' and a 'content' that is text", i);
    if (!role_known(role))
        return error_set(err, ERROR_INVALID,
            "messages[%zu] has the role '" STR_FMT "': it must be system, developer, user, assistant, tool, "
            "function, ipython or observation",
            i, STR_ARG(str_slice(role, 0, 32)));
    const double w = json_is_number(weight) ? json_number_value(weight) : -1;
    if (weight && !(w >= 0 && w <= WEIGHT_MAX && w == floor(w)))
        return error_set(err, ERROR_INVALID, "'weight' of messages[%zu] must be a whole number from 0 to %d",
            i, WEIGHT_MAX);
    return 0;
}

static int messages_check(const json_t *body, struct error *err)
{
    const json_t *messages = json_object_get(body, "messages");
    size_t i;
    json_t *m;
    int rc = 0;
    if (!json_is_array(messages) || json_array_size(messages) == 0 ||
        json_array_size(messages) > LIMIT_MESSAGES)
        return error_set(err, ERROR_INVALID, "'messages' must be a list of 1 to %d messages", LIMIT_MESSAGES);
    json_array_foreach((json_t *)(uintptr_t)messages, i, m) rc = rc ? rc : message_check(m, i, err);
    return rc;
}

static int line_read(struct str line, int (*fn)(void *ctx, const json_t *body, struct error *err), void *ctx,
    struct error *err)
{
    json_t *body = NULL;
    int rc = json_read(line, &body, err);
    if (rc == 0 && !json_is_object(body))
        rc = error_set(err, ERROR_INVALID, "a line must be an object with 'messages'");
    rc = rc ? rc : messages_check(body, err);
    rc = rc ? rc : fn(ctx, body, err);
    json_decref(body);
    return rc;
}

int data_each(const struct train_files *files, int (*fn)(void *ctx, const json_t *body, struct error *err),
    void *ctx, struct error *err)
{
    int rc = 0;
    size_t lines = 0;
    for (size_t i = 0; i < files->count && rc == 0; i++) {
        struct arena *a = arena_create(DATA_MAX + KIB);
        struct str text = STR_NONE, line;
        rc = file_read(a, files->paths[i].data, DATA_MAX, &text, err);
        if (str_starts(text, STR("\xef\xbb\xbf"))) /* the mark that some editors begin a file with */
            text = str_slice(text, 3, text.len);
        for (long long number = 1; rc == 0 && str_split(&text, '\n', &line); number++) {
            line = str_trim(line);
            lines += line.len > 0;
            rc = line.len > 0 ? line_read(line, fn, ctx, err) : 0;
            if (rc)
                error_wrap(err, "%s:%lld", files->paths[i].data, number);
        }
        arena_free(a);
    }
    if (rc == 0 && lines == 0)
        return error_set(err, ERROR_INVALID, "%s: there is no example in it: each is a line",
            files->count > 0 ? files->paths[0].data : "the data");
    return rc;
}

/* ---- Tokens ---- */
struct reader {
    const struct train_text *text;
    struct train_data *data, *second, *into;
    int32_t context;
    double share;
    struct rand_pcg random;
    struct buf prompt, full, done; /* texts of one example */
};

static int token_add(struct train_data *d, int32_t token, uint8_t learned, struct error *err)
{
    if (d->n_tokens == d->room) {
        const size_t room = d->room ? 2 * d->room : 1 << 16;
        int32_t *tokens = realloc(d->tokens, room * sizeof *tokens);
        d->tokens = tokens ? tokens : d->tokens;
        uint8_t *flags = tokens ? realloc(d->learned, room) : NULL;
        d->learned = flags ? flags : d->learned;
        if (!flags)
            return error_set(err, ERROR_MEMORY, "no memory for %zu tokens of data: use less data", room);
        d->room = room;
    }
    d->tokens[d->n_tokens] = token;
    d->learned[d->n_tokens++] = learned;
    return 0;
}

static int text_add(struct reader *r, struct str text, uint8_t learned, struct error *err)
{
    struct token_list ids = {0};
    int rc = tokenizer_encode(r->text->tokenizer, text, false, true, &ids, err);
    size_t end = ids.count;
    /* What the template writes behind the mark that ends a turn is not the model's to say. */
    while (end > 0 && !tokenizer_is_end(r->text->tokenizer, ids.ids[end - 1]))
        end--;
    for (size_t i = 0; i < ids.count && rc == 0; i++)
        rc = token_add(r->into, ids.ids[i], end == 0 || i < end ? learned : 0, err);
    free(ids.ids);
    return rc;
}

static int doc_begin(struct reader *r, struct error *err)
{
    struct train_data *d = r->into;
    struct token_list ids = {0};
    if (d->n_docs + 2 > d->room_docs) {
        const size_t room = d->room_docs ? 2 * d->room_docs : 1 << 12;
        size_t *starts = realloc(d->starts, room * sizeof *starts);
        if (!starts)
            return error_set(err, ERROR_MEMORY, "no memory for %zu examples: use less data", room);
        d->starts = starts;
        d->room_docs = room;
    }
    d->starts[d->n_docs] = d->n_tokens;
    int rc = tokenizer_encode(
        r->text->tokenizer, STR(""), true, false, &ids, err); /* BOS where the model has one */
    for (size_t i = 0; i < ids.count && rc == 0 && ids.ids[i] == tokenizer_bos(r->text->tokenizer); i++)
        rc = token_add(d, ids.ids[i], 0, err);
    free(ids.ids);
    return rc;
}

/* A template may write the BOS itself. */
static void bos_once(const struct reader *r)
{
    struct train_data *d = r->into;
    const size_t start = d->starts[d->n_docs];
    const int32_t bos = tokenizer_bos(r->text->tokenizer);
    if (d->n_tokens - start < 2 || d->tokens[start] != bos || d->tokens[start + 1] != bos)
        return;
    memmove(d->tokens + start, d->tokens + start + 1, (d->n_tokens - start - 1) * sizeof *d->tokens);
    memmove(d->learned + start, d->learned + start + 1, d->n_tokens - start - 1);
    d->n_tokens--;
}

/* Keeps the example if it fits and teaches something. */
static void doc_end(struct reader *r)
{
    struct train_data *d = r->into;
    bos_once(r);
    const size_t start = d->starts[d->n_docs];
    int64_t learned = 0;
    for (size_t i = start + 1; i < d->n_tokens; i++)
        learned += d->learned[i] > 0;
    if (d->n_tokens - start > (size_t)r->context) {
        d->too_long++;
    } else if (learned == 0) {
        d->nothing_to_learn++;
    } else {
        d->n_learned += learned;
        d->starts[++d->n_docs] = d->n_tokens;
        return;
    }
    d->n_tokens = start;
}

static int render(
    struct reader *r, const json_t *body, size_t n_messages, bool next, struct buf *out, struct error *err)
{
    json_t *part = json_copy((json_t *)(uintptr_t)body), *messages = json_array();
    const json_t *all = json_object_get(body, "messages");
    for (size_t i = 0; i < n_messages; i++)
        json_array_append(messages, json_array_get(all, i));
    json_object_set_new(part, "messages", messages);
    json_object_set_new(part, "add_generation_prompt", json_boolean(next));
    buf_clear(out);
    int rc = chat_template_render(r->text->template, part, NOW_S, out, err);
    json_decref(part);
    return rc;
}

/* How often an answer counts. */
static uint8_t weight_of(const json_t *weight)
{
    return weight ? (uint8_t)json_number_value(weight) : 1;
}

/* A template that knows no tools writes nothing where a call stands: nothing would be learned as the answer.
 */
static bool calls_are_written(const json_t *message, struct str turn)
{
    const json_t *calls = json_object_get(message, "tool_calls");
    bool written = true;
    for (size_t i = 0; i < json_array_size(calls) && written; i++)
        written = str_find(turn, json_text(json_object_get(json_array_get(calls, i), "function"), "name")) !=
                  SIZE_MAX;
    return written;
}

/* One turn of the assistant. Where a later prompt does not begin with what went before (templates that drop
 * old reasoning), it begins an example of its own. */
static int turn_add(struct reader *r, const json_t *body, size_t i, bool *open, struct error *err)
{
    const json_t *message = json_array_get(json_object_get(body, "messages"), i);
    const uint8_t learned = weight_of(json_object_get(message, "weight"));
    int rc = render(r, body, i, true, &r->prompt, err);
    rc = rc ? rc : render(r, body, i + 1, false, &r->full, err);
    if (rc)
        return rc;
    struct str prompt = buf_str(&r->prompt), full = buf_str(&r->full), done = buf_str(&r->done);
    if (!str_starts(full, prompt))
        return error_set(err, ERROR_UNSUPPORTED,
            "the chat template writes message %zu otherwise than it asks for it: this model's template "
            "cannot be trained with",
            i);
    if (learned > 0 && !calls_are_written(message, str_slice(full, prompt.len, full.len)))
        return error_set(err, ERROR_UNSUPPORTED,
            "messages[%zu] calls a tool, which this model's chat template does not write: take a model whose "
            "template knows tools, or write the call as 'content'",
            i);
    if (*open && !str_starts(prompt, done)) {
        doc_end(r);
        *open = false;
    }
    if (!*open) {
        rc = doc_begin(r, err);
        done = STR_NONE;
        *open = true;
    }
    rc = rc ? rc : text_add(r, str_slice(prompt, done.len, prompt.len), 0, err);
    rc = rc ? rc : text_add(r, str_slice(full, prompt.len, full.len), learned, err);
    buf_clear(&r->done);
    buf_append_str(&r->done, full);
    return rc;
}

static int example_add(void *ctx, const json_t *body, struct error *err)
{
    struct reader *r = ctx;
    const json_t *messages = json_object_get(body, "messages");
    bool open = false;
    int rc = 0;
    r->into = r->second && rand_pcg_double(&r->random) < r->share ? r->second : r->data;
    for (size_t i = 0; i < json_array_size(messages) && rc == 0; i++)
        if (str_is(json_text(json_array_get(messages, i), "role"), "assistant"))
            rc = turn_add(r, body, i, &open, err);
    if (rc == 0 && open)
        doc_end(r);
    else if (rc == 0)
        r->into->nothing_to_learn++;
    return rc;
}

int data_read(const struct train_files *files, const struct train_text *text, int32_t context,
    struct train_data *d, struct train_data *second, double share, uint64_t seed, struct error *err)
{
    struct reader r = {.text = text, .data = d, .second = second, .context = context, .share = share};
    rand_pcg_seed(&r.random, seed);
    buf_init(&r.prompt, LIMIT_TEMPLATE_OUTPUT);
    buf_init(&r.full, LIMIT_TEMPLATE_OUTPUT);
    buf_init(&r.done, LIMIT_TEMPLATE_OUTPUT);
    d->most = context;
    int rc = data_each(files, example_add, &r, err);
    buf_free(&r.prompt);
    buf_free(&r.full);
    buf_free(&r.done);
    return rc;
}

void data_free(struct train_data *d)
{
    free(d->tokens);
    free(d->learned);
    free(d->starts);
    *d = (struct train_data){0};
}
