#include "api/openai_plain.h"

#include <math.h>

#include "base/limits.h"
#include "chat/chat_sampling.h"
#include "json/json_view.h"

enum { BODY_MOST = 256 * KIB };
#define NAME(literal)                                                                                        \
    {                                                                                                        \
        literal, sizeof literal - 1                                                                          \
    }

/* Which of `names` it is; SIZE_MAX: none, or one of those `seen` (a bit each). */
static size_t name_take(struct str key, const struct str *names, size_t n, unsigned *seen)
{
    for (size_t i = 0; i < n; i++) {
        if (!str_eq(key, names[i]))
            continue;
        bool twice = *seen >> i & 1;
        *seen |= 1u << i;
        return twice ? SIZE_MAX : i;
    }
    return SIZE_MAX;
}

/* ---- Is it plain? ---- */

/* A tool's message names a call. */
static bool role_find(struct str name, enum chat_role *out)
{
    return chat_role_find(name, out) && *out != CHAT_TOOL;
}

static bool message_is_plain(const struct json_item *item)
{
    enum { ROLE, CONTENT, CALLED, N_NAMES, NEEDED = 1 << ROLE | 1 << CONTENT };
    static const struct str names[N_NAMES] = {NAME("role"), NAME("content"), NAME("name")};
    unsigned seen = 0;
    enum chat_role role;
    if (!json_item_is(item, JSON_ITEM_OBJECT) || item->n == 0)
        return false;
    for (const struct json_item *i = item + 1; i; i = json_item_next(item, i))
        if (!json_item_is(i, JSON_ITEM_STRING) || name_take(i->key, names, N_NAMES, &seen) == SIZE_MAX)
            return false;
    return (seen & NEEDED) == NEEDED && role_find(json_item_text(item, "role"), &role);
}

static bool messages_are_plain(const struct json_item *list)
{
    size_t n = json_item_length(list);
    json_item_each(item, list) {
        if (!message_is_plain(item))
            return false;
    }
    return n > 0 && n <= LIMIT_MESSAGES;
}

struct plain {
    struct str model, user;
    const struct json_item *messages;
    struct chat_sampling sampling;
    int64_t max_tokens, max_completion_tokens; /* 0: unset */
    bool stream, include_usage;
};

static bool text_take(const struct json_item *item, struct str *out)
{
    *out = json_item_str(item);
    return json_item_is(item, JSON_ITEM_STRING);
}

static bool switch_take(const struct json_item *item, bool *out)
{
    *out = json_item_is(item, JSON_ITEM_TRUE);
    return *out || json_item_is(item, JSON_ITEM_FALSE);
}

static bool limit_take(const struct json_item *item, int64_t *out)
{
    return json_item_int(item, out) && *out >= 1 && *out <= INT32_MAX;
}

static bool options_take(const struct json_item *item, struct plain *p)
{
    return json_item_is(item, JSON_ITEM_OBJECT) && item->n == 1 && str_is(item[1].key, "include_usage") &&
           switch_take(&item[1], &p->include_usage);
}

static bool sampling_take(
    const struct json_item *item, const char *name, double least, double most, struct plain *p)
{
    double value;
    bool usual = json_item_double(item, &value) && (value < 0 || !signbit(value)); /* "-0" may be whole */
    return usual && value >= least && value <= most && chat_sampling_set(&p->sampling, name, value);
}

enum {
    MODEL,
    MESSAGES,
    STREAM,
    STREAM_OPTIONS,
    MAX_TOKENS,
    MAX_COMPLETION_TOKENS,
    TEMPERATURE,
    TOP_P,
    PRESENCE_PENALTY,
    FREQUENCY_PENALTY,
    USER,
    N_MEMBERS,
    NEEDED = 1 << MODEL | 1 << MESSAGES
};
static const struct str members[N_MEMBERS] = {NAME("model"), NAME("messages"), NAME("stream"),
    NAME("stream_options"), NAME("max_tokens"), NAME("max_completion_tokens"), NAME("temperature"),
    NAME("top_p"), NAME("presence_penalty"), NAME("frequency_penalty"), NAME("user")};

static bool takes(struct str key)
{
    unsigned seen = 0;
    return name_take(key, members, N_MEMBERS, &seen) < N_MEMBERS;
}

static bool member_take(size_t which, const struct json_item *item, struct plain *p)
{
    switch (which) {
    case MODEL:
        return text_take(item, &p->model) && p->model.len > 0 && p->model.len <= LIMIT_MODEL_NAME;
    case MESSAGES:
        p->messages = item;
        return messages_are_plain(item);
    case STREAM:
        return switch_take(item, &p->stream);
    case STREAM_OPTIONS:
        return options_take(item, p);
    case MAX_TOKENS:
        return limit_take(item, &p->max_tokens);
    case MAX_COMPLETION_TOKENS:
        return limit_take(item, &p->max_completion_tokens);
    case TEMPERATURE:
        return sampling_take(item, "temperature", 0, 2, p);
    case TOP_P:
        return sampling_take(item, "top_p", 0, 1, p);
    case PRESENCE_PENALTY:
        return sampling_take(item, "presence_penalty", -2, 2, p);
    case FREQUENCY_PENALTY:
        return sampling_take(item, "frequency_penalty", -2, 2, p);
    case USER:
        return text_take(item, &p->user);
    default:
        return false;
    }
}

static bool plain_take(const struct json_item *root, struct plain *p)
{
    unsigned seen = 0;
    *p = (struct plain){0};
    chat_sampling_init(&p->sampling);
    if (!json_item_is(root, JSON_ITEM_OBJECT) || root->n == 0)
        return false;
    for (const struct json_item *i = root + 1; i; i = json_item_next(root, i))
        if (!member_take(name_take(i->key, members, N_MEMBERS, &seen), i, p))
            return false;
    return (seen & NEEDED) == NEEDED;
}

/* ---- Then it is a request. ---- */

/* STR_NONE stays what it is. */
static bool text_copy(struct arena *a, struct str text, struct str *out)
{
    *out = STR_NONE;
    return !text.data || arena_try_copy(a, text, out) == 0;
}

static bool message_make(struct arena *a, const struct json_item *item, struct chat_message *m)
{
    m->parts = arena_try_array(a, struct chat_part, 1);
    m->n_parts = 1;
    return role_find(json_item_text(item, "role"), &m->role) && m->parts &&
           text_copy(a, json_item_text(item, "content"), &m->parts[0].text) &&
           text_copy(a, json_item_text(item, "name"), &m->name);
}

static bool request_make(struct arena *a, const struct plain *p, struct chat_request *r)
{
    r->sampling = p->sampling;
    r->stream = p->stream;
    r->include_usage = p->include_usage;
    r->max_tokens = p->max_completion_tokens ? p->max_completion_tokens
                    : p->max_tokens          ? p->max_tokens
                                             : r->max_tokens;
    r->messages = arena_try_array(a, struct chat_message, json_item_length(p->messages));
    if (!r->messages || !text_copy(a, p->model, &r->model) || !text_copy(a, p->user, &r->user))
        return false;
    json_item_each(item, p->messages) {
        if (!message_make(a, item, &r->messages[r->n_messages++]))
            return false;
    }
    return true;
}

int api_openai_plain_read(struct arena *a, struct str body, struct chat_request **out, struct error *err)
{
    struct json_view view;
    const struct json_item *root;
    struct plain plain;
    struct error ignored;
    int rc = 0;
    *out = NULL;
    if (body.len > BODY_MOST)
        return 0;
    json_view_init(&view);
    view.takes = takes;
    if (json_view_read(&view, body, &root, &ignored) == 0 && plain_take(root, &plain)) {
        *out = chat_request_create(a);
        if (!request_make(a, &plain, *out))
            rc = error_set(err, ERROR_MEMORY, "no memory for the request");
    }
    json_view_free(&view);
    return rc;
}
