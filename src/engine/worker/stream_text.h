/* From the bytes of tokens to text that may be shown: whole characters, and nothing of a stop string.
 *
 *   bytes -> [ raw: a character that is not whole yet ] -> [ held: may begin a stop string ] -> out
 *
 * Bytes that are not UTF-8 become U+FFFD, one for each maximal part of a character (Unicode 15, section 3.9).
 */
#ifndef WEIR_ENGINE_WORKER_STREAM_TEXT_H
#define WEIR_ENGINE_WORKER_STREAM_TEXT_H

#include "base/buf.h"
#include "base/error.h"
#include "base/str.h"

struct stream_text {
    char raw[4];
    size_t n_raw;
    struct buf held;
    const struct str *stops; /* the caller's, none of them empty */
    size_t n_stops;
    struct str met; /* the stop string that ended the answer; STR_NONE: none yet */
};

void stream_text_init(struct stream_text *t, const struct str *stops, size_t n_stops);
void stream_text_free(struct stream_text *t);
/* Appends to `out` what can be shown now. Returns 1 when a stop string was met: what stands before it has
 * gone to `out`, the rest is dropped. */
int stream_text_push(struct stream_text *t, struct str bytes, struct buf *out, struct error *err) MUST_USE;
/* The answer ended without a stop string: what was held goes out. */
int stream_text_finish(struct stream_text *t, struct buf *out, struct error *err) MUST_USE;

#endif
