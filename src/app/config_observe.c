/* What operators see: the access log and traces. */
#include "app/config_inner.h"

enum { HEADERS_MOST = 16 };

static int headers_read(struct config *c, const struct yaml_node *n, struct error *err)
{
    struct config_telemetry *t = &c->telemetry;
    if (!n)
        return 0;
    if (n->kind != YAML_MAP || n->count > HEADERS_MOST)
        return yaml_error(n, err, ERROR_INVALID, "'headers' must be a map of at most %d names", HEADERS_MOST);
    t->headers = arena_alloc(c->arena, (n->count + 1) * sizeof *t->headers);
    for (const struct yaml_node *h = n->first; h; h = h->next) {
        struct egress_header *to = &t->headers[t->n_headers++];
        to->name = h->key;
        int rc = config_get_secret(c, n, arena_strdup(c->arena, h->key), &to->value, err);
        rc = rc ? rc : config_header_check(h, to, err);
        if (rc)
            return rc;
    }
    return 0;
}

static int telemetry_read(struct config *c, const struct yaml_node *n, struct error *err)
{
    static const char *const keys[] = {"otlp", "headers", "sample", "zone", "ca_file", "content", NULL};
    static const char *const zones[] = {"local", "cloud", NULL};
    struct config_telemetry *t = &c->telemetry;
    int zone = EGRESS_ZONE_LOCAL;
    bool content = false;
    int rc = n ? yaml_check_keys(n, keys, "telemetry", err) : 0;
    if (!n || rc)
        return rc;
    rc = yaml_get_str(n, "otlp", STR_NONE, &t->otlp, err);
    if (rc == 0 && t->otlp.len == 0)
        rc = yaml_error(n, err, ERROR_INVALID, "'telemetry' wants 'otlp', like \"http://127.0.0.1:4318\"");
    if (rc == 0)
        rc = config_get_choice(n, "zone", zones, EGRESS_ZONE_LOCAL, &zone, err);
    t->zone = (enum egress_zone)zone;
    if (rc == 0)
        rc = yaml_get_double(n, "sample", 0.1, 0, 1, &t->sample, err);
    if (rc == 0)
        rc = config_get_file(c, n, "ca_file", &t->ca_file, err);
    if (rc == 0)
        rc = headers_read(c, yaml_get(n, "headers"), err);
    if (rc == 0)
        rc = yaml_get_bool(n, "content", false, &content, err);
    if (rc == 0 && content)
        rc = yaml_error(
            yaml_get(n, "content"), err, ERROR_UNSUPPORTED, "spans never hold content: leave it out");
    return rc;
}

int config_read_observe(struct config *c, const struct yaml_node *root, struct error *err)
{
    int rc = yaml_get_str(root, "access_log", STR("off"), &c->access_log, err);
    if (rc == 0 && (c->access_log.len == 0 || str_is(c->access_log, "off")))
        c->access_log = STR_NONE;
    if (rc == 0)
        rc = yaml_get_str(root, "feedback", STR_NONE, &c->exchange.feedback, err);
    return rc ? rc : telemetry_read(c, yaml_get(root, "telemetry"), err);
}
