/* What stands in another code is looked for by blocks of 64 bytes: it must not show. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "router/plain.h"

static struct error err;

static bool packed(struct str text, struct buf *out)
{
    struct byte_map map;
    bool changed;
    char *exact = malloc(text.len + 1);
    assert_non_null(exact);
    memcpy(exact, text.data, text.len);
    out->len = 0;
    assert_int_equal(byte_map_make(&map, (struct str){exact, text.len}, &err), 0);
    assert_int_equal(router_plain_packed(&map, out, &changed), 0);
    byte_map_free(&map);
    free(exact);
    return changed;
}

static void codes_are_undone_wherever_they_stand(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } rows[] = {{"x aGVsbG8gd29ybGQgb2Y= y", "hello world of"}, {"68656c6c6f20776f726c64, ", "hello world"},
        {"write to anna at zephyrpost dot com now", "anna@zephyrpost.com now"},
        {"anna (at) zephyrpost (dot) com", "anna@zephyrpost.com"},
        {"anna at host dot org aGVsbG8gd29ybGQgb2Y=", "hello world of"},
        /* Signs in words of other languages, between "_" or "-", in brackets as they are. */
        {"anna_at_zephyrpost_dot_com", "anna@zephyrpost.com"},
        {"anna-at-zephyrpost-dot-com!", "anna@zephyrpost.com!"},
        {"anna ma\xC5\x82pa zephyrpost kropka com", "anna@zephyrpost.com"},
        {"anna(ma\xC5\x82pa)zephyrpost(kropka)com", "anna@zephyrpost.com"},
        {"anna arroba zephyrpost punto com", "anna@zephyrpost.com"},
        {"anna (arroba) zephyrpost (ponto) com", "anna@zephyrpost.com"},
        {"anna arobase zephyrpost point com", "anna@zephyrpost.com"},
        {"anna chiocciola zephyrpost punto com", "anna@zephyrpost.com"},
        {"anna Klammeraffe zephyrpost Punkt com", "anna@zephyrpost.com"},
        {"anna apenstaartje zephyrpost punt com", "anna@zephyrpost.com"},
        {"anna apenstaart zephyrpost punt com", "anna@zephyrpost.com"},
        {"anna (@) zephyrpost (.) com", "anna@zephyrpost.com"},
        {"anna @ zephyrpost . com", "anna@zephyrpost.com"},
        /* Bytes with something between; base32. */
        {"say 68 65 6c 6c 6f 20 6f 66 now", "hello of"}, {"68:65:6c:6c:6f:20:6F:66", "hello of"},
        {"[0x68, 0x65, 0x6c, 0x6c, 0x6f, 0x20, 0x6f, 0x66]", "hello of"},
        {"0x68 0x65 0x6c 0x6c 0x6f 0x20 0x6f 0x66", "hello of"},
        {"0x68,0x65,0x6c,0x6c,0x6f,0x20,0x6f,0x66", "hello of"},
        {"NBSWY3DPEB3W64TMMQQG6ZQ=", "hello world of"}, {"eleven NTM2LTIyLTg3MTQ bytes", "536-22-8714"},
        /* what stood over the end of a line was two pieces */
        {"cGF5IGNhcmQgNDUzOSA1Nzg3\r\nIDYzNjIgMTQ4NiBub3cgb2s=\r\n", "pay card 4539 5787 6362 1486 now ok"}};
    struct buf out;
    char text[400];
    buf_init(&out, 4096);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t shift = 0; shift < 200; shift++) {
            memset(text, ';', shift);
            memcpy(text + shift, rows[i].text, strlen(rows[i].text));
            assert_true(packed((struct str){text, shift + strlen(rows[i].text)}, &out));
            assert_true(str_find(buf_str(&out), str_from(rows[i].says)) != SIZE_MAX);
        }
    buf_free(&out);
}

/* What stands before, and is no part of it, changes nothing. */
static void where_a_code_stands_in_its_block_says_nothing(void **state)
{
    (void)state;
    static const char *const pieces[] = {"anna", " at ", " dot ", "com", " (at) ", "host", "\n", "12", " ",
        "a", ",", "aGVsbG8gd29ybGQgb2Y", "6869207468657265", "-", "/", "\xC3\xA4", "t", "malpa",
        "123456789012345", "1234567890123456", "68 65 6c 6c 6f 20 6f 66", " 6f", "_at_", "_dot_", "-dot-"};
    struct buf first, shifted;
    uint64_t random = 88172645463325252u;
    buf_init(&first, 4096);
    buf_init(&shifted, 4096);
    for (int round = 0; round < 5000; round++) {
        char text[400];
        size_t n = 0, shift = 1 + (size_t)round % 130;
        for (;;) {
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            const char *piece = pieces[random % (sizeof pieces / sizeof *pieces)];
            if (n + strlen(piece) > 200)
                break;
            memcpy(text + n, piece, strlen(piece));
            n += strlen(piece);
        }
        text[0] = ';'; /* the first byte has none before it */
        bool changed = packed((struct str){text, n}, &first);
        memmove(text + shift, text, n);
        memset(text, ';', shift);
        assert_true(packed((struct str){text, n + shift}, &shifted) == changed);
        if (!changed)
            continue;
        /* Runs of a code come first, each on a line, then the text: without the added signs they are equal.
         */
        char *at = memmem(shifted.data, shifted.len, ";;", 2);
        assert_non_null(at);
        assert_int_equal(shifted.len - shift, first.len);
        memmove(at, at + shift, shifted.len - shift - (size_t)(at - shifted.data));
        assert_memory_equal(shifted.data, first.data, first.len);
    }
    buf_free(&first);
    buf_free(&shifted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_are_undone_wherever_they_stand),
        cmocka_unit_test(where_a_code_stands_in_its_block_says_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
