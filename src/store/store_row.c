/* What each row is made of, and the statements that write and list them. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "store/store_ops.h"

#define FIELD(struct_name, type, member)                                                                     \
    {                                                                                                        \
        STORE_##type, offsetof(struct struct_name, member), sizeof(((struct struct_name *)0)->member)        \
    }
#define FIELDS_BUT(but, table, struct_name)                                                                  \
    {                                                                                                        \
        table, sizeof table / sizeof *table - (but), sizeof(struct struct_name)                              \
    }
#define FIELDS(table, struct_name) FIELDS_BUT(0, table, struct_name)

#define OPENED_FIELDS(of, in)                                                                                \
    FIELD(of, TEXT, in request_id), FIELD(of, INT64, in wall_ms), FIELD(of, TEXT, in key_id),                \
        FIELD(of, TEXT, in team), FIELD(of, TEXT, in api), FIELD(of, TEXT, in model),                        \
        FIELD(of, TEXT, in route), FIELD(of, TEXT, in rule), FIELD(of, TEXT, in boundary),                   \
        FIELD(of, BOOL, in sensitive), FIELD(of, TEXT, in decision)
/* But for the request id. */
#define SETTLED_FIELDS(of, in)                                                                               \
    FIELD(of, TEXT, in provider), FIELD(of, TEXT, in model), FIELD(of, TEXT, in attempts),                   \
        FIELD(of, INT64, in input_tokens), FIELD(of, INT64, in cached_tokens),                               \
        FIELD(of, INT64, in output_tokens), FIELD(of, BOOL, in usage_estimated),                             \
        FIELD(of, INT64, in cost_nano_usd), FIELD(of, INT64, in first_token_ms),                             \
        FIELD(of, INT64, in total_ms), FIELD(of, TEXT, in outcome), FIELD(of, INT, in status)

/* Where a link is the last field it is not in the record, which is what the link leads to. */
static const struct store_field opened_table[] = {
    OPENED_FIELDS(store_opened, ), FIELD(store_opened, INT64, link)};
static const struct store_field settle_table[] = {FIELD(store_settle, TEXT, settled.request_id),
    SETTLED_FIELDS(store_settle, settled.), FIELD(store_settle, INT64, wall_ms),
    FIELD(store_settle, INT64, settled.link)};
static const struct store_field settled_table[] = {FIELD(store_settled, TEXT, request_id),
    SETTLED_FIELDS(store_settled, ), FIELD(store_settled, INT64, link)};
static const struct store_field whole_table[] = {OPENED_FIELDS(store_ledger_row, opened.),
    SETTLED_FIELDS(store_ledger_row, settled.), FIELD(store_ledger_row, INT64, opened.link),
    FIELD(store_ledger_row, INT64, settled.link)};
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
    FIELD(store_egress, INT64, link),
};
static const struct store_field note_table[] = {
    FIELD(store_note, INT64, wall_ms),
    FIELD(store_note, TEXT, sort),
    FIELD(store_note, INT64, chain),
    FIELD(store_note, INT64, number),
    FIELD(store_note, TEXT, hash),
    FIELD(store_note, INT64, before_ms),
    FIELD(store_note, INT64, rows),
    FIELD(store_note, INT64, link),
};
static const struct store_field block_table[] = {
    FIELD(store_block, INT64, link),
    FIELD(store_block, INT64, wall_ms),
    FIELD(store_block, INT64, n),
    FIELD(store_block, BLOB, hash),
    FIELD(store_block, BYTES, entries),
};
static const struct store_field links_table[] = {
    FIELD(store_links, INT64, first),
    FIELD(store_links, INT64, last),
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
static const struct store_field key_time_table[] = {
    FIELD(store_key_time, INT64, wall_ms),
    FIELD(store_key_time, TEXT, id),
};
static const struct store_field purge_table[] = {FIELD(store_purge, INT64, before)};

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
static const struct store_field forget_table[] = {
    FIELD(store_forget, INT64, before),
    FIELD(store_forget, TEXT, key_id),
};
static const struct store_field mark_table[] = {
    FIELD(store_mark, TEXT, name),
    FIELD(store_mark, INT64, number),
};

static const struct store_field limits_table[] = {
    FIELD(store_limits, TEXT, kind),
    FIELD(store_limits, TEXT, name),
    FIELD(store_limits, INT64, created_ms),
    FIELD(store_limits, INT64, usd[0]),
    FIELD(store_limits, INT64, usd[1]),
    FIELD(store_limits, INT64, usd[2]),
    FIELD(store_limits, INT64, usd[3]),
    FIELD(store_limits, INT64, requests),
    FIELD(store_limits, INT64, tokens),
    FIELD(store_limits, INT64, parallel),
    FIELD(store_limits, TEXT, models),
};
static const struct store_field limits_of_table[] = {
    FIELD(store_limits_of, TEXT, kind),
    FIELD(store_limits_of, TEXT, name),
};
static const struct store_field spend_table[] = {
    FIELD(store_spend, INT64, day),
    FIELD(store_spend, TEXT, key_id),
    FIELD(store_spend, TEXT, team),
    FIELD(store_spend, INT64, spender),
    FIELD(store_spend, INT64, nano_usd),
};
static const struct store_field spend_seen_table[] = {
    FIELD(store_spend, INT64, day),
    FIELD(store_spend, TEXT, key_id),
    FIELD(store_spend, TEXT, team),
    FIELD(store_spend, INT64, spender),
    FIELD(store_spend, INT64, nano_usd),
    FIELD(store_spend, INT64, id),
};
static const struct store_field spend_opened_table[] = {
    FIELD(store_spend_opened, INT64, spender),
    FIELD(store_spend_opened, INT64, nano_usd),
    FIELD(store_spend_opened, TEXT, request_id),
};
static const struct store_field lease_end_table[] = {FIELD(store_lease_end, INT64, spender)};

static const struct store_fields opened_record = FIELDS_BUT(1, opened_table, store_opened);
static const struct store_fields opened_fields = FIELDS(opened_table, store_opened);
static const struct store_fields settle_record = FIELDS_BUT(1, settle_table, store_settle);
static const struct store_fields settle_fields = FIELDS(settle_table, store_settle);
static const struct store_fields settled_fields = FIELDS(settled_table, store_settled);
static const struct store_fields whole_fields = FIELDS(whole_table, store_ledger_row);
static const struct store_fields egress_record = FIELDS_BUT(1, egress_table, store_egress);
static const struct store_fields egress_fields = FIELDS(egress_table, store_egress);
static const struct store_fields note_record = FIELDS_BUT(1, note_table, store_note);
static const struct store_fields note_fields = FIELDS(note_table, store_note);
static const struct store_fields block_fields = FIELDS(block_table, store_block);
static const struct store_fields block_head_fields = FIELDS_BUT(1, block_table, store_block);
static const struct store_fields links_fields = FIELDS(links_table, store_links);
static const struct store_fields key_fields = FIELDS(key_table, store_key);
static const struct store_fields key_time_fields = FIELDS(key_time_table, store_key_time);
static const struct store_fields purge_fields = FIELDS(purge_table, store_purge);
static const struct store_fields kept_fields = FIELDS(kept_table, store_kept);
static const struct store_fields unkept_fields = FIELDS(unkept_table, store_unkept);
static const struct store_fields forget_fields = FIELDS(forget_table, store_forget);
static const struct store_fields mark_fields = FIELDS(mark_table, store_mark);
static const struct store_fields limits_fields = FIELDS(limits_table, store_limits);
static const struct store_fields limits_of_fields = FIELDS(limits_of_table, store_limits_of);
static const struct store_fields spend_fields = FIELDS(spend_table, store_spend);
static const struct store_fields spend_seen_fields = FIELDS(spend_seen_table, store_spend);
static const struct store_fields spend_opened_fields = FIELDS(spend_opened_table, store_spend_opened);
static const struct store_fields lease_end_fields = FIELDS(lease_end_table, store_lease_end);
static const struct store_fields no_fields = {NULL, 0, 0};

#define OPENED "request_id, wall_ms, " OPENED_REST
#define OPENED_REST "key_id, team, api, model, route, rule, boundary, sensitive, decision"
#define SETTLED                                                                                              \
    "provider, answered_model, attempts, input_tokens, cached_tokens, output_tokens, usage_estimated, "      \
    "cost_nano_usd, first_token_ms, total_ms, outcome, status"
#define LIMITS                                                                                               \
    "kind, name, created_ms, usd_total, usd_day, usd_week, usd_month, requests, tokens, parallel, models"
#define SPEND_ADDS                                                                                           \
    " ON CONFLICT(day, key_id, team, spender) DO UPDATE SET nano_usd = spend.nano_usd + excluded.nano_usd, " \
    "changed = excluded.changed"
/* As in the index of request ids: only rows that may still be settled are in it. */
#define UNSETTLED "outcome IN ('open', 'interrupted')"

#define NOTE "wall_ms, sort, chain, number, hash, before_ms, rows, link"

/* `opened` 0 marks a row whose opening was lost and whose settling came alone. */
static const struct {
    const struct store_fields *record;
    const char *sql;
} kinds[STORE_KINDS] = {
    [STORE_LEDGER_OPEN] = {&opened_record,
        "INSERT INTO ledger(" OPENED ", opened_link, opened, id) "
        "VALUES($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 1, row_id($2)) "
        "ON CONFLICT(request_id) WHERE " UNSETTLED " DO NOTHING"},
    [STORE_LEDGER_SETTLE] = {&settle_record,
        "UPDATE ledger SET request_id = $1, provider = $2, answered_model = $3, attempts = $4, "
        "input_tokens = $5, cached_tokens = $6, output_tokens = $7, usage_estimated = $8, "
        "cost_nano_usd = $9, first_token_ms = $10, total_ms = $11, outcome = $12, status = $13, "
        "settled_link = $14 WHERE request_id = $1 AND " UNSETTLED},
    [STORE_LEDGER_WHOLE] = {&whole_fields,
        /* In the table's own order, in which SQLite need not move them. */
        "INSERT INTO ledger(id, request_id, wall_ms, opened, " OPENED_REST ", " SETTLED
        ", opened_link, settled_link) "
        "VALUES(row_id($2), $1, $2, 1, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, "
        "$18, $19, $20, $21, $22, $23, $24, $25)"},
    [STORE_LEDGER_ALONE] = {&settle_record,
        "INSERT INTO ledger(request_id, " SETTLED
        ", wall_ms, settled_link, opened, id) VALUES($1, $2, $3, $4, $5, $6, "
        "$7, $8, $9, $10, $11, $12, $13, $14, $15, 0, row_id($14))"},
    [STORE_LEDGER_RECOVER] = {&no_fields, "UPDATE ledger SET outcome = 'interrupted' WHERE outcome = 'open' "
                                          "AND " UNSETTLED},
    [STORE_LEDGER_PURGE] = {&purge_fields,
        "DELETE FROM ledger WHERE id IN (SELECT id FROM ledger WHERE id < $1 AND outcome <> 'open' "
        "ORDER BY id LIMIT 1000)"},
    [STORE_EGRESS_RECORD] = {&egress_record,
        "INSERT INTO egress(id, wall_ms, request_id, rule, boundary, zone, target, host, path, bytes, "
        "sha256, "
        "link) VALUES(row_id($1), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"},
    [STORE_EGRESS_PURGE] = {&purge_fields, "DELETE FROM egress WHERE id IN (SELECT id FROM egress WHERE "
                                           "id < $1 ORDER BY id LIMIT 1000)"},
    [STORE_KEY_ADD] = {&key_fields,
        "INSERT INTO keys(key_id, name, team, role, salt, hash, created_ms, revoked_ms, expires_ms) "
        "VALUES($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT(key_id) DO NOTHING"},
    [STORE_KEY_EXPIRE] = {&key_time_fields, "UPDATE keys SET expires_ms = $1 WHERE key_id = $2"},
    [STORE_KEY_REVOKE] = {&key_time_fields, "UPDATE keys SET revoked_ms = CASE WHEN revoked_ms = 0 THEN $1 "
                                            "ELSE revoked_ms END WHERE key_id = $2"},
    [STORE_RESPONSE_ADD] = {&kept_fields,
        "INSERT INTO responses(number, response_id, key_id, wall_ms, body, input) "
        "VALUES($1, $2, $3, $4, $5, $6)"},
    [STORE_RESPONSE_DELETE] = {&unkept_fields,
        "DELETE FROM responses WHERE number = $1 AND response_id = $2 AND key_id = $3"},
    [STORE_RESPONSE_FORGET] = {&forget_fields, "DELETE FROM responses WHERE id IN (SELECT id FROM responses "
                                               "WHERE wall_ms < $1 AND ($2 = '' OR key_id = $2) LIMIT 100)"},
    [STORE_RESPONSE_PURGE] = {&purge_fields, "DELETE FROM responses WHERE id IN (SELECT id FROM responses "
                                             "WHERE wall_ms < $1 ORDER BY wall_ms LIMIT 100)"},
    [STORE_LIMITS_SET] = {&limits_fields,
        "INSERT INTO limits(" LIMITS ") VALUES($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) "
        "ON CONFLICT(kind, name) DO UPDATE SET usd_total = excluded.usd_total, usd_day = excluded.usd_day, "
        "usd_week = excluded.usd_week, usd_month = excluded.usd_month, requests = excluded.requests, "
        "tokens = excluded.tokens, parallel = excluded.parallel, models = excluded.models"},
    [STORE_LIMITS_DROP] = {&limits_of_fields, "DELETE FROM limits WHERE kind = $1 AND name = $2"},
    [STORE_SPEND_ADD] = {&spend_fields, "INSERT INTO spend(day, key_id, team, spender, nano_usd, changed) "
                                        "VALUES($1, $2, $3, $4, $5, row_change())" SPEND_ADDS},
    [STORE_SPEND_OPENED] = {&spend_opened_fields, "INSERT INTO spend(day, key_id, team, spender, nano_usd, "
                                                  "changed) SELECT wall_ms / 86400000, key_id, team, "
                                                  "CAST($1 AS BIGINT), CAST($2 AS BIGINT), row_change() FROM "
                                                  "ledger WHERE request_id = $3 AND " UNSETTLED SPEND_ADDS},
    /* Only where gateways share the state. */
    [STORE_LEASE_END] = {&lease_end_fields, "DELETE FROM spenders WHERE spender = $1"},
    [STORE_CHAIN_PURGE] = {&purge_fields, NULL}, /* the next ones do it (store_chain.c) */
    [STORE_CHAIN_BLOCK] = {&no_fields,
        "INSERT INTO chain(id, wall_ms, n, hash, entries) VALUES($1, $2, $3, $4, $5)"},
    [STORE_CHAIN_NOTE] = {&note_record,
        "INSERT INTO chain_notes(" NOTE ", id) VALUES($1, $2, $3, $4, $5, $6, $7, $8, $8)"},
    [STORE_CHAIN_DROP] = {&links_fields, "DELETE FROM chain WHERE id >= $1 AND id < $2"},
    /* The last of each sort on a chain is worth keeping. */
    [STORE_CHAIN_NOTES_DROP] = {&links_fields,
        "DELETE FROM chain_notes WHERE id >= $1 AND id < $2 AND EXISTS(SELECT 1 FROM chain_notes AS later "
        "WHERE later.sort = chain_notes.sort AND later.chain = chain_notes.chain "
        "AND later.wall_ms > chain_notes.wall_ms)"},
    [STORE_JOURNAL_MARK] = {&mark_fields, "INSERT INTO meta(name, value) VALUES($1, $2) "
                                          "ON CONFLICT(name) DO UPDATE SET value = excluded.value"},
};

/* What a statement takes where that is not just the record. */
static const struct store_fields *const taken[STORE_KINDS] = {
    [STORE_LEDGER_OPEN] = &opened_fields,
    [STORE_LEDGER_SETTLE] = &settled_fields,
    [STORE_LEDGER_ALONE] = &settle_fields,
    [STORE_EGRESS_RECORD] = &egress_fields,
    [STORE_CHAIN_BLOCK] = &block_fields,
    [STORE_CHAIN_NOTE] = &note_fields,
};

const struct store_fields *store_kind_fields(enum store_kind kind)
{
    return kinds[kind].record;
}

const char *store_kind_sql(enum store_kind kind, const struct store_fields **fields)
{
    *fields = taken[kind] ? taken[kind] : kinds[kind].record;
    return kinds[kind].sql;
}

int64_t store_id_from_ms(int64_t wall_ms)
{
    const int64_t last = INT64_MAX >> STORE_ID_BITS;
    int64_t ms = wall_ms < 0 ? 0 : wall_ms > last ? last : wall_ms;
    return ms * (1 << STORE_ID_BITS);
}

#define PAGE_OF(time) " WHERE (" time ", id) > ($1, $2) ORDER BY " time ", id LIMIT 128"
#define PAGE_BY_ID " WHERE wall_ms >= $1 AND id > $2 ORDER BY id LIMIT 128"
_Static_assert(STORE_PAGE == 128, "the statements name the page's size");

const struct store_list store_list_ledger = {
    "SELECT id, wall_ms, " OPENED ", opened_link, request_id, " SETTLED
    ", settled_link FROM ledger" PAGE_BY_ID,
    sizeof(struct store_ledger_row),
    {{&opened_fields, offsetof(struct store_ledger_row, opened)},
        {&settled_fields, offsetof(struct store_ledger_row, settled)}},
    2,
    false,
};
const struct store_list store_list_egress = {
    "SELECT id, wall_ms, wall_ms, request_id, rule, boundary, zone, target, host, path, bytes, sha256, "
    "link FROM egress" PAGE_BY_ID,
    sizeof(struct store_egress),
    {{&egress_fields, 0}},
    1,
    false,
};
/* Chains stand behind each other, so that these are not in the order of time: the cursor keeps the time that
 * it began with. */
#define SINCE "CAST($1 AS BIGINT)"
#define BLOCK "SELECT id, " SINCE ", id, wall_ms, n, hash"
const struct store_list store_list_blocks = {
    BLOCK ", entries FROM chain" PAGE_BY_ID,
    sizeof(struct store_block),
    {{&block_fields, 0}},
    1,
    false,
};
const struct store_list store_list_block_heads = {
    BLOCK " FROM chain" PAGE_BY_ID,
    sizeof(struct store_block),
    {{&block_head_fields, 0}},
    1,
    false,
};
const struct store_list store_list_block_of = {
    BLOCK " FROM chain WHERE wall_ms >= $1 AND id <= $2 ORDER BY id DESC LIMIT 1",
    sizeof(struct store_block),
    {{&block_head_fields, 0}},
    1,
    false,
};
/* In PostgreSQL's words; of those that no note tells. */
const struct store_list store_list_chain_ends = {
    "WITH RECURSIVE chains(n) AS ("
    "(SELECT id >> 43 FROM chain ORDER BY id LIMIT 1) UNION ALL "
    "SELECT (SELECT id >> 43 FROM chain WHERE id >= (chains.n + 1) << 43 ORDER BY id LIMIT 1) FROM chains "
    "WHERE chains.n IS NOT NULL) "
    "SELECT b.id, " SINCE ", b.id, b.wall_ms, b.n, b.hash FROM chains, LATERAL (SELECT * FROM chain "
    "WHERE id < (chains.n + 1) << 43 ORDER BY id DESC LIMIT 1) AS b "
    "WHERE b.wall_ms >= $1 AND b.id > $2 AND NOT EXISTS(SELECT FROM chain_notes AS told "
    "WHERE told.sort = 'joined' AND told.chain << 43 | told.number = b.id + b.n) ORDER BY b.id LIMIT 128",
    sizeof(struct store_block),
    {{&block_head_fields, 0}},
    1,
    false,
};
_Static_assert(STORE_CHAIN_BITS == 43, "the statement names it");
const struct store_list store_list_notes = {
    "SELECT id, " SINCE ", " NOTE " FROM chain_notes" PAGE_BY_ID,
    sizeof(struct store_note),
    {{&note_fields, 0}},
    1,
    false,
};
const struct store_list store_list_keys = {
    "SELECT id, created_ms, key_id, name, team, role, salt, hash, created_ms, revoked_ms, expires_ms "
    "FROM keys" PAGE_OF("created_ms"),
    sizeof(struct store_key),
    {{&key_fields, 0}},
    1,
    false,
};
const struct store_list store_list_limits = {
    "SELECT id, created_ms, " LIMITS " FROM limits" PAGE_OF("created_ms"),
    sizeof(struct store_limits),
    {{&limits_fields, 0}},
    1,
    false,
};
const struct store_list store_list_spend_changes = {
    "SELECT id, changed, day, key_id, team, spender, nano_usd, id FROM spend "
    "WHERE (changed, id) > ($1, $2) AND spender <> $3 ORDER BY changed, id LIMIT 128",
    sizeof(struct store_spend),
    {{&spend_seen_fields, 0}},
    1,
    true,
};

/* Those of one number: as a rule one. */
const struct store_list store_list_responses = {
    "SELECT id, number, number, response_id, key_id, wall_ms, body, input FROM responses "
    "WHERE number = $1 AND id > $2 ORDER BY id LIMIT 128",
    sizeof(struct store_kept),
    {{&kept_fields, 0}},
    1,
    false,
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

/* ASCII without NUL, eight bytes at a time; what is not may be clean all the same. */
static bool text_is_plain(struct str s)
{
    const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;
    uint64_t odd = 0, word;
    size_t i = 0;
    for (; s.len - i >= sizeof word; i += sizeof word) {
        memcpy(&word, s.data + i, sizeof word);
        odd |= word | (word - ones); /* a high bit: not ASCII, or it was 0 */
    }
    for (; i < s.len; i++)
        if ((unsigned char)s.data[i] - 1u >= 0x7f)
            return false;
    return !(odd & high);
}

static bool text_is_clean(struct str s)
{
    return text_is_plain(s) || (str_utf8_valid(s) && str_find_char(s, '\0') == SIZE_MAX);
}

static const struct str *text_at(const void *value, const struct store_field *f)
{
    return (const struct str *)(const void *)((const char *)value + f->offset);
}

/* Bytes of the fields in a record, at most; more than `most` where it would be too large. */
static size_t fields_measure(const struct store_fields *fields, const void *value, size_t most, bool *clean)
{
    size_t bytes = 0;
    *clean = true;
    for (size_t i = 0; i < fields->n && bytes <= most; i++) {
        const struct store_field *f = &fields->at[i];
        if (f->type != STORE_TEXT) {
            bytes += f->size;
            continue;
        }
        struct str s = *text_at(value, f);
        bool as_it_is = s.len <= most && text_is_clean(s);
        *clean = *clean && as_it_is;
        bytes += sizeof(uint32_t) + (as_it_is ? s.len : s.len <= most ? 3 * s.len : most);
    }
    return bytes;
}

/* Returns the bytes written. */
static size_t fields_put(const struct store_fields *fields, const void *value, bool clean, char *out)
{
    char *to = out;
    for (size_t i = 0; i < fields->n; i++) {
        const struct store_field *f = &fields->at[i];
        if (f->type != STORE_TEXT) {
            memcpy(to, (const char *)value + f->offset, f->size);
            to += f->size;
            continue;
        }
        struct str s = *text_at(value, f);
        uint32_t len = (uint32_t)s.len;
        if (!clean)
            len = (uint32_t)text_clean(s, to + sizeof len);
        else if (len > 0)
            memcpy(to + sizeof len, s.data, len);
        memcpy(to, &len, sizeof len);
        to += sizeof len + len;
    }
    return (size_t)(to - out);
}

int store_row_create(enum store_kind kind, const void *value, struct store_row **out, struct error *err)
{
    const struct store_fields *fields = store_kind_fields(kind);
    size_t most = kind == STORE_RESPONSE_ADD ? LIMIT_STORE_RESPONSE : LIMIT_STORE_ROW;
    bool clean;
    size_t bytes = sizeof(struct store_row) + STORE_HEAD + fields_measure(fields, value, most, &clean);
    if (bytes > most)
        return error_set(err, ERROR_LIMIT, "a row for the state is larger than %zu bytes", most);
    struct store_row *row = malloc(bytes);
    if (!row)
        return error_set(err, ERROR_MEMORY, "no memory for a row of %zu bytes", bytes);
    memset(row, 0, sizeof *row + STORE_HEAD);
    list_init(&row->node);
    row->kind = kind;
    row->bytes = bytes;
    row->record[STORE_HEAD - 1] = (char)kind;
    row->n = STORE_HEAD + fields_put(fields, value, clean, row->record + STORE_HEAD);
    *out = row;
    return 0;
}

bool store_fields_take(struct str in, const struct store_fields *fields, void *value)
{
    for (size_t i = 0; i < fields->n; i++) {
        const struct store_field *f = &fields->at[i];
        char *to = (char *)value + f->offset;
        uint32_t len = (uint32_t)f->size;
        if (f->type == STORE_TEXT) {
            if (in.len < sizeof len)
                return false;
            memcpy(&len, in.data, sizeof len);
            in = (struct str){in.data + sizeof len, in.len - sizeof len};
        }
        if (in.len < len)
            return false;
        if (f->type == STORE_TEXT)
            *(struct str *)(void *)to = (struct str){in.data, len};
        else
            memcpy(to, in.data, len);
        in = (struct str){in.data + len, in.len - len};
    }
    return in.len == 0;
}

void store_row_value(const struct store_row *row, union store_value *out)
{
    struct str fields = {row->record + STORE_HEAD, row->n - STORE_HEAD};
    bool whole = store_fields_take(fields, store_kind_fields(row->kind), out);
    assert(whole);
    (void)whole;
}
