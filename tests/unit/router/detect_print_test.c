/* Fingerprints: a passage of PRINT_SURE letters is found whatever is done around it and to its form; one
 * below PRINT_NOISE is not; boilerplate is left out; a file that is damaged is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/rand.h"
#include "router/detect_own.h"

static struct error err;
static struct rand_pcg dice = {1, 3};

/* Words that nobody wrote before. */
static void words_write(struct buf *out, size_t n)
{
    static const char *const ends[] = {" ", " ", " ", ", ", ".\n", "; ", "\n\n", " - "};
    while (n-- > 0) {
        for (uint32_t letters = 2 + rand_pcg_u32(&dice) % 8; letters > 0; letters--)
            buf_append_char(out, (char)('a' + rand_pcg_u32(&dice) % 26));
        buf_append_text(out, ends[rand_pcg_u32(&dice) % 8]);
    }
}

static void document(struct print_maker *m, struct str text)
{
    static struct detect_fold fold;
    detect_fold_begin(&fold, text);
    int rc = 0;
    while (rc == 0 && detect_fold_read(&fold))
        rc = print_feed(m, (struct str){fold.bytes + fold.fresh, fold.n - fold.fresh}, &err);
    assert_int_equal(rc, 0);
    assert_int_equal(print_document_end(m, &err), 0);
}

static struct print_made written(struct print_maker *m, struct buf *file)
{
    struct print_made made;
    buf_init(file, PRINT_FILE_MOST);
    assert_int_equal(print_write(m, file, &made, &err), 0);
    print_free(m);
    return made;
}

/* Where the print finds anything in the text; false: nowhere. */
static bool look(const struct detect_print *p, struct str text, size_t *from, size_t *to)
{
    static struct detect_fold fold;
    struct print_roll roll = {0};
    uint64_t hash;
    size_t start;
    bool found = false;
    detect_fold_begin(&fold, text);
    while (detect_fold_read(&fold))
        for (size_t i = fold.fresh; i < fold.n; i++)
            if (fold.bytes[i] != ' ' && print_roll_next(&roll, fold.bytes[i], fold.from[i], &hash, &start) &&
                detect_print_has(p, hash)) {
                *from = found ? *from : start;
                *to = fold.to[i];
                found = true;
            }
    return found;
}

/* The passage as somebody copies it: other case, spaces, punctuation, accents, line ends. */
static void copy_write(struct buf *out, struct str text, size_t letters)
{
    static const char *const accents[][2] = {{"a", "\xC3\xA4"}, {"e", "\xC3\xA9"}, {"n", "\xC3\xB1"}};
    for (size_t i = 0; i < text.len && letters > 0; i++) {
        char c = text.data[i];
        uint32_t way = rand_pcg_u32(&dice) % 40;
        bool letter = c >= 'a' && c <= 'z';
        letters -= letter;
        if (way < 2)
            buf_append_text(out, way ? "\n  > " : " *");
        for (size_t k = 0; way == 3 && k < 3; k++)
            if (c == accents[k][0][0]) {
                buf_append_text(out, accents[k][1]);
                way = 100;
            }
        if (way < 100 && (letter || way > 10))
            buf_append_char(out, letter && way % 2 ? (char)(c - 32) : c);
    }
}

static size_t letters_in(struct str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++)
        n += s.data[i] >= 'a' && s.data[i] <= 'z';
    return n;
}

static void a_copied_passage_is_found_whatever_stands_around_it(void **state)
{
    (void)state;
    struct print_maker m;
    struct buf text, file, copy;
    struct detect_print p;
    buf_init(&text, MIB);
    words_write(&text, 3000);
    assert_int_equal(print_begin(&m, &err), 0);
    document(&m, buf_str(&text));
    struct print_made made = written(&m, &file);
    assert_int_equal(detect_print_read(buf_str(&file), &p, &err), 0);
    assert_int_equal(p.n, made.kept);
    assert_true(file.len * 4 < text.len); /* compact */
    for (int i = 0; i < 3000; i++) {
        size_t at = rand_pcg_u32(&dice) % (text.len - 400), from = 0, to = 0;
        buf_init(&copy, MIB);
        words_write(&copy, rand_pcg_u32(&dice) % 60);
        size_t begin = copy.len;
        copy_write(&copy, str_slice(buf_str(&text), at, text.len), PRINT_SURE);
        size_t end = copy.len;
        words_write(&copy, rand_pcg_u32(&dice) % 60);
        if (!look(&p, buf_str(&copy), &from, &to))
            fail_msg("not found: %.*s", (int)(end - begin), copy.data + begin);
        assert_true(from + 8 >= begin && to <= end + 8); /* by chance the words around go on as it does */
        buf_free(&copy);
    }
    for (int i = 0; i < 3000; i++) { /* below the noise, and what was never there */
        size_t at = rand_pcg_u32(&dice) % (text.len - 400), from, to;
        buf_init(&copy, MIB);
        words_write(&copy, 1 + rand_pcg_u32(&dice) % 60);
        copy_write(&copy, str_slice(buf_str(&text), at, text.len), PRINT_NOISE - 8);
        buf_append_text(&copy, "zq");
        words_write(&copy, 1 + rand_pcg_u32(&dice) % 60);
        if (look(&p, buf_str(&copy), &from, &to))
            fail_msg("found: " STR_FMT, STR_ARG(buf_str(&copy)));
        buf_free(&copy);
    }
    detect_print_free(&p);
    buf_free(&text);
    buf_free(&file);
}

static void a_document_shorter_than_a_passage_is_found_whole(void **state)
{
    (void)state;
    for (size_t words = 4; words < 20; words++) {
        struct print_maker m;
        struct buf text, file;
        struct detect_print p;
        size_t from, to;
        buf_init(&text, MIB);
        words_write(&text, words);
        assert_int_equal(print_begin(&m, &err), 0);
        document(&m, buf_str(&text));
        struct print_made made = written(&m, &file);
        assert_int_equal(made.short_documents, letters_in(buf_str(&text)) < PRINT_NOISE);
        if (made.short_documents == 0) {
            assert_int_equal(detect_print_read(buf_str(&file), &p, &err), 0);
            assert_true(look(&p, buf_str(&text), &from, &to));
            detect_print_free(&p);
        }
        buf_free(&text);
        buf_free(&file);
    }
}

static const char letterhead[] =
    "Northwind Traders AG, Am Alten Hafen 12, registered in the commercial register of the town under number "
    "77 1234, chairman of the board as stated on the page of the company, all rights to this paper are "
    "reserved.\n";

static void boilerplate_is_left_out(void **state)
{
    (void)state;
    for (int given = 0; given < 2; given++) { /* told, or seen to be shared */
        struct print_maker m;
        struct buf text, file;
        struct detect_print p;
        size_t from, to, documents = given ? 2 : PRINT_COMMON_LEAST + 2;
        buf_init(&text, MIB);
        assert_int_equal(print_begin(&m, &err), 0);
        if (given) {
            m.boilerplate = true;
            document(&m, str_from(letterhead));
            assert_int_equal(print_common(&m, &err), 0);
        }
        for (size_t d = 0; d < documents; d++) {
            buf_clear(&text);
            buf_append_text(&text, letterhead);
            words_write(&text, 400);
            document(&m, buf_str(&text));
        }
        struct print_made made = written(&m, &file);
        assert_int_equal(made.documents, documents);
        assert_true(made.boilerplate > 0);
        assert_int_equal(detect_print_read(buf_str(&file), &p, &err), 0);
        assert_false(look(&p, str_from(letterhead), &from, &to));
        assert_true(look(&p, str_slice(buf_str(&text), sizeof letterhead, text.len), &from, &to));
        detect_print_free(&p);
        buf_free(&text);
        buf_free(&file);
    }
}

/* Twenty drafts of one paper share nearly all of it: they are found all the same. */
static void drafts_are_no_boilerplate(void **state)
{
    (void)state;
    struct print_maker m;
    struct buf text, file;
    struct detect_print p;
    size_t from, to;
    buf_init(&text, MIB);
    words_write(&text, 400);
    size_t common = text.len;
    assert_int_equal(print_begin(&m, &err), 0);
    for (int d = 0; d < 20; d++) {
        words_write(&text, 10);
        document(&m, buf_str(&text));
    }
    written(&m, &file);
    assert_int_equal(detect_print_read(buf_str(&file), &p, &err), 0);
    assert_true(look(&p, str_slice(buf_str(&text), 0, common), &from, &to));
    detect_print_free(&p);
    buf_free(&text);
    buf_free(&file);
}

static void a_damaged_file_is_refused(void **state)
{
    (void)state;
    struct print_maker m;
    struct buf text, file;
    struct detect_print p;
    buf_init(&text, MIB);
    words_write(&text, 300);
    assert_int_equal(print_begin(&m, &err), 0);
    document(&m, buf_str(&text));
    written(&m, &file);
    for (size_t cut = 0; cut < file.len; cut++)
        assert_int_not_equal(detect_print_read(str_slice(buf_str(&file), 0, cut), &p, &err), 0);
    for (size_t i = 0; i < file.len; i++) {
        file.data[i] ^= 1;
        assert_int_not_equal(detect_print_read(buf_str(&file), &p, &err), 0);
        file.data[i] ^= 1;
    }
    assert_int_equal(detect_print_read(buf_str(&file), &p, &err), 0);
    detect_print_free(&p);
    assert_int_not_equal(detect_print_read(STR_NONE, &p, &err), 0);
    buf_free(&text);
    buf_free(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copied_passage_is_found_whatever_stands_around_it),
        cmocka_unit_test(a_document_shorter_than_a_passage_is_found_whole),
        cmocka_unit_test(boilerplate_is_left_out),
        cmocka_unit_test(drafts_are_no_boilerplate),
        cmocka_unit_test(a_damaged_file_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
