/* Drawing from the tokens that are left: temperature, dynamic temperature, mirostat, adaptive-p. */
#include <math.h>

#include "engine/worker/sampler_inner.h"

enum { MIROSTAT_ESTIMATED = 100 }; /* tokens that version 1 fits its curve to */

void drawing_init(struct sampler_drawing *d, const struct chat_sampling *p, int32_t n_vocab)
{
    *d = (struct sampler_drawing){.temperature = sampler_known(p->temperature, 0.8),
        .dynatemp_range = sampler_known(p->dynatemp_range, 0),
        .dynatemp_exponent = sampler_known(p->dynatemp_exponent, 1),
        .mirostat = p->mirostat > 0 ? (int32_t)p->mirostat : 0,
        .n_vocab = n_vocab,
        .tau = sampler_known(p->mirostat_tau, 5),
        .eta = sampler_known(p->mirostat_eta, 0.1),
        .target = sampler_known(p->adaptive_target, -1),
        .decay = sampler_known(p->adaptive_decay, 0.9)};
    d->mu = 2 * d->tau;
    /* As if tokens of just the wanted probability had gone before. */
    d->adaptive_weight = 1 / (1 - d->decay);
    d->adaptive_sum = d->target * d->adaptive_weight;
}

/* Between temperature - range and temperature + range, by how evenly the probability is spread. */
static float temperature_of(const struct sampler_drawing *d, struct candidates *c)
{
    float low = d->temperature - d->dynatemp_range, high = d->temperature + d->dynatemp_range;
    if (d->dynatemp_range <= 0 || c->n < 2)
        return d->temperature;
    double sum = candidates_weigh(c, 1.0f), entropy = 0;
    for (int32_t i = 0; i < c->n; i++) {
        double share = (double)c->list[i].weight / sum;
        entropy -= share > 0 ? share * log(share) : 0;
    }
    low = low > 0 ? low : 0;
    return low + (high - low) * powf((float)(entropy / log(c->n)), d->dynatemp_exponent);
}

/* Candidates stand in order of preference or of id. */
static int32_t draw(const struct candidates *c, double sum, struct rand_pcg *random)
{
    double left = rand_pcg_double(random) * sum;
    int32_t last = 0;
    for (int32_t i = 0; i < c->n; i++) {
        if (c->list[i].weight <= 0)
            continue;
        last = i;
        left -= (double)c->list[i].weight;
        if (left < 0)
            break;
    }
    return last;
}

/* ---- Mirostat (Basu et al. 2020): the surprise of what is drawn is held near tau ---- */

/* Version 1: how many tokens to leave, from a fit of Zipf's law to the likeliest (the paper's algorithm 1).
 */
static int32_t mirostat_top_k(const struct sampler_drawing *d, const struct candidates *c)
{
    double products = 0, squares = 0;
    for (int32_t i = 0; i + 1 < c->n && i + 1 < MIROSTAT_ESTIMATED; i++) {
        double t = log((double)(i + 2) / (double)(i + 1));
        double b = log((double)c->list[i].weight / (double)c->list[i + 1].weight);
        products += isfinite(b) ? t * b : 0;
        squares += t * t;
    }
    double s = products / squares, epsilon = s - 1;
    double k = pow(epsilon * pow(2, (double)d->mu) / (1 - pow(d->n_vocab, -epsilon)), 1 / s);
    return !isfinite(k) || k >= c->n ? c->n : k < 1 ? 1 : (int32_t)k;
}

static int32_t mirostat_draw(
    struct sampler_drawing *d, struct candidates *c, float temperature, struct rand_pcg *random)
{
    double sum = candidates_weigh(c, temperature);
    if (d->mirostat == 1) {
        candidates_order(c, MIROSTAT_ESTIMATED);
        int32_t k = mirostat_top_k(d, c);
        candidates_order(c, k);
        c->n = k;
    } else {
        /* Version 2: nothing more surprising than mu, but the likeliest always. */
        double least = sum * exp2(-(double)d->mu);
        int32_t kept = 0;
        for (int32_t i = 0; i < c->n; i++)
            if (c->list[i].weight >= 1.0f || (double)c->list[i].weight >= least)
                c->list[kept++] = c->list[i];
        c->n = kept;
    }
    sum = 0;
    for (int32_t i = 0; i < c->n; i++)
        sum += (double)c->list[i].weight;
    int32_t index = draw(c, sum, random);
    double surprise = -log2((double)c->list[index].weight / sum);
    d->mu -= d->eta * (float)(surprise - (double)d->tau);
    return c->list[index].id;
}

/* ---- Adaptive-p (llama.cpp #17927): tokens of about the wanted probability are preferred ---- */

static int32_t adaptive_draw(
    struct sampler_drawing *d, struct candidates *c, double sum, struct rand_pcg *random)
{
    static const float width = 0.3f, peak = 5, sharpness = 10;
    float aim = 2 * d->target - d->adaptive_sum / d->adaptive_weight;
    double changed = 0;
    aim = aim < 0 ? 0 : aim > 1 ? 1 : aim;
    for (int32_t i = 0; i < c->n; i++) {
        struct candidate *one = &c->list[i];
        one->logit = (float)((double)one->weight / sum); /* its probability, until the end */
        float far = fabsf(one->logit - aim) / width;
        one->weight = expf(peak - sharpness * far * far / (1 + far));
        changed += (double)one->weight;
    }
    const struct candidate *drawn = &c->list[draw(c, changed, random)];
    d->adaptive_sum = drawn->logit + d->decay * d->adaptive_sum;
    d->adaptive_weight = 1 + d->decay * d->adaptive_weight;
    return drawn->id;
}

int32_t drawing_draw(struct sampler_drawing *d, struct candidates *c, struct rand_pcg *random)
{
    float temperature = temperature_of(d, c);
    if (temperature <= 0) {
        candidates_order(c, 1);
        return c->list[0].id;
    }
    if (d->mirostat > 0)
        return mirostat_draw(d, c, temperature, random);
    double sum = candidates_weigh(c, temperature);
    if (d->target >= 0)
        return adaptive_draw(d, c, sum, random);
    return c->list[draw(c, sum, random)].id;
}
