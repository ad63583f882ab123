/* Conditions: asked of a request. */
#include <math.h>
#include <time.h>

#include "router/calibrate.h"
#include "router/detect.h"
#include "router/policy.h"

static enum when_answer answer(bool yes)
{
    return yes ? WHEN_YES : WHEN_NO;
}

bool when_bool(const struct when *w, struct facts *f)
{
    switch (w->fact) {
    case WHEN_SENSITIVE:
        return facts_findings(f)->sensitive;
    case WHEN_IMAGES:
        return facts_images(f);
    case WHEN_AUDIO:
        return facts_audio(f);
    case WHEN_FILES:
        return facts_files(f);
    case WHEN_TOOLS:
        return facts_tools(f);
    default:
        return f->context->batch;
    }
}

static double budget_of(const struct when *w, const struct router_context *c)
{
    double (*ask)(void *ctx) = w->number.share ? c->budget_share : c->budget_left;
    return ask ? ask(c->ctx) : -1;
}

double when_number(const struct when *w, struct facts *f, struct str first)
{
    const struct router_context *c = f->context;
    double value = -1;
    switch (w->fact) {
    case WHEN_COMPLEXITY:
        return facts_complexity(f);
    case WHEN_TOKENS:
        return (double)facts_tokens(f);
    case WHEN_BUDGET_LEFT:
        value = budget_of(w, c);
        break;
    case WHEN_LOCAL_QUEUE:
        value = c->local_queue ? c->local_queue(c->ctx) : -1;
        break;
    case WHEN_COST_USD:
        value = facts_cost_usd(f, first);
        break;
    default:
        value = facts_latency_ms(f, first);
    }
    return value >= 0 ? value : NAN;
}

static enum when_answer number_match(const struct when *w, const struct facts *f, double value)
{
    double limit = w->number.threshold ? f->calibration->threshold : w->number.value;
    if (isnan(value))
        return WHEN_UNKNOWN;
    switch (w->number.sign) {
    case WHEN_LESS:
        return answer(value < limit);
    case WHEN_LESS_EQUAL:
        return answer(value <= limit);
    case WHEN_GREATER:
        return answer(value > limit);
    case WHEN_GREATER_EQUAL:
        return answer(value >= limit);
    case WHEN_EQUAL:
        return answer(!(value < limit) && !(value > limit));
    default:
        return answer(value < limit || value > limit);
    }
}

static bool among(const struct when *w, struct str word)
{
    for (size_t i = 0; i < w->words.n; i++)
        if (str_eq(w->words.word[i], word))
            return true;
    return false;
}

static bool words_match(const struct when *w, struct facts *f)
{
    const struct router_context *c = f->context;
    switch (w->fact) {
    case WHEN_KEY:
        return c->key.len > 0 && among(w, c->key);
    case WHEN_TEAM:
        return c->team.len > 0 && among(w, c->team);
    case WHEN_TASK:
        return among(w, str_from(facts_task(f)));
    case WHEN_LANGUAGE:
        return among(w, str_from(facts_language(f)));
    case WHEN_TAG:
        for (size_t i = 0; i < c->n_tags; i++)
            if (among(w, c->tags[i]))
                return true;
        return false;
    default:
        for (size_t i = 0; i < facts_findings(f)->n_entities; i++)
            if (f->findings.entities[i].score >= DETECT_SURE &&
                among(w, str_from(f->findings.entities[i].type)))
                return true;
        for (size_t i = 0; i < f->findings.n_more_types; i++)
            if (among(w, str_from(f->findings.more_types[i])))
                return true;
        return false;
    }
}

static bool span_match(const struct when_span *span, int64_t wall_ms)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm = {0};
    if (span->utc)
        gmtime_r(&seconds, &tm);
    else
        localtime_r(&seconds, &tm);
    int now = tm.tm_hour * 60 + tm.tm_min;
    unsigned today = 1u << tm.tm_wday, yesterday = 1u << (tm.tm_wday + 6) % 7;
    if (span->from < span->to)
        return (span->days & today) && now >= span->from && now < span->to;
    return ((span->days & today) && now >= span->from) || ((span->days & yesterday) && now < span->to);
}

/* Kleene's three values: no ends an ALL, yes ends an ANY, unknown waits for one of them. */
static enum when_answer group_match(const struct when *w, struct facts *f, struct str first)
{
    enum when_answer ending = w->kind == WHEN_ALL ? WHEN_NO : WHEN_YES;
    enum when_answer result = w->kind == WHEN_ALL ? WHEN_YES : WHEN_NO;
    for (const struct when *child = w->first; child; child = child->next) {
        enum when_answer a = when_match(child, f, first);
        if (a == ending)
            return ending;
        if (a == WHEN_UNKNOWN)
            result = WHEN_UNKNOWN;
    }
    return result;
}

enum when_answer when_match(const struct when *w, struct facts *f, struct str first)
{
    switch (w->kind) {
    case WHEN_ALL:
    case WHEN_ANY:
        return group_match(w, f, first);
    case WHEN_NOT: {
        enum when_answer a = when_match(w->first, f, first);
        return a == WHEN_UNKNOWN ? a : answer(a == WHEN_NO);
    }
    default:
        break;
    }
    if (f->unknown & 1u << w->fact)
        return WHEN_UNKNOWN;
    switch (w->kind) {
    case WHEN_BOOL:
        return answer(when_bool(w, f) == w->expected);
    case WHEN_NUMBER:
        return number_match(w, f, when_number(w, f, first));
    case WHEN_WORDS:
        return answer(words_match(w, f));
    case WHEN_CATEGORIES:
        return answer((facts_findings(f)->categories & w->categories) != 0);
    default:
        return answer(span_match(&w->span, f->context->wall_ms));
    }
}
