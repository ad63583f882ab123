/* The parser beside jansson: the same trees for random texts, and nothing that jansson would refuse. */
#include "json/json_parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "json_random.h"

enum { ROUNDS = 20000 };

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
        json_random_value(&b, 5);
        taken += same_as_jansson(buf_str(&b)); /* duplicate keys are in some */
    }
    assert_true(taken > ROUNDS / 2);
    buf_free(&b);
}

static void mutated_texts_are_judged_alike(void **state)
{
    (void)state;
    struct buf b;
    int refused = 0;
    buf_init(&b, MIB);
    for (int i = 0; i < ROUNDS; i++) {
        buf_clear(&b);
        json_random_value(&b, 4);
        json_random_damage(&b);
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
