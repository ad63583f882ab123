/* What files that are no text say in clear. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/limits.h"
#include "router/plain.h"

#define BYTES(text) ((struct str){text, sizeof(text) - 1})
#define NOISE                                                                                                \
    "\x01\x9F\xC4\x13"                                                                                       \
    "ab\x8E\xFE\x02"                                                                                         \
    "(x\x07\xD8\x1B"                                                                                         \
    "q7\x90"

static void says(struct str file, const char *text)
{
    struct buf out;
    buf_init(&out, MIB);
    assert_int_equal(router_plain_file(file, &out), 0);
    if (out.len != strlen(text) || (out.len > 0 && memcmp(out.data, text, out.len) != 0))
        fail_msg("not \"%s\" but \"%s\"", text, out.data ? out.data : "");
    buf_free(&out);
}

static void texts_in_other_encodings(void **state)
{
    (void)state;
    says(BYTES("\xFF\xFE"
               "B\0l\0\xFC\0\x3C\xD8\x3C\xDF"),
        "Blü🌼");
    says(BYTES("\xFE\xFF\0B\0l\0\xFC"), "Blü");
    says(BYTES("B\0l\0u\0e\0"), "Blue");
    says(BYTES("\0B\0l\0u\0e"), "Blue");
    says(BYTES("Gr\xFC\xDF"
               "e\n"),
        "Grüße\n");
    says(BYTES(""), "");
}

static void pictures_and_sound_by_their_notes(void **state)
{
    (void)state;
    says(BYTES("\x89PNG\r\n\x1A\n"
               "\0\0\0\4IHDR"
               "abcd"
               "crc "
               "\0\0\0\x11IDAT" NOISE "crc "
               "\0\0\0\x0FtEXtAuthor\0Jane Roe"
               "crc "
               "\0\0\0\0IEND"
               "crc "),
        "Author: Jane Roe\n");
    says(BYTES("\xFF\xD8\xFF\xE1\0\x1A"
               "Exif\0\0II*\0"
               "\x0F\1\2\0"
               "Bluebird\0\0"
               "\xFF\xE2\0\x0A"
               "ICC text"
               "\xFF\xFE\0\x0A"
               "Gr\xFC\xDF"
               "e es"
               "\xFF\xDA\0\2"
               "pixels say nothing"),
        "Exif\nII*\nBluebird\nGrüße es\n");
    says(BYTES("\xFF\xD8\xFF\xE1\0\x24"
               "B\0l\0u\0e\0\0\0"
               "\xFF\xD8\xFF thumbnail \xFF\xD9"
               "more\0\0"
               "\xFF\xDA"),
        "Blue\nmore\n");
    /* What began like a small copy hid all that stood behind it. */
    says(BYTES("\xFF\xD8\xFF\xFE\0\x1F"
               "ab\xFF\xD8\xFF"
               "call Jane Roe at home\0\0\0"
               "\xFF\xDA"),
        "call Jane Roe at home\n");
    says(BYTES("RIFF\x40\0\0\0WEBP"
               "VP8 \4\0\0\0abcd"
               "EXIF\5\0\0\0title\0"
               "XMP \4\0\0\0<x/>"),
        "title\n<x/>\n");
    says(BYTES("ID3\4\0\0\0\0\0\x0A"
               "TIT2\0\0\0\4\3x" NOISE),
        "TIT2\n");
}

static void a_pdf_by_its_strings(void **state)
{
    (void)state;
    says(BYTES("%PDF-1.5\n1 0 obj <</Title (a \\(b\\) (c)) /Author (\xFE\xFF\0J\0\xF6)/X <FEFF0042006C>>>\n"
               "0000000016 00000 n\nstream " NOISE " endstream BT [(Blue) -25 (bird)] TJ"),
        "a (b) (c)\nJö\nBl\nBlue\nbird\n");
}

static void a_pdf_s_escapes_do_not_shift_what_is_utf_16(void **state)
{
    (void)state;
    says(BYTES("%PDF-1.5\n(\xFE\xFF\0(\0B\0)\0l)(\xFE\xFF\0\\(\0B\0l\0\\)) "
               "(\\376\\377\\000J\\000\\366) (Ren\\351e \\\nRoe\\\\x) (\\"),
        "(B)l\n(Bl)\nJö\nRenée Roe\\x\n");
}

/* 1 MB of them took five seconds. */
static void brackets_of_a_pdf_that_never_close_take_no_time(void **state)
{
    (void)state;
    static char file[256 << 10];
    for (int escaped = 0; escaped < 2; escaped++) {
        memset(file, '(', sizeof file);
        for (size_t i = 0; escaped && i < sizeof file; i += 2)
            file[i] = '\\';
        memcpy(file, "%PDF\n", 5);
        memcpy(file + sizeof file - 7, "((Jane)", 7);
        const clock_t start = clock();
        says((struct str){file, sizeof file}, "Jane\n");
        assert_true(clock() - start < CLOCKS_PER_SEC / 10);
    }
}

static void anything_else_by_what_reads_as_text(void **state)
{
    (void)state;
    says(BYTES(NOISE "short" NOISE "twelve letters" NOISE), "twelve letters\n");
    says(BYTES("\x89PNG\r\n\x1A\n\xFF\xFF\xFF\xFFtEXt"), "");
    says(BYTES("\xFF\xD8\xFF\xE1\xFF\xFF"), "");
    says(BYTES("%PDF(\\"), "");
    says(BYTES("RIFF\0\0\0\0WEBPEXIF\xFF\xFF\xFF\xFF"
               "abc"),
        "abc\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(texts_in_other_encodings),
        cmocka_unit_test(pictures_and_sound_by_their_notes), cmocka_unit_test(a_pdf_by_its_strings),
        cmocka_unit_test(a_pdf_s_escapes_do_not_shift_what_is_utf_16),
        cmocka_unit_test(brackets_of_a_pdf_that_never_close_take_no_time),
        cmocka_unit_test(anything_else_by_what_reads_as_text)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
