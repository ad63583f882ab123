/* What `weir bench` measured, and how it is told: as text, JSON or a picture. Pure, so that tests can ask for
 * any. */
#ifndef WEIR_APP_BENCH_H
#define WEIR_APP_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "json/json.h"

enum { BENCH_POINTS_MAX = 64 };

/* Bytes and operations a second (a product and its addition are two); 0: not known. */
struct bench_limits {
    double read, read_one, integers, halves, floats;
};

/* What products are made of. */
enum bench_unit { BENCH_INTEGERS, BENCH_HALVES, BENCH_FLOATS, BENCH_UNITS };

/* Operations that a token needs of the layers' matrices and of the output's; bytes that a step of all streams
 * reads: weights and cache. What attention computes is not counted. */
struct bench_work {
    double layers[BENCH_UNITS], head[BENCH_UNITS], bytes;
};

/* Tokens a second. */
struct bench_speed {
    double median, min, max;
    int n; /* 0: not measured */
};

struct bench_point {
    long long depth, streams;
    long long prompt, generate; /* tokens; 0: not measured */
    bool skipped;               /* there was no time for it */
    struct bench_work work;
    struct bench_speed prefill, decode;
};

/* An answer of which nine tokens in ten were expected (engine/worker/session_bench_copy.c), and the same one
 * without drafts. */
struct bench_copy {
    long long tokens; /* 0: not asked for */
    bool skipped;
    struct bench_speed copy, plain;
    double drafted, drawn; /* tokens, of all runs */
};

struct bench {
    const char *file;
    char isa[32];
    int threads;
    double load_s;
    int64_t peak_bytes; /* 0: not known */
    struct bench_limits limits;
    struct bench_point points[BENCH_POINTS_MAX]; /* the first has a prompt and tokens to generate */
    size_t n;
    struct bench_copy copy;
};

/* Of an array of seconds in which `tokens` were done each time. */
void bench_speed_of(const json_t *seconds, double tokens, struct bench_speed *out);

/* The share of its limit that a speed reached (1: all of it), and which limit; 0: not known. A step of few
 * tokens is bound by what it reads, one of many by what it computes: by whichever takes longer. */
struct bench_share {
    double share;
    const char *unit; /* "GB/s", "int8 TOPS", "float TFLOPS" */
    double limit;     /* in units */
};
struct bench_share bench_prefill_share(const struct bench *b, const struct bench_point *p);
struct bench_share bench_decode_share(const struct bench *b, const struct bench_point *p);

void bench_text(const struct bench *b, struct buf *out);
void bench_json(const struct bench *b, struct buf *out);
void bench_svg(const struct bench *b, struct buf *out);

#endif
