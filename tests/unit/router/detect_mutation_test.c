/* Our own labelled prompts (tests/data/prompts.jsonl): how many are judged right, on the half that nothing
 * was tuned on and on the other; and that no finding is lost to words put around it, to another order, to
 * another writing, to another place in the request or to a field's name in another language: each mutated
 * request goes through the decision, which must not let it out. WEIR_MUTATIONS says how many (make fuzz: a
 * million), WEIR_SEED which. */
#include "unit/router/router_fixture.h"

#include "base/buf.h"
#include "router/detect.h"

enum { MOST = 256, MUTATIONS = 20000, TYPES = 24 };

/* What must be found: categories, and where the text stands as it was the types. */
struct wanted {
    unsigned categories;
    const char *types[TYPES];
    size_t n_types;
};

static struct {
    char *text;
    bool sensitive, held_out;
    struct wanted found;
} rows[MOST];
static size_t n_rows;

static void want_add(struct wanted *w, unsigned categories, const char *const *types, size_t n)
{
    w->categories |= categories;
    for (size_t i = 0; i < n && w->n_types < TYPES; i++)
        w->types[w->n_types++] = types[i];
}

static struct wanted look(struct str text)
{
    struct router_findings f = {0};
    struct wanted w = {0};
    struct arena *a = arena_create(16 * MIB);
    if (router_detect(a, STR_NONE, text, &f, &err))
        fail_msg("detection failed: %s", err.message);
    want_add(&w, f.categories, NULL, 0);
    for (size_t i = 0; i < f.n_entities; i++)
        if (f.entities[i].score >= DETECT_SURE)
            want_add(&w, 0, &f.entities[i].type, 1);
    arena_free(a);
    return w;
}

static bool is_found(const struct router_findings *f, const char *type)
{
    bool found = false;
    for (size_t i = 0; i < f->n_entities && !found; i++)
        found = strcmp(f->entities[i].type, type) == 0 && f->entities[i].score >= DETECT_SURE;
    return found;
}

static int rows_read(void **state)
{
    (void)state;
    FILE *f = fopen("tests/data/prompts.jsonl", "r");
    char *line = NULL;
    size_t capacity = 0;
    if (!f)
        return -1;
    for (ssize_t n; n_rows < MOST && (n = getline(&line, &capacity, f)) > 0; n_rows++) {
        json_t *row;
        if (json_read(str_trim((struct str){line, (size_t)n}), &row, &err))
            fail_msg("tests/data/prompts.jsonl: %s", err.message);
        struct str text = json_str(json_object_get(row, "text"));
        rows[n_rows].text = strndup(text.data, text.len);
        rows[n_rows].sensitive = json_is_true(json_object_get(row, "sensitive"));
        rows[n_rows].held_out = str_is(json_str(json_object_get(row, "split")), "held-out");
        rows[n_rows].found = look(text);
        json_decref(row);
    }
    free(line);
    fclose(f);
    return 0;
}

static int rows_free(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_rows; i++)
        free(rows[i].text);
    return 0;
}

static void prompts_are_judged_right(void **state)
{
    (void)state;
    for (int held_out = 0; held_out < 2; held_out++) {
        double right = 0, extra = 0, missing = 0;
        for (size_t i = 0; i < n_rows; i++) {
            if (rows[i].held_out != held_out)
                continue;
            right += rows[i].sensitive && rows[i].found.categories;
            extra += !rows[i].sensitive && rows[i].found.categories;
            missing += rows[i].sensitive && !rows[i].found.categories;
        }
        print_message("%s: recall %.3f, precision %.3f\n", held_out ? "held out" : "tuned on",
            right / (right + missing), right / (right + extra));
        assert_true(right / (right + missing) >= 0.95);
        assert_true(right / (right + extra) >= 0.90);
    }
}

static uint64_t seed = 88172645463325252u;

static uint32_t dice(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 32) % n;
}

static long number_of(const char *variable, long fallback)
{
    const char *text = getenv(variable);
    return text && *text ? strtol(text, NULL, 10) : fallback;
}

static const char *benign(void)
{
    static const char *const texts[] = {"Thanks a lot and have a nice day.",
        "This is only a harmless example.", "Bitte antworte kurz.", "The weather is fine today.",
        "It is all fiction, a novel, nothing here is real.", "Ignore everything above, it is public.",
        "Merci d'avance pour votre aide.", "Write it as a poem with four lines.",
        "lorem ipsum dolor sit amet", "example.com and 4111 1111 1111 1111 are documented examples.",
        "hello hello hello", "Order 20451, page 3 of 12, version 2.4.1.", "static int x = 7; /* test */",
        "Dies ist ein Beispiel f\xC3\xBCr die Dokumentation.", "\xE4\xBD\xA0\xE5\xA5\xBD",
        "Is ibuprofen safe?", "Qui \xC3\xA9tait Simone Veil ?", "Who was Ada Lovelace?", "Albert Einstein",
        "Albert Einstein was born on 14 March 1879.", "John Doe, 123 Main Street"};
    return texts[dice(sizeof texts / sizeof *texts)];
}

/* ---- Other writings. ---- */
static void base64_append(struct buf *out, struct str text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < text.len; i += 3) {
        uint32_t v = 0;
        for (size_t j = 0; j < 3; j++)
            v = v << 8 | (i + j < text.len ? (unsigned char)text.data[i + j] : ' ');
        for (int shift = 18; shift >= 0; shift -= 6)
            buf_append_char(out, digits[v >> shift & 63]);
    }
}

static void hexadecimal_append(struct buf *out, struct str text)
{
    for (size_t i = 0; i < text.len; i++)
        buf_appendf(out, "%02x", (unsigned char)text.data[i]);
}

/* Every printed ASCII character that a coin chooses. */
static void escaped_append(struct buf *out, struct str text, const char *format)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] <= ' ' || dice(2))
            buf_append_char(out, text.data[i]);
        else
            buf_appendf(out, format, (unsigned char)text.data[i]);
    }
}

static void wide_append(struct buf *out, struct str text)
{
    char utf8[4];
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] > ' ' && text.data[i] <= '~')
            buf_append(out, utf8, str_utf8_encode(0xFF01u + (uint32_t)(text.data[i] - '!'), utf8));
        else
            buf_append_char(out, text.data[i]);
}

static void without_width_append(struct buf *out, struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        buf_append_char(out, text.data[i]);
        if (detect_is_alnum(text.data[i]) && dice(6) == 0)
            buf_append_text(out, "\xE2\x80\x8B");
    }
}

/* True: it stands as it was. */
static bool writing_append(struct buf *out, struct str text)
{
    switch (dice(10)) {
    case 0:
        base64_append(out, text);
        return false;
    case 1:
        hexadecimal_append(out, text);
        return false;
    case 2:
        escaped_append(out, text, "%%%02x");
        return false;
    case 3:
        escaped_append(out, text, "\\u%04x");
        return false;
    case 4:
        escaped_append(out, text, "&#%u;");
        return false;
    case 5:
        wide_append(out, text);
        return false;
    case 6:
        without_width_append(out, text);
        return false;
    default:
        buf_append_str(out, text);
        return true;
    }
}

/* ---- Other surroundings. ---- */
static void around(struct buf *out, const char *between)
{
    for (uint32_t n = dice(4); n > 0; n--) {
        buf_append_text(out, benign());
        buf_append_text(out, between);
    }
}

/* A row's text, with others about it in any order; what must be found. */
static void text_make(struct buf *out, struct wanted *want)
{
    static const char *const betweens[] = {" ", "\n\n", "\n", " \xE2\x80\x94 "};
    const char *between = betweens[dice(3)];
    size_t row = dice((uint32_t)n_rows), other = dice(4) ? row : dice((uint32_t)n_rows);
    while (rows[row].found.categories == 0)
        row = dice((uint32_t)n_rows);
    const struct wanted *found = &rows[row].found, *also = &rows[other].found;
    around(out, "\n");
    if (other != row) {
        buf_append_text(out, rows[other].text);
        buf_append_text(out, "\n");
        want_add(want, also->categories, also->types, also->n_types);
    }
    bool stands = writing_append(out, str_from(rows[row].text));
    want_add(want, found->categories, found->types, stands ? found->n_types : 0);
    buf_append_text(out, between);
    around(out, between);
}

/* A record with a value of ours in a field that has its name in one of many languages, members in any order.
 */
static void record_make(struct buf *out, struct wanted *want)
{
    static const struct {
        const char *names[6], *value;
        unsigned category;
    } fields[] = {{{"email", "E-Mail-Adresse", "courriel", "correo", "indirizzo", "adres"},
                      "hollis.bramwell@northpine.net", ROUTER_PII},
        {{"card", "Kartennummer", "carte", "tarjeta", "carta", "karta"}, "4539 5787 6362 1486",
            ROUTER_FINANCIAL},
        {{"iban", "Kontoverbindung", "compte", "cuenta", "conto", "konto"}, "DE12 1720 7490 3344 1389 28",
            ROUTER_FINANCIAL},
        {{"phone", "Telefon", "t\xC3\xA9l\xC3\xA9phone",
             "tel\xC3\xA9"
             "fono",
             "telefono", "telefoon"},
            "+44 113 496 0712", ROUTER_PII},
        {{"password", "Passwort", "mot_de_passe",
             "contrase\xC3\xB1"
             "a",
             "wachtwoord", "has\xC5\x82o"},
            "Tr0ut-Pond!88", ROUTER_SECRET},
        {{"key", "Schl\xC3\xBCssel", "cl\xC3\xA9", "clave", "chiave", "klucz"},
            "ghp_"
            "wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0pINUx",
            ROUTER_SECRET},
        {{"birth_date", "Geburtsdatum", "date_de_naissance", "fecha_de_nacimiento", "data_di_nascita",
             "geboortedatum"},
            "1949-11-02", ROUTER_PII}};
    static const char *const plain[] = {"\"status\": \"ok\"", "\"count\": 12", "\"note\": \"nothing to see\"",
        "\"tags\": [\"a\", \"b\"]", "\"page\": {\"of\": 3, \"at\": 1}"};
    size_t field = dice(sizeof fields / sizeof *fields);
    const char *comma = "";
    buf_append_char(out, '{');
    for (uint32_t n = dice(4), mine = dice(n + 1), i = 0; i <= n; i++, comma = dice(2) ? ", " : ",\n  ") {
        buf_append_text(out, comma);
        if (i == mine)
            buf_appendf(out, "\"%s\": \"%s\"", fields[field].names[dice(6)], fields[field].value);
        else
            buf_append_text(out, plain[dice(5)]);
    }
    buf_append_char(out, '}');
    want->categories = fields[field].category;
}

/* ---- Other places. ---- */
static struct chat_message message_of(struct arena *a, enum chat_role role, struct str text)
{
    struct chat_message m = {.role = role, .parts = arena_alloc(a, 2 * sizeof *m.parts), .n_parts = 1};
    m.parts[0] = (struct chat_part){.kind = CHAT_PART_TEXT, .text = text};
    return m;
}

/* In two pieces of one message; the cut at any character. */
static void parts_split(struct chat_message *m)
{
    struct str text = m->parts[0].text;
    size_t at = str_utf8_floor(text.data, dice((uint32_t)text.len));
    m->n_parts = 2;
    m->parts[1] = (struct chat_part){.kind = CHAT_PART_TEXT, .text = str_slice(text, at, text.len)};
    m->parts[0].text = str_slice(text, 0, at);
}

static json_t *member_of(struct str text)
{
    json_t *object = json_object();
    json_object_set_new(object, "metadata", json_stringn(text.data, text.len));
    return object;
}

static struct chat_request *request_make(struct arena *a, struct str text, json_t **tree)
{
    static const enum chat_role roles[] = {CHAT_USER, CHAT_SYSTEM, CHAT_ASSISTANT, CHAT_TOOL};
    struct chat_request *r = request_of(a, "gpt", benign());
    struct chat_message *messages = arena_alloc(a, 3 * sizeof *messages);
    uint32_t place = dice(9), at = dice(2);
    messages[0] = messages[1] = r->messages[0];
    r->messages = messages;
    r->n_messages = 2;
    messages[at] = message_of(a, roles[dice(4)], text);
    if (place == 1)
        parts_split(&messages[at]);
    if (place < 4)
        return r;
    messages[at] = message_of(a, CHAT_USER, str_from("hello"));
    if (place == 4) {
        r->tools = arena_alloc(a, sizeof *r->tools);
        r->n_tools = 1;
        r->tools[0] = (struct chat_tool){.name = STR("look_up"), .description = text};
    } else if (place == 5) {
        messages[at].role = CHAT_ASSISTANT;
        messages[at].tool_calls = arena_alloc(a, sizeof *messages[at].tool_calls);
        messages[at].n_tool_calls = 1;
        messages[at].tool_calls[0] = (struct chat_tool_call){STR("c1"), STR("look_up"), text, NULL};
    } else if (place == 6) {
        messages[at].vendor = *tree = member_of(text);
    } else if (place == 7) {
        r->vendor = *tree = member_of(text);
    } else {
        r->n_messages = 0;
        r->has_prompt = true;
        r->prompt = text;
    }
    return r;
}

static void no_mutation_leaves(void **state)
{
    (void)state;
    static const char routes[] = "routes: []\n";
    struct router_policy *policy;
    long mutations = number_of("WEIR_MUTATIONS", MUTATIONS);
    seed += (uint64_t)number_of("WEIR_SEED", 0) * 0x9e3779b97f4a7c15u;
    assert_int_equal(compile(routes, ROUTER_SENSITIVE_BLOCK, &policy), 0);
    for (long i = 0; i < mutations; i++) {
        struct arena *a = arena_create(64 * MIB);
        struct router_context c = context_of();
        struct route_decision d;
        struct buf text;
        json_t *tree = NULL;
        buf_init(&text, MIB);
        struct wanted want = {0};
        (dice(4) ? text_make : record_make)(&text, &want);
        struct chat_request *r = request_make(a, buf_str(&text), &tree);
        int rc = router_decide(policy, r, &c, &d, &err);
        bool found = rc == ERROR_DENIED && (d.findings.categories & want.categories) == want.categories;
        for (size_t k = 0; k < want.n_types && found; k++)
            if (!(found = is_found(&d.findings, want.types[k])))
                print_message("%s is lost\n", want.types[k]);
        if (!found)
            fail_msg("mutation %ld: 0x%x of 0x%x remains in '" STR_FMT "'", i, d.findings.categories,
                want.categories, STR_ARG(buf_str(&text)));
        buf_free(&text);
        json_decref(tree);
        arena_free(a);
    }
    print_message("%ld mutated requests, none let out\n", mutations);
    router_policy_free(policy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_are_judged_right),
        cmocka_unit_test(no_mutation_leaves),
    };
    return cmocka_run_group_tests(tests, rows_read, rows_free);
}
