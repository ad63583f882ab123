/* A cascade in the life of an exchange: a local model answers first, and what it says is held back until its
 * own tokens tell how sure it is of them (router/doubt.h).
 *
 *   OFF -> LISTENING --- sure ---> OVER "kept"       what is held goes to the client, the rest as it comes
 *              |
 *            doubt -> ASKING ----> OVER "escalated"  another target's first event came
 *                       |
 *                  none answers -> OVER "returned"   the local answer after all
 *
 * While others are asked the local answer rests: it keeps its slot and computes nothing. Where the next
 * target is embedded, too, it may need that room: the local answer is given up, and its model stands once
 * more at the end of the order. So it does when its worker dies meanwhile. */
#include "engine/engine.h"
#include "exchange/exchange_inner.h"

enum {
    HELD_MOST = 64 * 1024
}; /* bytes; under a grammar few tokens are choices, and an answer may get long */

struct cascade_held {
    struct cascade_held *next;
    struct chat_event event;
};

static void held_drop(struct cascade *c)
{
    c->first = NULL;
    c->end = &c->first;
    c->bytes = 0;
    c->n_stopped = 0;
    c->whole = false;
}

const struct router_cascade *cascade_started(struct leg *leg)
{
    struct exchange *x = leg->x;
    struct cascade *c = &x->cascade;
    if (!x->decision.cascade || leg->model != x->order[0] || c->state > CASCADE_LISTENING)
        return NULL;
    c->state = CASCADE_LISTENING;
    c->local = leg;
    held_drop(c);
    return x->decision.cascade;
}

/* ---- What is held ---- */

static size_t bytes_of(const struct chat_event *e)
{
    if (e->kind == CHAT_EVENT_TEXT || e->kind == CHAT_EVENT_REASONING)
        return e->text.len;
    return e->kind == CHAT_EVENT_TOOL_CALL ? e->tool_call.arguments.len : 0;
}

/* False: there is no memory for it. */
static bool hold(struct leg *leg, const struct chat_event *e)
{
    struct exchange *x = leg->x;
    struct cascade *c = &x->cascade;
    if (e->kind == CHAT_EVENT_MEASURE) {
        leg_measured(leg, e);
        return true;
    }
    struct cascade_held *held = arena_try_alloc(x->request->arena, 1, sizeof *held);
    if (!held || !chat_event_copy(x->request->arena, e, &held->event))
        return false;
    held->next = NULL;
    *c->end = held;
    c->end = &held->next;
    c->bytes += bytes_of(e);
    leg_heard(leg, e);
    if (e->kind == CHAT_EVENT_USAGE)
        leg->usage = e->usage; /* should it be given up */
    if (e->kind == CHAT_EVENT_STOP)
        c->whole = ++c->n_stopped >= x->request->n;
    return true;
}

/* The events come once more, and now they go to the client. */
static void keep(struct leg *leg, const char *result)
{
    struct exchange *x = leg->x;
    struct cascade *c = &x->cascade;
    c->state = CASCADE_OVER;
    c->result = result;
    leg->heard_milli = 0;
    leg->drawn = -1;
    for (const struct cascade_held *held = c->first; held && !x->outcome; held = held->next)
        exchange_leg_event(leg, &held->event);
}

/* ---- Doubt ---- */

/* The local answer is no longer there to return to: its model is asked anew, after the others. */
static void give_up(struct leg *leg, const struct chat_failure *failure)
{
    struct exchange *x = leg->x;
    if (x->n_order < ORDER_MOST)
        x->order[x->n_order++] = leg->model;
    held_drop(&x->cascade);
    if (failure)
        leg_end(leg, failure);
    else
        leg_cancel(leg, "it was unsure");
}

static int worker_of(const struct leg *leg)
{
    struct engine_status s;
    engine_status(leg->model->target.engine, &s);
    return s.state == ENGINE_UP ? s.pid : 0;
}

static void escalate(struct leg *leg)
{
    struct exchange *x = leg->x;
    struct cascade *c = &x->cascade;
    c->state = CASCADE_ASKING;
    c->pid = worker_of(leg);
    x->attempts.list[leg->attempt].doubted = true;
    if (x->order[x->next]->target.engine && !c->whole)
        give_up(leg, NULL);
    else
        leg_rest(leg);
    dispatch_next(&x->legs[1]);
}

static void decide(struct leg *leg)
{
    struct exchange *x = leg->x;
    const struct router_cascade *policy = x->decision.cascade;
    x->cascade.doubt = doubt_value(&leg->doubt, policy);
    if (x->cascade.doubt >= policy->threshold && x->next < x->n_order)
        escalate(leg);
    else
        keep(leg, "kept");
}

/* Of several answers the first is judged. */
static bool is_due(const struct leg *leg, const struct chat_event *e)
{
    const struct router_cascade *policy = leg->x->decision.cascade;
    const bool heard = leg->compared || !router_cascade_uses(policy, DOUBT_AGAIN);
    return (heard && leg->doubt.tokens >= policy->tokens) || doubt_is_certain(&leg->doubt, policy) ||
           leg->x->cascade.bytes >= HELD_MOST || (e->kind == CHAT_EVENT_STOP && e->choice == 0);
}

bool cascade_takes(struct leg *leg, const struct chat_event *e)
{
    struct exchange *x = leg->x;
    struct cascade *c = &x->cascade;
    if (leg != c->local || leg->model != x->order[0] || c->state == CASCADE_OVER)
        return false;
    if (e->kind == CHAT_EVENT_ERROR) {
        if (c->state == CASCADE_ASKING)
            give_up(leg, &e->failure);
        return c->state == CASCADE_ASKING;
    }
    if (!hold(leg, e)) {
        const struct chat_failure full =
            chat_failure_of(ERROR_MEMORY, STR("no memory to hold its answer back"));
        if (c->state == CASCADE_ASKING)
            give_up(leg, &full);
        else
            keep(leg, "kept");
        return c->state == CASCADE_ASKING;
    }
    if (c->state == CASCADE_LISTENING && is_due(leg, e))
        decide(leg);
    return true;
}

/* ---- The others ---- */

void cascade_answered(struct leg *by)
{
    struct exchange *x = by->x;
    if (x->cascade.state != CASCADE_ASKING)
        return;
    x->cascade.state = CASCADE_OVER;
    x->cascade.result = by->model == x->order[0] ? "returned" : "escalated";
}

bool cascade_returns(struct exchange *x)
{
    struct cascade *c = &x->cascade;
    if (c->state != CASCADE_ASKING || c->local->state != LEG_RUNNING)
        return false;
    c->state = CASCADE_OVER;
    if (c->whole) {
        keep(c->local, "returned");
    } else if (worker_of(c->local) == c->pid) {
        keep(c->local, "returned");
        if (!x->outcome)
            leg_go_on(c->local);
    } else {
        /* What is held would never be finished: nothing of it is shown. */
        const struct chat_failure died =
            chat_failure_of(ERROR_UNAVAILABLE, STR("its worker died while it waited"));
        c->result = "returned";
        dispatch_failed(c->local, &died);
    }
    return true;
}

bool cascade_is_whole(const struct exchange *x)
{
    return x->cascade.state == CASCADE_ASKING && x->cascade.whole;
}
