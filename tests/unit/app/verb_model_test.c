/* The verbs that run a model, as a script sees them: the built programs on a model made on the spot. */
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/worker/model.h"
#include "engine/worker/model_sample.h"
#include "unit/engine/split_model.h"
#include "unit/engine/tiny_bert.h"

enum { MAX_TEXT = 1 << 22 };

static char folder[] = "/tmp/weir-verb-test-XXXXXX";
static char weir[4096], model[300];

static char *path_of(const char *name)
{
    static char path[300];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void file_write(const char *name, const char *text)
{
    FILE *f = fopen(path_of(name), "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static size_t file_read(const char *name, char *text)
{
    FILE *f = fopen(path_of(name), "r");
    assert_non_null(f);
    size_t n = fread(text, 1, MAX_TEXT - 1, f);
    text[n] = '\0';
    fclose(f);
    return n;
}

struct ran {
    int exit_code;
    size_t out_len;
    char out[MAX_TEXT], err[MAX_TEXT];
};
static struct ran ran;

/* Runs weir with these arguments (the last NULL; "@" is the model) and `input`; `to` NULL: the output is
 * kept. */
static const struct ran *run_to(const char *to, const char *input, const char *const *args)
{
    char *argv[32] = {weir};
    for (int i = 0; i < 30 && args[i]; i++)
        argv[i + 1] = strcmp(args[i], "@") == 0 ? model : (char *)(uintptr_t)args[i];
    file_write("in", input);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int in = open(path_of("in"), O_RDONLY);
        int out = open(to ? to : path_of("out"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        int err = open(path_of("err"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0 || chdir(folder) != 0)
            _exit(99);
        execv(weir, argv);
        _exit(99);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status))
        fail_msg("weir %s died of signal %d", args[0], WTERMSIG(status));
    ran.exit_code = WEXITSTATUS(status);
    ran.out_len = to ? 0 : file_read("out", ran.out);
    file_read("err", ran.err);
    return &ran;
}

#define RUN(input, ...) run_to(NULL, input, (const char *const[]){__VA_ARGS__, NULL})

/* Exit code, and an error that begins "weir: " and says `says`. */
static void fails(const struct ran *r, int exit_code, const char *says)
{
    if (r->exit_code != exit_code || strncmp(r->err, "weir: ", 6) != 0 || !strstr(r->err, says))
        fail_msg("exit code %d, not %d with '%s': %s", r->exit_code, exit_code, says, r->err);
}

static void works(const struct ran *r)
{
    if (r->exit_code != 0 || r->err[0])
        fail_msg("exit code %d: %s", r->exit_code, r->err);
}

static void test_help_and_usage(void **state)
{
    (void)state;
    static const char *const verbs[] = {
        "run", "chat", "show", "tokenize", "detokenize", "render", "logits", "embed"};
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        char usage[64];
        snprintf(usage, sizeof usage, "usage: weir %s", verbs[i]);
        works(RUN("", verbs[i], "--help"));
        assert_int_equal(strncmp(ran.out, usage, strlen(usage)), 0);
        fails(RUN("", verbs[i], "--no-such-option"), 2, "--no-such-option");
        if (strcmp(verbs[i], "chat") != 0)
            fails(RUN("", verbs[i]), 2, "--help");
    }
    fails(RUN("", "run", "@", "x", "--temperature", "hot"), 2, "temperature");
    fails(RUN("", "run", "@", "x", "--max-tokens", "-1"), 2, "max-tokens");
    fails(RUN("", "logits", "--model", "@", "--tokens", "1,x"), 2, "1,2,3");
    fails(RUN("", "logits", "--model", "@", "--tokens", "1", "--top", "many"), 2, "top");
}

static void test_models_that_are_none(void **state)
{
    (void)state;
    file_write("none.gguf", "nothing of the kind");
    fails(RUN("", "run", "/nowhere/x.gguf", "x"), 1, "No such file");
    fails(RUN("", "run", "none.gguf", "x"), 1, "not a GGUF file");
    fails(RUN("", "chat", "none.gguf"), 1, "not a GGUF file");
    fails(RUN("", "show", "none.gguf"), 1, "not a GGUF file");
    fails(RUN("", "logits", "--model", "none.gguf", "--tokens", "1"), 1, "not a GGUF file");
    fails(RUN("{\"text\":\"x\"}\n", "tokenize", "--model", "none.gguf"), 1, "not a GGUF file");
    fails(RUN("", "show", "."), 1, "is not a file");
}

static void test_run(void **state)
{
    (void)state;
    static char first[MAX_TEXT];
    works(RUN("", "run", "@", "Tell me.", "--seed", "7", "--max-tokens", "20"));
    assert_true(ran.out_len > 1 && ran.out[ran.out_len - 1] == '\n');
    memcpy(first, ran.out, ran.out_len + 1);
    works(RUN("Tell me.", "run", "@", "-", "--seed=7", "--max-tokens=20", "--threads", "1"));
    assert_string_equal(ran.out, first);
    works(RUN("", "run", "@", "Tell me.", "--seed", "8", "--max-tokens", "20"));
    assert_string_not_equal(ran.out, first);
    works(RUN("", "run", "@", "Tell me.", "--seed", "7", "--max-tokens", "20", "--raw"));
    assert_string_not_equal(ran.out, first);
    works(RUN("", "run", "@", "Tell me.", "--max-tokens", "0"));
    assert_string_equal(ran.out, "\n");
    fails(RUN("caf\xc3", "run", "@", "-"), 1, "UTF-8");
    fails(run_to("/dev/full", "", (const char *const[]){"run", "@", "Tell me.", "--max-tokens", "5", NULL}),
        1, "cannot write");
}

static void test_named_model(void **state)
{
    (void)state;
    char config[1024];
    snprintf(config, sizeof config,
        "providers:\n  away: {kind: openai, base_url: \"http://127.0.0.1:1/v1\", zone: local}\n"
        "models:\n  - {name: cloud, provider: away, model: x}\n  - {name: house, file: %s, context: 64}\n",
        model);
    file_write("weir.yaml", config);
    works(RUN("", "run", "house", "Tell me.", "--max-tokens", "3"));
    works(RUN("hello\n", "chat", "--max-tokens", "3"));
    fails(RUN("", "run", "cloud", "x"), 2, "provider's model");
    fails(RUN("", "run", "castle", "x"), 1, "no model 'castle'");
    fails(RUN("", "run", "house", "x", "--config", "absent.yaml"), 2, "absent.yaml");
    unlink(path_of("weir.yaml"));
}

/* Two answers, then the first again, because /reset has forgotten both. */
static void test_chat(void **state)
{
    (void)state;
    static char first[MAX_TEXT];
#define CHAT(input)                                                                                          \
    RUN(input, "chat", "@", "--temperature", "0", "--max-tokens", "4", "--system", "Be brief.")
    works(CHAT("first\n"));
    size_t len = ran.out_len;
    memcpy(first, ran.out, len);
    assert_true(len > 1 && first[len - 1] == '\n');
    CHAT("first\n\nsecond\n/reset\nfirst\n/exit\nnever\n");
    assert_int_equal(ran.exit_code, 0);
    assert_non_null(strstr(ran.err, "forgotten"));
    assert_true(ran.out_len > 2 * len);
    assert_memory_equal(ran.out, first, len);
    assert_memory_equal(ran.out + ran.out_len - len, first, len);
    fails(RUN("x\n", "chat", "@", "--context", "8"), 1, "context");
}

static void test_tokens_and_back(void **state)
{
    (void)state;
    enum { LINES = 300 };
    static char input[LINES * 80], ids[MAX_TEXT];
    for (int i = 0; i < LINES; i++)
        sprintf(input + strlen(input), "{\"text\":\"line %d, caf\xc3\xa9 \\\"\\n\"}\n", i);
    works(RUN(input, "tokenize", "--model", "@"));
    memcpy(ids, ran.out, ran.out_len + 1);
    works(RUN(ids, "detokenize", "--model", "@"));
    const char *at = ran.out;
    for (int i = 0; i < LINES; i++) {
        char text[80];
        snprintf(text, sizeof text, "line %d, caf\xc3\xa9 \"\n", i);
        json_t *line = json_loads(at, JSON_DISABLE_EOF_CHECK, NULL);
        const char *got = json_string_value(json_object_get(line, "text"));
        assert_non_null(got);
        assert_string_equal(got, text);
        json_decref(line);
        at = strchr(at, '\n') + 1;
    }
    assert_int_equal(*at, '\0');
    fails(RUN("{\"text\":\"good\"}\n{\"txt\":\"bad\"}\n", "tokenize", "--model", "@"), 1, "line 2");
    assert_int_equal(ran.out[0], '['); /* the first line was answered */
    fails(RUN("[1]\n{\"ids\":[1]}\n", "detokenize", "--model", "@"), 1, "line 2");
    fails(RUN("[-1]\n", "detokenize", "--model", "@"), 1, "line 1");
    fails(RUN("{\"text\":\n", "tokenize", "--model", "@"), 1, "line 1");
}

static void test_special_tokens(void **state)
{
    (void)state;
    static const char input[] = "{\"text\":\"<|im_start|>\"}\n";
    works(RUN(input, "tokenize", "--model", "@"));
    json_t *plain = json_loads(ran.out, 0, NULL);
    works(RUN(input, "tokenize", "--model", "@", "--parse-special"));
    json_t *parsed = json_loads(ran.out, 0, NULL);
    works(RUN(input, "tokenize", "--model", "@", "--add-special"));
    json_t *added = json_loads(ran.out, 0, NULL);
    assert_true(json_array_size(plain) > 1);
    assert_true(json_array_size(parsed) < json_array_size(plain));
    assert_true(json_array_size(added) >= json_array_size(plain));
    json_decref(plain);
    json_decref(parsed);
    json_decref(added);
}

static void test_render(void **state)
{
    (void)state;
    static const char body[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"bos_token\":\"<s>\","
                               "\"now\":\"2026-11-20T12:00:00Z\"}";
    file_write("t.jinja", "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}");
    works(RUN(body, "render", "--template", "t.jinja"));
    assert_string_equal(ran.out, "<s>[user]hi");
    works(RUN(body, "render", "--model", "@", "--template", "t.jinja"));
    assert_string_equal(ran.out, "<s>[user]hi");
    file_write("t.jinja", "{{ strftime_now('%Y-%m-%d') }}");
    works(RUN(body, "render", "--template", "t.jinja"));
    assert_string_equal(ran.out, "2026-11-20");
    works(RUN(body, "render", "--model", "@"));
    assert_non_null(strstr(ran.out, "hi"));
    file_write("t.jinja", "{{ raise_exception('not like this') }}");
    fails(RUN(body, "render", "--template", "t.jinja"), 1, "not like this");
    file_write("t.jinja", "{% for %}");
    fails(RUN(body, "render", "--template", "t.jinja"), 1, "line 1");
    fails(RUN(body, "render", "--template", "absent.jinja"), 1, "absent.jinja");
    fails(RUN("[]", "render", "--template", "t.jinja"), 1, "no JSON object");
    fails(RUN("{", "render", "--template", "t.jinja"), 1, "line 1");
}

static void test_logits(void **state)
{
    (void)state;
    works(RUN("", "logits", "--model", "@", "--tokens", "1,2,3", "--top", "5", "--greedy", "4"));
    assert_ptr_equal(strchr(ran.out, '\n'), ran.out + ran.out_len - 1); /* one line */
    json_t *o = json_loads(ran.out, 0, NULL), *top = json_object_get(o, "logits");
    assert_true(json_integer_value(json_object_get(o, "n_vocab")) > 0);
    assert_int_equal(json_array_size(top), 5);
    assert_int_equal(json_array_size(json_object_get(o, "greedy")), 4);
    for (size_t i = 1; i < 5; i++)
        assert_true(json_real_value(json_array_get(json_array_get(top, i - 1), 1)) >=
                    json_real_value(json_array_get(json_array_get(top, i), 1)));
    assert_int_equal(json_integer_value(json_array_get(json_array_get(top, 0), 0)),
        json_integer_value(json_array_get(json_object_get(o, "greedy"), 0)));
    json_decref(o);
    fails(RUN("", "logits", "--model", "@", "--tokens", "1,99999999"), 1, "99999999");
}

/* Three files beside one another are the model that they were cut from. */
static void test_split_model(void **state)
{
    (void)state;
    static char whole[MAX_TEXT];
    static const char *const parts[] = {
        "m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"};
    int from = open(model, O_RDONLY), to[3];
    for (int i = 0; i < 3; i++)
        to[i] = open(path_of(parts[i]), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    split_model(from, to, 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(close(to[i]), 0);
    close(from);
    works(RUN("", "logits", "--model", "@", "--tokens", "1,2,3,4", "--top", "100", "--greedy", "8"));
    strcpy(whole, ran.out);
    works(RUN("", "logits", "--model", parts[0], "--tokens", "1,2,3,4", "--top", "100", "--greedy", "8"));
    assert_string_equal(ran.out, whole);
    fails(RUN("", "logits", "--model", parts[1], "--tokens", "1"), 1, "name the first part");
    assert_int_equal(unlink(path_of(parts[2])), 0);
    fails(RUN("", "logits", "--model", parts[0], "--tokens", "1"), 1, "m-00003-of-00003.gguf");
    unlink(path_of(parts[0]));
    unlink(path_of(parts[1]));
}

static void test_embed(void **state)
{
    (void)state;
    struct buf bert = tiny_bert(&(struct tiny_bert){.pooling = MODEL_POOL_CLS, .positions = TINY_CONTEXT});
    FILE *f = fopen(path_of("bert.gguf"), "w");
    assert_true(f && fwrite(bert.data, 1, bert.len, f) == bert.len && fclose(f) == 0);
    buf_free(&bert);
    works(RUN("{\"text\":\"x\"}\n{\"text\":\"\"}\n", "embed", "--model", "bert.gguf", "--normalize"));
    assert_ptr_equal(strrchr(ran.out, '\n'), ran.out + ran.out_len - 1);
    json_t *first = json_loads(ran.out, JSON_DISABLE_EOF_CHECK, NULL);
    double sum = 0;
    assert_int_equal(json_array_size(first), TINY_EMBED);
    for (size_t i = 0; i < TINY_EMBED; i++)
        sum += pow(json_number_value(json_array_get(first, i)), 2);
    assert_true(fabs(sum - 1) < 1e-6);
    json_decref(first);
    fails(RUN("{\"text\":1}\n", "embed", "--model", "bert.gguf"), 1, "line 1");
    fails(RUN("{\"text\":\"x\"}\n", "embed", "--model", "@"), 1, "neither embeds nor ranks");
    fails(RUN("", "logits", "--model", "bert.gguf", "--tokens", "1"), 1, "embeds text");
    unlink(path_of("bert.gguf"));
}

static void test_show(void **state)
{
    (void)state;
    static char expected[64];
    works(RUN("", "show", "@", "--json"));
    json_t *o = json_loads(ran.out, 0, NULL), *tensor = json_array_get(json_object_get(o, "tensors"), 0);
    const char *name = json_string_value(json_object_get(tensor, "name"));
    assert_non_null(name);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(o, "metadata"), "general.architecture")), "llama");
    size_t bytes = sizeof(float);
    for (size_t i = 0; i < json_array_size(json_object_get(tensor, "shape")); i++)
        bytes *= (size_t)json_integer_value(json_array_get(json_object_get(tensor, "shape"), i));
    snprintf(expected, sizeof expected, "%s", name);
    json_decref(o);
    works(RUN("", "show", "@", "--tensor", expected));
    assert_int_equal(ran.out_len, bytes);
    for (size_t i = 0; i < bytes / sizeof(float); i++) {
        float value;
        memcpy(&value, ran.out + i * sizeof value, sizeof value);
        assert_true(isfinite(value) && fabsf(value) < 100);
    }
    works(RUN("", "show", "@"));
    assert_non_null(strstr(ran.out, "general.architecture"));
    assert_non_null(strstr(ran.out, expected));
    fails(RUN("", "show", "@", "--tensor", "no.such.tensor"), 1, "no.such.tensor");
}

static int set_up(void **state)
{
    (void)state;
    struct model_sample sample = model_sample_default();
    struct error err;
    if (!mkdtemp(folder))
        return -1;
    snprintf(model, sizeof model, "%s/sample.gguf", folder);
    int fd = open(model, O_WRONLY | O_CREAT, 0600);
    int rc = model_sample_write(&sample, fd, &err);
    if (rc)
        print_error("%s\n", err.message);
    close(fd);
    return rc;
}

static int tear_down(void **state)
{
    (void)state;
    static const char *const names[] = {
        "in", "out", "err", "none.gguf", "t.jinja", "sample.gguf", "weir.yaml"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlink(path_of(names[i]));
    return rmdir(folder);
}

/* BUILD/tests/app/verb_model_test -> BUILD/weir */
static bool programs_find(void)
{
    char engine[4096 + 8];
    ssize_t n = readlink("/proc/self/exe", weir, sizeof weir - 16);
    if (n <= 0)
        return false;
    weir[n] = '\0';
    for (int up = 0; up < 3; up++)
        *strrchr(weir, '/') = '\0';
    strcat(weir, "/weir");
    snprintf(engine, sizeof engine, "%s-engine", weir);
    return access(weir, X_OK) == 0 && access(engine, X_OK) == 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_help_and_usage),
        cmocka_unit_test(test_models_that_are_none),
        cmocka_unit_test(test_run),
        cmocka_unit_test(test_named_model),
        cmocka_unit_test(test_chat),
        cmocka_unit_test(test_tokens_and_back),
        cmocka_unit_test(test_special_tokens),
        cmocka_unit_test(test_render),
        cmocka_unit_test(test_logits),
        cmocka_unit_test(test_split_model),
        cmocka_unit_test(test_embed),
        cmocka_unit_test(test_show),
    };
    if (!programs_find()) {
        printf("skipped: weir and weir-engine have not been built beside the tests\n");
        return 0;
    }
    unsetenv("WEIR_ENGINE");
    unsetenv("WEIR_LOG");
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
