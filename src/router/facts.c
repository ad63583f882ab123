#include "router/facts.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "router/ahead.h"
#include "router/calibrate.h"
#include "router/detect.h"
#include "router/detect_own.h"
#include "router/plain.h"
#include "router/seam.h"

enum { QUESTION_BYTES = 64 * 1024, LANGUAGE_BYTES = 4096 };

void facts_init(struct facts *f, const struct detect_own *own, const struct chat_request *r,
    const struct router_context *c)
{
    *f = (struct facts){.own = own,
        .request = r,
        .context = c,
        .caller = c ? c->caller : STR_NONE,
        .complexity = NAN,
        .tokens = -1};
}

static struct str question_of(struct facts *f)
{
    if (!(f->have & FACTS_QUESTION))
        f->question = facts_question(f->request, QUESTION_BYTES);
    f->have |= FACTS_QUESTION;
    return f->question;
}

/* ---- Sensitivity: over everything a person or program wrote, and over what only shows when parts are joined
 * or JSON inside a text is read. ---- */
struct said {
    const char *type;
    bool sure;
};

/* A tool comes again with every request of an agent: where nothing was found in any of it, one look at the
 * memory tells. */
struct tool_look {
    struct detect_memo_place place;
    bool clean, found; /* it is known to be; something was found now */
};

struct look {
    struct facts *facts;
    struct arena *arena;
    struct error *err;
    struct detect_memo_caller caller;
    struct tool_look *tools; /* NULL: none, or no memory for it */
    size_t n_new;            /* bytes that nobody has judged before */
    bool found;              /* something, since this was last set to false */
    size_t n_read, n_said;   /* of the findings so many are noted in `said`, each type once */
    struct said *said;       /* room for DETECT_MAX_TYPES */
};

/* Everything that is judged comes by here: in a conversation nearly all of it has come before. */
static int findings_add(struct look *l, struct str where, struct str text, struct router_findings *f)
{
    struct facts *facts = l->facts;
    struct router_ahead **ahead = facts->context ? facts->context->ahead : NULL;
    bool asked = text.data == facts->question.data && text.len == facts->question.len;
    struct detect_memo_place here, *place = asked ? &facts->asked : &here;
    detect_memo_find(&l->caller, text, place);
    int rc = detect_memo_recall(place, l->arena, where, f, l->err);
    l->n_new += rc == DETECT_MEMO_NONE ? text.len : 0;
    /* Many that are not long take as long; what is short is not worth noting. */
    bool much = ahead && (*ahead || l->n_new >= ROUTER_AHEAD_BYTES);
    if (rc == DETECT_MEMO_NONE && much && text.len >= ROUTER_AHEAD_BYTES / 8)
        rc = router_ahead_take(ahead, facts->own, place, l->arena, where, text, f, l->err);
    return rc == DETECT_MEMO_NONE ? detect_memo_judge(place, facts->own, l->arena, where, text, f, l->err)
                                  : rc;
}

static bool base64_only(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i];
        bool digit = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (!digit && c != '+' && c != '/' && c != '=' && c != '-' && c != '_' && c != '\n' && c != '\r')
            return false;
    }
    return true;
}

/* Of a "data:" URL (in capitals, behind blanks and with a long name it is one, too), or of a file that came
 * as nothing but base64: what is packed; else nothing. */
static struct str packed_of(struct str text)
{
    enum { HEAD = 4096, LEAST = 256, SCHEME = 5, MARK = 8 };
    struct str url = str_trim(text);
    bool is_url = str_is_nocase(str_slice(url, 0, SCHEME), "data:");
    for (size_t at = SCHEME; is_url && at < HEAD && at + MARK <= url.len; at++)
        if (url.data[at] == ';' && str_is_nocase(str_slice(url, at, at + MARK), ";base64,"))
            return str_slice(url, at + MARK, url.len);
    return text.len >= LEAST && base64_only(text) ? text : STR_NONE;
}

/* Pixels and sound hold no text to look at but what is noted beside them. */
static bool is_media_data(struct str text)
{
    static const struct str kinds[] = {{"data:image/", 11}, {"data:audio/", 11}, {"data:video/", 11}};
    if (text.len < 11 || text.data[0] != 'd') /* nearly all */
        return false;
    const struct str packed = packed_of(text);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (str_starts(text, kinds[i]))
            return packed.len > 0 && base64_only(packed);
    return false;
}

/* "data:image/png;name=anna.png" of such: what it says besides the kind. */
static struct str media_name(struct str text, struct str packed)
{
    struct str head = str_slice(text, 0, (size_t)(packed.data - text.data));
    const char *more = memchr(head.data, ';', head.len);
    return more && memchr(more + 1, ';', head.len - (size_t)(more + 1 - head.data)) ? head : STR_NONE;
}

static struct said *said_find(struct look *l, const char *type)
{
    for (size_t i = 0; i < l->n_said; i++)
        if (strcmp(l->said[i].type, type) == 0)
            return &l->said[i];
    return NULL;
}

/* A sure one is not said by one that does not count. */
static bool is_said(struct look *l, const struct router_entity *e)
{
    const struct router_findings *f = &l->facts->findings;
    for (; l->n_read < f->n_entities; l->n_read++) {
        const struct router_entity *read = &f->entities[l->n_read];
        struct said *s = said_find(l, read->type);
        if (!s) {
            assert(l->n_said < DETECT_MAX_TYPES);
            s = &l->said[l->n_said++];
            *s = (struct said){read->type, false};
        }
        s->sure |= read->score >= DETECT_SURE;
    }
    const struct said *s = said_find(l, e->type);
    return s && (s->sure || e->score < DETECT_SURE);
}

/* Of texts that need not belong together each was judged alone. */
static void crossing_keep(struct router_findings *f, const struct seam *seam)
{
    size_t n = 0;
    f->categories = 0;
    for (size_t i = 0; i < f->n_entities; i++) {
        const struct router_entity e = f->entities[i];
        if (!seam_crossed(seam, &e))
            continue;
        f->categories |= e.score >= DETECT_SURE ? e.category : 0;
        f->entities[n++] = e;
    }
    f->n_entities = n;
}

/* A second reading of text that was read already (of a seam or of something else): adds what shows only here.
 */
static int look_again(struct look *l, struct str where, struct str text, const struct seam *seam)
{
    struct router_findings again = {0}, *f = &l->facts->findings;
    int rc = findings_add(l, where, text, &again);
    if (rc)
        return rc;
    if (seam && seam->apart)
        crossing_keep(&again, seam);
    l->found |= again.n_entities > 0 || again.more > 0 || again.n_more_types > 0 || again.categories != 0;
    for (size_t i = 0; i < again.n_entities && rc == 0; i++)
        if (!is_said(l, &again.entities[i]))
            rc = detect_entity_add(l->arena, f, &again.entities[i], l->err);
    for (size_t i = 0; i < again.n_more_types && rc == 0; i++)
        rc = detect_more_type_add(l->arena, f, again.more_types[i], l->err);
    f->categories |= again.categories;
    f->sensitive = f->categories != 0;
    return rc;
}

/* What a packed file says. */
static int data_look(struct look *l, struct str where, struct str base64)
{
    struct buf text;
    buf_init(&text, LIMIT_REQUEST_MEMORY);
    int rc = router_plain_data(base64, &text);
    if (rc)
        error_set(l->err, rc, "the data is too large to look at");
    else if (text.len > 0)
        rc = look_again(l, where, buf_str(&text), NULL);
    buf_free(&text);
    return rc;
}

static int text_look(void *ctx, struct str where, struct str text)
{
    struct look *l = ctx;
    struct router_findings *f = &l->facts->findings;
    struct str packed = packed_of(text);
    int rc = packed.len > 0 ? data_look(l, where, packed) : 0;
    if (rc == 0 && is_media_data(text)) {
        text = media_name(text, packed);
        return text.len > 0 ? look_again(l, where, text, NULL) : 0;
    }
    if (rc)
        return rc;
    size_t before = f->n_entities + f->more;
    rc = findings_add(l, where, text, f);
    l->found |= f->n_entities + f->more > before;
    return rc;
}

/* A tree as text: a value's key beside it can show what it is. */
static int tree_look(struct look *l, const char *where, size_t index, const json_t *tree)
{
    if (!tree)
        return 0;
    struct buf text;
    struct json_writer w;
    buf_init(&text, LIMIT_REQUEST_MEMORY);
    json_writer_init(&w, &text);
    json_write_value(&w, tree);
    int rc = text.failed
                 ? error_set(l->err, text.failed, "the request is too large to look at")
                 : look_again(l, arena_printf(l->arena, "%s[%zu]", where, index), buf_str(&text), NULL);
    buf_free(&text);
    return rc;
}

static int seam_judge(void *ctx, const struct seam *s)
{
    return look_again(ctx, s->where, s->text, s);
}

/* Which tools are known to be clean. */
static void tools_find(struct look *l)
{
    const struct chat_request *r = l->facts->request;
    struct detect_memo_caller caller;
    struct buf text;
    l->tools = r->n_tools > 0 ? arena_try_array(l->arena, struct tool_look, r->n_tools) : NULL;
    if (!l->tools)
        return;
    detect_memo_caller_trees(l->facts->own, l->facts->caller, &caller);
    buf_init(&text, LIMIT_REQUEST_MEMORY);
    for (size_t i = 0; i < r->n_tools && !text.failed; i++) {
        struct json_writer w;
        buf_clear(&text);
        json_writer_init(&w, &text);
        json_array_begin(&w);
        json_write_str(&w, r->tools[i].name);
        json_write_str(&w, r->tools[i].description);
        chat_tool_write(&w, &r->tools[i]);
        if (text.failed)
            break;
        detect_memo_find(&caller, buf_str(&text), &l->tools[i].place);
        l->tools[i].clean = detect_memo_is_clean(&l->tools[i].place);
    }
    buf_free(&text);
}

static int tool_look(void *ctx, size_t index)
{
    struct look *l = ctx;
    if (l->tools && l->tools[index].clean)
        return 0;
    l->found = false;
    int rc = chat_tool_visit(l->facts->request, index, text_look, l);
    if (l->tools)
        l->tools[index].found = l->found;
    return rc;
}

static int tool_tree_look(struct look *l, size_t index)
{
    if (l->tools && l->tools[index].clean)
        return 0;
    l->found = false;
    const struct chat_tool *t = &l->facts->request->tools[index];
    int rc = t->written.len > 0 ? look_again(l, arena_printf(l->arena, "tools[%zu]", index), t->written, NULL)
                                : tree_look(l, "tools", index, t->raw ? t->raw : t->parameters);
    if (l->tools)
        l->tools[index].found |= l->found;
    return rc;
}

/* Once all of them were looked at. */
static void tools_keep(const struct look *l)
{
    for (size_t i = 0; l->tools && i < l->facts->request->n_tools; i++)
        if (!l->tools[i].clean && !l->tools[i].found)
            detect_memo_keep_clean(&l->tools[i].place);
}

static int request_look(struct look *l)
{
    const struct chat_request *r = l->facts->request;
    int rc = detect_own_request(l->facts->own, l->facts->context, l->arena, &l->facts->findings, l->err);
    tools_find(l);
    if (rc == 0)
        rc = chat_request_visit_tools(r, text_look, tool_look, l);
    for (size_t i = 0; i < r->n_messages && rc == 0; i++)
        rc = tree_look(l, "messages", i, r->messages[i].vendor);
    if (rc == 0)
        rc = seam_visit(r, seam_judge, l, l->err);
    for (size_t i = 0; i < r->n_tools && rc == 0; i++)
        rc = tool_tree_look(l, i);
    return rc ? rc : tree_look(l, "request", 0, r->vendor);
}

/* Then what was found is not all, and nothing may be decided by it (ahead.h). */
static int not_judged(const struct facts *f, struct error *err)
{
    struct router_ahead **ahead = f->context ? f->context->ahead : NULL;
    return ahead && router_ahead_waits(*ahead) ? error_set(err, ERROR_BUSY, "it is not judged yet") : 0;
}

const struct router_findings *facts_findings(struct facts *f)
{
    if (f->have & FACTS_FINDINGS)
        return &f->findings;
    struct error err = {0};
    struct said said[DETECT_MAX_TYPES]; /* 9 KB: not zeroed for each request */
    struct look l = {.facts = f, .arena = f->request->arena, .err = &err, .said = said};
    detect_memo_caller(f->own, f->caller, &l.caller);
    (void)question_of(f); /* findings_add knows it then */
    f->have |= FACTS_FINDINGS;
    int rc = request_look(&l);
    if (rc == 0 && (rc = not_judged(f, &err)) == 0)
        tools_keep(&l);
    if (rc) {
        f->detector_failed = true;
        f->findings.sensitive = true;
        size_t n = str_utf8_floor(err.message, strnlen(err.message, sizeof f->failure - 1));
        memcpy(f->failure, err.message, n);
        f->failure[n] = '\0';
    }
    return &f->findings;
}

/* ---- Size: an estimate that needs no tokenizer. In thousandths of a token for each character: ASCII letters
 * and spaces 230, digits 400, other ASCII 500; letters of two bytes 500, of three (Chinese, Japanese ...)
 * 800, of four 1500. Four more for each message, 800 for each image, 500 for each piece of sound. ---- */
enum { SIZE_UNIT = 10, PIECE = 128 * 16 };
static const uint8_t size_of[256] = {[0 ... ' ' - 1] = 50,
    [' '] = 23,
    [' ' + 1 ... '0' - 1] = 50,
    ['0' ... '9'] = 40,
    ['9' + 1 ... 'A' - 1] = 50,
    ['A' ... 'Z'] = 23,
    ['Z' + 1 ... 'a' - 1] = 50,
    ['a' ... 'z'] = 23,
    ['z' + 1 ... 0x7F] = 50, /* 0x80 to 0xBF stand inside a letter */
    [0xC0 ... 0xDF] = 50,
    [0xE0 ... 0xEF] = 80,
    [0xF0 ... 0xFF] = 150};

typedef uint8_t sixteen __attribute__((vector_size(16)));
typedef uint16_t eight __attribute__((vector_size(16)));

static inline eight pairs_of(sixteen counts)
{
    return ((eight)counts & 0xFF) + ((eight)counts >> 8);
}

/* The same of whole sixteens, PIECE bytes at most: classes are counted (a mask that holds is -1), then
 * weighed; sums fit 16 bits. */
static int64_t piece_size(const char *data, size_t len)
{
    sixteen inside = {0}, letters = {0}, digits = {0}, three = {0}, four = {0}, c;
    int64_t size = 0;
    for (size_t at = 0; at < len; at += sizeof c) {
        memcpy(&c, data + at, sizeof c);
        inside -= (sixteen)(c - 0x80 < 0x40);
        letters -= (sixteen)((c | 0x20) - 'a' < 26) | (sixteen)(c == ' ');
        digits -= (sixteen)(c - '0' < 10);
        three -= (sixteen)(c >= 0xE0);
        four -= (sixteen)(c >= 0xF0);
    }
    const eight sum = ((uint16_t)(len / sizeof c * 2) - pairs_of(inside)) * 50 - pairs_of(letters) * 27 -
                      pairs_of(digits) * 10 + pairs_of(three) * 30 + pairs_of(four) * 70;
    for (size_t k = 0; k < sizeof sum / sizeof sum[0]; k++)
        size += sum[k];
    return size;
}

static int text_size(void *ctx, struct str where, struct str text)
{
    int64_t *milli = ctx, size = 0;
    size_t full = text.len / sizeof(sixteen) * sizeof(sixteen), at = 0;
    (void)where;
    if (text.len == 0 || is_media_data(text))
        return 0;
    for (; at < full; at += PIECE)
        size += piece_size(text.data + at, full - at < PIECE ? full - at : PIECE);
    for (at = full; at < text.len; at++)
        size += size_of[(unsigned char)text.data[at]];
    *milli += size * SIZE_UNIT;
    return 0;
}

int64_t facts_tokens(struct facts *f)
{
    if (f->have & FACTS_TOKENS)
        return f->tokens;
    const struct chat_request *r = f->request;
    int64_t milli = 3000;
    (void)chat_request_visit(r, text_size, &milli); /* text_size never fails */
    for (size_t i = 0; i < r->n_messages; i++) {
        milli += 4000;
        for (size_t j = 0; j < r->messages[i].n_parts; j++) {
            enum chat_part_kind kind = r->messages[i].parts[j].kind;
            milli += kind == CHAT_PART_IMAGE ? 800000 : kind == CHAT_PART_AUDIO ? 500000 : 0;
        }
    }
    f->have |= FACTS_TOKENS;
    return f->tokens = (milli + 999) / 1000;
}

int64_t router_tokens(const struct chat_request *r)
{
    struct facts f;
    facts_init(&f, NULL, r, NULL);
    return facts_tokens(&f);
}

struct str router_question(const struct chat_request *r)
{
    return facts_question(r, QUESTION_BYTES);
}

int64_t router_text_millitokens(struct str text)
{
    int64_t milli = 0;
    (void)text_size(&milli, STR_NONE, text);
    return milli;
}

/* ---- The others. ---- */
/* A question that came before, as an agent's does with each of its steps, is not read again. */
static double score_of(struct facts *f)
{
    double score = detect_memo_score(&f->asked);
    if (isnan(score)) {
        score = router_score(question_of(f));
        detect_memo_score_keep(&f->asked, score);
    }
    return score;
}

double facts_complexity(struct facts *f)
{
    if (!(f->have & FACTS_COMPLEXITY))
        f->complexity = f->calibration ? router_calibrated(f->calibration, question_of(f)) : score_of(f);
    f->have |= FACTS_COMPLEXITY;
    return f->complexity;
}

const char *facts_task(struct facts *f)
{
    if (!(f->have & FACTS_TASK))
        f->task = facts_task_of(f->request, question_of(f));
    f->have |= FACTS_TASK;
    return f->task;
}

const char *facts_language(struct facts *f)
{
    if (!(f->have & FACTS_LANGUAGE))
        f->language = facts_language_of(str_slice(question_of(f), 0, LANGUAGE_BYTES));
    f->have |= FACTS_LANGUAGE;
    return f->language;
}

/* Also one that its provider keeps, or that came without a "data:" URL. */
static bool is_file(const struct chat_part *p)
{
    static const char *const kinds[] = {"file", "document", "container_upload", NULL};
    return p->kind == CHAT_PART_FILE ||
           (p->kind == CHAT_PART_OTHER && str_among(json_text(p->raw, "type"), kinds));
}

static void media_find(struct facts *f)
{
    const struct chat_request *r = f->request;
    for (size_t i = 0; i < r->n_messages && !(f->have & FACTS_MEDIA); i++)
        for (size_t j = 0; j < r->messages[i].n_parts; j++) {
            f->images |= r->messages[i].parts[j].kind == CHAT_PART_IMAGE;
            f->audio |= r->messages[i].parts[j].kind == CHAT_PART_AUDIO;
            f->files |= is_file(&r->messages[i].parts[j]);
        }
    f->have |= FACTS_MEDIA;
}

bool facts_images(struct facts *f)
{
    media_find(f);
    return f->images;
}

bool facts_files(struct facts *f)
{
    media_find(f);
    return f->files;
}

bool facts_audio(struct facts *f)
{
    media_find(f);
    return f->audio;
}

bool facts_tools(const struct facts *f)
{
    /* `functions`: as OpenAI's API called them before */
    return f->request->n_tools > 0 || json_array_size(json_object_get(f->request->vendor, "functions")) > 0;
}

double facts_cost_usd(struct facts *f, struct str model)
{
    const struct router_context *c = f->context;
    return c->cost_usd ? c->cost_usd(c->ctx, model, facts_tokens(f)) : -1;
}

double facts_latency_ms(struct facts *f, struct str model)
{
    const struct router_context *c = f->context;
    return c->latency_ms ? c->latency_ms(c->ctx, model, facts_tokens(f)) : -1;
}
