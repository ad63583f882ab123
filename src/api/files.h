/* What files.c and batches.c share of their API. */
#ifndef WEIR_API_FILES_H
#define WEIR_API_FILES_H

#include "api/api.h"
#include "api/shelf.h"

/* The folder, or NULL after having answered why there is none. */
const char *api_files_folder(const struct api_call *c);
/* Answers with an object of the shelf: without what is only ours. */
void api_files_reply(const struct api_call *c, const json_t *about);
/* The same of a list: ?limit, ?after; `purpose` NULL: all. */
void api_files_reply_list(const struct api_call *c, const char *prefix, const char *purpose);
/* What stands behind the prefix of the path, up to a '/'; `rest`: what follows that. */
struct str api_files_id(const struct api_call *c, const char *prefix, struct str *rest);

#endif
