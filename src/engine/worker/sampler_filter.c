/* Which tokens may be drawn at all. */
#include <math.h>
#include <stdlib.h>

#include "engine/worker/sampler_inner.h"

/* ---- Order ---- */

/* Larger logits first, ties to the lower id: never as selection left them, so that a seed gives the same
 * token when logits differ in their last bit. */
static bool before(const struct candidate *a, const struct candidate *b)
{
    return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

static int compare(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    return before(x, y) ? -1 : before(y, x) ? 1 : 0;
}

static void swap(struct candidate *a, struct candidate *b)
{
    struct candidate t = *a;
    *a = *b;
    *b = t;
}

/* Moves the k most preferred of n to the front, in any order (Hoare's selection, median of three). */
static void select_front(struct candidate *c, int32_t n, int32_t k)
{
    int32_t low = 0, high = n - 1;
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        if (before(&c[middle], &c[low]))
            swap(&c[middle], &c[low]);
        if (before(&c[high], &c[low]))
            swap(&c[high], &c[low]);
        if (before(&c[high], &c[middle]))
            swap(&c[high], &c[middle]);
        const struct candidate pivot = c[middle];
        int32_t i = low, j = high;
        while (i <= j) {
            while (before(&c[i], &pivot))
                i++;
            while (before(&pivot, &c[j]))
                j--;
            if (i <= j)
                swap(&c[i++], &c[j--]);
        }
        if (k - 1 <= j)
            high = j;
        else if (k - 1 >= i)
            low = i;
        else
            return;
    }
}

void candidates_order(struct candidates *c, int32_t count)
{
    if (count > c->n)
        count = c->n;
    if (count <= c->sorted)
        return;
    struct candidate *rest = c->list + c->sorted;
    int32_t n = c->n - c->sorted, more = count - c->sorted;
    if (more < n)
        select_front(rest, n, more);
    qsort(rest, (size_t)more, sizeof *rest, compare);
    c->sorted = count;
}

/* So many that walking down the order seldom has to ask twice. */
static void order_ahead(struct candidates *c, int32_t count)
{
    if (count > c->sorted)
        candidates_order(c, count > c->n / 4 ? c->n : count < 64 ? 64 : count * 4);
}

void candidates_first(struct candidates *c, int32_t count)
{
    candidates_order(c, count);
    c->n = count < c->n ? count : c->n;
    c->sorted = c->sorted < c->n ? c->sorted : c->n;
}

/* An infinite logit outweighs all finite ones. */
double candidates_weigh(struct candidates *c, float temperature)
{
    float largest = -INFINITY;
    double sum = 0;
    for (int32_t i = 0; i < c->n; i++)
        largest = c->list[i].logit > largest ? c->list[i].logit : largest;
    for (int32_t i = 0; i < c->n; i++) {
        struct candidate *one = &c->list[i];
        one->weight = one->logit == largest ? 1.0f : expf((one->logit - largest) / temperature);
        sum += (double)one->weight;
    }
    return sum;
}

/* ---- Filters ---- */

/* Leaves the candidates that keep(c, limit) says, the order as it was; at least the `least` most preferred.
 */
static void keep_if(
    struct candidates *c, bool (*keep)(const struct candidate *, float), float limit, int32_t least)
{
    int32_t kept = 0, sorted = 0, some = 0;
    for (int32_t i = 0; i < c->n; i++)
        some += keep(&c->list[i], limit);
    if (some < least) {
        candidates_first(c, least);
        return;
    }
    for (int32_t i = 0; i < c->n; i++) {
        if (!keep(&c->list[i], limit))
            continue;
        c->list[kept++] = c->list[i];
        sorted += i < c->sorted;
    }
    c->n = kept;
    c->sorted = sorted;
}

static bool logit_reaches(const struct candidate *c, float limit)
{
    return c->logit >= limit;
}

static bool weight_reaches(const struct candidate *c, float limit)
{
    return c->weight >= limit;
}

/* No more than n standard deviations of all logits below the largest (Tang et al. 2024). */
static void top_n_sigma(struct candidates *c, float n, int32_t min_keep)
{
    double sum = 0, squares = 0;
    float largest = -INFINITY;
    for (int32_t i = 0; i < c->n; i++) {
        sum += (double)c->list[i].logit;
        largest = c->list[i].logit > largest ? c->list[i].logit : largest;
    }
    double mean = sum / c->n;
    for (int32_t i = 0; i < c->n; i++)
        squares += ((double)c->list[i].logit - mean) * ((double)c->list[i].logit - mean);
    double least = (double)largest - (double)n * sqrt(squares / c->n);
    if (isfinite(least))
        keep_if(c, logit_reaches, (float)least, min_keep);
}

static int compare_weight(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    return x->weight < y->weight ? -1 : x->weight > y->weight ? 1 : compare(a, b);
}

/* The fewest candidates that hold a share p, those first whose surprise is nearest to the entropy (Meister et
 * al. 2023). `weight` is that distance while they are sorted. */
static void typical(struct candidates *c, float p, int32_t min_keep)
{
    double sum = candidates_weigh(c, 1.0f), entropy = 0, held = 0;
    float largest = -INFINITY;
    for (int32_t i = 0; i < c->n; i++) {
        double share = (double)c->list[i].weight / sum;
        entropy -= share > 0 ? share * log(share) : 0;
        largest = c->list[i].logit > largest ? c->list[i].logit : largest;
    }
    for (int32_t i = 0; i < c->n; i++) {
        double share = (double)c->list[i].weight / sum;
        c->list[i].weight = share > 0 ? (float)fabs(-log(share) - entropy) : INFINITY;
    }
    qsort(c->list, (size_t)c->n, sizeof *c->list, compare_weight);
    for (int32_t i = 0; i < c->n; i++) {
        const struct candidate *one = &c->list[i];
        held += one->logit == largest ? 1 / sum : exp((double)one->logit - (double)largest) / sum;
        if (held > (double)p && i + 1 >= min_keep) {
            c->n = i + 1;
            break;
        }
    }
    c->sorted = 0;
}

/* The fewest candidates, most preferred first, that hold a share p (Holtzman et al. 2019). */
static void top_p(struct candidates *c, float p, int32_t min_keep)
{
    double wanted = candidates_weigh(c, 1.0f) * (double)p, held = 0;
    for (int32_t i = 0; i < c->n; i++) {
        order_ahead(c, i + 1);
        held += (double)c->list[i].weight;
        if (held >= wanted && i + 1 >= min_keep) {
            candidates_first(c, i + 1);
            return;
        }
    }
}

/* Nothing less likely than p times the likeliest (Nguyen et al. 2024). */
static void min_p(struct candidates *c, float p, int32_t min_keep)
{
    candidates_weigh(c, 1.0f);
    keep_if(c, weight_reaches, p, min_keep);
}

/* With a chance of `probability`: of those that are at least as likely as the threshold only the least likely
 * stays ("exclude top choices", p-e-w 2024). */
static void xtc(struct candidates *c, const struct sampler_filters *f, struct rand_pcg *random)
{
    if (f->xtc_threshold > 0.5f || c->n < 2 || rand_pcg_double(random) >= (double)f->xtc_probability)
        return;
    double least = candidates_weigh(c, 1.0f) * (double)f->xtc_threshold;
    int32_t above = 0;
    for (int32_t i = 0; i < c->n; i++)
        above += (double)c->list[i].weight >= least;
    if (above < 2 || c->n - (above - 1) < f->min_keep)
        return;
    candidates_order(c, above);
    c->list += above - 1;
    c->n -= above - 1;
    c->sorted -= above - 1;
}

void candidates_filter(struct candidates *c, const struct sampler_filters *f, struct rand_pcg *random)
{
    if (f->top_n_sigma > 0)
        top_n_sigma(c, f->top_n_sigma, f->min_keep);
    if (f->top_k < c->n)
        candidates_first(c, filters_first(f));
    if (f->typical_p < 1)
        typical(c, f->typical_p, f->min_keep);
    if (f->top_p < 1)
        top_p(c, f->top_p, f->min_keep);
    if (f->min_p > 0)
        min_p(c, f->min_p, f->min_keep);
    if (f->xtc_probability > 0)
        xtc(c, f, random);
}
