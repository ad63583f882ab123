/* The only door out, and the only user of libcurl.
 *
 *   permit + target + request --> boundary check --> record (witness) --> connect --> TLS --> send --> answer
 *
 * Nothing is sent without a permit, nothing inside the `local` boundary goes to a target outside it, and not
 * a byte leaves before the witness has confirmed that the record of it is kept. Redirects are not followed,
 * environment proxies are not used, TLS verification cannot be switched off. A target of zone local must also
 * resolve to an address of a private network (RFC 1918, RFC 4193, link-local, loopback, or one of the
 * target's `networks`): checked on the socket's own address, so neither a name nor a slip can move it. */
#ifndef WEIR_EGRESS_EGRESS_H
#define WEIR_EGRESS_EGRESS_H

#include "base/buf.h"
#include "base/loop.h"
#include "base/str.h"

enum egress_boundary { EGRESS_BOUNDARY_LOCAL = 0, EGRESS_BOUNDARY_ANY = 1 };
enum egress_zone { EGRESS_ZONE_LOCAL = 0, EGRESS_ZONE_CLOUD = 1 };

struct egress;
struct egress_permit;
struct egress_target;
struct egress_transfer;

/* ---- Targets: where transfers may go. Made when the configuration is loaded; immutable; shared by threads.
 * ---- */
struct egress_target_options {
    struct str name;     /* the provider's name */
    struct str base_url; /* http or https, no user, no query, no fragment */
    enum egress_zone zone;
    bool collector;             /* of telemetry: takes spans and nothing else */
    struct str ca_file;         /* extra trust anchors (PEM) instead of the system's; empty: the system's */
    struct str proxy;           /* http://[user:password@]host:port, empty: none */
    const struct str *networks; /* CIDRs that also count as inside, for zone local */
    size_t n_networks;
    int connect_timeout_ms;    /* 0: 5000 */
    int first_byte_timeout_ms; /* until the first byte of the answer's body; 0: 120000 */
    int idle_timeout_ms;       /* between two pieces of it; 0: 60000 */
};
int egress_target_create(
    const struct egress_target_options *o, struct egress_target **out, struct error *err) MUST_USE;
void egress_target_free(struct egress_target *t);
enum egress_zone egress_target_zone(const struct egress_target *t);
struct str egress_target_host(const struct egress_target *t); /* with the port where its base_url names one */
struct str egress_target_path(const struct egress_target *t); /* of its base_url, without a '/' at the end */

/* ---- The witness: told of every transfer before it starts. ---- */
struct egress_record {
    int64_t wall_ms;
    struct str request_id, rule; /* of the permit */
    enum egress_boundary boundary;
    enum egress_zone zone;
    struct str target, host, path;
    int64_t bytes;
    char sha256[65]; /* of the body, lower-case hex */
};
/* Must call done(done_ctx, 0) on the loop it was called on once the record is kept, or a negative code: then
 * nothing is sent. May call it before returning. */
typedef void egress_witness(void *ctx, struct loop *loop, const struct egress_record *record,
    void (*done)(void *done_ctx, int code), void *done_ctx);

/* ---- One egress per loop. ---- */
struct egress_options {
    bool offline;            /* refuse everything */
    egress_witness *witness; /* required */
    void *witness_ctx;
    int max_connections_per_host; /* 0: LIMIT_CONNECTIONS */
};
int egress_create(
    struct loop *loop, const struct egress_options *o, struct egress **out, struct error *err) MUST_USE;
/* Cancels what is open, without a callback; such transfers must still be closed. Not inside a callback. */
void egress_free(struct egress *e);

struct egress_header {
    struct str name, value;
};
/* Whether it can be sent: a name of HTTP's, a value without control characters, and none of framing. */
int egress_header_check(const struct egress_header *h, struct error *err) MUST_USE;
struct egress_request {
    const char *method; /* "POST", "GET" */
    struct str path;    /* appended to the target's base_url; begins with '/' */
    const struct egress_header *headers;
    size_t n_headers;
    struct str body;               /* copied */
    int64_t connect_timeout_ms;    /* 0: the target's */
    int64_t first_byte_timeout_ms; /* 0: the target's */
};

/* Answers are asked for as they are: one that comes compressed all the same is an error that names the
 * coding, or, where its status tells of an error, one without a body. A coding that names no compression
 * ("utf-8") is passed over where the body is plainly text. So there is nothing that could swell.
 * Callbacks run on the loop. `done` comes exactly once, last, unless the transfer is cancelled. */
struct egress_handler {
    /* The final status and headers are known (informational ones are skipped). header() below works from now
     * on. */
    void (*status)(void *ctx, int status);
    void (*data)(void *ctx, struct str bytes);
    /* code 0: the answer is complete. ERROR_UNAVAILABLE (refused, DNS, reset, TLS), ERROR_TIMEOUT,
     * ERROR_DENIED, ERROR_LIMIT, ERROR_IO (the witness failed); err->message never holds a header's value. */
    void (*done)(void *ctx, int code, const struct error *err);
    void *ctx;
};
/* Fails at once (ERROR_DENIED) when the permit does not allow the target: no callback runs then. The permit
 * may be NULL, expired or of another boundary: refused; every refusal is logged. */
int egress_open(struct egress *e, const struct egress_permit *permit, const struct egress_target *target,
    const struct egress_request *request, const struct egress_handler *handler, struct egress_transfer **out,
    struct error *err) MUST_USE;
struct str egress_header(
    const struct egress_transfer *t, const char *name); /* of the answer; STR_NONE if absent */
void egress_pause(
    struct egress_transfer *t, bool paused); /* stops reading from the provider; time-outs rest */
/* Ends the transfer (if it runs) and frees it. Allowed inside its own callbacks; required after `done`. */
void egress_close(struct egress_transfer *t);
/* Instead of egress_close, by a caller who has all it needs of the answer: the few bytes that may be left are
 * read and dropped within a second, so that the connection can serve again. No callback comes after it. */
void egress_finish(struct egress_transfer *t);

/* Does a host, as a URL or a Host header writes it, mean this machine: "localhost", 127.0.0.0/8, ::1 or [::1]? */
bool egress_host_is_loopback(struct str host);
int egress_proxy_check(struct str proxy, struct error *err) MUST_USE; /* is it one that a target may have? */
bool egress_proxy_is_loopback(struct str proxy);

#endif
