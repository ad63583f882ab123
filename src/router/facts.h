/* What the rules ask about a request. Each fact is computed when first asked and then remembered. */
#ifndef WEIR_ROUTER_FACTS_H
#define WEIR_ROUTER_FACTS_H

#include "router/detect_memo.h"

enum facts_have {
    FACTS_FINDINGS = 1,
    FACTS_COMPLEXITY = 2,
    FACTS_TOKENS = 4,
    FACTS_TASK = 8,
    FACTS_LANGUAGE = 16,
    FACTS_MEDIA = 32,
    FACTS_QUESTION = 64
};

struct router_calibration;

struct facts {
    const struct chat_request *request;
    const struct router_calibration *calibration; /* of the complexity, where the route has one */
    const struct router_context *context;
    const struct detect_own *own; /* the owner's own layer of the detector; NULL: none */
    struct str caller;            /* whose texts these are (detect_memo.h) */
    unsigned have;                /* mask of enum facts_have */
    unsigned unknown;             /* mask of 1 << enum when_fact: nobody can tell them any more (again.c) */
    bool masked;                  /* then also: what leaves would have been masked */
    bool undecided;               /* a rule could not be told for that */
    struct router_findings findings;
    bool detector_failed; /* then the request counts as sensitive and stays inside */
    char failure[160];
    struct str question;            /* what complexity, task and language are read of */
    struct detect_memo_place asked; /* where that stands, once it was looked at */
    double complexity;
    int64_t tokens;
    const char *task, *language;
    bool images, audio, files;
};

void facts_init(struct facts *f, const struct detect_own *own, const struct chat_request *r,
    const struct router_context *c);
const struct router_findings *facts_findings(struct facts *f);
double facts_complexity(struct facts *f);
int64_t facts_tokens(struct facts *f);
const char *facts_task(struct facts *f);
const char *facts_language(struct facts *f); /* "en" ... or "other" */
bool facts_images(struct facts *f);
bool facts_audio(struct facts *f);
bool facts_files(struct facts *f);
bool facts_tools(const struct facts *f);
/* What the request is likely to cost at a model, and how long until its first token; negative: nobody knows.
 */
double facts_cost_usd(struct facts *f, struct str model);
double facts_latency_ms(struct facts *f, struct str model);

/* ---- language.c ---- */
const char *facts_language_of(struct str text);
bool facts_language_exists(struct str code);
extern const char *const facts_languages[]; /* NULL-terminated */
/* ---- task.c ---- */
/* chat code math summarize extract classify translate rag agent; embed and rerank where that is what is
 * asked. */
const char *facts_task_of(const struct chat_request *r, struct str question);
extern const char *const facts_tasks[]; /* NULL-terminated */
/* The text that says what is wanted: the last user message's text parts joined, or the prompt. In the
 * request's arena where it must be joined; at most `most` bytes. */
struct str facts_question(const struct chat_request *r, size_t most);

#endif
