/* Every model of tests/vectors/models (its README.md says where the figures come from) against what a
 * reference engine made of it, for every instruction set of this CPU. WEIR_VECTORS names another folder of
 * such files. */
#include <dirent.h>

#include "base/rand.h"
#include "unit/engine/model_reference.h"
#include "unit/engine/shared.h"

static int is_reference(const struct dirent *e)
{
    const size_t n = strlen(e->d_name);
    return n > 5 && strcmp(e->d_name + n - 5, ".json") == 0;
}

static const char *folder(void)
{
    const char *named = getenv("WEIR_VECTORS");
    return named ? named : "tests/vectors/models";
}

static void models_agree_with_the_reference(void **state)
{
    (void)state;
    const struct kernels *list[KERNELS_MAX];
    const int32_t n_isas = kernels_list(list);
    struct dirent **entries;
    const int n = scandir(folder(), &entries, is_reference, alphasort);
    assert_true(n > 0);
    for (int i = 0; i < n; i++) {
        char stem[512];
        entries[i]->d_name[strlen(entries[i]->d_name) - 5] = '\0';
        snprintf(stem, sizeof stem, "%s/%s", folder(), entries[i]->d_name);
        for (int32_t k = 0; k < n_isas; k++)
            reference_check(stem, entries[i]->d_name, list[k]->isa);
        free(entries[i]);
    }
    free(entries);
}

/* Loads what is left of a file and, if that is possible, runs it. */
static int outcome(const struct buf *file, struct error *err)
{
    static const int32_t tokens[] = {3, 4, 5}, slots[3] = {0};
    static const uint8_t wants[] = {0, 0, 1};
    struct gguf *g;
    struct model *m = NULL;
    struct model_state *s = NULL;
    struct backend *b = backend_for("scalar", 1);
    int rc = gguf_open_memory(file->data, file->len, &g, err);
    if (rc) {
        backend_free(b);
        return rc;
    }
    rc = model_load_with(g, &(struct model_options){.foretells = true}, b, &m, err);
    rc = rc ? rc : model_state_create(m, 1, 16, &s, err);
    const struct model_info none = {0}, *info = rc ? &none : model_info(m);
    float *rows = calloc(3 * (size_t)(info->n_vocab + info->n_embedding) + 1, sizeof *rows);
    assert_non_null(rows);
    if (rc == 0 && info->encoder)
        rc = model_encode(s, tokens, 3, rows, err);
    else if (rc == 0)
        rc = model_decode(s, &(struct model_batch){3, tokens, slots, wants}, rows, err);
    free(rows);
    model_state_free(s);
    model_free(m);
    gguf_close(g);
    backend_free(b);
    return rc;
}

/* Takes every tensor away by spelling its name another way. */
static void check_without(const char *path)
{
    struct error err;
    struct buf file = shared_read(path);
    struct gguf *g = shared_gguf(path);
    assert_non_null(g);
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct str name = gguf_tensor_at(g, i)->name;
        char *at = memmem(file.data, file.len, name.data, name.len);
        assert_non_null(at);
        at[name.len - 1] ^= 1;
        const int rc = outcome(&file, &err);
        if (rc != 0 && rc != ERROR_INVALID)
            fail_msg("%s without " STR_FMT ": %s", path, STR_ARG(name), err.message);
        /* A bias and the parts of an end may be left out; a matrix of a layer never. */
        if (str_ends(name, STR("ffn_down.weight")) && !strstr(path, "nextn"))
            assert_int_equal(rc, ERROR_INVALID);
        at[name.len - 1] ^= 1;
    }
    gguf_close(g);
    buf_free(&file);
}

/* Bytes of what describes the model, not of its weights, each wrong in one bit. */
static void check_bent(const char *path)
{
    enum { BENT = 150 };
    struct rand_pcg r;
    struct error err = {0};
    struct buf file = shared_read(path);
    struct gguf *g = shared_gguf(path);
    assert_non_null(g);
    const struct tensor *t = gguf_tensor_at(g, gguf_n_tensors(g) - 1);
    const struct str last = t->name;
    const char *end = memmem(file.data, file.len, last.data, last.len);
    assert_non_null(end);
    rand_pcg_seed(&r, 7);
    for (int i = 0; i < BENT; i++) {
        char *at = file.data + (size_t)(rand_pcg_double(&r) * (double)(end - file.data));
        const char bit = (char)(1 << (int)(rand_pcg_double(&r) * 8));
        *at ^= bit;
        if (outcome(&file, &err) != 0)
            assert_true(err.message[0]);
        *at ^= bit;
    }
    gguf_close(g);
    buf_free(&file);
}

static void broken_files_are_refused_or_run(void **state)
{
    (void)state;
    struct dirent **entries;
    const int n = scandir(folder(), &entries, is_reference, alphasort);
    assert_true(n > 0);
    for (int i = 0; i < n; i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%.*s.gguf", folder(), (int)strlen(entries[i]->d_name) - 5,
            entries[i]->d_name);
        check_without(path);
        check_bent(path);
        free(entries[i]);
    }
    free(entries);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_agree_with_the_reference),
        cmocka_unit_test(broken_files_are_refused_or_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
