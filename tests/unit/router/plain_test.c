/* What is written differently is found all the same: each writing of each value. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/limits.h"
#include "router/router.h"

static const struct {
    const char *text;
    unsigned category;
} all[] = {{"write to hollis.bramwell@northpine.net today", ROUTER_PII},
    {"my card is 4539 5787 6362 1486 ok", ROUTER_FINANCIAL}, {"SSN 536-22-8714 please", ROUTER_PII},
    {"AKIAXRHWWJH4JKD7SVWF is denied", ROUTER_SECRET},
    {"I was diagnosed with bipolar disorder last week", ROUTER_PHI},
    {"the password for the router is Tr0ut-Pond!88", ROUTER_SECRET}};

static void point_append(struct buf *out, uint32_t c)
{
    char utf8[4];
    buf_append(out, utf8, str_utf8_encode(c, utf8));
}

/* Digits, capitals and small letters from there on; else as it is. */
static void styled_append(struct buf *out, char c, uint32_t digit, uint32_t capital, uint32_t small)
{
    if (digit && c >= '0' && c <= '9')
        point_append(out, digit + (uint32_t)(c - '0'));
    else if (capital && c >= 'A' && c <= 'Z')
        point_append(out, capital + (uint32_t)(c - 'A'));
    else if (small && c >= 'a' && c <= 'z')
        point_append(out, small + (uint32_t)(c - 'a'));
    else
        buf_append_char(out, c);
}

static void bold(struct buf *out, char c)
{
    styled_append(out, c, 0x1D7CE, 0x1D400, 0x1D41A);
}

static void monospaced(struct buf *out, char c)
{
    styled_append(out, c, 0x1D7F6, 0x1D670, 0x1D68A);
}

static void arabic(struct buf *out, char c)
{
    styled_append(out, c, 0x0660, 0, 0);
}

static void struck(struct buf *out, char c)
{
    buf_append_char(out, c);
    buf_append_text(out, c == ' ' ? "" : "\xCC\xB6");
}

static void spaced(struct buf *out, char c)
{
    buf_append_char(out, c);
    buf_append_char(out, ' ');
}

static void lookalike(struct buf *out, char c)
{
    static const char latin[] = "aeopcxAEOKMHBT";
    static const uint16_t others[] = {
        0x430, 0x435, 0x43E, 0x440, 0x441, 0x445, 0x410, 0x415, 0x41E, 0x41A, 0x41C, 0x41D, 0x412, 0x422};
    const char *at = strchr(latin, c);
    point_append(out, at ? others[at - latin] : (uint32_t)(unsigned char)c);
}

static void hexadecimal(struct buf *out, char c)
{
    buf_appendf(out, "\\x%02x", (unsigned char)c);
}

static void octal(struct buf *out, char c)
{
    buf_appendf(out, "\\%03o", (unsigned char)c);
}

static void braced(struct buf *out, char c)
{
    buf_appendf(out, "\\u{%x}", (unsigned char)c);
}

static void named(struct buf *out, char c)
{
    buf_append_text(out, c == '@'   ? "&commat;"
                         : c == '.' ? "&period;"
                         : c == ' ' ? "&nbsp;"
                         : c == '-' ? "&hyphen;"
                                    : (char[]){c, '\0'});
}

/* With a mark on each, a sign of direction, a variant, none of which a model minds; in tags nobody sees. */
static void marked(struct buf *out, char c)
{
    buf_append_char(out, c);
    buf_append_text(out, c == ' ' ? "" : "\xCC\x81\xE2\x80\x8F\xEF\xB8\x8F\xCD\x8F");
}

static void unseen(struct buf *out, char c)
{
    point_append(out, 0xE0000 + (uint32_t)(unsigned char)c);
}

static void quoted_printable(struct buf *out, char c)
{
    buf_appendf(out, "=%02X", (unsigned char)c);
}

static void every_writing_is_read(void **state)
{
    (void)state;
    static void (*const writings[])(struct buf *, char) = {bold, monospaced, arabic, struck, spaced,
        lookalike, hexadecimal, octal, braced, named, marked, unseen, quoted_printable};
    struct buf text;
    struct error err;
    buf_init(&text, MIB);
    for (size_t w = 0; w < sizeof writings / sizeof *writings; w++)
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
            struct router_findings f = {0};
            struct arena *a = arena_create(16 * MIB);
            text.len = 0;
            for (const char *c = all[i].text; *c; c++)
                writings[w](&text, *c);
            assert_int_equal(router_detect(a, STR_NONE, buf_str(&text), &f, &err), 0);
            if (!(f.categories & all[i].category))
                fail_msg("nothing is found in '" STR_FMT "'", STR_ARG(buf_str(&text)));
            arena_free(a);
        }
    buf_free(&text);
}

/* The word was kept in another encoding. */
static void an_umlaut_says_at(void **state)
{
    (void)state;
    struct router_findings f = {0};
    struct error err;
    struct arena *a = arena_create(16 * MIB);
    assert_int_equal(
        router_detect(a, STR_NONE, STR("hollis.bramwell \xC3\xA4t northpine punkt net"), &f, &err), 0);
    assert_true(f.categories & ROUTER_PII);
    arena_free(a);
}

/* Cyrillic words stay Cyrillic. */
static void other_scripts_are_left_alone(void **state)
{
    (void)state;
    struct router_findings f = {0};
    struct error err;
    struct arena *a = arena_create(16 * MIB);
    static const char text[] =
        "\xD0\x9F\xD1\x80\xD0\xB8\xD0\xB2\xD0\xB5\xD1\x82, "
        "\xD1\x8D\xD1\x82\xD0\xBE \xD1\x82\xD0\xB5\xD1\x81\xD1\x82 a b c d e f g h i j";
    assert_int_equal(router_detect(a, STR_NONE, str_from(text), &f, &err), 0);
    assert_int_equal(f.categories, 0);
    arena_free(a);
}

static unsigned found_in(const char *text)
{
    struct router_findings f = {0};
    struct error err;
    struct arena *a = arena_create(LIMIT_REQUEST_MEMORY);
    assert_int_equal(router_detect(a, STR_NONE, str_from(text), &f, &err), 0);
    unsigned categories = f.categories;
    arena_free(a);
    return categories;
}

/* ---- Letters that are not ASCII: each said in another way. ---- */
static void json_escaped(struct buf *out, uint32_t c)
{
    if (c >= 0x10000)
        buf_appendf(out, "\\u%04x\\u%04x", 0xD800 + ((c - 0x10000) >> 10), 0xDC00 + ((c - 0x10000) & 0x3FF));
    else
        buf_appendf(out, "\\u%04X", c);
}

static void json_escaped_twice(struct buf *out, uint32_t c)
{
    buf_append_char(out, '\\');
    json_escaped(out, c);
}

static void bytes_append(struct buf *out, uint32_t c, const char *format)
{
    char utf8[4];
    size_t n = str_utf8_encode(c, utf8);
    for (size_t i = 0; i < n; i++)
        buf_appendf(out, *format == '%' ? "%%%02X" : "\\x%02x", (unsigned char)utf8[i]);
}

static void percent_encoded(struct buf *out, uint32_t c)
{
    bytes_append(out, c, "%");
}

static void bytes_escaped(struct buf *out, uint32_t c)
{
    bytes_append(out, c, "x");
}

static void numbered(struct buf *out, uint32_t c)
{
    buf_appendf(out, "&#%u;", c);
}

static void named_letter(struct buf *out, uint32_t c)
{
    static const struct {
        uint32_t c;
        const char *name;
    } names[] = {{0xF6, "&ouml;"}, {0xD6, "&Ouml;"}, {0xFC, "&uuml;"}, {0xE4, "&auml;"}, {0xDF, "&szlig;"},
        {0x142, "&lstrok;"}, {0x15A, "&Sacute;"}, {0xE9, "&eacute;"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].c == c) {
            buf_append_text(out, names[i].name);
            return;
        }
    numbered(out, c);
}

static void letters_write(struct buf *out, struct str text, void (*write)(struct buf *, uint32_t))
{
    out->len = 0;
    for (size_t i = 0, n; i < text.len; i += n) {
        uint32_t c;
        n = str_utf8_decode(str_slice(text, i, text.len), &c);
        if (c < 0x80)
            buf_append_char(out, (char)c);
        else
            write(out, c);
    }
}

static struct str points_slice(struct str s, size_t start, size_t end)
{
    size_t at[2] = {0, 0};
    for (size_t i = 0, points = 0; i <= s.len; i++) {
        if (i < s.len && ((unsigned char)s.data[i] & 0xC0) == 0x80)
            continue;
        at[0] = points == start ? i : at[0];
        at[1] = points == end ? i : at[1];
        points++;
    }
    return str_slice(s, at[0], at[1]);
}

static bool has_entity(const struct router_findings *f, struct str text, const char *type, struct str wanted)
{
    for (size_t i = 0; i < f->n_entities; i++) {
        const struct router_entity *e = &f->entities[i];
        if (strcmp(e->type, type) == 0 && str_eq(points_slice(text, e->start, e->end), wanted))
            return true;
    }
    return false;
}

/* "J\u00f6rg" in JSON within a text stayed as it was, for only ASCII was undone: the name was missed, and
 * what was found had the whole text for its place. */
static void a_name_in_json_escapes_that_are_not_ascii_is_found_where_it_stands(void **state)
{
    (void)state;
    static void (*const writings[])(struct buf *, uint32_t) = {
        json_escaped, json_escaped_twice, percent_encoded, bytes_escaped, numbered, named_letter};
    static const struct {
        const char *text, *type, *value;
    } told[] = {{"{\"note\": \"Frau G\xC3\xB6sta \xC3\x96zt\xC3\xBCrk-M\xC3\xBCller hat angerufen\"}",
                    "PERSON", "G\xC3\xB6sta \xC3\x96zt\xC3\xBCrk-M\xC3\xBCller"},
        {"\xF0\x9F\x98\x80 Herr J\xC3\xB6rg Wei\xC3\x9F, Tel. 0221 5550 1732", "PERSON",
            "J\xC3\xB6rg Wei\xC3\x9F"},
        {"Pani Gra\xC5\xBCyna \xC5\x9Awi\xC4\x99to\xC5\x82"
         "cka prosi o kontakt",
            "PERSON",
            "Gra\xC5\xBCyna \xC5\x9Awi\xC4\x99to\xC5\x82"
            "cka"}};
    struct buf text, value;
    struct error err;
    buf_init(&text, MIB);
    buf_init(&value, MIB);
    for (size_t w = 0; w < sizeof writings / sizeof *writings; w++)
        for (size_t i = 0; i < sizeof told / sizeof *told; i++) {
            struct router_findings f = {0};
            struct arena *a = arena_create(16 * MIB);
            letters_write(&text, str_from(told[i].text), writings[w]);
            letters_write(&value, str_from(told[i].value), writings[w]);
            assert_int_equal(router_detect(a, STR_NONE, buf_str(&text), &f, &err), 0);
            if (!has_entity(&f, buf_str(&text), told[i].type, buf_str(&value)))
                fail_msg("'" STR_FMT "' is not found in '" STR_FMT "'", STR_ARG(buf_str(&value)),
                    STR_ARG(buf_str(&text)));
            arena_free(a);
        }
    buf_free(&text);
    buf_free(&value);
}

/* One that is found twice, once as it stands and once written differently, is there twice, each at its place;
 * halves of a pair, and what no escape is, stay as they are. */
static void what_is_written_differently_has_its_own_place(void **state)
{
    (void)state;
    struct router_findings f = {0};
    struct error err;
    struct arena *a = arena_create(16 * MIB);
    const struct str text = STR("\\ud83d \\uZZZZ &nosuch; %C3 %zz hollis.bramwell@northpine.net, "
                                "d\\u0061na.k\\u200Berr@northpine.net");
    assert_int_equal(router_detect(a, STR_NONE, text, &f, &err), 0);
    assert_true(has_entity(&f, text, "EMAIL_ADDRESS", STR("hollis.bramwell@northpine.net")));
    assert_true(has_entity(&f, text, "EMAIL_ADDRESS", STR("d\\u0061na.k\\u200Berr@northpine.net")));
    arena_free(a);
}

static void a_value_cut_by_a_line_quotes_or_members_is_found(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned category;
    } cut[] = {{"my card is 4539 5787\n6362 1486", ROUTER_FINANCIAL},
        {"my card is 4539 5787 \r\n  6362 1486", ROUTER_FINANCIAL},
        {"> my card is 4539 5787\n> 6362 1486", ROUTER_FINANCIAL},
        {"my card is 4539-5787-\n6362-1486", ROUTER_FINANCIAL},
        {"\"my card is 4539 5787\\n6362 1486\"", ROUTER_FINANCIAL},
        {"{\"first\": \"4539 5787\", \"last\": \"6362 1486\"}", ROUTER_FINANCIAL},
        {"[\"4539\",\"5787\",\"6362\",\"1486\"]", ROUTER_FINANCIAL},
        {"my card is\n4539\n5787\n6362\n1486\nplease check", ROUTER_FINANCIAL},
        {"4539\n5787\n6362\n1486", ROUTER_FINANCIAL},
        {"> 3728\n> 604417\n> 31095\n> thanks", ROUTER_FINANCIAL},
        {"key: AKIAXRHWWJH4\n  JKD7SVWF", ROUTER_SECRET},
        {"k = \"AKIAXRHWWJH4\" + \"JKD7SVWF\"", ROUTER_SECRET},
        {"k = \"AKIAXRHWWJH4\\\nJKD7SVWF\"", ROUTER_SECRET},
        {"write to hollis.bramwell@\nnorthpine.net", ROUTER_PII},
        /* Only groups of a card were put together, and the halves of a token. */
        {"please pay 45395787\n63621486 now", ROUTER_FINANCIAL},
        {"please pay 4539 57\n> 87 6362 1486 now", ROUTER_FINANCIAL},
        {"{\"a\": \"45395787\", \"b\": \"63621486\"}", ROUTER_FINANCIAL},
        {"{'a': '45395787', 'b': '63621486'}", ROUTER_FINANCIAL},
        {"write to hollis.bramwell@nor\nthpine.net", ROUTER_PII},
        {"{\"a\": \"hollis.bramwell@nor\", \"b\": \"thpine.net\"}", ROUTER_PII},
        {"hollis.bramwell@nor=\r\nthpine.net", ROUTER_PII},
        {"{\"a\": \"DE743704004\", \"b\": \"40817264953\"}", ROUTER_FINANCIAL},
        {"mine is 536-2\n2-8714 here", ROUTER_PII}, {"{\"a\": \"536-22\", \"b\": \"-8714\"}", ROUTER_PII},
        /* An address on the net was not put together. */
        {"server 81.201.\n57.33 is mine", ROUTER_PII}, {"server 81.201\n> .57.33 is mine", ROUTER_PII},
        {"server 81.20\n1.57.33 is mine", ROUTER_PII}, {"[\"81.201\", \".57.33\"]", ROUTER_PII},
        {"[\"+48 601\", \" 234 567\"]", ROUTER_PII}, {"k = 'AKIAXRHWWJ' . 'H4JKD7SVWF'", ROUTER_SECRET}};
    for (size_t i = 0; i < sizeof cut / sizeof *cut; i++)
        if (!(found_in(cut[i].text) & cut[i].category))
            fail_msg("nothing of its kind is found in '%s'", cut[i].text);
}

/* Words are looked for, and "houseNumber" is one: what stood under keys in camelCase was not found, nor an
 * address or a name of several members. */
static void members_of_json_are_read_together(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned category;
    } told[] = {{"{\"doorCode\": \"58B21\"}", ROUTER_SECRET},
        {"{\"user\":{\"passportNumber\":\"C4VH71809\"}}", ROUTER_PII},
        {"{\"phoneNumber\":\"0176 55512890\"}", ROUTER_PII},
        {"{\"bankAccount\":\"44710098221\"}", ROUTER_FINANCIAL},
        {"{\"street\":\"Kirschbl\xC3\xBCtenweg\",\"houseNumber\":8,\"zip\":\"80469\",\"city\":"
         "\"M\xC3\xBCnchen\"}",
            ROUTER_PII},
        {"[{\"id\": 1, \"first_name\": \"Anneliese\", \"last_name\": \"Brockhaus\", \"phone\": \"0221 5550 "
         "1732\"}]",
            ROUTER_PII}};
    static const char *const harmless[] = {"{\"maxTokens\": 512, \"topP\": 0.9, \"modelName\": \"small\"}",
        "{\"street\": \"string\", \"houseNumber\": \"string\", \"city\": \"string\"}",
        "{\"firstName\": \"string\", \"lastName\": \"string\"}", "{\"doorCode\": \"",
        "{\"doorCode\":", "\"a"};
    for (size_t i = 0; i < sizeof told / sizeof *told; i++)
        if (!(found_in(told[i].text) & told[i].category))
            fail_msg("nothing of its kind is found in '%s'", told[i].text);
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
        if (found_in(harmless[i]) != 0)
            fail_msg("something is found in '%s'", harmless[i]);
}

static void columns_and_lists_of_numbers_are_no_number(void **state)
{
    (void)state;
    static const char *const harmless[] = {"4539\n5787\n6362\n1487\n", "4539\n5787\n6362\n1486\n2210\n",
        "45395787\n63621486\n22103344\n", "[\"45395787\", \"63621486\", \"22103344\"]",
        "import os\n@app.route\ndef x():", "anna@work\nis there. Ok", "width=40 x=2E y=41\nsize =\n 5",
        "[4539, 5787, 6362, 1486]", "{\"a\": 4539, \"b\": 5787, \"c\": 6362, \"d\": 1486}",
        "v1\nsteps2take\nitem3\nbuild44b\n",
        "import os\n@app.route(\"/\")\ndef x1y2z3w4():\n    return \"a1b2c3d4e5\"\n"};
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
        if (found_in(harmless[i]) != 0)
            fail_msg("something is found in '%s'", harmless[i]);
}

static void signs_between_all_characters_are_undone(void **state)
{
    (void)state;
    static const char *const harmless[] = {"4-5-3-9-5-7-8-7-6-3-6-2-1-4-8-7", "1-2-3-4-5-6-7-8-9-0",
        "a/b/c/d/e/f/g/h/i", "| 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 |", "1.2.3.4.5.6.7.8 and 1.2.3.4.5.6.7.9",
        "see 1.2.\n3.4 and 12.1.\n2. next"};
    static const struct {
        const char *text;
        unsigned category;
    } rows[] = {{"4-5-3-9-5-7-8-7-6-3-6-2-1-4-8-6", ROUTER_FINANCIAL},
        {"pay 4-5-3-9 5-7-8-7 6-3-6-2 1-4-8-6 now", ROUTER_FINANCIAL},
        {"card (4.5.3.9.5.7.8.7.6.3.6.2.1.4.8.6)", ROUTER_FINANCIAL},
        {"4|5|3|9|5|7|8|7|6|3|6|2|1|4|8|6", ROUTER_FINANCIAL},
        {"4_5_3_9_5_7_8_7_6_3_6_2_1_4_8_6", ROUTER_FINANCIAL},
        {"4/5/3/9/5/7/8/7/6/3/6/2/1/4/8/6", ROUTER_FINANCIAL},
        {"a-n-n-a-@-g-m-a-i-l-.-c-o-m is mine", ROUTER_PII},
        {"D-E-7-4-3-7-0-4-0-0-4-4-0-8-1-7-2-6-4-9-5-3", ROUTER_FINANCIAL}};
    char text[400];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t shift = 0; shift < 140; shift++) {
            memset(text, ';', shift);
            snprintf(text + shift, sizeof text - shift, " %s", rows[i].text);
            if (!(found_in(text) & rows[i].category))
                fail_msg("nothing of its kind is found in '%s'", text);
        }
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
        if (found_in(harmless[i]) != 0)
            fail_msg("something is found in '%s'", harmless[i]);
}

/* Copying all that stands before at each of them took time that grew with the square of the text; here that
 * is minutes. */
static void long_texts_of_what_may_be_undone_are_read_once(void **state)
{
    (void)state;
    static const char *const often[] = {"a bb ", "meet at noon ", "x at y.com ", "\\", "ab \xD0\xB0 ", "12\n",
        "\\u00f6", "a1\n\n", "\"12\",", "\"a\":\"", "- \n", "\"aB\":\"c\",", "1234\n"};
    for (size_t i = 0; i < sizeof often / sizeof *often; i++) {
        struct router_findings f = {0};
        struct error err;
        struct buf text;
        struct arena *a = arena_create(LIMIT_REQUEST_MEMORY);
        buf_init(&text, LIMIT_REQUEST_MEMORY);
        while (text.len < 4 * MIB)
            buf_append_text(&text, often[i]);
        assert_int_equal(router_detect(a, STR_NONE, buf_str(&text), &f, &err), 0);
        assert_false(f.sensitive);
        buf_free(&text);
        arena_free(a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_writing_is_read),
        cmocka_unit_test(an_umlaut_says_at),
        cmocka_unit_test(other_scripts_are_left_alone),
        cmocka_unit_test(a_name_in_json_escapes_that_are_not_ascii_is_found_where_it_stands),
        cmocka_unit_test(what_is_written_differently_has_its_own_place),
        cmocka_unit_test(a_value_cut_by_a_line_quotes_or_members_is_found),
        cmocka_unit_test(members_of_json_are_read_together),
        cmocka_unit_test(columns_and_lists_of_numbers_are_no_number),
        cmocka_unit_test(signs_between_all_characters_are_undone),
        cmocka_unit_test(long_texts_of_what_may_be_undone_are_read_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
