/* safetensors files (github.com/huggingface/safetensors, README "Format"), read from a mapping.
 *
 *   header length u64 | header: JSON, spaces behind it | data
 *   {"__metadata__": {"format": "pt"}, "NAME": {"dtype": "BF16", "shape": [rows, columns], "data_offsets":
 * [0, 128]}}
 *
 * Offsets count from the data's beginning; tensors fill it without holes. The file is hostile until parsed:
 * every length, offset and product is checked before use. As with model files (gguf.h), one that is cut while
 * it is mapped kills the process. */
#ifndef WEIR_TRAIN_HF_SAFETENSORS_H
#define WEIR_TRAIN_HF_SAFETENSORS_H

#include "base/map.h"
#include "engine/worker/tensor.h"
#include "json/json_view.h"

/* `tensor`: shape as in GGUF, the first dimension varies fastest. Of a type or shape that cannot be used here
 * `unusable` says why, and `tensor` holds no more than name and bytes. */
struct safetensor {
    struct tensor tensor;
    const char *unusable; /* NULL: it can be used */
    bool e4m3;            /* of that type, which needs scales */
    bool taken;           /* the caller's: it has become something */
};

struct safetensors {
    const char *base; /* mapped where `mapped` */
    size_t size;
    bool mapped;
    struct json_view view; /* names stand in it or in the mapping */
    struct safetensor *list;
    size_t n;
};

/* Bytes that must outlive the result. */
int safetensors_parse(const void *data, size_t size, struct safetensors *out, struct error *err) MUST_USE;
int safetensors_open(const char *path, struct safetensors *out, struct error *err) MUST_USE;
void safetensors_close(struct safetensors *s); /* a zeroed one is allowed */

/* `count` values from `first` on, as floats. */
int safetensor_values(
    const struct tensor *t, int64_t first, int64_t count, float *to, struct error *err) MUST_USE;

/* The name of a type in a safetensors file; NULL: it has no such type. */
const char *safetensors_type_name(enum tensor_type type);

/* ---- A model's weights: NAME.safetensors, or what NAME.safetensors.index.json says ---- */
struct weights {
    struct safetensors *files;
    size_t n_files;
    struct map names; /* -> index in list */
    struct safetensor **list;
    size_t n;
};
/* The index's files must stand in the folder itself and hold each tensor where it says. */
int weights_open(const char *folder, const char *name, struct weights *out, struct error *err) MUST_USE;
void weights_close(struct weights *w); /* a zeroed one is allowed */
/* NULL: there is none. */
struct safetensor *weights_find(const struct weights *w, struct str name);

#endif
