/* Why a provider did not answer, as a chat_failure: decides fallback and what the client sees. */
#ifndef WEIR_PROVIDER_FAILURE_H
#define WEIR_PROVIDER_FAILURE_H

#include "chat/chat.h"
#include "json/json_view.h"

/* A failure with the memory its spans point to. */
struct provider_failure {
    struct chat_failure failure;
    char message[512];
    char type[64];
};

/* An HTTP status that is no success, with the body that came with it. 401, 402, 403 and 404 are faults of
 * this gateway's configuration, not of its client: the next target may do. */
void provider_failure_status(struct provider_failure *f, struct str provider, struct str api_key, int status,
    struct str body, int64_t retry_after_ms);
/* A document that tells of an error, also in the middle of a stream; NULL: none came. `status` 0: taken from
 * it. */
void provider_failure_json(
    struct provider_failure *f, struct str provider, struct str api_key, int status, const json_t *document);
/* An error of ours or of the transport. */
void provider_failure_error(
    struct provider_failure *f, struct str provider, struct str api_key, int code, const char *message);

/* Does the document tell of an error? */
bool provider_is_error(const struct json_item *document);
/* The headers `retry-after-ms` and `retry-after` (seconds or a date, RFC 9110, 10.2.3); -1: neither says. At
 * most a day. */
int64_t provider_retry_after(struct str ms, struct str seconds_or_date, int64_t now_wall_ms);

#endif
