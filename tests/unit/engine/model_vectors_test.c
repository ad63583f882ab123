/* Logits and greedy tokens against the reference engine's, for every instruction set of this CPU. The data
 * lies beside the project (WEIR_SHARED, ../shared); without it the test says that it was skipped. */
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/worker/gguf.h"
#include "engine/worker/model.h"
#include "json/json.h"
#include "unit/engine/isa.h"

enum { GREEDY = 16 };

static const char *const files[] = {"models/llama-gqa", "models/llama-tied-ropefreqs",
    "models/llama-rope-linear", "models/llama-yarn", "models/llama-f16", "models/llama-bf16",
    "models/llama-q8_0", "models/mistral", "models/mixtral", "models/cohere2", "models/command-r",
    "models/glm4", "models/olmo2", "models/granitemoe", "models/granite", "models/phi3-longrope",
    "models/phi3", "models/gemma3", "models/gemma2", "models/mistral3", "models/smollm3", "models/gemma",
    "models/qwen3", "models/qwen2", "models/qwen2moe", "models/qwen3moe", "models/gpt-oss",
    "models/gpt-oss-mxfp4", "models/glm4moe", "models/deepseek2", "models/qwen35", "models/qwen35moe",
    "models/gemma4", "models/gemma4-kv-eq", "models/gemma4-moe", "models/deepseek2-yarn",
    "models/deepseek2-mla", "quants/Q4_0", "quants/Q4_1", "quants/Q5_0", "quants/Q5_1", "quants/Q8_0",
    "quants/Q2_K", "quants/Q3_K_S", "quants/Q3_K_M", "quants/Q4_K_S", "quants/Q4_K_M", "quants/Q5_K_S",
    "quants/Q5_K_M", "quants/Q6_K", "quants/IQ4_NL", "quants/IQ4_XS", "quants/IQ1_S", "quants/IQ1_M",
    "quants/IQ2_XXS", "quants/IQ2_XS", "quants/IQ2_S", "quants/IQ3_XXS", "quants/IQ3_S", "quants/TQ1_0",
    "quants/TQ2_0", "quants/MXFP4"};

static const char *shared(void)
{
    const char *dir = getenv("WEIR_SHARED");
    return dir ? dir : "../shared";
}

static void path_of(char out[512], const char *name, const char *suffix)
{
    snprintf(out, 512, "%s/vectors/%s%s", shared(), name, suffix);
}

static json_t *reference_read(const char *name)
{
    char path[512];
    path_of(path, name, ".json");
    json_error_t e;
    json_t *root = json_load_file(path, 0, &e);
    if (!root)
        fail_msg("%s: %s", path, e.text);
    return root;
}

static int argmax(const float *logits, int32_t n)
{
    int best = 0;
    for (int32_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

/* NAN if any is not a number. */
static double largest_difference(const json_t *expected, const float *logits, int32_t n)
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
    int32_t n_vocab;
    float *logits; /* of every position of the prompt */
};

static void decode(struct run *r, const int32_t *tokens, int32_t n, float *logits)
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

static void check_positions(const json_t *reference, const struct run *r, int32_t n, double bound)
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

static void check_greedy(const json_t *reference, struct run *r, float *last, double bound)
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

/* The prompt again in another slot: two pieces, the second in a batch with the whole prompt in a third slot;
 * equal to the bit. Before check_greedy, which writes over the last row. */
static void check_cuts(struct run *r, const int32_t *prompt, int32_t n)
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

static void check(const char *name, const json_t *reference, struct run *r, const char *isa)
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

    /* Products are of floats here, so files of other types are held to the reference's run on floats. */
    double own = largest_difference(json_object_get(reference, "logits"), last, r->n_vocab);
    double f32 = largest_difference(json_object_get(exact ? exact : reference, "logits"), last, r->n_vocab);
    double std = json_number_value(json_object_get(reference, "logits_std"));
    printf("%-28s %-7s largest difference %.1e to floats, %.1e (%.3f std) to the engine's own\n", name, isa,
        f32, own, own / std);
    assert_true(f32 <= 1e-3);
    assert_true(own <= 0.1 * std);
    /* The other figures come from the engine's own run, whose activations were rounded. */
    check_cuts(r, tokens, n);
    check_positions(reference, r, n, exact ? 0.3 * std : 1e-3);
    check_greedy(reference, r, last, exact ? 0.3 * std : 1e-3);
    free(r->logits);
}

static void run_file(const char *name, const char *isa)
{
    char path[512];
    struct error err = {0};
    path_of(path, name, ".gguf");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    struct gguf *g;
    struct run r = {0};
    struct backend *b = backend_for(isa, 2);
    if (gguf_open(&fd, 1, &g, &err) != 0 || model_load(g, b, &r.model, &err) != 0 ||
        model_state_create(r.model, 3, 256, &r.state, &err) != 0)
        fail_msg("%s: %s", name, err.message);
    r.n_vocab = model_info(r.model)->n_vocab;
    json_t *reference = reference_read(name);
    check(name, reference, &r, isa);
    json_decref(reference);
    model_state_free(r.state);
    model_free(r.model);
    gguf_close(g);
    backend_free(b);
    close(fd);
}

static void vectors_agree(void **state)
{
    (void)state;
    char path[512];
    path_of(path, files[0], ".gguf");
    if (access(path, R_OK) != 0) {
        printf("skipped: no reference data under %s (set WEIR_SHARED)\n", shared());
        skip();
    }
    const struct kernels *list[KERNELS_MAX];
    int32_t count = kernels_list(list);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        for (int32_t k = 0; k < count; k++)
            run_file(files[i], list[k]->isa);
}

static void last_logits(const char *name, int32_t n_context, float logits[], int32_t *n_vocab)
{
    char path[512];
    struct error err = {0};
    struct gguf *g;
    struct run r = {0};
    struct backend *b = backend_for("scalar", 2);
    path_of(path, name, ".gguf");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (gguf_open(&fd, 1, &g, &err) != 0 || model_load(g, b, &r.model, &err) != 0 ||
        model_state_create(r.model, 1, n_context, &r.state, &err) != 0)
        fail_msg("%s: %s", name, err.message);
    *n_vocab = model_info(r.model)->n_vocab;
    assert_in_range(*n_vocab, 1, 512);
    assert_int_equal(model_info(r.model)->n_context_best, 512);
    for (int32_t token = 5; token < 25; token++)
        decode(&r, &token, 1, logits);
    model_state_free(r.state);
    model_free(r.model);
    gguf_close(g);
    backend_free(b);
    close(fd);
}

/* LongRoPE's factors are chosen by the context that a state is made for: one set up to the context that the
 * model was first trained on (512 here), the other behind it. */
static void long_contexts_turn_by_their_own_factors(void **state)
{
    (void)state;
    char path[512];
    float within[512], longer[512];
    int32_t n;
    path_of(path, "models/phi3-longrope", ".gguf");
    if (access(path, R_OK) != 0)
        skip();
    last_logits("models/phi3-longrope", 256, within, &n);
    last_logits("models/phi3-longrope", 512, longer, &n);
    assert_memory_equal(within, longer, (size_t)n * sizeof *within);
    last_logits("models/phi3-longrope", 513, longer, &n);
    assert_memory_not_equal(within, longer, (size_t)n * sizeof *within);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_agree),
        cmocka_unit_test(long_contexts_turn_by_their_own_factors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
