/* Where a tensor's values come from when it goes from one form to the other: rows of one tensor, or of an
 * expert's each, moved and changed as the architecture wants it. */
#ifndef WEIR_TRAIN_HF_SOURCE_H
#define WEIR_TRAIN_HF_SOURCE_H

#include "train/hf/config.h"
#include "train/pour.h"

struct hf_source {
    /* To a file: the folder's tensor, or one for each of the view's matrices. Back: the file's one or two
     * tensors that the folder has as one, each with its view. */
    const struct tensor *const *parts;
    int64_t n_parts;
    bool packed; /* to a file: the parts are MXFP4's nibbles and its scales, of all matrices */
    /* To a file: the scales of each part of FP8, NULL for those of other types; NULL: there is none. */
    const struct tensor *const *scales;
    struct hf_fp8 fp8;
    struct hf_view view[2];
    int64_t skip; /* back: matrices of the file before the first that is taken */
    enum hf_change change;
    bool back;
    const struct hf_shape *shape; /* whose heads are turned or dealt */
    const float *made;            /* not NULL: the values themselves; nothing else counts */
};

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
