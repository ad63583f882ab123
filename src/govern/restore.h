/* What was masked on the way out is put back on the way in: an answer's events, restored.
 *
 *   piece "Dear PERS" --> held "PERS"        --> TEXT "Dear "
 *   piece "ON_47, "   --> held ""            --> TEXT "Anna Nowak, "
 *
 * Held back is at most as much as the longest placeholder has, and only where one may have begun; it goes on
 * when the answer turns to something else, and before STOP. Each choice, its text, its reasoning and each of
 * its tool calls are restored apart. Inside JSON's strings (a tool's arguments, JSON or code in a text) an
 * original is escaped as they want it. Of tokens with their log-probabilities the one that a placeholder
 * begins in becomes the original, those that it goes on in become empty, and neither keeps alternatives. */
#ifndef WEIR_GOVERN_RESTORE_H
#define WEIR_GOVERN_RESTORE_H

#include "chat/chat.h"
#include "router/redact.h"

struct restore;
struct restore *restore_create(struct mask *mask); /* the mask must outlive it */
void restore_free(struct restore *r);              /* NULL is allowed */
/* Calls the sink with what can be told now. It does not look at `r` after STOP of the last choice, or ERROR.
 */
void restore_event(struct restore *r, const struct chat_event *e, struct chat_sink sink);

/* ---- Where a text is inside a JSON string, as far as a text can tell: from a "{" or "[" that a string or
 * another bracket follows, to its end. ---- */
struct restore_json {
    size_t depth;
    bool arguments; /* it is JSON from the start */
    bool opening, string, escaped;
};
void restore_json_take(struct restore_json *j, struct str text);
/* Appends an original as it must stand there. */
void restore_json_write(const struct restore_json *j, struct str original, struct buf *out);

#endif
