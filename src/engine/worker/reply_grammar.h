/* What an answer must follow, as GBNF in the model's own syntax: reasoning, calls of the request's tools, an
 * answer by a schema. Everything is said by the grammar itself, so that it holds wherever tokens are cut. */
#ifndef WEIR_ENGINE_WORKER_REPLY_GRAMMAR_H
#define WEIR_ENGINE_WORKER_REPLY_GRAMMAR_H

#include "base/buf.h"
#include "base/error.h"
#include "engine/worker/reply_syntax.h"
#include "json/json.h"

#define REPLY_GRAMMAR_ROOT STR("weir-root")

struct reply_ask {
    struct reply_form form;
    const json_t *tools;  /* the request's list; NULL: none */
    bool must_call;       /* the answer is a call */
    bool may_call;        /* the answer is text, or what `schema` says, or calls */
    bool one_call;        /* at most one */
    struct str call_name; /* of this tool; STR_NONE: of any */
    const json_t *schema; /* of the answer's text; NULL: any */
    bool own_root;        /* ... or the rule `root`, which `out` has already */
    bool inside;          /* the prompt ends in open reasoning */
    bool may_reason;      /* the answer may begin with it */
    /* The id of a special token that is spelled so, or -1. */
    int32_t (*special)(const void *ctx, struct str text);
    const void *ctx;
};

/* Appends rules of which REPLY_GRAMMAR_ROOT is the root. */
int reply_grammar_write(const struct reply_ask *ask, struct buf *out, struct error *err) MUST_USE;

#endif
