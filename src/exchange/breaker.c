#include "exchange/breaker.h"

#include <string.h>

const char *breaker_name(enum breaker_state state)
{
    static const char *const names[] = {"closed", "half-open", "open"};
    return names[state];
}

bool breaker_admit(struct breaker *b, const struct breaker_policy *p, int64_t now_ms)
{
    if (p->failures == 0)
        return true;
    if (b->state == BREAKER_OPEN && now_ms >= b->until_ms) {
        b->state = BREAKER_HALF_OPEN;
        b->trying = false;
    }
    if (b->state != BREAKER_HALF_OPEN)
        return b->state == BREAKER_CLOSED;
    bool first = !b->trying;
    b->trying = true;
    return first;
}

static void open(struct breaker *b, const struct breaker_policy *p, int64_t hold_ms, int64_t now_ms)
{
    int64_t longer = b->open_ms ? b->open_ms * 2 : p->open_ms;
    if (hold_ms > longer)
        longer = hold_ms;
    b->open_ms = longer > BREAKER_OPEN_MOST_MS ? BREAKER_OPEN_MOST_MS : longer;
    b->until_ms = now_ms + b->open_ms;
    b->state = BREAKER_OPEN;
    b->trying = false;
    b->opened++;
}

static void count(struct breaker *b, bool ok, int64_t now_ms)
{
    int64_t number = now_ms / BREAKER_SPAN_MS;
    size_t i = (size_t)(number % BREAKER_SPANS);
    if (b->spans[i].number != number) {
        b->spans[i].number = number;
        b->spans[i].ok = b->spans[i].failed = 0;
    }
    b->spans[i].ok += ok;
    b->spans[i].failed += !ok;
    b->in_a_row = ok ? 0 : b->in_a_row + 1;
}

static bool fails_often(const struct breaker *b, double ratio, int64_t now_ms)
{
    int64_t oldest = now_ms / BREAKER_SPAN_MS - BREAKER_SPANS + 1;
    int ok = 0, failed = 0;
    for (size_t i = 0; i < BREAKER_SPANS; i++)
        if (b->spans[i].number >= oldest) {
            ok += b->spans[i].ok;
            failed += b->spans[i].failed;
        }
    return ok + failed >= BREAKER_LEAST && failed >= ratio * (ok + failed);
}

static void close(struct breaker *b)
{
    b->state = BREAKER_CLOSED;
    b->trying = false;
    b->open_ms = 0;
    b->in_a_row = 0;
    memset(b->spans, 0, sizeof b->spans);
}

bool breaker_result(
    struct breaker *b, const struct breaker_policy *p, enum breaker_result r, int64_t hold_ms, int64_t now_ms)
{
    if (p->failures == 0)
        return false;
    if (r == BREAKER_NEUTRAL) {
        b->trying = false; /* the next request may find out */
        return false;
    }
    count(b, r == BREAKER_OK, now_ms);
    if (r == BREAKER_OK) {
        if (b->state != BREAKER_CLOSED)
            close(b); /* also by one that was sent although it was open */
        return false;
    }
    if (b->state == BREAKER_OPEN) /* one that began before it opened, or was sent all the same */
        return false;
    if (b->state == BREAKER_CLOSED && b->in_a_row < p->failures && !fails_often(b, p->ratio, now_ms))
        return false;
    open(b, p, hold_ms, now_ms);
    return true;
}

void breaker_answered(struct breaker *b)
{
    if (b->state == BREAKER_OPEN)
        b->until_ms = 0;
}

int64_t breaker_probe_every(const struct breaker *b, int64_t every_ms)
{
    return b->state != BREAKER_CLOSED && every_ms > BREAKER_OPEN_MOST_MS ? BREAKER_OPEN_MOST_MS : every_ms;
}

void breaker_missed(struct breaker *b, int64_t hold_ms, int64_t now_ms)
{
    if (b->state == BREAKER_OPEN && b->until_ms < now_ms + hold_ms)
        b->until_ms = now_ms + hold_ms;
}
