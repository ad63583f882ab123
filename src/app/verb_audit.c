/* weir audit: what left, to whom, under which rule; the ledger of requests; and whether both are as they were
 * written. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/audit_chain.h"
#include "app/verb_state.h"
#include "app/verbs.h"
#include "base/clock.h"
#include "base/limits.h"
#include "json/json.h"

static const char help[] =
    "usage: weir audit egress [--since 24h] [--json]\n"
    "       weir audit ledger [--since 24h] [--json]\n"
    "       weir audit verify [--head CHAIN:NUMBER:HASH] [--json]\n"
    "       weir audit export [--since 24h] [--until TIME]\n"
    "\n"
    "egress: every transfer that left this machine or process: when, to whom, under which rule, how many bytes and\n"
    "the SHA-256 of the body; never the content. ledger: every request: who, where it went, tokens, cost, outcome.\n"
    "verify: are both as they were written? Each record is hashed when it is written, and the hashes are chained;\n"
    "what was changed, removed, inserted or moved since is told, by its place in the chain, with exit code 1. It\n"
    "ends with each chain's head: kept elsewhere (a ticket, a print-out) and given back with --head, it also shows\n"
    "that the end was not cut off and nothing was made anew. export: records and chain as JSONL, to be checked\n"
    "without Weir (README, \"The audit\").\n"
    "\n"
    "  --since AGE|TIME   only what is newer: 24h, 7d, 2026-11-20 or 2026-11-20T12:00:00Z; default all\n"
    "  --until AGE|TIME   only what is older (export)\n"
    "  --head HEADS       heads noted earlier, commas between (verify)\n"
    "  --json             JSONL instead of a table; verify: an object\n"
    "  --state URL        the state, like sqlite:weir.db; default the configuration's\n"
    "  --config FILE      the configuration; default weir.yaml\n";

/* -1 is how the state says "unknown". */
static void write_number(struct json_writer *w, const char *key, int64_t value)
{
    json_key(w, key);
    if (value < 0)
        json_write_null(w);
    else
        json_write_int(w, value);
}

static void write_time(struct json_writer *w, const char *key, int64_t wall_ms)
{
    char when[32];
    clock_format(wall_ms, when);
    json_member_text(w, key, when);
}

/* What the state holds as JSON text; a text that is not JSON (another hand wrote it) as a string. */
static void write_json(struct json_writer *w, const char *key, struct str text)
{
    json_t *value;
    struct error err;
    json_key(w, key);
    if (text.len == 0) {
        json_write_null(w);
    } else if (json_read(text, &value, &err)) {
        json_write_str(w, text);
    } else {
        json_write_value(w, value);
        json_decref(value);
    }
}

/* "0.0004": nano-dollars without rounding and without needless zeros. */
static void format_usd(int64_t nano_usd, char out[40])
{
    int n = snprintf(out, 40, "%" PRId64 ".%09" PRId64, nano_usd / 1000000000, nano_usd % 1000000000);
    while (out[n - 1] == '0' && out[n - 2] != '.')
        out[--n] = '\0';
}

static int egress_json(void *ctx, const struct store_egress *row)
{
    struct buf text;
    struct json_writer w;
    (void)ctx;
    buf_init(&text, 16 * MIB);
    json_writer_init(&w, &text);
    json_object_begin(&w);
    write_time(&w, "time", row->wall_ms);
    json_member_str(&w, "request_id", row->request_id);
    json_member_str(&w, "target", row->target);
    json_member_str(&w, "host", row->host);
    json_member_str(&w, "path", row->path);
    json_member_str(&w, "rule", row->rule);
    json_member_str(&w, "boundary", row->boundary);
    json_member_str(&w, "zone", row->zone);
    write_number(&w, "bytes", row->bytes);
    json_member_str(&w, "sha256", row->sha256);
    json_object_end(&w);
    return verb_line_print(&text);
}

static int egress_row(void *ctx, const struct store_egress *row)
{
    char when[32];
    (void)ctx;
    clock_format(row->wall_ms, when);
    printf("%-26s", when);
    verb_print_cell(row->target, 12);
    putchar(' ');
    verb_print_cell(row->rule, 22);
    putchar(' ');
    verb_print_cell(row->boundary, 6);
    verb_print_cell(row->zone, 6);
    printf("%9" PRId64 "  ", row->bytes);
    verb_print_cell(row->sha256, 64);
    printf("  ");
    verb_print_cell(row->request_id, 30);
    putchar(' ');
    verb_print_cell(row->host, 0);
    verb_print_cell(row->path, 0);
    putchar('\n');
    return ferror(stdout) ? ERROR_IO : 0;
}

static void ledger_write(struct json_writer *w, const struct store_opened *o, const struct store_settled *s)
{
    char usd[40];
    write_time(w, "time", o->wall_ms);
    json_member_str(w, "request_id", o->request_id);
    json_member_str(w, "key_id", o->key_id);
    json_member_str(w, "team", o->team);
    json_member_str(w, "api", o->api);
    json_member_str(w, "model", o->model);
    json_member_str(w, "route", o->route);
    json_member_str(w, "rule", o->rule);
    json_member_str(w, "boundary", o->boundary);
    json_member_bool(w, "sensitive", o->sensitive);
    write_json(w, "decision", o->decision);
    json_member_str(w, "provider", s->provider);
    json_member_str(w, "answered_model", s->model);
    write_json(w, "attempts", s->attempts);
    write_number(w, "input_tokens", s->input_tokens);
    write_number(w, "cached_tokens", s->cached_tokens);
    write_number(w, "output_tokens", s->output_tokens);
    json_member_bool(w, "usage_estimated", s->usage_estimated);
    write_number(w, "cost_nano_usd", s->cost_nano_usd);
    json_key(w, "cost_usd");
    format_usd(s->cost_nano_usd < 0 ? 0 : s->cost_nano_usd, usd);
    json_write_text(w, s->cost_nano_usd < 0 ? NULL : usd);
    write_number(w, "first_token_ms", s->first_token_ms);
    write_number(w, "total_ms", s->total_ms);
    json_member_str(w, "outcome", s->outcome);
    json_member_int(w, "status", s->status);
}

static int ledger_json(void *ctx, const struct store_ledger_row *row)
{
    struct buf text;
    struct json_writer w;
    (void)ctx;
    buf_init(&text, 32 * MIB);
    json_writer_init(&w, &text);
    json_object_begin(&w);
    ledger_write(&w, &row->opened, &row->settled);
    json_object_end(&w);
    return verb_line_print(&text);
}

static int ledger_row(void *ctx, const struct store_ledger_row *row)
{
    char when[32], usd[40] = "-", tokens[64];
    const struct store_settled *s = &row->settled;
    (void)ctx;
    clock_format(row->opened.wall_ms, when);
    printf("%-26s", when);
    verb_print_cell(row->opened.model, 18);
    putchar(' ');
    verb_print_cell(s->provider, 11);
    putchar(' ');
    verb_print_cell(row->opened.rule, 22);
    putchar(' ');
    verb_print_cell(s->outcome, 12);
    snprintf(tokens, sizeof tokens, "%" PRId64 "/%" PRId64, s->input_tokens, s->output_tokens);
    if (s->cost_nano_usd >= 0)
        format_usd(s->cost_nano_usd, usd);
    printf("%12s %12s ", s->input_tokens < 0 || s->output_tokens < 0 ? "-" : tokens, usd);
    if (s->total_ms >= 0)
        printf("%8" PRId64 "  ", s->total_ms);
    else
        printf("%8s  ", "-");
    verb_print_cell(row->opened.request_id, 0);
    putchar('\n');
    return ferror(stdout) ? ERROR_IO : 0;
}

static int list_egress(struct store *s, int64_t since_ms, bool json, struct error *err)
{
    if (!json)
        printf("%-26s%-12s %-22s %-6s%-6s%9s  %-64s  %-30s %s\n", "TIME", "TARGET", "RULE", "BOUND", "ZONE",
            "BYTES", "SHA256", "REQUEST", "WHERE");
    return store_egress_list(s, since_ms, json ? egress_json : egress_row, NULL, err);
}

static int list_ledger(struct store *s, int64_t since_ms, bool json, struct error *err)
{
    if (!json)
        printf("%-26s%-18s %-11s %-22s %-12s%12s %12s %8s  %s\n", "TIME", "MODEL", "PROVIDER", "RULE",
            "OUTCOME", "TOKENS", "USD", "MS", "REQUEST");
    return store_ledger_list(s, since_ms, json ? ledger_json : ledger_row, NULL, err);
}

enum what { EGRESS, LEDGER, VERIFY, EXPORT, WHATS };

struct audit {
    enum what what;
    struct verb_state where;
    const char *since, *until, *head;
    int64_t since_ms, until_ms;
    bool json;
};

/* EXIT_DONE where it may go on; else it was said what is wrong, or helped (-2). */
static int options_read(int argc, char **argv, struct audit *a)
{
    static const char *const whats[WHATS] = {"egress", "ledger", "verify", "export"};
    const struct verb_option options[] = {{"since", &a->since, NULL}, {"until", &a->until, NULL},
        {"head", &a->head, NULL}, {"json", NULL, &a->json}, {"state", &a->where.url, NULL},
        {"config", &a->where.config, NULL}};
    int n = verb_options(argc, argv, options, sizeof options / sizeof *options, help);
    if (n < 0)
        return n == -2 ? -2 : EXIT_USAGE;
    while (n == 1 && a->what < WHATS && strcmp(argv[1], whats[a->what]) != 0)
        a->what++;
    if (n != 1 || a->what == WHATS)
        return verb_failf(EXIT_USAGE, "audit wants egress, ledger, verify or export: see weir audit --help");
    if (a->what == VERIFY && (a->since || a->until))
        return verb_failf(EXIT_USAGE, "audit verify looks at everything: it takes no --since and no --until");
    if ((a->until && a->what != EXPORT) || (a->head && a->what != VERIFY))
        return verb_failf(EXIT_USAGE, "audit %s takes no --%s", whats[a->what], a->until ? "until" : "head");
    a->until_ms = INT64_MAX;
    return verb_since(a->since, &a->since_ms) && verb_time("until", a->until, &a->until_ms) ? EXIT_DONE
                                                                                            : EXIT_USAGE;
}

static int lists_print(struct store *s, const struct audit *a)
{
    struct error err = {.message = "the list could not be printed"};
    int rc = a->what == EGRESS ? list_egress(s, a->since_ms, a->json, &err)
                               : list_ledger(s, a->since_ms, a->json, &err);
    return rc || fflush(stdout) != 0 ? verb_fail(EXIT_FAILED, &err) : EXIT_DONE;
}

int verb_audit(int argc, char **argv)
{
    struct audit a = {.what = EGRESS};
    struct store *s;
    int exit_code = options_read(argc, argv, &a);
    if (exit_code != EXIT_DONE)
        return exit_code == -2 ? EXIT_DONE : exit_code;
    exit_code = verb_state_open(&a.where, false, &s);
    if (exit_code)
        return exit_code;
    switch (a.what) {
    case VERIFY:
        exit_code = audit_chain_verify(s, a.head, a.json);
        break;
    case EXPORT:
        exit_code = audit_chain_export(s, a.since_ms, a.until_ms);
        break;
    default:
        exit_code = lists_print(s, &a);
    }
    store_close(s);
    return exit_code;
}
