/* What a handler sees of a request, and how it answers. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "http/http_internal.h"

/* Its buffers, all of them. */
static void buffers_each(struct http_request *r, void (*fn)(struct buf *b))
{
    fn(&r->head);
    fn(&r->body);
    fn(&r->path);
    fn(&r->query_value);
    fn(&r->reply_fields);
}

struct http_request *http_request_create(struct http_connection *c)
{
    struct http_server *s = c->server;
    if (s->n_spare > 0) {
        struct http_request *spare = s->spare[--s->n_spare];
        spare->connection = c;
        return spare;
    }
    struct http_request *r = calloc(1, sizeof *r);
    if (!r)
        abort();
    r->connection = c;
    buf_init(&r->head, s->options.max_header);
    buf_init(&r->body, s->options.max_body);
    buf_init(&r->path, s->options.max_header);
    buf_init(&r->query_value, s->options.max_header);
    buf_init(&r->reply_fields, 64 * KIB);
    return r;
}

static void over(struct http_request *r)
{
    if (r->over)
        r->over(r->over_ctx, r->status, r->sent);
}

static void request_free(struct http_request *r)
{
    buffers_each(r, buf_free);
    free(r);
}

static void buffer_reuse(struct buf *b)
{
    if (b->capacity > HTTP_SPARE_BYTES)
        buf_free(b);
    else
        buf_clear(b);
}

/* What it was is forgotten, but for the memory of its buffers. */
static void request_reset(struct http_request *r)
{
    buffers_each(r, buffer_reuse);
    memset(r, 0, offsetof(struct http_request, head));
}

void http_request_recycle(struct http_server *s, struct http_request *r)
{
    if (!r)
        return;
    over(r);
    if (s->n_spare == HTTP_SPARE) {
        request_free(r);
        return;
    }
    request_reset(r);
    s->spare[s->n_spare++] = r;
}

void http_request_spares_free(struct http_server *s)
{
    while (s->n_spare > 0)
        request_free(s->spare[--s->n_spare]);
}

static struct str span(const struct http_request *r, struct http_span s)
{
    return str_slice(buf_str(&r->head), s.at, s.at + s.len);
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-decoding (RFC 3986); false on a bad escape or NUL. */
static bool decode(struct str from, bool plus_is_space, struct buf *to)
{
    buf_clear(to);
    for (size_t i = 0; i < from.len; i++) {
        char c = from.data[i];
        if (c == '%') {
            int high = i + 2 < from.len ? hex(from.data[i + 1]) : -1;
            int low = i + 2 < from.len ? hex(from.data[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            c = (char)(high << 4 | low);
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        if (c == '\0' || buf_append_char(to, c))
            return false;
    }
    return true;
}

static struct str url_part(const struct http_parser_url *url, struct str target, int field)
{
    size_t at = url->field_data[field].off;
    return url->field_set & 1 << field ? str_slice(target, at, at + url->field_data[field].len) : STR_NONE;
}

/* The absolute form: its host counts, whatever the Host header says (RFC 9112, 3.2.2), and an empty path is
 * that of the root (RFC 9110, 4.2.3). False: it names another protocol, or a user. */
static bool absolute_take(struct http_request *r, const struct http_parser_url *url, struct str target)
{
    struct str scheme = url_part(url, target, UF_SCHEMA);
    size_t start = scheme.len + 3, end = start; /* "://" */
    while (end < target.len && !strchr("/?#", target.data[end]))
        end++;
    r->host = str_slice(target, start, end);
    return (str_is_nocase(scheme, "http") || str_is_nocase(scheme, "https")) &&
           !(url->field_set & 1 << UF_USERINFO);
}

bool http_request_resolve(struct http_request *r)
{
    struct str target = span(r, r->target);
    struct http_parser_url url;
    http_parser_url_init(&url);
    if (target.len == 0 || target.len > UINT16_MAX ||
        http_parser_parse_url(target.data, target.len, 0, &url) != 0)
        return false;
    bool absolute = url.field_set & 1 << UF_HOST;
    struct str path = url_part(&url, target, UF_PATH);
    if (absolute ? !absolute_take(r, &url, target) : path.len == 0)
        return false;
    r->query = url_part(&url, target, UF_QUERY);
    return decode(path.len > 0 ? path : STR("/"), false, &r->path);
}

struct str http_request_method(const struct http_request *r)
{
    return str_from(r->method);
}

struct str http_request_host(const struct http_request *r)
{
    return r->host.len > 0 ? r->host : http_request_header(r, "host");
}

struct str http_request_path(const struct http_request *r)
{
    return buf_str(&r->path);
}

struct str http_request_query(const struct http_request *r, const char *name)
{
    /* The decoded value is kept in the request so that the caller has nothing to free. */
    struct buf *value = &((struct http_request *)(uintptr_t)r)->query_value;
    struct str rest = r->query, pair;
    while (str_split(&rest, '&', &pair)) {
        size_t equals = str_find_char(pair, '=');
        struct str key = equals == SIZE_MAX ? pair : str_slice(pair, 0, equals);
        if (str_is(key, name))
            return equals != SIZE_MAX && decode(str_slice(pair, equals + 1, pair.len), true, value) &&
                           value->len
                       ? buf_str(value)
                       : STR("");
    }
    return STR_NONE;
}

/* The index of the field of that name from `from` on, n_fields: there is none. */
static int field_find(const struct http_request *r, struct str name, int from)
{
    const char *head = r->head.data;
    while (from < r->n_fields && (r->names[from].len != name.len ||
                                     strncasecmp(head + r->names[from].at, name.data, name.len) != 0))
        from++;
    return from;
}

struct str http_request_field(const struct http_request *r, struct str name, int index)
{
    for (int i = field_find(r, name, 0); i < r->n_fields; i = field_find(r, name, i + 1))
        if (index-- == 0)
            return str_trim(span(r, r->values[i]));
    return STR_NONE;
}

int http_request_field_count(const struct http_request *r, struct str name)
{
    int count = 0;
    for (int i = field_find(r, name, 0); i < r->n_fields; i = field_find(r, name, i + 1))
        count++;
    return count;
}

bool http_request_is_only(const struct http_request *r, const char *name, const char *value)
{
    int n = http_request_header_count(r, name);
    return n == 0 || (n == 1 && str_is_nocase(http_request_header(r, name), value));
}

struct str http_request_body(const struct http_request *r)
{
    return buf_str(&r->body);
}

struct str http_request_peer(const struct http_request *r)
{
    return r->connection ? str_from(r->connection->peer) : STR_NONE;
}

void http_request_on_gone(struct http_request *r, void (*fn)(void *), void *ctx)
{
    r->gone = fn;
    r->gone_ctx = ctx;
}

void http_request_release(struct http_request *r)
{
    assert(!r->connection);
    over(r);
    request_free(r);
}

void http_request_on_over(struct http_request *r, void (*fn)(void *, int, int64_t), void *ctx)
{
    r->over = fn;
    r->over_ctx = ctx;
}

/* ---- Answering ---- */

static bool field_is_safe(struct str value)
{
    for (size_t i = 0; i < value.len; i++)
        if ((unsigned char)value.data[i] < ' ' && value.data[i] != '\t')
            return false;
    return true;
}

void http_reply_header(struct http_request *r, const char *name, struct str value)
{
    assert(!r->begun && field_is_safe(value));
    buf_append_text(&r->reply_fields, name);
    buf_append_text(&r->reply_fields, ": ");
    buf_append_str(&r->reply_fields, value);
    buf_append_text(&r->reply_fields, "\r\n");
}

const char *http_reason(int status)
{
    return status == 499   ? "Client Closed Request"
           : status == 529 ? "Overloaded" /* Anthropic's */
                           : http_status_str((enum http_status)status);
}

/* The head but for what tells the body's length, and the line that ends it. */
static struct buf *head_write(struct http_request *r, int status, const char *content_type)
{
    struct http_connection *c = r->connection;
    struct buf *out = &c->server->head;
    buf_clear(out);
    r->begun = true;
    r->status = status;
    buf_append_text(out, "HTTP/1.1 ");
    buf_append_int(out, status);
    buf_append_char(out, ' ');
    buf_append_text(out, http_reason(status));
    buf_append_text(out, "\r\n");
    if (content_type) {
        buf_append_text(out, "Content-Type: ");
        buf_append_text(out, content_type);
        buf_append_text(out, "\r\n");
    }
    buf_append_str(out, buf_str(&r->reply_fields));
    c->promised = c->keep_alive && c->server->listener;
    if (!c->promised)
        buf_append_text(out, "Connection: close\r\n");
    else if (!r->chunked)
        buf_append_text(out, "Connection: keep-alive\r\n");
    return out;
}

void http_reply(struct http_request *r, int status, const char *content_type, struct str body)
{
    struct http_connection *c = r->connection;
    if (!c) {
        http_request_release(r);
        return;
    }
    struct buf *head = head_write(r, status, content_type);
    buf_append_text(head, "Content-Length: ");
    buf_append_int(head, (int64_t)body.len);
    buf_append_text(head, "\r\n\r\n");
    http_connection_add(c, buf_str(head));
    if (!r->head_only)
        http_connection_add(c, body);
    r->sent = r->head_only ? 0 : (int64_t)body.len;
    http_connection_push(c);
    http_connection_hurry(c);
    http_connection_finish(c);
}

void http_stream_begin(struct http_request *r, int status, const char *content_type)
{
    struct http_connection *c = r->connection;
    if (!c)
        return;
    /* HTTP/1.0 knows no chunks: the end of the connection is the end of the answer. */
    if (!r->chunked)
        c->keep_alive = false;
    struct buf *head = head_write(r, status, content_type);
    buf_append_text(head, r->chunked ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n");
    http_connection_add(c, buf_str(head));
    http_connection_push(c);
}

/* RFC 9112, 7.1: the size in hexadecimal digits, on a line of its own. */
static void chunk_size_add(struct http_connection *c, size_t size)
{
    char line[2 * sizeof size + 2], *at = line + sizeof line - 2;
    memcpy(at, "\r\n", 2);
    do
        *--at = "0123456789abcdef"[size & 15];
    while ((size >>= 4) > 0);
    http_connection_add(c, (struct str){at, (size_t)(line + sizeof line - at)});
}

void http_stream_write(struct http_request *r, struct str bytes)
{
    if (!r->connection || bytes.len == 0 || r->head_only)
        return;
    bool first = r->sent == 0;
    r->sent += (int64_t)bytes.len;
    if (r->chunked)
        chunk_size_add(r->connection, bytes.len);
    http_connection_add(r->connection, bytes);
    if (r->chunked)
        http_connection_add(r->connection, STR("\r\n"));
    http_connection_push(r->connection);
    if (first)
        http_connection_hurry(r->connection);
}

bool http_stream_full(const struct http_request *r)
{
    const struct http_connection *c = r->connection;
    return c && http_connection_unsent(c) > c->server->options.write_high;
}

void http_stream_on_drain(struct http_request *r, void (*fn)(void *), void *ctx)
{
    r->drain = fn;
    r->drain_ctx = ctx;
}

void http_stream_on_due(struct http_request *r, void (*fn)(void *), void *ctx)
{
    r->due = fn;
    r->due_ctx = ctx;
}

void http_stream_soon(struct http_request *r)
{
    if (!r->connection)
        return;
    r->is_due = r->due != NULL;
    http_connection_queue(r->connection);
}

void http_stream_end(struct http_request *r)
{
    struct http_connection *c = r->connection;
    if (!c) {
        http_request_release(r);
        return;
    }
    if (r->chunked && !r->head_only)
        http_connection_add(c, STR("0\r\n\r\n"));
    http_connection_push(c);
    http_connection_hurry(c);
    http_connection_finish(c);
}
