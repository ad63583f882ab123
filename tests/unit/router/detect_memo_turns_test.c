/* A conversation that grows turn by turn, its values split over messages, parts, tools and members at random
 * places: what is remembered of earlier turns must change nothing. */
#include "router/detect_memo.h"

#include "base/rand.h"
#include "unit/router/router_fixture.h"

enum { TURNS = 8, MOST_PARTS = 3 };

/* Among them pairs of one length, of which only one says something. */
static const char *const values[] = {"Please say what a weir is and how high it may be built here. ",
    "Mail jane.doe@acme-corp.com about it. ", "Card 4539 5787 6362 1486, please. ",
    "IBAN DE89370400440532013000 ", "SSN 536-22-8714 ", "My diagnosis is diabetes. ",
    "My programme is diabolic. ", "Card 4539 5787 6362 1487, please. ",
    "Mail jane.doe-at-acme-corp-com about it. ", "password: Trout-Pond-88 ", "AKIAQ3EGRIYBXK5PLM2X ",
    "Frau Hollis Bramwell, 9 Sparrow Mews, Leeds LS6 2QT ", "Your card number? ", "ok ", "grüße aus 東京 ",
    "am9obi5kb2VAYWNtZS1jb3JwLmNvbQ== ", "{\"pass\":\"word\",\"n\":\"Trout\\u002dPond-88\"} "};
enum { VALUES = sizeof values / sizeof *values };

static void text_add(struct buf *b, struct rand_pcg *r)
{
    for (uint32_t n = 1 + rand_pcg_u32(r) % 3; n > 0; n--)
        buf_append_text(b, values[rand_pcg_u32(r) % VALUES]);
}

/* Cuts a text into parts, between characters. */
static void parts_cut(struct arena *a, struct rand_pcg *r, struct str text, struct chat_message *m)
{
    m->parts = arena_alloc(a, MOST_PARTS * sizeof *m->parts);
    m->n_parts = 1 + rand_pcg_u32(r) % MOST_PARTS;
    for (size_t i = 0, at = 0; i < m->n_parts; i++) {
        size_t left = text.len - at;
        size_t n = i + 1 == m->n_parts ? left : rand_pcg_u32(r) % (left + 1);
        n = str_utf8_floor(text.data + at, n);
        m->parts[i] = (struct chat_part){.kind = CHAT_PART_TEXT, .text = str_slice(text, at, at + n)};
        at += n;
    }
}

/* A text goes over two messages half of the time: the second begins where the first was cut. */
static void messages_make(struct arena *a, struct rand_pcg *r, struct chat_request *q)
{
    struct str rest = STR_NONE;
    q->messages = arena_alloc(a, TURNS * sizeof *q->messages);
    for (size_t i = 0; i < TURNS; i++) {
        struct buf b;
        buf_init(&b, MIB);
        buf_append_str(&b, rest);
        text_add(&b, r);
        struct str text = arena_copy(a, buf_str(&b));
        buf_free(&b);
        size_t cut =
            rand_pcg_u32(r) % 2 ? text.len : str_utf8_floor(text.data, rand_pcg_u32(r) % (text.len + 1));
        rest = str_slice(text, cut, text.len);
        q->messages[i] = (struct chat_message){.role = i % 2 ? CHAT_ASSISTANT : CHAT_USER};
        parts_cut(a, r, str_slice(text, 0, cut), &q->messages[i]);
        if (rand_pcg_u32(r) % 4 == 0)
            q->messages[i].vendor = json_pack("{s:s}", "note", values[rand_pcg_u32(r) % VALUES]);
    }
}

static void tools_make(struct arena *a, struct rand_pcg *r, struct chat_request *q)
{
    q->tools = arena_new(a, struct chat_tool);
    q->n_tools = rand_pcg_u32(r) % 2;
    const char *one = values[rand_pcg_u32(r) % VALUES], *two = values[rand_pcg_u32(r) % VALUES];
    q->tools[0] = (struct chat_tool){.name = STR("look"), .description = str_from(one)};
    if (q->n_tools)
        q->tools[0].parameters = json_pack("{s:s,s:{s:s}}", "type", "object", "password", "default", two);
}

static void request_release(struct chat_request *q)
{
    for (size_t i = 0; i < TURNS; i++)
        json_decref((json_t *)q->messages[i].vendor);
    json_decref((json_t *)q->tools[0].parameters);
}

/* All that was found, written out; `caller` has a memory of its own. */
static void findings_write(struct chat_request *q, struct str caller, struct buf *out)
{
    struct router_context c = context_of();
    struct json_writer w;
    struct facts f;
    c.caller = caller;
    facts_init(&f, NULL, q, &c);
    const struct router_findings *found = facts_findings(&f);
    assert_false(f.detector_failed);
    buf_init(out, 16 * MIB);
    json_writer_init(&w, out);
    json_array_begin(&w);
    for (size_t i = 0; i < found->n_entities; i++)
        router_entity_write(&found->entities[i], &w);
    json_array_end(&w);
    buf_appendf(out, " %zu %zu %u %d", found->more, found->n_more_types, found->categories, found->sensitive);
}

static void earlier_turns_remembered_change_no_finding(void **state)
{
    (void)state;
    struct rand_pcg r;
    size_t found = 0;
    rand_pcg_seed(&r, 11);
    for (int chat = 0; chat < 150; chat++) {
        struct arena *a = arena_create(64 * MIB);
        struct chat_request *q = chat_request_create(a);
        messages_make(a, &r, q);
        tools_make(a, &r, q);
        for (q->n_messages = 1; q->n_messages <= TURNS; q->n_messages++) {
            struct buf kept, anew;
            struct str nobody = arena_printf(a, "nobody %d %zu", chat, q->n_messages);
            findings_write(q, STR("one and the same"), &kept);
            findings_write(q, nobody, &anew);
            if (!str_eq(buf_str(&kept), buf_str(&anew)))
                fail_msg("chat %d: " STR_FMT "\nnot " STR_FMT, chat, STR_ARG(buf_str(&kept)),
                    STR_ARG(buf_str(&anew)));
            found += kept.len;
            buf_free(&kept);
            buf_free(&anew);
        }
        request_release(q);
        arena_free(a);
    }
    assert_true(found > 100000);
}

static int start(void **state)
{
    (void)state;
    return router_detect_init(&err);
}

/* What comes with each request of an agent: known by one look while nothing was found in any of it. */
static bool tool_is_sensitive(struct str who, const char *description, const char *member, const char *text)
{
    struct arena *a = arena_create(32 * MIB);
    struct chat_request *q = request_of(a, "auto", "What is a weir?");
    struct router_context c = context_of();
    struct facts f;
    q->tools = arena_new(a, struct chat_tool);
    q->n_tools = 1;
    q->tools[0] = (struct chat_tool){.name = STR("look"),
        .description = str_from(description),
        .parameters = json_pack("{s:s,s:s}", "type", "object", member, text)};
    c.caller = who;
    facts_init(&f, NULL, q, &c);
    bool sensitive = facts_findings(&f)->sensitive;
    json_decref((json_t *)q->tools[0].parameters);
    arena_free(a);
    return sensitive;
}

static void a_tool_that_was_clean_is_looked_at_once_it_changes(void **state)
{
    (void)state;
    for (int round = 0; round < 3; round++) {
        assert_false(tool_is_sensitive(STR("one"), "Says what a weir is.", "path", "here"));
        assert_true(tool_is_sensitive(STR("one"), "Mail jane.doe@acme-corp.com.", "path", "here"));
        assert_true(tool_is_sensitive(STR("one"), "Says what a weir is.", "jane.doe@acme-corp.com", "here"));
        assert_true(tool_is_sensitive(STR("one"), "Says what a weir is.", "path", "jane.doe@acme-corp.com"));
        assert_true(tool_is_sensitive(
            STR("one"), "Says what a weir is.", "password", "Trout-Pond-88")); /* together */
        assert_false(tool_is_sensitive(STR("two"), "Says what a weir is.", "path", "here"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(earlier_turns_remembered_change_no_finding),
        cmocka_unit_test(a_tool_that_was_clean_is_looked_at_once_it_changes)};
    return cmocka_run_group_tests(tests, start, NULL);
}
