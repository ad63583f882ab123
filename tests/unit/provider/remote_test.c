/* Whole calls to a server of our own: provider, egress, HTTP and back. */
#include "fixture.h"

#include "../egress/fixture.h"

#define OPENAI_BODY                                                                                          \
    "data: "                                                                                                 \
    "{\"id\":\"c1\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hello\"}}]}\n\n"      \
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"                        \
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}\n\ndata: [DONE]\n\n"
#define ANTHROPIC_BODY                                                                                       \
    "event: message_start\ndata: "                                                                           \
    "{\"type\":\"message_start\",\"message\":{\"id\":\"c1\",\"model\":\"m\",\"usage\":{"                     \
    "\"input_tokens\":3,\"output_tokens\":1}}}\n\n"                                                          \
    "data: "                                                                                                 \
    "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hello\"}}"  \
    "\n\n"                                                                                                   \
    "data: "                                                                                                 \
    "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":1}}"  \
    "\n\n"                                                                                                   \
    "data: {\"type\":\"message_stop\"}\n\n"

#define GEMINI_BODY                                                                                          \
    "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"hello\"}],\"role\":\"model\"}}],"           \
    "\"modelVersion\":\"m\",\"responseId\":\"c1\"}\r\n\r\n"                                                  \
    "data: {\"candidates\":[{\"finishReason\":\"STOP\"}],"                                                   \
    "\"usageMetadata\":{\"promptTokenCount\":3,\"candidatesTokenCount\":1}}\r\n\r\n"

/* What the server answers: set before it starts. */
struct script {
    const char *status, *headers, *body;
    size_t piece;   /* bytes a chunk; 0: all at once */
    int delay_ms;   /* before each piece */
    bool cut, hang; /* at the end: close without the last chunk, or stay silent */
};

static void serve(struct loopback_conn *c)
{
    const struct script *s = c->server->ctx;
    char head[512];
    while (loopback_read(c)) {
        size_t len = strlen(s->body), step = s->piece ? s->piece : len + 1;
        snprintf(
            head, sizeof head, "HTTP/1.1 %s\r\nTransfer-Encoding: chunked\r\n%s\r\n", s->status, s->headers);
        bool good = loopback_text(c, head);
        for (size_t at = 0; at < len && good; at += step) {
            loopback_sleep(c, s->delay_ms);
            good = loopback_chunk(c, s->body + at, len - at < step ? len - at : step);
        }
        if (good && s->hang)
            loopback_wait(c);
        if (!good || s->cut || s->hang || !loopback_text(c, "0\r\n\r\n"))
            return;
    }
}

struct run {
    struct fixture f;
    struct loopback server;
    struct provider *provider;
    struct provider_model model;
    struct chat_request *request;
    struct transcript transcript;
    struct provider_call *call;
    bool close_at_start, pause_at_start, whole;
    int closed;
};

static void on_event(void *ctx, const struct chat_event *e)
{
    struct run *r = ctx;
    assert_int_equal(r->closed, 0);
    transcript_event(&r->transcript, e);
    bool last = e->kind == CHAT_EVENT_STOP || e->kind == CHAT_EVENT_ERROR;
    if (e->kind == CHAT_EVENT_START && r->pause_at_start)
        provider_call_pause(r->call, true);
    if (last || (e->kind == CHAT_EVENT_START && r->close_at_start)) {
        provider_call_close(r->call);
        r->call = NULL;
        r->closed = 1;
        loop_stop(r->f.loop);
    }
}

static void run_start(struct run *r, const char *kind, struct script *script)
{
    struct error err;
    char url[64];
    memset(r, 0, sizeof *r);
    loopback_start(&r->server, serve, script);
    fixture_start(&r->f);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/base", r->server.port);
    struct egress_target_options t = {.name = STR("cloud"),
        .base_url = str_from(url),
        .zone = EGRESS_ZONE_CLOUD,
        .first_byte_timeout_ms = 300,
        .idle_timeout_ms = 300};
    struct provider_options o = {.name = STR("cloud"),
        .kind = str_from(kind),
        .api_key = STR("sk-secret\n"),
        .answer_timeout_ms = 2000};
    assert_int_equal(egress_target_create(&t, &o.target, &err), 0);
    assert_int_equal(provider_create(&o, &r->provider, &err), 0);
    r->model = (struct provider_model){.provider = r->provider, .model = STR("the-model")};
    r->request = request_create();
    request_add(r->request, CHAT_USER, "hi");
    transcript_sink(&r->transcript);
}

static int run_call(struct run *r, struct error *err)
{
    struct egress_permit permit = fixture_permit(EGRESS_BOUNDARY_ANY);
    struct provider_start s = {.loop = r->f.loop,
        .egress = r->f.egress,
        .permit = &permit,
        .model = &r->model,
        .request = r->request,
        .whole = r->whole,
        .sink = {on_event, r}};
    return provider_call_start(&s, &r->call, err);
}

static void run_stop(struct run *r)
{
    provider_call_close(r->call);
    request_free(r->request);
    provider_free(r->provider);
    fixture_stop(&r->f);
    loopback_stop(&r->server);
    buf_free(&r->transcript.text);
}

/* One call against the script; gives the transcript's text. */
static void assert_run(const char *kind, struct script script, const char *expect)
{
    struct run r;
    struct error err;
    run_start(&r, kind, &script);
    assert_int_equal(run_call(&r, &err), 0);
    assert_int_equal(r.transcript.events, 0); /* none before it returns */
    fixture_run(&r.f, 5000);
    assert_false(r.f.timed_out);
    if (!str_starts(buf_str(&r.transcript.text), str_from(expect)))
        fail_msg("got '%s', want '%s'", r.transcript.text.data, expect);
    run_stop(&r);
}

static const char answer[] = "start c1 m\ntext hello\nusage 3 0 1 0\nstop 0\n";

static void test_all_kinds_answer(void **state)
{
    static const char sse[] = "Content-Type: text/event-stream\r\n";
    (void)state;
    for (size_t piece = 0; piece < 8; piece += 7) {
        assert_run("openai", (struct script){"200 OK", sse, OPENAI_BODY, piece, 0, false, false}, answer);
        assert_run("anthropic", (struct script){"200 OK", sse, ANTHROPIC_BODY, piece, 0, false, false},
            "start c1 m\nusage 3 0 1 0\ntext hello\nusage 3 0 1 0\nstop 0\n"); /* told again: that is all */
        assert_run("gemini", (struct script){"200 OK", sse, GEMINI_BODY, piece, 0, false, false}, answer);
    }
    assert_run("openai",
        (struct script){"200 OK", "Content-Type: application/json\r\n",
            "{\"id\":\"c1\",\"model\":\"m\",\"choices\":[{\"message\":{\"content\":\"hello\"},\"finish_"
            "reason\":\"stop\"}],"
            "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}",
            5, 0, false, false},
        answer);
}

static void test_what_the_server_is_asked(void **state)
{
    struct script script = {"200 OK", "", OPENAI_BODY, 0, 0, false, false};
    struct run r;
    struct error err;
    (void)state;
    run_start(&r, "openai", &script);
    assert_int_equal(run_call(&r, &err), 0);
    fixture_run(&r.f, 5000);
    const char *sent = r.server.last.data;
    assert_non_null(strstr(sent, "POST /base/chat/completions HTTP/1.1\r\n"));
    assert_non_null(
        strstr(sent, "\r\nAuthorization: Bearer sk-secret\r\n")); /* the line end of its file is gone */
    assert_non_null(strstr(sent, "\r\nContent-Type: application/json\r\n"));
    assert_non_null(strstr(sent, "\"model\":\"the-model\""));
    assert_int_equal(r.f.witnessed, 1);
    assert_string_equal(r.f.path, "/base/chat/completions");
    run_stop(&r);
    run_start(&r, "anthropic", &script);
    assert_int_equal(run_call(&r, &err), 0);
    fixture_run(&r.f, 5000);
    sent = r.server.last.data;
    assert_non_null(strstr(sent, "POST /base/v1/messages HTTP/1.1\r\n"));
    assert_non_null(strstr(sent, "\r\nx-api-key: sk-secret\r\n"));
    assert_non_null(strstr(sent, "\r\nanthropic-version: 2023-06-01\r\n"));
    run_stop(&r);
    run_start(&r, "gemini", &script);
    assert_int_equal(run_call(&r, &err), 0);
    fixture_run(&r.f, 5000);
    sent = r.server.last.data;
    assert_non_null(
        strstr(sent, "POST /base/v1beta/models/the-model:streamGenerateContent?alt=sse HTTP/1.1\r\n"));
    assert_non_null(strstr(sent, "\r\nx-goog-api-key: sk-secret\r\n"));
    assert_non_null(strstr(sent, "\"contents\":[{\"role\":\"user\""));
    assert_string_equal(r.f.path, "/base/v1beta/models/the-model:streamGenerateContent?alt=sse");
    run_stop(&r);
}

#define WHOLE_BODY                                                                                           \
    "{\"id\":\"c1\",\"model\":\"m\",\"choices\":[{\"message\":{\"content\":\"hello\"},\"finish_reason\":"    \
    "\"stop\"}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}"

/* It may take longer than the first byte of a stream; a server that streams all the same is understood. */
static void test_a_whole_answer_has_a_time_of_its_own(void **state)
{
    struct script slow = {"200 OK", "Content-Type: application/json\r\n", WHOLE_BODY, 0, 700, false, false};
    struct script streams = {
        "200 OK", "Content-Type: text/event-stream\r\n", OPENAI_BODY, 7, 0, false, false};
    struct script *scripts[] = {&slow, &streams};
    struct run r;
    struct error err;
    (void)state;
    for (int i = 0; i < 2; i++) {
        run_start(&r, "openai", scripts[i]);
        assert_true(provider_answers_whole(&r.model, r.request));
        r.whole = true;
        assert_int_equal(run_call(&r, &err), 0);
        fixture_run(&r.f, 5000);
        assert_string_equal(r.transcript.text.data, answer);
        assert_non_null(strstr(r.server.last.data, "\"stream\":false"));
        assert_non_null(strstr(r.server.last.data, "\r\nAccept: application/json\r\n"));
        run_stop(&r);
    }
    run_start(&r, "openai", &slow);
    assert_int_equal(run_call(&r, &err), 0);
    fixture_run(&r.f, 5000);
    assert_non_null(strstr(r.transcript.text.data, "error timeout"));
    run_stop(&r);
}

static void test_who_is_asked_for_a_whole_answer(void **state)
{
    struct script script = {"200 OK", "", WHOLE_BODY, 0, 0, false, false};
    static const char *const kinds[] = {"openai", "anthropic", "gemini", "ollama", "vllm", "bedrock"};
    struct run r;
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        run_start(&r, kinds[i], &script);
        assert_true(provider_answers_whole(&r.model, r.request));
        r.request->max_tokens = 8192;
        assert_true(provider_answers_whole(&r.model, r.request));
        r.request->max_tokens = 8193; /* it may take so long that something in between hangs up */
        assert_false(provider_answers_whole(&r.model, r.request));
        r.request->max_tokens = -1;
        r.model.max_output = 64000;
        assert_false(provider_answers_whole(&r.model, r.request));
        run_stop(&r);
    }
}

/* Closing in the very event that ends the answer must not cost the connection. */
static void test_calls_one_after_another_share_a_connection(void **state)
{
    struct script script = {
        "200 OK", "Content-Type: text/event-stream\r\n", OPENAI_BODY, 20, 0, false, false};
    struct run r;
    struct error err;
    (void)state;
    run_start(&r, "openai", &script);
    for (int i = 0; i < 10; i++) {
        buf_clear(&r.transcript.text);
        r.transcript.last = r.transcript.events = r.closed = 0;
        assert_int_equal(run_call(&r, &err), 0);
        fixture_run(&r.f, 5000);
        assert_string_equal(r.transcript.text.data, answer);
        fixture_run(&r.f, 10);
    }
    assert_int_equal(atomic_load(&r.server.connections), 1);
    run_stop(&r);
}

static void test_refusals_of_the_provider(void **state)
{
    static const char json[] = "{\"error\":{\"message\":\"because\",\"type\":\"t\"}}";
    static const struct {
        const char *status, *headers, *expect;
    } cases[] = {
        {"429 Too Many Requests", "Retry-After: 3\r\n",
            "error busy 429 1 3000 t: provider 'cloud' answered HTTP 429: because\n"},
        {"429 Too Many Requests", "Retry-After: 3\r\nretry-after-ms: 200\r\n", "error busy 429 1 200 t: "},
        {"400 Bad Request", "", "error invalid 400 0 -1 t: provider 'cloud' answered HTTP 400: because\n"},
        {"401 Unauthorized", "",
            "error unavailable 401 1 -1 t: provider 'cloud' refused this gateway's credentials"},
        {"500 Oops", "", "error unavailable 500 1 -1 t: "},
        {"503 Down", "Content-Type: text/html\r\n", "error unavailable 503 1 -1 t: "},
        {"529 Overloaded", "", "error unavailable 529 1 -1 t: "},
        {"302 Found", "Location: http://192.0.2.1/\r\n",
            "error unavailable 302 1 -1 t: provider 'cloud' sent a redirect"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_run("openai", (struct script){cases[i].status, cases[i].headers, json, 3, 0, false, false},
            cases[i].expect);
        /* The body breaks off: the status alone decides. */
        struct script cut = {cases[i].status, cases[i].headers, "{\"error\":", 3, 0, true, false};
        char expect[16];
        snprintf(expect, sizeof expect, "%.*s", (int)(strchr(cases[i].expect + 6, ' ') - cases[i].expect),
            cases[i].expect);
        assert_run("anthropic", cut, expect);
    }
}

static void test_faults_on_the_way(void **state)
{
    static const char sse[] = "Content-Type: text/event-stream\r\n";
    static const char begun[] =
        "data: "
        "{\"id\":\"c1\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hello\"}}]}\n\n";
    (void)state;
    assert_run("openai", (struct script){"200 OK", sse, begun, 0, 0, true, false},
        "start c1 m\ntext hello\nerror unavailable 0 1 -1 : ");
    assert_run("openai", (struct script){"200 OK", sse, begun, 0, 0, false, false},
        "start c1 m\ntext hello\nerror unavailable 0 1 -1 : provider 'cloud': its answer ended before it was "
        "complete\n");
    assert_run("openai", (struct script){"200 OK", sse, begun, 0, 0, false, true},
        "start c1 m\ntext hello\nerror timeout 0 1 -1 : ");
    assert_run("openai", (struct script){"200 OK", sse, "", 0, 0, false, true}, "error timeout 0 1 -1 : ");
    assert_run("openai",
        (struct script){"200 OK", "Content-Type: text/html\r\n", "<html>", 0, 0, false, true},
        "error unavailable 0 1 -1 : provider 'cloud': its answer cannot be understood: it is 'text/html'");
    assert_run("openai", (struct script){"200 OK", sse, "data: {nonsense\n\n", 0, 0, false, true},
        "error unavailable 0 1 -1 : provider 'cloud': its answer cannot be understood: ");
    /* A whole answer whose connection then breaks or hangs is a whole answer. */
    assert_run("openai", (struct script){"200 OK", sse, OPENAI_BODY, 0, 0, true, false}, answer);
    assert_run("openai", (struct script){"200 OK", sse, OPENAI_BODY, 0, 0, false, true}, answer);
    /* A slow drip is no silence. */
    assert_run("openai", (struct script){"200 OK", sse, OPENAI_BODY, 40, 50, false, false}, answer);
}

static void test_closing_in_the_first_event_cancels(void **state)
{
    struct script script = {"200 OK", "Content-Type: text/event-stream\r\n", OPENAI_BODY, 1, 1, false, false};
    struct run r;
    struct error err;
    (void)state;
    run_start(&r, "openai", &script);
    r.close_at_start = true;
    assert_int_equal(run_call(&r, &err), 0);
    fixture_run(&r.f, 5000);
    assert_string_equal(r.transcript.text.data, "start c1 m\n");
    for (int i = 0; i < 400 && atomic_load(&r.server.alive) > 0; i++)
        fixture_run(&r.f, 5);
    assert_int_equal(atomic_load(&r.server.alive), 0); /* the server has noticed */
    run_stop(&r);
}

static void test_pausing_holds_the_answer_back(void **state)
{
    struct script script = {
        "200 OK", "Content-Type: text/event-stream\r\n", OPENAI_BODY, 10, 2, false, false};
    struct run r;
    struct error err;
    (void)state;
    run_start(&r, "openai", &script);
    r.pause_at_start = true;
    assert_int_equal(run_call(&r, &err), 0);
    fixture_run(&r.f, 600); /* longer than the idle time-out */
    assert_int_equal(r.transcript.last, 0);
    provider_call_pause(r.call, false);
    fixture_run(&r.f, 5000);
    assert_string_equal(r.transcript.text.data, answer);
    run_stop(&r);
}

static void test_what_is_refused_here_sends_nothing(void **state)
{
    struct script script = {"200 OK", "", OPENAI_BODY, 0, 0, false, false};
    struct run r;
    struct error err;
    (void)state;
    run_start(&r, "anthropic", &script);
    r.request->sampling.has_seed = true;
    assert_int_equal(provider_supports(&r.model, r.request, &err), ERROR_UNSUPPORTED);
    assert_int_equal(run_call(&r, &err), ERROR_UNSUPPORTED);
    r.request->sampling.has_seed = false;
    assert_int_equal(provider_supports(&r.model, r.request, &err), 0);
    struct egress_permit inside = fixture_permit(EGRESS_BOUNDARY_LOCAL);
    struct provider_start s = {.loop = r.f.loop,
        .egress = r.f.egress,
        .permit = &inside,
        .model = &r.model,
        .request = r.request,
        .sink = {on_event, &r}};
    assert_int_equal(provider_call_start(&s, &r.call, &err), ERROR_DENIED);
    s.permit = NULL;
    assert_int_equal(provider_call_start(&s, &r.call, &err), ERROR_DENIED);
    fixture_run(&r.f, 50);
    assert_int_equal(r.transcript.events, 0);
    assert_int_equal(r.f.witnessed, 0);
    assert_int_equal(atomic_load(&r.server.connections), 0);
    run_stop(&r);
}

static void test_a_witness_that_fails_is_an_error_event(void **state)
{
    struct script script = {"200 OK", "", OPENAI_BODY, 0, 0, false, false};
    struct run r;
    struct error err;
    (void)state;
    run_start(&r, "openai", &script);
    r.f.witness_code = ERROR_IO;
    assert_int_equal(run_call(&r, &err), 0);
    fixture_run(&r.f, 5000);
    assert_non_null(strstr(r.transcript.text.data, "error io 0 1 -1 : "));
    assert_int_equal(atomic_load(&r.server.connections), 0);
    run_stop(&r);
}

static void test_the_registry(void **state)
{
    struct provider *p;
    struct error err;
    (void)state;
    assert_true(provider_kind_exists(STR("openai")) && provider_kind_exists(STR("anthropic")));
    assert_true(provider_kind_exists(STR("gemini")) && provider_kind_exists(STR("local")));
    assert_false(provider_kind_exists(STR("OpenAI")) || provider_kind_exists(STR("")));
    struct provider_options o = {.name = STR("x"),
        .kind = STR("nosuch"),
        .target = fixture_target("https://a.example", EGRESS_ZONE_CLOUD, NULL)};
    assert_int_equal(provider_create(&o, &p, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, provider_kinds()));
    o.kind = STR("openai");
    o.target = NULL;
    assert_int_equal(provider_create(&o, &p, &err), ERROR_INVALID);
    o.target = fixture_target("https://a.example", EGRESS_ZONE_CLOUD, NULL);
    assert_int_equal(provider_create(&o, &p, &err), 0);
    assert_false(provider_is_inside(p));
    assert_true(str_is(provider_name(p), "x") && str_is(provider_kind(p), "openai"));
    provider_free(p);
    o.target = fixture_target("http://10.0.0.1", EGRESS_ZONE_LOCAL, NULL);
    assert_int_equal(provider_create(&o, &p, &err), 0);
    assert_true(provider_is_inside(p));
    provider_free(p);
    o = (struct provider_options){.name = STR("local"), .kind = STR("local")};
    assert_int_equal(provider_create(&o, &p, &err), 0);
    assert_true(provider_is_inside(p));
    provider_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_kinds_answer),
        cmocka_unit_test(test_what_the_server_is_asked),
        cmocka_unit_test(test_a_whole_answer_has_a_time_of_its_own),
        cmocka_unit_test(test_who_is_asked_for_a_whole_answer),
        cmocka_unit_test(test_calls_one_after_another_share_a_connection),
        cmocka_unit_test(test_refusals_of_the_provider),
        cmocka_unit_test(test_faults_on_the_way),
        cmocka_unit_test(test_closing_in_the_first_event_cancels),
        cmocka_unit_test(test_pausing_holds_the_answer_back),
        cmocka_unit_test(test_what_is_refused_here_sends_nothing),
        cmocka_unit_test(test_a_witness_that_fails_is_an_error_event),
        cmocka_unit_test(test_the_registry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
