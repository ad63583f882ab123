/* Members of an object that come in pieces, kept as they were written: a number may have more digits than any
 * type of ours. */
#ifndef WEIR_JSON_JSON_MEMBERS_H
#define WEIR_JSON_JSON_MEMBERS_H

#include "json/json.h"

enum { JSON_MEMBERS_MAX = 256 };

struct json_members {
    struct json_member {
        struct buf key, value;
    } * list;
    size_t n, bytes, most; /* bytes of keys and values */
};

void json_members_init(struct json_members *m, size_t most);
void json_members_free(struct json_members *m);
/* `members` is what stands in an object's braces. The last of a name counts, but that with `join` the
 * elements of lists are put together. */
int json_members_add(struct json_members *m, struct str members, bool join, struct error *err) MUST_USE;
void json_members_write(struct json_writer *w, const struct json_members *m);

#endif
