#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "app/config.h"

static struct error err;
static char folder[] = "/tmp/weir-config-XXXXXX";

static void file_write(const char *name, const char *text)
{
    FILE *f = fopen(name, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static struct config *loaded(const char *text, const struct config_overrides *o)
{
    struct config *c;
    static const struct config_overrides none;
    file_write("weir.yaml", text);
    if (config_load(STR_NONE, o ? o : &none, &c, &err))
        fail_msg("%s", err.message);
    return c;
}

static void refused(const char *text, const char *message)
{
    struct config *c;
    struct config_overrides none = {0};
    file_write("weir.yaml", text);
    if (config_load(STR_NONE, &none, &c, &err) == 0)
        fail_msg("accepted: %s", text);
    if (!strstr(err.message, message))
        fail_msg("%s\n gave '%s'\n without '%s'", text, err.message, message);
}

static const char whole[] =
    "listen: 127.0.0.1:9090\n"
    "state: sqlite:x.db\n"
    "offline: false\n"
    "auth: keys\n"
    "hosts: [weir.lan]\n"
    "threads: 2\n"
    "max_connections: 100\n"
    "max_body: 1MiB\n"
    "tls: {certificate: cert.pem, key: key.pem}\n"
    "providers:\n"
    "  openai: {kind: openai, base_url: \"https://api.openai.com/v1\", api_key: \"${WEIR_TEST_KEY}\", "
    "first_byte_timeout: 5s, connect_timeout: 250ms}\n"
    "  claude-co: {kind: anthropic, api_key: \"file:secret.txt\"}\n"
    "  rack: {kind: openai, base_url: \"http://10.0.0.5:8000/v1\", zone: local, networks: [100.64.0.0/10], "
    "answer_timeout: 90s}\n"
    "models:\n"
    "  - {name: house, file: house.gguf, context: 8192, slots: 4, kv_cache: 3GiB, kv_type: q8_0, "
    "speculate: off}\n"
    "  - {name: gpt-4o, provider: openai, price: {input: 2.50, cached_input: 1.25, output: 10.00}, "
    "max_output: 1000, first_token_timeout: 30s}\n"
    "  - {name: claude, provider: claude-co, model: claude-sonnet-4-5}\n"
    "  - {name: big, provider: rack, model: qwen}\n"
    "routes:\n"
    "  - name: auto\n"
    "    rules:\n"
    "      - {name: home, when: {sensitive: true}, use: [house], boundary: local}\n"
    "      - {name: rest, use: [gpt-4o, house]}\n"
    "on_sensitive: block\n"
    "retention: {content: none, metadata: 30d}\n";

static void the_whole_contract(void **state)
{
    (void)state;
    struct config *c = loaded(whole, NULL);
    assert_true(str_is(c->listen_host, "127.0.0.1") && c->listen_port == 9090);
    assert_true(str_is(c->tls_key, "key.pem") && c->auth_keys && !c->offline);
    assert_int_equal(c->loops, 2);
    assert_int_equal(c->max_body, 1 << 20);
    assert_int_equal(c->retention_metadata_ms, 30LL * 86400000);
    assert_int_equal(c->exchange.content_ms, 0);
    assert_int_equal(c->on_sensitive, ROUTER_SENSITIVE_BLOCK);
    assert_int_equal(c->n_providers, 3);
    assert_true(str_is(c->providers[0].api_key, "k-123") && str_is(c->providers[1].api_key, "from-a-file"));
    assert_true(str_is(c->providers[1].base_url, "https://api.anthropic.com"));
    assert_int_equal(c->providers[0].first_byte_timeout_ms, 5000);
    assert_int_equal(c->providers[0].connect_timeout_ms, 250);
    assert_int_equal(c->providers[0].answer_timeout_ms, 0); /* only a stream tells of its first byte */
    assert_int_equal(c->providers[1].answer_timeout_ms, 600000);
    assert_int_equal(c->providers[2].answer_timeout_ms, 90000);
    assert_int_equal(c->providers[0].zone, EGRESS_ZONE_CLOUD);
    assert_int_equal(c->providers[2].zone, EGRESS_ZONE_LOCAL);
    assert_int_equal(c->providers[2].n_networks, 1);
    assert_int_equal(c->n_models, 4);
    assert_int_equal(c->models[0].provider, -1);
    assert_int_equal(c->models[0].context, 8192);
    assert_true(c->models[0].kv_bytes == 3ll << 30 && str_is(c->models[0].kv_type, "q8_0"));
    assert_true(c->models[0].drafts_off);
    assert_true(c->models[0].price.known && c->models[0].price.input == 0);
    assert_true(str_is(c->models[1].model, "gpt-4o"));
    assert_int_equal(c->models[1].price.input, 2500);
    assert_int_equal(c->models[1].price.cached_input, 1250);
    assert_int_equal(c->models[1].price.output, 10000);
    assert_int_equal(c->models[1].patience.first_token_ms, 30000);
    assert_true(c->models[2].price.known && c->models[2].price.output > c->models[2].price.input);
    assert_true(c->models[3].price.known && c->models[3].price.output == 0);
    struct router_policy *p;
    assert_int_equal(config_policy(c, &p, &err), 0);
    assert_int_equal(router_policy_n_routes(p), 1);
    router_policy_free(p);
    config_free(c);
}

/* The example that the documentation gives, with every kind of provider. */
static const char documented[] =
    "listen: 127.0.0.1:8080\n"
    "tls: {certificate: cert.pem, key: key.pem}            # optional\n"
    "state: sqlite:weir.db                                 # or postgresql://user@host/db\n"
    "offline: false                                        # true: no outbound connection, ever\n"
    "auth: none                                            # or keys; refused with a non-loopback listen\n"
    "providers:\n"
    "  openai:    {kind: openai, base_url: \"https://…/v1\", api_key: \"${WEIR_TEST_KEY}\"}\n"
    "  anthropic: {kind: anthropic, base_url: \"https://…\", api_key: \"${WEIR_TEST_KEY}\"}\n"
    "  google:    {kind: gemini, base_url: \"https://…\", api_key: \"${WEIR_TEST_KEY}\"}\n"
    "  rack:      {kind: openai, base_url: \"http://10.0.0.5:8000/v1\", zone: local}   # a server of our "
    "own\n"
    "models:                                               # what clients may ask for\n"
    "  - {name: house, file: models/house.gguf, context: 8192, slots: 4}             # the embedded engine\n"
    "  - {name: gpt-4o, provider: openai, model: gpt-4o, price: {input: 2.50, cached_input: 1.25, output: "
    "10.00}}\n"
    "  - {name: claude, provider: anthropic, model: claude-sonnet-4-5}               # price from the table\n"
    "routes:                                               # virtual models\n"
    "  - name: auto\n"
    "    rules:                                            # the first that matches decides\n"
    "      - {name: sensitive-stays-home, when: {sensitive: true}, use: [house], boundary: local}\n"
    "      - {name: batch-stays-home, when: {batch: true}, use: [house]}\n"
    "      - {name: hard-goes-out, when: {complexity: \">= 0.6\"}, use: [gpt-4o, claude, house]}\n"
    "      - {name: otherwise, use: [house, gpt-4o]}       # in this order; the next on failure\n"
    "on_sensitive: local          # a named cloud model asked with sensitive content\n"
    "retention: {content: none, metadata: 90d}\n";

static void the_documented_example(void **state)
{
    (void)state;
    struct router_policy *p;
    struct config *c = loaded(documented, NULL);
    assert_int_equal(c->n_providers, 4);
    assert_true(str_is(c->providers[2].name, "google") && str_is(c->providers[2].kind, "gemini"));
    assert_true(str_is(c->providers[2].api_key, "k-123"));
    assert_int_equal(c->n_models, 3);
    assert_int_equal(config_policy(c, &p, &err), 0);
    assert_int_equal(router_policy_n_routes(p), 1);
    router_policy_free(p);
    config_free(c);
}

/* The kind is the shape of the API; the table of prices calls the vendor by its name. */
static void gemini_has_an_address_and_prices(void **state)
{
    (void)state;
    struct config *c = loaded("providers:\n  g: {kind: gemini, api_key: \"${WEIR_TEST_KEY}\"}\n"
                              "models:\n  - {name: gemini-2.5-flash, provider: g}\n"
                              "  - {name: no-such-model, provider: g}\n",
        NULL);
    assert_true(str_is(c->providers[0].base_url, "https://generativelanguage.googleapis.com"));
    assert_true(c->models[0].price.known && c->models[0].price.output > c->models[0].price.input);
    assert_true(c->models[0].price.cached_input > 0 && !c->models[1].price.known);
    config_free(c);
}

static const char patient[] =
    "request_timeout: 2m\n"
    "drain_timeout: 5s\n"
    "providers:\n"
    "  a: {kind: openai, base_url: \"https://a\", first_token_timeout: 9s, timeout: 1m, retries: 4, breaker: "
    "off}\n"
    "  r: {kind: openai, base_url: \"http://10.0.0.5\", zone: local}\n"
    "models:\n"
    "  - {name: a1, provider: a}\n"
    "  - {name: a2, provider: a, retries: 0, timeout: 3s, connect_timeout: 1s, idle_timeout: 2s,\n"
    "     breaker: {failures: 9, open: 1s}, max_in_flight: 8, queue: {length: 50, timeout: 4s}}\n"
    "  - {name: r1, provider: r, max_in_flight: 2}\n"
    "  - {name: r2, provider: r}\n"
    "  - {name: house, file: house.gguf, queue: 5}\n"
    "  - {name: rack, balance: {over: [r1, r2, house], by: prefix}}\n"
    "  - {name: mixed, balance: {over: {a1: 3, r1: 1}, by: weighted}}\n"
    "routes:\n"
    "  - {name: auto, rules: [{use: [rack], boundary: local, hedge: 800ms, cache: true}]}\n";

static void patience_and_pools(void **state)
{
    (void)state;
    struct config *c = loaded(patient, NULL);
    assert_int_equal(c->exchange.request_timeout_ms, 120000);
    assert_int_equal(c->drain_ms, 5000);
    const struct config_model *m = c->models;
    /* A model has what its provider has where it says nothing itself. */
    assert_int_equal(m[0].patience.first_token_ms, 9000);
    assert_int_equal(m[0].patience.total_ms, 60000);
    assert_int_equal(m[0].patience.retries, 4);
    assert_int_equal(m[0].limits.breaker.failures, 0);
    assert_int_equal(m[0].limits.max_in_flight, 0);
    assert_int_equal(m[1].patience.first_token_ms, 9000);
    assert_int_equal(m[1].patience.total_ms, 3000);
    assert_int_equal(m[1].patience.retries, 0);
    assert_int_equal(m[1].patience.connect_ms, 1000);
    assert_int_equal(m[1].patience.idle_ms, 2000);
    assert_int_equal(m[1].patience.queue_ms, 4000);
    assert_int_equal(m[1].limits.breaker.failures, 9);
    assert_int_equal(m[1].limits.breaker.open_ms, 1000);
    assert_int_equal(m[1].limits.max_in_flight, 8);
    assert_int_equal(m[1].limits.queue_length, 50);
    assert_int_equal(m[2].patience.retries, 2);
    assert_int_equal(m[2].limits.queue_length, 0);
    assert_int_equal(m[4].queue, 5);
    assert_int_equal(m[5].n_members, 3);
    assert_int_equal(m[5].balance, BALANCE_PREFIX);
    assert_true(m[5].members[0] == 2 && m[5].members[2] == 4 && m[5].weights[1] == 1);
    assert_true(m[6].members[0] == 0 && m[6].weights[0] == 3 && m[6].weights[1] == 1);
    /* A pool is inside when all of it is: the rule with boundary: local takes this one. */
    struct router_policy *p;
    assert_int_equal(config_policy(c, &p, &err), 0);
    router_policy_free(p);
    config_free(c);
}

#define TWO                                                                                                  \
    "providers:\n  a: {kind: openai}\n  r: {kind: openai, zone: local}\nmodels:\n  - {name: a1, provider: "  \
    "a}\n"                                                                                                   \
    "  - {name: r1, provider: r}\n"

static void what_applies_to_all_requests(void **state)
{
    (void)state;
    struct config *c = loaded("drain_delay: 1s\ncache: {ttl: 5m, max_bytes: 1MiB}\nproviders:\n  a: {kind: "
                              "openai, probe: {path: /models}}\n",
        NULL);
    assert_true(c->exchange.client_cache);
    assert_int_equal(c->cache_ttl_ms, 300000);
    assert_int_equal(c->cache_bytes, 1 << 20);
    assert_int_equal(c->drain_delay_ms, 1000);
    assert_int_equal(c->exchange.keep_alive_ms, 15000);
    assert_true(str_is(c->providers[0].probe_path, "/models") && !c->providers[0].probe_always);
    assert_int_equal(c->providers[0].probe_every_ms, 5000);
    config_free(c);
    c = loaded("models: []\n", NULL);
    assert_false(c->exchange.client_cache);
    assert_int_equal(c->cache_ttl_ms, 600000); /* for rules that say cache: true */
    assert_int_equal(c->cache_bytes, 64 << 20);
    config_free(c);
    refused("cache: {size: 1MiB}\n", "unknown key 'size' in the cache");
    refused("providers:\n  a: {kind: openai, probe: {path: models}}\n", "'probe' wants a 'path'");
}

static void mistakes_about_patience(void **state)
{
    (void)state;
    refused(TWO "  - {name: p, balance: {over: [a1, b1]}}\n", "weir.yaml:7: no model 'b1' before this one");
    refused(TWO "  - {name: p, balance: {over: [a1]}}\n", "'balance' wants 'over': 2 to 64 models");
    refused(TWO "  - {name: p, balance: {over: [a1, a1]}}\n", "'a1' is in 'over' twice");
    refused(
        TWO "  - {name: p, balance: {over: [a1, r1], by: chance}}\n", "'by' is one of weighted, least_busy");
    refused(TWO "  - {name: p, balance: {over: {a1: 0, r1: 1}}}\n", "a weight is a whole number from 1");
    refused(TWO "  - {name: p, balance: {over: [a1, r1]}, retries: 1}\n",
        "a model with 'balance' has no 'retries'");
    refused(TWO "  - {name: p, balance: {over: [a1, r1]}}\n  - {name: q, balance: {over: [p, r1]}}\n",
        "weir.yaml:8: 'p' balances itself");
    refused("models:\n  - {name: a, file: house.gguf, connect_timeout: 1s}\n",
        "belongs to a model with a 'provider'");
    refused("providers:\n  a: {kind: openai, base_urls: [\"http://a/v1\"]}\n",
        "'base_urls' wants a list of 2 to");
    refused(
        "providers:\n  a: {kind: openai, base_url: \"http://a\", base_urls: [\"http://a\", \"http://b\"]}\n",
        "in place of 'base_url'");
    refused(
        "providers:\n  a: {kind: openai, base_urls: [\"http://a\", \"ftp://b\"]}\n", "begins with https://");
    refused("providers:\n  a: {kind: openai, balance: prefix}\n", "wants 'base_urls'");
    refused("providers:\n  a: {kind: openai, breaker: maybe}\n", "'breaker' is off or {failures");
    refused("providers:\n  a: {kind: openai, breaker: {failures: 0}}\n", "'failures' must be a whole number");
    refused("providers:\n  a: {kind: openai, retries: 11}\n", "'retries' must be");
    refused("models:\n  - {name: a, file: house.gguf, queue: {length: 3}}\n", "'max_in_flight'");
    /* A pool that is outside in part is outside. */
    struct config *c = loaded(TWO "  - {name: p, balance: {over: [a1, r1]}}\nroutes:\n  - {name: z, rules: "
                                  "[{use: [p], boundary: local}]}\n",
        NULL);
    struct router_policy *p;
    assert_int_not_equal(config_policy(c, &p, &err), 0);
    assert_non_null(strstr(err.message, "every model in 'use' is outside"));
    config_free(c);
}

static void mistakes_name_their_line(void **state)
{
    (void)state;
    refused("lisen: 127.0.0.1:1\n",
        "weir.yaml:1: unknown key 'lisen' in the configuration: did you mean 'listen'?");
    refused("models:\n  - {name: a, provider: x, pirce: {}}\n",
        "weir.yaml:2: unknown key 'pirce' in a model: did you mean 'price'?");
    refused("models:\n  - {name: a, provider: x}\n", "weir.yaml:2: no provider 'x'");
    refused("models:\n  - {name: a}\n", "wants a 'file' (it runs here), a 'provider' or 'balance'");
    refused("models:\n  - {name: a, file: nowhere.gguf}\n",
        "weir.yaml:2: 'file' names nowhere.gguf: No such file");
    refused("models:\n  - {name: a, file: house.gguf}\n  - {name: a, file: house.gguf}\n",
        "weir.yaml:3: a model named 'a' is on line 2 already");
    refused("models:\n  - {name: a, file: house.gguf, slots: 0}\n", "'slots' must be a whole number");
    refused("models:\n  - {name: a, file: house.gguf, kv_type: q5_1}\n",
        "'kv_type' must be f32, f16, bf16, q8_0 or q4_0");
    refused("models:\n  - {name: a, file: house.gguf, kv_cache: much}\n", "'kv_cache'");
    refused("models:\n  - {name: a, file: house.gguf, speculate: 5}\n", "'speculate' is auto or off");
    refused("models:\n  - {name: a, file: house.gguf, draft: nowhere.gguf}\n", "'draft' names nowhere.gguf");
    refused("models:\n  - {name: a, file: house.gguf, draft: house.gguf, speculate: off}\n",
        "'draft' beside 'speculate: off'");
    refused(
        "providers:\n  x: {kind: openai, base_url: \"https://a.test\"}\nmodels:\n  - {name: a, provider: x, "
        "kv_cache: 1GiB}\n",
        "belong to a model that runs here");
    refused("models:\n  - {name: \"a b\", file: house.gguf}\n", "no spaces");
    refused("providers:\n  x: {kind: smoke}\n", "weir.yaml:2: no kind 'smoke'");
    refused("providers:\n  local: {kind: openai}\n", "another name");
    refused("providers:\n  x: {kind: openai, base_url: \"ftp://a\"}\n", "'base_url' that begins with");
    refused("providers:\n  x: {kind: openai, idle_timeout: 5}\n", "'idle_timeout' must be a duration");
    refused("providers:\n  x: {kind: openai, idle_timeout: 5000h}\n", "'idle_timeout' must be a duration");
    refused("providers:\n  x: {kind: openai, zone: moon}\n", "'zone' is one of local, cloud");
    refused("max_body: 1TiB\n", "'max_body' must be a size");
    refused("tls: {certificate: cert.pem}\n", "'tls' wants both");
    refused("state: mysql:x\n", "'state' is sqlite:FILE");
    refused("state: postgresql://u:p@h/db\n", "'state' holds a password");
    struct config *kept = loaded("retention: {content: 1d}\n", NULL);
    assert_int_equal(kept->exchange.content_ms, 86400000);
    config_free(kept);
    refused("retention: {content: all}\n", "'content' must be a duration");
    refused("on_sensitive: maybe\n", "'on_sensitive' is one of local, redact, block, allow");
    refused("listen: 8080\n", "'listen' wants HOST:PORT");
    refused("listen: 127.0.0.1:70000\n", "'listen' wants HOST:PORT");
    refused(
        "models: [{name: a, file: house.gguf, price: {input: -1, output: 2}}]\n", "'input' must be a number");
}

static void secrets_come_from_outside(void **state)
{
    (void)state;
    refused("providers:\n  x:\n    kind: openai\n    api_key: sk-literal\n",
        "weir.yaml:4: 'api_key' is written out");
    assert_null(strstr(err.message, "sk-literal"));
    refused("providers:\n  x: {kind: openai, api_key: \"${WEIR_TEST_NONE}\"}\n",
        "weir.yaml:2: the environment has no WEIR_TEST_NONE");
    refused(
        "providers:\n  x: {kind: openai, api_key: \"file:nowhere\"}\n", "weir.yaml:2: cannot open nowhere");
    refused("providers:\n  x: {kind: openai, api_key: \"file:empty.txt\"}\n", "is empty");
    refused("providers:\n  x: {kind: openai, api_key: \"file:lines.txt\"}\n", "holds a space");
    assert_null(strstr(err.message, "two"));
}

static void an_open_door_is_refused(void **state)
{
    (void)state;
    refused("listen: 0.0.0.0:8080\n", "would let anyone in: write `auth: keys`");
    refused("listen: \"[::]:8080\"\n", "would let anyone in");
    refused("listen: example.com:8080\n", "would let anyone in");
    config_free(loaded("listen: 0.0.0.0:8080\nauth: keys\n", NULL));
    config_free(loaded("listen: 127.1.2.3:8080\n", NULL));
    config_free(loaded("listen: \"[::1]:8080\"\n", NULL));
    config_free(loaded("listen: localhost:0\n", NULL));
    struct config_overrides o = {.listen = STR("0.0.0.0:1")};
    struct config *c;
    file_write("weir.yaml", "listen: 127.0.0.1:8080\n");
    assert_int_equal(config_load(STR_NONE, &o, &c, &err), ERROR_DENIED);
}

static void memory_is_checked_unless_said(void **state)
{
    (void)state;
    struct config_overrides o = {.memory_unchecked = true};
    static const char text[] = "providers: {x: {kind: openai}}\n"
                               "models:\n"
                               "  - {name: a, file: house.gguf}\n"
                               "  - {name: b, file: house.gguf, memory: unchecked}\n"
                               "  - {name: c, provider: x}\n";
    struct config *c = loaded(text, NULL);
    assert_true(!c->models[0].memory_unchecked && c->models[1].memory_unchecked);
    config_free(c);
    c = loaded(text, &o);
    assert_true(c->models[0].memory_unchecked && !c->models[2].memory_unchecked);
    config_free(c);
    refused("models: [{name: a, file: house.gguf, memory: 3GiB}]\n", "checked or unchecked");
    refused("providers: {x: {kind: openai}}\nmodels: [{name: m, provider: x, memory: unchecked}]\n",
        "belongs to a model that runs here");
}

static void the_command_line_overrides(void **state)
{
    (void)state;
    struct config_overrides o = {.listen = STR("127.0.0.1:7000"), .model_file = STR("other.gguf"), .offline = true};
    struct config *c = loaded(whole, &o);
    assert_int_equal(c->listen_port, 7000);
    assert_true(c->offline);
    assert_true(str_is(c->models[0].file, "other.gguf") && str_is(c->models[0].name, "house"));
    config_free(c);
    c = loaded("providers: {x: {kind: openai}}\nmodels: [{name: m, provider: x}]\n", &o);
    assert_int_equal(c->n_models, 2);
    assert_true(str_is(c->models[1].name, "local") && c->models[1].provider == -1);
    config_free(c);
    o.model_file = STR("nowhere.gguf");
    assert_int_not_equal(config_load(STR_NONE, &o, &c, &err), 0);
    assert_non_null(strstr(err.message, "--model nowhere.gguf"));
}

/* What a built-in configuration has, and that its policy compiles. */
static struct config *built_in(const char *model_file)
{
    struct config_overrides o = {.model_file = str_from(model_file)};
    struct config *c;
    struct router_policy *p = NULL;
    unlink("weir.yaml");
    if (config_load(STR_NONE, &o, &c, &err) || config_policy(c, &p, &err))
        fail_msg("%s", err.message);
    router_policy_free(p);
    assert_true(str_is(c->file, "(built in)"));
    return c;
}

static void without_a_file(void **state)
{
    (void)state;
    unsetenv("OPENAI_API_KEY");
    unsetenv("ANTHROPIC_API_KEY");
    unsetenv("GEMINI_API_KEY");
    struct config *c = built_in(NULL);
    assert_int_equal(c->n_models, 0);
    assert_null(c->routes);
    config_free(c);
    c = built_in("od\"d name.gguf");
    assert_int_equal(c->n_models, 1);
    assert_true(str_is(c->models[0].name, "local") && str_is(c->models[0].file, "od\"d name.gguf"));
    config_free(c);
    setenv("OPENAI_API_KEY", "k-1", 1);
    setenv("ANTHROPIC_API_KEY", "k-2", 1);
    setenv("GEMINI_API_KEY", "k-3", 1);
    c = built_in("other.gguf");
    assert_int_equal(c->n_providers, 3);
    assert_int_equal(c->n_models, 4);
    assert_true(c->models[1].price.known && c->models[2].price.known && c->models[3].price.known);
    assert_true(str_is(c->providers[2].kind, "gemini") && str_is(c->providers[2].api_key, "k-3"));
    config_free(c);
    c = built_in(NULL); /* only clouds: what is sensitive has nowhere to go */
    assert_int_equal(c->n_models, 3);
    assert_non_null(c->routes);
    config_free(c);
    unsetenv("OPENAI_API_KEY");
    unsetenv("ANTHROPIC_API_KEY");
    unsetenv("GEMINI_API_KEY");
}

static void paths_beside_the_file(void **state)
{
    (void)state;
    struct config_overrides none = {0};
    struct config *c;
    assert_int_equal(mkdir("sub", 0700), 0);
    file_write("sub/weir.yaml", "models: [{name: a, file: m.gguf}, {name: b, file: house.gguf}]\n");
    file_write("sub/m.gguf", "x");
    if (config_load(STR("sub/weir.yaml"), &none, &c, &err))
        fail_msg("%s", err.message);
    assert_true(str_is(c->models[0].file, "sub/m.gguf"));
    assert_true(str_is(c->models[1].file, "house.gguf"));
    config_free(c);
    assert_int_equal(config_load(STR("sub/none.yaml"), &none, &c, &err), ERROR_IO);
    assert_int_equal(config_load(STR("sub"), &none, &c, &err), ERROR_IO);
}

static int folder_make(void **state)
{
    (void)state;
    if (!mkdtemp(folder) || chdir(folder))
        return -1;
    setenv("WEIR_TEST_KEY", "k-123\n", 1);
    unsetenv("WEIR_TEST_NONE");
    static const char *const files[] = {"cert.pem", "key.pem", "house.gguf", "other.gguf", "od\"d name.gguf"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        file_write(files[i], "x");
    if (mkdir("models", 0700))
        return -1;
    file_write("models/house.gguf", "x");
    file_write("secret.txt", "from-a-file\n");
    file_write("empty.txt", "\n");
    file_write("lines.txt", "one\ntwo\n");
    return 0;
}

static int folder_remove(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", folder);
    return chdir("/") || system(command) ? -1 : 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_whole_contract),
        cmocka_unit_test(the_documented_example),
        cmocka_unit_test(gemini_has_an_address_and_prices),
        cmocka_unit_test(mistakes_name_their_line),
        cmocka_unit_test(secrets_come_from_outside),
        cmocka_unit_test(an_open_door_is_refused),
        cmocka_unit_test(patience_and_pools),
        cmocka_unit_test(what_applies_to_all_requests),
        cmocka_unit_test(mistakes_about_patience),
        cmocka_unit_test(the_command_line_overrides),
        cmocka_unit_test(memory_is_checked_unless_said),
        cmocka_unit_test(without_a_file),
        cmocka_unit_test(paths_beside_the_file),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
