/* What is left of a caller's rates, in the headers that its client knows: OpenAI's x-ratelimit-* or
 * Anthropic's anthropic-ratelimit-*. */
#include <stdio.h>

#include "api/api.h"
#include "base/clock.h"

/* As OpenAI writes times: "250ms", "12s", "6m0s". */
static void span_format(int64_t ms, char out[32])
{
    if (ms < 1000)
        snprintf(out, 32, "%dms", (int)ms);
    else if (ms < 60000)
        snprintf(out, 32, "%ds", (int)((ms + 999) / 1000));
    else
        snprintf(out, 32, "%lldm%llds", (long long)((ms + 999) / 60000), (long long)((ms + 999) / 1000 % 60));
}

static void number_header(struct http_request *h, const char *name, int64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)value);
    http_reply_header(h, name, str_from(text));
}

static const char *name_of(bool anthropic, const char *what, const char *part, char out[64])
{
    snprintf(out, 64, anthropic ? "anthropic-ratelimit-%s-%s" : "x-ratelimit-%s-%s", anthropic ? what : part,
        anthropic ? part : what);
    return out;
}

static void rate_headers(
    struct http_request *h, bool anthropic, const char *what, const struct budget_rate *r)
{
    char name[64], reset[32];
    if (r->limit < 0)
        return;
    number_header(h, name_of(anthropic, what, "limit", name), r->limit);
    number_header(h, name_of(anthropic, what, "remaining", name), r->room);
    if (anthropic)
        clock_format(clock_wall_ms() + r->full_ms, reset);
    else
        span_format(r->full_ms, reset);
    http_reply_header(h, name_of(anthropic, what, "reset", name), str_from(reset));
}

void api_rates_headers(const struct api_call *c, const struct budget_rates *r)
{
    bool anthropic = c->shape == &api_anthropic_shape || c->shape == &api_anthropic_count_shape;
    rate_headers(c->http, anthropic, "requests", &r->requests);
    rate_headers(c->http, anthropic, "tokens", &r->tokens);
}
