/* weir quantize: which type a tensor gets, what is written, what is refused. */
#include "folder.h"

#include <fcntl.h>

#include "base/limits.h"
#include "engine/worker/gguf_write.h"
#include "engine/worker/tensor_quantize.h"
#include "train/files.h"
#include "train/quantize.h"

struct row {
    const char *name;
    int64_t columns, rows;
};

/* A file in memory whose matrices hold small numbers of halves, all vectors ones. */
static void file_build(const struct row *rows, size_t n, const char *architecture, uint32_t layers,
    uint32_t experts, enum tensor_type type, struct buf *out)
{
    struct gguf_writer w;
    struct error err;
    char key[64];
    gguf_writer_init(&w);
    gguf_write_str(&w, "general.architecture", str_from(architecture));
    gguf_write_u32(&w, "general.file_type", 77);
    gguf_write_str(&w, "tokenizer.ggml.model", STR("gpt2"));
    snprintf(key, sizeof key, "%s.block_count", architecture);
    gguf_write_u32(&w, key, layers);
    snprintf(key, sizeof key, "%s.expert_count", architecture);
    gguf_write_u32(&w, key, experts);
    for (size_t i = 0; i < n; i++)
        gguf_write_tensor(&w, rows[i].name, rows[i].rows > 1 ? type : TENSOR_F32, rows[i].rows > 1 ? 2 : 1,
            (const int64_t[]){rows[i].columns, rows[i].rows});
    assert_int_equal(gguf_writer_header(&w, out, &err), 0);
    for (size_t i = 0; i < n; i++) {
        const enum tensor_type of = rows[i].rows > 1 ? type : TENSOR_F32;
        const int64_t count = rows[i].columns * rows[i].rows;
        const size_t bytes = tensor_row_bytes(of, count);
        float *values = malloc((size_t)count * sizeof *values);
        char *encoded = calloc(1, bytes + 32);
        for (int64_t k = 0; k < count; k++)
            values[k] = rows[i].rows > 1 ? (float)(k * 37 % 101 - 50) / 64 : 1;
        assert_int_equal(tensor_quantize(of, values, encoded, count, &err), 0);
        buf_append(out, encoded, bytes + gguf_writer_padding(&w, bytes));
        free(values);
        free(encoded);
    }
    gguf_writer_free(&w);
    assert_int_equal(out->failed, 0);
}

static struct gguf *open_built(const struct buf *file)
{
    struct gguf *g;
    struct error err;
    if (gguf_open_memory(file->data, file->len, &g, &err))
        fail_msg("%s", err.message);
    return g;
}

static const char *type_in(const struct gguf *g, const enum tensor_type *types, const char *name)
{
    for (size_t i = 0; i < gguf_n_tensors(g); i++)
        if (str_is(gguf_tensor_at(g, i)->name, name))
            return tensor_type_info(types[i])->name;
    return "none";
}

/* A model whose file has its layers in the order of their names' letters: 0, 1, 10, 11, 2, ... */
enum { LAYERS = 16, EACH = 4 };
static char names[LAYERS * EACH + 3][64];

static size_t rows_fill(struct row *rows, bool output)
{
    static const char *const kinds[EACH] = {
        "attn_q.weight", "attn_v.weight", "ffn_down.weight", "attn_norm.weight"};
    static const int order[LAYERS] = {0, 1, 10, 11, 12, 13, 14, 15, 2, 3, 4, 5, 6, 7, 8, 9};
    size_t n = 0;
    for (int i = 0; i < LAYERS; i++)
        for (int k = 0; k < EACH; k++, n++) {
            snprintf(names[n], sizeof names[n], "blk.%d.%s", order[i], kinds[k]);
            rows[n] = (struct row){names[n], 256, k == 3 ? 1 : 2};
        }
    rows[n++] = (struct row){"token_embd.weight", 256, 4};
    if (output)
        rows[n++] = (struct row){"output.weight", 256, 4};
    return n;
}

static void choose(const struct gguf *g, const char *mix, enum tensor_type *types)
{
    struct error err;
    assert_non_null(quantize_mix_find(mix));
    assert_int_equal(quantize_choose(g, quantize_mix_find(mix), types, &err), 0);
}

/* Of 16 layers, those that are worth more bits: the first two, the last two, every third between. */
static void gives_more_bits_where_they_matter(void **state)
{
    (void)state;
    static const bool more[LAYERS] = {1, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 1, 1};
    struct row rows[LAYERS * EACH + 2];
    enum tensor_type types[LAYERS * EACH + 2];
    struct buf file;
    buf_init(&file, GIB);
    file_build(rows, rows_fill(rows, true), "llama", LAYERS, 0, TENSOR_F16, &file);
    struct gguf *g = open_built(&file);
    for (int i = 0; i < LAYERS; i++) {
        char v[64], down[64], q[64];
        snprintf(v, sizeof v, "blk.%d.attn_v.weight", i);
        snprintf(down, sizeof down, "blk.%d.ffn_down.weight", i);
        snprintf(q, sizeof q, "blk.%d.attn_q.weight", i);
        choose(g, "q4_k_m", types);
        assert_string_equal(type_in(g, types, v), more[i] ? "Q6_K" : "Q4_K");
        assert_string_equal(type_in(g, types, down), more[i] ? "Q6_K" : "Q4_K");
        assert_string_equal(type_in(g, types, q), "Q4_K");
        choose(g, "Q4_K_S", types);
        assert_string_equal(type_in(g, types, v), i < 4 ? "Q5_K" : "Q4_K");
        assert_string_equal(type_in(g, types, down), i < 2 ? "Q5_K" : "Q4_K");
        choose(g, "IQ4_XS", types);
        assert_string_equal(type_in(g, types, v), "IQ4_XS");
        assert_string_equal(type_in(g, types, down), i < 2 ? "Q5_K" : "IQ4_XS");
        choose(g, "Q5_K_M", types);
        assert_string_equal(type_in(g, types, v), more[i] ? "Q6_K" : "Q5_K");
    }
    choose(g, "Q3_K_M", types);
    assert_string_equal(type_in(g, types, "blk.0.attn_v.weight"), "Q5_K");
    assert_string_equal(type_in(g, types, "blk.2.attn_v.weight"), "Q4_K");
    assert_string_equal(type_in(g, types, "blk.0.ffn_down.weight"), "Q5_K");
    assert_string_equal(type_in(g, types, "blk.1.ffn_down.weight"), "Q4_K");
    assert_string_equal(type_in(g, types, "blk.1.attn_q.weight"), "Q3_K");
    choose(g, "Q2_K", types);
    assert_string_equal(type_in(g, types, "blk.9.ffn_down.weight"), "Q3_K");
    assert_string_equal(type_in(g, types, "token_embd.weight"), "Q2_K");
    choose(g, "MXFP4", types);
    assert_string_equal(type_in(g, types, "blk.1.attn_q.weight"), "Q8_0");
    choose(g, "Q4_0", types);
    assert_string_equal(type_in(g, types, "token_embd.weight"), "Q4_0");
    assert_string_equal(type_in(g, types, "output.weight"), "Q6_K");
    assert_string_equal(type_in(g, types, "blk.3.attn_norm.weight"), "F32");
    choose(g, "BF16", types);
    assert_string_equal(type_in(g, types, "output.weight"), "BF16");
    gguf_close(g);
    buf_free(&file);
    assert_null(quantize_mix_find("Q9"));
}

static int planned(
    const struct gguf *g, const struct quantize_plan *p, enum tensor_type *types, const char *what)
{
    struct error err = {0};
    const int rc = quantize_choose_by(g, p, types, &err);
    if (rc && !strstr(err.message, what))
        fail_msg("'%s' lacks '%s'", err.message, what);
    return rc;
}

static void takes_types_by_name_and_importance(void **state)
{
    (void)state;
    static const struct row rows[] = {{"token_embd.weight", 256, 4}, {"output.weight", 256, 4},
        {"blk.0.attn_v.weight", 256, 2}, {"blk.0.ffn_down.weight", 256, 2}};
    static const struct quantize_override overrides[] = {
        {"^blk\\.0\\.attn", TENSOR_Q8_0}, {"attn_v", TENSOR_F16}};
    static const struct quantize_override wrong[] = {{"(", TENSOR_Q8_0}};
    enum tensor_type types[4];
    struct quantize_plan p = quantize_plan_of(quantize_mix_find("Q4_K_M"));
    struct imatrix m;
    struct imatrix_entry *e;
    struct buf file;
    struct error err;
    buf_init(&file, GIB);
    file_build(rows, 4, "llama", 8, 0, TENSOR_F16, &file);
    struct gguf *g = open_built(&file);
    p.overrides = overrides;
    p.n_overrides = 2;
    p.output = TENSOR_Q5_K;
    p.embedding = TENSOR_Q3_K;
    assert_int_equal(planned(g, &p, types, ""), 0);
    assert_string_equal(type_in(g, types, "blk.0.attn_v.weight"), "Q8_0");
    assert_string_equal(type_in(g, types, "output.weight"), "Q5_K");
    assert_string_equal(type_in(g, types, "token_embd.weight"), "Q3_K");
    p.overrides = wrong;
    p.n_overrides = 1;
    assert_int_equal(planned(g, &p, types, "the pattern '(' cannot be read"), ERROR_INVALID);
    p = quantize_plan_of(quantize_mix_find("Q4_K_M"));
    p.pure = true;
    assert_int_equal(planned(g, &p, types, ""), 0);
    assert_string_equal(type_in(g, types, "output.weight"), "Q4_K");
    p = quantize_plan_of(quantize_mix_find("Q2_K_S"));
    assert_int_equal(planned(g, &p, types, "would be noise without importance"), ERROR_INVALID);
    imatrix_init(&m);
    p = quantize_plan_of(quantize_mix_find("Q4_0"));
    p.importance = &m;
    assert_int_equal(imatrix_entry(&m, STR("blk.9.attn_v.weight"), 256, 1, &e, &err), 0);
    assert_int_equal(planned(g, &p, types, "knows none of the model's matrices"), ERROR_INVALID);
    assert_int_equal(imatrix_entry(&m, STR("blk.0.ffn_down.weight"), 256, 1, &e, &err), 0);
    assert_int_equal(planned(g, &p, types, ""), 0);
    assert_string_equal(type_in(g, types, "blk.0.ffn_down.weight"), "Q4_1"); /* llama.cpp's guard */
    assert_int_equal(imatrix_entry(&m, STR("blk.0.attn_v.weight"), 512, 1, &e, &err), 0);
    assert_int_equal(planned(g, &p, types, "it is of another model"), ERROR_INVALID);
    imatrix_free(&m);
    gguf_close(g);
    buf_free(&file);
}

/* An embedding that is the output, too, gets the output's type; eight experts share attention. */
static void knows_tied_embeddings_and_experts(void **state)
{
    (void)state;
    static const struct row rows[] = {{"token_embd.weight", 256, 4}, {"blk.0.attn_v.weight", 256, 2},
        {"blk.0.attn_k.weight", 256, 2}, {"blk.0.attn_output.weight", 256, 2},
        {"blk.0.ffn_gate_inp.weight", 256, 8}, {"blk.1.ffn_down_exps.weight", 256, 8}};
    enum tensor_type types[6];
    struct buf file;
    buf_init(&file, GIB);
    file_build(rows, 6, "llama", 16, 8, TENSOR_F16, &file);
    struct gguf *g = open_built(&file);
    choose(g, "Q4_K_S", types);
    assert_string_equal(type_in(g, types, "token_embd.weight"), "Q6_K");
    assert_string_equal(type_in(g, types, "blk.0.attn_v.weight"), "Q8_0");
    assert_string_equal(type_in(g, types, "blk.0.attn_k.weight"), "Q8_0");
    assert_string_equal(type_in(g, types, "blk.0.attn_output.weight"), "Q5_K");
    assert_string_equal(type_in(g, types, "blk.0.ffn_gate_inp.weight"), "F16");
    assert_string_equal(type_in(g, types, "blk.1.ffn_down_exps.weight"), "Q5_K");
    gguf_close(g);
    buf_free(&file);
}

static void falls_back_where_rows_are_no_whole_blocks(void **state)
{
    (void)state;
    static const struct row rows[] = {{"a.weight", 96, 2}, {"b.weight", 40, 2}, {"output.weight", 96, 2}};
    static const char *const wanted[][3] = {{"Q4_K_M", "Q5_0", "Q8_0"}, {"Q5_K_M", "Q5_1", "Q8_0"},
        {"Q6_K", "Q8_0", "Q8_0"}, {"IQ4_XS", "IQ4_NL", "Q8_0"}, {"Q4_1", "Q4_1", "Q8_0"},
        {"Q8_0", "Q8_0", "Q8_0"}};
    enum tensor_type types[3];
    struct buf file;
    buf_init(&file, GIB);
    file_build(rows, 3, "llama", 1, 0, TENSOR_F32, &file);
    struct gguf *g = open_built(&file);
    for (size_t i = 0; i < 6; i++) {
        choose(g, wanted[i][0], types);
        assert_string_equal(type_in(g, types, "a.weight"), wanted[i][1]);
        assert_string_equal(type_in(g, types, "b.weight"), "F16");
        assert_string_equal(
            type_in(g, types, "output.weight"), strcmp(wanted[i][0], "Q4_1") ? wanted[i][2] : "Q8_0");
    }
    gguf_close(g);
    buf_free(&file);
}

/* ---- Writing ---- */
struct counted {
    int calls, most;
};

static bool watch(void *ctx, const struct tensor *t, enum tensor_type to, uint64_t done)
{
    struct counted *c = ctx;
    (void)t;
    (void)to;
    (void)done;
    return c->calls++ < c->most;
}

static int written(const struct gguf *g, const char *mix, const char *path, int32_t threads, int most,
    struct quantize_totals *totals, struct error *err)
{
    const struct train_kernels *kernels;
    struct counted c = {0, most};
    struct team team;
    enum tensor_type types[8];
    assert_int_equal(train_kernels_select(NULL, &kernels, err), 0);
    assert_int_equal(team_create(kernels, threads, &team, err), 0);
    choose(g, mix, types);
    const struct quantize_plan plan = quantize_plan_of(quantize_mix_find(mix));
    int rc = quantize_write(g, &plan, types, path, &team, (struct quantize_watch){watch, &c}, totals, err);
    team_free(&team);
    return rc;
}

/* More values than a batch, from more than one thread: each tensor is as if written at once. */
static void writes_what_the_types_write(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"token_embd.weight", 256, 4097}, {"output_norm.weight", 256, 1}, {"output.weight", 256, 3}};
    struct quantize_totals totals;
    struct folder f;
    struct error err;
    struct gguf *made;
    struct buf file;
    uint32_t number;
    buf_init(&file, GIB);
    file_build(rows, 3, "llama", 1, 0, TENSOR_F16, &file);
    struct gguf *g = open_built(&file);
    folder_create(&f);
    const char *path = folder_file(&f, "m.gguf");
    for (int32_t threads = 1; threads <= 3; threads += 2) {
        assert_int_equal(written(g, "Q4_K_M", path, threads, 100, &totals, &err), 0);
        assert_int_equal(totals.converted, 2);
        assert_int_equal(totals.again, 0);
        assert_true(totals.lost > 0 && totals.lost < 0.02 * totals.power);
        assert_int_equal(file_open_model(path, &made, &err), 0);
        assert_int_equal(gguf_get_u32(made, "general.file_type", 0, &number, &err), 0);
        assert_int_equal(number, 15);
        assert_non_null(gguf_find(made, "tokenizer.ggml.model"));
        assert_int_equal(gguf_n_tensors(made), 3);
        for (size_t i = 0; i < 3; i++) {
            const struct tensor *from = gguf_tensor_at(g, i), *to = gguf_tensor_at(made, i);
            const int64_t count = from->shape[0] * tensor_rows(from);
            float *values = malloc((size_t)count * sizeof *values);
            char *bytes = malloc(to->bytes);
            assert_int_equal(tensor_dequantize(from->type, from->data, values, count, &err), 0);
            assert_int_equal(tensor_quantize(to->type, values, bytes, count, &err), 0);
            assert_memory_equal(bytes, to->data, to->bytes);
            free(values);
            free(bytes);
        }
        gguf_close(made);
    }
    assert_int_equal(file_open_model(path, &made, &err), 0);
    assert_int_equal(written(made, "F32", folder_file(&f, "a.gguf"), 1, 100, &totals, &err), 0);
    assert_int_equal(totals.again, 2);
    assert_true(totals.lost == 0);
    gguf_close(made);
    gguf_close(g);
    buf_free(&file);
    folder_free(&f);
}

static void refuse(const struct gguf *g, const char *mix, int most, int code, const char *what)
{
    struct quantize_totals totals;
    struct folder f;
    struct error err;
    folder_create(&f);
    assert_int_equal(written(g, mix, folder_write(&f, "m.gguf", "old"), 1, most, &totals, &err), code);
    if (!strstr(err.message, what))
        fail_msg("'%s' lacks '%s'", err.message, what);
    struct stat st;
    assert_int_equal(stat(folder_file(&f, "m.gguf"), &st), 0);
    assert_int_equal(st.st_size, 3);
    assert_int_not_equal(access(folder_file(&f, "m.gguf.part"), F_OK), 0);
    folder_free(&f);
}

static void leaves_what_was_there_when_it_cannot(void **state)
{
    (void)state;
    static const struct row rows[] = {{"a.weight", 256, 2}, {"b.weight", 256, 2}};
    struct buf file;
    struct error err;
    enum tensor_type types[2];
    buf_init(&file, GIB);
    file_build(rows, 2, "llama", 1, 0, TENSOR_F32, &file);
    float *last = (float *)(void *)(file.data + file.len) - 256;
    struct gguf *g = open_built(&file);
    refuse(g, "Q8_0", 1, ERROR_CANCELLED, "stopped");
    *last = 1e30f;
    refuse(g, "Q8_0", 100, ERROR_INVALID, "tensor 'b.weight' holds a value too large for its new type");
    *last = INFINITY;
    refuse(g, "Q4_K_M", 100, ERROR_INVALID, "tensor 'b.weight' holds a value that is no number");
    *last = NAN;
    refuse(g, "BF16", 100, ERROR_INVALID, "tensor 'b.weight' holds a value that is no number");
    refuse(
        g, "F32", 100, ERROR_INVALID, "tensor 'b.weight' holds a value that is no number"); /* a copy, too */
    gguf_close(g);
    /* the second tensor's offset is made the first one's, and the file cut: they share their bytes */
    buf_free(&file);
    buf_init(&file, GIB);
    file_build(rows, 2, "llama", 1, 0, TENSOR_F32, &file);
    char *offset = memmem(file.data, file.len, "b.weight", 8);
    memset(offset + 8 + 4 + 16 + 4, 0, 8);
    file.len -= 2048;
    g = open_built(&file);
    refuse(g, "Q8_0", 100, ERROR_INVALID, "more bytes than the file");
    gguf_close(g);
    buf_free(&file);
    struct gguf_writer w;
    gguf_writer_init(&w);
    buf_init(&file, GIB);
    assert_int_equal(gguf_writer_header(&w, &file, &err), 0);
    g = open_built(&file);
    assert_int_equal(quantize_choose(g, quantize_mix_find("Q8_0"), types, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "general.architecture"));
    gguf_close(g);
    gguf_writer_free(&w);
    buf_free(&file);
}

/* Root's --out /dev/null made a file of the device for all others. */
static void a_device_or_pipe_is_not_replaced_by_a_file(void **state)
{
    (void)state;
    struct folder f;
    struct file_writer w;
    struct error err;
    struct stat st;
    struct gguf *g;
    folder_create(&f);
    const char *path = folder_file(&f, "k");
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(file_begin(&w, path, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "is not a file"));
    assert_int_equal(stat(path, &st), 0);
    assert_true(S_ISFIFO(st.st_mode));
    assert_int_equal(file_begin(&w, f.path, &err), ERROR_INVALID);
    assert_int_equal(file_open_model(path, &g, &err), ERROR_IO);
    assert_int_equal(file_open_model(f.path, &g, &err), ERROR_IO);
    assert_non_null(strstr(err.message, "is not a file"));
    folder_free(&f);
}

/* The first part's name opens all of them; what one lacks is said. */
static void opens_a_split_model_by_its_first_part(void **state)
{
    (void)state;
    struct folder f;
    struct error err;
    struct gguf *g;
    const char *paths[2];
    folder_create(&f);
    for (uint32_t part = 0; part < 2; part++) {
        struct gguf_writer w;
        struct file_writer out;
        struct buf header;
        buf_init(&header, MIB);
        gguf_writer_init(&w);
        gguf_write_str(&w, "general.architecture", STR("llama"));
        gguf_write_u32(&w, "split.no", part);
        gguf_write_u32(&w, "split.count", 2);
        gguf_write_tensor(&w, part ? "b" : "a", TENSOR_F32, 1, (const int64_t[]){8});
        assert_int_equal(gguf_writer_header(&w, &header, &err), 0);
        paths[part] = folder_file(&f, part ? "m-00002-of-00002.gguf" : "m-00001-of-00002.gguf");
        assert_int_equal(file_begin(&out, paths[part], &err), 0);
        file_write(&out, header.data, header.len);
        file_write(&out, (const float[8]){0}, 32);
        assert_int_equal(file_commit(&out, &err), 0);
        gguf_writer_free(&w);
        buf_free(&header);
    }
    assert_int_equal(file_open_model(paths[0], &g, &err), 0);
    assert_int_equal(gguf_n_tensors(g), 2);
    gguf_close(g);
    assert_int_equal(file_open_model(paths[1], &g, &err), ERROR_INVALID);
    unlink(paths[1]);
    assert_int_equal(file_open_model(paths[0], &g, &err), ERROR_IO);
    assert_non_null(strstr(err.message, "m-00002-of-00002.gguf"));
    unlink(paths[0]);
    folder_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(gives_more_bits_where_they_matter),
        cmocka_unit_test(takes_types_by_name_and_importance),
        cmocka_unit_test(knows_tied_embeddings_and_experts),
        cmocka_unit_test(falls_back_where_rows_are_no_whole_blocks),
        cmocka_unit_test(writes_what_the_types_write), cmocka_unit_test(leaves_what_was_there_when_it_cannot),
        cmocka_unit_test(a_device_or_pipe_is_not_replaced_by_a_file),
        cmocka_unit_test(opens_a_split_model_by_its_first_part)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
