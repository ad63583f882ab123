/* Chat templates: a bounded interpreter for the part of Jinja2 (jinja.palletsprojects.com/templates) that model
 * files use, as Hugging Face's transformers sets it up: trim_blocks, lstrip_blocks, loop controls, `tojson`
 * without ASCII escapes, raise_exception, strftime_now. Template and values are untrusted: steps, output and
 * recursion are limited, and nothing in a template can reach outside its values. */
#ifndef WEIR_ENGINE_WORKER_TEMPLATE_H
#define WEIR_ENGINE_WORKER_TEMPLATE_H

#include "base/buf.h"
#include "base/error.h"
#include "base/str.h"
#include "json/json.h"

struct template;

/* Parses the source; the error names the line. The source is copied. */
int template_parse(struct str source, struct template **out, struct error *err) MUST_USE;
void template_free(struct template *t); /* NULL is allowed */

/* Renders with the members of the object `values` as global variables (messages, tools, documents,
 * add_generation_prompt, bos_token, eos_token, ... whatever the caller puts in). `now_s`: seconds since 1970 UTC,
 * what strftime_now formats. Appends to `out`, whose max bounds the output. ERROR_INVALID when the template
 * raises an exception (its message is passed on) or uses what it must not. */
int template_render(const struct template *t, const json_t *values, int64_t now_s, struct buf *out,
    struct error *err) MUST_USE;

#endif
