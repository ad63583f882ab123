/* Token ids against llama.cpp's, over real and cut vocabularies of the shared reference data. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/worker/tokenizer.h"
#include "json/json.h"
#include "shared.h"

struct tally {
    size_t cases, wrong;
};

static void check(
    const struct tokenizer *t, const json_t *text, bool special, const json_t *want, struct tally *tally)
{
    struct token_list list = {0};
    struct error err;
    assert_int_equal(tokenizer_encode(t, json_str(text), special, special, &list, &err), 0);
    bool same = list.count == json_array_size(want);
    for (size_t i = 0; i < list.count && same; i++)
        same = list.ids[i] == json_integer_value(json_array_get(want, i));
    if (!same)
        print_message("wrong ids for: %s\n", json_string_value(text));
    tally->cases++;
    tally->wrong += !same;
    free(list.ids);
}

/* What was encoded comes back, with and without special tokens (a special token read from the text does not).
 */
static void check_back(const struct tokenizer *t, const json_t *text, struct tally *tally)
{
    struct token_list list = {0};
    struct error err;
    struct buf out;
    buf_init(&out, 1 << 20);
    assert_int_equal(tokenizer_encode(t, json_str(text), true, false, &list, &err), 0);
    assert_int_equal(tokenizer_decode(t, list.ids, list.count, false, &out, &err), 0);
    bool same = str_eq(buf_str(&out), json_str(text));
    if (!same)
        print_message("does not come back: %s\n", json_string_value(text));
    tally->cases++;
    tally->wrong += !same;
    buf_free(&out);
    free(list.ids);
}

static struct tokenizer *open_tokenizer(const char *name, struct gguf **g, struct error *err)
{
    char path[1200];
    struct tokenizer *t = NULL;
    snprintf(path, sizeof path, "%s/vectors/tokenizers/%s.gguf", shared_folder(), name);
    *g = shared_gguf(path);
    assert_non_null(*g);
    if (tokenizer_create(*g, &t, err))
        gguf_close(*g);
    return t;
}

static void check_vocabulary(const char *name)
{
    char path[1200];
    struct gguf *g;
    struct error err;
    struct str line;
    struct tally ids = {0}, back = {0};
    struct tokenizer *t = open_tokenizer(name, &g, &err);
    assert_non_null(t);
    snprintf(path, sizeof path, "%s/vectors/tokenizers/%s.jsonl", shared_folder(), name);
    struct buf file = shared_read(path);
    for (struct str rest = buf_str(&file); str_split(&rest, '\n', &line);) {
        json_t *root;
        assert_int_equal(json_read(line, &root, &err), 0);
        const json_t *text = json_object_get(root, "text");
        check(t, text, false, json_object_get(root, "ids"), &ids);
        check(t, text, true, json_object_get(root, "ids_special"), &ids);
        /* phi-3 finds </s> in plain text too, and what is special is not decoded; BERT's case and accents are
         * lost */
        if (!strstr(json_string_value(text), "</s>") && !strstr(name, "bert"))
            check_back(t, text, &back);
        json_decref(root);
    }
    print_message("%s: %zu of %zu agree, %zu of %zu come back\n", name, ids.cases - ids.wrong, ids.cases,
        back.cases - back.wrong, back.cases);
    assert_true(ids.cases > 0);
    assert_int_equal(ids.wrong, 0);
    assert_int_equal(back.wrong, 0);
    buf_free(&file);
    tokenizer_free(t);
    gguf_close(g);
}

static void real_vocabularies_agree(void **state)
{
    (void)state;
    if (shared_absent("vectors/tokenizers"))
        return;
    check_vocabulary("ggml-vocab-llama-spm");
    check_vocabulary("ggml-vocab-phi-3");
    check_vocabulary("ggml-vocab-gpt-2");
    check_vocabulary("ggml-vocab-falcon");
    check_vocabulary("ggml-vocab-deepseek-llm");
    check_vocabulary("ggml-vocab-bert-bge");
}

/* One line of pre/cases.jsonl; false: this build says that it does not support it. */
static bool check_pre(const char *pre, const json_t *all_ids, const json_t *texts)
{
    char name[128];
    struct gguf *g;
    struct error err;
    struct tally tally = {0};
    snprintf(name, sizeof name, "pre/%s", pre);
    struct tokenizer *t = open_tokenizer(name, &g, &err);
    if (!t) {
        assert_int_equal(err.code, ERROR_UNSUPPORTED);
        assert_non_null(strstr(err.message, pre));
        print_message("%s: not supported\n", pre);
        return false;
    }
    size_t i;
    json_t *ids;
    json_array_foreach((json_t *)(uintptr_t)all_ids, i, ids)
        check(t, json_array_get(texts, i), false, ids, &tally);
    if (tally.wrong)
        print_message("%s: %zu of %zu wrong\n", pre, tally.wrong, tally.cases);
    assert_true(tally.cases > 50);
    assert_int_equal(tally.wrong, 0);
    tokenizer_free(t);
    gguf_close(g);
    return true;
}

static void pre_tokenizers_agree(void **state)
{
    (void)state;
    char path[1200];
    struct error err;
    struct str line;
    size_t supported = 0;
    if (shared_absent("vectors/tokenizers/pre"))
        return;
    snprintf(path, sizeof path, "%s/vectors/tokenizers/pre/cases.jsonl", shared_folder());
    struct buf file = shared_read(path);
    json_t *texts = json_array();
    for (struct str rest = buf_str(&file); str_split(&rest, '\n', &line);) {
        json_t *root;
        assert_int_equal(json_read(line, &root, &err), 0);
        const char *pre = json_string_value(json_object_get(root, "pre"));
        if (pre)
            supported += check_pre(pre, json_object_get(root, "ids"), texts);
        else
            json_array_append(texts, json_object_get(root, "text"));
        json_decref(root);
    }
    print_message("%zu pre-tokenizers agree\n", supported);
    assert_true(supported >= 30);
    json_decref(texts);
    buf_free(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_vocabularies_agree),
        cmocka_unit_test(pre_tokenizers_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
