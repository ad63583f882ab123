/* May it leave, and the record that it does: nothing is sent before the witness has confirmed it. */
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "egress/internal.h"

/* Links a transfer to the witness that still has to answer; outlives whichever of the two goes first. */
struct egress_ticket {
    struct egress_transfer *transfer; /* NULL: closed meanwhile */
};

int egress_permit_check(
    const struct egress *e, const struct egress_permit *p, const struct egress_target *t, struct error *err)
{
    const char *why = NULL;
    if (e->offline)
        why = "this gateway runs offline: nothing leaves (set offline: false to change that)";
    else if (!p)
        why = "there is no permit for it";
    else if (clock_mono_ms() > p->expires_mono_ms)
        why = "its permit has expired";
    else if (p->telemetry != t->collector)
        why = t->collector ? "a collector is sent spans and nothing else"
                           : "spans are sent to a collector and to nobody else";
    else if (p->boundary != EGRESS_BOUNDARY_ANY && t->zone != EGRESS_ZONE_LOCAL)
        why = "the request must stay inside the local boundary";
    if (!why)
        return 0;
    log_warn("egress", "refused a transfer to '" STR_FMT "' (request %.64s, rule %.128s): %s",
        STR_ARG(t->name), p ? p->request_id : "?", p ? p->rule : "?", why);
    return error_set(err, ERROR_DENIED, "nothing was sent to '" STR_FMT "': %s", STR_ARG(t->name), why);
}

int egress_body_hash(struct egress *e, struct str body, char hex[65], struct error *err)
{
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (!EVP_DigestInit_ex2(e->hash, e->sha256, NULL) ||
        !EVP_DigestUpdate(e->hash, body.len ? body.data : "", body.len) ||
        !EVP_DigestFinal_ex(e->hash, hash, &len) || len != 32)
        return error_set(err, ERROR_INTERNAL, "SHA-256 failed: check the OpenSSL installation");
    for (unsigned i = 0; i < len; i++) { /* no secret: sodium's takes six times as long */
        hex[2 * i] = "0123456789abcdef"[hash[i] >> 4];
        hex[2 * i + 1] = "0123456789abcdef"[hash[i] & 15];
    }
    hex[64] = '\0';
    return 0;
}

static void on_witnessed(void *ctx, int code)
{
    struct egress_ticket *ticket = ctx;
    struct egress_transfer *t = ticket->transfer;
    free(ticket);
    if (!t)
        return;
    t->ticket = NULL;
    if (code == 0) {
        egress_transfer_start(t);
        return;
    }
    egress_transfer_fail(t,
        error_set(&t->error, ERROR_IO,
            "nothing was sent to '" STR_FMT "': the record of it could not be kept: check the state database",
            STR_ARG(t->target->name)));
}

/* The path of the request as it stands in its first line. */
static struct str path_of(const struct egress_transfer *t)
{
    struct str line = {t->request, t->head_len};
    line = str_slice(line, str_find_char(line, ' ') + 1, line.len);
    return str_slice(line, 0, str_find_char(line, ' '));
}

void egress_witness_ask(struct egress_transfer *t)
{
    struct egress *e = t->egress;
    const struct egress_permit *p = &t->permit;
    t->state = EGRESS_WITNESS;
    struct egress_record record = {.wall_ms = clock_wall_ms(),
        .request_id = {p->request_id, strnlen(p->request_id, sizeof p->request_id)},
        .rule = {p->rule, strnlen(p->rule, sizeof p->rule)},
        .boundary = p->boundary == EGRESS_BOUNDARY_ANY ? EGRESS_BOUNDARY_ANY : EGRESS_BOUNDARY_LOCAL,
        .zone = t->target->zone,
        .target = t->target->name,
        .host = str_from(t->target->host),
        .path = path_of(t),
        .bytes = (int64_t)(t->request_len - t->head_len)};
    memcpy(record.sha256, t->sha256, sizeof record.sha256);
    t->ticket = must(malloc(sizeof *t->ticket));
    t->ticket->transfer = t;
    e->witness(e->witness_ctx, e->loop, &record, on_witnessed, t->ticket);
}

void egress_ticket_drop(struct egress_transfer *t)
{
    if (t->ticket)
        t->ticket->transfer = NULL;
    t->ticket = NULL;
}
