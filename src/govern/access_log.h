/* The access log: one line of JSON for each request, on standard output or in a file. Never content, never a
 * key: names of the configuration, numbers, and the ids by which ledger, egress log and traces know it.
 *
 *   entry --> access_entry_write --> buffer (bounded) --> a thread of its own --> file
 *
 * A disk or a reader that is slow holds up nobody: lines that find the buffer full are dropped and counted.
 */
#ifndef WEIR_GOVERN_ACCESS_LOG_H
#define WEIR_GOVERN_ACCESS_LOG_H

#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/str.h"

struct access_entry {
    int64_t wall_ms;
    struct str request_id, client, key_id, method, path, api;  /* path: an endpoint's, "" for any other */
    struct str route, rule, model, provider, outcome, cascade; /* empty where it did not come that far */
    int status;
    int64_t input_tokens, cached_tokens, output_tokens, reasoning_tokens; /* -1: unknown */
    int64_t cost_nano_usd, first_token_ms, total_us;                      /* -1: unknown */
    int64_t bytes_in, bytes_out;                                          /* of the bodies */
};
/* Appends one line, with its end. What is unknown is left out. Pure. */
void access_entry_write(const struct access_entry *e, struct buf *out);

struct access_log;
/* `where`: "stdout" or a file, which is made or appended to. */
int access_log_create(struct str where, struct access_log **out, struct error *err) MUST_USE;
void access_log_free(
    struct access_log *l); /* writes what is left first, for a second at most; NULL is allowed */
void access_log_write(struct access_log *l, const struct access_entry *e); /* thread-safe */
/* The file was renamed (logrotate): opens it anew. Where that fails the old one is written on. */
void access_log_reopen(struct access_log *l); /* NULL is allowed */
int64_t access_log_dropped(struct access_log *l);

#endif
