#include "router/seam.h"

#include <string.h>

#include "base/limits.h"
#include "router/detect.h"
#include "router/plain.h"

enum { SEAM = 128, ROLES = CHAT_TOOL + 1, BEFORE = 3 };

struct walk {
    const struct chat_request *request;
    seam_look *look;
    void *ctx;
    struct error *err;
};

/* ---- The parts of one message: joined as they stand, and with a space between ---- */
static size_t texts_of(const struct chat_message *m)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n_parts; i++)
        n += m->parts[i].text.len > 0;
    return n;
}

static int parts_look(const struct walk *w, size_t index, const struct chat_message *m, const char *between)
{
    size_t n = texts_of(m), *cuts = n < 2 ? NULL : arena_try_array(w->request->arena, size_t, n);
    struct buf text;
    if (n < 2)
        return 0;
    if (!cuts)
        return error_set(w->err, ERROR_MEMORY, "the message has too many parts to look at");
    buf_init(&text, LIMIT_REQUEST_MEMORY);
    n = 0;
    for (size_t i = 0, points = 0; i < m->n_parts; i++)
        if (m->parts[i].text.len > 0) {
            if (text.len > 0) {
                cuts[n++] = points;
                buf_append_text(&text, between);
                points += strlen(between);
            }
            buf_append_str(&text, m->parts[i].text);
            points += str_utf8_count(m->parts[i].text);
        }
    const struct seam s = {.where = chat_place(w->request->arena, "messages[", index, "].content"),
        .text = buf_str(&text),
        .cuts = cuts,
        .n_cuts = n,
        .glued = *between == '\0'};
    int rc = text.failed ? error_set(w->err, text.failed, "the message is too large to look at")
                         : w->look(w->ctx, &s);
    buf_free(&text);
    return rc;
}

/* ---- Where one text ends and the next begins ---- */

/* Does a text that is cut before data[at] lose a part of a word or of a character? Scripts that are not ASCII
 * may have no spaces. */
static bool cuts_word(struct str s, size_t at)
{
    unsigned char here = (unsigned char)s.data[at], before = (unsigned char)s.data[at - 1];
    return (here & 0xC0) == 0x80 || (before > ' ' && before < 0x80 && here > ' ' && here < 0x80);
}

/* Of a text whole words only: a number cut in two could look like another. */
static struct str words_at_end(struct str s, size_t most)
{
    size_t from = s.len > most ? s.len - most : 0;
    while (from > 0 && from < s.len && cuts_word(s, from))
        from++;
    return str_slice(s, from, s.len);
}

static struct str words_at_start(struct str s, size_t most)
{
    size_t to = s.len < most ? s.len : most;
    while (to > 0 && to < s.len && cuts_word(s, to))
        to--;
    return str_slice(s, 0, to);
}

/* The end of what came before, over as many short texts as it takes. */
struct tail {
    char text[SEAM];
    size_t len;
    size_t begins[BEFORE]; /* where in it the last texts begin, the last one first */
};

static void tail_add(struct tail *t, const char *between, struct str text)
{
    char all[2 * SEAM + 1];
    size_t gap = t->len > 0 ? strlen(between) : 0;
    struct str end = words_at_end(text, SEAM);
    if (text.len == 0)
        return;
    if (end.len < text.len) /* what came before is not beside it */
        *t = (struct tail){.len = gap = 0};
    memcpy(all, t->text, t->len);
    memcpy(all + t->len, between, gap);
    if (end.len > 0)
        memcpy(all + t->len + gap, end.data, end.len);
    struct str kept = words_at_end((struct str){all, t->len + gap + end.len}, SEAM);
    const size_t gone = t->len + gap + end.len - kept.len, begin = t->len + gap;
    memcpy(t->text, kept.data, kept.len);
    t->len = kept.len;
    memmove(t->begins + 1, t->begins, (BEFORE - 1) * sizeof *t->begins);
    t->begins[0] = begin;
    for (size_t i = 0; i < BEFORE; i++)
        t->begins[i] = t->begins[i] > gone ? t->begins[i] - gone : 0;
}

/* The last texts alone: who is asked something anew before each answers "3", "7", "12.50" with no value. */
static struct tail tail_last(const struct tail *t)
{
    struct tail last = {.len = t->len - t->begins[BEFORE - 1]};
    memcpy(last.text, t->text + t->begins[BEFORE - 1], last.len);
    return last;
}

/* May the word that ends there, or begins (`step` is 1), be a piece of a value: has it a digit or an '@'? A
 * price has a point between its digits. */
static bool is_piece(struct str s, size_t at, size_t step)
{
    bool digit = false, point = false, mail = false;
    for (; at < s.len && (unsigned char)s.data[at] > ' '; at += step) {
        digit |= detect_is_digit(s.data[at]);
        mail |= s.data[at] == '@';
        point |= detect_is_one_of(s.data[at], ".,") && detect_is_digit(plain_byte(s, at - 1)) &&
                 detect_is_digit(plain_byte(s, at + 1));
    }
    return mail || (digit && !point);
}

/* Do the word before the cut and the one behind it make one, with `any` whatever it is, else a value as in
 * "4539 14" "88 0343"? */
static bool is_word_cut(struct str before, struct str after, bool any)
{
    if ((unsigned char)before.data[before.len - 1] <= ' ' || (unsigned char)after.data[0] <= ' ')
        return false;
    return any || is_piece(before, before.len - 1, SIZE_MAX) || is_piece(after, 0, 1);
}

static int tail_look(
    const struct walk *w, struct str where, const struct tail *t, struct str next, const char *between)
{
    char text[2 * SEAM + 1];
    struct str before = {t->text, t->len}, after = words_at_start(next, SEAM);
    size_t gap = strlen(between), cut = str_utf8_count(before);
    if (before.len == 0 || after.len == 0)
        return 0;
    memcpy(text, before.data, before.len);
    memcpy(text + before.len, between, gap);
    memcpy(text + before.len + gap, after.data, after.len);
    return w->look(w->ctx, &(struct seam){.where = where,
                               .text = {text, before.len + gap + after.len},
                               .cuts = &cut,
                               .n_cuts = 1,
                               .glued = gap == 0,
                               .apart = gap == 0 && w->request->kind != CHAT_KIND_EMBED});
}

/* A picture may stand before it. */
static struct str first_text(const struct chat_message *m)
{
    size_t i = 0;
    while (i < m->n_parts && m->parts[i].text.len == 0)
        i++;
    return i < m->n_parts ? m->parts[i].text : STR_NONE;
}

/* What one message asks for and the next one gives ("Your card number?"), and what one who speaks says piece
 * by piece: cut anywhere in messages that follow each other, values in up to four pieces also where each was
 * answered. */
static int message_look(const struct walk *w, size_t index, struct tail *spaced, struct tail glued[ROLES])
{
    const struct chat_message *m = &w->request->messages[index];
    struct tail *own = &glued[m->role];
    bool follows = index > 0 && m[-1].role == m->role;
    int rc = 0;
    const struct str first = first_text(m);
    if (spaced->len > 0 && first.len > 0) {
        struct str where = chat_place(w->request->arena, "messages[", index, "].content");
        const struct tail near = follows ? *own : tail_last(own);
        rc = tail_look(w, where, spaced, first, " ");
        if (rc == 0 && near.len > 0 && is_word_cut((struct str){near.text, near.len}, first, follows))
            rc = tail_look(w, where, &near, first, "");
    }
    for (size_t i = 0; i < m->n_parts; i++) {
        tail_add(spaced, " ", m->parts[i].text);
        tail_add(own, "", m->parts[i].text);
    }
    return rc;
}

/* Texts to embed are mostly one document cut into pieces, anywhere; several prompts may be. */
static int inputs_look(const struct walk *w)
{
    const struct chat_request *r = w->request;
    struct tail spaced = {.len = 0}, glued = {.len = 0};
    int rc = 0;
    for (size_t i = 0; i < r->n_inputs && r->kind != CHAT_KIND_RERANK && rc == 0; i++) {
        struct str where = chat_place(r->arena, r->has_prompt ? "prompt[" : "input[", i, "]"),
                   next = r->inputs[i].text;
        rc = tail_look(w, where, &glued, next, "");
        if (rc == 0)
            rc = tail_look(w, where, &spaced, next, " ");
        tail_add(&glued, "", next);
        tail_add(&spaced, " ", next);
    }
    return rc;
}

int seam_visit(const struct chat_request *r, seam_look *look, void *ctx, struct error *err)
{
    const struct walk w = {r, look, ctx, err};
    struct tail spaced = {.len = 0}, glued[ROLES] = {{.len = 0}};
    int rc = 0;
    for (size_t i = 0; i < r->n_messages && rc == 0; i++) {
        rc = parts_look(&w, i, &r->messages[i], "");
        if (rc == 0)
            rc = parts_look(&w, i, &r->messages[i], " ");
        if (rc == 0)
            rc = message_look(&w, i, &spaced, glued);
    }
    return rc ? rc : inputs_look(&w);
}

bool seam_crossed(const struct seam *s, const struct router_entity *e)
{
    size_t low = 0, high = s->n_cuts;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (s->cuts[middle] <= e->start)
            low = middle + 1;
        else
            high = middle;
    }
    return low < s->n_cuts && s->cuts[low] < e->end;
}
