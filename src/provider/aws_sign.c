#include "provider/aws_sign.h"

#include <string.h>
#include <time.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include "base/ascii.h"
#include "base/limits.h"

struct digest {
    unsigned char bytes[SHA256_DIGEST_LENGTH];
};

static struct digest hmac(const void *key, size_t key_len, struct str text)
{
    struct digest d = {{0}};
    HMAC(EVP_sha256(), key, (int)key_len, (const unsigned char *)(text.data ? text.data : ""), text.len,
        d.bytes, NULL);
    return d;
}

static void append_hex(struct buf *b, const unsigned char digest[SHA256_DIGEST_LENGTH])
{
    for (int i = 0; i < SHA256_DIGEST_LENGTH; i++)
        buf_appendf(b, "%02x", digest[i]);
}

static void append_sha256(struct buf *b, struct str text)
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    SHA256((const unsigned char *)(text.data ? text.data : ""), text.len, digest);
    append_hex(b, digest);
}

static void append_header(struct buf *b, const char *name, struct str value)
{
    buf_appendf(b, "%s:", name);
    buf_append_str(b, str_trim(value));
    buf_append_char(b, '\n');
}

static void append_signed_headers(struct buf *b, const struct aws_credentials *c, const struct aws_request *r)
{
    for (size_t i = 0; i < r->n_headers; i++)
        buf_appendf(b, STR_FMT ";", STR_ARG(r->headers[i].name));
    buf_append_text(b, "host;x-amz-date");
    if (c->session_token.len > 0)
        buf_append_text(b, ";x-amz-security-token");
}

static void append_canonical(
    struct buf *b, const struct aws_credentials *c, const struct aws_request *r, const char *time)
{
    buf_appendf(b, "%s\n", r->method);
    ascii_escape(b, r->path, "/"); /* encoded already, once more: so every service but S3 wants it */
    buf_append_char(b, '\n');
    buf_append_str(b, r->query);
    buf_append_char(b, '\n');
    for (size_t i = 0; i < r->n_headers; i++) {
        buf_append_str(b, r->headers[i].name);
        append_header(b, "", r->headers[i].value);
    }
    append_header(b, "host", r->host);
    append_header(b, "x-amz-date", str_from(time));
    if (c->session_token.len > 0)
        append_header(b, "x-amz-security-token", c->session_token);
    buf_append_char(b, '\n');
    append_signed_headers(b, c, r);
    buf_append_char(b, '\n');
    append_sha256(b, r->body);
}

/* The key of a day, a region and a service, made of the secret one. */
static struct digest key_of(const struct aws_credentials *c, const struct aws_request *r, const char *day)
{
    struct buf secret;
    buf_init(&secret, 64 * KIB);
    buf_append_text(&secret, "AWS4");
    buf_append_str(&secret, c->secret_key);
    struct digest key = hmac(secret.data, secret.len, str_from(day));
    explicit_bzero(secret.data, secret.len);
    buf_free(&secret);
    key = hmac(key.bytes, sizeof key.bytes, r->region);
    key = hmac(key.bytes, sizeof key.bytes, r->service);
    return hmac(key.bytes, sizeof key.bytes, STR("aws4_request"));
}

static struct str authorization(struct arena *a, const struct aws_credentials *c, const struct aws_request *r,
    const char *time, const char *day)
{
    struct buf canonical, text;
    struct str scope = arena_printf(
        a, "%s/" STR_FMT "/" STR_FMT "/aws4_request", day, STR_ARG(r->region), STR_ARG(r->service));
    buf_init(&canonical, MIB);
    append_canonical(&canonical, c, r, time);
    buf_init(&text, MIB);
    buf_appendf(&text, "AWS4-HMAC-SHA256\n%s\n" STR_FMT "\n", time, STR_ARG(scope));
    append_sha256(&text, buf_str(&canonical));
    struct digest key = key_of(c, r, day), signature = hmac(key.bytes, sizeof key.bytes, buf_str(&text));
    explicit_bzero(&key, sizeof key);
    buf_clear(&text);
    buf_appendf(&text,
        "AWS4-HMAC-SHA256 Credential=" STR_FMT "/" STR_FMT ", SignedHeaders=", STR_ARG(c->access_key),
        STR_ARG(scope));
    append_signed_headers(&text, c, r);
    buf_append_text(&text, ", Signature=");
    append_hex(&text, signature.bytes);
    struct str header = arena_copy(a, buf_str(&text));
    buf_free(&text);
    buf_free(&canonical);
    return header;
}

size_t aws_sign(struct arena *a, const struct aws_credentials *c, const struct aws_request *r,
    struct egress_header out[AWS_HEADERS_MAX])
{
    char when[20], day[12];
    time_t seconds = (time_t)(r->wall_ms / 1000);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    strftime(when, sizeof when, "%Y%m%dT%H%M%SZ", &utc);
    strftime(day, sizeof day, "%Y%m%d", &utc);
    size_t n = 0;
    out[n++] = (struct egress_header){STR("Authorization"), authorization(a, c, r, when, day)};
    out[n++] = (struct egress_header){STR("X-Amz-Date"), arena_copy(a, str_from(when))};
    if (c->session_token.len > 0)
        out[n++] = (struct egress_header){STR("X-Amz-Security-Token"), c->session_token};
    return n;
}
