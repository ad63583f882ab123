#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "hub/internal.h"

/* ---- Names ---- */

static void names_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text, *origin, *owner, *name, *tag;
        enum hub_kind kind;
    } table[] = {
        {"hf.co/a/b:Q4_K_M", "https://huggingface.co", "a", "b", "Q4_K_M", HUB_HUGGING_FACE},
        {"https://huggingface.co/a-1/B.c_d", "https://huggingface.co", "a-1", "B.c_d", "", HUB_HUGGING_FACE},
        {"llama3.2", "https://registry.ollama.ai", "library", "llama3.2", "", HUB_OLLAMA},
        {"llama3.2:1b-instruct-q4_K_M", "https://registry.ollama.ai", "library", "llama3.2",
            "1b-instruct-q4_K_M", HUB_OLLAMA},
        {"me/mine:x", "https://registry.ollama.ai", "me", "mine", "x", HUB_OLLAMA},
        {"ollama.com/library/qwen3:4b", "https://registry.ollama.ai", "library", "qwen3", "4b", HUB_OLLAMA},
        {"models.example.com:5000/team/m:1", "https://models.example.com:5000", "team", "m", "1", HUB_OLLAMA},
    };
    struct arena *a = arena_create(MIB);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct hub_name n;
        struct error err;
        assert_int_equal(hub_name_parse(a, str_from(table[i].text), &n, &err), 0);
        assert_int_equal(n.kind, table[i].kind);
        assert_true(str_is(n.origin, table[i].origin) && str_is(n.owner, table[i].owner));
        assert_true(str_is(n.name, table[i].name) && str_is(n.tag, table[i].tag));
    }
    arena_free(a);
}

static void names_that_lead_elsewhere_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "/", ":", "..", "a/..", "../a", "a//b", "a/b/", "hf.co/a",
        "hf.co/a/b/c", "hf.co//b", "a:b:c", "a:", "a b", "a\nb", "a/b/c/d", "h\xc3\xa4/b", "a@b/c/d", "x?y",
        "x#y", "x%2fy", ".a"};
    struct arena *a = arena_create(MIB);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct hub_name n;
        struct error err;
        if (hub_name_parse(a, str_from(bad[i]), &n, &err) == 0)
            fail_msg("'%s' is taken", bad[i]);
    }
    arena_free(a);
}

/* ---- Files ---- */

static void files_are_chosen(void **state)
{
    (void)state;
    static const struct hub_entry entries[] = {{STR("m-Q4_K_M.gguf"), STR(""), 1},
        {STR("m-Q4_K.gguf"), STR(""), 1}, {STR("m-q8_0.gguf"), STR(""), 1},
        {STR("m-BF16-00002-of-00002.gguf"), STR(""), 1}, {STR("m-BF16-00001-of-00002.gguf"), STR(""), 1},
        {STR("UD-IQ1_S/x-00001-of-00001.gguf"), STR(""), 1}, {STR("mmproj-BF16.gguf"), STR(""), 1},
        {STR("mmproj-F16.gguf"), STR(""), 1}, {STR("imatrix.dat"), STR(""), 1},
        {STR("m-Q2_K-00001-of-00002.gguf"), STR(""), 1}};
    static const struct {
        const char *tag;
        size_t n, chosen[3];
    } table[] = {{"", 2, {0, 7}}, {"Q4_K_M", 2, {0, 7}}, {"q4_k", 2, {1, 7}}, {"Q8_0", 2, {2, 7}},
        {"bf16", 3, {4, 3, 7}}, {"UD-IQ1_S", 2, {5, 7}}, {"K_M", 2, {0, 7}}, {"M", 2, {0, 7}},
        {"8_0", 0, {0}}, {"_M", 0, {0}}, {"Q4", 0, {0}}, {"nothing", 0, {0}},
        {"Q2_K", 0, {0}} /* its second part is missing */};
    enum { N = sizeof entries / sizeof *entries };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        size_t chosen[N], n = 0;
        struct error err;
        int rc = hub_choose(entries, N, str_from(table[i].tag), true, chosen, &n, &err);
        if ((rc == 0) != (table[i].n > 0) || (rc == 0 && n != table[i].n))
            fail_msg("'%s' gives %d, %zu files", table[i].tag, rc, n);
        for (size_t k = 0; rc == 0 && k < n; k++)
            assert_int_equal(chosen[k], table[i].chosen[k]);
        if (rc)
            assert_int_equal(rc, ERROR_NOT_FOUND);
    }
}

static void where_two_models_fit_both_are_named(void **state)
{
    (void)state;
    static const struct hub_entry entries[] = {
        {STR("a-Q4_K_M.gguf"), STR(""), 1}, {STR("b-Q4_K_M.gguf"), STR(""), 1}};
    size_t chosen[2], n;
    struct error err;
    assert_int_equal(hub_choose(entries, 2, STR_NONE, false, chosen, &n, &err), ERROR_NOT_FOUND);
    assert_non_null(strstr(err.message, "a-Q4_K_M"));
    assert_non_null(strstr(err.message, "b-Q4_K_M"));
    assert_int_equal(hub_choose(entries, 1, STR_NONE, false, chosen, &n, &err), 0);
    assert_int_equal(n, 1);
    assert_int_equal(hub_choose(entries, 0, STR_NONE, false, chosen, &n, &err), ERROR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_read),
        cmocka_unit_test(names_that_lead_elsewhere_are_refused),
        cmocka_unit_test(files_are_chosen),
        cmocka_unit_test(where_two_models_fit_both_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
