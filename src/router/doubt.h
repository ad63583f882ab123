/* How unsure a local model is of an answer that it has begun: in a cascade, whether a stronger one is asked.
 * Pure.
 *
 *   signals     of the first tokens, of the prompt and of a second answer (chat.h, MEASURE)
 *   doubt       built in: 1 - e^(mean log-probability), one less the geometric mean of the tokens'
 *               probabilities (the normalised likelihood of Malinin and Gales 2021); or, as `weir calibrate
 *               --cascade` fitted it, the expected gain of asking the stronger model: constant + sum of
 *               weight x signal, cut to 0..1
 *   doubt >= threshold: the stronger one answers */
#ifndef WEIR_ROUTER_DOUBT_H
#define WEIR_ROUTER_DOUBT_H

#include "json/json.h"

/* All are 0 where the model is sure. The last two cost something, and are told only where they are asked for.
 */
enum doubt_signal {
    DOUBT_MEAN,    /* 1 - e^(mean log-probability) */
    DOUBT_LEAST,   /* 1 - the least probability of a token */
    DOUBT_ENTROPY, /* mean entropy, nats */
    DOUBT_PROMPT,  /* the prompt's own tokens, the last ones: their mean surprise (-log-probability), nats */
    DOUBT_AGAIN,   /* 1 - how far an answer drawn once more agrees (self-consistency, Wang et al. 2023) */
    DOUBT_SIGNALS
};

struct doubt {
    int32_t tokens; /* measured so far */
    double logprob_sum, logprob_least, entropy_sum;
    bool has_prompt, has_again;       /* they were told: */
    double prompt_logprob, agreement; /* the mean of the prompt's end; 0 to 1 */
};
void doubt_add(struct doubt *d, double logprob, double entropy);      /* a zeroed one has no tokens */
void doubt_signals(const struct doubt *d, double out[DOUBT_SIGNALS]); /* NaN: it was not told */

enum { DOUBT_TOKENS = 16 };
struct router_cascade {
    int32_t tokens;   /* how many tokens of the local answer it is decided by */
    double threshold; /* 0 to 1 */
    bool fitted;      /* by `constant` and `weight`; else the built-in doubt */
    double constant, weight[DOUBT_SIGNALS];
    double usual[DOUBT_SIGNALS]; /* their means: taken where one was not told */
};
/* Has it a weight for the signal, so that it must be asked for? */
bool router_cascade_uses(const struct router_cascade *c, enum doubt_signal signal);
/* 0 to 1; of no tokens 0: there is nothing to doubt. */
double doubt_value(const struct doubt *d, const struct router_cascade *c);
/* Whatever tokens are still to come, it will not be under the threshold any more: it need not be waited for.
 */
bool doubt_is_certain(const struct doubt *d, const struct router_cascade *c);

/* {"tokens", "mean_logprob", "least_logprob", "mean_entropy", "prompt_logprob"?, "agreement"?}; nothing where
 * no tokens were measured. */
void doubt_write(const struct doubt *d, struct json_writer *w);
/* What doubt_write wrote; false: it is not that. */
bool doubt_read(const json_t *object, struct doubt *out);

/* The file of a calibration: {"cascade": {"tokens", "threshold", "constant", "weights": {signal: weight},
 * "usual": {signal: mean}}, ...}; what it does not say of the prompt and of a second answer is 0; other
 * members are for people. */
int router_cascade_read(struct str json, struct router_cascade *out, struct error *err) MUST_USE;
void router_cascade_members(const struct router_cascade *c, struct json_writer *w);

#endif
