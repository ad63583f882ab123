/* The parser beside jansson: the same trees for random texts, and nothing that jansson would refuse. */
#include "json/json_parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/rand.h"

enum { ROUNDS = 20000 };

static uint64_t below(uint64_t n)
{
    return rand_u64() % n;
}

static void space_write(struct buf *b)
{
    static const char *const spaces[] = {"", "", "", "", " ", "\n\t", "\r\n  "};
    buf_append_text(b, spaces[below(7)]);
}

static void string_write(struct buf *b)
{
    static const char *const pieces[] = {"a", "plain text of some length", "\\n", "\\\"", "\\\\", "\\/",
        "\\b\\f\\r\\t", "\\u00e9", "\\uD83d\\uDE00", "\xc3\xa9", "\xe4\xbd\xa0\xe5\xa5\xbd",
        "\xf0\x9f\x98\x80", "\x7f", "{[]}:,"};
    buf_append_char(b, '"');
    for (uint64_t n = below(6); n > 0; n--)
        buf_append_text(b, pieces[below(sizeof pieces / sizeof *pieces)]);
    buf_append_char(b, '"');
}

static void number_write(struct buf *b)
{
    static const char *const numbers[] = {"0", "-0", "1", "-12", "9223372036854775807",
        "-9223372036854775808", "0.5", "-0.0", "1e5", "1E+2", "2.5e-3", "123456.789", "1e308", "4.9e-324",
        "1e-400"};
    buf_append_text(b, numbers[below(sizeof numbers / sizeof *numbers)]);
}

static void value_write(struct buf *b, int depth)
{
    static const char *const words[] = {"true", "false", "null"};
    uint64_t kind = below(depth > 0 ? 6 : 4);
    space_write(b);
    if (kind <= 1) {
        string_write(b);
    } else if (kind == 2) {
        number_write(b);
    } else if (kind == 3) {
        buf_append_text(b, words[below(3)]);
    } else {
        buf_append_char(b, kind == 4 ? '[' : '{');
        for (uint64_t i = 0, n = below(5); i < n; i++) {
            buf_append_text(b, i ? "," : "");
            space_write(b);
            if (kind == 5) {
                string_write(b);
                space_write(b);
                buf_append_char(b, ':');
            }
            value_write(b, depth - 1);
        }
        space_write(b);
        buf_append_char(b, kind == 4 ? ']' : '}');
    }
    space_write(b);
}

/* True where it was taken. */
static bool same_as_jansson(struct str text)
{
    json_t *ours = json_parse(text);
    json_t *theirs = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
    bool taken = ours != NULL;
    if (ours) {
        char *a = json_dumps(ours, JSON_ENCODE_ANY), *b = theirs ? json_dumps(theirs, JSON_ENCODE_ANY) : NULL;
        if (!b || strcmp(a, b) != 0)
            fail_msg(STR_FMT " is %s, to jansson %s", STR_ARG(text), a, b ? b : "nothing");
        free(a);
        free(b);
    } else if (theirs) {
        fail_msg(STR_FMT " is valid and was not taken", STR_ARG(text));
    }
    json_decref(ours);
    json_decref(theirs);
    return taken;
}

static void random_texts_give_the_same_trees(void **state)
{
    (void)state;
    struct buf b;
    int taken = 0;
    buf_init(&b, MIB);
    for (int i = 0; i < ROUNDS; i++) {
        buf_clear(&b);
        value_write(&b, 5);
        taken += same_as_jansson(buf_str(&b)); /* duplicate keys are in some */
    }
    assert_true(taken > ROUNDS / 2);
    buf_free(&b);
}

static void mutated_texts_are_judged_alike(void **state)
{
    (void)state;
    static const char bytes[] = "\"\\{}[]:,0 1-.eEtn\x1f\xc3\xff";
    struct buf b;
    int refused = 0;
    buf_init(&b, MIB);
    for (int i = 0; i < ROUNDS; i++) {
        buf_clear(&b);
        value_write(&b, 4);
        for (uint64_t n = 1 + below(3); n > 0 && b.len > 0; n--)
            b.data[below(b.len)] = bytes[below(sizeof bytes - 1)];
        refused += !same_as_jansson(buf_str(&b));
    }
    assert_true(refused > ROUNDS / 4);
    buf_free(&b);
}

static void every_cut_is_refused(void **state)
{
    (void)state;
    struct str text =
        STR("{\"a\\u00e9\":[1,-2.5e3,\"\\ud83d\\ude00\",true,null,{}],\"b\":{\"c\":\"\xc3\xa9\"}}");
    for (size_t i = 0; i < text.len; i++) {
        /* A copy of just these bytes, so that a byte too many is seen. */
        char *copy = malloc(i + 1);
        memcpy(copy, text.data, i);
        assert_null(json_parse((struct str){copy, i}));
        free(copy);
    }
    assert_true(same_as_jansson(text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_texts_give_the_same_trees),
        cmocka_unit_test(mutated_texts_are_judged_alike),
        cmocka_unit_test(every_cut_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
