/* multipart/form-data (RFC 7578), as a client sends a file. Pure. */
#ifndef WEIR_API_MULTIPART_H
#define WEIR_API_MULTIPART_H

#include "base/error.h"
#include "base/str.h"

enum { MULTIPART_PARTS_MOST = 16 };

struct multipart_part {
    struct str name, filename, content; /* in the body; quoted pairs stay as they came */
};

/* `type`: the request's content type, with its boundary. ERROR_INVALID for what is no such body. */
int multipart_read(struct str type, struct str body, struct multipart_part parts[MULTIPART_PARTS_MOST],
    size_t *n, struct error *err) MUST_USE;
/* The first part of that name, or NULL. */
const struct multipart_part *multipart_find(const struct multipart_part *parts, size_t n, const char *name);

#endif
