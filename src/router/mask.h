/* The map of a request's pseudonyms: what stands for whom. It lives in the request's arena and nowhere else.
 *
 *   original "Anna Nowak" --> entity (PERSON, key "anna nowak") --> surface "PERSON_47"      written  "Anna
 * Nowak"
 *                                                               \-> surface "PERSON_47B"     written  "NOWAK"
 *   original "4539 5787 6362 1486" --> entity (CREDIT_CARD)     --> surface "4000 0031 2245 9073"
 *
 * A pseudonym is a keyed hash (BLAKE2b) of the entity's type and key: whoever does not have the key cannot
 * try out originals, and a conversation that is sent again gets the same ones without anything being kept.
 * People, places and secrets become tags: a tag has no gender, no origin and no real bearer, models copy it
 * unchanged in every language and inside code, and no answer holds it by chance, which of a made-up name
 * nobody can say. What has a format keeps it, in a range that belongs to nobody (mask_form.c). */
#ifndef WEIR_ROUTER_MASK_H
#define WEIR_ROUTER_MASK_H

#include "base/map.h"
#include "router/detect.h"
#include "router/redact.h"

enum { MASK_PLACEHOLDER = 200 /* bytes, at most */ };

struct mask_entity {
    const struct detect_type *type;
    struct str key;      /* what makes two originals the same: folded; of numbers the digits and letters */
    uint32_t n_surfaces; /* ways of writing it that have a placeholder */
    uint32_t attempt;    /* which of its hashes nobody else had */
};

/* A way in which an original is written, and what stands for exactly that. */
struct mask_surface {
    struct str original, placeholder;
    uint32_t entity;
};

/* Words to be found, in order, without regard to ASCII case. */
struct mask_word {
    struct str text;
    uint32_t index; /* of an original: its entity; of a placeholder: its surface */
    bool part;      /* of a person's name: only as it is written, and as a word of its own */
};
struct mask_list {
    struct mask_word *words;
    size_t n, capacity, longest;
    size_t steps;    /* bytes compared so far */
    bool first[256]; /* bytes that one begins with */
    bool sorted;
};

struct mask {
    struct arena *arena;
    unsigned char key[REDACT_KEY];
    struct mask_entity *entities;
    size_t n_entities, entities_capacity;
    struct mask_surface *surfaces;
    size_t n_surfaces, surfaces_capacity;
    struct mask_list originals, placeholders;
    struct map by_key;         /* "TYPE key": its entity */
    struct map added;          /* an original as it was found: its entity */
    struct map parts;          /* a part of a person's name: whose */
    struct map by_original;    /* as it is written: its surface */
    struct map by_placeholder; /* in lower case: its surface */
};

int mask_create(
    struct arena *a, const unsigned char key[REDACT_KEY], struct mask **out, struct error *err) MUST_USE;
/* `original` is to be masked wherever it stands, and of a person's name its parts. All before the first
 * mask_text. */
int mask_add(struct mask *m, const struct detect_type *type, struct str original, struct error *err) MUST_USE;
/* `text` with every original in it replaced; the same span where there is none. */
int mask_text(struct mask *m, struct str text, struct str *out, struct error *err) MUST_USE;
/* Does it hold an original's bytes, be it within other words? */
bool mask_leaks(struct mask *m, struct str text);
/* `text` with every placeholder in it replaced by two letters, of digits by two of them, that say nothing; in
 * the arena. */
int mask_blank(struct mask *m, struct str text, struct str *out, struct error *err) MUST_USE;

/* ---- mask_form.c ---- */
/* What is to stand for `original`, by the `hash` of its entity; `variant`: of how many ways of writing it it
 * is. Returns its length. */
size_t mask_form(const struct detect_type *type, struct str original, uint64_t hash, uint32_t attempt,
    uint32_t variant, char out[MASK_PLACEHOLDER]);
/* Where the date ends that begins with the digit at `start`: "12.03.1985", "12 March 1985", "1985-03-12"; 0:
 * none does. */
size_t mask_date_end(struct str text, size_t start, size_t end);
/* The entity's key, in the arena. */
struct str mask_form_key(struct arena *a, const struct detect_type *type, struct str original);

#endif
