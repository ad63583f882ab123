/* What the files of this room share.
 *
 *   target.c      where transfers may go             address.c  which addresses are inside
 *   transfer.c    the life of one transfer           record.c   may it leave, and the record that it does
 *   http1.c       requests and answers as bytes      tls.c      trust anchors, handshakes
 *   connection.c  making connections, their bytes    pool.c     which transfer has which connection
 *   egress.c      libcurl on a loop, time, work put off
 *
 * libcurl resolves names, connects and asks proxies for a tunnel (CURLOPT_CONNECT_ONLY); the socket is ours
 * from then on, and its handle is gone. */
#ifndef WEIR_EGRESS_INTERNAL_H
#define WEIR_EGRESS_INTERNAL_H

#include <curl/curl.h>
#include <http_parser.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
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

/* ---- target.c ---- */

struct egress_target {
    struct arena *arena; /* holds the target itself */
    _Atomic int references;
    struct str name;
    const char *url;  /* scheme, host, port and base path, without a '/' at the end */
    const char *host; /* with the port where the URL names one */
    const char *path; /* the base path, may be "" */
    const char *dial; /* what libcurl is to connect to: http://host:port */
    const char *line; /* which connections can serve it: all that a connection depends on, as text */
    uint64_t line_hash;
    const char *tls_name; /* the host as a certificate names it */
    SSL_CTX *tls;         /* NULL: plain */
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
/* May a connection to this address serve the target? */
bool egress_target_allows(const struct egress_target *t, const struct sockaddr *address);
/* The error of one that may not. */
int egress_target_denied(const struct egress_target *t, struct error *err);

/* ---- tls.c ---- */

/* A client's context that trusts the anchors of `ca_file`, or the system's where that is NULL; from TLS 1.2
 * on, certificates verified, HTTP/1.1. The caller frees it (SSL_CTX_free). */
int egress_tls_create(const char *ca_file, SSL_CTX **out, struct error *err) MUST_USE;
/* A handshake to come on `fd` with the host that certificates call `name`; it resumes the line's last session
 * where there is one (RFC 8446, 2.2), and leaves its own there. NULL: out of memory. */
struct egress_line;
SSL *egress_tls_open(struct egress_line *line, SSL_CTX *tls, int fd, const char *name);
bool egress_tls_resumable(const struct egress_line *line); /* it has a session that is young enough */
/* The line's next handshake is a whole one. */
void egress_tls_forget(struct egress_line *line);
/* Why a handshake failed, as text of the library's or of `space`. */
const char *egress_tls_problem(const SSL *ssl, int result, char space[256]);

/* ---- egress.c ---- */

enum { EGRESS_READ_BYTES = 64 * 1024 };

struct egress {
    struct loop *loop;
    CURLM *multi;
    struct loop_timer *timer;       /* libcurl's */
    struct loop_timer *later_timer; /* runs `later` */
    struct loop_timer *tick;        /* looks after time-outs and old connections */
    int64_t tick_ms;                /* when it will; INT64_MAX: it rests */
    struct list transfers;
    int n_transfers;
    struct list later; /* transfers with something `todo` */
    struct list lines;
    struct list idle; /* connections in no use, the longest idle first */
    int n_idle;
    int connections_max; /* of a line */
    bool busy;           /* a callback may be on the stack: must not be freed */
    bool freeing;
    bool offline;
    egress_witness *witness;
    void *witness_ctx;
    EVP_MD *sha256;
    EVP_MD_CTX *hash;
    char bytes[EGRESS_READ_BYTES]; /* what is read, until it is parsed */
};

enum egress_todo { EGRESS_TODO_FAIL = 1, EGRESS_TODO_TIMEOUT = 2, EGRESS_TODO_RESUME = 4 };
/* Does it from the loop, soon. */
void egress_later(struct egress_transfer *t, enum egress_todo todo);
/* Has the clock looked at by then. */
void egress_tick_by(struct egress *e, int64_t mono_ms);

/* ---- connection.c ---- */

/*  DIALLING --> SHAKING --> READY          DIALLING: libcurl has it
 *      |           |          |            SHAKING:  the TLS handshake; a plain one skips it
 *      +-----------+----------+--> freed   READY:    a transfer's, or idle in its line */
enum egress_stage { EGRESS_DIALLING, EGRESS_SHAKING, EGRESS_READY };

union egress_peer {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

struct egress_connection {
    struct list pooled;               /* of its line's idle ones */
    struct list aged;                 /* of its egress's idle ones */
    struct egress_transfer *transfer; /* NULL: idle */
    struct egress *egress;
    struct egress_line *line;
    enum egress_stage stage;
    CURL *easy; /* while it dials */
    SSL *ssl;   /* NULL: plain */
    int fd;     /* -1: not ours yet */
    int watched;
    struct loop_io *io;
    union egress_peer peer;
    int64_t idle_since_ms;
    bool used;            /* it has carried a request */
    bool wants_write;     /* TLS must write before it can read on */
    bool address_refused; /* at least one address of the name is outside */
    char problem[CURL_ERROR_SIZE];
};

enum { EGRESS_EOF = 0, EGRESS_AGAIN = -1, EGRESS_BROKEN = -2 };

/* A connection for `t`, which hears of it through egress_transfer_connected or _unreachable: never at once.
 */
int egress_connection_dial(struct egress_line *line, struct egress_transfer *t, struct error *err) MUST_USE;
/* libcurl is through with it. */
void egress_connection_dialled(struct egress_connection *c, CURLcode result);
/* Bytes read, or EGRESS_EOF, _AGAIN, _BROKEN. */
ssize_t egress_connection_read(struct egress_connection *c, char *to, size_t size);
/* May bytes be left that no event will tell of? */
bool egress_connection_holds(const struct egress_connection *c);
/* Has nothing come on an idle connection, but for what is TLS's own? If not, it is of no use any more. */
bool egress_connection_quiet(struct egress_connection *c);
/* Bytes written, or EGRESS_AGAIN, _BROKEN. */
ssize_t egress_connection_write(struct egress_connection *c, const char *from, size_t size);
void egress_connection_watch(struct egress_connection *c, int events);
/* Frees what the connection holds; it is the pool that closes them. */
void egress_connection_free(struct egress_connection *c);

/* ---- pool.c ---- */

/* All that leads to one place the same way. */
struct egress_line {
    struct list link;
    struct egress *egress;
    struct list idle;    /* connections, the one used last at the end */
    struct list waiting; /* transfers, while as many connections as may be are in use */
    int connections;     /* idle, in use or being made */
    int dialling;        /* of these, libcurl has */
    int64_t distrust_ms; /* until then a connection carries one request */
    uint64_t hash;
    char *name;
    SSL_SESSION *session; /* of its last TLS handshake; NULL: none */
    SSL_CTX *session_tls; /* whose trust it was made with: it counts under no other */
};

/* Finds `t` a connection: an idle one (egress_transfer_connected comes before this returns), a new one, or a
 * place in the queue for one. */
int egress_pool_take(struct egress_transfer *t, struct error *err) MUST_USE;
/* `t` wants none any more; what it had is closed. */
void egress_pool_leave(struct egress_transfer *t);
/* The connection of `t` can serve again. */
void egress_pool_give(struct egress_transfer *t);
void egress_pool_close(struct egress_connection *c);
/* An answer came on `c` that nobody asked for: questions and answers of this place may be out of step, on
 * other connections too. For a minute none of them is used again. */
void egress_pool_distrust(struct egress_connection *c);
/* A connection of `line` is dialled: others may be. */
void egress_pool_next(struct egress_line *line);
/* Closes what has been idle for too long; when it is to look again. */
int64_t egress_pool_expire(struct egress *e, int64_t now);
void egress_pool_free(struct egress *e); /* no transfer is left */

/* ---- record.c ---- */

struct egress_ticket;
int egress_permit_check(const struct egress *e, const struct egress_permit *p, const struct egress_target *t,
    struct error *err) MUST_USE;
int egress_body_hash(struct egress *e, struct str body, char hex[65], struct error *err) MUST_USE;
/* Asks the witness; egress_transfer_start or a failure follows. */
void egress_witness_ask(struct egress_transfer *t);
void egress_ticket_drop(struct egress_transfer *t);

/* ---- transfer.c ---- */

/*  WITNESS --> WAITING --> RUNNING --> ENDED    WITNESS: the record is being kept; nothing has left
 *     |  ^        |           |  |        ^     WAITING: for a connection
 *     |  +--------(-- resend -+  |        |     RUNNING: the request is on a connection
 *     +-----------+--------------+--------+     ENDED:   waits for egress_close, or is about to be freed */
enum egress_state { EGRESS_WITNESS, EGRESS_WAITING, EGRESS_RUNNING, EGRESS_ENDED };
/* What a transfer waits for, each with its own time-out. */
enum egress_phase { EGRESS_CONNECT, EGRESS_FIRST_BYTE, EGRESS_IDLE };

struct egress_transfer {
    struct list all, later, queue; /* of the egress; of what is to do; of its line */
    unsigned todo;                 /* of enum egress_todo */
    struct egress *egress;         /* NULL once that is freed */
    const struct egress_target *target;
    struct egress_connection *connection; /* being made, or carrying it */
    struct egress_handler handler;        /* zeroed when nobody is to be called any more */
    struct egress_ticket *ticket;         /* while the witness has it */
    enum egress_state state;
    enum egress_phase phase;
    int connect_timeout_ms, first_byte_timeout_ms;
    int64_t since_ms; /* when the phase began or the last piece came */
    int64_t sent_ms;  /* when the request went on a connection */
    /* The request: one block, until the answer begins and it cannot be asked for again. */
    char *request;
    size_t request_len, head_len, written;
    bool write_broken;
    bool head_only; /* of method HEAD: no body follows */
    bool resent;    /* it was sent again on a new connection */
    /* The answer. */
    struct http_parser parser;
    struct buf answer_headers; /* "name: value\n"... */
    struct buf held;           /* came while paused */
    uint64_t received;
    bool heard; /* a byte of answer has come */
    bool in_value, status_told, complete, keep_alive;
    bool coded; /* its body is compressed */
    bool paused, draining;
    bool inside;                 /* its own callbacks may be on the stack... */
    bool closed;                 /* ...and one of them has closed it */
    int code;                    /* why it ends, when we end it ourselves */
    struct egress_permit permit; /* and the body's hash: for the record of each sending */
    char sha256[65];
    struct error error;
};

/* The record is kept. */
void egress_transfer_start(struct egress_transfer *t);
void egress_transfer_connected(struct egress_transfer *t);
/* Ends it soon: from where its handler must not be called. */
void egress_transfer_fail(struct egress_transfer *t, int code);
/* No connection could be made; `t` may be gone afterwards. */
void egress_transfer_unreachable(struct egress_transfer *t, int code, const char *why);
/* Its connection can be read or written (LOOP_READ, LOOP_WRITE); `t` may be gone afterwards. */
void egress_transfer_io(struct egress_transfer *t, int events);
void egress_transfer_resume(struct egress_transfer *t);
/* When its time is up; INT64_MAX: not by itself. */
int64_t egress_transfer_deadline(const struct egress_transfer *t);
void egress_transfer_timeout(struct egress_transfer *t);
/* Ends it and tells the handler; `t` may be gone afterwards. */
void egress_transfer_end(struct egress_transfer *t, int code);
/* Takes it from its egress; what remains is to free it. */
void egress_transfer_detach(struct egress_transfer *t);
void egress_transfer_free(struct egress_transfer *t);

/* ---- http1.c ---- */

/* Writes head and body into one block; refuses what could forge another header or request. */
int egress_request_write(
    struct egress_transfer *t, const struct egress_request *r, struct error *err) MUST_USE;
void egress_answer_begin(struct egress_transfer *t);
/* Reads bytes of the answer and calls the handler; how many were used. `len` 0: the connection has ended.
 * Less than `len` where the answer is complete, paused, closed (by the handler) or refused (t->code). Nothing
 * of `t` is freed. */
size_t egress_answer_read(struct egress_transfer *t, const char *data, size_t len);

#endif
