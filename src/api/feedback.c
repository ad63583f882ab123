/* POST /v1/feedback {"request_id", "score": 0 to 1 or "thumb": "up" or "down"}: how good an answer was, for
 * weir calibrate; GET: are grades kept? */
#include "api/api.h"
#include "api/read.h"
#include "base/limits.h"
#include "exchange/graded.h"

static int grade_read(const json_t *body, struct str *request_id, double *score, struct error *err)
{
    static const char *const known[] = {"request_id", "score", "thumb", NULL};
    struct str thumb;
    int rc = api_read_only(body, known, err);
    if (rc == 0)
        rc = json_get_str(body, "request_id", request_id, err);
    if (rc == 0)
        rc = json_get_str(body, "thumb", &thumb, err);
    if (rc == 0)
        rc = json_get_double(body, "score", -1, 0, 1, score, err);
    if (rc)
        return rc;
    if (request_id->len == 0)
        return error_set(
            err, ERROR_INVALID, "'request_id' is missing: the header x-request-id of the answer");
    if (thumb.len > 0 && !str_is(thumb, "up") && !str_is(thumb, "down"))
        return error_set(err, ERROR_INVALID, "'thumb' must be up or down");
    if ((thumb.len > 0) == (*score >= 0))
        return error_set(err, ERROR_INVALID, "say either a 'score' from 0 to 1 or a 'thumb', up or down");
    if (thumb.len > 0)
        *score = str_is(thumb, "up");
    return 0;
}

void api_feedback_kept(const struct api_call *c)
{
    struct buf out;
    struct json_writer w;
    buf_init(&out, KIB);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    json_member_text(&w, "object", "feedback");
    json_member_bool(&w, "kept", exchange_world_settings(c->shard->exchange->world)->feedback.len > 0);
    json_object_end(&w);
    api_reply_json(c, 200, &out);
    buf_free(&out);
}

void api_feedback(const struct api_call *c)
{
    const struct str file = exchange_world_settings(c->shard->exchange->world)->feedback;
    struct arena *a = arena_create(MIB);
    struct error err;
    const json_t *body;
    struct str request_id = STR_NONE;
    double score;
    struct buf out;
    struct json_writer w;
    int rc = file.len > 0 ? api_body_read(a, http_request_body(c->http), &body, &err)
                          : error_set(&err, ERROR_NOT_FOUND,
                                "grades are not kept here: set 'feedback: FILE' in the configuration");
    if (rc == 0)
        rc = grade_read(body, &request_id, &score, &err);
    if (rc == 0)
        rc = graded_grade(c->shard->exchange->graded, request_id,
            str_from(c->identified ? c->identity.key_id : ""), score, file, &err);
    if (rc) {
        api_error(c, exchange_status(rc), str_from(err.message));
        arena_free(a);
        return;
    }
    buf_init(&out, MIB);
    json_writer_init(&w, &out);
    json_object_begin(&w);
    json_member_text(&w, "object", "feedback");
    json_member_str(&w, "request_id", request_id);
    json_member_double(&w, "score", score);
    json_object_end(&w);
    api_reply_json(c, 200, &out);
    buf_free(&out);
    arena_free(a);
}
