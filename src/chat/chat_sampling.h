/* The numbers of a chat_sampling, each a row of one table: its name in requests (as llama-server and Ollama
 * have it), its range, and what switches it off. Whoever reads or writes requests goes by the table. */
#ifndef WEIR_CHAT_CHAT_SAMPLING_H
#define WEIR_CHAT_CHAT_SAMPLING_H

#include "chat/chat.h"

struct chat_sampling_field {
    const char *name;
    bool whole; /* an int64_t; else a double */
    /* What a reader takes. A whole number's -1 stands for `all`. */
    double least, most, all;
    double idle;   /* asks for nothing */
    size_t offset; /* in struct chat_sampling */
};
extern const struct chat_sampling_field chat_sampling_fields[];
size_t chat_sampling_n_fields(void);

/* Sets what is among the members of `object` (other members are not looked at): the table's, "seed",
 * "ignore_eos", "dry_sequence_breakers" (a list of texts) and "logit_bias" ({"id or text": bias} or [["id or
 * text", bias]], bias false: never). Lists live in the arena. ERROR_INVALID names the member. */
int chat_sampling_read(
    struct arena *a, const json_t *object, struct chat_sampling *s, struct error *err) MUST_USE;
/* One number of the table; false: not in its range, or there is no such name. */
bool chat_sampling_set(struct chat_sampling *s, const char *name, double value);
/* What is unset becomes what `defaults` has. */
void chat_sampling_fill(struct chat_sampling *s, const struct chat_sampling *defaults);
/* The same members again, those that are set; the object is the caller's. */
void chat_sampling_write(const struct chat_sampling *s, struct json_writer *w);
/* What `reasoning_effort` may say: "none" is 0, "max" the last; ERROR_INVALID names them all. */
enum { CHAT_EFFORTS = 7 };
int chat_effort_read(struct str effort, size_t *out, struct error *err) MUST_USE;
/* The stop sequences as the list `key`; nothing where there are none. */
void chat_stops_write(struct json_writer *w, const char *key, const struct chat_request *r);
/* The first member that is set, asks for something and is not among `known` (ends with NULL); NULL: none. */
const char *chat_sampling_beyond(const struct chat_sampling *s, const char *const *known);

#endif
