/* weir show: what a model file holds. It is read inside a worker. */
#include <stdio.h>
#include <string.h>

#include "app/engine_session.h"
#include "app/verb_inner.h"
#include "base/limits.h"

static const char help[] =
    "usage: weir show MODEL.gguf [--json] [--tensor NAME]\n"
    "\n"
    "Whether a model file runs here, in what memory and how fast, its metadata and tensors. MODEL may be a name of the configuration.\n"
    "\n"
    "  --json                 all of it as one JSON object\n"
    "  --tensor NAME          that tensor's values, as little-endian float32, to standard output\n"
    "  --config FILE          where models have names; default weir.yaml\n";

enum { VALUE_SHOWN = 100 }; /* bytes of a value in the list */

struct options {
    const char *tensor, *config;
    bool json;
};

/* ---- For people ---- */

static void size_print(int64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    int unit = 0;
    while (value >= 1024 && unit < 4) {
        value /= 1024;
        unit++;
    }
    printf("%.*f %s", unit ? 1 : 0, value, units[unit]);
}

/* Text of the file on one line, cut where it is long. */
static void line_print(struct str text)
{
    bool cut = text.len > VALUE_SHOWN;
    struct str shown = str_slice(text, 0, cut ? str_utf8_floor(text.data, VALUE_SHOWN) : text.len), piece;
    for (bool first = true; str_split(&shown, '\n', &piece); first = false) {
        if (!first)
            fputs("\\n", stdout);
        (void)verb_text_write(stdout, piece);
    }
    if (cut)
        printf("... (%zu bytes)", text.len);
}

static void value_print(const json_t *value)
{
    struct buf text;
    struct json_writer w;
    if (json_is_string(value)) {
        line_print(json_str(value));
        return;
    }
    buf_init(&text, 16 * KIB);
    json_writer_init(&w, &text);
    json_write_value(&w, value);
    line_print(buf_str(&text));
    buf_free(&text);
}

/* An array comes as {"of","count","first":[...]}. */
static void pair_print(const char *key, const json_t *value)
{
    size_t len = strlen(key);
    fputs("  ", stdout);
    line_print(str_from(key));
    printf("%*s ", len < 44 ? (int)(44 - len) : 0, "");
    if (json_is_object(value)) {
        printf("%lld x %s: ", (long long)json_integer_value(json_object_get(value, "count")),
            json_string_value(json_object_get(value, "of")));
        value = json_object_get(value, "first");
    }
    value_print(value);
    fputs("\n", stdout);
}

static void tensor_print(const json_t *tensor)
{
    struct str name = json_text(tensor, "name");
    const json_t *shape = json_object_get(tensor, "shape");
    fputs("  ", stdout);
    line_print(name);
    printf("%*s %-6s ", name.len < 44 ? (int)(44 - name.len) : 0, "",
        json_string_value(json_object_get(tensor, "type")));
    for (size_t i = 0; i < json_array_size(shape); i++)
        printf("%s%lld", i ? " x " : "", (long long)json_integer_value(json_array_get(shape, i)));
    fputs("\n", stdout);
}

static int64_t member(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static void totals_print(const json_t *totals)
{
    const char *type;
    json_t *of;
    printf("%lld tensors, %.2f M parameters, ", (long long)member(totals, "tensors"),
        (double)member(totals, "parameters") / 1e6);
    size_print(member(totals, "bytes"));
    json_object_foreach(json_object_get(totals, "types"), type, of)
    {
        printf("; %s: %lld, ", type, (long long)member(of, "tensors"));
        size_print(member(of, "bytes"));
    }
    fputs("\n", stdout);
}

/* ---- Will it run here? ---- */

static void check_print(const char *what, const json_t *check)
{
    struct str value = json_text(check, "value"), missing = json_text(check, "missing");
    printf("  %-13s %s", what, json_is_true(json_object_get(check, "ok")) ? "yes" : "no");
    if (value.len > 0) {
        fputs(", ", stdout);
        line_print(value);
    }
    if (missing.len > 0) {
        fputs(": ", stdout);
        (void)verb_text_write(stdout, missing);
    }
    fputs("\n", stdout);
}

static void memory_print(const json_t *memory)
{
    size_t i;
    json_t *c;
    if (!memory)
        return;
    fputs("  memory        ", stdout);
    size_print(member(memory, "available"));
    fputs(" available; weights ", stdout);
    size_print(member(memory, "weights"));
    fputs(", compute ", stdout);
    size_print(member(memory, "compute"));
    fputs("\n  context       a slot's state, in all with one slot, slots that fit\n", stdout);
    json_array_foreach(json_object_get(memory, "contexts"), i, c)
    {
        printf("    %-11lld ", (long long)member(c, "context"));
        size_print(member(c, "state"));
        fputs(", ", stdout);
        size_print(member(c, "total"));
        printf(", %lld\n", (long long)member(c, "slots"));
    }
    if (member(json_array_get(json_object_get(memory, "contexts"), 0), "slots") == 0)
        fputs("                it does not fit and is refused; 'memory: unchecked' (--memory-unchecked) "
              "loads it all\n"
              "                the same: weights are then read from the disk for every token\n",
            stdout);
}

static void speed_print(const json_t *speed)
{
    if (!speed)
        return;
    const double decode = json_number_value(json_object_get(speed, "decode_tps")),
                 prefill = json_number_value(json_object_get(speed, "prefill_tps"));
    printf("  speed         about %.3g tokens/s written, %.3g tokens/s read\n", decode, prefill);
    printf(
        "                %.1f GB/s of weights read, %.1f G multiply-adds/s (%lld threads, %s); a token needs "
        "%.1f MB and %.1f M\n                ",
        json_number_value(json_object_get(speed, "read_bytes_per_second")) / 1e9,
        json_number_value(json_object_get(speed, "products_per_second")) / 1e9,
        (long long)member(speed, "threads"), json_string_value(json_object_get(speed, "isa")),
        json_number_value(json_object_get(speed, "bytes_per_token")) / 1e6,
        json_number_value(json_object_get(speed, "products_per_token")) / 1e6);
    (void)verb_text_write(stdout, json_text(speed, "basis"));
    fputs("\n", stdout);
}

static void fit_print(const json_t *fit)
{
    const json_t *checks = json_object_get(fit, "checks");
    if (!fit)
        return;
    printf("\nruns here: %s\n", json_is_true(json_object_get(fit, "runs")) ? "yes" : "no");
    check_print("architecture", json_object_get(checks, "architecture"));
    check_print("tokenizer", json_object_get(checks, "tokenizer"));
    check_print("chat template", json_object_get(checks, "template"));
    check_print("quant types", json_object_get(checks, "types"));
    check_print("tensors", json_object_get(checks, "model"));
    if (json_object_get(checks, "draft"))
        check_print("draft model", json_object_get(checks, "draft"));
    if (str_is(json_text(fit, "drafts"), "mtp"))
        fputs("  drafts        yes, by a layer of its own (MTP)\n", stdout);
    const struct str drafts_not = json_text(fit, "drafts_not");
    if (drafts_not.len > 0) {
        fputs("  drafts        no, it runs without its layer that would (MTP): ", stdout);
        (void)verb_text_write(stdout, drafts_not);
        fputs("\n", stdout);
    }
    memory_print(json_object_get(fit, "memory"));
    speed_print(json_object_get(fit, "speed"));
}

/* ---- All of it ---- */

static void all_print(const json_t *all)
{
    const json_t *metadata = json_object_get(all, "metadata"), *tensors = json_object_get(all, "tensors");
    printf("GGUF version %lld, ", (long long)member(all, "version"));
    size_print(member(all, "file_bytes"));
    printf(" in %lld file%s\n", (long long)member(all, "files"), member(all, "files") == 1 ? "" : "s");
    totals_print(json_object_get(all, "totals"));
    fit_print(json_object_get(all, "fit"));
    const char *key;
    json_t *value;
    printf("\nmetadata (%zu)\n", json_object_size(metadata));
    json_object_foreach((json_t *)(uintptr_t)metadata, key, value) pair_print(key, value);
    printf("\ntensors (%zu)\n", json_array_size(tensors));
    for (size_t i = 0; i < json_array_size(tensors); i++)
        tensor_print(json_array_get(tensors, i));
}

/* ---- What is asked ---- */

static int show(struct engine_session *session, const struct options *o, struct error *err)
{
    struct buf answer;
    json_t *all;
    buf_init(&answer, LIMIT_WIRE_FRAME);
    int rc = engine_session_ask(session, WIRE_SHOW, STR("{\"fit\":true}"), &answer, NULL, err);
    if (rc == 0 && o->json) {
        fwrite(answer.data, 1, answer.len, stdout);
        fputs("\n", stdout);
    } else if (rc == 0) {
        rc = json_read_nul(buf_str(&answer), &all, err);
        if (rc == 0) {
            all_print(all);
            json_decref(all);
        }
    }
    buf_free(&answer);
    return rc;
}

static int data_write(void *ctx, struct str bytes, struct error *err)
{
    (void)ctx;
    if (fwrite(bytes.data, 1, bytes.len, stdout) == bytes.len)
        return 0;
    return error_set(err, ERROR_IO, "cannot write to standard output");
}

static int tensor(struct engine_session *session, const struct options *o, struct error *err)
{
    const struct engine_session_data data = {.fn = data_write};
    struct buf question;
    struct json_writer w;
    buf_init(&question, 64 * KIB);
    json_writer_init(&w, &question);
    json_object_begin(&w);
    json_member_text(&w, "name", o->tensor);
    json_object_end(&w);
    int rc = question.failed ? error_set(err, question.failed, "no tensor has so long a name")
                             : engine_session_ask(session, WIRE_TENSOR, buf_str(&question), NULL, &data, err);
    buf_free(&question);
    return rc;
}

static int run(const struct options *o, const struct engine_model *model)
{
    const struct engine_options engine = {.file = model->file, .draft = model->draft, .inspect = true};
    struct engine_session *session;
    struct error err;
    int rc = engine_session_open(&engine, &session, &err);
    if (rc)
        return verb_fail(EXIT_FAILED, &err);
    rc = o->tensor ? tensor(session, o, &err) : show(session, o, &err);
    engine_session_close(session);
    if (rc == 0 && (fflush(stdout) != 0 || ferror(stdout)))
        rc = error_set(&err, ERROR_IO, "cannot write to standard output");
    return rc ? verb_fail(EXIT_FAILED, &err) : EXIT_DONE;
}

int verb_show(int argc, char **argv)
{
    struct options o = {0};
    struct engine_model model;
    struct error err;
    const struct verb_option options[] = {
        {"tensor", &o.tensor, NULL}, {"config", &o.config, NULL}, {"json", NULL, &o.json}};
    int n = verb_options(argc, argv, options, sizeof options / sizeof *options, help);
    if (n < 0)
        return n == -2 ? EXIT_DONE : EXIT_USAGE;
    if (n != 1 || (o.json && o.tensor))
        return verb_failf(
            EXIT_USAGE, "show wants one model, and of --json and --tensor one at most: see weir show --help");
    int rc = engine_model_find(argv[1], o.config, &model, &err);
    if (rc)
        return verb_fail(rc == ERROR_NOT_FOUND ? EXIT_FAILED : EXIT_USAGE, &err);
    int exit_code = run(&o, &model);
    engine_model_free(&model);
    return exit_code;
}
