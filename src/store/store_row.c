/* What each row is made of, and the statements that write and list them. */
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "store/store_ops.h"

#define FIELD(struct_name, type, member)                                                                     \
    {                                                                                                        \
        STORE_##type, offsetof(struct struct_name, member), sizeof(((struct struct_name *)0)->member)        \
    }
#define FIELDS(table, struct_name)                                                                           \
    {                                                                                                        \
        table, sizeof table / sizeof *table, sizeof(struct struct_name)                                      \
    }

static const struct store_field opened_table[] = {
    FIELD(store_opened, TEXT, request_id),
    FIELD(store_opened, INT64, wall_ms),
    FIELD(store_opened, TEXT, key_id),
    FIELD(store_opened, TEXT, team),
    FIELD(store_opened, TEXT, api),
    FIELD(store_opened, TEXT, model),
    FIELD(store_opened, TEXT, route),
    FIELD(store_opened, TEXT, rule),
    FIELD(store_opened, TEXT, boundary),
    FIELD(store_opened, BOOL, sensitive),
    FIELD(store_opened, TEXT, decision),
};
static const struct store_field settle_table[] = {
    FIELD(store_settle, TEXT, settled.request_id), FIELD(store_settle, TEXT, settled.provider),
    FIELD(store_settle, TEXT, settled.model), FIELD(store_settle, TEXT, settled.attempts),
    FIELD(store_settle, INT64, settled.input_tokens), FIELD(store_settle, INT64, settled.cached_tokens),
    FIELD(store_settle, INT64, settled.output_tokens), FIELD(store_settle, BOOL, settled.usage_estimated),
    FIELD(store_settle, INT64, settled.cost_nano_usd), FIELD(store_settle, INT64, settled.first_token_ms),
    FIELD(store_settle, INT64, settled.total_ms), FIELD(store_settle, TEXT, settled.outcome),
    FIELD(store_settle, INT, settled.status),
    FIELD(store_settle, INT64, wall_ms), /* the last: a list has it from the opened part */
};
static const struct store_field egress_table[] = {
    FIELD(store_egress, INT64, wall_ms),
    FIELD(store_egress, TEXT, request_id),
    FIELD(store_egress, TEXT, rule),
    FIELD(store_egress, TEXT, boundary),
    FIELD(store_egress, TEXT, zone),
    FIELD(store_egress, TEXT, target),
    FIELD(store_egress, TEXT, host),
    FIELD(store_egress, TEXT, path),
    FIELD(store_egress, INT64, bytes),
    FIELD(store_egress, TEXT, sha256),
};
static const struct store_field key_table[] = {
    FIELD(store_key, TEXT, id),
    FIELD(store_key, TEXT, name),
    FIELD(store_key, TEXT, team),
    FIELD(store_key, TEXT, role),
    FIELD(store_key, BLOB, salt),
    FIELD(store_key, BLOB, hash),
    FIELD(store_key, INT64, created_ms),
    FIELD(store_key, INT64, revoked_ms),
    FIELD(store_key, INT64, expires_ms),
};
static const struct store_field revoke_table[] = {
    FIELD(store_revoke, INT64, wall_ms),
    FIELD(store_revoke, TEXT, id),
};
static const struct store_field purge_table[] = {FIELD(store_purge, INT64, before_ms)};

static const struct store_field kept_table[] = {
    FIELD(store_kept, INT64, number),
    FIELD(store_kept, TEXT, response.id),
    FIELD(store_kept, TEXT, response.key_id),
    FIELD(store_kept, INT64, response.wall_ms),
    FIELD(store_kept, TEXT, response.body),
    FIELD(store_kept, TEXT, response.input),
};
static const struct store_field unkept_table[] = {
    FIELD(store_unkept, INT64, number),
    FIELD(store_unkept, TEXT, id),
    FIELD(store_unkept, TEXT, key_id),
};
static const struct store_field mark_table[] = {
    FIELD(store_mark, TEXT, name),
    FIELD(store_mark, INT64, number),
};

static const struct store_fields opened_fields = FIELDS(opened_table, store_opened);
static const struct store_fields settle_fields = FIELDS(settle_table, store_settle);
static const struct store_fields settled_fields = {
    settle_table, sizeof settle_table / sizeof *settle_table - 1, sizeof(struct store_settled)};
static const struct store_fields egress_fields = FIELDS(egress_table, store_egress);
static const struct store_fields key_fields = FIELDS(key_table, store_key);
static const struct store_fields revoke_fields = FIELDS(revoke_table, store_revoke);
static const struct store_fields purge_fields = FIELDS(purge_table, store_purge);
static const struct store_fields kept_fields = FIELDS(kept_table, store_kept);
static const struct store_fields unkept_fields = FIELDS(unkept_table, store_unkept);
static const struct store_fields mark_fields = FIELDS(mark_table, store_mark);
static const struct store_fields no_fields = {NULL, 0, 0};

/* `opened` 0 marks a row whose opening was lost and whose settling came alone; opening it late fills it in.
 */
static const struct {
    const struct store_fields *fields;
    const char *sql;
} kinds[STORE_KINDS] = {
    [STORE_LEDGER_OPEN] = {&opened_fields,
        "INSERT INTO ledger(request_id, wall_ms, key_id, team, api, model, route, rule, boundary, sensitive, "
        "decision, opened) VALUES($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 1) "
        "ON CONFLICT(request_id) DO UPDATE SET wall_ms = excluded.wall_ms, key_id = excluded.key_id, "
        "team = excluded.team, api = excluded.api, model = excluded.model, route = excluded.route, "
        "rule = excluded.rule, boundary = excluded.boundary, sensitive = excluded.sensitive, "
        "decision = excluded.decision, opened = 1 WHERE ledger.opened = 0"},
    [STORE_LEDGER_SETTLE] = {&settle_fields,
        "INSERT INTO ledger(request_id, provider, answered_model, attempts, input_tokens, cached_tokens, "
        "output_tokens, usage_estimated, cost_nano_usd, first_token_ms, total_ms, outcome, status, wall_ms, "
        "opened) VALUES($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 0) "
        "ON CONFLICT(request_id) DO UPDATE SET provider = excluded.provider, "
        "answered_model = excluded.answered_model, attempts = excluded.attempts, "
        "input_tokens = excluded.input_tokens, cached_tokens = excluded.cached_tokens, "
        "output_tokens = excluded.output_tokens, usage_estimated = excluded.usage_estimated, "
        "cost_nano_usd = excluded.cost_nano_usd, "
        "first_token_ms = excluded.first_token_ms, total_ms = excluded.total_ms, outcome = excluded.outcome, "
        "status = excluded.status"},
    [STORE_LEDGER_RECOVER] = {&no_fields, "UPDATE ledger SET outcome = 'interrupted' WHERE outcome = 'open'"},
    [STORE_LEDGER_PURGE] = {&purge_fields,
        "DELETE FROM ledger WHERE id IN (SELECT id FROM ledger WHERE wall_ms < $1 AND outcome <> 'open' "
        "ORDER BY wall_ms LIMIT 1000)"},
    [STORE_EGRESS_RECORD] = {&egress_fields,
        "INSERT INTO egress(wall_ms, request_id, rule, boundary, zone, target, host, path, bytes, sha256) "
        "VALUES($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"},
    [STORE_EGRESS_PURGE] = {&purge_fields, "DELETE FROM egress WHERE id IN (SELECT id FROM egress WHERE "
                                           "wall_ms < $1 ORDER BY wall_ms LIMIT 1000)"},
    [STORE_KEY_ADD] = {&key_fields,
        "INSERT INTO keys(key_id, name, team, role, salt, hash, created_ms, revoked_ms, expires_ms) "
        "VALUES($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT(key_id) DO NOTHING"},
    [STORE_KEY_REVOKE] = {&revoke_fields, "UPDATE keys SET revoked_ms = CASE WHEN revoked_ms = 0 THEN $1 "
                                          "ELSE revoked_ms END WHERE key_id = $2"},
    [STORE_RESPONSE_ADD] = {&kept_fields,
        "INSERT INTO responses(number, response_id, key_id, wall_ms, body, input) "
        "VALUES($1, $2, $3, $4, $5, $6)"},
    [STORE_RESPONSE_DELETE] = {&unkept_fields,
        "DELETE FROM responses WHERE number = $1 AND response_id = $2 AND key_id = $3"},
    [STORE_RESPONSE_PURGE] = {&purge_fields, "DELETE FROM responses WHERE id IN (SELECT id FROM responses "
                                             "WHERE wall_ms < $1 ORDER BY wall_ms LIMIT 100)"},
    [STORE_JOURNAL_MARK] = {&mark_fields, "INSERT INTO meta(name, value) VALUES($1, $2) "
                                          "ON CONFLICT(name) DO UPDATE SET value = excluded.value"},
};

const struct store_fields *store_kind_fields(enum store_kind kind)
{
    return kinds[kind].fields;
}

const char *store_kind_sql(enum store_kind kind)
{
    return kinds[kind].sql;
}

#define PAGE_OF(time) " WHERE (" time ", id) > ($1, $2) ORDER BY " time ", id LIMIT 128"
_Static_assert(STORE_PAGE == 128, "the statements name the page's size");

const struct store_list store_list_ledger = {
    "SELECT id, wall_ms, request_id, wall_ms, key_id, team, api, model, route, rule, boundary, sensitive, "
    "decision, "
    "request_id, provider, answered_model, attempts, input_tokens, cached_tokens, output_tokens, "
    "usage_estimated, cost_nano_usd, "
    "first_token_ms, total_ms, outcome, status FROM ledger" PAGE_OF("wall_ms"),
    sizeof(struct store_ledger_row),
    {{&opened_fields, offsetof(struct store_ledger_row, opened)},
        {&settled_fields, offsetof(struct store_ledger_row, settled)}},
    2,
};
const struct store_list store_list_egress = {
    "SELECT id, wall_ms, wall_ms, request_id, rule, boundary, zone, target, host, path, bytes, sha256 "
    "FROM egress" PAGE_OF("wall_ms"),
    sizeof(struct store_egress),
    {{&egress_fields, 0}},
    1,
};
const struct store_list store_list_keys = {
    "SELECT id, created_ms, key_id, name, team, role, salt, hash, created_ms, revoked_ms, expires_ms "
    "FROM keys" PAGE_OF("created_ms"),
    sizeof(struct store_key),
    {{&key_fields, 0}},
    1,
};

/* Those of one number: as a rule one. */
const struct store_list store_list_responses = {
    "SELECT id, number, number, response_id, key_id, wall_ms, body, input FROM responses "
    "WHERE number = $1 AND id > $2 ORDER BY id LIMIT 128",
    sizeof(struct store_kept),
    {{&kept_fields, 0}},
    1,
};

/* Copies what a database's text column takes; returns the bytes written, at most 3 for each byte of `s`. */
static size_t text_clean(struct str s, char *out)
{
    size_t used = 0;
    for (size_t i = 0; i < s.len;) {
        uint32_t code_point;
        size_t n = str_utf8_decode(str_slice(s, i, s.len), &code_point);
        if (n > 0 && code_point != 0) {
            memcpy(out + used, s.data + i, n);
            used += n;
            i += n;
        } else {
            used += str_utf8_encode(0xfffd, out + used);
            i++;
        }
    }
    return used;
}

static bool text_is_clean(struct str s)
{
    return str_utf8_valid(s) && str_find_char(s, '\0') == SIZE_MAX;
}

static struct str *text_at(void *value, const struct store_field *f)
{
    return (struct str *)(void *)((char *)value + f->offset);
}

int store_row_create(enum store_kind kind, const void *value, struct store_row **out, struct error *err)
{
    const struct store_fields *fields = store_kind_fields(kind);
    struct store_row head = {.kind = kind};
    size_t most = kind == STORE_RESPONSE_ADD ? LIMIT_STORE_RESPONSE : LIMIT_STORE_ROW;
    if (fields->size > 0)
        memcpy(&head.value, value, fields->size);
    size_t bytes = sizeof head;
    for (size_t i = 0; i < fields->n; i++) {
        if (fields->at[i].type != STORE_TEXT)
            continue;
        struct str s = *text_at(&head.value, &fields->at[i]);
        if (s.len > most)
            return error_set(err, ERROR_LIMIT, "a row for the state is larger than %zu bytes", most);
        bytes += text_is_clean(s) ? s.len : 3 * s.len;
    }
    if (bytes > most)
        return error_set(err, ERROR_LIMIT, "a row for the state is larger than %zu bytes", most);
    struct store_row *row = malloc(bytes);
    if (!row)
        return error_set(err, ERROR_MEMORY, "no memory for a row of %zu bytes", bytes);
    memcpy(row, &head, sizeof head);
    list_init(&row->node);
    row->bytes = bytes;
    char *at = row->text;
    for (size_t i = 0; i < fields->n; i++) {
        if (fields->at[i].type != STORE_TEXT)
            continue;
        struct str *s = text_at(&row->value, &fields->at[i]);
        *s = (struct str){at, text_clean(*s, at)};
        at += s->len;
    }
    *out = row;
    return 0;
}
