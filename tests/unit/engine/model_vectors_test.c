/* Logits and greedy tokens against the reference engine's, for every instruction set of this CPU. The data
 * lies beside the project (WEIR_SHARED, ../shared); without it the test says that it was skipped. */
#include "unit/engine/model_reference.h"

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
        for (int32_t k = 0; k < count; k++) {
            path_of(path, files[i], "");
            reference_check(path, files[i], list[k]->isa);
        }
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
