/* What the files of this room share.
 *
 *   target.c    where transfers may go          address.c   which addresses are inside
 *   egress.c    libcurl's multi handle on a loop; work put off until libcurl has returned
 *   transfer.c  the life of one transfer        options.c   what libcurl is told for one transfer */
#ifndef WEIR_EGRESS_INTERNAL_H
#define WEIR_EGRESS_INTERNAL_H

#include <curl/curl.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "base/arena.h"
#include "base/list.h"
#include "egress/egress.h"
#include "egress/permit.h"

/* ---- address.c ---- */

/* Every address as IPv6; IPv4 as ::ffff:a.b.c.d, so that one form covers both. */
struct egress_network {
    unsigned char bytes[16];
    int prefix;
    bool v4;
};
int egress_network_parse(struct str cidr, struct egress_network *out, struct error *err) MUST_USE;
/* Is the address loopback, link-local, of a private network (RFC 1918, RFC 4193) or in one of `networks`? */
bool egress_address_inside(const struct sockaddr *address, const struct egress_network *networks, size_t n);
/* The same for a numeric address as text; false for anything else. */
bool egress_address_text_inside(const char *address, const struct egress_network *networks, size_t n);
/* "localhost", 127.0.0.0/8 or [::1], as libcurl's URL parser writes hosts. */
bool egress_host_is_loopback(const char *host);

/* ---- target.c ---- */

struct egress_target {
    struct arena *arena; /* holds the target itself */
    _Atomic int references;
    struct str name;
    const char *url;  /* scheme, host, port and base path, without a '/' at the end */
    const char *host; /* with the port where the URL names one */
    const char *path; /* the base path, may be "" */
    enum egress_zone zone;
    bool collector;
    const char *ca_file; /* NULL: the system's */
    const char *proxy;   /* NULL: none */
    const struct egress_network *networks;
    size_t n_networks;
    int connect_timeout_ms, first_byte_timeout_ms, idle_timeout_ms;
};
/* A transfer may outlive the configuration that made its target. */
const struct egress_target *egress_target_hold(const struct egress_target *t);

/* ---- egress.c ---- */

struct egress {
    struct loop *loop;
    CURLM *multi;
    struct loop_timer *timer;       /* libcurl's */
    struct loop_timer *later_timer; /* runs `later` when no event of libcurl's will */
    struct list transfers;
    struct list later; /* transfers with something `todo` */
    int inside;        /* libcurl is on the stack: handles must not be added or removed */
    bool busy;         /* a callback may be on the stack: must not be freed */
    bool offline;
    egress_witness *witness;
    void *witness_ctx;
};

enum egress_todo {
    EGRESS_TODO_START = 1,
    EGRESS_TODO_FAIL = 2,
    EGRESS_TODO_RESUME = 4,
    EGRESS_TODO_FREE = 8
};

/*  WITNESS --> RUNNING --> ENDED      WITNESS: the record is being kept; nothing has left
 *     |                      ^        RUNNING: libcurl has it
 *     +----------------------+        ENDED:   waits for egress_close, or is about to be freed */
enum egress_state { EGRESS_WITNESS, EGRESS_RUNNING, EGRESS_ENDED };
/* What a running transfer waits for, each with its own time-out. */
enum egress_phase { EGRESS_CONNECT, EGRESS_FIRST_BYTE, EGRESS_IDLE };

struct egress_ticket;

struct egress_transfer {
    struct list all, later;
    unsigned todo;         /* of enum egress_todo */
    struct egress *egress; /* NULL once that is freed */
    const struct egress_target *target;
    struct egress_handler handler; /* zeroed when nobody is to be called any more */
    struct egress_ticket *ticket;  /* while the witness has it */
    struct egress_permit permit;   /* and the body's hash: for the record of each sending */
    char sha256[65];
    bool resend, resent; /* to be sent again on a new connection; that was done */
    enum egress_state state;
    enum egress_phase phase;
    int connect_timeout_ms;
    int64_t since_ms; /* when the phase began or the last piece came */
    int64_t sent_ms;  /* when the request first went on a connection; 0: not yet */
    struct loop_timer *timer;
    CURL *easy;
    struct curl_slist *headers;
    char *url;
    char *body;
    size_t body_len;
    char method[16];
    struct buf answer_headers; /* "name: value\n"... */
    int status;
    bool status_told, paused, draining;
    bool address_refused; /* at least one address of the name is outside */
    uint64_t received;
    int code; /* why it ends, when we end it ourselves */
    struct error error;
    char curl_error[CURL_ERROR_SIZE];
};

void egress_later(struct egress_transfer *t, enum egress_todo todo);

/* ---- transfer.c: called by egress.c ---- */

void egress_transfer_start(struct egress_transfer *t);
void egress_transfer_resume(struct egress_transfer *t);
/* libcurl is through with it. */
void egress_transfer_finished(struct egress_transfer *t, CURLcode result);
/* Ends it and tells the handler; `t` may be gone afterwards. */
void egress_transfer_end(struct egress_transfer *t, int code);
/* Takes it from libcurl and from its egress; what remains is to free it. */
void egress_transfer_detach(struct egress_transfer *t);
void egress_transfer_free(struct egress_transfer *t);
/* libcurl's callbacks (options.c sets them). */
size_t egress_on_header(char *data, size_t size, size_t count, void *ctx);
size_t egress_on_body(char *data, size_t size, size_t count, void *ctx);
int egress_on_ready(void *ctx, char *peer, char *local, int peer_port, int local_port);
curl_socket_t egress_on_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *address);

/* ---- options.c ---- */

/* Headers as libcurl wants them; refuses what could forge another header or request. */
int egress_headers_build(
    const struct egress_request *request, struct curl_slist **out, struct error *err) MUST_USE;
int egress_easy_create(struct egress_transfer *t, struct error *err) MUST_USE;

#endif
