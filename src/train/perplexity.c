#include "train/perplexity.h"

#include <math.h>
#include <stdlib.h>

/* ---- One token ---- */
struct distribution {
    int32_t top;
    double log_sum; /* ln of what the exponentials of all logits sum to */
};

static struct distribution distribution_of(const float *logits, int32_t n)
{
    struct distribution d = {0};
    double sum = 0;
    for (int32_t i = 1; i < n; i++)
        d.top = logits[i] > logits[d.top] || isnan(logits[d.top]) ? i : d.top;
    for (int32_t i = 0; i < n; i++)
        sum += (double)expf(logits[i] - logits[d.top]);
    d.log_sum = (double)logits[d.top] + log(sum);
    return d;
}

struct perplexity_row perplexity_row(
    const float *logits, const float *reference, int32_t n_vocab, int32_t token)
{
    const struct distribution d = distribution_of(logits, n_vocab);
    struct perplexity_row row = {.nll = d.log_sum - (double)logits[token]};
    if (!reference)
        return row;
    const struct distribution b = distribution_of(reference, n_vocab);
    const float base_log_sum = (float)b.log_sum;
    const double between = d.log_sum - b.log_sum;
    for (int32_t i = 0; i < n_vocab; i++) {
        const double p = (double)expf(reference[i] - base_log_sum);
        /* A token that the reference rules out counts nothing, whatever the other says. */
        row.kl += p > 0 ? p * ((double)reference[i] - (double)logits[i] + between) : 0;
    }
    row.base_nll = b.log_sum - (double)reference[token];
    row.nll = isfinite(row.base_nll) ? row.nll : row.base_nll;
    row.same_top = d.top == b.top;
    return row;
}

/* ---- All tokens ---- */
int perplexity_create(int64_t most, bool reference, struct perplexity_sums *out, struct error *err)
{
    *out = (struct perplexity_sums){.most = most};
    if (!reference)
        return 0;
    out->kls = malloc((size_t)most * sizeof *out->kls);
    out->shifts = malloc((size_t)most * sizeof *out->shifts);
    if (out->kls && out->shifts)
        return 0;
    perplexity_free(out);
    return error_set(
        err, ERROR_MEMORY, "no memory for the figures of %lld tokens: use --chunks", (long long)most);
}

void perplexity_free(struct perplexity_sums *s)
{
    free(s->kls);
    free(s->shifts);
    *s = (struct perplexity_sums){0};
}

void perplexity_add(struct perplexity_sums *s, const struct perplexity_row *row)
{
    const double shift = exp(-row->nll) - exp(-row->base_nll);
    s->nll += row->nll;
    s->nll2 += row->nll * row->nll;
    if (s->kls && s->count < s->most) {
        s->base += row->base_nll;
        s->base2 += row->base_nll * row->base_nll;
        s->both += row->nll * row->base_nll;
        s->kl += row->kl;
        s->kl2 += row->kl * row->kl;
        s->shift += shift;
        s->shift2 += shift * shift;
        s->shift4 += shift * shift * shift * shift;
        s->same_top += row->same_top;
        s->kls[s->count] = (float)row->kl;
        s->shifts[s->count] = (float)shift;
    }
    s->count++;
}

/* ---- Figures ---- */
static struct estimate mean_of(double sum, double sum_of_squares, int64_t count)
{
    const double n = (double)count, mean = sum / n, variance = sum_of_squares / n - mean * mean;
    return (struct estimate){mean, variance > 0 && count > 1 ? sqrt(variance / (n - 1)) : 0};
}

static int float_compare(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Between the two neighbours of the place that has `share` of the sorted values before it. */
static double quantile(const float *sorted, int64_t n, double share)
{
    const double place = share * (double)(n - 1);
    const int64_t i = (int64_t)place, next = i + 1 < n ? i + 1 : i;
    const double part = place - (double)i;
    return (1 - part) * (double)sorted[i] + part * (double)sorted[next];
}

static void ratio_figures(
    const struct perplexity_sums *s, struct estimate log_model, struct perplexity_figures *f)
{
    const double n = (double)s->count;
    const struct estimate log_base = mean_of(s->base, s->base2, s->count);
    const double covariance = s->count > 1 ? (s->both / n - log_model.value * log_base.value) / (n - 1) : 0;
    const double spread =
        log_model.error * log_model.error + log_base.error * log_base.error - 2 * covariance;
    f->base.value = exp(log_base.value);
    f->base.error = f->base.value * log_base.error;
    const double scale = log_model.error * log_base.error;
    f->correlation = scale > 0 ? covariance / scale : 0;
    f->log_ratio = (struct estimate){log_model.value - log_base.value, spread > 0 ? sqrt(spread) : 0};
    f->ratio.value = exp(f->log_ratio.value);
    f->ratio.error = f->ratio.value * f->log_ratio.error;
    const double apart = f->perplexity.error * f->perplexity.error + f->base.error * f->base.error -
                         2 * f->perplexity.value * f->base.value * covariance;
    f->difference = (struct estimate){f->perplexity.value - f->base.value, apart > 0 ? sqrt(apart) : 0};
}

static void divergence_figures(struct perplexity_sums *s, struct perplexity_figures *f)
{
    const int64_t n = s->count;
    const struct estimate square = mean_of(s->shift2, s->shift4, n);
    const double same = (double)s->same_top / (double)n;
    f->kl = mean_of(s->kl, s->kl2, n);
    f->shift = mean_of(s->shift, s->shift2, n);
    f->shift_rms.value = sqrt(square.value);
    f->shift_rms.error = square.value > 0 ? square.error / (2 * f->shift_rms.value) : 0;
    f->same_top = (struct estimate){same, n > 1 ? sqrt(same * (1 - same) / (double)(n - 1)) : 0};
    qsort(s->kls, (size_t)n, sizeof *s->kls, float_compare);
    f->kl_median = quantile(s->kls, n, 0.5);
    f->kl_90 = quantile(s->kls, n, 0.9);
    f->kl_95 = quantile(s->kls, n, 0.95);
    f->kl_99 = quantile(s->kls, n, 0.99);
    f->kl_999 = quantile(s->kls, n, 0.999);
    f->kl_max = quantile(s->kls, n, 1);
}

void perplexity_figures(struct perplexity_sums *s, struct perplexity_figures *out)
{
    *out = (struct perplexity_figures){0};
    if (s->count == 0)
        return;
    const struct estimate log_model = mean_of(s->nll, s->nll2, s->count);
    out->perplexity.value = exp(log_model.value);
    out->perplexity.error = out->perplexity.value * log_model.error;
    if (s->kls) {
        ratio_figures(s, log_model, out);
        divergence_figures(s, out);
    }
}
