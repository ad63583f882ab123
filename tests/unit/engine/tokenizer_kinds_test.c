/* Unigram vocabularies and their normalisation, Gemma 4's merges of characters, BERT's cases. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/limits.h"
#include "vocab.h"

#define MARK "\xe2\x96\x81" /* U+2581 */

static struct vocab open_ok(struct gguf_writer w)
{
    struct vocab v;
    struct error err;
    if (vocab_open(&w, &v, &err))
        fail_msg("%s", err.message);
    return v;
}

static void open_fails(struct gguf_writer w, const char *words)
{
    struct vocab v;
    struct error err;
    int rc = vocab_open(&w, &v, &err);
    if (rc == 0)
        vocab_close(&v);
    if (rc != ERROR_INVALID || !strstr(err.message, words))
        fail_msg("got %d: %s", rc, rc ? err.message : "opened");
}

static void check_ids(const struct vocab *v, struct str text, bool special, const int32_t *ids, size_t count)
{
    struct token_list list = {0};
    struct error err;
    assert_int_equal(tokenizer_encode(v->t, text, special, special, &list, &err), 0);
    bool same = list.count == count;
    for (size_t i = 0; i < list.count; i++)
        same = same && list.ids[i] == ids[i];
    if (!same)
        for (size_t i = 0; i < list.count; i++)
            print_message("'" STR_FMT "' gives %d\n", STR_ARG(text), list.ids[i]);
    assert_true(same);
    free(list.ids);
}

#define IDS(...) (const int32_t[]){__VA_ARGS__}, sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t)

static void check_decoded(const struct vocab *v, const int32_t *ids, size_t count, const char *text)
{
    struct buf out;
    struct error err;
    buf_init(&out, 4096);
    assert_int_equal(tokenizer_decode(v->t, ids, count, false, &out, &err), 0);
    assert_string_equal(out.data ? out.data : "", text);
    buf_free(&out);
}

static const struct vocab_token ugm_tokens[] = {{"<pad>", VOCAB_CONTROL, 0}, {"</s>", VOCAB_CONTROL, 0},
    {"<unk>", VOCAB_UNKNOWN, 0}, {MARK, VOCAB_NORMAL, -3}, {"a", VOCAB_NORMAL, -2}, {"b", VOCAB_NORMAL, -2},
    {"ab", VOCAB_NORMAL, -3.5f}, {MARK "a", VOCAB_NORMAL, -2.5f}, {"bab", VOCAB_UNUSED, -1},
    {"<x>", VOCAB_USER, -50}, {NULL, 0, 0}};

enum { PAD, EOS, UNK, SPACE, A, B, AB, SPACE_A, BAB, USER };

static struct gguf_writer ugm_writer(bool prefix, bool remove_extra)
{
    struct gguf_writer w;
    gguf_writer_init(&w);
    gguf_write_str(&w, "tokenizer.ggml.model", STR("t5"));
    gguf_write_bool(&w, "tokenizer.ggml.add_space_prefix", prefix);
    gguf_write_bool(&w, "tokenizer.ggml.remove_extra_whitespaces", remove_extra);
    vocab_write(&w, ugm_tokens, true);
    return w;
}

static void unigram_takes_the_likeliest_pieces(void **state)
{
    (void)state;
    struct vocab v = open_ok(ugm_writer(true, false));
    check_ids(&v, STR("ab"), false, IDS(SPACE_A, B)); /* -4.5, not -6.5 */
    check_ids(&v, STR("bab"), false, IDS(SPACE, BAB));
    check_ids(&v, STR("aab"), false, IDS(SPACE_A, AB)); /* -6, not -6.5 */
    check_ids(&v,
        STR("azz\xe4\xb8\xad"
            "b"),
        false, IDS(SPACE_A, UNK, B));
    check_ids(&v, STR("a b"), true, IDS(SPACE_A, SPACE, B, EOS));
    check_ids(&v, STR("  a "), false, IDS(SPACE, SPACE, SPACE_A, SPACE));
    check_ids(&v, STR("a<x>a"), false, IDS(SPACE_A, USER, SPACE_A));
    check_ids(&v, STR("a</s>"), true, IDS(SPACE_A, EOS, EOS));
    check_ids(&v, STR(""), true, IDS(EOS));
    check_ids(&v, STR("a\xff"), false, IDS(SPACE_A, UNK));
    check_decoded(&v, IDS(SPACE_A, SPACE, B, EOS), "a b");
    assert_true(tokenizer_is_end(v.t, EOS));
    vocab_close(&v);
}

static void unigram_removes_extra_white_space(void **state)
{
    (void)state;
    struct vocab v = open_ok(ugm_writer(true, true));
    check_ids(&v, STR("  a   b  "), false, IDS(SPACE_A, SPACE, B));
    check_ids(&v, STR("   "), false, NULL, 0);
    vocab_close(&v);
    v = open_ok(ugm_writer(false, false));
    check_ids(&v, STR("a  b"), false, IDS(A, SPACE, SPACE, B));
    vocab_close(&v);
}

/* With a token for each byte nothing is unknown. */
static void unigram_falls_back_to_bytes(void **state)
{
    (void)state;
    static struct vocab_token tokens[300];
    static char spellings[256][8];
    size_t n = 0;
    for (; ugm_tokens[n].text; n++)
        tokens[n] = ugm_tokens[n];
    for (unsigned byte = 0; byte < 256; byte++) {
        snprintf(spellings[byte], sizeof spellings[byte], "<0x%02X>", byte);
        tokens[n + byte] = (struct vocab_token){spellings[byte], VOCAB_BYTE, 0};
    }
    struct gguf_writer w;
    gguf_writer_init(&w);
    gguf_write_str(&w, "tokenizer.ggml.model", STR("t5"));
    vocab_write(&w, tokens, true);
    struct vocab v = open_ok(w);
    int32_t byte = (int32_t)n;
    check_ids(&v, STR("a\xc3\xa9z"), false, IDS(A, byte + 0xC3, byte + 0xA9, byte + 'z'));
    check_decoded(&v, IDS(A, byte + 0xC3, byte + 0xA9, byte + 'z'), "a\xc3\xa9z");
    vocab_close(&v);
}

/* A character map in the making: 1024 units, then replacements. */
struct map_bytes {
    uint32_t size;
    uint32_t units[1024];
    char replacements[32];
};

enum { ROOT = 256, VALUES = 512 };

/* `key` (one byte) is replaced by what stands at `at`. */
static void map_key(struct map_bytes *m, uint8_t key, uint32_t at)
{
    uint32_t node = ROOT ^ key, value = VALUES + key;
    m->units[node] = key | 1u << 8 | (node ^ value) << 10;
    m->units[value] = 1u << 31 | at;
}

static struct map_bytes some_map(void)
{
    struct map_bytes m = {.size = sizeof m.units, .units = {ROOT << 10}, .replacements = "a\0\0a  b\0b"};
    map_key(&m, 'A', 0);
    map_key(&m, 'Q', 2); /* removed */
    map_key(&m, 'W', 3);
    /* "B" and "BB": the longest counts */
    uint32_t node = ROOT ^ 'B', value = VALUES, next = VALUES ^ 'B';
    m.units[node] = 'B' | 1u << 8 | (node ^ VALUES) << 10;
    m.units[value] = 1u << 31 | 0;
    m.units[next] = 'B' | 1u << 8 | (next ^ 900u) << 10;
    m.units[900] = 1u << 31 | 8;
    return m;
}

static struct gguf_writer map_writer(const struct map_bytes *m, size_t size)
{
    struct gguf_writer w = ugm_writer(true, true);
    gguf_write_array(&w, "tokenizer.ggml.precompiled_charsmap", GGUF_UINT8, m, size);
    return w;
}

static void text_is_normalised_by_the_file_s_map(void **state)
{
    (void)state;
    struct map_bytes m = some_map();
    struct vocab v = open_ok(map_writer(&m, sizeof m));
    check_ids(&v, STR("Ab"), false, IDS(SPACE_A, B));
    check_ids(&v, STR("aQQb"), false, IDS(SPACE_A, B));
    check_ids(&v, STR("W"), false, IDS(SPACE_A, SPACE, B));
    check_ids(&v, STR("B"), false, IDS(SPACE_A));
    check_ids(&v, STR("BB"), false, IDS(SPACE, B));
    check_ids(&v, STR("BBB"), false, IDS(SPACE, B, A));
    check_ids(&v, STR("QQ"), false, NULL, 0);
    vocab_close(&v);
}

static int encode_error(const struct map_bytes *m, struct str text)
{
    struct token_list list = {0};
    struct error err;
    struct vocab v = open_ok(map_writer(m, sizeof *m));
    int rc = tokenizer_encode(v.t, text, false, false, &list, &err);
    vocab_close(&v);
    free(list.ids);
    return rc;
}

static void hostile_character_maps_are_refused(void **state)
{
    (void)state;
    struct map_bytes m = some_map();
    open_fails(map_writer(&m, 3), "cut short");
    open_fails(map_writer(&m, sizeof m.units), "cut short");
    m.size = UINT32_MAX;
    open_fails(map_writer(&m, sizeof m), "cut short");
    m.size = 4093;
    open_fails(map_writer(&m, sizeof m), "cut short");
    m = some_map();
    map_key(&m, 'A', 1u << 30); /* a replacement beyond the end */
    assert_int_equal(encode_error(&m, STR("A")), ERROR_INVALID);
    m = some_map();
    m.units[ROOT ^ 'A'] = 'A' | 1u << 8 | 0xFFFFFu << 10; /* a value beyond the end */
    assert_int_equal(encode_error(&m, STR("A")), ERROR_INVALID);
    m = some_map();
    memset(m.replacements, 'x', sizeof m.replacements); /* no end */
    assert_int_equal(encode_error(&m, STR("A")), ERROR_INVALID);
    m = some_map();
    m.units[0] = 0xFFFFFu << 10; /* children beyond the end: nothing is replaced */
    assert_int_equal(encode_error(&m, STR("A")), 0);
}

/* A map that leads from a byte to itself, and one that makes much of little. */
static void character_maps_cost_no_more_than_their_share(void **state)
{
    (void)state;
    struct map_bytes m = some_map();
    m.units[ROOT ^ 'A'] = 'A' | (ROOT ^ 'A' ^ ROOT) << 10; /* its offset leads back to the root's children */
    struct vocab v = open_ok(map_writer(&m, sizeof m));
    struct buf text;
    struct token_list list = {0};
    struct error err;
    buf_init(&text, MIB);
    while (buf_append_char(&text, 'A') == 0)
        continue;
    int64_t start = clock_mono_ms();
    assert_int_equal(tokenizer_encode(v.t, buf_str(&text), false, false, &list, &err), 0);
    assert_true(clock_mono_ms() - start < 20000); /* quadratic would take hours */
    free(list.ids);
    vocab_close(&v);

    static struct {
        struct map_bytes map;
        char more[64 * 1024];
    } large;
    large.map = some_map();
    memset(large.map.replacements, 'a', sizeof large.map.replacements);
    memset(large.more, 'a', sizeof large.more - 1);
    struct gguf_writer w = ugm_writer(true, true);
    gguf_write_array(&w, "tokenizer.ggml.precompiled_charsmap", GGUF_UINT8, &large, sizeof large);
    v = open_ok(w);
    list = (struct token_list){0};
    assert_int_equal(tokenizer_encode(v.t, buf_str(&text), false, false, &list, &err), ERROR_LIMIT);
    free(list.ids);
    vocab_close(&v);
    buf_free(&text);
}

static void broken_unigram_vocabularies_are_refused(void **state)
{
    (void)state;
    static const struct vocab_token endless[] = {{"<pad>", VOCAB_CONTROL, 0}, {"a", VOCAB_NORMAL, -INFINITY},
        {"<unk>", VOCAB_UNKNOWN, 0}, {NULL, 0, 0}};
    static const struct vocab_token small[] = {{"a", VOCAB_NORMAL, 0}, {NULL, 0, 0}};
    struct gguf_writer w;
    gguf_writer_init(&w);
    gguf_write_str(&w, "tokenizer.ggml.model", STR("t5"));
    vocab_write(&w, endless, true);
    open_fails(w, "score of token 1");
    gguf_writer_init(&w);
    gguf_write_str(&w, "tokenizer.ggml.model", STR("t5"));
    vocab_write(&w, small, true);
    open_fails(w, "no unknown token");
}

static void gemma4_merges_characters(void **state)
{
    (void)state;
    static const struct vocab_token tokens[] = {{"<bos>", VOCAB_CONTROL, 0}, {"<eos>", VOCAB_CONTROL, 0},
        {MARK, VOCAB_NORMAL, 0}, {"a", VOCAB_NORMAL, 0}, {"b", VOCAB_NORMAL, 0}, {MARK "a", VOCAB_NORMAL, 0},
        {"ab", VOCAB_NORMAL, 0}, {"\n", VOCAB_NORMAL, 0}, {"\n\n", VOCAB_NORMAL, 0},
        {"<0xC3>", VOCAB_BYTE, 0}, {"<0xA9>", VOCAB_BYTE, 0}, {"\xe4\xb8\xad", VOCAB_NORMAL, 0},
        {NULL, 0, 0}};
    static const struct str merges[] = {{MARK " a", 5}, {"a b", 3}, {"b \xe4\xb8\xad", 5}};
    struct gguf_writer w;
    gguf_writer_init(&w);
    gguf_write_str(&w, "tokenizer.ggml.model", STR("gemma4"));
    gguf_write_bool(&w, "tokenizer.ggml.add_bos_token", false);
    gguf_write_u32(&w, "tokenizer.ggml.bos_token_id", 0);
    gguf_write_u32(&w, "tokenizer.ggml.eos_token_id", 1);
    vocab_write(&w, tokens, false);
    gguf_write_strs(&w, "tokenizer.ggml.merges", merges, 3);
    struct vocab v = open_ok(w);
    check_ids(&v, STR("ab ab"), true, IDS(0, 6, 5, 4)); /* a BOS whatever the file says */
    check_ids(&v, STR("a\n\na\n"), false, IDS(3, 8, 3, 7));
    check_ids(&v, STR("\n\n\n"), false, IDS(7, 7, 7)); /* no token of its own and no merge */
    check_ids(&v, STR("\xc3\xa9"), false, IDS(9, 10));
    check_ids(&v, STR("b\xe4\xb8\xad"), false, NULL, 0); /* merged to what is no token: its bytes are none */
    check_decoded(&v, IDS(0, 6, 5, 4, 8, 9, 10), "ab ab\n\n\xc3\xa9");
    vocab_close(&v);
}

static void bert_s_case_is_as_the_file_says(void **state)
{
    (void)state;
    static const struct vocab_token tokens[] = {{"[UNK]", VOCAB_CONTROL, 0}, {"[CLS]", VOCAB_CONTROL, 0},
        {"[SEP]", VOCAB_CONTROL, 0}, {MARK "un", VOCAB_NORMAL, 0}, {MARK "Un", VOCAB_NORMAL, 0},
        {MARK "\xc3\x9cn", VOCAB_NORMAL, 0}, {MARK "\xc3\xbcn", VOCAB_NORMAL, 0}, {NULL, 0, 0}};
    for (int i = 0; i < 4; i++) {
        struct gguf_writer w;
        gguf_writer_init(&w);
        gguf_write_str(&w, "tokenizer.ggml.model", STR("bert"));
        gguf_write_bool(&w, "tokenizer.ggml.normalizer.lowercase", i & 1);
        if (i & 2)
            gguf_write_bool(&w, "tokenizer.ggml.normalizer.strip_accents", !(i & 1));
        vocab_write(&w, tokens, false);
        struct vocab v = open_ok(w);
        static const int32_t wanted[] = {5, 3, 4, 6};
        check_ids(&v, STR("\xc3\x9cn"), false, &wanted[i], 1);
        vocab_close(&v);
    }
}

/* superbpe and its like cut a number in threes from its end. */
static void digits_are_cut_from_the_right(void **state)
{
    (void)state;
    static const struct vocab_token tokens[] = {{"1", VOCAB_NORMAL, 0}, {"2", VOCAB_NORMAL, 0},
        {"3", VOCAB_NORMAL, 0}, {"4", VOCAB_NORMAL, 0}, {"12", VOCAB_NORMAL, 0}, {"34", VOCAB_NORMAL, 0},
        {"234", VOCAB_NORMAL, 0}, {"a", VOCAB_NORMAL, 0}, {NULL, 0, 0}};
    static const char *const names[] = {"superbpe", "afmoe", "tiny_aya", "minicpm5", "gpt-2"};
    static const int32_t wanted[][4] = {{0, 6}, {0, 6}, {0, 6}, {4, 2, 3}, {4, 5}};
    static const size_t counts[] = {2, 2, 2, 3, 2};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct gguf_writer w;
        gguf_writer_init(&w);
        gguf_write_str(&w, "tokenizer.ggml.model", STR("gpt2"));
        gguf_write_str(&w, "tokenizer.ggml.pre", str_from(names[i]));
        vocab_write(&w, tokens, false);
        gguf_write_strs(
            &w, "tokenizer.ggml.merges", (const struct str[]){STR("1 2"), STR("3 4"), STR("2 34")}, 3);
        struct vocab v = open_ok(w);
        check_ids(&v, STR("1234"), false, wanted[i], counts[i]);
        check_ids(&v, STR("a"), false, IDS(7));
        vocab_close(&v);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unigram_takes_the_likeliest_pieces),
        cmocka_unit_test(unigram_removes_extra_white_space),
        cmocka_unit_test(unigram_falls_back_to_bytes),
        cmocka_unit_test(text_is_normalised_by_the_file_s_map),
        cmocka_unit_test(hostile_character_maps_are_refused),
        cmocka_unit_test(character_maps_cost_no_more_than_their_share),
        cmocka_unit_test(broken_unigram_vocabularies_are_refused),
        cmocka_unit_test(gemma4_merges_characters),
        cmocka_unit_test(bert_s_case_is_as_the_file_says),
        cmocka_unit_test(digits_are_cut_from_the_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
