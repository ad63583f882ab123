/* The witness of the egress: a record is kept before anything leaves. */
#include <string.h>

#include "base/log.h"
#include "govern/govern.h"

void govern_audit_witness(void *ctx, struct loop *loop, const struct egress_record *record,
    void (*done)(void *done_ctx, int code), void *done_ctx)
{
    struct store_egress row = {
        .wall_ms = record->wall_ms,
        .request_id = record->request_id,
        .rule = record->rule,
        .boundary = record->boundary == EGRESS_BOUNDARY_LOCAL ? STR("local") : STR("any"),
        .zone = record->zone == EGRESS_ZONE_LOCAL ? STR("local") : STR("cloud"),
        .target = record->target,
        .host = record->host,
        .path = record->path,
        .bytes = record->bytes,
        .sha256 = {record->sha256, strnlen(record->sha256, sizeof record->sha256)},
    };
    struct error err;
    int rc = store_egress_record(ctx, &row, (struct store_done){loop, done, done_ctx}, &err);
    if (rc == 0)
        return;
    log_error("govern", "nothing is sent, because its record cannot be kept: %s", err.message);
    done(done_ctx, rc);
}
