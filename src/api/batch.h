/* A batch: lines of JSON, each a request, run through the same path as live ones, at low priority: a few at a
 * time while nobody else asks, else one.
 *
 *   {"custom_id", "method": "POST", "url": "/v1/chat/completions", "body": {...}}
 *   -> {"id", "custom_id", "response": {"status_code", "request_id", "body"}, "error": null}
 *
 * The results are the record: each is written when it is there, and a line whose result is in the files
 * already is not run again, so that a batch that was killed goes on where it was. A line that is no request
 * ("response": null) is looked at anew: what is wrong with it is told once, and it is run when it was mended.
 */
#ifndef WEIR_API_BATCH_H
#define WEIR_API_BATCH_H

#include "api/api.h"

enum { BATCH_LINES_MOST = 50000, BATCH_PARALLEL = 4 };

struct batch;

struct batch_options {
    struct api_shard *shard;                /* whose loop it runs on */
    const struct govern_identity *identity; /* NULL: auth is none */
    bool boundary_local;
    const char *in, *out, *failed; /* files; `failed` may be `out` */
    const char *model;             /* in place of the one that a body names; NULL: that one */
    const char *url;               /* the only one that lines may name; NULL: any */
    bool patient;                  /* waits for a full disk to have room; else that is the batch's end */
    int parallel;                  /* lines at a time, at most */
    int32_t measure;               /* tokens of which the embedded engine tells how sure it is (exchange.h) */
    bool measure_again;            /* likewise */
    /* On the loop, after batch_start has returned. ERROR_CANCELLED: after batch_cancel; `err` says what
     * failed. */
    void (*end)(void *ctx, int code, const struct error *err);
    void (*progress)(void *ctx); /* a line is done; may be NULL */
    void *ctx;
};

struct batch_counts {
    int64_t total, completed, failed;
};

/* Does the file hold what a batch may hold? Counts its lines. */
int batch_check(const char *in, int64_t *lines, struct error *err) MUST_USE;
/* The strings live until the end; the identity is copied. */
int batch_start(const struct batch_options *o, struct batch **out, struct error *err) MUST_USE;
struct batch_counts batch_progress(const struct batch *b);
void batch_cancel(struct batch *b); /* begins no more lines; ends when those that run are over */
void batch_expire(struct batch *b); /* likewise, and what was not run gets a result that says so */
void batch_free(struct batch *b);   /* what runs is cancelled; `end` is not called then. NULL is allowed */

#endif
