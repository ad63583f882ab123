#include "engine/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"

static void test_round_trip(void **state)
{
    (void)state;
    struct buf b;
    struct wire_frame f;
    struct error err;
    size_t offset = 0;
    buf_init(&b, MIB);
    assert_int_equal(wire_append(&b, 0, WIRE_LOAD, STR("{}")), 0);
    assert_int_equal(wire_append(&b, 0xfffffffe, WIRE_ERROR, STR_NONE), 0);
    assert_int_equal(wire_append(&b, 7, WIRE_DATA, STR("a\0b")), 0);
    assert_int_equal(b.len, 3 * WIRE_HEADER_BYTES + 2 + 3);

    assert_int_equal(wire_take(&b, &offset, &f, &err), 1);
    assert_int_equal(f.call, 0);
    assert_int_equal(f.type, WIRE_LOAD);
    assert_true(str_is(f.payload, "{}"));
    assert_int_equal(wire_take(&b, &offset, &f, &err), 1);
    assert_true(f.call == 0xfffffffe && f.type == WIRE_ERROR && f.payload.len == 0);
    assert_int_equal(wire_take(&b, &offset, &f, &err), 1);
    assert_true(f.call == 7 && f.type == WIRE_DATA && str_eq(f.payload, STR("a\0b")));
    assert_int_equal(wire_take(&b, &offset, &f, &err), 0);
    assert_int_equal(offset, b.len);
    buf_free(&b);
}

/* A frame that comes byte by byte is taken once, when it is whole. */
static void test_cut_frames_wait(void **state)
{
    (void)state;
    struct buf whole, part;
    struct wire_frame f;
    buf_init(&whole, MIB);
    buf_init(&part, MIB);
    assert_int_equal(wire_append(&whole, 3, WIRE_CHAT, STR("hello")), 0);
    for (size_t i = 0; i < whole.len; i++) {
        size_t offset = 0;
        assert_int_equal(wire_take(&part, &offset, &f, NULL), 0);
        assert_int_equal(offset, 0);
        buf_append(&part, whole.data + i, 1);
    }
    size_t offset = 0;
    assert_int_equal(wire_take(&part, &offset, &f, NULL), 1);
    assert_true(str_is(f.payload, "hello"));
    buf_free(&whole);
    buf_free(&part);
}

static int take_header(uint32_t length, uint16_t type, uint16_t drawn)
{
    char raw[WIRE_HEADER_BYTES] = {0};
    struct buf b;
    struct wire_frame f;
    struct error err;
    size_t offset = 0;
    memcpy(raw, &length, 4);
    memcpy(raw + 8, &type, 2);
    memcpy(raw + 10, &drawn, 2);
    buf_init(&b, MIB);
    buf_append(&b, raw, sizeof raw);
    int rc = wire_take(&b, &offset, &f, &err);
    buf_free(&b);
    return rc;
}

static void test_broken_headers(void **state)
{
    (void)state;
    assert_int_equal(take_header((uint32_t)LIMIT_WIRE_FRAME, WIRE_CHAT, 0), 0);
    assert_int_equal(take_header((uint32_t)LIMIT_WIRE_FRAME + 1, WIRE_CHAT, 0), ERROR_LIMIT);
    assert_int_equal(take_header(UINT32_MAX, WIRE_CHAT, 0), ERROR_LIMIT);
    assert_int_equal(take_header(0, 0, 0), ERROR_INVALID);
    assert_int_equal(take_header(0, WIRE_CANCEL + 1, 0), ERROR_INVALID);
    assert_int_equal(take_header(0, WIRE_READY - 1, 0), ERROR_INVALID);
    assert_int_equal(take_header(0, WIRE_ERROR + 1, 0), ERROR_INVALID);
    assert_int_equal(take_header(0, 0xffff, 0), ERROR_INVALID);
    assert_int_equal(take_header(0, WIRE_CHAT, 1), ERROR_INVALID);
    assert_int_equal(take_header(0, WIRE_USAGE, 1), ERROR_INVALID);
    assert_int_equal(take_header(0, WIRE_TEXT, 0xffff), 1);
    assert_int_equal(take_header(0, WIRE_CHAT, 0), 1);
}

static void test_buffer_maximum_is_kept(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, WIRE_HEADER_BYTES + 4);
    assert_int_equal(wire_append(&b, 1, WIRE_TEXT, STR("12345")), ERROR_LIMIT);
    assert_int_equal(b.len, 0);
    buf_clear(&b);
    assert_int_equal(wire_append(&b, 1, WIRE_TEXT, STR("1234")), 0);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_cut_frames_wait),
        cmocka_unit_test(test_broken_headers),
        cmocka_unit_test(test_buffer_maximum_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
