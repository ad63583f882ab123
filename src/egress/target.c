/* Where requests may go: a base URL, its zone, timeouts, proxy and certificates, read and checked once. */
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "egress/internal.h"

#define TARGET_MEMORY (256 * KIB)
#define URL_MAX ((size_t)2048)

enum {
    CONNECT_TIMEOUT_MS = 5000,
    FIRST_BYTE_TIMEOUT_MS = 120000,
    IDLE_TIMEOUT_MS = 60000,
    NETWORKS_MAX = 256
};

/* A part of a parsed URL as a copy in the arena; "" where it is absent. */
static const char *url_part(struct arena *a, CURLU *url, CURLUPart part)
{
    char *text = NULL;
    if (curl_url_get(url, part, &text, 0) != CURLUE_OK || !text)
        return "";
    const char *copy = arena_strdup(a, str_from(text));
    curl_free(text);
    return copy;
}

static bool names_user(CURLU *url)
{
    char *user = NULL, *password = NULL;
    const bool named = curl_url_get(url, CURLUPART_USER, &user, 0) == CURLUE_OK ||
                       curl_url_get(url, CURLUPART_PASSWORD, &password, 0) == CURLUE_OK;
    curl_free(user);
    curl_free(password);
    return named;
}

/* Reads `text` and refuses query, fragment and characters that do not belong. */
static int url_read(struct str text, const char *what, CURLU **out, struct error *err)
{
    char copy[URL_MAX];
    if (text.len == 0 || text.len >= sizeof copy)
        return error_set(
            err, ERROR_INVALID, "the %s must be 1 to %zu characters long", what, sizeof copy - 1);
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.data[i] <= ' ' || (unsigned char)text.data[i] >= 0x7f)
            return error_set(err, ERROR_INVALID, "the %s holds a character that URLs do not allow", what);
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    CURLU *url = curl_url();
    if (!url)
        return error_set(err, ERROR_MEMORY, "out of memory");
    *out = url;
    if (strpbrk(copy, "?#"))
        return error_set(err, ERROR_INVALID, "the %s must not have a query or fragment", what);
    if (curl_url_set(url, CURLUPART_URL, copy, 0) != CURLUE_OK)
        return error_set(err, ERROR_INVALID, "the %s is not a URL: write it like https://host/path", what);
    return 0;
}

/* As certificates name a host: without brackets, and without the dot that ends an absolute name. */
static const char *name_bare(struct arena *a, const char *host)
{
    struct str name = str_from(host);
    if (str_starts(name, STR("[")))
        name = str_slice(name, 1, name.len - 1);
    else if (str_ends(name, STR(".")))
        name.len--;
    return arena_strdup(a, name);
}

static int base_url_set(struct egress_target *t, struct str base_url, struct error *err)
{
    CURLU *url = NULL;
    int rc = url_read(base_url, "base_url", &url, err);
    if (rc == 0 && names_user(url))
        rc = error_set(err, ERROR_INVALID, "the base_url must not hold a user name or password: use api_key");
    if (rc == 0) {
        const char *scheme = url_part(t->arena, url, CURLUPART_SCHEME);
        const char *host = url_part(t->arena, url, CURLUPART_HOST);
        const char *port = url_part(t->arena, url, CURLUPART_PORT);
        struct str path = str_from(url_part(t->arena, url, CURLUPART_PATH));
        bool http = strcmp(scheme, "http") == 0;
        while (path.len > 0 && path.data[path.len - 1] == '/')
            path.len--;
        t->path = arena_strdup(t->arena, path);
        t->host = arena_printf(t->arena, "%s%s%s", host, *port ? ":" : "", port).data;
        t->url = arena_printf(t->arena, "%s://%s%s", scheme, t->host, t->path).data;
        t->dial = arena_printf(t->arena, "http://%s:%s", host, *port ? port : http ? "80" : "443").data;
        t->tls_name = http ? NULL : name_bare(t->arena, host);
        if (!http && strcmp(scheme, "https") != 0)
            rc = error_set(err, ERROR_INVALID, "the base_url must begin with https:// or http://");
        else if (http && t->zone == EGRESS_ZONE_CLOUD && !egress_host_is_loopback(str_from(host)))
            rc = error_set(err, ERROR_INVALID,
                "the base_url would send keys and prompts unencrypted: use https://, or zone: local for a "
                "server "
                "of your own");
        else if (http && t->proxy && !egress_proxy_is_loopback(str_from(t->proxy)))
            rc = error_set(err, ERROR_INVALID, "a proxy elsewhere needs a base_url with https://");
    }
    curl_url_cleanup(url);
    return rc;
}

int egress_proxy_check(struct str proxy, struct error *err)
{
    CURLU *url = NULL;
    if (!str_starts(proxy, STR("http://")))
        return error_set(err, ERROR_INVALID, "the proxy must be written like http://host:port");
    int rc = url_read(proxy, "proxy", &url, err);
    curl_url_cleanup(url);
    return rc;
}

bool egress_proxy_is_loopback(struct str proxy)
{
    struct arena *a = arena_create(TARGET_MEMORY);
    CURLU *url = NULL;
    const bool found = url_read(proxy, "proxy", &url, NULL) == 0 &&
                       egress_host_is_loopback(str_from(name_bare(a, url_part(a, url, CURLUPART_HOST))));
    curl_url_cleanup(url);
    arena_free(a);
    return found;
}

static int proxy_set(struct egress_target *t, struct str proxy, struct error *err)
{
    if (proxy.len == 0)
        return 0;
    /* What a proxy connects to cannot be checked from here. */
    if (t->zone == EGRESS_ZONE_LOCAL)
        return error_set(
            err, ERROR_INVALID, "a provider of zone local cannot be reached through a proxy: remove 'proxy'");
    t->proxy = arena_strdup(t->arena, proxy);
    return egress_proxy_check(proxy, err);
}

/* Reads the trust anchors, so that a bad file is found when the configuration is loaded. */
static int tls_set(struct egress_target *t, struct str ca_file, struct error *err)
{
    if (ca_file.len > 0)
        t->ca_file = arena_strdup(t->arena, ca_file);
    return t->tls_name || t->ca_file ? egress_tls_create(t->ca_file, &t->tls, err) : 0;
}

/* What connections have in common that may serve each other's requests. */
static void line_set(struct egress_target *t)
{
    t->line = arena_printf(t->arena, "%s %s %s %s", t->tls_name ? "https" : "http", t->dial,
        t->proxy ? t->proxy : "", t->ca_file ? t->ca_file : "")
                  .data;
    t->line_hash = str_hash(str_from(t->line));
}

static int networks_set(struct egress_target *t, const struct str *cidrs, size_t n, struct error *err)
{
    if (n > NETWORKS_MAX)
        return error_set(err, ERROR_LIMIT, "more than %d networks", NETWORKS_MAX);
    struct egress_network *networks = arena_alloc(t->arena, n * sizeof *networks + 1);
    for (size_t i = 0; i < n; i++) {
        int rc = egress_network_parse(cidrs[i], &networks[i], err);
        if (rc)
            return rc;
    }
    t->networks = networks;
    t->n_networks = n;
    return 0;
}

static int timeouts_set(struct egress_target *t, const struct egress_target_options *o, struct error *err)
{
    if (o->connect_timeout_ms < 0 || o->first_byte_timeout_ms < 0 || o->idle_timeout_ms < 0)
        return error_set(err, ERROR_INVALID, "a time-out cannot be negative");
    t->connect_timeout_ms = o->connect_timeout_ms ? o->connect_timeout_ms : CONNECT_TIMEOUT_MS;
    t->first_byte_timeout_ms = o->first_byte_timeout_ms ? o->first_byte_timeout_ms : FIRST_BYTE_TIMEOUT_MS;
    t->idle_timeout_ms = o->idle_timeout_ms ? o->idle_timeout_ms : IDLE_TIMEOUT_MS;
    return 0;
}

int egress_target_create(const struct egress_target_options *o, struct egress_target **out, struct error *err)
{
    if (o->name.len > URL_MAX || o->ca_file.len > URL_MAX)
        return error_set(err, ERROR_LIMIT, "the provider's name or ca_file is too long");
    struct arena *arena = arena_create(TARGET_MEMORY);
    struct egress_target *t = arena_new(arena, struct egress_target);
    t->arena = arena;
    t->references = 1;
    t->name = arena_copy(arena, o->name);
    /* Anything but an explicit local is the cloud: nothing goes inside by an odd value. */
    t->zone = o->zone == EGRESS_ZONE_LOCAL ? EGRESS_ZONE_LOCAL : EGRESS_ZONE_CLOUD;
    t->collector = o->collector;
    int rc = proxy_set(t, o->proxy, err);
    if (rc == 0)
        rc = base_url_set(t, o->base_url, err);
    if (rc == 0)
        rc = tls_set(t, o->ca_file, err);
    if (rc == 0)
        rc = networks_set(t, o->networks, o->n_networks, err);
    if (rc == 0)
        rc = timeouts_set(t, o, err);
    if (rc) {
        error_wrap(err, "provider '" STR_FMT "'", STR_ARG(o->name));
        egress_target_free(t);
        return rc;
    }
    line_set(t);
    *out = t;
    return 0;
}

const struct egress_target *egress_target_hold(const struct egress_target *t)
{
    /* The count is the one part that changes; the target is immutable to everyone else. */
    atomic_fetch_add(&((struct egress_target *)(uintptr_t)t)->references, 1);
    return t;
}

void egress_target_free(struct egress_target *t)
{
    if (t && atomic_fetch_sub(&t->references, 1) == 1) {
        SSL_CTX_free(t->tls);
        arena_free(t->arena);
    }
}

bool egress_target_allows(const struct egress_target *t, const struct sockaddr *address)
{
    return t->zone != EGRESS_ZONE_LOCAL || egress_address_inside(address, t->networks, t->n_networks);
}

int egress_target_denied(const struct egress_target *t, struct error *err)
{
    return error_set(err, ERROR_DENIED,
        "'" STR_FMT
        "' (%s) is of zone local but has an address outside: correct base_url, or add its network to "
        "'networks'",
        STR_ARG(t->name), t->host);
}

enum egress_zone egress_target_zone(const struct egress_target *t)
{
    return t->zone;
}

struct str egress_target_host(const struct egress_target *t)
{
    return str_from(t->host);
}

struct str egress_target_path(const struct egress_target *t)
{
    return str_from(t->path);
}
