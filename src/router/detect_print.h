/* Fingerprints of documents that must not leave: winnowing (Schleimer, Wilkerson and Aiken, 2003).
 *
 *   document --fold--> letters and digits --hash of each PRINT_NOISE bytes--> of each PRINT_WINDOW hashes in
 * a row the least --> sorted, as a file
 *
 * Of a text every hash is looked up, not only a window's least: a passage of PRINT_SURE folded bytes (letters
 * and digits; some fifteen words) is found for certain whatever stands around it, one below PRINT_NOISE never
 * (but for chance, 2^-56 for each hash kept and byte read). Case, accents, spaces, punctuation and line ends
 * are not in what is hashed.
 *
 *   file: "WEIRFPR1", then little-endian: uint32 PRINT_NOISE, uint32 PRINT_SURE, uint64 n, the n hashes in
 * order as LEB128 of the difference to the one before, 16 bytes of BLAKE2b over all of it */
#ifndef WEIR_ROUTER_DETECT_PRINT_H
#define WEIR_ROUTER_DETECT_PRINT_H

#include "base/buf.h"
#include "router/detect_fold.h"

enum {
    PRINT_NOISE = 40,
    PRINT_SURE = 80,
    PRINT_WINDOW = PRINT_SURE - PRINT_NOISE + 1,
    PRINT_MOST = 4 << 20,   /* hashes in a file: some 80 MB of text */
    PRINT_COMMON_LEAST = 10 /* documents, before what most of them share is taken for boilerplate */
};
#define PRINT_FILE_MOST ((size_t)PRINT_MOST * 9 + 64)

/* ---- Making: documents one after the other, each in pieces. ---- */
struct print_place {
    uint64_t hash;
    size_t at; /* which letter of its document it begins with */
};
struct print_maker {
    bool boilerplate; /* what is read now is not to be found (letterheads, licences): until print_common */
    struct print_place *places; /* of each document in its order */
    size_t n, capacity;
    size_t *ends; /* of the documents in places */
    size_t n_documents, room_documents;
    uint64_t *common; /* every hash of what is not to be found, sorted */
    size_t n_common;
    struct print_roll *roll; /* the document that is being read */
};
struct print_made {
    size_t documents, short_documents; /* with nothing long enough to be found */
    size_t kept, boilerplate;          /* hashes */
};

int print_begin(struct print_maker *m, struct error *err) MUST_USE;
/* Folded bytes (spaces are passed over); ERROR_LIMIT past PRINT_MOST. */
int print_feed(struct print_maker *m, struct str folded, struct error *err) MUST_USE;
int print_document_end(struct print_maker *m, struct error *err) MUST_USE;
/* What was read so far was boilerplate; the documents follow. */
int print_common(struct print_maker *m, struct error *err) MUST_USE;
/* Appends the file. What more than half of PRINT_COMMON_LEAST or more documents share is boilerplate too,
 * with what overlaps it, but for a document that would lose more than half by it: drafts of one paper are
 * none. */
int print_write(struct print_maker *m, struct buf *out, struct print_made *made, struct error *err) MUST_USE;
void print_free(struct print_maker *m);

/* ---- Looking. ---- */
struct detect_print {
    uint64_t *hashes; /* sorted */
    size_t n;
    uint64_t *map; /* a bit for each hash, by its first bits: most of a text is in none */
    unsigned shift;
};

int detect_print_read(struct str file, struct detect_print *out, struct error *err) MUST_USE;
void detect_print_free(struct detect_print *p);

/* Reads a folded text once for several fingerprints; a span is what stands in a row of one. */
struct print_roll {
    uint64_t hash, leaves; /* what the byte that leaves it counts */
    size_t n;              /* letters and digits so far */
    char last[64];         /* the last of them */
    size_t from[64];       /* and where they stand */
    uint64_t window[64];   /* making: the last PRINT_WINDOW hashes */
    size_t least;          /* and where the least of them is: a number of `n` */
};
/* The next letter or digit; true: *hash is that of the last PRINT_NOISE, which begin at *start. */
bool print_roll_next(struct print_roll *r, char c, size_t from, uint64_t *hash, size_t *start);
bool detect_print_has(const struct detect_print *p, uint64_t hash);

#endif
