/* The configuration's `owner`, compiled. */
#include "router/detect_own.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"

enum {
    ENTRIES = 256,    /* of `find`, and of `allow` */
    WORDS = 16384,    /* in all */
    VALUES = 4096,    /* of one entry */
    WORD_BYTES = 200, /* folded; DETECT_FOLD_BEHIND holds it with its spaces */
    PATTERN_BYTES = 1024,
    TYPE_BYTES = 60,
    MATCH_LIMIT = 100000
};

struct compile {
    struct detect_own *own;
    struct arena *arena;
    const struct detect_own_files *files;
    size_t room_words;
    struct error *err;
};

/* ---- One entry's members. ---- */
static bool type_name_is_right(struct str name)
{
    bool right = name.len > 0 && name.len <= TYPE_BYTES && detect_is_upper(name.data[0]);
    for (size_t i = 0; i < name.len; i++)
        right =
            right && (detect_is_upper(name.data[i]) || detect_is_digit(name.data[i]) || name.data[i] == '_');
    return right;
}

/* type, category, boundary. */
static int type_read(struct compile *c, const struct yaml_node *entry, const char *fallback,
    enum own_kind kind, bool stays, const struct detect_type **out)
{
    struct str name, category, boundary;
    int rc = yaml_get_str(entry, "type", str_from(fallback), &name, c->err);
    if (rc == 0)
        rc = yaml_get_str(entry, "category", STR("PROPRIETARY"), &category, c->err);
    if (rc == 0)
        rc = yaml_get_str(entry, "boundary", str_from(stays ? "local" : "rules"), &boundary, c->err);
    if (rc)
        return rc;
    if (!type_name_is_right(name))
        return yaml_error(entry, c->err, ERROR_INVALID,
            "'type' is a name in capitals like PROJECT_NAME, at most %d letters, not '" STR_FMT "'",
            TYPE_BYTES, STR_ARG(name));
    const struct detect_type *known = detect_type_find(name);
    if (known && detect_own_kind(known) == OWN_NONE)
        return yaml_error(entry, c->err, ERROR_INVALID,
            STR_FMT " is a type that Weir finds itself: give yours another name", STR_ARG(name));
    if (router_category_from(category) == 0)
        return yaml_error(entry, c->err, ERROR_INVALID,
            "'category' is PII, PHI, FINANCIAL, SECRET, LEGAL, PROPRIETARY or PERSONAL, not '" STR_FMT "'",
            STR_ARG(category));
    if (!str_is(boundary, "local") && !str_is(boundary, "rules"))
        return yaml_error(entry, c->err, ERROR_INVALID,
            "'boundary' is local (it never leaves) or rules (they decide), not '" STR_FMT "'",
            STR_ARG(boundary));
    c->own->stays = c->own->stays || str_is(boundary, "local");
    const struct own_type like = {.type = {.category = (enum router_category)router_category_from(category)},
        .kind = kind,
        .stays = str_is(boundary, "local")};
    rc = own_type_make(&like, name, out, c->err);
    known = detect_own_type_find(c->own, name);
    if (rc == 0 && known && known != *out)
        return yaml_error(entry, c->err, ERROR_INVALID,
            STR_FMT
            " is in an entry above of another kind, category or boundary: give this one a 'type' of its own",
            STR_ARG(name));
    if (rc == 0 && !known)
        c->own->types[c->own->n_types++] = *out;
    return rc;
}

/* A list of plain values, or one. */
static int values_read(struct compile *c, const struct yaml_node *list, struct str **out, size_t *n)
{
    size_t count = list->kind == YAML_LIST ? list->count : 1;
    const struct yaml_node *v = list->kind == YAML_LIST ? list->first : list;
    if (count == 0 || count > VALUES)
        return yaml_error(
            list, c->err, ERROR_INVALID, "'" STR_FMT "' wants 1 to %d values", STR_ARG(list->key), VALUES);
    *out = arena_alloc(c->arena, count * sizeof **out);
    *n = 0;
    for (; v; v = list->kind == YAML_LIST ? v->next : NULL) {
        if (v->kind != YAML_SCALAR || v->value.len == 0)
            return yaml_error(
                v, c->err, ERROR_INVALID, "'" STR_FMT "' wants a list of plain values", STR_ARG(list->key));
        (*out)[(*n)++] = arena_copy(c->arena, v->value);
    }
    return 0;
}

static int file_read(struct compile *c, const struct yaml_node *n, size_t most, struct buf *out)
{
    struct error why;
    int rc = ERROR_UNSUPPORTED;
    buf_init(out, most);
    if (n->kind != YAML_SCALAR || n->value.len == 0)
        return yaml_error(
            n, c->err, ERROR_INVALID, "'" STR_FMT "' wants the name of a file", STR_ARG(n->key));
    if (!c->files || !c->files->read)
        return yaml_error(n, c->err, rc, "no files can be read here");
    rc = c->files->read(c->files->ctx, n->value, most, out, &why);
    return rc ? yaml_error(n, c->err, rc, "'" STR_FMT "': %s", STR_ARG(n->key), why.message) : 0;
}

/* ---- Words and labels. ---- */
static void begin_note(struct detect_own *own, struct str word)
{
    size_t n = 0;
    while (n < OWN_BEGIN_LETTERS && n < word.len && word.data[n] != ' ')
        n++;
    size_t begin = own_begin(word.data, n);
    own->begins[begin / 64] |= (uint64_t)1 << begin % 64;
}

static int word_put(struct compile *c, const struct yaml_node *at, struct str word,
    const struct detect_type *type, bool label)
{
    static const char hint[] = "a word or phrase, at most %d letters (a * at its end: words that begin so)";
    struct detect_own *own = c->own;
    struct detect_fold f;
    bool begins = str_ends(word, STR("*"));
    if (word.len > 4 * WORD_BYTES || !str_utf8_valid(word))
        return yaml_error(at, c->err, ERROR_INVALID, hint, WORD_BYTES);
    detect_fold_begin(&f, begins ? str_slice(word, 0, word.len - 1) : word);
    bool any = detect_fold_read(&f);
    struct str folded = {f.bytes, f.n};
    if (any && folded.len > 0 && folded.data[folded.len - 1] == ' ')
        folded.len--;
    if (folded.len < 2 || folded.len > WORD_BYTES)
        return yaml_error(at, c->err, ERROR_INVALID, hint, WORD_BYTES);
    if (begins && folded.len < 4)
        return yaml_error(at, c->err, ERROR_INVALID, "a word with * has at least three letters before it");
    if (own->n_words == c->room_words) {
        size_t room = c->room_words ? c->room_words * 2 : 64;
        struct own_word *words = room <= WORDS ? arena_try_array(c->arena, struct own_word, room) : NULL;
        if (!words)
            return yaml_error(at, c->err, ERROR_LIMIT, "the owner has more than %d words", WORDS);
        if (own->n_words)
            memcpy(words, own->words, own->n_words * sizeof *words);
        own->words = words;
        c->room_words = room;
    }
    begin_note(own, str_slice(folded, 1, folded.len));
    own->words[own->n_words++] = (struct own_word){
        arena_printf(c->arena, STR_FMT "%s", STR_ARG(folded), begins ? "" : " "), type, label};
    return 0;
}

/* What is written for an umlaut where there are none; NULL: it is none. */
static const char *umlaut_spelled(struct str letter)
{
    static const char *const umlauts[][2] = {
        {"ä", "ae"}, {"ö", "oe"}, {"ü", "ue"}, {"Ä", "Ae"}, {"Ö", "Oe"}, {"Ü", "Ue"}};
    for (size_t i = 0; i < sizeof umlauts / sizeof *umlauts; i++)
        if (str_starts(letter, str_from(umlauts[i][0])))
            return umlauts[i][1];
    return NULL;
}

/* "Müller" -> "Mueller"; false: it has no umlaut. */
static bool without_umlauts(struct str word, struct buf *out)
{
    bool any = false;
    for (size_t i = 0; i < word.len; i++) {
        const char *spelled = umlaut_spelled(str_slice(word, i, word.len));
        if (spelled)
            buf_append_text(out, spelled);
        else
            buf_append_char(out, word.data[i]);
        i += spelled != NULL; /* of two bytes */
        any = any || spelled;
    }
    return any;
}

static int word_add(struct compile *c, const struct yaml_node *at, struct str word,
    const struct detect_type *type, bool label)
{
    struct buf other;
    buf_init(&other, 8 * WORD_BYTES);
    int rc = word_put(c, at, word, type, label);
    if (rc == 0 && without_umlauts(word, &other))
        rc = word_put(c, at, buf_str(&other), type, label);
    buf_free(&other);
    return rc;
}

static int words_read(struct compile *c, const struct yaml_node *entry, const struct yaml_node *list)
{
    const struct detect_type *type;
    struct str *values;
    size_t n = 0;
    bool label = str_is(list->key, "labels");
    int rc =
        type_read(c, entry, label ? "OWN_LABEL" : "OWN_WORD", label ? OWN_WHOLE : OWN_WORD, false, &type);
    if (rc == 0)
        rc = values_read(c, list, &values, &n);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = word_add(c, list, values[i], type, label);
    return rc;
}

/* A word or phrase a line; '#' begins a comment. */
static int words_file_read(struct compile *c, const struct yaml_node *entry, const struct yaml_node *file)
{
    const struct detect_type *type;
    struct buf text;
    int rc = type_read(c, entry, "OWN_WORD", OWN_WORD, false, &type);
    if (rc)
        return rc;
    rc = file_read(c, file, 4 * MIB, &text);
    size_t before = c->own->n_words;
    for (struct str rest = buf_str(&text), line; rc == 0 && str_split(&rest, '\n', &line);) {
        line = str_trim(line);
        if (line.len > 0 && line.data[0] != '#')
            rc = word_add(c, file, line, type, false);
    }
    if (rc == 0 && c->own->n_words == before)
        rc = yaml_error(file, c->err, ERROR_INVALID, "'words_file' has no words");
    buf_free(&text);
    return rc;
}

static int word_order(const void *a, const void *b)
{
    const struct own_word *x = a, *y = b;
    size_t n = x->folded.len < y->folded.len ? x->folded.len : y->folded.len;
    int order = memcmp(x->folded.data, y->folded.data, n);
    return order ? order : x->folded.len < y->folded.len ? -1 : x->folded.len > y->folded.len;
}

static int words_finish(struct compile *c, const struct yaml_node *owner)
{
    struct detect_own *own = c->own;
    if (own->n_words == 0)
        return 0;
    qsort(own->words, own->n_words, sizeof *own->words, word_order);
    own->first = arena_alloc(c->arena, (own->n_words + 1) * sizeof *own->first);
    struct str *different = malloc(own->n_words * sizeof *different);
    if (!different)
        return error_set(c->err, ERROR_MEMORY, "no memory for the owner's words");
    for (size_t i = 0; i < own->n_words; i++)
        if (i == 0 || !str_eq(own->words[i].folded, own->words[i - 1].folded)) {
            own->first[own->n_different] = (uint16_t)i;
            different[own->n_different++] = own->words[i].folded;
        }
    own->first[own->n_different] = (uint16_t)own->n_words;
    int rc = detect_words_build(&own->automaton, different, own->n_different, c->err);
    free(different);
    return rc == ERROR_INTERNAL
               ? yaml_error(owner, c->err, ERROR_LIMIT,
                     "the owner's words are more than 64 KiB together: use a pattern for some")
               : rc;
}

/* ---- Patterns. ---- */
static int pattern_compile(struct compile *c, const struct yaml_node *n, uint32_t options, void **out)
{
    int code, rc;
    size_t offset;
    unsigned char why[120];
    if (n->kind != YAML_SCALAR || n->value.len == 0 || n->value.len > PATTERN_BYTES)
        return yaml_error(n, c->err, ERROR_INVALID, "'pattern' wants a regular expression, at most %d bytes",
            PATTERN_BYTES);
    pcre2_code *compiled = pcre2_compile((PCRE2_SPTR)n->value.data, n->value.len,
        PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C | options, &code, &offset, NULL);
    if (!compiled) {
        pcre2_get_error_message(code, why, sizeof why);
        return yaml_error(n, c->err, ERROR_INVALID, "the pattern is wrong at its character %zu: %s",
            offset + 1, (const char *)why);
    }
    *out = compiled;
    (void)pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE); /* else it is interpreted: the same answers */
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    if (!match)
        return error_set(c->err, ERROR_MEMORY, "no memory for the owner's patterns");
    rc = pcre2_match(compiled, (PCRE2_SPTR) "", 0, 0, 0, match, c->own->limits);
    pcre2_match_data_free(match);
    return rc >= 0 ? yaml_error(n, c->err, ERROR_INVALID,
                         "the pattern matches nothing at all too: every text would have it")
                   : 0;
}

static int pattern_read(struct compile *c, const struct yaml_node *entry, const struct yaml_node *n)
{
    struct own_pattern *p = &c->own->patterns[c->own->n_patterns];
    int rc = type_read(c, entry, "OWN_PATTERN", OWN_PATTERN, false, &p->type);
    c->own->n_patterns += rc == 0;
    return rc ? rc : pattern_compile(c, n, 0, &p->code);
}

/* ---- Documents. ---- */
static int documents_read(struct compile *c, const struct yaml_node *entry, const struct yaml_node *n)
{
    struct own_print *p = &c->own->prints[c->own->n_prints];
    struct buf file;
    struct error why;
    int rc = type_read(c, entry, "OWN_DOCUMENT", OWN_WHOLE, true, &p->type);
    if (rc)
        return rc;
    rc = file_read(c, n, PRINT_FILE_MOST, &file);
    if (rc == 0) {
        rc = detect_print_read(buf_str(&file), &p->print, &why);
        if (rc)
            rc = yaml_error(n, c->err, rc, "'documents': " STR_FMT " %s", STR_ARG(n->value), why.message);
    }
    c->own->n_prints += rc == 0;
    buf_free(&file);
    return rc;
}

/* ---- What stands beside a request. ---- */
static int mark_read(struct compile *c, const struct yaml_node *entry, const struct yaml_node *n)
{
    static const char *const types[] = {
        [OWN_HEADER] = "OWN_HEADER", [OWN_KEY] = "OWN_KEY", [OWN_TEAM] = "OWN_TEAM"};
    struct own_mark *m = &c->own->marks[c->own->n_marks];
    m->beside = str_is(n->key, "header") ? OWN_HEADER : str_is(n->key, "keys") ? OWN_KEY : OWN_TEAM;
    int rc = type_read(c, entry, types[m->beside], OWN_WHOLE, false, &m->type);
    const struct yaml_node *values = m->beside == OWN_HEADER ? yaml_get(entry, "values") : n;
    if (rc == 0 && m->beside == OWN_HEADER && (n->kind != YAML_SCALAR || n->value.len == 0))
        rc = yaml_error(n, c->err, ERROR_INVALID, "'header' wants a header's name");
    if (rc == 0 && m->beside == OWN_HEADER)
        m->name = arena_copy(c->arena, n->value);
    if (rc == 0 && values)
        rc = values_read(c, values, &m->values, &m->n_values);
    c->own->n_marks += rc == 0;
    return rc;
}

/* ---- Both lists. ---- */
static int find_read(struct compile *c, const struct yaml_node *entry)
{
    static const char *const keys[] = {"type", "category", "boundary", "words", "words_file", "pattern",
        "documents", "labels", "header", "values", "keys", "teams", NULL};
    static const struct {
        const char *key;
        int (*read)(struct compile *, const struct yaml_node *, const struct yaml_node *);
    } kinds[] = {{"words", words_read}, {"words_file", words_file_read}, {"labels", words_read},
        {"pattern", pattern_read}, {"documents", documents_read}, {"header", mark_read}, {"keys", mark_read},
        {"teams", mark_read}};
    const struct yaml_node *found = NULL;
    size_t kind = 0, n = 0;
    int rc = yaml_check_keys(entry, keys, "an entry of the owner's 'find'", c->err);
    for (size_t i = 0; rc == 0 && i < sizeof kinds / sizeof *kinds; i++)
        if (yaml_get(entry, kinds[i].key)) {
            found = yaml_get(entry, kinds[i].key);
            kind = i;
            n++;
        }
    if (rc == 0 && n != 1)
        rc = yaml_error(entry, c->err, ERROR_INVALID,
            "an entry of 'find' has one of words, words_file, pattern, documents, labels, header, keys and "
            "teams");
    if (rc == 0 && yaml_get(entry, "values") && !str_is(found->key, "header"))
        rc = yaml_error(entry, c->err, ERROR_INVALID, "'values' goes with 'header'");
    return rc ? rc : kinds[kind].read(c, entry, found);
}

static int allow_read(struct compile *c, const struct yaml_node *entry)
{
    static const char *const keys[] = {"type", "values", "pattern", "why", NULL};
    struct own_allow *allow = &c->own->allows[c->own->n_allows];
    struct str type = STR_NONE, why = STR_NONE;
    int rc = yaml_check_keys(entry, keys, "an entry of the owner's 'allow'", c->err);
    if (rc == 0)
        rc = yaml_get_str(entry, "type", STR_NONE, &type, c->err);
    if (rc == 0)
        rc = yaml_get_str(entry, "why", STR_NONE, &why, c->err);
    if (rc)
        return rc;
    allow->type = detect_own_type_or_known(c->own, type);
    if (!allow->type)
        return yaml_error(entry, c->err, ERROR_INVALID,
            "'type' is what never to find, a type as weir detect writes it (EMAIL_ADDRESS), not '" STR_FMT
            "'",
            STR_ARG(type));
    if (str_trim(why).len == 0 || why.len > 200)
        return yaml_error(entry, c->err, ERROR_INVALID,
            "'why' says in at most 200 bytes why it may leave: decisions and the log repeat it");
    const struct yaml_node *values = yaml_get(entry, "values"), *pattern = yaml_get(entry, "pattern");
    if (!values == !pattern)
        return yaml_error(
            entry, c->err, ERROR_INVALID, "an entry of 'allow' has either 'values' or a 'pattern'");
    c->own->n_allows++;
    rc = own_text_keep(why, &allow->why, c->err);
    if (rc == 0 && values)
        rc = values_read(c, values, &allow->values, &allow->n_values);
    return rc || !pattern ? rc
                          : pattern_compile(c, pattern, PCRE2_ANCHORED | PCRE2_ENDANCHORED, &allow->code);
}

static int list_read(struct compile *c, const struct yaml_node *owner, const char *key,
    int (*read)(struct compile *, const struct yaml_node *))
{
    const struct yaml_node *list = yaml_get(owner, key);
    int rc = 0;
    if (list && (list->kind != YAML_LIST || list->count > ENTRIES))
        return yaml_error(
            list, c->err, ERROR_INVALID, "'%s' wants a list of at most %d entries", key, ENTRIES);
    for (const struct yaml_node *n = list ? list->first : NULL; n && rc == 0; n = n->next)
        rc = n->kind == YAML_MAP ? read(c, n)
                                 : yaml_error(n, c->err, ERROR_INVALID, "an entry of '%s' is a map", key);
    return rc;
}

static void own_free(void *ctx)
{
    struct detect_own *own = ctx;
    for (size_t i = 0; i < own->n_patterns; i++)
        pcre2_code_free(own->patterns[i].code);
    for (size_t i = 0; i < own->n_allows; i++)
        pcre2_code_free(own->allows[i].code);
    for (size_t i = 0; i < own->n_prints; i++)
        detect_print_free(&own->prints[i].print);
    pcre2_match_context_free(own->limits);
    detect_words_free(&own->automaton);
}

int detect_own_compile(struct arena *a, const struct yaml_node *owner, const struct detect_own_files *files,
    struct detect_own **out, struct error *err)
{
    static const char *const keys[] = {"find", "allow", NULL};
    static uint64_t versions;
    struct detect_own *own = arena_new(a, struct detect_own);
    struct compile c = {.own = own, .arena = a, .files = files, .err = err};
    *out = NULL;
    int rc = yaml_check_keys(owner, keys, "'owner'", err);
    if (rc)
        return rc;
    own->version = __atomic_add_fetch(&versions, 1, __ATOMIC_RELAXED);
    own->types = arena_alloc(a, ENTRIES * sizeof *own->types);
    own->patterns = arena_alloc(a, ENTRIES * sizeof *own->patterns);
    own->prints = arena_alloc(a, ENTRIES * sizeof *own->prints);
    own->marks = arena_alloc(a, ENTRIES * sizeof *own->marks);
    own->allows = arena_alloc(a, ENTRIES * sizeof *own->allows);
    own->limits = pcre2_match_context_create(NULL);
    arena_defer(a, own_free, own);
    if (!own->limits)
        return error_set(err, ERROR_MEMORY, "no memory for the owner's patterns");
    pcre2_set_match_limit(own->limits, MATCH_LIMIT);
    rc = list_read(&c, owner, "find", find_read);
    if (rc == 0)
        rc = words_finish(&c, owner);
    if (rc == 0)
        rc = list_read(&c, owner, "allow", allow_read);
    if (rc == 0)
        *out = own;
    return rc;
}
