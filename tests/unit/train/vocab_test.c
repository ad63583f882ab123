/* The tokenizer that training learns, read back by the engine's. */
#include "folder.h"

#include "engine/worker/gguf.h"
#include "train/text.h"

static const char data[] =
    "{\"messages\": [{\"role\": \"user\", \"content\": \"the weather in the weir is wet, 1234567 times\"},"
    "{\"role\": \"assistant\", \"content\": \"the weir\"}]}\n"
    "{\"messages\": [{\"role\": \"user\", \"content\": \"aaaaaaa aaaa the the weather \\u00fc\\u00fc "
    "\\u65e5\\u672c\"},"
    "{\"role\": \"assistant\", \"content\": \"weather weather\"}]}\n";

static void learn(struct folder *f, int32_t most, struct train_text *t)
{
    const char *path = folder_write(f, "d.jsonl", data);
    struct str paths[] = {str_from(path)};
    const struct train_files files = {paths, 1};
    struct error err;
    if (train_text_learn(&files, most, t, &err))
        fail_msg("%s", err.message);
}

static struct token_list encode(const struct train_text *t, const char *text)
{
    struct token_list ids = {0};
    assert_int_equal(tokenizer_encode(t->tokenizer, str_from(text), false, true, &ids, NULL), 0);
    return ids;
}

static void round_trip(const struct train_text *t, const char *text)
{
    struct token_list ids = encode(t, text);
    struct buf out;
    buf_init(&out, 1 << 16);
    assert_int_equal(tokenizer_decode(t->tokenizer, ids.ids, ids.count, true, &out, NULL), 0);
    assert_string_equal(out.data, text);
    buf_free(&out);
    free(ids.ids);
}

static void test_any_text_comes_back(void **state)
{
    struct folder f;
    struct train_text t;
    (void)state;
    folder_create(&f);
    learn(&f, 300, &t);
    round_trip(&t, "the weather in the weir");
    round_trip(&t, "never seen: \xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 \t\n\n  x");
    round_trip(&t, "<|im_start|>user\nhi<|im_end|>\n");
    train_text_free(&t);
    folder_free(&f);
}

static void test_frequent_words_are_tokens_and_digits_are_single(void **state)
{
    struct folder f;
    struct train_text t;
    (void)state;
    folder_create(&f);
    learn(&f, 300, &t);
    struct token_list ids = encode(&t, " weather");
    assert_int_equal(ids.count, 1);
    free(ids.ids);
    ids = encode(&t, "1234567");
    assert_int_equal(ids.count, 7);
    free(ids.ids);
    ids = encode(&t, "<|im_end|>");
    assert_int_equal(ids.count, 1);
    assert_true(tokenizer_is_end(t.tokenizer, ids.ids[0]));
    free(ids.ids);
    train_text_free(&t);
    folder_free(&f);
}

static void test_the_same_data_give_the_same_tokenizer(void **state)
{
    struct folder f;
    struct train_text a, b;
    (void)state;
    folder_create(&f);
    learn(&f, 290, &a);
    learn(&f, 290, &b);
    assert_int_equal(a.bytes.len, b.bytes.len);
    assert_memory_equal(a.bytes.data, b.bytes.data, a.bytes.len);
    train_text_free(&a);
    train_text_free(&b);
    folder_free(&f);
}

/* Words repeat too little for more merges; and two ways to the same text are one token. */
static void test_a_vocabulary_ends_where_the_data_do(void **state)
{
    struct folder f;
    struct train_text t;
    (void)state;
    folder_create(&f);
    learn(&f, 4096, &t);
    const int32_t n = tokenizer_vocab_size(t.tokenizer);
    assert_true(n > 259 && n < 400);
    for (int32_t i = 0; i < n; i++)
        assert_int_equal(tokenizer_find(t.tokenizer, tokenizer_text(t.tokenizer, i)), i);
    train_text_free(&t);
    folder_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_text_comes_back),
        cmocka_unit_test(test_frequent_words_are_tokens_and_digits_are_single),
        cmocka_unit_test(test_the_same_data_give_the_same_tokenizer),
        cmocka_unit_test(test_a_vocabulary_ends_where_the_data_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
