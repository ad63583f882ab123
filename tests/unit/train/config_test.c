/* The configuration: what it may say and what is said of mistakes. */
#include "folder.h"

static const char good[] =
    "model: {layers: 6, embed: 256, heads: 8, kv_heads: 4, ffn: 704, vocab: 2048, context: 1024}\n"
    "data: {train: [a.jsonl, /b.jsonl]}\n"
    "train: {steps: 10, batch_tokens: 100, accumulate: 3, seed: 5}\n";

static int read_text(struct folder *f, const char *text, struct train_config *c, struct error *err)
{
    return train_config_read(folder_write(f, "c.yaml", text), TRAIN_NEW, c, err);
}

static void test_a_configuration_is_read(void **state)
{
    struct folder f;
    struct train_config c;
    struct error err;
    (void)state;
    folder_create(&f);
    if (read_text(&f, good, &c, &err))
        fail_msg("%s", err.message);
    assert_int_equal(c.shape.head_width, 32);
    assert_true(c.shape.tied);
    assert_int_equal(c.schedule.batch_tokens, 300);
    assert_int_equal(c.schedule.seed, 5);
    assert_int_equal(c.type, TENSOR_F16);
    assert_int_equal(c.data.count, 2);
    assert_string_equal(c.data.paths[0].data, folder_file(&f, "a.jsonl"));
    assert_string_equal(c.data.paths[1].data, "/b.jsonl");
    arena_free(c.arena);
    assert_int_equal(read_text(&f,
                         "{\"model\": {\"layers\": 1, \"embed\": 8, \"heads\": 1, \"ffn\": 8, \"vocab\": "
                         "300, \"context\": 16},\n"
                         " \"data\": {\"train\": \"a\"}, \"train\": {\"epochs\": 2}}",
                         &c, &err),
        0); /* JSON */
    assert_int_equal(c.schedule.epochs, 2);
    arena_free(c.arena);
    folder_free(&f);
}

static void test_mistakes_are_named(void **state)
{
    static const char *const bad[][3] = {{"kv_heads: 4", "kv_heads: 3", "heads"},
        {"embed: 256", "embed: 257", "even"}, {"steps: 10", "stepz: 10", "steps"},
        {"steps: 10", "steps: 10, epochs: 2", "either"}, {"layers: 6, ", "", "layers"},
        {"vocab: 2048", "vocab: 20", "vocab"}, {"train: [a.jsonl, /b.jsonl]", "validation: x", "'train'"},
        {"seed: 5", "clip: -1", "clip"}, {"seed: 5", "optimizer: sgd", "muon"},
        {"model:", "modell:", "model"}, {"train: {steps", "output: {type: Q4_9}\ntrain: {steps", "Q8_0"}};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct folder f;
        struct train_config c;
        struct error err;
        char text[1024];
        folder_create(&f);
        const char *at = strstr(good, bad[i][0]);
        assert_non_null(at);
        snprintf(text, sizeof text, "%.*s%s%s", (int)(at - good), good, bad[i][1], at + strlen(bad[i][0]));
        assert_int_equal(read_text(&f, text, &c, &err), ERROR_INVALID);
        if (!strstr(err.message, bad[i][2]) || !strstr(err.message, "c.yaml:"))
            fail_msg("'%s' does not name '%s' and the line", err.message, bad[i][2]);
        arena_free(c.arena);
        folder_free(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_configuration_is_read),
        cmocka_unit_test(test_mistakes_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
