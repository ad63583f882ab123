#include "router/redact.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "base/limits.h"
#include "router/decide.h"
#include "router/detect_memo.h"
#include "router/detect_own.h"
#include "router/mask.h"
#include "router/seam.h"

enum {
    ROUNDS = 4,     /* other pseudonyms, should a text hold those of the first */
    WHOLE = 64,     /* of a longer text a finding may not be nearly all: nothing would be left to work on */
    MOST_DATES = 4, /* in one finding */
    MOST_BYTES = 4 << 20, /* of a request: its copies must fit into its memory */
    QUESTION_BYTES = 4096
};
/* Names and places that the detector is not sure of are masked along, and John Smith: it can only tighten. */
#define MASK_LEAST 0.35

/* ---- What is to be masked ---- */

struct gather {
    const struct router_redact_options *options;
    struct str scope; /* whose request it is */
    struct arena *arena;
    struct mask *mask;
    size_t bytes;      /* of text */
    size_t births;     /* dates of birth that are found in the masked texts */
    const char *stays; /* why it cannot be masked; NULL: so far it can */
    char why[160];
    struct error *err;
};

static void stay(struct gather *g, const char *fmt, const char *what)
{
    if (!g->stays)
        snprintf(g->why, sizeof g->why, fmt, what);
    g->stays = g->why;
}

static const struct detect_type *type_of(const struct gather *g, const char *name)
{
    return detect_own_type_or_known(g->options->own, str_from(name));
}

/* Without a statement's words the text around says the same; so does a document of the owner's, or a mark. */
static bool is_statement(const struct gather *g, const char *type)
{
    const struct detect_type *t = type_of(g, type);
    return detect_own_kind(t) == OWN_WHOLE || detect_is_statement(t);
}

static bool is_soft(const struct router_entity *e)
{
    return strcmp(e->type, "PERSON") == 0 || strcmp(e->type, "STREET_ADDRESS") == 0;
}

static bool is_masked(const struct router_entity *e)
{
    return e->score >= (is_soft(e) ? MASK_LEAST : DETECT_SURE);
}

/* A finding in bytes. */
struct span {
    const struct detect_type *type;
    size_t start, end;
    bool soft; /* not sure of: masked all the same */
};

static int span_order(const void *a, const void *b)
{
    const struct span *x = a, *y = b;
    if (x->start != y->start)
        return x->start < y->start ? -1 : 1;
    return x->end > y->end ? -1 : x->end < y->end;
}

/* Code points to bytes: entities of one text are nearly in order, so the walk goes on from the last one. */
static size_t byte_of(struct str text, size_t point, size_t *at, size_t *points)
{
    if (point < *points)
        *at = *points = 0;
    for (; *points < point && *at < text.len; ++*points)
        do
            ++*at;
        while (*at < text.len && ((unsigned char)text.data[*at] & 0xC0) == 0x80);
    return *at;
}

/* A date of birth may be found with what stands around it, another date among that: each is one of its own.
 */
static size_t dates_split(struct str text, struct span s, struct span out[MOST_DATES])
{
    size_t n = 0;
    for (size_t at = s.start, end; at < s.end && n < MOST_DATES; at = end) {
        end = detect_is_digit(text.data[at]) ? mask_date_end(text, at, s.end) : 0;
        if (end > 0)
            out[n++] = (struct span){s.type, at, end, s.soft};
        else
            for (end = at + 1;
                 end < s.end && detect_is_digit(text.data[end - 1]) == detect_is_digit(text.data[end]);)
                end++;
    }
    return n;
}

/* A name does not go over a quotation mark, a bracket or a line's end: "Nowak" - Greetings. */
static size_t name_end(struct str text, size_t start, size_t end)
{
    size_t i = start;
    while (i < end && !strchr("\"\n<>()[]{}|", text.data[i]))
        i++;
    return i > start ? i : end;
}

static bool is_birth(const char *type)
{
    return strcmp(type, "DATE_OF_BIRTH") == 0;
}

static bool is_finance(const struct router_entity *e)
{
    return strcmp(e->type, "FINANCIAL_STATEMENT") == 0;
}

/* "IBAN DE74 ..., phone +48 ...": what is said is a number, which is masked. */
static bool is_about_number(
    const struct gather *g, const struct router_findings *f, const struct router_entity *e)
{
    for (size_t i = 0; i < f->n_entities && is_finance(e); i++) {
        const struct router_entity *n = &f->entities[i];
        if (n->category == ROUTER_FINANCIAL && n->score >= DETECT_SURE && n->start < e->end &&
            e->start < n->end && str_eq(n->where, e->where) && !is_statement(g, n->type))
            return true;
    }
    return false;
}

/* Does a digit stand in a statement or near it, in its sentence, that is not masked: "balance 12,000 on
 * account DE74 ..."? `left` is the text without what is masked. */
static bool states_more(struct str left, size_t start, size_t end)
{
    enum { NEAR = 96 };
    static const char ends[] = "\n.?!;";
    size_t from = start, to = end;
    while (from > 0 && start - from < NEAR && !strchr(ends, left.data[from - 1]))
        from--;
    while (to < left.len && to - end < NEAR &&
           (!strchr(ends, left.data[to]) || detect_is_digit(left.data[to - 1])))
        to++;
    while (from < to && !detect_is_digit(left.data[from]))
        from++;
    return from < to;
}

static void entity_gather(struct gather *g, const struct router_entity *e)
{
    if (is_statement(g, e->type))
        stay(g, "%s cannot be masked", type_of(g, e->type)->words);
    if (e->category & g->options->never)
        stay(g, "%s may not leave even masked", router_category_name(e->category));
}

/* The text without what is masked in it but statements; NULL: no memory. */
static struct str left_of(struct gather *g, struct str text, const struct router_findings *f)
{
    size_t at = 0, points = 0;
    char *left = arena_try_array(g->arena, char, text.len + 1);
    if (left)
        memcpy(left, text.data, text.len);
    for (size_t i = 0; i < f->n_entities && left; i++) {
        const struct router_entity *e = &f->entities[i];
        const size_t start = byte_of(text, e->start, &at, &points);
        if (is_masked(e) && !is_statement(g, e->type))
            memset(left + start, ' ', byte_of(text, e->end, &at, &points) - start);
    }
    return (struct str){left, left ? text.len : 0};
}

static size_t spans_read(
    struct gather *g, struct str text, const struct router_findings *f, struct span *spans)
{
    size_t n = 0, at = 0, points = 0;
    struct str left = STR_NONE;
    for (size_t i = 0; i < f->n_entities; i++) {
        const struct router_entity *e = &f->entities[i];
        if (!is_masked(e))
            continue;
        size_t start = byte_of(text, e->start, &at, &points), end = byte_of(text, e->end, &at, &points);
        if (is_about_number(g, f, e)) {
            left = left.data ? left : left_of(g, text, f);
            if (left.data && !states_more(left, start, end)) /* what else it says is found once more */
                continue;
        }
        entity_gather(g, e);
        if (end - start > WHOLE && (end - start) * 10 > text.len * 9)
            stay(g, "%s is nearly the whole text", type_of(g, e->type)->words);
        spans[n] = (struct span){type_of(g, e->type), start, end, e->score < DETECT_SURE};
        if (strcmp(e->type, "PERSON") == 0)
            spans[n].end = name_end(text, start, end);
        size_t dates = is_birth(e->type) ? dates_split(text, spans[n], spans + n) : 0;
        n += dates ? dates : 1;
    }
    qsort(spans, n, sizeof *spans, span_order);
    return n;
}

static struct str trim(struct str s)
{
    while (s.len > 0 && strchr(" \t\r\n,;:@", s.data[0])) {
        s.data++;
        s.len--;
    }
    while (s.len > 0 && strchr(" \t\r\n,;:@", s.data[s.len - 1]))
        s.len--;
    return s;
}

static bool outranks(const struct span *a, const struct span *b)
{
    return a->soft != b->soft ? b->soft : a->type->rank > b->type->rank;
}

static bool says_nothing(struct str text, const struct span *s)
{
    size_t i = s->start;
    while (i < s->end && (unsigned char)text.data[i] < 0x80 && !detect_is_alnum(text.data[i]))
        i++;
    return i >= s->end;
}

/* Of what overlaps all of each, too: where the first of two is taken for what stands elsewhere alone, the
 * rest of the second would be left. */
static int wholes_add(struct gather *g, struct str text, const struct span *spans, size_t n)
{
    int rc = 0;
    size_t reach = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        const struct span *s = &spans[i];
        bool cut = (reach > s->start && reach < s->end) || (i + 1 < n && spans[i + 1].start < s->end);
        if (cut && !s->soft)
            rc = mask_add(g->mask, s->type, trim(str_slice(text, s->start, s->end)), g->err);
        reach = s->end > reach ? s->end : reach;
    }
    return rc;
}

/* Of two that overlap the sure one, or the higher rank, stays whole and the other loses what both hold. */
static int spans_add(struct gather *g, struct str text, struct span *spans, size_t n)
{
    int rc = wholes_add(g, text, spans, n);
    for (size_t i = 0; i + 1 < n; i++) {
        struct span *a = &spans[i], *b = &spans[i + 1];
        if (b->start >= a->end)
            continue;
        if (b->end <= a->end)
            *b = *a; /* within it; masked once */
        else if (outranks(b, a))
            a->end = b->start;
        else
            b->start = a->end;
    }
    for (size_t i = 0; i < n && rc == 0; i++) {
        if (spans[i].soft && says_nothing(text, &spans[i])) /* what is left of it */
            continue;
        struct str original = trim(str_slice(text, spans[i].start, spans[i].end));
        rc = mask_add(g->mask, spans[i].type, original, g->err);
    }
    return rc;
}

static int text_gather(void *ctx, struct str where, struct str text)
{
    struct gather *g = ctx;
    struct router_findings f = {0};
    if (g->stays) /* nothing that follows changes that */
        return 0;
    if ((g->bytes += text.len) > MOST_BYTES)
        return error_set(g->err, ERROR_UNSUPPORTED, "there is more text than is masked");
    int rc = detect_memo_look(g->options->own, g->arena, g->scope, where, text, &f, g->err);
    if (rc || f.n_entities == 0)
        return rc;
    struct span *spans = arena_try_array(g->arena, struct span, f.n_entities * MOST_DATES);
    if (!spans)
        return error_set(g->err, ERROR_MEMORY, "no memory for the findings");
    size_t n = spans_read(g, text, &f, spans);
    if (f.more > 0)
        stay(g, "%s is too much to mask", "what was found");
    if (str_starts(where, STR("tools[")) && f.categories & ROUTER_SECRET)
        stay(g, "%s holds a secret", "a tool's definition");
    if (str_is(where, "headers") && f.categories != 0)
        stay(g, "%s cannot be masked", "a header");
    return spans_add(g, text, spans, n);
}

static void media_gather(struct gather *g, const struct chat_request *r)
{
    for (size_t i = 0; i < r->n_messages; i++)
        for (size_t k = 0; k < r->messages[i].n_parts; k++) {
            enum chat_part_kind kind = r->messages[i].parts[k].kind;
            if (kind != CHAT_PART_TEXT && kind != CHAT_PART_OTHER)
                stay(g, "%s cannot be masked", "an image, a sound or a file");
        }
    bool ids = r->n_prompt_ids > 0;
    for (size_t i = 0; i < r->n_inputs; i++)
        ids = ids || r->inputs[i].n_ids > 0;
    if (ids)
        stay(g, "%s cannot be masked", "a text of token ids");
    if (r->kind == CHAT_KIND_EMBED) /* it would be another text's */
        stay(g, "%s cannot be made of masked text", "a vector");
}

/* ---- Rewriting ---- */

struct pair {
    struct str before, after;
};

struct rewrite {
    struct gather *gather;
    struct pair *pairs;
    size_t n, capacity;
};

static int text_mask(void *ctx, struct str text, struct str *out, struct error *err)
{
    struct rewrite *w = ctx;
    if (w->n == w->capacity) {
        size_t capacity = w->capacity ? w->capacity * 2 : 64;
        struct pair *pairs = realloc(w->pairs, capacity * sizeof *pairs);
        if (!pairs)
            return error_set(err, ERROR_MEMORY, "no memory for the pseudonyms");
        w->pairs = pairs;
        w->capacity = capacity;
    }
    int rc = mask_text(w->gather->mask, text, out, err);
    w->pairs[w->n++] = (struct pair){text, *out};
    return rc;
}

/* Nothing of what was found is left, and all of it would come back. Only when every pseudonym is made. */
static int pairs_check(const struct rewrite *w, bool *restores, struct error *err)
{
    struct mask *m = w->gather->mask;
    struct str back;
    int rc = 0;
    for (size_t i = 0; i < w->n && rc == 0 && *restores; i++) {
        if (mask_leaks(m, w->pairs[i].after))
            stay(w->gather, "%s stands within another word", "something that was found");
        rc = router_mask_restore(m, w->pairs[i].after, &back, err);
        *restores = rc == 0 && str_eq(back, w->pairs[i].before);
    }
    return rc;
}

/* Names that must stay what the client's program calls them. */
static bool names_kept(const struct chat_request *a, const struct chat_request *b)
{
    bool same = str_eq(a->tool_choice_name, b->tool_choice_name);
    for (size_t i = 0; i < a->n_tools; i++)
        same = same && str_eq(a->tools[i].name, b->tools[i].name);
    for (size_t i = 0; i < a->n_messages; i++)
        for (size_t k = 0; k < a->messages[i].n_tool_calls; k++)
            same = same && str_eq(a->messages[i].tool_calls[k].name, b->messages[i].tool_calls[k].name) &&
                   str_eq(a->messages[i].tool_calls[k].id, b->messages[i].tool_calls[k].id);
    return same;
}

/* The same detectors once more, over what is to leave but for our own pseudonyms: those could hide another
 * finding. */
static int text_blank(void *ctx, struct str text, struct str *out, struct error *err)
{
    struct gather *g = ctx;
    return mask_blank(g->mask, text, out, err);
}

/* Where a date was masked the detector takes the next numbers for one: they are if they look like it. */
static int births_judge(void *ctx, struct str where, struct str text)
{
    struct gather *g = ctx;
    struct router_findings f = {0};
    struct span dates[MOST_DATES];
    size_t at = 0, points = 0;
    int rc = detect_memo_look(g->options->own, g->arena, g->scope, where, text, &f, g->err);
    for (size_t i = 0; i < f.n_entities && rc == 0; i++) {
        const struct router_entity *e = &f.entities[i];
        if (!is_birth(e->type) || e->score < DETECT_SURE)
            continue;
        g->births++;
        size_t start = byte_of(text, e->start, &at, &points), end = byte_of(text, e->end, &at, &points);
        if ((start == 0 && end == text.len) ||
            dates_split(text, (struct span){NULL, start, end, false}, dates) > 0)
            stay(g, "%s is left after masking", "a date of birth");
    }
    return rc;
}

static int judge_again(struct gather *g, const struct chat_request *masked)
{
    struct chat_request *rest;
    struct facts f;
    int rc = chat_request_rewrite(masked, text_blank, g, &rest, g->err);
    if (rc)
        return rc;
    facts_init(&f, g->options->own, rest, NULL);
    f.caller = g->scope;
    const struct router_findings *found = facts_findings(&f);
    if (f.detector_failed)
        return error_set(g->err, ERROR_INVALID, "the masked text could not be checked (%s)", f.failure);
    size_t births = 0;
    for (size_t i = 0; i < found->n_entities; i++) {
        const struct router_entity *e = &found->entities[i];
        bool birth = is_birth(e->type);
        births += e->score >= DETECT_SURE && birth;
        if (e->score >= DETECT_SURE && !birth)
            stay(g, "%s is left after masking", type_of(g, e->type)->words);
    }
    if (found->n_more_types > 0)
        stay(g, "%s is left after masking", "more than can be listed");
    g->births = 0;
    rc = births > 0 ? chat_request_visit(rest, births_judge, g) : 0;
    if (g->births < births) /* it shows only where pieces are put together */
        stay(g, "%s is left after masking", "a date of birth");
    return rc;
}

/* ---- One round ---- */

static void key_make(const struct router_redact_options *o, struct str scope, struct str question,
    uint32_t round, unsigned char key[REDACT_KEY])
{
    crypto_generichash_state state;
    crypto_generichash_init(&state, o->key, sizeof o->key, REDACT_KEY);
    crypto_generichash_update(&state, (const unsigned char *)&scope.len, sizeof scope.len);
    crypto_generichash_update(&state, (const unsigned char *)scope.data, scope.len);
    crypto_generichash_update(&state, (const unsigned char *)question.data, question.len);
    crypto_generichash_update(&state, (const unsigned char *)&round, sizeof round);
    crypto_generichash_final(&state, key, REDACT_KEY);
}

static int begin(struct gather *g, struct str question, uint32_t round)
{
    unsigned char key[REDACT_KEY];
    key_make(g->options, g->scope, question, round, key);
    g->stays = NULL;
    g->bytes = 0;
    int rc = mask_create(g->arena, key, &g->mask, g->err);
    sodium_memzero(key, sizeof key);
    return rc;
}

/* What the conversation begins with: it stays the same from turn to turn. */
static struct str first_question(const struct chat_request *r)
{
    for (size_t i = 0; i < r->n_messages; i++)
        if (r->messages[i].role == CHAT_USER && r->messages[i].n_parts > 0)
            return str_slice(r->messages[i].parts[0].text, 0, QUESTION_BYTES);
    return str_slice(r->n_inputs > 0 ? r->inputs[0].text : r->prompt, 0, QUESTION_BYTES);
}

static int request_mask(
    struct gather *g, const struct chat_request *r, struct chat_request **masked, bool *restores)
{
    struct rewrite w = {.gather = g};
    media_gather(g, r);
    int rc = chat_request_visit(r, text_gather, g);
    if (rc || g->stays)
        return rc;
    rc = chat_request_rewrite(r, text_mask, &w, masked, g->err);
    if (rc == 0)
        rc = pairs_check(&w, restores, g->err);
    free(w.pairs);
    if (rc || !*restores)
        return rc;
    if (!names_kept(r, *masked))
        stay(g, "%s cannot be masked", "a tool's name or a call's id");
    return g->stays ? 0 : judge_again(g, *masked);
}

static int types_count(struct router_masked *out, struct arena *a, struct error *err)
{
    const struct mask *m = out->mask;
    out->types = arena_try_array(a, struct router_masked_type, m->n_entities + 1);
    if (!out->types)
        return error_set(err, ERROR_MEMORY, "no memory for the findings");
    for (size_t i = 0; i < m->n_entities; i++) {
        size_t k = 0;
        if (m->entities[i].n_surfaces == 0)
            continue;
        out->count++;
        while (k < out->n_types && out->types[k].type != m->entities[i].type->name)
            k++;
        out->n_types += k == out->n_types;
        out->types[k].type = m->entities[i].type->name;
        out->types[k].count++;
    }
    return 0;
}

/* What shows only where a request's pieces are put together. */
static void found_gather(struct gather *g, const struct router_findings *found)
{
    for (size_t i = 0; i < found->n_entities; i++)
        if (found->entities[i].score >= DETECT_SURE && !is_about_number(g, found, &found->entities[i]))
            entity_gather(g, &found->entities[i]);
}

/* What goes over the end of a piece would have to be masked in both. A name or a place may seem to: "Write to
 * Anna" and, in the next, "Nowak is late". */
static int seam_gather(void *ctx, const struct seam *s)
{
    struct gather *g = ctx;
    struct router_findings f = {0};
    int rc =
        g->stays ? 0 : detect_memo_look(g->options->own, g->arena, g->scope, s->where, s->text, &f, g->err);
    for (size_t i = 0; i < f.n_entities && rc == 0; i++) {
        const struct router_entity *e = &f.entities[i];
        if (e->score >= DETECT_SURE && !(is_soft(e) && !s->glued) && seam_crossed(s, e))
            stay(g, "%s goes over the end of a part", type_of(g, e->type)->words);
    }
    return rc;
}

int router_redact(const struct router_redact_options *o, struct str scope, const struct chat_request *r,
    const struct router_findings *found, struct router_masked **out, struct error *err)
{
    struct gather g = {.options = o, .scope = scope, .arena = r->arena, .err = err};
    struct chat_request *masked = NULL;
    bool restores = false;
    int rc = 0;
    for (uint32_t round = 0; round < ROUNDS && rc == 0 && !restores; round++) {
        restores = true;
        rc = begin(&g, first_question(r), round);
        if (rc == 0)
            rc = seam_visit(r, seam_gather, &g, err);
        if (rc == 0)
            found_gather(&g, found);
        if (rc == 0)
            rc = request_mask(&g, r, &masked, &restores);
    }
    if (rc)
        return rc;
    if (!restores)
        stay(&g, "%s holds pseudonyms itself", "it");
    if (g.stays)
        return error_set(err, ERROR_UNSUPPORTED, "%s", g.stays);
    struct router_masked *m = *out = arena_new(r->arena, struct router_masked);
    m->request = masked;
    m->mask = g.mask;
    return types_count(m, r->arena, err);
}

int router_redact_text(const struct router_redact_options *o, struct arena *a, struct str text,
    struct mask **mask, struct str *out, struct str *stays, struct error *err)
{
    struct gather g = {.options = o, .arena = a, .err = err};
    struct str back = STR_NONE;
    bool restores = false;
    int rc = 0;
    for (uint32_t round = 0; round < ROUNDS && rc == 0 && !restores; round++) {
        rc = begin(&g, STR_NONE, round);
        if (rc == 0)
            rc = text_gather(&g, STR_NONE, text);
        if (rc == 0)
            rc = mask_text(g.mask, text, out, err);
        if (rc == 0)
            rc = router_mask_restore(g.mask, *out, &back, err);
        restores = str_eq(back, text);
    }
    if (rc)
        return rc;
    if (!restores)
        stay(&g, "%s holds pseudonyms itself", "it");
    if (mask_leaks(g.mask, *out))
        stay(&g, "%s stands within another word", "something that was found");
    struct chat_request *r = chat_request_create(a);
    r->has_prompt = true;
    r->prompt = *out;
    rc = judge_again(&g, r);
    *mask = g.mask;
    *stays = g.stays ? arena_copy(a, str_from(g.stays)) : STR_NONE;
    return rc;
}
