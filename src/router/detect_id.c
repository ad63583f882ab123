/* Numbers of people and firms: the length of the first run chooses the rules worth a look, then the pattern,
 * then what the value proves, then whether a word before it says what it is. */
#include "router/detect_id.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <string.h>

enum { MAX_RULES = 128, MATCH_LIMIT = 20000, LONGEST = 40, WINDOW = 96, RUN_MOST = 32 };
enum { NO_RULE = 0xFF, POOL = 1 << 16 };
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
    uint32_t least[MAX_RULES]; /* bytes that a match has at least */
    bool of_digits[MAX_RULES]; /* it matches digits and what chain_length passes over, nothing else */
    /* By the length of the first run and its first byte: rule[first[length][byte]] and on, ended by NO_RULE.
     */
    uint16_t first[RUN_MOST][256];
    uint8_t rule[POOL];
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

/* With which bytes can a match begin, and how many has it at least? The compiled pattern tells where it was
 * studied. */
static int studied_read(const char *pattern, uint8_t begins[32], uint32_t *least, struct error *err)
{
    int code;
    size_t offset;
    const uint8_t *bitmap = NULL;
    uint32_t kind = 0, first = 0;
    pcre2_code *studied = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, 0, &code, &offset, NULL);
    if (!studied)
        return error_set(err, ERROR_INTERNAL, "the detector's pattern %s is wrong at %zu", pattern, offset);
    if (pcre2_pattern_info(studied, PCRE2_INFO_MINLENGTH, least) != 0)
        *least = 0;
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

/* Equal lists are kept once: most bytes begin what their neighbours do. */
static int lists_make(struct error *err)
{
    size_t n = 0;
    for (size_t length = 0; length < RUN_MOST; length++)
        for (size_t byte = 0; byte < 256; byte++) {
            size_t from = n;
            for (size_t i = 0; i < n_detect_ids; i++)
                if (detect_ids[i].lengths >> length & 1 && table.begins[i][byte / 8] >> byte % 8 & 1) {
                    if (n + 2 > POOL)
                        return error_set(err, ERROR_INTERNAL, "the detector's numbers do not fit");
                    table.rule[n++] = (uint8_t)i;
                }
            table.rule[n++] = NO_RULE;
            size_t before = byte > 0 ? table.first[length][byte - 1] : from;
            bool same = before < from && from - before >= n - from &&
                        memcmp(table.rule + before, table.rule + from, n - from) == 0;
            table.first[length][byte] = (uint16_t)(same ? before : from);
            n = same ? from : n;
        }
    return 0;
}

/* Its bytes may be digits, signs of the chain, and what regular expressions are written with. */
static bool is_of_digits(const char *pattern)
{
    return pattern[strspn(pattern, "0123456789[]{}(),?:|\\^!<>-/.+ ")] == '\0' && !strstr(pattern, "\\(") &&
           !strstr(pattern, "\\)");
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
        int rc = studied_read(pattern, table.begins[i], &table.least[i], err);
        if (rc)
            return rc;
        table.of_digits[i] = is_of_digits(detect_ids[i].pattern);
        table.type_of[i] = type_add(&detect_ids[i]);
    }
    return lists_make(err);
}

const struct detect_type *detect_id_type(size_t index)
{
    return index < table.n_types ? &table.types[index] : NULL;
}

size_t detect_id_types(void)
{
    return table.n_types;
}

/* What stands before a number: in lower case, and where words begin. Made when a match first asks. */
enum { BEFORE = 48 };
struct before {
    bool made;
    size_t len, n_words;
    char text[BEFORE];
    uint8_t words[BEFORE];
};

static void before_make(const struct detect_scan *s, size_t at, struct before *b)
{
    struct str before = str_slice(s->text, at > BEFORE ? at - BEFORE : 0, at);
    *b = (struct before){.made = true, .len = before.len};
    for (size_t i = 0; i < before.len; i++) {
        char c = before.data[i];
        b->text[i] = detect_is_upper(c) ? (char)(c + 32) : c;
        if (i == 0 || !detect_is_alnum(before.data[i - 1]))
            b->words[b->n_words++] = (uint8_t)i;
    }
}

/* One of the comma-separated words begins a word before. */
static bool announced(const struct detect_scan *s, size_t at, const char *words, struct before *b)
{
    if (!b->made)
        before_make(s, at, b);
    for (struct str rest = str_from(words), word; str_split(&rest, ',', &word);)
        for (size_t k = 0; k < b->n_words; k++) {
            size_t from = b->words[k], to = from + word.len;
            if (to <= b->len && b->text[from] == word.data[0] &&
                memcmp(b->text + from, word.data, word.len) == 0 &&
                (word.len > 4 || to == b->len || !detect_is_alpha(b->text[to])))
                return true;
        }
    return false;
}

static void rule_check(
    struct detect_scan *s, const struct detect_id *rule, size_t index, size_t at, struct before *before)
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
    double score = rule->alone;
    if (rule->announced != rule->alone && announced(s, at, rule->words, before))
        score = rule->announced;
    const bool fake = detect_known_value((struct str){value, n});
    detect_add(s, &table.types[table.type_of[index]], at, end, fake && score >= DETECT_SURE ? 0.2 : score);
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

/* How far digits go on, with signs between them: a match of digits is no longer. */
static size_t chain_length(const struct detect_scan *s, size_t at)
{
    static const bool goes_on[256] = {
        [' '] = true, ['-'] = true, ['.'] = true, ['/'] = true, [':'] = true, ['+'] = true};
    size_t end = at;
    for (size_t i = at; i - at < WINDOW; i++) {
        char c = detect_byte(s, i);
        if (detect_is_digit(c))
            end = i + 1;
        else if (!goes_on[(unsigned char)c])
            break;
    }
    return end - at;
}

static uint64_t behind_of(char c)
{
    return c == ' '   ? DETECT_BLANK
           : c == '-' ? DETECT_DASH
           : c == '/' ? DETECT_SLASH
           : c == '.' ? DETECT_DOT
                      : 0;
}

void detect_id_at(struct detect_scan *s, size_t at)
{
    uint64_t digits = byte_bits(s->map, BYTE_DIGIT, at);
    uint64_t letters = byte_bits(s->map, BYTE_LOWER, at) | byte_bits(s->map, BYTE_UPPER, at);
    size_t run = byte_first(~(digits | letters) | (uint64_t)1 << 63);
    if (run >= RUN_MOST || (!(digits & (((uint64_t)1 << run) - 1)) && !number_follows(s, at, run)))
        return;
    size_t chain = 0;
    uint64_t behind = behind_of(detect_byte(s, at + run));
    struct before before;
    before.made = false;
    const uint8_t *rule = table.rule + table.first[run][(unsigned char)s->text.data[at]];
    for (; *rule != NO_RULE && s->rc == 0; rule++) {
        uint64_t wants = detect_ids[*rule].lengths & DETECT_BEHIND;
        if (wants != 0 && !(wants & behind))
            continue;
        if (table.of_digits[*rule] && chain == 0)
            chain = chain_length(s, at);
        if (!table.of_digits[*rule] || chain >= table.least[*rule])
            rule_check(s, &detect_ids[*rule], *rule, at, &before);
    }
}
