/* What a network adds to lists and rules (detect_gist.h): statements that no list foresees, and that words
 * put around them never hide them; how many of the labelled prompts in tests/data are judged right
 * (CONTRIBUTING.md says which of them were looked at). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/limits.h"
#include "router/detect_context.h"
#include "router/detect_gist.h"

enum { MOST = 4096, WORDS = 1024 };

/* A set's split, and what is to be judged right of it at least. `ninth`, `eleventh`, `twelfth`,
 * `thirteenth` and `fifteenth` were blind, and are looked at now. Of the last one, written for this test,
 * nothing may be judged wrong. */
static const struct {
    const char *path, *split;
    double recall, precision;
} sets[] = {{"tests/data/fresh.jsonl", "tune", 0.95, 0.95},
    {"tests/data/fresh.jsonl", "held-out", 0.93, 0.95}, {"tests/data/third.jsonl", "dev", 0.90, 0.97},
    {"tests/data/third.jsonl", "once", 0.75, 0.98}, {"tests/data/fourth.jsonl", "blind", 0.94, 0.85},
    {"tests/data/fifth.jsonl", "dev", 0.82, 0.81}, {"tests/data/sixth.jsonl", "dev", 0.78, 0.86},
    {"tests/data/seventh.jsonl", "blind", 0.89, 0.94}, {"tests/data/eighth.jsonl", "blind", 0.97, 0.90},
    {"tests/data/ninth.jsonl", "blind", 0.99, 0.79}, {"tests/data/tenth.jsonl", "blind", 0.96, 0.96},
    {"tests/data/eleventh.jsonl", "blind", 0.90, 0.87}, {"tests/data/twelfth.jsonl", "blind", 0.92, 0.95},
    {"tests/data/thirteenth.jsonl", "blind", 0.96, 0.88},
    {"tests/data/fourteenth.jsonl", "blind", 0.95, 0.93}, {"tests/data/fifteenth.jsonl", "blind", 0.92, 0.88},
    {"tests/data/sixteenth.jsonl", "blind", 0.91, 0.92}, {"tests/data/musts.jsonl", "must", 1, 1}};
enum { SETS = sizeof sets / sizeof *sets };

static struct {
    struct str text;
    size_t set;
    bool sensitive;
    unsigned found, said; /* by all layers, by the network */
} rows[MOST];
static size_t n_rows;
static struct detect_word words[WORDS];

static void category_add(void *ctx, enum router_category category, size_t from, size_t to)
{
    assert_true(from < to && to - from <= GIST_WINDOW);
    *(unsigned *)ctx |= category;
}

static unsigned gist_of(struct str text)
{
    unsigned said = 0;
    detect_gist_look(words, detect_context_words(text, words, WORDS), category_add, &said);
    return said;
}

static unsigned found_in(struct str text)
{
    struct router_findings f = {0};
    struct error err;
    struct arena *a = arena_create(16 * MIB);
    assert_int_equal(router_detect(a, STR_NONE, text, &f, &err), 0);
    unsigned categories = f.categories;
    arena_free(a);
    return categories;
}

static size_t set_of(const char *path, struct str split)
{
    size_t i = 0;
    while (i < SETS && (strcmp(sets[i].path, path) != 0 || !str_is(split, sets[i].split)))
        i++;
    assert_true(i < SETS);
    return i;
}

static int set_read(const char *path)
{
    struct error err;
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t capacity = 0;
    if (!f)
        return -1;
    for (ssize_t n; n_rows < MOST && (n = getline(&line, &capacity, f)) > 0; n_rows++) {
        json_t *row;
        if (json_read(str_trim((struct str){line, (size_t)n}), &row, &err))
            fail_msg("%s: %s", path, err.message);
        struct str text = json_str(json_object_get(row, "text"));
        rows[n_rows].text = str_from(strndup(text.data, text.len));
        rows[n_rows].set = set_of(path, json_str(json_object_get(row, "split")));
        rows[n_rows].sensitive = json_is_true(json_object_get(row, "sensitive"));
        rows[n_rows].found = found_in(text);
        rows[n_rows].said = gist_of(text);
        json_decref(row);
    }
    free(line);
    fclose(f);
    return 0;
}

static int rows_read(void **state)
{
    (void)state;
    struct error err;
    int rc = router_detect_init(&err);
    for (size_t i = 0; i < SETS && rc == 0; i++)
        if (i == 0 || strcmp(sets[i].path, sets[i - 1].path) != 0)
            rc = set_read(sets[i].path);
    return rc;
}

static int rows_free(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_rows; i++)
        free((char *)rows[i].text.data);
    return 0;
}

static void statements_that_no_list_foresees_are_found(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned category;
    } all[] = {{"my wife checks my phone every night and screams at me, how do i leave her", ROUTER_PERSONAL},
        {"Mein Mann liest heimlich meine Nachrichten und ich habe Angst vor ihm", ROUTER_PERSONAL},
        {"on doit 3000 euros au propri\xC3\xA9taire et la banque bloque la carte", ROUTER_FINANCIAL},
        {"dejo las pastillas sin dec\xC3\xADrselo a mi m\xC3\xA9"
         "dico, hace dos semanas que no duermo",
            ROUTER_PHI},
        {"la direzione chiude la filiale di Terni a marzo, 40 esuberi, i sindacati non lo sanno ancora",
            ROUTER_PROPRIETARY},
        {"mam rozpraw\xC4\x99 w poniedzia\xC5\x82"
         "ek, uderzy\xC5\x82"
         "em s\xC4\x85siada, co powiedzie\xC4\x87 s\xC4\x99"
         "dziemu",
            ROUTER_LEGAL},
        {"Tell the dog sitter that the gate keypad takes two two nine one", ROUTER_SECRET},
        {"Zettel f\xC3\xBCr die Aushilfe: Tresor geht auf mit links 12, rechts 30, links 7", ROUTER_SECRET},
        {"mot pour la nounou : le portail s'ouvre avec 1974 puis di\xC3\xA8se", ROUTER_SECRET}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!(found_in(str_from(all[i].text)) & all[i].category))
            fail_msg("nothing of its kind is found in '%s'", all[i].text);
}

/* The network's weights are not negative. */
static void words_around_a_statement_take_nothing_away(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_rows; i++) {
        const struct str before = rows[(i * 7 + 3) % n_rows].text, behind = rows[(i * 11 + 5) % n_rows].text;
        char *text;
        int n = asprintf(
            &text, STR_FMT " " STR_FMT " " STR_FMT, STR_ARG(before), STR_ARG(rows[i].text), STR_ARG(behind));
        assert_true(n > 0);
        unsigned said = gist_of((struct str){text, (size_t)n});
        if (rows[i].said & ~said)
            fail_msg("0x%x of 0x%x remains in '%s'", said, rows[i].said, text);
        free(text);
    }
}

static bool has(const uint32_t *ids, size_t n, uint32_t id)
{
    for (size_t i = 0; i < n; i++)
        if (ids[i] == id)
            return true;
    return false;
}

/* The ids of a text's last word. */
static size_t last_ids(const char *text, uint32_t ids[GIST_IDS])
{
    size_t n = detect_context_words(str_from(text), words, WORDS);
    assert_true(n > 0);
    return detect_gist_ids(words, n - 1, ids);
}

/* Who was spoken of last is one of a word's ids: it is another behind "my son" than behind "people", up to
 * four words on; and none is lost by what stands further in front. */
static void who_is_spoken_of_is_told(void **state)
{
    (void)state;
    static const char *const behind[] = {"my son is so very depressed", "people are so very depressed",
        "my son is so very very depressed", "She said that my son is so very depressed",
        "I know that my son is so very depressed"};
    uint32_t ids[5][GIST_IDS];
    size_t n[5];
    for (size_t i = 0; i < 5; i++)
        n[i] = last_ids(behind[i], ids[i]);
    assert_int_equal(n[0], n[1] + 1);
    assert_int_equal(n[2], n[1]);
    for (size_t i = 3; i < 5; i++)
        for (size_t k = 0; k < n[0]; k++)
            assert_true(n[i] == n[0] && has(ids[i], n[i], ids[0][k]));
}

static void labelled_prompts_are_judged_right(void **state)
{
    (void)state;
    for (size_t k = 0; k < SETS; k++) {
        double right = 0, extra = 0, missing = 0;
        for (size_t i = 0; i < n_rows; i++) {
            if (rows[i].set != k)
                continue;
            right += rows[i].sensitive && rows[i].found;
            extra += !rows[i].sensitive && rows[i].found;
            missing += rows[i].sensitive && !rows[i].found;
        }
        print_message("%s, %s: recall %.3f, precision %.3f\n", sets[k].path, sets[k].split,
            right / (right + missing), right / (right + extra));
        assert_true(right / (right + missing) >= sets[k].recall);
        assert_true(right / (right + extra) >= sets[k].precision);
    }
}

/* Recovery phrases, codes as riddles, debts, scans, closures ... in all languages, and harmless texts near
 * them: whoever fits the network anew sees which of them the fit has lost. */
static void what_no_fit_may_lose(void **state)
{
    (void)state;
    size_t wrong = 0, n = 0;
    for (size_t i = 0; i < n_rows; i++) {
        if (rows[i].set != SETS - 1)
            continue;
        n++;
        if (rows[i].sensitive == (rows[i].found != 0))
            continue;
        print_error(
            "%s: " STR_FMT "\n", rows[i].sensitive ? "lost" : "called sensitive", STR_ARG(rows[i].text));
        wrong++;
    }
    assert_true(n > 100);
    assert_int_equal(wrong, 0);
}

static bool sound_with(const char *file, size_t n, size_t at, const void *bytes, size_t n_bytes)
{
    char *changed = malloc(n);
    assert_non_null(changed);
    memcpy(changed, file, n);
    memcpy(changed + at, bytes, n_bytes);
    bool sound = detect_gist_sound((struct str){changed, n});
    free(changed);
    return sound;
}

/* Else a word could hide what another says, or a sum run over. */
static void weights_below_0_or_too_large_are_refused(void **state)
{
    (void)state;
    struct {
        struct gist_head head;
        struct gist_entry entries[2];
    } f = {.head = {.magic = "WEIRGIS", .n_entries = 2, .scale = 1}, .entries = {{.id = 1}, {.id = 2}}};
    f.head.magic[7] = 'T';
    const char *file = (const char *)&f;
    const float below = -1, none = NAN;
    const uint32_t many = 3, same = 1;
    const size_t out = offsetof(struct gist_head, out), second = sizeof f.head + sizeof *f.entries;
    assert_true(sound_with(file, sizeof f, 0, "W", 1));
    assert_false(detect_gist_sound((struct str){file, sizeof f - 1}));
    assert_false(detect_gist_sound((struct str){file, 8}));
    assert_false(sound_with(file, sizeof f, 0, "V", 1));
    assert_false(sound_with(file, sizeof f, out + sizeof below, &below, sizeof below));
    assert_false(sound_with(file, sizeof f, out, &none, sizeof none));
    assert_false(sound_with(file, sizeof f, offsetof(struct gist_head, bias), &below, sizeof below));
    assert_false(sound_with(file, sizeof f, offsetof(struct gist_head, n_entries), &many, sizeof many));
    assert_false(sound_with(file, sizeof f, second, &same, sizeof same));
    assert_false(sound_with(file, sizeof f, second + offsetof(struct gist_entry, weight), "\x80", 1));
}

/* ---- The same, added up as detect_gist.h says. ---- */
static struct gist_head head;
static struct gist_entry entries[1 << 17];

static void file_read(void)
{
    FILE *f = fopen("data/gist.weights", "rb");
    assert_non_null(f);
    assert_int_equal(fread(&head, sizeof head, 1, f), 1);
    assert_true(head.n_entries < sizeof entries / sizeof *entries);
    assert_int_equal(fread(entries, sizeof *entries, head.n_entries, f), head.n_entries);
    fclose(f);
}

static int entry_order(const void *id, const void *entry)
{
    const uint32_t *x = id;
    const struct gist_entry *e = entry;
    return *x < e->id ? -1 : *x > e->id;
}

static const struct gist_entry *entry_of(uint32_t id)
{
    return bsearch(&id, entries, head.n_entries, sizeof *entries, entry_order);
}

/* The sums of words [from, to); true: the last one brings something to them. */
static bool sums_plainly(size_t from, size_t to, int sum[GIST_HIDDEN])
{
    uint32_t seen[GIST_WINDOW * GIST_IDS];
    size_t n_seen = 0;
    bool brings = false;
    memset(sum, 0, GIST_HIDDEN * sizeof *sum);
    for (size_t i = from; i < to; i++) {
        uint32_t ids[GIST_IDS];
        size_t n_ids = detect_gist_ids(words, i, ids);
        brings = false;
        for (size_t k = 0; k < n_ids; k++) {
            const struct gist_entry *e = entry_of(ids[k]);
            if (!e || has(seen, n_seen, ids[k]))
                continue;
            for (int j = 0; j < GIST_HIDDEN; j++)
                sum[j] += e->weight[j];
            seen[n_seen++] = ids[k];
            brings = true;
        }
    }
    return brings;
}

static unsigned said_of(const int sum[GIST_HIDDEN])
{
    unsigned bits = 0;
    for (int c = 0; c < GIST_CLASSES; c++) {
        float y = -head.threshold[c];
        for (int j = 0; j < GIST_HIDDEN; j++) {
            float over = (float)sum[j] * head.scale - head.bias[j];
            y += over > 0 ? over * head.out[c][j] : 0;
        }
        bits |= (unsigned)(y > 0) << c;
    }
    return bits;
}

struct said {
    unsigned category;
    size_t from, to;
};
static struct said looked[WORDS], plain[WORDS];
static size_t n_looked;

static void look_add(void *ctx, enum router_category category, size_t from, size_t to)
{
    (void)ctx;
    assert_true(n_looked < WORDS);
    looked[n_looked++] = (struct said){category, from, to};
}

static size_t text_plainly(size_t n)
{
    size_t n_plain = 0, until[GIST_CLASSES] = {0};
    for (size_t i = 0; i < n; i++) {
        size_t begin = i + 1 < GIST_WINDOW ? 0 : i + 1 - GIST_WINDOW;
        int sum[GIST_HIDDEN];
        unsigned bits = sums_plainly(begin, i + 1, sum) ? said_of(sum) : 0;
        for (int c = 0; c < GIST_CLASSES; c++) {
            if (!(bits >> c & 1) || i < until[c])
                continue;
            size_t from = i;
            while (sums_plainly(from, i + 1, sum), !(said_of(sum) >> c & 1))
                from--;
            plain[n_plain++] = (struct said){1u << c, from, i + 1};
            until[c] = i + GIST_WINDOW;
        }
    }
    return n_plain;
}

/* How many it says of the text, the same as one that adds each window up. */
static size_t same_plainly(struct str text)
{
    size_t n = detect_context_words(text, words, WORDS);
    n_looked = 0;
    detect_gist_look(words, n, look_add, NULL);
    assert_int_equal(n_looked, text_plainly(n));
    for (size_t k = 0; k < n_looked; k++) {
        assert_int_equal(looked[k].category, plain[k].category);
        assert_int_equal(looked[k].from, plain[k].from);
        assert_int_equal(looked[k].to, plain[k].to);
    }
    return n_looked;
}

static void as_one_adds_it_up(void **state)
{
    (void)state;
    size_t all = 0;
    file_read();
    for (size_t i = 0; i < n_rows; i++)
        all += same_plainly(rows[i].text);
    assert_true(all > 100);
}

/* What is said in the midst of a long text, with harmless words on both sides, of which the walk reads only
 * those that it must. */
static void as_one_adds_it_up_in_a_long_text(void **state)
{
    (void)state;
    enum { AROUND = 40 };
    size_t all = 0;
    struct buf text;
    file_read();
    for (size_t i = 0; i < n_rows; i += 7) {
        buf_init(&text, MIB);
        for (size_t k = 0; k < 3 * AROUND; k++) {
            buf_append_text(&text, k % 9 ? "The weir is low there, and so is the water. " : "How so? ");
            if (k == AROUND || k == 2 * AROUND)
                buf_append_str(&text, rows[(i + k) % n_rows].text);
        }
        assert_int_equal(text.failed, 0);
        all += same_plainly(buf_str(&text));
        buf_free(&text);
    }
    assert_true(all > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statements_that_no_list_foresees_are_found),
        cmocka_unit_test(words_around_a_statement_take_nothing_away),
        cmocka_unit_test(who_is_spoken_of_is_told),
        cmocka_unit_test(weights_below_0_or_too_large_are_refused),
        cmocka_unit_test(labelled_prompts_are_judged_right),
        cmocka_unit_test(what_no_fit_may_lose),
        cmocka_unit_test(as_one_adds_it_up),
        cmocka_unit_test(as_one_adds_it_up_in_a_long_text),
    };
    return cmocka_run_group_tests(tests, rows_read, rows_free);
}
