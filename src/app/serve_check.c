/* What weir serve --check looks at beyond the configuration's own reading. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "app/serve.h"
#include "base/file.h"
#include "base/log.h"

int serve_collector(const struct config *config, struct egress_target **out, struct error *err)
{
    const struct config_telemetry *c = &config->telemetry;
    const struct egress_target_options target = {.name = STR("telemetry"),
        .base_url = c->otlp,
        .zone = c->zone,
        .collector = true,
        .ca_file = c->ca_file,
        .first_byte_timeout_ms = 10000};
    *out = NULL;
    if (c->otlp.len == 0)
        return 0;
    if (config->offline) {
        log_warn("serve", "no traces are sent: this gateway runs offline");
        return 0;
    }
    return egress_target_create(&target, out, err) ? error_wrap(err, "telemetry") : 0;
}

static int file_check(const char *key, struct str file, struct error *err)
{
    char path[4096], in[4096];
    int n = snprintf(path, sizeof path, STR_FMT, STR_ARG(file));
    if (file.len == 0 || str_is(file, "stdout") || access(path, W_OK) == 0)
        return 0;
    int why = errno;
    if (why == ENOENT && n > 0 && (size_t)n < sizeof path) { /* it will be made */
        if (access(file_folder(path, in), W_OK) == 0)
            return 0;
        why = errno;
    }
    return error_set(
        err, ERROR_IO, "'%s' cannot be written at " STR_FMT ": %s", key, STR_ARG(file), strerror(why));
}

int serve_check(const struct config *config, struct error *err)
{
    struct egress_target *target;
    int rc = serve_collector(config, &target, err);
    if (rc == 0)
        egress_target_free(target);
    if (rc == 0)
        rc = file_check("access_log", config->access_log, err);
    return rc ? rc : file_check("feedback", config->exchange.feedback, err);
}
