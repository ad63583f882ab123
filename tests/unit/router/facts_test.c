#include "base/clock.h"
#include "unit/router/router_fixture.h"

static void scores_rise_with_difficulty(void **state)
{
    (void)state;
    static const char *const rising[] = {"hello", "Write a haiku about the sea.",
        "Prove that for every integer n > 2, the equation $x^n + y^n = z^n$ has no solutions (x, y, z) in "
        "positive "
        "integers; derive each lemma, and compare with the proof by infinite descent for n = 4."};
    double before = -1;
    for (size_t i = 0; i < 3; i++) {
        double score = router_score(str_from(rising[i]));
        assert_true(score >= 0 && score <= 1 && score > before);
        assert_true(score == router_score(str_from(rising[i])));
        before = score;
    }
    assert_true(router_score(str_from(rising[0])) < 0.2);
    assert_true(router_score(str_from(rising[2])) > 0.4);
    assert_true(router_score(STR_NONE) < 0.2);
}

static void tasks(void **state)
{
    (void)state;
    static const struct {
        const char *text, *task;
    } cases[] = {
        {"hi there, how are you?", "chat"},
        {"Write a python function that parses dates", "code"},
        {"Why does this fail?\n```c\n#include <stdio.h>\n```", "code"},
        {"Solve the equation 3x + 5 = 20", "math"},
        {"Summarize the following article in two sentences: ...", "summarize"},
        {"Bitte fasse den Text zusammen", "summarize"},
        {"Extract all dates into JSON", "extract"},
        {"Classify the sentiment of this review as positive or negative", "classify"},
        {"Translate good morning into French", "translate"},
        {"Übersetze das ins Englische", "translate"},
        /* these were chat */
        {"How do you say thank you in Japanese?", "translate"},
        {"Wie sagt man das auf Polnisch?", "translate"},
        {"Give me the key points of this report.", "summarize"},
        {"Is this review positive or negative? 'Great!'", "classify"},
        {"List every company mentioned in this text.", "extract"},
        {"How do I center a div with CSS?", "code"},
        {"Why does my React component render twice?", "code"},
        {"A train goes 60 km in 45 minutes: what is its speed?", "math"},
        {"What should I cook tonight?", "chat"},
        {"Which enzymes make a chemical reaction faster?", "chat"},
        {"Is there a rationale for high-speed trains?", "chat"},
        {"Based on the following context: ... answer the question", "rag"},
    };
    struct arena *a = arena_create(16 * MIB);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *task = facts_task_of(request_of(a, "auto", cases[i].text), str_from(cases[i].text));
        assert_true(router_task_exists(str_from(task)));
        if (strcmp(task, cases[i].task) != 0)
            fail_msg("'%s' is %s, not %s", cases[i].text, task, cases[i].task);
    }
    struct chat_request *r = request_of(a, "auto", "hi");
    struct chat_tool tool = {.name = STR("f")};
    r->tools = &tool;
    r->n_tools = 1;
    assert_string_equal(facts_task_of(r, STR("hi")), "agent");
    assert_string_equal(facts_task_of(chat_request_create(a), STR_NONE), "chat");
    struct chat_request *old =
        request_of(a, "auto", "hi"); /* tools were not seen where they have their first name */
    struct facts f;
    json_t *vendor = json_pack("{s:[{s:s}]}", "functions", "name", "f");
    old->vendor = vendor;
    facts_init(&f, NULL, old, NULL);
    assert_true(facts_tools(&f));
    assert_string_equal(facts_task_of(old, STR("hi")), "agent");
    json_decref(vendor);
    arena_free(a);
}

static void languages(void **state)
{
    (void)state;
    static const struct {
        const char *text, *code;
    } cases[] = {
        {"What is the capital of France and how many people are there?", "en"},
        {"Was ist die Hauptstadt von Frankreich und wie viele Menschen leben dort?", "de"},
        {"Quelle est la capitale de la France et combien de personnes y vivent ?", "fr"},
        {"¿Cuál es la capital de Francia y cuántas personas viven en ella?", "es"},
        {"Qual è la capitale della Francia e quante persone ci vivono?", "it"},
        {"Wat is de hoofdstad van Frankrijk en hoeveel mensen wonen er?", "nl"},
        {"Jaka jest stolica Francji i ile osób tam mieszka?", "pl"},
        {"Qual é a capital da França e quantas pessoas não vivem lá?", "pt"},
        {"Какая столица Франции?", "ru"},
        {"Яка столиця Франції і скільки людей там живе?", "uk"},
        {"法国的首都是什么？", "zh"},
        {"フランスの首都はどこですか", "ja"},
        {"프랑스의 수도는 어디입니까", "ko"},
        {"12345 !!!", "other"},
        {"", "other"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *code = facts_language_of(str_from(cases[i].text));
        assert_true(facts_language_exists(str_from(code)));
        if (strcmp(code, cases[i].code) != 0)
            fail_msg("'%s' is %s, not %s", cases[i].text, code, cases[i].code);
    }
}

static int64_t tokens(struct arena *a, const char *text)
{
    struct router_context c = context_of();
    struct facts f;
    facts_init(&f, NULL, request_of(a, "auto", text), &c);
    return facts_tokens(&f);
}

static void sizes(void **state)
{
    (void)state;
    struct arena *a = arena_create(16 * MIB);
    int64_t english =
        tokens(a, "The quick brown fox jumps over the lazy dog near the old river bank today"); /* 15 words */
    assert_in_range(english, 15, 40);
    assert_true(
        tokens(a, "日本語の文章を数えます") > tokens(a, "hello world")); /* a character is about a token */
    struct chat_request *r = request_of(a, "auto", "what is this?");
    struct router_context c = context_of();
    struct facts f;
    r->messages[0].n_parts = 2;
    r->messages[0].parts[1] = (struct chat_part){
        .kind = CHAT_PART_IMAGE, .url = STR("data:image/png;base64,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")};
    facts_init(&f, NULL, r, &c);
    assert_in_range(facts_tokens(&f), 800, 830); /* the picture's bytes are not text */
    assert_true(facts_images(&f));
    assert_false(facts_audio(&f));
    assert_false(facts_files(&f));
    r->messages[0].parts[1] = (struct chat_part){
        .kind = CHAT_PART_FILE, .url = STR("data:application/pdf;base64,JVBERi0="), .text = STR("a.pdf")};
    facts_init(&f, NULL, r, &c);
    assert_true(facts_files(&f));
    r->messages[0].parts[1] = (struct chat_part){
        .kind = CHAT_PART_OTHER, .raw = json_pack("{s:s,s:{s:s}}", "type", "file", "file", "file_id", "f-1")};
    facts_init(&f, NULL, r, &c);
    assert_true(facts_files(&f));
    assert_false(facts_images(&f));
    json_decref((json_t *)(uintptr_t)r->messages[0].parts[1].raw);
    r->messages[0].parts[1].raw = json_pack("{s:s,s:s}", "type", "container_upload", "file_id", "f-1");
    facts_init(&f, NULL, r, &c);
    assert_true(facts_files(&f));
    json_decref((json_t *)(uintptr_t)r->messages[0].parts[1].raw);
    arena_free(a);
}

static void a_picture_is_not_read_as_text(void **state)
{
    (void)state;
    struct arena *a = arena_create(16 * MIB);
    struct chat_request *r = request_of(a, "auto", "what is this?");
    struct router_context c = context_of();
    struct facts f;
    r->messages[0].n_parts = 2;
    r->messages[0].parts[1] = (struct chat_part){
        .kind = CHAT_PART_IMAGE, .url = STR("data:image/png;base64,AAAA/4539730525397182/AAAA")};
    facts_init(&f, NULL, r, &c);
    assert_false(facts_findings(&f)->sensitive);
    /* but what only says that it is one is */
    r->messages[0].parts[1].url = STR("data:image/png;base64,AAAA a.b@lipowa.pl");
    facts_init(&f, NULL, r, &c);
    assert_true(facts_findings(&f)->sensitive);
    r->messages[0].parts[1].url = STR("https://cdn.lipowa.pl/p.png?card=4539730525397182");
    facts_init(&f, NULL, r, &c);
    assert_true(facts_findings(&f)->sensitive);
    arena_free(a);
}

/* A picture's notes left where its URL was written so. */
static void a_data_url_is_one_however_it_is_written(void **state)
{
    (void)state;
    static const char note[] = "iVBORw0KGgoAAAAVdEVYdENvbW1lbnQAYS5iQGxpcG93YS5wbAAAAAA="; /* a.b@lipowa.pl */
    static const char *const heads[] = {"data:image/png;base64,", "DATA:image/png;base64,",
        " data:image/png;Base64,", "data:image/png;name=%0300d;base64,"};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        struct arena *a = arena_create(16 * MIB);
        struct chat_request *r = request_of(a, "auto", "what is this?");
        struct router_context c = context_of();
        struct facts f;
        struct str head =
            i < 3 ? str_from(heads[i]) : arena_printf(a, "data:image/png;name=%0300d;base64,", 0);
        r->messages[0].n_parts = 2;
        r->messages[0].parts[1] = (struct chat_part){
            .kind = CHAT_PART_IMAGE, .url = arena_printf(a, STR_FMT "%s", STR_ARG(head), note)};
        facts_init(&f, NULL, r, &c);
        if (!facts_findings(&f)->sensitive)
            fail_msg("the note was not found behind %s", heads[i]);
        arena_free(a);
    }
}

/* The data was looked at, and a picture's name among the kinds before it not. */
static void what_a_data_url_says_before_its_data_left(void **state)
{
    (void)state;
    static const char *const names[] = {"", ";name=hollis.bramwell%40northpine.net", ";charset=utf-8"};
    for (size_t i = 0; i < 3; i++) {
        struct arena *a = arena_create(16 * MIB);
        struct chat_request *r = request_of(a, "auto", "what is this?");
        struct router_context c = context_of();
        struct facts f;
        r->messages[0].n_parts = 2;
        r->messages[0].parts[1] = (struct chat_part){.kind = CHAT_PART_IMAGE,
            .url = arena_printf(a, "data:image/png%s;base64,iVBORw0KGgoA", names[i])};
        facts_init(&f, NULL, r, &c);
        assert_int_equal(facts_findings(&f)->sensitive, i == 1);
        arena_free(a);
    }
}

/* A message's end was looked at with the next one's beginning and a space between, and no further back. */
static void what_is_cut_over_messages_left(void **state)
{
    (void)state;
    static const struct {
        const char *pieces[16];
        bool found;
    } cases[] = {{{"pay with card 4539 5787 63", "62 1486 until friday"}, true},
        {{"pay with card 45395787", "63621486"}, true}, {{"45395", "78763", "621486"}, true},
        {{"hollis.bramwell@nor", "thpine.net"}, true},
        {{"my number starts 45395787", "-go on", "63621486"}, true},
        {{"hollis", ".bramw", "ell@nor", "thpi", "ne.net"}, true},
        {{"Last week I was diag", "nosed with HIV"}, true},
        {{"Multiply by 45395787.", "-done", "Then add 63621486."}, false},
        {{"How many are 17 and 4?", "-21", "And 12?", "-33"}, false},
        {{"4539", "-and?", "5787", "-and?", "6362", "-and?", "1486"}, true},
        /* Answers to one question each: a card's digits and its check digit by chance. */
        {{"45", "-next", "39", "-next", "57", "-next", "87", "-next", "63", "-next", "62", "-next", "14", "-",
             "86"},
            false},
        {{"45.39", "-next", "57.87", "-next", "63.62", "-next", "14.86"}, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena *a = arena_create(16 * MIB);
        struct chat_request *r = chat_request_create(a);
        struct chat_message messages[16] = {0};
        struct facts f;
        for (r->messages = messages; cases[i].pieces[r->n_messages]; r->n_messages++) {
            const char *piece = cases[i].pieces[r->n_messages];
            bool answer = *piece == '-';
            struct chat_part *part = arena_new(a, struct chat_part);
            *part = (struct chat_part){.kind = CHAT_PART_TEXT, .text = str_from(piece + answer)};
            messages[r->n_messages] = (struct chat_message){
                .role = answer ? CHAT_ASSISTANT : CHAT_USER, .parts = part, .n_parts = 1};
        }
        facts_init(&f, NULL, r, NULL);
        if (facts_findings(&f)->sensitive != cases[i].found)
            fail_msg("%s ...: found %d", cases[i].pieces[0], facts_findings(&f)->sensitive);
        arena_free(a);
    }
}

static void what_goes_on_below_a_picture_left(void **state)
{
    (void)state;
    struct arena *a = arena_create(16 * MIB);
    struct chat_request *r = request_of(a, "auto", "pay with card 4539 5787");
    struct chat_part parts[] = {{.kind = CHAT_PART_IMAGE, .url = STR("data:image/png;base64,iVBORw0KGgoA")},
        {.kind = CHAT_PART_TEXT, .text = STR("6362 1486 please")}};
    struct chat_message messages[] = {r->messages[0], {.role = CHAT_USER, .parts = parts, .n_parts = 2}};
    struct facts f;
    r->messages = messages;
    r->n_messages = 2;
    facts_init(&f, NULL, r, NULL);
    assert_true(facts_findings(&f)->sensitive);
    arena_free(a);
}

static void what_is_cut_over_many_inputs_left(void **state)
{
    (void)state;
    struct arena *a = arena_create(16 * MIB);
    struct chat_request *r = chat_request_create(a);
    struct chat_input inputs[4] = {
        {.text = STR("45395")}, {.text = STR("78763")}, {.text = STR("6214")}, {.text = STR("86")}};
    struct facts f;
    r->kind = CHAT_KIND_EMBED;
    r->inputs = inputs;
    r->n_inputs = 4;
    facts_init(&f, NULL, r, NULL);
    assert_true(facts_findings(&f)->sensitive);
    arena_free(a);
}

/* Documents are cut into pieces anywhere, also where a script has no spaces. */
static void what_is_cut_over_two_inputs_is_found(void **state)
{
    (void)state;
    static const char *const pieces[][2] = {{"pay with card 4539 5787 63", "62 1486 until friday"},
        {"pay with card 4539 5787", "6362 1486 until friday"},
        {"\xE5\x8D\xA1\xE5\x8F\xB7\xE6\x98\xAF"
         "4539 5787 63",
            "62 1486\xE3\x80\x82\xE8\xB0\xA2\xE8\xB0\xA2"},
        {"write to hollis.bramwell@nor", "thpine.net, please"}};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++)
        for (size_t padding = 0; padding < 2; padding++) {
            struct arena *a = arena_create(16 * MIB);
            struct chat_request *r = chat_request_create(a);
            struct chat_input inputs[2] = {
                {.text = str_from(pieces[i][0])}, {.text = str_from(pieces[i][1])}};
            struct facts f;
            for (size_t k = 0; k < 40 && padding; k++) {
                inputs[0].text = arena_printf(a, "\xE6\x98\xAF and " STR_FMT, STR_ARG(inputs[0].text));
                inputs[1].text = arena_printf(a, STR_FMT " and \xE6\x98\xAF", STR_ARG(inputs[1].text));
            }
            r->kind = CHAT_KIND_EMBED;
            r->inputs = inputs;
            r->n_inputs = 2;
            facts_init(&f, NULL, r, NULL);
            if (!facts_findings(&f)->sensitive)
                fail_msg("not found: %s | %s", pieces[i][0], pieces[i][1]);
            assert_true(str_is(facts_findings(&f)->entities[0].where, "input[1]"));
            arena_free(a);
        }
}

/* Each byte's thousandths of a token, one by one: what is counted sixteen at a time comes to the same. */
static int64_t size_slowly(const unsigned char *text, size_t n)
{
    int64_t size = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = text[i], small = (unsigned char)(c | 0x20);
        bool letter = c < 0x80 && ((small >= 'a' && small <= 'z') || c == ' ');
        size += letter                 ? 230
                : c >= '0' && c <= '9' ? 400
                : c < 0x80             ? 500
                : c < 0xC0             ? 0
                : c < 0xE0             ? 500
                : c < 0xF0             ? 800
                                       : 1500;
    }
    return size;
}

static void sizes_do_not_depend_on_where_sixteen_bytes_begin(void **state)
{
    (void)state;
    enum { MOST = 5000 };
    static unsigned char text[MOST];
    uint32_t chance = 7;
    for (size_t i = 0; i < MOST; i++) {
        chance = chance * 1664525 + 1013904223;
        text[i] = i < 256 ? (unsigned char)i : i < 4000 ? (unsigned char)(chance >> 24) : 0xF0;
    }
    for (size_t from = 0; from < 16; from++)
        for (size_t n = 0; from + n <= MOST; n += n < 70 ? 1 : 977)
            assert_int_equal(
                router_text_millitokens((struct str){(char *)text + from, n}), size_slowly(text + from, n));
}

static struct str addresses(struct arena *a, int from, int n)
{
    struct buf text;
    buf_init(&text, MIB);
    for (int i = from; i < from + n; i++)
        buf_appendf(&text, "%d.%d.%d.%d ", i % 223 + 1, i % 250, i / 250 % 250, i * 7 % 250 + 1);
    struct str kept = arena_copy(a, buf_str(&text));
    buf_free(&text);
    return kept;
}

/* Computing time of a chat whose messages have two parts each, full of findings; `before`: so many findings
 * of another type come first. */
static int64_t judging_ns(int before)
{
    enum { MESSAGES = 60, EACH = 100 };
    struct arena *a = arena_create(64 * MIB);
    struct chat_request *r = request_of(a, "auto", "");
    struct chat_message *messages = arena_alloc(a, (MESSAGES + 1) * sizeof *messages);
    struct buf mails;
    struct facts f;
    buf_init(&mails, MIB);
    for (int i = 0; i < before; i++)
        buf_appendf(&mails, "jane.doe%d@gmail.com ", i);
    messages[0] = r->messages[0];
    messages[0].parts[0].text = arena_copy(a, buf_str(&mails));
    for (int i = 0; i < MESSAGES; i++) {
        struct chat_part *parts = arena_alloc(a, 2 * sizeof *parts);
        for (int k = 0; k < 2; k++)
            parts[k] =
                (struct chat_part){.kind = CHAT_PART_TEXT, .text = addresses(a, (2 * i + k) * EACH, EACH)};
        messages[i + 1] = (struct chat_message){.role = CHAT_USER, .parts = parts, .n_parts = 2};
    }
    r->messages = messages;
    r->n_messages = MESSAGES + 1;
    facts_init(&f, NULL, r, NULL);
    int64_t ns = clock_cpu_ns();
    size_t found = facts_findings(&f)->n_entities + facts_findings(&f)->more;
    ns = clock_cpu_ns() - ns;
    assert_true(found >= MESSAGES * EACH);
    buf_free(&mails);
    arena_free(a);
    return ns;
}

/* Each was looked for among all before it: a request of 1.3 MB held a loop for 3 s. */
static void many_findings_took_the_square_of_their_number(void **state)
{
    (void)state;
    int64_t few = judging_ns(10), many = judging_ns(5000);
    if (many > 3 * few)
        fail_msg("%lld ms after many findings, %lld after few", (long long)(many / 1000000),
            (long long)(few / 1000000));
}

/* The score of a question that came before is remembered: asked alone, in a chat that went on, and where
 * other texts were looked at after it, it is what reading the question gives. */
static void a_question_that_came_before_has_the_same_score(void **state)
{
    (void)state;
    static const char *const questions[] = {"Prove that there are infinitely many primes.", "Say hello.", ""};
    for (int round = 0; round < 6; round++) {
        const char *text = questions[round % 3];
        struct arena *a = arena_create(MIB);
        struct chat_request *r = request_of(a, "auto", text);
        struct router_context c = context_of();
        struct facts f;
        struct chat_message later[] = {r->messages[0],
            {.role = CHAT_ASSISTANT,
                .n_parts = 1,
                .parts =
                    &(struct chat_part){.kind = CHAT_PART_TEXT, .text = STR("Let me see. Why, x > 2?")}}};
        if (round >= 3) {
            r->messages = later;
            r->n_messages = 2;
        }
        facts_init(&f, NULL, r, &c);
        assert_false(facts_findings(&f)->sensitive);
        assert_true(facts_complexity(&f) == router_score(str_from(text)));
        arena_free(a);
    }
}

/* An answer without text has no bytes at all, and the one behind them was asked for (UBSan). */
static void a_text_that_is_none_has_no_size(void **state)
{
    (void)state;
    assert_int_equal(router_text_millitokens(STR_NONE), router_text_millitokens(STR("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_rise_with_difficulty),
        cmocka_unit_test(tasks),
        cmocka_unit_test(languages),
        cmocka_unit_test(sizes),
        cmocka_unit_test(sizes_do_not_depend_on_where_sixteen_bytes_begin),
        cmocka_unit_test(a_text_that_is_none_has_no_size),
        cmocka_unit_test(what_is_cut_over_two_inputs_is_found),
        cmocka_unit_test(what_goes_on_below_a_picture_left),
        cmocka_unit_test(what_is_cut_over_many_inputs_left),
        cmocka_unit_test(what_is_cut_over_messages_left),
        cmocka_unit_test(what_a_data_url_says_before_its_data_left),
        cmocka_unit_test(a_picture_is_not_read_as_text),
        cmocka_unit_test(a_data_url_is_one_however_it_is_written),
        cmocka_unit_test(a_question_that_came_before_has_the_same_score),
        cmocka_unit_test(many_findings_took_the_square_of_their_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
