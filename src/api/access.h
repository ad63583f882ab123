/* The line of the access log that each request gets: begun when it comes, filled on its way, written when its
 * answer is over or its client gone. */
#ifndef WEIR_API_ACCESS_H
#define WEIR_API_ACCESS_H

#include "api/api.h"
#include "govern/access_log.h"

/* The entry lives as long as the HTTP request. NULL where there is no access log. `path` is an endpoint's, `name`
 * its API's, which metrics and the like have none of. */
struct access_entry *api_access_begin(const struct api_call *c, const char *path, const char *name);
void api_access_key(struct access_entry *e, struct str key_id); /* whose key it was */

#endif
