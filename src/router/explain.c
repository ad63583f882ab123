/* A decision in words and as the contract's JSON. */
#include <math.h>
#include <string.h>

#include "router/decide.h"
#include "router/detect.h"
#include "router/doubt.h"
#include "router/redact.h"

/* ---- The sentence. ---- */

/* "an e-mail address and a secret (GITHUB_PAT) were found" */
static void findings_say(struct buf *b, const struct facts *f)
{
    enum { MOST = 3 };
    const struct detect_type *said[MOST];
    size_t n = 0;
    bool more = false;
    for (size_t i = 0; i < f->findings.n_entities && !more; i++) {
        const struct router_entity *e = &f->findings.entities[i];
        bool again = e->score < DETECT_SURE;
        for (size_t j = 0; j < n && !again; j++)
            again = strcmp(said[j]->name, e->type) == 0;
        const struct detect_type *type = again ? NULL : detect_type_find(str_from(e->type));
        if (type && n < MOST)
            said[n++] = type;
        else
            more = more || type;
    }
    for (size_t i = 0; i < n; i++) {
        const char *glue = i == 0 ? "" : i + 1 == n && !more ? " and " : ", ";
        buf_appendf(b, "%s%s", glue, said[i]->words);
        if (strcmp(said[i]->words, "a secret") == 0)
            buf_appendf(b, " (%s)", said[i]->name);
    }
    buf_appendf(b, more ? " and more were found" : n > 1 ? " were found" : " was found");
}

static void facts_say(struct buf *b, const struct facts *f)
{
    if (f->detector_failed)
        buf_appendf(b, "the text could not be checked (%s)", f->failure);
    else if ((f->have & FACTS_FINDINGS) && f->findings.sensitive)
        findings_say(b, f);
    else if (f->have & FACTS_FINDINGS)
        buf_append_text(b, "nothing sensitive was found");
    if (f->have & FACTS_COMPLEXITY) {
        buf_append_text(b, b->len ? ", complexity is " : "complexity is ");
        buf_append_decimal(b, llround(f->complexity * 100), 2);
    }
    if (b->len > 0)
        buf_append_text(b, "; ");
}

static void targets_say(struct buf *b, const struct route_decision *d)
{
    for (size_t i = 0; i < d->n_targets; i++) {
        if (i == 1 && d->cascade)
            buf_appendf(b, ", and where its doubt is %.3g or more ", d->cascade->threshold);
        else
            buf_append_text(b, i == 0 ? "" : ", then ");
        buf_append_str(b, d->targets[i]);
    }
}

/* ", and it leaves masked (PERSON 2, EMAIL_ADDRESS 1)" */
static void masked_say(struct buf *b, const struct route_decision *d)
{
    buf_append_text(b, d->route.len > 0 ? " masks what leaves (" : ", and it leaves masked (");
    for (size_t i = 0; i < d->masked->n_types; i++)
        buf_appendf(b, "%s%s %zu", i ? ", " : "", d->masked->types[i].type, d->masked->types[i].count);
    buf_append_char(b, ')');
}

struct str router_reason(
    struct arena *a, const struct route_decision *d, const struct facts *f, const char *stays)
{
    struct buf b;
    buf_init(&b, 4096);
    facts_say(&b, f);
    buf_append_text(&b, d->route.len > 0 ? "rule " : "the client named the model");
    if (d->route.len > 0)
        buf_append_str(&b, d->rule);
    if (stays)
        buf_appendf(&b, "%s%s", d->route.len > 0 ? " applies, and " : ", but ", stays);
    else if (d->boundary == EGRESS_BOUNDARY_LOCAL)
        buf_append_text(&b, " keeps it inside");
    else if (d->masked)
        masked_say(&b, d);
    if (d->n_targets > 0) {
        buf_append_text(&b, ": ");
        targets_say(&b, d);
    }
    struct str reason = arena_copy(a, buf_str(&b));
    buf_free(&b);
    return reason;
}

/* ---- JSON. What was not computed is null. ---- */
void router_entity_write(const struct router_entity *e, struct json_writer *w)
{
    json_object_begin(w);
    json_member_text(w, "type", e->type);
    json_member_int(w, "start", (int64_t)e->start);
    json_member_int(w, "end", (int64_t)e->end);
    json_member_double(w, "score", e->score);
    json_maybe_str(w, "where", e->where);
    if (e->allowed)
        json_member_text(w, "allowed", e->allowed);
    json_object_end(w);
}

static void findings_write(const struct route_decision *d, struct json_writer *w)
{
    json_key(w, "sensitive");
    if (!d->facts_sensitive) {
        json_write_null(w);
        json_key(w, "categories");
        json_write_null(w);
        json_key(w, "entities");
        json_write_null(w);
        return;
    }
    json_write_bool(w, d->findings.sensitive);
    json_key(w, "categories");
    json_array_begin(w);
    for (unsigned c = 1; c <= ROUTER_PERSONAL; c <<= 1)
        if (d->findings.categories & c)
            json_write_text(w, router_category_name((enum router_category)c));
    json_array_end(w);
    json_key(w, "entities");
    json_array_begin(w);
    for (size_t i = 0; i < d->findings.n_entities; i++)
        router_entity_write(&d->findings.entities[i], w);
    json_array_end(w);
}

static void str_or_null(struct json_writer *w, struct str value)
{
    if (value.len > 0)
        json_write_str(w, value);
    else
        json_write_null(w);
}

/* "redacted": {"PERSON": 2}: how many different ones; what they are is nowhere but in the request. */
static void masked_write(const struct router_masked *m, struct json_writer *w)
{
    json_key(w, "redacted");
    json_object_begin(w);
    for (size_t i = 0; i < m->n_types; i++)
        json_member_int(w, m->types[i].type, (int64_t)m->types[i].count);
    json_object_end(w);
}

void route_decision_members(const struct route_decision *d, struct json_writer *w)
{
    json_key(w, "request_id");
    str_or_null(w, d->request_id);
    json_key(w, "route");
    str_or_null(w, d->route);
    json_key(w, "rule");
    str_or_null(w, d->rule);
    json_member_text(w, "boundary", d->boundary == EGRESS_BOUNDARY_LOCAL ? "local" : "any");
    findings_write(d, w);
    json_member_double(w, "complexity", d->complexity);
    json_member_text(w, "task", d->task);
    json_key(w, "tokens");
    if (d->tokens >= 0)
        json_write_int(w, d->tokens);
    else
        json_write_null(w);
    json_key(w, "targets");
    json_array_begin(w);
    for (size_t i = 0; i < d->n_targets; i++)
        json_write_str(w, d->targets[i]);
    json_array_end(w);
    if (d->n_shadows > 0) {
        json_key(w, "shadow");
        json_array_begin(w);
        for (size_t i = 0; i < d->n_shadows; i++)
            json_write_str(w, d->shadows[i]);
        json_array_end(w);
    }
    if (d->cascade && d->n_targets > 0) {
        json_key(w, "cascade");
        json_object_begin(w);
        json_member_str(w, "local", d->targets[0]);
        json_member_double(w, "threshold", d->cascade->threshold);
        json_member_int(w, "tokens", d->cascade->tokens);
        json_member_bool(w, "fitted", d->cascade->fitted);
        json_object_end(w);
    }
    json_key(w, "reason");
    str_or_null(w, d->reason);
    if (d->masked)
        masked_write(d->masked, w);
}

void route_decision_write(const struct route_decision *d, struct json_writer *w)
{
    json_object_begin(w);
    route_decision_members(d, w);
    json_object_end(w);
}
