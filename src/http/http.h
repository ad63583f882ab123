/* The inbound HTTP/1.1 server (RFC 9110, RFC 9112): libevent's buffered sockets, http_parser's grammar, TLS
 * (OpenSSL) where asked.
 *
 *   accept -> read request (limits, time-outs) -> handler(request) -> http_reply
 *                                                                  -> http_stream_begin write* end
 *
 * One server per loop; several servers share one listening socket. While a request is being answered the
 * socket is still read, so that a client that leaves is noticed before the first byte is written. A client
 * that closes only its sending side counts as gone too (it cannot be told apart), but is sent a 499 that says
 * so. Everything runs on the server's loop. Requests the server itself refuses: 400 malformed, 408 too slow,
 * 413 body, 431 header; `refuse` words them. */
#ifndef WEIR_HTTP_HTTP_H
#define WEIR_HTTP_HTTP_H

#include "base/buf.h"
#include "base/loop.h"
#include "base/str.h"

struct http_server;
struct http_request;

/* Words a refusal in JSON, by what has come of the request: method and path may be empty. It may add headers,
 * and gives the status to answer with. `ctx` is the handler's. */
typedef int http_refuser(void *ctx, struct http_request *r, int status, struct str why, struct buf *body);

struct http_options {
    const char *address;             /* "127.0.0.1", "::1", ... */
    int port;                        /* 0: the system chooses; see http_server_port */
    const struct http_server *share; /* listen on this server's socket instead; it must be freed later */
    const char *certificate;         /* PEM chain and key; NULL: plain */
    const char *key;
    size_t max_header, max_body;
    int max_connections;          /* of this server; further ones wait in the backlog; 0: LIMIT_CONNECTIONS */
    int read_timeout_s;           /* to receive a request, and to idle between two */
    int write_timeout_s;          /* without any progress in writing */
    size_t write_high, write_low; /* watermarks of a stream's unsent bytes */
    http_refuser *refuse;         /* NULL: in plain text */
};
void http_options_init(struct http_options *o); /* the defaults of base/limits.h */

/* The handler gets each whole request (body included) and must answer it, now or later on this loop. */
typedef void http_handler(void *ctx, struct http_request *request);

int http_server_create(struct loop *loop, const struct http_options *options, http_handler *handler,
    void *ctx, struct http_server **out, struct error *err) MUST_USE;
/* Certificate and key anew, for connections from now on; on an error the old ones stay. */
int http_server_tls_read(struct http_server *s, struct error *err) MUST_USE;
int http_server_port(const struct http_server *s);
void http_server_stop_accepting(struct http_server *s); /* for draining: closes the listener, and each
                                                           connection after its answer */
int http_server_active(const struct http_server *s);    /* requests not yet answered in full */
int http_server_connections(const struct http_server *s);
void http_server_free(struct http_server *s); /* drops what is still open */

/* Reading. Spans live until the answer is complete. */
struct str http_request_method(const struct http_request *r);
/* Which host is asked, with its port: the target's where it names one, else the Host header's. */
struct str http_request_host(const struct http_request *r);
struct str http_request_path(const struct http_request *r); /* decoded, without the query; never has NUL */
struct str http_request_query(
    const struct http_request *r, const char *name); /* decoded; STR_NONE if absent */
struct str http_request_field(const struct http_request *r, struct str name, int index);
int http_request_field_count(const struct http_request *r, struct str name);
/* The same by names as text; here, so that the length of a literal is known. */
static inline struct str http_request_header_at(const struct http_request *r, const char *name, int index)
{
    return http_request_field(r, str_from(name), index); /* of several */
}
static inline struct str http_request_header(const struct http_request *r, const char *name)
{
    return http_request_header_at(r, name, 0); /* STR_NONE if absent */
}
static inline int http_request_header_count(const struct http_request *r, const char *name)
{
    return http_request_field_count(r, str_from(name)); /* duplicates are an attack on some */
}
struct str http_request_body(const struct http_request *r);
struct str http_request_peer(const struct http_request *r); /* address without port */

/* Called once if the client leaves before the answer is complete: the request is then dead, and the only call
 * still allowed on it is http_request_release, which must follow. */
void http_request_on_gone(struct http_request *r, void (*fn)(void *ctx), void *ctx);
void http_request_release(struct http_request *r);
/* Called once, last of all, when the request is finished with: the status that was answered, 0 where nothing
 * was, and the bytes of the answer's body. */
void http_request_on_over(
    struct http_request *r, void (*fn)(void *ctx, int status, int64_t bytes), void *ctx);

/* Answering. Headers may be added any time before the reply or the stream begins. A value with CR or LF is
 * refused by assertion: values are ours or checked. */
void http_reply_header(struct http_request *r, const char *name, struct str value);
/* The whole answer; the request is finished with and its spans are dead. */
void http_reply(struct http_request *r, int status, const char *content_type, struct str body);
/* A chunked answer. */
void http_stream_begin(struct http_request *r, int status, const char *content_type);
void http_stream_write(struct http_request *r, struct str bytes);
bool http_stream_full(const struct http_request *r); /* unsent bytes passed the high watermark */
void http_stream_on_drain(struct http_request *r, void (*fn)(void *ctx), void *ctx); /* fell to the low one */
/* fn is called at the end of the loop's turn in which http_stream_soon was, once, before anything is sent:
 * what came in pieces is written as one. It ends nothing. */
void http_stream_on_due(struct http_request *r, void (*fn)(void *ctx), void *ctx);
void http_stream_soon(struct http_request *r);
void http_stream_end(struct http_request *r); /* finished with; the connection is kept */

#endif
