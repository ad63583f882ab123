/* From a conversation in OpenAI's form to the text that a model continues: the model's own chat template, or
 * a fall-back chosen by the special tokens that its vocabulary has. */
#ifndef WEIR_ENGINE_WORKER_CHAT_TEMPLATE_H
#define WEIR_ENGINE_WORKER_CHAT_TEMPLATE_H

#include "base/buf.h"
#include "base/error.h"
#include "base/str.h"
#include "engine/worker/gguf.h"
#include "json/json.h"

struct chat_template;

struct chat_template_setup {
    struct str source;       /* the file's template; empty: it has none */
    struct str with_tools;   /* its other one, where there are tools; empty: `source` is for these, too */
    struct str architecture; /* general.architecture, may be empty */
    struct str bos, eos;     /* as the vocabulary spells them, may be empty */
    /* Does the vocabulary have this token? NULL: it is not known. */
    bool (*has_token)(void *ctx, struct str text);
    void *ctx;
};

/* What a file has of them; empty where it has none. */
int chat_template_sources(
    const struct gguf *g, struct str *source, struct str *with_tools, struct error *err) MUST_USE;

/* Everything in `setup` is copied. ERROR_INVALID names the line where the source cannot be read; what is
 * wrong with the one for tools is told to who brings tools. */
int chat_template_create(
    const struct chat_template_setup *setup, struct chat_template **out, struct error *err) MUST_USE;
void chat_template_free(struct chat_template *t); /* NULL is allowed */

/* Which fall-back is used ("chatml", "llama-3", "gemma", ... "plain"), or NULL: the model's own template. */
const char *chat_template_fallback(const struct chat_template *t);

/* Appends the prompt for `body`, an object with `messages` and maybe `tools`, `documents`, whatever else the
 * template reads, and `chat_template_kwargs`, an object of more such values. add_generation_prompt is true
 * unless the body says otherwise; `bos_token`, `eos_token` and `now` (ISO 8601) stand in for the setup's and
 * for `now_s` (seconds since 1970). What differs between OpenAI's form and what templates are written for is
 * brought into line:
 *   - tool_calls' arguments that are the text of a JSON object become the object; they stay text for a
 * template that cannot take the object
 *   - content in parts becomes text, and text becomes a part, for a template that reads only the other form
 *   - the role "developer" becomes "system" for a template that does not know it
 * ERROR_INVALID: the body is malformed or the template refuses it, in its own words. ERROR_UNSUPPORTED:
 * content or tools that it has no place for. On error nothing is appended. */
int chat_template_render(const struct chat_template *t, const json_t *body, int64_t now_s, struct buf *out,
    struct error *err) MUST_USE;

#endif
