/* The compiled rules; private to the router.
 *
 *   policy -> routes -> rules -> when (a tree) + targets
 *
 *   when ALL   every child holds (the keys of one map)
 *        ANY   one child holds (`any:`)
 *        NOT   its child does not (`not:`)
 *        else  a test of one fact
 *
 * A test answers yes, no or unknown (a fact that nobody can tell); unknown passes through `not`, and a rule
 * whose condition is unknown does not match. */
#ifndef WEIR_ROUTER_POLICY_H
#define WEIR_ROUTER_POLICY_H

#include "router/doubt.h"
#include "router/facts.h"
#include "router/redact.h"

enum when_kind {
    WHEN_ALL,
    WHEN_ANY,
    WHEN_NOT,
    WHEN_BOOL,
    WHEN_NUMBER,
    WHEN_WORDS,
    WHEN_CATEGORIES,
    WHEN_TIME
};
enum when_sign { WHEN_LESS, WHEN_LESS_EQUAL, WHEN_GREATER, WHEN_GREATER_EQUAL, WHEN_EQUAL, WHEN_NOT_EQUAL };
enum when_answer { WHEN_UNKNOWN = -1, WHEN_NO = 0, WHEN_YES = 1 };

enum when_fact {
    WHEN_BATCH,
    WHEN_KEY,
    WHEN_TEAM,
    WHEN_TAG,
    WHEN_CLOCK,
    WHEN_TOOLS,
    WHEN_IMAGES,
    WHEN_AUDIO,
    WHEN_FILES, /* free */
    WHEN_BUDGET_LEFT,
    WHEN_LOCAL_QUEUE, /* a look-up */
    WHEN_LANGUAGE,
    WHEN_TASK,
    WHEN_COMPLEXITY, /* the question's text */
    WHEN_TOKENS,
    WHEN_LATENCY_MS,
    WHEN_COST_USD, /* predicted from the tokens */
    WHEN_SENSITIVE,
    WHEN_CATEGORY,
    WHEN_ENTITY /* all of the text */
};

/* "mon-fri 22:00-06:00 UTC"; a span over midnight belongs to the day it begins. */
struct when_span {
    unsigned days; /* bit 0: Sunday */
    int from, to;  /* minutes of the day; to <= from: over midnight */
    bool utc;      /* else the gateway's own time zone */
};

struct when {
    enum when_kind kind;
    enum when_fact fact;
    int cost; /* the dearest fact in it; children stand in order of it, so that dear facts are asked last */
    const char *key;  /* as the rule calls it: "complexity" */
    struct str wants; /* as the rule says it: ">= 0.6" */
    struct when *first, *next;
    union {
        bool expected;
        unsigned categories;
        struct {
            enum when_sign sign;
            double value;
            bool threshold; /* of the route's calibration, instead of `value` */
            bool share;     /* of budget_left: `value` is a share of the budget, not dollars */
        } number;
        struct {
            struct str *word;
            size_t n;
        } words;
        struct when_span span;
    };
};

/* In which order a rule's targets are asked: as written, or what is said of each, unknown ones last. */
enum policy_pick { PICK_WRITTEN, PICK_CHEAPEST, PICK_FASTEST, PICK_BEST };

struct policy_rule {
    struct str name;
    int line;
    struct when *when; /* NULL: always */
    size_t *targets;   /* indexes of models */
    size_t n_targets;
    enum policy_pick pick;
    bool shadow; /* asked and counted, but it decides nothing */
    bool local;  /* boundary: local */
    bool redact; /* what is sensitive leaves masked, or not at all */
    int64_t hedge_ms;
    struct router_cascade *cascade; /* NULL: none */
    bool cache;
};

struct policy_route {
    struct str name;
    int line;
    struct router_calibration *calibration; /* of its complexity; NULL: as built in */
    struct policy_rule *rules;
    size_t n_rules;
};

struct router_policy {
    struct arena *arena;
    struct router_model *models;
    size_t n_models;
    struct policy_route *routes;
    size_t n_routes;
    enum router_on_sensitive on_sensitive;
    struct router_redact_options redact;
    struct detect_own *own; /* NULL: none */
};

/* when.c */
int when_compile(struct arena *a, const struct yaml_node *map, struct when **out, struct error *err) MUST_USE;
/* when_match.c; `first`: the rule's first target, whose latency or cost a condition asks for. */
enum when_answer when_match(const struct when *w, struct facts *f, struct str first);
/* A number as the condition sees it; NaN: nobody knows. */
double when_number(const struct when *w, struct facts *f, struct str first);
bool when_bool(const struct when *w, struct facts *f);
/* policy.c: what is sensitive stays with the models inside, although the rule does not say so. */
bool policy_cascade_stays(const struct router_policy *p, const struct policy_rule *rule);
enum when_answer policy_rule_match(
    const struct router_policy *p, const struct policy_rule *rule, struct facts *f);

#endif
