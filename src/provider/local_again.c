#include "provider/local_again.h"

#include <math.h>
#include <strings.h>

#include "base/ascii.h"
#include "engine/engine.h"

enum { SAID_MOST = 8 * 1024, WORDS_MOST = 256 };
#define TEMPERATURE 1.0 /* the model's own distribution, or flatter where the request wants it so */

/* ---- Agreement ---- */

struct words {
    struct str list[WORDS_MOST];
    size_t n;
    bool is_last_cut;
};

static bool is_word(char c)
{
    return ascii_is_alnum(c) || c & '\x80';
}

static void words_of(const struct local_again_text *t, struct words *out)
{
    const struct str text = buf_str(&t->said);
    *out = (struct words){.n = 0};
    for (size_t i = 0, from; i < text.len && out->n < WORDS_MOST; i++) {
        for (from = i; i < text.len && is_word(text.data[i]); i++)
            ;
        if (i > from)
            out->list[out->n++] = str_slice(text, from, i);
    }
    out->is_last_cut = !t->whole && text.len > 0 && is_word(text.data[text.len - 1]);
}

static bool word_is(struct str a, struct str b)
{
    return a.len == b.len && strncasecmp(a.data, b.data, a.len) == 0;
}

/* Each word of one stands for one of the other. */
static size_t words_in_common(const struct words *x, const struct words *y)
{
    bool taken[WORDS_MOST] = {false};
    size_t n = 0;
    for (size_t i = 0; i < x->n; i++)
        for (size_t k = 0; k < y->n; k++)
            if (!taken[k] && word_is(x->list[i], y->list[k])) {
                taken[k] = true;
                n++;
                break;
            }
    return n;
}

double local_again_agreement(const struct local_again_text *x, const struct local_again_text *y)
{
    struct words a, b;
    words_of(x, &a);
    words_of(y, &b);
    a.n -= a.is_last_cut && a.n > 1;
    b.n -= b.is_last_cut && b.n > 1;
    if (!x->whole && a.n > b.n && b.n > 0)
        a.n = b.n;
    if (!y->whole && b.n > a.n && a.n > 0)
        b.n = a.n;
    if (a.n + b.n == 0)
        return str_eq(str_trim(buf_str(&x->said)), str_trim(buf_str(&y->said)));
    return 2 * (double)words_in_common(&a, &b) / (double)(a.n + b.n);
}

/* ---- Its life ---- */

/* Is there a slot for each of its calls and for so many more? */
static bool has_slots(struct engine *e, int more)
{
    struct engine_status s;
    engine_status(e, &s);
    return s.state == ENGINE_UP && s.active + s.queued + more <= s.slots;
}

void local_again_start(struct local_again *a, const struct provider_start *s, struct chat_sink sink)
{
    const struct chat_request *r = s->request;
    struct chat_request second = *r;
    struct error err;
    if (r->measure_again == CHAT_AGAIN_NEVER || r->measure == 0)
        return;
    *a = (struct local_again){.state = LOCAL_AGAIN_OVER,
        .engine = s->model->engine,
        .must = r->measure_again == CHAT_AGAIN_ALWAYS,
        .tokens = r->measure};
    buf_init(&a->answer.said, SAID_MOST);
    buf_init(&a->second.said, SAID_MOST);
    if (r->n != 1 || (!a->must && !has_slots(s->model->engine, 1)))
        return;
    second.max_tokens = r->max_tokens >= 0 && r->max_tokens < r->measure ? r->max_tokens : r->measure;
    second.sampling.temperature = fmax(TEMPERATURE, r->sampling.temperature);
    second.sampling.seed = (int64_t)((uint64_t)r->sampling.seed + CHAT_CHOICES_MAX);
    second.logprobs = false;
    second.measure = 0;
    second.measure_prompt = false;
    if (engine_chat(s->model->engine, s->loop, &second, sink, &a->call, &err) == 0)
        a->state = LOCAL_AGAIN_WAITS;
}

void local_again_close(struct local_again *a)
{
    engine_call_close(a->call);
    a->call = NULL;
    a->state = a->state == LOCAL_AGAIN_NONE ? LOCAL_AGAIN_NONE : LOCAL_AGAIN_OVER;
    buf_free(&a->answer.said);
    buf_free(&a->second.said);
}

/* What does not fit is as good as cut. */
static void text_hear(struct local_again_text *t, const struct chat_event *e)
{
    if (e->kind == CHAT_EVENT_TEXT || e->kind == CHAT_EVENT_REASONING)
        buf_append_str(&t->said, e->text);
    if (e->kind == CHAT_EVENT_TOOL_CALL) {
        buf_append_str(&t->said, e->tool_call.name);
        buf_append_str(&t->said, e->tool_call.arguments);
    }
    if (e->kind == CHAT_EVENT_STOP)
        t->whole = e->stop != CHAT_STOP_LENGTH && !t->said.failed;
}

static bool is_last(const struct chat_event *e)
{
    return e->kind == CHAT_EVENT_STOP || e->kind == CHAT_EVENT_ERROR;
}

void local_again_hears(struct local_again *a, const struct chat_event *event)
{
    if (a->state == LOCAL_AGAIN_NONE)
        return;
    a->measured += event->kind == CHAT_EVENT_MEASURE && event->measure.of == CHAT_MEASURED_TOKEN;
    text_hear(&a->answer, event);
    if (is_last(event))
        a->measured = a->tokens;
    if (event->kind == CHAT_EVENT_ERROR)
        a->told = true; /* nobody is to hear of it any more */
}

void local_again_hears_itself(struct local_again *a, const struct chat_event *event)
{
    if (a->state == LOCAL_AGAIN_WAITS)
        a->state = LOCAL_AGAIN_RUNS;
    text_hear(&a->second, event);
    if (!is_last(event))
        return;
    a->has_said = event->kind == CHAT_EVENT_STOP;
    a->state = LOCAL_AGAIN_OVER;
    engine_call_close(a->call);
    a->call = NULL;
}

bool local_again_is_awaited(struct local_again *a)
{
    if (a->state == LOCAL_AGAIN_WAITS && !a->must && !has_slots(a->engine, 0)) {
        engine_call_close(a->call);
        a->call = NULL;
        a->state = LOCAL_AGAIN_OVER;
    }
    return a->state == LOCAL_AGAIN_WAITS || a->state == LOCAL_AGAIN_RUNS;
}

bool local_again_tells(struct local_again *a, struct chat_event *out)
{
    if (a->state != LOCAL_AGAIN_OVER || a->told || (a->has_said && a->measured < a->tokens))
        return false;
    a->told = true;
    *out = (struct chat_event){.kind = CHAT_EVENT_MEASURE};
    out->measure.of = CHAT_MEASURED_AGAIN;
    out->measure.agreement = a->has_said ? local_again_agreement(&a->answer, &a->second) : (double)NAN;
    return true;
}
