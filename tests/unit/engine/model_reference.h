/* A model file against what a reference engine computed from it: STEM.gguf and STEM.json beside it, of either
 * kind:
 *
 *   {"tokens", "logits", "logits_std", "greedy", ...}   a prompt: logits, and the 16 tokens that follow;
 * perhaps "foretold", the rows of a layer that drafts
 *   {"cases": [{"tokens", "embedding"}, ...]}           texts: embeddings, or the scores of a head that ranks
 */
#ifndef WEIR_TESTS_UNIT_ENGINE_MODEL_REFERENCE_H
#define WEIR_TESTS_UNIT_ENGINE_MODEL_REFERENCE_H

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/worker/gguf.h"
#include "engine/worker/model.h"
#include "json/json.h"
#include "unit/engine/isa.h"

enum { GREEDY = 16 };

static inline json_t *reference_read(const char *stem)
{
    char path[1024];
    snprintf(path, sizeof path, "%s.json", stem);
    json_error_t e;
    json_t *root = json_load_file(path, 0, &e);
    if (!root)
        fail_msg("%s: %s", path, e.text);
    return root;
}

static inline int argmax(const float *logits, int32_t n)
{
    int best = 0;
    for (int32_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

/* NAN if any is not a number. */
static inline double largest_difference(const json_t *expected, const float *logits, int32_t n)
{
    double most = 0;
    assert_int_equal(json_array_size(expected), (size_t)n);
    for (int32_t i = 0; i < n; i++) {
        double d = fabs(json_number_value(json_array_get(expected, (size_t)i)) - (double)logits[i]);
        most = d > most || isnan(d) ? d : most;
    }
    return most;
}

struct run {
    struct model *model;
    struct model_state *state;
    enum tensor_type kept; /* keys and values */
    int32_t n_vocab;
    float *logits; /* of every position of the prompt */
};

static inline void decode(struct run *r, const int32_t *tokens, int32_t n, float *logits)
{
    int32_t slots[64] = {0};
    uint8_t wants[64];
    struct error err = {0};
    memset(wants, 1, sizeof wants);
    assert_in_range(n, 1, 64);
    struct model_batch batch = {n, tokens, slots, wants};
    if (model_decode(r->state, &batch, logits, &err) != 0)
        fail_msg("%s", err.message);
}

static inline void check_positions(const json_t *reference, const struct run *r, int32_t n, double bound)
{
    const json_t *ids = json_object_get(reference, "argmax_per_position");
    const json_t *values = json_object_get(reference, "maxlogit_per_position");
    for (int32_t i = 0; ids && i < n; i++) {
        const float *row = r->logits + i * r->n_vocab;
        int32_t id = (int32_t)json_integer_value(json_array_get(ids, (size_t)i));
        assert_in_range(id, 0, r->n_vocab - 1);
        assert_true(fabs(json_number_value(json_array_get(values, (size_t)i)) - (double)row[id]) <= bound);
    }
}

static inline void check_greedy(const json_t *reference, struct run *r, float *last, double bound)
{
    const json_t *greedy = json_object_get(reference, "greedy");
    assert_int_equal(json_array_size(greedy), GREEDY);
    for (size_t i = 0; i < GREEDY; i++) {
        int32_t token = argmax(last, r->n_vocab);
        assert_int_equal(token, json_integer_value(json_array_get(greedy, i)));
        decode(r, &token, 1, last);
    }
    const json_t *after = json_object_get(reference, "logits_after_greedy_top");
    for (size_t i = 0; i < json_array_size(after); i++) {
        const json_t *pair = json_array_get(after, i);
        double d = json_number_value(json_array_get(pair, 1)) -
                   (double)last[json_integer_value(json_array_get(pair, 0))];
        assert_true(fabs(d) <= bound);
    }
}

/* How far a cache of fewer bits may take a logit from the reference's, whose cache is of floats: a share of a
 * logit's spread (in a model of hundreds of values the rounding of one counts). */
static inline double kept_rounding(enum tensor_type kept)
{
    return kept == TENSOR_F32 ? 0 : kept == TENSOR_F16 ? 0.02 : 0.05;
}

/* The prompt again in another slot: two pieces, the second in a batch with the whole prompt in a third slot;
 * equal to the bit. Before check_greedy, which writes over the last row. */
static inline void check_cuts(struct run *r, const int32_t *prompt, int32_t n)
{
    int32_t tokens[128], slots[128], cut = n / 3, rest = n - cut;
    uint8_t wants[128];
    struct error err = {0};
    float *logits = malloc((size_t)(2 * n) * (size_t)r->n_vocab * sizeof *logits);
    assert_non_null(logits);
    for (int32_t i = 0; i < cut + rest + n; i++) {
        tokens[i] = prompt[i % n];
        slots[i] = 1 + (i >= n);
        wants[i] = 1;
    }
    struct model_batch first = {cut, tokens, slots, wants},
                       second = {rest + n, tokens + cut, slots + cut, wants};
    assert_int_equal(model_decode(r->state, &first, logits, &err), 0);
    assert_int_equal(model_decode(r->state, &second, logits + cut * r->n_vocab, &err), 0);
    const size_t bytes = (size_t)n * (size_t)r->n_vocab * sizeof *logits;
    assert_memory_equal(logits, r->logits, bytes);
    assert_memory_equal(logits + n * r->n_vocab, r->logits, bytes);
    free(logits);
}

/* What the layer that drafts says behind the prompt and its likeliest next token, then behind what it said.
 */
static inline void check_foretold(const json_t *reference, struct run *r, const float *last, int32_t n)
{
    const json_t *rows = json_object_get(reference, "foretold");
    const int32_t slot = 0;
    const uint8_t wants = 1;
    struct error err = {0};
    int32_t token = argmax(last, r->n_vocab);
    float *row = malloc((size_t)r->n_vocab * sizeof *row);
    assert_non_null(row);
    for (size_t k = 0; k < json_array_size(rows); k++) {
        const int32_t position = n + (int32_t)k;
        const struct model_batch batch = {1, &token, &slot, &wants};
        assert_int_equal(model_foretell(r->state, &batch, &position, row, &err), 0);
        assert_true(largest_difference(json_array_get(rows, k), row, r->n_vocab) <= 1e-3);
        token = argmax(row, r->n_vocab);
    }
    if (rows)
        model_foretell_end(r->state, slot, n);
    free(row);
}

static inline void check(const char *name, const json_t *reference, struct run *r, const char *isa)
{
    int32_t tokens[64];
    const json_t *ids = json_object_get(reference, "tokens"),
                 *exact = json_object_get(reference, "f32_weights");
    int32_t n = (int32_t)json_array_size(ids);
    assert_in_range(n, 1, 64);
    for (int32_t i = 0; i < n; i++)
        tokens[i] = (int32_t)json_integer_value(json_array_get(ids, (size_t)i));
    r->logits = malloc((size_t)n * (size_t)r->n_vocab * sizeof *r->logits);
    assert_non_null(r->logits);
    decode(r, tokens, n, r->logits);
    float *last = r->logits + (n - 1) * r->n_vocab;

    double std = json_number_value(json_object_get(reference, "logits_std"));
    /* The scalar products of quantised weights are of floats and held to the reference's run on floats. The
     * others round activations to 8 bits, as the reference's own run does: both are held to the same share of
     * a logit's spread, which is what such rounding makes of these small models. */
    const double kept = kept_rounding(r->kept) * std,
                 rounding = exact && strcmp(isa, "scalar") != 0 ? 0.1 * std : 1e-3;
    double own = largest_difference(json_object_get(reference, "logits"), last, r->n_vocab);
    double f32 = largest_difference(json_object_get(exact ? exact : reference, "logits"), last, r->n_vocab);
    printf("%-28s %-7s %-4s largest difference %.1e to floats, %.1e (%.3f std) to the engine's own\n", name,
        isa, tensor_type_info(r->kept)->name, f32, own, own / std);
    assert_true(f32 <= rounding + kept);
    assert_true(own <= 0.1 * std + kept);
    check_cuts(r, tokens, n);
    if (r->kept == TENSOR_F32) {
        /* The other figures come from the engine's own run, whose activations were rounded. */
        check_positions(reference, r, n, exact ? 0.3 * std : 1e-3);
        check_foretold(reference, r, last, n);
        check_greedy(reference, r, last, exact ? 0.3 * std : 1e-3);
    }
    free(r->logits);
}

static inline void check_case(const char *name, const char *isa, struct run *r, const json_t *item)
{
    int32_t tokens[64];
    struct error err = {0};
    const json_t *ids = json_object_get(item, "tokens"), *want = json_object_get(item, "embedding");
    const int32_t n = (int32_t)json_array_size(ids), width = (int32_t)json_array_size(want);
    assert_in_range(n, 1, 64);
    for (int32_t i = 0; i < n; i++)
        tokens[i] = (int32_t)json_integer_value(json_array_get(ids, (size_t)i));
    const bool rows = model_info(r->model)->pooling == MODEL_POOL_NONE;
    assert_int_equal(width, model_info(r->model)->n_embedding * (rows ? n : 1));
    float *got = malloc((size_t)width * sizeof *got);
    assert_non_null(got);
    if (model_encode(r->state, tokens, n, got, &err) != 0)
        fail_msg("%s: %s", name, err.message);
    double ab = 0, aa = 0, bb = 0;
    for (int32_t i = 0; i < width; i++) {
        double a = (double)got[i], b = json_number_value(json_array_get(want, (size_t)i));
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    const double worst = largest_difference(want, got, width);
    printf("%-28s %-7s cosine %.9f, largest difference %.1e\n", name, isa, ab / sqrt(aa * bb), worst);
    assert_true(ab / sqrt(aa * bb) >= 0.9999 && worst < 1e-3);
    free(got);
}

/* With its cache of floats, as the reference's, and as it is unless it is said otherwise. */
static inline void check_caches(const char *name, const json_t *reference, struct run *r, const char *isa)
{
    const enum tensor_type kept[] = {TENSOR_F32, model_kv_type(r->model)};
    struct error err = {0};
    for (int i = 0; i < 2; i++) {
        r->kept = kept[i];
        const struct model_room room = {.n_slots = 3, .n_context = 256, .kv_type = kept[i]};
        if (model_state_create_within(r->model, &room, &r->state, &err) != 0)
            fail_msg("%s: %s", name, err.message);
        check(name, reference, r, isa);
        model_state_free(r->state);
    }
}

static inline void check_cases(const char *name, const json_t *cases, struct run *r, const char *isa)
{
    struct error err = {0};
    if (model_state_create(r->model, 1, 64, &r->state, &err) != 0)
        fail_msg("%s: %s", name, err.message);
    for (size_t i = 0; i < json_array_size(cases); i++)
        check_case(name, isa, r, json_array_get(cases, i));
    model_state_free(r->state);
}

static inline void reference_check(const char *stem, const char *name, const char *isa)
{
    char path[1024];
    struct error err = {0};
    snprintf(path, sizeof path, "%s.gguf", stem);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    struct gguf *g;
    struct run r = {0};
    struct backend *b = backend_for(isa, 2);
    if (gguf_open(&fd, 1, &g, &err) != 0 ||
        model_load_with(g, &(struct model_options){.foretells = true}, b, &r.model, &err) != 0)
        fail_msg("%s: %s", name, err.message);
    r.n_vocab = model_info(r.model)->n_vocab;
    json_t *reference = reference_read(stem);
    const json_t *cases = json_object_get(reference, "cases");
    if (cases)
        check_cases(name, cases, &r, isa);
    else
        check_caches(name, reference, &r, isa);
    json_decref(reference);
    model_free(r.model);
    gguf_close(g);
    backend_free(b);
    close(fd);
}

#endif
