/* Batches that clients ask for over HTTP: they run on one loop, one record a batch in the files' folder.
 *
 *   in_progress --> finalizing --> completed | failed
 *        |  ^   \--> cancelling --> cancelled      (expired: as cancelled, after 24 hours)
 *        +--+  a process that ended: the next one goes on
 */
#ifndef WEIR_API_BATCHES_H
#define WEIR_API_BATCHES_H

#include "api/api.h"

struct batches;

/* Goes on with what an earlier process left, on the shard's loop, which must not run yet. `folder` NULL:
 * there is none. */
struct batches *batches_create(struct api_shard *home, const char *folder);
/* On that loop's thread; what runs is broken off and goes on in the next process. NULL is allowed. */
void batches_free(struct batches *b);

#endif
