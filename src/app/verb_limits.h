/* Limits on the command line: what `weir keys` and `weir teams` have in common. */
#ifndef WEIR_APP_VERB_LIMITS_H
#define WEIR_APP_VERB_LIMITS_H

#include "app/verbs.h"
#include "govern/budget.h"

struct verb_limits {
    const char *budget, *requests, *tokens, *parallel, *models;
};
#define VERB_LIMITS_OPTIONS(l)                                                                               \
    {"budget", &(l)->budget, NULL}, {"requests", &(l)->requests, NULL}, {"tokens", &(l)->tokens, NULL},      \
        {"parallel", &(l)->parallel, NULL},                                                                  \
    {                                                                                                        \
        "models", &(l)->models, NULL                                                                         \
    }
#define VERB_LIMITS_HELP                                                                                     \
    "  --budget B       US dollars that may be spent: 10/day,100/month; 250 is in all; none. Days, weeks\n"  \
    "                   (from Monday) and months are UTC's. What runs here costs nothing and goes on\n"      \
    "  --requests N     requests a minute, or none\n"                                                        \
    "  --tokens N       tokens a minute, prompt and answer, or none\n"                                       \
    "  --parallel N     requests at a time, or none\n"                                                       \
    "  --models A,B     what may be asked for: models and routes, gpt-4* too; or all\n"

bool verb_limits_given(const struct verb_limits *o);
/* Puts what is given in the place of what `l` says; its strings point into the options. */
int verb_limits_read(const struct verb_limits *o, struct store_limits *l, struct error *err) MUST_USE;
/* Two cells and the end of a line: "0.42 of 10.00/day", "60 requests a minute". */
void verb_limits_print(const struct budget_view *v);

#endif
