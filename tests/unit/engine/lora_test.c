/* Adapters that the test makes itself, over a tiny model of every architecture: what they give is what the
 * model gives with B A added to its weights; and the reference's logits, where they are at hand. */
#include "engine/worker/lora.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "engine/worker/gguf_write.h"
#include "json/json.h"
#include "unit/engine/shared.h"
#include "unit/engine/tiny_all.h"
#include "unit/engine/tiny_run.h"

enum { RANK = 3, PARTS_MAX = 400, TOKENS = 12 };
static const float ALPHA = 6;

/* One tensor of an adapter. */
struct part {
    char name[160];
    int64_t shape[3];
};

struct adapter {
    const char *type, *kind, *architecture;
    float alpha;
    struct part parts[PARTS_MAX];
    size_t n_parts;
    char *bytes;
    struct gguf *gguf;
};

static size_t part_floats(const struct part *p)
{
    return (size_t)(p->shape[0] * p->shape[1] * p->shape[2]);
}

static void part_add(
    struct adapter *a, const char *name, const char *suffix, int64_t n0, int64_t n1, int64_t n2)
{
    struct part *p = &a->parts[a->n_parts++];
    assert_true(a->n_parts < PARTS_MAX);
    snprintf(p->name, sizeof p->name, "%s%s", name, suffix);
    memcpy(p->shape, (int64_t[]){n0, n1, n2}, sizeof p->shape);
}

/* A and B of a weight; the embedding's A has a row for each token. */
static void pair_add(struct adapter *a, const char *name, const int64_t *shape)
{
    const bool table = strcmp(name, LORA_EMBEDDING) == 0;
    if (table)
        part_add(a, name, ".lora_a", RANK, shape[1], 1);
    else
        part_add(a, name, ".lora_a", shape[0], RANK, shape[2]);
    part_add(a, name, ".lora_b", RANK, table ? shape[0] : shape[1], shape[2]);
}

/* Random values, as a file in memory. */
static void adapter_open(struct adapter *a)
{
    struct gguf_writer w;
    struct buf out;
    struct error err;
    struct rand_pcg r;
    rand_pcg_seed(&r, 3);
    gguf_writer_init(&w);
    buf_init(&out, MIB);
    gguf_write_str(&w, "general.type", str_from(a->type));
    gguf_write_str(&w, "general.architecture", str_from(a->architecture));
    gguf_write_str(&w, "adapter.type", str_from(a->kind));
    gguf_write_f32(&w, "adapter.lora.alpha", a->alpha);
    for (size_t i = 0; i < a->n_parts; i++)
        gguf_write_tensor(&w, a->parts[i].name, TENSOR_F32, 3, a->parts[i].shape);
    assert_int_equal(gguf_writer_header(&w, &out, &err), 0);
    for (size_t i = 0; i < a->n_parts; i++) {
        const size_t n = part_floats(&a->parts[i]);
        for (size_t k = 0; k < n; k++) {
            float f = (float)(rand_pcg_double(&r) - 0.5) * 0.3f;
            buf_append(&out, &f, sizeof f);
        }
        for (size_t k = gguf_writer_padding(&w, n * sizeof(float)); k > 0; k--)
            buf_append_char(&out, '\0');
    }
    gguf_writer_free(&w);
    a->bytes = malloc(out.len);
    assert_non_null(a->bytes);
    memcpy(a->bytes, out.data, out.len);
    assert_int_equal(gguf_open_memory(a->bytes, out.len, &a->gguf, &err), 0);
    buf_free(&out);
}

static void adapter_close(struct adapter *a)
{
    gguf_close(a->gguf);
    free(a->bytes);
}

static struct adapter *adapter_new(const char *architecture)
{
    struct adapter *a = calloc(1, sizeof *a);
    assert_non_null(a);
    a->type = "adapter";
    a->kind = "lora";
    a->architecture = architecture;
    a->alpha = ALPHA;
    return a;
}

/* The index-th model with these adapters. */
static int start(struct loaded *x, int32_t index, const char **name, struct adapter *const *adapters,
    int32_t n, struct error *err)
{
    const struct gguf *files[4];
    size_t size = 0;
    *x = (struct loaded){.bytes = any_model(index, name, &size)};
    if (!x->bytes)
        return ERROR_NOT_FOUND;
    for (int32_t i = 0; i < n; i++)
        files[i] = adapters[i]->gguf;
    assert_int_equal(gguf_open_memory(x->bytes, size, &x->gguf, err), 0);
    assert_int_equal(backend_cpu_create(1, &x->backend, err), 0);
    int rc = model_load_with(x->gguf, &(struct model_options){files, n, false}, x->backend, &x->model, err);
    return rc ? rc : model_state_create(x->model, 3, 64, &x->state, err);
}

/* W += factor * B A, in the model's own bytes. */
static void merge(const struct adapter *a, const struct gguf *g, float scale)
{
    for (size_t i = 0; i < a->n_parts; i += 2) {
        char name[160];
        snprintf(name, sizeof name, "%.*s", (int)strlen(a->parts[i].name) - 7, a->parts[i].name);
        const struct tensor *w = gguf_tensor_find(g, name);
        const float *A = gguf_tensor_find(a->gguf, a->parts[i].name)->data;
        const float *B = gguf_tensor_find(a->gguf, a->parts[i + 1].name)->data;
        const int64_t n_in = w->shape[0], n_out = w->shape[1];
        const bool table = strcmp(name, LORA_EMBEDDING) == 0;
        for (int64_t e = 0; e < w->shape[2]; e++, A += n_in * RANK, B += n_out * RANK)
            for (int64_t row = 0; row < n_out; row++)
                for (int64_t at = 0; at < n_in; at++) {
                    double sum = 0;
                    for (int64_t r = 0; r < RANK; r++)
                        sum += table ? (double)A[row * RANK + r] * (double)B[at * RANK + r]
                                     : (double)B[row * RANK + r] * (double)A[r * n_in + at];
                    float *to = (float *)(uintptr_t)w->data + (e * n_out + row) * n_in + at;
                    *to += (float)(sum * (double)(scale * ALPHA / RANK));
                }
    }
}

/* An adapter of every weight of the model that an adapter can change. */
static struct adapter *adapter_of_all(int32_t index, const char *name)
{
    struct adapter *all = adapter_new(name);
    struct loaded base;
    struct error err = {0};
    const char *again;
    assert_int_equal(start(&base, index, &again, NULL, 0, &err), 0);
    const bool tied = !gguf_tensor_find(base.gguf, "output.weight");
    for (size_t i = 0; i < gguf_n_tensors(base.gguf); i++) {
        const struct tensor *t = gguf_tensor_at(base.gguf, i);
        char tensor[160];
        snprintf(tensor, sizeof tensor, STR_FMT, STR_ARG(t->name));
        if (t->shape[1] < 2 || !str_ends(t->name, STR(".weight")) ||
            (tied && strcmp(tensor, LORA_EMBEDDING) == 0))
            continue;
        struct adapter *one = adapter_new(name);
        struct loaded x;
        pair_add(one, tensor, t->shape);
        adapter_open(one);
        int rc = start(&x, index, &again, &one, 1, &err);
        if (rc == 0)
            pair_add(all, tensor, t->shape);
        else
            assert_non_null(strstr(err.message, "cannot change here"));
        unload(&x);
        adapter_close(one);
        free(one);
    }
    unload(&base);
    assert_true(all->n_parts >= 2 * 4 * 3);
    adapter_open(all);
    return all;
}

static void check_near(const char *name, const char *what, const float *a, const float *b)
{
    float most = 1, off = 0;
    for (int32_t i = 0; i < DENSE_VOCAB; i++) {
        assert_true(isfinite(a[i]) && isfinite(b[i]));
        most = fmaxf(most, fabsf(a[i]));
        off = fmaxf(off, fabsf(a[i] - b[i]));
    }
    if (off > 2e-4f * most)
        fail_msg("%s: %s: off by %g of %g", name, what, (double)off, (double)most);
}

/* Each architecture; at a scale that is not 1. The adapter does change the logits. */
static void adapters_equal_merged_weights(void **state)
{
    (void)state;
    const char *name;
    struct error err = {0};
    size_t size;
    char *bytes;
    for (int32_t index = 0; (bytes = any_model(index, &name, &size)) != NULL; index++) {
        free(bytes);
        struct adapter *a = adapter_of_all(index, name);
        struct loaded x;
        const float scale = 0.7f;
        float plain[DENSE_VOCAB], got[DENSE_VOCAB], expected[DENSE_VOCAB];
        assert_int_equal(start(&x, index, &name, &a, 1, &err), 0);
        feed(&x, 0, 0, TOKENS, plain);
        model_state_adapt(x.state, 1, &scale);
        feed(&x, 1, 0, TOKENS, got);
        merge(a, x.gguf, scale);
        feed(&x, 2, 0, TOKENS, expected);
        check_near(name, "an adapter differs from merged weights", expected, got);
        assert_true(memcmp(plain, got, sizeof got) != 0);
        unload(&x);
        adapter_close(a);
        free(a);
    }
}

/* Two adapters, three sequences with scales of their own in one batch: each as if it ran alone. */
static void scales_differ_in_one_batch(void **state)
{
    (void)state;
    const char *name;
    struct error err = {0};
    size_t size;
    free(any_model(0, &name, &size));
    struct adapter *both[2] = {adapter_of_all(0, name), adapter_of_all(0, name)};
    static const float scales[3][2] = {{0, 0}, {1, -0.5f}, {0, 0.25f}};
    float alone[3][DENSE_VOCAB], together[3][DENSE_VOCAB];
    struct loaded x;
    assert_int_equal(start(&x, 0, &name, both, 2, &err), 0);
    assert_int_equal(model_info(x.model)->n_adapters, 2);
    for (int32_t slot = 0; slot < 3; slot++) {
        model_state_adapt(x.state, slot, scales[slot]);
        feed(&x, slot, 0, 8, alone[slot]);
        model_state_truncate(x.state, slot, 0);
    }
    int32_t tokens[24], slots[24];
    uint8_t wants[24] = {[7] = 1, [15] = 1, [23] = 1};
    for (int32_t i = 0; i < 24; i++) {
        tokens[i] = (i % 8 * 31 + i % 8 * (i % 8) * 7 + 5) % DENSE_VOCAB;
        slots[i] = i / 8;
    }
    struct model_batch batch = {24, tokens, slots, wants};
    assert_int_equal(model_decode(x.state, &batch, together[0], &err), 0);
    for (int32_t slot = 0; slot < 3; slot++)
        check_near(name, "a sequence's adapters differ in company", alone[slot], together[slot]);
    assert_true(memcmp(alone[0], alone[1], sizeof alone[0]) && memcmp(alone[0], alone[2], sizeof alone[0]));
    unload(&x);
    for (int i = 0; i < 2; i++) {
        adapter_close(both[i]);
        free(both[i]);
    }
}

/* What was computed with other scales is forgotten; a fork takes them along. */
static void scales_belong_to_what_is_held(void **state)
{
    (void)state;
    const char *name;
    struct error err = {0};
    size_t size;
    free(any_model(1, &name, &size));
    struct adapter *a = adapter_of_all(1, name);
    struct loaded x;
    const float half = 0.5f;
    float logits[DENSE_VOCAB], forked[DENSE_VOCAB];
    assert_int_equal(start(&x, 1, &name, &a, 1, &err), 0);
    feed(&x, 0, 0, 5, logits);
    model_state_adapt(x.state, 0, NULL);
    assert_int_equal(model_state_length(x.state, 0), 5);
    model_state_adapt(x.state, 0, &half);
    assert_int_equal(model_state_length(x.state, 0), 0);
    feed(&x, 0, 0, 5, logits);
    assert_int_equal(model_state_fork(x.state, 0, 1, 5), 5);
    assert_true(model_state_is_adapted(x.state, 1, &half));
    feed(&x, 0, 5, 6, logits);
    feed(&x, 1, 5, 6, forked);
    check_same(name, "a fork loses its adapters", logits, forked);
    unload(&x);
    adapter_close(a);
    free(a);
}

static void refused(struct adapter *a, const char *why)
{
    struct loaded x;
    struct error err = {0};
    const char *name;
    adapter_open(a);
    int rc = start(&x, 1, &name, &a, 1, &err);
    if (rc == 0 || !strstr(err.message, why))
        fail_msg("%d '%s' does not say '%s'", rc, err.message, why);
    unload(&x);
    adapter_close(a);
    free(a);
}

static void broken_adapters_are_refused(void **state)
{
    (void)state;
    static const char q[] = "blk.0.attn_q.weight";
    struct adapter *a = adapter_new("qwen3");
    a->type = "model";
    refused(a, "general.type is 'model'");
    a = adapter_new("qwen3");
    a->kind = "loha";
    refused(a, "only 'lora'");
    refused(adapter_new("llama"), "the architecture 'llama', the model is 'qwen3'");
    a = adapter_new("qwen3");
    a->alpha = NAN;
    refused(a, "alpha");
    a = adapter_new("qwen3");
    part_add(a, q, ".lora_a", DENSE_EMBED, RANK, 1);
    refused(a, "lacks 'blk.0.attn_q.weight.lora_b'");
    a = adapter_new("qwen3");
    pair_add(a, q, (int64_t[]){DENSE_EMBED + 1, DENSE_HEADS * DENSE_KEY, 1});
    refused(a, "it is another model's");
    a = adapter_new("qwen3");
    part_add(a, q, ".lora_a", DENSE_EMBED, RANK + 1, 1);
    part_add(a, q, ".lora_b", RANK, DENSE_HEADS * DENSE_KEY, 1);
    refused(a, "it is another model's");
    a = adapter_new("qwen3");
    pair_add(a, "blk.9.attn_q.weight", (int64_t[]){DENSE_EMBED, DENSE_EMBED, 1});
    refused(a, "'blk.9.attn_q.weight', which the model does not have");
    a = adapter_new("qwen3");
    part_add(a, q, ".dora_scale", DENSE_EMBED, 1, 1);
    refused(a, "neither lora_a nor lora_b");
}

/* ---- The reference's ---- */

static void reference_logits(const json_t *result, const int32_t *tokens, int32_t n, struct model *m)
{
    const json_t *logits = json_object_get(result, "logits");
    const float scale = (float)json_number_value(json_object_get(result, "scale"));
    const int32_t n_vocab = model_info(m)->n_vocab;
    float *row = calloc((size_t)n_vocab, sizeof *row);
    int32_t *slots = calloc((size_t)n, sizeof *slots);
    uint8_t *wants = calloc((size_t)n, 1);
    struct model_state *s;
    struct error err;
    assert_true(row && slots && wants);
    wants[n - 1] = 1;
    assert_int_equal(json_array_size(logits), n_vocab);
    assert_int_equal(model_state_create(m, 1, 256, &s, &err), 0);
    model_state_adapt(s, 0, &scale);
    struct model_batch batch = {n, tokens, slots, wants};
    assert_int_equal(model_decode(s, &batch, row, &err), 0);
    for (int32_t i = 0; i < n_vocab; i++)
        if (fabs((double)row[i] - json_number_value(json_array_get(logits, (size_t)i))) > 1e-3)
            fail_msg("logit %d at scale %g: %g", (int)i, (double)scale, (double)row[i]);
    model_state_free(s);
    free(row);
    free(slots);
    free(wants);
}

static void vectors_agree(void **state)
{
    (void)state;
    if (shared_absent("vectors/lora/adapter.json"))
        return;
    char path[1024];
    struct error err = {0};
    snprintf(path, sizeof path, "%s/vectors/lora/adapter.json", shared_folder());
    struct buf text = shared_read(path);
    json_t *all;
    assert_int_equal(json_read(buf_str(&text), &all, &err), 0);
    snprintf(path, sizeof path, "%s/vectors/models/llama-gqa.gguf", shared_folder());
    struct gguf *base = shared_gguf(path);
    snprintf(path, sizeof path, "%s/vectors/lora/adapter.gguf", shared_folder());
    struct gguf *adapter = shared_gguf(path);
    const struct gguf *adapters[1] = {adapter};
    struct backend *backend;
    struct model *m;
    assert_true(base && adapter);
    assert_int_equal(backend_cpu_create(1, &backend, &err), 0);
    assert_int_equal(
        model_load_with(base, &(struct model_options){adapters, 1, false}, backend, &m, &err), 0);
    const json_t *list = json_object_get(all, "tokens"), *results = json_object_get(all, "results");
    int32_t tokens[64], n = (int32_t)json_array_size(list);
    assert_in_range(n, 1, 64);
    for (int32_t i = 0; i < n; i++)
        tokens[i] = (int32_t)json_integer_value(json_array_get(list, (size_t)i));
    assert_true(json_array_size(results) > 0);
    for (size_t i = 0; i < json_array_size(results); i++)
        reference_logits(json_array_get(results, i), tokens, n, m);
    model_free(m);
    backend_free(backend);
    gguf_close(adapter);
    gguf_close(base);
    json_decref(all);
    buf_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adapters_equal_merged_weights),
        cmocka_unit_test(scales_differ_in_one_batch),
        cmocka_unit_test(scales_belong_to_what_is_held),
        cmocka_unit_test(broken_adapters_are_refused),
        cmocka_unit_test(vectors_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
