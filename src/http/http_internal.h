/* Inside the http room.
 *
 *                    whole request                 answered, keep-alive
 *   READING  ------------------------> HANDLING ------------------------> READING
 *      |  malformed, slow, too large      |  answered, to be closed
 *      +-----------------> FLUSHING <-----+                 client left: request->connection = NULL, gone()
 *                             | all sent: shutdown(WR)
 *                             v
 *                          DRAINING --- the peer closes, or LINGER_MS ---> freed
 */
#ifndef WEIR_HTTP_HTTP_INTERNAL_H
#define WEIR_HTTP_HTTP_INTERNAL_H

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <http_parser.h>
#include <openssl/ssl.h>

#include "base/list.h"
#include "http/http.h"

enum { HTTP_SPARE = 64, HTTP_SPARE_BYTES = 8192, HTTP_READ_BYTES = 64 * 1024 };
/* Of answers not yet sent: writers heed the watermark, so only a whole answer comes near it. */
#define HTTP_OUT_BYTES ((size_t)4 << 30)
enum {
    HTTP_MAX_FIELDS = 100,
    HTTP_LINGER_MS = 10000,
    HTTP_FIRST_MS = 1000,
    HTTP_LAST_MS = 250,
    HTTP_LEAST_BYTES_PER_MS = 16
};

enum http_state { HTTP_READING, HTTP_HANDLING, HTTP_FLUSHING, HTTP_DRAINING };

struct http_server {
    struct loop *loop;
    struct http_options options;
    http_handler *handler;
    void *ctx;
    struct evconnlistener *listener; /* NULL once draining */
    struct loop_timer *accept_again; /* after running out of descriptors */
    SSL_CTX *tls;
    struct list connections;
    struct list owing;        /* connections that have something to send */
    struct loop_timer *flush; /* sends it, at the end of the loop's turn */
    bool alone;               /* when the first came to owe, nothing else was due in this turn */
    int n_connections, n_active;
    struct http_request *spare[HTTP_SPARE]; /* done with, and their buffers */
    size_t n_spare;
    struct buf head;             /* of the answer that is being written */
    bool paused;                 /* the listener is off because of max_connections */
    char bytes[HTTP_READ_BYTES]; /* what is read, until it is parsed */
};

/* Of the bytes of a request that are no body: where in a line we are. */
struct http_lines {
    bool begun; /* something stands in it */
    bool cr;    /* and the last byte was a CR */
    bool body;  /* it follows bytes of a body, so nothing may stand in it */
    bool head;  /* one before it was not empty: no empty lines before a request */
    bool size;  /* a chunk's size stands in it, and no ';' came */
    bool blank; /* but a blank did */
};

/* Bytes are read straight from the socket; what cannot be parsed yet waits in the bufferevent's input. What
 * is written gathers in `out` and goes out at the end of the loop's turn, straight to the socket; only what
 * that does not take is left to the bufferevent, which rests otherwise. TLS is the bufferevent's all the
 * time.
 */
struct http_connection {
    struct list link, owing;
    struct http_server *server;
    struct bufferevent *bev;
    struct loop_io *io;     /* reads; NULL: TLS */
    bool reading;           /* what `io` watches for */
    bool in_used, out_used; /* the bufferevent may hold bytes that were read, that are to be written */
    struct buf out;
    struct loop_timer *deadline;
    struct http_parser parser;
    struct http_lines lines;
    const char *lines_at; /* while the parser runs: what it has read from here on is no body so far */
    enum http_state state;
    struct http_request *request; /* being received or answered */
    bool keep_alive;
    bool served;       /* it has had a request */
    bool promised;     /* its last answer's head said that it stays open */
    int refuse_status; /* set by a parser callback that refuses */
    const char *refuse_why;
    int64_t started_ms; /* of the current request */
    size_t received;
    int busy;         /* calls on the stack that still use this connection */
    bool closed;      /* free it when the last of them returns */
    bool input_ended; /* the client has closed its side */
    char peer[64];
};

/* A span of `head`, by offset since the buffer moves as it grows. */
struct http_span {
    uint32_t at, len;
};

struct http_request {
    struct http_connection *connection; /* NULL once the client is gone */
    struct http_span target;
    int n_fields;
    bool in_value, head_done;
    struct str host, query; /* the target's, raw, inside head */
    const char *method;
    bool begun, chunked, head_only;
    bool expects; /* that it is told to go on with its body */
    void (*gone)(void *);
    void *gone_ctx;
    void (*drain)(void *);
    void *drain_ctx;
    void (*due)(void *);
    void *due_ctx;
    bool is_due;
    void (*over)(void *, int status, int64_t bytes);
    void *over_ctx;
    int status; /* that was answered; 0: none yet */
    int64_t sent;
    /* From here on it is not zeroed for the next request. */
    struct buf head; /* target, then field names and values */
    struct buf body;
    struct buf path;        /* decoded */
    struct buf query_value; /* of the last http_request_query */
    struct buf reply_fields;
    struct http_span names[HTTP_MAX_FIELDS], values[HTTP_MAX_FIELDS];
};

/* To be written. Bytes of a piece that is too large for the memory there is are lost with the connection. */
void http_connection_add(struct http_connection *c, struct str bytes);
/* Bytes that the client has not taken yet. */
size_t http_connection_unsent(const struct http_connection *c);
/* What it has been given to write goes out soon. */
void http_connection_push(struct http_connection *c);
/* It is flushed at the end of the turn, whoever sends its bytes. */
void http_connection_queue(struct http_connection *c);
/* A client waits for this: it goes out at once where nothing else is due in this turn of the loop. With
 * others in the turn that would only wake their readers one by one. Frees nothing and calls nobody. */
void http_connection_hurry(struct http_connection *c);
/* Sends what a connection owes; it may be gone afterwards. */
void http_connection_flush(struct http_connection *c);
void http_connection_accept(struct http_server *s, evutil_socket_t fd, const char peer[64]);
/* The answer of the current request is written; goes on to the next one or closes. */
void http_connection_finish(struct http_connection *c);
/* Drops the connection at once; tells the request that its client is gone. */
void http_connection_lost(struct http_connection *c);
/* The server stops: closes a connection that has no request once what it is owed is sent. */
void http_connection_drain(struct http_connection *c);
void http_server_forget(struct http_server *s, struct http_connection *c);

/* Up to `end` what is being read is no body: false where a line of it does not end in CRLF, or is folded. */
bool http_lines_until(struct http_connection *c, const char *end);

struct http_request *http_request_create(struct http_connection *c);
/* Splits the target; false if it is malformed. */
bool http_request_resolve(struct http_request *r);
/* Is there no such header, or one alone that says just this? */
bool http_request_is_only(const struct http_request *r, const char *name, const char *value);
/* Tells that it is over, and keeps it for another where there is room; NULL is allowed. */
void http_request_recycle(struct http_server *s, struct http_request *r);
void http_request_spares_free(struct http_server *s);
const char *http_reason(int status);

#endif
