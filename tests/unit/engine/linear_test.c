/* Parsing is linear in the file. No time is measured: the parsers in this program are compiled to call a
 * counter in each of their basic blocks (Makefile, TRACED), and what a byte costs must not grow with the
 * file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/limits.h"
#include "engine/worker/gguf_write.h"
#include "engine/worker/model_sample.h"
#include "engine/worker/template.h"
#include "engine/worker/tokenizer.h"

enum { SMALL = 2000, LARGE = 10 * SMALL };
static const double GROWTH = 1.5; /* room for the logarithm of a sort; a quadratic one would show as 10 */

static uint64_t steps;

void __sanitizer_cov_trace_pc(void);
void __sanitizer_cov_trace_pc(void)
{
    steps++;
}

/* Steps for each byte of what `run` works through at this size. */
static double cost(size_t (*run)(const void *ctx, int n), const void *ctx, int n)
{
    steps = 0;
    const size_t bytes = run(ctx, n);
    assert_true(steps > bytes / 64); /* the counter is at work */
    return (double)steps / (double)bytes;
}

static void check_linear(const char *what, size_t (*run)(const void *ctx, int n), const void *ctx)
{
    const double small = cost(run, ctx, SMALL), large = cost(run, ctx, LARGE);
    if (large > GROWTH * small)
        fail_msg("%s: %.2f steps a byte, %.2f at ten times the size", what, small, large);
}

/* ---- GGUF ---- */

static void write_numbered(struct gguf_writer *w, int n)
{
    const int64_t shape[] = {32};
    char name[64];
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "a.key.like.all.the.others.%d", i);
        gguf_write_u32(w, name, (uint32_t)i);
        snprintf(name, sizeof name, "blk.%d.attn_q.weight", i);
        gguf_write_tensor(w, name, TENSOR_Q8_0, 1, shape);
    }
}

static struct gguf *file_open(struct gguf_writer *w, struct buf *file, size_t data)
{
    struct gguf *g;
    struct error err = {0};
    buf_init(file, 64 * MIB);
    assert_int_equal(gguf_writer_header(w, file, &err), 0);
    gguf_writer_free(w);
    for (size_t i = 0; i < data; i++)
        assert_int_equal(buf_append_char(file, '\0'), 0);
    steps = 0;
    if (gguf_open_memory(file->data, file->len, &g, &err) != 0)
        fail_msg("%s", err.message);
    return g;
}

static size_t run_gguf(const void *ctx, int n)
{
    struct gguf_writer w;
    struct buf file;
    (void)ctx;
    gguf_writer_init(&w);
    write_numbered(&w, n);
    struct gguf *g = file_open(&w, &file, (size_t)n * 64);
    const size_t bytes = file.len;
    assert_int_equal(gguf_n_tensors(g), n);
    const uint64_t taken = steps;
    gguf_close(g);
    buf_free(&file);
    steps = taken;
    return bytes;
}

static void a_model_file(void **state)
{
    (void)state;
    check_linear("pairs and tensors", run_gguf, NULL);
}

/* ---- Vocabularies ---- */

static size_t run_sample(const void *ctx, int n)
{
    struct model_sample sample = model_sample_default();
    struct gguf *g;
    struct tokenizer *t;
    struct error err;
    struct gguf_array tokens;
    int fd = memfd_create("model", MFD_CLOEXEC);
    sample.n_embed = 8;
    sample.n_heads = sample.n_kv_heads = 1;
    sample.n_ffn = 8;
    sample.n_layers = 1;
    sample.n_vocab = (uint32_t)n;
    sample.tokenizer = ctx;
    assert_int_equal(model_sample_write(&sample, fd, &err), 0);
    assert_int_equal(gguf_open(&fd, 1, &g, &err), 0);
    assert_int_equal(gguf_get_array(g, "tokenizer.ggml.tokens", GGUF_STRING, &tokens, &err), 0);
    steps = 0;
    assert_int_equal(tokenizer_create(g, &t, &err), 0);
    const uint64_t taken = steps;
    assert_int_equal(tokenizer_vocab_size(t), n);
    tokenizer_free(t);
    gguf_close(g);
    close(fd);
    steps = taken;
    return tokens.bytes;
}

/* A vocabulary of numbered words. */
struct words {
    const char *model, *pre, *prefix;
    int32_t type;
};

static size_t run_words(const void *ctx, int n)
{
    enum { N_FIRST = 4 };
    static const struct str first[N_FIRST] = {STR("[UNK]"), STR("a"), STR("b"), STR("ab")},
                            merge = STR("a b");
    const struct words *words = ctx;
    struct gguf_writer w;
    struct buf file;
    struct tokenizer *t;
    struct error err = {0};
    struct str *texts = calloc((size_t)n, sizeof *texts);
    char(*store)[40] = calloc((size_t)n, sizeof *store);
    int32_t *types = calloc((size_t)n, sizeof *types);
    float *scores = calloc((size_t)n, sizeof *scores);
    assert_true(texts && store && types && scores);
    for (int i = 0; i < n; i++) {
        snprintf(store[i], sizeof *store, "%s%07d", words->prefix, i);
        types[i] = i == 0 ? 2 : words->type;
        scores[i] = -(float)i;
        texts[i] = i < N_FIRST ? first[i] : str_from(store[i]);
    }
    gguf_writer_init(&w);
    gguf_write_str(&w, "tokenizer.ggml.model", str_from(words->model));
    if (words->pre)
        gguf_write_str(&w, "tokenizer.ggml.pre", str_from(words->pre));
    gguf_write_u32(&w, "tokenizer.ggml.unknown_token_id", 0);
    gguf_write_strs(&w, "tokenizer.ggml.tokens", texts, (size_t)n);
    gguf_write_array(&w, "tokenizer.ggml.token_type", GGUF_INT32, types, (size_t)n);
    gguf_write_array(&w, "tokenizer.ggml.scores", GGUF_FLOAT32, scores, (size_t)n);
    gguf_write_strs(&w, "tokenizer.ggml.merges", &merge, 1);
    struct gguf *g = file_open(&w, &file, 0);
    steps = 0;
    if (tokenizer_create(g, &t, &err) != 0)
        fail_msg("%s: %s", words->model, err.message);
    const uint64_t taken = steps;
    tokenizer_free(t);
    gguf_close(g);
    buf_free(&file);
    free(scores);
    free(types);
    free(store);
    free(texts);
    steps = taken;
    return (size_t)n * 16;
}

static void vocabularies(void **state)
{
    (void)state;
    static const struct words all[] = {{"bert", NULL, "\xe2\x96\x81", 1}, {"t5", NULL, "\xe2\x96\x81", 1},
        {"llama", NULL, "\xe2\x96\x81same", 4}, {"gpt2", "qwen2", "same", 4}, {"gpt2", "gpt-2", "<|same", 3}};
    check_linear("SentencePiece", run_sample, "llama");
    check_linear("BPE", run_sample, "gpt2");
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        check_linear(all[i].model, run_words, &all[i]);
}

/* ---- Chat templates ---- */

/* `head`, n times `body`, `tail`. */
struct source {
    const char *head, *body, *tail;
};

static size_t run_template(const void *ctx, int n)
{
    const struct source *s = ctx;
    struct template *t;
    struct error err = {0};
    struct buf text;
    buf_init(&text, LIMIT_TEMPLATE_SOURCE);
    buf_append_text(&text, s->head);
    for (int i = 0; i < n; i++)
        buf_append_text(&text, s->body);
    assert_int_equal(buf_append_text(&text, s->tail), 0);
    steps = 0;
    if (template_parse(buf_str(&text), &t, &err) != 0)
        fail_msg("%s: %s", s->body, err.message);
    const uint64_t taken = steps;
    const size_t bytes = text.len;
    template_free(t);
    buf_free(&text);
    steps = taken;
    return bytes;
}

static void templates(void **state)
{
    (void)state;
    static const struct source all[] = {{"", "text {{ a }} ", ""},
        {"", "{%- if a -%} \n x {%- endif -%}\n", ""}, {"{{ [", "1, ", "2] }}"},
        {"{{ {", "'a': 'b', ", "'c': 1} }}"}, {"{{ '", "a\\n", "' }}"}, {"{# ", "{# %} ", "#}"},
        {"", "{% macro m(a, b=1) %}{{ a }}{% endmacro %}", ""}, {"", "{% set a = b | trim | length %}\n", ""},
        {"{% if a %}", "{% elif b %}x", "{% endif %}"}, {"{{ a(", "b, ", "c) }}"}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        check_linear(all[i].body, run_template, &all[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_model_file),
        cmocka_unit_test(vocabularies),
        cmocka_unit_test(templates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
