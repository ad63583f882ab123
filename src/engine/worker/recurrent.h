/* What a recurrent layer remembers of a sequence: not its tokens, but what they came to.
 *
 *   snapshot:  the last n_conv inputs of a short convolution | for each head a matrix [v_width][k_width]
 *
 * A step reads the newest snapshot and writes another, so that one that fails leaves the sequence as it was.
 * A slot keeps SNAPSHOTS of them, each for one length; it can go back to those lengths and to the start. A
 * snapshot that ends a run of RUN_LEAST tokens (a prompt) outlives those of steps of fewer after it. */
#ifndef WEIR_ENGINE_WORKER_RECURRENT_H
#define WEIR_ENGINE_WORKER_RECURRENT_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/worker/backend.h"

enum { SNAPSHOTS = 3, RUN_LEAST = 32 };

struct recurrent_spec {
    int32_t n_conv, channels; /* inputs kept, and their width; 0: no convolution */
    int32_t n_heads, k_width, v_width;
};

struct recurrent_slot {
    int32_t lengths[SNAPSHOTS]; /* of the sequence that each stands for; 0: none */
    bool runs[SNAPSHOTS];       /* ends a run of RUN_LEAST tokens or more */
    int32_t from, to;           /* of the step: snapshots read (-1: the start) and written */
};

struct recurrent_layer {
    struct recurrent_spec spec;
    struct backend *backend;
    struct recurrent_slot *slots;
    size_t conv_floats, floats; /* of the first part of a snapshot, of all of it */
    uint64_t bytes;
    float *data; /* [slot][snapshot] */
};

static inline float *recurrent_conv(const struct recurrent_layer *l, int32_t slot, int32_t snapshot)
{
    return l->data + ((size_t)slot * SNAPSHOTS + (size_t)snapshot) * l->floats;
}

static inline float *recurrent_head(
    const struct recurrent_layer *l, int32_t slot, int32_t snapshot, int32_t head)
{
    size_t matrix = (size_t)l->spec.k_width * (size_t)l->spec.v_width;
    return recurrent_conv(l, slot, snapshot) + l->conv_floats + (size_t)head * matrix;
}

#endif
