/* What only a restart changes. */
#include "app/config.h"

const char *const config_fixed_keys[CONFIG_FIXED] = {"listen", "tls", "state", "journal", "files", "hosts",
    "auth", "offline", "threads", "max_connections", "max_body", "access_log"};

static struct str hosts_text(const struct config *c, struct arena *a)
{
    struct str all = STR("");
    for (size_t i = 0; i < c->n_allowed_hosts; i++)
        all = arena_printf(a, STR_FMT " " STR_FMT, STR_ARG(all), STR_ARG(c->allowed_hosts[i]));
    return all;
}

void config_fixed(const struct config *c, struct arena *a, struct str values[CONFIG_FIXED])
{
    const struct str all[CONFIG_FIXED] = {
        arena_printf(a, STR_FMT ":%d", STR_ARG(c->listen_host), c->listen_port),
        arena_printf(a, STR_FMT " " STR_FMT, STR_ARG(c->tls_certificate), STR_ARG(c->tls_key)),
        arena_copy(a, c->state),
        arena_copy(a, c->journal),
        arena_copy(a, c->files),
        hosts_text(c, a),
        c->auth_keys ? STR("keys") : STR("none"),
        c->offline ? STR("true") : STR("false"),
        arena_printf(a, "%d", c->loops),
        arena_printf(a, "%d", c->max_connections),
        arena_printf(a, "%lld", (long long)c->max_body),
        arena_copy(a, c->access_log),
    };
    for (size_t i = 0; i < CONFIG_FIXED; i++)
        values[i] = all[i];
}
