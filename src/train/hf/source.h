/* Where a tensor's values come from when it goes from one form to the other: rows of one tensor, or of an
 * expert's each, moved and changed as the architecture wants it. */
#ifndef WEIR_TRAIN_HF_SOURCE_H
#define WEIR_TRAIN_HF_SOURCE_H

#include "train/hf/arch.h"
#include "train/pour.h"

struct hf_source {
    const struct tensor *const *parts; /* n_parts of them, one above the other: rows of the result */
    int64_t n_parts;
    int64_t first; /* the first row that is taken, of the first part */
    enum hf_change change;
    bool back;         /* the change is undone */
    int64_t heads;     /* of the rows that are turned */
    bool transposed;   /* columns of one part: a table of the vocabulary's tokens in an adapter */
    const float *made; /* not NULL: the values themselves; nothing else counts */
};

/* Rows [first, first + n) of a result whose rows have `row` values; `vector`: its values are what is moved.
 */
int hf_source_rows(const struct hf_source *s, int64_t row, bool vector, int64_t rows, int64_t first,
    int64_t n, float *to, struct error *err) MUST_USE;

/* ---- Tensors to pour, each with its source ---- */
struct hf_list {
    struct pour_tensor *tensors;
    struct hf_source *sources;
    size_t n, room;
};
int hf_list_add(struct hf_list *list, const struct pour_tensor *tensor, const struct hf_source *source,
    struct error *err) MUST_USE;
void hf_list_free(struct hf_list *list); /* a zeroed one is allowed */
uint64_t hf_list_bytes(const struct hf_list *list);
/* `how` with the list's rows. */
struct pour hf_list_pour(const struct pour *how, struct hf_list *list);

#endif
