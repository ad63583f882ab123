/* The listener: bounds, sharing, draining, freeing, TLS. */
#include "http_fixture.h"

#include <openssl/err.h>

#include "loopback.h"

static void lets_the_backlog_in_when_connections_close(void **state)
{
    (void)state;
    struct fixture f;
    struct buf in;
    int fds[8];
    buf_init(&in, MIB);
    fixture_init(&f);
    f.options.max_connections = 3;
    fixture_start(&f, echo);
    for (int i = 0; i < 8; i++) { /* the system accepts them; the server only the first three */
        fds[i] = client_connect(&f);
        client_text(fds[i], "GET / HTTP/1.1\r\n" HOST "\r\n");
    }
    wait_for(&f.handled, 3);
    usleep(50000);
    assert_int_equal(atomic_load(&f.handled), 3);
    for (int i = 0; i < 8; i++) {
        client_until(fds[i], &in, "GET / ");
        fixture_do(&f, count_connections);
        assert_true(atomic_load(&f.drained) <= 3);
        close(fds[i]);
    }
    assert_int_equal(atomic_load(&f.handled), 8);
    wait_for_connections(&f, 0);
    fixture_stop(&f);
    buf_free(&in);
}

static void stop_quietly(struct fixture *f)
{
    http_server_stop_accepting(f->server);
}

static void stop(struct fixture *f)
{
    assert_int_equal(http_server_active(f->server), 1);
    http_server_stop_accepting(f->server);
    http_server_stop_accepting(f->server);
    assert_int_equal(http_server_port(f->server), -1);
}

/* Clients that were told "keep-alive" sent their next request into a connection that was being closed. */
static void a_request_behind_an_answer_that_promised_more_was_lost_in_a_drain(void **state)
{
    (void)state;
    struct fixture f;
    struct buf in;
    buf_init(&in, MIB);
    fixture_init(&f);
    fixture_start(&f, echo);
    int used = client_connect(&f), idle = client_connect(&f);
    for (int i = 0; i < 2; i++) {
        client_text(i ? idle : used, "GET / HTTP/1.1\r\n" HOST "\r\n");
        client_until(i ? idle : used, &in, "GET / ");
    }
    fixture_do(&f, stop_quietly);
    usleep(20000);
    client_text(used, "GET / HTTP/1.1\r\n" HOST "\r\n");
    assert_non_null(strstr(client_rest(used, &in), "\r\nConnection: close\r\n"));
    assert_string_equal(client_rest(idle, &in), "");
    close(used);
    close(idle);
    wait_for_connections(&f, 0);
    fixture_stop(&f);
    buf_free(&in);
}

static void answers_what_it_has_when_it_stops_accepting(void **state)
{
    (void)state;
    struct fixture f;
    struct buf in;
    buf_init(&in, MIB);
    fixture_init(&f);
    fixture_start(&f, later);
    int idle = client_connect(&f), busy = client_connect(&f), half = client_connect(&f);
    client_text(half, "GET /half HTT");
    wait_for_connections(&f, 3);
    usleep(200000); /* the half request has arrived */
    client_text(busy, "GET / HTTP/1.1\r\n" HOST "\r\n");
    wait_for(&f.handled, 1);
    fixture_do(&f, stop);
    assert_string_equal(client_rest(idle, &in), "");
    fixture_do(&f, reply_now);
    const char *answer = client_rest(busy, &in);
    expect_body(answer, "late");
    assert_non_null(strstr(answer, "\r\nConnection: close\r\n"));
    client_text(half, "P/1.1\r\n" HOST "\r\n");
    wait_for(&f.handled, 2);
    fixture_do(&f, reply_now);
    expect_body(client_rest(half, &in), "late");
    close(idle);
    close(busy);
    close(half);
    wait_for_connections(&f, 0);
    fixture_stop(&f);
    buf_free(&in);
}

/* Requests in every state are open when the server goes. */
static void begin_all(void *ctx, struct http_request *r)
{
    struct fixture *f = ctx;
    http_request_on_gone(r, on_gone, f);
    f->pending = r;
    http_stream_begin(r, 200, "text/plain");
    http_stream_write(r, STR("some"));
    atomic_fetch_add(&f->handled, 1);
}

static void drops_open_requests_when_it_is_freed(void **state)
{
    (void)state;
    struct fixture f;
    struct buf in;
    buf_init(&in, MIB);
    fixture_init(&f);
    fixture_start(&f, begin_all);
    int idle = client_connect(&f), half = client_connect(&f), stream = client_connect(&f);
    client_text(half, "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nab");
    client_text(stream, "GET / HTTP/1.1\r\n" HOST "\r\n");
    wait_for(&f.handled, 1);
    wait_for_connections(&f, 3);
    fixture_do(&f, fixture_free_server);
    assert_int_equal(atomic_load(&f.gone), 1);
    assert_string_equal(client_rest(idle, &in), "");
    client_rest(half, &in);
    assert_null(strstr(client_rest(stream, &in), "0\r\n\r\n"));
    close(idle);
    close(half);
    close(stream);
    fixture_stop(&f);
    buf_free(&in);
}

static void shares_a_listening_socket(void **state)
{
    (void)state;
    struct fixture f, g;
    struct buf in;
    buf_init(&in, MIB);
    fixture_init(&f);
    fixture_start(&f, echo);
    fixture_init(&g);
    g.options.share = f.server;
    fixture_start(&g, echo);
    assert_int_equal(f.port, g.port);
    for (int i = 0; i < 20; i++)
        expect_status(ask(&f, &in, "GET / HTTP/1.1\r\n" HOST CLOSE "\r\n"), 200);
    assert_int_equal(atomic_load(&f.handled) + atomic_load(&g.handled), 20);
    /* The one goes on when the other has stopped. */
    fixture_stop(&g);
    expect_status(ask(&f, &in, "GET / HTTP/1.1\r\n" HOST CLOSE "\r\n"), 200);
    fixture_stop(&f);
    buf_free(&in);
}

static void serves_ipv6(void **state)
{
    (void)state;
    struct fixture f;
    struct buf in;
    buf_init(&in, MIB);
    fixture_init(&f);
    f.options.address = "::1";
    fixture_start(&f, echo);
    struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    to.sin6_port = htons((in_port_t)f.port);
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    client_text(fd, "GET /six HTTP/1.1\r\n" HOST CLOSE "\r\n");
    expect_body(client_rest(fd, &in), "GET /six ");
    close(fd);
    fixture_stop(&f);
    buf_free(&in);
}

/* ---- What cannot be served ---- */

static void expect_refused(struct loop *loop, const struct http_options *o, int code, const char *why)
{
    struct http_server *s = NULL;
    struct error err = {0};
    assert_int_equal(http_server_create(loop, o, echo, NULL, &s, &err), code);
    if (!strstr(err.message, why))
        fail_msg("'%s' does not say '%s'", err.message, why);
    assert_null(s);
}

static void says_why_it_cannot_listen(void **state)
{
    (void)state;
    struct loop *loop;
    struct http_server *s;
    struct http_options o;
    assert_int_equal(loop_create(&loop, NULL), 0);
    http_options_init(&o);
    o.port = 0;
    assert_int_equal(http_server_create(loop, &o, echo, NULL, &s, NULL), 0);
    o.port = http_server_port(s);
    expect_refused(loop, &o, ERROR_IO, "stop the program that uses it");
    o.address = "not an address";
    expect_refused(loop, &o, ERROR_INVALID, "'not an address' is not an IP address");
    o.address = "localhost";
    expect_refused(loop, &o, ERROR_INVALID, "is not an IP address");
    o.address = "192.0.2.1"; /* TEST-NET: no machine has it */
    expect_refused(loop, &o, ERROR_IO, "cannot listen on 192.0.2.1");
    o.certificate = "/nowhere/cert.pem";
    o.key = "/nowhere/key.pem";
    expect_refused(loop, &o, ERROR_INVALID, "certificate '/nowhere/cert.pem'");
    http_server_free(s);
    http_server_free(NULL);
    loop_free(loop);
}

/* ---- TLS ---- */

struct files {
    struct loopback_authority authority;
    char certificate[64], key[64], other_key[64];
};

static void pem_write(char path[64], X509 *certificate, EVP_PKEY *key)
{
    strcpy(path, "/tmp/weir-test-http-XXXXXX");
    int fd = mkstemp(path);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
    assert_non_null(file);
    if (certificate)
        assert_int_equal(PEM_write_X509(file, certificate), 1);
    if (key)
        assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(file);
}

static void files_create(struct files *p)
{
    loopback_authority_create(&p->authority, "DNS:localhost,IP:127.0.0.1");
    pem_write(p->certificate, p->authority.certificate, NULL);
    pem_write(p->key, NULL, p->authority.key);
    pem_write(p->other_key, NULL, p->authority.ca_key);
}

static void files_free(struct files *p)
{
    unlink(p->certificate);
    unlink(p->key);
    unlink(p->other_key);
    loopback_authority_free(&p->authority);
}

/* A client that verifies the server as a browser would. */
static SSL *tls_connect(const struct fixture *f, SSL_CTX *ctx, int *fd)
{
    *fd = client_connect(f);
    SSL *ssl = SSL_new(ctx);
    SSL_set_fd(ssl, *fd);
    assert_int_equal(SSL_set1_host(ssl, "localhost"), 1);
    SSL_set_tlsext_host_name(ssl, "localhost");
    if (SSL_connect(ssl) != 1)
        fail_msg("SSL_connect: %s", ERR_error_string(ERR_get_error(), NULL));
    return ssl;
}

static void tls_close(SSL *ssl, int fd)
{
    SSL_shutdown(ssl);
    SSL_free(ssl);
    close(fd);
}

static void tls_until(SSL *ssl, struct buf *in, const char *end)
{
    buf_clear(in);
    while (!str_ends(buf_str(in), str_from(end))) {
        char *to = buf_reserve(in, 65536);
        assert_non_null(to);
        int n = SSL_read(ssl, to, 65536);
        if (n <= 0)
            fail_msg("closed before '%s': %s", end, in->data);
        buf_commit(in, (size_t)n);
    }
}

static void serves_tls(void **state)
{
    (void)state;
    struct fixture f;
    struct files p;
    struct buf in;
    int fd;
    buf_init(&in, MIB);
    files_create(&p);
    fixture_init(&f);
    f.options.certificate = p.certificate;
    f.options.key = p.key;
    f.options.read_timeout_s = 2;
    fixture_start(&f, echo);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    assert_int_equal(SSL_CTX_load_verify_locations(ctx, p.authority.ca_file, NULL), 1);
    SSL *ssl = tls_connect(&f, ctx, &fd);
    for (int i = 0; i < 2; i++) {
        static const char request[] = "POST /secret HTTP/1.1\r\n" HOST "Content-Length: 4\r\n\r\nbody";
        assert_int_equal(SSL_write(ssl, request, sizeof request - 1), sizeof request - 1);
        tls_until(ssl, &in, "POST /secret body");
        expect_status(in.data, 200);
    }
    tls_close(ssl, fd);
    wait_for_connections(&f, 0);
    /* Plain HTTP and nonsense get nothing; silence is closed in time. */
    assert_null(strstr(ask(&f, &in, "GET / HTTP/1.1\r\n" HOST CLOSE "\r\n"), "200 OK"));
    fd = client_connect(&f);
    client_rest(fd, &in);
    close(fd);
    assert_int_equal(atomic_load(&f.handled), 2);
    /* No protocol older than TLS 1.2. */
    assert_int_equal(SSL_CTX_set_max_proto_version(ctx, TLS1_1_VERSION), 1);
    SSL_CTX_set_security_level(ctx, 0);
    fd = client_connect(&f);
    ssl = SSL_new(ctx);
    SSL_set_fd(ssl, fd);
    assert_int_not_equal(SSL_connect(ssl), 1);
    SSL_free(ssl);
    close(fd);
    SSL_CTX_free(ctx);
    fixture_stop(&f);
    files_free(&p);
    buf_free(&in);
}

static void tells_a_handler_that_its_tls_client_left(void **state)
{
    (void)state;
    for (int abrupt = 0; abrupt < 2; abrupt++) {
        struct fixture f;
        struct files p;
        int fd;
        files_create(&p);
        fixture_init(&f);
        f.options.certificate = p.certificate;
        f.options.key = p.key;
        fixture_start(&f, later);
        SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
        SSL_CTX_load_verify_locations(ctx, p.authority.ca_file, NULL);
        SSL *ssl = tls_connect(&f, ctx, &fd);
        assert_true(SSL_write(ssl, "GET / HTTP/1.1\r\n" HOST "\r\n", 35) == 35);
        wait_for(&f.handled, 1);
        if (abrupt)
            SSL_set_quiet_shutdown(ssl, 1);
        tls_close(ssl, fd);
        wait_for(&f.gone, 1);
        SSL_CTX_free(ctx);
        fixture_stop(&f);
        files_free(&p);
    }
}

static void refuses_a_key_that_is_not_the_certificates(void **state)
{
    (void)state;
    struct files p;
    struct loop *loop;
    struct http_options o;
    files_create(&p);
    assert_int_equal(loop_create(&loop, NULL), 0);
    http_options_init(&o);
    o.port = 0;
    o.certificate = p.certificate;
    o.key = p.other_key;
    expect_refused(loop, &o, ERROR_INVALID, "cannot use the TLS key");
    o.certificate = p.key;
    expect_refused(loop, &o, ERROR_INVALID, "cannot use the TLS certificate");
    loop_free(loop);
    files_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lets_the_backlog_in_when_connections_close),
        cmocka_unit_test(a_request_behind_an_answer_that_promised_more_was_lost_in_a_drain),
        cmocka_unit_test(answers_what_it_has_when_it_stops_accepting),
        cmocka_unit_test(drops_open_requests_when_it_is_freed),
        cmocka_unit_test(shares_a_listening_socket),
        cmocka_unit_test(serves_ipv6),
        cmocka_unit_test(says_why_it_cannot_listen),
        cmocka_unit_test(serves_tls),
        cmocka_unit_test(tells_a_handler_that_its_tls_client_left),
        cmocka_unit_test(refuses_a_key_that_is_not_the_certificates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
