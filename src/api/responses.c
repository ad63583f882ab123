/* OpenAI's newer shape: Responses. */
#include "api/openai_out.h"
#include "api/responses_kept.h"
#include "api/responses_in.h"
#include "api/responses_out.h"
#include "api/shape.h"

static void answer_init(void *answer, const struct chat_request *r, const struct exchange_origin *o)
{
    responses_answer_init(answer, r, o->row_id);
}

static void answer_free(void *answer)
{
    responses_answer_free(answer);
}

static void answer_begin(void *answer, const struct exchange_about *about)
{
    struct responses_answer *a = answer;
    a->model = about->model;
}

static int answer_gather(void *answer, const struct chat_event *e, struct error *err)
{
    return responses_answer_gather(answer, e, err);
}

static void answer_whole(void *answer, const struct chat_usage *usage, struct buf *out)
{
    responses_answer_write(answer, usage, out);
}

static void stream_event(void *answer, const struct chat_event *e, struct buf *out)
{
    responses_stream_event(answer, e, out);
}

static void stream_end(void *answer, const struct chat_usage *usage, struct buf *out)
{
    responses_stream_end(answer, usage, out);
}

static bool answer_keep(void *answer, const struct chat_request *r)
{
    return responses_answer_keep(answer, r);
}

static void answer_kept(void *answer, const struct chat_usage *usage, struct store_response *out)
{
    struct responses_answer *a = answer;
    responses_answer_write(a, usage, &a->body);
    out->id = str_from(a->id);
    out->body = buf_str(&a->body);
    out->input = buf_str(&a->input);
}

const struct api_shape api_responses_shape = {.name = "openai.responses",
    .stream_type = "text/event-stream",
    .keep_alive = ": keep-alive\n\n",
    .answer_size = sizeof(struct responses_answer),
    .fetch = api_responses_fetch,
    .join = api_responses_join,
    .read = api_responses_read,
    .keep = answer_keep,
    .kept = answer_kept,
    .init = answer_init,
    .free = answer_free,
    .begin = answer_begin,
    .gather = answer_gather,
    .whole = answer_whole,
    .event = stream_event,
    .end = stream_end,
    .error = openai_error};
