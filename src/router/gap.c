#include "router/gap.h"

#include <math.h>
#include <stdlib.h>

static int by_score(const void *a, const void *b)
{
    double x = ((const struct gap_row *)a)->score, y = ((const struct gap_row *)b)->score;
    return (x < y) - (x > y);
}

/* One piece of the curve, from (x0, y0) to (x1, y1): its area over `weak`, and where it first reaches a
 * height. */
struct curve {
    double x, y, area;
};

static void reach(double *at, double height, const struct curve *c, double x1, double y1)
{
    if (!isnan(*at) || y1 < height)
        return;
    *at = c->y >= height ? c->x : c->x + (x1 - c->x) * (height - c->y) / (y1 - c->y);
}

void gap_judge(struct gap_row *rows, size_t n, struct gap_report *out)
{
    double count = n > 0 ? (double)n : 1;
    *out = (struct gap_report){.apgr = NAN, .cpt50 = NAN, .cpt80 = NAN};
    for (size_t i = 0; i < n; i++) {
        out->weak += rows[i].weak / count;
        out->strong += rows[i].strong / count;
    }
    double gap = out->strong - out->weak;
    if (n > 0)
        qsort(rows, n, sizeof *rows, by_score);
    if (n == 0 || gap <= 0)
        return;
    struct curve c = {0, out->weak, 0};
    for (size_t i = 0, k; i < n; i = k) {
        double y = c.y;
        for (k = i; k < n && rows[k].score == rows[i].score; k++)
            y += (rows[k].strong - rows[k].weak) / count;
        double x = (double)k / count;
        reach(&out->cpt50, out->weak + 0.5 * gap, &c, x, y);
        reach(&out->cpt80, out->weak + 0.8 * gap, &c, x, y);
        c = (struct curve){x, y, c.area + (x - c.x) * ((c.y + y) / 2 - out->weak)};
    }
    out->apgr = c.area / gap;
    out->cpt50 = isnan(out->cpt50) ? 1 : out->cpt50; /* the last sum may fall short by rounding */
    out->cpt80 = isnan(out->cpt80) ? 1 : out->cpt80;
}

double gap_quality(const struct gap_row *rows, size_t n, size_t n_strong)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += i < n_strong ? rows[i].strong : rows[i].weak;
    return n > 0 ? sum / (double)n : 0;
}

/* What is lost to the strong model everywhere, by the rows that do not go to it, and so many standard errors
 * more. */
static double loss_of(double sum, double squares, size_t n, double margin)
{
    const double count = (double)n, mean = sum / count;
    return mean + margin * sqrt(fmax(squares / count - mean * mean, 0) / count);
}

double gap_threshold(const struct gap_row *rows, size_t n, double aim, double margin, size_t *n_strong)
{
    size_t k = 0;
    double strong = 0, sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) {
        const double loss = rows[i].strong - rows[i].weak;
        strong += rows[i].strong / (double)n;
        sum += loss;
        squares += loss * loss;
    }
    while (k < n && loss_of(sum, squares, n, margin) > strong - aim + 1e-12) {
        const double loss = rows[k].strong - rows[k].weak;
        sum -= loss;
        squares -= loss * loss;
        k++;
    }
    while (k > 0 && k < n && rows[k].score == rows[k - 1].score)
        k++;
    *n_strong = k;
    return k == 0 ? INFINITY : k == n ? -INFINITY : (rows[k - 1].score + rows[k].score) / 2;
}
