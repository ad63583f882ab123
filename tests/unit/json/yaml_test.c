#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/limits.h"
#include "json/yaml.h"

static struct error err;

static int read_text(struct arena *a, const char *text, struct yaml_node **out)
{
    return yaml_read(a, str_from(text), "weir.yaml", out, &err);
}

static void refused(const char *text, const char *message)
{
    struct arena *a = arena_create(16 * MIB);
    struct yaml_node *root;
    assert_int_not_equal(read_text(a, text, &root), 0);
    if (!strstr(err.message, message))
        fail_msg("'%s' gave '%s', without '%s'", text, err.message, message);
    arena_free(a);
}

static void a_tree_with_lines(void **state)
{
    (void)state;
    struct arena *a = arena_create(16 * MIB);
    struct yaml_node *root;
    assert_int_equal(
        read_text(a, "# first\nlisten: 127.0.0.1:8080\nmodels:\n  - {name: a, n: 3}\n  - name: b\n", &root),
        0);
    assert_int_equal(root->kind, YAML_MAP);
    assert_int_equal(root->count, 2);
    assert_int_equal(yaml_get(root, "listen")->line, 2);
    const struct yaml_node *models = yaml_get(root, "models");
    assert_int_equal(models->kind, YAML_LIST);
    assert_int_equal(models->count, 2);
    assert_true(str_is(yaml_get(models->first, "name")->value, "a"));
    assert_int_equal(models->first->next->line, 5);
    assert_null(yaml_get(root, "absent"));
    assert_null(yaml_get(NULL, "absent"));
    assert_null(yaml_get(models, "name"));
    arena_free(a);
}

static void an_empty_file_is_an_empty_map(void **state)
{
    (void)state;
    struct arena *a = arena_create(MIB);
    struct yaml_node *root;
    assert_int_equal(read_text(a, "# nothing\n", &root), 0);
    assert_int_equal(root->kind, YAML_MAP);
    assert_int_equal(root->count, 0);
    arena_free(a);
}

static void typed_members(void **state)
{
    (void)state;
    struct arena *a = arena_create(MIB);
    struct yaml_node *root;
    bool flag;
    int64_t number;
    double fraction;
    struct str text;
    assert_int_equal(
        read_text(a, "t: true\nq: \"true\"\nn: 42\nf: 2.5\ns: \"\"\nempty:\nlist: [1]\n", &root), 0);
    assert_int_equal(yaml_get_bool(root, "t", false, &flag, &err), 0);
    assert_true(flag);
    assert_int_equal(yaml_get_bool(root, "absent", true, &flag, &err), 0);
    assert_true(flag);
    assert_int_not_equal(yaml_get_bool(root, "q", false, &flag, &err), 0);
    assert_string_equal(err.message, "weir.yaml:2: 'q' must be true or false, not 'true'");
    assert_int_equal(yaml_get_int(root, "n", 0, 1, 42, &number, &err), 0);
    assert_int_equal(number, 42);
    assert_int_not_equal(yaml_get_int(root, "n", 0, 1, 41, &number, &err), 0);
    assert_string_equal(err.message, "weir.yaml:3: 'n' must be a whole number from 1 to 41, not '42'");
    assert_int_not_equal(yaml_get_int(root, "f", 0, 1, 41, &number, &err), 0);
    assert_int_equal(yaml_get_double(root, "f", 0, 0, 3, &fraction, &err), 0);
    assert_true(fraction == 2.5);
    assert_int_not_equal(yaml_get_double(root, "f", 0, 0, 2, &fraction, &err), 0);
    assert_int_equal(yaml_get_str(root, "s", STR("x"), &text, &err), 0);
    assert_int_equal(text.len, 0);
    assert_int_not_equal(yaml_get_str(root, "empty", STR("x"), &text, &err), 0);
    assert_string_equal(err.message, "weir.yaml:6: 'empty' has no value: give one or remove the line");
    assert_int_not_equal(yaml_get_str(root, "list", STR("x"), &text, &err), 0);
    arena_free(a);
}

static void an_unknown_key_names_line_and_neighbour(void **state)
{
    (void)state;
    static const char *const keys[] = {"name", "price", "provider", NULL};
    struct arena *a = arena_create(MIB);
    struct yaml_node *root;
    assert_int_equal(read_text(a, "name: a\npirce: 3\n", &root), 0);
    assert_int_not_equal(yaml_check_keys(root, keys, "models", &err), 0);
    assert_string_equal(err.message, "weir.yaml:2: unknown key 'pirce' in models: did you mean 'price'?");
    assert_int_equal(read_text(a, "zzzzzz: 3\n", &root), 0);
    assert_int_not_equal(yaml_check_keys(root, keys, "models", &err), 0);
    assert_string_equal(
        err.message, "weir.yaml:1: unknown key 'zzzzzz' in models: it may have name, price, provider");
    assert_int_equal(read_text(a, "- a\n", &root), 0);
    assert_int_not_equal(yaml_check_keys(root, keys, "models", &err), 0);
    arena_free(a);
}

static void what_is_refused(void **state)
{
    (void)state;
    refused("a: 1\nb: 2\na: 3\n", "weir.yaml:3: 'a' is here twice (first on line 1)");
    refused("a: &x 1\nb: *x\n", "weir.yaml:1: anchors and tags");
    refused("b: *x\n", "weir.yaml:1: aliases");
    refused("a: !!binary abc\n", "weir.yaml:1: anchors and tags");
    refused("? [a, b]\n: c\n", "weir.yaml:1: a key must be plain");
    refused("a: 1\n---\nb: 2\n", "second document");
    refused("a: [1, 2\nb: 3\n", "not valid YAML");
    refused("a: \"\\0\"\n", "zero byte");
    refused("a: \xff\n", "not valid YAML");
    refused("\ta: 1\n", "not valid YAML");
}

static void depth_and_size_are_bounded(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 32 * MIB);
    for (int i = 0; i < 100000; i++)
        buf_append_char(&b, '[');
    refused(b.data, "nested more than 64 levels");
    buf_clear(&b);
    buf_append_text(&b, "a: [");
    for (int i = 0; i < 5000; i++)
        buf_append_text(&b, "1,");
    refused(b.data, "more than 4096 entries");
    buf_clear(&b);
    for (int i = 0; i < 40; i++) {
        buf_appendf(&b, "k%d: [", i);
        for (int j = 0; j < 4000; j++)
            buf_append_text(&b, "1,");
        buf_append_text(&b, "]\n");
    }
    refused(b.data, "more than 65536 values");
    buf_clear(&b);
    while (b.len <= LIMIT_CONFIG)
        buf_append_text(&b, "# filler\n");
    refused(b.data, "larger than 4 MiB");
    buf_free(&b);
}

/* Any bytes give a tree or an error with the file's name, never anything else. */
static void mutated_text_never_hurts(void **state)
{
    (void)state;
    static const char seed[] =
        "listen: 127.0.0.1:8080\nmodels:\n  - {name: a, price: {input: 2.5}}\n  - name: \"b\"\n";
    srand(7);
    for (int round = 0; round < 20000; round++) {
        char text[sizeof seed];
        memcpy(text, seed, sizeof seed);
        for (int i = 0; i < 3; i++)
            text[(size_t)rand() % (sizeof seed - 1)] = (char)rand();
        struct arena *a = arena_create(MIB);
        struct yaml_node *root = NULL;
        if (yaml_read(a, (struct str){text, sizeof seed - 1}, "f", &root, &err))
            assert_memory_equal(err.message, "f:", 2);
        else
            assert_non_null(root);
        arena_free(a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tree_with_lines),
        cmocka_unit_test(an_empty_file_is_an_empty_map),
        cmocka_unit_test(typed_members),
        cmocka_unit_test(an_unknown_key_names_line_and_neighbour),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(depth_and_size_are_bounded),
        cmocka_unit_test(mutated_text_never_hurts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
