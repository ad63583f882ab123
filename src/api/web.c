/* The page people open: four files inside the program. It talks to the same endpoints as every other client.
 */
#include "api/api.h"
#include "base/embed.h"

EMBED(web_index, "web/index.html");
EMBED(web_style, "web/style.css");
EMBED(web_script, "web/app.js");
EMBED(web_icon, "web/icon.svg");

static void asset(const struct api_call *c, const char *type, struct str text)
{
    struct http_request *r = c->http;
    http_reply_header(r, "x-request-id", str_from(c->request_id));
    /* Only our own files run, nothing is framed, nothing is sent elsewhere. */
    http_reply_header(r, "content-security-policy",
        STR("default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"));
    http_reply_header(r, "x-content-type-options", STR("nosniff"));
    http_reply_header(r, "referrer-policy", STR("no-referrer"));
    http_reply_header(r, "cache-control", STR("no-cache"));
    http_reply(r, 200, type, text);
}

void api_web_index(const struct api_call *c)
{
    asset(c, "text/html; charset=utf-8", EMBEDDED(web_index));
}

void api_web_style(const struct api_call *c)
{
    asset(c, "text/css; charset=utf-8", EMBEDDED(web_style));
}

void api_web_script(const struct api_call *c)
{
    asset(c, "text/javascript; charset=utf-8", EMBEDDED(web_script));
}

void api_web_icon(const struct api_call *c)
{
    asset(c, "image/svg+xml", EMBEDDED(web_icon));
}
