/* TLS of our own connections: what is trusted, and the handshake. */
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "egress/internal.h"

/* Certificates are not looked at where a session is resumed, so it is not for long. */
enum { SESSION_S = 3600 };

void egress_tls_forget(struct egress_line *line)
{
    SSL_SESSION_free(line->session);
    SSL_CTX_free(line->session_tls);
    line->session = NULL;
    line->session_tls = NULL;
}

/* 1: it is ours now. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct egress_line *line = SSL_get_app_data(ssl);
    SSL_CTX *tls = SSL_get_SSL_CTX(ssl);
    SSL_CTX_up_ref(tls);
    egress_tls_forget(line);
    line->session = session;
    line->session_tls = tls;
    return 1;
}

bool egress_tls_resumable(const struct egress_line *line)
{
    return line->session && SSL_SESSION_get_time(line->session) + SESSION_S > (long)time(NULL);
}

static int context_create(const char *ca_file, SSL_CTX **out, struct error *err)
{
    static const unsigned char protocols[] = "\x08http/1.1";
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());
    if (!tls)
        return error_set(err, ERROR_MEMORY, "out of memory");
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_options(tls, SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(
        tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(tls, on_session);
    SSL_CTX_set_read_ahead(tls, 1); /* one read a record instead of two */
    if (SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_alpn_protos(tls, protocols, sizeof protocols - 1) != 0) {
        SSL_CTX_free(tls);
        return error_set(err, ERROR_INTERNAL, "TLS could not be set up: check the OpenSSL installation");
    }
    if ((ca_file ? SSL_CTX_load_verify_file(tls, ca_file) : SSL_CTX_set_default_verify_paths(tls)) != 1) {
        SSL_CTX_free(tls);
        return error_set(err, ERROR_INVALID, "cannot read certificates from '%s': give a PEM file",
            ca_file ? ca_file : "the system");
    }
    *out = tls;
    return 0;
}

/* The system's anchors are some hundred certificates: read once for all targets, and again when the file has
 * changed. */
static struct {
    pthread_mutex_t mutex;
    SSL_CTX *tls;
    struct timespec changed;
} trusted = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static int system_context(SSL_CTX **out, struct error *err)
{
    const char *file = curl_version_info(CURLVERSION_NOW)->cainfo;
    struct stat now = {0};
    int rc = 0;
    if (!file || stat(file, &now) != 0)
        file = NULL; /* where OpenSSL looks */
    pthread_mutex_lock(&trusted.mutex);
    if (!trusted.tls || now.st_mtim.tv_sec != trusted.changed.tv_sec ||
        now.st_mtim.tv_nsec != trusted.changed.tv_nsec) {
        SSL_CTX *fresh = NULL;
        rc = context_create(file, &fresh, err);
        if (rc == 0) {
            SSL_CTX_free(trusted.tls);
            trusted.tls = fresh;
            trusted.changed = now.st_mtim;
        }
    }
    if (rc == 0) {
        SSL_CTX_up_ref(trusted.tls);
        *out = trusted.tls;
    }
    pthread_mutex_unlock(&trusted.mutex);
    return rc;
}

int egress_tls_create(const char *ca_file, SSL_CTX **out, struct error *err)
{
    ERR_clear_error();
    return ca_file ? context_create(ca_file, out, err) : system_context(out, err);
}

/* The certificate must name the host: RFC 9110, 4.3.4; wildcards as in RFC 6125, 6.4.3. */
static bool name_set(SSL *ssl, const char *name)
{
    unsigned char address[16];
    if (inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) ==
               1; /* no name to send: RFC 6066, 3 */
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
}

SSL *egress_tls_open(struct egress_line *line, SSL_CTX *tls, int fd, const char *name)
{
    SSL *ssl = SSL_new(tls);
    if (ssl && SSL_set_app_data(ssl, line) == 1 && SSL_set_fd(ssl, fd) == 1 && name_set(ssl, name)) {
        if (egress_tls_resumable(line) && line->session_tls == tls)
            (void)SSL_set_session(ssl, line->session); /* without it the handshake is a whole one */
        SSL_set_connect_state(ssl);
        return ssl;
    }
    SSL_free(ssl);
    return NULL;
}

const char *egress_tls_problem(const SSL *ssl, int result, char space[256])
{
    long verdict = SSL_get_verify_result(ssl);
    int kind = SSL_get_error(ssl, result);
    unsigned long code = ERR_peek_last_error();
    const char *why = ERR_reason_error_string(code);
    if (verdict != X509_V_OK)
        why = X509_verify_cert_error_string(verdict);
    else if (kind == SSL_ERROR_SYSCALL || ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
        why = "the connection was closed during the handshake";
    snprintf(space, 256, "SSL %s: %s", verdict != X509_V_OK ? "certificate problem" : "connect error",
        why ? why : "unknown");
    return space;
}
