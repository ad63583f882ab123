/* What the owner's own layer finds. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "router/detect_label.h"
#include "router/detect_own.h"
#include "router/plain.h"

enum {
    STATES = 16,
    PENDING = 8,      /* words with a * whose end has not come yet */
    PASSAGE_GAP = 256 /* bytes between two places of a document that are still one passage */
};

/* A passage of a document, while it goes on. */
struct passage {
    size_t start, end, places;
};

struct own_scan {
    struct detect_scan *scan;
    const struct detect_own *own;
    struct detect_fold *fold; /* 39 KB: not zeroed for each text */
    bool marked;
    uint32_t idle;           /* the automaton behind a space: no word is begun */
    uint32_t states[STATES]; /* of the automaton: more than one behind a mark, which is a space or nothing */
    size_t n_states;
    struct pending {
        const struct own_word *word;
        size_t start, end;
    } pending[PENDING];
    size_t n_pending;
    struct print_roll roll;
    struct passage *passages; /* one for each fingerprint file */
};

/* ---- Words. ---- */
static void word_add(struct own_scan *o, const struct own_word *w, size_t start, size_t end)
{
    if (!w->label || detect_label_stands(o->scan->text, start, end))
        detect_add(o->scan, w->type, start, end, 1.0);
}

/* Where a word begins that ends with the folded byte at i. Marks stand in it, each a space or nothing. */
static size_t word_start(const struct own_scan *o, struct str word, size_t i)
{
    const char *bytes = o->fold->bytes;
    size_t at = i + 1;
    if (!o->marked)
        return o->fold->from[i + 2 - word.len]; /* its first letter stands behind a space */
    for (size_t k = word.len; k > 1 && at > 0; k--) {
        size_t mark = at; /* the space at the left of marks, or one of them */
        while (at > 0 && bytes[at - 1] == PLAIN_MARK)
            at--;
        if (word.data[k - 1] == ' ' && mark > at && (at == 0 || bytes[at - 1] != ' '))
            continue;
        at -= at > 0;
    }
    return o->fold->from[at];
}

/* The word with number `found` ends with the folded byte at i. */
static void word_found(struct own_scan *o, uint16_t found, size_t i)
{
    const struct detect_own *own = o->own;
    for (size_t k = own->first[found]; k < own->first[found + 1]; k++) {
        const struct own_word *w = &own->words[k];
        bool whole = w->folded.data[w->folded.len - 1] == ' ';
        size_t start = word_start(o, w->folded, i), end = whole ? o->fold->to[i - 1] : o->fold->to[i];
        if (o->marked && w->label) /* stands for itself in the text as it is, or not at all */
            continue;
        if (whole || o->n_pending == PENDING)
            word_add(o, w, start, end);
        else
            o->pending[o->n_pending++] = (struct pending){w, start, end};
    }
}

static uint32_t state_step(struct own_scan *o, uint32_t state, char c, size_t i)
{
    const struct detect_words *a = &o->own->automaton;
    uint16_t word = detect_words_step(a, c, &state);
    for (; word != DETECT_NO_WORD; word = a->shorter[word])
        word_found(o, word, i);
    return state;
}

static void state_add(struct own_scan *o, uint32_t state)
{
    for (size_t k = 0; k < o->n_states; k++)
        if (o->states[k] == state)
            return;
    if (o->n_states < STATES)
        o->states[o->n_states++] = state;
}

static void states_step(struct own_scan *o, char c, bool mark, size_t i)
{
    const size_t n = o->n_states;
    uint32_t before[STATES];
    memcpy(before, o->states, n * sizeof *before);
    o->n_states = mark ? n : 0;
    for (size_t k = 0; k < n; k++)
        state_add(o, state_step(o, before[k], mark ? ' ' : c, i));
}

static void words_step(struct own_scan *o, size_t i)
{
    const char c = o->fold->bytes[i];
    const bool mark = o->marked && c == PLAIN_MARK;
    if (o->n_states == 1 && !mark) /* nearly always */
        o->states[0] = state_step(o, o->states[0], c, i);
    else
        states_step(o, c, mark, i);
    if ((c != ' ' && !mark) || o->n_pending == 0)
        return;
    for (size_t k = 0; k < o->n_pending; k++)
        word_add(o, o->pending[k].word, o->pending[k].start, o->fold->to[i - 1]);
    o->n_pending = 0;
}

static bool is_sign(struct str text, size_t at)
{
    return at < text.len && (unsigned char)text.data[at] < 0x80 && !detect_is_alnum(text.data[at]);
}

/* Reads from `start` on, where a word begins or nothing does, to the next sign at which none is begun. */
static size_t run_look(struct own_scan *o, size_t start)
{
    enum { FIRST = 24 }; /* nearly always it ends with the first word */
    struct str text = o->scan->text;
    bool more = true;
    detect_fold_begin(o->fold, text);
    o->fold->mark = o->marked ? PLAIN_MARK : '\0';
    o->fold->at = start;
    o->fold->most = FIRST;
    o->states[0] = 0;
    o->n_states = 1;
    while (more) {
        more = detect_fold_read(o->fold);
        if (!more)
            detect_fold_end(o->fold);
        for (size_t i = o->fold->fresh; i < o->fold->n; i++) {
            size_t from = o->fold->from[i];
            words_step(o, i);
            if (o->states[0] == o->idle && o->n_states == 1 && o->n_pending == 0 && from > start &&
                is_sign(text, from))
                return from;
        }
        o->fold->most = DETECT_FOLD_MOST;
    }
    return text.len;
}

/* Of a block's bytes, those at which a word may begin: an ASCII letter or digit behind a sign; what is not
 * ASCII; a backslash, whose letter may be a line's end. */
static uint64_t begins_in(const struct byte_map *m, size_t block)
{
    const uint64_t *here = m->bits + block * BYTE_CLASSES;
    const char *data = m->text.data + block * 64;
    unsigned char before = block > 0 ? (unsigned char)data[-1] : ' ';
    uint64_t slashes = 0, high = here[BYTE_HIGH],
             goes_on = before == '\\' || detect_is_alnum((char)before) || before >= 0x80;
    for (uint64_t bits = here[BYTE_SIGN]; bits; bits &= bits - 1)
        slashes |= data[byte_first(bits)] == '\\' ? bits & -bits : 0;
    return slashes | (high & ~(high << 1 | (before >= 0x80))) |
           ((here[BYTE_WORD] & ~high) & ~((here[BYTE_WORD] | slashes) << 1 | goes_on));
}

/* Does a word of the owner's begin with the letters from i on? */
static bool may_begin(const struct own_scan *o, size_t i)
{
    struct str text = o->scan->text;
    size_t n = 1;
    while (n < OWN_BEGIN_LETTERS && detect_is_alnum(plain_byte(text, i + n)))
        n++;
    if (o->marked && n < OWN_BEGIN_LETTERS && plain_byte(text, i + n) == PLAIN_MARK)
        return true;
    size_t begin = own_begin(text.data + i, n);
    return o->own->begins[begin / 64] >> begin % 64 & 1;
}

/* Where the word begins whose letter at i is not ASCII. */
static size_t word_begin(struct str text, size_t i, size_t done)
{
    if ((unsigned char)text.data[i] >= 0x80)
        while (i > done && detect_is_alnum(text.data[i - 1]))
            i--;
    return i;
}

/* Words are looked for only where one of them may begin, and from there on as long as one is begun. */
static void words_look(struct detect_scan *s, bool marked)
{
    struct detect_fold fold;
    struct own_scan o = {.scan = s, .own = s->own, .fold = &fold, .marked = marked};
    size_t done = 0;
    (void)detect_words_step(&s->own->automaton, ' ', &o.idle);
    for (size_t block = 0; block < s->map->n_blocks; block++)
        for (uint64_t bits = begins_in(s->map, block); bits; bits &= bits - 1) {
            size_t i = block * 64 + byte_first(bits);
            if (i < done || (detect_is_alnum(s->text.data[i]) && !may_begin(&o, i)))
                continue;
            done = run_look(&o, word_begin(s->text, i, done));
        }
}

/* ---- Documents. ---- */
static void passage_end(struct own_scan *o, size_t print)
{
    struct passage *p = &o->passages[print];
    if (p->places > 0)
        detect_add(o->scan, o->own->prints[print].type, p->start, p->end, p->places > 1 ? 1.0 : 0.8);
    p->places = 0;
}

static void prints_step(struct own_scan *o, size_t i)
{
    uint64_t hash;
    size_t start;
    if (o->fold->bytes[i] == ' ' ||
        !print_roll_next(&o->roll, o->fold->bytes[i], o->fold->from[i], &hash, &start))
        return;
    for (size_t k = 0; k < o->own->n_prints; k++) {
        struct passage *p = &o->passages[k];
        if (!detect_print_has(&o->own->prints[k].print, hash))
            continue;
        if (p->places > 0 && start > p->end + PASSAGE_GAP)
            passage_end(o, k);
        if (p->places++ == 0)
            p->start = start;
        p->end = o->fold->to[i];
    }
}

/* Documents are looked for in all of the text. */
static void prints_look(struct detect_scan *s)
{
    struct detect_fold fold;
    struct own_scan o = {.scan = s, .own = s->own, .fold = &fold};
    bool more = true;
    o.passages = calloc(s->own->n_prints, sizeof *o.passages);
    if (!o.passages) {
        s->rc = error_set(s->err, ERROR_MEMORY, "no memory for the owner's documents");
        return;
    }
    detect_fold_begin(&fold, s->text);
    while (more) {
        more = detect_fold_read(&fold);
        for (size_t i = fold.fresh; i < fold.n; i++)
            prints_step(&o, i);
    }
    for (size_t k = 0; k < s->own->n_prints; k++)
        passage_end(&o, k);
    free(o.passages);
}

/* ---- Patterns. ---- */
static int match(struct detect_scan *s, const struct detect_own *own, const void *code, struct str text,
    size_t at, size_t **span)
{
    if (!s->match && !(s->match = pcre2_match_data_create(1, NULL)))
        return s->rc = error_set(s->err, ERROR_MEMORY, "no memory for the owner's patterns");
    int rc = pcre2_match(code, (PCRE2_SPTR)(text.data ? text.data : ""), text.len, at, PCRE2_NO_UTF_CHECK,
        s->match, own->limits);
    if (rc < 0 && rc != PCRE2_ERROR_NOMATCH)
        return s->rc = error_set(s->err, ERROR_LIMIT, "a pattern of the owner's gave up (%d)", rc);
    *span = pcre2_get_ovector_pointer(s->match);
    return rc < 0 ? ERROR_NOT_FOUND : 0;
}

static size_t char_floor(struct str text, size_t at)
{
    return at >= text.len ? text.len : str_utf8_floor(text.data, at);
}

/* A window at a time, so that no pattern can cost more than linear time; it may begin in the window's first
 * part only, and so has WINDOW - STEP bytes to end in. */
static void pattern_look(struct detect_scan *s, const struct own_pattern *p)
{
    enum { WINDOW = 1024, STEP = 512 };
    size_t *span;
    for (size_t from = 0; from < s->text.len && s->rc == 0;) {
        size_t end = char_floor(s->text, from + WINDOW);
        size_t next = end == s->text.len ? end : char_floor(s->text, from + STEP);
        struct str window = str_slice(s->text, 0, end);
        while (from < next && match(s, s->own, p->code, window, from, &span) == 0 && span[0] < next) {
            if (span[1] > span[0])
                detect_add(s, p->type, span[0], span[1], 1.0);
            from = span[1] > from ? span[1] : char_floor(s->text, from + 4);
        }
        from = from > next ? from : next;
    }
}

/* ---- What is allowed. ---- */
static bool allows(struct detect_scan *s, const struct own_allow *a, struct str value)
{
    size_t *span;
    for (size_t i = 0; i < a->n_values; i++)
        if (str_eq(a->values[i], value))
            return true;
    return a->code && match(s, s->own, a->code, value, 0, &span) == 0;
}

static void allowed_mark(struct detect_scan *s)
{
    for (size_t i = 0; i < s->n_hits && s->own->n_allows > 0 && s->rc == 0; i++) {
        struct detect_hit *h = &s->hits[i];
        for (size_t k = 0; k < s->own->n_allows && !h->allowed; k++)
            if (s->own->allows[k].type == h->type &&
                allows(s, &s->own->allows[k], str_slice(s->text, h->start, h->end))) {
                h->allowed = s->own->allows[k].why;
                h->score = 0;
            }
    }
}

static void patterns_look(struct detect_scan *s)
{
    for (size_t i = 0; i < s->own->n_patterns && s->rc == 0; i++)
        pattern_look(s, &s->own->patterns[i]);
}

static void scan_end(struct detect_scan *s)
{
    allowed_mark(s);
    pcre2_match_data_free(s->match);
    s->match = NULL;
}

void detect_own_scan(struct detect_scan *s)
{
    if (s->own->n_words > 0)
        words_look(s, false);
    if (s->own->n_prints > 0)
        prints_look(s);
    patterns_look(s);
    scan_end(s);
}

bool detect_own_reads_parted(const struct detect_own *own, bool marked)
{
    return own && (marked ? own->n_words : own->n_patterns) > 0;
}

void detect_own_scan_parted(struct detect_scan *s, bool marked)
{
    if (marked)
        words_look(s, true);
    else
        patterns_look(s);
    scan_end(s);
}

void detect_own_say(const struct detect_own *own, void (*say)(void *ctx, const char *line), void *ctx)
{
    for (size_t i = 0; own && i < own->n_allows; i++) {
        const struct own_allow *a = &own->allows[i];
        char line[400];
        if (a->code)
            snprintf(line, sizeof line, "owner.allow: what one pattern says is never a finding of %s: %s",
                a->type->name, a->why);
        else
            snprintf(line, sizeof line, "owner.allow: %zu value%s never a finding of %s: %s", a->n_values,
                a->n_values == 1 ? " is" : "s are", a->type->name, a->why);
        say(ctx, line);
    }
}

/* ---- Beside the request. ---- */
static bool value_is(const struct own_mark *m, struct str value)
{
    for (size_t i = 0; i < m->n_values; i++)
        if (value.len == m->values[i].len && str_is_nocase(value, m->values[i].data))
            return true;
    return false;
}

/* "secret; level=3" and "\"secret\"" are the value, too. */
static bool part_is(const struct own_mark *m, struct str part)
{
    struct str value = STR_NONE;
    (void)str_split(&part, ';', &value);
    value = str_trim(value);
    if (value.len >= 2 && value.data[0] == '"' && value.data[value.len - 1] == '"')
        value = str_slice(value, 1, value.len - 1);
    return value_is(m, value);
}

/* A header may hold a list: "internal, secret". */
static bool header_marks(const struct own_mark *m, const struct router_context *c)
{
    struct str value, part;
    for (int i = 0; c->header && (value = c->header(c->header_ctx, m->name.data, i)).data; i++) {
        if (m->n_values == 0 || value_is(m, str_trim(value)))
            return true;
        while (str_split(&value, ',', &part))
            if (part_is(m, part))
                return true;
    }
    return false;
}

static bool mark_holds(const struct own_mark *m, const struct router_context *c)
{
    struct str who = m->beside == OWN_KEY ? c->key : c->team;
    if (m->beside == OWN_HEADER)
        return header_marks(m, c);
    for (size_t i = 0; i < m->n_values; i++)
        if (who.len > 0 && str_eq(who, m->values[i]))
            return true;
    return false;
}

bool detect_own_marked(const struct detect_own *own, const struct router_context *c)
{
    bool marked = false;
    for (size_t i = 0; own && i < own->n_marks && !marked; i++)
        marked = mark_holds(&own->marks[i], c);
    return marked;
}

int detect_own_request(const struct detect_own *own, const struct router_context *c, struct arena *a,
    struct router_findings *f, struct error *err)
{
    int rc = 0;
    for (size_t i = 0; own && c && i < own->n_marks && rc == 0; i++) {
        const struct own_mark *m = &own->marks[i];
        if (!mark_holds(m, c))
            continue;
        struct str where = m->beside == OWN_HEADER
                               ? arena_printf(a, "header " STR_FMT, STR_ARG(m->name))
                               : arena_copy(a, m->beside == OWN_KEY ? STR("key") : STR("team"));
        const struct router_entity e = {m->type->name, m->type->category, 0, 0, 1.0, where, NULL};
        f->categories |= m->type->category;
        rc = detect_entity_add(a, f, &e, err);
    }
    f->sensitive = f->categories != 0;
    return rc;
}

const struct detect_type *detect_own_type_find(const struct detect_own *own, struct str name)
{
    for (size_t i = 0; own && i < own->n_types; i++)
        if (str_is(name, own->types[i]->name))
            return own->types[i];
    return NULL;
}

const struct detect_type *detect_own_type_or_known(const struct detect_own *own, struct str name)
{
    const struct detect_type *type = detect_own_type_find(own, name);
    return type ? type : detect_type_find(name);
}

const struct detect_type *detect_own_stays(const struct detect_own *own, const struct router_findings *f)
{
    const struct detect_type *type;
    if (!own || !own->stays)
        return NULL;
    for (size_t i = 0; i < f->n_entities; i++)
        if (f->entities[i].score >= DETECT_SURE &&
            detect_own_type_stays(type = detect_own_type_find(own, str_from(f->entities[i].type))))
            return type;
    for (size_t i = 0; i < f->n_more_types; i++)
        if (detect_own_type_stays(type = detect_own_type_find(own, str_from(f->more_types[i]))))
            return type;
    return NULL;
}
