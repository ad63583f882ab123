/* Pages of keys and values on disk: in a file that the gateway has opened, of a size that it says
 * (engine/spill_format.h).
 *
 *   page --write--> a record by its name --read--> the same page, to the bit, or nothing
 *
 * The longest unused record is written over when the file is full. Each record is encrypted and authenticated
 * on its own (XChaCha20-Poly1305, a random nonce for each), so that what a killed process, a full disk or a
 * stranger left in the file is noticed, said in the log and forgotten: whoever asked computes the page. */
#ifndef WEIR_ENGINE_WORKER_SPILL_H
#define WEIR_ENGINE_WORKER_SPILL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/str.h"
#include "engine/spill_format.h"

struct spill;

struct spill_name {
    uint8_t bytes[SPILL_NAME_BYTES];
};

struct spill_options {
    int fd;           /* to read and write; stays the caller's */
    uint64_t most;    /* bytes that the file may have */
    int64_t keep_ms;  /* older records are not used; 0: they may be of any age */
    struct str owner; /* all that decides what a page's bytes are, apart from its tokens; not kept */
    size_t page_bytes;
    uint8_t key[SPILL_KEY_BYTES];
};

/* Finds the pages that the file holds. One of another owner, key or version is emptied. ERROR_INVALID: `most`
 * does not hold a single page; ERROR_IO, ERROR_MEMORY. */
int spill_open(const struct spill_options *o, struct spill **out, struct error *err) MUST_USE;
void spill_close(struct spill *s); /* NULL is allowed */

/* The name of these bytes behind `parent`; NULL: behind the owner alone. *out may be the parent. */
void spill_name(const struct spill *s, const struct spill_name *parent, const void *bytes, size_t len,
    struct spill_name *out);

/* That it is looked for counts as use: others are written over first. */
bool spill_has(struct spill *s, const struct spill_name *name);
/* Would a page of this name be written now? Not while writing rests after a failure, nor one that is there.
 */
bool spill_wants(struct spill *s, const struct spill_name *name);
void spill_forget(struct spill *s, const struct spill_name *name);
int32_t spill_count(const struct spill *s); /* pages in the file */

/* Where a page stands to be written, and after it was read: page_bytes. */
char *spill_page(struct spill *s);
/* The page that stands there is kept by this name, if it is wanted. It no longer stands there. */
void spill_write(struct spill *s, const struct spill_name *name);
/* False: it is not in the file, or not whole. */
bool spill_read(struct spill *s, const struct spill_name *name) MUST_USE;

#endif
