/* safetensors: what is read, and what is refused because it cannot be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "train/hf/safetensors.h"

/* A file of this header and so many bytes of data, 1, 2, 3, ... */
struct made {
    char bytes[2048];
    size_t size;
};

static struct made make(const char *header, size_t data)
{
    struct made m = {0};
    const uint64_t length = strlen(header);
    memcpy(m.bytes, &length, sizeof length);
    memcpy(m.bytes + 8, header, (size_t)length);
    for (size_t i = 0; i < data; i++)
        m.bytes[8 + length + i] = (char)(i + 1);
    m.size = 8 + (size_t)length + data;
    return m;
}

static void reads_types_shapes_and_values(void **state)
{
    (void)state;
    const struct made m = make("{\"__metadata__\":{\"format\":\"pt\"},"
                               "\"b\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[8,20]},"
                               "\"a\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[0,8]},"
                               "\"c\":{\"dtype\":\"I8\",\"shape\":[2],\"data_offsets\":[20,22]}}   ",
        22);
    struct safetensors s;
    struct error err;
    float value;
    assert_int_equal(safetensors_parse(m.bytes, m.size, &s, &err), 0);
    assert_int_equal(s.n, 3);
    assert_true(str_is(s.list[0].tensor.name, "a")); /* in the order of the data */
    assert_true(str_is(s.list[1].tensor.name, "b"));
    assert_int_equal(s.list[1].tensor.shape[0], 3);
    assert_int_equal(s.list[1].tensor.shape[1], 2);
    assert_null(s.list[1].unusable);
    assert_non_null(s.list[2].unusable);
    assert_int_equal(safetensor_values(&s.list[1].tensor, 5, 1, &value, &err), 0);
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    assert_int_equal(bits, 0x14130000);
    safetensors_close(&s);
}

static void reads_doubles(void **state)
{
    (void)state;
    struct made m = make("{\"a\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[0,16]}}", 16);
    const double values[] = {-0.25, 3e10};
    memcpy(m.bytes + m.size - 16, values, sizeof values);
    struct safetensors s;
    struct error err;
    float got[2];
    assert_int_equal(safetensors_parse(m.bytes, m.size, &s, &err), 0);
    assert_int_equal(safetensor_values(&s.list[0].tensor, 0, 2, got, &err), 0);
    assert_true(got[0] == -0.25f && got[1] == 3e10f);
    safetensors_close(&s);
}

#define ONE(dtype, shape, from, to)                                                                          \
    "{\"a\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" from "," to "]}}"

static void refuses_what_cannot_be(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        const char *says;
    } rows[] = {
        {ONE("F32", "[2]", "0", "12"), 12, "as many bytes as its shape"},
        {ONE("F32", "[2]", "0", "8"), 7, "outside the file"},
        {ONE("F32", "[2]", "8", "0"), 8, "outside the file"},
        {ONE("F32", "[2]", "-8", "0"), 8, "outside the file"},
        {ONE("F32", "[2]", "0", "8"), 12, "belong to no tensor"},
        {ONE("F32", "[2]", "4", "12"), 12, "leaves a hole"},
        {ONE("Q4", "[2]", "0", "8"), 8, "type 'Q4'"},
        {ONE("F32", "[-2]", "0", "8"), 8, "no shape"},
        {ONE("F32", "[4611686018427387904,4]", "0", "0"), 0, "no shape"},
        {ONE("F32", "[1.5]", "0", "4"), 4, "no shape"},
        {ONE("F32", "3", "0", "4"), 4, "no shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
            12, "shares bytes"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
            8, "stands twice"},
        {"{\"a\":7}", 4, "type ''"},
        {"{\"a\":", 0, "its header"},
        {"[1]", 0, "not a safetensors file"},
        {"", 0, "not a safetensors file"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct made m = make(rows[i].header, rows[i].data);
        struct safetensors s;
        struct error err = {0};
        assert_int_not_equal(safetensors_parse(m.bytes, m.size, &s, &err), 0);
        if (!strstr(err.message, rows[i].says))
            fail_msg("%s: %s", rows[i].header, err.message);
    }
    /* a header longer than the file, and any length of a good file */
    const struct made whole = make(ONE("F32", "[2]", "0", "8"), 8);
    for (size_t size = 0; size < whole.size; size++) {
        struct safetensors s;
        struct error err;
        assert_int_not_equal(safetensors_parse(whole.bytes, size, &s, &err), 0);
    }
}

/* ---- Several files ---- */
static char folder[] = "/tmp/weir-weights-XXXXXX";

static void put(const char *name, const void *data, size_t size)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static void expect(const char *index, const char *says)
{
    struct weights w;
    struct error err = {0};
    put("model.safetensors.index.json", index, strlen(index));
    int rc = weights_open(folder, "model", &w, &err);
    if (!says) {
        assert_int_equal(rc, 0);
        assert_int_equal(w.n, 2);
        assert_true(str_is(weights_find(&w, STR("b"))->tensor.name, "b"));
        assert_null(weights_find(&w, STR("c")));
        weights_close(&w);
    } else if (rc == 0 || !strstr(err.message, says)) {
        fail_msg("%s: %s", index, err.message);
    }
}

static void takes_shards_by_their_index_and_no_file_elsewhere(void **state)
{
    (void)state;
    const struct made a = make("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4),
                      b = make("{\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4);
    assert_non_null(mkdtemp(folder));
    put("x-1.safetensors", a.bytes, a.size);
    put("x-2.safetensors", b.bytes, b.size);
    put("x-3.safetensors", b.bytes, b.size);
    expect("{\"weight_map\":{\"a\":\"x-1.safetensors\",\"b\":\"x-2.safetensors\"}}", NULL);
    expect(
        "{\"weight_map\":{\"a\":\"x-1.safetensors\",\"b\":\"x-1.safetensors\"}}", "does not hold tensor 'b'");
    expect("{\"weight_map\":{\"a\":\"x-2.safetensors\",\"b\":\"x-1.safetensors\"}}", "does not hold tensor");
    expect("{\"weight_map\":{\"a\":\"x-2.safetensors\",\"b\":\"x-3.safetensors\"}}", "is in two files");
    expect("{\"weight_map\":{\"a\":\"../x-1.safetensors\"}}", "no .safetensors file beside it");
    expect("{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "no .safetensors file beside it");
    expect("{\"weight_map\":{\"a\":\".safetensors\"}}", "no .safetensors file beside it");
    expect("{\"weight_map\":{\"a\":\"x-9.safetensors\"}}", "cannot open");
    expect("{\"weight_map\":{}}", "no 'weight_map'");
    expect("{\"weight_map\":", "index.json");
    static const char *const names[] = {
        "x-1.safetensors", "x-2.safetensors", "x-3.safetensors", "model.safetensors.index.json"};
    for (size_t i = 0; i < 4; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        assert_int_equal(unlink(path), 0);
    }
    struct weights w;
    struct error err;
    assert_int_equal(weights_open(folder, "model", &w, &err), ERROR_NOT_FOUND);
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_types_shapes_and_values),
        cmocka_unit_test(reads_doubles),
        cmocka_unit_test(refuses_what_cannot_be),
        cmocka_unit_test(takes_shards_by_their_index_and_no_file_elsewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
