/* Where bytes of each class stand, at every length and place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "router/byte_map.h"

static struct error err;

static uint32_t dice(void)
{
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32);
}

static enum byte_class class_of(unsigned char c)
{
    if (c >= 0x80)
        return BYTE_HIGH;
    if (c >= 'a' && c <= 'z')
        return BYTE_LOWER;
    if (c >= 'A' && c <= 'Z')
        return BYTE_UPPER;
    if (c >= '0' && c <= '9')
        return BYTE_DIGIT;
    return c == ' ' ? BYTE_SPACE : c < ' ' ? BYTE_CONTROL : BYTE_SIGN;
}

static void each_byte_has_its_class(void **state)
{
    (void)state;
    for (size_t len = 0; len <= 256; len++) {
        /* Its own size, so that reading past the end would show. */
        char *text = malloc(len + 1);
        struct byte_map m;
        for (size_t i = 0; i < len; i++)
            text[i] = (char)(len == 256 ? i : dice());
        assert_int_equal(byte_map_make(&m, (struct str){text, len}, &err), 0);
        for (size_t i = 0; i < len; i++) {
            enum byte_class is = class_of((unsigned char)text[i]);
            bool word = is >= BYTE_LOWER && is <= BYTE_HIGH;
            for (int class = BYTE_LOWER; class < BYTE_CLASSES; class ++)
                assert_int_equal(
                    byte_bits(&m, (enum byte_class) class, i) & 1, is == (enum byte_class) class);
            assert_int_equal(byte_bits(&m, BYTE_WORD, i) & 1, word);
        }
        byte_map_free(&m);
        free(text);
    }
}

static void bits_are_read_across_blocks_and_end_with_the_text(void **state)
{
    (void)state;
    char text[130];
    struct byte_map m;
    memset(text, ' ', sizeof text);
    text[63] = text[64] = text[129] = 'x';
    assert_int_equal(byte_map_make(&m, (struct str){text, sizeof text}, &err), 0);
    assert_int_equal(byte_bits(&m, BYTE_LOWER, 62), 6);
    assert_int_equal(byte_bits(&m, BYTE_LOWER, 64), 1);
    assert_int_equal(byte_bits(&m, BYTE_LOWER, 129), 1);
    assert_int_equal(byte_bits(&m, BYTE_SPACE, 128), 1);
    assert_int_equal(byte_bits(&m, BYTE_SPACE, sizeof text), 0);
    byte_map_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_byte_has_its_class),
        cmocka_unit_test(bits_are_read_across_blocks_and_end_with_the_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
