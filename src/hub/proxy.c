/* Which proxy an origin is asked through. */
#include <strings.h>

#include "hub/internal.h"

/* "host", "host:port", "[::1]", "[::1]:port" or "::1"; without a port *port stays. */
static void authority_split(struct str text, struct str *host, struct str *port)
{
    const bool bracketed = str_starts(text, STR("["));
    size_t end = str_find_char(text, bracketed ? ']' : ':');
    if (end == SIZE_MAX || (!bracketed && str_find_char(str_slice(text, end + 1, text.len), ':') != SIZE_MAX))
        end = text.len;
    *host = str_slice(text, bracketed, end);
    end += bracketed;
    if (end + 1 < text.len && text.data[end] == ':')
        *port = str_slice(text, end + 1, text.len);
}

/* Is it the entry's host, or below it? */
static bool entry_holds(struct str entry, struct str host, struct str port)
{
    struct str name, wanted = port;
    if (str_is(entry, "*"))
        return true;
    authority_split(entry, &name, &wanted);
    name = str_slice(name, str_starts(name, STR("*.")), name.len);
    name = str_slice(name, str_starts(name, STR(".")), name.len);
    if (name.len == 0 || name.len > host.len || !str_eq(wanted, port))
        return false;
    const size_t before = host.len - name.len;
    return strncasecmp(host.data + before, name.data, name.len) == 0 &&
           (before == 0 || host.data[before - 1] == '.');
}

static bool goes_past(struct str list, bool plain, struct str authority)
{
    struct str host, port = plain ? STR("80") : STR("443");
    authority_split(authority, &host, &port);
    for (size_t i = 0, end; i < list.len; i = end + 1) {
        for (end = i; end < list.len && list.data[end] != ',' && list.data[end] != ' ';)
            end++;
        if (entry_holds(str_slice(list, i, end), host, port))
            return true;
    }
    return false;
}

struct str hub_proxy_of(const struct hub_options *o, struct str origin)
{
    const bool plain = str_starts(origin, STR("http://"));
    const struct str proxy = plain ? o->proxy_plain : o->proxy;
    /* A proxy elsewhere has no way to this machine. */
    if (proxy.len == 0 || (plain && !egress_proxy_is_loopback(proxy)) ||
        goes_past(o->no_proxy, plain, str_slice(origin, plain ? 7 : 8, origin.len)))
        return STR_NONE;
    return proxy;
}
