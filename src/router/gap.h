/* What a ranking of prompts is worth for routing between a weak and a strong model (RouteLLM, Ong et al.
 * 2024).
 *
 *   prompts sorted by score --> the first share c goes to the strong model, quality q(c)
 *   PGR(c) = (q(c) - weak) / (strong - weak): the share of the gap that is recovered
 *   APGR   = the area under it: chance has 0.5            CPT(p) = the least c with PGR(c) >= p: chance has p
 *
 * Equal scores are spread evenly, so that a constant is chance. */
#ifndef WEIR_ROUTER_GAP_H
#define WEIR_ROUTER_GAP_H

#include <stddef.h>

struct gap_row {
    double score, weak, strong; /* score: higher needs the strong model more; qualities: higher is better */
};

struct gap_report {
    double weak, strong;       /* mean quality of each alone */
    double apgr, cpt50, cpt80; /* NaN where the strong model is not better */
};

/* Sorts the rows. */
void gap_judge(struct gap_row *rows, size_t n, struct gap_report *out);
/* Of sorted rows: the mean quality when the first `n_strong` go to the strong model. */
double gap_quality(const struct gap_row *rows, size_t n, size_t n_strong);

/* Of sorted rows: the score from which on they go to the strong model, so that with as few of them as can be
 * (*n_strong) the mean quality is `aim`, though what is lost to the strong model were `margin` standard
 * errors more. Equal ones go the same way. -INFINITY: all, INFINITY: none. */
double gap_threshold(const struct gap_row *rows, size_t n, double aim, double margin, size_t *n_strong);

#endif
