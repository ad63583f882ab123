/* The router: facts about a request, the first rule that matches, a decision. Pure: no I/O, no clock of its own.
 *
 *   chat_request + context --> facts (computed only if a rule asks) --> first matching rule --> route_decision
 *                                                                                               + egress permit
 *
 * A detector may tighten what leaves, never loosen it; an error in a detector means the local boundary. */
#ifndef WEIR_ROUTER_ROUTER_H
#define WEIR_ROUTER_ROUTER_H

#include "chat/chat.h"
#include "egress/egress.h"
#include "json/yaml.h"

/* ---- detect.c: sensitivity ---- */
enum router_category {
    ROUTER_PII = 1, ROUTER_PHI = 2, ROUTER_FINANCIAL = 4, ROUTER_SECRET = 8, ROUTER_LEGAL = 16, ROUTER_PROPRIETARY = 32,
    ROUTER_PERSONAL = 64
};
const char *router_category_name(enum router_category category);
unsigned router_category_from(struct str name); /* 0: unknown */

struct router_entity {
    const char *type;  /* "EMAIL_ADDRESS" */
    enum router_category category;
    size_t start, end; /* Unicode code points of the text given */
    double score;
    struct str where;  /* "messages[2].content"; empty for a bare text */
    const char *allowed; /* the owner's reason why it does not count (score 0); NULL: it does */
};
struct router_findings {
    struct router_entity *entities; /* in order; at most LIMIT_ENTITIES, `more` counts the rest */
    size_t n_entities, capacity, more;
    const char **more_types; /* sure ones among the rest, each once */
    size_t n_more_types;
    unsigned categories; /* mask */
    bool sensitive;
};
/* Once per process, before the first use (thread-safe to call again): compiles the patterns. */
int router_detect_init(struct error *err) MUST_USE;
/* Adds what `text` (UTF-8) holds. Entities live in the arena. Linear in the text. */
int router_detect(struct arena *a, struct str where, struct str text, struct router_findings *f, struct error *err) MUST_USE;
/* The same with the owner's own layer (NULL: none). */
struct detect_own;
int router_detect_own(const struct detect_own *own, struct arena *a, struct str where, struct str text,
    struct router_findings *f, struct error *err) MUST_USE;

/* ---- score.c, facts.c ---- */
/* The estimated probability (0..1) that a small local model will not do and a strong one will. */
double router_score(struct str prompt);
/* What a request asks, as its complexity is told by. */
struct str router_question(const struct chat_request *r);
/* How many tokens a request is, by an estimate that needs no tokenizer; a text's in thousandths. */
int64_t router_tokens(const struct chat_request *r);
int64_t router_text_millitokens(struct str text);
bool router_task_exists(struct str name);

/* ---- policy.c: the rule language, compiled once. ---- */
enum router_on_sensitive { ROUTER_SENSITIVE_LOCAL, ROUTER_SENSITIVE_REDACT, ROUTER_SENSITIVE_BLOCK, ROUTER_SENSITIVE_ALLOW };

struct router_masked;
struct router_context;

struct router_model {
    struct str name;
    bool inside;   /* embedded, or a provider of zone local */
    double quality; /* as the configuration has it, in any unit: higher is better; not positive: unknown */
    bool embedded;  /* the engine of this program: it tells how sure it is */
};
struct router_policy;
struct router_ahead;
struct router_cascade; /* doubt.h */
struct router_policy_options {
    const struct yaml_node *routes;     /* the configuration's list, or NULL */
    const struct router_model *models;  /* in order */
    size_t n_models;
    enum router_on_sensitive on_sensitive;
    struct str redact_key; /* what pseudonyms are made with; empty: random, the same in all of this process */
    unsigned redact_never; /* categories that stay inside even masked */
    const struct yaml_node *owner; /* the configuration's `owner` (detect_own.h), or NULL */
    /* Reads a file that `owner` names; NULL: there can be none. */
    int (*owner_file)(void *ctx, struct str path, size_t most, struct buf *out, struct error *err);
    void *owner_ctx;
    /* Reads the file that a `calibration` names into the arena; NULL: there can be none. */
    int (*calibration)(struct arena *a, struct str file, struct str *text, struct error *err);
};
/* Immutable, shared by threads; copies what it needs. Unknown conditions, models or operators are errors that name
 * the line. */
int router_policy_compile(const struct router_policy_options *o, struct router_policy **out, struct error *err) MUST_USE;
void router_policy_free(struct router_policy *p);
/* Routes that a sensitive request could leave by without any rule having asked, and what the owner's `allow` lets
 * pass: one line of warning each. */
void router_policy_warnings(const struct router_policy *p, void (*warn)(void *ctx, const char *line), void *ctx);
/* The owner's own layer; NULL: none. */
const struct detect_own *router_policy_own(const struct router_policy *p);
/* Does what stands beside a request (its headers, key, team) mark it as sensitive by the owner's word? */
bool router_policy_marked(const struct router_policy *p, const struct router_context *c);
size_t router_policy_n_routes(const struct router_policy *p);
struct str router_policy_route_name(const struct router_policy *p, size_t index);

/* ---- permit.c ---- */
/* For asking a provider whether it is there: a GET without a body. For a minute; the record's rule is "probe". */
const struct egress_permit *router_permit_probe(struct arena *a, int64_t mono_ms);
/* For fetching a model's file: a GET without a body, too. For a minute; the record's rule is "pull". */
const struct egress_permit *router_permit_pull(struct arena *a, int64_t mono_ms);
/* For sending spans, which hold no content, to a collector. For a minute; the record's rule is "telemetry". */
const struct egress_permit *router_permit_telemetry(struct arena *a, int64_t mono_ms);

/* ---- decide.c ---- */
struct router_context {
    struct str request_id;
    struct str key, team;      /* the caller's key name and team; empty: none */
    struct str caller;         /* its key's id, for two may have one name: what is remembered is each one's own */
    const struct str *tags;    /* of the header x-weir-tags */
    size_t n_tags;
    bool batch;
    bool boundary_local;       /* the client asked to stay inside */
    /* The request's header of that name, the index-th that came; STR_NONE: no more. NULL: there are none. */
    struct str (*header)(void *ctx, const char *name, int index);
    void *header_ctx;
    int64_t wall_ms, mono_ms;
    /* Facts that live elsewhere, asked only if a rule does. NULL: unknown, and a condition on it does not match.
     * A negative answer is "unknown" too. */
    double (*budget_left)(void *ctx);                    /* USD; infinite: no budget */
    double (*budget_share)(void *ctx);                   /* the least share that is left of one; 1: no budget */
    double (*local_queue)(void *ctx);                    /* requests waiting for the embedded engine */
    double (*latency_ms)(void *ctx, struct str model, int64_t tokens); /* likely time to the first token */
    double (*cost_usd)(void *ctx, struct str model, int64_t tokens);   /* likely cost of the whole answer */
    void *ctx;
    struct router_ahead **ahead; /* where long texts are noted instead of judged (ahead.h); NULL: nowhere */
};

struct route_decision {
    struct str request_id;
    struct str route;     /* the virtual model, or empty when the client named a model itself */
    struct str rule;      /* "named", "named-sensitive" or the rule's name */
    enum egress_boundary boundary;
    bool facts_sensitive; /* was sensitivity computed? then the next three hold */
    struct router_findings findings;
    double complexity;    /* NaN: not computed */
    const char *task;     /* NULL: not computed */
    int64_t tokens;       /* estimate; -1: not computed */
    struct str *targets;  /* model names, in order, all allowed by the boundary */
    size_t n_targets;
    struct str reason;    /* one sentence for people */
    int64_t hedge_ms;     /* without a first event by then the next target is asked as well; 0: not */
    const struct router_cascade *cascade; /* the first target answers first; where it is unsure the others do. NULL: no */
    bool cache;           /* the rule lets a complete answer be kept and given again */
    struct str *shadows;  /* shadow rules that matched before the one that decided */
    size_t n_shadows;
    const struct egress_permit *permit; /* in the arena; of the request as it came */
    const struct router_masked *masked; /* what goes to targets outside instead (redact.h); NULL: nothing is masked */
};
/* Everything in *out lives in the request's arena and is filled as far as it got also on error:
 * ERROR_NOT_FOUND no such model or route, or no rule matched; ERROR_DENIED on_sensitive: block;
 * ERROR_UNAVAILABLE nothing inside the boundary could answer. */
int router_decide(const struct router_policy *p, const struct chat_request *r, const struct router_context *c,
    struct route_decision *out, struct error *err) MUST_USE;
/* Decides by what an earlier decision wrote down (the contract's JSON, as the ledger keeps it) of a request for `model`
 * that is not there any more, or only in `kept` (NULL: not at all): then what it says is asked of it, and only what stood
 * beside it (tags, budget, queues) is unknown. Errors as of router_decide. */
struct router_again {
    bool told;      /* what was written down was enough; else a rule before the one that decided could not be told */
    bool checked;   /* sensitivity had been computed */
    bool sensitive; /* what was computed then, or now of what was kept */
    bool masked;    /* what leaves would be masked */
};
int router_decide_again(const struct router_policy *p, struct arena *a, struct str model, const json_t *decision,
    struct chat_request *kept, const struct router_context *c, struct route_decision *out, struct router_again *again,
    struct error *err) MUST_USE;
bool router_policy_is_inside(const struct router_policy *p, struct str model); /* false: no such model, too */
/* Decides with every fact known, whatever the rules need, and writes it out: the contract's members, then every fact
 * with its value, every rule with why it matches or not, the findings with their layer, and what each target is likely to cost and take. Where
 * nothing could be decided, `error` stands first and the same follows. `content`: the text of findings too. */
int router_explain(const struct router_policy *p, const struct chat_request *r, const struct router_context *c,
    bool content, struct route_decision *out, struct json_writer *w, struct error *err) MUST_USE;
/* The contract's JSON. */
void route_decision_write(const struct route_decision *d, struct json_writer *w);
/* {"type","start","end","score"}, and "where" unless it is empty. */
void router_entity_write(const struct router_entity *e, struct json_writer *w);
void router_error_write(const struct error *err, struct json_writer *w); /* the member "error" of an object */

#endif
