#include <string.h>

#include "base/limits.h"
#include "egress/internal.h"

#ifndef WEIR_VERSION
#define WEIR_VERSION "0"
#endif

/* RFC 9110, section 5.6.2. */
static bool is_token(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && (c == '\0' || !strchr("!#$%&'*+-.^_`|~", c)))
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

static int slist_add(struct curl_slist **list, const char *line, struct error *err)
{
    struct curl_slist *longer = curl_slist_append(*list, line);
    if (!longer)
        return error_set(err, ERROR_MEMORY, "out of memory");
    *list = longer;
    return 0;
}

int egress_headers_build(const struct egress_request *request, struct curl_slist **out, struct error *err)
{
    struct curl_slist *list = NULL;
    struct buf line;
    buf_init(&line, LIMIT_HTTP_HEADER);
    int rc = slist_add(&list, "Expect:", err); /* no 100-continue: it costs a round trip */
    for (size_t i = 0; i < request->n_headers && rc == 0; i++) {
        const struct egress_header *h = &request->headers[i];
        if (!is_token(h->name)) {
            rc = error_set(err, ERROR_INVALID, "a header's name is not valid: check the provider's settings");
        } else if (!is_value(h->value)) {
            rc = error_set(err, ERROR_INVALID,
                "the value of header " STR_FMT
                " is empty or holds control characters: check the api_key for line ends",
                STR_ARG(h->name));
        } else {
            buf_clear(&line);
            buf_append_str(&line, h->name);
            buf_append_text(&line, ": ");
            buf_append_str(&line, h->value);
            rc = line.failed ? error_set(err, line.failed, "header " STR_FMT " is too long", STR_ARG(h->name))
                             : slist_add(&list, line.data, err);
        }
    }
    if (line.data)
        explicit_bzero(line.data, line.capacity);
    buf_free(&line);
    if (rc)
        curl_slist_free_all(list);
    else
        *out = list;
    return rc;
}

#define SET(option, value)                                                                                   \
    if (curl_easy_setopt(easy, option, value) != CURLE_OK)                                                   \
    return false

static bool set_request(struct egress_transfer *t, CURL *easy)
{
    bool post = strcmp(t->method, "POST") == 0;
    SET(CURLOPT_URL, t->url);
    SET(CURLOPT_PATH_AS_IS, 1L);
    SET(CURLOPT_HTTPHEADER, t->headers);
    SET(CURLOPT_USERAGENT, "weir/" WEIR_VERSION);
    if (post || t->body_len > 0) {
        SET(CURLOPT_POST, 1L);
        SET(CURLOPT_POSTFIELDS, t->body);
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->body_len);
    }
    if (!post && (t->body_len > 0 || strcmp(t->method, "GET") != 0))
        SET(CURLOPT_CUSTOMREQUEST, t->method);
    return true;
}

/* No way round the target: no redirect, no proxy of the environment, no other protocol. */
static bool set_confinement(struct egress_transfer *t, CURL *easy)
{
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_PROXY, t->target->proxy ? t->target->proxy : "");
    SET(CURLOPT_NOPROXY, "");
    SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    SET(CURLOPT_OPENSOCKETFUNCTION, egress_on_socket);
    SET(CURLOPT_OPENSOCKETDATA, t);
    SET(CURLOPT_PREREQFUNCTION, egress_on_ready);
    SET(CURLOPT_PREREQDATA, t);
    return true;
}

static bool set_tls(struct egress_transfer *t, CURL *easy)
{
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    /* The system's directory of anchors would be trusted beside the file, and keeps libcurl from caching it.
     */
    SET(CURLOPT_CAPATH, NULL);
    if (t->target->ca_file)
        SET(CURLOPT_CAINFO, t->target->ca_file);
    return true;
}

static bool set_transport(struct egress_transfer *t, CURL *easy)
{
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    SET(CURLOPT_TCP_NODELAY, 1L);
    SET(CURLOPT_FRESH_CONNECT, t->resent ? 1L : 0L);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_QUICK_EXIT, 1L); /* a name server that hangs must not hold up the loop on a cancel */
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)t->connect_timeout_ms);
    SET(CURLOPT_ERRORBUFFER, t->curl_error);
    SET(CURLOPT_PRIVATE, t);
    SET(CURLOPT_HEADERFUNCTION, egress_on_header);
    SET(CURLOPT_HEADERDATA, t);
    SET(CURLOPT_WRITEFUNCTION, egress_on_body);
    SET(CURLOPT_WRITEDATA, t);
    return true;
}

int egress_easy_create(struct egress_transfer *t, struct error *err)
{
    t->easy = curl_easy_init();
    if (!t->easy)
        return error_set(err, ERROR_MEMORY, "out of memory");
    if (!set_request(t, t->easy) || !set_confinement(t, t->easy) || !set_tls(t, t->easy) ||
        !set_transport(t, t->easy))
        return error_set(err, ERROR_INTERNAL, "libcurl refused an option: check that it is 7.87 or newer");
    return 0;
}
