/* What a request's rows cost the state's writer: REQUESTS of them, each opened, recorded as it leaves, and
 * settled, through the journal into an SQLite file, as the gateway writes them under load.
 *
 *   ledger_bench weir.db [REQUESTS [KEYS]]
 *   valgrind --tool=callgrind --toggle-collect=store_writer_main ledger_bench weir.db     instructions of the
 * writer
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/loop.h"
#include "store/store.h"

enum { A_TURN = 32, QUEUED_MOST = 1536, WAIT_US = 1000 };

struct bench {
    struct store *store;
    struct loop *loop;
    int requests, keys, sent;
};

static int request_send(struct bench *b, int i, struct error *err)
{
    static const struct store_done nobody = {NULL, NULL, NULL};
    char id[64], key[32];
    snprintf(id, sizeof id, "req_%08xAbCdEfGhIjKlMnOp", (unsigned)i * 2654435761u);
    snprintf(key, sizeof key, "key%09d", i % b->keys);
    const struct store_opened opened = {.request_id = str_from(id),
        .wall_ms = clock_wall_ms(),
        .key_id = str_from(key),
        .team = STR("blue"),
        .api = STR("openai.chat"),
        .model = STR("auto"),
        .route = STR("auto"),
        .rule = STR("hard-goes-out"),
        .boundary = STR("any"),
        .decision = STR("{\"request_id\":\"req_0a1b2c3d4e5f6a7b8c9d0e1f\",\"route\":\"auto\",\"rule\":"
                        "\"hard-goes-out\",\"boundary\":\"any\",\"sensitive\":false,\"categories\":[],"
                        "\"entities\":[],\"complexity\":0.71,\"task\":\"summarize\",\"tokens\":210,"
                        "\"targets\":[\"gpt-4o\",\"claude\",\"house\"],\"reason\":\"complexity 0.71 is at "
                        "least 0.6; rule hard-goes-out asks gpt-4o first\"}")};
    const struct store_egress left = {.wall_ms = opened.wall_ms,
        .request_id = opened.request_id,
        .rule = opened.rule,
        .boundary = opened.boundary,
        .zone = STR("cloud"),
        .target = STR("gpt-4o"),
        .host = STR("api.openai.com"),
        .path = STR("/v1/chat/completions"),
        .bytes = 1234,
        .sha256 = STR("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")};
    const struct store_settled settled = {.request_id = opened.request_id,
        .provider = STR("openai"),
        .model = STR("gpt-4o"),
        .attempts = STR("[{\"target\":\"gpt-4o\",\"provider\":\"openai\",\"outcome\":\"ok\",\"ms\":812}]"),
        .input_tokens = 210,
        .output_tokens = 120,
        .cost_nano_usd = 1725000,
        .first_token_ms = 312,
        .total_ms = 812,
        .outcome = STR("ok"),
        .status = 200};
    int rc = store_ledger_open(b->store, &opened, nobody, err);
    if (rc == 0)
        rc = store_egress_record(b->store, &left, nobody, err);
    return rc ? rc : store_ledger_settle(b->store, &settled, nobody, err);
}

static void on_turn(void *ctx)
{
    struct bench *b = ctx;
    struct store_stats stats;
    struct error err;
    store_stats(b->store, &stats);
    if (stats.queued >= QUEUED_MOST)
        usleep(WAIT_US); /* the writer has the core */
    for (int i = 0; i < A_TURN && b->sent < b->requests && stats.queued < QUEUED_MOST; i++) {
        if (request_send(b, b->sent++, &err)) {
            fprintf(stderr, "%s\n", err.message);
            exit(1);
        }
    }
    if (b->sent < b->requests)
        loop_post(b->loop, on_turn, b);
    else
        loop_stop(b->loop);
}

int main(int argc, char **argv)
{
    struct bench b = {.requests = argc > 2 ? atoi(argv[2]) : 20000, .keys = argc > 3 ? atoi(argv[3]) : 1};
    char url[512];
    struct error err;
    if (argc < 2 || b.requests < 1 || b.keys < 1) {
        fprintf(stderr, "usage: ledger_bench FILE.db [REQUESTS [KEYS]]\n");
        return 2;
    }
    snprintf(url, sizeof url, "sqlite:%s", argv[1]);
    if (store_open(str_from(url), &b.store, &err) || store_claim(b.store, &err) ||
        store_journal(b.store, STR_NONE, &err) || loop_create(&b.loop, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    (void)store_spender(b.store);
    loop_post(b.loop, on_turn, &b);
    int rc = loop_run(b.loop, &err);
    store_close(b.store);
    loop_free(b.loop);
    return rc != 0;
}
