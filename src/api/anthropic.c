/* Anthropic's shape: messages, and the counting of their tokens. */
#include "api/anthropic_in.h"
#include "api/anthropic_out.h"
#include "api/shape.h"

static const char *const passed[] = {"anthropic-beta", "anthropic-version", NULL};

static void answer_init(void *answer, const struct chat_request *r, const struct exchange_origin *o)
{
    (void)r;
    anthropic_answer_init(answer, o->request_id);
}

static void answer_free(void *answer)
{
    anthropic_answer_free(answer);
}

static void answer_begin(void *answer, const struct exchange_about *about)
{
    struct anthropic_answer *a = answer;
    a->model = about->model;
    a->usage = about->usage;
}

static int answer_gather(void *answer, const struct chat_event *e, struct error *err)
{
    return anthropic_answer_gather(answer, e, err);
}

static void answer_whole(void *answer, const struct chat_usage *usage, struct buf *out)
{
    anthropic_answer_write(answer, usage, out);
}

static void stream_event(void *answer, const struct chat_event *e, struct buf *out)
{
    anthropic_stream_event(answer, e, out);
}

static void stream_end(void *answer, const struct chat_usage *usage, struct buf *out)
{
    anthropic_stream_end(answer, usage, out);
}

static int error_write(
    int status, struct str message, struct str type, struct str request_id, struct buf *out)
{
    (void)type; /* the status says it in this API's own word */
    return anthropic_error_write(status, message, request_id, out);
}

const struct api_shape api_anthropic_shape = {.name = "anthropic.messages",
    .stream_type = "text/event-stream",
    .keep_alive = "event: ping\ndata: {\"type\": \"ping\"}\n\n",
    .id_header = "request-id",
    .passed = passed,
    .answer_size = sizeof(struct anthropic_answer),
    .read = api_anthropic_read,
    .init = answer_init,
    .free = answer_free,
    .begin = answer_begin,
    .gather = answer_gather,
    .whole = answer_whole,
    .event = stream_event,
    .end = stream_end,
    .error = error_write};

/* ---- count_tokens ---- */

struct count {
    int64_t tokens;
};

static void count_init(void *answer, const struct chat_request *r, const struct exchange_origin *o)
{
    (void)answer;
    (void)r;
    (void)o;
}

static void count_free(void *answer)
{
    (void)answer;
}

static void count_begin(void *answer, const struct exchange_about *about)
{
    (void)answer;
    (void)about;
}

static int count_gather(void *answer, const struct chat_event *e, struct error *err)
{
    (void)err;
    if (e->kind == CHAT_EVENT_USAGE)
        ((struct count *)answer)->tokens = e->usage.input_tokens;
    return 0;
}

static void count_estimate(void *answer, int64_t tokens)
{
    ((struct count *)answer)->tokens = tokens;
}

static void count_whole(void *answer, const struct chat_usage *usage, struct buf *out)
{
    struct json_writer w;
    (void)usage;
    json_writer_init(&w, out);
    json_object_begin(&w);
    json_member_int(&w, "input_tokens", ((struct count *)answer)->tokens);
    json_object_end(&w);
}

/* Never streamed: no `event`, no `end`. */
const struct api_shape api_anthropic_count_shape = {.name = "anthropic.count_tokens",
    .id_header = "request-id",
    .passed = passed,
    .answer_size = sizeof(struct count),
    .read = api_anthropic_count_read,
    .init = count_init,
    .free = count_free,
    .begin = count_begin,
    .gather = count_gather,
    .whole = count_whole,
    .estimate = count_estimate,
    .error = error_write};
