/* The tagger: names that no list has and postal addresses, where each begins and ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/limits.h"
#include "router/detect_context.h"
#include "router/detect_tag.h"

static struct error err;

/* How many findings of the type there are, and whether one stands exactly at `value`. */
static size_t findings(const char *type, const char *text, const char *value, bool *there)
{
    struct router_findings f = {0};
    struct arena *a = arena_create(16 * MIB);
    size_t n = 0, at = str_find(str_from(text), str_from(value));
    if (router_detect(a, STR_NONE, str_from(text), &f, &err))
        fail_msg("detection failed: %s", err.message);
    size_t start = str_utf8_count(str_slice(str_from(text), 0, at)),
           end = start + str_utf8_count(str_from(value));
    *there = false;
    for (size_t i = 0; i < f.n_entities; i++) {
        if (strcmp(f.entities[i].type, type) != 0)
            continue;
        n++;
        *there = *there || (f.entities[i].start == start && f.entities[i].end == end);
    }
    arena_free(a);
    return n;
}

static void spans(const char *type, const char *text, const char *value)
{
    bool there;
    findings(type, text, value, &there);
    if (!there)
        fail_msg("no %s at '%s' in '%s'", type, value, text);
}

static void nobody(const char *text)
{
    bool there;
    if (findings("PERSON", text, "", &there) > 0)
        fail_msg("somebody is named in '%s'", text);
}

/* None of these surnames is in data/names.txt. */
static void names_that_no_list_has(void **state)
{
    (void)state;
    spans("PERSON", "please call Oberyn Quillfeather about the invoice", "Oberyn Quillfeather");
    spans("PERSON", "Herr Zwerschbacher hat angerufen", "Zwerschbacher");
    spans("PERSON", "Mme Trouvaillard se plaint du bruit", "Trouvaillard");
    spans("PERSON", "la paciente Xiadani Tzintzuque pide cita", "Xiadani Tzintzuque");
    spans("PERSON", "mevrouw Wubbechien Hoekzema klaagt", "Wubbechien Hoekzema");
    spans("PERSON", "pani Bogumiła Przeździarska mieszka tutaj", "Bogumiła Przeździarska");
}

static void addresses_whole_in_a_sentence(void **state)
{
    (void)state;
    spans("STREET_ADDRESS", "Send it to 14 Harrowmere Lane, Apt 3, Dayton, OH 45409 please",
        "14 Harrowmere Lane, Apt 3, Dayton, OH 45409");
    spans("STREET_ADDRESS", "Er wohnt in der Quittenstraße 12, 04229 Leipzig seit Mai",
        "Quittenstraße 12, 04229 Leipzig");
    spans("STREET_ADDRESS", "elle habite au 8 rue des Tourterelles, 35000 Rennes",
        "8 rue des Tourterelles, 35000 Rennes");
    spans("STREET_ADDRESS", "mieszka przy ul. Wierzbowa 7/12, 61-131 Poznań",
        "ul. Wierzbowa 7/12, 61-131 Poznań");
}

/* With two numbers at a street each part is a finding of its own, in a letter's head. */
static void addresses_part_by_part_with_two_numbers(void **state)
{
    (void)state;
    spans("STREET_ADDRESS", "Anna Kowalska\n\n14 Harrowmere Lane\nDayton, OH 45409",
        "14 Harrowmere Lane\nDayton, OH 45409");
    static const char text[] = "Anna Kowalska\n\n4844 Sondergade 52\n Apt. 656\n Bronderslev\n Denmark 35018";
    spans("STREET_ADDRESS", text, "Sondergade 52");
    spans("STREET_ADDRESS", text, "Apt. 656");
    spans("STREET_ADDRESS", text, "35018");
}

/* Each word of a piece may be a place of its own. */
static void as_many_places_as_words(void **state)
{
    (void)state;
    struct arena *a = arena_create(16 * MIB);
    static const char *const parts[] = {"Elm Street 5 ", "5 Weg 6 ", "12 Rue ", "ul. ", "Box "};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        struct router_findings f = {0};
        char *text = malloc(32 * CONTEXT_WORDS);
        size_t n = 0;
        for (; n + 16 < 32 * CONTEXT_WORDS; n += strlen(parts[i]))
            memcpy(text + n, parts[i], strlen(parts[i]));
        assert_int_equal(router_detect(a, STR_NONE, (struct str){text, n}, &f, &err), 0);
        free(text);
    }
    arena_free(a);
}

static void what_is_no_name(void **state)
{
    (void)state;
    nobody("Die Würde des Menschen ist unantastbar, sagt Artikel 1 des Grundgesetzes");
    nobody("Compare React and Kubernetes on Ubuntu 24 with Docker");
    nobody("jane@example.com");
}

/* What the lexicon knows for a name is one wherever it stands. */
static void words_around_hide_no_name(void **state)
{
    (void)state;
    static const char *const around[] = {
        "%s", "of %s Inc", "%s Street", "the %s 500", "%s GmbH %s", "x=%s;", "-%s-"};
    for (size_t i = 0; i < sizeof around / sizeof *around; i++) {
        char text[128];
        bool there;
        snprintf(text, sizeof text, around[i], "Monika Schneider", "AG");
        if (findings("PERSON", text, "Monika Schneider", &there) +
                findings("STREET_ADDRESS", text, "", &there) ==
            0)
            fail_msg("nobody in '%s'", text);
    }
}

/* A long text is read in pieces: a name or an address that begins at the end of one may begin for the tagger
 * behind it, and the next piece did not see all of it. */
static void a_piece_ends_in_a_name(void **state)
{
    (void)state;
    enum { BEFORE = CONTEXT_WORDS - CONTEXT_OVERLAP - 14, TRIES = 16 };
    static const char *const all[] = {"Monika Schneider",
        "Herr Doktor Wolfgang Amadeus Brockhaus-Zwerschbacher", "14 Harrowmere Lane, Apt 3, Dayton, OH 45409",
        "4844 Sondergade 52, Bronderslev"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (size_t k = 0; k < TRIES; k++) {
            struct buf text;
            bool there;
            buf_init(&text, MIB);
            for (size_t w = 0; w < BEFORE + k; w++)
                buf_append_text(&text, "so ");
            buf_append_text(&text, all[i]);
            buf_append_text(&text, " and then some more\n");
            buf_append_char(&text, '\0');
            if (findings(i < 2 ? "PERSON" : "STREET_ADDRESS", text.data, all[i], &there) == 0)
                fail_msg("'%s' is lost behind %zu words", all[i], BEFORE + k);
            buf_free(&text);
        }
}

static void ids_of_last(struct str text, uint32_t ids[TAG_IDS], size_t *n_ids)
{
    static struct detect_word words[16];
    size_t n = detect_context_words(text, words, 15);
    assert_int_equal(n, 3);
    memset(ids, 0, TAG_IDS * sizeof *ids);
    *n_ids = detect_tag_ids(text, words, n, n - 1, ids);
}

/* A capital beside a name was another one where a list, made after the weights, knew its word. */
static void lists_made_after_the_weights_change_no_ids(void **state)
{
    (void)state;
    uint32_t listed[TAG_IDS], other[TAG_IDS];
    size_t n_listed, n_other;
    ids_of_last(STR("then Cacifo Quillfeather"), listed, &n_listed);
    ids_of_last(STR("then Cacefo Quillfeather"), other, &n_other);
    assert_int_equal(n_listed, n_other);
    assert_memory_equal(listed, other, sizeof other);
}

static void a_nul_behind_the_last_word_is_no_stop(void **state)
{
    (void)state;
    uint32_t space[TAG_IDS], nul[TAG_IDS], stop[TAG_IDS];
    size_t n_space, n_nul, n_stop;
    ids_of_last(STR("call Oberyn Quillfeather "), space, &n_space);
    ids_of_last(STR("call Oberyn Quillfeather\0"), nul, &n_nul);
    ids_of_last(STR("call Oberyn Quillfeather."), stop, &n_stop);
    assert_int_equal(n_nul, n_space);
    assert_memory_equal(nul, space, sizeof nul);
    assert_true(n_stop != n_space || memcmp(stop, space, sizeof stop) != 0);
}

/* ---- The tagger by the book: each id looked for in the file, sums and the best way in whole numbers. ----
 */
static struct tag_head head;
static struct tag_entry entries[1 << 16];

static void file_read(void)
{
    FILE *f = fopen("data/tag.weights", "rb");
    assert_non_null(f);
    assert_int_equal(fread(&head, sizeof head, 1, f), 1);
    assert_true(head.n_entries < sizeof entries / sizeof *entries);
    assert_int_equal(fread(entries, sizeof *entries, head.n_entries, f), head.n_entries);
    fclose(f);
}

static int entry_order(const void *id, const void *entry)
{
    const uint32_t *x = id;
    const struct tag_entry *e = entry;
    return *x < e->id ? -1 : *x > e->id;
}

static void sums_plainly(
    struct str text, const struct detect_word *words, size_t n, size_t i, int out[N_TAGS])
{
    uint32_t ids[TAG_IDS];
    size_t n_ids = detect_tag_ids(text, words, n, i, ids);
    memset(out, 0, N_TAGS * sizeof *out);
    for (size_t k = 0; k < n_ids; k++) {
        const struct tag_entry *e = bsearch(&ids[k], entries, head.n_entries, sizeof *entries, entry_order);
        for (int tag = 0; e && tag < N_TAGS; tag++)
            out[tag] += e->weight[tag];
    }
}

enum { PLAIN_WORDS = 100 };

static void run_plainly(
    struct str text, const struct detect_word *words, size_t n, size_t from, size_t to, uint8_t *tags)
{
    int score[N_TAGS], came[PLAIN_WORDS][N_TAGS] = {{0}};
    for (int tag = 0; tag < N_TAGS; tag++)
        score[tag] = tag == TAG_NONE ? 0 : TAG_NEVER;
    for (size_t i = from; i < to; i++) {
        int sum[N_TAGS], best[N_TAGS];
        sums_plainly(text, words, n, i, sum);
        for (int tag = 0; tag < N_TAGS; tag++) {
            for (int other = 1; other < N_TAGS; other++)
                if (score[other] + head.step[other][tag] > score[came[i][tag]] + head.step[came[i][tag]][tag])
                    came[i][tag] = other;
            best[tag] = score[came[i][tag]] + head.step[came[i][tag]][tag] + sum[tag];
        }
        for (int tag = 0; tag < N_TAGS; tag++) {
            score[tag] = best[tag] - best[TAG_NONE];
            score[tag] = score[tag] < TAG_NEVER ? TAG_NEVER : score[tag];
            score[tag] = score[tag] > -TAG_NEVER ? -TAG_NEVER : score[tag];
        }
    }
    int last = 0;
    for (int tag = 1; tag < N_TAGS; tag++)
        if (score[tag] + head.step[tag][TAG_NONE] > score[last] + head.step[last][TAG_NONE])
            last = tag;
    for (size_t i = to; i-- > from; last = came[i][last])
        tags[i] = (uint8_t)last;
}

static void as_one_adds_it_up(void **state)
{
    (void)state;
    static struct detect_word words[PLAIN_WORDS];
    static char line[1 << 16];
    size_t tagged = 0;
    FILE *f = fopen("tests/data/fresh.jsonl", "r");
    assert_non_null(f);
    file_read();
    while (fgets(line, sizeof line, f)) {
        struct str text = str_from(line);
        uint8_t tags[PLAIN_WORDS], plainly[PLAIN_WORDS] = {TAG_NONE};
        size_t n = detect_context_words(text, words, PLAIN_WORDS), from = 0, to = 0;
        detect_tag_look(text, words, n, tags);
        while (detect_tag_run(words, n, &from, &to))
            run_plainly(text, words, n, from, to, plainly);
        if (memcmp(tags, plainly, n) != 0)
            fail_msg("other tags than by the book: %s", line);
        for (size_t i = 0; i < n; i++)
            tagged += tags[i] != TAG_NONE;
    }
    fclose(f);
    assert_true(tagged > 100);
}

static void a_file_that_is_none(void **state)
{
    (void)state;
    struct tag_head begin = {.magic = "WEIRTAGS", .n_entries = 2};
    struct tag_entry two[2] = {{3, {0}}, {5, {1}}};
    char file[sizeof begin + sizeof two];
    memcpy(file, &begin, sizeof begin);
    memcpy(file + sizeof begin, two, sizeof two);
    assert_true(detect_tag_sound((struct str){file, sizeof file}));
    assert_false(detect_tag_sound((struct str){file, sizeof file - 1}));
    assert_false(detect_tag_sound((struct str){file, 4}));
    two[1].id = 3; /* twice */
    memcpy(file + sizeof begin, two, sizeof two);
    assert_false(detect_tag_sound((struct str){file, sizeof file}));
    two[1].id = 5;
    begin.step[1][2] = INT16_MAX; /* sums would not fit */
    memcpy(file, &begin, sizeof begin);
    memcpy(file + sizeof begin, two, sizeof two);
    assert_false(detect_tag_sound((struct str){file, sizeof file}));
    begin.step[1][2] = 0;
    begin.magic[0] = 'X';
    memcpy(file, &begin, sizeof begin);
    assert_false(detect_tag_sound((struct str){file, sizeof file}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_that_no_list_has),
        cmocka_unit_test(addresses_whole_in_a_sentence),
        cmocka_unit_test(addresses_part_by_part_with_two_numbers),
        cmocka_unit_test(as_many_places_as_words),
        cmocka_unit_test(what_is_no_name),
        cmocka_unit_test(words_around_hide_no_name),
        cmocka_unit_test(a_piece_ends_in_a_name),
        cmocka_unit_test(lists_made_after_the_weights_change_no_ids),
        cmocka_unit_test(a_nul_behind_the_last_word_is_no_stop),
        cmocka_unit_test(as_one_adds_it_up),
        cmocka_unit_test(a_file_that_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
