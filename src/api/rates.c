/* What is left of a caller's rates, in the headers that its client knows: OpenAI's x-ratelimit-* or
 * Anthropic's anthropic-ratelimit-*. */
#include "api/api.h"
#include "base/clock.h"

enum { LIMIT, REMAINING, RESET, PARTS };

/* OpenAI's of requests, of tokens; Anthropic's. */
static const char *const names[2][2][PARTS] = {
    {{"x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"},
        {"x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"}},
    {{"anthropic-ratelimit-requests-limit", "anthropic-ratelimit-requests-remaining",
         "anthropic-ratelimit-requests-reset"},
        {"anthropic-ratelimit-tokens-limit", "anthropic-ratelimit-tokens-remaining",
            "anthropic-ratelimit-tokens-reset"}}};

/* As OpenAI writes times: "250ms", "12s", "6m0s". */
static void span_append(struct buf *out, int64_t ms)
{
    int64_t seconds = (ms + 999) / 1000;
    buf_append_int(out, ms < 1000 ? ms : seconds < 60 ? seconds : seconds / 60);
    buf_append_text(out, ms < 1000 ? "ms" : seconds < 60 ? "s" : "m");
    if (ms >= 1000 && seconds >= 60) {
        buf_append_int(out, seconds % 60);
        buf_append_char(out, 's');
    }
}

static void header(struct http_request *h, const char *name, struct buf *value)
{
    http_reply_header(h, name, buf_str(value));
    buf_clear(value);
}

static void rate_headers(struct http_request *h, bool anthropic, bool tokens, const struct budget_rate *r)
{
    const char *const *name = names[anthropic][tokens];
    char date[32];
    struct buf text;
    if (r->limit < 0)
        return;
    buf_init(&text, 64);
    buf_append_int(&text, r->limit);
    header(h, name[LIMIT], &text);
    buf_append_int(&text, r->room);
    header(h, name[REMAINING], &text);
    if (anthropic) {
        clock_format(clock_wall_ms() + r->full_ms, date);
        buf_append_text(&text, date);
    } else {
        span_append(&text, r->full_ms);
    }
    header(h, name[RESET], &text);
    buf_free(&text);
}

void api_rates_headers(const struct api_call *c, const struct budget_rates *r)
{
    bool anthropic = c->shape == &api_anthropic_shape || c->shape == &api_anthropic_count_shape;
    rate_headers(c->http, anthropic, false, &r->requests);
    rate_headers(c->http, anthropic, true, &r->tokens);
}
