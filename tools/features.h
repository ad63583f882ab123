/* The features that gist_train.c and tag_train.c fit weights to: ids that enough texts of more than one frame
 * have; and the order in which samples are learnt from. */
#ifndef WEIR_TOOLS_FEATURES_H
#define WEIR_TOOLS_FEATURES_H

#include "frames.h"

struct feature {
    uint32_t id, seen, frame;
    bool several; /* frames have it */
};
enum { FEATURE_ROOM = 1 << 23 };
static struct feature features[FEATURE_ROOM]; /* open addressing, id 0: free; then (features_keep) dense */
static size_t n_features;

/* A text of that frame has the feature. */
static void feature_tally(uint32_t id, size_t frame)
{
    size_t at = id & (FEATURE_ROOM - 1);
    while (features[at].id != id && features[at].id != 0)
        at = (at + 1) & (FEATURE_ROOM - 1);
    struct feature *f = &features[at];
    f->several = f->several || (f->seen > 0 && f->frame != frame);
    f->id = id;
    f->frame = (uint32_t)frame;
    f->seen++;
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Of those tallied the ones seen in at least so many texts. */
static void features_keep(uint32_t least)
{
    for (size_t i = 0; i < FEATURE_ROOM; i++)
        if (features[i].seen >= least && features[i].several && features[i].id != 0)
            features[n_features++] = features[i];
    qsort(features, n_features, sizeof *features, by_number); /* a feature begins with its id */
}

/* Its place among those kept, or UINT32_MAX. */
static uint32_t feature_index(uint32_t id)
{
    const struct feature *f = bsearch(&id, features, n_features, sizeof *features, by_number);
    return f ? (uint32_t)(f - features) : UINT32_MAX;
}

static void shuffle(size_t *order, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        size_t other = dice((uint32_t)i), held = order[i - 1];
        order[i - 1] = order[other];
        order[other] = held;
    }
}

#endif
