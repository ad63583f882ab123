/* Numbers told in words are found where they stand, if they have a number's form or check digits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "router/detect.h"
#include "router/plain.h"

/* Is a finding of that type sure, with that span? */
static void is(const char *type, const char *text, const char *span)
{
    struct router_findings f = {0};
    struct error err;
    bool found = false;
    struct arena *a = arena_create(16 * MIB);
    assert_int_equal(router_detect(a, STR_NONE, str_from(text), &f, &err), 0);
    for (size_t i = 0; i < f.n_entities; i++) {
        const size_t start = str_find(str_from(text), str_from(span));
        const struct router_entity *e = &f.entities[i];
        found = found || (strcmp(e->type, type) == 0 && e->score >= DETECT_SURE &&
                             e->start == str_utf8_count(str_slice(str_from(text), 0, start)) &&
                             e->end == e->start + str_utf8_count(str_from(span)));
    }
    arena_free(a);
    if (!found)
        fail_msg("no %s '%s' in '%s'", type, span, text);
}

static void harmless(const char *text)
{
    struct router_findings f = {0};
    struct error err;
    struct arena *a = arena_create(16 * MIB);
    assert_int_equal(router_detect(a, STR_NONE, str_from(text), &f, &err), 0);
    if (f.sensitive)
        fail_msg("%s is found in '%s'", f.entities[0].type, text);
    arena_free(a);
}

static void what_is_told_beside_a_card_is_none_of_it(void **state)
{
    (void)state;
    const char *card = "four five three nine five seven eight seven six three six two one four eight six";
    is("CREDIT_CARD",
        "it is four five three nine five seven eight seven six three six two one four eight six, one two three",
        card);
    is("IBAN_CODE",
        "D E three two eight three seven zero four zero zero four "
        "four zero eight one seven two six four one nine, one two three",
        "D E three two eight three seven zero four zero zero four "
        "four zero eight one seven two six four one nine");
    is("CREDIT_CARD",
        "one two, four five three nine five seven eight seven six three six two one four eight six please",
        card);
}

static void four_words_among_a_cards_digits_are_told(void **state)
{
    (void)state;
    is("CREDIT_CARD", "it is 4539 five seven eight seven 6362 1486", "4539 five seven eight seven 6362 1486");
    harmless("In 2019 one two three four 2020 2021 2022");
}

static void what_is_spaced_in_a_string_of_json(void **state)
{
    (void)state;
    is("CREDIT_CARD", "{\"card\":\"4 5 3 9 5 7 8 7 6 3 6 2 1 4 8 6\"}", "4 5 3 9 5 7 8 7 6 3 6 2 1 4 8 6");
    is("CREDIT_CARD", "{\"card\":\"4-5-3-9-5-7-8-7-6-3-6-2-1-4-8-6\"}", "4-5-3-9-5-7-8-7-6-3-6-2-1-4-8-6");
}

static void no_number_is_parted_within_a_word(void **state)
{
    (void)state;
    struct str text = str_from("tel: null eins zwei zehn elf zw\xC3\xB6lf bitte");
    struct byte_map map;
    struct error err;
    struct buf out;
    struct plain_joints joints = {0};
    bool changed;
    size_t from, to;
    assert_int_equal(byte_map_make(&map, text, &err), 0);
    buf_init(&out, MIB);
    assert_int_equal(router_plain_told(&map, &out, &joints, &changed), 0);
    assert_true(changed);
    for (size_t at = 0; at < out.len; at++)
        assert_true(plain_origin(&joints, at, at + 1, &from, &to) && from <= to && to <= text.len);
    buf_free(&out);
    free(joints.all);
    byte_map_free(&map);
}

static void a_card_told_in_words_went_out(void **state)
{
    (void)state;
    static const char *const cards[] = {
        "four five three nine five seven eight seven six three six two one four eight six",
        "four five three nine, five seven eight seven, six three six two, one four eight six",
        "Four-five-three-nine five-seven-eight-seven six-three-six-two one-four-eight-six",
        "forty-five thirty-nine fifty-seven eighty-seven sixty-three sixty-two fourteen eighty-six",
        "4 five 3 nine 5 seven 8 seven 6 three 6 two 1 four 8 six",
        "vier f\xC3\xBCnf drei neun f\xC3\xBCnf sieben acht sieben sechs drei sechs zwo eins vier acht sechs",
        "f\xC3\xBCnfundvierzig neununddrei\xC3\x9Fig siebenundf\xC3\xBCnfzig siebenundachtzig dreiundsechzig "
        "zweiundsechzig vierzehn sechsundachtzig",
        "quarante-cinq trente-neuf cinquante-sept quatre-vingt-sept soixante-trois soixante-deux quatorze "
        "quatre-vingt-six",
        "cuatro cinco tres nueve cinco siete ocho siete seis tres seis dos uno cuatro ocho seis",
        "cuarenta y cinco treinta y nueve cincuenta y siete ochenta y siete sesenta y tres sesenta y dos "
        "catorce ochenta y seis",
        "quarantacinque trentanove cinquantasette ottantasette sessantatr\xC3\xA9 sessantadue quattordici "
        "ottantasei",
        "vijfenveertig negenendertig zevenenvijftig zevenentachtig drie\xC3\xABnzestig twee\xC3\xABnzestig "
        "veertien zesentachtig",
        "cztery pi\xC4\x99\xC4\x87 trzy dziewi\xC4\x99\xC4\x87 pi\xC4\x99\xC4\x87 siedem osiem siedem "
        "sze\xC5\x9B\xC4\x87 trzy sze\xC5\x9B\xC4\x87 dwa jeden cztery osiem sze\xC5\x9B\xC4\x87",
        "quatro cinco tr\xC3\xAAs nove cinco sete oito sete meia tr\xC3\xAAs meia dois um quatro oito meia"};
    for (size_t i = 0; i < sizeof cards / sizeof *cards; i++) {
        char text[400];
        snprintf(text, sizeof text, "Visa: %s (ok).", cards[i]);
        is("CREDIT_CARD", text, cards[i]);
        snprintf(text, sizeof text, "%s", cards[i]);
        is("CREDIT_CARD", text, cards[i]);
    }
    is("CREDIT_CARD",
        "it is double four double seven one two double three double six double eight double five two nine",
        "double four double seven one two double three double six double eight double five two nine");
    is("CREDIT_CARD",
        "four five three nine, five seven eight seven, six three six two, one four eight six, oh nine, two eight",
        "four five three nine, five seven eight seven, six three six two, one four eight six");
}

static void an_iban_told_in_words_went_out(void **state)
{
    (void)state;
    is("IBAN_CODE",
        "von D E sieben vier drei sieben null vier null null vier vier null acht eins sieben zwei sechs vier "
        "neun f\xC3\xBCnf drei ab",
        "D E sieben vier drei sieben null vier null null vier vier null acht eins sieben zwei sechs vier neun "
        "f\xC3\xBCnf drei");
    is("IBAN_CODE", "BE twee acht negen negen nul een nul nul een nul nul een negen negen",
        "BE twee acht negen negen nul een nul nul een nul nul een negen negen");
}

static void a_telephone_number_told_in_words_went_out(void **state)
{
    (void)state;
    is("PHONE_NUMBER",
        "null null vier neun eins f\xC3\xBCnf eins f\xC3\xBCnf f\xC3\xBCnf f\xC3\xBCnf acht zwei drei",
        "null null vier neun eins f\xC3\xBCnf eins f\xC3\xBCnf f\xC3\xBCnf f\xC3\xBCnf acht zwei drei");
    is("PHONE_NUMBER",
        "appelle-moi au z\xC3\xA9ro six, quatre-vingt-dix-huit, vingt et un, soixante-douze, quatre-vingt-trois !",
        "z\xC3\xA9ro six, quatre-vingt-dix-huit, vingt et un, soixante-douze, quatre-vingt-trois");
    is("PHONE_NUMBER", "m\xC3\xB3vil seis uno dos tres cuatro nueve seis ocho siete",
        "seis uno dos tres cuatro nueve seis ocho siete");
    is("PHONE_NUMBER", "tel. plus four four seven nine double one two three four six eight seven",
        "plus four four seven nine double one two three four six eight seven");
}

static void what_only_counts_is_no_number(void **state)
{
    (void)state;
    harmless("text: one two three four five six seven eight nine ten eleven");
    harmless(
        "Once upon a time: one, two, three, four, five, once I caught a fish alive. Six, seven, eight, nine.");
    harmless("four five three nine five seven eight seven six three six two one four eight seven"); /* Luhn */
    harmless("call zero zero zero zero zero zero zero zero zero");
    harmless("rolled a two, a five, a three, a six, two ones and four fours");
    harmless("eins, zwei, drei, vier, f\xC3\xBCnf, sechs, sieben, acht, neun, zehn: Handy weg");
    harmless("The years nineteen eighty four, nineteen ninety one and two thousand one were good.");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_told_beside_a_card_is_none_of_it),
        cmocka_unit_test(four_words_among_a_cards_digits_are_told),
        cmocka_unit_test(what_is_spaced_in_a_string_of_json),
        cmocka_unit_test(no_number_is_parted_within_a_word),
        cmocka_unit_test(a_card_told_in_words_went_out),
        cmocka_unit_test(an_iban_told_in_words_went_out),
        cmocka_unit_test(a_telephone_number_told_in_words_went_out),
        cmocka_unit_test(what_only_counts_is_no_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
