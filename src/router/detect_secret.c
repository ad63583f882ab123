/* Secrets: keywords first, then the pattern at that place, then what a secret must look like. */
#include "router/detect_secret.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <math.h>
#include <pcre2.h>
#include <string.h>

#include "router/detect_words.h"

static const struct detect_type private_key = {"PRIVATE_KEY", ROUTER_SECRET, "a private key", 10};
const struct detect_family detect_keys_family = {"structured", DETECT_TYPES(&private_key)};

enum { MOST_KEY = 64 * 1024 };
enum { RANK_GENERIC = 5, RANK_VALUE = 7, RANK_TOKEN = 9 };
enum { MAX_RULES = 320, MAX_WORDS = 600, MAX_USES = 640, MATCH_LIMIT = 20000 };

/* Made once. A word is used by a run of rules:  use[first[w]] .. use[first[w + 1] - 1]  */
static struct {
    struct detect_type types[MAX_RULES];
    pcre2_code *code[MAX_RULES];
    pcre2_match_context *limits;
    struct detect_words words;
    struct str word[MAX_WORDS];
    size_t n_words;
    uint16_t first[MAX_WORDS + 1], use[MAX_USES];
} table;

/* Not among the rules: the first word, for "-----BEGIN ... PRIVATE KEY". */
enum { WORD_BEGIN = 0 };
static const char begin_word[] = "-----begin";

static int word_add(struct str word, size_t *index, struct error *err)
{
    for (*index = 0; *index < table.n_words; ++*index)
        if (str_eq(table.word[*index], word))
            return 0;
    if (table.n_words == MAX_WORDS)
        return error_set(err, ERROR_INTERNAL, "the detector has more than %d keywords", MAX_WORDS);
    table.word[table.n_words++] = word;
    return 0;
}

/* Two passes: the words of all rules, then for each word the rules that use it. */
static int uses_make(struct error *err)
{
    size_t n_uses = 0, index;
    int rc = word_add(str_from(begin_word), &index, err);
    for (size_t i = 0; i < n_detect_secrets; i++)
        for (struct str rest = str_from(detect_secrets[i].words), word;
             rc == 0 && str_split(&rest, ',', &word);)
            rc = word_add(word, &index, err);
    for (size_t w = 0; w < table.n_words && rc == 0; w++) {
        table.first[w] = (uint16_t)n_uses;
        for (size_t i = 0; i < n_detect_secrets; i++)
            for (struct str rest = str_from(detect_secrets[i].words), word; str_split(&rest, ',', &word);)
                if (str_eq(word, table.word[w])) {
                    if (n_uses == MAX_USES)
                        return error_set(err, ERROR_INTERNAL, "the detector's rules use too many keywords");
                    table.use[n_uses++] = (uint16_t)i;
                }
    }
    table.first[table.n_words] = (uint16_t)n_uses;
    return rc;
}

static int pattern_compile(const struct detect_secret *rule, pcre2_code **out, struct error *err)
{
    char pattern[1024];
    /* The secret ends where it says: no word goes on behind it. */
    snprintf(pattern, sizeof pattern, "%s(?![A-Za-z0-9_])", rule->pattern);
    int code;
    size_t offset;
    /* Without the optimizations: they look for a character far ahead, at every place. */
    *out = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_ANCHORED | PCRE2_NO_START_OPTIMIZE,
        &code, &offset, NULL);
    if (!*out)
        return error_set(
            err, ERROR_INTERNAL, "the detector's pattern for %s is wrong at %zu", rule->type, offset);
    /* Without executable memory PCRE2 interprets: slower, the same answers. */
    (void)pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE);
    return 0;
}

/* n log2 n of how often a byte may come; more often it is computed. */
enum { TIMES = 256 };
static double n_log_n[TIMES];

static void n_log_n_make(void)
{
    for (size_t n = 1; n < TIMES; n++)
        n_log_n[n] = (double)n * log2((double)n);
}

int detect_secret_init(struct error *err)
{
    if (n_detect_secrets > MAX_RULES)
        return error_set(err, ERROR_INTERNAL, "the detector has more than %d rules", MAX_RULES);
    table.limits = pcre2_match_context_create(NULL);
    if (!table.limits)
        return error_set(err, ERROR_MEMORY, "no memory for the detector");
    pcre2_set_match_limit(table.limits, MATCH_LIMIT);
    n_log_n_make();
    for (size_t i = 0; i < n_detect_secrets; i++) {
        const struct detect_secret *rule = &detect_secrets[i];
        int rank = rule->kind == DETECT_TOKEN ? RANK_TOKEN : RANK_VALUE;
        if (str_starts(str_from(rule->type), STR("GENERIC_")))
            rank = RANK_GENERIC;
        table.types[i] = (struct detect_type){rule->type, ROUTER_SECRET, "a secret", rank};
        int rc = pattern_compile(rule, &table.code[i], err);
        if (rc)
            return rc;
    }
    int rc = uses_make(err);
    if (rc == 0)
        rc = detect_words_build(&table.words, table.word, table.n_words, err);
    if (rc == 0)
        detect_words_settle(&table.words);
    return rc;
}

const struct detect_type *detect_secret_type(size_t index)
{
    return index < n_detect_secrets ? &table.types[index] : NULL;
}

/* Shannon's entropy in bits per byte: log2 of the length less what equal bytes take from it. */
static double entropy(struct str s)
{
    unsigned count[256] = {0};
    double taken = 0;
    for (size_t i = 0; i < s.len; i++)
        count[(unsigned char)s.data[i]]++;
    for (size_t i = 0; i < s.len; i++) {
        unsigned *n = &count[(unsigned char)s.data[i]];
        taken += *n < TIMES ? n_log_n[*n] : *n * log2(*n);
        *n = 0; /* each byte once */
    }
    return log2((double)s.len) - taken / (double)s.len;
}

static int pattern_match(struct detect_scan *s, size_t rule, size_t at, size_t *start, size_t *end)
{
    if (!s->match && !(s->match = pcre2_match_data_create(2, NULL)))
        return s->rc = error_set(s->err, ERROR_MEMORY, "no memory for the detector");
    int rc =
        pcre2_match(table.code[rule], (PCRE2_SPTR)s->text.data, s->text.len, at, 0, s->match, table.limits);
    if (rc < 0 && rc != PCRE2_ERROR_NOMATCH)
        return s->rc = error_set(
                   s->err, ERROR_LIMIT, "the pattern of %s gave up (%d)", detect_secrets[rule].type, rc);
    if (rc < 0)
        return ERROR_NOT_FOUND;
    size_t *found = pcre2_get_ovector_pointer(s->match);
    *start = found[0];
    *end = found[1];
    return 0;
}

/* Names of a program read as words: "XXH3_SECRET_SIZE_MIN", "Key128Bit.name"; a key's letters come in short
 * runs. */
static bool made_of_words(struct str s)
{
    size_t runs = 0, letters = 0;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i], before = i > 0 ? s.data[i - 1] : ' ';
        if (!detect_is_alpha(c))
            continue;
        letters++;
        runs += !detect_is_alpha(before) || (detect_is_lower(before) && detect_is_upper(c)) ||
                (detect_is_upper(before) && detect_is_lower(c) && i > 1 && detect_is_upper(s.data[i - 2]));
    }
    return letters >= 3 * runs;
}

/* "m{h)o}": a bracket is closed by one of another kind. One that is closed without having been opened, or
 * never, may belong to what stands around. */
static bool brackets_cross(struct str s)
{
    char open[160]; /* the pattern's values are shorter */
    size_t depth = 0;
    for (size_t i = 0; i < s.len && depth < sizeof open; i++) {
        const char *closed = s.data[i] ? strchr("()[]{}", s.data[i]) : NULL;
        if (!closed)
            continue;
        if (strchr("([{", *closed)) {
            open[depth++] = closed[1];
        } else if (depth > 0 && open[--depth] != *closed) {
            return true;
        }
    }
    return false;
}

static void secret_check(struct detect_scan *s, size_t rule, size_t at)
{
    size_t start = at, end = at;
    if (pattern_match(s, rule, at, &start, &end))
        return;
    struct str secret = str_slice(s->text, start, end);
    if (detect_secrets[rule].entropy > 0 && entropy(secret) < detect_secrets[rule].entropy)
        return;
    if (table.types[rule].rank == RANK_GENERIC && detect_secrets[rule].kind == DETECT_VALUE &&
        made_of_words(secret))
        return;
    if ((detect_secrets[rule].kind == DETECT_QUOTED || detect_secrets[rule].kind == DETECT_COMPARED) &&
        str_find(secret, STR("://")) != SIZE_MAX)
        return;
    if (detect_secrets[rule].kind == DETECT_CROSSED && !brackets_cross(secret))
        return;
    if (!detect_placeholder(secret))
        detect_add(s, &table.types[rule], start, end, detect_secrets[rule].kind == DETECT_TOKEN ? 1.0 : 0.8);
}

/* From the end of a keyword over the rest of its name and an assignment to the value: SIZE_MAX if there is
 * none. heroku|_api_key" => "    api|Key = '    token|>    Password|" value="    --api-key| "    */
static size_t value_begin(const struct detect_scan *s, size_t at, bool *quoted)
{
    size_t from = at, blank = 0;
    while (at - from < 24 &&
           (detect_is_alnum(detect_byte(s, at)) || detect_is_one_of(detect_byte(s, at), "_-. \t")))
        blank = detect_is_one_of(detect_byte(s, at++), " \t") ? blank + 1 : 0;
    for (from = at; at - from < 4 && detect_is_one_of(detect_byte(s, at), "'\"`]) \t\n\r\\"); at++)
        ;
    bool only_quote = blank > 0 && at > from;
    if (str_is(str_slice(s->text, at, at + 6), "value="))
        at += 5;
    for (from = at; at - from < 3 && detect_is_one_of(detect_byte(s, at), "=:>|?,<!"); at++)
        ;
    if (at == from && !only_quote)
        return SIZE_MAX;
    *quoted = at == from;
    for (from = at; at - from < 6 && detect_is_one_of(detect_byte(s, at), "'\"`= \t\n\r\\@"); at++)
        *quoted = detect_is_one_of(detect_byte(s, at), "'\"`");
    return at;
}

/* From the beginning of a keyword back over the rest of its name and a comparison to the value in quotes:
 * SIZE_MAX if there is none.   if ("value" === my_|password   */
static size_t compared_begin(const struct detect_scan *s, size_t at)
{
    enum { NAME = 40, VALUE = 150 };
    struct str text = s->text;
    size_t from = at;
    while (at > 0 && from - at < NAME &&
           (detect_is_alnum(text.data[at - 1]) || detect_is_one_of(text.data[at - 1], "_.$")))
        at--;
    while (at > 0 && from - at < NAME + 4 && text.data[at - 1] == ' ')
        at--;
    from = at;
    while (at > 0 && from - at < 3 && detect_is_one_of(text.data[at - 1], "=!"))
        at--;
    if (from - at < 2)
        return SIZE_MAX;
    while (at > 0 && from - at < 6 && text.data[at - 1] == ' ')
        at--;
    if (at == 0 || !detect_is_one_of(text.data[at - 1], "'\"`"))
        return SIZE_MAX;
    char quote = text.data[--at];
    for (from = at; at > 0 && from - at < VALUE; at--)
        if (text.data[at - 1] == quote)
            return at;
    return SIZE_MAX;
}

/* Where the token begins whose word was found at `at`; SIZE_MAX if nothing can begin there. */
static size_t token_begin(const struct detect_scan *s, const struct detect_secret *rule, size_t at)
{
    if (rule->back == DETECT_BACK_DIGITS) {
        size_t from = at;
        while (from > 0 && at - from < 17 && detect_is_digit(s->text.data[from - 1]))
            from--;
        at = from;
    } else if (rule->back > 0) {
        if (at < (size_t)rule->back)
            return SIZE_MAX;
        at -= (size_t)rule->back;
    }
    return detect_begins(s, at) ? at : SIZE_MAX;
}

/* ---- "-----BEGIN ... PRIVATE KEY-----" to its END; without one, as far as base64 goes. ---- */
static bool key_header(const struct detect_scan *s, size_t at, size_t *end)
{
    struct str head = str_slice(s->text, at, at + 100);
    size_t key = str_find(head, STR("PRIVATE KEY"));
    size_t line = str_find_char(head, '\n');
    if (key == SIZE_MAX || (line != SIZE_MAX && line < key))
        return false;
    *end = at + key + 11;
    return true;
}

/* The end of the next "KEY-----" from `at` on. Remembered, so that many BEGINs cost one search. */
static size_t key_footer(struct detect_scan *s, size_t at)
{
    static const struct str ends = {"-----END", 8};
    if (s->key_end == SIZE_MAX || s->key_end > at)
        return s->key_end;
    size_t found = str_find(str_slice(s->text, at, s->text.len), ends);
    s->key_end = SIZE_MAX;
    if (found == SIZE_MAX)
        return SIZE_MAX;
    size_t from = at + found + ends.len;
    size_t dashes = str_find(str_slice(s->text, from, from + 80), STR("KEY"));
    size_t stop = dashes == SIZE_MAX ? from : from + dashes + 3;
    while (stop - from < 120 && detect_is_one_of(detect_byte(s, stop), " BLOCK-"))
        stop++;
    return s->key_end = stop;
}

/* The footer is missing or far: the key goes as far as its base64 and headers do, up to the next dashed line;
 * and it has a long line, unlike talk about keys. `body` itself if there is no key. */
static size_t key_unfinished_end(const struct detect_scan *s, size_t body)
{
    enum { LONG_LINE = 32 };
    size_t end = body, last = body, run = 0, longest = 0;
    while (detect_byte(s, end) == '-')
        end++;
    for (char c; end - body < MOST_KEY; end++) {
        c = detect_byte(s, end);
        if (c == '-' && detect_byte(s, end + 1) == '-')
            break;
        bool base64 = detect_is_alnum(c) || detect_is_one_of(c, "+/=");
        if (!base64 && !detect_is_one_of(c, "-:,\\ \t\r\n"))
            break;
        run = base64 ? run + 1 : 0;
        longest = run > longest ? run : longest;
        last = base64 ? end + 1 : last;
    }
    return longest >= LONG_LINE ? last : body;
}

static void private_key_check(struct detect_scan *s, size_t at)
{
    size_t body;
    if (!key_header(s, at, &body))
        return;
    size_t end = key_footer(s, body);
    if (end == SIZE_MAX || end - at > MOST_KEY)
        end = key_unfinished_end(s, body);
    if (end - body >= 48)
        detect_add(s, &private_key, at, end, 1.0);
}

static void word_found(struct detect_scan *s, size_t word, size_t start, size_t end)
{
    if (word == WORD_BEGIN) {
        private_key_check(s, start);
        return;
    }
    bool quoted = false;
    size_t value = SIZE_MAX - 1; /* not looked for yet */
    for (size_t i = table.first[word]; i < table.first[word + 1] && s->rc == 0; i++) {
        const struct detect_secret *rule = &detect_secrets[table.use[i]];
        size_t at;
        if (rule->kind == DETECT_TOKEN) {
            at = token_begin(s, rule, start);
        } else if (rule->kind == DETECT_COMPARED) {
            at = compared_begin(s, start);
        } else {
            if (value == SIZE_MAX - 1)
                value = value_begin(s, end, &quoted);
            bool fits = rule->kind == DETECT_QUOTED ? quoted : rule->kind != DETECT_CROSSED || !quoted;
            at = fits ? value : SIZE_MAX;
            /* A maker's name stands as a word of its own: no "okta" in "rookTable". */
            if (table.types[table.use[i]].rank == RANK_VALUE && start > 0 &&
                detect_is_lower(s->text.data[start]) && detect_is_lower(s->text.data[start - 1]))
                at = SIZE_MAX;
        }
        if (at < s->text.len)
            secret_check(s, table.use[i], at);
    }
}

static bool words_found(void *ctx, uint16_t found, size_t at)
{
    struct detect_scan *s = ctx;
    for (uint16_t word = found; word != DETECT_NO_WORD; word = table.words.shorter[word])
        word_found(s, word, at - table.word[word].len, at);
    return s->rc == 0;
}

void detect_secret_scan(struct detect_scan *s)
{
    if (s->rc == 0)
        (void)detect_words_each(&table.words, s->text, words_found, s);
    pcre2_match_data_free(s->match);
    s->match = NULL;
}
