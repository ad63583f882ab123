/* A server on 127.0.0.1 for tests: a thread that accepts, a thread per connection that runs the test's own
 * `serve`. It records how many connections came and the bytes of the last request. With certificates it
 * speaks TLS; loopback_authority_create makes a throw-away authority and a certificate signed by it. */
#ifndef WEIR_TESTS_LOOPBACK_H
#define WEIR_TESTS_LOOPBACK_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/limits.h"

struct loopback;

struct loopback_conn {
    struct loopback *server;
    int fd;
    SSL *ssl;
    struct buf request; /* head and body of the request being served */
    size_t head_len;    /* up to and with the empty line */
};

struct loopback {
    int fd, port;
    bool v6;
    SSL_CTX *tls;                           /* NULL: plain */
    void (*serve)(struct loopback_conn *c); /* the connection is closed when it returns */
    void *ctx;
    pthread_t thread;
    _Atomic bool stop;
    _Atomic int connections, alive, requests;
    pthread_mutex_t mutex; /* guards last */
    struct buf last;       /* the last request */
};

static inline void loopback_check(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "loopback: %s: %s\n", what, strerror(errno));
    abort();
}

/* ---- For `serve` ---- */

static inline bool loopback_write(struct loopback_conn *c, const void *data, size_t len)
{
    const char *from = data;
    while (len > 0) {
        ssize_t n = c->ssl ? SSL_write(c->ssl, from, (int)len) : send(c->fd, from, len, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        from += n;
        len -= (size_t)n;
    }
    return true;
}

static inline bool loopback_text(struct loopback_conn *c, const char *text)
{
    return loopback_write(c, text, strlen(text));
}

/* Waits until the peer or the test ends; what the peer still sends is dropped. False: the test ends. */
static inline bool loopback_wait(struct loopback_conn *c)
{
    char drop[4096];
    while (!atomic_load(&c->server->stop)) {
        struct pollfd p = {c->fd, POLLIN, 0};
        if (poll(&p, 1, 20) > 0) {
            ssize_t n = c->ssl ? SSL_read(c->ssl, drop, sizeof drop) : recv(c->fd, drop, sizeof drop, 0);
            if (n <= 0)
                return true;
        }
    }
    return false;
}

static inline void loopback_sleep(struct loopback_conn *c, int ms)
{
    for (; ms > 0 && !atomic_load(&c->server->stop); ms -= 5)
        usleep(5000);
}

static inline size_t loopback_content_length(const struct buf *request)
{
    const char *at = request->data ? strcasestr(request->data, "\r\nContent-Length:") : NULL;
    return at ? (size_t)strtoul(at + 17, NULL, 10) : 0;
}

/* Reads one request into c->request; false when the peer has closed. */
static inline bool loopback_read(struct loopback_conn *c)
{
    buf_clear(&c->request);
    c->head_len = 0;
    for (;;) {
        const char *end = c->request.data ? strstr(c->request.data, "\r\n\r\n") : NULL;
        if (end && c->request.len > 0) {
            c->head_len = (size_t)(end - c->request.data) + 4;
            if (c->request.len >= c->head_len + loopback_content_length(&c->request))
                break;
        }
        struct pollfd p = {c->fd, POLLIN, 0};
        bool waiting = c->ssl && SSL_pending(c->ssl) > 0;
        if (atomic_load(&c->server->stop) || (!waiting && poll(&p, 1, 20) == 0)) {
            if (atomic_load(&c->server->stop))
                return false;
            continue;
        }
        char *to = buf_reserve(&c->request, 65536);
        loopback_check(to != NULL, "request too large");
        ssize_t n = c->ssl ? SSL_read(c->ssl, to, 65536) : recv(c->fd, to, 65536, 0);
        if (n <= 0)
            return false;
        buf_commit(&c->request, (size_t)n);
    }
    pthread_mutex_lock(&c->server->mutex);
    buf_clear(&c->server->last);
    buf_append(&c->server->last, c->request.data, c->request.len);
    pthread_mutex_unlock(&c->server->mutex);
    atomic_fetch_add(&c->server->requests, 1);
    return true;
}

/* A whole answer with a Content-Length. */
static inline bool loopback_answer(
    struct loopback_conn *c, const char *status, const char *headers, const char *body)
{
    char head[1024];
    snprintf(
        head, sizeof head, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n%s\r\n", status, strlen(body), headers);
    return loopback_text(c, head) && loopback_text(c, body);
}

static inline bool loopback_chunk(struct loopback_conn *c, const char *data, size_t len)
{
    char head[32];
    snprintf(head, sizeof head, "%zx\r\n", len);
    return loopback_text(c, head) && loopback_write(c, data, len) && loopback_text(c, "\r\n");
}

/* ---- The server ---- */

static inline void *loopback_conn_run(void *ctx)
{
    struct loopback_conn *c = ctx;
    bool good = true;
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (c->server->tls) {
        c->ssl = SSL_new(c->server->tls);
        SSL_set_fd(c->ssl, c->fd);
        good = SSL_accept(c->ssl) == 1;
    }
    if (good)
        c->server->serve(c);
    if (c->ssl) {
        SSL_shutdown(c->ssl);
        SSL_free(c->ssl);
    }
    close(c->fd);
    buf_free(&c->request);
    atomic_fetch_sub(&c->server->alive, 1);
    free(c);
    return NULL;
}

static inline void *loopback_run(void *ctx)
{
    struct loopback *s = ctx;
    while (!atomic_load(&s->stop)) {
        struct pollfd p = {s->fd, POLLIN, 0};
        if (poll(&p, 1, 10) <= 0)
            continue;
        int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            continue;
        struct loopback_conn *c = calloc(1, sizeof *c);
        loopback_check(c != NULL, "calloc");
        c->server = s;
        c->fd = fd;
        buf_init(&c->request, 64 * MIB);
        atomic_fetch_add(&s->connections, 1);
        atomic_fetch_add(&s->alive, 1);
        pthread_t thread;
        loopback_check(pthread_create(&thread, NULL, loopback_conn_run, c) == 0, "pthread_create");
        pthread_detach(thread);
    }
    return NULL;
}

static inline void loopback_start(struct loopback *s, void (*serve)(struct loopback_conn *c), void *ctx)
{
    SSL_CTX *tls = s->tls;
    bool v6 = s->v6;
    memset(s, 0, sizeof *s);
    s->tls = tls;
    s->v6 = v6;
    s->serve = serve;
    s->ctx = ctx;
    pthread_mutex_init(&s->mutex, NULL);
    buf_init(&s->last, 64 * MIB);
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr *address = v6 ? (struct sockaddr *)&six : (struct sockaddr *)&four;
    socklen_t len = v6 ? sizeof six : sizeof four;
    s->fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    loopback_check(s->fd >= 0 && bind(s->fd, address, len) == 0 && listen(s->fd, 128) == 0, "listen");
    loopback_check(getsockname(s->fd, address, &len) == 0, "getsockname");
    s->port = ntohs(v6 ? six.sin6_port : four.sin_port);
    loopback_check(pthread_create(&s->thread, NULL, loopback_run, s) == 0, "pthread_create");
}

static inline void loopback_stop(struct loopback *s)
{
    atomic_store(&s->stop, true);
    pthread_join(s->thread, NULL);
    while (atomic_load(&s->alive) > 0)
        usleep(1000);
    close(s->fd);
    buf_free(&s->last);
    pthread_mutex_destroy(&s->mutex);
}

/* ---- Certificates ---- */

struct loopback_authority {
    EVP_PKEY *ca_key, *key;
    X509 *ca, *certificate;
    char ca_file[64]; /* PEM, removed by loopback_authority_free */
};

static inline X509 *loopback_certificate(
    EVP_PKEY *key, const char *name, X509 *issuer, EVP_PKEY *issuer_key, const char *alternative)
{
    X509 *x = X509_new();
    X509V3_CTX v3;
    loopback_check(x != NULL, "X509_new");
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), (long)getpid() + (issuer ? 1 : 0));
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 86400);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(
        X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(issuer ? issuer : x));
    X509V3_set_ctx(&v3, issuer ? issuer : x, x, NULL, NULL, 0);
    X509_EXTENSION *e = issuer ? X509V3_EXT_conf_nid(NULL, &v3, NID_subject_alt_name, alternative)
                               : X509V3_EXT_conf_nid(NULL, &v3, NID_basic_constraints, "critical,CA:TRUE");
    loopback_check(e != NULL, "X509V3_EXT_conf_nid");
    X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
    loopback_check(X509_sign(x, issuer ? issuer_key : key, EVP_sha256()) > 0, "X509_sign");
    return x;
}

/* `alternative` as in "DNS:localhost,IP:127.0.0.1". */
static inline void loopback_authority_create(struct loopback_authority *a, const char *alternative)
{
    a->ca_key = EVP_EC_gen("P-256");
    a->key = EVP_EC_gen("P-256");
    a->ca = loopback_certificate(a->ca_key, "Weir test authority", NULL, NULL, NULL);
    a->certificate = loopback_certificate(a->key, "Weir test server", a->ca, a->ca_key, alternative);
    strcpy(a->ca_file, "/tmp/weir-test-ca-XXXXXX");
    int fd = mkstemp(a->ca_file);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    loopback_check(f && PEM_write_X509(f, a->ca) == 1, "PEM_write_X509");
    fclose(f);
}

static inline SSL_CTX *loopback_authority_server(const struct loopback_authority *a)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    loopback_check(
        tls && SSL_CTX_use_certificate(tls, a->certificate) == 1 && SSL_CTX_use_PrivateKey(tls, a->key) == 1,
        "SSL_CTX_use_certificate");
    return tls;
}

static inline void loopback_authority_free(struct loopback_authority *a)
{
    unlink(a->ca_file);
    X509_free(a->ca);
    X509_free(a->certificate);
    EVP_PKEY_free(a->ca_key);
    EVP_PKEY_free(a->key);
}

#endif
