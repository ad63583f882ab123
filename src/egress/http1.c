/* HTTP/1.1 as a client (RFC 9110, 9112): the request as one block of bytes, the answer read by http_parser as
 * it comes. No sockets here. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/limits.h"
#include "egress/internal.h"

#ifndef WEIR_VERSION
#define WEIR_VERSION "0"
#endif

/* What may still come after egress_finish before the connection is given up. */
enum { DRAIN_BYTES = 64 * 1024 };
/* What an informational answer without headers counts for. */
enum { INFORMATIONAL_BYTES = 64 };

/* ---- The request ---- */

/* RFC 9110, 5.6.2. */
static bool is_token(struct str s)
{
    static const bool in_token[256] = {['!'] = true,
        ['#'] = true,
        ['$'] = true,
        ['%'] = true,
        ['&'] = true,
        ['\''] = true,
        ['*'] = true,
        ['+'] = true,
        ['-'] = true,
        ['.'] = true,
        ['^'] = true,
        ['_'] = true,
        ['`'] = true,
        ['|'] = true,
        ['~'] = true,
        ['0' ... '9'] = true};
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.data[i], letter = (unsigned char)((c | 0x20) - 'a');
        if (letter >= 26 && !in_token[c])
            return false;
    }
    return s.len > 0;
}

static bool is_value(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.data[i];
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return false;
    }
    return str_trim(s).len > 0;
}

/* Where the message ends and how the connection goes on is said here and nowhere else. */
static bool is_framing(struct str name)
{
    static const struct str framing[] = {{"content-length", 14}, {"transfer-encoding", 17},
        {"connection", 10}, {"expect", 6}, {"upgrade", 7}, {"te", 2}, {"trailer", 7}};
    for (size_t i = 0; i < sizeof framing / sizeof *framing; i++)
        if (name.len == framing[i].len && str_is_nocase(name, framing[i].data))
            return true;
    return false;
}

int egress_header_check(const struct egress_header *h, struct error *err)
{
    if (!is_token(h->name))
        return error_set(err, ERROR_INVALID, "a header's name is not valid: check the provider's settings");
    if (!is_value(h->value))
        return error_set(err, ERROR_INVALID,
            "the value of header " STR_FMT
            " is empty or holds control characters: check the api_key for line ends",
            STR_ARG(h->name));
    if (is_framing(h->name))
        return error_set(err, ERROR_INVALID,
            "header " STR_FMT " is not for settings: the gateway writes it itself", STR_ARG(h->name));
    return 0;
}

static bool has_header(const struct egress_request *r, const char *name)
{
    for (size_t i = 0; i < r->n_headers; i++)
        if (str_is_nocase(r->headers[i].name, name))
            return true;
    return false;
}

static void line_append(struct buf *b, const char *name, struct str value)
{
    buf_append_text(b, name);
    buf_append_str(b, value);
    buf_append(b, "\r\n", 2);
}

static void head_write(struct buf *b, const struct egress_target *target, const struct egress_request *r)
{
    buf_append_text(b, r->method);
    buf_append_char(b, ' ');
    buf_append_text(b, target->path);
    buf_append_str(b, r->path);
    line_append(b, " HTTP/1.1", STR_NONE);
    if (!has_header(r, "host"))
        line_append(b, "Host: ", str_from(target->host));
    if (!has_header(r, "user-agent"))
        line_append(b, "User-Agent: ", STR("weir/" WEIR_VERSION));
    if (!has_header(r, "accept"))
        line_append(b, "Accept: ", STR("*/*"));
    if (!has_header(r, "accept-encoding")) /* without it any coding would do (RFC 9110, 12.5.3) */
        line_append(b, "Accept-Encoding: ", STR("identity"));
    for (size_t i = 0; i < r->n_headers; i++) {
        buf_append_str(b, r->headers[i].name);
        line_append(b, ": ", r->headers[i].value);
    }
    if (r->body.len > 0 || strcmp(r->method, "POST") == 0) {
        buf_append_text(b, "Content-Length: ");
        buf_append_int(b, (int64_t)r->body.len);
        buf_append_text(b, "\r\n");
    }
    buf_append(b, "\r\n", 2);
}

int egress_request_write(struct egress_transfer *t, const struct egress_request *r, struct error *err)
{
    struct buf b;
    for (size_t i = 0; i < r->n_headers; i++) {
        int rc = egress_header_check(&r->headers[i], err);
        if (rc)
            return rc;
    }
    size_t room = 256 + strlen(t->target->path) + strlen(t->target->host) + r->path.len;
    for (size_t i = 0; i < r->n_headers; i++)
        room += r->headers[i].name.len + r->headers[i].value.len + 4;
    if (room > 2 * LIMIT_HTTP_HEADER)
        return error_set(
            err, ERROR_LIMIT, "the headers for '" STR_FMT "' are too long", STR_ARG(t->target->name));
    buf_init(&b, room + r->body.len);
    if (!buf_reserve(&b, room + r->body.len)) /* at once: the block is not copied while it grows */
        return error_set(err, ERROR_MEMORY, "out of memory");
    head_write(&b, t->target, r);
    t->head_len = b.len;
    buf_append_str(&b, r->body);
    t->request = b.data;
    t->request_len = b.len;
    t->head_only = strcmp(r->method, "HEAD") == 0;
    return b.failed ? error_set(err, b.failed, "the request cannot be written") : 0;
}

/* ---- The answer ---- */

static struct egress_transfer *of(struct http_parser *p)
{
    return p->data;
}

static int refuse(struct egress_transfer *t, int code, const char *what)
{
    t->code = error_set(
        &t->error, code, "the answer of '" STR_FMT "' %s: it was cut off", STR_ARG(t->target->name), what);
    return -1;
}

/* After a callback of the handler's: it may have closed or paused the transfer. */
static int go_on(struct http_parser *p)
{
    struct egress_transfer *t = of(p);
    if (t->closed || t->paused)
        http_parser_pause(p, 1);
    return 0;
}

static int head_append(struct egress_transfer *t, const char *at, size_t len)
{
    return buf_append(&t->answer_headers, at, len) ? refuse(t, ERROR_LIMIT, "has too many headers") : 0;
}

static int on_field(struct http_parser *p, const char *at, size_t len)
{
    struct egress_transfer *t = of(p);
    if (t->status_told) /* a trailer */
        return 0;
    bool next = t->in_value;
    t->in_value = false;
    return next && head_append(t, "\n", 1) ? -1 : head_append(t, at, len);
}

static int on_value(struct http_parser *p, const char *at, size_t len)
{
    struct egress_transfer *t = of(p);
    if (t->status_told)
        return 0;
    bool first = !t->in_value;
    t->in_value = true;
    return first && head_append(t, ": ", 2) ? -1 : head_append(t, at, len);
}

static bool is_informational(const struct http_parser *p)
{
    return p->status_code >= 100 && p->status_code < 200;
}

static bool has_no_body(const struct http_parser *p)
{
    return p->status_code == 204 || p->status_code == 304;
}

static bool tells_of_body(const struct http_parser *p)
{
    return p->flags & F_CHUNKED || (p->flags & F_CONTENTLENGTH && p->content_length > 0);
}

static bool is_coded(const struct egress_transfer *t)
{
    struct str coding = egress_header(t, "content-encoding");
    return coding.len > 0 && !str_is_nocase(coding, "identity");
}

/* One that is registered (RFC 9110, 8.4.1 and IANA); any other may be a mistake: "utf-8", "none". */
static bool is_compression(struct str codings)
{
    static const char *const known[] = {
        "gzip", "x-gzip", "deflate", "compress", "x-compress", "br", "zstd", "dcb", "dcz"};
    struct str coding;
    while (str_split(&codings, ',', &coding))
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            if (str_is_nocase(str_trim(coding), known[i]))
                return true;
    return false;
}

/* Does a body begin as JSON, events or a page do? */
static bool is_plain(const struct egress_transfer *t, const char *body)
{
    return *body && strchr("{[\"<: \t\r\ndeir\xEF", *body) &&
           !is_compression(egress_header(t, "content-encoding"));
}

/* Compressed, though that was not asked for. What an error says is done without: its status counts. */
static int refuse_coded(struct egress_transfer *t)
{
    if (t->parser.status_code >= 300)
        return 0;
    t->code = error_set(&t->error, ERROR_UNAVAILABLE,
        "the answer of '" STR_FMT "' (%s) is compressed (Content-Encoding: " STR_FMT
        "), though nobody asked for that: turn it off there, or in the proxy before it",
        STR_ARG(t->target->name), t->target->host,
        STR_ARG(str_slice(egress_header(t, "content-encoding"), 0, 40)));
    return -1;
}

/* 1: no body follows, whatever the headers say (RFC 9112, 6.3). */
static int on_head(struct http_parser *p)
{
    struct egress_transfer *t = of(p);
    if (p->http_major != 1 || p->status_code < 100 || p->status_code == 101)
        return refuse(t, ERROR_UNAVAILABLE, "is not HTTP/1.1");
    if (is_informational(p))
        return 1;
    t->status_told = true;
    if (t->in_value && head_append(t, "\n", 1))
        return -1;
    t->coded = is_coded(t);
    if (t->handler.status)
        t->handler.status(t->handler.ctx, (int)p->status_code);
    go_on(p);
    return t->head_only || has_no_body(p);
}

static int on_body(struct http_parser *p, const char *at, size_t len)
{
    struct egress_transfer *t = of(p);
    t->received += len;
    if (t->draining)
        return t->received > DRAIN_BYTES ? refuse(t, ERROR_LIMIT, "goes on") : 0;
    if (t->received > LIMIT_PROVIDER_BODY)
        return refuse(t, ERROR_LIMIT, "has more than 64 MiB");
    t->phase = EGRESS_IDLE;
    if (t->coded && t->received == len && is_plain(t, at)) /* its first piece */
        t->coded = false;
    if (t->coded)
        return refuse_coded(t);
    if (t->handler.data)
        t->handler.data(t->handler.ctx, (struct str){at, len});
    return go_on(p);
}

static int on_complete(struct http_parser *p)
{
    struct egress_transfer *t = of(p);
    if (is_informational(p)) {
        /* Bytes and heads still count, so that such answers come to an end; their headers are forgotten. */
        size_t bytes = t->answer_headers.len + INFORMATIONAL_BYTES;
        if (bytes >= t->answer_headers.max)
            return refuse(t, ERROR_LIMIT, "has too many headers");
        t->answer_headers.max -= bytes;
        buf_clear(&t->answer_headers);
        t->in_value = false;
        return 0;
    }
    t->complete = true;
    t->keep_alive = http_should_keep_alive(p) && !(p->uses_transfer_encoding && p->flags & F_CONTENTLENGTH) &&
                    !(has_no_body(p) && tells_of_body(p));
    http_parser_pause(p, 1);
    return 0;
}

static const struct http_parser_settings settings = {.on_header_field = on_field,
    .on_header_value = on_value,
    .on_headers_complete = on_head,
    .on_body = on_body,
    .on_message_complete = on_complete};

void egress_answer_begin(struct egress_transfer *t)
{
    http_parser_init(&t->parser, HTTP_RESPONSE);
    t->parser.data = t;
    t->parser.allow_chunked_length = 1; /* chunks win; the connection is not used again */
    buf_free(&t->answer_headers);
    buf_init(&t->answer_headers, LIMIT_HTTP_HEADER);
}

size_t egress_answer_read(struct egress_transfer *t, const char *data, size_t len)
{
    struct http_parser *p = &t->parser;
    t->inside = true;
    size_t used = http_parser_execute(p, &settings, data, len);
    t->inside = false;
    enum http_errno problem = HTTP_PARSER_ERRNO(p);
    if (problem == HPE_PAUSED)
        http_parser_pause(p, 0);
    else if (problem == HPE_HEADER_OVERFLOW)
        refuse(t, ERROR_LIMIT, "has too many headers");
    else if (problem != HPE_OK && !t->code)
        t->code = error_set(&t->error, ERROR_UNAVAILABLE,
            len == 0 ? "'" STR_FMT "' (%s) broke the connection before its answer was complete"
                     : "what '" STR_FMT "' (%s) answers is not HTTP: check base_url",
            STR_ARG(t->target->name), t->target->host);
    return used;
}
