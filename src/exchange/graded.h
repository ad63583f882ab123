/* Answers that those who got them may still grade (POST /v1/feedback): of the newest what `weir calibrate`
 * wants to know, and no text.
 *
 *   an answer is settled --> graded_add: a ring of GRADED_MOST, the oldest goes
 *   its client grades it --> graded_grade: a line of JSON at the end of a file
 *
 * Thread-safe. */
#ifndef WEIR_EXCHANGE_GRADED_H
#define WEIR_EXCHANGE_GRADED_H

#include "router/calibrate.h"

enum { GRADED_MOST = 8192, GRADED_TIMES = 8 /* so often may one answer be graded */ };

struct graded_answer {
    struct str request_id, key_id; /* who may grade it; empty with auth: none */
    struct str row_id;             /* its own in the ledger: clients may use a request id twice */
    struct str route, model;       /* who answered */
    struct str local;              /* whose doubt this is; empty: nobody's */
    struct doubt doubt;
    struct calibrate_prompt prompt;
    int64_t cost_nano_usd; /* -1 unknown */
};

struct graded;
struct graded *graded_create(void);
void graded_free(struct graded *g); /* NULL is allowed */
void graded_add(struct graded *g, const struct graded_answer *answer);
/* Appends {"time", "request_id" (of the ledger), "route", "scores": {MODEL: score}, "cost_usd", "asked",
 * "measured"} to the file. ERROR_NOT_FOUND: that key has got no such answer of late. ERROR_INVALID: it was
 * graded too often. */
int graded_grade(struct graded *g, struct str request_id, struct str key_id, double score, struct str file,
    struct error *err) MUST_USE;

#endif
