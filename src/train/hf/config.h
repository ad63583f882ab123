/* config.json to a GGUF file's keys and back. */
#ifndef WEIR_TRAIN_HF_CONFIG_H
#define WEIR_TRAIN_HF_CONFIG_H

#include "base/arena.h"
#include "engine/worker/gguf_write.h"
#include "json/json_view.h"
#include "train/hf/arch.h"

/* A tensor that is no weight but comes of config.json: factors of positions. */
struct hf_made {
    const char *name;
    float *values;
    int64_t n;
};

/* Weights in FP8 (quantization_config's quant_method "fp8"): a scale for each block of rows and columns. */
struct hf_fp8 {
    bool is;
    int64_t rows, columns; /* 0: one scale for all of a tensor */
};

struct hf_config {
    struct arena *arena;
    struct json_view view;
    const struct json_item *root;
    const struct hf_arch *arch;
    struct hf_shape shape;
    struct hf_fp8 fp8;
    struct hf_made made[2];
    int n_made;
};

/* Reads FOLDER/config.json and checks what it says against the architecture's row: what is not known is an
 * error that names the key. `arena` must outlive the result. */
int hf_config_read(
    struct arena *arena, const char *folder, struct hf_config *out, struct error *err) MUST_USE;
void hf_config_free(struct hf_config *c); /* a zeroed one is allowed */
/* All ARCHITECTURE.* keys; fills c->made. What a file cannot keep is said on standard error. */
int hf_config_write(struct hf_config *c, struct gguf_writer *w, struct error *err) MUST_USE;

/* The other way. `arch` and `shape` from a file's keys and tensors ... */
int hf_shape_of(
    const struct gguf *g, const struct hf_arch **arch, struct hf_shape *shape, struct error *err) MUST_USE;
/* ... and config.json. `type` is what the weights are written in: "bfloat16". */
int hf_config_make(const struct gguf *g, const struct hf_arch *arch, const struct hf_shape *shape,
    const char *type, struct buf *out, struct error *err) MUST_USE;

/* ---- Inside ---- */

/* Llama 3's divisors of the frequencies (their reference code, apply_scaling), n / 2 of them. */
struct hf_llama3 {
    double base, factor, low, high, original;
};
void hf_llama3_factors(const struct hf_llama3 *how, int64_t n_rotated, float *to);
/* rope.* */
int hf_rope_write(struct hf_config *c, struct gguf_writer *w, struct error *err) MUST_USE;
int hf_rope_make(const struct gguf *g, const struct hf_arch *arch, const struct hf_shape *s,
    struct json_writer *w, struct error *err) MUST_USE;

/* Of an architecture of two kinds of layers, in both directions: shape, keys and positions. */
int hf_kinds_read(struct hf_config *c, struct error *err) MUST_USE;
int hf_kinds_write(struct hf_config *c, struct gguf_writer *w, struct error *err) MUST_USE;
int hf_kinds_get(
    const struct gguf *g, const struct hf_arch *arch, struct hf_shape *s, struct error *err) MUST_USE;
int hf_kinds_make(const struct gguf *g, const struct hf_arch *arch, const struct hf_shape *s,
    struct json_writer *w, struct error *err) MUST_USE;
/* They see to this key, which other architectures have once for all layers. */
bool hf_kinds_has(const struct hf_arch *a, const char *gguf);

/* A member that is there and not null; else NULL. */
const struct json_item *hf_given(const struct json_item *object, const char *key);
/* A number of config.json; `fallback` where it is not given, NAN where it must be. */
int hf_number(const struct json_item *object, const char *key, double fallback, double least, double most,
    double *out, struct error *err) MUST_USE;
/* Likewise a whole one; `fallback` below 0: it must be given. */
int hf_whole(const struct json_item *object, const char *key, int64_t fallback, int64_t least, int64_t most,
    int64_t *out, struct error *err) MUST_USE;
/* Room for a tensor in c->made. */
float *hf_made_add(struct hf_config *c, const char *name, int64_t n);
/* The fewest digits that read back as the same float: 1e-06, not 9.999999974752427e-07. */
void hf_write_float(struct json_writer *w, float value);
/* Members. */
void hf_write_number(struct json_writer *w, const char *key, int64_t value);
void hf_write_bool(struct json_writer *w, const char *key, bool value);
/* "ARCHITECTURE.KEY" into `to`. */
enum { HF_KEY_MAX = 128 };
const char *hf_key(const struct hf_arch *a, const char *key, char to[HF_KEY_MAX]);

#endif
