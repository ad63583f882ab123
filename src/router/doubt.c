#include "router/doubt.h"

#include <math.h>

#include "chat/chat.h"

static const char *const signal_names[DOUBT_SIGNALS] = {"mean", "least", "entropy", "prompt", "again"};

void doubt_add(struct doubt *d, double logprob, double entropy)
{
    d->logprob_least = d->tokens == 0 ? logprob : fmin(d->logprob_least, logprob);
    d->logprob_sum += logprob;
    d->entropy_sum += entropy;
    d->tokens++;
}

/* As if the tokens that were measured were `tokens` in all, the others sure. */
static void signals_over(const struct doubt *d, int32_t tokens, double out[DOUBT_SIGNALS])
{
    out[DOUBT_MEAN] = tokens > 0 ? 0 - expm1(d->logprob_sum / tokens) : 0;
    out[DOUBT_LEAST] = tokens > 0 ? 0 - expm1(d->logprob_least) : 0;
    out[DOUBT_ENTROPY] = tokens > 0 ? d->entropy_sum / tokens : 0;
    out[DOUBT_PROMPT] = d->has_prompt ? 0 - d->prompt_logprob : NAN;
    out[DOUBT_AGAIN] = d->has_again ? 1 - d->agreement : NAN;
}

void doubt_signals(const struct doubt *d, double out[DOUBT_SIGNALS])
{
    signals_over(d, d->tokens, out);
}

static double value_of(const double signals[DOUBT_SIGNALS], const struct router_cascade *c)
{
    double sum = c->constant;
    if (!c->fitted)
        return signals[DOUBT_MEAN];
    for (int i = 0; i < DOUBT_SIGNALS; i++)
        sum += c->weight[i] * (isnan(signals[i]) ? c->usual[i] : signals[i]);
    return fmin(fmax(sum, 0), 1);
}

bool router_cascade_uses(const struct router_cascade *c, enum doubt_signal signal)
{
    return c->fitted && c->weight[signal] != 0;
}

double doubt_value(const struct doubt *d, const struct router_cascade *c)
{
    double signals[DOUBT_SIGNALS];
    if (d->tokens == 0)
        return 0;
    doubt_signals(d, signals);
    return value_of(signals, c);
}

/* Sure tokens are the most that can still come, and a second answer that agrees; each signal is least with
 * them, and an answer that ends before leaves it higher. With a weight below 0 less of a signal is more
 * doubt: then nothing is certain before the end. (The prompt's comes before all tokens, or never.) */
bool doubt_is_certain(const struct doubt *d, const struct router_cascade *c)
{
    double signals[DOUBT_SIGNALS];
    for (int i = 0; i < DOUBT_SIGNALS; i++)
        if (i != DOUBT_PROMPT && c->fitted && c->weight[i] < 0)
            return false;
    if (d->tokens == 0)
        return false;
    signals_over(d, d->tokens > c->tokens ? d->tokens : c->tokens, signals);
    if (!d->has_again)
        signals[DOUBT_AGAIN] = 0;
    return value_of(signals, c) >= c->threshold;
}

/* ---- JSON ---- */

void doubt_write(const struct doubt *d, struct json_writer *w)
{
    json_object_begin(w);
    if (d->tokens > 0) {
        json_member_int(w, "tokens", d->tokens);
        json_member_double(w, "mean_logprob", d->logprob_sum / d->tokens);
        json_member_double(w, "least_logprob", d->logprob_least);
        json_member_double(w, "mean_entropy", d->entropy_sum / d->tokens);
        if (d->has_prompt)
            json_member_double(w, "prompt_logprob", d->prompt_logprob);
        if (d->has_again)
            json_member_double(w, "agreement", d->agreement);
    }
    json_object_end(w);
}

bool doubt_read(const json_t *object, struct doubt *out)
{
    int64_t tokens;
    double mean, entropy;
    struct error err;
    *out = (struct doubt){.has_prompt = json_object_get(object, "prompt_logprob"),
        .has_again = json_object_get(object, "agreement")};
    if (!json_is_object(object) || json_get_int(object, "tokens", 0, 1, CHAT_MEASURE_MAX, &tokens, &err) ||
        json_get_double(object, "mean_logprob", NAN, -1e6, 0, &mean, &err) ||
        json_get_double(object, "least_logprob", NAN, -1e6, 0, &out->logprob_least, &err) ||
        json_get_double(object, "mean_entropy", NAN, 0, 1e6, &entropy, &err) ||
        json_get_double(object, "prompt_logprob", 0, -1e6, 0, &out->prompt_logprob, &err) ||
        json_get_double(object, "agreement", 0, 0, 1, &out->agreement, &err) || tokens == 0 ||
        isnan(mean + out->logprob_least + entropy))
        return false;
    out->tokens = (int32_t)tokens;
    out->logprob_sum = mean * (double)tokens;
    out->entropy_sum = entropy * (double)tokens;
    return true;
}

static int members_read(const json_t *cascade, struct router_cascade *out, struct error *err)
{
    const json_t *weights = json_object_get(cascade, "weights"), *usual = json_object_get(cascade, "usual");
    int64_t tokens;
    double sum;
    int rc = json_get_int(cascade, "tokens", 0, 1, CHAT_MEASURE_MAX, &tokens, err);
    if (rc == 0)
        rc = json_get_double(cascade, "threshold", NAN, 0, 2, &out->threshold, err);
    if (rc == 0)
        rc = json_get_double(cascade, "constant", NAN, -1e6, 1e6, &out->constant, err);
    sum = out->threshold + out->constant;
    for (int i = 0; rc == 0 && i < DOUBT_SIGNALS; i++) {
        const double unsaid = i < DOUBT_PROMPT ? NAN : 0; /* what files of before the later ones leave out */
        rc = json_get_double(weights, signal_names[i], unsaid, -1e6, 1e6, &out->weight[i], err);
        sum += out->weight[i];
        if (rc == 0 && usual)
            rc = json_get_double(usual, signal_names[i], 0, -1e6, 1e6, &out->usual[i], err);
    }
    if (rc == 0 && (tokens == 0 || isnan(sum)))
        rc = error_set(err, ERROR_INVALID,
            "it is no cascade of this version: make it anew with weir calibrate --cascade");
    out->tokens = (int32_t)tokens;
    return rc;
}

int router_cascade_read(struct str json, struct router_cascade *out, struct error *err)
{
    json_t *root;
    int rc = json_read(json, &root, err);
    if (rc)
        return rc;
    *out = (struct router_cascade){.fitted = true};
    const json_t *cascade = json_object_get(root, "cascade");
    if (json_is_object(cascade))
        rc = members_read(cascade, out, err);
    else
        rc = error_set(err, ERROR_INVALID, "it has no \"cascade\": make it with weir calibrate --cascade");
    json_decref(root);
    return rc;
}

static void signals_write(struct json_writer *w, const char *key, const double values[DOUBT_SIGNALS])
{
    json_key(w, key);
    json_object_begin(w);
    for (int i = 0; i < DOUBT_SIGNALS; i++)
        json_member_double(w, signal_names[i], values[i]);
    json_object_end(w);
}

void router_cascade_members(const struct router_cascade *c, struct json_writer *w)
{
    json_key(w, "cascade");
    json_object_begin(w);
    json_member_int(w, "tokens", c->tokens);
    json_member_double(w, "threshold", c->threshold);
    json_member_double(w, "constant", c->constant);
    signals_write(w, "weights", c->weight);
    signals_write(w, "usual", c->usual);
    json_object_end(w);
}
