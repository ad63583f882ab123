/* Inside the detector.
 *
 *   text --> shapes: digits, '@', ':' ... start a look at what stands there   (detect_number, _account, _net)
 *        \-> words: one automaton finds the keywords of every secret's rule    (detect_words, detect_secret)
 *                            both --> hits --> sorted, the weaker of two on one span dropped --> findings
 *
 * Every look is bounded, so the whole is linear in the text. What surrounds a value may raise a score, never
 * lower it; only the value itself can say that it is a documented example. */
#ifndef WEIR_ROUTER_DETECT_H
#define WEIR_ROUTER_DETECT_H

#include <string.h>

#include "router/byte_map.h"
#include "router/router.h"

/* Findings below this are listed but count as not sensitive: documented examples, private networks. */
#define DETECT_SURE 0.5

struct detect_type {
    const char *name; /* "EMAIL_ADDRESS" */
    enum router_category category;
    const char *words; /* for people: "an e-mail address" */
    int rank;          /* of two findings on one span the higher stays */
};
enum { DETECT_RANK_OWN = -1 }; /* of the owner's own types (detect_own.h), and of no other */

struct detect_hit {
    const struct detect_type *type;
    size_t start, end; /* bytes */
    double score;
    const char *allowed; /* why it does not count; NULL: it does */
};

enum { DETECT_MAX_TYPES = 576 }; /* at least as many as there are */

/* A word that begins with a letter is a number or an account only if a digit stands within so many bytes of
 * its first (detect_id.c: the longest run, and what may stand between it and a digit). */
enum { DETECT_DIGIT_REACH = 36 };

struct detect_scan {
    struct str text;
    const struct byte_map *map;   /* the text's */
    const struct detect_own *own; /* NULL: none */
    struct detect_hit *hits;
    size_t n_hits, capacity, more;
    const struct detect_type **more_type; /* sure ones past the bound, each once; room for DETECT_MAX_TYPES */
    size_t n_more_types;
    bool told;      /* words of numbers stand close together: one may be told so (plain_told.c) */
    size_t key_end; /* where the next "END ... PRIVATE KEY" was last seen; SIZE_MAX none, 0 not looked */
    void *match;    /* PCRE2's scratch memory, made when first needed */
    int rc;         /* the first failure; then the text counts as sensitive */
    struct error *err;
};

void detect_add(
    struct detect_scan *s, const struct detect_type *type, size_t start, size_t end, double score);

/* Appends to the findings; past LIMIT_ENTITIES counts, and keeps the types of those that are sure. */
int detect_entity_add(
    struct arena *a, struct router_findings *f, const struct router_entity *e, struct error *err) MUST_USE;
int detect_more_type_add(
    struct arena *a, struct router_findings *f, const char *type, struct error *err) MUST_USE;

/* Each looks at what begins at `at` (for '@' and "://": what stands around it). */
void detect_number_init(void);
void detect_number_at(
    struct detect_scan *s, size_t at); /* card, phone, social security; a digit, '+' or '(' */
void detect_account_at(struct detect_scan *s, size_t at); /* IBAN, coin addresses; a letter or digit */
void detect_email_at(struct detect_scan *s, size_t at);   /* '@' */
void detect_url_at(struct detect_scan *s, size_t at);     /* "://" */
void detect_address_at(struct detect_scan *s, size_t at); /* IP and MAC; a hexadecimal digit or ':' */

int detect_id_init(struct error *err) MUST_USE;
void detect_id_at(struct detect_scan *s, size_t at); /* numbers of people and firms; a letter or digit */

int detect_secret_init(struct error *err) MUST_USE;
void detect_secret_scan(struct detect_scan *s);
void detect_context_scan(struct detect_scan *s); /* the last: it reads what the others found */

/* Types that one file finds; those of secrets and of numbers by country are in tables of their own. */
struct detect_family {
    const char *layer;
    const struct detect_type *const *types;
    size_t n;
};
#define DETECT_TYPES(...)                                                                                    \
    (const struct detect_type *const[]){__VA_ARGS__},                                                        \
        sizeof((const struct detect_type *const[]){__VA_ARGS__}) / sizeof(struct detect_type *)
extern const struct detect_family detect_numbers_family, detect_accounts_family, detect_net_family,
    detect_keys_family, detect_persons_family, detect_places_family, detect_context_family;

/* All types there are, for the policy compiler; index from 0 until NULL. */
const struct detect_type *detect_type_at(size_t index);
const struct detect_type *detect_type_find(struct str name);
/* Which layer finds a type: "structured" by its form and check digits, "context" by what words say, "own" by
 * what the owner's configuration says. */
const char *detect_layer_name(struct str type);
/* Does it tell more than its own words, such that the text around says the same without them? */
bool detect_is_statement(const struct detect_type *type);

/* ---- Documented examples and placeholders: values that are known to belong to nobody. ---- */
int detect_known_init(struct error *err) MUST_USE;
bool detect_known_card(struct str digits);
bool detect_known_iban(struct str compact); /* upper case, no separators */
bool detect_known_ssn(struct str digits);
bool detect_known_host(struct str host);    /* RFC 2606, RFC 6761 */
bool detect_known_date(struct str date);    /* "1900-01-01", which a field begins with */
bool detect_made_up(struct str value);      /* "000000000", "123456789", "111222333" */
bool detect_known_value(struct str value);  /* made up, a test card, an encyclopaedia's Mario Rossi */
bool detect_placeholder(struct str secret); /* "xxxx", "YOUR_KEY", "${TOKEN}", "…EXAMPLE" */

/* ---- Bytes. ---- */
static inline bool detect_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static inline bool detect_is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static inline bool detect_is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static inline bool detect_is_alpha(char c)
{
    return detect_is_upper(c) || detect_is_lower(c);
}

static inline bool detect_is_alnum(char c)
{
    return detect_is_digit(c) || detect_is_alpha(c);
}

static inline bool detect_is_hex(char c)
{
    return detect_is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* NUL is in no set. Of a literal of up to eight it is known when this is compiled what to compare with. */
static inline bool detect_is_one_of(char c, const char *set)
{
    const size_t n = strlen(set);
    if (!__builtin_constant_p(n) || n > 8)
        return c != '\0' && strchr(set, c) != NULL;
    return (n > 0 && c == set[0]) || (n > 1 && c == set[1]) || (n > 2 && c == set[2]) ||
           (n > 3 && c == set[3]) || (n > 4 && c == set[4]) || (n > 5 && c == set[5]) ||
           (n > 6 && c == set[6]) || (n > 7 && c == set[7]);
}

/* The byte at an offset, or NUL outside the text. */
static inline char detect_byte(const struct detect_scan *s, size_t at)
{
    return at < s->text.len ? s->text.data[at] : '\0';
}

/* Does a word begin at `at`? Not within another one; but the letter of an escape ("\n" in JSON or code) is
 * none. */
static inline bool detect_begins(const struct detect_scan *s, size_t at)
{
    if (at == 0)
        return true;
    char before = s->text.data[at - 1];
    if (!detect_is_alnum(before) && before != '_')
        return true;
    return at >= 2 && s->text.data[at - 2] == '\\' && (before == 'n' || before == 'r' || before == 't');
}

/* The length of a separator between groups of digits at `at`: space, no-break space, '-', '.', '/', and the
 * hyphens and dashes of Unicode; 0 if there is none. *kind tells them apart. */
size_t detect_separator(const struct detect_scan *s, size_t at, char *kind);

#endif
