/* TLS against a server with a certificate of an authority made on the spot; a server that prefers HTTP/2
 * where Node.js is there. */
#include <signal.h>
#include <sys/wait.h>

#include "egress/internal.h"
#include "fixture.h"

static void serve_ok(struct loopback_conn *c)
{
    while (loopback_read(c))
        if (!loopback_answer(c, "200 OK", "", "hello"))
            return;
}

/* One request to https://`host`, trusting `ca_file`; what was seen is freed here but for code and message. */
static int run_tls(
    const struct loopback_authority *a, const char *host, const char *ca_file, struct seen *seen)
{
    struct loopback server = {.tls = loopback_authority_server(a)};
    struct fixture f;
    char url[128];
    loopback_start(&server, serve_ok, NULL);
    fixture_start(&f);
    snprintf(url, sizeof url, "https://%s:%d", host, server.port);
    struct egress_target *t = fixture_target(url, EGRESS_ZONE_CLOUD, ca_file);
    seen_run(&f, seen, t, "secret prompt");
    int requests = atomic_load(&server.requests);
    seen_free(seen);
    egress_target_free(t);
    fixture_stop(&f);
    loopback_stop(&server);
    SSL_CTX_free(server.tls);
    return requests;
}

static void test_a_certificate_of_the_right_authority_and_host_is_trusted(void **state)
{
    static const char *const hosts[] = {"localhost", "127.0.0.1"};
    struct loopback_authority a;
    (void)state;
    loopback_authority_create(&a, "DNS:localhost,IP:127.0.0.1");
    for (size_t i = 0; i < 2; i++) {
        struct seen seen = {0};
        assert_int_equal(run_tls(&a, hosts[i], a.ca_file, &seen), 1);
        assert_int_equal(seen.code, 0);
        assert_int_equal(seen.status, 200);
    }
    loopback_authority_free(&a);
}

static void test_another_authority_another_host_or_none_is_refused(void **state)
{
    struct loopback_authority ours, other, elsewhere;
    (void)state;
    loopback_authority_create(&ours, "DNS:localhost,IP:127.0.0.1");
    loopback_authority_create(&other, "DNS:localhost,IP:127.0.0.1");
    loopback_authority_create(&elsewhere, "DNS:example.com,IP:127.0.0.2");
    const struct {
        const struct loopback_authority *server;
        const char *ca_file;
    } cases[] = {{&ours, other.ca_file}, {&ours, NULL}, {&elsewhere, elsewhere.ca_file}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct seen seen = {0};
        assert_int_equal(run_tls(cases[i].server, "localhost", cases[i].ca_file, &seen), 0);
        assert_int_equal(seen.code, ERROR_UNAVAILABLE);
        assert_non_null(strstr(seen.error.message, "SSL"));
    }
    loopback_authority_free(&ours);
    loopback_authority_free(&other);
    loopback_authority_free(&elsewhere);
}

/* ---- Sessions ---- */

static void serve_once(struct loopback_conn *c)
{
    if (loopback_read(c))
        loopback_answer(c, "200 OK", "Connection: close\r\n", "hello");
}

/* Requests to one place, each on a connection of its own; how many of them resumed a session. */
static long run_many(struct fixture *f, struct egress_target *t, int n)
{
    for (int i = 0; i < n; i++) {
        struct seen seen = {0};
        seen_run(f, &seen, t, "x");
        assert_int_equal(seen.code, 0);
        assert_int_equal(seen.status, 200);
        seen_free(&seen);
    }
    return SSL_CTX_sess_hits(t->tls);
}

static void test_a_session_is_resumed_under_the_same_trust_only(void **state)
{
    struct loopback_authority a, other;
    struct fixture f;
    char url[64];
    (void)state;
    loopback_authority_create(&a, "DNS:localhost");
    loopback_authority_create(&other, "DNS:localhost");
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct loopback server = {.tls = loopback_authority_server(&a)};
        SSL_CTX_set_max_proto_version(server.tls, version);
        loopback_start(&server, serve_once, NULL);
        fixture_start(&f);
        snprintf(url, sizeof url, "https://localhost:%d", server.port);
        struct egress_target *t = fixture_target(url, EGRESS_ZONE_CLOUD, a.ca_file);
        assert_int_equal(run_many(&f, t, 4), 3);
        /* As after a reload: the file is read again, and what it says counts for the next handshake. */
        struct egress_target *again = fixture_target(url, EGRESS_ZONE_CLOUD, a.ca_file);
        assert_int_equal(run_many(&f, again, 2), 1);
        struct egress_target *untrusting = fixture_target(url, EGRESS_ZONE_CLOUD, other.ca_file);
        struct seen seen = {0};
        seen_run(&f, &seen, untrusting, "x");
        assert_int_equal(seen.code, ERROR_UNAVAILABLE);
        seen_free(&seen);
        egress_target_free(t);
        egress_target_free(again);
        egress_target_free(untrusting);
        fixture_stop(&f);
        loopback_stop(&server);
        SSL_CTX_free(server.tls);
    }
    loopback_authority_free(&a);
    loopback_authority_free(&other);
}

/* ---- A server that speaks HTTP/2 as well ---- */

static const char node_server[] =
    "const http2=require('http2'),fs=require('fs');"
    "const s=http2.createSecureServer({key:fs.readFileSync(process.argv[1]),"
    "cert:fs.readFileSync(process.argv[2]),allowHTTP1:true});"
    "s.on('request',(q,r)=>{let n=0;q.on('data',d=>n+=d.length);q.on('end',()=>{"
    "r.writeHead(200,{'x-version':q.httpVersion,'x-bytes':String(n)});"
    "if(q.url==='/chat')r.end('hello');else r.end(Buffer.alloc(8*1024*1024,98));});});"
    "s.listen(0,'127.0.0.1',()=>console.log(s.address().port));";

static void write_pem(char path[64], EVP_PKEY *key, X509 *certificate)
{
    strcpy(path, "/tmp/weir-test-pem-XXXXXX");
    int fd = mkstemp(path);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    loopback_check(f != NULL, "mkstemp");
    if (key)
        PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
    else
        PEM_write_X509(f, certificate);
    fclose(f);
}

/* Starts the server; gives its port, 0 where there is no Node.js. */
static int node_start(const char *key, const char *certificate, pid_t *pid)
{
    int out[2], port = 0;
    loopback_check(pipe(out) == 0, "pipe");
    *pid = fork();
    if (*pid == 0) {
        dup2(out[1], STDOUT_FILENO);
        execlp("node", "node", "-e", node_server, key, certificate, (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    FILE *f = fdopen(out[0], "r");
    if (fscanf(f, "%d", &port) != 1)
        port = 0;
    fclose(f);
    return port;
}

static void node_requests(struct fixture *f, const struct egress_target *t)
{
    struct seen first = {0}, many[8] = {0}, big = {.pause_at_data = true};
    struct error err;
    seen_run(f, &first, t, "0123456789");
    assert_int_equal(first.code, 0);
    assert_string_equal(first.body.data, "hello");
    assert_true(str_is(egress_header(first.transfer, "x-bytes"), "10"));
    for (int i = 0; i < 8; i++)
        seen_open(f, &many[i], t, "x");
    fixture_run(f, 10000);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(many[i].code, 0);
        assert_true(str_is(egress_header(many[i].transfer, "x-version"), "1.1"));
        seen_free(&many[i]);
    }
    struct egress_permit permit = fixture_permit(EGRESS_BOUNDARY_ANY);
    struct egress_request request = {.method = "POST", .path = STR("/big"), .body = STR("x")};
    assert_int_equal(seen_open_with(f, &big, &permit, t, &request, &err), 0);
    for (int i = 0; i < 100 && big.body.len == 0; i++) /* a busy machine takes its time */
        fixture_run(f, 100);
    fixture_run(f, 200); /* what was under way when it paused */
    size_t at_pause = big.body.len;
    fixture_run(f, 200);
    assert_true(at_pause > 0);
    assert_int_equal(big.body.len, at_pause);
    big.pause_at_data = false;
    egress_pause(big.transfer, false);
    fixture_run(f, 10000);
    assert_int_equal(big.code, 0);
    assert_int_equal(big.n_done, 1);
    assert_int_equal(big.body.len, 8 * 1024 * 1024);
    seen_free(&first);
    seen_free(&big);
}

static void test_a_server_that_offers_http2_is_spoken_to_in_http1(void **state)
{
    struct loopback_authority a;
    struct fixture f;
    char key[64], certificate[64], url[64];
    pid_t pid;
    (void)state;
    loopback_authority_create(&a, "DNS:localhost");
    write_pem(key, a.key, NULL);
    write_pem(certificate, NULL, a.certificate);
    int port = node_start(key, certificate, &pid);
    if (port == 0) {
        print_message("skipped: this needs Node.js\n");
    } else {
        fixture_start(&f);
        snprintf(url, sizeof url, "https://localhost:%d", port);
        struct egress_target *t = fixture_target(url, EGRESS_ZONE_CLOUD, a.ca_file);
        node_requests(&f, t);
        egress_target_free(t);
        fixture_stop(&f);
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    unlink(key);
    unlink(certificate);
    loopback_authority_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_certificate_of_the_right_authority_and_host_is_trusted),
        cmocka_unit_test(test_another_authority_another_host_or_none_is_refused),
        cmocka_unit_test(test_a_session_is_resumed_under_the_same_trust_only),
        cmocka_unit_test(test_a_server_that_offers_http2_is_spoken_to_in_http1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
