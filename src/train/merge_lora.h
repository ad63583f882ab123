/* What an adapter (engine/worker/lora.h has the format) adds to a weight's rows. */
#ifndef WEIR_TRAIN_MERGE_LORA_H
#define WEIR_TRAIN_MERGE_LORA_H

#include "train/merge.h"

struct merge_lora {
    int64_t rank, n_in, n_out; /* rank 0: it adds nothing to this weight */
    bool table;                /* the embedding's: a row of A for each token, B makes the values */
    float *a, *b;              /* both as floats; of experts one after the other */
    float scale;
};

/* It is an adapter, and each tensor of it fits one of the base. */
int merge_lora_check(const struct merge_input *adapter, const struct gguf *base, struct error *err) MUST_USE;
bool merge_lora_has(const struct merge_input *adapter, const char *name);
/* Both halves for this weight; replaces what the last one's were. */
int merge_lora_read(struct merge_lora *l, const struct merge_input *adapter, const struct tensor *weight,
    struct error *err) MUST_USE;
void merge_lora_add(const struct merge_lora *l, int64_t first, int64_t n, float *rows);
void merge_lora_free(struct merge_lora *l); /* a zeroed one is allowed */

#endif
