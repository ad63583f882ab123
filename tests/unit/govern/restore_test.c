/* What was masked comes back, wherever the stream is cut and whatever the answer is written in. */
#include "govern/restore.h"

#include "base/rand.h"
#include "router/mask.h"
#include "unit/router/router_fixture.h"

enum { CHOICES = 2, STRANDS = 3 }; /* text, reasoning, a tool's arguments */

/* What the client got. */
struct got {
    struct buf strands[CHOICES][STRANDS], tokens[CHOICES];
    int stops;
    bool late; /* something came after its choice had stopped */
    bool stopped[CHOICES];
    struct buf names;
};

static void got_init(struct got *g)
{
    memset(g, 0, sizeof *g);
    for (int i = 0; i < CHOICES; i++) {
        buf_init(&g->tokens[i], MIB);
        for (int k = 0; k < STRANDS; k++)
            buf_init(&g->strands[i][k], MIB);
    }
    buf_init(&g->names, MIB);
}

static void got_free(struct got *g)
{
    for (int i = 0; i < CHOICES; i++) {
        buf_free(&g->tokens[i]);
        for (int k = 0; k < STRANDS; k++)
            buf_free(&g->strands[i][k]);
    }
    buf_free(&g->names);
}

static void on_event(void *ctx, const struct chat_event *e)
{
    struct got *g = ctx;
    g->late |= e->choice < CHOICES && g->stopped[e->choice];
    if (e->kind == CHAT_EVENT_STOP) {
        g->stops++;
        g->stopped[e->choice] = true;
        buf_append_str(&g->names, e->stop_string);
    } else if (e->kind == CHAT_EVENT_TEXT) {
        buf_append_str(&g->strands[e->choice][0], e->text);
        for (size_t i = 0; i < e->n_tokens; i++)
            buf_append_str(
                &g->tokens[e->choice], e->tokens[i].bytes.data ? e->tokens[i].bytes : e->tokens[i].text);
    } else if (e->kind == CHAT_EVENT_REASONING) {
        buf_append_str(&g->strands[e->choice][1], e->text);
    } else if (e->kind == CHAT_EVENT_TOOL_CALL) {
        buf_append_str(&g->names, e->tool_call.name);
        buf_append_str(&g->names, e->tool_call.more);
        buf_append_str(&g->strands[e->choice][2], e->tool_call.arguments);
    } else if (e->kind == CHAT_EVENT_ERROR) {
        buf_append_str(&g->names, e->failure.message);
    } else if (e->kind == CHAT_EVENT_NATIVE) {
        buf_append_str(&g->names, e->native.json);
    }
}

static struct mask *masked(struct arena *a, const char *text, struct str *out)
{
    struct router_redact_options o = {.key = {9}};
    struct mask *m;
    struct str stays;
    if (router_redact_text(&o, a, str_from(text), &m, out, &stays, &err) || stays.len > 0)
        fail_msg("it stays: " STR_FMT, STR_ARG(stays));
    return m;
}

static struct chat_event piece(enum chat_event_kind kind, struct str text)
{
    struct chat_event e = {.kind = kind};
    if (kind == CHAT_EVENT_TOOL_CALL)
        e.tool_call.arguments = text;
    else
        e.text = text;
    return e;
}

/* ---- By hand ---- */

static const char text_of_all[] =
    "My name is Anna Nowak, card 4539 5787 6362 1486, I live at 12 Main Street\n"
    "Springfield, IL 62704. Mail anna.b@lipowa-poczta.pl!";

/* The answer in one piece, as the strand `kind`. */
static struct str answered(struct arena *a, struct mask *m, enum chat_event_kind kind, struct str answer)
{
    struct got g;
    struct restore *r = restore_create(m);
    struct chat_event e = piece(kind, answer), stop = {.kind = CHAT_EVENT_STOP};
    got_init(&g);
    restore_event(r, &e, (struct chat_sink){on_event, &g});
    restore_event(r, &stop, (struct chat_sink){on_event, &g});
    restore_free(r);
    int strand = kind == CHAT_EVENT_TEXT ? 0 : kind == CHAT_EVENT_REASONING ? 1 : 2;
    struct str out = arena_copy(a, buf_str(&g.strands[0][strand]));
    got_free(&g);
    return out;
}

static struct str placeholder(const struct mask *m, const char *type)
{
    for (size_t i = 0; i < m->n_surfaces; i++)
        if (strcmp(m->entities[m->surfaces[i].entity].type->name, type) == 0)
            return m->surfaces[i].placeholder;
    fail_msg("nothing stands for a %s", type);
    return STR_NONE;
}

static void as_models_write_it(void **state)
{
    (void)state;
    struct arena *a = arena_create(64 * MIB);
    struct str out;
    struct mask *m = masked(a, text_of_all, &out);
    struct str name = placeholder(m, "PERSON"), card = placeholder(m, "CREDIT_CARD");
    char lower[64], markdown[64], compact[64];
    size_t n = 0, k = 0, c = 0;
    for (size_t i = 0; i < name.len; i++) {
        lower[n++] = (char)(name.data[i] | (detect_is_upper(name.data[i]) ? 0x20 : 0));
        if (name.data[i] == '_')
            markdown[k++] = '\\';
        markdown[k++] = name.data[i];
    }
    for (size_t i = 0; i < card.len; i++)
        if (card.data[i] != ' ')
            compact[c++] = card.data[i];
    const struct {
        struct str answer, want;
    } cases[] = {{arena_printf(a, "**" STR_FMT "**'s and " STR_FMT "s", STR_ARG(name), STR_ARG(name)),
                     STR("**Anna Nowak**'s and Anna Nowaks")},
        {arena_printf(a, "%.*s, %.*s", (int)n, lower, (int)k, markdown), STR("Anna Nowak, Anna Nowak")},
        {arena_printf(a, STR_FMT "0 and %.*s.", STR_ARG(name), (int)c, compact),
            arena_printf(a, STR_FMT "0 and 4539578763621486.", STR_ARG(name))}, /* another number: not ours */
        {arena_printf(a, "1%.*s", (int)c, compact), arena_printf(a, "1%.*s", (int)c, compact)}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str got = answered(a, m, CHAT_EVENT_TEXT, cases[i].answer);
        if (!str_eq(got, cases[i].want))
            fail_msg(STR_FMT " became " STR_FMT, STR_ARG(cases[i].answer), STR_ARG(got));
    }
    arena_free(a);
}

static void json_strings_get_escaped_originals(void **state)
{
    (void)state;
    struct arena *a = arena_create(64 * MIB);
    struct str out;
    struct mask *m = masked(a, text_of_all, &out);
    struct str at = placeholder(m, "STREET_ADDRESS");
    static const char *const frames[] = {"{\"to\": \"%.*s\"}",
        "So:\n```json\n[{\"to\":\n\"a\\\"b %.*s\"}]\n```",
        "call({\"to\": \"%.*s\"}) and \"%.*s\" [see %.*s]"};
    for (size_t i = 0; i < 3; i++) {
        struct str answer =
            arena_printf(a, frames[i], (int)at.len, at.data, (int)at.len, at.data, (int)at.len, at.data);
        struct str got = answered(a, m, CHAT_EVENT_TEXT, answer);
        assert_true(str_find(got, STR("Street\\nSpringfield")) != SIZE_MAX);
        /* In prose it stands as it was written. */
        assert_true((str_find(got, STR("\"12 Main Street\nSpringfield")) != SIZE_MAX) == (i == 2));
        assert_true((str_find(got, STR("see 12 Main Street\nSpringfield")) != SIZE_MAX) == (i == 2));
    }
    struct str arguments = answered(
        a, m, CHAT_EVENT_TOOL_CALL, arena_printf(a, "{\"a\":[\"\\\\\",\"" STR_FMT "\"]}", STR_ARG(at)));
    json_t *tree;
    assert_int_equal(json_read_in(a, arguments, &tree, &err), 0);
    assert_true(
        str_starts(json_str(json_array_get(json_object_get(tree, "a"), 1)), STR("12 Main Street\nSpring")));
    arena_free(a);
}

static void what_comes_in_one_piece(void **state)
{
    (void)state;
    struct arena *a = arena_create(64 * MIB);
    struct str out;
    struct mask *m = masked(a, text_of_all, &out);
    struct str name = placeholder(m, "PERSON"), at = placeholder(m, "STREET_ADDRESS");
    struct restore *r = restore_create(m);
    struct got g;
    got_init(&g);
    struct chat_event native = {
        .kind = CHAT_EVENT_NATIVE, .native.json = arena_printf(a, "{\"x\":\"" STR_FMT "\"}", STR_ARG(at))};
    struct chat_event half = piece(CHAT_EVENT_TEXT, str_slice(name, 0, 4));
    struct chat_event failure = {
        .kind = CHAT_EVENT_ERROR, .failure.message = arena_printf(a, "no " STR_FMT, STR_ARG(name))};
    restore_event(r, &native, (struct chat_sink){on_event, &g});
    assert_non_null(strstr(g.names.data, "Street\\nSpringfield"));
    buf_clear(&g.names);
    native.native.what = CHAT_NATIVE_CHOICE; /* without braces */
    native.native.json = arena_printf(a, "\"x\":\"" STR_FMT "\"", STR_ARG(at));
    restore_event(r, &native, (struct chat_sink){on_event, &g});
    restore_event(r, &half, (struct chat_sink){on_event, &g});
    assert_int_equal(g.strands[0][0].len, 0);
    restore_event(r, &failure, (struct chat_sink){on_event, &g});
    assert_non_null(strstr(g.names.data, "Street\\nSpringfield"));
    assert_non_null(strstr(g.names.data, "no Anna Nowak"));
    assert_true(
        str_eq(buf_str(&g.strands[0][0]), str_slice(name, 0, 4))); /* what was held back is not lost */
    restore_free(r);
    got_free(&g);
    arena_free(a);
}

/* What a call has besides its arguments went to the client masked. */
static void members_of_a_call_are_restored(void **state)
{
    (void)state;
    struct arena *a = arena_create(64 * MIB);
    struct str out;
    struct mask *m = masked(a, text_of_all, &out);
    struct str name = placeholder(m, "PERSON"), at = placeholder(m, "STREET_ADDRESS");
    struct restore *r = restore_create(m);
    struct got g;
    got_init(&g);
    struct chat_event call = {.kind = CHAT_EVENT_TOOL_CALL,
        .tool_call = {.id = STR("c"),
            .name = STR("f"),
            .arguments = arena_printf(a, "{\"who\":\"" STR_FMT "\"}", STR_ARG(name)),
            .more = arena_printf(a, "\"x\":\"" STR_FMT "\"", STR_ARG(at))}};
    restore_event(r, &call, (struct chat_sink){on_event, &g});
    restore_event(r, &(struct chat_event){.kind = CHAT_EVENT_STOP}, (struct chat_sink){on_event, &g});
    assert_non_null(strstr(g.names.data, "Street\\nSpringfield"));
    assert_true(str_eq(buf_str(&g.strands[0][2]), STR("{\"who\":\"Anna Nowak\"}")));
    restore_free(r);
    got_free(&g);
    arena_free(a);
}

static void a_masked_token_keeps_no_alternatives(void **state)
{
    (void)state;
    struct arena *a = arena_create(64 * MIB);
    struct str out;
    struct mask *m = masked(a, "My name is Anna Nowak.", &out);
    struct str name = placeholder(m, "PERSON");
    struct restore *r = restore_create(m);
    struct got g;
    got_init(&g);
    const struct chat_token other = {.text = STR("x")};
    const struct chat_token tokens[] = {{.text = STR("So "), .logprob = -1, .top = &other, .n_top = 1},
        {.text = str_slice(name, 0, 3), .logprob = -2, .top = &other, .n_top = 1},
        {.text = str_slice(name, 3, name.len), .logprob = -3, .top = &other, .n_top = 1},
        {.text = STR("!"), .logprob = -4}};
    for (int i = 0; i < 4; i++) {
        struct chat_event e = piece(CHAT_EVENT_TEXT, tokens[i].text);
        e.tokens = &tokens[i];
        e.n_tokens = 1;
        restore_event(r, &e, (struct chat_sink){on_event, &g});
    }
    restore_event(r, &(struct chat_event){.kind = CHAT_EVENT_STOP}, (struct chat_sink){on_event, &g});
    assert_string_equal(g.strands[0][0].data, "So Anna Nowak!");
    assert_string_equal(g.tokens[0].data, "So Anna Nowak!");
    restore_free(r);
    got_free(&g);
    arena_free(a);
}

/* ---- Random texts with findings, random cuts: an echo in many a form equals what it was of the original.
 * ---- */

static unsigned below(struct rand_pcg *r, unsigned n)
{
    return rand_pcg_u32(r) % n;
}

static const char *pick(struct rand_pcg *r, const char *const *list, unsigned n)
{
    return list[below(r, n)];
}
#define PICK(r, ...)                                                                                         \
    pick(r, (const char *const[]){__VA_ARGS__},                                                              \
        (unsigned)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *)))

static void digits(struct buf *b, struct rand_pcg *r, int n)
{
    while (n-- > 0)
        buf_append_char(b, (char)('0' + below(r, 10)));
}

static void card(struct buf *b, struct rand_pcg *r)
{
    char d[17] = "4539";
    unsigned sum = 0;
    const char *between = PICK(r, "", " ", "-");
    for (int i = 4; i < 15; i++)
        d[i] = (char)('0' + below(r, 10));
    for (int i = 0; i < 15; i++) {
        unsigned v = (unsigned)(d[i] - '0') << (i % 2 == 0);
        sum += v > 9 ? v - 9 : v;
    }
    d[15] = (char)('0' + (10 - sum % 10) % 10);
    for (int i = 0; i < 16; i++)
        buf_appendf(b, "%s%c", i && i % 4 == 0 ? between : "", d[i]);
}

static void name(struct buf *b, struct rand_pcg *r)
{
    buf_appendf(b, "%s %s", PICK(r, "Anna", "Jörg", "María", "Tom", "Łukasz", "Chloé", "Sven", "Giulia"),
        PICK(r, "Nowak", "Müller", "García", "O'Brien", "Wójcik", "Dupont", "de Vries", "Rossi"));
}

static void finding(struct buf *b, struct rand_pcg *r)
{
    static const char secret[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    switch (below(r, 9)) {
    case 0:
        buf_append_text(b, PICK(r, "My name is ", "Ich heiße ", "Me llamo ", "Dear Mr. "));
        name(b, r);
        break;
    case 1:
        buf_appendf(b, "mail %s%u@%s", PICK(r, "anna.b", "tom_x", "j+news"), below(r, 1000),
            PICK(r, "lipowa-poczta.pl", "post.uni-ulm.de", "acme-widgets.com"));
        break;
    case 2:
        buf_append_text(b, "card ");
        card(b, r);
        break;
    case 3:
        buf_append_text(b, PICK(r, "call +49 170 ", "phone: +48 601 ", "ring +44 7911 "));
        digits(b, r, 7);
        break;
    case 4:
        buf_append_text(b, "my SSN is 5");
        digits(b, r, 2);
        buf_append_text(b, "-4");
        digits(b, r, 1);
        buf_append_text(b, "-7");
        digits(b, r, 3);
        break;
    case 5:
        buf_appendf(b, "I live at %u Main Street%sSpringfield, IL 6%04u", 1 + below(r, 99),
            PICK(r, ", ", "\n", ",\n"), below(r, 10000));
        break;
    case 6:
        buf_append_text(b, "token ghp_");
        for (int i = 0; i < 36; i++)
            buf_append_char(b, secret[below(r, 62)]);
        break;
    case 7:
        buf_appendf(b, "born %02u.%02u.19%02u", 1 + below(r, 28), 1 + below(r, 12), 40 + below(r, 59));
        break;
    default:
        buf_appendf(b, "from 84.%u.%u.%u", 1 + below(r, 250), 1 + below(r, 250), 1 + below(r, 250));
    }
}

static void text_make(struct buf *b, struct rand_pcg *r)
{
    buf_clear(b);
    for (unsigned i = 0, n = 1 + below(r, 6); i < n; i++) {
        buf_append_text(
            b, PICK(r, "", "Please write a short letter. ", "東京 🗼 ", "See `x = {\"a\": [1, 2]}` and ",
                   "> quote\n\n", "Grüße – ", "| a | b |\n", "\t\\x ", "100 % \"sure\" "));
        finding(b, r);
        buf_append_text(b, PICK(r, ". ", "!\n", ", and ", "; ", " ...\n\n"));
    }
}

/* An answer that repeats a text. */
static void echo(struct buf *out, struct str text, unsigned form)
{
    struct json_writer w;
    json_writer_init(&w, out);
    if (form == 1) {
        json_object_begin(&w);
        json_key(&w, "n");
        json_write_int(&w, 1);
        json_key(&w, "echo");
        json_array_begin(&w);
        json_write_str(&w, text);
        json_write_str(&w, text);
        json_array_end(&w);
        json_object_end(&w);
    } else if (form == 2) {
        buf_appendf(
            out, "# Answer\n\n**" STR_FMT "**\n\n```\n" STR_FMT "\n```\n", STR_ARG(text), STR_ARG(text));
    } else if (form == 3) {
        buf_append_text(out, "Sure! Here it is:\n\n```json\n");
        echo(out, text, 1);
        buf_append_text(out, "\n```\nAnything else?");
    } else {
        buf_append_str(out, text);
    }
}

/* The answers of all strands and choices, each with its own cuts, mixed. */
static void stream(
    struct restore *r, const struct buf *answers, struct rand_pcg *g, bool tokens, struct got *got)
{
    static const enum chat_event_kind kinds[] = {CHAT_EVENT_REASONING, CHAT_EVENT_TEXT, CHAT_EVENT_TOOL_CALL};
    static const int strands[] = {1, 0, 2};
    size_t at[CHOICES] = {0};
    int phase[CHOICES] = {0}, open = CHOICES;
    const struct chat_sink sink = {on_event, got};
    while (open > 0) {
        unsigned c = below(g, CHOICES);
        if (phase[c] > STRANDS)
            continue;
        if (phase[c] == STRANDS) {
            restore_event(r, &(struct chat_event){.kind = CHAT_EVENT_STOP, .choice = c}, sink);
            phase[c]++;
            open--;
            continue;
        }
        struct str all = buf_str(&answers[strands[phase[c]]]);
        size_t end = at[c] + 1 + below(g, below(g, 4) ? 6 : 60);
        end = end >= all.len ? all.len : str_utf8_floor(all.data, end);
        if (end <= at[c])
            end = at[c] + 4 < all.len ? str_utf8_floor(all.data, at[c] + 4) : all.len;
        struct chat_event e = piece(kinds[phase[c]], str_slice(all, at[c], end));
        const struct chat_token token = {
            .text = e.text, .bytes = below(g, 2) ? e.text : STR_NONE, .logprob = -1};
        if (tokens && e.kind == CHAT_EVENT_TEXT) {
            e.tokens = &token;
            e.n_tokens = 1;
        }
        e.choice = c;
        restore_event(r, &e, sink);
        at[c] = end;
        if (end == all.len) {
            phase[c]++;
            at[c] = 0;
        }
    }
}

static void hold_nothing(struct str text, const struct mask *m)
{
    for (size_t i = 0; i < m->n_surfaces; i++)
        if (str_find(text, m->surfaces[i].original) != SIZE_MAX && m->surfaces[i].original.len > 4)
            fail_msg(STR_FMT " is in " STR_FMT, STR_ARG(m->surfaces[i].original), STR_ARG(text));
}

static void one_round(struct rand_pcg *g, const struct router_policy *p, int *stayed)
{
    struct arena *a = arena_create(64 * MIB);
    struct router_context c = context_of();
    struct route_decision d;
    struct buf text, before[STRANDS], after[STRANDS];
    buf_init(&text, MIB);
    text_make(&text, g);
    struct chat_request *q = request_of(a, "gpt", text.data);
    assert_int_equal(router_decide(p, q, &c, &d, &err), 0);
    *stayed += d.findings.sensitive && !d.masked;
    if (d.masked) {
        struct str out = d.masked->request->messages[0].parts[0].text;
        struct restore *r = restore_create(d.masked->mask);
        struct got got;
        got_init(&got);
        hold_nothing(out, d.masked->mask);
        for (int i = 0; i < STRANDS; i++) {
            unsigned form = i == 2 ? 1 : below(g, 4);
            buf_init(&before[i], MIB);
            buf_init(&after[i], MIB);
            echo(&before[i], buf_str(&text), form);
            echo(&after[i], out, form);
        }
        bool tokens = below(g, 2);
        stream(r, after, g, tokens, &got);
        restore_free(r);
        assert_true(got.stops == CHOICES && !got.late);
        for (int i = 0; i < STRANDS; i++)
            for (int k = 0; k < CHOICES; k++)
                if (!str_eq(buf_str(&got.strands[k][i]), buf_str(&before[i])))
                    fail_msg("strand %d\n%s\nbecame\n%s", i, before[i].data, got.strands[k][i].data);
        for (int k = 0; k < CHOICES && tokens; k++)
            assert_true(str_eq(buf_str(&got.tokens[k]), buf_str(&before[0])));
        for (int i = 0; i < STRANDS; i++) {
            buf_free(&before[i]);
            buf_free(&after[i]);
        }
        got_free(&got);
    }
    buf_free(&text);
    arena_free(a);
}

static void random_texts_come_back(void **state)
{
    (void)state;
    int rounds = getenv("WEIR_LONG") ? 100000 : 2000, stayed = 0;
    struct rand_pcg g;
    struct router_policy *p;
    rand_pcg_seed(&g, 20261128);
    assert_int_equal(compile("routes: []\n", ROUTER_SENSITIVE_REDACT, &p), 0);
    for (int i = 0; i < rounds; i++)
        one_round(&g, p, &stayed);
    print_message("%d texts, of which %d stayed inside\n", rounds, stayed);
    assert_true(stayed * 40 < rounds); /* masking that gives up is no masking */
    router_policy_free(p);
}

static void all_refuse(void *ctx, const struct chat_event *e)
{
    *(bool *)ctx &= e->kind != CHAT_EVENT_TEXT || e->refusal;
}

static void a_refusal_that_was_masked_is_still_one(void **state)
{
    (void)state;
    struct arena *a = arena_create(MIB);
    struct str out;
    struct mask *m = masked(a, text_of_all, &out);
    struct restore *r = restore_create(m);
    bool refuses = true;
    struct chat_sink sink = {all_refuse, &refuses};
    for (size_t i = 0; i < out.len; i += 7) {
        struct chat_event e = piece(CHAT_EVENT_TEXT, str_slice(out, i, i + 7));
        e.refusal = true;
        restore_event(r, &e, sink);
    }
    restore_event(r, &(struct chat_event){.kind = CHAT_EVENT_STOP}, sink);
    assert_true(refuses);
    restore_free(r);
    arena_free(a);
}

/* What is beside it can be masked, it cannot; the network learns that tokens side by side are no such code.
 */
static void a_code_in_words_beside_a_token_stays_inside(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "the token is ghp_lH1UGmRyRLN4KTEWJDlfl43heop0DOGpKP2a and the alarm code is five five three one",
        "token ghp_lH1UGmRyRLN4KTEWJDlfl43heop0DOGpKP2a, the safe opens with seven seven one four"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct router_redact_options o = {.key = {9}};
        struct arena *a = arena_create(64 * MIB);
        struct mask *m;
        struct str out, stays;
        assert_int_equal(router_redact_text(&o, a, str_from(texts[i]), &m, &out, &stays, &err), 0);
        if (stays.len == 0)
            fail_msg("'%s' leaves as '" STR_FMT "'", texts[i], STR_ARG(out));
        arena_free(a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_models_write_it),
        cmocka_unit_test(a_code_in_words_beside_a_token_stays_inside),
        cmocka_unit_test(json_strings_get_escaped_originals),
        cmocka_unit_test(what_comes_in_one_piece),
        cmocka_unit_test(members_of_a_call_are_restored),
        cmocka_unit_test(a_masked_token_keeps_no_alternatives),
        cmocka_unit_test(a_refusal_that_was_masked_is_still_one),
        cmocka_unit_test(random_texts_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
