/* Numbers of people and firms: the length of the first run chooses the rules worth a look, then the pattern,
 * then what the value proves, then whether a word before it says what it is. */
#include "router/detect_id.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <string.h>

enum { MAX_RULES = 128, MATCH_LIMIT = 20000, LONGEST = 40, WINDOW = 96 };
enum { RANK_ID = 2 };

static struct {
    struct detect_type types[MAX_RULES];
    pcre2_code *code[MAX_RULES];
    uint8_t begins[MAX_RULES][32]; /* a bit for each byte that what it matches may begin with */
    pcre2_match_context *limits;
    /* pcre2_jit_match where every pattern is compiled to machine code, else pcre2_match: the same answers. */
    int (*match)(const pcre2_code *, PCRE2_SPTR, PCRE2_SIZE, PCRE2_SIZE, uint32_t, pcre2_match_data *,
        pcre2_match_context *);
    size_t n_types;
    size_t type_of[MAX_RULES];
    uint16_t rules[32][MAX_RULES + 1]; /* of a length, ended by n_detect_ids */
} table;

static size_t type_add(const struct detect_id *rule)
{
    for (size_t i = 0; i < table.n_types; i++)
        if (strcmp(table.types[i].name, rule->type) == 0)
            return i;
    table.types[table.n_types] =
        (struct detect_type){rule->type, rule->category, "a number of a person or firm", RANK_ID};
    return table.n_types++;
}

/* With which bytes can a match begin? The compiled pattern tells where it was studied. */
static int begins_make(const char *pattern, uint8_t begins[32], struct error *err)
{
    int code;
    size_t offset;
    const uint8_t *bitmap = NULL;
    uint32_t kind = 0, first = 0;
    pcre2_code *studied = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, 0, &code, &offset, NULL);
    if (!studied)
        return error_set(err, ERROR_INTERNAL, "the detector's pattern %s is wrong at %zu", pattern, offset);
    memset(begins, 0xFF, 32);
    if (pcre2_pattern_info(studied, PCRE2_INFO_FIRSTBITMAP, &bitmap) == 0 && bitmap) {
        memcpy(begins, bitmap, 32);
    } else if (pcre2_pattern_info(studied, PCRE2_INFO_FIRSTCODETYPE, &kind) == 0 && kind == 1 &&
               pcre2_pattern_info(studied, PCRE2_INFO_FIRSTCODEUNIT, &first) == 0) {
        memset(begins, 0, 32);
        for (unsigned c = first & ~0x20u; c <= (first | 0x20u);
             c += 0x20) /* small or capital: it does not tell */
            begins[c / 8 % 32] = (uint8_t)(begins[c / 8 % 32] | 1u << c % 8);
    }
    pcre2_code_free(studied);
    return 0;
}

int detect_id_init(struct error *err)
{
    table.limits = pcre2_match_context_create(NULL);
    if (!table.limits || n_detect_ids > MAX_RULES)
        return error_set(err, ERROR_INTERNAL, "the detector's numbers do not fit");
    pcre2_set_match_limit(table.limits, MATCH_LIMIT);
    table.match = pcre2_jit_match;
    for (size_t i = 0; i < n_detect_ids; i++) {
        char pattern[512];
        int code;
        size_t offset;
        snprintf(pattern, sizeof pattern, "(?:%s)(?![A-Za-z0-9_])", detect_ids[i].pattern);
        table.code[i] = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
            PCRE2_ANCHORED | PCRE2_NO_START_OPTIMIZE, &code, &offset, NULL);
        if (!table.code[i])
            return error_set(err, ERROR_INTERNAL, "the detector's pattern for %s is wrong at %zu",
                detect_ids[i].type, offset);
        if (pcre2_jit_compile(table.code[i], PCRE2_JIT_COMPLETE) != 0)
            table.match = pcre2_match;
        int rc = begins_make(pattern, table.begins[i], err);
        if (rc)
            return rc;
        table.type_of[i] = type_add(&detect_ids[i]);
    }
    for (size_t length = 0; length < 32; length++) {
        size_t n = 0;
        for (size_t i = 0; i < n_detect_ids; i++)
            if (detect_ids[i].lengths >> length & 1)
                table.rules[length][n++] = (uint16_t)i;
        table.rules[length][n] = (uint16_t)n_detect_ids;
    }
    return 0;
}

const struct detect_type *detect_id_type(size_t index)
{
    return index < table.n_types ? &table.types[index] : NULL;
}

size_t detect_id_types(void)
{
    return table.n_types;
}

/* Do the bytes begin with the word, ASCII case ignored? */
static bool begins_nocase(struct str text, struct str word)
{
    if (text.len < word.len)
        return false;
    for (size_t i = 0; i < word.len; i++) {
        char c = text.data[i];
        if ((detect_is_upper(c) ? (char)(c + 32) : c) != word.data[i])
            return false;
    }
    return true;
}

/* One of the comma-separated words begins a word within the bytes before. */
static bool announced(const struct detect_scan *s, size_t at, const char *words)
{
    enum { BEFORE = 48 };
    struct str before = str_slice(s->text, at > BEFORE ? at - BEFORE : 0, at);
    for (struct str rest = str_from(words), word; str_split(&rest, ',', &word);)
        for (size_t i = 0; i + word.len <= before.len; i++)
            if (begins_nocase(str_slice(before, i, before.len), word) &&
                (i == 0 || !detect_is_alnum(before.data[i - 1])) &&
                (word.len > 4 || i + word.len == before.len || !detect_is_alpha(before.data[i + word.len])))
                return true;
    return false;
}

static void rule_check(struct detect_scan *s, const struct detect_id *rule, size_t index, size_t at)
{
    if (!s->match && !(s->match = pcre2_match_data_create(2, NULL))) {
        s->rc = error_set(s->err, ERROR_MEMORY, "no memory for the detector");
        return;
    }
    size_t most = s->text.len - at < WINDOW ? s->text.len : at + WINDOW;
    int rc = table.match(table.code[index], (PCRE2_SPTR)s->text.data, most, at, 0, s->match, table.limits);
    if (rc < 0 && rc != PCRE2_ERROR_NOMATCH)
        s->rc = error_set(s->err, ERROR_LIMIT, "the pattern of %s gave up (%d)", rule->type, rc);
    if (rc < 0)
        return;
    size_t end = pcre2_get_ovector_pointer(s->match)[1], n = 0;
    char value[LONGEST + 1];
    for (size_t i = at; i < end && n < LONGEST; i++) {
        char c = s->text.data[i];
        if (detect_is_alnum(c))
            value[n++] = detect_is_lower(c) ? (char)(c - 32) : c;
    }
    value[n] = '\0';
    if (rule->check && !rule->check(value, n))
        return;
    double score = announced(s, at, rule->words) ? rule->announced : rule->alone;
    detect_add(s, &table.types[table.type_of[index]], at, end,
        detect_made_up((struct str){value, n}) && score >= DETECT_SURE ? 0.2 : score);
}

/* A word without a digit may begin a number where one follows: "AA 12 34 56 B", "HH-AB 1234". */
static bool number_follows(const struct detect_scan *s, size_t at, size_t run)
{
    enum { LONGEST_PREFIX = 5, PLATE = 3 };
    if (run > LONGEST_PREFIX)
        return false;
    size_t i = at + run + 1;
    if (detect_is_digit(detect_byte(s, i)))
        return true;
    for (size_t letters = 0; run <= PLATE && letters < 2 && detect_is_alpha(detect_byte(s, i)); letters++)
        i++;
    return i > at + run + 1 && run <= PLATE && detect_is_digit(detect_byte(s, i + 1));
}

void detect_id_at(struct detect_scan *s, size_t at)
{
    size_t run = 0;
    bool digits = false;
    for (; run < 32 && detect_is_alnum(detect_byte(s, at + run)); run++)
        digits = digits || detect_is_digit(s->text.data[at + run]);
    if (run == 32 || (!digits && !number_follows(s, at, run)))
        return;
    unsigned char first = (unsigned char)s->text.data[at];
    for (const uint16_t *rule = table.rules[run]; *rule < n_detect_ids && s->rc == 0; rule++)
        if (table.begins[*rule][first / 8] >> first % 8 & 1)
            rule_check(s, &detect_ids[*rule], *rule, at);
}
