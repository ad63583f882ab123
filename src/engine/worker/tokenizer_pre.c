/* Cutting text into words before the merges, as each family of models was trained (`tokenizer.ggml.pre`). The
 * expressions are those of the models' own tokenizer.json files, as llama.cpp adapts them; they are applied
 * one after the other: each cuts the pieces of the one before, and what lies between matches is a piece too.
 * All are linear in the text; no expression repeats a group without bound. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "engine/worker/tokenizer_inner.h"

enum {
    PATTERNS_MAX = 6,
    MATCH_LIMIT = 1 << 30, /* a step for each character of the longest text, a few times over */
    DEPTH_LIMIT = 1000,
    HEAP_LIMIT_KIB = 4096
};

enum pre_flag {
    PRE_IGNORE_MERGES = 1,
    PRE_ADD_BOS = 2,
    PRE_RAW = 4,    /* words are spelled in characters, not bytes */
    PRE_SPACES = 8, /* spaces are U+2581 */
    PRE_GEMMA = 16  /* BOS whatever the file says; line ends are tokens */
};
#define PRE_GEMMA4 (PRE_RAW | PRE_SPACES | PRE_GEMMA | PRE_ADD_BOS)
#define PRE_LLAMA3 (PRE_IGNORE_MERGES | PRE_ADD_BOS)

struct tokenizer_pre {
    pcre2_code *codes[PATTERNS_MAX];
    const char *threes[PATTERNS_MAX]; /* cuts what matches in threes from its end; NULL: into matches */
    int count;
    pcre2_match_context *context;
};

struct pre_rule {
    const char *name;
    const char *const *patterns; /* ends with NULL */
    int flags;
};

/* Unicode's White_Space; PCRE2's \s also has U+180E. For use inside brackets. */
#define WS "\\t-\\r \\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}"
#define SPACE "[" WS "]"
#define SPACES_END SPACE "+(?![^" WS "])" /* white space, but its last character if a word follows */
#define CONTRACTION "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" WS "\\p{L}\\p{N}]+|" SPACES_END
#define LINES SPACE "*[\\r\\n]+|" SPACES_END "|" SPACE "+"
#define PUNCTUATION " ?[^" WS "\\p{L}\\p{N}]+[\\r\\n]*|"
/* Up to n characters of white space, not the last one before a word. */
#define SPACES_UP_TO(n) SPACE "{" #n "}(?![^" WS "])|"
#define LETTERS "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
/* Letters that are not lower-case ASCII, not upper-case ASCII. */
#define NOT_LOWER "[^\\P{L}a-z]"
#define NOT_UPPER "[^\\P{L}A-Z]"
#define BLOOM " ?[^(" WS "|.,!?\\x{2026}\\x{3002}\\x{FF0C}\\x{3001}\\x{964}\\x{6D4}\\x{60C})]+"
/* U+0800 to U+9FA5 but for white space, and Hangul. */
#define CJK_DEEPSEEK                                                                                         \
    "[\\x{800}-\\x{167F}\\x{1681}-\\x{1FFF}\\x{200B}-\\x{2027}\\x{202A}-\\x{202E}\\x{2030}-\\x{205E}"        \
    "\\x{2060}-\\x{2FFF}\\x{3001}-\\x{9FA5}\\x{AC00}-\\x{D7FF}]+"
/* Punctuation and symbols but ~, which the reference does not count among them. */
#define SIGNS "[^\\p{L}\\p{M}\\p{N}\\p{Z}\\p{C}~]"
#define CJK_KANA "[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{30FF}]+"
#define DEEPSEEK_V3                                                                                          \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|"                                                 \
    "(?:~|[^\\r\\n\\p{L}\\p{P}\\p{S}])?[\\p{L}\\p{M}]+| ?" SIGNS "+[\\r\\n]*|" LINES
#define MARKED_LETTERS "[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+(?:" CONTRACTION ")?|"
#define SIGNS_OR_SLASH " ?[^" WS "\\p{L}\\p{N}]+[\\r\\n/]*|"
/* Letters and marks that are not lower-case ASCII, not upper-case ASCII. */
#define MARKED_NOT_LOWER "[^\\p{N}\\p{P}\\p{S}\\p{Z}\\p{C}a-z]"
#define MARKED_NOT_UPPER "[^\\p{N}\\p{P}\\p{S}\\p{Z}\\p{C}A-Z]"
/* Letters and marks, neither Han nor of the other case (kimi-k2); the categories are all but L and M. */
#define KIMI_UPPER "[^\\p{N}\\p{P}\\p{S}\\p{Z}\\p{C}\\p{Ll}\\p{Han}]"
#define KIMI_LOWER "[^\\p{N}\\p{P}\\p{S}\\p{Z}\\p{C}\\p{Lu}\\p{Lt}\\p{Han}]"

/* The cased letters of DeepSeek LLM's expression. */
#define CASED_LETTERS                                                                                        \
    "A-Za-z\\x{B5}\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{1BA}\\x{1BC}-\\x{1BF}\\x{1C4}-\\x{293}"          \
    "\\x{295}-\\x{2AF}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37B}-\\x{37D}\\x{37F}\\x{386}"                    \
    "\\x{388}-\\x{38A}\\x{38C}\\x{38E}-\\x{3A1}\\x{3A3}-\\x{3F5}\\x{3F7}-\\x{481}\\x{48A}-\\x{52F}"          \
    "\\x{531}-\\x{556}\\x{10A0}-\\x{10C5}\\x{13A0}-\\x{13F5}\\x{13F8}-\\x{13FD}\\x{1C90}-\\x{1CBA}"          \
    "\\x{1CBD}-\\x{1CBF}\\x{1D00}-\\x{1D2B}\\x{1D6B}-\\x{1D77}\\x{1D79}-\\x{1D9A}\\x{1E00}-\\x{1F15}"        \
    "\\x{1F18}-\\x{1F1D}\\x{1F20}-\\x{1F45}\\x{1F48}-\\x{1F4D}\\x{1F50}-\\x{1F57}\\x{1F59}\\x{1F5B}"         \
    "\\x{1F5D}\\x{1F5F}-\\x{1F7D}\\x{1F80}-\\x{1FB4}\\x{1FB6}-\\x{1FBC}\\x{1FBE}\\x{1FC2}-\\x{1FC4}"         \
    "\\x{1FC6}-\\x{1FCC}\\x{1FD0}-\\x{1FD3}\\x{1FD6}-\\x{1FDB}\\x{1FE0}-\\x{1FEC}\\x{1FF2}-\\x{1FF4}"        \
    "\\x{1FF6}-\\x{1FFC}\\x{2102}\\x{2107}\\x{210A}-\\x{2113}\\x{2115}\\x{2119}-\\x{211D}\\x{2124}"          \
    "\\x{2126}\\x{2128}\\x{212A}-\\x{212D}\\x{212F}-\\x{2134}\\x{2139}\\x{213C}-\\x{213F}"                   \
    "\\x{2145}-\\x{2149}\\x{214E}\\x{2183}\\x{2184}\\x{2C00}-\\x{2C7B}\\x{2C7E}-\\x{2CE4}"                   \
    "\\x{2CEB}-\\x{2CEE}\\x{2CF2}\\x{2CF3}\\x{A640}-\\x{A66D}\\x{A680}-\\x{A69B}\\x{A722}-\\x{A76F}"         \
    "\\x{A771}-\\x{A787}\\x{A78B}-\\x{A78E}\\x{AB70}-\\x{ABBF}\\x{FB00}-\\x{FB06}\\x{FB13}-\\x{FB17}"        \
    "\\x{FF21}-\\x{FF3A}\\x{FF41}-\\x{FF5A}\\x{10400}-\\x{1044F}\\x{104B0}-\\x{104D3}"                       \
    "\\x{104D8}-\\x{104FB}\\x{10C80}-\\x{10CB2}\\x{10CC0}-\\x{10CF2}\\x{118A0}-\\x{118DF}"                   \
    "\\x{1E900}-\\x{1E943}"

/* Runs of digits that are cut in threes from the right. What lies before a run stays with its first digits.
 */
static const char threes[] = "\\p{N}+", ascii_threes[] = "[0-9]+";

static const char *const patterns_default[] = {"[\\p{P}$+<=>^~|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]", NULL};
static const char *const patterns_gpt2[] = {GPT2, NULL};
static const char *const patterns_digits_gpt2[] = {"\\p{N}", GPT2, NULL};
static const char *const patterns_llama3[] = {CONTRACTION "|" LETTERS "\\p{N}{1,3}|" PUNCTUATION LINES, NULL};
static const char *const patterns_qwen2[] = {CONTRACTION "|" LETTERS "\\p{N}|" PUNCTUATION LINES, NULL};
static const char *const patterns_qwen35[] = {CONTRACTION
    "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^" WS "\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" LINES,
    NULL};
static const char *const patterns_seed_coder[] = {
    CONTRACTION "|" LETTERS "\\p{N}| ?[^" WS "\\p{L}\\p{N}\\r\\n]+|" LINES, NULL};
static const char *const patterns_bailingmoe[] = {
    CONTRACTION "|" LETTERS "\\p{N}|" PUNCTUATION SPACE "*[\\r\\n]|" SPACES_END "|" SPACE "+", NULL};
static const char *const patterns_falcon[] = {"[\\p{P}$+<=>^~|`]+", GPT2, "[0-9][0-9][0-9]", NULL};
static const char *const patterns_bloom[] = {BLOOM, NULL};
static const char *const patterns_viking[] = {BLOOM, "\\p{N}", NULL};
static const char *const patterns_tekken[] = {"[^\\r\\n\\p{L}\\p{N}]?" NOT_LOWER "*" NOT_UPPER
                                              "+|[^\\r\\n\\p{L}\\p{N}]?" NOT_LOWER "+" NOT_UPPER "*|\\p{N}|"
                                              " ?[^" WS "\\p{L}\\p{N}]+[\\r\\n/]*|" LINES,
    NULL};
static const char *const patterns_gpt4o[] = {
    "[^\\r\\n\\p{L}\\p{N}]?" NOT_LOWER "*" NOT_UPPER "+(?:" CONTRACTION ")?|"
    "[^\\r\\n\\p{L}\\p{N}]?" NOT_LOWER "+" NOT_UPPER "*(?:" CONTRACTION ")?|\\p{N}{1,3}|"
    " ?[^" WS "\\p{L}\\p{N}]+[\\r\\n/]*|" LINES,
    NULL};
static const char *const patterns_kimi[] = {
    "\\p{Han}+|[^\\r\\n\\p{L}\\p{N}]?" KIMI_UPPER "*" KIMI_LOWER "+(?:" CONTRACTION ")?|"
    "[^\\r\\n\\p{L}\\p{N}]?" KIMI_UPPER "+" KIMI_LOWER "*(?:" CONTRACTION ")?|\\p{N}{1,3}|" PUNCTUATION LINES,
    NULL};
static const char *const patterns_deepseek_v3[] = {"\\p{N}{1,3}", CJK_KANA, DEEPSEEK_V3, NULL};
static const char *const patterns_deepseek_coder[] = {
    "[\\r\\n]", SPACE "?\\p{L}+", SPACE "?\\p{P}+", CJK_DEEPSEEK, "\\p{N}", NULL};
static const char *const patterns_deepseek_llm[] = {"[\\r\\n]", SPACE "?[" CASED_LETTERS "]+",
    SPACE "?[!-/:-~\\x{FF01}-\\x{FF0F}\\x{FF1A}-\\x{FF5E}\\x{2018}-\\x{201F}\\x{3001}\\x{3002}]+",
    "(?<!" SPACE ")" SPACE "+\\z", CJK_DEEPSEEK, "\\p{N}+", NULL};
/* White space is given in pieces of 512 and less, so that what is left of a run must not be searched for line
 * ends again at each: behind a blank there are none. */
static const char *const patterns_jais2[] = {CONTRACTION
    "|" LETTERS "\\p{N}{1,3}|" PUNCTUATION "(?:(?<!" SPACE ")|(?<=[\\r\\n]))" SPACE
    "*[\\r\\n]+|" SPACES_UP_TO(512) SPACES_UP_TO(256) SPACES_UP_TO(128) SPACES_UP_TO(64) SPACES_UP_TO(32)
        SPACES_UP_TO(16) SPACES_UP_TO(8) SPACES_UP_TO(4) SPACE "{1,2}(?![^" WS "])|" SPACE,
    NULL};
static const char *const patterns_youtu[] = {
    "[\\x{AC00}-\\x{D7A3}\\x{3131}-\\x{318E}]+|"
    "[\\x{FF01}\\x{2026}\\x{201C}\\x{201D}\\x{2018}\\x{2019}\\x{2014}\\x{FF1A}\\x{FF1B}\\x{FF0C}"
    "\\x{3001}-\\x{303F}\\x{FE30}-\\x{FE4F}]+|[\\x{3105}-\\x{312F}]+|" CJK_KANA,
    MARKED_LETTERS "\\p{N}|" SIGNS_OR_SLASH LINES, NULL};
static const char *const patterns_tiny_aya[] = {
    threes, MARKED_LETTERS "\\p{N}{1,3}|" SIGNS_OR_SLASH LINES, NULL};
static const char *const patterns_granite_multi[] = {
    "[^\\r\\n\\p{L}\\p{N}]?" MARKED_NOT_LOWER "*" MARKED_NOT_UPPER "+(?:" CONTRACTION ")?|"
    "[^\\r\\n\\p{L}\\p{N}]?" MARKED_NOT_LOWER "+" MARKED_NOT_UPPER "*(?:" CONTRACTION
    ")?|\\p{N}{1,3}|" SIGNS_OR_SLASH LINES,
    NULL};
static const char *const patterns_superbpe[] = {"\\p{N}+", ascii_threes, NULL};
static const char *const patterns_afmoe[] = {threes,
    "[\\x{4E00}-\\x{9FFF}\\x{3400}-\\x{4DBF}\\x{8C48}-\\x{FAFF}\\x{3040}-\\x{30FF}\\x{FF65}-\\x{FF9F}"
    "\\x{2F00}-\\x{2FDF}\\x{E40}-\\x{EFF}\\x{1780}-\\x{17FF}\\x{1000}-\\x{109F}\\x{AA60}-\\x{AA7F}"
    "\\x{A9E0}-\\x{A9FF}\\x{AC00}-\\x{D7AF}\\x{1100}-\\x{11FF}]+",
    DEEPSEEK_V3, NULL};
static const char *const patterns_exaone_moe[] = {CONTRACTION
    "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}\\p{M}*+(?: ?\\p{L}\\p{M}*+)*+|\\p{N}|"
    " ?[^" WS "\\p{L}\\p{N}]+[\\r\\n/]?|" SPACE "*[\\r\\n]|" SPACES_END "|" SPACE "+",
    NULL};
static const char *const patterns_lines[] = {"[^\\n]+|\\n+", NULL};
static const char *const patterns_minicpm5[] = {
    "\\p{N}{1,3}", CONTRACTION "|" LETTERS "\\p{N}+|" PUNCTUATION LINES, NULL};
static const char *const patterns_whitespace[] = {"[^" WS "]+", NULL};
static const char *const patterns_chameleon[] = {"<sentinel:[0-9]+>", "IMGIMG[A-I]{1,4}Z", "[\\t\\n]|    |  ",
    "\\p{N}", "[\\p{P}!-/:-@\\[-`{-~]", GPT2, NULL};

static const struct pre_rule rules[] = {
    {"default", patterns_default, 0},
    {"llama-bpe", patterns_llama3, PRE_LLAMA3},
    {"llama3", patterns_llama3, PRE_LLAMA3},
    {"llama-v3", patterns_llama3, PRE_LLAMA3},
    {"falcon3", patterns_llama3, PRE_LLAMA3},
    {"falcon-h1", patterns_llama3, PRE_LLAMA3},
    {"pixtral", patterns_llama3, PRE_LLAMA3},
    {"midm-2.0", patterns_llama3, PRE_LLAMA3},
    {"lfm2", patterns_llama3, PRE_LLAMA3},
    {"jina-v5-nano", patterns_llama3, PRE_LLAMA3},
    {"dbrx", patterns_llama3, 0},
    {"smaug-bpe", patterns_llama3, 0},
    {"glm4", patterns_llama3, 0},
    {"chatglm-bpe", patterns_llama3, 0},
    {"qwen2", patterns_qwen2, 0},
    {"deepseek-r1-qwen", patterns_qwen2, 0},
    {"kormo", patterns_qwen2, 0},
    {"f2llmv2", patterns_qwen2, 0},
    {"megrez", patterns_qwen2, 0},
    {"stablelm2", patterns_qwen2, 0},
    {"hunyuan", patterns_qwen2, 0},
    {"solar-open", patterns_qwen2, 0},
    {"grok-2", patterns_qwen2, 0},
    {"qwen35", patterns_qwen35, 0},
    {"seed-coder", patterns_seed_coder, 0},
    {"bailingmoe", patterns_bailingmoe, 0},
    {"bailingmoe2", patterns_bailingmoe, 0},
    {"llada-moe", patterns_bailingmoe, 0},
    {"gpt-2", patterns_gpt2, 0},
    {"phi-2", patterns_gpt2, 0},
    {"mpt", patterns_gpt2, 0},
    {"olmo", patterns_gpt2, 0},
    {"jais", patterns_gpt2, 0},
    {"gigachat", patterns_gpt2, 0},
    {"mellum", patterns_gpt2, 0},
    {"a.x-4.0", patterns_gpt2, 0},
    {"exaone4", patterns_gpt2, 0},
    {"trillion", patterns_gpt2, 0},
    {"granite-docling", patterns_gpt2, 0},
    {"modern-bert", patterns_gpt2, 0},
    {"roberta-bpe", patterns_gpt2, 0},
    {"jina-es", patterns_gpt2, 0},
    {"jina-de", patterns_gpt2, 0},
    {"jina-v1-en", patterns_gpt2, 0},
    {"jina-v2-es", patterns_gpt2, 0},
    {"jina-v2-de", patterns_gpt2, 0},
    {"jina-v2-code", patterns_gpt2, 0},
    {"starcoder", patterns_digits_gpt2, 0},
    {"refact", patterns_digits_gpt2, 0},
    {"command-r", patterns_digits_gpt2, 0},
    {"smollm", patterns_digits_gpt2, 0},
    {"codeshell", patterns_digits_gpt2, 0},
    {"exaone", patterns_digits_gpt2, 0},
    {"minerva-7b", patterns_digits_gpt2, 0},
    {"mellum2", patterns_digits_gpt2, 0},
    {"falcon", patterns_falcon, 0},
    {"bloom", patterns_bloom, 0},
    {"poro-chat", patterns_bloom, 0},
    {"gpt3-finnish", patterns_bloom, 0},
    {"viking", patterns_viking, 0},
    {"tekken", patterns_tekken, PRE_LLAMA3},
    {"gpt-4o", patterns_gpt4o, 0},
    {"llama4", patterns_gpt4o, 0},
    {"kanana2", patterns_gpt4o, 0},
    {"talkie", patterns_gpt4o, 0},
    {"minimax-m2", patterns_gpt4o, 0},
    {"granite-embed-multi-97m", patterns_granite_multi, PRE_IGNORE_MERGES},
    {"youtu", patterns_youtu, PRE_IGNORE_MERGES},
    {"tiny_aya", patterns_tiny_aya, 0},
    {"kimi-k2", patterns_kimi, 0},
    {"deepseek-v3", patterns_deepseek_v3, 0},
    {"hunyuan-dense", patterns_deepseek_v3, 0},
    {"joyai-llm", patterns_deepseek_v3, 0},
    {"deepseek-coder", patterns_deepseek_coder, 0},
    {"deepseek-llm", patterns_deepseek_llm, 0},
    {"chameleon", patterns_chameleon, PRE_ADD_BOS},
    {"jais-2", patterns_jais2, 0},
    {"superbpe", patterns_superbpe, 0},
    {"afmoe", patterns_afmoe, 0},
    {"exaone-moe", patterns_exaone_moe, 0},
    {"minicpm5", patterns_minicpm5, PRE_IGNORE_MERGES},
    {"whitespace", patterns_whitespace, PRE_RAW},
    {"sarvam-moe", patterns_lines, PRE_RAW | PRE_SPACES},
    {"gemma4", patterns_lines, PRE_GEMMA4},
    {"granite-embed-multi-311m", patterns_lines, PRE_GEMMA4},
};

static int compile(struct tokenizer_pre *p, const struct pre_rule *rule, struct error *err)
{
    p->context = pcre2_match_context_create(NULL);
    if (!p->context)
        return error_set(err, ERROR_MEMORY, "no memory for a tokenizer");
    pcre2_set_match_limit(p->context, MATCH_LIMIT);
    pcre2_set_depth_limit(p->context, DEPTH_LIMIT);
    pcre2_set_heap_limit(p->context, HEAP_LIMIT_KIB);
    for (; rule->patterns[p->count]; p->count++) {
        int code;
        const char *pattern = rule->patterns[p->count];
        p->threes[p->count] = pattern == threes || pattern == ascii_threes ? pattern : NULL;
        PCRE2_SIZE offset;
        p->codes[p->count] = pcre2_compile((PCRE2_SPTR)rule->patterns[p->count], PCRE2_ZERO_TERMINATED,
            PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK, &code, &offset, NULL);
        if (!p->codes[p->count])
            return error_set(err, ERROR_INTERNAL, "pre-tokenizer '%s' does not compile (error %d at %zu)",
                rule->name, code, (size_t)offset);
    }
    return 0;
}

int tokenizer_pre_create(struct tokenizer *t, struct str name, struct error *err)
{
    const struct pre_rule *rule = NULL;
    for (size_t i = 0; i < sizeof rules / sizeof *rules && !rule; i++)
        if (str_is(name, rules[i].name))
            rule = &rules[i];
    if (!rule)
        return error_set(err, ERROR_UNSUPPORTED,
            "the model's pre-tokenizer '" STR_FMT "' is not supported: its text would be cut wrongly",
            STR_ARG(name));
    t->ignore_merges = rule->flags & PRE_IGNORE_MERGES;
    t->raw = rule->flags & PRE_RAW;
    t->escape_spaces = rule->flags & PRE_SPACES;
    t->gemma = rule->flags & PRE_GEMMA;
    t->add_bos = rule->flags & PRE_ADD_BOS;
    t->pre = calloc(1, sizeof *t->pre);
    return t->pre ? compile(t->pre, rule, err) : error_set(err, ERROR_MEMORY, "no memory for a tokenizer");
}

void tokenizer_pre_free(struct tokenizer_pre *p)
{
    if (!p)
        return;
    for (int i = 0; i < PATTERNS_MAX; i++)
        pcre2_code_free(p->codes[i]);
    pcre2_match_context_free(p->context);
    free(p);
}

/* One split: what stays the same at all levels. */
struct splitter {
    const struct tokenizer_pre *p;
    pcre2_match_data *match;
    struct tokenizer_word_sink sink;
    struct error *err;
};

static int split(const struct splitter *s, int level, struct str piece);

/* A run of digits from start to end, in threes from its end; *from: where the text begins that is not given
 * yet. */
static int split_threes(
    const struct splitter *s, int level, struct str piece, size_t start, size_t end, size_t *from)
{
    int rc = 0;
    for (size_t left = str_utf8_count(str_slice(piece, start, end)) + 1; left-- > 0 && rc == 0;) {
        uint32_t c;
        /* superbpe's digits are only looked at from the left: their end parts nothing */
        if (left % 3 == 0 && (left > 0 || s->p->threes[level] == threes)) {
            rc = split(s, level + 1, str_slice(piece, *from, start));
            *from = start;
        }
        start += str_utf8_decode(str_slice(piece, start, end), &c);
    }
    return rc;
}

/* The next match of a level's expression from `at` on; 0 if there is none. */
static int next_match(
    const struct splitter *s, int level, struct str piece, size_t at, size_t *start, size_t *end)
{
    int found = pcre2_match(s->p->codes[level], (PCRE2_SPTR)piece.data, piece.len, at,
        PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, s->match, s->p->context);
    if (found == PCRE2_ERROR_NOMATCH)
        return 0;
    if (found < 0)
        return error_set(
            s->err, ERROR_LIMIT, "the text cannot be cut into words (error %d): send less", found);
    const PCRE2_SIZE *span = pcre2_get_ovector_pointer(s->match);
    *start = span[0];
    *end = span[1];
    return 1;
}

/* Cuts a piece by the expressions from `level` on; levels are at most PATTERNS_MAX deep. */
static int split(const struct splitter *s, int level, struct str piece)
{
    if (piece.len == 0)
        return 0;
    if (level == s->p->count)
        return s->sink.word(s->sink.ctx, piece, s->err);
    size_t from = 0, start, end;
    for (size_t at = 0; at < piece.len; at = end) {
        int rc = next_match(s, level, piece, at, &start, &end);
        if (rc < 0)
            return rc;
        if (rc == 0)
            break;
        if (s->p->threes[level]) {
            rc = split_threes(s, level, piece, start, end, &from);
        } else {
            rc = split(s, level + 1, str_slice(piece, from, start));
            rc = rc ? rc : split(s, level + 1, str_slice(piece, start, end));
            from = end;
        }
        if (rc)
            return rc;
    }
    return split(s, level + 1, str_slice(piece, from, piece.len));
}

int tokenizer_pre_split(
    const struct tokenizer_pre *p, struct str text, struct tokenizer_word_sink sink, struct error *err)
{
    struct splitter s = {.p = p, .match = pcre2_match_data_create(1, NULL), .sink = sink, .err = err};
    if (!s.match)
        return error_set(err, ERROR_MEMORY, "no memory to tokenize: send less");
    int rc = split(&s, 0, text);
    pcre2_match_data_free(s.match);
    return rc;
}
