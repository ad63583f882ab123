#include "engine/worker/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "unit/engine/isa.h"
#include "unit/engine/model_oracle.h"

enum { TOKENS = 30, CONTEXT = 64 };

struct loaded {
    struct tiny tiny;
    char *bytes;
    struct gguf *gguf;
    struct backend *backend;
    struct model *model;
    struct model_state *state;
};

static int load(struct loaded *x, const struct tiny *t, struct error *err)
{
    size_t size;
    *x = (struct loaded){.tiny = *t};
    x->bytes = tiny_model(t, &size);
    int rc = gguf_open_memory(x->bytes, size, &x->gguf, err);
    if (rc == 0)
        rc = backend_cpu_create(2, &x->backend, err);
    if (rc == 0)
        rc = model_load(x->gguf, x->backend, &x->model, err);
    return rc;
}

static void unload(struct loaded *x)
{
    model_state_free(x->state);
    model_free(x->model);
    backend_free(x->backend);
    gguf_close(x->gguf);
    free(x->bytes);
}

static void start(struct loaded *x, const struct tiny *t, int32_t n_slots, int32_t n_context)
{
    struct error err = {0};
    if (load(x, t, &err) != 0 || model_state_create(x->model, n_slots, n_context, &x->state, &err) != 0)
        fail_msg("%s", err.message);
}

static int32_t token_at(int32_t i)
{
    return (i * 31 + i * i * 7 + 5) % 67;
}

/* Feeds `count` tokens of one slot; logits of all of them. */
static void feed(struct loaded *x, int32_t slot, const int32_t *tokens, int32_t count, float *logits)
{
    int32_t *slots = calloc((size_t)count, sizeof *slots);
    uint8_t *wants = calloc((size_t)count, 1);
    struct error err = {0};
    for (int32_t i = 0; i < count; i++) {
        slots[i] = slot;
        wants[i] = 1;
    }
    struct model_batch batch = {count, tokens, slots, wants};
    if (model_decode(x->state, &batch, logits, &err) != 0)
        fail_msg("%s", err.message);
    free(slots);
    free(wants);
}

static float *logits_for(const struct loaded *x, int32_t rows)
{
    float *p = malloc((size_t)rows * x->tiny.n_vocab * sizeof *p);
    assert_non_null(p);
    return p;
}

/* What a fresh sequence gives, token by token. */
static float *alone(const struct tiny *t, const int32_t *tokens, int32_t count)
{
    struct loaded x;
    start(&x, t, 1, count);
    float *logits = logits_for(&x, count);
    for (int32_t i = 0; i < count; i++)
        feed(&x, 0, tokens + i, 1, logits + i * (int32_t)t->n_vocab);
    unload(&x);
    return logits;
}

static void sequence(int32_t *tokens, int32_t count, int32_t from)
{
    for (int32_t i = 0; i < count; i++)
        tokens[i] = token_at(from + i);
}

static void same_rows(const float *a, const float *b, int32_t rows, const struct tiny *t)
{
    assert_memory_equal(a, b, (size_t)rows * t->n_vocab * sizeof *a);
}

static void check_oracle(struct tiny t)
{
    const struct kernels *list[KERNELS_MAX];
    int32_t count = kernels_list(list), tokens[TOKENS];
    struct oracle *o = calloc(1, sizeof *o);
    assert_non_null(o);
    sequence(tokens, TOKENS, 0);
    for (int32_t k = 0; k < count; k++) {
        struct loaded x;
        double exact[128], most = 0;
        setenv("WEIR_ISA", list[k]->isa, 1);
        start(&x, &t, 1, TOKENS);
        unsetenv("WEIR_ISA");
        *o = (struct oracle){.t = &t, .g = x.gguf};
        float *logits = logits_for(&x, TOKENS);
        feed(&x, 0, tokens, TOKENS, logits);
        for (uint32_t i = 0; i < TOKENS; i++) {
            oracle_step(o, tokens[i], i, exact);
            for (uint32_t j = 0; j < t.n_vocab; j++) {
                double d = fabs(exact[j] - (double)logits[i * t.n_vocab + j]);
                assert_true(d == d);
                most = d > most ? d : most;
            }
        }
        if (most > 1e-4)
            fail_msg("%s: logits differ by %g", list[k]->isa, most);
        free(logits);
        unload(&x);
    }
    free(o);
}

static void oracle_agrees(void **state)
{
    (void)state;
    check_oracle(TINY_DEFAULT);
    struct tiny t = TINY_DEFAULT;
    t.tied = t.biased = t.factors = true;
    check_oracle(t);
    t = TINY_DEFAULT;
    t.scaling = "linear";
    t.n_kv_heads = t.n_heads;
    check_oracle(t);
    t = TINY_DEFAULT;
    t.n_experts = 5;
    t.n_used = 2;
    check_oracle(t);
    t = TINY_DEFAULT;
    t.n_layers = 1;
    t.n_kv_heads = 1;
    t.n_ff = 257;
    check_oracle(t);
}

/* The whole prompt at once, more than one program holds, and token by token: equal to the bit. */
static void batch_equals_single(void **state)
{
    (void)state;
    enum { LONG = 1100 };
    struct tiny t = TINY_DEFAULT;
    t.n_layers = 1;
    t.n_experts = 3;
    t.n_used = 2;
    int32_t *tokens = malloc(LONG * sizeof *tokens);
    sequence(tokens, LONG, 0);
    struct loaded x;
    start(&x, &t, 1, LONG);
    float *together = logits_for(&x, LONG), *single = alone(&t, tokens, LONG);
    feed(&x, 0, tokens, LONG, together);
    same_rows(together, single, LONG, &t);
    assert_int_equal(model_state_length(x.state, 0), LONG);
    free(together);
    free(single);
    free(tokens);
    unload(&x);
}

/* Tokens of three slots in one batch, at different depths, in an order that changes: as if each were alone.
 */
static void slots_are_independent(void **state)
{
    (void)state;
    struct tiny t = TINY_DEFAULT;
    struct loaded x;
    start(&x, &t, 3, CONTEXT);
    int32_t tokens[3][TOKENS];
    float *expected[3], *got = logits_for(&x, 3 * TOKENS);
    for (int32_t s = 0; s < 3; s++) {
        sequence(tokens[s], TOKENS, 100 * s);
        expected[s] = alone(&t, tokens[s], TOKENS);
    }
    for (int32_t step = 0; step < 6; step++) {
        int32_t batch_tokens[3 * TOKENS], slots[3 * TOKENS], n = 0;
        uint8_t wants[3 * TOKENS];
        const float *rows[3 * TOKENS];
        for (int32_t i = 0; i < 3; i++) {
            int32_t s = (i + step) % 3, held = model_state_length(x.state, s), more = (s * 2 + step) % 5;
            for (int32_t j = 0; j < more && held + j < TOKENS; j++, n++) {
                batch_tokens[n] = tokens[s][held + j];
                slots[n] = s;
                wants[n] = 1;
                rows[n] = expected[s] + (held + j) * (int32_t)t.n_vocab;
            }
        }
        struct model_batch batch = {n, batch_tokens, slots, wants};
        struct error err = {0};
        assert_int_equal(model_decode(x.state, &batch, got, &err), 0);
        for (int32_t i = 0; i < n; i++)
            same_rows(got + i * (int32_t)t.n_vocab, rows[i], 1, &t);
    }
    for (int32_t s = 0; s < 3; s++)
        free(expected[s]);
    free(got);
    unload(&x);
}

static void truncate_then_continue_equals_fresh(void **state)
{
    (void)state;
    struct tiny t = TINY_DEFAULT;
    struct loaded x;
    start(&x, &t, 2, CONTEXT);
    int32_t first[TOKENS], second[TOKENS];
    sequence(first, TOKENS, 0);
    sequence(second, TOKENS, 500);
    memcpy(second, first, 12 * sizeof *first);
    float *logits = logits_for(&x, TOKENS), *expected = alone(&t, second, TOKENS);
    feed(&x, 1, first, TOKENS, logits);
    assert_int_equal(model_state_truncate(x.state, 1, TOKENS + 5), TOKENS);
    assert_int_equal(model_state_truncate(x.state, 1, 12), 12);
    assert_int_equal(model_state_length(x.state, 1), 12);
    feed(&x, 1, second + 12, TOKENS - 12, logits);
    same_rows(logits, expected + 12 * (int32_t)t.n_vocab, TOKENS - 12, &t);
    assert_int_equal(model_state_truncate(x.state, 1, -1), 0);
    feed(&x, 1, second, TOKENS, logits);
    same_rows(logits, expected, TOKENS, &t);
    assert_int_equal(model_state_truncate(x.state, 7, 3), 0);
    assert_int_equal(model_state_length(x.state, -1), 0);
    free(logits);
    free(expected);
    unload(&x);
}

static void only_wanted_logits_come(void **state)
{
    (void)state;
    struct tiny t = TINY_DEFAULT;
    struct loaded x;
    start(&x, &t, 1, CONTEXT);
    int32_t tokens[TOKENS], slots[TOKENS] = {0};
    uint8_t wants[TOKENS] = {0};
    struct error err = {0};
    sequence(tokens, TOKENS, 0);
    float *expected = alone(&t, tokens, TOKENS), *logits = logits_for(&x, 3);
    struct model_batch none = {10, tokens, slots, wants};
    assert_int_equal(model_decode(x.state, &none, NULL, &err), 0);
    wants[2] = wants[TOKENS - 11] = 1;
    struct model_batch two = {TOKENS - 10, tokens + 10, slots, wants};
    logits[2 * t.n_vocab] = 12345;
    assert_int_equal(model_decode(x.state, &two, logits, &err), 0);
    same_rows(logits, expected + 12 * (int32_t)t.n_vocab, 1, &t);
    same_rows(logits + t.n_vocab, expected + (TOKENS - 1) * (int32_t)t.n_vocab, 1, &t);
    assert_true(logits[2 * t.n_vocab] == 12345);
    struct model_batch empty = {0, NULL, NULL, NULL};
    assert_int_equal(model_decode(x.state, &empty, NULL, &err), 0);
    free(expected);
    free(logits);
    unload(&x);
}

static void bad_batches_change_nothing(void **state)
{
    (void)state;
    struct tiny t = TINY_DEFAULT;
    struct loaded x;
    start(&x, &t, 2, TOKENS);
    int32_t tokens[TOKENS];
    sequence(tokens, TOKENS, 0);
    float *logits = logits_for(&x, TOKENS + 1), *expected = alone(&t, tokens, TOKENS);
    feed(&x, 0, tokens, 10, logits);
    feed(&x, 1, tokens, 4, logits);

    static const struct {
        int32_t tokens[4], slots[4];
        int code;
    } bad[] = {
        {{1, 2, -1, 3}, {0, 0, 0, 0}, ERROR_INVALID},
        {{1, 2, 67, 3}, {0, 0, 0, 0}, ERROR_INVALID},
        {{1, 2, INT32_MAX, 3}, {0, 0, 0, 0}, ERROR_INVALID},
        {{1, 2, 3, 4}, {0, 0, 2, 0}, ERROR_INVALID},
        {{1, 2, 3, 4}, {0, 0, -1, 0}, ERROR_INVALID},
        {{1, 2, 3, 4}, {0, 1, 1, 0}, ERROR_INVALID},
    };
    uint8_t wants[TOKENS] = {1, 1, 1, 1};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct error err = {0};
        struct model_batch batch = {4, bad[i].tokens, bad[i].slots, wants};
        assert_int_equal(model_decode(x.state, &batch, logits, &err), bad[i].code);
        assert_true(err.message[0]);
    }
    int32_t slots[TOKENS] = {0};
    struct error err = {0};
    struct model_batch too_long = {TOKENS - 9, tokens, slots, wants};
    assert_int_equal(model_decode(x.state, &too_long, logits, &err), ERROR_LIMIT);
    assert_int_equal(model_state_length(x.state, 0), 10);
    assert_int_equal(model_state_length(x.state, 1), 4);
    feed(&x, 0, tokens + 10, TOKENS - 10, logits);
    same_rows(logits, expected + 10 * (int32_t)t.n_vocab, TOKENS - 10, &t);
    free(logits);
    free(expected);
    unload(&x);
}

static void refused(const struct tiny *t, int code, const char *named)
{
    struct loaded x;
    struct error err = {0};
    int rc = load(&x, t, &err);
    if (rc != code || !strstr(err.message, named))
        fail_msg("expected %d and '%s', got %d: %s", code, named, rc, err.message);
    unload(&x);
}

static void hostile_numbers_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        double number;
        const char *named;
    } bad[] = {
        {"llama.block_count", 0, "block_count"},
        {"llama.block_count", 3, "blk.2"},
        {"llama.block_count", 4294967295.0, "block_count"},
        {"llama.embedding_length", 0, "embedding_length"},
        {"llama.embedding_length", 35, "35"},
        {"llama.embedding_length", 2147483648.0, "embedding_length"},
        {"llama.feed_forward_length", 0, "feed_forward_length"},
        {"llama.feed_forward_length", 51, "ffn_gate"},
        {"llama.attention.head_count", 0, "head_count"},
        {"llama.attention.head_count", 5, "5"},
        {"llama.attention.head_count", 4294967295.0, "head_count"},
        {"llama.attention.head_count", 4000, "attn_q"},
        {"llama.attention.head_count_kv", 0, "head_count_kv"},
        {"llama.attention.head_count_kv", 4, "4"},
        {"llama.attention.head_count_kv", 3, "attn_k"},
        {"llama.attention.key_length", 0, "key_length"},
        {"llama.attention.key_length", 8, "attn_q"},
        {"llama.attention.key_length", 1000000, "key_length"},
        {"llama.attention.value_length", 0, "value_length"},
        {"llama.attention.value_length", 6, "attn_v"},
        {"llama.attention.layer_norm_rms_epsilon", NAN, "epsilon"},
        {"llama.attention.layer_norm_rms_epsilon", -1, "epsilon"},
        {"llama.rope.dimension_count", 0, "dimension_count"},
        {"llama.rope.dimension_count", 7, "7"},
        {"llama.rope.dimension_count", 12, "12"},
        {"llama.rope.freq_base", 0, "freq_base"},
        {"llama.rope.freq_base", INFINITY, "freq_base"},
        {"llama.context_length", 0, "context_length"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct tiny t = TINY_DEFAULT;
        t.key = bad[i].key;
        t.number = bad[i].number;
        refused(&t, ERROR_INVALID, bad[i].named);
    }
}

static void hostile_experts_are_refused(void **state)
{
    (void)state;
    static const double counts[][2] = {{5, 0}, {5, 6}, {4, 2}, {4294967295.0, 2}};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        struct tiny t = TINY_DEFAULT;
        t.n_experts = 5;
        t.n_used = (uint32_t)counts[i][1];
        t.key = "llama.expert_count";
        t.number = counts[i][0];
        refused(&t, ERROR_INVALID, i == 2 ? "ffn_gate_inp" : "expert");
    }
    struct tiny t = TINY_DEFAULT;
    t.n_experts = 5;
    t.n_used = 2;
    t.key = "llama.expert_used_count";
    t.number = 3000000000.0;
    refused(&t, ERROR_INVALID, "expert_used_count");
    t.key = NULL;
    t.drop = "llama.expert_count";
    refused(&t, ERROR_INVALID, "'llama.expert_count'");
}

static void missing_things_are_named(void **state)
{
    (void)state;
    static const char *const needed[] = {"general.architecture", "llama.block_count",
        "llama.embedding_length", "llama.feed_forward_length", "llama.attention.head_count",
        "llama.attention.layer_norm_rms_epsilon", "llama.context_length", "token_embd.weight",
        "output_norm.weight", "blk.0.attn_norm.weight", "blk.0.attn_q.weight", "blk.0.attn_k.weight",
        "blk.0.attn_v.weight", "blk.1.attn_output.weight", "blk.1.ffn_norm.weight", "blk.1.ffn_gate.weight",
        "blk.1.ffn_up.weight", "blk.1.ffn_down.weight"};
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        struct tiny t = TINY_DEFAULT;
        t.drop = needed[i];
        refused(&t, ERROR_INVALID, needed[i]);
    }
    /* The rest falls back: here key_length would have to be n_embed / n_heads. */
    struct tiny t = TINY_DEFAULT;
    t.key_width = t.value_width = t.n_dims = 6;
    static const char *const optional[] = {"general.name", "llama.attention.key_length",
        "llama.attention.value_length", "llama.rope.dimension_count", "llama.rope.freq_base"};
    for (size_t i = 0; i < sizeof optional / sizeof optional[0]; i++) {
        struct loaded x;
        t.drop = optional[i];
        start(&x, &t, 1, 4);
        unload(&x);
    }
}

static void unsupported_things_are_named(void **state)
{
    (void)state;
    struct tiny t = TINY_DEFAULT;
    t.architecture = "quux";
    refused(&t, ERROR_UNSUPPORTED, "quux");
    refused(&t, ERROR_UNSUPPORTED, "llama");
    t = TINY_DEFAULT;
    t.scaling = "spiral";
    refused(&t, ERROR_UNSUPPORTED, "spiral");
    t = TINY_DEFAULT;
    t.retype = "blk.1.ffn_up.weight";
    t.type = TENSOR_I32;
    refused(&t, ERROR_UNSUPPORTED, "blk.1.ffn_up.weight");
    t = TINY_DEFAULT;
    t.n_tokens = 68;
    refused(&t, ERROR_INVALID, "68");
}

static void info_is_filled(void **state)
{
    (void)state;
    struct tiny t = TINY_DEFAULT;
    t.n_tokens = 67;
    struct loaded x;
    start(&x, &t, 1, 4);
    const struct model_info *info = model_info(x.model);
    assert_true(str_is(info->architecture, "llama") && str_is(info->name, "tiny"));
    assert_int_equal(info->n_vocab, 67);
    assert_int_equal(info->n_layers, 2);
    assert_int_equal(info->n_embed, 36);
    assert_int_equal(info->n_context_train, 512);
    assert_int_equal(info->n_context_best, 512);
    uint64_t layer = 36 * 2 + 36 * 60 + 36 * 20 + 36 * 14 + 42 * 36 + 3 * 36 * 50;
    assert_int_equal(info->n_parameters, 2 * 67 * 36 + 36 + 2 * layer);
    assert_int_equal(info->weight_bytes, 4 * info->n_parameters);
    unload(&x);
}

static long resident_pages(void)
{
    long size, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%ld %ld", &size, &resident), 2);
    fclose(f);
    return resident;
}

static void unused_context_costs_nothing(void **state)
{
    (void)state;
    struct tiny t = TINY_DEFAULT;
    struct loaded x;
    start(&x, &t, 1, 4);
    /* 2 layers, 2 heads, 17 floats a position */
    uint64_t one = model_state_bytes(x.model, 1, 6400), two = model_state_bytes(x.model, 1, 12800);
    assert_in_range(two - one, 6400ull * 2 * 2 * 17 * 4, 6400ull * (2 * 2 * 17 * 4 + 8));
    struct model_state *large;
    struct error err = {0};
    long before = resident_pages();
    assert_int_equal(model_state_create(x.model, 4, 1 << 20, &large, &err), 0);
    assert_true(resident_pages() - before < 4096); /* of more than 250,000 */
    model_state_free(large);
    unload(&x);
}

/* How far the logits of a sequence go from those with whole keys and values; 0: they are whole all the same.
 */
static float strays(const struct loaded *x, enum tensor_type type, uint64_t *bytes)
{
    enum { COUNT = 150, MOST = 128 };
    int32_t tokens[COUNT], slots[COUNT] = {0}, n_vocab = model_info(x->model)->n_vocab;
    uint8_t wants[COUNT] = {[COUNT - 1] = 1};
    float rows[2][MOST], most = 0;
    assert_in_range(n_vocab, 1, MOST);
    for (int32_t i = 0; i < COUNT; i++)
        tokens[i] = (i * 31 + 5) % n_vocab;
    for (int i = 0; i < 2; i++) {
        const struct model_room room = {.n_slots = 1, .n_context = COUNT, .kv_type = i ? type : TENSOR_F32};
        struct model_state *s;
        struct error err = {0};
        assert_int_equal(model_state_create_within(x->model, &room, &s, &err), 0);
        *bytes = model_state_bytes_within(x->model, &room);
        const struct model_batch batch = {COUNT, tokens, slots, wants};
        assert_int_equal(model_decode(s, &batch, rows[i], &err), 0);
        model_state_free(s);
    }
    for (int32_t i = 0; i < n_vocab; i++)
        most = fabsf(rows[0][i] - rows[1][i]) > most ? fabsf(rows[0][i] - rows[1][i]) : most;
    return most;
}

static void keys_and_values_may_be_kept_small(void **state)
{
    (void)state;
    struct tiny t = TINY_DEFAULT;
    struct loaded x;
    uint64_t f32, f16, q8, q4;
    t.key_width = t.value_width = 32;
    start(&x, &t, 1, 4);
    assert_true(strays(&x, TENSOR_F32, &f32) == 0);
    const float half = strays(&x, TENSOR_F16, &f16), eight = strays(&x, TENSOR_Q8_0, &q8),
                four = strays(&x, TENSOR_Q4_0, &q4);
    assert_true(half > 0 && half < 0.02f && half < eight && eight < 0.2f && eight < four && four < 2);
    assert_true(f16 < f32 * 6 / 10 && q8 < f32 * 4 / 10 && q4 < f32 * 3 / 10);
    unload(&x);
    /* Rows that are no whole blocks stay as they are. */
    t.key_width = 34;
    start(&x, &t, 1, 4);
    assert_true(strays(&x, TENSOR_Q8_0, &q8) == 0);
    struct model_state *s;
    struct error err = {0};
    const struct model_room small = {.n_slots = 2, .n_context = 500, .n_pages = 8};
    assert_int_equal(model_state_create_within(x.model, &small, &s, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "a KV cache of 512 tokens does not hold a context of 500"));
    unload(&x);
}

static void impossible_states_are_refused(void **state)
{
    (void)state;
    struct tiny t = TINY_DEFAULT;
    struct loaded x;
    start(&x, &t, 1, 4);
    static const int32_t bad[][2] = {{0, 4}, {-1, 4}, {1, 0}, {1, -4}, {1 << 30, 4}, {1, 1 << 30}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct model_state *s = NULL;
        struct error err = {0};
        assert_int_equal(model_state_create(x.model, bad[i][0], bad[i][1], &s, &err), ERROR_INVALID);
        assert_null(s);
    }
    unload(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(oracle_agrees),
        cmocka_unit_test(batch_equals_single),
        cmocka_unit_test(slots_are_independent),
        cmocka_unit_test(truncate_then_continue_equals_fresh),
        cmocka_unit_test(only_wanted_logits_come),
        cmocka_unit_test(bad_batches_change_nothing),
        cmocka_unit_test(hostile_numbers_are_refused),
        cmocka_unit_test(hostile_experts_are_refused),
        cmocka_unit_test(missing_things_are_named),
        cmocka_unit_test(unsupported_things_are_named),
        cmocka_unit_test(info_is_filled),
        cmocka_unit_test(unused_context_costs_nothing),
        cmocka_unit_test(keys_and_values_may_be_kept_small),
        cmocka_unit_test(impossible_states_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
