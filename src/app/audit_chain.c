#include "app/audit_chain.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/verb_state.h"
#include "app/verbs.h"
#include "base/arena.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/must.h"
#include "json/json.h"

enum { HEADS_MOST = 1024, BREAKS_KEPT = 1000, BREAKS_SHOWN = 20, HEX = 65 };

static void hash_write(struct json_writer *w, const char *key, const unsigned char hash[32])
{
    char hex[HEX];
    json_member_str(w, key, str_from(sodium_bin2hex(hex, sizeof hex, hash, 32)));
}

/* ---- Verifying ---- */

struct verifying {
    struct arena *arena;
    struct store_head given[HEADS_MOST];
    size_t n_given;
    struct store_head *heads;
    size_t n_heads;
    struct store_break *breaks; /* those that come first in the chain */
    size_t n_breaks;
};

/* "1:1234:HASH": a chain, how many entries it had, and the hash then. */
static bool head_read(struct str text, struct store_head *out)
{
    size_t first = str_find_char(text, ':');
    struct str rest = first == SIZE_MAX ? STR_NONE : str_slice(text, first + 1, text.len);
    size_t second = str_find_char(rest, ':');
    struct str hex = second == SIZE_MAX ? STR_NONE : str_slice(rest, second + 1, rest.len);
    size_t n = 0;
    return str_to_int64(str_slice(text, 0, first), &out->chain) &&
           str_to_int64(str_slice(rest, 0, second), &out->number) &&
           sodium_hex2bin(out->hash, sizeof out->hash, hex.data, hex.len, NULL, &n, NULL) == 0 &&
           n == sizeof out->hash;
}

static bool heads_read(struct verifying *v, struct str list)
{
    while (list.len > 0) {
        size_t comma = str_find_char(list, ',');
        if (v->n_given == HEADS_MOST || !head_read(str_slice(list, 0, comma), &v->given[v->n_given++]))
            return false;
        list = comma == SIZE_MAX ? STR_NONE : str_slice(list, comma + 1, list.len);
    }
    return v->n_given > 0;
}

static int on_head(void *ctx, const struct store_head *head)
{
    struct verifying *v = ctx;
    v->heads = must(reallocarray(v->heads, v->n_heads + 1, sizeof *v->heads));
    v->heads[v->n_heads++] = *head;
    return 0;
}

static int by_place(const void *a, const void *b)
{
    const struct store_break *x = a, *y = b;
    if (x->chain != y->chain)
        return x->chain < y->chain ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number);
}

/* Keeps the first ones; what is found is not in the order of the chain. */
static int on_break(void *ctx, const struct store_break *b)
{
    struct verifying *v = ctx;
    if (v->n_breaks == 2 * BREAKS_KEPT) {
        qsort(v->breaks, v->n_breaks, sizeof *v->breaks, by_place);
        v->n_breaks = BREAKS_KEPT;
    }
    v->breaks[v->n_breaks] = *b;
    /* Past so many its place has to tell it. */
    if (arena_try_copy(v->arena, b->request_id, &v->breaks[v->n_breaks++].request_id))
        v->breaks[v->n_breaks - 1].request_id = STR_NONE;
    return 0;
}

static void break_print(const struct store_break *b)
{
    char when[32];
    printf("%" PRId64 ":%-10" PRId64 " ", b->chain, b->number);
    if (b->wall_ms != 0) {
        clock_format(b->wall_ms, when);
        printf("%s  ", when);
    }
    verb_print_cell(b->what, 0);
    if (b->request_id.len > 0) {
        printf(" (");
        verb_print_cell(b->request_id, 0);
        putchar(')');
    }
    printf(" " STR_FMT "\n", STR_ARG(b->why));
}

static void verified_print(const struct verifying *v, const struct store_verified *out)
{
    char when[32], hex[HEX];
    printf("%" PRId64 " entries in %" PRId64 " blocks; %" PRId64 " requests, %" PRId64 " transfers: %s\n",
        out->entries, out->blocks, out->ledger, out->egress,
        out->breaks ? "not as they were written" : "as they were written");
    if (out->before > 0)
        printf("%" PRId64 " of these rows are older than the chain: nothing shows how they were written\n",
            out->before);
    if (out->purged_ms > 0) {
        clock_format(out->purged_ms, when);
        printf("rows older than %s were purged\n", when);
    }
    for (size_t i = 0; i < v->n_breaks && i < BREAKS_SHOWN; i++)
        break_print(&v->breaks[i]);
    for (size_t i = 0; i < v->n_heads; i++)
        printf("head %" PRId64 ":%" PRId64 ":%s\n", v->heads[i].chain, v->heads[i].number,
            sodium_bin2hex(hex, sizeof hex, v->heads[i].hash, 32));
}

static void break_write(struct json_writer *w, const struct store_break *b)
{
    char when[32];
    clock_format(b->wall_ms, when);
    json_object_begin(w);
    json_member_int(w, "chain", b->chain);
    json_member_int(w, "number", b->number);
    json_member_str(w, "time", str_from(when));
    json_member_str(w, "what", b->what);
    json_member_str(w, "request_id", b->request_id);
    json_member_str(w, "why", b->why);
    json_object_end(w);
}

static int verified_json(const struct verifying *v, const struct store_verified *out)
{
    struct buf text;
    struct json_writer w;
    char when[32];
    buf_init(&text, 16 * MIB);
    json_writer_init(&w, &text);
    json_object_begin(&w);
    json_member_bool(&w, "whole", out->breaks == 0);
    json_member_int(&w, "entries", out->entries);
    json_member_int(&w, "blocks", out->blocks);
    json_member_int(&w, "requests", out->ledger);
    json_member_int(&w, "transfers", out->egress);
    json_member_int(&w, "older_than_the_chain", out->before);
    clock_format(out->purged_ms, when);
    json_member_text(&w, "purged_before", out->purged_ms > 0 ? when : NULL);
    json_member_int(&w, "broken", out->breaks);
    json_key(&w, "breaks");
    json_array_begin(&w);
    for (size_t i = 0; i < v->n_breaks && i < BREAKS_KEPT; i++)
        break_write(&w, &v->breaks[i]);
    json_array_end(&w);
    json_key(&w, "heads");
    json_array_begin(&w);
    for (size_t i = 0; i < v->n_heads; i++) {
        json_object_begin(&w);
        json_member_int(&w, "chain", v->heads[i].chain);
        json_member_int(&w, "number", v->heads[i].number);
        hash_write(&w, "hash", v->heads[i].hash);
        json_object_end(&w);
    }
    json_array_end(&w);
    json_object_end(&w);
    return verb_line_print(&text);
}

static int verify(struct verifying *v, struct store *s, bool json)
{
    struct store_verified out;
    struct error err = {.message = "the result could not be printed"};
    const struct store_verify ask = {v->given, v->n_given, on_break, on_head, v};
    int rc = store_verify(s, &ask, &out, &err);
    if (rc)
        return verb_fail(EXIT_FAILED, &err);
    qsort(v->breaks, v->n_breaks, sizeof *v->breaks, by_place);
    if (json)
        rc = verified_json(v, &out);
    else
        verified_print(v, &out);
    if (rc || fflush(stdout) != 0)
        return verb_fail(EXIT_FAILED, &err);
    if (out.breaks == 0)
        return EXIT_DONE;
    const struct store_break *first = &v->breaks[0];
    return verb_failf(EXIT_FAILED,
        "the state is not as it was written: %" PRId64 " breaks, the first at entry %" PRId64 ":%" PRId64
        ": " STR_FMT " " STR_FMT ": keep this state, compare it with a backup, and see who may write it",
        out.breaks, first->chain, first->number, STR_ARG(first->what), STR_ARG(first->why));
}

int audit_chain_verify(struct store *s, const char *heads, bool json)
{
    struct verifying v = {.n_given = 0};
    if (heads && !heads_read(&v, str_from(heads)))
        return verb_failf(
            EXIT_USAGE, "--head wants CHAIN:NUMBER:HASH, as weir audit verify prints it, not '%s'", heads);
    v.arena = arena_create(64 * MIB);
    v.breaks = must(calloc(2 * BREAKS_KEPT, sizeof *v.breaks));
    int exit_code = verify(&v, s, json);
    free(v.heads);
    free(v.breaks);
    arena_free(v.arena);
    return exit_code;
}

/* ---- Exporting: a line for each record, its fields in the order in which they are hashed. ---- */

/* Up to where each chain's entries are wanted. */
struct reach {
    int64_t chain, number;
};

struct exporting {
    int64_t since_ms, until_ms;
    struct reach *reach;
    size_t n_reach;
    struct store_head *sealed; /* what stood before blocks that a purge left as the first */
    size_t n_sealed;
    int64_t chain;          /* the last block's, */
    unsigned char hash[32]; /* and its hash */
};

static void reach_note(struct exporting *x, int64_t link)
{
    int64_t chain = store_link_chain(link), number = store_link_number(link);
    size_t i = 0;
    while (i < x->n_reach && x->reach[i].chain != chain)
        i++;
    if (i == x->n_reach) {
        x->reach = must(reallocarray(x->reach, ++x->n_reach, sizeof *x->reach));
        x->reach[i] = (struct reach){chain, number};
    }
    if (number > x->reach[i].number)
        x->reach[i].number = number;
}

static bool is_reached(const struct exporting *x, int64_t link)
{
    for (size_t i = 0; i < x->n_reach; i++)
        if (x->reach[i].chain == store_link_chain(link))
            return store_link_number(link) <= x->reach[i].number;
    return false;
}

static void record_begin(
    struct exporting *x, struct json_writer *w, enum store_record kind, int64_t link, int64_t wall_ms)
{
    static const char *const names[] = {[STORE_RECORD_OPENED] = "opened",
        [STORE_RECORD_SETTLED] = "settled",
        [STORE_RECORD_EGRESS] = "egress",
        [STORE_RECORD_ALONE] = "settled",
        [STORE_RECORD_NOTE] = "note"};
    char when[32];
    clock_format(wall_ms, when);
    json_object_begin(w);
    json_member_str(w, "record", str_from(names[kind]));
    json_member_str(w, "time", str_from(when));
    json_member_int(w, "kind", kind);
    if (link) {
        json_member_int(w, "chain", store_link_chain(link));
        json_member_int(w, "number", store_link_number(link));
        reach_note(x, link);
    }
    json_key(w, "fields");
    json_object_begin(w);
}

static int record_end(struct json_writer *w)
{
    json_object_end(w);
    json_object_end(w);
    return verb_line_print(w->buf);
}

static int opened_export(struct exporting *x, const struct store_ledger_row *row)
{
    const struct store_opened *o = &row->opened;
    struct buf text;
    struct json_writer w;
    buf_init(&text, 16 * MIB);
    json_writer_init(&w, &text);
    record_begin(x, &w, STORE_RECORD_OPENED, o->link, o->wall_ms);
    json_member_str(&w, "request_id", row->id);
    json_member_int(&w, "wall_ms", o->wall_ms);
    json_member_str(&w, "key_id", o->key_id);
    json_member_str(&w, "team", o->team);
    json_member_str(&w, "api", o->api);
    json_member_str(&w, "model", o->model);
    json_member_str(&w, "route", o->route);
    json_member_str(&w, "rule", o->rule);
    json_member_str(&w, "boundary", o->boundary);
    json_member_bool(&w, "sensitive", o->sensitive);
    json_member_str(&w, "decision", o->decision);
    return record_end(&w);
}

static int settled_export(struct exporting *x, const struct store_ledger_row *row, bool alone)
{
    const struct store_settled *s = &row->settled;
    struct buf text;
    struct json_writer w;
    buf_init(&text, 16 * MIB);
    json_writer_init(&w, &text);
    record_begin(x, &w, alone ? STORE_RECORD_ALONE : STORE_RECORD_SETTLED, s->link, row->opened.wall_ms);
    json_member_str(&w, "request_id", row->id);
    json_member_str(&w, "provider", s->provider);
    json_member_str(&w, "answered_model", s->model);
    json_member_str(&w, "attempts", s->attempts);
    json_member_int(&w, "input_tokens", s->input_tokens);
    json_member_int(&w, "cached_tokens", s->cached_tokens);
    json_member_int(&w, "output_tokens", s->output_tokens);
    json_member_bool(&w, "usage_estimated", s->usage_estimated);
    json_member_int(&w, "cost_nano_usd", s->cost_nano_usd);
    json_member_int(&w, "first_token_ms", s->first_token_ms);
    json_member_int(&w, "total_ms", s->total_ms);
    json_member_str(&w, "outcome", s->outcome);
    json_member_int(&w, "status", s->status);
    if (alone)
        json_member_int(&w, "wall_ms", row->opened.wall_ms);
    return record_end(&w);
}

static int ledger_export(void *ctx, const struct store_ledger_row *row)
{
    struct exporting *x = ctx;
    const struct store_settled *s = &row->settled;
    if (row->opened.wall_ms >= x->until_ms)
        return 0;
    const struct store_opened *o = &row->opened;
    bool alone =
        s->link != 0 && o->link == 0 && o->api.len + o->model.len + o->rule.len + o->decision.len == 0;
    bool settled = s->link != 0 || (!str_is(s->outcome, "open") && !str_is(s->outcome, "interrupted"));
    int rc = alone ? 0 : opened_export(x, row);
    return rc || !settled ? rc : settled_export(x, row, alone);
}

static int egress_export(void *ctx, const struct store_egress *row)
{
    struct exporting *x = ctx;
    struct buf text;
    struct json_writer w;
    if (row->wall_ms >= x->until_ms)
        return 0;
    buf_init(&text, 16 * MIB);
    json_writer_init(&w, &text);
    record_begin(x, &w, STORE_RECORD_EGRESS, row->link, row->wall_ms);
    json_member_int(&w, "wall_ms", row->wall_ms);
    json_member_str(&w, "request_id", row->request_id);
    json_member_str(&w, "rule", row->rule);
    json_member_str(&w, "boundary", row->boundary);
    json_member_str(&w, "zone", row->zone);
    json_member_str(&w, "target", row->target);
    json_member_str(&w, "host", row->host);
    json_member_str(&w, "path", row->path);
    json_member_int(&w, "bytes", row->bytes);
    json_member_str(&w, "sha256", row->sha256);
    return record_end(&w);
}

static int note_export(void *ctx, const struct store_note *note)
{
    struct exporting *x = ctx;
    struct buf text;
    struct json_writer w;
    struct store_head sealed = {.chain = note->chain, .number = note->number};
    if (str_is(note->sort, "sealed") && sodium_hex2bin(sealed.hash, sizeof sealed.hash, note->hash.data,
                                            note->hash.len, NULL, NULL, NULL) == 0) {
        x->sealed = must(reallocarray(x->sealed, x->n_sealed + 1, sizeof *x->sealed));
        x->sealed[x->n_sealed++] = sealed;
    }
    if (note->wall_ms < x->since_ms || note->wall_ms >= x->until_ms)
        return 0;
    buf_init(&text, MIB);
    json_writer_init(&w, &text);
    record_begin(x, &w, STORE_RECORD_NOTE, note->link, note->wall_ms);
    json_member_int(&w, "wall_ms", note->wall_ms);
    json_member_str(&w, "sort", note->sort);
    json_member_int(&w, "chain", note->chain);
    json_member_int(&w, "number", note->number);
    json_member_str(&w, "hash", note->hash);
    json_member_int(&w, "before_ms", note->before_ms);
    json_member_int(&w, "rows", note->rows);
    return record_end(&w);
}

/* `before`: the hash of the block before; NULL where that is gone. */
static int block_print(const struct store_block *block, const unsigned char *before)
{
    struct buf text, hex;
    struct json_writer w;
    const size_t n = 2 * block->entries.len;
    buf_init(&text, 4 * MIB);
    buf_init(&hex, 2 * MIB);
    char *to = buf_reserve(&hex, n + 1);
    if (!to)
        return ERROR_MEMORY;
    sodium_bin2hex(to, n + 1, (const unsigned char *)block->entries.data, block->entries.len);
    json_writer_init(&w, &text);
    json_object_begin(&w);
    json_member_str(&w, "record", STR("block"));
    json_member_int(&w, "chain", store_link_chain(block->link));
    json_member_int(&w, "number", store_link_number(block->link));
    json_member_int(&w, "wall_ms", block->wall_ms);
    if (before)
        hash_write(&w, "before", before);
    json_member_str(&w, "entries", (struct str){to, n});
    hash_write(&w, "hash", block->hash);
    json_object_end(&w);
    buf_free(&hex);
    return verb_line_print(&text);
}

/* The hash before the block; NULL where nothing tells it. */
static const unsigned char *hash_before(const struct exporting *x, int64_t link)
{
    static const unsigned char beginning[32] = {0};
    if (store_link_number(link) == 0)
        return beginning;
    if (store_link_chain(link) == x->chain)
        return x->hash;
    for (size_t i = 0; i < x->n_sealed; i++)
        if (x->sealed[i].chain == store_link_chain(link) && x->sealed[i].number == store_link_number(link))
            return x->sealed[i].hash;
    return NULL;
}

/* Those of that time, and those that tell a row of that time. */
static int block_export(void *ctx, const struct store_block *block)
{
    struct exporting *x = ctx;
    bool wanted =
        block->wall_ms >= x->since_ms && (block->wall_ms < x->until_ms || is_reached(x, block->link));
    int rc = wanted ? block_print(block, hash_before(x, block->link)) : 0;
    x->chain = store_link_chain(block->link);
    memcpy(x->hash, block->hash, sizeof x->hash);
    return rc;
}

int audit_chain_export(struct store *s, int64_t since_ms, int64_t until_ms)
{
    struct exporting x = {.since_ms = since_ms, .until_ms = until_ms};
    struct error err = {.message = "the records could not be printed"};
    int rc = store_ledger_list(s, since_ms, ledger_export, &x, &err);
    if (rc == 0)
        rc = store_egress_list(s, since_ms, egress_export, &x, &err);
    if (rc == 0)
        rc = store_note_list(s, 0, note_export, &x, &err);
    if (rc == 0)
        rc = store_block_list(s, 0, block_export, &x, &err);
    free(x.reach);
    free(x.sealed);
    return rc || fflush(stdout) != 0 ? verb_fail(EXIT_FAILED, &err) : EXIT_DONE;
}
