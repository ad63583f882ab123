/* What of a conversation is learned, and how examples are ordered and packed. */
#include "folder.h"

#include "train/data.h"
#include "train/text.h"

struct rig {
    struct folder f;
    struct train_text text;
    struct train_data data;
    struct error err;
    int rc;
};

static void rig_create(struct rig *r, const char *lines, int32_t context)
{
    *r = (struct rig){.rc = 0};
    folder_create(&r->f);
    struct str paths[] = {str_from(folder_examples(&r->f, "d.jsonl", 20))},
               own[] = {str_from(folder_write(&r->f, "v.jsonl", lines))};
    const struct train_files files = {paths, 1}, lines_only = {own, 1};
    assert_int_equal(train_text_learn(&files, 300, &r->text, &r->err), 0);
    r->rc = data_read(&lines_only, &r->text, context, &r->data, NULL, 0, 1, &r->err);
}

static void rig_free(struct rig *r)
{
    data_free(&r->data);
    train_text_free(&r->text);
    folder_free(&r->f);
}

/* The text of an example's tokens that are learned, or of all. */
static const char *text_of(struct rig *r, size_t doc, bool learned)
{
    struct buf out;
    buf_init(&out, 1 << 16);
    for (size_t i = r->data.starts[doc]; i < r->data.starts[doc + 1]; i++)
        if (!learned || r->data.learned[i])
            tokenizer_append_piece(r->text.tokenizer, r->data.tokens[i], true, &out);
    const char *text = arena_strdup(r->f.arena, buf_str(&out));
    buf_free(&out);
    return text;
}

/* The refusal of another role named four of them. */
static void test_every_role_that_is_known_is_named_and_no_other(void **state)
{
    static const char *const roles[] = {
        "system", "developer", "user", "assistant", "tool", "function", "ipython", "observation"};
    struct rig r;
    (void)state;
    rig_create(&r, "{\"messages\": [{\"role\": \"narrator\", \"content\": \"one\"}]}\n", 200);
    assert_int_equal(r.rc, ERROR_INVALID);
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        assert_non_null(strstr(strstr(r.err.message, "must be"), roles[i]));
    rig_free(&r);
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        char line[256];
        snprintf(line, sizeof line,
            "{\"messages\": [{\"role\": \"%s\", \"content\": \"one\"}, "
            "{\"role\": \"assistant\", \"content\": \"yes\"}]}\n",
            roles[i]);
        rig_create(&r, line, 200);
        assert_int_equal(r.rc, 0);
        rig_free(&r);
    }
}

/* OpenAI's files may have a list of parts for a content; one that is not all text is refused by its line. */
static void test_a_content_of_parts_is_their_text(void **state)
{
    struct rig r;
    (void)state;
    rig_create(&r,
        "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"one\"}, "
        "{\"type\": \"text\", \"text\": \"?\"}]}, {\"role\": \"assistant\", \"content\": \"yes one\"}]}\n",
        200);
    assert_int_equal(r.rc, 0);
    assert_non_null(strstr(text_of(&r, 0, false), "one?"));
    rig_free(&r);
    rig_create(&r,
        "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image_url\"}]}, "
        "{\"role\": \"assistant\", \"content\": \"yes one\"}]}\n",
        200);
    assert_int_not_equal(r.rc, 0);
    assert_non_null(strstr(r.err.message, ":1: messages[0] must have"));
    rig_free(&r);
}

static void test_only_what_assistants_say_is_learned(void **state)
{
    struct rig r;
    (void)state;
    rig_create(&r,
        "{\"messages\": [{\"role\": \"system\", \"content\": \"be brief\"}, {\"role\": \"user\", "
        "\"content\": \"one?\"}, {\"role\": "
        "\"assistant\", \"content\": \"yes one\"}, {\"role\": \"user\", \"content\": \"two?\"}, {\"role\": "
        "\"assistant\", "
        "\"content\": \"no two\"}]}\n",
        200);
    assert_int_equal(r.rc, 0);
    assert_int_equal(r.data.n_docs, 1);
    assert_string_equal(text_of(&r, 0, true), "yes one<|im_end|>no two<|im_end|>");
    assert_string_equal(text_of(&r, 0, false),
        "<|im_start|>system\nbe "
        "brief<|im_end|>\n<|im_start|>user\none?<|im_end|>\n<|im_start|>assistant\nyes "
        "one<|im_end|>\n<|im_start|>user\ntwo?<|im_end|>\n<|im_start|>assistant\nno two<|im_end|>\n");
    rig_free(&r);
}

static void test_a_weight_of_nothing_is_not_learned(void **state)
{
    struct rig r;
    (void)state;
    rig_create(&r,
        "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": "
        "\"bad\", \"weight\": 0}, "
        "{\"role\": \"user\", \"content\": \"b\"}, {\"role\": \"assistant\", \"content\": \"good\", "
        "\"weight\": 1}]}\n",
        200);
    assert_int_equal(r.rc, 0);
    assert_string_equal(text_of(&r, 0, true), "good<|im_end|>");
    rig_free(&r);
}

static void test_an_answer_counts_as_often_as_its_weight_says(void **state)
{
    struct rig r;
    struct data_order order = {0};
    struct batch b = {0};
    struct error err = {0};
    (void)state;
    rig_create(&r,
        "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": "
        "\"long\", \"weight\": 1}, "
        "{\"role\": \"user\", \"content\": \"b\"}, {\"role\": \"assistant\", \"content\": \"x\", "
        "\"weight\": 7}]}\n",
        200);
    assert_int_equal(r.rc, 0);
    assert_int_equal(data_order_create(&r.data, 1, &order, &err), 0);
    assert_int_equal(train_batch_take(&order, 1, 200, 0, &b, &err), 0);
    const struct train_sequence *s = &b.sequences[0];
    double sum = 0;
    for (int32_t i = 0; i < s->n_targets; i++)
        sum += (double)s->weights[i];
    assert_float_equal(sum, (double)(s->n_targets - 2) + 2 * 7, 1e-9); /* "x" and the mark that ends it */
    assert_float_equal(b.weight, sum, 1e-9);
    assert_int_equal(r.data.n_learned, s->n_targets);
    train_batch_free(&b);
    data_order_free(&order);
    rig_free(&r);
}

static void test_what_does_not_fit_or_teach_is_counted(void **state)
{
    struct rig r;
    (void)state;
    rig_create(&r,
        "{\"messages\": [{\"role\": \"user\", \"content\": \"only a question\"}]}\n\n"
        "{\"messages\": [{\"role\": \"user\", \"content\": \"a long one: xyzzy xyzzy xyzzy xyzzy xyzzy xyzzy "
        "xyzzy\"}, "
        "{\"role\": \"assistant\", \"content\": \"ok\"}]}\n"
        "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}, {\"role\": \"assistant\", \"content\": "
        "\"ok\"}]}\n",
        30);
    assert_int_equal(r.rc, 0);
    assert_int_equal(r.data.n_docs, 1);
    assert_int_equal(r.data.too_long, 1);
    assert_int_equal(r.data.nothing_to_learn, 1);
    rig_free(&r);
}

static void test_bad_lines_are_named(void **state)
{
    static const char *const bad[][2] = {{"{\"messages\": []}\n", "v.jsonl:1"},
        {"\n{\"messages\": 3}\n", "v.jsonl:2"}, {"nonsense\n", "v.jsonl:1"}, {"[]\n", "an object"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": 3}]}\n", "messages[0]"},
        {"{\"messages\": [{\"content\": \"x\"}]}\n", "'role'"}};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct rig r;
        rig_create(&r, bad[i][0], 100);
        assert_int_not_equal(r.rc, 0);
        if (!strstr(r.err.message, bad[i][1]))
            fail_msg("%s lacks %s", r.err.message, bad[i][1]);
        rig_free(&r);
    }
}

/* ---- Order and packing ---- */
static struct train_data numbers(const size_t *lengths, size_t n)
{
    struct train_data d = {.n_docs = n};
    d.starts = calloc(n + 1, sizeof *d.starts);
    for (size_t i = 0; i < n; i++)
        d.starts[i + 1] = d.starts[i] + lengths[i];
    d.n_tokens = d.starts[n];
    d.tokens = calloc(d.n_tokens, sizeof *d.tokens);
    d.learned = calloc(d.n_tokens, 1);
    for (size_t i = 0; i < n; i++)
        for (size_t j = d.starts[i]; j < d.starts[i + 1]; j++) {
            d.tokens[j] = (int32_t)i;
            d.learned[j] = j % 2;
        }
    return d;
}

static void test_an_epoch_has_each_example_once(void **state)
{
    static const size_t lengths[] = {5, 9, 4, 12, 7, 3, 11};
    struct train_data d = numbers(lengths, 7);
    struct data_order o;
    size_t seen[7] = {0};
    (void)state;
    assert_int_equal(data_order_create(&d, 3, &o, NULL), 0);
    for (size_t total = 0; total < 2 * d.n_tokens;) {
        struct batch b = {0};
        assert_int_equal(train_batch_take(&o, 10, 16, 0, &b, NULL), 0);
        for (size_t i = 0; i < b.n_sequences; i++) {
            assert_true(b.sequences[i].n_tokens <= 16);
            for (int32_t j = 0; j < b.sequences[i].n_docs; j++)
                seen[b.sequences[i].tokens[b.sequences[i].docs[j]]]++;
        }
        total += (size_t)b.n_tokens;
        if (o.epoch == 0 && o.next == 7)
            for (size_t i = 0; i < 7; i++)
                assert_int_equal(seen[i], 1);
        train_batch_free(&b);
    }
    data_order_free(&o);
    data_free(&d);
}

static void test_sequences_are_equally_long(void **state)
{
    size_t lengths[40];
    struct batch b = {0};
    (void)state;
    for (size_t i = 0; i < 40; i++)
        lengths[i] = 20 + i * 7 % 60;
    struct train_data d = numbers(lengths, 40);
    assert_int_equal(train_batch_make(&d, 40, 1024, &b, NULL), 0);
    assert_int_equal(b.n_sequences, 4);
    for (size_t i = 0; i < 4; i++)
        assert_true(abs(b.sequences[i].n_tokens - (int32_t)(d.n_tokens / 4)) < 60);
    assert_int_equal(b.n_tokens, d.n_tokens);
    train_batch_free(&b);
    data_free(&d);
}

/* The token before a learned one has it as its target; the last token of an example has none. */
static void test_targets_are_the_next_tokens(void **state)
{
    static const size_t lengths[] = {6, 3};
    struct train_data d = numbers(lengths, 2);
    struct batch b = {0};
    (void)state;
    assert_int_equal(train_batch_make(&d, 2, 100, &b, NULL), 0);
    assert_int_equal(b.n_sequences, 1);
    const struct train_sequence *s = &b.sequences[0];
    static const int32_t rows[] = {0, 2, 4, 6};
    assert_int_equal(s->n_targets, 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(s->rows[i], rows[i]);
        assert_int_equal(s->targets[i], s->tokens[rows[i] + 1]);
    }
    assert_true(b.weight == 4);
    train_batch_free(&b);
    data_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_role_that_is_known_is_named_and_no_other),
        cmocka_unit_test(test_a_content_of_parts_is_their_text),
        cmocka_unit_test(test_only_what_assistants_say_is_learned),
        cmocka_unit_test(test_a_weight_of_nothing_is_not_learned),
        cmocka_unit_test(test_an_answer_counts_as_often_as_its_weight_says),
        cmocka_unit_test(test_what_does_not_fit_or_teach_is_counted),
        cmocka_unit_test(test_bad_lines_are_named),
        cmocka_unit_test(test_an_epoch_has_each_example_once),
        cmocka_unit_test(test_sequences_are_equally_long),
        cmocka_unit_test(test_targets_are_the_next_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
