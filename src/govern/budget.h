/* What keys, teams and everyone together may spend and ask, and what they did: a ledger in memory that every
 * loop asks and that costs a request no round trip.
 *
 *   level      key --> its team --> everyone (the team "*")          a request counts at all of its levels
 *   account    limits | used: in all, this day, week, month | reserved | two rates | requests under way
 *
 *   open --> admit --> (reserve --> settle)* --> close
 *                       what it may cost is taken from all levels or from none; what it did takes its place
 *
 * So the sum of what is used and reserved never passes a budget, and what is used passes it by no more than
 * the last reservations were too low. Money is whole nano-dollars; periods are the calendar's (period.h).
 *
 *   used = own (this process) + what others' rows in the state say (read at the start, then every 250 ms, or
 * 50 ms where gateways share it)
 *
 * What is settled is summed in the state by the transaction that keeps the ledger's row, so that a killed
 * process has lost nothing of it.
 *
 * Gateways that share a state hold leases (store.h): each takes a part of what is left of a budget, and
 * reserves only of that, so that all of them together keep to it, too. A thread takes more before it runs
 * out, gives back what others want or what nobody used for a while; a gateway that is killed or cut off has
 * its leases lapse. Who finds too little here waits for what others hold (budget_wait). Of rates and
 * requests under way each lets through its part (budget_rates.c). */
#ifndef WEIR_GOVERN_BUDGET_H
#define WEIR_GOVERN_BUDGET_H

#include "base/loop.h"
#include "govern/limits.h"
#include "govern/period.h"
#include "store/store.h"

struct budget;
struct budget_account;

/* Reads the limits and what was spent. */
int budget_create(struct store *s, struct budget **out, struct error *err) MUST_USE;
/* From now on this process spends, and a thread reads what others changed: after store_journal.
 */
int budget_start(struct budget *b, struct error *err) MUST_USE;
void budget_free(struct budget *b); /* before the store; NULL is allowed */
/* Reads it now. Any thread, but it waits for the state. */
int budget_refresh(struct budget *b, struct error *err) MUST_USE;

/* ---- A request's way. Any thread; a lock, no memory, no state. ---- */

struct budget_rate {
    int64_t limit, room; /* in a minute, and what is left of it; limit -1: there is none */
    int64_t full_ms;     /* until all of it is there again */
};
struct budget_rates { /* of each the scarcest level's */
    struct budget_rate requests, tokens;
};

struct budget_ticket {
    struct budget *budget; /* NULL: nothing is counted */
    struct budget_account *levels[3];
    int64_t token_limits[3]; /* under which tokens were taken: a limit may change while a request runs */
    int n_levels;
    bool rated, token_rated, money; /* some level limits requests or models; tokens; money */
    bool admitted;
    int64_t day;               /* its costs' */
    int64_t tokens;            /* taken from the rates */
    struct budget_rates rates; /* once admitted or refused; where `rated` */
};

struct budget_refusal {
    int64_t retry_after_ms; /* -1: nobody knows when */
    const char *type;       /* as OpenAI calls it: "requests", "tokens", "insufficient_quota" */
    bool held;              /* this gateway holds too little, and may get more: budget_wait_begin */
};

/* `key_id` empty: it is nobody's. `b` NULL: nothing is counted. */
void budget_open(
    struct budget *b, struct str key_id, struct str team, int64_t wall_ms, struct budget_ticket *t);
/* Where `rated`: takes a request, `tokens` (where `token_rated`) and a place. ERROR_DENIED: `model` may not
 * be asked for; ERROR_BUSY: too much at once, `refusal` says until when. */
int budget_admit(struct budget_ticket *t, struct str model, int64_t tokens, int64_t now_ns,
    struct budget_refusal *refusal, struct error *err) MUST_USE;
/* ERROR_BUSY: a level has not so much left. */
int budget_reserve(
    struct budget_ticket *t, int64_t nano_usd, struct budget_refusal *refusal, struct error *err) MUST_USE;
/* Waits for it where it was refused as `held`: `told` is called on `loop`, once, unless budget_wait_end comes
 * before. The ticket stays as it is meanwhile. */
struct budget_wait;
struct budget_wait *budget_wait_begin(
    const struct budget_ticket *t, int64_t nano_usd, struct loop *loop, void (*told)(void *ctx), void *ctx);
/* What came of it, as from budget_reserve; on the loop. Nobody is told any more, and `w` is gone. */
int budget_wait_end(struct budget_wait *w, struct budget_refusal *refusal, struct error *err) MUST_USE;
/* What was reserved for something cost `nano_usd`. */
void budget_settle(struct budget_ticket *t, int64_t reserved, int64_t nano_usd);
/* It is over: it took so many tokens. May be called again. */
void budget_close(struct budget_ticket *t, int64_t tokens);

/* The least that a level has left, in dollars, and the least share of its budget; infinite and 1: no level
 * has one. */
double budget_left(const struct budget_ticket *t);
double budget_share(const struct budget_ticket *t);

/* ---- For lists and metrics. ---- */
struct budget_view {
    int64_t used[PERIODS], ends_ms[PERIODS]; /* nano-dollars; when the period ends, -1: never */
    int64_t reserved;
    int64_t leased;             /* what this gateway holds of it; -1: it shares nothing */
    struct store_limits limits; /* strings live in the arena */
    bool limited;               /* somebody set limits (of a team also: made it) */
};
void budget_look(
    struct budget *b, struct str kind, struct str name, struct arena *a, struct budget_view *out);
/* All that somebody limited, everyone first; in the arena. */
struct budget_view *budget_list(struct budget *b, struct arena *a, size_t *n);
/* May it be asked for? */
bool budget_allows(struct budget *b, struct str key_id, struct str team, struct str model);
/* The members "budget" ({"day": {"limit", "used", "ends"}, ...}, in dollars; what is not limited is null),
 * "requests", "tokens", "parallel" and "models". */
void budget_view_write(const struct budget_view *v, struct json_writer *w);

#endif
