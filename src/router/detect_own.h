/* The owner's own layer: what the configuration's `owner` says is sensitive, and what is not.
 *
 *   find:  words, patterns, documents' fingerprints, labels      in every text          detect_own_scan
 *          headers, keys, teams                                  beside the request     detect_own_request
 *   allow: exact values of one type that are never findings of that type
 *
 * A finding of an `allow` stays in the list, with a score of 0 and the reason given, and hides nothing: any
 * other finding on the same span counts as before, and so does the same type on another span. */
#ifndef WEIR_ROUTER_DETECT_OWN_H
#define WEIR_ROUTER_DETECT_OWN_H

#include "json/yaml.h"
#include "router/detect.h"
#include "router/detect_print.h"
#include "router/detect_words.h"

/* Of a word's first letters (three, or all of a shorter one; in any case) the bit of detect_own.begins. */
enum { OWN_BEGIN_LETTERS = 3, OWN_BEGINS = 4096 };
static inline size_t own_begin(const char *letters, size_t n)
{
    uint32_t key = 0;
    for (size_t i = 0; i < n; i++)
        key |= (uint32_t)((unsigned char)letters[i] | 0x20) << (8 * i);
    return key * 0x9E3779B1u / (UINT32_MAX / OWN_BEGINS + 1);
}

struct own_word {      /* sorted; equal ones stand in a row */
    struct str folded; /* " project heron "; "heron*" has no space at its end */
    const struct detect_type *type;
    bool label; /* counts only where it stands alone */
};

struct own_pattern {
    const struct detect_type *type;
    void *code; /* PCRE2's */
};

struct own_print {
    const struct detect_type *type;
    struct detect_print print;
};

enum own_beside { OWN_HEADER, OWN_KEY, OWN_TEAM };
struct own_mark {
    enum own_beside beside;
    const struct detect_type *type;
    struct str name;    /* of the header */
    struct str *values; /* of the header (none: any), or names of keys or teams */
    size_t n_values;
};

struct own_allow {
    const struct detect_type *type;
    struct str *values;
    size_t n_values;
    void *code;      /* PCRE2's, of the whole value; NULL: none */
    const char *why; /* lives as long as the process */
};

struct detect_own {
    uint64_t version; /* another one for another content: what is remembered of texts goes by it */
    bool stays;       /* it has findings that must stay inside whatever a rule says */
    const struct detect_type **types; /* each name once */
    size_t n_types;
    struct own_word *words;
    uint16_t *first; /* of each different word, its first of `words` */
    size_t n_words, n_different;
    struct detect_words automaton;
    uint64_t begins[OWN_BEGINS / 64]; /* of the words' first letters (own_begin) */
    struct own_pattern *patterns;
    size_t n_patterns;
    struct own_print *prints;
    size_t n_prints;
    struct own_mark *marks;
    size_t n_marks;
    struct own_allow *allows;
    size_t n_allows;
    void *limits; /* PCRE2's */
};

/* Reads the configuration's `owner`; what it names in files comes through `file` (NULL: there can be none),
 * malloc'ed. Lives in the arena, which frees it. */
struct detect_own_files {
    int (*read)(void *ctx, struct str path, size_t most, struct buf *out, struct error *err);
    void *ctx;
};
int detect_own_compile(struct arena *a, const struct yaml_node *owner, const struct detect_own_files *files,
    struct detect_own **out, struct error *err) MUST_USE;

/* detect_own_scan.c: adds hits; then marks those that are allowed, whoever found them. */
void detect_own_scan(struct detect_scan *s);
/* Of a text without what parts words (plain.h): words where it has marks, else patterns. Are there any? */
bool detect_own_reads_parted(const struct detect_own *own, bool marked);
void detect_own_scan_parted(struct detect_scan *s, bool marked);
/* What stands beside the request adds findings without a span. */
int detect_own_request(const struct detect_own *own, const struct router_context *c, struct arena *a,
    struct router_findings *f, struct error *err) MUST_USE;
bool detect_own_marked(const struct detect_own *own, const struct router_context *c); /* would it add any? */
/* The first finding that must stay inside, or NULL. */
const struct detect_type *detect_own_stays(const struct detect_own *own, const struct router_findings *f);
/* Its type of that name, or NULL. Only this policy's: another one may have had the name for something else.
 */
const struct detect_type *detect_own_type_find(const struct detect_own *own, struct str name);
/* That, else the built-in one, or NULL. */
const struct detect_type *detect_own_type_or_known(const struct detect_own *own, struct str name);
/* A line for each `allow`, for the log. */
void detect_own_say(const struct detect_own *own, void (*say)(void *ctx, const char *line), void *ctx);

/* ---- detect_own_type.c: types live as long as the process, for findings outlive a reload. ---- */

/* What masking makes of it: of a word a tag, of what a pattern finds something of its form; of all others the
 * text around says the same, so they cannot be masked. */
enum own_kind { OWN_NONE, OWN_WORD, OWN_PATTERN, OWN_WHOLE };
enum { OWN_TYPES = 128 };

struct own_type {
    struct detect_type type;
    enum own_kind kind;
    bool stays; /* it never leaves, whatever a rule says */
};
int own_type_make(
    const struct own_type *like, struct str name, const struct detect_type **out, struct error *err) MUST_USE;
int own_text_keep(struct str text, const char **out, struct error *err) MUST_USE;
/* The newest first; NULL past the last. */
const struct detect_type *detect_own_type(size_t index);
enum own_kind detect_own_kind(const struct detect_type *type); /* OWN_NONE: built in, or NULL */
bool detect_own_type_stays(const struct detect_type *type);

#endif
