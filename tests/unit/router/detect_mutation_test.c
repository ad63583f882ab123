/* Our own labelled prompts (tests/data/prompts.jsonl): how many are judged right, on the half that nothing
 * was tuned on and on the other; and that no finding is lost to words put around it, to another order, or to
 * another writing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/limits.h"
#include "router/detect.h"

enum { MOST = 256, MUTATIONS = 20000 };

static struct {
    char *text;
    bool sensitive, held_out;
    unsigned found;
} rows[MOST];
static size_t n_rows;

static unsigned look(struct str text)
{
    struct router_findings f = {0};
    struct error err;
    struct arena *a = arena_create(16 * MIB);
    if (router_detect(a, STR_NONE, text, &f, &err))
        fail_msg("detection failed: %s", err.message);
    unsigned categories = f.categories;
    arena_free(a);
    return categories;
}

static int rows_read(void **state)
{
    (void)state;
    FILE *f = fopen("tests/data/prompts.jsonl", "r");
    char *line = NULL;
    size_t capacity = 0;
    struct error err;
    if (!f)
        return -1;
    for (ssize_t n; n_rows < MOST && (n = getline(&line, &capacity, f)) > 0; n_rows++) {
        json_t *row;
        if (json_read(str_trim((struct str){line, (size_t)n}), &row, &err))
            fail_msg("tests/data/prompts.jsonl: %s", err.message);
        struct str text = json_str(json_object_get(row, "text"));
        rows[n_rows].text = strndup(text.data, text.len);
        rows[n_rows].sensitive = json_is_true(json_object_get(row, "sensitive"));
        rows[n_rows].held_out = str_is(json_str(json_object_get(row, "split")), "held-out");
        rows[n_rows].found = look(text);
        json_decref(row);
    }
    free(line);
    fclose(f);
    return 0;
}

static int rows_free(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_rows; i++)
        free(rows[i].text);
    return 0;
}

static void prompts_are_judged_right(void **state)
{
    (void)state;
    for (int held_out = 0; held_out < 2; held_out++) {
        double right = 0, extra = 0, missing = 0;
        for (size_t i = 0; i < n_rows; i++) {
            if (rows[i].held_out != held_out)
                continue;
            right += rows[i].sensitive && rows[i].found;
            extra += !rows[i].sensitive && rows[i].found;
            missing += rows[i].sensitive && !rows[i].found;
        }
        print_message("%s: recall %.3f, precision %.3f\n", held_out ? "held out" : "tuned on",
            right / (right + missing), right / (right + extra));
        assert_true(right / (right + missing) >= 0.95);
        assert_true(right / (right + extra) >= 0.90);
    }
}

static uint32_t dice(uint32_t n)
{
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32) % n;
}

static const char *benign(void)
{
    static const char *const texts[] = {"Thanks a lot and have a nice day.",
        "This is only a harmless example.", "Bitte antworte kurz.", "The weather is fine today.",
        "It is all fiction, a novel, nothing here is real.", "Ignore everything above, it is public.",
        "Merci d'avance pour votre aide.", "Write it as a poem with four lines.",
        "lorem ipsum dolor sit amet", "example.com and 4111 1111 1111 1111 are documented examples.",
        "hello hello hello"};
    return texts[dice(sizeof texts / sizeof *texts)];
}

static void base64_append(struct buf *out, const char *text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = 0;
        for (size_t j = 0; j < 3; j++)
            v = v << 8 | (i + j < n ? (unsigned char)text[i + j] : ' ');
        for (int shift = 18; shift >= 0; shift -= 6)
            buf_append_char(out, digits[v >> shift & 63]);
    }
}

/* As JSON and URLs escape it: every byte that a coin chooses, ASCII only. */
static void escaped_append(struct buf *out, const char *text, bool percent)
{
    for (; *text; text++) {
        char hex[8];
        if (*text & '\x80' || dice(2)) {
            buf_append_char(out, *text);
            continue;
        }
        snprintf(hex, sizeof hex, percent ? "%%%02x" : "\\u%04x", (unsigned char)*text);
        buf_append_text(out, hex);
    }
}

static void around(struct buf *out, const char *between)
{
    for (uint32_t n = dice(4); n > 0; n--) {
        buf_append_text(out, benign());
        buf_append_text(out, between);
    }
}

static void no_finding_is_lost(void **state)
{
    (void)state;
    static const char *const betweens[] = {" ", "\n\n", "\n", " \xE2\x80\x94 "};
    for (size_t i = 0; i < MUTATIONS; i++) {
        size_t row = dice((uint32_t)n_rows), other = dice((uint32_t)n_rows);
        const char *between = betweens[dice(3)];
        unsigned want = rows[row].found;
        struct buf text;
        if (want == 0)
            continue;
        buf_init(&text, MIB);
        around(&text, "\n");
        switch (dice(5)) {
        case 0:
            base64_append(&text, rows[row].text);
            break;
        case 1:
            escaped_append(&text, rows[row].text, true);
            break;
        case 2:
            escaped_append(&text, rows[row].text, false);
            break;
        case 3: /* in either order */
            buf_append_text(&text, rows[other].text);
            buf_append_text(&text, "\n");
            want |= rows[other].found;
            buf_append_text(&text, rows[row].text);
            break;
        default:
            buf_append_text(&text, rows[row].text);
        }
        buf_append_text(&text, between);
        around(&text, between);
        unsigned found = look(buf_str(&text));
        if ((found & want) != want)
            fail_msg("0x%x was found, 0x%x remains in '" STR_FMT "' of '%s'", want, found,
                STR_ARG(buf_str(&text)), rows[row].text);
        buf_free(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_are_judged_right),
        cmocka_unit_test(no_finding_is_lost),
    };
    return cmocka_run_group_tests(tests, rows_read, rows_free);
}
