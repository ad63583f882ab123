#include "app/verb_lines.h"

#include <stdio.h>

#include "app/engine_session.h"
#include "base/limits.h"

struct run {
    const struct verb_lines *lines;
    struct engine_session *session;
    struct buf question, answer, out;
};

static int answer_write(struct run *r, struct error *err)
{
    struct json_writer w;
    json_t *tree = NULL;
    json_writer_init(&w, &r->out);
    if (!r->lines->member) {
        json_write_raw(&w, buf_str(&r->answer));
    } else {
        int rc = json_read_nul(buf_str(&r->answer), &tree, err);
        if (rc)
            return rc;
        json_write_value(&w, json_object_get(tree, r->lines->member));
        json_decref(tree);
    }
    buf_append_char(&r->out, '\n');
    if (r->out.failed)
        return error_set(err, r->out.failed, "the answer takes too much memory");
    /* At once: whoever asks line by line waits for it. */
    if (fwrite(r->out.data, 1, r->out.len, stdout) != r->out.len || fflush(stdout) != 0)
        return error_set(err, ERROR_IO, "cannot write to standard output");
    return 0;
}

static int line_answer(struct run *r, struct str line, struct error *err)
{
    struct json_writer w;
    json_t *tree;
    buf_clear(&r->question);
    buf_clear(&r->answer);
    buf_clear(&r->out);
    int rc = json_read(line, &tree, err);
    if (rc)
        return rc;
    json_writer_init(&w, &r->question);
    rc = r->lines->question(r->lines->ctx, tree, &w, err);
    json_decref(tree);
    if (rc == 0 && r->question.failed)
        rc = error_set(err, r->question.failed, "the line is too long for the engine");
    if (rc == 0)
        rc = engine_session_ask(r->session, r->lines->type, buf_str(&r->question), &r->answer, NULL, err);
    return rc ? rc : answer_write(r, err);
}

static int line_take(void *ctx, struct str line, long long number)
{
    struct error err;
    if (line_answer(ctx, line, &err) == 0)
        return 0;
    return verb_failf(EXIT_FAILED, "line %lld: %s", number, err.message);
}

int verb_lines_run(const struct verb_lines *lines)
{
    struct run r = {.lines = lines};
    struct engine_model model;
    struct error err;
    int rc = engine_model_find(lines->model, lines->config, &model, &err);
    if (rc)
        return verb_fail(rc == ERROR_NOT_FOUND ? EXIT_FAILED : EXIT_USAGE, &err);
    buf_init(&r.question, LIMIT_WIRE_FRAME);
    buf_init(&r.answer, LIMIT_WIRE_FRAME);
    buf_init(&r.out, LIMIT_WIRE_FRAME + KIB);
    const struct engine_options engine = {.file = model.file,
        .context = model.context,
        .threads = model.threads,
        .inspect = !lines->run,
        .memory_unchecked = model.memory_unchecked};
    rc = engine_session_open(&engine, &r.session, &err);
    rc = rc ? verb_fail(EXIT_FAILED, &err) : verb_each_line(line_take, &r);
    engine_session_close(r.session);
    buf_free(&r.question);
    buf_free(&r.answer);
    buf_free(&r.out);
    engine_model_free(&model);
    return rc;
}
