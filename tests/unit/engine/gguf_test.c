#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/limits.h"
#include "engine/worker/gguf_write.h"

/* A small file with every kind of value and two tensors. */
static struct buf small_file(uint32_t version)
{
    struct gguf_writer w;
    struct error err;
    struct buf out;
    gguf_writer_init(&w);
    w.version = version;
    gguf_write_str(&w, "general.architecture", STR("llama"));
    gguf_write_u32(&w, "general.alignment", 32);
    gguf_write_u32(&w, "a.count", 7);
    gguf_write_f32(&w, "a.scale", 0.5f);
    gguf_write_bool(&w, "a.flag", true);
    gguf_write_array(&w, "a.numbers", GGUF_INT32, (const int32_t[]){1, -2, 3}, 3);
    gguf_write_strs(&w, "a.words", (const struct str[]){STR("one"), STR(""), STR("three")}, 3);
    gguf_write_tensor(&w, "first.weight", TENSOR_F32, 2, (const int64_t[]){4, 3});
    gguf_write_tensor(&w, "second.weight", TENSOR_Q8_0, 1, (const int64_t[]){32});
    buf_init(&out, MIB);
    assert_int_equal(gguf_writer_header(&w, &out, &err), 0);
    for (size_t i = 0; i < 64 + 34; i++) /* the first padded, the second not */
        buf_append_char(&out, i < 48 ? (char)0x3f : 1);
    assert_int_equal(out.failed, 0);
    gguf_writer_free(&w);
    return out;
}

static void read_everything(const struct gguf *g)
{
    struct error err;
    for (size_t i = 0; i < gguf_n_pairs(g); i++) {
        const struct gguf_pair *pair = gguf_pair_at(g, i);
        struct str text;
        size_t cursor = 0, n = 0;
        if (pair->type == GGUF_ARRAY && pair->array.type == GGUF_STRING) {
            while (gguf_array_next(&pair->array, &cursor, &text))
                n += text.len == 0 || text.data[0] != '\0';
            assert_true(n <= pair->array.count);
        }
    }
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct tensor *t = gguf_tensor_at(g, i);
        const struct tensor_type_info *info = tensor_type_info(t->type);
        float *values = calloc(t->bytes / info->block_bytes + 1, info->block_values * sizeof *values);
        assert_non_null(values);
        int rc = tensor_dequantize(t->type, t->data, values, t->shape[0] * tensor_rows(t), &err);
        assert_true(rc == 0 || rc == ERROR_UNSUPPORTED);
        free(values);
    }
}

/* Opens exactly these bytes, so that a read past them is seen by the sanitizer. */
static int open_copy(const void *data, size_t size, struct error *err)
{
    struct gguf *g;
    void *copy = malloc(size + 1);
    assert_non_null(copy);
    char *end = (char *)copy + 1; /* unaligned on purpose */
    if (size > 0)
        memcpy(end, data, size);
    int rc = gguf_open_memory(end, size, &g, err);
    if (rc == 0)
        read_everything(g);
    else
        assert_null(g);
    gguf_close(g);
    free(copy);
    return rc;
}

static void reads_a_valid_file(void **state)
{
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        struct buf file = small_file(version);
        struct gguf *g;
        struct error err;
        assert_int_equal(gguf_open_memory(file.data, file.len, &g, &err), 0);
        assert_int_equal(gguf_version(g), version);
        assert_int_equal(gguf_file_size(g), file.len);
        assert_int_equal(gguf_n_pairs(g), 7);
        assert_int_equal(gguf_n_tensors(g), 2);
        const struct tensor *t = gguf_tensor_find(g, "first.weight");
        assert_non_null(t);
        assert_int_equal(t->bytes, 48);
        assert_int_equal(t->shape[0], 4);
        assert_int_equal(t->shape[1], 3);
        assert_int_equal(t->shape[2], 1);
        assert_int_equal(tensor_rows(t), 3);
        assert_int_equal(((const char *)t->data - file.data) % 32, 0);
        assert_memory_equal(t->data, "\x3f\x3f\x3f\x3f", 4);
        t = gguf_tensor_find(g, "second.weight");
        assert_ptr_equal((const char *)t->data + 34, file.data + file.len);
        assert_null(gguf_tensor_find(g, "third.weight"));
        gguf_close(g);
        buf_free(&file);
    }
}

static void gives_typed_values(void **state)
{
    (void)state;
    struct buf file = small_file(3);
    struct gguf *g;
    struct error err;
    uint32_t u;
    float f;
    bool b;
    struct str s;
    struct gguf_array array;
    assert_int_equal(gguf_open_memory(file.data, file.len, &g, &err), 0);
    assert_int_equal(gguf_get_u32(g, "a.count", 1, &u, &err), 0);
    assert_int_equal(u, 7);
    assert_int_equal(gguf_get_u32(g, "a.missing", 9, &u, &err), 0);
    assert_int_equal(u, 9);
    assert_int_equal(gguf_get_f32(g, "a.scale", 1, &f, &err), 0);
    assert_true(f == 0.5f);
    assert_int_equal(gguf_get_bool(g, "a.flag", false, &b, &err), 0);
    assert_true(b);
    assert_int_equal(gguf_get_str(g, "general.architecture", STR_NONE, &s, &err), 0);
    assert_true(str_is(s, "llama"));
    assert_int_equal(gguf_get_array(g, "a.numbers", GGUF_INT32, &array, &err), 0);
    assert_int_equal(array.count, 3);
    assert_int_equal(gguf_get_array(g, "a.words", GGUF_STRING, &array, &err), 0);
    size_t cursor = 0;
    const char *const words[] = {"one", "", "three"};
    for (int i = 0; i < 3; i++) {
        assert_true(gguf_array_next(&array, &cursor, &s));
        assert_true(str_is(s, words[i]));
    }
    assert_false(gguf_array_next(&array, &cursor, &s));
    /* Another type is an error that names the key. */
    assert_int_equal(gguf_get_u32(g, "a.scale", 1, &u, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "a.scale"));
    assert_int_equal(gguf_get_str(g, "a.flag", STR_NONE, &s, &err), ERROR_INVALID);
    assert_int_equal(gguf_get_f32(g, "a.count", 1, &f, &err), ERROR_INVALID);
    assert_int_equal(gguf_get_bool(g, "a.count", true, &b, &err), ERROR_INVALID);
    assert_int_equal(gguf_get_array(g, "a.words", GGUF_INT32, &array, &err), ERROR_INVALID);
    assert_int_equal(gguf_get_array(g, "a.count", GGUF_INT32, &array, &err), ERROR_INVALID);
    gguf_close(g);
    buf_free(&file);
}

static void refuses_every_truncation(void **state)
{
    (void)state;
    struct buf file = small_file(3);
    struct error err;
    for (size_t size = 0; size < file.len; size++) {
        assert_true(open_copy(file.data, size, &err) < 0);
        assert_true(strlen(err.message) > 10);
    }
    assert_int_equal(open_copy(file.data, file.len, &err), 0);
    buf_free(&file);
}

static void survives_every_bit_flip(void **state)
{
    (void)state;
    struct buf file = small_file(3);
    struct error err;
    size_t refused = 0;
    for (size_t bit = 0; bit < file.len * 8; bit++) {
        file.data[bit / 8] ^= (char)(1 << bit % 8);
        refused += open_copy(file.data, file.len, &err) < 0;
        file.data[bit / 8] ^= (char)(1 << bit % 8);
    }
    assert_true(refused > file.len); /* a good part of the file is structure */
    buf_free(&file);
}

static void survives_every_huge_word(void **state)
{
    (void)state;
    static const uint64_t words[] = {
        UINT64_MAX, INT64_MAX, (uint64_t)1 << 63, UINT32_MAX, (uint64_t)1 << 61, (uint64_t)1 << 32, 0};
    struct buf file = small_file(3);
    struct error err;
    for (size_t at = 0; at + 8 <= file.len; at++)
        for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
            char saved[8];
            memcpy(saved, file.data + at, 8);
            memcpy(file.data + at, &words[i], 8);
            (void)!open_copy(file.data, file.len, &err);
            memcpy(file.data + at, saved, 8);
        }
    buf_free(&file);
}

/* Raw files, written field by field. */
static void put_u32(struct buf *b, uint32_t v)
{
    buf_append(b, &v, sizeof v);
}

static void put_u64(struct buf *b, uint64_t v)
{
    buf_append(b, &v, sizeof v);
}

static void put_str(struct buf *b, const char *s)
{
    put_u64(b, strlen(s));
    buf_append_text(b, s);
}

static struct buf raw_header(uint32_t version, uint64_t n_tensors, uint64_t n_pairs)
{
    struct buf b;
    buf_init(&b, 64 * MIB);
    buf_append_text(&b, "GGUF");
    put_u32(&b, version);
    put_u64(&b, n_tensors);
    put_u64(&b, n_pairs);
    return b;
}

static void put_tensor(
    struct buf *b, const char *name, uint32_t n_dims, const int64_t *dims, uint32_t type, uint64_t offset)
{
    put_str(b, name);
    put_u32(b, n_dims);
    for (uint32_t i = 0; i < n_dims; i++)
        put_u64(b, (uint64_t)dims[i]);
    put_u32(b, type);
    put_u64(b, offset);
}

/* The bytes must be refused with this code and a message that has `words` in it; frees them. */
static void refused(struct buf b, int code, const char *words)
{
    struct error err;
    for (int i = 0; i < 256; i++)
        buf_append_char(&b, 0);
    int rc = open_copy(b.data, b.len, &err);
    if (rc != code || !strstr(err.message, words))
        print_message("got %d: %s\n", rc, rc ? err.message : "opened");
    assert_int_equal(rc, code);
    assert_non_null(strstr(err.message, words));
    buf_free(&b);
}

static void refuses_other_headers(void **state)
{
    (void)state;
    struct error err;
    assert_int_equal(open_copy("not a model, but long enough for one", 36, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "not a GGUF file"));
    refused(raw_header(1, 0, 0), ERROR_UNSUPPORTED, "version 1");
    refused(raw_header(4, 0, 0), ERROR_UNSUPPORTED, "version 4");
    refused(raw_header(0, 0, 0), ERROR_UNSUPPORTED, "version 0");
    refused(raw_header(0x03000000, 0, 0), ERROR_UNSUPPORTED, "big-endian");
}

static void refuses_counts_that_overflow(void **state)
{
    (void)state;
    refused(raw_header(3, UINT64_MAX, 0), ERROR_INVALID, "tensors");
    refused(raw_header(3, UINT64_MAX / 100, 0), ERROR_INVALID, "tensors");
    refused(raw_header(3, 1000, 0), ERROR_INVALID, "tensors");
    refused(raw_header(3, 0, UINT64_MAX), ERROR_INVALID, "pairs");
    refused(raw_header(3, 0, (uint64_t)1 << 60), ERROR_INVALID, "pairs");
    refused(raw_header(3, 0, 1000), ERROR_INVALID, "pairs");
}

static void refuses_bad_metadata(void **state)
{
    (void)state;
    struct buf b = raw_header(3, 0, 1);
    put_u64(&b, UINT64_MAX); /* key length */
    put_u64(&b, 0);
    refused(b, ERROR_INVALID, "metadata key");
    b = raw_header(3, 0, 1);
    put_str(&b, "bad\nkey");
    put_u32(&b, GGUF_UINT32);
    refused(b, ERROR_INVALID, "not text");
    b = raw_header(3, 0, 1);
    put_str(&b, "k");
    put_u32(&b, 13);
    refused(b, ERROR_INVALID, "'k' has the unknown type 13");
    b = raw_header(3, 0, 1);
    put_str(&b, "k");
    put_u32(&b, GGUF_STRING);
    put_u64(&b, INT64_MAX);
    refused(b, ERROR_INVALID, "metadata string");
    b = raw_header(3, 0, 1);
    put_str(&b, "k");
    put_u32(&b, GGUF_BOOL);
    buf_append_char(&b, 2);
    refused(b, ERROR_INVALID, "neither true nor false");
    b = raw_header(3, 0, 2);
    for (int i = 0; i < 2; i++) {
        put_str(&b, "twice");
        put_u32(&b, GGUF_UINT32);
        put_u32(&b, 1);
    }
    refused(b, ERROR_INVALID, "'twice' stands twice");
}

static void refuses_bad_arrays(void **state)
{
    (void)state;
    static const uint32_t types[] = {GGUF_UINT8, GGUF_INT32, GGUF_UINT64, GGUF_STRING, GGUF_BOOL};
    static const uint64_t counts[] = {UINT64_MAX, UINT64_MAX / 8 + 2, UINT64_MAX / 4 + 2, INT64_MAX, 100000};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
            struct buf b = raw_header(3, 0, 1);
            put_str(&b, "list");
            put_u32(&b, GGUF_ARRAY);
            put_u32(&b, types[t]);
            put_u64(&b, counts[c]);
            refused(b, ERROR_INVALID, "'list' claims");
        }
    struct buf b = raw_header(3, 0, 1);
    put_str(&b, "nested");
    put_u32(&b, GGUF_ARRAY);
    put_u32(&b, GGUF_ARRAY);
    put_u64(&b, 1);
    refused(b, ERROR_UNSUPPORTED, "'nested' is an array of array");
    b = raw_header(3, 0, 1);
    put_str(&b, "odd");
    put_u32(&b, GGUF_ARRAY);
    put_u32(&b, 99);
    put_u64(&b, 1);
    refused(b, ERROR_UNSUPPORTED, "'odd'");
}

static void refuses_bad_alignment(void **state)
{
    (void)state;
    static const uint32_t bad[] = {0, 1, 3, 4, 12, 33, 1u << 31, UINT32_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct buf b = raw_header(3, 0, 1);
        put_str(&b, "general.alignment");
        put_u32(&b, GGUF_UINT32);
        put_u32(&b, bad[i]);
        refused(b, ERROR_INVALID, "general.alignment");
    }
    struct buf b = raw_header(3, 0, 1);
    put_str(&b, "general.alignment");
    put_u32(&b, GGUF_STRING);
    put_str(&b, "32");
    refused(b, ERROR_INVALID, "general.alignment");
}

static void refuses_bad_tensors(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint32_t n_dims;
        int64_t dims[5];
        uint32_t type;
        uint64_t offset;
        int code;
        const char *words;
    } cases[] = {
        {"t", 5, {1, 1, 1, 1, 1}, TENSOR_F32, 0, ERROR_INVALID, "'t' has 5 dimensions"},
        {"t", UINT32_MAX & 7, {1, 1, 1, 1, 1}, TENSOR_F32, 0, ERROR_INVALID, "'t' has 7 dimensions"},
        {"t", 2, {0, 4}, TENSOR_F32, 0, ERROR_INVALID, "zero"},
        {"t", 2, {4, 0}, TENSOR_F32, 0, ERROR_INVALID, "zero"},
        {"t", 1, {-4}, TENSOR_F32, 0, ERROR_INVALID, "'t'"},
        {"t", 2, {(int64_t)1 << 32, (int64_t)1 << 32}, TENSOR_F32, 0, ERROR_INVALID, "too many values"},
        {"t", 4, {1 << 16, 1 << 16, 1 << 16, 1 << 16}, TENSOR_F32, 0, ERROR_INVALID, "too many values"},
        {"t", 1, {INT64_MAX}, TENSOR_F32, 0, ERROR_INVALID, "too large"},
        {"t", 1, {(int64_t)1 << 61}, TENSOR_F32, 0, ERROR_INVALID, "past the end"},
        {"t", 1, {31}, TENSOR_Q8_0, 0, ERROR_INVALID, "not whole Q8_0 blocks of 32"},
        {"t", 2, {128, 2}, TENSOR_Q4_K, 0, ERROR_INVALID, "not whole Q4_K blocks of 256"},
        {"t", 1, {4}, 4, 0, ERROR_UNSUPPORTED, "'t' has type 4"},
        {"t", 1, {4}, 31, 0, ERROR_UNSUPPORTED, "'t' has type 31"},
        {"t", 1, {4}, UINT32_MAX, 0, ERROR_UNSUPPORTED, "'t' has type"},
        {"t", 1, {1000}, TENSOR_F32, 0, ERROR_INVALID, "past the end"},
        {"t", 1, {4}, TENSOR_F32, 1024, ERROR_INVALID, "past the end"},
        {"t", 1, {4}, TENSOR_F32, 8, ERROR_INVALID, "not aligned to 32"},
        {"t", 1, {4}, TENSOR_F32, UINT64_MAX - 31, ERROR_INVALID, "past the end"},
        {"t", 1, {4}, TENSOR_F32, (uint64_t)1 << 63, ERROR_INVALID, "past the end"},
        {"", 1, {4}, TENSOR_F32, 0, ERROR_INVALID, "name"},
        {"tab\there", 1, {4}, TENSOR_F32, 0, ERROR_INVALID, "not text"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t dims[7] = {1, 1, 1, 1, 1, 1, 1};
        memcpy(dims, cases[i].dims, sizeof cases[i].dims);
        struct buf b = raw_header(3, 1, 0);
        put_tensor(&b, cases[i].name, cases[i].n_dims, dims, cases[i].type, cases[i].offset);
        refused(b, cases[i].code, cases[i].words);
    }
    struct buf b = raw_header(3, 2, 0);
    put_tensor(&b, "same", 1, (const int64_t[]){4}, TENSOR_F32, 0);
    put_tensor(&b, "same", 1, (const int64_t[]){4}, TENSOR_F32, 0);
    refused(b, ERROR_INVALID, "two tensors named 'same'");
    char longer[TENSOR_NAME_MAX + 2];
    memset(longer, 'x', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    b = raw_header(3, 1, 0);
    put_tensor(&b, longer, 1, (const int64_t[]){4}, TENSOR_F32, 0);
    refused(b, ERROR_INVALID, "longer than 128");
}

static int part_fd(int number, int count, int total, const char *tensor)
{
    struct gguf_writer w;
    struct error err;
    struct buf out;
    gguf_writer_init(&w);
    if (number == 0)
        gguf_write_str(&w, "general.architecture", STR("llama"));
    gguf_write_array(&w, "unused", GGUF_UINT8, "abc", 3);
    gguf_write_u32(&w, "split.no", (uint32_t)number);
    gguf_write_u32(&w, "split.count", (uint32_t)count);
    gguf_write_u32(&w, "split.tensors.count", (uint32_t)total);
    gguf_write_tensor(&w, tensor, TENSOR_F32, 1, (const int64_t[]){8});
    buf_init(&out, MIB);
    assert_int_equal(gguf_writer_header(&w, &out, &err), 0);
    for (int i = 0; i < 32; i++)
        buf_append_char(&out, (char)number);
    int fd = memfd_create("part", 0);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, out.data, out.len), (ssize_t)out.len);
    buf_free(&out);
    gguf_writer_free(&w);
    return fd;
}

static void joins_split_files(void **state)
{
    (void)state;
    struct gguf *g;
    struct error err;
    int fds[2] = {part_fd(0, 2, 2, "one"), part_fd(1, 2, 2, "two")};
    assert_int_equal(gguf_open(fds, 2, &g, &err), 0);
    assert_int_equal(gguf_n_tensors(g), 2);
    assert_int_equal(*(const char *)gguf_tensor_find(g, "one")->data, 0);
    assert_int_equal(*(const char *)gguf_tensor_find(g, "two")->data, 1);
    assert_non_null(gguf_find(g, "general.architecture"));
    gguf_close(g);
    /* One alone, in the wrong order, one twice. */
    assert_int_equal(gguf_open(fds, 1, &g, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "give all parts"));
    int swapped[2] = {fds[1], fds[0]};
    assert_int_equal(gguf_open(swapped, 2, &g, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "in order"));
    int twice[2] = {fds[0], fds[0]};
    assert_int_equal(gguf_open(twice, 2, &g, &err), ERROR_INVALID);
    int same_name = part_fd(1, 2, 2, "one"), wrong_total = part_fd(0, 2, 3, "one");
    int clash[2] = {fds[0], same_name}, total[2] = {wrong_total, fds[1]};
    assert_int_equal(gguf_open(clash, 2, &g, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "part 2 of 2: there are two tensors named 'one'"));
    assert_int_equal(gguf_open(total, 2, &g, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "hold 2 tensors, not 3"));
    assert_int_equal(gguf_open(fds, 0, &g, &err), ERROR_INVALID);
    close(fds[0]);
    close(fds[1]);
    close(same_name);
    close(wrong_total);
}

static void refuses_what_is_no_file(void **state)
{
    (void)state;
    struct gguf *g;
    struct error err;
    int fds[2], empty = memfd_create("empty", 0), closed = -1;
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(gguf_open(&fds[0], 1, &g, &err), ERROR_INVALID);
    assert_int_equal(gguf_open(&empty, 1, &g, &err), ERROR_INVALID);
    assert_true(gguf_open(&closed, 1, &g, &err) < 0);
    assert_null(g);
    close(fds[0]);
    close(fds[1]);
    close(empty);
}

/* Duplicate checks that compare each name with each other would take minutes here. */
static void many_names_take_linear_time(void **state)
{
    (void)state;
    enum { N = 200000 };
    struct gguf_writer w;
    struct gguf *g;
    struct error err;
    struct buf out;
    gguf_writer_init(&w);
    for (int i = 0; i < N; i++) {
        char name[32];
        snprintf(name, sizeof name, "blk.%d.weight", i);
        gguf_write_tensor(&w, name, TENSOR_F32, 1, (const int64_t[]){8});
    }
    buf_init(&out, 64 * MIB);
    assert_int_equal(gguf_writer_header(&w, &out, &err), 0);
    char *data = buf_reserve(&out, (size_t)w.data_bytes);
    assert_non_null(data);
    memset(data, 0, (size_t)w.data_bytes);
    buf_commit(&out, (size_t)w.data_bytes);
    int64_t start = clock_mono_ms();
    assert_int_equal(gguf_open_memory(out.data, out.len, &g, &err), 0);
    assert_true(clock_mono_ms() - start < 5000);
    assert_int_equal(gguf_n_tensors(g), N);
    assert_non_null(gguf_tensor_find(g, "blk.199999.weight"));
    gguf_close(g);
    buf_free(&out);
    gguf_writer_free(&w);
}

/* The tensors' bytes are still to be written. */
static void opens_a_header_alone(void **state)
{
    (void)state;
    struct buf file = small_file(3);
    struct gguf *g;
    struct error err;
    const size_t header = file.len - (64 + 34);
    assert_int_not_equal(gguf_open_memory(file.data, header, &g, &err), 0);
    assert_int_equal(gguf_open_header(file.data, header, &g, &err), 0);
    assert_int_equal(gguf_n_tensors(g), 2);
    assert_int_equal(gguf_tensor_find(g, "first.weight")->shape[1], 3);
    assert_null(gguf_tensor_find(g, "first.weight")->data);
    gguf_close(g);
    assert_int_not_equal(gguf_open_header(file.data, header / 2, &g, &err), 0);
    buf_free(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_valid_file),
        cmocka_unit_test(gives_typed_values),
        cmocka_unit_test(refuses_every_truncation),
        cmocka_unit_test(survives_every_bit_flip),
        cmocka_unit_test(survives_every_huge_word),
        cmocka_unit_test(refuses_other_headers),
        cmocka_unit_test(refuses_counts_that_overflow),
        cmocka_unit_test(refuses_bad_metadata),
        cmocka_unit_test(refuses_bad_arrays),
        cmocka_unit_test(refuses_bad_alignment),
        cmocka_unit_test(refuses_bad_tensors),
        cmocka_unit_test(joins_split_files),
        cmocka_unit_test(opens_a_header_alone),
        cmocka_unit_test(refuses_what_is_no_file),
        cmocka_unit_test(many_names_take_linear_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
