/* One transaction: what waits is written together. A request that was opened and settled meanwhile is one row
 * of the ledger, written once. */
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "store/store_chain.h"
#include "store/store_queue.h"

void store_row_explain(const struct store_row *row, struct error *err)
{
    union store_value value;
    store_row_value(row, &value);
    switch (row->kind) {
    case STORE_LEDGER_OPEN:
        error_set(err, row->code, "a request with the id " STR_FMT " is in the ledger already",
            STR_ARG(value.opened.request_id));
        break;
    case STORE_KEY_ADD:
        error_set(err, row->code, "a key with the id " STR_FMT " is there already: make another",
            STR_ARG(value.key.id));
        break;
    case STORE_KEY_REVOKE:
    case STORE_KEY_EXPIRE:
        error_set(err, row->code, "there is no key with the id '" STR_FMT "': weir keys list shows them",
            STR_ARG(value.key_time.id));
        break;
    case STORE_LIMITS_DROP:
        error_set(err, row->code, "there are no limits of the " STR_FMT " '" STR_FMT "'",
            STR_ARG(value.limits_of.kind), STR_ARG(value.limits_of.name));
        break;
    case STORE_RESPONSE_DELETE:
        error_set(err, row->code, "there is no response with that id");
        break;
    default:
        error_set(err, row->code, "the database refused a row");
    }
}

/* A statement that touched no row has refused these kinds. */
static int row_judge(const struct store_row *row)
{
    if (row->changed > 0)
        return 0;
    switch (row->kind) {
    case STORE_LEDGER_OPEN:
    case STORE_KEY_ADD:
        return ERROR_INVALID;
    case STORE_KEY_REVOKE:
    case STORE_KEY_EXPIRE:
    case STORE_LIMITS_DROP:
    case STORE_RESPONSE_DELETE:
        return ERROR_NOT_FOUND;
    default:
        return 0;
    }
}

/* ---- Pairs. ---- */

/* The first field of an opened and of a settled row. */
static struct str request_of(const struct store_row *row)
{
    uint32_t len;
    memcpy(&len, row->record + STORE_HEAD, sizeof len);
    return (struct str){row->record + STORE_HEAD + sizeof len, len};
}

static size_t count_opened(struct list *group)
{
    size_t n = 0;
    list_each(node, after, group) {
        struct store_row *row = list_item(node, struct store_row, node);
        row->pair = NULL; /* of an earlier attempt */
        n += row->kind == STORE_LEDGER_OPEN;
    }
    return n;
}

/* Finds for each opened row the one that settles it. Without memory for it they stay single. */
static void pairs_find(struct list *group)
{
    size_t n = count_opened(group), i = 0;
    struct map by_request = {0};
    struct error err;
    struct store_row **opened = n > 0 ? malloc(n * sizeof *opened) : NULL;
    if (!opened || map_init(&by_request, n, &err)) {
        free(opened);
        return;
    }
    list_each(node, after, group) {
        struct store_row *row = list_item(node, struct store_row, node);
        bool added;
        if (row->kind == STORE_LEDGER_OPEN) {
            opened[i] = row;
            if (map_add(&by_request, request_of(row), (uint32_t)i++, &added, &err))
                break;
        } else if (row->kind == STORE_LEDGER_SETTLE) {
            const uint32_t *at = map_find(&by_request, request_of(row));
            if (!at || opened[*at]->pair)
                continue;
            row->pair = opened[*at];
            row->pair->pair = row;
        }
    }
    map_free(&by_request);
    free(opened);
}

/* ---- What the group's requests cost: a statement for each key and day, not for each request. ---- */

enum { SUMS_MOST = 32 };

/* Rows that are to be inserted in one statement. */
struct pile {
    enum store_kind kind;
    union store_value values[STORE_INSERT_ROWS]; /* their strings are the group's rows' */
    struct store_row *rows[STORE_INSERT_ROWS];
    size_t n;
};
enum { PILE_WHOLE, PILE_EGRESS, PILES };

struct writing {
    struct store_backend *backend;
    struct store_chain *chain;
    int64_t spender;
    struct store_spend sums[SUMS_MOST]; /* likewise */
    size_t n_sums;
    struct pile piles[PILES];
};

static int sums_write(struct writing *w, struct error *err)
{
    int rc = 0;
    int64_t changed;
    for (size_t i = 0; i < w->n_sums && rc == 0; i++)
        rc = w->backend->ops->apply(w->backend, STORE_SPEND_ADD, &w->sums[i], &changed, err);
    w->n_sums = 0;
    return rc;
}

static int sums_add(struct writing *w, const struct store_opened *who, int64_t nano_usd, struct error *err)
{
    int64_t day = who->wall_ms / STORE_DAY_MS;
    if (nano_usd <= 0)
        return 0;
    for (size_t i = 0; i < w->n_sums; i++) {
        struct store_spend *sum = &w->sums[i];
        if (sum->day != day || !str_eq(sum->key_id, who->key_id) || !str_eq(sum->team, who->team))
            continue;
        sum->nano_usd += nano_usd;
        return 0;
    }
    int rc = w->n_sums == SUMS_MOST ? sums_write(w, err) : 0;
    if (rc == 0)
        w->sums[w->n_sums++] = (struct store_spend){day, who->key_id, who->team, w->spender, nano_usd, 0};
    return rc;
}

/* ---- Rows that are only inserted: several in one statement. ---- */

/* A row's own refusal is noted there; its cost counts where it was kept. */
static int piled_end(struct writing *w, const struct pile *p, size_t i, int code, struct error *err)
{
    struct store_row *row = p->rows[i];
    const struct store_ledger_row *whole = &p->values[i].whole;
    row->code = code;
    row->changed = code == 0;
    if (code)
        store_chain_refuse(w->chain, row->pair ? whole->opened.link : p->values[i].egress.link);
    if (!row->pair)
        return 0;
    if (code)
        store_chain_refuse(w->chain, whole->settled.link);
    row->pair->code = code;
    row->pair->changed = row->changed;
    return code ? 0 : sums_add(w, &whole->opened, whole->settled.cost_nano_usd, err);
}

static int pile_write(struct writing *w, struct pile *p, struct error *err)
{
    struct store_backend *b = w->backend;
    bool at_once = b->ops->insert && p->n == STORE_INSERT_ROWS;
    int codes[STORE_INSERT_ROWS];
    int64_t changed;
    int rc = at_once ? b->ops->insert(b, p->kind, p->values, codes, err) : 0;
    for (size_t i = 0; i < p->n && rc == 0; i++) {
        if (!at_once)
            codes[i] = b->ops->apply(b, p->kind, &p->values[i], &changed, err);
        rc = codes[i] && codes[i] != ERROR_INVALID ? codes[i] : piled_end(w, p, i, codes[i], err);
    }
    p->n = 0;
    return rc;
}

static int piles_write(struct writing *w, struct error *err)
{
    int rc = 0;
    for (int i = 0; i < PILES && rc == 0; i++)
        rc = pile_write(w, &w->piles[i], err);
    return rc;
}

/* Takes the row whose value was put behind the others. */
static int pile_add(struct writing *w, struct pile *p, struct store_row *row, struct error *err)
{
    p->rows[p->n++] = row;
    return p->n == STORE_INSERT_ROWS ? pile_write(w, p, err) : 0;
}

static int whole_add(struct writing *w, struct store_row *opened, struct error *err)
{
    struct pile *p = &w->piles[PILE_WHOLE];
    struct store_ledger_row *whole = &p->values[p->n].whole;
    union store_value first, second;
    store_row_value(opened, &first);
    store_row_value(opened->pair, &second);
    *whole = (struct store_ledger_row){.opened = first.opened, .settled = second.settle.settled};
    int rc = store_chain_add(w->chain, w->backend, opened, first.opened.wall_ms, &whole->opened.link, err);
    if (rc == 0)
        rc = store_chain_add(
            w->chain, w->backend, opened->pair, second.settle.wall_ms, &whole->settled.link, err);
    return rc ? rc : pile_add(w, p, opened, err);
}

static int egress_add(struct writing *w, struct store_row *row, struct error *err)
{
    struct pile *p = &w->piles[PILE_EGRESS];
    struct store_egress *egress = &p->values[p->n].egress;
    store_row_value(row, &p->values[p->n]);
    int rc = store_chain_add(w->chain, w->backend, row, egress->wall_ms, &egress->link, err);
    return rc ? rc : pile_add(w, p, row, err);
}

/* ---- Writing. ---- */

static int opened_apply(
    struct writing *w, struct store_row *row, struct store_opened *opened, struct error *err)
{
    struct store_backend *b = w->backend;
    int rc = store_chain_add(w->chain, b, row, opened->wall_ms, &opened->link, err);
    if (rc)
        return rc;
    rc = b->ops->apply(b, row->kind, opened, &row->changed, err);
    if (rc || row->changed == 0)
        store_chain_refuse(w->chain, opened->link);
    return rc;
}

/* Whose cost it was stands in the row that was opened; where that was lost nobody can tell. */
static int settle_apply(
    struct writing *w, struct store_row *row, struct store_settle *value, struct error *err)
{
    struct store_backend *b = w->backend;
    const struct store_spend_opened cost = {
        w->spender, value->settled.cost_nano_usd, value->settled.request_id};
    const struct store_opened nobody = {.wall_ms = value->wall_ms};
    int64_t changed;
    int rc = cost.nano_usd > 0 ? b->ops->apply(b, STORE_SPEND_OPENED, &cost, &changed, err) : 0;
    if (rc == 0)
        rc = store_chain_add(w->chain, b, row, value->wall_ms, &value->settled.link, err);
    if (rc)
        return rc;
    rc = b->ops->apply(b, row->kind, value, &row->changed, err);
    if (rc == 0 && row->changed > 0)
        return 0;
    store_chain_change(w->chain, value->settled.link, row, STORE_RECORD_ALONE);
    if (rc == 0)
        rc = b->ops->apply(b, STORE_LEDGER_ALONE, value, &row->changed, err);
    if (rc)
        store_chain_refuse(w->chain, value->settled.link);
    return rc ? rc : sums_add(w, &nobody, cost.nano_usd, err);
}

/* Rows of requests that are deleted are noted in the chain. */
static int purge_apply(struct writing *w, struct store_row *row, struct store_purge *purge, struct error *err)
{
    struct store_backend *b = w->backend;
    int64_t before_ms = purge->before >> STORE_ID_BITS;
    if (row->kind == STORE_CHAIN_PURGE)
        return store_chain_purge(w->chain, b, before_ms, &row->changed, err);
    int rc = b->ops->apply(b, row->kind, purge, &row->changed, err);
    return rc || row->changed == 0 ? rc : store_chain_purged(w->chain, b, before_ms, err);
}

static int value_apply(struct writing *w, struct store_row *row, union store_value *value, struct error *err)
{
    switch (row->kind) {
    case STORE_LEDGER_OPEN:
        return opened_apply(w, row, &value->opened, err);
    case STORE_LEDGER_SETTLE:
        return settle_apply(w, row, &value->settle, err);
    case STORE_LEDGER_PURGE:
    case STORE_EGRESS_PURGE:
    case STORE_CHAIN_PURGE:
        return purge_apply(w, row, &value->purge, err);
    default:
        return w->backend->ops->apply(w->backend, row->kind, value, &row->changed, err);
    }
}

static int single_apply(struct writing *w, struct store_row *row, struct error *err)
{
    union store_value value;
    store_row_value(row, &value);
    row->changed = 0;
    row->code = value_apply(w, row, &value, err);
    if (row->code == 0)
        row->code = row_judge(row);
    return row->code;
}

/* A whole row stands where it was opened: rows are then in the order of their times. Nothing but a purge
 * looks at rows that are only inserted. */
static int row_apply(struct writing *w, struct store_row *row, struct error *err)
{
    bool purges = row->kind == STORE_LEDGER_PURGE || row->kind == STORE_EGRESS_PURGE;
    if (row->pair && row->kind == STORE_LEDGER_SETTLE)
        return 0;
    if (row->pair)
        return whole_add(w, row, err);
    if (row->kind == STORE_EGRESS_RECORD)
        return egress_add(w, row, err);
    int code = purges ? piles_write(w, err) : 0;
    if (code == 0)
        code = single_apply(w, row, err);
    return code == ERROR_INVALID || code == ERROR_NOT_FOUND ? 0 : code;
}

/* The journal's rows up to `number` are in the database with this group. */
static int mark_write(
    struct store_backend *b, const struct store_journal *journal, int64_t number, struct error *err)
{
    struct store_mark mark = {store_journal_name(journal), number};
    int64_t changed;
    return b->ops->apply(b, STORE_JOURNAL_MARK, &mark, &changed, err);
}

int store_group_write(struct store_backend *b, struct store_chain *chain, const struct store_journal *journal,
    int64_t spender, struct list *group, int64_t *committed, struct error *err)
{
    struct writing w = {.backend = b, .chain = chain, .spender = spender};
    int64_t number = 0;
    w.piles[PILE_WHOLE].kind = STORE_LEDGER_WHOLE;
    w.piles[PILE_EGRESS].kind = STORE_EGRESS_RECORD;
    pairs_find(group);
    store_chain_begin(chain, b);
    int rc = b->ops->begin(b, err);
    list_each(node, after, group) {
        if (rc)
            break;
        struct store_row *row = list_item(node, struct store_row, node);
        number = row->number > number ? row->number : number;
        rc = row_apply(&w, row, err);
    }
    if (rc == 0)
        rc = piles_write(&w, err);
    if (rc == 0)
        rc = sums_write(&w, err);
    if (rc == 0)
        rc = store_chain_write(chain, b, err);
    if (rc == 0 && number > 0)
        rc = mark_write(b, journal, number, err);
    if (rc == 0)
        rc = b->ops->commit(b, err);
    store_chain_end(chain, rc == 0);
    if (rc)
        b->ops->rollback(b);
    else if (number > 0)
        *committed = number;
    return rc;
}
