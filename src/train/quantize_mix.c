/* What can be asked for. Numbers are the file's (general.file_type). */
#include "train/quantize.h"

#define T(x) TENSOR_##x

/* Of less than three bits; `worth`: what values and the first layers get. */
#define TINY(worth)                                                                                          \
    .tiny = true, .output = T(Q5_K), .values_shared = T(Q4_K), .values = worth, .down_first = worth, .part = 8

static const struct quantize_mix mixes[] = {
    {"F32", T(F32), 0, {0}},
    {"F16", T(F16), 1, {0}},
    {"BF16", T(BF16), 32, {0}},
    {"Q8_0", T(Q8_0), 7, {0}},
    {"Q4_0", T(Q4_0), 2, {.down_first = T(Q4_1), .part = 8, .down_when = QUANTIZE_WITH}},
    {"Q4_1", T(Q4_1), 3, {0}},
    {"Q5_0", T(Q5_0), 8, {.down_first = T(Q5_1), .part = 8, .down_when = QUANTIZE_WITH}},
    {"Q5_1", T(Q5_1), 9, {0}},
    {"MXFP4", T(MXFP4), 38, {.experts_only = true, .output = T(Q8_0)}},
    {"Q2_K", T(Q2_K), 10,
        {.values_shared = T(Q4_K),
            .values = T(Q3_K),
            .down = T(Q3_K),
            .join = T(Q3_K),
            .join_of_eight = true}},
    {"Q2_K_S", T(Q2_K), 21, {.weighed = true, .values_shared = T(Q4_K), .down_first = T(Q4_K), .part = 8}},
    {"Q3_K_S", T(Q3_K), 11, {.join_of_eight = true}},
    {"Q3_K_M", T(Q3_K), 12,
        {.values_first = T(Q5_K),
            .n_first = 2,
            .values = T(Q4_K),
            .down_first = T(Q5_K),
            .part = 16,
            .down = T(Q4_K),
            .join = T(Q4_K),
            .join_of_eight = true}},
    {"Q3_K_L", T(Q3_K), 13, {.values = T(Q5_K), .down = T(Q5_K), .join = T(Q5_K)}},
    {"Q4_K_S", T(Q4_K), 14,
        {.values_first = T(Q5_K), .n_first = 4, .down_first = T(Q5_K), .part = 8, .join_of_eight = true}},
    {"Q4_K_M", T(Q4_K), 15, {.more = T(Q6_K), .join_of_eight = true}},
    {"Q5_K_S", T(Q5_K), 16, {0}},
    {"Q5_K_M", T(Q5_K), 17, {.more = T(Q6_K)}},
    {"Q6_K", T(Q6_K), 18, {0}},
    {"IQ4_NL", T(IQ4_NL), 25,
        {.values_shared = T(Q5_K),
            .down_first = T(Q5_K),
            .part = 8,
            .down_when = QUANTIZE_WITHOUT,
            .join_of_eight = true}},
    {"IQ4_XS", T(IQ4_XS), 30,
        {.values_shared = T(Q5_K),
            .down_first = T(Q5_K),
            .part = 8,
            .down_when = QUANTIZE_WITHOUT,
            .join_of_eight = true}},
    {"IQ3_M", T(IQ3_S), 27,
        {.values = T(Q4_K),
            .down_first = T(Q4_K),
            .part = 8,
            .down_more_of_eight = true,
            .join = T(Q4_K),
            .join_of_eight = true}},
    {"IQ3_S", T(IQ3_S), 26, {.values_shared = T(Q4_K), .join_of_eight = true}},
    {"IQ3_XS", T(IQ3_S), 22,
        {.values_shared = T(Q4_K),
            .keys = T(IQ3_XXS),
            .queries = T(IQ3_XXS),
            .middle = T(IQ3_XXS),
            .join_of_eight = true}},
    {"IQ3_XXS", T(IQ3_XXS), 23,
        {.output = T(Q5_K),
            .embedding = T(IQ3_S),
            .values_shared = T(Q4_K),
            .values = T(IQ3_S),
            .values_when = QUANTIZE_WITHOUT,
            .down_first = T(Q4_K),
            .part = 8,
            .down = T(Q3_K),
            .down_when = QUANTIZE_WITHOUT,
            .join = T(IQ3_S),
            .keys = T(IQ2_S),
            .queries = T(IQ2_S),
            .join_of_eight = true}},
    {"IQ2_M", T(IQ2_S), 29, {TINY(T(IQ3_S)), .embedding = T(IQ3_S), .join = T(IQ3_S)}},
    {"IQ2_S", T(IQ2_XS), 28, {TINY(T(IQ3_S)), .embedding = T(IQ3_S), .join = T(IQ3_S)}},
    {"IQ2_XS", T(IQ2_XS), 20, {TINY(T(Q2_K)), .embedding = T(Q2_K)}},
    {"IQ2_XXS", T(IQ2_XXS), 19, {TINY(T(Q2_K)), .embedding = T(Q2_K)}},
    {"IQ1_M", T(IQ1_M), 31, {TINY(T(Q2_K)), .embedding = T(Q2_K), .join = T(IQ2_XXS)}},
    {"IQ1_S", T(IQ1_S), 24, {TINY(T(Q2_K)), .embedding = T(Q2_K), .join = T(IQ2_XXS)}},
    {"TQ2_0", T(TQ2_0), 37, {.embedding = T(Q4_K)}},
    {"TQ1_0", T(TQ1_0), 36, {.embedding = T(Q4_K)}},
};

const struct quantize_mix *quantize_mix_find(const char *name)
{
    static const struct {
        const char *name, *stands_for;
    } others[] = {{"Q3_K", "Q3_K_M"}, {"Q4_K", "Q4_K_M"}, {"Q5_K", "Q5_K_M"}, {"MXFP4_MOE", "MXFP4"}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (str_is_nocase(str_from(name), others[i].name))
            name = others[i].stands_for;
    for (size_t i = 0; i < sizeof mixes / sizeof *mixes; i++)
        if (str_is_nocase(str_from(name), mixes[i].name))
            return &mixes[i];
    return NULL;
}

struct quantize_plan quantize_plan_of(const struct quantize_mix *mix)
{
    return (struct quantize_plan){.mix = mix, .output = TENSOR_TYPES, .embedding = TENSOR_TYPES};
}
