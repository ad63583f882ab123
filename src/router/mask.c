#include "router/mask.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "base/limits.h"

enum { BOUNDED = 5 /* shorter originals are masked as words of their own only */, ATTEMPTS = 64 };

/* ---- Growing ---- */

static int no_memory(struct error *err)
{
    return error_set(err, ERROR_MEMORY, "no memory for the pseudonyms");
}

/* Room for one more of an array in the arena. */
static int grow(struct arena *a, void *array, size_t n, size_t *capacity, size_t size, struct error *err)
{
    void *old, *grown;
    if (n < *capacity)
        return 0;
    size_t more = *capacity ? *capacity * 2 : 16;
    memcpy(&old, array, sizeof old);
    if (!(grown = arena_try_alloc(a, more, size)))
        return no_memory(err);
    if (n > 0)
        memcpy(grown, old, n * size);
    memcpy(array, &grown, sizeof grown);
    *capacity = more;
    return 0;
}

static void mask_free(void *ptr)
{
    struct mask *m = ptr;
    map_free(&m->by_key);
    map_free(&m->added);
    map_free(&m->parts);
    map_free(&m->by_original);
    map_free(&m->by_placeholder);
    sodium_memzero(m->key, sizeof m->key);
}

int mask_create(struct arena *a, const unsigned char key[REDACT_KEY], struct mask **out, struct error *err)
{
    struct mask *m = *out = arena_new(a, struct mask);
    m->arena = a;
    memcpy(m->key, key, sizeof m->key);
    arena_defer(a, mask_free, m);
    int rc = map_init(&m->by_key, 16, err);
    if (rc == 0)
        rc = map_init(&m->added, 16, err);
    if (rc == 0)
        rc = map_init(&m->parts, 16, err);
    if (rc == 0)
        rc = map_init(&m->by_original, 16, err);
    return rc ? rc : map_init(&m->by_placeholder, 16, err);
}

/* ---- Finding ----
 *
 * Words are sorted by their lower case. From text[at] on each byte narrows the range of words that begin so,
 * by bisection; a word that ends on the way is the first of its range. */

static unsigned char fold(char c)
{
    return (unsigned char)(detect_is_upper(c) ? c | 0x20 : c);
}

static int word_order(const void *a, const void *b)
{
    const struct mask_word *x = a, *y = b;
    for (size_t i = 0; i < x->text.len && i < y->text.len; i++) {
        unsigned char p = fold(x->text.data[i]), q = fold(y->text.data[i]);
        if (p != q)
            return p < q ? -1 : 1;
    }
    if (x->text.len != y->text.len)
        return x->text.len < y->text.len ? -1 : 1;
    return x->part == y->part ? 0 : x->part ? 1 : -1; /* found at last: the same word, but whole */
}

static int word_add(struct mask *m, struct mask_list *l, struct mask_word word, struct error *err)
{
    int rc = grow(m->arena, &l->words, l->n, &l->capacity, sizeof *l->words, err);
    if (rc)
        return rc;
    l->words[l->n++] = word;
    l->first[fold(word.text.data[0])] = true;
    l->first[(unsigned char)word.text.data[0]] = true;
    if (detect_is_alpha(word.text.data[0]))
        l->first[(unsigned char)(word.text.data[0] ^ 0x20)] = true;
    l->longest = word.text.len > l->longest ? word.text.len : l->longest;
    l->sorted = false;
    return 0;
}

static void list_sort(struct mask_list *l)
{
    if (!l->sorted && l->n > 1)
        qsort(l->words, l->n, sizeof *l->words, word_order);
    l->sorted = true;
}

/* The first word of [low, high) whose byte at `depth` is not below `c`; all of them are longer than that. */
static size_t bisect(const struct mask_list *l, size_t low, size_t high, size_t depth, unsigned c)
{
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (fold(l->words[middle].text.data[depth]) < c)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The first place from `at` on at which one of the words may begin, or the text's end. */
static size_t begin_next(const struct mask_list *l, struct str text, size_t at)
{
    while (at < text.len && !l->first[(unsigned char)text.data[at]])
        at++;
    return at;
}

/* The longest word at text[at] that `fits`; NULL: none. `*cut`: a longer one might be there, were there more
 * text. */
static const struct mask_word *find(struct mask_list *l, struct str text, size_t at,
    bool (*fits)(const struct mask_word *word, struct str text, size_t at), bool *cut)
{
    const struct mask_word *found = NULL;
    size_t low = 0, high = l->n;
    *cut = false;
    if (!l->first[(unsigned char)text.data[at]])
        return NULL;
    for (size_t depth = 0; low < high; depth++, l->steps++) {
        for (; low < high && l->words[low].text.len == depth; low++)
            if (fits(&l->words[low], text, at))
                found = &l->words[low];
        if (low < high && at + depth == text.len) {
            *cut = true;
            break;
        }
        if (low == high)
            break;
        unsigned c = fold(text.data[at + depth]);
        low = bisect(l, low, high, depth, c);
        high = bisect(l, low, high, depth, c + 1);
    }
    return found;
}

/* ---- What may stand beside a word ---- */

static char byte_at(struct str s, size_t at)
{
    return at < s.len ? s.data[at] : ' ';
}

/* A number is not part of a longer one. */
static bool digits_end(const struct mask_word *word, struct str text, size_t at)
{
    size_t end = at + word->text.len;
    return !(at > 0 && detect_is_digit(word->text.data[0]) && detect_is_digit(text.data[at - 1])) &&
           !(detect_is_digit(byte_at(word->text, word->text.len - 1)) && detect_is_digit(byte_at(text, end)));
}

static bool in_word(char c)
{
    return detect_is_alnum(c) || (unsigned char)c >= 0x80 || c == '_';
}

static bool word_ends(const struct mask_word *word, struct str text, size_t at)
{
    const struct detect_scan s = {.text = text};
    size_t end = at + word->text.len;
    bool begins = at == 0 || !in_word(text.data[at - 1]) ||
                  (!((unsigned char)text.data[at - 1] & 0x80) && detect_begins(&s, at));
    return begins && !in_word(byte_at(text, end));
}

static bool original_fits(const struct mask_word *word, struct str text, size_t at)
{
    if (word->part && memcmp(word->text.data, text.data + at, word->text.len) != 0)
        return false;
    if ((word->part || word->text.len < BOUNDED) && !word_ends(word, text, at))
        return false;
    return digits_end(word, text, at);
}

/* For what must not be left: also within other words and numbers. */
static bool original_shows(const struct mask_word *word, struct str text, size_t at)
{
    return !word->part && (word->text.len >= BOUNDED || word_ends(word, text, at));
}

/* ---- Pseudonyms ---- */

static uint64_t hash_of(const struct mask *m, const struct mask_entity *e, uint32_t attempt)
{
    crypto_generichash_state state;
    unsigned char out[16];
    uint64_t hash;
    crypto_generichash_init(&state, m->key, sizeof m->key, sizeof out);
    crypto_generichash_update(&state, (const unsigned char *)e->type->name, strlen(e->type->name) + 1);
    crypto_generichash_update(&state, (const unsigned char *)e->key.data, e->key.len);
    crypto_generichash_update(&state, (const unsigned char *)&attempt, sizeof attempt);
    crypto_generichash_final(&state, out, sizeof out);
    memcpy(&hash, out, sizeof hash);
    return hash;
}

/* A pair of the map; false in *added where the placeholder is taken. */
static int surface_add(struct mask *m, struct str original, struct str placeholder, uint32_t entity,
    bool *added, struct error *err)
{
    struct str folded = arena_copy(m->arena, placeholder);
    uint32_t index = (uint32_t)m->n_surfaces;
    bool first;
    for (size_t i = 0; i < folded.len; i++)
        ((char *)(uintptr_t)folded.data)[i] = (char)fold(folded.data[i]);
    int rc = map_add(&m->by_placeholder, folded, index, added, err);
    if (rc || !*added)
        return rc;
    rc = grow(m->arena, &m->surfaces, m->n_surfaces, &m->surfaces_capacity, sizeof *m->surfaces, err);
    if (rc)
        return rc;
    struct mask_surface *s = &m->surfaces[m->n_surfaces++];
    *s = (struct mask_surface){arena_copy(m->arena, original), arena_copy(m->arena, placeholder), entity};
    return map_add(&m->by_original, s->original, index, &first, err);
}

/* The placeholder for an entity as it is written here. */
static int surface_of(
    struct mask *m, uint32_t entity, struct str original, struct str *out, struct error *err)
{
    struct mask_entity *e = &m->entities[entity];
    char text[MASK_PLACEHOLDER];
    const uint32_t *known = map_find(&m->by_original, original);
    bool added = false;
    if (known) {
        *out = m->surfaces[*known].placeholder;
        return 0;
    }
    for (uint32_t i = 0; i < ATTEMPTS && !added; i++) {
        uint32_t attempt = e->attempt + i;
        size_t n = mask_form(e->type, original, hash_of(m, e, attempt), attempt, e->n_surfaces, text);
        const struct str made = {text, n};
        if (str_eq(made, original))
            continue;
        int rc = surface_add(m, original, made, entity, &added, err);
        if (rc)
            return rc;
        if (added && e->n_surfaces == 0)
            e->attempt = attempt;
    }
    if (!added)
        return error_set(err, ERROR_UNSUPPORTED, "there are too many of %s to tell apart", e->type->words);
    e->n_surfaces++;
    *out = m->surfaces[m->n_surfaces - 1].placeholder;
    return 0;
}

static int entity_of(
    struct mask *m, const struct detect_type *type, struct str original, uint32_t *out, struct error *err)
{
    struct str key = mask_form_key(m->arena, type, original);
    struct str name = arena_printf(m->arena, "%s " STR_FMT, type->name, STR_ARG(key));
    bool added;
    *out = (uint32_t)m->n_entities;
    int rc = map_add(&m->by_key, name, *out, &added, err);
    if (rc)
        return rc;
    if (!added) {
        *out = *map_find(&m->by_key, name);
        return 0;
    }
    rc = grow(m->arena, &m->entities, m->n_entities, &m->entities_capacity, sizeof *m->entities, err);
    if (rc == 0)
        m->entities[m->n_entities++] = (struct mask_entity){.type = type, .key = key};
    return rc;
}

/* ---- Adding ---- */

static bool is_title(struct str word)
{
    static const char *const titles[] = {"mrs", "miss", "prof", "herr", "frau", "dipl", "ing", "señor",
        "señora", "don", "doña", "monsieur", "madame", "mme", "signor", "signora", "sig", "pan", "pani",
        "senhor", "senhora", "mevrouw", "heer", "von", "van", "der", "den", "del", "della", "dos", "das",
        "bin", "the", "and", NULL};
    for (const char *const *t = titles; *t; t++)
        if (str_is_nocase(word, *t))
            return true;
    return false;
}

/* "Anna Nowak" is also Anna, and Nowak: whoever is named once is often called by a part later. */
static int parts_add(struct mask *m, struct str name, uint32_t entity, struct error *err)
{
    struct str rest = name, word;
    int rc = 0;
    if (str_find_char(name, ' ') == SIZE_MAX)
        return 0;
    while (rc == 0 && str_split(&rest, ' ', &word)) {
        word = str_trim(word);
        while (word.len > 0 && strchr(".,;:'\"()", word.data[word.len - 1]))
            word.len--;
        bool capital = word.len > 0 && (detect_is_upper(word.data[0]) || (unsigned char)word.data[0] >= 0x80);
        if (!capital || word.len < 3 || is_title(word))
            continue;
        bool first;
        word = arena_copy(m->arena, word);
        rc = map_add(&m->parts, word, entity, &first, err);
        if (rc == 0 && first)
            rc = word_add(m, &m->originals, (struct mask_word){word, entity, true}, err);
    }
    return rc;
}

int mask_add(struct mask *m, const struct detect_type *type, struct str original, struct error *err)
{
    uint32_t entity;
    bool first;
    if (original.len == 0 || map_find(&m->added, original))
        return 0;
    struct str kept = arena_copy(m->arena, original);
    bool person = strcmp(type->name, "PERSON") == 0;
    const uint32_t *whose = person ? map_find(&m->parts, kept) : NULL;
    int rc = 0;
    if (whose)
        entity = *whose;
    else
        rc = entity_of(m, type, kept, &entity, err);
    if (rc == 0)
        rc = map_add(&m->added, kept, entity, &first, err);
    if (rc == 0)
        rc = word_add(m, &m->originals, (struct mask_word){kept, entity, false}, err);
    return rc || !person ? rc : parts_add(m, kept, entity, err);
}

/* ---- There ---- */

/* Texts that begin like an original at every byte are made to keep us busy. */
static size_t steps_allowed(const struct mask_list *l, struct str text)
{
    return l->steps + 16 * text.len + 4096;
}

int mask_text(struct mask *m, struct str text, struct str *out, struct error *err)
{
    struct buf made;
    size_t copied = 0;
    int rc = 0;
    bool cut;
    *out = text;
    list_sort(&m->originals);
    const size_t allowed = steps_allowed(&m->originals, text);
    buf_init(&made, LIMIT_REQUEST_MEMORY);
    for (size_t i = 0; (i = begin_next(&m->originals, text, i)) < text.len && rc == 0;) {
        if (m->originals.steps > allowed) {
            rc = error_set(err, ERROR_UNSUPPORTED, "it takes too long to mask");
            break;
        }
        const struct mask_word *word = find(&m->originals, text, i, original_fits, &cut);
        struct str placeholder = STR_NONE;
        if (!word) {
            i++;
            continue;
        }
        rc = surface_of(m, word->index, str_slice(text, i, i + word->text.len), &placeholder, err);
        buf_append_str(&made, str_slice(text, copied, i));
        buf_append_str(&made, rc ? STR_NONE : placeholder);
        copied = i += word->text.len;
    }
    if (rc == 0 && copied > 0) {
        buf_append_str(&made, str_slice(text, copied, text.len));
        if (made.failed || arena_try_copy(m->arena, buf_str(&made), out))
            rc = no_memory(err);
    }
    buf_free(&made);
    return rc;
}

bool mask_leaks(struct mask *m, struct str text)
{
    bool cut;
    list_sort(&m->originals);
    const size_t allowed = steps_allowed(&m->originals, text);
    for (size_t i = 0; (i = begin_next(&m->originals, text, i)) < text.len; i++)
        if (find(&m->originals, text, i, original_shows, &cut) || m->originals.steps > allowed)
            return true;
    return false;
}

/* ---- And back ---- */

/* "PERSON\_47": as models write it in Markdown. */
static int escaped_add(struct mask *m, uint32_t surface, struct error *err)
{
    struct str s = m->surfaces[surface].placeholder;
    char text[2 * MASK_PLACEHOLDER];
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] == '_')
            text[n++] = '\\';
        text[n++] = s.data[i];
    }
    return n == s.len
               ? 0
               : word_add(m, &m->placeholders,
                     (struct mask_word){arena_copy(m->arena, (struct str){text, n}), surface, false}, err);
}

static size_t compact(struct str s, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++)
        if (detect_is_alnum(s.data[i]) || (i == 0 && s.data[i] == '+'))
            out[n++] = s.data[i];
    return n;
}

/* "4000003122459073": numbers are often written without their separators. */
static int compact_add(struct mask *m, uint32_t surface, struct error *err)
{
    static const char *const types[] = {"CREDIT_CARD", "IBAN_CODE", "PHONE_NUMBER", NULL};
    struct mask_surface s = m->surfaces[surface];
    char original[MASK_PLACEHOLDER], placeholder[MASK_PLACEHOLDER];
    bool one = false, added;
    for (const char *const *t = types; *t; t++)
        one = one || (m->n_entities > 0 && strcmp(m->entities[s.entity].type->name, *t) == 0);
    if (!one || s.original.len > MASK_PLACEHOLDER)
        return 0;
    size_t n = compact(s.placeholder, placeholder);
    return n == s.placeholder.len ? 0
                                  : surface_add(m, (struct str){original, compact(s.original, original)},
                                        (struct str){placeholder, n}, s.entity, &added, err);
}

/* The placeholders' list is made when the first is looked for, and anew should there be more of them since.
 */
static bool placeholders_ready(struct mask *m)
{
    struct error err;
    struct mask_list *l = &m->placeholders;
    if (l->sorted)
        return l->n > 0;
    int rc = 0;
    for (uint32_t i = 0, n = (uint32_t)m->n_surfaces; i < n && rc == 0; i++)
        rc = compact_add(m, i, &err);
    for (uint32_t i = 0; i < m->n_surfaces && rc == 0; i++) {
        rc = word_add(m, l, (struct mask_word){m->surfaces[i].placeholder, i, false}, &err);
        if (rc == 0)
            rc = escaped_add(m, i, &err);
    }
    list_sort(l);
    return rc == 0 && l->n > 0;
}

size_t router_mask_match(struct mask *m, struct str text, size_t at, bool whole, struct str *original)
{
    bool cut;
    if (!placeholders_ready(m))
        return 0;
    const struct mask_word *word = find(&m->placeholders, text, at, digits_end, &cut);
    /* One that ends with the text may yet turn out to be the front of a longer number. */
    cut = cut || (word && at + word->text.len == text.len && detect_is_digit(text.data[text.len - 1]));
    if (cut && !whole)
        return SIZE_MAX;
    if (!word)
        return 0;
    *original = m->surfaces[word->index].original;
    return word->text.len;
}

static bool all_digits(struct str s)
{
    size_t n = 0;
    while (n < s.len && detect_is_digit(s.data[n]))
        n++;
    return n == s.len;
}

static int replace(struct mask *m, struct str text, bool blank, struct str *out, struct error *err)
{
    struct buf made;
    buf_init(&made, LIMIT_REQUEST_MEMORY);
    bool any = placeholders_ready(m);
    for (size_t i = 0, next; i < text.len;) {
        struct str original;
        next = any ? begin_next(&m->placeholders, text, i) : text.len;
        buf_append_str(&made, str_slice(text, i, next));
        if ((i = next) == text.len)
            break;
        size_t n = router_mask_match(m, text, i, true, &original);
        if (n == 0)
            buf_append_char(&made, text.data[i]);
        else if (blank)
            buf_append_text(&made, all_digits(str_slice(text, i, i + n)) ? "10" : "xx");
        else
            buf_append_str(&made, original);
        i += n > 0 ? n : 1;
    }
    int rc = made.failed || arena_try_copy(m->arena, buf_str(&made), out) ? no_memory(err) : 0;
    buf_free(&made);
    return rc;
}

int router_mask_restore(struct mask *m, struct str text, struct str *out, struct error *err)
{
    return replace(m, text, false, out, err);
}

int mask_blank(struct mask *m, struct str text, struct str *out, struct error *err)
{
    return replace(m, text, true, out, err);
}

/* ---- For people ---- */

void router_mask_write(const struct mask *m, struct json_writer *w)
{
    json_object_begin(w);
    for (size_t i = 0; i < m->n_surfaces; i++) {
        json_key_str(w, m->surfaces[i].placeholder);
        json_write_str(w, m->surfaces[i].original);
    }
    json_object_end(w);
}

int router_mask_read(struct arena *a, const json_t *map, struct mask **out, struct error *err)
{
    static const unsigned char none[REDACT_KEY];
    const char *key;
    json_t *value;
    bool added;
    int rc = mask_create(a, none, out, err);
    if (rc == 0 && !json_is_object(map))
        rc = error_set(err, ERROR_INVALID, "\"map\" must be an object like {\"PERSON_47\": \"...\"}");
    json_object_foreach((json_t *)(uintptr_t)map, key, value)
    {
        if (rc == 0 && (!json_is_string(value) || *key == '\0' || strlen(key) > MASK_PLACEHOLDER))
            rc = error_set(err, ERROR_INVALID, "\"map\" must give a text for each placeholder");
        if (rc == 0)
            rc = surface_add(*out, json_str(value), str_from(key), 0, &added, err);
    }
    return rc;
}
