/* How unsure a local model is of an answer that it has begun: in a cascade, whether a stronger one is asked.
 * Pure.
 *
 *   signals     of the first tokens and of the prompt, by the model's own distribution (chat.h, MEASURE)
 *   doubt       = 1 - e^(mean log-probability)                     as built in: 1 - the geometric mean of
 * their probabilities (the normalised likelihood of Malinin and Gales 2021) = constant + sum of weight x
 * signal, cut to 0..1   as `weir calibrate --cascade` fitted it: the expected gain of asking the stronger
 * model doubt >= threshold: the stronger one answers */
#ifndef WEIR_ROUTER_DOUBT_H
#define WEIR_ROUTER_DOUBT_H

#include "json/json.h"

/* All are 0 where the model is sure. */
enum doubt_signal {
    DOUBT_MEAN,    /* 1 - e^(mean log-probability) */
    DOUBT_LEAST,   /* 1 - the least probability of a token */
    DOUBT_ENTROPY, /* mean entropy, nats */
    DOUBT_SIGNALS
};
extern const char *const doubt_signal_names[DOUBT_SIGNALS];

struct doubt {
    int32_t tokens; /* measured so far */
    double logprob_sum, logprob_least, entropy_sum;
};
void doubt_add(struct doubt *d, double logprob, double entropy); /* a zeroed one has no tokens */
void doubt_signals(const struct doubt *d, double out[DOUBT_SIGNALS]);

enum { DOUBT_TOKENS = 16 };
struct router_cascade {
    int32_t tokens;   /* how many tokens of the local answer it is decided by */
    double threshold; /* 0 to 1 */
    bool fitted;      /* by `constant` and `weight`; else the built-in doubt */
    double constant, weight[DOUBT_SIGNALS];
};
/* 0 to 1; of no tokens 0: there is nothing to doubt. */
double doubt_value(const struct doubt *d, const struct router_cascade *c);
/* Whatever tokens are still to come, it will not be under the threshold any more: it need not be waited for.
 */
bool doubt_is_certain(const struct doubt *d, const struct router_cascade *c);

/* {"tokens", "mean_logprob", "least_logprob", "mean_entropy"}; nothing where no tokens were measured. */
void doubt_write(const struct doubt *d, struct json_writer *w);
/* What doubt_write wrote; false: it is not that. */
bool doubt_read(const json_t *object, struct doubt *out);

/* The file of a calibration: {"cascade": {"tokens", "threshold", "constant", "weights": {signal: weight}},
 * ...}; other members are for people. */
int router_cascade_read(struct str json, struct router_cascade *out, struct error *err) MUST_USE;
void router_cascade_members(const struct router_cascade *c, struct json_writer *w);

#endif
