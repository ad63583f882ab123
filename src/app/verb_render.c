/* weir render: a chat body to the text that the model reads. The template is interpreted inside a worker. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "app/engine_session.h"
#include "app/verb_inner.h"
#include "base/limits.h"

static const char help[] =
    "usage: weir render --model MODEL < body.json\n"
    "       weir render --template FILE < body.json\n"
    "\n"
    "Reads an OpenAI chat body (messages, tools, add_generation_prompt) and writes the text that the model's\n"
    "own chat template, or the Jinja source in FILE, makes of it; no newline is added. The body may set\n"
    "bos_token, eos_token and now, an ISO time.\n"
    "\n"
    "  --config FILE          where models have names; default weir.yaml\n";

struct options {
    const char *model, *template, *config;
};

static int template_read(const char *file, struct buf *out, struct error *err)
{
    FILE *f = fopen(file, "re");
    if (!f) {
        buf_init(out, 0);
        return error_set(err, ERROR_NOT_FOUND, "cannot open %s: %s", file, strerror(errno));
    }
    int rc = verb_read_all(f, LIMIT_TEMPLATE_SOURCE, out, err);
    fclose(f);
    if (rc == 0 && !str_utf8_valid(buf_str(out)))
        rc = error_set(err, ERROR_INVALID, "%s is not valid UTF-8", file);
    return rc;
}

/* The body with the template's source beside it. */
static int question_make(const struct options *o, json_t *body, struct buf *out, struct error *err)
{
    struct buf source;
    struct json_writer w;
    int rc = 0;
    buf_init(&source, 0);
    if (o->template)
        rc = template_read(o->template, &source, err);
    if (rc == 0 && o->template &&
        json_object_set_new(body, "template", json_stringn(source.data ? source.data : "", source.len)) != 0)
        rc = error_set(err, ERROR_INVALID, "%s holds what no template does", o->template);
    buf_free(&source);
    if (rc)
        return rc;
    json_writer_init(&w, out);
    json_write_value(&w, body);
    return out->failed ? error_set(err, out->failed, "the body is too large") : 0;
}

static int answer_write(const struct buf *answer, struct error *err)
{
    json_t *tree;
    int rc = json_read_nul(buf_str(answer), &tree, err);
    if (rc)
        return rc;
    struct str text = json_text(tree, "text");
    if (fwrite(text.data ? text.data : "", 1, text.len, stdout) != text.len || fflush(stdout) != 0)
        rc = error_set(err, ERROR_IO, "cannot write to standard output");
    json_decref(tree);
    return rc;
}

static int render(const struct engine_options *engine, struct str question, struct error *err)
{
    struct engine_session *session;
    struct buf answer;
    int rc = engine_session_open(engine, &session, err);
    if (rc)
        return rc;
    buf_init(&answer, LIMIT_WIRE_FRAME);
    rc = engine_session_ask(session, WIRE_RENDER, question, &answer, NULL, err);
    engine_session_close(session);
    if (rc == 0)
        rc = answer_write(&answer, err);
    buf_free(&answer);
    return rc;
}

static int run(const struct options *o, const char *file, struct error *err)
{
    struct buf input, question;
    json_t *body = NULL;
    buf_init(&question, LIMIT_WIRE_FRAME);
    int rc = verb_read_all(stdin, LIMIT_WIRE_FRAME, &input, err);
    if (rc == 0)
        rc = json_read(buf_str(&input), &body, err);
    if (rc == 0 && !json_is_object(body))
        rc = error_set(err, ERROR_INVALID, "the body is no JSON object: see weir render --help");
    if (rc == 0)
        rc = question_make(o, body, &question, err);
    json_decref(body);
    buf_free(&input);
    const struct engine_options engine = {.file = file, .inspect = true};
    if (rc == 0)
        rc = render(&engine, buf_str(&question), err);
    buf_free(&question);
    return rc;
}

int verb_render(int argc, char **argv)
{
    struct options o = {0};
    struct engine_model model = {0};
    struct error err;
    const struct verb_option options[] = {
        {"model", &o.model, NULL}, {"template", &o.template, NULL}, {"config", &o.config, NULL}};
    int n = verb_options(argc, argv, options, sizeof options / sizeof *options, help);
    if (n < 0)
        return n == -2 ? EXIT_DONE : EXIT_USAGE;
    if (n > 0 || (!o.model && !o.template))
        return verb_failf(EXIT_USAGE, "render wants --model or --template: see weir render --help");
    int rc = o.model ? engine_model_find(o.model, o.config, &model, &err) : 0;
    if (rc)
        return verb_fail(rc == ERROR_NOT_FOUND ? EXIT_FAILED : EXIT_USAGE, &err);
    rc = run(&o, model.file, &err);
    if (model.arena)
        engine_model_free(&model);
    return rc ? verb_fail(EXIT_FAILED, &err) : EXIT_DONE;
}
