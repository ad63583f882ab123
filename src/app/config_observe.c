/* What operators see: the access log. */
#include "app/config_inner.h"

int config_read_observe(struct config *c, const struct yaml_node *root, struct error *err)
{
    int rc = yaml_get_str(root, "access_log", STR("off"), &c->access_log, err);
    if (rc == 0 && (c->access_log.len == 0 || str_is(c->access_log, "off")))
        c->access_log = STR_NONE;
    return rc;
}
