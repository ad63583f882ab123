#include "engine/worker/chat_template.h"

#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/limits.h"
#include "base/log.h"
#include "engine/worker/template.h"

struct chat_template {
    struct arena *arena;
    struct template *template;
    struct chat_template *with_tools; /* stands in where a conversation has tools; NULL: none does */
    struct error with_tools_error;    /* why none does, though the file has one */
    struct str bos, eos;
    const char *fallback;
    bool takes_parts;     /* content may be a list of parts */
    bool takes_text;      /* content may be a string */
    bool wants_content;   /* null, beside calls, is an error to it, and "" is none */
    bool knows_developer; /* the role "developer" */
};

/* ---- Fall-backs ---- */

#define REFUSE_TOOLS                                                                                         \
    "{% if tools %}{{ raise_exception('this model file has no chat template, so that it cannot be given "    \
    "tools: use a file that has one') }}{% endif %}"
#define EACH "{% for m in messages %}"
#define TEXT "{{ m.content or '' }}"
#define OPEN "{% endfor %}{% if add_generation_prompt %}"
#define CLOSE "{% endif %}"
/* A system message has no turn of its own: it goes before the first user's text. */
#define SYSTEM_FIRST                                                                                         \
    "{% set ns = namespace(system='') %}{% for m in messages %}{% if m.role == 'system' %}"                  \
    "{% set ns.system = m.content or '' %}{% endif %}{% endfor %}"

struct fallback {
    const char *name;
    const char *token;        /* a vocabulary with this token uses it */
    const char *architecture; /* ... or, where tokens tell nothing, a model whose architecture starts so */
    const char *source;
};

/* Tried in order. */
static const struct fallback fallbacks[] = {
    {"chatml", "<|im_start|>", "qwen",
        REFUSE_TOOLS EACH "<|im_start|>{{ m.role }}\n" TEXT "<|im_end|>\n" OPEN
                          "<|im_start|>assistant\n" CLOSE},
    {"llama-3", "<|start_header_id|>", NULL,
        REFUSE_TOOLS
        "{{ bos_token }}" EACH
        "<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ (m.content or '') | trim }}<|eot_id|>" OPEN
        "<|start_header_id|>assistant<|end_header_id|>\n\n" CLOSE},
    {"gemma", "<start_of_turn>", "gemma",
        REFUSE_TOOLS SYSTEM_FIRST
        "{{ bos_token }}" EACH
        "{% if m.role != 'system' %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
        "{% if ns.system and m.role == 'user' %}{{ ns.system + '\n\n' }}{% set ns.system = '' %}{% endif %}"
        "{{ (m.content or '') | trim }}<end_of_turn>\n{% endif %}" OPEN "<start_of_turn>model\n" CLOSE},
    {"command-r", "<|START_OF_TURN_TOKEN|>", "command-r",
        REFUSE_TOOLS
        "{{ bos_token }}" EACH
        "<|START_OF_TURN_TOKEN|>{{ '<|CHATBOT_TOKEN|>' if m.role == 'assistant' else '<|SYSTEM_TOKEN|>' if "
        "m.role == 'system' else '<|USER_TOKEN|>' }}{{ (m.content or '') | trim }}<|END_OF_TURN_TOKEN|>" OPEN
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>" CLOSE},
    {"phi-3", "<|end|>", "phi3",
        REFUSE_TOOLS EACH "<|{{ m.role }}|>\n" TEXT "<|end|>\n" OPEN "<|assistant|>\n" CLOSE},
    {"zephyr", "<|user|>", NULL,
        REFUSE_TOOLS EACH "<|{{ m.role }}|>\n" TEXT "{{ eos_token }}\n" OPEN "<|assistant|>\n" CLOSE},
    {"llama-2", "[INST]", NULL,
        REFUSE_TOOLS SYSTEM_FIRST EACH
        "{% if m.role == 'assistant' %}{{ ' ' ~ (m.content or '') ~ ' ' ~ eos_token }}"
        "{% elif m.role != 'system' %}{{ bos_token }}[INST] {% if ns.system %}"
        "{{ '<<SYS>>\n' + ns.system + '\n<</SYS>>\n\n' }}{% set ns.system = '' %}{% endif %}" TEXT
        " [/INST]{% endif %}{% endfor %}"},
    {"plain", NULL, NULL,
        REFUSE_TOOLS "{{ bos_token }}" EACH "{{ m.role }}: " TEXT "\n" OPEN "assistant:" CLOSE},
};

static const struct fallback *fallback_choose(const struct chat_template_setup *setup)
{
    const size_t n = sizeof fallbacks / sizeof fallbacks[0];
    for (size_t i = 0; i < n && setup->has_token; i++)
        if (fallbacks[i].token && setup->has_token(setup->ctx, str_from(fallbacks[i].token)))
            return &fallbacks[i];
    for (size_t i = 0; i < n && !setup->has_token; i++)
        if (fallbacks[i].architecture && str_starts(setup->architecture, str_from(fallbacks[i].architecture)))
            return &fallbacks[i];
    return &fallbacks[n - 1];
}

/* ---- What the template can take: found out by rendering a message that is easy to find again ---- */

static const char probe_text[] = "weir-probe-text";

static json_t *probe_body(bool parts)
{
    return parts ? json_pack("{s:[{s:s,s:[{s:s,s:s}]}]}", "messages", "role", "user", "content", "type",
                       "text", "text", probe_text)
                 : json_pack("{s:[{s:s,s:s}]}", "messages", "role", "user", "content", probe_text);
}

static int render_body(
    const struct chat_template *t, json_t *body, int64_t now_s, struct buf *out, struct error *err);

/* Is a message's text in the prompt, and the text alone? *refused: the template raised an error. */
static bool probe(const struct chat_template *t, bool parts, bool *refused)
{
    struct buf text;
    json_t *body = probe_body(parts);
    buf_init(&text, LIMIT_TEMPLATE_SOURCE);
    *refused = !body || render_body(t, body, 0, &text, NULL) != 0;
    struct str s = buf_str(&text);
    /* What cannot take parts apart prints them as Python or JSON would. */
    bool whole =
        str_find(s, STR("'text': 'weir")) == SIZE_MAX && str_find(s, STR("\"text\": \"weir")) == SIZE_MAX;
    bool found = !*refused && whole && str_find(s, str_from(probe_text)) != SIZE_MAX;
    buf_free(&text);
    json_decref(body);
    return found;
}

/* Can a message that only calls a tool be rendered with this content? */
static bool probe_call(const struct chat_template *t, const char *content)
{
    struct buf text;
    json_t *body = json_pack("{s:[{s:s,s:s},{s:s,s:s?,s:[{s:s,s:s,s:{s:s,s:{}}}]}]}", "messages", "role",
        "user", "content", probe_text, "role", "assistant", "content", content, "tool_calls", "id", "call_1",
        "type", "function", "function", "name", "f", "arguments");
    buf_init(&text, LIMIT_TEMPLATE_SOURCE);
    bool rendered = body && render_body(t, body, 0, &text, NULL) == 0;
    buf_free(&text);
    json_decref(body);
    return rendered;
}

static void abilities_find(struct chat_template *t, struct str source)
{
    bool refused;
    bool text = probe(t, false, &refused);
    t->takes_text = text || refused; /* an error may have other reasons: leave the usual form */
    t->takes_parts = probe(t, true, &refused);
    t->wants_content = !probe_call(t, NULL) && probe_call(t, "");
    t->knows_developer = str_find(source, STR("developer")) != SIZE_MAX;
}

/* A token may be bytes that are no text: a template cannot write it. */
static struct str text_or_none(struct str token)
{
    return str_utf8_valid(token) ? token : STR_NONE;
}

int chat_template_sources(const struct gguf *g, struct str *source, struct str *with_tools, struct error *err)
{
    int rc = gguf_get_str(g, "tokenizer.chat_template", STR_NONE, source, err);
    return rc ? rc : gguf_get_str(g, "tokenizer.chat_template.tool_use", STR_NONE, with_tools, err);
}

int chat_template_create(
    const struct chat_template_setup *setup, struct chat_template **out, struct error *err)
{
    struct arena *a = arena_create(LIMIT_TEMPLATE_SOURCE);
    struct chat_template *t = arena_new(a, struct chat_template);
    struct str source = setup->source;
    t->arena = a;
    if (arena_try_copy(a, text_or_none(setup->bos), &t->bos) ||
        arena_try_copy(a, text_or_none(setup->eos), &t->eos)) {
        arena_free(a);
        return error_set(err, ERROR_LIMIT, "the model's special tokens are too long to be true");
    }
    if (source.len == 0) {
        const struct fallback *f = fallback_choose(setup);
        t->fallback = f->name;
        source = str_from(f->source);
    }
    int rc = template_parse(source, &t->template, err);
    if (rc) {
        arena_free(a);
        return rc;
    }
    abilities_find(t, source);
    if (setup->with_tools.len > 0) {
        struct chat_template_setup more = *setup;
        more.source = setup->with_tools;
        more.with_tools = STR_NONE;
        if (chat_template_create(&more, &t->with_tools, &t->with_tools_error))
            log_warn("prompt", "the model's chat template for tools cannot be used: %s",
                t->with_tools_error.message);
    }
    *out = t;
    return 0;
}

void chat_template_free(struct chat_template *t)
{
    if (!t)
        return;
    chat_template_free(t->with_tools);
    template_free(t->template);
    arena_free(t->arena);
}

const char *chat_template_fallback(const struct chat_template *t)
{
    return t->fallback;
}

/* ---- Messages ---- */

static bool parts_are_text(const json_t *parts)
{
    size_t i;
    json_t *part;
    json_array_foreach(
        (json_t *)(uintptr_t)parts, i, part) if (!json_is_string(json_object_get(part, "text"))) return false;
    return true;
}

static json_t *parts_join(const json_t *parts)
{
    struct buf text;
    size_t i;
    json_t *part;
    buf_init(&text, LIMIT_HTTP_BODY);
    json_array_foreach((json_t *)(uintptr_t)parts, i, part)
    {
        if (i > 0)
            buf_append_char(&text, '\n');
        buf_append_str(&text, json_text(part, "text"));
    }
    json_t *joined = text.failed ? NULL : json_stringn(text.data ? text.data : "", text.len);
    buf_free(&text);
    return joined;
}

/* Gives the content the form that the template reads. */
static int content_adapt(const struct chat_template *t, json_t *message, size_t index, struct error *err)
{
    json_t *content = json_object_get(message, "content"), *other = NULL;
    if (json_is_array(content) && !t->takes_parts) {
        if (!parts_are_text(content))
            return error_set(err, ERROR_UNSUPPORTED,
                "messages[%zu] has parts that are not text, and the model's chat template has no place for "
                "them: "
                "leave them out or use a model that takes them",
                index);
        other = parts_join(content);
    } else if (json_is_string(content) && !t->takes_text && t->takes_parts) {
        other = json_pack("[{s:s,s:O}]", "type", "text", "text", content);
    } else if ((!content || json_is_null(content)) && t->wants_content) {
        other = json_string("");
    } else {
        return 0;
    }
    if (!other || json_object_set_new(message, "content", other) != 0)
        return error_set(err, ERROR_MEMORY, "no memory for the conversation: shorten it");
    return 0;
}

/* Arguments as text become the object they spell. *changed tells whether any did. */
static void arguments_adapt(json_t *message, bool *changed)
{
    size_t i;
    json_t *call, *tree;
    json_array_foreach(json_object_get(message, "tool_calls"), i, call)
    {
        json_t *function = json_object_get(call, "function");
        if (!function)
            function = call;
        json_t *arguments = json_object_get(function, "arguments");
        if (!json_is_string(arguments) || json_read(json_str(arguments), &tree, NULL) != 0)
            continue;
        if (json_is_object(tree)) {
            json_object_set(function, "arguments", tree);
            *changed = true;
        }
        json_decref(tree);
    }
}

/* A copy of the messages in the form that the template reads. */
static int messages_adapt(const struct chat_template *t, const json_t *messages, bool expand, bool *changed,
    json_t **out, struct error *err)
{
    json_t *copy = json_deep_copy(messages), *message;
    size_t i;
    int rc = copy ? 0 : error_set(err, ERROR_MEMORY, "no memory for the conversation: shorten it");
    json_array_foreach(copy, i, message)
    {
        if (!json_is_object(message))
            rc = error_set(err, ERROR_INVALID, "messages[%zu] must be an object", i);
        if (rc == 0)
            rc = content_adapt(t, message, i, err);
        if (rc)
            break;
        if (expand)
            arguments_adapt(message, changed);
        if (!t->knows_developer && str_is(json_text(message, "role"), "developer"))
            json_object_set_new(message, "role", json_string("system"));
    }
    if (rc)
        json_decref(copy);
    else
        *out = copy;
    return rc;
}

/* ---- Rendering ---- */

static int digits(const char **p, int count, int64_t *out)
{
    *out = 0;
    for (int i = 0; i < count; i++, (*p)++) {
        if (**p < '0' || **p > '9')
            return -1;
        *out = *out * 10 + (**p - '0');
    }
    return 0;
}

/* "2026-11-20", "2026-11-20T12:00" or "2026-11-20T12:00:00", with or without fractions and a Z. */
static bool time_read(const char *text, int64_t *out)
{
    static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    int64_t year, month, day, hour = 0, minute = 0, second = 0;
    const char *p = text;
    if (digits(&p, 4, &year) || *p++ != '-' || digits(&p, 2, &month) || *p++ != '-' || digits(&p, 2, &day))
        return false;
    if (*p == 'T' || *p == ' ') {
        p++;
        if (digits(&p, 2, &hour) || *p++ != ':' || digits(&p, 2, &minute))
            return false;
        if (*p == ':' && (p++, digits(&p, 2, &second)))
            return false;
        if (*p == '.')
            p += 1 + strspn(p + 1, "0123456789");
    }
    if (*p == 'Z')
        p++;
    if (*p || year < 1 || month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 ||
        second > 60)
        return false;
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    int64_t past = year - 1, days = past * 365 + past / 4 - past / 100 + past / 400;
    days += before[month - 1] + (month > 2 && leap) + day - 1;
    *out = (days - 719162) * 86400 + hour * 3600 + minute * 60 + second;
    return true;
}

/* Members of a request that are no values of a template. */
static bool is_parameter(const char *key)
{
    static const char *const names[] = {"model", "stream", "stream_options", "temperature", "top_p", "top_k",
        "min_p", "max_tokens", "max_completion_tokens", "stop", "n", "seed", "user", "logprobs",
        "top_logprobs", "presence_penalty", "frequency_penalty", "repeat_penalty", "logit_bias",
        "response_format", "store", "metadata", "now", "template", "chat_template", "chat_template_kwargs"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(key, names[i]) == 0)
            return true;
    return false;
}

static int value_default(json_t *values, const char *key, json_t *fallback)
{
    if (!json_object_get(values, key))
        return json_object_set_new(values, key, fallback);
    json_decref(fallback);
    return 0;
}

/* The variables that the template sees. */
static json_t *values_create(const struct chat_template *t, const json_t *body)
{
    json_t *values = json_object(), *member, *more = json_object_get(body, "chat_template_kwargs");
    const char *key;
    int failed = !values;
    json_object_foreach((json_t *)(uintptr_t)body, key, member) if (!is_parameter(key)) failed |=
        json_object_set(values, key, member);
    json_object_foreach(more, key, member) failed |= json_object_set(values, key, member);
    failed |= value_default(values, "add_generation_prompt", json_true());
    failed |= value_default(values, "bos_token", json_stringn(t->bos.data, t->bos.len));
    failed |= value_default(values, "eos_token", json_stringn(t->eos.data, t->eos.len));
    if (!failed)
        return values;
    json_decref(values);
    return NULL;
}

static int render_body(
    const struct chat_template *t, json_t *body, int64_t now_s, struct buf *out, struct error *err)
{
    json_t *values = values_create(t, body);
    if (!values)
        return error_set(err, ERROR_MEMORY, "no memory for the conversation: shorten it");
    int rc = template_render(t->template, values, now_s, out, err);
    json_decref(values);
    return rc;
}

/* Renders with the messages adapted; `expand`: arguments as objects. */
static int render_adapted(const struct chat_template *t, const json_t *body, int64_t now_s, bool expand,
    bool *changed, struct buf *out, struct error *err)
{
    json_t *messages, *copy;
    int rc = messages_adapt(t, json_object_get(body, "messages"), expand, changed, &messages, err);
    if (rc)
        return rc;
    copy = json_copy((json_t *)(uintptr_t)body);
    if (json_object_set_new(copy, "messages", messages) != 0) /* takes the messages whatever comes of it */
        rc = error_set(err, ERROR_MEMORY, "no memory for the conversation: shorten it");
    if (rc == 0)
        rc = render_body(t, copy, now_s, out, err);
    json_decref(copy);
    return rc;
}

int chat_template_render(
    const struct chat_template *t, const json_t *body, int64_t now_s, struct buf *out, struct error *err)
{
    const json_t *messages = json_object_get(body, "messages");
    bool changed = false;
    struct str now;
    if (!json_is_array(messages) || json_array_size(messages) > LIMIT_MESSAGES)
        return error_set(
            err, ERROR_INVALID, "'messages' must be a list of at most %d messages", LIMIT_MESSAGES);
    if (json_array_size(json_object_get(body, "tools")) > 0) {
        if (t->with_tools_error.code)
            return error_set(err, t->with_tools_error.code, "%s", t->with_tools_error.message);
        t = t->with_tools ? t->with_tools : t;
    }
    int rc = json_get_str(body, "now", &now, err);
    if (rc)
        return rc;
    if (now.data && !time_read(now.data, &now_s))
        return error_set(err, ERROR_INVALID, "'now' must be a time such as 2026-11-20T12:00:00Z");
    rc = render_adapted(t, body, now_s, true, &changed, out, err);
    if (rc != ERROR_INVALID || !changed)
        return rc;
    /* Some templates add the arguments to text and cannot take an object; where both fail, the first says
     * why. */
    bool again = false;
    return render_adapted(t, body, now_s, false, &again, out, NULL) == 0 ? 0 : rc;
}
