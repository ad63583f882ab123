/* OpenAI's shapes: chat completions, and the older completions. */
#include "api/openai_in.h"
#include "api/openai_out.h"
#include "api/shape.h"

static void chat_init(void *answer, const struct chat_request *r, const struct exchange_origin *o)
{
    (void)o;
    openai_answer_init(answer, false, r);
}

static void completion_init(void *answer, const struct chat_request *r, const struct exchange_origin *o)
{
    (void)o;
    openai_answer_init(answer, true, r);
}

static void answer_free(void *answer)
{
    openai_answer_free(answer);
}

static void answer_begin(void *answer, const struct exchange_about *about)
{
    struct openai_answer *a = answer;
    a->model = about->model;
}

static int answer_gather(void *answer, const struct chat_event *e, struct error *err)
{
    return openai_answer_gather(answer, e, err);
}

static void answer_whole(void *answer, const struct chat_usage *usage, struct buf *out)
{
    openai_answer_write(answer, usage, out);
}

static void stream_event(void *answer, const struct chat_event *e, struct buf *out)
{
    openai_stream_event(answer, e, out);
}

static void stream_end(void *answer, const struct chat_usage *usage, struct buf *out)
{
    openai_stream_end(answer, usage, out);
}

#define OPENAI_ANSWERS                                                                                       \
    .stream_type = "text/event-stream", .keep_alive = ": keep-alive\n\n",                                    \
    .answer_size = sizeof(struct openai_answer), .free = answer_free, .begin = answer_begin,                 \
    .gather = answer_gather, .whole = answer_whole, .event = stream_event, .end = stream_end,                \
    .error = openai_error

const struct api_shape api_openai_chat_shape = {
    .name = "openai.chat", .read = api_openai_chat_read, .init = chat_init, OPENAI_ANSWERS};
const struct api_shape api_openai_completion_shape = {.name = "openai.completions",
    .read = api_openai_completion_read,
    .init = completion_init,
    OPENAI_ANSWERS};
