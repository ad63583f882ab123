/* Which tokenizer.ggml.pre a tokenizer.json means: the expressions that cut its text are the key. They are
 * those of the models' own files. */
#include <string.h>

#include "train/hf/tokens.h"

#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define LETTERS "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define SIGNS " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
#define SPACES "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(end)                                                                                           \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" end "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*" end "|"
#define SIGNS_OR_SLASH " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|"

/* DeepSeek LLM's: cased letters of all scripts, signs, and what is written without blanks. */
#define CASED_LETTERS                                                                                        \
    "A-Za-z\u00B5\u00C0-\u00D6\u00D8-\u00F6\u00F8-\u01BA\u01BC-\u01BF\u01C4-\u0293\u0295-\u02AF\u0370"       \
    "-\u0373\u0376\u0377\u037B-\u037D\u037F\u0386\u0388-\u038A\u038C\u038E-\u03A1\u03A3-\u03F5\u03F7-"       \
    "\u0481\u048A-\u052F\u0531-\u0556\u10A0-\u10C5\u13A0-\u13F5\u13F8-\u13FD\u1C90-\u1CBA\u1CBD-"            \
    "\u1CBF\u1D00-\u1D2B\u1D6B-\u1D77\u1D79-\u1D9A\u1E00-\u1F15\u1F18-\u1F1D\u1F20-\u1F45\u1F48-"            \
    "\u1F4D\u1F50-\u1F57\u1F59\u1F5B\u1F5D\u1F5F-\u1F7D\u1F80-\u1FB4\u1FB6-\u1FBC\u1FBE\u1FC2-\u1FC4"        \
    "\u1FC6-\u1FCC\u1FD0-\u1FD3\u1FD6-\u1FDB\u1FE0-\u1FEC\u1FF2-\u1FF4\u1FF6-\u1FFC\u2102\u2107\u210A"       \
    "-\u2113\u2115\u2119-\u211D\u2124\u2126\u2128\u212A-\u212D\u212F-\u2134\u2139\u213C-\u213F\u2145-"       \
    "\u2149\u214E\u2183\u2184\u2C00-\u2C7B\u2C7E-\u2CE4\u2CEB-\u2CEE\u2CF2\u2CF3\uA640-\uA66D\uA680-"        \
    "\uA69B\uA722-\uA76F\uA771-\uA787\uA78B-\uA78E\uAB70-\uABBF\uFB00-\uFB06\uFB13-\uFB17\uFF21-"            \
    "\uFF3A\uFF41-\uFF5A\U00010400-\U0001044F\U000104B0-\U000104D3\U000104D8-\U000104FB\U00010C80-"          \
    "\U00010CB2\U00010CC0-\U00010CF2\U000118A0-\U000118DF\U0001E900-\U0001E943"
#define WIDE_SIGNS "!-/:-~\uFF01-\uFF0F\uFF1A-\uFF5E\u2018-\u201F\u3000-\u3002"
#define WIDE_LETTERS "\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF"

/* Steps in their order: an expression, or one of these. */
#define DIGITS "digits" /* each digit alone */
#define WORDS "words"   /* GPT-2's own expression */

enum { STEPS_MAX = 6, NAMES_MAX = 12 };

static const struct pre {
    const char *names[NAMES_MAX]; /* the first is what a tokenizer.json becomes; all cut alike */
    const char *steps[STEPS_MAX];
    int ignore_merges; /* 0, 1; -1: either, and 0 when it is made */
} pres[] = {
    {{"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"},
        {CONTRACTION "|" LETTERS "\\p{N}{1,3}|" SIGNS SPACES}, 1},
    {{"dbrx", "smaug-bpe", "glm4", "chatglm-bpe"}, {CONTRACTION "|" LETTERS "\\p{N}{1,3}|" SIGNS SPACES}, 0},
    {{"qwen2", "deepseek-r1-qwen", "kormo", "megrez", "stablelm2", "hunyuan", "solar-open"},
        {CONTRACTION "|" LETTERS "\\p{N}|" SIGNS SPACES}, -1},
    {{"qwen35"},
        {CONTRACTION
            "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" SPACES},
        -1},
    {{"gpt-2", "phi-2", "mpt", "olmo", "jais", "exaone4", "trillion", "mellum", "gigachat", "a.x-4.0"},
        {WORDS}, -1},
    {{"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}, {DIGITS, WORDS},
        -1},
    {{"gpt-4o", "llama4", "kanana2", "minimax-m2"},
        {CASED(CONTRACTION "?") "\\p{N}{1,3}|" SIGNS_OR_SLASH SPACES}, -1},
    {{"tekken"}, {CASED("") "\\p{N}|" SIGNS_OR_SLASH SPACES}, -1},
    {{"deepseek-v3", "hunyuan-dense", "joyai-llm"},
        {"\\p{N}{1,3}", "[\xe4\xb8\x80-\xe9\xbe\xa5\xe3\x81\x80-\xe3\x82\x9f\xe3\x82\xa0-\xe3\x83\xbf]+",
            "[!\"#$%&'()*+,\\-./"
            ":;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
            " ?[\\p{P}\\p{S}]+[\\r\\n]*|" SPACES},
        -1},
    {{"deepseek-llm"},
        {"[\r\n]", "\\s?[" CASED_LETTERS "]+", "\\s?[" WIDE_SIGNS "]+", "\\s+$", "[" WIDE_LETTERS "]+",
            DIGITS},
        -1},
    {{"bailingmoe"},
        {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| "
         "?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|"
         "\\s+(?!\\S)|\\s+"},
        -1},
};

/* ---- From tokenizer.json ---- */
struct steps {
    struct str list[STEPS_MAX];
    size_t n;
    bool byte_level;
};

static int unknown(const char *what, struct str value, struct error *err)
{
    return error_set(err, ERROR_UNSUPPORTED,
        "tokenizer.json cuts text by %s '" STR_FMT
        "', which is not known here: name what it is like by --pre",
        what, STR_ARG(str_slice(value, 0, 300)));
}

static int step_add(struct steps *s, struct str step, struct error *err)
{
    if (s->n == STEPS_MAX)
        return unknown("more steps than", STR("any other"), err);
    s->list[s->n++] = step;
    return 0;
}

static bool is_true(const struct json_item *object, const char *key, bool fallback)
{
    const struct json_item *item = hf_given(object, key);
    return item ? item->kind == JSON_ITEM_TRUE : fallback;
}

/* What matches is a piece, what lies between is one; said in either of two ways. */
static int split_read(const struct json_item *step, struct steps *s, struct error *err)
{
    const struct json_item *pattern = json_item_get(step, "pattern");
    const struct str behavior = json_item_text(step, "behavior"), text = json_item_text(pattern, "Regex");
    const bool inverted = is_true(step, "invert", false);
    if (text.len == 0)
        return unknown("a pattern that is no expression,", json_item_text(pattern, "String"), err);
    if (!(str_is(behavior, "Isolated") && !inverted) && !(str_is(behavior, "Removed") && inverted))
        return unknown("an expression with the behavior", behavior, err);
    return step_add(s, text, err);
}

static int steps_read(const struct json_item *step, struct steps *s, struct error *err)
{
    const struct str type = json_item_text(step, "type");
    int rc = 0;
    if (str_is(type, "Sequence")) {
        json_item_each(part, json_item_get(step, "pretokenizers")) {
            if (str_is(json_item_text(part, "type"), "Sequence"))
                return unknown("a sequence in a sequence,", type, err);
            rc = rc ? rc : steps_read(part, s, err);
        }
        return rc;
    }
    if (str_is(type, "Split"))
        return split_read(step, s, err);
    if (str_is(type, "Digits") && is_true(step, "individual_digits", false))
        return step_add(s, STR(DIGITS), err);
    if (!str_is(type, "ByteLevel"))
        return unknown(
            type.len > 0 ? "a step of the type" : "nothing ('pre_tokenizer' is missing)", type, err);
    if (is_true(step, "add_prefix_space", true) && hf_given(step, "add_prefix_space"))
        return unknown("bytes with", STR("add_prefix_space"), err);
    s->byte_level = true;
    return is_true(step, "use_regex", true) ? step_add(s, STR(WORDS), err) : 0;
}

static bool is_alike(const struct pre *p, const struct steps *s)
{
    for (size_t i = 0; i < STEPS_MAX; i++)
        if (i < s->n ? !p->steps[i] || !str_is(s->list[i], p->steps[i]) : p->steps[i] != NULL)
            return false;
    return true;
}

static const char *name_of(const struct pre *p, const char *usual)
{
    for (size_t i = 0; usual && i < NAMES_MAX && p->names[i]; i++)
        if (strcmp(p->names[i], usual) == 0)
            return usual;
    return p->names[0];
}

int hf_pre_find(const struct json_item *root, const char *usual, const char **out, struct error *err)
{
    struct steps s = {0};
    const bool ignore = is_true(json_item_get(root, "model"), "ignore_merges", false);
    *out = NULL;
    int rc = steps_read(hf_given(root, "pre_tokenizer"), &s, err);
    for (size_t i = 0; i < sizeof pres / sizeof *pres && rc == 0 && !*out; i++)
        if (is_alike(&pres[i], &s) && (pres[i].ignore_merges < 0 || pres[i].ignore_merges == ignore))
            *out = name_of(&pres[i], usual);
    if (rc == 0 && !*out)
        rc = unknown("the expression", s.n > 0 ? s.list[0] : STR_NONE, err);
    return rc;
}

/* ---- To tokenizer.json ---- */
static void step_make(const char *step, struct json_writer *w)
{
    json_object_begin(w);
    json_key(w, "type");
    if (strcmp(step, DIGITS) == 0) {
        json_write_text(w, "Digits");
        json_key(w, "individual_digits");
        json_write_bool(w, true);
    } else {
        json_write_text(w, "Split");
        json_key(w, "pattern");
        json_object_begin(w);
        json_key(w, "Regex");
        json_write_text(w, step);
        json_object_end(w);
        json_key(w, "behavior");
        json_write_text(w, "Isolated");
        json_key(w, "invert");
        json_write_bool(w, false);
    }
    json_object_end(w);
}

static void pre_make(const struct pre *p, struct json_writer *w)
{
    bool words = false;
    json_object_begin(w);
    json_key(w, "type");
    json_write_text(w, "Sequence");
    json_key(w, "pretokenizers");
    json_array_begin(w);
    for (size_t i = 0; i < STEPS_MAX && p->steps[i]; i++)
        if (strcmp(p->steps[i], WORDS) == 0)
            words = true;
        else
            step_make(p->steps[i], w);
    json_object_begin(w);
    json_key(w, "type");
    json_write_text(w, "ByteLevel");
    json_key(w, "add_prefix_space");
    json_write_bool(w, false);
    json_key(w, "trim_offsets");
    json_write_bool(w, false);
    json_key(w, "use_regex");
    json_write_bool(w, words);
    json_object_end(w);
    json_array_end(w);
    json_object_end(w);
}

int hf_pre_make(struct str name, bool *ignore_merges, struct json_writer *w, struct error *err)
{
    for (size_t i = 0; i < sizeof pres / sizeof *pres; i++)
        for (size_t k = 0; k < NAMES_MAX && pres[i].names[k]; k++)
            if (str_is(name, pres[i].names[k])) {
                *ignore_merges = pres[i].ignore_merges > 0;
                pre_make(&pres[i], w);
                return 0;
            }
    return error_set(err, ERROR_UNSUPPORTED,
        "the model's pre-tokenizer '" STR_FMT "' cannot be exported: its expressions are not known here",
        STR_ARG(str_slice(name, 0, 60)));
}
