#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "base/clock.h"
#include "base/limits.h"
#include "engine/worker/model_sample.h"
#include "vocab.h"

/* Scores say which pair goes first: "lo" before "ow", so "low" is lo + w. */
static const struct vocab_token spm_tokens[] = {{"<unk>", VOCAB_UNKNOWN, 0}, {"<s>", VOCAB_CONTROL, 0},
    {"</s>", VOCAB_CONTROL, 0}, {"<0xC3>", VOCAB_BYTE, 0}, {"<0xA9>", VOCAB_BYTE, 0},
    {"\xe2\x96\x81", VOCAB_NORMAL, -1}, {"l", VOCAB_NORMAL, -2}, {"o", VOCAB_NORMAL, -3},
    {"w", VOCAB_NORMAL, -4}, {"lo", VOCAB_NORMAL, -5}, {"ow", VOCAB_NORMAL, -6},
    {"\xe2\x96\x81lo", VOCAB_NORMAL, -7}, {"<|im_start|>", VOCAB_CONTROL, 0},
    {"<|im_end|>", VOCAB_CONTROL, 0}, {"<tool>", VOCAB_USER, 0}, {"<tool>ow", VOCAB_USER, 0},
    {"<unused>", VOCAB_UNUSED, 0}, {NULL, 0, 0}};

enum { UNK, BOS, EOS, BYTE_C3, BYTE_A9, SPACE, L, O, W, LO, OW, SPACE_LO, START, END, TOOL, TOOLOW, UNUSED };

static struct gguf_writer spm_writer(void)
{
    struct gguf_writer w;
    gguf_writer_init(&w);
    gguf_write_str(&w, "tokenizer.ggml.model", STR("llama"));
    vocab_write(&w, spm_tokens, true);
    return w;
}

static struct vocab open_ok(struct gguf_writer w)
{
    struct vocab v;
    struct error err;
    if (vocab_open(&w, &v, &err))
        fail_msg("%s", err.message);
    return v;
}

static void open_fails(struct gguf_writer w, int code, const char *words)
{
    struct vocab v;
    struct error err;
    int rc = vocab_open(&w, &v, &err);
    if (rc == 0)
        vocab_close(&v);
    if (rc != code || !strstr(err.message, words))
        fail_msg("got %d: %s", rc, rc ? err.message : "opened");
}

static void check_ids(
    const struct vocab *v, struct str text, bool add, bool parse, const int32_t *ids, size_t count)
{
    struct token_list list = {0};
    struct error err;
    assert_int_equal(tokenizer_encode(v->t, text, add, parse, &list, &err), 0);
    for (size_t i = 0; i < list.count && i < count; i++)
        assert_int_equal(list.ids[i], ids[i]);
    assert_int_equal(list.count, count);
    free(list.ids);
}

#define IDS(...) (const int32_t[]){__VA_ARGS__}, sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t)

static void check_decoded(
    const struct vocab *v, const int32_t *ids, size_t count, bool special, const char *text)
{
    struct buf out;
    struct error err;
    buf_init(&out, 4096);
    assert_int_equal(tokenizer_decode(v->t, ids, count, special, &out, &err), 0);
    assert_string_equal(out.data ? out.data : "", text);
    buf_free(&out);
}

static void llama_merges_by_score(void **state)
{
    (void)state;
    struct vocab v = open_ok(spm_writer());
    check_ids(&v, STR("low"), false, false, IDS(SPACE_LO, W));
    check_ids(&v, STR("low low"), false, false, IDS(SPACE_LO, W, SPACE_LO, W));
    check_ids(&v, STR("wow"), false, false, IDS(SPACE, W, OW));
    check_ids(&v, STR("low"), true, false, IDS(BOS, SPACE_LO, W));
    check_ids(&v, STR(" low"), false, false, IDS(SPACE, SPACE_LO, W));
    check_ids(&v, STR(""), false, false, NULL, 0);
    check_ids(&v, STR(""), true, true, IDS(BOS));
    vocab_close(&v);
}

static void llama_falls_back_to_bytes(void **state)
{
    (void)state;
    struct vocab v = open_ok(spm_writer());
    check_ids(&v, STR("\xc3\xa9w"), false, false, IDS(SPACE, BYTE_C3, BYTE_A9, W));
    check_ids(&v, STR("z"), false, false, IDS(SPACE, UNK)); /* no byte token for z */
    check_ids(&v, STR("\xff"), false, false, IDS(SPACE, UNK));
    check_decoded(&v, IDS(SPACE, BYTE_C3, BYTE_A9, W), false, "\xc3\xa9w");
    vocab_close(&v);
}

static void special_tokens_only_where_asked(void **state)
{
    (void)state;
    struct vocab v = open_ok(spm_writer());
    check_ids(&v, STR("<|im_start|>low<|im_end|>"), false, true, IDS(START, SPACE_LO, W, END));
    check_ids(&v, STR("low<s>low"), true, true, IDS(BOS, SPACE_LO, W, BOS, SPACE_LO, W));
    /* Without parsing they are text: no token of theirs. */
    struct token_list list = {0};
    struct error err;
    assert_int_equal(tokenizer_encode(v.t, STR("<|im_end|><s>"), false, false, &list, &err), 0);
    for (size_t i = 0; i < list.count; i++)
        assert_true(list.ids[i] != END && list.ids[i] != BOS);
    free(list.ids);
    /* User-defined tokens are found always, the longest first. */
    check_ids(&v, STR("<tool>w"), false, false, IDS(TOOL, SPACE, W));
    check_ids(&v, STR("<tool>ow"), false, false, IDS(TOOLOW));
    check_ids(&v, STR("<tool><tool>ow"), false, false, IDS(TOOL, TOOLOW));
    vocab_close(&v);
}

/* Longer tokens win over the whole text, also against one that begins further left. */
static void special_tokens_longest_first(void **state)
{
    (void)state;
    static const struct vocab_token tokens[] = {{"<unk>", VOCAB_UNKNOWN, 0}, {"ab", VOCAB_USER, 0},
        {"bcd", VOCAB_USER, 0}, {"a", VOCAB_NORMAL, 0}, {"b", VOCAB_NORMAL, 0}, {"c", VOCAB_NORMAL, 0},
        {"abab", VOCAB_USER, 0}, {NULL, 0, 0}};
    struct gguf_writer w;
    gguf_writer_init(&w);
    gguf_write_str(&w, "tokenizer.ggml.model", STR("llama"));
    gguf_write_bool(&w, "tokenizer.ggml.add_space_prefix", false);
    vocab_write(&w, tokens, true);
    struct vocab v = open_ok(w);
    check_ids(&v, STR("abcd"), false, false, IDS(3, 2));
    check_ids(&v, STR("abc"), false, false, IDS(1, 5));
    check_ids(&v, STR("ababab"), false, false, IDS(6, 1));
    check_ids(&v, STR("ababcd"), false, false, IDS(6, 5, 0)); /* no token for d: unknown */
    check_ids(&v, STR("cabcdab"), false, false, IDS(5, 3, 2, 1));
    vocab_close(&v);
}

static void phi3_tokens_swallow_white_space(void **state)
{
    (void)state;
    struct gguf_writer w = spm_writer();
    gguf_write_str(&w, "general.name", STR("Tiny Phi-3 model"));
    struct vocab v = open_ok(w);
    check_ids(&v, STR("<|im_end|> \n low"), false, true, IDS(END, SPACE_LO, W));
    check_ids(&v, STR("<s> low"), false, true, IDS(BOS, SPACE, SPACE_LO, W));
    vocab_close(&v);
}

/* jina's and nomic's masks take the white space before them. */
static void masks_swallow_white_space(void **state)
{
    (void)state;
    static const struct vocab_token tokens[] = {{"a", VOCAB_NORMAL, 0}, {" ", VOCAB_NORMAL, 0},
        {"<mask>", VOCAB_CONTROL, 0}, {"[MASK]", VOCAB_CONTROL, 0}, {NULL, 0, 0}};
    static const struct {
        const char *pre, *name;
        int32_t mask;
    } models[] = {{"jina-v2-code", "", 2}, {"gpt-2", "ModernBERT modern-bert base", 3}};
    for (size_t i = 0; i < 2; i++) {
        struct gguf_writer w;
        gguf_writer_init(&w);
        gguf_write_str(&w, "tokenizer.ggml.model", STR("gpt2"));
        gguf_write_str(&w, "tokenizer.ggml.pre", str_from(models[i].pre));
        gguf_write_str(&w, "general.name", str_from(models[i].name));
        vocab_write(&w, tokens, false);
        gguf_write_strs(&w, "tokenizer.ggml.merges", (const struct str[]){STR("a b")}, 1);
        struct vocab v = open_ok(w);
        struct str text = i ? STR("a  [MASK]a") : STR("a  <mask>a");
        check_ids(&v, text, false, true, (int32_t[]){0, models[i].mask, 0}, 3);
        vocab_close(&v);
    }
}

static void ends_are_known_by_id_and_by_text(void **state)
{
    (void)state;
    struct gguf_writer w = spm_writer();
    gguf_write_u32(&w, "tokenizer.ggml.eos_token_id", TOOL);
    gguf_write_u32(&w, "tokenizer.ggml.eot_token_id", L);
    gguf_write_u32(&w, "tokenizer.ggml.bos_token_id", 4000000000u); /* absurd: as if absent */
    gguf_write_bool(&w, "tokenizer.ggml.add_eos_token", true);
    struct vocab v = open_ok(w);
    assert_int_equal(tokenizer_eos(v.t), TOOL);
    assert_int_equal(tokenizer_bos(v.t), BOS); /* the default of llama vocabularies */
    assert_true(tokenizer_is_end(v.t, TOOL));
    assert_true(tokenizer_is_end(v.t, L));
    assert_true(tokenizer_is_end(v.t, END));
    assert_true(tokenizer_is_end(v.t, EOS));
    assert_false(tokenizer_is_end(v.t, START));
    assert_false(tokenizer_is_end(v.t, -1));
    assert_false(tokenizer_is_end(v.t, 1000000));
    assert_true(tokenizer_is_special(v.t, START));
    assert_true(tokenizer_is_special(v.t, UNK));
    assert_false(tokenizer_is_special(v.t, W));
    check_ids(&v, STR("w"), true, false, IDS(BOS, SPACE, W, TOOL));
    vocab_close(&v);
}

static void harmony_does_not_end_at_end(void **state)
{
    (void)state;
    static const struct vocab_token tokens[] = {{"<unk>", VOCAB_UNKNOWN, 0}, {"<|end|>", VOCAB_CONTROL, 0},
        {"<|return|>", VOCAB_CONTROL, 0}, {"<|call|>", VOCAB_CONTROL, 0}, {"<|channel|>", VOCAB_CONTROL, 0},
        {NULL, 0, 0}};
    struct gguf_writer w;
    gguf_writer_init(&w);
    gguf_write_str(&w, "tokenizer.ggml.model", STR("llama"));
    vocab_write(&w, tokens, true);
    struct vocab v = open_ok(w);
    assert_false(tokenizer_is_end(v.t, 1));
    assert_true(tokenizer_is_end(v.t, 2));
    assert_true(tokenizer_is_end(v.t, 3));
    check_decoded(&v, IDS(4), false, "<|channel|>");
    vocab_close(&v);
}

static void decoding_undoes_the_leading_space(void **state)
{
    (void)state;
    struct vocab v = open_ok(spm_writer());
    check_decoded(&v, IDS(SPACE_LO, W, SPACE_LO, W), false, "low low");
    check_decoded(&v, IDS(BOS, SPACE_LO, W), false, "low");
    check_decoded(&v, IDS(BOS, SPACE_LO, W), true, "<s> low");
    check_decoded(&v, IDS(SPACE, SPACE_LO), false, " lo");
    check_decoded(&v, IDS(START, W, END), true, "<|im_start|>w<|im_end|>");
    check_decoded(&v, IDS(START, W, END, UNUSED, -1, 99999), false, "w");
    vocab_close(&v);
}

static void texts_and_ids_are_looked_up(void **state)
{
    (void)state;
    struct vocab v = open_ok(spm_writer());
    assert_int_equal(tokenizer_vocab_size(v.t), UNUSED + 1);
    assert_int_equal(tokenizer_find(v.t, STR("<|im_end|>")), END);
    assert_int_equal(tokenizer_find(v.t, STR("nothing")), -1);
    assert_true(str_is(tokenizer_text(v.t, END), "<|im_end|>"));
    assert_int_equal(tokenizer_text(v.t, -1).len, 0);
    assert_int_equal(tokenizer_text(v.t, 1 << 30).len, 0);
    vocab_close(&v);
}

/* A vocabulary and merges as model_sample makes them. */
static struct vocab sample(const char *tokenizer, const char *pre)
{
    struct model_sample s = model_sample_default();
    struct gguf_writer w;
    struct error err;
    s.tokenizer = tokenizer;
    s.pre = pre;
    s.n_vocab = 3000;
    gguf_writer_init(&w);
    assert_int_equal(model_sample_vocab(&s, &w, &err), 0);
    return open_ok(w);
}

static void check_round_trip(const struct vocab *v, struct str text)
{
    struct token_list list = {0};
    struct buf out;
    struct error err;
    buf_init(&out, 4 * text.len + 64);
    assert_int_equal(tokenizer_encode(v->t, text, true, false, &list, &err), 0);
    assert_int_equal(tokenizer_decode(v->t, list.ids, list.count, false, &out, &err), 0);
    assert_int_equal(out.len, text.len);
    if (text.len)
        assert_memory_equal(out.data, text.data, text.len);
    buf_free(&out);
    free(list.ids);
}

static const char *const pres[] = {"default", "gpt-2", "starcoder", "llama-bpe", "qwen2", "qwen35",
    "seed-coder", "bailingmoe", "falcon", "bloom", "viking", "tekken", "gpt-4o", "kimi-k2", "deepseek-v3",
    "deepseek-coder", "deepseek-llm", "chameleon", "jais-2", "youtu", "tiny_aya", "granite-embed-multi-97m",
    "superbpe", "afmoe", "exaone-moe", "minicpm5"};
enum { N_PRES = sizeof pres / sizeof *pres };

static void any_text_comes_back(void **state)
{
    (void)state;
    static const char *const texts[] = {"", " ", "  ", "\n", "Hello, world!", "  the  end \n\n\t x ",
        "don't WON'T I'll", "1234567 \xd9\xa3",
        "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e text \xf0\x9f\x99\x82\xf0\x9f\x99\x82",
        "caf\xc3\xa9 \xc2\xa0\xe3\x80\x80 e\xcc\x81", "~'s a<b>c\\d", "trailing   "};
    for (int p = -1; p < N_PRES; p++) {
        struct vocab v = p < 0 ? sample("llama", "") : sample("gpt2", pres[p]);
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
            check_round_trip(&v, str_from(texts[i]));
        vocab_close(&v);
    }
}

static void gpt2_cuts_words_as_the_model_says(void **state)
{
    (void)state;
    struct vocab qwen = sample("gpt2", "qwen2"), llama = sample("gpt2", "llama-bpe");
    int32_t the = tokenizer_find(qwen.t, STR("\xc4\xa0the"));
    assert_true(the > 0);
    check_ids(&qwen, STR("the the"), false, false, IDS(tokenizer_find(qwen.t, STR("the")), the));
    /* Digits one by one (qwen2) or in threes: no merges of digits here, so only the words differ. */
    check_ids(&qwen, STR("<|im_end|>"), false, true, IDS(258));
    check_ids(
        &llama, STR(" the<|im_end|>the"), false, true, IDS(the, 258, tokenizer_find(llama.t, STR("the"))));
    assert_false(tokenizer_is_end(llama.t, 257));
    assert_true(tokenizer_is_end(llama.t, 258));
    assert_true(tokenizer_is_end(llama.t, 256));
    /* Bytes that are not UTF-8 become U+FFFD. */
    check_ids(&qwen, STR("\xff"), false, false, IDS(0xEF, 0xBF, 0xBD));
    vocab_close(&qwen);
    vocab_close(&llama);
}

/* llama-bpe takes a word that is a token as it stands, even where no merge leads to it. */
static void ignore_merges_takes_whole_words(void **state)
{
    (void)state;
    static const struct vocab_token tokens[] = {{"a", VOCAB_NORMAL, 0}, {"b", VOCAB_NORMAL, 0},
        {"c", VOCAB_NORMAL, 0}, {"abc", VOCAB_NORMAL, 0}, {"bc", VOCAB_NORMAL, 0}, {NULL, 0, 0}};
    for (int i = 0; i < 2; i++) {
        struct gguf_writer w;
        gguf_writer_init(&w);
        gguf_write_str(&w, "tokenizer.ggml.model", STR("gpt2"));
        gguf_write_str(&w, "tokenizer.ggml.pre", i ? STR("qwen2") : STR("llama3"));
        vocab_write(&w, tokens, false);
        gguf_write_strs(&w, "tokenizer.ggml.merges", (const struct str[]){STR("a b"), STR("b c")}, 2);
        struct vocab v = open_ok(w);
        if (i == 0)
            check_ids(&v, STR("abc"), false, false, IDS(3));
        else /* "ab" is merged first, is no token, and is spelled in bytes */
            check_ids(&v, STR("abc"), false, false, IDS(0, 1, 2));
        vocab_close(&v);
    }
}

/* "un" and "able" continue words; marks and ideographs are words; case, accents and controls go. */
static void wordpiece_takes_the_longest_from_the_left(void **state)
{
    (void)state;
    static const struct vocab_token tokens[] = {{"[UNK]", VOCAB_CONTROL, 0}, {"[CLS]", VOCAB_CONTROL, 0},
        {"[SEP]", VOCAB_CONTROL, 0}, {"\xe2\x96\x81un", VOCAB_NORMAL, 0}, {"aff", VOCAB_NORMAL, 0},
        {"able", VOCAB_NORMAL, 0}, {"\xe2\x96\x81unaf", VOCAB_NORMAL, 0}, {"\xe2\x96\x81!", VOCAB_NORMAL, 0},
        {"\xe2\x96\x81\xe4\xb8\xad", VOCAB_NORMAL, 0}, {"\xe2\x96\x81\xe1\x84\x80", VOCAB_NORMAL, 0},
        {NULL, 0, 0}};
    struct gguf_writer w;
    gguf_writer_init(&w);
    gguf_write_str(&w, "tokenizer.ggml.model", STR("bert"));
    vocab_write(&w, tokens, false);
    struct vocab v = open_ok(w);
    check_ids(&v, STR("\xc3\x9cn\xc2\xad aff"), true, false, (int32_t[]){1, 3, 0, 2}, 4);
    check_ids(&v, STR("UNable"), false, false, (int32_t[]){3, 5}, 2);
    check_ids(&v, STR("unaffable"), false, false, (int32_t[]){0}, 1); /* unaf + nothing: no way back */
    check_ids(&v, STR("un!\xe4\xb8\xad!un"), false, false, (int32_t[]){3, 7, 8, 7, 3}, 5);
    check_ids(&v, STR("\xea\xb0\x80\xff\0 \n"), false, false, (int32_t[]){9}, 1); /* U+AC00 */
    check_ids(&v, STR("[SEP]un[CLS]"), false, true, (int32_t[]){2, 3, 1}, 3);
    check_ids(&v, STR(""), true, false, (int32_t[]){1, 2}, 2);
    struct buf text;
    struct error err;
    buf_init(&text, 1000);
    assert_int_equal(tokenizer_decode(v.t, (int32_t[]){1, 3, 5, 7, 2}, 5, false, &text, &err), 0);
    assert_true(str_is(buf_str(&text), "unable !"));
    buf_free(&text);
    vocab_close(&v);
}

static void unknown_kinds_are_named(void **state)
{
    (void)state;
    struct gguf_writer w;
    gguf_writer_init(&w);
    open_fails(w, ERROR_INVALID, "tokenizer.ggml.model");
    gguf_writer_init(&w);
    gguf_write_str(&w, "tokenizer.ggml.model", STR("rwkv"));
    open_fails(w, ERROR_UNSUPPORTED, "'rwkv'");
    gguf_writer_init(&w);
    gguf_write_str(&w, "tokenizer.ggml.model", STR("gpt2"));
    gguf_write_str(&w, "tokenizer.ggml.pre", STR("never-heard-of"));
    open_fails(w, ERROR_UNSUPPORTED, "'never-heard-of'");
}

static struct gguf_writer bad_vocab(const struct vocab_token *tokens, const char *model)
{
    struct gguf_writer w;
    gguf_writer_init(&w);
    gguf_write_str(&w, "tokenizer.ggml.model", str_from(model));
    vocab_write(&w, tokens, strcmp(model, "llama") == 0);
    return w;
}

static void refuses_broken_vocabularies(void **state)
{
    (void)state;
    static const struct vocab_token none[] = {{NULL, 0, 0}},
                                    twice[] = {{"a", 1, 0}, {"a", 1, 0}, {NULL, 0, 0}},
                                    nan_score[] = {{"<unk>", 2, 0}, {"a", 1, NAN}, {NULL, 0, 0}},
                                    byte[] = {{"<0xZZ>", VOCAB_BYTE, 0}, {NULL, 0, 0}},
                                    no_bytes[] = {{"a", 1, 0}, {NULL, 0, 0}};
    open_fails(bad_vocab(none, "llama"), ERROR_INVALID, "0 tokens");
    open_fails(bad_vocab(twice, "llama"), ERROR_INVALID, "'a' twice");
    open_fails(bad_vocab(nan_score, "llama"), ERROR_INVALID, "score of token 1");
    open_fails(bad_vocab(byte, "llama"), ERROR_INVALID, "byte token 0");
    open_fails(bad_vocab(no_bytes, "gpt2"), ERROR_INVALID, "tokenizer.ggml.merges");
    static char longer[LIMIT_TOKEN + 2];
    memset(longer, 'x', sizeof longer - 1);
    const struct vocab_token too_long[] = {{longer, 1, 0}, {NULL, 0, 0}};
    open_fails(bad_vocab(too_long, "llama"), ERROR_LIMIT, "token 0");
    struct gguf_writer w;
    gguf_writer_init(&w);
    gguf_write_str(&w, "tokenizer.ggml.model", STR("llama"));
    gguf_write_array(&w, "tokenizer.ggml.tokens", GGUF_INT32, (const int32_t[]){1}, 1);
    open_fails(w, ERROR_INVALID, "tokenizer.ggml.tokens");
    for (uint32_t count = 0; count <= 3; count++) {
        gguf_writer_init(&w);
        gguf_write_str(&w, "tokenizer.ggml.model", STR("llama"));
        gguf_write_strs(&w, "tokenizer.ggml.tokens", (const struct str[]){STR("<unk>"), STR("b")}, 2);
        gguf_write_array(
            &w, "tokenizer.ggml.scores", GGUF_FLOAT32, (const float[]){0, 0, 0}, count == 2 ? 1 : 2);
        gguf_write_array(&w, "tokenizer.ggml.token_type", GGUF_INT32, (const int32_t[]){2, 1, 1}, count);
        open_fails(w, ERROR_INVALID, count == 2 ? "tokenizer.ggml.scores" : "tokenizer.ggml.token_type");
    }
}

static void refuses_broken_merges(void **state)
{
    (void)state;
    static const struct vocab_token tokens[] = {{"a", 1, 0}, {"b", 1, 0}, {NULL, 0, 0}};
    static const char *const merges[] = {"ab", "", " ", "a"};
    for (size_t i = 0; i < sizeof merges / sizeof *merges; i++) {
        struct gguf_writer w = bad_vocab(tokens, "gpt2");
        const struct str list[] = {STR("a b"), str_from(merges[i])};
        gguf_write_strs(&w, "tokenizer.ggml.merges", list, 2);
        open_fails(w, ERROR_INVALID, "merge 1");
    }
}

static int64_t time_of(const struct vocab *v, const struct buf *text)
{
    struct token_list list = {0};
    struct error err;
    int64_t start = clock_mono_ms();
    assert_int_equal(tokenizer_encode(v->t, buf_str(text), true, true, &list, &err), 0);
    assert_true(list.count > 0);
    free(list.ids);
    return clock_mono_ms() - start;
}

static struct buf repeated(const char *part, const char *last, size_t size)
{
    struct buf b;
    buf_init(&b, size + 64);
    while (b.len < size)
        buf_append_text(&b, part);
    buf_append_text(&b, last);
    assert_int_equal(b.failed, 0);
    return b;
}

/* Anything quadratic would take hours for the megabyte, and half a minute for the small texts. */
static void the_worst_texts_take_linear_time(void **state)
{
    (void)state;
    static const char *const parts[][2] = {{"a", ""}, {" ", ""}, {" ", "x"}, {" ", "\xe4\xb8\x80"},
        {"\n", ""}, {"\n", "a"}, {" \n", "a"}, {"A", "1"}, {"\xf0\x9f\x99\x82", ""}, {"\xff", ""}, {"1", "a"},
        {"'", ""}, {"<", ""}, {"<|im_start|", ""}, {"!", ""}, {"\xe4\xb8\x80", "a"}, {"\xcc\x81", ""},
        {"\t ", "x"}};
    for (int p = -1; p < N_PRES; p++) {
        struct vocab v = p < 0 ? sample("llama", "") : sample("gpt2", pres[p]);
        bool full = p < 0 || strcmp(pres[p], "llama-bpe") == 0 || strcmp(pres[p], "qwen2") == 0 ||
                    strcmp(pres[p], "jais-2") == 0;
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
            struct buf text = repeated(parts[i][0], parts[i][1], full ? MIB : 64 * KIB);
            int64_t ms = time_of(&v, &text);
            if (ms > 10000)
                fail_msg("'%s...%s' takes %lld ms (%s)", parts[i][0], parts[i][1], (long long)ms,
                    p < 0 ? "llama" : pres[p]);
            buf_free(&text);
        }
        vocab_close(&v);
    }
}

/* Special tokens that begin alike and overlap themselves, over a text made of them. */
static void overlapping_special_tokens_take_linear_time(void **state)
{
    (void)state;
    static struct vocab_token tokens[66];
    static char texts[64][68];
    tokens[0] = (struct vocab_token){"<unk>", VOCAB_UNKNOWN, 0};
    for (int i = 0; i < 64; i++) {
        memset(texts[i], '-', (size_t)i + 1);
        texts[i][i + 1] = i % 2 ? '|' : '\0';
        tokens[i + 1] = (struct vocab_token){texts[i], VOCAB_USER, 0};
    }
    struct vocab v = open_ok(bad_vocab(tokens, "llama"));
    struct buf text = repeated("-", "", MIB);
    assert_true(time_of(&v, &text) < 10000);
    buf_free(&text);
    vocab_close(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama_merges_by_score),
        cmocka_unit_test(llama_falls_back_to_bytes),
        cmocka_unit_test(special_tokens_only_where_asked),
        cmocka_unit_test(special_tokens_longest_first),
        cmocka_unit_test(phi3_tokens_swallow_white_space),
        cmocka_unit_test(masks_swallow_white_space),
        cmocka_unit_test(ends_are_known_by_id_and_by_text),
        cmocka_unit_test(harmony_does_not_end_at_end),
        cmocka_unit_test(decoding_undoes_the_leading_space),
        cmocka_unit_test(texts_and_ids_are_looked_up),
        cmocka_unit_test(any_text_comes_back),
        cmocka_unit_test(gpt2_cuts_words_as_the_model_says),
        cmocka_unit_test(ignore_merges_takes_whole_words),
        cmocka_unit_test(wordpiece_takes_the_longest_from_the_left),
        cmocka_unit_test(unknown_kinds_are_named),
        cmocka_unit_test(refuses_broken_vocabularies),
        cmocka_unit_test(refuses_broken_merges),
        cmocka_unit_test(the_worst_texts_take_linear_time),
        cmocka_unit_test(overlapping_special_tokens_take_linear_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
