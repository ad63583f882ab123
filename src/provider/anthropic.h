/* What the files anthropic*.c share. */
#ifndef WEIR_PROVIDER_ANTHROPIC_H
#define WEIR_PROVIDER_ANTHROPIC_H

#include "provider/dialect.h"

/* Where JSON is asked for and the model knows no format: a tool it must call, whose input is the answer. */
#define PROVIDER_ANTHROPIC_ANSWER_TOOL "answer_in_json"

/* ---- anthropic_settings.c: what OpenAI's words for reasoning and format become. ---- */
struct provider_anthropic_plan {
    const json_t *schema; /* of output_config.format; NULL: none */
    const json_t *answer; /* of the answer tool; NULL: no such tool */
    bool any_object;      /* the answer tool takes any object */
    const char *effort;   /* of output_config, with adaptive thinking; NULL: none */
    int64_t budget;       /* of thinking; 0: no thinking */
    int64_t max_tokens;
};
int provider_anthropic_plan(const struct provider_model *m, const struct chat_request *r,
    struct provider_anthropic_plan *out, struct error *err) MUST_USE;
/* Only `effort` and `budget`; `max_tokens` is set. */
int provider_anthropic_plan_reasoning(const struct provider_model *m, const struct chat_request *r,
    struct provider_anthropic_plan *p, struct error *err) MUST_USE;
int64_t provider_anthropic_max_tokens(const struct provider_model *m, const struct chat_request *r);
/* Writes `thinking`, `output_config` where they are planned. */
void provider_anthropic_plan_write(struct json_writer *w, const struct provider_anthropic_plan *p);

/* Writes the members `system` and `messages`. */
int provider_anthropic_messages(
    struct json_writer *w, const struct chat_request *r, struct error *err) MUST_USE;
/* Writes all members of an object, or none for NULL. */
void provider_anthropic_rest(struct json_writer *w, const json_t *object);
/* Passes on the member `cache_control` of a part or tool, if it has one. */
void provider_anthropic_cache_control(struct json_writer *w, const json_t *raw);

#endif
