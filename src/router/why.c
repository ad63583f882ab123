/* A decision explained: every fact with its value, every rule with why it matches or not, what was found and
 * by which layer, and what each target is likely to cost and take. */
#include <math.h>
#include <string.h>
#include <time.h>

#include "base/limits.h"
#include "router/decide.h"
#include "router/detect.h"
#include "router/policy.h"

/* ---- Why a condition holds or not, in words: "complexity is 0.31, wants >= 0.6". ---- */
struct why {
    struct facts *facts;
    struct str first; /* the rule's first target */
    struct buf *out;
};

static void words_say(struct buf *b, const struct str *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_appendf(b, "%s" STR_FMT, i ? ", " : "", STR_ARG(words[i]));
    if (n == 0)
        buf_append_text(b, "nothing");
}

static void word_say(struct buf *b, struct str word)
{
    words_say(b, &word, word.len > 0);
}

static void entities_say(struct buf *b, const struct router_findings *f)
{
    size_t said = 0;
    for (size_t i = 0; i < f->n_entities; i++) {
        bool again = f->entities[i].score < DETECT_SURE;
        for (size_t j = 0; j < i && !again; j++)
            again =
                f->entities[j].score >= DETECT_SURE && strcmp(f->entities[j].type, f->entities[i].type) == 0;
        if (!again)
            buf_appendf(b, "%s%s", said++ ? ", " : "", f->entities[i].type);
    }
    for (size_t i = 0; i < f->n_more_types; i++)
        buf_appendf(b, "%s%s", said++ ? ", " : "", f->more_types[i]);
    if (said == 0)
        buf_append_text(b, "nothing");
}

static void categories_say(struct buf *b, unsigned categories)
{
    const char *glue = "";
    for (unsigned c = 1; c <= ROUTER_PERSONAL; c <<= 1)
        if (categories & c) {
            buf_appendf(b, "%s%s", glue, router_category_name((enum router_category)c));
            glue = ", ";
        }
    if (categories == 0)
        buf_append_text(b, "nothing");
}

static void clock_say(struct buf *b, const struct when *w, int64_t wall_ms)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm = {0};
    char text[64];
    if (w->span.utc)
        gmtime_r(&seconds, &tm);
    else
        localtime_r(&seconds, &tm);
    strftime(text, sizeof text, w->span.utc ? "%a %H:%M UTC" : "%a %H:%M", &tm);
    buf_append_text(b, text);
}

static void value_say(const struct why *y, const struct when *w)
{
    const struct router_context *c = y->facts->context;
    double number;
    switch (w->kind) {
    case WHEN_BOOL:
        buf_append_text(y->out, when_bool(w, y->facts) ? "true" : "false");
        return;
    case WHEN_NUMBER:
        number = when_number(w, y->facts, y->first);
        if (isnan(number))
            buf_append_text(y->out, "unknown");
        else if (isinf(number))
            buf_append_text(y->out, "not limited");
        else if (w->number.share)
            buf_appendf(y->out, "%.4g%%", number * 100);
        else
            buf_appendf(y->out, "%.6g", number);
        return;
    case WHEN_CATEGORIES:
        categories_say(y->out, facts_findings(y->facts)->categories);
        return;
    case WHEN_TIME:
        clock_say(y->out, w, c->wall_ms);
        return;
    default:
        break;
    }
    if (w->fact == WHEN_ENTITY)
        entities_say(y->out, facts_findings(y->facts));
    else if (w->fact == WHEN_TAG)
        words_say(y->out, c->tags, c->n_tags);
    else
        word_say(y->out, w->fact == WHEN_KEY    ? c->key
                         : w->fact == WHEN_TEAM ? c->team
                         : w->fact == WHEN_TASK ? str_from(facts_task(y->facts))
                                                : str_from(facts_language(y->facts)));
}

/* Of a group, the children that made its answer: one where one is enough, else all. Recursion is bounded as
 * the condition's own. */
static void why_say(const struct why *y, const struct when *w, bool negated)
{
    if (w->kind == WHEN_NOT) {
        why_say(y, w->first, !negated);
        return;
    }
    if (w->kind != WHEN_ALL && w->kind != WHEN_ANY) {
        buf_appendf(y->out, "%s is ", w->key);
        value_say(y, w);
        buf_appendf(y->out, ", wants %s" STR_FMT, negated ? "not " : "", STR_ARG(w->wants));
        return;
    }
    enum when_answer answer = when_match(w, y->facts, y->first);
    bool one = answer == WHEN_UNKNOWN || answer == (w->kind == WHEN_ALL ? WHEN_NO : WHEN_YES);
    const char *glue = "";
    for (const struct when *child = w->first; child; child = child->next) {
        if (one && when_match(child, y->facts, y->first) != answer)
            continue;
        buf_append_text(y->out, glue);
        why_say(y, child, negated);
        glue = "; ";
        if (one)
            return;
    }
}

/* ---- JSON ---- */
static void rule_write(
    const struct router_policy *p, const struct policy_rule *rule, struct facts *f, struct json_writer *w)
{
    struct buf text;
    struct str first = rule->n_targets > 0 ? p->models[rule->targets[0]].name : STR_NONE;
    enum when_answer answer = policy_rule_match(p, rule, f);
    buf_init(&text, 64 * KIB);
    const struct why y = {f, first, &text};
    if (rule->when)
        why_say(&y, rule->when, false);
    else
        buf_append_text(&text, "it has no condition");
    json_object_begin(w);
    json_member_str(w, "name", rule->name);
    json_member_int(w, "line", rule->line);
    json_key(w, "matches");
    if (answer == WHEN_UNKNOWN)
        json_write_null(w);
    else
        json_write_bool(w, answer == WHEN_YES);
    json_member_str(w, "why", buf_str(&text));
    if (rule->shadow)
        json_member_bool(w, "shadow", true);
    json_object_end(w);
    buf_free(&text);
}

/* Every rule of the route that was asked, also those behind the one that decided. */
static void rules_write(const struct router_policy *p, struct facts *f, struct json_writer *w)
{
    json_key(w, "rules");
    json_array_begin(w);
    for (size_t i = 0; i < p->n_routes; i++)
        for (size_t k = 0; str_eq(p->routes[i].name, f->request->model) && k < p->routes[i].n_rules; k++)
            rule_write(p, &p->routes[i].rules[k], f, w);
    json_array_end(w);
}

static void number_or_null(struct json_writer *w, const char *key, double value)
{
    json_member_double(w, key, value >= 0 ? value : NAN);
}

static void word_or_null(struct json_writer *w, const char *key, struct str value)
{
    json_key(w, key);
    if (value.len > 0)
        json_write_str(w, value);
    else
        json_write_null(w);
}

static void facts_write(struct facts *f, struct json_writer *w)
{
    const struct router_context *c = f->context;
    json_key(w, "facts");
    json_object_begin(w);
    json_member_bool(w, "sensitive", facts_findings(f)->sensitive);
    word_or_null(w, "detector_error", str_from(f->failure));
    number_or_null(w, "complexity", facts_complexity(f));
    json_member_int(w, "tokens", facts_tokens(f));
    word_or_null(w, "task", str_from(facts_task(f)));
    word_or_null(w, "language", str_from(facts_language(f)));
    json_member_bool(w, "images", facts_images(f));
    json_member_bool(w, "audio", facts_audio(f));
    json_member_bool(w, "files", facts_files(f));
    json_member_bool(w, "tools", facts_tools(f));
    json_member_bool(w, "batch", c->batch);
    word_or_null(w, "key", c->key);
    word_or_null(w, "team", c->team);
    json_key(w, "tags");
    json_array_begin(w);
    for (size_t i = 0; i < c->n_tags; i++)
        json_write_str(w, c->tags[i]);
    json_array_end(w);
    number_or_null(w, "budget_left", c->budget_left ? c->budget_left(c->ctx) : -1);
    number_or_null(w, "local_queue", c->local_queue ? c->local_queue(c->ctx) : -1);
    json_object_end(w);
}

static void predicted_write(
    const struct router_policy *p, struct facts *f, const struct route_decision *d, struct json_writer *w)
{
    json_key(w, "predicted");
    json_array_begin(w);
    for (size_t i = 0; i < d->n_targets; i++) {
        json_object_begin(w);
        json_member_str(w, "target", d->targets[i]);
        number_or_null(w, "cost_usd", facts_cost_usd(f, d->targets[i]));
        number_or_null(w, "latency_ms", facts_latency_ms(f, d->targets[i]));
        for (size_t k = 0; k < p->n_models; k++)
            if (str_eq(p->models[k].name, d->targets[i]))
                number_or_null(w, "quality", p->models[k].quality > 0 ? p->models[k].quality : -1);
        json_object_end(w);
    }
    json_array_end(w);
}

/* ---- What was found ---- */
struct shown {
    const struct detect_own *own;
    const struct router_entity *entity;
    struct str text; /* what stands there */
};

/* Code points to bytes; SIZE_MAX past the end. */
static size_t offset_of(struct str text, size_t code_points)
{
    size_t at = 0;
    for (; code_points > 0 && at < text.len; code_points--) {
        uint32_t code_point;
        size_t n = str_utf8_decode(str_slice(text, at, text.len), &code_point);
        at += n > 0 ? n : 1;
    }
    return code_points == 0 ? at : SIZE_MAX;
}

/* Several texts may have one place (the parts of a message): the first in which the finding is found again.
 */
static int text_find(void *ctx, struct str where, struct str text)
{
    struct shown *s = ctx;
    const struct router_entity *e = s->entity;
    size_t start = offset_of(text, e->start), end = offset_of(text, e->end);
    if (!str_eq(where, e->where) || end == SIZE_MAX)
        return 0;
    struct arena *a = arena_create(LIMIT_REQUEST_MEMORY);
    struct router_findings again = {0};
    struct error err;
    bool found = false;
    if (router_detect_own(s->own, a, where, text, &again, &err) == 0)
        for (size_t i = 0; i < again.n_entities && !found; i++)
            found = again.entities[i].start == e->start && strcmp(again.entities[i].type, e->type) == 0;
    arena_free(a);
    if (found)
        s->text = str_slice(text, start, end);
    return found;
}

static void finding_write(
    const struct facts *f, const struct router_entity *e, bool content, struct json_writer *w)
{
    struct shown shown = {f->own, e, STR_NONE};
    json_object_begin(w);
    json_member_text(w, "layer", detect_layer_name(str_from(e->type)));
    json_member_text(w, "type", e->type);
    json_member_text(w, "category", router_category_name(e->category));
    json_member_double(w, "score", e->score);
    word_or_null(w, "where", e->where);
    json_member_int(w, "start", (int64_t)e->start);
    json_member_int(w, "end", (int64_t)e->end);
    if (e->allowed)
        json_member_text(w, "allowed", e->allowed);
    if (content) {
        (void)chat_request_visit(f->request, text_find, &shown); /* not found is nothing shown */
        word_or_null(w, "text", shown.text);
    }
    json_object_end(w);
}

static void findings_write(struct facts *f, bool content, struct json_writer *w)
{
    const struct router_findings *found = facts_findings(f);
    json_key(w, "findings");
    json_array_begin(w);
    for (size_t i = 0; i < found->n_entities; i++)
        finding_write(f, &found->entities[i], content, w);
    json_array_end(w);
    if (found->more > 0)
        json_member_int(w, "more_findings", (int64_t)found->more);
}

void router_error_write(const struct error *err, struct json_writer *w)
{
    json_key(w, "error");
    json_object_begin(w);
    json_member_text(w, "message", err->message);
    json_member_text(w, "code", error_code_name(err->code));
    json_object_end(w);
}

int router_explain(const struct router_policy *p, const struct chat_request *r,
    const struct router_context *c, bool content, struct route_decision *out, struct json_writer *w,
    struct error *err)
{
    struct facts f;
    facts_init(&f, p->own, r, c);
    facts_compute(&f);
    int rc = router_decide_facts(p, &f, out, err);
    json_object_begin(w);
    if (rc)
        router_error_write(err, w);
    route_decision_members(out, w);
    facts_write(&f, w);
    findings_write(&f, content, w);
    rules_write(p, &f, w);
    predicted_write(p, &f, out, w);
    json_object_end(w);
    return rc;
}
