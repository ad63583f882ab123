/* What the readers of the shapes share. */
#ifndef WEIR_API_READ_H
#define WEIR_API_READ_H

#include "chat/chat.h"

/* The body's tree, an object; the arena keeps it. */
int api_body_read(struct arena *a, struct str body, const json_t **root, struct error *err) MUST_USE;
/* `model`, which must be there. */
int api_model_read(const json_t *root, struct str *out, struct error *err) MUST_USE;
/* A list of token ids; false: `list` is something else, an empty list too. Without memory *out is NULL. */
bool api_ids_read(struct arena *a, const json_t *list, const int32_t **out, size_t *n);
/* The list `tools`, each by `read`; errors name which. */
int api_tools_read(struct arena *a, const json_t *list,
    int (*read)(const json_t *item, struct chat_tool *out, struct error *err), struct chat_request *r,
    struct error *err) MUST_USE;
/* ERROR_INVALID names a member of `object` that is neither null nor among `known` (NULL last). */
int api_read_only(const json_t *object, const char *const *known, struct error *err) MUST_USE;
/* Copies the members of `object` that are not among `known` (NULL last) into a new object, nulls left out;
 * NULL when there are none. */
int api_read_vendor(struct arena *a, const json_t *object, const char *const *known, const json_t **out,
    struct error *err) MUST_USE;

#endif
